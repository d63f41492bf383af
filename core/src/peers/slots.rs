//! Slots: one entry for each connection from its dial or accept to its end, and the questions of admission.
//!
//! Every count is derived from the entries, so none can drift or underflow (attacks C9, P2). A key counts for nothing
//! until its holder has proven it (P6): a place is given in [`Slots::admit_identity`], after the peer's first frame has
//! verified, and never for an id that was only claimed. Local addresses know no throttle and no subnet.
//!
//! It holds no opinion of peers: bans and scores are asked for by its parent.

use alloc::collections::BTreeMap;
use core::cmp::Reverse;
use core::net::SocketAddr;

use super::bounded::Recent;
use crate::contract::{ConnId, Direction, PeerKind, Refusal};
use crate::crypto::NodeId;
use crate::limits::{
    DIAL_RATIO, INBOUND_PER_SUBNET, INBOUND_SENIORITY, INBOUND_SOURCES_MAX, INBOUND_THROTTLE, PEERS_MAX, PENDING_MAX,
    PENDING_PER_SUBNET, SIMULTANEOUS_WINDOW,
};
use crate::netfilter::{Subnet, canonical, scope};
use crate::time::Instant;

/// A peer may be put out for a newcomer of better standing at this score, or below.
pub const EVICTION_SCORE: i32 = -30;

/// How many peers to have, and of which kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PeersConfig {
    /// Peers in session, those whom the embedder trusts aside; with 0, nobody else is let in.
    pub max_peers: usize,
    /// One in so many is dialled by us; at least one, if there are any. 0 dials nobody but static and trusted peers.
    pub dial_ratio: usize,
    /// Connections in each direction whose peer has not proven its key yet.
    pub max_pending: usize,
    /// Inbound peers from one subnet of global addresses.
    pub inbound_per_subnet: usize,
}

impl Default for PeersConfig {
    fn default() -> Self {
        Self {
            max_peers: PEERS_MAX,
            dial_ratio: DIAL_RATIO,
            max_pending: PENDING_MAX,
            inbound_per_subnet: INBOUND_PER_SUBNET,
        }
    }
}

impl PeersConfig {
    /// How many peers we look for by ourselves.
    pub fn max_dialled(&self) -> usize {
        match self.max_peers.checked_div(self.dial_ratio) {
            None => 0,
            Some(dialled) => dialled.max(1).min(self.max_peers),
        }
    }

    /// How many peers may come by themselves.
    pub fn max_inbound(&self) -> usize {
        self.max_peers - self.max_dialled()
    }
}

/// Where a connection came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// They dialled us.
    Accepted,
    /// We dialled this id; on command, it may pass the limits of slots.
    Dialled {
        /// Whom we meant to reach.
        id: NodeId,
        /// Whether the embedder told us to.
        commanded: bool,
    },
}

/// A place among our peers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Who holds it, proven.
    pub id: NodeId,
    /// What the embedder thought of it when it was let in, or since.
    pub kind: PeerKind,
    /// Whose share it is taken from: an inbound peer whom we were dialling holds one of ours.
    pub share: Direction,
    /// Whether it is exempt from the limits of slots: trusted, or dialled on command.
    pub exempt: bool,
    /// Since when.
    pub since: Instant,
}

/// How far a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Its key is not proven yet, or was refused.
    Pending,
    /// It has a place, and waits for Status.
    Admitted(Place),
    /// In session.
    Established(Place),
    /// Its place was given to another connection; its end is outstanding.
    Leaving(NodeId),
    /// It has ended, and its driver has not been told yet: it counts as pending, so that a driver that does not take the
    /// ends of its connections gets no more of them.
    Over,
}

/// One connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    /// Its name.
    pub conn: ConnId,
    /// Where it came from.
    pub origin: Origin,
    /// The other end.
    pub addr: SocketAddr,
    /// Since when there is an entry.
    pub since: Instant,
    /// How far it is.
    pub phase: Phase,
}

impl Slot {
    /// Who dialled.
    pub const fn direction(&self) -> Direction {
        match self.origin {
            Origin::Accepted => Direction::Inbound,
            Origin::Dialled { .. } => Direction::Outbound,
        }
    }

    /// Its place, if it has one.
    pub const fn place(&self) -> Option<&Place> {
        match &self.phase {
            Phase::Admitted(place) | Phase::Established(place) => Some(place),
            Phase::Pending | Phase::Leaving(_) | Phase::Over => None,
        }
    }

    /// Whose key it has proven.
    pub const fn proven(&self) -> Option<NodeId> {
        match self.phase {
            Phase::Admitted(place) | Phase::Established(place) => Some(place.id),
            Phase::Leaving(id) => Some(id),
            Phase::Pending | Phase::Over => None,
        }
    }

    /// Whose key it has proven, or whom we meant to reach; nobody once it is over.
    pub const fn id(&self) -> Option<NodeId> {
        if matches!(self.phase, Phase::Over) {
            return None;
        }
        match (self.proven(), self.origin) {
            (Some(id), _) | (None, Origin::Dialled { id, .. }) => Some(id),
            (None, Origin::Accepted) => None,
        }
    }
}

/// Whether a peer that has proven its key gets a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    /// It does.
    Welcome,
    /// It does, in place of this connection of the same peer: end that with `AlreadyConnected`.
    Replaces(ConnId),
    /// It does, in place of this other peer: end that with `TooManyPeers`.
    Evicts(ConnId),
    /// It does not.
    Refused(Refusal),
}

/// Who has proven its key and asks for a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// Whose key it holds.
    pub id: NodeId,
    /// What the embedder thinks of it.
    pub kind: PeerKind,
    /// Whether we are dialling it, or would: its place is then taken from our own share, so that of two simultaneous dials
    /// the surviving one is not refused for want of room.
    pub wanted: bool,
}

/// How many connections there are of each kind.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Accepted, without a place.
    pub pending_inbound: usize,
    /// Dialled, without a place.
    pub pending_outbound: usize,
    /// With a place of the inbound share.
    pub inbound: usize,
    /// With a place of the dialled share.
    pub outbound: usize,
    /// With a place exempt from the limits, in neither share.
    pub exempt: usize,
    /// In session, of any share.
    pub established: usize,
}

/// Every connection there is.
#[derive(Clone, Debug)]
pub struct Slots {
    config: PeersConfig,
    entries: BTreeMap<ConnId, Slot>,
    accepted: Recent,
}

impl Slots {
    /// No connection yet.
    pub fn new(config: PeersConfig) -> Self {
        Self { config, entries: BTreeMap::new(), accepted: Recent::new(INBOUND_THROTTLE, INBOUND_SOURCES_MAX) }
    }

    /// The limits.
    pub const fn config(&self) -> &PeersConfig {
        &self.config
    }

    /// A connection's entry.
    pub fn get(&self, conn: ConnId) -> Option<&Slot> {
        self.entries.get(&conn)
    }

    /// All entries, by connection.
    pub fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.entries.values()
    }

    /// Counts them.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for slot in self.iter() {
            *match (slot.place(), slot.direction()) {
                (None, Direction::Inbound) => &mut counts.pending_inbound,
                (None, Direction::Outbound) => &mut counts.pending_outbound,
                (Some(place), _) if place.exempt => &mut counts.exempt,
                (Some(place), _) if place.share == Direction::Inbound => &mut counts.inbound,
                (Some(_), _) => &mut counts.outbound,
            } += 1;
            counts.established += usize::from(matches!(slot.phase, Phase::Established(_)));
        }
        counts
    }

    /// Whether there is any connection with that peer, or to it in the making.
    pub fn knows(&self, id: &NodeId) -> bool {
        self.iter().any(|slot| slot.id() == Some(*id))
    }

    /// How many more dials of our own choice make sense: twice the free places, as geth, for half of them fail.
    pub fn dial_room(&self) -> usize {
        let counts = self.counts();
        let free = self.config.max_dialled().saturating_sub(counts.outbound);
        let free = free.min(self.config.max_peers.saturating_sub(counts.inbound + counts.outbound));
        free.saturating_mul(2).min(self.config.max_pending).saturating_sub(counts.pending_outbound)
    }

    /// A stream was accepted. Inbound places may all be taken: behind it may be a peer that is trusted, that we are dialling
    /// too, or for whom another one goes, and that shows only when it has proven its key.
    ///
    /// # Errors
    /// What speaks against reading from it at all; `trusted` tells that a trusted peer might be behind it.
    pub fn accept(&mut self, now: Instant, conn: ConnId, addr: SocketAddr, trusted: bool) -> Result<(), Refusal> {
        let addr = canonical(addr);
        if self.config.max_peers == 0 && !trusted {
            return Err(Refusal::TooManyPeers);
        }
        if self.counts().pending_inbound >= self.config.max_pending {
            return Err(Refusal::TooManyPending);
        }
        if !scope(addr.ip()).is_local() {
            if self.accepted.until(now, addr.ip()).is_some() {
                return Err(Refusal::Throttled);
            }
            let siblings = self.iter().filter(|slot| slot.place().is_none() && slot.origin == Origin::Accepted);
            if siblings.filter(|slot| same_subnet(slot.addr, addr)).count() >= PENDING_PER_SUBNET {
                return Err(Refusal::TooManyFromSubnet);
            }
        }
        self.accepted.note(now, addr.ip());
        self.open(now, conn, Origin::Accepted, addr);
        Ok(())
    }

    /// A stream is to be dialled.
    ///
    /// # Errors
    /// `TooManyPending`, or `AlreadyConnected` if there is a connection with that peer or one in the making.
    pub fn dial(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: NodeId,
        addr: SocketAddr,
        commanded: bool,
    ) -> Result<(), Refusal> {
        if self.knows(&id) {
            return Err(Refusal::AlreadyConnected);
        }
        if self.counts().pending_outbound >= self.config.max_pending {
            return Err(Refusal::TooManyPending);
        }
        self.open(now, conn, Origin::Dialled { id, commanded }, canonical(addr));
        Ok(())
    }

    fn open(&mut self, now: Instant, conn: ConnId, origin: Origin, addr: SocketAddr) {
        self.entries.insert(conn, Slot { conn, origin, addr, since: now, phase: Phase::Pending });
    }

    /// A peer has proven its key: does it get a place? `score` tells what it, and those it may displace, are thought of.
    ///
    /// Of two connections with one peer, both sides must keep the same one without asking each other, although each may
    /// see their messages in another order (attack P7). The rule:
    ///
    /// 1. If the same side dialled both, the older one stays: it knows of it, or will notice that it is dead.
    /// 2. If the older one has been in session for [`SIMULTANEOUS_WINDOW`], it stays: nobody dials a peer that it is
    ///    connected with, and no dial takes that long to prove its key, so the newcomer is not simultaneous.
    /// 3. Otherwise the one stays that was dialled by the side with the lower id, however far the other has come. As only
    ///    connections of proven keys are compared, and this one is never given up for the other, a dial that can succeed
    ///    does; and neither side needs to know which of the two the other saw first.
    pub fn admit_identity(
        &mut self,
        now: Instant,
        conn: ConnId,
        local: &NodeId,
        Claimant { id, kind, wanted }: Claimant,
        score: impl Fn(&NodeId) -> i32,
    ) -> Admission {
        let Some(slot) = self.entries.get(&conn).copied().filter(|slot| slot.phase == Phase::Pending) else {
            return Admission::Refused(Refusal::AlreadyConnected);
        };
        if id == *local {
            return Admission::Refused(Refusal::ToSelf);
        }
        let twin = self.places().find(|(_, place)| place.id == id).map(|(slot, place)| (*slot, *place));
        if let Some((twin, place)) = twin {
            let settled = matches!(twin.phase, Phase::Established(_)) && now.since(place.since) >= SIMULTANEOUS_WINDOW;
            let ours_wins = *local < id;
            let newcomer_is_ours = slot.direction() == Direction::Outbound;
            if slot.direction() == twin.direction() || settled || ours_wins != newcomer_is_ours {
                return Admission::Refused(Refusal::AlreadyConnected);
            }
            self.set(twin.conn, Phase::Leaving(id));
            self.set(conn, Phase::Admitted(Place { since: now, ..place }));
            return Admission::Replaces(twin.conn);
        }

        let commanded =
            |slot: &Slot| matches!(slot.origin, Origin::Dialled { id: dialled, commanded: true } if dialled == id);
        let exempt = kind == PeerKind::Trusted || self.iter().any(commanded);
        let share = if wanted { Direction::Outbound } else { slot.direction() };
        let place = Place { id, kind, share, exempt, since: now };
        if !exempt && let Err(refusal) = self.room_for(&slot, &place) {
            let evicted = match refusal {
                Refusal::TooManyPeers if share == Direction::Inbound => self.evictable(now, &slot, &place, score),
                _ => None,
            };
            let Some((out, id)) = evicted else { return Admission::Refused(refusal) };
            self.set(out, Phase::Leaving(id));
            self.set(conn, Phase::Admitted(place));
            return Admission::Evicts(out);
        }
        self.set(conn, Phase::Admitted(place));
        Admission::Welcome
    }

    /// The peer's Status was accepted. Nothing happens to a connection without a place.
    pub fn establish(&mut self, now: Instant, conn: ConnId) {
        if let Some(Slot { phase: Phase::Admitted(place), .. }) = self.get(conn).copied() {
            self.set(conn, Phase::Established(Place { since: now, ..place }));
        }
    }

    /// The embedder thinks more of a peer now. Who was trusted stays exempt until its connection ends: the place was given.
    pub fn promote(&mut self, id: &NodeId, kind: PeerKind) {
        for slot in self.entries.values_mut() {
            if let Phase::Admitted(place) | Phase::Established(place) = &mut slot.phase
                && place.id == *id
            {
                place.kind = place.kind.max(kind);
                place.exempt |= kind == PeerKind::Trusted;
            }
        }
    }

    /// The connection has ended: its place is free. Returns what it was, once.
    pub fn close(&mut self, conn: ConnId) -> Option<Slot> {
        let slot = self.get(conn).copied().filter(|slot| slot.phase != Phase::Over)?;
        self.set(conn, Phase::Over);
        Some(slot)
    }

    /// Its driver knows that the connection has ended: its slot is free.
    pub fn release(&mut self, conn: ConnId) {
        if self.get(conn).is_some_and(|slot| slot.phase == Phase::Over) {
            self.entries.remove(&conn);
        }
    }

    fn set(&mut self, conn: ConnId, phase: Phase) {
        if let Some(slot) = self.entries.get_mut(&conn) {
            slot.phase = phase;
        }
    }

    fn places(&self) -> impl Iterator<Item = (&Slot, &Place)> {
        self.iter().filter_map(|slot| Some((slot, slot.place()?)))
    }

    /// Ordinary peers that came by themselves.
    fn guests(&self) -> impl Iterator<Item = (&Slot, &Place)> {
        let guest =
            |place: &Place| place.share == Direction::Inbound && !place.exempt && place.kind == PeerKind::Ordinary;
        self.places().filter(move |(_, place)| guest(place))
    }

    fn guests_near(&self, addr: SocketAddr) -> usize {
        self.guests().filter(|(slot, _)| same_subnet(slot.addr, addr)).count()
    }

    fn room_for(&self, slot: &Slot, place: &Place) -> Result<(), Refusal> {
        let counts = self.counts();
        if place.share == Direction::Inbound {
            if place.kind == PeerKind::Ordinary && self.guests_near(slot.addr) >= self.config.inbound_per_subnet {
                return Err(Refusal::TooManyFromSubnet);
            }
            if counts.inbound >= self.config.max_inbound() {
                return Err(Refusal::TooManyPeers);
            }
        }
        if counts.inbound + counts.outbound >= self.config.max_peers { Err(Refusal::TooManyPeers) } else { Ok(()) }
    }

    /// Whom a newcomer may displace among those who came by themselves (attacks P1, E7): one of several from a subnet, if it
    /// is the first from its own; one that behaves badly; one of the old ones, while they hold more than three quarters.
    /// Within each group the worst score goes, then the youngest: to be in early and behave cannot be undone by a crowd.
    fn evictable(
        &self,
        now: Instant,
        newcomer: &Slot,
        place: &Place,
        score: impl Fn(&NodeId) -> i32,
    ) -> Option<(ConnId, NodeId)> {
        if score(&place.id) < 0 || self.config.max_inbound() == 0 {
            return None;
        }
        let old = |place: &Place| now.since(place.since) >= INBOUND_SENIORITY;
        let old_max = self.config.max_inbound() - self.config.max_inbound().div_ceil(4);
        let first_of_its_own = self.guests_near(newcomer.addr) == 0 && !scope(newcomer.addr.ip()).is_local();
        let too_many_old = self.guests().filter(|(_, place)| old(place)).count() > old_max;

        let crowded = |slot: &Slot, _: &Place| first_of_its_own && self.guests_near(slot.addr) > 1;
        let bad = |_: &Slot, place: &Place| score(&place.id) <= EVICTION_SCORE;
        let senior = |_: &Slot, place: &Place| too_many_old && old(place);
        let worst = |group: &dyn Fn(&Slot, &Place) -> bool| {
            let group = self.guests().filter(|(slot, place)| group(slot, place));
            let (slot, place) =
                group.min_by_key(|(slot, place)| (score(&place.id), Reverse(place.since), slot.conn))?;
            Some((slot.conn, place.id))
        };
        worst(&crowded).or_else(|| worst(&bad)).or_else(|| worst(&senior))
    }
}

/// Whether two global addresses are of one subnet; local ones are of none.
fn same_subnet(a: SocketAddr, b: SocketAddr) -> bool {
    !scope(a.ip()).is_local() && Subnet::of(a.ip()) == Subnet::of(b.ip())
}
