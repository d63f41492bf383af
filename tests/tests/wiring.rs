//! The wiring of a node, held by whole nodes on the network in memory: what a driver, a link or a peer does to it, and what
//! the application is told. The network itself is held to its promises first.

use std::time::Duration;

use peerless::contract::{
    CallFailure, Command, ConnTimer, EndReason, Event, IoFault, Label, PeerKind, Reason, Refusal, Side, Stage, Via,
};
use peerless::limits;
use peerless::node::Node;
use peerless::rng::Seed;
use peerless::testing::{Host, Net};
use peerless::wire::enode::Contact;
use peerless::wire::eth::{self, id};
use peerless::wire::p2p::{self, Capability, DisconnectReason};
use peerless_tests::stranger::{Stranger, Talk};

const SECOND: Duration = Duration::from_secs(1);
const ETH: u64 = p2p::id::CAPABILITIES;
/// The body of a request for one header.
const ONE_HEADER: &[u8] = &[0xc4, 0x80, 0x01, 0x80, 0x80];

fn port(n: u16) -> std::net::SocketAddr {
    ([127, 0, 0, 1], 40_000 + n).into()
}

/// A node, and the test as its established peer.
fn with_stranger(seed: u64) -> (Net<Node>, Host, Stranger, Talk) {
    let (mut net, [host]) = Net::nodes(seed);
    let mut stranger = Stranger::new(1);
    let talk = stranger.establish(&mut net, host, port(1), 69).expect("a session");
    (net, host, stranger, talk)
}

/// A request of the peer for one header.
fn ask(net: &mut Net<Node>, talk: &mut Talk, request_id: u64) {
    let body = [eth::envelope(request_id, ONE_HEADER.len()).as_slice(), ONE_HEADER].concat();
    talk.say(net, ETH + id::GET_BLOCK_HEADERS, &body);
}

// The network

/// Two nodes that search for each other for a few seconds, with loss.
fn digest(seed: u64) -> [u8; 32] {
    let (mut net, _): (_, [Host; 2]) = Net::mesh(seed);
    net.link.loss_percent = 10;
    net.run_for(5 * SECOND);
    net.digest()
}

#[test]
fn a_seed_decides_a_run() {
    assert_eq!(digest(1), digest(1), "the same seed");
    assert_ne!(digest(1), digest(2), "another seed");
}

#[test]
fn time_passes_only_while_the_network_runs() {
    let (mut net, [one, two]) = Net::nodes(1);
    let start = (net.now(), net.unix());
    let contact = net.contact(two);
    net.command(one, Command::Dial { contact }).unwrap();
    assert_eq!((net.now(), net.unix()), start);
    assert!(!net.run_until(3 * SECOND, |_| false));
    assert_eq!((net.now(), net.unix()), (start.0 + 3 * SECOND, start.1.plus_secs(3)));
}

#[test]
fn lost_dials_and_dials_to_a_cut_host_time_out() {
    let ends = |prepare: fn(&mut Net<Node>, Host)| {
        let (mut net, [one, two]) = Net::nodes(1);
        prepare(&mut net, two);
        let contact = net.contact(two);
        net.command(one, Command::Dial { contact }).unwrap();
        net.run_for(SECOND);
        net.find(one, |event| if let Event::Ended { end, .. } = event { Some(end.why) } else { None })
    };
    let timed_out = Some(EndReason::Io(IoFault::TimedOut));
    assert_eq!(ends(|net, _| net.link.dial_loss_percent = 100), timed_out);
    assert_eq!(ends(|net, host| net.cut(host, true)), timed_out);
    assert_eq!(ends(|_, _| ()), None, "without a fault, the session lives");
}

#[test]
fn datagrams_to_no_host_wait_for_the_test() {
    let (mut net, [one, _]) = Net::mesh(1);
    let to = port(9);
    let contact = Contact::new(Stranger::new(1).key, to.ip(), to.port(), to.port());
    net.command(one, Command::Ping { via: Via::Discv4, contact }).unwrap();
    net.run_for(SECOND / 10);
    let sources: Vec<_> = net.take_datagrams(to).into_iter().map(|(from, _)| from).collect();
    assert_eq!(sources, [net.addr(one)]);
    assert!(net.take_datagrams(to).is_empty(), "each is taken once");
}

// Links

/// The events of both nodes in a session with a message, a request, its answer and an end, without times.
fn conversation(configure: impl FnOnce(&mut Net<Node>)) -> [Vec<String>; 2] {
    let (mut net, [one, two]) = Net::nodes(5);
    net.link.delay = (Duration::from_micros(1), Duration::from_micros(20));
    configure(&mut net);
    let [conn, _] = net.connect(one, two);
    let transaction: Vec<u8> = (0..20_000u32).map(|i| ((i * i) >> 7) as u8).collect();
    let payload = rlp::encode_list::<Vec<u8>, _>(&[transaction]).to_vec();
    let capability = Capability::eth(69);
    net.command(one, Command::Send { conn, capability, id: id::TRANSACTIONS, payload: &payload }).unwrap();
    let is_message = |event: &Event<'_>| matches!(event, Event::Message { payload: it, .. } if **it == payload);
    assert!(net.run_until(10 * SECOND, |net| net.saw(two, is_message)), "the message arrives whole");
    net.command(one, Command::Disconnect { conn, reason: DisconnectReason::Requested }).unwrap();
    net.run_for(5 * SECOND);
    [one, two].map(|host| net.events(host).iter().map(|(_, event)| format!("{event:?}")).collect())
}

#[test]
fn writes_and_chunks_of_one_byte_give_the_same_events_as_whole_ones() {
    let whole = conversation(|net| net.link.random_sizes = false);
    assert!(whole.iter().all(|events| events.len() >= 3), "{whole:#?}");
    assert_eq!(conversation(|_| ()), whole, "random sizes");
    assert_eq!(conversation(|net| net.link.write_bytes_max = 1), whole, "partial writes");
    assert_eq!(conversation(|net| net.link.chunk_bytes_max = 1), whole, "small chunks");
    let both = |net: &mut Net<Node>| (net.link.write_bytes_max, net.link.chunk_bytes_max) = (1, 1);
    assert_eq!(conversation(both), whole, "both");
}

#[test]
fn a_broken_stream_ends_with_its_fault_at_both_sides() {
    for why in [IoFault::Reset, IoFault::TimedOut, IoFault::Unreachable] {
        let (mut net, [one, two]) = Net::nodes(1);
        let conns = net.connect(one, two);
        net.break_stream(one, conns[0], why);
        for (host, conn) in [one, two].into_iter().zip(conns) {
            let (at, end) = net.end(host, conn).expect("the end is told at once");
            assert_eq!((at, end.stage, end.why), (net.now(), Stage::Established, EndReason::Io(why)));
            assert_eq!(net.machine(host).sessions().count(), 0, "its slot is free");
        }
    }
}

#[test]
fn sessions_with_a_cut_host_end_by_their_idle_timer() {
    let (mut net, [one, two]) = Net::nodes(1);
    let conns = net.connect(one, two);
    net.run_for(100 * SECOND);
    net.cut(two, true);
    let cut = net.now();
    net.run_for(limits::IDLE_TIMEOUT + limits::CLOSING_TIMEOUT + SECOND);
    for (host, conn) in [one, two].into_iter().zip(conns) {
        let (at, end) = net.end(host, conn).expect("silence ends a session");
        assert_eq!((end.by, end.why), (Side::Us, EndReason::Timeout(ConnTimer::Idle)), "{host:?}");
        assert!(at.since(cut) >= limits::IDLE_TIMEOUT - limits::PING_INTERVAL - SECOND, "{host:?}: too early at {at}");
    }
}

#[test]
fn a_session_survives_a_cut_shorter_than_its_idle_timer() {
    let (mut net, [one, two]) = Net::nodes(1);
    let [conn, _] = net.connect(one, two);
    net.cut(two, true);
    net.run_for(limits::IDLE_TIMEOUT / 3);
    net.cut(two, false);
    net.run_for(10 * limits::IDLE_TIMEOUT);
    assert_eq!(net.conn(one, two), Some(conn));
}

#[test]
fn lost_datagrams_only_delay_discovery() {
    let time_to_meet = |loss_percent| {
        let (mut net, hosts): (_, [Host; 6]) = Net::mesh(3);
        net.link.loss_percent = loss_percent;
        let start = net.now();
        let know_all = |net: &Net<Node>| {
            hosts.iter().all(|host| net.machine(*host).discovery().discv4().is_some_and(|v4| v4.table().len() == 5))
        };
        assert!(net.run_until(1800 * SECOND, know_all), "{loss_percent} % loss");
        net.now().since(start)
    };
    let (without, with) = (time_to_meet(0), time_to_meet(40));
    assert!(without < 10 * SECOND && with > without, "{without:?} without loss, {with:?} with it");
}

#[test]
fn a_suspended_computer_finds_its_deadlines_overdue_and_goes_on() {
    let (mut net, [one, two]) = Net::nodes(1);
    let conns = net.connect(one, two);
    net.command(one, Command::AddPeer { contact: net.contact(two), kind: PeerKind::Static }).unwrap();
    net.suspend_for(3600 * SECOND);
    net.run_for(limits::CLOSING_TIMEOUT + SECOND);
    assert!(net.end(one, conns[0]).is_some_and(|(_, end)| end.why == EndReason::Timeout(ConnTimer::Idle)));
    assert!(net.run_until(limits::REDIAL_INTERVAL_MAX, |net| net.conn(one, two).is_some()), "a static peer is dialled");
}

// Sessions

#[test]
fn a_write_deadline_moves_with_every_byte_that_the_socket_takes() {
    let (mut net, host, _, mut talk) = with_stranger(1);
    let conn = talk.conn();
    net.link.write_bytes_max = 2000;
    net.stall_raw(talk.raw, true);
    let mut noise = vec![0; 100_000];
    Seed::new([1; 32]).fork("noise").fill(&mut noise);
    let capability = Capability::eth(69);
    net.command(host, Command::Send { conn, capability, id: id::TRANSACTIONS, payload: &noise }).unwrap();
    let begun = net.now();
    while net.now().since(begun) < 4 * limits::WRITE_TIMEOUT {
        net.run_for(limits::WRITE_TIMEOUT / 2);
        talk.say(&mut net, p2p::id::PING, &p2p::EMPTY_PAYLOAD);
        net.stall_raw(talk.raw, false);
        net.run_for(Duration::from_millis(6));
        net.stall_raw(talk.raw, true);
        assert!(net.end(host, conn).is_none(), "a slow socket is not a dead one");
    }
    assert!(!net.machine(host).outbound(conn).is_empty(), "some bytes still wait");
    net.run_for(limits::WRITE_TIMEOUT + limits::CLOSING_TIMEOUT + SECOND);
    assert_eq!(net.end(host, conn).expect("a stalled socket").1.why, EndReason::Timeout(ConnTimer::Write));
}

#[test]
fn open_requests_of_a_peer_apply_backpressure_until_they_are_answered() {
    let (mut net, host, _, mut talk) = with_stranger(2);
    let conn = talk.conn();
    for request_id in 0..limits::REQUESTS_IN_HIGH_WATER as u64 {
        assert!(net.machine(host).wants_read(conn), "{request_id} open requests");
        ask(&mut net, &mut talk, request_id);
        net.run_for(SECOND / 10);
    }
    assert!(!net.machine(host).wants_read(conn), "as many as may be open");
    net.command(
        host,
        Command::Respond {
            conn,
            capability: Capability::eth(69),
            request_id: 0,
            id: id::GET_BLOCK_HEADERS,
            body: &[0xc0],
        },
    )
    .unwrap();
    assert!(net.machine(host).wants_read(conn), "one is answered");
}

#[test]
fn bytes_that_wait_for_the_socket_apply_backpressure() {
    let (mut net, host, _, talk) = with_stranger(3);
    let conn = talk.conn();
    net.stall_raw(talk.raw, true);
    net.run_for(SECOND / 10);
    let mut noise = vec![0; 200_000];
    Seed::new([1; 32]).fork("noise").fill(&mut noise);
    let capability = Capability::eth(69);
    while net.machine(host).outbound(conn).len() < limits::OUTBOUND_BYTES_MAX {
        assert!(net.machine(host).wants_read(conn));
        net.command(host, Command::Send { conn, capability, id: id::TRANSACTIONS, payload: &noise }).unwrap();
    }
    assert!(!net.machine(host).wants_read(conn), "two megabytes wait");
    net.stall_raw(talk.raw, false);
    assert!(net.run_until(10 * SECOND, |net| net.machine(host).wants_read(conn)), "the socket has taken them");
}

#[test]
fn requests_that_are_open_when_a_connection_ends_fail() {
    let (mut net, [one, two]) = Net::nodes(4);
    let [conn, _] = net.connect(one, two);
    let mut request = || {
        net.command(
            one,
            Command::Request { conn, capability: Capability::eth(69), id: id::GET_BLOCK_HEADERS, body: ONE_HEADER },
        )
    };
    let open = [request().unwrap(), request().unwrap()];
    net.break_stream(one, conn, IoFault::Reset);
    let failed: Vec<_> = net
        .events(one)
        .iter()
        .filter_map(|(_, event)| match event {
            Event::RequestFailed { command, why, .. } => Some((*command, *why)),
            _ => None,
        })
        .collect();
    assert_eq!(failed, open.map(|command| (command, CallFailure::Closed)), "each once");
}

#[test]
fn a_request_without_an_answer_fails_at_its_deadline_and_the_session_goes_on() {
    let (mut net, [one, two]) = Net::nodes(5);
    let [conn, _] = net.connect(one, two);
    let begun = net.now();
    net.command(
        one,
        Command::Request { conn, capability: Capability::eth(69), id: id::GET_BLOCK_HEADERS, body: ONE_HEADER },
    )
    .unwrap();
    let has_failed = |net: &Net<Node>| net.saw(one, |event| matches!(event, Event::RequestFailed { .. }));
    assert!(net.run_until(2 * limits::REQUEST_TIMEOUT, has_failed));
    assert_eq!(net.now(), begun + limits::REQUEST_TIMEOUT);
    assert_eq!(net.conn(one, two), Some(conn));
}

#[test]
fn a_ban_ends_the_session_of_a_peer_that_is_connected() {
    let (mut net, host, stranger, mut talk) = with_stranger(6);
    let conn = talk.conn();
    let is_banned = |net: &Net<Node>| net.machine(host).peers().is_banned(net.now(), &stranger.id);
    talk.listen(&mut net);
    // The application's reports lower its score, without a fault that would end the session by itself.
    let report = Command::Report { id: stranger.id, delta: -60, reason: Label::new("useless").unwrap() };
    assert!(net.command(host, report).is_ok() && !is_banned(&net));
    assert!(net.command(host, report).is_ok());
    assert!(is_banned(&net));
    net.run_for(limits::CLOSING_TIMEOUT);
    let (_, end) = net.end(host, conn).expect("the session ends with the ban");
    assert_eq!((end.by, end.why), (Side::Us, EndReason::Refused(Refusal::Banned)));
}

#[test]
fn the_next_deadline_names_its_reason() {
    let (mut net, [one, two]) = Net::nodes(7);
    let [conn, _] = net.connect(one, two);
    let (at, reason) = net.machine(one).poll_timeout().expect("a session has timers");
    assert!(at <= net.now() + limits::PING_INTERVAL);
    assert_eq!(reason, Reason::Conn(conn, ConnTimer::Ping));
}
