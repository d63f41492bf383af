//! The scheduler: a queue of events in the total order (time, sender, the sender's sequence number).
//!
//! A timing wheel of [`SLOTS`] slots of [`SLOT_MICROS`] microseconds holds near events; those beyond the wheel wait in
//! a heap. Entries live in one slab and are chained by slot, so a slot costs four bytes and an insertion needs no
//! comparison. A slot is sorted shortly before its time, and from then on its order is known. The order is that of a
//! plain heap, whatever the order of insertion. Events are values here; the caller runs them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;

use peerless::contract::Prefetch;
use peerless::time::Instant;

use crate::prefetch::Caches;

/// Microseconds in one slot, as a power of two.
const SLOT_SHIFT: u32 = 12;
/// Microseconds in one slot: it has dozens of events of a large network, and is shorter than any delay between cause
/// and effect.
pub const SLOT_MICROS: u64 = 1 << SLOT_SHIFT;
/// Slots of the wheel: 33.6 seconds, beyond which there are few timers.
pub const SLOTS: usize = 1 << 13;
/// Number of next events that are known, apart from later insertions before them.
pub const KNOWN: usize = 16;
/// The index that stands for no entry.
const NONE: u32 = u32::MAX;

/// An event's position in the total order. No two events of a run have the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Key {
    /// The time.
    pub at: Instant,
    /// The sender.
    pub sender: u32,
    /// The sender's sequence number.
    pub seq: u32,
}

/// A key in the form that is compared fastest.
type Packed = (u64, u64);

const fn pack(key: Key) -> Packed {
    (key.at.as_micros(), ((key.sender as u64) << 32) | key.seq as u64)
}

const fn unpack((at, order): Packed) -> Key {
    Key { at: Instant::from_micros(at), sender: (order >> 32) as u32, seq: order as u32 }
}

/// An entry's key, and its link in a chain.
#[derive(Clone, Copy)]
struct Link {
    packed: Packed,
    /// The next entry of the same slot, or of the free list.
    next: u32,
}

/// A queue of events in their total order; see the module.
pub struct Wheel<T> {
    /// Links by entry, apart from the events, so that a chain is followed and sorted in nearby memory.
    links: Vec<Link>,
    /// Events by entry; `None` in the free list.
    items: Vec<Option<T>>,
    free: u32,
    heads: Box<[u32]>,
    /// One bit for each slot that is not empty.
    occupied: Box<[u64]>,
    /// The absolute number of the last slot moved to `due`: all events up to its end are in `due` or `near`.
    cursor: u64,
    /// The next events in order: at least [`KNOWN`], if so many wait.
    due: VecDeque<(Packed, u32)>,
    /// The slot that is being sorted.
    slot: Vec<(Packed, u32)>,
    /// Events that were inserted at times before the cursor.
    near: BinaryHeap<Reverse<(Packed, u32)>>,
    /// Events beyond the wheel.
    far: BinaryHeap<Reverse<(Packed, u32)>>,
    len: usize,
}

impl<T> fmt::Debug for Wheel<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wheel").field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Wheel<T> {
    /// Makes an empty wheel at the beginning of time.
    pub fn new() -> Self {
        Self {
            links: Vec::new(),
            items: Vec::new(),
            free: NONE,
            heads: vec![NONE; SLOTS].into(),
            occupied: vec![0; SLOTS / 64].into(),
            cursor: 0,
            due: VecDeque::new(),
            slot: Vec::new(),
            near: BinaryHeap::new(),
            far: BinaryHeap::new(),
            len: 0,
        }
    }

    /// Number of waiting events.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no event waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an event. Any time is legal; events in the past come next, in their order.
    pub fn push(&mut self, key: Key, item: T) {
        self.len += 1;
        let packed = pack(key);
        let index = self.take_entry(packed, item);
        let slot = packed.0 >> SLOT_SHIFT;
        if slot <= self.cursor {
            self.near.push(Reverse((packed, index)));
        } else if slot - self.cursor < SLOTS as u64 {
            self.chain(slot, index);
        } else {
            self.far.push(Reverse((packed, index)));
        }
    }

    /// The key of the next event.
    pub fn peek(&mut self) -> Option<Key> {
        self.front().map(|(packed, _)| unpack(packed))
    }

    /// Removes and returns the next event.
    pub fn pop(&mut self) -> Option<(Key, T)> {
        self.pop_before(Instant::from_micros(u64::MAX))
    }

    /// Removes and returns the next event if its time is before `end`.
    pub fn pop_before(&mut self, end: Instant) -> Option<(Key, T)> {
        let (packed, is_near) = self.front()?;
        if packed.0 >= end.as_micros() && end.as_micros() != u64::MAX {
            return None;
        }
        let index = if is_near { self.near.pop()?.0.1 } else { self.due.pop_front()?.1 };
        let item = self.items[index as usize].take()?;
        self.links[index as usize].next = self.free;
        self.free = index;
        self.len -= 1;
        Some((unpack(packed), item))
    }

    /// Prefetches the n-th event after the next; n is less than [`KNOWN`].
    pub(crate) fn prefetch(&self, ahead: usize) {
        self.due.get(ahead).iter().for_each(|(_, index)| Caches.prefetch(&self.items[*index as usize]));
    }

    /// Returns the n-th event after the next and its time, if it is known; n is less than [`KNOWN`].
    pub fn ahead(&self, ahead: usize) -> Option<(Instant, &T)> {
        let ((at, _), index) = self.due.get(ahead)?;
        Some((Instant::from_micros(*at), self.items[*index as usize].as_ref()?))
    }

    /// The next key, and whether it is in `near`.
    fn front(&mut self) -> Option<(Packed, bool)> {
        while self.due.len() <= KNOWN && self.advance() {}
        let due = self.due.front().map(|(packed, _)| *packed);
        let near = self.near.peek().map(|Reverse((packed, _))| *packed);
        match (due, near) {
            (Some(due), Some(near)) if near < due => Some((near, true)),
            (Some(due), _) => Some((due, false)),
            (None, near) => near.map(|near| (near, true)),
        }
    }

    /// Moves the cursor to the next slot that is not empty; false if there is none.
    fn advance(&mut self) -> bool {
        let far = self.far.peek().map(|Reverse(((at, _), _))| at >> SLOT_SHIFT);
        let Some(next) = self.next_occupied().into_iter().chain(far).min() else { return false };
        self.cursor = next;
        while let Some(Reverse(((at, _), index))) = self.far.peek() {
            let (slot, index) = (at >> SLOT_SHIFT, *index);
            if slot - self.cursor >= SLOTS as u64 {
                break;
            }
            self.far.pop();
            self.chain(slot, index);
        }
        let place = (next % SLOTS as u64) as usize;
        let mut index = std::mem::replace(&mut self.heads[place], NONE);
        self.occupied[place / 64] &= !(1 << (place % 64));
        while index != NONE {
            let Link { packed, next } = self.links[index as usize];
            self.slot.push((packed, index));
            index = next;
        }
        self.slot.sort_unstable();
        self.due.extend(self.slot.drain(..));
        true
    }

    /// The next slot after the cursor that is not empty.
    fn next_occupied(&self) -> Option<u64> {
        let start = ((self.cursor + 1) % SLOTS as u64) as usize;
        let words = self.occupied.len();
        for i in 0..=words {
            let word = (start / 64 + i) % words;
            let mut bits = self.occupied[word];
            if i == 0 {
                bits &= !0 << (start % 64);
            } else if i == words {
                bits &= !(!0 << (start % 64));
            }
            if bits != 0 {
                let place = (word * 64 + bits.trailing_zeros() as usize) as u64;
                let ahead = (place + SLOTS as u64 - start as u64) % SLOTS as u64;
                return Some(self.cursor + 1 + ahead);
            }
        }
        None
    }

    fn chain(&mut self, slot: u64, index: u32) {
        let place = (slot % SLOTS as u64) as usize;
        self.links[index as usize].next = self.heads[place];
        self.heads[place] = index;
        self.occupied[place / 64] |= 1 << (place % 64);
    }

    fn take_entry(&mut self, packed: Packed, item: T) -> u32 {
        let item = Some(item);
        if self.free == NONE {
            let index = u32::try_from(self.links.len()).expect("fewer than 2^32 things wait");
            self.links.push(Link { packed, next: NONE });
            self.items.push(item);
            return index;
        }
        let index = self.free;
        self.free = self.links[index as usize].next;
        self.links[index as usize] = Link { packed, next: NONE };
        self.items[index as usize] = item;
        index
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A plain heap with the same interface.
    #[derive(Default)]
    struct Heap(BinaryHeap<Reverse<(Key, u32)>>);

    /// The distance of an insertion from the last time: the same instant, within the slot, across slots, beyond the
    /// wheel.
    fn ahead() -> impl Strategy<Value = i64> {
        prop_oneof![
            Just(0i64),
            0..SLOT_MICROS as i64,
            0..100_000i64,
            0..30_000_000i64,
            0..10_000_000_000i64,
            -1000..0i64,
        ]
    }

    #[derive(Clone, Debug)]
    enum Op {
        Push(i64, u32),
        Pop,
        Peek,
        PopBefore(i64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => (ahead(), 0..5u32).prop_map(|(ahead, sender)| Op::Push(ahead, sender)),
            2 => Just(Op::Pop),
            1 => Just(Op::Peek),
            2 => (0..100_000i64).prop_map(Op::PopBefore),
        ];
        prop::collection::vec(op, 1..400)
    }

    proptest! {
        #[test]
        fn the_order_is_a_heaps(ops in ops()) {
            let (mut wheel, mut heap) = (Wheel::new(), Heap::default());
            let (mut now, mut seq) = (5_000u64, 0);
            for op in ops {
                match op {
                    Op::Push(ahead, sender) => {
                        seq += 1;
                        let key = Key { at: Instant::from_micros(now.saturating_add_signed(ahead)), sender, seq };
                        wheel.push(key, seq);
                        heap.0.push(Reverse((key, seq)));
                    }
                    Op::Peek => prop_assert_eq!(wheel.peek(), heap.0.peek().map(|Reverse((key, _))| *key)),
                    Op::Pop => {
                        let popped = wheel.pop();
                        prop_assert_eq!(popped, heap.0.pop().map(|Reverse(both)| both));
                        now = now.max(popped.map_or(0, |(key, _)| key.at.as_micros()));
                    }
                    Op::PopBefore(ahead) => {
                        let end = Instant::from_micros(now.saturating_add_signed(ahead));
                        let is_due = heap.0.peek().is_some_and(|Reverse((key, _))| key.at < end);
                        let expected = if is_due { heap.0.pop().map(|Reverse(both)| both) } else { None };
                        prop_assert_eq!(wheel.pop_before(end), expected);
                    }
                }
                prop_assert_eq!(wheel.len(), heap.0.len());
            }
            while let Some(Reverse(both)) = heap.0.pop() {
                prop_assert_eq!(wheel.pop(), Some(both));
            }
            prop_assert!(wheel.pop().is_none() && wheel.is_empty());
        }
    }
}
