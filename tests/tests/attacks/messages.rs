//! In a session, with a proven key: floods, bombs, lies and what the protocol forbids.

use peerless::contract::{Command, ConnTimer, EndReason, Event, Fault, Input, ScoreReason, Side, Work};
use peerless::limits;
use peerless::node::Node;
use peerless::rng::Seed;
use peerless::testing::{Net, chain};
use peerless::wire::eth::{self, id};
use peerless::wire::p2p::{self, Capability, DisconnectReason};
use peerless_tests::memory::peak_of;
use peerless_tests::stranger::{Stranger, Talk};

use crate::{SECOND, VICTIM, local, scored, victim};

const ETH: u64 = p2p::id::CAPABILITIES;

fn established(seed: u64, version: u32) -> (Net<Node>, Stranger, Talk) {
    let mut net = victim(seed);
    let mut stranger = Stranger::new(1);
    let talk = stranger.establish(&mut net, VICTIM, local(1), version).unwrap();
    (net, stranger, talk)
}

/// Asserts that the session has ended for `fault`, that the stranger was told, and that it was entered against it.
fn ends_for(net: &mut Net<Node>, talk: &mut Talk, fault: Fault) {
    talk.listen(net);
    // It says why, and does not wait for ever for that to be read.
    net.run_for(limits::CLOSING_TIMEOUT);
    let (_, end) = net.end(VICTIM, talk.conn()).unwrap_or_else(|| panic!("no end for {fault}"));
    assert_eq!((end.by, end.why), (Side::Us, EndReason::Fault(fault)));
    assert_eq!(talk.final_disconnect(), fault.disconnect_reason());
    assert!(net.is_closed(talk.raw));
    assert!(scored(net, VICTIM).iter().any(|(delta, why)| *delta < 0 && *why == ScoreReason::Fault(fault)));
}

/// F10: pings of a peer that reads no answers leave one pong in the queue, however many come; a conformance suite that sends
/// ten in a second is no attacker.
#[test]
fn a_ping_flood_queues_one_pong_and_is_no_fault() {
    let (mut net, _, mut talk) = established(1, 69);
    net.stall_raw(talk.raw, true);
    net.run_for(SECOND);
    let burst: Vec<u8> = (0..10).flat_map(|_| talk.seal(p2p::id::PING, &[1, 0, 0xc0])).collect();
    net.write_raw(talk.raw, &burst);
    net.run_for(SECOND / 2);
    let queued = net.machine(VICTIM).outbound(talk.conn()).len();
    assert!((1..=64).contains(&queued), "{queued} bytes: one pong");
    net.stall_raw(talk.raw, false);
    talk.listen(&mut net);
    assert_eq!(talk.count(p2p::id::PONG), 1);

    let flood: Vec<u8> = (0..10_000).flat_map(|_| talk.seal(p2p::id::PING, &[1, 0, 0xc0])).collect();
    net.write_raw(talk.raw, &flood);
    talk.listen(&mut net);
    assert!((2..=10_001).contains(&talk.count(p2p::id::PONG)));
    assert!(net.end(VICTIM, talk.conn()).is_none() && scored(&net, VICTIM).is_empty());
}

/// F10: what honest clients do is answered.
#[test]
fn honest_pings_are_answered() {
    let (mut net, _, mut talk) = established(2, 69);
    for _ in 0..60 {
        talk.say(&mut net, p2p::id::PING, &p2p::EMPTY_PAYLOAD);
        talk.listen(&mut net);
    }
    assert_eq!(talk.count(p2p::id::PONG), 60);
}

/// F1: memory follows what has come, not what a header claims; a claim beyond the limits is refused at the header.
#[test]
fn a_header_alone_reserves_nothing() {
    let (mut net, _, mut talk) = established(3, 69);
    let frame = talk.seal(ETH + id::TRANSACTIONS, &vec![0; limits::ETH_MESSAGE_BYTES_MAX]);
    let conn = talk.conn();
    let peak = net.with(VICTIM, |node, now| {
        peak_of(|| frame[..64].iter().for_each(|byte| node.handle(now, Input::Bytes { conn, bytes: &[*byte] })))
    });
    assert!(peak <= 2 * 64 + limits::FRAME_BUFFER_SLACK_BYTES, "{peak} bytes for 64");

    let mut talk = Stranger::new(2).establish(&mut net, VICTIM, local(2), 69).unwrap();
    let frame = talk.seal(ETH + id::TRANSACTIONS, &vec![0; limits::MESSAGE_BYTES_MAX - 8]);
    net.write_raw(talk.raw, &frame[..32]);
    ends_for(&mut net, &mut talk, Fault::TooLarge);

    // Before Hello, two kilobytes are the limit.
    let mut talk = Stranger::new(3).dial(&mut net, VICTIM, local(3)).unwrap();
    let frame = talk.seal(p2p::id::HELLO, &[0; limits::HELLO_BYTES_MAX + 1]);
    net.write_raw(talk.raw, &frame[..32]);
    talk.listen(&mut net);
    net.run_for(limits::CLOSING_TIMEOUT);
    assert_eq!(net.end(VICTIM, talk.conn()).unwrap().1.why, EndReason::Fault(Fault::TooLarge));
}

/// F3: a few bytes that claim to inflate to much are refused before they do.
#[test]
fn a_bomb_is_not_inflated() {
    let (mut net, _, mut talk) = established(4, 69);
    // Sixteen megabytes, says the prefix.
    let frame = talk.seal(ETH + id::TRANSACTIONS, &[0x80, 0x80, 0x80, 0x08, 0, 0, 0]);
    net.write_raw(talk.raw, &frame);
    let peak = peak_of(|| net.run_for(SECOND));
    assert!(peak < 64 << 10, "{peak} bytes");
    ends_for(&mut net, &mut talk, Fault::TooLarge);
}

/// F7: a Disconnect ends the session whatever it holds, and what is made of it is short.
#[test]
fn disconnects_of_any_kind_are_ends() {
    let payloads: [&[u8]; 9] = [
        &[],
        &[0xc0],
        &[0xc1, 0x04],
        &[0x04],
        &[0xc2, 0xc1, 0x04],
        &[0xb9, 0x07, 0x00],
        &[0xff; 2000],
        &[0xf8, 0xff, 0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        b"\x85\x1b[2Jx",
    ];
    let mut net = victim(5);
    let mut number = 0;
    for payload in payloads {
        for (greets, compresses) in [(false, false), (true, false), (true, true)] {
            number += 1;
            let mut stranger = Stranger::new(number);
            let mut talk = if greets {
                stranger.establish(&mut net, VICTIM, local(number.into()), 69).unwrap()
            } else {
                stranger.dial(&mut net, VICTIM, local(number.into())).unwrap()
            };
            if compresses {
                talk.say(&mut net, p2p::id::DISCONNECT, payload);
            } else {
                talk.say_plain(&mut net, p2p::id::DISCONNECT, payload);
            }
            talk.listen(&mut net);
            let (_, end) = net.end(VICTIM, talk.conn()).unwrap_or_else(|| panic!("{payload:02x?}"));
            assert!(matches!((end.by, end.why), (Side::Them, EndReason::Disconnect(_))), "{payload:02x?}: {end}");
            let line = end.to_string();
            assert!(line.len() < 120 && line.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{line:?}");
        }
    }
    assert!(scored(&net, VICTIM).is_empty(), "a peer that leaves is not blamed");
}

/// F8: names are for logs and terminals.
#[test]
fn hostile_names_are_made_harmless() {
    let names = [
        "\u{1b}[2J\u{1b}[1;1Hall is well".to_string(),
        "Geth/v1\nERROR database is corrupt".into(),
        "\r\u{8}\u{7f}\0\u{85}".into(),
        "safe\u{202e}exe.txt\u{2028}\u{feff}".into(),
        "x".repeat(1500),
        "\u{1b}".repeat(1500),
    ];
    for (number, name) in names.into_iter().enumerate() {
        let mut net = victim(6);
        let mut stranger = Stranger::new(number as u8);
        let mut hello = stranger.hello(69);
        hello.client = name.clone();
        let mut talk = stranger.dial(&mut net, VICTIM, local(1)).unwrap();
        talk.say_plain(&mut net, p2p::id::HELLO, &hello.encode());
        talk.listen(&mut net);
        let told = net.find(VICTIM, |event| match event {
            Event::Hello { hello, .. } => Some(hello.client.clone()),
            _ => None,
        });
        let told = told.unwrap_or_else(|| panic!("{name:?} is no reason to refuse"));
        assert!(told.len() <= limits::CLIENT_NAME_CHARS_MAX, "{}", told.len());
        assert!(told.chars().all(|c| c.is_ascii_graphic() || c == ' '), "{told:?}");
    }
}

/// H3: an answer to nothing ends the session with the reason of the sub-protocol, and is entered in the ledger.
#[test]
fn unsolicited_responses_are_faults() {
    for (message, version) in [(id::BLOCK_HEADERS, 68), (id::BLOCK_BODIES, 69), (id::POOLED_TRANSACTIONS, 69)] {
        let (mut net, _, mut talk) = established(7, version);
        talk.say(&mut net, ETH + message, &[0xc2, 0x07, 0xc0]);
        ends_for(&mut net, &mut talk, Fault::UnsolicitedResponse);
        assert_eq!(talk.final_disconnect(), Some(DisconnectReason::SubprotocolError));
    }
    // An answer of another kind, with another id, or once more.
    for (message, request_id, again) in
        [(id::BLOCK_BODIES, None, false), (id::BLOCK_HEADERS, Some(u64::MAX), false), (id::BLOCK_HEADERS, None, true)]
    {
        let (mut net, _, mut talk) = established(8, 69);
        let conn = talk.conn();
        let body = [0xc4, 0x80, 0x01, 0x80, 0x80];
        net.command(
            VICTIM,
            Command::Request { conn, capability: Capability::eth(69), id: id::GET_BLOCK_HEADERS, body: &body },
        )
        .unwrap();
        talk.listen(&mut net);
        let (_, asked) = talk.heard.iter().find(|(id, _)| *id == ETH + id::GET_BLOCK_HEADERS).unwrap();
        let asked = inflated(asked);
        let request_id = request_id.unwrap_or(eth::request_id(&asked).unwrap().0);
        let answer = [eth::envelope(request_id, 1).as_slice(), &[0xc0]].concat();
        for _ in 0..=usize::from(again) {
            talk.say(&mut net, ETH + message, &answer);
        }
        ends_for(&mut net, &mut talk, Fault::UnsolicitedResponse);
        let is_response = |event: &Event<'_>| matches!(event, Event::Response { .. });
        let answers = net.events(VICTIM).iter().filter(|(_, event)| is_response(event)).count();
        assert_eq!(answers, usize::from(again), "each is told once");
    }
}

fn inflated(compressed: &[u8]) -> Vec<u8> {
    let mut payload = vec![0; peerless::wire::snappy::inflated_len(compressed, 1 << 20).unwrap()];
    peerless::wire::snappy::inflate(compressed, &mut payload).unwrap();
    payload
}

/// H10: one Status, and first.
#[test]
fn a_second_status_is_a_fault() {
    let (mut net, _, mut talk) = established(9, 69);
    talk.say(&mut net, ETH + id::STATUS, &chain(1).status(69).encode());
    ends_for(&mut net, &mut talk, Fault::StatusTwice);
    assert_eq!(talk.final_disconnect(), Some(DisconnectReason::SubprotocolError));

    let mut stranger = Stranger::new(2);
    let mut talk = stranger.dial(&mut net, VICTIM, local(2)).unwrap();
    talk.say_plain(&mut net, p2p::id::HELLO, &stranger.hello(69).encode());
    talk.say(&mut net, ETH + id::TRANSACTIONS, &[0xc0]);
    ends_for(&mut net, &mut talk, Fault::StatusExpected);
}

/// H14: announcements of blocks are of the past from eth/69 on; so is what eth/67 removed.
#[test]
fn forbidden_messages_ban() {
    for (version, message, is_forbidden) in [
        (69, id::NEW_BLOCK, true),
        (69, id::NEW_BLOCK_HASHES, true),
        (68, id::NEW_BLOCK, false),
        (68, id::NEW_BLOCK_HASHES, false),
        (68, id::GET_NODE_DATA, true),
        (69, id::NODE_DATA, true),
    ] {
        let (mut net, stranger, mut talk) = established(10, version);
        talk.say(&mut net, ETH + message, &[0xc2, 0xc0, 0x80]);
        if is_forbidden {
            ends_for(&mut net, &mut talk, Fault::ForbiddenMessage);
            assert!(net.machine(VICTIM).peers().is_banned(net.now(), &stranger.id));
        } else {
            talk.listen(&mut net);
            assert_eq!(net.end(VICTIM, talk.conn()), None);
            assert!(net.saw(VICTIM, |event| matches!(event, Event::Message { id, .. } if *id == message)));
        }
    }
}

/// F12: a peer that takes nothing is let go when its time is over, and has not made us queue without bound.
#[test]
fn a_peer_that_never_reads_is_let_go() {
    let (mut net, _, talk) = established(11, 69);
    net.stall_raw(talk.raw, true);
    net.run_for(SECOND);
    let (conn, capability) = (talk.conn(), Capability::eth(69));
    let begun = net.now();
    let mut noise = vec![0; 100_000];
    Seed::new([1; 32]).fork("noise").fill(&mut noise);
    let sent = (0..1000)
        .take_while(|_| {
            net.command(VICTIM, Command::Send { conn, capability, id: id::TRANSACTIONS, payload: &noise }).is_ok()
        })
        .count();
    assert!(sent < 30, "{sent} messages of 100 kB were queued");
    assert!(net.machine(VICTIM).outbound(conn).len() <= limits::OUTBOUND_BYTES_MAX + noise.len() + 1000);
    net.run_for(limits::WRITE_TIMEOUT + limits::CLOSING_TIMEOUT + SECOND);
    let (at, end) = net.end(VICTIM, conn).unwrap();
    assert!(at <= begun + limits::WRITE_TIMEOUT + limits::CLOSING_TIMEOUT, "{at} {end}");
    assert_eq!(end.why, EndReason::Timeout(ConnTimer::Write));
}

/// F12: a peer that we do not read, because its requests are not answered, is still silent.
#[test]
fn a_peer_that_is_not_read_is_let_go() {
    let (mut net, _, mut talk) = established(9, 69);
    let begun = net.now();
    for n in 0..limits::REQUESTS_IN_HIGH_WATER as u8 {
        talk.say(&mut net, ETH + id::GET_BLOCK_HEADERS, &[0xc2, n + 1, 0xc0]);
    }
    net.run_for(SECOND);
    assert!(!net.machine(VICTIM).wants_read(talk.conn()));
    for _ in 0..60 {
        talk.say(&mut net, p2p::id::PONG, &p2p::EMPTY_PAYLOAD);
        net.run_for(SECOND);
    }
    let (at, end) = net.end(VICTIM, talk.conn()).expect("the idle timer does not depend on our reading");
    assert_eq!(end.why, EndReason::Timeout(ConnTimer::Idle));
    assert!(at <= begun + limits::IDLE_TIMEOUT + limits::CLOSING_TIMEOUT + 5 * SECOND, "{at}");
}

/// F11: pongs without a ping are no answer to anything: they queue nothing, hold nothing, and count as work.
#[test]
fn pongs_without_a_ping_cost_their_sender_a_share() {
    const PONGS: usize = 10_000;
    let (mut net, _, mut talk) = established(10, 69);
    let conn = talk.conn();
    net.with(VICTIM, |node, _| node.take_work(conn));
    let flood: Vec<u8> = (0..PONGS).flat_map(|_| talk.seal(p2p::id::PONG, &[1, 0, 0xc0])).collect();
    net.write_raw(talk.raw, &flood);
    assert!(net.run_until(600 * SECOND, |net| net.machine(VICTIM).stats().frames_in.count > PONGS as u64));
    let node = net.machine(VICTIM);
    assert!(net.end(VICTIM, conn).is_none() && node.outbound(conn).len() < 100);
    let work = net.with(VICTIM, |node, _| node.take_work(conn));
    assert!(work >= PONGS as u64 * Work::FRAME, "{work}");
}
