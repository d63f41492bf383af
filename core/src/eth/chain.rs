//! The chain that we are on, as peers see it: what our Status says, whether theirs goes with it (`eth.md`, "Status
//! (0x00)"), and when a new range of blocks is worth telling ("BlockRangeUpdate (0x11)").
//!
//! It stores no blocks and learns nothing from peers: the head is what the embedder said last.

use crate::contract::StatusRefusal;
use crate::limits;
use crate::wire::eth::{BlockRange, ChainState, Status};
use crate::wire::forkid::{ForkId, Head, Network};

/// The first version whose Status tells a range instead of a difficulty, and that has BlockRangeUpdate (EIP-7642).
const RANGE_VERSION: u32 = 69;

/// Network, head, and what can be served.
#[derive(Clone, Debug)]
pub struct Chain {
    network: Network,
    head: Head,
    earliest: u64,
    /// 256 bits, big-endian.
    total_difficulty: [u8; 32],
    /// The last block that peers have been told of.
    announced: u64,
}

impl Chain {
    /// A chain at `head` whose blocks from `earliest` on can be served. `total_difficulty` (256 bits, big-endian) is only
    /// for Statuses up to eth/68, and is no longer compared by anyone.
    pub fn new(network: Network, head: Head, earliest: u64, total_difficulty: [u8; 32]) -> Self {
        Self { network, head, earliest: earliest.min(head.number), total_difficulty, announced: head.number }
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The head block.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// What Statuses up to eth/68 tell, 256 bits, big-endian.
    pub fn total_difficulty(&self) -> &[u8; 32] {
        &self.total_difficulty
    }

    /// The last block that peers have been told of.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Our fork id at the head.
    pub fn fork_id(&self) -> ForkId {
        self.network.schedule.fork_id(&self.head)
    }

    /// Whether a node whose record has this fork id may be of our network; the record may be old.
    pub fn could_match(&self, fork_id: ForkId) -> bool {
        self.network.schedule.validate_static(fork_id).is_ok()
    }

    /// The blocks that can be served; never upside down.
    pub fn range(&self) -> BlockRange {
        BlockRange { earliest: self.earliest, latest: self.head.number, latest_hash: self.head.hash }
    }

    /// The chain has a new head; an `earliest` beyond it is taken as the head. Ask [`Chain::announcement`] next.
    pub fn set_head(&mut self, head: Head, earliest: u64) {
        self.head = head;
        self.earliest = earliest.min(head.number);
    }

    /// The range to tell every peer that speaks eth/69 or later, if it is time: [`limits::RANGE_UPDATE_BLOCKS`] after the
    /// last, or at once when the chain has moved back. Whoever connects meanwhile hears the newest from our Status.
    pub fn announcement(&mut self) -> Option<BlockRange> {
        let latest = self.head.number;
        let due = latest < self.announced || latest - self.announced >= limits::RANGE_UPDATE_BLOCKS;
        due.then(|| {
            self.announced = latest;
            self.range()
        })
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

    /// Whether a peer's Status in the negotiated `version` goes with our chain. Network first: it says most.
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
