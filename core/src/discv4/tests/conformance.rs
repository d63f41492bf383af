//! The discv4 cases of the `devp2p` simulators of hive, except those about records, under hive's names.

use core::net::IpAddr;

use super::*;
use crate::wire::discv4::Neighbor;
use crate::wire::rlp::RlpStream;

/// A ping with additions of a future extension: elements in the list, and bytes after it.
fn ping_with_extras(net: &Net, stranger: &Stranger, from: &str) -> (Digest, Vec<u8>) {
    let mut list = RlpStream::new_list(6);
    list.append(&4u8);
    for endpoint in [addr(from), net.addr(Host(0))] {
        let IpAddr::V4(ip) = endpoint.ip() else { panic!() };
        list.begin_list(3).append(&&ip.octets()[..]).append(&endpoint.port()).append(&0u16);
    }
    list.append(&net.soon().as_secs());
    list.begin_list(2).append(&1u8).append(&2u8);
    list.append(&&b"more"[..]);
    let signed = [&[1][..], list.as_raw(), &[0xfe; 50]].concat();
    let signature = CRYPTO.sign(&stranger.secret, &keccak256(&signed));
    let hashed = [&signature.0[..], &signed].concat();
    let hash = keccak256(&hashed);
    (hash, [&hash[..], &hashed].concat())
}

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

/// Whether exactly one pong was sent, with the hash of the ping and the address that it came from.
fn is_ponged(net: &mut Net, stranger: &Stranger, ping: Digest) -> bool {
    let answers = net.take(stranger.addr);
    let mut pongs = answers.iter().filter(|(packet, _)| packet.kind() == Kind::Pong);
    let Some((Packet::Pong { to, ping_hash, expiration, .. }, _)) = pongs.next() else { return false };
    to.udp_addr() == Some(stranger.addr) && *ping_hash == ping && *expiration >= net.unix() && pongs.next().is_none()
}

#[test]
fn ping_basic() {
    let (mut net, stranger) = (victim(), stranger());
    let ping = net.ping();
    let (hash, received) = net.send_from(&stranger, &ping);
    assert_eq!(received, Received::Handled);
    assert!(is_ponged(&mut net, &stranger, hash));
}

/// The pong returns the TCP port that the ping claims, and the UDP endpoint that it came from.
#[test]
fn a_pong_names_the_tcp_port_of_its_ping() {
    let (mut net, stranger) = (victim(), stranger());
    let from = Endpoint { tcp: 7777, ..Endpoint::from(addr("1.1.1.1:1")) };
    let ping = Packet::Ping { version: 4, from, to: from, expiration: net.soon(), enr_seq: None };
    assert_eq!(net.send_from(&stranger, &ping).1, Received::Handled);
    let answers = net.take(stranger.addr);
    let Some((Packet::Pong { to, .. }, _)) = answers.first() else { panic!("{answers:?}") };
    assert_eq!((to.udp_addr(), to.tcp), (Some(stranger.addr), 7777));
}

#[test]
fn ping_wrong_to_and_wrong_from() {
    for (from, to) in [("90.1.1.1:30303", "1.2.3.4:5"), ("1.2.3.4:5", "100.0.0.1:30303")] {
        let (mut net, stranger) = (victim(), stranger());
        let (from, to) = (Endpoint::from(addr(from)), Endpoint::from(addr(to)));
        let ping = Packet::Ping { version: 4, from, to, expiration: net.soon(), enr_seq: None };
        let (hash, _) = net.send_from(&stranger, &ping);
        assert!(is_ponged(&mut net, &stranger, hash));
    }
}

#[test]
fn ping_with_extra_data_and_with_wrong_from_besides() {
    for from in ["90.1.1.1:30303", "1.2.3.4:5"] {
        let (mut net, stranger) = (victim(), stranger());
        let (hash, bytes) = ping_with_extras(&net, &stranger, from);
        assert_eq!(net.deliver(0, stranger.addr, &bytes), Received::Handled);
        assert!(is_ponged(&mut net, &stranger, hash));
    }
}

#[test]
fn ping_past_expiration() {
    let (mut net, stranger) = (victim(), stranger());
    net.run_for(secs(5));
    let mut ping = net.ping();
    let Packet::Ping { expiration, .. } = &mut ping else { panic!() };
    *expiration = UnixTime::from_secs(net.unix().as_secs() - 1);
    assert_eq!(net.send_from(&stranger, &ping).1, Received::Dropped(DropReason::Expired));
    assert!(net.take(stranger.addr).is_empty());
}

#[test]
fn wrong_packet_type() {
    let (mut net, stranger) = (victim(), stranger());
    for packet in [
        net.pong([1; 32]),
        Packet::Neighbors { nodes: vec![], expiration: net.soon() },
        Packet::EnrResponse { request_hash: [1; 32], record: vec![0xc0] },
    ] {
        assert_eq!(net.send_from(&stranger, &packet).1, Received::Dropped(DropReason::Unsolicited));
    }
    assert!(net.take(stranger.addr).is_empty());
}

#[test]
fn bond_then_ping_with_wrong_from() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    net.run_for(secs(1));
    net.take(stranger.addr);
    let (from, to) = (Endpoint::from(addr("4.4.4.4:4")), Endpoint::from(net.addr(Host(0))));
    let ping = Packet::Ping { version: 4, from, to, expiration: net.soon(), enr_seq: None };
    let (hash, _) = net.send_from(&stranger, &ping);
    assert!(is_ponged(&mut net, &stranger, hash));
}

#[test]
fn find_node_without_endpoint_proof() {
    let (mut net, stranger) = (victim(), stranger());
    let find_node = net.find_node([7; 64]);
    assert_eq!(net.send_from(&stranger, &find_node).1, Received::Dropped(DropReason::NoEndpointProof));
    let request = Packet::EnrRequest { expiration: net.soon() };
    assert_eq!(net.send_from(&stranger, &request).1, Received::Dropped(DropReason::NoEndpointProof));
    assert!(net.take(stranger.addr).is_empty());
}

#[test]
fn find_node_basic() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    let find_node = net.find_node([7; 64]);
    assert_eq!(net.send_from(&stranger, &find_node).1, Received::Handled);
    let answers = net.take(stranger.addr);
    let [(Packet::Neighbors { nodes, .. }, _)] = &answers[..] else { panic!("{answers:?}") };
    assert!(nodes.is_empty(), "an empty table is answered with an empty packet");
}

#[test]
fn find_node_is_answered_by_sixteen_in_two_packets() {
    let mut net = victim();
    let others: Vec<_> = (10..40).map(|n| Stranger::new(n, &alloc::format!("91.{n}.1.1:30303"))).collect();
    others.iter().for_each(|other| net.bond(other));
    let live: BTreeSet<_> = others.iter().map(|other| *other.key.as_bytes()).collect();
    let target = *others[3].key.as_bytes();
    let find_node = net.find_node(target);
    net.take(others[0].addr);
    assert_eq!(net.send_from(&others[0], &find_node).1, Received::Handled);
    let mut nodes = vec![];
    for (packet, _) in net.take(others[0].addr) {
        if let Packet::Neighbors { nodes: some, .. } = packet {
            nodes.push(some);
        }
    }
    assert_eq!(nodes.iter().map(Vec::len).collect::<Vec<_>>(), [12, 4]);
    assert_eq!(nodes[0][0].key, target, "nearest first");
    assert!(nodes.iter().flatten().all(|node| live.contains(&node.key) && node.key != *others[0].key.as_bytes()));
}

#[test]
fn find_node_unsolicited_neighbors() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    let fake = Neighbor {
        ip: [92, 1, 1, 1].into(),
        udp: 30303,
        tcp: 30303,
        key: *Stranger::new(8, "1.1.1.1:1").key.as_bytes(),
    };
    let neighbors = Packet::Neighbors { nodes: vec![fake], expiration: net.soon() };
    assert_eq!(net.send_from(&stranger, &neighbors).1, Received::Dropped(DropReason::Unsolicited));
    let find_node = net.find_node(fake.key);
    net.take(stranger.addr);
    _ = net.send_from(&stranger, &find_node);
    let answers = net.take(stranger.addr);
    assert!(
        answers.iter().all(|(packet, _)| !matches!(packet, Packet::Neighbors { nodes, .. } if nodes.contains(&fake)))
    );
    assert!(!answers.is_empty());
}

#[test]
fn find_node_past_expiration() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    net.run_for(secs(5));
    net.take(stranger.addr);
    let expiration = UnixTime::from_secs(net.unix().as_secs() - 1);
    let find_node = Packet::FindNode { target: [7; 64], expiration };
    assert_eq!(net.send_from(&stranger, &find_node).1, Received::Dropped(DropReason::Expired));
    assert!(net.take(stranger.addr).iter().all(|(packet, _)| packet.kind() == Kind::Ping));
}

#[test]
fn amplification_invalid_pong_hash() {
    let (mut net, stranger) = (victim(), stranger());
    let ping = net.ping();
    _ = net.send_from(&stranger, &ping);
    let answers = net.take(stranger.addr);
    let (_, mut hash) = answers.into_iter().find(|(packet, _)| packet.kind() == Kind::Ping).unwrap();
    hash[31] ^= 1;
    let pong = net.pong(hash);
    assert_eq!(net.send_from(&stranger, &pong).1, Received::Dropped(DropReason::Unsolicited));
    let find_node = net.find_node([7; 64]);
    assert_eq!(net.send_from(&stranger, &find_node).1, Received::Dropped(DropReason::NoEndpointProof));
    assert!(net.discv4(0).table().is_empty());
}

#[test]
fn amplification_wrong_ip() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    for elsewhere in ["90.1.1.2:30303", "90.1.1.1:30304"] {
        let find_node = net.find_node([7; 64]);
        let moved = stranger.at(elsewhere);
        assert_eq!(net.send_from(&moved, &find_node).1, Received::Dropped(DropReason::NoEndpointProof));
        assert!(net.take(moved.addr).is_empty());
    }
}
