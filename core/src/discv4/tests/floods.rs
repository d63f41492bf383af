//! Floods of unsolicited datagrams, with cheap signatures: what a flooded node still finds, and who still finds it (attacks
//! D6 to D8). Longer and faster floods are runs of `peerless sim flood`.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;
use std::println;

use super::*;
use crate::crypto::testing::Cheap;

/// Nodes of the network, of which the first is flooded.
const NODES: usize = 40;
/// Datagrams in a millisecond.
const PER_MILLISECOND: usize = 20;

struct Flood {
    crypto: Arc<Cheap>,
    net: Net,
    rng: Rng,
    /// Datagrams that are sent again and again, from other sources: of each kind, with and without a signature.
    pool: Vec<Vec<u8>>,
}

impl Flood {
    /// A network that has run for a while.
    fn new() -> Self {
        let rng = Seed::new([6; 32]).fork("flood");
        let mut net = Net::new(1);
        net.link.delay = (millis(10), millis(30));
        let mut flood = Self { crypto: Arc::default(), net, rng, pool: Vec::new() };
        (0..NODES).for_each(|i| flood.add(if i == 1 { &[0] } else { &[1] }));
        flood.net.run_for(secs(60));
        flood.net.forget();
        flood.pool = (0..768).map(|n| flood.datagram(n)).collect();
        flood
    }

    /// Adds a node. Its slow checks are nine times as frequent as usual, so that a minute is as long as nine.
    fn add(&mut self, bootnodes: &[usize]) {
        let known = self.net.hosts().count();
        let at = node_addr(known);
        let bootnodes = bootnodes.iter().filter(|i| **i < known).map(|i| self.net.contact(*i)).collect();
        let schedule = Schedule { slow_check_interval_max: secs(1), ..Schedule::default() };
        let config = Config { bootnodes, schedule };
        self.net.add_machine(at, config, NetFilter::default(), self.crypto.clone());
    }

    /// A datagram with a right hash; every second one has a signature of some key.
    fn datagram(&mut self, n: usize) -> Vec<u8> {
        let endpoint = Endpoint { ip: Some([9, 9, 9, 9].into()), udp: 30303, tcp: 30303 };
        let expiration = self.net.unix().plus_secs(24 * 3600 - 100);
        let packet = match n % 6 {
            0 => Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None },
            1 => Packet::FindNode { target: self.rng.bytes(), expiration },
            2 => Packet::EnrRequest { expiration },
            3 => Packet::Pong { to: endpoint, ping_hash: self.rng.bytes(), expiration, enr_seq: None },
            4 => Packet::Neighbors { nodes: vec![], expiration },
            _ => Packet::EnrResponse { request_hash: self.rng.bytes(), record: vec![0xc0] },
        };
        let mut bytes = vec![];
        packet.seal(&*self.crypto, &SecretKey::generate(&mut self.rng), &mut bytes);
        if (n / 6).is_multiple_of(2) {
            bytes[32..96].copy_from_slice(&self.rng.bytes::<64>());
            let hash = keccak256(&bytes[32..]);
            bytes[..32].copy_from_slice(&hash);
        }
        bytes
    }

    /// Floods the first node, evenly spread in time, from these sources.
    fn run_for(&mut self, time: Duration, source: &dyn Fn(&mut Rng) -> SocketAddr) {
        let Self { net, rng, pool, .. } = self;
        for _ in 0..time.as_millis() {
            net.with(Host(0), |lone, now| {
                for _ in 0..PER_MILLISECOND {
                    let (from, bytes) = (source(rng), &pool[rng.below(pool.len() as u64) as usize]);
                    _ = lone.flood(now, from, bytes);
                }
            });
            net.run_for(millis(1));
        }
    }

    /// The nodes whose table has the first node.
    fn holders(&self) -> BTreeSet<usize> {
        (1..NODES).filter(|i| self.net.knows(*i, 0)).collect()
    }

    /// Of the sixteen nearest nodes to a random target, how many a node finds, on average over some lookups.
    fn found_by(&mut self, node: usize, source: &dyn Fn(&mut Rng) -> SocketAddr) -> f64 {
        let mut found = 0;
        for lookup in 0..8 {
            let target = self.rng.bytes();
            let id = NodeId(keccak256(&target));
            let mut nearest: Vec<_> = (0..NODES).filter(|i| *i != node).map(|i| self.net.contact(i)).collect();
            nearest.sort_by(|a, b| id.cmp_distance(&a.id(), &b.id()));
            nearest.truncate(limits::BUCKET_SIZE);
            let command = CommandId(1000 + lookup);
            self.net.forget();
            self.net.call(node, |machine, cx| machine.lookup(cx, Some(command), target)).unwrap();
            let mut nodes = None;
            for _ in 0..20 {
                self.run_for(millis(500), source);
                nodes = self.net.find(Host(node), |event| match event {
                    Event::Nodes { command: ended, nodes, .. } if *ended == command => Some(nodes.clone()),
                    _ => None,
                });
                if nodes.is_some() {
                    break;
                }
            }
            let nodes = nodes.expect("a lookup ends within ten seconds");
            found += nearest.iter().filter(|node| nodes.contains(node)).count();
        }
        found as f64 / 8.0
    }

    fn memory_bytes(&self) -> usize {
        let machine = self.net.discv4(0);
        machine.limiter.memory_bytes() + machine.ping_backs.memory_bytes()
    }
}

fn node_addr(i: usize) -> SocketAddr {
    SocketAddr::from(([60 + (i % 7) as u8, i as u8, 1, 1], 30303))
}

fn any_address(rng: &mut Rng) -> SocketAddr {
    let [a, b, c, d]: [u8; 4] = rng.bytes();
    SocketAddr::from(([1 + a % 220, b, c, d], 1025 + rng.below(60_000) as u16))
}

fn one_site(rng: &mut Rng) -> SocketAddr {
    let [d, e, f, g, h]: [u16; 5] = core::array::from_fn(|_| rng.u64() as u16);
    SocketAddr::from(([0x2a00, 1, 2, d, e, f, g, h], 30303))
}

/// The addresses of six of the other nodes.
fn neighbours(rng: &mut Rng) -> SocketAddr {
    node_addr(2 + rng.below(6) as usize)
}

/// Draws the source of a datagram.
type Source = fn(&mut Rng) -> SocketAddr;

/// The names of the tests' figures: forged sources, one network, forged neighbours.
const SOURCES: [(&str, Source); 3] =
    [("any address", any_address), ("one /48", one_site), ("six neighbours", neighbours)];

/// D6 to D8: of the tables that had the node at least nine in ten still do, and its lookups find fourteen of sixteen.
#[test]
fn d6_d7_d8_a_flooded_node_stays_in_tables_and_finds_nodes() {
    for (name, source) in SOURCES {
        let mut flood = Flood::new();
        let before = flood.holders();
        assert!(before.len() >= 24, "{}", before.len());
        flood.run_for(secs(60), &source);
        let after = flood.holders();
        let lost: BTreeSet<_> = before.difference(&after).collect();
        let found = flood.found_by(0, &source);
        println!(
            "{name}: {} tables of {}, {found} of 16 found, {} bytes",
            after.len(),
            before.len(),
            flood.memory_bytes()
        );
        match name {
            "six neighbours" => assert!(lost.iter().all(|i| (2..8).contains(*i)), "only those: {lost:?}"),
            _ => assert!(lost.len() * 10 <= before.len(), "{name}: {lost:?} of {}", before.len()),
        }
        assert!(found >= 14.0, "{name}: {found}");
        assert!(flood.memory_bytes() <= 68 << 10, "{name}: {}", flood.memory_bytes());
    }
}

/// Other nodes' checks of it may not come through.
#[test]
fn d6_a_flooded_node_pings_each_node_of_its_table_twice_a_minute() {
    let mut flood = Flood::new();
    let nodes: Vec<_> = flood.net.discv4(0).table().entries().map(|entry| entry.contact().udp_addr()).collect();
    flood.net.log_datagrams();
    let pings = |flood: &Flood, to: SocketAddr, since: usize| {
        let sent = flood.net.datagrams()[since..].iter().filter(|sent| sent.is_sent && sent.host == Host(0));
        sent.filter(|sent| sent.remote == to && sent.bytes[97] == Kind::Ping as u8).count()
    };
    flood.run_for(secs(61), &neighbours);
    assert!(nodes.iter().all(|node| pings(&flood, *node, 0) >= 2), "each in each half minute");
    assert!(flood.net.discv4(0).flood.is_some());
    flood.net.run_for(limits::FLOODED_INTERVAL + secs(2));
    assert!(flood.net.discv4(0).flood.is_none(), "and no longer than the flood");
}

/// D6: a node that starts in a flood finds twelve of sixteen.
#[test]
fn d6_a_node_that_starts_in_a_flood_finds_nodes() {
    for (name, source) in SOURCES {
        let mut flood = Flood::new();
        let bootnode = flood.net.contact(1);
        flood.net.restart(0, vec![bootnode]);
        flood.run_for(secs(30), &source);
        let found = flood.found_by(0, &source);
        println!("{name}: {found} of 16 found");
        assert!(found >= 12.0, "{name}: {found}");
    }
}

/// D6: a newcomer whose only bootnode is flooded gets into the network.
#[test]
fn d6_a_newcomer_behind_a_flooded_bootnode_finds_nodes() {
    for (name, source) in &SOURCES[..2] {
        let mut flood = Flood::new();
        flood.run_for(secs(5), source);
        flood.add(&[0]);
        let mut seconds = 0;
        while flood.net.discv4(NODES).table().len() < 12 && seconds < 300 {
            flood.run_for(secs(1), source);
            seconds += 1;
        }
        let found = flood.found_by(NODES, source);
        println!("{name}: in the network after {seconds} s, {found} of 16 found");
        assert!(found >= 12.0, "{name}: {found} after {seconds} s");
    }
}

/// Half pongs and half pings in a neighbour's name, 24 in a round trip: enough to silence it with one budget for all.
#[test]
fn d8_forged_pongs_and_pings_of_a_neighbour_silence_no_node() {
    let mut flood = Flood::new();
    flood.pool.retain(|bytes| matches!(bytes[97], 1 | 2));
    let (before, known) = (flood.holders(), flood.net.discv4(0).table().len());
    let neighbour = (1..NODES).find(|i| flood.net.knows(0, *i)).unwrap();
    flood.run_for(secs(60), &|_| node_addr(neighbour));
    assert_eq!(flood.holders().intersection(&before).count(), before.len());
    assert!(flood.net.knows(0, neighbour) && flood.net.discv4(0).table().len() >= known, "nor does it forget others");
}

/// A datagram beyond a budget, or one that answers nothing, costs no hash, except the few that are checked for other
/// protocols' sake.
#[test]
fn d6_datagrams_beyond_budgets_cost_less_than_a_hash() {
    let mut flood = Flood::new();
    let hashes = |flood: &Flood| flood.crypto.datagram_hashes.load(Relaxed);
    let recoveries = |flood: &Flood| flood.crypto.recoveries.load(Relaxed);
    let before = (hashes(&flood), recoveries(&flood));
    flood.net.with(Host(0), |lone, now| {
        for i in 0..100_000 {
            _ = lone.flood(now, any_address(&mut flood.rng), &flood.pool[i % flood.pool.len()]);
        }
    });
    let checked = (limits::DATAGRAMS_BURST + limits::FOREIGN_CHECKS_BURST) as usize;
    assert!(hashes(&flood) - before.0 <= checked + 600, "{}", hashes(&flood) - before.0);
    assert!(recoveries(&flood) - before.1 <= limits::DATAGRAMS_BURST as usize, "{}", recoveries(&flood) - before.1);
}

/// A datagram of another protocol may look like one that would be dropped early.
#[test]
fn datagrams_of_other_protocols_are_recognised_while_they_are_few() {
    let mut net = victim();
    for kind in 0..=255 {
        let mut foreign = [7; 120];
        foreign[97] = kind;
        assert_eq!(net.deliver(0, addr("90.1.1.1:30303"), &foreign), Received::Unrecognised, "{kind}");
    }
}
