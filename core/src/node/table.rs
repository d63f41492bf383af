//! The node's connections: the table that holds each of them once, and the schedule of their deadlines.
//!
//! A connection stands in it from its dial or accept until its `Ended` was popped. It knows no peer and no protocol.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};

use super::conn::Conn;
use crate::contract::{ConnId, ConnTimer};
use crate::peers::View;
use crate::time::Instant;

/// See the module.
#[derive(Default)]
pub(super) struct Table {
    conns: BTreeMap<ConnId, Box<Conn>>,
    /// The deadline of each connection that has one, as the connection says in `scheduled`.
    due: BTreeSet<(Instant, ConnId)>,
}

impl Table {
    /// The connection, for reading.
    pub(super) fn get(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(&id).map(|conn| &**conn)
    }

    /// The connection, to be changed: what changes its [`View`] is to be told to the index.
    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(&id).map(|conn| &mut **conn)
    }

    /// What decisions see of a connection.
    pub(super) fn view(&self, id: ConnId) -> Option<View> {
        self.get(id).map(Conn::view)
    }

    /// All connections, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Conn> {
        self.conns.values().map(|conn| &**conn)
    }

    /// The connections from an id on, oldest first.
    pub(super) fn ids_from(&self, first: ConnId) -> impl Iterator<Item = ConnId> {
        self.conns.range(first..).map(|(id, _)| *id)
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, id: ConnId, conn: Conn) {
        self.conns.insert(id, Box::new(conn));
    }

    /// Forgets a connection. Returns what it was.
    pub(super) fn remove(&mut self, id: ConnId) -> Option<View> {
        let conn = self.conns.remove(&id)?;
        if let Some((at, _)) = conn.scheduled {
            self.due.remove(&(at, id));
        }
        Some(conn.view())
    }

    /// Brings the schedule up to date after a connection was changed.
    pub(super) fn schedule(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let (old, new) = (conn.scheduled, conn.poll_timeout());
        conn.scheduled = new;
        let [old, new] = [old, new].map(|scheduled| scheduled.map(|(at, _)| at));
        if old == new {
            return;
        }
        if let Some(at) = old {
            self.due.remove(&(at, id));
        }
        if let Some(at) = new {
            self.due.insert((at, id));
        }
    }

    /// The earliest deadline.
    pub(super) fn next_due(&self) -> Option<(Instant, ConnId)> {
        self.due.first().copied()
    }

    /// The earliest deadline with its reason.
    pub(super) fn poll_timeout(&self) -> Option<(Instant, ConnId, ConnTimer)> {
        let (_, id) = self.next_due()?;
        let (at, timer) = self.get(id)?.scheduled?;
        Some((at, id, timer))
    }

    /// Takes the earliest deadline out of the schedule, if it is not later than `now`. The connection is to be handled, and
    /// then scheduled again.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnId)> {
        let (at, id) = self.next_due().filter(|(at, _)| *at <= now)?;
        self.due.pop_first();
        if let Some(conn) = self.get_mut(id) {
            conn.scheduled = None;
        }
        Some((at, id))
    }
}
