//! Two nodes over real sockets with their key log on, and the capture of what they received: all of it can be read.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Clock};

use peerless::contract::{Action, Command, ConnId, Event, Input, Tap, Via};
use peerless::node::Node;
use peerless::time::Instant;
use peerless_mio::{Driver, Listen, Sockets};
use peerless_tests::pcap::{Form, Packets, Said};
use peerless_tests::talk::config;
use peerless_trace::inspect::{Finding, Findings, Keys};
use peerless_trace::keylog::{KeyLog, KeyLogWriter};

/// What a node received, as it went over the wire.
struct Received {
    own: SocketAddr,
    peers: BTreeMap<ConnId, SocketAddr>,
    said: Arc<Mutex<Vec<Said>>>,
}

impl Tap for Received {
    fn input(&mut self, _: Instant, input: &Input<'_>) {
        let mut said = self.said.lock().unwrap();
        match input {
            Input::Datagram { from, bytes, .. } => {
                said.push(Said::Datagram { from: *from, to: self.own, bytes: bytes.to_vec() });
            }
            Input::Bytes { conn, bytes } => {
                // Who was dialled knows its one peer by no dial of its own.
                let from = self.peers.get(conn).copied().unwrap_or(CALLER);
                let to = if from == CALLER { self.own } else { CALLER };
                said.push(Said::Bytes { from, to, bytes: bytes.to_vec() });
            }
            _ => {}
        }
    }

    fn action(&mut self, _: Instant, action: &Action<'_>) {
        if let Action::Dial { conn, to } = action {
            self.peers.insert(*conn, *to);
            self.said.lock().unwrap().push(Said::Opened { from: CALLER, to: *to });
        }
    }
}

const CALLER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 50_000);

#[test]
fn a_session_over_sockets_is_read_with_its_key_log() {
    let path = std::env::temp_dir().join(format!("peerless-keylog-e2e-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let log = KeyLogWriter::open(&path).unwrap();
    let said = Arc::new(Mutex::new(Vec::new()));
    let mut drivers: Vec<Driver> = [1, 2]
        .into_iter()
        .map(|number| {
            let sockets = Sockets::bind(&Listen::at(([127, 0, 0, 1], 0).into())).unwrap();
            let own = sockets.tcp_addr().unwrap();
            let mut config = config(number, own.ip());
            (config.addresses.udp, config.addresses.tcp) = (sockets.udp_addr().unwrap().port(), own.port());
            let make = |now, unix| Node::new(config, [number; 32], now, unix);
            let mut driver = Driver::new(sockets, make).unwrap();
            driver.set_tap(Box::new(Received { own, peers: BTreeMap::new(), said: said.clone() }));
            driver
        })
        .collect();
    let contact = drivers[1].node().contact();
    drivers[0].command(Command::Ping { via: Via::Discv4, contact }).unwrap();
    drivers[0].command(Command::Dial { contact }).unwrap();
    let (mut established, mut secrets, mut pong) = (0, 0, false);
    let deadline = Clock::now() + Duration::from_secs(20);
    while (established < 2 || !pong) && Clock::now() < deadline {
        for driver in &mut drivers {
            let turn = driver.turn(Some(Duration::from_millis(2)), |event| match event {
                Event::Secrets { secrets: told, .. } => {
                    secrets += 1;
                    log.append(&told).unwrap();
                }
                Event::Established { .. } => established += 1,
                Event::Pong { .. } => pong = true,
                _ => {}
            });
            turn.unwrap();
        }
    }
    assert_eq!((established, secrets, pong), (2, 2, true));

    let mut keys = KeyLog::default();
    let text = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    keys.read(&text[..]).unwrap();
    // Both ends have told of the same session.
    assert_eq!((keys.len(), keys.broken(), text.split(|byte| *byte == b'\n').count()), (1, 0, 3));
    let form = Form::Ng { big_endian: false, nanoseconds: true };
    let file = Packets::of(&said.lock().unwrap(), 700).file(1, form);
    let mut findings = Findings::new(&file[..], Keys::new(keys, Vec::new()), Vec::new());
    let findings: Vec<Finding> = std::iter::from_fn(|| findings.next_finding().unwrap()).collect();
    let count = |name: &str| findings.iter().filter(|finding| finding.name() == name).count();
    assert_eq!((count("Auth"), count("Ack"), count("Hello"), count("Status")), (1, 1, 2, 2));
    assert!(count("Ping") >= 1 && count("Pong") >= 1);
    assert_eq!((count("Unknown"), count("Broken"), count("Sealed"), count("Gap")), (0, 0, 0, 0));
}
