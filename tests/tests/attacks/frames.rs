//! F1: memory that waits for the rest of a frame.

use std::time::Duration;

use peerless::contract::{Command, ConnTimer, EndReason, Event, Input};
use peerless::limits;
use peerless::netfilter::NetFilter;
use peerless::node::Node;
use peerless::rng::Seed;
use peerless::testing::{Host, Net, quiet_config};
use peerless::wire::eth::id;
use peerless::wire::p2p::{self, Capability};
use peerless::wire::snappy;
use peerless_tests::memory::peak_of;
use peerless_tests::stranger::{Stranger, Talk};

use crate::{SECOND, VICTIM, local, scored, victim};

const ETH: Capability = Capability::eth(69);
const MIB: usize = 1 << 20;
const CHUNK_BYTES: usize = 64 << 10;

/// Sessions of strangers with the victim, none of which ends meanwhile.
fn sessions(net: &mut Net<Node>, count: u8) -> Vec<Talk> {
    let mut talks: Vec<Talk> = Vec::new();
    for n in 0..count {
        talks.push(Stranger::new(n).establish(net, VICTIM, local(n.into()), 69).unwrap());
        talks.iter_mut().for_each(|talk| talk.say(net, p2p::id::PONG, &p2p::EMPTY_PAYLOAD));
        net.run_for(SECOND / 10);
    }
    assert_eq!(net.established(VICTIM), usize::from(count));
    talks
}

/// The first bytes of a frame with a body of so many bytes: its header, and a message id.
fn beginning(talk: &mut Talk, id: u64, body_bytes: usize) -> Vec<u8> {
    let mut frame = talk.seal(id, &vec![0; body_bytes - 1]);
    frame.truncate(48);
    frame
}

/// 34 sessions begin the largest frames and feed them at their rate, but never finish them: they hold the budget, and no
/// more; they end when time is up, and the node is as before. `is_solicited` if they are answers that we have requested.
fn hold(is_solicited: bool, held_max: usize) {
    let mut net = victim(1);
    let mut talks = sessions(&mut net, 34);
    let (message, payload_bytes) = if is_solicited {
        (id::BLOCK_BODIES, limits::ETH_MESSAGE_BYTES_MAX)
    } else {
        (id::TRANSACTIONS, limits::TRANSACTIONS_BYTES_MAX)
    };
    let body_bytes = snappy::compressed_len_max(payload_bytes);
    let beginnings: Vec<Vec<u8>> =
        talks.iter_mut().map(|talk| beginning(talk, p2p::id::CAPABILITIES + message, body_bytes)).collect();
    let chunk = vec![0; CHUNK_BYTES];
    let peak = peak_of(|| {
        net.with(VICTIM, |node, start| {
            let mut now = start;
            let mut sent = vec![0; talks.len()];
            for (n, talk) in talks.iter().enumerate() {
                let conn = talk.conn();
                if is_solicited {
                    let command = Command::Request { conn, capability: ETH, id: id::GET_BLOCK_BODIES, body: &[0xc0] };
                    node.command(now, command).unwrap();
                }
                node.handle(now, Input::Bytes { conn, bytes: &beginnings[n] });
                sent[n] = beginnings[n].len();
            }
            // 640 KiB a second each, as far as it is read.
            let mut paused = 0;
            for _ in 0..6000 {
                now = now + SECOND / 10;
                while node.poll_timeout().is_some_and(|(at, _)| at <= now) {
                    node.handle(now, Input::Timeout);
                }
                for (n, talk) in talks.iter().enumerate() {
                    let conn = talk.conn();
                    let n_bytes = CHUNK_BYTES.min((body_bytes + 32).saturating_sub(sent[n]));
                    paused += u32::from(!node.wants_read(conn));
                    if n_bytes > 0 && node.wants_read(conn) {
                        node.handle(now, Input::Bytes { conn, bytes: &chunk[..n_bytes] });
                        sent[n] += n_bytes;
                    }
                    let written = node.outbound(conn).len();
                    node.handle(now, Input::Wrote { conn, n: written });
                }
                while node.poll_action().is_some() {}
            }
            assert!(paused > 0, "reading is paused first");
            assert_eq!(node.sessions().count(), 0, "none stays");
        });
    });
    println!("{peak} bytes are held at most");
    assert!(peak <= held_max, "{peak} bytes");
}

/// F1: frames that we have requested, of 12.2 MB.
#[test]
fn answers_that_never_end_hold_the_budget_at_most() {
    // The budget for answers, and what 34 sessions hold otherwise.
    hold(true, limits::LARGE_FRAMES_BYTES_MAX + 2 * MIB);
}

/// F1: frames that were not requested, of 2.4 MB.
#[test]
fn messages_that_never_end_hold_the_budget_at_most() {
    hold(false, limits::SMALL_FRAMES_BYTES_MAX + 2 * MIB);
}

/// F1: a frame that stalls ends its session when it has had the time of its size, signs of life or not.
#[test]
fn a_frame_has_a_deadline() {
    let mut net = victim(2);
    let mut talks = sessions(&mut net, 2);
    let begun = net.now();
    let frame = beginning(&mut talks[0], p2p::id::CAPABILITIES + id::TRANSACTIONS, MIB);
    net.write_raw(talks[0].raw, &frame);
    for _ in 0..100 {
        net.run_for(SECOND);
        net.write_raw(talks[0].raw, &[0]);
        talks[1].say(&mut net, p2p::id::PONG, &p2p::EMPTY_PAYLOAD);
    }
    let (at, end) = net.end(VICTIM, talks[0].conn()).expect("it is not awaited for ever");
    let deadline = limits::FRAME_TIMEOUT + Duration::from_secs(MIB as u64 / limits::FRAME_BYTES_PER_SECOND);
    assert_eq!(end.why, EndReason::Timeout(ConnTimer::Frame));
    assert!(at >= begun + deadline && at <= begun + deadline + 3 * SECOND, "{at}");
    assert!(net.end(VICTIM, talks[1].conn()).is_none());
}

/// F1: before its Status, a connection holds 64 KiB for a frame at most.
#[test]
fn little_is_held_before_status() {
    let mut net = victim(3);
    let mut talks = Vec::new();
    for n in 0..30 {
        let mut stranger = Stranger::new(n);
        let mut talk = stranger.dial(&mut net, VICTIM, local(n.into())).unwrap();
        let hello = talk.seal(p2p::id::HELLO, &stranger.hello(69).encode());
        talks.push((talk, hello));
    }
    let peak = peak_of(|| {
        net.with(VICTIM, |node, now| {
            for (talk, hello) in &mut talks {
                let conn = talk.conn();
                node.handle(now, Input::Bytes { conn, bytes: hello });
                let frame = beginning(talk, p2p::id::CAPABILITIES, limits::EARLY_FRAME_BYTES_MAX);
                node.handle(now, Input::Bytes { conn, bytes: &frame });
                let rest = vec![0; limits::EARLY_FRAME_BYTES_MAX - 16];
                node.handle(now, Input::Bytes { conn, bytes: &rest });
                assert!(node.wants_read(conn));
            }
        });
    });
    let open = net.machine(VICTIM).sessions().filter(|session| !session.is_ending).count();
    assert!(open > 0 && peak <= 30 * (CHUNK_BYTES + (16 << 10)), "{peak} bytes for {open}");
}

/// Fifty answers of 2 MiB arrive at the same time, over links of 80 KiB/s: more than the budget holds, and much later than
/// the time for an answer. All come, and no peer is charged.
#[test]
fn fifty_slow_answers_at_once_all_arrive() {
    let mut net = Net::new(4);
    let mut config = quiet_config(0, 1);
    config.filter = NetFilter::default();
    config.peers.max_peers = 100;
    let asker = net.add_node(config);
    let peers: Vec<Host> = (1..=50).map(|n| net.add_node(quiet_config(n, 1))).collect();
    let conns: Vec<_> = peers.iter().map(|peer| net.connect(asker, *peer)).collect();
    net.link.random_sizes = false;
    net.link.delay = (SECOND / 4, SECOND / 4);
    net.link.chunk_bytes_max = 20 << 10;
    let mut noise = vec![0; 2 * MIB - 64];
    Seed::new([6; 32]).fork("noise").fill(&mut noise);
    let body = rlp::encode(&noise).to_vec();
    for [conn, _] in &conns {
        let command = Command::Request { conn: *conn, capability: ETH, id: id::GET_BLOCK_BODIES, body: &[0xc0] };
        net.command(asker, command).unwrap();
    }
    net.run_for(2 * SECOND);
    for (peer, [_, conn]) in peers.iter().zip(&conns) {
        let request = net.find(*peer, |event| match event {
            Event::Request { request_id, .. } => Some(*request_id),
            _ => None,
        });
        let (request_id, id) = (request.expect("it was asked"), id::GET_BLOCK_BODIES);
        net.command(*peer, Command::Respond { conn: *conn, capability: ETH, request_id, id, body: &body }).unwrap();
    }
    let answers =
        |net: &Net<Node>| net.events(asker).iter().filter(|(_, event)| matches!(event, Event::Response { .. })).count();
    let begun = net.now();
    assert!(net.run_until(600 * SECOND, |net| answers(net) == 50), "{}", answers(&net));
    println!("50 answers within {:?}", net.now().since(begun));
    assert!(net.now().since(begun) > 2 * limits::REQUEST_TIMEOUT, "none would be in time otherwise");
    let bad = |event: &Event<'_>| matches!(event, Event::Ended { .. } | Event::RequestFailed { .. });
    let bad: Vec<_> = net.events(asker).iter().filter(|(_, event)| bad(event)).collect();
    assert!(bad.is_empty(), "{bad:?}");
    assert!(scored(&net, asker).iter().all(|(delta, _)| *delta >= 0));
}

/// H4: an answer that arrives more slowly fails its request; it may come, late, and is no fault.
#[test]
fn a_slow_answer_is_late_and_no_fault() {
    let (mut net, [asker, peer]) = Net::nodes(5);
    let [conn, theirs] = net.connect(asker, peer);
    net.link.random_sizes = false;
    net.link.delay = (SECOND, SECOND);
    net.link.chunk_bytes_max = 20 << 10;
    let command = Command::Request { conn, capability: ETH, id: id::GET_BLOCK_BODIES, body: &[0xc0] };
    net.command(asker, command).unwrap();
    net.run_for(4 * SECOND);
    let request = net.find(peer, |event| match event {
        Event::Request { request_id, .. } => Some(*request_id),
        _ => None,
    });
    let mut noise = vec![0; 600_000];
    Seed::new([6; 32]).fork("noise").fill(&mut noise);
    let body = rlp::encode(&noise).to_vec();
    let (request_id, id) = (request.expect("it was asked"), id::GET_BLOCK_BODIES);
    net.command(peer, Command::Respond { conn: theirs, capability: ETH, request_id, id, body: &body }).unwrap();
    net.run_for(60 * SECOND);
    assert!(net.saw(asker, |event| matches!(event, Event::RequestFailed { .. })));
    assert!(!net.saw(asker, |event| matches!(event, Event::Response { .. } | Event::Ended { .. })));
    let stats = net.machine(asker).stats();
    assert_eq!(stats.messages_in.get(&(ETH, id::BLOCK_BODIES)).map(|traffic| traffic.count), Some(1));
}
