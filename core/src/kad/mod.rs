//! What discovery protocols share: the Kademlia table, the iterative lookup, the limits on sources and destinations.
//!
//! A protocol (a sibling of [`discv4`](crate::discv4)) owns its wire format, its endpoint proofs and its requests, and
//! composes these parts. Nothing here knows a protocol, sends anything or reads a clock: callers pass the time and the
//! generator, and act on what is returned.

pub mod limiter;
pub mod lookup;
pub mod table;

use crate::contract::DropReason;
use crate::wire::enode::Contact;
use crate::wire::forkid::ForkId;

/// What became of a datagram. The caller counts it.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// It was acted upon.
    Handled,
    /// It belongs to another protocol on the same port.
    Unrecognised,
    /// It belongs to this protocol and was not acted upon.
    Dropped(DropReason),
}

/// Whether nodes came into a protocol's table during a call, so that there may be nodes to dial. Exactly then the call
/// emitted `Event::NodeAdded`.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Growth {
    /// No node came in.
    #[default]
    None,
    /// A node came in: a new one, or a replacement for one that left.
    Grew,
}

/// A protocol's verdict on a datagram.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// What became of the datagram.
    pub received: Received,
    /// What it did to the table.
    pub growth: Growth,
}

/// A node that the dialler may try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Where it is. Its endpoint is proven and it claims a TCP port.
    pub contact: Contact,
    /// The fork id in its record, if the record is known.
    pub fork_id: Option<ForkId>,
}
