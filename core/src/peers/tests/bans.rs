//! The consequences of a peer's conduct.

use super::*;

const FATAL: End = End { by: Side::Us, stage: Stage::Established, why: EndReason::Fault(Fault::ForbiddenMessage) };

/// P3, P5: a banned peer is refused for as long as the ban says, its host only after several faults; a hundred thousand keys
/// leave the memory bounded.
#[test]
fn bans_follow_the_key_and_memory_is_bounded() {
    let mut bench = Bench::new(PeerLimits::default());
    let conn = bench.join(1, ip(1)).0.unwrap();
    let charge = bench.charge(conn, ScoreReason::Fault(Fault::ForbiddenMessage)).unwrap();
    assert_eq!(charge.ban, Some(Severity::Fatal.ban_duration()));
    assert_eq!(bench.peers.conns(&charge.id).collect::<Vec<_>>(), [conn]);
    let _ = bench.end(conn, &BYE);
    bench.now = bench.now + secs(60);
    assert_eq!(displaced(bench.join(1, ip(1)).1), Err(Refusal::Banned));
    bench.now = bench.now + secs(60);
    assert_eq!(displaced(bench.join(2, ip(1)).1), Ok(None), "another key is another peer");

    for n in 0..100_000 {
        bench.now = bench.now + Duration::from_millis(1);
        if let Some((conn, contact)) = bench.dial_next([contact(1000 + n, ip(n * 64))]) {
            let _ = bench.identify(conn, contact.id());
            let _ = bench.end(conn, &FATAL);
        }
    }
    assert!(bench.peers.bans().len() <= BANS_MAX && bench.peers.ledgers().len() <= LEDGERS_MAX);
    assert!(bench.peers.bans().len() > BANS_MAX / 2, "the test reaches its point");
}

/// F10: a driver that feeds a connection although the node applies backpressure is not the peer's fault.
#[test]
fn a_peer_is_not_charged_for_an_overrun_by_our_driver() {
    for (why, is_charged) in
        [(EndReason::Refused(Refusal::Overloaded), false), (EndReason::Fault(Fault::Overrun), true)]
    {
        let mut bench = Bench::new(PeerLimits::default());
        let conn = bench.join(1, ip(1)).0.unwrap();
        let charge = bench.end(conn, &end(Side::Us, Stage::Established, why));
        assert_eq!(charge.is_some(), is_charged, "{why}");
    }
}

/// P3: an address that shows a fresh key each time is banned for inbound connections after eight serious faults, of any
/// kind and at any pace, and its 250 neighbours are not refused. Our own dials of it go on.
#[test]
fn an_address_is_banned_after_eight_serious_faults_whatever_keys_it_shows() {
    let fault = |stage, fault| end(Side::Us, stage, EndReason::Fault(fault));
    for (pace, fault) in [
        (31, FATAL),
        (31, fault(Stage::Hello, Fault::HelloExpected)),
        (31, fault(Stage::Established, Fault::UnsolicitedResponse)),
        (6 * 3600, fault(Stage::Status, Fault::Snappy)),
        (31, end(Side::Us, Stage::Status, EndReason::Status(StatusRefusal::Range))),
    ] {
        let mut bench = Bench::new(PeerLimits::default());
        let mut faults = 0;
        while bench.peers.bans().addr_until(bench.now, ip(1)).is_none() {
            let conn = bench.accept(ip(1)).unwrap();
            if fault.stage != Stage::Hello {
                assert_eq!(displaced(Some(bench.identify(conn, id(100 + faults)))), Ok(None));
            }
            let _ = bench.end(conn, &fault);
            faults += 1;
            assert!(faults <= 8, "{fault}");
            if faults < 8 {
                bench.now = bench.now + secs(pace);
            }
        }
        assert_eq!(faults, 8, "{fault}");
        assert_eq!(bench.accept(ip(1)), Err(Refusal::Banned));
        bench.offer(contact(1, ip(1))).unwrap();
        assert!(bench.dial_next(NO_CANDIDATES).is_some(), "it is dialled");
        let refused = (2..250).filter(|n| bench.accept(ip(*n)).is_err()).count();
        assert_eq!(refused, 0, "neighbours refused");
        bench.now = bench.now + HOST_BAN;
        assert!(bench.accept(ip(1)).is_ok(), "it ends");
    }
}

/// P3b: what any router on the path can cause is charged neither to the key nor to the address.
#[test]
fn what_is_not_proven_has_no_consequence() {
    let broken = |by, why| end(by, Stage::Established, why);
    let mut bench = Bench::new(PeerLimits::default());
    for n in 0..1000 {
        let why = match n % 8 {
            0 => broken(Side::Us, EndReason::Fault(Fault::HeaderMac)),
            1 => broken(Side::Us, EndReason::Fault(Fault::FrameMac)),
            2 => broken(Side::Network, EndReason::Io(IoFault::Reset)),
            3 => broken(Side::Them, EndReason::Eof),
            4 => broken(Side::Us, EndReason::Timeout(ConnTimer::Idle)),
            5 => broken(Side::Us, EndReason::Timeout(ConnTimer::Write)),
            6 => end(Side::Us, Stage::Hello, EndReason::Timeout(ConnTimer::Hello)),
            _ => end(Side::Us, Stage::Hello, EndReason::Fault(Fault::FrameMac)),
        };
        bench.now = bench.now + secs(31);
        let conn = bench.accept(ip(1)).unwrap();
        if why.stage == Stage::Established {
            assert_eq!(displaced(Some(bench.identify(conn, id(1)))), Ok(None));
            bench.establish(conn);
        }
        assert_eq!(bench.end(conn, &why), None, "{why}");
        bench.now = bench.now + secs(3600);
        let (conn, _) = bench.dial_next([contact(1, ip(1))]).expect("it is dialled again within the hour");
        assert_eq!(bench.end(conn, &DEAD), None);
    }
    assert!(bench.peers.ledgers().is_empty() && bench.peers.bans().is_empty() && bench.peers.offences().is_empty());
}

#[test]
fn a_peer_without_a_place_is_not_charged() {
    let mut bench = Bench::new(PeerLimits::default());
    let accepted = bench.accept(ip(1)).unwrap();
    let (dialled, _) = bench.dial_next([contact(2, ip(512))]).unwrap();
    for conn in [accepted, dialled] {
        assert_eq!(bench.charge(conn, ScoreReason::Fault(Fault::ForbiddenMessage)), None);
    }
}
