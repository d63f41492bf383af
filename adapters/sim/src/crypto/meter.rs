//! A wrapper for any primitives that counts the processor time that the real ones would take.
//!
//! The time is that of a model, not of a clock, and does not depend on the wrapped primitives: a run is the same on
//! every machine and with every [`super::Mode`].

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use peerless::crypto::mac::Keccak;
use peerless::crypto::{Crypto, Digest, NodeId, PublicKey, RecoverableSignature, SecretKey, SharedSecret, Signature};

/// Bytes that one permutation of Keccak-256 absorbs.
const BLOCK_BYTES: usize = 136;

/// The cost of each operation on a host's processor, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Costs {
    /// An input of any kind: system calls and all work that is not counted separately.
    pub input: u64,
    /// Deriving a public key.
    pub public_key: u64,
    /// Making a signature.
    pub sign: u64,
    /// Verifying a signature against a known key.
    pub verify: u64,
    /// Recovering the key of a signature.
    pub recover: u64,
    /// Checking that a point is on the curve.
    pub check: u64,
    /// Decompressing a point.
    pub decompress: u64,
    /// A key agreement.
    pub ecdh: u64,
    /// Hashing a block of 136 bytes, and each digest.
    pub block: u64,
    /// MAC and cipher of 1024 bytes of frames.
    pub frame_kib: u64,
}

impl Costs {
    /// The costs on one core of a server of 2021 (AMD EPYC; the README's benchmarks), rounded.
    pub const SERVER: Self = Self {
        input: 2_000,
        public_key: 18_000,
        sign: 24_000,
        verify: 33_000,
        recover: 39_000,
        check: 100,
        decompress: 3_000,
        ecdh: 36_000,
        block: 350,
        frame_kib: 2_750,
    };

    /// The costs on a processor that is `times` times as slow.
    #[must_use]
    pub const fn times(self, times: u32) -> Self {
        let times = times as u64;
        Self {
            input: self.input * times,
            public_key: self.public_key * times,
            sign: self.sign * times,
            verify: self.verify * times,
            recover: self.recover * times,
            check: self.check * times,
            decompress: self.decompress * times,
            ecdh: self.ecdh * times,
            block: self.block * times,
            frame_kib: self.frame_kib * times,
        }
    }
}

/// One host's primitives, with their cost counted; see the module.
pub struct Meter {
    crypto: Arc<dyn Crypto + Send + Sync>,
    costs: Costs,
    /// Nanoseconds spent and not yet taken. One thread at a time drives a host, so relaxed ordering suffices.
    spent: AtomicU64,
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("costs", &self.costs).field("spent", &self.spent).finish_non_exhaustive()
    }
}

impl Meter {
    /// Wraps `crypto` and counts its operations.
    pub fn new(crypto: Arc<dyn Crypto + Send + Sync>, costs: Costs) -> Self {
        Self { crypto, costs, spent: AtomicU64::new(0) }
    }

    /// Returns the nanoseconds spent since the last call.
    pub fn take(&self) -> u64 {
        self.spent.swap(0, Ordering::Relaxed)
    }

    /// The cost of each operation.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    fn spend(&self, nanos: u64) {
        self.spent.fetch_add(nanos, Ordering::Relaxed);
    }

    fn hash(&self, bytes: &[u8]) {
        // The padding always completes a block.
        self.spend(self.costs.block * (bytes.len() / BLOCK_BYTES + 1) as u64);
    }
}

impl Crypto for Meter {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        self.spend(self.costs.public_key);
        self.crypto.derive_xy(secret)
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        self.spend(self.costs.sign);
        self.crypto.sign(secret, digest)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.spend(self.costs.verify);
        self.crypto.verify(key, digest, signature)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        self.spend(self.costs.recover);
        self.crypto.recover_xy(digest, signature)
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        self.spend(self.costs.check);
        self.crypto.is_on_curve(xy)
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        self.spend(self.costs.decompress);
        self.crypto.decompress_xy(compressed)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.spend(self.costs.ecdh);
        self.crypto.ecdh(secret, key)
    }

    fn ephemeral_key(&self, secret: &SecretKey) -> [u8; 33] {
        self.spend(self.costs.public_key);
        self.crypto.ephemeral_key(secret)
    }

    fn agree_as_initiator(&self, ephemeral: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.spend(self.costs.ecdh);
        self.crypto.agree_as_initiator(ephemeral, key)
    }

    fn agree_as_recipient(&self, secret: &SecretKey, ephemeral_key: &[u8; 33]) -> Option<SharedSecret> {
        self.spend(self.costs.decompress);
        self.spend(self.costs.ecdh);
        self.crypto.agree_as_recipient(secret, ephemeral_key)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        self.hash(bytes);
        self.crypto.datagram_hash(bytes)
    }

    fn signed_hash(&self, bytes: &[u8]) -> Digest {
        self.hash(bytes);
        self.crypto.signed_hash(bytes)
    }

    fn node_id(&self, key: &PublicKey) -> NodeId {
        self.hash(key.as_bytes());
        self.crypto.node_id(key)
    }

    fn node_id_of_xy(&self, xy: &[u8; 64]) -> Option<NodeId> {
        self.spend(self.costs.check);
        let id = self.crypto.node_id_of_xy(xy);
        id.iter().for_each(|_| self.hash(xy));
        id
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        self.spend(self.costs.frame_kib * bytes.len() as u64 / 1024);
        self.crypto.mac_update(mac, bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        self.spend(self.costs.block);
        self.crypto.mac_digest(mac)
    }
}
