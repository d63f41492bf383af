//! A seed gives the same run in debug and release builds, on every machine, and from version to version unless nodes
//! are changed to behave differently: then the hashes change, and `PEERLESS_RENEW=1 cargo test -p peerless-sim --test
//! determinism` writes new ones.

use std::path::Path;
use std::time::Duration;

use peerless_sim::crypto::Mode;
use peerless_sim::scenario::{Plan, find};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/trace_hashes.txt");

/// Scenario, seed, primitives, processor: runs that cover all parameters of a plan.
const RUNS: [(&str, u64, Mode, Option<u32>); 6] = [
    ("discovery", 1, Mode::Real, None),
    ("mesh", 2, Mode::Memo, None),
    ("mesh", 2, Mode::SimMac, None),
    ("churn", 3, Mode::SimMac, None),
    ("nat", 4, Mode::SimMac, Some(10)),
    ("hostile", 5, Mode::SimMac, None),
];

fn hashes() -> String {
    let mut lines = String::new();
    for (name, seed, crypto, cpu) in RUNS {
        let scenario = find(name).unwrap();
        let plan = Plan { crypto, cpu, time: Duration::from_secs(180), ..scenario.small_plan(seed) };
        let report = scenario.run(&plan).unwrap();
        let cpu = cpu.map_or_else(|| "none".to_owned(), |times| times.to_string());
        lines += &format!("{name} {seed} {crypto} {cpu} {} {}\n", report.events, report.trace_hash);
    }
    lines
}

#[test]
fn golden_a_seed_gives_the_same_trace_everywhere() {
    let hashes = hashes();
    if std::env::var_os("PEERLESS_RENEW").is_some() {
        std::fs::write(Path::new(FILE), hashes).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(FILE).unwrap();
    assert_eq!(
        hashes, expected,
        "scenario, seed, primitives, processor, events, trace: a run came out otherwise. If that is meant, write them anew: \
         PEERLESS_RENEW=1 cargo test -p peerless-sim --test determinism"
    );
}
