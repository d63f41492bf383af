//! Endpoint proofs in both directions (discv4, "Endpoint Proof"; attacks D1 to D4).
//!
//! A proof belongs to one node id at one IP address and port, and is made only by a pong that answers our latest ping to
//! that endpoint: spoofed packets cannot make, renew or evict one. Memory is bounded, and grows when young proofs fill it.
//! It never sends anything.

use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use siphasher::sip::SipHasher13;

use crate::contract::Prefetch;
use crate::crypto::NodeId;
use crate::limits;
use crate::netfilter::endpoint_bytes;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// Seconds of a tick: sixteen bits of ticks are more than the lifetime of a proof.
const TICK_SECONDS: u64 = 2;
/// The first tick at which proofs of tick 1 have lapsed.
const LIFETIME_TICKS: u64 = limits::BOND_LIFETIME.as_secs() / TICK_SECONDS + 1;
const _: () = assert!(LIFETIME_TICKS < u16::MAX as u64);

/// A node at an endpoint, as keyed hashes: 24 bits of the endpoint, of which the lowest choose the set, and 24 of the id and
/// the endpoint. An attacker that forges a proven endpoint and uses its whole budget needs weeks to collide with its proof,
/// and gains that endpoint until the proof lapses.
type Fingerprint = [u16; 3];

/// The bits of a [`Fingerprint`] that stand for the endpoint.
const ENDPOINT_MASK: Fingerprint = [u16::MAX, 0xff, 0];

/// A stored proof. Times are ticks since [`Bonds::epoch`], plus one; 0 is never.
#[derive(Clone, Copy, Default, Debug)]
struct Proof {
    fingerprint: Fingerprint,
    /// When the node last answered a ping of ours.
    proven_at: u16,
    /// When the node last showed that it holds our endpoint proven, by pinging us or by answering a request.
    peer_bonded_at: u16,
}

/// Proofs that may evict each other, the most recently used first. One cache line, because in a process of many nodes it
/// comes from memory.
#[derive(Clone, Copy, Default, Debug)]
#[repr(align(64))]
struct Set([Proof; limits::BOND_WAYS]);

const _: () = assert!(size_of::<Set>() == 64);

impl Set {
    /// Makes the proof at `way` the most recently used one.
    fn promote(&mut self, way: usize) -> &mut Proof {
        self.0[..=way].rotate_right(1);
        &mut self.0[0]
    }
}

/// The endpoint proofs between us and a node at an endpoint, as of now.
#[derive(Debug)]
pub struct Bond<'a> {
    proof: &'a mut Proof,
    now: u16,
}

impl Bond<'_> {
    /// Whether the node may be served: its proof for this endpoint has not lapsed.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.is_proven_within(limits::BOND_LIFETIME)
    }

    /// Whether the node answered a ping of ours within the last `age`, short of up to two seconds.
    #[must_use]
    pub fn is_proven_within(&self, age: Duration) -> bool {
        self.is_within(self.proof.proven_at, age)
    }

    /// Whether both proofs hold, so that the node will serve us.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.is_proven() && self.is_peer_bonded_within(limits::BOND_LIFETIME)
    }

    /// The node showed that it holds our endpoint proven.
    pub fn set_peer_bonded(&mut self) {
        self.proof.peer_bonded_at = self.now;
    }

    /// The node did not answer a request, so it may have lost the proof of our endpoint.
    pub fn clear_peer_bond(&mut self) {
        self.proof.peer_bonded_at = 0;
    }

    /// Whether the node showed within the last `age`, short of up to two seconds, that it holds our endpoint proven.
    #[must_use]
    pub fn is_peer_bonded_within(&self, age: Duration) -> bool {
        self.is_within(self.proof.peer_bonded_at, age)
    }

    fn is_within(&self, then: u16, age: Duration) -> bool {
        then != 0 && ticks_between(then, self.now) * TICK_SECONDS < age.as_secs()
    }
}

fn ticks_between(then: u16, now: u16) -> u64 {
    u64::from(now.saturating_sub(then))
}

/// The endpoint proofs of all nodes.
pub struct Bonds {
    hasher: SipHasher13,
    /// Tick 1. Moves on before ticks outgrow sixteen bits.
    epoch: Instant,
    /// A power of two of them.
    sets: Vec<Set>,
}

impl Bonds {
    /// No proofs, with a secret key from `rng`.
    pub fn new(now: Instant, rng: &mut Rng) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&rng.bytes()),
            epoch: now,
            sets: vec![Set::default(); limits::BONDS_INITIAL / limits::BOND_WAYS],
        }
    }

    /// The node answered our ping to this endpoint.
    pub fn prove(&mut self, id: &NodeId, at: SocketAddr, now: Instant) -> Bond<'_> {
        let now = self.tick(now);
        let fingerprint = self.fingerprint(id, at);
        let found = self.way(fingerprint);
        if found.is_none() && self.is_short(fingerprint, now) {
            self.grow();
        }
        let proof = self.set(fingerprint).promote(found.unwrap_or(limits::BOND_WAYS - 1));
        if proof.fingerprint != fingerprint {
            *proof = Proof { fingerprint, ..Proof::default() };
        }
        proof.proven_at = now;
        Bond { proof, now }
    }

    /// The bond with a node that has once proven this endpoint; it becomes the most recently used of its set. A ping alone,
    /// whose source may be spoofed, makes none.
    pub fn find(&mut self, id: &NodeId, at: SocketAddr, now: Instant) -> Option<Bond<'_>> {
        let now = self.tick(now);
        let fingerprint = self.fingerprint(id, at);
        let way = self.way(fingerprint)?;
        let proof = self.set(fingerprint).promote(way);
        (proof.proven_at != 0).then_some(Bond { proof, now })
    }

    /// Whether the node has proven this endpoint and the proof has not lapsed.
    #[must_use]
    pub fn is_proven(&mut self, id: &NodeId, at: SocketAddr, now: Instant) -> bool {
        self.find(id, at, now).is_some_and(|bond| bond.is_proven())
    }

    /// Whether any node has once proven this endpoint. Of endpoints that none has proven, one in some thousands counts as
    /// proven too.
    #[must_use]
    pub fn has_endpoint(&self, at: SocketAddr) -> bool {
        let wanted = self.endpoint_bits(at);
        let matches = |Proof { fingerprint: [low, high, _], proven_at, .. }: &Proof| {
            [*low, high & ENDPOINT_MASK[1], 0] == wanted && *proven_at != 0
        };
        self.sets[self.index(wanted)].0.iter().any(matches)
    }

    /// Shows what [`Bonds::find`] for an endpoint will read.
    pub fn prefetch(&self, at: SocketAddr, memory: &mut impl Prefetch) {
        memory.prefetch(&self.sets[self.index(self.endpoint_bits(at))]);
    }

    /// Number of stored proofs, lapsed ones included.
    pub fn len(&self) -> usize {
        self.sets.iter().flat_map(|set| &set.0).filter(|proof| proof.proven_at != 0).count()
    }

    /// Whether no proof is stored.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn fingerprint(&self, id: &NodeId, at: SocketAddr) -> Fingerprint {
        let mut key = [0; 51];
        key[..32].copy_from_slice(&id.0);
        key[32..].copy_from_slice(&endpoint_bytes(at));
        let hash = self.hasher.hash(&key);
        let [low, high, _] = self.endpoint_bits(at);
        [low, high | (hash as u16) << 8, (hash >> 8) as u16]
    }

    fn endpoint_bits(&self, at: SocketAddr) -> Fingerprint {
        let hash = self.hasher.hash(&endpoint_bytes(at));
        [hash as u16, (hash >> 16) as u16 & ENDPOINT_MASK[1], 0]
    }

    /// The endpoint alone chooses the set, so that any number of ids at one endpoint evict only each other.
    fn index(&self, [low, ..]: Fingerprint) -> usize {
        usize::from(low) % self.sets.len()
    }

    fn set(&mut self, fingerprint: Fingerprint) -> &mut Set {
        let index = self.index(fingerprint);
        &mut self.sets[index]
    }

    /// The way of a proof in its set, if it is stored.
    fn way(&mut self, fingerprint: Fingerprint) -> Option<usize> {
        self.set(fingerprint).0.iter().position(|proof| proof.fingerprint == fingerprint)
    }

    /// Whether the memory should grow before one more proof enters this set: it would evict a young proof, and young ones are
    /// so many that another set would be no better.
    fn is_short(&mut self, fingerprint: Fingerprint, now: u16) -> bool {
        let is_young = |proof: &Proof| {
            proof.proven_at != 0
                && ticks_between(proof.proven_at, now) * TICK_SECONDS < limits::BOND_RECENT_AGE.as_secs()
        };
        let room = self.sets.len() * limits::BOND_WAYS;
        let last = self.set(fingerprint).0[limits::BOND_WAYS - 1];
        let is_tight =
            || self.sets.iter().flat_map(|set| &set.0).filter(|proof| is_young(proof)).count() >= room / 4 * 3;
        2 * room <= limits::BONDS_MAX && is_young(&last) && is_tight()
    }

    /// Doubles the memory. A set becomes two.
    fn grow(&mut self) {
        let grown = 2 * self.sets.len();
        let half = |index: usize| {
            let whole = &self.sets[index % self.sets.len()];
            let belongs = |proof: &&Proof| usize::from(proof.fingerprint[0]) % grown == index;
            let mut set = Set::default();
            set.0.iter_mut().zip(whole.0.iter().filter(belongs)).for_each(|(way, proof)| *way = *proof);
            set
        };
        self.sets = (0..grown).map(half).collect();
    }

    /// The tick of `now`. Moves the epoch and all stored times if sixteen bits do not hold it.
    fn tick(&mut self, now: Instant) -> u16 {
        let ticks = now.since(self.epoch).as_secs() / TICK_SECONDS + 1;
        u16::try_from(ticks).unwrap_or_else(|_| {
            let surplus = ticks - LIFETIME_TICKS;
            self.epoch = self.epoch + Duration::from_secs(surplus * TICK_SECONDS);
            let surplus = u16::try_from(surplus).unwrap_or(u16::MAX);
            for proof in self.sets.iter_mut().flat_map(|set| &mut set.0) {
                proof.proven_at = proof.proven_at.saturating_sub(surplus);
                proof.peer_bonded_at = proof.peer_bonded_at.saturating_sub(surplus);
            }
            LIFETIME_TICKS as u16
        })
    }
}

/// Without the key of its hash.
impl fmt::Debug for Bonds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bonds").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::*;
    use crate::rng::Seed;

    fn bonds() -> Bonds {
        Bonds::new(Instant::ZERO, &mut Seed::new([1; 32]).fork("bonds"))
    }

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_proof_holds_for_one_id_at_one_endpoint() {
        let mut bonds = bonds();
        let (a, b) = (NodeId([1; 32]), NodeId([2; 32]));
        let now = Instant::from_micros(5);
        bonds.prove(&a, addr("1.2.3.4:30303"), now);
        assert!(bonds.is_proven(&a, addr("1.2.3.4:30303"), now));
        for (id, other) in [(a, "1.2.3.4:30304"), (a, "1.2.3.5:30303"), (b, "1.2.3.4:30303"), (a, "[102:304::]:30303")]
        {
            assert!(!bonds.is_proven(&id, addr(other), now), "{other}");
        }
    }

    #[test]
    fn proofs_lapse() {
        let mut bonds = bonds();
        let (id, at) = (NodeId([1; 32]), addr("1.2.3.4:30303"));
        bonds.prove(&id, at, Instant::ZERO);
        assert!(bonds.is_proven(&id, at, Instant::ZERO + HOUR * 23));
        assert!(!bonds.is_proven(&id, at, Instant::ZERO + HOUR * 24));
        bonds.prove(&id, at, Instant::ZERO + HOUR * 24);
        assert!(bonds.is_proven(&id, at, Instant::ZERO + HOUR * 47));
        assert_eq!(bonds.len(), 1);
    }

    #[test]
    fn a_peers_bond_with_us_needs_its_proof_first() {
        let mut bonds = bonds();
        let (id, at) = (NodeId([1; 32]), addr("1.2.3.4:30303"));
        assert!(bonds.find(&id, at, Instant::ZERO).is_none() && bonds.is_empty());
        assert!(!bonds.prove(&id, at, Instant::ZERO).is_mutual());
        bonds.find(&id, at, Instant::ZERO).unwrap().set_peer_bonded();
        let mut is_mutual = |now| bonds.find(&id, at, now).unwrap().is_mutual();
        assert!(is_mutual(Instant::ZERO));
        assert!(!is_mutual(Instant::ZERO + HOUR * 24));
        bonds.find(&id, at, Instant::ZERO).unwrap().clear_peer_bond();
        assert!(!bonds.find(&id, at, Instant::ZERO).unwrap().is_mutual());
    }

    #[test]
    fn memory_is_bounded_and_a_proof_in_use_stays() {
        let mut bonds = bonds();
        let mut rng = Seed::new([2; 32]).fork("ids");
        let (kept, at) = (NodeId([9; 32]), addr("8.8.8.8:30303"));
        bonds.prove(&kept, at, Instant::ZERO);
        for _ in 0..200_000 {
            let elsewhere = SocketAddr::new(IpAddr::from(rng.bytes::<4>()), 30303);
            bonds.prove(&NodeId(rng.bytes()), elsewhere, Instant::ZERO);
            assert!(bonds.is_proven(&kept, at, Instant::ZERO));
        }
        assert_eq!(bonds.len(), limits::BONDS_MAX);
    }

    #[test]
    fn young_proofs_evict_few_while_memory_can_grow() {
        let mut bonds = bonds();
        let nodes: Vec<(NodeId, SocketAddr)> =
            (0..2000u32).map(|n| (NodeId([n as u8; 32]), SocketAddr::from(((n * 977).to_be_bytes(), 30303)))).collect();
        let at = |n: usize, pause: Duration| Instant::ZERO + pause * n as u32;
        for (n, (id, addr)) in nodes.iter().enumerate() {
            bonds.prove(id, *addr, at(n, Duration::from_millis(100))).set_peer_bonded();
        }
        let now = at(nodes.len(), Duration::from_millis(100));
        let kept =
            nodes.iter().filter(|(id, at)| bonds.find(id, *at, now).is_some_and(|bond| bond.is_mutual())).count();
        assert!(kept > nodes.len() * 5 / 6 && kept == bonds.len(), "{kept} of {}", nodes.len());

        // Neither a few nodes in a quarter of an hour nor many at once of which some share a set make the memory grow.
        for (count, pause) in [(nodes.len(), Duration::from_secs(60)), (limits::BONDS_INITIAL * 2 / 3, Duration::ZERO)]
        {
            let mut bonds = self::bonds();
            for (n, (id, addr)) in nodes.iter().enumerate().take(count) {
                bonds.prove(id, *addr, at(n, pause));
            }
            assert_eq!(bonds.sets.len() * limits::BOND_WAYS, limits::BONDS_INITIAL);
        }
    }

    #[test]
    fn proofs_hold_for_their_lifetime_at_any_age_of_the_memory() {
        let mut bonds = bonds();
        let (id, other, at) = (NodeId([1; 32]), NodeId([2; 32]), addr("1.2.3.4:30303"));
        for day in [0, 1, 3, 40, 50_000] {
            let made = Instant::ZERO + HOUR * 24 * day + Duration::from_millis(1500);
            bonds.prove(&id, at, made).set_peer_bonded();
            // A query at another time moves the epoch as well.
            for hours in 0..24 {
                let now = made + HOUR * hours;
                assert!(!bonds.is_proven(&other, at, now));
                assert!(bonds.find(&id, at, now).is_some_and(|bond| bond.is_mutual()), "day {day}, {hours} hours");
            }
            assert!(bonds.is_proven(&id, at, made + (HOUR * 24 - Duration::from_secs(2))));
            assert!(!bonds.is_proven(&id, at, made + HOUR * 24));
            // Our renewed proof does not renew the node's.
            assert!(!bonds.prove(&id, at, made + HOUR * 24).is_mutual());
        }
    }

    #[test]
    fn many_ids_at_one_endpoint_evict_no_proof_elsewhere() {
        let mut bonds = bonds();
        let mut rng = Seed::new([3; 32]).fork("ids");
        for _ in 0..20_000 {
            bonds.prove(&NodeId(rng.bytes()), addr("8.8.8.8:30303"), Instant::ZERO);
        }
        assert_eq!(bonds.len(), limits::BOND_WAYS);
    }
}
