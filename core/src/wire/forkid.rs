//! Fork identifiers (EIP-2124, EIP-6122): computing ours, judging theirs, and the public networks' schedules.

use alloc::vec::Vec;
use core::fmt;

use crate::crypto::Digest;

/// `[hash, next]`: what a node has passed and what it expects (EIP-2124, "Specification").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ForkId {
    /// CRC32 of the genesis hash and of all forks passed.
    pub hash: [u8; 4],
    /// Block number or timestamp of the next fork; 0 if none is known.
    pub next: u64,
}

/// A chain's head, as the embedder knows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Block number.
    pub number: u64,
    /// Block timestamp, UNIX seconds.
    pub time: u64,
    /// Block hash.
    pub hash: Digest,
}

/// When a network's rules change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkSchedule {
    genesis: Digest,
    /// Ascending, distinct, non-zero.
    blocks: Vec<u64>,
    /// Ascending, distinct, after the genesis block's time.
    times: Vec<u64>,
}

/// Why a remote's fork id is not compatible with ours (EIP-2124, "Validation rules").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ForkMismatch {
    /// The remote is on a chain that we do not know, or past a fork that we missed.
    LocalIncompatibleOrStale,
    /// The remote is behind us and does not know a fork that we passed.
    RemoteStale,
}

impl fmt::Display for ForkMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LocalIncompatibleOrStale => "another chain, or a fork that we do not know",
            Self::RemoteStale => "the remote does not know a fork that we passed",
        })
    }
}

impl ForkSchedule {
    /// A schedule from raw fork blocks and times in any order: zero blocks, repeated forks and times up to the genesis
    /// block's own are not counted.
    pub fn new(genesis: Digest, genesis_time: u64, blocks: &[u64], times: &[u64]) -> Self {
        let _ = (genesis_time, blocks, times);
        Self { genesis, blocks: Vec::new(), times: Vec::new() }
    }

    /// The genesis block's hash.
    pub const fn genesis(&self) -> &Digest {
        &self.genesis
    }

    /// Our fork id at `head`.
    pub fn fork_id(&self, head: &Head) -> ForkId {
        let _ = (head, &self.blocks, &self.times);
        unimplemented!()
    }

    /// Judges a remote's fork id at our `head`.
    ///
    /// # Errors
    /// If the two cannot be on one chain.
    pub fn validate(&self, head: &Head, remote: ForkId) -> Result<(), ForkMismatch> {
        let _ = (head, remote);
        unimplemented!()
    }
}

/// A network as a peer sees it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Network {
    /// Its name, for people.
    pub name: alloc::string::String,
    /// The id in the eth Status.
    pub network_id: u64,
    /// Genesis and forks.
    pub schedule: ForkSchedule,
}

impl Network {
    /// A public network's schedule by name: `mainnet`, `sepolia`, `holesky` or `hoodi`.
    pub fn public(_name: &str) -> Option<Self> {
        unimplemented!()
    }
}
