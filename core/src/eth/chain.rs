//! Our chain, as peers see it: our Status, and whether a peer's Status is compatible with it (`eth.md`, "Status (0x00)").
//!
//! It stores no blocks and learns nothing from peers: the head is what the embedder told last.

use crate::contract::StatusRefusal;
use crate::wire::eth::{BlockRange, ChainState, Status};
use crate::wire::forkid::{ForkId, Head, Network};

/// The first version whose Status has a block range instead of a difficulty (EIP-7642).
const RANGE_VERSION: u32 = 69;

/// Network, head, and what can be served.
#[derive(Clone, Debug)]
pub struct Chain {
    network: Network,
    head: Head,
    earliest: u64,
    /// 256 bits, big-endian.
    total_difficulty: [u8; 32],
}

impl Chain {
    /// A chain at `head` whose blocks from `earliest` on can be served. `total_difficulty` (256 bits, big-endian) is only
    /// for Statuses up to eth/68, and no client compares it any more.
    pub fn new(network: Network, head: Head, earliest: u64, total_difficulty: [u8; 32]) -> Self {
        Self { network, head, earliest: earliest.min(head.number), total_difficulty }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The head block.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The total difficulty in Statuses up to eth/68: 256 bits, big-endian.
    pub fn total_difficulty(&self) -> &[u8; 32] {
        &self.total_difficulty
    }

    /// Our fork id at the head.
    pub fn fork_id(&self) -> ForkId {
        self.network.schedule.fork_id(&self.head)
    }

    /// Whether a node whose record has this fork id may be of our network; the record may be old.
    pub fn could_match(&self, fork_id: ForkId) -> bool {
        self.network.schedule.validate_static(fork_id).is_ok()
    }

    /// The blocks that can be served; `earliest` is never beyond `latest`.
    pub fn range(&self) -> BlockRange {
        BlockRange { earliest: self.earliest, latest: self.head.number, latest_hash: self.head.hash }
    }

    /// The chain has a new head; an `earliest` beyond it is taken as the head.
    pub fn set_head(&mut self, head: Head, earliest: u64) {
        self.head = head;
        self.earliest = earliest.min(head.number);
    }

    /// Our Status in a version of eth.
    pub fn status(&self, version: u32) -> Status {
        Status {
            version,
            network_id: self.network.network_id,
            genesis: *self.network.schedule.genesis(),
            fork_id: self.fork_id(),
            chain: if version < RANGE_VERSION {
                ChainState::Difficulty { total: self.total_difficulty, head: self.head.hash }
            } else {
                ChainState::Range(self.range())
            },
        }
    }

    /// Checks that a peer's Status in the negotiated `version` is compatible with our chain. The network is compared first:
    /// it explains most.
    ///
    /// # Errors
    /// Why it does not.
    pub fn judge(&self, version: u32, theirs: &Status) -> Result<(), StatusRefusal> {
        if theirs.network_id != self.network.network_id {
            return Err(StatusRefusal::Network(theirs.network_id));
        }
        if theirs.version != version {
            return Err(StatusRefusal::Version(theirs.version));
        }
        if theirs.genesis != *self.network.schedule.genesis() {
            return Err(StatusRefusal::Genesis);
        }
        self.network.schedule.validate(&self.head, theirs.fork_id).map_err(StatusRefusal::Fork)?;
        match theirs.chain {
            ChainState::Range(range) if !range.is_ordered() => Err(StatusRefusal::Range),
            ChainState::Range(_) | ChainState::Difficulty { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
