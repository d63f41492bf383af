//! `sim eclipse`: who holds the places of one real node among scripted ones, of which some are hostile.

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless_sim::crypto::Mode;
use peerless_sim::eclipse::{self, Calls, Origin, Plan, Report, RoomDrawn, Silent};
use peerless_sim::plot;
use serde::Serialize;
use serde_json::{Map, Value};

use super::{bar, cores};
use crate::Outcome;
use crate::files::{self, Overwrite};
use crate::output::Output;

/// Arguments of `sim eclipse`.
#[derive(Args)]
pub(super) struct Arguments {
    /// Hostile /24s, each in a /16 of its own
    #[arg(long, env = "PEERLESS_SUBNETS", value_name = "N", default_value_t = 28, value_parser = clap::value_parser!(u32).range(0..=2000))]
    subnets: u32,
    /// Hostile nodes in each of them
    #[arg(long, env = "PEERLESS_NODES_PER_SUBNET", value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=200))]
    nodes_per_subnet: u32,
    /// Honest nodes
    #[arg(long, env = "PEERLESS_HONEST", value_name = "N", default_value_t = 600, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    honest: u32,
    /// Honest nodes that each honest node knows
    #[arg(long, env = "PEERLESS_KNOWN", value_name = "N", default_value_t = 200)]
    known: u32,
    /// The probability that an honest node has room, in percent
    #[arg(long, env = "PEERLESS_ROOM", value_name = "PERCENT", default_value_t = 50, value_parser = clap::value_parser!(u32).range(0..=100))]
    room: u32,
    /// When room is drawn: for each dial, or for each node and again after an hour on average
    #[arg(long, env = "PEERLESS_ROOM_DRAWN", value_name = "dial|node", default_value_t = RoomDrawn::Dial)]
    room_drawn: RoomDrawn,
    /// The mean time after which an honest peer leaves
    #[arg(long, env = "PEERLESS_STAY", value_name = "TIME", default_value = "150m")]
    stay: humantime::Duration,
    /// Virtual time before the attack
    #[arg(long, env = "PEERLESS_PEACE", value_name = "TIME", default_value = "2h")]
    peace: humantime::Duration,
    /// Virtual time of the attack
    #[arg(long, env = "PEERLESS_TIME", value_name = "TIME", default_value = "22h")]
    time: humantime::Duration,
    /// Virtual time after each of the two restarts; 0s for none
    #[arg(long, env = "PEERLESS_RESTART", value_name = "TIME", default_value = "1h")]
    restart: humantime::Duration,
    /// Nodes call the real one: honest ones, and during the attack hostile ones
    #[arg(long, env = "PEERLESS_INBOUND", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    inbound: bool,
    /// Time between the first calls of two honest callers, each from a /24 of its own
    #[arg(long, env = "PEERLESS_CALL_EVERY", value_name = "TIME", default_value = "30s", requires = "inbound")]
    call_every: humantime::Duration,
    /// Hostile callers in each hostile subnet
    #[arg(long, env = "PEERLESS_CALLERS_PER_SUBNET", value_name = "N", default_value_t = 1, requires = "inbound", value_parser = clap::value_parser!(u32).range(0..=50))]
    callers_per_subnet: u32,
    /// Time after which a hostile caller leaves and calls again
    #[arg(long, env = "PEERLESS_RECONNECT", value_name = "TIME", default_value = "50m", requires = "inbound")]
    reconnect: humantime::Duration,
    /// Where hostile callers connect from: the hostile /24s, or as many /56s of one /48
    #[arg(long, env = "PEERLESS_ORIGIN", value_name = "subnets|block", default_value_t = Origin::Subnets, requires = "inbound")]
    origin: Origin,
    /// Connections that never send a byte come from so many /24s during the attack
    #[arg(long, env = "PEERLESS_SILENT_SUBNETS", value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    silent_subnets: u32,
    /// Silent connections in a second, of all these /24s together
    #[arg(long, env = "PEERLESS_SILENT_RATE", value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    silent_rate: u32,
    /// Seed of all randomness
    #[arg(long, env = "PEERLESS_SEED", value_name = "SEED", default_value_t = 1)]
    seed: u64,
    /// Run the seeds from A to B, both included, and summarise them
    #[arg(long, env = "PEERLESS_SEEDS", value_name = "A..B", conflicts_with = "seed")]
    seeds: Option<Seeds>,
    /// The primitives: real, memo or simmac
    #[arg(long, env = "PEERLESS_CRYPTO", value_name = "MODE", default_value_t = Mode::SimMac)]
    crypto: Mode,
    /// Runs at once; the result does not depend on them [default: one for each core]
    #[arg(long, env = "PEERLESS_THREADS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Draw places, table and book over time into this SVG file
    #[arg(long, env = "PEERLESS_PLOT", value_name = "FILE", conflicts_with = "seeds")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
}

/// A range of seeds, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seeds {
    pub(super) first: u64,
    pub(super) last: u64,
}

/// `A..B`.
impl FromStr for Seeds {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let seeds = text.split_once("..").and_then(|(first, last)| {
            Some(Self { first: first.parse().ok()?, last: last.parse().ok()? })
                .filter(|seeds| seeds.first <= seeds.last)
        });
        seeds.ok_or("seeds are two numbers, as in 1..20, the first no greater than the last")
    }
}

/// Runs `sim eclipse`.
pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    if let Some(file) = &arguments.plot {
        files::check(file, &[], arguments.overwrite)?;
    }
    let plan = plan(arguments)?;
    let Some(seeds) = arguments.seeds else {
        output.say(format_args!("seed {}", plan.seed));
        let bar = bar(output, (plan.peace + plan.time + plan.restart).as_secs(), "s");
        let report = eclipse::run(&plan, |at| bar.set_position(at.as_micros() / 1_000_000));
        bar.finish_and_clear();
        if let Some(file) = &arguments.plot {
            let mut out = files::create(file, &[], arguments.overwrite, files::Readers::All)?;
            let svg = plot::eclipse_svg(&report);
            out.write_all(svg.as_bytes()).with_context(|| format!("cannot write {}", file.display()))?;
        }
        output.report(&report);
        return Ok(Outcome::Success);
    };
    let reports = run_all(output, &plan, seeds, arguments.threads.map_or_else(cores, usize::from));
    output.report(&Summary::new(&reports));
    Ok(Outcome::Success)
}

fn plan(arguments: &Arguments) -> Result<Plan> {
    let plan = Plan {
        seed: arguments.seed,
        honest: arguments.honest,
        known: arguments.known,
        subnets: arguments.subnets,
        nodes_per_subnet: arguments.nodes_per_subnet,
        room_percent: arguments.room,
        room_drawn: arguments.room_drawn,
        stay: *arguments.stay,
        peace: *arguments.peace,
        time: *arguments.time,
        restart: *arguments.restart,
        calls: arguments.inbound.then(|| Calls {
            every: *arguments.call_every,
            hostile_per_subnet: arguments.callers_per_subnet,
            reconnect: *arguments.reconnect,
            origin: arguments.origin,
        }),
        silent: (arguments.silent_subnets > 0)
            .then_some(Silent { subnets: arguments.silent_subnets, per_second: arguments.silent_rate }),
        crypto: arguments.crypto,
    };
    if plan.calls.as_ref().is_some_and(|calls| calls.every < std::time::Duration::from_millis(100)) {
        bail!("honest nodes call at most ten times a second");
    }
    if plan.peace + plan.time < std::time::Duration::from_secs(1) {
        bail!("peace and attack take a second or more");
    }
    Ok(plan)
}

/// Runs all seeds, and prints each report as soon as those before it are printed.
fn run_all(output: &Output, plan: &Plan, Seeds { first, last }: Seeds, threads: usize) -> Vec<Report> {
    let count = last - first + 1;
    let bar = bar(output, count, "runs");
    let next = AtomicU64::new(first);
    let done = Mutex::new(std::collections::BTreeMap::new());
    let printed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads.min(usize::try_from(count).unwrap_or(usize::MAX)) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        return;
                    }
                    let report = eclipse::run(&Plan { seed, ..plan.clone() }, |_| ());
                    let mut printed = printed.lock().expect("no thread panicked");
                    let mut done = done.lock().expect("no thread panicked");
                    done.insert(seed, report);
                    while let Some(report) = done.remove(&(first + printed.len() as u64)) {
                        bar.suspend(|| output.report(&report));
                        printed.push(report);
                    }
                    bar.inc(1);
                }
            });
        }
    });
    bar.finish_and_clear();
    printed.into_inner().expect("no thread panicked")
}

/// One figure over all seeds.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
struct Spread {
    mean: f64,
    p95: f64,
    max: f64,
}

impl Spread {
    fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() * 95).div_ceil(100).max(1) - 1;
        let mean = values.iter().sum::<f64>() / (values.len().max(1) as f64);
        Self {
            mean: (mean * 1e6).round() / 1e6,
            p95: sorted.get(rank).copied().unwrap_or(0.0),
            max: sorted.last().copied().unwrap_or(0.0),
        }
    }
}

/// The reports of several seeds. As JSON, it has the fields of a report, each figure as its mean, and the same under `p95`
/// and `max`.
struct Summary {
    seeds: usize,
    /// The parameters.
    common: Value,
    /// Figures by path.
    figures: Vec<(Vec<String>, Spread)>,
}

/// Fields of a report that are parameters, or are of one run only.
const COMMON: [&str; 6] = ["honest", "subnets", "room_percent", "room_drawn", "time_s", "peace_s"];
const OWN: [&str; 3] = ["seed", "trace_hash", "wall_s"];

impl Summary {
    fn new(reports: &[Report]) -> Self {
        let values: Vec<Value> = reports.iter().filter_map(|report| serde_json::to_value(report).ok()).collect();
        let mut paths = Vec::new();
        if let Some(Value::Object(first)) = values.first() {
            collect(first, &mut Vec::new(), &mut paths);
        }
        let spread = |path: Vec<String>| {
            let of = |value: &Value| path.iter().try_fold(value, |value, key| value.get(key))?.as_f64();
            let figures: Vec<f64> = values.iter().filter_map(of).collect();
            let spread = Spread::of(&figures);
            (path, spread)
        };
        let first = values.first();
        let common = COMMON.iter().filter_map(|name| Some(((*name).to_owned(), first?.get(*name)?.clone())));
        Self {
            seeds: reports.len(),
            common: Value::Object(common.collect()),
            figures: paths.into_iter().map(spread).collect(),
        }
    }

    fn figures(&self, of: impl Fn(&Spread) -> f64) -> Map<String, Value> {
        let mut all = Map::new();
        for (path, spread) in &self.figures {
            let Some((name, groups)) = path.split_last() else { continue };
            let mut map = &mut all;
            for group in groups {
                let entry = map.entry(group.clone()).or_insert_with(|| Value::Object(Map::new()));
                let Value::Object(inner) = entry else { return all };
                map = inner;
            }
            map.insert(name.clone(), of(spread).into());
        }
        all
    }
}

/// Collects the paths of all numbers that differ from run to run.
fn collect(object: &Map<String, Value>, path: &mut Vec<String>, paths: &mut Vec<Vec<String>>) {
    for (name, value) in object {
        if path.is_empty() && (COMMON.contains(&name.as_str()) || OWN.contains(&name.as_str())) {
            continue;
        }
        path.push(name.clone());
        match value {
            Value::Object(inner) => collect(inner, path, paths),
            Value::Number(_) => paths.push(path.clone()),
            _ => {}
        }
        path.pop();
    }
}

impl Serialize for Summary {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut all = self.figures(|spread| spread.mean);
        if let Value::Object(common) = &self.common {
            all.extend(common.clone());
        }
        all.insert("seeds".into(), self.seeds.into());
        all.insert("p95".into(), self.figures(|spread| spread.p95).into());
        all.insert("max".into(), self.figures(|spread| spread.max).into());
        all.serialize(serializer)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<36} {:>9} {:>9} {:>9}", format!("of {} seeds", self.seeds), "mean", "95 %", "max")?;
        for (path, Spread { mean, p95, max }) in &self.figures {
            write!(f, "\n{:<36} {mean:>9.2} {p95:>9.2} {max:>9.2}", path.join(" ").replace('_', " "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_of_both_ends() {
        assert_eq!("3..5".parse(), Ok(Seeds { first: 3, last: 5 }));
        for wrong in ["", "3", "5..3", "3...5", "a..b", "..4"] {
            assert!(wrong.parse::<Seeds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_summary_has_the_fields_of_a_report_with_means() {
        let report = |seed: u32| {
            let hostile_outbound = if seed == 20 { 11 } else { 1 };
            let shares = eclipse::Shares { outbound: 16, hostile_outbound, ..eclipse::Shares::default() };
            Report { seed: seed.into(), subnets: 28, shares, restarted: Some(shares), ..Report::default() }
        };
        let reports: Vec<Report> = (1..=20u32).map(report).collect();
        let summary = serde_json::to_value(Summary::new(&reports)).unwrap();
        assert_eq!((&summary["seeds"], &summary["subnets"]), (&20.into(), &28.into()));
        assert_eq!((&summary["outbound"], &summary["hostile_outbound"]), (&16.0.into(), &1.5.into()));
        let deep = |kind: &str| summary[kind]["restarted"]["hostile_outbound"].as_f64();
        assert_eq!((deep("p95"), deep("max")), (Some(1.0), Some(11.0)));
        assert!(summary["restarted"]["inbound"].is_number() && summary.get("seed").is_none());
    }
}
