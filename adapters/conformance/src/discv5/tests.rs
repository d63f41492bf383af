//! The cases against our own machine in virtual time and over a wire that is wrong.

use std::time::Duration;

use peerless::crypto::SecretKey;
use peerless::node::Discoverer;
use peerless::node::discoverer::Config;
use peerless::testing::{Host, Net};
use peerless::time::UnixTime;

use super::CASES;
use crate::{Address, Basis, Local, Memory, Received, Report, Settings, Target, Unavailable, Verdict, Wire};

/// A node of both protocols in virtual time, as the target, and the wire to it.
fn in_memory(ip: &str, first: &str, second: Option<&str>) -> (Target, Memory<Discoverer>) {
    let mut net = Net::new(5);
    let mut config = Config::new(SecretKey::from_bytes([9; 32]).expect("in range"));
    config.addresses.set_ip(ip.parse().expect("an address"));
    let addr = (config.addresses.ip().expect("set"), config.addresses.udp).into();
    let host = net
        .add(addr, |start| Discoverer::new(config, start.seed, start.now, start.unix).expect("a valid configuration"));
    let machine = net.machine(host);
    let target = Target::new(machine.contact(), Some(machine.record().clone()));
    let ip = |text: &str| text.parse().expect("an address");
    (target, Memory::new(net, host, ip(first), second.map(ip)))
}

fn settings() -> Settings {
    Settings::new([3; 32])
}

fn run_all(target: &Target, wire: &mut dyn Wire) -> Vec<Report> {
    CASES.iter().map(|case| case.run(target, wire, &settings())).collect()
}

#[test]
fn our_node_passes_all_cases_on_loopback_and_at_global_addresses() {
    for (ip, first, second) in [
        ("127.0.0.1", "127.0.0.1", "127.0.0.2"),
        ("100.0.0.1", "90.1.1.1", "90.2.2.2"),
        ("2a00::1", "2a01::1", "2a02::1"),
    ] {
        let (target, mut wire) = in_memory(ip, first, Some(second));
        for report in run_all(&target, &mut wire) {
            assert_eq!(report.verdict, Verdict::Passed, "{ip}\n{report}\n{}", report.details());
        }
    }
}

#[test]
fn without_a_second_address_its_case_is_skipped() {
    let (target, mut wire) = in_memory("::1", "::1", None);
    let skipped = |report: &Report| matches!(report.verdict, Verdict::Skipped(_)).then_some(report.case.name);
    let skipped: Vec<_> = run_all(&target, &mut wire).iter().filter_map(skipped).collect();
    assert_eq!(skipped, ["PingMultiIP"]);
}

#[test]
fn hives_cases_are_there_in_its_order() {
    let names: Vec<_> = CASES.iter().filter(|case| case.basis == Basis::Hive).map(|case| case.name).collect();
    assert_eq!(
        names,
        [
            "Ping",
            "PingLargeRequestID",
            "PingMultiIP",
            "HandshakeResend",
            "TalkRequest",
            "FindnodeZeroDistance",
            "FindnodeResults"
        ]
    );
}

/// What a wire does to a datagram of the node.
type Spoil = Box<dyn FnMut(Vec<u8>) -> Vec<Vec<u8>>>;

/// Changes datagrams between tester and node.
struct Spoiled {
    wire: Memory<Discoverer>,
    spoil: Spoil,
    waiting: Vec<Received>,
}

impl Wire for Spoiled {
    fn open(&mut self, address: Address) -> Result<Local, Unavailable> {
        self.wire.open(address)
    }

    fn addr(&self, local: Local) -> std::net::SocketAddr {
        self.wire.addr(local)
    }

    fn send(&mut self, from: Local, to: std::net::SocketAddr, bytes: &[u8]) {
        self.wire.send(from, to, bytes);
    }

    fn receive(&mut self, within: Duration) -> Option<Received> {
        let deadline = self.wire.elapsed() + within;
        while self.waiting.is_empty() {
            let received = self.wire.receive(deadline.saturating_sub(self.wire.elapsed()))?;
            let Received { at, from, bytes } = received;
            self.waiting = (self.spoil)(bytes).into_iter().map(|bytes| Received { at, from, bytes }).collect();
        }
        Some(self.waiting.remove(0))
    }

    fn close(&mut self) {
        self.waiting.clear();
        self.wire.close();
    }

    fn elapsed(&self) -> Duration {
        self.wire.elapsed()
    }

    fn unix(&self) -> UnixTime {
        self.wire.unix()
    }
}

/// The verdicts over a wire that does `spoil` to what the node sends.
fn failed_over(spoil: impl FnMut(Vec<u8>) -> Vec<Vec<u8>> + 'static) -> Vec<&'static str> {
    let (target, wire) = in_memory("127.0.0.1", "127.0.0.1", Some("127.0.0.2"));
    let mut wire = Spoiled { wire, spoil: Box::new(spoil), waiting: Vec::new() };
    let reports = run_all(&target, &mut wire);
    reports
        .iter()
        .filter(|report| matches!(report.verdict, Verdict::Failed(_)))
        .map(|report| report.case.name)
        .collect()
}

#[test]
fn a_silent_node_passes_only_what_demands_silence() {
    let failed = failed_over(|_| Vec::new());
    let passed: Vec<_> = CASES.iter().map(|case| case.name).filter(|name| !failed.contains(name)).collect();
    assert_eq!(passed, ["Header/OtherProtocol", "Packet/TooSmall", "Header/OtherVersion", "Whoareyou/NotAmplified"]);
}

#[test]
fn packets_that_come_twice_or_changed_are_noticed() {
    let failed = failed_over(|bytes| vec![bytes.clone(), bytes]);
    assert!(failed.contains(&"Whoareyou/NotAmplified"), "{failed:?}");
    // The last byte of a challenge is that of its sequence number, that of others of a tag.
    let failed = failed_over(|mut bytes| {
        *bytes.last_mut().expect("a packet") ^= 1;
        vec![bytes]
    });
    for name in ["Ping", "TalkRequest", "FindnodeZeroDistance", "FindnodeResults", "Whoareyou/Form"] {
        assert!(failed.contains(&name), "{name} {failed:?}");
    }
}

#[test]
fn a_host_of_a_network_is_the_target() {
    let (target, wire) = in_memory("127.0.0.1", "127.0.0.1", None);
    assert_eq!(wire.net().addr(Host(0)), target.contact.udp_addr());
}
