//! The cost of discv5 handshakes and packets relative to their primitives: signatures, key agreements, AES-128-GCM.
//!
//! `cargo bench -p peerless --bench discv5` prints criterion's figures and, at the end, a table of ratios from a loop that
//! alternates machine and bare primitives, so that a busy machine slows both equally.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, KeyInit};
use criterion::Criterion;
use peerless::contract::{Action, CommandId, Context, DropReason};
use peerless::crypto::discv5::{MessageKey, Nonce, SessionKeys, id_proof_digest};
use peerless::crypto::{Crypto, NodeId, PublicKey, Secp256k1, SecretKey};
use peerless::discv5::{Config, Discv5, Local};
use peerless::kad::Received;
use peerless::netfilter::NetFilter;
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv5::{
    Challenge, Header, IdProof, Message, Packet, Payload, Route, seal_handshake, seal_ordinary, write_random,
};
use peerless::wire::enode::Contact;
use peerless::wire::enr::{Record, RecordBuilder};

const UNIX: UnixTime = UnixTime::from_secs(1_700_000_000);
/// Packets of a batch: fewer than the calls and the challenges that may be open.
const BATCH: u32 = 50;
/// Bytes of a large request.
const LARGE: [u8; 1000] = [7; 1000];

/// A machine, and a peer that has the same key at many ports of one address.
struct Fixture {
    crypto: Arc<Secp256k1>,
    own: NodeId,
    own_key: PublicKey,
    secret: SecretKey,
    key: PublicKey,
    id: NodeId,
    record: Record,
    machine: Discv5,
    context: Context,
    rng: Rng,
    /// The keys of a session with the peer at its first port.
    keys: SessionKeys,
    /// Datagrams of the next batch, with their sources.
    batch: Vec<(SocketAddr, Vec<u8>)>,
    sealed: Vec<u8>,
    signature: peerless::crypto::Signature,
    port: u16,
}

fn at(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn record(crypto: &Secp256k1, secret: &SecretKey) -> Record {
    RecordBuilder::default().endpoint(at(1), 1).sign(crypto, secret, 1).expect("small")
}

impl Fixture {
    fn new() -> Self {
        let crypto = Arc::new(Secp256k1::new());
        let [secret, own_secret] = [[7; 32], [8; 32]].map(|bytes| SecretKey::from_bytes(bytes).expect("a key"));
        let (key, own_key) = (crypto.public_key(&secret), crypto.public_key(&own_secret));
        let mut rng = Seed::new([1; 32]).fork("bench");
        let mut context = Context::new(Instant::ZERO, UNIX, NetFilter::default(), crypto.clone());
        let local = Local::new(&*crypto, own_secret.clone(), record(&crypto, &own_secret));
        let machine = Discv5::new(&mut context.cx(&mut rng), Config::default(), local);
        let agreement = crypto.ecdh(&secret, &own_key);
        let mut fixture = Self {
            own: own_key.node_id(),
            own_key,
            id: key.node_id(),
            key,
            record: record(&crypto, &secret),
            keys: SessionKeys::derive(&agreement, &[1], &key.node_id(), &own_key.node_id()),
            signature: crypto.sign(&secret, &[5; 32]).without_recovery_id(),
            crypto,
            secret,
            machine,
            context,
            rng,
            batch: Vec::new(),
            sealed: Vec::new(),
            port: 1000,
        };
        fixture.begin_session();
        fixture
    }

    /// A session with the peer at its first port: other handshakes may have evicted the one before.
    fn begin_session(&mut self) {
        let handshake = self.handshake(at(2));
        assert_eq!(self.deliver(at(2), &handshake), Received::Handled);
        self.sealed = self.seal(&Payload::TalkRequest { protocol: b"p", request: &LARGE });
    }

    /// Lets two seconds pass, after which budgets are full and calls have ended.
    fn rest(&mut self) {
        for step in 0..20 {
            self.context.advance(self.context.now() + Duration::from_micros(if step == 0 { 2_000_000 } else { 1 }));
            let _ = self.machine.handle_timeout(&mut self.context.cx(&mut self.rng));
            while self.context.out.pop().is_some() {}
        }
    }

    fn deliver(&mut self, from: SocketAddr, bytes: &[u8]) -> Received {
        let received = self.machine.handle_datagram(&mut self.context.cx(&mut self.rng), from, bytes).received;
        while self.context.out.pop().is_some() {}
        received
    }

    /// The first datagram that the machine sends next, after another that is handed in.
    fn reaction(&mut self, from: SocketAddr, bytes: &[u8]) -> Vec<u8> {
        let _ = self.machine.handle_datagram(&mut self.context.cx(&mut self.rng), from, bytes);
        self.next_sent()
    }

    fn next_sent(&mut self) -> Vec<u8> {
        let mut sent = Vec::new();
        while let Some(action) = self.context.out.pop() {
            if let Action::Send { bytes, .. } = action
                && sent.is_empty()
            {
                sent = bytes.to_vec();
            }
        }
        sent
    }

    fn route(&self) -> Route<'_> {
        Route { from: &self.id, to: &self.own }
    }

    fn random(&mut self) -> Vec<u8> {
        let (iv, nonce, mut bytes) = (self.rng.bytes(), self.rng.bytes(), Vec::new());
        write_random(&mut bytes, self.route(), iv, &nonce, &[1; 20]);
        bytes
    }

    fn seal(&mut self, payload: &Payload<'_>) -> Vec<u8> {
        let (iv, nonce, mut bytes) = (self.rng.bytes(), self.rng.bytes(), Vec::new());
        let message = Message { request_id: [1; 8].into(), payload: payload.clone() };
        seal_ordinary(&mut bytes, self.route(), iv, &nonce, &self.keys.initiator, &message);
        bytes
    }

    /// A handshake packet of the peer at an address, whose random packet is challenged.
    fn handshake(&mut self, from: SocketAddr) -> Vec<u8> {
        let random = self.random();
        let challenge = self.reaction(from, &random);
        let packet = Packet::unmask(&self.id, &challenge).expect("well-formed").expect("for the peer");
        let Header::Challenge(challenge) = packet.header() else { panic!("no challenge") };
        let ephemeral = SecretKey::generate(&mut self.rng);
        let ephemeral_key = self.crypto.public_key(&ephemeral).compressed();
        let agreement = self.crypto.ecdh(&ephemeral, &self.own_key);
        self.keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &self.id, &self.own);
        let digest = id_proof_digest(challenge.as_bytes(), &ephemeral_key, &self.own);
        let signature = self.crypto.sign(&self.secret, &digest).without_recovery_id();
        let proof = IdProof { signature, ephemeral_key: &ephemeral_key, record: Some(self.record.as_bytes()) };
        let (iv, nonce, mut bytes) = (self.rng.bytes(), self.rng.bytes(), Vec::new());
        let message = Message { request_id: [1; 8].into(), payload: Payload::Ping { enr_seq: 1 } };
        seal_handshake(&mut bytes, self.route(), iv, &nonce, &proof, &self.keys.initiator, &message);
        bytes
    }

    fn next_port(&mut self) -> SocketAddr {
        self.port = if self.port > 60_000 { 1000 } else { self.port + 1 };
        at(self.port)
    }

    // Prepared batches

    fn handshakes(&mut self, count: u32) {
        self.rest();
        let keys = self.keys.clone();
        self.batch = (0..count)
            .map(|_| {
                let from = self.next_port();
                (from, self.handshake(from))
            })
            .collect();
        self.keys = keys;
    }

    fn challenges(&mut self, count: u32) {
        self.rest();
        self.batch = (0..count)
            .map(|n| {
                let from = self.next_port();
                let contact = Contact::new(self.key, from.ip(), from.port(), 1);
                let mut cx = self.context.cx(&mut self.rng);
                self.machine.ping(&mut cx, CommandId(n.into()), contact).expect("there is room");
                let random = self.next_sent();
                let packet = Packet::unmask(&self.id, &random).expect("well-formed").expect("for the peer");
                let challenge = Challenge::new(self.rng.bytes(), packet.nonce(), self.rng.bytes(), 0);
                let mut bytes = Vec::new();
                challenge.write(&self.own, &mut bytes);
                (from, bytes)
            })
            .collect();
    }

    fn randoms(&mut self, count: u32) {
        self.rest();
        self.batch = (0..count).map(|_| (self.next_port(), self.random())).collect();
    }

    fn pings(&mut self, count: u32) {
        self.rest();
        self.begin_session();
        self.rest();
        self.batch = (0..count).map(|_| (at(2), self.seal(&Payload::Ping { enr_seq: 1 }))).collect();
    }

    fn unsolicited(&mut self, count: u32) {
        let ours = self.keys.clone();
        let from = self.next_port();
        let handshake = self.handshake(from);
        self.keys = ours;
        self.rest();
        self.batch = (0..count).map(|_| (self.next_port(), handshake.clone())).collect();
    }

    fn nothing(&mut self, _: u32) {}

    // Our work, once

    fn prepared(&mut self, index: usize) -> (SocketAddr, Vec<u8>) {
        let (from, bytes) = &mut self.batch[index];
        (*from, std::mem::take(bytes))
    }

    fn handle(&mut self, index: usize) {
        let (from, bytes) = self.prepared(index);
        assert_eq!(self.deliver(from, &bytes), Received::Handled);
    }

    fn answer_ping(&mut self, index: usize) {
        let (from, bytes) = self.prepared(index);
        let pong = self.reaction(from, &bytes);
        assert!(pong.len() > 80, "no challenge");
    }

    fn drop_unsolicited(&mut self, index: usize) {
        let (from, bytes) = self.prepared(index);
        assert_eq!(self.deliver(from, &bytes), Received::Dropped(DropReason::Unsolicited));
    }

    fn seal_large(&mut self, _: usize) {
        black_box(self.seal(&Payload::TalkRequest { protocol: b"p", request: &LARGE }));
    }

    fn open_large(&mut self, _: usize) {
        let packet = Packet::unmask(&self.own, &self.sealed).expect("well-formed").expect("for the machine");
        let mut plain = Vec::new();
        let plain = packet.open(&self.keys.initiator, &mut plain).expect("its key");
        black_box(Message::decode(plain).expect("a message"));
    }

    // The bare primitives

    fn bare_accept(&mut self, _: usize) {
        let crypto = &self.crypto;
        for _ in 0..2 {
            black_box(crypto.verify(&self.key, black_box(&[5; 32]), &self.signature));
            black_box(crypto.public_key_from_compressed(&self.key.compressed()));
        }
        black_box(crypto.ecdh(&self.secret, &self.own_key));
    }

    fn bare_make(&mut self, _: usize) {
        let crypto = &self.crypto;
        black_box(crypto.public_key(&self.secret));
        black_box(crypto.ecdh(&self.secret, &self.own_key));
        black_box(crypto.sign(&self.secret, black_box(&[5; 32])));
    }

    fn gcm(key: &MessageKey, bytes: usize) {
        let (nonce, mut plain): (Nonce, _) = ([3; 12], [9; 1280]);
        let cipher = Aes128Gcm::new(key.expose().into());
        let tag = cipher.encrypt_in_place_detached((&nonce).into(), &[1; 71], &mut plain[..bytes]);
        black_box((tag.expect("short"), plain));
    }

    fn bare_gcm_of_a_ping(&mut self, _: usize) {
        Self::gcm(&self.keys.initiator, 12);
        Self::gcm(&self.keys.recipient, 20);
    }

    fn bare_gcm_of_a_kilobyte(&mut self, _: usize) {
        Self::gcm(&self.keys.initiator, 1016);
    }
}

type Prepare = fn(&mut Fixture, u32);
type Work = fn(&mut Fixture, usize);

/// The name of our work, its preparation and itself; the name of the primitives and they alone.
const ROWS: [(&str, Prepare, Work, &str, Work); 7] = [
    ("handshake in", Fixture::handshakes, Fixture::handle, "2 verify, ecdh", Fixture::bare_accept),
    ("handshake out", Fixture::challenges, Fixture::handle, "key, ecdh, sign", Fixture::bare_make),
    ("challenge", Fixture::randoms, Fixture::handle, "gcm 2 x 16 B", Fixture::bare_gcm_of_a_ping),
    ("unsolicited", Fixture::unsolicited, Fixture::drop_unsolicited, "gcm 2 x 16 B", Fixture::bare_gcm_of_a_ping),
    ("ping answered", Fixture::pings, Fixture::answer_ping, "gcm 2 x 16 B", Fixture::bare_gcm_of_a_ping),
    ("seal 1 KB", Fixture::nothing, Fixture::seal_large, "gcm 1 KB", Fixture::bare_gcm_of_a_kilobyte),
    ("open 1 KB", Fixture::nothing, Fixture::open_large, "gcm 1 KB", Fixture::bare_gcm_of_a_kilobyte),
];

/// Measures the time of `times` calls of `work`, in batches.
fn time(fixture: &mut Fixture, prepare: Prepare, work: Work, times: u64) -> Duration {
    let (mut left, mut total) = (times, Duration::ZERO);
    while left > 0 {
        let count = u32::try_from(left).unwrap_or(u32::MAX).min(BATCH);
        prepare(fixture, count);
        let start = Clock::now();
        (0..count as usize).for_each(|index| work(fixture, index));
        total += start.elapsed();
        left -= u64::from(count);
    }
    total
}

/// Returns the medians of interleaved batches, in nanoseconds for one call.
fn interleaved(fixture: &mut Fixture, prepare: Prepare, ours: Work, bare: Work) -> (u128, u128) {
    let mut samples = [Vec::new(), Vec::new()];
    for _ in 0..201 {
        samples[0].push(time(fixture, prepare, ours, BATCH.into()));
        samples[1].push(time(fixture, Fixture::nothing, bare, BATCH.into()));
    }
    let [ours, bare] = samples.map(|mut samples| {
        samples.sort();
        samples[samples.len() / 2].as_nanos() / u128::from(BATCH)
    });
    (ours, bare)
}

fn main() {
    let mut fixture = Fixture::new();
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    for (name, prepare, ours, bare_name, bare) in ROWS {
        criterion.bench_function(name, |b| b.iter_custom(|times| time(&mut fixture, prepare, ours, times)));
        criterion.bench_function(&format!("{name}: {bare_name}"), |b| {
            b.iter_custom(|times| time(&mut fixture, Fixture::nothing, bare, times));
        });
    }
    criterion.final_summary();
    println!("{:<14} {:>9} {:>9} {:<16} {:>9} {:>7}", "", "ns", "a second", "bare", "ns", "ratio");
    for (name, prepare, ours, bare_name, bare) in ROWS {
        let (ours, bare) = interleaved(&mut fixture, prepare, ours, bare);
        let (ratio, rate) = (ours * 1000 / bare.max(1), 1_000_000_000 / ours.max(1));
        println!("{name:<14} {ours:>9} {rate:>9} {bare_name:<16} {bare:>9} {:>3}.{:03}", ratio / 1000, ratio % 1000);
    }
}
