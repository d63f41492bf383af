//! The behaviours of a node: shows them the events of sessions, and carries out their wishes.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::Node;
use super::connection::Connection;
use super::table::{Slot, Table};
use crate::contract::{Behaviour, CommandError, CommandId, ConnId, PeerEvent, Prefetch, Wish};
use crate::limits;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::p2p::Capability;

/// The behaviours of a node, with their randomness.
pub(super) struct Behaviours {
    list: Vec<Box<dyn Behaviour>>,
    rng: Rng,
    /// The behaviour that is polled next; they take turns, one wish each.
    turn: usize,
    /// Whether there may be a wish: an event was shown since the last poll of all that gave none.
    is_due: bool,
    /// The earliest deadline of a behaviour, as of the last poll of all that gave no wish. Kept here, since drivers ask for
    /// it after each input.
    deadline: Option<Instant>,
}

impl Behaviours {
    pub(super) fn new(list: Vec<Box<dyn Behaviour>>, rng: Rng) -> Self {
        let deadline = earliest(&list);
        Self { list, rng, turn: 0, is_due: false, deadline }
    }

    /// Shows an event to all.
    pub(super) fn show(&mut self, now: Instant, event: PeerEvent<'_>) {
        self.is_due = true;
        for behaviour in &mut self.list {
            behaviour.handle(now, &mut self.rng, event);
        }
    }

    /// The earliest deadline of a behaviour; `now` while there may be wishes.
    pub(super) fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.is_due { Some(now) } else { self.deadline }
    }

    /// Shows `memory` what [`Behaviours::poll_timeout`] reads.
    pub(super) fn prefetch(&self, memory: &mut impl Prefetch) {
        memory.prefetch(&self.deadline);
    }

    /// Lets each behaviour handle its deadline, if that has passed.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout(now).is_none_or(|at| at > now) {
            return;
        }
        for behaviour in &mut self.list {
            if behaviour.poll_timeout().is_some_and(|at| at <= now) {
                self.is_due = true;
                behaviour.handle_timeout(now, &mut self.rng);
            }
        }
    }

    /// Returns the index of the behaviour whose turn it is, and passes the turn on.
    fn next(&mut self) -> Option<usize> {
        let index = self.turn.checked_rem(self.list.len())?;
        self.turn = index + 1;
        Some(index)
    }
}

impl Node {
    /// Shows the behaviours the events of sessions that were queued after the first `count` actions.
    pub(super) fn show_events(&mut self, count: usize) {
        let now = self.context.now();
        for (event, lent) in self.context.out.events_after(count) {
            if let Some(event) = PeerEvent::of(event, lent) {
                self.behaviours.show(now, event);
            }
        }
    }

    /// Carries out wishes until there is none, but no more than [`limits::WISHES_PER_TURN`]: the rest is due again.
    pub(super) fn carry_out_wishes(&mut self) {
        if !self.behaviours.is_due {
            return;
        }
        let (mut room, mut without_wish) = (limits::WISHES_PER_TURN, 0);
        while room > 0 && without_wish < self.behaviours.list.len() {
            if self.carry_out_next_wish() {
                (room, without_wish) = (room - 1, 0);
            } else {
                without_wish += 1;
            }
        }
        self.behaviours.is_due = room == 0;
        self.behaviours.deadline = earliest(&self.behaviours.list);
    }

    /// Carries out one wish of the behaviour whose turn it is. Returns whether it had one.
    fn carry_out_next_wish(&mut self) -> bool {
        let Self { behaviours, conns, context, .. } = self;
        let Some(index) = behaviours.next() else { return false };
        let Some(wish) = behaviours.list[index].poll_wish() else { return false };
        match wish {
            Wish::Send { conn, capability, id, payload } => {
                let result = open_slot(conns, conn)
                    .and_then(|slot| slot.run(context, |conn, cx| conn.send(cx, capability, id, &[payload])));
                self.sync_conn(conn);
                self.tell_outcome(index, conn, result.map(|()| None));
            }
            Wish::Request { conn, capability, id, body } => {
                let command = CommandId(self.commands_made);
                let result = open_slot(conns, conn)
                    .and_then(|slot| slot.run(context, |conn, cx| conn.request(cx, command, capability, id, body)));
                self.commands_made += u64::from(result.is_ok());
                self.sync_conn(conn);
                self.tell_outcome(index, conn, result.map(|()| Some(command)));
            }
            Wish::Broadcast { since, id, payload } => {
                let mut reached = Vec::new();
                for conn in conns.ids() {
                    let Some(slot) = conns.get_mut(conn) else { continue };
                    let Some(capability) = shared_since(&slot.conn, since) else { continue };
                    // A broadcast is not retried: a session that is busy misses it.
                    let _ = slot.run(context, |conn, cx| conn.send(cx, capability, id, &[payload]));
                    reached.push(conn);
                }
                reached.into_iter().for_each(|conn| self.sync_conn(conn));
            }
            Wish::Charge { conn, reason } => {
                let Some(view) = conns.view(conn) else { return true };
                let charge = self.peers.charge(self.context.now(), &view, reason);
                self.carry_out(charge);
            }
        }
        true
    }

    /// Shows a behaviour the id of its request, or why its wish was refused.
    fn tell_outcome(&mut self, index: usize, conn: ConnId, result: Result<Option<CommandId>, CommandError>) {
        let event = match result {
            Ok(None) => return,
            Ok(Some(command)) => PeerEvent::Requested { conn, command },
            Err(why) => PeerEvent::Refused { conn, why },
        };
        let Behaviours { list, rng, .. } = &mut self.behaviours;
        list[index].handle(self.context.now(), rng, event);
    }
}

fn earliest(behaviours: &[Box<dyn Behaviour>]) -> Option<Instant> {
    behaviours.iter().filter_map(|behaviour| behaviour.poll_timeout()).min()
}

fn open_slot(conns: &mut Table, id: ConnId) -> Result<&mut Slot, CommandError> {
    conns.get_mut(id).filter(|slot| !slot.conn.is_ending()).ok_or(CommandError::UnknownConn)
}

/// The shared capability that is `since` or a later version of it, if the session is established.
fn shared_since(conn: &Connection, since: Capability) -> Option<Capability> {
    conn.protocols().filter(|protocols| protocols.is_established())?;
    conn.shared().iter().map(|shared| shared.capability).find(|capability| capability.is_version_from(since))
}

#[cfg(test)]
mod tests;
