//! A node as a row of a table: what NDJSON, CSV and Parquet write, with what is derived from the record for queries.

use peerless::wire::enr::Record;
use serde::Serialize;

use crate::networks::ForkReport;
use crate::nodeset::model::Node;
use crate::nodeset::time::Time;

/// The columns, in their order.
#[derive(Serialize)]
pub(super) struct Row {
    pub(super) id: String,
    pub(super) enr: Option<String>,
    pub(super) enode: Option<String>,
    pub(super) seq: Option<u64>,
    pub(super) ip: Option<String>,
    pub(super) udp: Option<u16>,
    pub(super) tcp: Option<u16>,
    pub(super) ip6: Option<String>,
    pub(super) udp6: Option<u16>,
    pub(super) tcp6: Option<u16>,
    pub(super) fork_hash: Option<String>,
    pub(super) fork_next: Option<u64>,
    pub(super) network: Option<String>,
    pub(super) snap: bool,
    pub(super) client: Option<String>,
    pub(super) score: Option<i64>,
    pub(super) first_response: Option<Time>,
    pub(super) last_response: Option<Time>,
    pub(super) last_check: Option<Time>,
    pub(super) kind: Option<&'static str>,
    pub(super) reputation: Option<i32>,
}

/// Columns that are derived from others.
pub(super) const DERIVED: [&str; 9] = ["seq", "ip", "udp", "tcp", "ip6", "udp6", "tcp6", "network", "snap"];

/// Whether a file begins as a table with these columns does.
pub(super) fn is_header(text: &str) -> bool {
    text.starts_with("id,enr,enode,")
}

impl Row {
    pub(super) fn new(node: &Node) -> Self {
        let endpoints = node.endpoints();
        let v4 = endpoints.iter().find(|endpoint| endpoint.ip.is_ipv4());
        let v6 = endpoints.iter().find(|endpoint| endpoint.ip.is_ipv6());
        let fork_id = node.fork_id();
        Self {
            id: node.id().to_string(),
            enr: node.record().map(Record::to_string),
            enode: node.enode().map(|enode| enode.to_string()),
            seq: node.record().map(Record::seq),
            ip: v4.map(|endpoint| endpoint.ip.to_string()),
            udp: v4.map(|endpoint| endpoint.udp),
            tcp: v4.map(|endpoint| endpoint.tcp),
            ip6: v6.map(|endpoint| endpoint.ip.to_string()),
            udp6: v6.map(|endpoint| endpoint.udp),
            tcp6: v6.map(|endpoint| endpoint.tcp),
            fork_hash: fork_id.map(|id| const_hex::encode(id.hash)),
            fork_next: fork_id.map(|id| id.next),
            network: fork_id.and_then(|id| ForkReport::new(id).into_network()),
            snap: node.record().is_some_and(|record| record.get(b"snap").is_some()),
            client: node.client(),
            score: node.score,
            first_response: node.first_response,
            last_response: node.last_response,
            last_check: node.last_check,
            kind: node.kind.map(|kind| kind.name()),
            reputation: node.reputation,
        }
    }
}
