//! The journal of a crawl: what it has found, one JSON object a line, only ever appended to.
//!
//! Nodes have numbers, in the order in which their first line comes. A line that a kill has cut short is dropped when the crawl is
//! resumed.

use std::fs::{File, OpenOptions};
use std::io::{BufRead as _, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use data_encoding::BASE64URL_NOPAD;
use peerless::contract::Via;
use peerless::wire::enode::{Contact, Enode};
use serde::{Deserialize, Serialize};

use super::dials::Identified;
use crate::files::{self, Overwrite, Readers};

/// The version in the first line.
const VERSION: u32 = 1;

/// What a crawl has found out about a node.
#[derive(Clone, Debug)]
pub(super) enum Fact {
    /// It exists, or it is at another endpoint.
    Found { node: u32, contact: Contact },
    /// It has a newer record, verified.
    Record { node: u32, seq: u64, record: Vec<u8> },
    /// It was asked by one protocol at this UNIX time, and answered after `rtt` or not.
    Visited { node: u32, via: Via, at: u64, rtt: Option<Duration>, neighbours: Vec<u32> },
    /// It was dialled.
    Identified { node: u32, identified: Box<Identified> },
}

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Crawl {
        version: u32,
    },
    Found {
        node: u32,
        enode: String,
    },
    Record {
        node: u32,
        seq: u64,
        enr: String,
    },
    Visited {
        node: u32,
        via: String,
        at: u64,
        rtt_us: Option<u64>,
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        neighbours: Vec<u32>,
    },
    Identified {
        node: u32,
        #[serde(flatten)]
        identified: Box<Identified>,
    },
}

impl From<&Fact> for Line {
    fn from(fact: &Fact) -> Self {
        match fact {
            Fact::Found { node, contact } => Self::Found { node: *node, enode: contact.to_string() },
            Fact::Record { node, seq, record } => {
                Self::Record { node: *node, seq: *seq, enr: format!("enr:{}", BASE64URL_NOPAD.encode(record)) }
            }
            Fact::Visited { node, via, at, rtt, neighbours } => Self::Visited {
                node: *node,
                via: via.to_string(),
                at: *at,
                rtt_us: rtt.map(|rtt| u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX)),
                neighbours: neighbours.clone(),
            },
            Fact::Identified { node, identified } => Self::Identified { node: *node, identified: identified.clone() },
        }
    }
}

impl TryFrom<Line> for Fact {
    type Error = anyhow::Error;

    fn try_from(line: Line) -> Result<Self> {
        Ok(match line {
            Line::Crawl { .. } => bail!("a second first line"),
            Line::Found { node, enode } => {
                let enode: Enode = enode.parse().map_err(|error| anyhow!("{enode}: {error}"))?;
                Self::Found { node, contact: enode.contact().context("an enode URL without an address")? }
            }
            Line::Record { node, seq, enr } => {
                let text = enr.strip_prefix("enr:").context("not a record")?;
                Self::Record { node, seq, record: BASE64URL_NOPAD.decode(text.as_bytes())? }
            }
            Line::Visited { node, via, at, rtt_us, neighbours } => {
                let via = match via.as_str() {
                    "discv4" => Via::Discv4,
                    "discv5" => Via::Discv5,
                    other => bail!("{other:?} is no protocol"),
                };
                Self::Visited { node, via, at, rtt: rtt_us.map(Duration::from_micros), neighbours }
            }
            Line::Identified { node, identified } => Self::Identified { node, identified },
        })
    }
}

/// An open journal.
pub(super) struct Journal {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Journal {
    /// Opens a journal: a new one, or with `is_resumed` the one that is there, with what it says.
    ///
    /// # Errors
    /// If it exists and is not resumed, unless it may be replaced; if it does not exist and is; if it is no journal.
    pub(super) fn open(path: &Path, is_resumed: bool, overwrite: Overwrite) -> Result<(Self, Vec<Fact>)> {
        let name = path.display();
        if !is_resumed {
            if path.exists() && !overwrite.is_allowed() {
                bail!("{name} exists: go on with that crawl by --resume, or replace it by --force");
            }
            let file = files::create(path, &[], overwrite, Readers::All)?;
            let mut journal = Self { path: path.into(), file: BufWriter::new(file) };
            journal.write_line(&Line::Crawl { version: VERSION })?;
            journal.flush()?;
            return Ok((journal, Vec::new()));
        }
        let mut file = OpenOptions::new().read(true).append(true).open(path);
        let file = file.as_mut().map_err(|error| anyhow!("cannot resume {name}: {error}"))?;
        let (facts, bytes) = read(file).with_context(|| format!("{name} cannot be resumed"))?;
        file.set_len(bytes).with_context(|| format!("cannot write {name}"))?;
        Ok((Self { path: path.into(), file: BufWriter::new(file.try_clone()?) }, facts))
    }

    /// Appends a fact.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&mut self, fact: &Fact) -> Result<()> {
        self.write_line(&fact.into())
    }

    /// Hands what was written to the operating system.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file.flush().with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn write_line(&mut self, line: &Line) -> Result<()> {
        let written = serde_json::to_writer(&mut self.file, line).map_err(std::io::Error::from);
        let written = written.and_then(|()| self.file.write_all(b"\n"));
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// Reads a journal. Returns its facts, and the bytes of its whole lines.
fn read(file: &File) -> Result<(Vec<Fact>, u64)> {
    let (mut reader, mut line) = (BufReader::new(file), String::new());
    let (mut facts, mut bytes, mut number) = (Vec::new(), 0, 0u64);
    loop {
        line.clear();
        let read = reader.read_line(&mut line).context("it is no text")?;
        if !line.ends_with('\n') {
            // The end, or a line that a kill has cut short.
            return if number == 0 { Err(anyhow!("it is empty")) } else { Ok((facts, bytes)) };
        }
        number += 1;
        bytes += read as u64;
        let at = || format!("line {number}");
        match serde_json::from_str::<Line>(&line).with_context(at)? {
            Line::Crawl { version: VERSION } if number == 1 => {}
            Line::Crawl { version } if number == 1 => bail!("it is of version {version}, and this is {VERSION}"),
            _ if number == 1 => bail!("it is no journal of a crawl"),
            line => facts.push(Fact::try_from(line).with_context(at)?),
        }
    }
}
