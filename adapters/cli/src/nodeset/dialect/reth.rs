//! reth's known-peers.json: a list of enode URLs with kind, fork id and reputation. Its older form is a plain list.

use std::collections::BTreeMap;

use anyhow::Result;
use peerless::wire::forkid::ForkId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Format, Reader, indented};
use crate::nodeset::model::{Kind, Node};

#[derive(Serialize, Deserialize)]
struct Entry {
    record: String,
    kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    fork_id: Option<Fork>,
    reputation: i32,
    #[serde(flatten)]
    other: BTreeMap<String, Value>,
}

#[derive(Serialize, Deserialize)]
struct Fork {
    hash: Hash,
    next: u64,
}

/// Four bytes as a list of numbers, as reth writes them, or in hexadecimal.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Hash {
    Bytes([u8; 4]),
    Hex(String),
}

pub(super) fn read(items: Vec<Value>, reader: &mut Reader) -> Format {
    for (number, item) in (1..).zip(items) {
        let node = match item {
            Value::String(text) => reader.target(&text).map(Node::new),
            item => node(item, reader),
        };
        reader.add(format_args!("item {number}"), node);
    }
    Format::Reth
}

fn node(item: Value, reader: &Reader) -> Result<Node, String> {
    let entry: Entry = serde_json::from_value(item).map_err(|error| error.to_string())?;
    let mut node = Node::new(reader.target(&entry.record)?);
    let kind = Kind::parse(&entry.kind);
    node.kind = Some(kind.ok_or_else(|| format!("kind {:?} is none of basic, static and trusted", entry.kind))?);
    node.reputation = Some(entry.reputation);
    node.other = entry.other;
    node.fork_id = entry.fork_id.map(|fork| fork_id(&fork)).transpose()?;
    Ok(node)
}

fn fork_id(fork: &Fork) -> Result<ForkId, String> {
    let hash = match &fork.hash {
        Hash::Bytes(bytes) => *bytes,
        Hash::Hex(text) => const_hex::decode_to_array(text).map_err(|_| format!("{text:?} is not a fork hash"))?,
    };
    Ok(ForkId { hash, next: fork.next })
}

pub(super) fn write(nodes: &[&Node]) -> Result<Vec<u8>> {
    let entries: Vec<Entry> = nodes
        .iter()
        .filter_map(|node| {
            let fork_id = node.fork_id().map(|id| Fork { hash: Hash::Bytes(id.hash), next: id.next });
            Some(Entry {
                record: node.enode()?.to_string(),
                kind: node.kind.unwrap_or(Kind::Basic).name().to_owned(),
                fork_id,
                reputation: node.reputation.unwrap_or(0),
                other: BTreeMap::new(),
            })
        })
        .collect();
    indented(&entries)
}
