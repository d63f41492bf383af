//! Peers: decides which connections to accept, dial, admit and end. The only place where the node asks.
//!
//! Composes scores, bans, offences, slots, the schedule of dials and the address book; each owns its state. Connections live in the
//! node's table: this module sees them as [`View`]s, and [`Peers::update`] is called with every change of one. It knows no bytes
//! of a protocol, no socket and no event. It returns verdicts, and the caller must act on them.

mod alternatives;
pub mod bans;
pub mod book;
mod bounded;
pub mod caps;
pub mod dial;
pub mod elders;
pub mod eviction;
pub mod handshakes;
pub mod index;
pub mod offences;
pub mod outbound;
pub mod pending;
pub mod place_time;
pub mod ranges;
pub mod rotation;
pub mod score;
pub mod slots;
pub mod targets;
#[cfg(test)]
mod tests;
pub mod view;

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::contract::{
    BanTarget, BookRecord, CommandError, ConnId, Direction, End, EndReason, FaultClass, HostFailure, Label, PeerKind,
    QueryFault, Refusal, ScoreReason, Source, Stage,
};
use crate::crypto::NodeId;
use crate::netfilter::{NetFilter, Scope, canonical, scope};
use crate::rng::Rng;
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::enode::{Contact, NamedNode};

pub use crate::contract::PeerLimits;
pub use bans::{Ban, Banned, Bans};
pub use book::Book;
pub use dial::{Dialer, Outcome};
pub use handshakes::Handshakes;
pub use index::{Counts, Index};
pub use offences::Offences;
pub use outbound::Outbound;
pub use score::{Ledger, LedgerEntry, Ledgers, Severity};
pub use slots::{Accepted, Admission, Claimant, Slots};
pub use view::{Origin, Place, View};

use alternatives::Alternatives;
use bounded::host;
use caps::Caps;
use dial::Obstacle;
use outbound::{Holder, Situation};
use rotation::{Seat, leaver};

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
    outbound: Outbound,
    alternatives: Alternatives,
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
            outbound: Outbound::default(),
            alternatives: Alternatives::default(),
        }
    }

    /// Updates the index after a change of a connection from `before` to `after`; `None` if it did not exist, or no longer
    /// does. To be called with every change.
    pub fn update(&mut self, before: Option<&View>, after: Option<&View>) {
        self.slots.update(before, after);
        self.outbound.changed(self.slots.free_dialled() > 0);
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

    /// As [`Peers::add_peer`], of a peer whose host name is resolved before each dial.
    ///
    /// # Errors
    /// As [`Peers::add_peer`]; the filter is asked when the name is resolved.
    pub fn add_peer_by_name(&mut self, now: Instant, node: &NamedNode, kind: PeerKind) -> Result<(), CommandError> {
        check_contact(&self.local, &NetFilter::default(), &node.at(Ipv4Addr::UNSPECIFIED.into()))?;
        if self.dialer.add_by_name(now, node.clone(), kind) { Ok(()) } else { Err(CommandError::Busy) }
    }

    /// Takes the host names to resolve now; [`Peers::resolved`] is to follow for each.
    pub fn take_unresolved(&mut self) -> Vec<(NodeId, String)> {
        self.dialer.take_unresolved()
    }

    /// Notes the outcome of a host name: the peer is dialled now, or its name asked again after a pause.
    ///
    /// # Errors
    /// Why the peer cannot be dialled now.
    pub fn resolved(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        filter: &NetFilter,
        id: NodeId,
        result: Result<&[IpAddr], QueryFault>,
    ) -> Result<(), HostFailure> {
        let usable = usable_ips(filter, result);
        match &usable {
            Ok(ips) => self.dialer.resolved(now, id, ips),
            Err(_) => self.dialer.not_resolved(now, rng, id),
        }
        usable.map(|_| ())
    }

    /// Remembers another endpoint of a node, in the address book, declared, or both later: it is dialled when a dial of the present
    /// one has failed, or at once if that one is not permitted.
    ///
    /// # Errors
    /// `NoPort` or `Refused(ToSelf)`. One that the filter forbids may be permitted later.
    pub fn add_endpoint(&mut self, now: Instant, filter: &NetFilter, contact: Contact) -> Result<(), CommandError> {
        check_contact(&self.local, &NetFilter::default(), &contact)?;
        self.alternatives.note(contact, filter);
        self.replace_forbidden(now, filter);
        Ok(())
    }

    /// Gives declared peers whose endpoint is not permitted the other one.
    fn replace_forbidden(&mut self, now: Instant, filter: &NetFilter) {
        let forbidden = self.dialer.declared().map(|(contact, _)| *contact).filter(|at| !filter.permits(at.ip()));
        for contact in forbidden.collect::<Vec<_>>() {
            if let Some((other, _)) = self.alternatives.replace(&contact, false) {
                self.dialer.relocate(other, Some(now));
            }
        }
    }

    /// Replaces an endpoint of which a dial has failed by the node's other one. Returns whether that is to be tried now.
    fn replace_failed(&mut self, now: Instant, id: &NodeId, failed: SocketAddr) -> bool {
        let declared = self.dialer.contact(id).copied();
        let entry = self.book().get(id).map(|entry| (*entry.contact(), entry.source(), entry.age().0));
        let known = declared.or(entry.map(|(contact, ..)| contact)).filter(|known| known.tcp_addr() == failed);
        let Some((other, is_untried)) = known.and_then(|known| self.alternatives.replace(&known, true)) else {
            return false;
        };
        if declared.is_some() {
            self.dialer.relocate(other, is_untried.then_some(now));
        } else if let Some((_, source, first_seen)) = entry {
            self.outbound.heard(other, source, first_seen);
        }
        is_untried
    }

    /// Forgets that a peer was static or trusted. Does not disconnect it.
    ///
    /// # Errors
    /// `UnknownPeer` if it was neither.
    pub fn remove_peer(&mut self, id: &NodeId) -> Result<(), CommandError> {
        if self.dialer.remove(id) { Ok(()) } else { Err(CommandError::UnknownPeer) }
    }

    /// Offers a node, which enters the address book and is dialled as soon as an outbound place is free. It needs no other
    /// proof of its endpoint than the embedder's word, and is forgotten if its first dial fails.
    ///
    /// # Errors
    /// `NoPort`, `Refused` with `ToSelf`, `Filtered`, `Banned` or `AlreadyConnected`, or `Busy` if too many wait, in all or of
    /// its subnet.
    pub fn offer(
        &mut self,
        now: Instant,
        unix: UnixTime,
        filter: &NetFilter,
        contact: Contact,
    ) -> Result<(), CommandError> {
        check_contact(&self.local, filter, &contact)?;
        if scope(contact.ip()) == Scope::Special {
            return Err(CommandError::Refused(Refusal::Filtered));
        }
        if self.bans.id_until(now, &contact.id()).or(self.bans.ordered_until(now, contact.ip())).is_some() {
            return Err(CommandError::Refused(Refusal::Banned));
        }
        if self.slots.index().contains(&contact.id()) {
            return Err(CommandError::Refused(Refusal::AlreadyConnected));
        }
        if self.outbound.offer(contact, unix) { Ok(()) } else { Err(CommandError::Busy) }
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
        self.outbound.dialled(&contact.id());
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
        self.outbound.retain(|contact| match target {
            BanTarget::Id(id) => contact.id() != id,
            BanTarget::Address(ip) => host(contact.ip()) != host(canonical(SocketAddr::new(ip, 0)).ip()),
        });
    }

    /// Lifts a ban. Static and trusted peers that waited for its end are dialled. Returns `false` if there was none.
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

    /// Schedules dials of the static and trusted peers that a changed filter permits, and drops from the address book what it
    /// forbids.
    pub fn filter_changed(&mut self, now: Instant, filter: &NetFilter) {
        self.outbound.retain(|contact| filter.permits(contact.ip()));
        self.alternatives.filter_changed(filter);
        self.replace_forbidden(now, filter);
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
    /// a connection ends or a node was heard of. `views` returns any connection of the node's table.
    pub fn dial_next(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        filter: &NetFilter,
        views: impl Fn(ConnId) -> Option<View>,
    ) -> Option<Contact> {
        if !self.slots.may_dial() {
            return None;
        }
        let contact = match self.next_declared(now, filter) {
            Some(contact) => contact,
            None => self.next_entry(now, rng, filter, views)?,
        };
        self.dialer.begun(now, &contact);
        self.outbound.dialled(&contact.id());
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

    /// Returns an entry of the address book.
    fn next_entry(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        filter: &NetFilter,
        views: impl Fn(ConnId) -> Option<View>,
    ) -> Option<Contact> {
        let situation = self.situation(views);
        let Self { local, bans, slots, dialer, outbound, .. } = self;
        outbound.next(now, rng, dialer, &situation, |contact| {
            check_contact(local, filter, contact).is_ok()
                && bans.id_until(now, &contact.id()).is_none()
                && bans.ordered_until(now, contact.ip()).is_none()
                && !slots.index().contains(&contact.id())
        })
    }

    /// The outbound places as the dialler sees them.
    fn situation(&self, views: impl Fn(ConnId) -> Option<View>) -> Situation {
        let holder = |view: View| {
            let id = view.target_id()?;
            let is_outbound = view.place.is_none_or(|place| place.share == Direction::Outbound);
            let is_ours = view.origin == Origin::Dialled { commanded: false } && self.dialer.kind(&id).is_none();
            let is_pending = is_ours && view.place.is_none_or(|place| place.takes_over);
            is_outbound.then_some(Holder { id, addr: view.addr, is_pending })
        };
        Situation {
            places: self.slots.config().max_dialled(),
            taken: self.counts().outbound,
            free: self.slots.free_dialled(),
            holders: self.index().dialled().into_iter().filter_map(views).filter_map(holder).collect(),
        }
    }

    /// When [`Self::dial_next`] may next return a contact; later than the `now` of its last `None`. Returns `None` if only
    /// another event can change that. `has_candidates` says whether there is a source of nodes beside the address book.
    pub fn poll_timeout(&self, has_candidates: bool) -> Option<Instant> {
        if !self.slots.may_dial() {
            return None;
        }
        let (places, taken, free) = (self.config().max_dialled(), self.counts().outbound, self.slots.free_dialled());
        let has_candidates = has_candidates || !self.book().entries().is_empty();
        let entry = self.outbound.poll_timeout(places, taken, free).filter(|_| has_candidates);
        self.dialer.poll_timeout().into_iter().chain(entry).min()
    }

    // The address book

    /// Enters a node that has proven its endpoint into the address book, unless it cannot be dialled.
    pub fn heard(&mut self, now: Instant, unix: UnixTime, filter: &NetFilter, source: Source, contact: Contact) {
        let is_possible = self.config().max_dialled() > 0
            && check_contact(&self.local, filter, &contact).is_ok()
            && scope(contact.ip()) != Scope::Special
            && self.bans.id_until(now, &contact.id()).is_none()
            && self.bans.ordered_until(now, contact.ip()).is_none()
            && self.dialer.permits_commitment(now, &contact);
        if is_possible {
            self.outbound.heard(contact, source, unix);
        }
    }

    /// Drops a node from the address book: it is of another network.
    pub fn forget(&mut self, id: &NodeId) {
        self.outbound.forget(id);
    }

    /// Enters the address book of an earlier run, the oldest entries first, so that they stay if there are too many.
    pub fn restore_book(&mut self, now: Instant, unix: UnixTime, filter: &NetFilter, mut records: Vec<BookRecord>) {
        records.sort_by_key(|record| (record.first_seen, record.contact.id()));
        for BookRecord { contact, source, first_seen } in records {
            self.heard(now, unix.min(first_seen), filter, source, contact);
        }
    }

    /// The address book.
    pub const fn book(&self) -> &Book {
        self.outbound.book()
    }

    /// The address book and the committed targets.
    pub const fn outbound(&self) -> &Outbound {
        &self.outbound
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
        let claimant = match self.claimant(now, newcomer, id, &views) {
            Ok(claimant) => claimant,
            Err(refusal) => return Admission::Refused(refusal),
        };
        let score = |id: &NodeId| self.ledgers.score(now, id);
        self.slots.admit(now, newcomer, &self.local, claimant, &views, score)
    }

    /// What a peer that has proven its key may claim: an outbound place only if the limits on their addresses admit it.
    ///
    /// # Errors
    /// `TooManyFromSubnet` if they do not, and we have dialled it.
    fn claimant(
        &self,
        now: Instant,
        newcomer: &View,
        id: NodeId,
        views: &impl Fn(ConnId) -> Option<View>,
    ) -> Result<Claimant, Refusal> {
        let kind = self.dialer.kind(&id);
        let placed = self.index().dialled().into_iter().filter_map(views).filter(|view| view.id != Some(id));
        let placed = placed.filter_map(|view| Some((view.addr, view.place?)));
        let placed: Vec<_> = placed.filter(|(_, place)| place.share == Direction::Outbound).collect();
        let caps = Caps::new(self.config().max_dialled(), placed.iter().map(|(addr, _)| *addr));
        let is_admitted = kind.is_some() || caps.admit(newcomer.addr);
        if !is_admitted && newcomer.origin == (Origin::Dialled { commanded: false }) {
            return Err(Refusal::TooManyFromSubnet);
        }
        let is_alone = placed.iter().all(|(_, place)| !place.takes_over);
        let is_wanted = self.dialer.wants(now, &id) && is_admitted;
        let may_take_over = is_wanted && is_alone && self.outbound.is_rotation_due(now);
        Ok(Claimant { id, kind, is_wanted, may_take_over })
    }

    /// Notes that a peer is in session. If it was admitted to take another outbound peer's place over, returns its place and the
    /// connection that leaves, or that it is refused because none can leave. `is_busy` says whether a connection has open
    /// requests: such a one stays.
    pub fn established(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        newcomer: &View,
        views: impl Fn(ConnId) -> Option<View>,
        is_busy: impl Fn(ConnId) -> bool,
    ) -> Option<Admission> {
        let (id, place) = newcomer.admitted_id().zip(newcomer.place)?;
        self.outbound.established(&id);
        if !place.takes_over {
            return None;
        }
        let place = Place { exempt: false, takes_over: false, ..place };
        if self.slots.free_dialled() > 0 {
            return Some(Admission::Admitted { place, displaced: None });
        }
        let elders = self.book().elders();
        let seniority = |id: &NodeId| self.outbound.seniority(&elders, id);
        let counted = self.index().dialled().into_iter().filter_map(views).filter_map(|view| Some((view, view.place?)));
        let counted = counted.filter(|(_, place)| place.share == Direction::Outbound && !place.exempt);
        let seats: Vec<Seat> = counted
            .map(|(view, place)| Seat {
                conn: view.conn,
                since: place.since,
                seniority: view.id.map(|id| seniority(&id)).unwrap_or_default(),
                can_leave: place.kind.is_none() && view.is_established() && !is_busy(view.conn),
            })
            .collect();
        let Some(leaving) = leaver(&seats, seniority(&id), elders.vacancies(self.config().max_dialled())) else {
            return Some(Admission::Refused(Refusal::TooManyPeers));
        };
        self.outbound.rotated(now, rng, self.slots.config().max_dialled());
        Some(Admission::Admitted { place, displaced: Some((leaving, Refusal::TooManyPeers)) })
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
        if ban.is_some() {
            self.outbound.forget(&id);
        }
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
            let (unproven_at, outcome) = (before.place.is_none().then_some(before.addr), Outcome::of(end));
            self.dialer.ended(now, rng, id, unproven_at, outcome);
            let is_dead_end = before.direction() == Direction::Outbound && outcome == Outcome::Failed;
            let failed = unproven_at.filter(|_| is_dead_end);
            let is_replaced = failed.is_some_and(|failed| self.replace_failed(now, &id, failed));
            // A peer that called us says nothing about the endpoint in the book.
            let is_told = before.direction() == Direction::Outbound || outcome == Outcome::Useless;
            if is_told && !is_replaced {
                self.outbound.ended(&id, outcome);
            }
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

/// The addresses of a host that may be contacted.
///
/// # Errors
/// If there is none.
pub fn usable_ips(filter: &NetFilter, result: Result<&[IpAddr], QueryFault>) -> Result<Vec<IpAddr>, HostFailure> {
    let ips = result.map_err(HostFailure::Query)?.iter().copied();
    let usable: Vec<_> = ips.filter(|ip| !ip.is_unspecified() && filter.permits(*ip)).collect();
    if usable.is_empty() { Err(HostFailure::Filtered) } else { Ok(usable) }
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
