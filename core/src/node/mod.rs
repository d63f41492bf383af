//! The node: machines composed. It routes inputs to them, acts on their verdicts, and keeps their deadlines together.
//!
//! Implements the driver contract (see the crate's documentation). No protocol knowledge of its own.

pub mod config;
mod conn;
mod connections;
pub mod discovery;
mod view;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

pub use self::config::{Config, ConfigError};
use self::conn::{Conn, Progress};
pub use self::discovery::Discovery;
pub use self::view::SessionView;
use crate::contract::{
    Action, Command, CommandError, CommandId, ConnId, Context, DropReason, EndReason, Event, Input, Prefetch, Reason,
    Refusal, Side,
};
use crate::crypto::{Crypto, Secp256k1, SecretKey};
use crate::eth::{Chain, Policy};
use crate::kad::{Growth, Received, Verdict};
use crate::limits::DIAL_SETTLE_INTERVAL;
use crate::netfilter::canonical;
use crate::peers::Peers;
use crate::rlpx::LocalHello;
use crate::rng::{Rng, Seed};
use crate::time::{Deadlines, Duration, Instant, UnixTime};
use crate::wire::enode::Contact;
use crate::wire::enr::{Record, RecordBuilder};
use crate::wire::p2p::{DisconnectReason, Hello};

/// Whose deadline it is. The order breaks ties.
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
    /// From dial or accept until `Ended` has been popped.
    conns: BTreeMap<ConnId, Box<Conn>>,
    /// What the dialler and the connections said when they were last touched. Discovery is always asked: every datagram
    /// moves its deadline.
    deadlines: Deadlines<Owner>,
    conns_made: u64,
    commands_made: u64,
    shutting_down: bool,
    /// When to poll the dialler early, because discovery has found a node.
    next_dial_poll: Option<Instant>,
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
            peers: Peers::new(config.peers, contact.id),
            secret: config.secret,
            contact,
            record,
            chain: config.chain,
            policy: config.status,
            export_secrets: config.export_secrets,
            context,
            rngs,
            discovery,
            conns: BTreeMap::new(),
            deadlines: Deadlines::default(),
            conns_made: 0,
            commands_made: 0,
            shutting_down: false,
            next_dial_poll: None,
        };
        node.sync_dial();
        Ok(node)
    }

    /// Handles one input. Total: whatever comes, in any order, at any time.
    pub fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.context.advance(now);
        match input {
            Input::Datagram { from, bytes } => self.handle_datagram(canonical(from), bytes),
            Input::Incoming { from } => {
                // The id is not asked for; a stream without one is ended by its deadline.
                let _ = self.accept(now, from);
            }
            Input::Connected { conn } => self.touch(conn, |conn, cx, local| {
                conn.handle_connected(cx, local);
                Progress::Pending
            }),
            Input::Bytes { conn, bytes } => {
                let mut rest = bytes;
                while !rest.is_empty() && self.conns.contains_key(&conn) {
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
            Input::Timeout => self.handle_timeout(),
            Input::Command(command) => {
                // Misuse changes nothing; who wants to know asks by `command`.
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
            memory.prefetch(&self.deadlines);
            memory.prefetch(&self.next_dial_poll);
            memory.prefetch(&self.shutting_down);
        }
        self.discovery.prefetch(input, depth, memory);
    }

    /// How deep [`Node::prefetch`] goes.
    pub const PREFETCH_DEPTHS: usize = 4;

    /// A listener has a stream. `None`: close it unread.
    pub fn accept(&mut self, now: Instant, from: SocketAddr) -> Option<ConnId> {
        let now = self.context.advance(now);
        let from = canonical(from);
        let conn = self.next_conn();
        let admitted = if self.shutting_down {
            Err(Refusal::ShuttingDown)
        } else if !self.context.filter.permits(from.ip()) {
            Err(Refusal::Filtered)
        } else {
            self.peers.incoming(now, conn, from)
        };
        if admitted.is_err() {
            self.context.stats.accepts_refused += 1;
            return None;
        }
        self.conns_made += 1;
        self.context.stats.accepts += 1;
        let accepted = Conn::accept(&mut self.context.cx(&mut self.rngs.conns), conn, from);
        self.conns.insert(conn, Box::new(accepted));
        self.settle(conn);
        Some(conn)
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
                self.peers.add_peer(now, contact, kind)?;
                self.sync_dial();
            }
            Command::RemovePeer { id } => {
                self.peers.remove_peer(&id)?;
                self.sync_dial();
            }
            Command::Dial { contact } => {
                if contact.tcp == 0 {
                    return Err(CommandError::NoPort);
                }
                if !self.context.filter.permits(contact.ip) {
                    return Err(CommandError::Refused(Refusal::Filtered));
                }
                self.peers.dial(now, self.next_conn(), &contact).map_err(CommandError::Refused)?;
                self.dial(contact);
            }
            Command::Disconnect { conn, reason } => {
                if self.conns.get(&conn).is_none_or(|conn| conn.is_ending()) {
                    return Err(CommandError::UnknownConn);
                }
                self.end(conn, Side::Us, EndReason::Disconnect(reason));
                self.settle(conn);
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

    /// Takes the oldest action. Only pops; but with a connection's end, its slot becomes free.
    pub fn poll_action(&mut self) -> Option<Action<'_>> {
        let action = self.context.out.pop()?;
        if let Action::Emit(Event::Ended { conn, .. }) = &action {
            self.conns.remove(conn);
            self.peers.release(*conn);
            // A slot that is free again may be what the dialler has waited for.
            let at = dial_due(&self.peers, self.discovery.is_on(), self.next_dial_poll, self.shutting_down);
            self.deadlines.set(Owner::Dial, at);
        }
        Some(action)
    }

    /// When to call with `Input::Timeout` at the latest, and what for. Later than the last `now`, whatever happened.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let discovery = self.discovery.poll_timeout();
        let others = self.deadlines.next();
        let (at, reason) = match discovery {
            Some((at, timer)) if others.is_none_or(|(other, _)| at <= other) => (at, Reason::Discovery(timer)),
            _ => match others? {
                (at, Owner::Dial) => (at, Reason::Dial),
                (at, Owner::Conn(conn)) => (at, Reason::Conn(conn, self.conns.get(&conn)?.poll_timeout()?.1)),
            },
        };
        Some((at.max(self.context.now() + Duration::from_micros(1)), reason))
    }

    /// The bytes that wait for a connection's socket. After writing a prefix of them, say so with `Input::Wrote`.
    pub fn outbound(&self, conn: ConnId) -> &[u8] {
        self.conns.get(&conn).map_or(&[], |conn| conn.outbound())
    }

    /// Whether a connection's bytes should be read now. To be asked again after every drain for what was paused.
    pub fn wants_read(&self, conn: ConnId) -> bool {
        !self.context.out.is_full() && self.conns.get(&conn).is_some_and(|conn| conn.wants_read())
    }

    fn handle_datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        self.context.stats.datagrams_in.add(bytes.len());
        if !self.context.filter.permits(from.ip()) {
            self.context.stats.drop_datagram(DropReason::Filtered);
            return;
        }
        let Verdict { received, growth } = self.discovery.handle_datagram(&mut self.context, from, bytes);
        match received {
            Received::Handled => {}
            Received::Dropped(reason) => self.context.stats.drop_datagram(reason),
            Received::Unrecognised => {
                self.context.out.stage(bytes.len()).copy_from_slice(bytes);
                self.context.out.emit_staged(Event::Unrecognised { from, bytes: &[] }, 0..bytes.len());
            }
        }
        self.on_growth(growth);
    }

    /// Brings the next poll of the dialler forward if discovery has found a node.
    fn on_growth(&mut self, growth: Growth) {
        if growth == Growth::Grew && self.next_dial_poll.is_none() {
            // Two nodes that have just met would dial each other at once.
            let wait = self.rngs.dial.duration(DIAL_SETTLE_INTERVAL, 2 * DIAL_SETTLE_INTERVAL);
            self.next_dial_poll = Some(self.context.now() + wait);
            self.sync_dial();
        }
    }

    /// Handles what is due, each owner once, discovery first: work beyond that is due again a microsecond later.
    fn handle_timeout(&mut self) {
        let now = self.context.now();
        let mut due = Vec::new();
        while let Some(deadline) = self.deadlines.pop_due(now) {
            due.push(deadline);
        }
        let growth = self.discovery.handle_timeout(&mut self.context);
        for (_, owner) in due {
            match owner {
                Owner::Dial => self.dial_more(),
                Owner::Conn(conn) => self.touch(conn, |conn, cx, _| conn.handle_timeout(cx)),
            }
        }
        self.on_growth(growth);
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
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.part(conn, EndReason::Disconnect(DisconnectReason::ClientQuitting));
        }
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
    if contact.ip != UNKNOWN_IP {
        builder.endpoint(contact.udp_addr(), contact.tcp);
    }
    builder.fork_id(fork_id);
    builder
}

fn sign_record(crypto: &dyn Crypto, config: &Config, contact: &Contact) -> Result<Record, crate::wire::DecodeError> {
    record_builder(contact, config.chain.fork_id()).sign(crypto, &config.secret, config.record_seq)
}

#[cfg(test)]
mod tests;
