//! One run, from the first start to the report: acts and faults at their times, then the end of all faults, and
//! demands.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use peerless::contract::Via;
use peerless::time::{Duration, Instant};

use super::faults::{self, Trouble, What};
use super::report::{
    CpuFigures, DiscoveryFigures, Failure, LookupFigures, Report, Sample, SessionFigures, TableFigures, TrafficFigures,
};
use super::run::{Lookup, Run};
use super::{Demand, Faults, Observer, Plan, PlanError, Scenario, Unmet};
use crate::HostId;
use crate::world::{Totals, Violation};

/// Number of samples of a run.
const SAMPLES: u32 = 60;
/// Number of checks while the demands do not hold yet.
const CHECKS: u32 = 40;
/// Percent of the first phase after which faults begin.
const FAULTS_FROM: u32 = 15;
/// Percent of the time after which all faults end...
const HEALS_AT_MAX: u32 = 60;
/// ... or earlier, if the demands need more time, but not before this percent.
const HEALS_AT_MIN: u32 = 30;

/// An action between two steps of the world; actions of one time run in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Moment {
    Act(usize),
    Ends(usize),
    Begins(usize),
    Heal,
    Sample,
    Check,
}

/// The records of a run in progress.
#[derive(Default)]
struct Notes {
    series: Vec<Sample>,
    /// Lookups since the end of all faults.
    lookups: Vec<Lookup>,
    /// The state at the last sample.
    totals: Totals,
    settled: Option<Instant>,
}

impl Scenario {
    /// Runs a plan.
    ///
    /// # Errors
    /// If the plan gives it too little time or too few nodes.
    pub fn run(&self, plan: &Plan) -> Result<Report, PlanError> {
        self.run_with(plan, |_| ())
    }

    /// Runs a plan, and reports the virtual time now and then.
    ///
    /// # Errors
    /// If the plan gives it too little time or too few nodes.
    pub fn run_with(&self, plan: &Plan, progress: impl FnMut(Instant)) -> Result<Report, PlanError> {
        self.run_through(plan, None, progress)
    }

    /// Runs a plan with taps on some of its nodes.
    ///
    /// # Errors
    /// If the plan gives it too little time or too few nodes.
    pub fn run_observed(
        &self,
        plan: &Plan,
        observer: Arc<Observer>,
        progress: impl FnMut(Instant),
    ) -> Result<Report, PlanError> {
        self.run_through(plan, Some(observer), progress)
    }

    fn run_through(
        &self,
        plan: &Plan,
        observer: Option<Arc<Observer>>,
        mut progress: impl FnMut(Instant),
    ) -> Result<Report, PlanError> {
        if plan.time < self.time_min() {
            return Err(PlanError::TooShort(self.time_min()));
        }
        if plan.nodes <= self.bootnodes {
            return Err(PlanError::TooFew(self.bootnodes + 1));
        }
        let began = std::time::Instant::now();
        let mut run = Run::new(self, plan, observer);
        let mut notes = Notes::default();
        let heal_at = self.heals_at(plan);
        let troubles = self.troubles(plan);
        let outcome =
            catch_unwind(AssertUnwindSafe(|| self.drive(&mut run, &mut notes, &troubles, heal_at, &mut progress)));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                let (at, host) = run.world.panicked().unzip();
                Some(failure("panic", at.unwrap_or(run.world.now()), host, text))
            }
        };
        let mut report = self.report(&run, notes, failure);
        report.faults = troubles.iter().map(Trouble::to_string).collect();
        report.healed_s = secs(heal_at);
        report.wall_s = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// The faults of a plan.
    pub fn troubles(&self, plan: &Plan) -> Vec<Trouble> {
        let until = self.heals_at(plan);
        let since = Instant::ZERO + until.since(Instant::ZERO) * FAULTS_FROM / 100;
        let all = faults::draw(plan.seed, &self.kinds, plan.nodes, since, until);
        match &plan.faults {
            Faults::None => Vec::new(),
            Faults::All => all,
            Faults::Only(numbers) => all.into_iter().filter(|trouble| numbers.contains(&trouble.number)).collect(),
        }
    }

    /// The end of the first phase of a plan.
    pub(super) fn heals_at(&self, plan: &Plan) -> Instant {
        let [min, max] = [HEALS_AT_MIN, HEALS_AT_MAX].map(|percent| plan.time * percent / 100);
        Instant::ZERO + plan.time.saturating_sub(self.settles_in).clamp(min, max)
    }

    fn drive(
        &self,
        run: &mut Run,
        notes: &mut Notes,
        troubles: &[Trouble],
        heal_at: Instant,
        progress: &mut impl FnMut(Instant),
    ) -> Result<(), Failure> {
        let time = run.plan.time;
        let settles_in = self.settles_in.min((Instant::ZERO + time).since(heal_at));
        let mut moments = vec![(heal_at, Moment::Heal)];
        let acts = self.acts.iter().enumerate();
        let first_phase = heal_at.since(Instant::ZERO);
        moments.extend(acts.map(|(i, act)| (Instant::ZERO + first_phase * act.percent / 100, Moment::Act(i))));
        for (i, trouble) in troubles.iter().enumerate() {
            match &trouble.what {
                What::Network(fault) => run.world.conditions_mut().add(fault.clone()),
                What::Crash(..) | What::Clock(..) => {
                    moments.extend([(trouble.since, Moment::Begins(i)), (trouble.until, Moment::Ends(i))]);
                }
            }
        }
        moments.extend((1..=SAMPLES).map(|i| (Instant::ZERO + time * i / SAMPLES, Moment::Sample)));
        moments.extend((1..=CHECKS).map(|i| (heal_at + settles_in * i / CHECKS, Moment::Check)));
        moments.sort();
        for (at, moment) in moments {
            run.world
                .run_until(at)
                .map_err(|Violation { at, host, what }| failure("invariant", at, Some(host), what))?;
            match moment {
                Moment::Act(i) => (self.acts[i].work)(run),
                Moment::Begins(i) => begin(run, &troubles[i]),
                Moment::Ends(i) => end(run, &troubles[i]),
                Moment::Heal => heal(run),
                Moment::Sample => {
                    sample(run, notes, time / SAMPLES);
                    self.samples.iter().for_each(|work| work(run));
                    check(run, "always", &self.always)?;
                    progress(at);
                }
                Moment::Check if notes.settled.is_some() => {}
                Moment::Check => match check(run, "demand", &self.demands) {
                    Ok(()) => {
                        notes.settled = Some(at);
                        if run.plan.ends_settled {
                            return Ok(());
                        }
                    }
                    Err(failure) if at >= heal_at + settles_in => return Err(failure),
                    Err(_) => {}
                },
            }
        }
        check(run, "demand", &self.demands)
    }

    fn report(&self, run: &Run, notes: Notes, failure: Option<Failure>) -> Report {
        let totals = run.world.totals();
        let now = run.world.now();
        let mut ended = BTreeMap::<String, u64>::new();
        let mut sessions = SessionFigures::default();
        for host in run.world.hosts().filter(|host| run.is_honest(*host)) {
            let guard = run.world.watch(host);
            sessions.established += guard.established;
            sessions.dials += guard.dials;
            for (end, count) in &guard.ended {
                *ended.entry(end.to_string()).or_default() += count;
            }
        }
        sessions.ended = ended;
        sessions.mean = run.mean(|_, node| run.peers(node).count());
        sessions.min = run.honest().map(|(_, node)| run.peers(node).count() as u64).min().unwrap_or(0);
        let mut dropped = BTreeMap::<String, u64>::new();
        for (_, node) in run.honest() {
            for (reason, count) in &node.stats().datagrams_dropped {
                *dropped.entry(reason.to_string()).or_default() += count;
            }
        }
        let node_seconds = f64::from(run.plan.nodes) * secs(now).max(1e-9);
        let is_over = failure.as_ref().is_none_or(|failure| failure.kind != "panic");
        let figures = self.figures.iter().filter(|_| is_over);
        Report {
            scenario: self.name.to_owned(),
            nodes: run.plan.nodes,
            seed: run.plan.seed,
            crypto: run.plan.crypto.to_string(),
            cpu: run.plan.cpu.map(|times| CpuFigures {
                times,
                busy_percent: totals.busy_ns as f64 / 1e7 / node_seconds,
                waited: totals.inputs_waited,
                wait_mean_ms: totals.waited_us as f64 / 1e3 / (totals.inputs_waited as f64).max(1.0),
                overrun: totals.datagrams_overrun,
            }),
            virtual_s: secs(now),
            events: run.world.events(),
            trace_hash: format!("{:016x}", run.world.trace_hash()),
            settled_s: notes.settled.and_then(|at| Some(secs(at) - secs(run.healed?))),
            demands: self.demands().map(str::to_owned).collect(),
            failure,
            command: self.command(&run.plan),
            discovery: run.plan.protocols.each().iter().map(|via| discovery(run, &notes.lookups, *via)).collect(),
            sessions,
            dropped,
            traffic: TrafficFigures {
                datagrams: totals.datagrams_sent,
                datagram_bytes: totals.datagram_bytes_sent,
                datagrams_lost: totals.datagrams_lost,
                stream_bytes: totals.stream_bytes,
                datagram_bytes_per_node_s: totals.datagram_bytes_sent as f64 / node_seconds,
            },
            figures: figures.map(|(name, figure)| ((*name).to_owned(), figure(run))).collect(),
            series: notes.series,
            ..Report::default()
        }
    }
}

fn secs(at: Instant) -> f64 {
    at.as_micros() as f64 / 1e6
}

fn failure(kind: &str, at: Instant, host: Option<HostId>, what: impl Into<String>) -> Failure {
    Failure { kind: kind.to_owned(), at_us: at.as_micros(), host: host.map(|host| host.0), what: what.into() }
}

fn check(run: &Run, kind: &str, demands: &[Demand]) -> Result<(), Failure> {
    for demand in demands {
        (demand.check)(run).map_err(|Unmet { host, what }| {
            failure(kind, run.world.now(), host, format!("{}: but {what}", demand.what))
        })?;
    }
    Ok(())
}

fn begin(run: &mut Run, trouble: &Trouble) {
    match &trouble.what {
        What::Network(_) => {}
        What::Crash(hosts, how) => hosts.iter().for_each(|host| run.world.crash(*host, *how)),
        What::Clock(hosts, secs) => hosts.iter().for_each(|host| run.world.set_clock_skew(*host, *secs)),
    }
}

fn end(run: &mut Run, trouble: &Trouble) {
    match &trouble.what {
        What::Network(_) => {}
        What::Crash(hosts, _) => hosts.iter().for_each(|host| run.world.start(*host)),
        What::Clock(hosts, _) => hosts.iter().for_each(|host| run.world.set_clock_skew(*host, 0)),
    }
}

/// Ends all faults: links, clocks, and machines that do not run.
fn heal(run: &mut Run) {
    let now = run.world.now();
    run.world.conditions_mut().heal(now);
    for host in run.world.hosts() {
        run.world.set_churn(host, None);
        run.world.set_clock_skew(host, 0);
        run.world.start(host);
    }
    run.heals();
}

fn sample(run: &mut Run, notes: &mut Notes, interval: Duration) {
    let finished = run.finished_lookups();
    run.begin_lookups((run.plan.nodes / 10).clamp(2, 20));
    let totals = run.world.totals();
    let running = run.world.machines().count() as u32;
    let per = f64::from(running.max(1)) * interval.as_secs_f64();
    let lookups = summary(&finished);
    let bytes = |totals: &Totals| totals.datagram_bytes_sent + totals.stream_bytes;
    notes.series.push(Sample {
        t_s: secs(run.world.now()),
        running,
        table: run.mean(|_, node| node.discovery().discv4().map_or(0, |discovery| discovery.table().len())),
        sessions: run.mean(|_, node| node.peers().counts().established),
        sessions_honest: run.mean(|_, node| run.peers(node).filter(|peer| run.is_honest(*peer)).count()),
        lookups: lookups.count as u32,
        queries: lookups.queries,
        hops: lookups.hops,
        found_percent: lookups.found_percent,
        datagrams_per_node_s: (totals.datagrams_sent - notes.totals.datagrams_sent) as f64 / per,
        bytes_per_node_s: (bytes(&totals) - bytes(&notes.totals)) as f64 / per,
    });
    notes.totals = totals;
    if run.healed.is_some() {
        notes.lookups.extend(finished);
    }
}

/// What one protocol did.
fn discovery(run: &Run, lookups: &[Lookup], via: Via) -> DiscoveryFigures {
    let lookups: Vec<Lookup> = lookups.iter().filter(|lookup| lookup.via == via).copied().collect();
    let mean = run.mean(|_, node| run.known_via(node, via).count());
    let table = TableFigures { mean, ceiling: Run::table_ceiling(run.plan.nodes) };
    DiscoveryFigures { protocol: via.to_string(), table, lookups: summary(&lookups) }
}

fn summary(lookups: &[Lookup]) -> LookupFigures {
    let mut times: Vec<Duration> = lookups.iter().map(|lookup| lookup.took).collect();
    times.sort_unstable();
    let count = lookups.len().max(1) as f64;
    let mean = |of: fn(&Lookup) -> u32| lookups.iter().map(|lookup| f64::from(of(lookup))).sum::<f64>() / count;
    let nearest = mean(|lookup| lookup.nearest);
    LookupFigures {
        count: lookups.len() as u64,
        queries: mean(|lookup| lookup.queries),
        hops: mean(|lookup| lookup.hops),
        found_percent: if nearest > 0.0 { 100.0 * mean(|lookup| lookup.found) / nearest } else { 0.0 },
        median_s: times.get(times.len() / 2).map_or(0.0, Duration::as_secs_f64),
    }
}
