//! What recording costs a busy node on real sockets: CPU time, kernel included, with and without a recorder.
//!
//! `cargo run --release -p peerless-cli --example recording`. A node on real sockets is kept busy by another one with pings
//! and with messages of several sizes; the same work is done with a recorder and without, by turns. Linux only: the CPU
//! time of threads is read from `/proc`. `cargo bench -p peerless-trace` measures the same without sockets, and more finely.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use peerless::contract::{Command, CommandError, Event, Via};
use peerless::crypto::{Secp256k1, SecretKey};
use peerless::discv4;
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::rng::Seed;
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use peerless::wire::p2p::Capability;
use peerless_mio::{Driver, Listen, Sockets};
use peerless_trace::record::{Options, Recorder, Subject};

const ROUNDS: usize = 5;

/// Where a recording goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Recording {
    None,
    File,
}

/// What the other one does.
struct Load {
    name: &'static str,
    messages: u64,
    message_bytes: usize,
    pings: u64,
}

const LOADS: [Load; 5] = [
    Load { name: "pings", messages: 0, message_bytes: 0, pings: 5000 },
    Load { name: "messages of 200 bytes", messages: 100_000, message_bytes: 200, pings: 0 },
    Load { name: "messages of 4 KiB", messages: 50_000, message_bytes: 4 << 10, pings: 0 },
    Load { name: "messages of 256 KiB", messages: 1000, message_bytes: 256 << 10, pings: 0 },
    Load { name: "all together", messages: 20_000, message_bytes: 1 << 10, pings: 2000 },
];

fn driver(number: u8, recording: Recording) -> Driver {
    let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
    let network = Network { name: "cost".to_owned(), network_id: 1337, schedule };
    let secret = SecretKey::from_bytes([number; 32]).expect("a key");
    let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
    let sockets = Sockets::bind(&Listen::at(([127, 0, 0, 1], 0).into())).expect("free ports");
    config.addresses.set_ip([127, 0, 0, 1].into());
    config.addresses.udp = sockets.udp_addr().map_or(0, |addr| addr.port());
    config.addresses.tcp = sockets.tcp_addr().map_or(0, |addr| addr.port());
    config.discovery.discv4 = Some(discv4::Config::default());
    let mut recorder = None;
    let mut driver = Driver::new(sockets, |now, unix| {
        if recording == Recording::File {
            let (seed, crypto) = ([number; 32], Secp256k1::new());
            let subject = Subject::new(&config, &seed, now, unix, &crypto);
            let path = path();
            let _ = std::fs::remove_file(&path);
            let failed = Box::new(|error| panic!("{error}"));
            recorder = Some(Recorder::create(&path, &subject, Options::default(), failed).expect("a file"));
        }
        Node::new(config, [number; 32], now, unix)
    })
    .expect("a node");
    if let Some(recorder) = recorder {
        driver.set_tap(Box::new(recorder));
    }
    driver
}

fn path() -> std::path::PathBuf {
    std::env::temp_dir().join(format!("peerless-cost-{}.pcapng", std::process::id()))
}

fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number"))
}

/// The CPU time of the thread that writes the trace, if there is one.
fn writer_time() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let of = |folder: std::path::PathBuf| {
        let name = std::fs::read_to_string(folder.join("comm")).ok()?;
        let text = std::fs::read_to_string(folder.join("schedstat")).ok()?;
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        (name.trim() == "recorder").then(|| Duration::from_nanos(nanoseconds))
    };
    threads.filter_map(|thread| of(thread.ok()?.path())).sum()
}

/// The CPU time that the load takes from a node, without its start and its end; and that of the thread that writes.
fn measure(load: &Load, recording: Recording) -> (Duration, Duration) {
    let mut busy = driver(1, recording);
    let contact = busy.node().contact();
    let waker = busy.waker();
    let (is_over, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (stop, count) = (is_over.clone(), heard.clone());
    let thread = std::thread::spawn(move || {
        let mut start = None;
        while !stop.load(Ordering::Relaxed) {
            busy.turn(Some(Duration::from_millis(100)), |event| match event {
                Event::Established { .. } => start = Some(cpu_time()),
                Event::Message { .. } => drop(count.fetch_add(1, Ordering::Relaxed)),
                _ => {}
            })
            .expect("a turn");
        }
        (cpu_time() - start.expect("a session"), writer_time())
    });
    let mut other = driver(2, Recording::None);
    other.command(Command::Dial { contact }).expect("a dial");
    let mut rng = Seed::new([9; 32]).fork("load");
    let payload: Vec<u8> = (0..load.message_bytes.div_ceil(32)).flat_map(|_| rng.bytes::<32>()).collect();
    let (mut conn, mut pongs, mut sent, mut pinged) = (None, 0, 0, 0);
    while conn.is_none() || pongs < load.pings || heard.load(Ordering::Relaxed) < load.messages {
        let on_event = |event: Event<'_>| match event {
            Event::Established { conn: established, .. } => conn = Some(established),
            Event::Pong { .. } | Event::CallFailed { .. } => pongs += 1,
            _ => {}
        };
        other.turn(Some(Duration::from_millis(1)), on_event).expect("a turn");
        let Some(conn) = conn else { continue };
        while pinged < load.pings
            && pinged < pongs + 16
            && other.command(Command::Ping { via: Via::Discv4, contact }).is_ok()
        {
            pinged += 1;
        }
        while sent < load.messages {
            match other.command(Command::Send { conn, capability: Capability::eth(69), id: 2, payload: &payload }) {
                Ok(_) => sent += 1,
                Err(CommandError::Busy) => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    is_over.store(true, Ordering::Relaxed);
    waker.wake().expect("woken");
    thread.join().expect("no panic")
}

fn main() {
    println!("| load | CPU of the node | its thread | with the thread that writes |\n|---|---|---|---|");
    for load in &LOADS {
        let (mut plain, mut recorded, mut both) = (Duration::MAX, Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            plain = plain.min(measure(load, Recording::None).0);
            let (node, writer) = measure(load, Recording::File);
            recorded = recorded.min(node);
            both = both.min(node + writer);
        }
        let added = |with: Duration| (with.as_secs_f64() / plain.as_secs_f64() - 1.0) * 100.0;
        println!("| {} | {plain:.1?} | {:+.1} % | {:+.1} % |", load.name, added(recorded), added(both));
    }
    let _ = std::fs::remove_file(path());
}
