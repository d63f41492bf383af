//! The node that a command is about, as the user names it: an enode URL or a record, resolved to a contact.
//!
//! The core resolves no host names. The program resolves one that the user writes.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow};
use peerless::crypto::PublicKey;
use peerless::crypto::{Crypto, Secp256k1};
use peerless::wire::enode::{Contact, Enode, Host};
use peerless::wire::enr::Record;

/// A node by its enode URL or record.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    /// `enode://…`
    Enode(Enode),
    /// `enr:…`
    Record(Box<Record>),
}

impl FromStr for Target {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(&Secp256k1::new(), text)
    }
}

/// As the enode URL or the record.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enode(enode) => enode.fmt(f),
            Self::Record(record) => record.fmt(f),
        }
    }
}

impl Target {
    /// Reads text as [`FromStr`] does, with the given primitives: for reading many.
    pub(crate) fn parse(crypto: &dyn Crypto, text: &str) -> Result<Self> {
        let text = text.trim();
        if Self::is_record(text) {
            let record = Record::parse(crypto, text).map_err(|error| anyhow!("not a node record: {error}"))?;
            Ok(Self::Record(Box::new(record)))
        } else {
            Ok(Self::Enode(text.parse().map_err(|error| anyhow!("neither an enode URL nor a record: {error}"))?))
        }
    }

    fn is_record(text: &str) -> bool {
        text.get(..4).is_some_and(|scheme| scheme.eq_ignore_ascii_case("enr:"))
    }

    /// Whether text is meant as a node, and not as the name of a file.
    pub(crate) fn is_meant(text: &str) -> bool {
        let is_url = text.get(..8).is_some_and(|scheme| scheme.eq_ignore_ascii_case("enode://"));
        let is_key = text.len() == 128 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Self::is_record(text) || is_url || is_key
    }

    /// The node's key.
    pub(crate) fn key(&self) -> PublicKey {
        match self {
            Self::Record(record) => *record.key(),
            Self::Enode(enode) => enode.key,
        }
    }

    /// The record, if the user gave one.
    pub(crate) fn record(&self) -> Option<&Record> {
        match self {
            Self::Record(record) => Some(record),
            Self::Enode(_) => None,
        }
    }

    /// Returns the node's contact. Of a host name the first address is taken.
    pub(crate) fn resolve(&self) -> Result<Contact> {
        match self {
            Self::Record(record) => record.contact().context("the record names no address"),
            Self::Enode(enode) => {
                let addr = enode.addr.as_ref().context("the enode URL names no address")?;
                let ip = match &addr.host {
                    Host::Ip(ip) => *ip,
                    Host::Name(name) => lookup(name, addr.tcp)?,
                };
                Ok(Contact::new(enode.key, ip, addr.udp, addr.tcp))
            }
        }
    }
}

fn lookup(name: &str, port: u16) -> Result<IpAddr> {
    let mut addresses = (name, port).to_socket_addrs().with_context(|| format!("cannot resolve {name}"))?;
    Ok(addresses.next().with_context(|| format!("{name} has no address"))?.ip())
}

/// Resolves each target.
pub(crate) fn resolve_all(targets: &[Target]) -> Result<Vec<Contact>> {
    targets.iter().map(Target::resolve).collect()
}
