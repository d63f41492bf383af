//! The command `sim flood`: one node under a flood of datagrams.

use std::fmt;

use anyhow::Result;
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args, ValueEnum};
use peerless::time::Instant;
use peerless_sim::scenario::Report;
use peerless_sim::scenario::flood::{self, Siege, Spoof};
use peerless_sim::world::Forgery;
use serde::Serialize;

use super::{RunArguments, outcome, run_one};
use crate::Outcome;
use crate::output::Output;

/// Arguments of `sim flood`.
#[derive(Args)]
pub(super) struct Arguments {
    /// Datagrams a second, evenly spread
    #[arg(long, env = "PEERLESS_RATE", value_name = "N", default_value_t = 4000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Where they seem to come from
    #[arg(long, env = "PEERLESS_SPOOF", default_value = "random")]
    spoof: Source,
    /// What they are; all but garbage have a correct hash
    #[arg(long, env = "PEERLESS_KIND", default_value = "ping")]
    kind: Kind,
    /// Sign them, so that they pass for datagrams of unknown nodes
    #[arg(long, env = "PEERLESS_SIGNED", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    signed: bool,
    #[command(flatten)]
    run: RunArguments,
}

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// Random IPv4 addresses
    Random,
    /// Random addresses of one IPv6 /48
    #[value(name = "48")]
    Prefix48,
    /// The endpoints of a quarter of the node's neighbours
    Neighbours,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Ping,
    FindNode,
    Pong,
    Neighbors,
    Garbage,
    /// First packets of discv5's sessions
    Discv5,
    /// All of them
    Mixed,
}

/// The report of a run, with its figures among its own fields.
#[derive(Serialize)]
struct Flooded<'a> {
    #[serde(flatten)]
    report: &'a Report,
    #[serde(flatten)]
    numbers: &'a std::collections::BTreeMap<String, f64>,
    rate: u32,
    /// Resident memory of this process at the first sample of the flood and at the last one, if it is known.
    resident_mib_before: Option<f64>,
    resident_mib_after: Option<f64>,
}

impl fmt::Display for Flooded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

/// Runs `sim flood`.
pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let spoof = match arguments.spoof {
        Source::Random => Spoof::Random,
        Source::Prefix48 => Spoof::Prefix48,
        Source::Neighbours => Spoof::Neighbours,
    };
    let kind = match arguments.kind {
        Kind::Ping => Forgery::Ping,
        Kind::FindNode => Forgery::FindNode,
        Kind::Pong => Forgery::Pong,
        Kind::Neighbors => Forgery::Neighbors,
        Kind::Garbage => Forgery::Garbage,
        Kind::Discv5 => Forgery::Discv5,
        Kind::Mixed => Forgery::Mixed,
    };
    let Arguments { rate, signed: is_signed, .. } = *arguments;
    let scenario = flood::scenario(Siege { rate, spoof, kind, is_signed });
    let name = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
        value().map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let (from, what) = (name(&|| arguments.spoof.to_possible_value()), name(&|| arguments.kind.to_possible_value()));
    let time = arguments.run.time.map_or(scenario.plan(1).time, |time| *time);
    // The demands may come to hold as late as at the end: the figures of a run that fails are those of its whole time.
    let scenario = flood::demanding(scenario)
        .options(format!("--rate {rate} --spoof {from} --kind {what}{}", if is_signed { " --signed" } else { "" }))
        .settles_in(time * 2 / 5);
    // A while after the flood has begun, when its own memory is allocated.
    let settled = Instant::ZERO + time / 4;
    let (mut before, mut after) = (None, None);
    let report = run_one(output, &scenario, &arguments.run, |at| {
        after = resident_mib();
        if before.is_none() && at >= settled {
            before = after;
        }
    })?;
    let numbers = &report.figures;
    output.report(&Flooded { report: &report, numbers, rate, resident_mib_before: before, resident_mib_after: after });
    Ok(outcome(&report))
}

/// The resident memory of this process, where the operating system tells.
fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024.0)
}
