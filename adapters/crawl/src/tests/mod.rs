//! The crawler in virtual time, among scripted nodes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use peerless::contract::Via;
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::netfilter::NetFilter;
use peerless::rng::Seed;
use peerless::time::{Duration, UnixTime};
use peerless::wire::discv4::{Endpoint, Neighbor, Packet};

use crate::testing::{Graph, Network};
use crate::{Config, CrawlCommand, CrawlEvent, CrawlRefused, Crawler, Depth, Known, Outcome};

const LIMIT: Duration = Duration::from_secs(300);

fn crypto() -> Arc<dyn Crypto + Send + Sync> {
    Arc::new(Secp256k1::new())
}

fn at() -> SocketAddr {
    SocketAddr::from(([9, 9, 9, 9], 30303))
}

fn addr(n: u32) -> SocketAddr {
    let [.., a, b] = n.to_be_bytes();
    SocketAddr::from(([8, a, b, 1], 30303))
}

fn graph(count: u32, silent_percent: u32) -> Arc<Graph> {
    Arc::new(Graph::new(&Secp256k1::new(), 1, count, silent_percent, addr))
}

fn config(graph: &Graph, via: &[Via]) -> Config {
    let mut config = Config::new(SecretKey::from_bytes([7; 32]).expect("in range"));
    config.addresses.set_ip(at().ip());
    config.addresses.udp = at().port();
    (config.discv4, config.discv5) = (via.contains(&Via::Discv4), via.contains(&Via::Discv5));
    config.bootnodes = graph.bootnode().into_iter().collect();
    config
}

fn network(graph: &Arc<Graph>, config: Config) -> Network {
    let crypto = crypto();
    let make = |now, unix| Crawler::with_crypto(config, [1; 32], now, unix, crypto.clone()).expect("a small record");
    Network::new(graph, &crypto, at(), make)
}

/// The numbers of the nodes that answered a protocol, and that did not.
fn outcomes(network: &Network, wanted: Via) -> (BTreeSet<u32>, BTreeSet<u32>) {
    let mut outcomes = (BTreeSet::new(), BTreeSet::new());
    for (_, event) in &network.events {
        match event {
            CrawlEvent::Visited { node, via, outcome: Outcome::Answered { .. }, .. } if *via == wanted => {
                assert!(outcomes.0.insert(*node), "each once");
            }
            CrawlEvent::Visited { node, via, outcome: Outcome::Silent, .. } if *via == wanted => {
                assert!(outcomes.1.insert(*node), "each once");
            }
            _ => {}
        }
    }
    outcomes
}

fn records(network: &Network) -> BTreeMap<u32, Vec<u8>> {
    let records = network.events.iter().filter_map(|(_, event)| match event {
        CrawlEvent::Record { node, record, .. } => Some((*node, record.to_vec())),
        _ => None,
    });
    records.collect()
}

/// The addresses of found nodes by their numbers.
fn found(network: &Network) -> BTreeMap<u32, SocketAddr> {
    let found = network.events.iter().filter_map(|(_, event)| match event {
        CrawlEvent::Found { node, contact } => Some((*node, contact.udp_addr())),
        _ => None,
    });
    found.collect()
}

#[test]
fn every_live_node_is_found_by_either_protocol_and_others_are_silent() {
    let graph = graph(300, 40);
    for via in [Via::Discv4, Via::Discv5] {
        let mut network = network(&graph, config(&graph, &[via]));
        assert!(network.run(LIMIT), "{via}: {:?}", network.crawler.progress());
        let (live, silent) = outcomes(&network, via);
        let found = found(&network);
        let is_live = |number: &u32| graph.nodes.iter().any(|node| node.addr == found[number] && node.is_live);
        assert_eq!((live.len(), silent.len()), (180, 120), "{via}");
        assert!(live.iter().all(is_live) && !silent.iter().any(is_live));
        // By discv4, a record comes from its node alone; by discv5, from any.
        let records = records(&network);
        assert_eq!(records.len(), if via == Via::Discv4 { 180 } else { 300 });
        for (number, record) in &records {
            let node = graph.nodes.iter().find(|node| node.addr == found[number]).expect("a node of the graph");
            assert_eq!(record, node.record.as_bytes());
        }
        let progress = network.crawler.progress();
        assert_eq!((progress.found, progress.of(via).answered, progress.of(via).waiting), (300, 180, 0));
        assert_eq!(progress.records, if via == Via::Discv4 { 180 } else { 300 }, "each is verified once");
        assert!(matches!(network.events.last(), Some((_, CrawlEvent::Done { is_complete: true }))));
    }
}

#[test]
fn both_protocols_ask_each_node_once_and_share_its_record() {
    let graph = graph(100, 0);
    let mut network = network(&graph, config(&graph, &[Via::Discv4, Via::Discv5]));
    assert!(network.run(LIMIT));
    for via in [Via::Discv4, Via::Discv5] {
        assert_eq!(outcomes(&network, via).0.len(), 100, "{via}");
    }
    assert_eq!(network.crawler.progress().found, 100);
    assert_eq!(records(&network).len(), 100);
}

#[test]
fn whole_tables_are_read_where_neighbours_are_asked_for() {
    let graph = graph(200, 30);
    for via in [Via::Discv4, Via::Discv5] {
        let mut config = config(&graph, &[via]);
        (config.depth, config.neighbours) = (Depth::Whole, true);
        let mut network = network(&graph, config);
        assert!(network.run(LIMIT));
        let found = found(&network);
        let mut compared = 0;
        for (_, event) in &network.events {
            let CrawlEvent::Visited { node, outcome: Outcome::Answered { .. }, neighbours, .. } = event else {
                continue;
            };
            let scripted = graph.nodes.iter().find(|other| other.addr == found[node]).expect("a node of the graph");
            let told: BTreeSet<SocketAddr> = neighbours.iter().map(|number| found[number]).collect();
            let table: BTreeSet<SocketAddr> = scripted.table.iter().map(|n| graph.nodes[*n as usize].addr).collect();
            assert_eq!(told, table, "{via}");
            compared += 1;
        }
        assert_eq!(compared, 140);
    }
}

#[test]
fn loss_is_made_up_for_by_repeated_requests() {
    let graph = graph(200, 0);
    for via in [Via::Discv4, Via::Discv5] {
        let mut network = network(&graph, config(&graph, &[via]));
        network.loss_percent = 15;
        assert!(network.run(LIMIT));
        let live = outcomes(&network, via).0.len();
        assert!(live >= 194, "{via}: {live}");
    }
}

#[test]
fn a_silent_node_gets_three_datagrams_with_growing_pauses() {
    let graph = graph(100, 1);
    let silent = graph.nodes.iter().find(|node| !node.is_live).expect("one is silent");
    for via in [Via::Discv4, Via::Discv5] {
        let mut config = config(&graph, &[via]);
        config.bootnodes = vec![silent.contact()];
        let mut network = network(&graph, config);
        assert!(network.run(LIMIT));
        assert_eq!(network.sent[&silent.addr], 3);
        assert_eq!(network.now().as_micros() / 1000, 1000 + 500 + 1000 + 2000);
    }
}

#[test]
fn a_stopped_crawl_goes_on_where_it_was() {
    let graph = graph(300, 20);
    let first = config(&graph, &[Via::Discv4]);
    let mut stopped = network(&graph, first.clone());
    assert!(!stopped.run(Duration::from_millis(2500)), "not over yet");
    assert_eq!(stopped.command(CrawlCommand::Stop).map(|_| ()), Ok(()));
    assert_eq!(stopped.command(CrawlCommand::Stop), Err(CrawlRefused::Done));
    assert!(matches!(stopped.events.last(), Some((_, CrawlEvent::Done { is_complete: false }))));
    let (live, silent) = outcomes(&stopped, Via::Discv4);
    assert!(!live.is_empty() && live.len() < 240, "{}", live.len());
    let mut contacts = BTreeMap::new();
    for (_, event) in &stopped.events {
        if let CrawlEvent::Found { node, contact } = event {
            contacts.insert(*node, *contact);
        }
    }
    let known = contacts.iter().map(|(number, contact)| Known {
        contact: *contact,
        seq: 0,
        is_asked: [live.contains(number) || silent.contains(number), false],
    });
    let mut second = first;
    second.known = known.collect();
    let mut resumed = network(&graph, second);
    assert!(resumed.run(LIMIT));
    let (live_too, silent_too) = outcomes(&resumed, Via::Discv4);
    assert!(live.is_disjoint(&live_too) && silent.is_disjoint(&silent_too), "none is asked twice");
    assert_eq!((live.len() + live_too.len(), silent.len() + silent_too.len()), (240, 60));
    assert!(found(&resumed).keys().all(|number| !contacts.contains_key(number)), "numbers go on");
}

#[test]
fn the_same_seed_gives_the_same_crawl() {
    let graph = graph(100, 30);
    let run = || {
        let mut network = network(&graph, config(&graph, &[Via::Discv4, Via::Discv5]));
        assert!(network.run(LIMIT));
        network.events
    };
    assert_eq!(run(), run());
}

#[test]
fn a_subnet_is_sent_to_at_its_rate() {
    // All silent nodes are in one /24.
    let place = |n: u32| if n % 100 < 50 { SocketAddr::from(([7, 7, 7, n as u8], 30303)) } else { addr(n) };
    let graph = Arc::new(Graph::new(&Secp256k1::new(), 1, 200, 50, place));
    let mut config = config(&graph, &[Via::Discv4]);
    config.limits.subnet_datagrams_per_second = 4;
    let mut network = network(&graph, config);
    assert!(network.run(LIMIT));
    let sent: u32 =
        network.sent.iter().filter(|(to, _)| to.ip().to_string().starts_with("7.7.7.")).map(|(_, n)| n).sum();
    assert_eq!(sent, 300);
    let seconds = network.now().as_micros() / 1_000_000;
    assert!((70..100).contains(&seconds), "{seconds}");
}

#[test]
fn addresses_outside_of_the_filter_get_nothing() {
    let graph = graph(200, 0);
    let mut config = config(&graph, &[Via::Discv4, Via::Discv5]);
    config.filter = "8.0.0.0/17".parse::<NetFilter>().expect("a range");
    let mut network = network(&graph, config);
    assert!(network.run(LIMIT));
    assert_eq!(network.crawler.progress().found, 128);
    assert!(network.sent.keys().all(|to| to.ip().to_string().starts_with("8.0.")));
}

#[test]
fn a_stranger_that_pings_is_answered_and_visited() {
    let graph = graph(2, 0);
    let mut config = config(&graph, &[Via::Discv4]);
    config.bootnodes.truncate(1);
    let mut network = network(&graph, config);
    network.run(Duration::from_millis(1));
    let (secret, stranger) =
        (SecretKey::from_bytes([8; 32]).expect("in range"), SocketAddr::from(([6, 6, 6, 6], 9999)));
    let (crypto, mut bytes) = (Secp256k1::new(), Vec::new());
    let ping = |expiration| {
        let (from, to) = (Endpoint::from(stranger), Endpoint::from(at()));
        Packet::Ping { version: 4, from, to, expiration: UnixTime::from_secs(expiration), enr_seq: None }
    };
    ping(1_749_999_999).seal(&crypto, &secret, &mut bytes);
    network.datagram(stranger, &bytes);
    assert!(!network.sent.contains_key(&stranger), "one that has expired is not answered");
    bytes.clear();
    ping(1_750_000_020).seal(&crypto, &secret, &mut bytes);
    network.datagram(stranger, &bytes);
    assert_eq!(network.sent[&stranger], 2, "a pong and the first request of a visit");
    for _ in 0..100 {
        network.datagram(SocketAddr::from(([6, 6, 6, 7], 9999)), &bytes);
    }
    let other = network.sent.get(&SocketAddr::from(([6, 6, 6, 7], 9999))).copied().unwrap_or(0);
    assert!(other <= 50, "{other} answers to a flood");
}

#[test]
fn answers_of_others_than_the_asked_node_are_dropped() {
    let graph = graph(1, 0);
    let bootnode = graph.nodes[0].addr;
    let mut network = network(&graph, config(&graph, &[Via::Discv4]));
    // Until the node is asked for neighbours.
    while network.sent.get(&bootnode).copied().unwrap_or(0) < 4 {
        assert!(!network.run(Duration::from_millis(1)), "it is asked for neighbours before the crawl ends");
    }
    let named: Vec<Neighbor> = (0..12u8)
        .map(|n| {
            let key = Secp256k1::new().public_key(&SecretKey::from_bytes([20 + n; 32]).expect("in range"));
            Neighbor { ip: [5, 5, n, 1].into(), udp: 30303, tcp: 30303, key: *key.as_bytes() }
        })
        .collect();
    let answer = |secret: &SecretKey, expiration| {
        let mut bytes = Vec::new();
        let packet = Packet::Neighbors { nodes: named.clone(), expiration: UnixTime::from_secs(expiration) };
        packet.seal(&Secp256k1::new(), secret, &mut bytes);
        bytes
    };
    let stranger = SecretKey::from_bytes([8; 32]).expect("in range");
    network.datagram(bootnode, &answer(&stranger, 1_750_000_100));
    network.datagram(addr(77), &answer(graph.nodes[0].secret(), 1_750_000_100));
    network.datagram(bootnode, &answer(graph.nodes[0].secret(), 1_749_999_999));
    let mut changed = answer(graph.nodes[0].secret(), 1_750_000_100);
    let last = changed.len() - 1;
    changed[last] ^= 1;
    network.datagram(bootnode, &changed);
    assert_eq!(network.crawler.progress().found, 1, "nothing of that counts");
    for _ in 0..9 {
        network.datagram(bootnode, &answer(graph.nodes[0].secret(), 1_750_000_100));
    }
    assert_eq!(network.crawler.progress().found, 13, "the same from the node itself does");
    let dropped: u64 = network.crawler.stats().datagrams_dropped.values().sum();
    assert_eq!(dropped, 4 + 6, "an answer names 32 nodes at most");
}

#[test]
fn no_datagram_brings_the_crawler_down() {
    let graph = graph(40, 0);
    let mut network = network(&graph, config(&graph, &[Via::Discv4, Via::Discv5]));
    let mut rng = Seed::new([6; 32]).fork("garbage");
    for round in 0..400u64 {
        network.run(Duration::from_millis(5));
        let from = graph.nodes[rng.below(40) as usize].addr;
        let mut bytes = vec![0; rng.below(1400) as usize];
        rng.fill(&mut bytes);
        if round % 2 == 0 && bytes.len() > 97 {
            // With a right hash, and of each kind.
            bytes[97] = (round % 7) as u8;
            let hash = Secp256k1::new().datagram_hash(&bytes[32..]);
            bytes[..32].copy_from_slice(&hash);
        }
        network.datagram(from, &bytes);
    }
    assert!(network.run(LIMIT));
    assert_eq!(outcomes(&network, Via::Discv5).0.len(), 40);
}

#[test]
fn memory_for_each_node_is_small_and_fixed() {
    assert!(Crawler::bytes_per_node() <= 112, "{}", Crawler::bytes_per_node());
}
