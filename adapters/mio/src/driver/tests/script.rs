//! A machine that does what its commands say and remembers its inputs: the driver's promises are tested with it, because a
//! node decides for itself what it reads and writes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{
    Action, Answer, CommandId, ConnId, Input, IoFault, Language, Machine, Query, QueryFault, QueryId, SocketId,
};
use peerless::time::{Instant, UnixTime};

use crate::Resolved;

/// The words of the machine.
#[derive(Debug)]
pub(super) enum Words {}

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Do<'a> {
    Dial(SocketAddr),
    Write(ConnId, &'a [u8]),
    Close(ConnId),
    Send(SocketId, SocketAddr, &'a [u8]),
    Ask(Query<'a>),
    /// Sets a deadline.
    TimeoutIn(Duration),
    /// Emits the number.
    Tell(usize),
    /// Apply backpressure to a stream, or no longer.
    Pause(ConnId, bool),
    /// Apply backpressure to all streams while an action is queued, and emit an event for all bytes that are read.
    ReadOncePerDrain,
    /// Emit an event for each datagram, then write its bytes to that stream.
    Relay(ConnId),
    /// Accept no further stream.
    Refuse,
}

/// An input.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Seen {
    Datagram(SocketId, SocketAddr, Vec<u8>),
    Incoming(SocketId, SocketAddr),
    Connected(ConnId, Option<SocketAddr>),
    Bytes(ConnId, Vec<u8>),
    Wrote(ConnId, usize),
    Eof(ConnId),
    Broken(ConnId, IoFault),
    WallClock(UnixTime),
    Answer(QueryId, Result<Resolved, QueryFault>),
    Timeout,
    Command,
}

impl Language for Words {
    type Event<'a> = usize;
    type Command<'a> = Do<'a>;
    type Refused = ();

    fn lend(event: usize, _: &[u8]) -> usize {
        event
    }

    fn into_owned(event: usize) -> usize {
        event
    }

    fn is_droppable(_: &usize) -> bool {
        false
    }
}

/// An action that owns its payload.
enum Owned {
    Send(SocketId, SocketAddr, Vec<u8>),
    Dial(ConnId, SocketAddr),
    Flush(ConnId),
    Close(ConnId),
    Ask(QueryId, bool, String),
    Emit(usize),
}

/// See the module.
#[derive(Default)]
pub(super) struct Script {
    pub(super) log: Vec<(Instant, Seen)>,
    actions: VecDeque<Owned>,
    /// The last action that was popped; lends its payload.
    popped: Option<Owned>,
    outbound: BTreeMap<ConnId, Vec<u8>>,
    paused: BTreeSet<ConnId>,
    deadline: Option<Instant>,
    reads_once_per_drain: bool,
    relay: Option<ConnId>,
    refuses: bool,
    conns: u64,
    commands: u64,
}

impl Script {
    fn write(&mut self, conn: ConnId, bytes: &[u8]) {
        let out = self.outbound.entry(conn).or_default();
        if out.is_empty() {
            self.actions.push_back(Owned::Flush(conn));
        }
        out.extend_from_slice(bytes);
    }

    /// Number of streams so far.
    pub(super) const fn conns(&self) -> u64 {
        self.conns
    }

    fn open(&mut self) -> ConnId {
        self.conns += 1;
        ConnId(self.conns - 1)
    }
}

impl Machine for Script {
    type Language = Words;

    fn handle(&mut self, now: Instant, input: Input<'_, Do<'_>>) {
        let seen = match input {
            Input::Datagram { socket, from, bytes } => {
                if let Some(conn) = self.relay {
                    self.actions.push_back(Owned::Emit(bytes.len()));
                    self.write(conn, bytes);
                }
                Seen::Datagram(socket, from, bytes.to_vec())
            }
            Input::Incoming { socket, from } => Seen::Incoming(socket, from),
            Input::Connected { conn, local } => Seen::Connected(conn, local),
            Input::Bytes { conn, bytes } => {
                if self.reads_once_per_drain {
                    self.actions.push_back(Owned::Emit(bytes.len()));
                }
                Seen::Bytes(conn, bytes.to_vec())
            }
            Input::Wrote { conn, n } => {
                self.outbound.get_mut(&conn).expect("only what was queued is written").drain(..n);
                Seen::Wrote(conn, n)
            }
            Input::Eof { conn } => Seen::Eof(conn),
            Input::Broken { conn, why } => Seen::Broken(conn, why),
            Input::WallClock { unix } => Seen::WallClock(unix),
            Input::Answer { id, result } => {
                let owned = result.map(|answer| match answer {
                    Answer::Txt { records, ttl } => {
                        Resolved::Txt { records: records.iter().map(|record| record.to_vec()).collect(), ttl }
                    }
                    Answer::Hosts { addrs, ttl } => Resolved::Hosts { addrs: addrs.to_vec(), ttl },
                });
                Seen::Answer(id, owned)
            }
            Input::Timeout => {
                self.deadline = None;
                Seen::Timeout
            }
            Input::Command(_) => Seen::Command,
        };
        self.log.push((now, seen));
    }

    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.log.push((now, Seen::Incoming(socket, from)));
        (!self.refuses).then(|| self.open())
    }

    fn command(&mut self, now: Instant, command: Do<'_>) -> Result<CommandId, ()> {
        self.log.push((now, Seen::Command));
        let id = self.commands;
        self.commands += 1;
        match command {
            Do::Dial(to) => {
                let conn = self.open();
                self.actions.push_back(Owned::Dial(conn, to));
            }
            Do::Write(conn, bytes) => self.write(conn, bytes),
            Do::Close(conn) => self.actions.push_back(Owned::Close(conn)),
            Do::Send(socket, to, bytes) => self.actions.push_back(Owned::Send(socket, to, bytes.to_vec())),
            Do::Ask(query) => {
                let is_host = matches!(query, Query::Host(_));
                self.actions.push_back(Owned::Ask(QueryId(id), is_host, query.name().to_owned()));
            }
            Do::TimeoutIn(wait) => self.deadline = Some(now + wait),
            Do::Tell(number) => self.actions.push_back(Owned::Emit(number)),
            Do::Pause(conn, true) => drop(self.paused.insert(conn)),
            Do::Pause(conn, false) => drop(self.paused.remove(&conn)),
            Do::ReadOncePerDrain => self.reads_once_per_drain = true,
            Do::Relay(conn) => self.relay = Some(conn),
            Do::Refuse => self.refuses = true,
        }
        Ok(CommandId(id))
    }

    fn poll_action(&mut self) -> Option<Action<'_, usize>> {
        self.popped = self.actions.pop_front();
        Some(match self.popped.as_ref()? {
            Owned::Send(socket, to, bytes) => Action::Send { socket: *socket, to: *to, bytes },
            Owned::Dial(conn, to) => Action::Dial { conn: *conn, to: *to },
            Owned::Flush(conn) => Action::Flush { conn: *conn },
            Owned::Close(conn) => Action::Close { conn: *conn },
            Owned::Ask(id, true, name) => Action::Query { id: *id, what: Query::Host(name) },
            Owned::Ask(id, false, name) => Action::Query { id: *id, what: Query::Txt(name) },
            Owned::Emit(number) => Action::Emit(*number),
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        self.outbound.get(&conn).map_or(&[], Vec::as_slice)
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        let has_room = !self.reads_once_per_drain || self.actions.is_empty();
        has_room && !self.paused.contains(&conn)
    }
}
