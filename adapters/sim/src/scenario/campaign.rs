//! Campaigns: runs of many seeds, and for each failing seed the shortest list of faults that still fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Faults, Plan, Report, Scenario};

/// Most runs of a minimisation.
const MINIMISE_RUNS_MAX: u32 = 40;

/// A failed run, and its minimised form.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The original run.
    pub report: Report,
    /// The run with the fewest faults that fail.
    pub minimal: Report,
    /// The plan of the minimised run.
    pub plan: Plan,
    /// Runs of the minimisation.
    pub runs: u32,
}

/// Runs the seeds from `first` on with `threads` threads, each with its scenario in turn, as long as `go_on` returns
/// true for the number of the next run. `plan` makes the plan of a scenario and a seed; `tell` receives each run, and
/// findings.
pub fn run(
    scenarios: &[Scenario],
    first: u64,
    threads: usize,
    plan: impl Fn(&Scenario, u64) -> Plan + Sync,
    go_on: impl Fn(u64) -> bool + Sync,
    tell: impl FnMut(&Report, Option<&Finding>) + Send,
) {
    if scenarios.is_empty() {
        return;
    }
    let next = AtomicU64::new(0);
    let tell = Mutex::new(tell);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if !go_on(number) {
                        break;
                    }
                    let scenario = &scenarios[(number % scenarios.len() as u64) as usize];
                    let plan = plan(scenario, first + number / scenarios.len() as u64);
                    let Ok(report) = scenario.run(&plan) else { continue };
                    let finding = (!report.passed()).then(|| minimise(scenario, &plan, &report));
                    let mut tell = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    tell(&report, finding.as_ref());
                }
            });
        }
    });
}

/// Removes faults, halves first and then one by one, as long as the run fails in the same way.
pub fn minimise(scenario: &Scenario, plan: &Plan, report: &Report) -> Finding {
    let mut kept: Vec<u32> = scenario.troubles(plan).iter().map(|trouble| trouble.number).collect();
    let mut finding = Finding { report: report.clone(), minimal: report.clone(), plan: plan.clone(), runs: 0 };
    let mut part = kept.len();
    while part > 0 && finding.runs < MINIMISE_RUNS_MAX {
        let mut begin = 0;
        let mut shrank = false;
        while begin < kept.len() && finding.runs < MINIMISE_RUNS_MAX {
            let end = (begin + part).min(kept.len());
            let rest: Vec<u32> = kept[..begin].iter().chain(&kept[end..]).copied().collect();
            let plan = Plan { faults: Faults::Only(rest.clone()), ..plan.clone() };
            finding.runs += 1;
            match scenario.run(&plan) {
                Ok(shorter) if fails_alike(&shorter, report) => {
                    (kept, finding.minimal, finding.plan) = (rest, shorter, plan);
                    shrank = true;
                }
                _ => begin = end,
            }
        }
        if part == 1 && !shrank {
            break;
        }
        part = if part == 1 { 1 } else { part / 2 };
    }
    finding
}

fn fails_alike(a: &Report, b: &Report) -> bool {
    let kind = |report: &Report| report.failure.as_ref().map(|failure| failure.kind.clone());
    kind(a).is_some() && kind(a) == kind(b)
}
