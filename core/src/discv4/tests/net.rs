//! A network of machines in memory and virtual time, with strangers whose packets the test composes.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::sync::LazyLock;

use super::super::*;
use crate::contract::{Action, Context};
use crate::crypto::{Digest, Secp256k1, keccak256};
use crate::kad::Received;
use crate::limits;
use crate::netfilter::NetFilter;
use crate::rng::Seed;
use crate::time::UnixTime;
use crate::wire::discv4::{Datagram, Kind};

pub(super) static CRYPTO: LazyLock<Arc<Secp256k1>> = LazyLock::new(|| Arc::new(Secp256k1::new()));

/// The wall time at the start.
pub(super) const UNIX: UnixTime = UnixTime::from_secs(1_700_000_000);

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A machine and what it is driven with.
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) machine: Discv4,
    pub(super) context: Context,
    pub(super) rng: Rng,
    pub(super) bootnodes: Vec<SocketAddr>,
    pub(super) events: Vec<Event<'static>>,
    /// Bytes received from and sent to each address, and whether it has answered a ping.
    pub(super) ledger: BTreeMap<SocketAddr, (usize, usize, bool)>,
    pub(super) is_up: bool,
}

impl Peer {
    pub(super) fn contact(&self) -> Contact {
        Contact::new(*self.machine.local().key(), self.addr.ip(), self.addr.port(), self.addr.port())
    }
}

/// A node that the test plays: a key and an address.
pub(super) struct Stranger {
    pub(super) secret: SecretKey,
    pub(super) key: PublicKey,
    pub(super) addr: SocketAddr,
}

impl Stranger {
    pub(super) fn new(n: u8, at: &str) -> Self {
        let secret = SecretKey::from_bytes([n; 32]).unwrap();
        Self { key: CRYPTO.public_key(&secret), secret, addr: addr(at) }
    }

    pub(super) fn contact(&self) -> Contact {
        Contact::new(self.key, self.addr.ip(), self.addr.port(), self.addr.port())
    }

    pub(super) fn at(&self, at: &str) -> Self {
        Self { secret: self.secret.clone(), key: self.key, addr: addr(at) }
    }
}

/// The network. Datagrams to addresses without a machine wait in `inbox`.
pub(super) struct Net {
    pub(super) now: Instant,
    pub(super) delay: Duration,
    pub(super) peers: Vec<Peer>,
    pub(super) wire: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    pub(super) sent: u64,
    pub(super) inbox: Vec<(SocketAddr, Vec<u8>)>,
    /// A hash of everything sent so far.
    pub(super) trace: Digest,
}

impl Net {
    pub(super) fn new() -> Self {
        Self {
            now: Instant::ZERO,
            delay: millis(20),
            peers: vec![],
            wire: BTreeMap::new(),
            sent: 0,
            inbox: vec![],
            trace: [0; 32],
        }
    }

    /// One machine without bootnodes, after its first timeout.
    pub(super) fn with_victim() -> Self {
        let mut net = Self::new();
        net.add("100.0.0.1:30303", &[]);
        net.run(millis(1));
        net
    }

    pub(super) fn add(&mut self, at: &str, bootnodes: &[usize]) -> usize {
        self.add_with(at, bootnodes, NetFilter::default())
    }

    pub(super) fn add_with(&mut self, at: &str, bootnodes: &[usize], filter: NetFilter) -> usize {
        let index = self.peers.len();
        let at = addr(at);
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
        let mut rng = Seed::new(seed).fork("discv4");
        let unix = UNIX.plus_secs(self.now.since(Instant::ZERO).as_secs());
        let mut context = Context::new(self.now, unix, filter, CRYPTO.clone());
        let secret = SecretKey::generate(&mut rng);
        let local = Local::new(&**CRYPTO, secret, Endpoint { tcp: at.port(), ..Endpoint::from(at) }, None);
        let contacts = bootnodes.iter().map(|i| self.peers[*i].contact()).collect();
        let config = Config { bootnodes: contacts, ..Config::default() };
        let machine = Discv4::new(&mut context.cx(&mut rng), config, local);
        let bootnodes = bootnodes.iter().map(|i| self.peers[*i].addr).collect();
        let (events, ledger) = (vec![], BTreeMap::new());
        self.peers.push(Peer { addr: at, machine, context, rng, bootnodes, events, ledger, is_up: true });
        index
    }

    /// Calls a machine, delivers what it sends and collects its events.
    pub(super) fn with<R>(&mut self, index: usize, f: impl FnOnce(&mut Discv4, &mut Cx<'_>) -> R) -> R {
        let peer = &mut self.peers[index];
        peer.context.advance(self.now);
        let result = f(&mut peer.machine, &mut peer.context.cx(&mut peer.rng));
        while let Some(action) = peer.context.out.pop() {
            match action {
                Action::Send { to, bytes, .. } => {
                    let (received, sent, is_proven) = peer.ledger.entry(to).or_default();
                    *sent += bytes.len();
                    assert!(
                        *is_proven || peer.bootnodes.contains(&to) || *sent <= 3 * *received + 1280,
                        "{sent} bytes to {to}, from which {received} came"
                    );
                    let when = self.now.as_micros().to_be_bytes();
                    self.trace = keccak256(&[&self.trace[..], &when, bytes].concat());
                    self.sent += 1;
                    self.wire.insert((self.now + self.delay, self.sent), (peer.addr, to, bytes.to_vec()));
                }
                Action::Emit(event) => peer.events.push(owned(event)),
                other => panic!("{other:?}"),
            }
        }
        assert!(peer.machine.calls.len() <= limits::CALLS_MAX);
        result
    }

    pub(super) fn deliver(&mut self, index: usize, from: SocketAddr, bytes: &[u8]) -> Received {
        self.peers[index].ledger.entry(from).or_default().0 += bytes.len();
        // A pong counts as proof if the machine acts upon it.
        let is_pong = Datagram::split(bytes).and_then(|datagram| datagram.kind()) == Ok(Kind::Pong);
        let calls = self.peers[index].machine.calls.len();
        let was_proven = self.peers[index].ledger.get(&from).is_some_and(|entry| entry.2);
        if is_pong && calls > 0 {
            self.peers[index].ledger.entry(from).or_default().2 = true;
        }
        let known = self.added(index);
        let verdict = self.with(index, |machine, cx| machine.handle_datagram(cx, from, bytes));
        self.check_growth(index, known, verdict.growth);
        let received = verdict.received;
        if is_pong && received != Received::Handled {
            self.peers[index].ledger.entry(from).or_default().2 = was_proven;
        }
        received
    }

    /// Fires a machine's timeout.
    pub(super) fn timeout(&mut self, index: usize) -> Growth {
        let known = self.added(index);
        let growth = self.with(index, Discv4::handle_timeout);
        self.check_growth(index, known, growth);
        growth
    }

    /// Number of nodes that a machine has emitted as added.
    fn added(&self, index: usize) -> usize {
        self.peers[index].events.iter().filter(|event| matches!(event, Event::NodeAdded { .. })).count()
    }

    fn check_growth(&self, index: usize, known: usize, growth: Growth) {
        assert_eq!(growth == Growth::Grew, self.added(index) > known, "growth is told where nodes are added");
    }

    /// Advances time, delivering datagrams and firing timeouts in order.
    pub(super) fn run(&mut self, duration: Duration) {
        let end = self.now + duration;
        loop {
            let datagram = self.wire.first_key_value().map(|((at, _), _)| *at);
            let up = self.peers.iter().enumerate().filter(|(_, peer)| peer.is_up);
            let timer = up.filter_map(|(i, peer)| Some((peer.machine.poll_timeout()?.0, i))).min();
            let next = datagram.into_iter().chain(timer.map(|(at, _)| at)).min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            if datagram == Some(next) {
                let Some((_, (from, to, bytes))) = self.wire.pop_first() else { break };
                match self.peers.iter().position(|peer| peer.addr == to) {
                    Some(index) if self.peers[index].is_up => _ = self.deliver(index, from, &bytes),
                    Some(_) => {}
                    None => self.inbox.push((to, bytes)),
                }
            } else if let Some((_, index)) = timer {
                _ = self.timeout(index);
                let due = self.peers[index].machine.poll_timeout();
                assert!(due.is_none_or(|(due, _)| due > self.now), "a deadline that does not advance: {due:?}");
            }
        }
        self.now = end;
    }

    pub(super) fn unix(&self) -> UnixTime {
        UNIX.plus_secs(self.now.since(Instant::ZERO).as_secs())
    }

    pub(super) fn soon(&self) -> UnixTime {
        self.unix().plus_secs(20)
    }

    /// Sends a packet from the stranger to the first machine. Returns its hash and what became of it.
    pub(super) fn send(&mut self, stranger: &Stranger, packet: &Packet) -> (Digest, Received) {
        let mut bytes = vec![];
        let hash = packet.seal(&**CRYPTO, &stranger.secret, &mut bytes);
        (hash, self.deliver(0, stranger.addr, &bytes))
    }

    pub(super) fn ping(&self) -> Packet {
        let (from, to) = (Endpoint::from(addr("1.1.1.1:1")), Endpoint::from(self.peers[0].addr));
        let from = Endpoint { tcp: 30303, ..from };
        Packet::Ping { version: 4, from, to, expiration: self.soon(), enr_seq: None }
    }

    pub(super) fn pong(&self, ping_hash: Digest) -> Packet {
        let to = Endpoint::from(self.peers[0].addr);
        Packet::Pong { to, ping_hash, expiration: self.soon(), enr_seq: None }
    }

    pub(super) fn find_node(&self, target: [u8; 64]) -> Packet {
        Packet::FindNode { target, expiration: self.soon() }
    }

    /// Takes what the machines sent to a stranger's address, in order, with the datagrams' hashes.
    pub(super) fn take(&mut self, at: SocketAddr) -> Vec<(Packet, Digest)> {
        self.run(self.delay);
        let (taken, left) = core::mem::take(&mut self.inbox).into_iter().partition(|(to, _)| *to == at);
        self.inbox = left;
        let taken: Vec<(SocketAddr, Vec<u8>)> = taken;
        let open = |bytes: &Vec<u8>| {
            let datagram = Datagram::split(bytes).unwrap();
            datagram.check_hash(&**CRYPTO).unwrap();
            datagram.signer(&**CRYPTO).unwrap();
            (datagram.decode().unwrap(), *datagram.hash)
        };
        taken.iter().map(|(_, bytes)| open(bytes)).collect()
    }

    /// The stranger pings, and answers the ping back.
    pub(super) fn bond(&mut self, stranger: &Stranger) {
        assert!(self.bond_if_pinged(stranger), "no ping back");
    }

    /// The stranger pings, and answers the ping back if there is one.
    pub(super) fn bond_if_pinged(&mut self, stranger: &Stranger) -> bool {
        let ping = self.ping();
        assert_eq!(self.send(stranger, &ping).1, Received::Handled);
        let answers = self.take(stranger.addr);
        let ping_back = answers.into_iter().find(|(packet, _)| packet.kind() == Kind::Ping);
        ping_back.is_some_and(|(_, hash)| {
            let pong = self.pong(hash);
            self.send(stranger, &pong).1 == Received::Handled
        })
    }

    /// Whether the first machine has the stranger in its table.
    pub(super) fn knows_stranger(&self, stranger: &Stranger) -> bool {
        self.peers[0].machine.table().entry(&stranger.key.node_id()).is_some()
    }

    /// Whether one machine has another one in its table.
    pub(super) fn knows(&self, index: usize, other: usize) -> bool {
        self.peers[index].machine.table().entry(self.peers[other].machine.local().id()).is_some()
    }
}

/// Copies an event; those of this machine lend nothing.
fn owned(event: Event<'_>) -> Event<'static> {
    match event {
        Event::NodeAdded { contact } => Event::NodeAdded { contact },
        Event::NodeRemoved { id } => Event::NodeRemoved { id },
        Event::Pong { command, contact, rtt, enr_seq, seen_as } => {
            Event::Pong { command, contact, rtt, enr_seq, seen_as }
        }
        Event::Record { command, record } => Event::Record { command, record },
        Event::Nodes { command, nodes, queries } => Event::Nodes { command, nodes, queries },
        Event::CallFailed { command, why } => Event::CallFailed { command, why },
        other => panic!("{other:?}"),
    }
}

/// A network on loopback in which the first node is the bootnode of all others.
pub(super) fn devnet(count: usize) -> Net {
    let mut net = Net::new();
    net.add("127.0.0.1:30300", &[]);
    for i in 1..count {
        net.add(&alloc::format!("127.0.0.1:{}", 30300 + i), &[0]);
    }
    net
}
