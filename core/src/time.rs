//! Instants, wall time and deadlines.
//!
//! Nothing in this crate reads a clock. All logic runs on [`Instant`]; [`UnixTime`] is what the wire needs (discv4
//! expirations, record sequence numbers) and recordings show, and is derived from one anchor, the [`WallClock`].

use alloc::collections::{BTreeMap, BTreeSet};
use core::fmt;
use core::ops::Add;
pub use core::time::Duration;

const MICROS_PER_SEC: u64 = 1_000_000;

/// Microseconds since the driver's own start; monotonic.
///
/// A deadline beyond the end of time is [`Instant::NEVER`], which is later than every instant that a driver can supply.
/// So `now + duration` is later than `now` for every `now` and every duration of at least a microsecond, and no loop
/// over due deadlines spins at the end of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// The driver's start.
    pub const ZERO: Self = Self(0);

    /// The last instant that a driver can supply, some 584,000 years after the start.
    pub const LAST: Self = Self(u64::MAX - 1);

    /// Later than every other instant: a deadline at it is never due.
    pub const NEVER: Self = Self(u64::MAX);

    /// The instant `micros` microseconds after the driver's start; [`Instant::LAST`] if that is later.
    pub const fn from_micros(micros: u64) -> Self {
        if micros < Self::LAST.0 { Self(micros) } else { Self::LAST }
    }

    /// Microseconds since the driver's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to `self`; zero if `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// [`Instant::NEVER`] if the sum is later than [`Instant::LAST`].
impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        let micros = u64::try_from(rhs.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}s", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

/// Wall time since 1970-01-01 UTC, in microseconds. The wire needs whole seconds of it (discv4 expirations, up to
/// `u64::MAX`); recordings and captures need the fraction, so that their stamps agree.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixTime {
    secs: u64,
    /// Below a million.
    micros: u32,
}

impl UnixTime {
    /// The time `secs` seconds after 1970-01-01 UTC.
    pub const fn from_secs(secs: u64) -> Self {
        Self { secs, micros: 0 }
    }

    /// The given number of microseconds since 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self { secs: micros / MICROS_PER_SEC, micros: (micros % MICROS_PER_SEC) as u32 }
    }

    /// Whole seconds since 1970.
    pub const fn as_secs(self) -> u64 {
        self.secs
    }

    /// Microseconds since 1970, saturating in the year 586,512.
    pub const fn as_micros(self) -> u64 {
        self.secs.saturating_mul(MICROS_PER_SEC).saturating_add(self.micros as u64)
    }

    /// `self` moved by whole seconds, saturating.
    pub const fn plus_secs(self, secs: u64) -> Self {
        Self { secs: self.secs.saturating_add(secs), micros: self.micros }
    }

    /// `self` moved by microseconds, saturating.
    pub const fn plus_micros(self, micros: u64) -> Self {
        let fraction = self.micros as u64 + micros % MICROS_PER_SEC;
        let secs = micros / MICROS_PER_SEC + fraction / MICROS_PER_SEC;
        Self { secs: self.secs.saturating_add(secs), micros: (fraction % MICROS_PER_SEC) as u32 }
    }
}

/// Maps instants to wall time by one anchor, which only `Input::WallClock` moves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WallClock {
    anchor: Instant,
    unix: UnixTime,
}

impl WallClock {
    /// Makes a clock that shows `unix` at `anchor`.
    pub const fn new(anchor: Instant, unix: UnixTime) -> Self {
        Self { anchor, unix }
    }

    /// The wall time at `now`; before the anchor it stands still.
    pub const fn at(&self, now: Instant) -> UnixTime {
        self.unix.plus_micros(now.0.saturating_sub(self.anchor.0))
    }
}

/// A set of deadlines, at most one per key, ordered by time and then by key.
///
/// Keys are small `Copy` enums. Equal instants fire in key order, so the order never depends on insertion.
#[derive(Clone, Debug)]
pub struct Deadlines<K> {
    by_key: BTreeMap<K, Instant>,
    by_time: BTreeSet<(Instant, K)>,
}

impl<K: Ord + Copy> Default for Deadlines<K> {
    fn default() -> Self {
        Self { by_key: BTreeMap::new(), by_time: BTreeSet::new() }
    }
}

impl<K: Ord + Copy> Deadlines<K> {
    /// Sets, moves or (with `None`) clears the deadline of `key`.
    pub fn set(&mut self, key: K, at: impl Into<Option<Instant>>) {
        let at = at.into();
        let old = match at {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.by_time.remove(&(old, key));
        }
        if let Some(at) = at {
            self.by_time.insert((at, key));
        }
    }

    /// The deadline of `key`, if it has one.
    pub fn get(&self, key: K) -> Option<Instant> {
        self.by_key.get(&key).copied()
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<(Instant, K)> {
        self.by_time.first().copied()
    }

    /// Removes and returns the earliest deadline if it is not later than `now`. One at [`Instant::NEVER`] is never
    /// returned.
    pub fn pop_due(&mut self, now: Instant) -> Option<(Instant, K)> {
        let (at, key) = self.next().filter(|(at, _)| *at <= now)?;
        self.set(key, None);
        Some((at, key))
    }

    /// Number of deadlines set.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Whether no deadline is set.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_fire_in_time_then_key_order() {
        let mut deadlines = Deadlines::default();
        let at = Instant::from_micros;
        deadlines.set(2u8, at(10));
        deadlines.set(1, at(10));
        deadlines.set(0, at(20));
        deadlines.set(0, at(5));
        deadlines.set(3, at(1));
        deadlines.set(3, None);
        assert_eq!(deadlines.pop_due(at(4)), None);
        let fired: alloc::vec::Vec<_> = core::iter::from_fn(|| deadlines.pop_due(at(10))).collect();
        assert_eq!(fired, [(at(5), 0), (at(10), 1), (at(10), 2)]);
        assert!(deadlines.is_empty());
    }

    #[test]
    fn wall_time_follows_the_anchor() {
        let clock = WallClock::new(Instant::from_micros(5_000_000), UnixTime::from_secs(100));
        assert_eq!(clock.at(Instant::from_micros(7_999_999)).as_secs(), 102);
        let clock = WallClock::new(Instant::ZERO, UnixTime::from_micros(100_999_999));
        assert_eq!(clock.at(Instant::from_micros(1)), UnixTime::from_secs(101), "a fraction carries");
        assert_eq!(UnixTime::from_secs(u64::MAX).plus_micros(u64::MAX).as_secs(), u64::MAX);
        assert_eq!(UnixTime::from_secs(u64::MAX).as_micros(), u64::MAX);
        let clock = WallClock::new(Instant::from_micros(5_000_000), UnixTime::from_secs(100));
        assert_eq!(clock.at(Instant::ZERO).as_secs(), 100, "time before the anchor stands still");
    }

    #[test]
    fn a_sum_beyond_the_end_of_time_is_never_due() {
        assert_eq!(Instant::from_micros(u64::MAX), Instant::LAST);
        for micros in [u64::MAX, u64::MAX - 1, u64::MAX - 2, u64::MAX - 1_000_000] {
            let now = Instant::from_micros(micros);
            for duration in [Duration::from_micros(1), Duration::from_secs(1), Duration::MAX] {
                assert!(now + duration > now, "{now} + {duration:?}");
            }
        }
        assert_eq!(Instant::LAST + Duration::from_micros(1), Instant::NEVER);
        assert_eq!(Instant::NEVER + Duration::MAX, Instant::NEVER);
        let mut deadlines = Deadlines::default();
        deadlines.set((), Instant::LAST + Duration::from_secs(1));
        assert_eq!(deadlines.pop_due(Instant::LAST), None);
    }

    #[test]
    fn the_time_since_a_later_instant_is_zero() {
        assert_eq!(Instant::ZERO.since(Instant::from_micros(1)), Duration::ZERO);
    }
}
