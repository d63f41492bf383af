//! Common demands of scenarios, each as a check.

use std::fmt;

use peerless::contract::{EndReason, ScoreReason, Side};
use peerless::node::Node;

use super::Run;
use crate::HostId;

/// The actual state where a demand does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unmet {
    /// The host whose trace shows the failure, if there is one.
    pub host: Option<HostId>,
    /// The actual state as text.
    pub what: String,
}

impl Unmet {
    /// Makes a failure at a host.
    pub fn of(host: HostId, what: impl Into<String>) -> Self {
        Self { host: Some(host), what: what.into() }
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for Unmet {}

impl From<String> for Unmet {
    fn from(what: String) -> Self {
        Self { host: None, what }
    }
}

/// Every honest node is in session with at least so many others, or with all others if they are fewer.
pub fn sessions(min: usize) -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    sessions_with(min, |_, _, _| true)
}

/// Every honest node is in session with at least so many of the others that count.
pub fn sessions_with(
    min: usize,
    counts: impl Fn(&Run, HostId, HostId) -> bool + Send + Sync,
) -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    move |run| {
        for (host, node) in run.honest() {
            let has = run.peers(node).filter(|peer| counts(run, host, *peer)).count();
            if has < min {
                return Err(Unmet::of(host, format!("host {} is in session with {has}", host.0)));
            }
        }
        Ok(())
    }
}

/// The whole number of nodes that is nearest to so many percent of `nodes`, a half rounded down: nine of ten of eight
/// nodes are seven.
pub(super) fn share(nodes: usize, percent: usize) -> usize {
    (nodes * percent + 49) / 100
}

/// So many percent of the honest nodes, rounded, have all the peers that they dial for: their own share of slots is
/// taken.
pub fn fully_peered(percent: usize) -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    move |run| {
        let nodes = run.honest().count();
        let satisfied = run.honest().filter(|(_, node)| {
            let (counts, config) = (node.peers().counts(), node.peers().config());
            counts.outbound >= config.max_dialled() || counts.established >= config.max_peers
        });
        let satisfied = satisfied.count();
        if satisfied >= share(nodes, percent) { Ok(()) } else { Err(format!("{satisfied} of {nodes} have").into()) }
    }
}

/// Tables hold so many percent of their capacity on average, and every honest node's at least half of that.
pub fn tables(percent: u32) -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    move |run| {
        let min = Run::table_ceiling(run.plan.nodes) * f64::from(percent) / 100.0;
        for via in run.plan.protocols.each() {
            let mean = run.mean(|_, node| run.known_via(node, *via).count());
            if mean < min {
                return Err(format!("tables hold {mean:.1}, not {min:.1}").into());
            }
            for (host, node) in run.honest() {
                let has = run.known_via(node, *via).count();
                if (has as f64) < min / 2.0 {
                    return Err(Unmet::of(host, format!("the table of host {} holds {has}", host.0)));
                }
            }
        }
        Ok(())
    }
}

/// No honest node has ended a connection to an honest one for a fault, and none has banned one.
pub fn no_honest_faults() -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    move |run| {
        for (host, node) in run.honest() {
            for (banned, ban) in node.peers().bans().iter(run.world.now()) {
                if let peerless::peers::Banned::Id(id) = banned
                    && let Some(other) = run.host_of(id)
                    && run.is_honest(other)
                    && run.role(other).network == run.role(host).network
                {
                    let what = format!("host {} banned the honest host {}: {}", host.0, other.0, ban.reason);
                    return Err(Unmet::of(host, what));
                }
            }
        }
        Ok(())
    }
}

/// No honest node has ended a session with an honest one of its network for a fault.
pub fn no_honest_accusations() -> impl Fn(&Run) -> Result<(), String> + Send + Sync {
    move |run| {
        for host in run.world.hosts().filter(|host| run.is_honest(*host)) {
            let accused = run.world.watch(host).accused.iter().filter_map(|id| run.host_of(id));
            let innocent = |other: &HostId| run.is_honest(*other) && run.role(*other).network == run.role(host).network;
            if let Some(other) = { accused }.find(innocent) {
                return Err(format!("host {} accused host {}", host.0, other.0));
            }
        }
        Ok(())
    }
}

/// No connection of an honest node has ended for a fault: for worlds without hostile hosts.
pub fn no_faults() -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    move |run| {
        for host in run.world.hosts() {
            let ended = &run.world.watch(host).ended;
            if let Some((end, _)) =
                ended.iter().find(|(end, _)| end.by == Side::Us && matches!(end.why, EndReason::Fault(_)))
            {
                return Err(Unmet::of(host, format!("host {}: a connection {end}", host.0)));
            }
        }
        Ok(())
    }
}

/// The entries of honest nodes in a table that are not at their addresses.
pub(super) fn moved(run: &Run, node: &Node) -> usize {
    let entries = node.discovery().discv4().into_iter().flat_map(|discovery| discovery.table().entries());
    let is_moved =
        |addr: std::net::SocketAddr, host: HostId| run.is_honest(host) && addr != run.world.addr(host).into();
    entries
        .filter(|entry| {
            run.host_of(&entry.contact().id()).is_some_and(|host| is_moved(entry.contact().udp_addr(), host))
        })
        .count()
}

/// Each entry of an honest node is at that node's own address.
pub fn no_moved_entries() -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    |run| {
        let found = run.honest().map(|(host, node)| (host, moved(run, node))).find(|(_, moved)| *moved > 0);
        found.map_or(Ok(()), |(host, moved)| Err(Unmet::of(host, format!("{moved} of host {} are not", host.0))))
    }
}

/// The charges for faults in a node's ledgers.
pub(super) fn charged(node: &Node) -> usize {
    let entries = node.peers().ledgers().iter().flat_map(|(_, ledger)| ledger.entries());
    entries.filter(|entry| matches!(entry.reason, ScoreReason::Fault(_))).count()
}

/// No node has charged another with a fault, for worlds without hostile hosts.
pub fn no_charges() -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    |run| {
        let found = run.honest().map(|(host, node)| (host, charged(node))).find(|(_, charged)| *charged > 0);
        found.map_or(Ok(()), |(host, count)| Err(Unmet::of(host, format!("host {} has charged {count}", host.0))))
    }
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn nine_of_ten_is_not_all_of_eight() {
        let nine_of_ten = [1, 2, 4, 5, 8, 10, 13, 14, 100].map(|nodes| share(nodes, 90));
        assert_eq!(nine_of_ten, [1, 2, 4, 4, 7, 9, 12, 13, 90]);
        assert_eq!((share(8, 75), share(8, 50), share(13, 98), share(0, 90)), (6, 4, 13, 0));
    }
}
