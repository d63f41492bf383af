//! The cost of discv4 packets relative to their primitives: a signature, a recovery, a hash.
//!
//! `cargo bench -p peerless --bench discv4` prints criterion's figures and, at the end, a table of ratios from a loop
//! that alternates packet and bare primitive, so that a busy machine slows both equally.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use criterion::Criterion;
use peerless::contract::{Context, DropReason};
use peerless::crypto::{Crypto, Secp256k1, SecretKey, keccak256};
use peerless::discv4::{Config, Discv4, Local};
use peerless::kad::Received;
use peerless::netfilter::NetFilter;
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv4::{Datagram, Endpoint, Packet};

const UNIX: UnixTime = UnixTime::from_secs(1_700_000_000);

struct Fixture {
    crypto: Arc<Secp256k1>,
    secret: SecretKey,
    ping: Packet,
    datagram: Vec<u8>,
    refused: Vec<u8>,
    pong: Vec<u8>,
    machine: Discv4,
    context: Context,
    rng: Rng,
    from: SocketAddr,
}

impl Fixture {
    fn new() -> Self {
        let crypto = Arc::new(Secp256k1::new());
        let secret = SecretKey::from_bytes([7; 32]).expect("a key");
        let from: SocketAddr = "90.1.1.1:30303".parse().expect("an address");
        let endpoint = Endpoint::from(from);
        let expiration = UNIX.plus_secs(20);
        let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: Some(1) };
        let mut datagram = Vec::new();
        ping.seal(&*crypto, &secret, &mut datagram);
        let mut refused = datagram.clone();
        refused[0] ^= 1;
        let mut pong = Vec::new();
        Packet::Pong { to: endpoint, ping_hash: [3; 32], expiration, enr_seq: Some(1) }
            .seal(&*crypto, &secret, &mut pong);
        let mut rng = Seed::new([1; 32]).fork("bench");
        let mut context = Context::new(Instant::ZERO, UNIX, NetFilter::default(), crypto.clone());
        let local = Local::new(&*crypto, SecretKey::generate(&mut rng), endpoint, None);
        let machine = Discv4::new(&mut context.cx(&mut rng), Config::default(), local);
        let mut fixture = Self { crypto, secret, ping, datagram, refused, pong, machine, context, rng, from };
        fixture.exhaust();
        fixture
    }

    /// Uses up the budget of a subnet, and that for hashes of datagrams that are dropped: time stands still.
    fn exhaust(&mut self) {
        let endpoint = Endpoint::from(self.from);
        for n in 0..1000 {
            let expiration = UNIX.plus_secs(1000 + n);
            let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None };
            let mut bytes = Vec::new();
            ping.seal(&*self.crypto, &self.secret, &mut bytes);
            let from = SocketAddr::from(([90, 2, 2, 2], 30303));
            let _ = self.machine.handle_datagram(&mut self.context.cx(&mut self.rng), from, &bytes);
            while self.context.out.pop().is_some() {}
        }
    }

    fn dropped(&mut self, from: [u8; 4], bytes: fn(&Self) -> &[u8]) -> Received {
        let bytes = bytes(self).to_vec();
        let mut cx = self.context.cx(&mut self.rng);
        self.machine.handle_datagram(&mut cx, SocketAddr::from((from, 30303)), &bytes).received
    }

    fn over_budget(&mut self) {
        let received = self.dropped([90, 2, 2, 2], |fixture| &fixture.datagram);
        assert_eq!(received, Received::Dropped(DropReason::RateLimited));
    }

    fn unsolicited(&mut self) {
        let received = self.dropped([90, 1, 1, 1], |fixture| &fixture.pong);
        assert_eq!(received, Received::Dropped(DropReason::Unsolicited));
    }

    fn encode(&mut self) {
        let mut out = Vec::with_capacity(256);
        self.ping.seal(&*self.crypto, &self.secret, &mut out);
        black_box(out);
    }

    fn bare_sign(&mut self) {
        black_box(self.crypto.sign(&self.secret, black_box(&[5; 32])));
    }

    fn decode(&mut self) {
        let datagram = Datagram::split(&self.datagram).expect("a datagram");
        datagram.check_hash(&*self.crypto).expect("its hash");
        black_box((datagram.signer(&*self.crypto).expect("its signer"), datagram.decode().expect("its content")));
    }

    fn bare_recover(&mut self) {
        let datagram = Datagram::split(&self.datagram).expect("a datagram");
        black_box(self.crypto.recover(black_box(&keccak256(&[5; 32])), &datagram.signature));
    }

    fn refuse(&mut self) {
        let mut cx = self.context.cx(&mut self.rng);
        assert_eq!(self.machine.handle_datagram(&mut cx, self.from, &self.refused).received, Received::Unrecognised);
    }

    fn bare_keccak(&mut self) {
        black_box(keccak256(black_box(&self.datagram[32..])));
    }
}

type Work = fn(&mut Fixture);

const ROWS: [(&str, Work, &str, Work, u32); 5] = [
    ("ping encode", Fixture::encode, "sign", Fixture::bare_sign, 50),
    ("ping decode", Fixture::decode, "recover", Fixture::bare_recover, 50),
    ("refuse bad hash", Fixture::refuse, "keccak", Fixture::bare_keccak, 2000),
    ("over budget", Fixture::over_budget, "keccak", Fixture::bare_keccak, 2000),
    ("unsolicited", Fixture::unsolicited, "keccak", Fixture::bare_keccak, 2000),
];

/// Measures the time of `times` calls of `work`.
fn time(fixture: &mut Fixture, work: Work, times: u32) -> Duration {
    let start = Clock::now();
    (0..times).for_each(|_| work(fixture));
    start.elapsed()
}

/// Returns the medians of interleaved batches, in nanoseconds for one call.
fn interleaved(fixture: &mut Fixture, ours: Work, bare: Work, times: u32) -> (u128, u128) {
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..201 {
        samples[0].push(time(fixture, ours, times));
        samples[1].push(time(fixture, bare, times));
    }
    let [ours, bare] = samples.map(|mut samples| {
        samples.sort();
        samples[samples.len() / 2].as_nanos() / u128::from(times)
    });
    (ours, bare)
}

fn main() {
    let mut fixture = Fixture::new();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (name, ours, bare_name, bare, _) in ROWS {
        criterion.bench_function(name, |b| b.iter(|| ours(&mut fixture)));
        criterion.bench_function(bare_name, |b| b.iter(|| bare(&mut fixture)));
    }
    criterion.final_summary();
    println!("{:<16} {:>9} {:<8} {:>9} {:>7}", "", "ns", "bare", "ns", "ratio");
    for (name, ours, bare_name, bare, times) in ROWS {
        let (ours, bare) = interleaved(&mut fixture, ours, bare, times);
        let ratio = ours * 1000 / bare.max(1);
        println!("{name:<16} {ours:>9} {bare_name:<8} {bare:>9} {:>3}.{:03}", ratio / 1000, ratio % 1000);
    }
}
