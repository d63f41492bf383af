//! Eviction: which inbound peer makes room for a newcomer when all places are taken.

use alloc::vec::Vec;
use core::cmp::Reverse;

use crate::contract::ConnId;
use crate::limits::INBOUND_TENURE;
use crate::time::{Duration, Instant};

/// A peer at this score, or below, is displaced before all others.
pub const EVICTION_SCORE: i32 = -30;

/// An inbound peer that could be displaced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holder {
    /// Its connection.
    pub conn: ConnId,
    /// Since when it has its place.
    pub since: Instant,
    /// The place-time of its subnet.
    pub place_time: Duration,
    /// The shortest time in which it has answered a ping.
    pub latency: Option<Duration>,
    /// The number of useful answers that it has given.
    pub answers: u32,
    /// Its score.
    pub score: i32,
}

/// The peer that a newcomer displaces whose subnet has the place-time `own`, if there is one (attacks E7, P1, P10): one at
/// [`EVICTION_SCORE`] or below; else, among those that are not protected, one of the subnet with the most place-time, if that
/// exceeds `own` by [`INBOUND_TENURE`]. Of several of that subnet the youngest.
///
/// Protected are few, and each kind for another reason: what an attacker wins by distance, by service or by patience is two
/// places, two and four of 34, in smaller nodes in proportion.
pub fn displaced(own: Duration, holders: &[Holder]) -> Option<ConnId> {
    let worst = holders.iter().filter(|holder| holder.score <= EVICTION_SCORE);
    if let Some(worst) = worst.min_by_key(|holder| (holder.score, Reverse(holder.since), holder.conn)) {
        return Some(worst.conn);
    }
    let candidates = unprotected(holders);
    let most = candidates.into_iter().max_by_key(|holder| (holder.place_time, holder.since, holder.conn))?;
    (most.place_time > own.saturating_add(INBOUND_TENURE)).then_some(most.conn)
}

/// The peers without protection: without the two of the shortest latency, of the rest the two with the most useful answers, and
/// of the rest the four oldest.
fn unprotected(holders: &[Holder]) -> Vec<Holder> {
    let few = (holders.len() / 16).min(2);
    let mut rest = holders.to_vec();
    rest.sort_unstable_by_key(|holder| (holder.latency.unwrap_or(Duration::MAX), holder.conn));
    let is_measured = |holder: &Holder| holder.latency.is_some();
    rest.drain(..few.min(rest.iter().take_while(|holder| is_measured(holder)).count()));
    rest.sort_unstable_by_key(|holder| (Reverse(holder.answers), holder.conn));
    rest.drain(..few.min(rest.iter().take_while(|holder| holder.answers > 0).count()));
    rest.sort_unstable_by_key(|holder| (holder.since, holder.conn));
    rest.drain(..(holders.len() / 8).min(4).min(rest.len()));
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    /// Peers of distinct subnets that joined one minute after the other, the first an hour ago.
    fn holders(count: u64) -> Vec<Holder> {
        let holder = |n: u64| Holder {
            conn: ConnId(n),
            since: Instant::ZERO + MINUTE * n as u32,
            place_time: MINUTE * (60 - n) as u32,
            latency: None,
            answers: 0,
            score: 0,
        };
        (0..count).map(holder).collect()
    }

    #[test]
    fn the_most_place_time_is_displaced_if_it_exceeds_that_of_the_newcomer_by_the_tenure() {
        let holders = holders(34);
        // The four oldest are protected, the fifth has been there for 56 minutes.
        assert_eq!(displaced(Duration::ZERO, &holders), Some(ConnId(4)));
        assert_eq!(displaced(MINUTE * 36 - Duration::from_micros(1), &holders), Some(ConnId(4)));
        assert_eq!(displaced(MINUTE * 36, &holders), None);
        assert_eq!(displaced(Duration::ZERO, &[]), None);
    }

    #[test]
    fn of_one_subnet_the_youngest_is_displaced() {
        let mut holders = holders(34);
        for n in [10, 20, 15] {
            holders[n].place_time = MINUTE * 300;
        }
        assert_eq!(displaced(Duration::ZERO, &holders), Some(ConnId(20)));
    }

    #[test]
    fn two_by_latency_two_by_service_and_four_by_age_are_protected() {
        let mut holders = holders(34);
        for holder in &mut holders[..9] {
            holder.place_time = MINUTE * 1000;
        }
        for (n, millis) in [(4, 10), (5, 11), (6, 12)] {
            holders[n].latency = Some(Duration::from_millis(millis));
        }
        for (n, answers) in [(6, 3), (7, 2), (8, 1)] {
            holders[n].answers = answers;
        }
        assert_eq!(displaced(Duration::ZERO, &holders), Some(ConnId(8)));
        holders[8].place_time = Duration::ZERO;
        assert_eq!(displaced(Duration::ZERO, &holders), Some(ConnId(9)), "none of the protected eight");
    }

    #[test]
    fn a_bad_score_goes_first_and_small_nodes_protect_fewer() {
        let mut holders = holders(6);
        assert_eq!(displaced(Duration::ZERO, &holders), Some(ConnId(0)));
        holders[3].score = EVICTION_SCORE;
        holders[4].score = EVICTION_SCORE - 1;
        assert_eq!(displaced(Duration::MAX, &holders), Some(ConnId(4)), "whatever its place-time");
    }
}
