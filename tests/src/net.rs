//! A small network in memory: real nodes, virtual time, datagrams with delay and loss, streams chunked at random.
//!
//! One seed decides everything, so a failing run repeats. Not a simulator: a few dozen nodes, one kind of link.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{
    Action, Command, CommandError, CommandId, ConnId, Direction, End, Event, Input, IoFault, ScoreReason, SocketId,
    Stage,
};
use peerless::crypto::{Crypto, NodeId, Secp256k1, SecretKey, keccak256};
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::eth::Status;
use peerless::wire::forkid::{ForkSchedule, Head, Network};

/// The wall time at which every run starts.
pub const START: UnixTime = UnixTime::from_secs(1_750_000_000);

/// An event, owned.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Seen {
    NodeAdded(Contact),
    Pong(CommandId, Duration),
    Record(CommandId, Box<peerless::wire::enr::Record>),
    Nodes(CommandId, Vec<Contact>),
    CallFailed(CommandId, peerless::contract::CallFailure),
    Unrecognised(Vec<u8>),
    Hello(ConnId, Direction, Contact, Box<peerless::wire::p2p::Hello>),
    Established(ConnId, NodeId, Box<Status>),
    Request { conn: ConnId, request_id: u64, id: u64, body: Vec<u8> },
    Response { command: CommandId, conn: ConnId, id: u64, body: Vec<u8> },
    RequestFailed(CommandId, peerless::contract::CallFailure),
    Message { conn: ConnId, id: u64, payload: Vec<u8> },
    Ended { conn: ConnId, id: Option<NodeId>, direction: Direction, end: End },
    Scored(NodeId, i32, ScoreReason),
    Banned(NodeId, ScoreReason),
    Other(String),
}

impl From<Event<'_>> for Seen {
    fn from(event: Event<'_>) -> Self {
        match event {
            Event::NodeAdded { contact } => Self::NodeAdded(contact),
            Event::Pong { command, rtt, .. } => Self::Pong(command, rtt),
            Event::Record { command, record } => Self::Record(command, record),
            Event::Nodes { command, nodes, .. } => Self::Nodes(command, nodes),
            Event::CallFailed { command, why } => Self::CallFailed(command, why),
            Event::Unrecognised { bytes, .. } => Self::Unrecognised(bytes.to_vec()),
            Event::Hello { conn, direction, contact, hello, .. } => Self::Hello(conn, direction, contact, hello),
            Event::Established { conn, id, status } => Self::Established(conn, id, status),
            Event::Request { conn, request_id, id, body, .. } => {
                Self::Request { conn, request_id, id, body: body.to_vec() }
            }
            Event::Response { command, conn, id, body, .. } => {
                Self::Response { command, conn, id, body: body.to_vec() }
            }
            Event::RequestFailed { command, why, .. } => Self::RequestFailed(command, why),
            Event::Message { conn, id, payload, .. } => Self::Message { conn, id, payload: payload.to_vec() },
            Event::Ended { conn, id, direction, end, .. } => Self::Ended { conn, id, direction, end },
            Event::Scored { id, delta, reason, .. } => Self::Scored(id, delta, reason),
            Event::Banned { id, reason, .. } => Self::Banned(id, reason),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// A node and what it has told.
pub struct Member {
    pub node: Node,
    pub contact: Contact,
    pub seen: Vec<(Instant, Seen)>,
    /// The stream end of each connection.
    conns: BTreeMap<ConnId, StreamEnd>,
}

/// One end of a stream: which stream, and which of its two sides.
type StreamEnd = (usize, usize);

/// A stream to a node whose other end, side 0, is nobody's: whoever holds this says what comes out of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Raw {
    stream: usize,
    pub member: usize,
    pub conn: ConnId,
}

/// A datagram as a node sent or received it.
#[derive(Clone, Debug)]
pub struct Wire {
    pub at: Instant,
    pub member: usize,
    pub remote: SocketAddr,
    pub is_sent: bool,
    pub bytes: Vec<u8>,
}

#[derive(Default)]
struct Stream {
    /// Who holds each side.
    ends: [Option<(usize, ConnId)>; 2],
    /// Bytes on their way to each side.
    pipes: [VecDeque<u8>; 2],
    closed: [bool; 2],
    /// Whether side 0 takes no more bytes: a closed window.
    stalled: bool,
}

enum Delivery {
    Datagram { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Connect { stream: usize, to: SocketAddr, from: SocketAddr },
    Bytes { stream: usize, side: usize },
    Write { member: usize, conn: ConnId },
}

/// See the module.
pub struct Net {
    pub now: Instant,
    pub members: Vec<Member>,
    /// Datagrams in a hundred that are lost.
    pub loss_percent: u64,
    /// Dials in a hundred that come to nothing.
    pub dial_loss_percent: u64,
    /// Every datagram of every node, while somebody wants to know.
    pub wire: Option<Vec<Wire>>,
    rng: Rng,
    crypto: Arc<dyn Crypto + Send + Sync>,
    queue: BTreeMap<(Instant, u64), Delivery>,
    queued: u64,
    streams: Vec<Stream>,
    /// A digest of every action of every node, in order.
    digest: [u8; 32],
}

/// A chain of the tests' own, with one fork ahead.
pub fn chain(network_id: u64) -> Chain {
    let schedule = ForkSchedule::new(keccak256(&network_id.to_be_bytes()), 0, &[], &[4_000_000_000]);
    let network = Network { name: format!("test-{network_id}"), network_id, schedule };
    Chain::new(network, Head { number: 100, time: START.as_secs(), hash: [9; 32] }, 0, [0; 32])
}

/// A node's configuration: number `i` on loopback, with a key of its own.
pub fn config(i: usize, network_id: u64) -> Config {
    let mut secret = [0x11; 32];
    secret[24..].copy_from_slice(&(i as u64 + 1).to_be_bytes());
    let port = 30000 + u16::try_from(i).expect("few nodes");
    let mut config = Config::new(SecretKey::from_bytes(secret).expect("in range"), chain(network_id));
    config.addresses.set_ip([127, 0, 0, 1].into());
    (config.addresses.udp, config.addresses.tcp) = (port, port);
    config.filter = "127.0.0.0/8,::1/128".parse().expect("valid");
    config
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self::with_crypto(seed, Arc::new(Secp256k1::new()))
    }

    pub fn with_crypto(seed: u64, crypto: Arc<dyn Crypto + Send + Sync>) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            now: Instant::from_micros(1_000_000),
            members: Vec::new(),
            loss_percent: 0,
            dial_loss_percent: 0,
            wire: None,
            rng: Seed::new(bytes).fork("net"),
            crypto,
            queue: BTreeMap::new(),
            queued: 0,
            streams: Vec::new(),
            digest: [0; 32],
        }
    }

    /// Starts a node; returns its number.
    pub fn add(&mut self, config: Config) -> usize {
        let seed = self.rng.bytes();
        let node = Node::with_crypto(config, seed, self.now, START, self.crypto.clone()).expect("valid configuration");
        let contact = node.contact();
        self.members.push(Member { node, contact, seen: Vec::new(), conns: BTreeMap::new() });
        let i = self.members.len() - 1;
        self.drain(i);
        i
    }

    pub fn contact(&self, i: usize) -> Contact {
        self.members[i].contact
    }

    pub fn command(&mut self, i: usize, command: Command<'_>) -> Result<CommandId, CommandError> {
        let result = self.members[i].node.command(self.now, command);
        self.drain(i);
        result
    }

    /// Hands a node a datagram from anywhere.
    pub fn datagram(&mut self, i: usize, from: SocketAddr, bytes: &[u8]) {
        self.note(i, from, false, bytes);
        self.members[i].node.handle(self.now, Input::Datagram { socket: SocketId::MAIN, from, bytes });
        self.drain(i);
    }

    fn note(&mut self, member: usize, remote: SocketAddr, is_sent: bool, bytes: &[u8]) {
        if let Some(wire) = &mut self.wire {
            wire.push(Wire { at: self.now, member, remote, is_sent, bytes: bytes.to_vec() });
        }
    }

    /// A stream from anywhere; `None` if the node does not accept it.
    pub fn connect_raw(&mut self, to: usize, from: SocketAddr) -> Option<Raw> {
        let conn = self.members[to].node.accept(self.now, SocketId::MAIN, from)?;
        let stream = self.streams.len();
        self.streams.push(Stream { ends: [None, Some((to, conn))], ..Stream::default() });
        self.members[to].conns.insert(conn, (stream, 1));
        self.drain(to);
        Some(Raw { stream, member: to, conn })
    }

    /// Sends bytes into a raw stream.
    pub fn write_raw(&mut self, raw: Raw, bytes: &[u8]) {
        let was_empty = self.streams[raw.stream].pipes[1].is_empty();
        self.streams[raw.stream].pipes[1].extend(bytes);
        if was_empty && !bytes.is_empty() {
            self.later(Delivery::Bytes { stream: raw.stream, side: 1 });
        }
    }

    /// What has come out of a raw stream since the last time.
    pub fn read_raw(&mut self, raw: Raw) -> Vec<u8> {
        self.streams[raw.stream].pipes[0].drain(..).collect()
    }

    /// Whether the node has closed its end.
    pub fn is_closed(&self, raw: Raw) -> bool {
        self.streams[raw.stream].closed[1]
    }

    /// Closes a raw stream.
    pub fn close_raw(&mut self, raw: Raw) {
        self.streams[raw.stream].closed[0] = true;
        self.later(Delivery::Bytes { stream: raw.stream, side: 1 });
    }

    /// Takes no more bytes out of a raw stream, or takes them again.
    pub fn stall_raw(&mut self, raw: Raw, stalled: bool) {
        self.streams[raw.stream].stalled = stalled;
        self.later(Delivery::Write { member: raw.member, conn: raw.conn });
    }

    /// How a connection ended, and when.
    pub fn end(&self, member: usize, of: ConnId) -> Option<(Instant, End)> {
        self.members[member].seen.iter().find_map(|(at, seen)| match seen {
            Seen::Ended { conn, end, .. } if *conn == of => Some((*at, *end)),
            _ => None,
        })
    }

    /// A digest of every action so far.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    /// Established sessions of a node.
    pub fn established(&self, i: usize) -> usize {
        self.members[i].node.sessions().filter(|s| s.stage == Stage::Established && !s.is_ending).count()
    }

    /// The first connection of a node to another that is established.
    pub fn conn(&self, i: usize, to: usize) -> Option<ConnId> {
        let id = self.members[to].contact.id();
        let mut sessions = self.members[i].node.sessions();
        sessions.find(|s| s.id == Some(id) && s.stage == Stage::Established && !s.is_ending).map(|s| s.conn)
    }

    /// Forgets what was seen, and gives back memory that is the net's own.
    pub fn forget(&mut self) {
        self.members.iter_mut().for_each(|member| member.seen = Vec::new());
        self.streams.iter_mut().for_each(|stream| stream.pipes.iter_mut().for_each(VecDeque::shrink_to_fit));
    }

    /// Runs for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until a condition holds; false if `limit` has passed.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !condition(self) {
            if !self.step(until) {
                self.now = until;
                return condition(self);
            }
        }
        true
    }

    /// Does the next thing that is due before `until`.
    fn step(&mut self, until: Instant) -> bool {
        let delivery = self.queue.first_key_value().map(|((at, _), _)| *at);
        let timeout =
            self.members.iter().enumerate().filter_map(|(i, member)| Some((member.node.poll_timeout()?.0, i))).min();
        match (delivery, timeout) {
            (Some(at), timeout) if timeout.is_none_or(|(due, _)| at <= due) => {
                if at > until {
                    return false;
                }
                self.now = self.now.max(at);
                if let Some((_, delivery)) = self.queue.pop_first() {
                    self.deliver(delivery);
                }
                true
            }
            (_, Some((due, i))) => {
                if due > until {
                    return false;
                }
                assert!(due >= self.now, "time goes on");
                self.now = self.now.max(due);
                self.members[i].node.handle(self.now, Input::Timeout);
                if let Some((next, reason)) = self.members[i].node.poll_timeout() {
                    assert!(next > self.now, "the deadline for {reason:?} does not advance");
                }
                self.drain(i);
                true
            }
            (_, None) => false,
        }
    }

    fn later(&mut self, delivery: Delivery) {
        let at = self.now + self.rng.duration(Duration::from_millis(1), Duration::from_millis(5));
        self.at(at, delivery);
    }

    fn at(&mut self, at: Instant, delivery: Delivery) {
        self.queued += 1;
        self.queue.insert((at, self.queued), delivery);
    }

    fn by_addr(&self, addr: SocketAddr) -> Option<usize> {
        self.members.iter().position(|member| member.contact.udp_addr() == addr)
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Datagram { to, from, bytes } => {
                if let Some(i) = self.by_addr(to) {
                    self.datagram(i, from, &bytes);
                }
            }
            Delivery::Connect { stream, to, from } => {
                let Some((dialler, conn)) = self.streams[stream].ends[0] else { return };
                if self.dial_loss_percent > 0 && self.rng.below(100) < self.dial_loss_percent {
                    return self.input(dialler, Input::Broken { conn, why: IoFault::TimedOut });
                }
                let accepted = self
                    .by_addr(to)
                    .and_then(|i| Some((i, self.members[i].node.accept(self.now, SocketId::MAIN, from)?)));
                match accepted {
                    Some((i, theirs)) => {
                        self.streams[stream].ends[1] = Some((i, theirs));
                        self.members[i].conns.insert(theirs, (stream, 1));
                        self.drain(i);
                        self.input(dialler, Input::Connected { conn, local: None });
                    }
                    None => self.input(dialler, Input::Broken { conn, why: IoFault::Refused }),
                }
            }
            Delivery::Bytes { stream, side } => {
                let Some((i, conn)) = self.streams[stream].ends[side] else { return };
                if self.streams[stream].closed[side] {
                    return;
                }
                let waiting = self.streams[stream].pipes[side].len();
                if waiting == 0 {
                    if self.streams[stream].closed[1 - side] {
                        self.input(i, Input::Eof { conn });
                    }
                    return;
                }
                if self.members[i].node.wants_read(conn) {
                    let n = 1 + self.rng.below(waiting.min(700) as u64) as usize;
                    let n = if self.rng.below(4) == 0 { waiting } else { n.min(waiting) };
                    let bytes: Vec<u8> = self.streams[stream].pipes[side].drain(..n).collect();
                    self.input(i, Input::Bytes { conn, bytes: &bytes });
                }
                self.later(Delivery::Bytes { stream, side });
            }
            Delivery::Write { member, conn } => {
                let Some((stream, side)) = self.members[member].conns.get(&conn).copied() else { return };
                let outbound = self.members[member].node.outbound(conn);
                if outbound.is_empty() || self.streams[stream].stalled {
                    return;
                }
                let n = 1 + self.rng.below(outbound.len() as u64) as usize;
                let was_empty = self.streams[stream].pipes[1 - side].is_empty();
                let outbound = self.members[member].node.outbound(conn);
                self.streams[stream].pipes[1 - side].extend(&outbound[..n]);
                self.input(member, Input::Wrote { conn, n });
                if was_empty {
                    self.later(Delivery::Bytes { stream, side: 1 - side });
                }
                self.later(Delivery::Write { member, conn });
            }
        }
    }

    fn input(&mut self, i: usize, input: Input<'_>) {
        self.members[i].node.handle(self.now, input);
        self.drain(i);
    }

    fn drain(&mut self, i: usize) {
        let from = self.members[i].contact.udp_addr();
        loop {
            let mut queued = None;
            let Member { node, seen, conns, .. } = &mut self.members[i];
            let Some(action) = node.poll_action() else { break };
            let mut record = format!("{i} {} ", self.now).into_bytes();
            match action {
                Action::Send { to, bytes, .. } => {
                    record.extend_from_slice(bytes);
                    queued = Some(Delivery::Datagram { to, from, bytes: bytes.to_vec() });
                }
                Action::Dial { conn, to } => {
                    record.extend(format!("dial {conn} {to}").bytes());
                    let stream = self.streams.len();
                    self.streams.push(Stream { ends: [Some((i, conn)), None], ..Stream::default() });
                    conns.insert(conn, (stream, 0));
                    queued = Some(Delivery::Connect { stream, to, from: SocketAddr::new(from.ip(), 50_000) });
                }
                Action::Flush { conn } => {
                    record.extend(format!("flush {conn}").bytes());
                    queued = Some(Delivery::Write { member: i, conn });
                }
                Action::Close { conn } => {
                    record.extend(format!("close {conn}").bytes());
                    if let Some((stream, side)) = conns.remove(&conn) {
                        self.streams[stream].closed[side] = true;
                        queued = Some(Delivery::Bytes { stream, side: 1 - side });
                    }
                }
                Action::Query { id, what } => record.extend(format!("query {} {what:?}", id.0).bytes()),
                Action::Emit(event) => {
                    record.extend(format!("{event:?}").bytes());
                    seen.push((self.now, event.into()));
                }
            }
            record.extend_from_slice(&self.digest);
            self.digest = keccak256(&record);
            if let Some(Delivery::Datagram { to, bytes, .. }) = &queued {
                self.note(i, *to, true, bytes);
            }
            match queued {
                Some(Delivery::Datagram { .. }) if self.rng.below(100) < self.loss_percent => {}
                Some(delivery) => self.later(delivery),
                None => {}
            }
        }
    }
}
