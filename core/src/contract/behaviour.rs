//! Machines across connections: the events that a [`Behaviour`] sees, and the wishes that it states.
//!
//! A behaviour sees the events of all sessions and states wishes: to send, to request, to charge. It has no access to
//! connections. The node carries out one wish at a time and polls again, a bounded number in a turn; the rest is due a
//! microsecond later. An announcement to all peers, gossip and synchronisation are behaviours.

use core::fmt::Debug;

use super::event::{CallFailure, Event};
use super::ids::{CommandId, ConnId};
use super::input::CommandError;
use super::reason::ScoreReason;
use crate::crypto::NodeId;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::forkid::Head;
use crate::wire::p2p::{Capability, Shared};

/// A machine across connections.
pub trait Behaviour: Debug + Send + Sync {
    /// Handles one event.
    fn handle(&mut self, now: Instant, rng: &mut Rng, event: PeerEvent<'_>);

    /// Returns the next wish, which the node then carries out. Polled after events and timeouts until it returns `None`.
    fn poll_wish(&mut self) -> Option<Wish<'_>>;

    /// When [`Behaviour::handle_timeout`] is due.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// Handles a deadline that has passed. Afterwards the next one is later than `now`.
    fn handle_timeout(&mut self, now: Instant, rng: &mut Rng) {
        let _ = (now, rng);
    }
}

/// An event for a behaviour. Byte slices are lent for the call. The application sees messages, requests, responses and ends
/// too.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum PeerEvent<'a> {
    /// The chain has a new head.
    Head {
        /// The head block.
        head: Head,
        /// The first block that can be served; never beyond the head.
        earliest: u64,
    },
    /// A session is established: all its protocols may send.
    Established {
        /// The connection.
        conn: ConnId,
        /// The peer.
        id: NodeId,
        /// The capabilities that both sides have.
        shared: &'a [Shared],
    },
    /// A message that is neither request nor response.
    Message {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
        /// Uncompressed payload.
        payload: &'a [u8],
    },
    /// A request of the peer.
    Request {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The peer's request id.
        request_id: u64,
        /// The request's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
    },
    /// The answer to a request of ours, whether the application's or a behaviour's.
    Response {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The request's id.
        command: CommandId,
        /// The response's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
        /// The time from the request to its response.
        rtt: Duration,
    },
    /// A request of ours was not answered.
    RequestFailed {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The request's id.
        command: CommandId,
        /// The reason.
        why: CallFailure,
    },
    /// A connection takes messages again after one was refused as busy.
    ConnReady {
        /// The connection.
        conn: ConnId,
    },
    /// A connection has ended.
    Ended {
        /// The connection.
        conn: ConnId,
    },
    /// The behaviour's own last [`Wish::Request`] was sent.
    Requested {
        /// The connection.
        conn: ConnId,
        /// The id in the event of its answer.
        command: CommandId,
    },
    /// The behaviour's own last [`Wish::Send`] or [`Wish::Request`] was not carried out.
    Refused {
        /// The connection.
        conn: ConnId,
        /// The reason.
        why: CommandError,
    },
}

impl<'a> PeerEvent<'a> {
    /// An event of the node with the bytes that it lends, if it is about a session.
    pub fn of(event: &Event<'_>, lent: &'a [u8]) -> Option<Self> {
        Some(match *event {
            Event::Message { conn, capability, id, .. } => Self::Message { conn, capability, id, payload: lent },
            Event::Request { conn, capability, request_id, id, .. } => {
                Self::Request { conn, capability, request_id, id, body: lent }
            }
            Event::Response { conn, capability, command, id, rtt, .. } => {
                Self::Response { conn, capability, command, id, body: lent, rtt }
            }
            Event::RequestFailed { conn, capability, command, why } => {
                Self::RequestFailed { conn, capability, command, why }
            }
            Event::ConnReady { conn } => Self::ConnReady { conn },
            Event::Ended { conn, .. } => Self::Ended { conn },
            _ => return None,
        })
    }
}

/// A wish of a behaviour. Byte slices are lent until it is polled again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Wish<'a> {
    /// Send a message on one connection.
    Send {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
        /// Uncompressed payload.
        payload: &'a [u8],
    },
    /// Send a message to every established session that shares `since` or a later version of the same protocol. A session
    /// that is busy misses it.
    Broadcast {
        /// The protocol, and its first version that has the message.
        since: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
        /// Uncompressed payload.
        payload: &'a [u8],
    },
    /// Send a request; [`PeerEvent::Requested`] names it.
    Request {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The request's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
    },
    /// Enter a reason in the ledger of a connection's peer.
    Charge {
        /// The connection.
        conn: ConnId,
        /// The reason.
        reason: ScoreReason,
    },
}
