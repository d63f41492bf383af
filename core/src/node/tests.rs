//! What a node's parts owe each other. Whole nodes against each other are in the package of tests.

use alloc::vec;

use super::*;
use crate::contract::{IoFault, PeerKind, SocketId};
use crate::time::UnixTime;
use crate::wire::discv4::{Datagram, Endpoint, Kind, Packet};
use crate::wire::forkid::{ForkSchedule, Head, Network};

const UNIX: UnixTime = UnixTime::from_secs(1_750_000_000);

fn chain() -> Chain {
    let network =
        Network { name: "a network".into(), network_id: 1, schedule: ForkSchedule::new([1; 32], 0, &[], &[]) };
    Chain::new(network, Head { number: 0, time: UNIX.as_secs(), hash: [1; 32] }, 0, [0; 32])
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32]).unwrap()
}

/// Whom the node dials now, if anybody.
fn dialled(node: &mut Node) -> Option<(ConnId, SocketAddr)> {
    let Action::Dial { conn, to } = node.poll_action()? else { panic!("something other than a dial") };
    Some((conn, to))
}

/// A node whose dials had all ended at about the same time once never dialled again: at each end the others still held
/// their slots, so that there was neither room nor a deadline, and what released them set none.
#[test]
fn a_slot_that_is_released_is_dialled_again() {
    let mut config = Config::new(secret(1), chain());
    config.discovery.discv4 = None;
    config.peers.max_pending = 1;
    let start = Instant::ZERO;
    let mut node = Node::new(config, [1; 32], start, UNIX).unwrap();
    let crypto = Secp256k1::new();
    for n in [2, 3] {
        let contact = Contact::new(crypto.public_key(&secret(n)), [9, 9, 9, n].into(), 0, 30303);
        node.command(start, Command::AddPeer { contact, kind: PeerKind::Static }).unwrap();
    }
    let (due, why) = node.poll_timeout().unwrap();
    assert_eq!(why, Reason::Dial);
    node.handle(due, Input::Timeout);
    let (conn, first) = dialled(&mut node).unwrap();
    assert_eq!(dialled(&mut node), None, "one pending is as many as there may be");

    node.handle(due, Input::Broken { conn, why: IoFault::Refused });
    assert!(node.poll_timeout().is_none_or(|(_, why)| why != Reason::Dial), "the slot is held until its end is told");
    while let Some(action) = node.poll_action() {
        assert!(!matches!(action, Action::Dial { .. }), "{action:?}");
    }
    let (due, why) = node.poll_timeout().expect("somebody is left to dial");
    assert_eq!(why, Reason::Dial);
    node.handle(due, Input::Timeout);
    assert!(dialled(&mut node).is_some_and(|(_, to)| to != first));
}

/// Adds up what it is shown.
#[derive(Default)]
struct Shown(usize);

impl Prefetch for Shown {
    fn prefetch<T: ?Sized>(&mut self, value: &T) {
        self.0 += size_of_val(value);
    }
}

#[test]
fn what_an_input_will_read_is_shown_to_its_last_depth_and_is_not_everything() {
    let node = Node::new(Config::new(secret(1), chain()), [1; 32], Instant::ZERO, UNIX).unwrap();
    let from = "8.8.8.8:30303".parse().unwrap();
    // A datagram's size and type are all that is looked at.
    let mut ping = [0; 120];
    ping[97] = 1;
    let shown = |input: &Input<'_>, depth| {
        let mut shown = Shown::default();
        node.prefetch(input, depth, &mut shown);
        shown.0
    };
    for depth in 0..Node::PREFETCH_DEPTHS - 1 {
        let bytes = shown(&Input::Datagram { socket: SocketId::MAIN, from, bytes: &ping }, depth);
        assert!((1..2048).contains(&bytes), "{bytes} bytes at depth {depth}");
    }
    assert!((1..8192).contains(&shown(&Input::Timeout, 1)));
    assert_eq!(shown(&Input::Datagram { socket: SocketId::MAIN, from, bytes: &ping }, Node::PREFETCH_DEPTHS), 0);
    assert_eq!(shown(&Input::Datagram { socket: SocketId::MAIN, from, bytes: &[] }, 9) + shown(&Input::Timeout, 9), 0);
}

/// Valid packets once left a node that was shutting down as unrecognised ones.
#[test]
fn discovery_packets_are_dropped_with_a_reason_after_shutdown() {
    let start = Instant::ZERO;
    let mut node = Node::new(Config::new(secret(1), chain()), [1; 32], start, UNIX).unwrap();
    let from: SocketAddr = "8.8.8.8:30303".parse().unwrap();
    let mut ping = vec![];
    let endpoint = from.into();
    let packet =
        Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration: UNIX.plus_secs(20), enr_seq: None };
    packet.seal(&Secp256k1::new(), &secret(2), &mut ping);
    let mut foreign = ping.clone();
    foreign[0] ^= 1;
    node.command(start, Command::Shutdown).unwrap();
    for bytes in [&ping, &foreign] {
        node.handle(start, Input::Datagram { socket: SocketId::MAIN, from, bytes });
    }
    let mut unrecognised = vec![];
    while let Some(action) = node.poll_action() {
        let Action::Emit(Event::Unrecognised { bytes, .. }) = action else { panic!("{action:?}") };
        unrecognised.push(bytes.to_vec());
    }
    assert_eq!(unrecognised, [foreign]);
    assert!(node.stats().datagrams_dropped.iter().eq([(&DropReason::ShuttingDown, &1)]));
}

/// A stranger's packet.
fn sealed(secret: &SecretKey, packet: &Packet) -> Vec<u8> {
    let mut bytes = vec![];
    packet.seal(&Secp256k1::new(), secret, &mut bytes);
    bytes
}

/// The hash of the ping among what the node sends now, if there is one.
fn ping_sent(node: &mut Node) -> Option<[u8; 32]> {
    let mut ping = None;
    while let Some(action) = node.poll_action() {
        if let Action::Send { bytes, .. } = action
            && let Ok(datagram) = Datagram::split(bytes)
            && datagram.kind() == Ok(Kind::Ping)
        {
            ping = Some(*datagram.hash);
        }
    }
    ping
}

/// The stranger and the node prove their endpoints to each other.
fn bond(node: &mut Node, now: Instant, secret: &SecretKey, from: SocketAddr) {
    let (endpoint, expiration) = (Endpoint { tcp: 0, ..Endpoint::from(from) }, UNIX.plus_secs(60));
    let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None };
    node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &sealed(secret, &ping) });
    let ping_hash = ping_sent(node).expect("a ping back");
    let pong = Packet::Pong { to: endpoint, ping_hash, expiration, enr_seq: None };
    node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &sealed(secret, &pong) });
    assert_eq!(ping_sent(node), None);
}

/// Growth was once found by comparing the table's length around datagrams.
#[test]
fn the_dialler_is_polled_soon_after_a_node_came_in_during_a_timeout() {
    let mut config = Config::new(secret(1), chain());
    let discovery = config.discovery.discv4.as_mut().unwrap();
    (discovery.fast_check_interval_max, discovery.slow_check_interval_max) =
        (Duration::from_secs(600), Duration::from_secs(600));
    let mut now = Instant::ZERO;
    let mut node = Node::new(config, [1; 32], now, UNIX).unwrap();
    let own = node.contact().id();
    let key = |n| Secp256k1::new().public_key(&secret(n));
    let alike: Vec<u8> = (2..=250).filter(|n| own.log_distance(&key(*n).node_id()) == 256).take(17).collect();
    let addr = |n: u8| SocketAddr::from(([9, n, 1, 1], 30303));
    // One more than a bucket holds; none of them can be dialled.
    for n in &alike {
        bond(&mut node, now, &secret(*n), addr(*n));
        now = now + Duration::from_millis(10);
    }
    let step = |node: &mut Node, now: &mut Instant| {
        let (due, reason) = node.poll_timeout().unwrap();
        *now = due;
        node.handle(due, Input::Timeout);
        let mut added = false;
        while let Some(action) = node.poll_action() {
            added |= matches!(action, Action::Emit(Event::NodeAdded { .. }));
        }
        (reason, added)
    };
    let settled = now + 3 * DIAL_CANDIDATE_DELAY;
    while node.poll_timeout().unwrap().0 < settled {
        step(&mut node, &mut now);
    }
    let dead = Contact::new(key(alike[0]), addr(alike[0]).ip(), 30303, 0);
    for _ in 0..5 {
        node.command(now, Command::FindNode { contact: dead, target: [3; 64] }).unwrap();
    }
    let end = now + Duration::from_secs(3);
    while !step(&mut node, &mut now).1 {
        assert!(now < end, "the replacement moves up");
    }
    let added = now;
    while step(&mut node, &mut now).0 != Reason::Dial {}
    assert!(now.since(added) <= 2 * DIAL_CANDIDATE_DELAY, "{:?}", now.since(added));
}
