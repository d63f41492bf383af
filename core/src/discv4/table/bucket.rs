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
    pub(super) record_seq: u64,
    pub(super) fork_id: Option<ForkId>,
}

impl Entry {
    pub(super) fn new(contact: Contact, liveness: u8) -> Self {
        Self { contact, liveness, find_failures: 0, record_seq: 0, fork_id: None }
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
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub struct Bucket {
    pub(super) entries: Vec<Entry>,
    /// One bit for each entry, by its place: whether it is checked often. Apart from the entries, so that drawing one of a
    /// kind from the whole table need not read them.
    often: u32,
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

    /// Whether the next check of the entry at `place` is due soon: it is new, or failed one.
    pub(super) fn is_checked_often(&self, place: usize) -> bool {
        self.often & bit(place) != 0
    }

    pub(super) fn set_checked_often(&mut self, place: usize, often: bool) {
        self.often = if often { self.often | bit(place) } else { self.often & !bit(place) };
    }

    /// The places of the entries that are checked often, or of the others, one bit each.
    pub(super) fn places(&self, often: bool) -> u32 {
        if often { self.often } else { !self.often & (bit(self.entries.len()) - 1) }
    }

    /// Adds an entry, which is checked often.
    pub(super) fn push(&mut self, entry: Entry) {
        self.set_checked_often(self.entries.len(), true);
        self.entries.push(entry);
    }

    pub(super) fn remove(&mut self, place: usize) {
        self.entries.remove(place);
        let below = bit(place) - 1;
        self.often = self.often & below | (self.often >> 1) & !below;
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

/// A place's bit; a bucket has fewer places than the word has bits.
const fn bit(place: usize) -> u32 {
    const { assert!(limits::BUCKET_SIZE < 32) };
    1 << place
}

/// How many of `contacts`, other than `contact` itself, share its subnet; none if it is of a local network.
pub(super) fn count_subnet<'a>(contacts: impl Iterator<Item = &'a Contact>, contact: &Contact) -> usize {
    if scope(contact.ip).is_local() {
        return 0;
    }
    let subnet = Subnet::of(contact.ip);
    contacts.filter(|other| Subnet::of(other.ip) == subnet && other.id != contact.id).count()
}
