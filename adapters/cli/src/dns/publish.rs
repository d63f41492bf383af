//! The commands `dns to-..`: the TXT records of a signed list in the forms that services import.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use super::folder::Folder;
use crate::Outcome;
use crate::files::{self, Overwrite, Readers};
use crate::output::Output;

/// Seconds for which a root may be kept, as in geth.
const ROOT_TTL: u32 = 30 * 60;
/// Seconds for which another entry may be kept, as in geth: four weeks.
const ENTRY_TTL: u32 = 4 * 7 * 24 * 3600;
/// The same where no more than a day is permitted.
const ENTRY_TTL_CLOUDFLARE: u32 = 24 * 3600;
/// Bytes of one string of a TXT record.
const STRING_BYTES_MAX: usize = 255;
/// Changes in one batch of Route 53, where replacing counts as two.
const BATCH_CHANGES_MAX: usize = 1000 / 2;
/// Bytes of values in one batch, likewise.
const BATCH_BYTES_MAX: usize = 32_000 / 2;

/// Arguments of `dns to-..`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The signed definition's folder
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file to write [default: stdout]
    #[arg(long, env = "PEERLESS_OUT", value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
}

/// The form of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// A JSON object of names and texts, as of geth.
    Txt,
    /// A zone file (RFC 1035).
    ZoneFile,
    /// Change batches, one a line.
    Route53,
}

/// Runs `dns to-..`.
pub(super) fn run(output: &Output, arguments: &Arguments, format: Format) -> Result<Outcome> {
    let (url, tree) = Folder::read(&arguments.folder)?.tree()?;
    let names: Vec<(String, String)> = tree.names(&url.domain).collect();
    let seq = tree.root().seq;
    let records = names.len();
    let content = match format {
        Format::Txt => {
            let names: BTreeMap<String, String> = names.into_iter().collect();
            Content::Objects(vec![json!(names)])
        }
        Format::ZoneFile => Content::Text(zone_file(&names, &url.to_string(), seq)),
        Format::Route53 => Content::Objects(batches(&names, seq)),
    };
    match &arguments.out {
        None => content.print(output),
        Some(path) => {
            let mut file = files::create(path, &[], arguments.overwrite, Readers::All)?;
            let text = content.text();
            writeln!(file, "{text}")
                .and_then(|()| file.sync_all())
                .with_context(|| format!("cannot write {}", path.display()))?;
            output.report(&Written { file: path.display().to_string(), seq, records });
        }
    }
    Ok(Outcome::Success)
}

/// What is written.
enum Content {
    /// JSON objects, one a line.
    Objects(Vec<Value>),
    Text(String),
}

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.trim_end().to_owned(),
            Self::Objects(objects) => match &objects[..] {
                // For people, and as geth has it.
                [only] => format!("{only:#}"),
                objects => objects.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"),
            },
        }
    }

    fn print(&self, output: &Output) {
        match self {
            Self::Objects(objects) if output.is_json() => objects.iter().for_each(|object| output.report(object)),
            Self::Text(text) if output.is_json() => output.report(&json!({ "zone": text })),
            _ => output.say(self.text()),
        }
    }
}

/// A zone file: the root comes last, so that an importer that goes line by line publishes it when its entries are there.
fn zone_file(names: &[(String, String)], url: &str, seq: u64) -> String {
    let mut text = format!("; {url}\n; sequence {seq}\n");
    let line = |(name, entry): &(String, String), ttl| format!("{name}. {ttl} IN TXT {}\n", quoted(entry));
    let Some((root, entries)) = names.split_first() else { return text };
    text.extend(entries.iter().map(|entry| line(entry, ENTRY_TTL_CLOUDFLARE)));
    text.push_str(&line(root, ROOT_TTL));
    text
}

/// Change batches within the limits of the service; the root is in the last one.
fn batches(names: &[(String, String)], seq: u64) -> Vec<Value> {
    let Some((root, entries)) = names.split_first() else { return Vec::new() };
    let all = entries.iter().map(|entry| (entry, ENTRY_TTL)).chain([(root, ROOT_TTL)]);
    let mut batches: Vec<Vec<Value>> = vec![Vec::new()];
    let mut bytes = 0;
    for ((name, entry), ttl) in all {
        let value = quoted(entry);
        let is_full = batches.last().is_some_and(|batch| batch.len() == BATCH_CHANGES_MAX);
        if is_full || bytes + value.len() > BATCH_BYTES_MAX {
            batches.push(Vec::new());
            bytes = 0;
        }
        bytes += value.len();
        let record = json!({"Name": name, "Type": "TXT", "TTL": ttl, "ResourceRecords": [{ "Value": value }]});
        if let Some(batch) = batches.last_mut() {
            batch.push(json!({"Action": "UPSERT", "ResourceRecordSet": record}));
        }
    }
    let count = batches.len();
    let batch = |(number, changes)| json!({"Comment": format!("node list, sequence {seq}, batch {number} of {count}"), "Changes": changes});
    (1..).zip(batches).map(batch).collect()
}

/// A text as the quoted strings of a TXT record. Entries have neither quotes nor backslashes.
fn quoted(text: &str) -> String {
    let strings = text.as_bytes().chunks(STRING_BYTES_MAX);
    let strings: Vec<String> = strings.map(|string| format!("\"{}\"", String::from_utf8_lossy(string))).collect();
    strings.join(" ")
}

#[derive(Serialize)]
struct Written {
    file: String,
    seq: u64,
    records: usize,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} TXT records, sequence {}", self.file, self.records, self.seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize, bytes: usize) -> Vec<(String, String)> {
        let root = ("list.example".to_owned(), "enrtree-root:v1".to_owned());
        let entry = |n| (format!("{n}.list.example"), "x".repeat(bytes));
        std::iter::once(root).chain((0..count).map(entry)).collect()
    }

    #[test]
    fn batches_keep_to_the_limits_and_end_with_the_root() {
        for (count, bytes) in [(0, 1), (2000, 1), (500, 400), (13, 2000)] {
            let batches = batches(&names(count, bytes), 7);
            let changes = |batch: &Value| batch["Changes"].as_array().unwrap().clone();
            assert_eq!(batches.iter().map(|batch| changes(batch).len()).sum::<usize>(), count + 1);
            for batch in &batches {
                let value =
                    |change: &Value| change["ResourceRecordSet"]["ResourceRecords"][0]["Value"].as_str().unwrap().len();
                assert!(changes(batch).len() <= 500 && changes(batch).iter().map(value).sum::<usize>() <= 16_000);
            }
            let last = changes(batches.last().unwrap()).pop().unwrap();
            assert_eq!(
                (&last["ResourceRecordSet"]["Name"], &last["ResourceRecordSet"]["TTL"]),
                (&json!("list.example"), &json!(1800))
            );
        }
    }

    #[test]
    fn a_zone_file_has_strings_of_255_bytes_and_the_root_last() {
        let text = zone_file(&names(1, 600), "enrtree://KEY@list.example", 7);
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with(';')).collect();
        let x = |n| format!("\"{}\"", "x".repeat(n));
        assert_eq!(lines[0], format!("0.list.example. 86400 IN TXT {} {} {}", x(255), x(255), x(90)));
        assert_eq!(lines[1..], ["list.example. 1800 IN TXT \"enrtree-root:v1\""]);
    }
}
