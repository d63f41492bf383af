//! Streams: dials, reading with backpressure, partial writes, and what is read before a failure is told.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant as Clock};

use peerless::contract::{ConnId, IoFault};

use super::script::{Do, Script, Seen};
use super::{Driver, LOOPBACK, PATIENCE, pattern, read_exactly};
use crate::Listen;

const FINAL: &[u8] = b"too many peers";

/// What the machine was told of a stream's end, after `FINAL`.
fn assert_final_is_read_before_the_end(driver: &Driver<Script>, conn: ConnId) {
    let seen = driver.seen();
    let at = |wanted: &dyn Fn(&Seen) -> bool| seen.iter().position(|seen| wanted(seen));
    let read = at(&|seen| matches!(seen, Seen::Bytes(of, bytes) if *of == conn && bytes == FINAL));
    let broken = at(&|seen| matches!(seen, Seen::Broken(of, _) if *of == conn));
    assert!(read.is_some(), "the final message is lost: {seen:?}");
    assert!(read < broken, "the end is told first: {seen:?}");
    assert_eq!(driver.stream_count(), 0);
}

fn is_broken(driver: &Driver<Script>, conn: ConnId) -> bool {
    driver.seen().iter().any(|seen| matches!(seen, Seen::Broken(of, _) if *of == conn))
}

#[test]
fn a_final_message_is_read_although_a_write_fails_before_the_sleep() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    driver.script([Do::Write(conn, b"hello")]);
    driver.turn_that_writes(conn, 5);
    peer.peek(&mut [0; 1]).unwrap();
    peer.write_all(FINAL).unwrap();
    // With bytes unread, a close resets the stream.
    drop(peer);
    driver.script([Do::Write(conn, b"status")]);
    driver.until("the end", |driver| is_broken(driver, conn));
    assert_final_is_read_before_the_end(&driver, conn);
}

#[test]
fn a_final_message_is_read_although_a_write_fails_after_the_sleep() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, peer) = driver.accepted();
    driver.script([Do::Write(conn, b"hello"), Do::Relay(conn)]);
    driver.turn_that_writes(conn, 5);
    // No edge of this turn tells of the message: it comes between the sleep and the write that a datagram leads to.
    let datagrams = UdpSocket::bind(LOOPBACK).unwrap();
    datagrams.send_to(b"status", driver.sockets().udp_addr().unwrap()).unwrap();
    peer.peek(&mut [0; 1]).unwrap();
    let mut peer = Some(peer);
    let deadline = Clock::now() + PATIENCE;
    while !is_broken(&driver, conn) {
        assert!(Clock::now() < deadline, "the stream did not end");
        driver
            .turn(Some(Duration::from_millis(100)), |_| {
                if let Some(mut peer) = peer.take() {
                    peer.write_all(FINAL).unwrap();
                }
            })
            .unwrap();
    }
    assert_final_is_read_before_the_end(&driver, conn);
}

#[test]
fn a_stream_whose_write_failed_ends_although_the_machine_does_not_read() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    driver.script([Do::Pause(conn, true), Do::Write(conn, b"hello")]);
    driver.turn_that_writes(conn, 5);
    peer.peek(&mut [0; 1]).unwrap();
    peer.write_all(FINAL).unwrap();
    drop(peer);
    driver.script([Do::Write(conn, b"status")]);
    driver.until("the end", |driver| is_broken(driver, conn));
    assert!(driver.read_from(conn).is_empty());
    assert_eq!(driver.stream_count(), 0);
}

#[test]
fn a_close_with_bytes_unread_does_not_reset_the_stream() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    driver.script([Do::Pause(conn, true)]);
    peer.write_all(&[7; 10_000]).unwrap();
    driver.turn(Some(Duration::from_millis(20)), |_| ()).unwrap();
    driver.script([Do::Write(conn, FINAL), Do::Close(conn)]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, FINAL);
    assert_eq!((driver.read_from(conn).len(), driver.stream_count()), (0, 0));
}

#[test]
fn nothing_is_told_of_a_stream_that_was_closed_while_it_was_dialled() {
    let mut driver = Driver::scripted(&Listen::default());
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    driver.script([Do::Dial(listener.local_addr().unwrap()), Do::Close(ConnId(0)), Do::Close(ConnId(9))]);
    driver.turn(Some(Duration::from_millis(50)), |_| ()).unwrap();
    assert_eq!(driver.stream_count(), 0);
    assert!(driver.seen().iter().all(|seen| matches!(seen, Seen::WallClock(_))), "{:?}", driver.seen());
}

#[test]
fn a_stream_that_the_peer_resets_is_told_as_broken() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, peer) = driver.accepted();
    driver.script([Do::Write(conn, b"hello")]);
    driver.turn_that_writes(conn, 5);
    peer.peek(&mut [0; 1]).unwrap();
    drop(peer);
    driver.until("the end", |driver| is_broken(driver, conn));
    assert!(driver.seen().contains(&&Seen::Broken(conn, IoFault::Reset)));
    assert_eq!(driver.stream_count(), 0);
}

#[test]
fn partial_writes_lose_and_repeat_nothing() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    let bytes = pattern(16 << 20);
    driver.script([Do::Write(conn, &bytes)]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    let reader = std::thread::spawn(move || read_exactly(&mut peer, 16 << 20));
    let written = |driver: &Driver<_>| {
        let sizes = driver.seen().into_iter().filter_map(|seen| match seen {
            Seen::Wrote(of, n) if *of == conn => Some(*n),
            _ => None,
        });
        sizes.collect::<Vec<usize>>()
    };
    driver.until("all of it", |driver| written(driver).iter().sum::<usize>() == bytes.len());
    assert!(reader.join().unwrap() == bytes, "what arrives is not what was written");
    assert!(written(&driver).len() > 2, "one write took it all");
}

#[test]
fn a_full_socket_is_waited_for_in_sleep() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, _peer) = driver.accepted();
    driver.script([Do::Write(conn, &pattern(32 << 20))]);
    assert_idle(&mut driver);
}

/// Nothing can be done: after a few turns the driver sleeps.
fn assert_idle(driver: &mut Driver<Script>) {
    let (before, start) = (driver.stats().turns, Clock::now());
    while start.elapsed() < Duration::from_millis(300) {
        driver.turn(Some(Duration::from_millis(100)), |_| ()).unwrap();
    }
    let turns = driver.stats().turns - before;
    assert!(turns <= 12, "{turns} turns in 300 ms without anything to do");
}

/// Writes until the socket has taken nothing more for a while, and returns how much it took.
fn fill(peer: &mut TcpStream, driver: &mut Driver<Script>) -> usize {
    peer.set_nonblocking(true).unwrap();
    let (mut taken, mut refusals) = (0, 0);
    while refusals < 20 {
        assert!(taken < 256 << 20, "TCP does not push back");
        match peer.write(&[7; 65_536]) {
            Ok(n) => (taken, refusals) = (taken + n, 0),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                refusals += 1;
                driver.turn(Some(Duration::from_millis(5)), |_| ()).unwrap();
            }
        }
    }
    peer.set_nonblocking(false).unwrap();
    taken
}

#[test]
fn what_the_machine_does_not_want_waits_in_the_kernel() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    driver.script([Do::Pause(conn, true)]);
    let sent = fill(&mut peer, &mut driver);
    assert!(driver.read_from(conn).is_empty(), "read under backpressure");
    assert_idle(&mut driver);

    // No edge tells that the machine wants to read again: the driver asks.
    driver.script([Do::Pause(conn, false)]);
    driver.busy_turn();
    assert!(!driver.read_from(conn).is_empty(), "reading does not go on");
    driver.until("all bytes", |driver| driver.read_from(conn).len() == sent);
    peer.write_all(b"more").unwrap();
    driver.until("more", |driver| driver.read_from(conn).ends_with(b"more"));
}

#[test]
fn reading_resumes_when_a_drain_has_made_room() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    driver.script([Do::ReadOncePerDrain]);
    let bytes = pattern(400_000);
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        peer.write_all(&sent).unwrap();
        peer
    });
    let start = Clock::now();
    while driver.read_from(conn).len() < bytes.len() {
        driver.turn(Some(PATIENCE), |_| ()).unwrap();
        assert!(start.elapsed() < PATIENCE / 2, "slept beside a stream that is wanted again");
    }
    assert!(driver.read_from(conn) == bytes, "out of order");
    drop(writer.join().unwrap());
}

#[test]
fn a_connected_dial_tells_its_real_local_address() {
    let mut driver = Driver::scripted(&Listen::default());
    let (conn, peer) = driver.dialled();
    assert!(driver.seen().contains(&&Seen::Connected(conn, Some(peer.peer_addr().unwrap()))));
    let connected = |seen: &&&Seen| matches!(seen, Seen::Connected(..));
    assert_eq!(driver.seen().iter().filter(connected).count(), 1);
}

#[test]
fn a_dial_that_fails_is_told_as_broken() {
    let mut driver = Driver::scripted(&Listen::default());
    let closed = TcpListener::bind(LOOPBACK).unwrap().local_addr().unwrap();
    driver.script([Do::Dial(closed)]);
    driver.until("the end", |driver| is_broken(driver, ConnId(0)));
    assert!(driver.seen().contains(&&Seen::Broken(ConnId(0), IoFault::Refused)));
    assert_eq!(driver.stream_count(), 0);
}

#[test]
fn bytes_that_wait_for_a_dial_are_written_once_it_is_connected() {
    let mut driver = Driver::scripted(&Listen::default());
    let listener = TcpListener::bind(LOOPBACK).unwrap();
    driver.script([Do::Dial(listener.local_addr().unwrap()), Do::Write(ConnId(0), b"early")]);
    driver.until("the write", |driver| driver.seen().contains(&&Seen::Wrote(ConnId(0), 5)));
    let (mut peer, _) = listener.accept().unwrap();
    assert_eq!(read_exactly(&mut peer, 5), b"early");
}

#[test]
fn an_end_of_stream_is_told_once_and_writing_goes_on() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    peer.write_all(b"bye").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    driver.until("the end of the stream", |driver| driver.seen().contains(&&Seen::Eof(conn)));
    assert_eq!(driver.read_from(conn), b"bye");
    assert_idle(&mut driver);
    assert_eq!(driver.seen().iter().filter(|seen| ***seen == Seen::Eof(conn)).count(), 1);
    driver.script([Do::Write(conn, b"and you"), Do::Close(conn)]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    let mut rest = Vec::new();
    peer.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"and you");
    assert_eq!(driver.stream_count(), 0);
}

#[test]
fn a_stream_that_is_not_accepted_is_closed_unread() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    driver.script([Do::Refuse]);
    let mut peer = TcpStream::connect(driver.sockets().tcp_addr().unwrap()).unwrap();
    peer.set_read_timeout(Some(PATIENCE)).unwrap();
    driver.until("a stream", |driver| driver.seen().iter().any(|seen| matches!(seen, Seen::Incoming(..))));
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(driver.stream_count(), 0);
}

#[cfg(unix)]
#[test]
fn a_port_can_be_bound_again_after_a_restart() {
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (conn, mut peer) = driver.accepted();
    let addr = driver.sockets().tcp_addr().unwrap();
    // The side that closes first holds the port in TIME_WAIT.
    driver.script([Do::Close(conn)]);
    driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
    assert_eq!(peer.read(&mut [0; 1]).unwrap(), 0);
    drop((peer, driver));
    crate::Sockets::bind(&Listen::default().and_tcp(addr)).unwrap();
}

#[test]
fn small_writes_are_not_held_back() {
    // The option is off by default: a small frame would wait for the acknowledgement of the one before.
    let mut driver = Driver::scripted(&Listen::at(LOOPBACK));
    let (accepted, _one) = driver.accepted();
    let (dialled, _two) = driver.dialled();
    for conn in [accepted, dialled] {
        assert!(driver.streams.is_nodelay(conn), "{conn}");
    }
}

impl Driver<Script> {
    /// A turn that writes `n` bytes which are queued.
    fn turn_that_writes(&mut self, conn: ConnId, n: usize) {
        self.turn(Some(Duration::ZERO), |_| ()).unwrap();
        assert!(self.seen().contains(&&Seen::Wrote(conn, n)));
    }
}
