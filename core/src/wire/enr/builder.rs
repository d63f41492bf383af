//! Building and signing a node's own record (EIP-778).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::{ID_V4, Record, list_of, signed_digest};
use crate::crypto::{Crypto, SecretKey};
use crate::netfilter::canonical;
use crate::wire::DecodeError;
use crate::wire::forkid::ForkId;
use crate::wire::rlp::RlpStream;

/// The keys that a node's record takes from its identity and configuration. [`RecordBuilder`] has a method for each but `id`
/// and `secp256k1`, which [`RecordBuilder::sign`] sets.
pub const RESERVED_KEYS: [&[u8]; 9] = [b"id", b"secp256k1", b"ip", b"ip6", b"udp", b"udp6", b"tcp", b"tcp6", b"eth"];

/// A builder of signed records.
#[derive(Clone, Debug, Default)]
pub struct RecordBuilder {
    /// Strictly ascending keys with RLP-encoded values.
    entries: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl RecordBuilder {
    /// Sets `ip`/`udp`/`tcp` or `ip6`/`udp6`/`tcp6`, by the family of `ip_udp`; a port of 0 leaves its entry out.
    pub fn endpoint(&mut self, ip_udp: SocketAddr, tcp: u16) -> &mut Self {
        let ip_udp = canonical(ip_udp);
        let (udp_key, tcp_key) = match ip_udp.ip() {
            IpAddr::V4(ip) => {
                self.entries.insert(b"ip".into(), string(&ip.octets()));
                ("udp", "tcp")
            }
            IpAddr::V6(ip) => {
                self.entries.insert(b"ip6".into(), string(&ip.octets()));
                ("udp6", "tcp6")
            }
        };
        self.port(udp_key, ip_udp.port()).port(tcp_key, tcp)
    }

    fn port(&mut self, key: &str, port: u16) -> &mut Self {
        if port == 0 {
            self.entries.remove(key.as_bytes());
            self
        } else {
            self.entry(key.as_bytes(), ::rlp::encode(&port).to_vec())
        }
    }

    /// Sets the `eth` entry.
    pub fn fork_id(&mut self, fork_id: ForkId) -> &mut Self {
        let mut stream = RlpStream::new_list(1);
        fork_id.append(&mut stream);
        self.entry(b"eth", stream.out().to_vec())
    }

    /// Sets any entry to an RLP-encoded value. [`RecordBuilder::sign`] sets `id` and `secp256k1` itself.
    pub fn entry(&mut self, key: &[u8], rlp: Vec<u8>) -> &mut Self {
        self.entries.insert(key.into(), rlp);
        self
    }

    /// Signs the record with `secret`. The same entries, key and `seq` give the same bytes (RFC 6979).
    ///
    /// # Errors
    /// [`DecodeError::TooLarge`] beyond 300 bytes; others if an entry is not one RLP value.
    pub fn sign(&self, crypto: &dyn Crypto, secret: &SecretKey, seq: u64) -> Result<Record, DecodeError> {
        let mut entries = self.entries.clone();
        entries.insert(b"id".into(), ID_V4.into());
        entries.insert(b"secp256k1".into(), string(&crypto.public_key(secret).compressed()));
        let mut signed = ::rlp::encode(&seq).to_vec();
        for (key, value) in entries {
            signed.extend(string(&key));
            signed.extend(value);
        }
        let signature = crypto.sign(secret, &signed_digest(crypto, &signed)).without_recovery_id();
        Record::decode(crypto, &list_of(&[&string(&signature.0), &signed]))
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    ::rlp::encode(&bytes).to_vec()
}
