//! A node whose budgets for unsolicited datagrams are exhausted: other nodes' checks of it may not come through.
//!
//! It pings each node of its table twice a minute, which stands for the answer to their checks, and does not count
//! unanswered FindNodes, whose answers may be lost. Answers to its own pings need no budget, so it removes no live node.

use super::Discv4;
use super::calls::{Purpose, Request};
use crate::contract::Cx;
use crate::limits;
use crate::time::Instant;

/// A flood, from the first datagram for which a budget was exhausted to [`limits::FLOODED_INTERVAL`] after the last one.
#[derive(Debug)]
pub(super) struct Flood {
    /// The last time at which a budget was exhausted.
    last: Instant,
    ping_due: Instant,
    /// The number of pings so far, which is the next entry's index among the entries of the table, modulo their number.
    pings: usize,
}

impl Flood {
    /// When the next node is pinged.
    pub(super) fn ping_due(&self) -> Instant {
        self.ping_due
    }
}

impl Discv4 {
    /// A datagram was dropped because a budget is exhausted from which honest nodes pay as well.
    pub(super) fn on_flooded(&mut self, now: Instant) {
        self.flood.get_or_insert(Flood { last: now, ping_due: now, pings: 0 }).last = now;
    }

    /// Whether a budget was exhausted lately.
    pub(super) fn is_flooded(&self, now: Instant) -> bool {
        self.flood.as_ref().is_some_and(|flood| now.since(flood.last) < limits::FLOODED_INTERVAL)
    }

    /// Pings the next node of the table, if that is due.
    pub(super) fn ping_while_flooded(&mut self, cx: &mut Cx<'_>) {
        if !self.is_flooded(cx.now) {
            self.flood = None;
        }
        let nodes = self.table.len();
        let Some(flood) = self.flood.as_mut().filter(|flood| flood.ping_due <= cx.now) else { return };
        let chosen = flood.pings.checked_rem(nodes).and_then(|index| self.table.entries().nth(index));
        let chosen = chosen.map(|entry| *entry.contact());
        flood.pings = flood.pings.wrapping_add(1);
        flood.ping_due =
            cx.now + limits::FLOODED_INTERVAL / nodes.clamp(1, limits::BUCKETS * limits::BUCKET_SIZE) as u32;
        if let Some(contact) = chosen {
            // One that cannot be pinged now has its turn again.
            _ = self.start_request(cx, contact, Request::Ping, Purpose::Check);
        }
    }
}
