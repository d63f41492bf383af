//! Requests: matched, bounded, timed out; compared with a naive model.

use alloc::sync::Arc;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::contract::Context;
use crate::crypto::Secp256k1;
use crate::netfilter::NetFilter;
use crate::rng::{Rng, Seed};
use crate::time::UnixTime;
use crate::wire::DecodeError;
use crate::wire::eth::{self, envelope, id};

struct Bench {
    context: Context,
    rng: Rng,
    requests: Requests,
    commands: u64,
}

impl Bench {
    fn new(version: u32) -> Self {
        let schema = eth::schema(version).unwrap();
        let unix = UnixTime::from_secs(1_800_000_000);
        let context = Context::new(Instant::ZERO, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
        let rng = Seed::new([3; 32]).fork("requests");
        Self { context, rng, requests: Requests::new(schema), commands: 0 }
    }

    fn now(&self) -> Instant {
        self.context.now()
    }

    fn advance(&mut self, by: Duration) {
        self.context.advance(self.now() + by);
    }

    fn request(&mut self, id: u64) -> Result<(u64, CommandId), CommandError> {
        let room = limits::REQUESTS_OUT_MAX - self.requests.ours();
        let request = self.requests.start_request(&mut self.rng, id, room)?;
        self.commands += 1;
        let command = CommandId(self.commands);
        self.requests.sent(self.context.now(), request, command);
        Ok((request.request_id(), command))
    }

    fn take(&mut self, id: u64, request_id: u64, body: &[u8]) -> Incoming {
        self.handle(id, &payload(request_id, body))
    }

    fn handle(&mut self, id: u64, payload: &[u8]) -> Incoming {
        let room = limits::REQUESTS_IN_MAX - self.requests.theirs();
        self.requests.handle_message(self.context.now(), id, payload, room, &mut Work::default())
    }

    fn expired(&mut self) -> Vec<CommandId> {
        let now = self.now();
        core::iter::from_fn(|| self.requests.handle_timeout(now)).collect()
    }
}

fn payload(request_id: u64, body: &[u8]) -> Vec<u8> {
    [envelope(request_id, body.len()).as_slice(), body].concat()
}

fn response(command: CommandId, millis: u64, body: Range<usize>) -> Incoming {
    Incoming::Response { command, body, rtt: Duration::from_millis(millis) }
}

const UNSOLICITED: Incoming = Incoming::Fault(Fault::UnsolicitedResponse);

#[test]
fn an_answer_is_matched_by_request_id_and_message_id() {
    let mut bench = Bench::new(69);
    let (headers, first) = bench.request(id::GET_BLOCK_HEADERS).unwrap();
    let (bodies, second) = bench.request(id::GET_BLOCK_BODIES).unwrap();
    assert_ne!(headers, bodies);
    bench.advance(Duration::from_millis(70));
    assert_eq!(bench.take(id::BLOCK_BODIES, headers, &[0xc0]), UNSOLICITED, "the kind must match too");
    assert_eq!(bench.take(id::BLOCK_HEADERS, headers.wrapping_add(1), &[0xc0]), UNSOLICITED);
    let body = payload(bodies, &[0xc1, 5]).len() - 2;
    assert_eq!(bench.take(id::BLOCK_BODIES, bodies, &[0xc1, 5]), response(second, 70, body..body + 2));
    assert_eq!(bench.take(id::BLOCK_BODIES, bodies, &[0xc1, 5]), UNSOLICITED, "once");
    assert_eq!(bench.take(id::BLOCK_HEADERS, headers, &[0xc0]), response(first, 70, body..body + 1));
    assert_eq!(bench.requests.poll_timeout(), None);
}

#[test]
fn an_answer_is_read_only_when_it_was_asked_for() {
    let mut bench = Bench::new(69);
    let (request_id, _) = bench.request(id::GET_BLOCK_HEADERS).unwrap();
    let deep = [&vec![0xc1; 40][..], &[0xc0]].concat();
    assert_eq!(bench.take(id::BLOCK_HEADERS, request_id ^ 1, &[0xff]), UNSOLICITED);
    let fault = bench.take(id::BLOCK_HEADERS, request_id, &deep);
    assert!(matches!(fault, Incoming::Fault(Fault::Message(_))), "{fault:?}");
    for malformed in [&b""[..], b"\x80", b"\xc0", b"\xc1\xc0", b"\xc3\x05"] {
        let got = bench.handle(id::BLOCK_HEADERS, malformed);
        assert!(matches!(got, Incoming::Fault(Fault::Message(_))), "{malformed:02x?}");
    }
}

#[test]
fn a_late_answer_is_no_fault_once_and_for_a_while() {
    let mut bench = Bench::new(69);
    let (request_id, command) = bench.request(id::GET_RECEIPTS).unwrap();
    assert_eq!(bench.requests.poll_timeout(), Some(Instant::ZERO + limits::REQUEST_TIMEOUT));
    bench.advance(limits::REQUEST_TIMEOUT - Duration::from_micros(1));
    assert_eq!(bench.expired(), []);
    bench.advance(Duration::from_micros(1));
    assert_eq!(bench.expired(), [command]);
    assert_eq!(bench.take(id::BLOCK_BODIES, request_id, &[0xc0]), UNSOLICITED, "a late one of another kind is none");
    assert_eq!(bench.take(id::RECEIPTS, request_id, &[0xc0]), Incoming::Late);
    assert_eq!(bench.take(id::RECEIPTS, request_id, &[0xc0]), UNSOLICITED);

    let mut all = Vec::new();
    for _ in 0..3 {
        all.extend((0..limits::REQUESTS_OUT_MAX).map(|_| bench.request(id::GET_RECEIPTS).unwrap().0));
        bench.advance(limits::REQUEST_TIMEOUT);
        assert_eq!(bench.expired().len(), limits::REQUESTS_OUT_MAX);
    }
    assert_eq!(bench.requests.late.len(), limits::LATE_REQUESTS_MAX);
    assert_eq!(bench.take(id::RECEIPTS, all[all.len() - 1], &[0xc0]), Incoming::Late);
    for oldest in &all[..2 * limits::REQUESTS_OUT_MAX] {
        assert_eq!(bench.take(id::RECEIPTS, *oldest, &[0xc0]), Incoming::Late, "the oldest are known by their number");
    }
    assert_eq!(bench.take(id::RECEIPTS, all[0], &[0xc0]), UNSOLICITED);
}

/// A request counts as unanswered when the peer's own messages prove that it has had it for longer than its time, whatever the
/// delays on the path.
#[test]
fn a_request_is_unanswered_only_by_the_peers_own_messages() {
    let second = Duration::from_secs(1);
    let mut bench = Bench::new(69);
    let (request_id, _) = bench.request(id::GET_RECEIPTS).unwrap();
    let ping = |bench: &mut Bench, sent_at: Instant, after: Duration| {
        bench.advance(after);
        let now = bench.now();
        bench.requests.acknowledge(now, sent_at)
    };
    assert!(!ping(&mut bench, Instant::ZERO, second), "its time is not up");
    bench.advance(9 * second);
    assert_eq!(bench.expired().len(), 1);
    assert!(!ping(&mut bench, Instant::ZERO, second), "a ping before its time was up");
    let before = bench.now();
    assert!(!ping(&mut bench, before, 25 * second), "the request may have been on its way for so long");
    let received = bench.now();
    assert!(!ping(&mut bench, received + 9 * second, 20 * second), "the peer may have had it for nine seconds");
    assert!(ping(&mut bench, received + limits::REQUEST_TIMEOUT, second));
    for _ in 0..10 {
        let now = bench.now();
        assert!(!ping(&mut bench, now, 15 * second), "once");
    }
    assert_eq!(bench.take(id::RECEIPTS, request_id, &[0xc0]), Incoming::Late, "its answer is no fault then either");

    let (request_id, _) = bench.request(id::GET_RECEIPTS).unwrap();
    bench.advance(limits::REQUEST_TIMEOUT);
    let now = bench.now();
    assert!(bench.expired().len() == 1 && !ping(&mut bench, now, second));
    assert_eq!(bench.take(id::RECEIPTS, request_id, &[0xc0]), Incoming::Late);
    let now = bench.now();
    assert!(!ping(&mut bench, now + 20 * second, 30 * second), "a late answer is never charged");
}

#[test]
fn requests_of_ours_are_bounded_and_end_with_the_session() {
    let mut bench = Bench::new(70);
    for id in [id::STATUS, id::BLOCK_HEADERS, id::NEW_BLOCK, id::GET_NODE_DATA, id::GET_CELLS, 99] {
        assert_eq!(bench.request(id).unwrap_err(), CommandError::UnknownMessage);
    }
    let asked: Vec<_> = (0..limits::REQUESTS_OUT_MAX).map(|_| bench.request(id::GET_BLOCK_HEADERS).unwrap()).collect();
    assert_eq!(bench.request(id::GET_BLOCK_HEADERS), Err(CommandError::Busy));
    let (request_id, command) = asked[7];
    assert!(matches!(bench.take(id::BLOCK_HEADERS, request_id, &[]), Incoming::Response { .. }));
    assert!(bench.request(id::GET_BLOCK_HEADERS).is_ok());
    let left: Vec<_> = bench.requests.close().collect();
    assert!(left.len() == limits::REQUESTS_OUT_MAX && !left.contains(&command));
    assert!(left.is_sorted());
}

#[test]
fn a_peer_may_repeat_its_ids() {
    // Hive's SameRequestID and ZeroRequestID.
    let mut bench = Bench::new(69);
    for (message, request_id) in [(3, 0), (3, 0), (5, 0), (3, u64::MAX)] {
        let got = bench.take(message, request_id, &[0xc0]);
        assert!(matches!(got, Incoming::Request { request_id: id, .. } if id == request_id));
    }
    assert_eq!(bench.requests.answer(1, id::GET_BLOCK_HEADERS), Err(CommandError::UnknownRequest));
    for wrong in [id::GET_RECEIPTS, id::BLOCK_HEADERS, 99] {
        assert_eq!(
            bench.requests.answer(0, wrong),
            Err(CommandError::UnknownMessage),
            "it is open, with another message"
        );
    }
    for _ in 0..2 {
        assert_eq!(bench.requests.answer(0, 3), Ok(4));
        assert_eq!(bench.requests.answer(0, 3), Ok(4), "until it has been sent");
        bench.requests.answered(0, 3);
    }
    assert_eq!(bench.requests.answer(0, 3), Err(CommandError::UnknownMessage), "what is open has another message");
    assert_eq!(bench.requests.answer(0, 5), Ok(6));
    bench.requests.answered(0, 5);
    assert_eq!(bench.requests.answer(0, 5), Err(CommandError::UnknownRequest));
}

#[test]
fn without_room_a_request_of_the_peer_is_a_fault_and_other_messages_are_not() {
    let mut bench = Bench::new(69);
    for i in 0..3 {
        assert!(matches!(bench.take(3, i, &[0xc0]), Incoming::Request { .. }));
    }
    assert_eq!(bench.requests.theirs(), 3);
    let request = payload(0, &[0xc0]);
    let now = bench.now();
    assert_eq!(
        bench.requests.handle_message(now, 3, &request, 0, &mut Work::default()),
        Incoming::Fault(Fault::Overrun)
    );
    assert_eq!(
        bench.requests.handle_message(now, id::TRANSACTIONS, &[0xc0], 0, &mut Work::default()),
        Incoming::Announcement
    );
    assert!(matches!(bench.take(3, 0, &[0xc2, 0xff]), Incoming::Fault(Fault::Message(_))));
    assert_eq!(bench.requests.theirs(), 3, "a malformed request is not open");
    bench.requests.answered(1, 3);
    assert_eq!(bench.requests.theirs(), 2);
}

#[test]
fn a_message_is_what_its_version_says() {
    for version in 66..=72 {
        let mut bench = Bench::new(version);
        for id in 0..40 {
            let got = bench.handle(id, &[0xc0]);
            let expected = match eth::role(version, id) {
                None => Incoming::Fault(Fault::UnknownMessage),
                Some(Role::Forbidden) => Incoming::Fault(Fault::ForbiddenMessage),
                Some(Role::Status) => Incoming::Status,
                Some(Role::Request { .. }) => Incoming::Fault(Fault::Message(DecodeError::MissingField)),
                Some(Role::Response) => UNSOLICITED,
                Some(Role::Announcement) => Incoming::Announcement,
            };
            assert_eq!(got, expected, "eth/{version} {id:#x}");
        }
    }
}

proptest! {
    /// Against the plainest model: each request ends exactly once, in one of three ways.
    #[test]
    fn every_request_ends_once(steps in proptest::collection::vec((0u8..4, any::<u16>()), 0..200)) {
        let mut bench = Bench::new(69);
        let mut open: Vec<(u64, CommandId)> = Vec::new();
        let mut ended = Vec::new();
        for (step, pick) in steps {
            match step {
                0 => match bench.request(id::GET_BLOCK_HEADERS) {
                    Ok(asked) => open.push(asked),
                    Err(error) => prop_assert!(error == CommandError::Busy && open.len() == limits::REQUESTS_OUT_MAX),
                },
                1 if !open.is_empty() => {
                    let (request_id, expected) = open.remove(usize::from(pick) % open.len());
                    match bench.take(id::BLOCK_HEADERS, request_id, &[0xc0]) {
                        Incoming::Response { command, .. } => {
                            prop_assert_eq!(command, expected);
                            ended.push(command);
                        }
                        other => prop_assert!(false, "{:?}", other),
                    }
                }
                2 => {
                    bench.advance(Duration::from_millis(u64::from(pick) / 8));
                    for command in bench.expired() {
                        open.retain(|(_, open)| *open != command);
                        ended.push(command);
                    }
                    prop_assert!(bench.requests.poll_timeout().is_none_or(|at| at > bench.now()));
                }
                _ => prop_assert_eq!(bench.take(id::BLOCK_HEADERS, u64::from(pick), &[0xc0]), UNSOLICITED),
            }
        }
        ended.extend(bench.requests.close());
        ended.sort_unstable();
        let all: Vec<_> = (1..=bench.commands).map(CommandId).collect();
        prop_assert_eq!(ended, all);
    }
}
