//! A node's configuration.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;

use super::discovery;
use crate::contract::{Addresses, PeerLimits, Snapshot};
use crate::crypto::SecretKey;
use crate::netfilter::{NetFilter, Reach};
use crate::protocols::{self, Chain, Policy};
use crate::rlpx::session::InvalidHello;
use crate::wire::enode::NamedNode;
use crate::wire::p2p::{Capability, CapabilityTable};

/// A node's configuration. Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The node's identity.
    pub secret: SecretKey,
    /// The client name in our Hello.
    pub client: String,
    /// The addresses at which other nodes reach this one, for its record and its pings. An IPv4 or IPv6 address that is set
    /// here is fixed.
    pub addresses: Addresses,
    /// Whether the node takes an address that is not fixed from what other nodes see, by a vote. On by default.
    pub learn_addresses: bool,
    /// The addresses that hold where none is fixed and other nodes have not said what they see: at most one of each
    /// family. None by default.
    pub assumed_addresses: Vec<IpAddr>,
    /// Further entries of the node's record, as RLP.
    pub record_entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The settings of the discovery protocols.
    pub discovery: discovery::Config,
    /// The network and its head.
    pub chain: Chain,
    /// Whether sessions announce our Status or echo the peer's.
    pub status: Policy,
    /// The capabilities in our Hello, in any order. All must be in `capability_table`.
    pub capabilities: Vec<Capability>,
    /// The number of message ids of each capability.
    pub capability_table: CapabilityTable,
    /// The limits on the numbers of peers and pending connections.
    pub peers: PeerLimits,
    /// The addresses that the node may send to, dial, accept and keep.
    pub filter: NetFilter,
    /// Bootnodes of every discovery protocol by host name, beside those with addresses in `discovery`. The node emits queries
    /// for them.
    pub named_bootnodes: Vec<NamedNode>,
    /// The addresses that the host can reach: all by default. The node treats others as if the filter forbade them.
    pub reach: Reach,
    /// The sequence number of our first record. Must grow from run to run; geth uses milliseconds since 1970.
    pub record_seq: u64,
    /// The state of an earlier run, from [`Node::snapshot`](super::Node::snapshot).
    pub snapshot: Snapshot,
    /// Whether each session's secrets are emitted as `Event::Secrets`, for a key log. Off by default.
    pub export_secrets: bool,
}

impl Config {
    /// Creates a configuration with discovery on, [`protocols::offered`] as capabilities, and port 30303.
    pub fn new(secret: SecretKey, chain: Chain) -> Self {
        Self {
            secret,
            client: String::from(concat!("Peerless/v", env!("CARGO_PKG_VERSION"), "/rust")),
            addresses: Addresses { udp: 30303, tcp: 30303, ..Addresses::default() },
            learn_addresses: true,
            assumed_addresses: Vec::new(),
            record_entries: BTreeMap::new(),
            discovery: discovery::Config::default(),
            chain,
            status: Policy::Announce,
            capabilities: protocols::offered(),
            capability_table: CapabilityTable::default(),
            peers: PeerLimits::default(),
            filter: NetFilter::default(),
            named_bootnodes: Vec::new(),
            reach: Reach::default(),
            record_seq: 1,
            snapshot: Snapshot::default(),
            export_secrets: false,
        }
    }
}

/// Why a configuration cannot work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// Our Hello cannot be encoded.
    Hello(InvalidHello),
    /// Our record would be larger than 300 bytes.
    Record,
    /// An entry of our record is reserved, or is not one RLP value.
    RecordEntry,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(why) => write!(f, "{why}"),
            Self::RecordEntry => f.write_str("an entry of our node record is reserved, or is not one RLP value"),
            Self::Record => f.write_str("our node record would be larger than 300 bytes"),
        }
    }
}

impl core::error::Error for ConfigError {}
