//! A hostile host: a real node, so that it gets into tables and sessions, with a wrapper that now and then sends
//! messages that no honest node sends.
//!
//! Its own messages are signed with its true key where a signature is required: a fuzzer that never passes a MAC tests
//! nothing.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use peerless::contract::{Action, Command, CommandError, CommandId, ConnId, Input, SocketId, Stage};
use peerless::crypto::{Crypto, SecretKey};
use peerless::node::Node;
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::discv4::{Endpoint, Kind, NEIGHBORS_PER_PACKET, Neighbor, Packet};
use peerless::wire::eth;
use peerless::wire::p2p::Capability;

use crate::mix::Stream;
use crate::network::Addr;
use crate::network::address::PORT;
use crate::world::Birth;
use crate::{HostId, scenery};

/// The kind of misbehaviour of a hostile host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Malice {
    /// Random bytes: in datagrams, instead of a handshake, as messages.
    Garbage,
    /// Repetition: datagrams sent again long after, a second Status.
    Stale,
    /// Unsolicited answers, with invented nodes.
    Unsolicited,
    /// Excess: too many datagrams, a handshake or a message that is too large.
    Oversize,
    /// Lies about neighbours: every FindNode is answered with invented nodes.
    Misleading,
    /// Streams on which it says nothing.
    Silent,
    /// Streams on which it sends the bytes of a handshake one by one.
    Slow,
    /// Forwards each datagram of one of two hosts to the other, unchanged, from its own address.
    Relay([HostId; 2]),
}

impl Malice {
    /// The kinds of false messages.
    pub const MESSAGES: [Self; 4] = [Self::Garbage, Self::Stale, Self::Unsolicited, Self::Oversize];

    /// The most streams of its own at a time.
    const fn streams_max(self) -> usize {
        match self {
            Self::Garbage | Self::Stale | Self::Unsolicited | Self::Oversize => 4,
            Self::Silent | Self::Slow => 64,
            Self::Misleading | Self::Relay(_) => 0,
        }
    }
}

/// Time between two acts of misbehaviour.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(5));
/// Addresses that it knows, and datagrams that it keeps.
const MEMORY: usize = 64;
/// Ids of its own connections are from here on; the node counts from zero.
const OWN_CONNS: u64 = 1 << 40;
/// Bytes of an eth message that is too large for every client; it compresses well.
const OVERSIZE_BYTES: usize = peerless::limits::ETH_MESSAGE_BYTES_MAX + 1;

/// A hostile host; see the module.
pub struct Liar {
    node: Node,
    malice: Malice,
    secret: SecretKey,
    crypto: Arc<dyn Crypto + Send + Sync>,
    stream: Stream,
    /// The wall clock at monotonic zero, approximately.
    unix_at_zero: u64,
    due: Instant,
    known: Vec<SocketAddr>,
    recorded: Vec<Vec<u8>>,
    /// Its own datagrams and dials that wait for the driver.
    todo: VecDeque<Todo>,
    /// The last action, while it is lent.
    lent: Option<Todo>,
    /// Its own streams, with the bytes to write.
    streams: BTreeMap<ConnId, Vec<u8>>,
    conns_made: u64,
    oversize_left: u32,
    /// The addresses of the hosts between which it forwards.
    ends: Option<[SocketAddr; 2]>,
    /// Keys of the nodes that it invents as neighbours.
    invented_keys: Vec<[u8; 64]>,
}

impl fmt::Debug for Liar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Liar").field("malice", &self.malice).finish_non_exhaustive()
    }
}

enum Todo {
    Send(SocketAddr, Vec<u8>),
    Dial(ConnId, SocketAddr),
    Flush(ConnId),
    Close(ConnId),
}

impl Liar {
    /// Wraps `node` at its birth.
    pub fn new(node: Node, malice: Malice, birth: &Birth<'_>, mut stream: Stream) -> Self {
        let (now, unix) = (birth.now, birth.unix);
        let due = now + stream.duration(PAUSE.0, PAUSE.1);
        let addr = |host| Addr { ip: birth.addresses.ip(host), port: PORT }.into();
        let ends = if let Malice::Relay(ends) = malice { Some(ends.map(addr)) } else { None };
        Self {
            node,
            malice,
            secret: scenery::secret(birth.host),
            crypto: birth.crypto.clone(),
            stream,
            unix_at_zero: unix.as_secs().saturating_sub(now.as_micros() / 1_000_000),
            due,
            known: Vec::new(),
            recorded: Vec::new(),
            todo: VecDeque::new(),
            lent: None,
            streams: BTreeMap::new(),
            conns_made: 0,
            oversize_left: 2,
            ends,
            invented_keys: Vec::new(),
        }
    }

    /// The wrapped node.
    pub fn node(&self) -> &Node {
        &self.node
    }

    pub(super) fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Connected { conn, .. } | Input::Wrote { conn, .. } | Input::Bytes { conn, .. }
                if conn.0 >= OWN_CONNS =>
            {
                self.handle_own(conn, &input);
            }
            Input::Eof { conn } | Input::Broken { conn, .. } if conn.0 >= OWN_CONNS => {
                if self.streams.remove(&conn).is_some() && matches!(input, Input::Eof { .. }) {
                    self.todo.push_back(Todo::Close(conn));
                }
            }
            Input::Timeout => {
                if self.due <= now {
                    self.due = now + self.stream.duration(PAUSE.0, PAUSE.1);
                    self.misbehave(now);
                }
                self.node.handle(now, input);
            }
            _ => {
                if let Input::Datagram { from, bytes, .. } = input {
                    let place = self.stream.below(MEMORY as u64) as usize;
                    keep(&mut self.known, place, from);
                    keep(&mut self.recorded, place, bytes.to_vec());
                    self.forward(from, bytes);
                    if self.malice == Malice::Misleading && bytes.get(97) == Some(&(Kind::FindNode as u8)) {
                        let bytes = self.neighbors(now, NEIGHBORS_PER_PACKET as u64);
                        return self.todo.push_back(Todo::Send(from, bytes));
                    }
                }
                self.node.handle(now, input);
            }
        }
    }

    pub(super) fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.node.accept(now, socket, from)
    }

    pub(super) fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        self.node.command(now, command)
    }

    pub(super) fn poll_action(&mut self) -> Option<Action<'_>> {
        self.lent = self.todo.pop_front();
        match &self.lent {
            Some(Todo::Send(to, bytes)) => Some(Action::Send { socket: SocketId::MAIN, to: *to, bytes }),
            Some(Todo::Dial(conn, to)) => Some(Action::Dial { conn: *conn, to: *to }),
            Some(Todo::Flush(conn)) => Some(Action::Flush { conn: *conn }),
            Some(Todo::Close(conn)) => Some(Action::Close { conn: *conn }),
            None => self.node.poll_action(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let node = self.node.poll_timeout().map(|(at, _)| at);
        Some(node.map_or(self.due, |at| at.min(self.due)))
    }

    pub(super) fn outbound(&self, conn: ConnId) -> &[u8] {
        self.streams.get(&conn).map_or_else(|| self.node.outbound(conn), Vec::as_slice)
    }

    pub(super) fn wants_read(&self, conn: ConnId) -> bool {
        conn.0 >= OWN_CONNS || self.node.wants_read(conn)
    }

    /// Writes one message to its own stream when it is open.
    fn handle_own(&mut self, conn: ConnId, input: &Input<'_>) {
        let Some(bytes) = self.streams.get_mut(&conn) else { return };
        match input {
            Input::Connected { .. } => {
                match self.malice {
                    Malice::Silent | Malice::Slow => return,
                    // A handshake that announces the largest 16-bit size.
                    Malice::Oversize => {
                        bytes.extend([0xff, 0xff]);
                        bytes.extend((0..8192).map(|_| self.stream.u64() as u8));
                    }
                    // A handshake of a correct size with random bytes.
                    _ => {
                        bytes.extend([1, 0x60]);
                        bytes.extend((0..0x160 + self.stream.below(200)).map(|_| self.stream.u64() as u8));
                    }
                }
                self.todo.push_back(Todo::Flush(conn));
            }
            Input::Wrote { n, .. } => {
                bytes.drain(..(*n).min(bytes.len()));
            }
            _ => {}
        }
    }

    fn misbehave(&mut self, now: Instant) {
        if !self.known.is_empty() {
            let to = self.known[self.stream.below(self.known.len() as u64) as usize];
            let bytes = self.datagram(now, to);
            let is_due = match self.malice {
                Malice::Silent | Malice::Slow => true,
                Malice::Misleading | Malice::Relay(_) => false,
                _ => {
                    self.todo.push_back(Todo::Send(to, bytes));
                    self.stream.below(8) == 0
                }
            };
            if is_due && self.streams.len() < self.malice.streams_max() {
                self.dial(to);
            }
        }
        match self.malice {
            Malice::Slow => self.trickle(),
            _ if self.stream.below(8) == 0 => self.talk(now),
            _ => {}
        }
    }

    fn dial(&mut self, to: SocketAddr) {
        let conn = ConnId(OWN_CONNS + self.conns_made);
        self.conns_made += 1;
        self.streams.insert(conn, Vec::new());
        self.todo.push_back(Todo::Dial(conn, to));
    }

    /// Writes one byte of a handshake to each of its own streams.
    fn trickle(&mut self) {
        for (conn, bytes) in &mut self.streams {
            bytes.push(1);
            self.todo.push_back(Todo::Flush(*conn));
        }
    }

    /// Forwards a datagram between the two hosts of a relay.
    fn forward(&mut self, from: SocketAddr, bytes: &[u8]) {
        let Some([a, b]) = self.ends else { return };
        let to = if from == a { b } else { a };
        if from == a || from == b {
            self.todo.push_back(Todo::Send(to, bytes.to_vec()));
        }
    }

    /// A Neighbors with so many invented nodes.
    fn neighbors(&mut self, now: Instant, count: u64) -> Vec<u8> {
        let nodes = (0..count).map(|_| self.invented()).collect();
        let mut bytes = Vec::new();
        let packet = Packet::Neighbors { nodes, expiration: self.soon(now) };
        packet.seal(&*self.crypto, &self.secret, &mut bytes);
        bytes
    }

    fn soon(&self, now: Instant) -> UnixTime {
        UnixTime::from_secs(self.unix_at_zero + now.as_micros() / 1_000_000 + 20)
    }

    /// Makes a false datagram; empty if it sends none.
    fn datagram(&mut self, now: Instant, to: SocketAddr) -> Vec<u8> {
        let soon = self.soon(now);
        let mut bytes = Vec::new();
        match self.malice {
            Malice::Misleading | Malice::Silent | Malice::Slow | Malice::Relay(_) => {}
            Malice::Garbage => {
                // Half of the datagrams are random; half are a recorded packet with a flipped bit and a correct hash.
                let recorded = self.recorded[self.stream.below(self.recorded.len() as u64) as usize].clone();
                if self.stream.below(2) == 0 || recorded.len() < 99 {
                    bytes.extend((0..self.stream.below(1281)).map(|_| self.stream.u64() as u8));
                } else {
                    bytes = recorded;
                    let bit = 32 * 8 + self.stream.below((bytes.len() as u64 - 32) * 8) as usize;
                    bytes[bit / 8] ^= 1 << (bit % 8);
                    let hash = self.crypto.datagram_hash(&bytes[32..]);
                    bytes[..32].copy_from_slice(&hash);
                }
            }
            Malice::Stale => {
                bytes = self.recorded[self.stream.below(self.recorded.len() as u64) as usize].clone();
            }
            Malice::Unsolicited => {
                let packet = match self.stream.below(3) {
                    0 => Packet::Pong {
                        to: Endpoint::from(to),
                        ping_hash: self.stream.bytes_32(),
                        expiration: soon,
                        enr_seq: Some(self.stream.u64()),
                    },
                    1 => {
                        let nodes = (0..12).map(|_| self.invented()).collect();
                        Packet::Neighbors { nodes, expiration: soon }
                    }
                    _ => Packet::EnrResponse {
                        request_hash: self.stream.bytes_32(),
                        record: self.node.record().as_bytes().to_vec(),
                    },
                };
                packet.seal(&*self.crypto, &self.secret, &mut bytes);
            }
            Malice::Oversize => {
                let count = 16 + self.stream.below(300);
                bytes = self.neighbors(now, count);
                bytes.truncate(65_000);
            }
        }
        bytes
    }

    /// Invents a node. A lie about neighbours needs a key that is on the curve.
    fn invented(&mut self) -> Neighbor {
        let mut key = [0; 64];
        if self.malice == Malice::Misleading {
            key = self.invented_key();
        } else {
            key[..32].copy_from_slice(&self.stream.bytes_32());
            key[32..].copy_from_slice(&self.stream.bytes_32());
        }
        let ip = std::net::Ipv4Addr::from((self.stream.u64() as u32) | 0x0100_0000);
        Neighbor { ip: ip.into(), udp: 30303, tcp: 30303, key }
    }

    /// One of a few valid keys, which are computed once.
    fn invented_key(&mut self) -> [u8; 64] {
        let place = self.stream.below(MEMORY as u64) as usize;
        if let Some(key) = self.invented_keys.get(place) {
            return *key;
        }
        let mut secret = self.stream.bytes_32();
        secret[0] = 1;
        let secret = SecretKey::from_bytes(secret).expect("in range");
        self.invented_keys.push(*self.crypto.public_key(&secret).as_bytes());
        self.invented_keys[self.invented_keys.len() - 1]
    }

    /// Sends a malformed message to a peer in session.
    fn talk(&mut self, now: Instant) {
        let peers = self.node.sessions().filter(|session| session.stage == Stage::Established && !session.is_ending);
        let peers: Vec<(ConnId, Capability)> = peers
            .filter_map(|session| {
                Some((session.conn, session.shared.iter().find(|shared| shared.capability.is_eth())?.capability))
            })
            .collect();
        if peers.is_empty() {
            return;
        }
        let (conn, capability) = peers[self.stream.below(peers.len() as u64) as usize];
        let (id, payload) = match self.malice {
            Malice::Garbage => {
                let id = [eth::id::GET_BLOCK_HEADERS, eth::id::BLOCK_HEADERS, eth::id::NEW_BLOCK_HASHES];
                let noise = (0..self.stream.below(400)).map(|_| self.stream.u64() as u8).collect();
                (id[self.stream.below(3) as usize], noise)
            }
            // An empty list instead of a second Status, which is a fault whatever its content.
            Malice::Stale => (eth::id::STATUS, vec![0xc0]),
            // [request id, []]
            Malice::Unsolicited => (eth::id::BLOCK_HEADERS, vec![0xc2, 0x07, 0xc0]),
            Malice::Oversize if self.oversize_left > 0 => {
                self.oversize_left -= 1;
                (eth::id::TRANSACTIONS, vec![0; OVERSIZE_BYTES])
            }
            _ => return,
        };
        // A message that its own node refuses to send is left out.
        _ = self.node.command(now, Command::Send { conn, capability, id, payload: &payload });
    }
}

fn keep<T>(items: &mut Vec<T>, place: usize, item: T) {
    match items.get_mut(place) {
        Some(old) => *old = item,
        None => items.push(item),
    }
}
