//! What a node's parts owe each other. Whole nodes against each other are in the package of tests.

use super::*;
use crate::contract::{IoFault, PeerKind};
use crate::time::UnixTime;
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
    config.discovery = None;
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
