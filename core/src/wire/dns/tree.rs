//! Making a tree: from records and links to the texts of all entries.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::{Domain, Entry, EntryHash, Link, Root};
use crate::crypto::{Crypto, NodeId, PublicKey, RecoverableSignature, SecretKey};
use crate::limits::{LIST_BRANCH_CHILDREN, LIST_RECORDS_MAX};
use crate::wire::enr::Record;

/// A tree without its signature: all entries below the root, and what the root will say. The same records, links and sequence
/// number give the same tree, that of geth: records by node id, links in the given order, thirteen children to a branch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    nodes: EntryHash,
    links: EntryHash,
    seq: u64,
    entries: BTreeMap<EntryHash, String>,
}

/// Why no tree can be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PlanError {
    /// Two records are of one node.
    Duplicate(NodeId),
    /// There are more records than clients read.
    TooManyRecords,
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Duplicate(id) => write!(f, "two records are of the node {id}"),
            Self::TooManyRecords => write!(f, "a list can have at most {LIST_RECORDS_MAX} records"),
        }
    }
}

impl core::error::Error for PlanError {}

impl Plan {
    /// Arranges records and links.
    ///
    /// # Errors
    /// If two records are of one node, or there are too many.
    pub fn new(seq: u64, records: &[Record], links: &[Link]) -> Result<Self, PlanError> {
        if records.len() > LIST_RECORDS_MAX as usize {
            return Err(PlanError::TooManyRecords);
        }
        let mut by_id = BTreeMap::new();
        for record in records {
            let id = record.key().node_id();
            if by_id.insert(id, record.to_string()).is_some() {
                return Err(PlanError::Duplicate(id));
            }
        }
        let mut known = BTreeSet::new();
        let links = links.iter().filter(|link| known.insert(*link)).map(Link::to_string);
        let mut entries = BTreeMap::new();
        let nodes = arrange(by_id.into_values(), &mut entries);
        let links = arrange(links, &mut entries);
        Ok(Self { nodes, links, seq, entries })
    }

    /// Signs the root.
    pub fn sign(self, crypto: &dyn Crypto, secret: &SecretKey) -> Tree {
        let Self { nodes, links, seq, entries } = self;
        Tree { root: Root::sign(crypto, secret, nodes, links, seq), entries }
    }

    /// The tree with a signature that was made before. `None` if it is not the signature of this tree by `key`.
    pub fn with_signature(self, crypto: &dyn Crypto, key: &PublicKey, signature: RecoverableSignature) -> Option<Tree> {
        let Self { nodes, links, seq, entries } = self;
        let root = Root { nodes, links, seq, signature };
        root.is_signed_by(crypto, key).then_some(Tree { root, entries })
    }
}

/// Adds the leaves and the branches above them to `entries`. Returns the hash of the top.
fn arrange(leaves: impl Iterator<Item = String>, entries: &mut BTreeMap<EntryHash, String>) -> EntryHash {
    let mut add = |text: String| {
        let hash = EntryHash::of(&text);
        entries.insert(hash, text);
        hash
    };
    let mut level: Vec<EntryHash> = leaves.map(&mut add).collect();
    if level.is_empty() {
        return add(Entry::Branch(Vec::new()).to_string());
    }
    while level.len() > 1 {
        let above = level.chunks(LIST_BRANCH_CHILDREN).map(|children| match children {
            [only] => *only,
            children => add(Entry::Branch(children.to_vec()).to_string()),
        });
        level = above.collect();
    }
    level[0]
}

/// A signed tree.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tree {
    root: Root,
    entries: BTreeMap<EntryHash, String>,
}

impl Tree {
    /// The root.
    pub const fn root(&self) -> &Root {
        &self.root
    }

    /// The entries below the root, with their hashes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&EntryHash, &str)> {
        self.entries.iter().map(|(hash, text)| (hash, &**text))
    }

    /// All TXT records of the list at a domain, as names and texts: the root first, the others in the order of their hashes.
    pub fn names(&self, domain: &Domain) -> impl Iterator<Item = (String, String)> {
        let root = (domain.to_string(), self.root.to_string());
        let entries = self.entries.iter().map(|(hash, text)| (domain.subdomain(hash), text.clone()));
        core::iter::once(root).chain(entries)
    }
}
