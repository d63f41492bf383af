//! discv4's own limits beside the shared ones of [`kad`](crate::kad::limiter): Neighbors, pings back and replays (attacks
//! D5, D6, D13).
//!
//! Both use the shared limiter's keyed hash. Packets are not looked into.

use alloc::boxed::Box;
use alloc::vec;
use core::net::{IpAddr, SocketAddr};

use crate::contract::Prefetch;
use crate::crypto::{Digest, NodeId};
use crate::kad::budgets::{Budget, Budgets, Rate};
use crate::kad::limiter::{self, Allowance, Source};
use crate::limits;
use crate::netfilter::endpoint_bytes;
use crate::rng::Rng;
use crate::time::Instant;

/// A datagram that was seen. `fingerprint` 0 marks an empty entry.
#[derive(Clone, Copy, Default, Debug)]
struct Seen {
    fingerprint: u32,
    /// When, in milliseconds modulo 2^32: a repetition after 50 days may have two more seconds of grace.
    first: u32,
}

/// Datagrams that may evict each other, the newest first: one cache line.
#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct SeenSet([Seen; limits::REPLAY_WAYS]);

/// The budgets of sources and destinations, and the datagrams that were seen.
#[derive(Debug)]
pub struct Limiter {
    shared: limiter::Limiter,
    neighbors: Budget,
    foreign_checks: Budget,
    /// By subnet.
    ping_backs: Budgets,
    seen: Box<[SeenSet]>,
}

impl Limiter {
    /// Full budgets, with a secret key from `rng`.
    pub fn new(rng: &mut Rng) -> Self {
        Self {
            shared: limiter::Limiter::new(rng),
            neighbors: Budget::new(Rate::per_second(limits::NEIGHBORS_PER_SECOND, limits::NEIGHBORS_BURST)),
            foreign_checks: Budget::new(Rate::per_second(
                limits::FOREIGN_CHECKS_PER_SECOND,
                limits::FOREIGN_CHECKS_BURST,
            )),
            ping_backs: Budgets::new(
                Rate::per_second(limits::SUBNET_PING_BACKS_PER_SECOND, limits::SUBNET_PING_BACKS_BURST),
                limits::BUDGET_ACCOUNTS_MAX,
            ),
            seen: vec![SeenSet::default(); limits::REPLAY_SLOTS / limits::REPLAY_WAYS].into(),
        }
    }

    /// Whether the signature of a request may be checked (attack D6). Takes nothing.
    pub fn allows_request(&self, source: Source, from: SocketAddr, now: Instant) -> Allowance {
        self.shared.allows(source, from, now)
    }

    /// Takes the check of a request's signature from the budgets of its source.
    pub fn take_request(&mut self, source: Source, from: SocketAddr, now: Instant) {
        self.shared.take(source, from, now);
    }

    /// Whether the signature of a Neighbors packet may be checked that an open call waits for. Takes nothing.
    pub fn allows_neighbors(&self, now: Instant) -> Allowance {
        if self.neighbors.allows(now) { Allowance::Allowed } else { Allowance::Exhausted }
    }

    /// Takes the check of a Neighbors packet's signature.
    pub fn take_neighbors(&mut self, now: Instant) {
        self.neighbors.take(now);
    }

    /// Whether the hash of a datagram may be checked that is dropped in any case, to recognise other protocols' datagrams.
    #[must_use]
    pub fn admit_foreign_check(&mut self, now: Instant) -> bool {
        let is_allowed = self.foreign_checks.allows(now);
        if is_allowed {
            self.foreign_checks.take(now);
        }
        is_allowed
    }

    /// Whether a ping of so many bytes may be sent to an address that has proven nothing (attack D10).
    #[must_use]
    pub fn admit_unproven_ping(&mut self, to: IpAddr, bytes: usize, now: Instant) -> bool {
        self.shared.admit_unproven_ping(to, bytes, now)
    }

    /// Whether a bootnode may be pinged while the table is empty.
    #[must_use]
    pub fn admit_named_ping(&mut self, to: SocketAddr, now: Instant) -> bool {
        self.shared.admit_named_ping(to, now)
    }

    /// An address has answered a ping.
    pub fn proven(&mut self, at: IpAddr, now: Instant) {
        self.shared.proven(at, now);
    }

    /// Whether a ping may be answered by a ping of ours (attack D5). All strangers together are limited by the budget for the
    /// checks of their signatures.
    #[must_use]
    pub fn admit_ping_back(&mut self, to: IpAddr, now: Instant) -> bool {
        let Some(subnet) = self.shared.subnet(to) else { return true };
        let is_allowed = self.ping_backs.allows(subnet, now);
        if is_allowed {
            self.ping_backs.take(subnet, now);
        }
        is_allowed
    }

    /// A keyed hash of a node at an endpoint.
    pub fn node_hash(&self, id: &NodeId, at: SocketAddr) -> u32 {
        self.keyed_hash(&id.0, at) as u32
    }

    fn keyed_hash(&self, hash: &[u8; 32], at: SocketAddr) -> u64 {
        let mut key = [0; 51];
        key[..32].copy_from_slice(hash);
        key[32..].copy_from_slice(&endpoint_bytes(at));
        self.shared.hash(&key)
    }

    /// Memory for the budgets of sources, in bytes.
    #[cfg(test)]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.shared.memory_bytes() + self.ping_backs.memory_bytes()
    }

    /// Shows what a request of a stranger will read.
    pub fn prefetch(&self, from: SocketAddr, hash: &Digest, memory: &mut impl Prefetch) {
        memory.prefetch(&self.seen[self.seen_key(from, hash).0]);
        self.shared.prefetch(from.ip(), memory);
    }

    /// Remembers a datagram. Returns whether the same datagram came from the same endpoint before, longer ago than a sender
    /// may repeat it.
    #[must_use]
    pub fn is_replay(&mut self, from: SocketAddr, hash: &Digest, now: Instant) -> bool {
        let (set, fingerprint) = self.seen_key(from, hash);
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

    /// The set in which a datagram is remembered, and its fingerprint there.
    fn seen_key(&self, from: SocketAddr, hash: &Digest) -> (usize, u32) {
        let hash = self.keyed_hash(hash, from);
        ((hash % self.seen.len() as u64) as usize, ((hash >> 32) as u32).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    fn limiter() -> Limiter {
        Limiter::new(&mut Seed::new([1; 32]).fork("limiter"))
    }

    #[test]
    fn a_subnet_provokes_its_burst_of_pings_back_and_then_its_rate() {
        let mut limiter = limiter();
        let mut admitted = |seconds: u64| {
            let now = Instant::from_micros(seconds * 1_000_000);
            (0..100).filter(|i| limiter.admit_ping_back([8, 8, 8, *i].into(), now)).count()
        };
        assert_eq!(admitted(0), limits::SUBNET_PING_BACKS_BURST as usize);
        assert_eq!(admitted(1), limits::SUBNET_PING_BACKS_PER_SECOND as usize);
    }

    #[test]
    fn replays_are_recognised_by_hash_and_source() {
        let mut limiter = limiter();
        let (a, b) = ("8.8.8.8:1".parse().unwrap(), "8.8.8.8:2".parse().unwrap());
        let at = |secs: u64| Instant::from_micros(secs * 1_000_000);
        assert!(!limiter.is_replay(a, &[1; 32], at(10)));
        assert!(!limiter.is_replay(a, &[1; 32], at(11)), "the same request within the grace period");
        assert!(limiter.is_replay(a, &[1; 32], at(12)));
        assert!(limiter.is_replay(a, &[1; 32], at(100_000)));
        assert!(!limiter.is_replay(b, &[1; 32], at(12)));
        assert!(!limiter.is_replay(a, &[2; 32], at(12)));
    }

    #[test]
    fn replays_are_recognised_among_half_a_minute_of_datagrams() {
        let mut limiter = limiter();
        let hash = |n: u64| crate::crypto::keccak256(&n.to_be_bytes());
        let from = |n: u64| SocketAddr::from(([8, 8, n as u8, 8], 30303));
        for n in 0..240 {
            assert!(!limiter.is_replay(from(n), &hash(n), Instant::from_micros(n * 125_000)));
        }
        // An expiration of twenty seconds leaves the last twenty seconds open to replays.
        let recognised =
            (80..240).filter(|n| limiter.is_replay(from(*n), &hash(*n), Instant::from_micros(33_000_000))).count();
        assert!(recognised >= 150, "{recognised} of 160");
    }
}
