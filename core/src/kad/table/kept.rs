//! What a protocol keeps of the records of the table's nodes: a side table by position, so that an entry stays small.

use alloc::vec::Vec;

use super::entries::Position;
use crate::limits::{BUCKET_SIZE, BUCKETS};
use crate::wire::forkid::ForkId;

/// A side table of a [`Table`](super::Table): a value for each position that has one. A new entry has none.
pub trait Kept: Default {
    /// What is kept of one node's record.
    type Value;

    /// The value at a position.
    fn get(&self, position: Position) -> Option<&Self::Value>;

    /// Replaces or clears the value at a position.
    fn set(&mut self, position: Position, value: Option<Self::Value>);

    /// The entry at a position is gone: the values of the later positions of its bucket move down by one, and the last
    /// position has none.
    fn remove(&mut self, position: Position);

    /// The fork id in a value, which tells the network of a node before it is dialled.
    fn fork_id(value: &Self::Value) -> Option<ForkId>;
}

/// Keeps the fork ids of records and nothing else: few values, shared by many nodes, so that each is stored once.
#[derive(Clone, Default, Debug)]
pub struct ForkIds {
    /// Values that a node has, and some that no node has any more.
    values: Vec<ForkId>,
    /// By bucket and index: one more than the index of its value, or 0 if there is none.
    value_refs: [[u16; BUCKET_SIZE]; BUCKETS],
}

impl Kept for ForkIds {
    type Value = ForkId;

    fn get(&self, position: Position) -> Option<&ForkId> {
        let index = self.value_refs[position.bucket][position.index].checked_sub(1)?;
        self.values.get(usize::from(index))
    }

    fn set(&mut self, position: Position, value: Option<ForkId>) {
        self.value_refs[position.bucket][position.index] = 0;
        if let Some(value) = value {
            self.value_refs[position.bucket][position.index] = self.intern(value);
        }
    }

    fn remove(&mut self, position: Position) {
        let value_refs = &mut self.value_refs[position.bucket];
        value_refs.copy_within(position.index + 1.., position.index);
        value_refs[BUCKET_SIZE - 1] = 0;
    }

    fn fork_id(value: &ForkId) -> Option<ForkId> {
        Some(*value)
    }
}

impl ForkIds {
    /// The reference to a value. A new value takes the index of an unused one, so that there are never more values than
    /// positions.
    fn intern(&mut self, fork_id: ForkId) -> u16 {
        const { assert!(BUCKETS * BUCKET_SIZE < u16::MAX as usize) };
        let known = self.values.iter().position(|value| *value == fork_id);
        let index = known.unwrap_or_else(|| {
            let is_unused = |index: &usize| {
                self.value_refs.as_flattened().iter().all(|value_ref| usize::from(*value_ref) != index + 1)
            };
            match (0..self.values.len()).find(is_unused) {
                Some(index) => {
                    self.values[index] = fork_id;
                    index
                }
                None => {
                    self.values.push(fork_id);
                    self.values.len() - 1
                }
            }
        });
        index as u16 + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fork_id(next: u64) -> ForkId {
        ForkId { hash: [1, 2, 3, 4], next }
    }

    #[test]
    fn each_fork_id_is_stored_once_and_as_long_as_a_node_has_it() {
        let mut fork_ids = ForkIds::default();
        let positions = |bucket| (0..BUCKET_SIZE).map(move |index| Position { bucket, index });
        positions(3).for_each(|position| fork_ids.set(position, Some(fork_id(7))));
        positions(4).for_each(|position| fork_ids.set(position, Some(fork_id(position.index as u64))));
        assert_eq!(fork_ids.values.len(), BUCKET_SIZE, "7 is among them");

        // Upgrades of all nodes, again and again: values that no node has any more make room.
        for next in 0..1000 {
            let upgraded = |position: Position| fork_id(1000 * (1 + position.index as u64) + next);
            positions(4).for_each(|position| fork_ids.set(position, Some(upgraded(position))));
        }
        assert!(fork_ids.values.len() <= 2 * BUCKET_SIZE, "{}", fork_ids.values.len());
        assert!(positions(3).all(|position| fork_ids.get(position) == Some(&fork_id(7))));

        fork_ids.set(Position { bucket: 4, index: 0 }, None);
        fork_ids.remove(Position { bucket: 4, index: 1 });
        let left: Vec<Option<u64>> = positions(4).map(|position| Some(fork_ids.get(position)?.next)).collect();
        assert_eq!(left[..3], [None, Some(3999), Some(4999)]);
        assert_eq!(left[BUCKET_SIZE - 1], None);
    }
}
