//! Discovery alone as a machine: a bootnode, or the one machine that a ping needs.
//!
//! Implements the driver contract with the parts that [`Node`](super::Node) has for it: the identity and [`Discovery`]. Opens no
//! stream and accepts none; commands about sessions are refused.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use super::config::ConfigError;
use super::discovery::{self, Discovery};
use super::identity::Identity;
use crate::contract::{
    Action, Addresses, Command, CommandError, CommandId, ConnId, Context, Devp2p, Input, Machine, Prefetch, Reason,
    SocketId, Stats,
};
use crate::crypto::{Crypto, Secp256k1, SecretKey};
use crate::netfilter::{NetFilter, canonical};
use crate::rng::Seed;
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::forkid::ForkId;

/// The configuration of a [`Discoverer`]. Start from [`Config::new`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The node's identity.
    pub secret: SecretKey,
    /// The addresses at which other nodes reach this one, for its record and its pings. The TCP port is 0 by default: nothing
    /// listens there.
    pub addresses: Addresses,
    /// The fork id in the record; none by default, as in bootnodes.
    pub fork_id: Option<ForkId>,
    /// Further entries of the node's record, as RLP.
    pub record_entries: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The settings of the discovery protocols.
    pub discovery: discovery::Config,
    /// The addresses that the node may send to and keep.
    pub filter: NetFilter,
    /// The sequence number of our first record. Must grow from run to run.
    pub record_seq: u64,
    /// Nodes of an earlier run, which are pinged and enter the table if they answer.
    pub nodes: Vec<Contact>,
    /// Whether the machine sends only what commands demand: it keeps no table, looks up and checks nothing by itself, and
    /// answers only the nodes that it asks. Off by default.
    pub is_passive: bool,
}

impl Config {
    /// Creates a configuration with all discovery protocols at port 30303.
    pub fn new(secret: SecretKey) -> Self {
        Self {
            secret,
            addresses: Addresses { udp: 30303, ..Addresses::default() },
            fork_id: None,
            record_entries: BTreeMap::new(),
            discovery: discovery::Config::default(),
            filter: NetFilter::default(),
            record_seq: 1,
            nodes: Vec::new(),
            is_passive: false,
        }
    }
}

/// A node that only discovers, as one state machine.
pub struct Discoverer {
    identity: Identity,
    context: Context,
    discovery: Discovery,
    commands_made: u64,
    is_closed: bool,
}

impl Discoverer {
    /// Creates a machine with the real primitives. It does nothing before its first input.
    ///
    /// `seed` determines every random draw of the run: take it from the operating system, or fix it to repeat a run.
    ///
    /// # Errors
    /// If the configuration cannot work.
    pub fn new(config: Config, seed: [u8; 32], now: Instant, unix: UnixTime) -> Result<Self, ConfigError> {
        let crypto = Secp256k1::blinded(&mut Seed::new(seed).fork("secp256k1"));
        Self::with_crypto(config, seed, now, unix, Arc::new(crypto))
    }

    /// As [`Discoverer::new`], with primitives of the caller's choice.
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
        let Config { secret, addresses, fork_id, record_entries, discovery, filter, record_seq, nodes, is_passive } =
            config;
        let mut identity = Identity::new(&*crypto, secret, addresses, &[], fork_id, record_entries, record_seq)?;
        if !is_passive {
            identity.learn_addresses();
        }
        let mut context = Context::new(now, unix, filter, crypto);
        let mut discovery = Discovery::new(&mut context, &Seed::new(seed), discovery, &identity);
        if is_passive {
            discovery.set_passive();
        }
        discovery.restore(nodes);
        Ok(Self { identity, context, discovery, commands_made: 0, is_closed: false })
    }

    /// Our key and endpoint; the address is `0.0.0.0` while none is known.
    pub fn contact(&self) -> Contact {
        self.identity.contact()
    }

    /// Our current record.
    pub fn record(&self) -> &Record {
        self.identity.record()
    }

    /// The discovery protocols.
    pub fn discovery(&self) -> &Discovery {
        &self.discovery
    }

    /// The counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.context.stats
    }

    /// The nodes of all tables that have answered, for [`Config::nodes`] of the next run.
    pub fn live_nodes(&self) -> Vec<Contact> {
        self.discovery.live_nodes()
    }

    /// When to call with `Input::Timeout` at the latest, and what for. Always later than the last `now`.
    pub fn poll_timeout(&self) -> Option<(Instant, Reason)> {
        let now = self.context.now();
        let (at, timer) = self.discovery.poll_timeout()?;
        let at = at.max(now + Duration::from_micros(1));
        (at > now && at != Instant::NEVER).then_some((at, Reason::Discovery(timer)))
    }

    fn carry_out(&mut self, id: CommandId, command: Command<'_>) -> Result<(), CommandError> {
        match command {
            Command::SetFilter { filter } => {
                self.context.filter = filter.clone();
                self.discovery.filter_changed(&mut self.context);
                Ok(())
            }
            Command::SetAddresses { addresses } => {
                let is_changed = self.identity.set_addresses(self.context.crypto(), addresses)?;
                self.on_identity(is_changed);
                Ok(())
            }
            Command::SetRecordEntry { key, value } => {
                let is_changed = self.identity.set_entry(self.context.crypto(), key, value)?;
                self.on_identity(is_changed);
                Ok(())
            }
            Command::Shutdown => {
                self.is_closed = true;
                self.discovery.shutdown(&mut self.context);
                Ok(())
            }
            other => self.discovery.command(&mut self.context, id, other),
        }
    }

    fn on_identity(&mut self, is_changed: bool) {
        if is_changed {
            self.discovery.set_identity(&self.identity);
        }
    }
}

impl Machine for Discoverer {
    type Language = Devp2p;

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.context.advance(now);
        match input {
            Input::Datagram { socket, from, bytes } => {
                // There is no dialler that would wait for nodes.
                let (_, statement) = self.discovery.receive(&mut self.context, socket, canonical(from), bytes);
                if let Some(statement) = statement {
                    let is_changed = self.identity.hear(self.context.crypto(), self.context.now(), statement);
                    self.on_identity(is_changed);
                }
            }
            Input::Timeout => {
                let _ = self.discovery.handle_timeout(&mut self.context);
            }
            Input::WallClock { unix } => self.context.set_wall_clock(unix),
            Input::Command(command) => {
                // Misuse changes nothing; `command` returns the error.
                let _ = self.command(now, command);
            }
            // It has no streams, and emits no queries.
            Input::Incoming { .. }
            | Input::Connected { .. }
            | Input::Bytes { .. }
            | Input::Wrote { .. }
            | Input::Eof { .. }
            | Input::Broken { .. }
            | Input::Answer { .. } => {}
        }
    }

    fn accept(&mut self, now: Instant, _socket: SocketId, _from: SocketAddr) -> Option<ConnId> {
        self.context.advance(now);
        self.context.stats.accepts_refused += 1;
        None
    }

    fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        self.context.advance(now);
        let is_last = matches!(command, Command::Shutdown);
        if self.is_closed && !is_last {
            return Err(CommandError::ShuttingDown);
        }
        if self.context.out.is_full() && !is_last {
            return Err(CommandError::Busy);
        }
        let id = CommandId(self.commands_made);
        self.carry_out(id, command)?;
        self.commands_made += 1;
        Ok(id)
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        self.context.out.pop()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self).map(|(at, _)| at)
    }

    fn outbound(&self, _conn: ConnId) -> &[u8] {
        &[]
    }

    fn wants_read(&self, _conn: ConnId) -> bool {
        false
    }

    fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        if depth == 0 {
            memory.prefetch(&self.context);
        }
        self.discovery.prefetch(input, depth, memory);
    }

    const PREFETCH_DEPTHS: usize = super::Node::PREFETCH_DEPTHS;
}

/// Omits key and primitives.
impl fmt::Debug for Discoverer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Discoverer");
        debug.field("contact", &self.contact()).field("now", &self.context.now());
        debug.field("is_closed", &self.is_closed).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
