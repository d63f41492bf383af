//! The progress of a crawl: counts, the rate of late, and an estimate of the time that is left.

use peerless::contract::Via;
use peerless::time::{Duration, Instant};

use crate::nodes::index_of;

/// The seconds over which a rate is taken.
const WINDOW_SECONDS: usize = 16;

/// The counts of one protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Counts {
    /// Nodes that have answered.
    pub answered: u64,
    /// Nodes that have not.
    pub silent: u64,
    /// Nodes that are being asked.
    pub asking: u64,
    /// Nodes that wait to be asked.
    pub waiting: u64,
}

/// What a crawl has done and has yet to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct Progress {
    /// Nodes that were heard of.
    pub found: u64,
    /// Records that were verified.
    pub records: u64,
    /// By discv4 and by discv5.
    pub protocols: [Counts; 2],
    /// Nodes that were asked to the end in each second, of late.
    pub rate: u64,
    /// The time in which the nodes that are known would be asked at that rate; `None` while there is no rate.
    pub estimate: Option<Duration>,
}

impl Progress {
    /// The counts of one protocol.
    pub fn of(&self, via: Via) -> &Counts {
        &self.protocols[index_of(via)]
    }
}

/// How many nodes were asked to the end in each of the last seconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    counts: [u32; WINDOW_SECONDS],
    /// The second of the first end, and of the latest.
    first: Option<u64>,
    last: u64,
}

impl Window {
    pub(crate) fn note(&mut self, now: Instant) {
        let second = now.as_micros() / 1_000_000;
        self.first.get_or_insert(second);
        self.clear_until(second);
        self.counts[second as usize % WINDOW_SECONDS] += 1;
    }

    /// Ends in a second, of the seconds up to this one.
    pub(crate) fn rate(&self, now: Instant) -> u64 {
        let mut window = *self;
        let second = now.as_micros() / 1_000_000;
        window.clear_until(second);
        let Some(first) = self.first else { return 0 };
        let seconds = (second.saturating_sub(first) + 1).min(WINDOW_SECONDS as u64);
        window.counts.iter().map(|count| u64::from(*count)).sum::<u64>() / seconds
    }

    fn clear_until(&mut self, second: u64) {
        let passed = second.saturating_sub(self.last).min(WINDOW_SECONDS as u64);
        for n in 0..passed {
            self.counts[(second - n) as usize % WINDOW_SECONDS] = 0;
        }
        self.last = self.last.max(second);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let at = |second: u64| Instant::from_micros(second * 1_000_000);
        let mut window = Window::default();
        assert_eq!(window.rate(at(5)), 0);
        for second in 5..45 {
            let count = if second < 25 { 100 } else { 10 };
            (0..count).for_each(|_| window.note(at(second)));
        }
        assert_eq!(window.rate(at(44)), 10);
        assert_eq!(window.rate(at(300)), 0);
        let mut window = Window::default();
        (0..50).for_each(|_| window.note(at(7)));
        assert_eq!((window.rate(at(7)), window.rate(at(8))), (50, 25));
    }
}
