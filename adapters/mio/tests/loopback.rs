//! Nodes over real sockets on loopback: they discover each other, exchange requests and disconnect; and the driver's promises
//! while they do.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{PATIENCE, Peer, Told, connect, has, until};
use peerless::contract::{CallFailure, Command, ConnId, EndReason, Input, IoFault, Side, Stage, Tap, Via};
use peerless::time::Instant as NodeInstant;
use peerless::wire::eth::id::{GET_BLOCK_BODIES, GET_BLOCK_HEADERS};
use peerless::wire::p2p::{Capability, DisconnectReason};
use peerless_tests::skip::has_ipv6;

/// An RLP string of `len` bytes (256 at least) that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut out = match len {
        ..0x1_0000 => vec![0xb9, (len >> 8) as u8, len as u8],
        _ => vec![0xba, (len >> 16) as u8, (len >> 8) as u8, len as u8],
    };
    let end = out.len() + len;
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    while out.len() < end {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        out.push(x as u8);
    }
    out
}

fn discover_request_and_disconnect(host: &str) {
    if !has(host) {
        return;
    }
    let mut b = Peer::new(host, 2, |_| ());
    let bootnode = b.contact;
    let mut a = Peer::new(host, 1, |config| {
        if let Some(discovery) = &mut config.discovery.discv4 {
            discovery.bootnodes = vec![bootnode];
        }
    });
    let ping = a.command(Command::Ping { via: Via::Discv4, contact: bootnode });
    until([&mut a, &mut b], "a pong", |[a, _]| a.told.contains(&Told::Pong(ping)));
    // Without a command to dial: discovery finds the other node. Of two dials that cross, one stream is left.
    until([&mut a, &mut b], "one session", |[a, b]| {
        [a, b].iter().all(|peer| peer.session().is_some() && peer.driver.stream_count() == 1)
    });
    assert!(a.told.contains(&Told::Established(a.session().unwrap(), b.contact.id())));
    assert!(b.told.contains(&Told::Established(b.session().unwrap(), a.contact.id())));

    let conn = a.session().unwrap();
    let body = [0xc4, 0x01, 0x02, 0x80, 0x80];
    let command =
        a.command(Command::Request { conn, capability: Capability::eth(69), id: GET_BLOCK_HEADERS, body: &body });
    until([&mut a, &mut b], "a request", |[_, b]| b.requests() == 1);
    let Some(Told::Request { conn, request_id, id, body: seen }) =
        b.told.iter().find(|told| matches!(told, Told::Request { .. })).cloned()
    else {
        panic!("no request");
    };
    assert_eq!((id, &seen[..]), (GET_BLOCK_HEADERS, &body[..]));
    b.command(Command::Respond {
        conn,
        capability: Capability::eth(69),
        request_id,
        id: GET_BLOCK_HEADERS,
        body: &[0xc0],
    });
    let response = Told::Response { command, body: vec![0xc0] };
    until([&mut a, &mut b], "a response", |[a, _]| a.told.contains(&response));

    std::thread::scope(|scope| {
        let b = scope.spawn(move || {
            let theirs = b.session().unwrap();
            b.until("the end", |b| b.session().is_none());
            b.told.iter().rev().find_map(|told| match told {
                Told::Ended(conn, end) if *conn == theirs => Some(*end),
                _ => None,
            })
        });
        assert_eq!(a.driver.shutdown(PATIENCE, |_| ()).unwrap(), 0, "streams are left open");
        let end = b.join().unwrap().unwrap();
        assert_eq!((end.by, end.stage), (Side::Them, Stage::Established));
        assert_eq!(end.why, EndReason::Disconnect(DisconnectReason::ClientQuitting));
    });
    assert_eq!(a.driver.stream_count(), 0);
}

#[test]
fn nodes_discover_each_other_and_disconnect_on_ipv4() {
    discover_request_and_disconnect("127.0.0.1");
}

#[test]
fn nodes_discover_each_other_and_disconnect_on_ipv6() {
    if has_ipv6() {
        discover_request_and_disconnect("::1");
    }
}

#[test]
fn a_dial_to_a_closed_port_is_refused() {
    let mut a = Peer::new("127.0.0.1", 1, |_| ());
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let contact = Peer::new("127.0.0.1", 2, |_| ()).contact.with_tcp(closed);
    a.command(Command::Dial { contact });
    a.until("the end", |a| a.end().is_some());
    let end = a.end().unwrap();
    assert_eq!((end.by, end.stage, end.why), (Side::Network, Stage::Dial, EndReason::Io(IoFault::Refused)));
    assert_eq!(a.driver.stream_count(), 0);
}

#[test]
fn a_stream_that_ends_before_any_byte_is_an_end_of_stream() {
    let mut a = Peer::new("127.0.0.1", 1, |_| ());
    let stream = TcpStream::connect(a.contact.tcp_addr()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    a.until("the end", |a| a.end().is_some());
    let end = a.end().unwrap();
    assert_eq!((end.by, end.why), (Side::Them, EndReason::Eof));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!((&stream).read(&mut [0; 1]).unwrap(), 0, "closed here too");
}

/// Counts the inputs that concern the loop.
#[derive(Clone, Default)]
struct Counts(Arc<[AtomicU64; 3]>);

const DATAGRAMS: usize = 0;
const STREAM_BYTES: usize = 1;
const WRITES: usize = 2;

impl Counts {
    /// Begins to count what passes a peer's driver.
    fn of(peer: &mut Peer) -> Self {
        let counts = Self::default();
        peer.driver.set_tap(Box::new(counts.clone()));
        counts
    }

    /// What was counted since the last call.
    fn take(&self, what: usize) -> u64 {
        self.0[what].swap(0, Ordering::Relaxed)
    }
}

impl Tap for Counts {
    fn input(&mut self, _: NodeInstant, input: &Input<'_>) {
        let (what, n) = match input {
            Input::Datagram { .. } => (DATAGRAMS, 1),
            Input::Bytes { bytes, .. } => (STREAM_BYTES, bytes.len() as u64),
            Input::Wrote { .. } => (WRITES, 1),
            _ => return,
        };
        self.0[what].fetch_add(n, Ordering::Relaxed);
    }
}

#[test]
fn large_messages_arrive_whole_at_a_slow_reader() {
    let (mut a, mut b) = (Peer::new("127.0.0.1", 1, |_| ()), Peer::new("127.0.0.1", 2, |_| ()));
    let (conn, _) = connect(&mut a, &mut b);
    let (reads, writes) = (Counts::of(&mut a), Counts::of(&mut b));
    let command =
        a.command(Command::Request { conn, capability: Capability::eth(69), id: GET_BLOCK_BODIES, body: &[0xc0] });
    until([&mut a, &mut b], "a request", |[_, b]| b.requests() == 1);
    let Some(Told::Request { conn, request_id, .. }) = b.told.pop() else { panic!("no request") };
    let body = noise(8 << 20);
    b.command(Command::Respond {
        conn,
        capability: Capability::eth(69),
        request_id,
        id: GET_BLOCK_BODIES,
        body: &body,
    });
    // The writer takes turns until its socket is full, then sleeps until the reader reads.
    let before = b.driver.stats().turns;
    let deadline = Instant::now() + Duration::from_millis(300);
    while Instant::now() < deadline {
        b.turn(deadline.saturating_duration_since(Instant::now()));
    }
    assert!(!b.driver.node().outbound(conn).is_empty(), "the socket cannot have taken it all");
    assert!(b.driver.stats().turns - before < 20, "the driver spins beside a full socket");
    // The reader takes one turn, then the writer ten.
    let deadline = Instant::now() + PATIENCE;
    while a.responses().next().is_none() {
        assert!(Instant::now() < deadline, "no response");
        reads.take(STREAM_BYTES);
        a.turn(Duration::ZERO);
        let read = reads.take(STREAM_BYTES);
        assert!(read <= peerless::limits::WORK_PER_ROUND as u64 / 3, "{read} bytes of one stream in one turn");
        (0..10).for_each(|_| b.turn(Duration::ZERO));
    }
    assert!(a.told.contains(&Told::Response { command, body }));
    assert!(writes.take(WRITES) > 2, "no write was partial");
}

#[test]
fn an_idle_driver_sleeps() {
    let quiet = |config: &mut peerless::node::Config| config.discovery.switch_off();
    let (mut a, mut b) = (Peer::new("127.0.0.1", 1, quiet), Peer::new("127.0.0.1", 2, quiet));
    connect(&mut a, &mut b);
    for peer in [&mut a, &mut b] {
        // What was left of the handshakes' bytes.
        (0..5).for_each(|_| peer.turn(Duration::ZERO));
        let (before, start) = (peer.driver.stats().turns, Instant::now());
        while start.elapsed() < Duration::from_millis(500) {
            peer.turn(Duration::from_millis(100));
        }
        let turns = peer.driver.stats().turns - before;
        assert!(turns <= 8, "{turns} turns in half a second without anything to do");
    }
}

#[test]
fn a_stream_under_backpressure_waits_without_spinning() {
    let quiet = |config: &mut peerless::node::Config| config.discovery.switch_off();
    let (mut a, mut b) = (Peer::new("127.0.0.1", 1, quiet), Peer::new("127.0.0.1", 2, quiet));
    let (conn, theirs) = connect(&mut a, &mut b);
    const REQUESTS: usize = 26;
    // Each is about what is read at once, so that the last ones stay in the kernel.
    let body = noise(65_000);
    for _ in 0..REQUESTS {
        a.command(Command::Request { conn, capability: Capability::eth(69), id: GET_BLOCK_BODIES, body: &body });
        a.turn(Duration::ZERO);
        b.turn(Duration::ZERO);
    }
    until([&mut a, &mut b], "a pause", |[_, b]| !b.driver.node().wants_read(theirs));
    let open = b.requests();
    assert!(open < REQUESTS, "{open} requests were read before any was answered");
    let (before, start) = (b.driver.stats().turns, Instant::now());
    while start.elapsed() < Duration::from_millis(300) {
        b.turn(Duration::from_millis(100));
    }
    assert!(b.driver.stats().turns - before <= 6, "the driver spins beside a paused stream");
    assert_eq!(b.requests(), open, "a paused stream is read");
    // Answers make room, and no edge tells: the driver asks again, and does not sleep.
    answer(&mut b);
    let start = Instant::now();
    b.turn(PATIENCE);
    assert!(start.elapsed() < PATIENCE / 2, "slept beside a stream that is wanted again");
    let deadline = Instant::now() + PATIENCE;
    while a.responses().count() < REQUESTS {
        assert!(Instant::now() < deadline, "only {} responses", a.responses().count());
        answer(&mut b);
        a.turn(Duration::from_millis(1));
        b.turn(Duration::from_millis(1));
    }
}

/// Answers every request so far with an empty list.
fn answer(peer: &mut Peer) {
    for told in std::mem::take(&mut peer.told) {
        if let Told::Request { conn, request_id, .. } = told {
            peer.command(Command::Respond {
                conn,
                capability: Capability::eth(69),
                request_id,
                id: GET_BLOCK_BODIES,
                body: &[0xc0],
            });
        }
    }
}

#[test]
fn a_flood_starves_neither_timers_nor_streams() {
    let mut a = Peer::new("127.0.0.1", 1, |_| ());
    let counts = Counts::of(&mut a);
    let flood = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = a.contact.udp_addr();
    let dead = UdpSocket::bind("127.0.0.1:0").unwrap();
    let contact = Peer::new("127.0.0.1", 2, |_| ()).contact.with_udp(dead.local_addr().unwrap().port());
    let command = a.command(Command::Ping { via: Via::Discv4, contact });
    let failed = Told::CallFailed(command, CallFailure::Timeout);
    let stream = TcpStream::connect(a.contact.tcp_addr()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let (start, mut turns) = (Instant::now(), 0);
    while !a.told.contains(&failed) {
        // More than a turn reads, before every turn: the socket is never empty.
        (0..100).for_each(|_| drop(flood.send_to(&[7; 40], target)));
        a.turn(Duration::from_millis(100));
        let read = counts.take(DATAGRAMS);
        assert!((1..=64).contains(&read), "{read} datagrams in one turn");
        assert!(start.elapsed() < PATIENCE / 2, "half a second's timer was starved");
        turns += 1;
    }
    assert!(turns > 10, "{turns} turns are no flood");
    assert!(a.end().is_some_and(|end| end.why == EndReason::Eof), "the stream was starved");
}

#[test]
fn garbage_on_a_stream_ends_it_and_nothing_else() {
    let mut a = Peer::new("127.0.0.1", 1, |_| ());
    let mut stream = TcpStream::connect(a.contact.tcp_addr()).unwrap();
    stream.write_all(&[0xff; 4096]).unwrap();
    a.until("the end", |a| a.end().is_some());
    assert_eq!(a.end().unwrap().by, Side::Us);
    assert_eq!(a.driver.stream_count(), 0);
    let mut b = Peer::new("127.0.0.1", 2, |_| ());
    connect(&mut b, &mut a);
}

#[test]
fn the_id_of_a_closed_stream_is_unknown() {
    let mut a = Peer::new("127.0.0.1", 1, |_| ());
    let gone = ConnId(u64::MAX);
    assert!(a.driver.command(Command::Disconnect { conn: gone, reason: DisconnectReason::Requested }).is_err());
    assert!(a.driver.node().outbound(gone).is_empty() && !a.driver.node().wants_read(gone));
    a.turn(Duration::ZERO);
}

#[test]
fn what_a_command_leads_to_is_told_before_sleeping() {
    let quiet = |config: &mut peerless::node::Config| config.discovery.switch_off();
    let mut a = Peer::new("127.0.0.1", 1, quiet);
    let contact = Peer::new("127.0.0.1", 2, quiet).contact;
    a.command(Command::Dial { contact });
    a.command(Command::Disconnect { conn: ConnId(0), reason: DisconnectReason::Requested });
    let start = Instant::now();
    a.turn(PATIENCE);
    assert!(a.end().is_some());
    assert!(start.elapsed() < PATIENCE / 2, "slept on the news");
}

#[test]
fn a_peers_final_disconnect_is_told_although_our_write_fails() {
    let quiet = |config: &mut peerless::node::Config| config.discovery.switch_off();
    let (mut a, mut b) = (Peer::new("127.0.0.1", 1, quiet), Peer::new("127.0.0.1", 2, quiet));
    let (conn, _) = connect(&mut a, &mut b);
    for _ in 0..5 {
        a.turn(Duration::ZERO);
        b.turn(Duration::ZERO);
    }
    let request = Command::Request {
        conn,
        capability: Capability::eth(69),
        id: GET_BLOCK_HEADERS,
        body: &[0xc4, 1, 2, 0x80, 0x80],
    };
    a.command(request);
    a.turn(Duration::ZERO);
    // The request is unread when the peer has sent its Disconnect and closes: that resets the stream.
    assert_eq!(b.driver.shutdown(Duration::ZERO, |_| ()).unwrap(), 1);
    drop(b);
    a.command(request);
    a.until("the end", |a| a.end().is_some());
    let end = a.end().unwrap();
    assert_eq!((end.by, end.why), (Side::Them, EndReason::Disconnect(DisconnectReason::ClientQuitting)));
}
