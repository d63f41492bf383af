//! The node: machines composed. It routes inputs to them, acts on their verdicts, and keeps their deadlines together.
//!
//! Implements the driver contract (see the crate's documentation). No protocol knowledge of its own.

mod behaviours;
pub mod config;
pub mod connection;
mod connections;
mod view;

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;

use self::behaviours::Behaviours;
pub use self::config::{Config, ConfigError};
use self::connection::{Connection, Verdict};
pub use self::view::SessionView;
use crate::contract::{
    Action, Command, CommandError, CommandId, ConnId, Context, Cx, DropReason, EndReason, Event, Input, PeerEvent,
    Prefetch, Reason, Refusal, Side,
};
use crate::crypto::{Crypto, Secp256k1, SecretKey};
use crate::discv4::{self, Discv4, Received};
use crate::limits::DIAL_SETTLE_INTERVAL;
use crate::netfilter::canonical;
use crate::peers::Peers;
use crate::protocols::{self, Chain, Policy};
use crate::rlpx::LocalHello;
use crate::rng::{Rng, Seed};
use crate::time::{Deadlines, Duration, Instant, UnixTime};
use crate::wire::discv4::Endpoint;
use crate::wire::enode::Contact;
use crate::wire::enr::{Record, RecordBuilder};
use crate::wire::p2p::{DisconnectReason, Hello};

/// Whose deadline it is. The order breaks ties.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Owner {
    Dial,
    Conn(ConnId),
    Behaviours,
}

/// One fork of the run's randomness for each part that draws.
struct Rngs {
    discovery: Rng,
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
    discovery: Option<Box<Discv4>>,
    peers: Peers,
    behaviours: Behaviours,
    /// From dial or accept until `Ended` has been popped.
    conns: BTreeMap<ConnId, Box<Connection>>,
    /// What the dialler and the connections said when they were last touched. Discovery is always asked: every datagram
    /// moves its deadline.
    deadlines: Deadlines<Owner>,
    conns_made: u64,
    commands_made: u64,
    shutting_down: bool,
    /// When to look whom to dial because discovery has found somebody.
    look_at: Option<Instant>,
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
        let hello = LocalHello::new(hello, config.capability_table).map_err(ConfigError::Hello)?;
        let seed = Seed::new(seed);
        let mut rngs =
            Rngs { discovery: seed.fork("discovery"), dial: seed.fork("dial"), conns: seed.fork("connections") };
        let mut context = Context::new(now, unix, config.filter, crypto);
        let discovery = config.discovery.map(|settings| {
            let endpoint = Endpoint { ip: config.ip, udp: config.udp, tcp: config.tcp };
            let local = discv4::Local::new(context.crypto(), config.secret.clone(), endpoint, Some(record.clone()));
            Box::new(Discv4::new(&mut context.cx(&mut rngs.discovery), settings, local))
        });
        let mut node = Self {
            hello,
            peers: Peers::new(config.peers, contact.id),
            behaviours: Behaviours::new(protocols::behaviours(&config.chain), seed.fork("behaviours")),
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
            look_at: None,
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
                // The stream's name is lost on whoever does not ask for it; its deadline ends it.
                let _ = self.accept(now, from);
            }
            Input::Connected { conn } => self.touch(conn, |conn, cx, local| {
                conn.handle_connected(cx, local);
                Verdict::Pending
            }),
            Input::Bytes { conn, bytes } => {
                let mut rest = bytes;
                while !rest.is_empty() && self.conns.contains_key(&conn) {
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
            Input::Timeout => self.handle_timeout(),
            Input::Command(command) => {
                // Misuse changes nothing; who wants to know asks by `command`.
                let _ = self.command(now, command);
            }
        }
        if !matches!(input, Input::Datagram { .. }) {
            self.carry_out_wishes();
        }
    }

    /// Shows what handling `input` will read, as far as that can be told: for drivers of many nodes (see [`Prefetch`]). At
    /// depth 0 these are parts of the node itself, at each of the following what those before point to, and from
    /// [`Node::PREFETCH_DEPTHS`] on nothing; between two of them the memory needs some time to come.
    pub fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        let Some(depth) = depth.checked_sub(1) else {
            memory.prefetch(&self.context);
            memory.prefetch(&self.deadlines);
            memory.prefetch(&self.discovery);
            memory.prefetch(&self.look_at);
            memory.prefetch(&self.shutting_down);
            if matches!(input, Input::Timeout) {
                memory.prefetch(&self.rngs.discovery);
            }
            return;
        };
        match (input, &self.discovery) {
            (Input::Datagram { from, bytes }, Some(discovery)) => {
                discovery.prefetch(canonical(*from), bytes, depth, memory);
            }
            (Input::Timeout, Some(discovery)) => discovery.prefetch_timeout(depth, memory),
            _ => {}
        }
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
        let accepted = Connection::accept(&mut self.context.cx(&mut self.rngs.conns), conn, from);
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
                self.discover(|discovery, cx| {
                    discovery.add_node(cx, contact);
                    Ok(())
                })?;
            }
            Command::Ping { contact } => self.discover(|discovery, cx| discovery.ping(cx, id, contact))?,
            Command::RequestRecord { contact } => {
                self.discover(|discovery, cx| discovery.request_record(cx, id, contact))?;
            }
            Command::FindNode { contact, target } => {
                self.discover(|discovery, cx| discovery.find_node(cx, id, contact, target))?;
            }
            Command::Lookup { target } => self.discover(|discovery, cx| discovery.lookup(cx, Some(id), target))?,
            Command::Send { conn, capability, id, payload } => {
                self.talk(conn, |conn, cx| conn.send(cx, capability, id, &[payload]))?;
            }
            Command::Request { conn, capability, id: message, body } => {
                self.talk(conn, |conn, cx| conn.request(cx, id, capability, message, body))?;
            }
            Command::Respond { conn, capability, request_id, id, body } => {
                self.talk(conn, |conn, cx| conn.respond(cx, capability, request_id, id, body))?;
            }
            Command::SetHead { head, earliest } => {
                self.chain.set_head(head, earliest);
                self.refresh_record();
                let (head, earliest) = (*self.chain.head(), self.chain.range().earliest);
                self.behaviours.show(now, PeerEvent::Head { head, earliest });
            }
            Command::Shutdown => self.shut_down(),
        }
        self.commands_made += 1;
        self.carry_out_wishes();
        Ok(id)
    }

    /// Takes the oldest action. Only pops; but with a connection's end, its slot becomes free.
    pub fn poll_action(&mut self) -> Option<Action<'_>> {
        let action = self.context.out.pop()?;
        if let Action::Emit(Event::Ended { conn, .. }) = &action {
            self.conns.remove(conn);
            self.peers.release(*conn);
            // A slot that is free again may be what the dialler has waited for.
            let at = dial_due(&self.peers, self.discovery.is_some(), self.look_at, self.shutting_down);
            self.deadlines.set(Owner::Dial, at);
        }
        Some(action)
    }

    /// When to call with `Input::Timeout` at the latest, and what for. Later than the last `now`, whatever happened.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let discovery = self.discovery.as_ref().and_then(|discovery| discovery.poll_timeout());
        let others = self.deadlines.next();
        let (at, reason) = match discovery {
            Some((at, timer)) if others.is_none_or(|(other, _)| at <= other) => (at, Reason::Discovery(timer)),
            _ => match others? {
                (at, Owner::Dial) => (at, Reason::Dial),
                (at, Owner::Behaviours) => (at, Reason::Behaviour),
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
        let known = self.look_at.is_none().then(|| self.nodes_known());
        let mut cx = self.context.cx(&mut self.rngs.discovery);
        let received = match &mut self.discovery {
            Some(discovery) if !self.shutting_down => discovery.handle_datagram(&mut cx, from, bytes),
            _ => Received::Unrecognised,
        };
        match received {
            Received::Handled => {}
            Received::Dropped(reason) => cx.stats.drop_datagram(reason),
            Received::Unrecognised => {
                cx.out.stage(bytes.len()).copy_from_slice(bytes);
                cx.out.emit_staged(Event::Unrecognised { from, bytes: &[] }, 0..bytes.len());
            }
        }
        if known.is_some_and(|known| self.nodes_known() > known) {
            // Those who have just met would dial each other at once.
            let wait = self.rngs.dial.duration(DIAL_SETTLE_INTERVAL, 2 * DIAL_SETTLE_INTERVAL);
            self.look_at = Some(self.context.now() + wait);
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
        if let Some(discovery) = &mut self.discovery
            && discovery.poll_timeout().is_some_and(|(at, _)| at <= now)
        {
            discovery.handle_timeout(&mut self.context.cx(&mut self.rngs.discovery));
        }
        for (_, owner) in due {
            match owner {
                Owner::Dial => self.dial_more(),
                Owner::Behaviours => self.behaviours.handle_timeout(now),
                Owner::Conn(conn) => self.touch(conn, |conn, cx, _| conn.handle_timeout(cx)),
            }
        }
    }

    // Discovery

    fn discover(
        &mut self,
        work: impl FnOnce(&mut Discv4, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let discovery = self.discovery.as_mut().ok_or(CommandError::NoDiscovery)?;
        work(discovery, &mut self.context.cx(&mut self.rngs.discovery))
    }

    fn nodes_known(&self) -> usize {
        self.discovery.as_ref().map_or(0, |discovery| discovery.table().len())
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
        if let Some(discovery) = &mut self.discovery {
            discovery.set_record(self.record.clone());
        }
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        let conns: Vec<ConnId> = self.conns.keys().copied().collect();
        for conn in conns {
            self.disconnect_other(conn, EndReason::Disconnect(DisconnectReason::ClientQuitting));
        }
        if let Some(discovery) = &mut self.discovery {
            discovery.shutdown(&mut self.context.cx(&mut self.rngs.discovery));
        }
        self.sync_dial();
    }
}

/// When to look whom to dial. Found nodes bring a look forward, where there is one at all.
fn dial_due(peers: &Peers, looking: bool, look_at: Option<Instant>, shutting_down: bool) -> Option<Instant> {
    let at = peers.poll_timeout(looking).filter(|_| !shutting_down)?;
    Some(look_at.map_or(at, |look| look.min(at)))
}

/// What stands for our address while nobody has told it.
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
