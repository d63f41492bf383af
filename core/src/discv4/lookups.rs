//! Our lookups: when they start, how they advance, and which of the nodes that they learn of are verified.
//!
//! Each round of lookups also pings bootnodes that are not in the table, as geth does; [`kad::schedule`](crate::kad::schedule)
//! says when rounds are due.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::calls::{Purpose, Request};
use super::{ActiveLookup, Discv4, Lifecycle, LookupId, Unverified};
use crate::contract::{CommandError, CommandId, Cx, Event, Refusal};
use crate::crypto::{NodeId, keccak256};
use crate::kad::lookup::Lookup;
use crate::kad::schedule::Round;
use crate::limits;
use crate::wire::discv4::Kind;
use crate::wire::enode::Contact;

impl Discv4 {
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
            self.queue_verification(cx, self.config.bootnodes[i]);
        }
        // When the embedder's own lookups leave no room, they do the same work.
        for _ in 0..own {
            let target = *self.local.key.as_bytes();
            _ = self.start_lookup(None, target);
        }
        for _ in 0..random {
            let target = self.random_target(cx);
            _ = self.start_lookup(None, target);
        }
    }

    /// Of a few random targets, one in the furthest bucket that has room. Half of uniform targets would lie in the furthest
    /// bucket, which is full first; the nearest nodes are found by lookups of our own id.
    pub(super) fn random_target(&self, cx: &mut Cx<'_>) -> [u8; 64] {
        let targets: [[u8; 64]; limits::TARGET_DRAWS] = core::array::from_fn(|_| cx.rng.bytes());
        let id = |target: &[u8; 64]| NodeId(keccak256(target));
        let with_room = targets.iter().filter(|target| !self.table.bucket(&id(target)).is_full());
        let furthest = with_room.max_by_key(|target| self.local.id.log_distance(&id(target)));
        *furthest.unwrap_or(&targets[0])
    }

    pub(super) fn start_lookup(&mut self, command: Option<CommandId>, target: [u8; 64]) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        if self.lookups.len() >= limits::LOOKUPS_MAX {
            return Err(CommandError::Busy);
        }
        let target_id = NodeId(keccak256(&target));
        let known = self.table.nearest(&target_id, limits::BUCKET_SIZE, |_| true);
        // A table that knows little is helped by the bootnodes, which are in it if they are alive.
        let helpers = if known.len() < limits::LOOKUP_PARALLEL { &self.config.bootnodes[..] } else { &[] };
        let lookup = Lookup::new(self.local.id, target_id, known.into_iter().chain(helpers).copied());
        self.lookups_started += 1;
        self.lookups.push(ActiveLookup { id: LookupId(self.lookups_started), lookup, target, command });
        Ok(())
    }

    /// Queues a node that another node named until it can be pinged. One that is known, or that cannot be pinged, is passed over.
    pub(super) fn queue_verification(&mut self, cx: &Cx<'_>, contact: Contact) {
        if !self.is_passive && self.is_unknown(cx, &contact) == Ok(true) {
            self.unverified.push_back(Unverified { contact, is_admitted: false });
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
        // A node may wait at one address of each family: a bootnode is tried at both.
        let is_same = |other: &Contact| other.key() == contact.key() && other.ip().is_ipv4() == contact.ip().is_ipv4();
        let is_queued = self.unverified.iter().any(|other| is_same(&other.contact));
        Ok(!is_queued && self.calls.find_in_flight(contact, Kind::Pong).is_none())
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
            && let Some(Unverified { contact, is_admitted }) = self.unverified.pop_front()
        {
            // A node that cannot be pinged now will be named again.
            let is_pinged = self.calls.find_in_flight(&contact, Kind::Pong).is_some();
            if self.table.has_room_for(&contact)
                && (is_admitted || is_pinged || self.admits_ping(cx, &contact))
                && self.start_request(cx, contact, Request::Ping, Purpose::Verify).is_ok()
            {
                room -= 1;
            }
        }
    }

    fn advance_lookups(&mut self, cx: &mut Cx<'_>) {
        let mut index = 0;
        while let Some(active) = self.lookups.get(index) {
            if let Some(contact) = active.lookup.next() {
                let (id, target) = (active.id, active.target);
                let started = self.start_request(cx, contact, Request::FindNode { target }, Purpose::Lookup(id));
                // There may be more to ask: the index stays.
                match (started, &mut self.lookups[index].lookup) {
                    (Ok(()), lookup) => lookup.asked(&contact.id()),
                    // Calls are in flight, and when one ends this is tried again.
                    (Err(CommandError::Busy), _) if !self.calls.is_empty() => return,
                    (Err(_), lookup) => lookup.failed(&contact.id()),
                }
            } else if active.lookup.is_over() {
                let active = self.lookups.remove(index);
                self.end_lookup(cx, &active);
            } else {
                index += 1;
            }
        }
        if self.lookups.is_empty() {
            self.lookups = Vec::new();
        }
        if self.lifecycle == Lifecycle::Bootstrapping && self.lookups.is_empty() {
            self.lifecycle = Lifecycle::Running;
        }
    }

    fn end_lookup(&mut self, cx: &mut Cx<'_>, active: &ActiveLookup) {
        if let Some(command) = active.command {
            let (nodes, queries, hops) = (active.lookup.results(), active.lookup.queries(), active.lookup.hops());
            cx.out.emit(Event::Nodes { command, nodes, queries, hops });
        }
    }
}
