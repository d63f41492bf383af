//! The discovery protocols that the nodes of a run speak.

use std::fmt;
use std::str::FromStr;

use peerless::contract::Via;
use peerless::kad::table::Entry;
use peerless::node::{Config, Node};

/// A choice of discovery protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocols {
    /// discv4 alone.
    #[default]
    V4,
    /// discv5 alone.
    V5,
    /// Both, on one port.
    Both,
}

impl Protocols {
    /// Each of them.
    pub const fn each(self) -> &'static [Via] {
        match self {
            Self::V4 => &[Via::Discv4],
            Self::V5 => &[Via::Discv5],
            Self::Both => &[Via::Discv4, Via::Discv5],
        }
    }

    /// Switches a node's protocols on and off.
    pub fn apply(self, config: &mut Config) {
        let has = |via| self.each().contains(&via);
        config.discovery.discv4 = has(Via::Discv4).then(Default::default);
        config.discovery.discv5 = has(Via::Discv5).then(Default::default);
    }
}

impl FromStr for Protocols {
    type Err = UnknownProtocols;

    fn from_str(text: &str) -> Result<Self, UnknownProtocols> {
        match text {
            "v4" => Ok(Self::V4),
            "v5" => Ok(Self::V5),
            "both" => Ok(Self::Both),
            _ => Err(UnknownProtocols),
        }
    }
}

impl fmt::Display for Protocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "v4",
            Self::V5 => "v5",
            Self::Both => "both",
        })
    }
}

/// The error of text that names no choice of protocols.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownProtocols;

impl fmt::Display for UnknownProtocols {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a protocol is v4, v5 or both")
    }
}

impl std::error::Error for UnknownProtocols {}

/// The entries of a node's table of one protocol.
pub(super) fn entries(node: &Node, via: Via) -> impl Iterator<Item = &Entry> {
    let discovery = node.discovery();
    let discv4 = discovery.discv4().filter(|_| via == Via::Discv4).map(|discv4| discv4.table().entries());
    let discv5 = discovery.discv5().filter(|_| via == Via::Discv5).map(|discv5| discv5.table().entries());
    discv4.into_iter().flatten().chain(discv5.into_iter().flatten())
}
