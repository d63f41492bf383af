//! The entries of one bucket, with short keys by which they are found and counted.
//!
//! A host of ten thousand nodes finds none of their memory in its caches: looking for an id or counting a subnet reads the
//! keys, 32 bytes a bucket, and only the entries whose keys match. Who crafts ids or addresses of equal keys makes us read
//! an entry more, not judge differently. Keys change with their entries and nowhere else: what is lent for change,
//! [`Standing`], holds nothing that a key is made of. Limits on subnets are the business of its parents.

use alloc::vec::Vec;
use core::net::IpAddr;

use crate::crypto::{NodeId, PublicKey};
use crate::limits::BUCKET_SIZE;
use crate::netfilter::{Subnet, scope};
use crate::wire::enode::Contact;
use crate::wire::forkid::ForkId;

/// Entries for which room is made at once: a bucket of few shall not pay for the sixteen of a full one.
const GROWTH: usize = 4;

/// A node of the table. It proved its endpoint when it came in.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    contact: Contact,
    standing: Standing,
}

// There are up to 272 of them, more than all else that a node at rest keeps: 118 bytes of contact, 23 of standing.
const _: () = assert!(size_of::<Entry>() <= 144);

impl Entry {
    pub(super) fn new(contact: Contact, liveness: u8) -> Self {
        Self { contact, standing: Standing { liveness, find_failures: 0, record_seq: 0, fork_id: None } }
    }

    /// The node.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Liveness checks passed, a third of them forgotten for each one failed. 0 for a replacement that moved up and has
    /// not been checked since: it is not relayed.
    pub fn liveness(&self) -> u8 {
        self.standing.liveness
    }

    /// The sequence number of its record that we have; 0 if none.
    pub fn record_seq(&self) -> u64 {
        self.standing.record_seq
    }

    /// The fork id in its record.
    pub fn fork_id(&self) -> Option<ForkId> {
        self.standing.fork_id.map(PackedForkId::unpacked)
    }
}

/// What a node has earned, and what its record says: the part of an entry that may change in place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) liveness: u8,
    pub(super) find_failures: u8,
    record_seq: u64,
    fork_id: Option<PackedForkId>,
}

impl Standing {
    /// Keeps what a record says. False if it is older than the one we have.
    pub(super) fn note_record(&mut self, seq: u64, fork_id: Option<ForkId>) -> bool {
        let is_news = seq >= self.record_seq;
        if is_news {
            self.record_seq = seq;
            self.fork_id = fork_id.map(PackedForkId::new);
        }
        is_news
    }
}

/// A [`ForkId`] as plain bytes: an optional one takes 13 of them, where the alignment of its number would make it 24.
#[derive(Clone, Copy, Debug)]
struct PackedForkId {
    hash: [u8; 4],
    next: [u8; 8],
}

impl PackedForkId {
    fn new(ForkId { hash, next }: ForkId) -> Self {
        Self { hash, next: next.to_ne_bytes() }
    }

    fn unpacked(self) -> ForkId {
        ForkId { hash: self.hash, next: u64::from_ne_bytes(self.next) }
    }
}

/// See the module. An entry's place is its index; the places of later entries move up when one is removed.
#[derive(Clone, Default, Debug)]
pub(super) struct Entries {
    entries: Vec<Entry>,
    /// Keys by place; those past the last entry mean nothing.
    id_keys: [u16; BUCKET_SIZE],
    subnet_keys: [u16; BUCKET_SIZE],
    /// One bit for each place: whether the entry is checked often. Apart from the entries, so that drawing one of a kind
    /// from the whole table need not read them.
    often: u32,
}

impl Entries {
    /// The entries by place, the longest known first.
    pub(super) fn as_slice(&self) -> &[Entry] {
        &self.entries
    }

    /// The place of a node.
    pub(super) fn position(&self, id: &NodeId) -> Option<usize> {
        self.matching(&self.id_keys, id_key(id)).find(|place| self.is_at(*place, |contact| contact.id == *id))
    }

    /// How many of a crowd are here.
    pub(super) fn count(&self, crowd: &Crowd<'_>) -> usize {
        let alike = self.matching(&self.subnet_keys, crowd.subnet_key);
        alike.filter(|place| self.is_at(*place, |contact| crowd.includes(contact.ip, &contact.key))).count()
    }

    /// Whether the next check of the entry at `place` is due soon: it is new, or failed one.
    pub(super) fn is_checked_often(&self, place: usize) -> bool {
        self.often & bit(place) != 0
    }

    /// The places of the entries that are checked often, or of the others.
    pub(super) fn places(&self, often: bool) -> Places {
        Places(if often { self.often } else { !self.often } & self.taken())
    }

    /// Adds an entry, which is checked often. A full bucket takes none.
    pub(super) fn push(&mut self, entry: Entry) {
        let place = self.entries.len();
        if place < BUCKET_SIZE {
            if place == self.entries.capacity() {
                self.entries.reserve_exact(GROWTH);
            }
            self.entries.push(entry);
            self.note_keys(place);
            self.set_checked_often(place, true);
        }
    }

    /// Removes the entry at `place`, if there is one.
    pub(super) fn remove(&mut self, place: usize) {
        if place < self.entries.len() {
            self.entries.remove(place);
            self.id_keys.copy_within(place + 1.., place);
            self.subnet_keys.copy_within(place + 1.., place);
            let below = bit(place) - 1;
            self.often = self.often & below | (self.often >> 1) & !below;
        }
    }

    /// The node at `place` has another endpoint. Its record remains, but what the old endpoint earned says nothing of the
    /// new one (attack D18).
    pub(super) fn relocate(&mut self, place: usize, contact: Contact) {
        if let Some(entry) = self.entries.get_mut(place) {
            *entry = Entry { contact, standing: Standing { liveness: 1, find_failures: 0, ..entry.standing } };
            self.note_keys(place);
            self.set_checked_often(place, true);
        }
    }

    pub(super) fn set_tcp(&mut self, place: usize, tcp: u16) {
        if let Some(entry) = self.entries.get_mut(place) {
            entry.contact.tcp = tcp;
        }
    }

    pub(super) fn standing_mut(&mut self, place: usize) -> Option<&mut Standing> {
        Some(&mut self.entries.get_mut(place)?.standing)
    }

    pub(super) fn set_checked_often(&mut self, place: usize, often: bool) {
        self.often = if often { self.often | bit(place) } else { self.often & !bit(place) };
    }

    fn note_keys(&mut self, place: usize) {
        if let Some(Entry { contact, .. }) = self.entries.get(place) {
            self.id_keys[place] = id_key(&contact.id);
            self.subnet_keys[place] = subnet_key(Subnet::of(contact.ip));
        }
    }

    fn is_at(&self, place: usize, wanted: impl FnOnce(&Contact) -> bool) -> bool {
        self.entries.get(place).is_some_and(|entry| wanted(&entry.contact))
    }

    /// One bit for each entry.
    fn taken(&self) -> u32 {
        bit(self.entries.len()) - 1
    }

    /// The places with this key. Without a branch and with lanes as wide as the keys, so that it takes few instructions.
    fn matching(&self, keys: &[u16; BUCKET_SIZE], key: u16) -> Places {
        let bits = keys.iter().enumerate().fold(0u16, |bits, (place, other)| bits | u16::from(*other == key) << place);
        Places(u32::from(bits) & self.taken())
    }
}

/// Some places of a bucket, one bit each, lowest first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places(u32);

impl Iterator for Places {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let place = self.0.trailing_zeros() as usize;
        self.0 &= self.0.checked_sub(1)?;
        Some(place)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = self.0.count_ones() as usize;
        (count, Some(count))
    }
}

impl ExactSizeIterator for Places {}

/// The other nodes of a newcomer's subnet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crowd<'a> {
    newcomer: &'a Contact,
    subnet: Subnet,
    subnet_key: u16,
}

impl<'a> Crowd<'a> {
    /// None if the newcomer is of a local network, whose nodes are not counted.
    pub(super) fn around(newcomer: &'a Contact) -> Option<Self> {
        let subnet = Subnet::of(newcomer.ip);
        let is_counted = !scope(newcomer.ip).is_local();
        is_counted.then(|| Self { newcomer, subnet, subnet_key: subnet_key(subnet) })
    }

    pub(super) fn includes(&self, ip: IpAddr, key: &PublicKey) -> bool {
        Subnet::of(ip) == self.subnet && *key != self.newcomer.key
    }
}

/// A place's bit; a bucket has fewer places than the word has bits.
const fn bit(place: usize) -> u32 {
    const { assert!(BUCKET_SIZE <= 16) };
    1 << place
}

/// The end of an id: those of a bucket begin alike.
const fn id_key(id: &NodeId) -> u16 {
    let [.., a, b] = id.0;
    u16::from_be_bytes([a, b])
}

/// The top of a product with 2^64 over the golden ratio, which every byte of the subnet moves.
pub(super) const fn subnet_key(subnet: Subnet) -> u16 {
    (u64::from_le_bytes(*subnet.as_bytes()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}
