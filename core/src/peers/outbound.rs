//! The outbound places: which entry of the address book is dialled now, when to look again, and which peer leaves for a
//! newcomer.
//!
//! The first half of the places is filled at once, from any entry. Each further place that is free waits
//! [`VACANCY_WAIT`] for one of the committed [`targets`](super::targets), then for any entry. When all places are taken,
//! [`rotation`](super::rotation) lets a target that accepts take one over. A quarter of the places belongs to
//! [`elders`](super::elders). What is wanted is decided by [`wish`] alone.
//!
//! Static and trusted peers, pauses between dials and connections are the caller's.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::book::{Book, Entry};
use super::caps::Caps;
use super::dial::{Dialer, Outcome};
use super::elders::{Elders, Seniority, Vacancies};
use super::rotation::{Rotation, Stage};
use super::targets::Targets;
use crate::contract::Source;
use crate::crypto::NodeId;
use crate::limits::{DIAL_POLL_INTERVAL, DIAL_POLL_INTERVAL_MIN, TARGETS_MAX, VACANCY_WAIT};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::enode::Contact;

/// A connection of the dialled share, or a dial that has no place yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// The peer.
    pub id: NodeId,
    /// Its address.
    pub addr: SocketAddr,
    /// Whether it is a dial of this dialler that has not taken a place yet: declared peers and commanded dials do not count.
    pub is_pending: bool,
}

/// The outbound places and who holds them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Situation {
    /// All outbound places.
    pub places: usize,
    /// Those that are taken.
    pub taken: usize,
    /// Those that a peer could get now: none also if no further peer is admitted.
    pub free: usize,
    /// All that hold one or may get one.
    pub holders: Vec<Holder>,
}

impl Situation {
    fn pending(&self) -> usize {
        self.holders.iter().filter(|holder| holder.is_pending).count()
    }

    fn caps(&self) -> Caps {
        Caps::new(self.places, self.holders.iter().map(|holder| holder.addr))
    }
}

/// What to dial now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wish {
    /// No entry.
    Nothing,
    /// A committed target.
    Target,
    /// Any entry, also one that had no room when it was last asked: if only those were passed over, the others would be hostile
    /// more often than their share of the book.
    Any,
    /// Any entry, with the pauses that the history asks for: many dials at once must spread.
    AtOnce,
}

/// Decides what to dial now. `waits_since` says since when a place is free.
pub fn wish(now: Instant, situation: &Situation, waits_since: Option<Instant>, rotation: Stage) -> Wish {
    let Situation { places, taken, free, .. } = *situation;
    let pending = situation.pending();
    if free == 0 {
        // One at a time: of several that accept, the nearest would win.
        return match rotation {
            _ if places == 0 || taken < places || pending > 0 => Wish::Nothing,
            Stage::Resting | Stage::Over => Wish::Nothing,
            Stage::Targets => Wish::Target,
            Stage::Any => Wish::Any,
        };
    }
    // Twice the free places, as in geth, because half of the dials fail.
    let at_once = places.div_ceil(2).saturating_sub(taken).min(free);
    if pending < 2 * at_once {
        Wish::AtOnce
    } else if pending >= 2 * free {
        Wish::Nothing
    } else if waits_since.is_none_or(|since| now.since(since) < VACANCY_WAIT) {
        Wish::Target
    } else if pending == 0 {
        Wish::Any
    } else {
        Wish::Nothing
    }
}

/// The last dials, of which node lists have a third while there are others to dial (attack D19).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct LastDials {
    /// One bit for each, set for a node of a list.
    listed: u32,
    count: u32,
}

impl LastDials {
    /// The number of dials that are looked back on.
    const MAX: u32 = 24;

    fn note(&mut self, source: Source) {
        self.listed = (self.listed << 1 | u32::from(source == Source::Dns)) & ((1 << Self::MAX) - 1);
        self.count = (self.count + 1).min(Self::MAX);
    }

    /// Whether one more of a list would be above a third.
    const fn are_listed(&self) -> bool {
        3 * (self.listed.count_ones() + 1) > self.count + 1
    }
}

/// The preference among sources at one time.
struct Sources {
    /// Those of what is held, then those of what is committed to.
    taken: Vec<Source>,
    /// The number that is held.
    held: usize,
    /// Whether the book has entries of several.
    is_mixed: bool,
    last_dials: LastDials,
}

impl Sources {
    /// Whether a source has named more than a third of what is held or committed to: another one is preferred then, if the book
    /// has entries of another one.
    fn is_over(&self, of: Source) -> bool {
        self.is_mixed && is_over_third(&self.taken, of)
    }

    /// Whether any other entry is committed to before one of this source: it is that of node lists, which prove nothing, and is
    /// over.
    fn is_last_target(&self, of: Source) -> bool {
        of == Source::Dns && self.is_over(of)
    }

    /// Whether any other entry is dialled before one of this source: it is that of node lists, and they have a third of what is
    /// held or of the last dials. What is committed to does not count: it may be theirs because the others are all connected.
    fn is_last_dial(&self, of: Source) -> bool {
        let is_over = || is_over_third(&self.taken[..self.held], of) || self.last_dials.are_listed();
        of == Source::Dns && self.is_mixed && is_over()
    }
}

fn is_over_third(sources: &[Source], of: Source) -> bool {
    3 * sources.iter().filter(|source| **source == of).count() > sources.len()
}

/// The address book, the targets, and the times of the outbound places.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    book: Book,
    targets: Targets,
    last_dials: LastDials,
    rotation: Rotation,
    /// Since when a place is free.
    waits_since: Option<Instant>,
    next_poll: Instant,
}

impl Outbound {
    /// The address book.
    pub const fn book(&self) -> &Book {
        &self.book
    }

    /// The committed targets.
    pub const fn targets(&self) -> &Targets {
        &self.targets
    }

    /// Whether a newcomer may take a place over now.
    pub fn is_rotation_due(&self, now: Instant) -> bool {
        self.rotation.is_due(now)
    }

    /// The seniority of a node in the book, as `elders` of it say.
    pub fn seniority(&self, elders: &Elders, id: &NodeId) -> Seniority {
        self.book.get(id).map_or(Seniority::NONE, |entry| elders.seniority(entry.age()))
    }

    /// Enters a node that has proven its endpoint: see [`Book::add`].
    pub fn heard(&mut self, contact: Contact, source: Source, first_seen: UnixTime) {
        if self.book.add(contact, source, first_seen) {
            self.drop_targets();
        }
    }

    /// Enters an offer of the embedder, which is due at once: see [`Book::offer`]. Returns `false` if too many wait.
    #[must_use]
    pub fn offer(&mut self, contact: Contact, first_seen: UnixTime) -> bool {
        let is_taken = self.book.offer(contact, first_seen);
        if is_taken {
            self.next_poll = Instant::ZERO;
            self.drop_targets();
        }
        is_taken
    }

    /// Drops the nodes that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&Contact) -> bool) {
        self.book.retain(keep);
        self.drop_targets();
    }

    /// Drops the targets that have left the book.
    fn drop_targets(&mut self) {
        let Self { book, targets, .. } = self;
        targets.keep(|id| book.get(id).is_some());
    }

    /// Notes whether a place is free after a change of a connection.
    pub const fn changed(&mut self, has_free: bool) {
        if !has_free {
            self.waits_since = None;
        }
    }

    /// Returns the entry to dial now, if there is one. `is_usable` says what may be dialled at all, apart from pauses, and has no
    /// connection.
    pub fn next(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        dialer: &Dialer,
        situation: &Situation,
        is_usable: impl Fn(&Contact) -> bool,
    ) -> Option<Contact> {
        self.rotation.start(now, rng, situation.places);
        if situation.free > 0 {
            self.waits_since.get_or_insert(now);
        } else if self.rotation.stage(now) == Stage::Over && situation.pending() == 0 {
            self.rotation.schedule(now, rng, situation.places);
        }
        let wish = wish(now, situation, self.waits_since, self.rotation.stage(now));
        let found = match wish {
            Wish::Nothing => None,
            Wish::Target | Wish::Any | Wish::AtOnce => {
                let caps = situation.caps();
                let may_dial = |contact: &Contact| caps.admit(contact.tcp_addr()) && is_usable(contact);
                let elders = self.book.elders();
                let held = situation.holders.iter().map(|holder| self.seniority(&elders, &holder.id));
                let vacancies = elders.vacancies(situation.places).held_by(held);
                let choice = Choice { now, dialer, situation, elders, vacancies };
                let offered = self.next_offered(rng, &choice, may_dial);
                match wish {
                    _ if offered.is_some() => offered,
                    Wish::Any => self.next_any(rng, &choice, vacancies.wanted(), may_dial, Dialer::permits_retry),
                    // Of the narrow tiers there are few nodes, which everybody would dial.
                    Wish::AtOnce => {
                        let wanted = vacancies.wanted().min(Seniority::of_tiers(1));
                        self.next_any(rng, &choice, wanted, may_dial, Dialer::permits)
                    }
                    Wish::Target | Wish::Nothing => {
                        self.commit(rng, &choice, may_dial);
                        self.next_target(&choice)
                    }
                }
            }
        };
        match found {
            Some(contact) => {
                self.targets.dialled(now, rng, &contact.id());
                if let Some(entry) = self.book.get(&contact.id()) {
                    self.last_dials.note(entry.source());
                }
            }
            None => {
                let retry = self.targets.next_retry().unwrap_or(Instant::NEVER);
                let earliest = now + DIAL_POLL_INTERVAL_MIN;
                self.next_poll = retry.clamp(earliest, earliest.max(now + DIAL_POLL_INTERVAL));
            }
        }
        found
    }

    /// An offer of the embedder that may be dialled now, while a place is free.
    fn next_offered(&self, rng: &mut Rng, choice: &Choice<'_>, may_dial: impl Fn(&Contact) -> bool) -> Option<Contact> {
        if choice.situation.free == 0 {
            return None;
        }
        let rank = |entry: &Entry| {
            let may_dial = |contact| choice.dialer.permits(choice.now, contact) && may_dial(contact);
            (entry.is_offered() && may_dial(entry.contact())).then_some(0)
        };
        self.book.draw(rng, rank).map(|entry| *entry.contact())
    }

    /// Any entry that may be dialled now, by the history as `permits` reads it; of those, half of the time one that was never tried
    /// (attack P8), then one of the wanted seniority, then one of a source that has less than its share, as far as there
    /// are such. Before all of that, one that no node list named, while those have their share.
    fn next_any(
        &self,
        rng: &mut Rng,
        choice: &Choice<'_>,
        wanted: Seniority,
        may_dial: impl Fn(&Contact) -> bool,
        permits: fn(&Dialer, Instant, &Contact) -> bool,
    ) -> Option<Contact> {
        let wants_new = rng.below(2) == 0;
        let sources = self.sources(choice.situation);
        let rank = |entry: &Entry| {
            let contact = entry.contact();
            if !permits(choice.dialer, choice.now, contact) || !may_dial(contact) {
                return None;
            }
            let is_unwanted = choice.dialer.has_tried(&contact.id()) == wants_new;
            let is_younger = choice.elders.seniority(entry.age()) < wanted;
            let (is_capped, is_over) = (sources.is_last_dial(entry.source()), sources.is_over(entry.source()));
            let flags = [is_capped, is_unwanted, is_younger, is_over];
            Some(flags.into_iter().fold(0, |rank, flag| 2 * rank + u8::from(flag)))
        };
        self.book.draw(rng, rank).map(|entry| *entry.contact())
    }

    /// Drops the targets that can no longer be dialled, and commits to further entries until there are enough: half of them elders
    /// while elders lack a place.
    fn commit(&mut self, rng: &mut Rng, choice: &Choice<'_>, may_dial: impl Fn(&Contact) -> bool) {
        let Choice { now, dialer, situation, elders, vacancies } = choice;
        let may_commit = |entry: &Entry| {
            let contact = entry.contact();
            dialer.permits_commitment(*now, contact) && may_dial(contact)
        };
        let Self { book, targets, .. } = self;
        targets.expire(*now);
        targets.keep(|id| book.get(id).is_some_and(may_commit));
        while !self.targets.is_full() {
            let wanted = vacancies.wanted();
            let committed = self.targets.list().iter().map(|target| self.seniority(elders, &target.id));
            let is_senior_due = 2 * committed.filter(|seniority| *seniority >= wanted).count() < TARGETS_MAX;
            let sources = self.sources(situation);
            let rank = |entry: &Entry| {
                if self.targets.contains(&entry.contact().id()) || !may_commit(entry) {
                    return None;
                }
                let is_younger = is_senior_due && elders.seniority(entry.age()) < wanted;
                let (is_capped, is_over) = (sources.is_last_target(entry.source()), sources.is_over(entry.source()));
                Some([is_capped, is_younger, is_over].into_iter().fold(0, |rank, flag| 2 * rank + u8::from(flag)))
            };
            let Some(id) = self.book.draw(rng, rank).map(|entry| entry.contact().id()) else { return };
            self.targets.commit(*now, id);
        }
    }

    /// The target to dial now. Others than elders do not take a place that elders lack: neither of the free ones, nor the one that
    /// rotates.
    fn next_target(&self, choice: &Choice<'_>) -> Option<Contact> {
        let Choice { now, dialer, situation, elders, vacancies } = choice;
        let sources = self.sources(situation);
        let rank = |id: &NodeId| {
            let entry = self.book.get(id).filter(|entry| dialer.permits_retry(*now, entry.contact()))?;
            let seniority = elders.seniority(entry.age());
            let is_reserved = situation.free.max(1) <= vacancies.reserved_from(seniority);
            let is_capped = sources.is_last_dial(entry.source());
            (!is_reserved).then_some(2 * u8::from(is_capped) + u8::from(seniority < vacancies.wanted()))
        };
        let id = self.targets.next_due(*now, rank)?;
        self.book.get(&id).map(|entry| *entry.contact())
    }

    /// What the choice among sources goes by (attack D19).
    fn sources(&self, situation: &Situation) -> Sources {
        let is_mixed = self.book.entries().windows(2).any(|pair| pair[0].source() != pair[1].source());
        let source = |id| self.book.get(id).map(Entry::source);
        let mut taken: Vec<Source> = situation.holders.iter().filter_map(|holder| source(&holder.id)).collect();
        let held = taken.len();
        taken.extend(self.targets.list().iter().filter_map(|target| source(&target.id)));
        Sources { taken, held, is_mixed, last_dials: self.last_dials }
    }

    /// Notes that a node is dialled, by this dialler or not.
    pub fn dialled(&mut self, id: &NodeId) {
        self.book.dialled(id);
    }

    /// Notes the end of a connection with a node, or of a dial of it.
    pub fn ended(&mut self, id: &NodeId, outcome: Outcome) {
        match outcome {
            Outcome::Neutral => {}
            // It answers, and has no room.
            Outcome::Reached | Outcome::Full => self.book.reached(id),
            Outcome::Failed => {
                self.book.failed(id);
                self.targets.remove(id);
            }
            Outcome::Useless => self.forget(id),
        }
    }

    /// Drops a node.
    pub fn forget(&mut self, id: &NodeId) {
        self.targets.remove(id);
        self.book.remove(id);
    }

    /// Notes that a node is in session.
    pub fn established(&mut self, id: &NodeId) {
        self.targets.remove(id);
        self.book.reached(id);
    }

    /// Notes that a newcomer has taken a place over.
    pub fn rotated(&mut self, now: Instant, rng: &mut Rng, places: usize) {
        self.rotation.schedule(now, rng, places);
    }

    /// When [`Outbound::next`] may next return an entry. `None` if only another event can change that.
    pub fn poll_timeout(&self, places: usize, taken: usize, free: usize) -> Option<Instant> {
        if free > 0 {
            Some(self.next_poll)
        } else {
            (places > 0 && taken >= places).then_some(self.next_poll.max(self.rotation.due()))
        }
    }
}

/// What a choice among entries goes by.
struct Choice<'a> {
    now: Instant,
    dialer: &'a Dialer,
    situation: &'a Situation,
    elders: Elders,
    /// The places that belong to elders and are not held by them.
    vacancies: Vacancies,
}
