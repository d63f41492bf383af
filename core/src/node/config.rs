//! What an embedder decides about a node before it starts.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use super::discovery;
use crate::contract::{Addresses, PeerLimits, Snapshot};
use crate::crypto::SecretKey;
use crate::netfilter::NetFilter;
use crate::protocols::{self, Chain, Policy};
use crate::rlpx::session::InvalidHello;
use crate::wire::p2p::{Capability, CapabilityTable};

/// A node's configuration. Start from [`Config::new`] and change what differs.
#[derive(Clone)]
pub struct Config {
    /// The node's identity.
    pub secret: SecretKey,
    /// The name in our Hello.
    pub client: String,
    /// Where others reach the node; goes into its record and its pings.
    pub addresses: Addresses,
    /// Further entries of the node's record, as RLP.
    pub record_entries: BTreeMap<Vec<u8>, Vec<u8>>,
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
    pub peers: PeerLimits,
    /// The addresses that the node may talk to.
    pub filter: NetFilter,
    /// Sequence number of our first record; must grow from run to run. Milliseconds since 1970 do, as in geth.
    pub record_seq: u64,
    /// What an earlier run remembered.
    pub snapshot: Snapshot,
    /// Whether each session's secrets are told by `Event::Secrets`: for a key log, never by default.
    pub export_secrets: bool,
}

impl Config {
    /// A node with discovery on, that offers [`protocols::offered`] on the given chain and listens at port 30303.
    pub fn new(secret: SecretKey, chain: Chain) -> Self {
        Self {
            secret,
            client: String::from(concat!("Peerless/v", env!("CARGO_PKG_VERSION"), "/rust")),
            addresses: Addresses { udp: 30303, tcp: 30303, ..Addresses::default() },
            record_entries: BTreeMap::new(),
            discovery: discovery::Config::default(),
            chain,
            status: Policy::Announce,
            capabilities: protocols::offered(),
            capability_table: CapabilityTable::default(),
            peers: PeerLimits::default(),
            filter: NetFilter::default(),
            record_seq: 1,
            snapshot: Snapshot::default(),
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
    /// An entry of our record that cannot be set, or is not one RLP value.
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
