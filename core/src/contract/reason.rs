//! The reasons of deadlines, dropped datagrams and score changes.

use core::fmt;

use super::fault::{Fault, StatusRefusal};
use super::ids::{ConnId, Label};
use crate::wire::DecodeError;

/// The reason of a deadline.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Reason {
    /// A timer of discovery.
    Discovery(DiscoveryTimer),
    /// The next dial.
    Dial,
    /// A timer of a connection.
    Conn(ConnId, ConnTimer),
    /// A timer or a wish of a machine across connections.
    Behaviour,
    /// A bootnode's host name.
    Name,
    /// The rest of a turn's work: of a shutdown, or of a change of the filter or of bans.
    Backlog,
}

/// A timer of discovery: what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum DiscoveryTimer {
    /// A call's answer.
    Call,
    /// A table entry's liveness check.
    Revalidate,
    /// A lookup's next step.
    Lookup,
    /// The table's refresh.
    Refresh,
    /// The next query for a node list, or the end of the wait for an answer.
    List,
}

/// A timer of a connection: what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ConnTimer {
    /// The dialled stream.
    Connect,
    /// The end of the transport's handshake.
    Handshake,
    /// The peer's Hello.
    Hello,
    /// The peer's Status.
    Status,
    /// The next ping of ours.
    Ping,
    /// Any byte of the peer.
    Idle,
    /// The rest of a frame.
    Frame,
    /// The socket to take queued bytes.
    Write,
    /// A request's answer.
    Request,
    /// Our final Disconnect to be written, and the peer's to come.
    Closing,
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum DropReason {
    /// It is malformed.
    Malformed(DecodeError),
    /// It has expired, or expires too far in the future.
    Expired,
    /// Its source, its subnet or all sources together exceed a rate.
    RateLimited,
    /// An answer without a request, or one that does not match its request.
    Unsolicited,
    /// A request of a node that has not proven its endpoint.
    NoEndpointProof,
    /// Seen before.
    Replayed,
    /// It claims to be from ourselves.
    FromSelf,
    /// The filter forbids its address.
    Filtered,
    /// An outgoing datagram while the outbox is full.
    OutboxFull,
    /// The node is shutting down.
    ShuttingDown,
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed(error) => return write!(f, "malformed: {error}"),
            Self::Expired => "expired",
            Self::RateLimited => "rate limited",
            Self::Unsolicited => "unsolicited",
            Self::NoEndpointProof => "no endpoint proof",
            Self::Replayed => "replayed",
            Self::FromSelf => "from ourselves",
            Self::Filtered => "filtered address",
            Self::OutboxFull => "outbox full",
            Self::ShuttingDown => "shutting down",
        })
    }
}

/// Why a peer's score changed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum ScoreReason {
    /// It broke the protocol.
    Fault(Fault),
    /// Its Status cannot be accepted.
    Status(StatusRefusal),
    /// It left a request unanswered, although it had the request for longer than [`REQUEST_TIMEOUT`] by its own later messages.
    ///
    /// [`REQUEST_TIMEOUT`]: crate::limits::REQUEST_TIMEOUT
    Unanswered,
    /// It answered a request with something.
    Served,
    /// The embedder reported it, for this reason.
    Reported(Label),
    /// The embedder banned it.
    Embedder,
}

impl fmt::Display for ScoreReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Fault(fault) => return write!(f, "{fault}"),
            Self::Status(refusal) => return write!(f, "{refusal}"),
            Self::Unanswered => "left a request unanswered",
            Self::Served => "served a request",
            Self::Reported(label) => return write!(f, "reported: {label}"),
            Self::Embedder => "banned by the embedder",
        })
    }
}
