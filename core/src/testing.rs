//! A network in memory and virtual time, for tests of any [`Machine`] (feature `testing`).
//!
//! A few dozen hosts, datagrams with delay and loss, streams that are chunked and written in parts at random, and faults on
//! demand. One seed determines everything, so that a failing run can be repeated. For thousands of hosts, use the simulator
//! in `peerless-sim`.
//!
//! ```
//! use peerless::contract::{Command, Event};
//! use peerless::crypto::SecretKey;
//! use peerless::eth::Chain;
//! use peerless::node::{Config, Node};
//! use peerless::testing::{Host, Net};
//! use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! use std::time::Duration;
//!
//! let mut net = Net::new(1);
//! let [one, two]: [Host; 2] = [1u8, 2].map(|number| {
//!     let network = Network { name: "mine".into(), network_id: 1337, schedule: ForkSchedule::new([7; 32], 0, &[], &[]) };
//!     let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//!     let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
//!     config.addresses.set_ip([127, 0, 0, number].into());
//!     net.add(([127, 0, 0, number], 30303).into(), |start| {
//!         Node::new(config, start.seed, start.now, start.unix).expect("valid")
//!     })
//! });
//! let contact = *net.machine(two).contact();
//! net.command(one, Command::Dial { contact })?;
//! let is_up = |event: &Event<'_>| matches!(event, Event::Established { .. });
//! assert!(net.run_until(Duration::from_secs(5), |net| net.saw(one, is_up) && net.saw(two, is_up)));
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```

use alloc::collections::{BTreeMap, VecDeque};
use alloc::format;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use crate::contract::{
    Action, CommandId, CommandOf, ConnId, EventOf, Input, IoFault, Language, Machine, QueryFault, RefusedOf, SocketId,
};
use crate::crypto::keccak256;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant, UnixTime};

/// The wall time at which every network starts.
pub const START: UnixTime = UnixTime::from_secs(1_750_000_000);
/// The port of a dialled stream's own end.
const DIALLED_PORT: u16 = 50_000;

/// A machine of a network, by the order in which it was added.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Host(pub usize);

/// The arguments of a host's machine at its start.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Monotonic time.
    pub now: Instant,
    /// Wall time.
    pub unix: UnixTime,
    /// The machine's seed.
    pub seed: [u8; 32],
}

/// The conditions of every link. Percentages are of datagrams or dials; byte counts are upper bounds of a draw.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The shortest and the longest delay of a datagram, chunk or dial.
    pub delay: (Duration, Duration),
    /// Datagrams that are lost.
    pub loss_percent: u64,
    /// Dials that time out.
    pub dial_loss_percent: u64,
    /// The largest chunk in which a stream's bytes arrive; a quarter of all chunks are everything that waits.
    pub chunk_bytes_max: usize,
    /// The largest part of outbound bytes that a socket takes at once.
    pub write_bytes_max: usize,
}

impl Default for Link {
    /// 1 to 5 ms, no loss, chunks of at most 700 bytes, writes of any size.
    fn default() -> Self {
        Self {
            delay: (Duration::from_millis(1), Duration::from_millis(5)),
            loss_percent: 0,
            dial_loss_percent: 0,
            chunk_bytes_max: 700,
            write_bytes_max: usize::MAX,
        }
    }
}

/// A datagram as a host sent or received it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Datagram {
    /// The time.
    pub at: Instant,
    /// The host.
    pub host: Host,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether the host sent it.
    pub is_sent: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A stream to a host whose other end is the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RawStream {
    /// The host.
    pub host: Host,
    /// The connection's id at the host.
    pub conn: ConnId,
    stream: usize,
}

/// One machine with its events.
struct Member<M: Machine> {
    machine: M,
    addr: SocketAddr,
    events: Vec<(Instant, EventOf<'static, M>)>,
    /// The stream end of each connection: which stream, and which of its two sides.
    ends: BTreeMap<ConnId, (usize, usize)>,
    /// Whether the host is cut off: what it sends is lost, and nothing reaches it.
    is_cut: bool,
}

#[derive(Default)]
struct Stream {
    /// The host and connection at each side; `None` is the test's.
    ends: [Option<(Host, ConnId)>; 2],
    /// Bytes on their way to each side.
    pipes: [VecDeque<u8>; 2],
    closed: [bool; 2],
    /// Whether side 0 takes no more bytes: a closed window.
    is_stalled: bool,
}

enum Delivery {
    Datagram { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Connect { stream: usize, to: SocketAddr, from: SocketAddr },
    Bytes { stream: usize, side: usize },
    Write { host: Host, conn: ConnId },
}

/// A network of machines of one kind in memory and virtual time.
pub struct Net<M: Machine> {
    /// The conditions of all links from now on.
    pub link: Link,
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
            now: Instant::from_micros(1_000_000),
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
        let machine = make(Start { now: self.now, unix: self.unix(), seed: self.rng.bytes() });
        let host = Host(self.members.len());
        self.members.push(Member { machine, addr, events: Vec::new(), ends: BTreeMap::new(), is_cut: false });
        self.drain(host);
        host
    }

    /// The network's time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The wall time.
    pub fn unix(&self) -> UnixTime {
        START.plus_micros(self.now.as_micros().saturating_sub(1_000_000))
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

    /// Whether a host has emitted an event that `matches` accepts.
    pub fn saw(&self, host: Host, matches: impl Fn(&EventOf<'static, M>) -> bool) -> bool {
        self.events(host).iter().any(|(_, event)| matches(event))
    }

    /// Forgets all events, and returns spare memory of the network itself.
    pub fn forget(&mut self) {
        self.members.iter_mut().for_each(|member| member.events = Vec::new());
        self.streams.iter_mut().for_each(|stream| stream.pipes.iter_mut().for_each(VecDeque::shrink_to_fit));
    }

    /// A digest of every action of every machine so far, in order.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }

    // Inputs of hosts

    /// Gives a host's machine a command, and carries out its actions.
    ///
    /// # Errors
    /// Those of the machine.
    pub fn command(&mut self, host: Host, command: CommandOf<'_, M>) -> Result<CommandId, RefusedOf<M>> {
        let result = self.members[host.0].machine.command(self.now, command);
        self.drain(host);
        result
    }

    /// Hands a host's machine any input, and carries out its actions.
    pub fn input(&mut self, host: Host, input: Input<'_, CommandOf<'_, M>>) {
        self.members[host.0].machine.handle(self.now, input);
        self.drain(host);
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

    /// Keeps a log of every datagram from now on.
    pub fn log_datagrams(&mut self) {
        self.log.get_or_insert_default();
    }

    /// The datagrams since [`Net::log_datagrams`].
    pub fn datagrams(&self) -> &[Datagram] {
        self.log.as_deref().unwrap_or_default()
    }

    /// Cuts a host off from all others, or reconnects it. Bytes of streams wait meanwhile.
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

    // Streams of the test's own

    /// Opens a stream to a host from any address; `None` if its machine does not accept it.
    pub fn connect_raw(&mut self, host: Host, from: SocketAddr) -> Option<RawStream> {
        let conn = self.members[host.0].machine.accept(self.now, SocketId::MAIN, from)?;
        let stream = self.streams.len();
        self.streams.push(Stream { ends: [None, Some((host, conn))], ..Stream::default() });
        self.members[host.0].ends.insert(conn, (stream, 1));
        self.drain(host);
        Some(RawStream { host, conn, stream })
    }

    /// Sends bytes into a raw stream.
    pub fn write_raw(&mut self, raw: RawStream, bytes: &[u8]) {
        let was_empty = self.streams[raw.stream].pipes[1].is_empty();
        self.streams[raw.stream].pipes[1].extend(bytes);
        if was_empty && !bytes.is_empty() {
            self.later(Delivery::Bytes { stream: raw.stream, side: 1 });
        }
    }

    /// Takes the bytes that the host has written to a raw stream.
    pub fn read_raw(&mut self, raw: RawStream) -> Vec<u8> {
        self.streams[raw.stream].pipes[0].drain(..).collect()
    }

    /// Whether the host has closed its end of a raw stream.
    pub fn is_closed(&self, raw: RawStream) -> bool {
        self.streams[raw.stream].closed[1]
    }

    /// Closes the test's end of a raw stream.
    pub fn close_raw(&mut self, raw: RawStream) {
        self.streams[raw.stream].closed[0] = true;
        self.later(Delivery::Bytes { stream: raw.stream, side: 1 });
    }

    /// Takes no more bytes out of a raw stream, or takes them again.
    pub fn stall_raw(&mut self, raw: RawStream, is_stalled: bool) {
        self.streams[raw.stream].is_stalled = is_stalled;
        self.later(Delivery::Write { host: raw.host, conn: raw.conn });
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

    /// Carries out the next thing that is due, if there is one before `until`.
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
                    self.deliver(delivery);
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

    fn later(&mut self, delivery: Delivery) {
        let (min, max) = self.link.delay;
        let at = self.now + self.rng.duration(min, max);
        self.queued += 1;
        self.queue.insert((at, self.queued), delivery);
    }

    fn host_at(&self, addr: SocketAddr) -> Option<Host> {
        self.members.iter().position(|member| member.addr == addr).map(Host)
    }

    fn is_cut(&self, host: Host) -> bool {
        self.members[host.0].is_cut
    }

    fn note(&mut self, host: Host, remote: SocketAddr, is_sent: bool, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.push(Datagram { at: self.now, host, remote, is_sent, bytes: bytes.to_vec() });
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Datagram { to, from, bytes } => match self.host_at(to) {
                Some(host) if self.is_cut(host) => {}
                Some(host) => self.datagram(host, from, &bytes),
                None => self.inbox.push((to, from, bytes)),
            },
            Delivery::Connect { stream, to, from } => self.connect(stream, to, from),
            Delivery::Bytes { stream, side } => self.carry(stream, side),
            Delivery::Write { host, conn } => self.write(host, conn),
        }
    }

    fn connect(&mut self, stream: usize, to: SocketAddr, from: SocketAddr) {
        let Some((dialler, conn)) = self.streams[stream].ends[0] else { return };
        let target = self.host_at(to);
        let is_lost = self.link.dial_loss_percent > 0 && self.rng.below(100) < self.link.dial_loss_percent;
        if is_lost || self.is_cut(dialler) || target.is_some_and(|host| self.is_cut(host)) {
            return self.input(dialler, Input::Broken { conn, why: IoFault::TimedOut });
        }
        let accept = |host: Host| {
            let accepted = self.members[host.0].machine.accept(self.now, SocketId::MAIN, from);
            accepted.map(|accepted| (host, accepted))
        };
        match target.and_then(accept) {
            Some((host, accepted)) => {
                self.streams[stream].ends[1] = Some((host, accepted));
                self.members[host.0].ends.insert(accepted, (stream, 1));
                self.drain(host);
                self.input(dialler, Input::Connected { conn, local: Some(from) });
            }
            None => {
                if let Some(host) = target {
                    self.drain(host);
                }
                self.input(dialler, Input::Broken { conn, why: IoFault::Refused });
            }
        }
    }

    /// Hands a chunk of the bytes in flight to one side of a stream to the machine there.
    fn carry(&mut self, stream: usize, side: usize) {
        let Some((host, conn)) = self.streams[stream].ends[side] else { return };
        if self.streams[stream].closed[side] || self.is_cut(host) {
            return;
        }
        let waiting = self.streams[stream].pipes[side].len();
        if waiting == 0 {
            if self.streams[stream].closed[1 - side] {
                self.input(host, Input::Eof { conn });
            }
            return;
        }
        if self.members[host.0].machine.wants_read(conn) {
            let n = 1 + self.rng.below(waiting.min(self.link.chunk_bytes_max) as u64) as usize;
            let n = if self.rng.below(4) == 0 { waiting } else { n.min(waiting) };
            let bytes: Vec<u8> = self.streams[stream].pipes[side].drain(..n).collect();
            self.input(host, Input::Bytes { conn, bytes: &bytes });
        }
        self.later(Delivery::Bytes { stream, side });
    }

    /// Lets a host's socket take a part of a connection's outbound bytes.
    fn write(&mut self, host: Host, conn: ConnId) {
        let member = &self.members[host.0];
        let Some((stream, side)) = member.ends.get(&conn).copied() else { return };
        let outbound = member.machine.outbound(conn);
        if outbound.is_empty() || self.streams[stream].is_stalled || member.is_cut {
            return;
        }
        let n = 1 + self.rng.below(outbound.len().min(self.link.write_bytes_max) as u64) as usize;
        let pipe = &mut self.streams[stream].pipes[1 - side];
        let was_empty = pipe.is_empty();
        pipe.extend(&outbound[..n]);
        self.input(host, Input::Wrote { conn, n });
        if was_empty {
            self.later(Delivery::Bytes { stream, side: 1 - side });
        }
        self.later(Delivery::Write { host, conn });
    }

    /// Carries out a machine's actions.
    fn drain(&mut self, host: Host) {
        loop {
            let Member { machine, addr, events, ends, .. } = &mut self.members[host.0];
            let mut record = format!("{} {} ", host.0, self.now).into_bytes();
            let (mut delivery, mut unanswered) = (None, None);
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
                    unanswered = Some(id);
                }
                Some(Action::Emit(event)) => {
                    record.extend(format!("{event:?}").bytes());
                    events.push((self.now, M::Language::into_owned(event)));
                }
            }
            record.extend_from_slice(&self.digest);
            self.digest = keccak256(&record);
            if let Some(id) = unanswered {
                self.members[host.0]
                    .machine
                    .handle(self.now, Input::Answer { id, result: Err(QueryFault::Unsupported) });
            }
            if let Some(delivery) = delivery {
                self.send(host, delivery);
            }
        }
    }

    fn send(&mut self, host: Host, delivery: Delivery) {
        if let Delivery::Datagram { to, bytes, .. } = &delivery {
            self.note(host, *to, true, bytes);
            if self.is_cut(host) || self.rng.below(100) < self.link.loss_percent {
                return;
            }
        }
        self.later(delivery);
    }
}
