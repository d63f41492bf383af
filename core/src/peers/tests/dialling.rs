//! Which contacts are dialled, and when.

use super::*;
use crate::netfilter::{Extent, Reach};

/// P8: with nine dead nodes in ten, the number of distinct addresses tried grows with time until all are.
#[test]
fn every_node_of_a_dead_table_is_tried_in_time() {
    let mut bench = Bench::new(PeerLimits::default());
    let table: Vec<_> = (0..2000).map(|n| contact(n, far(n))).collect();
    let (mut tried, mut growth) = (BTreeSet::new(), Vec::new());
    for minute in 1..=40u64 {
        let until = Instant::ZERO + secs(minute * 60);
        while bench.now < until {
            let sample: Vec<_> = (0..32).map(|_| table[bench.rng.below(2000) as usize]).collect();
            while let Some((conn, contact)) = bench.dial_next(sample.iter().copied()) {
                tried.insert(contact.ip());
                let is_alive = contact.id().0[31] % 10 == 0 && bench.peers.counts().outbound < 10;
                if is_alive {
                    let _ = bench.identify(conn, contact.id());
                    bench.establish(conn);
                } else {
                    let _ = bench.end(conn, &DEAD);
                }
                if bench.peers.counts().outbound >= 16 {
                    break;
                }
            }
            bench.now = bench.peers.poll_timeout(true).map_or(until, |at| at.max(bench.now + secs(1)));
        }
        growth.push(tried.len());
    }
    assert!(growth[9] >= 1000, "after ten minutes {}", growth[9]);
    assert!(*growth.last().unwrap() >= 1950, "{growth:?}");
}

/// P8, P12: half of the dials go to nodes never tried, though a crowd of known ones is offered, and no node is preferred.
#[test]
fn half_of_the_dials_go_to_nodes_never_tried() {
    let mut bench = Bench::new(PeerLimits::default());
    for n in 0..100 {
        let (conn, _) = bench.dial_next([contact(n, far(n))]).unwrap();
        let _ = bench.end(conn, &BYE);
    }
    let mut tried: BTreeSet<_> = (0..100).map(id).collect();
    let (mut fresh, mut chosen) = (0, BTreeSet::new());
    for round in 0..400 {
        bench.now = bench.now + secs(90);
        let new = contact(1000 + round, far(1000 + round));
        // In random order, as discovery draws them.
        let mut drawn: Vec<Contact> = (0..100).map(|n| contact(n, far(n))).chain([new]).collect();
        bench.rng.shuffle(&mut drawn);
        let (conn, dialled) = bench.dial_next(drawn).unwrap();
        let _ = bench.end(conn, &BYE);
        fresh += u32::from(tried.insert(dialled.id()));
        chosen.insert(dialled.id());
    }
    assert!((160..240).contains(&fresh), "{fresh} of 400");
    assert!(chosen.len() as u32 - fresh > 70, "the known ones are sampled");
}

/// Static peers are dialled without end, at least once in each longest pause, at any outcome of the dials.
#[test]
fn static_peers_are_dialled_without_end() {
    let ends = [
        DEAD,
        end(Side::Them, Stage::Hello, EndReason::Disconnect(DisconnectReason::TooManyPeers)),
        end(Side::Us, Stage::Status, EndReason::Status(StatusRefusal::Network(9))),
        end(Side::Us, Stage::Hello, EndReason::Refused(Refusal::TooManyPeers)),
    ];
    let mut bench = Bench::new(PeerLimits { dial_ratio: 0, ..PeerLimits::default() });
    assert_eq!(bench.peers.poll_timeout(true), None, "nothing to do");
    for n in 0..20 {
        bench.peers.add_peer(bench.now, &bench.filter, contact(n, ip(n % 10)), PeerKind::Static).unwrap();
    }
    let mut last = BTreeMap::new();
    while bench.now < Instant::ZERO + secs(3 * 86_400) {
        while let Some((conn, contact)) = bench.dial_next(NO_CANDIDATES) {
            let pause = last.insert(contact.id(), bench.now).map_or(REDIAL_INTERVAL, |at| bench.now.since(at));
            assert!(pause >= REDIAL_INTERVAL && pause <= REDIAL_INTERVAL_MAX + 20 * REDIAL_INTERVAL, "{pause:?}");
            let end = ends[bench.rng.below(4) as usize];
            let _ = bench.end(conn, &end);
        }
        let next = bench.peers.poll_timeout(true).unwrap();
        assert!(next > bench.now, "deadlines advance");
        bench.now = next;
    }
    assert!(last.values().all(|at| bench.now.since(*at) <= REDIAL_INTERVAL_MAX + 20 * REDIAL_INTERVAL));
}

/// A static peer that comes back after any time is dialled within five minutes.
#[test]
fn a_static_peer_that_fails_is_dialled_every_five_minutes() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.peers.add_peer(bench.now, &bench.filter, contact(1, ip(1)), PeerKind::Static).unwrap();
    let mut last = bench.now;
    for _ in 0..200 {
        let (conn, _) = bench.dial_next(NO_CANDIDATES).unwrap();
        assert!(bench.now.since(last) <= 8 * REDIAL_INTERVAL);
        last = bench.now;
        let _ = bench.end(conn, &DEAD);
        bench.now = bench.peers.poll_timeout(false).unwrap();
    }
}

#[test]
fn nodes_on_one_machine_are_dialled_at_once() {
    let mut bench = Bench::new(PeerLimits::default());
    let table: Vec<_> = (0..8).map(|n| contact(n, [127, 0, 0, 1].into()).with_tcp(30303 + n as u16)).collect();
    let mut dialled = BTreeSet::new();
    while let Some((_, contact)) = bench.dial_next(table.iter().copied()) {
        dialled.insert(contact.id());
    }
    assert_eq!(dialled.len(), 8);
}

#[test]
fn one_host_is_dialled_once_per_interval_for_any_number_of_ids() {
    let mut bench = Bench::new(PeerLimits::default());
    let mut dials = 0;
    for second in 0..350 {
        bench.now = Instant::ZERO + secs(second);
        while let Some((conn, _)) = bench.dial_next((0..50).map(|n| contact(second * 50 + n, ip(77)))) {
            dials += 1;
            let _ = bench.end(conn, &DEAD);
        }
    }
    assert_eq!(dials, 10, "D10");
}

/// P3b: forged records that name an honest node's key or address do the honest node no harm.
#[test]
fn forged_records_harm_no_honest_node() {
    let mut bench = Bench::new(PeerLimits::default());
    let (honest, honest_ip) = (contact(1, ip(1)), ip(1));
    for n in 0..100 {
        // The honest key at an attacker's address, and an attacker's key at the honest address.
        for forged in [honest.with_ip(ip(1000 + n * 256)), contact(500 + n, honest_ip)] {
            bench.now = bench.now + secs(36);
            let (conn, _) = bench.dial_next([forged]).expect("a pause holds for its endpoint only");
            let wrong = end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::UnexpectedIdentity));
            let _ = bench.end(conn, &wrong);
        }
    }
    assert!(!bench.peers.is_banned(bench.now, &honest.id()));
    assert!(bench.peers.bans().addr_until(bench.now, honest_ip).is_none());
    bench.now = bench.now + secs(36);
    assert_eq!(bench.dial_next([honest]).unwrap().1, honest);
    // A fault on an accepted stream that proved no key is charged to no peer.
    let conn = bench.accept(ip(9 * 256)).unwrap();
    let fault = end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::Handshake));
    assert_eq!(bench.end(conn, &fault), None);
}

#[test]
fn candidates_are_dialled_only_while_there_is_room_for_them() {
    let config = PeerLimits { max_peers: 4, dial_ratio: 2, ..PeerLimits::default() };
    let mut bench = Bench::new(config);
    let candidates = |from: u64| (from..from + 20).map(|n| contact(n, far(n)));
    let mut dialled = Vec::new();
    while let Some(dial) = bench.dial_next(candidates(0)) {
        dialled.push(dial);
    }
    assert_eq!(dialled.len(), 4, "twice the free places, for half of the dials fail");
    for (conn, contact) in &dialled[..2] {
        assert_eq!(displaced(Some(bench.identify(*conn, contact.id()))), Ok(None));
    }
    for (conn, _) in &dialled[2..] {
        let _ = bench.end(*conn, &DEAD);
    }
    bench.now = bench.now + secs(25);
    assert_eq!(bench.peers.counts().outbound, config.max_dialled());
    assert_eq!(bench.dial_next(candidates(100)), None, "our share of the places is taken");
    let rotation = bench.peers.poll_timeout(true).unwrap();
    assert!(
        rotation >= Instant::ZERO + ROTATION_YOUNG_INTERVAL,
        "and the dialler waits for the next rotation: {rotation}"
    );
    let _ = bench.end(dialled[0].0, &BYE);
    assert!(bench.peers.poll_timeout(true).is_some());
    assert!(bench.dial_next(candidates(100)).is_some(), "until one is free");
}

#[test]
fn a_filtered_candidate_is_not_dialled() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.filter = "1.0.0.0/24".parse().unwrap();
    assert_eq!(bench.dial_next([contact(1, ip(256))]), None);
    assert!(bench.dial_next([contact(1, ip(1))]).is_some());
}

/// Near the end of time no pause leads to a later instant.
#[test]
fn the_dialler_returns_at_the_end_of_time() {
    let mut bench = Bench::new(PeerLimits { max_peers: 0, ..PeerLimits::default() });
    bench.now = Instant::from_micros(u64::MAX);
    for n in 0..3 {
        bench.peers.add_peer(bench.now, &bench.filter, contact(n, ip(n * 256)), PeerKind::Static).unwrap();
    }
    assert_eq!(bench.dial_next(NO_CANDIDATES), None, "there is no room");
    assert_eq!(bench.peers.poll_timeout(true), Some(Instant::NEVER), "no instant is late enough");
}

#[test]
fn each_end_has_its_outcome_for_the_next_dial() {
    use DisconnectReason::*;
    use Outcome::*;
    use Stage::{Established, Hello, Status};
    let theirs = |stage, reason| (Side::Them, stage, EndReason::Disconnect(reason));
    let fault = |fault| (Side::Us, Hello, EndReason::Fault(fault));
    for ((by, stage, why), outcome) in [
        ((Side::Us, Established, EndReason::Disconnect(ClientQuitting)), Neutral),
        (theirs(Hello, AlreadyConnected), Neutral),
        (theirs(Hello, TooManyPeers), Full),
        (theirs(Established, TooManyPeers), Full),
        (theirs(Hello, UselessPeer), Useless),
        (theirs(Hello, IncompatibleVersion), Useless),
        (theirs(Status, SubprotocolError), Useless),
        (theirs(Established, SubprotocolError), Reached),
        (theirs(Hello, ConnectedToSelf), Useless),
        (theirs(Hello, UnexpectedIdentity), Useless),
        (theirs(Status, ClientQuitting), Failed),
        (theirs(Established, ClientQuitting), Reached),
        (fault(Fault::Useless), Useless),
        (fault(Fault::IncompatibleVersion), Useless),
        (fault(Fault::InvalidIdentity), Useless),
        (fault(Fault::UnexpectedIdentity), Useless),
        (fault(Fault::ConnectedToSelf), Useless),
        (fault(Fault::FrameMac), Failed),
        ((Side::Us, Status, EndReason::Status(StatusRefusal::Genesis)), Useless),
        ((Side::Us, Status, EndReason::Refused(Refusal::TooManyPeers)), Neutral),
        ((Side::Network, Stage::Dial, EndReason::Io(IoFault::Exhausted)), Neutral),
        ((Side::Network, Stage::Dial, EndReason::Io(IoFault::Refused)), Failed),
        ((Side::Network, Established, EndReason::Io(IoFault::Reset)), Reached),
        ((Side::Us, Hello, EndReason::Timeout(ConnTimer::Hello)), Failed),
        ((Side::Us, Established, EndReason::Timeout(ConnTimer::Ping)), Reached),
        ((Side::Them, Hello, EndReason::Eof), Failed),
        ((Side::Them, Established, EndReason::Eof), Reached),
    ] {
        let end = End { by, stage, why };
        assert_eq!(Outcome::of(&end), outcome, "{end}");
    }
}

#[test]
fn a_candidate_waits_for_its_pause_and_for_the_space_between_dials() {
    let mut bench = Bench::new(PeerLimits::default());
    let node = contact(1, ip(1));
    let (conn, _) = bench.dial_next([node]).unwrap();
    let foreign = EndReason::Status(StatusRefusal::Genesis);
    let _ = bench.identify(conn, node.id());
    let _ = bench.end(conn, &end(Side::Us, Stage::Status, foreign));
    let dialled = bench.now;
    bench.now = dialled + REDIAL_INTERVAL;
    assert_eq!(bench.dial_next([node]), None, "spaced, but of another network");
    bench.now = dialled + REDIAL_INTERVAL_MAX;
    assert!(bench.dial_next([node]).is_some());
}

/// The same node at an IPv6 address.
fn at_ipv6(contact: Contact) -> Contact {
    contact.with_ip("2a00::1".parse().unwrap())
}

#[test]
fn a_static_peer_whose_first_endpoint_fails_is_dialled_at_the_second_at_once() {
    let mut bench = Bench::new(PeerLimits::default());
    let first = contact(1, far(1));
    let second = at_ipv6(first);
    bench.peers.add_peer(bench.now, &bench.filter, first, PeerKind::Static).unwrap();
    bench.peers.add_endpoint(bench.now, &bench.filter, second).unwrap();
    let mut dialled = Vec::new();
    for _ in 0..3 {
        for _ in 0..2 {
            let (conn, contact) = bench.dial_next([]).expect("it is due");
            let _ = bench.end(conn, &DEAD);
            dialled.push(contact.ip());
        }
        assert_eq!(bench.dial_next([]), None, "both have failed");
        bench.now = bench.peers.poll_timeout(false).unwrap();
    }
    assert_eq!(dialled, [first.ip(), second.ip()].repeat(3));
    // It answers at the second, and is dialled there from then on.
    let (conn, _) = bench.dial_next([]).unwrap();
    let _ = bench.end(conn, &DEAD);
    for _ in 0..3 {
        let (conn, contact) = bench.dial_next([]).unwrap();
        assert_eq!(contact, second);
        let _ = bench.identify(conn, contact.id());
        bench.establish(conn);
        let _ = bench.end(conn, &BYE);
        bench.now = bench.peers.poll_timeout(false).unwrap();
    }
}

#[test]
fn a_node_of_the_book_is_tried_at_its_second_endpoint() {
    let mut bench = Bench::new(PeerLimits::default());
    let first = contact(1, far(1));
    bench.peers.add_endpoint(bench.now, &bench.filter, at_ipv6(first)).unwrap();
    bench.offer(first).unwrap();
    let mut dialled = Vec::new();
    for _ in 0..4 {
        while let Some((conn, contact)) = bench.dial_next([]) {
            let _ = bench.end(conn, &DEAD);
            dialled.push(contact.ip());
        }
        bench.now = bench.now + secs(40);
    }
    assert_eq!(dialled[..2], [first.ip(), at_ipv6(first).ip()]);
}

#[test]
fn the_endpoint_that_the_host_can_reach_is_dialled() {
    let mut bench = Bench::new(PeerLimits::default());
    let first = contact(1, far(1));
    bench.peers.add_peer(bench.now, &bench.filter, first, PeerKind::Static).unwrap();
    let reach = |ip4, ip6| NetFilter::default().with_reach(Reach { ip4, ip6 });
    bench.filter = reach(Extent::Local, Extent::Global);
    bench.peers.add_endpoint(bench.now, &bench.filter, at_ipv6(first)).unwrap();
    let (conn, dialled) = bench.dial_next([]).unwrap();
    assert_eq!(dialled, at_ipv6(first));
    let _ = bench.end(conn, &DEAD);
    assert_eq!(bench.dial_next([]), None, "the other one is out of reach");
    bench.filter = reach(Extent::Global, Extent::None);
    bench.peers.filter_changed(bench.now, &bench.filter);
    assert_eq!(bench.dial_next([]).map(|(_, dialled)| dialled), Some(first), "the route has changed");
}
