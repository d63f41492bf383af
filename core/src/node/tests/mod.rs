//! A node's routing between its parts, and the bounds of its turns.

mod addresses;
mod discovery;
mod embedder;
mod lists;
mod names;
mod pair;
mod prefetch;
mod turns;

use super::*;
use crate::contract::{Command, ConnTimer, Direction, End, IoFault, PeerKind, Refusal, Side, Stage};
use crate::crypto::SecretKey;
use crate::peers::Counts;
use crate::wire::enode::Contact;
use crate::wire::forkid::{ForkSchedule, Head, Network};
use crate::wire::p2p::DisconnectReason;

const UNIX: UnixTime = UnixTime::from_secs(1_750_000_000);

/// A chain whose genesis hash is made of `network`.
fn chain(network: u8) -> Chain {
    let schedule = ForkSchedule::new([network; 32], 0, &[], &[]);
    let network = Network { name: "a network".into(), network_id: 1, schedule };
    Chain::new(network, Head { number: 0, time: UNIX.as_secs(), hash: [1; 32] }, 0, [0; 32])
}

fn secret(n: u8) -> SecretKey {
    SecretKey::from_bytes([n; 32]).unwrap()
}

fn contact(n: u8) -> Contact {
    Contact::new(Secp256k1::new().public_key(&secret(n)), [9, 9, 9, n].into(), 0, 30303)
}

/// A configuration with discv4 alone.
fn discv4_alone() -> Config {
    let mut config = Config::new(secret(1), chain(1));
    config.discovery.discv5 = None;
    config
}

/// A configuration without discovery.
fn quiet() -> Config {
    let mut config = Config::new(secret(1), chain(1));
    config.discovery.switch_off();
    config
}

fn node(config: Config) -> Node {
    Node::new(config, [1; 32], Instant::ZERO, UNIX).unwrap()
}

/// A node with accepted connections on which no byte has arrived.
fn crowded(conns: u32) -> Node {
    let mut config = quiet();
    config.peers.max_pending = 100_000;
    let mut node = node(config);
    for n in 0..conns {
        let [_, a, b, c] = n.to_be_bytes();
        assert!(node.accept(Instant::ZERO, SocketId::MAIN, ([50 + a, b, c, 1], 30303).into()).is_some());
    }
    node
}

/// The ends among the node's queued events.
fn ends(node: &mut Node) -> Vec<End> {
    let mut ends = Vec::new();
    while let Some(action) = node.poll_action() {
        if let Action::Emit(Event::Ended { end, .. }) = action {
            ends.push(end);
        }
    }
    assert_counted(node);
    ends
}

/// Asserts that the counts are those of the connections that the node shows.
fn assert_counted(node: &Node) {
    let mut counts = Counts::default();
    for session in node.sessions() {
        *match (session.place, session.direction) {
            (None, Direction::Inbound) => &mut counts.pending_inbound,
            (None, Direction::Outbound) => &mut counts.pending_outbound,
            (Some(place), _) if place.exempt => &mut counts.exempt,
            (Some(place), _) if place.share == Direction::Inbound => &mut counts.inbound,
            (Some(_), _) => &mut counts.outbound,
        } += 1;
        counts.established += usize::from(session.place.is_some() && session.stage == Stage::Established);
    }
    assert_eq!(node.peers().counts(), counts);
}

/// The connection of the node's next action, if that is a dial.
fn dialled(node: &mut Node) -> Option<(ConnId, SocketAddr)> {
    let Action::Dial { conn, to } = node.poll_action()? else { panic!("something other than a dial") };
    Some((conn, to))
}

/// While ended dials hold their slots, there is neither room nor a deadline: popping their ends sets one.
#[test]
fn a_slot_that_is_free_again_is_used_for_a_dial() {
    let mut config = quiet();
    config.peers.max_pending = 1;
    let start = Instant::ZERO;
    let mut node = node(config);
    for n in [2, 3] {
        node.command(start, Command::AddPeer { contact: contact(n), kind: PeerKind::Static }).unwrap();
    }
    let (due, why) = node.poll_timeout().unwrap();
    assert_eq!(why, Reason::Dial);
    node.handle(due, Input::Timeout);
    let (conn, first) = dialled(&mut node).unwrap();
    assert_eq!(dialled(&mut node), None, "the limit of one pending dial is reached");

    node.handle(due, Input::Broken { conn, why: IoFault::Refused });
    assert!(node.poll_timeout().is_none_or(|(_, why)| why != Reason::Dial), "the slot is held until its end is popped");
    assert_eq!(ends(&mut node).len(), 1);
    let (due, why) = node.poll_timeout().expect("a peer is left to dial");
    assert_eq!(why, Reason::Dial);
    node.handle(due, Input::Timeout);
    assert!(dialled(&mut node).is_some_and(|(_, to)| to != first));
}
