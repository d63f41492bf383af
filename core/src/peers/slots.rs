//! Slots: decides which connection may be opened, and which peer gets a place.
//!
//! Owns the limits, the index over the connections and the addresses that were accepted recently. A claimed key has no
//! effect until its holder has proven it (attack P6): [`Slots::admit`] gives a place after the peer's first frame has
//! verified. Local addresses are exempt from the throttle and the subnet limits.
//!
//! It does not know bans and scores: the caller passes them.

use core::cmp::Reverse;
use core::net::SocketAddr;

use super::bounded::Recent;
use super::index::{Counts, Index, global_subnet};
use super::view::{Origin, Place, View};
use crate::contract::{ConnId, Direction, PeerKind, PeerLimits, Refusal};
use crate::crypto::NodeId;
use crate::limits::{
    INBOUND_SENIORITY, INBOUND_SOURCES_MAX, INBOUND_THROTTLE, PENDING_PER_SUBNET, SIMULTANEOUS_WINDOW,
};
use crate::netfilter::{Subnet, scope};
use crate::time::Instant;

/// A peer at this score, or below, may be displaced by a newcomer with a score of at least 0.
pub const EVICTION_SCORE: i32 = -30;

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
}

/// The limits, the index over the connections and the recently accepted addresses.
#[derive(Clone, Debug)]
pub struct Slots {
    config: PeerLimits,
    index: Index,
    accepted: Recent,
}

impl Slots {
    /// No connection yet.
    pub fn new(config: PeerLimits) -> Self {
        Self { config, index: Index::default(), accepted: Recent::new(INBOUND_THROTTLE, INBOUND_SOURCES_MAX) }
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

    /// The number of further dials to candidates: twice the free places, as in geth, because half of the dials fail.
    pub fn dial_room(&self) -> usize {
        let counts = self.counts();
        let free = self.config.max_dialled().saturating_sub(counts.outbound);
        let free = free.min(self.config.max_peers.saturating_sub(counts.limited()));
        free.saturating_mul(2).min(self.config.max_pending).saturating_sub(counts.pending_outbound)
    }

    /// Decides about a stream that was accepted from a canonical address. It is not refused when all inbound places are taken:
    /// once it has proven its key, the peer may be trusted, be one that we are dialling too, or displace another.
    /// `may_be_trusted` says whether there is any trusted peer.
    ///
    /// # Errors
    /// The reason to close the stream unread.
    pub fn accept(&mut self, now: Instant, addr: SocketAddr, may_be_trusted: bool) -> Result<(), Refusal> {
        if self.config.max_peers == 0 && !may_be_trusted {
            return Err(Refusal::TooManyPeers);
        }
        if self.counts().pending_inbound >= self.config.max_pending {
            return Err(Refusal::TooManyPending);
        }
        if !scope(addr.ip()).is_local() {
            if self.accepted.until(now, addr.ip()).is_some() {
                return Err(Refusal::Throttled);
            }
            if self.index.has_pending_from(Subnet::of(addr.ip()), PENDING_PER_SUBNET) {
                return Err(Refusal::TooManyFromSubnet);
            }
        }
        self.accepted.note(now, addr.ip());
        Ok(())
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
        let Claimant { id, kind, is_wanted } = claimant;
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
        let share = if is_wanted { Direction::Outbound } else { newcomer.direction() };
        let place = Place { kind, share, exempt, since: now };
        let displaced = match self.check_room(newcomer, &place) {
            Ok(()) => None,
            Err(Refusal::TooManyPeers) if share == Direction::Inbound => {
                match self.displaceable(now, newcomer, &id, views, score) {
                    Some(other) => Some((other, Refusal::TooManyPeers)),
                    None => return Admission::Refused(Refusal::TooManyPeers),
                }
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
            let is_crowded = |subnet| self.index.has_ordinary_from(subnet, self.config.inbound_per_subnet);
            if place.kind.is_none() && global_subnet(newcomer).is_some_and(is_crowded) {
                return Err(Refusal::TooManyFromSubnet);
            }
            if self.counts().inbound >= self.config.max_inbound() {
                return Err(Refusal::TooManyPeers);
            }
        }
        if self.is_full() { Err(Refusal::TooManyPeers) } else { Ok(()) }
    }

    /// The ordinary inbound peer that a newcomer displaces (attacks P1, E7): one of several from a subnet, if the newcomer
    /// is the first from its own; one at [`EVICTION_SCORE`] or below; one of the old ones, while they hold more than three
    /// quarters. Within each group, that of the lowest score, of equal ones the youngest: a crowd of newcomers cannot
    /// displace an early peer that behaves well.
    fn displaceable(
        &self,
        now: Instant,
        newcomer: &View,
        id: &NodeId,
        views: &impl Fn(ConnId) -> Option<View>,
        score: impl Fn(&NodeId) -> i32,
    ) -> Option<ConnId> {
        if score(id) < 0 || self.config.max_inbound() == 0 {
            return None;
        }
        let old_max = self.config.max_inbound() - self.config.max_inbound().div_ceil(4);
        let newcomer_subnet = global_subnet(newcomer);
        let is_first_of_its_subnet = newcomer_subnet.is_some_and(|subnet| !self.index.has_ordinary_from(subnet, 1));
        let mut old_count = 0;
        // The worst of each group so far: crowded, bad, old.
        let mut worst = [None; 3];
        for view in self.index.ordinary_inbound().filter_map(views) {
            let Some((id, place)) = view.admitted_id().zip(view.place) else { continue };
            let score = score(&id);
            let is_old = now.since(place.since) >= INBOUND_SENIORITY;
            old_count += usize::from(is_old);
            let is_crowded = |subnet| self.index.has_ordinary_from(subnet, 2);
            let is_in = [
                is_first_of_its_subnet && global_subnet(&view).is_some_and(is_crowded),
                score <= EVICTION_SCORE,
                is_old,
            ];
            let rank = (score, Reverse(place.since), view.conn);
            for (worst, _) in worst.iter_mut().zip(is_in).filter(|(_, is_in)| *is_in) {
                if worst.is_none_or(|worst| rank < worst) {
                    *worst = Some(rank);
                }
            }
        }
        let [crowded, bad, old] = worst;
        let old = old.filter(|_| old_count > old_max);
        crowded.or(bad).or(old).map(|(.., conn)| conn)
    }
}
