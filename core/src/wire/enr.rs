//! Ethereum node records (EIP-778): text and RLP, order, size, signature, typed entries.
//!
//! A [`Record`] exists only if all of these are valid, so its holder need not check again. Typed accessors read one
//! entry each; an entry of a wrong form counts as absent and does not affect the others. Comparing sequence numbers and
//! trusting addresses is left to the requester of the record.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use super::DecodeError;
use super::enode::Contact;
use super::forkid::ForkId;
use super::rlp::{self, Bounds, List, RlpStream};
use crate::crypto::{Crypto, Digest, PublicKey, Secp256k1, Signature};
use crate::limits::RECORD_BYTES_MAX;

mod builder;
#[cfg(test)]
mod tests;

pub use builder::{RESERVED_KEYS, RecordBuilder};

/// The encoded value of `id` for `v4`, the only identity scheme.
const ID_V4: &[u8] = b"\x82v4";

/// A verified record: its signature, order and size are checked at construction.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The encoding, at most 300 bytes.
    raw: Box<[u8]>,
    seq: u64,
    key: PublicKey,
}

impl Record {
    /// Decodes and verifies a record (EIP-778, "Record Encoding").
    ///
    /// # Errors
    /// If it is malformed, larger than 300 bytes, unsorted, of an unknown scheme, or not signed by its key.
    pub fn decode(crypto: &dyn Crypto, raw: &[u8]) -> Result<Self, DecodeError> {
        if raw.len() > RECORD_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let mut list = rlp::list(raw, Bounds::SMALL)?;
        let signature = list.bytes()?;
        let signed = list.rest();
        let seq = list.u64()?;

        // Order first: with a repeated key, readers of the first and of the last entry would see different records.
        let mut last_name: Option<&[u8]> = None;
        let (mut id, mut key) = (None, None);
        while !list.is_empty() {
            let name = list.bytes()?;
            let value = list;
            list.raw()?;
            if last_name.is_some_and(|last| last >= name) {
                return Err(DecodeError::Unsorted);
            }
            last_name = Some(name);
            match name {
                b"id" => id = Some(value),
                b"secp256k1" => key = Some(value),
                _ => {}
            }
        }

        if id.is_none_or(|mut id| id.raw() != Ok(ID_V4)) {
            return Err(DecodeError::UnknownScheme);
        }
        let key = key.ok_or(DecodeError::MissingField)?.fixed::<33>()?;
        let key = crypto.public_key_from_compressed(key).ok_or(DecodeError::BadKey)?;
        let signature = Signature(signature.try_into().map_err(|_| DecodeError::WrongLength)?);
        if !crypto.verify(&key, &signed_digest(crypto, signed), &signature) {
            return Err(DecodeError::BadSignature);
        }
        Ok(Self { raw: raw.into(), seq, key })
    }

    /// Reads text as [`FromStr`] does, with the given primitives: for reading many records.
    ///
    /// # Errors
    /// If the text is in neither encoding, or the record does not [`decode`](Record::decode).
    pub fn parse(crypto: &dyn Crypto, text: &str) -> Result<Self, RecordTextError> {
        let raw = decode_text(text.trim())?;
        Self::decode(crypto, &raw).map_err(RecordTextError::Record)
    }

    /// The record's RLP encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The record's RLP encoding.
    pub fn into_bytes(self) -> Box<[u8]> {
        self.raw
    }

    /// The sequence number: higher replaces lower.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The key that signed the record.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// All entries in the record's order, `id` and `secp256k1` included.
    pub fn entries(&self) -> Entries<'_> {
        entries_in(&self.raw)
    }

    /// The RLP encoding of the value of `key`, which may be a string or a list.
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.entries().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// Returns a cursor whose next item is the value of `key`.
    fn value(&self, key: &[u8]) -> Option<List<'_>> {
        self.entries().value(key)
    }

    fn port(&self, key: &[u8]) -> Option<u16> {
        self.value(key)?.u16().ok()
    }

    /// The IPv4 address.
    pub fn ip(&self) -> Option<Ipv4Addr> {
        self.value(b"ip")?.fixed::<4>().ok().map(|ip| Ipv4Addr::from(*ip))
    }

    /// The IPv6 address.
    pub fn ip6(&self) -> Option<Ipv6Addr> {
        self.value(b"ip6")?.fixed::<16>().ok().map(|ip| Ipv6Addr::from(*ip))
    }

    /// The UDP port of the IPv4 address.
    pub fn udp(&self) -> Option<u16> {
        self.port(b"udp")
    }

    /// The TCP port of the IPv4 address.
    pub fn tcp(&self) -> Option<u16> {
        self.port(b"tcp")
    }

    /// The UDP port of the IPv6 address: `udp6`, or `udp` without it.
    pub fn udp6(&self) -> Option<u16> {
        self.port(b"udp6").or_else(|| self.udp())
    }

    /// The TCP port of the IPv6 address: `tcp6`, or `tcp` without it.
    pub fn tcp6(&self) -> Option<u16> {
        self.port(b"tcp6").or_else(|| self.tcp())
    }

    /// The `eth` entry's fork id (EIP-2124; `[[hash, next], ..]`; further items are ignored).
    pub fn fork_id(&self) -> Option<ForkId> {
        fork_id_in(&self.raw)
    }

    /// Whether the record names this UDP endpoint, of either address family.
    pub fn names(&self, at: SocketAddr) -> bool {
        match at.ip() {
            IpAddr::V4(ip) => self.ip() == Some(ip) && self.udp() == Some(at.port()),
            IpAddr::V6(ip) => self.ip6() == Some(ip) && self.udp6() == Some(at.port()),
        }
    }

    /// The node as a contact, at the first of [`Record::endpoints`]. `None` without a usable address; a missing port is 0.
    pub fn contact(&self) -> Option<Contact> {
        self.endpoint().map(|(ip, udp, tcp)| Contact::new(self.key, ip, udp, tcp))
    }

    /// The node as a contact at each of [`Record::endpoints`]: a host that cannot reach the first may reach the second.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> + use<> {
        let key = self.key;
        let id = key.node_id();
        self.endpoints().map(move |(ip, udp, tcp)| Contact::with_id(key, id, ip, udp, tcp))
    }

    /// The first of [`Record::endpoints`].
    pub fn endpoint(&self) -> Option<(IpAddr, u16, u16)> {
        self.endpoints().next()
    }

    /// The address, UDP port and TCP port of each family that has a usable address, in geth's order: the address of the wider
    /// scope first, IPv4 if both are equal. A missing port is 0.
    pub fn endpoints(&self) -> impl Iterator<Item = (IpAddr, u16, u16)> + use<> {
        let Places { ip, ip6, udp, tcp, udp6, tcp6 } = self.places();
        let unicast = |ip: &IpAddr| !ip.is_multicast();
        let ip4 = ip.map(IpAddr::V4).filter(unicast);
        // An IPv4-mapped IPv6 address counts as IPv4.
        let ip6 = ip6.map(|ip| IpAddr::V6(ip).to_canonical()).filter(unicast);
        let is_ip6_first = ip4.zip(ip6).is_some_and(|(ip4, ip6)| breadth(ip6) > breadth(ip4));
        let order = if is_ip6_first { [ip6, ip4] } else { [ip4, ip6] };
        let with_ports = |ip: IpAddr| {
            let (udp, tcp) = if ip.is_ipv4() { (udp, tcp) } else { (udp6.or(udp), tcp6.or(tcp)) };
            (ip, udp.unwrap_or(0), tcp.unwrap_or(0))
        };
        order.map(|ip| ip.map(with_ports)).into_iter().flatten()
    }

    /// All addresses and ports, in one pass.
    fn places(&self) -> Places {
        let mut places = Places::default();
        let mut list = self.entries().list;
        while let Ok(name) = list.bytes() {
            let mut value = list;
            match name {
                b"ip" => places.ip = value.fixed::<4>().ok().map(|ip| Ipv4Addr::from(*ip)),
                b"ip6" => places.ip6 = value.fixed::<16>().ok().map(|ip| Ipv6Addr::from(*ip)),
                b"udp" => places.udp = value.u16().ok(),
                b"tcp" => places.tcp = value.u16().ok(),
                b"udp6" => places.udp6 = value.u16().ok(),
                b"tcp6" => places.tcp6 = value.u16().ok(),
                _ => {}
            }
            if list.raw().is_err() {
                break;
            }
        }
        places
    }
}

/// The addresses and ports of a record.
#[derive(Default)]
struct Places {
    ip: Option<Ipv4Addr>,
    ip6: Option<Ipv6Addr>,
    udp: Option<u16>,
    tcp: Option<u16>,
    udp6: Option<u16>,
    tcp6: Option<u16>,
}

/// The entries of a record that was verified before.
fn entries_in(raw: &[u8]) -> Entries<'_> {
    let mut list = rlp::checked_list(raw);
    // The signature and the sequence number, which every record has.
    let _ = (list.raw(), list.raw());
    Entries { list }
}

/// The sequence number in the encoding of a record that was verified before.
pub(crate) fn seq_in(raw: &[u8]) -> u64 {
    let mut list = rlp::checked_list(raw);
    // After the signature.
    list.raw().and_then(|_| list.u64()).unwrap_or(0)
}

/// The fork id in the encoding of a record that was verified before. See [`Record::fork_id`].
pub(crate) fn fork_id_in(raw: &[u8]) -> Option<ForkId> {
    ForkId::decode(&mut entries_in(raw).value(b"eth")?.list().ok()?).ok()
}

/// The rank of an address's scope, in geth's order.
fn breadth(ip: IpAddr) -> u8 {
    let (link_local, private) = match ip {
        IpAddr::V4(ip) => (ip.is_link_local(), ip.is_private()),
        IpAddr::V6(ip) => (ip.is_unicast_link_local(), ip.is_unique_local()),
    };
    match () {
        () if ip.is_unspecified() => 0,
        () if ip.is_loopback() => 1,
        () if link_local => 2,
        () if private => 3,
        () => 4,
    }
}

/// The hash that a record's signature covers: of the list `[seq, k, v, ..]` with the encoded items `signed`.
fn signed_digest(crypto: &dyn Crypto, signed: &[u8]) -> Digest {
    crypto.signed_hash(&list_of(&[signed]))
}

/// Encodes the list of all the encoded items in `parts`.
fn list_of(parts: &[&[u8]]) -> Vec<u8> {
    let mut stream = RlpStream::new();
    stream.begin_unbounded_list();
    for part in parts {
        stream.append_raw(part, 1);
    }
    stream.finalize_unbounded_list();
    stream.out().to_vec()
}

/// An iterator over the entries of a [`Record`]; see [`Record::entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    list: List<'a>,
}

impl<'a> Entries<'a> {
    /// A cursor whose next item is the value of `key`.
    fn value(&self, key: &[u8]) -> Option<List<'a>> {
        let mut list = self.list;
        while let Ok(name) = list.bytes() {
            if name == key {
                return Some(list);
            }
            list.raw().ok()?;
        }
        None
    }
}

/// Yields keys with their values' RLP encodings.
impl<'a> Iterator for Entries<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.list.bytes().ok()?, self.list.raw().ok()?))
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record(seq {}, {:?})", self.seq, self.key)
    }
}

/// The `enr:` text form.
impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enr:{}", BASE64URL_NOPAD.encode_display(&self.raw))
    }
}

/// The error of a text that is not a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum RecordTextError {
    /// The text is empty, or empty after `enr:`.
    Empty,
    /// Not URL-safe base64 without padding and with unused bits zero (EIP-778, "Text Encoding").
    Base64 {
        /// The position of the fault, in bytes after `enr:`.
        at: usize,
    },
    /// An odd number of hexadecimal digits, or other characters.
    Hex,
    /// The text is well-formed, but the record is not.
    Record(DecodeError),
}

impl fmt::Display for RecordTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("empty node record"),
            Self::Base64 { at } => {
                write!(f, "node record is not URL-safe base64 without padding, from character {at} on")
            }
            Self::Hex => f.write_str("node record is neither enr: text nor hexadecimal"),
            Self::Record(error) => write!(f, "invalid node record: {error}"),
        }
    }
}

impl core::error::Error for RecordTextError {}

/// Reads `enr:` text, with or without its prefix, or hexadecimal with or without `0x`; surrounding spaces are ignored.
/// The record is verified with a new [`Secp256k1`] at each call: see [`Record::parse`].
impl FromStr for Record {
    type Err = RecordTextError;

    fn from_str(text: &str) -> Result<Self, RecordTextError> {
        Self::parse(&Secp256k1::new(), text)
    }
}

fn decode_text(text: &str) -> Result<Vec<u8>, RecordTextError> {
    // A record is a list of 56 bytes or more, so its base64 begins with a character that hexadecimal does not have.
    let (body, base64) = match text.strip_prefix("enr:") {
        Some(body) => (body, true),
        None => (text.strip_prefix("0x").unwrap_or(text), text.starts_with('-')),
    };
    if body.is_empty() {
        return Err(RecordTextError::Empty);
    }
    // Two characters a byte in hexadecimal, four for three bytes in base64.
    if body.len() > if base64 { RECORD_BYTES_MAX.div_ceil(3) * 4 } else { RECORD_BYTES_MAX * 2 } {
        return Err(RecordTextError::Record(DecodeError::TooLarge));
    }
    if base64 {
        BASE64URL_NOPAD.decode(body.as_bytes()).map_err(|error| RecordTextError::Base64 { at: error.position })
    } else {
        const_hex::decode(body).map_err(|_| RecordTextError::Hex)
    }
}
