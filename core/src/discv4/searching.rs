//! Lookups of ours: when they begin, how they move on, and who of those they heard of is verified.
//!
//! When it refreshes: at the start and while the table is empty, a lookup of our own id from the bootnodes, then again after
//! 10 seconds, 20, 40 and so on up to 5 minutes. While the table is small (under 16 nodes), one lookup every 5 to 10 seconds,
//! in turn of our own id and of a random target: that finds all of a devnet within seconds. While it is young (its first
//! quarter of an hour), the same with pauses as long as it is old: nine lookups, which fill the table of a node in a large
//! network and notice who comes later. From then on every 15 to 30 minutes, one lookup of our own id and three of random
//! targets. Each time bootnodes that are not in the table are heard of again, as geth does.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::calls::{Purpose, Question};
use super::lookup::Lookup;
use super::{Discv4, LookupId, Search, Stage};
use crate::contract::{CommandError, CommandId, Cx, Event};
use crate::crypto::{NodeId, keccak256};
use crate::limits;
use crate::time::Duration;
use crate::wire::enode::Contact;

impl Discv4 {
    /// Begins what is due, and says when the next round is.
    pub(super) fn refresh(&mut self, cx: &mut Cx<'_>) {
        let is_young = cx.now.since(self.started) < self.config.young_age;
        let is_small = self.table.len() < self.config.young_nodes;
        if self.stage == Stage::New {
            self.stage = Stage::Seeding;
        }
        // Those in the table already are not worth it. Without this, parts of a network that were cut off from each other
        // until they had forgotten each other would never find back.
        for i in 0..self.config.bootnodes.len() {
            self.hear_of(cx, self.config.bootnodes[i]);
        }
        let (own_lookups, random_lookups, pause) = if self.table.is_empty() {
            let pause = self.config.reseed_interval * 2u32.saturating_pow(self.reseeds.min(16));
            self.reseeds += 1;
            (1, 0, pause.min(self.config.reseed_interval_max))
        } else if is_young || is_small {
            let own = usize::from(self.searches_begun.is_multiple_of(2));
            let (min, max) = self.config.young_interval;
            let pause = cx.rng.duration(min, max);
            (own, 1 - own, if is_small { pause } else { pause.max(cx.now.since(self.started)) })
        } else {
            let (min, max) = self.config.refresh_interval;
            (1, 3, cx.rng.duration(min, max))
        };
        // When the embedder's own lookups leave no room, they do the same work.
        for _ in 0..own_lookups {
            let target = *self.local.key.as_bytes();
            _ = self.begin_lookup(None, target);
        }
        for _ in 0..random_lookups {
            let target = self.random_target(cx);
            _ = self.begin_lookup(None, target);
        }
        self.refresh_due = Some(cx.now + pause.max(Duration::from_micros(1)));
    }

    /// Of a few random targets one in the furthest bucket that has room. Of uniform ones half would lie in that of the
    /// furthest nodes, which is full first; and the nearest are found by lookups of our own id.
    pub(super) fn random_target(&self, cx: &mut Cx<'_>) -> [u8; 64] {
        let targets: [[u8; 64]; limits::TARGET_DRAWS] = core::array::from_fn(|_| cx.rng.bytes());
        let id = |target: &[u8; 64]| NodeId(keccak256(target));
        let with_room = targets.iter().filter(|target| !self.table.bucket(&id(target)).is_full());
        let furthest = with_room.max_by_key(|target| self.local.id.log_distance(&id(target)));
        *furthest.unwrap_or(&targets[0])
    }

    pub(super) fn begin_lookup(&mut self, command: Option<CommandId>, target: [u8; 64]) -> Result<(), CommandError> {
        if self.stage == Stage::Closed {
            return Err(CommandError::ShuttingDown);
        }
        if self.searches.len() >= limits::LOOKUPS_MAX {
            return Err(CommandError::Busy);
        }
        let hash = NodeId(keccak256(&target));
        let known = self.table.nearest(&hash, limits::BUCKET_SIZE, |_| true);
        // A table that knows little is helped by the bootnodes, which are in it if they are alive.
        let helpers = if known.len() < limits::LOOKUP_PARALLEL { &self.config.bootnodes[..] } else { &[] };
        let lookup = Lookup::new(self.local.id, target, known.into_iter().chain(helpers).copied());
        self.searches_begun += 1;
        self.searches.push(Search { id: LookupId(self.searches_begun), lookup, command });
        Ok(())
    }

    /// Keeps a node that was heard of until it can be pinged. Tells whether it is worth it.
    pub(super) fn hear_of(&mut self, cx: &Cx<'_>, contact: Contact) -> bool {
        let is_wanted = self.unverified.len() < limits::UNVERIFIED_MAX
            && self.table.has_room_for(&contact)
            && contact.udp() != 0
            && cx.filter.permits(contact.ip())
            && self.unverified.iter().all(|other| other.key() != contact.key());
        if is_wanted {
            self.unverified.push_back(contact);
        }
        is_wanted
    }

    /// Moves everything on that waits for room among the calls: lookups first, then nodes to be verified. Nothing is left
    /// that could be done now: it is to be called again when calls have ended, and after whatever brings new work.
    pub(super) fn progress(&mut self, cx: &mut Cx<'_>) {
        self.step_lookups(cx);
        if self.unverified.is_empty() {
            self.unverified = VecDeque::new();
            return;
        }
        let mut places = limits::VERIFY_PARALLEL.saturating_sub(self.calls.verifying()).min(self.calls.room() / 2);
        while places > 0
            && let Some(contact) = self.unverified.pop_front()
        {
            // Whoever cannot be pinged now will be heard of again.
            if self.table.has_room_for(&contact) && self.ask(cx, contact, Question::Ping, Purpose::Verify).is_ok() {
                places -= 1;
            }
        }
    }

    fn step_lookups(&mut self, cx: &mut Cx<'_>) {
        if self.searches.is_empty() && self.stage != Stage::Seeding {
            return;
        }
        let mut place = 0;
        while let Some(search) = self.searches.get(place) {
            if let Some(contact) = search.lookup.next() {
                let (id, target) = (search.id, *search.lookup.target());
                let asked = self.ask(cx, contact, Question::FindNode { target }, Purpose::Lookup(id));
                // There may be more to ask: the place stays.
                match (asked, &mut self.searches[place].lookup) {
                    (Ok(()), lookup) => lookup.asked(&contact.id()),
                    // Calls are in flight, and when one ends this is tried again.
                    (Err(CommandError::Busy), _) if !self.calls.is_empty() => return,
                    (Err(_), lookup) => lookup.failed(&contact.id()),
                }
            } else if search.lookup.is_over() {
                let search = self.searches.remove(place);
                self.end_lookup(cx, &search);
            } else {
                place += 1;
            }
        }
        if self.searches.is_empty() {
            self.searches = Vec::new();
        }
        if self.stage == Stage::Seeding && self.searches.is_empty() {
            self.stage = Stage::Open;
        }
    }

    fn end_lookup(&mut self, cx: &mut Cx<'_>, search: &Search) {
        if let Some(command) = search.command {
            let (nodes, queries) = (search.lookup.results(), search.lookup.queries());
            cx.out.emit(Event::Nodes { command, nodes, queries });
        }
    }
}
