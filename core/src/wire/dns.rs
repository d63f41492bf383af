//! Node lists in DNS (EIP-1459): the entries of a tree as text and as values.
//!
//! A list is a tree of TXT records. Its [`Root`], at the list's domain, is signed and names two subtrees by hash: one of
//! node records, one of [`Link`]s to other lists. Every other [`Entry`] stands at the subdomain that is its own hash.
//! [`Plan`] makes a tree, [`Tree`] is a signed one. Asking for entries is left to the machine [`dns`](crate::dns).

mod domain;
mod entry;
mod hash;
mod root;
#[cfg(test)]
mod tests;
mod tree;

pub use domain::{Domain, DomainError};
pub use entry::{Entry, EntryError, Link, LinkError};
pub use hash::EntryHash;
pub use root::{Root, RootError};
pub use tree::{Plan, PlanError, Tree};
