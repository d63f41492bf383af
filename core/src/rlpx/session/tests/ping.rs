//! Pings and silence.

use super::*;

#[test]
fn a_silent_peer_is_pinged_and_ended_after_30_seconds() {
    let (mut a, mut b) = open_pair(&["eth/69"], &["eth/69"]);
    for round in 1..=4u32 {
        assert_eq!(a.session.poll_timeout(), Some((Instant::ZERO + 15 * SECOND * round, ConnTimer::Ping)));
        a.advance(15 * SECOND);
        b.advance(15 * SECOND);
        assert_eq!(a.timeout(true), None);
        assert_eq!(a.timeout(true), None, "a spurious timeout is harmless");
        let ping = a.flush();
        assert!(!ping.is_empty() && b.handle(&ping).is_empty());
        assert_eq!(a.handle(&b.flush()), [Got::Pong(a.context.now())]);
    }
    // The peer falls silent: one more ping, then the end, 30 s after its last byte.
    a.advance(15 * SECOND);
    assert_eq!(a.timeout(true), None);
    assert_eq!(a.session.poll_timeout(), Some((Instant::ZERO + 90 * SECOND, ConnTimer::Ping)));
    a.advance(15 * SECOND);
    assert_eq!(a.timeout(true), Some(EndReason::Timeout(ConnTimer::Idle)));
    assert_eq!(b.handle(&a.flush()), [Got::Disconnected(DisconnectReason::PingTimeout)]);
    assert_eq!(a.timeout(true), None);
}

#[test]
fn a_peer_that_is_not_read_is_not_charged_with_silence() {
    let (mut a, mut b) = open_pair(&["eth/69"], &["eth/69"]);
    for _ in 0..10 {
        a.advance(15 * SECOND);
        assert_eq!(a.timeout(false), None);
        a.flush();
    }
    b.send(ETH, 2, &[&[0xc0]]).unwrap();
    assert_eq!(a.handle(&b.flush()).len(), 1);
    a.advance(29 * SECOND);
    assert_eq!(a.timeout(true), None);
    a.advance(SECOND);
    assert_eq!(a.timeout(true), Some(EndReason::Timeout(ConnTimer::Idle)));
}

#[test]
fn pings_get_one_pong_while_it_waits_however_many_come() {
    let mut raw = Raw::open(&["eth/69"], 5);
    for _ in 0..10 {
        assert_eq!(raw.send(2, &pack(&[0xc0])), []);
    }
    assert_eq!(raw.received(), [[3, 1, 0, 0xc0]], "one pong for all");
    assert_eq!(raw.send(2, &[]), [], "the payload is not looked at");
    assert_eq!(raw.received().len(), 1);
    for _ in 0..10_000 {
        assert_eq!(raw.send(2, &[]), [], "ten thousand at once are no fault");
    }
    assert_eq!(raw.received().len(), 1);

    let mut raw = Raw::open(&["eth/69"], 5);
    for _ in 0..100_000 {
        raw.end.advance(SECOND);
        assert_eq!(raw.send(2, &[]), []);
    }
    assert!(raw.end.out.len() < 100, "a peer that pings and never reads is owed one pong");
    for _ in 0..1000 {
        raw.end.advance(15 * SECOND);
        raw.send(2, &[]);
        assert_eq!(raw.end.timeout(true), None);
    }
    assert!(raw.end.out.len() < 200, "and is sent one ping: {}", raw.end.out.len());
}

/// A pong says that the peer has received what was sent before the ping, and how long that took.
#[test]
fn a_pong_answers_the_open_ping() {
    let (mut a, mut b) = open_pair(&["eth/69"], &["eth/69"]);
    let mut latencies = Vec::new();
    for millis in [80, 30, 50] {
        a.advance(15 * SECOND);
        b.advance(15 * SECOND);
        let sent_at = a.context.now();
        assert_eq!(a.timeout(true), None);
        assert_eq!(b.handle(&a.flush()), []);
        a.advance(Duration::from_millis(millis));
        b.advance(Duration::from_millis(millis));
        assert_eq!(a.handle(&b.flush()), [Got::Pong(sent_at)]);
        latencies.push(a.session.latency().unwrap().as_millis());
    }
    assert_eq!(latencies, [80, 30, 30], "the shortest");
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.send(3, &[]), [], "a pong without a ping says nothing");
    assert_eq!(raw.end.session.latency(), None);
}

/// A peer whose pongs wait behind a large answer still hears from us, and is not blamed for what a late pong proves.
#[test]
fn pings_go_on_while_their_pongs_have_not_come() {
    let mut raw = Raw::open(&["eth/69"], 5);
    let mut sent = Vec::new();
    for _ in 0..3 {
        raw.end.advance(15 * SECOND);
        raw.send(9, &[]);
        sent.push(raw.end.context.now());
        assert_eq!((raw.end.timeout(true), raw.received().len()), (None, 1));
    }
    // One pong may answer all three: it proves the first.
    for sent_at in sent {
        assert_eq!(raw.send(3, &[]), [Got::Pong(sent_at)]);
    }
    assert_eq!(raw.send(3, &[]), []);
    for _ in 0..2 * limits::PINGS_OPEN_MAX {
        raw.end.advance(15 * SECOND);
        raw.send(9, &[]);
        assert_eq!(raw.end.timeout(true), None);
        raw.received();
    }
    assert_eq!((0..100).filter(|_| !raw.send(3, &[]).is_empty()).count(), limits::PINGS_OPEN_MAX);
}
