//! eth over one session: the exchange of Statuses and the requests in both directions, against lists that are searched.

use peerless::contract::{CommandError, CommandId, Fault, Work};
use peerless::eth::chain::Chain;
use peerless::eth::handshake::Verdict;
use peerless::eth::{EthHandshake, Policy};
use peerless::limits;
use peerless::protocols::{Incoming, Requests};
use peerless::rng::{Rng, Seed};
use peerless::testing::chain;
use peerless::time::Instant;
use peerless::wire::eth::{self, BlockRange, ChainState, Status, role};
use peerless::wire::schema::Role;

use super::{Choices, Memory, Reached, Target};

/// Statuses, requests, answers, late answers, announcements.
pub const ETH: Target = Target {
    name: "eth",
    body: eth_body,
    memory: Memory::machine(1),
    landmarks: &[
        "established",
        "mirrored",
        "refused",
        "asked",
        "answered",
        "late",
        "timed out",
        "busy",
        "their request",
        "we answer",
        "too many requests",
        "unsolicited",
        "range",
        "announcement",
        "malformed",
        "forbidden",
    ],
    generated: (2_000, 300),
};

struct Model {
    now: Instant,
    /// Ours: request id, message id of the answer, command, when.
    ours: Vec<(u64, u64, CommandId, Instant)>,
    late: Vec<(u64, u64)>,
    /// Late ones that are no longer known by their id.
    forgotten: usize,
    /// Answered already, in time or late.
    past: Vec<(u64, u64)>,
    /// Theirs: request id, message id.
    theirs: Vec<(u64, u64)>,
}

fn eth_body(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let version = choices.pick(&[69, 68, 66, 67, 70, 71, 72]);
    let chain = chain(1);
    let policy = if choices.once_in(4) { Policy::Mirror } else { Policy::Announce };
    let (handshake, ours) = EthHandshake::start(version, policy, &chain);
    assert_eq!(ours, (policy == Policy::Announce).then(|| chain.status(version)));
    if !status(handshake, version, policy, &chain, &mut choices, reached) {
        return;
    }
    let mut rng = Seed::new([2; 32]).fork("requests");
    let mut requests = Requests::new(eth::schema(version).expect("known"));
    let mut model = Model {
        now: Instant::ZERO,
        ours: Vec::new(),
        late: Vec::new(),
        forgotten: 0,
        past: Vec::new(),
        theirs: Vec::new(),
    };
    let mut commands = 0;
    while !choices.is_empty() {
        match choices.below(10) {
            0..=2 => {
                commands += 1;
                for _ in 0..if choices.once_in(16) { 70 } else { 1 } {
                    ask(&mut requests, &mut model, &mut rng, version, CommandId(commands), &mut choices, reached);
                }
            }
            3 | 4 => respond(&mut requests, &mut model, &mut choices, reached),
            5 => {
                let copies = if choices.once_in(32) { 1200 } else { 1 };
                if !their_request(&mut requests, &mut model, version, copies, &mut choices, reached) {
                    return;
                }
            }
            6 => we_answer(&mut requests, &mut model, version, &mut choices, reached),
            7 => other(&mut requests, version, model.now, &mut choices, reached),
            _ => time(&mut requests, &mut model, &mut choices, reached),
        }
        assert_eq!(requests.poll_timeout(), model.ours.first().map(|(.., at)| *at + limits::REQUEST_TIMEOUT));
        assert_eq!((requests.ours(), requests.theirs()), (model.ours.len(), model.theirs.len()));
    }
    assert!(requests.close().eq(model.ours.iter().map(|(_, _, command, _)| *command)), "every command ends");
}

/// The peer's first message; whether a session is established.
fn status(
    handshake: EthHandshake,
    version: u32,
    policy: Policy,
    chain: &Chain,
    choices: &mut Choices<'_>,
    reached: &mut Reached,
) -> bool {
    let mut theirs: Status = chain.status(version);
    let mut id = eth::id::STATUS;
    let mut payload = None;
    match choices.byte() {
        ..0xc0 => {}
        0xc0..0xc8 => theirs.network_id = choices.number(),
        0xc8..0xd0 => theirs.version = 60 + u32::from(choices.byte() & 15),
        0xd0..0xd8 => theirs.genesis[0] ^= choices.byte(),
        0xd8..0xe0 => theirs.fork_id.next = choices.number(),
        0xe0..0xe8 => theirs.fork_id.hash[0] ^= choices.byte(),
        0xe8..0xf0 => {
            if let ChainState::Range(BlockRange { earliest, .. }) = &mut theirs.chain {
                *earliest = choices.number();
            }
        }
        0xf0..0xf8 => id = u64::from(choices.byte()),
        _ => payload = Some(choices.bytes(100).to_vec()),
    }
    let payload = payload.unwrap_or_else(|| theirs.encode());
    match handshake.handle_message(chain, id, &payload) {
        Verdict::Accepted { theirs: accepted, reply } => {
            assert_eq!((*accepted, id), (Status::decode(version, &payload).expect("accepted"), eth::id::STATUS));
            assert_eq!(accepted.version, version, "a session speaks the version that was negotiated");
            match policy {
                Policy::Announce => {
                    reached.note("established");
                    assert_eq!((chain.judge(version, &accepted), reply), (Ok(()), None));
                }
                Policy::Mirror => {
                    reached.note("mirrored");
                    assert_eq!(reply, Some(accepted));
                }
            }
            true
        }
        Verdict::Refused { theirs: refused, why } => {
            reached.note("refused");
            assert_eq!(*refused, theirs);
            assert!(chain.judge(version, &refused) == Err(why) || policy == Policy::Mirror);
            false
        }
        Verdict::Fault(fault) => {
            reached.note("malformed");
            match fault {
                Fault::StatusExpected => assert_ne!(id, eth::id::STATUS),
                Fault::Message(error) => assert_eq!(Status::decode(version, &payload), Err(error)),
                other => panic!("{other:?}"),
            }
            false
        }
    }
}

#[allow(clippy::too_many_arguments)]
fn ask(
    requests: &mut Requests,
    model: &mut Model,
    rng: &mut Rng,
    version: u32,
    command: CommandId,
    choices: &mut Choices<'_>,
    reached: &mut Reached,
) {
    let id = message(choices);
    let result = requests.start_request(rng, id, limits::REQUESTS_OUT_MAX - model.ours.len());
    match role(version, id) {
        Some(Role::Request { answer }) if model.ours.len() < limits::REQUESTS_OUT_MAX => {
            let request = result.expect("there is room");
            let request_id = request.request_id();
            assert!(model.ours.iter().all(|(other, ..)| *other != request_id), "distinct");
            assert!(model.late.iter().all(|(other, _)| *other != request_id), "distinct");
            // What was not sent leaves no trace.
            if !choices.once_in(16) {
                requests.sent(model.now, request, command);
                model.ours.push((request_id, answer, command, model.now));
                reached.note("asked");
            }
        }
        Some(Role::Request { .. }) => {
            reached.note("busy");
            assert_eq!(result.err(), Some(CommandError::Busy));
        }
        _ => assert_eq!(result.err(), Some(CommandError::UnknownMessage)),
    }
}

fn message(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() {
        any @ 0xe0.. => u64::from(any & 0x1f),
        usual => [3u64, 5, 9, 0xf][usize::from(usual & 3)],
    }
}

fn body(request_id: u64, items: &[u8]) -> Vec<u8> {
    [eth::envelope(request_id, items.len()).as_slice(), items].concat()
}

/// An answer of the peer: to a request of ours, to a late one, or to none.
fn respond(requests: &mut Requests, model: &mut Model, choices: &mut Choices<'_>, reached: &mut Reached) {
    let all: Vec<(u64, u64)> =
        model.ours.iter().map(|(id, answer, ..)| (*id, *answer)).chain(model.late.iter().copied()).collect();
    let (mut request_id, mut answer) =
        all.get(choices.below(all.len())).copied().unwrap_or((7, eth::id::BLOCK_HEADERS));
    match choices.byte() {
        0xf8.. => request_id = choices.number(),
        0xf0.. => answer = eth::id::POOLED_TRANSACTIONS,
        0xd0.. => (request_id, answer) = model.past.last().copied().unwrap_or((request_id, answer)),
        _ => {}
    }
    let malformed = choices.once_in(16);
    let items: &[u8] = if malformed { &[0xc1] } else { &[0xc2, 0x80, 0x01, 0x05] };
    let payload = body(request_id, items);
    let incoming = requests.handle_message(model.now, answer, &payload, limits::REQUESTS_IN_MAX, &mut Work::default());
    let range = payload.len() - items.len()..payload.len();
    let open = model.ours.iter().position(|(id, expected, ..)| (*id, *expected) == (request_id, answer));
    let late = model.late.iter().position(|expected| *expected == (request_id, answer));
    match (open, late) {
        (Some(_), _) if malformed => {
            reached.note("malformed");
            assert!(matches!(incoming, Incoming::Fault(Fault::Message(_))));
        }
        (Some(open), _) => {
            reached.note("answered");
            let (_, _, command, at) = model.ours.remove(open);
            model.past.push((request_id, answer));
            assert_eq!(incoming, Incoming::Response { command, body: range, rtt: model.now.since(at) });
        }
        (None, Some(late)) => {
            reached.note("late");
            model.past.push(model.late.remove(late));
            assert_eq!(incoming, Incoming::Late);
        }
        (None, None) if model.forgotten > 0 => {
            model.forgotten -= 1;
            assert_eq!(incoming, Incoming::Late);
        }
        (None, None) => {
            reached.note("unsolicited");
            assert_eq!(incoming, Incoming::Fault(Fault::UnsolicitedResponse));
        }
    }
}

/// Requests of the peer; whether the session goes on.
fn their_request(
    requests: &mut Requests,
    model: &mut Model,
    version: u32,
    copies: usize,
    choices: &mut Choices<'_>,
    reached: &mut Reached,
) -> bool {
    let id = message(choices);
    let request_id = u64::from(choices.byte() & 7);
    let payload = if choices.once_in(16) { choices.bytes(20).to_vec() } else { body(request_id, choices.bytes(20)) };
    for _ in 0..copies {
        let incoming = requests.handle_message(
            model.now,
            id,
            &payload,
            limits::REQUESTS_IN_MAX - model.theirs.len(),
            &mut Work::default(),
        );
        let well_formed = eth::request_id(&payload).is_ok()
            && peerless::wire::rlp::check(&payload, peerless::wire::rlp::Bounds::MESSAGE).is_ok();
        match role(version, id) {
            Some(Role::Request { .. }) if model.theirs.len() >= limits::REQUESTS_IN_MAX => {
                reached.note("too many requests");
                assert_eq!(incoming, Incoming::Fault(Fault::Overrun));
                return false;
            }
            Some(Role::Request { .. }) if well_formed => {
                reached.note("their request");
                let (read, items) = eth::request_id(&payload).expect("well-formed");
                let expected = payload.len() - items.rest().len()..payload.len();
                assert_eq!(incoming, Incoming::Request { request_id: read, body: expected });
                model.theirs.push((read, id));
            }
            Some(Role::Request { .. }) => {
                reached.note("malformed");
                assert!(matches!(incoming, Incoming::Fault(Fault::Message(_))));
            }
            Some(Role::Forbidden) => {
                reached.note("forbidden");
                assert_eq!(incoming, Incoming::Fault(Fault::ForbiddenMessage));
            }
            _ => return true,
        }
    }
    true
}

fn we_answer(
    requests: &mut Requests,
    model: &mut Model,
    version: u32,
    choices: &mut Choices<'_>,
    reached: &mut Reached,
) {
    let (mut request_id, id) =
        model.theirs.get(choices.below(model.theirs.len())).copied().unwrap_or((3, eth::id::GET_BLOCK_HEADERS));
    if choices.once_in(8) {
        request_id = choices.number();
    }
    let result = requests.answer(request_id, id);
    match model.theirs.iter().position(|open| *open == (request_id, id)) {
        Some(open) => {
            reached.note("we answer");
            let Some(Role::Request { answer }) = role(version, id) else { panic!("it was a request") };
            assert_eq!(result, Ok(answer));
            requests.answered(request_id, id);
            model.theirs.remove(open);
        }
        None => {
            let is_open = model.theirs.iter().any(|(open, _)| *open == request_id);
            let error = if is_open { CommandError::UnknownMessage } else { CommandError::UnknownRequest };
            assert_eq!(result, Err(error));
            requests.answered(request_id, id);
        }
    }
}

fn other(requests: &mut Requests, version: u32, now: Instant, choices: &mut Choices<'_>, reached: &mut Reached) {
    let range = BlockRange { earliest: choices.number(), latest: choices.number(), latest_hash: [1; 32] };
    let mut handle =
        |id, payload: &[u8]| requests.handle_message(now, id, payload, limits::REQUESTS_IN_MAX, &mut Work::default());
    match choices.below(3) {
        0 => match handle(eth::id::BLOCK_RANGE_UPDATE, &range.encode()) {
            Incoming::Announcement => {
                reached.note("range");
                assert!(version >= 69, "which does not look into it");
            }
            incoming => assert_eq!((incoming, version < 69), (Incoming::Fault(Fault::UnknownMessage), true)),
        },
        1 => assert_eq!(handle(eth::id::STATUS, &[]), Incoming::Status),
        _ => {
            let id = u64::from(choices.byte());
            if role(version, id) == Some(Role::Announcement) && id != eth::id::BLOCK_RANGE_UPDATE {
                reached.note("announcement");
                let payload = if choices.once_in(4) { choices.bytes(20) } else { &[0xc2, 0xc0, 0x05] };
                let items = eth::schema(version).and_then(|schema| schema.items(id)).expect("it has a role");
                let expected = match items.check(payload, &mut 0) {
                    Ok(()) => Incoming::Announcement,
                    Err(error) => Incoming::Fault(Fault::Message(error)),
                };
                assert_eq!(handle(id, payload), expected);
            } else if role(version, id).is_none() {
                assert_eq!(handle(id, choices.bytes(20)), Incoming::Fault(Fault::UnknownMessage));
            }
        }
    }
}

fn time(requests: &mut Requests, model: &mut Model, choices: &mut Choices<'_>, reached: &mut Reached) {
    model.now = model.now + choices.span();
    while let Some(command) = requests.handle_timeout(model.now) {
        reached.note("timed out");
        let (request_id, answer, expected, at) = model.ours.remove(0);
        assert_eq!(command, expected);
        assert!(at + limits::REQUEST_TIMEOUT <= model.now);
        model.late.push((request_id, answer));
        if model.late.len() > limits::LATE_REQUESTS_MAX {
            model.late.remove(0);
            model.forgotten += 1;
        }
    }
    assert!(requests.poll_timeout().is_none_or(|at| at > model.now));
}
