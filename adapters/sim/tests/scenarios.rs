//! Every scenario with many seeds; and comparisons with published figures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use peerless_sim::campaign::{self, Subject};
use peerless_sim::scenario::truth::Truth;
use peerless_sim::scenario::{Faults, Malice, Plan, Report, Role, Scenario, demand, find};

const SEEDS_EACH: u64 = 26;

#[test]
fn two_hundred_seeds_pass() {
    let subjects = Subject::all();
    let runs = SEEDS_EACH * subjects.len() as u64;
    assert!(runs >= 200);
    let done = AtomicU64::new(0);
    let mut failures = Vec::new();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    campaign::run(
        &subjects,
        1,
        threads,
        Scenario::small_plan,
        |number| number < runs,
        |ran| {
            done.fetch_add(1, Ordering::Relaxed);
            failures.extend(ran.finding.as_ref().map(|found| format!("{} {}: {found:?}", ran.subject, ran.seed)));
        },
    );
    assert_eq!(done.into_inner(), runs, "every plan can be run");
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_plan_determines_the_run_on_any_number_of_threads() {
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

/// Two minutes after the last start every lookup finds all of the nearest 16.
#[test]
fn a_thousand_nodes_match_the_published_figures() {
    let scenario = find("discovery").unwrap();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(2);
    let plan = Plan { nodes: 1000, time: Duration::from_secs(240), threads, faults: Faults::None, ..scenario.plan(1) };
    let report = scenario.run(&plan).unwrap();
    assert!(report.passed(), "{report}");
    Truth::of(plan.nodes).unwrap().check(&report).unwrap_or_else(|off| panic!("{off}\n{report}"));
    assert!(report.lookups().count > 200, "{:?}", report.lookups());
    let settled = report.series.iter().filter(|sample| sample.t_s > 132.0 && sample.lookups > 0);
    assert!(settled.clone().count() > 20);
    settled.for_each(|sample| assert!(sample.found_percent == 100.0, "{sample:?}"));
    assert!(report.lookups().found_percent >= 99.9, "{:?}", report.lookups());
}

/// Compares with the same world and the same faults without hostile hosts.
#[test]
fn hostile_hosts_cost_honest_nodes_few_sessions() {
    let time = Duration::from_secs(400);
    let [hostile, honest] = [find("hostile").unwrap(), find("hostile").unwrap().cast(|_, _, _| Role::default())];
    let report = hostile.run(&Plan { nodes: 80, time, ..hostile.plan(7) }).unwrap();
    let twin = honest.run(&Plan { nodes: 80, time, ..honest.plan(7) }).unwrap();
    assert!(report.passed() && twin.passed(), "{report}\n{twin}");
    let figure = |name: &str| report.figures[name];
    // Rotation ends some of an honest network too.
    let kept = "honest sessions kept since healing, %";
    assert!(figure(kept) >= 0.75 * twin.figures[kept], "{} %, not {} %\n{report}", figure(kept), twin.figures[kept]);
    assert_eq!(figure("honest nodes without an honest peer"), 0.0, "{report}");
    let (with, without) = (figure("sessions of an honest node with honest ones"), twin.sessions.mean);
    println!("{with:.2} with liars, {without:.2} without");
    assert!(with > 0.75 * without, "{with:.2} with liars, {without:.2} without");
}

#[test]
fn a_failure_is_minimised_and_its_command_names_the_remaining_faults() {
    let all = find("mesh").unwrap();
    let seed = (1..).find(|seed| all.troubles(&all.small_plan(*seed)).len() > 5).unwrap();
    let plan = all.small_plan(seed);
    let culprit = all.troubles(&plan)[3].clone();
    let scenario = find("mesh").unwrap().always("no node is cut off", {
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
    assert_eq!(finding.faults, [culprit.to_string()]);
    assert!(finding.command.ends_with(&format!("--faults {}", culprit.number)), "{}", finding.command);
}

/// The instruments measure what these attacks do where they are not interfered with.
#[test]
fn hostile_actors_reach_their_targets() {
    let figures = |name: &str, seed| {
        let scenario = find(name).unwrap();
        scenario.run(&Plan { faults: Faults::None, ..scenario.small_plan(seed) }).unwrap()
    };
    let report = figures("flood", 1);
    let received = report.dropped.values().sum::<u64>();
    assert!(received > 4000 * 100 && report.figures["tables_before"] >= 10.0, "{report}");
    assert!(figures("middle", 1).figures["segments changed"] > 5.0);
}

/// Twelve hosts, of which three are hostile in one way: what honest nodes saw of it.
fn among_hostile(malice: Malice) -> Report {
    let scenario = Scenario::new("actors", "three of twelve hosts are hostile")
        .size(12, Duration::from_secs(300))
        .cast(move |_, host, _| Role { malice: (host.0 >= 9).then_some(malice), ..Role::default() })
        .always("no honest node bans another", demand::no_honest_faults())
        .demand("every honest node has a session", demand::sessions(1));
    let report = scenario.run(&Plan { faults: Faults::None, ..scenario.plan(1) }).unwrap();
    assert!(report.passed(), "{report}");
    report
}

/// Streams that say nothing, or too little, end by the deadline of a handshake; lies about neighbours cost queries and pings, and
/// fill no table.
#[test]
fn silent_slow_and_misleading_hosts_do_what_they_are_said_to() {
    let [silent, slow, misleading] = [Malice::Silent, Malice::Slow, Malice::Misleading].map(among_hostile);
    let timed_out = |report: &Report| report.sessions.ended.get("ended by us at handshake: handshake timeout").copied();
    assert!(timed_out(&silent) >= Some(100) && timed_out(&slow) >= Some(100), "{silent}{slow}");
    assert!(slow.traffic.stream_bytes > silent.traffic.stream_bytes + 126, "{slow}");
    assert_eq!((timed_out(&misleading), silent.traffic.datagrams_lost), (None, 0));
    assert!(misleading.traffic.datagrams_lost > 1000, "invented nodes are asked: {misleading}");
    assert!(misleading.lookups().queries > silent.lookups().queries + 2.0, "{misleading}");
    assert!(misleading.table().mean <= 11.0 && misleading.lookups().found_percent > 99.0, "{misleading}");
}
