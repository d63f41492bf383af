//! Two nodes behind taps on a network in memory: the same bytes in every run.
#![allow(dead_code, unreachable_pub, reason = "every test uses its own part")]

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use peerless::contract::{Command, ConnId, Event, Input, Machine, SocketId, Tap, Tapped, Via};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::discv4;
use peerless::eth::Chain;
use peerless::node::{Config, Node};
pub use peerless::testing::Host;
use peerless::testing::Net;
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use peerless::wire::p2p::{Capability, DisconnectReason};
use peerless_trace::record::{Options, Recorder, Subject};

/// The monotonic and the wall time at which every network starts.
pub const START: Instant = Instant::from_micros(1_000_000);
pub const UNIX: UnixTime = peerless::testing::START;

/// The bytes that a recorder writes, for inspection.
#[derive(Clone, Default)]
pub struct Bytes(Arc<Mutex<Vec<u8>>>);

impl Bytes {
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Write for Bytes {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub fn secret(number: u8) -> SecretKey {
    SecretKey::from_bytes([number; 32]).unwrap()
}

pub fn seed(number: u8) -> [u8; 32] {
    [0xe0 | number; 32]
}

pub fn ip(number: u8) -> std::net::IpAddr {
    // Two families, and an unknown address.
    if number >= 8 { [0x2a00, 1, 0, 0, 0, 0, 0, u16::from(number)].into() } else { [8, 1, number, 1].into() }
}

pub fn contact(number: u8) -> Contact {
    Contact::new(Secp256k1::new().public_key(&secret(number)), ip(number), 30303, 30303)
}

pub fn config(number: u8, bootnode: Option<Contact>) -> Config {
    let schedule = ForkSchedule::new([7; 32], 0, &[5], &[1_800_000_000]);
    let network = Network { name: "test".to_owned(), network_id: 1337, schedule };
    let mut config = Config::new(secret(number), Chain::new(network, Head::default(), 0, [0x55; 32]));
    config.addresses.set_ip(ip(number));
    let mut settings = discv4::Config::default();
    settings.bootnodes = bootnode.into_iter().collect();
    config.discovery.discv4 = Some(settings);
    config
}

pub fn recorder(config: &Config, number: u8, options: Options) -> (Recorder, Bytes) {
    let bytes = Bytes::default();
    let crypto = Secp256k1::new();
    let seed = seed(number);
    let subject = Subject::new(config, &seed, START, UNIX, &crypto);
    let recorder = Recorder::to_writer(Box::new(bytes.clone()), &subject, options, Box::new(|error| panic!("{error}")));
    (recorder, bytes)
}

/// A network of nodes behind taps.
pub type World = Net<Tapped<Node, Box<dyn Tap>>>;

/// A network on which every delay is one millisecond.
pub fn world() -> World {
    let mut world = World::new(1);
    world.link.delay = (Duration::from_millis(1), Duration::from_millis(1));
    world
}

/// Adds the node of a number and a configuration.
pub fn add(world: &mut World, config: Config, number: u8, tap: Box<dyn Tap>) -> Host {
    let addr = SocketAddr::new(ip(number), config.addresses.udp);
    world.add(addr, |start| {
        assert_eq!((start.now, start.unix), (START, UNIX), "recorders are told so");
        Tapped::new(Node::new(config, seed(number), start.now, start.unix).unwrap(), tap, start.now)
    })
}

/// Lets milliseconds pass.
pub fn run(world: &mut World, milliseconds: u64) {
    world.run_for(Duration::from_millis(milliseconds));
}

/// The first established connection of a host.
pub fn established(world: &World, host: Host) -> ConnId {
    let conn = world.find(host, |event| match event {
        Event::Established { conn, .. } => Some(*conn),
        _ => None,
    });
    conn.expect("a session")
}

/// Answers the requests among a host's events from number `from` on. Returns the number of its events.
pub fn respond(world: &mut World, host: Host, from: usize, body: &[u8]) -> usize {
    let events = &world.events(host)[from..];
    let requests = events.iter().filter_map(|(_, event)| match event {
        Event::Request { conn, capability, request_id, id, .. } => Some((*conn, *capability, *request_id, *id)),
        _ => None,
    });
    for (conn, capability, request_id, id) in requests.collect::<Vec<_>>() {
        world.command(host, Command::Respond { conn, capability, request_id, id, body }).unwrap();
    }
    world.events(host).len()
}

/// Two nodes dial, exchange messages, receive bytes from a third party, and disconnect. Returns the trace of each.
pub fn meeting(options: Options) -> [Vec<u8>; 2] {
    meeting_of([1, 2], options)
}

/// As [`meeting`], of nodes with these numbers.
pub fn meeting_of(numbers: [u8; 2], options: Options) -> [Vec<u8>; 2] {
    let mut world = world();
    let configs = [config(numbers[0], None), config(numbers[1], Some(contact(numbers[0])))];
    let [(one, bytes_of_one), (two, bytes_of_two)] = [0, 1].map(|i| {
        let (recorder, bytes) = recorder(&configs[i], numbers[i], options);
        (add(&mut world, configs[i].clone(), numbers[i], Box::new(recorder)), bytes)
    });
    for host in [one, two] {
        world.input(host, Input::WallClock { unix: UNIX });
    }
    run(&mut world, 30);
    let stranger = "8.8.4.4:9".parse().unwrap();
    // Two inputs before one drain.
    world.with(one, |node, now| {
        let socket = SocketId::MAIN;
        node.handle(now, Input::Datagram { socket, from: stranger, bytes: b"what is this" });
        node.handle(now, Input::Datagram { socket, from: stranger, bytes: &[] });
    });
    // No socket listens there.
    world.command(one, Command::Dial { contact: contact(5) }).unwrap();
    world.command(two, Command::Ping { via: Via::Discv4, contact: contact(numbers[0]) }).unwrap();
    world.command(two, Command::Dial { contact: contact(numbers[0]) }).unwrap();
    world.command(two, Command::Dial { contact: contact(numbers[1]) }).expect_err("that is itself");
    let garbage = world.connect_raw(one, stranger).expect("a slot for a stranger");
    world.input(one, Input::Bytes { conn: garbage.conn, bytes: &[0x16; 300] });
    assert!(world.connect_raw(one, "8.8.4.4:10".parse().unwrap()).is_none(), "so soon again");
    world.input(one, Input::Eof { conn: ConnId(999) });
    run(&mut world, 300);
    let conn = established(&world, two);
    let capability = Capability::eth(69);
    let payload = [&[0xf9, 0x20, 0x03, 0xb9, 0x20, 0x00][..], &[0; 0x2000]].concat();
    world.command(two, Command::Send { conn, capability, id: 2, payload: &payload }).unwrap();
    world.command(two, Command::Request { conn, capability, id: 3, body: &[0xc2, 0x01, 0x02] }).unwrap();
    let head = Head { number: 100, time: 1_750_000_001, hash: [4; 32] };
    world.command(one, Command::SetHead { head, earliest: 1 }).unwrap();
    run(&mut world, 60);
    respond(&mut world, one, 0, &[0xc0]);
    world.input(one, Input::WallClock { unix: UnixTime::from_secs(1_750_000_100) });
    let messages = world.events(one).iter().filter(|(_, event)| matches!(event, Event::Message { .. }));
    assert_eq!(messages.count(), 1);
    run(&mut world, 1500);
    assert!(world.saw(two, |event| matches!(event, Event::Response { .. })));
    let conn = established(&world, one);
    world.command(one, Command::Disconnect { conn, reason: DisconnectReason::TooManyPeers }).unwrap();
    run(&mut world, 20);
    world.command(two, Command::Shutdown).unwrap();
    run(&mut world, 20);
    for host in [one, two] {
        assert!(world.saw(host, |event| matches!(event, Event::Ended { .. })));
    }
    drop(world);
    [bytes_of_one.take(), bytes_of_two.take()]
}
