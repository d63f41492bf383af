//! The command `inspect`: prints the messages in a capture or trace, one a line.
//!
//! It reads a file twice, so that secrets in it may follow the packets that they decrypt, and stdin once.

use std::fmt;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, stdin};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use clap::Args;
use peerless::crypto::Crypto;
use peerless_trace::format;
use peerless_trace::inspect::export::Exporter;
use peerless_trace::inspect::{Filter, Finding, Findings, Keys, Totals, collect_secrets, json};
use peerless_trace::keylog::KeyLog;
use serde::{Serialize, Serializer};

use crate::files::{self, Overwrite};
use crate::output::Output;
use crate::{Outcome, key, primitives};

/// Arguments of `inspect`.
#[derive(Args)]
#[command(after_help = "\
A key log opens whole sessions. A node's static key alone opens what the other side sealed to it: auth if the node was \
dialled, ack if it dialled. The frames that follow are sealed with a secret that no static key tells.\n\n\
Filters: node=ID, addr=IP[:PORT], port=N, proto=discv4|discv5|rlpx|p2p|eth|snap|tcp|udp|capture, message=NAME, conn=N. \
Values separated by commas are alternatives; of several filters all must pass.")]
pub(crate) struct Arguments {
    /// The capture: pcap or pcapng; - is stdin
    #[arg(env = "PEERLESS_FILE", value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    opening: Opening,
    /// Show only messages that pass this filter
    #[arg(long, env = "PEERLESS_FILTER", value_name = "NAME=VALUE[,VALUE...]")]
    filter: Vec<Filter>,
    /// Write the messages, decrypted and decompressed, to a capture of their own
    #[arg(long, env = "PEERLESS_DECRYPTED", value_name = "OUT.pcapng")]
    decrypted: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
}

/// Keys that decrypt sessions.
#[derive(Args, Clone, Debug)]
pub(crate) struct Opening {
    /// Key log with the secrets of sessions
    #[arg(long, env = "RLPX_KEYLOGFILE", value_name = "FILE")]
    keylog: Vec<PathBuf>,
    /// Key file of a node whose handshake packets are decrypted
    #[arg(long, env = "PEERLESS_NODEKEY", value_name = "FILE")]
    nodekey: Vec<PathBuf>,
}

impl Opening {
    /// The files that are read.
    fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.keylog.iter().chain(&self.nodekey)
    }

    /// Reads the keys, and those in `capture` if it is a file.
    pub(crate) fn keys(&self, capture: &Path) -> Result<Keys> {
        let mut log = KeyLog::default();
        for path in &self.keylog {
            let read = File::open(path).and_then(|file| log.read(BufReader::new(file)));
            read.with_context(|| format!("cannot read the key log {}", path.display()))?;
        }
        if log.broken() > 0 {
            tracing::warn!(lines = log.broken(), "lines of the key log cannot be read");
        }
        if !is_stdin(capture) {
            collect_secrets(open(capture)?, &mut log).with_context(|| format!("cannot read {}", capture.display()))?;
        }
        let nodes = self.nodekey.iter().map(|path| key::load(path)).collect::<Result<_>>()?;
        Ok(match simulated(capture) {
            Some(crypto) => Keys::with_crypto(log, nodes, crypto),
            None => Keys::new(log, nodes),
        })
    }
}

/// Returns the primitives of a simulation that recorded this trace with other than the real ones.
fn simulated(capture: &Path) -> Option<Arc<dyn Crypto + Send + Sync>> {
    if is_stdin(capture) {
        return None;
    }
    let header = format::Reader::open(capture).ok()?.read().ok()?;
    let Some(format::Record::Header(header)) = header else { return None };
    let crypto = primitives::simulated(&header.primitives)?;
    tracing::warn!(primitives = header.primitives, "trace of a simulation without real cryptography");
    Some(crypto)
}

/// Opens a capture.
pub(crate) fn open(path: &Path) -> Result<Box<dyn Read>> {
    if is_stdin(path) {
        return Ok(Box::new(stdin()));
    }
    Ok(Box::new(File::open(path).with_context(|| format!("cannot open {}", path.display()))?))
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Runs `inspect`.
pub(crate) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let Arguments { file, opening, filter, decrypted, overwrite } = arguments;
    let mut findings = Findings::new(open(file)?, opening.keys(file)?, filter.clone());
    let mut exporter = match decrypted {
        Some(path) => {
            let inputs: Vec<&Path> = [file].into_iter().chain(opening.files()).map(PathBuf::as_path).collect();
            // It holds decrypted messages.
            let out = files::create(path, &inputs, *overwrite, files::Readers::Owner)?;
            let exporter = Exporter::new(BufWriter::new(out));
            Some((path, exporter.with_context(|| format!("cannot write {}", path.display()))?))
        }
        None => None,
    };
    while let Some(finding) = findings.next_finding().with_context(|| format!("cannot read {}", file.display()))? {
        if let Some((path, exporter)) = &mut exporter {
            exporter.add(&finding).with_context(|| format!("cannot write {}", path.display()))?;
        }
        output.report(&Line(finding));
    }
    if let Some((path, exporter)) = exporter {
        exporter.finish().with_context(|| format!("cannot write {}", path.display()))?;
    }
    output.report(&Summary(findings.inspector().totals()));
    Ok(Outcome::Success)
}

/// A finding as a report.
pub(crate) struct Line(pub(crate) Finding);

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::object(&self.0).serialize(serializer)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

struct Summary(Totals);

impl Serialize for Summary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        json::totals(&self.0).serialize(serializer)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
