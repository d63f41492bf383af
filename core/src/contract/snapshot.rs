//! The state that a node keeps from one run to the next, as plain data.

use alloc::vec::Vec;

use super::ids::{BanTarget, PeerKind};
use crate::time::UnixTime;
use crate::wire::enode::Contact;

/// The state of a node. `Node::snapshot` returns one, and `Config::snapshot` gives it to a later run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The sequence number of the last record; the next run begins with a higher one.
    pub record_seq: u64,
    /// Nodes that discovery found alive. The next run pings them, and each enters the table when it answers.
    pub nodes: Vec<Contact>,
    /// Bans in force.
    pub bans: Vec<BanRecord>,
    /// Static and trusted peers.
    pub peers: Vec<(Contact, PeerKind)>,
    /// The address book. The next run dials from it at once: what was known first is the best protection from what has come
    /// since.
    pub book: Vec<BookRecord>,
}

/// A ban with its end in wall time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BanRecord {
    /// The target.
    pub target: BanTarget,
    /// When it ends.
    pub until: UnixTime,
}

/// What named a node to the dialler.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// discv4.
    Discv4,
    /// discv5.
    Discv5,
    /// The embedder, by an offer.
    Embedder,
    /// A node list in DNS, which has proven no endpoint.
    Dns,
}

/// An entry of the address book with its age in wall time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BookRecord {
    /// The node.
    pub contact: Contact,
    /// What named it first.
    pub source: Source,
    /// When it was first seen.
    pub first_seen: UnixTime,
}
