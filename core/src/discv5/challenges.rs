//! Our challenges (WHOAREYOU) that wait for a handshake: one for a node at an endpoint, sent again as it was (attack V1).
//!
//! Another packet of the node that cannot be opened gets the same challenge: two different ones would leave it guessing which
//! counts. A challenge is smaller than any packet that causes it, so none amplifies.

use alloc::collections::{BTreeMap, VecDeque};
use core::fmt;

use super::sessions::PeerHash;
use crate::limits;
use crate::time::Instant;
use crate::wire::discv5::Challenge;

struct Pending {
    challenge: Challenge,
    until: Instant,
    /// The number of handshake packets whose proof was checked.
    attempts: u8,
}

/// The challenges of all nodes.
#[derive(Default)]
pub struct Challenges {
    pending: BTreeMap<PeerHash, Pending>,
    /// In the order of their sending, with some that have been answered.
    order: VecDeque<(Instant, PeerHash)>,
}

impl Challenges {
    /// Number of challenges that wait, lapsed ones included that were not removed yet.
    pub fn len(&self) -> usize {
        self.pending.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The challenge that a node was sent, unless it has lapsed.
    pub fn find(&self, peer: PeerHash, now: Instant) -> Option<&Challenge> {
        self.pending.get(&peer).filter(|pending| now < pending.until).map(|pending| &pending.challenge)
    }

    /// The challenge that a handshake packet answers. Counts the attempt; `None` after as many as may be.
    #[must_use]
    pub fn attempt(&mut self, peer: PeerHash, now: Instant) -> Option<Challenge> {
        let pending = self.pending.get_mut(&peer).filter(|pending| now < pending.until)?;
        if pending.attempts >= limits::CHALLENGE_ATTEMPTS_MAX {
            return None;
        }
        pending.attempts += 1;
        Some(pending.challenge)
    }

    /// A node was sent a challenge.
    pub fn insert(&mut self, peer: PeerHash, challenge: Challenge, now: Instant) {
        while let Some((until, oldest)) = self.order.front()
            && (*until <= now || self.order.len() >= limits::CHALLENGES_MAX)
        {
            if self.pending.get(oldest).is_some_and(|pending| pending.until == *until) {
                self.pending.remove(oldest);
            }
            self.order.pop_front();
        }
        let until = now + limits::CHALLENGE_TIMEOUT;
        self.pending.insert(peer, Pending { challenge, until, attempts: 0 });
        self.order.push_back((until, peer));
    }

    /// A challenge was answered.
    pub fn remove(&mut self, peer: PeerHash) {
        self.pending.remove(&peer);
        if self.pending.is_empty() {
            *self = Self::default();
        }
    }
}

impl fmt::Debug for Challenges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenges").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn challenge(n: u8) -> Challenge {
        Challenge::new([n; 16], &[n; 12], [n; 16], 0)
    }

    #[test]
    fn a_challenge_waits_for_a_second_and_a_few_attempts() {
        let mut challenges = Challenges::default();
        let (peer, start) = (PeerHash(1), Instant::from_micros(5));
        challenges.insert(peer, challenge(1), start);
        let end = start + limits::CHALLENGE_TIMEOUT;
        let last = Instant::from_micros(end.as_micros() - 1);
        assert_eq!(challenges.find(peer, last), Some(&challenge(1)));
        assert_eq!((challenges.find(peer, end), challenges.find(PeerHash(2), last)), (None, None));
        let attempts = (0..10).filter(|_| challenges.attempt(peer, last).is_some()).count();
        assert_eq!(attempts, usize::from(limits::CHALLENGE_ATTEMPTS_MAX));
        assert!(challenges.find(peer, last).is_some(), "it is still sent again");
        challenges.remove(peer);
        assert!(challenges.is_empty() && challenges.order.is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_challenges_go_first() {
        let mut challenges = Challenges::default();
        for n in 0..10_000 {
            challenges.insert(PeerHash(n), challenge(n as u8), Instant::from_micros(n));
            assert!(challenges.len() <= limits::CHALLENGES_MAX && challenges.order.len() <= limits::CHALLENGES_MAX);
        }
        let now = Instant::from_micros(10_000);
        assert!(challenges.find(PeerHash(9000), now).is_some() && challenges.find(PeerHash(8000), now).is_none());
        // One that was answered and challenged again is not removed with its first challenge.
        challenges.remove(PeerHash(9000));
        challenges.insert(PeerHash(9000), challenge(7), now);
        let later = now + limits::CHALLENGE_TIMEOUT;
        let later = Instant::from_micros(later.as_micros() - 1);
        challenges.insert(PeerHash(1), challenge(1), later);
        assert_eq!(challenges.find(PeerHash(9000), later), Some(&challenge(7)));
        let later = later + Duration::from_secs(9);
        challenges.insert(PeerHash(2), challenge(2), later);
        assert_eq!(challenges.len(), 1, "lapsed ones are released");
    }
}
