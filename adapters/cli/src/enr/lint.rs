//! The command `enr lint`: what is wrong with a record, how much it matters, and what clients do.

use std::fmt;
use std::net::IpAddr;

use peerless::limits::RECORD_BYTES_MAX;
use peerless::netfilter::{Scope, scope};
use peerless::wire::DecodeError;
use serde::Serialize;

use super::decoded::Decoded;
use super::meaning::{Meaning, meaning};

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Clients refuse the record.
    Error,
    /// Some clients cannot find or reach the node.
    Warning,
    /// Worth knowing.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    /// The entry or part that it is about.
    pub(crate) about: String,
    pub(crate) what: String,
    /// What clients do.
    pub(crate) effect: &'static str,
}

/// The findings about a record, the gravest first.
#[derive(Serialize)]
pub(crate) struct Report {
    findings: Vec<Finding>,
}

impl Report {
    /// Checks a record, whose text may have padding.
    pub(crate) fn new(decoded: &Decoded<'_>, is_padded: bool) -> Self {
        let mut lint = Lint { decoded, findings: Vec::new() };
        if is_padded {
            let effect = "sigp/enr, go-ethereum and this program refuse the text; take the `=` away";
            lint.find(Severity::Error, "text", "base64 with padding", effect);
        }
        lint.structure();
        lint.signed_content();
        lint.values();
        lint.family("ip", "udp", "tcp");
        lint.family("ip6", "udp6", "tcp6");
        lint.addresses();
        lint.networks();
        lint.findings.sort_by_key(|finding| finding.severity);
        Self { findings: lint.findings }
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    #[cfg(test)]
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return f.write_str("nothing found");
        }
        let lines: Vec<String> = self
            .findings
            .iter()
            .map(|Finding { severity, about, what, effect }| format!("{severity:<8} {about:<10} {what}: {effect}"))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

const REFUSED: &str = "every client refuses the record";

struct Lint<'a> {
    decoded: &'a Decoded<'a>,
    findings: Vec<Finding>,
}

impl Lint<'_> {
    fn find(&mut self, severity: Severity, about: &str, what: impl Into<String>, effect: &'static str) {
        self.findings.push(Finding { severity, about: about.to_owned(), what: what.into(), effect });
    }

    fn has(&self, key: &str) -> bool {
        self.decoded.get(key).is_some()
    }

    fn port(&self, key: &str) -> Option<u16> {
        let mut value = self.decoded.get(key)?.value;
        value.u16().ok()
    }

    /// Size, structure and order.
    fn structure(&mut self) {
        let bytes = self.decoded.raw.len();
        if bytes > RECORD_BYTES_MAX {
            self.find(Severity::Error, "size", format!("{bytes} bytes, {RECORD_BYTES_MAX} at most"), REFUSED);
        } else if bytes + 20 > RECORD_BYTES_MAX {
            let what = format!("{bytes} of {RECORD_BYTES_MAX} bytes");
            self.find(Severity::Note, "size", what, "another entry may not fit");
        }
        if let Some((unread, error)) = self.decoded.unread {
            let what = format!("the last {unread} bytes cannot be read ({error})");
            self.find(Severity::Error, "structure", what, REFUSED);
        }
        let keys: Vec<&[u8]> = self.decoded.entries.iter().map(|entry| entry.key).collect();
        for pair in keys.windows(2).filter(|pair| pair[0] >= pair[1]) {
            let name = pair[1].escape_ascii().to_string();
            let what = if pair[0] == pair[1] {
                "named twice".to_owned()
            } else {
                format!("after {}, which sorts behind it", pair[0].escape_ascii())
            };
            self.find(Severity::Error, &name, what, REFUSED);
        }
    }

    /// Identity, signature and sequence number.
    fn signed_content(&mut self) {
        match self.decoded.get("id").map(meaning) {
            Some(Meaning::Known(scheme)) if scheme == "v4" => {}
            Some(Meaning::Known(scheme)) => {
                self.find(Severity::Error, "id", format!("{scheme:?} is not v4"), "clients do not know another scheme");
            }
            Some(_) => {}
            None => self.find(Severity::Error, "id", "missing", REFUSED),
        }
        if !self.has("secp256k1") {
            self.find(Severity::Error, "secp256k1", "missing", REFUSED);
        }
        match self.decoded.signature {
            Some(signature) if signature.len() == 64 => {}
            Some(signature) => {
                let what = format!("{} bytes instead of 64", signature.len());
                self.find(Severity::Error, "signature", what, REFUSED);
            }
            None => self.find(Severity::Error, "signature", "not a string of 64 bytes", REFUSED),
        }
        if self.decoded.record == Err(DecodeError::BadSignature) {
            self.find(Severity::Error, "signature", "not made by the record's key over its content", REFUSED);
        }
        match self.decoded.seq {
            Some(0) => {
                self.find(
                    Severity::Warning,
                    "sequence",
                    "0",
                    "discv4 peers read it as \"no record\" and do not ask for it",
                );
            }
            Some(_) => {}
            None => self.find(Severity::Error, "sequence", "not an integer of 64 bits in its shortest form", REFUSED),
        }
    }

    /// Values that are not of their key's form.
    fn values(&mut self) {
        for entry in &self.decoded.entries {
            let Meaning::Malformed(why) = meaning(entry) else { continue };
            let what = format!("malformed, {why} ({})", const_hex::encode(entry.raw));
            let name = entry.key.escape_ascii().to_string();
            match entry.key {
                b"id" | b"secp256k1" => self.find(Severity::Error, &name, what, REFUSED),
                b"ip" | b"ip6" | b"udp" | b"udp6" | b"tcp" | b"tcp6" => {
                    self.find(Severity::Warning, &name, what, "sigp/enr refuses the record; others ignore the entry");
                }
                _ => self.find(
                    Severity::Warning,
                    &name,
                    what,
                    "clients ignore the entry, or drop the node as of no network",
                ),
            }
        }
    }

    /// An address and its ports.
    fn family(&mut self, ip: &str, udp: &str, tcp: &str) {
        for key in [udp, tcp] {
            let Some(port) = self.port(key) else { continue };
            if port == 0 {
                self.find(Severity::Warning, key, "port 0", "nothing can be sent to it; leave the entry out");
            } else if port <= 1024 && key == udp {
                let effect = "geth does not take nodes with UDP ports up to 1024 from other nodes";
                self.find(Severity::Warning, key, format!("low port {port}"), effect);
            }
            if !self.has(ip) {
                self.find(
                    Severity::Note,
                    key,
                    format!("without {ip}"),
                    "the port is of no use, unless the address is learnt",
                );
            }
        }
        if !self.has(ip) {
            return;
        }
        // The ports of IPv6 fall back to those of IPv4.
        let falls_back = |key: &str| key.ends_with('6') && self.has(&key[..3]);
        let (has_udp, has_tcp) = (self.has(udp) || falls_back(udp), self.has(tcp) || falls_back(tcp));
        match (has_udp, has_tcp) {
            (true, true) => {}
            (true, false) => {
                self.find(
                    Severity::Note,
                    tcp,
                    "missing",
                    "the node serves discovery alone, as bootnodes do: it is not dialled",
                );
            }
            (false, true) => {
                self.find(Severity::Warning, udp, "missing", "discovery protocols cannot contact the node and drop it");
            }
            (false, false) => {
                self.find(Severity::Warning, ip, "without ports", "the node can be neither contacted nor dialled");
            }
        }
    }

    fn addresses(&mut self) {
        if !self.has("ip") && !self.has("ip6") {
            let effect = "crawlers and geth drop the node; discv5 learns the address from its packets";
            self.find(Severity::Warning, "ip", "no address", effect);
        }
        for (key, other) in [("udp6", "udp"), ("tcp6", "tcp")] {
            match (self.port(key), self.port(other)) {
                (Some(port), Some(same)) if port == same => {
                    let effect =
                        "geth falls back to it, 7 bytes could be saved; sigp/enr does not fall back and needs it";
                    self.find(Severity::Note, key, format!("equal to {other}"), effect);
                }
                (None, Some(_)) if self.has("ip6") && !self.has(key) => {
                    let effect = "geth falls back to the port of IPv4; sigp/enr (reth's discv5, Lighthouse) sees no IPv6 endpoint";
                    self.find(Severity::Note, key, "missing", effect);
                }
                _ => {}
            }
        }
        for (key, ip) in self.ips() {
            if let IpAddr::V6(v6) = ip
                && v6.to_ipv4_mapped().is_some()
            {
                let effect = "geth and this program read it as IPv4, others as an unreachable IPv6 address";
                self.find(Severity::Warning, key, format!("{ip} is an IPv4 address in IPv6"), effect);
            }
            let (what, effect) = match scope(ip) {
                Scope::Loopback => ("loopback", "clients on other machines cannot reach it, and do not relay it"),
                Scope::Lan => ("private", "clients outside of the network cannot reach it, and do not relay it"),
                Scope::Shared => ("of a carrier's NAT", "clients elsewhere cannot reach it"),
                Scope::Special => ("special", "clients do not send to it"),
                _ => continue,
            };
            self.find(Severity::Warning, key, format!("{ip} is {what}"), effect);
        }
    }

    fn ips(&self) -> Vec<(&'static str, IpAddr)> {
        let v4 = self.decoded.get("ip").and_then(|entry| {
            let mut value = entry.value;
            value.fixed::<4>().ok()
        });
        let v6 = self.decoded.get("ip6").and_then(|entry| {
            let mut value = entry.value;
            value.fixed::<16>().ok()
        });
        let v4 = v4.map(|ip| ("ip", IpAddr::from(*ip)));
        v4.into_iter().chain(v6.map(|ip| ("ip6", IpAddr::from(*ip)))).collect()
    }

    fn networks(&mut self) {
        let is_consensus = self.has("eth2") || self.has("opstack");
        let is_other = self.has("opel") || self.has("bsc") || self.has("c");
        if !self.has("eth") && !is_consensus && !is_other {
            let effect = "execution clients that filter by fork id do not dial the node; right for a bootnode of several networks";
            self.find(Severity::Warning, "eth", "missing", effect);
        }
        if self.has("eth") && self.has("eth2") {
            let effect = "clients of either layer may take the node for one of theirs";
            self.find(Severity::Note, "eth", "beside eth2", effect);
        }
    }
}
