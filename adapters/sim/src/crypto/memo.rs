//! The real primitives, with what was computed before remembered by its content.
//!
//! Whoever signs knows what recovery will yield, and in a simulation both are in one process: a recovery of the very bytes
//! that were signed is a look-up. Anything else, a flipped bit included, takes the true path. The bytes of a run are the
//! real ones.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, NodeId, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature,
};

use super::table::{Cache, Registry};

/// Recoveries remembered: those of datagrams in flight, and some.
const RECOVERIES: usize = 1 << 16;

/// See the module.
pub struct Memo {
    real: Secp256k1,
    /// By secret.
    public_keys: Registry<32, PublicKey>,
    /// Points that are on the curve, and their ids.
    points: Registry<64, NodeId>,
    /// By digest and signature.
    recoveries: Cache<97, PublicKey>,
}

impl Memo {
    /// For about so many nodes.
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
    fn public_key(&self, secret: &SecretKey) -> PublicKey {
        if let Some(key) = self.public_keys.find(secret.expose()) {
            return *key;
        }
        let key = self.real.public_key(secret);
        self.public_keys.insert(*secret.expose(), key);
        self.points.insert(*key.as_bytes(), key.node_id());
        key
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let signature = self.real.sign(secret, digest);
        self.recoveries.insert(recovery_key(digest, &signature), self.public_key(secret));
        signature
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.real.verify(key, digest, signature)
    }

    fn recover(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<PublicKey> {
        let memo = recovery_key(digest, signature);
        if let Some(key) = self.recoveries.find(&memo) {
            return Some(key);
        }
        let key = self.real.recover(digest, signature)?;
        self.recoveries.insert(memo, key);
        Some(key)
    }

    fn public_key_from_xy(&self, xy: &[u8; 64]) -> Option<PublicKey> {
        match self.points.find(xy) {
            Some(_) => Some(PublicKey::from_xy_checked(*xy)),
            None => self.real.public_key_from_xy(xy),
        }
    }

    fn public_key_from_compressed(&self, compressed: &[u8; 33]) -> Option<PublicKey> {
        self.real.public_key_from_compressed(compressed)
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
