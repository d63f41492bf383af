//! discv4, node discovery over UDP (`discv4.md`): answers other nodes, keeps the table of live ones, looks up nodes.
//!
//! [`Discv4`] composes smaller machines that own one thing each: [`bonds`] the endpoint proofs, [`calls`] the requests in
//! flight (`ping_backs` those to many strangers at once), [`limiter`] what unproven sources may cost, and of
//! [`kad`](crate::kad) the table and the lookups. This file has the interface and the timers; `inbound` handles datagrams,
//! `requests` drives the calls, `lookups` the lookups, `flooded` what the node does while datagrams exceed its budgets.

pub mod bonds;
pub mod calls;
mod flooded;
mod inbound;
pub mod limiter;
mod lookups;
mod ping_backs;
mod requests;

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use crate::contract::{CallFailure, CommandError, CommandId, Cx, DiscoveryTimer, Event, Prefetch, Refusal, SocketId};
use crate::crypto::{Crypto, Digest, NodeId, PublicKey, SecretKey};
use crate::kad::lookup::Lookup;
use crate::kad::schedule::{Refresh, Schedule};
use crate::kad::table::{Change, Table};
use crate::kad::{Candidate, Growth, Statement};
use crate::rng::Rng;
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::discv4::{Datagram, Endpoint, Kind, Neighbor, Packet};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

use bonds::Bonds;
use calls::{Calls, Purpose, Request};
use flooded::Flood;
use limiter::Limiter;
use ping_backs::PingBacks;

/// The settings, with geth's values as defaults.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The nodes to start from. Without any, nodes that contact us enter the table at once; otherwise only after the first
    /// refresh (attack D20).
    pub bootnodes: Vec<Contact>,
    /// When nodes are looked up and checked.
    pub schedule: Schedule,
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
    /// The node of `secret`, which claims `endpoint`. Without a record it does not take part in EIP-868.
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

    /// Signs and sends a packet. Returns the hash by which answers refer to it. A datagram that cannot be sent counts as lost.
    fn send(&self, cx: &mut Cx<'_>, to: SocketAddr, packet: &Packet) -> Digest {
        let hash = packet.seal(cx.crypto, &self.secret, cx.out.tail());
        cx.send_staged(SocketId::MAIN, to);
        hash
    }

    /// A ping to an address.
    fn ping(&self, to: SocketAddr, expiration: UnixTime) -> Packet {
        let enr_seq = self.record.as_ref().map(Record::seq);
        Packet::Ping { version: 4, from: self.endpoint, to: Endpoint::from(to), expiration, enr_seq }
    }

    /// Sends a Neighbors packet.
    fn send_neighbors(&self, cx: &mut Cx<'_>, to: SocketAddr, nodes: &[&Contact]) {
        let nodes = nodes.iter().map(|contact| Neighbor::from(*contact));
        Packet::seal_neighbors(nodes, requests::expiration(cx), cx.crypto, &self.secret, cx.out.tail());
        cx.send_staged(SocketId::MAIN, to);
    }

    /// Answers the EnrRequest of that hash with our record, if we have one.
    fn send_record(&self, cx: &mut Cx<'_>, to: SocketAddr, request_hash: &Digest) {
        let Some(record) = &self.record else { return };
        Packet::seal_enr_response(request_hash, record.as_bytes(), cx.crypto, &self.secret, cx.out.tail());
        cx.send_staged(SocketId::MAIN, to);
    }
}

/// Omits the secret key.
impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("id", &self.id).field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The id of a lookup. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LookupId(u64);

/// A node that waits to be pinged.
#[derive(Debug)]
struct Unverified {
    contact: Contact,
    /// Whether its ping has been taken out of the budget of its address (attack D10).
    is_admitted: bool,
}

/// A lookup under way.
#[derive(Debug)]
struct ActiveLookup {
    id: LookupId,
    lookup: Lookup,
    /// What FindNode packets carry; the lookup itself is by its hash.
    target: [u8; 64],
    /// The command that it answers, if any.
    command: Option<CommandId>,
}

/// The discv4 machine.
#[derive(Debug)]
pub struct Discv4 {
    config: Config,
    local: Local,
    bonds: Bonds,
    calls: Calls,
    ping_backs: PingBacks,
    table: Table,
    limiter: Limiter,
    /// The latest flood, while the node still acts on it.
    flood: Option<Flood>,
    /// Oldest first, which is the order of their ids; at most [`crate::limits::LOOKUPS_MAX`].
    lookups: Vec<ActiveLookup>,
    lookups_started: u64,
    /// Nodes that other nodes or the embedder named and that wait for a ping.
    unverified: VecDeque<Unverified>,
    refresh: Refresh,
    lifecycle: Lifecycle,
    /// Whether the machine sends only what commands demand.
    is_passive: bool,
    /// The growth in the next verdict.
    growth: Growth,
    /// The statement in the next verdict.
    statement: Option<Statement>,
    /// No deadline is reported before this: a microsecond after the last turn.
    not_before: Instant,
}

/// The phase of the machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Lifecycle {
    /// The first refresh has not begun.
    New,
    /// The first refresh is under way: nodes that contact us do not enter the table yet (attack D20).
    Bootstrapping,
    /// Every node that proves its endpoint may enter the table.
    Running,
    /// Shut down.
    Closed,
}

impl Discv4 {
    /// Creates a machine whose first timeout is due at once.
    pub fn new(cx: &mut Cx<'_>, config: Config, local: Local) -> Self {
        let table = Table::new(local.id, &config.schedule);
        Self {
            bonds: Bonds::new(cx.now, cx.rng),
            calls: Calls::default(),
            ping_backs: PingBacks::default(),
            limiter: Limiter::new(cx.rng),
            flood: None,
            lookups: Vec::new(),
            lookups_started: 0,
            unverified: VecDeque::new(),
            refresh: Refresh::new(cx.now),
            lifecycle: if config.bootnodes.is_empty() { Lifecycle::Running } else { Lifecycle::New },
            is_passive: false,
            growth: Growth::None,
            statement: None,
            not_before: cx.now,
            table,
            config,
            local,
        }
    }

    /// Stops everything that the machine does by itself, for a program that asks a few nodes and leaves: it looks up nothing,
    /// keeps no table, verifies and checks no node, and answers nothing but the pings of nodes to which calls are open that need
    /// an endpoint proof. A ping is then one datagram. To be called before the first input.
    pub fn set_passive(&mut self) {
        self.is_passive = true;
        self.refresh.stop();
        self.lifecycle = Lifecycle::Running;
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
                memory.prefetch(&self.lookups);
                memory.prefetch(&self.unverified);
                memory.prefetch(&self.lifecycle);
                memory.prefetch(&self.not_before);
                self.table.prefetch_deadlines(memory);
            }
            1 => {
                self.bonds.prefetch(from, memory);
                memory.prefetch(&self.lookups[..]);
                if let Ok(datagram) = Datagram::split(bytes)
                    && let Ok(Kind::Ping | Kind::FindNode | Kind::EnrRequest) = datagram.kind()
                {
                    self.limiter.prefetch(from, datagram.hash, memory);
                }
            }
            2 => self.lookups.iter().for_each(|active| active.lookup.prefetch(memory)),
            _ => {}
        }
    }

    /// The next deadline. Strictly later than the last [`Discv4::handle_timeout`]; `None` after [`Discv4::shutdown`].
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        let deadlines = [
            (self.calls.next_due(), DiscoveryTimer::Call),
            (self.table.check_due(), DiscoveryTimer::Revalidate),
            (self.flood.as_ref().map(Flood::ping_due), DiscoveryTimer::Revalidate),
            (self.refresh.due(), DiscoveryTimer::Refresh),
        ];
        let open = deadlines.into_iter().filter(|_| self.lifecycle != Lifecycle::Closed);
        let due = open.filter_map(|(at, why)| Some((at?.max(self.not_before), why)));
        due.min()
    }

    /// Handles the deadlines that have passed, up to the budget of one turn.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Growth {
        self.not_before = cx.now + Duration::from_micros(1);
        if self.lifecycle == Lifecycle::Closed {
            return Growth::None;
        }
        self.expire_calls(cx);
        self.ping_backs.release(cx.now);
        for contact in self.table.pop_checks(cx.now, cx.rng).into_iter().flatten() {
            // A check that cannot be made now is not failed: the node may be drawn again.
            _ = self.start_request(cx, contact, Request::Ping, Purpose::Check);
        }
        self.ping_while_flooded(cx);
        self.start_round(cx);
        self.advance(cx);
        core::mem::take(&mut self.growth)
    }

    /// Adds a node, which is pinged in its turn and enters the table if it answers. Changes nothing for a node that is in the
    /// table, waits or is being pinged already.
    ///
    /// # Errors
    /// As [`Discv4::ping`], but [`CommandError::Busy`] if [`UNVERIFIED_MAX`](crate::limits::UNVERIFIED_MAX) nodes wait
    /// already; [`Refusal::TableFull`]; [`Refusal::RecentlyPinged`] if the node has proven no endpoint and the
    /// budget of pings to its address is used up (attack D10).
    pub fn add_node(&mut self, cx: &mut Cx<'_>, contact: Contact) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        if self.is_unknown(cx, &contact)? {
            if !self.admits_ping(cx, &contact) {
                return Err(CommandError::Refused(Refusal::RecentlyPinged));
            }
            self.unverified.push_back(Unverified { contact, is_admitted: true });
            self.advance(cx);
        }
        Ok(())
    }

    /// Pings a node. Ends in `Event::Pong` or `Event::CallFailed`.
    ///
    /// # Errors
    /// If the contact has no UDP port, is filtered or is this node, if too many calls are open, or after the end.
    pub fn ping(&mut self, cx: &mut Cx<'_>, command: CommandId, contact: Contact) -> Result<(), CommandError> {
        self.start_command(cx, command, contact, Request::Ping)
    }

    /// Asks a node for its record, after an exchange of endpoint proofs. Ends in `Event::Record` or `Event::CallFailed`.
    ///
    /// # Errors
    /// As [`Discv4::ping`].
    pub fn request_record(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
    ) -> Result<(), CommandError> {
        self.start_command(cx, command, contact, Request::EnrRequest)
    }

    /// Asks one node for its nearest nodes to `target`, after an exchange of endpoint proofs. Ends in `Event::Nodes` or
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
        self.start_command(cx, command, contact, Request::FindNode { target })
    }

    /// Looks up the nearest nodes to `target`. With a command it ends in `Event::Nodes`, or at shutdown in
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
        self.start_lookup(command, target)?;
        self.advance(cx);
        Ok(())
    }

    /// Replaces our record. Later pings and pongs carry its sequence number, and EnrRequests are answered with it. Sends
    /// nothing; requests in flight are not affected.
    pub fn set_record(&mut self, record: Record) {
        self.local.record = Some(record);
    }

    /// Replaces the endpoint that we claim. Later pings carry it, also those of calls that wait already. Requests in flight are
    /// answered as before, and endpoint proofs, table and lookups stay: other nodes see our new address as the source of our
    /// datagrams, and then require a proof for it.
    pub fn set_endpoint(&mut self, endpoint: Endpoint) {
        self.local.endpoint = endpoint;
    }

    /// Whether commands that were refused as [`CommandError::Busy`] would be taken again: every queue is at most half full.
    pub fn has_room(&self) -> bool {
        self.unverified.len() <= crate::limits::UNVERIFIED_MAX / 2
            && self.calls.len() <= crate::limits::CALLS_MAX / 2
            && self.lookups.len() < crate::limits::LOOKUPS_MAX
    }

    /// Replaces the bootnodes. They are asked from the next round of lookups on; while the table is empty, that round is due
    /// at once and the pauses between rounds begin anew. Lookups under way keep the nodes that they started from, earlier
    /// bootnodes that wait for a ping still get it, and no node leaves the table.
    pub fn set_bootnodes(&mut self, bootnodes: Vec<Contact>) {
        self.config.bootnodes = bootnodes;
        if self.table.is_empty() && !self.is_passive {
            self.refresh.restart(self.not_before);
        }
    }

    /// Removes the nodes that the filter no longer permits.
    pub fn filter_changed(&mut self, cx: &mut Cx<'_>) {
        let Cx { filter, .. } = *cx;
        self.unverified.retain(|node| filter.permits(node.contact.ip()));
        let changes = self.table.retain(|contact| filter.permits(contact.ip()), cx.now, cx.rng);
        self.emit_changes(cx, changes);
    }

    /// At most `max` live nodes to dial, drawn at random across the buckets (attack D12).
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<Candidate> {
        self.table.candidates(rng, max)
    }

    /// The known nodes.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Our identity.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The endpoint proofs.
    pub fn bonds(&self) -> &Bonds {
        &self.bonds
    }

    /// The requests in flight.
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// Ends the machine: every open command fails with [`CallFailure::Closed`]; afterwards no deadline is due and no datagram
    /// is answered.
    pub fn shutdown(&mut self, cx: &mut Cx<'_>) {
        self.lifecycle = Lifecycle::Closed;
        self.unverified.clear();
        let calls = self.calls.end_all().filter_map(|call| match call.purpose {
            Purpose::Command(command) => Some(command),
            _ => None,
        });
        let lookups = core::mem::take(&mut self.lookups);
        for command in calls.chain(lookups.into_iter().filter_map(|active| active.command)) {
            cx.out.emit(Event::CallFailed { command, why: CallFailure::Closed });
        }
    }

    fn start_command(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
        request: Request,
    ) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        self.start_request(cx, contact, request, Purpose::Command(command))
    }

    /// Adds a node that has proven its endpoint to the table, if there is room.
    fn insert_into_table(&mut self, cx: &mut Cx<'_>, contact: Contact) {
        if self.is_passive || !cx.filter.permits(contact.ip()) {
            return;
        }
        let change = self.table.insert(contact, cx.now, cx.rng);
        if change.is_some() && self.table.len() == 1 {
            self.refresh.on_first_node(&self.config.schedule, cx.now, cx.rng);
        }
        self.emit_changes(cx, change);
    }

    /// Emits the events of the table's changes.
    fn emit_changes(&mut self, cx: &mut Cx<'_>, changes: impl IntoIterator<Item = Change>) {
        for change in changes {
            match change {
                Change::Added(contact) => {
                    cx.out.emit(Event::NodeAdded { contact });
                    self.growth = Growth::Grew;
                }
                Change::Removed(contact) => {
                    cx.out.emit(Event::NodeRemoved { id: contact.id() });
                    if self.table.is_empty() {
                        self.refresh.on_last_node_left(&self.config.schedule, cx.now);
                    }
                }
            }
        }
    }

    /// Refuses a contact to which no request can be sent.
    fn check_contact(&self, cx: &Cx<'_>, contact: &Contact) -> Result<(), CommandError> {
        if contact.key() == self.local.key {
            Err(CommandError::Refused(Refusal::ToSelf))
        } else if contact.udp() == 0 {
            Err(CommandError::NoPort)
        } else if !cx.filter.permits(contact.ip()) {
            Err(CommandError::Refused(Refusal::Filtered))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests;
