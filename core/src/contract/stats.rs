//! Plain counters of a node's traffic. Exporters live in adapters.

use alloc::collections::BTreeMap;

use super::ids::Direction;
use super::reason::{DropReason, End};
use crate::wire::p2p::Capability;

/// A number of things and of their bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// How many.
    pub count: u64,
    /// How many bytes.
    pub bytes: u64,
}

impl Traffic {
    /// Counts one of `bytes` bytes.
    pub fn add(&mut self, bytes: usize) {
        self.count += 1;
        self.bytes += bytes as u64;
    }
}

/// What a node has done since its start. Only grows; every key is an enum or a registered capability, so it is bounded.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Datagrams received, dropped ones included.
    pub datagrams_in: Traffic,
    /// Datagrams queued for sending.
    pub datagrams_out: Traffic,
    /// Datagrams not acted upon or not sent, by reason.
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
    fn a_peer_cannot_make_new_keys() {
        let mut stats = Stats::default();
        for network in 0..1000 {
            let why = EndReason::Status(StatusRefusal::Network(network));
            stats.end(Direction::Inbound, &End { by: Side::Us, stage: Stage::Status, why });
        }
        assert_eq!(stats.ended.into_values().collect::<alloc::vec::Vec<_>>(), [1000]);
    }
}
