//! A JSON list of texts: geth's static-nodes.json and trusted-nodes.json, reth's older known-peers.json, polycli's input.

use anyhow::Result;
use serde_json::Value;

use super::{Format, Reader, indented};

pub(super) fn read(items: Vec<Value>, reader: &mut Reader) -> Format {
    for (number, item) in (1..).zip(items) {
        let at = format_args!("item {number}");
        match item {
            // As polycli and geth pass it over.
            Value::String(text) if text.trim().is_empty() => {}
            Value::String(text) => reader.add_text(at, &text),
            other => reader.add(at, Err(format!("{other} is not a text"))),
        }
    }
    Format::List
}

pub(super) fn write(texts: impl Iterator<Item = String>) -> Result<Vec<u8>> {
    indented(&texts.collect::<Vec<_>>())
}
