//! The one place where time is read: a monotonic clock from the driver's start, and a watch on the wall clock's steps.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use peerless::time::{Instant, UnixTime};

/// How far the wall clock may be from where the monotonic one expects it before the machine is told: discv4 expirations
/// are whole seconds, 20 of them ahead.
const STEP_MIN: Duration = Duration::from_secs(1);

/// The driver's clock.
pub(crate) struct Clock {
    start: std::time::Instant,
    /// What the wall clock showed when the machine was last told, and when that was.
    told: Option<(Instant, Duration)>,
}

impl Clock {
    /// Starts at [`Instant::ZERO`]. The machine has not been told the wall time yet.
    pub(crate) fn start() -> Self {
        Self { start: std::time::Instant::now(), told: None }
    }

    /// Microseconds since the start.
    pub(crate) fn now(&self) -> Instant {
        Instant::ZERO + self.start.elapsed()
    }

    /// The wall time, if the machine is to be told: the first time, and after a step of more than a second.
    pub(crate) fn wall_step(&mut self, now: Instant) -> Option<UnixTime> {
        self.step_to(now, since_epoch())
    }

    /// As if the wall clock had been set forward by `by` since the machine was told.
    #[cfg(test)]
    pub(crate) fn step_forward(&mut self, by: Duration) {
        if let Some((_, told)) = &mut self.told {
            *told = told.saturating_sub(by);
        }
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

/// The wall time. Zero on a machine whose clock stands before 1970.
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
    fn the_wall_time_is_told_at_first_and_after_a_step() {
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
