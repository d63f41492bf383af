//! The six discv4 packets (`discv4.md`, "Wire Protocol"), with the extensions that EIP-8 and EIP-868 permit.
//!
//! A datagram is opened in steps, cheapest first, so that a machine can refuse it after each of them:
//! [`Datagram::split`] (size), [`Datagram::check_hash`] (one Keccak), [`Datagram::signer`] (a recovery),
//! [`Datagram::decode`].

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::DecodeError;
use super::enode::Contact;
use super::rlp::{self, Bounds, List, Writer};
use crate::crypto::{Crypto, Digest, PublicKey, RecoverableSignature, SecretKey};
use crate::netfilter::canonical;
use crate::time::UnixTime;

/// Smallest datagram: hash 32, signature 65, type 1.
pub const DATAGRAM_BYTES_MIN: usize = 98;
/// Largest datagram, in both directions.
pub const DATAGRAM_BYTES_MAX: usize = 1280;
/// Position of the signature.
const SIGNATURE_AT: usize = 32;
/// Position of the type, which the data follow.
const TYPE_AT: usize = SIGNATURE_AT + 65;
/// Neighbours in one packet: more would not fit if all addresses were IPv6.
pub const NEIGHBORS_PER_PACKET: usize = 12;

/// A packet's type byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Requests a Pong; the first half of an endpoint proof.
    Ping = 1,
    /// Answers a Ping by its hash.
    Pong = 2,
    /// Requests the nodes closest to a key.
    FindNode = 3,
    /// Answers a FindNode, in one or more packets.
    Neighbors = 4,
    /// Requests the node record (EIP-868).
    EnrRequest = 5,
    /// Answers an EnrRequest with the node record.
    EnrResponse = 6,
}

/// An endpoint inside a packet. Not trusted: replies are sent to the source address of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// Canonical address; `None` if the string is empty, as some nodes send it.
    pub ip: Option<IpAddr>,
    /// discv4 port.
    pub udp: u16,
    /// RLPx port.
    pub tcp: u16,
}

/// A relayed node. Its key is not checked to be on the curve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Neighbor {
    /// Canonical address.
    pub ip: IpAddr,
    /// discv4 port.
    pub udp: u16,
    /// RLPx port.
    pub tcp: u16,
    /// `x | y`.
    pub key: [u8; 64],
}

/// A packet's content. Expirations are UNIX seconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Packet {
    /// Type 1.
    Ping {
        /// 4 by the specification; ignored when read (EIP-8).
        version: u64,
        /// The sender's own view of its endpoint.
        from: Endpoint,
        /// The endpoint that the sender sends to.
        to: Endpoint,
        /// After this the packet is void.
        expiration: UnixTime,
        /// The sender's record sequence number (EIP-868).
        enr_seq: Option<u64>,
    },
    /// Type 2.
    Pong {
        /// The endpoint that the ping came from.
        to: Endpoint,
        /// The hash of the ping's datagram.
        ping_hash: Digest,
        /// After this the packet is void.
        expiration: UnixTime,
        /// The sender's record sequence number (EIP-868).
        enr_seq: Option<u64>,
    },
    /// Type 3.
    FindNode {
        /// 64 bytes that need not be a key; distances are to its hash.
        target: [u8; 64],
        /// After this the packet is void.
        expiration: UnixTime,
    },
    /// Type 4.
    Neighbors {
        /// The nodes, nearest first.
        nodes: Vec<Neighbor>,
        /// After this the packet is void.
        expiration: UnixTime,
    },
    /// Type 5.
    EnrRequest {
        /// After this the packet is void.
        expiration: UnixTime,
    },
    /// Type 6.
    EnrResponse {
        /// The hash of the request's datagram.
        request_hash: Digest,
        /// The record's encoding, not yet verified.
        record: Vec<u8>,
    },
}

/// A datagram split into its parts; only its size is checked.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Datagram<'a> {
    /// The hash at its start, by which replies refer to it.
    pub hash: &'a Digest,
    /// Signature, type and data: the bytes that the hash covers.
    pub hashed: &'a [u8],
    /// Type and data: the bytes that the signature covers.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: RecoverableSignature,
}

impl From<&Contact> for Neighbor {
    fn from(contact: &Contact) -> Self {
        Self { ip: contact.ip(), udp: contact.udp(), tcp: contact.tcp(), key: *contact.key().as_bytes() }
    }
}

impl TryFrom<u8> for Kind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            1 => Self::Ping,
            2 => Self::Pong,
            3 => Self::FindNode,
            4 => Self::Neighbors,
            5 => Self::EnrRequest,
            6 => Self::EnrResponse,
            _ => return Err(DecodeError::UnknownType),
        })
    }
}

impl<'a> Datagram<'a> {
    /// Splits a datagram into its parts.
    ///
    /// # Errors
    /// If it is shorter than 98 or longer than 1280 bytes.
    pub fn split(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err(DecodeError::TooLarge);
        }
        let (hash, hashed) = bytes.split_first_chunk().ok_or(DecodeError::Truncated)?;
        let (signature, signed) = hashed.split_first_chunk().ok_or(DecodeError::Truncated)?;
        if signed.is_empty() {
            return Err(DecodeError::Truncated);
        }
        Ok(Self { hash, hashed, signed, signature: RecoverableSignature(*signature) })
    }

    /// The packet's type.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`].
    pub fn kind(&self) -> Result<Kind, DecodeError> {
        self.signed.first().copied().ok_or(DecodeError::Truncated)?.try_into()
    }

    /// The hash of the request that an answer names, before anything else of it is checked; `None` for Neighbors, which
    /// name none, for requests, and if it is malformed.
    pub fn request_hash(&self) -> Option<&'a Digest> {
        let kind = self.kind().ok()?;
        let (mut list, _padding) = rlp::shallow_prefix(self.signed.get(1..)?).ok()?;
        match kind {
            Kind::Pong => list.list().and_then(|_to| list.fixed()).ok(),
            Kind::EnrResponse => list.fixed().ok(),
            _ => None,
        }
    }

    /// Checks the hash, which distinguishes discv4 from other protocols on the same port.
    ///
    /// # Errors
    /// [`DecodeError::BadHash`].
    pub fn check_hash(&self, crypto: &dyn Crypto) -> Result<(), DecodeError> {
        if crypto.datagram_hash(self.hashed) == *self.hash { Ok(()) } else { Err(DecodeError::BadHash) }
    }

    /// Recovers the sender's key.
    ///
    /// # Errors
    /// [`DecodeError::BadSignature`].
    pub fn signer(&self, crypto: &dyn Crypto) -> Result<PublicKey, DecodeError> {
        crypto.recover(&crypto.signed_hash(self.signed), &self.signature).ok_or(DecodeError::BadSignature)
    }

    /// Decodes the content. Further list elements and bytes after the list are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(&self) -> Result<Packet, DecodeError> {
        let kind = self.kind()?;
        let (mut list, _padding) = rlp::shallow_prefix(&self.signed[1..])?;
        let packet = match kind {
            Kind::Ping => Packet::Ping {
                version: list.u64()?,
                from: Endpoint::decode(list.list()?)?,
                to: Endpoint::decode(list.list()?)?,
                expiration: expiration(&mut list)?,
                enr_seq: enr_seq(&mut list),
            },
            Kind::Pong => Packet::Pong {
                to: Endpoint::decode(list.list()?)?,
                ping_hash: *list.fixed()?,
                expiration: expiration(&mut list)?,
                enr_seq: enr_seq(&mut list),
            },
            Kind::FindNode => Packet::FindNode { target: *list.fixed()?, expiration: expiration(&mut list)? },
            Kind::Neighbors => {
                Packet::Neighbors { nodes: neighbors(list.list()?)?, expiration: expiration(&mut list)? }
            }
            Kind::EnrRequest => Packet::EnrRequest { expiration: expiration(&mut list)? },
            Kind::EnrResponse => {
                Packet::EnrResponse { request_hash: *list.fixed()?, record: list_item(&mut list)?.to_vec() }
            }
        };
        list.check_rest(Bounds::SMALL)?;
        Ok(packet)
    }
}

fn expiration(list: &mut List<'_>) -> Result<UnixTime, DecodeError> {
    list.u64().map(UnixTime::from_secs)
}

/// Reads the optional sequence number of EIP-868. EIP-8 permits any item in its place: one that is no integer is
/// ignored.
fn enr_seq(list: &mut List<'_>) -> Option<u64> {
    let before = *list;
    list.u64_or_end().unwrap_or_else(|_| {
        *list = before;
        None
    })
}

/// Reads the next item, a list, with its header.
fn list_item<'a>(list: &mut List<'a>) -> Result<&'a [u8], DecodeError> {
    let mut ahead = *list;
    ahead.list()?;
    list.raw()
}

/// Reads the entries of a Neighbors packet: at most 16, because no more fit a datagram. Entries without an address are
/// skipped.
fn neighbors(mut list: List<'_>) -> Result<Vec<Neighbor>, DecodeError> {
    let mut nodes = Vec::with_capacity(NEIGHBORS_PER_PACKET);
    while !list.is_empty() {
        let mut entry = list.list()?;
        let Endpoint { ip, udp, tcp } = Endpoint::read(&mut entry)?;
        let key = *entry.fixed()?;
        entry.check_rest(Bounds::SMALL)?;
        if let Some(ip) = ip {
            nodes.push(Neighbor { ip, udp, tcp, key });
        }
    }
    Ok(nodes)
}

impl Endpoint {
    fn decode(mut list: List<'_>) -> Result<Self, DecodeError> {
        let endpoint = Self::read(&mut list)?;
        list.check_rest(Bounds::SMALL)?;
        Ok(endpoint)
    }

    /// Reads `ip, udp, tcp`.
    fn read(list: &mut List<'_>) -> Result<Self, DecodeError> {
        let bytes = list.bytes()?;
        let ip = match bytes.len() {
            0 => None,
            4 => <[u8; 4]>::try_from(bytes).ok().map(|v4| IpAddr::V4(Ipv4Addr::from(v4))),
            16 => <[u8; 16]>::try_from(bytes).ok().map(|v6| IpAddr::V6(Ipv6Addr::from(v6))),
            _ => return Err(DecodeError::WrongLength),
        };
        let ip = ip.map(|ip| canonical(SocketAddr::new(ip, 0)).ip());
        Ok(Self { ip, udp: list.u16()?, tcp: list.u16()? })
    }

    fn encode(&self, out: &mut Writer<'_>) {
        out.list(|items| self.write(items));
    }

    /// Writes `ip, udp, tcp`.
    fn write(&self, items: &mut Writer<'_>) {
        match self.ip {
            None => items.bytes(&[]),
            Some(IpAddr::V4(ip)) => items.bytes(&ip.octets()),
            Some(IpAddr::V6(ip)) => items.bytes(&ip.octets()),
        };
        items.u64(self.udp.into()).u64(self.tcp.into());
    }

    /// The address, if the endpoint has one.
    pub fn udp_addr(&self) -> Option<SocketAddr> {
        self.ip.map(|ip| SocketAddr::new(ip, self.udp))
    }
}

impl Neighbor {
    fn encode(&self, out: &mut Writer<'_>) {
        let endpoint = Endpoint { ip: Some(self.ip), udp: self.udp, tcp: self.tcp };
        out.list(|items| {
            endpoint.write(items);
            items.bytes(&self.key);
        });
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(udp: SocketAddr) -> Self {
        Self { ip: Some(udp.ip()), udp: udp.port(), tcp: 0 }
    }
}

impl Packet {
    /// The packet's type.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ping { .. } => Kind::Ping,
            Self::Pong { .. } => Kind::Pong,
            Self::FindNode { .. } => Kind::FindNode,
            Self::Neighbors { .. } => Kind::Neighbors,
            Self::EnrRequest { .. } => Kind::EnrRequest,
            Self::EnrResponse { .. } => Kind::EnrResponse,
        }
    }

    /// The time after which the packet is void; `None` for an EnrResponse.
    pub fn expiration(&self) -> Option<UnixTime> {
        match self {
            Self::Ping { expiration, .. }
            | Self::Pong { expiration, .. }
            | Self::FindNode { expiration, .. }
            | Self::Neighbors { expiration, .. }
            | Self::EnrRequest { expiration } => Some(*expiration),
            Self::EnrResponse { .. } => None,
        }
    }

    /// The size of the datagram that [`Packet::seal`] makes.
    pub(crate) fn datagram_bytes(&self) -> usize {
        let mut list = Vec::new();
        Writer::new(&mut list).list(|items| self.write(items));
        TYPE_AT + 1 + list.len()
    }

    /// Appends the signed datagram to `out` and returns its hash. Built in place, without other allocations.
    pub fn seal(&self, crypto: &dyn Crypto, secret: &SecretKey, out: &mut Vec<u8>) -> Digest {
        seal(self.kind(), crypto, secret, out, |items| self.write(items))
    }

    /// Seals a [`Packet::Neighbors`] as [`Packet::seal`] does, without collecting the nodes.
    pub fn seal_neighbors(
        nodes: impl Iterator<Item = Neighbor>,
        expiration: UnixTime,
        crypto: &dyn Crypto,
        secret: &SecretKey,
        out: &mut Vec<u8>,
    ) -> Digest {
        seal(Kind::Neighbors, crypto, secret, out, |items| write_neighbors(items, nodes, expiration))
    }

    /// Seals a [`Packet::EnrResponse`] as [`Packet::seal`] does, without copying the record.
    pub fn seal_enr_response(
        request_hash: &Digest,
        record: &[u8],
        crypto: &dyn Crypto,
        secret: &SecretKey,
        out: &mut Vec<u8>,
    ) -> Digest {
        seal(Kind::EnrResponse, crypto, secret, out, |items| write_enr_response(items, request_hash, record))
    }

    /// Writes the items of the list after the type.
    fn write(&self, items: &mut Writer<'_>) {
        match self {
            Self::Ping { version, from, to, expiration, enr_seq } => {
                items.u64(*version);
                from.encode(items);
                to.encode(items);
                items.u64(expiration.as_secs());
                enr_seq.iter().for_each(|seq| _ = items.u64(*seq));
            }
            Self::Pong { to, ping_hash, expiration, enr_seq } => {
                to.encode(items);
                items.bytes(ping_hash).u64(expiration.as_secs());
                enr_seq.iter().for_each(|seq| _ = items.u64(*seq));
            }
            Self::FindNode { target, expiration } => _ = items.bytes(target).u64(expiration.as_secs()),
            Self::Neighbors { nodes, expiration } => write_neighbors(items, nodes.iter().copied(), *expiration),
            Self::EnrRequest { expiration } => _ = items.u64(expiration.as_secs()),
            Self::EnrResponse { request_hash, record } => write_enr_response(items, request_hash, record),
        }
    }
}

fn write_neighbors(items: &mut Writer<'_>, nodes: impl Iterator<Item = Neighbor>, expiration: UnixTime) {
    items.list(|entries| nodes.for_each(|node| node.encode(entries))).u64(expiration.as_secs());
}

fn write_enr_response(items: &mut Writer<'_>, request_hash: &Digest, record: &[u8]) {
    items.bytes(request_hash).raw(record);
}

/// Appends a datagram whose list holds the items that `write` writes. Reserves room for hash and signature, and fills
/// it last.
fn seal(
    kind: Kind,
    crypto: &dyn Crypto,
    secret: &SecretKey,
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut Writer<'_>),
) -> Digest {
    let start = out.len();
    out.resize(start + TYPE_AT, 0);
    out.push(kind as u8);
    Writer::new(out).list(write);
    let datagram = &mut out[start..];
    let signature = crypto.sign(secret, &crypto.signed_hash(&datagram[TYPE_AT..]));
    datagram[SIGNATURE_AT..TYPE_AT].copy_from_slice(&signature.0);
    let hash = crypto.datagram_hash(&datagram[SIGNATURE_AT..]);
    datagram[..SIGNATURE_AT].copy_from_slice(&hash);
    hash
}

#[cfg(test)]
mod tests;
