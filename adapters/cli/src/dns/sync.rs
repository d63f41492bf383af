//! The command `dns sync`: reads a whole list by the machine that nodes use, and verifies every entry.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use clap::Args;
use peerless::crypto::Secp256k1;
use peerless::dns::{Config, Reader, Tree};
use peerless::limits::{LIST_QUERIES_PER_SECOND, LIST_RECORDS_MAX};
use peerless::netfilter::NetFilter;
use peerless::wire::dns::Link;
use peerless::wire::enr::Record;
use peerless_mio::{DnsResolver, Driver, Listen, Sockets};
use serde::Serialize;

use super::Servers;
use super::folder::{Folder, Info, now};
use crate::files::Overwrite;
use crate::output::Output;
use crate::{Outcome, driving, key};

/// Longest sleep of a turn, after which the program checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Time for the root. Later, the list is read until its end.
const ROOT_LIMIT: Duration = Duration::from_secs(20);

/// Arguments of `dns sync`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The list
    #[arg(value_name = "ENRTREE")]
    url: Link,
    /// The folder to write the definition into [default: only report]
    #[arg(long, env = "PEERLESS_OUT", value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    #[command(flatten)]
    servers: Servers,
    /// Queries in a second
    #[arg(long, env = "PEERLESS_RATE", default_value_t = LIST_QUERIES_PER_SECOND, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Give up after this time [default: when the list is read]
    #[arg(long, env = "PEERLESS_TIMEOUT", value_name = "DURATION", value_parser = humantime::parse_duration)]
    timeout: Option<Duration>,
}

/// Runs `dns sync`.
pub(super) fn run(output: &Output, filter: &NetFilter, arguments: &Arguments) -> Result<Outcome> {
    if let Some(folder) = &arguments.out
        && Folder::exists(folder)
        && !arguments.overwrite.is_allowed()
    {
        bail!("{} holds a list: name another folder, or replace it by --force", folder.display());
    }
    let servers = arguments.servers.choose(filter)?;
    let mut config = Config::new(vec![arguments.url.clone()]);
    (config.queries_per_second, config.queries_burst) = (arguments.rate, arguments.rate.max(10));
    (config.records_kept, config.follows_links) = (LIST_RECORDS_MAX as usize, false);
    let seed = key::entropy()?;
    let make = |now, unix| Ok::<_, Infallible>(Reader::new(config, seed, now, unix, Arc::new(Secp256k1::new())));
    let mut driver = Driver::new(Sockets::bind(&Listen::default())?, make)?;
    driver.set_resolver(Box::new(DnsResolver::new(servers, driver.waker())?));

    let interrupt = driving::Interrupt::listen()?;
    let begun = Instant::now();
    loop {
        driver.turn(Some(LOOK_INTERVAL), |_| ())?;
        let (_, tree) = first(driver.machine())?;
        if tree.is_walked() {
            break;
        }
        if interrupt.is_set() {
            bail!("interrupted");
        }
        if tree.root().is_none() && begun.elapsed() >= ROOT_LIMIT.min(arguments.timeout.unwrap_or(ROOT_LIMIT)) {
            bail!("no valid root at {}{}", arguments.url.domain, last_defect(tree));
        }
        if arguments.timeout.is_some_and(|limit| begun.elapsed() >= limit) {
            let left = tree.entries_left();
            bail!("time is up, and at least {left} entries are missing{}", last_defect(tree));
        }
    }
    let (_, tree) = first(driver.machine())?;
    let report = Report::new(tree);
    if report.missing == 0
        && let Some(path) = &arguments.out
    {
        folder(path, tree)?.write()?;
    }
    output.report(&report);
    if report.missing > 0 {
        bail!("{} entries are missing{}", report.missing, last_defect(tree));
    }
    Ok(Outcome::Success)
}

fn first(reader: &Reader) -> Result<(peerless::dns::TreeId, &Tree)> {
    reader.dns().trees().next().ok_or_else(|| anyhow!("no list is read"))
}

fn last_defect(tree: &Tree) -> String {
    tree.last_defect().map(|defect| format!(": {defect}")).unwrap_or_default()
}

/// The definition of what was read.
fn folder(path: &std::path::Path, tree: &Tree) -> Result<Folder> {
    let root = tree.root().ok_or_else(|| anyhow!("no root was read"))?;
    let text = root.to_string();
    let signature = text.rsplit_once("sig=").map(|(_, signature)| signature.to_owned()).unwrap_or_default();
    let mut links: Vec<String> = tree.links().iter().map(ToString::to_string).collect();
    links.sort();
    let (url, seq) = (tree.link().to_string(), root.seq);
    let info = Info { url, seq, signature, links: Some(links), last_modified: now() };
    let records: Vec<Record> = tree.records().cloned().collect();
    Ok(Folder::new(path, info, &records))
}

#[derive(Serialize)]
struct Report {
    url: String,
    seq: Option<u64>,
    nodes: usize,
    links: usize,
    missing: u64,
    defects: BTreeMap<String, u64>,
}

impl Report {
    fn new(tree: &Tree) -> Self {
        Self {
            url: tree.link().to_string(),
            seq: tree.root().map(|root| root.seq),
            nodes: tree.records_kept(),
            links: tree.links().len(),
            missing: tree.entries_given_up(),
            defects: tree.defects().map(|(defect, count)| (defect.to_string(), count)).collect(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, nodes, links, missing, defects, .. } = self;
        write!(f, "{url}\nsequence {}: {nodes} nodes, {links} links", self.seq.unwrap_or(0))?;
        if *missing > 0 {
            write!(f, ", {missing} entries missing")?;
        }
        defects.iter().try_for_each(|(defect, count)| write!(f, "\n{count} times: {defect}"))
    }
}
