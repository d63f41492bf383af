//! Pings a node's discovery port with the core and `std` alone: the whole driver is [`run`].
//!
//! `cargo run -p peerless --example ping_std -- enode://...`; without an enode it pings a second local node.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::time::{Duration, SystemTime};

use peerless::contract::{Action, Command, Event, Input, SocketId, Via};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::time::{Instant, UnixTime};
use peerless::wire::enode::{Contact, Enode};
use peerless::wire::forkid::{Head, Network};

fn main() -> Result<(), Box<dyn Error>> {
    let contact = match std::env::args().nth(1) {
        Some(url) => url.parse::<Enode>()?.contact().ok_or("an enode with an address is needed")?,
        None => {
            let (node, socket, contact) = start(Ipv4Addr::LOCALHOST.into())?;
            std::thread::spawn(move || run(node, &socket, None).map_err(|error| error.to_string()));
            contact
        }
    };
    println!("pinging {contact}");
    let local: IpAddr = match contact.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let (node, socket, _) = start(local)?;
    run(node, &socket, Some(contact))
}

/// Drives a node for ever, or until its ping to `contact` has an outcome.
fn run(mut node: Node, socket: &UdpSocket, contact: Option<Contact>) -> Result<(), Box<dyn Error>> {
    let epoch = std::time::Instant::now();
    let now = || Instant::ZERO + epoch.elapsed();
    if let Some(contact) = contact {
        node.command(now(), Command::Ping { via: Via::Discv4, contact })?;
    }
    let mut buffer = [0; 2048];
    loop {
        while let Some(action) = node.poll_action() {
            match action {
                // A datagram that cannot be sent counts as lost.
                Action::Send { to, bytes, .. } => drop(socket.send_to(bytes, to)),
                Action::Emit(Event::Pong { rtt, seen_as, enr_seq, .. }) => {
                    println!("pong after {rtt:?}; it sees us at {seen_as:?}, its record is number {enr_seq:?}");
                    return Ok(());
                }
                Action::Emit(Event::CallFailed { why, .. }) => return Err(why.to_string().into()),
                _ => {}
            }
        }
        let wait = node.poll_timeout().map(|(at, _)| at.since(now()).max(Duration::from_millis(1)));
        socket.set_read_timeout(wait)?;
        match socket.recv_from(&mut buffer) {
            Ok((n, from)) => node.handle(now(), Input::Datagram { socket: SocketId::MAIN, from, bytes: &buffer[..n] }),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            // An ICMP message about an earlier datagram.
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
            Err(error) => return Err(error.into()),
        }
        node.handle(now(), Input::Timeout);
    }
}

/// Makes a node with its own key at a free port.
fn start(ip: IpAddr) -> Result<(Node, UdpSocket, Contact), Box<dyn Error>> {
    let socket = UdpSocket::bind((ip, 0))?;
    let secret = SecretKey::from_bytes(random())?;
    let port = socket.local_addr()?.port();
    let contact = Contact::new(Secp256k1::new().public_key(&secret), ip, port, 0);
    let mainnet = Network::public("mainnet").ok_or("a network of that name")?;
    let genesis = Head { hash: *mainnet.schedule.genesis(), ..Head::default() };
    let mut config = Config::new(secret, Chain::new(mainnet, genesis, 0, [0; 32]));
    config.addresses.udp = port;
    config.addresses.tcp = 0;
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let node = Node::new(config, random(), Instant::ZERO, UnixTime::from_secs(unix.as_secs()))?;
    Ok((node, socket, contact))
}

/// Entropy from `std`: sufficient for an example, not for a key that is kept.
fn random() -> [u8; 32] {
    std::array::from_fn(|_| RandomState::new().build_hasher().finish() as u8)
}
