//! The command `listen`: a node that only discovers, and what comes to it.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use peerless::contract::{Event, Input, SocketId, Tap};
use peerless::crypto::NodeId;
use peerless::netfilter::NetFilter;
use peerless::node::Discoverer;
use peerless::time::Instant;
use peerless::wire::discv4::{Datagram, Kind};
use peerless::wire::discv5::{Header, Packet};
use peerless_mio::Listen;
use serde::Serialize;
use serde_json::json;

use super::{Protocol, config, start};
use crate::key::Identity;
use crate::output::Output;
use crate::target::{Target, resolve_all};
use crate::{Outcome, driving};

/// Longest sleep of a turn, after which the program checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `listen`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Nodes at which discovery starts
    #[arg(long, env = "PEERLESS_BOOTNODES", value_name = "ENODE|ENR,...", value_delimiter = ',')]
    bootnodes: Vec<Target>,
    /// How long to run [default: until interrupted]
    #[arg(long, env = "PEERLESS_DURATION", value_name = "TIME")]
    duration: Option<humantime::Duration>,
}

/// Where a node that only discovers listens, and who it is.
#[derive(Args)]
pub(crate) struct Place {
    #[command(flatten)]
    pub(super) identity: Identity,
    /// Address to listen at [default: every address of this machine, IPv4 and IPv6]
    #[arg(long, env = "PEERLESS_ADDR", value_name = "IP")]
    pub(super) addr: Option<IpAddr>,
    /// Discovery port; 0 takes any
    #[arg(long, env = "PEERLESS_PORT", default_value_t = 30301)]
    pub(super) port: u16,
}

impl Place {
    pub(super) fn listen(&self) -> Listen {
        let ip = self.addr.unwrap_or(IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED));
        Listen::default().and_udp(SocketAddr::new(ip, self.port))
    }
}

/// The first line of a node that only discovers.
#[derive(Serialize)]
pub(super) struct Started {
    event: &'static str,
    enode: String,
    enr: String,
    node_id: String,
}

impl Started {
    pub(super) fn new(machine: &Discoverer) -> Self {
        let mut contact = machine.contact();
        if contact.ip().is_unspecified() {
            // As geth prints it for a node that does not know its address: it is valid on this machine.
            contact = contact.with_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Self {
            event: "started",
            enode: contact.to_string(),
            enr: machine.record().to_string(),
            node_id: contact.id().to_string(),
        }
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.enode, self.enr)
    }
}

/// Runs `listen`.
pub(crate) fn run(output: &Output, filter: &NetFilter, protocol: Protocol, arguments: &Arguments) -> Result<Outcome> {
    let mut config = config(arguments.place.identity.load_or_create()?, filter);
    protocol.select(&mut config);
    config.discovery.set_bootnodes(&resolve_all(&arguments.bootnodes)?);
    let mut driver = start(config, &arguments.place.listen())?;
    driver.set_tap(Box::new(Watch { output: *output, id: driver.machine().contact().id() }));
    output.report(&Started::new(driver.machine()));
    let interrupt = driving::Interrupt::listen()?;
    let end = arguments.duration.map(|duration| std::time::Instant::now() + *duration);
    while !interrupt.is_set() && end.is_none_or(|end| std::time::Instant::now() < end) {
        driver.turn(Some(LOOK_INTERVAL), |event| match event {
            Event::NodeAdded { contact } => output.report(&Line::new("added", contact.to_string())),
            Event::NodeRemoved { id } => output.report(&Line::new("removed", id.to_string())),
            _ => {}
        })?;
    }
    Ok(Outcome::Success)
}

/// A change of the table.
#[derive(Serialize)]
struct Line {
    event: &'static str,
    node: String,
}

impl Line {
    fn new(event: &'static str, node: String) -> Self {
        Self { event, node }
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.event, self.node)
    }
}

/// Prints each datagram that comes.
struct Watch {
    output: Output,
    id: NodeId,
}

impl Tap for Watch {
    fn input(&mut self, _: Instant, input: &Input<'_>) {
        if let Input::Datagram { socket: SocketId::MAIN, from, bytes } = input {
            let (protocol, kind) = name(&self.id, bytes);
            self.output.report(&Came { event: "datagram", from: *from, protocol, kind, bytes: bytes.len() });
        }
    }
}

/// A datagram.
#[derive(Serialize)]
struct Came {
    event: &'static str,
    from: SocketAddr,
    protocol: &'static str,
    kind: String,
    bytes: usize,
}

impl fmt::Display for Came {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} from {} ({} bytes)", self.protocol, self.kind, self.from, self.bytes)
    }
}

/// The protocol and kind of a datagram by its form alone: hash and signature are not checked.
fn name(id: &NodeId, bytes: &[u8]) -> (&'static str, String) {
    if let Ok(Some(packet)) = Packet::unmask(id, bytes) {
        let kind = match packet.header() {
            Header::Ordinary { .. } => "message",
            Header::Challenge(_) => "WHOAREYOU",
            Header::Handshake { .. } => "handshake",
        };
        return ("discv5", kind.to_owned());
    }
    match Datagram::split(bytes).and_then(|datagram| datagram.kind()) {
        Ok(kind) => ("discv4", kind_name(kind)),
        Err(_) => ("other", "datagram".to_owned()),
    }
}

fn kind_name(kind: Kind) -> String {
    format!("{kind:?}")
}

/// Numbers of a node that only discovers, for one interval.
#[derive(Serialize)]
pub(super) struct Numbers {
    event: &'static str,
    uptime_s: u64,
    /// Entries of the tables of discv4 and discv5.
    nodes: [usize; 2],
    /// Nodes that have answered, by either.
    live: usize,
    datagrams_in: u64,
    datagrams_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    dropped: BTreeMap<String, u64>,
}

impl Numbers {
    /// The counters since the start.
    pub(super) fn new(machine: &Discoverer, uptime: Duration) -> Self {
        let stats = machine.stats();
        let value = |dropped: (&peerless::contract::DropReason, &u64)| (dropped.0.to_string(), *dropped.1);
        Self {
            event: "stats",
            uptime_s: uptime.as_secs(),
            nodes: [
                machine.discovery().discv4().map_or(0, |discv4| discv4.table().len()),
                machine.discovery().discv5().map_or(0, |discv5| discv5.table().len()),
            ],
            live: machine.live_nodes().len(),
            datagrams_in: stats.datagrams_in.count,
            datagrams_out: stats.datagrams_out.count,
            bytes_in: stats.datagrams_in.bytes,
            bytes_out: stats.datagrams_out.bytes,
            dropped: stats.datagrams_dropped.iter().map(value).collect(),
        }
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { uptime_s, nodes: [discv4, discv5], live, datagrams_in, datagrams_out, dropped, .. } = self;
        write!(f, "{uptime_s} s: {live} live nodes ({discv4} by discv4, {discv5} by discv5), ")?;
        write!(f, "{datagrams_in} datagrams in, {datagrams_out} out")?;
        if dropped.is_empty() {
            return Ok(());
        }
        write!(f, ", dropped: {}", json!(dropped))
    }
}
