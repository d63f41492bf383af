//! The output of polycli's crawler: a map of node ids to visits, each with the URL, and a Hello and Status or an error.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::{Format, Reader, indented};
use crate::nodeset::model::Node;
use crate::nodeset::time::Time;

pub(super) fn read(entries: Vec<(String, Value)>, reader: &mut Reader) -> Format {
    for (id, visits) in entries {
        let node = node(&id, visits, reader);
        reader.add(format_args!("node {id}"), node);
    }
    Format::Polycli
}

fn node(id: &str, visits: Value, reader: &Reader) -> Result<Node, String> {
    let Value::Array(visits) = visits else { return Err(format!("{visits} is not a list of visits")) };
    // The last visit has the newest URL.
    let url = visits.iter().rev().find_map(|visit| visit["url"].as_str()).ok_or("none of its visits has a url")?;
    let mut node = Node::new(reader.target(url)?);
    if node.id().to_string() != id.trim_start_matches("0x").to_ascii_lowercase() {
        return Err(format!("its url is that of node {}", node.id()));
    }
    for visit in &visits {
        let at = time(&visit["time"])?;
        node.last_check = node.last_check.max(at);
        let hello = &visit["hello"];
        if hello.is_object() {
            node.first_response = [node.first_response, at].into_iter().flatten().min();
            node.last_response = node.last_response.max(at);
            let client = ["Name", "name", "ClientVersion"].iter().find_map(|name| hello[*name].as_str());
            node.client = client.map(str::to_owned).or(node.client);
        }
    }
    node.visits = visits;
    Ok(node)
}

/// UNIX seconds, or RFC 3339.
fn time(value: &Value) -> Result<Option<Time>, String> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Time::parse_go(text),
        Value::Number(seconds) => match seconds.as_u64() {
            Some(0) => Ok(None),
            seconds => seconds.and_then(Time::from_unix).map(Some).ok_or_else(|| format!("{value} is not a time")),
        },
        other => Err(format!("{other} is not a time")),
    }
}

pub(super) fn write(nodes: &[&Node]) -> Result<Vec<u8>> {
    let visits = |node: &Node| {
        if node.visits.is_empty() { vec![json!({"url": node.target.to_string()})] } else { node.visits.clone() }
    };
    let entries: BTreeMap<String, Vec<Value>> =
        nodes.iter().map(|node| (node.id().to_string(), visits(node))).collect();
    indented(&entries)
}
