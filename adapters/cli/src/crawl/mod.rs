//! The commands `crawl`, `discv4 crawl` and `discv5 crawl`: every node of a network, as lists, a graph and statistics.
//!
//! The crawl itself is the machine of `peerless-crawl`. This file runs it over sockets; `journal` keeps what it tells for a run
//! that resumes it, `book` makes node lists of that, `graph` writes the neighbours of each node, `dials` asks for Hello and
//! Status, `report` has the lines for the user.

mod book;
mod dials;
mod graph;
mod journal;
mod report;
#[cfg(test)]
mod tests;

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless::contract::Via;
use peerless::netfilter::NetFilter;
use peerless::wire::enode::Contact;
use peerless_crawl::{Config, CrawlCommand, CrawlEvent, Crawler, Depth, Outcome as Visit};
use peerless_mio::{Driver, Listen};

use crate::files::{self, Overwrite, Readers};
use crate::key::Identity;
use crate::nodeset::{Format, NodeSet};
use crate::output::{Output, warn};
use crate::target::{Target, resolve_all};
use crate::targets::Targets;
use crate::{Outcome, driving, key, networks, nodeset};

use self::book::Book;
use self::journal::{Fact, Journal};
use self::report::{Progress, Summary};

/// Longest sleep of a turn, after which the program checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Arguments of `crawl`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Node lists to write, each in the format of its extension: json (geth's), ndjson, csv, parquet, txt, yaml. If the first
    /// exists, its nodes are asked too and their scores go on [default: the nodes go to stdout]
    #[arg(value_name = "FILE")]
    lists: Vec<PathBuf>,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    network: networks::Selection,
    /// Nodes to start from, instead of the network's own; a file may be a list of any format
    #[arg(long, env = "PEERLESS_BOOTNODES", value_name = "ENODE|ENR|FILE,...")]
    bootnodes: Option<Targets>,
    /// Address to listen at [default: every address of this machine, IPv4 and IPv6]
    #[arg(long, env = "PEERLESS_ADDR", value_name = "IP")]
    addr: Option<IpAddr>,
    /// Discovery port; 0 takes any
    #[arg(long, env = "PEERLESS_PORT", default_value_t = 0)]
    port: u16,
    /// Time limit of discovery
    #[arg(long, env = "PEERLESS_TIMEOUT", default_value = "30m", value_name = "TIME")]
    timeout: humantime::Duration,
    /// Nodes that are asked at once
    #[arg(long, env = "PEERLESS_PARALLEL", default_value_t = 4096, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    parallel: u32,
    /// Datagrams to send in a second
    #[arg(long, env = "PEERLESS_RATE", default_value_t = 4000, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Datagrams to send in a second to one IPv4 /24 or IPv6 /56
    #[arg(long = "subnet-rate", env = "PEERLESS_SUBNET_RATE", default_value_t = 32, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    subnet_rate: u32,
    /// Ask each node for all of its buckets, not only while they name new nodes; --graph implies it
    #[arg(long, env = "PEERLESS_WHOLE", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    whole: bool,
    /// Write which node names which: lines of JSON, or a table of edges if the name ends in .csv
    #[arg(long, env = "PEERLESS_GRAPH", value_name = "FILE")]
    graph: Option<PathBuf>,
    /// Where to keep what was found, for --resume [default: the first list's name with .journal; none without a list]
    #[arg(long, env = "PEERLESS_JOURNAL", value_name = "FILE")]
    journal: Option<PathBuf>,
    /// Go on with the crawl of the journal
    #[arg(long, env = "PEERLESS_RESUME", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    resume: bool,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    dials: dials::Identification,
    /// Time between two lines of progress
    #[arg(long, env = "PEERLESS_INTERVAL", default_value = "5s", value_name = "TIME")]
    interval: humantime::Duration,
}

/// How a phase ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    /// Nothing is left to ask.
    Complete,
    /// The time limit.
    TimeLimit,
    /// A signal.
    Interrupted,
}

/// What was found, in memory and in the journal.
struct Store {
    book: Book,
    journal: Option<Journal>,
    /// The first error in writing.
    error: Option<anyhow::Error>,
}

impl Store {
    fn note(&mut self, fact: Fact) {
        if let Some(journal) = &mut self.journal
            && let Err(error) = journal.write(&fact)
        {
            self.error.get_or_insert(error);
        }
        self.book.note(fact);
    }

    /// Hands what was written to the operating system, so that a kill loses nothing.
    fn flush(&mut self) -> Result<()> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        self.journal.as_mut().map_or(Ok(()), Journal::flush)
    }
}

/// Runs `crawl` by these protocols.
pub(crate) fn run(output: &Output, filter: &NetFilter, vias: &[Via], arguments: &Arguments) -> Result<Outcome> {
    for list in &arguments.lists {
        format_of(list)?;
    }
    if let Some(graph) = &arguments.graph {
        files::check(graph, &[], arguments.overwrite)?;
    }
    let path = arguments.journal_path();
    let mut store = Store { book: Book::new(arguments.earlier()?), journal: None, error: None };
    if let Some(path) = &path {
        let (journal, facts) = Journal::open(path, arguments.resume, arguments.overwrite)?;
        facts.into_iter().for_each(|fact| store.book.note(fact));
        store.journal = Some(journal);
    } else if arguments.resume {
        bail!("name the journal to resume by --journal, or the list that it belongs to");
    }
    let interrupt = driving::Interrupt::listen()?;
    let begun = Instant::now();
    let mut driver = arguments.start(filter, vias, &store.book)?;
    let mut end = discover(output, arguments, &mut driver, &interrupt, &mut store)?;
    if end != End::Interrupted && arguments.dials.is_wanted() {
        let identified = dials::run(output, filter, arguments, &interrupt, &mut store)?;
        end = if identified == End::Interrupted { identified } else { end };
    }
    let summary = Summary::new(end == End::Complete, begun.elapsed(), driver.machine(), &store.book);
    if end == End::Interrupted
        && let Some(path) = &path
    {
        output.report(&summary);
        warn(format_args!("interrupted; --resume goes on with {}", path.display()));
        return Ok(Outcome::Failure);
    }
    arguments.write(output, &store.book)?;
    if arguments.journal.is_none()
        && let Some(path) = path
    {
        std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    output.report(&summary);
    if !summary.has_answers() {
        warn("no node has answered");
    }
    Ok(if summary.has_answers() { Outcome::Success } else { Outcome::Failure })
}

/// Runs the crawler until nothing is left to ask, the time limit or a signal.
fn discover(
    output: &Output,
    arguments: &Arguments,
    driver: &mut Driver<Crawler>,
    interrupt: &driving::Interrupt,
    store: &mut Store,
) -> Result<End> {
    let (begun, mut end) = (Instant::now(), End::Complete);
    let mut next_line = begun + *arguments.interval;
    while !driver.machine().is_done() {
        driver.turn(Some(LOOK_INTERVAL), |event| note(store, event))?;
        store.flush()?;
        let now = Instant::now();
        if now >= next_line {
            next_line = now + *arguments.interval;
            Progress::new(begun.elapsed(), driver.machine()).show(output);
        }
        let stop = match (interrupt.is_set(), now >= begun + *arguments.timeout) {
            (true, _) => End::Interrupted,
            (false, true) => End::TimeLimit,
            (false, false) => continue,
        };
        if driver.command(CrawlCommand::Stop).is_ok() {
            end = stop;
        }
    }
    // What the end led to.
    driver.turn(Some(Duration::ZERO), |event| note(store, event))?;
    store.flush()?;
    Progress::new(begun.elapsed(), driver.machine()).show(output);
    Ok(end)
}

fn note(store: &mut Store, event: CrawlEvent<'_>) {
    let at = networks::unix_now();
    store.note(match event {
        CrawlEvent::Found { node, contact } => Fact::Found { node, contact },
        CrawlEvent::Record { node, seq, record } => Fact::Record { node, seq, record: record.into_owned() },
        CrawlEvent::Visited { node, via, outcome, neighbours } => {
            let rtt = match outcome {
                Visit::Answered { rtt } => Some(rtt),
                Visit::Silent => None,
            };
            Fact::Visited { node, via, at, rtt, neighbours: neighbours.into_vec() }
        }
        CrawlEvent::Done { .. } => return,
    });
}

impl Arguments {
    /// The nodes of the first list, if it exists.
    fn earlier(&self) -> Result<NodeSet> {
        match self.lists.first() {
            Some(list) if list.exists() && format_of(list)?.is_readable() => Ok(nodeset::read_file(list, false)?.set),
            _ => Ok(NodeSet::default()),
        }
    }

    fn journal_path(&self) -> Option<PathBuf> {
        self.journal.clone().or_else(|| {
            let mut name = self.lists.first()?.clone().into_os_string();
            name.push(".journal");
            Some(name.into())
        })
    }

    fn start(&self, filter: &NetFilter, vias: &[Via], book: &Book) -> Result<Driver<Crawler>> {
        let choice = self.network.choose()?;
        let mut bootnodes = match &self.bootnodes {
            Some(named) => resolve_all(&named.load()?)?,
            None => choice.bootnodes,
        };
        bootnodes.extend(book.earlier().nodes().iter().filter_map(|node| contact(&node.target)));
        if bootnodes.is_empty() && book.is_empty() {
            bail!(
                "there is no node to start from: name some by --bootnodes, a --network, or a list of an earlier crawl"
            );
        }
        let mut config = Config::new(self.identity.load_or_create()?);
        config.record_seq = driving::record_seq();
        config.filter = filter.clone();
        (config.discv4, config.discv5) = (vias.contains(&Via::Discv4), vias.contains(&Via::Discv5));
        (config.known, config.bootnodes) = (book.known(), bootnodes);
        config.neighbours = self.graph.is_some();
        config.depth = if self.whole || config.neighbours { Depth::Whole } else { Depth::Fresh };
        config.limits.visits_max = self.parallel;
        config.limits.datagrams_per_second = self.rate;
        config.limits.subnet_datagrams_per_second = self.subnet_rate;
        let ip = self.addr.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
        let listen = Listen::default().and_udp(SocketAddr::new(ip, self.port));
        let (sockets, assumed) = driving::bind_to(&mut config.addresses, &listen)?;
        assumed.into_iter().for_each(|ip| config.addresses.set_ip(ip));
        let seed = key::entropy()?;
        Driver::new(sockets, |now, unix| Crawler::new(config, seed, now, unix).context("the crawl cannot start"))
    }

    /// Writes the lists and the graph, or the nodes to stdout.
    fn write(&self, output: &Output, book: &Book) -> Result<()> {
        if let Some(path) = &self.graph {
            let mut file = files::create(path, &[], self.overwrite, Readers::All)?;
            let is_table = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
            let bytes = if is_table { graph::edges(book) } else { graph::adjacency(book)? };
            file.write_all(&bytes).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let set = book.nodes();
        if self.lists.is_empty() {
            let format = if output.is_json() { Format::Ndjson } else { Format::Text };
            let mut out = std::io::stdout().lock();
            if out.write_all(&format.write(&set)?.0).and_then(|()| out.flush()).is_err() {
                // The reader has closed the pipe, as `head` does.
                std::process::exit(1);
            }
        }
        for list in &self.lists {
            let (bytes, losses) = format_of(list)?.write(&set)?;
            replace(list, &bytes)?;
            if !losses.is_empty() {
                warn(format_args!("{} has no place for: {losses}", list.display()));
            }
        }
        Ok(())
    }
}

/// The format of a list by its extension: geth's for JSON.
fn format_of(path: &Path) -> Result<Format> {
    let extension = path.extension().map(|extension| extension.to_string_lossy().into_owned()).unwrap_or_default();
    match Format::of_extension(&extension) {
        Some(format) => Ok(format),
        None if extension.eq_ignore_ascii_case("json") => Ok(Format::Geth),
        None => bail!("{} ends in no format's extension: json, ndjson, csv, parquet, txt, yaml", path.display()),
    }
}

/// Replaces a file by way of another one beside it, so that a kill leaves either the old or the new content.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut beside = path.to_path_buf().into_os_string();
    beside.push(".new");
    std::fs::write(&beside, bytes)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The endpoint of a node in a list; host names are passed over.
fn contact(target: &Target) -> Option<Contact> {
    match target {
        Target::Record(record) => record.contact(),
        Target::Enode(enode) => enode.contact(),
    }
}
