//! One connection as decisions about peers see it: a [`View`], which the connection's owner makes on demand.
//!
//! The connection itself lives in the node's table. A view is a plain value, so a test can build any situation.

use core::net::SocketAddr;

use crate::contract::{ConnId, Direction, PeerKind, Stage};
use crate::crypto::NodeId;
use crate::time::{Duration, Instant};

/// How a connection was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Origin {
    /// The peer dialled us.
    Accepted {
        /// Whether from the address of a static or trusted peer.
        named: bool,
    },
    /// We dialled the peer.
    Dialled {
        /// Whether by a command of the embedder: the peer is then exempt from the limits on the number of peers.
        commanded: bool,
    },
}

impl Origin {
    /// Which side dialled.
    pub const fn direction(self) -> Direction {
        match self {
            Self::Accepted { .. } => Direction::Inbound,
            Self::Dialled { .. } => Direction::Outbound,
        }
    }
}

/// A place among our peers, held by a connection whose peer has proven its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// What the embedder has declared the peer to be, if anything.
    pub kind: Option<PeerKind>,
    /// The share that the place is of; outbound also for an inbound peer that we were dialling too.
    pub share: Direction,
    /// Whether it counts for neither share: trusted, dialled on command, or about to take another peer's place over.
    pub exempt: bool,
    /// Whether it is to take the place of another outbound peer once it is in session.
    pub takes_over: bool,
    /// When the connection reached its present stage: admitted, or in session.
    pub since: Instant,
}

impl Place {
    /// Applies a declaration of the embedder to a place that the peer holds. A peer that was trusted stays exempt until its
    /// connection ends.
    pub fn promote(&mut self, kind: PeerKind) {
        self.kind = self.kind.max(Some(kind));
        self.exempt |= kind == PeerKind::Trusted;
        self.takes_over &= kind != PeerKind::Trusted;
    }

    /// Whether it is an inbound peer that the embedder has not declared: the only ones that can be displaced.
    pub const fn is_ordinary_inbound(&self) -> bool {
        matches!(self.share, Direction::Inbound) && !self.exempt && self.kind.is_none()
    }
}

/// What decisions need to know of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct View {
    /// The connection's id.
    pub conn: ConnId,
    /// The other end.
    pub addr: SocketAddr,
    /// How it was opened.
    pub origin: Origin,
    /// The peer's id: the one that was dialled, or that its Hello has proven.
    pub id: Option<NodeId>,
    /// The stage that it has reached.
    pub stage: Stage,
    /// Its place, while it has one.
    pub place: Option<Place>,
    /// Whether its end is decided. It then has no place.
    pub is_ending: bool,
    /// The shortest time in which the peer has answered a ping, if it has answered one.
    pub latency: Option<Duration>,
    /// The number of requests that it has answered with something.
    pub answers: u32,
}

impl View {
    /// A connection that has just been opened, with the id that was dialled, if it was.
    pub const fn new(conn: ConnId, addr: SocketAddr, origin: Origin, id: Option<NodeId>) -> Self {
        let stage = Stage::Handshake;
        Self { conn, addr, origin, id, stage, place: None, is_ending: false, latency: None, answers: 0 }
    }

    /// Which side dialled.
    pub const fn direction(&self) -> Direction {
        self.origin.direction()
    }

    /// The id of a peer that has proven its key and holds a place.
    pub fn admitted_id(&self) -> Option<NodeId> {
        self.place.and(self.id)
    }

    /// The id of the peer that holds the place, or that was dialled. `None` once the end is decided.
    pub fn target_id(&self) -> Option<NodeId> {
        let is_known = self.place.is_some() || self.direction() == Direction::Outbound;
        self.id.filter(|_| is_known && !self.is_ending)
    }

    /// Whether it was accepted from the address of a static or trusted peer.
    pub const fn is_named(&self) -> bool {
        matches!(self.origin, Origin::Accepted { named: true })
    }

    /// Whether the peer is in session.
    pub fn is_established(&self) -> bool {
        self.place.is_some() && self.stage == Stage::Established
    }
}
