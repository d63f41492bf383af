//! The command `dns sign`.

use std::fmt;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use peerless::crypto::{Crypto, Secp256k1};
use peerless::wire::dns::{Domain, Link, Plan};
use serde::Serialize;

use super::folder::{Folder, now};
use crate::output::Output;
use crate::{Outcome, key};

/// Arguments of `dns sign`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The definition's folder; its enrtree-info.json is rewritten
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// The file with the signing key: 64 hexadecimal digits
    #[arg(long, env = "PEERLESS_KEY", value_name = "FILE")]
    key: PathBuf,
    /// The list's domain [default: that of its url, or else the folder's name]
    #[arg(long, env = "PEERLESS_DOMAIN", value_name = "NAME")]
    domain: Option<Domain>,
    /// The sequence number [default: one more than the present one]
    #[arg(long, env = "PEERLESS_SEQ", value_name = "N")]
    seq: Option<u64>,
}

/// Runs `dns sign`.
pub(super) fn run(output: &Output, arguments: &Arguments) -> Result<Outcome> {
    let mut folder = Folder::read(&arguments.folder)?;
    let secret = key::load_signing(&arguments.key)?;
    let mut content = folder.load()?;
    content.links.sort_by_key(Link::to_string);
    let domain = match (&arguments.domain, &content.url) {
        (Some(domain), _) => domain.clone(),
        (None, Some(url)) => url.domain.clone(),
        (None, None) => {
            let path = arguments.folder.canonicalize().context("the folder has no name")?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.parse().with_context(|| format!("{name:?} is not a domain: name one by --domain"))?
        }
    };
    let seq = match arguments.seq {
        Some(seq) => seq,
        None => folder.info.seq.checked_add(1).context("there is no higher sequence number")?,
    };
    if seq < folder.info.seq {
        tracing::warn!(seq, before = folder.info.seq, "clients do not accept a sequence number that goes back");
    }
    let crypto = Secp256k1::new();
    let url = Link { key: crypto.public_key(&secret), domain };
    let tree = Plan::new(seq, &content.records, &content.links)?.sign(&crypto, &secret);
    let root = tree.root().to_string();
    let signature = root.rsplit_once("sig=").map(|(_, signature)| signature.to_owned()).unwrap_or_default();
    (folder.info.url, folder.info.seq, folder.info.signature) = (url.to_string(), seq, signature);
    folder.info.links = Some(content.links.iter().map(Link::to_string).collect());
    folder.info.last_modified = now();
    folder.write_info()?;
    let (nodes, links, entries) = (content.records.len(), content.links.len(), tree.entries().len() + 1);
    output.report(&Report { url: folder.info.url, seq, nodes, links, entries });
    Ok(Outcome::Success)
}

#[derive(Serialize)]
struct Report {
    url: String,
    seq: u64,
    nodes: usize,
    links: usize,
    entries: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, seq, nodes, links, entries } = self;
        write!(f, "{url}\nsequence {seq}: {nodes} nodes, {links} links, {entries} TXT records")
    }
}
