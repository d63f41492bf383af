//! Runs a scenario in its small size: `scenario NAME FIRST_SEED SEEDS`.

use peerless_sim::scenario;

fn main() {
    let mut args = std::env::args().skip(1);
    let name = args.next().unwrap_or_else(|| "mesh".into());
    let mut number = |default: u64| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (first, seeds) = (number(1), number(1));
    let scenario = scenario::find(&name).expect("a scenario's name");
    for seed in first..first + seeds {
        let report = scenario.run(&scenario.small_plan(seed)).expect("a plan that can be run");
        if seeds == 1 || !report.passed() {
            println!("{report}");
        }
    }
}
