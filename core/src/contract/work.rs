//! Work in units of about a nanosecond: what a machine does for its peers, counted where it is done, so that a driver or a
//! simulator can share a processor fairly.
//!
//! Units are counted from sizes and numbers alone: they are the same on every machine and in every run. `cargo bench -p
//! peerless --features testing --bench work` prints how many nanoseconds a unit of each kind takes.

use core::fmt;

/// Counts the work of a turn.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Work(u64);

impl Work {
    /// A byte of a stream, in either direction: AES and Keccak.
    pub const WIRE_BYTE: u64 = 3;
    /// A byte of a message, inflated or to be compressed.
    pub const INFLATED_BYTE: u64 = 1;
    /// An RLP item that is looked at.
    pub const RLP_ITEM: u64 = 5;
    /// A frame: its two MACs, its message id, its place in the queue.
    pub const FRAME: u64 = 1_000;
    /// An action that is queued for the driver.
    pub const EVENT: u64 = 200;
    /// A handshake's public-key operations.
    pub const HANDSHAKE: u64 = 220_000;

    /// Counts bytes of a stream.
    pub fn wire_bytes(&mut self, bytes: usize) {
        self.add(bytes, Self::WIRE_BYTE);
    }

    /// Counts inflated bytes.
    pub fn inflated_bytes(&mut self, bytes: usize) {
        self.add(bytes, Self::INFLATED_BYTE);
    }

    /// Counts RLP items.
    pub fn rlp_items(&mut self, items: usize) {
        self.add(items, Self::RLP_ITEM);
    }

    /// Counts a frame.
    pub fn frame(&mut self) {
        self.add(1, Self::FRAME);
    }

    /// Counts queued actions.
    pub fn events(&mut self, events: usize) {
        self.add(events, Self::EVENT);
    }

    /// Counts a handshake.
    pub fn handshake(&mut self) {
        self.add(1, Self::HANDSHAKE);
    }

    /// Returns the units counted since the last call.
    pub const fn take(&mut self) -> u64 {
        core::mem::replace(&mut self.0, 0)
    }

    fn add(&mut self, count: usize, units: u64) {
        self.0 = self.0.saturating_add((count as u64).saturating_mul(units));
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Work({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_counted_by_kind_and_taken_once() {
        let mut work = Work::default();
        work.wire_bytes(10);
        work.inflated_bytes(7);
        work.rlp_items(2);
        work.frame();
        work.events(2);
        work.handshake();
        assert_eq!((work.take(), work.take()), (30 + 7 + 10 + 1_000 + 400 + 220_000, 0));
        work.wire_bytes(usize::MAX);
        work.wire_bytes(usize::MAX);
        assert_eq!(work.take(), u64::MAX, "saturates");
    }
}
