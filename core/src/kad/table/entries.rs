//! The entries of all buckets, with short keys by which they are found and counted.
//!
//! In a process of ten thousand nodes none of this memory is in the processor's caches. Finding an id, counting a subnet
//! and drawing an entry therefore read a few lines of keys and bits, and only the entries that match. Crafted ids or
//! addresses with equal keys cost one more entry to read and change no result. Keys change with their entries and nowhere
//! else: what is lent for change, [`Standing`], holds nothing that a key is made of. Limits on subnets are the parent's.

use core::net::{IpAddr, SocketAddr};

use super::bucket::Bucket;
use super::kept::Kept;
use crate::crypto::{NodeId, PublicKey};
use crate::limits::{BUCKET_SIZE, BUCKETS};
use crate::netfilter::{Subnet, scope};
use crate::wire::enode::Contact;

/// Entries for which room is made at once: a bucket of few need not hold the memory of sixteen.
const GROWTH: usize = 4;

/// A node of the table. It proved its endpoint when it came in.
///
/// Its key is on one cache line, what is asked of it more often on the next.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub struct Entry {
    contact: Contact,
    standing: Standing,
}

// There are up to 272 of them, more than anything else that a node at rest keeps.
const _: () = assert!(size_of::<Entry>() == 128);

impl Entry {
    pub(super) fn new(contact: Contact, liveness: u8) -> Self {
        Self { contact, standing: Standing { liveness, find_failures: 0, record_seq: [0; 8] } }
    }

    /// The node.
    pub fn contact(&self) -> &Contact {
        &self.contact
    }

    /// Liveness checks passed, divided by three for each one failed. 0 for a replacement that moved up and has not been
    /// checked since.
    pub fn liveness(&self) -> u8 {
        self.standing.liveness
    }

    /// Whether the node may be relayed and dialled: it passed a check since it came in.
    pub fn is_live(&self) -> bool {
        self.liveness() > 0
    }

    /// The sequence number of its newest known record; 0 if none is known.
    pub fn record_seq(&self) -> u64 {
        u64::from_ne_bytes(self.standing.record_seq)
    }
}

/// The part of an entry that may change in place: the results of checks and the sequence number of its record. The number
/// is plain bytes, because its alignment would cost six more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) liveness: u8,
    pub(super) find_failures: u8,
    record_seq: [u8; 8],
}

/// The position of an entry. When an entry is removed, the indices of the later entries of its bucket decrease by one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Position {
    /// Less than [`BUCKETS`].
    pub bucket: usize,
    /// Less than [`BUCKET_SIZE`].
    pub index: usize,
}

/// All buckets with the keys of their entries.
#[derive(Clone, Default, Debug)]
pub(super) struct Entries<K> {
    /// By bucket, a bit for each index with an entry on the fast schedule of checks.
    fast: [u16; BUCKETS],
    /// The same for the slow schedule.
    slow: [u16; BUCKETS],
    /// The same for entries at an endpoint that the node's newest known record names.
    at_record: [u16; BUCKETS],
    /// Keys by bucket and index; those of indices without an entry mean nothing.
    id_keys: [[u16; BUCKET_SIZE]; BUCKETS],
    subnet_keys: [[u16; BUCKET_SIZE]; BUCKETS],
    kept: K,
    buckets: [Bucket; BUCKETS],
}

impl<K: Kept> Entries<K> {
    /// The buckets, the nearest first.
    pub(super) fn buckets(&self) -> &[Bucket; BUCKETS] {
        &self.buckets
    }

    /// A bucket, for changes of its replacements.
    pub(super) fn bucket_mut(&mut self, bucket: usize) -> &mut Bucket {
        &mut self.buckets[bucket]
    }

    /// The position of a node of this bucket.
    pub(super) fn find(&self, bucket: usize, id: &NodeId) -> Option<Position> {
        let mut alike = self.matching(bucket, &self.id_keys, id_key(id));
        alike.find(|position| self.get(*position).is_some_and(|entry| entry.contact.id() == *id))
    }

    /// The entry at a position.
    pub(super) fn get(&self, position: Position) -> Option<&Entry> {
        self.buckets[position.bucket].entries.get(position.index)
    }

    /// Whether any entry has this endpoint.
    pub(super) fn has_endpoint(&self, at: SocketAddr) -> bool {
        let key = subnet_key(Subnet::of(at.ip()));
        let is_there = |position| self.get(position).is_some_and(|entry| entry.contact.udp_addr() == at);
        (0..BUCKETS).any(|bucket| self.matching(bucket, &self.subnet_keys, key).any(is_there))
    }

    /// How many entries of a bucket match.
    pub(super) fn count(&self, bucket: usize, subnet: &SubnetFilter<'_>) -> usize {
        let alike = self.matching(bucket, &self.subnet_keys, subnet.subnet_key);
        let matches = |entry: &Entry| subnet.matches(entry.contact.ip(), &entry.contact.key());
        alike.filter(|position| self.get(*position).is_some_and(matches)).count()
    }

    /// Whether the entry is on the fast schedule of checks: it is new, or failed its last check.
    #[cfg(test)]
    pub(super) fn is_fast(&self, position: Position) -> bool {
        self.fast[position.bucket] & bit(position.index) != 0
    }

    /// Number of entries on the fast or on the slow schedule.
    pub(super) fn count_scheduled(&self, fast: bool) -> usize {
        self.schedule(fast).iter().map(|bits| bits.count_ones() as usize).sum()
    }

    /// The positions of the entries on the fast or on the slow schedule, the nearest bucket's first.
    pub(super) fn positions(&self, fast: bool) -> impl Iterator<Item = Position> {
        self.schedule(fast).iter().enumerate().flat_map(|(bucket, bits)| Positions { bucket, bits: *bits })
    }

    /// What is kept of the record of the node at a position.
    pub(super) fn kept(&self, position: Position) -> Option<&K::Value> {
        self.kept.get(position)
    }

    /// Adds an entry, on the fast schedule. A full bucket takes none.
    pub(super) fn push(&mut self, bucket: usize, entry: Entry) {
        let entries = &mut self.buckets[bucket].entries;
        let position = Position { bucket, index: entries.len() };
        if position.index < BUCKET_SIZE {
            if position.index == entries.capacity() {
                entries.reserve_exact(GROWTH);
            }
            entries.push(entry);
            self.set_keys(position);
            self.set_schedule(position, true);
            self.set_at_record(position, false);
        }
    }

    /// Removes the entry at a position, if there is one.
    pub(super) fn remove(&mut self, position: Position) {
        let Position { bucket, index } = position;
        if index < self.buckets[bucket].entries.len() {
            self.buckets[bucket].entries.remove(index);
            self.kept.remove(position);
            self.id_keys[bucket].copy_within(index + 1.., index);
            self.subnet_keys[bucket].copy_within(index + 1.., index);
            let below = bit(index) - 1;
            for bits in [&mut self.fast[bucket], &mut self.slow[bucket], &mut self.at_record[bucket]] {
                *bits = *bits & below | (*bits >> 1) & !below;
            }
        }
    }

    /// The node at a position has another endpoint, which its record names. Checks that the old endpoint passed prove
    /// nothing for the new one (attack D18).
    pub(super) fn relocate(&mut self, position: Position, contact: Contact) {
        if let Some(entry) = self.get_mut(position) {
            *entry = Entry { contact, standing: Standing { liveness: 1, find_failures: 0, ..entry.standing } };
            self.set_keys(position);
            self.set_schedule(position, true);
            self.set_at_record(position, true);
        }
    }

    pub(super) fn set_tcp(&mut self, position: Position, tcp: u16) {
        if let Some(entry) = self.get_mut(position) {
            entry.contact = entry.contact.with_tcp(tcp);
        }
    }

    /// Keeps the content of a record. False if the record is older than the known one.
    pub(super) fn update_record(&mut self, position: Position, seq: u64, value: Option<K::Value>) -> bool {
        let Some(entry) = self.get_mut(position) else { return true };
        let is_current = seq >= entry.record_seq();
        if is_current {
            entry.standing.record_seq = seq.to_ne_bytes();
            self.kept.set(position, value);
        }
        is_current
    }

    pub(super) fn standing_mut(&mut self, position: Position) -> Option<&mut Standing> {
        Some(&mut self.get_mut(position)?.standing)
    }

    pub(super) fn set_schedule(&mut self, position: Position, fast: bool) {
        let Position { bucket, index } = position;
        let (to, from) = if fast { (&mut self.fast, &mut self.slow) } else { (&mut self.slow, &mut self.fast) };
        to[bucket] |= bit(index);
        from[bucket] &= !bit(index);
    }

    pub(super) fn is_at_record(&self, position: Position) -> bool {
        self.at_record[position.bucket] & bit(position.index) != 0
    }

    pub(super) fn set_at_record(&mut self, position: Position, is_at_record: bool) {
        let bits = &mut self.at_record[position.bucket];
        *bits = if is_at_record { *bits | bit(position.index) } else { *bits & !bit(position.index) };
    }

    fn get_mut(&mut self, position: Position) -> Option<&mut Entry> {
        self.buckets[position.bucket].entries.get_mut(position.index)
    }

    fn set_keys(&mut self, position: Position) {
        if let Some(Entry { contact, .. }) = self.get(position) {
            let (id_key, subnet_key) = (id_key(&contact.id()), subnet_key(Subnet::of(contact.ip())));
            self.id_keys[position.bucket][position.index] = id_key;
            self.subnet_keys[position.bucket][position.index] = subnet_key;
        }
    }

    fn schedule(&self, fast: bool) -> &[u16; BUCKETS] {
        if fast { &self.fast } else { &self.slow }
    }

    /// The positions of a bucket's entries with this key. Without a branch and with lanes as wide as the keys, so that it
    /// takes few instructions.
    fn matching(&self, bucket: usize, keys: &[[u16; BUCKET_SIZE]; BUCKETS], key: u16) -> Positions {
        let lanes = keys[bucket].iter().enumerate();
        let bits = lanes.fold(0, |bits, (index, other)| bits | u16::from(*other == key) << index);
        Positions { bucket, bits: bits & (self.fast[bucket] | self.slow[bucket]) }
    }
}

/// Some positions of a bucket, one bit each, lowest first.
#[derive(Clone, Copy, Debug)]
struct Positions {
    bucket: usize,
    bits: u16,
}

impl Iterator for Positions {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        let index = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits.checked_sub(1)?;
        Some(Position { bucket: self.bucket, index })
    }
}

/// Matches the other nodes of a node's subnet.
#[derive(Clone, Copy, Debug)]
pub(super) struct SubnetFilter<'a> {
    node: &'a Contact,
    subnet: Subnet,
    subnet_key: u16,
}

impl<'a> SubnetFilter<'a> {
    /// `None` if the node is of a local network, whose nodes are not counted.
    pub(super) fn of(node: &'a Contact) -> Option<Self> {
        let subnet = Subnet::of(node.ip());
        let is_counted = !scope(node.ip()).is_local();
        is_counted.then(|| Self { node, subnet, subnet_key: subnet_key(subnet) })
    }

    pub(super) fn matches(&self, ip: IpAddr, key: &PublicKey) -> bool {
        Subnet::of(ip) == self.subnet && *key != self.node.key()
    }
}

/// The bit of an index; a bucket has no more entries than the word has bits.
const fn bit(index: usize) -> u16 {
    const { assert!(BUCKET_SIZE <= 16) };
    1 << index
}

/// The end of an id: those of a bucket begin alike.
const fn id_key(id: &NodeId) -> u16 {
    let [.., a, b] = id.0;
    u16::from_be_bytes([a, b])
}

/// The top of a product with 2^64 over the golden ratio, which depends on every byte of the subnet.
pub(super) const fn subnet_key(subnet: Subnet) -> u16 {
    (u64::from_le_bytes(*subnet.as_bytes()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}
