//! The bounds of one turn's work, and the end of time.

use super::*;
use crate::contract::EndReason;
use crate::limits;

const MICROSECOND: Duration = Duration::from_micros(1);

/// Drives a node until nothing is due within a microsecond. Returns the ends of each turn.
fn turns(node: &mut Node, mut now: Instant) -> Vec<Vec<End>> {
    let mut turns = Vec::new();
    loop {
        node.handle(now, Input::Timeout);
        turns.push(ends(node));
        assert!(turns.len() < 1000);
        match node.poll_timeout() {
            Some((at, _)) if at == now + MICROSECOND => now = at,
            _ => return turns,
        }
    }
}

#[test]
fn connections_that_are_due_at_once_end_over_several_turns() {
    const CONNS: usize = 1000;
    let mut node = crowded(CONNS as u32);
    let turns = turns(&mut node, Instant::ZERO + Duration::from_secs(60));
    assert!(turns.iter().all(|ends| ends.len() <= CONNS_PER_TURN), "a turn has its budget");
    let ends: Vec<End> = turns.into_iter().flatten().collect();
    assert_eq!(ends.len(), CONNS);
    assert!(ends.iter().all(|end| end.why == EndReason::Timeout(ConnTimer::Handshake)));
}

#[test]
fn a_shutdown_ends_connections_over_several_turns() {
    const CONNS: usize = 1000;
    let mut node = crowded(CONNS as u32);
    node.command(Instant::ZERO, Command::Shutdown).unwrap();
    let first = ends(&mut node).len();
    assert_eq!(first, CONNS_PER_TURN);
    let (at, why) = node.poll_timeout().unwrap();
    assert_eq!((at, why), (Instant::ZERO + MICROSECOND, Reason::Backlog));
    assert_eq!(node.accept(at, SocketId::MAIN, ([8, 8, 8, 8], 1).into()), None, "none is accepted during shutdown");
    let turns = turns(&mut node, at);
    assert!(turns.iter().all(|ends| ends.len() <= CONNS_PER_TURN));
    assert_eq!(first + turns.into_iter().flatten().count(), CONNS);
    assert_eq!((node.sessions().count(), node.poll_timeout()), (0, None));
}

#[test]
fn connections_that_are_due_do_not_delay_a_dial() {
    let mut node = crowded(1000);
    node.command(Instant::ZERO, Command::AddPeer { contact: contact(2), kind: PeerKind::Static }).unwrap();
    node.handle(Instant::ZERO + Duration::from_secs(60), Input::Timeout);
    let mut dials = 0;
    while let Some(action) = node.poll_action() {
        dials += usize::from(matches!(action, Action::Dial { .. }));
    }
    assert_eq!(dials, 1);
}

#[test]
fn a_node_has_no_deadline_at_the_end_of_time() {
    let end_of_time = Instant::from_micros(u64::MAX);
    for max_peers in [0, 50] {
        let mut config = quiet();
        config.peers.max_peers = max_peers;
        let mut node = node(config);
        node.command(Instant::ZERO, Command::AddPeer { contact: contact(2), kind: PeerKind::Static }).unwrap();
        for _ in 0..3 {
            node.handle(end_of_time, Input::Timeout);
            while node.poll_action().is_some() {}
            assert_eq!(node.poll_timeout(), None, "there is no later instant");
        }
    }
}

/// The index is right after every change, in any order of inputs.
#[test]
fn counts_are_those_of_the_connections_at_any_time() {
    let mut rng = Seed::new([7; 32]).fork("inputs");
    let mut node = crowded(0);
    let mut now = Instant::ZERO;
    for step in 0..3000u32 {
        let conn = ConnId(rng.below(u64::from(step) + 1));
        match rng.below(8) {
            0..3 => {
                let from = SocketAddr::from(([10, 0, 0, rng.below(9) as u8], 30303));
                let _ = node.accept(now, SocketId::MAIN, from);
            }
            3 => {
                let _ = node.command(now, Command::Dial { contact: contact(2 + rng.below(40) as u8) });
            }
            4 => node.handle(now, Input::Connected { conn, local: None }),
            5 => node.handle(now, Input::Broken { conn, why: IoFault::Reset }),
            6 => node.handle(now, Input::Bytes { conn, bytes: &[1; 700] }),
            _ => {
                now = now + rng.duration(Duration::ZERO, Duration::from_secs(2));
                node.handle(now, Input::Timeout);
            }
        }
        assert_counted(&node);
        if rng.below(4) == 0 {
            ends(&mut node);
        }
    }
}

#[test]
fn events_that_are_dropped_for_want_of_draining_are_counted() {
    let mut node = node(quiet());
    let from: SocketAddr = "8.8.8.8:30303".parse().unwrap();
    let sent = limits::OUTBOX_ACTIONS_HIGH_WATER as u64 + 10;
    for _ in 0..sent {
        node.handle(Instant::ZERO, Input::Datagram { socket: SocketId::MAIN, from, bytes: b"foreign" });
    }
    assert_eq!(node.events_dropped(), 10);
    let seen = core::iter::from_fn(|| node.poll_action().map(drop)).count() as u64;
    assert_eq!(seen + node.events_dropped(), sent);
}
