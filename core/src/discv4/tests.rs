//! A network in memory and virtual time, and what a well-behaved one does. Attacks and conformance are in the files below.

mod attacks;
mod conformance;
mod records;
mod robustness;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::sync::LazyLock;

use super::*;
use crate::contract::{Action, Context};
use crate::crypto::{Digest, Secp256k1, keccak256};
use crate::limits;
use crate::netfilter::NetFilter;
use crate::rng::Seed;
use crate::time::UnixTime;
use crate::wire::discv4::{Datagram, Kind};

pub(super) static CRYPTO: LazyLock<Arc<Secp256k1>> = LazyLock::new(|| Arc::new(Secp256k1::new()));

/// What the wall clocks show at the start.
const UNIX: UnixTime = UnixTime::from_secs(1_700_000_000);

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A machine with all that it needs.
pub(super) struct Peer {
    pub(super) addr: SocketAddr,
    pub(super) machine: Discv4,
    pub(super) context: Context,
    pub(super) rng: Rng,
    pub(super) bootnodes: Vec<SocketAddr>,
    pub(super) events: Vec<Event<'static>>,
    /// Bytes received from and sent to each address, and whether it answered a ping.
    pub(super) ledger: BTreeMap<SocketAddr, (usize, usize, bool)>,
    pub(super) is_up: bool,
}

impl Peer {
    pub(super) fn contact(&self) -> Contact {
        Contact::new(*self.machine.local().key(), self.addr.ip(), self.addr.port(), self.addr.port())
    }
}

/// Someone who is no machine: a key, and an address.
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

/// The network. Datagrams to addresses where no machine is wait in `inbox`.
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

    /// One machine without bootnodes, and the time to settle.
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

    /// Calls a machine and collects what it wants done.
    pub(super) fn with<R>(&mut self, index: usize, f: impl FnOnce(&mut Discv4, &mut Cx<'_>) -> R) -> R {
        let peer = &mut self.peers[index];
        peer.context.advance(self.now);
        let result = f(&mut peer.machine, &mut peer.context.cx(&mut peer.rng));
        while let Some(action) = peer.context.out.pop() {
            match action {
                Action::Send { to, bytes } => {
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
        // The ledger believes what the machine must see: a pong that it acts upon.
        let is_pong = Datagram::split(bytes).and_then(|datagram| datagram.kind()) == Ok(Kind::Pong);
        let calls = self.peers[index].machine.calls.len();
        let was_proven = self.peers[index].ledger.get(&from).is_some_and(|entry| entry.2);
        if is_pong && calls > 0 {
            self.peers[index].ledger.entry(from).or_default().2 = true;
        }
        let received = self.with(index, |machine, cx| machine.handle_datagram(cx, from, bytes));
        if is_pong && received != Received::Handled {
            self.peers[index].ledger.entry(from).or_default().2 = was_proven;
        }
        received
    }

    /// Lets time pass.
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
                self.with(index, Discv4::handle_timeout);
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

    /// The stranger sends a packet to the first machine; returns its hash and what became of it.
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

    /// What the machines sent to an address where a stranger is, in order, with the datagrams' hashes.
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

    pub(super) fn knows(&self, index: usize, other: usize) -> bool {
        self.peers[index].machine.table().entry(self.peers[other].machine.local().id()).is_some()
    }
}

/// The events of this machine lend nothing.
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

/// A network on loopback whose nodes all know the first.
pub(super) fn devnet(count: usize) -> Net {
    let mut net = Net::new();
    net.add("127.0.0.1:30300", &[]);
    for i in 1..count {
        net.add(&alloc::format!("127.0.0.1:{}", 30300 + i), &[0]);
    }
    net
}

#[test]
fn twenty_nodes_that_know_one_find_each_other() {
    let mut net = devnet(20);
    net.run(secs(60));
    for i in 0..20 {
        let unknown: Vec<_> = (0..20).filter(|j| *j != i && !net.knows(i, *j)).collect();
        assert!(unknown.is_empty(), "{i} does not know {unknown:?}");
    }
    for peer in &net.peers {
        let added = peer.events.iter().filter(|event| matches!(event, Event::NodeAdded { .. })).count();
        let removed = peer.events.iter().filter(|event| matches!(event, Event::NodeRemoved { .. })).count();
        assert_eq!((added, removed), (19, 0));
        assert_eq!(peer.machine.candidates(&mut Seed::new([0; 32]).fork("draw"), 100).len(), 19);
    }
}

#[test]
fn a_network_of_both_families_meets_within_its_subnets_limits() {
    let mut net = Net::new();
    for i in 0..24 {
        let at = match i % 3 {
            0 => alloc::format!("[2a00:{i}::1]:30303"),
            _ => alloc::format!("{}.{i}.1.1:30303", 60 + i % 7),
        };
        net.add(&at, if i == 0 { &[] } else { &[0] });
    }
    net.run(secs(45));
    let sizes: Vec<_> = net.peers.iter().map(|peer| peer.machine.table().len()).collect();
    assert!(sizes.iter().all(|size| *size >= 16), "{sizes:?}");

    // Ten who share one address are not all let in.
    (0..10).for_each(|i| _ = net.add(&alloc::format!("70.1.1.1:{}", 40_000 + i), &[0]));
    net.run(secs(60));
    for peer in &net.peers[..24] {
        let crowd = |bucket: &table::Bucket| {
            bucket.entries().iter().filter(|entry| entry.contact().ip == addr("70.1.1.1:1").ip()).count()
        };
        assert!(peer.machine.table().buckets().iter().all(|bucket| crowd(bucket) <= limits::SUBNET_PER_BUCKET));
    }
}

#[test]
fn two_nodes_find_each_other_at_once() {
    let mut net = devnet(2);
    net.run(secs(1));
    assert!(net.knows(0, 1) && net.knows(1, 0));
}

#[test]
fn the_dead_are_forgotten_and_the_returned_found_again() {
    let mut net = devnet(6);
    net.run(secs(30));
    net.peers[5].is_up = false;
    net.run(secs(300));
    assert!((0..5).all(|i| !net.knows(i, 5)));
    assert!((0..5).all(|i| (0..5).all(|j| i == j || net.knows(i, j))));
    net.peers[5].is_up = true;
    net.run(secs(60));
    assert!((0..5).all(|i| net.knows(i, 5) && net.knows(5, i)));
}

#[test]
fn a_node_whose_bootnode_comes_late_finds_it() {
    let mut net = devnet(2);
    net.peers[0].is_up = false;
    net.run(secs(100));
    assert!(net.peers[1].machine.table().is_empty());
    net.peers[0].is_up = true;
    net.run(secs(200));
    assert!(net.knows(1, 0) && net.knows(0, 1));
}

/// Bootnodes at public addresses were once pinged twice a minute at most, as if a stranger had named them, so that the
/// third attempt, half a minute after the start, was none.
#[test]
fn whoever_starts_before_its_bootnodes_finds_them_at_the_next_attempt() {
    let mut net = Net::new();
    net.add("80.1.1.1:30303", &[]);
    net.add("81.1.1.1:30303", &[0]);
    net.peers[0].is_up = false;
    net.run(secs(15));
    net.peers[0].is_up = true;
    net.run(secs(16));
    assert!(net.knows(1, 0), "after 10 seconds, and 20 more");
}

/// Bootnodes were once asked only while nobody was known: parts of a network that had forgotten each other stayed apart.
#[test]
fn parts_of_a_network_find_back_through_their_bootnode() {
    let mut net = devnet(6);
    net.run(secs(30));
    net.peers[0].is_up = false;
    net.run(secs(300));
    assert!((1..6).all(|i| !net.knows(i, 0) && net.peers[i].machine.table().len() == 4));
    // It comes back alone, as a part of its own that knows of nobody.
    net.with(0, |machine, cx| *machine = Discv4::new(cx, Config::default(), machine.local.clone()));
    net.peers[0].is_up = true;
    net.run(secs(60));
    let apart: Vec<_> = (1..6).filter(|i| !net.knows(*i, 0) || !net.knows(0, *i)).collect();
    assert!(apart.is_empty(), "{apart:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |delay: u64| {
        let mut net = devnet(8);
        net.delay = millis(delay);
        net.run(secs(40));
        (net.trace, net.sent)
    };
    assert_eq!(run(20), run(20));
    assert_ne!(run(20).0, run(21).0);
}

#[test]
fn commands_end_in_their_events() {
    let mut net = devnet(8);
    net.run(secs(30));
    let contacts: Vec<_> = net.peers.iter().map(Peer::contact).collect();
    let target = *contacts[5].key.as_bytes();
    net.peers[7].events.clear();
    let id = CommandId;
    net.with(7, |machine, cx| {
        machine.ping(cx, id(1), contacts[3]).unwrap();
        machine.ping(cx, id(2), contacts[3]).unwrap();
        machine.find_node(cx, id(3), contacts[2], target).unwrap();
        machine.find_node(cx, id(4), contacts[2], [9; 64]).unwrap();
        machine.lookup(cx, Some(id(5)), target).unwrap();
        machine.ping(cx, id(6), Contact { udp: 1, ..contacts[3] }).unwrap();
        let itself = machine.ping(cx, id(7), contacts[7]);
        assert_eq!(itself, Err(CommandError::Refused(Refusal::ToSelf)));
        assert_eq!(machine.ping(cx, id(8), Contact { udp: 0, ..contacts[3] }), Err(CommandError::NoPort));
    });
    net.run(secs(20));
    let mut ended = BTreeSet::new();
    for event in &net.peers[7].events {
        let (CommandId(command), is_right) = match event {
            Event::Pong { command, contact, rtt, seen_as, .. } => {
                (*command, *contact == contacts[3] && *rtt == millis(40) && *seen_as == Some(net.peers[7].addr))
            }
            Event::Nodes { command, nodes, queries } => {
                let is_nearest = command.0 == 4 || nodes.first() == Some(&contacts[5]);
                (*command, is_nearest && nodes.len() >= 6 && (*queries > 1) == (command.0 == 5))
            }
            Event::CallFailed { command, why } => (*command, command.0 == 6 && *why == CallFailure::Timeout),
            _ => continue,
        };
        assert!(is_right, "{event:?}");
        assert!(ended.insert(command), "{event:?} is the second end");
    }
    assert_eq!(ended, BTreeSet::from([1, 2, 3, 4, 5, 6]));
}

#[test]
fn a_young_table_is_filled_and_an_old_one_left_alone() {
    let mut net = devnet(20);
    net.run(secs(90));
    let sent = net.sent;
    net.run(secs(600));
    // Checks, two packets each: a node's every second or so. Beyond them there are the few lookups of a young table.
    let per_node_and_second = (net.sent - sent) as f64 / 20.0 / 600.0;
    assert!(per_node_and_second < 2.5, "{per_node_and_second}");
}

/// Lookups of a young node grow rare, every second of them of its own id: eight in a minute filled no more of a table.
#[test]
fn the_pauses_of_a_young_table_grow() {
    let mut net = devnet(20);
    net.run(secs(58));
    let lookups: Vec<_> = net.peers.iter().map(|peer| peer.machine.searches_begun).collect();
    assert!(lookups.iter().all(|lookups| (4..=6).contains(lookups)), "{lookups:?}");
}

#[test]
fn a_young_table_looks_for_a_quarter_of_an_hour() {
    let mut net = devnet(20);
    let mut lookups_until = |time| {
        net.run(time);
        net.peers.iter().map(|peer| peer.machine.searches_begun).collect::<Vec<_>>()
    };
    let (early, late) = (lookups_until(secs(300)), lookups_until(secs(550)));
    assert!(early.iter().zip(&late).all(|(early, late)| (1..=2).contains(&(late - early))), "{early:?} {late:?}");
}

#[test]
fn a_lookup_goes_on_with_every_answer() {
    let mut net = devnet(20);
    net.run(secs(60));
    net.with(1, |machine, cx| machine.lookup(cx, Some(CommandId(7)), [9; 64])).unwrap();
    net.run(millis(900));
    let is_over = |event: &Event<'_>| matches!(event, Event::Nodes { command: CommandId(7), queries: 16.., .. });
    assert!(net.peers[1].events.iter().any(is_over));
}

#[test]
fn random_targets_lie_where_there_is_room() {
    let mut net = devnet(1);
    net.with(0, |machine, cx| {
        let own = *machine.local().id();
        let distance = |target: [u8; 64]| own.log_distance(&NodeId(keccak256(&target)));
        for _ in 0..8 {
            assert_eq!(distance(machine.random_target(cx)), 256, "half of all ids are as far as that");
        }
        for n in 0..16 {
            let mut contact = Contact::new(*machine.local().key(), [20 + n, 1, 1, 1].into(), 30303, 30303);
            contact.id.0[0] ^= 0x80;
            contact.id.0[31] = n;
            assert!(machine.table.insert(contact, cx.now, cx.rng).is_some());
        }
        for _ in 0..8 {
            assert_eq!(distance(machine.random_target(cx)), 255, "the furthest that are left");
        }
    });
}

#[test]
fn at_rest_a_machine_is_small() {
    // Were every bucket full, which takes a network of 2^20 nodes.
    let bucket = size_of::<table::Entry>() * limits::BUCKET_SIZE + size_of::<Contact>() * limits::REPLACEMENTS;
    let at_rest = size_of::<Discv4>() + bucket * limits::BUCKETS;
    assert!(at_rest <= 64 << 10, "{at_rest}");
}
