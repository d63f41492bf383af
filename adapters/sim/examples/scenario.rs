//! Runs a scenario: `scenario NAME FIRST_SEED SEEDS [NODES SECONDS]`, in its small size if there is no other.

use std::time::Duration;

use peerless_sim::scenario;

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "mesh".into());
    let mut number = || args.next().and_then(|arg| arg.parse::<u64>().ok());
    let (first, seeds) = (number().unwrap_or(1), number().unwrap_or(1));
    let size = number().zip(number());
    let scenario = scenario::find(&name).expect("a scenario's name");
    for seed in first..first + seeds {
        let mut plan = scenario.small_plan(seed);
        if let Some((nodes, seconds)) = size {
            plan = scenario.plan(seed);
            (plan.nodes, plan.time) = (nodes as u32, Duration::from_secs(seconds));
        }
        let report = scenario.run(&plan).expect("a plan that can be run");
        if seeds == 1 || !report.passed() {
            println!("{report}");
        }
    }
}
