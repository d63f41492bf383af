//! Ids and small values that machine and driver share.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::crypto::NodeId;
use crate::wire::discv5::RequestId;

/// The id of a connection. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// The id of an accepted command, which the event of its outcome carries. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CommandId(pub u64);

/// The id of a socket of the driver: the one that received a datagram or a stream, or that is to send a datagram. A driver with
/// one socket of each kind uses [`SocketId::MAIN`] for all.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct SocketId(pub u8);

impl SocketId {
    /// The first socket, and usually the only one.
    pub const MAIN: Self = Self(0);
}

/// The id of a query, which its answer carries. Never reused within a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct QueryId(pub u64);

/// The discovery protocol of a command that both have.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Via {
    /// discv4.
    Discv4,
    /// discv5.
    Discv5,
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Discv4 => "discv4",
            Self::Discv5 => "discv5",
        })
    }
}

/// A request of an application's protocol over discv5, which its answer names: who asked, from where, and the request's id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TalkId {
    /// The node that asks.
    pub node: NodeId,
    /// Its endpoint.
    pub addr: SocketAddr,
    /// The id of its request.
    pub request: RequestId,
}

/// The side that opened a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Direction {
    /// The peer dialled.
    Inbound,
    /// We dialled.
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

/// The kind of a peer that the embedder has declared.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum PeerKind {
    /// Dialled again until it is removed.
    Static,
    /// As static, and exempt from the limits on the number of peers once it has proven its key.
    Trusted,
}

/// The target of a ban of the embedder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BanTarget {
    /// The holder of a key, at any address.
    Id(NodeId),
    /// An IPv4 address, or the /64 of an IPv6 address, with any key.
    Address(IpAddr),
}

/// The embedder's reason for a change of a peer's score: 1 to [`Label::BYTES_MAX`] printable ASCII characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Label {
    /// Padded with zeros, which no label contains.
    bytes: [u8; Self::BYTES_MAX],
}

impl Label {
    /// Length of the longest label.
    pub const BYTES_MAX: usize = 15;

    /// Creates a label. Returns `None` if the text is empty, too long, or not printable ASCII.
    ///
    /// ```
    /// use peerless::contract::Label;
    ///
    /// const LATE_BLOCK: Label = Label::new("late block").unwrap();
    /// assert_eq!(LATE_BLOCK.as_str(), "late block");
    /// assert_eq!(Label::new("more than fifteen"), None);
    /// ```
    pub const fn new(text: &str) -> Option<Self> {
        let text = text.as_bytes();
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return None;
        }
        let mut bytes = [0; Self::BYTES_MAX];
        let mut at = 0;
        while at < text.len() {
            if !matches!(text[at], b' '..=b'~') {
                return None;
            }
            bytes[at] = text[at];
            at += 1;
        }
        Some(Self { bytes })
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        let len = self.bytes.iter().position(|byte| *byte == 0).unwrap_or(Self::BYTES_MAX);
        core::str::from_utf8(&self.bytes[..len]).unwrap_or_default()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Label({:?})", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_one_to_fifteen_printable_ascii_characters() {
        for text in ["a", "fifteen letters", "~ !"] {
            assert_eq!(Label::new(text).unwrap().as_str(), text);
        }
        for text in ["", "sixteen letters!", "tab\t", "zero\0", "gr\u{fc}n"] {
            assert_eq!(Label::new(text), None, "{text:?}");
        }
    }
}
