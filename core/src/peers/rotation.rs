//! Rotation: when an outbound place changes hands although no peer has left, and which peer leaves.
//!
//! Hostile peers never leave, honest ones do: without rotation, an attacker that wins some of the places that become free
//! wins all in time (attack E4). For the same reason the peer leaves that has been in session for longest, and neither age of a
//! session nor usefulness protects it: an attacker has both. What protects is the time when a node was first seen, which an
//! attack that begins later cannot have.

use super::elders::{Seniority, Vacancies};
use crate::contract::ConnId;
use crate::limits::{
    ROTATION_INTERVAL, ROTATION_INTERVAL_MAX, ROTATION_PLACES, ROTATION_WAIT, ROTATION_YOUNG_INTERVAL,
    ROTATION_YOUNG_TIME,
};
use crate::rng::Rng;
use crate::time::Instant;

/// A peer with an outbound place, as rotation sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seat {
    /// Its connection.
    pub conn: ConnId,
    /// Since when it has been in session.
    pub since: Instant,
    /// Its seniority in the book.
    pub seniority: Seniority,
    /// Whether nothing else keeps it: it is in session, was not declared by the embedder, and no request is open.
    pub can_leave: bool,
}

/// The peer that leaves its place to a newcomer: the one that has been in session for longest, of those that can leave. One that
/// would leave a tier of elders with fewer places than belong to it leaves only to another of that tier, and not while another
/// peer can leave.
pub fn leaver(seats: &[Seat], newcomer: Seniority, of_elders: Vacancies) -> Option<ConnId> {
    let vacancies = of_elders.held_by(seats.iter().map(|seat| seat.seniority));
    let can_leave = seats.iter().filter(|seat| seat.can_leave && vacancies.spare(seat.seniority, newcomer));
    let rank = |seat: &&Seat| (!vacancies.spare(seat.seniority, Seniority::NONE), seat.since, seat.conn);
    can_leave.min_by_key(rank).map(|seat| seat.conn)
}

/// Who may take a place over now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// No newcomer: the next rotation is not due.
    Resting,
    /// A committed target.
    Targets,
    /// Any entry of the book.
    Any,
    /// The rotation has found no newcomer in its time, and is to be scheduled again.
    Over,
}

/// When the next rotation is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rotation {
    /// When the dialler began; `None` before.
    started: Option<Instant>,
    due: Instant,
}

impl Rotation {
    /// Begins with the first call; later ones do nothing.
    pub fn start(&mut self, now: Instant, rng: &mut Rng, places: usize) {
        if self.started.is_none() {
            self.started = Some(now);
            self.schedule(now, rng, places);
        }
    }

    /// When the next rotation is due.
    pub const fn due(&self) -> Instant {
        self.due
    }

    /// Whether a newcomer may take a place over now.
    pub fn is_due(&self, now: Instant) -> bool {
        self.started.is_some() && self.due <= now
    }

    /// Where the rotation stands.
    pub fn stage(&self, now: Instant) -> Stage {
        match now.since(self.due) {
            _ if !self.is_due(now) => Stage::Resting,
            waited if waited < ROTATION_WAIT => Stage::Targets,
            waited if waited < 2 * ROTATION_WAIT => Stage::Any,
            _ => Stage::Over,
        }
    }

    /// Schedules the next rotation of one of so many places: soon in the first hour, when a node has not chosen its peers from
    /// many yet, and later with fewer than [`ROTATION_PLACES`] places, so that a session lasts as long. Not more seldom: a node
    /// with two places often has hostile peers alone, and only a rotation ends that.
    pub fn schedule(&mut self, now: Instant, rng: &mut Rng, places: usize) {
        let is_young = self.started.is_none_or(|started| now.since(started) < ROTATION_YOUNG_TIME);
        let wait = if is_young {
            rng.duration(ROTATION_YOUNG_INTERVAL, 2 * ROTATION_YOUNG_INTERVAL)
        } else {
            rng.duration(ROTATION_INTERVAL, ROTATION_INTERVAL_MAX)
        };
        let places = u32::try_from(places).unwrap_or(u32::MAX).clamp(1, ROTATION_PLACES);
        self.due = now + wait.saturating_mul(ROTATION_PLACES) / places;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::super::elders::Elders;
    use super::*;
    use crate::crypto::NodeId;
    use crate::rng::Seed;
    use crate::time::{Duration, UnixTime};

    fn rng() -> Rng {
        Seed::new([3; 32]).fork("rotation")
    }

    /// Peers in the order of their age, each an elder or not.
    fn seats(elders: &[bool]) -> Vec<Seat> {
        let seat = |(n, is_elder): (usize, &bool)| {
            let since = Instant::from_micros(n as u64);
            Seat { conn: ConnId(n as u64), since, seniority: seniority(*is_elder), can_leave: true }
        };
        elders.iter().enumerate().map(seat).collect()
    }

    fn seniority(is_elder: bool) -> Seniority {
        Seniority::of_tiers(is_elder.into())
    }

    /// The one that leaves while so many places belong to elders.
    fn leaving(seats: &[Seat], is_elder: bool, places: usize) -> Option<ConnId> {
        let oldest = core::array::from_fn::<_, 3, _>(|n| (UnixTime::from_secs(n as u64), NodeId([0; 32])));
        leaver(seats, seniority(is_elder), Elders::new(oldest.into()).vacancies(4 * places))
    }

    #[test]
    fn the_one_that_is_in_session_for_longest_leaves() {
        let mut seats = seats(&[false; 6]);
        assert_eq!(leaving(&seats, false, 2), Some(ConnId(0)));
        seats.reverse();
        assert_eq!(leaving(&seats, false, 2), Some(ConnId(0)), "in any order");
        assert_eq!(leaving(&[], false, 2), None);
    }

    #[test]
    fn peers_with_open_requests_stay() {
        let mut seats = seats(&[false; 3]);
        (seats[0].can_leave, seats[2].can_leave) = (false, false);
        assert_eq!(leaving(&seats, false, 2), Some(ConnId(1)));
        seats[1].can_leave = false;
        assert_eq!(leaving(&seats, false, 2), None);
    }

    #[test]
    fn the_last_elders_leave_to_elders_only() {
        let mut seats = seats(&[true, true, false]);
        assert_eq!(leaving(&seats, false, 2), Some(ConnId(2)));
        assert_eq!(leaving(&seats, true, 2), Some(ConnId(2)), "there is another");
        assert_eq!(leaving(&seats, false, 1), Some(ConnId(0)), "there is one more than has to be");
        seats[2].can_leave = false;
        assert_eq!(leaving(&seats, false, 2), None);
        assert_eq!(leaving(&seats, true, 2), Some(ConnId(0)));
    }

    #[test]
    fn rotations_come_often_in_the_first_hour_and_seldom_later() {
        let (mut rotation, mut rng) = (Rotation::default(), rng());
        assert!(!rotation.is_due(Instant::LAST));
        let mut now = Instant::ZERO + Duration::from_secs(9);
        rotation.start(now, &mut rng, 16);
        let mut waits = [Vec::new(), Vec::new()];
        for _ in 0..500 {
            assert!(!rotation.is_due(now) && rotation.is_due(rotation.due()));
            let stages = [0, 1, 2].map(|waits| rotation.stage(rotation.due() + waits * ROTATION_WAIT));
            assert_eq!((rotation.stage(now), stages), (Stage::Resting, [Stage::Targets, Stage::Any, Stage::Over]));
            let is_old = now.since(Instant::ZERO + Duration::from_secs(9)) >= ROTATION_YOUNG_TIME;
            waits[usize::from(is_old)].push(rotation.due().since(now).as_secs());
            now = rotation.due();
            rotation.schedule(now, &mut rng, 16);
        }
        assert!(waits[0].len() > 60 && waits[0].iter().all(|wait| (30..60).contains(wait)), "{waits:?}");
        assert!(waits[1].len() > 300 && waits[1].iter().all(|wait| (180..420).contains(wait)), "{waits:?}");
        rotation.schedule(now, &mut rng, 2);
        assert!(
            (8 * 180..8 * 420).contains(&rotation.due().since(now).as_secs()),
            "each of few places changes as seldom"
        );
    }
}
