//! The node that a command is about, as the user names it: an enode URL or a record, resolved to a contact.
//!
//! Commands that contact one node once resolve its host name themselves. A running node is given the name, and asks for it
//! before each dial.

use std::fmt;
use std::net::{IpAddr, ToSocketAddrs};
use std::str::FromStr;

use anyhow::{Context as _, Result, anyhow, bail};
use peerless::crypto::{Crypto, PublicKey, Secp256k1};
use peerless::netfilter::NetFilter;
use peerless::wire::enode::{Contact, Enode, Host, NamedNode};
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

/// Where a running node may contact another one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    /// At these endpoints, the first one first: two for a record with both address families.
    At(Vec<Contact>),
    /// At a host name.
    Named(NamedNode),
}

/// The port by which a node is to be contacted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Port {
    /// Of discovery.
    Udp,
    /// Of RLPx.
    Tcp,
}

impl Target {
    /// Where the node can be contacted.
    ///
    /// # Errors
    /// Why it can never be: no address, no port, an address that `filter` forbids or that this machine cannot reach.
    pub(crate) fn place(&self, filter: &NetFilter, port: Port) -> Result<Place> {
        let contacts: Vec<Contact> = match self {
            Self::Record(record) => record.contacts().collect(),
            Self::Enode(enode) => {
                if let Some(named) = enode.named() {
                    let number = if port == Port::Udp { named.udp } else { named.tcp };
                    return if number == 0 { Err(no_port(port)) } else { Ok(Place::Named(named)) };
                }
                enode.contact().into_iter().collect()
            }
        };
        if contacts.is_empty() {
            bail!("it has no address");
        }
        let number = |contact: &Contact| if port == Port::Udp { contact.udp() } else { contact.tcp() };
        let with_port: Vec<Contact> = contacts.iter().filter(|contact| number(contact) != 0).copied().collect();
        let Some(first) = with_port.first() else { return Err(no_port(port)) };
        let usable: Vec<Contact> = with_port.iter().filter(|contact| filter.permits(contact.ip())).copied().collect();
        if usable.is_empty() {
            if !filter.reach().permits(first.ip()) {
                bail!("this machine cannot reach {}", first.ip());
            }
            bail!("--netrestrict forbids {}", first.ip());
        }
        Ok(Place::At(usable))
    }
}

fn no_port(port: Port) -> anyhow::Error {
    match port {
        Port::Udp => anyhow!("it has no UDP port"),
        Port::Tcp => anyhow!("it has no TCP port"),
    }
}

/// The places of the targets that can be contacted; warns of the others, with the reasons.
///
/// # Errors
/// If none of them can be, and there are some.
pub(crate) fn places(targets: &[Target], what: &str, filter: &NetFilter, port: Port) -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for target in targets {
        match target.place(filter, port) {
            Ok(place) => places.push(place),
            Err(why) => tracing::warn!("the {what} {target} is never contacted: {why}"),
        }
    }
    if places.is_empty() && !targets.is_empty() {
        let why = targets.iter().find_map(|target| target.place(filter, port).err());
        bail!("no {what} can be contacted{}", why.map(|why| format!(": {why}")).unwrap_or_default());
    }
    Ok(places)
}

fn lookup(name: &str, port: u16) -> Result<IpAddr> {
    let mut addresses = (name, port).to_socket_addrs().with_context(|| format!("cannot resolve {name}"))?;
    Ok(addresses.next().with_context(|| format!("{name} has no address"))?.ip())
}

/// Resolves each target.
pub(crate) fn resolve_all(targets: &[Target]) -> Result<Vec<Contact>> {
    targets.iter().map(Target::resolve).collect()
}

#[cfg(test)]
mod tests {
    use peerless::crypto::{Secp256k1, SecretKey};
    use peerless::netfilter::{Extent, Reach};
    use peerless::wire::enr::RecordBuilder;

    use super::*;

    const KEY: &str = "ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd31387574077f301b421bc84df7266c44e9e6d569fc56be00812904767bf5ccd1fc7f";

    /// A record with both address families.
    fn dual() -> Target {
        let mut builder = RecordBuilder::default();
        builder.endpoint("9.9.9.9:1".parse().unwrap(), 2).endpoint("[2a00::9]:3".parse().unwrap(), 4);
        let secret = SecretKey::from_bytes([7; 32]).unwrap();
        Target::Record(Box::new(builder.sign(&Secp256k1::new(), &secret, 1).unwrap()))
    }

    fn ips(target: &Target, filter: &NetFilter) -> Result<Vec<String>> {
        match target.place(filter, Port::Tcp)? {
            Place::At(contacts) => Ok(contacts.iter().map(|contact| contact.tcp_addr().to_string()).collect()),
            Place::Named(node) => Ok(vec![node.host]),
        }
    }

    #[test]
    fn a_record_with_both_families_is_contacted_by_what_the_machine_reaches() {
        let all = NetFilter::default();
        assert_eq!(ips(&dual(), &all).unwrap(), ["9.9.9.9:2", "[2a00::9]:4"]);
        let only6 = all.clone().with_reach(Reach { ip4: Extent::None, ip6: Extent::Global });
        assert_eq!(ips(&dual(), &only6).unwrap(), ["[2a00::9]:4"]);
        let local6 = all.with_reach(Reach { ip4: Extent::None, ip6: Extent::Local });
        assert_eq!(ips(&dual(), &local6).unwrap_err().to_string(), "this machine cannot reach 9.9.9.9");
        let loopback = "127.0.0.0/8".parse().unwrap();
        assert_eq!(ips(&dual(), &loopback).unwrap_err().to_string(), "--netrestrict forbids 9.9.9.9");
    }

    #[test]
    fn a_node_that_can_never_be_contacted_has_a_reason() {
        let filter = NetFilter::default();
        let place = |text: &str, port| format!("enode://{KEY}{text}").parse::<Target>().unwrap().place(&filter, port);
        for (text, port, why) in [
            ("", Port::Udp, "it has no address"),
            ("@1.2.3.4:5?discport=0", Port::Udp, "it has no UDP port"),
            ("@a.example:5?discport=0", Port::Udp, "it has no UDP port"),
            ("@1.2.3.4:0?discport=5", Port::Tcp, "it has no TCP port"),
        ] {
            assert_eq!(place(text, port).unwrap_err().to_string(), why, "{text}");
        }
        assert!(matches!(place("@a.example:5", Port::Udp).unwrap(), Place::Named(node) if node.host == "a.example"));
    }

    #[test]
    fn one_usable_node_of_a_list_is_enough() {
        let filter: NetFilter = "127.0.0.0/8".parse().unwrap();
        let target = |at: &str| format!("enode://{KEY}@{at}:5").parse::<Target>().unwrap();
        let list = [target("8.8.8.8"), target("127.0.0.1")];
        assert_eq!(places(&list, "bootnode", &filter, Port::Udp).unwrap().len(), 1);
        let error = places(&list[..1], "bootnode", &filter, Port::Udp).unwrap_err().to_string();
        assert_eq!(error, "no bootnode can be contacted: --netrestrict forbids 8.8.8.8");
        assert!(places(&[], "bootnode", &filter, Port::Udp).unwrap().is_empty());
    }
}
