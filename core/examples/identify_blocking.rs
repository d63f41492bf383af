//! Identifies a peer: dials it, prints its Hello and its Status, and disconnects. Blocking `std` sockets, no discovery,
//! and the peer's own Status as the answer, so that it need not be on the same chain.
//!
//! `cargo run -p peerless --example identify_blocking -- enode://...`; without an enode it identifies a second local
//! node.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::error::Error;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, SystemTime};

use peerless::contract::{Action, Command, ConnId, Event, Input, IoFault, SocketId};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::eth::{Chain, Policy};
use peerless::node::{Config, Node};
use peerless::time::{Instant, UnixTime};
use peerless::wire::enode::{Contact, Enode};
use peerless::wire::eth::ChainState;
use peerless::wire::forkid::{Head, Network};
use peerless::wire::p2p::DisconnectReason;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let contact = match std::env::args().nth(1) {
        Some(url) => url.parse::<Enode>()?.contact().ok_or("an enode with an address is needed")?,
        None => {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            let addr = listener.local_addr()?;
            let secret = SecretKey::from_bytes(random())?;
            let contact = Contact::new(Secp256k1::new().public_key(&secret), addr.ip(), 0, addr.port());
            let mut driver = Driver::new(secret, Policy::Announce)?;
            std::thread::spawn(move || {
                let accepted = listener.accept().map_err(|error| error.to_string())?;
                driver.accept(accepted).map_err(|error| error.to_string())
            });
            contact
        }
    };
    Driver::new(SecretKey::from_bytes(random())?, Policy::Mirror)?.identify(contact)
}

/// A node with one stream at a time.
struct Driver {
    node: Node,
    epoch: std::time::Instant,
    stream: Option<(ConnId, TcpStream)>,
}

impl Driver {
    fn new(secret: SecretKey, status: Policy) -> Result<Self> {
        let mainnet = Network::public("mainnet").ok_or("a network of that name")?;
        let genesis = Head { hash: *mainnet.schedule.genesis(), ..Head::default() };
        let mut config = Config::new(secret, Chain::new(mainnet, genesis, 0, [0; 32]));
        config.discovery.switch_off();
        config.status = status;
        config.addresses.udp = 0;
        config.addresses.tcp = 0;
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
        let node = Node::new(config, random(), Instant::ZERO, UnixTime::from_secs(unix.as_secs()))?;
        Ok(Self { node, epoch: std::time::Instant::now(), stream: None })
    }

    fn now(&self) -> Instant {
        Instant::ZERO + self.epoch.elapsed()
    }

    /// Dials a peer, prints its identity, and disconnects.
    fn identify(&mut self, contact: Contact) -> Result<()> {
        println!("dialling {contact}");
        self.node.command(self.now(), Command::Dial { contact })?;
        while !self.turn(true)? {}
        Ok(())
    }

    /// Serves one accepted stream.
    fn accept(&mut self, (stream, from): (TcpStream, std::net::SocketAddr)) -> Result<()> {
        let Some(conn) = self.node.accept(self.now(), SocketId::MAIN, from) else { return Ok(()) };
        self.stream = Some((conn, stream));
        while !self.turn(false)? {}
        Ok(())
    }

    /// Carries out the node's actions, and reads once. Returns whether the connection has ended.
    fn turn(&mut self, tell: bool) -> Result<bool> {
        let now = self.now();
        let mut goodbye = None;
        while let Some(action) = self.node.poll_action() {
            match action {
                Action::Dial { conn, to } => match TcpStream::connect_timeout(&to, Duration::from_secs(10)) {
                    Ok(stream) => {
                        self.stream = Some((conn, stream));
                        self.node.handle(now, Input::Connected { conn, local: None });
                    }
                    Err(error) => {
                        let why = match error.kind() {
                            ErrorKind::ConnectionRefused => IoFault::Refused,
                            ErrorKind::TimedOut => IoFault::TimedOut,
                            _ => IoFault::Other,
                        };
                        self.node.handle(now, Input::Broken { conn, why });
                    }
                },
                Action::Flush { conn } => {
                    let Some((_, stream)) = &mut self.stream else { continue };
                    let bytes = self.node.outbound(conn);
                    let n = bytes.len();
                    match stream.write_all(bytes) {
                        Ok(()) => self.node.handle(now, Input::Wrote { conn, n }),
                        Err(_) => self.node.handle(now, Input::Broken { conn, why: IoFault::Reset }),
                    }
                }
                Action::Close { .. } => self.stream = None,
                Action::Emit(Event::Hello { hello, .. }) if tell => {
                    println!("Hello from {:?}, which offers {:?}", hello.client, hello.capabilities);
                }
                Action::Emit(Event::Established { conn, status, .. }) if tell => {
                    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
                    println!("Status of eth/{}: network {}", status.version, status.network_id);
                    println!("  genesis {}", hex(&status.genesis));
                    println!("  fork id {}, next {}", hex(&status.fork_id.hash), status.fork_id.next);
                    match &status.chain {
                        ChainState::Difficulty { head, .. } => println!("  head {}", hex(head)),
                        ChainState::Range(range) => println!("  blocks {} to {}", range.earliest, range.latest),
                    }
                    goodbye = Some(conn);
                }
                Action::Emit(Event::Ended { end, .. }) => {
                    if tell {
                        println!("{end}");
                    }
                    return Ok(true);
                }
                Action::Query { .. } | Action::Emit(_) | Action::Send { .. } => {}
            }
        }
        if let Some(conn) = goodbye {
            self.node.command(now, Command::Disconnect { conn, reason: DisconnectReason::Requested })?;
            return Ok(false);
        }
        self.read()?;
        Ok(false)
    }

    /// Waits for bytes or for the next deadline.
    fn read(&mut self) -> Result<()> {
        let Some((conn, stream)) = &mut self.stream else { return Ok(()) };
        let conn = *conn;
        if self.node.wants_read(conn) {
            let now = Instant::ZERO + self.epoch.elapsed();
            let wait = self.node.poll_timeout().map(|(at, _)| at.since(now).max(Duration::from_millis(1)));
            stream.set_read_timeout(wait)?;
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer);
            let now = self.now();
            match read {
                Ok(0) => self.node.handle(now, Input::Eof { conn }),
                Ok(n) => self.node.handle(now, Input::Bytes { conn, bytes: &buffer[..n] }),
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => self.node.handle(now, Input::Broken { conn, why: IoFault::Reset }),
            }
        }
        self.node.handle(self.now(), Input::Timeout);
        Ok(())
    }
}

/// Entropy from `std`: sufficient for an example, not for a key that is kept.
fn random() -> [u8; 32] {
    std::array::from_fn(|_| RandomState::new().build_hasher().finish() as u8)
}
