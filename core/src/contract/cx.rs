//! The context of a machine's call: time, randomness, primitives, filter, outbox, counters.

use alloc::sync::Arc;
use core::fmt;
use core::net::SocketAddr;

use super::ids::{QueryId, SocketId};
use super::language::{Devp2p, Language};
use super::outbox::Outbox;
use super::query::Query;
use super::reason::DropReason;
use super::stats::Stats;
use super::work::Work;
use crate::crypto::Crypto;
use crate::netfilter::NetFilter;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, WallClock};
use crate::wire::snappy::Compressor;

/// The context of one call, borrowed from a [`Context`]; every machine gets it by `&mut`. `L` is the language of its events.
pub struct Cx<'a, L: Language = Devp2p> {
    /// Monotonic time of this turn.
    pub now: Instant,
    /// Wall time of this turn.
    pub unix: UnixTime,
    /// The machine's own fork of the run's randomness.
    pub rng: &'a mut Rng,
    /// The costly primitives.
    pub crypto: &'a dyn Crypto,
    /// The addresses that the node may communicate with.
    pub filter: &'a NetFilter,
    /// Compresses messages, in scratch space that all connections share.
    pub snappy: &'a mut Compressor,
    /// The queue of actions.
    pub out: &'a mut Outbox<L>,
    /// The counters.
    pub stats: &'a mut Stats,
    /// The work of this turn.
    pub work: &'a mut Work,
    /// The number of queries so far, which is the id of the next one.
    queries: &'a mut u64,
}

impl<L: Language> Cx<'_, L> {
    /// Queues the staged bytes of the outbox as a datagram. If the address is filtered or the outbox is full, discards and
    /// counts it. Returns whether it was queued.
    pub fn send_staged(&mut self, socket: SocketId, to: SocketAddr) -> bool {
        let bytes = self.out.staged().len();
        let dropped = if !self.filter.permits(to.ip()) {
            self.out.discard_staged();
            DropReason::Filtered
        } else if !self.out.send_staged(socket, to) {
            DropReason::OutboxFull
        } else {
            self.stats.datagrams_out.add(bytes);
            return true;
        };
        self.stats.drop_datagram(dropped);
        false
    }

    /// Asks the driver to resolve a name. Returns the query's id, which no other query of the same [`Context`] has.
    pub fn query(&mut self, what: Query<'_>) -> QueryId {
        let id = QueryId(*self.queries);
        *self.queries += 1;
        self.out.query(id, what);
        id
    }
}

/// The owner of what a [`Cx`] borrows: clock, primitives, scratch space, filter, outbox, counters. A node owns one, as does
/// the driver of a single machine: one for each thread, not one for each connection, because the compressor takes 34 KiB.
pub struct Context<L: Language = Devp2p> {
    now: Instant,
    clock: WallClock,
    crypto: Arc<dyn Crypto + Send + Sync>,
    snappy: Compressor,
    /// The addresses that the node may communicate with.
    pub filter: NetFilter,
    /// The queue of actions.
    pub out: Outbox<L>,
    /// The counters.
    pub stats: Stats,
    /// The work that has not been taken yet.
    pub work: Work,
    /// The number of queries so far.
    queries: u64,
}

impl<L: Language> Context<L> {
    /// Creates a context at `now` with the wall time `unix`.
    pub fn new(now: Instant, unix: UnixTime, filter: NetFilter, crypto: Arc<dyn Crypto + Send + Sync>) -> Self {
        let clock = WallClock::new(now, unix);
        let snappy = Compressor::default();
        Self {
            now,
            clock,
            crypto,
            snappy,
            filter,
            out: Outbox::default(),
            stats: Stats::default(),
            work: Work::default(),
            queries: 0,
        }
    }

    /// Moves time forward and returns it. A `now` before the present time changes nothing.
    pub fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// The present time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Sets the present wall time.
    pub fn set_wall_clock(&mut self, unix: UnixTime) {
        self.clock = WallClock::new(self.now, unix);
    }

    /// The wall time now.
    pub fn unix(&self) -> UnixTime {
        self.clock.at(self.now)
    }

    /// The costly primitives.
    pub fn crypto(&self) -> &(dyn Crypto + Send + Sync) {
        &*self.crypto
    }

    /// Borrows the context for a machine whose generator is `rng`.
    pub fn cx<'a>(&'a mut self, rng: &'a mut Rng) -> Cx<'a, L> {
        let unix = self.unix();
        let Self { now, crypto, snappy, filter, out, stats, work, queries, .. } = self;
        Cx { now: *now, unix, rng, crypto: &**crypto, filter, snappy, out, stats, work, queries }
    }
}

/// Omits generator, primitives and scratch space.
impl<L: Language> fmt::Debug for Cx<'_, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Cx");
        debug.field("now", &self.now).field("unix", &self.unix).field("filter", self.filter);
        debug.field("out", self.out).field("stats", self.stats).finish_non_exhaustive()
    }
}

/// Omits primitives and scratch space.
impl<L: Language> fmt::Debug for Context<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Context");
        debug.field("now", &self.now).field("unix", &self.unix()).field("filter", &self.filter);
        debug.field("out", &self.out).field("stats", &self.stats).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use super::*;
    use crate::contract::Action;
    use crate::contract::stats::Traffic;
    use crate::crypto::Secp256k1;
    use crate::limits;
    use crate::rng::Seed;

    #[test]
    fn a_datagram_that_cannot_be_sent_is_counted_and_discarded() {
        let filter = NetFilter::only(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut context: Context =
            Context::new(Instant::ZERO, UnixTime::from_secs(0), filter, Arc::new(Secp256k1::new()));
        let mut rng = Seed::new([1; 32]).fork("cx");
        let mut cx = context.cx(&mut rng);
        let (allowed, filtered) = (SocketAddr::from(([10, 0, 0, 1], 1)), SocketAddr::from(([11, 0, 0, 1], 1)));
        let mut send = |to, byte| {
            cx.out.tail().extend_from_slice(&[byte; 1000]);
            let went = cx.send_staged(SocketId::MAIN, to);
            assert!(cx.out.staged().is_empty());
            went
        };
        assert!(send(allowed, 1) && !send(filtered, 2));
        let mut sent = 1;
        while send(allowed, 3) {
            sent += 1;
        }
        assert!(!send(filtered, 4) && !send(allowed, 5));
        assert_eq!(sent, limits::OUTBOX_BYTES_HIGH_WATER as u64 / 1000 + 1);
        assert_eq!(context.stats.datagrams_out, Traffic { count: sent, bytes: sent * 1000 });
        let dropped = [(DropReason::Filtered, 2), (DropReason::OutboxFull, 2)];
        assert!(context.stats.datagrams_dropped.into_iter().eq(dropped));
        for at in 0..sent {
            let Some(Action::Send { to, bytes, .. }) = context.out.pop() else { panic!() };
            assert_eq!((to, bytes), (allowed, &[if at == 0 { 1 } else { 3 }; 1000][..]));
        }
        assert!(context.out.pop().is_none());
    }
}
