//! Who gets and keeps a place: duplicates, bans, ledgers, foreign networks.

use std::collections::BTreeSet;
use std::time::Duration;

use peerless::contract::{Command, EndReason, Event, Fault, PeerKind, Refusal, ScoreReason, Side};
use peerless::limits;
use peerless::node::Node;
use peerless::peers::Severity;
use peerless::testing::{Host, Net, config};
use peerless::wire::enode::Contact;
use peerless::wire::p2p::{self, Capability, DisconnectReason};
use peerless_tests::stranger::Stranger;

use crate::{SECOND, VICTIM, local, victim};

const ETH: u64 = p2p::id::CAPABILITIES;

/// P7: all pairs dial each other at the same tick, with dials lost or not: one session for each pair, and both sides
/// keep the same one.
#[test]
fn all_dial_all_at_once() {
    const NODES: usize = 6;
    for seed in 0..24 {
        let (mut net, hosts): (_, [Host; NODES]) = Net::nodes(seed);
        net.link.dial_loss_percent = seed % 3 * 25;
        for i in hosts {
            for j in hosts.into_iter().filter(|j| *j != i) {
                let contact = net.contact(j);
                net.command(i, Command::AddPeer { contact, kind: PeerKind::Static }).unwrap();
            }
        }
        let met = |net: &Net<Node>| hosts.iter().all(|host| net.established(*host) == NODES - 1);
        let limit = if net.link.dial_loss_percent == 0 { 5 * SECOND } else { limits::REDIAL_INTERVAL_MAX };
        assert!(net.run_until(limit, met), "seed {seed}: {:?}", hosts.map(|host| net.established(host)));
        net.run_for(60 * SECOND);
        for i in hosts {
            let peers: Vec<_> = net.machine(i).sessions().filter(|s| !s.is_ending).map(|s| s.id).collect();
            assert_eq!(peers.iter().collect::<BTreeSet<_>>().len(), peers.len(), "seed {seed}: a peer twice");
            for j in hosts.into_iter().filter(|j| *j != i) {
                assert!(net.conn(i, j).is_some(), "seed {seed}: {i:?} has no session with {j:?}");
                let by = |a: Host, b: Host| {
                    let conn = net.conn(a, b).unwrap();
                    net.machine(a).sessions().find(|s| s.conn == conn).unwrap().direction
                };
                assert_ne!(by(i, j), by(j, i), "seed {seed}: {i:?} and {j:?} keep different ones");
            }
            assert_eq!(net.established(i), NODES - 1);
        }
        assert!(!hosts.iter().any(|host| net.saw(*host, |event| matches!(event, Event::Banned { .. }))));
    }
}

/// Has a stranger banned for what no client does.
fn ban(net: &mut Net<Node>, stranger: &mut Stranger, from: std::net::SocketAddr) {
    let mut talk = stranger.establish(net, VICTIM, from, 69).unwrap();
    talk.say(net, ETH + peerless::wire::eth::id::NEW_BLOCK, &[0xc0]);
    talk.listen(net);
    assert!(net.machine(VICTIM).peers().is_banned(net.now(), &stranger.id));
}

/// P3: the holder of a banned key is refused as long as the ban lasts, and not a moment longer.
#[test]
fn a_ban_lasts_as_long_as_it_says() {
    let mut net = victim(1);
    let mut stranger = Stranger::new(1);
    ban(&mut net, &mut stranger, local(1));
    let banned = net.now();
    for hours in [0, 1, 6, 11] {
        net.run_for((banned + Duration::from_secs(hours * 3600)).since(net.now()));
        let mut talk = stranger.dial(&mut net, VICTIM, local(2)).expect("its key is not known yet");
        talk.say_plain(&mut net, p2p::id::HELLO, &stranger.hello(69).encode());
        talk.listen(&mut net);
        net.close_raw(talk.raw);
        net.run_for(SECOND);
        let (_, end) = net.end(VICTIM, talk.conn()).unwrap();
        assert_eq!((end.by, end.why), (Side::Us, EndReason::Refused(Refusal::Banned)), "after {hours} hours");
        assert_eq!(talk.final_disconnect(), Some(DisconnectReason::UselessPeer));
        let contact = Contact::new(stranger.key, [127, 0, 0, 1].into(), 1, 40_002);
        assert!(net.command(VICTIM, Command::Dial { contact }).is_err(), "nor do we dial it");
    }
    assert!(Stranger::new(2).establish(&mut net, VICTIM, local(1), 69).is_some(), "other nodes share the address");
    net.run_for((banned + Severity::Fatal.ban_duration()).since(net.now()));
    assert!(stranger.establish(&mut net, VICTIM, local(3), 69).is_some());
}

/// P3: an address that shows a fresh key each time is banned after eight serious faults; its neighbours do not pay for it.
#[test]
fn a_new_key_does_not_evade_a_ban() {
    let mut net = victim(2);
    let home = |host: u8, port: u16| -> std::net::SocketAddr { ([70, 1, 1, host], port).into() };
    for key in 1..=limits::HOST_FAULTS_MAX as u8 {
        ban(&mut net, &mut Stranger::new(key), home(1, 5000));
        net.run_for(limits::INBOUND_THROTTLE);
    }
    assert!(net.connect_raw(VICTIM, home(1, 5001)).is_none(), "the address is banned");
    for neighbour in (0..=255).filter(|host| *host != 1) {
        assert!(net.connect_raw(VICTIM, home(neighbour, 5000)).is_some());
    }
    net.run_for(limits::HOST_BAN);
    assert!(net.connect_raw(VICTIM, home(1, 5000)).is_some(), "other nodes may have the address");
}

/// The ledger says why a score is what it is: its entries add up, and are those that were told.
#[test]
fn a_ledger_adds_up() {
    let mut net = victim(3);
    let mut stranger = Stranger::new(1);
    let body = [0xc4, 0x80, 0x01, 0x80, 0x80];
    for round in 0..4 {
        let mut talk = stranger.establish(&mut net, VICTIM, local(round), 69).unwrap();
        let conn = talk.conn();
        for _ in 0..2 {
            let id = peerless::wire::eth::id::GET_BLOCK_HEADERS;
            net.command(VICTIM, Command::Request { conn, capability: Capability::eth(69), id, body: &body }).unwrap();
        }
        talk.listen(&mut net);
        let asked: Vec<_> =
            talk.heard.iter().filter(|(id, _)| *id == ETH + 3).map(|(_, asked)| asked.clone()).collect();
        for asked in asked {
            let mut payload = vec![0; peerless::wire::snappy::inflated_len(&asked, 100).unwrap()];
            peerless::wire::snappy::inflate(&asked, &mut payload).unwrap();
            let (request_id, _) = peerless::wire::eth::request_id(&payload).unwrap();
            // One header, which is not looked into.
            let answer = [peerless::wire::eth::envelope(request_id, 2).as_slice(), &[0xc1, 0xc0]].concat();
            talk.say(&mut net, ETH + 4, &answer);
        }
        talk.say(&mut net, ETH + 4, &[0xc2, 0x07, 0xc0]);
        talk.listen(&mut net);
        net.close_raw(talk.raw);
        net.run_for(SECOND);
        assert!(net.end(VICTIM, conn).is_some());
    }
    let ledger = net.machine(VICTIM).peers().ledgers().get(&stranger.id).unwrap();
    let entries: Vec<_> = ledger.entries().copied().collect();
    // Within a minute nothing is forgiven.
    assert!(net.now().since(entries[0].at) < Duration::from_secs(60));
    let mut score = 0;
    for entry in &entries {
        score += entry.delta;
        assert_eq!(entry.score, score, "{entries:#?}");
    }
    assert_eq!(net.machine(VICTIM).peers().ledgers().score(net.now(), &stranger.id), score);
    let told = crate::scored(&net, VICTIM);
    assert_eq!(told.iter().map(|(delta, _)| delta).sum::<i32>(), score);
    let of = |wanted: ScoreReason| entries.iter().filter(|e| e.reason == wanted).map(|e| e.delta).sum::<i32>();
    let faults = of(ScoreReason::Fault(Fault::UnsolicitedResponse));
    assert_eq!(of(ScoreReason::Served) + faults, score);
    assert!(of(ScoreReason::Served) > 0 && faults < 0);

    let mut talk = stranger.establish(&mut net, VICTIM, local(9), 69).unwrap();
    talk.say(&mut net, ETH + 4, &[0xc2, 0x07, 0xc0]);
    talk.listen(&mut net);
    let banned = net.machine(VICTIM).peers().is_banned(net.now(), &stranger.id);
    assert_eq!(banned, score - 20 <= peerless::peers::score::BAN_SCORE);
}

/// Nodes of other networks share the discovery, and no places.
#[test]
fn foreign_nodes_do_not_hold_places() {
    const OURS: usize = 4;
    const ALL: usize = 14;
    let mut net = Net::new(4);
    let boot = net.add_node(config(0, 1));
    let boot = net.contact(boot);
    for i in 1..ALL {
        let mut config = config(i, if i < OURS { 1 } else { 2 + i as u64 });
        config.discovery.discv4.as_mut().unwrap().bootnodes = vec![boot];
        net.add_node(config);
    }
    // The foreign nodes dial ours.
    for i in OURS..ALL {
        let contact = net.contact(Host(i % OURS));
        net.command(Host(i), Command::AddPeer { contact, kind: PeerKind::Static }).unwrap();
    }
    net.run_for(600 * SECOND);
    let limit = limits::CONNECT_TIMEOUT.max(limits::STATUS_TIMEOUT + limits::CLOSING_TIMEOUT);
    for host in (0..OURS).map(Host) {
        assert_eq!(net.established(host), OURS - 1, "all nodes of our network");
        let foreign: BTreeSet<_> = (OURS..ALL).map(|j| net.contact(Host(j)).id()).collect();
        let mut visits = 0;
        for (came, conn) in net.events(host).iter().filter_map(|(at, event)| match event {
            Event::Hello { conn, contact, .. } if foreign.contains(&contact.id()) => Some((*at, *conn)),
            _ => None,
        }) {
            visits += 1;
            let (left, _) = net.end(host, conn).unwrap_or_else(|| panic!("{conn} of a foreign node is still there"));
            assert!(left.since(came) <= limit, "{conn} was there for {:?}", left.since(came));
        }
        assert!(visits > 0, "foreign nodes have dialled");
        assert!(!net.saw(host, |event| matches!(event, Event::Established { id, .. } if foreign.contains(id))));
        assert!(!net.saw(host, |event| matches!(event, Event::Banned { .. })), "nor is it misbehaviour");
        let ours = net.machine(host).stats().dials;
        assert!(ours <= 100, "{ours} dials in ten minutes: the fork id in a record is looked at first");
    }
}
