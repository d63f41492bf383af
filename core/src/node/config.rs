//! What an embedder decides about a node before it starts.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::discovery;
use crate::crypto::SecretKey;
use crate::eth::{Chain, Policy};
use crate::netfilter::NetFilter;
use crate::peers::PeersConfig;
use crate::rlpx::session::InvalidHello;
use crate::wire::p2p::{Capability, CapabilityTable};

/// A node's configuration. Start from [`Config::new`] and change what differs.
#[derive(Clone)]
pub struct Config {
    /// The node's identity.
    pub secret: SecretKey,
    /// The name in our Hello.
    pub client: String,
    /// The address at which others reach us, if it is known; goes into our record and our pings.
    pub ip: Option<IpAddr>,
    /// Our discovery port.
    pub udp: u16,
    /// Our RLPx port; 0 if we do not listen.
    pub tcp: u16,
    /// The settings of the discovery protocols.
    pub discovery: discovery::Config,
    /// The network, and where its head is.
    pub chain: Chain,
    /// Whether we tell our Status, or echo the peer's.
    pub status: Policy,
    /// Capabilities offered, in any order. All must be in `capability_table`.
    pub capabilities: Vec<Capability>,
    /// The number of message ids of each capability.
    pub capability_table: CapabilityTable,
    /// How many peers, and of which kind.
    pub peers: PeersConfig,
    /// The addresses that the node may talk to.
    pub filter: NetFilter,
    /// Sequence number of our first record; must grow from run to run. Milliseconds since 1970 do, as in geth.
    pub record_seq: u64,
    /// Whether each session's secrets are told by `Event::Secrets`: for a key log, never by default.
    pub export_secrets: bool,
}

impl Config {
    /// A node with discovery on, that offers eth/68 and eth/69 of the given chain and listens at port 30303.
    pub fn new(secret: SecretKey, chain: Chain) -> Self {
        Self {
            secret,
            client: String::from(concat!("Peerless/v", env!("CARGO_PKG_VERSION"), "/rust")),
            ip: None,
            udp: 30303,
            tcp: 30303,
            discovery: discovery::Config::default(),
            chain,
            status: Policy::Announce,
            capabilities: vec![Capability::eth(68), Capability::eth(69)],
            capability_table: CapabilityTable::default(),
            peers: PeersConfig::default(),
            filter: NetFilter::default(),
            record_seq: 1,
            export_secrets: false,
        }
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConfigError {
    /// Our Hello cannot be said.
    Hello(InvalidHello),
    /// Our record would be larger than 300 bytes.
    Record,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(why) => write!(f, "{why}"),
            Self::Record => f.write_str("our node record would be larger than 300 bytes"),
        }
    }
}

impl core::error::Error for ConfigError {}
