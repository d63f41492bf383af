//! Invariants of every honest node, whatever its peers do: checked while a world runs, for each host separately.
//!
//! After every step: each connection has one slot and one pending end, and no limit of slots is exceeded. When
//! connections begin or end, and every [`FULL_CHECK_STEPS`] steps: the bounds of the table and of all memory, and the
//! counts of sessions. With every datagram that is sent: an address without endpoint proof gets pings and pongs only,
//! and not more bytes than [`AMPLIFICATION`] times those received from it. The world itself checks that deadlines
//! advance.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use peerless::contract::{Action, ConnId, End, EndReason, Event, Input, Side, Stage, Tap};
use peerless::crypto::NodeId;
use peerless::kad::table::Bucket;
use peerless::limits;
use peerless::node::Node;
use peerless::time::{Duration, Instant};
use peerless::wire::discv4::{Datagram, Kind, Packet};

use super::actor::Actor;
use super::probe::Probe;
use crate::HostId;
use crate::world::Watch;

/// Steps between two full checks of a host without new or ended connections.
pub const FULL_CHECK_STEPS: u32 = 64;
/// Bytes to an address without proof, per byte received from it: a pong and a ping for the shortest ping.
pub const AMPLIFICATION: u64 = 3;
/// Bytes that may be sent to such an address beyond that in a day (attacks D1, D10).
pub const UNASKED_BYTES: u64 = limits::UNPROVEN_BYTES_MAX as u64;
/// The largest ping: one more may be sent to a bootnode in each [`limits::NAMED_PING_INTERVAL`], however often the node finds
/// and loses others.
const PING_BYTES_MAX: u64 = 180;

/// The traffic between a node and an address without endpoint proof.
#[derive(Clone, Debug)]
struct Account {
    since: Instant,
    bytes_in: u64,
    bytes_out: u64,
    /// The hashes of the last pings to the address.
    pings: [[u8; 32]; 4],
    pings_sent: usize,
}

/// An address: proven, or its traffic so far.
#[derive(Clone, Debug)]
enum Standing {
    Proven,
    Unproven(Box<Account>),
}

impl Standing {
    fn new(since: Instant) -> Self {
        Self::Unproven(Box::new(Account { since, bytes_in: 0, bytes_out: 0, pings: [[0; 32]; 4], pings_sent: 0 }))
    }
}

/// Checks the invariants of one host; see the module.
#[derive(Debug, Default)]
pub struct Guard {
    /// Whether traffic by address is recorded, for which worlds of many thousand nodes have no memory.
    keeps_accounts: bool,
    /// The node's bootnodes: it pings them at its own interval while its table is empty.
    bootnodes: Vec<IpAddr>,
    standings: BTreeMap<IpAddr, Standing>,
    /// The time of the last dial by address.
    dialled: BTreeMap<IpAddr, Instant>,
    /// Ended connections of the current machine.
    ended_now: u64,
    /// Ended connections of all machines, by cause.
    pub(super) ended: BTreeMap<End, u64>,
    /// Established sessions of all machines.
    pub(super) established: u64,
    /// Dials of all machines.
    pub(super) dials: u64,
    /// The peers whose connections a machine ended for a fault.
    pub(super) accused: BTreeSet<NodeId>,
    /// When the sessions of the current machine were established.
    began: BTreeMap<ConnId, Instant>,
    /// The lives of all ended sessions.
    lives: Vec<Duration>,
    /// The lookup that is being measured.
    pub(super) probe: Option<Probe>,
    steps: u32,
    is_due: bool,
    violation: Option<String>,
}

impl Guard {
    /// Makes a guard of a node with these bootnodes, which records traffic by address or does not.
    pub fn new(keeps_accounts: bool, bootnodes: Vec<IpAddr>) -> Self {
        Self { keeps_accounts, bootnodes, ..Self::default() }
    }

    /// The lives of all sessions, of those that are not over up to `now`.
    pub(super) fn lives(&self, now: Instant) -> impl Iterator<Item = Duration> {
        self.lives.iter().copied().chain(self.began.values().map(move |began| now.since(*began)))
    }

    /// The established sessions that have ended.
    pub(super) fn sessions_ended(&self) -> usize {
        self.lives.len()
    }

    fn sends(&mut self, now: Instant, to: SocketAddr, bytes: &[u8]) {
        let kind = bytes.get(97).copied().unwrap_or(0);
        if !self.keeps_accounts {
            return;
        }
        let standing = self.standings.entry(to.ip()).or_insert_with(|| Standing::new(now));
        let Standing::Unproven(account) = standing else { return };
        account.bytes_out += bytes.len() as u64;
        if kind == Kind::Ping as u8 {
            account.pings[account.pings_sent % 4] = *bytes.first_chunk().unwrap_or(&[0; 32]);
            account.pings_sent += 1;
        } else if kind != Kind::Pong as u8 {
            let name = Kind::try_from(kind).map_or_else(|_| kind.to_string(), |kind| format!("{kind:?}"));
            self.violation.get_or_insert(format!("a {name} to {to}, which has proven nothing"));
            return;
        }
        let passed = now.since(account.since).as_secs();
        let days = 1 + passed / limits::UNPROVEN_REST.as_secs();
        let named = if self.bootnodes.contains(&to.ip()) { passed / limits::NAMED_PING_INTERVAL.as_secs() } else { 0 };
        let unasked = days * UNASKED_BYTES + named * PING_BYTES_MAX;
        if account.bytes_out > unasked + AMPLIFICATION * account.bytes_in {
            let (sent, had) = (account.bytes_out, account.bytes_in);
            self.violation.get_or_insert(format!("{sent} bytes to {to}, which has proven nothing and sent {had}"));
        }
    }

    fn receives(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        if !self.keeps_accounts {
            return;
        }
        let standing = self.standings.entry(from.ip()).or_insert_with(|| Standing::new(now));
        let Standing::Unproven(account) = standing else { return };
        account.bytes_in += bytes.len() as u64;
        if bytes.get(97) == Some(&(Kind::Pong as u8))
            && let Ok(datagram) = Datagram::split(bytes)
            && let Ok(Packet::Pong { ping_hash, .. }) = datagram.decode()
            && account.pings[..account.pings_sent.min(4)].contains(&ping_hash)
        {
            *standing = Standing::Proven;
        }
    }
}

impl Tap for Guard {
    fn input(&mut self, now: Instant, input: &Input<'_>) {
        match input {
            Input::Datagram { from, bytes, .. } => self.receives(now, *from, bytes),
            Input::Incoming { .. } | Input::Broken { .. } | Input::Eof { .. } => self.is_due = true,
            _ => {}
        }
    }

    fn action(&mut self, now: Instant, action: &Action<'_>) {
        match action {
            Action::Send { to, bytes, .. } => self.sends(now, *to, bytes),
            Action::Dial { to, .. } => {
                self.dials += 1;
                if let Some(last) = self.dialled.insert(to.ip(), now)
                    && now.since(last) < limits::REDIAL_INTERVAL
                {
                    self.violation.get_or_insert(format!("{to} is dialled at {last} and again at {now}"));
                }
                self.is_due = true;
            }
            Action::Emit(Event::Ended { conn, id, end, .. }) => {
                self.lives.extend(self.began.remove(conn).map(|began| now.since(began)));
                if end.by == Side::Us && matches!(end.why, EndReason::Fault(_)) {
                    self.accused.extend(id);
                }
                self.ended_now += 1;
                *self.ended.entry(*end).or_default() += 1;
                self.is_due = true;
            }
            Action::Emit(Event::Established { conn, .. }) => {
                self.began.insert(*conn, now);
                self.established += 1;
                self.is_due = true;
            }
            Action::Emit(Event::Nodes { nodes, queries, hops, .. }) => {
                if let Some(probe) = &mut self.probe {
                    probe.ends(now, nodes, *queries, *hops);
                }
            }
            Action::Emit(Event::CallFailed { .. }) => self.probe = None,
            _ => {}
        }
    }
}

impl Watch<Actor> for Guard {
    fn stepped(&mut self, _now: Instant, _host: HostId, machine: &Actor) -> Result<(), String> {
        let Some(node) = machine.honest() else { return Ok(()) };
        if let Some(what) = self.violation.take() {
            return Err(what);
        }
        self.steps += 1;
        if self.is_due || self.steps >= FULL_CHECK_STEPS {
            (self.is_due, self.steps) = (false, 0);
            check_connections(node, self.ended_now)?;
            check_bounds(node)?;
        }
        Ok(())
    }

    fn changed(&mut self, now: Instant, _host: HostId, machine: Option<&Actor>) {
        if machine.is_none() {
            self.lives.extend(std::mem::take(&mut self.began).into_values().map(|began| now.since(began)));
            // The endpoint proofs were lost with the machine.
            self.standings.clear();
            self.dialled.clear();
            (self.ended_now, self.probe) = (0, None);
        }
    }
}

fn demand(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Compares connections, slots and ends, three ways to count the same.
fn check_connections(node: &Node, ended: u64) -> Result<(), String> {
    let (peers, stats) = (node.peers(), node.stats());
    let (counts, sessions) = (peers.counts(), node.sessions().count());
    demand(counts.total() == sessions, || format!("{counts:?} for {sessions} connections"))?;
    let open = (stats.dials + stats.accepts).checked_sub(ended);
    demand(open == Some(sessions as u64), || {
        let (dials, accepts) = (stats.dials, stats.accepts);
        format!("{dials} dials and {accepts} accepts, {ended} ends, but {sessions} connections")
    })?;
    let live = node.sessions().filter(|session| session.stage == Stage::Established && !session.is_ending).count();
    demand(counts.established == live, || format!("{} places in session, {live} sessions", counts.established))?;
    let config = peers.config();
    let within = counts.inbound <= config.max_inbound()
        && counts.inbound + counts.outbound <= config.max_peers
        && counts.pending_inbound <= config.max_pending + config.max_inbound()
        && counts.pending_outbound <= config.max_pending + config.max_peers;
    demand(within, || format!("{counts:?} within {config:?}"))
}

/// Checks the bounds of `limits.rs` that are visible from outside.
fn check_bounds(node: &Node) -> Result<(), String> {
    let peers = node.peers();
    demand(peers.ledgers().len() <= limits::LEDGERS_MAX, || format!("{} ledgers", peers.ledgers().len()))?;
    demand(peers.bans().len() <= limits::BANS_MAX, || format!("{} bans", peers.bans().len()))?;
    for session in node.sessions() {
        let (conn, bytes) = (session.conn, session.outbound_bytes);
        let bytes_max = limits::OUTBOUND_BYTES_MAX + limits::MESSAGE_BYTES_MAX;
        demand(bytes <= bytes_max, || format!("{bytes} bytes wait for the socket of {conn}"))?;
    }
    let discovery = node.discovery();
    if let Some(discv4) = discovery.discv4() {
        check_table(discv4.calls().len(), discv4.table().buckets())?;
    }
    if let Some(discv5) = discovery.discv5() {
        check_table(discv5.calls().len(), discv5.table().buckets())?;
        let (sessions, challenges) = (discv5.sessions().len(), discv5.challenges().len());
        demand(sessions <= limits::SESSIONS_MAX, || format!("{sessions} discv5 sessions"))?;
        demand(challenges <= limits::CHALLENGES_MAX, || format!("{challenges} challenges"))?;
    }
    Ok(())
}

/// Checks the bounds of one discovery protocol.
fn check_table(calls: usize, buckets: &[Bucket]) -> Result<(), String> {
    demand(calls <= limits::CALLS_MAX, || format!("{calls} calls"))?;
    for bucket in buckets {
        let (entries, waiting) = (bucket.entries().len(), bucket.replacements().len());
        demand(entries <= limits::BUCKET_SIZE && waiting <= limits::REPLACEMENTS, || {
            format!("a bucket of {entries} entries and {waiting} replacements")
        })?;
    }
    Ok(())
}
