//! Work takes time: inputs wait meanwhile, and a run is still a function of its seed.

use std::time::Duration;

use peerless::contract::{Action, Command, Event, Tap, Via};
use peerless::limits::ENDPOINT_DATAGRAMS_BURST;
use peerless::node::Node;
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv4::{Endpoint, Packet};
use peerless_sim::crypto::{Costs, Mode};
use peerless_sim::scenario::{Plan, find};
use peerless_sim::world::SOCKET_BYTES;
use peerless_sim::{Addr, Crash, HostId, HostSpec, Settings, Totals, Watch, World, scenery};

const TARGET: HostId = HostId(0);
const FLOODER: HostId = HostId(1);
/// A host that pings the target while it is flooded.
const ASKER: HostId = HostId(2);
/// A processor a hundred times as slow as a server.
const SLOW: Costs = Costs::SERVER.times(100);

/// The times at which commanded pings were answered.
#[derive(Default)]
struct Pongs(Vec<Instant>);

impl Tap for Pongs {
    fn action(&mut self, now: Instant, action: &Action<'_>) {
        if let Action::Emit(Event::Pong { .. }) = action {
            self.0.push(now);
        }
    }
}

impl Watch<Node> for Pongs {}

fn world(cpu: Option<Costs>, crypto: Mode, threads: usize) -> World<Node, Pongs> {
    let settings = Settings { seed: 4, crypto, cpu, threads, ..Settings::default() };
    let mut world = World::new(settings, scenery::discovery_only(1));
    for host in 0..12 {
        let starts_in = Some(Duration::from_millis(host * 37));
        world.add_host(HostSpec { starts_in, ..HostSpec::default() });
    }
    world.run_for(Duration::from_secs(30)).unwrap();
    world
}

/// A number of pings at one instant, the first of which have to be verified.
fn flood(world: &mut World<Node, Pongs>, count: u64) {
    let (to, from) = (world.addr(TARGET), world.addr(FLOODER));
    let secret = scenery::secret(FLOODER);
    let crypto = world.crypto().clone();
    let unix = Settings::default().start.as_secs() + world.now().as_micros() / 1_000_000;
    for number in 0..count {
        let endpoint = |addr: Addr| Endpoint { ip: Some(addr.ip.into()), udp: addr.port, tcp: addr.port };
        let expiration = UnixTime::from_secs(unix + 20 + number);
        let ping = Packet::Ping { version: 4, from: endpoint(from), to: endpoint(to), expiration, enr_seq: Some(1) };
        let mut bytes = Vec::new();
        ping.seal(&*crypto, &secret, &mut bytes);
        world.send_datagram(FLOODER, to.into(), &bytes);
    }
}

/// Floods the target while another host pings it; returns the target's counts, and the time until the answer.
fn flooded(cpu: Option<Costs>, count: u64) -> (Totals, Duration) {
    let mut world = world(cpu, Mode::SimMac, 1);
    let before = world.host_totals(TARGET);
    flood(&mut world, count);
    let asked = world.now() + Duration::from_millis(100);
    world.run_until(asked).unwrap();
    let contact = peerless::wire::enode::Contact::new(
        world.crypto().public_key(&scenery::secret(TARGET)),
        world.addr(TARGET).ip.into(),
        world.addr(TARGET).port,
        0,
    );
    world.command(ASKER, Command::Ping { via: Via::Discv4, contact }).unwrap().unwrap();
    world.run_for(Duration::from_secs(30)).unwrap();
    let after = world.host_totals(TARGET);
    let totals = Totals {
        inputs_waited: after.inputs_waited - before.inputs_waited,
        waited_us: after.waited_us - before.waited_us,
        datagrams_overrun: after.datagrams_overrun - before.datagrams_overrun,
        datagrams_delivered: after.datagrams_delivered - before.datagrams_delivered,
        ..Totals::default()
    };
    let answered = world.watch(ASKER).0.first().expect("an answer");
    (totals, answered.since(asked))
}

#[test]
fn a_flood_waits_only_where_work_takes_time() {
    let (idle, quick) = flooded(None, 300);
    assert_eq!((idle.inputs_waited, idle.waited_us, idle.datagrams_overrun), (0, 0, 0));
    let (busy, slow) = flooded(Some(SLOW), 300);
    assert!(idle.datagrams_delivered > 300 && busy.datagrams_delivered > 300, "{idle:?} {busy:?}");
    assert!(busy.inputs_waited > 250 && busy.datagrams_overrun == 0, "{busy:?}");
    // Of the processed pings, the median one waits for half of the work.
    let work = Duration::from_nanos(SLOW.recover * u64::from(ENDPOINT_DATAGRAMS_BURST));
    let mean = Duration::from_micros(busy.waited_us / busy.inputs_waited);
    assert!(mean > work / 2, "{mean:?} on average, {work:?} of work");
    assert!(slow > quick + work / 2, "an answer took {quick:?}, and in the flood {slow:?}");
    // With little work, hardly any input waits.
    let (fast, _) = flooded(Some(Costs::SERVER), 300);
    assert!(fast.waited_us * 50 < busy.waited_us, "{fast:?}");
}

#[test]
fn an_answer_leaves_when_it_has_been_computed() {
    let slower = Costs::SERVER.times(500);
    let (_, quick) = flooded(None, 0);
    let (_, slow) = flooded(Some(slower), 0);
    // Both sides sign, and the answering side recovers; the jitter of a link is less than that.
    let work = Duration::from_nanos(2 * slower.sign + slower.recover);
    assert!(slow > quick + work * 3 / 4 && slow < quick + work * 3, "{quick:?}, and with {work:?} of work {slow:?}");
}

#[test]
fn a_socket_buffers_a_bounded_number_of_datagrams() {
    let mut world = world(Some(SLOW), Mode::SimMac, 1);
    let before = world.host_totals(TARGET);
    flood(&mut world, 4000);
    world.run_for(Duration::from_secs(60)).unwrap();
    let overrun = world.host_totals(TARGET).datagrams_overrun - before.datagrams_overrun;
    // A ping is larger than 100 bytes.
    assert!(overrun > 4000 - (SOCKET_BYTES as u64 / 100 + 1000), "{overrun} found no room");
    assert!(overrun < 4000 - SOCKET_BYTES as u64 / 200, "{overrun} found no room");
}

#[test]
fn a_crash_drops_the_waiting_inputs() {
    let mut world = world(Some(SLOW), Mode::SimMac, 1);
    for crash in [Crash::Process, Crash::Sleep, Crash::Power] {
        flood(&mut world, 200);
        world.run_for(Duration::from_millis(150)).unwrap();
        world.crash(TARGET, crash);
        world.run_for(Duration::from_secs(5)).unwrap();
        let before = world.host_totals(TARGET);
        world.start(TARGET);
        world.run_for(Duration::from_secs(60)).unwrap();
        let after = world.host_totals(TARGET);
        assert!(after.datagrams_delivered > before.datagrams_delivered + 20, "{crash:?}: it lives again");
        let late = after.waited_us - before.waited_us;
        assert!(late < 10_000_000, "{crash:?}: {late} us of waiting, of what had come before");
    }
}

#[test]
fn waiting_is_a_function_of_the_seed() {
    let run = |crypto, threads| {
        let mut world = world(Some(SLOW), crypto, threads);
        assert_eq!(world.threads(), threads);
        flood(&mut world, 100);
        world.run_for(Duration::from_secs(30)).unwrap();
        (world.trace_hash(), world.schedule_hash(), world.totals())
    };
    let one = run(Mode::SimMac, 1);
    assert_eq!(run(Mode::SimMac, 2), one, "on two threads");
    let real = run(Mode::Real, 2);
    assert_eq!((real.1, real.2), (one.1, one.2), "with the real primitives: at the same times");
    assert_eq!(run(Mode::Memo, 1), real, "byte for byte");
}

#[test]
fn demands_hold_on_slow_machines() {
    for name in ["mesh", "hostile"] {
        let scenario = find(name).unwrap();
        let plan = Plan { cpu: Some(20), ..scenario.small_plan(5) };
        let [mut one, mut two] = [1, 2].map(|threads| scenario.run(&Plan { threads, ..plan.clone() }).unwrap());
        (one.wall_s, two.wall_s) = (0.0, 0.0);
        assert_eq!(one, two, "{name}");
        assert!(one.passed(), "{one}");
        let cpu = one.cpu.unwrap();
        assert!(cpu.times == 20 && cpu.waited > 100 && cpu.wait_mean_ms > 0.0 && cpu.busy_percent > 0.1, "{cpu:?}");
        assert!(one.command.contains(" --cpu 20 ") && one.to_string().contains("20 times a server's"), "{one}");
        assert_ne!(scenario.run(&scenario.small_plan(5)).unwrap().trace_hash, one.trace_hash, "it makes a difference");
    }
}
