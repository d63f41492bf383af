//! The Kademlia table (discv4, "Node Table"; discv5, "Node Table"): known nodes, their liveness, the next node to check.
//!
//! Only nodes that proved their endpoint come in. Liveness follows geth: random checks on a fast schedule for new nodes and
//! on a slow one for proven nodes, credit that a failure divides by three, replacements for dead nodes. Subnets have a
//! limited share (attack D11). The table sends nothing; every change is returned to its parent as a [`Change`].

mod bucket;
mod entries;
mod kept;

use alloc::vec::Vec;
use core::net::SocketAddr;

pub use bucket::Bucket;
pub use entries::{Entry, Position};
pub use kept::{ForkIds, Kept};

use self::bucket::Replacement;
use self::entries::{Entries, Standing, SubnetFilter};
use super::Candidate;
use super::schedule::Schedule;
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

/// A change of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Change {
    /// A node came in.
    Added(Contact),
    /// A node left.
    Removed(Contact),
}

/// The nodes that a discovery protocol knows. `K` is what the protocol keeps of their records.
#[derive(Debug)]
pub struct Table<K = ForkIds> {
    own: NodeId,
    entries: Entries<K>,
    fast: Checks,
    slow: Checks,
    /// The latest nodes that failed a check after which no other node has answered. The fault may be our own connection or
    /// clock (attack D14), so they are judged when another node answers.
    suspects: Vec<NodeId>,
}

/// When the next node of one kind is checked.
#[derive(Clone, Copy, Debug)]
struct Checks {
    interval_max: Duration,
    due: Option<Instant>,
}

impl Checks {
    fn set_next(&mut self, now: Instant, rng: &mut Rng) {
        self.due = Some(now + rng.duration(Duration::from_micros(1), self.interval_max));
    }

    fn start(&mut self, now: Instant, rng: &mut Rng) {
        if self.due.is_none() {
            self.set_next(now, rng);
        }
    }
}

impl<K: Kept> Table<K> {
    /// An empty table of the node `own`, whose entries are checked at random intervals of the schedule.
    pub fn new(own: NodeId, schedule: &Schedule) -> Self {
        Self {
            own,
            entries: Entries::default(),
            fast: Checks { interval_max: schedule.fast_check_interval_max, due: None },
            slow: Checks { interval_max: schedule.slow_check_interval_max, due: None },
            suspects: Vec::new(),
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
        self.entries.count_scheduled(true) + self.entries.count_scheduled(false)
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entry of a node.
    pub fn entry(&self, id: &NodeId) -> Option<&Entry> {
        self.entries.get(self.position(id)?)
    }

    /// Whether the entry of any node has this endpoint.
    pub fn has_endpoint(&self, at: SocketAddr) -> bool {
        self.entries.has_endpoint(at)
    }

    /// What is kept of a node's record, if it has an entry and its record is known.
    pub fn kept(&self, id: &NodeId) -> Option<&K::Value> {
        self.entries.kept(self.position(id)?)
    }

    /// The fork id in a node's record, if it has an entry and its record is known.
    pub fn fork_id(&self, id: &NodeId) -> Option<ForkId> {
        K::fork_id(self.kept(id)?)
    }

    /// Whether a node is on the fast schedule of checks: it is new, or failed its last check.
    #[cfg(test)]
    fn is_on_fast_schedule(&self, id: &NodeId) -> bool {
        self.position(id).is_some_and(|position| self.entries.is_fast(position))
    }

    /// Whether this node could come in now: it has no entry, its bucket is not full, and its subnet has a share left.
    pub fn has_room_for(&self, contact: &Contact) -> bool {
        let is_new =
            contact.id() != self.own && !self.bucket(&contact.id()).is_full() && self.position(&contact.id()).is_none();
        is_new && self.subnet_admits(contact)
    }

    /// The nearest live nodes to `target` that satisfy `wanted`, nearest first.
    pub fn nearest(&self, target: &NodeId, count: usize, wanted: impl Fn(&Contact) -> bool) -> Vec<&Contact> {
        // A node that differs from us first in a bit in which the target differs as well is nearer to the target than all
        // nodes that share more bits with us; in any other bit, it is further. So each bucket is nearer as a whole than the
        // next one in this order.
        let [target_bits, own_bits] = [target, &self.own].map(|id| u16::from_be_bytes([id.0[0], id.0[1]]));
        let is_nearer = |i: &usize| (target_bits ^ own_bits) >> (i - 1) & 1 == 1;
        let nearer = (1..limits::BUCKETS).rev().filter(is_nearer);
        let further = (1..limits::BUCKETS).filter(|i| !is_nearer(i));
        let mut nodes: Vec<&Contact> = Vec::with_capacity(count + limits::BUCKET_SIZE);
        for i in nearer.chain([0]).chain(further) {
            let start = nodes.len();
            let live = self.buckets()[i].entries().iter().filter(|entry| entry.is_live());
            nodes.extend(live.map(Entry::contact).filter(|contact| wanted(contact)));
            nodes[start..].sort_unstable_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
            if nodes.len() >= count {
                break;
            }
        }
        nodes.truncate(count);
        nodes
    }

    /// The live nodes at one logarithmic distance from us whose records are known, the longest known first: what a discv5
    /// FINDNODE asks for. None at distance 0, which is our own, and beyond 256.
    pub fn records_at_distance(&self, distance: u16) -> impl Iterator<Item = (&Entry, &K::Value)> {
        let bucket = bucket_index(distance);
        let entries = self.buckets().get(bucket).map_or(&[][..], Bucket::entries);
        entries.iter().enumerate().filter_map(move |(index, entry)| {
            let is_wanted = entry.is_live() && self.own.log_distance(&entry.contact().id()) == distance;
            let kept = self.entries.kept(Position { bucket, index }).filter(|_| is_wanted)?;
            Some((entry, kept))
        })
    }

    /// Nodes that have proven their endpoint and can be dialled, replacements too: one random node from each bucket in random
    /// order, then a second one, and so on. An attacker's share of them depends on its number of subnets, not on how near its
    /// ids are (attack D12).
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<Candidate> {
        let mut buckets: Vec<Vec<Contact>> = Vec::new();
        for bucket in self.buckets() {
            let live = bucket.entries().iter().filter(|entry| entry.is_live()).map(|entry| *entry.contact());
            let mut nodes: Vec<Contact> =
                live.chain(bucket.replacements()).filter(|contact| contact.tcp() != 0).collect();
            rng.shuffle(&mut nodes);
            buckets.push(nodes);
        }
        rng.shuffle(&mut buckets);
        let longest = limits::BUCKET_SIZE + limits::REPLACEMENTS;
        let rounds = (0..longest).flat_map(|round| buckets.iter().filter_map(move |pile| pile.get(round)));
        let candidate = |contact: &Contact| Candidate { contact: *contact, fork_id: self.fork_id(&contact.id()) };
        rounds.take(max).map(candidate).collect()
    }

    /// A node proved its endpoint. A new node comes in if there is room and becomes a replacement otherwise. A known node at
    /// another endpoint is checked soon at its own: it leaves if it does not answer there. It does not move, because what
    /// proves an endpoint can be relayed from elsewhere; see [`Table::relocate`].
    #[must_use]
    pub fn insert(&mut self, contact: Contact, now: Instant, rng: &mut Rng) -> Option<Change> {
        if contact.id() == self.own {
            return None;
        }
        // Mostly, a known node has been heard from again: subnets are counted only where it matters.
        if let Some(position) = self.position(&contact.id())
            && let Some(entry) = self.entries.get(position)
        {
            if entry.contact().udp_addr() != contact.udp_addr() {
                self.check_soon(&contact.id(), now, rng);
            } else if entry.contact().tcp() == 0 {
                self.update_tcp(&contact.id(), contact.udp_addr(), contact.tcp());
            }
            return None;
        }
        let bucket = self.index(&contact.id());
        if self.buckets()[bucket].is_full() || !self.subnet_admits(&contact) {
            self.entries.bucket_mut(bucket).add_replacement(contact);
            return None;
        }
        self.entries.bucket_mut(bucket).remove_replacement(&contact);
        self.entries.push(bucket, Entry::new(contact, 1));
        self.fast.start(now, rng);
        Some(Change::Added(contact))
    }

    /// A known node answered at the endpoint that its newest record names: it moves there, if its subnet has a share left.
    pub fn relocate(&mut self, contact: Contact, now: Instant, rng: &mut Rng) {
        if let Some(position) = self.position(&contact.id())
            && self.subnet_admits(&contact)
        {
            self.entries.relocate(position, contact);
            self.fast.start(now, rng);
        }
    }

    /// Whether a node's entry has an endpoint that its newest known record names.
    pub fn is_at_record(&self, id: &NodeId) -> bool {
        self.position(id).is_some_and(|position| self.entries.is_at_record(position))
    }

    /// The newest known record of a node names the endpoint of its entry, or others.
    pub fn set_at_record(&mut self, id: &NodeId, is_at_record: bool) {
        if let Some(position) = self.position(id) {
            self.entries.set_at_record(position, is_at_record);
        }
    }

    /// The node at this very endpoint says at which TCP port it listens. 0 says nothing.
    pub fn update_tcp(&mut self, id: &NodeId, at: SocketAddr, tcp: u16) {
        if tcp != 0
            && let Some(position) = self.position_at(id, at)
        {
            self.entries.set_tcp(position, tcp);
        }
    }

    /// A record of the node was verified. False if it is older than the known one.
    pub fn update_record(&mut self, id: &NodeId, seq: u64, value: Option<K::Value>) -> bool {
        self.position(id).is_none_or(|position| self.entries.update_record(position, seq, value))
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

    /// The nodes whose liveness is to be checked now: at most one of each schedule.
    #[must_use]
    pub fn pop_checks(&mut self, now: Instant, rng: &mut Rng) -> [Option<Contact>; 2] {
        [true, false].map(|fast| {
            let schedule = if fast { &mut self.fast } else { &mut self.slow };
            schedule.due.filter(|due| *due <= now)?;
            let count = self.entries.count_scheduled(fast);
            if count == 0 {
                schedule.due = None;
                return None;
            }
            schedule.set_next(now, rng);
            let chosen = self.entries.positions(fast).nth(rng.below(count as u64) as usize)?;
            self.entries.get(chosen).map(|entry| *entry.contact())
        })
    }

    /// A node answered a check at this endpoint.
    pub fn check_passed(&mut self, id: &NodeId, at: SocketAddr, now: Instant, rng: &mut Rng) {
        if let Some(position) = self.position_at(id, at) {
            if let Some(standing) = self.entries.standing_mut(position) {
                standing.liveness = standing.liveness.saturating_add(1);
            }
            self.entries.set_schedule(position, false);
            self.slow.start(now, rng);
        }
    }

    /// A node gave a sign of life at this endpoint that was not asked for: it is no suspect.
    pub fn clear_suspicion(&mut self, id: &NodeId, at: SocketAddr) {
        if !self.suspects.is_empty() && self.position_at(id, at).is_some() {
            self.suspects.retain(|suspect| suspect != id);
        }
    }

    /// A node did not answer a check at this endpoint. It becomes a suspect until another node answers. A table of no more
    /// nodes than suspects judges it at once.
    #[must_use]
    pub fn check_failed(&mut self, id: &NodeId, at: SocketAddr, now: Instant, rng: &mut Rng) -> Vec<Change> {
        if self.position_at(id, at).is_none() {
            return Vec::new();
        }
        if self.len() <= limits::SUSPECTS_MAX {
            return self.discredit(id, now, rng);
        }
        self.suspects.retain(|suspect| suspect != id);
        self.suspects.insert(0, *id);
        self.suspects.truncate(limits::SUSPECTS_MAX);
        Vec::new()
    }

    /// The node `from` answered, so our connection works: all other suspects failed their checks by their own fault.
    #[must_use]
    pub fn confirm_connectivity(&mut self, from: &NodeId, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let suspects = core::mem::take(&mut self.suspects);
        suspects.iter().filter(|id| *id != from).flat_map(|id| self.discredit(id, now, rng)).collect()
    }

    /// A node answered a FindNode, or did not. Five failures in a row remove it, unless its bucket is nearly empty or no
    /// node at all answers.
    #[must_use]
    pub fn find_result(&mut self, id: &NodeId, answered: bool, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let is_silent = self.suspects.len() >= limits::SUSPECTS_MAX;
        let is_plenty = self.bucket(id).entries().len() >= limits::BUCKET_SIZE / 4;
        let Some(standing) = self.standing_mut(id) else { return Vec::new() };
        if answered {
            standing.find_failures = 0;
        } else if !is_silent {
            standing.find_failures = standing.find_failures.saturating_add(1);
            if is_plenty && standing.find_failures >= limits::FIND_FAILURES_MAX {
                return self.remove(id, now, rng);
            }
        }
        Vec::new()
    }

    /// Puts a node on the fast schedule of checks.
    pub fn check_soon(&mut self, id: &NodeId, now: Instant, rng: &mut Rng) {
        if let Some(position) = self.position(id) {
            self.entries.set_schedule(position, true);
            self.fast.start(now, rng);
        }
    }

    fn discredit(&mut self, id: &NodeId, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let Some(position) = self.position(id) else { return Vec::new() };
        let Some(standing) = self.entries.standing_mut(position) else { return Vec::new() };
        standing.liveness /= 3;
        if standing.liveness == 0 {
            return self.remove(id, now, rng);
        }
        self.entries.set_schedule(position, true);
        self.fast.start(now, rng);
        Vec::new()
    }

    /// Removes the nodes and replacements that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&Contact) -> bool, now: Instant, rng: &mut Rng) -> Vec<Change> {
        for bucket in 0..limits::BUCKETS {
            self.entries.bucket_mut(bucket).replacements.retain(|other| keep(&other.contact()));
        }
        let others: Vec<NodeId> =
            self.entries().map(Entry::contact).filter(|contact| !keep(contact)).map(Contact::id).collect();
        others.iter().flat_map(|id| self.remove(id, now, rng)).collect()
    }

    /// Removes a node. A random replacement that the limits on subnets admit takes its place.
    fn remove(&mut self, id: &NodeId, now: Instant, rng: &mut Rng) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(position) = self.position(id) {
            changes.extend(self.entries.get(position).map(|entry| Change::Removed(*entry.contact())));
            self.entries.remove(position);
        }
        let bucket = self.index(id);
        let mut replacements = core::mem::take(&mut self.entries.bucket_mut(bucket).replacements);
        let fits = |(i, replacement): (usize, &Replacement)| {
            Some((i, replacement.contact())).filter(|(_, node)| self.subnet_admits(node))
        };
        let fitting: Vec<(usize, Contact)> = replacements.iter().enumerate().filter_map(fits).collect();
        if let Some((chosen, contact)) = rng.choose(&fitting).copied() {
            replacements.remove(chosen);
            self.entries.push(bucket, Entry::new(contact, 0));
            changes.push(Change::Added(contact));
            self.fast.start(now, rng);
        }
        self.entries.bucket_mut(bucket).replacements = replacements;
        changes
    }

    /// Whether the limits on subnets admit `contact`. Its own entry is not counted.
    fn subnet_admits(&self, contact: &Contact) -> bool {
        let Some(subnet) = SubnetFilter::of(contact) else { return true };
        let count = |bucket| self.entries.count(bucket, &subnet);
        count(self.index(&contact.id())) < limits::SUBNET_PER_BUCKET
            && (0..limits::BUCKETS).map(count).sum::<usize>() < limits::SUBNET_PER_TABLE
    }

    fn index(&self, id: &NodeId) -> usize {
        bucket_index(self.own.log_distance(id))
    }

    /// The bucket that a node with this id belongs to.
    pub fn bucket(&self, id: &NodeId) -> &Bucket {
        &self.buckets()[self.index(id)]
    }

    /// The position of a node.
    fn position(&self, id: &NodeId) -> Option<Position> {
        self.entries.find(self.index(id), id)
    }

    /// The position of a node, if its entry has this endpoint.
    fn position_at(&self, id: &NodeId, at: SocketAddr) -> Option<Position> {
        let position = self.position(id)?;
        (self.entries.get(position)?.contact().udp_addr() == at).then_some(position)
    }

    fn standing_mut(&mut self, id: &NodeId) -> Option<&mut Standing> {
        self.entries.standing_mut(self.position(id)?)
    }
}

/// The bucket of a logarithmic distance.
fn bucket_index(distance: u16) -> usize {
    usize::from(distance.saturating_sub(NEAR_DISTANCE))
}

#[cfg(test)]
mod tests;
