//! Ids of things that live on both sides of the boundary.

use core::fmt;

/// A connection. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// A command that was accepted; its outcome comes as an event with this id. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// A socket of the driver: the one that received a datagram or a stream, or is to send a datagram. A driver with one socket
/// of each kind uses [`SocketId::MAIN`] for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SocketId(pub u8);

impl SocketId {
    /// The first, and usually the only one.
    pub const MAIN: Self = Self(0);
}

/// A query to the world; its answer comes with this id. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub u64);

/// The side that opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// The peer did.
    Inbound,
    /// We did.
    Outbound,
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        })
    }
}

/// What the embedder thinks of a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum PeerKind {
    /// Found or come by itself.
    #[default]
    Ordinary,
    /// Named by the embedder: dialled again for ever.
    Static,
    /// As static, and exempt from the limits of slots once it has proven its key.
    Trusted,
}
