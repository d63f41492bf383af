//! How a connection ended: by which side, at which stage, and why.

use core::fmt;

use super::fault::{Fault, IoFault, Refusal, StatusRefusal};
use super::reason::ConnTimer;
use crate::wire::p2p::DisconnectReason;

/// The stage that a connection has reached.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// The stream is being dialled.
    Dial,
    /// The transport's handshake.
    Handshake,
    /// The exchange of Hellos, up to the decision whether the peer gets a place.
    Hello,
    /// The peer has a place, and a protocol's handshake is not done: eth's exchange of Statuses.
    Status,
    /// All protocols may send.
    Established,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dial",
            Self::Handshake => "handshake",
            Self::Hello => "hello",
            Self::Status => "status",
            Self::Established => "established",
        })
    }
}

/// The side that ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    /// We did.
    Us,
    /// The peer did.
    Them,
    /// The stream failed.
    Network,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct End {
    /// The side that ended it.
    pub by: Side,
    /// The stage that it had reached.
    pub stage: Stage,
    /// The reason.
    pub why: EndReason,
}

impl End {
    /// The end without numbers that a peer chooses freely, so that ends can be counted by a bounded number of keys.
    pub const fn class(mut self) -> Self {
        self.why = match self.why {
            EndReason::Status(StatusRefusal::Version(_)) => EndReason::Status(StatusRefusal::Version(0)),
            EndReason::Status(StatusRefusal::Network(_)) => EndReason::Status(StatusRefusal::Network(0)),
            EndReason::Disconnect(DisconnectReason::Other(_)) => EndReason::Disconnect(DisconnectReason::Other(0)),
            why => why,
        };
        self
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum EndReason {
    /// The peer sent Disconnect, or the embedder ended it.
    Disconnect(DisconnectReason),
    /// The peer broke the protocol.
    Fault(Fault),
    /// The peer's Status was not accepted.
    Status(StatusRefusal),
    /// We refused it.
    Refused(Refusal),
    /// A timer ran out.
    Timeout(ConnTimer),
    /// The stream failed.
    Io(IoFault),
    /// The peer closed the stream without a Disconnect.
    Eof,
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disconnect(reason) => write!(f, "disconnect: {reason}"),
            Self::Fault(fault) => write!(f, "{fault}"),
            Self::Status(refusal) => write!(f, "{refusal}"),
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Timeout(timer) => write!(
                f,
                "{} timeout",
                match timer {
                    ConnTimer::Connect => "connect",
                    ConnTimer::Handshake => "handshake",
                    ConnTimer::Hello => "hello",
                    ConnTimer::Status => "status",
                    ConnTimer::Ping => "ping",
                    ConnTimer::Idle => "read",
                    ConnTimer::Frame => "frame",
                    ConnTimer::Write => "write",
                    ConnTimer::Request => "request",
                    ConnTimer::Closing => "closing",
                }
            ),
            Self::Io(fault) => write!(f, "{fault}"),
            Self::Eof => f.write_str("closed without a Disconnect"),
        }
    }
}

impl core::error::Error for EndReason {}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = match self.by {
            Side::Us => "by us",
            Side::Them => "by them",
            Side::Network => "by the network",
        };
        write!(f, "ended {by} at {}: {}", self.stage, self.why)
    }
}
