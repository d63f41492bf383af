//! Floods of packets from forged addresses, with cheap primitives: what a flooded node still finds, and who still finds it
//! (attacks D6 to D8).

use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use std::println;

use super::*;
use crate::crypto::Signature;
use crate::crypto::discv5::MessageKey;
use crate::crypto::testing::Cheap;
use crate::wire::discv5::{IdProof, seal_handshake, write_random};

/// Nodes of the network, of which the first is flooded.
const NODES: usize = 20;
/// Datagrams of a flood in a millisecond, unless a test sets another number.
const PER_MILLISECOND: usize = 12;

struct Flood {
    /// The first node's primitives, which count, and those of all others.
    crypto: Arc<Cheap>,
    others: Arc<Cheap>,
    net: Net,
    rng: Rng,
    /// What one node id sends: a random packet and a forged proof.
    pool: Vec<[Vec<u8>; 2]>,
    /// Forged proofs that follow each random packet, in answer to a challenge that their sender does not see.
    proofs: usize,
    per_millisecond: usize,
}

fn node_addr(i: usize) -> SocketAddr {
    SocketAddr::from(([60 + (i % 7) as u8, i as u8, 1, 1], 30303))
}

fn any_address(rng: &mut Rng) -> SocketAddr {
    let [a, b, c, d]: [u8; 4] = rng.bytes();
    SocketAddr::from(([1 + a % 220, b, c, d], 1025 + rng.below(60_000) as u16))
}

/// The addresses of six of the other nodes.
fn neighbours(rng: &mut Rng) -> SocketAddr {
    node_addr(2 + rng.below(6) as usize)
}

impl Flood {
    /// A network that has run for a while.
    fn new(proofs: usize) -> Self {
        let rng = Seed::new([6; 32]).fork("flood");
        let mut net = Net::new(1);
        net.link.delay = (millis(10), millis(30));
        let mut flood = Self {
            crypto: Arc::default(),
            others: Arc::default(),
            net,
            rng,
            pool: vec![],
            proofs,
            per_millisecond: PER_MILLISECOND,
        };
        for i in 0..NODES {
            flood.add(if i == 1 { &[0] } else { &[1] });
        }
        flood.net.run_for(secs(40));
        flood.pool = (0..256).map(|_| flood.forge()).collect();
        flood
    }

    fn add(&mut self, bootnodes: &[usize]) {
        let known = self.net.hosts().count();
        let bootnodes = bootnodes.iter().filter(|i| **i < known).map(|i| self.net.contact(*i)).collect();
        let config = Config { bootnodes, ..Config::default() };
        let crypto = if known == 0 { &self.crypto } else { &self.others };
        self.net.add_machine(node_addr(known), config, NetFilter::default(), crypto.clone());
    }

    /// A random packet, and a handshake packet with a right record and a wrong signature.
    fn forge(&mut self) -> [Vec<u8>; 2] {
        let secret = SecretKey::generate(&mut self.rng);
        let from = self.crypto.public_key(&secret).node_id();
        let record = RecordBuilder::default().endpoint(addr("9.9.9.9:9"), 9).sign(&*self.crypto, &secret, 1).unwrap();
        let (to, _) = self.net.own();
        let (route, key) = (Route { from: &from, to: &to }, MessageKey::new([9; 16]));
        let signature = Signature([7; 64]);
        let proof = IdProof { signature, ephemeral_key: &[2; 33], record: Some(record.as_bytes()) };
        let mut packets = [vec![], vec![]];
        write_random(&mut packets[0], route, self.rng.bytes(), &self.rng.bytes(), &[]);
        let message = Message { request_id: *ID, payload: Payload::Ping { enr_seq: 1 } };
        seal_handshake(&mut packets[1], route, self.rng.bytes(), &self.rng.bytes(), &proof, &key, &message);
        packets
    }

    /// Floods the first node, evenly spread in time, from these sources.
    fn run_for(&mut self, time: Duration, source: fn(&mut Rng) -> SocketAddr) {
        let Self { net, rng, pool, proofs, per_millisecond, .. } = self;
        for _ in 0..time.as_millis() {
            net.with(Host(0), |lone, now| {
                for _ in 0..*per_millisecond / (1 + *proofs) {
                    let (from, [random, proof]) = (source(rng), &pool[rng.below(pool.len() as u64) as usize]);
                    _ = lone.flood(now, from, random);
                    (0..*proofs).for_each(|_| _ = lone.flood(now, from, proof));
                }
            });
            net.run_for(millis(1));
        }
    }

    /// The nodes whose table has the first node.
    fn holders(&self) -> usize {
        (1..NODES).filter(|i| self.net.knows(*i, 0)).count()
    }

    /// Of the sixteen nearest nodes to a random target, how many a node finds.
    fn found_by(&mut self, node: usize, source: fn(&mut Rng) -> SocketAddr) -> usize {
        let target = NodeId(self.rng.bytes());
        let mut nearest: Vec<_> = (0..NODES).filter(|i| *i != node).map(|i| self.net.contact(i)).collect();
        nearest.sort_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
        nearest.truncate(limits::BUCKET_SIZE);
        self.net.forget();
        self.net.call(node, |machine, cx| machine.lookup(cx, Some(CommandId(9)), target)).unwrap();
        self.run_for(secs(5), source);
        let nodes = self.net.find(Host(node), |event| match event {
            Event::Nodes { nodes, .. } => Some(nodes.clone()),
            _ => None,
        });
        let nodes = nodes.expect("a lookup ends within five seconds");
        nearest.iter().filter(|node| nodes.contains(node)).count()
    }

    fn memory_bytes(&self) -> usize {
        let machine = self.net.discv5(0);
        machine.limiter.memory_bytes() + machine.requests.memory_bytes()
    }
}

/// D6 to D8: 12,000 forged packets a second: random ones, or two thirds of them forged proofs.
#[test]
fn d6_d7_d8_a_flooded_node_stays_in_tables_and_finds_nodes() {
    for (name, source, proofs) in [
        ("any address", any_address as fn(&mut Rng) -> SocketAddr, 0),
        ("any address, with proofs", any_address, 2),
        ("six neighbours, with proofs", neighbours, 2),
    ] {
        let mut flood = Flood::new(proofs);
        let before = flood.holders();
        assert!(before >= 14, "{before}");
        flood.run_for(secs(12), source);
        let (found, after) = (flood.found_by(0, source), flood.holders());
        println!("{name}: {after} tables of {before}, {found} of 16 found, {} bytes", flood.memory_bytes());
        assert!(after * 10 >= before * 9 && found >= 14, "{name}: {after} of {before}, {found}");
        assert!(flood.memory_bytes() <= 68 << 10, "{}", flood.memory_bytes());
    }
}

/// D6: of the proofs that answer challenges to forged addresses, no more are checked than a fifth of a core can.
#[test]
fn d6_forged_proofs_are_checked_within_their_budget() {
    let mut flood = Flood::new(3);
    let before = flood.crypto.verifications.load(Relaxed);
    flood.run_for(secs(4), any_address);
    let checked = flood.crypto.verifications.load(Relaxed) - before;
    println!("{checked} signatures checked in 4 s");
    // Two for each proof, and those of the records in its lookups.
    let allowed = 2 * (4 * limits::PROOFS_PER_SECOND + limits::PROOFS_BURST) as usize;
    assert!((1000..allowed + 500).contains(&checked), "{checked} of {allowed}");
}

/// D6: a newcomer whose only bootnode is flooded gets into the network. Of 4,000 proofs a second, three in eight are checked.
#[test]
fn d6_a_newcomer_behind_a_flooded_bootnode_finds_nodes() {
    for (proofs, per_millisecond) in [(0, 12), (2, 6)] {
        let mut flood = Flood::new(proofs);
        flood.per_millisecond = per_millisecond;
        flood.run_for(secs(2), any_address);
        flood.add(&[0]);
        let mut seconds = 0;
        while flood.net.discv5(NODES).table().len() < 12 && seconds < 300 {
            flood.run_for(secs(1), any_address);
            seconds += 1;
        }
        println!("with {proofs} proofs: in the network after {seconds} s");
        assert!(seconds < 300, "{}", flood.net.discv5(NODES).table().len());
    }
}

/// D8: junk in a neighbour's name ends no session, and leaves the challenge that the neighbour needs after a restart.
#[test]
fn d8_forged_packets_of_a_neighbour_end_no_session() {
    let mut flood = Flood::new(1);
    let neighbour = (2..8).find(|i| flood.net.knows(0, *i)).unwrap();
    flood.run_for(secs(2), neighbours);
    let contact = flood.net.contact(0);
    flood.net.forget();
    for command in 0..5 {
        flood.net.call(neighbour, |machine, cx| machine.ping(cx, CommandId(command), contact)).unwrap();
        flood.run_for(millis(200), neighbours);
    }
    let ponged = flood.net.count(neighbour, |event| matches!(event, Event::Pong { .. }));
    assert_eq!(ponged, 5);
}
