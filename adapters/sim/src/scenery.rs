//! Common parts of worlds: the tests' own chain, keys by number, and configurations for hosts.

use peerless::contract::Event;
use peerless::crypto::{SecretKey, keccak256};
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::time::UnixTime;
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{ForkSchedule, Head, Network};

use crate::HostId;
use crate::network::Nat;
use crate::network::address::PORT;
use crate::scenario::Protocols;
use crate::world::Birth;

/// Returns a private network's chain, with one fork in the far future.
pub fn chain(network_id: u64) -> Chain {
    let schedule = ForkSchedule::new(keccak256(&network_id.to_be_bytes()), 0, &[], &[4_000_000_000]);
    let network = Network { name: format!("sim-{network_id}"), network_id, schedule };
    let head = Head { number: 100, time: UnixTime::from_secs(1_750_000_000).as_secs(), hash: [9; 32] };
    Chain::new(network, head, 0, [0; 32])
}

/// Returns the key of a host, the same in every run.
pub fn secret(host: HostId) -> SecretKey {
    let mut bytes = keccak256(&[&b"peerless-sim"[..], &host.0.to_be_bytes()].concat());
    // Makes the number non-zero and less than the group's order.
    bytes[0] = 1;
    SecretKey::from_bytes(bytes).expect("in range")
}

/// Returns a host's contact.
pub fn contact(birth: &Birth<'_>, host: HostId, ip: std::net::Ipv4Addr) -> Contact {
    Contact::new(birth.crypto.public_key(&secret(host)), ip.into(), PORT, PORT)
}

/// Returns a configuration for a host: its key, its address unless it is behind a NAT, discv4 alone, and defaults.
pub fn config(birth: &Birth<'_>, chain: Chain) -> Config {
    let mut config = Config::new(secret(birth.host), chain);
    if birth.nat == Nat::None {
        config.addresses.set_ip(birth.addr.ip.into());
    }
    (config.addresses.udp, config.addresses.tcp) = (birth.addr.port, birth.addr.port);
    config.record_seq = 1 + u64::from(birth.incarnation);
    config.discovery.discv5 = None;
    config
}

/// Builds a node from a configuration, with the birth's seed, time and primitives.
///
/// # Panics
/// If the configuration is invalid.
pub fn node(birth: &Birth<'_>, config: Config) -> Node {
    Node::with_crypto(config, birth.seed, birth.now, birth.unix, birth.crypto.clone()).expect("a valid configuration")
}

/// Makes nodes that discover each other and keep no sessions; all use the first `bootnodes` hosts as bootnodes.
pub fn discovery_only(bootnodes: u32) -> impl Fn(&Birth<'_>) -> Node + Send + Sync + 'static {
    discovery_by(Protocols::V4, bootnodes)
}

/// As [`discovery_only`], by these protocols.
pub fn discovery_by(protocols: Protocols, bootnodes: u32) -> impl Fn(&Birth<'_>) -> Node + Send + Sync + 'static {
    let chain = chain(1337);
    move |birth| {
        let mut config = config(birth, chain.clone());
        protocols.apply(&mut config);
        config.peers.max_peers = 0;
        config.peers.dial_ratio = 0;
        set_bootnodes(birth, &mut config, 0..bootnodes);
        node(birth, config)
    }
}

/// Sets the node's bootnodes to these hosts.
pub fn set_bootnodes(birth: &Birth<'_>, config: &mut Config, hosts: impl IntoIterator<Item = u32>) {
    let others = hosts.into_iter().map(HostId).filter(|host| *host != birth.host);
    let nodes: Vec<_> = others.map(|host| contact(birth, host, birth.addresses.ip(host))).collect();
    config.discovery.set_bootnodes(&nodes);
}

/// Whether an event reports an established session.
pub fn is_established(event: &Event<'_>) -> bool {
    matches!(event, Event::Established { .. })
}
