//! Measures a world of nodes that discover each other: `discovery NODES SECONDS THREADS [MODE [PROTOCOL]]`.

use std::time::{Duration, Instant};

use peerless::node::Node;
use peerless_sim::crypto::Mode;
use peerless_sim::scenario::Protocols;
use peerless_sim::{HostSpec, Settings, World, scenery};

/// Resident memory, in KiB, if the system reports it.
fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// CPU time of all threads in seconds, if the system reports it: elapsed time depends on the load of the machine.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |default: u64| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (nodes, seconds, threads) = (number(1000), number(600), number(1));
    let crypto = args.next().map_or(Mode::SimMac, |mode| mode.parse().expect("a crypto mode"));
    let protocols = args.next().map_or(Protocols::V4, |protocols| protocols.parse().expect("v4, v5 or both"));
    let settings =
        Settings { seed: 1, crypto, threads: threads as usize, hosts_expected: nodes as usize, ..Settings::default() };
    let before = resident_kib();
    let started = Instant::now();
    let mut world: World<Node> = World::new(settings, scenery::discovery_by(protocols, 3));
    let mut spread = peerless_sim::mix::Stream::new(1, 0, 0);
    for _ in 0..nodes {
        let starts_in = Some(Duration::from_micros(spread.below(60_000_000)));
        world.add_host(HostSpec { starts_in, ..HostSpec::default() });
    }
    let parts = 12;
    for part in 1..=parts {
        let (began, processor) = (Instant::now(), processor_seconds());
        let events = world.events();
        world
            .run_until(peerless::time::Instant::from_micros(seconds * 1_000_000 * part / parts))
            .expect("no violation");
        let (wall, processor) = (began.elapsed().as_secs_f64(), processor_seconds() - processor);
        let known: usize = world
            .machines()
            .map(|(_, node)| {
                let discovery = node.discovery();
                let discv4 = discovery.discv4().map(|discv4| discv4.table().len());
                discv4.or(discovery.discv5().map(|discv5| discv5.table().len())).unwrap_or(0)
            })
            .sum();
        println!(
            "{} wall {wall:.2} s, processor {processor:.2} s, {:.0} times real time, {} events, {:.2} us each, table {:.1}, {} KiB a node",
            world.now(),
            (seconds as f64 / f64::from(parts as u32)) / wall,
            world.events() - events,
            processor * 1e6 / (world.events() - events) as f64,
            known as f64 / nodes as f64,
            (resident_kib() - before) / nodes,
        );
    }
    let wall = started.elapsed().as_secs_f64();
    println!(
        "{nodes} nodes, {seconds} s, {threads} threads, {crypto}: wall {wall:.1} s, processor {:.1} s, {:.1} times real time, {} events, \
         trace {:016x}, schedule {:016x}\n{:?}",
        processor_seconds(),
        seconds as f64 / wall,
        world.events(),
        world.trace_hash(),
        world.schedule_hash(),
        world.totals()
    );
}
