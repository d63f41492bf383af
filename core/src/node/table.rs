//! The table of the node's connections, which holds each of them once, and the schedule of their deadlines.
//!
//! It holds a connection from its dial or accept until its `Ended` was popped. It knows no peer and no protocol.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::connection::Connection;
use crate::contract::{ConnId, ConnMap, ConnTimer, Context, Cx};
use crate::peers::{Origin, Place, View};
use crate::rlpx::Session;
use crate::rng::Rng;
use crate::time::Instant;

/// A connection with what the node keeps for it.
pub(super) struct Slot {
    pub(super) conn: Connection,
    /// The connection's own generator, so that its draws change no other connection's. Re-keyed after key material was drawn.
    pub(super) rng: Rng,
    /// How it was opened.
    origin: Origin,
    /// The place among our peers, until the connection's end is decided.
    pub(super) place: Option<Place>,
    /// The number of requests that the peer has answered with something.
    pub(super) answers: u32,
    /// The next deadline, as it stands in the schedule.
    scheduled: Option<(Instant, ConnTimer)>,
    /// The units of work done for the connection that the driver has not taken yet.
    work: u64,
}

impl Slot {
    pub(super) const fn new(conn: Connection, rng: Rng, origin: Origin) -> Self {
        Self { conn, rng, origin, place: None, answers: 0, scheduled: None, work: 0 }
    }

    /// Does something with the connection, and counts the work.
    pub(super) fn run<R>(&mut self, context: &mut Context, work: impl FnOnce(&mut Connection, &mut Cx<'_>) -> R) -> R {
        let queued = context.out.len();
        let result = work(&mut self.conn, &mut context.cx(&mut self.rng));
        context.work.events(context.out.len().saturating_sub(queued));
        self.work = self.work.saturating_add(context.work.take());
        result
    }

    /// Takes the units of work that were counted since the last call.
    pub(super) const fn take_work(&mut self) -> u64 {
        core::mem::replace(&mut self.work, 0)
    }

    /// What decisions about peers need to know of the connection.
    pub(super) fn view(&self) -> View {
        let Self { conn, origin, place, answers, .. } = self;
        let is_ending = conn.is_ending();
        View {
            stage: conn.stage(),
            place: place.filter(|_| !is_ending),
            is_ending,
            latency: conn.session().and_then(Session::latency),
            answers: *answers,
            ..View::new(conn.id(), conn.addr(), *origin, conn.peer())
        }
    }
}

/// All connections by id and by deadline.
#[derive(Default)]
pub(super) struct Table {
    conns: ConnMap<Box<Slot>>,
    /// The deadline of each connection that has one, as the connection says in `scheduled`.
    due: BTreeSet<(Instant, ConnId, ConnTimer)>,
}

impl Table {
    /// The connection, for reading.
    pub(super) fn get(&self, id: ConnId) -> Option<&Slot> {
        self.conns.get(id).map(|conn| &**conn)
    }

    /// The connection, for a change. The caller updates the index of `peers` if the [`View`] differs after it.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Slot> {
        self.conns.get_mut(id).map(|conn| &mut **conn)
    }

    /// A connection as decisions about peers see it.
    pub(super) fn view(&self, id: ConnId) -> Option<View> {
        self.get(id).map(Slot::view)
    }

    /// All connections, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.ids().into_iter().filter_map(|id| self.get(id))
    }

    /// The ids of all connections, oldest first.
    pub(super) fn ids(&self) -> Vec<ConnId> {
        self.conns.sorted_ids()
    }

    /// Adds a connection, with its deadline.
    pub(super) fn insert(&mut self, mut slot: Slot) {
        let id = slot.conn.id();
        slot.scheduled = slot.conn.poll_timeout();
        if let Some((at, timer)) = slot.scheduled {
            self.due.insert((at, id, timer));
        }
        self.conns.insert(id, Box::new(slot));
    }

    /// Removes a connection. Returns its last view.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<View> {
        let conn = self.conns.remove(id)?;
        if let Some((at, timer)) = conn.scheduled {
            self.due.remove(&(at, id, timer));
        }
        Some(conn.view())
    }

    /// Updates the schedule after a connection was changed.
    pub(super) fn schedule(&mut self, id: ConnId) {
        let Some(slot) = self.conns.get_mut(id) else { return };
        let (old, new) = (slot.scheduled, slot.conn.poll_timeout());
        if old == new {
            return;
        }
        slot.scheduled = new;
        if let Some((at, timer)) = old {
            self.due.remove(&(at, id, timer));
        }
        if let Some((at, timer)) = new {
            self.due.insert((at, id, timer));
        }
    }

    /// The earliest deadline.
    pub(super) fn poll_timeout(&self) -> Option<(Instant, ConnId, ConnTimer)> {
        self.due.first().copied()
    }

    /// Removes the earliest deadline from the schedule, if it is not later than `now`. The caller handles the connection and
    /// schedules it again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        let (_, id, _) = self.poll_timeout().filter(|(at, ..)| *at <= now)?;
        self.due.pop_first();
        if let Some(conn) = self.get_mut(id) {
            conn.scheduled = None;
        }
        Some(id)
    }
}
