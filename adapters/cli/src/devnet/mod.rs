//! The command `devnet`: a network on the loopback interface.
//!
//! Honest nodes know one bootnode and must find each other. Beside them live one node of a foreign network, and hostile
//! nodes that break the protocol; neither may be in session with an honest one when the time is over.

mod board;
mod honest;
mod hostile;
mod liar;
mod page;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use peerless::netfilter::NetFilter;
use peerless::rng::Seed;
use peerless::wire::enode::Contact;
use serde::Serialize;

use self::board::{Board, Name};
use self::honest::{News, Prepared, SNAPSHOT_INTERVAL, What};
use self::liar::Identity;
use crate::networks::Choice;
use crate::output::Output;
use crate::protocols::Protocols;
use crate::trace::{self, Recording};
use crate::{Outcome, driving, key, keylog};

/// Network id of the foreign node.
const FOREIGN_NETWORK: u64 = 1338;
/// The only addresses in use, whatever `--netrestrict` says.
const LOOPBACK: &str = "127.0.0.0/8";
/// Interval between two lines of numbers without a live view.
const LINE_INTERVAL: Duration = Duration::from_secs(1);
/// Time without new attacks before the end, so that the last one has been reported.
const TRUCE: Duration = Duration::from_secs(1);

/// Arguments of `devnet`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Honest nodes
    #[arg(long, env = "PEERLESS_NODES", default_value_t = 8, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(2..=200))]
    nodes: u16,
    /// How long to run
    #[arg(long, env = "PEERLESS_DURATION", default_value = "20s", value_name = "TIME")]
    duration: humantime::Duration,
    /// Nodes that break the protocol
    #[arg(long, env = "PEERLESS_HOSTILE", default_value_t = 1, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u16).range(0..=50))]
    hostile: u16,
    #[command(flatten)]
    protocols: Protocols,
    #[command(flatten)]
    keylog: keylog::KeyLogArguments,
    /// Record each full node into a new file in this folder; Wireshark opens them
    #[arg(long, env = "PEERLESS_TRACE", value_name = "DIR")]
    trace: Option<PathBuf>,
    #[command(flatten)]
    recording: trace::RecordingArguments,
}

impl Arguments {
    /// Returns the recording of a node by the node's name.
    fn recording(&self, name: &str) -> Option<Recording> {
        self.trace.as_ref().map(|folder| self.recording.to(folder.join(format!("{name}.pcapng"))))
    }
}

/// The first line: what a client needs to join.
#[derive(Serialize)]
struct Started {
    event: &'static str,
    bootnode: String,
    enr: String,
    genesis: String,
    network_id: u64,
    nodes: usize,
    hostile: usize,
}

impl fmt::Display for Started {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bootnode, nodes, hostile, .. } = self;
        writeln!(f, "{nodes} honest nodes, knowing only {bootnode}\n1 node of a foreign network, {hostile} hostile")
    }
}

/// Runs `devnet`.
pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let duration = *arguments.duration;
    if duration < 3 * TRUCE {
        bail!("--duration must be {} seconds or more", 3 * TRUCE.as_secs());
    }
    let interrupt = driving::Interrupt::listen()?;
    if let Some(folder) = &arguments.trace {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        arguments.recording.warn(folder);
    }
    let filter: NetFilter = LOOPBACK.parse()?;
    let keys = arguments.keylog.open(&[])?;
    let (home, abroad) = (Choice::development(), Choice::private("foreign network", FOREIGN_NETWORK));
    let honest = (0..arguments.nodes)
        .map(|_| Prepared::new(key::generate()?, &home, &filter, &keys))
        .collect::<Result<Vec<Prepared>>>()?;
    let foreign = Prepared::new(key::generate()?, &abroad, &filter, &keys)?;
    let hostile = (0..arguments.hostile).map(|_| Ok(Identity::new(key::generate()?))).collect::<Result<Vec<_>>>()?;

    let contacts: Vec<Contact> = honest.iter().map(|node| node.contact).collect();
    let bootnode = *contacts.first().context("there are at least two nodes")?;
    let strangers = std::iter::once((Name::Foreign, foreign.contact.id()))
        .chain(hostile.iter().enumerate().map(|(i, identity)| (Name::Hostile(i), identity.key.node_id())));
    let mut board = Board::new(&contacts, strangers.collect());
    let record = honest.first().context("there are at least two nodes")?.record()?;
    output.report(&Started {
        event: "started",
        bootnode: bootnode.to_string(),
        enr: record.to_string(),
        genesis: const_hex::encode(home.network.schedule.genesis()),
        network_id: home.network.network_id,
        nodes: contacts.len(),
        hostile: hostile.len(),
    });

    let (stop, truce) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let (sender, news) = channel();
    let mut threads: Vec<JoinHandle<()>> = Vec::new();
    for (i, node) in honest.into_iter().enumerate() {
        let bootnode = (i > 0).then_some(bootnode);
        let recording = arguments.recording(&format!("node-{i}"));
        threads.push(node.run(i, (arguments.protocols, bootnode), Vec::new(), recording, sender.clone(), stop.clone()));
    }
    // It dials the bootnode again and again.
    let recording = arguments.recording("foreign");
    threads.push(foreign.run(
        contacts.len(),
        (arguments.protocols, Some(bootnode)),
        vec![bootnode],
        recording,
        sender,
        stop.clone(),
    ));
    for (i, identity) in hostile.into_iter().enumerate() {
        let rng = Seed::new(key::entropy()?).fork("hostile");
        let (victims, truce) = (contacts.clone(), truce.clone());
        threads.push(std::thread::spawn(move || hostile::run(&identity, rng, &victims, i, &truce)));
    }

    let watched = watch(output, &mut board, &news, duration, &interrupt, &truce);
    // Before the shutdown, which is not part of the result.
    let summary = board.summary();
    truce.store(true, Ordering::Relaxed);
    stop.store(true, Ordering::Relaxed);
    for thread in threads {
        if thread.join().is_err() {
            bail!("a node panicked");
        }
    }
    watched?;
    output.report(&summary);
    Ok(if summary.is_success() { Outcome::Success } else { Outcome::Failure })
}

/// Shows what the nodes report until the time is over.
fn watch(
    output: &Output,
    board: &mut Board,
    news: &Receiver<News>,
    duration: Duration,
    interrupt: &driving::Interrupt,
    truce: &AtomicBool,
) -> Result<()> {
    let mut screen = output.screen();
    let interval = if screen.is_some() { SNAPSHOT_INTERVAL } else { LINE_INTERVAL };
    let end = Instant::now() + duration;
    let mut next = Instant::now() + interval;
    while Instant::now() < end && !interrupt.is_set() {
        if Instant::now() + TRUCE >= end {
            truce.store(true, Ordering::Relaxed);
        }
        match news.recv_timeout(next.min(end).saturating_duration_since(Instant::now())) {
            Ok(News { what: What::Failed(why), .. }) => bail!("a node failed: {why}"),
            Ok(news) => {
                if let (Some(note), None) = (board.record(news), &screen) {
                    output.report(&note);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("all nodes have stopped"),
        }
        if Instant::now() >= next {
            next += interval;
            match &mut screen {
                Some(screen) => {
                    board.sample();
                    screen.show(&page::page(board, duration)).context("cannot draw on the terminal")?;
                    if screen.is_quit() {
                        break;
                    }
                }
                None => output.report(&board.progress()),
            }
        }
    }
    Ok(())
}
