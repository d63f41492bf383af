//! The command `dns lint`: everything that is wrong with a definition, without changing it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Result;
use peerless::crypto::Secp256k1;
use peerless::limits::LIST_RECORDS_MAX;
use peerless::netfilter::{Scope, scope};
use peerless::wire::dns::Plan;
use serde::Serialize;

use super::folder::{Content, Finding, Folder};
use crate::Outcome;
use crate::output::Output;

/// Runs `dns lint`.
pub(super) fn run(output: &Output, path: &Path) -> Result<Outcome> {
    let folder = Folder::read(path)?;
    let mut content = folder.check();
    check_nodes(&mut content);
    check_links(&mut content);
    check_signature(&folder, &mut content);
    let errors = content.findings.iter().filter(|finding| finding.is_error).count();
    let warnings = content.findings.len() - errors;
    let report = Report {
        url: folder.info.url,
        seq: folder.info.seq,
        nodes: content.records.len(),
        links: content.links.len(),
        errors,
        warnings,
        findings: content.findings,
    };
    output.report(&report);
    Ok(if errors == 0 { Outcome::Success } else { Outcome::Failure })
}

/// What makes a record useless or suspicious in a list.
fn check_nodes(content: &mut Content) {
    let Content { records, findings, .. } = content;
    let mut endpoints = BTreeMap::new();
    for record in records.iter() {
        let id = record.key().node_id().to_string();
        let mut warn = |what: String| findings.push(Finding::warning(&id, what));
        let Some((ip, udp, tcp)) = record.endpoint() else {
            warn("the record names no address".to_owned());
            continue;
        };
        if scope(ip) != Scope::Global {
            warn(format!("{ip} is not a public address"));
        }
        if udp == 0 {
            warn("the record names no UDP port".to_owned());
        }
        if tcp == 0 {
            warn("the record names no TCP port".to_owned());
        }
        if let Some(other) = endpoints.insert((ip, udp, tcp), id.clone()) {
            warn(format!("the node {other} has the same endpoint"));
        }
    }
    if records.is_empty() {
        findings.push(Finding::warning("nodes.json", "the list is empty"));
    }
    if records.len() > LIST_RECORDS_MAX as usize {
        findings.push(Finding::error("nodes.json", format!("more than {LIST_RECORDS_MAX} nodes")));
    }
}

fn check_links(content: &mut Content) {
    let Content { url, links, findings, .. } = content;
    for link in links.iter().filter(|link| url.as_ref() == Some(link)) {
        findings.push(Finding::warning(link.to_string(), "the list links to itself"));
    }
}

/// Whether the signature is there and of this content.
fn check_signature(folder: &Folder, content: &mut Content) {
    let signature = match folder.signature() {
        Ok(Some(signature)) => signature,
        Ok(None) => return content.findings.push(Finding::warning("enrtree-info.json", "not signed")),
        Err(error) => return content.findings.push(Finding::error("enrtree-info.json", error.to_string())),
    };
    let Some(url) = &content.url else { return };
    let is_signed = match Plan::new(folder.info.seq, &content.records, &content.links) {
        Ok(plan) => plan.with_signature(&Secp256k1::new(), &url.key, signature).is_some(),
        Err(error) => return content.findings.push(Finding::error("nodes.json", error.to_string())),
    };
    if !is_signed {
        let what = "the signature is not of these nodes, links and sequence number by the key of the url";
        content.findings.push(Finding::error("enrtree-info.json", what));
    }
}

#[derive(Serialize)]
struct Report {
    url: String,
    seq: u64,
    nodes: usize,
    links: usize,
    errors: usize,
    warnings: usize,
    findings: Vec<Finding>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { is_error, of, what } in &self.findings {
            writeln!(f, "{}: {of}: {what}", if *is_error { "error" } else { "warning" })?;
        }
        let Self { seq, nodes, links, errors, warnings, .. } = self;
        write!(f, "sequence {seq}: {nodes} nodes, {links} links; {errors} errors, {warnings} warnings")
    }
}
