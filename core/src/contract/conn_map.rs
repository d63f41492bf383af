//! A map by connection, whose cost does not grow with the number of connections.
//!
//! Ids are counted up by a node and never reused, so a fixed hash spreads them well; nothing here depends on a random
//! hasher. Iteration has no order that means anything: what is shown or drawn from must be sorted first.

use alloc::vec::Vec;

use super::ids::ConnId;

/// Slots of the smallest table.
const SLOTS_MIN: usize = 8;

/// An open-addressing hash table with linear probing; at most half of its slots are taken.
#[derive(Clone, Debug)]
pub struct ConnMap<V> {
    /// Empty, or a power of two.
    slots: Vec<Option<(ConnId, V)>>,
    len: usize,
}

/// A set of connections.
pub type ConnSet = ConnMap<()>;

impl<V> Default for ConnMap<V> {
    fn default() -> Self {
        Self { slots: Vec::new(), len: 0 }
    }
}

impl<V> ConnMap<V> {
    /// How many connections it has.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has none.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The value of a connection.
    pub fn get(&self, id: ConnId) -> Option<&V> {
        let at = self.find(id).ok()?;
        self.slots[at].as_ref().map(|(_, value)| value)
    }

    /// The value of a connection, to be changed.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut V> {
        let at = self.find(id).ok()?;
        self.slots[at].as_mut().map(|(_, value)| value)
    }

    /// Whether it has the connection.
    pub fn contains(&self, id: ConnId) -> bool {
        self.find(id).is_ok()
    }

    /// Sets a connection's value. Returns the one that it had.
    pub fn insert(&mut self, id: ConnId, value: V) -> Option<V> {
        if (self.len + 1) * 2 > self.slots.len() {
            self.resize((self.slots.len() * 2).max(SLOTS_MIN));
        }
        match self.find(id) {
            Ok(at) => self.slots[at].replace((id, value)).map(|(_, old)| old),
            Err(at) => {
                self.slots[at] = Some((id, value));
                self.len += 1;
                None
            }
        }
    }

    /// Removes a connection. Returns its value.
    pub fn remove(&mut self, id: ConnId) -> Option<V> {
        let mut hole = self.find(id).ok()?;
        let (_, value) = self.slots[hole].take()?;
        self.len -= 1;
        // Whatever would no longer be found from its own slot on moves into the hole.
        let mut at = hole;
        loop {
            at = self.after(at);
            let Some((other, _)) = &self.slots[at] else { break };
            let home = self.home(*other);
            let mask = self.slots.len() - 1;
            if (at.wrapping_sub(home) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.slots.swap(hole, at);
                hole = at;
            }
        }
        if self.len == 0 {
            self.slots = Vec::new();
        } else if self.slots.len() > SLOTS_MIN && self.len * 8 < self.slots.len() {
            self.resize(self.slots.len() / 2);
        }
        Some(value)
    }

    /// All connections with their values, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &V)> {
        self.slots.iter().flatten().map(|(id, value)| (*id, value))
    }

    /// All connections, oldest first. Sorts them, at a cost that grows with their number.
    pub fn sorted_ids(&self) -> Vec<ConnId> {
        let mut ids: Vec<ConnId> = self.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// The slot of a connection, or else the free one where it belongs. There must be slots for `Err` to mean anything.
    fn find(&self, id: ConnId) -> Result<usize, usize> {
        if self.slots.is_empty() {
            return Err(0);
        }
        let mut at = self.home(id);
        loop {
            match &self.slots[at] {
                Some((found, _)) if *found == id => return Ok(at),
                Some(_) => at = self.after(at),
                None => return Err(at),
            }
        }
    }

    /// Fibonacci hashing: consecutive ids lie far apart.
    const fn home(&self, id: ConnId) -> usize {
        let bits = self.slots.len().trailing_zeros();
        (id.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - bits)) as usize
    }

    const fn after(&self, at: usize) -> usize {
        (at + 1) & (self.slots.len() - 1)
    }

    fn resize(&mut self, slots: usize) {
        let mut fresh = Vec::new();
        fresh.resize_with(slots, || None);
        let old = core::mem::replace(&mut self.slots, fresh);
        for (id, value) in old.into_iter().flatten() {
            if let Err(at) = self.find(id) {
                self.slots[at] = Some((id, value));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is a map, whatever is put in and taken out.
        #[test]
        fn it_equals_an_ordered_map(steps in proptest::collection::vec((0..60u64, proptest::option::of(0..9u8)), 0..400)) {
            let (mut map, mut model) = (ConnMap::default(), BTreeMap::new());
            for (id, value) in steps {
                let id = ConnId(id);
                match value {
                    Some(value) => prop_assert_eq!(map.insert(id, value), model.insert(id, value)),
                    None => prop_assert_eq!(map.remove(id), model.remove(&id)),
                }
                prop_assert_eq!(map.len(), model.len());
                prop_assert!(map.slots.len() >= 2 * map.len(), "a free slot ends every search");
                prop_assert_eq!(map.sorted_ids(), model.keys().copied().collect::<Vec<_>>());
                for id in (0..60).map(ConnId) {
                    prop_assert_eq!(map.get(id), model.get(&id));
                    prop_assert_eq!(map.contains(id), model.contains_key(&id));
                }
            }
        }
    }

    #[test]
    fn consecutive_ids_and_old_ones_among_them_are_found_at_once() {
        let mut map = ConnSet::default();
        for id in 0..10_000 {
            map.insert(ConnId(id), ());
        }
        // All but one in a hundred leave, and others come.
        for id in (0..10_000).filter(|id| id % 100 != 0) {
            map.remove(ConnId(id));
        }
        for id in 10_000..19_000 {
            map.insert(ConnId(id), ());
        }
        let mut longest = 0;
        for (id, ()) in map.iter() {
            let at = map.find(id).unwrap();
            longest = longest.max(at.wrapping_sub(map.home(id)) & (map.slots.len() - 1));
        }
        assert!(longest < 16, "{longest} steps");
    }

    #[test]
    fn memory_is_given_back() {
        let mut map = ConnSet::default();
        for id in 0..10_000 {
            map.insert(ConnId(id), ());
        }
        for id in 1..10_000 {
            map.remove(ConnId(id));
        }
        assert!(map.slots.len() <= SLOTS_MIN);
        map.remove(ConnId(0));
        assert_eq!(map.slots.capacity(), 0);
    }
}
