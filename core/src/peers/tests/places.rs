//! Which connections are accepted, and which peers get and keep a place.

use super::*;

const FULL: Result<Option<(ConnId, Refusal)>, Refusal> = Err(Refusal::TooManyPeers);

/// P1, E7: with every inbound place held, the first of a new subnet displaces one of a pair, and the old ones keep three
/// quarters; one subnet never holds more than two.
#[test]
fn full_inbound_places_still_change_hands() {
    let mut bench = Bench::new(PeerLimits::default());
    let max = bench.peers.config().max_inbound() as u64;
    assert_eq!(max, 34);
    for n in 0..max {
        bench.now = bench.now + secs(31);
        assert_eq!(displaced(bench.join(n, ip(n / 2 * 256 + n % 2)).1), Ok(None));
    }
    bench.now = bench.now + secs(31);
    assert_eq!(displaced(bench.join(100, ip(5)).1), Err(Refusal::TooManyFromSubnet));
    let mut evictions = 0;
    for n in 0..100 {
        bench.now = bench.now + secs(31);
        match displaced(bench.join(200 + n, ip((200 + n) * 256)).1) {
            Ok(Some((_, Refusal::TooManyPeers))) => evictions += 1,
            admission => assert_eq!(admission, FULL),
        }
    }
    // Half of the 34 were from a shared subnet; some of the first ones are old by now, but fewer than three quarters.
    assert_eq!(evictions, 17);
    bench.now = bench.now + INBOUND_SENIORITY;
    let again = (0..100).filter(|n| displaced(bench.join(400 + n, ip((400 + n) * 256)).1).is_ok());
    assert_eq!(again.count(), 9, "a quarter of the places is open to newcomers");
    assert_eq!(bench.peers.counts().inbound, 34);
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
        let _ = bench.charge(conn, ScoreReason::RequestTimeout);
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
    let charge = bench.charge(conn, ScoreReason::Fault(Fault::PingFlood)).unwrap();
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
    for n in 2..2 + PENDING_PER_SUBNET as u64 {
        assert!(bench.accept(ip(n)).is_ok());
    }
    assert_eq!(bench.accept(ip(99)), Err(Refusal::TooManyFromSubnet));
    for n in 1..=(PENDING_MAX - PENDING_PER_SUBNET) as u64 {
        assert!(bench.accept(ip(n * 256)).is_ok());
    }
    assert_eq!(bench.accept(ip(200 * 256)), Err(Refusal::TooManyPending));
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
fn an_ended_connection_counts_as_pending_until_it_is_forgotten() {
    let mut bench = Bench::new(PeerLimits { max_pending: 3, ..PeerLimits::default() });
    let fault = end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::Handshake));
    let local = IpAddr::from([127, 0, 0, 1]);
    for _ in 0..3 {
        let conn = bench.accept(local).unwrap();
        let _ = bench.decide_end(conn, &fault);
    }
    assert_eq!(bench.accept(local), Err(Refusal::TooManyPending));
    bench.forget(ConnId(1));
    assert!(bench.accept(local).is_ok());
}

#[test]
fn a_filtered_address_is_not_accepted() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.filter = "1.0.0.0/24".parse().unwrap();
    assert_eq!(bench.accept(ip(256)), Err(Refusal::Filtered));
    assert!(bench.accept(ip(1)).is_ok());
}
