//! The history of dials and the pauses between them, and the schedule of static and trusted peers.
//!
//! Static and trusted peers are dialled first and without end, with exponential back-off and full jitter. Other nodes are
//! chosen by [`outbound`](super::outbound). Two dials of one node or of one global host are at least [`REDIAL_INTERVAL`]
//! apart (attack D10), whatever addresses are spread for the node; longer pauses apply only to the endpoint that caused
//! them, or to a key that was proven (P3b).
//!
//! It does not know which peers are being dialled, connected or banned: the caller says.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::bounded::{Bounded, Recent};
use crate::contract::{End, EndReason, Fault, IoFault, PeerKind, Side, Stage};
use crate::crypto::NodeId;
use crate::limits::{DIAL_HISTORY_MAX, NAME_TIMEOUT, REDIAL_INTERVAL, REDIAL_INTERVAL_MAX, STATIC_PEERS_MAX};
use crate::rng::Rng;
use crate::time::{Deadlines, Duration, Instant};
use crate::wire::enode::{Contact, NamedNode};
use crate::wire::p2p::DisconnectReason;

/// What an end means for the next dial.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The peer was reached: the shortest pause, and no back-off.
    Reached,
    /// The end says nothing about the peer: the back-off stays.
    Neutral,
    /// The peer was not reached, or broke off: the pause doubles each time.
    Failed,
    /// The peer has no room: a longer pause.
    Full,
    /// The peer is of another network, or another node: the longest pause.
    Useless,
}

impl Outcome {
    /// The outcome of a connection that ended.
    pub const fn of(end: &End) -> Self {
        let established = matches!(end.stage, Stage::Established);
        match end.why {
            EndReason::Disconnect(reason) => match (end.by, reason) {
                (Side::Us, _) | (_, DisconnectReason::AlreadyConnected) => Self::Neutral,
                (_, DisconnectReason::TooManyPeers) => Self::Full,
                (_, DisconnectReason::UselessPeer | DisconnectReason::IncompatibleVersion) => Self::Useless,
                // geth sends it when it refuses a Status.
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

/// How many dials have failed in a row, as an exponent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Backoff(u8);

impl Backoff {
    /// The least exponent after a refusal for want of room.
    const FULL: u8 = 3;
    /// The exponent from which on the pause has its maximum.
    const DOUBLINGS_MAX: u8 = 7;
    /// The same for static and trusted peers, which are awaited: a pause of at most five minutes.
    const DECLARED_DOUBLINGS_MAX: u8 = 3;

    /// Takes an outcome into account.
    const fn note(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Reached => self.0 = 0,
            Outcome::Neutral | Outcome::Useless => {}
            Outcome::Failed => self.0 = self.0.saturating_add(1),
            Outcome::Full if self.0 < Self::FULL => self.0 = Self::FULL,
            Outcome::Full => self.0 = self.0.saturating_add(1),
        }
    }

    /// The shortest and the longest pause after an outcome.
    fn bounds(self, outcome: Outcome) -> (Duration, Duration) {
        if outcome == Outcome::Useless {
            return (REDIAL_INTERVAL_MAX / 2, REDIAL_INTERVAL_MAX);
        }
        let longest = REDIAL_INTERVAL.saturating_mul(1 << self.0.clamp(1, Self::DOUBLINGS_MAX));
        (REDIAL_INTERVAL, longest.min(REDIAL_INTERVAL_MAX))
    }

    /// The pause that follows an outcome: uniform between its bounds, so that peers that failed together do not come back
    /// together (attack P9). The exponent stays at most `doublings_max`.
    fn pause(&mut self, rng: &mut Rng, outcome: Outcome, doublings_max: u8) -> Duration {
        self.note(outcome);
        self.0 = self.0.min(doublings_max);
        let (shortest, longest) = self.bounds(outcome);
        rng.duration(shortest, longest)
    }
}

/// The host name of a static or trusted peer, which is resolved before each dial.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Name {
    node: NamedNode,
    /// Whether the contact has the address for the next dial.
    is_resolved: bool,
    /// The number of dials; each takes the next one of the host's addresses.
    dials: u32,
}

/// A static or trusted peer.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Declared {
    /// With an unspecified address before the host name was resolved for the first time.
    contact: Contact,
    kind: PeerKind,
    backoff: Backoff,
    name: Option<Box<Name>>,
}

impl Declared {
    fn must_be_resolved(&self) -> bool {
        self.name.as_ref().is_some_and(|name| !name.is_resolved)
    }
}

/// The history of a node that was dialled, or that connected and turned out to be useless.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Attempt {
    /// When we last dialled it, if ever.
    dialled: Option<Instant>,
    backoff: Backoff,
    not_before: Instant,
    /// Whether `not_before` holds for committed targets too: the node failed or is useless, and is not merely without room.
    is_firm: bool,
    /// The endpoint that `not_before` applies to; `None` if the key was proven, so that it applies to all.
    endpoint: Option<SocketAddr>,
}

impl Attempt {
    fn is_spaced(&self, now: Instant) -> bool {
        self.dialled.is_none_or(|at| at + REDIAL_INTERVAL <= now)
    }

    fn is_paused(&self, contact: &Contact, now: Instant) -> bool {
        let is_elsewhere = self.endpoint.is_some_and(|endpoint| endpoint != contact.tcp_addr());
        !is_elsewhere && self.not_before > now
    }
}

/// Why a static or trusted peer cannot be dialled now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Obstacle {
    /// There is a connection; its end schedules the next dial.
    Connected,
    /// The filter forbids its address; [`Dialer::resume`] schedules the next dial.
    Filtered,
    /// It is banned until that instant.
    Until(Instant),
    /// No place is free.
    Full,
}

/// The schedule of dials and the history of those that were made.
#[derive(Clone, Debug)]
pub struct Dialer {
    declared: BTreeMap<NodeId, Declared>,
    trusted: BTreeSet<NodeId>,
    /// When each static or trusted peer without a connection is dialled next.
    due: Deadlines<NodeId>,
    /// Those that are due for a dial once their host names are resolved.
    unresolved: Vec<NodeId>,
    history: Bounded<NodeId, Instant, Attempt>,
    hosts: Recent,
}

impl Default for Dialer {
    fn default() -> Self {
        Self {
            declared: BTreeMap::new(),
            trusted: BTreeSet::new(),
            due: Deadlines::default(),
            unresolved: Vec::new(),
            history: Bounded::new(DIAL_HISTORY_MAX),
            hosts: Recent::new(REDIAL_INTERVAL, DIAL_HISTORY_MAX),
        }
    }
}

impl Dialer {
    /// Adds a peer that is dialled until it is removed, beginning now. Returns `false` if there are [`STATIC_PEERS_MAX`]
    /// already.
    #[must_use]
    pub fn add(&mut self, now: Instant, contact: Contact, kind: PeerKind) -> bool {
        self.declare(now, contact, kind, None)
    }

    /// As [`Dialer::add`], of a peer with a host name: see [`Dialer::take_unresolved`].
    #[must_use]
    pub fn add_by_name(&mut self, now: Instant, node: NamedNode, kind: PeerKind) -> bool {
        let contact = node.at(Ipv4Addr::UNSPECIFIED.into());
        self.declare(now, contact, kind, Some(Box::new(Name { node, is_resolved: false, dials: 0 })))
    }

    fn declare(&mut self, now: Instant, contact: Contact, kind: PeerKind, name: Option<Box<Name>>) -> bool {
        if self.declared.len() >= STATIC_PEERS_MAX && !self.declared.contains_key(&contact.id()) {
            return false;
        }
        self.declared.insert(contact.id(), Declared { contact, kind, backoff: Backoff::default(), name });
        match kind {
            PeerKind::Trusted => self.trusted.insert(contact.id()),
            PeerKind::Static => self.trusted.remove(&contact.id()),
        };
        self.due.set(contact.id(), now);
        true
    }

    /// Removes a static or trusted peer. Returns `false` if it was neither.
    pub fn remove(&mut self, id: &NodeId) -> bool {
        self.due.set(*id, None);
        self.trusted.remove(id);
        self.declared.remove(id).is_some()
    }

    /// Takes the host names to resolve now, for dials that are due: [`Dialer::resolved`] or [`Dialer::not_resolved`] follows.
    pub fn take_unresolved(&mut self) -> Vec<(NodeId, String)> {
        let ids = core::mem::take(&mut self.unresolved);
        let host = |id: NodeId| Some((id, self.declared.get(&id)?.name.as_ref()?.node.host.clone()));
        ids.into_iter().filter_map(host).collect()
    }

    /// Notes the addresses of a peer's host, all of which can be dialled: it is dialled now, at the next one in each attempt.
    pub fn resolved(&mut self, now: Instant, id: NodeId, ips: &[IpAddr]) {
        let Some(Declared { contact, name: Some(name), .. }) = self.declared.get_mut(&id) else { return };
        let turn = usize::try_from(name.dials).unwrap_or(0).checked_rem(ips.len());
        let Some(ip) = turn.and_then(|turn| ips.get(turn)) else { return };
        *contact = contact.with_ip(*ip);
        name.dials = name.dials.wrapping_add(1);
        name.is_resolved = true;
        self.due.set(id, now);
    }

    /// Notes that a peer's host has no address that can be dialled now: it is asked again after a pause.
    pub fn not_resolved(&mut self, now: Instant, rng: &mut Rng, id: NodeId) {
        if let Some(declared) = self.declared.get_mut(&id) {
            let pause = declared.backoff.pause(rng, Outcome::Failed, Backoff::DECLARED_DOUBLINGS_MAX);
            self.due.set(id, now + pause);
        }
    }

    /// Where a static or trusted peer is dialled.
    pub fn contact(&self, id: &NodeId) -> Option<&Contact> {
        self.declared.get(id).map(|declared| &declared.contact)
    }

    /// Moves a static or trusted peer to another endpoint, and schedules its dial if there is a time for it.
    pub fn relocate(&mut self, contact: Contact, at: Option<Instant>) {
        if let Some(declared) = self.declared.get_mut(&contact.id()) {
            declared.contact = contact;
            if at.is_some() {
                self.due.set(contact.id(), at);
            }
        }
    }

    /// What the embedder has declared a peer to be, if anything.
    pub fn kind(&self, id: &NodeId) -> Option<PeerKind> {
        self.declared.get(id).map(|declared| declared.kind)
    }

    /// Static and trusted peers, those with host names at the last address that was dialled, if there is one.
    pub fn declared(&self) -> impl Iterator<Item = (&Contact, PeerKind)> {
        self.declared.values().map(|declared| (&declared.contact, declared.kind))
    }

    /// Whether any peer is trusted.
    pub fn has_trusted(&self) -> bool {
        !self.trusted.is_empty()
    }

    /// Whether a peer is static or trusted, or was dialled less than [`REDIAL_INTERVAL`] ago.
    pub fn wants(&self, now: Instant, id: &NodeId) -> bool {
        let recently = |attempt: &Attempt| attempt.dialled.is_some_and(|at| now < at + REDIAL_INTERVAL);
        self.declared.contains_key(id) || self.history.get(id).is_some_and(recently)
    }

    /// Returns a static or trusted peer that is due and has no obstacle. Postpones those that have one; checks each once.
    pub fn next_declared(
        &mut self,
        now: Instant,
        obstacle: impl Fn(&Contact, PeerKind) -> Option<Obstacle>,
    ) -> Option<Contact> {
        let mut put_off = Vec::new();
        let mut found = None;
        while let Some((_, id)) = self.due.pop_due(now) {
            let Some(declared) = self.declared.get(&id) else { continue };
            let Declared { contact, kind, .. } = declared;
            let must_be_resolved = declared.must_be_resolved();
            let later = match obstacle(contact, *kind) {
                // The address of the last dial may be another one now.
                None | Some(Obstacle::Filtered) if must_be_resolved => {
                    self.unresolved.push(id);
                    now + NAME_TIMEOUT
                }
                Some(Obstacle::Connected | Obstacle::Filtered) => continue,
                Some(Obstacle::Full) => now + REDIAL_INTERVAL,
                Some(Obstacle::Until(at)) => at.max(now + REDIAL_INTERVAL / 8),
                None => match self.hosts.until(now, contact.ip()) {
                    Some(until) => until,
                    None => {
                        found = Some(*contact);
                        break;
                    }
                },
            };
            put_off.push((id, later));
        }
        for (id, later) in put_off {
            self.due.set(id, later);
        }
        found
    }

    /// Schedules static and trusted peers for a dial now that have a later deadline and `is_free`: a ban of theirs was lifted.
    pub fn hasten(&mut self, now: Instant, is_free: impl Fn(&Contact) -> bool) {
        for (id, declared) in &self.declared {
            if self.due.get(*id).is_some_and(|at| at > now) && is_free(&declared.contact) {
                self.due.set(*id, now);
            }
        }
    }

    /// Schedules every static or trusted peer for a dial that `is_possible` and has no deadline.
    pub fn resume(&mut self, now: Instant, is_possible: impl Fn(&Contact) -> bool) {
        for (id, declared) in &self.declared {
            if self.due.get(*id).is_none() && is_possible(&declared.contact) {
                self.due.set(*id, now);
            }
        }
    }

    /// Whether the history permits a dial now of a node that was not declared.
    pub fn permits(&self, now: Instant, contact: &Contact) -> bool {
        self.permits_retry(now, contact)
            && self.history.get(&contact.id()).is_none_or(|attempt| !attempt.is_paused(contact, now))
    }

    /// As [`Dialer::permits`], for a committed target: a node without room may be asked again after [`REDIAL_INTERVAL`].
    pub fn permits_retry(&self, now: Instant, contact: &Contact) -> bool {
        self.permits_commitment(now, contact)
            && self.hosts.until(now, contact.ip()).is_none()
            && self.history.get(&contact.id()).is_none_or(|attempt| attempt.is_spaced(now))
    }

    /// Whether a node that was not declared may be a committed target: not while it is left alone for a failure, or because it
    /// is useless.
    pub fn permits_commitment(&self, now: Instant, contact: &Contact) -> bool {
        let is_firm = |attempt: &Attempt| attempt.is_firm && attempt.is_paused(contact, now);
        !self.declared.contains_key(&contact.id()) && !self.history.get(&contact.id()).is_some_and(is_firm)
    }

    /// Whether a node was dialled, or connected and turned out to be useless, as far as the history reaches.
    pub fn has_tried(&self, id: &NodeId) -> bool {
        self.history.get(id).is_some()
    }

    /// Notes that a dial has begun.
    pub fn begun(&mut self, now: Instant, contact: &Contact) {
        self.hosts.note(now, contact.ip());
        self.due.set(contact.id(), None);
        if let Some(Declared { name: Some(name), .. }) = self.declared.get_mut(&contact.id()) {
            name.is_resolved = false;
        }
        let backoff = self.history.get(&contact.id()).map_or(Backoff::default(), |attempt| attempt.backoff);
        let endpoint = Some(contact.tcp_addr());
        let not_before = now + REDIAL_INTERVAL;
        let attempt = Attempt { dialled: Some(now), backoff, not_before, is_firm: false, endpoint };
        self.history.insert(contact.id(), attempt.not_before, attempt);
    }

    /// Schedules the next dial after the end of a connection with a peer, or of one to `unproven_at` on which the peer has
    /// not proven its key.
    pub fn ended(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        id: NodeId,
        unproven_at: Option<SocketAddr>,
        outcome: Outcome,
    ) {
        if let Some(declared) = self.declared.get_mut(&id) {
            let pause = declared.backoff.pause(rng, outcome, Backoff::DECLARED_DOUBLINGS_MAX);
            self.due.set(id, now + pause);
            return;
        }
        let old = self.history.get(&id);
        let mut backoff = old.map_or(Backoff::default(), |attempt| attempt.backoff);
        let not_before = now + backoff.pause(rng, outcome, Backoff::DOUBLINGS_MAX);
        let dialled = old.and_then(|attempt| attempt.dialled);
        let is_firm = matches!(outcome, Outcome::Failed | Outcome::Useless);
        self.history.insert(id, not_before, Attempt { dialled, backoff, not_before, is_firm, endpoint: unproven_at });
    }

    /// When a static or trusted peer is due for a dial.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due.next().map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    const REFUSED: EndReason = EndReason::Io(IoFault::Refused);

    fn outcome(by: Side, stage: Stage, why: EndReason) -> Outcome {
        Outcome::of(&End { by, stage, why })
    }

    fn disconnected(reason: DisconnectReason) -> Outcome {
        outcome(Side::Them, Stage::Hello, EndReason::Disconnect(reason))
    }

    #[test]
    fn a_session_resets_the_back_off() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.note(outcome(Side::Network, Stage::Dial, REFUSED));
        }
        assert_eq!(backoff.bounds(Outcome::Failed), (REDIAL_INTERVAL, REDIAL_INTERVAL * 32));
        let left = outcome(Side::Them, Stage::Established, EndReason::Disconnect(DisconnectReason::Requested));
        backoff.note(left);
        assert_eq!(backoff.bounds(left), (REDIAL_INTERVAL, REDIAL_INTERVAL * 2), "as before the first failure");
    }

    #[test]
    fn a_peer_without_room_is_left_alone_longer_than_one_that_failed() {
        let [mut full, mut failed] = [Backoff::default(); 2];
        full.note(disconnected(DisconnectReason::TooManyPeers));
        failed.note(outcome(Side::Network, Stage::Dial, REFUSED));
        assert_eq!(full.bounds(Outcome::Full).1, REDIAL_INTERVAL * 8);
        assert_eq!(failed.bounds(Outcome::Failed).1, REDIAL_INTERVAL * 2);
        full.note(Outcome::Full);
        assert_eq!(full.bounds(Outcome::Full).1, REDIAL_INTERVAL * 16, "and longer the next time");
    }

    #[test]
    fn already_connected_is_no_failure() {
        let mut backoff = Backoff::default();
        for _ in 0..20 {
            backoff.note(disconnected(DisconnectReason::AlreadyConnected));
        }
        assert_eq!(backoff, Backoff::default());
    }

    #[test]
    fn the_pause_never_passes_its_maximum() {
        let mut backoff = Backoff::default();
        for _ in 0..1000 {
            backoff.note(Outcome::Failed);
        }
        assert_eq!(backoff.bounds(Outcome::Failed), (REDIAL_INTERVAL, REDIAL_INTERVAL_MAX));
        let mut rng = Seed::new([1; 32]).fork("dial");
        for outcome in [Outcome::Failed, Outcome::Full, Outcome::Useless, Outcome::Reached, Outcome::Neutral] {
            let pause = backoff.pause(&mut rng, outcome, Backoff::DOUBLINGS_MAX);
            assert!((REDIAL_INTERVAL..=REDIAL_INTERVAL_MAX).contains(&pause), "{outcome:?}: {pause:?}");
        }
    }
}
