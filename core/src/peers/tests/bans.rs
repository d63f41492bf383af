//! The consequences of a peer's conduct.

use super::*;

/// P3, P5: a banned peer's host is refused for a while; a hundred thousand keys leave the memory bounded.
#[test]
fn bans_follow_the_host_and_memory_is_bounded() {
    let mut bench = Bench::new(PeerLimits::default());
    let conn = bench.join(1, ip(1)).0.unwrap();
    let charge = bench.charge(conn, ScoreReason::Fault(Fault::PingFlood)).unwrap();
    assert_eq!(charge.ban, Some(Severity::Fatal.ban_duration()));
    assert_eq!(bench.peers.conns(&charge.id).collect::<Vec<_>>(), [conn]);
    let _ = bench.end(conn, &BYE);
    bench.now = bench.now + secs(60);
    assert_eq!(bench.accept(ip(1)), Err(Refusal::Banned));
    bench.now = bench.now + HOST_BAN_MAX;
    assert_eq!(displaced(bench.join(1, ip(1)).1), Err(Refusal::Banned), "the id stays banned");

    for n in 0..100_000 {
        bench.now = bench.now + Duration::from_millis(1);
        if let Some((conn, contact)) = bench.dial_next([contact(1000 + n, ip(n * 64))]) {
            let _ = bench.identify(conn, contact.id());
            let _ = bench.end(conn, &end(Side::Us, Stage::Established, EndReason::Fault(Fault::ForbiddenMessage)));
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

#[test]
fn a_peer_without_a_place_is_not_charged() {
    let mut bench = Bench::new(PeerLimits::default());
    let accepted = bench.accept(ip(1)).unwrap();
    let (dialled, _) = bench.dial_next([contact(2, ip(512))]).unwrap();
    for conn in [accepted, dialled] {
        assert_eq!(bench.charge(conn, ScoreReason::Fault(Fault::PingFlood)), None);
    }
}
