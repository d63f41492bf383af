//! The command `node`: one node until interrupted.
//!
//! It has no chain: it announces a configured head, and answers every request with an empty list, so that peers stay.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless::contract::{Addresses, Command, Event, PeerKind};
use peerless::dns;
use peerless::limits::LISTS_MAX;
use peerless::netfilter::{NetFilter, Reach};
use peerless::node::Node;
use peerless::wire::dns::Link;
use peerless_mio::{Driver, Listen};
use serde::Serialize;
use serde_json::{Value, json};

use crate::answers::{Answers, Question};
use crate::key::Identity;
use crate::nat::{self, Nat};
use crate::networks::{self, ForkReport};
use crate::output::Output;
use crate::protocols::Protocols;
use crate::resolvers::Resolvers;
use crate::target::{Place, Port};
use crate::targets::Targets;
use crate::{Outcome, driving, keylog, target, trace};

/// Longest sleep of a turn, after which the program checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// Time between two looks for routes.
const ROUTE_INTERVAL: Duration = Duration::from_secs(30);
/// Limit for the final Disconnects.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(3);
/// An empty RLP list, the answer to every request.
const NOTHING: &[u8] = &[0xc0];

/// Arguments of `node`.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    network: networks::Selection,
    /// Address to listen at, or one of each family [default: every address of this machine, IPv4 and IPv6]
    #[arg(long, env = "PEERLESS_ADDR", value_name = "IP", value_delimiter = ',')]
    addr: Vec<IpAddr>,
    /// RLPx port; 0 takes any
    #[arg(long, env = "PEERLESS_PORT", default_value_t = 30303)]
    port: u16,
    /// Discovery port, if it is not the RLPx port
    #[arg(long = "discovery.port", env = "PEERLESS_DISCOVERY_PORT", value_name = "PORT")]
    discovery_port: Option<u16>,
    /// Turn discovery off
    #[arg(long, env = "PEERLESS_NODISCOVER", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    nodiscover: bool,
    #[command(flatten)]
    protocols: Protocols,
    /// External address and port mappings: none (other nodes say what they see), any, upnp, pmp, pmp:IP, stun:HOST, or
    /// extip:IP, also one of each family
    #[arg(long, env = "PEERLESS_NAT", value_name = "NAT", default_value = "none", value_delimiter = ',')]
    nat: Vec<Nat>,
    /// Nodes at which discovery starts, instead of the network's own; a file may be a list of any format, "" is none
    #[arg(long, env = "PEERLESS_BOOTNODES", value_name = "ENODE|ENR|FILE,...")]
    bootnodes: Option<Targets>,
    /// Node lists in DNS to take peers from, also with --nodiscover
    #[arg(long = "discovery.dns", env = "PEERLESS_DISCOVERY_DNS", value_name = "ENRTREE,...", value_delimiter = ',')]
    discovery_dns: Vec<Link>,
    #[command(flatten)]
    servers: crate::dns::Servers,
    /// Peers to stay connected to
    #[arg(long = "static-peers", env = "PEERLESS_STATIC_PEERS", value_name = "ENODE|ENR|FILE,...")]
    static_peers: Option<Targets>,
    /// Maximum number of peers
    #[arg(long, env = "PEERLESS_MAXPEERS", default_value_t = 50, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16))]
    maxpeers: u16,
    #[command(flatten)]
    keylog: keylog::KeyLogArguments,
    /// Record the node's inputs and actions into this new file, which Wireshark opens
    #[arg(long, env = "PEERLESS_TRACE", value_name = "FILE")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    recording: trace::RecordingArguments,
}

impl Arguments {
    fn listen(&self) -> Result<Listen> {
        let (ip, other) = match self.addr[..] {
            [] => (IpAddr::V6(Ipv6Addr::UNSPECIFIED), None),
            [ip] => (ip, None),
            [ip, other] if ip.is_ipv4() != other.is_ipv4() => (ip, Some(other)),
            _ => bail!("--addr takes one address, or one of each family"),
        };
        let mut listen = Listen::default().and_tcp(SocketAddr::new(ip, self.port));
        listen.beside = other;
        if self.nodiscover {
            return Ok(listen);
        }
        Ok(listen.and_udp(SocketAddr::new(ip, self.discovery_port.unwrap_or(self.port))))
    }
}

/// Runs `node`.
pub(crate) fn run(output: &Output, filter: &NetFilter, arguments: &Arguments) -> Result<Outcome> {
    let choice = arguments.network.choose()?;
    let mut config = driving::config(arguments.identity.load_or_create()?, &choice, filter)?;
    let nat = nat::Choice::new(&arguments.nat)?;
    nat.configure(&mut config.addresses);
    config.peers.max_peers = arguments.maxpeers.into();
    let static_peers = arguments.static_peers.as_ref().map_or(Ok(Vec::new()), Targets::load)?;
    let inputs = [arguments.identity.files(), arguments.network.files()].concat();
    let keys = arguments.keylog.open(&inputs)?;
    keys.configure(&mut config);
    let sockets = driving::bind(&mut config, &arguments.listen()?)?;
    config.reach = sockets.reach();
    let reachable = filter.clone().with_reach(config.reach);
    if !arguments.nodiscover {
        let mut bootnodes = Vec::new();
        match &arguments.bootnodes {
            Some(named) => {
                for place in target::places(&named.load()?, "bootnode", &reachable, Port::Udp)? {
                    match place {
                        Place::At(contacts) => bootnodes.extend(contacts),
                        Place::Named(node) => config.named_bootnodes.push(node),
                    }
                }
            }
            None => bootnodes = choice.bootnodes.clone(),
        }
        arguments.protocols.configure(&mut config.discovery, &bootnodes);
    }
    if arguments.discovery_dns.len() > LISTS_MAX {
        bail!("at most {LISTS_MAX} node lists can be read");
    }
    config.discovery.dns =
        (!arguments.discovery_dns.is_empty()).then(|| dns::Config::new(arguments.discovery_dns.clone()));
    let servers = config.discovery.dns.as_ref().map(|_| arguments.servers.choose(filter)).transpose()?;
    let static_peers = target::places(&static_peers, "static peer", &reachable, Port::Tcp)?;
    let is_named = |place: &Place| matches!(place, Place::Named(_));
    let has_names = !config.named_bootnodes.is_empty() || static_peers.iter().any(is_named);
    let recording = arguments.trace.clone().map(|file| arguments.recording.to(file));
    let (configured, reach) = (config.addresses, config.reach);
    let mut driver = driving::start(config, sockets, recording.as_ref())?;
    if let Some(file) = &arguments.trace {
        arguments.recording.warn(file);
    }
    if has_names || servers.is_some() {
        driver.set_resolver(Box::new(Resolvers::new(servers, driver.waker())?));
    }
    for place in static_peers {
        keep(&mut driver, &place)?;
    }
    let interrupt = driving::Interrupt::listen()?;
    output.report(&Started::new(driver.node()));
    tracing::info!(network = choice.network.name, id = choice.network.network_id, "started");

    let mut nat = nat.start(configured, filter, &driver)?;
    let mut routes = Routes { reach, checked: Instant::now() };
    let mut answers = Answers::default();
    while !interrupt.is_set() {
        driver.turn(Some(LOOK_INTERVAL), |event| {
            answers.note(&event);
            keys.note(&event);
            note(output, &event);
        })?;
        nat.poll(&mut driver);
        routes.check(&mut driver);
        answers.give(|&Question { conn, capability, request_id, id }| {
            let command = Command::Respond { conn, capability, request_id, id, body: NOTHING };
            driver.command(command).map(|_| ())
        });
    }
    tracing::info!("shutting down");
    nat.stop();
    let left = driver.shutdown(SHUTDOWN_LIMIT, |event| note(output, &event))?;
    if left > 0 {
        tracing::warn!(left, "connections did not end in time");
    }
    Ok(Outcome::Success)
}

/// Keeps a connection with a static peer.
fn keep(driver: &mut Driver, place: &Place) -> Result<()> {
    let kind = PeerKind::Static;
    match place {
        Place::Named(node) => {
            let command = Command::AddPeerByName { node, kind };
            driver.command(command).with_context(|| format!("cannot keep {node} as a static peer"))?;
        }
        Place::At(contacts) => {
            for (at, contact) in contacts.iter().enumerate() {
                let contact = *contact;
                let command =
                    if at == 0 { Command::AddPeer { contact, kind } } else { Command::AddEndpoint { contact } };
                driver.command(command).with_context(|| format!("cannot keep {contact} as a static peer"))?;
            }
        }
    }
    Ok(())
}

/// Tells the node when a route to the addresses of a family has come or gone.
#[derive(Debug)]
struct Routes {
    reach: Reach,
    checked: Instant,
}

impl Routes {
    fn check(&mut self, driver: &mut Driver) {
        if self.checked.elapsed() < ROUTE_INTERVAL {
            return;
        }
        self.checked = Instant::now();
        let reach = driver.sockets().reach();
        if reach != self.reach && driver.command(Command::SetReach { reach }).is_ok() {
            tracing::info!(ip4 = ?reach.ip4, ip6 = ?reach.ip6, "other addresses can be reached");
            self.reach = reach;
        }
    }
}

/// Logs an event, and prints events of peers as JSON with `--json`.
fn note(output: &Output, event: &Event<'_>) {
    match event {
        Event::NodeAdded { contact } => tracing::debug!(node = ?contact.id(), addr = %contact.udp_addr(), "node added"),
        Event::NodeRemoved { id } => tracing::debug!(node = ?id, "node removed"),
        Event::Hello { conn, contact, direction, hello, .. } => {
            let (id, addr) = (&contact.id(), contact.tcp_addr());
            tracing::debug!(%conn, peer = ?id, %addr, %direction, client = %hello.client, "hello");
            tell(output, || {
                json!({"event": "hello", "conn": conn.0, "node_id": id.to_string(), "addr": addr,
                    "direction": direction.to_string(), "client": hello.client})
            });
        }
        Event::Established { conn, id, status } => {
            tracing::info!(%conn, peer = ?id, eth = status.version, network = status.network_id, "peer connected");
            tell(output, || {
                json!({"event": "established", "conn": conn.0, "node_id": id.to_string(), "eth": status.version,
                    "network_id": status.network_id, "fork_id": ForkReport::new(status.fork_id)})
            });
        }
        Event::Ended { conn, id, addr, direction, end } => {
            tracing::info!(%conn, peer = id.map(tracing::field::debug), %addr, %direction, "{end}");
            tell(output, || {
                json!({"event": "ended", "conn": conn.0, "node_id": id.map(|id| id.to_string()), "addr": addr,
                    "direction": direction.to_string(), "stage": end.stage.to_string(), "reason": end.why.to_string(),
                    "end": end.to_string()})
            });
        }
        Event::Banned { id, duration, reason } => {
            tracing::warn!(peer = ?id, ?duration, %reason, "peer banned");
            tell(output, || {
                json!({"event": "banned", "node_id": id.to_string(), "seconds": duration.as_secs(),
                    "reason": reason.to_string()})
            });
        }
        Event::HostFailed { id, why } => {
            tracing::warn!(node = ?id, "its host name: {why}; it is asked again");
            tell(output, || json!({"event": "host_failed", "node_id": id.to_string(), "reason": why.to_string()}));
        }
        Event::AddressChanged { addresses } => {
            let Addresses { ip4, ip6, .. } = addresses;
            let ((udp, tcp), (udp6, tcp6)) = (addresses.ports(false), addresses.ports(true));
            let show = |ip: Option<IpAddr>| ip.map(tracing::field::display);
            tracing::info!(ip4 = show(ip4.map(IpAddr::V4)), ip6 = show(ip6.map(IpAddr::V6)), udp, tcp, "new address");
            tell(
                output,
                || json!({"event": "address", "ip4": ip4, "ip6": ip6, "udp": udp, "tcp": tcp, "udp6": udp6, "tcp6": tcp6}),
            );
        }
        Event::Scored { id, delta, score, reason } => tracing::debug!(peer = ?id, delta, score, %reason, "scored"),
        Event::Request { conn, id, .. } => tracing::debug!(%conn, id, "request, answered with nothing"),
        Event::Message { conn, capability, id, payload } => {
            tracing::trace!(%conn, %capability, id, bytes = payload.len(), "message");
        }
        _ => tracing::trace!(?event),
    }
}

/// Prints an event with `--json`. Otherwise the log has it.
fn tell(output: &Output, value: impl FnOnce() -> Value) {
    if output.is_json() {
        output.report(&value());
    }
}

#[derive(Serialize)]
struct Started {
    event: &'static str,
    enode: String,
    enr: String,
    node_id: String,
    network: String,
    network_id: u64,
    genesis: String,
    fork_id: ForkReport,
}

impl Started {
    fn new(node: &Node) -> Self {
        let network = node.chain().network();
        let mut contact = node.contact();
        if contact.ip().is_unspecified() {
            // As geth prints it for a node that does not know its address: it is valid on this machine.
            contact = contact.with_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        Self {
            event: "started",
            enode: contact.to_string(),
            enr: node.record().to_string(),
            node_id: contact.id().to_string(),
            network: network.name.clone(),
            network_id: network.network_id,
            genesis: const_hex::encode(network.schedule.genesis()),
            fork_id: ForkReport::new(network.schedule.fork_id(node.chain().head())),
        }
    }
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.enode, self.enr)
    }
}
