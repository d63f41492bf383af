//! What a node carries from one run to the next, as plain data.

use alloc::vec::Vec;

use super::ids::{BanTarget, PeerKind};
use crate::time::UnixTime;
use crate::wire::enode::Contact;

/// What a node remembers. `Node::snapshot` makes one, and `Config::snapshot` gives it back to a later run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Snapshot {
    /// The sequence number of the record that others know; the next run begins with a higher one.
    pub record_seq: u64,
    /// Nodes that discovery found alive. The next run hears of them and believes none
    /// before it answers.
    pub nodes: Vec<Contact>,
    /// Bans in force.
    pub bans: Vec<BanRecord>,
    /// Static and trusted peers.
    pub peers: Vec<(Contact, PeerKind)>,
}

/// A ban, in wall time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BanRecord {
    /// What is banned.
    pub target: BanTarget,
    /// Until when.
    pub until: UnixTime,
}
