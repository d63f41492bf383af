//! Floods of a host: their datagrams arrive evenly, cost time, and are the same on any number of threads.

mod common;

use std::time::Duration;

use common::{Got, Script};
use peerless::crypto::NodeId;
use peerless::time::Instant;
use peerless_sim::crypto::{Costs, Mode};
use peerless_sim::{Flood, Forgery, HostId, HostSpec, Settings, Sources, World, scenery};

const VICTIM: HostId = HostId(3);

fn flood(rate: u32, kind: Forgery) -> Flood {
    Flood { rate, sources: Sources::Random, kind, to: NodeId([5; 32]), is_signed: false, until: None }
}

#[test]
fn a_machine_gets_each_datagram_at_its_time_until_the_flood_ends() {
    let mut world = World::new(Settings { seed: 3, ..Settings::default() }, Script::maker);
    let host = world.add_host(HostSpec { starts_in: Some(Duration::ZERO), ..HostSpec::default() });
    world.run_for(Duration::from_secs(1)).unwrap();
    let until = Some(Instant::from_micros(2_000_000));
    world.flood(host, Some(Flood { until, ..flood(1000, Forgery::Mixed) }));
    world.run_for(Duration::from_secs(5)).unwrap();
    let times = |world: &World<Script>| -> Vec<u64> {
        let got = &world.machine(host).unwrap().got;
        let datagrams = got.iter().filter(|(_, got)| matches!(got, Got::Datagram(..)));
        datagrams.map(|(at, _)| at.as_micros()).collect()
    };
    assert!(times(&world).into_iter().eq((0..1000).map(|n| 1_000_000 + n * 1000)));
    // One flood replaces another, and none ends it.
    world.flood(host, Some(flood(1000, Forgery::Ping)));
    world.flood(host, Some(flood(10, Forgery::Ping)));
    world.run_for(Duration::from_millis(950)).unwrap();
    world.flood(host, None);
    world.run_for(Duration::from_secs(5)).unwrap();
    assert_eq!(times(&world).len(), 1010);
}

#[test]
fn a_flood_is_the_same_on_any_number_of_threads_and_takes_the_victims_time() {
    let run = |threads, cpu: Option<Costs>| {
        let settings = Settings { seed: 4, crypto: Mode::SimMac, cpu, threads, ..Settings::default() };
        let mut world = World::<peerless::node::Node>::new(settings, scenery::discovery_only(1));
        for host in 0..12 {
            world.add_host(HostSpec { starts_in: Some(Duration::from_millis(host * 37)), ..HostSpec::default() });
        }
        world.run_for(Duration::from_secs(30)).unwrap();
        world.flood(VICTIM, Some(flood(5000, Forgery::Ping)));
        world.run_for(Duration::from_secs(5)).unwrap();
        (world.trace_hash(), world.events(), world.host_totals(VICTIM))
    };
    assert_eq!(run(1, None), run(2, None));
    let (usual, slow) = (run(1, Some(Costs::SERVER)), run(2, Some(Costs::SERVER.times(100))));
    assert_eq!(slow, run(1, Some(Costs::SERVER.times(100))));
    let busy = |totals: peerless_sim::Totals| totals.busy_ns as f64 / 1e9;
    assert!(usual.2.datagrams_delivered > 25_000 && usual.2.datagrams_overrun == 0, "{:?}", usual.2);
    // 25,000 inputs and their hashes, and one check in two or three of them.
    assert!((0.06..1.2).contains(&busy(usual.2)), "{}", busy(usual.2));
    assert!(busy(slow.2) > 4.0 && slow.2.datagrams_overrun > 5000, "{:?}", slow.2);
}
