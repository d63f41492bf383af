//! A whole node under any list of delays and inputs: total, bounded, its deadlines advance, every connection ends once,
//! and the same list gives the same actions.
//!
//! Its peers are scripted ([`Remote`]), have valid MACs, and reach sessions.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use peerless::contract::{Action, Command, ConnId, Event, Input, IoFault, PeerKind, SocketId, Via};
use peerless::crypto::{Crypto, Digest, keccak256};
use peerless::eth::Policy;
use peerless::limits;
use peerless::node::Node;
use peerless::testing::{START, chain, config};
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv4::{Endpoint, Packet};
use peerless::wire::enode::Contact;
use peerless::wire::eth;
use peerless::wire::forkid::Head;
use peerless::wire::p2p::{self, Capability, DisconnectReason, Hello};
use peerless::wire::schema::Role;

use super::crypto::secret;
use super::remote::Remote;
use super::{Cheap, Choices, Memory, Reached, Target, list_of};

/// All inputs of a driver.
pub const NODE: Target = Target {
    name: "node",
    body: node,
    memory: Memory::machine(24),
    landmarks: &[
        "hello",
        "established",
        "message",
        "request",
        "responded",
        "ended",
        "dialled",
        "closed",
        "session ended by peer",
        "scored",
        "pong sent",
        "node added",
        "shut down",
        "undrained",
        "foreign",
    ],
    generated: (250, 500),
};

fn node(data: &[u8], reached: &mut Reached) {
    let first = run(data, reached);
    let second = run(data, &mut Reached::default());
    assert_eq!(first, second, "the same inputs and drains give the same actions");
}

struct World {
    node: Node,
    now: Instant,
    remotes: BTreeMap<ConnId, Remote>,
    /// Accepted or dialled, and not ended.
    open: Vec<ConnId>,
    /// Open requests of the peers.
    asked: Vec<(ConnId, Capability, u64, u64)>,
    digest: Digest,
}

fn run(data: &[u8], reached: &mut Reached) -> Digest {
    let mut choices = Choices::new(data);
    let mut config = config(0, 1);
    config.filter = Default::default();
    config.peers.max_peers = choices.pick(&[4, 50, 1]);
    config.status = if choices.once_in(8) { Policy::Mirror } else { Policy::Announce };
    if choices.once_in(4) {
        config.discovery.switch_off();
    }
    let node = Node::with_crypto(config, [choices.byte(); 32], Instant::ZERO, START, Arc::new(Cheap)).expect("valid");
    let mut world = World {
        node,
        now: Instant::ZERO,
        remotes: BTreeMap::new(),
        open: Vec::new(),
        asked: Vec::new(),
        digest: [0; 32],
    };
    let mut steps = 0;
    while !choices.is_empty() && steps < 400 {
        steps += 1;
        world.step(&mut choices, reached);
        let (now, node) = (world.now, &world.node);
        if let Some((at, reason)) = node.poll_timeout() {
            assert!(at > now, "the deadline for {reason:?} does not advance");
        }
        if choices.once_in(8) {
            reached.note("undrained");
        } else {
            world.drain(reached);
        }
    }
    // The remaining peers are disconnected.
    world.node.handle(world.now, Input::Command(Command::Shutdown));
    reached.note("shut down");
    for _ in 0..4 {
        world.drain(reached);
        world.now = world.now + limits::CLOSING_TIMEOUT;
        world.node.handle(world.now, Input::Timeout);
    }
    world.drain(reached);
    assert!(world.open.is_empty(), "every connection ends: {:?}", world.open);
    assert_eq!((world.node.sessions().count(), world.node.peers().counts().total()), (0, 0));
    world.digest
}

fn address(choices: &mut Choices<'_>) -> SocketAddr {
    let ip = choices.pick(&[[127, 0, 0, 1], [8, 8, 8, 8], [9, 9, 9, 9], [10, 0, 0, 7]]);
    SocketAddr::from((ip, 30303 + u16::from(choices.byte() & 3)))
}

fn contact(choices: &mut Choices<'_>) -> Contact {
    let addr = address(choices);
    Contact::new(Cheap.public_key(&peer(choices)), addr.ip(), addr.port(), addr.port())
}

fn peer(choices: &mut Choices<'_>) -> peerless::crypto::SecretKey {
    secret(30 + choices.byte() % 6)
}

impl World {
    fn conn(&self, choices: &mut Choices<'_>) -> ConnId {
        let at = choices.below(self.open.len());
        if choices.once_in(32) { ConnId(choices.number()) } else { self.open.get(at).copied().unwrap_or(ConnId(0)) }
    }

    fn handle(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
    }

    fn step(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        match choices.below(24) {
            0 | 1 => {
                let (from, salt) = (address(choices), choices.byte());
                if let Some(conn) = self.node.accept(self.now, SocketId::MAIN, from) {
                    let mut remote = Remote::dial(peer(choices), self.node.contact().key(), salt);
                    self.open.push(conn);
                    // Most want to come as far as a session.
                    if !choices.once_in(4) {
                        self.exchange(conn, &mut remote, choices);
                        self.greet(&mut remote, choices);
                        self.exchange(conn, &mut remote, choices);
                    }
                    self.remotes.insert(conn, remote);
                }
            }
            2..=9 => {
                let conn = self.conn(choices);
                let Some(mut remote) = self.remotes.remove(&conn) else { return };
                if remote.is_open() {
                    self.peer_says(&mut remote, choices);
                }
                self.exchange(conn, &mut remote, choices);
                self.remotes.insert(conn, remote);
            }
            10 => {
                let (conn, contact) = (self.conn(choices), contact(choices));
                let command = match choices.below(8) {
                    0 => Command::Dial { contact },
                    1 => Command::AddPeer { contact, kind: choices.pick(&[PeerKind::Static, PeerKind::Trusted]) },
                    2 => Command::RemovePeer { id: contact.id() },
                    3 => Command::Ping { via: Via::Discv4, contact },
                    4 => Command::Lookup { target: [choices.byte(); 64] },
                    5 => Command::Disconnect { conn, reason: DisconnectReason::from_code(choices.byte() & 31) },
                    6 => Command::RequestRecord { via: Via::Discv4, contact },
                    _ => Command::AddNode { contact },
                };
                self.handle(Input::Command(command));
            }
            11 | 12 => self.we_say(choices, reached),
            13 => {
                let conn = self.conn(choices);
                self.handle(Input::Connected { conn, local: None });
            }
            14 => {
                let conn = self.conn(choices);
                self.handle(match choices.below(4) {
                    0 => Input::Eof { conn },
                    1 => Input::Broken {
                        conn,
                        why: choices.pick(&[IoFault::Reset, IoFault::Refused, IoFault::Exhausted]),
                    },
                    2 => Input::Wrote { conn, n: choices.below(70_000) },
                    _ => Input::Bytes { conn, bytes: choices.bytes(200) },
                });
            }
            15..=17 => self.datagram(choices),
            18 => {
                let unix = if choices.flag() { START } else { UnixTime::from_secs(choices.number()) };
                self.handle(Input::WallClock { unix });
            }
            19 => {
                let head = Head { number: choices.number(), time: choices.number(), hash: [1; 32] };
                self.handle(Input::Command(Command::SetHead { head, earliest: choices.number() }));
            }
            20 if choices.once_in(32) => self.handle(Input::Command(Command::Shutdown)),
            20 | 21 => {
                // Time may also run backwards, or a timeout come early.
                let span = choices.span();
                let earlier = Instant::from_micros(self.now.as_micros() / 2);
                if choices.once_in(8) {
                    self.node.handle(earlier, Input::Timeout);
                } else {
                    self.now = self.now + span;
                    self.handle(Input::Timeout);
                }
            }
            _ => {
                if let Some((at, _)) = self.node.poll_timeout() {
                    self.now = at;
                }
                self.handle(Input::Timeout);
            }
        }
    }

    /// Carries bytes both ways until none is left.
    fn exchange(&mut self, conn: ConnId, remote: &mut Remote, choices: &mut Choices<'_>) {
        for _ in 0..8 {
            let bytes = self.node.outbound(conn).to_vec();
            remote.hear(&bytes);
            self.handle(Input::Wrote { conn, n: bytes.len() });
            let mut said = remote.out.as_slice().to_vec();
            remote.out.consume(said.len());
            if said.is_empty() && bytes.is_empty() {
                break;
            }
            if !said.is_empty() && choices.once_in(64) {
                let at = choices.below(said.len());
                said[at] ^= 1;
            }
            let mut rest = &said[..];
            while !rest.is_empty() {
                let (chunk, later) = rest.split_at((1 + choices.below(5000)).min(rest.len()));
                rest = later;
                self.handle(Input::Bytes { conn, bytes: chunk });
            }
        }
    }

    /// Hello and Status, mostly good ones.
    fn greet(&self, remote: &mut Remote, choices: &mut Choices<'_>) {
        let offered = choices.pick(&[&["eth/69"][..], &["eth/68", "eth/69"], &["eth/68"], &["les/4"]]);
        let hello = Hello {
            version: choices.pick(&[5, 5, 4]),
            client: "peer".into(),
            capabilities: offered.iter().map(|name| name.parse().expect("a capability")).collect(),
            port: 30303,
            key: *remote.key().as_bytes(),
        };
        remote.say_hello(&hello);
        let version = if offered.contains(&"eth/69") { 69 } else { 68 };
        let mut status = chain(1).status(version);
        if choices.once_in(16) {
            status.network_id = 2;
        }
        remote.say(16, &status.encode());
    }

    fn peer_says(&mut self, remote: &mut Remote, choices: &mut Choices<'_>) {
        let body = [0xc3, 0x01, 0x02, 0x03];
        match choices.below(12) {
            0 => self.greet(remote, choices),
            1 => remote.say(p2p::id::PING, &p2p::EMPTY_PAYLOAD),
            2 => remote.say(p2p::id::PONG, &p2p::EMPTY_PAYLOAD),
            3 if choices.once_in(4) => {
                remote.say(p2p::id::DISCONNECT, &DisconnectReason::from_code(choices.byte() & 31).encode());
            }
            4..=6 => {
                let payload = [eth::envelope(u64::from(choices.byte()), body.len()).as_slice(), &body].concat();
                remote.say(16 + choices.pick(&[eth::id::GET_BLOCK_HEADERS, eth::id::GET_RECEIPTS]), &payload);
            }
            7 => {
                // An answer to what we asked.
                while let Some((id, payload)) = remote.next_heard() {
                    if let Some(Role::Request { answer }) = eth::role(69, id.wrapping_sub(16))
                        && let Ok((request_id, _)) = eth::request_id(&payload)
                    {
                        let answered = [eth::envelope(request_id, body.len()).as_slice(), &body].concat();
                        remote.say(16 + answer, &answered);
                    }
                }
            }
            8 | 9 => {
                let bytes = choices.bytes(60).repeat(1 + usize::from(choices.byte()));
                remote.say(16 + eth::id::TRANSACTIONS, &list_of(&bytes));
            }
            10 => remote.say(u64::from(choices.byte() & 0x3f), choices.bytes(60)),
            _ => remote.say_body(choices.bytes(60)),
        }
    }

    fn we_say(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let conn = self.conn(choices);
        match choices.below(4) {
            0 => {
                let asked = choices.below(self.asked.len());
                if let Some((conn, capability, request_id, id)) = self.asked.get(asked).copied() {
                    let command = Command::Respond { conn, capability, request_id, id, body: &[0xc0] };
                    if self.node.command(self.now, command).is_ok() {
                        reached.note("responded");
                        self.asked.remove(asked);
                    }
                }
            }
            1 => {
                let capability = Capability::eth(if conn.0 % 4 == 3 { 68 } else { 69 });
                let id = choices.pick(&[eth::id::GET_BLOCK_HEADERS, eth::id::GET_BLOCK_BODIES, 0x1f]);
                self.handle(Input::Command(Command::Request { conn, capability, id, body: choices.bytes(40) }));
            }
            _ => {
                let capability = Capability::eth(choices.pick(&[69, 68]));
                let payload = choices.bytes(60).repeat(1 + usize::from(choices.byte()));
                let id = u64::from(choices.byte() & 31);
                self.handle(Input::Command(Command::Send { conn, capability, id, payload: &payload }));
            }
        }
    }

    fn datagram(&mut self, choices: &mut Choices<'_>) {
        let from = address(choices);
        let expiration = UnixTime::from_secs(START.as_secs() + self.now.as_micros() / 1_000_000 + 20);
        let endpoint = Endpoint::from(from);
        let packet = match choices.below(4) {
            0 => Packet::FindNode { target: [choices.byte(); 64], expiration },
            1 => Packet::EnrRequest { expiration },
            _ => Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None },
        };
        let mut bytes = Vec::new();
        packet.seal(&Cheap, &peer(choices), &mut bytes);
        if choices.once_in(16) {
            let at = choices.below(bytes.len());
            bytes[at] ^= 1 << choices.below(8);
        }
        self.handle(Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes });
    }

    fn drain(&mut self, reached: &mut Reached) {
        let mut pings = Vec::new();
        while let Some(action) = self.node.poll_action() {
            let mut record = format!("{action:?}").into_bytes();
            record.extend_from_slice(&self.digest);
            self.digest = keccak256(&record);
            match action {
                Action::Send { to, bytes, .. } => {
                    if bytes.get(97) == Some(&2) {
                        reached.note("pong sent");
                    }
                    // Peers answer pings from wherever they are meant to be.
                    if bytes.get(97) == Some(&1) && bytes.len() >= 32 {
                        let mut hash = [0; 32];
                        hash.copy_from_slice(&bytes[..32]);
                        pings.push((to, hash));
                    }
                }
                Action::Dial { conn, .. } => {
                    reached.note("dialled");
                    self.open.push(conn);
                    self.remotes.insert(conn, Remote::accept(secret(30), conn.0 as u8));
                }
                Action::Close { .. } => reached.note("closed"),
                Action::Query { what, .. } => panic!("the configuration names nothing to resolve: {what:?}"),
                Action::Emit(event) => match event {
                    Event::Hello { .. } => reached.note("hello"),
                    Event::Established { status, .. } => {
                        reached.note("established");
                        if status.network_id != 1 {
                            reached.note("foreign");
                        }
                    }
                    Event::Message { .. } => reached.note("message"),
                    Event::Request { conn, capability, request_id, id, .. } => {
                        reached.note("request");
                        self.asked.push((conn, capability, request_id, id));
                    }
                    Event::Scored { .. } => reached.note("scored"),
                    Event::NodeAdded { .. } => reached.note("node added"),
                    Event::Ended { conn, end, .. } => {
                        reached.note("ended");
                        if end.by == peerless::contract::Side::Them {
                            reached.note("session ended by peer");
                        }
                        let at = self.open.iter().position(|open| *open == conn).expect("a connection ends once");
                        self.open.remove(at);
                        self.remotes.remove(&conn);
                        self.asked.retain(|(asked, ..)| *asked != conn);
                    }
                    _ => {}
                },
                Action::Flush { .. } => {}
            }
        }
        for (to, ping_hash) in pings {
            // Only the holder of that peer's key proves an endpoint by its pong.
            for key in 30..36 {
                let expiration = UnixTime::from_secs(START.as_secs() + self.now.as_micros() / 1_000_000 + 20);
                let pong = Packet::Pong { to: Endpoint::from(to), ping_hash, expiration, enr_seq: None };
                let mut bytes = Vec::new();
                pong.seal(&Cheap, &secret(key), &mut bytes);
                self.node.handle(self.now, Input::Datagram { socket: SocketId::MAIN, from: to, bytes: &bytes });
            }
        }
    }
}
