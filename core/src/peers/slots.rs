//! Slots: decides which connection may be opened, and which peer gets a place.
//!
//! Owns the limits, the index over the connections, the addresses that were accepted recently and the place-time of subnets. A
//! claimed key has no effect until its holder has proven it (attack P6): [`Slots::admit`] gives a place after the peer's first
//! frame has verified. Local addresses are exempt from the throttle and the subnet limits. Which connection makes room for
//! another is decided by [`pending`] and [`eviction`].
//!
//! It does not know bans and scores: the caller passes them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::bounded::Recent;
use super::eviction::{self, Holder};
use super::index::{Counts, Index};
use super::pending;
use super::place_time::PlaceTimes;
use super::ranges::{Crowd, Group};
use super::view::{Origin, Place, View};
use crate::contract::{ConnId, Direction, PeerKind, PeerLimits, Refusal};
use crate::crypto::NodeId;
use crate::limits::{
    INBOUND_PER_16, INBOUND_PER_29, INBOUND_PER_48, INBOUND_PER_SUBNET_ROOMY, INBOUND_SOURCES_MAX, INBOUND_THROTTLE,
    PENDING_NAMED_MAX, PENDING_PER_SUBNET, SIMULTANEOUS_WINDOW,
};
use crate::netfilter::{Scope, scope};
use crate::time::Instant;

/// A stream that may be opened as a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct Accepted {
    /// How the new connection was opened.
    pub origin: Origin,
    /// The pending connection that it displaces, and the reason for which the caller ends that.
    pub displaced: Option<(ConnId, Refusal)>,
}

/// Whether a peer that has proven its key gets a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Admission {
    /// It gets a place. If it displaces another connection, the caller ends that for the given reason: `AlreadyConnected`
    /// for another connection of the same peer, `TooManyPeers` for another peer.
    Admitted {
        /// The place.
        place: Place,
        /// The connection that it displaces.
        displaced: Option<(ConnId, Refusal)>,
    },
    /// It gets none: the caller ends the connection for this reason.
    Refused(Refusal),
}

/// A peer that has proven its key and needs a place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claimant {
    /// Its id.
    pub id: NodeId,
    /// What the embedder has declared it to be, if anything.
    pub kind: Option<PeerKind>,
    /// Whether we are dialling it, or would: its place is then of the dialled share, so that the survivor of two simultaneous
    /// dials is not refused for want of room.
    pub is_wanted: bool,
    /// Whether it may take the place of another outbound peer over, if all are taken and the embedder has not declared it.
    pub may_take_over: bool,
}

/// The limits, the index over the connections, the recently accepted addresses and the place-time of subnets.
#[derive(Clone, Debug)]
pub struct Slots {
    config: PeerLimits,
    index: Index,
    accepted: Recent,
    place_times: PlaceTimes,
}

impl Slots {
    /// No connection yet.
    pub fn new(config: PeerLimits) -> Self {
        let accepted = Recent::new(INBOUND_THROTTLE, INBOUND_SOURCES_MAX);
        Self { config, index: Index::default(), accepted, place_times: PlaceTimes::default() }
    }

    /// The limits.
    pub const fn config(&self) -> &PeerLimits {
        &self.config
    }

    /// Changes the limits. Peers beyond the new ones stay until they end; new ones are admitted once there is room.
    pub const fn set_config(&mut self, config: PeerLimits) {
        self.config = config;
    }

    /// The index over the connections.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// See [`Index::update`].
    pub fn update(&mut self, before: Option<&View>, after: Option<&View>) {
        self.index.update(before, after);
    }

    fn counts(&self) -> Counts {
        self.index.counts()
    }

    /// Whether another dial may be pending.
    pub fn may_dial(&self) -> bool {
        self.counts().pending_outbound < self.config.max_pending
    }

    /// Whether the limit on the number of peers is reached.
    pub fn is_full(&self) -> bool {
        self.counts().limited() >= self.config.max_peers
    }

    /// The outbound places that a peer could get now.
    pub fn free_dialled(&self) -> usize {
        let counts = self.counts();
        let free = self.config.max_dialled().saturating_sub(counts.outbound);
        free.min(self.config.max_peers.saturating_sub(counts.limited()))
    }

    /// Decides about a stream that was accepted from a canonical address. It is not refused when all inbound places are taken:
    /// once it has proven its key, the peer may be trusted, be one that we are dialling too, or displace another. Nor is it
    /// refused when all pending places are taken: it displaces one that is pending. `is_named` says whether a static or trusted
    /// peer has that address: such connections have pending places of their own, and no throttle. `may_be_trusted` says whether
    /// there is any trusted peer.
    ///
    /// # Errors
    /// The reason to close the stream unread.
    pub fn accept(
        &mut self,
        now: Instant,
        addr: SocketAddr,
        is_named: bool,
        may_be_trusted: bool,
    ) -> Result<Accepted, Refusal> {
        if self.config.max_peers == 0 && !may_be_trusted {
            return Err(Refusal::TooManyPeers);
        }
        let max = if is_named { PENDING_NAMED_MAX } else { self.config.max_pending };
        // Those that end have no place, but memory until their final Disconnect is written.
        let all_max = self.config.max_pending.saturating_add(PENDING_NAMED_MAX).saturating_mul(2);
        let all_max = all_max.saturating_add(if is_named { all_max } else { 0 });
        if max == 0 || self.counts().pending_inbound >= all_max {
            return Err(Refusal::TooManyPending);
        }
        if !is_named {
            if self.accepted.until(now, addr.ip()).is_some() {
                return Err(Refusal::Throttled);
            }
            self.accepted.note(now, addr.ip());
        }
        // The new connection has no id yet; a local one is alone in its group in any case.
        let crowd = Crowd::of(ConnId(u64::MAX), addr.ip(), is_named);
        let crowd_max = if is_named { max } else { PENDING_PER_SUBNET };
        let displaced = pending::displaced(self.index.pending(is_named), crowd, crowd_max, max);
        Ok(Accepted { origin: Origin::Accepted { named: is_named }, displaced })
    }

    /// Decides whether a peer that has proven its key gets a place. `views` returns a connection, `score` a peer's score.
    ///
    /// Of two connections with one peer, both sides must keep the same one without asking each other, although each may
    /// see their messages in another order (attack P7). The rule:
    ///
    /// 1. If the same side dialled both, the older one stays: that side knows it, or will notice that it is dead.
    /// 2. If the older one has been in session for [`SIMULTANEOUS_WINDOW`], it stays: a connected peer is not dialled, and
    ///    no dial takes that long to prove its key, so the newcomer is not simultaneous.
    /// 3. Otherwise the one stays that the side with the lower id dialled, at any stage of the other. Only connections of
    ///    proven keys are compared, and this one is never ended for the other, so that a dial that can succeed does succeed,
    ///    and neither side needs to know which of the two the other saw first.
    pub fn admit(
        &self,
        now: Instant,
        newcomer: &View,
        local: &NodeId,
        claimant: Claimant,
        views: &impl Fn(ConnId) -> Option<View>,
        score: impl Fn(&NodeId) -> i32,
    ) -> Admission {
        let Claimant { id, kind, is_wanted, may_take_over } = claimant;
        if newcomer.place.is_some() || newcomer.is_ending {
            return Admission::Refused(Refusal::AlreadyConnected);
        }
        if id == *local {
            return Admission::Refused(Refusal::ToSelf);
        }
        let twin = self.index.of_id(&id).filter_map(views).find_map(|twin| Some((twin, twin.place?)));
        if let Some((twin, place)) = twin {
            let is_old = twin.is_established() && now.since(place.since) >= SIMULTANEOUS_WINDOW;
            let ours_wins = *local < id;
            let newcomer_is_ours = newcomer.direction() == Direction::Outbound;
            if newcomer.direction() == twin.direction() || is_old || ours_wins != newcomer_is_ours {
                return Admission::Refused(Refusal::AlreadyConnected);
            }
            let place = Place { since: now, ..place };
            return Admission::Admitted { place, displaced: Some((twin.conn, Refusal::AlreadyConnected)) };
        }

        let is_commanded = |view: View| view.origin == Origin::Dialled { commanded: true };
        let exempt = kind == Some(PeerKind::Trusted) || self.index.of_id(&id).filter_map(views).any(is_commanded);
        let fits_outbound = kind.is_some() || exempt || may_take_over || self.free_dialled() > 0;
        let share = if is_wanted && fits_outbound { Direction::Outbound } else { newcomer.direction() };
        let mut place = Place { kind, share, exempt, takes_over: false, since: now };
        let displaced = match self.check_room(newcomer, &place) {
            Ok(()) => None,
            Err(Refusal::TooManyPeers) if share == Direction::Inbound => {
                match self.displaceable(now, newcomer, id, views, score) {
                    Some(other) => Some((other, Refusal::TooManyPeers)),
                    None => return Admission::Refused(Refusal::TooManyPeers),
                }
            }
            Err(Refusal::TooManyPeers) if may_take_over && kind.is_none() => {
                (place.exempt, place.takes_over) = (true, true);
                None
            }
            Err(refusal) => return Admission::Refused(refusal),
        };
        Admission::Admitted { place, displaced }
    }

    fn check_room(&self, newcomer: &View, place: &Place) -> Result<(), Refusal> {
        if place.exempt {
            return Ok(());
        }
        if place.share == Direction::Inbound {
            if place.kind.is_none() && self.is_crowded(newcomer.addr.ip()) {
                return Err(Refusal::TooManyFromSubnet);
            }
            if self.counts().inbound >= self.config.max_inbound() {
                return Err(Refusal::TooManyPeers);
            }
        } else if place.kind.is_none() && self.counts().outbound >= self.config.max_dialled() {
            return Err(Refusal::TooManyPeers);
        }
        if self.is_full() { Err(Refusal::TooManyPeers) } else { Ok(()) }
    }

    /// Whether the inbound peers from around an address are as many as may be (attack P1). Local addresses have no limit.
    fn is_crowded(&self, ip: IpAddr) -> bool {
        let max = self.config.max_inbound();
        let is_tight = max.saturating_sub(self.counts().inbound).saturating_mul(4) < max;
        let per_subnet = self.config.inbound_per_subnet;
        let roomy = per_subnet.max(INBOUND_PER_SUBNET_ROOMY);
        let limits: &[(u32, usize)] = match ip {
            IpAddr::V4(_) if scope(ip) == Scope::Shared => &[(32, if is_tight { per_subnet } else { roomy })],
            IpAddr::V4(_) if is_tight => &[(24, per_subnet), (16, INBOUND_PER_16)],
            IpAddr::V4(_) => &[(24, roomy)],
            IpAddr::V6(_) => &[(56, per_subnet), (48, INBOUND_PER_48), (29, INBOUND_PER_29)],
        };
        !scope(ip).is_local() && limits.iter().any(|(bits, max)| self.index.has_ordinary_within(ip, *bits, *max))
    }

    /// The ordinary inbound peer that a newcomer displaces: see [`eviction`].
    fn displaceable(
        &self,
        now: Instant,
        newcomer: &View,
        id: NodeId,
        views: &impl Fn(ConnId) -> Option<View>,
        score: impl Fn(&NodeId) -> i32,
    ) -> Option<ConnId> {
        if score(&id) < 0 || self.config.max_inbound() == 0 {
            return None;
        }
        let present = || self.index.ordinary_inbound().filter_map(views);
        // Of each group, since when it has held its places.
        let mut since: BTreeMap<Group, Vec<Instant>> = BTreeMap::new();
        for view in present() {
            let Some((group, place)) = Group::of_view(&view).zip(view.place) else { continue };
            since.entry(group).or_default().push(place.since);
        }
        let place_time = |group: Group| {
            let held = since.get(&group).into_iter().flatten().copied();
            self.place_times.of(now, group, held)
        };
        let holder = |view: View| {
            let (group, place, id) = (Group::of_view(&view)?, view.place?, view.admitted_id()?);
            let View { conn, latency, answers, .. } = view;
            let (place_time, score) = (place_time(group), score(&id));
            Some(Holder { conn, since: place.since, place_time, latency, answers, score })
        };
        let holders: Vec<Holder> = present().filter_map(holder).collect();
        eviction::displaced(place_time(Group::of(newcomer.addr.ip(), id)), &holders)
    }

    /// A connection with a place has ended: its place-time is kept.
    pub fn ended(&mut self, now: Instant, before: &View) {
        if let Some((group, place)) = Group::of_view(before).zip(before.place)
            && place.share == Direction::Inbound
        {
            self.place_times.add(now, group, place.since);
        }
    }
}
