//! The command `sim campaign`: many seeds of each scenario, and what failed.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use indicatif::ProgressBar;
use peerless_sim::campaign::{self, Finding, Ran, Subject};
use peerless_sim::scenario::{self, Plan, Scenario};
use serde::Serialize;

use super::eclipse::Seeds;
use super::trace::{self, Choice, Traced};
use super::{bar, cores};
use crate::Outcome;
use crate::driving::Interrupt;
use crate::output::Output;

/// How long new runs are started if no seeds are given.
const DURATION: Duration = Duration::from_secs(60);

/// Arguments of `sim campaign`.
#[derive(Args)]
pub(super) struct Arguments {
    /// Scenarios, and `eclipse`, separated by commas [default: all]
    #[arg(long, env = "PEERLESS_SCENARIO", value_name = "SCENARIO,...", value_delimiter = ',')]
    scenario: Vec<String>,
    /// Run the seeds from A to B of each scenario, both included
    #[arg(long, env = "PEERLESS_SEEDS", value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// How long new runs are started [default: 60s, or until all of --seeds have run]
    #[arg(long = "for", env = "PEERLESS_FOR", value_name = "TIME")]
    duration: Option<humantime::Duration>,
    /// The first seed
    #[arg(long, env = "PEERLESS_SEED", value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Hosts of each run [default: the scenario's small size]
    #[arg(long, env = "PEERLESS_NODES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: Option<u32>,
    /// Virtual time of each run [default: the scenario's, or until the network has settled]
    #[arg(long, env = "PEERLESS_TIME", value_name = "TIME")]
    time: Option<humantime::Duration>,
    /// Model the time of cryptography and inputs, as a multiple of that on a server's core [default: none]
    #[arg(long, env = "PEERLESS_CPU", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    cpu: Option<u32>,
    /// Runs at once [default: one for each core]
    #[arg(long, env = "PEERLESS_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Record the node of each failure into this folder, for `peerless replay`
    #[arg(long, env = "PEERLESS_TRACE", value_name = "DIR")]
    trace: Option<PathBuf>,
}

impl Arguments {
    fn plan(&self, scenario: &Scenario, seed: u64) -> Plan {
        let small = scenario.small_plan(seed);
        let ends_settled = self.time.is_none();
        let time = self.time.map_or(small.time, |time| *time);
        Plan { nodes: self.nodes.unwrap_or(small.nodes), time, ends_settled, cpu: self.cpu, ..small }
    }
}

/// The result of a campaign.
#[derive(Serialize)]
struct Summary {
    /// Whether a signal ended it before its time or its last seed.
    interrupted: bool,
    runs: u64,
    failed: u64,
    first_seed: u64,
    last_seed: u64,
    wall_s: f64,
    runs_per_hour: f64,
    virtual_s: f64,
    events: u64,
    scenarios: BTreeMap<String, Count>,
    failures: Vec<Found>,
}

/// The runs of one scenario.
#[derive(Serialize, Default)]
struct Count {
    runs: u64,
    failed: u64,
}

/// A failure, reduced to the fewest faults.
#[derive(Serialize)]
struct Found {
    scenario: String,
    seed: u64,
    after_s: f64,
    what: String,
    command: String,
    faults: Vec<String>,
    trace: Option<Traced>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FAILED {} seed {} after {:.1} s: {}", self.scenario, self.seed, self.after_s, self.what)?;
        for fault in &self.faults {
            write!(f, "\n       {fault}")?;
        }
        write!(f, "\n       {}", self.command)?;
        match &self.trace {
            Some(traced) => write!(f, "\n       {traced}"),
            None => f.write_str(" --trace FILE, to record the node for peerless replay"),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, Count { runs, failed }) in &self.scenarios {
            writeln!(f, "{name:<10} {runs} runs, {failed} failed")?;
        }
        if self.interrupted {
            f.write_str("interrupted after ")?;
        }
        write!(
            f,
            "{} runs, seeds {} to {}: {} failed; {:.0} s of virtual time and {} events in {:.1} s, {:.0} runs an hour",
            self.runs,
            self.first_seed,
            self.last_seed,
            self.failed,
            self.virtual_s,
            self.events,
            self.wall_s,
            self.runs_per_hour
        )
    }
}

impl Summary {
    fn new(first_seed: u64, subjects: &[Subject]) -> Self {
        Self {
            interrupted: false,
            runs: 0,
            failed: 0,
            first_seed,
            last_seed: first_seed,
            wall_s: 0.0,
            runs_per_hour: 0.0,
            virtual_s: 0.0,
            events: 0,
            scenarios: subjects.iter().map(|subject| (subject.name().to_owned(), Count::default())).collect(),
            failures: Vec::new(),
        }
    }

    fn add(&mut self, ran: &Ran) {
        let failed = u64::from(ran.finding.is_some());
        self.runs += 1;
        self.failed += failed;
        self.last_seed = self.last_seed.max(ran.seed);
        self.virtual_s += ran.virtual_s;
        self.events += ran.events;
        let count = self.scenarios.entry(ran.subject.clone()).or_default();
        count.runs += 1;
        count.failed += failed;
    }
}

/// Runs `sim campaign`.
pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let subjects = match &arguments.scenario[..] {
        [] => Subject::all(),
        names => names.iter().map(|name| find(name)).collect::<Result<_>>()?,
    };
    for subject in &subjects {
        if let Subject::Scenario(scenario) = subject
            && arguments.plan(scenario, 0).time < scenario.time_min()
        {
            bail!("{} needs {} s or more of virtual time", scenario.name, scenario.time_min().as_secs());
        }
    }
    if let Some(folder) = &arguments.trace {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let threads = arguments.threads.map_or_else(cores, usize::from);
    let first = arguments.seeds.map_or(arguments.seed, |seeds| seeds.first);
    let runs_of = |Seeds { first, last }| (last - first).saturating_add(1).saturating_mul(subjects.len() as u64);
    let runs_max = arguments.seeds.map(runs_of);
    let duration = arguments.duration.map(Duration::from).or(runs_max.is_none().then_some(DURATION));
    let interrupt = Interrupt::listen()?;
    output.say(format_args!("seeds from {first} on, {threads} at once"));
    let bar = match (duration, runs_max) {
        (None, Some(runs)) => bar(output, runs, "runs"),
        _ => bar(output, duration.unwrap_or_default().as_secs(), "s"),
    };
    let began = Instant::now();
    let mut summary = Summary::new(first, &subjects);
    let tell = |ran: &Ran| {
        summary.add(ran);
        bar.set_position(duration.map_or(summary.runs, |_| began.elapsed().as_secs()));
        if let Some(finding) = &ran.finding {
            let found = found(output, arguments, &bar, began.elapsed(), ran, finding);
            bar.suspend(|| output.say(&found));
            summary.failures.push(found);
        }
        bar.set_message(format!("{} runs, {} failed", summary.runs, summary.failed));
    };
    let go_on = |number: u64| {
        runs_max.is_none_or(|max| number < max)
            && duration.is_none_or(|duration| began.elapsed() < duration)
            && !interrupt.is_set()
    };
    campaign::run(&subjects, first, threads, |scenario, seed| arguments.plan(scenario, seed), go_on, tell);
    bar.finish_and_clear();
    summary.interrupted = interrupt.is_set();
    summary.wall_s = began.elapsed().as_secs_f64();
    summary.runs_per_hour = summary.runs as f64 * 3600.0 / summary.wall_s.max(1e-9);
    output.report(&summary);
    Ok(if summary.failed == 0 { Outcome::Success } else { Outcome::Failure })
}

/// The subject of a name.
fn find(name: &str) -> Result<Subject> {
    Subject::find(name).with_context(|| {
        let subjects = Subject::all();
        let names: Vec<&str> = subjects.iter().map(Subject::name).collect();
        format!("there is no scenario {name}, but {}", names.join(", "))
    })
}

/// Describes a failure, and records the node of a scenario if that is wanted.
fn found(
    output: &Output,
    arguments: &Arguments,
    bar: &ProgressBar,
    after: Duration,
    Ran { subject, seed, .. }: &Ran,
    finding: &Finding,
) -> Found {
    let Finding { what, command, faults, plan, .. } = finding;
    let traced = arguments.trace.as_ref().zip(plan.as_ref()).zip(scenario::find(subject));
    let traced = traced.map(|((folder, plan), scenario)| {
        let file = folder.join(format!("{subject}-{seed}.pcapng"));
        trace::run(&scenario, plan, Choice::default(), &file, |_| ())
    });
    let trace = match traced.transpose() {
        Ok(traced) => traced.map(|(_, traced)| traced),
        Err(error) => {
            bar.suspend(|| output.error(&error));
            None
        }
    };
    Found {
        scenario: subject.clone(),
        seed: *seed,
        after_s: after.as_secs_f64(),
        what: what.clone(),
        command: command.clone(),
        faults: faults.clone(),
        trace,
    }
}
