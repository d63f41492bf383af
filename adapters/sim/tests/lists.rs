//! Node lists in a simulated network: a list alone, a resolver that fails, and a list of which half is hostile.

use std::collections::BTreeSet;
use std::time::Duration;

use peerless::contract::{Direction, Source, Stage};
use peerless::crypto::{Crypto, NodeId};
use peerless::dns;
use peerless::node::Node;
use peerless::wire::dns::{Link, Plan};
use peerless::wire::enr::Record;
use peerless_sim::crypto::Mode;
use peerless_sim::{Birth, HostId, HostSpec, Settings, World, scenery};

const DOMAIN: &str = "nodes.example.org";
/// Nodes that discover each other.
const HONEST: u32 = 24;
/// Nodes that only the list names.
const HOSTILE: u32 = 24;
/// The holder of the list's key.
const SIGNER: HostId = HostId(9999);
/// The node that reads the list.
const READER: HostId = HostId(HONEST + HOSTILE);

/// The list, of which one more host has the key.
fn list(crypto: &dyn Crypto) -> Link {
    Link { key: crypto.public_key(&scenery::secret(SIGNER)), domain: DOMAIN.parse().expect("a name") }
}

/// Honest nodes have discovery, hostile ones have not; the reader reads the list, with discovery or without.
fn maker(has_discovery: bool) -> impl Fn(&Birth<'_>) -> Node + Send + Sync + 'static {
    move |birth| {
        let mut config = scenery::config(birth, scenery::chain(1337));
        match birth.host.0 {
            ..HONEST => {
                config.peers.max_peers = 24;
                scenery::set_bootnodes(birth, &mut config, 0..3);
            }
            host if host < READER.0 => config.discovery.discv4 = None,
            _ => {
                config.discovery.dns = Some(dns::Config::new(vec![list(&**birth.crypto)]));
                if has_discovery {
                    scenery::set_bootnodes(birth, &mut config, 0..3);
                } else {
                    config.discovery.discv4 = None;
                }
            }
        }
        scenery::node(birth, config)
    }
}

/// A world of all these nodes, in which the reader starts after five minutes, when the list of `listed` is published.
fn world(seed: u64, has_discovery: bool, listed: impl Iterator<Item = u32>) -> World<Node> {
    let settings = Settings { seed, crypto: Mode::SimMac, ..Settings::default() };
    let mut world = World::new(settings, maker(has_discovery));
    for host in 0..READER.0 {
        let starts_in = Some(Duration::from_millis(u64::from(host) * 37));
        world.add_host(HostSpec { starts_in, ..HostSpec::default() });
    }
    world.add_host(HostSpec::default());
    world.run_for(Duration::from_secs(300)).expect("no violation");
    let records: Vec<Record> =
        listed.map(|host| world.machine(HostId(host)).expect("it runs").record().clone()).collect();
    let tree = Plan::new(1, &records, &[]).expect("a list").sign(&**world.crypto(), &scenery::secret(SIGNER));
    world.zone_mut().publish(&tree, &DOMAIN.parse().expect("a name"));
    world.start(READER);
    world
}

fn run(world: &mut World<Node>, secs: u64) {
    world.run_for(Duration::from_secs(secs)).expect("no violation");
}

fn reader(world: &World<Node>) -> &Node {
    world.machine(READER).expect("it runs")
}

/// The ids of the reader's outbound peers.
fn outbound(world: &World<Node>) -> BTreeSet<NodeId> {
    let sessions = reader(world).sessions();
    let is_outbound = |session: &peerless::node::SessionView<'_>| {
        session.direction == Direction::Outbound && session.stage == Stage::Established && !session.is_ending
    };
    sessions.filter(is_outbound).filter_map(|session| session.id).collect()
}

fn ids(world: &World<Node>, hosts: impl Iterator<Item = u32>) -> BTreeSet<NodeId> {
    hosts.map(|host| world.machine(HostId(host)).expect("it runs").contact().id()).collect()
}

#[test]
fn a_node_with_a_list_alone_finds_peers() {
    let mut world = world(1, false, 0..HONEST);
    run(&mut world, 300);
    let tree = reader(&world).discovery().dns().expect("a list").trees().next().expect("a tree").1;
    assert_eq!((tree.is_walked(), tree.records_kept()), (true, HONEST as usize));
    let peers = outbound(&world).len();
    assert!(peers >= 8, "{peers}");
}

#[test]
fn a_resolver_that_loses_and_fails_delays_the_list_and_no_more() {
    let mut world = world(2, false, 0..HONEST);
    (world.zone_mut().lost_millionths, world.zone_mut().failed_millionths) = (200_000, 100_000);
    run(&mut world, 1800);
    let tree = reader(&world).discovery().dns().expect("a list").trees().next().expect("a tree").1;
    assert!(tree.records_kept() >= 20 && tree.defects().count() >= 2, "{tree:?}");
    assert!(outbound(&world).len() >= 8);
}

/// Half of the list is hostile and always has room; discovery knows none of it.
#[test]
fn d19_a_list_of_which_half_is_hostile_has_a_third_of_the_places() {
    let mut shares = Vec::new();
    for seed in 3..5 {
        let half = HONEST / 2..HONEST + HOSTILE / 2;
        let mut world = world(seed, true, half);
        let hostile = ids(&world, HONEST..READER.0);
        run(&mut world, 600);
        for _ in 0..10 {
            run(&mut world, 300);
            let (peers, book) = (outbound(&world), reader(&world).peers().book());
            let listed = |id: &NodeId| book.get(id).is_some_and(|entry| entry.source() == Source::Dns);
            let of_list = peers.iter().filter(|id| listed(id)).count();
            let of_hostile = peers.intersection(&hostile).count();
            assert!(peers.len() >= 12 && of_list <= 7 && of_hostile <= of_list, "{of_hostile}, {of_list} of {peers:?}");
            shares.push(of_hostile);
        }
    }
    let mean = shares.iter().sum::<usize>() * 10 / shares.len();
    println!("hostile of 16: {mean} tenths on average, most {:?}", shares.iter().max());
    assert!((5..=53).contains(&mean), "the list is used, for a third of 16 at most: {mean} tenths");
}

#[test]
fn a_run_with_a_list_is_a_function_of_the_seed() {
    let hash = |seed| {
        let mut world = world(seed, true, 0..HONEST);
        world.zone_mut().lost_millionths = 100_000;
        run(&mut world, 120);
        world.trace_hash()
    };
    assert_eq!(hash(7), hash(7));
    assert_ne!(hash(7), hash(8));
}
