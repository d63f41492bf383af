//! The configuration of a crawl.

use peerless::contract::Addresses;
use peerless::crypto::SecretKey;
use peerless::netfilter::NetFilter;
use peerless::time::Duration;
use peerless::wire::enode::Contact;

/// How much of a node's table is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Depth {
    /// From the farthest bucket on, until two answers in a row have named no new node.
    #[default]
    Fresh,
    /// All buckets: for a graph of neighbours.
    Whole,
}

/// A node of an earlier run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its key and endpoint.
    pub contact: Contact,
    /// The sequence number of its record, if one is known; else 0.
    pub seq: u64,
    /// The protocols by which it is not to be asked: it was, in the run that is resumed. By discv4 and by discv5.
    pub is_asked: [bool; 2],
}

/// The limits of a crawl.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// Nodes that are asked at once.
    pub visits_max: u32,
    /// Datagrams sent in a second.
    pub datagrams_per_second: u32,
    /// Datagrams sent in a second to an IPv4 /24 or an IPv6 /56. Local addresses have no such limit.
    pub subnet_datagrams_per_second: u32,
    /// Times that a request is sent.
    pub attempts: u8,
    /// The wait for an answer to the first attempt; it doubles with each.
    pub timeout: Duration,
    /// The pause between an answer and the next request to the same node.
    pub gap: Duration,
    /// Nodes that are kept.
    pub nodes_max: u32,
    /// Nodes that are kept of an IPv4 /24 or an IPv6 /56. Local addresses have no such limit.
    pub subnet_nodes_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            visits_max: 4096,
            datagrams_per_second: 4000,
            subnet_datagrams_per_second: 32,
            attempts: 3,
            timeout: Duration::from_millis(500),
            gap: Duration::from_millis(250),
            nodes_max: 1 << 20,
            subnet_nodes_max: 1024,
        }
    }
}

/// The configuration of a [`Crawler`](crate::Crawler). Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The crawler's identity.
    pub secret: SecretKey,
    /// Its addresses, for its record and its pings.
    pub addresses: Addresses,
    /// The sequence number of its record. Must grow from run to run.
    pub record_seq: u64,
    /// The addresses that it may send to.
    pub filter: NetFilter,
    /// Whether nodes are asked by discv4.
    pub discv4: bool,
    /// Whether nodes are asked by discv5.
    pub discv5: bool,
    /// The nodes of an earlier run, in the order of their numbers.
    pub known: Vec<Known>,
    /// The nodes to start from.
    pub bootnodes: Vec<Contact>,
    /// How much of each node's table is asked for.
    pub depth: Depth,
    /// Whether the neighbours of each node are told.
    pub neighbours: bool,
    /// The limits.
    pub limits: Limits,
}

impl Config {
    /// A crawl by both protocols, without nodes to start from.
    pub fn new(secret: SecretKey) -> Self {
        Self {
            secret,
            addresses: Addresses::default(),
            record_seq: 1,
            filter: NetFilter::default(),
            discv4: true,
            discv5: true,
            known: Vec::new(),
            bootnodes: Vec::new(),
            depth: Depth::Fresh,
            neighbours: false,
            limits: Limits::default(),
        }
    }
}
