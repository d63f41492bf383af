//! Whole nodes in the network: ready-made configurations, and what most tests ask of a node.

use alloc::format;
use core::net::Ipv4Addr;

use super::{Host, Net, START};
use crate::contract::{Command, ConnId, End, Event, Stage};
use crate::crypto::{SecretKey, keccak256};
use crate::eth::Chain;
use crate::node::{Config, Node, SessionView};
use crate::time::{Duration, Instant};
use crate::wire::enode::Contact;
use crate::wire::forkid::{ForkSchedule, Head, Network};

/// The port of the first node of [`config`].
const FIRST_PORT: u16 = 30_000;
/// The time in which [`Net::connect`] and [`Net::meet`] establish a session.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

/// The chain of a private network, with one fork ahead.
pub fn chain(network_id: u64) -> Chain {
    let schedule = ForkSchedule::new(keccak256(&network_id.to_be_bytes()), 0, &[], &[4_000_000_000]);
    let network = Network { name: format!("test-{network_id}"), network_id, schedule };
    Chain::new(network, Head { number: 100, time: START.as_secs(), hash: [9; 32] }, 0, [0; 32])
}

/// The configuration of node number `i` of a private network: on loopback, at a port and with a key of its own. The node
/// contacts loopback addresses only. It runs discv4 alone; set `discovery` for others.
///
/// # Panics
/// If `i` exceeds the number of ports.
pub fn config(i: usize, network_id: u64) -> Config {
    let mut secret = [0x11; 32];
    secret[24..].copy_from_slice(&(i as u64 + 1).to_be_bytes());
    let port = u16::try_from(i).ok().and_then(|i| FIRST_PORT.checked_add(i)).expect("a port for each node");
    let mut config = Config::new(SecretKey::from_bytes(secret).expect("in range"), chain(network_id));
    config.addresses.set_ip(Ipv4Addr::LOCALHOST.into());
    (config.addresses.udp, config.addresses.tcp) = (port, port);
    config.filter = "127.0.0.0/8,::1/128".parse().expect("two subnets");
    config.discovery.discv5 = None;
    config
}

/// As [`config`], without discovery: the node dials only what a command names.
pub fn quiet_config(i: usize, network_id: u64) -> Config {
    let mut config = config(i, network_id);
    config.discovery.switch_off();
    config
}

impl Net<Node> {
    /// A network of `N` nodes of network 1 without discovery.
    pub fn nodes<const N: usize>(seed: u64) -> (Self, [Host; N]) {
        let mut net = Self::new(seed);
        let hosts = core::array::from_fn(|i| net.add_node(quiet_config(i, 1)));
        (net, hosts)
    }

    /// A network of `N` nodes of network 1 that find each other: the first is the bootnode of the others.
    pub fn mesh<const N: usize>(seed: u64) -> (Self, [Host; N]) {
        let mut net = Self::new(seed);
        let mut boot = None;
        let hosts = core::array::from_fn(|i| {
            let mut config = config(i, 1);
            config.discovery.set_bootnodes(boot.as_slice());
            let host = net.add_node(config);
            boot.get_or_insert(net.contact(host));
            host
        });
        (net, hosts)
    }

    /// Adds a node, at the address that its configuration names.
    ///
    /// # Panics
    /// If the configuration is not valid.
    pub fn add_node(&mut self, config: Config) -> Host {
        let start = self.start();
        let node = Node::new(config, start.seed, start.now, start.unix).expect("a valid configuration");
        let addr = node.contact().udp_addr();
        self.insert(addr, node)
    }

    /// A node's contact.
    pub fn contact(&self, host: Host) -> Contact {
        self.machine(host).contact()
    }

    /// The number of a node's established sessions.
    pub fn established(&self, host: Host) -> usize {
        self.machine(host)
            .sessions()
            .filter(|session| session.stage == Stage::Established && !session.is_ending)
            .count()
    }

    /// A node's connection to another one, if it has an established session with it.
    pub fn conn(&self, host: Host, to: Host) -> Option<ConnId> {
        let id = Some(self.contact(to).id());
        let mut sessions = self.machine(host).sessions();
        let is_it =
            |session: &SessionView<'_>| session.id == id && session.stage == Stage::Established && !session.is_ending;
        sessions.find(is_it).map(|session| session.conn)
    }

    /// When and how a connection ended.
    pub fn end(&self, host: Host, of: ConnId) -> Option<(Instant, End)> {
        self.events(host).iter().find_map(|(at, event)| match event {
            Event::Ended { conn, end, .. } if *conn == of => Some((*at, *end)),
            _ => None,
        })
    }

    /// Has one node dial another, and runs until both have established the session. Returns the connection's id at each.
    ///
    /// # Panics
    /// If the dial is refused, or there is no session within half a minute.
    pub fn connect(&mut self, from: Host, to: Host) -> [ConnId; 2] {
        let contact = self.contact(to);
        if let Err(refused) = self.command(from, Command::Dial { contact }) {
            panic!("the dial is refused: {refused}");
        }
        self.meet(from, to)
    }

    /// Runs until two nodes have exactly one connection with each other, and an established session on it. Returns the
    /// connection's id at each.
    ///
    /// # Panics
    /// If there is no session within half a minute.
    pub fn meet(&mut self, one: Host, two: Host) -> [ConnId; 2] {
        let settled = |net: &Self, host: Host, to: Host| {
            let id = Some(net.contact(to).id());
            let connections = net.machine(host).sessions().filter(|session| session.id == id).count();
            net.conn(host, to).filter(|_| connections == 1)
        };
        let both = |net: &Self| Some([settled(net, one, two)?, settled(net, two, one)?]);
        self.run_until(SESSION_TIMEOUT, |net| both(net).is_some());
        both(self).expect("a session within half a minute")
    }
}
