//! Two nodes on a link of one millisecond, in virtual time, each with a tap: the same bytes in every run.
#![allow(dead_code, unreachable_pub, reason = "every test uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use peerless::contract::{Action, Command, ConnId, Event, Input, IoFault, SocketId, Tap};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::discv4;
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use peerless::wire::p2p::{Capability, DisconnectReason};
use peerless_trace::record::{Options, Recorder, Subject};

pub const START: Instant = Instant::from_micros(250_000);
pub const UNIX: UnixTime = UnixTime::from_secs(1_750_000_000);

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
    let bootnodes = bootnode.into_iter().collect();
    config.discovery.discv4 = Some(discv4::Config { bootnodes, ..discv4::Config::default() });
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

enum Mail {
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    Incoming { from: SocketAddr, dialler: (usize, ConnId) },
    Connected { conn: ConnId },
    Bytes { conn: ConnId, bytes: Vec<u8> },
    Eof { conn: ConnId },
    Broken { conn: ConnId, why: IoFault },
}

pub struct Host {
    pub node: Node,
    tap: Box<dyn Tap>,
    addr: SocketAddr,
    /// The other end of each stream.
    links: BTreeMap<ConnId, (usize, ConnId)>,
    pub established: Vec<ConnId>,
    requests: Vec<(ConnId, u64, u64)>,
    pub messages: u64,
    pub ended: u64,
}

impl Host {
    pub fn new(config: Config, number: u8, tap: Box<dyn Tap>) -> Self {
        let addr = SocketAddr::new(ip(number), config.addresses.udp);
        let node = Node::new(config, seed(number), START, UNIX).unwrap();
        let (links, established, requests) = (BTreeMap::new(), Vec::new(), Vec::new());
        Self { node, tap, addr, links, established, requests, messages: 0, ended: 0 }
    }

    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        if let Input::Wrote { conn, n } = input {
            self.tap.wrote(now, conn, &self.node.outbound(conn)[..n]);
        }
        self.tap.input(now, &input);
        self.node.handle(now, input);
    }

    pub fn accept(&mut self, now: Instant, from: SocketAddr) -> Option<ConnId> {
        self.tap.input(now, &Input::Incoming { socket: SocketId::MAIN, from });
        let conn = self.node.accept(now, SocketId::MAIN, from);
        self.tap.accepted(now, conn);
        conn
    }

    pub fn command(&mut self, now: Instant, command: Command<'_>) -> bool {
        self.tap.input(now, &Input::Command(command));
        let answer = self.node.command(now, command);
        self.tap.commanded(now, answer);
        answer.is_ok()
    }
}

/// The pair of nodes; see the module.
pub struct World {
    pub now: Instant,
    pub hosts: Vec<Host>,
    mail: VecDeque<(Instant, usize, Mail)>,
    /// Bytes that a socket takes at once.
    pub write_bytes: usize,
    /// The body of every response.
    pub answer: Vec<u8>,
}

impl World {
    pub fn new(hosts: Vec<Host>) -> Self {
        Self { now: START, hosts, mail: VecDeque::new(), write_bytes: 700, answer: vec![0xc0] }
    }

    pub fn run(&mut self, milliseconds: u64) {
        for _ in 0..milliseconds {
            self.now = self.now + Duration::from_millis(1);
            self.tick();
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        while self.mail.front().is_some_and(|(at, ..)| *at <= now) {
            if let Some((_, host, mail)) = self.mail.pop_front() {
                self.deliver(host, mail);
            }
        }
        for host in 0..self.hosts.len() {
            if self.hosts[host].node.poll_timeout().is_some_and(|(at, _)| at <= now) {
                self.hosts[host].handle(now, Input::Timeout);
            }
            self.drain(host);
            for (conn, request_id, id) in std::mem::take(&mut self.hosts[host].requests) {
                self.hosts[host].command(
                    now,
                    Command::Respond { conn, capability: Capability::eth(69), request_id, id, body: &self.answer },
                );
            }
            self.drain(host);
        }
    }

    fn post(&mut self, host: usize, mail: Mail) {
        self.mail.push_back((self.now + Duration::from_millis(1), host, mail));
    }

    fn deliver(&mut self, host: usize, mail: Mail) {
        let now = self.now;
        let to = &mut self.hosts[host];
        match mail {
            Mail::Datagram { from, bytes } => {
                to.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes })
            }
            Mail::Incoming { from, dialler } => match to.accept(now, from) {
                Some(conn) => {
                    to.links.insert(conn, dialler);
                    self.hosts[dialler.0].links.insert(dialler.1, (host, conn));
                    self.post(dialler.0, Mail::Connected { conn: dialler.1 });
                }
                None => self.post(dialler.0, Mail::Broken { conn: dialler.1, why: IoFault::Reset }),
            },
            Mail::Connected { conn } => to.handle(now, Input::Connected { conn, local: None }),
            Mail::Bytes { conn, bytes } => to.handle(now, Input::Bytes { conn, bytes: &bytes }),
            Mail::Eof { conn } => to.handle(now, Input::Eof { conn }),
            Mail::Broken { conn, why } => to.handle(now, Input::Broken { conn, why }),
        }
        // Some inputs follow each other without a drain.
        if !now.as_micros().is_multiple_of(3000) {
            self.drain(host);
        }
    }

    pub fn drain(&mut self, host: usize) {
        let now = self.now;
        loop {
            let from = &mut self.hosts[host];
            let Some(action) = from.node.poll_action() else {
                from.tap.drained(now);
                return;
            };
            from.tap.action(now, &action);
            match action {
                Action::Send { to, bytes, .. } => {
                    let mail = Mail::Datagram { from: from.addr, bytes: bytes.to_vec() };
                    if let Some(to) = self.hosts.iter().position(|host| host.addr == to) {
                        self.post(to, mail);
                    }
                }
                Action::Dial { conn, to } => {
                    let from = SocketAddr::new(from.addr.ip(), 50_000 + conn.0 as u16);
                    match self.hosts.iter().position(|host| host.addr == to) {
                        Some(to) => self.post(to, Mail::Incoming { from, dialler: (host, conn) }),
                        None => self.post(host, Mail::Broken { conn, why: IoFault::Refused }),
                    }
                }
                Action::Flush { conn } => self.write(host, conn),
                Action::Close { conn } => {
                    if let Some((other, theirs)) = from.links.remove(&conn) {
                        self.post(other, Mail::Eof { conn: theirs });
                    }
                }
                Action::Emit(Event::Established { conn, .. }) => from.established.push(conn),
                Action::Emit(Event::Request { conn, request_id, id, .. }) => from.requests.push((conn, request_id, id)),
                Action::Emit(Event::Message { .. }) => from.messages += 1,
                Action::Emit(Event::Ended { .. }) => from.ended += 1,
                Action::Emit(_) | Action::Query { .. } => {}
            }
        }
    }

    fn write(&mut self, host: usize, conn: ConnId) {
        let Some((other, theirs)) = self.hosts[host].links.get(&conn).copied() else { return };
        loop {
            let bytes = self.hosts[host].node.outbound(conn);
            if bytes.is_empty() {
                return;
            }
            let bytes = bytes[..bytes.len().min(self.write_bytes)].to_vec();
            self.hosts[host].handle(self.now, Input::Wrote { conn, n: bytes.len() });
            self.post(other, Mail::Bytes { conn: theirs, bytes });
        }
    }
}

/// Two nodes dial, exchange messages, receive bytes from a third party, and disconnect. Returns the trace of each.
pub fn meeting(options: Options) -> [Vec<u8>; 2] {
    meeting_of([1, 2], options)
}

/// As [`meeting`], of nodes with these numbers.
pub fn meeting_of(numbers: [u8; 2], options: Options) -> [Vec<u8>; 2] {
    let configs = [config(numbers[0], None), config(numbers[1], Some(contact(numbers[0])))];
    let recorders = [0, 1].map(|i| recorder(&configs[i], numbers[i], options));
    let bytes = [0, 1].map(|i| recorders[i].1.clone());
    let mut hosts = Vec::new();
    for ((config, number), (recorder, _)) in configs.into_iter().zip(numbers).zip(recorders) {
        hosts.push(Host::new(config, number, Box::new(recorder)));
    }
    let mut world = World::new(hosts);
    for host in &mut world.hosts {
        host.handle(START, Input::WallClock { unix: UNIX });
    }
    world.run(30);
    let stranger = "8.8.4.4:9".parse().unwrap();
    let now = world.now;
    world.hosts[0].handle(now, Input::Datagram { socket: SocketId::MAIN, from: stranger, bytes: b"what is this" });
    world.hosts[0].handle(now, Input::Datagram { socket: SocketId::MAIN, from: stranger, bytes: &[] });
    // No socket listens there.
    assert!(world.hosts[0].command(now, Command::Dial { contact: contact(5) }));
    world.hosts[1].command(now, Command::Ping { contact: contact(numbers[0]) });
    assert!(world.hosts[1].command(now, Command::Dial { contact: contact(numbers[0]) }));
    assert!(!world.hosts[1].command(now, Command::Dial { contact: contact(numbers[1]) }), "that is itself");
    let garbage = world.hosts[0].accept(now, stranger).expect("a place for a stranger");
    world.drain(0);
    world.hosts[0].handle(now, Input::Bytes { conn: garbage, bytes: &[0x16; 300] });
    let again = "8.8.4.4:10".parse().unwrap();
    assert_eq!(world.hosts[0].accept(now, again), None, "so soon again");
    world.hosts[0].handle(now, Input::Eof { conn: ConnId(999) });
    world.run(300);
    let (now, conn) = (world.now, world.hosts[1].established[0]);
    let capability = Capability::eth(69);
    let payload = [&[0xb9, 0x20, 0x00][..], &[0; 0x2000]].concat();
    assert!(world.hosts[1].command(now, Command::Send { conn, capability, id: 2, payload: &payload }));
    assert!(
        world.hosts[1]
            .command(now, Command::Request { conn, capability: Capability::eth(69), id: 3, body: &[0xc2, 0x01, 0x02] })
    );
    let head = Head { number: 100, time: 1_750_000_001, hash: [4; 32] };
    assert!(world.hosts[0].command(now, Command::SetHead { head, earliest: 1 }));
    world.run(60);
    let now = world.now;
    world.hosts[0].handle(now, Input::WallClock { unix: UnixTime::from_secs(1_750_000_100) });
    assert_eq!(world.hosts[0].messages, 1);
    world.run(1500);
    let (now, conn) = (world.now, world.hosts[0].established[0]);
    world.hosts[0].command(now, Command::Disconnect { conn, reason: DisconnectReason::TooManyPeers });
    world.run(20);
    let now = world.now;
    world.hosts[1].command(now, Command::Shutdown);
    world.run(20);
    assert!(world.hosts.iter().all(|host| host.ended > 0));
    drop(world);
    bytes.map(|bytes| bytes.take())
}
