//! Host names of static peers and bootnodes, which the driver resolves.

use alloc::string::String;
use alloc::vec;
use core::net::IpAddr;

use super::*;
use crate::contract::{Answer, CommandError, HostFailure, Query, QueryFault, QueryId};
use crate::limits::{NAME_REFRESH, NAME_RETRY};
use crate::netfilter::{Extent, Reach};
use crate::wire::enode::NamedNode;

fn named(n: u8) -> NamedNode {
    let key = Secp256k1::new().public_key(&secret(n));
    NamedNode::new(key, &alloc::format!("host-{n}.example"), 30303, 30303).unwrap()
}

/// What a node wants of its driver.
#[derive(Default)]
struct Wishes {
    queries: Vec<(QueryId, String)>,
    dials: Vec<(ConnId, SocketAddr)>,
    pinged: Vec<SocketAddr>,
    failures: Vec<HostFailure>,
}

fn wishes(node: &mut Node) -> Wishes {
    let mut wishes = Wishes::default();
    while let Some(action) = node.poll_action() {
        match action {
            Action::Query { id, what: Query::Host(host) } => wishes.queries.push((id, host.into())),
            Action::Dial { conn, to } => wishes.dials.push((conn, to)),
            Action::Send { to, .. } => wishes.pinged.push(to),
            Action::Emit(Event::HostFailed { why, .. }) => wishes.failures.push(why),
            _ => {}
        }
    }
    wishes
}

fn answer(node: &mut Node, now: Instant, id: QueryId, addrs: &[&str]) {
    let addrs: Vec<IpAddr> = addrs.iter().map(|ip| ip.parse().unwrap()).collect();
    let result = Ok(Answer::Hosts { addrs: &addrs, ttl: Duration::from_secs(1) });
    node.handle(now, Input::Answer { id, result });
}

/// Moves to the next deadline.
fn step(node: &mut Node, now: &mut Instant) -> Wishes {
    if let Some((due, _)) = node.poll_timeout() {
        *now = due;
        node.handle(due, Input::Timeout);
    }
    wishes(node)
}

#[test]
fn a_static_peers_name_is_resolved_before_each_dial_and_its_addresses_take_turns() {
    let (mut node, mut now) = (node(quiet()), Instant::ZERO);
    let peer = named(2);
    node.command(now, Command::AddPeerByName { node: &peer, kind: PeerKind::Static }).unwrap();
    let mut dialled = vec![];
    for _ in 0..4 {
        let asked = step(&mut node, &mut now);
        assert_eq!(asked.dials, [], "the name comes first");
        let [(id, host)] = &asked.queries[..] else { panic!("{:?}", asked.queries) };
        assert_eq!(host, "host-2.example");
        answer(&mut node, now, *id, &["9.9.9.9", "2a00::9"]);
        let [(conn, to)] = step(&mut node, &mut now).dials[..] else { panic!("no dial") };
        dialled.push(to);
        node.handle(now, Input::Broken { conn, why: IoFault::Refused });
        wishes(&mut node);
    }
    let [four, six] = ["9.9.9.9:30303", "[2a00::9]:30303"].map(|at| at.parse().unwrap());
    assert_eq!(dialled, [four, six, four, six]);
    assert_eq!(node.snapshot().peers.len(), 1);
}

#[test]
fn a_name_that_does_not_resolve_is_told_and_asked_again() {
    let (mut node, mut now) = (node(quiet()), Instant::ZERO);
    node.command(now, Command::AddPeerByName { node: &named(2), kind: PeerKind::Trusted }).unwrap();
    assert!(node.snapshot().peers.is_empty(), "without an address there is nothing to keep");
    for attempt in 1..=5 {
        let asked = step(&mut node, &mut now);
        let [(id, _)] = asked.queries[..] else { panic!("attempt {attempt}") };
        node.handle(now, Input::Answer { id, result: Err(QueryFault::NotFound) });
        assert_eq!(wishes(&mut node).failures, [HostFailure::Query(QueryFault::NotFound)]);
    }
    assert!(now < Instant::ZERO + Duration::from_secs(25 * 60), "every five minutes at least: {now:?}");
    // An answer twice, and to no query.
    node.handle(now, Input::Answer { id: QueryId(7), result: Err(QueryFault::Failed) });
    assert!(wishes(&mut node).failures.is_empty());
}

#[test]
fn of_a_hosts_addresses_those_are_dialled_that_this_host_reaches() {
    let mut config = quiet();
    config.reach = Reach { ip4: Extent::None, ip6: Extent::Global };
    let (mut node, mut now) = (node(config), Instant::ZERO);
    node.command(now, Command::AddPeerByName { node: &named(2), kind: PeerKind::Static }).unwrap();
    let (id, _) = step(&mut node, &mut now).queries.remove(0);
    answer(&mut node, now, id, &["9.9.9.9"]);
    assert_eq!(wishes(&mut node).failures, [HostFailure::Filtered]);
    let (id, _) = step(&mut node, &mut now).queries.remove(0);
    answer(&mut node, now, id, &["9.9.9.9", "2a00::9"]);
    assert_eq!(step(&mut node, &mut now).dials[0].1, "[2a00::9]:30303".parse().unwrap());
}

#[test]
fn a_bootnodes_name_is_asked_at_the_start_and_again_and_all_its_addresses_are_pinged() {
    let mut config = Config::new(secret(1), chain(1));
    config.named_bootnodes = vec![named(2)];
    let (mut node, mut now) = (node(config), Instant::ZERO);
    let mut asked = vec![];
    while asked.is_empty() {
        asked = step(&mut node, &mut now).queries;
    }
    assert_eq!(now, Instant::ZERO + Duration::from_micros(1));
    node.handle(now, Input::Answer { id: asked[0].0, result: Err(QueryFault::TimedOut) });
    assert_eq!(wishes(&mut node).failures, [HostFailure::Query(QueryFault::TimedOut)]);
    let failed = now;
    let mut asked = vec![];
    while asked.is_empty() {
        asked = step(&mut node, &mut now).queries;
    }
    assert_eq!(now.since(failed), NAME_RETRY);
    answer(&mut node, now, asked[0].0, &["9.9.9.9", "2a00::9"]);
    let (answered, mut pinged) = (now, vec![]);
    let again = loop {
        let Wishes { queries, pinged: more, .. } = step(&mut node, &mut now);
        pinged.extend(more);
        if !queries.is_empty() {
            break queries;
        }
    };
    for at in ["9.9.9.9:30303", "[2a00::9]:30303"] {
        assert!(pinged.contains(&at.parse().unwrap()), "{at}");
    }
    assert_eq!((now.since(answered), again.len()), (NAME_REFRESH, 1));
}

#[test]
fn bootnodes_by_name_are_replaced_and_bounded() {
    let (mut node, mut now) = (node(discv4_alone()), Instant::ZERO);
    let many = vec![named(2); 65];
    assert_eq!(node.command(now, Command::SetNamedBootnodes { nodes: &many }), Err(CommandError::Busy));
    node.command(now, Command::SetNamedBootnodes { nodes: &[named(3)] }).unwrap();
    let [(id, _)] = wishes(&mut node).queries[..] else { panic!("it is asked at once") };
    answer(&mut node, now, id, &["9.9.9.9"]);
    let mut pinged = vec![];
    while pinged.is_empty() {
        pinged = step(&mut node, &mut now).pinged;
    }
    assert_eq!(pinged, ["9.9.9.9:30303".parse().unwrap()]);
    let refused = super::node(quiet()).command(now, Command::SetNamedBootnodes { nodes: &[] });
    assert_eq!(refused, Err(CommandError::NoDiscovery));
}
