//! The command `nodeset info`: what a list holds, in numbers.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use peerless::netfilter::Subnet;
use serde::Serialize;

use super::dialect::{Format, Reading};
use super::model::Node;
use super::time::Time;
use crate::networks::ForkReport;

/// How many clients, subnets and forks are listed.
const LISTED_MAX: usize = 10;

/// The ages of last answers.
const AGES: [(&str, Duration); 4] = [
    ("1h", Duration::from_secs(3_600)),
    ("1d", Duration::from_secs(86_400)),
    ("7d", Duration::from_secs(7 * 86_400)),
    ("30d", Duration::from_secs(30 * 86_400)),
];

/// A number of nodes under a name.
#[derive(Serialize)]
struct Count {
    name: String,
    nodes: usize,
}

/// What a list holds.
#[derive(Serialize)]
pub(super) struct Info {
    format: Format,
    nodes: usize,
    records: usize,
    skipped: usize,
    repeated: u64,
    /// Entries of records, the most frequent first.
    entries: Vec<Count>,
    families: Vec<Count>,
    /// Nodes without a TCP or UDP port.
    no_tcp: usize,
    no_udp: usize,
    forks: Vec<Count>,
    clients: Vec<Count>,
    /// Nodes by the age of their last answer.
    ages: Vec<Count>,
    /// Lowest, middle and highest score.
    #[serde(skip_serializing_if = "Option::is_none")]
    scores: Option<[i64; 3]>,
    /// Number of subnets (IPv4 /24, IPv6 /56) and those with the most nodes.
    subnets: usize,
    largest_subnets: Vec<Count>,
}

impl Info {
    pub(super) fn new(reading: &Reading) -> Self {
        let nodes = reading.set.nodes();
        let entries = nodes
            .iter()
            .filter_map(Node::record)
            .flat_map(|record| record.entries().map(|(name, _)| name.escape_ascii().to_string()).collect::<Vec<_>>());
        let endpoints = || nodes.iter().map(Node::endpoints);
        let subnets = counted(nodes.iter().flat_map(|node| {
            let mut names: Vec<String> = node.endpoints().iter().map(|endpoint| subnet(endpoint.ip)).collect();
            names.dedup();
            names
        }));
        let now = Time::now();
        let mut scores: Vec<i64> = nodes.iter().filter_map(|node| node.score).collect();
        scores.sort_unstable();
        let lacks = |port: fn(&super::model::Endpoint) -> u16| {
            endpoints().filter(|all| all.iter().all(|at| port(at) == 0)).count()
        };
        Self {
            format: reading.format,
            nodes: nodes.len(),
            records: nodes.iter().filter(|node| node.record().is_some()).count(),
            skipped: reading.problems.len(),
            repeated: reading.repeated,
            entries: counted(entries),
            families: counted(endpoints().map(|all| {
                match (all.iter().any(|at| at.ip.is_ipv4()), all.iter().any(|at| at.ip.is_ipv6())) {
                    (true, true) => "IPv4 and IPv6",
                    (true, false) => "IPv4",
                    (false, true) => "IPv6",
                    (false, false) => "no address",
                }
                .to_owned()
            })),
            no_tcp: lacks(|at| at.tcp),
            no_udp: lacks(|at| at.udp),
            forks: counted(
                nodes.iter().map(|node| node.fork_id().map_or("none".to_owned(), |id| ForkReport::new(id).to_string())),
            ),
            clients: counted(nodes.iter().filter_map(Node::client).map(|name| software(&name).to_owned())),
            ages: counted_in_order(nodes.iter().map(|node| age(node, now))),
            scores: scores.first().zip(scores.last()).map(|(low, high)| [*low, scores[scores.len() / 2], *high]),
            subnets: subnets.len(),
            largest_subnets: subnets.into_iter().take(LISTED_MAX).collect(),
        }
    }
}

/// The name of a client without its version: `Geth` of `Geth/v1.16.2-stable/linux-amd64/go1.24`.
fn software(name: &str) -> &str {
    name.split(['/', ' ']).next().unwrap_or(name)
}

fn subnet(ip: std::net::IpAddr) -> String {
    let bytes = *Subnet::of(ip).as_bytes();
    match ip {
        std::net::IpAddr::V4(_) => format!("{}.{}.{}.0/24", bytes[0], bytes[1], bytes[2]),
        std::net::IpAddr::V6(ip) => {
            let mut octets = [0; 16];
            octets[..7].copy_from_slice(&ip.octets()[..7]);
            format!("{}/56", std::net::Ipv6Addr::from(octets))
        }
    }
}

fn age(node: &Node, now: Time) -> usize {
    let Some(last) = node.last_response else { return AGES.len() + 1 };
    AGES.iter().position(|(_, limit)| now.since(last) <= *limit).unwrap_or(AGES.len())
}

/// Counts names, the most frequent first.
fn counted(names: impl Iterator<Item = String>) -> Vec<Count> {
    let mut counts = BTreeMap::<String, usize>::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<Count> = counts.into_iter().map(|(name, nodes)| Count { name, nodes }).collect();
    counts.sort_by_key(|count| std::cmp::Reverse(count.nodes));
    counts
}

/// Counts ages, the youngest first.
fn counted_in_order(ages: impl Iterator<Item = usize>) -> Vec<Count> {
    let mut counts = BTreeMap::<usize, usize>::new();
    for age in ages {
        *counts.entry(age).or_default() += 1;
    }
    let name = |age: usize| match AGES.get(age) {
        Some((name, _)) => format!("within {name}"),
        None if age == AGES.len() => "older".to_owned(),
        None => "unknown".to_owned(),
    };
    counts.into_iter().map(|(age, nodes)| Count { name: name(age), nodes }).collect()
}

impl fmt::Display for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, title: &str, counts: &[Count]| -> fmt::Result {
            for (index, Count { name, nodes }) in counts.iter().take(LISTED_MAX).enumerate() {
                let title = if index == 0 { title } else { "" };
                write!(f, "\n{title:<13}{nodes:>7}  {name}")?;
            }
            match counts.len().saturating_sub(LISTED_MAX) {
                0 => Ok(()),
                more => write!(f, "\n{:<13}{:>7}  {more} more", "", ""),
            }
        };
        write!(f, "format       {} ({} nodes, {} with a record)", self.format, self.nodes, self.records)?;
        if self.skipped > 0 {
            write!(f, "\nskipped      {:>7}", self.skipped)?;
        }
        if self.repeated > 0 {
            write!(f, "\nrepeated     {:>7}", self.repeated)?;
        }
        list(f, "families", &self.families)?;
        write!(f, "\nports        {:>7}  without TCP\n             {:>7}  without UDP", self.no_tcp, self.no_udp)?;
        list(f, "entries", &self.entries)?;
        list(f, "forks", &self.forks)?;
        list(f, "clients", &self.clients)?;
        list(f, "last answer", &self.ages)?;
        if let Some([low, middle, high]) = self.scores {
            write!(f, "\nscores       {low} to {high}, median {middle}")?;
        }
        write!(f, "\nsubnets      {:>7}", self.subnets)?;
        list(f, "", &self.largest_subnets)
    }
}
