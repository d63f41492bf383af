//! Streams whose other end is the test: for peers that break the protocol.

use alloc::vec::Vec;
use core::net::SocketAddr;

use super::link::{Delivery, Stream};
use super::{Host, Net};
use crate::contract::{ConnId, Machine, SocketId};

/// A stream to a host whose other end is the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct RawStream {
    /// The host.
    pub host: Host,
    /// The connection's id at the host.
    pub conn: ConnId,
    stream: usize,
}

impl<M: Machine> Net<M> {
    /// Opens a stream to a host from any address; `None` if its machine does not accept it.
    pub fn connect_raw(&mut self, host: Host, from: SocketAddr) -> Option<RawStream> {
        let conn = self.members[host.0].machine.accept(self.now, SocketId::MAIN, from);
        let stream = self.streams.len();
        if let Some(conn) = conn {
            self.streams.push(Stream { ends: [None, Some((host, conn))], ..Stream::default() });
            self.members[host.0].ends.insert(conn, (stream, 1));
        }
        self.drain(host);
        Some(RawStream { host, conn: conn?, stream })
    }

    /// Sends bytes into a raw stream.
    pub fn write_raw(&mut self, raw: RawStream, bytes: &[u8]) {
        let was_empty = self.streams[raw.stream].pipes[1].is_empty();
        self.streams[raw.stream].pipes[1].extend(bytes);
        if was_empty && !bytes.is_empty() {
            self.later(Delivery::Bytes { stream: raw.stream, side: 1 });
        }
    }

    /// Takes what has come out of a raw stream.
    pub fn read_raw(&mut self, raw: RawStream) -> Vec<u8> {
        self.streams[raw.stream].pipes[0].drain(..).collect()
    }

    /// Whether the host has closed its end of a raw stream.
    pub fn is_closed(&self, raw: RawStream) -> bool {
        self.streams[raw.stream].closed[1]
    }

    /// Closes the test's end of a raw stream. Bytes that are on their way arrive before the end does.
    pub fn close_raw(&mut self, raw: RawStream) {
        self.streams[raw.stream].closed[0] = true;
        self.later(Delivery::Bytes { stream: raw.stream, side: 1 });
    }

    /// Takes no more bytes out of a raw stream, as a peer with a closed window does, or takes them again.
    pub fn stall_raw(&mut self, raw: RawStream, is_stalled: bool) {
        self.streams[raw.stream].is_stalled = is_stalled;
        self.later(Delivery::Write { host: raw.host, conn: raw.conn });
    }
}
