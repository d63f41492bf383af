//! The node and its node lists: peers found by a list alone, seeds of discovery, and the ids of queries.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::contract::{Query, QueryFault, Source};
use crate::dns;
use crate::testing::{Net, config, quiet_config};
use crate::wire::dns::{Link, Plan};

const DOMAIN: &str = "nodes.example.org";

fn list() -> Link {
    Link { key: Secp256k1::new().public_key(&secret(77)), domain: DOMAIN.parse().unwrap() }
}

/// Publishes a list of these hosts.
fn publish(net: &mut Net<Node>, seq: u64, hosts: &[crate::testing::Host]) {
    let records: Vec<_> = hosts.iter().map(|host| net.machine(*host).record().clone()).collect();
    let tree = Plan::new(seq, &records, &[]).unwrap().sign(&Secp256k1::new(), &secret(77));
    net.zone.publish(&tree, &DOMAIN.parse().unwrap());
}

#[test]
fn a_node_with_a_list_alone_finds_peers() {
    let (mut net, listed) = Net::nodes::<4>(1);
    publish(&mut net, 1, &listed);
    let mut alone = quiet_config(9, 1);
    alone.discovery.dns = Some(dns::Config::new(vec![list()]));
    let host = net.add_node(alone);
    assert!(net.run_until(Duration::from_secs(30), |net| net.established(host) == 4), "{}", net.established(host));
    let tree = net.machine(host).discovery().dns().unwrap().trees().next().unwrap().1;
    assert!(tree.is_walked() && tree.records_kept() == 4);
    let entries = net.machine(host).peers().book().entries();
    assert!(entries.iter().all(|entry| entry.source() == Source::Dns));
}

#[test]
fn nodes_of_another_network_are_not_dialled_from_a_list() {
    let mut net = Net::new(1);
    let other = net.add_node(quiet_config(0, 99));
    publish(&mut net, 1, &[other]);
    let mut alone = quiet_config(9, 1);
    alone.discovery.dns = Some(dns::Config::new(vec![list()]));
    let host = net.add_node(alone);
    net.run_for(Duration::from_secs(60));
    assert_eq!(net.machine(host).stats().dials, 0, "its record has another fork id");
}

#[test]
fn a_list_seeds_discovery_without_bootnodes() {
    let (mut net, mesh) = Net::mesh::<8>(1);
    publish(&mut net, 1, &mesh[..2]);
    let mut seeded = config(20, 1);
    seeded.discovery.dns = Some(dns::Config::new(vec![list()]));
    let host = net.add_node(seeded);
    net.run_for(Duration::from_secs(120));
    let known = net.machine(host).discovery().discv4().unwrap().table().len();
    assert!(known >= 6, "{known}: it finds nodes that are not on the list");
}

#[test]
fn a_node_without_lists_asks_for_no_name_and_ignores_answers() {
    let (mut net, [host]) = Net::mesh::<1>(1);
    net.zone.set("elsewhere.example", &["x"]);
    net.run_for(Duration::from_secs(3600));
    assert!(net.zone.asked().is_empty() && net.machine(host).discovery().dns().is_none());
    net.input(host, Input::Answer { id: crate::contract::QueryId(0), result: Err(QueryFault::NotFound) });
}

#[test]
fn queries_have_ids_of_their_own_and_end_with_the_shutdown() {
    let mut config = quiet_config(0, 1);
    let other = Link { domain: "other.example".parse().unwrap(), ..list() };
    config.discovery.dns = Some(dns::Config::new(vec![list(), other]));
    let mut node = Node::new(config, [1; 32], Instant::ZERO, UNIX).unwrap();
    let mut asked = Vec::new();
    let mut now = Instant::ZERO;
    for _ in 0..20 {
        let Some((at, _)) = node.poll_timeout() else { break };
        now = at;
        node.handle(now, Input::Timeout);
        while let Some(action) = node.poll_action() {
            let Action::Query { id, what: Query::Txt(name) } = action else { panic!("{action:?}") };
            asked.push((id, alloc::string::String::from(name)));
        }
    }
    let ids: alloc::collections::BTreeSet<_> = asked.iter().map(|(id, _)| *id).collect();
    assert!(asked.len() >= 4 && ids.len() == asked.len(), "{asked:?}");
    node.command(now, Command::Shutdown).unwrap();
    while node.poll_action().is_some() {}
    assert_eq!(node.poll_timeout(), None);
}
