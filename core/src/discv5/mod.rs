//! discv5.1, node discovery over UDP with encrypted sessions (`discv5-wire.md`, `discv5-theory.md`): answers other nodes, keeps
//! the table of live ones with their records, looks up nodes, carries requests of applications.
//!
//! [`Discv5`] composes smaller machines that own one thing each: [`sessions`] the keys, [`challenges`] our challenges that wait,
//! [`handshake`] our answers to those of others, [`calls`] the requests in flight, and of [`kad`](crate::kad) the table, the
//! lookups and the budgets of sources. This file has the interface and the timers; `inbound` handles datagrams, `answers`
//! others' requests, `requests` drives the calls, `lookups` the lookups.
//!
//! Topics are decoded ([`wire::discv5`](crate::wire::discv5)) and not served.

mod answers;
pub mod calls;
pub mod challenges;
pub mod handshake;
mod inbound;
mod lookups;
pub mod records;
mod requests;
pub mod sessions;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use crate::contract::{
    CallFailure, CommandError, CommandId, Cx, DiscoveryTimer, Event, Prefetch, Refusal, SocketId, TalkId,
};
use crate::crypto::discv5::Nonce;
use crate::crypto::{Crypto, NodeId, PublicKey, SecretKey};
use crate::kad::budgets::{Budget, Budgets, Rate};
use crate::kad::limiter::Limiter;
use crate::kad::lookup::Lookup;
use crate::kad::schedule::{Refresh, Schedule};
use crate::kad::table::{Change, Table};
use crate::kad::{Candidate, Growth, Statement};
use crate::limits::{self, TALK_BYTES_MAX};
use crate::netfilter::endpoint_bytes;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::discv5::{MESSAGE_BYTES_MAX, Message, Route, seal_ordinary};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

use calls::{Calls, Purpose, Request};
use challenges::Challenges;
use records::{Records, StoredRecord};
use sessions::{PeerHash, Sessions};

// Type, request id and three list or string headers take the rest.
const _: () = assert!(TALK_BYTES_MAX == MESSAGE_BYTES_MAX - (1 + 9 + 3 * 3));

/// The settings.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The nodes to start from. Without any, nodes that contact us enter the table at once; otherwise only after the first
    /// refresh (attack D20).
    pub bootnodes: Vec<Contact>,
    /// When nodes are looked up and checked.
    pub schedule: Schedule,
    /// The applications' protocols whose requests are emitted as `Event::TalkRequest`. Others are answered with nothing.
    pub talk_protocols: BTreeSet<Vec<u8>>,
}

/// Our own identity.
#[derive(Clone)]
pub struct Local {
    secret: SecretKey,
    key: PublicKey,
    id: NodeId,
    record: Record,
}

impl Local {
    /// The node of `secret`, whose record is `record`.
    pub fn new(crypto: &dyn Crypto, secret: SecretKey, record: Record) -> Self {
        let key = crypto.public_key(&secret);
        Self { secret, id: crypto.node_id(&key), key, record }
    }

    /// Our public key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Our node id.
    pub fn id(&self) -> &NodeId {
        &self.id
    }

    /// Our record.
    pub fn record(&self) -> &Record {
        &self.record
    }
}

/// Omits the secret key.
impl fmt::Debug for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Local").field("id", &self.id).field("record", &self.record).finish_non_exhaustive()
    }
}

/// The id of a lookup. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct LookupId(u64);

/// A node that waits to be pinged.
#[derive(Debug)]
struct Unverified {
    contact: Contact,
    record: Option<StoredRecord>,
    /// Whether its ping has been taken out of the budget of its address (attack D10).
    is_admitted: bool,
}

/// A lookup under way.
#[derive(Debug)]
struct ActiveLookup {
    id: LookupId,
    lookup: Lookup,
    /// The command that it answers, if any.
    command: Option<CommandId>,
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

/// The discv5 machine.
#[derive(Debug)]
pub struct Discv5 {
    config: Config,
    local: Local,
    sessions: Sessions,
    challenges: Challenges,
    calls: Calls,
    table: Table<Records>,
    limiter: Limiter,
    /// Of requests within sessions, by endpoint.
    requests: Budgets,
    /// Of identity proofs of strangers, of all together.
    proofs: Budget,
    /// Oldest first, which is the order of their ids; at most [`limits::LOOKUPS_MAX`].
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
    /// What the present datagram says about our endpoint.
    statement: Option<Statement>,
    /// No deadline is reported before this: a microsecond after the last turn.
    not_before: Instant,
}

impl Discv5 {
    /// Creates a machine whose first timeout is due at once.
    pub fn new(cx: &mut Cx<'_>, config: Config, local: Local) -> Self {
        let rate = Rate::per_second(limits::SESSION_REQUESTS_PER_SECOND, limits::SESSION_REQUESTS_BURST);
        Self {
            sessions: Sessions::default(),
            challenges: Challenges::default(),
            calls: Calls::default(),
            table: Table::new(local.id, &config.schedule),
            limiter: Limiter::new(cx.rng),
            requests: Budgets::new(rate, limits::BUDGET_ACCOUNTS_MAX),
            proofs: Budget::new(Rate::per_second(limits::PROOFS_PER_SECOND, limits::PROOFS_BURST)),
            lookups: Vec::new(),
            lookups_started: 0,
            unverified: VecDeque::new(),
            refresh: Refresh::new(cx.now),
            lifecycle: if config.bootnodes.is_empty() { Lifecycle::Running } else { Lifecycle::New },
            is_passive: false,
            growth: Growth::None,
            statement: None,
            not_before: cx.now,
            config,
            local,
        }
    }

    /// Stops everything that the machine does by itself, for a program that asks a few nodes and leaves: it looks up nothing,
    /// keeps no table, verifies and checks no node, and answers no requests. To be called before the first input.
    pub fn set_passive(&mut self) {
        self.is_passive = true;
        self.refresh.stop();
        self.lifecycle = Lifecycle::Running;
    }

    /// The next deadline. Strictly later than the last [`Discv5::handle_timeout`]; `None` after [`Discv5::shutdown`].
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        let deadlines = [
            (self.calls.next_due(), DiscoveryTimer::Call),
            (self.table.check_due(), DiscoveryTimer::Revalidate),
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
        for contact in self.table.pop_checks(cx.now, cx.rng).into_iter().flatten() {
            // A check that cannot be made now is not failed: the node may be drawn again.
            _ = self.start_request(cx, contact, Request::Ping, Purpose::Check);
        }
        self.start_round(cx);
        self.advance(cx);
        core::mem::take(&mut self.growth)
    }

    /// Shows what a datagram will read. See [`Node::prefetch`](crate::node::Node::prefetch).
    pub fn prefetch(&self, depth: usize, memory: &mut impl Prefetch) {
        if depth == 0 {
            memory.prefetch(self);
        }
    }

    /// Shows what [`Discv5::handle_timeout`] will read. See [`Node::prefetch`](crate::node::Node::prefetch).
    pub fn prefetch_timeout(&self, depth: usize, memory: &mut impl Prefetch) {
        if depth == 0 {
            memory.prefetch(self);
            self.table.prefetch_deadlines(memory);
        }
    }

    /// Adds a node, which is pinged in its turn and enters the table if it answers. Changes nothing for a node that is in the
    /// table, waits or is being pinged already.
    ///
    /// # Errors
    /// As [`Discv5::ping`], but [`CommandError::Busy`] if [`UNVERIFIED_MAX`](limits::UNVERIFIED_MAX) nodes wait already;
    /// [`Refusal::TableFull`]; [`Refusal::RecentlyPinged`] if the node has proven no endpoint and the budget of pings to its
    /// address is used up (attack D10).
    pub fn add_node(&mut self, cx: &mut Cx<'_>, contact: Contact) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        if self.is_unknown(cx, &contact)? {
            if !self.admits_ping(cx, &contact) {
                return Err(CommandError::Refused(Refusal::RecentlyPinged));
            }
            self.unverified.push_back(Unverified { contact, record: None, is_admitted: true });
            self.advance(cx);
        }
        Ok(())
    }

    /// Pings a node. Ends in `Event::Pong` or `Event::CallFailed`.
    ///
    /// # Errors
    /// If the contact has no UDP port, is filtered or is this node, if too many calls are open, or after the end.
    pub fn ping(&mut self, cx: &mut Cx<'_>, command: CommandId, contact: Contact) -> Result<(), CommandError> {
        self.start_command(cx, contact, Request::Ping, Purpose::Command(command))
    }

    /// Asks a node for its record. Ends in `Event::Record` or `Event::CallFailed`.
    ///
    /// # Errors
    /// As [`Discv5::ping`].
    pub fn request_record(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
    ) -> Result<(), CommandError> {
        self.start_command(cx, contact, Request::own_record(), Purpose::RecordCommand(command))
    }

    /// Asks one node for nodes at distances from it. Ends in `Event::Nodes` or `Event::CallFailed`.
    ///
    /// # Errors
    /// As [`Discv5::ping`]; [`CommandError::Distances`] if there are none, one is above 256, or they are more than fit a packet.
    pub fn find_node(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
        distances: &[u16],
    ) -> Result<(), CommandError> {
        let is_valid = (1..=257).contains(&distances.len()) && distances.iter().all(|distance| *distance <= 256);
        if !is_valid {
            return Err(CommandError::Distances);
        }
        self.start_command(cx, contact, Request::FindNode { distances: distances.into() }, Purpose::Command(command))
    }

    /// Sends a request of an application. Ends in `Event::TalkResponse` or `Event::CallFailed`.
    ///
    /// # Errors
    /// As [`Discv5::ping`]; [`CommandError::TooLarge`] if protocol and request together exceed [`TALK_BYTES_MAX`].
    pub fn talk(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        contact: Contact,
        protocol: &[u8],
        request: &[u8],
    ) -> Result<(), CommandError> {
        if protocol.len() + request.len() > TALK_BYTES_MAX {
            return Err(CommandError::TooLarge);
        }
        let request = Request::Talk { protocol: protocol.into(), request: request.into() };
        self.start_command(cx, contact, request, Purpose::Command(command))
    }

    /// Answers a request that came as `Event::TalkRequest`.
    ///
    /// # Errors
    /// [`CommandError::TooLarge`] if the answer exceeds [`TALK_BYTES_MAX`]; [`CommandError::UnknownRequest`] if the session with
    /// the node has ended; after the end.
    pub fn respond(&mut self, cx: &mut Cx<'_>, id: &TalkId, response: &[u8]) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        if response.len() > TALK_BYTES_MAX {
            return Err(CommandError::TooLarge);
        }
        let message = answers::talk_response(id, response);
        let sent = self.send_within_session(cx, &id.node, id.addr, &message);
        sent.map(|_| ()).ok_or(CommandError::UnknownRequest)
    }

    /// Looks up the nearest nodes to `target`. With a command it ends in `Event::Nodes`, or at shutdown in
    /// `Event::CallFailed`; without one it only fills the table.
    ///
    /// # Errors
    /// [`CommandError::Busy`] if too many lookups run, [`CommandError::ShuttingDown`] after the end.
    pub fn lookup(&mut self, cx: &mut Cx<'_>, command: Option<CommandId>, target: NodeId) -> Result<(), CommandError> {
        self.start_lookup(command, target)?;
        self.advance(cx);
        Ok(())
    }

    /// Replaces our record, which other nodes fetch when they see its number.
    pub fn set_record(&mut self, record: Record) {
        self.local.record = record;
    }

    /// Whether commands that were refused as [`CommandError::Busy`] would be taken again: every queue is at most half full.
    pub fn has_room(&self) -> bool {
        self.unverified.len() <= limits::UNVERIFIED_MAX / 2
            && self.calls.len() <= limits::CALLS_MAX / 2
            && self.lookups.len() < limits::LOOKUPS_MAX
    }

    /// Replaces the bootnodes. They are asked from the next round of lookups on; while the table is empty, that round is due
    /// at once and the pauses between rounds begin anew. No node leaves the table.
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
    pub fn table(&self) -> &Table<Records> {
        &self.table
    }

    /// Our identity.
    pub fn local(&self) -> &Local {
        &self.local
    }

    /// The sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Our challenges that wait for an answer.
    pub fn challenges(&self) -> &Challenges {
        &self.challenges
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
            Purpose::Command(command) | Purpose::RecordCommand(command) => Some(command),
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
        contact: Contact,
        request: Request,
        purpose: Purpose,
    ) -> Result<(), CommandError> {
        if self.lifecycle == Lifecycle::Closed {
            return Err(CommandError::ShuttingDown);
        }
        self.start_request(cx, contact, request, purpose)
    }

    /// Seals and sends a message. Returns its nonce; `None` without a session.
    fn send_within_session(
        &mut self,
        cx: &mut Cx<'_>,
        to: &NodeId,
        at: SocketAddr,
        message: &Message<'_>,
    ) -> Option<Nonce> {
        let peer = self.peer_hash(to, at);
        let iv = cx.rng.bytes();
        let (key, nonce) = self.sessions.seal(peer, cx.now, cx.rng)?;
        seal_ordinary(cx.out.tail(), Route { from: &self.local.id, to }, iv, &nonce, key, message);
        // A datagram that cannot be sent counts as lost.
        cx.send_staged(SocketId::MAIN, at);
        Some(nonce)
    }

    /// A node at an endpoint.
    fn peer_hash(&self, id: &NodeId, at: SocketAddr) -> PeerHash {
        let mut key = [0; 51];
        key[..32].copy_from_slice(&id.0);
        key[32..].copy_from_slice(&endpoint_bytes(at));
        PeerHash(self.limiter.hash(&key))
    }

    /// Adds a node that has proven its endpoint to the table, with its record, if there is room.
    fn insert_into_table(&mut self, cx: &mut Cx<'_>, contact: Contact, seq: u64, record: StoredRecord) {
        if self.is_passive || !cx.filter.permits(contact.ip()) {
            return;
        }
        let change = self.table.insert(contact, cx.now, cx.rng);
        if change.is_some() {
            _ = self.table.update_record(&contact.id(), seq, Some(record));
            self.table.set_at_record(&contact.id(), true);
            if self.table.len() == 1 {
                self.refresh.on_first_node(&self.config.schedule, cx.now, cx.rng);
            }
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
                    // When it contacts us again, a handshake proves its endpoint anew and brings its record.
                    self.sessions.remove(self.peer_hash(&contact.id(), contact.udp_addr()));
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
