//! Two nodes and what happens to their bytes on the way: a session is established or both know that it is not, and what
//! arrives is what was said.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{Action, Command, ConnId, EndReason, Event, Fault, Input, IoFault, Stage};
use peerless::node::Node;
use peerless::rng::{Rng, Seed};
use peerless::time::Instant;
use peerless::wire::eth;
use peerless::wire::p2p::Capability;

use super::{Cheap, Choices, Memory, Reached, Target};
use crate::net::{START, chain, config};

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

/// What becomes of a stream's bytes, counted from its beginning.
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
    /// How many bytes have been written to it.
    position: usize,
    edits: BTreeMap<usize, Edit>,
    is_cut: bool,
    closed: bool,
}

struct Side {
    node: Node,
    conns: BTreeMap<ConnId, usize>,
    ended: Vec<EndReason>,
    /// Messages sent, with their streams.
    sent: Vec<(usize, Vec<u8>)>,
    /// Messages that arrived, with their streams.
    arrived: Vec<(usize, Vec<u8>)>,
}

/// A stream: the connection's name on each side, and the bytes to each side.
struct Stream {
    ends: [Option<ConnId>; 2],
    pipes: [Pipe; 2],
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
            config.discovery = None;
        }
        let node = Node::with_crypto(config, [choices.byte() ^ i as u8; 32], Instant::ZERO, START, Arc::new(Cheap))
            .expect("valid");
        Side { node, conns: BTreeMap::new(), ended: Vec::new(), sent: Vec::new(), arrived: Vec::new() }
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

    let contacts = [0, 1].map(|i| *world.sides[i].node.contact());
    world.command(0, Command::Dial { contact: contacts[1] });
    if both_dial {
        reached.note("both dial");
        world.command(1, Command::Dial { contact: contacts[0] });
    }
    if with_discovery {
        world.command(0, Command::Ping { contact: contacts[1] });
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
                let payload = choices.bytes(50).repeat(1 + usize::from(choices.byte()));
                if let Some(conn) = world.established(i) {
                    let command = Command::Send {
                        conn,
                        capability: Capability::eth(69),
                        id: eth::id::TRANSACTIONS,
                        payload: &payload,
                    };
                    if world.command(i, command) {
                        let stream = world.sides[i].conns[&conn];
                        world.sides[i].sent.push((stream, payload));
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
        let Side { node, conns, ended, arrived, .. } = &mut self.sides[i];
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
                    self.streams.push(Stream { ends, pipes });
                }
                Action::Close { conn } => {
                    let stream = conns.remove(&conn).expect("a stream is closed once");
                    self.streams[stream].pipes[1 - i].closed = true;
                    self.streams[stream].ends[i] = None;
                }
                Action::Emit(Event::Message { conn, payload, .. }) => arrived.push((conns[&conn], payload.to_vec())),
                Action::Emit(Event::Ended { end, .. }) => ended.push(end.why),
                Action::Emit(_) | Action::Flush { .. } => {}
            }
        }
    }

    /// Until nothing is on its way, at one instant.
    fn settle(&mut self) {
        let mut is_moving = true;
        while is_moving {
            is_moving = false;
            while let Some((to, from, bytes)) = self.datagrams.pop_front() {
                if self.rng.below(100) >= u64::from(self.loss) {
                    self.input(to, Input::Datagram { from, bytes: &bytes });
                    is_moving = true;
                }
            }
            for stream in 0..self.streams.len() {
                is_moving |= self.carry(stream);
            }
        }
    }

    /// Moves a stream's bytes on; whether there were any.
    fn carry(&mut self, stream: usize) -> bool {
        let mut is_moving = false;
        // Whoever is dialled accepts.
        for i in [0, 1] {
            let Stream { ends, pipes } = &self.streams[stream];
            if let (Some(conn), None, false, false) = (ends[i], ends[1 - i], pipes[i].closed, pipes[1 - i].closed) {
                let from = self.sides[i].node.contact().tcp_addr();
                let accepted = self.sides[1 - i].node.accept(self.now, from);
                match accepted {
                    Some(theirs) => {
                        self.streams[stream].ends[1 - i] = Some(theirs);
                        self.sides[1 - i].conns.insert(theirs, stream);
                        self.input(i, Input::Connected { conn });
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

    /// Long enough that every deadline of a stream has passed: then both agree, within the time that last words have.
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
            let (sent, arrived) = (&self.sides[1 - i].sent, &self.sides[i].arrived);
            // A stream that was tampered with loses its end, and another may follow it.
            for stream in 0..self.streams.len() {
                let of = |messages: &[(usize, Vec<u8>)]| {
                    messages
                        .iter()
                        .filter(|(of, _)| *of == stream)
                        .map(|(_, payload)| payload.clone())
                        .collect::<Vec<_>>()
                };
                assert!(of(sent).starts_with(&of(arrived)), "what arrives is what was sent, in order");
            }
            if !arrived.is_empty() {
                reached.note("message arrived");
            }
            for why in &self.sides[i].ended {
                match why {
                    EndReason::Fault(Fault::HeaderMac | Fault::FrameMac) => reached.note("mac fault"),
                    EndReason::Fault(Fault::Handshake) => reached.note("handshake fault"),
                    EndReason::Fault(other) => panic!("{other:?}: no side sends that"),
                    EndReason::Timeout(_) => reached.note("cut off"),
                    _ => {}
                }
                if let EndReason::Fault(_) = why {
                    assert!(self.edited, "a fault without an edit");
                }
            }
            if self.sides[i].node.discovery().is_some_and(|discovery| !discovery.table().is_empty()) {
                reached.note("bonded");
            }
        }
    }
}

impl Pipe {
    /// Writes bytes, edited where they are to be; whether any was.
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
