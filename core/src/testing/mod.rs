//! A network in memory and virtual time, for tests of any [`Machine`] (feature `testing`).
//!
//! A [`Net`] carries what machines send to each other: datagrams with delay and loss, streams that are cut into chunks and
//! written in parts, dials that succeed or fail. It is for a few dozen hosts in one test, as `Pair` is in quinn; the
//! simulator in `peerless-sim` is for thousands.
//!
//! # A test of nodes
//!
//! Two lines make two nodes with an established session:
//!
//! ```
//! use peerless::testing::Net;
//!
//! let (mut net, [one, two]) = Net::nodes(1);
//! let [conn, _] = net.connect(one, two);
//! assert_eq!(net.conn(one, two), Some(conn));
//! ```
//!
//! [`Net::nodes`] makes nodes that search for nothing; nodes of a [`Net::mesh`] find each other by discovery. Any other node
//! is added by [`Net::add_node`] with a [`config`] of its own, such as one of another network. From there on a test repeats
//! three steps: give a host something with [`Net::command`], let time pass with [`Net::run_for`] or [`Net::run_until`], and
//! look at what happened.
//!
//! ```
//! use peerless::contract::{Command, Event, Stage};
//! use peerless::testing::{Net, config};
//! use std::time::Duration;
//!
//! let (mut net, [one, _]) = Net::mesh(7);
//! let foreign = net.add_node(config(2, 99));
//! let contact = net.contact(foreign);
//! net.command(one, Command::Dial { contact })?;
//! let is_refused = |event: &Event<'_>| matches!(event, Event::Ended { end, .. } if end.stage == Stage::Status);
//! assert!(net.run_until(Duration::from_secs(5), |net| net.saw(one, is_refused)));
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! # What hosts tell
//!
//! Every event is kept, with its time, as an owned event of the machine's language: [`Net::events`] has all of a host,
//! [`Net::saw`] says whether there was one, [`Net::find`] takes something out of the first one. The machine itself is
//! [`Net::machine`]. [`Net::log_datagrams`] keeps every datagram.
//!
//! # Time and seeds
//!
//! Time is virtual: an hour passes as fast as its events are handled, and nothing waits for a clock. It stands still while
//! the test acts. All randomness comes from the seed, that of links and that of machines, so a run repeats byte for byte;
//! [`Net::digest`] sums up all actions. A property that must hold in any order of events is tested over many seeds.
//!
//! # Faults
//!
//! [`Net::link`] says what links do from now on: delay, loss of datagrams and dials, the size of chunks and of writes.
//! [`Net::cut`] takes a host off the network, [`Net::break_stream`] breaks one stream, [`Net::suspend_for`] stops all
//! machines while time passes.
//!
//! ```
//! use peerless::contract::{EndReason, IoFault};
//! use peerless::testing::Net;
//! use std::time::Duration;
//!
//! let (mut net, [one, two]) = Net::nodes(1);
//! net.link.write_bytes_max = 1;
//! net.link.delay = (Duration::from_micros(1), Duration::from_micros(9));
//! let [conn, _] = net.connect(one, two);
//! net.break_stream(one, conn, IoFault::Reset);
//! let (_, end) = net.end(one, conn).expect("the session has ended");
//! assert_eq!(end.why, EndReason::Io(IoFault::Reset));
//! ```
//!
//! # Names
//!
//! [`Net::zone`] holds the TXT records that hosts can ask for, such as a node list that a test [publishes](Zone::publish), and
//! keeps a log of what was asked. While it is empty, queries are answered as unsupported.
//!
//! # Peers that break the protocol
//!
//! A test can be a peer itself. [`Net::datagram`] hands a host a datagram from any address, and what hosts send to addresses
//! where no host is waits for [`Net::take_datagrams`]. [`Net::connect_raw`] opens a stream whose other end is the test's, to
//! be written, read, stalled and closed as it likes.
//!
//! # Machines of other families
//!
//! A `Net` takes any machine, such as the one in `core/examples/echo.rs`, or a node behind a tap. [`Net::add`] makes it from a
//! [`Start`]; [`Net::with`] calls methods of the machine's own and carries out what they cause.
//!
//! ```
//! use peerless::contract::{Action, Input, Tap, Tapped};
//! use peerless::node::Node;
//! use peerless::testing::{Net, config};
//! use peerless::time::{Duration, Instant};
//!
//! /// Counts actions.
//! struct Count(u32);
//!
//! impl Tap for Count {
//!     fn action(&mut self, _: Instant, _: &Action<'_>) {
//!         self.0 += 1;
//!     }
//! }
//!
//! let mut net = Net::new(1);
//! let config = config(0, 1);
//! let host = net.add(([127, 0, 0, 1], config.addresses.udp).into(), |start| {
//!     let node = Node::new(config, start.seed, start.now, start.unix).expect("valid");
//!     Tapped::new(node, Count(0), start.now)
//! });
//! net.datagram(host, ([127, 0, 0, 1], 9).into(), b"a datagram of another protocol");
//! assert_eq!(net.machine(host).tap().0, 1, "it is passed on");
//! ```

mod link;
mod nodes;
mod raw;
mod zone;

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

pub use self::link::{Datagram, Link};
pub use self::nodes::{chain, config, quiet_config};
pub use self::raw::RawStream;
pub use self::zone::Zone;

use self::link::{DIALLED_PORT, Delivery, Stream};
use crate::contract::{
    Action, CommandId, CommandOf, ConnId, EventOf, Input, IoFault, Language, Machine, QueryFault, RefusedOf, SocketId,
};
use crate::crypto::keccak256;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant, UnixTime};

/// The wall time at which every network starts.
pub const START: UnixTime = UnixTime::from_secs(1_750_000_000);
/// The monotonic time at which every network starts.
const START_MICROS: u64 = 1_000_000;

/// A machine of a network, by the order in which it was added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Host(pub usize);

/// What a host's machine is made of.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Monotonic time.
    pub now: Instant,
    /// Wall time.
    pub unix: UnixTime,
    /// For the machine's randomness.
    pub seed: [u8; 32],
}

/// One machine, and what it has told.
struct Member<M: Machine> {
    machine: M,
    addr: SocketAddr,
    events: Vec<(Instant, EventOf<'static, M>)>,
    /// The stream end of each connection: which stream, and which of its two sides.
    ends: BTreeMap<ConnId, (usize, usize)>,
    /// Whether the host is cut off: what it sends is lost, and nothing reaches it.
    is_cut: bool,
}

/// A network of machines of one kind; see the [module](self).
pub struct Net<M: Machine> {
    /// What links do from now on.
    pub link: Link,
    /// The names that hosts can resolve.
    pub zone: Zone,
    now: Instant,
    members: Vec<Member<M>>,
    rng: Rng,
    queue: BTreeMap<(Instant, u64), Delivery>,
    queued: u64,
    streams: Vec<Stream>,
    /// Datagrams to addresses where no host is.
    inbox: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
    log: Option<Vec<Datagram>>,
    digest: [u8; 32],
}

/// Omits machines and traffic.
impl<M: Machine> fmt::Debug for Net<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Net");
        debug.field("link", &self.link).field("now", &self.now).field("hosts", &self.members.len());
        debug.finish_non_exhaustive()
    }
}

impl<M: Machine> Net<M> {
    /// An empty network, one second after the start of time.
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        Self {
            link: Link::default(),
            zone: Zone::default(),
            now: Instant::from_micros(START_MICROS),
            members: Vec::new(),
            rng: Seed::new(bytes).fork("net"),
            queue: BTreeMap::new(),
            queued: 0,
            streams: Vec::new(),
            inbox: Vec::new(),
            log: None,
            digest: [0; 32],
        }
    }

    /// Adds a host, at whose address `make`'s machine receives datagrams and streams.
    pub fn add(&mut self, addr: SocketAddr, make: impl FnOnce(Start) -> M) -> Host {
        let machine = make(self.start());
        self.insert(addr, machine)
    }

    fn start(&mut self) -> Start {
        Start { now: self.now, unix: self.unix(), seed: self.rng.bytes() }
    }

    fn insert(&mut self, addr: SocketAddr, machine: M) -> Host {
        let host = Host(self.members.len());
        self.members.push(Member { machine, addr, events: Vec::new(), ends: BTreeMap::new(), is_cut: false });
        self.drain(host);
        host
    }

    /// The time that the network has come to.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The wall time.
    pub fn unix(&self) -> UnixTime {
        START.plus_micros(self.now.as_micros().saturating_sub(START_MICROS))
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = Host> + use<M> {
        (0..self.members.len()).map(Host)
    }

    /// A host's machine.
    pub fn machine(&self, host: Host) -> &M {
        &self.members[host.0].machine
    }

    /// A host's address.
    pub fn addr(&self, host: Host) -> SocketAddr {
        self.members[host.0].addr
    }

    /// A host's events so far, with their times.
    pub fn events(&self, host: Host) -> &[(Instant, EventOf<'static, M>)] {
        &self.members[host.0].events
    }

    /// Whether a host has told an event of this kind.
    pub fn saw(&self, host: Host, matches: impl Fn(&EventOf<'static, M>) -> bool) -> bool {
        self.events(host).iter().any(|(_, event)| matches(event))
    }

    /// Takes something out of the first event of a host for which `matches` has it.
    pub fn find<T>(&self, host: Host, matches: impl FnMut(&EventOf<'static, M>) -> Option<T>) -> Option<T> {
        self.events(host).iter().map(|(_, event)| event).find_map(matches)
    }

    /// Forgets all events and undelivered datagrams, and returns spare memory of the network itself.
    pub fn forget(&mut self) {
        self.members.iter_mut().for_each(|member| member.events = Vec::new());
        self.inbox = Vec::new();
        self.streams.iter_mut().for_each(|stream| stream.pipes.iter_mut().for_each(VecDeque::shrink_to_fit));
    }

    /// A digest of every action of every machine so far, in order.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    // What hosts are given

    /// Gives a host's machine a command, and carries out what it does.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn command(&mut self, host: Host, command: CommandOf<'_, M>) -> Result<CommandId, RefusedOf<M>> {
        let result = self.members[host.0].machine.command(self.now, command);
        self.drain(host);
        result
    }

    /// Hands a host's machine any input, and carries out what it does.
    pub fn input(&mut self, host: Host, input: Input<'_, CommandOf<'_, M>>) {
        self.members[host.0].machine.handle(self.now, input);
        self.drain(host);
    }

    /// Calls methods of a host's machine beside those of the contract, and carries out what they cause. All inputs that
    /// `call` hands in come before the next drain.
    pub fn with<R>(&mut self, host: Host, call: impl FnOnce(&mut M, Instant) -> R) -> R {
        let result = call(&mut self.members[host.0].machine, self.now);
        self.drain(host);
        result
    }

    /// Hands a host a datagram from any address, at once.
    pub fn datagram(&mut self, host: Host, from: SocketAddr, bytes: &[u8]) {
        self.note(host, from, false, bytes);
        self.input(host, Input::Datagram { socket: SocketId::MAIN, from, bytes });
    }

    /// Takes the datagrams that were sent to an address where no host is, with their sources.
    pub fn take_datagrams(&mut self, to: SocketAddr) -> Vec<(SocketAddr, Vec<u8>)> {
        let (taken, left) = core::mem::take(&mut self.inbox).into_iter().partition(|(at, ..)| *at == to);
        self.inbox = left;
        let taken: Vec<_> = taken;
        taken.into_iter().map(|(_, from, bytes)| (from, bytes)).collect()
    }

    /// Whether datagrams wait for [`Net::take_datagrams`] at an address.
    pub fn has_datagrams(&self, to: SocketAddr) -> bool {
        self.inbox.iter().any(|(at, ..)| *at == to)
    }

    /// Keeps a log of every datagram from now on.
    pub fn log_datagrams(&mut self) {
        self.log.get_or_insert_default();
    }

    /// The datagrams since [`Net::log_datagrams`].
    pub fn datagrams(&self) -> &[Datagram] {
        self.log.as_deref().unwrap_or_default()
    }

    // Faults

    /// Cuts a host off from everything, or lets it back. Datagrams are lost and dials time out; bytes of streams wait.
    pub fn cut(&mut self, host: Host, is_cut: bool) {
        self.members[host.0].is_cut = is_cut;
        let ends: Vec<_> = self.members[host.0].ends.iter().map(|(conn, end)| (*conn, *end)).collect();
        for (conn, (stream, side)) in ends.into_iter().filter(|_| !is_cut) {
            self.later(Delivery::Write { host, conn });
            self.later(Delivery::Bytes { stream, side });
            self.later(Delivery::Bytes { stream, side: 1 - side });
        }
    }

    /// Breaks a host's stream at both sides.
    pub fn break_stream(&mut self, host: Host, conn: ConnId, why: IoFault) {
        let Some((stream, _)) = self.members[host.0].ends.get(&conn).copied() else { return };
        self.streams[stream].closed = [true, true];
        for (host, conn) in self.streams[stream].ends.into_iter().flatten() {
            self.members[host.0].ends.remove(&conn);
            self.input(host, Input::Broken { conn, why });
        }
    }

    // Time

    /// Runs for a while.
    pub fn run_for(&mut self, duration: Duration) {
        let until = self.now + duration;
        while self.step(until) {}
        self.now = until;
    }

    /// Runs until a condition holds. Returns whether it did within `limit`.
    pub fn run_until(&mut self, limit: Duration, condition: impl Fn(&Self) -> bool) -> bool {
        let until = self.now + limit;
        while !condition(self) {
            if !self.step(until) {
                self.now = until;
                return condition(self);
            }
        }
        true
    }

    /// Lets time pass while no machine runs, as when a computer sleeps. What has become due happens afterwards.
    pub fn suspend_for(&mut self, duration: Duration) {
        self.now = self.now + duration;
    }

    /// Does the next thing that is due, if there is one before `until`.
    fn step(&mut self, until: Instant) -> bool {
        let delivery = self.queue.first_key_value().map(|((at, _), _)| *at);
        let members = self.members.iter().enumerate();
        let timeout = members.filter_map(|(i, member)| Some((member.machine.poll_timeout()?, Host(i)))).min();
        match (delivery, timeout) {
            (Some(at), timeout) if timeout.is_none_or(|(due, _)| at <= due) => {
                if at > until {
                    return false;
                }
                self.now = self.now.max(at);
                if let Some((_, delivery)) = self.queue.pop_first() {
                    self.arrive(delivery);
                }
                true
            }
            (_, Some((due, host))) => {
                if due > until {
                    return false;
                }
                self.now = self.now.max(due);
                self.members[host.0].machine.handle(self.now, Input::Timeout);
                if let Some(next) = self.members[host.0].machine.poll_timeout() {
                    assert!(next > self.now, "after a timeout the next deadline lies in the future");
                }
                self.drain(host);
                true
            }
            (_, None) => false,
        }
    }

    /// Carries out a machine's actions. Queries are answered from the zone; without one they are `Unsupported`.
    fn drain(&mut self, host: Host) {
        loop {
            let Member { machine, addr, events, ends, .. } = &mut self.members[host.0];
            let (mut record, mut delivery, mut unanswered) = (Vec::new(), None, None);
            match machine.poll_action() {
                None => return,
                Some(Action::Send { to, bytes, .. }) => {
                    record.extend_from_slice(bytes);
                    delivery = Some(Delivery::Datagram { to, from: *addr, bytes: bytes.to_vec() });
                }
                Some(Action::Dial { conn, to }) => {
                    record.extend(format!("dial {conn} {to}").bytes());
                    let stream = self.streams.len();
                    self.streams.push(Stream { ends: [Some((host, conn)), None], ..Stream::default() });
                    ends.insert(conn, (stream, 0));
                    let from = SocketAddr::new(addr.ip(), DIALLED_PORT);
                    delivery = Some(Delivery::Connect { stream, to, from });
                }
                Some(Action::Flush { conn }) => {
                    record.extend(format!("flush {conn}").bytes());
                    delivery = Some(Delivery::Write { host, conn });
                }
                Some(Action::Close { conn }) => {
                    record.extend(format!("close {conn}").bytes());
                    if let Some((stream, side)) = ends.remove(&conn) {
                        self.streams[stream].closed[side] = true;
                        delivery = Some(Delivery::Bytes { stream, side: 1 - side });
                    }
                }
                Some(Action::Query { id, what }) => {
                    record.extend(format!("query {} {what:?}", id.0).bytes());
                    let answer = if self.zone.is_empty() {
                        Some(Err(QueryFault::Unsupported))
                    } else {
                        self.zone.ask(self.now, host, what)
                    };
                    unanswered = answer.map(|answer| Delivery::Answer { host, id, answer });
                }
                Some(Action::Emit(event)) => {
                    record.extend(format!("{event:?}").bytes());
                    events.push((self.now, M::Language::into_owned(event)));
                }
            }
            record.extend(format!("{} {}", host.0, self.now).bytes());
            record.extend_from_slice(&self.digest);
            self.digest = keccak256(&record);
            match unanswered {
                // At once, and without an answer within the answer.
                Some(Delivery::Answer { id, answer: Err(fault), .. }) if self.zone.is_empty() => {
                    self.members[host.0].machine.handle(self.now, Input::Answer { id, result: Err(fault) });
                }
                Some(delivery) => self.later(delivery),
                None => {}
            }
            if let Some(delivery) = delivery {
                self.send(host, delivery);
            }
        }
    }
}
