//! The simulated network against the kernel's: the same fifty nodes on loopback, with real sockets and a real clock, and in
//! virtual time. A lookup must cost the same number of packets in both.

use std::time::{Duration, Instant};

use peerless::contract::{Command, Event};
use peerless::crypto::{Crypto, Secp256k1};
use peerless::node::{Config, Node};
use peerless::wire::enode::Contact;
use peerless_mio::{Driver, Listen, Sockets};
use peerless_sim::crypto::Mode;
use peerless_sim::{Addresses, HostId, HostSpec, Links, Quality, Regions, Settings, World, scenery};

const NODES: u32 = 50;
const LOOKUPS: u64 = 40;
/// Until tables are full, and the lookups of the nodes' youth are over.
const WARM_UP: Duration = Duration::from_secs(15);
/// With real sockets, a lookup counts for nothing in which the machine had no time for the test for this long: then nodes
/// may have taken each other for dead. The shortest of their deadlines is five times as long.
const STALL: Duration = Duration::from_millis(100);
/// Lookups tried for those that count, and the longest wait for anything.
const ATTEMPTS: u64 = 3 * LOOKUPS;
const PATIENCE: Duration = Duration::from_secs(120);

/// Datagrams that a node has seen go out and come in.
fn datagrams(node: &Node) -> u64 {
    node.stats().datagrams_out.count + node.stats().datagrams_in.count
}

/// The configuration of the nodes: no sessions, one bootnode, and hardly any traffic once they know each other, so that the
/// counted packets are those of a lookup.
fn configure(config: &mut Config) {
    config.peers.max_peers = 0;
    config.peers.dial_ratio = 0;
    if let Some(discovery) = &mut config.discovery.discv4 {
        discovery.schedule.fast_check_interval_max = Duration::from_secs(3600);
        discovery.schedule.slow_check_interval_max = Duration::from_secs(3600);
        discovery.schedule.young_age = Duration::from_secs(12);
        discovery.schedule.young_interval = (Duration::from_secs(1), Duration::from_secs(2));
    }
}

fn target(number: u64) -> [u8; 64] {
    let mut target = [0x5a; 64];
    target[..8].copy_from_slice(&number.to_be_bytes());
    target
}

/// The median. The mean also depends on the tables with which lookups begin: a node that the asker's table does not hold is
/// pinged as well, and on a busy machine, whose nodes took each other for dead as they warmed up, there are more of them.
fn median(mut costs: Vec<u64>) -> f64 {
    costs.sort_unstable();
    costs[costs.len() / 2] as f64
}

/// Packets and queries of a lookup, with real sockets.
fn real() -> (f64, f64) {
    let sockets: Vec<Sockets> =
        (0..NODES).map(|_| Sockets::bind(&Listen::at("127.0.0.1:0".parse().unwrap())).unwrap()).collect();
    let contacts: Vec<Contact> = (0..NODES)
        .zip(&sockets)
        .map(|(host, sockets)| {
            let key = Secp256k1::new().public_key(&scenery::secret(HostId(host)));
            let (udp, tcp) = (sockets.udp_addr().unwrap(), sockets.tcp_addr().unwrap());
            Contact::new(key, udp.ip(), udp.port(), tcp.port())
        })
        .collect();
    let mut drivers: Vec<Driver> = (0..NODES)
        .zip(sockets)
        .map(|(host, sockets)| {
            let contact = &contacts[host as usize];
            let mut config = Config::new(scenery::secret(HostId(host)), scenery::chain(1337));
            configure(&mut config);
            config.addresses.set_ip(contact.ip());
            (config.addresses.udp, config.addresses.tcp) = (contact.udp(), contact.tcp());
            config.filter = "127.0.0.0/8".parse().unwrap();
            if let (true, Some(discovery)) = (host > 0, &mut config.discovery.discv4) {
                discovery.bootnodes = vec![contacts[0]];
            }
            let mut seed = [7; 32];
            seed[0] = host as u8;
            Driver::new(sockets, |now, unix| Node::new(config, seed, now, unix)).unwrap()
        })
        .collect();
    // Turns all of them until `enough` says so or the time is over: nodes that lookups asked, for each that ended, and the
    // longest time between two turns.
    let turn_all = |drivers: &mut Vec<Driver>, time: Duration, enough: &dyn Fn(&[u32]) -> bool| {
        let (began, mut turned, mut stall) = (Instant::now(), Instant::now(), Duration::ZERO);
        let mut ended = Vec::new();
        while began.elapsed() < time && !enough(&ended) {
            for driver in drivers.iter_mut() {
                let events = driver.turn(Some(Duration::ZERO), |event| {
                    if let Event::Nodes { queries, .. } = event {
                        ended.push(queries);
                    }
                });
                events.unwrap();
            }
            stall = stall.max(turned.elapsed());
            turned = Instant::now();
            std::thread::sleep(Duration::from_micros(500));
        }
        (ended, stall)
    };
    turn_all(&mut drivers, WARM_UP, &|_| false);
    // However slow the machine is: until a second passes in which nothing does.
    let (began, mut passed) = (Instant::now(), 0);
    while began.elapsed() < PATIENCE {
        let before = std::mem::replace(&mut passed, drivers.iter().map(|driver| datagrams(driver.node())).sum::<u64>());
        if before == passed {
            break;
        }
        turn_all(&mut drivers, Duration::from_secs(1), &|_| false);
    }
    let (mut packets, mut queries) = (Vec::new(), Vec::new());
    for number in 0..ATTEMPTS {
        let asker = 1 + (number % u64::from(NODES - 1)) as usize;
        let before = datagrams(drivers[asker].node());
        drivers[asker].command(Command::Lookup { target: target(number) }).unwrap();
        let (ended, stall) = turn_all(&mut drivers, PATIENCE, &|ended| !ended.is_empty());
        assert_eq!(ended.len(), 1, "a lookup ends");
        if stall < STALL {
            packets.push(datagrams(drivers[asker].node()) - before);
            queries.push(u64::from(ended[0]));
        } else {
            // What it left open ends before the next one.
            turn_all(&mut drivers, Duration::from_secs(2), &|_| false);
        }
        if packets.len() as u64 == LOOKUPS {
            break;
        }
    }
    let counted = packets.len() as u64;
    assert!(counted >= LOOKUPS / 4, "{counted} lookups without a stall: this machine is too busy to tell");
    (median(packets), median(queries))
}

/// The same in virtual time.
fn simulated() -> (f64, f64) {
    let links = Links { regions: Regions::single(Duration::from_micros(400)), quality: Quality::default() };
    let settings = Settings {
        seed: 1,
        crypto: Mode::SimMac,
        links,
        addresses: Addresses { per_subnet: 1 },
        hosts_expected: NODES as usize,
        ..Settings::default()
    };
    let chain = scenery::chain(1337);
    let mut world: World<Node, Queries> = World::new(settings, move |birth| {
        let mut config = scenery::config(birth, chain.clone());
        configure(&mut config);
        scenery::set_bootnodes(birth, &mut config, 0..1);
        scenery::node(birth, config)
    });
    for _ in 0..NODES {
        world.add_host(HostSpec { starts_in: Some(Duration::ZERO), ..HostSpec::default() });
    }
    world.run_for(WARM_UP).unwrap();
    let (mut packets, mut queries) = (Vec::new(), Vec::new());
    for number in 0..LOOKUPS {
        let asker = HostId(1 + (number % u64::from(NODES - 1)) as u32);
        let before = datagrams(world.machine(asker).unwrap());
        world.watch_mut(asker).0 = None;
        world.command(asker, Command::Lookup { target: target(number) }).unwrap().unwrap();
        let deadline = world.now() + Duration::from_secs(10);
        while world.watch(asker).0.is_none() {
            assert!(world.now() < deadline, "a lookup ends");
            world.run_for(Duration::from_micros(500)).unwrap();
        }
        packets.push(datagrams(world.machine(asker).unwrap()) - before);
        queries.push(u64::from(world.watch(asker).0.unwrap_or(0)));
    }
    (median(packets), median(queries))
}

/// Remembers how many nodes the last lookup asked.
#[derive(Default)]
struct Queries(Option<u32>);

impl peerless::contract::Tap for Queries {
    fn action(&mut self, _now: peerless::time::Instant, action: &peerless::contract::Action<'_>) {
        if let peerless::contract::Action::Emit(Event::Nodes { queries, .. }) = action {
            self.0 = Some(*queries);
        }
    }
}

impl peerless_sim::Watch<Node> for Queries {}

#[test]
fn a_lookup_costs_the_same_on_sockets_and_simulated() {
    let (simulated, real) = (simulated(), real());
    println!("packets and queries a lookup: simulated {simulated:?}, real {real:?}");
    assert!((simulated.0 / real.0 - 1.0).abs() < 0.1, "packets a lookup: simulated {simulated:?}, real {real:?}");
    assert!((simulated.1 / real.1 - 1.0).abs() < 0.1, "queries a lookup: simulated {simulated:?}, real {real:?}");
}
