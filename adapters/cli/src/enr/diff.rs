//! The command `enr diff`: what differs between two records.

use std::fmt;

use serde::Serialize;

use super::decoded::{Decoded, Entry};
use super::meaning::{Meaning, meaning};

/// The differences of two records.
#[derive(Serialize)]
pub(crate) struct Difference {
    /// Whether the records are the same, byte for byte.
    same: bool,
    /// Whether they are of one key.
    same_node: bool,
    seq: [Option<u64>; 2],
    entries: Vec<Changed>,
}

#[derive(Serialize)]
struct Changed {
    key: String,
    before: Option<Value>,
    after: Option<Value>,
}

#[derive(Serialize)]
struct Value {
    rlp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Value {
    fn new(entry: &Entry<'_>) -> Self {
        let value = match meaning(entry) {
            Meaning::Known(words) => Some(words),
            Meaning::Malformed(why) => Some(format!("MALFORMED: {why}")),
            Meaning::Unknown(_) => None,
        };
        Self { rlp: const_hex::encode(entry.raw), value }
    }
}

impl Difference {
    pub(crate) fn new(before: &Decoded<'_>, after: &Decoded<'_>) -> Self {
        let find = |decoded: &Decoded<'_>, key: &[u8]| {
            let entry = decoded.entries.iter().find(|entry| entry.key == key);
            entry.map(|entry| (entry.raw.to_vec(), Value::new(entry)))
        };
        let mut keys: Vec<&[u8]> = before.entries.iter().chain(&after.entries).map(|entry| entry.key).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut entries = Vec::new();
        let mut same_node = true;
        for key in keys {
            let (before, after) = (find(before, key), find(after, key));
            if before.as_ref().map(|(raw, _)| raw) != after.as_ref().map(|(raw, _)| raw) {
                same_node &= key != b"secp256k1";
                let value = |side: Option<(Vec<u8>, Value)>| side.map(|(_, value)| value);
                entries.push(Changed {
                    key: key.escape_ascii().to_string(),
                    before: value(before),
                    after: value(after),
                });
            }
        }
        Self { same: before.raw == after.raw, same_node, seq: [before.seq, after.seq], entries }
    }

    pub(crate) fn is_same(&self) -> bool {
        self.same
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.same {
            return f.write_str("the records are the same");
        }
        let mut lines = Vec::new();
        if !self.same_node {
            lines.push("the records are of different nodes".to_owned());
        }
        let [before, after] = self.seq;
        if before != after {
            let number = |seq: Option<u64>| seq.map_or("not readable".to_owned(), |seq| seq.to_string());
            lines.push(format!("~ sequence    {} -> {}", number(before), number(after)));
        }
        let words = |Value { rlp, value }: &Value| value.clone().unwrap_or_else(|| rlp.clone());
        for Changed { key, before, after } in &self.entries {
            lines.push(match (before, after) {
                (None, Some(after)) => format!("+ {key:<11} {}", words(after)),
                (Some(before), None) => format!("- {key:<11} {}", words(before)),
                (Some(before), Some(after)) => format!("~ {key:<11} {} -> {}", words(before), words(after)),
                (None, None) => continue,
            });
        }
        if lines.is_empty() {
            lines.push("only the signatures or the encodings differ".to_owned());
        }
        f.write_str(&lines.join("\n"))
    }
}
