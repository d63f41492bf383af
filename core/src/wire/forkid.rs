//! Fork identifiers (EIP-2124, EIP-6122): computing and validating them, and the public networks' schedules.
//!
//! A [`ForkSchedule`] lists a network's forks, those at block numbers before those at timestamps; all other values are
//! derived from it. Validation depends on two fork ids and a head alone.

use alloc::vec::Vec;
use core::fmt;

use super::DecodeError;
use super::rlp::{List, RlpStream};
use crate::crypto::Digest;

mod networks;
#[cfg(test)]
mod tests;

pub use networks::{Network, PUBLIC_NETWORKS};

/// Announced forks above this are timestamps at any point of the local schedule: geth's rule, with the time of
/// mainnet's first block. Block numbers do not reach it.
const TIMESTAMP_THRESHOLD: u64 = 1_438_269_973;

/// A fork id `[hash, next]`: the forks that a node has passed and the one it expects (EIP-2124, "Specification").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ForkId {
    /// CRC32 of the genesis hash and of all forks passed.
    pub hash: [u8; 4],
    /// Block number or timestamp of the next fork; 0 if none is known.
    pub next: u64,
}

impl ForkId {
    /// Appends `[hash, next]` to `stream`: the hash is a string of four bytes, leading zeros included.
    pub(crate) fn append(&self, stream: &mut RlpStream) {
        stream.begin_list(2).append(&self.hash.as_slice()).append(&self.next);
    }

    /// Reads the next item of `list` as `[hash, next]`. As in geth, the list has no further items.
    ///
    /// # Errors
    /// If there is no item, or it is not such a list.
    pub fn decode(list: &mut List<'_>) -> Result<Self, DecodeError> {
        let mut fields = list.list()?;
        let fork_id = Self { hash: *fields.fixed()?, next: fields.u64()? };
        fields.end()?;
        Ok(fork_id)
    }
}

/// Shows `07c9462e`, or `f0afd0e3/1681338455` with a next fork.
impl fmt::Display for ForkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.hash))?;
        if self.next != 0 { write!(f, "/{}", self.next) } else { Ok(()) }
    }
}

/// The head of the embedder's chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Head {
    /// Block number.
    pub number: u64,
    /// Block timestamp, UNIX seconds.
    pub time: u64,
    /// Block hash.
    pub hash: Digest,
}

/// The block number or timestamp at which a fork takes effect.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fork {
    /// From this block number on.
    Block(u64),
    /// From the first block with this timestamp or a later one, in UNIX seconds (EIP-6122).
    Time(u64),
}

impl Fork {
    /// The number that the fork hash covers and that fork ids announce.
    pub const fn at(self) -> u64 {
        match self {
            Self::Block(at) | Self::Time(at) => at,
        }
    }

    /// Whether the fork has taken effect at `head`.
    pub const fn passed(self, head: &Head) -> bool {
        match self {
            Self::Block(at) => head.number >= at,
            Self::Time(at) => head.time >= at,
        }
    }
}

/// The forks of a network.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForkSchedule {
    genesis: Digest,
    /// Ascending, distinct, non-zero.
    blocks: Vec<u64>,
    /// Ascending, distinct, after the genesis block's time.
    times: Vec<u64>,
}

/// The reason why a remote fork id is not compatible (EIP-2124, "Validation rules").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum ForkMismatch {
    /// The remote is on an unknown chain, or past a fork that is unknown here.
    LocalIncompatibleOrStale,
    /// The remote is behind and does not know a fork that has passed here.
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

impl core::error::Error for ForkMismatch {}

impl ForkSchedule {
    /// Makes a schedule from fork blocks and times in any order: block zero, repeated forks and times up to the genesis
    /// block's own are left out.
    pub fn new(genesis: Digest, genesis_time: u64, blocks: &[u64], times: &[u64]) -> Self {
        let ascending_after = |start: u64, forks: &[u64]| {
            let mut forks: Vec<u64> = forks.iter().copied().filter(|at| *at > start).collect();
            forks.sort_unstable();
            forks.dedup();
            forks
        };
        Self { genesis, blocks: ascending_after(0, blocks), times: ascending_after(genesis_time, times) }
    }

    /// The genesis block's hash.
    pub const fn genesis(&self) -> &Digest {
        &self.genesis
    }

    /// All forks in the order in which fork hashes cover them: block numbers first, then timestamps.
    pub fn forks(&self) -> impl Iterator<Item = Fork> + '_ {
        self.blocks.iter().copied().map(Fork::Block).chain(self.times.iter().copied().map(Fork::Time))
    }

    /// The number of [`ForkSchedule::forks`] that `head` has passed, and the next one.
    pub fn passed_and_next(&self, head: &Head) -> (usize, Option<Fork>) {
        for (index, fork) in self.forks().enumerate() {
            if !fork.passed(head) {
                return (index, Some(fork));
            }
        }
        (self.blocks.len() + self.times.len(), None)
    }

    /// The fork hashes after each number of passed forks, the genesis block's first, each with the next fork.
    fn states(&self) -> impl Iterator<Item = ([u8; 4], Option<Fork>)> + '_ {
        let mut crc = Crc32::default();
        crc.update(&self.genesis);
        let next = self.forks().map(Some).chain([None]);
        next.map(move |next| {
            let hash = crc.value();
            if let Some(fork) = next {
                crc.update(&fork.at().to_be_bytes());
            }
            (hash, next)
        })
    }

    /// The number of [`ForkSchedule::forks`] that a node which announces `hash` has passed, and its next fork; `None`
    /// if no state of this network has that hash.
    pub fn find(&self, hash: [u8; 4]) -> Option<(usize, Option<Fork>)> {
        self.states().enumerate().find(|(_, state)| state.0 == hash).map(|(passed, state)| (passed, state.1))
    }

    /// The fork id at `head`.
    pub fn fork_id(&self, head: &Head) -> ForkId {
        let (passed, next) = self.passed_and_next(head);
        let mut crc = Crc32::default();
        crc.update(&self.genesis);
        for fork in self.forks().take(passed) {
            crc.update(&fork.at().to_be_bytes());
        }
        ForkId { hash: crc.value(), next: next.map_or(0, Fork::at) }
    }

    /// Validates a remote fork id at the local `head`.
    ///
    /// # Errors
    /// If the two nodes cannot be on one chain.
    pub fn validate(&self, head: &Head, remote: ForkId) -> Result<(), ForkMismatch> {
        let (passed, next) = self.passed_and_next(head);
        let Some((remote_passed, remote_next)) = self.find(remote.hash) else {
            // Rule 4: the hash of no local state, past or future.
            return Err(ForkMismatch::LocalIncompatibleOrStale);
        };
        if remote_passed > passed {
            // Rule 3: the remote is ahead on the local schedule.
            return Ok(());
        }
        if remote_passed < passed {
            // Rule 2: the remote is behind; it must know its next fork.
            return match remote_next {
                Some(fork) if fork.at() == remote.next => Ok(()),
                _ => Err(ForkMismatch::RemoteStale),
            };
        }
        // Rule 1: the same state. The fork that the remote expects must not have passed here (1a), by the unit of the
        // next local fork, or of the last one.
        let at_blocks = match next {
            Some(fork) => matches!(fork, Fork::Block(_)),
            None => self.times.is_empty(),
        };
        let announced = if at_blocks { Fork::Block(remote.next) } else { Fork::Time(remote.next) };
        let is_time = remote.next > TIMESTAMP_THRESHOLD;
        let missed = announced.passed(head) || is_time && Fork::Time(remote.next).passed(head);
        if remote.next > 0 && missed { Err(ForkMismatch::LocalIncompatibleOrStale) } else { Ok(()) }
    }

    /// Validates a fork id that may be old, such as a node record's, as geth does: by [`ForkSchedule::validate`] at the
    /// genesis block. Refuses other networks, but no node that was behind when it signed its record.
    ///
    /// # Errors
    /// If no state of this network has that hash.
    pub fn validate_static(&self, remote: ForkId) -> Result<(), ForkMismatch> {
        self.validate(&Head::default(), remote)
    }
}

/// CRC32 as in IEEE 802.3, the checksum of EIP-2124.
struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self(!0)
    }
}

impl Crc32 {
    fn update(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let index = (self.0 ^ u32::from(*byte)) & 0xff;
            self.0 = (self.0 >> 8) ^ CRC32_TABLE[index as usize];
        }
    }

    /// The checksum so far, in the byte order of fork ids.
    fn value(&self) -> [u8; 4] {
        (!self.0).to_be_bytes()
    }
}

/// The CRC32 remainder of each byte.
const CRC32_TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = (remainder >> 1) ^ ((remainder & 1) * 0xedb8_8320);
            bit += 1;
        }
        table[byte] = remainder;
        byte += 1;
    }
    table
};
