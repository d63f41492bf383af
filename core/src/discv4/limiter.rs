//! Source budgets: what strangers may make us compute and send (attacks D5, D6, D7, D10, D13).
//!
//! Bounded memory, whatever the number of sources: each is hashed to a slot with a secret key, so that nobody can aim at
//! another's slot, and those that fall together share its budget. Destinations of ours are told apart as long as there is
//! room. It never looks into packets.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use super::endpoint_bytes;
use crate::contract::Prefetch;
use crate::crypto::Digest;
use crate::limits;
use crate::netfilter::{Subnet, scope};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// So many at once, and then one per interval.
#[derive(Clone, Copy, Debug)]
struct Rate {
    interval_micros: u64,
    burst: u32,
}

impl Rate {
    const fn per_second(count: u32, burst: u32) -> Self {
        Self { interval_micros: 1_000_000 / count as u64, burst }
    }

    /// Whole intervals before `now`.
    const fn intervals(self, now: Instant) -> u64 {
        now.as_micros() / self.interval_micros
    }

    /// Whether one more is allowed at `now`; `used_until` is the interval by whose end everything taken so far is paid for.
    fn allows(self, used_until: u64, now: Instant) -> bool {
        used_until.saturating_sub(self.intervals(now)) < u64::from(self.burst)
    }

    fn take(self, used_until: u64, now: Instant) -> u64 {
        used_until.max(self.intervals(now)) + 1
    }
}

/// A rate for each of many sources, and optionally one for all of them together.
#[derive(Debug)]
struct Budget {
    each: Rate,
    /// Counts intervals: 2^32 of the shortest are years.
    slots: Box<[u32]>,
    all: Option<Rate>,
    all_used_until: u64,
}

impl Budget {
    fn new(each: Rate, slots: usize, all: Option<Rate>) -> Self {
        Self { each, slots: vec![0; slots].into(), all, all_used_until: 0 }
    }

    /// Takes one from the budgets of the source (if it has one) and of all; from none unless both allow it.
    fn take(&mut self, source: Option<u64>, now: Instant) -> bool {
        let slots = self.slots.len() as u64;
        let slot = source.and_then(|hash| self.slots.get_mut((hash % slots) as usize));
        let each_allows = slot.as_ref().is_none_or(|used_until| self.each.allows(u64::from(**used_until), now));
        if !each_allows || self.all.is_some_and(|all| !all.allows(self.all_used_until, now)) {
            return false;
        }
        if let Some(used_until) = slot {
            *used_until = self.each.take(u64::from(*used_until), now).try_into().unwrap_or(u32::MAX);
        }
        if let Some(all) = self.all {
            self.all_used_until = all.take(self.all_used_until, now);
        }
        true
    }
}

/// What was sent to an address lately.
#[derive(Clone, Copy, Default, Debug)]
struct Destination {
    fingerprint: u32,
    /// When everything taken so far will have been paid for, in whole seconds since the driver's start, rounded up.
    used_until: u32,
}

/// A rate for each of many destinations that seldom share one: an honest node's lookups touch many at once, a bootnode's
/// guests are more, and none of them has done anything for which it should be passed over.
#[derive(Debug)]
struct Destinations {
    interval: u32,
    burst: u32,
    /// When everything taken by anybody will have been paid for: then there is nothing to remember.
    all_used_until: u32,
    /// A power of two of them.
    sets: Vec<[Destination; limits::UNPROVEN_PING_WAYS]>,
}

impl Destinations {
    fn new(interval: Duration, burst: u32) -> Self {
        let interval = u32::try_from(interval.as_secs()).unwrap_or(u32::MAX);
        Self { interval, burst, all_used_until: 0, sets: Self::empty() }
    }

    fn empty() -> Vec<[Destination; limits::UNPROVEN_PING_WAYS]> {
        vec![Default::default(); limits::UNPROVEN_PING_SLOTS / limits::UNPROVEN_PING_WAYS]
    }

    /// Takes one from the budget of a destination. One that is new to a full set takes over the place of whoever has used
    /// least of all in it, with what that has used: whoever was pushed out finds no place in it that has used less.
    fn take(&mut self, fingerprint: u32, now: Instant) -> bool {
        let now = now.as_micros();
        let [floor, ceiling] = [now / 1_000_000, now.div_ceil(1_000_000)].map(|s| u32::try_from(s).unwrap_or(u32::MAX));
        if self.all_used_until <= floor && self.sets.len() > limits::UNPROVEN_PING_SLOTS / limits::UNPROVEN_PING_WAYS {
            self.sets = Self::empty();
        }
        let mut place = *self.place(fingerprint);
        while place.fingerprint != fingerprint && place.used_until > floor && self.grow() {
            place = *self.place(fingerprint);
        }
        let used = place.used_until.saturating_sub(floor);
        if used.saturating_add(self.interval) > self.interval.saturating_mul(self.burst) {
            return false;
        }
        let used_until = place.used_until.max(ceiling).saturating_add(self.interval);
        *self.place(fingerprint) = Destination { fingerprint, used_until };
        self.all_used_until = self.all_used_until.max(used_until);
        true
    }

    /// The destination's place in its set, or the one that it would take over.
    fn place(&mut self, fingerprint: u32) -> &mut Destination {
        let sets = self.sets.len();
        let set = &mut self.sets[fingerprint as usize % sets];
        let known = set.iter().position(|place| place.fingerprint == fingerprint);
        let least = || set.iter().zip(0..).min_by_key(|(place, _)| place.used_until).map_or(0, |(_, way)| way);
        let way = known.unwrap_or_else(least);
        &mut set[way]
    }

    /// Twice the memory, if there may be more. Each destination has a place of its own in it: a set becomes two.
    fn grow(&mut self) -> bool {
        let sets = self.sets.len();
        if sets * limits::UNPROVEN_PING_WAYS >= limits::UNPROVEN_PING_SLOTS_MAX {
            return false;
        }
        self.sets.extend_from_within(..);
        for (i, set) in self.sets.iter_mut().enumerate() {
            let stays = |place: &Destination| place.fingerprint as usize % (2 * sets) == i;
            set.iter_mut().filter(|place| !stays(place)).for_each(|place| *place = Destination::default());
        }
        true
    }
}

/// A datagram that was seen. `fingerprint` 0 marks an empty slot.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    fingerprint: u32,
    /// When, in milliseconds modulo 2^32: whoever comes back after 50 days may have two more seconds of grace.
    first: u32,
}

/// Datagrams that may push out each other, the newest first: one cache line.
#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct SeenSet([Seen; limits::REPLAY_WAYS]);

/// See the module.
pub struct Limiter {
    hasher: SipHasher13,
    datagrams: Budget,
    ping_backs: Budget,
    unproven_pings: Destinations,
    seen: Box<[SeenSet]>,
}

impl Limiter {
    /// Full budgets, with a secret key from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        let datagrams = Budget::new(
            Rate::per_second(limits::SUBNET_DATAGRAMS_PER_SECOND, limits::SUBNET_DATAGRAMS_BURST),
            limits::LIMITER_SLOTS,
            Some(Rate::per_second(limits::DATAGRAMS_PER_SECOND, limits::DATAGRAMS_BURST)),
        );
        let ping_backs = Budget::new(
            Rate::per_second(limits::SUBNET_PING_BACKS_PER_SECOND, limits::SUBNET_PING_BACKS_BURST),
            limits::PING_BACK_SLOTS,
            Some(Rate::per_second(limits::PING_BACKS_PER_SECOND, limits::PING_BACKS_PER_SECOND)),
        );
        let unproven_pings = Destinations::new(limits::UNPROVEN_PING_INTERVAL, limits::UNPROVEN_PINGS_BURST);
        Self {
            hasher: SipHasher13::new_with_key(&rng.bytes()),
            datagrams,
            ping_backs,
            unproven_pings,
            seen: vec![SeenSet::default(); limits::REPLAY_SLOTS / limits::REPLAY_WAYS].into(),
        }
    }

    /// Whether an unsolicited datagram's signature may be checked (attack D6).
    #[must_use]
    pub fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        let source = self.subnet(from);
        self.datagrams.take(source, now)
    }

    /// Whether a ping may be answered by one of ours (attack D5).
    #[must_use]
    pub fn admit_ping_back(&mut self, to: IpAddr, now: Instant) -> bool {
        let source = self.subnet(to);
        self.ping_backs.take(source, now)
    }

    /// Whether an address may be pinged from which nobody has proven anything (attack D10).
    #[must_use]
    pub fn admit_unproven_ping(&mut self, to: IpAddr, now: Instant) -> bool {
        let source = (!scope(to).is_local()).then(|| match to {
            IpAddr::V4(ip) => self.hasher.hash(&ip.octets()),
            IpAddr::V6(ip) => self.hasher.hash(&ip.octets()),
        });
        source.is_none_or(|hash| self.unproven_pings.take((hash >> 32) as u32, now))
    }

    /// Shows what an unsolicited datagram will read.
    pub fn prefetch(&self, from: SocketAddr, hash: &Digest, memory: &mut impl Prefetch) {
        memory.prefetch(&self.seen[self.seen_as(from, hash).0]);
        if let Some(source) = self.subnet(from.ip()) {
            memory.prefetch(&self.datagrams.slots[(source % limits::LIMITER_SLOTS as u64) as usize]);
        }
    }

    /// Remembers a datagram; tells whether the same came from there before, longer ago than a sender may repeat itself.
    #[must_use]
    pub fn is_replay(&mut self, from: SocketAddr, hash: &Digest, now: Instant) -> bool {
        let (set, fingerprint) = self.seen_as(from, hash);
        let SeenSet(set) = &mut self.seen[set];
        let now = (now.as_micros() / 1000) as u32;
        let grace = limits::REPLAY_GRACE.as_millis() as u32;
        if let Some(seen) = set.iter().find(|seen| seen.fingerprint == fingerprint) {
            return now.wrapping_sub(seen.first) >= grace;
        }
        set.rotate_right(1);
        set[0] = Seen { fingerprint, first: now };
        false
    }

    /// Where a datagram is remembered, and as what.
    fn seen_as(&self, from: SocketAddr, hash: &Digest) -> (usize, u32) {
        let mut key = [0; 51];
        key[..32].copy_from_slice(hash);
        key[32..].copy_from_slice(&endpoint_bytes(from));
        let hash = self.hasher.hash(&key);
        ((hash % self.seen.len() as u64) as usize, ((hash >> 32) as u32).max(1))
    }

    /// The source that an address belongs to; `None` for one on this machine or network, where many nodes may live.
    fn subnet(&self, ip: IpAddr) -> Option<u64> {
        (!scope(ip).is_local()).then(|| self.hasher.hash(Subnet::of(ip).as_bytes()))
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
        assert_eq!(admitted, limits::DATAGRAMS_BURST as usize, "only that of all together");
        assert!((0..1000).all(|_| limiter.admit_unproven_ping(ip("192.168.0.7"), Instant::ZERO)));
    }

    #[test]
    fn an_unproven_address_is_pinged_twice_a_minute_at_most() {
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

    /// Destinations that fell together once shared a budget: of those that a lookup met, one in some thousands was passed
    /// over as dead.
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
        // However many there are, nobody gets more than its own.
        let mut sent = alloc::collections::BTreeMap::<u32, u32>::new();
        let mut rng = Seed::new([2; 32]).fork("destinations");
        for i in 0..200_000 {
            let (n, now) = (rng.below(30_000) as u32, Instant::from_micros(200_000_000 + i * 250));
            *sent.entry(n).or_default() += u32::from(limiter.admit_unproven_ping(ip(n), now));
        }
        assert!(sent.values().all(|count| *count <= limits::UNPROVEN_PINGS_BURST), "in 50 seconds");
        assert_eq!(limiter.unproven_pings.sets.len() * limits::UNPROVEN_PING_WAYS, limits::UNPROVEN_PING_SLOTS_MAX);
        // Once all has been paid for, the memory is given back.
        let later = Instant::from_micros(400_000_000);
        assert!(limiter.admit_unproven_ping(ip(1), later));
        assert_eq!(limiter.unproven_pings.sets.len() * limits::UNPROVEN_PING_WAYS, limits::UNPROVEN_PING_SLOTS);
    }

    #[test]
    fn replays_are_told_by_hash_and_source() {
        let mut limiter = limiter();
        let (a, b) = ("8.8.8.8:1".parse().unwrap(), "8.8.8.8:2".parse().unwrap());
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        assert!(!limiter.is_replay(a, &[1; 32], at(10)));
        assert!(!limiter.is_replay(a, &[1; 32], at(11)), "the same question within a second or two");
        assert!(limiter.is_replay(a, &[1; 32], at(12)));
        assert!(limiter.is_replay(a, &[1; 32], at(100_000)));
        assert!(!limiter.is_replay(b, &[1; 32], at(12)));
        assert!(!limiter.is_replay(a, &[2; 32], at(12)));
    }
    #[test]
    fn replays_are_told_among_what_comes_in_half_a_minute() {
        let mut limiter = limiter();
        let hash = |n: u64| crate::crypto::keccak256(&n.to_be_bytes());
        let from = |n: u64| SocketAddr::from(([8, 8, n as u8, 8], 30303));
        for n in 0..240 {
            assert!(!limiter.is_replay(from(n), &hash(n), Instant::from_micros(n * 125_000)));
        }
        // The last twenty seconds are what an expiration of twenty seconds leaves open.
        let told =
            (80..240).filter(|n| limiter.is_replay(from(*n), &hash(*n), Instant::from_micros(33_000_000))).count();
        assert!(told >= 150, "{told} of 160");
    }
}
