//! The streams of a driver, in a slab: what the operating system said of each, and the system calls on it.
//!
//! Readiness is edge-triggered: both interests are registered once, and what an edge said is kept here until a call
//! says otherwise. Buffers nothing. A [`ConnId`] (never reused) leads to a slab's key (reused). The other direction, from
//! an edge's key to a stream, is taken only while no stream can be added or removed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use peerless::contract::{ConnId, IoFault};
use peerless::netfilter::canonical;
use slab::Slab;

use crate::fault;
use crate::sockets::STREAMS;

/// What a dial has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dialled {
    /// Not decided yet, or not a dial, or told already.
    Pending,
    /// The stream is open.
    Connected,
    /// The dial failed.
    Failed(IoFault),
}

/// What a read has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moved {
    /// So many bytes, at least one.
    Bytes(usize),
    /// None until the next edge.
    Blocked,
    /// The peer closed its half of the stream. Returned once.
    Eof,
    /// The stream failed.
    Failed(IoFault),
}

struct Stream {
    conn: ConnId,
    io: TcpStream,
    connecting: bool,
    /// A read may give something. Never again after the end of the stream.
    readable: bool,
    at_eof: bool,
    /// A write may be taken.
    writable: bool,
    /// A write failed. What the peer sent before is read first: usually it holds the reason.
    fault: Option<IoFault>,
}

/// The streams of a driver.
#[derive(Default)]
pub(crate) struct Streams {
    slab: Slab<Stream>,
    places: BTreeMap<ConnId, usize>,
    /// Streams that are to be advanced: edges of this turn, failed writes, and streams whose reading a budget or the machine
    /// stopped.
    ready: BTreeSet<ConnId>,
}

impl Streams {
    /// Number of open streams, dials included.
    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Begins a dial.
    pub(crate) fn dial(&mut self, registry: &Registry, conn: ConnId, to: SocketAddr) -> Result<(), IoFault> {
        let io = TcpStream::connect(to).map_err(|error| fault::of(&error))?;
        self.insert(registry, conn, io, true)
    }

    /// Adds an accepted stream.
    pub(crate) fn adopt(&mut self, registry: &Registry, conn: ConnId, io: TcpStream) -> Result<(), IoFault> {
        // Without it small frames wait for the acknowledgement of earlier ones. A stream that refuses the option still works.
        let _ = io.set_nodelay(true);
        self.insert(registry, conn, io, false)
    }

    fn insert(
        &mut self,
        registry: &Registry,
        conn: ConnId,
        mut io: TcpStream,
        connecting: bool,
    ) -> Result<(), IoFault> {
        let place = self.slab.vacant_entry();
        registry
            .register(&mut io, Token(STREAMS + place.key()), Interest::READABLE | Interest::WRITABLE)
            .map_err(|error| fault::of(&error))?;
        self.places.insert(conn, place.key());
        let writable = !connecting;
        place.insert(Stream { conn, io, connecting, readable: false, at_eof: false, writable, fault: None });
        Ok(())
    }

    /// Closes a stream after its last write, if there is one with that id. Discards a buffer's worth of received bytes first:
    /// a close with bytes unread resets the stream, and what was written last may be lost with it.
    pub(crate) fn finish(&mut self, conn: ConnId, buffer: &mut [u8]) {
        let mut room = buffer.len();
        while room > 0 {
            match self.get_mut(conn).map(|stream| stream.io.read(&mut buffer[..room])) {
                Some(Ok(n @ 1..)) => room -= n,
                Some(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                _ => break,
            }
        }
        self.close(conn);
    }

    /// Closes a stream, if there is one with that id.
    pub(crate) fn close(&mut self, conn: ConnId) {
        self.ready.remove(&conn);
        if let Some(place) = self.places.remove(&conn) {
            self.slab.remove(place);
        }
    }

    /// Notes an edge. All edges of a turn are noted before a stream is added or removed.
    pub(crate) fn note(&mut self, edge: &mio::event::Event) {
        let place = edge.token().0.wrapping_sub(STREAMS);
        let Some(stream) = self.slab.get_mut(place) else { return };
        // An error or a hang-up is the result of a later call, after the bytes that came before it.
        let is_error = edge.is_error();
        stream.readable |= !stream.at_eof && (is_error || edge.is_readable() || edge.is_read_closed());
        stream.writable |= !stream.connecting && (is_error || edge.is_writable() || edge.is_write_closed());
        self.ready.insert(stream.conn);
    }

    /// The streams that are to be advanced.
    pub(crate) fn ready(&self) -> impl Iterator<Item = ConnId> {
        self.ready.iter().copied()
    }

    /// Whether a stream is to be advanced.
    pub(crate) fn is_ready(&self, conn: ConnId) -> bool {
        self.ready.contains(&conn)
    }

    /// Whether a stream can be advanced now; `wants_read` tells which ones the machine wants to read.
    pub(crate) fn has_work(&self, wants_read: impl Fn(ConnId) -> bool) -> bool {
        self.ready.iter().any(|conn| self.fault(*conn).is_some() || wants_read(*conn))
    }

    /// Takes a stream off those to be advanced, unless there is something left to read or to tell.
    pub(crate) fn settle(&mut self, conn: ConnId) {
        if !self.get(conn).is_some_and(|stream| stream.readable || stream.fault.is_some()) {
            self.ready.remove(&conn);
        }
    }

    /// How a write of the stream failed.
    pub(crate) fn fault(&self, conn: ConnId) -> Option<IoFault> {
        self.get(conn)?.fault
    }

    /// Whether there may be something to read.
    pub(crate) fn is_readable(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|stream| stream.readable && !stream.connecting)
    }

    /// The stream's local address.
    pub(crate) fn local_addr(&self, conn: ConnId) -> Option<SocketAddr> {
        self.get(conn)?.io.local_addr().ok().map(canonical)
    }

    /// What a dial has come to. `Pending` for every other stream.
    pub(crate) fn poll_dial(&mut self, conn: ConnId) -> Dialled {
        let Some(stream) = self.get_mut(conn).filter(|stream| stream.connecting) else { return Dialled::Pending };
        // A writable stream may not be connected: the error decides first, then whether it has a peer's address.
        match stream.io.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Dialled::Failed(fault::of(&error)),
        }
        match stream.io.peer_addr() {
            Ok(_) => {
                let _ = stream.io.set_nodelay(true);
                stream.connecting = false;
                stream.writable = true;
                Dialled::Connected
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => {
                stream.readable = false;
                Dialled::Pending
            }
            Err(error) => Dialled::Failed(fault::of(&error)),
        }
    }

    /// Reads once, into a buffer that is not empty.
    pub(crate) fn read(&mut self, conn: ConnId, buffer: &mut [u8]) -> Moved {
        let Some(stream) = self.get_mut(conn).filter(|stream| stream.readable) else { return Moved::Blocked };
        loop {
            let moved = match stream.io.read(buffer) {
                Ok(0) => Moved::Eof,
                Ok(n) => return Moved::Bytes(n),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => continue,
                    ErrorKind::WouldBlock => Moved::Blocked,
                    _ => Moved::Failed(fault::of(&error)),
                },
            };
            stream.readable = false;
            stream.at_eof |= moved == Moved::Eof;
            return moved;
        }
    }

    /// Writes once. Returns how many bytes were taken; 0 if the socket takes none until the next edge, or the write failed,
    /// which [`Streams::fault`] tells.
    pub(crate) fn write(&mut self, conn: ConnId, bytes: &[u8]) -> usize {
        let Some(stream) = self.get_mut(conn).filter(|stream| stream.writable) else { return 0 };
        let error = loop {
            match stream.io.write(bytes) {
                Ok(n) => return n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        stream.writable = false;
        if error.kind() != ErrorKind::WouldBlock {
            stream.fault = Some(fault::of(&error));
            stream.readable = !stream.at_eof;
            self.ready.insert(conn);
        }
        0
    }

    /// Whether small writes are sent at once.
    #[cfg(test)]
    pub(crate) fn is_nodelay(&self, conn: ConnId) -> bool {
        self.get(conn).is_some_and(|stream| stream.io.nodelay().unwrap_or(false))
    }

    fn get(&self, conn: ConnId) -> Option<&Stream> {
        self.slab.get(*self.places.get(&conn)?)
    }

    fn get_mut(&mut self, conn: ConnId) -> Option<&mut Stream> {
        self.slab.get_mut(*self.places.get(&conn)?)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Blocking};
    use std::time::{Duration, Instant};

    use mio::{Events, Poll};

    use super::*;

    const CONN: ConnId = ConnId(7);

    /// Streams with one dialled stream, its poll, and the other end.
    fn dialled() -> (Streams, Poll, Blocking) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut streams, mut poll) = (Streams::default(), Poll::new().unwrap());
        streams.dial(poll.registry(), CONN, listener.local_addr().unwrap()).unwrap();
        let (other, _) = listener.accept().unwrap();
        until(&mut streams, &mut poll, |streams| streams.poll_dial(CONN) == Dialled::Connected);
        (streams, poll, other)
    }

    fn until(streams: &mut Streams, poll: &mut Poll, mut done: impl FnMut(&mut Streams) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(10);
        let mut events = Events::with_capacity(16);
        while !done(streams) {
            assert!(Instant::now() < deadline, "nothing happened");
            poll.poll(&mut events, Some(Duration::from_millis(100))).unwrap();
            events.iter().for_each(|edge| streams.note(edge));
        }
    }

    #[test]
    fn a_refused_dial_fails_as_refused() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (mut streams, mut poll) = (Streams::default(), Poll::new().unwrap());
        let mut dialled = match streams.dial(poll.registry(), CONN, unused) {
            Ok(()) => Dialled::Pending,
            Err(fault) => Dialled::Failed(fault),
        };
        until(&mut streams, &mut poll, |streams| {
            if dialled == Dialled::Pending && streams.is_ready(CONN) {
                dialled = streams.poll_dial(CONN);
            }
            dialled != Dialled::Pending
        });
        assert_eq!(dialled, Dialled::Failed(IoFault::Refused));
    }

    #[test]
    fn nothing_is_written_before_a_dial_is_connected() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut streams, poll) = (Streams::default(), Poll::new().unwrap());
        streams.dial(poll.registry(), CONN, listener.local_addr().unwrap()).unwrap();
        assert_eq!(streams.write(CONN, b"early"), 0);
        assert_eq!(streams.fault(CONN), None);
    }

    #[test]
    fn a_blocked_write_goes_on_at_the_next_edge() {
        let (mut streams, mut poll, mut other) = dialled();
        let bytes = vec![5; 1 << 20];
        let mut sent = 0;
        loop {
            match streams.write(CONN, &bytes) {
                0 => break,
                n => sent += n,
            }
        }
        assert_eq!(streams.fault(CONN), None, "full, not broken");
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        other.read_exact(&mut vec![0; sent]).unwrap();
        until(&mut streams, &mut poll, |streams| streams.write(CONN, b"more") == 4);
        let mut more = [0; 4];
        other.read_exact(&mut more).unwrap();
        assert_eq!(&more, b"more");
    }

    #[test]
    fn the_end_is_returned_once_and_writing_goes_on() {
        let (mut streams, mut poll, mut other) = dialled();
        other.shutdown(std::net::Shutdown::Write).unwrap();
        until(&mut streams, &mut poll, |streams| streams.read(CONN, &mut [0; 9]) == Moved::Eof);
        assert_eq!(streams.read(CONN, &mut [0; 9]), Moved::Blocked);
        streams.settle(CONN);
        assert_eq!(streams.ready().count(), 0);
        assert_eq!(streams.write(CONN, b"bye"), 3);
        streams.close(CONN);
        let mut rest = Vec::new();
        other.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"bye");
    }

    #[test]
    fn a_final_message_is_read_after_a_failed_write() {
        let (mut streams, mut poll, mut other) = dialled();
        other.write_all(b"too many peers").unwrap();
        // With bytes unread, the other end's close is a reset.
        assert_eq!(streams.write(CONN, b"hello"), 5);
        other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        other.peek(&mut [0; 1]).unwrap();
        drop(other);
        until(&mut streams, &mut poll, |streams| streams.write(CONN, b"status") == 0 && streams.fault(CONN).is_some());
        assert!(streams.has_work(|_| false), "a failure is work, wanted or not");
        assert!(streams.is_readable(CONN));
        let mut buffer = [0; 64];
        assert_eq!(streams.read(CONN, &mut buffer), Moved::Bytes(14));
        assert_eq!(&buffer[..14], b"too many peers");
    }

    #[test]
    fn the_id_of_a_closed_stream_does_nothing() {
        let (mut streams, mut poll, mut other) = dialled();
        other.write_all(b"unread").unwrap();
        until(&mut streams, &mut poll, |streams| streams.is_readable(CONN));
        assert!(streams.is_ready(CONN));
        streams.close(CONN);
        drop(other);
        assert_eq!((streams.len(), streams.ready().count()), (0, 0));
        assert_eq!(streams.read(CONN, &mut [0; 1]), Moved::Blocked);
        assert_eq!(streams.write(CONN, b"x"), 0);
        assert_eq!(streams.poll_dial(CONN), Dialled::Pending);
        // The slab's key is used again, by another id.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        streams.dial(poll.registry(), ConnId(8), listener.local_addr().unwrap()).unwrap();
        until(&mut streams, &mut poll, |streams| streams.poll_dial(ConnId(8)) == Dialled::Connected);
        assert_eq!(streams.write(CONN, b"x"), 0);
    }
}
