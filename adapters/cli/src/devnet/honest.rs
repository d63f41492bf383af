//! A full node on its own thread, which reports snapshots and events of its connections to the board.
//!
//! The foreign node is one of these too; only its network differs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use peerless::contract::{Command, ConnId, Direction, End, Event, PeerKind, ScoreReason, Stage};
use peerless::crypto::{NodeId, SecretKey};
use peerless::netfilter::NetFilter;
use peerless::node::{Config, Node};
use peerless::time::UnixTime;
use peerless::wire::enode::Contact;
use peerless::wire::enr::Record;
use peerless::wire::p2p::Capability;
use peerless_mio::{Driver, Listen, Sockets};

use crate::driving;
use crate::keylog::KeyLogging;
use crate::networks::Choice;
use crate::protocols::Protocols;
use crate::trace::Recording;

/// Between two snapshots.
pub(super) const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(250);
/// Limit for the final Disconnects of all nodes.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(1);

/// A report of a node, with the node's number.
pub(super) struct News {
    pub(super) node: usize,
    pub(super) what: What,
}

/// What happened.
pub(super) enum What {
    Snapshot(Snapshot),
    Found { peer: NodeId },
    Established { peer: NodeId, version: u32 },
    Ended { peer: Option<NodeId>, end: End },
    Banned { peer: NodeId, reason: ScoreReason, duration: Duration },
    Failed(String),
}

/// Counts of a node at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    /// Entries of its discovery table.
    pub(super) table: usize,
    /// Peers with an established eth session that they dialled.
    pub(super) inbound: Vec<NodeId>,
    /// Peers with an established eth session that we dialled.
    pub(super) outbound: Vec<NodeId>,
    /// Datagrams received.
    pub(super) datagrams: u64,
    /// Datagrams received and dropped, by reason.
    pub(super) dropped: Vec<(String, u64)>,
    /// Frames received.
    pub(super) frames: u64,
    /// Bytes of datagrams and frames received.
    pub(super) received: u64,
    /// Bytes of datagrams and frames sent.
    pub(super) sent: u64,
}

impl Snapshot {
    fn of(node: &Node) -> Self {
        let stats = node.stats();
        let peers = |direction| {
            let sessions = node.sessions().filter(move |session| session.direction == direction);
            sessions
                .filter(|session| session.stage == Stage::Established && !session.is_ending)
                .filter_map(|session| session.id)
                .collect()
        };
        Self {
            table: known(node),
            inbound: peers(Direction::Inbound),
            outbound: peers(Direction::Outbound),
            datagrams: stats.datagrams_in.count,
            dropped: stats.datagrams_dropped.iter().map(|(reason, count)| (reason.to_string(), *count)).collect(),
            frames: stats.frames_in.count,
            received: stats.datagrams_in.bytes + stats.frames_in.bytes,
            sent: stats.datagrams_out.bytes + stats.frames_out.bytes,
        }
    }

    /// All peers with an established eth session.
    pub(super) fn peers(&self) -> impl Iterator<Item = &NodeId> {
        self.inbound.iter().chain(&self.outbound)
    }
}

/// A node that has its sockets and does not run yet.
pub(super) struct Prepared {
    config: Config,
    sockets: Sockets,
    keys: KeyLogging,
    /// Its address and key.
    pub(super) contact: Contact,
}

impl Prepared {
    /// Binds loopback sockets for a node of this key on this network.
    pub(super) fn new(secret: SecretKey, choice: &Choice, filter: &NetFilter, keys: &KeyLogging) -> Result<Self> {
        let mut config = driving::config(secret, choice, filter)?;
        keys.configure(&mut config);
        let sockets = driving::bind(&mut config, &Listen::at(([127, 0, 0, 1], 0).into()))?;
        let key = peerless::crypto::Crypto::public_key(&peerless::crypto::Secp256k1::new(), &config.secret);
        let ip = config.addresses.ip().context("a bound socket has an address")?;
        let contact = Contact::new(key, ip, config.addresses.udp, config.addresses.tcp);
        Ok(Self { config, sockets, keys: keys.clone(), contact })
    }

    /// The node's first record.
    pub(super) fn record(&self) -> Result<Record> {
        let unix = UnixTime::from_secs(0);
        let node = Node::new(self.config.clone(), [0; 32], peerless::time::Instant::ZERO, unix);
        Ok(node.context("the node cannot start")?.record().clone())
    }

    /// Runs the node until `stop`. It reports to `news` as number `node`, discovers by these protocols from `bootnode` on and keeps dialling `statics`.
    pub(super) fn run(
        self,
        node: usize,
        (protocols, bootnode): (Protocols, Option<Contact>),
        statics: Vec<Contact>,
        recording: Option<Recording>,
        news: Sender<News>,
        stop: Arc<AtomicBool>,
    ) -> JoinHandle<()> {
        let Self { mut config, sockets, keys, .. } = self;
        protocols.configure(&mut config.discovery, bootnode.as_slice());
        std::thread::spawn(move || {
            let result = driving::start(config, sockets, recording.as_ref()).and_then(|mut driver| {
                for contact in statics {
                    driver.command(Command::AddPeer { contact, kind: PeerKind::Static })?;
                }
                drive(&mut driver, &keys, node, &news, &stop)
            });
            if let Err(error) = result {
                // The board is gone only when the program ends.
                let _ = news.send(News { node, what: What::Failed(format!("{error:#}")) });
            }
        })
    }
}

/// The nodes in the fuller of the discovery tables.
fn known(node: &Node) -> usize {
    let discv4 = node.discovery().discv4().map_or(0, |discv4| discv4.table().len());
    let discv5 = node.discovery().discv5().map_or(0, |discv5| discv5.table().len());
    discv4.max(discv5)
}

fn drive(driver: &mut Driver, keys: &KeyLogging, node: usize, news: &Sender<News>, stop: &AtomicBool) -> Result<()> {
    let mut next = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= next {
            next = Instant::now() + SNAPSHOT_INTERVAL;
            let what = What::Snapshot(Snapshot::of(driver.node()));
            if news.send(News { node, what }).is_err() {
                break;
            }
        }
        let mut questions: Vec<(ConnId, Capability, u64, u64)> = Vec::new();
        driver.turn(Some(next.saturating_duration_since(Instant::now())), |event| {
            if let Event::Request { conn, capability, request_id, id, .. } = &event {
                questions.push((*conn, *capability, *request_id, *id));
            }
            keys.note(&event);
            if let Some(what) = translate(event) {
                // Without a board, `stop` is set.
                let _ = news.send(News { node, what });
            }
        })?;
        for (conn, capability, request_id, id) in questions {
            // The connection may have ended meanwhile.
            let _ = driver.command(Command::Respond { conn, capability, request_id, id, body: &[0xc0] });
        }
    }
    driver.shutdown(SHUTDOWN_LIMIT, |_| {})?;
    Ok(())
}

fn translate(event: Event<'_>) -> Option<What> {
    Some(match event {
        Event::NodeAdded { contact } => What::Found { peer: contact.id() },
        Event::Established { id, status, .. } => What::Established { peer: id, version: status.version },
        Event::Ended { id, end, .. } => What::Ended { peer: id, end },
        Event::Banned { id, reason, duration } => What::Banned { peer: id, reason, duration },
        _ => return None,
    })
}
