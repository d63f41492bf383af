//! A world: hosts with real nodes on them, and the network between, driven in virtual time by the driver contract.
//!
//! ```
//! use std::time::Duration;
//! use peerless::node::{Config, Node};
//! use peerless_sim::crypto::Mode;
//! use peerless_sim::{Settings, World, scenery};
//!
//! let settings = Settings { seed: 7, crypto: Mode::SimMac, ..Settings::default() };
//! let mut world: World<Node> = World::new(settings, scenery::discovery_only(1));
//! for _ in 0..20 {
//!     world.add_host(Default::default());
//! }
//! world.run_for(Duration::from_secs(60)).unwrap();
//! assert!(world.machines().all(|(_, node)| node.discovery().discv4().unwrap().table().len() > 10));
//! ```

mod cpu;
mod host;
mod machine;
mod parallel;
mod shard;
mod shared;
mod streams;
mod trace;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use peerless::contract::{CommandId, CommandOf, Input, Machine, RefusedOf};
use peerless::crypto::Crypto;
use peerless::node::Node;
use peerless::time::{Duration, Instant, UnixTime};

use self::cpu::Processor;
pub use self::cpu::SOCKET_BYTES;
pub use self::host::Crash;
use self::host::{Delivery, Host, Power, Turn, Uplink};
pub use self::machine::{Birth, Maker, Watch};
use self::parallel::run_all;
use self::shard::{Routed, Shard};
use self::shared::{Partition, Place, Shared};
pub use self::trace::{Fingerprint, Print};
use crate::HostId;
use crate::crypto::{Costs, Mode};
use crate::engine::Key;
use crate::mix::{Mix, Stream};
use crate::network::address::PORT;
use crate::network::link::Site;
use crate::network::nat::NatBox;
use crate::network::{Addr, Addresses, Conditions, Links, Nat, Region};

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// What the wall clocks show at the start.
    pub start: UnixTime,
    /// Regions, latencies, and what goes wrong in general.
    pub links: Links,
    /// Who lives in which subnet.
    pub addresses: Addresses,
    /// The primitives.
    pub crypto: Mode,
    /// What a machine's work costs its host's time; nothing, if nobody says.
    pub cpu: Option<Costs>,
    /// How many hosts there will be, about: for the size of the primitives' memory.
    pub hosts_expected: usize,
    /// Threads that drive it. The outcome does not depend on it.
    pub threads: usize,
}

impl Default for Settings {
    /// Six regions, links without loss, the real primitives, one thread.
    fn default() -> Self {
        Self {
            seed: 0,
            start: UnixTime::from_secs(1_750_000_000),
            links: Links::default(),
            addresses: Addresses::default(),
            crypto: Mode::Real,
            cpu: None,
            hosts_expected: 1000,
            threads: 1,
        }
    }
}

/// Sessions that end and begin again by themselves; log-normal, with deviations in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Churn {
    /// Half of the sessions are shorter.
    pub session_median: Duration,
    /// How much they differ.
    pub session_sigma_millis: u32,
    /// Half of the pauses are shorter.
    pub pause_median: Duration,
    /// How much they differ.
    pub pause_sigma_millis: u32,
    /// How sessions end.
    pub crash: Crash,
}

impl Default for Churn {
    /// Sessions of 2 hours in the median with a deviation of 1.65, pauses of half an hour; processes are killed.
    fn default() -> Self {
        Self {
            session_median: Duration::from_secs(2 * 3600),
            session_sigma_millis: 1650,
            pause_median: Duration::from_secs(1800),
            pause_sigma_millis: 1000,
            crash: Crash::Process,
        }
    }
}

/// A host to be added.
#[derive(Clone, Debug, Default)]
pub struct HostSpec<W = ()> {
    /// Where it is; drawn by the regions' shares if nobody says.
    pub region: Option<Region>,
    /// What stands before it.
    pub nat: Nat,
    /// Seconds by which its wall clock is ahead.
    pub clock_skew_secs: i64,
    /// When its machine starts, from now on; `None` leaves it to [`World::start`].
    pub starts_in: Option<Duration>,
    /// Whether its machine comes and goes.
    pub churn: Option<Churn>,
    /// Who watches it.
    pub watch: W,
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// When.
    pub at: Instant,
    /// Where.
    pub host: HostId,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "host {} at {}: {}", self.host.0, self.at, self.what)
    }
}

impl std::error::Error for Violation {}

macro_rules! totals {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What was counted, of one host or all.
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct Totals { $($(#[$doc])* pub $name: u64,)* }

        impl std::ops::AddAssign for Totals {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

totals! {
    /// Machines started.
    starts,
    /// Machines ended.
    stops,
    /// Datagrams that machines sent.
    datagrams_sent,
    /// Their bytes.
    datagram_bytes_sent,
    /// Those lost on the way, cut off, or sent to where nobody lives.
    datagrams_lost,
    /// Those that arrived twice.
    datagrams_doubled,
    /// Those that machines were handed.
    datagrams_delivered,
    /// Those that came to a host without a machine.
    datagrams_unheard,
    /// Those that a NAT did not let in.
    datagrams_filtered,
    /// Streams dialled.
    dials,
    /// Dialled streams that became connected.
    streams,
    /// Bytes written to streams.
    stream_bytes,
    /// Ends that were refused or reset.
    resets,
    /// Connections that machines reported as ended.
    ended,
    /// Nanoseconds that machines worked, where that is modelled.
    busy_ns,
    /// What came while a machine worked, and waited.
    inputs_waited,
    /// Microseconds that it waited, together.
    waited_us,
    /// Datagrams that came while too many of them waited.
    datagrams_overrun,
}

/// See the module. `M` is what runs, [`Node`] by default; `W` watches each host.
pub struct World<M = Node, W = ()> {
    shared: Shared<M>,
    partition: Partition,
    shards: Vec<Shard<M, W>>,
    now: Instant,
    mode: Mode,
}

impl<M: Machine<Language: Fingerprint> + Send, W: Watch<M>> World<M, W> {
    /// A world without hosts at the beginning of time. `maker` makes the machine of a host whenever it starts anew.
    pub fn new(settings: Settings, maker: impl Fn(&Birth<'_>) -> M + Send + Sync + 'static) -> Self {
        let partition = Partition::new(&settings.links, settings.threads);
        let shards = partition.shards();
        let shared = Shared {
            seed: settings.seed,
            start: settings.start,
            links: settings.links,
            addresses: settings.addresses,
            conditions: Conditions::default(),
            crypto: settings.crypto.build(settings.seed, settings.hosts_expected),
            cpu: settings.cpu,
            maker: Box::new(maker),
            regions: Vec::new(),
            places: Vec::new(),
        };
        let shards = (0..shards).map(|number| Shard::new(number as u16, shards)).collect();
        Self { shared, partition, shards, now: Instant::ZERO, mode: settings.crypto }
    }

    /// Adds a host.
    pub fn add_host(&mut self, spec: HostSpec<W>) -> HostId {
        let id = HostId(u32::try_from(self.shared.regions.len()).expect("fewer than 2^32 hosts"));
        let region = spec.region.unwrap_or_else(|| self.shared.links.regions.draw(self.shared.seed, id.0));
        self.shared.regions.push(region);
        let shard = self.partition.shard(id, region);
        let hosts = &mut self.shards[usize::from(shard)].hosts;
        self.shared.places.push(Place { shard, local: hosts.len() as u32 });
        let cpu = self.shared.cpu.map(|costs| Box::new(Processor::new(self.shared.crypto.clone(), costs)));
        hosts.push(Host::new(self.shared.seed, id, region, spec, cpu));
        if let Some(pause) = hosts.last().and_then(|host| host.starts_in) {
            self.touch(id, |host, turn| host.later(turn, pause, Delivery::Start));
        }
        id
    }

    /// Delivers everything up to and including this time.
    ///
    /// # Errors
    /// The first invariant that did not hold; the world has stopped about there, and stays stopped.
    pub fn run_until(&mut self, until: Instant) -> Result<(), Violation> {
        let end = until + Duration::from_micros(1);
        run_all(&mut self.shards, &self.shared, self.partition.lookahead, end);
        self.exchange_mail();
        let halted = self.shards.iter().filter_map(|shard| shard.halted).min_by_key(|(key, _)| *key);
        if let Some((Key { at, .. }, host)) = halted {
            self.now = self.now.max(at);
            let what = self.host(host).violation.clone();
            return Err(what.unwrap_or_else(|| Violation { at, host, what: String::from("halted") }));
        }
        self.now = self.now.max(until);
        Ok(())
    }

    /// Delivers everything of the next `duration`.
    ///
    /// # Errors
    /// As [`World::run_until`].
    pub fn run_for(&mut self, duration: Duration) -> Result<(), Violation> {
        self.run_until(self.now + duration)
    }

    /// Where the world has come to.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The primitives that it runs with.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The primitives themselves.
    pub fn crypto(&self) -> &Arc<dyn Crypto + Send + Sync> {
        &self.shared.crypto
    }

    /// How many threads drive it.
    pub fn threads(&self) -> usize {
        self.shards.len()
    }

    // Hosts

    /// Number of hosts, running or not.
    pub fn len(&self) -> usize {
        self.shared.regions.len()
    }

    /// Whether there are no hosts.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = HostId> + use<M, W> {
        (0..self.shared.regions.len() as u32).map(HostId)
    }

    /// Where the world reaches a host.
    pub fn addr(&self, host: HostId) -> Addr {
        Addr { ip: self.shared.addresses.ip(host), port: PORT }
    }

    /// Where a host is.
    pub fn region(&self, host: HostId) -> Region {
        self.shared.site(host).region
    }

    /// The host at an address.
    pub fn host_at(&self, addr: SocketAddr) -> Option<HostId> {
        Addr::of(addr).and_then(|addr| self.shared.host_at(addr.ip))
    }

    /// A host's machine, if it runs.
    pub fn machine(&self, host: HostId) -> Option<&M> {
        let host = self.host(host);
        host.machine.as_deref().filter(|_| host.power == Power::On)
    }

    /// The machines that run, in the hosts' order.
    pub fn machines(&self) -> impl Iterator<Item = (HostId, &M)> {
        self.hosts().filter_map(|host| Some((host, self.machine(host)?)))
    }

    /// Who watches a host.
    pub fn watch(&self, host: HostId) -> &W {
        &self.host(host).watch
    }

    /// Who watches a host.
    pub fn watch_mut(&mut self, host: HostId) -> &mut W {
        let Place { shard, local } = self.shared.places[host.0 as usize];
        &mut self.shards[usize::from(shard)].hosts[local as usize].watch
    }

    // What happens to hosts

    /// Starts a host's machine, unless it runs.
    pub fn start(&mut self, host: HostId) {
        self.touch(host, |host, turn| host.start(turn));
    }

    /// Ends a host's machine, if it runs.
    pub fn crash(&mut self, host: HostId, how: Crash) {
        self.touch(host, |host, turn| {
            if host.power == Power::On {
                host.stop(turn, how);
            }
        });
    }

    /// Lets a host's machine come and go, from its next start or end on; `None` lets it stay as it is.
    pub fn set_churn(&mut self, host: HostId, churn: Option<Churn>) {
        self.touch(host, |host, _| host.churn = churn);
    }

    /// Changes what a host's wall clock shows: from now on `secs` ahead of the true time.
    pub fn set_clock_skew(&mut self, host: HostId, secs: i64) {
        let start = self.shared.start;
        self.touch(host, |host, turn| {
            host.clock_skew_secs = secs;
            let unix = host.unix(turn.now, start);
            if host.power == Power::On {
                host.input(turn, Input::WallClock { unix });
            }
        });
    }

    /// Gives a host's machine a command; `None` if it does not run.
    pub fn command(&mut self, host: HostId, command: CommandOf<'_, M>) -> Option<Result<CommandId, RefusedOf<M>>> {
        self.touch(host, |host, turn| {
            if host.power != Power::On {
                return None;
            }
            let result = host.tapped(turn.now)?.command(turn.now, command);
            host.settle(turn);
            Some(result)
        })
    }

    /// Sends a datagram from a host, past its machine.
    pub fn send_datagram(&mut self, from: HostId, to: SocketAddr, bytes: &[u8]) {
        self.touch(from, |host, turn| host.send_datagram(turn, to, bytes));
    }

    /// What is wrong with the network, and when.
    pub fn conditions(&self) -> &Conditions {
        &self.shared.conditions
    }

    /// What is wrong with the network, to be changed between runs.
    pub fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.shared.conditions
    }

    // What came of it

    /// A fingerprint of the run so far: every input with its time, and every action, byte for byte, of every host.
    pub fn trace_hash(&self) -> u64 {
        self.fingerprint(|host| host.trace.bytes)
    }

    /// The same without the bytes: times, kinds, lengths and ends.
    pub fn schedule_hash(&self) -> u64 {
        self.fingerprint(|host| host.trace.schedule)
    }

    /// What was counted, over all hosts.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.shards.iter().flat_map(|shard| &shard.hosts).for_each(|host| totals += host.uplink.totals);
        totals
    }

    /// What was counted, of one host.
    pub fn host_totals(&self, host: HostId) -> Totals {
        self.host(host).uplink.totals
    }

    /// When and where a machine panicked, if one has: it never came back from what it was handed.
    pub fn panicked(&self) -> Option<(Instant, HostId)> {
        self.shards.iter().find_map(|shard| shard.delivering)
    }

    /// Things delivered: datagrams, segments, timers, starts and ends.
    pub fn events(&self) -> u64 {
        self.shards.iter().map(|shard| shard.events).sum()
    }

    /// Things that wait to happen.
    pub fn pending(&self) -> usize {
        self.shards.iter().map(|shard| shard.outlet.wheel.len()).sum()
    }

    fn fingerprint(&self, of: impl Fn(&Host<M, W>) -> Mix) -> u64 {
        let hosts = self.hosts().map(|host| of(self.host(host)).finish());
        hosts.fold(Mix::new(self.shared.seed), Mix::word).finish()
    }

    fn host(&self, host: HostId) -> &Host<M, W> {
        let Place { shard, local } = self.shared.places[host.0 as usize];
        &self.shards[usize::from(shard)].hosts[local as usize]
    }

    fn touch<R>(&mut self, host: HostId, work: impl FnOnce(&mut Host<M, W>, &mut Turn<'_, M, Routed<'_>>) -> R) -> R {
        let Place { shard, local } = self.shared.places[host.0 as usize];
        let result = self.shards[usize::from(shard)].touch(&self.shared, self.now, local, work);
        self.exchange_mail();
        result
    }

    /// Brings the shards' mail to each other.
    fn exchange_mail(&mut self) {
        for from in 0..self.shards.len() {
            for to in 0..self.shards.len() {
                for (key, parcel) in std::mem::take(&mut self.shards[from].outlet.mail[to]) {
                    self.shards[to].outlet.wheel.push(key, parcel);
                }
            }
        }
    }
}

impl<M, W> Host<M, W> {
    fn new(seed: u64, id: HostId, region: Region, spec: HostSpec<W>, cpu: Option<Box<Processor>>) -> Self {
        Self {
            id,
            uplink: Uplink {
                site: Site { host: id.0, region },
                nat: NatBox::new(spec.nat),
                totals: Totals::default(),
                seq: 0,
                packets: 0,
                busy_until: Instant::ZERO,
                computed_at: Instant::ZERO,
            },
            cpu,
            machine: None,
            power: Power::Idle,
            incarnation: 0,
            clock_skew_secs: spec.clock_skew_secs,
            starts_in: spec.starts_in,
            churn: spec.churn,
            watch: spec.watch,
            trace: trace::Trace::new(id.0),
            violation: None,
            armed: None,
            due: None,
            stream: Stream::new(seed, u64::from(id.0), 0x686f_7374),
            ends: Default::default(),
            by_conn: Default::default(),
            ends_made: 0,
            paused: Vec::new(),
        }
    }
}
