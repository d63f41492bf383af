//! The nodes that call the real one: who they are, how often they try, and how long they stay.
//!
//! An honest caller tries for ten minutes and calls no more after it was in. A hostile caller never ends.

use std::net::IpAddr;

use peerless::time::{Duration, Instant};
use serde::Serialize;

use super::cast::{Cast, Identity, lone_ip};
use crate::mix::Stream;

/// The time from its first call on in which an honest caller is to be let in.
pub(super) const PATIENCE: Duration = Duration::from_secs(600);
/// The pause of an honest caller after a refusal, as that of geth's dialler.
const HONEST_PAUSE: (Duration, Duration) = (Duration::from_secs(35), Duration::from_secs(70));
/// The time between two calls of a hostile caller: a little more than that after which a node takes its address again.
const HOSTILE_INTERVAL: (Duration, Duration) = (Duration::from_millis(30_100), Duration::from_secs(31));
/// The pause of a hostile caller that was in for longer than that.
const HOSTILE_PAUSE: Duration = Duration::from_millis(1);

/// One caller.
struct Caller {
    identity: Identity,
    first_call: Option<Instant>,
    last_call: Instant,
    /// When it was in session for the first time.
    let_in: Option<Instant>,
    /// How long that session lasted, once it is over.
    stayed: Option<Duration>,
}

/// All callers of one life of the real node.
pub(super) struct Callers {
    seed: u64,
    stream: Stream,
    callers: Vec<Caller>,
}

/// How honest callers fared.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct CallFigures {
    /// Honest callers that called first during the attack, and at least ten minutes before its end.
    pub callers: u64,
    /// Those that were in session within ten minutes of their first call.
    pub let_in: u64,
    /// Their share.
    pub let_in_percent: f64,
    /// The median time for which they stayed, in minutes; a stay that goes on at the end counts as long as it is.
    pub stay_median_min: f64,
    /// Honest peers in inbound places, on average over the second half of the attack.
    pub honest_in_place: f64,
    /// Hostile peers in inbound places, likewise.
    pub hostile_in_place: f64,
}

impl Callers {
    pub(super) fn new(seed: u64, stream: Stream) -> Self {
        Self { seed, stream, callers: Vec::new() }
    }

    /// Adds an honest caller, from a /24 of its own.
    pub(super) fn add_honest(&mut self, cast: &Cast) -> u32 {
        loop {
            let ip = IpAddr::from(lone_ip(&mut self.stream));
            if !cast.is_hostile(ip) {
                return self.add(cast, ip, false);
            }
        }
    }

    /// Adds a hostile caller.
    pub(super) fn add_hostile(&mut self, cast: &Cast, ip: IpAddr) -> u32 {
        self.add(cast, ip, true)
    }

    fn add(&mut self, cast: &Cast, ip: IpAddr, is_hostile: bool) -> u32 {
        let number = self.callers.len() as u32;
        let identity = Identity::caller(&*cast.crypto, self.seed, number.into(), ip, is_hostile);
        self.callers.push(Caller { identity, first_call: None, last_call: Instant::ZERO, let_in: None, stayed: None });
        number
    }

    pub(super) fn identity(&self, caller: u32) -> &Identity {
        &self.callers[caller as usize].identity
    }

    /// A caller calls.
    pub(super) fn called(&mut self, now: Instant, caller: u32) {
        let caller = &mut self.callers[caller as usize];
        caller.first_call.get_or_insert(now);
        caller.last_call = now;
    }

    /// A caller is in session.
    pub(super) fn established(&mut self, now: Instant, caller: u32) {
        self.callers[caller as usize].let_in.get_or_insert(now);
    }

    /// A caller was refused, or its connection has ended: returns when it calls again, if it does.
    pub(super) fn is_out(&mut self, now: Instant, caller: u32) -> Option<Instant> {
        let Self { stream, callers, .. } = self;
        let caller = &mut callers[caller as usize];
        if let Some(since) = caller.let_in {
            caller.stayed.get_or_insert(now.since(since));
        }
        if caller.identity.is_hostile {
            let next = caller.last_call + stream.duration(HOSTILE_INTERVAL.0, HOSTILE_INTERVAL.1);
            return Some(next.max(now + HOSTILE_PAUSE));
        }
        let next = now + stream.duration(HONEST_PAUSE.0, HONEST_PAUSE.1);
        let first = caller.first_call.unwrap_or(now);
        (caller.let_in.is_none() && next <= first + PATIENCE).then_some(next)
    }

    /// How those honest callers fared that called first from `from` on and at least ten minutes before `end`.
    pub(super) fn figures(&self, from: Instant, end: Instant) -> CallFigures {
        let is_counted = |caller: &&Caller| {
            let is_in_time = caller.first_call.is_some_and(|first| first >= from && first + PATIENCE <= end);
            !caller.identity.is_hostile && is_in_time
        };
        let mut callers = 0;
        let mut stays: Vec<Duration> = Vec::new();
        for caller in self.callers.iter().filter(is_counted) {
            callers += 1;
            let in_time = |at: &Instant| caller.first_call.is_some_and(|first| *at <= first + PATIENCE);
            let stay = |at| caller.stayed.unwrap_or(end.since(at));
            stays.extend(caller.let_in.filter(in_time).map(stay));
        }
        stays.sort_unstable();
        let median = stays.get(stays.len() / 2).map_or(0.0, |stay| stay.as_secs_f64() / 60.0);
        let let_in = stays.len() as u64;
        CallFigures {
            callers,
            let_in,
            let_in_percent: let_in as f64 * 100.0 / (callers.max(1) as f64),
            stay_median_min: median,
            ..CallFigures::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eclipse::Plan;

    fn at(secs: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(secs)
    }

    #[test]
    fn callers_are_counted_by_their_first_call_and_stays_by_their_first_session() {
        let cast = Cast::new(&Plan { honest: 1, subnets: 1, nodes_per_subnet: 1, ..Plan::default() });
        let mut callers = Callers::new(1, Stream::new(1, 2, 3));
        let honest: Vec<u32> = (0..5).map(|_| callers.add_honest(&cast)).collect();
        let hostile = callers.add_hostile(&cast, cast.subnet_ips(1).next().unwrap());
        for (caller, first) in honest.iter().zip([50, 100, 200, 300, 5000]) {
            callers.called(at(first), *caller);
        }
        callers.called(at(100), hostile);
        callers.established(at(110), hostile);
        // Before the attack; in after 10 s for 60 s; in after 11 minutes; in after 1 s and still; too late to count.
        callers.established(at(60), honest[0]);
        callers.established(at(110), honest[1]);
        assert_eq!(callers.is_out(at(170), honest[1]), None, "it was in");
        callers.established(at(860), honest[2]);
        callers.established(at(301), honest[3]);
        let figures = callers.figures(at(100), at(5500));
        assert_eq!((figures.callers, figures.let_in), (3, 2));
        assert!((figures.let_in_percent - 66.7).abs() < 0.1);
        assert!((figures.stay_median_min - 5199.0 / 60.0).abs() < 1e-9, "{figures:?}");
    }

    #[test]
    fn an_honest_caller_tries_for_ten_minutes_and_a_hostile_one_for_ever() {
        let cast = Cast::new(&Plan { honest: 1, subnets: 1, nodes_per_subnet: 1, ..Plan::default() });
        let mut callers = Callers::new(1, Stream::new(1, 2, 3));
        let honest = callers.add_honest(&cast);
        let mut now = at(1000);
        let mut calls = 0;
        loop {
            callers.called(now, honest);
            calls += 1;
            match callers.is_out(now, honest) {
                Some(next) => now = next,
                None => break,
            }
        }
        assert!((9..=17).contains(&calls) && now <= at(1600), "{calls} until {now}");
        let hostile = callers.add_hostile(&cast, cast.subnet_ips(1).next().unwrap());
        callers.called(now, hostile);
        callers.established(now, hostile);
        let next = callers.is_out(now, hostile).unwrap();
        assert!(
            next >= now + Duration::from_secs(30) && next <= now + Duration::from_secs(31),
            "its address must wait"
        );
        assert_eq!(callers.is_out(at(100_000), hostile), Some(at(100_000) + HOSTILE_PAUSE));
    }
}
