//! Place-time: for how long a group of addresses has held inbound places lately.
//!
//! It decays by a twelfth with each full hour of the monotonic clock, so that it does not depend on when it is asked for. What
//! ended connections have held is kept here; what present ones hold follows from their places. A newcomer displaces a peer whose
//! group has more of it: reconnecting under new keys or from addresses of the same subnet does not help (attacks E7, P1).

use alloc::collections::BTreeMap;

use super::ranges::Group;
use crate::limits::{PLACE_TIME_DECAY, PLACE_TIMES_MAX};
use crate::time::{Duration, Instant};

/// The hours after which nothing is left of any place-time.
const HOURS_MAX: u64 = 600;
/// One part in so many is lost in each hour.
const DECAY: u64 = 12;

/// The place-time of a group up to an instant.
#[derive(Clone, Copy, Debug)]
struct Past {
    micros: u64,
    at: Instant,
}

/// The place-time of connections that have ended, by group; at most [`PLACE_TIMES_MAX`] groups.
#[derive(Clone, Debug, Default)]
pub struct PlaceTimes(BTreeMap<Group, Past>);

impl PlaceTimes {
    /// A place that a connection of `group` has held since `since` is free. When full, drops the group with the least.
    pub fn add(&mut self, now: Instant, group: Group, since: Instant) {
        let micros = self.past(now, group).saturating_add(held(since, now));
        self.0.insert(group, Past { micros, at: now });
        if self.0.len() > PLACE_TIMES_MAX {
            let left = self.0.iter().map(|(group, past)| (decayed(*past, now), *group));
            let least = left.min().map(|(_, group)| group);
            least.and_then(|group| self.0.remove(&group));
        }
    }

    /// The place-time of a group, with the places that it has held since the given instants.
    pub fn of(&self, now: Instant, group: Group, present: impl Iterator<Item = Instant>) -> Duration {
        let past = self.past(now, group);
        Duration::from_micros(present.fold(past, |micros, since| micros.saturating_add(held(since, now))))
    }

    fn past(&self, now: Instant, group: Group) -> u64 {
        self.0.get(&group).map_or(0, |past| decayed(*past, now))
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.len()
    }
}

const fn hour(at: Instant) -> u64 {
    at.as_micros() / PLACE_TIME_DECAY.as_micros() as u64
}

/// What is left of a place-time.
fn decayed(past: Past, now: Instant) -> u64 {
    let hours = hour(now).saturating_sub(hour(past.at));
    if hours >= HOURS_MAX {
        return 0;
    }
    (0..hours).fold(past.micros, |micros, _| micros - micros / DECAY)
}

/// The place-time of one place that is held from `since` to `now`, decay included.
fn held(since: Instant, now: Instant) -> u64 {
    let first = hour(since).max(hour(now).saturating_sub(HOURS_MAX));
    let mut at = since.as_micros().max(first.saturating_mul(PLACE_TIME_DECAY.as_micros() as u64));
    let mut micros = 0;
    for next in first + 1..=hour(now) {
        let boundary = next * PLACE_TIME_DECAY.as_micros() as u64;
        micros += boundary - at;
        micros -= micros / DECAY;
        at = boundary;
    }
    micros + now.as_micros().saturating_sub(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP: Group = Group::Subnet(1);

    fn at(minutes: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(minutes * 60)
    }

    fn minutes(times: &PlaceTimes, now: u64) -> u64 {
        times.of(at(now), GROUP, core::iter::empty()).as_secs() / 60
    }

    #[test]
    fn place_time_adds_up_and_halves_in_eight_hours() {
        let mut times = PlaceTimes::default();
        times.add(at(50), GROUP, at(10));
        times.add(at(50), GROUP, at(40));
        assert_eq!(minutes(&times, 50), 50);
        assert_eq!(minutes(&times, 59), 50);
        assert_eq!(minutes(&times, 60), 45, "a twelfth each hour");
        assert_eq!(minutes(&times, 50 + 8 * 60), 24);
        assert_eq!(minutes(&times, 50 + 48 * 60), 0);
        let present = times.of(at(55), GROUP, [at(45), at(50)].into_iter());
        assert_eq!(present.as_secs() / 60, 65, "present places count");
    }

    #[test]
    fn a_place_counts_the_same_in_one_piece_and_in_many() {
        let (mut whole, mut parts) = (PlaceTimes::default(), PlaceTimes::default());
        whole.add(at(1000), GROUP, at(7));
        for part in 0..331 {
            parts.add(at(7 + part * 3 + 3), GROUP, at(7 + part * 3));
        }
        assert_eq!(minutes(&whole, 1000), minutes(&parts, 1000));
    }

    #[test]
    fn the_place_time_of_a_place_held_without_end_is_bounded() {
        let bound = u64::try_from(PLACE_TIME_DECAY.as_micros()).unwrap() * DECAY;
        assert!(held(Instant::ZERO, at(60 * 24 * 365)) <= bound);
        assert!(held(Instant::ZERO, Instant::LAST) <= bound);
        assert!(held(Instant::LAST, Instant::ZERO) == 0);
    }

    #[test]
    fn memory_is_bounded_and_the_most_place_time_is_kept() {
        let mut times = PlaceTimes::default();
        times.add(at(100), GROUP, at(0));
        for n in 0..2 * PLACE_TIMES_MAX as u64 {
            times.add(at(101), Group::Subnet(2 + n), at(100));
        }
        assert_eq!(times.len(), PLACE_TIMES_MAX);
        assert!(minutes(&times, 101) > 60);
    }
}
