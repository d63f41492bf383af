//! One walk through a tree's entries, in random order: what has been named and not been fetched yet.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use crate::limits::{LIST_ATTEMPTS_MAX, LIST_DEPTH_MAX};
use crate::rng::Rng;
use crate::wire::dns::EntryHash;

/// An entry that is to be fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pending {
    pub(super) hash: EntryHash,
    /// The number of branches above it.
    pub(super) depth: u8,
    /// The number of queries for it that failed.
    pub(super) failures: u8,
}

/// What became of a child that a branch names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Named {
    /// It will be fetched.
    New,
    /// It was named before: a cycle, or a subtree that stands twice.
    Again,
    /// It is below too many branches.
    TooDeep,
    /// The tree is too large.
    TooMany,
}

/// A walk. Memory: 36 bytes for each entry that waits, and about 12 for each that was named.
#[derive(Debug)]
pub(super) struct Walk {
    /// The number of this walk within its tree.
    pub(super) number: u32,
    /// The top.
    pub(super) top: EntryHash,
    pending: Vec<Pending>,
    /// The first eight bytes of each hash that was named. A list in which two are equal hides an entry of its own.
    named: BTreeSet<u64>,
    /// The entries whose answers are open.
    open: u32,
    /// The entries that failed for good in this walk.
    pub(super) given_up: u32,
}

impl Walk {
    /// A walk from the top of a tree.
    pub(super) fn new(number: u32, top: EntryHash) -> Self {
        let mut walk = Self { number, top, pending: Vec::new(), named: BTreeSet::new(), open: 0, given_up: 0 };
        let _ = walk.name(top, 0, 1);
        walk
    }

    /// Whether every entry was fetched or given up.
    pub(super) fn is_done(&self) -> bool {
        self.pending.is_empty() && self.open == 0
    }

    /// Whether an entry waits to be fetched.
    pub(super) fn has_next(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether the answer for an entry is open.
    pub(super) fn has_open(&self) -> bool {
        self.open > 0
    }

    /// The number of entries that have been named.
    pub(super) fn named(&self) -> usize {
        self.named.len()
    }

    /// The number of entries that are to be fetched, those included whose answers are open.
    pub(super) fn left(&self) -> usize {
        self.pending.len() + self.open as usize
    }

    /// Notes a child at a depth. `budget` is the number of entries that may still be named.
    #[must_use]
    pub(super) fn name(&mut self, hash: EntryHash, depth: u8, budget: usize) -> Named {
        if depth > LIST_DEPTH_MAX {
            return Named::TooDeep;
        }
        let mut start = [0; 8];
        start.copy_from_slice(&hash.as_bytes()[..8]);
        let start = u64::from_le_bytes(start);
        if self.named.contains(&start) {
            return Named::Again;
        }
        if budget == 0 {
            return Named::TooMany;
        }
        self.named.insert(start);
        self.pending.push(Pending { hash, depth, failures: 0 });
        Named::New
    }

    /// Takes an entry to fetch, at random.
    pub(super) fn take(&mut self, rng: &mut Rng) -> Option<Pending> {
        let at = rng.below(self.pending.len() as u64) as usize;
        if at >= self.pending.len() {
            return None;
        }
        self.open += 1;
        Some(self.pending.swap_remove(at))
    }

    /// Notes that an entry was fetched.
    pub(super) fn fetched(&mut self) {
        self.open = self.open.saturating_sub(1);
        self.release();
    }

    /// Notes that an entry told something wrong, which it will tell again.
    pub(super) fn refused(&mut self) {
        self.given_up = self.given_up.saturating_add(1);
        self.fetched();
    }

    /// Notes that a query for an entry failed: it is fetched again later, unless that has happened too often.
    pub(super) fn failed(&mut self, mut entry: Pending) {
        entry.failures += 1;
        if entry.failures >= LIST_ATTEMPTS_MAX {
            return self.refused();
        }
        self.open = self.open.saturating_sub(1);
        self.pending.push(entry);
    }

    /// Frees the memory of a walk that is done.
    fn release(&mut self) {
        if self.is_done() {
            (self.pending, self.named) = (Vec::new(), BTreeSet::new());
        }
    }
}
