//! A protocol family of its own: echo over streams and datagrams.
//!
//! What is said on a stream that was accepted comes back on it; a datagram comes back to its source. The machine keeps the
//! same driver contract as a node, so the same drivers, simulator, taps and recorder run it: this example runs two of them
//! on the in-memory network, and `tests/tests/echo.rs` on all others.
//!
//! ```sh
//! cargo run -p peerless --example echo --features testing
//! ```

#![allow(missing_docs, unreachable_pub, reason = "a program that the tests take in as a module")]

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{
    Action, Answer, CommandId, ConnId, Context, Input, Language, Machine, Outbound, Query, QueryId, SocketId,
};
use peerless::crypto::Secp256k1;
use peerless::netfilter::NetFilter;
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};

/// A connection that says nothing for so long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes that may wait for one socket; above it, the machine applies backpressure.
const OUTBOUND_HIGH_WATER: usize = 64 << 10;

/// The words of the family.
#[derive(Debug)]
pub enum Echo {}

/// What an echo machine tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum EchoEvent<'a> {
    /// A stream is open.
    Open { conn: ConnId },
    /// What was said came back, or a part of it.
    Heard { conn: ConnId, bytes: Cow<'a, [u8]> },
    /// A datagram came back.
    Returned { from: SocketAddr, bytes: Cow<'a, [u8]> },
    /// The answer to `EchoCommand::Resolve`; empty if there is none.
    Resolved { command: CommandId, text: Cow<'a, [u8]> },
    /// A stream is over.
    Ended { conn: ConnId },
}

/// What an echo machine can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EchoCommand<'a> {
    /// Open a stream.
    Dial { to: SocketAddr },
    /// Say something on a stream.
    Say { conn: ConnId, bytes: &'a [u8] },
    /// Send a datagram.
    Shout { to: SocketAddr, bytes: &'a [u8] },
    /// Ask the world for the TXT records of a name.
    Resolve { name: &'a str },
    /// Close a stream.
    Close { conn: ConnId },
}

/// Why a command was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EchoRefused {
    /// There is no such open stream.
    UnknownConn,
    /// Too much waits for the stream's socket.
    Busy,
}

impl Language for Echo {
    type Event<'a> = EchoEvent<'a>;
    type Command<'a> = EchoCommand<'a>;
    type Refused = EchoRefused;

    fn lend<'a>(event: EchoEvent<'static>, lent: &'a [u8]) -> EchoEvent<'a> {
        match event {
            EchoEvent::Heard { conn, .. } => EchoEvent::Heard { conn, bytes: lent.into() },
            EchoEvent::Returned { from, .. } => EchoEvent::Returned { from, bytes: lent.into() },
            EchoEvent::Resolved { command, .. } => EchoEvent::Resolved { command, text: lent.into() },
            other => other,
        }
    }

    fn into_owned(event: EchoEvent<'_>) -> EchoEvent<'static> {
        let own = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        match event {
            EchoEvent::Open { conn } => EchoEvent::Open { conn },
            EchoEvent::Heard { conn, bytes } => EchoEvent::Heard { conn, bytes: own(bytes) },
            EchoEvent::Returned { from, bytes } => EchoEvent::Returned { from, bytes: own(bytes) },
            EchoEvent::Resolved { command, text } => EchoEvent::Resolved { command, text: own(text) },
            EchoEvent::Ended { conn } => EchoEvent::Ended { conn },
        }
    }

    fn is_droppable(event: &EchoEvent<'_>) -> bool {
        matches!(event, EchoEvent::Returned { .. })
    }
}

/// One stream.
#[derive(Debug)]
struct Stream {
    is_dialled: bool,
    is_open: bool,
    out: Outbound,
    is_flush_queued: bool,
    idle_at: Instant,
}

/// The machine of the toy family.
#[derive(Debug)]
pub struct EchoMachine {
    context: Context<Echo>,
    rng: Rng,
    streams: BTreeMap<ConnId, Stream>,
    conns: u64,
    commands: u64,
    /// The command behind each query without an answer.
    queries: BTreeMap<QueryId, CommandId>,
}

impl EchoMachine {
    /// A machine without streams. `seed` decides every draw of the run; this family draws none.
    pub fn new(seed: [u8; 32], now: Instant, unix: UnixTime, filter: NetFilter) -> Self {
        Self {
            context: Context::new(now, unix, filter, std::sync::Arc::new(Secp256k1::new())),
            rng: Seed::new(seed).fork("echo"),
            streams: BTreeMap::new(),
            conns: 0,
            commands: 0,
            queries: BTreeMap::new(),
        }
    }

    fn add(&mut self, is_dialled: bool) -> ConnId {
        let conn = ConnId(self.conns);
        self.conns += 1;
        let idle_at = self.context.now() + IDLE_TIMEOUT;
        let (out, is_open) = (Outbound::default(), !is_dialled);
        self.streams.insert(conn, Stream { is_dialled, is_open, out, is_flush_queued: false, idle_at });
        conn
    }

    /// Queues bytes for a stream's socket.
    fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        stream.out.tail().extend_from_slice(bytes);
        if !stream.is_flush_queued && stream.is_open && !stream.out.is_empty() {
            stream.is_flush_queued = true;
            self.context.out.flush(conn);
        }
    }

    fn send(&mut self, socket: SocketId, to: SocketAddr, bytes: &[u8]) {
        let mut cx = self.context.cx(&mut self.rng);
        cx.out.stage(bytes.len()).copy_from_slice(bytes);
        cx.send_staged(socket, to);
    }

    fn end(&mut self, conn: ConnId, close: bool) {
        if self.streams.remove(&conn).is_some() {
            if close {
                self.context.out.close(conn);
            }
            self.context.out.emit(EchoEvent::Ended { conn });
        }
    }

    fn tell(&mut self, event: EchoEvent<'static>, bytes: &[u8]) {
        self.context.out.stage(bytes.len()).copy_from_slice(bytes);
        self.context.out.emit_staged(event, 0..bytes.len());
    }

    fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        let idle_at = self.context.now() + IDLE_TIMEOUT;
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        stream.idle_at = idle_at;
        if stream.is_dialled {
            self.tell(EchoEvent::Heard { conn, bytes: Cow::default() }, bytes);
        } else {
            self.write(conn, bytes);
        }
    }

    /// A datagram that begins with 0 asks for its return, which begins with 1.
    fn handle_datagram(&mut self, socket: SocketId, from: SocketAddr, bytes: &[u8]) {
        match bytes.split_first() {
            Some((0, rest)) => self.send(socket, from, &[&[1], rest].concat()),
            Some((1, rest)) => self.tell(EchoEvent::Returned { from, bytes: Cow::default() }, rest),
            _ => {}
        }
    }
}

impl Machine for EchoMachine {
    type Language = Echo;

    fn handle(&mut self, now: Instant, input: Input<'_, EchoCommand<'_>>) {
        let now = self.context.advance(now);
        match input {
            Input::Datagram { socket, from, bytes } => self.handle_datagram(socket, from, bytes),
            Input::Incoming { socket, from } => drop(self.accept(now, socket, from)),
            Input::Connected { conn, .. } => {
                let Some(stream) = self.streams.get_mut(&conn).filter(|stream| !stream.is_open) else { return };
                stream.is_open = true;
                self.context.out.emit(EchoEvent::Open { conn });
                self.write(conn, &[]);
            }
            Input::Bytes { conn, bytes } => self.handle_bytes(conn, bytes),
            Input::Wrote { conn, n } => {
                if let Some(stream) = self.streams.get_mut(&conn) {
                    stream.out.consume(n);
                    stream.is_flush_queued &= !stream.out.is_empty();
                }
            }
            Input::Eof { conn } => self.end(conn, true),
            Input::Broken { conn, .. } => self.end(conn, false),
            Input::WallClock { unix } => self.context.set_wall_clock(unix),
            Input::Answer { id, result } => {
                let Some(command) = self.queries.remove(&id) else { return };
                let text = match result {
                    Ok(Answer::Txt { records, .. }) => records.concat(),
                    _ => Vec::new(),
                };
                self.tell(EchoEvent::Resolved { command, text: Cow::default() }, &text);
            }
            Input::Timeout => {
                let idle = self.streams.iter().filter(|(_, stream)| stream.idle_at <= now).map(|(conn, _)| *conn);
                idle.collect::<Vec<_>>().into_iter().for_each(|conn| self.end(conn, true));
            }
            Input::Command(command) => drop(self.command(now, command)),
        }
    }

    fn accept(&mut self, now: Instant, _: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.context.advance(now);
        if !self.context.filter.permits(from.ip()) {
            return None;
        }
        let conn = self.add(false);
        self.context.out.emit(EchoEvent::Open { conn });
        Some(conn)
    }

    fn command(&mut self, now: Instant, command: EchoCommand<'_>) -> Result<CommandId, EchoRefused> {
        self.context.advance(now);
        let id = CommandId(self.commands);
        match command {
            EchoCommand::Dial { to } => {
                let conn = self.add(true);
                self.context.out.dial(conn, to);
            }
            EchoCommand::Say { conn, bytes } => {
                let stream = self.streams.get(&conn).ok_or(EchoRefused::UnknownConn)?;
                if stream.out.len() >= OUTBOUND_HIGH_WATER {
                    return Err(EchoRefused::Busy);
                }
                self.write(conn, bytes);
            }
            EchoCommand::Shout { to, bytes } => self.send(SocketId::MAIN, to, &[&[0], bytes].concat()),
            EchoCommand::Resolve { name } => {
                self.queries.insert(QueryId(id.0), id);
                self.context.out.query(QueryId(id.0), Query::Txt(name));
            }
            EchoCommand::Close { conn } if self.streams.contains_key(&conn) => self.end(conn, true),
            EchoCommand::Close { .. } => return Err(EchoRefused::UnknownConn),
        }
        self.commands += 1;
        Ok(id)
    }

    fn poll_action(&mut self) -> Option<Action<'_, EchoEvent<'_>>> {
        self.context.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let next = self.streams.values().map(|stream| stream.idle_at).min()?;
        Some(next.max(self.context.now() + Duration::from_micros(1)))
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        self.streams.get(&conn).map_or(&[], |stream| stream.out.as_slice())
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        let has_room = |stream: &Stream| stream.out.len() < OUTBOUND_HIGH_WATER;
        !self.context.out.is_full() && self.streams.get(&conn).is_some_and(has_room)
    }
}

#[allow(dead_code, reason = "the test that includes this file has an entry of its own")]
fn main() {
    use peerless::testing::Net;

    let mut net = Net::new(1);
    let [one, two] = [1u8, 2].map(|n| {
        let addr = SocketAddr::from(([10, 0, 0, n], 7));
        net.add(addr, |start| EchoMachine::new(start.seed, start.now, start.unix, NetFilter::default()))
    });
    let to = net.addr(two);
    net.command(one, EchoCommand::Dial { to }).expect("dialled");
    net.command(one, EchoCommand::Shout { to, bytes: b"is anyone there?" }).expect("sent");
    net.run_for(Duration::from_secs(1));
    net.command(one, EchoCommand::Say { conn: ConnId(0), bytes: b"hello" }).expect("said");
    net.run_for(Duration::from_secs(60));
    for (at, event) in net.events(one) {
        println!("{at} {event:?}");
    }
}
