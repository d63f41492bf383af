//! The built-in scenarios.

use peerless::node::Node;
use peerless::time::Duration;

use super::flood::{self, Siege};
use super::{Faults, HOME, Malice, Plan, Role, Run, Scenario, Unmet, attacks, demand};
use crate::network::{Effect, Fault, Hosts, Nat, Quality};
use crate::world::{Churn, Crash};
use crate::{HostId, mix::Stream};

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The longest back-off: a node leaves a peer that it could not reach four times in a row alone for up to 560 s (16
/// times the shortest interval between two dials). In a small network, whose other nodes have all their peers, it stays
/// alone so long.
const SETTLES_IN: Duration = secs(560);

/// All built-in scenarios.
pub fn stock() -> Vec<Scenario> {
    vec![
        discovery(),
        mesh(),
        partition(),
        churn(),
        nat(),
        storm(),
        hostile(),
        foreign(),
        flood::demanding(flood::scenario(Siege::default())),
        attacks::relay(),
        attacks::middle(),
    ]
}

/// The scenario with this name.
pub fn find(name: &str) -> Option<Scenario> {
    stock().into_iter().find(|scenario| scenario.name == name)
}

fn discovery() -> Scenario {
    Scenario::new("discovery", "nodes find each other, and whatever is looked up")
        .size(1000, secs(600))
        .small(20, secs(800))
        .peers(0)
        .settles_in(SETTLES_IN)
        .faults(Faults::None)
        .demand("tables hold three quarters of what they can", demand::tables(75))
        .always("no honest node bans another", demand::no_honest_faults())
}

fn mesh() -> Scenario {
    Scenario::new("mesh", "sessions form, are kept alive, and form again after faults")
        .size(200, secs(600))
        .small(14, secs(800))
        .settles_in(SETTLES_IN)
        .demand("every node has a session", demand::sessions(1))
        .demand("nine of ten nodes have all the peers that they look for", demand::fully_peered(90))
        .always("no node breaks the protocol", demand::no_faults())
        .always("no honest node bans another", demand::no_honest_faults())
        .figure("median life of a session, s", Run::session_life_median)
        .figure("sessions ended, by node and hour", Run::sessions_ended_hourly)
}

/// The lower and the upper half of the hosts are cut off from each other from 25 to 75 % of the first phase.
fn partition() -> Scenario {
    let is_low = |run: &Run, host: HostId| host.0 < run.plan.nodes / 2;
    Scenario::new("partition", "two halves lose each other for a while, and must grow together again")
        .size(200, secs(600))
        .small(16, secs(800))
        .settles_in(SETTLES_IN)
        .at(25, |run| {
            let low = Hosts::Range(0, run.plan.nodes / 2);
            let until = run.part(75);
            let since = run.world.now();
            run.world.conditions_mut().add(Fault {
                since,
                until,
                to: Hosts::Not(Box::new(low.clone())),
                from: low,
                both_ways: true,
                effect: Effect::Cut,
            });
        })
        .always("a minute after the cut no session crosses it", move |run| {
            let now = run.world.now();
            if now < run.part(25) + secs(60) || now > run.part(75) {
                return Ok(());
            }
            for (host, node) in run.honest() {
                if let Some(peer) = run.peers(node).find(|peer| is_low(run, *peer) != is_low(run, host)) {
                    return Err(Unmet::of(host, format!("hosts {} and {} are", host.0, peer.0)));
                }
            }
            Ok(())
        })
        .demand("every node has a session", demand::sessions(1))
        .demand("a quarter of what tables hold is of the other half", move |run| {
            let all = run.mean(|_, node| run.known(node).count());
            let across =
                run.mean(|host, node| run.known(node).filter(|other| is_low(run, *other) != is_low(run, host)).count());
            if across * 4.0 >= all { Ok(()) } else { Err(format!("it is {across:.1} of {all:.1}")) }
        })
        .figure("table entries across", move |run| {
            run.mean(|host, node| run.known(node).filter(|other| is_low(run, *other) != is_low(run, host)).count())
        })
        .figure("sessions across", move |run| {
            run.mean(|host, node| run.peers(node).filter(|other| is_low(run, *other) != is_low(run, host)).count())
        })
}

/// Sessions of 2 hours in the median with a deviation of 1.65, or shorter ones in a run that is shorter.
fn churn() -> Scenario {
    Scenario::new("churn", "machines come and go, with log-normal lives")
        .size(200, secs(900))
        .small(16, secs(800))
        .settles_in(SETTLES_IN)
        .cast(|plan, _, stream| {
            let crash = if stream.below(2) == 0 { Crash::Process } else { Crash::Power };
            let churn = Churn {
                session_median: secs(7200).min(plan.time / 5),
                pause_median: secs(1800).min(plan.time / 20),
                crash,
                ..Churn::default()
            };
            Role { churn: Some(churn), ..Role::default() }
        })
        .demand("tables hold three fifths of what they can", demand::tables(60))
        .demand("three of four nodes have all the peers that they look for", demand::fully_peered(75))
        .figure("machines started", |run| run.world.totals().starts as f64)
}

/// A quarter each of open, full cone, restricted and symmetric NATs.
fn nat() -> Scenario {
    let is_open = |run: &Run, host: HostId| matches!(run.role(host).nat, Nat::None | Nat::FullCone);
    Scenario::new("nat", "three of four nodes are behind a NAT, of three kinds")
        .size(200, secs(600))
        .small(16, secs(800))
        .settles_in(SETTLES_IN)
        .cast(|_, host, _| Role {
            nat: [Nat::None, Nat::FullCone, Nat::Restricted, Nat::Symmetric][(host.0 % 4) as usize],
            ..Role::default()
        })
        .demand("every node has a session, NAT or not", demand::sessions(1))
        .figure("sessions of nodes that can be reached", move |run| mean_of(run, |host| is_open(run, host)))
        .figure("sessions of nodes that cannot", move |run| mean_of(run, |host| !is_open(run, host)))
        .figure("percent of table entries that can be dialled", move |run| {
            let all = run.mean(|_, node| run.known(node).count());
            100.0 * run.mean(|_, node| run.known(node).filter(|other| is_open(run, *other)).count()) / all.max(1e-9)
        })
}

fn mean_of(run: &Run, which: impl Fn(HostId) -> bool) -> f64 {
    let counts: Vec<usize> =
        run.honest().filter(|(host, _)| which(*host)).map(|(_, node)| run.peers(node).count()).collect();
    counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64
}

/// Host 0 is a static peer of all others. It crashes at 30 % of the first phase, and comes back at 70 %.
fn storm() -> Scenario {
    const HUB: HostId = HostId(0);
    Scenario::new("storm", "a hub that is a static peer of all crashes, and all reconnect at once")
        .size(200, secs(600))
        .small(16, secs(800))
        .settles_in(SETTLES_IN)
        .cast(|plan, host, _| match host {
            HUB => Role { peers: Some(2 * plan.nodes), dial_ratio: Some(0), ..Role::default() },
            _ => Role { keeps: vec![HUB], ..Role::default() },
        })
        .at(30, |run| run.world.crash(HUB, if run.plan.seed & 1 == 0 { Crash::Process } else { Crash::Power }))
        .at(70, |run| run.world.start(HUB))
        .demand("every node with a free slot is in session with the hub again", |run| {
            let lost = run.honest().find(|(host, node)| {
                let is_full = run.peers(node).count() >= node.peers().config().max_peers;
                *host != HUB && !is_full && run.peers(node).all(|peer| peer != HUB)
            });
            lost.map_or(Ok(()), |(host, _)| Err(Unmet::of(host, format!("host {} is not", host.0))))
        })
        .figure("sessions of the hub", |run| run.honest().next().map_or(0.0, |(_, hub)| run.peers(hub).count() as f64))
}

/// Three of ten hosts are hostile, each with one kind of [`Malice`].
fn hostile() -> Scenario {
    Scenario::new("hostile", "three of ten nodes send garbage, stale, unsolicited or oversize messages")
        .size(500, secs(600))
        .small(18, secs(800))
        .settles_in(SETTLES_IN)
        .quality(Quality::lossy())
        .cast(|_, host, stream: &mut Stream| {
            let malice = (host.0 % 10 >= 7).then(|| Malice::MESSAGES[stream.below(4) as usize]);
            Role { malice, ..Role::default() }
        })
        .demand("98 of 100 honest nodes are in session with an honest one", honest_company(98))
        .demand("tables hold half of what they can", demand::tables(50))
        .always("no honest node bans another", demand::no_honest_faults())
        .always("no honest node accuses another of a fault", demand::no_honest_accusations())
        .figure("sessions of an honest node with honest ones", |run| {
            run.mean(|_, node| run.peers(node).filter(|peer| run.is_honest(*peer)).count())
        })
        .figure("honest nodes without an honest peer", |run| {
            run.honest().filter(|(_, node)| run.peers(node).all(|peer| !run.is_honest(peer))).count() as f64
        })
        .figure("sessions of an honest node with hostile ones", |run| {
            run.mean(|_, node| run.peers(node).filter(|peer| !run.is_honest(*peer)).count())
        })
        .figure("honest sessions kept since healing, %", Run::sessions_kept_percent)
        .figure("hostile nodes banned by an honest node", |run| {
            run.mean(|_, node| node.peers().bans().iter(run.world.now()).count())
        })
}

/// So many percent of the honest nodes, rounded, are in session with another. Not all of a large network: a hostile node that is
/// silent cannot be recognised, and some nodes find no other in both of their dials.
fn honest_company(percent: usize) -> impl Fn(&Run) -> Result<(), Unmet> + Send + Sync {
    move |run| {
        let is_alone = |node: &Node| run.peers(node).all(|peer| !run.is_honest(peer));
        let mut alone = run.honest().filter(|(_, node)| is_alone(node)).map(|(host, _)| host);
        let Some(first) = alone.next() else { return Ok(()) };
        let (count, nodes) = (1 + alone.count(), run.honest().count());
        if nodes - count >= demand::share(nodes, percent) {
            return Ok(());
        }
        Err(Unmet::of(first, format!("{count} of {nodes} are not, the first of them host {}", first.0)))
    }
}

/// Three of four hosts are of [`HOME`], and one of another network: all share the discovery network, and no session.
fn foreign() -> Scenario {
    Scenario::new("foreign", "three of four nodes are of another network")
        .size(200, secs(600))
        .small(20, secs(800))
        .settles_in(SETTLES_IN)
        .cast(|_: &Plan, host, _| Role {
            network: if host.0.is_multiple_of(4) { HOME } else { HOME + 1 },
            ..Role::default()
        })
        .always("no node is in session with another network", |run| {
            for (host, node) in run.honest() {
                if let Some(peer) = run.peers(node).find(|peer| run.role(*peer).network != run.role(host).network) {
                    return Err(Unmet::of(host, format!("hosts {} and {} are", host.0, peer.0)));
                }
            }
            Ok(())
        })
        .always("no honest node bans another", demand::no_honest_faults())
        .demand("every node has a session", demand::sessions(1))
        .demand("half of the nodes have all the peers that they look for", demand::fully_peered(50))
        .figure("sessions at home", |run| mean_of(run, |host| run.role(host).network == HOME))
        .figure("sessions abroad", |run| mean_of(run, |host| run.role(host).network != HOME))
}
