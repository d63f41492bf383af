//! Faults of the network: what is worse than usual, between whom, and when. Said in advance, so that any link at any time
//! is a function of the list.

use peerless::time::{Duration, Instant};

use super::link::Extra;
use super::region::Region;
use crate::HostId;

/// Some of the hosts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hosts {
    /// All of them.
    All,
    /// One of them.
    One(HostId),
    /// Those with numbers from the first to below the second.
    Range(u32, u32),
    /// Those of a region.
    In(Region),
    /// These, in ascending order.
    These(Vec<HostId>),
    /// One in `of`, drawn by the hash of its number and `salt`.
    Share {
        /// How many hosts there are to each that is meant.
        of: u32,
        /// Makes one draw differ from another.
        salt: u64,
    },
    /// All but those.
    Not(Box<Hosts>),
}

impl Hosts {
    /// Whether a host is one of them.
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

/// What is the matter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing passes. Streams stand still and lose nothing.
    Cut,
    /// So many millionths more of the datagrams are lost.
    Loss(u32),
    /// So many millionths more arrive twice.
    Duplication(u32),
    /// So many millionths more are held back.
    Reordering(u32),
    /// Everything takes longer by this.
    Delay(Duration),
}

/// Something that is the matter from `since` to before `until`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fault {
    /// From when.
    pub since: Instant,
    /// To when.
    pub until: Instant,
    /// Whose packets.
    pub from: Hosts,
    /// To whom.
    pub to: Hosts,
    /// Whether the same holds for the way back.
    pub both_ways: bool,
    /// What.
    pub effect: Effect,
}

/// All faults of a run.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    faults: Vec<Fault>,
}

impl Conditions {
    /// Adds a fault. One that lies in the past changes nothing.
    pub fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// What was added.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Ends everything that is the matter, and forgets what would be later.
    pub fn heal(&mut self, now: Instant) {
        self.faults.retain(|fault| fault.since < now);
        self.faults.iter_mut().for_each(|fault| fault.until = fault.until.min(now));
    }

    /// What is added to a packet at this time.
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
    fn faults_hold_between_their_hosts_in_their_time() {
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
