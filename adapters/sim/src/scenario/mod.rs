//! Scenarios: what lives in a world, what goes wrong there, and what is demanded of it all the same.
//!
//! A run has two phases. In the first, faults drawn from the seed are on, and [`guard`] checks every honest node after
//! every step. Then everything heals, and within [`Scenario::settles_in`] all of the scenario's demands must hold at once,
//! and still at the end. What came of it is a [`Report`]; one that failed names a command that repeats it.
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
//!     .demand("everybody has two peers", demand::sessions(2));
//! let report = islands.run(&islands.plan(7)).unwrap();
//! assert!(report.passed(), "{report}");
//! ```

mod actor;
pub mod campaign;
pub mod demand;
pub mod faults;
pub mod guard;
mod liar;
mod phases;
mod probe;
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
pub use self::report::{Failure, Report, Sample};
pub use self::run::Run;
pub use self::stock::{find, stock};

use crate::HostId;
use crate::crypto::Mode;
use crate::mix::Stream;
use crate::network::{Nat, Quality, Region};
use crate::world::{Birth, Churn};

/// The network that most nodes are of.
pub const HOME: u64 = 1337;

/// Which of the drawn faults a run has.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Faults {
    /// None of them.
    None,
    /// All of them.
    #[default]
    All,
    /// Those with these numbers.
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

/// `none`, `all` or numbers separated by commas.
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

/// A text that chooses no faults.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownFaults;

impl fmt::Display for UnknownFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faults are none, all, or numbers separated by commas")
    }
}

impl std::error::Error for UnknownFaults {}

/// Everything that decides one run of a scenario. `threads` alone changes nothing but how long it takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Hosts.
    pub nodes: u32,
    /// Sessions that a node holds on average once everybody has the peers that it looks for: half of them it dials, a third
    /// of its places. `None` leaves it to the scenario.
    pub peers: Option<u32>,
    /// Virtual time from the first start to the end.
    pub time: Duration,
    /// Decides everything that is drawn.
    pub seed: u64,
    /// The primitives.
    pub crypto: Mode,
    /// Whether work costs a host's time: how many times as much as [`Costs::SERVER`](crate::crypto::Costs::SERVER).
    pub cpu: Option<u32>,
    /// Which of the seed's faults there are.
    pub faults: Faults,
    /// Threads that drive it.
    pub threads: usize,
    /// Whether it ends as soon as all demands hold, rather than when the time is over.
    pub ends_settled: bool,
}

/// What a host is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Role {
    /// The network that its node is of.
    pub network: u64,
    /// What it does wrong, if it does.
    pub malice: Option<Malice>,
    /// What stands before it.
    pub nat: Nat,
    /// Where it is; drawn if nobody says.
    pub region: Option<Region>,
    /// Whether it comes and goes, until everything heals.
    pub churn: Option<Churn>,
    /// Peers that it wants; `None` leaves it to the scenario.
    pub peers: Option<u32>,
    /// One peer in so many it dials itself; `None` leaves it to the node's default.
    pub dial_ratio: Option<u32>,
    /// Peers that it is told to keep.
    pub keeps: Vec<HostId>,
}

impl Default for Role {
    /// An honest node of the home network that everybody reaches.
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
        }
    }
}

/// Decides at the birth of an honest node who listens to it, if anybody does: hears what the node is made of, configuration
/// included, and gives what hears the rest, to the end of that machine's life. A run is the same whoever listens, as long as nobody uses the birth's primitives, whose
/// work may cost the host's time.
pub type Observer = dyn Fn(&Birth<'_>, &Config) -> Option<Box<dyn Tap + Send>> + Send + Sync;

type Cast = dyn Fn(&Plan, HostId, &mut Stream) -> Role + Send + Sync;
type Work = dyn Fn(&mut Run) + Send + Sync;
type Check = dyn Fn(&Run) -> Result<(), Unmet> + Send + Sync;

/// Something that the scenario does itself, when so many percent of the first phase are over.
struct Act {
    percent: u32,
    work: Box<Work>,
}

/// Something that must be so.
struct Demand {
    what: &'static str,
    check: Box<Check>,
}

/// See the module. A builder: each method but [`Scenario::plan`] and [`Scenario::run`] adds something to what it is.
pub struct Scenario {
    /// Its name, as the command line knows it.
    pub name: &'static str,
    /// What it is about, in a line.
    pub about: &'static str,
    /// After healing, within this all demands hold; within seven tenths of the whole time, if that is less.
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
    always: Vec<Demand>,
    demands: Vec<Demand>,
    figures: Vec<(&'static str, Box<Figure>)>,
}

type Figure = dyn Fn(&Run) -> f64 + Send + Sync;

impl Scenario {
    /// Honest nodes of one network, eight peers each, that three bootnodes bring together; faults of all kinds; nothing is
    /// demanded but what is demanded always.
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
            always: Vec::new(),
            demands: Vec::new(),
            figures: Vec::new(),
        }
    }

    /// How many hosts, and for how long, unless a plan says otherwise.
    #[must_use]
    pub fn size(mut self, nodes: u32, time: Duration) -> Self {
        (self.nodes, self.time) = (nodes, time);
        self
    }

    /// The size in which tests and campaigns run it by the hundred.
    #[must_use]
    pub fn small(mut self, nodes: u32, time: Duration) -> Self {
        self.small = (nodes, time);
        self
    }

    /// Within which time after healing the demands must hold; never more than seven tenths of the whole time.
    #[must_use]
    pub fn settles_in(mut self, time: Duration) -> Self {
        self.settles_in = time;
        self
    }

    /// Peers that a node wants; with 0, nodes discover each other and hold no sessions.
    #[must_use]
    pub fn peers(mut self, peers: u32) -> Self {
        self.peers = peers;
        self
    }

    /// How good links are apart from faults.
    #[must_use]
    pub fn quality(mut self, quality: Quality) -> Self {
        self.quality = quality;
        self
    }

    /// Which kinds of faults there may be; all by default.
    #[must_use]
    pub fn kinds(mut self, kinds: &[faults::Kind]) -> Self {
        self.kinds = kinds.to_vec();
        self
    }

    /// Which faults a plan has if nobody says; all by default.
    #[must_use]
    pub fn faults(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// Who lives where. The first three hosts are everybody's bootnodes, or three of each thousand are; what hides or breaks
    /// them is for the others.
    #[must_use]
    pub fn cast(mut self, cast: impl Fn(&Plan, HostId, &mut Stream) -> Role + Send + Sync + 'static) -> Self {
        self.cast = Box::new(cast);
        self
    }

    /// Does something when `percent` of the first phase are over, at the end of which everything heals.
    #[must_use]
    pub fn at(mut self, percent: u32, work: impl Fn(&mut Run) + Send + Sync + 'static) -> Self {
        self.acts.push(Act { percent, work: Box::new(work) });
        self
    }

    /// What must hold at any time, faults or not. The error says what there is instead: a text, or an [`Unmet`] that also
    /// names the host.
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

    /// What must hold once everything has healed and settled, and at the end.
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

    /// A figure of the scenario's own, taken at the end.
    #[must_use]
    pub fn figure(mut self, name: &'static str, figure: impl Fn(&Run) -> f64 + Send + Sync + 'static) -> Self {
        self.figures.push((name, Box::new(figure)));
        self
    }

    /// The plan of a seed, with everything else as the scenario would have it.
    pub fn plan(&self, seed: u64) -> Plan {
        Plan {
            nodes: self.nodes,
            peers: None,
            time: self.time,
            seed,
            crypto: self.crypto,
            cpu: None,
            faults: self.faults.clone(),
            threads: 1,
            ends_settled: false,
        }
    }

    /// The same in the size for campaigns, with all faults, and over as soon as it has settled.
    pub fn small_plan(&self, seed: u64) -> Plan {
        let (nodes, time) = self.small;
        Plan { nodes, time, faults: Faults::All, ends_settled: true, ..self.plan(seed) }
    }

    /// What it demands, in words.
    pub fn demands(&self) -> impl Iterator<Item = &'static str> {
        self.always.iter().chain(&self.demands).map(|demand| demand.what)
    }

    /// The shortest time in which it can be run: three minutes are the least in which sessions form, break and form again.
    pub fn time_min(&self) -> Duration {
        Duration::from_secs(180).min(self.settles_in * 2)
    }

    /// The command that repeats a run.
    pub fn command(&self, plan: &Plan) -> String {
        let Plan { nodes, time, seed, crypto, cpu, faults, .. } = plan;
        let time =
            if time.subsec_nanos() == 0 { format!("{}s", time.as_secs()) } else { format!("{}us", time.as_micros()) };
        let cpu = cpu.map_or_else(String::new, |times| format!(" --cpu {times}"));
        let peers = plan.peers.map_or_else(String::new, |peers| format!(" --peers {peers}"));
        format!(
            "peerless sim {} --nodes {nodes} --time {time} --seed {seed} --crypto {crypto}{cpu} --faults {faults}{peers}",
            self.name
        )
    }
}

/// Why a plan cannot be run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PlanError {
    /// It needs at least this long.
    TooShort(Duration),
    /// It needs at least so many nodes.
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
