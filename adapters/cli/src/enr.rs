//! The command `enr show`: verifies a node record and prints its content.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result, anyhow};
use clap::Subcommand;
use peerless::crypto::Secp256k1;
use peerless::wire::enr::Record;
use serde::Serialize;

use crate::Outcome;
use crate::networks::ForkReport;
use crate::output::Output;

/// What to do with a record.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Verify a record and show its content
    Show {
        /// `enr:…`, hexadecimal digits, or a file that holds either or the raw record; `-` for stdin
        #[arg(value_name = "TEXT|HEX|FILE")]
        record: String,
    },
}

/// Runs `enr ..`.
pub(crate) fn run(output: &Output, command: &Command) -> Result<Outcome> {
    let Command::Show { record } = command;
    output.report(&Report::new(&read(record)?));
    Ok(Outcome::Success)
}

/// Reads a record from an argument that is a record or the name of a file with one.
fn read(argument: &str) -> Result<Record> {
    let parsed: Result<Record, _> = argument.parse();
    if let Ok(record) = parsed {
        return Ok(record);
    }
    let content = if argument == "-" {
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut std::io::stdin(), &mut content).context("cannot read stdin")?;
        content
    } else if Path::new(argument).is_file() {
        std::fs::read(argument).with_context(|| format!("cannot read {argument}"))?
    } else {
        return parsed.map_err(|error| anyhow!("neither a valid record nor a file: {error}"));
    };
    match std::str::from_utf8(&content) {
        Ok(text) => text.parse().map_err(|error| anyhow!("{argument} holds no valid record: {error}")),
        Err(_) => Record::decode(&Secp256k1::new(), &content)
            .map_err(|error| anyhow!("{argument} holds no valid record: {error}")),
    }
}

/// A record's content.
#[derive(Serialize)]
pub(crate) struct Report {
    enr: String,
    seq: u64,
    node_id: String,
    public_key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    enode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eth: Option<ForkReport>,
    bytes: usize,
}

impl Report {
    fn new(record: &Record) -> Self {
        Self {
            enr: record.to_string(),
            seq: record.seq(),
            node_id: record.key().node_id().to_string(),
            public_key: record.key().to_string(),
            enode: record.contact().map(|contact| contact.to_string()),
            eth: record.fork_id().map(ForkReport::new),
            bytes: record.as_bytes().len(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.enr)?;
        writeln!(f, "  signature   valid ({} bytes)", self.bytes)?;
        writeln!(f, "  sequence    {}", self.seq)?;
        writeln!(f, "  node id     {}", self.node_id)?;
        writeln!(f, "  public key  {}", self.public_key)?;
        match &self.enode {
            Some(enode) => write!(f, "  enode       {enode}")?,
            None => write!(f, "  enode       none: the record names no address")?,
        }
        match &self.eth {
            Some(fork) => write!(f, "\n  eth         {fork}"),
            None => Ok(()),
        }
    }
}
