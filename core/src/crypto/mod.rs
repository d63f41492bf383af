//! The trait [`Crypto`] for the costly primitives, its real implementation, and what is built on them.
//!
//! Machines call curve operations, the hashes of a datagram and the frame MAC only through [`Crypto`], in `Cx`; no
//! machine knows which implementation it has. [`Secp256k1`] is the real one. Keys, signatures and MAC states are plain
//! types.

pub mod discv5;
pub mod ecies;
pub mod keys;
pub mod mac;
mod secp;
pub mod secrets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use keys::{
    Digest, InvalidKey, InvalidNodeId, NodeId, PublicKey, RecoverableSignature, SecretBytes, SecretKey, SharedSecret,
    Signature,
};
pub use secp::Secp256k1;

use mac::Keccak;

/// The costly primitives. Every implementation accepts and refuses the same inputs and returns outputs of the same
/// sizes.
///
/// An implementation works on plain bytes and never makes a [`PublicKey`]: the provided methods of the first group turn
/// what it computes into keys, so a key exists only if an implementation has derived, recovered or checked it. The keys
/// of one implementation are meant for nodes with that implementation.
pub trait Crypto {
    /// The public key of `secret`. Provided; implement [`Crypto::derive_xy`].
    fn public_key(&self, secret: &SecretKey) -> PublicKey {
        PublicKey::from_xy_unchecked(self.derive_xy(secret))
    }

    /// The key that made `signature` of `digest`; `None` if no key on the curve can have made it. Provided; implement
    /// [`Crypto::recover_xy`].
    fn recover(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<PublicKey> {
        self.recover_xy(digest, signature).map(PublicKey::from_xy_unchecked)
    }

    /// `x | y` as a key, if it is a point on the curve. Provided; implement [`Crypto::is_on_curve`].
    fn public_key_from_xy(&self, xy: &[u8; 64]) -> Option<PublicKey> {
        self.is_on_curve(xy).then(|| PublicKey::from_xy_unchecked(*xy))
    }

    /// A 33-byte compressed point as a key, if it is one. Provided; implement [`Crypto::decompress_xy`].
    fn public_key_from_compressed(&self, compressed: &[u8; 33]) -> Option<PublicKey> {
        self.decompress_xy(compressed).map(PublicKey::from_xy_unchecked)
    }

    /// [`Crypto::public_key_from_xy`] and [`Crypto::node_id`] in one. Provided; implement [`Crypto::node_id_of_xy`].
    fn identify(&self, xy: &[u8; 64]) -> Option<(PublicKey, NodeId)> {
        self.node_id_of_xy(xy).map(|id| (PublicKey::from_xy_unchecked(*xy), id))
    }

    /// The point `x | y` that belongs to `secret`.
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64];

    /// The point `x | y` whose key made `signature` of `digest`; `None` if no point on the curve can have.
    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]>;

    /// Whether both coordinates of `x | y` are below the field's prime and the point is on the curve.
    fn is_on_curve(&self, xy: &[u8; 64]) -> bool;

    /// The point `x | y` that `compressed` stands for, if it is on the curve.
    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]>;

    /// The node id of the key `x | y`, if it is a point on the curve. Always that of [`PublicKey::node_id`]; an
    /// implementation that serves many nodes can remember it.
    fn node_id_of_xy(&self, xy: &[u8; 64]) -> Option<NodeId> {
        self.public_key_from_xy(xy).map(|key| self.node_id(&key))
    }

    /// The node id of `key`. Always [`PublicKey::node_id`]; an implementation that serves many nodes can remember it.
    fn node_id(&self, key: &PublicKey) -> NodeId {
        key.node_id()
    }

    /// An RFC 6979 signature of `digest`, `r | s | v` with `v` in 0..=3 and low `s`.
    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature;

    /// Whether `signature` (low `s` only) is `key`'s signature of `digest`.
    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool;

    /// The point `secret * key`.
    ///
    /// # Panics
    /// An implementation may panic if `key` comes from another implementation and is not on its curve.
    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret;

    /// The compressed public key of an ephemeral secret, with which a discv5 handshake begins.
    fn ephemeral_key(&self, secret: &SecretKey) -> [u8; 33] {
        self.public_key(secret).compressed()
    }

    /// The agreement of an ephemeral secret with the static key of the node to which its key is sent.
    fn agree_as_initiator(&self, ephemeral: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.ecdh(ephemeral, key)
    }

    /// The same agreement on the other side, which has received the ephemeral key; `None` if that is no point on the curve.
    fn agree_as_recipient(&self, secret: &SecretKey, ephemeral_key: &[u8; 33]) -> Option<SharedSecret> {
        self.public_key_from_compressed(ephemeral_key).map(|key| self.ecdh(secret, &key))
    }

    /// The hash at the start of a discv4 datagram, over all bytes that follow it.
    fn datagram_hash(&self, bytes: &[u8]) -> Digest;

    /// The hash that a discv4 packet (its type and data) or a node record is signed by. [`keccak256`] by default; a
    /// simulation can use another.
    fn signed_hash(&self, bytes: &[u8]) -> Digest {
        keccak256(bytes)
    }

    /// Absorbs `bytes` into a running frame MAC.
    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]);

    /// The digest of the bytes that a frame MAC has absorbed so far; its state does not change.
    fn mac_digest(&self, mac: &Keccak) -> Digest;
}

/// Keccak-256 of `bytes`, always the real one (node ids, record and signature hashes).
pub fn keccak256(bytes: &[u8]) -> Digest {
    use sha3::Digest as _;
    sha3::Keccak256::digest(bytes).into()
}
