//! Faults drawn from a seed: first the kinds of this run, then their number, times and hosts.
//!
//! Runs without some kinds of fault reach states that a mixture of all kinds never reaches (swarm testing).

use std::fmt;

use peerless::time::{Duration, Instant};

use crate::HostId;
use crate::mix::Stream;
use crate::network::{Effect, Fault, Hosts, Region};
use crate::world::Crash;

/// A kind of fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Kind {
    /// Datagrams are lost.
    Loss,
    /// Datagrams are doubled.
    Duplication,
    /// Datagrams are reordered.
    Reordering,
    /// Latency is higher.
    Delay,
    /// Some hosts are cut off from others.
    Cut,
    /// Some hosts are cut off from others in one direction.
    OneWayCut,
    /// Machines crash or sleep, and come back.
    Crash,
    /// Wall clocks are wrong.
    Clock,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Loss,
        Self::Duplication,
        Self::Reordering,
        Self::Delay,
        Self::Cut,
        Self::OneWayCut,
        Self::Crash,
        Self::Clock,
    ];
}

/// The effect of a fault.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum What {
    /// A fault of the network.
    Network(Fault),
    /// The machines of these hosts end at `since`, and start again at `until`.
    Crash(Vec<HostId>, Crash),
    /// The wall clocks of these hosts are wrong by so many seconds.
    Clock(Vec<HostId>, i64),
}

/// One fault of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The fault's number among all drawn ones; does not depend on which of them are left out.
    pub number: u32,
    /// The start.
    pub since: Instant,
    /// The end.
    pub until: Instant,
    /// The effect.
    pub what: What,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = |at: Instant| at.as_micros() as f64 / 1e6;
        write!(f, "#{} from {:.1} s to {:.1} s: ", self.number, secs(self.since), secs(self.until))?;
        match &self.what {
            What::Network(fault) => {
                match fault.effect {
                    Effect::Cut => f.write_str("nothing passes")?,
                    Effect::Loss(millionths) => write!(f, "{:.1} % lost", f64::from(millionths) / 1e4)?,
                    Effect::Duplication(millionths) => write!(f, "{:.1} % doubled", f64::from(millionths) / 1e4)?,
                    Effect::Reordering(millionths) => write!(f, "{:.1} % held back", f64::from(millionths) / 1e4)?,
                    Effect::Delay(delay) => write!(f, "{} ms more", delay.as_millis())?,
                    Effect::Tamper(how, millionths) => {
                        write!(f, "{:.1} % of segments: {how:?}", f64::from(millionths) / 1e4)?;
                    }
                }
                let way = if fault.both_ways { "between" } else { "from" };
                write!(f, " {way} {} and {}", Named(&fault.from), Named(&fault.to))
            }
            What::Crash(hosts, how) => write!(f, "{} hosts down ({how:?})", hosts.len()),
            What::Clock(hosts, secs) => write!(f, "{} clocks {secs:+} s", hosts.len()),
        }
    }
}

struct Named<'a>(&'a Hosts);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Hosts::All => f.write_str("all"),
            Hosts::One(host) => write!(f, "host {}", host.0),
            Hosts::Range(first, end) => write!(f, "hosts {first} to {}", end.saturating_sub(1)),
            Hosts::In(region) => write!(f, "region {}", region.0),
            Hosts::These(hosts) => write!(f, "{} hosts", hosts.len()),
            Hosts::Share { of, .. } => write!(f, "one in {of}"),
            Hosts::Not(others) => write!(f, "all but {}", Named(others)),
        }
    }
}

/// Draws a run's faults of the given kinds, among so many hosts, between two times.
pub fn draw(seed: u64, kinds: &[Kind], hosts: u32, since: Instant, until: Instant) -> Vec<Trouble> {
    let mut stream = Stream::new(seed, 0, 0x0073_7761_726d);
    let mut troubles = Vec::new();
    for kind in kinds {
        // Whether a kind is part of a run does not change the draws of the others.
        let mut stream = Stream::new(stream.u64(), *kind as u64, 0);
        if stream.below(2) == 0 {
            continue;
        }
        for _ in 0..1 + stream.below(3) {
            let (begin, end) = window(&mut stream, since, until);
            let what = one(&mut stream, *kind, hosts, begin, end);
            let number = troubles.len() as u32;
            troubles.push(Trouble { number, since: begin, until: end, what });
        }
    }
    troubles
}

/// Draws a part of the time: short parts are as frequent as long ones.
fn window(stream: &mut Stream, since: Instant, until: Instant) -> (Instant, Instant) {
    let whole = until.since(since);
    let length = whole / (1 << stream.below(5));
    let begin = since + stream.duration(Duration::ZERO, whole.saturating_sub(length));
    (begin, (begin + length.max(Duration::from_micros(1))).min(until))
}

fn one(stream: &mut Stream, kind: Kind, hosts: u32, since: Instant, until: Instant) -> What {
    let millionths = 10_000 << stream.below(6);
    let network = |from: Hosts, to: Hosts, both_ways: bool, effect: Effect| {
        What::Network(Fault { since, until, from, to, both_ways, effect })
    };
    match kind {
        Kind::Loss => network(some(stream, hosts), some(stream, hosts), true, Effect::Loss(millionths)),
        Kind::Duplication => network(some(stream, hosts), some(stream, hosts), true, Effect::Duplication(millionths)),
        Kind::Reordering => network(some(stream, hosts), some(stream, hosts), true, Effect::Reordering(millionths)),
        Kind::Delay => {
            let delay = Duration::from_millis(10 << stream.below(8));
            network(some(stream, hosts), some(stream, hosts), true, Effect::Delay(delay))
        }
        Kind::Cut | Kind::OneWayCut => {
            let these = part(stream, hosts);
            let others = Hosts::Not(Box::new(these.clone()));
            network(these, others, kind == Kind::Cut, Effect::Cut)
        }
        Kind::Crash => {
            let how = [Crash::Process, Crash::Power, Crash::Sleep][stream.below(3) as usize];
            What::Crash(few(stream, hosts), how)
        }
        Kind::Clock => {
            let secs = 1 << stream.below(13);
            What::Clock(few(stream, hosts), if stream.below(2) == 0 { secs } else { -secs })
        }
    }
}

fn some(stream: &mut Stream, hosts: u32) -> Hosts {
    if stream.below(4) == 0 { Hosts::All } else { part(stream, hosts) }
}

fn part(stream: &mut Stream, hosts: u32) -> Hosts {
    match stream.below(3) {
        0 => Hosts::In(Region(stream.below(6) as u8)),
        1 => Hosts::Share { of: 2 + stream.below(8) as u32, salt: stream.u64() },
        _ => {
            let first = stream.below(u64::from(hosts)) as u32;
            Hosts::Range(first, first + 1 + stream.below(u64::from(hosts - first)) as u32)
        }
    }
}

/// Draws up to a quarter of the hosts.
fn few(stream: &mut Stream, hosts: u32) -> Vec<HostId> {
    let count = 1 + stream.below(u64::from(hosts / 4).max(1));
    let mut few: Vec<HostId> = (0..count).map(|_| HostId(stream.below(u64::from(hosts)) as u32)).collect();
    few.sort_unstable();
    few.dedup();
    few
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_a_function_of_the_seed_and_within_the_time() {
        let (since, until) = (Instant::from_micros(10), Instant::from_micros(1_000_000_000));
        let of = |seed| draw(seed, &Kind::ALL, 50, since, until);
        assert_eq!(of(7), of(7));
        let mut counts = std::collections::BTreeSet::new();
        for seed in 0..200 {
            let troubles = of(seed);
            assert!(troubles.iter().all(|trouble| since <= trouble.since && trouble.since < trouble.until));
            assert!(troubles.iter().all(|trouble| trouble.until <= until));
            counts.insert(troubles.len());
        }
        assert!(counts.len() > 8 && counts.contains(&0) | counts.contains(&1), "{counts:?}");
    }
}
