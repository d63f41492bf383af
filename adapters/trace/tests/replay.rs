//! Recorded runs can be replayed; changed or cut traces are detected, at the right input.

mod common;

use std::io::Cursor;
use std::net::SocketAddr;

use common::{meeting, meeting_of, seed};
use peerless::contract::{Command, ConnId, Input, IoFault, SocketId, Tap, Via};
use peerless::node::Node;
use peerless::time::Duration;
use peerless::wire::p2p::{Capability, DisconnectReason};
use peerless_trace::format::{Broken, OwnedInput, Reader, Record};
use peerless_trace::record::Options;
use peerless_trace::replay::{Failure, Replay};
use peerless_trace::state::{Condition, State};
use proptest::prelude::*;

fn replay(bytes: &[u8]) -> Result<u64, Failure> {
    Replay::new(Reader::new(Cursor::new(bytes.to_vec())))?.run()
}

/// The end of each record, and the input that it is or precedes.
fn records(bytes: &[u8]) -> Vec<(usize, Option<u64>)> {
    let (mut ends, mut at, mut input) = (Vec::new(), 0, None);
    while at < bytes.len() {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let (kind, length) = (word(at), word(at + 4) as usize);
        if kind == 0x4000_0bad {
            ends.push((at + length, input));
            match bytes[at + 16] {
                0 => input = Some(0),
                1 => input = input.map(|input| input + 1),
                _ => {}
            }
        }
        at += length;
    }
    assert_eq!(at, bytes.len());
    ends
}

#[test]
fn both_sides_of_a_session_replay() {
    for numbers in [[1, 2], [8, 9]] {
        let traces = meeting_of(numbers, Options::default());
        for trace in &traces {
            let inputs = replay(trace).unwrap();
            assert!(inputs > 25, "{inputs}");
        }
        assert_eq!(traces, meeting_of(numbers, Options::default()), "deterministic");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Any byte, of an input or of another record.
    #[test]
    fn a_changed_byte_is_reported_at_its_input(which in 0usize..2, at: prop::sample::Index, change in 1u8..) {
        let trace = &TRACES[which];
        let at = at.index(trace.len());
        let mut changed = trace.clone();
        changed[at] ^= change;
        let expected = records(trace).into_iter().find(|(end, _)| at < *end).and_then(|(_, input)| input);
        match replay(&changed) {
            Err(Failure::Broken(broken)) => {
                let reported = broken.input();
                // Changed lengths of the header itself show only at the end of the file.
                prop_assert!(reported == expected || (expected, reported) == (None, Some(0)), "{at}: {broken}");
            }
            other => prop_assert!(false, "{at}: {:?}", other.map_err(|failure| failure.to_string())),
        }
    }
}

static TRACES: std::sync::LazyLock<[Vec<u8>; 2]> = std::sync::LazyLock::new(|| meeting(Options::default()));

#[test]
fn a_cut_trace_is_readable_to_its_last_whole_record() {
    let trace = &TRACES[0];
    let mut start = 0;
    for (end, input) in records(trace) {
        for cut in [start, start + 1, start + (end - start) / 2, end - 1] {
            let mut reader = Reader::new(Cursor::new(trace[..cut].to_vec()));
            let mut inputs = 0;
            let broken = loop {
                match reader.read() {
                    Ok(Some(Record::Input(_))) => inputs += 1,
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("no end mark was missed, cut at {cut}"),
                    Err(broken) => break broken,
                }
            };
            assert!(matches!(broken, Broken::Cut { .. }), "{broken}");
            assert_eq!(inputs, input.unwrap_or(0), "cut at {cut}");
        }
        start = end;
    }
    // The node can be replayed up to the cut.
    let half = records(trace)[20].0 + 5;
    let mut cut = Replay::new(Reader::new(Cursor::new(trace[..half].to_vec()))).unwrap();
    let failure = cut.run().unwrap_err();
    assert!(matches!(failure, Failure::Broken(Broken::Cut { .. })), "{failure}");
    assert!(cut.inputs() >= 15);
    assert_eq!(State::of(cut.machine(), cut.now()).connections.len(), cut.machine().sessions().count());
}

#[test]
fn a_redacted_trace_has_no_secrets() {
    let traces = meeting(Options { is_redacted: true, ..Options::default() });
    for (trace, number) in traces.iter().zip(1..) {
        let has = |bytes: &[u8]| trace.windows(bytes.len()).any(|window| window == bytes);
        assert!(!has(common::secret(number).expose()) && !has(&seed(number)));
        assert!(matches!(replay(trace), Err(Failure::Redacted)));
        let mut reader = Reader::new(Cursor::new(trace.clone()));
        let mut inputs = 0;
        while let Some(record) = reader.read().unwrap() {
            inputs += u64::from(matches!(record, Record::Input(_)));
        }
        assert!(inputs > 25);
    }
    let open = &TRACES[0];
    assert!(open.windows(32).any(|window| window == seed(1)), "the search finds what is there");
}

#[test]
fn different_behaviour_is_reported_with_its_first_input() {
    // The same inputs with another seed: a version of the node with other draws.
    let trace = &TRACES[1];
    let mut changed = trace.clone();
    let at = changed.windows(32).position(|window| window == seed(2)).unwrap();
    changed[at] ^= 1;
    let changed = reseal(&changed);
    let mut replay = Replay::new(Reader::new(Cursor::new(changed))).unwrap();
    let failure = replay.run().unwrap_err();
    // The first visible draw is the target of the lookup that begins when the bootnode has answered.
    let Failure::Differs { step: Some(step), difference } = &failure else { panic!("{failure}") };
    assert!(matches!(step.input, OwnedInput::Datagram { .. }), "{failure}");
    assert!(difference.to_string().contains("of other content"), "{failure}");
}

/// Corrects all digests.
fn reseal(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let (mut start, mut digest) = (0, 0);
    for (end, _) in records(&bytes) {
        digest = twox_hash::XxHash3_64::oneshot_with_seed(digest, &bytes[start..end - 12]);
        bytes[end - 12..end - 4].copy_from_slice(&digest.to_le_bytes());
        start = end;
    }
    bytes
}

#[test]
fn resealing_changes_nothing() {
    assert_eq!(reseal(&TRACES[0]), TRACES[0]);
}

#[test]
fn the_first_input_after_which_a_condition_holds_is_found() {
    let first = |text: &str| {
        let condition: Condition = text.parse().unwrap();
        let mut replay = Replay::new(Reader::new(Cursor::new(TRACES[0].clone()))).unwrap();
        while replay.step().unwrap().is_some() {
            if condition.holds(replay.machine(), replay.now()) {
                return replay.last().cloned();
            }
        }
        None
    };
    let step = first("sessions == 1").unwrap();
    assert!(step.to_string().contains("bytes of stream"), "{step}");
    let step = first("ended(too many peers)").unwrap();
    assert!(step.to_string().contains("disconnect"), "{step}");
    let step = first("table >= 1").unwrap();
    assert!(step.to_string().contains("datagram"), "{step}");
    assert!(first("ended(connection refused) and time > 1s").is_some());
    assert!(first("banned > 0").is_none());
}

#[test]
fn the_state_is_shown() {
    let mut replay = Replay::new(Reader::new(Cursor::new(TRACES[0].clone()))).unwrap();
    while replay.machine().peers().counts().established == 0 {
        replay.step().unwrap().unwrap();
    }
    let state = State::of(replay.machine(), replay.now());
    let text = state.to_string();
    for part in ["table: 1 nodes", "endpoint proofs", "next deadline", "connections: ", "slot established", "frames"] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert_eq!(serde_json::to_value(&state).unwrap()["table"].as_array().unwrap().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// A driver with arbitrary inputs, for open and unknown streams, that takes actions at arbitrary times.
    #[test]
    fn whatever_a_driver_does_replays(turns in prop::collection::vec((0u8..16, 0u64..5, 0usize..70_000), 1..80)) {
        let config = common::config(1, None);
        let (mut recorder, bytes) = common::recorder(&config, 1, Options::default());
        let mut node = Node::new(config, seed(1), common::START, common::UNIX).unwrap();
        let mut now = common::START;
        for (kind, number, size) in turns {
            let (conn, payload) = (ConnId(number), vec![kind; size]);
            let from: SocketAddr = if number == 0 { "[2a00::1]:9".parse() } else { "[::ffff:8.8.8.8]:9".parse() }.unwrap();
            let contact = common::contact(number as u8 + 2);
            let input = match kind {
                0 => Input::Datagram { socket: SocketId::MAIN, from, bytes: &payload },
                1 => Input::Connected { conn, local: None },
                2 | 3 => Input::Bytes { conn, bytes: &payload },
                4 => Input::Eof { conn },
                5 => Input::Broken { conn, why: IoFault::Reset },
                6 => Input::WallClock { unix: common::UNIX },
                7 => Input::Wrote { conn, n: size },
                8 => {
                    now = now + Duration::from_millis(size as u64);
                    Input::Timeout
                }
                9 => Input::Incoming { socket: SocketId::MAIN, from },
                10 => Input::Command(Command::Dial { contact }),
                11 => Input::Command(Command::Send { conn, capability: Capability::eth(68), id: 2, payload: &payload }),
                12 => Input::Command(Command::Ping { via: Via::Discv4, contact }),
                13 => Input::Command(Command::Disconnect { conn, reason: DisconnectReason::Requested }),
                _ => {
                    for _ in 0..number {
                        match node.poll_action() {
                            Some(action) => recorder.action(now, &action),
                            None => recorder.drained(now),
                        }
                    }
                    continue;
                }
            };
            if let Input::Wrote { conn, n } = input {
                let bytes = node.outbound(conn);
                recorder.wrote(now, conn, &bytes[..bytes.len().min(n)]);
            }
            recorder.input(now, &input);
            match input {
                Input::Incoming { from, .. } => recorder.accepted(now, node.accept(now, SocketId::MAIN, from)),
                Input::Command(command) => recorder.commanded(now, node.command(now, command)),
                input => node.handle(now, input),
            }
        }
        recorder.finish().unwrap();
        let replayed = replay(&bytes.take());
        prop_assert!(replayed.is_ok(), "{}", replayed.unwrap_err());
    }
}
