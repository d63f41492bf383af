//! Two nodes with edits and losses between them: either both establish the session or neither does, and the messages that
//! arrive on a stream are the first of those that were sent on it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{Action, Command, ConnId, EndReason, Event, Fault, Input, IoFault, SocketId, Stage, Via};
use peerless::node::Node;
use peerless::rng::{Rng, Seed};
use peerless::testing::{START, chain, config};
use peerless::time::Instant;
use peerless::wire::eth;
use peerless::wire::p2p::Capability;

use super::{Cheap, Choices, Memory, Reached, Target, list_of};

/// Edits of streams and datagrams in flight.
pub const PAIR: Target = Target {
    name: "pair",
    body: pair,
    memory: Memory::machine(24),
    landmarks: &[
        "both established",
        "neither established",
        "edited",
        "mac fault",
        "handshake fault",
        "message arrived",
        "foreign",
        "both dial",
        "cut off",
        "datagrams lost",
        "bonded",
    ],
    generated: (150, 80),
};

/// An edit of one byte of a stream.
#[derive(Clone, Copy, Debug)]
enum Edit {
    Flip(u8),
    Remove,
    Insert(u8),
    Cut,
}

/// One direction of the stream.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// Number of bytes written to it.
    position: usize,
    edits: BTreeMap<usize, Edit>,
    is_cut: bool,
    closed: bool,
}

struct Side {
    node: Node,
    conns: BTreeMap<ConnId, usize>,
    ended: Vec<EndReason>,
}

/// A stream. Every array is indexed by side.
struct Stream {
    /// The connection's id on each side.
    ends: [Option<ConnId>; 2],
    /// The bytes to each side.
    pipes: [Pipe; 2],
    /// The messages that each side has sent.
    sent: [Vec<Vec<u8>>; 2],
    /// The messages that have arrived at each side.
    arrived: [Vec<Vec<u8>>; 2],
}

struct World {
    now: Instant,
    sides: [Side; 2],
    streams: Vec<Stream>,
    datagrams: VecDeque<(usize, SocketAddr, Vec<u8>)>,
    edits: [BTreeMap<usize, Edit>; 2],
    edited: bool,
    loss: u8,
    rng: Rng,
}

fn pair(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let networks = [1, if choices.once_in(8) { 2 } else { 1 }];
    let with_discovery = choices.once_in(4);
    let sides = [0, 1].map(|i| {
        let mut config = config(i, networks[i]);
        if !with_discovery {
            config.discovery.switch_off();
        }
        let node = Node::with_crypto(config, [choices.byte() ^ i as u8; 32], Instant::ZERO, START, Arc::new(Cheap))
            .expect("valid");
        Side { node, conns: BTreeMap::new(), ended: Vec::new() }
    });
    let edits = [0, 1].map(|_| {
        (0..choices.pick(&[0usize, 0, 1, 2]))
            .map(|_| {
                let at = choices.below(1500);
                let edit = match choices.below(5) {
                    0 => Edit::Remove,
                    1 => Edit::Insert(choices.byte()),
                    2 => Edit::Cut,
                    bit => Edit::Flip(bit as u8),
                };
                (at, edit)
            })
            .collect::<BTreeMap<_, _>>()
    });
    let both_dial = choices.once_in(4);
    let loss = choices.pick(&[0, 0, 30, 100]);
    let rng = Seed::new([choices.byte(); 32]).fork("pair");
    let (streams, datagrams) = (Vec::new(), VecDeque::new());
    let mut world = World { now: Instant::ZERO, sides, streams, datagrams, edits, edited: false, loss, rng };

    let contacts = [0, 1].map(|i| world.sides[i].node.contact());
    world.command(0, Command::Dial { contact: contacts[1] });
    if both_dial {
        reached.note("both dial");
        world.command(1, Command::Dial { contact: contacts[0] });
    }
    if with_discovery {
        world.command(0, Command::Ping { via: Via::Discv4, contact: contacts[1] });
        if world.loss == 100 {
            reached.note("datagrams lost");
        }
    }
    world.settle();
    while !choices.is_empty() {
        let i = choices.below(2);
        match choices.below(4) {
            0 => {
                world.now = world.now + choices.span().min(Duration::from_secs(10));
                world.timeouts();
            }
            1 if choices.once_in(8) => {
                world.command(i, Command::Shutdown);
            }
            _ => {
                let bytes = choices.bytes(50).repeat(1 + usize::from(choices.byte()));
                let payload = list_of(&bytes);
                if let Some(conn) = world.established(i) {
                    let command = Command::Send {
                        conn,
                        capability: Capability::eth(69),
                        id: eth::id::TRANSACTIONS,
                        payload: &payload,
                    };
                    let stream = world.sides[i].conns[&conn];
                    if world.command(i, command) {
                        world.streams[stream].sent[i].push(payload);
                    }
                }
            }
        }
        world.settle();
    }
    world.finish(networks[0] != networks[1], reached);
}

impl World {
    fn established(&self, i: usize) -> Option<ConnId> {
        let mut sessions = self.sides[i].node.sessions();
        sessions.find(|session| session.stage == Stage::Established && !session.is_ending).map(|session| session.conn)
    }

    fn command(&mut self, i: usize, command: Command<'_>) -> bool {
        let done = self.sides[i].node.command(self.now, command).is_ok();
        self.drain(i);
        done
    }

    fn input(&mut self, i: usize, input: Input<'_>) {
        self.sides[i].node.handle(self.now, input);
        self.drain(i);
    }

    fn timeouts(&mut self) {
        for i in [0, 1] {
            self.input(i, Input::Timeout);
            let due = self.sides[i].node.poll_timeout();
            assert!(due.is_none_or(|(at, _)| at > self.now), "deadlines advance");
        }
    }

    fn drain(&mut self, i: usize) {
        let from = self.sides[i].node.contact().udp_addr();
        let Side { node, conns, ended } = &mut self.sides[i];
        while let Some(action) = node.poll_action() {
            match action {
                Action::Send { bytes, .. } => self.datagrams.push_back((1 - i, from, bytes.to_vec())),
                Action::Dial { conn, .. } => {
                    let mut pipes = [Pipe::default(), Pipe::default()];
                    // The first stream's bytes are edited.
                    for (pipe, edits) in pipes.iter_mut().zip(&mut self.edits) {
                        pipe.edits = std::mem::take(edits);
                    }
                    let mut ends = [None; 2];
                    ends[i] = Some(conn);
                    conns.insert(conn, self.streams.len());
                    self.streams.push(Stream { ends, pipes, sent: Default::default(), arrived: Default::default() });
                }
                Action::Close { conn } => {
                    let stream = conns.remove(&conn).expect("a stream is closed once");
                    self.streams[stream].pipes[1 - i].closed = true;
                    self.streams[stream].ends[i] = None;
                }
                Action::Emit(Event::Message { conn, payload, .. }) => {
                    self.streams[conns[&conn]].arrived[i].push(payload.to_vec());
                }
                Action::Emit(Event::Ended { end, .. }) => ended.push(end.why),
                Action::Emit(_) | Action::Flush { .. } | Action::Query { .. } => {}
            }
        }
    }

    /// Carries bytes and datagrams until none is in flight, at one instant.
    fn settle(&mut self) {
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            while let Some((to, from, bytes)) = self.datagrams.pop_front() {
                if self.rng.below(100) >= u64::from(self.loss) {
                    self.input(to, Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes });
                    is_moving = true;
                }
            }
            for stream in 0..self.streams.len() {
                is_moving |= self.carry(stream);
            }
        }
    }

    /// Carries bytes of a stream; returns whether there were any.
    fn carry(&mut self, stream: usize) -> bool {
        let mut is_moving = false;
        // The dialled side accepts.
        for i in [0, 1] {
            let Stream { ends, pipes, .. } = &self.streams[stream];
            if let (Some(conn), None, false, false) = (ends[i], ends[1 - i], pipes[i].closed, pipes[1 - i].closed) {
                let from = self.sides[i].node.contact().tcp_addr();
                let accepted = self.sides[1 - i].node.accept(self.now, SocketId::MAIN, from);
                match accepted {
                    Some(theirs) => {
                        self.streams[stream].ends[1 - i] = Some(theirs);
                        self.sides[1 - i].conns.insert(theirs, stream);
                        self.input(i, Input::Connected { conn, local: None });
                    }
                    None => self.input(i, Input::Broken { conn, why: IoFault::Refused }),
                }
                self.drain(1 - i);
                is_moving = true;
            }
        }
        for i in [0, 1] {
            let Some(conn) = self.streams[stream].ends[i] else { continue };
            let written = self.sides[i].node.outbound(conn).to_vec();
            if !written.is_empty() {
                let n = 1 + self.rng.below(written.len() as u64) as usize;
                self.edited |= self.streams[stream].pipes[1 - i].write(&written[..n]);
                self.input(i, Input::Wrote { conn, n });
                is_moving = true;
            }
            let pipe = &mut self.streams[stream].pipes[i];
            if !pipe.bytes.is_empty() && self.sides[i].node.wants_read(conn) {
                let n = 1 + self.rng.below(pipe.bytes.len() as u64) as usize;
                let bytes: Vec<u8> = pipe.bytes.drain(..n).collect();
                self.input(i, Input::Bytes { conn, bytes: &bytes });
                is_moving = true;
            } else if pipe.bytes.is_empty() && pipe.closed {
                self.input(i, Input::Eof { conn });
                is_moving |= self.streams[stream].ends[i].is_none();
            }
        }
        is_moving
    }

    /// Runs until every deadline of a stream has passed; then both sides must agree, within the time of the final Disconnect.
    fn finish(&mut self, foreign: bool, reached: &mut Reached) {
        let mut established = [true, false];
        for half_seconds in 0..130 {
            self.now = self.now + Duration::from_millis(500);
            self.timeouts();
            self.settle();
            established = [0, 1].map(|i| self.established(i).is_some());
            if half_seconds >= 120 && established[0] == established[1] {
                break;
            }
        }
        assert_eq!(established[0], established[1], "both know whether there is a session");
        reached.note(if established[0] { "both established" } else { "neither established" });
        if foreign {
            reached.note("foreign");
            assert!(!established[0], "not with another network");
            assert_eq!(chain(1).network().network_id, 1);
        }
        if self.edited {
            reached.note("edited");
        }
        for i in [0, 1] {
            for Stream { sent, arrived, .. } in &self.streams {
                assert!(sent[1 - i].starts_with(&arrived[i]), "messages arrive as they were sent, in order");
                if !arrived[i].is_empty() {
                    reached.note("message arrived");
                }
            }
            for why in &self.sides[i].ended {
                match why {
                    EndReason::Fault(Fault::HeaderMac | Fault::FrameMac) => reached.note("mac fault"),
                    EndReason::Fault(Fault::Handshake) => reached.note("handshake fault"),
                    EndReason::Fault(other) => panic!("{other:?}: neither side sent such bytes"),
                    EndReason::Timeout(_) => reached.note("cut off"),
                    _ => {}
                }
                if let EndReason::Fault(_) = why {
                    assert!(self.edited, "a fault without an edit");
                }
            }
            if self.sides[i].node.discovery().discv4().is_some_and(|discovery| !discovery.table().is_empty()) {
                reached.note("bonded");
            }
        }
    }
}

impl Pipe {
    /// Writes bytes with their edits; returns whether a byte was edited.
    fn write(&mut self, bytes: &[u8]) -> bool {
        let mut edited = false;
        for byte in bytes {
            let edit = self.edits.remove(&self.position);
            self.position += 1;
            edited |= edit.is_some();
            match edit {
                _ if self.is_cut => {}
                None => self.bytes.push_back(*byte),
                Some(Edit::Flip(bit)) => self.bytes.push_back(byte ^ 1 << (bit & 7)),
                Some(Edit::Remove) => {}
                Some(Edit::Insert(other)) => self.bytes.extend([other, *byte]),
                Some(Edit::Cut) => self.is_cut = true,
            }
        }
        edited
    }
}
