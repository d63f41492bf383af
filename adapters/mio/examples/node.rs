//! A node on real sockets: discovery, sessions, and a shutdown that tells every peer.
//!
//! `cargo run -p peerless-mio --example node -- enode://...` listens at port 30303, starts discovery from that node, keeps
//! a session with it, and shuts down after a minute. Without an enode, two nodes find each other on loopback.

use std::error::Error;
use std::net::{Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use peerless::contract::{Command, Event, PeerKind, Stage};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::eth::{Chain, Policy};
use peerless::node::{Config, Node};
use peerless::wire::enode::{Contact, Enode};
use peerless::wire::forkid::{Head, Network};
use peerless_mio::{Driver, Listen, Sockets, seed_from_os};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let Some(url) = std::env::args().nth(1) else { return demonstrate() };
    let contact = url.parse::<Enode>()?.contact().ok_or("an enode with an address is needed")?;
    let (mut driver, _) = start(&Listen::any(30303), Some(contact))?;
    driver.command(Command::AddPeer { contact, kind: PeerKind::Static })?;
    let start = Instant::now();
    while let Some(rest) = Duration::from_secs(60).checked_sub(start.elapsed()) {
        driver.turn(Some(rest), |event| print("node", &event))?;
    }
    driver.shutdown(Duration::from_secs(2), |event| print("node", &event))?;
    Ok(())
}

/// Two nodes: the second has the first as its bootnode, finds it, has a session with it, and shuts down.
fn demonstrate() -> Result<()> {
    let loopback = Listen::at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0));
    let (mut first, contact) = start(&loopback, None)?;
    let first = thread::spawn(move || {
        let mut over = false;
        while !over {
            first.turn(None, |event| {
                print("first ", &event);
                over |= matches!(event, Event::Ended { end, .. } if end.stage == Stage::Established);
            })?;
        }
        std::io::Result::Ok(())
    });
    let (mut second, _) = start(&loopback, Some(contact))?;
    let mut met = false;
    while !met {
        second.turn(None, |event| {
            print("second", &event);
            met |= matches!(event, Event::Established { .. });
        })?;
    }
    second.shutdown(Duration::from_secs(2), |event| print("second", &event))?;
    first.join().map_err(|_| "the first node panicked")??;
    Ok(())
}

/// Binds sockets and makes a node that listens on them.
fn start(listen: &Listen, bootnode: Option<Contact>) -> Result<(Driver, Contact)> {
    let sockets = Sockets::bind(listen)?;
    let (udp, tcp) = (sockets.udp_addr().ok_or("no UDP")?, sockets.tcp_addr().ok_or("no TCP")?);
    let secret = SecretKey::from_bytes(seed_from_os()?)?;
    let contact = Contact::new(Secp256k1::new().public_key(&secret), udp.ip(), udp.port(), tcp.port());
    println!("listening as {contact}");

    let mainnet = Network::public("mainnet").ok_or("a network of that name")?;
    let genesis = Head { hash: *mainnet.schedule.genesis(), ..Head::default() };
    let mut config = Config::new(secret, Chain::new(mainnet, genesis, 0, [0; 32]));
    config.addresses.udp = udp.port();
    config.addresses.tcp = tcp.port();
    if bootnode.is_some() {
        // Peers of any chain are sent their own Status back.
        config.status = Policy::Mirror;
    }
    if let Some(discovery) = &mut config.discovery.discv4 {
        discovery.bootnodes.extend(bootnode);
    }
    let seed = seed_from_os()?;
    let driver = Driver::new(sockets, |now, unix| Node::new(config, seed, now, unix))?;
    Ok((driver, contact))
}

fn print(name: &str, event: &Event<'_>) {
    match event {
        Event::NodeAdded { contact } => println!("{name}: found {contact}"),
        Event::Hello { conn, direction, hello, .. } => println!("{name}: {conn} {direction} is {:?}", hello.client),
        Event::Established { conn, id, status } => {
            println!("{name}: {conn} established with {id}, eth/{}", status.version);
        }
        Event::Ended { conn, end, .. } => println!("{name}: {conn} {end}"),
        _ => {}
    }
}
