//! The driver's promises (see the crate's documentation), each by tests that fail if it is broken.

mod queries;
mod script;
mod sources;
mod streams;

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant as Clock};

use peerless::contract::{ConnId, SocketId};

use self::script::{Do, Script, Seen};
use super::Driver;
use crate::{Listen, Sockets};

/// For how long anything on loopback may take before its test fails. Sleeps that should end at once may last so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// A port of 127.0.0.1 that is free.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

impl Driver<Script> {
    /// A driver on loopback that was told the wall time.
    fn scripted(listen: &Listen) -> Self {
        let mut driver = Self::new(Sockets::bind(listen).unwrap(), |_, _| Ok::<_, ()>(Script::default())).unwrap();
        driver.turn(Some(Duration::ZERO), |_| ()).unwrap();
        driver
    }

    /// Gives commands, one after another.
    fn script<'a>(&mut self, commands: impl IntoIterator<Item = Do<'a>>) {
        for command in commands {
            self.command(command).unwrap();
        }
    }

    /// A turn that may sleep for [`PATIENCE`], and must not: something is due or left to do.
    fn busy_turn(&mut self) {
        let start = Clock::now();
        self.turn(Some(PATIENCE), |_| ()).unwrap();
        assert!(start.elapsed() < PATIENCE / 2, "the turn slept");
    }

    /// The inputs so far, without commands.
    fn seen(&self) -> Vec<&Seen> {
        self.machine().log.iter().map(|(_, seen)| seen).filter(|seen| **seen != Seen::Command).collect()
    }

    /// All bytes that were read from a stream.
    fn read_from(&self, conn: ConnId) -> Vec<u8> {
        let mut all = Vec::new();
        for seen in self.seen() {
            if let Seen::Bytes(of, bytes) = seen
                && *of == conn
            {
                all.extend_from_slice(bytes);
            }
        }
        all
    }

    /// Takes turns until `done`.
    fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = Clock::now() + PATIENCE;
        while !done(self) {
            assert!(Clock::now() < deadline, "{what}: not in {PATIENCE:?}");
            self.turn(Some(Duration::from_millis(100)), |_| ()).unwrap();
        }
    }

    /// A blocking peer whose stream was accepted.
    fn accepted(&mut self) -> (ConnId, TcpStream) {
        let peer = TcpStream::connect(self.sockets().tcp_addr().unwrap()).unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        let from = peer.local_addr().unwrap();
        self.until("a stream", |driver| driver.seen().contains(&&Seen::Incoming(SocketId::MAIN, from)));
        (ConnId(self.machine().conns() - 1), peer)
    }

    /// A blocking peer that was dialled.
    fn dialled(&mut self) -> (ConnId, TcpStream) {
        let listener = TcpListener::bind(LOOPBACK).unwrap();
        self.script([Do::Dial(listener.local_addr().unwrap())]);
        let conn = ConnId(self.machine().conns() - 1);
        let is_connected = |seen: &&Seen| matches!(seen, Seen::Connected(of, _) if *of == conn);
        self.until("a dial", |driver| driver.seen().iter().any(is_connected));
        let (peer, _) = listener.accept().unwrap();
        peer.set_read_timeout(Some(PATIENCE)).unwrap();
        (conn, peer)
    }
}

/// Reads exactly so many bytes.
fn read_exactly(peer: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    peer.read_exact(&mut bytes).unwrap();
    bytes
}

/// Bytes of which no two stretches are alike.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}
