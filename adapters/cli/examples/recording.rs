//! What recording costs a busy node: its thread's CPU time, kernel included, with and without a recorder.
//!
//! `cargo run --release -p peerless-cli --example recording`. A node on real sockets is kept busy by another one with pings
//! and with messages of several sizes; the same work is done with a recorder and without, by turns. Linux only: the CPU
//! time of a thread is read from `/proc`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use peerless::contract::{Command, CommandError, Event};
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

fn driver(number: u8, is_recorded: bool) -> Driver {
    let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
    let network = Network { name: "cost".to_owned(), network_id: 1337, schedule };
    let secret = SecretKey::from_bytes([number; 32]).expect("a key");
    let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
    let sockets = Sockets::bind(&Listen::at(([127, 0, 0, 1], 0).into())).expect("free ports");
    config.ip = Some([127, 0, 0, 1].into());
    config.udp = sockets.udp_addr().map_or(0, |addr| addr.port());
    config.tcp = sockets.tcp_addr().map_or(0, |addr| addr.port());
    config.discovery = Some(discv4::Config::default());
    let mut recorder = None;
    let mut driver = Driver::new(sockets, |now, unix| {
        if is_recorded {
            let (seed, crypto) = ([number; 32], Secp256k1::new());
            let subject = Subject::new(&config, &seed, now, unix, &crypto);
            let path = std::env::temp_dir().join(format!("peerless-cost-{}.pcapng", std::process::id()));
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

fn cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    Duration::from_nanos(text.split(' ').next().and_then(|field| field.parse().ok()).expect("a number"))
}

/// The CPU time that the load takes from a node, without its start and its end.
fn measure(load: &Load, is_recorded: bool) -> Duration {
    let mut busy = driver(1, is_recorded);
    let contact = *busy.node().contact();
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
        cpu_time() - start.expect("a session")
    });
    let mut other = driver(2, false);
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
        while pinged < load.pings && pinged < pongs + 16 && other.command(Command::Ping { contact }).is_ok() {
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
    for load in &LOADS {
        let mut best = [Duration::MAX; 2];
        for _ in 0..ROUNDS {
            for (is_recorded, best) in [false, true].into_iter().zip(&mut best) {
                *best = (*best).min(measure(load, is_recorded));
            }
        }
        let [plain, recorded] = best.map(|time| time.as_secs_f64() * 1000.0);
        let share = (recorded - plain) / plain * 100.0;
        println!("{:24} {plain:8.1} ms of CPU, recorded {recorded:8.1} ms, {share:+.1} %", load.name);
    }
}
