//! The embedder's commands: static and trusted peers, offers, reports, bans, limits, the filter.

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn label() -> Label {
    Label::new("test").unwrap()
}

fn refused(refusal: Refusal) -> Result<(), CommandError> {
    Err(CommandError::Refused(refusal))
}

#[test]
fn a_contact_that_cannot_be_dialled_is_refused_at_once_with_the_reason() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.filter = "1.0.0.0/16".parse().unwrap();
    let (now, filter) = (bench.now, bench.filter.clone());
    let ours = Contact::with_id(PublicKey::from_xy_unchecked([1; 64]), LOCAL, ip(1), 30303, 30303);
    let deaf = contact(2, ip(2)).with_tcp(0);
    let filtered = contact(3, ip(0x0002_0000));
    for (contact, expected) in
        [(ours, refused(Refusal::ToSelf)), (deaf, Err(CommandError::NoPort)), (filtered, refused(Refusal::Filtered))]
    {
        for kind in [PeerKind::Static, PeerKind::Trusted] {
            assert_eq!(bench.peers.add_peer(now, &filter, contact, kind), expected);
        }
        assert_eq!(bench.offer(contact), expected);
        assert_eq!(bench.peers.dial(now, &filter, &contact), expected);
    }
    assert_eq!(bench.peers.declared().count(), 0);
    let config = PeerLimits { dial_ratio: 0, ..PeerLimits::default() };
    bench.peers.set_limits(config);
    assert_eq!(bench.peers.poll_timeout(true), None, "nothing wakes the node for what it refused");
}

#[test]
fn an_offered_candidate_is_dialled_like_a_found_one_and_once() {
    let mut bench = Bench::new(PeerLimits::default());
    assert_eq!(bench.peers.poll_timeout(false), None);
    let offered = contact(1, ip(256));
    bench.offer(offered).unwrap();
    assert!(bench.peers.poll_timeout(false).is_some_and(|at| at <= bench.now), "it is due at once");
    let (conn, dialled) = bench.dial_next(NO_CANDIDATES).unwrap();
    assert_eq!(dialled, offered);
    let again = bench.offer(offered);
    assert_eq!(again, refused(Refusal::AlreadyConnected));
    let _ = bench.end(conn, &DEAD);
    assert_eq!(bench.peers.poll_timeout(false), None, "it is forgotten");
    assert_eq!(bench.peers.declared().count(), 0, "and not static");

    let (candidate, another) = (contact(2, ip(512)), contact(3, ip(768)));
    bench.offer(another).unwrap();
    let dials = [0, 1].map(|_| bench.dial_next([candidate]).unwrap().1.id());
    assert_eq!(BTreeSet::from(dials), BTreeSet::from([candidate.id(), another.id()]));
}

#[test]
fn offers_are_bounded_and_those_that_can_no_longer_be_dialled_are_forgotten() {
    let mut bench = Bench::new(PeerLimits::default());
    let offer = |bench: &mut Bench, n: u64| bench.offer(contact(n, ip(n * 256)));
    for n in 0..OFFERED_MAX as u64 {
        assert_eq!(offer(&mut bench, n), Ok(()));
    }
    assert_eq!(offer(&mut bench, 7), Ok(()), "one that waits may be offered again");
    assert_eq!(offer(&mut bench, 1000), Err(CommandError::Busy));
    bench.filter = "9.0.0.0/8".parse().unwrap();
    bench.peers.filter_changed(bench.now, &bench.filter);
    assert_eq!(bench.dial_next(NO_CANDIDATES), None);
    assert_eq!(bench.peers.poll_timeout(false), None);
    let banned = contact(2000, [9, 1, 1, 1].into());
    bench.peers.ban(bench.now, BanTarget::Address(banned.ip()), HOUR);
    assert_eq!(bench.offer(banned), refused(Refusal::Banned));
}

#[test]
fn a_report_charges_a_peer_and_counts_against_the_address_of_its_connection() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.join(1, ip(1)).0.unwrap();
    let mild = bench.peers.report(bench.now, id(1), Some(addr(ip(1))), -10, label()).unwrap();
    assert_eq!((mild.score, mild.reason, mild.ban), (-10, ScoreReason::Reported(label()), None));
    let fatal = bench.peers.report(bench.now, id(1), Some(addr(ip(1))), -100, label()).unwrap();
    assert_eq!(fatal.ban, Some(Severity::Fatal.ban_duration()));
    assert!(bench.peers.is_banned(bench.now, &id(1)));
    assert_eq!(bench.peers.offences().count(bench.now, ip(1)), 1, "a mild one does not count");
    for n in 2..=u64::from(HOST_FAULTS_MAX) {
        assert!(bench.peers.report(bench.now, id(n), Some(addr(ip(1))), -20, label()).is_some());
    }
    assert_eq!(bench.accept(ip(1)), Err(Refusal::Banned));
    assert_eq!(bench.peers.report(bench.now, id(2), None, 0, label()), None);
}

#[test]
fn a_banned_key_gets_no_place_and_is_not_dialled_until_the_ban_is_lifted() {
    let mut bench = Bench::new(PeerLimits::default());
    let target = BanTarget::Id(id(1));
    bench.peers.ban(bench.now, target, HOUR);
    assert_eq!(displaced(bench.join(1, ip(1)).1), Err(Refusal::Banned));
    let contact = contact(1, ip(256));
    assert_eq!(bench.dial(&contact).map(|_| ()), refused(Refusal::Banned));
    assert_eq!(bench.dial_next([contact]), None);
    assert!(bench.peers.unban(bench.now, target));
    assert!(bench.dial_next([contact]).is_some());
}

#[test]
fn a_static_peer_at_an_address_that_the_embedder_banned_waits_for_the_end_of_the_ban() {
    let mut bench = Bench::new(PeerLimits::default());
    let contact = contact(1, ip(1));
    bench.peers.ban(bench.now, BanTarget::Address(contact.ip()), HOUR);
    bench.peers.add_peer(bench.now, &bench.filter, contact, PeerKind::Static).unwrap();
    assert_eq!(bench.dial_next(NO_CANDIDATES), None);
    assert_eq!(bench.peers.poll_timeout(false), Some(bench.now + HOUR));
    bench.now = bench.now + HOUR;
    assert!(bench.dial_next(NO_CANDIDATES).is_some());
}

/// It once waited for the end that the ban would have had.
#[test]
fn a_static_peer_is_dialled_as_soon_as_its_ban_is_lifted() {
    let contact = contact(1, ip(1));
    for target in [BanTarget::Id(contact.id()), BanTarget::Address(contact.ip())] {
        let mut bench = Bench::new(PeerLimits::default());
        let other = self::contact(2, ip(512));
        for (contact, target) in [(contact, target), (other, BanTarget::Id(other.id()))] {
            bench.peers.ban(bench.now, target, HOUR);
            bench.peers.add_peer(bench.now, &bench.filter, contact, PeerKind::Static).unwrap();
        }
        assert_eq!(bench.dial_next(NO_CANDIDATES), None);
        bench.now = bench.now + secs(60);
        assert!(bench.peers.unban(bench.now, target));
        assert_eq!(bench.dial_next(NO_CANDIDATES).map(|(_, contact)| contact.id()), Some(contact.id()), "{target:?}");
        assert_eq!(bench.dial_next(NO_CANDIDATES), None, "the other one is banned");
    }
}

#[test]
fn limits_may_shrink_below_the_present_counts_and_grow_again() {
    let mut bench = Bench::new(PeerLimits { max_peers: 6, dial_ratio: 0, ..PeerLimits::default() });
    for n in 0..6 {
        assert_eq!(displaced(bench.join(n, ip(n * 256)).1), Ok(None));
    }
    bench.peers.set_limits(PeerLimits { max_peers: 3, dial_ratio: 0, ..PeerLimits::default() });
    assert_eq!(bench.peers.counts().inbound, 6, "they stay");
    assert_eq!(displaced(bench.join(10, ip(10 * 256)).1), Err(Refusal::TooManyPeers));
    assert_eq!(bench.peers.poll_timeout(true), None);
    for conn in [1, 2, 3, 4].map(ConnId) {
        let _ = bench.end(conn, &BYE);
    }
    assert_eq!(displaced(bench.join(11, ip(11 * 256)).1), Ok(None), "there is room now");
    assert_eq!(displaced(bench.join(12, ip(12 * 256)).1), Err(Refusal::TooManyPeers));
    bench.peers.set_limits(PeerLimits { max_peers: 4, dial_ratio: 0, ..PeerLimits::default() });
    assert_eq!(displaced(bench.join(13, ip(13 * 256)).1), Ok(None));
}

#[test]
fn a_static_peer_that_the_filter_forbids_is_not_dialled_until_it_is_permitted_again() {
    let mut bench = Bench::new(PeerLimits::default());
    bench.peers.add_peer(bench.now, &bench.filter, contact(1, ip(1)), PeerKind::Static).unwrap();
    bench.filter = "9.0.0.0/8".parse().unwrap();
    bench.peers.filter_changed(bench.now, &bench.filter);
    assert_eq!(bench.dial_next(NO_CANDIDATES), None);
    assert_eq!(bench.peers.poll_timeout(false), None, "it does not wake the node");
    bench.filter = NetFilter::default();
    bench.peers.filter_changed(bench.now, &bench.filter);
    assert_eq!(bench.peers.poll_timeout(false), Some(bench.now));
    let (conn, _) = bench.dial_next(NO_CANDIDATES).unwrap();
    bench.peers.filter_changed(bench.now, &bench.filter);
    assert_eq!(bench.peers.poll_timeout(false), None, "a connected peer is not dialled");
    let _ = bench.end(conn, &DEAD);
    let pause = bench.peers.poll_timeout(false);
    bench.peers.filter_changed(bench.now, &bench.filter);
    assert_eq!(bench.peers.poll_timeout(false), pause, "and a change does not shorten a pause");
}
