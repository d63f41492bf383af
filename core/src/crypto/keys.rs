//! Keys, ids and signatures as plain types that cannot hold an illegal value.
//!
//! A [`PublicKey`] is a point on the curve, a [`SecretKey`] a scalar in range. Secrets are zeroised when dropped, and
//! their `Debug` shows no byte of them.

use core::cmp::Ordering;
use core::fmt;
use core::str::FromStr;

use zeroize::Zeroizing;

use super::{Crypto, keccak256, secp};
use crate::rng::Rng;

/// A 32-byte hash.
pub type Digest = [u8; 32];

/// The order of secp256k1's group, big-endian.
const GROUP_ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae, 0xdc,
    0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
];

/// The error of bytes that are not a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidKey;

impl fmt::Display for InvalidKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a secp256k1 key")
    }
}

impl core::error::Error for InvalidKey {}

/// A secp256k1 secret key: a scalar in `1..n`.
#[derive(Clone)]
pub struct SecretKey(Zeroizing<[u8; 32]>);

impl SecretKey {
    /// Makes a key from its big-endian bytes.
    ///
    /// # Errors
    /// If the scalar is zero or not below the group's order.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        let bytes = Zeroizing::new(bytes);
        // Only the time of a refusal depends on the bytes, and refused bytes are no secret.
        if *bytes == [0; 32] || *bytes >= GROUP_ORDER {
            return Err(InvalidKey);
        }
        Ok(Self(bytes))
    }

    /// Draws a key from `rng`, which is re-keyed.
    pub fn generate(rng: &mut Rng) -> Self {
        loop {
            if let Ok(key) = Self::from_bytes(*rng.secret()) {
                return key;
            }
        }
    }

    /// The secret scalar, big-endian.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Shows no byte of the key.
impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretKey(..)")
    }
}

/// A secp256k1 public key in devp2p's form: the 64 bytes `x | y` of a point on the curve.
///
/// There is no constructor without a check: a key is made by a [`Crypto`], or by one of the functions below.
///
/// ```compile_fail
/// # use peerless::crypto::PublicKey;
/// let key = PublicKey::from_xy_unchecked([1; 64]);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 64]);

impl PublicKey {
    /// Makes a key from `x | y`, which `crypto` checks to be a point on the curve.
    ///
    /// # Errors
    /// If a coordinate is out of range or the point is not on the curve.
    pub fn from_xy(crypto: &(impl Crypto + ?Sized), xy: &[u8; 64]) -> Result<Self, InvalidKey> {
        crypto.public_key_from_xy(xy).ok_or(InvalidKey)
    }

    /// Makes a key from `x | y`, checked to be a point on secp256k1: for keys from text and configuration, where no
    /// [`Crypto`] is available. Needs no context.
    ///
    /// # Errors
    /// If a coordinate is out of range or the point is not on the curve.
    pub fn from_xy_secp256k1(xy: &[u8; 64]) -> Result<Self, InvalidKey> {
        secp::from_xy(xy).ok_or(InvalidKey)
    }

    /// Makes a key from its 33-byte compressed form, checked as in [`PublicKey::from_xy_secp256k1`].
    ///
    /// # Errors
    /// If the bytes are not a compressed point on the curve.
    pub fn from_compressed_secp256k1(compressed: &[u8; 33]) -> Result<Self, InvalidKey> {
        secp::from_compressed(compressed).ok_or(InvalidKey)
    }

    /// Makes a key from bytes that a [`Crypto`] has derived, recovered or checked. Only [`Crypto`]'s provided methods
    /// use it.
    pub(crate) const fn from_xy_unchecked(xy: [u8; 64]) -> Self {
        Self(xy)
    }

    /// `x | y`.
    pub const fn as_bytes(&self) -> &[u8; 64] {
        &self.0
    }

    /// The 33-byte compressed form, as in node records.
    pub fn compressed(&self) -> [u8; 33] {
        let mut out = [0; 33];
        out[0] = 2 + (self.0[63] & 1);
        out[1..].copy_from_slice(&self.0[..32]);
        out
    }

    /// The node id of this key: `keccak256(x | y)`.
    pub fn node_id(&self) -> NodeId {
        NodeId(keccak256(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", const_hex::encode(&self.0[..4]))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

/// A node's id, `keccak256` of its public key: its position in the discovery key space, and the identity of a peer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 32]);

impl NodeId {
    /// The logarithmic distance: the number of bits below the highest differing one, plus one. 0 only for equal ids,
    /// 256 at most (discv4, "Kademlia table": bucket `i` holds distances of `i + 1`).
    pub fn log_distance(&self, other: &Self) -> u16 {
        for (i, (a, b)) in self.0.iter().zip(&other.0).enumerate() {
            let differing = a ^ b;
            if differing != 0 {
                return (256 - i as u32 * 8 - differing.leading_zeros()) as u16;
            }
        }
        0
    }

    /// Orders `a` and `b` by their XOR distance to `self`, nearest first.
    pub fn cmp_distance(&self, a: &Self, b: &Self) -> Ordering {
        fn words(id: &NodeId) -> impl Iterator<Item = u64> {
            id.0.as_chunks().0.iter().map(|word| u64::from_be_bytes(*word))
        }
        for ((t, a), b) in words(self).zip(words(a)).zip(words(b)) {
            match (t ^ a).cmp(&(t ^ b)) {
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        Ordering::Equal
    }
}

/// The first four bytes in hexadecimal, as in logs.
impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}…", const_hex::encode(&self.0[..4]))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.0))
    }
}

/// 64 hexadecimal digits, with or without `0x`.
impl FromStr for NodeId {
    type Err = InvalidNodeId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const_hex::decode_to_array(text).map(Self).map_err(|_| InvalidNodeId)
    }
}

/// The error of text that is not a node id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidNodeId;

impl fmt::Display for InvalidNodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id is 64 hexadecimal digits")
    }
}

impl core::error::Error for InvalidNodeId {}

/// An ECDSA signature `r | s`, as in node records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signature(pub [u8; 64]);

/// An ECDSA signature `r | s | v` with `v` in 0..=3, from which the signer can be recovered. Any bytes; nothing is
/// verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecoverableSignature(pub [u8; 65]);

impl RecoverableSignature {
    /// The signature without its recovery id.
    pub fn without_recovery_id(&self) -> Signature {
        let mut out = [0; 64];
        out.copy_from_slice(&self.0[..64]);
        Signature(out)
    }
}

/// 32 secret bytes, zeroised when dropped.
#[derive(Clone)]
pub struct SecretBytes(Zeroizing<[u8; 32]>);

impl SecretBytes {
    /// Takes 32 bytes as a secret.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for SecretBytes {
    fn from(bytes: [u8; 32]) -> Self {
        Self::new(bytes)
    }
}

/// Shows no byte of the secret.
impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretBytes(..)")
    }
}

/// The result of a key agreement: a point, of which RLPx uses the x coordinate and discv5 the compressed form. Zeroised when
/// dropped.
#[derive(Clone)]
pub struct SharedSecret(Zeroizing<[u8; 33]>);

impl SharedSecret {
    /// Takes the point `02 | x` or `03 | x`.
    pub fn from_compressed(point: [u8; 33]) -> Self {
        Self(Zeroizing::new(point))
    }

    /// Takes the x coordinate of a point with an even y coordinate.
    #[cfg(test)]
    pub(crate) fn from_x(x: [u8; 32]) -> Self {
        let mut point = [2; 33];
        point[1..].copy_from_slice(&x);
        Self::from_compressed(point)
    }

    /// The x coordinate, leading zeros kept.
    pub fn expose(&self) -> &[u8; 32] {
        self.0.last_chunk().expect("33 bytes end in 32")
    }

    /// The compressed point.
    pub fn expose_compressed(&self) -> &[u8; 33] {
        &self.0
    }
}

/// Shows no byte of the secret.
impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_count_differing_bits() {
        let zero = NodeId([0; 32]);
        let with = |i: usize, b: u8| {
            let mut id = [0; 32];
            id[i] = b;
            NodeId(id)
        };
        assert_eq!(zero.log_distance(&zero), 0);
        assert_eq!(zero.log_distance(&with(31, 1)), 1);
        assert_eq!(zero.log_distance(&with(31, 0x80)), 8);
        assert_eq!(zero.log_distance(&with(0, 0x80)), 256);
        assert_eq!(zero.cmp_distance(&with(31, 1), &with(31, 2)), Ordering::Less);
        assert_eq!(with(31, 3).cmp_distance(&with(31, 1), &with(31, 2)), Ordering::Greater);
    }

    #[test]
    fn public_keys_are_on_the_curve() {
        let crypto = super::super::Secp256k1::new();
        let key = crypto.public_key(&SecretKey::from_bytes([7; 32]).unwrap());
        assert_eq!(PublicKey::from_xy_secp256k1(key.as_bytes()), Ok(key));
        assert_eq!(PublicKey::from_compressed_secp256k1(&key.compressed()), Ok(key));
        let mut off = *key.as_bytes();
        off[63] ^= 1;
        assert_eq!(PublicKey::from_xy_secp256k1(&off), Err(InvalidKey));
        let mut wrong_tag = key.compressed();
        wrong_tag[0] = 4;
        assert_eq!(PublicKey::from_compressed_secp256k1(&wrong_tag), Err(InvalidKey));
        assert_eq!(PublicKey::from_xy_secp256k1(&[0; 64]), Err(InvalidKey));
        assert_eq!(PublicKey::from_xy_secp256k1(&[0xff; 64]), Err(InvalidKey));
    }

    #[test]
    fn debug_shows_no_secret() {
        let secret = SecretKey::from_bytes([7; 32]).unwrap();
        assert_eq!(std::format!("{secret:?} {:?}", SecretBytes::new([7; 32])), "SecretKey(..) SecretBytes(..)");
    }

    #[test]
    fn node_ids_are_read_from_64_hexadecimal_digits() {
        let id = NodeId([0xab; 32]);
        assert_eq!(std::format!("{id}").parse(), Ok(id));
        assert_eq!(std::format!("0x{id}").parse(), Ok(id));
        for text in ["", "ab", "0x", &"g".repeat(64), &"ab".repeat(33)] {
            assert_eq!(text.parse::<NodeId>(), Err(InvalidNodeId), "{text}");
        }
    }

    #[test]
    fn secret_keys_are_in_range() {
        assert!(SecretKey::from_bytes([0; 32]).is_err());
        assert!(SecretKey::from_bytes(GROUP_ORDER).is_err());
        let mut below = GROUP_ORDER;
        below[31] -= 1;
        assert!(SecretKey::from_bytes(below).is_ok());
    }
}
