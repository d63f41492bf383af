//! The entries of all buckets, with short keys by which they are found and counted.
//!
//! A host of ten thousand nodes finds none of their memory in its caches: looking for an id, counting a subnet and drawing
//! an entry read a few lines of keys and bits, and only the entries that match. Who crafts ids or addresses of equal keys
//! makes us read an entry more, not judge differently. Keys change with their entries and nowhere else: what is lent for
//! change, [`Standing`], holds nothing that a key is made of. Limits on subnets are the business of its parent.

use core::net::IpAddr;

use super::bucket::Bucket;
use super::forks::ForkIds;
use crate::crypto::{NodeId, PublicKey};
use crate::limits::{BUCKET_SIZE, BUCKETS};
use crate::netfilter::{Subnet, scope};
use crate::wire::enode::Contact;
use crate::wire::forkid::ForkId;

/// Entries for which room is made at once: a bucket of few shall not pay for the sixteen of a full one.
const GROWTH: usize = 4;

/// A node of the table. It proved its endpoint when it came in.
///
/// Its key is on one cache line, all that is asked of it more often on the next.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Entry {
    contact: Contact,
    standing: Standing,
}

// There are up to 272 of them, more than all else that a node at rest keeps.
const _: () = assert!(size_of::<Entry>() == 128);

impl Entry {
    pub(super) fn new(contact: Contact, liveness: u8) -> Self {
        Self { contact, standing: Standing { liveness, find_failures: 0, record_seq: [0; 8] } }
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
        u64::from_ne_bytes(self.standing.record_seq)
    }
}

/// What a node has earned, and the number of its record: the part of an entry that may change in place. The number is plain
/// bytes, as its alignment would cost six more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) liveness: u8,
    pub(super) find_failures: u8,
    record_seq: [u8; 8],
}

/// Where an entry is. The places of later entries of its bucket move down by one when one is removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub(super) bucket: usize,
    pub(super) index: usize,
}

/// See the module.
#[derive(Clone, Default, Debug)]
pub(super) struct Entries {
    /// By bucket, a bit for each place with an entry that is checked often.
    often: [u16; BUCKETS],
    /// The same for all others.
    seldom: [u16; BUCKETS],
    /// Keys by bucket and place; those of places without an entry mean nothing.
    id_keys: [[u16; BUCKET_SIZE]; BUCKETS],
    subnet_keys: [[u16; BUCKET_SIZE]; BUCKETS],
    fork_ids: ForkIds,
    buckets: [Bucket; BUCKETS],
}

impl Entries {
    /// The buckets, the nearest first.
    pub(super) fn buckets(&self) -> &[Bucket; BUCKETS] {
        &self.buckets
    }

    /// A bucket, for those that wait for a place in it.
    pub(super) fn bucket_mut(&mut self, bucket: usize) -> &mut Bucket {
        &mut self.buckets[bucket]
    }

    /// Where a node of this bucket is.
    pub(super) fn find(&self, bucket: usize, id: &NodeId) -> Option<Place> {
        let mut alike = self.matching(bucket, &self.id_keys, id_key(id));
        alike.find(|place| self.get(*place).is_some_and(|entry| entry.contact.id() == *id))
    }

    /// The entry at a place.
    pub(super) fn get(&self, place: Place) -> Option<&Entry> {
        self.buckets[place.bucket].entries.get(place.index)
    }

    /// How many of a crowd are in a bucket.
    pub(super) fn count(&self, bucket: usize, crowd: &Crowd<'_>) -> usize {
        let alike = self.matching(bucket, &self.subnet_keys, crowd.subnet_key);
        let includes = |entry: &Entry| crowd.includes(entry.contact.ip(), &entry.contact.key());
        alike.filter(|place| self.get(*place).is_some_and(includes)).count()
    }

    /// Whether the next check of the entry at `place` is due soon: it is new, or failed one.
    pub(super) fn is_checked_often(&self, place: Place) -> bool {
        self.often[place.bucket] & bit(place.index) != 0
    }

    /// How many entries are checked often, or how many others there are.
    pub(super) fn count_checked(&self, often: bool) -> usize {
        self.checked(often).iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// The places of the entries that are checked often, or of the others, the nearest bucket's first.
    pub(super) fn places(&self, often: bool) -> impl Iterator<Item = Place> {
        self.checked(often).iter().enumerate().flat_map(|(bucket, bits)| Places { bucket, bits: *bits })
    }

    /// The fork id in the record of the node at `place`.
    pub(super) fn fork_id(&self, place: Place) -> Option<ForkId> {
        self.fork_ids.get(place)
    }

    /// Adds an entry, which is checked often. A full bucket takes none.
    pub(super) fn push(&mut self, bucket: usize, entry: Entry) {
        let entries = &mut self.buckets[bucket].entries;
        let place = Place { bucket, index: entries.len() };
        if place.index < BUCKET_SIZE {
            if place.index == entries.capacity() {
                entries.reserve_exact(GROWTH);
            }
            entries.push(entry);
            self.note_keys(place);
            self.set_checked_often(place, true);
        }
    }

    /// Removes the entry at `place`, if there is one.
    pub(super) fn remove(&mut self, place: Place) {
        let Place { bucket, index } = place;
        if index < self.buckets[bucket].entries.len() {
            self.buckets[bucket].entries.remove(index);
            self.fork_ids.remove(place);
            self.id_keys[bucket].copy_within(index + 1.., index);
            self.subnet_keys[bucket].copy_within(index + 1.., index);
            let below = bit(index) - 1;
            for bits in [&mut self.often[bucket], &mut self.seldom[bucket]] {
                *bits = *bits & below | (*bits >> 1) & !below;
            }
        }
    }

    /// The node at `place` has another endpoint. Its record remains, but what the old endpoint earned says nothing of the
    /// new one (attack D18).
    pub(super) fn relocate(&mut self, place: Place, contact: Contact) {
        if let Some(entry) = self.get_mut(place) {
            *entry = Entry { contact, standing: Standing { liveness: 1, find_failures: 0, ..entry.standing } };
            self.note_keys(place);
            self.set_checked_often(place, true);
        }
    }

    pub(super) fn set_tcp(&mut self, place: Place, tcp: u16) {
        if let Some(entry) = self.get_mut(place) {
            entry.contact = entry.contact.with_tcp(tcp);
        }
    }

    /// Keeps what a record says. False if it is older than the one we have.
    pub(super) fn note_record(&mut self, place: Place, seq: u64, fork_id: Option<ForkId>) -> bool {
        let Some(entry) = self.get_mut(place) else { return true };
        let is_news = seq >= entry.record_seq();
        if is_news {
            entry.standing.record_seq = seq.to_ne_bytes();
            self.fork_ids.set(place, fork_id);
        }
        is_news
    }

    pub(super) fn standing_mut(&mut self, place: Place) -> Option<&mut Standing> {
        Some(&mut self.get_mut(place)?.standing)
    }

    pub(super) fn set_checked_often(&mut self, place: Place, often: bool) {
        let Place { bucket, index } = place;
        let (to, from) = if often { (&mut self.often, &mut self.seldom) } else { (&mut self.seldom, &mut self.often) };
        to[bucket] |= bit(index);
        from[bucket] &= !bit(index);
    }

    fn get_mut(&mut self, place: Place) -> Option<&mut Entry> {
        self.buckets[place.bucket].entries.get_mut(place.index)
    }

    fn note_keys(&mut self, place: Place) {
        if let Some(Entry { contact, .. }) = self.get(place) {
            let (id_key, subnet_key) = (id_key(&contact.id()), subnet_key(Subnet::of(contact.ip())));
            self.id_keys[place.bucket][place.index] = id_key;
            self.subnet_keys[place.bucket][place.index] = subnet_key;
        }
    }

    fn checked(&self, often: bool) -> &[u16; BUCKETS] {
        if often { &self.often } else { &self.seldom }
    }

    /// The places of a bucket with this key. Without a branch and with lanes as wide as the keys, so that it takes few
    /// instructions.
    fn matching(&self, bucket: usize, keys: &[[u16; BUCKET_SIZE]; BUCKETS], key: u16) -> Places {
        let lanes = keys[bucket].iter().enumerate();
        let bits = lanes.fold(0, |bits, (index, other)| bits | u16::from(*other == key) << index);
        Places { bucket, bits: bits & (self.often[bucket] | self.seldom[bucket]) }
    }
}

/// Some places of a bucket, one bit each, lowest first.
#[derive(Clone, Copy, Debug)]
struct Places {
    bucket: usize,
    bits: u16,
}

impl Iterator for Places {
    type Item = Place;

    fn next(&mut self) -> Option<Place> {
        let index = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits.checked_sub(1)?;
        Some(Place { bucket: self.bucket, index })
    }
}

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
        let subnet = Subnet::of(newcomer.ip());
        let is_counted = !scope(newcomer.ip()).is_local();
        is_counted.then(|| Self { newcomer, subnet, subnet_key: subnet_key(subnet) })
    }

    pub(super) fn includes(&self, ip: IpAddr, key: &PublicKey) -> bool {
        Subnet::of(ip) == self.subnet && *key != self.newcomer.key()
    }
}

/// A place's bit; a bucket has no more places than the word has bits.
const fn bit(index: usize) -> u16 {
    const { assert!(BUCKET_SIZE <= 16) };
    1 << index
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
