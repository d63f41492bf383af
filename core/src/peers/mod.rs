//! Peers: whom to let in, whom to dial, whom to put out. The one thing that a node asks about them.
//!
//! Composes scores, bans, slots and the schedule of dials; each owns its state, and what one knows of another is asked for
//! here. It sees addresses, ids, reasons and instants only: no byte of any protocol, no socket, no event. Verdicts are
//! returned, and the caller must act on them.

pub mod bans;
mod bounded;
pub mod dial;
pub mod score;
pub mod slots;
#[cfg(test)]
mod tests;

use core::net::SocketAddr;

use crate::contract::{
    CommandError, ConnId, ConnTimer, Direction, End, EndReason, IoFault, PeerKind, Refusal, ScoreReason,
};
use crate::crypto::NodeId;
use crate::netfilter::{NetFilter, Scope, canonical, scope};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::enode::Contact;

pub use bans::{Ban, Banned, Bans};
pub use dial::{Dialer, Outcome};
pub use score::{Ledger, LedgerEntry, Ledgers, Severity};
pub use slots::{Admission, Counts, PeersConfig, Phase, Place, Slot, Slots};

use dial::Obstacle;
use slots::Claimant;

/// A score has changed: tell the application, and if there is a ban, end every connection with the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Charge {
    /// Whose.
    pub id: NodeId,
    /// By how many points.
    pub delta: i32,
    /// To what.
    pub score: i32,
    /// Why.
    pub reason: ScoreReason,
    /// That the peer is banned now, and for how long.
    pub ban: Option<Duration>,
}

/// What followed from a connection's end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Ended {
    /// What it was.
    pub slot: Slot,
    /// The change of score that the end brought about.
    pub charge: Option<Charge>,
}

/// A peer with a place, for people to read.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Its connection.
    pub slot: &'a Slot,
    /// Its place.
    pub place: &'a Place,
    /// Its score now.
    pub score: i32,
    /// Why; `None` if it never changed.
    pub ledger: Option<&'a Ledger>,
}

/// Everything there is to know about peers.
#[derive(Clone, Debug)]
pub struct Peers {
    local: NodeId,
    ledgers: Ledgers,
    bans: Bans,
    slots: Slots,
    dialer: Dialer,
}

impl Peers {
    /// No peer yet; `local` is our own id.
    pub fn new(config: PeersConfig, local: NodeId) -> Self {
        Self {
            local,
            ledgers: Ledgers::default(),
            bans: Bans::default(),
            slots: Slots::new(config),
            dialer: Dialer::default(),
        }
    }

    /// Names a peer static or trusted: it is dialled now and for ever. `Ordinary` takes the name away.
    ///
    /// # Errors
    /// `NoPort` if it does not listen, `Refused(ToSelf)`, `Busy` if too many are named.
    pub fn add_peer(&mut self, now: Instant, contact: Contact, kind: PeerKind) -> Result<(), CommandError> {
        if kind == PeerKind::Ordinary {
            self.dialer.remove(&contact.id());
            return Ok(());
        }
        if contact.id() == self.local {
            return Err(CommandError::Refused(Refusal::ToSelf));
        }
        if contact.tcp() == 0 {
            return Err(CommandError::NoPort);
        }
        if !self.dialer.add(now, contact, kind) {
            return Err(CommandError::Busy);
        }
        self.slots.promote(&contact.id(), kind);
        Ok(())
    }

    /// Takes a peer's name away. Does not disconnect it.
    ///
    /// # Errors
    /// `UnknownPeer` if it was neither static nor trusted.
    pub fn remove_peer(&mut self, id: &NodeId) -> Result<(), CommandError> {
        if self.dialer.remove(id) { Ok(()) } else { Err(CommandError::UnknownPeer) }
    }

    /// A listener has a stream. On `Ok` it has a slot until [`Self::ended`].
    ///
    /// # Errors
    /// Why it is to be closed unread.
    pub fn incoming(&mut self, now: Instant, conn: ConnId, addr: SocketAddr) -> Result<(), Refusal> {
        if self.bans.addr_until(now, canonical(addr).ip()).is_some() {
            return Err(Refusal::Banned);
        }
        let trusted = self.dialer.named().any(|(_, kind)| kind == PeerKind::Trusted);
        self.slots.accept(now, conn, addr, trusted)
    }

    /// Whom to dial now. On `Some` the dial has a slot under `conn` until [`Self::ended`]; call again with the next
    /// connection until `None`, and whenever a connection ends or discovery has found somebody.
    pub fn dial_next(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        filter: &NetFilter,
        conn: ConnId,
        candidates: impl IntoIterator<Item = Contact>,
    ) -> Option<Contact> {
        let Self { local, bans, slots, dialer, .. } = self;
        let counts = slots.counts();
        if counts.pending_outbound >= slots.config().max_pending {
            return None;
        }
        let full = counts.inbound + counts.outbound >= slots.config().max_peers;
        let obstacle = |contact: &Contact, kind| {
            if slots.knows(&contact.id()) {
                return Some(Obstacle::Connected);
            }
            if !filter.permits(contact.ip()) || (full && kind != PeerKind::Trusted) {
                return Some(Obstacle::Full);
            }
            bans.id_until(now, &contact.id()).map(Obstacle::Until)
        };
        let contact = match dialer.next_named(now, obstacle) {
            Some(contact) => contact,
            None if slots.dial_room() == 0 => return None,
            None => dialer.next_candidate(now, rng, candidates, |contact| {
                contact.tcp() != 0
                    && contact.id() != *local
                    && scope(contact.ip()) != Scope::Special
                    && filter.permits(contact.ip())
                    && bans.id_until(now, &contact.id()).is_none()
                    && bans.addr_until(now, contact.ip()).is_none()
                    && !slots.knows(&contact.id())
            })?,
        };
        slots.dial(now, conn, contact.id(), contact.tcp_addr(), false).ok()?;
        dialer.begun(now, &contact);
        Some(contact)
    }

    /// Dials once because the embedder says so, past history and places. On `Ok` it has a slot until [`Self::ended`].
    ///
    /// # Errors
    /// `ToSelf`, `Banned` (the id), `AlreadyConnected`, `TooManyPending`.
    pub fn dial(&mut self, now: Instant, conn: ConnId, contact: &Contact) -> Result<(), Refusal> {
        if contact.id() == self.local {
            return Err(Refusal::ToSelf);
        }
        if self.bans.id_until(now, &contact.id()).is_some() {
            return Err(Refusal::Banned);
        }
        self.slots.dial(now, conn, contact.id(), contact.tcp_addr(), true)?;
        self.dialer.begun(now, contact);
        Ok(())
    }

    /// When [`Self::dial_next`] may have somebody; later than the `now` of its last `None`. `None`: not before something
    /// else happens.
    /// `looking` tells whether there is anybody to draw candidates from.
    pub fn poll_timeout(&self, looking: bool) -> Option<Instant> {
        if self.slots.counts().pending_outbound >= self.slots.config().max_pending {
            return None;
        }
        self.dialer.poll_timeout(looking && self.slots.dial_room() > 0)
    }

    /// A connection's peer has proven that it holds the key of `id`: its first frame, a Hello, has verified.
    pub fn identified(&mut self, now: Instant, conn: ConnId, id: NodeId) -> Admission {
        if self.bans.id_until(now, &id).is_some() {
            return Admission::Refused(Refusal::Banned);
        }
        let claimant = Claimant { id, kind: self.dialer.kind(&id), wanted: self.dialer.wants(now, &id) };
        let score = |id: &NodeId| self.ledgers.score(now, id);
        self.slots.admit_identity(now, conn, &self.local, claimant, score)
    }

    /// The peer's Status was accepted.
    pub fn established(&mut self, now: Instant, conn: ConnId) {
        self.slots.establish(now, conn);
    }

    /// Enters a reason in the ledger of a connection's peer, if it has proven who it is: nobody is charged for what
    /// somebody else does in its name (attack P3b).
    pub fn charge(&mut self, now: Instant, conn: ConnId, reason: ScoreReason) -> Option<Charge> {
        let slot = *self.slots.get(conn)?;
        let id = slot.proven()?;
        let change = self.ledgers.charge(now, id, reason)?;
        Some(self.verdict(now, id, Some(slot.addr), reason, change))
    }

    /// Enters what the embedder thinks of a peer, connected or not.
    pub fn charge_embedder(&mut self, now: Instant, id: NodeId, delta: i32) -> Option<Charge> {
        let addr = self.slots.iter().find(|slot| slot.proven() == Some(id)).map(|slot| slot.addr);
        let change = self.ledgers.charge_embedder(now, id, delta)?;
        Some(self.verdict(now, id, addr, ScoreReason::Embedder, change))
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
        let ban = change.ban.map(|severity| self.bans.ban_peer(now, id, kind, ip, severity, reason));
        Charge { id, delta: change.delta, score: change.score, reason, ban }
    }

    /// A connection is over: frees its place, charges its peer and decides when it may be dialled again. `None` if it had
    /// no slot.
    pub fn ended(&mut self, now: Instant, rng: &mut Rng, conn: ConnId, end: &End) -> Option<Ended> {
        let slot = self.slots.close(conn)?;
        let Some(id) = slot.id() else { return Some(Ended { slot, charge: None }) };
        let proven = slot.proven().is_some();
        self.dialer.ended(now, rng, id, (!proven).then_some(slot.addr), Outcome::of(end));
        let charge = blame(end, slot.direction(), proven).and_then(|reason| {
            let change = self.ledgers.charge(now, id, reason)?;
            Some(self.verdict(now, id, proven.then_some(slot.addr), reason, change))
        });
        Some(Ended { slot, charge })
    }

    /// The driver has been told that a connection is over: its slot is free.
    pub fn release(&mut self, conn: ConnId) {
        self.slots.release(conn);
    }

    /// The connections with a peer that has proven its key: those to end when it is banned.
    pub fn conns(&self, id: NodeId) -> impl Iterator<Item = ConnId> {
        self.slots.iter().filter(move |slot| slot.proven() == Some(id)).map(|slot| slot.conn)
    }

    /// Peers with a place.
    pub fn peers(&self, now: Instant) -> impl Iterator<Item = Peer<'_>> {
        self.slots.iter().filter_map(move |slot| {
            let place = slot.place()?;
            let (score, ledger) = (self.ledgers.score(now, &place.id), self.ledgers.get(&place.id));
            Some(Peer { slot, place, score, ledger })
        })
    }

    /// A peer's score and ledger, connected or not.
    pub const fn ledgers(&self) -> &Ledgers {
        &self.ledgers
    }

    /// The bans.
    pub const fn bans(&self) -> &Bans {
        &self.bans
    }

    /// Every connection.
    pub const fn slots(&self) -> &Slots {
        &self.slots
    }

    /// Static and trusted peers.
    pub fn named(&self) -> impl Iterator<Item = (&Contact, PeerKind)> {
        self.dialer.named()
    }

    /// Whether the holder of a key is banned.
    pub fn is_banned(&self, now: Instant, id: &NodeId) -> bool {
        self.bans.id_until(now, id).is_some()
    }

    /// How many connections there are of each kind.
    pub fn counts(&self) -> Counts {
        self.slots.counts()
    }
}

/// What an end says against the peer. Total, and silent where the end may be anybody's doing: a peer that has not proven
/// its key can at most be found unreachable, and only by our own dial.
const fn blame(end: &End, direction: Direction, proven: bool) -> Option<ScoreReason> {
    if !proven {
        let dialled = matches!(direction, Direction::Outbound);
        return match end.why {
            EndReason::Fault(_) | EndReason::Timeout(_) | EndReason::Eof if dialled => Some(ScoreReason::Unreachable),
            EndReason::Io(IoFault::Exhausted) => None,
            EndReason::Io(_) if dialled => Some(ScoreReason::Unreachable),
            _ => None,
        };
    }
    match end.why {
        EndReason::Fault(fault) => Some(ScoreReason::Fault(fault)),
        EndReason::Status(refusal) => Some(ScoreReason::Status(refusal)),
        EndReason::Timeout(ConnTimer::Request) => Some(ScoreReason::RequestTimeout),
        // The last words were ours to flush.
        EndReason::Timeout(ConnTimer::Closing) => None,
        EndReason::Timeout(_) => Some(ScoreReason::Silent),
        // They may leave when they like, and networks fail.
        EndReason::Disconnect(_) | EndReason::Refused(_) | EndReason::Io(_) | EndReason::Eof => None,
    }
}
