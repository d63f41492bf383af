//! Every scenario, by many seeds; and what is known of such networks from elsewhere.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peerless_sim::scenario::{Faults, Plan, Scenario, campaign, find, stock};

const SEEDS_EACH: u64 = 26;

#[test]
fn two_hundred_seeds() {
    let scenarios = stock();
    let runs = SEEDS_EACH * scenarios.len() as u64;
    assert!(runs >= 200);
    let done = AtomicU64::new(0);
    let mut failures = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    campaign::run(
        &scenarios,
        1,
        threads,
        Scenario::small_plan,
        |number| number < runs,
        |_, finding| {
            done.fetch_add(1, Ordering::Relaxed);
            failures.extend(finding.map(|finding| finding.minimal.to_string()));
        },
    );
    assert_eq!(done.into_inner(), runs, "every plan can be run");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_plan_decides_the_run_on_any_number_of_threads() {
    for name in ["hostile", "churn"] {
        let scenario = find(name).unwrap();
        let plan = scenario.small_plan(5);
        let [mut first, mut again, mut two] =
            [1, 1, 2].map(|threads| scenario.run(&Plan { threads, ..plan.clone() }).unwrap());
        for report in [&mut first, &mut again, &mut two] {
            report.wall_s = 0.0;
        }
        assert_eq!(first, again, "{name}: twice");
        assert_eq!(first, two, "{name}: on two threads");
    }
}

/// Sum over buckets of min(16, N / 2^(b + 1)) for the table, and 17.6 queries and 2.1 hops to the nearest node, are what is
/// known of Kademlia networks of this size with k = 16 and three requests at a time.
#[test]
fn a_thousand_nodes_are_as_others_have_found() {
    let scenario = find("discovery").unwrap();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(2);
    let plan = Plan { nodes: 1000, time: Duration::from_secs(240), threads, faults: Faults::None, ..scenario.plan(1) };
    let report = scenario.run(&plan).unwrap();
    println!("{report}");
    assert!(report.passed(), "{report}");
    assert!((report.table.ceiling - 111.0).abs() < 1.0, "{:?}", report.table);
    assert!(report.table.mean > 0.8 * report.table.ceiling, "{:?}", report.table);
    assert!(report.lookups.count > 200, "{:?}", report.lookups);
    assert!((report.lookups.queries / 17.6 - 1.0).abs() < 0.15, "{:?}", report.lookups);
    assert!((report.lookups.hops / 2.1 - 1.0).abs() < 0.15, "{:?}", report.lookups);
    // A node that has just been pinged for the first time may not have the proof when it is asked.
    assert!(report.lookups.found_percent > 98.0, "{:?}", report.lookups);
}

#[test]
fn a_failure_is_minimised_and_its_command_names_what_is_left() {
    let all = find("mesh").unwrap();
    let seed = (1..).find(|seed| all.troubles(&all.small_plan(*seed)).len() > 5).unwrap();
    let plan = all.small_plan(seed);
    let culprit = all.troubles(&plan)[3].clone();
    let scenario = find("mesh").unwrap().always("nobody is cut off", {
        let culprit = culprit.clone();
        move |run| {
            let is_there = match &run.plan.faults {
                Faults::All => true,
                Faults::Only(numbers) => numbers.contains(&culprit.number),
                Faults::None => false,
            };
            if is_there { Err(culprit.to_string()) } else { Ok(()) }
        }
    });
    let report = scenario.run(&plan).unwrap();
    let finding = campaign::minimise(&scenario, &plan, &report);
    assert_eq!(finding.minimal.faults, [culprit.to_string()]);
    assert!(finding.minimal.command.ends_with(&format!("--faults {}", culprit.number)), "{}", finding.minimal.command);
}
