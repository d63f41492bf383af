//! Pings back to many strangers at once, of which only what their pongs must match is kept.
//!
//! In a flood of valid pings from forged addresses, a newcomer's ping is one among thousands that all get a ping back. A call
//! for each would leave none for anything else. This file sends nothing.

use alloc::vec::Vec;

use crate::crypto::Digest;
use crate::limits;
use crate::time::Instant;

/// A ping that waits for its pong, in a few bytes.
#[derive(Clone, Copy, Default, Debug)]
struct Waiting {
    /// The start of the ping's hash, which only its receiver knows.
    hash: [u8; 8],
    /// A keyed hash of the node and its endpoint.
    node: u32,
    /// When it has failed, in milliseconds modulo 2^32; 0 is an empty place.
    due: u32,
    /// The TCP port that the node claims.
    tcp: u16,
    checked_answers: u8,
}

/// Pings that may evict each other: two cache lines.
type WaitingSet = [Waiting; limits::PING_BACK_WAYS];

/// The pings back in flight that are not calls.
#[derive(Default, Debug)]
pub(super) struct PingBacks {
    /// A power of two of them, chosen by hash; none while no ping waits.
    sets: Vec<WaitingSet>,
    /// When all have failed, in milliseconds.
    all_due: u64,
}

impl PingBacks {
    /// A ping with this hash was sent to a node. The oldest of its set is given up for it.
    pub(super) fn insert(&mut self, hash: &Digest, node: u32, tcp: u16, now: Instant) {
        let due = (now + limits::CALL_TIMEOUT).as_micros() / 1000;
        if self.sets.is_empty() || self.all_due <= now.as_micros() / 1000 {
            self.sets = alloc::vec![WaitingSet::default(); 1];
        }
        self.all_due = self.all_due.max(due);
        let waiting = Waiting { hash: prefix(hash), node, due: (due as u32).max(1), tcp, checked_answers: 0 };
        while self.set(hash).is_some_and(|set| set.iter().all(|other| is_open(other, now))) && self.grow() {}
        if let Some(set) = self.set(hash) {
            set.rotate_right(1);
            set[0] = waiting;
        }
    }

    /// Whether a ping with this hash waits, of which another answer may be checked.
    pub(super) fn admits(&self, hash: &Digest, now: Instant) -> bool {
        let set = self.sets.get(set_index(hash, self.sets.len()));
        set.is_some_and(|set| set.iter().any(|waiting| is_admitted(waiting, hash, now)))
    }

    /// Counts an answer whose signature is about to be checked.
    pub(super) fn count_answer(&mut self, hash: &Digest, now: Instant) {
        let found = self.set(hash).and_then(|set| set.iter_mut().find(|waiting| is_admitted(waiting, hash, now)));
        found.into_iter().for_each(|waiting| waiting.checked_answers += 1);
    }

    /// Ends the ping with this hash to this node. Returns the TCP port that the node claimed.
    pub(super) fn take(&mut self, hash: &Digest, node: u32, now: Instant) -> Option<u16> {
        let is_it =
            |waiting: &&mut Waiting| is_open(waiting, now) && waiting.hash == prefix(hash) && waiting.node == node;
        self.set(hash)?.iter_mut().find(is_it).map(|waiting| core::mem::take(waiting).tcp)
    }

    /// Returns the memory once no ping waits.
    pub(super) fn release(&mut self, now: Instant) {
        if self.all_due <= now.as_micros() / 1000 && !self.sets.is_empty() {
            self.sets = Vec::new();
        }
    }

    fn set(&mut self, hash: &Digest) -> Option<&mut WaitingSet> {
        let index = set_index(hash, self.sets.len());
        self.sets.get_mut(index)
    }

    /// Doubles the memory up to its bound; false at the bound. A set becomes two.
    fn grow(&mut self) -> bool {
        let sets = self.sets.len();
        if 2 * sets * limits::PING_BACK_WAYS > limits::PING_BACKS_MAX {
            return false;
        }
        self.sets.extend_from_within(..);
        for (i, set) in self.sets.iter_mut().enumerate() {
            let moved = |waiting: &&mut Waiting| prefix_index(&waiting.hash, 2 * sets) != i;
            set.iter_mut().filter(moved).for_each(|waiting| *waiting = Waiting::default());
        }
        true
    }

    /// Memory, in bytes.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.sets.len() * size_of::<WaitingSet>()
    }
}

fn prefix(hash: &Digest) -> [u8; 8] {
    hash.first_chunk().copied().unwrap_or_default()
}

fn prefix_index(prefix: &[u8; 8], sets: usize) -> usize {
    u64::from_le_bytes(*prefix).checked_rem(sets as u64).map_or(0, |index| index as usize)
}

fn set_index(hash: &Digest, sets: usize) -> usize {
    prefix_index(&prefix(hash), sets)
}

fn is_open(waiting: &Waiting, now: Instant) -> bool {
    let left = waiting.due.wrapping_sub((now.as_micros() / 1000) as u32);
    waiting.due != 0 && left != 0 && u128::from(left) <= limits::CALL_TIMEOUT.as_millis()
}

fn is_admitted(waiting: &Waiting, hash: &Digest, now: Instant) -> bool {
    is_open(waiting, now) && waiting.hash == prefix(hash) && waiting.checked_answers < limits::ANSWERS_PER_CALL_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keccak256;
    use crate::time::Duration;

    fn hash(n: u32) -> Digest {
        keccak256(&n.to_be_bytes())
    }

    #[test]
    fn a_ping_back_is_answered_once_by_its_node_and_in_time() {
        let mut pings = PingBacks::default();
        let now = Instant::ZERO + Duration::from_secs(5_000_000);
        assert!(!pings.admits(&hash(1), now));
        pings.insert(&hash(1), 7, 30303, now);
        pings.insert(&hash(2), 8, 0, now);
        assert!(pings.admits(&hash(1), now) && !pings.admits(&hash(3), now));
        assert_eq!(pings.take(&hash(1), 8, now), None, "another node");
        assert_eq!(pings.take(&hash(1), 7, now), Some(30303));
        assert_eq!(pings.take(&hash(1), 7, now), None, "the second time");
        for _ in 0..limits::ANSWERS_PER_CALL_MAX {
            assert!(pings.admits(&hash(2), now));
            pings.count_answer(&hash(2), now);
        }
        assert!(!pings.admits(&hash(2), now), "as many as may be checked");
        pings.insert(&hash(4), 9, 1, now);
        let late = now + limits::CALL_TIMEOUT;
        assert!(!pings.admits(&hash(4), late) && pings.take(&hash(4), 9, late).is_none());
        pings.release(late);
        assert_eq!(pings.memory_bytes(), 0);
    }

    #[test]
    fn thousands_of_ping_backs_wait_in_bounded_memory() {
        let mut pings = PingBacks::default();
        let at = |n: u32| Instant::ZERO + Duration::from_micros(200) * n;
        for n in 0..50_000 {
            pings.insert(&hash(n), n, 0, at(n));
        }
        // 5,000 a second for a quarter of a second.
        let now = at(50_000);
        let waiting = (48_750..50_000).filter(|n| pings.admits(&hash(*n), now)).count();
        assert!(waiting > 1150, "{waiting} of 1250");
        assert!(pings.memory_bytes() <= 48 << 10, "{}", pings.memory_bytes());
    }
}
