//! The Kademlia table (discv4, "Node Table"): who is known, who is alive, who is to be checked next.
//!
//! Only nodes that proved their endpoint come in. Liveness follows geth: random checks, fast for the new and slow for the
//! proven, credit that failures divide by three, replacements for the dead. Subnets have a limited share (attack D11).
//! It sends nothing; every change comes back to its parent as a [`Change`].

mod bucket;
mod entries;
mod forks;

use alloc::vec::Vec;
use core::net::SocketAddr;

pub use bucket::Bucket;
pub use entries::Entry;

use self::bucket::Waiting;
use self::entries::{Crowd, Entries, Place, Standing};
use super::Candidate;
use crate::contract::Prefetch;
use crate::crypto::NodeId;
use crate::limits;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::enode::Contact;
use crate::wire::forkid::ForkId;

/// Distances up to this share the first bucket.
const NEAR_DISTANCE: u16 = 256 - (limits::BUCKETS as u16 - 1);

// The ids of each further bucket differ from our own in one of the first 16 bits.
const _: () = assert!(NEAR_DISTANCE == 240);

/// What became of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// A node came in.
    Added(Contact),
    /// A node left.
    Removed(NodeId),
}

/// See the module.
#[derive(Debug)]
pub struct Table {
    own: NodeId,
    entries: Entries,
    fast: Checks,
    slow: Checks,
    /// The latest nodes that failed a check after which nobody has answered yet: perhaps it is us who is cut off, or
    /// whose clock is wrong (attack D14). Judged when somebody answers.
    doubts: Vec<NodeId>,
}

/// When the next node of one kind is checked.
#[derive(Clone, Copy, Debug)]
struct Checks {
    interval_max: Duration,
    due: Option<Instant>,
}

impl Checks {
    fn schedule(&mut self, now: Instant, rng: &mut Rng) {
        self.due = Some(now + rng.duration(Duration::from_micros(1), self.interval_max));
    }
}

impl Table {
    /// An empty table of the node `own`, whose entries are checked at random intervals of up to `fast_interval_max` and
    /// `slow_interval_max`.
    pub fn new(own: NodeId, fast_interval_max: Duration, slow_interval_max: Duration) -> Self {
        Self {
            own,
            entries: Entries::default(),
            fast: Checks { interval_max: fast_interval_max, due: None },
            slow: Checks { interval_max: slow_interval_max, due: None },
            doubts: Vec::new(),
        }
    }

    /// The buckets, the nearest first.
    pub fn buckets(&self) -> &[Bucket] {
        self.entries.buckets()
    }

    /// All entries, the nearest bucket's first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets().iter().flat_map(Bucket::entries)
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.count_checked(true) + self.entries.count_checked(false)
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of a node.
    pub fn entry(&self, id: &NodeId) -> Option<&Entry> {
        self.entries.get(self.place(id)?)
    }

    /// The fork id in a node's record, if it is here and we have its record.
    pub fn fork_id(&self, id: &NodeId) -> Option<ForkId> {
        self.entries.fork_id(self.place(id)?)
    }

    /// Whether the next check of a node of the table is due soon: it is new, or failed one.
    pub fn is_checked_often(&self, id: &NodeId) -> bool {
        self.place(id).is_some_and(|place| self.entries.is_checked_often(place))
    }

    /// Whether hearing of this node is of any use: it is unknown, and its bucket has a place.
    pub fn has_room_for(&self, contact: &Contact) -> bool {
        let is_new =
            contact.id() != self.own && !self.bucket(&contact.id()).is_full() && self.place(&contact.id()).is_none();
        is_new && self.admits(contact)
    }

    /// The nearest live nodes to `target` that satisfy `wanted`, nearest first.
    pub fn nearest(&self, target: &NodeId, count: usize, wanted: impl Fn(&Contact) -> bool) -> Vec<&Contact> {
        // Whoever differs from us first in a bit in which the target differs as well is nearer to it than all who share more
        // with us; in any other bit, further. So each bucket is nearer as a whole than the next one in this order.
        let [target_bits, own_bits] = [target, &self.own].map(|id| u16::from_be_bytes([id.0[0], id.0[1]]));
        let is_nearer = |i: &usize| (target_bits ^ own_bits) >> (i - 1) & 1 == 1;
        let nearer = (1..limits::BUCKETS).rev().filter(is_nearer);
        let further = (1..limits::BUCKETS).filter(|i| !is_nearer(i));
        let mut nodes: Vec<&Contact> = Vec::with_capacity(count + limits::BUCKET_SIZE);
        for i in nearer.chain([0]).chain(further) {
            let start = nodes.len();
            let live = self.buckets()[i].entries().iter().filter(|entry| entry.liveness() > 0);
            nodes.extend(live.map(Entry::contact).filter(|contact| wanted(contact)));
            nodes[start..].sort_unstable_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
            if nodes.len() >= count {
                break;
            }
        }
        nodes.truncate(count);
        nodes
    }

    /// Live nodes that can be dialled, one random node from each bucket in random order, then a second one, and so on: how
    /// many of an attacker's nodes are among them depends on its subnets, not on how near its ids are (attack D12).
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<Candidate> {
        let mut piles: Vec<Vec<&Entry>> = Vec::new();
        for bucket in self.buckets() {
            let fit = |entry: &&Entry| entry.liveness() > 0 && entry.contact().tcp() != 0;
            let mut pile: Vec<&Entry> = bucket.entries().iter().filter(fit).collect();
            rng.shuffle(&mut pile);
            piles.push(pile);
        }
        rng.shuffle(&mut piles);
        let rounds = (0..limits::BUCKET_SIZE).flat_map(|round| piles.iter().filter_map(move |pile| pile.get(round)));
        let candidate = |contact: &Contact| Candidate { contact: *contact, fork_id: self.fork_id(&contact.id()) };
        rounds.take(max).map(|entry| candidate(entry.contact())).collect()
    }

    /// A node proved its endpoint. It comes in if it is new and there is a place, moves if it had another endpoint, or waits
    /// for a place.
    #[must_use]
    pub fn insert(&mut self, contact: Contact, now: Instant, rng: &mut Rng) -> Option<Change> {
        if contact.id() == self.own {
            return None;
        }
        let place = self.place(&contact.id());
        // Subnets are counted only where it matters: mostly, somebody well known has been heard from again.
        if let Some(entry) = place.and_then(|place| self.entries.get(place))
            && entry.contact().udp_addr() == contact.udp_addr()
        {
            if entry.contact().tcp() == 0 {
                self.note_tcp(&contact.id(), contact.udp_addr(), contact.tcp());
            }
            return None;
        }
        let bucket = self.index(&contact.id());
        let admitted = (place.is_some() || !self.buckets()[bucket].is_full()) && self.admits(&contact);
        let change = match place {
            Some(place) => {
                if !admitted {
                    return None;
                }
                self.entries.relocate(place, contact);
                None
            }
            None if !admitted => {
                self.entries.bucket_mut(bucket).add_replacement(contact);
                return None;
            }
            None => {
                self.entries.bucket_mut(bucket).forget_replacement(&contact);
                self.entries.push(bucket, Entry::new(contact, 1));
                Some(Change::Added(contact))
            }
        };
        if self.fast.due.is_none() {
            self.fast.schedule(now, rng);
        }
        change
    }

    /// The node itself says where it listens.
    pub fn note_tcp(&mut self, id: &NodeId, at: SocketAddr, tcp: u16) {
        if tcp != 0
            && let Some(place) = self.place_at(id, at)
        {
            self.entries.set_tcp(place, tcp);
        }
    }

    /// A record of the node was verified. False if it is older than the one we have.
    pub fn note_record(&mut self, id: &NodeId, seq: u64, fork_id: Option<ForkId>) -> bool {
        self.place(id).is_none_or(|place| self.entries.note_record(place, seq, fork_id))
    }

    /// Shows what [`Table::check_due`] will read.
    pub fn prefetch_deadlines(&self, memory: &mut impl Prefetch) {
        memory.prefetch(&self.fast);
        memory.prefetch(&self.slow);
    }

    /// When the next check is due.
    pub fn check_due(&self) -> Option<Instant> {
        self.fast.due.into_iter().chain(self.slow.due).min()
    }

    /// The nodes whose liveness is to be checked now: none, one of the often checked, one of the others, or both.
    #[must_use]
    pub fn pop_checks(&mut self, now: Instant, rng: &mut Rng) -> [Option<Contact>; 2] {
        [true, false].map(|fast| {
            let checks = if fast { &mut self.fast } else { &mut self.slow };
            checks.due.filter(|due| *due <= now)?;
            let count = self.entries.count_checked(fast);
            if count == 0 {
                checks.due = None;
                return None;
            }
            checks.schedule(now, rng);
            let chosen = self.entries.places(fast).nth(rng.below(count as u64) as usize)?;
            self.entries.get(chosen).map(|entry| *entry.contact())
        })
    }

    /// A node answered a ping at this endpoint.
    pub fn check_passed(&mut self, id: &NodeId, at: SocketAddr, now: Instant, rng: &mut Rng) {
        if let Some(place) = self.place_at(id, at) {
            if let Some(standing) = self.entries.standing_mut(place) {
                standing.liveness = standing.liveness.saturating_add(1);
            }
            self.entries.set_checked_often(place, false);
            if self.slow.due.is_none() {
                self.slow.schedule(now, rng);
            }
        }
    }

    /// A node did not answer a check. This counts once somebody else answers, if there is enough of somebody else.
    #[must_use]
    pub fn check_failed(&mut self, id: &NodeId, at: SocketAddr, now: Instant, rng: &mut Rng) -> Vec<Change> {
        if self.place_at(id, at).is_none() {
            return Vec::new();
        }
        if self.len() <= limits::SUSPECTS_MAX {
            return self.discredit(id, now, rng);
        }
        self.doubts.retain(|doubted| doubted != id);
        self.doubts.insert(0, *id);
        self.doubts.truncate(limits::SUSPECTS_MAX);
        Vec::new()
    }

    /// Somebody answered us: what failed before did so by its own fault.
    #[must_use]
    pub fn heard(&mut self, from: &NodeId, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let doubts = core::mem::take(&mut self.doubts);
        doubts.iter().filter(|id| *id != from).flat_map(|id| self.discredit(id, now, rng)).collect()
    }

    /// A node answered a FindNode, or did not. Five failures in a row cost it its place, unless its bucket is nearly empty or
    /// nobody at all answers.
    #[must_use]
    pub fn find_result(&mut self, id: &NodeId, answered: bool, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let silence = self.doubts.len() >= limits::SUSPECTS_MAX;
        let plenty = self.bucket(id).entries().len() >= limits::BUCKET_SIZE / 4;
        let Some(standing) = self.standing_mut(id) else { return Vec::new() };
        if answered {
            standing.find_failures = 0;
        } else if !silence {
            standing.find_failures = standing.find_failures.saturating_add(1);
            if plenty && standing.find_failures >= limits::FIND_FAILURES_MAX {
                return self.remove(id, now, rng);
            }
        }
        Vec::new()
    }

    fn discredit(&mut self, id: &NodeId, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let Some(place) = self.place(id) else { return Vec::new() };
        let Some(standing) = self.entries.standing_mut(place) else { return Vec::new() };
        standing.liveness /= 3;
        if standing.liveness == 0 {
            return self.remove(id, now, rng);
        }
        self.entries.set_checked_often(place, true);
        if self.fast.due.is_none() {
            self.fast.schedule(now, rng);
        }
        Vec::new()
    }

    /// Removes a node; one that waited, chosen at random, takes its place.
    fn remove(&mut self, id: &NodeId, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(place) = self.place(id) {
            self.entries.remove(place);
            changes.push(Change::Removed(*id));
        }
        let bucket = self.index(id);
        let mut waiting = core::mem::take(&mut self.entries.bucket_mut(bucket).replacements);
        let fits = |(i, waiting): (usize, &Waiting)| Some((i, waiting.contact())).filter(|(_, node)| self.admits(node));
        let fitting: Vec<(usize, Contact)> = waiting.iter().enumerate().filter_map(fits).collect();
        if let Some((chosen, contact)) = rng.choose(&fitting).copied() {
            waiting.remove(chosen);
            self.entries.push(bucket, Entry::new(contact, 0));
            changes.push(Change::Added(contact));
            if self.fast.due.is_none() {
                self.fast.schedule(now, rng);
            }
        }
        self.entries.bucket_mut(bucket).replacements = waiting;
        changes
    }

    /// Whether the rules about subnets admit `contact`, not counting what it has already.
    fn admits(&self, contact: &Contact) -> bool {
        let Some(crowd) = Crowd::around(contact) else { return true };
        let count = |bucket| self.entries.count(bucket, &crowd);
        count(self.index(&contact.id())) < limits::SUBNET_PER_BUCKET
            && (0..limits::BUCKETS).map(count).sum::<usize>() < limits::SUBNET_PER_TABLE
    }

    fn index(&self, id: &NodeId) -> usize {
        usize::from(self.own.log_distance(id).saturating_sub(NEAR_DISTANCE))
    }

    /// The bucket that a node with this id belongs to.
    pub fn bucket(&self, id: &NodeId) -> &Bucket {
        &self.buckets()[self.index(id)]
    }

    /// The place of a node.
    fn place(&self, id: &NodeId) -> Option<Place> {
        self.entries.find(self.index(id), id)
    }

    /// The place of a node, if it is there with this endpoint.
    fn place_at(&self, id: &NodeId, at: SocketAddr) -> Option<Place> {
        let place = self.place(id)?;
        (self.entries.get(place)?.contact().udp_addr() == at).then_some(place)
    }

    fn standing_mut(&mut self, id: &NodeId) -> Option<&mut Standing> {
        self.entries.standing_mut(self.place(id)?)
    }
}

#[cfg(test)]
mod tests;
