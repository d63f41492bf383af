//! The schedule of dials: whom to dial next, and when to look again.
//!
//! Static and trusted peers are dialled first and for ever, with exponential backoff and full jitter. Places that are left
//! go to candidates that the caller brings, half of the time to one never tried (attack P8), sampled and never the best
//! (P12). Each node and each global host rests for [`REDIAL_INTERVAL`] between two dials (D10), whatever addresses are
//! spread for it; longer pauses hold only for the endpoint that earned them, or for a key that was proven (P3b).
//!
//! Who is being dialled, connected or banned is not kept here: the caller tells.

use alloc::collections::BTreeMap;
use core::net::SocketAddr;

use super::bounded::{Bounded, Recent};
use crate::contract::{End, EndReason, Fault, IoFault, PeerKind, Side, Stage};
use crate::crypto::NodeId;
use crate::limits::{DIAL_HISTORY_MAX, DIAL_POLL_INTERVAL, REDIAL_INTERVAL, REDIAL_INTERVAL_MAX, STATIC_PEERS_MAX};
use crate::rng::Rng;
use crate::time::{Deadlines, Duration, Instant};
use crate::wire::enode::Contact;
use crate::wire::p2p::DisconnectReason;

/// What an end means for the next dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It was reached: the next pause is the shortest.
    Reached,
    /// The end says nothing about the peer: the pause is the shortest, what was known of it stays.
    Neutral,
    /// It could not be reached, or broke off: the pause doubles each time.
    Failed,
    /// It has no room, which takes longer to change.
    Full,
    /// It is of another network, or another node: the longest pause.
    Useless,
}

impl Outcome {
    /// What an end means. Total, so that no end is forgotten.
    pub const fn of(end: &End) -> Self {
        let established = matches!(end.stage, Stage::Established);
        match end.why {
            EndReason::Disconnect(reason) => match (end.by, reason) {
                (Side::Us, _) | (_, DisconnectReason::AlreadyConnected) => Self::Neutral,
                (_, DisconnectReason::TooManyPeers) => Self::Full,
                (_, DisconnectReason::UselessPeer | DisconnectReason::IncompatibleVersion) => Self::Useless,
                // What geth says when it does not like a Status.
                (_, DisconnectReason::SubprotocolError) if !established => Self::Useless,
                (_, DisconnectReason::ConnectedToSelf | DisconnectReason::UnexpectedIdentity) => Self::Useless,
                _ if established => Self::Reached,
                _ => Self::Failed,
            },
            EndReason::Fault(fault) => match fault {
                Fault::Useless | Fault::IncompatibleVersion => Self::Useless,
                Fault::InvalidIdentity | Fault::UnexpectedIdentity | Fault::ConnectedToSelf => Self::Useless,
                _ => Self::Failed,
            },
            EndReason::Status(_) => Self::Useless,
            EndReason::Refused(_) | EndReason::Io(IoFault::Exhausted) => Self::Neutral,
            EndReason::Timeout(_) | EndReason::Io(_) | EndReason::Eof if established => Self::Reached,
            EndReason::Timeout(_) | EndReason::Io(_) | EndReason::Eof => Self::Failed,
        }
    }
}

/// How often in a row, as an exponent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Backoff(u8);

impl Backoff {
    /// The pause that follows an outcome: uniform between the shortest and a growing longest one, so that peers that
    /// failed together do not come back together (attack P9).
    fn pause(&mut self, rng: &mut Rng, outcome: Outcome) -> Duration {
        match outcome {
            Outcome::Reached => self.0 = 0,
            Outcome::Neutral => {}
            Outcome::Failed => self.0 = self.0.saturating_add(1),
            Outcome::Full => self.0 = self.0.saturating_add(1).max(3),
            Outcome::Useless => return rng.duration(REDIAL_INTERVAL_MAX / 2, REDIAL_INTERVAL_MAX),
        }
        // Seven doublings are beyond the longest pause.
        let longest = REDIAL_INTERVAL.saturating_mul(1 << self.0.clamp(1, 7));
        rng.duration(REDIAL_INTERVAL, longest.min(REDIAL_INTERVAL_MAX))
    }
}

/// A static or trusted peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Named {
    contact: Contact,
    kind: PeerKind,
    backoff: Backoff,
}

/// What is remembered of a node that was dialled, or that came and proved itself useless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Attempt {
    /// When we last dialled it, if ever.
    dialled: Option<Instant>,
    backoff: Backoff,
    not_before: Instant,
    /// To which endpoint `not_before` applies; `None`: the key was proven, so to all.
    endpoint: Option<SocketAddr>,
}

impl Attempt {
    fn allows(&self, contact: &Contact, now: Instant) -> bool {
        let rested = self.dialled.is_none_or(|at| at + REDIAL_INTERVAL <= now);
        let elsewhere = self.endpoint.is_some_and(|endpoint| endpoint != contact.tcp_addr());
        rested && (elsewhere || self.not_before <= now)
    }
}

/// What speaks against dialling a named peer now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Obstacle {
    /// There is a connection; its end brings the peer back here.
    Connected,
    /// Not before that instant.
    Until(Instant),
    /// No place is free.
    Full,
}

/// Whom to dial, and when.
#[derive(Clone, Debug)]
pub struct Dialer {
    named: BTreeMap<NodeId, Named>,
    /// When each named peer without a connection is dialled next.
    due: Deadlines<NodeId>,
    history: Bounded<NodeId, Instant, Attempt>,
    hosts: Recent,
    next_look: Instant,
}

impl Default for Dialer {
    fn default() -> Self {
        Self {
            named: BTreeMap::new(),
            due: Deadlines::default(),
            history: Bounded::new(DIAL_HISTORY_MAX),
            hosts: Recent::new(REDIAL_INTERVAL, DIAL_HISTORY_MAX),
            next_look: Instant::ZERO,
        }
    }
}

impl Dialer {
    /// Dials a peer for ever, beginning now. `false` if [`STATIC_PEERS_MAX`] are named already.
    #[must_use]
    pub fn add(&mut self, now: Instant, contact: Contact, kind: PeerKind) -> bool {
        if self.named.len() >= STATIC_PEERS_MAX && !self.named.contains_key(&contact.id()) {
            return false;
        }
        self.named.insert(contact.id(), Named { contact, kind, backoff: Backoff::default() });
        self.due.set(contact.id(), now);
        true
    }

    /// No longer dials a peer for ever. `false` if it was not named.
    pub fn remove(&mut self, id: &NodeId) -> bool {
        self.due.set(*id, None);
        self.named.remove(id).is_some()
    }

    /// What the embedder thinks of a peer.
    pub fn kind(&self, id: &NodeId) -> PeerKind {
        self.named.get(id).map_or(PeerKind::Ordinary, |named| named.kind)
    }

    /// Static and trusted peers.
    pub fn named(&self) -> impl Iterator<Item = (&Contact, PeerKind)> {
        self.named.values().map(|named| (&named.contact, named.kind))
    }

    /// Whether we dial a peer for ever, or did a moment ago.
    pub fn wants(&self, now: Instant, id: &NodeId) -> bool {
        let recently = |attempt: &Attempt| attempt.dialled.is_some_and(|at| now < at + REDIAL_INTERVAL);
        self.named.contains_key(id) || self.history.get(id).is_some_and(recently)
    }

    /// The named peer to dial now, if any is due. Those with an obstacle are put off to a later instant.
    pub fn next_named(
        &mut self,
        now: Instant,
        obstacle: impl Fn(&Contact, PeerKind) -> Option<Obstacle>,
    ) -> Option<Contact> {
        while let Some((_, id)) = self.due.next().filter(|(at, _)| *at <= now) {
            let later = match self.named.get(&id) {
                None => None,
                Some(named) => match obstacle(&named.contact, named.kind) {
                    Some(Obstacle::Connected) => None,
                    Some(Obstacle::Full) => Some(now + REDIAL_INTERVAL),
                    Some(Obstacle::Until(at)) => Some(at.max(now + REDIAL_INTERVAL / 8)),
                    None => match self.hosts.until(now, named.contact.ip()) {
                        Some(until) => Some(until),
                        None => return Some(named.contact),
                    },
                },
            };
            self.due.set(id, later);
        }
        None
    }

    /// The first candidate that may be dialled now: half of the time of those never tried, half of the time of those tried
    /// before, or of the others if there is none. The caller draws the candidates at random and bounds their number; their
    /// order is not sampled again.
    pub fn next_candidate(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        candidates: impl IntoIterator<Item = Contact>,
        usable: impl Fn(&Contact) -> bool,
    ) -> Option<Contact> {
        // The first one never tried, and the first one tried before.
        let mut picks: [Option<Contact>; 2] = [None, None];
        for contact in candidates {
            let tried = self.history.get(&contact.id());
            let rested = tried.is_none_or(|attempt| attempt.allows(&contact, now));
            if !rested
                || self.named.contains_key(&contact.id())
                || self.hosts.until(now, contact.ip()).is_some()
                || !usable(&contact)
            {
                continue;
            }
            picks[usize::from(tried.is_some())].get_or_insert(contact);
            if picks.iter().all(Option::is_some) {
                break;
            }
        }
        let [fresh, tried] = picks;
        let pick = if rng.below(2) == 0 { fresh.or(tried) } else { tried.or(fresh) };
        if pick.is_none() {
            self.next_look = now + DIAL_POLL_INTERVAL;
        }
        pick
    }

    /// A dial has begun.
    pub fn begun(&mut self, now: Instant, contact: &Contact) {
        self.hosts.note(now, contact.ip());
        self.due.set(contact.id(), None);
        let backoff = self.history.get(&contact.id()).map_or(Backoff::default(), |attempt| attempt.backoff);
        let endpoint = Some(contact.tcp_addr());
        let attempt = Attempt { dialled: Some(now), backoff, not_before: now + REDIAL_INTERVAL, endpoint };
        self.history.insert(contact.id(), attempt.not_before, attempt);
    }

    /// A connection with a peer, or a dial of it to `unproven_at`, has ended.
    pub fn ended(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        id: NodeId,
        unproven_at: Option<SocketAddr>,
        outcome: Outcome,
    ) {
        if let Some(named) = self.named.get_mut(&id) {
            let pause = named.backoff.pause(rng, outcome);
            self.due.set(id, now + pause);
            return;
        }
        let old = self.history.get(&id);
        let mut backoff = old.map_or(Backoff::default(), |attempt| attempt.backoff);
        let not_before = now + backoff.pause(rng, outcome);
        let dialled = old.and_then(|attempt| attempt.dialled);
        self.history.insert(id, not_before, Attempt { dialled, backoff, not_before, endpoint: unproven_at });
    }

    /// When somebody may be dialled next: `look` tells whether there is room for candidates.
    pub fn poll_timeout(&self, look: bool) -> Option<Instant> {
        let due = self.due.next().map(|(at, _)| at);
        let look = look.then_some(self.next_look);
        due.into_iter().chain(look).min()
    }

    /// How many nodes the history holds.
    pub fn history_len(&self) -> usize {
        self.history.len()
    }
}
