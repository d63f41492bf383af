//! The command `dns diff`: what changed from one definition to another.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Result;
use peerless::wire::enr::Record;
use serde::Serialize;

use super::folder::Folder;
use crate::Outcome;
use crate::output::Output;

/// Runs `dns diff`.
pub(super) fn run(output: &Output, old: &Path, new: &Path) -> Result<Outcome> {
    let (old_folder, new_folder) = (Folder::read(old)?, Folder::read(new)?);
    let (old, new) = (old_folder.load()?, new_folder.load()?);
    let by_id = |records: Vec<Record>| -> BTreeMap<String, Record> {
        records.into_iter().map(|record| (record.key().node_id().to_string(), record)).collect()
    };
    let (old_nodes, new_nodes) = (by_id(old.records), by_id(new.records));
    let mut report = Report {
        url: [old_folder.info.url, new_folder.info.url],
        seq: [old_folder.info.seq, new_folder.info.seq],
        ..Report::default()
    };
    let ids: BTreeSet<&String> = old_nodes.keys().chain(new_nodes.keys()).collect();
    for id in ids {
        let seq = |record: &Record| record.seq();
        match (old_nodes.get(id), new_nodes.get(id)) {
            (Some(old), None) => report.removed.push(Node { id: id.clone(), seq: old.seq() }),
            (None, Some(new)) => report.added.push(Node { id: id.clone(), seq: new.seq() }),
            (Some(old), Some(new)) if old != new => {
                report.changed.push(Change { id: id.clone(), seq: [seq(old), seq(new)] });
            }
            _ => report.unchanged += 1,
        }
    }
    let (old_links, new_links) = (&old.links, &new.links);
    report.links_added = new_links.iter().filter(|link| !old_links.contains(link)).map(ToString::to_string).collect();
    report.links_removed = old_links.iter().filter(|link| !new_links.contains(link)).map(ToString::to_string).collect();
    output.report(&report);
    Ok(Outcome::Success)
}

#[derive(Serialize)]
struct Node {
    id: String,
    seq: u64,
}

#[derive(Serialize)]
struct Change {
    id: String,
    seq: [u64; 2],
}

#[derive(Serialize, Default)]
struct Report {
    url: [String; 2],
    seq: [u64; 2],
    added: Vec<Node>,
    removed: Vec<Node>,
    changed: Vec<Change>,
    unchanged: usize,
    links_added: Vec<String>,
    links_removed: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [old, new] = &self.url;
        if old != new {
            writeln!(f, "url {old}\n -> {new}")?;
        }
        for Node { id, seq } in &self.removed {
            writeln!(f, "- {id} seq {seq}")?;
        }
        for Node { id, seq } in &self.added {
            writeln!(f, "+ {id} seq {seq}")?;
        }
        for Change { id, seq: [old, new] } in &self.changed {
            writeln!(f, "~ {id} seq {old} -> {new}")?;
        }
        for link in &self.links_removed {
            writeln!(f, "- {link}")?;
        }
        for link in &self.links_added {
            writeln!(f, "+ {link}")?;
        }
        let [old, new] = self.seq;
        write!(
            f,
            "sequence {old} -> {new}: {} nodes added, {} removed, {} changed, {} unchanged",
            self.added.len(),
            self.removed.len(),
            self.changed.len(),
            self.unchanged
        )
    }
}
