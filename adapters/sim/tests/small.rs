//! Small worlds: nodes discover each other, and the run is a function of the seed.

use std::time::Duration;

use peerless::contract::Tap;
use peerless::node::Node;
use peerless::time::Instant;
use peerless_sim::crypto::Mode;
use peerless_sim::{HostId, HostSpec, Links, Nat, Quality, Settings, Violation, Watch, World, scenery};

fn world(settings: Settings, hosts: u32) -> World<Node> {
    let mut world = World::new(settings, scenery::discovery_only(2));
    for host in 0..hosts {
        let starts_in = Some(Duration::from_millis(u64::from(host) * 37));
        world.add_host(HostSpec { starts_in, ..HostSpec::default() });
    }
    world
}

#[test]
fn fifty_nodes_fill_their_tables() {
    let mut world = world(Settings { seed: 1, crypto: Mode::SimMac, ..Settings::default() }, 50);
    world.run_for(Duration::from_secs(120)).unwrap();
    for (host, node) in world.machines() {
        let known = node.discovery().discv4().unwrap().table().len();
        assert!(known >= 40, "host {} knows {known}", host.0);
    }
    assert_eq!(world.totals().starts, 50);
}

/// Trace hash and schedule hash.
fn run(seed: u64, crypto: Mode, threads: usize, quality: Quality) -> (u64, u64, u64) {
    let links = Links { quality, ..Links::default() };
    let mut world = world(Settings { seed, crypto, threads, links, ..Settings::default() }, 30);
    assert_eq!(world.threads(), threads);
    world.run_for(Duration::from_secs(60)).unwrap();
    (world.trace_hash(), world.schedule_hash(), world.events())
}

#[test]
fn a_run_is_a_function_of_the_seed() {
    let first = run(7, Mode::SimMac, 1, Quality::lossy());
    assert_eq!(run(7, Mode::SimMac, 1, Quality::lossy()), first);
    assert_eq!(run(7, Mode::SimMac, 2, Quality::lossy()), first, "on two threads");
    let other = run(8, Mode::SimMac, 1, Quality::lossy());
    assert!(other.0 != first.0 && other.1 != first.1);
}

#[test]
fn the_schedule_does_not_depend_on_the_primitives() {
    let real = run(7, Mode::Real, 2, Quality::lossy());
    assert_eq!(run(7, Mode::Memo, 2, Quality::lossy()), real, "memo: byte for byte");
    let simmac = run(7, Mode::SimMac, 2, Quality::lossy());
    assert_eq!((simmac.1, simmac.2), (real.1, real.2), "simmac: at the same times");
    assert_ne!(simmac.0, real.0);
}

/// Violates an invariant, or panics, at the first step of one host in three after half a minute.
struct Fuse {
    panics: bool,
}

impl Tap for Fuse {}

impl Watch<Node> for Fuse {
    fn stepped(&mut self, now: Instant, host: HostId, _: &Node) -> Result<(), String> {
        if now < Instant::ZERO + Duration::from_secs(30) || !host.0.is_multiple_of(3) {
            return Ok(());
        }
        assert!(!self.panics, "blown");
        Err(String::from("blown"))
    }
}

fn blow(threads: usize, panics: bool) -> Result<(), Violation> {
    let settings = Settings { seed: 7, crypto: Mode::SimMac, threads, ..Settings::default() };
    let mut world: World<Node, Fuse> = World::new(settings, scenery::discovery_only(2));
    for host in 0..30 {
        let starts_in = Some(Duration::from_millis(host * 37));
        world.add_host(HostSpec {
            region: None,
            nat: Nat::None,
            clock_skew_secs: 0,
            starts_in,
            churn: None,
            watch: Fuse { panics },
        });
    }
    world.run_for(Duration::from_secs(60))
}

#[test]
fn the_first_violation_is_found_on_any_number_of_threads() {
    let first = blow(1, false).unwrap_err();
    assert_eq!(blow(2, false).unwrap_err(), first);
    assert_eq!(blow(3, false).unwrap_err(), first);
}

#[test]
#[should_panic = "thread"]
fn a_panic_ends_all_threads() {
    _ = blow(2, true);
}
