//! The definition of a list: a folder with geth's `enrtree-info.json` and `nodes.json`.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context as _, Result, anyhow, bail};
use peerless::crypto::{Crypto, NodeId, RecoverableSignature, Secp256k1};
use peerless::wire::dns::{Link, Plan, Tree};
use peerless::wire::enr::Record;
use serde::{Deserialize, Serialize};

/// The name of the file with what belongs to the whole list.
const INFO: &str = "enrtree-info.json";
/// The name of the file with the nodes.
const NODES: &str = "nodes.json";

/// `enrtree-info.json`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Info {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) url: String,
    #[serde(default)]
    pub(super) seq: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) signature: String,
    #[serde(default)]
    pub(super) links: Option<Vec<String>>,
    #[serde(default, rename = "lastModified", skip_serializing_if = "String::is_empty")]
    pub(super) last_modified: String,
}

/// A node of `nodes.json`. Further fields of geth's, such as scores and times, are passed over.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Node {
    #[serde(default)]
    pub(super) seq: u64,
    pub(super) record: String,
}

/// A definition as its files have it, unchecked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) info: Info,
    /// By what the file says are their ids.
    pub(super) nodes: BTreeMap<String, Node>,
}

/// Something wrong with a definition.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    /// Whether the list cannot be used because of it.
    pub(super) is_error: bool,
    /// The node, link or file that it concerns.
    pub(super) of: String,
    pub(super) what: String,
}

impl Finding {
    pub(super) fn error(of: impl Into<String>, what: impl Into<String>) -> Self {
        Self { is_error: true, of: of.into(), what: what.into() }
    }

    pub(super) fn warning(of: impl Into<String>, what: impl Into<String>) -> Self {
        Self { is_error: false, of: of.into(), what: what.into() }
    }
}

/// The content of a definition, checked.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Content {
    pub(super) url: Option<Link>,
    pub(super) records: Vec<Record>,
    pub(super) links: Vec<Link>,
    pub(super) findings: Vec<Finding>,
}

impl Folder {
    /// Reads a folder. Without `enrtree-info.json` its content is empty.
    pub(super) fn read(path: &Path) -> Result<Self> {
        if !path.is_dir() {
            bail!("{} is not a folder", path.display());
        }
        let info = parse_file(&path.join(INFO))?.unwrap_or_default();
        let nodes = parse_file(&path.join(NODES))?.with_context(|| format!("{} has no {NODES}", path.display()))?;
        Ok(Self { path: path.to_owned(), info, nodes })
    }

    /// The definition of a list that was read from DNS.
    pub(super) fn new(path: &Path, info: Info, records: &[Record]) -> Self {
        let node = |record: &Record| {
            (record.key().node_id().to_string(), Node { seq: record.seq(), record: record.to_string() })
        };
        Self { path: path.to_owned(), info, nodes: records.iter().map(node).collect() }
    }

    /// Writes both files, each by way of a new file that takes the old one's place.
    pub(super) fn write(&self) -> Result<()> {
        fs::create_dir_all(&self.path).with_context(|| format!("cannot make the folder {}", self.path.display()))?;
        self.write_nodes()?;
        self.write_info()
    }

    /// Writes `enrtree-info.json` alone.
    pub(super) fn write_info(&self) -> Result<()> {
        replace(&self.path.join(INFO), &serde_json::to_string_pretty(&self.info)?)
    }

    fn write_nodes(&self) -> Result<()> {
        replace(&self.path.join(NODES), &serde_json::to_string_pretty(&self.nodes)?)
    }

    /// Whether the folder holds a definition already.
    pub(super) fn exists(path: &Path) -> bool {
        path.join(INFO).exists() || path.join(NODES).exists()
    }

    /// Reads all texts, and notes what is wrong with each.
    pub(super) fn check(&self) -> Content {
        let crypto = Secp256k1::new();
        let mut content = Content::default();
        match self.info.url.parse::<Link>() {
            _ if self.info.url.is_empty() => content.findings.push(Finding::warning(INFO, "no url")),
            Ok(url) => content.url = Some(url),
            Err(error) => content.findings.push(Finding::error(INFO, format!("url: {error}"))),
        }
        for text in self.info.links.iter().flatten() {
            match Link::parse(&crypto, text) {
                Ok(link) if content.links.contains(&link) => {
                    content.findings.push(Finding::warning(text, "the link stands twice"));
                }
                Ok(link) => content.links.push(link),
                Err(error) => content.findings.push(Finding::error(text, error.to_string())),
            }
        }
        for (name, node) in &self.nodes {
            match check_node(&crypto, name, node) {
                Ok(record) => content.records.push(record),
                Err(what) => content.findings.push(Finding::error(name, what)),
            }
        }
        content
    }

    /// The checked content; an error if anything is wrong with it.
    pub(super) fn load(&self) -> Result<Content> {
        let content = self.check();
        let mut errors = content.findings.iter().filter(|finding| finding.is_error);
        match errors.next() {
            None => Ok(content),
            Some(first) => {
                let others = errors.count();
                let more = if others > 0 { format!(" (and {others} more: see dns lint)") } else { String::new() };
                Err(anyhow!("{}: {}: {}{more}", self.path.display(), first.of, first.what))
            }
        }
    }

    /// The signed tree, with its address.
    pub(super) fn tree(&self) -> Result<(Link, Tree)> {
        let content = self.load()?;
        let url = content.url.as_ref().with_context(|| format!("{} is not signed", self.path.display()))?;
        let signature = self.signature()?.with_context(|| format!("{} is not signed", self.path.display()))?;
        let plan = Plan::new(self.info.seq, &content.records, &content.links)?;
        let tree = plan.with_signature(&Secp256k1::new(), &url.key, signature).with_context(|| {
            format!(
                "the signature of {} is not of these nodes, links and sequence number by the key of {}: sign it again",
                self.path.display(),
                self.info.url
            )
        })?;
        Ok((url.clone(), tree))
    }

    /// The signature, if there is one.
    pub(super) fn signature(&self) -> Result<Option<RecoverableSignature>> {
        let text = &self.info.signature;
        if text.is_empty() {
            return Ok(None);
        }
        // The root is the only place that has one in text.
        let hash = "A".repeat(26);
        let root = format!("enrtree-root:v1 e={hash} l={hash} seq=0 sig={text}");
        let root: peerless::wire::dns::Root = root.parse().map_err(|error| anyhow!("signature in {INFO}: {error}"))?;
        Ok(Some(root.signature))
    }
}

fn check_node(crypto: &dyn Crypto, name: &str, node: &Node) -> Result<Record, String> {
    let record = Record::parse(crypto, &node.record).map_err(|error| error.to_string())?;
    let id: NodeId = name.parse().map_err(|error| format!("{error}"))?;
    if record.key().node_id() != id {
        return Err(format!("the record is of the node {}", record.key().node_id()));
    }
    if record.seq() != node.seq {
        return Err(format!("seq is {}, that of the record {}", node.seq, record.seq()));
    }
    Ok(record)
}

/// Reads a JSON file; `None` if it does not exist.
fn parse_file<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        result => result.with_context(|| format!("cannot read {}", path.display()))?,
    };
    serde_json::from_str(&text).map(Some).with_context(|| format!("{} is malformed", path.display()))
}

/// Writes a file by way of a new one beside it, so that there is never half a file.
fn replace(path: &Path, text: &str) -> Result<()> {
    let new = path.with_extension("json.new");
    fs::write(&new, format!("{text}\n"))
        .and_then(|()| fs::rename(&new, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

/// The time now, as geth writes it.
pub(super) fn now() -> String {
    humantime::format_rfc3339_seconds(SystemTime::now()).to_string()
}
