//! Ethereum node records (EIP-778): text and RLP, order, size, signature, typed entries.

use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;
use core::str::FromStr;

use super::DecodeError;
use super::forkid::ForkId;
use crate::crypto::{Crypto, PublicKey, SecretKey};

/// A verified record: its signature, order and size were checked when it was made.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// The encoding, at most 300 bytes.
    raw: Vec<u8>,
    seq: u64,
    key: PublicKey,
}

impl Record {
    /// Decodes and verifies a record (EIP-778, "Record Encoding").
    ///
    /// # Errors
    /// If it is malformed, larger than 300 bytes, unsorted, of an unknown scheme, or not signed by its key.
    pub fn decode(_crypto: &dyn Crypto, _raw: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }

    /// The record's RLP encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.raw
    }

    /// The sequence number: higher replaces lower.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The key that signed the record.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The RLP encoding of the value of `key`, which may be a string or a list.
    pub fn get(&self, _key: &[u8]) -> Option<&[u8]> {
        unimplemented!()
    }

    /// The `eth` entry's fork id (EIP-2124; `[[hash, next], ..]`).
    pub fn fork_id(&self) -> Option<ForkId> {
        unimplemented!()
    }

    /// The contact that the record names, by geth's choice between IPv4 and IPv6.
    pub fn contact(&self) -> Option<super::enode::Contact> {
        unimplemented!()
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Record(seq {}, {:?})", self.seq, self.key)
    }
}

/// The `enr:` text form.
impl fmt::Display for Record {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}

/// `enr:` text, or hexadecimal with or without `0x`; surrounding spaces are ignored. Verified with the real curve.
impl FromStr for Record {
    type Err = DecodeError;

    fn from_str(_text: &str) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}

/// A record in the making.
#[derive(Clone, Debug, Default)]
pub struct RecordBuilder {
    /// Strictly ascending keys with RLP-encoded values.
    entries: alloc::collections::BTreeMap<Vec<u8>, Vec<u8>>,
}

impl RecordBuilder {
    /// Sets `ip`/`udp`/`tcp` or `ip6`/`udp6`/`tcp6`; a port of 0 leaves its entry out.
    pub fn endpoint(&mut self, _ip_udp: SocketAddr, _tcp: u16) -> &mut Self {
        unimplemented!()
    }

    /// Sets the `eth` entry.
    pub fn fork_id(&mut self, _fork_id: ForkId) -> &mut Self {
        unimplemented!()
    }

    /// Sets any entry to an RLP-encoded value.
    pub fn entry(&mut self, key: &[u8], rlp: Vec<u8>) -> &mut Self {
        self.entries.insert(key.into(), rlp);
        self
    }

    /// Signs the record with `secret`.
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] beyond 300 bytes.
    pub fn sign(&self, _crypto: &dyn Crypto, _secret: &SecretKey, _seq: u64) -> Result<Record, DecodeError> {
        unimplemented!()
    }
}
