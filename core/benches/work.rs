//! How many nanoseconds a unit of [`Work`] of each kind takes. None should be off by more than two times.
//!
//! `cargo bench -p peerless --features testing --bench work`

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant as Clock;

use peerless::contract::{Command, ConnId, Context, Event, Input, Outbound, Work};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::netfilter::NetFilter;
use peerless::rlpx::{Frames, Handshake, Progress};
use peerless::rng::{Rng, Seed};
use peerless::testing::{Net, START};
use peerless::time::Instant;
use peerless::wire::eth::id;
use peerless::wire::p2p::Capability;
use peerless::wire::rlp::{self, Bounds};
use peerless::wire::snappy::{self, Compressor};

/// One side of a handshake.
struct Side {
    secret: SecretKey,
    context: Context,
    rng: Rng,
}

impl Side {
    fn new(number: u8) -> Self {
        let context = Context::new(Instant::ZERO, START, NetFilter::default(), Arc::new(Secp256k1::new()));
        let secret = SecretKey::from_bytes([number; 32]).expect("in range");
        Self { secret, context, rng: Seed::new([number; 32]).fork("side") }
    }

    fn handle(&mut self, handshake: &mut Handshake, mut bytes: &[u8], out: &mut Outbound) -> Option<Frames> {
        match handshake.handle_bytes(&mut self.context.cx(&mut self.rng), &self.secret, &mut bytes, out) {
            Progress::Done(agreed) => Some(agreed.frames),
            Progress::Pending | Progress::Failed(_) => None,
        }
    }
}

/// Both sides' frames; and how long the recipient took.
fn handshake() -> (Frames, Frames, f64) {
    let (mut a, mut b) = (Side::new(1), Side::new(2));
    let crypto = Secp256k1::new();
    let (key, remote) = (crypto.public_key(&a.secret), crypto.public_key(&b.secret));
    let (mut auth, mut ack) = (Outbound::default(), Outbound::default());
    let mut initiator = Handshake::initiate(&mut a.context.cx(&mut a.rng), &a.secret, &key, remote, &mut auth);
    let begun = Clock::now();
    let theirs = b.handle(&mut Handshake::receive(), auth.as_slice(), &mut ack).expect("auth is valid");
    let nanoseconds = begun.elapsed().as_nanos() as f64;
    let ours = a.handle(&mut initiator, ack.as_slice(), &mut Outbound::default()).expect("ack is valid");
    (ours, theirs, nanoseconds)
}

/// The least time of a few runs, in nanoseconds, of `times` calls.
fn time(times: u32, mut work: impl FnMut()) -> f64 {
    let run = |_| {
        let begun = Clock::now();
        (0..times).for_each(|_| work());
        begun.elapsed().as_nanos() as f64 / f64::from(times)
    };
    (0..7).map(run).fold(f64::INFINITY, f64::min)
}

/// Frames with bodies of this size, sealed.
fn sealed(frames: &mut Frames, bytes: usize, count: usize) -> Vec<u8> {
    let (crypto, body, mut out) = (Secp256k1::new(), vec![7; bytes], Vec::new());
    for _ in 0..count {
        let start = frames.sealer.begin(&mut out);
        out.extend_from_slice(&body);
        frames.sealer.finish(&crypto, &mut out, start).expect("fits a frame");
    }
    out
}

/// Nanoseconds to open such frames, each.
fn open(bytes: usize, count: usize) -> f64 {
    let (mut ours, mut theirs, _) = handshake();
    let crypto = Secp256k1::new();
    let runs: Vec<Vec<u8>> = (0..7).map(|_| sealed(&mut ours, bytes, count)).collect();
    let mut least = f64::INFINITY;
    for wire in runs {
        let begun = Clock::now();
        let mut rest = &wire[..];
        while let Ok(Some(body)) = theirs.opener.handle_bytes(&crypto, &mut rest, 1 << 24) {
            black_box(body);
        }
        least = least.min(begun.elapsed().as_nanos() as f64 / count as f64);
    }
    least
}

fn print(kind: &str, unit: u64, nanoseconds: f64) {
    let each = nanoseconds / unit as f64;
    let verdict = if (0.5..=2.0).contains(&each) { "" } else { "  off by more than two" };
    println!("{kind:<14} {unit:>8} units  {nanoseconds:>12.2} ns  {each:>6.2} ns/unit{verdict}");
}

fn main() {
    let large = open(1 << 20, 4);
    print("wire byte", Work::WIRE_BYTE, large / f64::from(1 << 20));

    let mut noise = vec![0; 1 << 20];
    Seed::new([3; 32]).fork("noise").fill(&mut noise);
    let text: Vec<u8> = noise.iter().flat_map(|byte| [*byte, byte & 3, 0, 1]).collect();
    let inflate = |plain: &[u8]| {
        let mut compressed = Vec::new();
        Compressor::default().append(&[plain], &mut compressed);
        let mut out = vec![0; plain.len()];
        time(4, || snappy::inflate(black_box(&compressed), &mut out).expect("valid")) / plain.len() as f64
    };
    print("inflated zeros", Work::INFLATED_BYTE, inflate(&vec![0; 2 << 20]));
    print("inflated text", Work::INFLATED_BYTE, inflate(&text));
    // What does not compress is copied, and each of its bytes is one of the stream as well.
    let byte = large / f64::from(1 << 20);
    print("noise", Work::WIRE_BYTE + Work::INFLATED_BYTE, byte + inflate(&noise));

    let items = 1 << 14;
    let mut lists = vec![0xf9, (items >> 8) as u8, items as u8];
    lists.resize(3 + items, 0xc0);
    let nanoseconds = time(100, || {
        _ = rlp::check(black_box(&lists), Bounds { items_max: 1 << 20, ..Bounds::MESSAGE });
    });
    print("RLP empty list", Work::RLP_ITEM, nanoseconds / items as f64);

    // What a frame takes beside its bytes, and what it takes until it is an event.
    let small = open(16, 10_000);
    let frame = small - 80.0 * large / f64::from(1 << 20);
    print("frame", Work::FRAME, frame);
    print("event", Work::EVENT, message() - small);

    let nanoseconds = (0..50).map(|_| handshake().2).fold(f64::INFINITY, f64::min);
    print("handshake", Work::HANDSHAKE, nanoseconds);
}

/// Nanoseconds from the bytes of a small message to its event.
fn message() -> f64 {
    const COUNT: u32 = 2000;
    let (mut net, [one, two]) = Net::nodes(1);
    let [conn, theirs] = net.connect(one, two);
    let mut least = f64::INFINITY;
    for _ in 0..7 {
        let command = Command::Send { conn, capability: Capability::eth(69), id: id::TRANSACTIONS, payload: &[0xc0] };
        let wire = net.with(one, |node, now| {
            (0..COUNT).for_each(|_| {
                _ = node.command(now, command).expect("established");
            });
            let wire = node.outbound(conn).to_vec();
            node.handle(now, Input::Wrote { conn, n: wire.len() });
            wire
        });
        let nanoseconds = net.with(two, |node, now| {
            let begun = Clock::now();
            node.handle(now, Input::Bytes { conn: theirs, bytes: &wire });
            assert_eq!(drain(node, theirs), COUNT);
            begun.elapsed().as_nanos() as f64
        });
        least = least.min(nanoseconds / f64::from(COUNT));
    }
    least
}

fn drain(node: &mut peerless::node::Node, of: ConnId) -> u32 {
    let mut events = 0;
    while let Some(action) = node.poll_action() {
        if let peerless::contract::Action::Emit(Event::Message { conn, payload, .. }) = action
            && conn == of
        {
            black_box(payload);
            events += 1;
        }
    }
    events
}
