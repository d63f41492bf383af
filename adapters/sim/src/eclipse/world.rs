//! One life of the real node: it is driven by the driver contract, and everything else is scripted.
//!
//! A scripted node handles what it is sent at once, and its answer arrives a round trip later. Nothing is lost, and each
//! stream keeps its order.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use peerless::contract::{Action, ConnId, Event, Input, IoFault, Machine, QueryFault, Snapshot, SocketId, Tapped};
use peerless::node::{Config, Node};
use peerless::time::{Duration, Instant, UnixTime};

use super::callers::Callers;
use super::cast::{Cast, Identity, block_ip, lone_ip};
use super::room::Rooms;
use super::script::{self, Script};
use super::sessions::{Said, Sessions};
use super::{Calls, Origin, Plan};
use crate::engine::{Key, Wheel};
use crate::mix::Stream;
use crate::scenario::HOME;
use crate::scenery;
use crate::world::Trace;

/// Purposes of random streams, by the life of the real node.
mod purpose {
    pub(super) const SEED: u64 = 11;
    pub(super) const SCRIPTED: u64 = 12;
    pub(super) const DRAWS: u64 = 13;
    pub(super) const CALLERS: u64 = 14;
}

/// The wall time at the beginning.
const START: UnixTime = UnixTime::from_secs(1_750_000_000);
/// Time after which a dial to an address without a node fails.
const UNREACHABLE: Duration = Duration::from_millis(500);
/// Pause between two pings of an honest node that knows the real one: that of one of geth's checks of an entry.
const HONEST_PINGS: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1800));
/// Pause between two pings of a hostile node.
const HOSTILE_PINGS: (Duration, Duration) = (Duration::from_secs(600), Duration::from_secs(1200));
/// Time in which all hostile nodes, and those that know the node from an earlier life, ping for the first time.
const FIRST_PINGS: Duration = Duration::from_secs(600);

/// What happens at a time.
enum Happening {
    /// A datagram of a scripted node arrives.
    Datagram { from: u32, bytes: Vec<u8> },
    /// The real node's dial reaches a scripted node.
    Connected(ConnId),
    /// The real node's dial fails.
    Unreachable(ConnId),
    /// What a scripted end has sent arrives.
    Said(ConnId, Said),
    /// The real node's deadline.
    Wake,
    /// A scripted node pings the real one, if it knows it.
    Ping(u32),
    /// A scripted peer leaves.
    Leave(ConnId),
    /// A caller calls.
    Call(u32),
    /// The next honest caller appears.
    NextCaller,
    /// The next silent connection.
    Silent,
}

/// The other end of a connection.
#[derive(Clone, Copy)]
enum Peer {
    /// A scripted node, which the real one has dialled.
    Node(u32),
    Caller(u32),
    Silent,
}

/// The circumstances of a life.
pub(super) struct Birth {
    /// The number of the life.
    pub(super) number: u64,
    pub(super) at: Instant,
    /// When the attack begins.
    pub(super) attack: Instant,
    /// What earlier runs have persisted.
    pub(super) snapshot: Snapshot,
}

/// See the module.
pub(super) struct World<'a> {
    plan: &'a Plan,
    cast: &'a Cast,
    attack: Instant,
    now: Instant,
    node: Node,
    /// The fingerprint of everything that passed between the node and its driver.
    pub(super) trace: Trace,
    wheel: Wheel<Happening>,
    scheduled: u32,
    /// When a wake is scheduled, if none before it is.
    armed: Option<Instant>,
    peers: BTreeMap<ConnId, Peer>,
    script: Script,
    sessions: Sessions,
    pub(super) callers: Callers,
    rooms: Rooms,
    draws: Stream,
    silent: Vec<[u8; 3]>,
    /// Happenings so far.
    pub(super) events: u64,
}

impl<'a> World<'a> {
    /// A new life of the real node. It is a restart unless it begins at zero: then honest nodes still know it.
    pub(super) fn new(plan: &'a Plan, cast: &'a Cast, birth: Birth) -> Self {
        let Birth { number, at, attack, snapshot } = birth;
        let stream = |purpose| Stream::new(plan.seed, number, purpose);
        let chain = scenery::chain(HOME);
        let unix = START.plus_micros(at.as_micros());
        let mut config = Config::new(cast.real.secret.clone(), chain.clone());
        config.addresses.set_ip(cast.real.addr.ip());
        (config.addresses.udp, config.addresses.tcp) = (cast.real.addr.port(), cast.real.addr.port());
        config.snapshot = snapshot;
        config.record_seq = 1 + number;
        config.discovery.discv5 = None;
        config.discovery.set_bootnodes(&cast.bootnodes);
        let node = Node::with_crypto(config, stream(purpose::SEED).bytes_32(), at, unix, cast.crypto.clone());
        let seed = stream(purpose::SCRIPTED).bytes_32();
        let mut world = Self {
            plan,
            cast,
            attack,
            now: at,
            node: node.expect("a valid configuration"),
            trace: Trace::new(0),
            wheel: Wheel::new(),
            scheduled: 0,
            armed: None,
            peers: BTreeMap::new(),
            script: Script::new(cast, chain.fork_id()),
            sessions: Sessions::new(chain, cast.crypto.clone(), seed, (at, unix)),
            callers: Callers::new(plan.seed ^ number << 32, stream(purpose::CALLERS)),
            rooms: Rooms::new(plan, cast.honest().len()),
            draws: stream(purpose::DRAWS),
            silent: Vec::new(),
            events: 0,
        };
        world.schedule_all();
        world.settle();
        world
    }

    /// Schedules what scripted nodes do by themselves.
    fn schedule_all(&mut self) {
        let is_restart = self.now > Instant::ZERO;
        for node in self.cast.honest().take(self.plan.known as usize) {
            if is_restart {
                self.script.recall(self.now, node);
            }
            self.schedule_ping(self.now, node);
        }
        let attack = self.attack.max(self.now);
        for node in self.cast.hostile() {
            self.schedule_ping(attack, node);
        }
        if let Some(Calls { hostile_per_subnet, origin, .. }) = &self.plan.calls {
            let ips: Vec<IpAddr> = match origin {
                Origin::Subnets => self.cast.subnet_ips(*hostile_per_subnet).collect(),
                Origin::Block => (0..self.plan.subnets * hostile_per_subnet).map(block_ip).collect(),
            };
            for ip in ips {
                let caller = self.callers.add_hostile(self.cast, ip);
                let at = attack + self.draws.duration(Duration::ZERO, Duration::from_secs(30));
                self.schedule(at, Happening::Call(caller));
            }
            self.schedule(self.now, Happening::NextCaller);
        }
        if let Some(silent) = self.plan.silent {
            while self.silent.len() < silent.subnets as usize {
                let [a, b, c, _] = lone_ip(&mut self.draws).octets();
                self.silent.push([a, b, c]);
            }
            self.schedule(attack, Happening::Silent);
        }
    }

    fn schedule_ping(&mut self, from: Instant, node: u32) {
        let at = from + self.draws.duration(Duration::ZERO, FIRST_PINGS);
        self.schedule(at, Happening::Ping(node));
    }

    /// The real node.
    pub(super) fn node(&self) -> &Node {
        &self.node
    }

    /// Lets everything happen up to this time.
    pub(super) fn run_until(&mut self, end: Instant) {
        while let Some((Key { at, .. }, happening)) = self.wheel.pop_before(end) {
            self.now = self.now.max(at);
            self.events += 1;
            self.happen(happening);
            self.settle();
        }
        self.now = self.now.max(end);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Datagram { from, bytes } => {
                let from = self.cast.get(from).addr;
                self.input(Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes });
            }
            Happening::Connected(conn) => self.connected(conn),
            Happening::Unreachable(conn) => self.input(Input::Broken { conn, why: IoFault::Unreachable }),
            Happening::Said(conn, Said { bytes, closes }) => {
                if !bytes.is_empty() {
                    self.input(Input::Bytes { conn, bytes: &bytes });
                }
                if closes {
                    self.settle();
                    self.input(Input::Eof { conn });
                }
            }
            Happening::Wake => {
                if self.armed == Some(self.now) {
                    self.armed = None;
                    if Machine::poll_timeout(&self.node).is_some_and(|due| due <= self.now) {
                        self.input(Input::Timeout);
                    }
                }
            }
            Happening::Ping(node) => self.ping(node),
            Happening::Leave(conn) => {
                let said = self.sessions.leave(self.now, conn);
                self.say(conn, said);
            }
            Happening::Call(caller) => self.call(caller),
            Happening::NextCaller => {
                if let Some(Calls { every, .. }) = self.plan.calls {
                    let caller = self.callers.add_honest(self.cast);
                    self.call(caller);
                    self.schedule(self.now + every, Happening::NextCaller);
                }
            }
            Happening::Silent => self.connect_silently(),
        }
    }

    fn connected(&mut self, conn: ConnId) {
        let Some(Peer::Node(number)) = self.peers.get(&conn).copied() else { return };
        let identity = self.cast.get(number);
        let has_room = identity.is_hostile || self.rooms.has_room(self.now, number, &mut self.draws);
        self.sessions.accept(self.now, conn, identity, &self.cast.real, has_room);
        self.input(Input::Connected { conn, local: None });
    }

    fn ping(&mut self, node: u32) {
        let identity = self.cast.get(node);
        let (min, max) = if identity.is_hostile { HOSTILE_PINGS } else { HONEST_PINGS };
        let next = self.now + self.draws.duration(min, max);
        self.schedule(next, Happening::Ping(node));
        if identity.is_hostile || self.script.knows_real(self.now, node) {
            let bytes = script::ping(self.cast, identity, self.unix());
            self.input(Input::Datagram { socket: SocketId::MAIN, from: identity.addr, bytes: &bytes });
        }
    }

    fn call(&mut self, caller: u32) {
        self.callers.called(self.now, caller);
        let identity = self.callers.identity(caller);
        let mut node = Tapped::new(&mut self.node, &mut self.trace, self.now);
        match node.accept(self.now, SocketId::MAIN, identity.addr) {
            Some(conn) => {
                let said = self.sessions.dial(self.now, conn, identity, &self.cast.real);
                self.peers.insert(conn, Peer::Caller(caller));
                self.say(conn, said);
            }
            None => self.out(caller),
        }
    }

    /// A caller is not in.
    fn out(&mut self, caller: u32) {
        if let Some(at) = self.callers.is_out(self.now, caller) {
            self.schedule(at, Happening::Call(caller));
        }
    }

    fn connect_silently(&mut self) {
        let Some(silent) = self.plan.silent else { return };
        let [a, b, c] = self.silent[self.draws.below(self.silent.len() as u64) as usize];
        let from = SocketAddr::new(IpAddr::from([a, b, c, 1 + self.draws.below(254) as u8]), 50_000);
        let mut node = Tapped::new(&mut self.node, &mut self.trace, self.now);
        if let Some(conn) = node.accept(self.now, SocketId::MAIN, from) {
            self.peers.insert(conn, Peer::Silent);
        }
        let pause = Duration::from_micros(1_000_000 / u64::from(silent.per_second.max(1)));
        self.schedule(self.now + pause, Happening::Silent);
    }

    fn unix(&self) -> UnixTime {
        START.plus_micros(self.now.as_micros())
    }

    fn input(&mut self, input: Input<'_>) {
        Tapped::new(&mut self.node, &mut self.trace, self.now).handle(self.now, input);
    }

    /// Carries out the real node's actions, and schedules its deadline.
    fn settle(&mut self) {
        loop {
            let mut node = Tapped::new(&mut self.node, &mut self.trace, self.now);
            match node.poll_action() {
                None => break,
                Some(Action::Send { to, bytes, .. }) => {
                    let bytes = bytes.to_vec();
                    if let Some(node) = self.cast.find(to).filter(|node| self.is_awake(*node)) {
                        self.answer(node, &bytes);
                    }
                }
                Some(Action::Dial { conn, to }) => self.dial(conn, to),
                Some(Action::Flush { conn }) => self.flush(conn),
                Some(Action::Close { conn }) => self.close(conn),
                Some(Action::Query { id, .. }) => {
                    self.input(Input::Answer { id, result: Err(QueryFault::Unsupported) })
                }
                Some(Action::Emit(Event::Established { conn, .. })) => self.established(conn),
                Some(Action::Emit(_)) => {}
            }
        }
        let Some(due) = Machine::poll_timeout(&self.node) else { return };
        let due = due.max(self.now);
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            self.schedule(due, Happening::Wake);
        }
    }

    /// Whether a scripted node takes part: hostile ones do from the attack on.
    fn is_awake(&self, node: u32) -> bool {
        !self.cast.get(node).is_hostile || self.now >= self.attack
    }

    fn answer(&mut self, node: u32, bytes: &[u8]) {
        let time = (self.now, self.unix());
        let at = self.now + self.cast.get(node).round_trip;
        for bytes in self.script.answer(self.cast, time, node, bytes) {
            self.schedule(at, Happening::Datagram { from: node, bytes });
        }
    }

    fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        match self.cast.find(to).filter(|to| self.is_awake(*to)) {
            Some(node) => {
                self.peers.insert(conn, Peer::Node(node));
                self.schedule(self.now + self.cast.get(node).round_trip, Happening::Connected(conn));
            }
            None => self.schedule(self.now + UNREACHABLE, Happening::Unreachable(conn)),
        }
    }

    fn flush(&mut self, conn: ConnId) {
        let bytes = self.node.outbound(conn).to_vec();
        self.input(Input::Wrote { conn, n: bytes.len() });
        let said = self.sessions.hear(self.now, conn, &bytes);
        self.say(conn, said);
    }

    fn close(&mut self, conn: ConnId) {
        self.sessions.closed(conn);
        if let Some(Peer::Caller(caller)) = self.peers.remove(&conn) {
            self.out(caller);
        }
    }

    /// What a scripted end has sent arrives a round trip later: it has handled what it was sent too early by half of one.
    fn say(&mut self, conn: ConnId, said: Said) {
        if !said.bytes.is_empty() || said.closes {
            let round_trip = self.identity(conn).map_or(Duration::ZERO, |identity| identity.round_trip);
            self.schedule(self.now + round_trip, Happening::Said(conn, said));
        }
    }

    fn identity(&self, conn: ConnId) -> Option<&Identity> {
        match *self.peers.get(&conn)? {
            Peer::Node(node) => Some(self.cast.get(node)),
            Peer::Caller(caller) => Some(self.callers.identity(caller)),
            Peer::Silent => None,
        }
    }

    /// A session is established: honest peers stay for a while, hostile ones that were dialled for good.
    fn established(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get(&conn).copied() else { return };
        if let Peer::Caller(caller) = peer {
            self.callers.established(self.now, caller);
        }
        let is_hostile = self.identity(conn).is_some_and(|identity| identity.is_hostile);
        let stay = match (peer, is_hostile, &self.plan.calls) {
            (_, false, _) => self.draws.exponential(self.plan.stay),
            (Peer::Caller(_), true, Some(calls)) => calls.reconnect,
            _ => return,
        };
        self.schedule(self.now + stay, Happening::Leave(conn));
    }

    fn schedule(&mut self, at: Instant, happening: Happening) {
        self.scheduled = self.scheduled.checked_add(1).expect("fewer than 2^32 happenings");
        self.wheel.push(Key { at, sender: 0, seq: self.scheduled }, happening);
    }
}
