//! Caches of the simulation's primitives: of fixed size, shared by threads, and without influence on results, because a
//! missing entry is computed.

use std::sync::{Mutex, OnceLock, PoisonError};

use peerless::contract::Prefetch;

use crate::mix::Mix;
use crate::prefetch::Caches;

/// A key and its value.
type Entry<const K: usize, V> = ([u8; K], V);

/// A slot of a registry, aligned so that it lies on as few cache lines as possible.
#[repr(align(64))]
#[derive(Debug)]
struct Slot<const K: usize, V>(OnceLock<Entry<K, V>>);

/// Slots searched for one key.
const PROBES: usize = 16;

/// A map that keeps the first value of each key as long as there is room. Reading takes no lock.
#[derive(Debug)]
pub(crate) struct Registry<const K: usize, V> {
    slots: Box<[Slot<K, V>]>,
}

impl<const K: usize, V> Registry<K, V> {
    /// Makes a registry for at least `capacity` keys, which should be hashes or coordinates: they are not hashed again.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            slots: (0..(capacity + capacity / 4).next_power_of_two().max(64)).map(|_| Slot(OnceLock::new())).collect(),
        }
    }

    pub(crate) fn find(&self, key: &[u8; K]) -> Option<&V> {
        for slot in self.places(key) {
            match slot.get() {
                Some((known, value)) if known == key => return Some(value),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    /// Prefetches the slot of a key that is looked up soon.
    pub(crate) fn prefetch(&self, key: &[u8; K]) {
        self.places(key).next().iter().for_each(|place| Caches.prefetch(*place));
    }

    /// Stores a value; drops it if there is no room.
    pub(crate) fn insert(&self, key: [u8; K], value: V) {
        let mut entry = (key, value);
        for slot in self.places(&key) {
            match slot.set(entry) {
                Ok(()) => return,
                Err(back) => entry = back,
            }
            if slot.get().is_some_and(|(known, _)| *known == key) {
                return;
            }
        }
    }

    fn places(&self, key: &[u8; K]) -> impl Iterator<Item = &OnceLock<Entry<K, V>>> {
        let start = key.last_chunk::<8>().map_or(0, |bytes| u64::from_le_bytes(*bytes)) as usize;
        let mask = self.slots.len() - 1;
        (0..PROBES).map(move |i| &self.slots[(start.wrapping_add(i)) & mask].0)
    }
}

/// A cache of the latest results; a new one replaces the one with the same hash.
#[derive(Debug)]
pub(crate) struct Cache<const K: usize, V> {
    slots: Box<[Mutex<Option<Entry<K, V>>>]>,
}

impl<const K: usize, V: Copy> Cache<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: (0..capacity.next_power_of_two()).map(|_| Mutex::new(None)).collect() }
    }

    pub(crate) fn find(&self, key: &[u8; K]) -> Option<V> {
        let slot = self.slot(key).lock().unwrap_or_else(PoisonError::into_inner);
        slot.filter(|(known, _)| known == key).map(|(_, value)| value)
    }

    pub(crate) fn insert(&self, key: [u8; K], value: V) {
        *self.slot(&key).lock().unwrap_or_else(PoisonError::into_inner) = Some((key, value));
    }

    fn slot(&self, key: &[u8; K]) -> &Mutex<Option<Entry<K, V>>> {
        &self.slots[Mix::new(0).bytes(key).finish() as usize & (self.slots.len() - 1)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_found_is_the_one_that_was_stored() {
        let registry = Registry::<8, u64>::new(10);
        (0..1000u64).for_each(|i| registry.insert(i.to_le_bytes(), i * 3));
        let found = (0..1000u64).filter_map(|i| Some((i, *registry.find(&i.to_le_bytes())?))).collect::<Vec<_>>();
        assert!(found.len() >= 64 && found.iter().all(|(i, value)| *value == i * 3));

        let cache = Cache::<8, u64>::new(64);
        (0..1000u64).for_each(|i| cache.insert(i.to_le_bytes(), i * 3));
        let found = (0..1000u64).filter_map(|i| Some((i, cache.find(&i.to_le_bytes())?))).collect::<Vec<_>>();
        assert!((30..=64).contains(&found.len()) && found.iter().all(|(i, value)| *value == i * 3));
        assert_eq!(cache.find(&999u64.to_le_bytes()), Some(2997));
    }
}
