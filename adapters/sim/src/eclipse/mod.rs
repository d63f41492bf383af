//! One real node among scripted ones, of which some are hostile: who gets its places, its table and its book?
//!
//! | | nodes |
//! |---|---|
//! | real | one [`Node`](peerless::node::Node) with 50 places, 16 of them for peers that it dials: discv4, RLPx, eth, peers, all of it |
//! | scripted | honest nodes, which answer discv4 from a fixed set of nodes that they know; hostile nodes; callers |
//!
//! Scripted nodes have keys, addresses and records, and complete the handshake, Hello and Status, by core's own
//! [`Connection`](peerless::node::connection::Connection). An honest one has room or refuses the real node with
//! `TooManyPeers`, and leaves after a while. A hostile one always has room, stays, and answers a FindNode with hostile
//! nodes only; apart from that it behaves perfectly. Links lose nothing, and a round trip takes 20 to 200 ms. So figures of
//! a run are those of the real node's choices, not of a whole network of such nodes.
//!
//! A run has a time of peace and then one of attack. At the end of it the real node restarts twice: with what it has
//! persisted, and with nothing but its bootnodes, which are honest.
//!
//! ```
//! use std::time::Duration;
//! use peerless_sim::eclipse::{Plan, run};
//!
//! let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
//! let plan = Plan { honest: 60, known: 30, subnets: 2, peace: minutes(5), time: minutes(10), ..Plan::default() };
//! let report = run(&Plan { restart: minutes(2), ..plan }, |_| ());
//! assert!(report.shares.outbound > 10, "{report}");
//! ```

mod callers;
mod cast;
mod ground;
mod plan;
mod report;
mod room;
mod script;
mod sessions;
mod world;

use std::time::Instant as Clock;

use peerless::contract::Snapshot;
use peerless::time::{Duration, Instant};

pub use self::callers::CallFigures;
pub use self::plan::{Calls, Origin, Plan, RoomDrawn, Silent, UnknownChoice};
pub use self::report::{Report, Sample, Shares};

use self::cast::Cast;
use self::world::{Birth, World};

/// Samples of the time of peace and attack.
const SAMPLES: u32 = 144;
/// The time for which the real node is down when it restarts.
const DOWN: Duration = Duration::from_secs(10);

/// Runs a plan. `progress` is told the virtual time now and then, in the two restarts as well.
pub fn run(plan: &Plan, progress: impl Fn(Instant)) -> Report {
    let began = Clock::now();
    let cast = Cast::new(plan);
    let attack = Instant::ZERO + plan.peace;
    let end = attack + plan.time;
    let mut report = Report::new(plan);
    let birth = Birth { number: 0, at: Instant::ZERO, attack, snapshot: Snapshot::default() };
    let mut world = World::new(plan, &cast, birth);
    for sample in 1..=SAMPLES {
        let at = Instant::ZERO + (plan.peace + plan.time) * sample / SAMPLES;
        world.run_until(at);
        report
            .series
            .push(Sample { t_s: at.since(Instant::ZERO).as_secs_f64(), shares: Shares::of(world.node(), &cast) });
        progress(at);
    }
    report.shares = Shares::of(world.node(), &cast);
    report.calls = plan.calls.is_some().then(|| call_figures(plan, &report.series, world.callers.figures(attack, end)));
    let mut hash = world.trace.bytes;
    report.events = world.events;
    if !plan.restart.is_zero() {
        let mut restart = |number, snapshot| {
            let birth = Birth { number, at: end + DOWN, attack, snapshot };
            let mut world = World::new(plan, &cast, birth);
            world.run_until(end + DOWN + plan.restart);
            progress(end + DOWN + plan.restart);
            hash = hash.word(world.trace.bytes.finish());
            report.events += world.events;
            Some(Shares::of(world.node(), &cast))
        };
        let snapshot = world.node().snapshot();
        report.restarted = restart(1, snapshot);
        report.restarted_bare = restart(2, Snapshot::default());
    }
    report.trace_hash = format!("{:016x}", hash.finish());
    report.wall_s = began.elapsed().as_secs_f64();
    report
}

/// Completes the figures of callers by the average of places over the second half of the attack.
fn call_figures(plan: &Plan, series: &[Sample], figures: CallFigures) -> CallFigures {
    let half = (plan.peace + plan.time / 2).as_secs_f64();
    let late: Vec<&Shares> = series.iter().filter(|sample| sample.t_s >= half).map(|sample| &sample.shares).collect();
    let mean = |of: fn(&Shares) -> u32| {
        late.iter().map(|shares| f64::from(of(shares))).sum::<f64>() / (late.len().max(1) as f64)
    };
    CallFigures {
        honest_in_place: mean(|shares| shares.inbound - shares.hostile_inbound),
        hostile_in_place: mean(|shares| shares.hostile_inbound),
        ..figures
    }
}
