//! Campaigns: runs of many seeds, and for each failing seed the shortest list of faults that still fails.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::eclipse;
use crate::scenario::{self, Faults, Plan, Report, Scenario};

/// Most runs of a minimisation.
const MINIMISE_RUNS_MAX: u32 = 40;

/// The name of [`Subject::Eclipse`].
const ECLIPSE: &str = "eclipse";

/// What a campaign runs with each seed.
#[derive(Debug)]
pub enum Subject {
    /// A network of real nodes.
    Scenario(Box<Scenario>),
    /// One real node among scripted ones, in the size of [`eclipse::Plan::small`].
    Eclipse,
}

impl Subject {
    /// All of them.
    pub fn all() -> Vec<Self> {
        let scenarios = scenario::stock().into_iter().map(|scenario| Self::Scenario(Box::new(scenario)));
        scenarios.chain([Self::Eclipse]).collect()
    }

    /// The subject of a name.
    pub fn find(name: &str) -> Option<Self> {
        match name {
            ECLIPSE => Some(Self::Eclipse),
            _ => scenario::find(name).map(|scenario| Self::Scenario(Box::new(scenario))),
        }
    }

    /// Its name on the command line.
    pub fn name(&self) -> &str {
        match self {
            Self::Scenario(scenario) => scenario.name,
            Self::Eclipse => ECLIPSE,
        }
    }

    /// Runs one seed. `plan` makes the plan of a scenario. Returns `None` if that plan cannot be run.
    fn run(&self, seed: u64, plan: &impl Fn(&Scenario, u64) -> Plan) -> Option<Ran> {
        let subject = self.name().to_owned();
        match self {
            Self::Scenario(scenario) => {
                let plan = plan(scenario, seed);
                let report = scenario.run(&plan).ok()?;
                let finding = (!report.passed()).then(|| minimise(scenario, &plan, &report));
                Some(Ran { subject, seed, virtual_s: report.virtual_s, events: report.events, finding })
            }
            Self::Eclipse => {
                let plan = eclipse::Plan::small(seed);
                let report = eclipse::run(&plan, |_| ());
                let finding = report.check().err().map(|what| Finding {
                    what,
                    command: plan.command(),
                    faults: Vec::new(),
                    plan: None,
                    runs: 0,
                });
                let virtual_s = report.peace_s + report.time_s + 2.0 * plan.restart.as_secs_f64();
                Some(Ran { subject, seed, virtual_s, events: report.events, finding })
            }
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The subject's name.
    pub subject: String,
    /// The seed.
    pub seed: u64,
    /// The virtual time that it took, in seconds.
    pub virtual_s: f64,
    /// Its events.
    pub events: u64,
    /// What was found, if it failed.
    pub finding: Option<Finding>,
}

/// A failure, reduced to the fewest faults of the network.
#[derive(Clone, Debug)]
pub struct Finding {
    /// What failed.
    pub what: String,
    /// The command that repeats it.
    pub command: String,
    /// The faults that it needs.
    pub faults: Vec<String>,
    /// The plan of the reduced run of a scenario.
    pub plan: Option<Plan>,
    /// The runs that it took to reduce it.
    pub runs: u32,
}

impl Finding {
    fn new(report: &Report, plan: &Plan) -> Self {
        Self {
            what: report.failure.as_ref().map_or_else(String::new, ToString::to_string),
            command: report.command.clone(),
            faults: report.faults.clone(),
            plan: Some(plan.clone()),
            runs: 0,
        }
    }
}

/// Runs the seeds from `first` on with `threads` threads, each with its subject in turn, as long as `go_on` returns true for
/// the number of the next run. `plan` makes the plan of a scenario and a seed; `tell` receives each run.
pub fn run(
    subjects: &[Subject],
    first: u64,
    threads: usize,
    plan: impl Fn(&Scenario, u64) -> Plan + Sync,
    go_on: impl Fn(u64) -> bool + Sync,
    tell: impl FnMut(&Ran) + Send,
) {
    if subjects.is_empty() {
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
                    let subject = &subjects[(number % subjects.len() as u64) as usize];
                    let Some(ran) = subject.run(first + number / subjects.len() as u64, &plan) else { continue };
                    let mut tell = tell.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    tell(&ran);
                }
            });
        }
    });
}

/// Removes faults, halves first and then one by one, as long as the run fails in the same way.
pub fn minimise(scenario: &Scenario, plan: &Plan, report: &Report) -> Finding {
    let mut kept: Vec<u32> = scenario.troubles(plan).iter().map(|trouble| trouble.number).collect();
    let (mut finding, mut runs) = (Finding::new(report, plan), 0);
    let mut part = kept.len();
    while part > 0 && runs < MINIMISE_RUNS_MAX {
        let mut begin = 0;
        let mut shrank = false;
        while begin < kept.len() && runs < MINIMISE_RUNS_MAX {
            let end = (begin + part).min(kept.len());
            let rest: Vec<u32> = kept[..begin].iter().chain(&kept[end..]).copied().collect();
            let plan = Plan { faults: Faults::Only(rest.clone()), ..plan.clone() };
            runs += 1;
            match scenario.run(&plan) {
                Ok(shorter) if fails_alike(&shorter, report) => {
                    (kept, finding) = (rest, Finding::new(&shorter, &plan));
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
    Finding { runs, ..finding }
}

fn fails_alike(a: &Report, b: &Report) -> bool {
    let kind = |report: &Report| report.failure.as_ref().map(|failure| failure.kind.clone());
    kind(a).is_some() && kind(a) == kind(b)
}
