//! The event loop: what sockets, clock and resolver tell becomes inputs of the machine, the machine's actions become
//! system calls.
//!
//! Implements the driver's side of the contract (see `peerless`). It decides nothing about peers and keeps no bytes: what
//! the machine does not want to read waits in the kernel.

use std::fmt;
use std::io;
use std::ops::ControlFlow;
use std::time::Duration;

use mio::Events;

use peerless::contract::{
    Action, Command, CommandId, CommandOf, ConnId, Event, EventOf, Input, IoFault, Machine, QueryFault, QueryId,
    RefusedOf, Shares, SocketId, Tap, Tapped, Work,
};
use peerless::node::Node;
use peerless::time::{Instant, UnixTime};

use crate::clock::{Clock, unix_time};
use crate::fault;
use crate::resolver::{Queries, Resolver};
use crate::sockets::{Sockets, Source, Waker};
use crate::streams::{Dialled, Moved, Streams};

/// Datagrams read from one socket in one turn: a few milliseconds of signature checks at worst, so that timers and streams
/// are not late.
const DATAGRAMS_PER_TURN: usize = 64;
/// Bytes read from one stream in one turn, and the size of the one buffer for it: a fraction of a millisecond each.
const STREAM_BYTES_PER_TURN: usize = 64 << 10;
/// Streams accepted by one listener in one turn.
const ACCEPTS_PER_TURN: usize = 16;
/// Answers taken from the resolver in one turn.
const ANSWERS_PER_TURN: usize = 64;
/// Room for a datagram: above the protocol's 1280 bytes, so that the machine sees that a larger one is too large.
const DATAGRAM_BYTES: usize = 2048;
/// Edges taken from the operating system in one turn; the others wait there.
const EDGES_PER_TURN: usize = 1024;
/// For how long no stream is accepted after the process ran out of files. New streams wait in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What a driver counts and its machine cannot. Counters only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub struct DriverStats {
    /// Turns of the loop.
    pub turns: u64,
    /// Datagrams that could not be sent: no such socket, no route, no buffer, another address family.
    pub datagrams_unsent: u64,
    /// Errors while receiving datagrams, most of them ICMP messages about datagrams that were sent.
    pub receive_errors: u64,
    /// Streams that failed before they were accepted.
    pub accept_errors: u64,
    /// Pauses of accepting, for want of files or memory as a rule; see [`Driver::accept_trouble`].
    pub accept_pauses: u64,
}

/// The tap of a driver, if one is set.
type BoxedTap<M> = Box<dyn Tap<<M as Machine>::Language> + Send>;

/// A machine, its sockets, and the loop between them. See the crate's documentation.
pub struct Driver<M: Machine = Node> {
    /// All calls of the machine pass the tap, if one is set.
    machine: Tapped<M, Option<BoxedTap<M>>>,
    sockets: Sockets,
    streams: Streams,
    /// Which stream is advanced next, and how much is read from it.
    shares: Shares,
    queries: Queries,
    clock: Clock,
    /// The last reading of the clock, at the beginning of a turn and after each poll.
    now: Instant,
    events: Events,
    /// What is read lies here while the machine handles it.
    buffer: Box<[u8]>,
    /// More answers may be ready than one turn takes.
    has_answers: bool,
    /// Until when no stream is accepted, and the error that is the reason.
    accept_pause: Option<(Instant, io::Error)>,
    stats: DriverStats,
}

/// What is left to do of an action that has been popped, once it no longer lends anything.
enum Task {
    /// Write what is queued for a stream.
    Flush(ConnId),
    /// Tell the machine that a dial failed at once.
    Broken(ConnId, IoFault),
    /// Tell the machine that a query was refused.
    Answer(QueryId, QueryFault),
}

impl<M: Machine> Driver<M> {
    /// Starts the driver's clock and calls `make`, which returns the machine, with the time on that clock and the wall time.
    ///
    /// # Errors
    /// Those of `make`.
    pub fn new<E>(sockets: Sockets, make: impl FnOnce(Instant, UnixTime) -> Result<M, E>) -> Result<Self, E> {
        let clock = Clock::start();
        let now = clock.now();
        let machine = make(now, unix_time())?;
        Ok(Self {
            machine: Tapped::new(machine, None, now),
            sockets,
            streams: Streams::default(),
            shares: Shares::default(),
            queries: Queries::default(),
            clock,
            now,
            events: Events::with_capacity(EDGES_PER_TURN),
            buffer: vec![0; STREAM_BYTES_PER_TURN].into_boxed_slice(),
            has_answers: false,
            accept_pause: None,
            stats: DriverStats::default(),
        })
    }

    /// Shows `tap` everything that passes between driver and machine, from the next input on.
    pub fn set_tap(&mut self, tap: BoxedTap<M>) {
        *self.machine.tap_mut() = Some(tap);
    }

    /// Has `resolver` answer the machine's queries from now on. Without one, they are answered at once with
    /// [`QueryFault::Unsupported`]. Queries that an earlier resolver has not answered are answered with
    /// [`QueryFault::Failed`].
    ///
    /// ```no_run
    /// # fn with(driver: &mut peerless_mio::Driver) -> std::io::Result<()> {
    /// let resolver = peerless_mio::HostResolver::new(driver.waker())?;
    /// driver.set_resolver(Box::new(resolver));
    /// # Ok(())
    /// # }
    /// ```
    pub fn set_resolver(&mut self, resolver: Box<dyn Resolver + Send>) {
        self.now = self.clock.now();
        for id in self.queries.set_resolver(resolver) {
            self.machine.handle(self.now, Input::Answer { id, result: Err(QueryFault::Failed) });
        }
    }

    /// The machine, for reading.
    pub fn machine(&self) -> &M {
        self.machine.machine()
    }

    /// The sockets, for their addresses.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The driver's own counters.
    pub fn stats(&self) -> DriverStats {
        self.stats
    }

    /// Number of open streams, dials included.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// The error for which no streams are being accepted at the moment.
    pub fn accept_trouble(&self) -> Option<&io::Error> {
        self.accept_pause.as_ref().map(|(_, error)| error)
    }

    /// Wakes a sleeping [`turn`](Self::turn) from another thread.
    pub fn waker(&self) -> Waker {
        self.sockets.waker()
    }

    /// Hands a command to the machine, now. The next [`turn`](Self::turn) carries out what it leads to and tells its events.
    ///
    /// # Errors
    /// If it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, command: CommandOf<'_, M>) -> Result<CommandId, RefusedOf<M>> {
        self.now = self.clock.now();
        self.machine.command(self.now, command)
    }

    /// One turn of the loop: carries out the machine's actions, sleeps until a socket, a deadline or a [`Waker`] ends the
    /// sleep, or `wait_max` has passed, and reads every source that has something, within its budget. Does not sleep while
    /// there is something left to read, nor after it has told an event that a command led to.
    ///
    /// Streams share turns by the work that they cause (see [`Shares`]): a stream in debt waits for later turns. A turn ends after
    /// a millisecond or so of such work, so that commands are given in time, and timers, datagrams and streams that were idle are
    /// heard; the next one goes on with the streams that have not been served.
    ///
    /// `on_event` is called with each event. It cannot reach the driver: the commands that an event leads to are given
    /// between turns.
    ///
    /// # Errors
    /// If the operating system refuses to wait for sockets. No peer can bring that about, and no later turn can succeed.
    pub fn turn(&mut self, wait_max: Option<Duration>, mut on_event: impl FnMut(EventOf<'_, M>)) -> io::Result<()> {
        let on_event: &mut dyn FnMut(EventOf<'_, M>) = &mut on_event;
        self.stats.turns += 1;
        self.now = self.clock.now();
        // The application may want to react to what its commands led to before anything else happens.
        let told = self.drain(on_event);
        let wait = if told { Some(Duration::ZERO) } else { self.wait(wait_max) };
        self.hear(wait, on_event)?;
        for listener in self.sockets.tcp_ids() {
            self.accept(listener);
            self.drain(on_event);
        }
        self.shares.begin(self.streams.ready());
        while let Some((conn, bytes_max)) = self.shares.next_conn() {
            self.serve(conn, bytes_max, on_event);
        }
        Ok(())
    }

    /// Polls, and handles everything but streams: wall clock, deadline, answers, datagrams.
    fn hear(&mut self, wait: Option<Duration>, on_event: &mut dyn FnMut(EventOf<'_, M>)) -> io::Result<()> {
        self.poll(wait)?;
        self.now = self.clock.now();
        if let Some(unix) = self.clock.wall_step(self.now) {
            self.machine.handle(self.now, Input::WallClock { unix });
        }
        // Once, and before the sources: neither can starve the other.
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.machine.handle(self.now, Input::Timeout);
        }
        self.answer();
        self.drain(on_event);
        for socket in self.sockets.udp_ids() {
            self.receive(socket);
            self.drain(on_event);
        }
        Ok(())
    }

    /// Advances a stream that is still ready, and charges it with the work.
    fn serve(&mut self, conn: ConnId, bytes_max: usize, on_event: &mut dyn FnMut(EventOf<'_, M>)) {
        if !self.streams.is_ready(conn) {
            return;
        }
        self.advance(conn, bytes_max);
        let has_told = self.drain(on_event);
        let units = self.machine.take_work(conn);
        self.shares.charge(conn, units);
        if has_told {
            self.shares.told(conn);
        }
        if !self.streams.is_ready(conn) {
            self.shares.drained(conn);
        }
    }

    /// For how long to sleep; `None` is without limit.
    fn wait(&self, wait_max: Option<Duration>) -> Option<Duration> {
        let machine = &self.machine;
        let paused_until = self.accept_pause.as_ref().map(|(until, _)| *until);
        let is_busy = self.has_answers
            || self.sockets.has_datagrams()
            || (self.sockets.has_streams() && paused_until.is_none())
            || self.streams.has_work(|conn| machine.wants_read(conn));
        if is_busy {
            return Some(Duration::ZERO);
        }
        let deadline = machine.poll_timeout().into_iter().chain(paused_until).min();
        deadline.map(|at| at.since(self.now)).into_iter().chain(wait_max).min()
    }

    /// Waits, and notes what the operating system says.
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        match self.sockets.poll.poll(&mut self.events, wait) {
            Ok(()) => {}
            // A signal: the turn goes on with nothing.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for edge in &self.events {
            if self.sockets.note(edge) == Source::Stream {
                self.streams.note(edge);
            }
        }
        Ok(())
    }

    /// Carries out the machine's actions until there is none. Returns whether there was an event.
    fn drain(&mut self, on_event: &mut dyn FnMut(EventOf<'_, M>)) -> bool {
        let mut told = false;
        loop {
            let task = match self.machine.poll_action() {
                None => return told,
                Some(Action::Send { socket, to, bytes }) => {
                    if self.sockets.send(socket, to, bytes).is_err() {
                        self.stats.datagrams_unsent += 1;
                    }
                    None
                }
                Some(Action::Emit(event)) => {
                    on_event(event);
                    told = true;
                    None
                }
                Some(Action::Dial { conn, to }) => {
                    let dialled = self.streams.dial(self.sockets.poll.registry(), conn, to);
                    dialled.err().map(|why| Task::Broken(conn, why))
                }
                Some(Action::Flush { conn }) => Some(Task::Flush(conn)),
                Some(Action::Close { conn }) => {
                    self.streams.finish(conn, &mut self.buffer);
                    self.shares.remove(conn);
                    None
                }
                Some(Action::Query { id, what }) => {
                    self.queries.start(id, what).err().map(|fault| Task::Answer(id, fault))
                }
            };
            match task {
                None => {}
                Some(Task::Flush(conn)) => self.write(conn),
                Some(Task::Broken(conn, why)) => self.machine.handle(self.now, Input::Broken { conn, why }),
                Some(Task::Answer(id, fault)) => {
                    self.machine.handle(self.now, Input::Answer { id, result: Err(fault) });
                }
            }
        }
    }

    /// Tells the machine the answers that are ready.
    fn answer(&mut self) {
        for _ in 0..ANSWERS_PER_TURN {
            self.has_answers = false;
            let Some((id, result)) = self.queries.poll() else { return };
            self.has_answers = true;
            match result {
                Ok(resolved) => resolved.lend(|answer| {
                    self.machine.handle(self.now, Input::Answer { id, result: Ok(answer) });
                }),
                Err(fault) => self.machine.handle(self.now, Input::Answer { id, result: Err(fault) }),
            }
        }
    }

    /// Reads datagrams from one socket.
    fn receive(&mut self, socket: SocketId) {
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.sockets.receive(socket, &mut self.buffer[..DATAGRAM_BYTES]) {
                None => return,
                Some(Ok((n, from))) => {
                    self.machine.handle(self.now, Input::Datagram { socket, from, bytes: &self.buffer[..n] });
                }
                Some(Err(_)) => self.stats.receive_errors += 1,
            }
        }
    }

    /// Takes streams from one listener.
    fn accept(&mut self, listener: SocketId) {
        if self.accept_pause.as_ref().is_some_and(|(until, _)| self.now < *until) {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            match self.sockets.accept(listener) {
                None => {
                    self.accept_pause = None;
                    return;
                }
                Some(Ok((io, from))) => {
                    self.accept_pause = None;
                    // A stream that the machine does not accept is dropped here: closed, unread.
                    if let Some(conn) = self.machine.accept(self.now, listener, from)
                        && let Err(why) = self.streams.adopt(self.sockets.poll.registry(), conn, io)
                    {
                        self.machine.handle(self.now, Input::Broken { conn, why });
                    }
                }
                Some(Err(error)) if fault::is_passing(&error) => self.stats.accept_errors += 1,
                Some(Err(error)) => {
                    self.stats.accept_pauses += 1;
                    self.accept_pause = Some((self.now + ACCEPT_PAUSE, error));
                    return;
                }
            }
        }
    }

    /// Handles what is new of a stream: its dial, then reading, then writing what is queued, then a failed write.
    fn advance(&mut self, conn: ConnId, bytes_max: usize) {
        match self.streams.poll_dial(conn) {
            Dialled::Pending => {}
            Dialled::Connected => {
                let local = self.streams.local_addr(conn);
                self.machine.handle(self.now, Input::Connected { conn, local });
            }
            Dialled::Failed(why) => return self.fail(conn, why),
        }
        if self.read(conn, bytes_max).is_break() {
            return;
        }
        self.write(conn);
        match self.streams.fault(conn) {
            Some(why) if !(self.streams.is_readable(conn) && self.machine.wants_read(conn)) => self.fail(conn, why),
            _ => self.streams.settle(conn),
        }
    }

    /// Reads up to one buffer, as long as the stream's share permits and the machine wants it. Breaks if the stream has
    /// failed.
    fn read(&mut self, conn: ConnId, bytes_max: usize) -> ControlFlow<()> {
        let mut unread = self.buffer.len();
        let mut budget = bytes_max.min(unread);
        while budget > 0 && self.streams.is_readable(conn) && self.machine.wants_read(conn) {
            match self.streams.read(conn, &mut self.buffer[..budget]) {
                Moved::Bytes(n) => {
                    unread -= n;
                    self.machine.handle(self.now, Input::Bytes { conn, bytes: &self.buffer[..n] });
                    // A machine that counts no work is charged with what was read.
                    let units = self.machine.take_work(conn).max(n as u64 * Work::WIRE_BYTE);
                    budget = self.shares.charge(conn, units).min(unread);
                }
                Moved::Blocked => break,
                Moved::Eof => self.machine.handle(self.now, Input::Eof { conn }),
                Moved::Failed(why) => {
                    self.fail(conn, why);
                    return ControlFlow::Break(());
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Writes what is queued, until nothing is or the socket takes no more.
    fn write(&mut self, conn: ConnId) {
        loop {
            let bytes = self.machine.outbound(conn);
            if bytes.is_empty() {
                return;
            }
            match self.streams.write(conn, bytes) {
                0 => return,
                n => self.machine.handle(self.now, Input::Wrote { conn, n }),
            }
        }
    }

    /// Closes a stream that has failed, and tells the machine.
    fn fail(&mut self, conn: ConnId, why: IoFault) {
        self.streams.close(conn);
        self.shares.remove(conn);
        self.machine.handle(self.now, Input::Broken { conn, why });
    }
}

/// Omits the machine and its tap.
impl<M: Machine> fmt::Debug for Driver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sockets, streams, now, accept_pause, stats, .. } = self;
        f.debug_struct("Driver")
            .field("sockets", sockets)
            .field("streams", &streams.len())
            .field("now", now)
            .field("accept_pause", accept_pause)
            .field("stats", stats)
            .finish_non_exhaustive()
    }
}

impl Driver<Node> {
    /// The node, for reading.
    pub fn node(&self) -> &Node {
        self.machine()
    }

    /// Shuts down: tells every peer that we are quitting and takes turns until all streams are closed, or `limit` has
    /// passed. Returns how many were left; they close with the driver.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn shutdown(&mut self, limit: Duration, mut on_event: impl FnMut(Event<'_>)) -> io::Result<usize> {
        // Never refused, and a second one changes nothing.
        let _ = self.command(Command::Shutdown);
        let end = self.now + limit;
        loop {
            self.drain(&mut on_event);
            let rest = end.since(self.now);
            if self.streams.len() == 0 || rest.is_zero() {
                return Ok(self.streams.len());
            }
            self.turn(Some(rest), &mut on_event)?;
        }
    }
}

#[cfg(test)]
mod tests;
