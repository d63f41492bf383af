//! The costly primitives behind one seam, their real implementation, and what is built of them.
//!
//! Machines reach curve operations, the hashes of a datagram and the frame MAC only through [`Crypto`], in `Cx`; no machine
//! knows which implementation it has. [`Secp256k1`] is the real one. Keys, signatures and MAC states are plain types.

pub mod ecies;
pub mod keys;
pub mod mac;
mod secp;
pub mod secrets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use keys::{Digest, InvalidKey, NodeId, PublicKey, RecoverableSignature, SecretKey, SharedSecret, Signature};
pub use secp::Secp256k1;

use mac::Keccak;

/// The costly primitives. Every implementation accepts and refuses the same inputs and gives outputs of the same sizes.
pub trait Crypto {
    /// The public key of `secret`.
    fn public_key(&self, secret: &SecretKey) -> PublicKey;

    /// An RFC 6979 signature of `digest`, `r | s | v` with `v` in 0..=3 and low `s`.
    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature;

    /// Whether `signature` (low `s` only) is `key`'s signature of `digest`.
    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool;

    /// The key that made `signature` of `digest`; `None` if no key on the curve can have.
    fn recover(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<PublicKey>;

    /// `x | y` as a key, if both are below the field's prime and the point is on the curve.
    fn public_key_from_xy(&self, xy: &[u8; 64]) -> Option<PublicKey>;

    /// A 33-byte compressed point as a key, if it is one.
    fn public_key_from_compressed(&self, compressed: &[u8; 33]) -> Option<PublicKey>;

    /// The x coordinate of `secret * key`, leading zeros kept.
    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret;

    /// The hash that opens a discv4 datagram, over all that follows it.
    fn datagram_hash(&self, bytes: &[u8]) -> Digest;

    /// The hash that the signature of a discv4 packet (over its type and data) or of a node record is of. Always
    /// [`keccak256`]; a simulation can take another.
    fn signed_hash(&self, bytes: &[u8]) -> Digest {
        keccak256(bytes)
    }

    /// The node id of `key`. Always [`PublicKey::node_id`]; whoever serves many nodes can remember it.
    fn node_id(&self, key: &PublicKey) -> NodeId {
        key.node_id()
    }

    /// [`Crypto::public_key_from_xy`] and [`Crypto::node_id`] in one: somebody has been heard of.
    fn identify(&self, xy: &[u8; 64]) -> Option<(PublicKey, NodeId)> {
        let key = self.public_key_from_xy(xy)?;
        Some((key, self.node_id(&key)))
    }

    /// Absorbs `bytes` into a running frame MAC.
    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]);

    /// The digest of what a frame MAC has absorbed so far; its state goes on.
    fn mac_digest(&self, mac: &Keccak) -> Digest;
}

/// Keccak-256 of `bytes`, always the real one (node ids, record and signature hashes).
pub fn keccak256(bytes: &[u8]) -> Digest {
    use sha3::Digest as _;
    sha3::Keccak256::digest(bytes).into()
}
