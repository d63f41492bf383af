//! A machine without a protocol: it follows commands of the test, and records its inputs.
#![allow(dead_code, reason = "every test uses its own part")]

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{Action, Command, CommandError, CommandId, ConnId, Devp2p, Input, IoFault, Machine, SocketId};
use peerless::time::Instant;
use peerless_sim::Birth;

/// An input of the machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Got {
    Datagram(SocketAddr, Vec<u8>),
    Incoming(ConnId),
    Connected(ConnId),
    Bytes(ConnId, usize),
    Wrote(ConnId, usize),
    Eof(ConnId),
    Broken(ConnId, IoFault),
    WallClock(u64),
    Timeout,
}

enum Todo {
    Send(SocketAddr, Vec<u8>),
    Dial(ConnId, SocketAddr),
    Flush(ConnId),
    Close(ConnId),
}

/// A scripted machine; see the module.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) got: Vec<(Instant, Got)>,
    pub(crate) received: BTreeMap<ConnId, Vec<u8>>,
    pub(crate) outbound: BTreeMap<ConnId, Vec<u8>>,
    /// Whether it reads nothing, or refuses streams.
    pub(crate) is_deaf: bool,
    pub(crate) refuses: bool,
    todo: VecDeque<Todo>,
    lent: Vec<u8>,
    conns: u64,
    now: Instant,
    deadline: Option<Instant>,
    /// The address that it sends to every second, if set.
    pub(crate) beats: Option<SocketAddr>,
}

impl Script {
    pub(crate) fn maker(_: &Birth<'_>) -> Self {
        Self::default()
    }

    pub(crate) fn saw(&self, wanted: &Got) -> bool {
        self.got.iter().any(|(_, got)| got == wanted)
    }

    fn note(&mut self, now: Instant, got: Got) {
        self.now = now;
        self.got.push((now, got));
    }
}

impl Machine for Script {
    type Language = Devp2p;

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes, .. } => self.note(now, Got::Datagram(from, bytes.to_vec())),
            Input::Connected { conn, .. } => self.note(now, Got::Connected(conn)),
            Input::Bytes { conn, bytes } => {
                self.received.entry(conn).or_default().extend(bytes);
                self.note(now, Got::Bytes(conn, bytes.len()));
            }
            Input::Wrote { conn, n } => {
                self.outbound.entry(conn).or_default().drain(..n);
                self.note(now, Got::Wrote(conn, n));
            }
            Input::Eof { conn } => self.note(now, Got::Eof(conn)),
            Input::Broken { conn, why } => self.note(now, Got::Broken(conn, why)),
            Input::WallClock { unix } => self.note(now, Got::WallClock(unix.as_secs())),
            Input::Timeout => {
                self.note(now, Got::Timeout);
                if let Some(to) = self.beats {
                    self.todo.push_back(Todo::Send(to, vec![1; 20]));
                    self.deadline = Some(now + Duration::from_secs(1));
                }
            }
            Input::Command(_) | Input::Incoming { .. } | Input::Answer { .. } => {}
        }
    }

    fn accept(&mut self, now: Instant, _: SocketId, _: SocketAddr) -> Option<ConnId> {
        if self.refuses {
            return None;
        }
        let conn = ConnId(self.conns);
        self.conns += 1;
        self.note(now, Got::Incoming(conn));
        Some(conn)
    }

    /// `Dial` dials, `Send` writes (id 0) or closes (id 1), `Ping` sends a datagram at once and one each second after.
    fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        match command {
            Command::Dial { contact } => {
                self.todo.push_back(Todo::Dial(ConnId(self.conns), contact.tcp_addr()));
                self.conns += 1;
            }
            Command::Send { conn, id: 0, payload, .. } => {
                self.outbound.entry(conn).or_default().extend(payload);
                self.todo.push_back(Todo::Flush(conn));
            }
            Command::Send { conn, .. } => self.todo.push_back(Todo::Close(conn)),
            Command::Ping { contact, .. } => {
                self.todo.push_back(Todo::Send(contact.udp_addr(), vec![1; 20]));
                self.beats = Some(contact.udp_addr());
                self.deadline = Some(now + Duration::from_secs(1));
            }
            Command::Shutdown => self.is_deaf = !self.is_deaf,
            _ => self.refuses = true,
        }
        Ok(CommandId(0))
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        Some(match self.todo.pop_front()? {
            Todo::Send(to, bytes) => {
                self.lent = bytes;
                Action::Send { socket: SocketId::MAIN, to, bytes: &self.lent }
            }
            Todo::Dial(conn, to) => Action::Dial { conn, to },
            Todo::Flush(conn) => Action::Flush { conn },
            Todo::Close(conn) => Action::Close { conn },
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        self.outbound.get(&conn).map_or(&[], Vec::as_slice)
    }

    fn wants_read(&self, _: ConnId) -> bool {
        !self.is_deaf
    }
}
