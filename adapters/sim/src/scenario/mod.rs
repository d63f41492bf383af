//! Scenarios: the hosts of a world, its faults, and the demands that must hold in spite of them.
//!
//! A run has two phases. In the first, faults drawn from the seed are active, and [`guard`] checks every honest node
//! after every step. Then all faults end, and within [`Scenario::settles_in`] all demands of the scenario must hold at
//! the same time, and again at the end. The result is a [`Report`]; that of a failed run has a command that repeats it.
//!
//! ```
//! use peerless_sim::scenario::{Role, Scenario, demand};
//! use peerless_sim::{Nat, network::Region};
//! use std::time::Duration;
//!
//! let islands = Scenario::new("islands", "Half of the nodes live in Australia, behind NATs")
//!     .size(24, Duration::from_secs(240))
//!     .cast(|_, host, _| match host.0 % 2 {
//!         0 => Role::default(),
//!         _ => Role { region: Some(Region::AU), nat: Nat::FullCone, ..Role::default() },
//!     })
//!     .demand("every node has two peers", demand::sessions(2));
//! let report = islands.run(&islands.plan(7)).unwrap();
//! assert!(report.passed(), "{report}");
//! ```

mod actor;
mod attacks;
pub mod demand;
pub mod faults;
pub mod flood;
pub mod guard;
mod liar;
mod phases;
mod probe;
mod protocols;
pub mod report;
mod run;
mod stock;
pub mod truth;

use std::fmt;
use std::str::FromStr;

use peerless::contract::Tap;
use peerless::node::Config;
use peerless::time::Duration;

pub use self::actor::Actor;
pub use self::demand::Unmet;
pub use self::liar::{Liar, Malice};
pub use self::probe::Found;
pub use self::protocols::{Protocols, UnknownProtocols};
pub use self::report::{DiscoveryFigures, Failure, LookupFigures, Report, Sample, TableFigures};
pub use self::run::{Measured, Run};
pub use self::stock::{find, stock};

use crate::HostId;
use crate::crypto::Mode;
use crate::mix::Stream;
use crate::network::{Nat, Quality, Region};
use crate::world::{Birth, Churn};

/// The network of most nodes.
pub const HOME: u64 = 1337;

/// The selection of the drawn faults.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Faults {
    /// No faults.
    None,
    /// All faults.
    #[default]
    All,
    /// The faults with these numbers.
    Only(Vec<u32>),
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::All => f.write_str("all"),
            Self::Only(numbers) if numbers.is_empty() => f.write_str("none"),
            Self::Only(numbers) => {
                let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
                f.write_str(&numbers.join(","))
            }
        }
    }
}

/// Reads `none`, `all` or numbers separated by commas.
impl FromStr for Faults {
    type Err = UnknownFaults;

    fn from_str(text: &str) -> Result<Self, UnknownFaults> {
        match text {
            "none" => Ok(Self::None),
            "all" => Ok(Self::All),
            numbers => {
                let numbers = numbers.split(',').map(|number| number.parse().map_err(|_| UnknownFaults));
                numbers.collect::<Result<_, _>>().map(Self::Only)
            }
        }
    }
}

/// The error of a text that selects no faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownFaults;

impl fmt::Display for UnknownFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faults are none, all, or numbers separated by commas")
    }
}

impl std::error::Error for UnknownFaults {}

/// The parameters that determine one run of a scenario. `threads` affects the duration only.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Number of hosts.
    pub nodes: u32,
    /// Average sessions of a node once every node has the peers that it dials for: half of them it dials, a third of
    /// its slots. `None` is the scenario's default.
    pub peers: Option<u32>,
    /// Virtual time from the first start to the end.
    pub time: Duration,
    /// The seed of all draws.
    pub seed: u64,
    /// The discovery protocols of all nodes.
    pub protocols: Protocols,
    /// The primitives.
    pub crypto: Mode,
    /// The factor of the cost of work, relative to [`Costs::SERVER`](crate::crypto::Costs::SERVER); `None` is no cost.
    pub cpu: Option<u32>,
    /// The selection of the seed's faults.
    pub faults: Faults,
    /// Number of threads.
    pub threads: usize,
    /// Whether the run ends as soon as all demands hold, instead of at the end of the time.
    pub ends_settled: bool,
}

/// The role of a host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// The network of its node.
    pub network: u64,
    /// Its misbehaviour, if it is hostile.
    pub malice: Option<Malice>,
    /// The NAT in front of it.
    pub nat: Nat,
    /// Its region; `None` draws one.
    pub region: Option<Region>,
    /// Whether it comes and goes during the first phase.
    pub churn: Option<Churn>,
    /// The peers that it wants; `None` is the scenario's default.
    pub peers: Option<u32>,
    /// Its dial ratio; `None` is the node's default.
    pub dial_ratio: Option<u32>,
    /// Its static peers.
    pub keeps: Vec<HostId>,
    /// Its bootnodes; `None` is three of the scenario's.
    pub bootnodes: Option<Vec<HostId>>,
    /// Whether an act starts its machine.
    pub is_late: bool,
    /// Whether it will be flooded: its traffic is then not recorded by address.
    pub is_flooded: bool,
}

impl Default for Role {
    /// An honest node of the home network without NAT.
    fn default() -> Self {
        Self {
            network: HOME,
            malice: None,
            nat: Nat::None,
            region: None,
            churn: None,
            peers: None,
            dial_ratio: None,
            keeps: Vec::new(),
            bootnodes: None,
            is_late: false,
            is_flooded: false,
        }
    }
}

/// Makes the tap of an honest node at its birth, or none: receives the parts of the node, configuration included, and
/// returns the tap for the life of that machine. A run is the same with and without taps, unless a tap uses the birth's
/// primitives, whose work may cost the host's time.
pub type Observer = dyn Fn(&Birth<'_>, &Config) -> Option<Box<dyn Tap + Send>> + Send + Sync;

type Cast = dyn Fn(&Plan, HostId, &mut Stream) -> Role + Send + Sync;
type Work = dyn Fn(&mut Run) + Send + Sync;
type Check = dyn Fn(&Run) -> Result<(), Unmet> + Send + Sync;

/// An act of the scenario, when so many percent of the first phase are over.
struct Act {
    percent: u32,
    work: Box<Work>,
}

/// A demand with its text.
struct Demand {
    what: &'static str,
    check: Box<Check>,
}

/// A scenario; see the module. A builder: each method but [`Scenario::plan`] and [`Scenario::run`] adds to it.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// Its description in a line.
    pub about: &'static str,
    /// The time after the end of all faults in which the demands must come to hold; at most seven tenths of the whole
    /// time.
    pub settles_in: Duration,
    nodes: u32,
    time: Duration,
    small: (u32, Duration),
    crypto: Mode,
    faults: Faults,
    kinds: Vec<faults::Kind>,
    bootnodes: u32,
    peers: u32,
    quality: Quality,
    cast: Box<Cast>,
    acts: Vec<Act>,
    samples: Vec<Box<Work>>,
    always: Vec<Demand>,
    demands: Vec<Demand>,
    figures: Vec<(&'static str, Box<Figure>)>,
    /// Options of its command that are not part of a plan.
    options: String,
}

impl fmt::Debug for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario")
            .field("name", &self.name)
            .field("about", &self.about)
            .field("nodes", &self.nodes)
            .field("time", &self.time)
            .finish_non_exhaustive()
    }
}

type Figure = dyn Fn(&Run) -> f64 + Send + Sync;

impl Scenario {
    /// Makes a scenario of honest nodes of one network, eight peers each, with three bootnodes; faults of all kinds; no
    /// demands but those of every scenario.
    pub fn new(name: &'static str, about: &'static str) -> Self {
        Self {
            name,
            about,
            settles_in: Duration::from_secs(60),
            nodes: 100,
            time: Duration::from_secs(600),
            small: (12, Duration::from_secs(180)),
            crypto: Mode::SimMac,
            faults: Faults::All,
            kinds: faults::Kind::ALL.to_vec(),
            bootnodes: 3,
            peers: 8,
            quality: Quality::default(),
            cast: Box::new(|_, _, _| Role::default()),
            acts: Vec::new(),
            samples: Vec::new(),
            always: Vec::new(),
            demands: Vec::new(),
            figures: Vec::new(),
            options: String::new(),
        }
    }

    /// Sets the default number of hosts and the default time.
    #[must_use]
    pub fn size(mut self, nodes: u32, time: Duration) -> Self {
        (self.nodes, self.time) = (nodes, time);
        self
    }

    /// Sets the size for tests and campaigns, which run it by the hundred.
    #[must_use]
    pub fn small(mut self, nodes: u32, time: Duration) -> Self {
        self.small = (nodes, time);
        self
    }

    /// Sets the time after the end of all faults in which the demands must come to hold; at most seven tenths of the
    /// whole time.
    #[must_use]
    pub fn settles_in(mut self, time: Duration) -> Self {
        self.settles_in = time;
        self
    }

    /// Sets the peers that a node wants; with 0, nodes discover each other and hold no sessions.
    #[must_use]
    pub fn peers(mut self, peers: u32) -> Self {
        self.peers = peers;
        self
    }

    /// Sets the quality of links without faults.
    #[must_use]
    pub fn quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// Sets the kinds of faults; all by default.
    #[must_use]
    pub fn kinds(mut self, kinds: &[faults::Kind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Sets the selection of faults of a plan; all by default.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Sets the roles of hosts. The first three hosts of each thousand are the bootnodes of all; NATs, misbehaviour and
    /// churn are for the other hosts.
    #[must_use]
    pub fn cast(mut self, cast: impl Fn(&Plan, HostId, &mut Stream) -> Role + Send + Sync + 'static) -> Self {
        self.cast = Box::new(cast);
        self
    }

    /// Adds an act when `percent` of the first phase are over, at the end of which all faults end.
    #[must_use]
    pub fn at(mut self, percent: u32, work: impl Fn(&mut Run) + Send + Sync + 'static) -> Self {
        self.acts.push(Act { percent, work: Box::new(work) });
        self
    }

    /// Adds an act at each of the sixty samples of the whole time.
    #[must_use]
    pub fn at_samples(mut self, work: impl Fn(&mut Run) + Send + Sync + 'static) -> Self {
        self.samples.push(Box::new(work));
        self
    }

    /// Adds a demand at any time, faults or not. The error is the actual state: a text, or an [`Unmet`] that also names
    /// the host.
    #[must_use]
    pub fn always<E: Into<Unmet>>(
        mut self,
        what: &'static str,
        check: impl Fn(&Run) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let check = Box::new(move |run: &Run| check(run).map_err(Into::into));
        self.always.push(Demand { what, check });
        self
    }

    /// Adds a demand for the time after the end of all faults, and for the end.
    #[must_use]
    pub fn demand<E: Into<Unmet>>(
        mut self,
        what: &'static str,
        check: impl Fn(&Run) -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        let check = Box::new(move |run: &Run| check(run).map_err(Into::into));
        self.demands.push(Demand { what, check });
        self
    }

    /// Adds a figure of the scenario, taken at the end.
    #[must_use]
    pub fn figure(mut self, name: &'static str, figure: impl Fn(&Run) -> f64 + Send + Sync + 'static) -> Self {
        self.figures.push((name, Box::new(figure)));
        self
    }

    /// Sets the options that the command of a run needs beside its plan, such as `--rate 4000`.
    #[must_use]
    pub fn options(mut self, options: impl Into<String>) -> Self {
        self.options = options.into();
        self
    }

    /// Returns the plan of a seed, with the scenario's defaults.
    pub fn plan(&self, seed: u64) -> Plan {
        Plan {
            nodes: self.nodes,
            peers: None,
            time: self.time,
            seed,
            protocols: Protocols::default(),
            crypto: self.crypto,
            cpu: None,
            faults: self.faults.clone(),
            threads: 1,
            ends_settled: false,
        }
    }

    /// Returns the plan of a seed in the size for campaigns, with all faults, which ends as soon as the demands hold.
    pub fn small_plan(&self, seed: u64) -> Plan {
        let (nodes, time) = self.small;
        Plan { nodes, time, faults: Faults::All, ends_settled: true, ..self.plan(seed) }
    }

    /// The texts of the demands.
    pub fn demands(&self) -> impl Iterator<Item = &'static str> {
        self.always.iter().chain(&self.demands).map(|demand| demand.what)
    }

    /// The shortest possible time: in three minutes sessions can form, break and form again.
    pub fn time_min(&self) -> Duration {
        Duration::from_secs(180).min(self.settles_in * 2)
    }

    /// Returns the command that repeats a run.
    pub fn command(&self, plan: &Plan) -> String {
        let Plan { nodes, time, seed, protocols, crypto, cpu, faults, .. } = plan;
        let time =
            if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{}us", time.as_micros()) };
        let cpu = cpu.map_or_else(String::new, |times| format!(" --cpu {times}"));
        let peers = plan.peers.map_or_else(String::new, |peers| format!(" --peers {peers}"));
        let protocol = match protocols {
            Protocols::V4 => String::new(),
            other => format!(" --protocol {other}"),
        };
        let options = if self.options.is_empty() { String::new() } else { format!(" {}", self.options) };
        format!(
            "peerless sim {} --nodes {nodes} --time {time} --seed {seed} --crypto {crypto}{cpu} --faults {faults}{peers}\
             {protocol}{options}",
            self.name
        )
    }
}

/// The reason why a plan cannot be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum PlanError {
    /// The time is shorter than this.
    TooShort(Duration),
    /// There are fewer nodes than this.
    TooFew(u32),
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort(min) => write!(f, "the scenario needs {} s or more of virtual time", min.as_secs()),
            Self::TooFew(min) => write!(f, "the scenario needs {min} nodes or more"),
        }
    }
}

impl std::error::Error for PlanError {}
