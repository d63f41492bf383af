//! Node addresses: the `enode://` text form, and the resolved [`Contact`] that machines use.
//!
//! The text form is `enode://<128 hex>@host:port[?discport=N]`, read as by geth's `ParseV4`, but stricter: paths,
//! fragments, and names that end in a number are refused. Host names are kept ([`NamedNode`]): a node has its driver
//! resolve them.

use alloc::string::String;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use crate::crypto::{Crypto, NodeId, PublicKey};
use crate::limits::HOST_NAME_BYTES_MAX;
use crate::netfilter::canonical;

#[cfg(test)]
mod tests;

const SCHEME: &str = "enode://";

/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 128;

/// A node's key, id, address and ports. The id always belongs to the key, and the address is canonical.
///
/// What is asked of it most often comes together, after the key: see [`Entry`](crate::kad::table::Entry).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Contact {
    key: PublicKey,
    id: NodeId,
    ip: IpAddr,
    udp: u16,
    tcp: u16,
}

impl Contact {
    /// Makes a contact: computes the id and makes the address canonical.
    pub fn new(key: PublicKey, ip: IpAddr, udp: u16, tcp: u16) -> Self {
        Self::with_id(key, key.node_id(), ip, udp, tcp)
    }

    /// As [`Contact::new`], with the id that `crypto` computes or remembers.
    pub fn with_crypto(crypto: &dyn Crypto, key: PublicKey, ip: IpAddr, udp: u16, tcp: u16) -> Self {
        Self::with_id(key, crypto.node_id(&key), ip, udp, tcp)
    }

    /// As [`Contact::new`], with an id that was computed for `key` before.
    pub(crate) const fn with_id(key: PublicKey, id: NodeId, ip: IpAddr, udp: u16, tcp: u16) -> Self {
        Self { key, id, ip: canonical(SocketAddr::new(ip, 0)).ip(), udp, tcp }
    }

    /// The node's public key.
    #[inline]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The node's id, `keccak256` of its key.
    #[inline]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// The node's canonical address.
    #[inline]
    pub const fn ip(&self) -> IpAddr {
        self.ip
    }

    /// The node's discv4 port; 0 if it has none.
    #[inline]
    pub const fn udp(&self) -> u16 {
        self.udp
    }

    /// The node's RLPx port; 0 if it does not listen.
    #[inline]
    pub const fn tcp(&self) -> u16 {
        self.tcp
    }

    /// The same node at another address.
    #[must_use]
    pub const fn with_ip(self, ip: IpAddr) -> Self {
        Self::with_id(self.key, self.id, ip, self.udp, self.tcp)
    }

    /// The same node with another discv4 port.
    #[must_use]
    pub const fn with_udp(self, udp: u16) -> Self {
        Self { udp, ..self }
    }

    /// The same node with another RLPx port.
    #[must_use]
    pub const fn with_tcp(self, tcp: u16) -> Self {
        Self { tcp, ..self }
    }

    /// The address that its discv4 packets are sent to.
    pub const fn udp_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.udp)
    }

    /// The address that its sessions are dialled at.
    pub const fn tcp_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.tcp)
    }
}

/// As an enode URL.
impl fmt::Display for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_url(f, &self.key, &self.ip.into(), self.tcp, self.udp)
    }
}

/// The host part of an enode URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Host {
    /// A literal address, canonical.
    Ip(IpAddr),
    /// A name that the embedder must resolve: letters, digits, hyphens, underscores and dots, 253 bytes at most.
    Name(String),
}

impl From<IpAddr> for Host {
    fn from(ip: IpAddr) -> Self {
        Self::Ip(ip)
    }
}

/// An IPv6 address in brackets.
impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(IpAddr::V4(ip)) => ip.fmt(f),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

/// The address part of an enode URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EnodeAddr {
    /// Literal address or name.
    pub host: Host,
    /// RLPx port; 0 if the node does not listen.
    pub tcp: u16,
    /// discv4 port; 0 if the node has none.
    pub udp: u16,
}

/// An enode URL.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Enode {
    /// The node's public key.
    pub key: PublicKey,
    /// Host and ports; `None` for a URL with a key only.
    pub addr: Option<EnodeAddr>,
}

impl Enode {
    /// The node as a contact, if the host is a literal address.
    pub fn contact(&self) -> Option<Contact> {
        match &self.addr {
            Some(EnodeAddr { host: Host::Ip(ip), tcp, udp }) => Some(Contact::new(self.key, *ip, *udp, *tcp)),
            _ => None,
        }
    }

    /// The node as a named one, if the host is a name.
    pub fn named(&self) -> Option<NamedNode> {
        match &self.addr {
            Some(EnodeAddr { host: Host::Name(host), tcp, udp }) => NamedNode::new(self.key, host, *udp, *tcp),
            _ => None,
        }
    }
}

/// A node whose host is a name: an enode URL that is no [`Contact`] before the name is resolved.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct NamedNode {
    /// The node's public key.
    pub key: PublicKey,
    /// The name, of at most 253 bytes.
    pub host: String,
    /// discv4 port; 0 if the node has none.
    pub udp: u16,
    /// RLPx port; 0 if the node does not listen.
    pub tcp: u16,
}

impl NamedNode {
    /// A node at a host name. `None` if `host` is not a valid one.
    pub fn new(key: PublicKey, host: &str, udp: u16, tcp: u16) -> Option<Self> {
        is_name(host).then(|| Self { key, host: host.into(), udp, tcp })
    }

    /// The node at an address of its host.
    pub fn at(&self, ip: IpAddr) -> Contact {
        Contact::new(self.key, ip, self.udp, self.tcp)
    }
}

/// As an enode URL.
impl fmt::Display for NamedNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_url(f, &self.key, &Host::Name(self.host.clone()), self.tcp, self.udp)
    }
}

/// Shows the UDP port only where it differs from the TCP port.
impl fmt::Display for Enode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.addr {
            Some(addr) => write_url(f, &self.key, &addr.host, addr.tcp, addr.udp),
            None => write!(f, "{SCHEME}{}", self.key),
        }
    }
}

fn write_url(f: &mut fmt::Formatter<'_>, key: &PublicKey, host: &Host, tcp: u16, udp: u16) -> fmt::Result {
    write!(f, "{SCHEME}{key}@{host}:{tcp}")?;
    if udp != tcp { write!(f, "?discport={udp}") } else { Ok(()) }
}

/// The error of a text that is not an enode URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EnodeError {
    /// The text begins with neither `enode://` nor a key.
    Scheme,
    /// The key has another number of hexadecimal digits than 128.
    KeyLength,
    /// The key has characters that are not hexadecimal digits.
    KeyDigits,
    /// The key is not a point on the curve.
    KeyNotOnCurve,
    /// The host between `@` and the port is empty.
    HostMissing,
    /// The host is neither an address nor a valid name.
    Host,
    /// An IPv6 address without brackets.
    HostBrackets,
    /// There is no port.
    PortMissing,
    /// The port is not a number up to 65535.
    Port,
    /// `discport` is not a number up to 65535.
    DiscPort,
    /// A path or a fragment follows the port.
    Tail,
}

impl fmt::Display for EnodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "node URL does not begin with enode://",
            Self::KeyLength => "node key is not 128 hexadecimal digits long",
            Self::KeyDigits => "node key has characters that are not hexadecimal digits",
            Self::KeyNotOnCurve => "node key is not a point on secp256k1",
            Self::HostMissing => "node URL has no host",
            Self::Host => "node URL's host is neither an address nor a name",
            Self::HostBrackets => "IPv6 address in a node URL must stand in brackets",
            Self::PortMissing => "node URL has no port",
            Self::Port => "node URL's port is not a number up to 65535",
            Self::DiscPort => "node URL's discport is not a number up to 65535",
            Self::Tail => "node URL has a path or a fragment",
        })
    }
}

impl core::error::Error for EnodeError {}

/// Reads a URL, or a key alone, with or without `enode://`. The scheme and the key's digits may be in either case;
/// surrounding spaces, an empty path and query parameters other than `discport` are ignored.
impl FromStr for Enode {
    type Err = EnodeError;

    fn from_str(text: &str) -> Result<Self, EnodeError> {
        let text = text.trim();
        let url = strip_scheme(text);
        let rest = url.unwrap_or(text);
        match rest.split_once('@') {
            Some((key, addr)) if url.is_some() => Ok(Self { key: parse_key(key)?, addr: Some(parse_addr(addr)?) }),
            None if url.is_some() || is_key(rest) => Ok(Self { key: parse_key(rest)?, addr: None }),
            _ => Err(EnodeError::Scheme),
        }
    }
}

/// Returns the text after `enode://`, if `text` begins with it.
fn strip_scheme(text: &str) -> Option<&str> {
    let scheme = text.get(..SCHEME.len())?;
    scheme.eq_ignore_ascii_case(SCHEME).then(|| &text[SCHEME.len()..])
}

/// Whether `text` has the form of a key: 128 hexadecimal digits.
pub(super) fn is_key(text: &str) -> bool {
    text.len() == KEY_DIGITS && text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

fn parse_key(text: &str) -> Result<PublicKey, EnodeError> {
    if text.len() != KEY_DIGITS {
        return Err(EnodeError::KeyLength);
    }
    if !is_key(text) {
        return Err(EnodeError::KeyDigits);
    }
    let xy = const_hex::decode_to_array(text).map_err(|_| EnodeError::KeyDigits)?;
    PublicKey::from_xy_secp256k1(&xy).map_err(|_| EnodeError::KeyNotOnCurve)
}

/// `host:port[/][?query]`.
fn parse_addr(text: &str) -> Result<EnodeAddr, EnodeError> {
    let (authority, query) = match text.split_once('?') {
        Some((authority, query)) => (authority, query),
        None => (text, ""),
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '#']) || query.contains('#') {
        return Err(EnodeError::Tail);
    }
    let (host, port) = split_port(authority)?;
    let tcp = parse_port(port).ok_or(EnodeError::Port)?;
    let disc_port = query.split('&').find_map(|parameter| parameter.strip_prefix("discport="));
    let udp = match disc_port {
        Some(port) => parse_port(port).ok_or(EnodeError::DiscPort)?,
        None => tcp,
    };
    Ok(EnodeAddr { host, tcp, udp })
}

/// Splits an authority into its host and port.
fn split_port(authority: &str) -> Result<(Host, &str), EnodeError> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (ip, port) = bracketed.split_once(']').ok_or(EnodeError::Host)?;
        let ip = ip.parse::<Ipv6Addr>().map_err(|_| EnodeError::Host)?;
        let port = port.strip_prefix(':').ok_or(EnodeError::PortMissing)?;
        return Ok((Host::Ip(IpAddr::V6(ip).to_canonical()), port));
    }
    if authority.parse::<Ipv6Addr>().is_ok() {
        return Err(EnodeError::HostBrackets);
    }
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    let host = match host.parse::<Ipv4Addr>() {
        Ok(ip) => Host::Ip(ip.into()),
        Err(_) if host.is_empty() => return Err(EnodeError::HostMissing),
        Err(_) if host.parse::<Ipv6Addr>().is_ok() => return Err(EnodeError::HostBrackets),
        Err(_) if is_name(host) => Host::Name(host.into()),
        Err(_) => return Err(EnodeError::Host),
    };
    if port.is_empty() { Err(EnodeError::PortMissing) } else { Ok((host, port)) }
}

/// Whether `host` is a valid name (RFC 1123, with underscores, and the root's final dot). A name whose last label is a
/// number is a mistyped address: no top-level domain is a number.
fn is_name(host: &str) -> bool {
    let labels = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let ends_in_number = labels.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= HOST_NAME_BYTES_MAX && labels.split('.').all(is_label) && !ends_in_number
}

/// Reads decimal digits only: `parse` alone would accept a sign.
fn parse_port(text: &str) -> Option<u16> {
    if text.bytes().all(|digit| digit.is_ascii_digit()) { text.parse().ok() } else { None }
}
