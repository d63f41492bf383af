//! The command `identify`: shows a peer's Hello and Status, or the stage and reason of its refusal.
//!
//! It echoes the peer's Status, so that a node of any network answers.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use peerless::contract::{Command, ConnId, End, Event, Side, Stage};
use peerless::crypto::SecretKey;
use peerless::eth::Policy;
use peerless::netfilter::NetFilter;
use peerless::node::Config;
use peerless::wire::eth::{ChainState, Status};
use peerless::wire::p2p::{Capability, DisconnectReason, Hello, Shared};
use peerless_mio::{Driver, Listen};
use serde::{Deserialize, Serialize};

use crate::key::Identity;
use crate::networks::{Choice, ForkReport, name_of};
use crate::output::{Output, millis};
use crate::target::Target;
use crate::{Outcome, driving, keylog};

/// Limit for the final Disconnect.
const GOODBYE: Duration = Duration::from_secs(1);
/// Interval at which the connection's stage is polled.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Arguments of `identify`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The peer, as an enode URL or a record
    #[arg(env = "PEERLESS_TARGET", value_name = "ENODE|ENR")]
    target: Target,
    /// Time limit
    #[arg(long, env = "PEERLESS_TIMEOUT", default_value = "10s", value_name = "TIME")]
    timeout: humantime::Duration,
    #[command(flatten)]
    identity: Identity,
    #[command(flatten)]
    keylog: keylog::KeyLogArguments,
}

/// Returns the configuration of a node to which nodes of any network tell their Status.
pub(crate) fn config(secret: SecretKey, filter: &NetFilter) -> Result<Config> {
    let mut config = driving::config(secret, &Choice::development(), filter)?;
    config.status = Policy::Mirror;
    config.capabilities = (66..=72).map(Capability::eth).collect();
    Ok(config)
}

/// Runs `identify`.
pub(crate) fn run(output: &Output, filter: &NetFilter, arguments: &Arguments) -> Result<Outcome> {
    let contact = arguments.target.resolve()?;
    if contact.tcp() == 0 {
        bail!("the node has no RLPx port");
    }
    if !filter.permits(contact.ip()) {
        bail!("{} is outside of --netrestrict", contact.ip());
    }
    let mut config = config(arguments.identity.load_or_create()?, filter)?;
    let keys = arguments.keylog.open(&arguments.identity.files())?;
    keys.configure(&mut config);
    let sockets = driving::bind(&mut config, &Listen::default())?;
    let mut driver = driving::start(config, sockets, None)?;
    let mut found = Found { start: Instant::now(), stages: Vec::new(), hello: None, status: None, end: None };
    driver.command(Command::Dial { contact }).context("cannot dial")?;
    let deadline = found.start + *arguments.timeout;
    while !found.is_complete() && Instant::now() < deadline {
        let wait = deadline.saturating_duration_since(Instant::now()).min(LOOK_INTERVAL);
        driver.turn(Some(wait), |event| {
            keys.note(&event);
            found.note(event);
        })?;
        found.look(&driver);
    }
    if let Some(conn) = found.open_conn(&driver) {
        // The connection may have ended meanwhile; its end is reported then.
        let _ = driver.command(Command::Disconnect { conn, reason: DisconnectReason::Requested });
    }
    let report = Report::new(&contact.to_string(), &found);
    driver.shutdown(GOODBYE, |_| {})?;
    output.report(&report);
    Ok(if report.refused.is_none() { Outcome::Success } else { Outcome::Failure })
}

/// What is known of the peer so far.
struct Found {
    start: Instant,
    /// When each stage was reached.
    stages: Vec<(Stage, Duration)>,
    hello: Option<(Box<Hello>, Vec<Shared>)>,
    status: Option<Box<Status>>,
    end: Option<End>,
}

impl Found {
    fn note(&mut self, event: Event<'_>) {
        match event {
            Event::Hello { hello, shared, .. } => {
                self.reach(Stage::Status);
                self.hello = Some((hello, shared));
            }
            Event::Established { status, .. } => {
                self.reach(Stage::Established);
                self.status = Some(status);
            }
            Event::Ended { end, .. } => self.end = Some(end),
            _ => {}
        }
    }

    /// Polls the connection's stage, for the times of stages that no event reports.
    fn look(&mut self, driver: &Driver) {
        if let Some(session) = driver.node().sessions().next() {
            self.reach(session.stage);
        }
    }

    fn reach(&mut self, stage: Stage) {
        if self.stages.last().is_none_or(|(last, _)| *last < stage) {
            self.stages.push((stage, self.start.elapsed()));
        }
    }

    /// Returns when `stage` or a later one was reached.
    fn reached(&self, stage: Stage) -> Option<f64> {
        self.stages.iter().find(|(reached, _)| *reached >= stage).map(|(_, at)| millis(*at))
    }

    fn is_complete(&self) -> bool {
        let is_without_eth =
            self.hello.as_ref().is_some_and(|(_, shared)| shared.iter().all(|shared| !shared.capability.is_eth()));
        self.end.is_some() || self.status.is_some() || is_without_eth
    }

    fn open_conn(&self, driver: &Driver) -> Option<ConnId> {
        driver.node().sessions().find(|session| !session.is_ending).map(|session| session.conn)
    }
}

#[derive(Serialize)]
struct Report {
    enode: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hello: Option<HelloReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<StatusReport>,
    timing: Timing,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Refused>,
}

/// A peer's Hello.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct HelloReport {
    pub(crate) client: String,
    p2p_version: u64,
    capabilities: Vec<String>,
    shared: Vec<String>,
    listen_port: u64,
}

/// A peer's Status.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StatusReport {
    eth_version: u32,
    network_id: u64,
    genesis: String,
    network: Option<String>,
    pub(crate) fork_id: ForkReport,
    head: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    total_difficulty: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blocks: Option<(u64, u64)>,
}

/// Milliseconds from the start to the end of each step.
#[derive(Serialize)]
struct Timing {
    dial_ms: Option<f64>,
    handshake_ms: Option<f64>,
    hello_ms: Option<f64>,
    status_ms: Option<f64>,
}

/// Why a peer is not known in full: the stage, side and reason of a connection's end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) stage: String,
    pub(crate) side: Cow<'static, str>,
    pub(crate) reason: String,
}

impl From<&End> for Refused {
    fn from(end: &End) -> Self {
        let side = match end.by {
            Side::Us => "us",
            Side::Them => "them",
            Side::Network => "network",
        };
        Self { stage: end.stage.to_string(), side: side.into(), reason: end.why.to_string() }
    }
}

impl Report {
    fn new(enode: &str, found: &Found) -> Self {
        let refused = if found.is_complete() {
            found.end.as_ref().filter(|_| found.status.is_none()).map(Refused::from)
        } else {
            let stage = found.stages.last().map_or(Stage::Dial, |(stage, _)| *stage);
            Some(Refused { stage: stage.to_string(), side: "us".into(), reason: "no answer in time".to_owned() })
        };
        Self {
            enode: enode.to_owned(),
            hello: found.hello.as_ref().map(|(hello, shared)| HelloReport::new(hello, shared)),
            status: found.status.as_deref().map(StatusReport::new),
            timing: Timing {
                dial_ms: found.reached(Stage::Handshake),
                handshake_ms: found.reached(Stage::Hello),
                hello_ms: found.reached(Stage::Status),
                status_ms: found.status.as_ref().and_then(|_| found.reached(Stage::Established)),
            },
            refused,
        }
    }
}

impl HelloReport {
    pub(crate) fn new(hello: &Hello, shared: &[Shared]) -> Self {
        Self {
            client: hello.client.clone(),
            p2p_version: hello.version,
            capabilities: hello.capabilities.iter().map(Capability::to_string).collect(),
            shared: shared.iter().map(|shared| shared.capability.to_string()).collect(),
            listen_port: hello.port,
        }
    }
}

impl StatusReport {
    pub(crate) fn new(status: &Status) -> Self {
        let (head, total_difficulty, blocks) = match &status.chain {
            ChainState::Difficulty { total, head } => {
                let digits = const_hex::encode(total);
                let digits = digits.trim_start_matches('0');
                (head, Some(format!("0x{}", if digits.is_empty() { "0" } else { digits })), None)
            }
            ChainState::Range(range) => (&range.latest_hash, None, Some((range.earliest, range.latest))),
        };
        Self {
            eth_version: status.version,
            network_id: status.network_id,
            genesis: const_hex::encode(status.genesis),
            network: name_of(&status.genesis),
            fork_id: ForkReport::new(status.fork_id),
            head: const_hex::encode(head),
            total_difficulty,
            blocks,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.enode)?;
        if let Some(hello) = &self.hello {
            write!(f, "\n  client        {} (p2p/{})", hello.client, hello.p2p_version)?;
            write!(f, "\n  capabilities  {}", hello.capabilities.join(", "))?;
            write!(f, "\n  shared        {}", hello.shared.join(", "))?;
        }
        if let Some(status) = &self.status {
            write!(f, "\n  eth           version {}, network {}", status.eth_version, status.network_id)?;
            write!(f, "\n  genesis       {}", status.genesis)?;
            if let Some(network) = &status.network {
                write!(f, " ({network})")?;
            }
            write!(f, "\n  fork id       {}", status.fork_id)?;
            write!(f, "\n  head          {}", status.head)?;
            if let Some((earliest, latest)) = status.blocks {
                write!(f, "\n  blocks        {earliest} to {latest}")?;
            }
            if let Some(total) = &status.total_difficulty {
                write!(f, "\n  difficulty    {total}")?;
            }
        }
        let steps = [
            ("dial", self.timing.dial_ms),
            ("handshake", self.timing.handshake_ms),
            ("hello", self.timing.hello_ms),
            ("status", self.timing.status_ms),
        ];
        let steps: Vec<String> =
            steps.iter().filter_map(|(step, at)| at.map(|at| format!("{step} {at:.1} ms"))).collect();
        if !steps.is_empty() {
            write!(f, "\n  timing        {}", steps.join(", "))?;
        }
        if let Some(Refused { stage, side, reason }) = &self.refused {
            write!(f, "\n  refused       at {stage}, by {side}: {reason}")?;
        }
        Ok(())
    }
}
