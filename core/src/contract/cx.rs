//! What a machine is given with every call: the time, randomness, primitives, and somewhere to put its actions.

use alloc::sync::Arc;
use core::net::SocketAddr;

use super::ids::SocketId;
use super::language::{Devp2p, Language};
use super::outbox::Outbox;
use super::reason::DropReason;
use super::stats::Stats;
use crate::crypto::Crypto;
use crate::netfilter::NetFilter;
use crate::rng::Rng;
use crate::time::{Instant, UnixTime, WallClock};
use crate::wire::snappy::Compressor;

/// Passed down by `&mut` to every machine; borrowed from a [`Context`]. `L` is the language of the machine's events.
pub struct Cx<'a, L: Language = Devp2p> {
    /// Monotonic time of this turn.
    pub now: Instant,
    /// Wall time of this turn.
    pub unix: UnixTime,
    /// The machine's own fork of the run's randomness.
    pub rng: &'a mut Rng,
    /// The costly primitives.
    pub crypto: &'a dyn Crypto,
    /// The addresses that may be talked to.
    pub filter: &'a NetFilter,
    /// Compresses messages, in scratch space that all connections share.
    pub snappy: &'a mut Compressor,
    /// Where actions go.
    pub out: &'a mut Outbox<L>,
    /// What is counted.
    pub stats: &'a mut Stats,
}

impl<L: Language> Cx<'_, L> {
    /// Queues what is staged in the outbox as a datagram. If the address is filtered or the outbox is full, the datagram is
    /// discarded and counted. Returns whether it was queued.
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
}

/// What outlives a call: clock, primitives, scratch space, filter, outbox, counters. A node owns one, as does a driver of a
/// single machine: one for each thread, never one for each connection, because the compressor alone takes 34 KiB.
pub struct Context<L: Language = Devp2p> {
    now: Instant,
    clock: WallClock,
    crypto: Arc<dyn Crypto + Send + Sync>,
    snappy: Compressor,
    /// The addresses that may be talked to.
    pub filter: NetFilter,
    /// Where actions wait.
    pub out: Outbox<L>,
    /// What is counted.
    pub stats: Stats,
}

impl<L: Language> Context<L> {
    /// A context at `now`, when the wall clock shows `unix`.
    pub fn new(now: Instant, unix: UnixTime, filter: NetFilter, crypto: Arc<dyn Crypto + Send + Sync>) -> Self {
        let clock = WallClock::new(now, unix);
        let snappy = Compressor::default();
        Self { now, clock, crypto, snappy, filter, out: Outbox::default(), stats: Stats::default() }
    }

    /// Moves time forward; a `now` before the last one seen is taken as that one.
    pub fn advance(&mut self, now: Instant) -> Instant {
        self.now = self.now.max(now);
        self.now
    }

    /// The last time seen.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The wall clock shows `unix` now.
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

    /// What a machine is given.
    pub fn cx<'a>(&'a mut self, rng: &'a mut Rng) -> Cx<'a, L> {
        let unix = self.unix();
        let Self { now, crypto, snappy, filter, out, stats, .. } = self;
        Cx { now: *now, unix, rng, crypto: &**crypto, filter, snappy, out, stats }
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
    fn what_cannot_be_sent_is_counted_and_forgotten() {
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
