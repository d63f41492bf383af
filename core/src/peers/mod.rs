//! Peers: decides which connections to accept, dial, admit and end. The only place where the node asks.
//!
//! Composes scores, bans, offences, slots and the schedule of dials; each owns its state. Connections live in the node's table: this
//! module sees them as [`View`]s, and [`Peers::update`] is called with every change of one. It knows no bytes of a protocol,
//! no socket and no event. It returns verdicts, and the caller must act on them.

pub mod bans;
mod bounded;
pub mod dial;
pub mod eviction;
pub mod index;
pub mod offences;
pub mod pending;
pub mod place_time;
pub mod ranges;
pub mod score;
pub mod slots;
#[cfg(test)]
mod tests;
pub mod view;

use core::net::SocketAddr;

use crate::contract::{
    BanTarget, CommandError, ConnId, End, EndReason, FaultClass, Label, PeerKind, Refusal, ScoreReason, Stage,
};
use crate::crypto::NodeId;
use crate::netfilter::{NetFilter, Scope, canonical, scope};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::enode::Contact;

pub use crate::contract::PeerLimits;
pub use bans::{Ban, Banned, Bans};
pub use dial::{Dialer, Outcome};
pub use index::{Counts, Index};
pub use offences::Offences;
pub use score::{Ledger, LedgerEntry, Ledgers, Severity};
pub use slots::{Accepted, Admission, Claimant, Slots};
pub use view::{Origin, Place, View};

use bounded::host;
use dial::Obstacle;

/// A changed score: tell the application, and at [`BAN_SCORE`](score::BAN_SCORE) or below end every connection with the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Charge {
    /// The peer.
    pub id: NodeId,
    /// By how many points the score moved.
    pub delta: i32,
    /// The score after it.
    pub score: i32,
    /// Why.
    pub reason: ScoreReason,
    /// For how long the peer is banned now, if it is. A peer at [`BAN_SCORE`](score::BAN_SCORE) is not if the list has room for
    /// heavier bans only.
    pub ban: Option<Duration>,
}

/// Scores, bans, slots and the schedule of dials of a node.
#[derive(Clone, Debug)]
pub struct Peers {
    local: NodeId,
    ledgers: Ledgers,
    bans: Bans,
    offences: Offences,
    slots: Slots,
    dialer: Dialer,
}

impl Peers {
    /// No peer yet; `local` is our own id.
    pub fn new(config: PeerLimits, local: NodeId) -> Self {
        Self {
            local,
            ledgers: Ledgers::default(),
            bans: Bans::default(),
            offences: Offences::default(),
            slots: Slots::new(config),
            dialer: Dialer::default(),
        }
    }

    /// Updates the index after a change of a connection from `before` to `after`; `None` if it did not exist, or no longer
    /// does. To be called with every change.
    pub fn update(&mut self, before: Option<&View>, after: Option<&View>) {
        self.slots.update(before, after);
    }

    // Commands of the embedder

    /// Declares a peer static or trusted: it is dialled now, and again until it is removed. The caller promotes its present
    /// connections, which [`Self::conns`] returns, by [`Place::promote`].
    ///
    /// # Errors
    /// `NoPort`, `Refused(ToSelf)`, `Refused(Filtered)`, or `Busy` if there are too many such peers.
    pub fn add_peer(
        &mut self,
        now: Instant,
        filter: &NetFilter,
        contact: Contact,
        kind: PeerKind,
    ) -> Result<(), CommandError> {
        check_contact(&self.local, filter, &contact)?;
        if self.dialer.add(now, contact, kind) { Ok(()) } else { Err(CommandError::Busy) }
    }

    /// Forgets that a peer was static or trusted. Does not disconnect it.
    ///
    /// # Errors
    /// `UnknownPeer` if it was neither.
    pub fn remove_peer(&mut self, id: &NodeId) -> Result<(), CommandError> {
        if self.dialer.remove(id) { Ok(()) } else { Err(CommandError::UnknownPeer) }
    }

    /// Offers a candidate, which the dialler uses like one that discovery has found. The offer ends when the candidate was
    /// dialled, or can no longer be dialled.
    ///
    /// # Errors
    /// `NoPort`, `Refused` with `ToSelf`, `Filtered`, `Banned` or `AlreadyConnected`, or `Busy` if too many wait.
    pub fn offer(&mut self, now: Instant, filter: &NetFilter, contact: Contact) -> Result<(), CommandError> {
        check_contact(&self.local, filter, &contact)?;
        if self.bans.id_until(now, &contact.id()).or(self.bans.ordered_until(now, contact.ip())).is_some() {
            return Err(CommandError::Refused(Refusal::Banned));
        }
        if self.slots.index().contains(&contact.id()) {
            return Err(CommandError::Refused(Refusal::AlreadyConnected));
        }
        if self.dialer.offer(contact) { Ok(()) } else { Err(CommandError::Busy) }
    }

    /// Dials once, regardless of history and of the limit on peers. On `Ok` the caller opens the connection.
    ///
    /// # Errors
    /// `NoPort`, or `Refused` with `ToSelf`, `Filtered`, `Banned` (the id), `AlreadyConnected` or `TooManyPending`.
    pub fn dial(&mut self, now: Instant, filter: &NetFilter, contact: &Contact) -> Result<(), CommandError> {
        check_contact(&self.local, filter, contact)?;
        if self.bans.id_until(now, &contact.id()).is_some() {
            return Err(CommandError::Refused(Refusal::Banned));
        }
        if self.slots.index().contains(&contact.id()) {
            return Err(CommandError::Refused(Refusal::AlreadyConnected));
        }
        if !self.slots.may_dial() {
            return Err(CommandError::Refused(Refusal::TooManyPending));
        }
        self.dialer.begun(now, contact);
        Ok(())
    }

    /// Changes the score of a peer, connected or not, by a report of the embedder; a negative `delta` is a charge. `at` is the
    /// address of its authenticated connection, if it has one. Returns `None` if the score did not change.
    pub fn report(
        &mut self,
        now: Instant,
        id: NodeId,
        at: Option<SocketAddr>,
        delta: i32,
        label: Label,
    ) -> Option<Charge> {
        let change = self.ledgers.report(now, id, delta, label);
        let reason = ScoreReason::Reported(label);
        if delta < 0 && Ledgers::report_severity(delta) > Severity::Mild {
            self.note_offence(now, Some(id), at, reason);
        }
        Some(self.verdict(now, id, at, reason, change?))
    }

    /// Bans a peer or an address. A ban in force is made longer, never shorter. The caller ends the connections.
    pub fn ban(&mut self, now: Instant, target: BanTarget, duration: Duration) {
        self.bans.ban(now, target, duration);
    }

    /// Lifts a ban. Static and trusted peers that waited for its end are dialled.
    /// Returns `false` if there was none.
    pub fn unban(&mut self, now: Instant, target: BanTarget) -> bool {
        let was_banned = self.bans.unban(now, target);
        if was_banned {
            self.dialer.hasten(now, |contact| match target {
                BanTarget::Id(id) => contact.id() == id,
                BanTarget::Address(ip) => host(contact.ip()) == host(canonical(SocketAddr::new(ip, 0)).ip()),
            });
        }
        was_banned
    }

    /// Changes the limits. Peers beyond the new ones stay until they end; new ones are admitted once there is room.
    pub const fn set_limits(&mut self, config: PeerLimits) {
        self.slots.set_config(config);
    }

    /// Schedules dials of the static and trusted peers that a changed filter permits.
    pub fn filter_changed(&mut self, now: Instant, filter: &NetFilter) {
        let index = self.slots.index();
        self.dialer.resume(now, |contact| !index.contains(&contact.id()) && filter.permits(contact.ip()));
    }

    // Connections

    /// Decides about a stream that a listener has accepted. On `Ok` the caller opens the connection, and ends the one that it
    /// displaces. The only place that applies the filter to an accepted stream.
    ///
    /// # Errors
    /// The reason to close it unread.
    pub fn accept(&mut self, now: Instant, filter: &NetFilter, addr: SocketAddr) -> Result<Accepted, Refusal> {
        let addr = canonical(addr);
        if !filter.permits(addr.ip()) {
            return Err(Refusal::Filtered);
        }
        if self.bans.addr_until(now, addr.ip()).is_some() {
            return Err(Refusal::Banned);
        }
        let is_named = self.dialer.declared().any(|(contact, _)| host(contact.ip()) == host(addr.ip()));
        self.slots.accept(now, addr, is_named, self.dialer.has_trusted())
    }

    /// Returns the next contact that is due for a dial; the caller opens the connection. Call again until `None`, and whenever
    /// a connection ends or discovery has found a node.
    pub fn dial_next(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        filter: &NetFilter,
        candidates: impl IntoIterator<Item = Contact>,
    ) -> Option<Contact> {
        if !self.slots.may_dial() {
            return None;
        }
        let contact = match self.next_declared(now, filter) {
            Some(contact) => contact,
            None if self.slots.dial_room() == 0 => return None,
            None => self.next_candidate(now, rng, filter, candidates)?,
        };
        self.dialer.begun(now, &contact);
        Some(contact)
    }

    /// Returns the next static or trusted peer that is due for a dial.
    fn next_declared(&mut self, now: Instant, filter: &NetFilter) -> Option<Contact> {
        let Self { local, bans, slots, dialer, .. } = self;
        dialer.next_declared(now, |contact, kind| {
            if slots.index().contains(&contact.id()) {
                return Some(Obstacle::Connected);
            }
            if check_contact(local, filter, contact).is_err() {
                return Some(Obstacle::Filtered);
            }
            if slots.is_full() && kind != PeerKind::Trusted {
                return Some(Obstacle::Full);
            }
            let until = bans.id_until(now, &contact.id()).max(bans.ordered_until(now, contact.ip()));
            until.map(Obstacle::Until)
        })
    }

    /// Returns one of the candidates, or of those that the embedder has offered.
    fn next_candidate(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        filter: &NetFilter,
        candidates: impl IntoIterator<Item = Contact>,
    ) -> Option<Contact> {
        let Self { local, bans, slots, dialer, .. } = self;
        dialer.next_candidate(now, rng, candidates, |contact| {
            check_contact(local, filter, contact).is_ok()
                && scope(contact.ip()) != Scope::Special
                && bans.id_until(now, &contact.id()).is_none()
                && bans.ordered_until(now, contact.ip()).is_none()
                && !slots.index().contains(&contact.id())
        })
    }

    /// When [`Self::dial_next`] may next return a contact; later than the `now` of its last `None`. Returns `None` if only
    /// another event can change that. `has_candidates` says whether there is a source of candidates.
    pub fn poll_timeout(&self, has_candidates: bool) -> Option<Instant> {
        if !self.slots.may_dial() {
            return None;
        }
        let has_candidates = has_candidates || self.dialer.has_offers();
        self.dialer.poll_timeout(has_candidates && self.slots.dial_room() > 0)
    }

    /// Decides whether a peer gets a place that has proven that it holds the key of `id`: its first frame, a Hello, has
    /// verified. `views` returns any connection of the node's table.
    pub fn identified(
        &self,
        now: Instant,
        newcomer: &View,
        id: NodeId,
        views: impl Fn(ConnId) -> Option<View>,
    ) -> Admission {
        if self.bans.id_until(now, &id).is_some() {
            return Admission::Refused(Refusal::Banned);
        }
        let claimant = Claimant { id, kind: self.dialer.kind(&id), is_wanted: self.dialer.wants(now, &id) };
        let score = |id: &NodeId| self.ledgers.score(now, id);
        self.slots.admit(now, newcomer, &self.local, claimant, &views, score)
    }

    /// Enters a reason in the ledger of a connection's peer, if it has a place: a peer is not charged for what other nodes do
    /// in its name (attack P3b).
    pub fn charge(&mut self, now: Instant, view: &View, reason: ScoreReason) -> Option<Charge> {
        let id = view.admitted_id()?;
        if score::weight(&reason).severity > Severity::Mild {
            self.note_offence(now, Some(id), Some(view.addr), reason);
        }
        let change = self.ledgers.charge(now, id, reason)?;
        Some(self.verdict(now, id, Some(view.addr), reason, change))
    }

    fn verdict(
        &mut self,
        now: Instant,
        id: NodeId,
        authenticated_at: Option<SocketAddr>,
        reason: ScoreReason,
        change: score::Change,
    ) -> Charge {
        let kind = self.dialer.kind(&id);
        let ip = authenticated_at.map(|addr| addr.ip());
        let ban = change.ban.and_then(|severity| self.bans.ban_peer(now, id, kind, ip, severity, reason));
        Charge { id, delta: change.delta, score: change.score, reason, ban }
    }

    /// Counts a serious fault of an authenticated session against its address, and bans that after several. A static or trusted
    /// peer's does not count.
    fn note_offence(&mut self, now: Instant, id: Option<NodeId>, at: Option<SocketAddr>, reason: ScoreReason) {
        let is_declared = id.is_some_and(|id| self.dialer.kind(&id).is_some());
        let Some(ip) = at.map(|addr| addr.ip()).filter(|_| !is_declared) else { return };
        if self.offences.note(now, ip) {
            self.bans.ban_host(now, ip, reason);
        }
    }

    /// Charges the peer of a connection whose end is decided, and schedules its next dial. `before` is the view before the
    /// end.
    pub fn ended(&mut self, now: Instant, rng: &mut Rng, before: &View, end: &End) -> Option<Charge> {
        self.slots.ended(now, before);
        if let Some(id) = before.target_id() {
            let unproven_at = before.place.is_none().then_some(before.addr);
            self.dialer.ended(now, rng, id, unproven_at, Outcome::of(end));
        }
        let reason = blame(end)?;
        if before.place.is_none() && end.stage == Stage::Hello && score::weight(&reason).severity > Severity::Mild {
            // Its first frame has proven a key, but it has not been identified by it.
            self.note_offence(now, before.id, Some(before.addr), reason);
        }
        self.charge(now, before, reason)
    }

    /// The connections with a peer, pending dials included.
    pub fn conns(&self, id: &NodeId) -> impl Iterator<Item = ConnId> {
        self.slots.index().of_id(id)
    }

    /// The reason to end a connection with this address, if there is one: the filter forbids it, or the embedder has banned it.
    pub fn is_refused(&self, now: Instant, filter: &NetFilter, addr: SocketAddr) -> Option<Refusal> {
        if !filter.permits(addr.ip()) {
            return Some(Refusal::Filtered);
        }
        self.bans.ordered_until(now, addr.ip()).map(|_| Refusal::Banned)
    }

    // For reading

    /// Scores and ledgers of all peers, connected or not.
    pub const fn ledgers(&self) -> &Ledgers {
        &self.ledgers
    }

    /// The serious faults of addresses.
    pub const fn offences(&self) -> &Offences {
        &self.offences
    }

    /// The bans.
    pub const fn bans(&self) -> &Bans {
        &self.bans
    }

    /// The limits.
    pub const fn config(&self) -> &PeerLimits {
        self.slots.config()
    }

    /// Static and trusted peers.
    pub fn declared(&self) -> impl Iterator<Item = (&Contact, PeerKind)> {
        self.dialer.declared()
    }

    /// Whether the holder of a key is banned.
    pub fn is_banned(&self, now: Instant, id: &NodeId) -> bool {
        self.bans.id_until(now, id).is_some()
    }

    /// How many connections there are of each kind.
    pub fn counts(&self) -> Counts {
        self.slots.index().counts()
    }

    /// The index over the connections.
    pub const fn index(&self) -> &Index {
        self.slots.index()
    }
}

/// Checks that a contact can be dialled at all. The only place that applies the filter to a dial.
fn check_contact(local: &NodeId, filter: &NetFilter, contact: &Contact) -> Result<(), CommandError> {
    if contact.id() == *local {
        Err(CommandError::Refused(Refusal::ToSelf))
    } else if contact.tcp() == 0 {
        Err(CommandError::NoPort)
    } else if !filter.permits(contact.ip()) {
        Err(CommandError::Refused(Refusal::Filtered))
    } else {
        Ok(())
    }
}

/// The reason to charge a peer for a connection's end. Returns `None` where another node may have caused it: a router on the path
/// can flip bits, cut, delay and end a stream, and forged records lead dials astray (attack P3b).
const fn blame(end: &End) -> Option<ScoreReason> {
    match end.why {
        EndReason::Fault(fault) => match fault.class() {
            FaultClass::Own | FaultClass::Unproven => None,
            _ => Some(ScoreReason::Fault(fault)),
        },
        EndReason::Status(refusal) => Some(ScoreReason::Status(refusal)),
        // A peer may leave when it likes, and networks fail.
        EndReason::Disconnect(_) | EndReason::Refused(_) => None,
        EndReason::Timeout(_) | EndReason::Io(_) | EndReason::Eof => None,
    }
}
