//! The deadlines of one connection: at most one for each timer, in a table without allocation.

use crate::contract::ConnTimer;
use crate::time::Instant;

/// All timers. Of equal deadlines, the first in this order expires first.
const TIMERS: [ConnTimer; 10] = [
    ConnTimer::Connect,
    ConnTimer::Handshake,
    ConnTimer::Hello,
    ConnTimer::Status,
    ConnTimer::Ping,
    ConnTimer::Idle,
    ConnTimer::Frame,
    ConnTimer::Write,
    ConnTimer::Request,
    ConnTimer::Closing,
];

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Timers {
    /// By the timer's number; [`Instant::NEVER`] where none is set.
    deadlines: [Instant; TIMERS.len()],
}

impl Default for Timers {
    fn default() -> Self {
        Self { deadlines: [Instant::NEVER; TIMERS.len()] }
    }
}

impl Timers {
    /// Sets, moves or (with `None`) stops a timer.
    pub(super) fn set(&mut self, timer: ConnTimer, at: impl Into<Option<Instant>>) {
        self.deadlines[timer as usize] = at.into().unwrap_or(Instant::NEVER);
    }

    #[cfg(test)]
    pub(super) fn get(&self, timer: ConnTimer) -> Option<Instant> {
        Some(self.deadlines[timer as usize]).filter(|at| *at != Instant::NEVER)
    }

    /// The earliest deadline.
    pub(super) fn next(&self) -> Option<(Instant, ConnTimer)> {
        let deadlines = self.deadlines.into_iter().zip(TIMERS);
        deadlines.min().filter(|(at, _)| *at != Instant::NEVER)
    }

    /// Stops and returns the earliest timer whose deadline is not later than `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnTimer)> {
        let (at, timer) = self.next().filter(|(at, _)| *at <= now)?;
        self.set(timer, None);
        Some((at, timer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_expire_by_time_and_then_in_the_order_of_their_kinds() {
        let at = Instant::from_micros;
        let mut timers = Timers::default();
        assert_eq!(timers.next(), None);
        assert!(TIMERS.iter().enumerate().all(|(number, timer)| *timer as usize == number));
        timers.set(ConnTimer::Write, at(10));
        timers.set(ConnTimer::Hello, at(10));
        timers.set(ConnTimer::Closing, at(5));
        timers.set(ConnTimer::Status, at(1));
        timers.set(ConnTimer::Status, None);
        assert_eq!(timers.pop_due(at(4)), None);
        let due: [_; 4] = core::array::from_fn(|_| timers.pop_due(at(10)));
        let expected = [(at(5), ConnTimer::Closing), (at(10), ConnTimer::Hello), (at(10), ConnTimer::Write)];
        assert_eq!(due, [Some(expected[0]), Some(expected[1]), Some(expected[2]), None]);
        timers.set(ConnTimer::Idle, Instant::NEVER);
        assert_eq!(timers.next(), None, "a deadline beyond the end of time is none");
    }
}
