//! The driver's clocks: a monotonic one from its start, and the steps of the wall clock. The only file that reads time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerless::time::{Instant, UnixTime};

/// The deviation of the wall clock from the monotonic one after which the machine gets the new wall time: discv4's
/// expirations are in whole seconds, 20 s ahead.
const STEP_MIN: Duration = Duration::from_secs(1);

/// A monotonic clock and the last reported wall time.
pub(crate) struct Clock {
    start: std::time::Instant,
    /// The last reported wall time, and when it was reported.
    told: Option<(Instant, Duration)>,
}

impl Clock {
    /// Starts at [`Instant::ZERO`]. No wall time was reported yet.
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now(), told: None }
    }

    /// Microseconds since the start.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// The wall time, if it is to be reported: at first, and after a step of more than a second.
    pub(crate) fn wall_step(&mut self, now: Instant) -> Option<UnixTime> {
        self.step_to(now, since_epoch())
    }

    fn step_to(&mut self, now: Instant, wall: Duration) -> Option<UnixTime> {
        if let Some((at, told)) = self.told
            && (told + now.since(at)).abs_diff(wall) <= STEP_MIN
        {
            return None;
        }
        self.told = Some((now, wall));
        Some(unix_of(wall))
    }
}

/// The wall time; zero before 1970.
pub(crate) fn unix_time() -> UnixTime {
    unix_of(since_epoch())
}

fn unix_of(since_epoch: Duration) -> UnixTime {
    UnixTime::from_secs(since_epoch.as_secs()).plus_micros(since_epoch.subsec_micros().into())
}

fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_is_told_at_first_and_when_it_steps() {
        let mut clock = Clock::start();
        let mut told = |now: u64, wall: u64| {
            let (now, wall) = (Instant::from_micros(now * 1000), Duration::from_millis(wall));
            clock.step_to(now, wall).map(UnixTime::as_secs)
        };
        assert_eq!(told(0, 1_000_900), Some(1000));
        assert_eq!(told(60_000, 1_060_900), None, "both have moved by a minute");
        assert_eq!(told(61_000, 1_062_900), None, "one second of drift is none");
        assert_eq!(told(62_000, 5_000_000), Some(5000), "a step ahead");
        assert_eq!(told(63_000, 5_001_000), None);
        assert_eq!(told(64_000, 4_000_000), Some(4000), "a step back");
    }
}
