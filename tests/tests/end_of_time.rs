//! A node at the last instants that a driver can supply.

use peerless::contract::{Action, Command, Input, PeerKind};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::time::{Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{Head, Network};

/// A static peer that cannot be dialled is due for another attempt after an interval; beyond the end of time there is none.
#[test]
fn a_timeout_at_the_end_of_time_returns() {
    let secret = |byte| SecretKey::from_bytes([byte; 32]).expect("in range");
    let network = Network::public("mainnet").expect("a public network");
    let mut config = Config::new(secret(1), Chain::new(network, Head::default(), 0, [0; 32]));
    config.peers.max_peers = 0;
    let unix = UnixTime::from_secs(1_750_000_000);
    let mut node = Node::new(config, [1; 32], Instant::ZERO, unix).expect("a valid configuration");
    let contact = Contact::new(Secp256k1::new().public_key(&secret(2)), [127, 0, 0, 1].into(), 30303, 30303);
    node.command(Instant::ZERO, Command::AddPeer { contact, kind: PeerKind::Static }).expect("room for a peer");
    for now in [u64::MAX - 1_000_000, u64::MAX - 1, u64::MAX].map(Instant::from_micros) {
        node.handle(now, Input::Timeout);
        let actions = std::iter::from_fn(|| node.poll_action().map(|action| matches!(action, Action::Dial { .. })));
        assert!(actions.take(10_000).count() < 10_000, "actions end");
        assert!(node.poll_timeout().is_none_or(|(next, _)| next > now), "no deadline is due after a timeout at {now}");
    }
}
