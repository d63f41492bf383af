//! Connections without a node: two of them over a pipe; the test is their owner.

use alloc::string::ToString;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::contract::{Action, CallFailure, CommandError, CommandId, Context, Refusal, StatusRefusal};
use crate::crypto::{Crypto, Secp256k1};
use crate::netfilter::NetFilter;
use crate::protocols::{Chain, Policy};
use crate::rng::{Rng, Seed};
use crate::time::{Duration, UnixTime};
use crate::wire::eth::{self, BlockRange};
use crate::wire::forkid::{ForkSchedule, Head, Network};
use crate::wire::p2p::{Capability, CapabilityTable, P2P_VERSION};
use crate::wire::schema::{Message, Role, Schema};
use crate::wire::{DecodeError, snap};

const ETH: Capability = Capability::eth(69);
const SNAP: Capability = Capability::snap(1);

/// A protocol of the embedder's own, with requests.
static OWN_SCHEMA: Schema = Schema::new(&[
    Message::new(Role::Request { answer: 1 }, 1000),
    Message::new(Role::Response, 1000),
    Message::new(Role::Announcement, 10),
]);

fn own() -> Capability {
    Capability::new("own", 1).unwrap()
}

fn raw() -> Capability {
    Capability::new("raw", 1).unwrap()
}

/// A connection with its owner.
struct Peer {
    secret: SecretKey,
    key: PublicKey,
    hello: LocalHello,
    chain: Chain,
    context: Context,
    rng: Rng,
    connection: Connection,
    /// Whether it admits its peer.
    admits: bool,
    verdicts: Vec<Verdict>,
}

fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32]).unwrap()
}

impl Peer {
    fn new(number: u8, network: u64, capabilities: &[Capability], remote: Option<u8>) -> Self {
        let crypto = Secp256k1::new();
        let secret_key = secret(number);
        let key = crypto.public_key(&secret_key);
        let mut table = CapabilityTable::default();
        table.register_schema(own(), &OWN_SCHEMA);
        table.register(raw(), 5);
        let (client, capabilities) = (number.to_string(), capabilities.to_vec());
        let hello = Hello { version: P2P_VERSION, client, capabilities, port: 0, key: *key.as_bytes() };
        let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
        let network = Network { name: "mine".into(), network_id: network, schedule };
        let contact =
            remote.map(|remote| Contact::new(crypto.public_key(&secret(remote)), [10, 0, 0, remote].into(), 0, 30303));
        let unix = UnixTime::from_secs(1_800_000_000);
        let mut context = Context::new(Instant::ZERO, unix, NetFilter::default(), Arc::new(crypto));
        let mut rng = Seed::new([number; 32]).fork("connection");
        let mut cx = context.cx(&mut rng);
        let id = ConnId(number.into());
        let connection = match contact {
            Some(contact) => Connection::dial(&mut cx, id, &contact),
            None => Connection::accept(&mut cx, id, SocketAddr::from(([10, 0, 0, 1], 50_000))),
        };
        Self {
            secret: secret_key,
            key,
            hello: LocalHello::new(hello, table).unwrap(),
            chain: Chain::new(network, Head { number: 100, ..Head::default() }, 0, [0; 32]),
            context,
            rng,
            connection,
            admits: true,
            verdicts: Vec::new(),
        }
    }

    fn with<R>(&mut self, work: impl FnOnce(&mut Connection, &mut Cx<'_>, &Local<'_>) -> R) -> R {
        let protocols = protocols::Local { chain: &self.chain, status: Policy::Announce };
        let Self { secret, key, hello, .. } = self;
        let local = Local { secret, key, hello, protocols, export_secrets: false };
        work(&mut self.connection, &mut self.context.cx(&mut self.rng), &local)
    }

    /// Acts on a verdict as an owner does.
    fn act(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
        match verdict {
            Verdict::Identified if self.admits => {
                let verdict = self.with(|connection, cx, local| connection.admit(cx, local));
                self.act(verdict);
            }
            Verdict::Identified => self.end(Side::Us, EndReason::Refused(Refusal::TooManyPeers)),
            Verdict::HandshakeReceived => {
                let verdict = self.with(|connection, cx, local| connection.answer_handshake(cx, local));
                self.act(verdict);
            }
            Verdict::End { by, why } => self.end(by, why),
            Verdict::Pending | Verdict::Established | Verdict::Charge(_) => {}
        }
    }

    fn end(&mut self, by: Side, why: EndReason) {
        let _ = self.with(|connection, cx, _| connection.end(cx, by, why));
    }

    fn handle_bytes(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let verdict = self.with(|connection, cx, local| connection.handle_bytes(cx, local, &mut bytes));
            self.act(verdict);
        }
    }

    fn written(&mut self, n: usize) -> Vec<u8> {
        let bytes = self.connection.outbound()[..n.min(self.connection.outbound().len())].to_vec();
        self.with(|connection, cx, _| {
            connection.flush(cx);
            connection.handle_wrote(cx, bytes.len());
        });
        bytes
    }

    fn advance(&mut self, by: Duration) {
        let now = self.context.now() + by;
        self.context.advance(now);
    }

    /// Lets each deadline that is due fire.
    fn timeouts(&mut self) {
        while self.connection.poll_timeout().is_some_and(|(at, _)| at <= self.context.now()) {
            let verdict = self.with(|connection, cx, _| connection.handle_timeout(cx));
            self.act(verdict);
        }
    }

    fn send(&mut self, capability: Capability, id: u64, payload: &[u8]) -> Result<(), CommandError> {
        self.with(|connection, cx, _| connection.send(cx, capability, id, &[payload]))
    }

    fn request(&mut self, command: u64, capability: Capability, id: u64) -> Result<(), CommandError> {
        self.with(|connection, cx, _| connection.request(cx, CommandId(command), capability, id, &[0xc0]))
    }

    fn respond(&mut self, capability: Capability, request_id: u64, id: u64) -> Result<(), CommandError> {
        self.with(|connection, cx, _| connection.respond(cx, capability, request_id, id, &[0xc1, 5]))
    }

    /// The events that were queued, popped.
    fn events<R>(&mut self, mut of: impl FnMut(&Event<'_>) -> Option<R>) -> Vec<R> {
        let mut found = Vec::new();
        while let Some(action) = self.context.out.pop() {
            if let Action::Emit(event) = &action {
                found.extend(of(event));
            }
        }
        found
    }

    fn ended(&mut self) -> End {
        let ends = self.events(|event| if let Event::Ended { end, .. } = event { Some(*end) } else { None });
        assert_eq!(ends.len(), 1, "a connection ends once");
        ends[0]
    }

    fn ready(&mut self) -> usize {
        self.events(|event| matches!(event, Event::ConnReady { .. }).then_some(())).len()
    }

    /// The peer's requests: capability, request id, message id.
    fn requests(&mut self) -> Vec<(Capability, u64, u64)> {
        self.events(|event| match event {
            Event::Request { capability, request_id, id, .. } => Some((*capability, *request_id, *id)),
            _ => None,
        })
    }
}

/// Two connected sides; nothing has been read yet.
fn pair(ours: &[Capability], theirs: &[Capability]) -> (Peer, Peer) {
    let (mut a, b) = (Peer::new(1, 7, ours, Some(2)), Peer::new(2, 7, theirs, None));
    a.with(|connection, cx, local| connection.handle_connected(cx, local));
    (a, b)
}

fn exchange(a: &mut Peer, b: &mut Peer) {
    for _ in 0..20 {
        let bytes = a.written(usize::MAX);
        b.handle_bytes(&bytes);
        let bytes = b.written(usize::MAX);
        a.handle_bytes(&bytes);
    }
    // A stream that one side has closed ends at the other.
    let closed = [&*a, &*b].map(|peer| matches!(peer.connection.state, State::Ended(_)));
    for (peer, other_closed) in [(a, closed[1]), (b, closed[0])] {
        if other_closed {
            let verdict = peer.with(|connection, cx, _| connection.handle_eof(cx));
            peer.act(verdict);
        }
    }
}

fn established(capabilities: &[Capability]) -> (Peer, Peer) {
    let (mut a, mut b) = pair(capabilities, capabilities);
    exchange(&mut a, &mut b);
    assert_eq!([a.connection.stage(), b.connection.stage()], [Stage::Established; 2]);
    a.events(|_| None::<()>);
    b.events(|_| None::<()>);
    (a, b)
}

#[test]
fn a_session_is_identified_admitted_and_established() {
    let (mut a, mut b) = pair(&[ETH], &[ETH]);
    assert_eq!((a.connection.stage(), b.connection.stage()), (Stage::Handshake, Stage::Handshake));
    exchange(&mut a, &mut b);
    for side in [&mut a, &mut b] {
        assert_eq!(side.connection.stage(), Stage::Established);
        side.verdicts.retain(|verdict| ![Verdict::Pending, Verdict::HandshakeReceived].contains(verdict));
        assert_eq!(side.verdicts, [Verdict::Identified, Verdict::Established]);
        assert_eq!(side.connection.protocols().unwrap().status().unwrap().network_id, 7);
        assert!(side.connection.wants_read());
    }
    assert_eq!(a.connection.peer(), Some(b.key.node_id()));
    let mut established = b.events(|event| if let Event::Established { id, .. } = event { Some(*id) } else { None });
    assert_eq!(established.pop(), Some(a.key.node_id()));
}

#[test]
fn without_a_handshake_of_a_protocol_admission_establishes() {
    let (mut a, mut b) = pair(&[SNAP, raw()], &[raw(), SNAP]);
    exchange(&mut a, &mut b);
    a.verdicts.retain(|verdict| *verdict != Verdict::Pending);
    assert_eq!(a.verdicts, [Verdict::Identified, Verdict::Established]);
    assert_eq!(a.connection.stage(), Stage::Established);
}

/// The stage in the end of a refused connection is Hello, not a later one.
#[test]
fn a_refused_peer_ends_at_the_stage_that_was_reached() {
    for capabilities in [&[ETH][..], &[SNAP], &[raw()]] {
        let (mut a, mut b) = pair(capabilities, capabilities);
        b.admits = false;
        exchange(&mut a, &mut b);
        let end = b.ended();
        assert_eq!((end.by, end.stage), (Side::Us, Stage::Hello), "{capabilities:?}");
        assert_eq!((b.connection.stage(), b.connection.is_ending()), (Stage::Hello, true));
        assert_eq!(a.ended().why, EndReason::Disconnect(DisconnectReason::TooManyPeers));
    }
    let (mut a, mut b) = (Peer::new(1, 7, &[ETH], Some(2)), Peer::new(2, 8, &[ETH], None));
    a.with(|connection, cx, local| connection.handle_connected(cx, local));
    exchange(&mut a, &mut b);
    let end = b.ended();
    assert_eq!((end.stage, end.why), (Stage::Status, EndReason::Status(StatusRefusal::Network(7))));
    let mut b = Peer::new(2, 7, &[ETH], None);
    b.handle_bytes(&[0xff; 400]);
    let end = b.ended();
    assert_eq!((end.stage, end.why), (Stage::Handshake, EndReason::Fault(Fault::Handshake)));
}

#[test]
fn no_byte_is_taken_until_an_identified_peer_is_admitted() {
    let (mut a, mut b) = pair(&[ETH], &[ETH]);
    let auth = a.written(usize::MAX);
    b.handle_bytes(&auth);
    let bytes = b.written(usize::MAX);
    a.handle_bytes(&bytes);
    let bytes = a.written(usize::MAX);
    let mut rest = &bytes[..];
    for _ in 0..3 {
        let verdict = b.with(|connection, cx, local| connection.handle_bytes(cx, local, &mut rest));
        assert_eq!(verdict, Verdict::Identified);
    }
    assert!(!rest.is_empty(), "a's Status waits behind its Hello");
    assert!(!b.connection.wants_read());
    assert_eq!(b.send(ETH, 2, &[0xc0]), Err(CommandError::NotEstablished));
    let verdict = b.with(|connection, cx, local| connection.admit(cx, local));
    assert_eq!(verdict, Verdict::Pending);
    assert_eq!(b.connection.stage(), Stage::Status);
    assert_eq!(b.with(|connection, cx, local| connection.handle_bytes(cx, local, &mut rest)), Verdict::Established);
}

#[test]
fn a_status_must_come_in_time() {
    let (mut a, mut b) = pair(&[ETH], &[ETH]);
    let auth = a.written(usize::MAX);
    b.handle_bytes(&auth);
    let bytes = b.written(usize::MAX);
    a.handle_bytes(&bytes);
    assert_eq!(a.connection.poll_timeout(), Some((Instant::ZERO + limits::STATUS_TIMEOUT, ConnTimer::Status)));
    a.written(usize::MAX);
    a.advance(limits::STATUS_TIMEOUT);
    a.timeouts();
    a.advance(limits::CLOSING_TIMEOUT);
    a.timeouts();
    assert_eq!(a.ended().stage, Stage::Status);
}

#[test]
fn each_write_extends_the_write_deadline() {
    let (mut a, _) = established(&[ETH]);
    let second = Duration::from_secs(1);
    a.send(ETH, 2, &[7; 3000]).unwrap();
    let noise: [u8; 3000] = Seed::new([3; 32]).fork("noise").bytes();
    a.send(ETH, 2, &noise).unwrap();
    a.with(|connection, cx, _| connection.flush(cx));
    let deadline = |side: &Peer| side.connection.deadlines.get(ConnTimer::Write);
    assert_eq!(deadline(&a), Some(Instant::ZERO + limits::WRITE_TIMEOUT));
    for seconds in 1..=3u32 {
        a.advance(19 * second);
        a.written(100);
        assert_eq!(deadline(&a), Some(Instant::ZERO + 19 * second * seconds + limits::WRITE_TIMEOUT));
    }
    a.with(|connection, cx, _| connection.handle_wrote(cx, 0));
    assert_eq!(
        deadline(&a),
        Some(Instant::ZERO + 57 * second + limits::WRITE_TIMEOUT),
        "a write of 0 bytes extends nothing"
    );
    a.written(usize::MAX);
    assert_eq!(deadline(&a), None, "nothing waits");
    a.send(ETH, 2, &[0xc0]).unwrap();
    a.with(|connection, cx, _| connection.flush(cx));
    a.advance(limits::WRITE_TIMEOUT);
    let mut fired = Vec::new();
    while let Some((at, _)) = a.connection.poll_timeout()
        && at <= a.context.now()
        && fired.len() < 9
    {
        fired.push(a.with(|connection, cx, _| connection.handle_timeout(cx)));
    }
    let why = EndReason::Timeout(ConnTimer::Write);
    assert!(fired.contains(&Verdict::End { by: Side::Us, why }), "{fired:?}");
}

/// Holds for sessions with and without eth.
#[test]
fn two_mebibytes_that_wait_stop_reading_and_refuse_messages_until_half_is_written() {
    for (capability, id) in [(ETH, 2), (raw(), 2), (SNAP, 3)] {
        let (mut a, _) = established(&[capability]);
        let noise = Seed::new([5; 32]).fork("noise").bytes::<400_000>();
        let mut sent = 0;
        while a.connection.wants_read() {
            assert!(a.connection.outbound().len() < limits::OUTBOUND_BYTES_MAX);
            a.send(capability, id, &noise).unwrap();
            sent += 1;
        }
        assert!(sent == 6 && a.connection.outbound().len() >= limits::OUTBOUND_BYTES_MAX, "{sent}");
        for _ in 0..3 {
            assert_eq!(a.send(capability, id, &noise), Err(CommandError::Busy));
        }
        while a.connection.outbound().len() - 10_000 >= limits::OUTBOUND_BYTES_MAX / 2 {
            a.written(10_000);
        }
        assert!(a.connection.wants_read());
        assert_eq!(a.ready(), 0, "half must be written");
        a.written(10_000);
        a.written(10_000);
        assert_eq!(a.ready(), 1, "it is told once");
        assert_eq!(a.send(capability, id, &noise), Ok(()));
        a.written(usize::MAX);
        assert_eq!(a.ready(), 0, "without a refusal nothing is told");
    }
}

#[test]
fn open_requests_of_the_peer_stop_reading_over_all_protocols() {
    let capabilities = [ETH, SNAP, own()];
    let (mut a, mut b) = established(&capabilities);
    let ids = [eth::id::GET_BLOCK_HEADERS, snap::id::GET_ACCOUNT_RANGE, 0];
    for i in 0..limits::REQUESTS_IN_HIGH_WATER {
        assert!(b.connection.wants_read(), "{i} requests are open");
        a.request(i as u64, capabilities[i % 3], ids[i % 3]).unwrap();
        exchange(&mut a, &mut b);
    }
    assert!(!b.connection.wants_read());
    let open = b.requests();
    assert_eq!(open.len(), limits::REQUESTS_IN_HIGH_WATER);
    let (capability, request_id, id) = open[4];
    assert_eq!(capability, SNAP);
    b.respond(capability, request_id, id).unwrap();
    assert!(b.connection.wants_read());
    assert_eq!(b.respond(capability, request_id, id), Err(CommandError::UnknownRequest), "it is answered");
}

#[test]
fn requests_of_ours_are_bounded_over_all_protocols_and_a_slot_is_told() {
    let (mut a, mut b) = established(&[ETH, SNAP]);
    for i in 0..limits::REQUESTS_OUT_MAX as u64 {
        let (capability, id) = if i % 2 == 0 { (ETH, 3) } else { (SNAP, 0) };
        a.request(i, capability, id).unwrap();
    }
    for capability in [(ETH, 3), (SNAP, 0), (ETH, 5)] {
        assert_eq!(a.request(99, capability.0, capability.1), Err(CommandError::Busy));
    }
    assert_eq!(a.send(ETH, 2, &[0xc0]), Ok(()), "messages without an answer still go");
    exchange(&mut a, &mut b);
    assert_eq!(a.ready(), 0);
    for (capability, request_id, id) in b.requests().into_iter().take(3) {
        b.respond(capability, request_id, id).unwrap();
        exchange(&mut a, &mut b);
    }
    assert_eq!(a.ready(), 1, "with the first answer, and not with the others");
    for command in 100..103 {
        a.request(command, SNAP, 2).unwrap();
    }
    assert_eq!(a.request(103, ETH, 3), Err(CommandError::Busy));
    a.advance(limits::REQUEST_TIMEOUT);
    a.timeouts();
    assert_eq!(a.ready(), 1, "a request that times out frees a slot too");
}

#[test]
fn answers_are_matched_in_each_protocol() {
    let (mut a, mut b) = established(&[ETH, SNAP, own()]);
    let commands = [(1, ETH, 3), (2, SNAP, 6), (3, own(), 0)];
    for (command, capability, id) in commands {
        a.request(command, capability, id).unwrap();
    }
    exchange(&mut a, &mut b);
    let open = b.requests();
    assert_eq!(
        open.iter().map(|(capability, _, id)| (*capability, *id)).collect::<Vec<_>>(),
        [(ETH, 3), (SNAP, 6), (own(), 0)]
    );
    for (capability, request_id, id) in open.into_iter().rev() {
        for wrong in [ETH, SNAP, own()].into_iter().filter(|other| *other != capability) {
            let refused = b.respond(wrong, request_id, id).unwrap_err();
            assert!(matches!(refused, CommandError::UnknownRequest | CommandError::UnknownMessage), "{refused}");
        }
        assert_eq!(
            b.respond(capability, request_id, id + 1),
            Err(CommandError::UnknownMessage),
            "it is open under {id}"
        );
        b.respond(capability, request_id, id).unwrap();
    }
    exchange(&mut a, &mut b);
    let mut answered = a.events(|event| match event {
        Event::Response { command, capability, id, body, .. } => Some((command.0, *capability, *id, body.to_vec())),
        _ => None,
    });
    answered.sort_unstable();
    let body = vec![0xc1, 5];
    assert_eq!(answered, [(1, ETH, 4, body.clone()), (2, SNAP, 7, body.clone()), (3, own(), 1, body)]);
    let served = Verdict::Charge(ScoreReason::Served);
    assert_eq!(a.verdicts.iter().filter(|verdict| **verdict == served).count(), 3);
    // An answer that was not asked for, in a protocol of the embedder's own.
    b.send(own(), 1, &[0xc2, 1, 0xc0]).unwrap();
    exchange(&mut a, &mut b);
    assert_eq!(a.ended().why, EndReason::Fault(Fault::UnsolicitedResponse));
}

#[test]
fn each_open_request_fails_when_the_connection_ends() {
    let failed = |side: &mut Peer| {
        let mut failed = side.events(|event| match event {
            Event::RequestFailed { command, capability, why: CallFailure::Closed, .. } => {
                Some((command.0, *capability))
            }
            _ => None,
        });
        failed.sort_unstable();
        failed
    };
    let open = [(1, ETH), (2, ETH), (3, SNAP), (4, own())];
    let ends: [fn(&mut Peer); 3] = [
        |side| side.end(Side::Us, EndReason::Disconnect(DisconnectReason::Requested)),
        |side| {
            let verdict = side.with(|connection, cx, _| connection.handle_broken(cx, IoFault::Reset));
            side.act(verdict);
        },
        |side| side.handle_bytes(&[0xff; 40]),
    ];
    for end in ends {
        let (mut a, _) = established(&[ETH, SNAP, own()]);
        for (command, capability) in open {
            a.request(command, capability, if capability == ETH { 3 } else { 0 }).unwrap();
        }
        end(&mut a);
        assert_eq!(failed(&mut a), open);
    }
}

#[test]
fn what_a_protocol_forbids_ends_the_session() {
    let inverted = BlockRange { earliest: 5, latest: 4, latest_hash: [1; 32] }.encode();
    let cases: [(u64, &[u8], Fault); 4] = [
        (eth::id::STATUS, &[0xc0], Fault::StatusTwice),
        (eth::id::NEW_BLOCK, &[0xc0], Fault::ForbiddenMessage),
        (eth::id::BLOCK_RANGE_UPDATE, &inverted, Fault::Message(DecodeError::BadValue)),
        (eth::id::BLOCK_HEADERS, &[0xc2, 1, 0xc0], Fault::UnsolicitedResponse),
    ];
    for (id, payload, fault) in cases {
        let (mut a, mut b) = established(&[ETH]);
        a.send(ETH, id, payload).unwrap();
        exchange(&mut a, &mut b);
        let end = b.ended();
        assert_eq!((end.stage, end.why), (Stage::Established, EndReason::Fault(fault)));
    }
    let range = BlockRange { earliest: 5, latest: 5, latest_hash: [1; 32] }.encode();
    let (mut a, mut b) = established(&[ETH]);
    a.send(ETH, eth::id::BLOCK_RANGE_UPDATE, &range).unwrap();
    exchange(&mut a, &mut b);
    let messages =
        b.events(|event| if let Event::Message { payload, .. } = event { Some(payload.to_vec()) } else { None });
    assert_eq!(messages, [range]);
}

#[test]
fn a_thousand_open_requests_end_the_session_over_all_protocols() {
    let (mut a, mut b) = established(&[ETH, SNAP]);
    for i in 0..=limits::REQUESTS_IN_MAX {
        let (capability, id) = if i % 2 == 0 { (ETH, 3) } else { (SNAP, 0) };
        // As messages: our own bound on requests does not hold for them.
        a.send(capability, id, &[0xc2, 1, 0xc0]).unwrap();
    }
    exchange(&mut a, &mut b);
    assert_eq!(b.ended().why, EndReason::Fault(Fault::Overrun));
}
