//! The limits on the number of peers, which the embedder sets.

use crate::limits::{
    DIAL_RATIO, HANDSHAKES_PER_SECOND, HANDSHAKES_PER_SUBNET, INBOUND_PER_SUBNET, PEERS_MAX, PENDING_MAX,
};

/// Limits on the number of peers and of pending connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct PeerLimits {
    /// The most peers in session, not counting trusted ones and those dialled on command. With 0, only those two kinds are
    /// admitted.
    pub max_peers: usize,
    /// One in so many peers is dialled by us, and at least one. With 0, only static and trusted peers are dialled.
    pub dial_ratio: usize,
    /// The most connections in each direction whose peer has not proven its key.
    pub max_pending: usize,
    /// The most inbound peers from one subnet of global addresses.
    pub inbound_per_subnet: usize,
    /// The most handshakes of inbound connections in a second of one IPv4 /24 or IPv6 /56. Local addresses are exempt. 0 is
    /// taken as 1.
    pub handshakes_per_subnet: usize,
    /// The most handshakes in a second of all addresses; a quarter is kept for our own dials and for the addresses of static
    /// and trusted peers. Local addresses are exempt. 0 is taken as 1.
    pub handshakes: usize,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl PeerLimits {
    /// The limits of an ordinary node.
    pub const DEFAULT: Self = Self {
        max_peers: PEERS_MAX,
        dial_ratio: DIAL_RATIO,
        max_pending: PENDING_MAX,
        inbound_per_subnet: INBOUND_PER_SUBNET,
        handshakes_per_subnet: HANDSHAKES_PER_SUBNET,
        handshakes: HANDSHAKES_PER_SECOND,
    };

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
