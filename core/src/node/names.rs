//! Host names of static peers and bootnodes: which are asked, and which bootnodes they stand for.
//!
//! The driver resolves names (`Action::Query`, `Input::Answer`). A static peer's name is asked before each dial; `peers` knows
//! when that is. A bootnode's is asked at the start and again: soon after a failure, else when its answer is old.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::IpAddr;

use super::Node;
use crate::contract::{Answer, CommandError, Context, Event, HostFailure, PeerKind, Query, QueryFault, QueryId};
use crate::crypto::NodeId;
use crate::limits::{NAME_REFRESH, NAME_RETRY, NAMED_BOOTNODE_ADDRS_MAX, NAMED_BOOTNODES_MAX};
use crate::peers::usable_ips;
use crate::time::{Duration, Instant};
use crate::wire::enode::{Contact, NamedNode};

/// The ids of these queries; those of other parts of a node are below.
const FIRST_QUERY: u64 = 1 << 63;

/// A bootnode with a host name.
#[derive(Debug)]
struct Boot {
    node: NamedNode,
    id: NodeId,
    /// Its addresses, as of the last answer.
    found: Vec<Contact>,
    failures: u32,
    /// When its name is asked; `None` while it is.
    due: Option<Instant>,
}

/// Who asked for a name.
#[derive(Clone, Copy, Debug)]
enum Asked {
    Peer(NodeId),
    Boot(NodeId),
}

/// The bootnodes, and the names that are being resolved.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// Bootnodes that have addresses.
    literal: Vec<Contact>,
    boots: Vec<Boot>,
    open: BTreeMap<QueryId, Asked>,
    asked: u64,
}

impl Names {
    /// The bootnodes of a configuration.
    pub(super) fn new(now: Instant, literal: Vec<Contact>, named: &[NamedNode]) -> Self {
        let mut names = Self { literal, ..Self::default() };
        names.set_named(now, named);
        names
    }

    fn set_named(&mut self, now: Instant, named: &[NamedNode]) {
        let boot = |node: &NamedNode| {
            let id = node.key.node_id();
            Boot { node: node.clone(), id, found: Vec::new(), failures: 0, due: Some(now) }
        };
        self.boots = named.iter().take(NAMED_BOOTNODES_MAX).map(boot).collect();
    }

    /// When the next name of a bootnode is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.boots.iter().filter_map(|boot| boot.due).min()
    }

    /// All bootnodes at their addresses.
    fn bootnodes(&self) -> Vec<Contact> {
        let found = self.boots.iter().flat_map(|boot| &boot.found);
        self.literal.iter().chain(found).copied().collect()
    }

    fn ask(&mut self, context: &mut Context, host: &str, asked: Asked) {
        let id = QueryId(FIRST_QUERY + self.asked);
        self.asked += 1;
        self.open.insert(id, asked);
        context.out.query(id, Query::Host(host));
    }

    fn ask_due(&mut self, context: &mut Context) {
        for at in 0..self.boots.len() {
            let boot = &mut self.boots[at];
            if boot.due.take_if(|due| *due <= context.now()).is_some() {
                let (host, id) = (boot.node.host.clone(), boot.id);
                self.ask(context, &host, Asked::Boot(id));
            }
        }
    }

    /// Notes a bootnode's addresses, and when to ask again. Returns whether they have changed.
    fn note(&mut self, now: Instant, id: NodeId, ips: &Result<Vec<IpAddr>, HostFailure>, ttl: Duration) -> bool {
        let mut is_changed = false;
        for boot in self.boots.iter_mut().filter(|boot| boot.id == id) {
            let wait = match ips {
                Ok(ips) => {
                    boot.failures = 0;
                    let ips = ips.iter().take(NAMED_BOOTNODE_ADDRS_MAX);
                    let found: Vec<Contact> = ips.map(|ip| boot.node.at(*ip)).collect();
                    is_changed |= found != boot.found;
                    boot.found = found;
                    ttl.max(NAME_REFRESH)
                }
                Err(_) => {
                    boot.failures = boot.failures.saturating_add(1);
                    NAME_RETRY.saturating_mul(1 << (boot.failures - 1).min(8)).min(NAME_REFRESH)
                }
            };
            boot.due = Some(now + wait);
        }
        is_changed
    }
}

impl Node {
    /// Replaces the bootnodes that have addresses.
    pub(super) fn set_bootnodes(&mut self, nodes: &[Contact]) -> Result<(), CommandError> {
        self.discovery.set_bootnodes(nodes)?;
        self.names.literal = nodes.into();
        self.sync_bootnodes();
        Ok(())
    }

    /// Replaces the bootnodes that have host names.
    pub(super) fn set_named_bootnodes(&mut self, nodes: &[NamedNode]) -> Result<(), CommandError> {
        if !self.discovery.is_on() {
            return Err(CommandError::NoDiscovery);
        }
        if nodes.len() > NAMED_BOOTNODES_MAX {
            return Err(CommandError::Busy);
        }
        self.names.set_named(self.context.now(), nodes);
        self.ask_names();
        Ok(())
    }

    /// Declares a peer static or trusted by its host name.
    pub(super) fn add_peer_by_name(&mut self, node: &NamedNode, kind: PeerKind) -> Result<(), CommandError> {
        self.peers.add_peer_by_name(self.context.now(), node, kind)?;
        self.promote(&node.key.node_id(), kind);
        self.sync_dial();
        Ok(())
    }

    /// Asks for the names of bootnodes that are due, and of peers that are due for a dial.
    pub(super) fn ask_names(&mut self) {
        if self.shutting_down {
            return;
        }
        self.names.ask_due(&mut self.context);
        for (id, host) in self.peers.take_unresolved() {
            self.names.ask(&mut self.context, &host, Asked::Peer(id));
        }
    }

    /// Handles an answer. One to no open query changes nothing.
    pub(super) fn on_answer(&mut self, id: QueryId, result: Result<Answer<'_>, QueryFault>) {
        let Some(asked) = self.names.open.remove(&id) else {
            let growth = self.discovery.handle_answer(&mut self.context, id, result);
            return self.on_growth(growth);
        };
        let now = self.context.now();
        let (result, ttl) = match result {
            Ok(Answer::Hosts { addrs, ttl }) => (Ok(addrs), ttl),
            Ok(Answer::Txt { .. }) => (Err(QueryFault::NotFound), Duration::ZERO),
            Err(fault) => (Err(fault), Duration::ZERO),
        };
        let (id, failure) = match asked {
            Asked::Peer(id) => {
                let filter = &self.context.filter;
                let outcome = self.peers.resolved(now, &mut self.rngs.dial, filter, id, result);
                self.sync_dial();
                (id, outcome.err())
            }
            Asked::Boot(id) => {
                let ips = usable_ips(&self.context.filter, result);
                if self.names.note(now, id, &ips, ttl) {
                    self.sync_bootnodes();
                }
                (id, ips.err())
            }
        };
        if let Some(why) = failure {
            self.context.out.emit(Event::HostFailed { id, why });
        }
    }

    fn sync_bootnodes(&mut self) {
        // Without discovery there are none.
        let _ = self.discovery.set_bootnodes(&self.names.bootnodes());
    }
}
