//! The state of a node, as text and as JSON: everything that it shows.

mod condition;

use std::fmt;

use peerless::contract::{Action, Devp2p, Event, Reason, Stage};
use peerless::discv4::calls;
use peerless::node::{Node, SessionView};
use peerless::peers::Banned;
use peerless::time::Instant;
use serde::Serialize;

pub use self::condition::{Condition, InvalidCondition};
use crate::format::Recordable;

/// The state of a node at one time. The texts are for reading, not for parsing.
#[derive(Clone, Debug, Serialize)]
pub struct State {
    /// The time, in microseconds of the driver's clock.
    pub now_us: u64,
    /// The node's id.
    pub id: String,
    /// The sequence number of its record.
    pub record_seq: u64,
    /// The discovery table.
    pub table: Vec<TableEntry>,
    /// Endpoint proofs, lapsed ones included.
    pub proofs: usize,
    /// Discovery's open calls.
    pub calls: Vec<CallView>,
    /// Connections.
    pub connections: Vec<Connection>,
    /// Scores, with the reasons for them.
    pub scores: Vec<Score>,
    /// Bans in force.
    pub bans: Vec<BanView>,
    /// Static and trusted peers.
    pub declared: Vec<String>,
    /// The next deadline.
    pub deadline: Option<Deadline>,
    /// Datagrams and frames so far.
    pub traffic: Traffic,
}

/// An entry of the discovery table.
#[derive(Clone, Debug, Serialize)]
pub struct TableEntry {
    /// Its id.
    pub id: String,
    /// Its discv4 endpoint.
    pub addr: String,
    /// Checks that it passed.
    pub liveness: u64,
}

/// An open call of discovery.
#[derive(Clone, Debug, Serialize)]
pub struct CallView {
    /// The id of the node that is asked.
    pub id: String,
    /// Its endpoint.
    pub addr: String,
    /// The request.
    pub question: &'static str,
    /// Its purpose.
    pub purpose: String,
    /// Its state.
    pub stage: &'static str,
}

/// A connection.
#[derive(Clone, Debug, Serialize)]
pub struct Connection {
    /// Its id.
    pub conn: u64,
    /// The peer's id, expected or proven.
    pub id: Option<String>,
    /// The other end.
    pub addr: String,
    /// The side that dialled.
    pub direction: String,
    /// The stage that it has reached.
    pub stage: String,
    /// Whether its end is decided.
    pub is_ending: bool,
    /// The state of its slot.
    pub slot: Option<&'static str>,
    /// The peer's client.
    pub client: Option<String>,
    /// The shared capabilities.
    pub shared: Vec<String>,
    /// Bytes that wait for the socket.
    pub outbound_bytes: usize,
}

/// The score of one peer.
#[derive(Clone, Debug, Serialize)]
pub struct Score {
    /// The peer.
    pub id: String,
    /// Its score now.
    pub score: i32,
    /// The last changes, oldest first.
    pub ledger: Vec<LedgerLine>,
}

/// One change of a score.
#[derive(Clone, Debug, Serialize)]
pub struct LedgerLine {
    /// The time, in microseconds.
    pub at_us: u64,
    /// The change in points.
    pub delta: i32,
    /// The score after it.
    pub score: i32,
    /// The reason.
    pub reason: String,
}

/// A ban.
#[derive(Clone, Debug, Serialize)]
pub struct BanView {
    /// The target.
    pub who: String,
    /// Its end, in microseconds.
    pub until_us: u64,
    /// The reason for the charge that led to it.
    pub reason: String,
}

/// The next deadline.
#[derive(Clone, Debug, Serialize)]
pub struct Deadline {
    /// The time, in microseconds.
    pub at_us: u64,
    /// Its reason.
    pub reason: String,
}

/// Counters.
#[derive(Clone, Debug, Serialize)]
pub struct Traffic {
    /// Datagrams received.
    pub datagrams_in: u64,
    /// Datagrams sent.
    pub datagrams_out: u64,
    /// Datagrams dropped, by reason.
    pub dropped: Vec<(String, u64)>,
    /// Frames received.
    pub frames_in: u64,
    /// Frames sent.
    pub frames_out: u64,
    /// Connections that have ended, by direction and cause.
    pub ended: Vec<(String, u64)>,
}

impl State {
    /// The state of `node` at `now`.
    pub fn of(node: &Node, now: Instant) -> Self {
        let discovery = node.discovery().discv4();
        let stats = node.stats();
        Self {
            now_us: now.as_micros(),
            id: node.contact().id().to_string(),
            record_seq: node.record().seq(),
            table: discovery.map_or(Vec::new(), |discovery| discovery.table().entries().map(table_entry).collect()),
            proofs: discovery.map_or(0, |discovery| discovery.bonds().len()),
            calls: discovery.map_or(Vec::new(), |discovery| discovery.calls().iter().map(call).collect()),
            connections: node.sessions().map(|session| connection(&session)).collect(),
            scores: scores(node, now),
            bans: node.peers().bans().iter(now).map(|(who, ban)| ban_view(who, ban)).collect(),
            declared: node.peers().declared().map(|(contact, kind)| format!("{kind:?} {contact}")).collect(),
            deadline: node
                .poll_timeout()
                .map(|(at, reason)| Deadline { at_us: at.as_micros(), reason: describe_reason(&reason) }),
            traffic: Traffic {
                datagrams_in: stats.datagrams_in.count,
                datagrams_out: stats.datagrams_out.count,
                dropped: stats.datagrams_dropped.iter().map(|(why, count)| (why.to_string(), *count)).collect(),
                frames_in: stats.frames_in.count,
                frames_out: stats.frames_out.count,
                ended: stats
                    .ended
                    .iter()
                    .map(|((direction, end), count)| (format!("{direction}, {end}"), *count))
                    .collect(),
            },
        }
    }
}

fn table_entry(entry: &peerless::kad::table::Entry) -> TableEntry {
    let contact = entry.contact();
    TableEntry { id: contact.id().to_string(), addr: contact.udp_addr().to_string(), liveness: entry.liveness().into() }
}

fn call(call: &calls::Call) -> CallView {
    CallView {
        id: call.contact.id().to_string(),
        addr: call.contact.udp_addr().to_string(),
        question: match call.request {
            calls::Request::Ping => "ping",
            calls::Request::FindNode { .. } => "find node",
            calls::Request::EnrRequest => "record",
        },
        purpose: match call.purpose {
            calls::Purpose::Command(command) => format!("command {}", command.0),
            calls::Purpose::Lookup(_) => "lookup".to_owned(),
            calls::Purpose::Bond => "endpoint proof".to_owned(),
            calls::Purpose::Verify => "first contact".to_owned(),
            calls::Purpose::PingBack => "ping back".to_owned(),
            calls::Purpose::Check => "liveness check".to_owned(),
            calls::Purpose::Record => "newer record".to_owned(),
        },
        stage: match call.state {
            calls::CallState::AwaitingPong => "waits for an endpoint proof",
            calls::CallState::AwaitingPingBack => "waits to be pinged back",
            calls::CallState::Queued => "queued",
            calls::CallState::InFlight { .. } => "asked",
        },
    }
}

fn connection(session: &SessionView<'_>) -> Connection {
    let slot = Some(match session.place {
        _ if session.is_ending => "over",
        None => "pending",
        Some(_) if session.stage == Stage::Established => "established",
        Some(_) => "admitted",
    });
    Connection {
        conn: session.conn.0,
        id: session.id.map(|id| id.to_string()),
        addr: session.addr.to_string(),
        direction: session.direction.to_string(),
        stage: session.stage.to_string(),
        is_ending: session.is_ending,
        slot,
        client: session.hello.map(|hello| hello.client.clone()),
        shared: session.shared.iter().map(|shared| shared.capability.to_string()).collect(),
        outbound_bytes: session.outbound_bytes,
    }
}

fn scores(node: &Node, now: Instant) -> Vec<Score> {
    let ledgers = node.peers().ledgers().iter();
    let score = ledgers.map(|(id, ledger)| Score {
        id: id.to_string(),
        score: ledger.score(now),
        ledger: ledger
            .entries()
            .map(|entry| LedgerLine {
                at_us: entry.at.as_micros(),
                delta: entry.delta,
                score: entry.score,
                reason: entry.reason.to_string(),
            })
            .collect(),
    });
    score.collect()
}

fn ban_view(who: &Banned, ban: &peerless::peers::Ban) -> BanView {
    let who = match who {
        Banned::Id(id) => id.to_string(),
        Banned::Host(ip) => ip.to_string(),
        _ => format!("{who:?}"),
    };
    BanView { who, until_us: ban.until.as_micros(), reason: ban.reason.to_string() }
}

fn describe_reason(reason: &Reason) -> String {
    match reason {
        Reason::Discovery(timer) => format!("discovery: {timer:?}").to_lowercase(),
        Reason::Dial => "dial".to_owned(),
        Reason::Conn(conn, timer) => format!("connection {conn}: {}", format!("{timer:?}").to_lowercase()),
        Reason::Name => "name of a bootnode".to_owned(),
        Reason::Behaviour => "behaviour".to_owned(),
        Reason::Backlog => "backlog".to_owned(),
        reason => format!("{reason:?}").to_lowercase(),
    }
}

/// Whether a session is established and its end is not decided.
fn is_in_session(session: &SessionView<'_>) -> bool {
    session.stage == Stage::Established && !session.is_ending
}

fn seconds(micros: u64) -> String {
    format!("{}.{:06}s", micros / 1_000_000, micros % 1_000_000)
}

/// A short form of an id.
fn short(id: &str) -> &str {
    id.get(..16).unwrap_or(id)
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "node {} at {}, record {}", short(&self.id), seconds(self.now_us), self.record_seq)?;
        match &self.deadline {
            Some(Deadline { at_us, reason }) => writeln!(f, "next deadline: {}, {reason}", seconds(*at_us))?,
            None => writeln!(f, "no deadline")?,
        }
        writeln!(f, "table: {} nodes, {} endpoint proofs", self.table.len(), self.proofs)?;
        for TableEntry { id, addr, liveness } in &self.table {
            writeln!(f, "  {} {addr}, {liveness} checks passed", short(id))?;
        }
        writeln!(f, "calls: {}", self.calls.len())?;
        for CallView { id, addr, question, purpose, stage } in &self.calls {
            writeln!(f, "  {question} to {} {addr}, for {purpose}: {stage}", short(id))?;
        }
        writeln!(f, "connections: {}", self.connections.len())?;
        for connection in &self.connections {
            writeln!(f, "  {connection}")?;
        }
        writeln!(f, "scores: {}", self.scores.len())?;
        for Score { id, score, ledger } in &self.scores {
            writeln!(f, "  {} {score}", short(id))?;
            for LedgerLine { at_us, delta, score, reason } in ledger {
                writeln!(f, "    {} {delta:+} to {score}: {reason}", seconds(*at_us))?;
            }
        }
        writeln!(f, "bans: {}", self.bans.len())?;
        for BanView { who, until_us, reason } in &self.bans {
            writeln!(f, "  {} until {}: {reason}", short(who), seconds(*until_us))?;
        }
        for peer in &self.declared {
            writeln!(f, "static or trusted: {peer}")?;
        }
        let Traffic { datagrams_in, datagrams_out, dropped, frames_in, frames_out, ended } = &self.traffic;
        write!(f, "datagrams: {datagrams_in} in, {datagrams_out} out; frames: {frames_in} in, {frames_out} out")?;
        for (title, counts) in [("dropped", dropped), ("ended", ended)] {
            for (reason, count) in counts {
                write!(f, "\n  {title} {count}: {reason}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { conn, id, addr, direction, stage, is_ending, slot, client, shared, outbound_bytes } = self;
        let id = id.as_deref().map_or("unknown peer", short);
        write!(f, "#{conn} {direction} {id} {addr}, {stage}{}", if *is_ending { ", ending" } else { "" })?;
        if let Some(slot) = slot {
            write!(f, ", slot {slot}")?;
        }
        if let Some(client) = client {
            write!(f, ", {client:?} [{}]", shared.join(" "))?;
        }
        if *outbound_bytes > 0 {
            write!(f, ", {outbound_bytes} bytes to write")?;
        }
        Ok(())
    }
}

/// One line about an action of a node.
pub fn describe(action: &Action<'_>) -> String {
    describe_as::<Devp2p>(action)
}

/// One line about an action of a machine that speaks the language `L`.
pub fn describe_as<L: Recordable>(action: &Action<'_, L::Event<'_>>) -> String {
    match action {
        Action::Send { to, bytes, .. } => format!("send {} bytes to {to}", bytes.len()),
        Action::Dial { conn, to } => format!("dial {to} as {conn}"),
        Action::Flush { conn } => format!("flush {conn}"),
        Action::Close { conn } => format!("close {conn}"),
        Action::Query { id, what } => format!("query {}: {what:?}", id.0),
        Action::Emit(event) => L::describe_event(event),
    }
}

pub(crate) fn describe_event(event: &Event<'_>) -> String {
    match event {
        Event::NodeAdded { contact } => format!("node added: {:?} at {}", contact.id(), contact.udp_addr()),
        Event::NodeRemoved { id } => format!("node removed: {id:?}"),
        Event::Hello { conn, contact, hello, .. } => format!("hello of {conn}: {:?}, {:?}", contact.id(), hello.client),
        Event::Established { conn, id, status } => format!("established {conn}: {id:?}, eth/{}", status.version),
        Event::Request { conn, id, body, .. } => format!("request {id:#04x} of {conn}, {} bytes", body.len()),
        Event::Response { conn, id, body, .. } => format!("response {id:#04x} of {conn}, {} bytes", body.len()),
        Event::Message { conn, capability, id, payload } => {
            format!("message {id:#04x} of {capability} from {conn}, {} bytes", payload.len())
        }
        Event::Ended { conn, id: Some(id), end, .. } => format!("{conn} with {id:?} {end}"),
        Event::Ended { conn, addr, end, .. } => format!("{conn} with an unknown peer at {addr} {end}"),
        Event::Scored { id, delta, score, reason } => format!("score of {id:?} {delta:+} to {score}: {reason}"),
        Event::Banned { id, duration, reason } => format!("banned {id:?} for {} s: {reason}", duration.as_secs()),
        event => format!("{event:?}"),
    }
}
