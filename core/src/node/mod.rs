//! The node: the composition of all machines. Routes inputs to them, acts on their verdicts, and merges their deadlines.
//!
//! Implements the driver contract (see the crate's documentation). Knows no protocol: versions, message ids and encodings
//! belong to the machines.

mod behaviours;
mod commands;
pub mod config;
pub mod connection;
mod connections;
pub mod discoverer;
pub mod discovery;
mod identity;
mod lists;
mod machine;
mod memory;
mod names;
mod peering;
mod table;
mod view;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use self::behaviours::Behaviours;
pub use self::config::{Config, ConfigError};
use self::connection::{Connection, Verdict};
pub use self::discoverer::Discoverer;
pub use self::discovery::Discovery;
use self::identity::Identity;
use self::memory::FrameMemory;
use self::names::Names;
use self::table::{Slot, Table};
pub use self::view::SessionView;
use crate::contract::{Action, ConnId, Context, EndReason, Event, Input, Prefetch, Reason, Refusal, SocketId};
use crate::crypto::{Crypto, Secp256k1};
use crate::kad::Growth;
use crate::limits::{CONNS_PER_TURN, DIAL_CANDIDATE_DELAY};
use crate::netfilter::canonical;
use crate::peers::{Accepted, Handshakes, Peers};
use crate::protocols::{self, Chain, Policy};
use crate::rlpx::LocalHello;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::p2p::Hello;

/// A generator for each part of the node that draws, forked from the run's seed.
struct Rngs {
    dial: Rng,
    /// Each connection has a generator of its own, forked from this one.
    conns: Rng,
}

/// A devp2p node as one state machine. See the crate's documentation for how to drive it.
pub struct Node {
    identity: Identity,
    hello: LocalHello,
    chain: Chain,
    policy: Policy,
    export_secrets: bool,
    context: Context,
    rngs: Rngs,
    discovery: Discovery,
    names: Names,
    peers: Peers,
    handshakes: Handshakes,
    behaviours: Behaviours,
    conns: Table,
    frames: FrameMemory,
    /// The dialler's next deadline, as of the last change. Discovery's deadline is not cached: every datagram moves it.
    dial_at: Option<Instant>,
    /// When to poll the dialler because discovery has found a node.
    next_dial_poll: Option<Instant>,
    /// Connections that a sweep has yet to check, the next one last.
    to_sweep: Vec<ConnId>,
    conns_made: u64,
    commands_made: u64,
    shutting_down: bool,
}

impl Node {
    /// Creates a node with the real primitives. It does nothing before its first input.
    ///
    /// `seed` determines every random draw of the run: take it from the operating system, or fix it to repeat a run.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: UnixTime) -> Result<Self, ConfigError> {
        let crypto = Secp256k1::blinded(&mut Seed::new(seed).fork("secp256k1"));
        Self::with_crypto(config, seed, now, unix, Arc::new(crypto))
    }

    /// As [`Node::new`], with primitives of the caller's choice; many nodes may share them. [`Node::new`] has them blinded.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn with_crypto(
        config: Config,
        seed: [u8; 32],
        now: Instant,
        unix: UnixTime,
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) -> Result<Self, ConfigError> {
        let Config { secret, client, addresses, record_entries, discovery, chain, status, filter, .. } = config;
        let Config { capabilities, capability_table, peers, record_seq, snapshot, export_secrets, .. } = config;
        let Config { learn_addresses, assumed_addresses, reach, named_bootnodes, .. } = config;
        let record_seq = record_seq.max(snapshot.record_seq.saturating_add(1));
        let mut identity = Identity::new(
            &*crypto,
            secret,
            addresses,
            &assumed_addresses,
            chain.fork_id(),
            record_entries,
            record_seq,
        )?;
        if learn_addresses {
            identity.learn_addresses();
        }
        let hello = Hello {
            version: crate::wire::p2p::P2P_VERSION,
            client,
            capabilities,
            port: addresses.tcp.into(),
            key: *identity.key().as_bytes(),
        };
        let hello = LocalHello::new(hello, capability_table).map_err(ConfigError::Hello)?;
        let seed = Seed::new(seed);
        let literal = discovery.bootnodes();
        let mut context = Context::new(now, unix, filter.with_reach(reach), crypto);
        let mut node = Self {
            hello,
            peers: Peers::new(peers, *identity.id()),
            handshakes: Handshakes::new(&mut seed.fork("handshakes")),
            behaviours: Behaviours::new(protocols::behaviours(&chain), seed.fork("behaviours")),
            discovery: Discovery::new(&mut context, &seed, discovery, &identity),
            names: Names::new(now, literal, &named_bootnodes),
            identity,
            chain,
            policy: status,
            export_secrets,
            context,
            rngs: Rngs { dial: seed.fork("dial"), conns: seed.fork("connections") },
            conns: Table::default(),
            frames: FrameMemory::default(),
            dial_at: None,
            next_dial_poll: None,
            to_sweep: Vec::new(),
            conns_made: 0,
            commands_made: 0,
            shutting_down: false,
        };
        node.restore(snapshot);
        node.sync_dial();
        Ok(node)
    }

    /// Handles one input. Total: any input is legal, in any order, at any time.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.context.advance(now);
        match input {
            Input::Datagram { socket, from, bytes } => self.handle_datagram(socket, canonical(from), bytes),
            Input::Incoming { socket, from } => {
                // A driver that does not call `accept` has no id to feed the stream by; the handshake's deadline ends it.
                let _ = self.accept(now, socket, from);
            }
            Input::Connected { conn, .. } => self.on_connected(conn),
            Input::Bytes { conn, bytes } => {
                let mut rest = bytes;
                while !rest.is_empty() && self.conns.get(conn).is_some() {
                    self.touch(conn, |conn, cx, local| conn.handle_bytes(cx, local, &mut rest));
                }
            }
            Input::Wrote { conn, n } => self.touch(conn, |conn, cx, _| {
                conn.handle_wrote(cx, n);
                Verdict::Pending
            }),
            Input::Eof { conn } => self.touch(conn, |conn, cx, _| conn.handle_eof(cx)),
            Input::Broken { conn, why } => self.touch(conn, |conn, cx, _| conn.handle_broken(cx, why)),
            Input::WallClock { unix } => self.context.set_wall_clock(unix),
            Input::Answer { id, result } => self.on_answer(id, result),
            Input::Timeout => self.handle_timeout(),
            Input::Command(command) => {
                // Misuse changes nothing; `command` returns the error.
                let _ = self.command(now, command);
            }
        }
        if !matches!(input, Input::Datagram { .. }) {
            self.carry_out_wishes();
        }
    }

    /// Shows `memory` what handling `input` will read, as far as that is known: for drivers of many nodes (see
    /// [`Prefetch`]). Depth 0 shows parts of the node itself, each following depth what the one before points to, and
    /// depths from [`Node::PREFETCH_DEPTHS`] on show nothing. Leave the memory some time between two depths.
    pub fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        if depth == 0 {
            memory.prefetch(&self.context);
            memory.prefetch(&self.conns);
            memory.prefetch(&self.dial_at);
            memory.prefetch(&self.next_dial_poll);
            memory.prefetch(&self.shutting_down);
            self.behaviours.prefetch(memory);
        }
        self.discovery.prefetch(input, depth, memory);
    }

    /// The number of depths of [`Node::prefetch`].
    pub const PREFETCH_DEPTHS: usize = 4;

    /// Offers a stream that a listener has accepted. Returns its id, or `None` if it is to be closed unread. May end another
    /// connection whose peer has not proven its key, to make room.
    pub fn accept(&mut self, now: Instant, _socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        let now = self.context.advance(now);
        let from = canonical(from);
        let accepted = if self.shutting_down {
            Err(Refusal::ShuttingDown)
        } else {
            self.peers.accept(now, &self.context.filter, from)
        };
        let Ok(Accepted { origin, displaced }) = accepted else {
            self.context.stats.accepts_refused += 1;
            return None;
        };
        if let Some((other, refusal)) = displaced {
            self.disconnect_other(other, EndReason::Refused(refusal));
        }
        self.context.stats.accepts += 1;
        let id = self.next_conn();
        let mut rng = self.rngs.conns.fork();
        let conn = Connection::accept(&mut self.context.cx(&mut rng), id, from);
        self.open(Slot::new(conn, rng, origin));
        Some(id)
    }

    /// Takes the oldest action. Only pops, with one exception: when a connection's `Ended` is popped, the node forgets the
    /// connection. From then on its id is unknown, and its slot and place are free.
    pub fn poll_action(&mut self) -> Option<Action<'_>> {
        let action = self.context.out.pop()?;
        if let Action::Emit(Event::Ended { conn, .. }) = &action
            && let Some(view) = self.conns.remove(*conn)
        {
            self.peers.update(Some(&view), None);
            // There may be room for a dial now.
            let has_candidates = self.discovery.is_on();
            self.dial_at = dial_due(&self.peers, has_candidates, self.next_dial_poll, self.shutting_down);
        }
        Some(action)
    }

    /// When to call with `Input::Timeout` at the latest, and what for. Always later than the last `now`; `None` if nothing is
    /// due, or at the end of time.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let now = self.context.now();
        let backlog = (!self.to_sweep.is_empty()).then_some((now, Reason::Backlog));
        let discovery = self.discovery.poll_timeout();
        let discovery = discovery.map(|(at, timer)| (at, Reason::Discovery(timer)));
        let dial = self.dial_at.map(|at| (at, Reason::Dial));
        let conn = self.conns.poll_timeout().map(|(at, conn, timer)| (at, Reason::Conn(conn, timer)));
        // Of equal instants, the first in this order.
        let behaviours = self.behaviours.poll_timeout(now).map(|at| (at, Reason::Behaviour));
        let names = self.names.poll_timeout().filter(|_| !self.shutting_down).map(|at| (at, Reason::Name));
        let due = [backlog, discovery, names, dial, conn, behaviours].into_iter().flatten().min_by_key(|(at, _)| *at);
        let (at, reason) = due?;
        let at = at.max(now + Duration::from_micros(1));
        (at > now && at != Instant::NEVER).then_some((at, reason))
    }

    /// The bytes that wait for a connection's socket. Report a written prefix of them by `Input::Wrote`.
    pub fn outbound(&self, conn: ConnId) -> &[u8] {
        self.conns.get(conn).map_or(&[], |slot| slot.conn.outbound())
    }

    /// Whether the driver should read from a connection's stream now. Ask again after each drain for paused streams.
    pub fn wants_read(&self, conn: ConnId) -> bool {
        !self.context.out.is_full() && self.conns.get(conn).is_some_and(|slot| slot.conn.wants_read())
    }

    /// Returns the units of [`Work`](crate::contract::Work) done for a connection since the last call, and 0 for one that is
    /// unknown. The work for datagrams is no connection's.
    pub fn take_work(&mut self, conn: ConnId) -> u64 {
        self.conns.get_mut(conn).map_or(0, Slot::take_work)
    }

    fn handle_datagram(&mut self, socket: SocketId, from: SocketAddr, bytes: &[u8]) {
        let (growth, statement) = self.discovery.receive(&mut self.context, socket, from, bytes);
        self.on_growth(growth);
        if let Some(statement) = statement {
            let is_changed = self.identity.hear(self.context.crypto(), self.context.now(), statement);
            self.on_addresses(is_changed);
        }
    }

    /// Brings the dialler's next poll forward if discovery has found a node.
    fn on_growth(&mut self, growth: Growth) {
        if growth == Growth::Grew && self.next_dial_poll.is_none() {
            // Without a random delay, two nodes that have just found each other dial at the same time.
            let wait = self.rngs.dial.duration(DIAL_CANDIDATE_DELAY, 2 * DIAL_CANDIDATE_DELAY);
            self.next_dial_poll = Some(self.context.now() + wait);
            self.sync_dial();
        }
    }

    /// Handles what is due, each part once: discovery, at most [`CONNS_PER_TURN`] connections, then the dialler, which may use
    /// the places of those that have ended. Work beyond that is due again a microsecond later.
    fn handle_timeout(&mut self) {
        let now = self.context.now();
        let conns: Vec<_> = (0..CONNS_PER_TURN).map_while(|_| self.conns.pop_due(now)).collect();
        let dials = self.dial_at.take_if(|at| *at <= now).is_some();
        let growth = self.discovery.handle_timeout(&mut self.context);
        for conn in conns {
            self.touch(conn, |conn, cx, _| conn.handle_timeout(cx));
        }
        if dials {
            self.dial_more();
        }
        self.ask_names();
        self.on_growth(growth);
        self.sweep();
        self.behaviours.handle_timeout(now);
    }
}

/// Omits key and generators.
impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Node");
        debug.field("contact", &self.contact()).field("now", &self.context.now()).field("peers", &self.peers.counts());
        debug.field("shutting_down", &self.shutting_down).finish_non_exhaustive()
    }
}

/// When to poll the dialler. Nodes that discovery has found bring a poll forward, but schedule none by themselves.
fn dial_due(
    peers: &Peers,
    has_candidates: bool,
    next_dial_poll: Option<Instant>,
    shutting_down: bool,
) -> Option<Instant> {
    let at = peers.poll_timeout(has_candidates).filter(|_| !shutting_down)?;
    Some(next_dial_poll.map_or(at, |poll| poll.min(at)))
}

#[cfg(test)]
mod tests;
