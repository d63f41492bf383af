//! A session under a list of actions of its peer, its embedder and time, against a model of a few fields.

use peerless::contract::{CommandError, ConnTimer, Context, EndReason, Fault, Outbound};
use peerless::crypto::Crypto;
use peerless::limits;
use peerless::rlpx::{Agreed, Anything, LocalHello, Session, Step};
use peerless::rng::{Rng, Seed};
use peerless::time::Instant;
use peerless::wire::p2p::{self, Capability, CapabilityTable, DisconnectReason, Hello};
use peerless::wire::schema::Role;
use std::collections::VecDeque;

use super::crypto::secret;
use super::handshake::context;
use super::remote::Remote;
use super::{Cheap, Choices, Memory, Reached, Target, frames};

/// Messages, pings, disconnects, timeouts.
pub const SESSION: Target = Target {
    name: "session",
    body: session,
    memory: Memory::machine(16),
    landmarks: &[
        "established",
        "plain",
        "message",
        "inflated",
        "ping answered",
        "our ping",
        "pong",
        "idle",
        "hello timeout",
        "disconnected",
        "we disconnect",
        "sent",
        "busy",
        "fault",
        "over",
        "tampered",
    ],
    generated: (2_000, 200),
};

const OURS: [&str; 4] = ["eth/68", "eth/69", "snap/1", "own/1"];

/// The expected state of the machine.
struct Model {
    phase: Phase,
    now: Instant,
    shared: Vec<(Capability, u64, u64)>,
    snappy: bool,
    heard: Instant,
    next_ping: Instant,
    /// When the pings were sent whose pongs have not come.
    open_pings: VecDeque<Instant>,
    pings_accepted: usize,
    sent: Vec<(u64, Vec<u8>)>,
    disconnect: Option<DisconnectReason>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Hello,
    Open,
    Over,
}

/// The expected result of a frame.
#[derive(PartialEq, Eq, Debug)]
enum Expected {
    Nothing,
    Step(Step, Vec<u8>),
}

struct Ours {
    context: Context,
    rng: Rng,
    local: LocalHello,
    session: Session,
    out: Outbound,
}

fn hello(version: u64, capabilities: &[Capability], key: [u8; 64]) -> Hello {
    Hello { version, client: "fuzz".into(), capabilities: capabilities.to_vec(), port: 0, key }
}

fn session(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let (ours, theirs) = frames::pair();
    let mut remote = Remote::open(theirs);
    let mut context = context();
    let mut rng = Seed::new([1; 32]).fork("session");
    let mut table = CapabilityTable::default();
    table.register("own/1".parse().expect("a capability"), 200);
    let offered = OURS.map(|name| name.parse().expect("a capability"));
    let our_key = Cheap.public_key(&secret(9));
    let version = if choices.once_in(8) { 4 } else { 5 };
    let local = LocalHello::new(hello(version, &offered, *our_key.as_bytes()), table).expect("can be said");
    let mut out = Outbound::default();
    let agreed = Agreed::new(remote.key(), ours);
    let session = Session::new(&mut context.cx(&mut rng), agreed, &local, &mut out);
    let mut ours = Ours { context, rng, local, session, out };
    let start = Instant::ZERO;
    let mut model = Model {
        phase: Phase::Hello,
        now: start,
        shared: Vec::new(),
        snappy: false,
        heard: start,
        next_ping: start,
        open_pings: VecDeque::new(),
        pings_accepted: 0,
        sent: Vec::new(),
        disconnect: None,
    };
    // Most inputs want to be past Hello.
    if !choices.once_in(4) {
        let (body, expected) = say_hello(&mut model, &mut remote, &ours, &mut choices, 0);
        deliver(&mut ours, &mut model, &mut remote, &body, expected, reached, &mut choices);
    }
    while !choices.is_empty() {
        match choices.below(12) {
            0..=5 => {
                let (body, expected) = peer_says(&mut model, &mut remote, &ours, &mut choices);
                deliver(&mut ours, &mut model, &mut remote, &body, expected, reached, &mut choices);
            }
            6 | 7 => send(&mut ours, &mut model, &mut choices, reached),
            8 | 9 => time(&mut ours, &mut model, &mut choices, reached),
            10 => {
                let n = choices.below(20_000);
                let bytes = ours.out.as_slice()[..n.min(ours.out.len())].to_vec();
                ours.out.consume(n);
                remote.hear(&bytes);
            }
            _ if choices.once_in(8) => {
                let reason = DisconnectReason::from_code(choices.byte() & 0x1f);
                let Ours { context, rng, session, out, .. } = &mut ours;
                session.disconnect(&mut context.cx(rng), out, reason);
                if model.phase != Phase::Over {
                    reached.note("we disconnect");
                    model.disconnect = Some(reason);
                }
                model.phase = Phase::Over;
            }
            _ => {}
        }
        assert_eq!(ours.session.is_over(), model.phase == Phase::Over);
        assert_eq!(ours.session.snappy(), model.snappy);
        let shared = ours.session.shared().iter().map(|shared| (shared.capability, shared.offset, shared.length));
        assert!(shared.eq(model.shared.iter().copied()));
        assert_eq!(ours.session.poll_timeout(), deadline(&model));
    }
    let bytes = ours.out.as_slice().to_vec();
    remote.hear(&bytes);
    assert!(remote.is_open(), "what a session says opens");
    what_was_heard(&mut remote, &model, reached);
}

fn deadline(model: &Model) -> Option<(Instant, ConnTimer)> {
    match model.phase {
        Phase::Hello => Some((Instant::ZERO + limits::HELLO_TIMEOUT, ConnTimer::Hello)),
        Phase::Open => {
            Some((model.heard + limits::IDLE_TIMEOUT, ConnTimer::Idle).min((model.next_ping, ConnTimer::Ping)))
        }
        Phase::Over => None,
    }
}

/// A Hello of some kind, and its expected result.
fn say_hello(
    model: &mut Model,
    remote: &mut Remote,
    ours: &Ours,
    choices: &mut Choices<'_>,
    kind: usize,
) -> (Vec<u8>, Expected) {
    let version = choices.pick(&[5, 5, 5, 4, 6, 3, 0]);
    let mut key = *remote.key().as_bytes();
    let offered: Vec<Capability> = (0..1 + choices.below(5))
        .map(|_| {
            choices.pick(&["eth/69", "eth/68", "snap/1", "own/1", "eth/67", "les/4"]).parse().expect("a capability")
        })
        .collect();
    match kind {
        1 => key = [0; 64],
        2 => key[0] ^= 1,
        _ => {}
    }
    let payload = hello(version, &offered, key).encode();
    let body = [&[0x80][..], &payload].concat();
    if model.phase == Phase::Open {
        return (body, fault(model, Fault::HelloTwice));
    }
    if model.phase == Phase::Over {
        return (body, Expected::Nothing);
    }
    let common: Vec<Capability> =
        OURS.iter().map(|name| name.parse().expect("a capability")).filter(|name| offered.contains(name)).collect();
    model.snappy = version.min(ours.local.hello().version) >= 5;
    remote.snappy = model.snappy;
    let found = match () {
        () if kind == 1 => Some(Fault::InvalidIdentity),
        () if kind == 2 => Some(Fault::UnexpectedIdentity),
        () if version < 4 => Some(Fault::IncompatibleVersion),
        () if common.is_empty() => Some(Fault::Useless),
        () => None,
    };
    if let Some(found) = found {
        return (body, fault(model, found));
    }
    // Of eth only the highest; by name; from 16 on.
    let mut offset = 16;
    model.shared.clear();
    for (name, length) in [("eth/69", 18), ("eth/68", 17), ("own/1", 200), ("snap/1", 8)] {
        let capability: Capability = name.parse().expect("a capability");
        let has_eth = capability.is_eth() && model.shared.iter().any(|(other, ..)| other.is_eth());
        if common.contains(&capability) && !has_eth {
            model.shared.push((capability, offset, length));
            offset += length;
        }
    }
    model.phase = Phase::Open;
    model.heard = model.now;
    model.next_ping = model.now + limits::PING_INTERVAL;
    (body, Expected::Step(Step::Hello, Vec::new()))
}

fn fault(model: &mut Model, fault: Fault) -> Expected {
    model.phase = Phase::Over;
    model.disconnect = fault.disconnect_reason();
    Expected::Step(Step::Fault(fault), Vec::new())
}

/// A frame's body of the peer, and its expected result.
fn peer_says(model: &mut Model, remote: &mut Remote, ours: &Ours, choices: &mut Choices<'_>) -> (Vec<u8>, Expected) {
    let kind = choices.below(16);
    let encode = |id: u64, payload: &[u8], snappy: bool| {
        let mut body = Vec::new();
        p2p::append_message_id(id, &mut body);
        if snappy {
            peerless::wire::snappy::Compressor::default().append(&[payload], &mut body);
        } else {
            body.extend_from_slice(payload);
        }
        body
    };
    if kind < 3 {
        return say_hello(model, remote, ours, choices, kind);
    }
    if model.phase == Phase::Open {
        model.heard = model.now;
    }
    let (phase, snappy) = (model.phase, model.snappy);
    let (body, id) = match kind {
        3..=5 => (encode(p2p::id::PING, &[0xc0], snappy), Some(p2p::id::PING)),
        6 => (encode(p2p::id::PONG, &[0xc0], snappy), Some(p2p::id::PONG)),
        7 if choices.once_in(4) => {
            let reason = DisconnectReason::from_code(choices.byte() & 0x1f);
            let body = encode(p2p::id::DISCONNECT, &reason.encode(), snappy && choices.flag());
            if phase == Phase::Over {
                return (body, Expected::Nothing);
            }
            model.phase = Phase::Over;
            return (body, Expected::Step(Step::Disconnected(reason), Vec::new()));
        }
        7 => (encode(4 + u64::from(choices.byte() % 12), choices.bytes(60), false), Some(4)),
        8 if choices.once_in(4) => (Vec::new(), None),
        8 => {
            // A base message that is too long for one.
            let body = encode(p2p::id::PONG, &vec![0; 2049], false);
            return match phase {
                Phase::Over => (body, Expected::Nothing),
                Phase::Hello => (body, fault(model, Fault::TooLarge)),
                Phase::Open => (body, fault(model, Fault::TooLarge)),
            };
        }
        9 if choices.once_in(4) => {
            // Compressed bytes that are none.
            let (_, offset, length) = model.shared.last().copied().unwrap_or((Capability::eth(1), 16, 1));
            let body = encode(offset + length - 1, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false);
            return match phase {
                Phase::Over => (body, Expected::Nothing),
                Phase::Hello => (body, fault(model, Fault::HelloExpected)),
                Phase::Open if snappy => (body, fault(model, Fault::TooLarge)),
                Phase::Open => {
                    let index = model.shared.len() - 1;
                    (body, Expected::Step(Step::Message { index, id: length - 1 }, vec![0xff; 6]))
                }
            };
        }
        _ => {
            let end = model.shared.last().map_or(40, |(_, offset, length)| offset + length);
            let id = 16 + choices.below(260) as u64 % (end - 16 + u64::from(choices.once_in(16)));
            let payload = choices.bytes(60).repeat(1 + usize::from(choices.byte()) % 64);
            let body = encode(id, &payload, snappy);
            let owner = model.shared.iter().position(|(_, offset, length)| (*offset..offset + length).contains(&id));
            return match (phase, owner) {
                (Phase::Over, _) => (body, Expected::Nothing),
                (Phase::Hello, _) if body.len() > limits::HELLO_BYTES_MAX + 1 => (body, fault(model, Fault::TooLarge)),
                (Phase::Hello, _) => (body, fault(model, Fault::HelloExpected)),
                (Phase::Open, None) => (body, fault(model, Fault::UnknownMessage)),
                (Phase::Open, Some(index)) => {
                    let (_, offset, _) = model.shared[index];
                    let id = id - offset;
                    // A removed message is a fault whatever it holds.
                    let is_forbidden = ours.session.shared()[index].role(id) == Some(Role::Forbidden);
                    let payload = if is_forbidden { Vec::new() } else { payload };
                    (body, Expected::Step(Step::Message { index, id }, payload))
                }
            };
        }
    };
    let expected = match (phase, id) {
        (Phase::Over, _) => Expected::Nothing,
        (_, None) => fault(model, Fault::EmptyFrame),
        (Phase::Hello, _) => fault(model, Fault::HelloExpected),
        (Phase::Open, Some(p2p::id::PING)) => {
            model.pings_accepted += 1;
            Expected::Nothing
        }
        (Phase::Open, Some(p2p::id::PONG)) => match model.open_pings.pop_front() {
            Some(sent_at) => Expected::Step(Step::Pong { sent_at }, Vec::new()),
            None => Expected::Nothing,
        },
        (Phase::Open, _) => Expected::Nothing,
    };
    (body, expected)
}

/// Hands a frame over in chunks, and compares.
fn deliver(
    ours: &mut Ours,
    model: &mut Model,
    remote: &mut Remote,
    body: &[u8],
    expected: Expected,
    reached: &mut Reached,
    choices: &mut Choices<'_>,
) {
    remote.say_body(body);
    let mut bytes = remote.out.as_slice().to_vec();
    remote.out.consume(bytes.len());
    let mut expected = expected;
    if choices.once_in(64) && expected == Expected::Nothing && model.phase == Phase::Open {
        reached.note("tampered");
        let at = bytes.len() - 1;
        bytes[at] ^= 1;
        expected = fault(model, Fault::FrameMac);
        // A ping in it was never read.
        model.pings_accepted -= usize::from(body.first() == Some(&2)).min(model.pings_accepted);
    }
    let mut got = Expected::Nothing;
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        let (mut chunk, later) = rest.split_at((1 + choices.below(4000)).min(rest.len()));
        rest = later;
        loop {
            let Ours { context, rng, local, session, out } = &mut *ours;
            let mut cx = context.cx(rng);
            let step = session.handle_bytes(&mut cx, local, &Anything, &mut chunk, out);
            let payload = cx.out.staged().to_vec();
            cx.out.discard_staged();
            if step == Step::Pending {
                assert!(chunk.is_empty() && payload.is_empty());
                break;
            }
            assert_eq!(got, Expected::Nothing, "one frame, one step");
            got = Expected::Step(step, payload);
        }
    }
    assert_eq!(got, expected);
    match got {
        Expected::Step(Step::Hello, _) => reached.note(if model.snappy { "established" } else { "plain" }),
        Expected::Step(Step::Message { .. }, payload) => {
            reached.note("message");
            if model.snappy && payload.len() > body.len() {
                reached.note("inflated");
            }
        }
        Expected::Step(Step::Pong { .. }, _) => reached.note("pong"),
        Expected::Step(Step::Fault(_), _) => reached.note("fault"),
        Expected::Step(Step::Disconnected(_), _) => reached.note("disconnected"),
        Expected::Step(Step::Pending, _) => unreachable!("not a step"),
        Expected::Nothing if model.phase == Phase::Over => reached.note("over"),
        Expected::Nothing => {}
    }
}

fn send(ours: &mut Ours, model: &mut Model, choices: &mut Choices<'_>, reached: &mut Reached) {
    let capability: Capability =
        choices.pick(&["eth/69", "eth/68", "snap/1", "own/1", "les/4"]).parse().expect("a capability");
    let id = u64::from(choices.byte() & 0x1f);
    let payload = match choices.byte() {
        ..0xf0 => choices.bytes(60).to_vec(),
        // Incompressible, so that a few fill the queue.
        salt => Seed::new([salt; 32]).fork("payload").bytes::<300_000>().to_vec(),
    };
    let waiting = ours.out.len();
    let Ours { context, rng, session, out, .. } = ours;
    let index = model.shared.iter().position(|(shared, ..)| *shared == capability).unwrap_or(usize::MAX);
    let (front, back) = payload.split_at(payload.len() / 2);
    let result = session.send(&mut context.cx(rng), out, index, id, &[front, back]);
    let shared = model.shared.get(index);
    let expected = match (model.phase, shared) {
        (Phase::Hello, _) => Err(CommandError::NotEstablished),
        (Phase::Over, _) => Err(CommandError::UnknownConn),
        (Phase::Open, None) => Err(CommandError::NotShared),
        (Phase::Open, Some((.., length))) if id >= *length => Err(CommandError::UnknownMessage),
        (Phase::Open, Some(_)) if payload.len() > session.shared()[index].bytes_max(id) => Err(CommandError::TooLarge),
        (Phase::Open, Some(_)) if waiting >= limits::OUTBOUND_BYTES_MAX => Err(CommandError::Busy),
        (Phase::Open, Some((_, offset, _))) => {
            model.sent.push((offset + id, payload));
            Ok(())
        }
    };
    assert_eq!(result, expected);
    match result {
        Ok(()) => reached.note("sent"),
        Err(CommandError::Busy) => reached.note("busy"),
        Err(_) => assert_eq!(out.len(), waiting, "nothing was queued"),
    }
}

fn time(ours: &mut Ours, model: &mut Model, choices: &mut Choices<'_>, reached: &mut Reached) {
    let span = choices.span();
    // Mostly to the deadline and no further, so that sessions live.
    let to = match ours.session.poll_timeout() {
        Some((at, _)) if choices.flag() => at,
        _ => model.now + span,
    };
    model.now = ours.context.advance(to.max(model.now));
    let reading = !choices.once_in(8);
    let frames_before = ours.context.stats.frames_out.count;
    let Ours { context, rng, session, out, .. } = ours;
    let is_written = out.is_empty();
    let ended = session.handle_timeout(&mut context.cx(rng), out, reading);
    let now = model.now;
    let expected = match model.phase {
        Phase::Hello => (now >= Instant::ZERO + limits::HELLO_TIMEOUT).then_some(ConnTimer::Hello),
        Phase::Open => {
            if !reading {
                model.heard = now;
            }
            (now >= model.heard + limits::IDLE_TIMEOUT).then_some(ConnTimer::Idle)
        }
        Phase::Over => None,
    };
    assert_eq!(ended, expected.map(EndReason::Timeout));
    let said = context.stats.frames_out.count - frames_before;
    if let Some(timer) = expected {
        reached.note(if timer == ConnTimer::Idle { "idle" } else { "hello timeout" });
        model.phase = Phase::Over;
        model.disconnect = Some(DisconnectReason::PingTimeout);
        assert_eq!(said, 1, "one final Disconnect");
    } else if model.phase == Phase::Open && now >= model.next_ping {
        model.next_ping = now + limits::PING_INTERVAL;
        let open = model.open_pings.len();
        assert_eq!(said == 1, open == 0 || (is_written && open < limits::PINGS_OPEN_MAX), "{open} pings are open");
        if said == 1 {
            model.open_pings.push_back(now);
            reached.note("our ping");
        }
    } else {
        assert_eq!(said, 0);
    }
    assert!(session.poll_timeout().is_none_or(|(at, _)| at > now), "deadlines advance");
}

/// All that the machine has said: Hello first, our messages whole and in order, no more pongs than pings, the end last.
fn what_was_heard(remote: &mut Remote, model: &Model, reached: &mut Reached) {
    let (mut sent, mut pongs, mut said, mut ended) = (model.sent.iter(), 0, 0, None);
    while !remote.heard.is_empty() {
        let (id, raw) = remote.heard[0].clone();
        let payload = remote.next_heard();
        assert_eq!(id == p2p::id::HELLO, said == 0, "Hello is first, and once");
        assert_eq!(ended, None, "nothing follows the final Disconnect");
        said += 1;
        match id {
            p2p::id::HELLO | p2p::id::PING => {}
            p2p::id::PONG => {
                pongs += 1;
                reached.note("ping answered");
            }
            p2p::id::DISCONNECT => {
                let plain = DisconnectReason::decode(&raw);
                ended = Some(payload.map_or(plain, |(_, payload)| DisconnectReason::decode(&payload)));
            }
            _ => assert_eq!(payload.as_ref(), sent.next(), "messages arrive whole and in order"),
        }
    }
    assert!(said >= 1 && sent.next().is_none());
    assert!(
        pongs <= model.pings_accepted && (pongs > 0) == (model.pings_accepted > 0),
        "{pongs} of {}",
        model.pings_accepted
    );
    assert_eq!(ended, model.disconnect);
}
