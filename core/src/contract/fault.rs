//! What is wrong with a connection: faults of the peer, failures of the stream, and our reasons to refuse.

use core::fmt;

use crate::wire::DecodeError;
use crate::wire::forkid::ForkMismatch;
use crate::wire::p2p::DisconnectReason;

/// A violation of a protocol on a stream. Ends the session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Fault {
    /// An invalid handshake message. Deliberately without details.
    Handshake,
    /// A frame header whose MAC is wrong.
    HeaderMac,
    /// A frame whose MAC is wrong.
    FrameMac,
    /// A frame without a message id.
    EmptyFrame,
    /// A frame or message larger than allowed at this stage.
    TooLarge,
    /// A message that cannot be decompressed.
    Snappy,
    /// A malformed message.
    Message(DecodeError),
    /// A first message other than Hello or Disconnect.
    HelloExpected,
    /// A second Hello.
    HelloTwice,
    /// A version of the base protocol that we do not support.
    IncompatibleVersion,
    /// A Hello with an invalid key.
    InvalidIdentity,
    /// A Hello with another key than the handshake's, or a peer with another key than the one dialled.
    UnexpectedIdentity,
    /// We have connected to ourselves.
    ConnectedToSelf,
    /// No shared capability.
    Useless,
    /// A message id beyond what was negotiated.
    UnknownMessage,
    /// A first message of eth other than Status.
    StatusExpected,
    /// A second Status.
    StatusTwice,
    /// A message that the protocol has removed.
    ForbiddenMessage,
    /// A response without a request.
    UnsolicitedResponse,
    /// More open requests than the limit.
    Overrun,
}

/// The severity of a fault, from which its charge follows without knowledge of the protocol.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum FaultClass {
    /// Caused by us: we have connected to ourselves.
    Own,
    /// No proof against the holder of any key: any router on the path can cause it.
    Unproven,
    /// No misbehaviour: another network or version, or a wrong record of the peer, which another node may have spread.
    Blameless,
    /// May be an answer that came after our timeout.
    Minor,
    /// An encoding or an order that clients sometimes get wrong.
    Malformed,
    /// Costs memory or work before it can be refused, or starts a second session within the first. No client does it.
    Costly,
    /// An attack: no client does it by mistake.
    Attack,
}

impl Fault {
    /// Its severity.
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::ConnectedToSelf => FaultClass::Own,
            Self::Handshake | Self::HeaderMac | Self::FrameMac => FaultClass::Unproven,
            // The peer has proven another key than the record claims (attack P3b).
            Self::UnexpectedIdentity | Self::IncompatibleVersion | Self::Useless => FaultClass::Blameless,
            Self::UnsolicitedResponse => FaultClass::Minor,
            Self::Message(_) | Self::UnknownMessage => FaultClass::Malformed,
            Self::HelloExpected | Self::StatusExpected | Self::InvalidIdentity => FaultClass::Malformed,
            Self::EmptyFrame | Self::TooLarge | Self::Snappy | Self::Overrun => FaultClass::Costly,
            Self::HelloTwice | Self::StatusTwice => FaultClass::Costly,
            // Attack H14.
            Self::ForbiddenMessage => FaultClass::Attack,
        }
    }

    /// The reason in the Disconnect to the peer; `None` where the peer could not read one.
    pub const fn disconnect_reason(&self) -> Option<DisconnectReason> {
        Some(match self {
            Self::Handshake | Self::HeaderMac | Self::FrameMac => return None,
            Self::EmptyFrame | Self::TooLarge | Self::Snappy | Self::Message(_) | Self::HelloExpected => {
                DisconnectReason::ProtocolBreach
            }
            Self::HelloTwice | Self::UnknownMessage | Self::Overrun => DisconnectReason::ProtocolBreach,
            Self::IncompatibleVersion => DisconnectReason::IncompatibleVersion,
            Self::InvalidIdentity => DisconnectReason::InvalidIdentity,
            Self::UnexpectedIdentity => DisconnectReason::UnexpectedIdentity,
            Self::ConnectedToSelf => DisconnectReason::ConnectedToSelf,
            Self::Useless => DisconnectReason::UselessPeer,
            Self::StatusExpected | Self::StatusTwice | Self::ForbiddenMessage | Self::UnsolicitedResponse => {
                DisconnectReason::SubprotocolError
            }
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Handshake => "invalid handshake message",
            Self::HeaderMac => "wrong MAC of a frame header",
            Self::FrameMac => "wrong MAC of a frame",
            Self::EmptyFrame => "frame without a message id",
            Self::TooLarge => "message too large",
            Self::Snappy => "message that cannot be decompressed",
            Self::Message(error) => return write!(f, "malformed message: {error}"),
            Self::HelloExpected => "first message was not Hello",
            Self::HelloTwice => "second Hello",
            Self::IncompatibleVersion => "incompatible base protocol",
            Self::InvalidIdentity => "invalid identity",
            Self::UnexpectedIdentity => "another identity than expected",
            Self::ConnectedToSelf => "connected to ourselves",
            Self::Useless => "no shared capability",
            Self::UnknownMessage => "unknown message",
            Self::StatusExpected => "first eth message was not Status",
            Self::StatusTwice => "second Status",
            Self::ForbiddenMessage => "message that the protocol has removed",
            Self::UnsolicitedResponse => "unsolicited response",
            Self::Overrun => "more than the limit of open requests",
        })
    }
}

impl core::error::Error for Fault {}

/// How a stream failed, as the operating system reports it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum IoFault {
    /// Nothing listens at the address.
    Refused,
    /// The stream was reset, or failed during a write.
    Reset,
    /// The operating system's timeout.
    TimedOut,
    /// There is no route to the address.
    Unreachable,
    /// No more files, ports or memory on this machine.
    Exhausted,
    /// Anything else.
    Other,
}

impl fmt::Display for IoFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "connection refused",
            Self::Reset => "connection reset",
            Self::TimedOut => "connection timed out",
            Self::Unreachable => "host unreachable",
            Self::Exhausted => "out of files, ports or memory",
            Self::Other => "input/output error",
        })
    }
}

impl core::error::Error for IoFault {}

/// Why a peer's Status was not accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum StatusRefusal {
    /// Another eth version than was negotiated.
    Version(u32),
    /// Another network.
    Network(u64),
    /// Another genesis block.
    Genesis,
    /// Incompatible forks.
    Fork(ForkMismatch),
    /// A block range with earliest > latest.
    Range,
}

impl StatusRefusal {
    /// Its severity: a peer of another network is not to blame, one that violates what was negotiated is.
    pub const fn class(&self) -> FaultClass {
        match self {
            Self::Network(_) | Self::Genesis | Self::Fork(_) => FaultClass::Blameless,
            Self::Version(_) | Self::Range => FaultClass::Malformed,
        }
    }
}

impl fmt::Display for StatusRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(theirs) => write!(f, "Status of eth/{theirs} in another version's session"),
            Self::Network(theirs) => write!(f, "foreign network {theirs}"),
            Self::Genesis => f.write_str("foreign genesis block"),
            Self::Fork(mismatch) => write!(f, "fork id: {mismatch}"),
            Self::Range => f.write_str("block range with earliest > latest"),
        }
    }
}

impl core::error::Error for StatusRefusal {}

/// Why we refuse a connection or a node, for reasons other than the peer's conduct on it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Refusal {
    /// All slots of its direction are taken.
    TooManyPeers,
    /// Too many connections are not established yet.
    TooManyPending,
    /// Too many connections from that subnet.
    TooManyFromSubnet,
    /// That address was accepted recently.
    Throttled,
    /// There is a session with that peer, or a connection that takes precedence.
    AlreadyConnected,
    /// The peer or its address is banned.
    Banned,
    /// The filter forbids the address.
    Filtered,
    /// The key is our own.
    ToSelf,
    /// It was dialled recently.
    RecentlyDialled,
    /// Its address was pinged recently, and has not proven its endpoint.
    RecentlyPinged,
    /// The discovery table has no room for it: its bucket is full, or its subnet has its share.
    TableFull,
    /// The node is shutting down.
    ShuttingDown,
    /// The driver feeds the connection although the node applies backpressure, or the budget of handshakes is used up.
    Overloaded,
    /// Its first message was seen lately.
    Replayed,
}

impl Refusal {
    /// The reason in the Disconnect to the peer.
    pub const fn disconnect_reason(&self) -> DisconnectReason {
        match self {
            Self::AlreadyConnected => DisconnectReason::AlreadyConnected,
            Self::ToSelf => DisconnectReason::ConnectedToSelf,
            Self::ShuttingDown => DisconnectReason::ClientQuitting,
            Self::Banned | Self::Filtered => DisconnectReason::UselessPeer,
            Self::TooManyPeers | Self::TooManyPending | Self::TooManyFromSubnet => DisconnectReason::TooManyPeers,
            Self::Throttled | Self::RecentlyDialled | Self::Overloaded | Self::Replayed => {
                DisconnectReason::TooManyPeers
            }
            Self::RecentlyPinged | Self::TableFull => DisconnectReason::TooManyPeers,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooManyPeers => "too many peers",
            Self::TooManyPending => "too many pending connections",
            Self::TooManyFromSubnet => "too many connections from that subnet",
            Self::Throttled => "connected recently",
            Self::AlreadyConnected => "already connected",
            Self::Banned => "banned",
            Self::Filtered => "address not permitted",
            Self::ToSelf => "the key is our own",
            Self::RecentlyDialled => "dialled recently",
            Self::RecentlyPinged => "pinged recently",
            Self::TableFull => "the table has no room for it",
            Self::ShuttingDown => "shutting down",
            Self::Overloaded => "overloaded: the driver does not drain, or too many handshakes",
            Self::Replayed => "a repeated handshake",
        })
    }
}

impl core::error::Error for Refusal {}
