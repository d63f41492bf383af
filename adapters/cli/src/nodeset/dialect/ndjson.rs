//! One JSON object a line: the columns of a table without those that are not known, the visits, and all fields that were read
//! and are not known.

use std::collections::BTreeMap;

use anyhow::Result;
use peerless::wire::forkid::ForkId;
use serde_json::{Map, Value};

use super::row::{DERIVED, Row};
use super::{Format, Reader};
use crate::nodeset::model::{Kind, Node};
use crate::nodeset::time::Time;
use crate::target::Target;

/// The names of fields that hold a record or an enode URL.
const NODE_FIELDS: [&str; 5] = ["enr", "record", "enode", "url", "enode_url"];

/// Whether an object with this field is a node.
pub(super) fn is_node_field(name: &str) -> bool {
    NODE_FIELDS.contains(&name)
}

/// Whether the first line with content is an object.
pub(super) fn is_object(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty());
    first.is_some_and(|line| serde_json::from_str::<Map<String, Value>>(line).is_ok())
}

pub(super) fn read(text: &str, reader: &mut Reader) -> Format {
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let object: Result<BTreeMap<String, Value>, _> = serde_json::from_str(line);
        let node = object.map_err(|error| error.to_string()).and_then(|object| node(object, reader));
        reader.add(format_args!("line {number}"), node);
    }
    Format::Ndjson
}

fn node(mut object: BTreeMap<String, Value>, reader: &Reader) -> Result<Node, String> {
    let mut node: Option<Node> = None;
    for name in NODE_FIELDS {
        let Some(text) = string(&mut object, name)? else { continue };
        let target = reader.target(&text).map_err(|why| format!("{name}: {why}"))?;
        node = Some(match node {
            None => Node::new(target),
            Some(node) => joined(node, target).map_err(|why| format!("{name}: {why}"))?,
        });
    }
    let mut node = node.ok_or("the object has none of the fields enr, record, enode and url")?;
    for name in ["id", "node_id"] {
        if let Some(id) = string(&mut object, name)?
            && id.trim_start_matches("0x").to_ascii_lowercase() != node.id().to_string()
        {
            return Err(format!("{name} is {id}, and {} by its key", node.id()));
        }
    }
    for name in ["client", "client_version"] {
        node.client = string(&mut object, name)?.or(node.client);
    }
    let mut time = |name: &str| -> Result<Option<Time>, String> {
        string(&mut object, name)?
            .map_or(Ok(None), |text| Time::parse_go(&text).map_err(|why| format!("{name}: {why}")))
    };
    node.first_response = time("first_response")?;
    node.last_response = time("last_response")?;
    node.last_check = time("last_check")?;
    node.score = integer(&mut object, "score")?;
    node.reputation = integer(&mut object, "reputation")?
        .map(|number| i32::try_from(number).map_err(|_| format!("reputation {number} is beyond 32 bits")))
        .transpose()?;
    node.kind = string(&mut object, "kind")?
        .map(|kind| Kind::parse(&kind).ok_or_else(|| format!("kind {kind:?} is none of basic, static and trusted")))
        .transpose()?;
    node.fork_id = fork_id(&mut object)?.filter(|id| node.fork_id() != Some(*id));
    if let Some(Value::Array(visits)) = object.remove("visits") {
        node.visits = visits;
    }
    // An enode URL beside a record may say what the record says.
    node.client = node.client.take().filter(|client| {
        let said = Node::new(node.target.clone()).client();
        said.as_ref() != Some(client)
    });
    for name in DERIVED {
        object.remove(name);
    }
    node.other = object;
    Ok(node)
}

/// A node of two texts.
fn joined(mut node: Node, target: Target) -> Result<Node, String> {
    let other = Node::new(target);
    if other.key() != node.key() {
        return Err("it is another node than the object's other field says".to_owned());
    }
    if node.merge(other) {
        return Err("it contradicts the object's other field".to_owned());
    }
    Ok(node)
}

fn fork_id(object: &mut BTreeMap<String, Value>) -> Result<Option<ForkId>, String> {
    let next = integer(object, "fork_next")?;
    let Some(hash) = string(object, "fork_hash")? else { return Ok(None) };
    let hash = const_hex::decode_to_array(&hash).map_err(|_| format!("fork_hash: {hash:?} is not four bytes"))?;
    let next = u64::try_from(next.unwrap_or(0)).map_err(|_| "fork_next is negative".to_owned())?;
    Ok(Some(ForkId { hash, next }))
}

fn string(object: &mut BTreeMap<String, Value>, name: &str) -> Result<Option<String>, String> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!("{name}: {other} is not a text")),
    }
}

fn integer(object: &mut BTreeMap<String, Value>, name: &str) -> Result<Option<i64>, String> {
    match object.remove(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_i64().map(Some).ok_or_else(|| format!("{name}: {value} is not an integer")),
    }
}

pub(super) fn write(nodes: &[&Node]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for node in nodes {
        let Value::Object(mut object) = serde_json::to_value(Row::new(node))? else { continue };
        object.retain(|_, value| !value.is_null());
        if !node.visits.is_empty() {
            object.insert("visits".to_owned(), node.visits.clone().into());
        }
        for (name, value) in &node.other {
            object.entry(name.clone()).or_insert_with(|| value.clone());
        }
        serde_json::to_writer(&mut out, &object)?;
        out.push(b'\n');
    }
    Ok(out)
}
