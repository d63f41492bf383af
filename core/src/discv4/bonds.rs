//! Endpoint proofs in both directions (discv4, "Endpoint Proof"; attacks D1 to D4).
//!
//! A proof belongs to one node id at one IP address and port, and is made by nothing but a pong that answers our latest
//! ping to there: spoofed packets cannot make, renew or push out one. Memory is fixed. It never sends anything.

use alloc::boxed::Box;
use alloc::vec;
use core::net::{IpAddr, SocketAddr};

use siphasher::sip::SipHasher13;

use crate::contract::Prefetch;
use crate::crypto::NodeId;
use crate::limits;
use crate::rng::Rng;
use crate::time::{Duration, Instant};

const SETS: usize = limits::BONDS_MAX / limits::BOND_WAYS;

/// A proof that is kept. Times are whole seconds since the memory was made, plus one; 0 is never.
#[derive(Clone, Copy, Default, Debug)]
struct Proof {
    /// Half of a keyed hash of id and endpoint. Whoever sends all that the budget for strangers lets through is days away
    /// from hitting one of the eight in his set, and has gained one endpoint until that proof lapses.
    fingerprint: u32,
    /// They answered our ping.
    proven: u32,
    /// They showed that they take our endpoint for proven, by pinging us or by answering a question.
    knows_us: u32,
}

/// What we and a node at an endpoint know of each other now.
pub struct Bond<'a> {
    proof: &'a mut Proof,
    seconds: u32,
}

impl Bond<'_> {
    /// Whether the node may be served: its proof for this very endpoint has not lapsed.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.is_proven_within(limits::BOND_LIFETIME)
    }

    /// Whether the node answered a ping of ours within the last `age`.
    #[must_use]
    pub fn is_proven_within(&self, age: Duration) -> bool {
        self.is_within(self.proof.proven, age)
    }

    /// Whether the node will serve us: both proofs hold.
    #[must_use]
    pub fn is_mutual(&self) -> bool {
        self.is_proven() && self.is_within(self.proof.knows_us, limits::BOND_LIFETIME)
    }

    /// The node showed that it takes our endpoint for proven.
    pub fn note_knows_us(&mut self) {
        self.proof.knows_us = self.seconds;
    }

    /// The node did not answer a question, so it may have forgotten us.
    pub fn forget_knows_us(&mut self) {
        self.proof.knows_us = 0;
    }

    fn is_within(&self, then: u32, age: Duration) -> bool {
        then != 0 && u64::from(self.seconds.saturating_sub(then)) < age.as_secs()
    }
}

/// See the module.
pub struct Bonds {
    hasher: SipHasher13,
    epoch: Instant,
    /// Most recently used first in each set.
    sets: Box<[[Proof; limits::BOND_WAYS]]>,
}

impl Bonds {
    /// No proofs, with a secret key from `rng`.
    pub fn new(now: Instant, rng: &mut Rng) -> Self {
        Self {
            hasher: SipHasher13::new_with_key(&rng.bytes()),
            epoch: now,
            sets: vec![Default::default(); SETS].into(),
        }
    }

    /// The node answered our ping to this endpoint.
    pub fn prove(&mut self, id: &NodeId, at: SocketAddr, now: Instant) -> Bond<'_> {
        let seconds = self.seconds(now);
        let (set, fingerprint) = self.set(id, at);
        let way = set.iter().position(|proof| proof.fingerprint == fingerprint).unwrap_or(limits::BOND_WAYS - 1);
        set[..=way].rotate_right(1);
        if set[0].fingerprint != fingerprint {
            set[0] = Proof { fingerprint, ..Proof::default() };
        }
        set[0].proven = seconds;
        Bond { proof: &mut set[0], seconds }
    }

    /// What is known of a node at an endpoint, if it has ever proven it: that becomes the most recently used of its set. A
    /// ping alone, whose source may be spoofed, leaves no trace.
    pub fn find(&mut self, id: &NodeId, at: SocketAddr, now: Instant) -> Option<Bond<'_>> {
        let seconds = self.seconds(now);
        let (set, fingerprint) = self.set(id, at);
        let way = set.iter().position(|proof| proof.fingerprint == fingerprint && proof.proven != 0)?;
        set[..=way].rotate_right(1);
        Some(Bond { proof: &mut set[0], seconds })
    }

    /// Whether the node has proven this very endpoint, and the proof has not lapsed.
    #[must_use]
    pub fn is_proven(&mut self, id: &NodeId, at: SocketAddr, now: Instant) -> bool {
        self.find(id, at, now).is_some_and(|bond| bond.is_proven())
    }

    /// Shows what any question about an endpoint will read.
    pub fn prefetch(&self, at: SocketAddr, memory: &mut impl Prefetch) {
        memory.prefetch(&self.sets[self.index(at)]);
    }

    /// Number of proofs kept, lapsed ones included.
    pub fn len(&self) -> usize {
        self.sets.iter().flatten().filter(|proof| proof.proven != 0).count()
    }

    /// Whether there are no proofs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set that an id at an endpoint belongs to, and its fingerprint there. The endpoint alone chooses the set: however
    /// many ids somebody proves there, they push out each other.
    fn set(&mut self, id: &NodeId, at: SocketAddr) -> (&mut [Proof; limits::BOND_WAYS], u32) {
        let set = self.index(at);
        let mut key = [0; 51];
        key[..32].copy_from_slice(&id.0);
        key[32..].copy_from_slice(&endpoint(at));
        let fingerprint = (self.hasher.hash(&key) >> 32) as u32;
        (&mut self.sets[set], fingerprint)
    }

    fn index(&self, at: SocketAddr) -> usize {
        (self.hasher.hash(&endpoint(at)) % SETS as u64) as usize
    }

    fn seconds(&self, now: Instant) -> u32 {
        u32::try_from(now.since(self.epoch).as_secs()).unwrap_or(u32::MAX).saturating_add(1)
    }
}

/// An endpoint as bytes, each its own.
fn endpoint(at: SocketAddr) -> [u8; 19] {
    let mut bytes = [0; 19];
    match at.ip() {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => {
            bytes[..16].copy_from_slice(&ip.octets());
            bytes[18] = 6;
        }
    }
    bytes[16..18].copy_from_slice(&at.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
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
    fn what_they_think_of_us_needs_their_proof_first() {
        let mut bonds = bonds();
        let (id, at) = (NodeId([1; 32]), addr("1.2.3.4:30303"));
        assert!(bonds.find(&id, at, Instant::ZERO).is_none() && bonds.is_empty());
        assert!(!bonds.prove(&id, at, Instant::ZERO).is_mutual());
        bonds.find(&id, at, Instant::ZERO).unwrap().note_knows_us();
        let mut is_mutual = |now| bonds.find(&id, at, now).unwrap().is_mutual();
        assert!(is_mutual(Instant::ZERO));
        assert!(!is_mutual(Instant::ZERO + HOUR * 24));
        bonds.find(&id, at, Instant::ZERO).unwrap().forget_knows_us();
        assert!(!bonds.find(&id, at, Instant::ZERO).unwrap().is_mutual());
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut bonds = bonds();
        let mut rng = Seed::new([2; 32]).fork("ids");
        let (kept, at) = (NodeId([9; 32]), addr("8.8.8.8:30303"));
        bonds.prove(&kept, at, Instant::ZERO);
        for _ in 0..20_000 {
            let elsewhere = SocketAddr::new(IpAddr::from(rng.bytes::<4>()), 30303);
            bonds.prove(&NodeId(rng.bytes()), elsewhere, Instant::ZERO);
            assert!(bonds.is_proven(&kept, at, Instant::ZERO));
        }
        assert_eq!(bonds.len(), limits::BONDS_MAX);
    }

    #[test]
    fn many_ids_at_one_endpoint_push_out_nobody_elsewhere() {
        let mut bonds = bonds();
        let mut rng = Seed::new([3; 32]).fork("ids");
        for _ in 0..20_000 {
            bonds.prove(&NodeId(rng.bytes()), addr("8.8.8.8:30303"), Instant::ZERO);
        }
        assert_eq!(bonds.len(), limits::BOND_WAYS);
    }
}
