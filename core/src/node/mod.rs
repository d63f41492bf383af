//! The node: machines composed. It routes inputs to them, acts on their verdicts, and keeps their deadlines together.
//!
//! Implements the driver contract (see the crate's documentation). No protocol knowledge of its own.

pub mod config;
mod conn;
mod connections;
pub mod discovery;
mod machine;
mod peering;
mod table;
mod view;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

pub use self::config::{Config, ConfigError};
use self::conn::{Conn, Progress};
pub use self::discovery::Discovery;
use self::table::Table;
pub use self::view::SessionView;
use crate::contract::{
    Action, Command, CommandError, CommandId, ConnId, Context, DropReason, EndReason, Event, Input, Prefetch, Reason,
    Side, SocketId,
};
use crate::crypto::{Crypto, Secp256k1, SecretKey};
use crate::eth::{Chain, Policy};
use crate::kad::{Growth, Received, Verdict};
use crate::limits::{CONNS_PER_TURN, DIAL_CANDIDATE_DELAY};
use crate::netfilter::canonical;
use crate::peers::Peers;
use crate::rlpx::LocalHello;
use crate::rng::{Rng, Seed};
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::enode::Contact;
use crate::wire::enr::{Record, RecordBuilder};
use crate::wire::p2p::Hello;

/// The part that a deadline belongs to. The order breaks ties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Dial,
    Conn(ConnId),
}

/// One fork of the run's randomness for each part that draws.
struct Rngs {
    dial: Rng,
    conns: Rng,
}

/// A devp2p node as one state machine. See the crate's documentation for how to drive it.
pub struct Node {
    secret: SecretKey,
    contact: Contact,
    record: Record,
    hello: LocalHello,
    chain: Chain,
    policy: Policy,
    export_secrets: bool,
    context: Context,
    rngs: Rngs,
    discovery: Discovery,
    peers: Peers,
    conns: Table,
    /// When the dialler is next due, as it said after the last change. Discovery is always asked: every datagram moves its
    /// deadline.
    dial_at: Option<Instant>,
    /// When to search for a candidate because discovery has found a node.
    next_dial_poll: Option<Instant>,
    /// Connections that are yet to be ended if they are no longer wanted, the next one last.
    to_sweep: Vec<ConnId>,
    conns_made: u64,
    commands_made: u64,
    shutting_down: bool,
}

impl Node {
    /// A node with the real primitives. It does nothing before its first input.
    ///
    /// `seed` decides every random draw of the run: take it from the operating system, or fix it to repeat a run.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: UnixTime) -> Result<Self, ConfigError> {
        Self::with_crypto(config, seed, now, unix, Arc::new(Secp256k1::new()))
    }

    /// As [`Node::new`], with primitives that many nodes may share, or others of the same shape.
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
        let key = crypto.public_key(&config.secret);
        let contact = Contact::new(key, config.ip.unwrap_or(UNKNOWN_IP), config.udp, config.tcp);
        let record = sign_record(&*crypto, &config, &contact).map_err(|_| ConfigError::Record)?;
        let hello = Hello {
            version: crate::wire::p2p::P2P_VERSION,
            client: config.client.clone(),
            capabilities: config.capabilities.clone(),
            port: config.tcp.into(),
            key: *key.as_bytes(),
        };
        let hello = LocalHello::new(hello, config.capability_table.clone()).map_err(ConfigError::Hello)?;
        let seed = Seed::new(seed);
        let rngs = Rngs { dial: seed.fork("dial"), conns: seed.fork("connections") };
        let mut context = Context::new(now, unix, config.filter.clone(), crypto);
        let discovery = Discovery::new(&mut context, &seed, &config, &record);
        let mut node = Self {
            hello,
            peers: Peers::new(config.peers, contact.id()),
            secret: config.secret,
            contact,
            record,
            chain: config.chain,
            policy: config.status,
            export_secrets: config.export_secrets,
            context,
            rngs,
            discovery,
            conns: Table::default(),
            dial_at: None,
            next_dial_poll: None,
            to_sweep: Vec::new(),
            conns_made: 0,
            commands_made: 0,
            shutting_down: false,
        };
        node.sync_dial();
        Ok(node)
    }

    /// Handles one input. Total: whatever comes, in any order, at any time.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.context.advance(now);
        match input {
            Input::Datagram { socket, from, bytes } => self.handle_datagram(socket, canonical(from), bytes),
            Input::Incoming { socket, from } => {
                // A driver that does not ask for the stream's id cannot feed it; its deadline ends it.
                let _ = self.accept(now, socket, from);
            }
            Input::Connected { conn, local: _ } => self.touch(conn, |conn, cx, local| {
                conn.handle_connected(cx, local);
                Progress::Pending
            }),
            Input::Bytes { conn, bytes } => {
                let mut rest = bytes;
                while !rest.is_empty() && self.conns.get(conn).is_some() {
                    self.touch(conn, |conn, cx, local| conn.handle_bytes(cx, local, &mut rest));
                }
            }
            Input::Wrote { conn, n } => self.touch(conn, |conn, cx, _| {
                conn.handle_wrote(cx, n);
                Progress::Pending
            }),
            Input::Eof { conn } => self.touch(conn, |conn, cx, _| conn.handle_eof(cx)),
            Input::Broken { conn, why } => self.touch(conn, |conn, cx, _| conn.handle_broken(cx, why)),
            Input::WallClock { unix } => self.context.set_wall_clock(unix),
            // Nothing that this node is made of asks the world.
            Input::Answer { .. } => {}
            Input::Timeout => self.handle_timeout(),
            Input::Command(command) => {
                // Misuse changes nothing; `command` returns the error.
                let _ = self.command(now, command);
            }
        }
    }

    /// Shows what handling `input` will read, as far as that can be told: for drivers of many nodes (see [`Prefetch`]). At
    /// depth 0 these are parts of the node itself, at each of the following what those before point to, and from
    /// [`Node::PREFETCH_DEPTHS`] on nothing; between two of them the memory needs some time to come.
    pub fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        if depth == 0 {
            memory.prefetch(&self.context);
            memory.prefetch(&self.conns);
            memory.prefetch(&self.dial_at);
            memory.prefetch(&self.next_dial_poll);
            memory.prefetch(&self.shutting_down);
        }
        self.discovery.prefetch(input, depth, memory);
    }

    /// How deep [`Node::prefetch`] goes.
    pub const PREFETCH_DEPTHS: usize = 4;

    /// A listener has a stream. `None`: close it unread.
    pub fn accept(&mut self, now: Instant, _socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        let now = self.context.advance(now);
        let from = canonical(from);
        if self.shutting_down || self.peers.accept(now, &self.context.filter, from).is_err() {
            self.context.stats.accepts_refused += 1;
            return None;
        }
        self.context.stats.accepts += 1;
        let id = self.next_conn();
        let conn = Conn::accept(&mut self.context.cx(&mut self.rngs.conns), id, from);
        self.open(id, conn);
        Some(id)
    }

    /// Carries out a command. Its outcome, if it has one, comes as an event with the returned id.
    ///
    /// # Errors
    /// If it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        let now = self.context.advance(now);
        if self.shutting_down && !matches!(command, Command::Disconnect { .. } | Command::Shutdown) {
            return Err(CommandError::ShuttingDown);
        }
        if self.context.out.is_full() && !matches!(command, Command::Disconnect { .. } | Command::Shutdown) {
            return Err(CommandError::Busy);
        }
        let id = CommandId(self.commands_made);
        match command {
            Command::AddPeer { contact, kind } => {
                self.peers.add_peer(now, &self.context.filter, contact, kind)?;
                self.promote(&contact.id(), kind);
                self.sync_dial();
            }
            Command::RemovePeer { id } => {
                self.peers.remove_peer(&id)?;
                self.sync_dial();
            }
            Command::Dial { contact } => {
                self.peers.dial(now, &self.context.filter, &contact)?;
                self.dial(contact, true);
            }
            Command::Disconnect { conn, reason } => {
                if self.conns.get(conn).is_none_or(Conn::is_ending) {
                    return Err(CommandError::UnknownConn);
                }
                self.disconnect_other(conn, EndReason::Disconnect(reason));
            }
            Command::AddNode { contact } => {
                self.discovery.add_node(&mut self.context, contact)?;
            }
            Command::Ping { contact } => self.discovery.ping(&mut self.context, id, contact)?,
            Command::RequestRecord { contact } => {
                self.discovery.request_record(&mut self.context, id, contact)?;
            }
            Command::FindNode { contact, target } => {
                self.discovery.find_node(&mut self.context, id, contact, target)?;
            }
            Command::Lookup { target } => self.discovery.lookup(&mut self.context, id, target)?,
            Command::Send { conn, capability, id, payload } => {
                self.talk(conn, |conn, cx| conn.send(cx, capability, id, &[payload]))?;
            }
            Command::Request { conn, id: message, body } => {
                self.talk(conn, |conn, cx| conn.request(cx, id, message, body))?;
            }
            Command::Respond { conn, request_id, id, body } => {
                self.talk(conn, |conn, cx| conn.respond(cx, request_id, id, body))?;
            }
            Command::SetHead { head, earliest } => {
                self.chain.set_head(head, earliest);
                self.refresh_record();
                if let Some(range) = self.chain.announcement() {
                    self.announce(&range.encode());
                }
            }
            Command::Shutdown => self.shut_down(),
        }
        self.commands_made += 1;
        Ok(id)
    }

    /// Takes the oldest action. Only pops, with one exception: when a connection's `Ended` is popped, the node forgets the
    /// connection. From then on its id is unknown, and what it held may be given to another connection.
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

    /// When to call with `Input::Timeout` at the latest, and what for. Later than the last `now`, whatever happened; `None`
    /// at the end of time.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let now = self.context.now();
        let backlog = (!self.to_sweep.is_empty()).then_some((now, Reason::Backlog));
        let discovery = self.discovery.poll_timeout();
        let discovery = discovery.map(|(at, timer)| (at, Reason::Discovery(timer)));
        let dial = self.dial_at.map(|at| (at, Reason::Dial));
        let conn = self.conns.poll_timeout().map(|(at, conn, timer)| (at, Reason::Conn(conn, timer)));
        // Of equal instants, the first in this order.
        let due = [backlog, discovery, dial, conn].into_iter().flatten().min_by_key(|(at, _)| *at);
        let (at, reason) = due?;
        let at = at.max(now + Duration::from_micros(1));
        (at > now).then_some((at, reason))
    }

    /// The bytes that wait for a connection's socket. After writing a prefix of them, say so with `Input::Wrote`.
    pub fn outbound(&self, conn: ConnId) -> &[u8] {
        self.conns.get(conn).map_or(&[], Conn::outbound)
    }

    /// Whether a connection's bytes should be read now. To be asked again after every drain for what was paused.
    pub fn wants_read(&self, conn: ConnId) -> bool {
        !self.context.out.is_full() && self.conns.get(conn).is_some_and(Conn::wants_read)
    }

    fn handle_datagram(&mut self, socket: SocketId, from: SocketAddr, bytes: &[u8]) {
        self.context.stats.datagrams_in.add(bytes.len());
        if !self.context.filter.permits(from.ip()) {
            self.context.stats.drop_datagram(DropReason::Filtered);
            return;
        }
        let verdict = if socket == SocketId::MAIN {
            self.discovery.handle_datagram(&mut self.context, from, bytes)
        } else {
            Verdict { received: Received::Unrecognised, growth: Growth::None }
        };
        let Verdict { received, growth } = verdict;
        match received {
            Received::Handled => {}
            Received::Dropped(reason) => self.context.stats.drop_datagram(reason),
            Received::Unrecognised => {
                self.context.out.stage(bytes.len()).copy_from_slice(bytes);
                self.context
                    .out
                    .emit_staged(Event::Unrecognised { socket, from, bytes: Cow::default() }, 0..bytes.len());
            }
        }
        self.on_growth(growth);
    }

    /// Brings the next poll of the dialler forward if discovery has found a node.
    fn on_growth(&mut self, growth: Growth) {
        if growth == Growth::Grew && self.next_dial_poll.is_none() {
            // Two nodes that have just met would dial each other at once.
            let wait = self.rngs.dial.duration(DIAL_CANDIDATE_DELAY, 2 * DIAL_CANDIDATE_DELAY);
            self.next_dial_poll = Some(self.context.now() + wait);
            self.sync_dial();
        }
    }

    /// Handles what is due, each part once, discovery first, and at most [`CONNS_PER_TURN`] connections: work beyond that is
    /// due again a microsecond later.
    fn handle_timeout(&mut self) {
        let now = self.context.now();
        let conns = (0..CONNS_PER_TURN).map_while(|_| self.conns.pop_due(now));
        let mut due: Vec<_> = conns.map(|(at, id)| (at, Owner::Conn(id))).collect();
        if let Some(at) = self.dial_at.take_if(|at| *at <= now) {
            let place = due.partition_point(|deadline| *deadline < (at, Owner::Dial));
            due.insert(place, (at, Owner::Dial));
        }
        let growth = self.discovery.handle_timeout(&mut self.context);
        for (_, owner) in due {
            match owner {
                Owner::Dial => self.dial_more(),
                Owner::Conn(conn) => self.touch(conn, |conn, cx, _| conn.handle_timeout(cx)),
            }
        }
        self.on_growth(growth);
        self.sweep();
    }

    /// Signs a new record if our fork id has changed.
    fn refresh_record(&mut self) {
        let fork_id = self.chain.fork_id();
        if self.record.fork_id() == Some(fork_id) {
            return;
        }
        let seq = self.record.seq() + 1;
        let signed = record_builder(&self.contact, fork_id).sign(self.context.crypto(), &self.secret, seq);
        // The same entries fitted before.
        let Ok(record) = signed else { return };
        self.record = record;
        self.discovery.set_record(&self.record);
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        self.begin_sweep();
        self.discovery.shutdown(&mut self.context);
        self.sync_dial();
    }
}

/// When to poll the dialler. Found nodes bring a poll forward, if there is one at all.
fn dial_due(
    peers: &Peers,
    has_candidates: bool,
    next_dial_poll: Option<Instant>,
    shutting_down: bool,
) -> Option<Instant> {
    let at = peers.poll_timeout(has_candidates).filter(|_| !shutting_down)?;
    Some(next_dial_poll.map_or(at, |poll| poll.min(at)))
}

/// The address of our contact while ours is not known.
const UNKNOWN_IP: core::net::IpAddr = core::net::IpAddr::V4(core::net::Ipv4Addr::UNSPECIFIED);

fn record_builder(contact: &Contact, fork_id: crate::wire::forkid::ForkId) -> RecordBuilder {
    let mut builder = RecordBuilder::default();
    if contact.ip() != UNKNOWN_IP {
        builder.endpoint(contact.udp_addr(), contact.tcp());
    }
    builder.fork_id(fork_id);
    builder
}

fn sign_record(crypto: &dyn Crypto, config: &Config, contact: &Contact) -> Result<Record, crate::wire::DecodeError> {
    record_builder(contact, config.chain.fork_id()).sign(crypto, &config.secret, config.record_seq)
}

#[cfg(test)]
mod tests;
