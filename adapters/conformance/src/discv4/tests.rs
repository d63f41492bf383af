//! The cases against our own node in virtual time and over sockets, and against nodes that are wrong.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use peerless::contract::{Action, Input, SocketId};
use peerless::crypto::{Crypto, Digest, Secp256k1, SecretKey};
use peerless::node::{Config, Node};
use peerless::testing::{Host, Net, config};
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv4::{Datagram, Endpoint, Neighbor, Packet};
use peerless::wire::enode::Contact;
use peerless::wire::enr::RecordBuilder;

use super::CASES;
use crate::{Address, Basis, Local, Memory, Received, Report, Settings, Sockets, Target, Unavailable, Verdict, Wire};

/// A node's configuration at an address, without a filter.
fn at(ip: &str) -> Config {
    let mut config = config(0, 1);
    config.addresses = Default::default();
    config.addresses.set_ip(ip.parse().expect("an address"));
    (config.addresses.udp, config.addresses.tcp) = (30303, 30303);
    config.filter = Default::default();
    config
}

/// A node in virtual time, as the target, and the wire to it.
fn in_memory(config: Config, first: &str, second: Option<&str>) -> (Target, Memory<Node>) {
    let mut net = Net::new(5);
    let host = net.add_node(config);
    let target = Target::new(net.contact(host), Some(net.machine(host).record().clone()));
    let ip = |text: &str| text.parse().expect("an address");
    (target, Memory::new(net, host, ip(first), second.map(ip)))
}

fn settings() -> Settings {
    Settings::new([3; 32])
}

fn run_all(target: &Target, wire: &mut dyn Wire) -> Vec<Report> {
    CASES.iter().map(|case| case.run(target, wire, &settings())).collect()
}

fn assert_passed(reports: &[Report], skipped: &[&str]) {
    for report in reports {
        let may_skip = skipped.contains(&report.case.name);
        let passed = match report.verdict {
            Verdict::Passed => !may_skip,
            Verdict::Skipped(_) => may_skip,
            Verdict::Failed(_) => false,
        };
        assert!(passed, "{report}\n{}", report.details());
    }
}

#[test]
fn our_node_passes_all_cases_on_loopback_and_at_global_addresses() {
    for (ip, first, second) in [
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ("100.0.0.1", "90.1.1.1", "90.2.2.2"),
        ("2a00::1", "2a01::1", "2a02::1"),
    ] {
        let (target, mut wire) = in_memory(at(ip), first, Some(second));
        assert_passed(&run_all(&target, &mut wire), &[]);
    }
}

#[test]
fn without_a_second_address_its_case_is_skipped() {
    let (target, mut wire) = in_memory(at("::1"), "::1", None);
    let reports = run_all(&target, &mut wire);
    assert_passed(&reports, &["Amplification/WrongIP"]);
    assert!(
        reports.iter().any(|report| report.tap(3).starts_with("ok 3 Amplification/WrongIP # SKIP there is no second"))
    );
}

#[test]
fn hives_cases_are_there_in_its_order() {
    let names: Vec<_> = CASES.iter().filter(|case| case.basis == Basis::Hive).map(|case| case.name).collect();
    assert_eq!(
        names,
        [
            "Ping/Basic",
            "Ping/WrongTo",
            "Ping/WrongFrom",
            "Ping/ExtraData",
            "Ping/ExtraDataWrongFrom",
            "Ping/PastExpiration",
            "Ping/WrongPacketType",
            "Ping/BondThenPingWithWrongFrom",
            "ENRRequest",
            "Findnode/WithoutEndpointProof",
            "Findnode/BasicFindnode",
            "Findnode/UnsolicitedNeighbors",
            "Findnode/PastExpiration",
            "Amplification/InvalidPongHash",
            "Amplification/WrongIP",
        ]
    );
    let mut all: Vec<_> = CASES.iter().map(|case| case.name).collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), CASES.len(), "each name once");
}

#[test]
fn a_seed_repeats_a_run() {
    let run = || {
        let (target, mut wire) = in_memory(at("127.0.0.1"), "127.0.0.1", Some("127.0.0.2"));
        run_all(&target, &mut wire).iter().map(Report::details).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_transcript_tells_what_was_sent_what_came_and_what_is_demanded() {
    let (target, mut wire) = in_memory(at("127.0.0.1"), "127.0.0.1", None);
    let report = CASES[0].run(&target, &mut wire, &settings());
    let details = report.details();
    assert_eq!(report.to_string(), "ok    Ping/Basic");
    assert_eq!(report.tap(1), "ok 1 Ping/Basic");
    let lines: Vec<_> = details.lines().collect();
    assert!(lines[0].starts_with("specification: discv4.md, Ping Packet (0x01): when a ping is received"), "{details}");
    assert!(lines[1].contains("sent: Ping version=4 from=[127.0.0.1 40000 0] to=[127.0.0.1 30303 0] expiration=+20s"));
    assert!(details.contains("came: Pong to=[127.0.0.1 40000 0] ping-hash=") && details.contains("came: Ping "));
}

/// Changes datagrams between tester and node.
struct Spoiled<W, F> {
    wire: W,
    spoil: F,
}

impl<W: Wire, F: FnMut(Vec<u8>) -> Option<Vec<u8>>> Wire for Spoiled<W, F> {
    fn open(&mut self, address: Address) -> Result<Local, Unavailable> {
        self.wire.open(address)
    }

    fn addr(&self, local: Local) -> SocketAddr {
        self.wire.addr(local)
    }

    fn send(&mut self, from: Local, to: SocketAddr, bytes: &[u8]) {
        self.wire.send(from, to, bytes);
    }

    fn receive(&mut self, within: Duration) -> Option<Received> {
        let deadline = self.wire.elapsed() + within;
        loop {
            let received = self.wire.receive(deadline.saturating_sub(self.wire.elapsed()))?;
            if let Some(bytes) = (self.spoil)(received.bytes) {
                return Some(Received { bytes, ..received });
            }
        }
    }

    fn close(&mut self) {
        self.wire.close();
    }

    fn elapsed(&self) -> Duration {
        self.wire.elapsed()
    }

    fn unix(&self) -> UnixTime {
        self.wire.unix()
    }
}

/// Answers every request, whatever is wrong with it, and never asks for a proof.
struct Careless {
    secret: SecretKey,
    crypto: Secp256k1,
    now: Duration,
    open: Vec<SocketAddr>,
    answers: VecDeque<Received>,
}

const CARELESS: [u8; 4] = [127, 0, 0, 1];

impl Careless {
    fn new() -> (Target, Self) {
        let (secret, crypto) = (SecretKey::from_bytes([9; 32]).expect("in range"), Secp256k1::new());
        let contact = Contact::new(crypto.public_key(&secret), CARELESS.into(), 30303, 30303);
        let (open, answers) = (Vec::new(), VecDeque::new());
        (Target::new(contact, None), Self { secret, crypto, now: Duration::ZERO, open, answers })
    }

    fn answer(&mut self, at: Local, packet: &Packet) {
        let mut bytes = Vec::new();
        packet.seal(&self.crypto, &self.secret, &mut bytes);
        self.answers.push_back(Received { at, from: (CARELESS, 30303).into(), bytes });
    }

    fn answer_all(&mut self, at: Local, kind: u8, hash: Digest, named: &[Neighbor]) {
        let (to, expiration) = (Endpoint::from(self.open[at.0]), self.unix().plus_secs(20));
        match kind {
            3 => {
                let key = *self.crypto.public_key(&self.secret).as_bytes();
                let node = Neighbor { ip: CARELESS.into(), udp: 30303, tcp: 30303, key };
                for _ in 0..2 {
                    self.answer(at, &Packet::Neighbors { nodes: vec![node; 9], expiration });
                }
            }
            5 => {
                let record = RecordBuilder::default().sign(&self.crypto, &self.secret, 1).expect("a small record");
                let record = record.as_bytes().to_vec();
                self.answer(at, &Packet::EnrResponse { request_hash: hash, record });
            }
            // It also believes all Neighbors, and pings their nodes.
            4 => {
                for node in named {
                    let named = self.open.iter().position(|addr| addr.port() == node.udp);
                    if let Some(named) = named {
                        self.answer(Local(named), &Packet::EnrRequest { expiration });
                    }
                }
            }
            _ => {
                let ping = Packet::Ping { version: 4, from: to, to, expiration, enr_seq: None };
                self.answer(at, &Packet::Pong { to, ping_hash: hash, expiration, enr_seq: Some(2) });
                self.answer(at, &ping);
            }
        }
    }
}

impl Wire for Careless {
    fn open(&mut self, address: Address) -> Result<Local, Unavailable> {
        let ip = IpAddr::from([127, 0, 0, 1 + address as u8]);
        self.open.push(SocketAddr::new(ip, 40_000 + self.open.len() as u16));
        Ok(Local(self.open.len() - 1))
    }

    fn addr(&self, local: Local) -> SocketAddr {
        self.open[local.0]
    }

    fn send(&mut self, from: Local, _to: SocketAddr, bytes: &[u8]) {
        let hash = *bytes.first_chunk().expect("a hash");
        let packet = Datagram::split(bytes).and_then(|datagram| datagram.decode());
        let named = match packet {
            Ok(Packet::Neighbors { nodes, .. }) => nodes,
            _ => Vec::new(),
        };
        self.answer_all(from, bytes[97], hash, &named);
    }

    fn receive(&mut self, within: Duration) -> Option<Received> {
        self.answers.pop_front().or_else(|| {
            self.now += within;
            None
        })
    }

    fn close(&mut self) {
        self.open.clear();
        self.answers.clear();
    }

    fn elapsed(&self) -> Duration {
        self.now
    }

    fn unix(&self) -> UnixTime {
        UnixTime::from_secs(1_750_000_000 + self.now.as_secs())
    }
}

#[test]
fn every_case_fails_against_a_silent_or_a_careless_node() {
    let (target, wire) = in_memory(at("127.0.0.1"), "127.0.0.1", Some("127.0.0.2"));
    let silent = run_all(&target, &mut Spoiled { wire, spoil: |_| None });
    let (target, mut wire) = Careless::new();
    let careless = run_all(&target, &mut wire);
    for (silent, careless) in silent.iter().zip(&careless) {
        let failed = [silent, careless].map(|report| matches!(report.verdict, Verdict::Failed(_)));
        assert_ne!(failed, [false, false], "{}: {:?} {:?}", silent.case.name, silent.verdict, careless.verdict);
    }
    let failed =
        |name: &str| careless.iter().any(|report| report.case.name == name && report.verdict != Verdict::Passed);
    for name in
        ["Ping/WrongHash", "Amplification/WrongIP", "Findnode/PastExpiration", "Findnode/Replay", "Pong/Unsolicited"]
    {
        assert!(failed(name), "{name}");
    }
    assert!(!failed("Ping/Basic"), "what is right passes");
}

/// Opens the node's datagram, changes its packet, and seals it again with the node's key.
fn resealed(config: &Config, bytes: &[u8], change: impl FnOnce(&mut Packet)) -> Vec<u8> {
    let mut packet = Datagram::split(bytes).and_then(|datagram| datagram.decode()).expect("a packet of our node");
    change(&mut packet);
    let mut bytes = Vec::new();
    packet.seal(&Secp256k1::new(), &config.secret, &mut bytes);
    bytes
}

#[test]
fn wrong_answers_fail_with_their_reason() {
    type Change = fn(&mut Packet);
    let wrong: [(&str, &str, Change); 5] = [
        ("Ping/Basic", "the pong has the hash", |packet| {
            if let Packet::Pong { ping_hash, .. } = packet {
                ping_hash[0] ^= 1;
            }
        }),
        ("Ping/Basic", "the pong is to", |packet| {
            if let Packet::Pong { to, .. } = packet {
                to.udp ^= 1;
            }
        }),
        ("Ping/Basic", "that has expired", |packet| {
            if let Packet::Pong { expiration, .. } = packet {
                *expiration = UnixTime::from_secs(7);
            }
        }),
        ("ENRRequest", "the ENRResponse has the hash", |packet| {
            if let Packet::EnrResponse { request_hash, .. } = packet {
                request_hash[0] ^= 1;
            }
        }),
        ("ENRRequest", "the record is not valid", |packet| {
            if let Packet::EnrResponse { record, .. } = packet {
                record[9] ^= 1;
            }
        }),
    ];
    for (name, why, change) in wrong {
        let config = at("127.0.0.1");
        let (target, wire) = in_memory(config.clone(), "127.0.0.1", None);
        let mut wire = Spoiled { wire, spoil: |bytes: Vec<u8>| Some(resealed(&config, &bytes, change)) };
        let case = CASES.iter().find(|case| case.name == name).expect("a case");
        let report = case.run(&target, &mut wire, &settings());
        assert!(matches!(&report.verdict, Verdict::Failed(text) if text.contains(why)), "{:?}", report.verdict);
        assert!(report.tap(1).starts_with(&format!("not ok 1 {name}\n# specification: ")), "{}", report.tap(1));
    }
}

#[test]
fn our_node_passes_over_sockets() {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let addr = socket.local_addr().expect("bound");
    let mut config = at("127.0.0.1");
    config.addresses.udp = addr.port();
    config.filter = "127.0.0.0/8".parse().expect("a subnet");
    let start = std::time::Instant::now();
    let now = move || Instant::from_micros(start.elapsed().as_micros() as u64);
    let unix = Sockets::new(addr.ip(), None).unix();
    let mut node = Node::new(config, [4; 32], now(), unix).expect("valid");
    let target = Target::new(node.contact(), None);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut buffer = [0; 1500];
            while !stop.load(Ordering::Relaxed) {
                while let Some(action) = node.poll_action() {
                    if let Action::Send { to, bytes, .. } = action {
                        let _ = socket.send_to(bytes, to);
                    }
                }
                socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a timeout");
                match socket.recv_from(&mut buffer) {
                    Ok((n, from)) => {
                        node.handle(now(), Input::Datagram { socket: SocketId::MAIN, from, bytes: &buffer[..n] });
                    }
                    Err(_) => node.handle(now(), Input::Timeout),
                }
            }
        });
        let mut sockets = Sockets::to(addr, None, None).expect("a route");
        // A machine with other work to do is late; what must not come has less time.
        let mut settings = settings();
        let mut reports = Vec::new();
        for case in CASES.iter().filter(|case| case.basis == Basis::Hive) {
            let waits_for_nothing =
                case.name.contains("Past") || case.name.contains("Wrong") || case.name.contains("Invalid");
            settings.patience = Duration::from_millis(if waits_for_nothing { 300 } else { 400 });
            reports.push(case.run(&target, &mut sockets, &settings));
        }
        stop.store(true, Ordering::Relaxed);
        assert_passed(&reports, &[]);
    });
}

#[test]
fn a_host_of_a_network_is_the_target() {
    let (target, wire) = in_memory(at("127.0.0.1"), "127.0.0.1", None);
    assert_eq!(wire.net().addr(Host(0)), target.contact.udp_addr());
}
