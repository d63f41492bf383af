//! Nodes on loopback, each with its driver, turned by one thread until something has happened.
#![allow(dead_code)]

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use peerless::contract::{CallFailure, Command, CommandId, ConnId, End, Event};
use peerless::crypto::{Crypto, NodeId, Secp256k1, SecretKey};
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::{Head, Network};
use peerless_mio::{Driver, Listen, Sockets};

/// How long anything on loopback may take before the test has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An event that owns its parts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Told {
    NodeAdded(NodeId),
    Pong(CommandId),
    CallFailed(CommandId, CallFailure),
    Established(ConnId, NodeId),
    Request { conn: ConnId, request_id: u64, id: u64, body: Vec<u8> },
    Response { command: CommandId, body: Vec<u8> },
    Ended(ConnId, End),
}

pub(crate) struct Peer {
    pub(crate) driver: Driver,
    pub(crate) contact: Contact,
    pub(crate) told: Vec<Told>,
}

impl Peer {
    /// A node at `host` with the secret key `key`, on ports that are free.
    pub(crate) fn new(host: &str, key: u8, configure: impl FnOnce(&mut Config)) -> Self {
        let host: IpAddr = host.parse().unwrap();
        let sockets = Sockets::bind(&Listen::at(SocketAddr::new(host, 0))).unwrap();
        let (udp, tcp) = (sockets.udp_addr().unwrap().port(), sockets.tcp_addr().unwrap().port());
        let secret = SecretKey::from_bytes([key; 32]).unwrap();
        let contact = Contact::new(Secp256k1::new().public_key(&secret), host, udp, tcp);
        let mut config = Config::new(secret, chain());
        config.addresses.set_ip(host);
        config.addresses.udp = udp;
        config.addresses.tcp = tcp;
        config.filter = "127.0.0.0/8,::1/128".parse().unwrap();
        configure(&mut config);
        let driver = Driver::new(sockets, |now, unix| Node::new(config, [key; 32], now, unix)).unwrap();
        Self { driver, contact, told: Vec::new() }
    }

    pub(crate) fn turn(&mut self, wait_max: Duration) {
        let told = &mut self.told;
        self.driver.turn(Some(wait_max), |event| told.extend(note(event))).unwrap();
    }

    pub(crate) fn command(&mut self, command: Command<'_>) -> CommandId {
        self.driver.command(command).unwrap_or_else(|error| panic!("{command:?}: {error}; told: {:#?}", self.told))
    }

    /// The last session that has not ended: of two dials that cross, one gives way.
    pub(crate) fn session(&self) -> Option<ConnId> {
        self.told.iter().rev().find_map(|told| match told {
            Told::Established(conn, _) if !self.told.iter().any(|t| matches!(t, Told::Ended(c, _) if c == conn)) => {
                Some(*conn)
            }
            _ => None,
        })
    }

    pub(crate) fn end(&self) -> Option<End> {
        self.told.iter().find_map(|told| if let Told::Ended(_, end) = told { Some(*end) } else { None })
    }

    pub(crate) fn requests(&self) -> usize {
        self.told.iter().filter(|told| matches!(told, Told::Request { .. })).count()
    }

    pub(crate) fn responses(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.told.iter().filter_map(|told| if let Told::Response { body, .. } = told { Some(body) } else { None })
    }

    /// Turns this node alone until `done`.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(Instant::now() < deadline, "{what} did not happen; told: {:?}", self.told);
            self.turn(Duration::from_millis(100));
        }
    }
}

/// Turns all nodes until `done`.
pub(crate) fn until<const N: usize>(mut peers: [&mut Peer; N], what: &str, mut done: impl FnMut([&Peer; N]) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done(peers.each_ref().map(|peer| &**peer)) {
        if Instant::now() > deadline {
            panic!("{what} did not happen; told: {:#?}", peers.map(|peer| peer.told.clone()));
        }
        for peer in &mut peers {
            peer.turn(Duration::from_millis(1));
        }
    }
}

/// Whether this machine has that address to listen on; some containers have no IPv6.
pub(crate) fn has(host: &str) -> bool {
    std::net::UdpSocket::bind((host, 0)).is_ok()
}

/// Dials `b` from `a` and waits for the session.
pub(crate) fn connect(a: &mut Peer, b: &mut Peer) -> (ConnId, ConnId) {
    let contact = b.contact;
    a.command(Command::Dial { contact });
    until([a, b], "a session", |[a, b]| a.session().is_some() && b.session().is_some());
    (a.session().unwrap(), b.session().unwrap())
}

fn note(event: Event<'_>) -> Option<Told> {
    Some(match event {
        Event::NodeAdded { contact } => Told::NodeAdded(contact.id()),
        Event::Pong { command, .. } => Told::Pong(command),
        Event::CallFailed { command, why } => Told::CallFailed(command, why),
        Event::Established { conn, id, .. } => Told::Established(conn, id),
        Event::Request { conn, request_id, id, body, .. } => {
            Told::Request { conn, request_id, id, body: body.to_vec() }
        }
        Event::Response { command, body, .. } => Told::Response { command, body: body.to_vec() },
        Event::Ended { conn, end, .. } => Told::Ended(conn, end),
        _ => return None,
    })
}

fn chain() -> Chain {
    let mainnet = Network::public("mainnet").unwrap();
    let genesis = Head { hash: *mainnet.schedule.genesis(), ..Head::default() };
    Chain::new(mainnet, genesis, 0, [0; 32])
}
