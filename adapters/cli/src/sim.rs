//! The command `sim`: a whole network in virtual time, one run of a scenario or many of them.

mod eclipse;
mod huge_pages;
mod trace;

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerless_sim::crypto::Mode;
use peerless_sim::plot;
use peerless_sim::scenario::campaign::{self, Finding};
use peerless_sim::scenario::{self, Faults, Plan, Report, Scenario};
use serde::Serialize;

use self::trace::{Choice, Traced};
use crate::Outcome;
use crate::files::{self, Overwrite};
use crate::output::Output;

/// Arguments of `sim`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// The scenario
    #[arg(required_unless_present = "list", value_name = "SCENARIO")]
    scenario: Option<String>,
    /// List the scenarios
    #[arg(long, env = "PEERLESS_LIST", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    list: bool,
    /// Hosts [default: the scenario's]
    #[arg(long, env = "PEERLESS_NODES", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    nodes: Option<u32>,
    /// Sessions that a node holds, on average [default: the scenario's]
    #[arg(long, env = "PEERLESS_PEERS", value_name = "N", value_parser = clap::value_parser!(u32).range(0..=1000))]
    peers: Option<u32>,
    /// Virtual time [default: the scenario's]
    #[arg(long, env = "PEERLESS_TIME", value_name = "TIME")]
    time: Option<humantime::Duration>,
    /// Seed of all randomness
    #[arg(long, env = "PEERLESS_SEED", value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// The primitives: real, memo or simmac [default: the fastest that the scenario allows]
    #[arg(long, env = "PEERLESS_CRYPTO", value_name = "MODE")]
    crypto: Option<Mode>,
    /// Model the time of cryptography and inputs, as a multiple of that on a server's core [default: none]
    #[arg(long, env = "PEERLESS_CPU", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    cpu: Option<u32>,
    /// Which of the seed's faults: none, all, or their numbers [default: the scenario's]
    #[arg(long, env = "PEERLESS_FAULTS", value_name = "FAULTS")]
    faults: Option<Faults>,
    /// Threads; the result does not depend on them [default: 1, or one for each core with 1000 nodes or more]
    #[arg(long, env = "PEERLESS_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    threads: Option<u16>,
    /// Draw table fill, lookups, sessions and traffic over time into this SVG file
    #[arg(long, env = "PEERLESS_PLOT", value_name = "FILE")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Record one node into this new file, for `peerless replay`; this runs the scenario twice
    #[arg(long, env = "PEERLESS_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    /// The host whose node is recorded [default: the one at which the run failed, else the first honest one]
    #[arg(long, env = "PEERLESS_TRACE_NODE", value_name = "N", requires = "trace")]
    trace_node: Option<u32>,
    /// Which run of a node that crashed and restarted is recorded, counted from 1 [default: the last]
    #[arg(long, env = "PEERLESS_TRACE_LIFE", value_name = "N", requires = "trace")]
    trace_life: Option<u32>,
}

#[derive(Subcommand)]
enum Command {
    /// Run seeds in parallel for a given time, with faults, and report what fails
    Campaign(Campaign),
    /// Measure who holds the places of one node under attack
    ///
    /// One node is real: discv4, RLPx, eth and peers, with 16 places for peers that it dials and 34 for others. All others are
    /// scripted. Honest ones answer discv4 from a fixed set of nodes that they know, have room or refuse, and leave after a
    /// while. Hostile ones always have room, stay, and tell of hostile nodes only; some of their keys are chosen for the empty
    /// buckets of the real node's table. After the attack the real node restarts twice: with what it has persisted, and with
    /// nothing but its three honest bootnodes.
    Eclipse(eclipse::Arguments),
}

/// Arguments of `sim campaign`.
#[derive(Args)]
struct Campaign {
    /// Scenarios, separated by commas [default: all]
    #[arg(long, env = "PEERLESS_SCENARIO", value_name = "SCENARIO,...", value_delimiter = ',')]
    scenario: Vec<String>,
    /// How long new runs are started
    #[arg(long = "for", env = "PEERLESS_FOR", value_name = "TIME", default_value = "60s")]
    duration: humantime::Duration,
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

/// Runs `sim`.
pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    match &arguments.command {
        Some(Command::Campaign(campaign)) => run_campaign(output, campaign),
        Some(Command::Eclipse(arguments)) => eclipse::run(output, arguments),
        None if arguments.list => {
            list(output);
            Ok(Outcome::Success)
        }
        None => run_one(output, arguments),
    }
}

/// A scenario in the list.
#[derive(Serialize)]
struct Listed {
    name: &'static str,
    about: &'static str,
    nodes: u32,
    time_s: u64,
    settles_in_s: u64,
    demands: Vec<&'static str>,
}

impl fmt::Display for Listed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<10} {} ({} nodes, {} s)", self.name, self.about, self.nodes, self.time_s)?;
        for demand in &self.demands {
            write!(f, "\n           - {demand}")?;
        }
        Ok(())
    }
}

fn list(output: &Output) {
    for scenario in scenario::stock() {
        let Plan { nodes, time, .. } = scenario.plan(1);
        let (time_s, settles_in_s) = (time.as_secs(), scenario.settles_in.as_secs());
        let demands = scenario.demands().collect();
        let Scenario { name, about, .. } = scenario;
        output.report(&Listed { name, about, nodes, time_s, settles_in_s, demands });
    }
}

/// Number of nodes from which a run uses all cores by default, and huge pages.
const LARGE_RUN_NODES: u32 = 1000;

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn find(name: &str) -> Result<Scenario> {
    scenario::find(name).with_context(|| {
        let names: Vec<&str> = scenario::stock().iter().map(|scenario| scenario.name).collect();
        format!("there is no scenario {name}, but {}", names.join(", "))
    })
}

fn run_one(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let scenario = find(arguments.scenario.as_deref().unwrap_or_default())?;
    let written: Vec<&Path> = arguments.trace.as_deref().into_iter().collect();
    if let Some(file) = &arguments.plot {
        files::check(file, &written, arguments.overwrite)?;
    }
    let mut plan = scenario.plan(arguments.seed);
    plan.nodes = arguments.nodes.unwrap_or(plan.nodes);
    // The threads of a small network wait for each other longer than they work.
    let is_large = plan.nodes >= LARGE_RUN_NODES;
    if is_large {
        huge_pages::ask_for();
    }
    plan.threads = arguments.threads.map_or_else(|| if is_large { cores() } else { 1 }, usize::from);
    plan.peers = arguments.peers;
    plan.time = arguments.time.map_or(plan.time, |time| *time);
    plan.crypto = arguments.crypto.unwrap_or(plan.crypto);
    plan.cpu = arguments.cpu;
    plan.faults = arguments.faults.clone().unwrap_or(plan.faults);
    output.say(format_args!("seed {}", plan.seed));
    let bar = bar(output, plan.time.as_secs());
    let progress = |at: peerless::time::Instant| bar.set_position(at.as_micros() / 1_000_000);
    let (report, traced) = match &arguments.trace {
        None => (scenario.run_with(&plan, progress)?, None),
        Some(file) => {
            let choice = Choice { node: arguments.trace_node, life: arguments.trace_life };
            let (report, traced) = trace::run(&scenario, &plan, choice, file, progress)?;
            (report, Some(traced))
        }
    };
    bar.finish_and_clear();
    if let Some(file) = &arguments.plot {
        let mut out = files::create(file, &written, arguments.overwrite, files::Readers::All)?;
        out.write_all(plot::svg(&report).as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(traced) = &traced {
        output.report(traced);
    }
    output.report(&report);
    Ok(if report.passed() { Outcome::Success } else { Outcome::Failure })
}

fn bar(output: &Output, length: u64) -> ProgressBar {
    let target = if output.is_live() { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let style =
        ProgressStyle::with_template("{elapsed_precise} [{bar:40.cyan/blue}] {pos} of {len} s, {eta} left {msg}");
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}

/// The result of a campaign.
#[derive(Serialize)]
struct Summary {
    runs: u64,
    failed: u64,
    first_seed: u64,
    last_seed: u64,
    wall_s: f64,
    runs_per_hour: f64,
    virtual_s: f64,
    events: u64,
    failures: Vec<Found>,
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

fn run_campaign(output: &Output, arguments: &Campaign) -> Result<Outcome> {
    let scenarios = match &arguments.scenario[..] {
        [] => scenario::stock(),
        names => names.iter().map(|name| find(name)).collect::<Result<_>>()?,
    };
    let plan = |scenario: &Scenario, seed: u64| {
        let small = scenario.small_plan(seed);
        let ends_settled = arguments.time.is_none();
        let time = arguments.time.map_or(small.time, |time| *time);
        Plan { nodes: arguments.nodes.unwrap_or(small.nodes), time, ends_settled, cpu: arguments.cpu, ..small }
    };
    if let Some(scenario) = scenarios.iter().find(|scenario| plan(scenario, 0).time < scenario.time_min()) {
        bail!("{} needs {} s or more of virtual time", scenario.name, scenario.time_min().as_secs());
    }
    if let Some(folder) = &arguments.trace {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    }
    let threads = arguments.threads.map_or_else(cores, usize::from);
    let (began, duration) = (Instant::now(), Duration::from(arguments.duration));
    output.say(format_args!("seeds from {} on, {threads} at once", arguments.seed));
    let bar = bar(output, duration.as_secs());
    let mut summary = Summary {
        runs: 0,
        failed: 0,
        first_seed: arguments.seed,
        last_seed: arguments.seed,
        wall_s: 0.0,
        runs_per_hour: 0.0,
        virtual_s: 0.0,
        events: 0,
        failures: Vec::new(),
    };
    let tell = |report: &Report, finding: Option<&Finding>| {
        summary.runs += 1;
        summary.last_seed = summary.last_seed.max(report.seed);
        summary.virtual_s += report.virtual_s;
        summary.events += report.events;
        bar.set_position(began.elapsed().as_secs().min(duration.as_secs()));
        if let Some(Finding { minimal, plan, .. }) = finding {
            summary.failed += 1;
            let scenario = scenarios.iter().find(|scenario| scenario.name == minimal.scenario);
            let traced = arguments.trace.as_ref().zip(scenario).map(|(folder, scenario)| {
                let file = folder.join(format!("{}-{}.pcapng", scenario.name, minimal.seed));
                trace::run(scenario, plan, Choice::default(), &file, |_| ())
            });
            let trace = match traced.transpose() {
                Ok(traced) => traced.map(|(_, traced)| traced),
                Err(error) => {
                    bar.suspend(|| output.error(&error));
                    None
                }
            };
            let found = Found {
                scenario: minimal.scenario.clone(),
                seed: minimal.seed,
                after_s: began.elapsed().as_secs_f64(),
                what: minimal.failure.as_ref().map_or_else(String::new, ToString::to_string),
                command: minimal.command.clone(),
                faults: minimal.faults.clone(),
                trace,
            };
            bar.suspend(|| output.say(&found));
            summary.failures.push(found);
        }
        bar.set_message(format!("{} runs, {} failed", summary.runs, summary.failed));
    };
    campaign::run(&scenarios, arguments.seed, threads, plan, |_| began.elapsed() < duration, tell);
    bar.finish_and_clear();
    summary.wall_s = began.elapsed().as_secs_f64();
    summary.runs_per_hour = summary.runs as f64 * 3600.0 / summary.wall_s.max(1e-9);
    output.report(&summary);
    Ok(if summary.failed == 0 { Outcome::Success } else { Outcome::Failure })
}
