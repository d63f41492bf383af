//! Two bounded memories that the peer machines share: a map that drops its lowest rank, and recent addresses.
//!
//! All that unknown nodes can make us remember is in one of these, so that a flood of keys or addresses does not grow our
//! memory (attacks D7, P5). Which entry is dropped depends on the content alone, not on hashing or chance.

use alloc::collections::{BTreeMap, BTreeSet};
use core::net::{IpAddr, Ipv6Addr};

use super::ranges::host_number as number;
use crate::netfilter::scope;
use crate::time::{Deadlines, Duration, Instant};

/// A map of at most `max` keys. A new key in a full map displaces the one of the lowest rank, equal ranks by key.
#[derive(Clone, Debug)]
pub(super) struct Bounded<K, R, V> {
    max: usize,
    by_key: BTreeMap<K, (R, V)>,
    by_rank: BTreeSet<(R, K)>,
}

impl<K: Ord + Copy, R: Ord + Copy, V> Bounded<K, R, V> {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), by_key: BTreeMap::new(), by_rank: BTreeSet::new() }
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.by_key.get(key).map(|(_, value)| value)
    }

    /// Sets a key's value and rank. A new key always gets in: it displaces an older one if the map is full.
    pub(super) fn insert(&mut self, key: K, rank: R, value: V) {
        self.remove(&key);
        while self.by_key.len() >= self.max {
            let Some((_, lowest)) = self.by_rank.pop_first() else { break };
            self.by_key.remove(&lowest);
        }
        self.by_rank.insert((rank, key));
        self.by_key.insert(key, (rank, value));
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let (rank, value) = self.by_key.remove(key)?;
        self.by_rank.remove(&(rank, *key));
        Some(value)
    }

    /// A key's rank.
    pub(super) fn rank(&self, key: &K) -> Option<R> {
        self.by_key.get(key).map(|(rank, _)| *rank)
    }

    /// The lowest entry.
    pub(super) fn lowest(&self) -> Option<(R, K)> {
        self.by_rank.first().copied()
    }

    /// The lowest entry that does not rank below `from`.
    pub(super) fn lowest_from(&self, from: (R, K)) -> Option<(R, K)> {
        self.by_rank.range(from..).next().copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.by_key.iter().map(|(key, (_, value))| (key, value))
    }

    pub(super) fn is_full(&self) -> bool {
        self.by_key.len() >= self.max
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }
}

/// The unit that counts as one host: an IPv4 address, or the /64 of an IPv6 address.
pub(super) fn host(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
    }
}

/// Hosts that were dialled or accepted less than `interval` ago, as the owner notes them. Local ones are never kept.
#[derive(Clone, Debug)]
pub(super) struct Recent {
    interval: Duration,
    max: usize,
    until: Deadlines<u64>,
}

impl Recent {
    pub(super) fn new(interval: Duration, max: usize) -> Self {
        Self { interval, max: max.max(1), until: Deadlines::default() }
    }

    /// Until when the host counts as recent, if it does.
    pub(super) fn until(&self, now: Instant, ip: IpAddr) -> Option<Instant> {
        self.until.get(number(ip)).filter(|until| *until > now)
    }

    /// Notes a host. When full, drops the one that expires first.
    pub(super) fn note(&mut self, now: Instant, ip: IpAddr) {
        if scope(ip).is_local() {
            return;
        }
        while self.until.pop_due(now).is_some() {}
        if self.until.get(number(ip)).is_none() && self.until.len() >= self.max {
            let oldest = self.until.next().map(|(_, key)| key);
            oldest.into_iter().for_each(|key| self.until.set(key, None));
        }
        self.until.set(number(ip), now + self.interval);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.until.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn a_new_key_displaces_the_lowest_rank() {
        let mut map = Bounded::new(2);
        map.insert('a', 5, ());
        map.insert('b', 3, ());
        map.insert('c', 1, ());
        assert_eq!(map.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ['a', 'c']);
        map.insert('a', 0, ());
        map.insert('d', 9, ());
        assert_eq!(map.iter().map(|(key, _)| *key).collect::<Vec<_>>(), ['c', 'd'], "a rank moves with its key");
        assert_eq!(map.by_rank.len(), map.by_key.len());
    }

    #[test]
    fn recent_hosts_are_bounded_and_local_ones_are_not_kept() {
        let mut recent = Recent::new(Duration::from_secs(30), 4096);
        let now = Instant::from_micros(7);
        for i in 0..100_000u32 {
            recent.note(now, IpAddr::from((0x0100_0000 + i).to_be_bytes()));
        }
        assert_eq!(recent.len(), 4096);
        let last = IpAddr::from((0x0100_0000u32 + 99_999).to_be_bytes());
        assert_eq!(recent.until(now, last), Some(now + Duration::from_secs(30)));
        assert_eq!(recent.until(now + Duration::from_secs(30), last), None);
        recent.note(now, "127.0.0.1".parse().unwrap());
        assert_eq!(recent.until(now, "127.0.0.1".parse().unwrap()), None);
        recent.note(now, "2a00::1".parse().unwrap());
        assert!(recent.until(now, "2a00::ffff:0:0:1".parse().unwrap()).is_some(), "an IPv6 host is its /64");
        recent.note(now + Duration::from_secs(31), last);
        assert_eq!(recent.len(), 1, "expired hosts are dropped");
    }
}
