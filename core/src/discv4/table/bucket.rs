//! One bucket of the table: its entries, and the candidates that wait for a place.
//!
//! It knows nothing of subnets' share in the whole table, of time, or of who checks whom; its entries are changed by
//! [`Entries`](super::entries::Entries), which keeps the keys by which they are found.

use alloc::vec::Vec;
use core::net::IpAddr;

use super::entries::{Crowd, Entry};
use crate::crypto::PublicKey;
use crate::limits;
use crate::wire::enode::Contact;

/// Candidates for which room is made at once.
const GROWTH: usize = 4;

/// A contact without its id, which is a hash away and asked for by nobody until there is a place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) key: PublicKey,
    pub(super) ip: IpAddr,
    udp: u16,
    tcp: u16,
}

// There are up to 170 of them.
const _: () = assert!(size_of::<Waiting>() <= 86);

impl Waiting {
    pub(super) fn contact(&self) -> Contact {
        Contact::new(self.key, self.ip, self.udp, self.tcp)
    }
}

impl From<Contact> for Waiting {
    fn from(contact: Contact) -> Self {
        Self { key: contact.key(), ip: contact.ip(), udp: contact.udp(), tcp: contact.tcp() }
    }
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    /// The longest known first.
    pub(super) entries: Vec<Entry>,
    /// Newest first.
    pub(super) replacements: Vec<Waiting>,
}

impl Bucket {
    /// The bucket's nodes, at most [`limits::BUCKET_SIZE`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Nodes that proved their endpoint while the bucket was full, newest first; at most [`limits::REPLACEMENTS`].
    pub fn replacements(&self) -> impl ExactSizeIterator<Item = Contact> {
        self.replacements.iter().map(Waiting::contact)
    }

    /// Whether there is no room for another entry.
    pub fn is_full(&self) -> bool {
        self.entries.len() >= limits::BUCKET_SIZE
    }

    /// Puts a node in line for a place.
    pub(super) fn add_replacement(&mut self, contact: Contact) {
        self.forget_replacement(&contact);
        let count =
            |crowd: Crowd<'_>| self.replacements.iter().filter(|other| crowd.includes(other.ip, &other.key)).count();
        if Crowd::around(&contact).map_or(0, count) < limits::SUBNET_PER_BUCKET {
            self.replacements.truncate(limits::REPLACEMENTS - 1);
            if self.replacements.len() == self.replacements.capacity() {
                self.replacements.reserve_exact(GROWTH.min(limits::REPLACEMENTS - self.replacements.len()));
            }
            self.replacements.insert(0, contact.into());
        }
    }

    /// The node need not wait any longer.
    pub(super) fn forget_replacement(&mut self, contact: &Contact) {
        self.replacements.retain(|other| other.key != contact.key());
    }
}
