//! The dialects of node lists: one file each, with what it reads and writes. This file recognises them.

use std::fmt;

use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use peerless::crypto::Secp256k1;
use serde::Serialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::model::{Added, Node, NodeSet};
use crate::target::Target;

mod csv;
mod geth;
mod list;
mod ndjson;
mod parquet;
mod polycli;
mod reth;
mod row;
mod text;
mod yaml;

#[cfg(test)]
mod tests;

/// A dialect of node lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// geth's nodes.json: a map of ids to records with scores and times
    Geth,
    /// reth's known-peers.json: a list of enode URLs with kind, fork id and reputation
    Reth,
    /// The output of polycli's crawler: a map of ids to visits
    Polycli,
    /// A JSON list of records and enode URLs, as static-nodes.json
    List,
    /// A JSON list of enode URLs alone
    Enodes,
    /// One record or enode URL a line
    Text,
    /// A YAML list of records and enode URLs
    Yaml,
    /// One JSON object a line, with all that is known
    Ndjson,
    /// A table with one node a line (written only)
    Csv,
    /// A table in columns (written only)
    Parquet,
}

impl Format {
    /// The name on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Geth => "geth",
            Self::Reth => "reth",
            Self::Polycli => "polycli",
            Self::List => "list",
            Self::Enodes => "enodes",
            Self::Text => "text",
            Self::Yaml => "yaml",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Parquet => "parquet",
        }
    }

    /// The format that the extension of a file's name stands for. Formats of JSON share theirs.
    pub(crate) fn of_extension(extension: &str) -> Option<Self> {
        Some(match extension.to_ascii_lowercase().as_str() {
            "ndjson" | "jsonl" => Self::Ndjson,
            "csv" => Self::Csv,
            "parquet" => Self::Parquet,
            "txt" | "list" => Self::Text,
            "yaml" | "yml" => Self::Yaml,
            _ => return None,
        })
    }

    /// Whether lists of the format can be read.
    pub(crate) const fn is_readable(self) -> bool {
        !matches!(self, Self::Csv | Self::Parquet)
    }

    /// What the format can say of a node beside its record or enode URL.
    fn holds(self) -> Holds {
        let none = Holds::default();
        match self {
            Self::Geth => Holds { record: true, score: true, times: true, ..none },
            Self::Reth => Holds { peer: true, fork_id: true, ..none },
            Self::Polycli => Holds { record: true, visits: true, ..none },
            Self::List | Self::Text | Self::Yaml => Holds { record: true, ..none },
            Self::Enodes => none,
            Self::Csv | Self::Parquet => {
                let row = Holds { record: true, alias: true, score: true, times: true, ..none };
                Holds { peer: true, fork_id: true, client: true, ..row }
            }
            Self::Ndjson => Holds {
                record: true,
                alias: true,
                score: true,
                times: true,
                peer: true,
                fork_id: true,
                client: true,
                visits: true,
                other: true,
            },
        }
    }

    /// Writes a set, and says what it could not write.
    ///
    /// # Errors
    /// If a library cannot encode it.
    pub(crate) fn write(self, set: &NodeSet) -> Result<(Vec<u8>, Losses)> {
        let mut losses = Losses::default();
        let holds = self.holds();
        let mut held = Vec::with_capacity(set.nodes().len());
        for node in set.nodes() {
            // What is not a literal address cannot be had by a format of enode URLs, or by reth.
            let is_held = match self {
                Self::Enodes => node.enode().is_some(),
                Self::Reth => node.enode().is_some_and(|enode| enode.contact().is_some()),
                _ => true,
            };
            if is_held {
                holds.note(node, &mut losses);
                held.push(node);
            } else {
                losses.add("nodes without an address");
            }
        }
        let bytes = match self {
            Self::Geth => geth::write(&held)?,
            Self::Reth => reth::write(&held)?,
            Self::Polycli => polycli::write(&held)?,
            Self::List => list::write(held.iter().map(|node| node.target.to_string()))?,
            Self::Enodes => list::write(held.iter().filter_map(|node| node.enode()).map(|enode| enode.to_string()))?,
            Self::Text => text::write(&held),
            Self::Yaml => yaml::write(&held),
            Self::Ndjson => ndjson::write(&held)?,
            Self::Csv => csv::write(&held)?,
            Self::Parquet => parquet::write(&held)?,
        };
        Ok((bytes, losses))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The fields that a format has.
#[derive(Clone, Copy, Default)]
struct Holds {
    record: bool,
    alias: bool,
    score: bool,
    times: bool,
    peer: bool,
    fork_id: bool,
    client: bool,
    visits: bool,
    other: bool,
}

impl Holds {
    fn note(self, node: &Node, losses: &mut Losses) {
        let times = [node.first_response, node.last_response, node.last_check];
        for (has, held, name) in [
            (node.record().is_some(), self.record, "records"),
            // Where the record is lost, the URL beside it is what is written.
            (node.alias.is_some(), self.alias || !self.record, "enode URLs beside records"),
            (node.score.is_some(), self.score, "scores"),
            (times.iter().any(Option::is_some), self.times, "times"),
            (node.kind.is_some() || node.reputation.is_some(), self.peer, "kinds and reputations"),
            (node.fork_id.is_some(), self.fork_id, "fork ids not from records"),
            (node.client.is_some(), self.client, "names of clients"),
            (!node.visits.is_empty(), self.visits, "visits"),
            (!node.other.is_empty(), self.other, "other fields"),
        ] {
            if has && !held {
                losses.add(name);
            }
        }
    }
}

/// What a format could not say, with the number of nodes that it concerns.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Losses(Vec<(&'static str, u64)>);

impl Losses {
    fn add(&mut self, name: &'static str) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.0.push((name, 1)),
        }
    }

    /// Whether all was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Losses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, count)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} ({count})")?;
        }
        Ok(())
    }
}

/// An item of a list that is no node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Problem {
    /// The line, key or position.
    pub(crate) at: String,
    /// The reason.
    pub(crate) why: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.why)
    }
}

/// What a list holds.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Its dialect.
    pub(crate) format: Format,
    /// Its nodes.
    pub(crate) set: NodeSet,
    /// Its items that are no nodes.
    pub(crate) problems: Vec<Problem>,
    /// Items that name a node named before, and how many of them contradict what was said before.
    pub(crate) repeated: u64,
    /// Repeated items that contradict what was said before.
    pub(crate) contradicted: u64,
}

/// Reads a list of any dialect.
///
/// # Errors
/// If it is of none. Single items that are no nodes are [`Reading::problems`].
pub(crate) fn read(content: &[u8]) -> Result<Reading> {
    if content.starts_with(b"PAR1") {
        bail!("Parquet files are written, not read: keep the list that it was made from, or NDJSON");
    }
    let text =
        std::str::from_utf8(content).map_err(|error| anyhow!("not text: byte {} is no UTF-8", error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = Reader { crypto: Secp256k1::new(), reading: Reading::new(Format::Text) };
    reader.reading.format = match text.trim_start().chars().next() {
        Some('{') => read_objects(text, &mut reader)?,
        Some('[') => {
            let items: Vec<Value> =
                serde_json::from_str(text).map_err(|error| anyhow!("not a list of JSON: {error}"))?;
            if items.iter().any(Value::is_object) {
                reth::read(items, &mut reader)
            } else {
                list::read(items, &mut reader)
            }
        }
        _ if row::is_header(text) => {
            bail!("CSV files are written, not read: keep the list that it was made from, or NDJSON")
        }
        _ if yaml::is_list(text) => yaml::read(text, &mut reader),
        _ => text::read(text, &mut reader),
    };
    Ok(reader.reading)
}

/// Reads a map of JSON, or objects of JSON one a line.
fn read_objects(text: &str, reader: &mut Reader) -> Result<Format> {
    let entries = match serde_json::from_str::<Entries>(text) {
        // One object a line, and one line alone.
        Ok(Entries(entries)) if entries.iter().any(|(name, _)| ndjson::is_node_field(name)) => {
            return Ok(ndjson::read(text, reader));
        }
        Ok(Entries(entries)) => entries,
        Err(_) if text.lines().filter(|line| !line.trim().is_empty()).count() > 1 && ndjson::is_object(text) => {
            return Ok(ndjson::read(text, reader));
        }
        Err(error) => bail!("not a map of JSON: {error}"),
    };
    match entries.first() {
        Some((_, Value::Array(_))) => Ok(polycli::read(entries, reader)),
        Some((name, value)) if !value.is_object() => {
            bail!("a map of JSON in which {name:?} is neither a node's entry nor a list of its visits")
        }
        _ => Ok(geth::read(entries, reader)),
    }
}

impl Reading {
    fn new(format: Format) -> Self {
        Self { format, set: NodeSet::default(), problems: Vec::new(), repeated: 0, contradicted: 0 }
    }
}

/// Collects what a dialect reads.
struct Reader {
    /// One for all records: it is costly to make.
    crypto: Secp256k1,
    reading: Reading,
}

impl Reader {
    /// Reads a record or an enode URL.
    fn target(&self, text: &str) -> Result<Target, String> {
        Target::parse(&self.crypto, text).map_err(|error| error.to_string())
    }

    /// Adds what an item was found to be.
    fn add(&mut self, at: impl fmt::Display, item: Result<Node, String>) {
        match item.map(|node| self.reading.set.add(node)) {
            Ok(Added::New) => {}
            Ok(added) => {
                self.reading.repeated += 1;
                self.reading.contradicted += u64::from(added == Added::Contradicted);
            }
            Err(why) => self.reading.problems.push(Problem { at: at.to_string(), why }),
        }
    }

    /// Adds the node of a record or an enode URL.
    fn add_text(&mut self, at: impl fmt::Display, text: &str) {
        let node = self.target(text).map(Node::new);
        self.add(at, node);
    }
}

/// The entries of a JSON map in their order, repeated keys included.
struct Entries(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

/// JSON with geth's indent of four spaces, and a line end.
fn indented(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    value.serialize(&mut serde_json::Serializer::with_formatter(&mut out, formatter))?;
    out.push(b'\n');
    Ok(out)
}
