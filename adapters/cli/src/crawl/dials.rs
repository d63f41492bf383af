//! `--identify`: dials the nodes that have answered, many at once, for their Hello and Status.
//!
//! Clients refuse a second connection from one address within 30 s, so an address is dialled once in 35 s, whatever number of
//! nodes lives there. The crawler echoes each peer's Status, so that nodes of any network answer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::builder::FalseyValueParser;
use clap::{ArgAction, Args};
use peerless::contract::{Command, CommandError, ConnId, Event, Refusal};
use peerless::crypto::NodeId;
use peerless::netfilter::{NetFilter, scope};
use peerless::wire::enode::Contact;
use peerless::wire::forkid::ForkId;
use peerless::wire::p2p::DisconnectReason;
use peerless_mio::{Driver, Listen};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::journal::Fact;
use super::{End, LOOK_INTERVAL, Store};
use crate::driving;
use crate::identify::{self, HelloReport, Refused, StatusReport};
use crate::output::{Output, warn};

/// Least time between two dials of one address: clients refuse within 30 s.
const ADDRESS_INTERVAL: Duration = Duration::from_secs(35);
/// Pause after the node has refused to open a further connection.
const BUSY_PAUSE: Duration = Duration::from_millis(100);
/// Limit for the final Disconnects.
const GOODBYE: Duration = Duration::from_secs(1);

/// Arguments of `--identify`.
#[derive(Args, Clone, Debug)]
pub(super) struct Identification {
    /// Dial the nodes that have answered, for Hello and Status; an address once in 35 s
    #[arg(long, env = "PEERLESS_IDENTIFY", action = ArgAction::SetTrue, value_parser = FalseyValueParser::new())]
    identify: bool,
    /// Connections at once
    #[arg(long = "identify.parallel", env = "PEERLESS_IDENTIFY_PARALLEL", default_value_t = 256, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..))]
    identify_parallel: u16,
    /// Time limit for one node
    #[arg(long = "identify.timeout", env = "PEERLESS_IDENTIFY_TIMEOUT", default_value = "10s", value_name = "TIME")]
    identify_timeout: humantime::Duration,
}

impl Identification {
    pub(super) fn is_wanted(&self) -> bool {
        self.identify
    }
}

/// What a node said when it was dialled.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Identified {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) hello: Option<HelloReport>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) status: Option<StatusReport>,
    /// Why there is no Status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refused: Option<Refused>,
}

impl Identified {
    /// The fork id in its Status.
    pub(super) fn fork_id(&self) -> Option<ForkId> {
        self.status.as_ref()?.fork_id.id()
    }
}

/// When which node may be dialled. Times are since the start.
#[derive(Debug, Default)]
pub(super) struct Calendar {
    queues: BTreeMap<IpAddr, VecDeque<u32>>,
    due: BTreeSet<(Duration, IpAddr)>,
}

impl Calendar {
    /// Adds a node at an address, which is due at once if it is the first one there.
    pub(super) fn add(&mut self, at: IpAddr, node: u32) {
        let queue = self.queues.entry(at).or_default();
        if queue.is_empty() {
            self.due.insert((Duration::ZERO, at));
        }
        queue.push_back(node);
    }

    /// Takes a node that may be dialled now.
    pub(super) fn next(&mut self, now: Duration) -> Option<u32> {
        let (at, ip) = self.due.first().copied().filter(|(at, _)| *at <= now)?;
        self.due.remove(&(at, ip));
        let queue = self.queues.get_mut(&ip)?;
        let node = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&ip);
        } else {
            // Many nodes may live on one machine or behind one router; clients exempt these.
            let interval = if scope(ip).is_local() { Duration::ZERO } else { ADDRESS_INTERVAL };
            self.due.insert((now + interval, ip));
        }
        node
    }

    /// Nodes that wait.
    pub(super) fn len(&self) -> usize {
        self.queues.values().map(VecDeque::len).sum()
    }
}

/// A dial under way.
struct Open {
    node: u32,
    since: Instant,
    conn: Option<ConnId>,
    found: Identified,
    /// Whether all is known, or time is up: its end is awaited.
    is_over: bool,
}

/// Dials all nodes of the store that have answered, have a TCP port and were not dialled yet.
pub(super) fn run(
    output: &Output,
    filter: &NetFilter,
    arguments: &super::Arguments,
    interrupt: &driving::Interrupt,
    store: &mut Store,
) -> Result<End> {
    let mut contacts: BTreeMap<u32, Contact> = BTreeMap::new();
    let mut calendar = Calendar::default();
    for (node, seen) in (0..).zip(store.book.seen()) {
        let contact = seen.dialled();
        if seen.is_live() && seen.identified.is_none() && contact.tcp() != 0 && filter.permits(contact.ip()) {
            contacts.insert(node, contact);
            calendar.add(contact.ip(), node);
        }
    }
    let limits = &arguments.dials;
    let mut config = identify::config(arguments.identity.load_or_create()?, filter)?;
    config.peers.max_pending = limits.identify_parallel.into();
    let sockets = driving::bind(&mut config, &Listen::default())?;
    let mut driver = driving::start(config, sockets, None)?;
    let (begun, total) = (Instant::now(), contacts.len());
    let mut next_line = begun + *arguments.interval;
    let mut open: BTreeMap<NodeId, Open> = BTreeMap::new();
    let mut paused_until = begun;
    let mut end = End::Complete;
    while calendar.len() + open.len() > 0 {
        if interrupt.is_set() {
            end = End::Interrupted;
            break;
        }
        let now = Instant::now();
        while open.len() < limits.identify_parallel.into() && now >= paused_until {
            let Some(node) = calendar.next(now - begun) else { break };
            let contact = contacts[&node];
            match driver.command(Command::Dial { contact }) {
                Ok(_) => {
                    let dial = Open { node, since: now, conn: None, found: Identified::default(), is_over: false };
                    open.insert(contact.id(), dial);
                }
                Err(CommandError::Busy | CommandError::Refused(Refusal::TooManyPending)) => {
                    calendar.add(contact.ip(), node);
                    paused_until = now + BUSY_PAUSE;
                }
                Err(error) => {
                    let refused = Refused { stage: "dial".into(), side: "us".into(), reason: error.to_string() };
                    let identified = Box::new(Identified { refused: Some(refused), ..Identified::default() });
                    store.note(Fact::Identified { node, identified });
                }
            }
        }
        driver.turn(Some(LOOK_INTERVAL / 4), |event| note(store, &mut open, event))?;
        finish(&mut driver, &mut open, *limits.identify_timeout, store);
        store.flush()?;
        if now >= next_line {
            next_line = now + *arguments.interval;
            progress(output, begun.elapsed(), total, calendar.len(), open.len());
        }
    }
    driver.shutdown(GOODBYE, |_| {})?;
    store.flush()?;
    Ok(end)
}

fn note(store: &mut Store, open: &mut BTreeMap<NodeId, Open>, event: Event<'_>) {
    match event {
        Event::Hello { conn, contact, hello, shared, .. } => {
            let Some(dial) = open.get_mut(&contact.id()) else { return };
            dial.conn = Some(conn);
            dial.found.hello = Some(HelloReport::new(&hello, &shared));
            if shared.iter().all(|shared| !shared.capability.is_eth()) {
                dial.is_over = true;
            }
        }
        Event::Established { conn, id, status } => {
            let Some(dial) = open.get_mut(&id) else { return };
            (dial.conn, dial.is_over) = (Some(conn), true);
            dial.found.status = Some(StatusReport::new(&status));
        }
        Event::Ended { id: Some(id), end, .. } => {
            let Some(mut dial) = open.remove(&id) else { return };
            if dial.found.status.is_none() && dial.found.refused.is_none() && !dial.is_over {
                dial.found.refused = Some(Refused::from(&end));
            }
            store.note(Fact::Identified { node: dial.node, identified: Box::new(dial.found) });
        }
        _ => {}
    }
}

/// Ends connections of which all is known, and those whose time is up.
fn finish(driver: &mut Driver, open: &mut BTreeMap<NodeId, Open>, timeout: Duration, store: &mut Store) {
    let mut lost = Vec::new();
    for (id, dial) in open.iter_mut() {
        let age = dial.since.elapsed();
        if age >= timeout && !dial.is_over {
            dial.is_over = true;
            let session = driver.node().sessions().find(|session| session.id == Some(*id));
            dial.conn = session.as_ref().map(|session| session.conn);
            let stage = session.map_or_else(|| "dial".to_owned(), |session| session.stage.to_string());
            let reason = "no answer in time".to_owned();
            dial.found.refused = Some(Refused { stage, side: "us".into(), reason });
        }
        if dial.is_over
            && let Some(conn) = dial.conn.take()
        {
            // It may be ending already.
            let _ = driver.command(Command::Disconnect { conn, reason: DisconnectReason::Requested });
        }
        // No end is waited for longer than this.
        if age >= 2 * timeout {
            lost.push(*id);
        }
    }
    for dial in lost.into_iter().filter_map(|id| open.remove(&id)) {
        store.note(Fact::Identified { node: dial.node, identified: Box::new(dial.found) });
    }
}

fn progress(output: &Output, elapsed: Duration, total: usize, waiting: usize, dialling: usize) {
    let done = total.saturating_sub(waiting + dialling);
    if output.is_json() {
        output.report(&json!({"event": "identifying", "elapsed_s": elapsed.as_secs(), "total": total, "done": done,
            "dialling": dialling, "waiting": waiting}));
    } else {
        let seconds = elapsed.as_secs();
        warn(format_args!("{seconds} s: {done} of {total} nodes dialled, {dialling} being dialled, {waiting} waiting"));
    }
}
