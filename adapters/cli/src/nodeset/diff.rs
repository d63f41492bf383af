//! The command `nodeset diff`: what a second list adds, removes and changes.

use std::fmt;

use peerless::wire::enr::Record;
use serde::Serialize;

use super::model::{Node, NodeSet};

/// The differences of two lists.
#[derive(Serialize)]
pub(super) struct Difference {
    /// Whether there are none.
    same: bool,
    /// Nodes in both without a difference.
    unchanged: usize,
    added: Vec<Named>,
    removed: Vec<Named>,
    changed: Vec<Changed>,
}

#[derive(Serialize)]
struct Named {
    id: String,
    node: String,
}

/// What differs of a node.
#[derive(Serialize)]
struct Changed {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<[Option<u64>; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    endpoint: Option<[String; 2]>,
    /// Entries of the record, endpoints included.
    entries: Vec<Entry>,
}

#[derive(Serialize)]
struct Entry {
    key: String,
    /// In hexadecimal RLP.
    before: Option<String>,
    after: Option<String>,
}

impl Difference {
    pub(super) fn new(before: &NodeSet, after: &NodeSet) -> Self {
        let named = |node: &Node| Named { id: node.id().to_string(), node: node.target.to_string() };
        let missing = |from: &NodeSet, of: &NodeSet| -> Vec<Named> {
            of.nodes().iter().filter(|node| from.get(&node.id()).is_none()).map(named).collect()
        };
        let both = || before.nodes().iter().filter_map(|node| Some((node, after.get(&node.id())?)));
        let changed: Vec<Changed> = both().filter_map(|(before, after)| Changed::new(before, after)).collect();
        let (added, removed) = (missing(before, after), missing(after, before));
        let unchanged = both().count() - changed.len();
        Self { same: added.is_empty() && removed.is_empty() && changed.is_empty(), unchanged, added, removed, changed }
    }

    pub(super) fn is_same(&self) -> bool {
        self.same
    }
}

impl Changed {
    fn new(before: &Node, after: &Node) -> Option<Self> {
        let seq = [before.record().map(Record::seq), after.record().map(Record::seq)];
        let endpoint = [endpoint(before), endpoint(after)];
        let entries = match (before.record(), after.record()) {
            (Some(before), Some(after)) => entries(before, after),
            _ => Vec::new(),
        };
        let changed = Self {
            id: before.id().to_string(),
            seq: (seq[0] != seq[1]).then_some(seq),
            endpoint: (endpoint[0] != endpoint[1]).then_some(endpoint),
            entries,
        };
        let is_changed = changed.seq.is_some() || changed.endpoint.is_some() || !changed.entries.is_empty();
        is_changed.then_some(changed)
    }
}

/// A node's address and ports, those of its enode URL.
fn endpoint(node: &Node) -> String {
    match node.enode().and_then(|enode| enode.addr) {
        None => "none".to_owned(),
        Some(addr) if addr.udp == addr.tcp => format!("{}:{}", addr.host, addr.tcp),
        Some(addr) => format!("{}:{} (UDP {})", addr.host, addr.tcp, addr.udp),
    }
}

fn entries(before: &Record, after: &Record) -> Vec<Entry> {
    let mut keys: Vec<&[u8]> = before.entries().chain(after.entries()).map(|(key, _)| key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter(|key| before.get(key) != after.get(key))
        .map(|key| Entry {
            key: key.escape_ascii().to_string(),
            before: before.get(key).map(const_hex::encode),
            after: after.get(key).map(const_hex::encode),
        })
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Named { node, .. } in &self.removed {
            writeln!(f, "- {node}")?;
        }
        for Named { node, .. } in &self.added {
            writeln!(f, "+ {node}")?;
        }
        for Changed { id, seq, endpoint, entries } in &self.changed {
            writeln!(f, "~ {id}")?;
            if let Some([before, after]) = seq {
                let seq = |seq: &Option<u64>| seq.map_or("no record".to_owned(), |seq| seq.to_string());
                writeln!(f, "    seq: {} -> {}", seq(before), seq(after))?;
            }
            if let Some([before, after]) = endpoint {
                writeln!(f, "    endpoint: {before} -> {after}")?;
            }
            for Entry { key, before, after } in entries {
                let value = |value: &Option<String>| value.clone().unwrap_or("none".to_owned());
                writeln!(f, "    {key}: {} -> {}", value(before), value(after))?;
            }
        }
        let (added, removed, changed) = (self.added.len(), self.removed.len(), self.changed.len());
        write!(f, "{added} added, {removed} removed, {changed} changed, {} unchanged", self.unchanged)
    }
}
