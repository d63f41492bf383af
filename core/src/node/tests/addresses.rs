//! How a node learns its address from others, and what it tells them then.

use alloc::collections::BTreeSet;
use alloc::vec;

use core::net::IpAddr;

use super::*;
use crate::contract::Addresses;
use crate::testing::{Host, Net};

/// A network of nodes that are told no address, each in a subnet of its own; the first one is the bootnode of all others.
fn addressless(count: u8) -> (Net<Node>, Vec<Host>) {
    let mut net = Net::new(3);
    let mut boot = None;
    let addr = |n: u8| SocketAddr::from(([20, n, 1, 1], 30303));
    let hosts = (0..count).map(|n| {
        let mut config = Config::new(secret(n + 1), chain(1));
        let discovery = config.discovery.discv4.as_mut().unwrap();
        discovery.bootnodes = boot.into_iter().collect();
        boot.get_or_insert(Contact::new(Secp256k1::new().public_key(&secret(1)), addr(0).ip(), 30303, 30303));
        net.add(addr(n), |start| Node::new(config, start.seed, start.now, start.unix).unwrap())
    });
    let hosts = hosts.collect();
    (net, hosts)
}

/// Nodes whose records have no address at first are found, asked for their records and dialled by others.
#[test]
fn nodes_that_are_told_no_address_know_it_within_a_minute_and_are_dialled() {
    let (mut net, hosts) = addressless(8);
    assert!(hosts.iter().all(|host| net.machine(*host).record().ip().is_none()));
    let knows = |net: &Net<Node>, host: &Host| {
        let node = net.machine(*host);
        let record = node.record();
        let IpAddr::V4(ip) = net.addr(*host).ip() else { return false };
        node.addresses().ip4 == Some(ip)
            && (record.ip(), record.udp(), record.tcp()) == (Some(ip), Some(30303), Some(30303))
            && record.seq() == 2
    };
    let all_know = net.run_until(Duration::from_secs(60), |net| hosts.iter().all(|host| knows(net, host)));
    assert!(all_know, "{:?}", hosts.iter().map(|host| net.machine(*host).addresses()).collect::<Vec<_>>());
    for host in &hosts {
        let changes = |event: &Event<'_>| match event {
            Event::AddressChanged { addresses } => Some(*addresses),
            _ => None,
        };
        let told: Vec<_> = net.events(*host).iter().filter_map(|(_, event)| changes(event)).collect();
        assert_eq!(told, [net.machine(*host).addresses()]);
    }
    let has_inbound = |net: &Net<Node>, host: &Host| {
        let mut sessions = net.machine(*host).sessions();
        sessions.any(|session| session.direction == Direction::Inbound && session.stage == Stage::Established)
    };
    assert!(
        net.run_until(Duration::from_secs(600), |net| hosts.iter().filter(|host| has_inbound(net, host)).count() >= 6)
    );
}

#[test]
fn an_address_that_the_embedder_has_fixed_is_kept_and_learning_can_be_switched_off() {
    for (is_fixed, learns) in [(true, true), (false, false)] {
        let (mut net, hosts) = addressless(6);
        let mut config = Config::new(secret(50), chain(1));
        config.learn_addresses = learns;
        if is_fixed {
            config.addresses.set_ip([7, 7, 7, 7].into());
        }
        let boot = net.machine(hosts[0]).contact().with_ip(net.addr(hosts[0]).ip());
        config.discovery.discv4.as_mut().unwrap().bootnodes = vec![boot];
        let own = net
            .add(([21, 1, 1, 1], 30303).into(), |start| Node::new(config, start.seed, start.now, start.unix).unwrap());
        net.run_for(Duration::from_secs(90));
        let node = net.machine(own);
        assert!(node.discovery().discv4().unwrap().table().len() > 3);
        assert_eq!((node.addresses().ip4, node.record().seq()), (is_fixed.then_some([7, 7, 7, 7].into()), 1));
        if is_fixed {
            // No longer fixed: the next votes are heard.
            let addresses = Addresses { ip4: None, ..node.addresses() };
            net.command(own, Command::SetAddresses { addresses }).unwrap();
            net.run_for(Duration::from_secs(60));
            assert_eq!(net.machine(own).addresses().ip4, Some([21, 1, 1, 1].into()));
        }
    }
}

#[test]
fn an_assumed_address_holds_until_others_have_named_another() {
    let (mut net, hosts) = addressless(6);
    let mut config = Config::new(secret(50), chain(1));
    config.assumed_addresses = vec![[192, 168, 1, 7].into()];
    let boot = net.machine(hosts[0]).contact().with_ip(net.addr(hosts[0]).ip());
    config.discovery.discv4.as_mut().unwrap().bootnodes = vec![boot];
    let own =
        net.add(([21, 1, 1, 1], 30303).into(), |start| Node::new(config, start.seed, start.now, start.unix).unwrap());
    let mut seen = BTreeSet::from([net.machine(own).addresses().ip4]);
    for _ in 0..60 {
        net.run_for(Duration::from_secs(1));
        seen.insert(net.machine(own).addresses().ip4);
    }
    let expected = [[192, 168, 1, 7], [21, 1, 1, 1]].map(|ip| Some(ip.into()));
    assert_eq!(seen, BTreeSet::from(expected));
}

/// Only what answers a ping of ours is a vote.
#[test]
fn pongs_without_a_ping_are_no_votes() {
    use crate::wire::discv4::{Endpoint, Packet};
    let (mut net, hosts) = addressless(1);
    for n in 0..30u8 {
        let to = Endpoint { tcp: 0, ..Endpoint::from(SocketAddr::from(([6, 6, 6, 6], 30303))) };
        let pong = Packet::Pong { to, ping_hash: [n; 32], expiration: UNIX.plus_secs(60), enr_seq: None };
        let mut bytes = vec![];
        pong.seal(&Secp256k1::new(), &secret(100 + n), &mut bytes);
        net.datagram(hosts[0], ([30, n, 1, 1], 30303).into(), &bytes);
    }
    assert_eq!(net.machine(hosts[0]).addresses().ip4, None);
}
