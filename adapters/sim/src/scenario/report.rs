//! The report of a run: figures, a time series, and failures. All fields but `wall_s` are functions of the plan.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// The report of a run. Times in seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// Number of hosts.
    pub nodes: u32,
    /// The seed.
    pub seed: u64,
    /// The primitives: `real`, `memo` or `simmac`.
    pub crypto: String,
    /// The use of hosts' processors, if they were modelled.
    pub cpu: Option<CpuFigures>,
    /// Virtual time of the run.
    pub virtual_s: f64,
    /// Elapsed time on a real clock.
    pub wall_s: f64,
    /// Delivered events: datagrams, segments, timers, starts, ends.
    pub events: u64,
    /// The hash of all traffic between hosts and machines, in hexadecimal.
    pub trace_hash: String,
    /// The faults of the run.
    pub faults: Vec<String>,
    /// The time when all faults ended.
    pub healed_s: f64,
    /// The time after that until all demands held, if they did.
    pub settled_s: Option<f64>,
    /// The texts of the demands.
    pub demands: Vec<String>,
    /// The first failure.
    pub failure: Option<Failure>,
    /// The command that repeats the run.
    pub command: String,
    /// What each discovery protocol of the nodes did.
    pub discovery: Vec<DiscoveryFigures>,
    /// Sessions of honest nodes.
    pub sessions: SessionFigures,
    /// Datagrams dropped by the honest nodes that ran at the end, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Traffic of all hosts.
    pub traffic: TrafficFigures,
    /// The scenario's own figures.
    pub figures: BTreeMap<String, f64>,
    /// The samples, oldest first.
    pub series: Vec<Sample>,
}

/// A failure of a run.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Failure {
    /// `invariant`, `always`, `demand` or `panic`.
    pub kind: String,
    /// The time in microseconds.
    pub at_us: u64,
    /// The host, if the failure belongs to one.
    pub host: Option<u32>,
    /// The failure as text.
    pub what: String,
}

/// One discovery protocol.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct DiscoveryFigures {
    /// `discv4` or `discv5`.
    pub protocol: String,
    /// Tables of honest nodes at the end.
    pub table: TableFigures,
    /// Measured lookups of random targets since the end of all faults.
    pub lookups: LookupFigures,
}

/// Discovery tables.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct TableFigures {
    /// Average entries.
    pub mean: f64,
    /// The largest possible average: the sum over buckets of 16 or the nodes that belong there.
    pub ceiling: f64,
}

/// Lookups.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct LookupFigures {
    /// Number of measured lookups.
    pub count: u64,
    /// Average number of queried nodes.
    pub queries: f64,
    /// Average hops to the nearest node.
    pub hops: f64,
    /// The found part of the nearest 16, in percent.
    pub found_percent: f64,
    /// The median time of a lookup, in seconds.
    pub median_s: f64,
}

/// Sessions.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct SessionFigures {
    /// Average of a node at the end.
    pub mean: f64,
    /// Those of the node with the fewest.
    pub min: u64,
    /// Sessions established in the whole run, counted on both sides.
    pub established: u64,
    /// Dials in the whole run.
    pub dials: u64,
    /// Connections ended in the whole run, by stage and cause.
    pub ended: BTreeMap<String, u64>,
}

/// Processors.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CpuFigures {
    /// The factor of all costs, relative to a server's core.
    pub times: u32,
    /// The average part of the time in which they worked.
    pub busy_percent: f64,
    /// Inputs that waited because a machine worked.
    pub waited: u64,
    /// Their average waiting time.
    pub wait_mean_ms: f64,
    /// Datagrams that were dropped because too many waited.
    pub overrun: u64,
}

/// Traffic.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct TrafficFigures {
    /// Datagrams sent.
    pub datagrams: u64,
    /// Bytes of datagrams sent.
    pub datagram_bytes: u64,
    /// Datagrams lost.
    pub datagrams_lost: u64,
    /// Bytes written to streams.
    pub stream_bytes: u64,
    /// Average datagram bytes a second that one node sent.
    pub datagram_bytes_per_node_s: f64,
}

/// The state at one time.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Sample {
    /// The time.
    pub t_s: f64,
    /// Running machines.
    pub running: u32,
    /// Average table entries of an honest node.
    pub table: f64,
    /// Average sessions of an honest node.
    pub sessions: f64,
    /// Average sessions of an honest node with honest nodes.
    pub sessions_honest: f64,
    /// Measured lookups that ended since the last sample.
    pub lookups: u32,
    /// Average number of nodes that these lookups queried.
    pub queries: f64,
    /// Average hops to their nearest nodes.
    pub hops: f64,
    /// The found part of their nearest nodes, in percent.
    pub found_percent: f64,
    /// Datagrams a second that one node sent since the last sample.
    pub datagrams_per_node_s: f64,
    /// Bytes a second, in datagrams and streams, that one node sent since the last sample.
    pub bytes_per_node_s: f64,
}

impl Report {
    /// Whether there was no failure.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    /// The speed relative to a real clock.
    pub fn speed(&self) -> f64 {
        self.virtual_s / self.wall_s.max(1e-9)
    }
}

impl Report {
    /// The tables of the first protocol.
    pub fn table(&self) -> TableFigures {
        self.discovery.first().map(|figures| figures.table).unwrap_or_default()
    }

    /// The lookups of the first protocol.
    pub fn lookups(&self) -> LookupFigures {
        self.discovery.first().map(|figures| figures.lookups).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, traffic, .. } = self;
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
        for DiscoveryFigures { protocol, table, lookups } in &self.discovery {
            writeln!(f, "  table      {:.1} of at most {:.1} entries ({protocol})", table.mean, table.ceiling)?;
            if lookups.count > 0 {
                writeln!(
                    f,
                    "  lookups    {}: {:.1} queries, {:.2} hops, {:.2} % of the nearest found, median {:.2} s ({protocol})",
                    lookups.count, lookups.queries, lookups.hops, lookups.found_percent, lookups.median_s
                )?;
            }
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
