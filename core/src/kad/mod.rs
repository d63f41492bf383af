//! What discovery protocols share: the Kademlia table, the iterative lookup, its schedule, the limits on sources and
//! destinations, the votes on our own address.
//!
//! A protocol (a sibling of [`discv4`](crate::discv4)) owns its wire format, its endpoint proofs and its requests, and
//! composes these parts. They know no protocol, send nothing and read no clock: callers pass the time and the generator, and
//! act on the results.

pub mod budgets;
mod destinations;
pub mod limiter;
pub mod lookup;
pub mod schedule;
pub mod table;
#[cfg(test)]
pub(crate) mod testing;
pub mod votes;

use core::net::SocketAddr;

use crate::contract::DropReason;
use crate::wire::enode::Contact;
use crate::wire::forkid::ForkId;

/// The result of a datagram. The caller counts it.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// It was handled.
    Handled,
    /// It belongs to another protocol on the same port.
    Unrecognised,
    /// It belongs to this protocol and was dropped.
    Dropped(DropReason),
}

/// Whether there may be nodes to dial after a call: nodes have entered a protocol's table, of which it has emitted
/// `Event::NodeAdded`, or a node list has named one.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Growth {
    /// No node entered.
    #[default]
    None,
    /// A node entered: a new one, or a replacement for one that left.
    Grew,
}

impl Growth {
    /// Whether nodes entered in either of two calls.
    pub const fn or(self, other: Self) -> Self {
        match self {
            Self::Grew => self,
            Self::None => other,
        }
    }
}

/// What another node says about our endpoint, in its answer to a ping of ours.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Statement {
    /// The node's endpoint.
    pub from: SocketAddr,
    /// The endpoint from which it received our ping.
    pub seen_as: SocketAddr,
}

/// A protocol's verdict on a datagram.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// The result of the datagram.
    pub received: Received,
    /// Its effect on the table.
    pub growth: Growth,
    /// What it says about our endpoint: a vote on our address, see [`votes`].
    pub statement: Option<Statement>,
}

impl Verdict {
    /// The datagram belongs to another protocol.
    pub const UNRECOGNISED: Self = Self { received: Received::Unrecognised, growth: Growth::None, statement: None };
}

/// A node that the dialler may try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its contact, with a TCP port. The endpoint is proven, unless a node list names it.
    pub contact: Contact,
    /// The fork id in its record, if the record is known.
    pub fork_id: Option<ForkId>,
}
