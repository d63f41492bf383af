//! The command `sim`: a whole network in virtual time, one run of a scenario or many of them.

mod campaign;
mod eclipse;
mod flood;
mod huge_pages;
mod trace;

use std::fmt;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use peerless_sim::crypto::Mode;
use peerless_sim::plot;
use peerless_sim::scenario::{self, Faults, Plan, Protocols, Report, Scenario};
use serde::Serialize;

use self::trace::Choice;
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
    #[command(flatten)]
    run: RunArguments,
}

/// Arguments of one run.
#[derive(Args)]
struct RunArguments {
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
    /// The discovery protocols of the nodes: v4, v5 or both
    #[arg(long, env = "PEERLESS_PROTOCOL", value_name = "PROTOCOL", default_value_t)]
    protocol: Protocols,
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
    /// Run seeds in parallel, with faults, and report what fails
    Campaign(campaign::Arguments),
    /// Measure who holds the places of one node under attack
    ///
    /// One node is real: discv4, RLPx, eth and peers, with 16 places for peers that it dials and 34 for others. All others are
    /// scripted. Honest ones answer discv4 from a fixed set of nodes that they know, have room or refuse, and leave after a
    /// while. Hostile ones always have room, stay, and tell of hostile nodes only; some of their keys are chosen for the empty
    /// buckets of the real node's table. After the attack the real node restarts twice: with what it has persisted, and with
    /// nothing but its three honest bootnodes.
    Eclipse(eclipse::Arguments),
    /// Flood one node of a network with datagrams, and report which tables hold it and what lookups find
    Flood(flood::Arguments),
}

/// Runs `sim`.
pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    match &arguments.command {
        Some(Command::Campaign(campaign)) => campaign::run(output, campaign),
        Some(Command::Eclipse(arguments)) => eclipse::run(output, arguments),
        Some(Command::Flood(flood)) => flood::run(output, flood),
        None if arguments.list => {
            list(output);
            Ok(Outcome::Success)
        }
        None => {
            let scenario = find(arguments.scenario.as_deref().unwrap_or_default())?;
            let report = run_one(output, &scenario, &arguments.run, |_| ())?;
            output.report(&report);
            Ok(outcome(&report))
        }
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

fn outcome(report: &Report) -> Outcome {
    if report.passed() { Outcome::Success } else { Outcome::Failure }
}

/// Runs a scenario once; `watch` is told the virtual time now and then.
fn run_one(
    output: &Output,
    scenario: &Scenario,
    arguments: &RunArguments,
    mut watch: impl FnMut(peerless::time::Instant),
) -> Result<Report> {
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
    plan.protocols = arguments.protocol;
    plan.cpu = arguments.cpu;
    plan.faults = arguments.faults.clone().unwrap_or(plan.faults);
    output.say(format_args!("seed {}", plan.seed));
    let bar = bar(output, plan.time.as_secs(), "s");
    let progress = |at: peerless::time::Instant| {
        bar.set_position(at.as_micros() / 1_000_000);
        watch(at);
    };
    let (report, traced) = match &arguments.trace {
        None => (scenario.run_with(&plan, progress)?, None),
        Some(file) => {
            let choice = Choice { node: arguments.trace_node, life: arguments.trace_life };
            let (report, traced) = trace::run(scenario, &plan, choice, file, progress)?;
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
    Ok(report)
}

fn bar(output: &Output, length: u64, unit: &str) -> ProgressBar {
    let target = if output.is_live() { ProgressDrawTarget::stdout() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length), target);
    let template =
        format!("{{elapsed_precise}} [{{bar:40.cyan/blue}}] {{pos}} of {{len}} {unit}, {{eta}} left {{msg}}");
    let style = ProgressStyle::with_template(&template);
    bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> "))
}
