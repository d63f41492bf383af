//! A node under a flood of datagrams (attacks D6 to D8): whether others keep it in their tables, and what it and the nodes
//! that depend on it find.
//!
//! Hosts 0 to 2 are bootnodes. Host [`VICTIM`] is flooded from 28 % of the first phase on, ten minutes of an hour. The
//! last host but one starts under a flood of its own for a sixth of the time, and with faults of the network to the end. The last host is a newcomer whose only
//! bootnode is the flooded one. All are real nodes without sessions.

use peerless::node::Node;
use peerless::time::{Duration, Instant};

use super::{Faults, Measured, Role, Run, Scenario, Unmet, demand, faults};
use crate::HostId;
use crate::world::{Flood, Forgery, Sources};

/// The flooded host.
pub const VICTIM: HostId = HostId(3);

/// Percent of the first phase after which the flood begins, the newcomer starts, and the starting node starts.
const FLOOD_AT: u32 = 28;
const NEWCOMER_AT: u32 = 35;
const STARTING_AT: u32 = 40;
/// One of so many neighbours gives its name to a flood in the names of neighbours.
const NAMED_OF: u32 = 4;
/// The time in which a newcomer must find its neighbours.
const NEWCOMER_MINUTES: f64 = 30.0;

/// The sources of a flood in a scenario.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Spoof {
    /// Random addresses.
    #[default]
    Random,
    /// One IPv6 /48.
    Prefix48,
    /// The endpoints of a quarter of the neighbours.
    Neighbours,
}

/// The flood of a scenario.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Siege {
    /// Datagrams a second.
    pub rate: u32,
    /// Their sources.
    pub spoof: Spoof,
    /// Their kind.
    pub kind: Forgery,
    /// Whether they are signed, by a few unknown keys.
    pub is_signed: bool,
}

impl Default for Siege {
    /// Pings from anywhere, 4,000 a second.
    fn default() -> Self {
        Self { rate: 4000, spoof: Spoof::Random, kind: Forgery::Ping, is_signed: false }
    }
}

/// The scenario of a flood; see the module.
pub fn scenario(siege: Siege) -> Scenario {
    Scenario::new("flood", "a node is flooded, and must neither be forgotten nor cut off those that depend on it")
        .size(26, Duration::from_secs(3600))
        .small(14, Duration::from_secs(400))
        .peers(0)
        .settles_in(Duration::from_secs(200))
        .faults(Faults::None)
        // Without delays: with more than the time for a call, no question of a region is answered, flood or not.
        .kinds(&[faults::Kind::Loss, faults::Kind::Duplication, faults::Kind::Reordering])
        .cast(|plan, host, _| Role {
            is_late: host == newcomer(plan.nodes) || host == starting(plan.nodes),
            is_flooded: host == VICTIM || host == starting(plan.nodes),
            bootnodes: (host == newcomer(plan.nodes)).then(|| vec![VICTIM]),
            ..Role::default()
        })
        .at(FLOOD_AT, move |run| {
            let tables = tables(run, false) as f64;
            let others = tables_of(run, false).count() as f64;
            run.notes.extend([("tables_before", tables), ("tables", others)]);
            flood(run, VICTIM, siege);
        })
        .at(NEWCOMER_AT, |run| run.world.start(newcomer(run.plan.nodes)))
        .at(STARTING_AT, move |run| {
            let starting = starting(run.plan.nodes);
            flood(run, starting, siege);
            run.world.start(starting);
        })
        .at_samples(move |run| {
            if run.world.now() > run.part(FLOOD_AT) {
                run.measure_lookup("lookup", VICTIM);
            }
            if run.world.now() < relieved_at(run) {
                run.measure_lookup("starting", starting(run.plan.nodes));
            } else {
                run.world.flood(starting(run.plan.nodes), None);
            }
            run.measure_lookup("newcomer", newcomer(run.plan.nodes));
        })
        .always("no honest node bans another", demand::no_honest_faults())
        .figure("tables_before", |run| note(run, "tables_before"))
        .figure("tables_after", |run| tables(run, false) as f64)
        .figure("tables_of", |run| note(run, "tables"))
        .figure("tables_after_of_not_named", |run| tables(run, true) as f64)
        .figure("lookup_found", |run| mean(run.measured("lookup")))
        .figure("starting_found", |run| mean(settled(run.measured("starting"))))
        .figure("newcomer_found", newcomer_found)
        .figure("newcomer_minutes", newcomer_minutes)
}

/// The demands on a flood, of the sixteen nearest nodes.
pub fn demanding(scenario: Scenario) -> Scenario {
    scenario
        .demand("nine of ten tables hold the flooded node", |run| {
            let (holding, all) = (tables(run, true), tables_of(run, true).count());
            if holding >= demand::share(all, 90) { Ok(()) } else { Err(format!("{holding} of {all} do")) }
        })
        .demand("lookups of the flooded node find 14 of 16", |run| at_least(14.0, mean(undisturbed(run)), VICTIM))
        .demand("a node that starts under the flood finds 12 of 16", |run| {
            at_least(12.0, mean(settled(run.measured("starting"))), starting(run.plan.nodes))
        })
        .demand("a newcomer behind the flooded node finds 12 of 16", |run| {
            at_least(12.0, newcomer_found(run), newcomer(run.plan.nodes))
        })
}

fn starting(nodes: u32) -> HostId {
    HostId(nodes.saturating_sub(2))
}

fn newcomer(nodes: u32) -> HostId {
    HostId(nodes.saturating_sub(1))
}

/// The neighbours in whose names a flood may come: the first ones after the victim.
fn named(nodes: u32) -> std::ops::Range<u32> {
    VICTIM.0 + 1..VICTIM.0 + 1 + nodes.saturating_sub(2) / NAMED_OF
}

fn flood(run: &mut Run, host: HostId, Siege { rate, spoof, kind, is_signed }: Siege) {
    let sources = match spoof {
        Spoof::Random => Sources::Random,
        Spoof::Prefix48 => Sources::Prefix48,
        Spoof::Neighbours => {
            let named = named(run.plan.nodes).map(|named| run.world.addr(HostId(named)).into()).collect();
            run.notes.insert("is_named", 1.0);
            Sources::These(named)
        }
    };
    let to = run.id(host);
    run.world.flood(host, Some(Flood { rate, sources, kind, to, is_signed, until: None }));
}

/// The nodes whose tables count: all that are neither flooded nor late, and with `not_named` not named by the flood.
fn tables_of(run: &Run, not_named: bool) -> impl Iterator<Item = (HostId, &Node)> {
    let leaves_out = not_named && run.notes.contains_key("is_named");
    run.honest().filter(move |(host, _)| {
        let role = run.role(*host);
        let is_named = named(run.plan.nodes).contains(&host.0);
        !(role.is_flooded || role.is_late || leaves_out && is_named)
    })
}

fn tables(run: &Run, not_named: bool) -> usize {
    tables_of(run, not_named).filter(|(_, node)| run.known(node).any(|known| known == VICTIM)).count()
}

fn note(run: &Run, name: &str) -> f64 {
    run.notes.get(name).copied().unwrap_or(0.0)
}

fn mean(measured: &[Measured]) -> f64 {
    measured.iter().map(Measured::of_16).sum::<f64>() / measured.len().max(1) as f64
}

/// When the flood of the starting node ends: not before the faults of the network, if there are any.
fn relieved_at(run: &Run) -> Instant {
    if run.plan.faults == Faults::None { run.part(STARTING_AT) + run.plan.time / 6 } else { Instant::NEVER }
}

/// The lookups of the flooded node that the faults of the network did not disturb: all if there are none.
fn undisturbed(run: &Run) -> &[Measured] {
    let lookups = run.measured("lookup");
    let healed = run.healed.filter(|_| run.plan.faults != Faults::None);
    &lookups[lookups.partition_point(|measured| healed.is_some_and(|healed| measured.at < healed))..]
}

/// The later half of the results: a node that starts needs a while.
fn settled(measured: &[Measured]) -> &[Measured] {
    &measured[measured.len() / 2..]
}

/// The most that a lookup of the newcomer found within its time, of 16.
fn newcomer_found(run: &Run) -> f64 {
    let in_time = run.measured("newcomer").iter().filter(|measured| minutes(run, measured) <= NEWCOMER_MINUTES);
    in_time.map(Measured::of_16).fold(0.0, f64::max)
}

/// The minutes from the newcomer's start until a lookup found 12 of 16; infinite if none did.
fn newcomer_minutes(run: &Run) -> f64 {
    let first = run.measured("newcomer").iter().find(|measured| measured.of_16() >= 12.0);
    first.map_or(f64::INFINITY, |first| minutes(run, first))
}

fn minutes(run: &Run, measured: &Measured) -> f64 {
    measured.at.since(run.part(NEWCOMER_AT)).as_secs_f64() / 60.0
}

fn at_least(min: f64, found: f64, host: HostId) -> Result<(), Unmet> {
    if found >= min { Ok(()) } else { Err(Unmet::of(host, format!("host {} finds {found:.1}", host.0))) }
}
