//! Helpers for tests: vectors as JSON, a [`Crypto`] that counts its operations, and one that costs next to nothing.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::vec::Vec;

use serde_json::Value;

use super::mac::Keccak;
use super::{
    Crypto, Digest, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature, keccak256,
};

pub(crate) fn kats() -> Value {
    serde_json::from_str(include_str!("../../vectors/kats.json")).unwrap()
}

pub(crate) fn rlpx_handshake() -> Value {
    serde_json::from_str(include_str!("../../vectors/rlpx_handshake.json")).unwrap()
}

pub(crate) fn rlpx_frame() -> Value {
    serde_json::from_str(include_str!("../../vectors/rlpx_frame.json")).unwrap()
}

/// A field of an object; panics if it is missing.
pub(crate) fn field<'a>(value: &'a Value, name: &str) -> &'a Value {
    value.get(name).unwrap_or_else(|| panic!("no {name} in {value}"))
}

/// The rows of a table; panics if there are none.
pub(crate) fn rows<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let rows = field(value, name).as_array().unwrap();
    assert!(!rows.is_empty(), "no rows in {name}");
    rows
}

pub(crate) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    field(value, name).as_str().unwrap()
}

pub(crate) fn hex(value: &Value, name: &str) -> Vec<u8> {
    const_hex::decode(text(value, name)).unwrap()
}

pub(crate) fn array<const N: usize>(value: &Value, name: &str) -> [u8; N] {
    hex(value, name).try_into().unwrap()
}

pub(crate) fn secret(value: &Value, name: &str) -> SecretKey {
    SecretKey::from_bytes(array(value, name)).unwrap()
}

/// The real primitives with their calls counted. The MAC's digest can be fixed.
#[derive(Default)]
pub(crate) struct Counting {
    pub(crate) real: Secp256k1,
    pub(crate) public_keys: AtomicUsize,
    pub(crate) signatures: AtomicUsize,
    pub(crate) recoveries: AtomicUsize,
    pub(crate) agreements: AtomicUsize,
    pub(crate) mac_digests: AtomicUsize,
    pub(crate) fixed_digest: Option<Digest>,
}

impl Counting {
    /// Public keys, signatures, recoveries and agreements so far.
    pub(crate) fn curve_operations(&self) -> [usize; 4] {
        [&self.public_keys, &self.signatures, &self.recoveries, &self.agreements].map(|count| count.load(Relaxed))
    }
}

impl Crypto for Counting {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        self.public_keys.fetch_add(1, Relaxed);
        self.real.derive_xy(secret)
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        self.signatures.fetch_add(1, Relaxed);
        self.real.sign(secret, digest)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.real.verify(key, digest, signature)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        self.recoveries.fetch_add(1, Relaxed);
        self.real.recover_xy(digest, signature)
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        self.real.is_on_curve(xy)
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        self.real.decompress_xy(compressed)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.agreements.fetch_add(1, Relaxed);
        self.real.ecdh(secret, key)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        self.real.datagram_hash(bytes)
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        self.real.mac_update(mac, bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        self.mac_digests.fetch_add(1, Relaxed);
        self.fixed_digest.unwrap_or_else(|| self.real.mac_digest(mac))
    }
}

/// Signatures without a curve, for floods: of a key's two halves the second is the hash of the first, and a signature is the
/// first and a digest. Any party can make them. Counts the hashes of datagrams, the recoveries and the verifications.
#[derive(Default)]
pub(crate) struct Cheap {
    pub(crate) datagram_hashes: AtomicUsize,
    pub(crate) recoveries: AtomicUsize,
    pub(crate) verifications: AtomicUsize,
}

impl Cheap {
    fn xy(x: [u8; 32]) -> [u8; 64] {
        let mut xy = [0; 64];
        xy[..32].copy_from_slice(&x);
        xy[32..].copy_from_slice(&keccak256(&x));
        xy
    }

    fn tag(x: &[u8], digest: &Digest) -> Digest {
        keccak256(&[x, digest].concat())
    }
}

impl Crypto for Cheap {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        Self::xy(keccak256(secret.expose()))
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let x = keccak256(secret.expose());
        let mut signature = [0; 65];
        signature[..32].copy_from_slice(&x);
        signature[32..64].copy_from_slice(&Self::tag(&x, digest));
        RecoverableSignature(signature)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        self.verifications.fetch_add(1, Relaxed);
        let (x, rest) = signature.0.split_at(32);
        *x == key.as_bytes()[..32] && *rest == Self::tag(x, digest)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        self.recoveries.fetch_add(1, Relaxed);
        let (x, rest) = signature.0.split_first_chunk::<32>()?;
        (rest[..32] == Self::tag(x, digest)).then(|| Self::xy(*x))
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        xy[32..] == keccak256(&xy[..32])
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        compressed.last_chunk().map(|x| Self::xy(*x))
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        let ours = Self::xy(keccak256(secret.expose()));
        let both = core::array::from_fn(|i| ours[i] ^ key.as_bytes()[i]);
        SharedSecret::from_x(both)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        self.datagram_hashes.fetch_add(1, Relaxed);
        keccak256(bytes)
    }

    fn mac_update(&self, _: &mut Keccak, _: &[u8]) {}

    fn mac_digest(&self, _: &Keccak) -> Digest {
        [0; 32]
    }
}
