//! One bucket of the table: its entries, and the nodes that wait to replace one.
//!
//! It knows nothing of limits over the whole table, of time or of checks. Its entries are changed by
//! [`Entries`](super::entries::Entries), which keeps the keys by which they are found.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::entries::{Entry, SubnetFilter};
use crate::crypto::PublicKey;
use crate::limits;
use crate::wire::enode::Contact;

/// Replacements for which room is made at once.
const GROWTH: usize = 4;

/// A contact without its id, which is a hash away and not needed before it becomes an entry.
#[derive(Clone, Copy, Debug)]
pub(super) struct Replacement {
    pub(super) key: PublicKey,
    pub(super) ip: IpAddr,
    udp: u16,
    tcp: u16,
}

// There are up to 170 of them.
const _: () = assert!(size_of::<Replacement>() <= 86);

impl Replacement {
    pub(super) fn contact(&self) -> Contact {
        Contact::new(self.key, self.ip, self.udp, self.tcp)
    }
}

impl From<Contact> for Replacement {
    fn from(contact: Contact) -> Self {
        Self { key: contact.key(), ip: contact.ip(), udp: contact.udp(), tcp: contact.tcp() }
    }
}

/// The entries and replacements of one bucket.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    /// The longest known first.
    pub(super) entries: Vec<Entry>,
    /// Newest first.
    pub(super) replacements: Vec<Replacement>,
}

impl Bucket {
    /// The bucket's nodes, the longest known first; at most [`limits::BUCKET_SIZE`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Nodes that proved their endpoint while the bucket was full, newest first; at most [`limits::REPLACEMENTS`].
    pub fn replacements(&self) -> impl ExactSizeIterator<Item = Contact> {
        self.replacements.iter().map(Replacement::contact)
    }

    /// Whether there is no room for another entry.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= limits::BUCKET_SIZE
    }

    /// Adds a node to the replacements, unless its subnet has its share of them already.
    pub(super) fn add_replacement(&mut self, contact: Contact) {
        self.remove_replacement(&contact);
        let count = |subnet: SubnetFilter<'_>| {
            self.replacements.iter().filter(|other| subnet.matches(other.ip, &other.key)).count()
        };
        if SubnetFilter::of(&contact).map_or(0, count) < limits::SUBNET_PER_BUCKET {
            self.replacements.truncate(limits::REPLACEMENTS - 1);
            if self.replacements.len() == self.replacements.capacity() {
                self.replacements.reserve_exact(GROWTH.min(limits::REPLACEMENTS - self.replacements.len()));
            }
            self.replacements.insert(0, contact.into());
        }
    }

    /// Removes a node from the replacements.
    pub(super) fn remove_replacement(&mut self, contact: &Contact) {
        self.replacements.retain(|other| other.key != contact.key());
    }
}
