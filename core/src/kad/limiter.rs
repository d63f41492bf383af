//! Limits on what unproven sources may cost and on what unproven destinations receive (attacks D5, D6, D7, D10).
//!
//! Memory is bounded for any number of sources: a keyed hash maps each to a slot, so that an attacker cannot aim at the
//! slot of another source; sources that share a slot share its budget. Destinations have entries of their own while there
//! is room. Packets are not looked into.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use siphasher::sip::SipHasher13;

use crate::contract::Prefetch;
use crate::limits;
use crate::netfilter::{Subnet, scope};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// A burst, refilled at one per interval.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    interval_micros: u64,
    burst: u32,
}

impl Rate {
    /// `count` per second, at most `burst` at once. A `count` of 0 is taken as 1.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        Self { interval_micros: 1_000_000 / count as u64, burst }
    }

    /// Whole intervals before `now`.
    const fn intervals(self, now: Instant) -> u64 {
        now.as_micros() / self.interval_micros
    }

    /// Whether one more is allowed at `now`. `used_until` is the interval by whose end everything taken so far is refilled.
    fn allows(self, used_until: u64, now: Instant) -> bool {
        used_until.saturating_sub(self.intervals(now)) < u64::from(self.burst)
    }

    fn take(self, used_until: u64, now: Instant) -> u64 {
        used_until.max(self.intervals(now)) + 1
    }
}

/// A rate for each of many sources, and one for all of them together.
#[derive(Debug)]
pub struct SourceBudget {
    each: Rate,
    /// Counted in intervals: 2^32 of the shortest are years.
    slots: Box<[u32]>,
    all: Rate,
    all_used_until: u64,
}

impl SourceBudget {
    /// Full budgets for sources in `slots` slots.
    pub fn new(each: Rate, slots: usize, all: Rate) -> Self {
        Self { each, slots: vec![0; slots].into(), all, all_used_until: 0 }
    }

    /// Takes one from the budget of the source with this hash and one from the budget of all. Takes nothing unless both
    /// allow it. A source without a hash has no budget of its own.
    #[must_use]
    pub fn take(&mut self, source: Option<u64>, now: Instant) -> bool {
        let slots = self.slots.len();
        let slot = source.and_then(|hash| self.slots.get_mut(slot_index(hash, slots)?));
        let each_allows = slot.as_ref().is_none_or(|used_until| self.each.allows(u64::from(**used_until), now));
        if !each_allows || !self.all.allows(self.all_used_until, now) {
            return false;
        }
        if let Some(used_until) = slot {
            *used_until = self.each.take(u64::from(*used_until), now).try_into().unwrap_or(u32::MAX);
        }
        self.all_used_until = self.all.take(self.all_used_until, now);
        true
    }

    /// The slot of the source with this hash.
    fn slot(&self, hash: u64) -> Option<&u32> {
        self.slots.get(slot_index(hash, self.slots.len())?)
    }
}

/// The index among so many slots; `None` if there are none.
fn slot_index(hash: u64, slots: usize) -> Option<usize> {
    hash.checked_rem(slots as u64).map(|index| index as usize)
}

/// What was sent to one address lately.
#[derive(Clone, Copy, Default, Debug)]
struct Destination {
    fingerprint: u32,
    /// When everything taken so far is refilled: whole seconds since the driver's start, rounded up.
    used_until: u32,
}

/// Destinations that may evict each other.
type DestinationSet = [Destination; limits::UNPROVEN_PING_WAYS];

/// A rate for each of many destinations, which seldom share one: a lookup touches many at once, and an honest node must not
/// be passed over because of another one.
#[derive(Debug)]
struct Destinations {
    interval: u32,
    burst: u32,
    /// When everything taken for any destination is refilled: from then on nothing needs to be remembered.
    all_used_until: u32,
    /// A power of two of them.
    sets: Vec<DestinationSet>,
}

impl Destinations {
    fn new(interval: Duration, burst: u32) -> Self {
        let interval = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
        Self { interval, burst, all_used_until: 0, sets: Self::empty() }
    }

    fn empty() -> Vec<DestinationSet> {
        vec![Default::default(); limits::UNPROVEN_PING_SLOTS / limits::UNPROVEN_PING_WAYS]
    }

    /// Takes one from the budget of a destination. A destination that is new to a full set takes over the least used entry
    /// of the set with its use: an evicted destination finds no entry in the set that is used less.
    fn take(&mut self, fingerprint: u32, now: Instant) -> bool {
        let now = now.as_micros();
        let [floor, ceiling] = [now / 1_000_000, now.div_ceil(1_000_000)].map(|s| u32::try_from(s).unwrap_or(u32::MAX));
        if self.all_used_until <= floor && self.sets.len() > limits::UNPROVEN_PING_SLOTS / limits::UNPROVEN_PING_WAYS {
            self.sets = Self::empty();
        }
        let mut entry = *self.entry(fingerprint);
        while entry.fingerprint != fingerprint && entry.used_until > floor && self.grow() {
            entry = *self.entry(fingerprint);
        }
        let used = entry.used_until.saturating_sub(floor);
        if used.saturating_add(self.interval) > self.interval.saturating_mul(self.burst) {
            return false;
        }
        let used_until = entry.used_until.max(ceiling).saturating_add(self.interval);
        *self.entry(fingerprint) = Destination { fingerprint, used_until };
        self.all_used_until = self.all_used_until.max(used_until);
        true
    }

    /// The destination's entry in its set, or the one that it would take over.
    fn entry(&mut self, fingerprint: u32) -> &mut Destination {
        let sets = self.sets.len();
        let set = &mut self.sets[fingerprint as usize % sets];
        let known = set.iter().position(|entry| entry.fingerprint == fingerprint);
        let least = || set.iter().zip(0..).min_by_key(|(entry, _)| entry.used_until).map_or(0, |(_, way)| way);
        let way = known.unwrap_or_else(least);
        &mut set[way]
    }

    /// Doubles the memory up to its bound; false at the bound. Every destination keeps its entry: a set becomes two.
    fn grow(&mut self) -> bool {
        let sets = self.sets.len();
        if sets * limits::UNPROVEN_PING_WAYS >= limits::UNPROVEN_PING_SLOTS_MAX {
            return false;
        }
        self.sets.extend_from_within(..);
        for (i, set) in self.sets.iter_mut().enumerate() {
            let stays = |entry: &Destination| entry.fingerprint as usize % (2 * sets) == i;
            set.iter_mut().filter(|entry| !stays(entry)).for_each(|entry| *entry = Destination::default());
        }
        true
    }
}

/// The limits that every discovery protocol has, and the keyed hash for those that it adds.
pub struct Limiter {
    hasher: SipHasher13,
    datagrams: SourceBudget,
    unproven_pings: Destinations,
}

impl Limiter {
    /// Full budgets, with a secret key from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&rng.bytes()),
            datagrams: SourceBudget::new(
                Rate::per_second(limits::SUBNET_DATAGRAMS_PER_SECOND, limits::SUBNET_DATAGRAMS_BURST),
                limits::LIMITER_SLOTS,
                Rate::per_second(limits::DATAGRAMS_PER_SECOND, limits::DATAGRAMS_BURST),
            ),
            unproven_pings: Destinations::new(limits::UNPROVEN_PING_INTERVAL, limits::UNPROVEN_PINGS_BURST),
        }
    }

    /// Whether the costly check of an unsolicited datagram may be made (attack D6).
    #[must_use]
    pub fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        let source = self.subnet(from);
        self.datagrams.take(source, now)
    }

    /// Whether an address may be pinged that has not proven anything (attack D10).
    #[must_use]
    pub fn admit_unproven_ping(&mut self, to: IpAddr, now: Instant) -> bool {
        let destination = (!scope(to).is_local()).then(|| match to {
            IpAddr::V4(ip) => self.hasher.hash(&ip.octets()),
            IpAddr::V6(ip) => self.hasher.hash(&ip.octets()),
        });
        destination.is_none_or(|hash| self.unproven_pings.take((hash >> 32) as u32, now))
    }

    /// The hash of the subnet that a source belongs to; `None` on this machine or network, where many nodes may live.
    pub fn subnet(&self, ip: IpAddr) -> Option<u64> {
        (!scope(ip).is_local()).then(|| self.hasher.hash(Subnet::of(ip).as_bytes()))
    }

    /// The keyed hash of any bytes.
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash(bytes)
    }

    /// Shows what [`Limiter::admit`] will read.
    pub fn prefetch(&self, from: IpAddr, memory: &mut impl Prefetch) {
        if let Some(slot) = self.subnet(from).and_then(|source| self.datagrams.slot(source)) {
            memory.prefetch(slot);
        }
    }
}

/// Without the key of its hash.
impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn limiter() -> Limiter {
        Limiter::new(&mut Seed::new([1; 32]).fork("limiter"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_subnet_has_its_burst_and_then_its_rate() {
        let mut limiter = limiter();
        let mut admitted = |micros: u64| {
            let now = Instant::from_micros(micros);
            (0..1000u32).filter(|i| limiter.admit(IpAddr::from([8, 8, 8, *i as u8]), now)).count()
        };
        assert_eq!(admitted(0), limits::SUBNET_DATAGRAMS_BURST as usize);
        assert_eq!(admitted(0), 0);
        assert_eq!(admitted(1_000_000), limits::SUBNET_DATAGRAMS_PER_SECOND as usize);
        assert_eq!(admitted(3_600_000_000), limits::SUBNET_DATAGRAMS_BURST as usize);
    }

    #[test]
    fn all_sources_together_have_a_budget() {
        let mut limiter = limiter();
        let spoofed = |i: u32| IpAddr::from((0x0800_0000 + i * 256).to_be_bytes());
        let admitted = (0..100_000).filter(|i| limiter.admit(spoofed(*i), Instant::ZERO)).count();
        assert_eq!(admitted, limits::DATAGRAMS_BURST as usize);
    }

    #[test]
    fn local_sources_have_no_budget_of_their_own() {
        let mut limiter = limiter();
        let admitted = (0..1000).filter(|_| limiter.admit(ip("127.0.0.1"), Instant::ZERO)).count();
        assert_eq!(admitted, limits::DATAGRAMS_BURST as usize, "only that of all sources together");
        assert!((0..1000).all(|_| limiter.admit_unproven_ping(ip("192.168.0.7"), Instant::ZERO)));
    }

    #[test]
    fn an_unproven_address_is_pinged_at_most_twice_a_minute() {
        let mut limiter = limiter();
        let mut sent = vec![];
        for second in 0..600u64 {
            let now = Instant::from_micros(second * 1_000_000);
            while limiter.admit_unproven_ping(ip("9.9.9.9"), now) {
                sent.push(second);
            }
        }
        assert!(sent.windows(3).all(|w| w[2] - w[0] >= 60), "{sent:?}");
        assert!(sent.len() >= 10);
    }

    /// With a shared budget, a lookup would pass over one live node in some thousands.
    #[test]
    fn destinations_share_no_budget_while_they_are_few() {
        let mut limiter = limiter();
        let ip = |n: u32| IpAddr::from((0x0800_0000 + n * 977).to_be_bytes());
        assert_eq!(limiter.unproven_pings.sets.len() * limits::UNPROVEN_PING_WAYS, limits::UNPROVEN_PING_SLOTS);
        for second in [0, 30] {
            let now = Instant::from_micros(second * 1_000_000);
            assert_eq!((0..1000).filter(|n| limiter.admit_unproven_ping(ip(*n), now)).count(), 1000);
        }
        assert_eq!((0..1000).filter(|n| limiter.admit_unproven_ping(ip(*n), Instant::ZERO)).count(), 0);
        // With any number of them, none receives more than its own budget.
        let mut sent = alloc::collections::BTreeMap::<u32, u32>::new();
        let mut rng = Seed::new([2; 32]).fork("destinations");
        for i in 0..200_000 {
            let (n, now) = (rng.below(30_000) as u32, Instant::from_micros(200_000_000 + i * 250));
            *sent.entry(n).or_default() += u32::from(limiter.admit_unproven_ping(ip(n), now));
        }
        assert!(sent.values().all(|count| *count <= limits::UNPROVEN_PINGS_BURST), "in 50 seconds");
        assert_eq!(limiter.unproven_pings.sets.len() * limits::UNPROVEN_PING_WAYS, limits::UNPROVEN_PING_SLOTS_MAX);
        // Once every budget is refilled, the memory is given back.
        let later = Instant::from_micros(400_000_000);
        assert!(limiter.admit_unproven_ping(ip(1), later));
        assert_eq!(limiter.unproven_pings.sets.len() * limits::UNPROVEN_PING_WAYS, limits::UNPROVEN_PING_SLOTS);
    }
}
