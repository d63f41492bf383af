//! How many peers a node has: the limits that the embedder sets.

use crate::limits::{DIAL_RATIO, INBOUND_PER_SUBNET, PEERS_MAX, PENDING_MAX};

/// How many peers to have, and of which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeerLimits {
    /// Peers in session, trusted ones and those dialled on command not counted. With 0, only those two kinds are admitted.
    pub max_peers: usize,
    /// One in so many is dialled by us; at least one, if there are any. 0 dials static and trusted peers only.
    pub dial_ratio: usize,
    /// Connections in each direction whose peer has not proven its key yet.
    pub max_pending: usize,
    /// Inbound peers from one subnet of global addresses.
    pub inbound_per_subnet: usize,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            max_peers: PEERS_MAX,
            dial_ratio: DIAL_RATIO,
            max_pending: PENDING_MAX,
            inbound_per_subnet: INBOUND_PER_SUBNET,
        }
    }
}

impl PeerLimits {
    /// The share of peers that we dial by ourselves.
    pub fn max_dialled(&self) -> usize {
        match self.max_peers.checked_div(self.dial_ratio) {
            None => 0,
            Some(dialled) => dialled.max(1).min(self.max_peers),
        }
    }

    /// The share of inbound peers.
    pub fn max_inbound(&self) -> usize {
        self.max_peers - self.max_dialled()
    }
}
