//! A scenario's world while it runs, as acts, demands and figures see it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use peerless::contract::{Command, Machine, Stage, Tapped, Via};
use peerless::crypto::{NodeId, keccak256};
use peerless::limits;
use peerless::node::Node;
use peerless::time::{Duration, Instant};

use super::actor::Actor;
use super::guard::Guard;
use super::liar::Liar;
use super::probe::{Found, Probe};
use super::protocols;
use super::{Observer, Plan, Protocols, Role, Scenario};
use crate::crypto::Costs;
use crate::mix::Stream;
use crate::world::{Birth, HostSpec, Settings, World};
use crate::{HostId, Links, scenery};

/// Hosts whose traffic by address is recorded; of the others, bounds and counters are checked.
const ACCOUNTS_MAX: u32 = 500;
/// Nodes start within this time, or a twentieth of the whole time, except in large networks.
const STARTS_WITHIN: Duration = Duration::from_secs(60);
/// Most starts in a second, unless the starts then take more than a quarter of the whole time: a new node must be found
/// by newer ones.
const STARTS_PER_SECOND: u32 = 160;
/// Each thousand nodes have as many bootnodes as a small scenario: the same ones could not introduce ten thousand in
/// two minutes.
const NODES_PER_CIRCLE: u32 = 1000;

/// A running scenario; see the module.
pub struct Run {
    /// The plan.
    pub plan: Plan,
    /// The world.
    pub world: World<Actor, Guard>,
    roles: Vec<Role>,
    ids: BTreeMap<NodeId, HostId>,
    by_host: Vec<NodeId>,
    stream: Stream,
    searching: Vec<Search>,
    lookups_begun: usize,
    /// The measured lookups of acts that are over, by their names.
    found: BTreeMap<&'static str, Vec<Measured>>,
    /// What acts note for figures and demands.
    pub notes: BTreeMap<&'static str, f64>,
    /// The time when all faults end.
    pub heals_at: Instant,
    /// The time when all faults ended, if they have.
    pub healed: Option<Instant>,
    /// Pairs of honest nodes in session when all faults ended.
    pairs_healed: Vec<(HostId, HostId)>,
}

/// A lookup that is not over.
struct Search {
    host: HostId,
    target: [u8; 64],
    via: Via,
    started: Instant,
    /// The name by which an act started it.
    name: Option<&'static str>,
}

/// The result of a lookup that an act started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Measured {
    /// When it was found to be over.
    pub at: Instant,
    /// The number of found nodes among the nearest that ran.
    pub found: u32,
    /// The number of nearest nodes to find: 16, or all.
    pub nearest: u32,
}

impl Measured {
    /// The found nodes, of 16.
    pub fn of_16(&self) -> f64 {
        16.0 * f64::from(self.found) / f64::from(self.nearest.max(1))
    }
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("plan", &self.plan)
            .field("heals_at", &self.heals_at)
            .field("healed", &self.healed)
            .finish_non_exhaustive()
    }
}

/// A lookup and the quality of its result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Lookup {
    pub via: Via,
    pub took: Duration,
    pub queries: u32,
    pub hops: u32,
    /// The number of found nodes among the nearest that ran.
    pub found: u32,
    /// The number of nearest nodes to find: 16, or all.
    pub nearest: u32,
}

impl Run {
    pub(super) fn new(scenario: &Scenario, plan: &Plan, observer: Option<Arc<Observer>>) -> Self {
        let mut stream = Stream::new(plan.seed, 0, 0x6361_7374);
        let roles: Vec<Role> = (0..plan.nodes)
            .map(|number| {
                let role = (scenario.cast)(plan, HostId(number), &mut stream);
                if number < scenario.bootnodes * circles(plan) {
                    Role { malice: None, nat: Default::default(), churn: None, ..role }
                } else {
                    role
                }
            })
            .collect();
        let links = Links { quality: scenario.quality, ..Links::default() };
        let settings = Settings {
            seed: plan.seed,
            crypto: plan.crypto,
            cpu: plan.cpu.map(|times| Costs::SERVER.times(times)),
            hosts_expected: plan.nodes as usize,
            threads: plan.threads,
            links,
            ..Settings::default()
        };
        let maker = maker(scenario, plan, &roles, observer);
        let mut world = World::new(settings, maker);
        let queue = Duration::from_secs(1) * plan.nodes / STARTS_PER_SECOND;
        let spread = STARTS_WITHIN.min(plan.time / 20).max(queue.min(plan.time / 4));
        for (number, role) in (0..).zip(&roles) {
            // The addresses of a flood have no end.
            // What discv5 says cannot be read without its keys.
            let keeps_accounts =
                role.malice.is_none() && !role.is_flooded && number < ACCOUNTS_MAX && plan.protocols == Protocols::V4;
            let starts: Vec<HostId> = match &role.bootnodes {
                Some(hosts) => hosts.clone(),
                None => bootnodes(plan.seed, HostId(number), scenario.bootnodes, circles(plan)).map(HostId).collect(),
            };
            let starts = starts.iter().take_while(|_| keeps_accounts).map(|host| world.addr(*host).ip.into()).collect();
            world.add_host(HostSpec {
                region: role.region,
                nat: role.nat,
                starts_in: Some(stream.duration(Duration::ZERO, spread)).filter(|_| !role.is_late),
                churn: role.churn,
                watch: Guard::new(keeps_accounts, starts),
                ..HostSpec::default()
            });
        }
        let id = |host: HostId| world.crypto().public_key(&scenery::secret(host)).node_id();
        let by_host: Vec<NodeId> = world.hosts().map(id).collect();
        let ids = by_host.iter().copied().zip((0..).map(HostId)).collect();
        let heals_at = scenario.heals_at(plan);
        Self {
            plan: plan.clone(),
            world,
            roles,
            ids,
            by_host,
            stream,
            searching: Vec::new(),
            lookups_begun: 0,
            found: BTreeMap::new(),
            notes: BTreeMap::new(),
            heals_at,
            healed: None,
            pairs_healed: Vec::new(),
        }
    }

    /// The time when so many percent of the first phase are over.
    pub fn part(&self, percent: u32) -> Instant {
        Instant::ZERO + self.heals_at.since(Instant::ZERO) * percent / 100
    }

    /// The role of a host.
    pub fn role(&self, host: HostId) -> &Role {
        &self.roles[host.0 as usize]
    }

    /// Whether a host is honest.
    pub fn is_honest(&self, host: HostId) -> bool {
        self.role(host).malice.is_none()
    }

    /// The honest nodes that run.
    pub fn honest(&self) -> impl Iterator<Item = (HostId, &Node)> {
        self.world.machines().filter(|(host, _)| self.is_honest(*host)).map(|(host, actor)| (host, actor.node()))
    }

    /// The host with this node id.
    pub fn host_of(&self, id: &NodeId) -> Option<HostId> {
        self.ids.get(id).copied()
    }

    /// The node id of a host.
    pub fn id(&self, host: HostId) -> NodeId {
        self.by_host[host.0 as usize]
    }

    /// Records the end of all faults.
    pub(super) fn heals(&mut self) {
        self.healed = Some(self.world.now());
        self.pairs_healed = self.honest_pairs();
    }

    fn honest_pairs(&self) -> Vec<(HostId, HostId)> {
        let peers = |(host, node)| self.peers(node).map(move |peer| (host, peer));
        self.honest().flat_map(peers).filter(|(_, peer)| self.is_honest(*peer)).collect()
    }

    /// The part of the sessions between honest nodes at the end of all faults that still exists, in percent.
    pub fn sessions_kept_percent(&self) -> f64 {
        let now: std::collections::BTreeSet<_> = self.honest_pairs().into_iter().collect();
        let kept = self.pairs_healed.iter().filter(|pair| now.contains(pair)).count();
        100.0 * kept as f64 / self.pairs_healed.len().max(1) as f64
    }

    /// The median life of the honest nodes' sessions, in seconds, of those that are not over up to now.
    pub fn session_life_median(&self) -> f64 {
        let honest = self.world.hosts().filter(|host| self.is_honest(*host));
        let mut lives: Vec<Duration> = honest.flat_map(|host| self.world.watch(host).lives(self.world.now())).collect();
        if lives.is_empty() {
            return 0.0;
        }
        let middle = lives.len() / 2;
        lives.select_nth_unstable(middle).1.as_secs_f64()
    }

    /// The established sessions that ended, by node and hour.
    pub fn sessions_ended_hourly(&self) -> f64 {
        let ended: usize = self.world.hosts().map(|host| self.world.watch(host).sessions_ended()).sum();
        let hours = self.world.now().since(Instant::ZERO).as_secs_f64() / 3600.0;
        ended as f64 / hours.max(1e-9) / f64::from(self.plan.nodes)
    }

    /// The peers that a node is in session with.
    pub fn peers<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = HostId> + 'a {
        let established = node.sessions().filter(|session| session.stage == Stage::Established && !session.is_ending);
        established.filter_map(|session| self.host_of(&session.id?))
    }

    /// The hosts in a node's table, of the first protocol that it speaks.
    pub fn known<'a>(&'a self, node: &'a Node) -> impl Iterator<Item = HostId> + 'a {
        self.known_via(node, self.plan.protocols.each()[0])
    }

    /// The hosts in a node's table of one protocol.
    pub fn known_via<'a>(&'a self, node: &'a Node, via: Via) -> impl Iterator<Item = HostId> + 'a {
        protocols::entries(node, via).filter_map(|entry| self.host_of(&entry.contact().id()))
    }

    /// The mean over the honest nodes that run.
    pub fn mean(&self, of: impl Fn(HostId, &Node) -> usize) -> f64 {
        let (sum, count) =
            self.honest().fold((0, 0), |(sum, count), (host, node)| (sum + of(host, node), count + 1usize));
        sum as f64 / count.max(1) as f64
    }

    /// The largest possible average of table entries in a network of this size.
    pub fn table_ceiling(nodes: u32) -> f64 {
        let others = f64::from(nodes.saturating_sub(1));
        let bucket = |distance: usize| {
            let nodes = others / f64::from(1u32 << (distance + 1).min(31) as u32);
            nodes.min(limits::BUCKET_SIZE as f64)
        };
        (0..limits::BUCKETS).map(bucket).sum()
    }

    /// Starts measured lookups of random targets by some of the honest nodes.
    pub(super) fn begin_lookups(&mut self, count: u32) {
        for _ in 0..count {
            let host = HostId(self.stream.below(u64::from(self.plan.nodes)) as u32);
            self.begin_lookup(host, None);
        }
    }

    /// Starts a measured lookup of a random target by a host, unless one is under way; see [`Run::measured`].
    pub fn measure_lookup(&mut self, name: &'static str, host: HostId) {
        self.begin_lookup(host, Some(name));
    }

    fn begin_lookup(&mut self, host: HostId, name: Option<&'static str>) {
        let mut target = [0; 64];
        target[..32].copy_from_slice(&self.stream.bytes_32());
        let busy = self.searching.iter().any(|search| search.host == host);
        if busy || !self.is_honest(host) || self.world.machine(host).is_none() {
            return;
        }
        self.world.watch_mut(host).probe = Some(Probe::default());
        let each = self.plan.protocols.each();
        let via = each[self.lookups_begun % each.len()];
        self.lookups_begun += 1;
        let command = match via {
            Via::Discv4 => Command::Lookup { target },
            Via::Discv5 => Command::LookupId { target: NodeId(keccak256(&target)) },
        };
        let started = self.world.now();
        match self.world.command(host, command) {
            Some(Ok(_)) => self.searching.push(Search { host, target, via, started, name }),
            _ => self.world.watch_mut(host).probe = None,
        }
    }

    /// The results of the lookups that [`Run::measure_lookup`] started by this name, oldest first.
    pub fn measured(&self, name: &str) -> &[Measured] {
        self.found.get(name).map_or(&[], Vec::as_slice)
    }

    /// Collects the measured lookups that are over, and returns those without a name.
    pub(super) fn finished_lookups(&mut self) -> Vec<Lookup> {
        let mut finished = Vec::new();
        let at = self.world.now();
        for search in std::mem::take(&mut self.searching) {
            let lookup = match &self.world.watch(search.host).probe {
                // The node of the lookup has ended.
                None => continue,
                Some(Probe { found: None }) => {
                    self.searching.push(search);
                    continue;
                }
                Some(Probe { found: Some(found) }) => self.judge(&search, found),
            };
            match search.name {
                None => finished.push(lookup),
                Some(name) => {
                    let measured = Measured { at, found: lookup.found, nearest: lookup.nearest };
                    self.found.entry(name).or_default().push(measured);
                }
            }
        }
        finished
    }

    fn judge(&self, search: &Search, found: &Found) -> Lookup {
        let (host, target) = (search.host, NodeId(keccak256(&search.target)));
        let others = self.world.machines().map(|(other, _)| other).filter(|other| *other != host);
        let mut nearest: Vec<NodeId> = others.map(|other| self.id(other)).collect();
        let count = limits::BUCKET_SIZE.min(nearest.len());
        if count < nearest.len() {
            nearest.select_nth_unstable_by(count, |a, b| target.cmp_distance(a, b));
            nearest.truncate(count);
        }
        let hits = found.nodes.iter().filter(|node| nearest.contains(node)).count();
        let took = found.at.since(search.started);
        let Search { via, .. } = *search;
        Lookup { via, took, queries: found.queries, hops: found.hops, found: hits as u32, nearest: count as u32 }
    }
}

/// The number of groups of bootnodes.
fn circles(plan: &Plan) -> u32 {
    (plan.nodes / NODES_PER_CIRCLE).max(1)
}

/// Draws a host's bootnodes, `count` of `circles` times as many: fixed groups with their own bootnodes would stay
/// separate networks for hours. The first of the bootnodes introduces the others.
fn bootnodes(seed: u64, host: HostId, count: u32, circles: u32) -> impl Iterator<Item = u32> {
    let mut draws = Stream::new(seed, u64::from(host.0), 0x626f_6f74);
    let is_bootnode = host.0 < count * circles;
    (0..count).map(move |i| if is_bootnode { i } else { i * circles + draws.below(u64::from(circles)) as u32 })
}

/// Makes the machines of a scenario's hosts.
fn maker(
    scenario: &Scenario,
    plan: &Plan,
    roles: &[Role],
    observer: Option<Arc<Observer>>,
) -> impl Fn(&Birth<'_>) -> Actor + Send + Sync + 'static {
    let roles = roles.to_vec();
    // A node dials a third of its slots; each session has two ends, so it holds twice as many as it dials.
    let places = plan.peers.map_or(scenario.peers, |peers| peers.div_ceil(2) * limits::DIAL_RATIO as u32);
    let (count, circles, seed, protocols) = (scenario.bootnodes, circles(plan), plan.seed, plan.protocols);
    let networks: std::collections::BTreeSet<u64> = roles.iter().map(|role| role.network).collect();
    let chains: BTreeMap<u64, _> = networks.into_iter().map(|network| (network, scenery::chain(network))).collect();
    move |birth| {
        let role = &roles[birth.host.0 as usize];
        let mut config = scenery::config(birth, chains[&role.network].clone());
        protocols.apply(&mut config);
        config.peers.max_peers = role.peers.unwrap_or(places) as usize;
        if let Some(ratio) = role.dial_ratio {
            config.peers.dial_ratio = ratio as usize;
        }
        match &role.bootnodes {
            Some(hosts) => scenery::set_bootnodes(birth, &mut config, hosts.iter().map(|host| host.0)),
            None => scenery::set_bootnodes(birth, &mut config, bootnodes(seed, birth.host, count, circles)),
        }
        let tap = match (&observer, role.malice) {
            (Some(observer), None) => {
                // A tap that records everything may record the session secrets.
                config.export_secrets = true;
                observer(birth, &config)
            }
            _ => None,
        };
        config.export_secrets = tap.is_some();
        let node = scenery::node(birth, config);
        let mut actor = match (role.malice, tap) {
            (None, None) => Actor::Honest(node),
            (None, Some(tap)) => Actor::Tapped(Box::new(Tapped::new(node, tap, birth.now))),
            (Some(malice), _) => {
                let stream = Stream::new(seed, u64::from(birth.host.0), u64::from(birth.incarnation) + 0x6c69_6172);
                Actor::Hostile(Box::new(Liar::new(node, malice, birth, stream)))
            }
        };
        for host in &role.keeps {
            let contact = scenery::contact(birth, *host, birth.addresses.ip(*host));
            let kind = peerless::contract::PeerKind::Static;
            actor.command(birth.now, Command::AddPeer { contact, kind }).expect("few peers are kept");
        }
        actor
    }
}
