//! What recording costs: two nodes, with and without a recorder, on traffic of three kinds.
//!
//! `cargo run --release -p peerless-trace --example cost`. Only the node's own work is compared: the system calls of real
//! sockets would make the recorder's share smaller.

#[path = "../tests/common/mod.rs"]
mod common;

use std::time::{Duration, Instant};

use common::{Host, START, UNIX, World, config, contact};
use peerless::contract::{Command, Input, Tap};
use peerless::crypto::Secp256k1;
use peerless::wire::p2p::Capability;
use peerless_trace::record::{Options, Recorder, Subject};

const ROUNDS: usize = 7;

fn world(is_recorded: bool) -> World {
    let configs = [config(1, None), config(2, Some(contact(1)))];
    let hosts = configs.into_iter().zip(1..).map(|(config, number)| {
        let tap: Box<dyn Tap> = if is_recorded && number == 1 {
            let (seed, crypto) = (common::seed(number), Secp256k1::new());
            let subject = Subject::new(&config, &seed, START, UNIX, &crypto);
            let path = std::env::temp_dir().join(format!("peerless-cost-{}.pcapng", std::process::id()));
            let _ = std::fs::remove_file(&path);
            let failed = Box::new(|error| panic!("{error}"));
            Box::new(Recorder::create(&path, &subject, Options::default(), failed).expect("a file"))
        } else {
            Box::new(())
        };
        Host::new(config, number, tap)
    });
    let mut world = World::new(hosts.collect());
    world.write_bytes = 64 << 10;
    world.run(40);
    let now = world.now;
    assert!(world.hosts[1].command(now, Command::Dial { contact: contact(1) }));
    world.run(400);
    world
}

/// Time that the first node spends on `count` pings from a stranger whose endpoint is proven.
fn datagrams(world: &mut World, count: usize) -> Duration {
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        world.now = world.now + Duration::from_millis(50);
        let now = world.now;
        world.hosts[1].command(now, Command::Ping { contact: contact(1) });
        let mut pings = Vec::new();
        while let Some(action) = world.hosts[1].node.poll_action() {
            if let peerless::contract::Action::Send { bytes, .. } = action {
                pings.push(bytes.to_vec());
            }
        }
        let from = contact(2).udp_addr();
        for bytes in pings {
            let start = Instant::now();
            world.hosts[0].handle(now, Input::Datagram { from, bytes: &bytes });
            world.drain(0);
            spent += start.elapsed();
        }
    }
    spent
}

/// Time that the first node spends on `count` messages of `size` bytes from the second.
fn messages(world: &mut World, count: usize, size: usize) -> Duration {
    let payload: Vec<u8> = (0..size as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let conn = world.hosts[1].established[0];
    let capability = Capability::eth(69);
    let theirs = world.hosts[0].established[0];
    let mut spent = Duration::ZERO;
    for _ in 0..count {
        world.now = world.now + Duration::from_millis(1);
        let now = world.now;
        assert!(world.hosts[1].command(now, Command::Send { conn, capability, id: 2, payload: &payload }));
        while world.hosts[1].node.poll_action().is_some() {}
        while !world.hosts[1].node.outbound(conn).is_empty() {
            let bytes = world.hosts[1].node.outbound(conn);
            let bytes = bytes[..bytes.len().min(64 << 10)].to_vec();
            world.hosts[1].node.handle(now, Input::Wrote { conn, n: bytes.len() });
            let start = Instant::now();
            world.hosts[0].handle(now, Input::Bytes { conn: theirs, bytes: &bytes });
            world.drain(0);
            spent += start.elapsed();
        }
    }
    spent
}

fn compare(name: &str, work: impl Fn(&mut World) -> Duration, things: usize) {
    let mut best = [Duration::MAX; 2];
    // By turns, so that both meet the same machine; the best of each.
    for _ in 0..ROUNDS {
        for (is_recorded, best) in [false, true].into_iter().zip(&mut best) {
            *best = (*best).min(work(&mut world(is_recorded)));
        }
    }
    let [plain, recorded] = best.map(|time| time.as_secs_f64() * 1e6 / things as f64);
    let share = (recorded - plain) / plain * 100.0;
    println!("{name:24} {plain:9.2} µs each, recorded {recorded:9.2} µs, {share:+.1} %");
}

fn main() {
    compare("discv4 pings", |world| datagrams(world, 2000), 2000);
    compare("messages of 200 bytes", |world| messages(world, 5000, 200), 5000);
    compare("messages of 4 KiB", |world| messages(world, 5000, 4 << 10), 5000);
    compare("messages of 1 MiB", |world| messages(world, 60, 1 << 20), 60);
}
