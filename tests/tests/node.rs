//! Whole nodes against each other, in memory and virtual time: the properties of the driver contract.

use std::time::Duration;

use peerless::contract::{
    Command, ConnId, EndReason, Input, IoFault, PeerKind, Refusal, Side, SocketId, Stage, StatusRefusal,
};
use peerless::node::Node;
use peerless::rng::Seed;
use peerless::time::{Instant, UnixTime};
use peerless::wire::eth;
use peerless::wire::p2p::{Capability, DisconnectReason};
use peerless_tests::net::{Net, START, Seen, chain, config};

const SECOND: Duration = Duration::from_secs(1);

/// Two nodes of network 1; the second knows the first.
fn pair(seed: u64) -> Net {
    let mut net = Net::new(seed);
    let a = net.add(config(0, 1));
    let mut second = config(1, 1);
    if let Some(discovery) = &mut second.discovery.discv4 {
        discovery.bootnodes = vec![net.contact(a)];
    }
    net.add(second);
    net
}

fn connected(net: &mut Net) -> (ConnId, ConnId) {
    let settled = |net: &Net, i: usize| net.members[i].node.sessions().count() == 1 && net.established(i) == 1;
    assert!(net.run_until(30 * SECOND, |net| settled(net, 0) && settled(net, 1)));
    (net.conn(0, 1).unwrap(), net.conn(1, 0).unwrap())
}

#[test]
fn two_nodes_find_each_other_and_agree() {
    let mut net = pair(1);
    connected(&mut net);
    for i in [0, 1] {
        let session = net.members[i].node.sessions().find(|session| !session.is_ending).unwrap();
        assert_eq!(session.stage, Stage::Established);
        assert_eq!(session.protocols.unwrap().status().unwrap().version, 69, "the highest version that both have");
        assert_eq!(session.protocols.unwrap().status().unwrap().network_id, 1);
        assert_eq!(net.members[i].node.discovery().discv4().unwrap().table().len(), 1);
    }
    net.run_for(600 * SECOND);
    assert_eq!((net.established(0), net.established(1)), (1, 1), "pings keep the session alive");
}

#[test]
fn a_request_is_answered() {
    let mut net = pair(2);
    let (conn, _) = connected(&mut net);
    let body = [0xc4, 0x80, 0x01, 0x80, 0x80];
    let command = net
        .command(
            0,
            Command::Request { conn, capability: Capability::eth(69), id: eth::id::GET_BLOCK_HEADERS, body: &body },
        )
        .unwrap();
    assert!(
        net.run_until(5 * SECOND, |net| net.members[1]
            .seen
            .iter()
            .any(|(_, seen)| matches!(seen, Seen::Request { .. })))
    );
    let asked = net.members[1].seen.iter().find_map(|(_, seen)| match seen {
        Seen::Request { conn, request_id, id, body } => Some((*conn, *request_id, *id, body.clone())),
        _ => None,
    });
    let (their_conn, request_id, id, asked) = asked.unwrap();
    assert_eq!((id, asked.as_slice()), (eth::id::GET_BLOCK_HEADERS, body.as_slice()));
    net.command(
        1,
        Command::Respond { conn: their_conn, capability: Capability::eth(69), request_id, id, body: &[0xc0] },
    )
    .unwrap();
    net.command(
        1,
        Command::Respond { conn: their_conn, capability: Capability::eth(69), request_id, id, body: &[0xc0] },
    )
    .unwrap_err();
    net.run_for(SECOND);
    let answered = net.members[0].seen.iter().any(|(_, seen)| {
        matches!(seen, Seen::Response { command: c, id, body, .. }
            if *c == command && *id == eth::id::BLOCK_HEADERS && body == &[0xc0])
    });
    assert!(answered);
}

#[test]
fn messages_of_any_size_arrive_whole() {
    let mut net = pair(3);
    let (conn, _) = connected(&mut net);
    for len in [0usize, 1, 15, 16, 17, 1000, 70_000, 1_500_000] {
        let payload: Vec<u8> = (0..len).map(|i| ((i * i) >> 3) as u8).collect();
        let id = eth::id::TRANSACTIONS;
        net.command(0, Command::Send { conn, capability: Capability::eth(69), id, payload: &payload }).unwrap();
        assert!(net.run_until(600 * SECOND, |net| {
            net.members[1]
                .seen
                .iter()
                .any(|(_, seen)| matches!(seen, Seen::Message { payload: p, .. } if *p == payload))
        }));
    }
}

#[test]
fn a_foreign_network_is_refused_with_its_reason() {
    let mut net = Net::new(4);
    let mut ours = config(0, 1);
    let mut theirs = config(1, 2);
    (ours.discovery.discv4, theirs.discovery.discv4) = (None, None);
    net.add(ours);
    net.add(theirs);
    let contact = net.contact(1);
    net.command(0, Command::Dial { contact }).unwrap();
    net.run_for(10 * SECOND);
    let end = net.members[0].seen.iter().find_map(|(_, seen)| match seen {
        Seen::Ended { end, .. } => Some(*end),
        _ => None,
    });
    let end = end.expect("the session ends");
    assert_eq!(end.stage, Stage::Status);
    assert!(
        matches!(end.why, EndReason::Status(StatusRefusal::Network(2)) | EndReason::Disconnect(_)),
        "{end}: refused by whoever read the other's Status first"
    );
    assert_eq!((net.established(0), net.established(1)), (0, 0));
    assert!(net.members.iter().all(|member| member.node.sessions().next().is_none()), "no connection is left");
}

#[test]
fn shutting_down_says_goodbye() {
    let mut net = pair(5);
    connected(&mut net);
    net.command(0, Command::Shutdown).unwrap();
    assert!(net.run_until(3 * SECOND, |net| net.members.iter().all(|m| m.node.sessions().next().is_none())));
    let goodbye = |seen: &Seen| {
        matches!(seen, Seen::Ended { end, .. }
            if (end.by, end.why) == (Side::Them, EndReason::Disconnect(DisconnectReason::ClientQuitting)))
    };
    assert!(net.members[1].seen.iter().any(|(_, seen)| goodbye(seen)), "they are told");
    assert!(net.command(0, Command::Dial { contact: net.contact(1) }).is_err());
}

#[test]
fn a_dial_ends_exactly_once_whatever_becomes_of_it() {
    let mut net = Net::new(6);
    let mut lonely = config(0, 1);
    lonely.discovery.discv4 = None;
    net.add(lonely);
    let nobody = Node::new(config(7, 1), [0; 32], Instant::ZERO, START).unwrap().contact();
    net.command(0, Command::Dial { contact: nobody }).unwrap();
    let again = net.command(0, Command::Dial { contact: nobody });
    assert!(again.is_err(), "one dial to a node at a time");
    net.run_for(60 * SECOND);
    let ends: Vec<_> = net.members[0].seen.iter().filter(|(_, seen)| matches!(seen, Seen::Ended { .. })).collect();
    assert_eq!(ends.len(), 1, "{ends:?}");
    assert!(matches!(&ends[0].1, Seen::Ended { end, .. } if end.why == EndReason::Io(IoFault::Refused)));
}

#[test]
fn a_static_peer_is_dialled_until_it_answers() {
    let mut net = Net::new(7);
    let mut ours = config(0, 1);
    ours.discovery.discv4 = None;
    net.add(ours);
    let mut theirs = config(1, 1);
    theirs.discovery.discv4 = None;
    let contact = Node::new(theirs.clone(), [0; 32], Instant::ZERO, START).unwrap().contact();
    net.command(0, Command::AddPeer { contact, kind: PeerKind::Static }).unwrap();
    net.run_for(300 * SECOND);
    assert_eq!(net.established(0), 0);
    net.add(theirs);
    assert!(net.run_until(3600 * SECOND, |net| net.established(0) == 1));
}

#[test]
fn a_second_session_with_one_peer_is_refused() {
    let mut net = pair(8);
    connected(&mut net);
    let contact = net.contact(1);
    let result = net.command(0, Command::Dial { contact });
    assert!(matches!(result, Err(peerless::contract::CommandError::Refused(Refusal::AlreadyConnected))), "{result:?}");
}

#[test]
fn both_may_dial_at_once() {
    for seed in 0..100 {
        let mut net = Net::new(seed);
        for i in [0, 1] {
            let mut config = config(i, 1);
            config.discovery.discv4 = None;
            net.add(config);
        }
        let (a, b) = (net.contact(0), net.contact(1));
        net.command(0, Command::Dial { contact: b }).unwrap();
        net.command(1, Command::Dial { contact: a }).unwrap();
        net.run_for(20 * SECOND);
        assert_eq!((net.established(0), net.established(1)), (1, 1), "seed {seed}");
    }
}

#[test]
fn a_mesh_forms_from_one_bootnode() {
    let mut net = Net::new(9);
    let boot = net.add(config(0, 1));
    let boot = net.contact(boot);
    for i in 1..12 {
        let mut config = config(i, 1);
        if let Some(discovery) = &mut config.discovery.discv4 {
            discovery.bootnodes = vec![boot];
        }
        net.add(config);
    }
    net.run_for(10 * SECOND);
    for (i, member) in net.members.iter().enumerate() {
        let table = member.node.discovery().discv4().unwrap().table();
        assert_eq!((net.established(i), table.len()), (11, 11), "node {i} knows and meets everybody");
    }
}

#[test]
fn same_seed_same_bytes() {
    let run = |seed| {
        let mut net = pair(seed);
        net.loss_percent = seed % 2 * 10;
        net.run_for(5 * SECOND);
        (net.digest(), net.established(0))
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
    let mut net = pair(10);
    let (conn, _) = connected(&mut net);
    let node = &mut net.members[0].node;
    let before = node.poll_timeout().unwrap().0;
    node.handle(Instant::ZERO, Input::Timeout);
    node.handle(Instant::ZERO, Input::WallClock { unix: UnixTime::from_secs(0) });
    node.handle(Instant::ZERO, Input::WallClock { unix: UnixTime::from_secs(u64::MAX) });
    node.handle(Instant::ZERO, Input::Bytes { conn, bytes: &[] });
    assert!(node.poll_timeout().unwrap().0 >= before.min(net.now));
    net.members[0].node.handle(net.now, Input::WallClock { unix: START });
    net.run_for(60 * SECOND);
    assert_eq!(net.established(0), 1);
}

/// A driver that hands in whatever it likes and never takes anything out.
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
    assert!(accepted <= 200, "slots are free only when their ends have been taken: {accepted}");
    assert!(node.sessions().count() <= 200);
    let mut actions = 0;
    let mut bytes = 0;
    while let Some(action) = node.poll_action() {
        actions += 1;
        if let peerless::contract::Action::Send { bytes: sent, .. } = action {
            bytes += sent.len();
        }
    }
    assert!(actions < 20_000 && bytes <= 2 << 20, "{actions} actions, {bytes} bytes");
    assert_eq!(node.sessions().filter(|s| s.is_ending).count(), 0, "popped ends free their slots");
    assert!(chain(1).status(69).network_id == 1);
}
