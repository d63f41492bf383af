//! The real primitives, with earlier results cached by their inputs.
//!
//! In a simulation the signer and the verifier are in one process: a recovery from exactly the bytes that were signed
//! is a look-up of the signer's key. All other inputs, including those with a flipped bit, are computed. The bytes of a
//! run are the same as with the real primitives.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, NodeId, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature,
};

use super::table::{Cache, Registry};

/// Cached recoveries: enough for all datagrams in flight.
const RECOVERIES: usize = 1 << 16;

/// The real primitives with a cache; see the module.
#[derive(Debug)]
pub struct Memo {
    real: Secp256k1,
    /// Public keys by secret.
    public_keys: Registry<32, [u8; 64]>,
    /// The ids of points on the curve.
    points: Registry<64, NodeId>,
    /// Signers by digest and signature.
    recoveries: Cache<97, [u8; 64]>,
}

impl Memo {
    /// Makes primitives with caches for about `nodes` nodes.
    pub fn new(_seed: u64, nodes: usize) -> Self {
        Self {
            real: Secp256k1::new(),
            public_keys: Registry::new(nodes),
            points: Registry::new(nodes),
            recoveries: Cache::new(RECOVERIES),
        }
    }
}

fn recovery_key(digest: &Digest, signature: &RecoverableSignature) -> [u8; 97] {
    let mut key = [0; 97];
    key[..32].copy_from_slice(digest);
    key[32..].copy_from_slice(&signature.0);
    key
}

impl Crypto for Memo {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        if let Some(xy) = self.public_keys.find(secret.expose()) {
            return *xy;
        }
        let key = self.real.public_key(secret);
        self.public_keys.insert(*secret.expose(), *key.as_bytes());
        self.points.insert(*key.as_bytes(), key.node_id());
        *key.as_bytes()
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let signature = self.real.sign(secret, digest);
        self.recoveries.insert(recovery_key(digest, &signature), self.derive_xy(secret));
        signature
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.real.verify(key, digest, signature)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        let memo = recovery_key(digest, signature);
        if let Some(xy) = self.recoveries.find(&memo) {
            return Some(xy);
        }
        let xy = self.real.recover_xy(digest, signature)?;
        self.recoveries.insert(memo, xy);
        Some(xy)
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        self.points.find(xy).is_some() || self.real.is_on_curve(xy)
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        self.real.decompress_xy(compressed)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.real.ecdh(secret, key)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        self.real.datagram_hash(bytes)
    }

    fn node_id(&self, key: &PublicKey) -> NodeId {
        self.points.find(key.as_bytes()).copied().unwrap_or_else(|| key.node_id())
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        self.real.mac_update(mac, bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        self.real.mac_digest(mac)
    }
}
