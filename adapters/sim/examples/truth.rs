//! Compares networks without faults with published figures: `truth [NODES [SECONDS]]`, by default 1,000 and 10,000
//! nodes.
//!
//! Seconds are virtual; by default as many as all nodes need to start and to fill their tables.

use std::process::ExitCode;
use std::time::Duration;

use peerless_sim::scenario::truth::{KNOWN, Truth};
use peerless_sim::scenario::{Faults, Plan, find};

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u32>().expect("a number"));
    let (nodes, seconds) = (args.next(), args.next());
    let sizes: Vec<u32> = nodes.map_or_else(|| KNOWN[..2].iter().map(|truth| truth.nodes).collect(), |one| vec![one]);
    let scenario = find("discovery").expect("a scenario of this name");
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(2);
    let mut agrees = true;
    for nodes in sizes {
        let seconds = seconds.unwrap_or(240.max(nodes / 16));
        let time = Duration::from_secs(u64::from(seconds));
        let report = scenario.run(&Plan { nodes, time, threads, faults: Faults::None, ..scenario.plan(1) });
        let report = report.expect("a plan that can be run");
        println!("{report}");
        agrees &= report.passed();
        match Truth::of(nodes).map(|truth| truth.check(&report)) {
            None => println!("  nothing is known of networks of this size"),
            Some(Ok(())) => println!("  agrees with what is known"),
            Some(Err(off)) => {
                println!("  DISAGREES  {off}");
                agrees = false;
            }
        }
    }
    if agrees { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
