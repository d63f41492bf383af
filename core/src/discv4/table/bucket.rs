//! One bucket of the table: its entries, and the candidates that wait for a place.
//!
//! It knows nothing of subnets' share in the whole table, of time, or of who checks whom.

use alloc::vec::Vec;

use super::entries::{Crowd, Entries, Entry};
use crate::limits;
use crate::wire::enode::Contact;

/// Candidates for which room is made at once.
const GROWTH: usize = 4;

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    pub(super) entries: Entries,
    /// Newest first.
    pub(super) replacements: Vec<Contact>,
}

// Counting over the whole table reads all buckets in a row: two cache lines each.
const _: () = assert!(size_of::<Bucket>() <= 128);

impl Bucket {
    /// The bucket's nodes, at most [`limits::BUCKET_SIZE`].
    pub fn entries(&self) -> &[Entry] {
        self.entries.as_slice()
    }

    /// Nodes that proved their endpoint while the bucket was full, newest first; at most [`limits::REPLACEMENTS`].
    pub fn replacements(&self) -> &[Contact] {
        &self.replacements
    }

    /// Whether there is no room for another entry.
    pub fn is_full(&self) -> bool {
        self.entries().len() >= limits::BUCKET_SIZE
    }

    /// Whether the bucket's rule about subnets admits one more of this crowd.
    pub(super) fn admits(&self, crowd: &Crowd<'_>) -> bool {
        self.entries.count(crowd) < limits::SUBNET_PER_BUCKET
    }

    /// Puts a node in line for a place.
    pub(super) fn add_replacement(&mut self, contact: Contact) {
        self.replacements.retain(|other| other.id != contact.id);
        let count = |crowd: Crowd<'_>| self.replacements.iter().filter(|other| crowd.includes(other)).count();
        if Crowd::around(&contact).map_or(0, count) < limits::SUBNET_PER_BUCKET {
            self.replacements.truncate(limits::REPLACEMENTS - 1);
            if self.replacements.len() == self.replacements.capacity() {
                self.replacements.reserve_exact(GROWTH.min(limits::REPLACEMENTS - self.replacements.len()));
            }
            self.replacements.insert(0, contact);
        }
    }
}
