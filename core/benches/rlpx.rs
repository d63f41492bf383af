//! The cost of handshake and frames relative to their primitives.
//!
//! Criterion's own figures come first, each group with its floor. Absolute times drift on shared machines, so a table
//! of ratios follows, measured by alternating subject and floor in one loop and taking the medians.
//!
//! The floor of a handshake is its curve operations, called on libsecp256k1 directly: three public keys, eight
//! agreements, one signature, one recovery. The floor of a frame of n bytes is Keccak over n + 32 bytes by `sha3`, four
//! more permutations, AES-256-CTR over n + 16 bytes in place, and two single AES blocks.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aes::Aes256Enc;
use aes::cipher::{BlockEncrypt, KeyInit, KeyIvInit, StreamCipher};
use criterion::{BenchmarkId, Criterion, Throughput};
use peerless::contract::cx::Context;
use peerless::contract::outbound::Outbound;
use peerless::crypto::{Crypto, PublicKey, Secp256k1, SecretKey};
use peerless::netfilter::NetFilter;
use peerless::rlpx::{Agreed, Frames, Handshake, Progress};
use peerless::rng::{Rng, Seed};
use peerless::time::UnixTime;
use sha3::Digest;

const FRAME_SIZES: [usize; 5] = [256, 1 << 10, 16 << 10, 256 << 10, 1 << 20];

/// A node's half of a handshake.
struct Side {
    context: Context,
    rng: Rng,
    secret: SecretKey,
    key: PublicKey,
    out: Outbound,
}

impl Side {
    fn new(label: &str) -> Self {
        let crypto = Arc::new(Secp256k1::new());
        let mut rng = Seed::new([7; 32]).fork(label);
        let secret = SecretKey::generate(&mut rng);
        let key = crypto.public_key(&secret);
        let now = peerless::time::Instant::ZERO;
        let context = Context::new(now, UnixTime::from_secs(0), NetFilter::default(), crypto);
        Self { context, rng, secret, key, out: Outbound::default() }
    }

    fn handle(&mut self, mut handshake: Handshake, bytes: &mut &[u8]) -> Box<Agreed> {
        let mut cx = self.context.cx(&mut self.rng);
        match handshake.handle_bytes(&mut cx, &self.secret, bytes, &mut self.out) {
            Progress::Done(agreed) => agreed,
            _ => panic!("the handshake failed"),
        }
    }
}

/// Both sides of a handshake in memory.
fn handshake(a: &mut Side, b: &mut Side) -> [Box<Agreed>; 2] {
    let initiator = Handshake::initiate(&mut a.context.cx(&mut a.rng), &a.secret, &a.key, b.key, &mut a.out);
    let b_agreed = b.handle(Handshake::receive(), &mut a.out.as_slice());
    let a_agreed = a.handle(initiator, &mut b.out.as_slice());
    a.out.consume(usize::MAX);
    b.out.consume(usize::MAX);
    [a_agreed, b_agreed]
}

/// The curve operations of a handshake alone.
struct CurveFloor {
    context: secp256k1::Secp256k1<secp256k1::All>,
    secret: secp256k1::SecretKey,
    point: secp256k1::PublicKey,
}

impl CurveFloor {
    fn new() -> Self {
        let context = secp256k1::Secp256k1::new();
        let secret = secp256k1::SecretKey::from_byte_array([0x42; 32]).unwrap();
        let point = secp256k1::SecretKey::from_byte_array([0x17; 32]).unwrap().public_key(&context);
        Self { context, secret, point }
    }

    fn run(&self) {
        for _ in 0..3 {
            black_box(black_box(&self.secret).public_key(&self.context));
        }
        for _ in 0..8 {
            black_box(secp256k1::ecdh::shared_secret_point(black_box(&self.point), &self.secret));
        }
        let message = secp256k1::Message::from_digest([0x33; 32]);
        let signature = self.context.sign_ecdsa_recoverable(message, black_box(&self.secret));
        black_box(self.context.recover_ecdsa(message, black_box(&signature)).unwrap());
    }
}

/// The primitives of a frame, in the state of an established session.
struct FrameFloor {
    keccak: sha3::Keccak256,
    state: [u64; 25],
    keystream: ctr::Ctr128BE<aes::Aes256>,
    aes: Aes256Enc,
    buffer: Vec<u8>,
}

impl FrameFloor {
    fn new(body_bytes: usize) -> Self {
        Self {
            keccak: sha3::Keccak256::new(),
            state: [0; 25],
            keystream: KeyIvInit::new(&[1; 32].into(), &[0; 16].into()),
            aes: Aes256Enc::new(&[2; 32].into()),
            buffer: vec![0; body_bytes + 32],
        }
    }

    fn run(&mut self) {
        let n = self.buffer.len() - 32;
        self.keystream.apply_keystream(&mut self.buffer[..n + 16]);
        self.keccak.update(&self.buffer);
        for _ in 0..4 {
            keccak::f1600(&mut self.state);
        }
        let mut block = [3; 16].into();
        self.aes.encrypt_block(&mut block);
        self.aes.encrypt_block(&mut block);
        black_box((&self.state, block, &self.buffer));
    }
}

/// A session's two ends and a body to send.
struct Session {
    crypto: Secp256k1,
    a: Frames,
    b: Frames,
    body: Vec<u8>,
    wire: Vec<u8>,
}

impl Session {
    fn new(body_bytes: usize) -> Self {
        let [a, b] = handshake(&mut Side::new("a"), &mut Side::new("b"));
        let body = (0..body_bytes).map(|i| (i * 31) as u8).collect();
        Self { crypto: Secp256k1::new(), a: a.frames, b: b.frames, body, wire: Vec::new() }
    }

    /// Seals the body `frames` times, copying it each time.
    fn seal(&mut self, frames: usize) {
        self.wire.clear();
        for _ in 0..frames {
            let start = self.a.sealer.begin(&mut self.wire);
            self.wire.extend_from_slice(&self.body);
            self.a.sealer.finish(&self.crypto, &mut self.wire, start).unwrap();
        }
        black_box(&self.wire);
    }

    /// Opens all sealed frames.
    fn open(&mut self) {
        let mut bytes = &self.wire[..];
        while !bytes.is_empty() {
            let body = self.b.opener.handle_bytes(&self.crypto, &mut bytes, self.body.len());
            black_box(body.unwrap().unwrap());
        }
    }
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn criterion_groups(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("handshake");
    let (mut a, mut b) = (Side::new("a"), Side::new("b"));
    let floor = CurveFloor::new();
    group.bench_function("both sides", |bencher| bencher.iter(|| handshake(&mut a, &mut b)));
    group.bench_function("floor", |bencher| bencher.iter(|| floor.run()));
    group.finish();

    let mut group = criterion.benchmark_group("frames");
    for n in FRAME_SIZES {
        group.throughput(Throughput::Bytes(n as u64));
        let mut session = Session::new(n);
        group.bench_function(BenchmarkId::new("seal and open", n), |bencher| {
            bencher.iter(|| {
                session.seal(1);
                session.open();
            });
        });
        group.bench_function(BenchmarkId::new("open", n), |bencher| {
            bencher.iter_custom(|iterations| {
                (0..iterations)
                    .map(|_| {
                        session.seal(1);
                        time(|| session.open())
                    })
                    .sum()
            });
        });
        let mut floor = FrameFloor::new(n);
        group.bench_function(BenchmarkId::new("floor", n), |bencher| bencher.iter(|| floor.run()));
    }
    group.finish();
}

fn median(mut samples: Vec<Duration>) -> f64 {
    samples.sort_unstable();
    samples[samples.len() / 2].as_secs_f64()
}

fn ratios() {
    println!("\nratios to the floor, subject and floor alternated, medians");
    let (mut a, mut b, floor) = (Side::new("a"), Side::new("b"), CurveFloor::new());
    let (mut subject, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..2000 {
        subject.push(time(|| drop(black_box(handshake(&mut a, &mut b)))));
        bare.push(time(|| floor.run()));
    }
    let (subject, bare) = (median(subject), median(bare));
    println!(
        "{:<24}{:>10.1} us{:>10.1} us   time {:.3} of the floor's",
        "handshake",
        subject * 1e6,
        bare * 1e6,
        subject / bare
    );

    println!("{:<24}{:>13}{:>13}{:>13}{:>9}{:>9}", "frames", "seal MB/s", "open MB/s", "floor MB/s", "seal", "open");
    for n in FRAME_SIZES {
        let (mut session, mut floor) = (Session::new(n), FrameFloor::new(n));
        // Each sample takes about 100 us, far more than the clock's resolution.
        let frames = (40_000 / n).max(1);
        let (mut seal, mut open, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..(100_000_000 / (n * frames)).min(2000) {
            seal.push(time(|| session.seal(frames)));
            bare.push(time(|| (0..frames).for_each(|_| floor.run())));
            open.push(time(|| session.open()));
        }
        let [seal, open, bare] = [seal, open, bare].map(|samples| median(samples) / frames as f64);
        let mb_per_s = |seconds: f64| n as f64 / seconds / 1e6;
        println!(
            "{:<24}{:>13.1}{:>13.1}{:>13.1}{:>9.3}{:>9.3}",
            format!("{n} bytes"),
            mb_per_s(seal),
            mb_per_s(open),
            mb_per_s(bare),
            bare / seal,
            bare / open
        );
    }
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    criterion_groups(&mut criterion);
    criterion.final_summary();
    // `cargo test --benches` only checks that this runs.
    if !std::env::args().any(|arg| arg == "--test") {
        ratios();
    }
}
