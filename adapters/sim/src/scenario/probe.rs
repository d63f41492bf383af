//! One measured lookup: the nodes that it queried, and the number of hops by which it learnt of them.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use peerless::crypto::NodeId;
use peerless::wire::discv4::{Datagram, Kind, Packet};
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
}

/// A measured lookup; see the module.
#[derive(Debug)]
pub(crate) struct Probe {
    target: [u8; 64],
    /// The number of nodes that had to be queried, one after the other, to learn of each node.
    depths: BTreeMap<SocketAddr, u32>,
    /// The result, once the lookup is over.
    pub(super) found: Option<Found>,
}

impl Probe {
    /// Makes a probe before a node starts a lookup of `target`.
    pub(super) fn new(target: [u8; 64]) -> Self {
        Self { target, depths: BTreeMap::new(), found: None }
    }

    pub(super) fn sends(&mut self, to: SocketAddr, bytes: &[u8]) {
        if self.found.is_none()
            && let Some(Packet::FindNode { target, .. }) = packet(bytes, Kind::FindNode)
            && target == self.target
        {
            self.depths.entry(to).or_insert(1);
        }
    }

    pub(super) fn receives(&mut self, from: SocketAddr, bytes: &[u8]) {
        if self.found.is_none()
            && let Some(depth) = self.depths.get(&from).copied()
            && let Some(Packet::Neighbors { nodes, .. }) = packet(bytes, Kind::Neighbors)
        {
            for node in nodes {
                self.depths.entry(SocketAddr::new(node.ip, node.udp)).or_insert(depth + 1);
            }
        }
    }

    pub(super) fn ends(&mut self, nodes: &[Contact], queries: u32) {
        let depth = |node: &Contact| self.depths.get(&node.udp_addr()).copied().unwrap_or(0);
        let found = Found {
            nodes: nodes.iter().map(|node| node.id()).collect(),
            queries,
            hops: nodes.first().map_or(0, depth),
        };
        self.found.get_or_insert(found);
    }
}

fn packet(bytes: &[u8], kind: Kind) -> Option<Packet> {
    if bytes.get(97) != Some(&(kind as u8)) {
        return None;
    }
    Datagram::split(bytes).ok()?.decode().ok()
}
