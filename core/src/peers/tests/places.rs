//! Which connections are accepted, and which peers get and keep a place.

use super::*;

const FULL: Result<Option<(ConnId, Refusal)>, Refusal> = Err(Refusal::TooManyPeers);

/// P1, E7: with every inbound place held, a newcomer displaces one of the subnet that has held places for longest, if that
/// exceeds its own by the tenure.
#[test]
fn full_inbound_places_still_change_hands() {
    let mut bench = Bench::new(PeerLimits::default());
    let max = bench.peers.config().max_inbound() as u64;
    assert_eq!(max, 34);
    // From as many /16s as /24s.
    let net = |n: u64| ip(n * 65536);
    for n in 0..max {
        assert_eq!(displaced(bench.join(n, net(n)).1), Ok(None));
    }
    bench.now = bench.now + INBOUND_TENURE;
    assert_eq!(displaced(bench.join(100, net(100)).1), FULL, "not before the tenure is over");
    bench.now = bench.now + secs(31);
    let joined: Vec<_> = (0..100).map(|n| displaced(bench.join(200 + n, ip((200 + n) * 65536)).1)).collect();
    let evictions = joined.iter().filter(|admission| admission.is_ok()).count();
    // Four are protected by their age; none has answered anything.
    assert_eq!(evictions, 30);
    assert_eq!(bench.peers.counts().inbound, 34);
    bench.now = bench.now + secs(31);
    assert_eq!(displaced(bench.join(10, net(10)).1), FULL, "the displaced have place-time of their own");
    bench.now = bench.now + 3 * INBOUND_TENURE;
    assert!(displaced(bench.join(10, net(10)).1).is_ok_and(|displaced| displaced.is_some()));
}

/// P1: one IPv6 /48 or /29 never holds more than eight places, one /56 two; an IPv4 /24 has eight of an empty node and two of a
/// full one, a /16 eight of a full one.
#[test]
fn the_places_of_a_range_are_limited() {
    let hold = |address: &dyn Fn(u16) -> IpAddr, others: u64| {
        let mut bench = Bench::new(PeerLimits::default());
        for n in 0..others {
            assert_eq!(displaced(bench.join(1000 + n, ip(0x10_0000 + n * 65536)).1), Ok(None));
        }
        for n in 0..1000 {
            bench.now = bench.now + secs(31);
            let (conn, admission) = bench.join(n.into(), address(n));
            if let Err(refusal) = displaced(admission) {
                assert!(matches!(refusal, Refusal::TooManyFromSubnet | Refusal::TooManyPeers));
                bench.forget(conn.unwrap());
            }
        }
        bench.placed().filter(|(view, _)| view.id.is_some_and(|theirs| (0..1000).any(|n| id(n) == theirs))).count()
    };
    let v6 = |segments: [u16; 4]| -> IpAddr { [segments[0], segments[1], segments[2], segments[3], 0, 0, 0, 1].into() };
    type Case<'a> = (&'a dyn Fn(u16) -> IpAddr, u64, usize, &'a str);
    let cases: [Case<'_>; 8] = [
        (&|n| v6([0x2a00, 1, 2, n % 256]), 0, 2, "a /56"),
        (&|n| v6([0x2a00, 1, 2, n << 8]), 0, 8, "a /48"),
        (&|n| v6([0x2a00, n % 8, n, n]), 0, 8, "a /29"),
        (&|n| IpAddr::from([60, 1, 1, n as u8]), 0, 8, "a /24 of an empty node"),
        (&|n| IpAddr::from([60, 1, 1, n as u8]), 26, 2, "a /24 of a full node"),
        (&|n| IpAddr::from([60, 1, n as u8, 1]), 24, 8, "a /16 of a full node"),
        (&|n| IpAddr::from([100, 64, 0, n as u8]), 0, 34, "a shared range"),
        (&|_| IpAddr::from([192, 168, 1, 1]), 0, 34, "a private address"),
    ];
    for (address, others, expected, what) in cases {
        assert_eq!(hold(address, others), expected, "{what}");
    }
}

/// Six places, all for inbound peers, and all taken.
fn six() -> (Bench, [ConnId; 6]) {
    let config = PeerLimits { max_peers: 6, dial_ratio: 0, ..PeerLimits::default() };
    let mut bench = Bench::new(config);
    let conns = [0, 1, 2, 3, 4, 5].map(|n| bench.join(n, ip(n * 256)).0.unwrap());
    assert_eq!(displaced(bench.join(9, ip(9 * 256)).1), FULL);
    (bench, conns)
}

fn charge(bench: &mut Bench, conn: ConnId, times: u32) {
    for _ in 0..times {
        let _ = bench.charge(conn, ScoreReason::Unanswered);
    }
}

#[test]
fn the_worst_behaved_is_displaced_by_a_newcomer_of_better_standing() {
    let (mut bench, conns) = six();
    charge(&mut bench, conns[2], 8);
    charge(&mut bench, conns[3], 9);
    let expected = Ok(Some((conns[3], Refusal::TooManyPeers)));
    assert_eq!(displaced(bench.join(10, ip(10 * 256)).1), expected);
}

#[test]
fn a_newcomer_with_a_negative_score_displaces_no_peer() {
    let (mut bench, conns) = six();
    charge(&mut bench, conns[3], 8);
    let label = Label::new("test").unwrap();
    assert!(bench.peers.report(bench.now, id(10), None, -1, label).is_some());
    assert_eq!(displaced(bench.join(10, ip(10 * 256)).1), FULL);
    assert_eq!(displaced(bench.join(11, ip(11 * 256)).1), Ok(Some((conns[3], Refusal::TooManyPeers))));
}

#[test]
fn static_and_trusted_peers_are_not_displaced() {
    let (mut bench, conns) = six();
    charge(&mut bench, conns[3], 8);
    charge(&mut bench, conns[4], 9);
    for (n, kind) in [(3, PeerKind::Static), (4, PeerKind::Trusted)] {
        bench.peers.add_peer(bench.now, &bench.filter, contact(n, ip(n * 256)), kind).unwrap();
        let mut view = bench.conns[&conns[n as usize]];
        view.place.as_mut().unwrap().promote(kind);
        bench.set(view.conn, Some(view));
    }
    let counts = bench.peers.counts();
    assert_eq!((counts.inbound, counts.exempt), (5, 1), "a trusted peer frees a place at once");
    assert_eq!(displaced(bench.join(10, ip(10 * 256)).1), Ok(None), "into that place");
    assert_eq!(displaced(bench.join(11, ip(11 * 256)).1), FULL);
}

#[test]
fn trusted_peers_pass_the_limits_once_they_have_proven_their_key() {
    let mut bench = Bench::new(PeerLimits { max_peers: 0, ..PeerLimits::default() });
    assert_eq!(bench.accept(ip(1)), Err(Refusal::TooManyPeers), "no trusted peer could be behind it");
    bench.peers.add_peer(bench.now, &bench.filter, contact(7, ip(7 * 256)), PeerKind::Trusted).unwrap();
    assert_eq!(displaced(bench.join(8, ip(8 * 256)).1), FULL);
    let conn = bench.join(7, ip(7 * 256)).0.unwrap();
    assert_eq!(bench.peers.counts().exempt, 1);
    let charge = bench.charge(conn, ScoreReason::Fault(Fault::ForbiddenMessage)).unwrap();
    assert_eq!(charge.ban, Some(STATIC_PEER_BAN), "a trusted peer too");
    let _ = bench.end(conn, &BYE);
    bench.peers.remove_peer(&id(7)).unwrap();
    assert_eq!(bench.peers.remove_peer(&id(7)), Err(CommandError::UnknownPeer));
    assert_eq!(bench.accept(ip(9 * 256)), Err(Refusal::TooManyPeers));
}

#[test]
fn a_peer_dialled_on_command_is_exempt_on_its_own_connection_too() {
    let config = PeerLimits { max_peers: 1, dial_ratio: 0, ..PeerLimits::default() };
    let mut bench = Bench::new(config);
    bench.join(1, ip(256)).0.unwrap();
    bench.dial(&contact(200, ip(200 * 256))).unwrap();
    let (conn, admission) = bench.join(200, ip(200 * 256));
    assert_eq!(displaced(admission), Ok(None));
    assert!(bench.conns[&conn.unwrap()].place.unwrap().exempt);
}

#[test]
fn accepts_are_throttled_by_host_and_subnet() {
    let mut bench = Bench::new(PeerLimits::default());
    let conn = bench.accept(ip(1)).unwrap();
    let _ = bench.end(conn, &BYE);
    assert_eq!(bench.accept(ip(1)), Err(Refusal::Throttled));
    let first: Vec<ConnId> = (2..2 + PENDING_PER_SUBNET as u64).map(|n| bench.accept(ip(n)).unwrap()).collect();
    let own = bench.accept_displacing(ip(99)).unwrap().1;
    assert_eq!(own, Some((first[0], Refusal::TooManyFromSubnet)), "the oldest of the subnet");
    for n in 1..=(PENDING_MAX - PENDING_PER_SUBNET) as u64 {
        assert_eq!(bench.accept_displacing(ip(n * 256)).unwrap().1, None);
    }
    let of_largest = bench.accept_displacing(ip(200 * 256)).unwrap().1;
    assert_eq!(of_largest, Some((first[1], Refusal::TooManyPending)), "the oldest of the largest subnet");
    assert_eq!(bench.peers.counts().pending_inbound, PENDING_MAX);
    bench.now = bench.now + INBOUND_THROTTLE;
    let conns: Vec<_> = bench.conns.keys().copied().collect();
    for conn in conns {
        let _ = bench.end(conn, &BYE);
    }
    assert!(bench.accept(ip(1)).is_ok());
}

#[test]
fn local_peers_are_exempt_from_throttle_and_subnet_limits() {
    let mut bench = Bench::new(PeerLimits::default());
    for n in 0..34 {
        assert_eq!(displaced(bench.join(n, [127, 0, 0, 1].into()).1), Ok(None));
    }
}

#[test]
fn ended_connections_hold_no_pending_place_but_are_bounded_until_they_are_forgotten() {
    let mut bench = Bench::new(PeerLimits { max_pending: 3, ..PeerLimits::default() });
    let fault = end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::Handshake));
    let local = IpAddr::from([127, 0, 0, 1]);
    let all_max = 2 * (3 + PENDING_NAMED_MAX);
    for _ in 0..all_max {
        let (conn, displaced) = bench.accept_displacing(local).unwrap();
        assert_eq!(displaced, None);
        let _ = bench.decide_end(conn, &fault);
    }
    assert_eq!(bench.peers.counts().pending_inbound, all_max);
    assert_eq!(bench.accept(local), Err(Refusal::TooManyPending));
    bench.forget(ConnId(1));
    assert!(bench.accept(local).is_ok());
}

/// C8, P6: an address of a static or trusted peer has a way in of its own, without throttle, however many others knock.
#[test]
fn the_address_of_a_trusted_peer_has_a_way_in_of_its_own() {
    let mut bench = Bench::new(PeerLimits::default());
    let (trusted, fixed) = (ip(77 * 256), IpAddr::from([0x2a00, 1, 2, 3, 0, 0, 0, 1]));
    bench.peers.add_peer(bench.now, &bench.filter, contact(7, trusted), PeerKind::Trusted).unwrap();
    bench.peers.add_peer(bench.now, &bench.filter, contact(8, fixed), PeerKind::Static).unwrap();
    let mut flood = 0;
    for round in 0..200 {
        for _ in 0..50 {
            flood += 1;
            let _ = bench.accept(ip(0x10_0000 + flood * 7));
        }
        // Silent neighbours behind the same address, and the other peer's.
        for _ in 0..50 {
            assert!(bench.accept(trusted).is_ok());
        }
        let (conn, displaced) = bench.accept_displacing(fixed).unwrap();
        assert!(displaced.is_none_or(|(_, why)| why == Refusal::TooManyPending), "round {round}");
        for _ in 0..50 {
            assert!(bench.accept(trusted).is_ok());
        }
        assert!(bench.conns.contains_key(&conn), "the flood of one address does not displace another");
        assert!(bench.conns.len() <= PENDING_MAX + PENDING_NAMED_MAX);
        let _ = bench.end(conn, &BYE);
        let last = bench.accept(trusted).unwrap();
        assert!(matches!(bench.identify(last, id(7)), Admission::Admitted { .. }), "round {round}");
        let _ = bench.end(last, &BYE);
    }
}

/// Forty nodes at one private address connect at once.
#[test]
fn forty_nodes_at_one_private_address_are_accepted() {
    let mut bench = Bench::new(PeerLimits { max_peers: 60, ..PeerLimits::default() });
    let home = IpAddr::from([192, 168, 1, 20]);
    let conns: Vec<_> = (0..40).map(|_| bench.accept_displacing(home).unwrap()).collect();
    for (n, (conn, displaced_one)) in conns.into_iter().enumerate() {
        assert_eq!(displaced_one, None);
        assert_eq!(displaced(Some(bench.identify(conn, id(n as u64)))), Ok(None));
    }
}

#[test]
fn a_filtered_address_is_not_accepted() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.filter = "1.0.0.0/24".parse().unwrap();
    assert_eq!(bench.accept(ip(256)), Err(Refusal::Filtered));
    assert!(bench.accept(ip(1)).is_ok());
}

/// E1: after a restart, inbound connections of any number take none of the outbound places.
#[test]
fn inbound_peers_take_no_outbound_place() {
    let mut bench = Bench::new(PeerLimits::default());
    for n in 0..500 {
        bench.now = bench.now + secs(1);
        let _ = bench.join(n, ip(n * 65536 + n));
    }
    let counts = bench.peers.counts();
    assert_eq!((counts.inbound, counts.outbound), (34, 0));
    let dials = (1000..).map_while(|n| bench.dial_next([contact(n, ip(n * 65536 + 77))]));
    let dials: Vec<_> = dials.take(16).collect();
    assert_eq!(dials.len(), 16);
    for (conn, contact) in dials {
        assert_eq!(displaced(Some(bench.identify(conn, contact.id()))), Ok(None));
    }
    assert_eq!(bench.peers.counts().outbound, 16);
}
