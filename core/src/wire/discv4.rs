//! discv4 packets (`discv4.md`, "Wire Protocol"): all six, with EIP-8's and EIP-868's tolerance.
//!
//! A datagram is opened in steps, cheapest first, so that a machine can refuse it between any two: [`Datagram::split`]
//! (size), [`Datagram::check_hash`] (one Keccak), [`Datagram::signer`] (a recovery), [`Datagram::decode`].

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::DecodeError;
use crate::crypto::{Crypto, Digest, PublicKey, RecoverableSignature, SecretKey};
use crate::time::UnixTime;

/// Smallest datagram: hash 32, signature 65, type 1.
pub const DATAGRAM_BYTES_MIN: usize = 98;
/// Largest datagram, both ways.
pub const DATAGRAM_BYTES_MAX: usize = 1280;
/// Neighbours in one packet: more would not fit if all addresses were IPv6.
pub const NEIGHBORS_PER_PACKET: usize = 12;

/// A packet's type byte.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Asks for a sign of life; the first half of an endpoint proof.
    Ping = 1,
    /// Answers a ping by its hash.
    Pong = 2,
    /// Asks for the nodes closest to a key.
    FindNode = 3,
    /// Answers a FindNode, in several packets.
    Neighbors = 4,
    /// Asks for the record (EIP-868).
    EnrRequest = 5,
    /// Answers with the record.
    EnrResponse = 6,
}

/// An endpoint as packets carry it. Not to be trusted: replies go to where a packet came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Endpoint {
    /// `None` if the string was empty, as some nodes send it.
    pub ip: Option<IpAddr>,
    /// discv4 port.
    pub udp: u16,
    /// RLPx port.
    pub tcp: u16,
}

/// A relayed node. Its key has not been checked to be on the curve.
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
        /// What the sender thinks its endpoint is.
        from: Endpoint,
        /// Where the sender thinks it sends to.
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

/// A datagram taken apart, nothing in it checked but its size and type.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// The hash it opens with: the name by which replies refer to it.
    pub hash: &'a Digest,
    /// Signature, type and data: what the hash covers.
    pub hashed: &'a [u8],
    /// Type and data: what the signature covers.
    pub signed: &'a [u8],
    /// Signature.
    pub signature: RecoverableSignature,
}

impl<'a> Datagram<'a> {
    /// Takes a datagram apart.
    ///
    /// # Errors
    /// If it is shorter than 98 or longer than 1280 bytes.
    pub fn split(_bytes: &'a [u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }

    /// The packet's type.
    ///
    /// # Errors
    /// [`DecodeError::UnknownType`].
    pub fn kind(&self) -> Result<Kind, DecodeError> {
        unimplemented!()
    }

    /// Checks the opening hash: the discriminator between discv4 and whatever shares its port.
    ///
    /// # Errors
    /// [`DecodeError::BadHash`].
    pub fn check_hash(&self, _crypto: &dyn Crypto) -> Result<(), DecodeError> {
        unimplemented!()
    }

    /// Recovers the sender's key.
    ///
    /// # Errors
    /// [`DecodeError::BadSignature`].
    pub fn signer(&self, _crypto: &dyn Crypto) -> Result<PublicKey, DecodeError> {
        unimplemented!()
    }

    /// Decodes the content. Further list elements and bytes after the list are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(&self) -> Result<Packet, DecodeError> {
        unimplemented!()
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
        unimplemented!()
    }

    /// Appends the signed datagram to `out` and returns its hash.
    pub fn seal(&self, _crypto: &dyn Crypto, _secret: &SecretKey, _out: &mut Vec<u8>) -> Digest {
        unimplemented!()
    }
}
