//! Sockets with ids, budgets for every source, clocks, deadlines, the waker, and the tap.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use peerless::contract::{Action, CommandId, ConnId, Input, Query, QueryFault, QueryId, SocketId, Tap};
use peerless::time::Instant;

use super::script::{Do, Script, Seen, Words};
use super::{Driver, LOOPBACK, PATIENCE, read_exactly};
use crate::Listen;

/// How many inputs of the last turn, which began after `before` of them, came from each source. All are of one instant.
fn counts(driver: &Driver<Script>, before: usize) -> BTreeMap<String, usize> {
    let turn = &driver.machine().log[before..];
    let mut counts = BTreeMap::new();
    for (now, seen) in turn {
        assert_eq!(*now, turn[0].0, "one turn has one instant");
        let (source, n) = match seen {
            Seen::Datagram(socket, ..) => (format!("udp {}", socket.0), 1),
            Seen::Incoming(listener, _) => (format!("tcp {}", listener.0), 1),
            Seen::Bytes(conn, bytes) => (format!("bytes {conn}"), bytes.len()),
            other => (format!("{other:?}"), 1),
        };
        *counts.entry(source).or_default() += n;
    }
    counts
}

#[test]
fn every_source_has_a_budget_in_every_turn() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK).and(LOOPBACK));
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    let udp: Vec<_> = driver.sockets().udp_addrs().map(|(_, addr)| addr).collect();
    let tcp: Vec<_> = driver.sockets().tcp_addrs().map(|(_, addr)| addr).collect();
    for to in udp {
        for _ in 0..150 {
            peer.send_to(&[1; 40], to).unwrap();
        }
    }
    let streams: Vec<TcpStream> =
        tcp.iter().flat_map(|to| (0..40).map(move |_| TcpStream::connect(to).unwrap())).collect();
    driver.script([Do::TimeoutIn(Duration::from_micros(1))]);
    std::thread::sleep(Duration::from_millis(1));
    let mut last = Instant::ZERO;
    for (datagrams, accepted, timeouts) in [(64, 16, 1), (64, 16, 0), (22, 8, 0)] {
        let before = driver.machine().log.len();
        driver.busy_turn();
        let counts = counts(&driver, before);
        let count = |source: &str| counts.get(source).copied().unwrap_or_default();
        assert_eq!([count("udp 0"), count("udp 1")], [datagrams; 2], "{counts:?}");
        assert_eq!([count("tcp 0"), count("tcp 1")], [accepted; 2], "{counts:?}");
        assert_eq!(count("Timeout"), timeouts, "the timer is not late: {counts:?}");
        let (now, _) = driver.machine().log[before];
        assert!(now > last, "the clock is read in every turn");
        last = now;
    }
    assert_eq!(driver.stream_count(), streams.len());
}

#[test]
fn datagrams_beyond_a_budget_are_read_without_sleep() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    for _ in 0..100 {
        peer.send_to(&[1; 40], driver.sockets().udp_addr().unwrap()).unwrap();
    }
    driver.busy_turn();
    driver.busy_turn();
    assert_eq!(driver.seen().iter().filter(|seen| matches!(seen, Seen::Datagram(..))).count(), 100);
}

#[test]
fn streams_beyond_a_budget_are_accepted_without_sleep() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    // Streams that are accepted would have edges, which end a sleep as well.
    driver.script([Do::Refuse]);
    let to = driver.sockets().tcp_addr().unwrap();
    let peers: Vec<_> = (0..20).map(|_| TcpStream::connect(to).unwrap()).collect();
    for offered in [16, 20] {
        driver.busy_turn();
        assert_eq!(driver.seen().iter().filter(|seen| matches!(seen, Seen::Incoming(..))).count(), offered);
    }
    drop(peers);
}

#[test]
fn a_stream_that_never_ends_holds_up_no_other_source() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (loud, mut loud_peer) = driver.accepted();
    let (quiet, mut quiet_peer) = driver.accepted();
    let udp = driver.sockets().udp_addr().unwrap();
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    let writer = std::thread::spawn(move || while loud_peer.write_all(&[9; 65_536]).is_ok() {});
    driver.until("the first bytes", |driver| !driver.read_from(loud).is_empty());
    for round in 1..=30 {
        quiet_peer.write_all(b"x").unwrap();
        peer.send_to(b"x", udp).unwrap();
        driver.script([Do::TimeoutIn(Duration::ZERO)]);
        let before = driver.machine().log.len();
        driver.busy_turn();
        let counts = counts(&driver, before);
        let count = |source: &str| counts.get(source).copied().unwrap_or_default();
        assert!(count(&format!("bytes {loud}")) <= 64 << 10, "round {round}: {counts:?}");
        assert_eq!(count(&format!("bytes {quiet}")), 1, "round {round}: {counts:?}");
        assert_eq!((count("udp 0"), count("Timeout")), (1, 1), "round {round}: {counts:?}");
    }
    driver.script([Do::Close(loud)]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    writer.join().unwrap();
}

/// So that the application reacts to what it was told before the driver begins with what may take long (attack E6).
#[test]
fn a_turn_that_has_told_something_leaves_an_unknown_stream_to_the_next() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let mut peers = [driver.accepted(), driver.accepted()];
    driver.script([Do::ReadOncePerDrain]);
    for (round, told) in [[1, 1], [2, 0]].into_iter().enumerate() {
        peers.iter_mut().for_each(|(_, peer)| peer.write_all(b"x").unwrap());
        std::thread::sleep(Duration::from_millis(20));
        for events in told {
            let mut heard = 0;
            driver.turn(Some(Duration::ZERO), |_| heard += 1).unwrap();
            assert_eq!(heard, events, "round {round}: of both streams something was read before");
        }
    }
}

#[test]
fn a_datagram_leaves_by_the_socket_that_is_named() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK).and(LOOPBACK));
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    let to = peer.local_addr().unwrap();
    for (socket, addr) in driver.sockets().udp_addrs().collect::<Vec<_>>() {
        driver.script([Do::Send(socket, to, b"hello")]);
        driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
        assert_eq!(peer.recv_from(&mut [0; 64]).unwrap(), (5, addr));
        peer.send_to(b"back", addr).unwrap();
        driver.busy_turn();
        assert_eq!(driver.seen().last(), Some(&&Seen::Datagram(socket, to, b"back".to_vec())));
    }
    assert_eq!(driver.stats().datagrams_unsent, 0);
}

#[test]
fn turns_are_counted() {
    let mut driver = Driver::scripted(&Listen::default());
    let before = driver.stats().turns;
    for turns in 1..=3 {
        driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
        assert_eq!(driver.stats().turns, before + turns);
    }
}

#[test]
fn datagrams_that_cannot_be_sent_are_counted() {
    let v6: SocketAddr = "[::1]:9".parse().unwrap();
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let here = driver.sockets().udp_addr().unwrap();
    driver.script([
        Do::Send(SocketId::MAIN, v6, b"another family"),
        Do::Send(SocketId(1), here, b"no such socket"),
        Do::Send(SocketId::MAIN, here, &[0; 70_000]),
        Do::Send(SocketId::MAIN, here, b"possible"),
    ]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    assert_eq!(driver.stats().datagrams_unsent, 3);

    let mut driver = Driver::scripted(&Listen::default());
    driver.script([Do::Send(SocketId::MAIN, here, b"no socket at all")]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    assert_eq!(driver.stats().datagrams_unsent, 1);
}

#[test]
fn a_datagram_above_the_protocols_size_is_seen_to_be_too_large() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let peer = UdpSocket::bind(LOOPBACK).unwrap();
    peer.send_to(&[3; 1281], driver.sockets().udp_addr().unwrap()).unwrap();
    peer.send_to(&[3; 9000], driver.sockets().udp_addr().unwrap()).unwrap();
    driver.until("both", |driver| driver.seen().len() > 2);
    let sizes = driver.seen().into_iter().filter_map(|seen| match seen {
        Seen::Datagram(_, _, bytes) => Some(bytes.len()),
        _ => None,
    });
    assert_eq!(sizes.collect::<Vec<_>>(), [1281, 2048]);
}

#[test]
fn a_sleep_ends_at_the_machines_deadline() {
    let mut driver = Driver::scripted(&Listen::default());
    driver.script([Do::TimeoutIn(Duration::from_millis(200))]);
    let (set, _) = *driver.machine().log.last().unwrap();
    let turns = driver.stats().turns;
    driver.until("the timeout", |driver| driver.seen().contains(&&Seen::Timeout));
    let (at, _) = *driver.machine().log.last().unwrap();
    assert!(at.since(set) >= Duration::from_millis(200), "too early");
    assert!(at.since(set) < PATIENCE / 2, "too late");
    assert!(driver.stats().turns - turns < 10, "did not sleep");
    // The limit that the application sets holds as well.
    let start = Clock::now();
    driver.script([Do::TimeoutIn(PATIENCE)]);
    driver.turn(Some(Duration::from_millis(10)), |_| ()).unwrap();
    assert!((Duration::from_millis(9)..PATIENCE / 2).contains(&start.elapsed()));
}

#[test]
fn time_between_turns_shortens_the_next_sleep() {
    let mut driver = Driver::scripted(&Listen::default());
    let second = Duration::from_secs(1);
    driver.script([Do::TimeoutIn(second)]);
    std::thread::sleep(second);
    let start = Clock::now();
    driver.turn(Some(PATIENCE), |_| ()).unwrap();
    assert!(start.elapsed() < second * 7 / 10, "slept past the deadline");
    assert_eq!(driver.seen().last(), Some(&&Seen::Timeout));
}

#[test]
fn a_turn_that_has_told_an_event_does_not_sleep() {
    let mut driver = Driver::scripted(&Listen::default());
    driver.script([Do::Tell(7)]);
    let (start, mut told) = (Clock::now(), Vec::new());
    driver.turn(Some(PATIENCE), |number| told.push(number)).unwrap();
    assert!(start.elapsed() < PATIENCE / 2, "slept on the news");
    assert_eq!(told, [7]);
}

#[test]
fn a_waker_ends_the_present_sleep_and_the_next() {
    let mut driver = Driver::scripted(&Listen::default());
    let waker = driver.waker();
    // Before the sleep.
    waker.wake().unwrap();
    driver.busy_turn();
    // During it. If the thread is faster, it is before it again.
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        waker.wake().unwrap();
    });
    driver.busy_turn();
    thread.join().unwrap();
    // One wake ends one sleep.
    let start = Clock::now();
    driver.turn(Some(Duration::from_millis(20)), |_| ()).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(19), "woken twice");
}

#[test]
fn a_step_of_the_wall_clock_is_told_once() {
    let mut driver = Driver::scripted(&Listen::default());
    let told = |driver: &Driver<Script>| {
        let told = driver.seen().into_iter().filter_map(|seen| match seen {
            Seen::WallClock(unix) => Some(*unix),
            _ => None,
        });
        told.collect::<Vec<_>>()
    };
    let turn = |driver: &mut Driver<Script>| driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    assert_eq!(told(&driver).len(), 1, "in the first turn");
    (0..5).for_each(|_| turn(&mut driver));
    assert_eq!(told(&driver).len(), 1, "it has not stepped");
    driver.clock.step_forward(Duration::from_secs(3600));
    (0..5).for_each(|_| turn(&mut driver));
    let told = told(&driver);
    assert_eq!(told.len(), 2, "once for the step");
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    assert!(real.abs_diff(told[1].as_micros()) < 5_000_000, "{told:?} is not the wall time {real}");
}

/// Writes down all that passes.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }
}

impl Tap<Words> for Log {
    fn input(&mut self, now: Instant, input: &Input<'_, Do<'_>>) {
        let name = format!("{input:?}");
        self.note(format!("{now:?} {}", name.split([' ', '(']).next().unwrap()));
    }

    fn accepted(&mut self, _: Instant, conn: Option<ConnId>) {
        self.note(format!("accepted {conn:?}"));
    }

    fn commanded(&mut self, _: Instant, answer: Result<CommandId, ()>) {
        self.note(format!("commanded {}", answer.is_ok()));
    }

    fn wrote(&mut self, _: Instant, _: ConnId, bytes: &[u8]) {
        self.note(format!("wrote {}", String::from_utf8_lossy(bytes)));
    }

    fn action(&mut self, _: Instant, action: &Action<'_, usize>) {
        let name = format!("{action:?}");
        self.note(format!("action {}", name.split([' ', '(']).next().unwrap()));
    }

    fn drained(&mut self, _: Instant) {
        self.note("drained".to_owned());
    }
}

#[test]
fn a_tap_sees_everything_in_order() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let before = driver.machine().log.len();
    let log = Log::default();
    driver.set_tap(Box::new(log.clone()));
    let (conn, mut peer) = driver.accepted();
    driver.script([Do::Write(conn, b"hello")]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    assert_eq!(read_exactly(&mut peer, 5), b"hello");
    peer.write_all(b"back").unwrap();
    driver.until("bytes", |driver| driver.read_from(conn) == b"back");
    let to = driver.sockets().udp_addr().unwrap();
    driver.script([Do::Send(SocketId::MAIN, to, b"x"), Do::Ask(Query::Host("localhost"))]);
    let answer = Seen::Answer(QueryId(2), Err(QueryFault::Unsupported));
    driver.until("a datagram", |driver| matches!(driver.seen().last(), Some(Seen::Datagram(..))));
    assert!(driver.seen().contains(&&answer));
    drop(peer);
    driver.until("the end", |driver| driver.seen().contains(&&Seen::Eof(conn)));
    driver.script([Do::Tell(1), Do::Close(conn)]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();

    let all = log.0.lock().unwrap().clone();
    assert_eq!(all.last().map(String::as_str), Some("drained"));
    let words = |line: &String| {
        line.split_once(' ').map_or(String::new(), |(first, rest)| match first {
            "action" | "accepted" | "commanded" | "wrote" => line.clone(),
            _ => rest.to_owned(),
        })
    };
    let names: Vec<String> = all.iter().filter(|line| *line != "drained").map(words).collect();
    let expected = [
        "Incoming",
        "accepted Some(ConnId(0))",
        "Command",
        "commanded true",
        "action Flush",
        "wrote hello",
        "Wrote",
        "Bytes",
        "Command",
        "commanded true",
        "Command",
        "commanded true",
        "action Send",
        "action Query",
        "Answer",
        "Datagram",
        "Eof",
        "Command",
        "commanded true",
        "Command",
        "commanded true",
        "action Emit",
        "action Close",
    ];
    assert_eq!(names, expected);
    // The machine's own log has the same inputs at the same instants.
    let inputs: Vec<_> = driver.machine().log[before..].iter().map(|(now, _)| format!("{now:?}")).collect();
    let tapped = all.iter().filter(|line| line.starts_with("Instant")).map(|line| line.split(' ').next().unwrap());
    assert_eq!(inputs, tapped.collect::<Vec<_>>());
}
