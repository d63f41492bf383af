//! Whole nodes against each other, in memory and virtual time: the properties of the driver contract.

use std::time::Duration;

use peerless::contract::{
    Action, Command, CommandError, ConnId, EndReason, Event, Input, IoFault, PeerKind, Refusal, Side, SocketId, Stage,
    StatusRefusal,
};
use peerless::limits;
use peerless::node::Node;
use peerless::rng::Seed;
use peerless::testing::{Host, Net, START, chain, config, quiet_config};
use peerless::time::{Instant, UnixTime};
use peerless::wire::eth;
use peerless::wire::p2p::{Capability, DisconnectReason};

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes that have found each other and established a session, with the connection's id at each.
fn connected(seed: u64) -> (Net<Node>, [Host; 2], [ConnId; 2]) {
    let (mut net, [one, two]) = Net::mesh(seed);
    let conns = net.meet(one, two);
    (net, [one, two], conns)
}

#[test]
fn two_nodes_find_each_other_and_agree() {
    let (mut net, hosts, _) = connected(1);
    for host in hosts {
        let session = net.machine(host).sessions().find(|session| !session.is_ending).unwrap();
        assert_eq!(session.stage, Stage::Established);
        assert_eq!(session.protocols.unwrap().status().unwrap().version, 69, "the highest version that both have");
        assert_eq!(session.protocols.unwrap().status().unwrap().network_id, 1);
        assert_eq!(net.machine(host).discovery().discv4().unwrap().table().len(), 1);
    }
    net.run_for(600 * SECOND);
    assert_eq!(hosts.map(|host| net.established(host)), [1, 1], "pings keep the session alive");
}

#[test]
fn a_request_is_answered() {
    let (mut net, [one, two], [conn, _]) = connected(2);
    let body = [0xc4, 0x80, 0x01, 0x80, 0x80];
    let command = net
        .command(
            one,
            Command::Request { conn, capability: Capability::eth(69), id: eth::id::GET_BLOCK_HEADERS, body: &body },
        )
        .unwrap();
    net.run_for(SECOND);
    let asked = net.find(two, |event| match event {
        Event::Request { conn, request_id, id, body, .. } => Some((*conn, *request_id, *id, body.to_vec())),
        _ => None,
    });
    let (their_conn, request_id, id, asked) = asked.unwrap();
    assert_eq!((id, asked.as_slice()), (eth::id::GET_BLOCK_HEADERS, body.as_slice()));
    net.command(
        two,
        Command::Respond { conn: their_conn, capability: Capability::eth(69), request_id, id, body: &[0xc0] },
    )
    .unwrap();
    net.command(
        two,
        Command::Respond { conn: their_conn, capability: Capability::eth(69), request_id, id, body: &[0xc0] },
    )
    .unwrap_err();
    net.run_for(SECOND);
    let is_answer = |event: &Event<'_>| {
        matches!(event, Event::Response { command: answered, id, body, .. }
            if *answered == command && *id == eth::id::BLOCK_HEADERS && body.as_ref() == [0xc0])
    };
    assert!(net.saw(one, is_answer));
}

#[test]
fn messages_of_any_size_arrive_whole() {
    let (mut net, [one, two], [conn, _]) = connected(3);
    for len in [0usize, 1, 15, 16, 17, 1000, 70_000, 1_500_000] {
        let transaction: Vec<u8> = (0..len).map(|i| ((i * i) >> 3) as u8).collect();
        let payload = rlp::encode_list::<Vec<u8>, _>(&[transaction]).to_vec();
        let id = eth::id::TRANSACTIONS;
        net.command(one, Command::Send { conn, capability: Capability::eth(69), id, payload: &payload }).unwrap();
        let is_it = |event: &Event<'_>| matches!(event, Event::Message { payload: it, .. } if **it == payload);
        assert!(net.run_until(600 * SECOND, |net| net.saw(two, is_it)), "{len} bytes");
    }
}

#[test]
fn a_foreign_network_is_refused_with_its_reason() {
    let mut net = Net::new(4);
    let hosts = [(0, 1), (1, 2)].map(|(i, network)| net.add_node(quiet_config(i, network)));
    let contact = net.contact(hosts[1]);
    net.command(hosts[0], Command::Dial { contact }).unwrap();
    net.run_for(10 * SECOND);
    let end = net.find(hosts[0], |event| match event {
        Event::Ended { end, .. } => Some(*end),
        _ => None,
    });
    let end = end.expect("the session ends");
    assert_eq!(end.stage, Stage::Status);
    assert!(
        matches!(end.why, EndReason::Status(StatusRefusal::Network(2)) | EndReason::Disconnect(_)),
        "{end}: the side that reads the other's Status first refuses"
    );
    assert!(hosts.iter().all(|host| net.machine(*host).sessions().next().is_none()), "no connection is left");
}

#[test]
fn a_node_that_shuts_down_tells_its_peers() {
    let (mut net, [one, two], [_, conn]) = connected(5);
    net.command(one, Command::Shutdown).unwrap();
    let is_over = |net: &Net<Node>| [one, two].iter().all(|host| net.machine(*host).sessions().next().is_none());
    assert!(net.run_until(3 * SECOND, is_over));
    let (_, end) = net.end(two, conn).unwrap();
    assert_eq!((end.by, end.why), (Side::Them, EndReason::Disconnect(DisconnectReason::ClientQuitting)));
    assert!(net.command(one, Command::Dial { contact: net.contact(two) }).is_err());
}

#[test]
fn a_dial_ends_exactly_once_whatever_becomes_of_it() {
    let (mut net, [host]) = Net::nodes(6);
    let absent = Node::new(config(7, 1), [0; 32], Instant::ZERO, START).unwrap().contact();
    net.command(host, Command::Dial { contact: absent }).unwrap();
    let again = net.command(host, Command::Dial { contact: absent });
    assert!(again.is_err(), "one dial to a node at a time");
    net.run_for(60 * SECOND);
    let ends: Vec<_> = net.events(host).iter().filter(|(_, event)| matches!(event, Event::Ended { .. })).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(matches!(&ends[0].1, Event::Ended { end, .. } if end.why == EndReason::Io(IoFault::Refused)));
}

#[test]
fn a_static_peer_is_dialled_until_it_answers() {
    let (mut net, [host]) = Net::nodes(7);
    let theirs = quiet_config(1, 1);
    let contact = Node::new(theirs.clone(), [0; 32], Instant::ZERO, START).unwrap().contact();
    net.command(host, Command::AddPeer { contact, kind: PeerKind::Static }).unwrap();
    net.run_for(300 * SECOND);
    assert_eq!(net.established(host), 0);
    net.add_node(theirs);
    assert!(net.run_until(3600 * SECOND, |net| net.established(host) == 1));
}

#[test]
fn a_second_session_with_one_peer_is_refused() {
    let (mut net, [one, two], _) = connected(8);
    let contact = net.contact(two);
    let result = net.command(one, Command::Dial { contact });
    assert!(matches!(result, Err(CommandError::Refused(Refusal::AlreadyConnected))), "{result:?}");
}

#[test]
fn both_may_dial_at_once() {
    for seed in 0..100 {
        let (mut net, [one, two]) = Net::nodes(seed);
        for (from, to) in [(one, two), (two, one)] {
            let contact = net.contact(to);
            net.command(from, Command::Dial { contact }).unwrap();
        }
        net.run_for(20 * SECOND);
        assert_eq!((net.established(one), net.established(two)), (1, 1), "seed {seed}");
    }
}

#[test]
fn a_mesh_forms_from_one_bootnode() {
    let (mut net, hosts): (_, [Host; 12]) = Net::mesh(9);
    net.run_for(10 * SECOND);
    for host in hosts {
        let table = net.machine(host).discovery().discv4().unwrap().table();
        assert_eq!((net.established(host), table.len()), (11, 11), "{host:?} has a session with every other");
    }
}

#[test]
fn same_seed_same_bytes() {
    let run = |seed| {
        let (mut net, [one, _]) = Net::mesh(seed);
        net.link.loss_percent = seed % 2 * 10;
        net.run_for(5 * SECOND);
        (net.digest(), net.established(one))
    };
    let (mut digests, mut connected) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..1000 {
        let result = run(seed);
        assert_eq!(result, run(seed), "seed {seed}");
        digests.insert(result.0);
        connected += result.1;
    }
    assert!(digests.len() >= 900, "seeds matter: {} runs differ", digests.len());
    assert!(connected >= 900, "the runs reach sessions: {connected}");
}

#[test]
fn time_may_stand_still_or_run_backwards() {
    let (mut net, [one, _], [conn, _]) = connected(10);
    net.with(one, |node, now| {
        let before = node.poll_timeout().unwrap().0;
        node.handle(Instant::ZERO, Input::Timeout);
        node.handle(Instant::ZERO, Input::WallClock { unix: UnixTime::from_secs(0) });
        node.handle(Instant::ZERO, Input::WallClock { unix: UnixTime::from_secs(u64::MAX) });
        node.handle(Instant::ZERO, Input::Bytes { conn, bytes: &[] });
        assert!(node.poll_timeout().unwrap().0 >= before.min(now));
        node.handle(now, Input::WallClock { unix: START });
    });
    net.run_for(60 * SECOND);
    assert_eq!(net.established(one), 1);
}

/// A driver that hands in inputs in any order and never pops an action.
#[test]
fn a_driver_that_never_drains_is_bounded() {
    let mut config = config(0, 1);
    config.peers.max_peers = 10;
    let mut node = Node::new(config, [1; 32], Instant::ZERO, START).unwrap();
    let mut rng = Seed::new([2; 32]).fork("undrained");
    let mut accepted = 0;
    for i in 0..20_000u64 {
        let now = Instant::from_micros(i * 20_000);
        let from = ([127, 0, 0, 1], 1024 + (i % 60_000) as u16).into();
        match rng.below(4) {
            0 => accepted += usize::from(node.accept(now, SocketId::MAIN, from).is_some()),
            1 => node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &rng.bytes::<1280>() }),
            2 => node.handle(now, Input::Bytes { conn: ConnId(rng.below(200)), bytes: &rng.bytes::<600>() }),
            _ => node.handle(now, Input::Timeout),
        }
    }
    let accepted_max = 2 * (limits::PENDING_MAX + limits::PENDING_NAMED_MAX);
    assert!(accepted <= accepted_max, "slots are free only when their ends have been taken: {accepted}");
    assert!(node.sessions().count() <= accepted_max + limits::PENDING_MAX);
    let mut actions = 0;
    let mut bytes = 0;
    while let Some(action) = node.poll_action() {
        actions += 1;
        if let Action::Send { bytes: sent, .. } = action {
            bytes += sent.len();
        }
    }
    assert!(actions < 20_000 && bytes <= 2 << 20, "{actions} actions, {bytes} bytes");
    assert_eq!(node.sessions().filter(|s| s.is_ending).count(), 0, "popped ends free their slots");
    assert!(chain(1).status(69).network_id == 1);
}
