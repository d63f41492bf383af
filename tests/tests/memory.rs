//! What a node holds at rest, in bytes: the figures that the README promises. And that its answers to a ping take nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{Action, Answer, Command, Context, Input, Machine, Query, SocketId};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::discv4::{Config, Discv4, Local};
use peerless::dns::{self, Reader};
use peerless::kad::Received;
use peerless::limits;
use peerless::netfilter::NetFilter;
use peerless::node::{Discoverer, Node, discoverer};
use peerless::rng::Seed;
use peerless::testing::{Host, Net, START, config};
use peerless::time::Instant;
use peerless::wire::discv4::{DATAGRAM_BYTES_MAX, Datagram, Endpoint, Kind, NEIGHBORS_PER_PACKET, Neighbor, Packet};
use peerless::wire::dns::{Link, Plan};
use peerless::wire::enr::RecordBuilder;
use peerless::wire::forkid::ForkId;
use peerless_sim::crypto::SimMac;
use peerless_tests::fuzz::Cheap;
use peerless_tests::memory::{Counting, live, peak_of};

#[global_allocator]
static COUNTING: Counting = Counting;

/// The memory of a network that has run, without the events that it keeps.
fn at_rest(net: &mut Net<Node>) -> isize {
    net.run_for(Duration::from_secs(40));
    net.forget();
    live()
}

#[test]
fn an_idle_session_takes_at_most_eight_kilobytes() {
    const PEERS: usize = 16;
    let (mut net, [hub, other_hub, peers @ ..]): (_, [Host; PEERS + 2]) = Net::nodes(1);
    let dial_all = |net: &mut Net<Node>, hub: Host| {
        let contact = net.contact(hub);
        for peer in peers {
            net.command(peer, Command::Dial { contact }).unwrap();
        }
    };
    // A node's first session leaves it the scratch space for compression, which its others share.
    dial_all(&mut net, other_hub);
    let contact = net.contact(other_hub);
    net.command(hub, Command::Dial { contact }).unwrap();
    let before = at_rest(&mut net);
    dial_all(&mut net, hub);
    let with_sessions = at_rest(&mut net);
    assert_eq!(net.established(hub), PEERS + 1);
    // Both ends, and what the network holds for the stream between them.
    let each = usize::try_from(with_sessions - before).unwrap() / (2 * PEERS);
    println!("an idle session takes {each} bytes");
    assert!(each <= 8 << 10, "{each} bytes");
}

#[test]
fn a_node_that_only_discovers_is_small() {
    const NODES: usize = 40;
    let mut net = Net::new(2);
    let before = at_rest(&mut net);
    let mut boot = None;
    for i in 0..NODES {
        let mut config = config(i, 1);
        config.peers.max_peers = 0;
        config.discovery.discv4.as_mut().unwrap().bootnodes.extend(boot);
        let host = net.add_node(config);
        boot.get_or_insert(net.contact(host));
    }
    let after = at_rest(&mut net);
    let each = usize::try_from(after - before).unwrap() / NODES;
    println!("a node that only discovers takes {each} bytes, its limiter tables included");
    assert!(each <= 28 << 10, "{each} bytes");
}

/// Each caller of a bootnode proves its endpoint and asks for nodes.
#[test]
fn a_bootnode_of_thirty_thousand_callers_is_small() {
    const CALLERS: u32 = 30_000;
    const INTERVAL: Duration = Duration::from_millis(5);
    let crypto: Arc<dyn Crypto + Send + Sync> = Arc::new(SimMac::new(1, CALLERS as usize));
    let secret = |n: u32| {
        let mut bytes = [1; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        SecretKey::from_bytes(bytes).unwrap()
    };
    let mut now = Instant::from_micros(1);
    let before = live();
    let mut config = discoverer::Config::new(secret(0));
    config.addresses.set_ip([9, 9, 9, 9].into());
    let mut boot = Discoverer::with_crypto(config, [1; 32], now, START, crypto.clone()).unwrap();
    let (mut bytes, mut served, mut largest) = (Vec::new(), 0, 0);
    for n in 1..=CALLERS {
        now = now + INTERVAL;
        while boot.poll_timeout().is_some_and(|(at, _)| at <= now) {
            boot.handle(now, Input::Timeout);
        }
        let [_, a, b, c] = (n << 4).to_be_bytes();
        let from = SocketAddr::from(([20 + a, b, c, 1], 30303));
        let (endpoint, expiration) = (Endpoint::from(from), START.plus_micros(now.as_micros()).plus_secs(20));
        let mut call = |packet: &Packet| {
            bytes.clear();
            packet.seal(&*crypto, &secret(n), &mut bytes);
            boot.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes });
            let (mut ping, mut answers) = ([0; 32], 0);
            while let Some(action) = boot.poll_action() {
                let Action::Send { to, bytes, .. } = action else { continue };
                let datagram = Datagram::split(bytes).unwrap();
                match datagram.kind() {
                    Ok(Kind::Ping) if to == from => ping = *datagram.hash,
                    Ok(Kind::Neighbors) if to == from => answers += 1,
                    _ => {}
                }
            }
            (ping, answers)
        };
        let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None };
        let (ping_hash, _) = call(&ping);
        let _ = call(&Packet::Pong { to: endpoint, ping_hash, expiration, enr_seq: None });
        let (_, answers) = call(&Packet::FindNode { target: [7; 64], expiration });
        served += u32::from(answers > 0);
        largest = largest.max(live() - before);
    }
    let (kib, peak) = ((live() - before) >> 10, largest >> 10);
    println!("a bootnode of {CALLERS} callers, {served} of them served, takes {kib} KiB, {peak} KiB at its peak");
    assert!(served > CALLERS * 99 / 100, "{served}");
    assert!(largest <= 256 << 10, "{peak} KiB");
}

#[test]
fn a_pong_is_built_where_it_leaves_from() {
    let crypto = Arc::new(Secp256k1::new());
    let secret = |byte| SecretKey::from_bytes([byte; 32]).unwrap();
    let mut rng = Seed::new([1; 32]).fork("memory");
    let mut context = Context::new(Instant::ZERO, START, NetFilter::default(), crypto.clone());
    let from = SocketAddr::from(([10, 0, 0, 2], 30303));
    let endpoint = Endpoint::from(from);
    let local = Local::new(&*crypto, secret(1), endpoint, None);
    let mut machine = Discv4::new(&mut context.cx(&mut rng), Config::default(), local);
    let mut answers_to_ping = |seconds| {
        let expiration = START.plus_secs(seconds);
        let mut ping = Vec::new();
        Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None }.seal(
            &*crypto,
            &secret(2),
            &mut ping,
        );
        let mut answers = 0;
        let peak = peak_of(|| {
            let verdict = machine.handle_datagram(&mut context.cx(&mut rng), from, &ping);
            assert_eq!(verdict.received, Received::Handled);
            while let Some(action) = context.out.pop() {
                assert!(matches!(action, Action::Send { .. }));
                answers += 1;
            }
        });
        (answers, peak)
    };
    let (answers, _) = answers_to_ping(10);
    assert_eq!(answers, 2, "a pong, and a ping back");
    // The machine knows who pings: there is the datagram, and its place in the queue.
    let (answers, peak) = answers_to_ping(11);
    assert!(answers == 1 && peak <= limits::OUTBOX_BYTES_INITIAL + 1024, "{answers} answers, {peak} bytes");
}

#[test]
fn a_sealed_packet_takes_the_room_it_is_given() {
    let crypto = Secp256k1::new();
    let secret = SecretKey::from_bytes([1; 32]).unwrap();
    let expiration = START.plus_secs(20);
    let node = Neighbor { ip: [10, 0, 0, 1].into(), udp: 30303, tcp: 30303, key: [9; 64] };
    let mut out = Vec::with_capacity(DATAGRAM_BYTES_MAX);
    let peak = peak_of(|| {
        let nodes = std::iter::repeat_n(node, NEIGHBORS_PER_PACKET);
        Packet::seal_neighbors(nodes, expiration, &crypto, &secret, &mut out);
    });
    assert_eq!((peak, out.capacity()), (0, DATAGRAM_BYTES_MAX));
}

/// While it is walked, a list takes memory for the entries that it has named; afterwards for a sample of its records.
#[test]
fn a_list_of_a_hundred_thousand_records_is_read_in_bounded_memory() {
    const RECORDS: u64 = 100_000;
    let secret = |n: u64| {
        let mut bytes = [1; 32];
        bytes[24..].copy_from_slice(&n.to_be_bytes());
        SecretKey::from_bytes(bytes).unwrap()
    };
    let list = Link { key: Cheap.public_key(&secret(0)), domain: "list.example".parse().unwrap() };
    let zone: BTreeMap<String, String> = {
        let record = |n: u64| {
            let [.., a, b, c] = n.to_be_bytes();
            let mut builder = RecordBuilder::default();
            builder.endpoint(([20, a, b, c], 30303).into(), 30303).fork_id(ForkId { hash: [1; 4], next: 0 });
            builder.sign(&Cheap, &secret(n), 1).unwrap()
        };
        let records: Vec<_> = (1..=RECORDS).map(record).collect();
        Plan::new(1, &records, &[]).unwrap().sign(&Cheap, &secret(0)).names(&list.domain).collect()
    };
    let mut config = dns::Config::new(vec![list]);
    (config.queries_per_second, config.queries_burst) = (1000, 1000);
    let before = live();
    let mut now = Instant::from_micros(1);
    let mut reader = Reader::new(config, [1; 32], now, START, Arc::new(Cheap));
    let mut peak = 0;
    while !reader.dns().trees().all(|(_, tree)| tree.is_walked()) {
        now = reader.poll_timeout().expect("something to ask").max(now);
        reader.handle(now, Input::Timeout);
        loop {
            let (id, text) = match reader.poll_action() {
                None => break,
                Some(Action::Query { id, what: Query::Txt(name) }) => (id, zone[name].as_bytes()),
                Some(other) => panic!("{other:?}"),
            };
            let answer = Answer::Txt { records: &[text], ttl: Duration::from_secs(60) };
            reader.handle(now, Input::Answer { id, result: Ok(answer) });
        }
        peak = peak.max(live() - before);
    }
    let (_, tree) = reader.dns().trees().next().unwrap();
    assert_eq!((tree.records_found(), tree.records_kept()), (RECORDS, limits::LIST_RECORDS_KEPT));
    let rest = live() - before;
    println!("a list of {RECORDS} records: {} KiB while it is walked, {} KiB afterwards", peak >> 10, rest >> 10);
    assert!(peak <= 12 << 20 && rest <= 512 << 10, "{peak} {rest}");
}
