//! The queue of actions between a machine and its driver. Bounded in bytes and in items; a driver can only pop.
//!
//! Payloads live in one arena, in queue order, and are lent when their action is popped. They are built in place:
//! [`Outbox::stage`] lends the arena's free end, [`Outbox::emit_staged`] makes an event of it, `Cx::send_staged` a datagram.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::ops::Range;

use super::action::Action;
use super::ids::{ConnId, QueryId, SocketId};
use super::language::{Devp2p, Language};
use super::query::Query;
use crate::limits;

/// A queued action; `lent` is the number of arena bytes that belong to it.
struct Entry<L: Language> {
    lent: usize,
    action: Queued<L>,
}

enum Queued<L: Language> {
    Send(SocketId, SocketAddr),
    Dial(ConnId, SocketAddr),
    Flush(ConnId),
    Close(ConnId),
    Query(QueryId, QueryKind),
    Emit(L::Event<'static>),
}

/// The variants of [`Query`] without the name, which is in the arena.
enum QueryKind {
    Txt,
    Host,
}

/// The queue of actions of a machine of the language `L`.
pub struct Outbox<L: Language = Devp2p> {
    queue: VecDeque<Entry<L>>,
    arena: Vec<u8>,
    /// Arena bytes before this belong to actions that were popped.
    popped: usize,
    /// Arena bytes from here on are staged.
    committed: usize,
    /// The number of dropped events.
    dropped: u64,
}

impl<L: Language> Default for Outbox<L> {
    fn default() -> Self {
        Self { queue: VecDeque::new(), arena: Vec::new(), popped: 0, committed: 0, dropped: 0 }
    }
}

impl<L: Language> fmt::Debug for Outbox<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("actions", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

impl<L: Language> Outbox<L> {
    /// The number of payload bytes that wait.
    pub fn bytes(&self) -> usize {
        self.committed - self.popped
    }

    /// The number of actions that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether no action waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the high-water mark is reached: datagrams are dropped, and connections apply backpressure, until the driver
    /// drains.
    pub fn is_full(&self) -> bool {
        self.bytes() >= limits::OUTBOX_BYTES_HIGH_WATER || self.len() >= limits::OUTBOX_ACTIONS_HIGH_WATER
    }

    /// The number of events that were dropped because the driver did not drain.
    pub fn events_dropped(&self) -> u64 {
        self.dropped
    }

    /// Queues the staged bytes as a datagram, or discards them and returns `false` if the outbox is full. Does not apply the
    /// filter: machines use `Cx::send_staged`.
    pub(super) fn send_staged(&mut self, socket: SocketId, to: SocketAddr) -> bool {
        if self.is_full() {
            self.discard_staged();
            return false;
        }
        self.push(Queued::Send(socket, to));
        true
    }

    /// Queues a dial.
    pub fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        self.discard_staged();
        self.push(Queued::Dial(conn, to));
    }

    /// Queues a flush.
    pub fn flush(&mut self, conn: ConnId) {
        self.discard_staged();
        self.push(Queued::Flush(conn));
    }

    /// Queues a close.
    pub fn close(&mut self, conn: ConnId) {
        self.discard_staged();
        self.push(Queued::Close(conn));
    }

    /// Queues a query.
    pub fn query(&mut self, id: QueryId, what: Query<'_>) {
        let kind = match what {
            Query::Txt(_) => QueryKind::Txt,
            Query::Host(_) => QueryKind::Host,
        };
        self.tail().extend_from_slice(what.name().as_bytes());
        self.push(Queued::Query(id, kind));
    }

    /// Queues an event that lends nothing.
    pub fn emit(&mut self, event: L::Event<'static>) {
        self.discard_staged();
        self.emit_staged(event, 0..0);
    }

    /// Stages `len` zeros at the arena's end in place of what was staged, and returns them to be written.
    pub fn stage(&mut self, len: usize) -> &mut [u8] {
        let arena = self.tail();
        let start = arena.len();
        arena.resize(start + len, 0);
        &mut arena[start..]
    }

    /// Discards what was staged and returns the arena, for a payload whose length is not known before. Only append: the
    /// present bytes belong to the actions that wait.
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        self.discard_staged();
        self.reclaim();
        if self.arena.capacity() == 0 {
            self.arena.reserve_exact(limits::OUTBOX_BYTES_INITIAL);
        }
        &mut self.arena
    }

    /// Truncates the staged bytes to the first `len`.
    pub fn truncate_staged(&mut self, len: usize) {
        self.arena.truncate(self.committed + len);
    }

    /// The staged bytes.
    pub fn staged(&self) -> &[u8] {
        &self.arena[self.committed..]
    }

    /// Discards the staged bytes.
    pub fn discard_staged(&mut self) {
        self.arena.truncate(self.committed);
    }

    /// Queues an event that lends `range` of the staged bytes. Drops and counts it if it is droppable and the outbox is full.
    pub fn emit_staged(&mut self, event: L::Event<'static>, range: Range<usize>) {
        if L::is_droppable(&event) && self.is_full() {
            self.discard_staged();
            self.dropped += 1;
            return;
        }
        let staged = self.staged().len();
        let range = range.start.min(staged)..range.end.min(staged);
        if range.start > 0 {
            self.arena.copy_within(self.committed + range.start..self.committed + range.end, self.committed);
        }
        self.truncate_staged(range.len());
        self.push(Queued::Emit(event));
    }

    /// The events among the actions that were queued after the first `count`, each with the bytes that it lends.
    pub fn events_after(&self, count: usize) -> impl Iterator<Item = (&L::Event<'static>, &[u8])> {
        let entries = self.queue.range(count.min(self.queue.len())..);
        let mut start = self.committed - entries.clone().map(|entry| entry.lent).sum::<usize>();
        entries.filter_map(move |Entry { lent, action }| {
            let bytes = &self.arena[start..start + lent];
            start += lent;
            if let Queued::Emit(event) = action { Some((event, bytes)) } else { None }
        })
    }

    /// Takes the oldest action.
    pub fn pop(&mut self) -> Option<Action<'_, L::Event<'_>>> {
        self.discard_staged();
        let Some(Entry { lent, action }) = self.queue.pop_front() else {
            self.free();
            return None;
        };
        let start = self.popped;
        self.popped += lent;
        let bytes = &self.arena[start..self.popped];
        Some(match action {
            Queued::Send(socket, to) => Action::Send { socket, to, bytes },
            Queued::Dial(conn, to) => Action::Dial { conn, to },
            Queued::Flush(conn) => Action::Flush { conn },
            Queued::Close(conn) => Action::Close { conn },
            Queued::Query(id, kind) => {
                // Only `query` queues one, from a `str`.
                let name = core::str::from_utf8(bytes).unwrap_or_default();
                let what = match kind {
                    QueryKind::Txt => Query::Txt(name),
                    QueryKind::Host => Query::Host(name),
                };
                Action::Query { id, what }
            }
            Queued::Emit(event) => Action::Emit(L::lend(event, bytes)),
        })
    }

    /// Queues an action with the staged bytes as its payload.
    fn push(&mut self, action: Queued<L>) {
        let lent = self.arena.len() - self.committed;
        self.committed = self.arena.len();
        self.queue.push_back(Entry { lent, action });
        self.reclaim();
    }

    /// Removes the popped front of the arena, at a cost of at most one copy per byte.
    fn reclaim(&mut self) {
        if self.popped > self.committed / 2 {
            self.arena.drain(..self.popped);
            self.committed -= self.popped;
            self.popped = 0;
        }
    }

    /// Frees the memory when all of it has been popped.
    fn free(&mut self) {
        (self.queue, self.arena) = (VecDeque::new(), Vec::new());
        (self.popped, self.committed) = (0, 0);
    }
}

#[cfg(test)]
mod tests {
    use alloc::borrow::Cow;

    use super::*;
    use crate::contract::Event;
    use crate::wire::p2p::Capability;

    fn addr() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    fn send(out: &mut Outbox, bytes: &[u8]) -> bool {
        out.tail().extend_from_slice(bytes);
        out.send_staged(SocketId::MAIN, addr())
    }

    #[test]
    fn actions_come_in_order_with_their_payloads() {
        let mut out: Outbox = Outbox::default();
        assert!(send(&mut out, b"one"));
        out.stage(5).copy_from_slice(b"xtwox");
        let event = Event::Message { conn: ConnId(1), capability: Capability::eth(68), id: 2, payload: Cow::default() };
        out.emit_staged(event, 1..4);
        out.stage(100);
        out.flush(ConnId(1));
        assert_eq!(out.bytes(), 6, "what was staged and not emitted is forgotten");
        assert!(matches!(out.pop(), Some(Action::Send { bytes: b"one", .. })));
        assert!(matches!(out.pop(), Some(Action::Emit(Event::Message { payload, .. })) if *payload == *b"two"));
        assert!(matches!(out.pop(), Some(Action::Flush { .. })));
        assert!(out.pop().is_none());
    }

    #[test]
    fn events_can_be_seen_before_they_are_popped() {
        let mut out = Outbox::default();
        let message =
            |id| Event::Message { conn: ConnId(1), capability: Capability::eth(68), id, payload: Cow::default() };
        assert!(send(&mut out, b"datagram"));
        out.stage(5).copy_from_slice(b"first");
        out.emit_staged(message(1), 0..5);
        assert!(out.pop().is_some());
        let count = out.len();
        out.stage(6).copy_from_slice(b"second");
        out.emit_staged(message(2), 0..6);
        out.flush(ConnId(1));
        out.stage(5).copy_from_slice(b"third");
        out.emit_staged(message(3), 1..4);
        out.stage(9);
        let seen = |out: &Outbox, count| {
            let ids = out.events_after(count).map(|(event, bytes)| match event {
                Event::Message { id, .. } => (*id, bytes.to_vec()),
                other => panic!("{other:?}"),
            });
            ids.collect::<Vec<_>>()
        };
        let later = [(2, b"second".to_vec()), (3, b"hir".to_vec())];
        assert_eq!(seen(&out, count), later);
        assert_eq!(seen(&out, 0), [&[(1, b"first".to_vec())][..], &later].concat());
        assert_eq!(seen(&out, usize::MAX), []);
    }

    #[test]
    fn a_driver_that_never_empties_the_outbox_gets_its_memory_back() {
        let mut out: Outbox = Outbox::default();
        assert!(send(&mut out, &[0; 1280]));
        for n in 1..=2_000_u32 {
            let packet = [n as u8; 1280];
            assert!(send(&mut out, &packet), "{n}: nothing is dropped");
            assert!(matches!(out.pop(), Some(Action::Send { bytes, .. }) if bytes[0] == (n - 1) as u8), "{n}");
        }
        assert_eq!(out.bytes(), 1280);
        assert!(out.arena.len() <= 4 * 1280, "{} bytes are kept for one packet", out.arena.len());
    }

    #[test]
    fn a_driver_that_never_drains_is_bounded() {
        let mut out: Outbox = Outbox::default();
        let sent = (0..100_000).filter(|_| send(&mut out, &[0; 1280])).count();
        assert!(sent * 1280 <= limits::OUTBOX_BYTES_HIGH_WATER + 1280);
        let before = out.len();
        out.emit(Event::NodeRemoved { id: crate::crypto::NodeId([0; 32]) });
        assert_eq!((out.len(), out.events_dropped()), (before, 1));
        out.flush(ConnId(1));
        assert_eq!(out.len(), before + 1, "what a driver must know is never dropped");
    }

    #[test]
    fn memory_is_given_back() {
        let mut out: Outbox = Outbox::default();
        for _ in 0..1000 {
            while send(&mut out, &[1; 1000]) {}
            while out.pop().is_some() {}
            assert_eq!((out.arena.capacity(), out.queue.capacity()), (0, 0));
        }
    }
}
