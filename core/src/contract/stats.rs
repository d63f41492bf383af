//! The counters of a node. Exporters are in adapters.

use alloc::collections::BTreeMap;

use super::end::End;
use super::ids::Direction;
use super::reason::DropReason;
use crate::wire::p2p::Capability;

/// A number of items and the sum of their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// The number of items.
    pub count: u64,
    /// The sum of their bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one item of `bytes` bytes.
    pub fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

/// The counters of a node since its start. They only grow. Every key is an enum or a registered capability, so the memory is
/// bounded.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Datagrams received, dropped ones included.
    pub datagrams_in: Traffic,
    /// Datagrams queued for sending.
    pub datagrams_out: Traffic,
    /// Datagrams that were received and dropped, or not sent, by reason.
    pub datagrams_dropped: BTreeMap<DropReason, u64>,
    /// Frames opened, with their bytes on the wire.
    pub frames_in: Traffic,
    /// Frames sealed, with their bytes on the wire.
    pub frames_out: Traffic,
    /// Messages of capabilities received, by capability and relative id; uncompressed payload bytes.
    pub messages_in: BTreeMap<(Capability, u64), Traffic>,
    /// Messages of capabilities sent, likewise.
    pub messages_out: BTreeMap<(Capability, u64), Traffic>,
    /// Dials begun.
    pub dials: u64,
    /// Streams accepted.
    pub accepts: u64,
    /// Streams not accepted.
    pub accepts_refused: u64,
    /// Connections ended, by direction and the cause's class.
    pub ended: BTreeMap<(Direction, End), u64>,
}

impl Stats {
    /// Counts a connection's end.
    pub fn end(&mut self, direction: Direction, end: &End) {
        *self.ended.entry((direction, end.class())).or_default() += 1;
    }

    /// Counts a datagram that was dropped.
    pub fn drop_datagram(&mut self, reason: DropReason) {
        *self.datagrams_dropped.entry(reason).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{EndReason, Side, Stage, StatusRefusal};

    #[test]
    fn ends_with_different_network_ids_are_counted_under_one_key() {
        let mut stats = Stats::default();
        for network in 0..1000 {
            let why = EndReason::Status(StatusRefusal::Network(network));
            stats.end(Direction::Inbound, &End { by: Side::Us, stage: Stage::Status, why });
        }
        assert_eq!(stats.ended.into_values().collect::<alloc::vec::Vec<_>>(), [1000]);
    }
}
