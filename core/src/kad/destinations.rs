//! What addresses that have never sent anything may receive: the limit on the pings that other nodes' packets cause (attack
//! D10).
//!
//! An address that has proven nothing is pinged at gaps that double, and receives a bounded number of bytes in any day.
//! Memory is bounded. Each destination has an entry of its own while there is room; beyond, a new one takes over the entry of
//! the one that has received least, with its use, so that no destination receives more than its own.

use alloc::vec;
use alloc::vec::Vec;

use crate::limits;
use crate::time::{Duration, Instant};

/// What was sent to one address since it last had a day of rest.
#[derive(Clone, Copy, Default, Debug)]
struct Destination {
    fingerprint: u32,
    /// When the last ping was sent: whole seconds since the driver's start, rounded up.
    last: u32,
    bytes: u16,
    /// 0 for an empty entry.
    pings: u8,
}

impl Destination {
    /// Whether nothing that was sent matters any more.
    fn is_forgotten(&self, now: u32) -> bool {
        self.pings == 0 || now.saturating_sub(self.last) >= seconds(limits::UNPROVEN_REST)
    }

    /// Whether so many bytes may follow.
    fn allows(&self, bytes: u16, now: u32) -> bool {
        let doublings = u32::from(self.pings.saturating_sub(1)).min(16);
        let gap = seconds(limits::UNPROVEN_PING_GAP) << doublings;
        now.saturating_sub(self.last) >= gap && self.bytes.saturating_add(bytes) <= limits::UNPROVEN_BYTES_MAX
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// Destinations that may evict each other.
type DestinationSet = [Destination; limits::UNPROVEN_PING_WAYS];

/// The addresses that were pinged and have not answered.
#[derive(Debug)]
pub(super) struct Destinations {
    /// A power of two of them.
    sets: Vec<DestinationSet>,
    /// When everything that was sent is forgotten, in seconds.
    all_forgotten: u32,
}

impl Default for Destinations {
    fn default() -> Self {
        Self { sets: Self::empty(), all_forgotten: 0 }
    }
}

impl Destinations {
    fn empty() -> Vec<DestinationSet> {
        vec![Default::default(); limits::UNPROVEN_PING_SLOTS / limits::UNPROVEN_PING_WAYS]
    }

    fn is_full_size(&self) -> bool {
        2 * self.sets.len() * limits::UNPROVEN_PING_WAYS > limits::UNPROVEN_PING_SLOTS_MAX
    }

    /// Whether a ping of so many bytes may be sent to a destination now. If so, counts it.
    pub(super) fn take(&mut self, fingerprint: u32, bytes: u16, now: Instant) -> bool {
        let now = now.as_micros();
        let [floor, ceiling] = [now / 1_000_000, now.div_ceil(1_000_000)].map(|s| u32::try_from(s).unwrap_or(u32::MAX));
        if self.all_forgotten <= floor && self.sets.len() * limits::UNPROVEN_PING_WAYS > limits::UNPROVEN_PING_SLOTS {
            self.sets = Self::empty();
        }
        let mut entry = *self.entry(fingerprint, floor);
        while entry.fingerprint != fingerprint && !entry.is_forgotten(floor) && self.grow() {
            entry = *self.entry(fingerprint, floor);
        }
        if entry.is_forgotten(floor) {
            entry = Destination::default();
        } else if !entry.allows(bytes, floor) {
            return false;
        }
        let (pings, bytes) = (entry.pings.saturating_add(1), entry.bytes.saturating_add(bytes));
        *self.entry(fingerprint, floor) = Destination { fingerprint, last: ceiling, bytes, pings };
        self.all_forgotten = self.all_forgotten.max(ceiling.saturating_add(seconds(limits::UNPROVEN_REST)));
        true
    }

    /// The destination has answered a ping. At full size its entry stays for another destination, with its use: one that was
    /// evicted must find none that has been used less.
    pub(super) fn forget(&mut self, fingerprint: u32, now: Instant) {
        let (is_full_size, now) = (self.is_full_size(), u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX));
        let entry = self.entry(fingerprint, now);
        if entry.fingerprint == fingerprint {
            *entry = if is_full_size { Destination { fingerprint: 0, ..*entry } } else { Destination::default() };
        }
    }

    /// The destination's entry in its set, or the one that it would take over.
    fn entry(&mut self, fingerprint: u32, now: u32) -> &mut Destination {
        let sets = self.sets.len();
        let set = &mut self.sets[fingerprint as usize % sets];
        let known = set.iter().position(|entry| entry.fingerprint == fingerprint);
        let use_of = |entry: &Destination| (!entry.is_forgotten(now), entry.bytes, entry.last);
        let least = || set.iter().zip(0..).min_by_key(|(entry, _)| use_of(entry)).map_or(0, |(_, way)| way);
        let way = known.unwrap_or_else(least);
        &mut set[way]
    }

    /// Doubles the memory up to its bound; false at the bound. Every destination keeps its entry: a set becomes two.
    fn grow(&mut self) -> bool {
        if self.is_full_size() {
            return false;
        }
        let sets = self.sets.len();
        self.sets.extend_from_within(..);
        for (i, set) in self.sets.iter_mut().enumerate() {
            let stays = |entry: &Destination| entry.fingerprint as usize % (2 * sets) == i;
            set.iter_mut().filter(|entry| !stays(entry)).for_each(|entry| *entry = Destination::default());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::rng::Seed;

    const PING: u16 = 140;
    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn slots(destinations: &Destinations) -> usize {
        destinations.sets.len() * limits::UNPROVEN_PING_WAYS
    }

    /// D10: tried every second for three days.
    #[test]
    fn gaps_double_and_a_day_has_its_bytes() {
        let mut destinations = Destinations::default();
        let sent: Vec<u64> = (0..3 * DAY).filter(|second| destinations.take(7, PING, at(*second))).collect();
        let minutes: Vec<u64> = sent.iter().map(|second| second / 60).collect();
        assert_eq!(minutes[..9], [0, 1, 3, 7, 15, 31, 63, 127, 255]);
        for begin in 0..3 * DAY {
            let in_a_day = sent.iter().filter(|second| (begin..begin + DAY).contains(*second)).count();
            assert!(in_a_day * usize::from(PING) <= 1280, "{in_a_day} pings in the day from {begin} on");
        }
        assert!(sent.len() > 18, "after a day of rest it begins anew: {minutes:?}");
    }

    #[test]
    fn a_destination_that_answers_may_be_pinged_again() {
        let mut destinations = Destinations::default();
        assert!(destinations.take(7, PING, at(1)) && !destinations.take(7, PING, at(2)));
        destinations.forget(8, at(2));
        assert!(!destinations.take(7, PING, at(2)), "another one answered");
        destinations.forget(7, at(2));
        assert!(destinations.take(7, PING, at(2)) && !destinations.take(7, PING, at(61)));
    }

    /// With a shared budget, a lookup would pass over one live node in some thousands.
    #[test]
    fn destinations_share_no_budget_while_they_are_few() {
        let mut destinations = Destinations::default();
        let key =
            |n: u32| crate::crypto::keccak256(&n.to_be_bytes()).first_chunk().map(|c| u32::from_be_bytes(*c)).unwrap();
        assert_eq!(slots(&destinations), limits::UNPROVEN_PING_SLOTS);
        for second in [0, 60] {
            assert_eq!((0..1000).filter(|n| destinations.take(key(*n), PING, at(second))).count(), 1000);
            assert_eq!((0..1000).filter(|n| destinations.take(key(*n), PING, at(second))).count(), 0);
        }
        // With any number of them, none receives more than its own.
        let (mut sent, mut rng) = (BTreeMap::<u32, Vec<u64>>::new(), Seed::new([2; 32]).fork("destinations"));
        for i in 0..400_000 {
            let (n, second) = (rng.below(30_000) as u32, 200 + i / 100);
            if destinations.take(key(n), PING, at(second)) {
                sent.entry(n).or_default().push(second);
            }
        }
        assert!(sent.values().all(|sent| sent.len() <= 9 && sent.windows(2).all(|pair| pair[1] - pair[0] >= 60)));
        assert!(sent.len() > 3000);
        assert_eq!(slots(&destinations), limits::UNPROVEN_PING_SLOTS_MAX);
        // After a day of rest, the memory is given back.
        assert!(destinations.take(1, PING, at(200 + 4000 + DAY + 1)));
        assert_eq!(slots(&destinations), limits::UNPROVEN_PING_SLOTS);
    }
}
