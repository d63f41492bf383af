//! Independent implementations of discv5 over real sockets on loopback, in both directions: see `tests/peers/README.md`, and
//! [`peerless_tests::peers`] for what is skipped when.
//!
//! Each test starts its own peer and its own node at free ports. Nothing sleeps: a turn of the driver ends when a socket,
//! a deadline or a line from the peer calls.

mod bench;
mod network;

use bench::{Bench, OUR_PROTOCOL, hex, id_text};
use peerless::contract::{Command, Event, Via};
use peerless::limits::TALK_BYTES_MAX;
use peerless_tests::peers::{Kind, Program};
use serde_json::json;

/// The distance from our node to the first one is 255: ethrex never asks for the distance 256, and seldom for small ones.
const THEIR_KEYS: [u8; 2] = [0x0d, 0x0c];

/// The application protocol of the peers, which answer with the reversed request.
const PROTOCOL: &[u8] = b"test";
fn reversed(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().rev().copied().collect()
}

/// Our request begins the session.
fn we_ask_first(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let their = &theirs[0];
    let Event::Pong { contact, enr_seq, seen_as, .. } =
        bench.call(Command::Ping { via: Via::Discv5, contact: their.contact() })
    else {
        panic!("{:?}", bench.seen)
    };
    assert_eq!((contact.id(), enr_seq), (their.id(), Some(their.record.seq())));
    assert_eq!(seen_as, Some(bench.at()));
    // ethrex answers FindNode when its own ping was answered.
    let record = bench.nodes_at(their, 0, |_| true);
    assert_eq!(record, [their.contact()]);
    let Event::Record { record, .. } =
        bench.call(Command::RequestRecord { via: Via::Discv5, contact: their.contact() })
    else {
        panic!("{:?}", bench.seen)
    };
    assert_eq!(record.as_bytes(), their.record.as_bytes());
    // The session began with our record.
    bench.until_known(their, &bench.id(), bench.record().seq());
    assert_eq!(bench.talk(their, b"else", &[1, 2, 3]), [0; 0]);
    let expected = if kind == Kind::Ethrex { vec![] } else { vec![3, 2, 1] };
    assert_eq!(bench.talk(their, PROTOCOL, &[1, 2, 3]), expected);
}

/// Their request begins the session.
fn they_ask_first(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let (their, seq) = (&theirs[0], bench.record().seq());
    if kind == Kind::Ethrex {
        // It pings a new contact within a second, and then asks for its record, which it does not know.
        bench.tell(their, "add", None, json!({}));
        for said in ["pong", "nodes"] {
            bench.until(said, |bench| bench.peers[0].find(0, "discv5", &json!({"kind": said})).cloned());
        }
        bench.until_known(their, &bench.id(), seq);
        return bench.until_live(&their.id());
    }
    let pong = bench.ask(their, "ping", json!({}), "pong");
    assert_eq!(pong["seq"], seq, "{pong}");
    assert_eq!(pong["seen_as"], their.contact().udp_addr().to_string(), "{pong}");
    let nodes = bench.ask(their, "findnode", json!({"distances": [0]}), "nodes");
    assert_eq!(nodes["nodes"], json!([id_text(&bench.id())]));
    bench.until_live(&their.id());

    let unknown = json!({"protocol": hex(PROTOCOL), "request": "010203"});
    assert_eq!(bench.ask(their, "talk", unknown, "talk_response")["response"], "");
    let request = json!({"protocol": hex(OUR_PROTOCOL), "request": "010203"});
    bench.tell(their, "talk", None, request);
    let (id, request) = bench.until("their request", |bench| {
        bench.seen.iter().find_map(|seen| match seen {
            Event::TalkRequest { id, protocol, request } => {
                assert_eq!((&id.node, id.addr), (&their.id(), their.contact().udp_addr()));
                assert_eq!(protocol, OUR_PROTOCOL);
                Some((*id, request.to_vec()))
            }
            _ => None,
        })
    });
    let response = reversed(&request);
    bench.driver.command(Command::TalkRespond { id, response: &response }).unwrap();
    let expected = json!({"response": "030201"});
    bench.until("our response", |bench| bench.peers[0].find(0, "talk_response", &expected).cloned());
}

/// Both sides begin a session at the same moment.
fn both_ask_at_once(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let their = &theirs[0];
    let command = if kind == Kind::Ethrex { "add" } else { "ping" };
    bench.tell(their, command, None, json!({}));
    let ping = Command::Ping { via: Via::Discv5, contact: their.contact() };
    assert!(matches!(bench.call(ping), Event::Pong { .. }), "{:?}", bench.seen);
    let (event, fields) = match kind {
        Kind::Ethrex => ("discv5", json!({"kind": "pong"})),
        _ => ("pong", json!({})),
    };
    // A peer that keeps the keys of one handshake only may lose the answer to its first request.
    let ask = |bench: &mut Bench| bench.tell(their, command, None, json!({}));
    bench.persist("their pong", ask, |bench| bench.peers[0].find(0, event, &fields).cloned());
}

/// Each side names the nodes that it knows at a distance.
fn nodes_at_a_distance_are_named(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS);
    let (asked, named) = (&theirs[0], &theirs[1]);
    let distance = asked.id().log_distance(&named.id());
    bench.tell(asked, "add", Some(&named.record), json!({}));
    // ethrex names a node when it has its record.
    bench.until_known(asked, &named.id(), 1);
    let nodes = bench.nodes_at(asked, distance, |nodes| !nodes.is_empty());
    assert_eq!(nodes, [named.contact()]);
    assert_eq!(bench.nodes_at(asked, 1, |_| true), []);

    // While it names no record of its own, it does not enter; and the pings of one node that proves nothing are limited.
    let add = |bench: &mut Bench| _ = bench.driver.command(Command::AddNode { contact: named.contact() });
    let is_live = |bench: &mut Bench| bench.entry(&named.id()).filter(|entry| entry.is_live()).map(|_| ());
    bench.persist("a live entry", add, is_live);
    let distance = bench.id().log_distance(&named.id());
    if kind == Kind::Ethrex {
        // It asks at random distances, so that its second node is told of the first one sooner or later.
        bench.tell(named, "add", None, json!({}));
        return bench.until_known(named, &asked.id(), asked.record.seq());
    }
    let nodes = bench.ask(asked, "findnode", json!({"distances": [distance]}), "nodes");
    assert_eq!(nodes["nodes"], json!([id_text(&named.id())]));
}

/// As much as a packet holds, both as the first message to a node, for which a session must be there, and within a session.
fn the_largest_request_is_answered(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let request: Vec<u8> = (0..TALK_BYTES_MAX - PROTOCOL.len()).map(|i| i as u8).collect();
    let expected = if kind == Kind::Ethrex { vec![] } else { reversed(&request) };
    for _ in 0..2 {
        assert_eq!(bench.talk(&theirs[0], PROTOCOL, &request), expected);
    }
}

/// A change of a record is noticed by its number.
fn newer_records_are_fetched(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let their = &theirs[0];
    if kind == Kind::Ethrex {
        // Its own record does not change, and it notices ours when a session begins.
        bench.tell(their, "add", None, json!({}));
        bench.until_known(their, &bench.id(), bench.record().seq());
        bench.restart();
        bench.call(Command::Ping { via: Via::Discv5, contact: their.contact() });
        return bench.until_known(their, &bench.id(), bench.record().seq());
    }
    bench.ask(their, "ping", json!({}), "pong");
    bench.until_live(&their.id());
    bench.driver.command(Command::SetRecordEntry { key: b"x", value: Some(&[0x07]) }).unwrap();
    assert!(matches!(bench.call(Command::Ping { via: Via::Discv5, contact: their.contact() }), Event::Pong { .. }));
    bench.until_known(their, &bench.id(), bench.record().seq());

    bench.tell(their, "update", None, json!({"key": "x", "value": "07"}));
    let updated = bench.until("their new record", |bench| bench.peers[0].find(0, "updated", &json!({})).cloned());
    let seq = updated["seq"].as_u64().unwrap();
    assert!(seq > their.record.seq());
    bench.ask(their, "ping", json!({}), "pong");
    bench.until("our knowledge of it", |bench| {
        bench.entry(&their.id()).filter(|entry| entry.record_seq() == seq).map(|_| ())
    });
}

/// Their session is unknown to us: what they send is challenged, several messages with one challenge, and all are answered.
fn their_stale_session_is_replaced(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let their = &theirs[0];
    if kind == Kind::Ethrex {
        // It looks up all the time once it has a contact.
        bench.tell(their, "add", None, json!({}));
        bench.until_live(&their.id());
        bench.restart();
        return bench.until_live(&their.id());
    }
    bench.ask(their, "ping", json!({}), "pong");
    bench.restart();
    let from = bench.peers[0].said.len();
    for _ in 0..3 {
        bench.tell(their, "ping", None, json!({}));
    }
    bench.until("three pongs", |bench| {
        let said = bench.peers[0].said.iter().skip(from);
        (said.filter(|said| said["event"] == "pong").count() == 3).then_some(())
    });
}

/// We have no session that they have: they challenge us.
fn our_lost_session_is_replaced(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let (mut bench, theirs) = Bench::with(&program, &THEIR_KEYS[..1]);
    let ping = Command::Ping { via: Via::Discv5, contact: theirs[0].contact() };
    for _ in 0..2 {
        let (first, second) = (bench.call(ping), bench.call(ping));
        assert!(matches!((&first, &second), (Event::Pong { .. }, Event::Pong { .. })), "{first:?} {second:?}");
        bench.restart();
    }
}

macro_rules! with_each {
    ($($name:ident,)*) => {
        mod chainsafe {
            use super::*;
            $(#[test] fn $name() { super::$name(Kind::Chainsafe) })*
        }
        mod ethrex {
            use super::*;
            $(#[test] fn $name() { super::$name(Kind::Ethrex) })*
        }
        mod sigp {
            use super::*;
            $(#[test] fn $name() { super::$name(Kind::Sigp) })*
        }
    };
}

with_each! {
    we_ask_first,
    they_ask_first,
    both_ask_at_once,
    nodes_at_a_distance_are_named,
    the_largest_request_is_answered,
    newer_records_are_fetched,
    their_stale_session_is_replaced,
    our_lost_session_is_replaced,
}

/// ethrex speaks discv4 at the same port, as we do.
#[test]
fn both_protocols_share_a_port() {
    let Some(program) = Program::find(Kind::Ethrex) else { return };
    let mut bench = Bench::new(|config| config.discovery.discv4 = Some(peerless::discv4::Config::default()));
    let theirs = bench.start(&program, &THEIR_KEYS[..1]);
    for via in [Via::Discv5, Via::Discv4, Via::Discv5] {
        let pong = bench.call(Command::Ping { via, contact: theirs[0].contact() });
        assert!(matches!(pong, Event::Pong { .. }), "{via:?} {pong:?}");
    }
}
