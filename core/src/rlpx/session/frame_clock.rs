//! The clock of the frame that is arriving: when it counts as slow, and when it ends the session.

use crate::limits;
use crate::rlpx::Arriving;
use crate::time::{Duration, Instant};

/// The clock of a frame.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct FrameClock {
    /// When the frame that is arriving began, later by the time in which it was not read.
    pub(super) begun: Option<Instant>,
    /// When the frame counts as slow if no more of it comes: [`limits::FRAME_SLOW_AFTER`] after it began, later by the time of
    /// what has come at the least rate, but never later than that from the last byte.
    pub(super) slow_at: Instant,
    /// When the last whole one began, if it has taken more than one turn and was not slow.
    pub(super) last: Option<Instant>,
    /// Whether a slow frame ends the session: memory is short.
    pub(super) is_hurried: bool,
}

impl FrameClock {
    /// So many bytes have come, with which no frame is whole.
    pub(super) fn advance(&mut self, now: Instant, bytes: usize) {
        let is_new = self.begun.is_none();
        self.begun.get_or_insert(now);
        let latest = now + limits::FRAME_SLOW_AFTER;
        self.slow_at = if is_new { latest } else { (self.slow_at + at_rate(bytes)).min(latest) };
    }

    /// The frame is whole.
    pub(super) fn complete(&mut self, now: Instant) {
        self.last = self.begun.take().filter(|_| now <= self.slow_at);
    }

    /// The frame was not read for so long.
    pub(super) fn postpone(&mut self, by: Duration) {
        self.begun = self.begun.map(|begun| begun + by);
        self.slow_at = self.slow_at + by;
    }

    /// When the frame that is arriving ends the session.
    pub(super) fn deadline(&self, arriving: &Arriving<'_>) -> Option<Instant> {
        let deadline = self.begun? + limits::FRAME_TIMEOUT + at_rate(arriving.body_bytes);
        Some(if self.is_hurried { deadline.min(self.slow_at) } else { deadline })
    }
}

/// The time of so many bytes at the rate at which frames must arrive.
fn at_rate(bytes: usize) -> Duration {
    Duration::from_micros((bytes as u64).saturating_mul(1_000_000) / limits::FRAME_BYTES_PER_SECOND)
}
