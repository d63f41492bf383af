//! The cost of a crawl relative to its public-key operations, which nothing can save.
//!
//! `cargo bench -p peerless-crawl --bench crawl` crawls a network in memory by each protocol, with real keys and packets, and
//! counts the processor time of the crawler alone; `-- NODES` is another size. The floor is what the same numbers of
//! signatures, recoveries, verifications, agreements and keys take when they are called bare in the same run.
#![allow(missing_docs, reason = "a program")]

use std::cell::Cell;
use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant as Clock};

use peerless::contract::Via;
use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature,
};
use peerless_crawl::testing::{Graph, Network};
use peerless_crawl::{Config, Crawler};

const NODES: u32 = 50_000;
/// As in public networks.
const SILENT_PERCENT: u32 = 60;
/// A public crawler's figures: 50,000 records and 20,000 checks in 55 s on a small machine (ethresear.ch/t/20962).
const THEIR_RECORDS: f64 = 50_000.0;
const THEIR_CHECKS: f64 = 20_000.0;
const THEIR_SECONDS: f64 = 55.0;

/// The operations that are counted.
const NAMES: [&str; 6] = ["sign", "recover", "verify", "ecdh", "public key", "decompress"];

/// The real primitives, counted.
#[derive(Default)]
struct Counted {
    real: Secp256k1,
    counts: [AtomicU64; 6],
}

impl Counted {
    fn count(&self, operation: usize) -> &Secp256k1 {
        self.counts[operation].fetch_add(1, Ordering::Relaxed);
        &self.real
    }
}

impl Crypto for Counted {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        self.count(4).derive_xy(secret)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        self.count(1).recover_xy(digest, signature)
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        self.real.is_on_curve(xy)
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        self.count(5).decompress_xy(compressed)
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        self.count(0).sign(secret, digest)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.count(2).verify(key, digest, signature)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.count(3).ecdh(secret, key)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        self.real.datagram_hash(bytes)
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        self.real.mac_update(mac, bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        self.real.mac_digest(mac)
    }
}

thread_local! {
    static SINCE: Cell<Option<Clock>> = const { Cell::new(None) };
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Counts the time between `true` and `false`.
fn around(begins: bool) {
    if begins {
        SINCE.set(Some(Clock::now()));
    } else if let Some(since) = SINCE.take() {
        SPENT.set(SPENT.get() + since.elapsed());
    }
}

/// The time of one bare operation of each kind.
fn bare() -> [Duration; 6] {
    const ROUNDS: u32 = 2000;
    let crypto = Secp256k1::new();
    let secret = SecretKey::from_bytes([7; 32]).expect("in range");
    let key = crypto.public_key(&secret);
    let compressed = key.compressed();
    let mut digest = [1; 32];
    let signature = crypto.sign(&secret, &digest);
    let plain = signature.without_recovery_id();
    let mut measure = |work: &mut dyn FnMut(&Digest)| {
        let begun = Clock::now();
        for round in 0..ROUNDS {
            digest[..4].copy_from_slice(&round.to_le_bytes());
            work(&digest);
        }
        begun.elapsed() / ROUNDS
    };
    [
        measure(&mut |digest| _ = black_box(crypto.sign(&secret, digest))),
        measure(&mut |digest| _ = black_box(crypto.recover(digest, &signature))),
        measure(&mut |digest| _ = black_box(crypto.verify(&key, digest, &plain))),
        measure(&mut |_| _ = black_box(crypto.ecdh(&secret, &key))),
        measure(&mut |_| _ = black_box(crypto.public_key(&secret))),
        measure(&mut |_| _ = black_box(crypto.public_key_from_compressed(&compressed))),
    ]
}

fn addr(n: u32) -> SocketAddr {
    let [a, b, c, _] = (0x0800_0000 + (n << 8)).to_be_bytes();
    SocketAddr::from(([a, b, c, 1], 30303))
}

fn crawl(graph: &Arc<Graph>, hosts: &Arc<dyn Crypto + Send + Sync>, via: Via) {
    let counted = Arc::new(Counted::default());
    let at = SocketAddr::from(([90, 0, 0, 1], 30303));
    let mut config = Config::new(SecretKey::from_bytes([9; 32]).expect("in range"));
    config.addresses.set_ip(at.ip());
    config.addresses.udp = at.port();
    (config.discv4, config.discv5) = (via == Via::Discv4, via == Via::Discv5);
    config.bootnodes = graph.bootnode().into_iter().collect();
    // Bound by the processor alone.
    config.limits.datagrams_per_second = 1_000_000;
    let crypto = counted.clone();
    let mut network = Network::new(graph, hosts, at, |now, unix| {
        Crawler::with_crypto(config, [1; 32], now, unix, crypto).expect("a small record")
    });
    network.set_around(around);
    SPENT.set(Duration::ZERO);
    let before = bare();
    assert!(network.run(Duration::from_secs(3600)), "it ends");
    let after = bare();
    let spent = SPENT.get().as_secs_f64();
    let progress = network.crawler.progress();
    let counts = progress.of(via);
    let checks = counts.answered + counts.silent;
    println!("\n{via}: {} nodes found, {} answered, {} silent", progress.found, counts.answered, counts.silent);
    let virtual_seconds = (network.now().as_micros() - 1_000_000) as f64 / 1e6;
    println!("  in the network's time       {virtual_seconds:.1} s");
    println!("  the crawler's processor     {spent:.2} s");
    println!("  records verified            {} ({:.0}/s)", progress.records, progress.records as f64 / spent);
    println!("  checks, answered or not     {checks} ({:.0}/s)", checks as f64 / spent);
    let stats = network.crawler.stats();
    let datagrams = stats.datagrams_in.count + stats.datagrams_out.count;
    println!("  datagrams in and out        {datagrams} ({:.0}/s)", datagrams as f64 / spent);
    let mut floor = 0.0;
    for (n, name) in NAMES.iter().enumerate() {
        let (count, each) = (counted.counts[n].load(Ordering::Relaxed), (before[n] + after[n]) / 2);
        floor += count as f64 * each.as_secs_f64();
        println!("    {name:<12} {count:>8} x {:.1} us", each.as_nanos() as f64 / 1000.0);
    }
    println!("  floor: these bare           {floor:.2} s");
    println!("  ratio to the floor          {:.3}", spent / floor);
    // The costs of a record and of a check cannot be told apart here: all of the time is held against each.
    let (records, checked) = (progress.records as f64 / THEIR_RECORDS, counts.answered as f64 / THEIR_CHECKS);
    println!(
        "  of their records and checks {:.2} and {:.2} in {:.3} of their time",
        records,
        checked,
        spent / THEIR_SECONDS
    );
}

fn main() {
    // Cargo passes `--bench`.
    let nodes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(NODES);
    let hosts: Arc<dyn Crypto + Send + Sync> = Arc::new(Secp256k1::new());
    let begun = Clock::now();
    let graph = Arc::new(Graph::new(&*hosts, 1, nodes, SILENT_PERCENT, addr));
    println!("{nodes} nodes, {} of them live, made in {:.1} s", graph.live(), begun.elapsed().as_secs_f64());
    println!("{} bytes of the crawler's memory for each node", Crawler::bytes_per_node());
    for via in [Via::Discv4, Via::Discv5] {
        crawl(&graph, &hosts, via);
    }
}
