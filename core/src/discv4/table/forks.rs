//! The fork ids in the records of the table's nodes: few, and shared by many of them, so that each is kept once.

use alloc::vec::Vec;

use super::entries::Place;
use crate::limits::{BUCKET_SIZE, BUCKETS};
use crate::wire::forkid::ForkId;

/// See the module.
#[derive(Clone, Default, Debug)]
pub(super) struct ForkIds {
    /// Those that some node has, and some that no node has any more.
    values: Vec<ForkId>,
    /// By bucket and place: one more than the index of its value, or 0 if there is none.
    names: [[u16; BUCKET_SIZE]; BUCKETS],
}

impl ForkIds {
    pub(super) fn get(&self, place: Place) -> Option<ForkId> {
        let index = self.names[place.bucket][place.index].checked_sub(1)?;
        self.values.get(usize::from(index)).copied()
    }

    pub(super) fn set(&mut self, place: Place, fork_id: Option<ForkId>) {
        self.names[place.bucket][place.index] = 0;
        if let Some(fork_id) = fork_id {
            self.names[place.bucket][place.index] = self.name(fork_id);
        }
    }

    /// The places after this one of its bucket move down.
    pub(super) fn remove(&mut self, place: Place) {
        let names = &mut self.names[place.bucket];
        names.copy_within(place.index + 1.., place.index);
        names[BUCKET_SIZE - 1] = 0;
    }

    /// The name of a value; a new one takes the index of one that no node has any more, so that there are never more values
    /// than places.
    fn name(&mut self, fork_id: ForkId) -> u16 {
        const { assert!(BUCKETS * BUCKET_SIZE < u16::MAX as usize) };
        let known = self.values.iter().position(|value| *value == fork_id);
        let index = known.unwrap_or_else(|| {
            let is_unused =
                |index: &usize| self.names.as_flattened().iter().all(|name| usize::from(*name) != index + 1);
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
    fn each_value_is_kept_once_and_as_long_as_somebody_has_it() {
        let mut fork_ids = ForkIds::default();
        let places = |bucket| (0..BUCKET_SIZE).map(move |index| Place { bucket, index });
        places(3).for_each(|place| fork_ids.set(place, Some(fork_id(7))));
        places(4).for_each(|place| fork_ids.set(place, Some(fork_id(place.index as u64))));
        assert_eq!(fork_ids.values.len(), BUCKET_SIZE, "7 is among them");

        // Everybody's upgrades, again and again: what nobody has any more makes room.
        for next in 0..1000 {
            places(4).for_each(|place| fork_ids.set(place, Some(fork_id(1000 * (1 + place.index as u64) + next))));
        }
        assert!(fork_ids.values.len() <= 2 * BUCKET_SIZE, "{}", fork_ids.values.len());
        assert!(places(3).all(|place| fork_ids.get(place) == Some(fork_id(7))));

        fork_ids.set(Place { bucket: 4, index: 0 }, None);
        fork_ids.remove(Place { bucket: 4, index: 1 });
        let left: Vec<Option<u64>> = places(4).map(|place| Some(fork_ids.get(place)?.next)).collect();
        assert_eq!(left[..3], [None, Some(3999), Some(4999)]);
        assert_eq!(left[BUCKET_SIZE - 1], None);
    }
}
