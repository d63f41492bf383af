//! Scores, resumption and the calendar of dials, without sockets.

use std::net::IpAddr;
use std::time::Duration;

use peerless::contract::Via;
use peerless::crypto::{Crypto as _, Secp256k1, SecretKey};
use peerless::wire::enode::Contact;
use peerless::wire::enr::{Record, RecordBuilder};

use super::book::Book;
use super::dials::Calendar;
use super::graph;
use super::journal::{Fact, Journal};
use crate::files::Overwrite;
use crate::nodeset::{Format, NodeSet, read};

fn contact(n: u8) -> Contact {
    let key = Secp256k1::new().public_key(&SecretKey::from_bytes([n; 32]).unwrap());
    Contact::new(key, [10, 0, 0, n].into(), 30303, 30303)
}

fn record(n: u8, seq: u64) -> Record {
    let mut builder = RecordBuilder::default();
    builder.endpoint(contact(n).udp_addr(), 30303);
    builder.sign(&Secp256k1::new(), &SecretKey::from_bytes([n; 32]).unwrap(), seq).unwrap()
}

fn found(node: u32) -> Fact {
    Fact::Found { node, contact: contact(node as u8 + 1) }
}

fn visited(node: u32, at: u64, is_live: bool) -> Fact {
    let rtt = is_live.then_some(Duration::from_millis(7));
    Fact::Visited { node, via: Via::Discv4, at, rtt, neighbours: vec![0, 1] }
}

fn with_record(node: u32, seq: u64) -> Fact {
    Fact::Record { node, seq, record: record(node as u8 + 1, seq).as_bytes().to_vec() }
}

/// The scores after one more crawl, as geth's file has them; `None` for a node that is not in it.
fn crawl(earlier: &[u8], facts: Vec<Fact>) -> (Vec<u8>, [Option<i64>; 3]) {
    let earlier = if earlier.is_empty() { NodeSet::default() } else { read(earlier).unwrap().set };
    let mut book = Book::new(earlier);
    facts.into_iter().for_each(|fact| book.note(fact));
    let set = book.nodes();
    let scores = [1, 2, 3].map(|n| set.get(&contact(n).id()).and_then(|node| node.score));
    (Format::Geth.write(&set).unwrap().0, scores)
}

#[test]
fn scores_grow_by_one_are_halved_and_leave_at_zero() {
    let pass = |at| vec![found(0), with_record(0, 5), visited(0, at, true), found(1), visited(1, at, false), found(2)];
    let (mut file, scores) = crawl(b"", pass(100));
    assert_eq!(scores, [Some(1), None, None], "only what has answered is in the list");
    for at in [200, 300, 400] {
        file = crawl(&file, pass(at)).0;
    }
    let text = String::from_utf8(file.clone()).unwrap();
    assert!(text.contains("\"score\": 4") && text.contains("\"seq\": 5"), "{text}");
    assert!(text.contains("\"firstResponse\": \"1970-01-01T00:01:40Z\""), "{text}");
    assert!(text.contains("\"lastResponse\": \"1970-01-01T00:06:40Z\""), "{text}");
    let fail = |at| vec![found(0), visited(0, at, false)];
    let mut halved = Vec::new();
    for at in [500, 600, 700] {
        let (next, scores) = crawl(&file, fail(at));
        halved.push(scores[0]);
        file = next;
    }
    assert_eq!(halved, [Some(2), Some(1), None]);
}

#[test]
fn a_node_that_was_not_asked_keeps_its_score() {
    let (file, _) = crawl(b"", vec![found(0), with_record(0, 5), visited(0, 100, true)]);
    let (_, scores) = crawl(&file, vec![found(0), with_record(0, 6)]);
    assert_eq!(scores[0], Some(1));
}

#[test]
fn a_journal_is_read_as_it_was_written_but_for_a_line_cut_short() {
    let path = std::env::temp_dir().join(format!("peerless-journal-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let (mut journal, facts) = Journal::open(&path, false, Overwrite::default()).unwrap();
    assert!(facts.is_empty());
    let written = [found(0), found(1), with_record(1, 9), visited(1, 100, true), visited(0, 101, false)];
    written.iter().for_each(|fact| journal.write(fact).unwrap());
    journal.flush().unwrap();
    drop(journal);
    assert!(Journal::open(&path, false, Overwrite::default()).is_err(), "it exists");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, [&whole[..], b"{\"event\":\"found\",\"no"].concat()).unwrap();
    let (mut journal, facts) = Journal::open(&path, true, Overwrite::default()).unwrap();
    assert_eq!(format!("{facts:?}"), format!("{written:?}"));
    let mut book = Book::new(NodeSet::default());
    facts.into_iter().for_each(|fact| book.note(fact));
    let known = book.known();
    assert_eq!(known.iter().map(|known| (known.seq, known.is_asked[0])).collect::<Vec<_>>(), [(0, true), (9, true)]);
    journal.write(&found(2)).unwrap();
    journal.flush().unwrap();
    let lines = std::fs::read_to_string(&path).unwrap();
    assert_eq!(lines.lines().count(), 7, "the piece of a line is gone: {lines}");
    for wrong in
        ["", "x\n", "{\"event\":\"crawl\",\"version\":9}\n", "{\"event\":\"found\",\"node\":0,\"enode\":\"\"}\n"]
    {
        std::fs::write(&path, wrong).unwrap();
        assert!(Journal::open(&path, true, Overwrite::default()).is_err(), "{wrong:?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert!(Journal::open(&path, true, Overwrite::default()).is_err(), "there is none");
}

#[test]
fn the_graph_names_each_neighbour_once() {
    let mut book = Book::new(NodeSet::default());
    for fact in [found(0), found(1), visited(1, 100, true), visited(1, 101, true)] {
        book.note(fact);
    }
    let [one, two] = [1, 2].map(|n| contact(n).id().to_string());
    assert_eq!(String::from_utf8(graph::edges(&book)).unwrap(), format!("from,to\n{two},{one}\n{two},{two}\n"));
    let lines = String::from_utf8(graph::adjacency(&book).unwrap()).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.trim()).unwrap();
    assert_eq!((&line["id"], &line["neighbours"]), (&two.as_str().into(), &serde_json::json!([one, two])));
}

#[test]
fn an_address_is_dialled_once_in_35_seconds_and_local_ones_at_will() {
    let mut calendar = Calendar::default();
    let (here, there) = (IpAddr::from([127, 0, 0, 1]), IpAddr::from([8, 8, 8, 8]));
    for node in 0..3 {
        calendar.add(there, node);
        calendar.add(here, 10 + node);
    }
    calendar.add([8, 8, 4, 4].into(), 20);
    let mut take = |seconds| {
        let mut taken: Vec<u32> = std::iter::from_fn(|| calendar.next(Duration::from_secs(seconds))).collect();
        taken.sort_unstable();
        taken
    };
    assert_eq!(take(0), [0, 10, 11, 12, 20]);
    assert!(take(34).is_empty());
    assert_eq!(take(36), [1]);
    assert!(take(70).is_empty());
    assert_eq!(take(71), [2]);
    assert_eq!(calendar.len(), 0);
}
