//! discv4, node discovery over UDP (`discv4.md`): the machine that answers strangers, keeps the table, and looks up nodes.
//!
//! [`Discv4`] composes smaller machines that own one thing each: [`bonds`] the endpoint proofs, [`calls`] the questions in
//! flight, [`table`] who is known, [`lookup`] one search, [`limiter`] what strangers may cost us. Here is the interface and
//! what happens by itself; `inbound` handles datagrams, `asking` drives the calls, `searching` the lookups.

mod asking;
pub mod bonds;
pub mod calls;
mod inbound;
pub mod limiter;
pub mod lookup;
mod searching;
pub mod table;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use crate::contract::{
    CallFailure, CommandError, CommandId, Cx, DiscoveryTimer, DropReason, Event, Prefetch, Refusal, SocketId,
};
use crate::crypto::{Crypto, Digest, NodeId, PublicKey, SecretKey};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::discv4::{Datagram, Endpoint, Kind, Neighbor, Packet};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::forkid::ForkId;

use bonds::Bonds;
use calls::{Calls, Purpose, Question};
use limiter::Limiter;
use lookup::Lookup;
use table::{Change, Table};

/// The knobs, with geth's values as defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to start. Without any, strangers are let into the table at once (attack D20 needs somebody to wait for).
    pub bootnodes: Vec<Contact>,
    /// Between two rounds of lookups, drawn anew each time.
    pub refresh_interval: (Duration, Duration),
    /// Between two lookups while the table is small; at least, while it is young.
    pub young_interval: (Duration, Duration),
    /// How long the table is young: pauses between lookups are as long as it is old.
    pub young_age: Duration,
    /// Below how many nodes the table is small.
    pub young_nodes: usize,
    /// Before the bootnodes are asked again while the table is empty; doubles each time.
    pub reseed_interval: Duration,
    /// What that grows to at most.
    pub reseed_interval_max: Duration,
    /// The longest pause between checks of nodes that are new or failed a check.
    pub fast_check_interval_max: Duration,
    /// The longest pause between checks of nodes that passed one.
    pub slow_check_interval_max: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            bootnodes: Vec::new(),
            refresh_interval: (secs(15 * 60), secs(30 * 60)),
            young_interval: (secs(5), secs(10)),
            young_age: secs(15 * 60),
            young_nodes: 16,
            reseed_interval: secs(10),
            reseed_interval_max: secs(300),
            fast_check_interval_max: secs(3),
            slow_check_interval_max: secs(9),
        }
    }
}

/// Our own identity.
#[derive(Clone)]
pub struct Local {
    secret: SecretKey,
    key: PublicKey,
    id: NodeId,
    endpoint: Endpoint,
    record: Option<Record>,
}

impl Local {
    /// The node of `secret`, which claims to be at `endpoint`. Without a record it does not take part in EIP-868.
    pub fn new(crypto: &dyn Crypto, secret: SecretKey, endpoint: Endpoint, record: Option<Record>) -> Self {
        let key = crypto.public_key(&secret);
        Self { secret, id: key.node_id(), key, endpoint, record }
    }

    /// Our public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Our node id.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Signs and sends a packet; returns the hash by which answers refer to it. A datagram that cannot be sent is lost like
    /// any other.
    fn send(&self, cx: &mut Cx<'_>, to: SocketAddr, packet: &Packet) -> Digest {
        let hash = packet.seal(cx.crypto, &self.secret, cx.out.tail());
        cx.send_staged(SocketId::MAIN, to);
        hash
    }

    /// Sends a Neighbors packet.
    fn send_neighbors(&self, cx: &mut Cx<'_>, to: SocketAddr, nodes: &[&Contact]) {
        let nodes = nodes.iter().map(|contact| Neighbor::from(*contact));
        Packet::seal_neighbors(nodes, asking::expiration(cx), cx.crypto, &self.secret, cx.out.tail());
        cx.send_staged(SocketId::MAIN, to);
    }

    /// Answers the EnrRequest of that hash with our record, if we have one.
    fn send_record(&self, cx: &mut Cx<'_>, to: SocketAddr, request_hash: &Digest) {
        let Some(record) = &self.record else { return };
        Packet::seal_enr_response(request_hash, record.as_bytes(), cx.crypto, &self.secret, cx.out.tail());
        cx.send_staged(SocketId::MAIN, to);
    }
}

/// What became of a datagram. Whoever handed it in counts it.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// It was acted upon.
    Handled,
    /// It is not discv4: its hash is none, or it is too short to have one. To be handed on to what shares the port.
    Unrecognised,
    /// It is discv4, and was not acted upon.
    Dropped(DropReason),
}

/// A node for the dialler to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// Its endpoint is proven, and it claims a TCP port.
    pub contact: Contact,
    /// From its record, if we have it.
    pub fork_id: Option<ForkId>,
}

/// Names a lookup. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LookupId(u64);

/// A lookup and whom it is for.
#[derive(Debug)]
struct Search {
    id: LookupId,
    lookup: Lookup,
    command: Option<CommandId>,
}

/// See the module.
pub struct Discv4 {
    config: Config,
    local: Local,
    bonds: Bonds,
    calls: Calls,
    table: Table,
    limiter: Limiter,
    /// Oldest first, which is the order of their ids; at most [`crate::limits::LOOKUPS_MAX`].
    searches: Vec<Search>,
    searches_begun: u64,
    /// Heard of, and not yet pinged.
    unverified: VecDeque<Contact>,
    started: Instant,
    refresh_due: Option<Instant>,
    /// Times that the bootnodes were asked in vain, in a row.
    reseeds: u32,
    stage: Stage,
    /// No deadline is reported before this: the last turn's time and a microsecond.
    not_before: Instant,
}

/// How far the machine is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    /// The first refresh has not begun.
    New,
    /// The first refresh is under way: strangers are not let into the table yet (attack D20).
    Seeding,
    /// Strangers are welcome.
    Open,
    /// Shut down.
    Closed,
}

impl Discv4 {
    /// A machine that begins at its first timeout, which is due at once.
    pub fn new(cx: &mut Cx<'_>, config: Config, local: Local) -> Self {
        let table = Table::new(local.id, config.fast_check_interval_max, config.slow_check_interval_max);
        Self {
            bonds: Bonds::new(cx.now, cx.rng),
            calls: Calls::default(),
            limiter: Limiter::new(cx.rng),
            searches: Vec::new(),
            searches_begun: 0,
            unverified: VecDeque::new(),
            started: cx.now,
            refresh_due: Some(cx.now),
            reseeds: 0,
            stage: if config.bootnodes.is_empty() { Stage::Open } else { Stage::New },
            not_before: cx.now,
            table,
            config,
            local,
        }
    }

    /// Shows what [`Discv4::handle_timeout`] will read. See [`Node::prefetch`](crate::node::Node::prefetch).
    pub fn prefetch_timeout(&self, depth: usize, memory: &mut impl Prefetch) {
        match depth {
            0 => memory.prefetch(self),
            1 => self.calls.prefetch_open(memory),
            _ => {}
        }
    }

    /// Shows what a datagram from an address will read. See [`Node::prefetch`](crate::node::Node::prefetch).
    pub fn prefetch(&self, from: SocketAddr, bytes: &[u8], depth: usize, memory: &mut impl Prefetch) {
        self.calls.prefetch(from, depth, memory);
        match depth {
            0 => {
                memory.prefetch(&self.bonds);
                memory.prefetch(&self.limiter);
                memory.prefetch(&self.local);
                memory.prefetch(&self.searches);
                memory.prefetch(&self.unverified);
                memory.prefetch(&self.stage);
                memory.prefetch(&self.not_before);
                self.table.prefetch_deadlines(memory);
            }
            1 => {
                self.bonds.prefetch(from, memory);
                memory.prefetch(&self.searches[..]);
                if let Ok(datagram) = Datagram::split(bytes)
                    && let Ok(Kind::Ping | Kind::FindNode | Kind::EnrRequest) = datagram.kind()
                {
                    self.limiter.prefetch(from, datagram.hash, memory);
                }
            }
            2 => self.searches.iter().for_each(|search| search.lookup.prefetch(memory)),
            _ => {}
        }
    }

    /// The next deadline; strictly later than the last [`Discv4::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        let deadlines = [
            (self.calls.next_due(), DiscoveryTimer::Call),
            (self.table.check_due(), DiscoveryTimer::Revalidate),
            (self.refresh_due, DiscoveryTimer::Refresh),
        ];
        let open = deadlines.into_iter().filter(|_| self.stage != Stage::Closed);
        let due = open.filter_map(|(at, why)| Some((at?.max(self.not_before), why)));
        due.min()
    }

    /// Does what is due, up to a turn's budget.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.not_before = cx.now + Duration::from_micros(1);
        if self.stage == Stage::Closed {
            return;
        }
        self.expire_calls(cx);
        for contact in self.table.pop_checks(cx.now, cx.rng).into_iter().flatten() {
            // A check that cannot be made now is not failed, only left to the next draw.
            _ = self.ask(cx, contact, Question::Ping, Purpose::Check);
        }
        if self.refresh_due.is_some_and(|due| due <= cx.now) {
            self.refresh(cx);
        }
        self.progress(cx);
    }

    /// Tells of a node, which will be pinged and let into the table if it answers. Forgotten if too many wait.
    pub fn add_node(&mut self, cx: &mut Cx<'_>, contact: Contact) {
        if self.stage != Stage::Closed && self.hear_of(cx, contact) {
            self.progress(cx);
        }
    }

    /// Pings a node; ends in `Event::Pong` or `Event::CallFailed`.
    ///
    /// # Errors
    /// If the contact has no UDP port, may not be talked to or is us, if too many calls are open, or after the end.
    pub fn ping(&mut self, cx: &mut Cx<'_>, command: CommandId, contact: Contact) -> Result<(), CommandError> {
        self.command(cx, command, contact, Question::Ping)
    }

    /// Asks a node for its record, after an exchange of endpoint proofs; ends in `Event::Record` or `Event::CallFailed`.
    ///
    /// # Errors
    /// As [`Discv4::ping`].
    pub fn request_record(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
    ) -> Result<(), CommandError> {
        self.command(cx, command, contact, Question::EnrRequest)
    }

    /// Asks one node for its nearest to `target`, after an exchange of endpoint proofs; ends in `Event::Nodes` or
    /// `Event::CallFailed`.
    ///
    /// # Errors
    /// As [`Discv4::ping`].
    pub fn find_node(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
        target: [u8; 64],
    ) -> Result<(), CommandError> {
        self.command(cx, command, contact, Question::FindNode { target })
    }

    /// Looks up the nearest nodes to `target`. For a command it ends in `Event::Nodes`, or at shutdown in
    /// `Event::CallFailed`; without one it only fills the table.
    ///
    /// # Errors
    /// [`CommandError::Busy`] if too many lookups run, [`CommandError::ShuttingDown`] after the end.
    pub fn lookup(
        &mut self,
        cx: &mut Cx<'_>,
        command: Option<CommandId>,
        target: [u8; 64],
    ) -> Result<(), CommandError> {
        self.begin_lookup(command, target)?;
        self.progress(cx);
        Ok(())
    }

    /// Replaces our record.
    pub fn set_record(&mut self, record: Record) {
        self.local.record = Some(record);
    }

    /// At most `max` live nodes to dial, drawn at random across the buckets (attack D12).
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<Candidate> {
        self.table.candidates(rng, max)
    }

    /// Who is known.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Who we are.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The endpoint proofs.
    pub fn bonds(&self) -> &Bonds {
        &self.bonds
    }

    /// Questions in flight.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Ends it: every command that is still open fails with [`CallFailure::Closed`], nothing is due and nobody is answered.
    pub fn shutdown(&mut self, cx: &mut Cx<'_>) {
        self.stage = Stage::Closed;
        self.unverified.clear();
        let calls = self.calls.end_all().filter_map(|call| match call.purpose {
            Purpose::Command(command) => Some(command),
            _ => None,
        });
        let searches = core::mem::take(&mut self.searches);
        for command in calls.chain(searches.into_iter().filter_map(|search| search.command)) {
            cx.out.emit(Event::CallFailed { command, why: CallFailure::Closed });
        }
    }

    fn command(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
        question: Question,
    ) -> Result<(), CommandError> {
        if self.stage == Stage::Closed {
            return Err(CommandError::ShuttingDown);
        }
        self.ask(cx, contact, question, Purpose::Command(command))
    }

    /// A node has proven its endpoint: it comes into the table if there is a place.
    fn admit(&mut self, cx: &mut Cx<'_>, contact: Contact) {
        if !cx.filter.permits(contact.ip()) {
            return;
        }
        let change = self.table.insert(contact, cx.now, cx.rng);
        if change.is_some() && self.table.len() == 1 {
            // Whoever waits for the first node need not wait for the next round.
            self.reseeds = 0;
            let (soon, _) = self.config.young_interval;
            let soon = cx.now + cx.rng.duration(soon / 10, soon / 5);
            self.refresh_due = self.refresh_due.map(|due| due.min(soon));
        }
        self.tell(cx, change);
    }

    /// Tells the application what became of the table.
    fn tell(&mut self, cx: &mut Cx<'_>, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Added(contact) => cx.out.emit(Event::NodeAdded { contact }),
                Change::Removed(id) => {
                    cx.out.emit(Event::NodeRemoved { id });
                    if self.table.is_empty() {
                        // Everybody is gone: back to the bootnodes.
                        let due = cx.now + self.config.reseed_interval;
                        self.refresh_due = self.refresh_due.map(|at| at.min(due));
                    }
                }
            }
        }
    }

    /// Why a contact cannot be asked anything, if so.
    fn objection(&self, cx: &Cx<'_>, contact: &Contact) -> Option<CommandError> {
        if contact.key() == self.local.key {
            Some(CommandError::Refused(Refusal::ToSelf))
        } else if contact.udp() == 0 {
            Some(CommandError::NoPort)
        } else if !cx.filter.permits(contact.ip()) {
            Some(CommandError::Refused(Refusal::Filtered))
        } else {
            None
        }
    }
}

/// An endpoint as bytes, each its own.
fn endpoint_bytes(at: SocketAddr) -> [u8; 19] {
    let mut bytes = [0; 19];
    match at.ip() {
        IpAddr::V4(ip) => bytes[..4].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => {
            bytes[..16].copy_from_slice(&ip.octets());
            bytes[18] = 6;
        }
    }
    bytes[16..18].copy_from_slice(&at.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests;
