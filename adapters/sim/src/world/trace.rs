//! A run's fingerprint: everything that passed between a host and its machine, folded into 64 bits.

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use peerless::contract::{Action, BanTarget, Devp2p, Event, Input, IoFault, Language, Query, Tap};
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

/// How the events of a language enter a run's fingerprint.
pub trait Fingerprint: Language {
    /// Takes in an event: by default its debug text, which costs time.
    fn take_in(event: &Self::Event<'_>, print: &mut Print<'_>) {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = write!(text, "{event:?}");
        print.note(0, 0, text.as_bytes());
    }
}

/// A run's fingerprint while it takes in an event.
#[derive(Debug)]
pub struct Print<'a>(&'a mut Trace);

impl Print<'_> {
    /// Takes in the kind of an event, what it is about, and its bytes.
    pub fn note(&mut self, kind: u64, subject: u64, bytes: &[u8]) {
        self.0.note(Instant::ZERO, kind, subject, bytes);
    }

    /// Takes in another word.
    pub fn add(&mut self, word: u64) {
        self.0.add(word);
    }
}

impl Fingerprint for Devp2p {
    fn take_in(event: &Event<'_>, print: &mut Print<'_>) {
        match event {
            Event::NodeAdded { contact } => print.note(30, 0, &contact.id().0),
            Event::NodeRemoved { id } => print.note(31, 0, &id.0),
            Event::Pong { command, .. } => print.note(32, command.0, &[]),
            Event::Record { command, record } => print.note(33, command.0, record.as_bytes()),
            Event::Nodes { command, nodes, queries, hops } => {
                print.note(34, command.0, &[]);
                print.add(u64::from(*queries));
                print.add(u64::from(*hops));
                nodes.iter().for_each(|node| print.0.bytes = print.0.bytes.bytes(&node.id().0));
            }
            Event::CallFailed { command, .. } => print.note(35, command.0, &[]),
            Event::Unrecognised { from, bytes, .. } => print.note(36, word(*from), bytes),
            Event::Hello { conn, contact, .. } => print.note(37, conn.0, &contact.id().0),
            Event::Established { conn, id, .. } => print.note(38, conn.0, &id.0),
            Event::Request { conn, body, .. } => print.note(39, conn.0, body),
            Event::Response { conn, body, .. } => print.note(40, conn.0, body),
            Event::RequestFailed { command, .. } => print.note(41, command.0, &[]),
            Event::Message { conn, payload, .. } => print.note(42, conn.0, payload),
            Event::Ended { conn, .. } => print.note(43, conn.0, &[]),
            Event::Scored { score, .. } => print.note(44, u64::from(score.cast_unsigned()), &[]),
            Event::Banned { id, .. } => print.note(45, 0, &id.0),
            Event::AddressBanned { ip, .. } => print.note(46, word((*ip, 0).into()), &[]),
            Event::Unbanned { target: BanTarget::Id(id) } => print.note(47, 0, &id.0),
            Event::Unbanned { target: BanTarget::Address(ip) } => print.note(48, word((*ip, 0).into()), &[]),
            // Recordings ask for them, and a run is the same with them and without.
            Event::Secrets { .. } => {}
            Event::ConnReady { conn } => print.note(49, conn.0, &[]),
            Event::DiscoveryReady => print.note(50, 0, &[]),
            Event::TalkRequest { id, request, .. } => print.note(51, word(id.addr), request),
            Event::TalkResponse { command, response, .. } => print.note(52, command.0, response),
            Event::HostFailed { id, .. } => print.note(54, 0, &id.0),
            Event::AddressChanged { addresses } => {
                let ip = addresses.ip().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
                print.note(53, word((ip, addresses.ports(ip.is_ipv6()).0).into()), &[]);
            }
            // An event that this code has no number for yet.
            event => print.note(255, 0, format!("{event:?}").as_bytes()),
        }
    }
}

impl<L: Fingerprint> Tap<L> for Trace {
    fn input(&mut self, now: Instant, input: &Input<'_, L::Command<'_>>) {
        match input {
            Input::Datagram { from, bytes, .. } => self.note(now, 1, word(*from), bytes),
            Input::Incoming { from, .. } => self.note(now, 2, word(*from), &[]),
            Input::Connected { conn, .. } => self.note(now, 3, conn.0, &[]),
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
                    _ => 5,
                };
                self.note(now, 7 + (why << 8), conn.0, &[]);
            }
            Input::WallClock { unix } => self.note(now, 8, unix.as_secs(), &[]),
            Input::Timeout => self.note(now, 9, 0, &[]),
            Input::Command(_) => self.note(now, 10, 0, &[]),
            Input::Answer { id, result } => self.note(now, 11, id.0, &[u8::from(result.is_ok())]),
        }
    }

    fn action(&mut self, _: Instant, action: &Action<'_, L::Event<'_>>) {
        let then = Instant::ZERO;
        match action {
            Action::Send { to, bytes, .. } => self.note(then, 20, word(*to), bytes),
            Action::Dial { conn, to } => {
                self.note(then, 21, conn.0, &[]);
                self.add(word(*to));
            }
            Action::Flush { conn } => self.note(then, 22, conn.0, &[]),
            Action::Close { conn } => self.note(then, 23, conn.0, &[]),
            Action::Query { id, what } => {
                let kind = match what {
                    Query::Txt(_) => 24,
                    Query::Host(_) => 25,
                };
                self.note(then, kind, id.0, what.name().as_bytes());
            }
            Action::Emit(event) => L::take_in(event, &mut Print(self)),
        }
    }
}

impl Trace {
    pub(crate) fn new(host: u32) -> Self {
        let seed = Mix::new(u64::from(host));
        Self { bytes: seed, schedule: seed }
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
