//! The filters of `nodeset filter`: geth's, and some more. A node passes if it passes all.

use std::ffi::OsString;
use std::net::IpAddr;

use anyhow::Result;
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless::netfilter::Cidr;
use peerless::wire::forkid::ForkSchedule;

use super::model::{Node, NodeSet};
use crate::eth_network::Chain;

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Family {
    /// IPv4
    #[value(name = "4")]
    V4,
    /// IPv6
    #[value(name = "6")]
    V6,
}

impl Family {
    fn is_of(self, ip: &IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }
}

/// Which nodes to keep.
#[derive(Args, Clone, Debug)]
pub(crate) struct Filters {
    /// At most so many nodes, those with the highest scores
    #[arg(long, env = "PEERLESS_LIMIT", value_name = "N")]
    limit: Option<usize>,
    /// Nodes with an address in this range
    #[arg(long, env = "PEERLESS_IP", value_name = "CIDR")]
    ip: Option<Cidr>,
    /// Nodes whose last answer is at least so long after their first
    #[arg(long, env = "PEERLESS_MIN_AGE", value_name = "TIME")]
    min_age: Option<humantime::Duration>,
    #[command(flatten)]
    chain: Chain,
    /// Nodes whose record has the entry `snap`
    #[arg(long, env = "PEERLESS_SNAP", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    snap: bool,
    /// Nodes whose software's name has this text in it, in any letter case
    #[arg(long, env = "PEERLESS_CLIENT", value_name = "TEXT")]
    client: Option<String>,
    /// Nodes with at least this score
    #[arg(long, env = "PEERLESS_SCORE", value_name = "N", allow_negative_numbers = true)]
    score: Option<i64>,
    /// Nodes with an address of this family
    #[arg(long, env = "PEERLESS_FAMILY")]
    family: Option<Family>,
    /// Nodes whose record has an entry with this name; several demand all
    #[arg(long, env = "PEERLESS_KEY", value_name = "NAME", value_delimiter = ',')]
    key: Vec<String>,
}

impl Filters {
    /// The files that are read.
    pub(crate) fn files(&self) -> Vec<&std::path::Path> {
        self.chain.files()
    }

    /// The nodes that pass, in their order.
    ///
    /// # Errors
    /// If the genesis file cannot be read.
    pub(crate) fn apply(&self, set: NodeSet) -> Result<NodeSet> {
        let forks = self.chain.load()?.map(|(schedule, _)| schedule);
        let mut kept: Vec<Node> = set.into_nodes();
        kept.retain(|node| self.passes(node, forks.as_ref()));
        if let Some(limit) = self.limit
            && limit < kept.len()
        {
            let mut ranks: Vec<usize> = (0..kept.len()).collect();
            ranks.sort_by_key(|at| (std::cmp::Reverse(kept[*at].score.unwrap_or(0)), *at));
            let mut chosen = vec![false; kept.len()];
            ranks.iter().take(limit).for_each(|at| chosen[*at] = true);
            let mut chosen = chosen.into_iter();
            kept.retain(|_| chosen.next().unwrap_or(false));
        }
        Ok(kept.into_iter().collect())
    }

    fn passes(&self, node: &Node, forks: Option<&ForkSchedule>) -> bool {
        let has_entry = |name: &[u8]| node.record().is_some_and(|record| record.get(name).is_some());
        let endpoints = node.endpoints();
        self.ip.is_none_or(|range| endpoints.iter().any(|endpoint| range.contains(endpoint.ip)))
            && self.family.is_none_or(|family| endpoints.iter().any(|endpoint| family.is_of(&endpoint.ip)))
            && self.min_age.is_none_or(|min| match (node.first_response, node.last_response) {
                (Some(first), Some(last)) => last.since(first) >= *min,
                _ => false,
            })
            && forks.is_none_or(|forks| node.fork_id().is_some_and(|id| forks.validate_static(id).is_ok()))
            && (!self.snap || has_entry(b"snap"))
            && self
                .client
                .as_ref()
                .is_none_or(|text| node.client().is_some_and(|name| name.to_lowercase().contains(&text.to_lowercase())))
            && self.score.is_none_or(|min| node.score.unwrap_or(0) >= min)
            && self.key.iter().all(|name| has_entry(name.as_bytes()))
    }
}

/// The filters that geth writes with a single hyphen.
const GETH_FLAGS: [&str; 5] = ["-limit", "-ip", "-min-age", "-eth-network", "-snap"];

/// Command-line arguments in which geth's filters have two hyphens, so that its command lines can be used as they are.
pub(crate) fn with_geth_flags(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    let is_filter = arguments.windows(2).any(|pair| pair[0] == "nodeset" && pair[1] == "filter");
    for argument in arguments.iter_mut().filter(|_| is_filter) {
        let text = argument.to_string_lossy();
        let name = text.split('=').next().unwrap_or_default();
        if GETH_FLAGS.contains(&name) {
            *argument = format!("-{text}").into();
        }
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_of_geth_may_have_one_hyphen() {
        let line = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let given = line("peerless nodeset filter a.json -limit 5 -ip=10.0.0.0/8 -snap -h");
        let taken = line("peerless nodeset filter a.json --limit 5 --ip=10.0.0.0/8 --snap -h");
        assert_eq!(with_geth_flags(given.into_iter()), taken);
        let other = line("peerless ping -limit 5");
        assert_eq!(with_geth_flags(other.clone().into_iter()), other);
    }
}
