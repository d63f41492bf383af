//! One host: a machine and the socket layer under it. It handles what is delivered, and what it does goes out through a
//! [`Sink`]; it touches nothing of any other host, so that hosts can be driven in parallel.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use peerless::contract::{
    Action, Answer, CommandOf, ConnId, Input, Machine, Prefetch, Query, QueryFault, QueryId, SocketId, Tapped,
};
use peerless::time::{Duration, Instant, UnixTime};

use super::cpu::Processor;
use super::flood::Torrent;
use super::machine::{Birth, Watch};
use super::shared::Shared;
use super::trace::{Fingerprint, Trace};
use super::{Churn, Totals, Violation};
use crate::HostId;
use crate::engine::Key;
use crate::mix::Stream;
use crate::network::Addr;
use crate::network::address::PORT;
use crate::network::link::Site;
use crate::network::nat::{Nat, NatBox};
use crate::network::stream::{End, EndId, Remote, Segment};
use crate::prefetch::Caches;

/// Something that will be delivered to a host.
#[derive(Debug)]
pub(crate) struct Parcel {
    pub to: u32,
    pub what: Delivery,
}

#[derive(Debug)]
pub(crate) enum Delivery {
    /// A datagram, to an external port.
    Datagram { from: Addr, port: u16, bytes: Vec<u8> },
    /// A stream's segment, for one of the host's ends.
    Segment { from: Remote, end: EndId, segment: Segment },
    /// The machine's deadline may have come.
    Wake,
    /// The machine's deadline had come while it was busy.
    Due,
    /// The machine is not busy any more.
    Resume,
    /// The next datagram of this flood arrives.
    Flood(u32),
    /// A datagram of a flood, by the flood's and its own number.
    Forged(u32, u64),
    /// An end may write.
    Write(EndId),
    /// An end may read on.
    Read(EndId),
    /// A credit that a cut held up.
    Credit(EndId),
    /// The answer to a query of this incarnation: a fault, or what the zone has.
    Answer { incarnation: u32, id: QueryId, name: Box<str>, fault: Option<QueryFault> },
    /// The machine starts, unless it runs.
    Start,
    /// The machine ends, if it is still this incarnation and still comes and goes.
    Stop { incarnation: u32, how: Crash },
}

/// How a machine ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Crash {
    /// The process is killed: its streams are reset, dials to it are refused. Its memory is lost.
    Process,
    /// The power fails: peers get no reset and no answer. Its memory is lost.
    Power,
    /// The host sleeps, as laptops do: as [`Crash::Power`], but the machine keeps its memory. Its streams are
    /// broken by then.
    Sleep,
}

/// Where what a host does goes to.
pub(crate) trait Sink {
    fn push(&mut self, key: Key, parcel: Parcel);
    /// An empty buffer for a datagram.
    fn buffer(&mut self) -> Vec<u8>;
    /// Takes a buffer back.
    fn reuse(&mut self, buffer: Vec<u8>);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Power {
    /// The machine runs.
    On,
    /// The host runs, the machine does not.
    Idle,
    /// Nothing runs.
    Off,
}

/// See the module.
pub(crate) struct Host<M, W> {
    pub id: HostId,
    pub uplink: Uplink,
    /// What its machine runs on, if that is modelled.
    pub cpu: Option<Box<Processor>>,
    pub machine: Option<Box<M>>,
    pub power: Power,
    pub incarnation: u32,
    pub clock_skew_secs: i64,
    pub starts_in: Option<Duration>,
    pub churn: Option<Churn>,
    pub watch: W,
    pub trace: Trace,
    pub violation: Option<Violation>,
    /// When a wake is scheduled, if none before it is.
    pub armed: Option<Instant>,
    /// What the machine's `poll_timeout` said when it was last touched.
    pub due: Option<Instant>,
    pub stream: Stream,
    pub ends: BTreeMap<EndId, End>,
    pub by_conn: BTreeMap<ConnId, EndId>,
    pub ends_made: EndId,
    /// Ends with something to read that the machine does not want now.
    pub paused: Vec<EndId>,
    /// The flood that it is under.
    pub flood: Option<Box<Torrent>>,
    /// The number of floods so far.
    pub floods: u32,
}

/// What stands between a host's machine and the network; apart from the machine, which lends what it sends.
pub(crate) struct Uplink {
    pub site: Site,
    pub nat: NatBox,
    pub totals: Totals,
    /// Things caused so far.
    pub seq: u32,
    /// Packets sent so far.
    pub packets: u64,
    /// When the last datagram has left: the next one waits for that.
    pub busy_until: Instant,
    /// When the machine has computed what it sends now.
    pub computed_at: Instant,
}

/// What a host is lent while it handles something.
pub(crate) struct Turn<'a, M, S> {
    pub now: Instant,
    pub shared: &'a Shared<M>,
    pub sink: &'a mut S,
}

impl<M: Machine<Language: Fingerprint>, W: Watch<M>> Host<M, W> {
    /// Prefetches what a delivery will read: at depth 0 of the host, from then on of its machine.
    pub(super) fn prefetch(&self, at: Instant, what: &Delivery, depth: usize) {
        let mut memory = Caches;
        let Some(depth) = depth.checked_sub(1) else {
            memory.prefetch(&self.id);
            memory.prefetch(&self.uplink);
            memory.prefetch(&self.machine);
            memory.prefetch(&self.trace);
            memory.prefetch(&self.armed);
            memory.prefetch(&self.due);
            memory.prefetch(&self.power);
            memory.prefetch(&self.violation);
            memory.prefetch(&self.paused);
            if let Delivery::Datagram { bytes, .. } = what {
                memory.prefetch(&bytes[..]);
            }
            return;
        };
        match (what, &self.machine) {
            (Delivery::Datagram { from, bytes, .. }, Some(machine)) => {
                let input = Input::Datagram { socket: SocketId::MAIN, from: (*from).into(), bytes };
                machine.prefetch(&input, depth, &mut Caches);
            }
            // Many wakes come too early, because their deadline has moved.
            (Delivery::Wake, Some(machine)) if self.due.is_some_and(|due| due <= at) => {
                machine.prefetch(&Input::Timeout, depth, &mut Caches);
            }
            _ => {}
        }
    }

    /// Handles a delivery at once.
    pub(super) fn carry_out<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, what: Delivery) {
        match what {
            Delivery::Datagram { from, port, bytes } => {
                self.datagram(turn, from.into(), port, &bytes);
                turn.sink.reuse(bytes);
            }
            Delivery::Flood(generation) => self.flood_arrives(turn, generation),
            Delivery::Forged(generation, number) => self.forged(turn, generation, number),
            Delivery::Wake => {
                if self.armed == Some(turn.now) {
                    self.due(turn);
                }
            }
            Delivery::Due => self.due(turn),
            // The machine that waited is gone.
            Delivery::Resume => {}
            Delivery::Segment { from, end, segment } => self.segment(turn, from, end, segment),
            Delivery::Write(end) => self.write(turn, end),
            Delivery::Read(end) => {
                if let Some(end) = self.ends.get_mut(&end) {
                    end.is_reading = false;
                }
                self.read(turn, end);
            }
            Delivery::Credit(end) => self.credit(turn, end),
            Delivery::Answer { incarnation, id, name, fault } => self.answer(turn, incarnation, id, &name, fault),
            Delivery::Start => self.start(turn),
            Delivery::Stop { incarnation, how } => {
                if self.churn.is_some() && incarnation == self.incarnation && self.power == Power::On {
                    self.stop(turn, how);
                }
            }
        }
    }

    /// The time of the host's wall clock.
    pub(crate) fn unix(&self, now: Instant, start: UnixTime) -> UnixTime {
        let shown = start.as_secs() + now.as_micros() / 1_000_000;
        UnixTime::from_secs(shown.saturating_add_signed(self.clock_skew_secs))
    }

    pub(crate) fn start<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        if self.power == Power::On {
            return;
        }
        self.power = Power::On;
        self.incarnation += 1;
        self.uplink.totals.starts += 1;
        let unix = self.unix(turn.now, turn.shared.start);
        if self.machine.is_some() {
            // The host slept: its sockets are gone, and its clock has jumped.
            let conns: Vec<ConnId> = std::mem::take(&mut self.by_conn).into_keys().collect();
            self.input(turn, Input::WallClock { unix });
            for conn in conns {
                self.input(turn, Input::Broken { conn, why: peerless::contract::IoFault::Reset });
            }
            self.input(turn, Input::Timeout);
        } else {
            let crypto = self.cpu.as_ref().map_or_else(|| turn.shared.crypto.clone(), |cpu| cpu.crypto());
            let mut seed = Stream::new(turn.shared.seed, u64::from(self.id.0), u64::from(self.incarnation));
            let birth = Birth {
                host: self.id,
                incarnation: self.incarnation - 1,
                addr: Addr { ip: turn.shared.addresses.ip(self.id), port: PORT },
                nat: self.uplink.nat.kind(),
                region: self.uplink.site.region,
                now: turn.now,
                unix,
                seed: seed.bytes_32(),
                addresses: turn.shared.addresses,
                crypto: &crypto,
            };
            let machine = Box::new((turn.shared.maker)(&birth));
            self.watch.changed(turn.now, self.id, Some(&machine));
            self.machine = Some(machine);
            self.settle(turn);
        }
        if let Some(churn) = self.churn {
            let length = self.stream.log_normal(churn.session_median, churn.session_sigma_millis);
            let stop = Delivery::Stop { incarnation: self.incarnation, how: churn.crash };
            self.later(turn, length.max(Duration::from_millis(1)), stop);
        }
    }

    pub(crate) fn stop<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, how: Crash) {
        self.uplink.totals.stops += 1;
        if how == Crash::Process {
            for end in std::mem::take(&mut self.ends).into_values() {
                self.send_segment(turn, end.remote, 0, end.last_arrival, Segment::Reset);
            }
        }
        self.ends.clear();
        self.paused.clear();
        (self.armed, self.due) = (None, None);
        self.power = if how == Crash::Process { Power::Idle } else { Power::Off };
        if how != Crash::Sleep {
            self.by_conn.clear();
            self.machine = None;
            self.watch.changed(turn.now, self.id, None);
        }
        self.abandon_queue(turn);
        if let Some(churn) = self.churn {
            let pause = self.stream.log_normal(churn.pause_median, churn.pause_sigma_millis);
            self.later(turn, pause.max(Duration::from_millis(1)), Delivery::Start);
        }
    }

    pub(super) fn datagram<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, from: SocketAddr, port: u16, bytes: &[u8]) {
        let admits = |from| self.uplink.nat.admits(turn.now, from, port);
        if self.power != Power::On {
            self.uplink.totals.datagrams_unheard += 1;
        } else if !Addr::of(from).map_or(self.uplink.nat.kind() == Nat::None, admits) {
            self.uplink.totals.datagrams_filtered += 1;
        } else {
            self.uplink.totals.datagrams_delivered += 1;
            self.input(turn, Input::Datagram { socket: SocketId::MAIN, from, bytes });
        }
    }

    /// The machine's deadline has come, if it has not moved.
    fn due<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        self.armed = None;
        if self.power != Power::On {
            return;
        }
        if self.due.is_none_or(|due| due > turn.now) {
            self.arm(turn);
            return;
        }
        self.input(turn, Input::Timeout);
        if let Some(due) = self.due
            && due <= turn.now
        {
            self.violated(turn.now, format!("after a timeout at {} the next is due at {due}", turn.now));
        }
    }

    /// Hands the machine an input, and carries out its actions.
    pub(crate) fn input<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, input: Input<'_, CommandOf<'_, M>>) {
        let Some(mut machine) = self.tapped(turn.now) else { return };
        machine.handle(turn.now, input);
        self.settle(turn);
    }

    /// The machine, tapped by the fingerprint and the watch.
    pub(crate) fn tapped(&mut self, now: Instant) -> Option<Tapped<&mut M, (&mut Trace, &mut W)>> {
        let machine = self.machine.as_deref_mut()?;
        Some(Tapped::new(machine, (&mut self.trace, &mut self.watch), now))
    }

    /// Drains the machine after an input, schedules its deadline, and resumes paused streams.
    pub(crate) fn settle<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        if let Some(cpu) = &mut self.cpu {
            self.uplink.computed_at = cpu.work(turn.now, &mut self.uplink.totals);
        }
        self.drain(turn);
        self.due = self.machine.as_ref().and_then(|machine| machine.poll_timeout());
        self.arm(turn);
        if let Some(machine) = &self.machine
            && let Err(what) = self.watch.stepped(turn.now, self.id, machine)
        {
            self.violated(turn.now, what);
        }
        if !self.paused.is_empty() {
            self.resume(turn);
        }
    }

    fn drain<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        loop {
            let Some(machine) = self.machine.as_deref_mut() else { return };
            let mut machine = Tapped::new(machine, (&mut self.trace, &mut self.watch), turn.now);
            let todo = match machine.poll_action() {
                None => return,
                Some(Action::Send { to, bytes, .. }) => {
                    self.uplink.send(turn, to, bytes);
                    continue;
                }
                Some(Action::Emit(_)) => continue,
                Some(Action::Dial { conn, to }) => Todo::Dial(conn, to),
                Some(Action::Flush { conn }) => Todo::Flush(conn),
                Some(Action::Close { conn }) => Todo::Close(conn),
                Some(Action::Query { id, what: Query::Txt(name) }) if !turn.shared.zone.is_empty() => {
                    Todo::Ask(id, name.into())
                }
                Some(Action::Query { id, .. }) => Todo::Refuse(id),
            };
            match todo {
                Todo::Dial(conn, to) => self.dial(turn, conn, to),
                Todo::Flush(conn) => self.flush(turn, conn),
                Todo::Close(conn) => {
                    self.uplink.totals.ended += 1;
                    self.close(turn, conn);
                }
                Todo::Ask(id, name) => self.ask(turn, id, name),
                Todo::Refuse(id) => self.input(turn, Input::Answer { id, result: Err(QueryFault::Unsupported) }),
            }
        }
    }

    /// Asks the zone, which answers later.
    fn ask<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, id: QueryId, name: Box<str>) {
        let Some((delay, fault)) = turn.shared.zone.fate(&mut self.stream) else { return };
        let incarnation = self.incarnation;
        self.later(turn, delay, Delivery::Answer { incarnation, id, name, fault });
    }

    /// Hands the machine an answer, unless it is another one by now.
    fn answer<S: Sink>(
        &mut self,
        turn: &mut Turn<'_, M, S>,
        incarnation: u32,
        id: QueryId,
        name: &str,
        fault: Option<QueryFault>,
    ) {
        if self.incarnation != incarnation || self.power != Power::On {
            return;
        }
        let zone = &turn.shared.zone;
        match fault.map_or_else(|| zone.txt(name), Err) {
            Ok(texts) => {
                let records: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                let answer = Answer::Txt { records: &records, ttl: zone.ttl };
                self.input(turn, Input::Answer { id, result: Ok(answer) });
            }
            Err(fault) => self.input(turn, Input::Answer { id, result: Err(fault) }),
        }
    }

    /// Schedules a wake for the machine's deadline, unless one that is no later is scheduled.
    pub(crate) fn arm<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        let Some(due) = self.due.map(|due| due.max(turn.now)) else { return };
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            self.schedule(turn, due, self.id.0, Delivery::Wake);
        }
    }

    /// Sends a datagram from the host without its machine.
    pub(crate) fn send_datagram<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, to: SocketAddr, bytes: &[u8]) {
        self.uplink.send(turn, to, bytes);
    }

    pub(crate) fn violated(&mut self, now: Instant, what: String) {
        self.violation.get_or_insert(Violation { at: now, host: self.id, what });
    }

    pub(crate) fn later<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, pause: Duration, what: Delivery) {
        let at = turn.now + pause;
        self.schedule(turn, at, self.id.0, what);
    }

    pub(crate) fn schedule<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, at: Instant, to: u32, what: Delivery) {
        self.uplink.schedule(turn.sink, at, Parcel { to, what });
    }
}

enum Todo {
    Dial(ConnId, SocketAddr),
    Flush(ConnId),
    Close(ConnId),
    Ask(QueryId, Box<str>),
    Refuse(QueryId),
}

impl Uplink {
    fn schedule<S: Sink>(&mut self, sink: &mut S, at: Instant, parcel: Parcel) {
        let key = Key { at, sender: self.site.host, seq: self.seq };
        self.seq = self.seq.checked_add(1).expect("fewer than 2^32 deliveries of a host");
        sink.push(key, parcel);
    }

    /// Sends a datagram, and decides its fate at once.
    fn send<M, S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, to: SocketAddr, bytes: &[u8]) {
        let (shared, now) = (turn.shared, turn.now);
        self.totals.datagrams_sent += 1;
        self.totals.datagram_bytes_sent += bytes.len() as u64;
        self.packets += 1;
        let Some((to, host)) = Addr::of(to).and_then(|to| Some((to, shared.host_at(to.ip)?))) else {
            self.totals.datagrams_lost += 1;
            return;
        };
        let from = Addr { ip: shared.addresses.ip(HostId(self.site.host)), port: self.nat.outgoing(now, to) };
        let there = shared.site(host);
        let extra = shared.extra(now, self.site, there);
        if extra.is_cut {
            self.totals.datagrams_lost += 1;
            return;
        }
        let leaves = self.busy_until.max(now).max(self.computed_at);
        let ends = (self.site, there);
        let fate = shared.links.datagram(shared.seed, leaves, ends, self.packets, bytes.len(), extra);
        self.totals.datagrams_lost += u64::from(fate.copies[0].is_none());
        self.totals.datagrams_doubled += u64::from(fate.copies[1].is_some());
        self.busy_until = leaves + shared.links.transmission(self.site.region, there.region, bytes.len());
        for time in fate.copies.into_iter().flatten() {
            let mut buffer = turn.sink.buffer();
            buffer.extend_from_slice(bytes);
            let what = Delivery::Datagram { from, port: to.port, bytes: buffer };
            self.schedule(turn.sink, leaves + time, Parcel { to: host.0, what });
        }
    }
}
