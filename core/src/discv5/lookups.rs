//! Our lookups: when they start, how they advance, and which of the nodes that they learn of are verified.
//!
//! Each round of lookups also pings bootnodes that are not in the table, as geth does; [`kad::schedule`](crate::kad::schedule)
//! says when rounds are due.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::calls::{Call, Purpose, Request};
use super::records::StoredRecord;
use super::{ActiveLookup, Discv5, Lifecycle, LookupId, Unverified};
use crate::contract::{CommandError, CommandId, Cx, Event, Refusal};
use crate::crypto::NodeId;
use crate::kad::lookup::Lookup;
use crate::kad::schedule::Round;
use crate::limits;
use crate::wire::enode::Contact;

impl Discv5 {
    /// Starts the round of lookups that is due, if one is.
    pub(super) fn start_round(&mut self, cx: &mut Cx<'_>) {
        let (nodes, lookups) = (self.table.len(), self.lookups_started);
        let round = self.refresh.pop_round(&self.config.schedule, nodes, lookups, cx.now, cx.rng);
        let Some(Round { own, random }) = round else { return };
        if self.lifecycle == Lifecycle::New {
            self.lifecycle = Lifecycle::Bootstrapping;
        }
        // Without this, parts of a network that were cut off until they had removed each other would never meet again.
        for i in 0..self.config.bootnodes.len() {
            self.queue_verification(cx, self.config.bootnodes[i], None);
        }
        // When the embedder's own lookups leave no room, they do the same work.
        for _ in 0..own {
            _ = self.start_lookup(None, self.local.id);
        }
        for _ in 0..random {
            let target = self.random_target(cx);
            _ = self.start_lookup(None, target);
        }
    }

    /// Of a few random targets, one in the furthest bucket that has room. Half of uniform targets would lie in the furthest
    /// bucket, which is full first; the nearest nodes are found by lookups of our own id.
    fn random_target(&self, cx: &mut Cx<'_>) -> NodeId {
        let targets: [NodeId; limits::TARGET_DRAWS] = core::array::from_fn(|_| NodeId(cx.rng.bytes()));
        let with_room = targets.iter().filter(|target| !self.table.bucket(target).is_full());
        let furthest = with_room.max_by_key(|target| self.local.id.log_distance(target));
        *furthest.unwrap_or(&targets[0])
    }

    pub(super) fn start_lookup(&mut self, command: Option<CommandId>, target: NodeId) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        if self.lookups.len() >= limits::LOOKUPS_MAX {
            return Err(CommandError::Busy);
        }
        let known = self.table.nearest(&target, limits::BUCKET_SIZE, |_| true);
        // A table that knows little is helped by the bootnodes, which are in it if they are alive.
        let helpers = if known.len() < limits::LOOKUP_PARALLEL { &self.config.bootnodes[..] } else { &[] };
        let lookup = Lookup::new(self.local.id, target, known.into_iter().chain(helpers).copied());
        self.lookups_started += 1;
        self.lookups.push(ActiveLookup { id: LookupId(self.lookups_started), lookup, command });
        Ok(())
    }

    /// Queues a node that another node named until it can be pinged. One that is known, or that cannot be pinged, is passed over.
    pub(super) fn queue_verification(&mut self, cx: &Cx<'_>, contact: Contact, record: Option<StoredRecord>) {
        if !self.is_passive && self.is_unknown(cx, &contact) == Ok(true) {
            self.unverified.push_back(Unverified { contact, record, is_admitted: false });
        }
    }

    /// Whether a node is not in the table, not queued and not being pinged. Fails if it cannot be queued.
    pub(super) fn is_unknown(&self, cx: &Cx<'_>, contact: &Contact) -> Result<bool, CommandError> {
        self.check_contact(cx, contact)?;
        if self.unverified.len() >= limits::UNVERIFIED_MAX {
            return Err(CommandError::Busy);
        }
        if !self.table.has_room_for(contact) {
            let is_known = self.table.entry(&contact.id()).is_some();
            return if is_known { Ok(false) } else { Err(CommandError::Refused(Refusal::TableFull)) };
        }
        let is_queued = self.unverified.iter().any(|other| other.contact.key() == contact.key());
        Ok(!is_queued && !self.calls.is_open(contact, enters_table))
    }

    /// Advances everything that waits for room among the calls: lookups first, then nodes to be verified. To be called
    /// after calls have ended and after anything that brings new work; then nothing is left that could be done now.
    pub(super) fn advance(&mut self, cx: &mut Cx<'_>) {
        self.advance_lookups(cx);
        if self.unverified.is_empty() {
            self.unverified = VecDeque::new();
            return;
        }
        let mut room = limits::VERIFY_PARALLEL.saturating_sub(self.calls.verifying()).min(self.calls.room() / 2);
        while room > 0
            && let Some(Unverified { contact, record, is_admitted }) = self.unverified.pop_front()
        {
            // A node that cannot be pinged now will be named again.
            if self.table.has_room_for(&contact)
                && (is_admitted || self.admits_ping(cx, &contact))
                && self.start_request(cx, contact, Request::Ping, Purpose::Verify(record)).is_ok()
            {
                room -= 1;
            }
        }
    }

    fn advance_lookups(&mut self, cx: &mut Cx<'_>) {
        let mut index = 0;
        while let Some(active) = self.lookups.get(index) {
            if let Some(contact) = active.lookup.next() {
                let distances = distances(active.lookup.target(), &contact.id());
                let (request, purpose) = (Request::FindNode { distances }, Purpose::Lookup(active.id));
                let started = self.start_request(cx, contact, request, purpose);
                // There may be more to ask: the index stays.
                match (started, &mut self.lookups[index].lookup) {
                    (Ok(()), lookup) => lookup.asked(&contact.id()),
                    // Calls are in flight, and when one ends this is tried again.
                    (Err(CommandError::Busy), _) if !self.calls.is_empty() => return,
                    (Err(_), lookup) => lookup.failed(&contact.id()),
                }
            } else if active.lookup.is_over() {
                let active = self.lookups.remove(index);
                if let Some(command) = active.command {
                    let (nodes, queries, hops) =
                        (active.lookup.results(), active.lookup.queries(), active.lookup.hops());
                    cx.out.emit(Event::Nodes { command, nodes, queries, hops });
                }
            } else {
                index += 1;
            }
        }
        if self.lookups.is_empty() {
            self.lookups = Vec::new();
            if self.lifecycle == Lifecycle::Bootstrapping {
                self.lifecycle = Lifecycle::Running;
            }
        }
    }
}

/// Whether a call leads to an entry in the table.
fn enters_table(call: &Call) -> bool {
    matches!(call.purpose, Purpose::Verify(_) | Purpose::Enter { .. })
}

/// The distances at which a node is asked for nodes near a target, the most useful first, since an answer has sixteen nodes: that
/// of the target; those below it, whose nodes are as far from the target as the node itself; those above it.
fn distances(target: &NodeId, node: &NodeId) -> Vec<u16> {
    let distance = target.log_distance(node);
    let below = (1..=limits::LOOKUP_DISTANCES_BELOW).filter_map(|i| distance.checked_sub(i));
    let above = (1..=limits::LOOKUP_DISTANCES_ABOVE).map(|i| distance + i);
    let all = core::iter::once(distance).chain(below).chain(above);
    all.filter(|distance| (1..=256).contains(distance)).collect()
}
