//! The commands `requestenr` and `resolve`: a node's newest record, from itself.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use peerless::contract::{Command, CommandId, Event};
use peerless::crypto::PublicKey;
use peerless::netfilter::NetFilter;
use peerless::node::Discoverer;
use peerless::wire::enode::Contact;
use peerless::wire::enr::Record;
use peerless_mio::Driver;
use serde::Serialize;

use super::{Protocol, permitted, start_passive};
use crate::key::Identity;
use crate::output::Output;
use crate::target::{Target, resolve_all};
use crate::{Outcome, driving, enr};

/// Requests before a node counts as silent: datagrams are lost, and overtake each other.
const ATTEMPTS: usize = 3;
/// Longest sleep of a turn, after which the program checks for signals.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Arguments of `requestenr`.
#[derive(Args)]
pub(crate) struct Request {
    /// The node, as an enode URL or a record
    #[arg(env = "PEERLESS_TARGET", value_name = "ENODE|ENR")]
    target: Target,
    #[command(flatten)]
    identity: Identity,
}

/// Arguments of `resolve`.
#[derive(Args)]
pub(crate) struct Resolve {
    /// The node, as an enode URL, with an address or without, or a record
    #[arg(env = "PEERLESS_TARGET", value_name = "ENODE|ENR")]
    target: Target,
    /// Nodes to ask for a node whose address is not known, or that does not answer there
    #[arg(long, env = "PEERLESS_BOOTNODES", value_name = "ENODE|ENR,...", value_delimiter = ',')]
    bootnodes: Vec<Target>,
    #[command(flatten)]
    identity: Identity,
}

/// The newest record of a node.
#[derive(Serialize)]
struct Found {
    event: &'static str,
    /// The address that the record came from; `None` for the one that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<std::net::SocketAddr>,
    /// Whether the node has a newer record than the one that was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_newer: Option<bool>,
    #[serde(flatten)]
    record: enr::Report,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.record)?;
        match (self.from, self.is_newer) {
            (Some(from), Some(false)) => write!(f, "\n  from        {from}; the given record is the newest"),
            (Some(from), _) => write!(f, "\n  from        {from}"),
            (None, _) => f.write_str("\n  from        the command line: the node does not answer"),
        }
    }
}

/// No record.
#[derive(Serialize)]
struct Missing {
    event: &'static str,
    why: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no record: {}", self.why)
    }
}

/// Runs `requestenr`.
pub(crate) fn request(output: &Output, filter: &NetFilter, protocol: Protocol, arguments: &Request) -> Result<Outcome> {
    let contact = permitted(&arguments.target, filter)?;
    let secret = arguments.identity.load_or_create()?;
    let mut asking = Asking::new(protocol, start_passive(secret, filter, protocol, contact.ip(), &[])?)?;
    match asking.record(contact)? {
        Some(record) => {
            let from = Some(contact.udp_addr());
            output.report(&Found { event: "record", from, is_newer: None, record: (&record).into() });
            Ok(Outcome::Success)
        }
        None => Ok(missing(output, format!("{} does not answer", contact.udp_addr()))),
    }
}

/// Runs `resolve`.
pub(crate) fn resolve(output: &Output, filter: &NetFilter, protocol: Protocol, arguments: &Resolve) -> Result<Outcome> {
    let bootnodes = resolve_all(&arguments.bootnodes)?;
    // A target without an address is only looked up.
    let direct = permitted(&arguments.target, filter);
    let key = arguments.target.key();
    let Some(near) = direct.as_ref().ok().or(bootnodes.first()) else {
        return Err(direct.err().context("unreachable: there is a contact")?.context("name --bootnodes to look it up"));
    };
    let (secret, family) = (arguments.identity.load_or_create()?, near.ip());
    let mut asking = Asking::new(protocol, start_passive(secret, filter, protocol, family, &bootnodes)?)?;
    let mut found = match direct {
        Ok(contact) => asking.record(contact)?.map(|record| (contact, record)),
        Err(_) => None,
    };
    if found.is_none() && !bootnodes.is_empty() {
        let nodes = asking.lookup(&key)?;
        if let Some(contact) = nodes.into_iter().find(|node| node.key() == key) {
            found = asking.record(contact)?.map(|record| (contact, record));
        }
    }
    let given = arguments.target.record();
    let report = match (found, given) {
        (Some((contact, record)), given) => {
            let is_newer = given.map(|given| record.seq() > given.seq());
            let newest = given.filter(|given| given.seq() > record.seq()).unwrap_or(&record);
            Found { event: "record", from: Some(contact.udp_addr()), is_newer, record: newest.into() }
        }
        (None, Some(given)) => {
            output.report(&Found { event: "record", from: None, is_newer: None, record: given.into() });
            return Ok(Outcome::Failure);
        }
        (None, None) => return Ok(missing(output, "the node was not found, or does not answer".to_owned())),
    };
    output.report(&report);
    Ok(Outcome::Success)
}

fn missing(output: &Output, why: String) -> Outcome {
    output.report(&Missing { event: "missing", why });
    Outcome::Failure
}

/// Commands whose outcome is waited for.
struct Asking {
    protocol: Protocol,
    driver: Driver<Discoverer>,
    interrupt: driving::Interrupt,
}

/// The outcome of a command.
enum Answered {
    Record(Box<Record>),
    Nodes(Vec<Contact>),
    Failed,
}

impl Asking {
    fn new(protocol: Protocol, driver: Driver<Discoverer>) -> Result<Self> {
        Ok(Self { protocol, driver, interrupt: driving::Interrupt::listen()? })
    }

    /// A node's record from itself; `None` if it does not answer.
    fn record(&mut self, contact: Contact) -> Result<Option<Record>> {
        for _ in 0..ATTEMPTS {
            let command = Command::RequestRecord { via: self.protocol.via(), contact };
            if let Answered::Record(record) = self.ask(command)? {
                return Ok(Some(*record));
            }
        }
        Ok(None)
    }

    /// The nodes closest to a key.
    fn lookup(&mut self, key: &PublicKey) -> Result<Vec<Contact>> {
        let command = match self.protocol {
            Protocol::Discv4 => Command::Lookup { target: *key.as_bytes() },
            Protocol::Discv5 => Command::LookupId { target: key.node_id() },
        };
        match self.ask(command)? {
            Answered::Nodes(nodes) => Ok(nodes),
            _ => Ok(Vec::new()),
        }
    }

    /// Gives a command and waits for its outcome. Every call of the machine ends in one.
    fn ask(&mut self, command: Command<'_>) -> Result<Answered> {
        let id = self.driver.command(command).context("cannot ask")?;
        let mut answers: BTreeMap<CommandId, Answered> = BTreeMap::new();
        loop {
            self.driver.turn(Some(LOOK_INTERVAL), |event| match event {
                Event::Record { command, record } => _ = answers.insert(command, Answered::Record(record)),
                Event::Nodes { command, nodes, .. } => _ = answers.insert(command, Answered::Nodes(nodes)),
                Event::CallFailed { command, .. } => _ = answers.insert(command, Answered::Failed),
                _ => {}
            })?;
            if let Some(answer) = answers.remove(&id) {
                return Ok(answer);
            }
            if self.interrupt.is_set() {
                bail!("interrupted");
            }
        }
    }
}
