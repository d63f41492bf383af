//! Scenarios of single attacks.

use peerless::time::Duration;

use super::demand::{self, charged, moved};
use super::{Faults, Malice, Role, Scenario, faults};
use crate::HostId;
use crate::network::{Effect, Fault, Hosts, Tamper};
use crate::world::Crash;

/// The node for which relays pose as others.
const VICTIM: HostId = HostId(3);
/// A relayed node that restarts.
const RESTARTS: HostId = HostId(4);

/// The last third of the hosts are relays, each between host 3 and another one.
pub(super) fn relay() -> Scenario {
    Scenario::new("relay", "a third of the hosts forward packets of nodes from their own addresses")
        .size(108, Duration::from_secs(3600))
        .small(15, Duration::from_secs(600))
        .peers(0)
        .settles_in(Duration::from_secs(240))
        .faults(Faults::None)
        .kinds(&[faults::Kind::Loss, faults::Kind::Duplication, faults::Kind::Reordering, faults::Kind::Delay])
        .cast(|plan, host, _| {
            let relays = plan.nodes / 3;
            let number = host.0.checked_sub(plan.nodes - relays);
            let relayed = number.map(|number| HostId(RESTARTS.0 + number)).filter(|host| host.0 < plan.nodes - relays);
            Role { malice: relayed.map(|relayed| Malice::Relay([VICTIM, relayed])), ..Role::default() }
        })
        .at(60, |run| run.world.crash(RESTARTS, Crash::Process))
        .at(65, |run| run.world.start(RESTARTS))
        .demand("tables hold half of what they can", demand::tables(50))
        .demand("no entry is at another address", demand::no_moved_entries())
        .always("no honest node bans another", demand::no_honest_faults())
        .figure("entries at another address", |run| {
            run.honest().map(|(_, node)| moved(run, node)).sum::<usize>() as f64
        })
        .figure("such entries of the relays' victim", |run| {
            run.honest().find(|(host, _)| *host == VICTIM).map_or(0.0, |(_, node)| moved(run, node) as f64)
        })
}

/// The part of segments that the man in the middle changes in each of four ways, in millionths: most handshakes fail.
const TAMPERED: u32 = 50_000;

/// Tells these draws of hosts from others.
const SALT: u64 = 0x9d3c_55b1_6d69_6464;

/// A man in the middle of the links of every second host, until all faults end.
pub(super) fn middle() -> Scenario {
    Scenario::new("middle", "a man in the middle flips bits, repeats, resets, cuts short and delays streams")
        .size(60, Duration::from_secs(3600))
        .small(14, Duration::from_secs(800))
        .settles_in(Duration::from_secs(560))
        .faults(Faults::None)
        .at(0, |run| {
            let (since, until) = (run.world.now(), run.heals_at);
            let tampers = Tamper::ALL.map(|how| Effect::Tamper(how, TAMPERED));
            for effect in tampers.into_iter().chain([Effect::Delay(Duration::from_millis(300))]) {
                let from = Hosts::Share { of: 2, salt: run.plan.seed ^ SALT };
                run.world.conditions_mut().add(Fault { since, until, from, to: Hosts::All, both_ways: true, effect });
            }
        })
        .always("no node is charged with a fault", demand::no_charges())
        .always("no honest node bans another", demand::no_honest_faults())
        .demand("every node has a session", demand::sessions(1))
        .demand("nine of ten nodes have all the peers that they look for", demand::fully_peered(90))
        .figure("segments changed", |run| run.world.totals().segments_tampered as f64)
        .figure("faults charged to honest nodes", |run| {
            run.honest().map(|(_, node)| charged(node)).sum::<usize>() as f64
        })
        .figure("honest nodes banned", |run| {
            run.honest().map(|(_, node)| node.peers().bans().iter(run.world.now()).count()).sum::<usize>() as f64
        })
}
