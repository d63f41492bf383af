//! Faults of the network: which links are worse than usual, how, and when. They are given in advance, so the state of
//! any link at any time is a function of the list.

use peerless::time::{Duration, Instant};

use super::link::Extra;
use super::region::Region;
use crate::HostId;

/// A set of hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// All hosts.
    All,
    /// One host.
    One(HostId),
    /// The hosts with numbers from the first to below the second.
    Range(u32, u32),
    /// The hosts of a region.
    In(Region),
    /// The given hosts, in ascending order.
    These(Vec<HostId>),
    /// One host in `of`, drawn by the hash of its number and `salt`.
    Share {
        /// The size of the groups of which one host is drawn.
        of: u32,
        /// Distinguishes one draw from another.
        salt: u64,
    },
    /// All other hosts.
    Not(Box<Hosts>),
}

impl Hosts {
    /// Whether the set contains a host.
    pub fn contains(&self, host: HostId, region: Region) -> bool {
        match self {
            Self::All => true,
            Self::One(one) => *one == host,
            Self::Range(first, end) => (*first..*end).contains(&host.0),
            Self::In(theirs) => *theirs == region,
            Self::These(these) => these.binary_search(&host).is_ok(),
            Self::Share { of, salt } => {
                crate::mix::Stream::new(*salt, u64::from(host.0), 0x7368_6172).below(u64::from(*of)) == 0
            }
            Self::Not(others) => !others.contains(host, region),
        }
    }
}

/// The kind and degree of a network fault.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// No packet passes. Streams stall without loss.
    Cut,
    /// Additional loss of datagrams, in millionths.
    Loss(u32),
    /// Additional duplication of datagrams, in millionths.
    Duplication(u32),
    /// Additional delay of datagrams, in millionths of them.
    Reordering(u32),
    /// Additional latency.
    Delay(Duration),
    /// Segments of streams, in millionths, that a man in the middle changes.
    Tamper(Tamper, u32),
}

/// What a man in the middle does to a segment of a stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Tamper {
    /// Flips one bit.
    Flip,
    /// Sends it twice.
    Repeat,
    /// Resets the stream in both directions in its place.
    Reset,
    /// Ends the stream in both directions in the middle of it.
    Truncate,
}

impl Tamper {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Flip, Self::Repeat, Self::Reset, Self::Truncate];
}

/// A network fault from `since` to before `until`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// The start.
    pub since: Instant,
    /// The end.
    pub until: Instant,
    /// The senders.
    pub from: Hosts,
    /// The receivers.
    pub to: Hosts,
    /// Whether the fault applies to the opposite direction too.
    pub both_ways: bool,
    /// The effect.
    pub effect: Effect,
}

/// All network faults of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    faults: Vec<Fault>,
}

impl Conditions {
    /// Adds a fault. One in the past has no effect.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// All added faults.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Ends all active faults, and removes the future ones.
    pub fn heal(&mut self, now: Instant) {
        self.faults.retain(|fault| fault.since < now);
        self.faults.iter_mut().for_each(|fault| fault.until = fault.until.min(now));
    }

    /// Returns the sum of effects on a packet at this time.
    pub(crate) fn extra(&self, now: Instant, from: (HostId, Region), to: (HostId, Region)) -> Extra {
        let mut extra = Extra::default();
        for fault in &self.faults {
            let is_now = fault.since <= now && now < fault.until;
            let goes =
                |a: (HostId, Region), b: (HostId, Region)| fault.from.contains(a.0, a.1) && fault.to.contains(b.0, b.1);
            if is_now && (goes(from, to) || fault.both_ways && goes(to, from)) {
                match fault.effect {
                    Effect::Cut => extra.is_cut = true,
                    Effect::Loss(millionths) => extra.loss = extra.loss.saturating_add(millionths),
                    Effect::Duplication(millionths) => extra.duplication = extra.duplication.saturating_add(millionths),
                    Effect::Reordering(millionths) => extra.reordering = extra.reordering.saturating_add(millionths),
                    Effect::Delay(delay) => extra.delay += delay,
                    Effect::Tamper(how, millionths) => {
                        let sum = &mut extra.tamper[how as usize];
                        *sum = sum.saturating_add(millionths);
                    }
                }
            }
        }
        extra
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_apply_between_their_hosts_during_their_time() {
        let at = Instant::from_micros;
        let mut conditions = Conditions::default();
        let halves = (Hosts::Range(0, 5), Hosts::Not(Box::new(Hosts::Range(0, 5))));
        let fault =
            Fault { since: at(10), until: at(20), from: halves.0, to: halves.1, both_ways: false, effect: Effect::Cut };
        conditions.add(fault.clone());
        let is_cut = |conditions: &Conditions, now, a, b| {
            conditions.extra(at(now), (HostId(a), Region::NA), (HostId(b), Region::EU)).is_cut
        };
        assert!(is_cut(&conditions, 10, 1, 7) && is_cut(&conditions, 19, 4, 5));
        assert!(!is_cut(&conditions, 9, 1, 7) && !is_cut(&conditions, 20, 1, 7), "not at other times");
        assert!(!is_cut(&conditions, 15, 7, 1) && !is_cut(&conditions, 15, 1, 2), "one way, between the halves");
        conditions.add(Fault { both_ways: true, ..fault });
        assert!(is_cut(&conditions, 15, 7, 1));
        conditions.heal(at(15));
        assert!(!is_cut(&conditions, 15, 7, 1) && is_cut(&conditions, 14, 7, 1));
    }
}
