//! Sessions: the keys that we share with a node at an endpoint (`discv5-theory.md`, "Sessions"; attacks V2, V5).
//!
//! A session belongs to one node id at one IP address and port: from another endpoint, its keys open nothing. A handshake
//! replaces the keys; those before stay until the next one, and are the present ones again when the node uses them. So two
//! handshakes that cross each other leave both sides able to read each other, also if one keeps the keys of the last one alone. Memory is bounded, and grows when recent sessions fill it.

use alloc::vec::Vec;
use core::fmt;

use crate::crypto::discv5::{InvalidTag, MessageKey, Nonce};
use crate::limits;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::discv5::Packet;

/// A node at an endpoint, as a keyed hash of both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PeerHash(pub(super) u64);

/// The keys of one handshake.
struct Keys {
    seal: MessageKey,
    open: MessageKey,
    /// The number of messages sealed with them.
    sealed: u32,
}

/// One session.
struct Session {
    peer: PeerHash,
    keys: Keys,
    /// The keys before the last handshake.
    keys_before: Option<Keys>,
    /// Seconds since the driver's start.
    made: u32,
    used: u32,
}

/// Sessions that may evict each other, the most recently used first.
type Set = [Option<Session>; limits::SESSION_WAYS];

/// The sessions with all nodes.
#[derive(Default)]
pub struct Sessions {
    /// A power of two of them.
    sets: Vec<Set>,
    /// When the memory was last found to be needed, in seconds.
    reviewed: u32,
}

impl Sessions {
    /// Number of sessions, ended ones included that were not used since.
    pub fn len(&self) -> usize {
        self.sets.iter().flatten().flatten().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether there are keys to seal a message with.
    pub fn contains(&self, peer: PeerHash, now: Instant) -> bool {
        self.get(peer).is_some_and(|session| session.is_usable(now))
    }

    /// The key and a new nonce for the next message; `None` without a session.
    pub fn seal(&mut self, peer: PeerHash, now: Instant, rng: &mut Rng) -> Option<(&MessageKey, Nonce)> {
        let session = self.promote(peer, now)?;
        session.keys.sealed += 1;
        let mut nonce: Nonce = rng.bytes();
        nonce[..4].copy_from_slice(&session.keys.sealed.to_be_bytes());
        Some((&session.keys.seal, nonce))
    }

    /// Opens a packet of the node at the endpoint.
    ///
    /// # Errors
    /// If there is no session, or its keys do not open the packet.
    pub fn open<'p>(
        &mut self,
        peer: PeerHash,
        packet: &Packet<'_>,
        plain: &'p mut Vec<u8>,
        now: Instant,
    ) -> Result<&'p [u8], InvalidTag> {
        let session = self.get(peer).filter(|session| session.is_usable(now)).ok_or(InvalidTag)?;
        let keys = [Some(&session.keys), session.keys_before.as_ref()];
        let opening = keys.iter().position(|keys| keys.is_some_and(|keys| packet.open(&keys.open, plain).is_ok()));
        let is_before = opening.ok_or(InvalidTag)? == 1;
        // A packet that does not open keeps no session from being evicted.
        if let Some(Session { keys, keys_before: Some(before), .. }) = self.promote(peer, now)
            && is_before
        {
            core::mem::swap(keys, before);
        }
        Ok(without_tag(plain))
    }

    /// A handshake has made new keys.
    pub fn insert(&mut self, peer: PeerHash, seal: MessageKey, open: MessageKey, now: Instant) {
        if self.sets.is_empty() {
            self.sets.resize_with(limits::SESSIONS_INITIAL / limits::SESSION_WAYS, Set::default);
        }
        self.review(now);
        while self.get(peer).is_none() && self.is_short(peer, now) {
            self.resize(2 * self.sets.len());
        }
        let now = seconds(now);
        let set = self.set_mut(peer);
        let way = set.iter().position(|way| way.as_ref().is_some_and(|session| session.peer == peer));
        set[..=way.unwrap_or(limits::SESSION_WAYS - 1)].rotate_right(1);
        let keys_before = set[0].take().filter(|_| way.is_some()).map(|session| session.keys);
        set[0] = Some(Session { peer, keys: Keys { seal, open, sealed: 0 }, keys_before, made: now, used: now });
    }

    /// Ends a session: the keys are forgotten.
    pub fn remove(&mut self, peer: PeerHash) {
        let index = self.index(peer);
        let Some(set) = self.sets.get_mut(index) else { return };
        if let Some(way) = set.iter().position(|way| way.as_ref().is_some_and(|session| session.peer == peer)) {
            set[way] = None;
            set[way..].rotate_left(1);
        }
    }

    fn get(&self, peer: PeerHash) -> Option<&Session> {
        let set = self.sets.get(self.index(peer))?;
        set.iter().flatten().find(|session| session.peer == peer)
    }

    /// The usable session, from here on the most recently used one of its set.
    fn promote(&mut self, peer: PeerHash, now: Instant) -> Option<&mut Session> {
        let index = self.index(peer);
        let set = self.sets.get_mut(index)?;
        let way = set.iter().position(|way| way.as_ref().is_some_and(|session| session.peer == peer))?;
        set[..=way].rotate_right(1);
        let session = set[0].as_mut().filter(|session| session.is_usable(now))?;
        session.used = seconds(now);
        Some(session)
    }

    fn index(&self, PeerHash(hash): PeerHash) -> usize {
        (hash as usize) & self.sets.len().wrapping_sub(1)
    }

    fn set_mut(&mut self, peer: PeerHash) -> &mut Set {
        let index = self.index(peer);
        &mut self.sets[index]
    }

    /// Whether one more session would evict a recent one, and memory may grow.
    fn is_short(&mut self, peer: PeerHash, now: Instant) -> bool {
        let recent = limits::SESSION_RECENT_AGE.as_secs();
        let can_grow = 2 * self.sets.len() * limits::SESSION_WAYS <= limits::SESSIONS_MAX;
        let last = self.set_mut(peer).last().and_then(Option::as_ref);
        can_grow && last.is_some_and(|session| u64::from(seconds(now).saturating_sub(session.used)) < recent)
    }

    /// Halves the memory, once in a while, if a quarter of it would hold all recent sessions.
    fn review(&mut self, now: Instant) {
        let recent = limits::SESSION_RECENT_AGE.as_secs() as u32;
        let now = seconds(now);
        if now.saturating_sub(self.reviewed) < recent {
            return;
        }
        self.reviewed = now;
        let is_recent = |session: &&Session| now.saturating_sub(session.used) < recent;
        let needed = self.sets.iter().flatten().flatten().filter(is_recent).count();
        let room = self.sets.len() * limits::SESSION_WAYS;
        if needed <= room / 4 && room > limits::SESSIONS_INITIAL {
            self.resize(self.sets.len() / 2);
        }
    }

    /// Moves the sessions to another number of sets. Of more than fit a set, the most recently used stay.
    fn resize(&mut self, sets: usize) {
        let old = core::mem::take(&mut self.sets);
        self.sets.resize_with(sets, Set::default);
        let mut sessions: Vec<Session> = old.into_iter().flatten().flatten().collect();
        sessions.sort_by_key(|session| core::cmp::Reverse(session.used));
        for session in sessions {
            let set = self.set_mut(session.peer);
            if let Some(free) = set.iter_mut().find(|way| way.is_none()) {
                *free = Some(session);
            }
        }
    }
}

impl Session {
    fn is_usable(&self, now: Instant) -> bool {
        let age = seconds(now).saturating_sub(self.made);
        Duration::from_secs(age.into()) < limits::SESSION_LIFETIME && self.keys.sealed < u32::MAX
    }
}

/// The plain part of an opened message.
fn without_tag(opened: &[u8]) -> &[u8] {
    &opened[..opened.len().saturating_sub(crate::crypto::discv5::TAG_BYTES)]
}

fn seconds(now: Instant) -> u32 {
    u32::try_from(now.as_micros() / 1_000_000).unwrap_or(u32::MAX)
}

/// Shows no key.
impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::NodeId;
    use crate::rng::Seed;
    use crate::wire::discv5::{Message, Payload, Route, seal_ordinary};

    const TO: NodeId = NodeId([1; 32]);

    fn key(n: u8) -> MessageKey {
        MessageKey::new([n; 16])
    }

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    /// Whether a session opens a packet that was sealed with a key.
    fn opens(sessions: &mut Sessions, peer: PeerHash, n: u8, now: Instant) -> bool {
        let message = Message { request_id: [1; 8].into(), payload: Payload::Ping { enr_seq: 1 } };
        let mut bytes = Vec::new();
        let route = Route { from: &NodeId([2; 32]), to: &TO };
        seal_ordinary(&mut bytes, route, [3; 16], &[4; 12], &key(n), &message);
        let packet = Packet::unmask(&TO, &bytes).unwrap().unwrap();
        let mut plain = Vec::new();
        let opened = sessions.open(peer, &packet, &mut plain, now);
        opened.is_ok_and(|plain| Message::decode(plain).as_ref() == Ok(&message))
    }

    #[test]
    fn crossing_handshakes_leave_both_sides_able_to_read() {
        let (mut ours, mut theirs) = (Sessions::default(), Sessions::default());
        let peer = PeerHash(7);
        // Keys 1 and 2 are of their handshake, 3 and 4 of ours.
        ours.insert(peer, key(3), key(4), at(0));
        theirs.insert(peer, key(1), key(2), at(0));
        ours.insert(peer, key(2), key(1), at(0));
        theirs.insert(peer, key(4), key(3), at(0));
        assert!(opens(&mut theirs, peer, 2, at(1)) && opens(&mut ours, peer, 4, at(1)));
        assert!(!opens(&mut ours, PeerHash(8), 4, at(1)), "another endpoint has no session");
        let mut rng = Seed::new([1; 32]).fork("sessions");
        let mut sealing = |sessions: &mut Sessions| *sessions.seal(peer, at(1), &mut rng).unwrap().0.expose();
        assert_eq!(sealing(&mut ours), [3; 16], "the keys that the node used last are those that it has");
        assert!(opens(&mut ours, peer, 1, at(1)));
        assert_eq!(sealing(&mut ours), [2; 16]);
        ours.insert(peer, key(5), key(6), at(2));
        assert_eq!(sealing(&mut ours), [5; 16]);
        assert!(opens(&mut ours, peer, 6, at(2)) && opens(&mut ours, peer, 1, at(2)));
        assert!(!opens(&mut ours, peer, 4, at(2)), "only the keys before the present ones are kept");
    }

    #[test]
    fn no_nonce_comes_twice_and_a_session_ends_with_its_counter_or_its_lifetime() {
        let mut rng = Seed::new([1; 32]).fork("sessions");
        let mut sessions = Sessions::default();
        let peer = PeerHash(7);
        assert!(sessions.seal(peer, at(0), &mut rng).is_none());
        sessions.insert(peer, key(1), key(2), at(0));
        for n in 1..=100u32 {
            let (_, nonce) = sessions.seal(peer, at(0), &mut rng).unwrap();
            assert_eq!(nonce[..4], n.to_be_bytes());
        }
        sessions.set_mut(peer)[0].as_mut().unwrap().keys.sealed = u32::MAX - 1;
        assert!(sessions.seal(peer, at(0), &mut rng).is_some());
        assert!(sessions.seal(peer, at(0), &mut rng).is_none() && !sessions.contains(peer, at(0)));
        sessions.insert(peer, key(3), key(4), at(9));
        let end = limits::SESSION_LIFETIME.as_secs() + 9;
        assert!(sessions.contains(peer, at(end - 1)) && opens(&mut sessions, peer, 4, at(end - 1)));
        assert!(!sessions.contains(peer, at(end)) && !opens(&mut sessions, peer, 4, at(end)));
    }

    /// Attack V2: any number of handshakes.
    #[test]
    fn memory_is_bounded_and_small_at_rest() {
        let mut rng = Seed::new([2; 32]).fork("sessions");
        let mut sessions = Sessions::default();
        for n in 0..2000 {
            // One in two seconds: a few are recent.
            sessions.insert(PeerHash(rng.u64()), key(1), key(2), at(2 * n));
        }
        let rest = sessions.sets.len() * limits::SESSION_WAYS;
        assert!(rest <= 256, "{rest}");
        for _ in 0..100_000 {
            sessions.insert(PeerHash(rng.u64()), key(1), key(2), at(4000));
        }
        assert_eq!(sessions.sets.len() * limits::SESSION_WAYS, limits::SESSIONS_MAX);
        assert!(sessions.len() > limits::SESSIONS_MAX * 9 / 10);
        // Afterwards it is released step by step, and what is used stays.
        let used = PeerHash(7);
        for n in 1..=10 {
            let now = at(4000 + n * limits::SESSION_RECENT_AGE.as_secs());
            sessions.insert(used, key(1), key(2), now);
            assert!(sessions.contains(used, now));
        }
        assert_eq!(sessions.sets.len() * limits::SESSION_WAYS, limits::SESSIONS_INITIAL);
    }

    #[test]
    fn the_least_recently_used_session_of_a_set_is_evicted() {
        let mut rng = Seed::new([3; 32]).fork("sessions");
        let mut sessions = Sessions::default();
        let peers: Vec<PeerHash> = (0..5).map(|n| PeerHash(n << 32)).collect();
        for (n, peer) in (0..4).zip(&peers) {
            sessions.insert(*peer, key(1), key(2), at(n));
        }
        assert!(sessions.seal(peers[0], at(100), &mut rng).is_some());
        sessions.insert(peers[4], key(1), key(2), at(100));
        let kept: Vec<bool> = peers.iter().map(|peer| sessions.contains(*peer, at(100))).collect();
        assert_eq!(kept, [true, false, true, true, true]);
    }
}
