//! One bucket of the table: its entries, and the candidates that wait for a place.
//!
//! It knows nothing of subnets' share in the whole table, of time, or of who checks whom.

use alloc::vec::Vec;

use crate::crypto::NodeId;
use crate::limits;
use crate::netfilter::{Subnet, scope};
use crate::wire::enode::Contact;
use crate::wire::forkid::ForkId;

/// A node of the table. It proved its endpoint when it came in.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub(super) contact: Contact,
    pub(super) liveness: u8,
    pub(super) find_failures: u8,
    pub(super) fast: bool,
    pub(super) record_seq: u64,
    pub(super) fork_id: Option<ForkId>,
}

impl Entry {
    pub(super) fn new(contact: Contact, liveness: u8) -> Self {
        Self { contact, liveness, find_failures: 0, fast: true, record_seq: 0, fork_id: None }
    }

    /// The node.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Liveness checks passed, a third of them forgotten for each one failed. 0 for a replacement that moved up and has
    /// not been checked since: it is not relayed.
    pub fn liveness(&self) -> u8 {
        self.liveness
    }

    /// The sequence number of its record that we have; 0 if none.
    pub fn record_seq(&self) -> u64 {
        self.record_seq
    }

    /// The fork id in its record.
    pub fn fork_id(&self) -> Option<ForkId> {
        self.fork_id
    }

    /// Whether its next check is due soon: it is new, or failed one.
    pub fn is_checked_often(&self) -> bool {
        self.fast
    }
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    pub(super) entries: Vec<Entry>,
    /// Newest first.
    pub(super) replacements: Vec<Contact>,
}

impl Bucket {
    /// The bucket's nodes, at most [`limits::BUCKET_SIZE`].
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Nodes that proved their endpoint while the bucket was full, newest first; at most [`limits::REPLACEMENTS`].
    pub fn replacements(&self) -> &[Contact] {
        &self.replacements
    }

    pub(super) fn position(&self, id: &NodeId) -> Option<usize> {
        self.entries.iter().position(|entry| entry.contact.id == *id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= limits::BUCKET_SIZE
    }

    /// Whether the bucket's rule about subnets admits one more entry like `contact`, not counting its own.
    pub(super) fn admits(&self, contact: &Contact) -> bool {
        count_subnet(self.entries.iter().map(Entry::contact), contact) < limits::SUBNET_PER_BUCKET
    }

    /// Puts a node in line for a place.
    pub(super) fn add_replacement(&mut self, contact: Contact) {
        self.replacements.retain(|other| other.id != contact.id);
        if count_subnet(self.replacements.iter(), &contact) < limits::SUBNET_PER_BUCKET {
            self.replacements.truncate(limits::REPLACEMENTS - 1);
            self.replacements.reserve_exact(limits::REPLACEMENTS - self.replacements.len());
            self.replacements.insert(0, contact);
        }
    }
}

/// How many of `contacts`, other than `contact` itself, share its subnet; none if it is of a local network.
pub(super) fn count_subnet<'a>(contacts: impl Iterator<Item = &'a Contact>, contact: &Contact) -> usize {
    if scope(contact.ip).is_local() {
        return 0;
    }
    let subnet = Subnet::of(contact.ip);
    contacts.filter(|other| Subnet::of(other.ip) == subnet && other.id != contact.id).count()
}
