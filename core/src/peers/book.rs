//! The address book: the nodes that may be dialled, from every source, each with the time when it was first seen.
//!
//! A node enters after it has proven its endpoint: discovery names only nodes that have answered a ping, the embedder vouches
//! for those that it offers, and those of an earlier run had a proof then and are what was known first; whether they still
//! live, their dial shows. A node list has only its signer's word: its nodes are at most [`BOOK_LISTED_MAX`], and give way to
//! proven ones until they were reached (attack D19). At most [`BOOK_PER_GROUP`] entries are of one [`Group`] of addresses, and a draw is uniform over the
//! groups, so that a share of the draws costs as many subnets as honest nodes have (attacks E1, E2, E4). A group or a book that
//! is full takes a newcomer only for an entry whose dials have failed: what was known first stays.
//!
//! It knows no connection, no dial in progress and no ban: the caller says what is eligible.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::elders::{Age, Elders};
use crate::contract::{BookRecord, Source};
use crate::crypto::NodeId;
use crate::limits::{BOOK_ENTRIES_MAX, BOOK_FAILURES_MAX, BOOK_LISTED_MAX, BOOK_PER_GROUP, OFFERED_MAX};
use crate::netfilter::{Scope, scope};
use crate::rng::Rng;
use crate::time::UnixTime;
use crate::wire::enode::Contact;

/// Addresses that one party is likely to control, as far as outbound places are concerned.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Group {
    /// An IPv4 /24.
    Subnet([u8; 3]),
    /// An IPv6 /29, the block that a registry gives out.
    Block(u32),
    /// One address of 100.64.0.0/10, which is shared by the customers of a carrier, or used by overlay networks.
    Shared(Ipv4Addr),
    /// One endpoint of a loopback or private address: such addresses cost nothing, and whole test networks have one.
    Local(SocketAddr),
}

impl Group {
    /// The group of an endpoint.
    pub fn of(addr: SocketAddr) -> Self {
        match addr.ip() {
            ip if scope(ip).is_local() => Self::Local(addr),
            IpAddr::V4(ip) if scope(ip.into()) == Scope::Shared => Self::Shared(ip),
            IpAddr::V4(ip) => Self::Subnet([ip.octets()[0], ip.octets()[1], ip.octets()[2]]),
            IpAddr::V6(ip) => Self::Block((ip.to_bits() >> 99) as u32),
        }
    }
}

/// A node that may be dialled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    contact: Contact,
    group: Group,
    source: Source,
    first_seen: UnixTime,
    /// Dials in a row that did not reach it.
    failures: u8,
    /// Whether the embedder has offered it and it was not dialled since.
    is_offered: bool,
    /// Whether only the word of the embedder or of a node list says that it is there.
    is_vouched: bool,
}

impl Entry {
    /// Where it listens.
    pub const fn contact(&self) -> &Contact {
        &self.contact
    }

    /// What named it first.
    pub const fn source(&self) -> Source {
        self.source
    }

    /// When it was first seen, in this run or an earlier one.
    pub const fn first_seen(&self) -> UnixTime {
        self.first_seen
    }

    /// Its group of addresses.
    pub const fn group(&self) -> Group {
        self.group
    }

    /// Whether the embedder has offered it and it was not dialled since.
    pub const fn is_offered(&self) -> bool {
        self.is_offered
    }

    /// Its age: see [`Elders`].
    pub const fn age(&self) -> Age {
        (self.first_seen, self.contact.id())
    }

    /// Whether it leaves for a new entry.
    fn yields_to(&self, new: &Self) -> bool {
        let is_listed = |entry: &Self| entry.source == Source::Dns && entry.is_vouched && !entry.is_offered;
        self.failures > 0 || (new.is_offered && !self.is_offered) || (is_listed(self) && !is_listed(new))
    }

    /// The dials after which it is dropped if none has reached it: one, if there is no other proof.
    const fn failures_max(&self) -> u8 {
        if self.is_vouched { 1 } else { BOOK_FAILURES_MAX }
    }
}

impl From<&Entry> for BookRecord {
    fn from(entry: &Entry) -> Self {
        let Entry { contact, source, first_seen, .. } = *entry;
        Self { contact, source, first_seen }
    }
}

/// The entries, ordered by group and id, so that a group is a run of them; and the group of each id.
#[derive(Clone, Debug, Default)]
pub struct Book {
    entries: Vec<Entry>,
    groups: BTreeMap<NodeId, Group>,
}

impl Book {
    /// All entries, ordered by group.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entry of a node.
    pub fn get(&self, id: &NodeId) -> Option<&Entry> {
        self.position(id).map(|at| &self.entries[at])
    }

    /// Enters a node that has proven its endpoint, or notes where it listens now. Returns `false` if its group or the book is full.
    pub fn add(&mut self, contact: Contact, source: Source, first_seen: UnixTime) -> bool {
        self.put(contact, source, first_seen, false)
    }

    /// Enters a node that the embedder offers, even for another entry of its group. Returns `false` if [`OFFERED_MAX`] offers
    /// wait, or too many of its group.
    #[must_use]
    pub fn offer(&mut self, contact: Contact, first_seen: UnixTime) -> bool {
        let mut others = self.entries.iter().filter(|entry| entry.is_offered && entry.contact.id() != contact.id());
        others.nth(OFFERED_MAX - 1).is_none() && self.put(contact, Source::Embedder, first_seen, true)
    }

    fn put(&mut self, contact: Contact, source: Source, first_seen: UnixTime, is_offered: bool) -> bool {
        let group = Group::of(contact.tcp_addr());
        let is_vouched = is_offered || source == Source::Dns;
        let mut entry = Entry { contact, group, source, first_seen, failures: 0, is_offered, is_vouched };
        if let Some(at) = self.position(&contact.id()) {
            let old = self.entries[at];
            // Its age and its source stay. At another endpoint its failures say nothing.
            let failures = if old.contact.tcp_addr() == contact.tcp_addr() { old.failures } else { 0 };
            let (is_offered, is_vouched) = (is_offered || old.is_offered, entry.is_vouched && old.is_vouched);
            let (source, first_seen) = (old.source, old.first_seen);
            entry = Entry { source, first_seen, failures, is_offered, is_vouched, ..entry };
            if old.group == group {
                self.entries[at] = entry;
                return true;
            }
        }
        let Some(displaced) = self.place_for(&entry) else { return false };
        for id in displaced.into_iter().chain([contact.id()]) {
            self.remove(&id);
        }
        let at = self.entries.partition_point(|other| (other.group, other.contact.id()) < (group, contact.id()));
        self.entries.insert(at, entry);
        self.groups.insert(contact.id(), group);
        true
    }

    /// The entry that leaves for a new one: of its group if that is full, of all if the book is. `None` if it gets no place.
    fn place_for(&self, entry: &Entry) -> Option<Option<NodeId>> {
        let is_new = self.position(&entry.contact.id()).is_none();
        let listed = self.entries.iter().filter(|old| old.source == Source::Dns);
        if is_new && entry.source == Source::Dns && listed.count() >= BOOK_LISTED_MAX {
            return None;
        }
        let members = self.group(entry.group);
        let full = if members.len() >= BOOK_PER_GROUP {
            members
        } else if self.entries.len() >= BOOK_ENTRIES_MAX && is_new {
            &self.entries[..]
        } else {
            return Some(None);
        };
        let leaving = full.iter().filter(|old| old.yields_to(entry)).max_by_key(|old| (old.failures, old.age()));
        leaving.map(|old| Some(old.contact.id()))
    }

    fn position(&self, id: &NodeId) -> Option<usize> {
        let group = *self.groups.get(id)?;
        let start = self.entries.partition_point(|entry| entry.group < group);
        let offset = self.entries[start..].iter().take(BOOK_PER_GROUP).position(|entry| entry.contact.id() == *id)?;
        Some(start + offset)
    }

    /// The entries of a group.
    fn group(&self, group: Group) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.group < group);
        let len = self.entries[start..].iter().take_while(|entry| entry.group == group).count();
        &self.entries[start..start + len]
    }

    /// Drops a node.
    pub fn remove(&mut self, id: &NodeId) {
        if let Some(at) = self.position(id) {
            self.entries.remove(at);
            self.groups.remove(id);
        }
    }

    /// Drops the nodes that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&Contact) -> bool) {
        let Self { entries, groups } = self;
        entries.retain(|entry| {
            let is_kept = keep(&entry.contact);
            if !is_kept {
                groups.remove(&entry.contact.id());
            }
            is_kept
        });
    }

    /// Notes that a node is dialled: an offer of it is used up.
    pub fn dialled(&mut self, id: &NodeId) {
        if let Some(at) = self.position(id) {
            self.entries[at].is_offered = false;
        }
    }

    /// Notes that a node was reached.
    pub fn reached(&mut self, id: &NodeId) {
        if let Some(at) = self.position(id) {
            (self.entries[at].failures, self.entries[at].is_vouched) = (0, false);
        }
    }

    /// Notes that a node was not reached. Drops it when that has happened too often in a row.
    pub fn failed(&mut self, id: &NodeId) {
        let Some(at) = self.position(id) else { return };
        let entry = &mut self.entries[at];
        entry.failures += 1;
        if entry.failures >= entry.failures_max() {
            self.remove(id);
        }
    }

    /// The oldest entries, by the time when they were first seen.
    pub fn elders(&self) -> Elders {
        Elders::new(self.entries.iter().map(Entry::age).collect())
    }

    /// Draws an entry of the lowest rank: of a group drawn uniformly from those that have one, and uniformly from those of its
    /// group. `rank` is `None` for an entry that is not eligible; it is not asked of more entries than needed if one has rank 0.
    pub fn draw(&self, rng: &mut Rng, rank: impl Fn(&Entry) -> Option<u8>) -> Option<&Entry> {
        let mut groups: Vec<&[Entry]> = self.entries.chunk_by(|a, b| a.group == b.group).collect();
        let mut best: Option<(u8, Vec<&Entry>)> = None;
        for first in 0..groups.len() {
            let other = first + rng.below((groups.len() - first) as u64) as usize;
            groups.swap(first, other);
            let ranked = || groups[first].iter().filter_map(|entry| Some((rank(entry)?, entry)));
            let Some(lowest) = ranked().map(|(rank, _)| rank).min() else { continue };
            if best.as_ref().is_none_or(|(rank, _)| lowest < *rank) {
                best = Some((lowest, ranked().filter(|(rank, _)| *rank == lowest).map(|(_, entry)| entry).collect()));
            }
            if lowest == 0 {
                break;
            }
        }
        let (_, entries) = best?;
        rng.choose(&entries).copied()
    }
}
