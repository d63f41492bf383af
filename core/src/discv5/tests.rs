//! discv5 machines in a network in memory.

use alloc::vec::Vec;

use super::*;
use crate::contract::Command;
use crate::node::Node;
use crate::testing::{Host, Net, config};

fn mesh(count: usize, seed: u64) -> (Net<Node>, Vec<Host>) {
    let mut net = Net::new(seed);
    let mut boot = None;
    let hosts = (0..count)
        .map(|i| {
            let mut config = config(i, 1);
            config.discovery.discv4 = None;
            config.discovery.discv5 = Some(Config::default());
            config.peers.max_peers = 0;
            config.discovery.set_bootnodes(boot.as_slice());
            let host = net.add_node(config);
            boot.get_or_insert(net.contact(host));
            host
        })
        .collect();
    (net, hosts)
}

#[test]
fn nodes_find_each_other_and_a_lookup_finds_the_nearest() {
    let (mut net, hosts) = mesh(30, 1);
    net.run_for(Duration::from_secs(120));
    for host in &hosts {
        let discv5 = net.machine(*host).discovery().discv5().unwrap();
        assert!(discv5.table().len() >= 25, "{}", discv5.table().len());
    }
    let target = NodeId([7; 32]);
    net.forget();
    net.command(hosts[3], Command::LookupId { target }).unwrap();
    assert!(
        net.run_until(Duration::from_secs(5), |net| net.saw(hosts[3], |event| matches!(event, Event::Nodes { .. })))
    );
    let nodes = net.find(hosts[3], |event| match event {
        Event::Nodes { nodes, .. } => Some(nodes.clone()),
        _ => None,
    });
    let mut all: Vec<Contact> = hosts.iter().filter(|host| **host != hosts[3]).map(|host| net.contact(*host)).collect();
    all.sort_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
    all.truncate(16);
    assert_eq!(nodes.unwrap(), all);
}
