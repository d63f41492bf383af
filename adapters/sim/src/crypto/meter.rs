//! What primitives would cost: any of them, with the processor's time that the real ones take counted beside.
//!
//! Time is what a model says, not what a clock shows, and the same whichever primitives compute: a run is the same on every
//! machine and with every [`super::Mode`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use peerless::crypto::mac::Keccak;
use peerless::crypto::{Crypto, Digest, NodeId, PublicKey, RecoverableSignature, SecretKey, SharedSecret, Signature};

/// Bytes that one permutation of Keccak-256 absorbs.
const BLOCK_BYTES: usize = 136;

/// What things cost a host's processor, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Costs {
    /// An input, whatever it is: system calls and everything that is not counted on its own.
    pub input: u64,
    /// A secret key's public key.
    pub public_key: u64,
    /// A signature.
    pub sign: u64,
    /// Verifying one whose key is known.
    pub verify: u64,
    /// Recovering the key of one.
    pub recover: u64,
    /// Checking that a point is on the curve.
    pub check: u64,
    /// Finding the point of one coordinate.
    pub decompress: u64,
    /// An agreement.
    pub ecdh: u64,
    /// A block of 136 bytes hashed, and each digest.
    pub block: u64,
    /// 1024 bytes of frames: their MAC and their cipher.
    pub frame_kib: u64,
}

impl Costs {
    /// About what one core of a server of 2021 takes (AMD EPYC; the README's benchmarks).
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

    /// A processor that takes so many times as long for everything.
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

/// One host's primitives. See the module.
pub struct Meter {
    crypto: Arc<dyn Crypto + Send + Sync>,
    costs: Costs,
    /// Spent and not yet taken. One thread at a time drives a host, so no order is lost.
    spent: AtomicU64,
}

impl Meter {
    /// Counts what is done with `crypto`.
    pub fn new(crypto: Arc<dyn Crypto + Send + Sync>, costs: Costs) -> Self {
        Self { crypto, costs, spent: AtomicU64::new(0) }
    }

    /// The nanoseconds spent since the last time.
    pub fn take(&self) -> u64 {
        self.spent.swap(0, Ordering::Relaxed)
    }

    /// What things cost.
    pub fn costs(&self) -> &Costs {
        &self.costs
    }

    fn spend(&self, nanos: u64) {
        self.spent.fetch_add(nanos, Ordering::Relaxed);
    }

    fn hash(&self, bytes: &[u8]) {
        // The padding always fills a block up.
        self.spend(self.costs.block * (bytes.len() / BLOCK_BYTES + 1) as u64);
    }
}

impl Crypto for Meter {
    fn public_key(&self, secret: &SecretKey) -> PublicKey {
        self.spend(self.costs.public_key);
        self.crypto.public_key(secret)
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        self.spend(self.costs.sign);
        self.crypto.sign(secret, digest)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.spend(self.costs.verify);
        self.crypto.verify(key, digest, signature)
    }

    fn recover(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<PublicKey> {
        self.spend(self.costs.recover);
        self.crypto.recover(digest, signature)
    }

    fn public_key_from_xy(&self, xy: &[u8; 64]) -> Option<PublicKey> {
        self.spend(self.costs.check);
        self.crypto.public_key_from_xy(xy)
    }

    fn public_key_from_compressed(&self, compressed: &[u8; 33]) -> Option<PublicKey> {
        self.spend(self.costs.decompress);
        self.crypto.public_key_from_compressed(compressed)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.spend(self.costs.ecdh);
        self.crypto.ecdh(secret, key)
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

    fn identify(&self, xy: &[u8; 64]) -> Option<(PublicKey, NodeId)> {
        self.spend(self.costs.check);
        let known = self.crypto.identify(xy);
        known.iter().for_each(|_| self.hash(xy));
        known
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
