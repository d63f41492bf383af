//! The records kept of one tree: a uniform sample of those that a walk has found, and of the walk before while it is not done.

use alloc::vec::Vec;

use crate::rng::Rng;
use crate::wire::enr::Record;

/// A sample of bounded size.
#[derive(Debug, Default)]
pub(super) struct Sample {
    records: Vec<Record>,
    /// The records that the present walk has found, those included that are not kept.
    found: u64,
    /// The sample of the walk before; each walk that finds a record replaces one of them.
    earlier: Vec<Record>,
}

impl Sample {
    /// Begins the sample of a new walk. What the walk before has found stays until the new one is done.
    pub(super) fn begin(&mut self) {
        let records = core::mem::take(&mut self.records);
        if !records.is_empty() {
            self.earlier = records;
        }
        self.found = 0;
    }

    /// Ends it: what only the walk before has found is dropped.
    pub(super) fn end(&mut self) {
        self.earlier = Vec::new();
        self.records.shrink_to_fit();
    }

    /// Adds a record; if there are `max` already, it takes the place of one at random, or is not kept.
    pub(super) fn add(&mut self, rng: &mut Rng, record: Record, max: usize) {
        self.found += 1;
        if let Some(old) = self.records.iter_mut().find(|old| old.key() == record.key() && max <= SEARCHED_MAX) {
            if old.seq() < record.seq() {
                *old = record;
            }
        } else if self.records.len() < max {
            self.records.push(record);
        } else if let Some(old) = self.records.get_mut(rng.below(self.found) as usize) {
            *old = record;
        }
    }

    /// The records that the present walk has found.
    pub(super) const fn found(&self) -> u64 {
        self.found
    }

    /// All kept records, the newer ones first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().chain(&self.earlier)
    }

    /// The number of kept records.
    pub(super) fn len(&self) -> usize {
        self.records.len() + self.earlier.len()
    }

    /// A record at random.
    pub(super) fn draw(&self, rng: &mut Rng) -> Option<&Record> {
        let at = rng.below(self.len() as u64) as usize;
        self.records.get(at).or_else(|| self.earlier.get(at.checked_sub(self.records.len())?))
    }
}

/// The largest sample in which a node is looked for before another record of it is added: it takes a few microseconds.
const SEARCHED_MAX: usize = 4096;
