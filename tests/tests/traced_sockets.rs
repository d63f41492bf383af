//! A trace recorded over real sockets can be compared with a capture of the same session: it shows the dialled stream's real
//! local port, and stamps that agree with the wall clock to the fraction of a second.
#![allow(missing_docs)]

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Clock, SystemTime, UNIX_EPOCH};

use peerless::contract::{Command, Event, Input, Tap, Via};
use peerless::crypto::Secp256k1;
use peerless::node::Node;
use peerless::time::Instant;
use peerless_mio::{Driver, Listen, Sockets};
use peerless_tests::talk::config;
use peerless_trace::capture::packet::{Content, Dissector};
use peerless_trace::capture::{Item, Reader};
use peerless_trace::record::{Options, Recorder, Subject};

/// How far a stamp may be from the wall clock: less than the fraction at which the test begins.
const TOLERANCE: Duration = Duration::from_millis(100);

/// A file in memory that can be read while the recorder owns it.
#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The remote addresses of the streams that a node was offered.
#[derive(Clone, Default)]
struct Offered(Arc<Mutex<Vec<SocketAddr>>>);

impl Tap for Offered {
    fn input(&mut self, _: Instant, input: &Input<'_>) {
        if let Input::Incoming { from, .. } = input {
            self.0.lock().unwrap().push(*from);
        }
    }
}

/// A node on loopback, with its recording and the streams that it was offered.
fn recorded(number: u8) -> (Driver, File, Offered) {
    let sockets = Sockets::bind(&Listen::at((Ipv4Addr::LOCALHOST, 0).into())).unwrap();
    let (udp, tcp) = (sockets.udp_addr().unwrap(), sockets.tcp_addr().unwrap());
    let mut config = config(number, tcp.ip());
    (config.addresses.udp, config.addresses.tcp) = (udp.port(), tcp.port());
    config.filter = "127.0.0.0/8".parse().unwrap();
    let (file, offered, seed) = (File::default(), Offered::default(), [number; 32]);
    let mut recorder = None;
    let mut driver = Driver::new(sockets, |now, unix| {
        let crypto = Secp256k1::new();
        let subject = Subject::new(&config, &seed, now, unix, &crypto);
        let on_failure = Box::new(|error| panic!("{error}"));
        recorder = Some(Recorder::to_writer(Box::new(file.clone()), &subject, Options::default(), on_failure));
        Node::new(config.clone(), seed, now, unix)
    })
    .unwrap();
    driver.set_tap(Box::new((recorder, offered.clone())));
    (driver, file, offered)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The packets of a trace: ends of TCP streams in the order of their SYNs, all ends of TCP segments, and all stamps.
#[derive(Default)]
struct Shown {
    opened: Vec<(SocketAddr, SocketAddr)>,
    ends: BTreeSet<SocketAddr>,
    stamps: Vec<Duration>,
    datagrams: usize,
}

impl Shown {
    fn of(trace: &[u8]) -> Self {
        let (mut shown, mut reader, mut dissector) = (Self::default(), Reader::new(trace), Dissector::default());
        while let Some(item) = reader.next_item().unwrap() {
            let Item::Packet(packet) = item else { continue };
            shown.stamps.push(Duration::from_nanos(packet.at.unwrap().0));
            match dissector.dissect(&packet) {
                Content::Segment(segment) => {
                    if segment.syn && !segment.ack {
                        shown.opened.push((segment.from, segment.to));
                    }
                    shown.ends.extend([segment.from, segment.to]);
                }
                Content::Datagram { .. } => shown.datagrams += 1,
                other => panic!("{other:?}"),
            }
        }
        shown
    }
}

#[test]
fn a_trace_over_sockets_shows_real_ports_and_the_wall_clock() {
    // A stamp without its fraction of a second would be outside of the tolerance.
    while !(300..800).contains(&wall().subsec_millis()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    let before = wall();
    let mut nodes = [1, 2].map(recorded);
    let contact = nodes[1].0.node().contact();
    nodes[0].0.command(Command::Ping { via: Via::Discv4, contact }).unwrap();
    nodes[0].0.command(Command::Dial { contact }).unwrap();
    let (mut established, mut pong) = (0, false);
    let deadline = Clock::now() + Duration::from_secs(20);
    while established < 2 || !pong {
        assert!(Clock::now() < deadline, "{established} established, pong {pong}");
        for (driver, ..) in &mut nodes {
            driver
                .turn(Some(Duration::from_millis(2)), |event| match event {
                    Event::Established { .. } => established += 1,
                    Event::Pong { .. } => pong = true,
                    _ => {}
                })
                .unwrap();
        }
    }
    let [(client, client_file, _), (server, server_file, offered)] = nodes;
    drop((client, server));
    let after = wall();

    // The server is told the caller's address by its own kernel.
    let offered = offered.0.lock().unwrap().clone();
    let [caller] = offered[..] else { panic!("{offered:?}") };
    for file in [client_file, server_file] {
        let shown = Shown::of(&file.0.lock().unwrap());
        assert_eq!(shown.opened, [(caller, contact.tcp_addr())]);
        assert_eq!(shown.ends, [caller, contact.tcp_addr()].into(), "no end of a stream is made up");
        assert!(shown.datagrams >= 2, "ping and pong");
        for stamp in &shown.stamps {
            let is_real = before.saturating_sub(TOLERANCE) <= *stamp && *stamp <= after + TOLERANCE;
            assert!(is_real, "{stamp:?} is not between {before:?} and {after:?}");
        }
        let fractions: BTreeSet<_> = shown.stamps.iter().map(Duration::subsec_micros).collect();
        assert!(fractions.len() >= 2, "time stands still: {fractions:?}");
        assert!(shown.stamps.is_sorted(), "{:?}", shown.stamps);
    }
}
