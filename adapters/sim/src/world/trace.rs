//! A run's fingerprint: everything that passed between a host and its machine, folded into 64 bits.

use peerless::contract::{Action, Event, Input, IoFault};
use peerless::time::Instant;

use crate::mix::Mix;
use crate::network::Addr;

/// One host's fingerprints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Trace {
    /// Every input with its time, and every action, with all their bytes.
    pub bytes: Mix,
    /// The same without the bytes: times, kinds and lengths.
    pub schedule: Mix,
}

impl Trace {
    pub(crate) fn new(host: u32) -> Self {
        let seed = Mix::new(u64::from(host));
        Self { bytes: seed, schedule: seed }
    }

    pub(crate) fn input(&mut self, now: Instant, input: &Input<'_>) {
        match input {
            Input::Datagram { from, bytes } => self.note(now, 1, word(*from), bytes),
            Input::Incoming { from } => self.note(now, 2, word(*from), &[]),
            Input::Connected { conn } => self.note(now, 3, conn.0, &[]),
            Input::Bytes { conn, bytes } => self.note(now, 4, conn.0, bytes),
            Input::Wrote { conn, n } => {
                self.note(now, 5, conn.0, &[]);
                self.add(*n as u64);
            }
            Input::Eof { conn } => self.note(now, 6, conn.0, &[]),
            Input::Broken { conn, why } => {
                let why = match why {
                    IoFault::Refused => 0,
                    IoFault::Reset => 1,
                    IoFault::TimedOut => 2,
                    IoFault::Unreachable => 3,
                    IoFault::Exhausted => 4,
                    IoFault::Other => 5,
                };
                self.note(now, 7 + (why << 8), conn.0, &[]);
            }
            Input::WallClock { unix } => self.note(now, 8, unix.as_secs(), &[]),
            Input::Timeout => self.note(now, 9, 0, &[]),
            Input::Command(_) => self.note(now, 10, 0, &[]),
        }
    }

    pub(crate) fn action(&mut self, action: &Action<'_>) {
        let then = Instant::ZERO;
        match action {
            Action::Send { to, bytes } => self.note(then, 20, word(*to), bytes),
            Action::Dial { conn, to } => {
                self.note(then, 21, conn.0, &[]);
                self.add(word(*to));
            }
            Action::Flush { conn } => self.note(then, 22, conn.0, &[]),
            Action::Close { conn } => self.note(then, 23, conn.0, &[]),
            Action::Emit(event) => match event {
                Event::NodeAdded { contact } => self.note(then, 30, 0, &contact.id.0),
                Event::NodeRemoved { id } => self.note(then, 31, 0, &id.0),
                Event::Pong { command, .. } => self.note(then, 32, command.0, &[]),
                Event::Record { command, record } => self.note(then, 33, command.0, record.as_bytes()),
                Event::Nodes { command, nodes, queries } => {
                    self.note(then, 34, command.0, &[]);
                    self.add(u64::from(*queries));
                    nodes.iter().for_each(|node| self.bytes = self.bytes.bytes(&node.id.0));
                }
                Event::CallFailed { command, .. } => self.note(then, 35, command.0, &[]),
                Event::Unrecognised { from, bytes } => self.note(then, 36, word(*from), bytes),
                Event::Hello { conn, contact, .. } => self.note(then, 37, conn.0, &contact.id.0),
                Event::Established { conn, id, .. } => self.note(then, 38, conn.0, &id.0),
                Event::Request { conn, body, .. } => self.note(then, 39, conn.0, body),
                Event::Response { conn, body, .. } => self.note(then, 40, conn.0, body),
                Event::RequestFailed { command, .. } => self.note(then, 41, command.0, &[]),
                Event::Message { conn, payload, .. } => self.note(then, 42, conn.0, payload),
                Event::Ended { conn, .. } => self.note(then, 43, conn.0, &[]),
                Event::Scored { score, .. } => self.note(then, 44, u64::from(score.cast_unsigned()), &[]),
                Event::Banned { id, .. } => self.note(then, 45, 0, &id.0),
                Event::ConnReady { conn } => self.note(then, 46, conn.0, &[]),
                // They are told to whoever records a node, and a run is the same with it and without.
                Event::Secrets { .. } => {}
            },
        }
    }

    fn note(&mut self, now: Instant, kind: u64, subject: u64, bytes: &[u8]) {
        let schedule = |mix: Mix| mix.words(now.as_micros(), kind | (bytes.len() as u64) << 32).word(subject);
        self.schedule = schedule(self.schedule);
        self.bytes = schedule(self.bytes);
        if !bytes.is_empty() {
            self.bytes = self.bytes.bytes(bytes);
        }
    }

    fn add(&mut self, word: u64) {
        self.schedule = self.schedule.word(word);
        self.bytes = self.bytes.word(word);
    }
}

/// An address as a word. Simulated ones are IPv4; any other that a machine names is only told apart from those.
fn word(addr: std::net::SocketAddr) -> u64 {
    Addr::of(addr).map_or(u64::MAX, Addr::word)
}
