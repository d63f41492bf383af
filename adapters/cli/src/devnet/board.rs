//! What is known of the network while it runs: each node's last snapshot, and which peers were refused or banned, and why.
//!
//! Everything shown and summed up is derived from this; it neither draws nor drives anything.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use peerless::contract::{End, EndReason, Fault, Side};
use peerless::crypto::NodeId;
use peerless::wire::enode::Contact;
use serde::Serialize;

use super::honest::{News, Snapshot, What};
use crate::view::{Cell, Tone, bytes};

/// Events that are kept for the view: more than any terminal has lines for.
const RECENT: usize = 100;
/// Totals that are kept for the view's traffic.
const SAMPLES: usize = 65;

/// A node's name in reports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Name {
    Honest(usize),
    Foreign,
    Hostile(usize),
    Unknown,
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Honest(0) => f.write_str("bootnode"),
            Self::Honest(i) => write!(f, "node {i}"),
            Self::Foreign => f.write_str("foreign"),
            Self::Hostile(i) => write!(f, "hostile {}", i + 1),
            Self::Unknown => f.write_str("unknown peer"),
        }
    }
}

impl Serialize for Name {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An honest node.
pub(super) struct Row {
    pub(super) contact: Contact,
    pub(super) snapshot: Snapshot,
    /// What happened last.
    pub(super) last: Option<(Kind, String)>,
}

/// The state of the network as its nodes report it.
pub(super) struct Board {
    start: Instant,
    pub(super) rows: Vec<Row>,
    strangers: Vec<(Name, NodeId)>,
    refused: BTreeMap<String, u64>,
    banned: u64,
    /// The last connections, refusals and bans, the newest first.
    pub(super) recent: VecDeque<Note>,
    /// Bytes that honest nodes had received at the last looks, the newest last.
    totals: VecDeque<u64>,
}

/// What happened to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    Found,
    Connected,
    Refused,
    Banned,
}

impl Kind {
    fn verb(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Connected => "connected to",
            Self::Refused => "refused",
            Self::Banned => "banned",
        }
    }
}

/// An event, one line in reports.
#[derive(Clone, Serialize)]
pub(super) struct Note {
    event: Kind,
    t: f64,
    node: Name,
    peer: Name,
    what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { event, t, node, peer, what } = self;
        match event {
            Kind::Connected => write!(f, "{t:6.2}s  {node} and {peer} are connected ({what})"),
            event => write!(f, "{t:6.2}s  {node} {} {peer}: {what}", event.verb()),
        }
    }
}

impl Note {
    pub(super) fn kind(&self) -> Kind {
        self.event
    }
}

impl Board {
    /// Returns a board for honest nodes, and for foreign and hostile ones that must not get in session.
    pub(super) fn new(honest: &[Contact], strangers: Vec<(Name, NodeId)>) -> Self {
        let rows =
            honest.iter().map(|contact| Row { contact: *contact, snapshot: Snapshot::default(), last: None }).collect();
        let (refused, recent, totals) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        Self { start: Instant::now(), rows, strangers, refused, banned: 0, recent, totals }
    }

    /// Takes what a node reports, and returns it if it is an event; reports of the foreign node are ignored.
    pub(super) fn record(&mut self, news: News) -> Option<Note> {
        let News { node, what } = news;
        if node >= self.rows.len() {
            return None;
        }
        match what {
            What::Snapshot(snapshot) => {
                self.rows[node].snapshot = snapshot;
                None
            }
            What::Found { peer } => {
                self.set_last(node, Kind::Found, self.name(&peer));
                None
            }
            What::Established { peer, version } => {
                let peer = self.name(&peer);
                self.set_last(node, Kind::Connected, peer);
                // Both sides report it, and one line is enough.
                let is_first = matches!(peer, Name::Honest(other) if node < other);
                is_first.then(|| self.note(Kind::Connected, node, peer, format!("eth/{version}")))
            }
            What::Ended { peer, end } => self.ended(node, peer, end),
            What::Banned { peer, reason, duration } => {
                let peer = self.name(&peer);
                self.banned += 1;
                let duration = humantime::format_duration(Duration::from_secs(duration.as_secs()));
                self.set_last(node, Kind::Banned, peer);
                Some(self.note(Kind::Banned, node, peer, format!("{reason} (for {duration})")))
            }
            What::Failed(_) => None,
        }
    }

    fn ended(&mut self, node: usize, peer: Option<NodeId>, end: End) -> Option<Note> {
        let peer = peer.map_or(Name::Unknown, |peer| self.name(&peer));
        let is_refusal = match peer {
            Name::Foreign | Name::Hostile(_) => end.by == Side::Us,
            // A peer that fails the handshake is not identified; honest nodes do not fail it.
            Name::Unknown => end.why == EndReason::Fault(Fault::Handshake),
            Name::Honest(_) => false,
        };
        if !is_refusal {
            return None;
        }
        *self.refused.entry(end.why.to_string()).or_default() += 1;
        self.set_last(node, Kind::Refused, peer);
        Some(self.note(Kind::Refused, node, peer, format!("{} (at {})", end.why, end.stage)))
    }

    fn set_last(&mut self, node: usize, kind: Kind, peer: Name) {
        self.rows[node].last = Some((kind, format!("{} {peer}", kind.verb())));
    }

    fn note(&mut self, event: Kind, node: usize, peer: Name, what: String) -> Note {
        let note = Note { event, t: self.seconds(), node: Name::Honest(node), peer, what };
        self.recent.truncate(RECENT - 1);
        self.recent.push_front(note.clone());
        note
    }

    /// Notes how much has been received by now, for [`traffic`](Self::traffic).
    pub(super) fn sample(&mut self) {
        if self.totals.len() == SAMPLES {
            self.totals.pop_front();
        }
        self.totals.push_back(self.rows.iter().map(|row| row.snapshot.received).sum());
    }

    /// Bytes that honest nodes received between any two samples, the newest last.
    pub(super) fn traffic(&self) -> impl Iterator<Item = u64> {
        self.totals.iter().zip(self.totals.iter().skip(1)).map(|(before, after)| after.saturating_sub(*before))
    }

    /// How long the network has been running.
    pub(super) fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    fn name(&self, id: &NodeId) -> Name {
        let honest = self.rows.iter().position(|row| row.contact.id() == *id).map(Name::Honest);
        let stranger = || self.strangers.iter().find(|(_, stranger)| stranger == id).map(|(name, _)| *name);
        honest.or_else(stranger).unwrap_or(Name::Unknown)
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_millis() as f64 / 1000.0
    }

    fn is_honest(&self, id: &NodeId) -> bool {
        self.rows.iter().any(|row| row.contact.id() == *id)
    }

    /// The network in numbers.
    pub(super) fn progress(&self) -> Progress {
        let rows = &self.rows;
        let sum = |of: fn(&Snapshot) -> u64| rows.iter().map(|row| of(&row.snapshot)).sum();
        let is_connected = |row: &&Row| row.snapshot.peers().any(|peer| self.is_honest(peer));
        let table: usize = rows.iter().map(|row| row.snapshot.table).sum();
        Progress {
            event: "progress",
            nodes: rows.len(),
            connected: rows.iter().filter(is_connected).count(),
            sessions: rows
                .iter()
                .map(|row| row.snapshot.outbound.iter().filter(|peer| self.is_honest(peer)).count())
                .sum(),
            table_mean: (table as f64 * 100.0 / rows.len().max(1) as f64).round() / 100.0,
            intruders: rows.iter().flat_map(|row| row.snapshot.peers()).filter(|peer| !self.is_honest(peer)).count(),
            refused: self.refused.clone(),
            banned: self.banned,
            datagrams: sum(|snapshot| snapshot.datagrams),
            frames: sum(|snapshot| snapshot.frames),
            received: sum(|snapshot| snapshot.received),
            duration_s: self.seconds(),
        }
    }

    /// The network at its end.
    pub(super) fn summary(&self) -> Summary {
        let mut dropped: BTreeMap<String, u64> = BTreeMap::new();
        for (reason, count) in self.rows.iter().flat_map(|row| &row.snapshot.dropped) {
            *dropped.entry(reason.clone()).or_default() += count;
        }
        Summary { progress: Progress { event: "summary", ..self.progress() }, dropped }
    }
}

/// The network in numbers. Datagrams and frames are those that honest nodes received.
#[derive(Serialize)]
pub(super) struct Progress {
    event: &'static str,
    /// Honest nodes.
    nodes: usize,
    /// Honest nodes in an eth session with another.
    connected: usize,
    /// Eth sessions between honest nodes.
    sessions: usize,
    /// Nodes in an honest node's discovery table, on average.
    table_mean: f64,
    /// Eth sessions of honest nodes with other nodes.
    intruders: usize,
    /// Connections of other nodes that honest nodes ended, by reason.
    refused: BTreeMap<String, u64>,
    /// Bans that honest nodes imposed.
    banned: u64,
    datagrams: u64,
    frames: u64,
    /// Bytes of both.
    #[serde(rename = "bytes")]
    received: u64,
    duration_s: f64,
}

impl Progress {
    /// The same for the view.
    pub(super) fn figures(&self) -> Vec<Cell> {
        let refused = self.refused.values().sum::<u64>();
        let connected = if self.connected == self.nodes { Tone::Good } else { Tone::Warning };
        let if_any = |count: u64, tone: Tone| if count > 0 { tone } else { Tone::Plain };
        vec![
            Cell::new(format_args!("{}/{} connected", self.connected, self.nodes), connected),
            Cell::new(format_args!("{} sessions", self.sessions), Tone::Plain),
            Cell::new(format_args!("{:.1} in a table", self.table_mean), Tone::Plain),
            Cell::new(format_args!("{} refused", refused), if_any(refused, Tone::Warning)),
            Cell::new(format_args!("{} banned", self.banned), if_any(self.banned, Tone::Bad)),
            Cell::new(format_args!("{} datagrams", self.datagrams), Tone::Plain),
            Cell::new(format_args!("{} frames", self.frames), Tone::Plain),
            Cell::new(bytes(self.received), Tone::Plain),
            Cell::new(format_args!("{} intruders", self.intruders), if_any(self.intruders as u64, Tone::Bad)),
        ]
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:6.2}s  {}/{} connected, {} sessions, {:.1} nodes in a table, {} datagrams, {} frames, {} refused, {} bans",
            self.duration_s,
            self.connected,
            self.nodes,
            self.sessions,
            self.table_mean,
            self.datagrams,
            self.frames,
            self.refused.values().sum::<u64>(),
            self.banned
        )
    }
}

/// The network at its end.
#[derive(Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    progress: Progress,
    /// Datagrams that honest nodes received and dropped, by reason.
    dropped: BTreeMap<String, u64>,
}

impl Summary {
    /// Whether every honest node is connected, and no other.
    pub(super) fn is_success(&self) -> bool {
        self.progress.connected == self.progress.nodes && self.progress.intruders == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { nodes, connected, sessions, table_mean, intruders, banned, .. } = &self.progress;
        writeln!(f)?;
        writeln!(
            f,
            "{connected} of {nodes} honest nodes connected, in {sessions} sessions; {table_mean} nodes in a table"
        )?;
        writeln!(f, "{} datagrams and {} frames received", self.progress.datagrams, self.progress.frames)?;
        writeln!(f, "refused, by reason:")?;
        for (reason, count) in &self.progress.refused {
            writeln!(f, "  {count:6}  {reason}")?;
        }
        writeln!(f, "datagrams dropped, by reason:")?;
        for (reason, count) in &self.dropped {
            writeln!(f, "  {count:6}  {reason}")?;
        }
        writeln!(f, "{banned} bans, {intruders} intruders at the end")?;
        f.write_str(if self.is_success() {
            "success: every honest node is connected, and no other node is"
        } else {
            "failure: an honest node has no peer, or another node is connected"
        })
    }
}
