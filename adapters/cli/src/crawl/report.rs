//! The lines of a crawl for its user: progress, and the summary with its statistics.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use peerless::contract::Via;
use peerless::wire::enr::Record;
use peerless_crawl::Crawler;
use serde::Serialize;

use super::book::{Book, Seen};
use crate::networks::ForkReport;
use crate::output::{Output, warn};

/// Lines of each table of the summary as text.
const ROWS_MAX: usize = 10;

/// The counts of one protocol.
#[derive(Clone, Copy, Serialize)]
struct Counts {
    answered: u64,
    silent: u64,
    asking: u64,
    waiting: u64,
}

/// How far discovery has come.
#[derive(Serialize)]
pub(super) struct Progress {
    event: &'static str,
    elapsed_s: u64,
    found: u64,
    records: u64,
    discv4: Counts,
    discv5: Counts,
    /// Nodes in a second, of late.
    rate: u64,
    /// Seconds in which the known nodes would be asked at that rate.
    left_s: Option<u64>,
}

impl Progress {
    pub(super) fn new(elapsed: Duration, crawler: &Crawler) -> Self {
        let progress = crawler.progress();
        let counts = |via| {
            let of = progress.of(via);
            Counts { answered: of.answered, silent: of.silent, asking: of.asking, waiting: of.waiting }
        };
        Self {
            event: "progress",
            elapsed_s: elapsed.as_secs(),
            found: progress.found,
            records: progress.records,
            discv4: counts(Via::Discv4),
            discv5: counts(Via::Discv5),
            rate: progress.rate,
            left_s: progress.estimate.map(|left| left.as_secs()),
        }
    }

    /// Prints it: as JSON to stdout, as text to stderr, since stdout may have the list.
    pub(super) fn show(&self, output: &Output) {
        if output.is_json() { output.report(self) } else { warn(self) }
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = |count: fn(&Counts) -> u64| count(&self.discv4) + count(&self.discv5);
        write!(f, "{} s: {} nodes found, ", self.elapsed_s, self.found)?;
        write!(f, "{} answers, {} silent, ", sum(|counts| counts.answered), sum(|counts| counts.silent))?;
        write!(f, "{} being asked, {} waiting, ", sum(|counts| counts.asking), sum(|counts| counts.waiting))?;
        write!(f, "{} records, {} nodes/s", self.records, self.rate)?;
        match self.left_s {
            Some(left) if left > 0 => write!(f, ", {} left", humantime::format_duration(Duration::from_secs(left))),
            _ => Ok(()),
        }
    }
}

/// The end of a crawl.
#[derive(Serialize)]
pub(super) struct Summary {
    event: &'static str,
    is_complete: bool,
    elapsed_s: f64,
    /// Nodes that were heard of.
    found: u64,
    /// Nodes that have answered, by any protocol and by each.
    live: u64,
    live_discv4: u64,
    live_discv5: u64,
    /// Nodes that were asked and have not answered.
    silent: u64,
    /// Nodes that were not asked.
    unasked: u64,
    /// Live nodes with a record.
    with_record: u64,
    /// Nodes of the list before this crawl.
    earlier: u64,
    datagrams_in: u64,
    datagrams_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    /// The machine's memory for each node that was found.
    bytes_per_node: u64,
    /// Live nodes by address family.
    families: BTreeMap<&'static str, u64>,
    /// Live nodes by fork id.
    forks: BTreeMap<String, u64>,
    /// Nodes that were dialled, and of them those that sent a Hello and a Status.
    dialled: u64,
    hellos: u64,
    statuses: u64,
    /// Nodes that sent a Hello by the name of their software, and by name and version.
    clients: BTreeMap<String, u64>,
    versions: BTreeMap<String, u64>,
    /// Dialled nodes by the reason why the connection ended early.
    refusals: BTreeMap<String, u64>,
}

impl Summary {
    pub(super) fn new(is_complete: bool, elapsed: Duration, crawler: &Crawler, book: &Book) -> Self {
        let stats = crawler.stats();
        let live = || book.seen().iter().filter(|seen| seen.is_live());
        let count = |wanted: &dyn Fn(&Seen) -> bool| book.seen().iter().filter(|seen| wanted(seen)).count() as u64;
        let mut summary = Self {
            event: "summary",
            is_complete,
            elapsed_s: elapsed.as_millis() as f64 / 1000.0,
            found: book.seen().len() as u64,
            live: count(&Seen::is_live),
            live_discv4: count(&|seen| seen.has_answered(Via::Discv4)),
            live_discv5: count(&|seen| seen.has_answered(Via::Discv5)),
            silent: count(&|seen| seen.is_asked() && !seen.is_live()),
            unasked: count(&|seen| !seen.is_asked()),
            with_record: 0,
            earlier: book.earlier().nodes().len() as u64,
            datagrams_in: stats.datagrams_in.count,
            datagrams_out: stats.datagrams_out.count,
            bytes_in: stats.datagrams_in.bytes,
            bytes_out: stats.datagrams_out.bytes,
            bytes_per_node: Crawler::bytes_per_node() as u64,
            families: BTreeMap::new(),
            forks: BTreeMap::new(),
            dialled: 0,
            hellos: 0,
            statuses: 0,
            clients: BTreeMap::new(),
            versions: BTreeMap::new(),
            refusals: BTreeMap::new(),
        };
        for seen in live() {
            summary.add(seen, seen.record().as_ref());
        }
        summary
    }

    fn add(&mut self, seen: &Seen, record: Option<&Record>) {
        let add = |counts: &mut BTreeMap<String, u64>, name: String| *counts.entry(name).or_default() += 1;
        let family = match (record.is_some_and(|record| record.ip6().is_some()), seen.contact.ip().is_ipv4()) {
            (true, true) => "both",
            (false, true) => "ipv4",
            (_, false) => "ipv6",
        };
        *self.families.entry(family).or_default() += 1;
        self.with_record += u64::from(record.is_some());
        let identified = seen.identified.as_deref();
        let fork = record.and_then(Record::fork_id).or_else(|| identified?.fork_id());
        add(&mut self.forks, fork.map_or_else(|| "none".to_owned(), |id| ForkReport::new(id).to_string()));
        let Some(identified) = identified else { return };
        self.dialled += 1;
        if let Some(hello) = &identified.hello {
            self.hellos += 1;
            let mut parts = hello.client.split('/');
            let name = parts.next().unwrap_or_default().to_owned();
            let version = parts.next().unwrap_or_default().split(['-', '+']).next().unwrap_or_default();
            add(&mut self.versions, format!("{name}/{version}"));
            add(&mut self.clients, name);
        }
        self.statuses += u64::from(identified.status.is_some());
        if let Some(refused) = &identified.refused {
            add(&mut self.refusals, format!("{}: {}", refused.stage, refused.reason));
        }
    }

    /// Whether a node has answered.
    pub(super) fn has_answers(&self) -> bool {
        self.live > 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_complete { "complete" } else { "not complete" };
        write!(f, "{end} after {:.1} s: {} nodes found, {} live ", self.elapsed_s, self.found, self.live)?;
        write!(f, "({} by discv4, {} by discv5), {} silent", self.live_discv4, self.live_discv5, self.silent)?;
        if self.unasked > 0 {
            write!(f, ", {} not asked", self.unasked)?;
        }
        write!(f, "\n  records     {} of the live nodes", self.with_record)?;
        let (out, received) = (self.datagrams_out, self.datagrams_in);
        write!(f, "\n  datagrams   {out} out ({} bytes), {received} in ({} bytes)", self.bytes_out, self.bytes_in)?;
        write!(f, "\n  memory      {} bytes a node", self.bytes_per_node)?;
        let families: BTreeMap<String, u64> =
            self.families.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        table(f, "families", &families)?;
        table(f, "forks", &self.forks)?;
        if self.dialled > 0 {
            write!(f, "\n  dialled     {}: {} Hellos, {} Statuses", self.dialled, self.hellos, self.statuses)?;
            table(f, "clients", &self.clients)?;
            table(f, "versions", &self.versions)?;
            table(f, "refusals", &self.refusals)?;
        }
        Ok(())
    }
}

/// The largest counts of a table, one a line.
fn table(f: &mut fmt::Formatter<'_>, name: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    let mut rows: Vec<(&String, &u64)> = counts.iter().collect();
    rows.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (row, (what, count)) in rows.iter().take(ROWS_MAX).enumerate() {
        write!(f, "\n  {:<12}{count:>6}  {what}", if row == 0 { name } else { "" })?;
    }
    match rows.len().checked_sub(ROWS_MAX) {
        Some(more) if more > 0 => write!(f, "\n{:>20}  and {more} more", ""),
        _ => Ok(()),
    }
}
