//! A world: hosts with real machines and the network between them, driven in virtual time by the driver contract.
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
mod flood;
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
pub use self::flood::{Flood, Forgery, Sources};
pub use self::host::Crash;
use self::host::{Delivery, Host, Power, Turn, Uplink};
pub use self::machine::{Birth, Maker, Watch};
use self::parallel::run_all;
use self::shard::{Routed, Shard};
use self::shared::{Partition, Place, Shared};
pub(crate) use self::trace::Trace;
pub use self::trace::{Fingerprint, Print};
use crate::HostId;
use crate::crypto::{Costs, Mode};
use crate::engine::Key;
use crate::mix::{Mix, Stream};
use crate::network::address::PORT;
use crate::network::link::Site;
use crate::network::nat::NatBox;
use crate::network::{Addr, Addresses, Conditions, Links, Nat, Region, Zone};

/// The settings of a world.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Determines every draw.
    pub seed: u64,
    /// The wall time at the start.
    pub start: UnixTime,
    /// Regions, latencies, and the general faults of links.
    pub links: Links,
    /// The addresses of hosts.
    pub addresses: Addresses,
    /// The primitives.
    pub crypto: Mode,
    /// The time that a machine's work takes on its host; `None` if it takes none.
    pub cpu: Option<Costs>,
    /// The approximate number of hosts, for the size of the primitives' memory.
    pub hosts_expected: usize,
    /// The number of threads. The result does not depend on it.
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

/// Machines that stop and start again by themselves, after log-normal times with deviations in thousandths.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Churn {
    /// The median time that a machine runs.
    pub session_median: Duration,
    /// The deviation of that time.
    pub session_sigma_millis: u32,
    /// The median pause before the next start.
    pub pause_median: Duration,
    /// The deviation of the pause.
    pub pause_sigma_millis: u32,
    /// How a machine stops.
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
    /// Its region; `None` draws one by the regions' shares.
    pub region: Option<Region>,
    /// The NAT in front of it.
    pub nat: Nat,
    /// Seconds by which its wall clock is ahead.
    pub clock_skew_secs: i64,
    /// When its machine starts, from now on; `None` leaves it to [`World::start`].
    pub starts_in: Option<Duration>,
    /// Whether its machine stops and starts by itself.
    pub churn: Option<Churn>,
    /// Its watch.
    pub watch: W,
}

/// An invariant that did not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The time.
    pub at: Instant,
    /// The host.
    pub host: HostId,
    /// A description.
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
        /// The counters of one host, or of all.
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
    /// Datagrams that were lost, cut off, or sent to an address without a host.
    datagrams_lost,
    /// Datagrams that arrived twice.
    datagrams_doubled,
    /// Datagrams that machines received.
    datagrams_delivered,
    /// Datagrams to a host without a running machine.
    datagrams_unheard,
    /// Datagrams that a NAT refused.
    datagrams_filtered,
    /// Streams dialled.
    dials,
    /// Dialled streams that became connected.
    streams,
    /// Bytes written to streams.
    stream_bytes,
    /// Segments of streams that a man in the middle changed.
    segments_tampered,
    /// Ends that were refused or reset.
    resets,
    /// Connections that machines reported as ended.
    ended,
    /// Nanoseconds that machines worked, if processors are modelled.
    busy_ns,
    /// Inputs that waited while a machine worked.
    inputs_waited,
    /// Microseconds that they waited, in total.
    waited_us,
    /// Datagrams that were dropped because too many waited.
    datagrams_overrun,
}

/// A world of hosts with machines `M`, [`Node`]s by default; `W` watches each host.
pub struct World<M = Node, W = ()> {
    shared: Shared<M>,
    partition: Partition,
    shards: Vec<Shard<M, W>>,
    now: Instant,
    mode: Mode,
}

impl<M, W> fmt::Debug for World<M, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("World");
        debug.field("now", &self.now).field("hosts", &self.shared.places.len()).field("mode", &self.mode);
        debug.finish_non_exhaustive()
    }
}

impl<M: Machine<Language: Fingerprint> + Send, W: Watch<M>> World<M, W> {
    /// Creates a world without hosts at [`Instant::ZERO`]. `maker` makes the machine of a host at each start.
    pub fn new(settings: Settings, maker: impl Fn(&Birth<'_>) -> M + Send + Sync + 'static) -> Self {
        let partition = Partition::new(&settings.links, settings.threads);
        let shards = partition.shards();
        let shared = Shared {
            seed: settings.seed,
            start: settings.start,
            links: settings.links,
            addresses: settings.addresses,
            conditions: Conditions::default(),
            zone: Zone::default(),
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
    /// The first invariant that did not hold. The world has stopped near that time, and stays stopped.
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

    /// The world's time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The kind of its primitives.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The primitives themselves.
    pub fn crypto(&self) -> &Arc<dyn Crypto + Send + Sync> {
        &self.shared.crypto
    }

    /// The number of threads that drive it.
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

    /// A host's address.
    pub fn addr(&self, host: HostId) -> Addr {
        Addr { ip: self.shared.addresses.ip(host), port: PORT }
    }

    /// A host's region.
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

    /// A host's watch.
    pub fn watch(&self, host: HostId) -> &W {
        &self.host(host).watch
    }

    /// A host's watch, for changes.
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

    /// Lets a host's machine stop and start by itself, from its next start or stop on; `None` ends that.
    pub fn set_churn(&mut self, host: HostId, churn: Option<Churn>) {
        self.touch(host, |host, _| host.churn = churn);
    }

    /// Sets a host's wall clock to `secs` ahead of the true time.
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

    /// Sends a datagram from a host without its machine.
    pub fn send_datagram(&mut self, from: HostId, to: SocketAddr, bytes: &[u8]) {
        self.touch(from, |host, turn| host.send_datagram(turn, to, bytes));
    }

    /// Begins a flood of a host in place of the one that it is under; `None` ends that one.
    pub fn flood(&mut self, host: HostId, flood: Option<Flood>) {
        self.touch(host, |host, turn| host.set_flood(turn, flood));
    }

    /// The faults of the network and their times.
    pub fn conditions(&self) -> &Conditions {
        &self.shared.conditions
    }

    /// The faults of the network, for changes between runs.
    pub fn conditions_mut(&mut self) -> &mut Conditions {
        &mut self.shared.conditions
    }

    /// The names that hosts can resolve.
    pub fn zone(&self) -> &Zone {
        &self.shared.zone
    }

    /// The names that hosts can resolve, for changes between runs.
    pub fn zone_mut(&mut self) -> &mut Zone {
        &mut self.shared.zone
    }

    // Results

    /// A fingerprint of the run so far: every input with its time, and every action, byte for byte, of every host.
    pub fn trace_hash(&self) -> u64 {
        self.fingerprint(|host| host.trace.bytes)
    }

    /// The same without the bytes: times, kinds, lengths and ends.
    pub fn schedule_hash(&self) -> u64 {
        self.fingerprint(|host| host.trace.schedule)
    }

    /// The sum of all hosts' counters.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        self.shards.iter().flat_map(|shard| &shard.hosts).for_each(|host| totals += host.uplink.totals);
        totals
    }

    /// The counters of one host.
    pub fn host_totals(&self, host: HostId) -> Totals {
        self.host(host).uplink.totals
    }

    /// When and where a machine panicked, if one has: the delivery that did not return.
    pub fn panicked(&self) -> Option<(Instant, HostId)> {
        self.shards.iter().find_map(|shard| shard.delivering)
    }

    /// The number of deliveries: datagrams, segments, timers, starts and stops.
    pub fn events(&self) -> u64 {
        self.shards.iter().map(|shard| shard.events).sum()
    }

    /// The number of deliveries that wait.
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
            trace: Trace::new(id.0),
            violation: None,
            armed: None,
            due: None,
            stream: Stream::new(seed, u64::from(id.0), 0x686f_7374),
            ends: Default::default(),
            by_conn: Default::default(),
            ends_made: 0,
            paused: Vec::new(),
            flood: None,
            floods: 0,
        }
    }
}
