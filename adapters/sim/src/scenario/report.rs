//! What came of a run: figures, a time series, and what failed. Everything but `wall_s` is a function of the plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What a run comes to. Times in seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// Its name.
    pub scenario: String,
    /// Hosts.
    pub nodes: u32,
    /// The seed.
    pub seed: u64,
    /// The primitives: `real`, `memo` or `simmac`.
    pub crypto: String,
    /// What hosts' processors did, if they were modelled.
    pub cpu: Option<CpuFigures>,
    /// Virtual time run.
    pub virtual_s: f64,
    /// What it took on a real clock.
    pub wall_s: f64,
    /// Things delivered: datagrams, segments, timers, starts, ends.
    pub events: u64,
    /// The fingerprint of everything that passed between hosts and machines, in hexadecimal.
    pub trace_hash: String,
    /// The faults that there were.
    pub faults: Vec<String>,
    /// When everything healed.
    pub healed_s: f64,
    /// How long after that all demands held, if they did.
    pub settled_s: Option<f64>,
    /// What is demanded.
    pub demands: Vec<String>,
    /// What failed first.
    pub failure: Option<Failure>,
    /// The command that repeats the run.
    pub command: String,
    /// Discovery tables of honest nodes at the end.
    pub table: TableFigures,
    /// Measured lookups of random targets, those since everything healed.
    pub lookups: LookupFigures,
    /// Sessions of honest nodes.
    pub sessions: SessionFigures,
    /// Datagrams not acted upon by the honest nodes that ran at the end, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Traffic of all hosts.
    pub traffic: TrafficFigures,
    /// The scenario's own.
    pub figures: BTreeMap<String, f64>,
    /// How it went, oldest first.
    pub series: Vec<Sample>,
}

/// Why a run failed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// `invariant`, `always`, `demand` or `panic`.
    pub kind: String,
    /// When, in microseconds.
    pub at_us: u64,
    /// Where, if it is one host's.
    pub host: Option<u32>,
    /// What.
    pub what: String,
}

/// Discovery tables.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct TableFigures {
    /// Entries on average.
    pub mean: f64,
    /// The most that there can be on average: the sum over buckets of 16 or the nodes that belong there.
    pub ceiling: f64,
}

/// Lookups.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct LookupFigures {
    /// How many were measured.
    pub count: u64,
    /// Nodes asked, on average.
    pub queries: f64,
    /// Steps to the nearest node, on average.
    pub hops: f64,
    /// The part of the nearest 16 that was found, in percent.
    pub found_percent: f64,
}

/// Sessions.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct SessionFigures {
    /// Of one node, on average, at the end.
    pub mean: f64,
    /// Of the node with the fewest.
    pub min: u64,
    /// Established in the whole run, seen from both sides.
    pub established: u64,
    /// Dials in the whole run.
    pub dials: u64,
    /// Connections ended in the whole run, by stage and cause.
    pub ended: BTreeMap<String, u64>,
}

/// Processors.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CpuFigures {
    /// How many times as much as on a server's core everything cost.
    pub times: u32,
    /// The part of the time in which they worked, on average.
    pub busy_percent: f64,
    /// What came while a machine worked, and waited.
    pub waited: u64,
    /// How long that waited, on average.
    pub wait_mean_ms: f64,
    /// Datagrams that came while too many of them waited.
    pub overrun: u64,
}

/// Traffic.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct TrafficFigures {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Their bytes.
    pub datagram_bytes: u64,
    /// Those lost on the way.
    pub datagrams_lost: u64,
    /// Bytes written to streams.
    pub stream_bytes: u64,
    /// Datagram bytes a second that one node sent on average.
    pub datagram_bytes_per_node_s: f64,
}

/// How things stood at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Sample {
    /// When.
    pub t_s: f64,
    /// Machines that ran.
    pub running: u32,
    /// Table entries of an honest node, on average.
    pub table: f64,
    /// Sessions of an honest node, on average.
    pub sessions: f64,
    /// Those of them with honest nodes.
    pub sessions_honest: f64,
    /// Measured lookups that ended since the last sample.
    pub lookups: u32,
    /// Nodes that they asked, on average.
    pub queries: f64,
    /// Steps to their nearest nodes, on average.
    pub hops: f64,
    /// What they found of the nearest nodes, in percent.
    pub found_percent: f64,
    /// Datagrams a second that one node sent since the last sample.
    pub datagrams_per_node_s: f64,
    /// Bytes a second, in datagrams and streams, that one node sent since the last sample.
    pub bytes_per_node_s: f64,
}

impl Report {
    /// Whether everything held.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// How many times faster than the clock on the wall it was.
    pub fn speed(&self) -> f64 {
        self.virtual_s / self.wall_s.max(1e-9)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, lookups, sessions, traffic, .. } = self;
        writeln!(
            f,
            "{}: {} nodes, {:.0} s, seed {}, crypto {}, {} faults",
            self.scenario,
            self.nodes,
            self.virtual_s,
            self.seed,
            self.crypto,
            self.faults.len()
        )?;
        for fault in &self.faults {
            writeln!(f, "  fault      {fault}")?;
        }
        if let Some(cpu) = &self.cpu {
            let CpuFigures { times, busy_percent, waited, wait_mean_ms, overrun } = cpu;
            writeln!(
                f,
                "  processor  {times} times a server's: {busy_percent:.2} % busy; {waited} inputs waited {wait_mean_ms:.3} ms, \
                 {overrun} datagrams found no room"
            )?;
        }
        writeln!(f, "  table      {:.1} of at most {:.1} entries", table.mean, table.ceiling)?;
        if lookups.count > 0 {
            writeln!(
                f,
                "  lookups    {}: {:.1} queries, {:.2} hops, {:.2} % of the nearest found",
                lookups.count, lookups.queries, lookups.hops, lookups.found_percent
            )?;
        }
        if sessions.dials > 0 {
            writeln!(
                f,
                "  sessions   {:.2} a node, {} at least; {} dials, {} established",
                sessions.mean, sessions.min, sessions.dials, sessions.established
            )?;
            for (why, count) in &sessions.ended {
                writeln!(f, "  ended      {count:>7}  {why}")?;
            }
        }
        for (why, count) in &self.dropped {
            writeln!(f, "  dropped    {count:>7}  {why}")?;
        }
        writeln!(
            f,
            "  traffic    {} datagrams, {} lost, {:.0} bytes a node and second; {} bytes in streams",
            traffic.datagrams, traffic.datagrams_lost, traffic.datagram_bytes_per_node_s, traffic.stream_bytes
        )?;
        for (name, figure) in &self.figures {
            writeln!(f, "  {name:<34} {figure:.2}")?;
        }
        writeln!(
            f,
            "  {} events in {:.2} s: {:.1} times real time; trace {}",
            self.events,
            self.wall_s,
            self.speed(),
            self.trace_hash
        )?;
        match (&self.failure, self.settled_s) {
            (Some(failure), _) => {
                writeln!(f, "  FAILED     {failure}")?;
                writeln!(f, "  again      {}", self.command)?;
                f.write_str("  trace      add --trace FILE, then peerless replay FILE --state")
            }
            (None, Some(settled)) => write!(f, "  passed     settled {settled:.1} s after healing"),
            (None, None) => f.write_str("  passed"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:.6} s", self.kind, self.at_us as f64 / 1e6)?;
        if let Some(host) = self.host {
            write!(f, ", host {host}")?;
        }
        write!(f, ": {}", self.what)
    }
}
