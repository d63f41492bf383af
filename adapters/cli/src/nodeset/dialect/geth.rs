//! geth's nodes.json, of `devp2p discv4 crawl`: a map of node ids to records with score and times.

use std::collections::BTreeMap;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Format, Reader, indented};
use crate::nodeset::model::Node;
use crate::nodeset::time::{Time, ZERO};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    seq: u64,
    record: String,
    score: Option<i64>,
    first_response: Option<String>,
    last_response: Option<String>,
    last_check: Option<String>,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

pub(super) fn read(entries: Vec<(String, Value)>, reader: &mut Reader) -> Format {
    for (id, value) in entries {
        let node = node(&id, value, reader);
        reader.add(format_args!("node {id}"), node);
    }
    Format::Geth
}

fn node(id: &str, value: Value, reader: &Reader) -> Result<Node, String> {
    if !value.is_object() {
        return Err(format!("{value} is not an entry with a record"));
    }
    let entry: Entry = serde_json::from_value(value).map_err(|error| error.to_string())?;
    let mut node = Node::new(reader.target(&entry.record)?);
    if node.id().to_string() != id.trim_start_matches("0x").to_ascii_lowercase() {
        return Err(format!("its record is that of node {}", node.id()));
    }
    if let Some(record) = node.record()
        && entry.seq != record.seq()
    {
        return Err(format!("seq is {}, and {} in its record", entry.seq, record.seq()));
    }
    let time = |text: Option<String>| text.map_or(Ok(None), |text| Time::parse_go(&text));
    node.score = entry.score;
    node.first_response = time(entry.first_response)?;
    node.last_response = time(entry.last_response)?;
    node.last_check = time(entry.last_check)?;
    node.other = entry.other;
    Ok(node)
}

/// In geth's order of fields; it leaves out scores of zero, and writes times that it does not know.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    seq: u64,
    record: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<i64>,
    first_response: String,
    last_response: String,
    last_check: String,
}

pub(super) fn write(nodes: &[&Node]) -> Result<Vec<u8>> {
    let time = |time: Option<Time>| time.map_or(ZERO.to_owned(), |time| time.to_string());
    let entries: BTreeMap<String, Written> = nodes
        .iter()
        .map(|node| {
            let written = Written {
                seq: node.record().map_or(0, |record| record.seq()),
                record: node.target.to_string(),
                score: node.score.filter(|score| *score != 0),
                first_response: time(node.first_response),
                last_response: time(node.last_response),
                last_check: time(node.last_check),
            };
            (node.id().to_string(), written)
        })
        .collect();
    indented(&entries)
}
