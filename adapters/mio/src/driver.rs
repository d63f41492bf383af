//! The event loop: turns the news of sockets into inputs of the machine, and its actions into system calls.
//!
//! Implements the driver's side of the contract (see `peerless`). It decides nothing about peers, resolves no names and
//! buffers no bytes: a stream that the machine does not want to read waits in the kernel.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::Duration;

use mio::Events;
use peerless::contract::{
    Action, Command, CommandId, CommandOf, ConnId, Event, EventOf, Input, IoFault, Machine, QueryFault, QueryId,
    RefusedOf, SocketId, Tap, Tapped,
};
use peerless::node::Node;
use peerless::time::{Instant, UnixTime};

use crate::clock::{Clock, unix_time};
use crate::fault;
use crate::sockets::{Sockets, TCP, UDP, Waker};
use crate::streams::{Dialled, Moved, Streams};

/// The most datagrams that are read in one turn: a few milliseconds of signature checks at worst, so that timers and streams
/// are not late.
const DATAGRAMS_PER_TURN: usize = 64;
/// The most bytes that are read from one stream in one turn, and the size of the read buffer: a fraction of a millisecond.
const STREAM_BYTES_PER_TURN: usize = 64 << 10;
/// The most streams that are accepted in one turn.
const ACCEPTS_PER_TURN: usize = 16;
/// The size of the buffer for a datagram: above the protocol's 1280 bytes, so that a larger one is recognised.
const DATAGRAM_BYTES: usize = 2048;
/// The most edges that are taken from the operating system in one turn.
const EDGES_PER_TURN: usize = 1024;
/// The pause in accepting after the process ran out of files. Streams wait in the backlog.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Counters of a driver beside those of the machine. They only grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DriverStats {
    /// Turns of the loop.
    pub turns: u64,
    /// Datagrams that the operating system refused: no route, no buffer, no such family.
    pub datagrams_unsent: u64,
    /// Errors in receiving, most of them ICMP messages about datagrams that were sent.
    pub receive_errors: u64,
    /// Streams that failed before they were accepted.
    pub accept_errors: u64,
    /// Pauses in accepting, mostly for want of files or memory; see [`Driver::accept_trouble`].
    pub accept_pauses: u64,
}

/// The tap of a driver, if one is set.
type BoxedTap<M> = Box<dyn Tap<<M as Machine>::Language> + Send>;

/// A machine, its sockets, and the loop between them. See the crate's documentation.
pub struct Driver<M: Machine = Node> {
    machine: Tapped<M, Option<BoxedTap<M>>>,
    sockets: Sockets,
    streams: Streams,
    clock: Clock,
    /// The last reading of the clock: all inputs of one turn have one time.
    now: Instant,
    events: Events,
    buffer: Box<[u8]>,
    udp_readable: bool,
    tcp_readable: bool,
    /// Until when accepting is paused, and the error of the operating system.
    accept_pause: Option<(Instant, io::Error)>,
    stats: DriverStats,
}

/// An action without the payload that it lends.
enum Todo {
    Nothing,
    Told,
    Dial(ConnId, SocketAddr),
    Flush(ConnId),
    Close(ConnId),
    Query(QueryId),
}

/// Omits the machine and its tap.
impl<M: Machine> fmt::Debug for Driver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Driver");
        debug.field("now", &self.now).field("streams", &self.streams.len()).field("accept_pause", &self.accept_pause);
        debug.field("stats", &self.stats).finish_non_exhaustive()
    }
}

impl<M: Machine> Driver<M> {
    /// Starts the clock, and makes the machine with its first time and the wall time.
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
            clock,
            now,
            events: Events::with_capacity(EDGES_PER_TURN),
            buffer: vec![0; STREAM_BYTES_PER_TURN].into_boxed_slice(),
            udp_readable: false,
            tcp_readable: false,
            accept_pause: None,
            stats: DriverStats::default(),
        })
    }

    /// Puts `tap` between driver and machine, from the next input on.
    pub fn set_tap(&mut self, tap: BoxedTap<M>) {
        *self.machine.tap_mut() = Some(tap);
    }

    /// The machine.
    pub fn machine(&self) -> &M {
        self.machine.machine()
    }

    /// The sockets, for their addresses.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// The driver's counters.
    pub fn stats(&self) -> DriverStats {
        self.stats
    }

    /// Number of open streams, dials included.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// Why accepting is paused, if it is.
    pub fn accept_trouble(&self) -> Option<&io::Error> {
        self.accept_pause.as_ref().map(|(_, error)| error)
    }

    /// Wakes a sleeping [`turn`](Self::turn) from another thread.
    pub fn waker(&self) -> Waker {
        self.sockets.waker()
    }

    /// Hands a command to the machine, now. The next [`turn`](Self::turn) carries out its actions and emits its events.
    ///
    /// # Errors
    /// If it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, command: CommandOf<'_, M>) -> Result<CommandId, RefusedOf<M>> {
        self.now = self.clock.now();
        self.machine.command(self.now, command)
    }

    /// Takes one turn of the loop: carries out the machine's actions, sleeps until a socket, a deadline or a [`Waker`] wakes it,
    /// but at most for `wait_max`, and reads every ready source within its budget. Does not sleep while a source is left to
    /// read, nor after it has emitted events of commands.
    ///
    /// `on_event` is called with each event and has no access to the driver; give commands between turns.
    ///
    /// # Errors
    /// If the operating system refuses to wait for sockets. No peer can cause that, and no later turn can succeed.
    pub fn turn(&mut self, wait_max: Option<Duration>, mut on_event: impl FnMut(EventOf<'_, M>)) -> io::Result<()> {
        let on_event: &mut dyn FnMut(EventOf<'_, M>) = &mut on_event;
        self.stats.turns += 1;
        self.now = self.clock.now();
        // The events of commands are emitted at once, so that the embedder can react before the next input.
        let told = self.drain(on_event);
        let wait = if told { Some(Duration::ZERO) } else { self.wait(wait_max) };
        self.poll(wait)?;
        self.now = self.clock.now();
        if let Some(unix) = self.clock.wall_step(self.now) {
            self.machine.handle(self.now, Input::WallClock { unix });
        }
        // Once, and before the sources: neither can starve the other.
        if self.machine.poll_timeout().is_some_and(|at| at <= self.now) {
            self.machine.handle(self.now, Input::Timeout);
        }
        self.receive();
        self.drain(on_event);
        self.accept();
        self.drain(on_event);
        let mut last = None;
        while let Some(conn) = self.streams.next_ready(last) {
            self.advance(conn);
            self.drain(on_event);
            last = Some(conn);
        }
        Ok(())
    }

    /// How long to sleep; `None` is without a limit.
    fn wait(&self, wait_max: Option<Duration>) -> Option<Duration> {
        let machine = &self.machine;
        let paused = self.accept_pause.as_ref().map(|(until, _)| *until);
        let busy = self.udp_readable
            || (self.tcp_readable && paused.is_none())
            || self.streams.has_work(|conn| machine.wants_read(conn));
        if busy {
            return Some(Duration::ZERO);
        }
        let deadline = machine.poll_timeout().into_iter().chain(paused).min();
        deadline.map(|at| at.since(self.now)).into_iter().chain(wait_max).min()
    }

    /// Waits, and notes the edges.
    fn poll(&mut self, wait: Option<Duration>) -> io::Result<()> {
        match self.sockets.poll.poll(&mut self.events, wait) {
            Ok(()) => {}
            // A signal: the turn goes on without edges.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(error),
        }
        for edge in &self.events {
            match edge.token() {
                UDP => self.udp_readable = true,
                TCP => self.tcp_readable = true,
                _ => self.streams.note(edge),
            }
        }
        Ok(())
    }

    /// Carries out the machine's actions. Returns whether there was an event.
    fn drain(&mut self, on_event: &mut dyn FnMut(EventOf<'_, M>)) -> bool {
        let mut told = false;
        loop {
            let todo = match self.machine.poll_action() {
                None => return told,
                Some(Action::Send { to, bytes, .. }) => {
                    if self.sockets.send(to, bytes).is_err() {
                        self.stats.datagrams_unsent += 1;
                    }
                    Todo::Nothing
                }
                Some(Action::Emit(event)) => {
                    on_event(event);
                    Todo::Told
                }
                Some(Action::Dial { conn, to }) => Todo::Dial(conn, to),
                Some(Action::Flush { conn }) => Todo::Flush(conn),
                Some(Action::Close { conn }) => Todo::Close(conn),
                Some(Action::Query { id, .. }) => Todo::Query(id),
            };
            match todo {
                Todo::Nothing => {}
                Todo::Told => told = true,
                Todo::Dial(conn, to) => {
                    if let Err(why) = self.streams.dial(self.sockets.poll.registry(), conn, to) {
                        self.machine.handle(self.now, Input::Broken { conn, why });
                    }
                }
                Todo::Flush(conn) => self.write(conn),
                Todo::Close(conn) => self.streams.close(conn),
                Todo::Query(id) => {
                    self.machine.handle(self.now, Input::Answer { id, result: Err(QueryFault::Unsupported) });
                }
            }
        }
    }

    /// Reads datagrams.
    fn receive(&mut self) {
        for _ in 0..DATAGRAMS_PER_TURN {
            if !self.udp_readable {
                return;
            }
            match self.sockets.receive(&mut self.buffer[..DATAGRAM_BYTES]) {
                Ok((n, from)) => self
                    .machine
                    .handle(self.now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &self.buffer[..n] }),
                Err(error) => {
                    if error.kind() != io::ErrorKind::WouldBlock {
                        self.stats.receive_errors += 1;
                    }
                    self.udp_readable = fault::is_passing(&error);
                }
            }
        }
    }

    /// Takes streams from the listener.
    fn accept(&mut self) {
        if self.accept_pause.as_ref().is_some_and(|(until, _)| self.now < *until) {
            return;
        }
        for _ in 0..ACCEPTS_PER_TURN {
            if !self.tcp_readable {
                return;
            }
            match self.sockets.accept() {
                Ok((io, from)) => {
                    self.accept_pause = None;
                    // A refused stream closes here, unread.
                    if let Some(conn) = self.machine.accept(self.now, SocketId::MAIN, from)
                        && let Err(why) = self.streams.adopt(self.sockets.poll.registry(), conn, io)
                    {
                        self.machine.handle(self.now, Input::Broken { conn, why });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.accept_pause = None;
                    self.tcp_readable = false;
                }
                Err(error) if fault::is_passing(&error) => self.stats.accept_errors += 1,
                Err(error) => {
                    // The stream stays in the backlog, and no further edge reports it.
                    self.stats.accept_pauses += 1;
                    self.accept_pause = Some((self.now + ACCEPT_PAUSE, error));
                    return;
                }
            }
        }
    }

    /// Handles a stream's news: its dial, then reading, then writing, then its failure.
    fn advance(&mut self, conn: ConnId) {
        match self.streams.poll_dial(conn) {
            Dialled::Pending => {}
            Dialled::Connected => {
                let local = self.streams.local_addr(conn);
                self.machine.handle(self.now, Input::Connected { conn, local });
            }
            Dialled::Failed(why) => return self.fail(conn, why),
        }
        if self.read(conn).is_break() {
            return;
        }
        self.write(conn);
        if let Some(why) = self.streams.fault(conn)
            && !(self.streams.is_readable(conn) && self.machine.wants_read(conn))
        {
            return self.fail(conn, why);
        }
        self.streams.settle(conn);
    }

    /// Reads up to the budget while the machine wants to read. Breaks if the stream is gone.
    fn read(&mut self, conn: ConnId) -> ControlFlow<()> {
        let mut budget = self.buffer.len();
        while budget > 0 && self.streams.is_readable(conn) && self.machine.wants_read(conn) {
            match self.streams.read(conn, &mut self.buffer[..budget]) {
                Moved::Bytes(n) => {
                    self.machine.handle(self.now, Input::Bytes { conn, bytes: &self.buffer[..n] });
                    budget -= n;
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

    /// Writes the outbound bytes, until none is left or the socket takes no more.
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

    /// Closes a stream that has failed, and reports it.
    fn fail(&mut self, conn: ConnId, why: IoFault) {
        self.streams.close(conn);
        self.machine.handle(self.now, Input::Broken { conn, why });
    }
}

impl Driver<Node> {
    /// The node.
    pub fn node(&self) -> &Node {
        self.machine()
    }

    /// Shuts the node down: takes turns until all streams are closed or `limit` has passed. Returns the number of streams
    /// that are left, which close with the driver.
    ///
    /// # Errors
    /// As [`turn`](Self::turn).
    pub fn shutdown(&mut self, limit: Duration, mut on_event: impl FnMut(Event<'_>)) -> io::Result<usize> {
        // Never refused; a second shutdown changes nothing.
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
