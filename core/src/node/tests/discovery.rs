//! The node and its discovery: shutdown, and the dialler's poll after growth.

use alloc::vec;

use super::*;
use crate::contract::DropReason;
use crate::discv5::calls::Purpose;
use crate::netfilter::NetFilter;
use crate::testing::{Net, config};
use crate::wire::discv4::{Datagram, Endpoint, Kind, Packet};

/// A packet of the protocol is dropped, and not shown as unrecognised.
#[test]
fn discovery_packets_are_dropped_with_a_reason_after_shutdown() {
    let start = Instant::ZERO;
    let mut node = Node::new(Config::new(secret(1), chain(1)), [1; 32], start, UNIX).unwrap();
    let from: SocketAddr = "8.8.8.8:30303".parse().unwrap();
    let mut ping = vec![];
    let endpoint = from.into();
    let packet =
        Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration: UNIX.plus_secs(20), enr_seq: None };
    packet.seal(&Secp256k1::new(), &secret(2), &mut ping);
    let mut foreign = ping.clone();
    foreign[0] ^= 1;
    node.command(start, Command::Shutdown).unwrap();
    for bytes in [&ping, &foreign] {
        node.handle(start, Input::Datagram { socket: SocketId::MAIN, from, bytes });
    }
    let mut unrecognised = vec![];
    while let Some(action) = node.poll_action() {
        let Action::Emit(Event::Unrecognised { bytes, .. }) = action else { panic!("{action:?}") };
        unrecognised.push(bytes.to_vec());
    }
    assert_eq!(unrecognised, [foreign]);
    assert!(node.stats().datagrams_dropped.iter().eq([(&DropReason::ShuttingDown, &1)]));
}

/// A packet of a node that is not in the table.
fn sealed(secret: &SecretKey, packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![];
    packet.seal(&Secp256k1::new(), secret, &mut bytes);
    bytes
}

/// The hash of the ping among the node's queued datagrams, if there is one.
fn ping_sent(node: &mut Node) -> Option<[u8; 32]> {
    let mut ping = None;
    while let Some(action) = node.poll_action() {
        if let Action::Send { bytes, .. } = action
            && let Ok(datagram) = Datagram::split(bytes)
            && datagram.kind() == Ok(Kind::Ping)
        {
            ping = Some(*datagram.hash);
        }
    }
    ping
}

/// The stranger and the node prove their endpoints to each other.
fn bond(node: &mut Node, now: Instant, secret: &SecretKey, from: SocketAddr) {
    let (endpoint, expiration) = (Endpoint { tcp: 0, ..Endpoint::from(from) }, UNIX.plus_secs(60));
    let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None };
    node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &sealed(secret, &ping) });
    let ping_hash = ping_sent(node).expect("a ping back");
    let pong = Packet::Pong { to: endpoint, ping_hash, expiration, enr_seq: None };
    node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &sealed(secret, &pong) });
    assert_eq!(ping_sent(node), None);
}

/// Replacements move up only if they are permitted too.
#[test]
fn a_changed_filter_removes_nodes_from_the_table() {
    let (mut node, now) = (node(Config::new(secret(1), chain(1))), Instant::ZERO);
    let own = node.contact().id();
    let id = |n| Secp256k1::new().public_key(&secret(n)).node_id();
    // Two more than a bucket holds.
    let alike: Vec<u8> = (2..=250).filter(|n| own.log_distance(&id(*n)) == 256).take(18).collect();
    for n in &alike {
        bond(&mut node, now, &secret(*n), ([9 + n % 2, *n, 1, 1], 30303).into());
    }
    let filter = "9.0.0.0/8".parse::<NetFilter>().unwrap();
    node.command(now, Command::SetFilter { filter: &filter }).unwrap();
    let mut removed = 0;
    while let Some(action) = node.poll_action() {
        match action {
            Action::Emit(Event::NodeAdded { contact }) => assert!(filter.permits(contact.ip())),
            Action::Emit(Event::NodeRemoved { .. }) => removed += 1,
            _ => {}
        }
    }
    let table = node.discovery().discv4().unwrap().table();
    let left: Vec<_> = table.entries().map(|entry| entry.contact().id()).collect();
    let permitted = alike.iter().filter(|n| *n % 2 == 0);
    assert!(permitted.clone().all(|n| left.contains(&id(*n))), "replacements too");
    assert_eq!(left.len(), permitted.count());
    assert!(removed > 0);
}

/// Nodes of an earlier run at one address wait for its budget of pings, and hold up no others.
#[test]
fn every_node_of_an_earlier_run_is_pinged() {
    let key = |n| Secp256k1::new().public_key(&secret(n));
    let at = |n: u8, ip: [u8; 4]| Contact::new(key(n), ip.into(), 30303 + u16::from(n), 30303);
    let alike = [2, 3, 4].map(|n| at(n, [9, 9, 9, 9]));
    let other = at(5, [10, 9, 9, 9]);
    let mut config = discv4_alone();
    config.snapshot.nodes = [&alike[..], &[other]].concat();
    let (mut node, mut now) = (node(config), Instant::ZERO);
    let mut pinged = vec![];
    while let Some((due, _)) = node.poll_timeout().filter(|(due, _)| *due < Instant::ZERO + Duration::from_secs(600)) {
        now = due;
        node.handle(now, Input::Timeout);
        while let Some(action) = node.poll_action() {
            if let Action::Send { to, .. } = action {
                pinged.push(to);
            }
        }
    }
    for contact in alike.iter().chain([&other]) {
        assert_eq!(pinged.iter().filter(|to| **to == contact.udp_addr()).count(), 1, "{contact:?} by {now:?}");
    }
}

/// Growth outside of a datagram counts too.
#[test]
fn the_dialler_is_polled_soon_after_a_timeout_added_a_node() {
    let mut config = Config::new(secret(1), chain(1));
    let discovery = config.discovery.discv4.as_mut().unwrap();
    (discovery.schedule.fast_check_interval_max, discovery.schedule.slow_check_interval_max) =
        (Duration::from_secs(600), Duration::from_secs(600));
    let mut now = Instant::ZERO;
    let mut node = Node::new(config, [1; 32], now, UNIX).unwrap();
    let own = node.contact().id();
    let key = |n| Secp256k1::new().public_key(&secret(n));
    let alike: Vec<u8> = (2..=250).filter(|n| own.log_distance(&key(*n).node_id()) == 256).take(17).collect();
    let addr = |n: u8| SocketAddr::from(([9, n, 1, 1], 30303));
    // One more than a bucket holds; none of them can be dialled.
    for n in &alike {
        bond(&mut node, now, &secret(*n), addr(*n));
        now = now + Duration::from_millis(10);
    }
    let step = |node: &mut Node, now: &mut Instant| {
        let (due, reason) = node.poll_timeout().unwrap();
        *now = due;
        node.handle(due, Input::Timeout);
        let mut added = false;
        while let Some(action) = node.poll_action() {
            added |= matches!(action, Action::Emit(Event::NodeAdded { .. }));
        }
        (reason, added)
    };
    let settled = now + 3 * DIAL_CANDIDATE_DELAY;
    while node.poll_timeout().unwrap().0 < settled {
        step(&mut node, &mut now);
    }
    let dead = Contact::new(key(alike[0]), addr(alike[0]).ip(), 30303, 0);
    for _ in 0..5 {
        node.command(now, Command::FindNode { contact: dead, target: [3; 64] }).unwrap();
    }
    let end = now + Duration::from_secs(3);
    while !step(&mut node, &mut now).1 {
        assert!(now < end, "the replacement moves up");
    }
    let added = now;
    while step(&mut node, &mut now).0 != Reason::Dial {}
    assert!(now.since(added) <= 2 * DIAL_CANDIDATE_DELAY, "{:?}", now.since(added));
}

/// As ethrex does: a ping is answered, FindNode is not for a while.
#[test]
fn a_node_that_does_not_send_its_record_at_first_is_asked_again() {
    let mut net: Net<Node> = Net::new(1);
    let [one, two] = [0, 1].map(|i| {
        let mut config = config(i, 1);
        config.discovery.discv4 = None;
        config.discovery.discv5 = Some(Default::default());
        config.peers.max_peers = 0;
        net.add_node(config)
    });
    net.run_for(Duration::from_secs(1));
    let contact = net.contact(two);
    net.command(one, Command::AddNode { contact }).unwrap();
    let entries = |net: &Net<Node>| net.machine(one).discovery().discv5().map(|discv5| discv5.table().len());
    let is_entering = |net: &Net<Node>| {
        let calls = net.machine(one).discovery().discv5().map(|discv5| discv5.calls());
        calls.is_some_and(|calls| calls.iter().any(|call| matches!(call.purpose, Purpose::Enter { .. })))
    };
    assert!(net.run_until(Duration::from_secs(1), is_entering));
    net.cut(two, true);
    net.run_for(Duration::from_millis(1500));
    assert_eq!(entries(&net), Some(0));
    net.cut(two, false);
    assert!(net.run_until(Duration::from_secs(1), |net| entries(net) == Some(1)));
}
