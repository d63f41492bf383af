//! The parameters of a run.

use std::fmt;
use std::str::FromStr;

use peerless::time::Duration;

use crate::crypto::Mode;

/// When it is drawn whether an honest node has room for the real one. Hostile nodes always have room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum RoomDrawn {
    /// For each dial.
    #[default]
    Dial,
    /// For each node, and again after an hour on average.
    Node,
}

impl fmt::Display for RoomDrawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Dial => "dial",
            Self::Node => "node",
        })
    }
}

/// The networks that hostile callers connect from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Origin {
    /// The hostile /24s, each in a /16 of its own.
    #[default]
    Subnets,
    /// As many /56s, all in one /48.
    Block,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Subnets => "subnets",
            Self::Block => "block",
        })
    }
}

/// The error of a text that names no value of an option.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownChoice(&'static str);

impl fmt::Display for UnknownChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for UnknownChoice {}

/// `dial` or `node`.
impl FromStr for RoomDrawn {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "dial" => Ok(Self::Dial),
            "node" => Ok(Self::Node),
            _ => Err(UnknownChoice("room is drawn for each dial or node")),
        }
    }
}

/// `subnets` or `block`.
impl FromStr for Origin {
    type Err = UnknownChoice;

    fn from_str(text: &str) -> Result<Self, UnknownChoice> {
        match text {
            "subnets" => Ok(Self::Subnets),
            "block" => Ok(Self::Block),
            _ => Err(UnknownChoice("hostile callers come from subnets or from one block")),
        }
    }
}

/// Connections that the real node accepts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calls {
    /// The time between the first calls of two honest nodes, each from a /24 of its own.
    pub every: Duration,
    /// Hostile callers in each hostile subnet. A caller that is out calls again as soon as its address is accepted.
    pub hostile_per_subnet: u32,
    /// The time after which a hostile caller leaves and calls again, to be a young peer.
    pub reconnect: Duration,
    /// Where hostile callers connect from.
    pub origin: Origin,
}

impl Default for Calls {
    /// An honest caller every 30 s; one hostile caller in each subnet, which leaves after 50 min.
    fn default() -> Self {
        Self {
            every: Duration::from_secs(30),
            hostile_per_subnet: 1,
            reconnect: Duration::from_secs(50 * 60),
            origin: Origin::Subnets,
        }
    }
}

/// Connections that never send a byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Silent {
    /// The number of /24s that they come from.
    pub subnets: u32,
    /// Connections in a second, of all subnets together.
    pub per_second: u32,
}

/// The parameters that determine a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// The seed of all draws.
    pub seed: u64,
    /// Honest scripted nodes.
    pub honest: u32,
    /// Honest nodes that each of them knows.
    pub known: u32,
    /// Hostile /24s, each in a /16 of its own.
    pub subnets: u32,
    /// Hostile nodes in each: a table holds at most ten of a /24.
    pub nodes_per_subnet: u32,
    /// The probability that an honest node has room, in percent.
    pub room_percent: u32,
    /// When that is drawn.
    pub room_drawn: RoomDrawn,
    /// The mean time, exponentially distributed, after which an honest peer leaves. Hostile peers that were dialled stay.
    pub stay: Duration,
    /// The time before the attack.
    pub peace: Duration,
    /// The time of the attack.
    pub time: Duration,
    /// The time after a restart of the real node, during which the attack goes on; zero for no restarts.
    pub restart: Duration,
    /// Connections to the real node, if there are any.
    pub calls: Option<Calls>,
    /// Silent connections during the attack.
    pub silent: Option<Silent>,
    /// The primitives.
    pub crypto: Mode,
}

impl Plan {
    /// The small size of a campaign: six hostile /24s among 150 honest nodes with room for half of the dials, which
    /// [`Report::check`](super::Report::check) has demands on. Room is drawn for each dial with half of the seeds.
    pub fn small(seed: u64) -> Self {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        Self {
            seed,
            honest: 150,
            known: 60,
            subnets: 6,
            room_drawn: if seed.is_multiple_of(2) { RoomDrawn::Dial } else { RoomDrawn::Node },
            stay: minutes(20),
            peace: minutes(20),
            time: minutes(100),
            restart: minutes(10),
            ..Self::default()
        }
    }

    /// The command that repeats a run without callers and silent connections.
    pub fn command(&self) -> String {
        let Self { seed, honest, known, subnets, nodes_per_subnet, room_percent, room_drawn, .. } = self;
        let [stay, peace, time, restart] = [self.stay, self.peace, self.time, self.restart].map(|time| time.as_secs());
        format!(
            "peerless sim eclipse --honest {honest} --known {known} --subnets {subnets} --nodes-per-subnet \
             {nodes_per_subnet} --room {room_percent} --room-drawn {room_drawn} --stay {stay}s --peace {peace}s --time \
             {time}s --restart {restart}s --seed {seed}"
        )
    }
}

impl Default for Plan {
    /// 600 honest nodes of which each knows 200, no hostile node, room for half of the dials, honest peers that stay for
    /// 150 min on average, 2 h of peace, 22 h of attack, and an hour after the restarts.
    fn default() -> Self {
        Self {
            seed: 1,
            honest: 600,
            known: 200,
            subnets: 0,
            nodes_per_subnet: 16,
            room_percent: 50,
            room_drawn: RoomDrawn::Dial,
            stay: Duration::from_secs(150 * 60),
            peace: Duration::from_secs(2 * 3600),
            time: Duration::from_secs(22 * 3600),
            restart: Duration::from_secs(3600),
            calls: None,
            silent: None,
            crypto: Mode::SimMac,
        }
    }
}
