//! One measured lookup of a host.

use peerless::crypto::NodeId;
use peerless::time::Instant;
use peerless::wire::enode::Contact;

/// The result of a lookup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// The nearest nodes, nearest first.
    pub nodes: Vec<NodeId>,
    /// Number of queried nodes.
    pub queries: u32,
    /// Hops to the nearest node: 1 if it was in the table, one more for each node that another had to return first.
    pub hops: u32,
    /// When it was over.
    pub at: Instant,
}

/// A measured lookup; see the module.
#[derive(Debug, Default)]
pub(crate) struct Probe {
    /// The result, once the lookup is over.
    pub(super) found: Option<Found>,
}

impl Probe {
    pub(super) fn ends(&mut self, at: Instant, nodes: &[Contact], queries: u32, hops: u32) {
        let nodes = nodes.iter().map(Contact::id).collect();
        self.found.get_or_insert(Found { nodes, queries, hops, at });
    }
}
