//! discv4: what a stranger can make a node send, and to which addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{Command, DropReason, Input, Via};
use peerless::limits;
use peerless::netfilter::NetFilter;
use peerless::node::Node;
use peerless::rng::{Rng, Seed};
use peerless::testing::{self, Host, Net, START, config};
use peerless::time::UnixTime;
use peerless::wire::discv4::{Datagram, Endpoint, Kind, Packet};
use peerless::wire::enode::Contact;
use peerless_tests::stranger::Stranger;

use crate::{SECOND, VICTIM, global};

/// Checks the bound of D1 for every address without an endpoint proof: no node sends it more than three times the bytes that
/// came from there, plus one datagram. An answer to a ping, by the ping's hash, is an endpoint proof. Returns the number of
/// addresses without one.
fn assert_no_amplification(datagrams: &[testing::Datagram]) -> usize {
    #[derive(Default)]
    struct Account {
        received: usize,
        sent: usize,
        pings: BTreeSet<[u8; 32]>,
        is_proven: bool,
    }
    let mut accounts = BTreeMap::<(Host, SocketAddr), Account>::new();
    for testing::Datagram { at, host, remote, is_sent, bytes, .. } in datagrams {
        let account = accounts.entry((*host, *remote)).or_default();
        let datagram = Datagram::split(bytes).ok();
        if *is_sent {
            account.sent += bytes.len();
            if datagram.is_some_and(|datagram| datagram.kind() == Ok(Kind::Ping)) {
                account.pings.insert(*bytes.first_chunk().unwrap());
            }
        } else {
            account.received += bytes.len();
            if let Some(Ok(Packet::Pong { ping_hash, .. })) = datagram.map(|datagram| datagram.decode()) {
                account.is_proven |= account.pings.contains(&ping_hash);
            }
        }
        let bound = 3 * account.received + 1280;
        assert!(
            account.is_proven || account.sent <= bound,
            "at {at} {host:?} had sent {} bytes to {remote}, which had sent {}",
            account.sent,
            account.received
        );
    }
    accounts.values().filter(|account| !account.is_proven).count()
}

/// Nodes at global addresses that have found each other, with every datagram noted.
fn mesh(seed: u64, nodes: usize) -> Net<Node> {
    let mut net = Net::new(seed);
    net.log_datagrams();
    let mut boot = Vec::new();
    for i in 0..nodes {
        let mut config = config(i, 1);
        config.filter = NetFilter::default();
        config.addresses.set_ip(global(60_000 + i as u32).ip());
        config.discovery.discv4.as_mut().unwrap().bootnodes = boot.clone();
        let host = net.add_node(config);
        if boot.is_empty() {
            boot.push(net.contact(host));
        }
    }
    net.run_for(60 * SECOND);
    for host in net.hosts() {
        assert!(net.machine(host).discovery().discv4().unwrap().table().len() >= nodes / 2);
    }
    net
}

fn packet(kind: Kind, net: &Net<Node>, rng: &mut Rng) -> Packet {
    let expiration = net.unix().plus_secs(20);
    let endpoint = Endpoint { ip: Some([9, 9, 9, 9].into()), udp: 30303, tcp: 30303 };
    match kind {
        Kind::Ping => Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: Some(rng.u64()) },
        Kind::Pong => Packet::Pong { to: endpoint, ping_hash: rng.bytes(), expiration, enr_seq: None },
        Kind::FindNode => Packet::FindNode { target: rng.bytes(), expiration },
        Kind::Neighbors => Packet::Neighbors { nodes: Vec::new(), expiration },
        Kind::EnrRequest => Packet::EnrRequest { expiration },
        Kind::EnrResponse => Packet::EnrResponse { request_hash: rng.bytes(), record: vec![0xc0] },
    }
}

const KINDS: [Kind; 6] = [Kind::Ping, Kind::Pong, Kind::FindNode, Kind::Neighbors, Kind::EnrRequest, Kind::EnrResponse];

fn seal(stranger: &Stranger, packet: &Packet) -> Vec<u8> {
    let mut out = Vec::new();
    packet.seal(stranger.crypto(), &stranger.secret, &mut out);
    out
}

/// D1 to D5: forged sources bring no amplification, in any order of packets and with any key.
#[test]
fn no_traffic_is_amplified() {
    let mut net = mesh(1, 12);
    let mut rng = Seed::new([1; 32]).fork("forger");
    let strangers: Vec<Stranger> = (0..4).map(Stranger::new).collect();
    for _ in 0..3000 {
        let victim = global(rng.below(200) as u32);
        let stranger = &strangers[rng.below(4) as usize];
        let kind = KINDS[rng.below(6) as usize];
        let bytes = seal(stranger, &packet(kind, &net, &mut rng));
        let to = rng.below(12) as usize;
        net.datagram(Host(to), victim, &bytes);
        if rng.below(4) == 0 {
            net.run_for(SECOND / 10);
        }
    }
    // One address, a thousand times.
    for _ in 0..1000 {
        let stranger = &strangers[rng.below(4) as usize];
        let kind = KINDS[rng.below(6) as usize];
        let bytes = seal(stranger, &packet(kind, &net, &mut rng));
        net.datagram(VICTIM, global(777), &bytes);
        net.run_for(SECOND / 100);
    }
    net.run_for(60 * SECOND);
    assert!(assert_no_amplification(net.datagrams()) >= 500, "the forged addresses are among them");
    let neighbors_to_forged = net.datagrams().iter().filter(|datagram| {
        let kind = Datagram::split(&datagram.bytes).ok().and_then(|datagram| datagram.kind().ok());
        datagram.is_sent
            && matches!(kind, Some(Kind::Neighbors | Kind::EnrResponse))
            && net.hosts().all(|host| net.addr(host) != datagram.remote)
    });
    assert_eq!(neighbors_to_forged.count(), 0, "requests without an endpoint proof are not answered");
    let dropped = &net.machine(VICTIM).stats().datagrams_dropped;
    assert!(dropped.get(&DropReason::NoEndpointProof).is_some_and(|count| *count > 50), "{dropped:?}");
}

/// D10: an address that only liars name is pinged rarely, however often they name it.
#[test]
fn a_victim_that_liars_name_is_left_alone() {
    let mut net = mesh(2, 6);
    let mut rng = Seed::new([2; 32]).fork("liar");
    let victim = global(5);
    let begun = net.datagrams().len();
    for _ in 0..600 {
        let key = Stranger::new(rng.below(200) as u8).key;
        let contact = Contact::new(key, victim.ip(), victim.port(), 30303);
        for host in net.hosts() {
            // Most are refused, as pinged recently.
            _ = net.command(host, Command::AddNode { contact });
        }
        net.run_for(SECOND / 2);
    }
    for host in net.hosts() {
        let later = net.datagrams()[begun..].iter();
        let count = later.filter(|sent| sent.is_sent && sent.host == host && sent.remote == victim).count();
        // At once, after a minute and after three, in five.
        assert!((1..=3).contains(&count), "{count} from {host:?}");
    }
    assert_no_amplification(net.datagrams());
}

/// D13: a replayed datagram changes no table and gets no answer.
#[test]
fn replayed_datagrams_are_dropped() {
    let mut net = mesh(3, 4);
    let received: Vec<(SocketAddr, Vec<u8>)> = {
        let begun = net.datagrams().len();
        let contact = net.contact(VICTIM);
        for i in 1..4 {
            for _ in 0..2 {
                net.command(Host(i), Command::Ping { via: Via::Discv4, contact }).unwrap();
                net.command(Host(i), Command::RequestRecord { via: Via::Discv4, contact }).unwrap();
                net.command(Host(i), Command::FindNode { contact, target: [i as u8; 64] }).unwrap();
                net.run_for(SECOND / 2);
            }
        }
        let datagrams = net.datagrams()[begun..].iter().filter(|datagram| !datagram.is_sent && datagram.host == VICTIM);
        datagrams.map(|datagram| (datagram.remote, datagram.bytes.clone())).collect()
    };
    let kinds: BTreeSet<_> =
        received.iter().map(|(_, bytes)| Datagram::split(bytes).unwrap().kind().unwrap()).collect();
    assert!(kinds.contains(&Kind::Ping) && kinds.contains(&Kind::FindNode) && kinds.contains(&Kind::EnrRequest));

    let replay = |net: &mut Net<Node>, after: Duration, from: Option<SocketAddr>| {
        net.run_for(after);
        let answers = |net: &Net<Node>| net.machine(VICTIM).stats().datagrams_out.count;
        let before = (answers(net), net.machine(VICTIM).discovery().discv4().unwrap().table().len());
        for (source, bytes) in &received {
            net.datagram(VICTIM, from.unwrap_or(*source), bytes);
        }
        assert_eq!(before.1, net.machine(VICTIM).discovery().discv4().unwrap().table().len());
        answers(net) - before.0
    };
    // Past the grace for equal packets within a second or two, and before their expiration.
    assert_eq!(replay(&mut net, limits::REPLAY_GRACE + SECOND, None), 0);
    assert_eq!(replay(&mut net, 10 * SECOND, None), 0);
    let dropped = |net: &Net<Node>, why| net.machine(VICTIM).stats().datagrams_dropped.get(&why).copied().unwrap_or(0);
    assert!(dropped(&net, DropReason::Replayed) > 0);
    let expired = dropped(&net, DropReason::Expired);
    assert_eq!(replay(&mut net, 10 * SECOND, None), 0);
    assert!(dropped(&net, DropReason::Expired) > expired);
    assert_eq!(replay(&mut net, SECOND, Some(global(3))), 0, "nor from elsewhere");
    net.input(VICTIM, Input::WallClock { unix: START.plus_secs(24 * 3600) });
    assert_eq!(replay(&mut net, SECOND, None), 0);
    assert_no_amplification(net.datagrams());
}

/// D13: expirations at the ends of the integer's range are refused.
#[test]
fn impossible_expirations_are_refused() {
    let mut net = mesh(4, 2);
    let stranger = Stranger::new(1);
    let now = net.unix().as_secs();
    let endpoint = Endpoint { ip: Some([9, 9, 9, 9].into()), udp: 1, tcp: 1 };
    for (n, expiration) in [0, 1, now - 2, now + 2 * 24 * 3600, 1 << 62, 1 << 63, u64::MAX].into_iter().enumerate() {
        let expiration = UnixTime::from_secs(expiration);
        let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None };
        let before = net.machine(VICTIM).stats().datagrams_out.count;
        net.datagram(VICTIM, global(100 + n as u32), &seal(&stranger, &ping));
        assert_eq!(net.machine(VICTIM).stats().datagrams_out.count, before, "{expiration:?}");
    }
}
