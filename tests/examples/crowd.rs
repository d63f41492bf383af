//! E6 on the wall clock: what a request of an honest peer waits for at a real node on loopback, while 33 other sessions send as
//! fast as it reads. The same in units of work is a test, `expensive_messages_do_not_starve_an_honest_peer`.
//!
//! `cargo run --release -p peerless-tests --example crowd`

#![allow(clippy::disallowed_types, clippy::disallowed_methods, missing_docs)]

use std::error::Error;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use peerless::contract::{Command, ConnId, Event};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::limits::MESSAGE_BYTES_MAX;
use peerless::node::{Config, Node};
use peerless::rlpx::{Frames, Progress};
use peerless::rng::{Rng, Seed};
use peerless::testing::chain;
use peerless::wire::enode::Contact;
use peerless::wire::eth::{self, id};
use peerless::wire::p2p::{self, Capability};
use peerless::wire::snappy;
use peerless_mio::{Driver, Listen, Sockets};
use peerless_tests::load::{Load, pack};
use peerless_tests::stranger::Stranger;

type Fallible<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

const ETH: Capability = Capability::eth(69);
/// The number of the honest peer's key; those of the others follow.
const HONEST: u8 = 0;
const LOUD: u8 = 33;
/// Requests of the honest peer beside each load.
const REQUESTS: u32 = 300;
/// The longest that a step on loopback may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A peer's side of a session, over a real stream.
struct Peer {
    stream: TcpStream,
    frames: Frames,
    crypto: Secp256k1,
    /// What waits to be written, and how much of it is.
    pending: (Vec<u8>, usize),
}

impl Peer {
    fn establish(number: u8, to: &Contact) -> Fallible<Self> {
        let mut stranger = Stranger::new(number);
        let mut stream = TcpStream::connect(to.tcp_addr())?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let (mut handshake, auth) = stranger.auth(to.key());
        stream.write_all(&auth)?;
        let mut byte = [0; 1];
        let frames = loop {
            stream.read_exact(&mut byte)?;
            match stranger.shake(&mut handshake, &mut &byte[..]) {
                Progress::Pending => {}
                Progress::Failed(fault) => return Err(format!("{fault:?}").into()),
                Progress::Done(agreed) => break agreed.frames,
            }
        };
        let mut peer = Self { stream, frames, crypto: Secp256k1::new(), pending: (Vec::new(), 0) };
        peer.seal(p2p::id::HELLO, &stranger.hello(ETH.version).encode());
        peer.seal(p2p::id::CAPABILITIES + id::STATUS, &pack(&[&chain(1).status(ETH.version).encode()]));
        peer.say()?;
        peer.hear(p2p::id::CAPABILITIES + id::STATUS)?;
        Ok(peer)
    }

    /// Appends a frame to what is to be written.
    fn seal(&mut self, id: u64, payload: &[u8]) {
        let (pending, _) = &mut self.pending;
        let start = self.frames.sealer.begin(pending);
        p2p::append_message_id(id, pending);
        pending.extend_from_slice(payload);
        self.frames.sealer.finish(&self.crypto, pending, start).expect("fits a frame");
    }

    /// Writes what the socket takes. Returns whether it took anything.
    fn write(&mut self) -> Fallible<bool> {
        let (pending, written) = &mut self.pending;
        let n = match self.stream.write(&pending[*written..]) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        *written += n;
        if *written == pending.len() {
            pending.clear();
            *written = 0;
        }
        Ok(n > 0)
    }

    fn say(&mut self) -> Fallible {
        while !self.pending.0.is_empty() {
            self.write()?;
        }
        Ok(())
    }

    /// Reads once, and tells each message.
    fn read(&mut self, mut on_message: impl FnMut(u64, &[u8])) -> Fallible {
        let mut buffer = [0; 16 << 10];
        let n = match self.stream.read(&mut buffer) {
            Ok(0) => return Err("the node has ended the session".into()),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error.into()),
        };
        let mut rest = &buffer[..n];
        while let Some(body) = self
            .frames
            .opener
            .handle_bytes(&self.crypto, &mut rest, MESSAGE_BYTES_MAX)
            .map_err(|fault| format!("{fault:?}"))?
        {
            let (id, payload) = p2p::split_message(body)?;
            on_message(id, payload);
        }
        Ok(())
    }

    /// Reads until a message with an id has come.
    fn hear(&mut self, awaited: u64) -> Fallible {
        let mut is_heard = false;
        while !is_heard {
            self.read(|id, _| is_heard |= id == awaited)?;
        }
        Ok(())
    }
}

/// The node: answers every request with an empty list, and asks all peers but the honest one for `Answers` without end.
fn serve(mut driver: Driver, load: Load, is_over: &AtomicBool) -> Fallible {
    let honest = Stranger::new(HONEST).id;
    let mut asked: Vec<ConnId> = Vec::new();
    let mut answers: Vec<(ConnId, u64, u64)> = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        driver.turn(Some(Duration::from_millis(50)), |event| match event {
            Event::Established { conn, id, .. } if id != honest && load == Load::Answers => asked.push(conn),
            Event::Response { conn, .. } => asked.push(conn),
            Event::Request { conn, request_id, id, .. } => answers.push((conn, request_id, id)),
            Event::Ended { id, end, .. } if !is_over.load(Ordering::Relaxed) => eprintln!("{id:?}: {end}"),
            _ => {}
        })?;
        for (conn, request_id, id) in answers.drain(..) {
            driver.command(Command::Respond { conn, capability: ETH, request_id, id, body: &[0xc0] })?;
        }
        for conn in asked.drain(..) {
            driver.command(Command::Request { conn, capability: ETH, id: id::GET_BLOCK_BODIES, body: &[0xc0] })?;
        }
    }
    Ok(())
}

/// The loud peers: each always has a message to write, and reads what comes.
fn shout(mut peers: Vec<Peer>, load: Load, is_over: &AtomicBool) -> Fallible {
    let payload = load.payload(&mut Seed::new([5; 32]).fork("load"));
    let message = if load == Load::Answers { Vec::new() } else { pack(&[&payload]) };
    let message_id = p2p::id::CAPABILITIES + load.message_id();
    for peer in &peers {
        peer.stream.set_nonblocking(true)?;
    }
    while !is_over.load(Ordering::Relaxed) {
        let mut has_moved = false;
        for peer in &mut peers {
            let mut asked = Vec::new();
            peer.read(|id, payload| {
                if load == Load::Answers && id == p2p::id::CAPABILITIES + id::GET_BLOCK_BODIES {
                    asked.push(payload.to_vec());
                }
            })?;
            for request in asked {
                let mut inflated = vec![0; snappy::inflated_len(&request, 1 << 10)?];
                snappy::inflate(&request, &mut inflated)?;
                let (request_id, _) = eth::request_id(&inflated)?;
                let answer = pack(&[eth::envelope(request_id, payload.len()).as_slice(), &payload]);
                peer.seal(message_id, &answer);
            }
            if peer.pending.0.is_empty() && load != Load::Answers {
                peer.seal(message_id, &message);
            }
            has_moved |= !peer.pending.0.is_empty() && peer.write()?;
        }
        if !has_moved {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    Ok(())
}

/// What each request of the honest peer waits for, in ascending order.
fn ask(mut peer: Peer, rng: &mut Rng) -> Fallible<Vec<Duration>> {
    let mut waits = Vec::new();
    for _ in 0..REQUESTS {
        std::thread::sleep(Duration::from_micros(500 + rng.below(6000)));
        let begun = Instant::now();
        peer.seal(p2p::id::CAPABILITIES + id::GET_BLOCK_HEADERS, &pack(&[&[0xc2, 5, 1]]));
        peer.say()?;
        peer.hear(p2p::id::CAPABILITIES + id::BLOCK_HEADERS)?;
        waits.push(begun.elapsed());
    }
    waits.sort_unstable();
    Ok(waits)
}

/// The median and the 99th percentile beside a load.
fn beside(load: Load) -> Fallible<[Duration; 2]> {
    let host = Ipv4Addr::LOCALHOST;
    let sockets = Sockets::bind(&Listen::at((host, 0).into()))?;
    let (udp, tcp) = (sockets.udp_addr().map_or(0, |at| at.port()), sockets.tcp_addr().map_or(0, |at| at.port()));
    let secret = SecretKey::from_bytes([9; 32])?;
    let contact = Contact::new(Secp256k1::new().public_key(&secret), host.into(), udp, tcp);
    let mut config = Config::new(secret, chain(1));
    config.discovery.switch_off();
    config.addresses.set_ip(host.into());
    (config.addresses.udp, config.addresses.tcp) = (udp, tcp);
    config.filter = "127.0.0.0/8".parse()?;
    let driver = Driver::new(sockets, |now, unix| Node::new(config, [9; 32], now, unix))?;
    let is_over = &AtomicBool::new(false);
    std::thread::scope(|scope| {
        let node = scope.spawn(move || serve(driver, load, is_over));
        let waits = (|| {
            let honest = Peer::establish(HONEST, &contact)?;
            let loud = (1..=LOUD).map(|number| Peer::establish(number, &contact)).collect::<Fallible<Vec<_>>>()?;
            let shouting = scope.spawn(move || shout(loud, load, is_over));
            // Until all buffers are full.
            std::thread::sleep(Duration::from_millis(300));
            let waits = ask(honest, &mut Seed::new([6; 32]).fork("honest"));
            is_over.store(true, Ordering::Relaxed);
            shouting.join().map_err(|_| "a panic")??;
            waits
        })();
        is_over.store(true, Ordering::Relaxed);
        node.join().map_err(|_| "a panic")??;
        let waits = waits?;
        Ok([50, 99].map(|percent| waits[waits.len() * percent / 100]))
    })
}

fn main() -> Fallible {
    let ordinary = beside(Load::Ordinary)?;
    println!("an honest request's median and 99th percentile, beside 33 sessions at line rate");
    for load in [Load::Ordinary, Load::Bombs, Load::Items, Load::Requests, Load::Answers] {
        let waits = if load == Load::Ordinary { ordinary } else { beside(load)? };
        let [p50, p99] = [0, 1].map(|i| {
            let (wait, usual) = (waits[i].as_secs_f64() * 1e3, ordinary[i].as_secs_f64() * 1e3);
            format!("{wait:7.2} ms ({:.2} of ordinary, {:+.2} ms)", wait / usual, wait - usual)
        });
        println!("{:<9} {p50}  {p99}", format!("{load:?}"));
    }
    Ok(())
}
