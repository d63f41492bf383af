//! The real implementation of [`Crypto`]: libsecp256k1 with its own context, RustCrypto's Keccak.

use secp256k1::ecdsa::{RecoverableSignature as EcdsaRecoverable, RecoveryId, Signature as Ecdsa};
use secp256k1::{All, Message};
use zeroize::Zeroize as _;

use super::mac::Keccak;
use super::{Crypto, Digest, PublicKey, RecoverableSignature, SecretKey, SharedSecret, Signature, keccak256};
use crate::rng::Rng;

/// [`Crypto`] by libsecp256k1. One value serves any number of nodes; making one takes a few microseconds.
#[derive(Clone, Debug)]
pub struct Secp256k1 {
    context: secp256k1::Secp256k1<All>,
}

impl Default for Secp256k1 {
    fn default() -> Self {
        Self::new()
    }
}

impl Secp256k1 {
    /// Makes a context that is not blinded: for public values, and for tests. A node with a key of its own has one from
    /// [`Secp256k1::blinded`].
    pub fn new() -> Self {
        Self { context: secp256k1::Secp256k1::new() }
    }

    /// Makes a context whose multiplications of the base point begin at a secret point drawn from `rng`: signatures and
    /// public keys are the same, but power and timing tell less of the scalars. It is not blinded again later: that would
    /// halve the speed.
    pub fn blinded(rng: &mut Rng) -> Self {
        let mut blinded = Self::new();
        blinded.context.seeded_randomize(&rng.secret());
        blinded
    }
}

/// The library's form of a secret key. That type is `Copy`, so it must not outlive the operation that needs it.
fn scalar(secret: &SecretKey) -> secp256k1::SecretKey {
    secp256k1::SecretKey::from_byte_array(*secret.expose()).expect("a SecretKey is in range")
}

/// Calls `work` with the library's form of a digest, and wipes that copy: the digest that a handshake signs reveals, with
/// its nonce, the agreement of the static keys.
fn with_message<R>(digest: &Digest, work: impl FnOnce(&Message) -> R) -> R {
    let mut message = Message::from_digest(*digest);
    let result = work(&message);
    message = Message::from_digest([0; 32]);
    // Without a reader, the compiler would omit the write.
    core::hint::black_box(&mut message);
    result
}

/// The library's form of a public key; `None` if `xy` is not a point on the curve, or has a coordinate out of range.
fn point(xy: &[u8; 64]) -> Option<secp256k1::PublicKey> {
    let mut uncompressed = [4; 65];
    uncompressed[1..].copy_from_slice(xy);
    secp256k1::PublicKey::from_byte_array_uncompressed(uncompressed).ok()
}

/// The coordinates `x | y` of a point.
fn coordinates(point: &secp256k1::PublicKey) -> [u8; 64] {
    let mut xy = [0; 64];
    xy.copy_from_slice(&point.serialize_uncompressed()[1..]);
    xy
}

/// `xy` as a key, if it is a point on the curve; needs no context.
pub(super) fn from_xy(xy: &[u8; 64]) -> Option<PublicKey> {
    point(xy).map(|_| PublicKey::from_xy_unchecked(*xy))
}

/// A compressed point as a key, if it is one; needs no context.
pub(super) fn from_compressed(compressed: &[u8; 33]) -> Option<PublicKey> {
    decompress(compressed).map(PublicKey::from_xy_unchecked)
}

fn decompress(compressed: &[u8; 33]) -> Option<[u8; 64]> {
    secp256k1::PublicKey::from_byte_array_compressed(*compressed).ok().map(|point| coordinates(&point))
}

impl Crypto for Secp256k1 {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        let mut scalar = scalar(secret);
        let xy = coordinates(&scalar.public_key(&self.context));
        scalar.non_secure_erase();
        xy
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let mut scalar = scalar(secret);
        let signature = with_message(digest, |message| self.context.sign_ecdsa_recoverable(*message, &scalar));
        scalar.non_secure_erase();
        let (recovery_id, compact) = signature.serialize_compact();
        let mut out = [0; 65];
        out[..64].copy_from_slice(&compact);
        out[64] = i32::from(recovery_id) as u8;
        RecoverableSignature(out)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        let (Some(point), Ok(signature)) = (point(key.as_bytes()), Ecdsa::from_compact(&signature.0)) else {
            return false;
        };
        // libsecp256k1 refuses a high `s` by itself.
        self.context.verify_ecdsa(Message::from_digest(*digest), &signature, &point).is_ok()
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        let recovery_id = RecoveryId::try_from(i32::from(signature.0[64])).ok()?;
        let signature = EcdsaRecoverable::from_compact(&signature.0[..64], recovery_id).ok()?;
        let point = with_message(digest, |message| self.context.recover_ecdsa(*message, &signature)).ok()?;
        Some(coordinates(&point))
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        point(xy).is_some()
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        decompress(compressed)
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        let point = point(key.as_bytes()).expect("a key that this implementation made is on the curve");
        let mut scalar = scalar(secret);
        let mut shared = secp256k1::ecdh::shared_secret_point(&point, &scalar);
        scalar.non_secure_erase();
        let mut compressed = [2 + (shared[63] & 1); 33];
        compressed[1..].copy_from_slice(&shared[..32]);
        shared.zeroize();
        let secret = SharedSecret::from_compressed(compressed);
        compressed.zeroize();
        secret
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        keccak256(bytes)
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        mac.update(bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        mac.digest()
    }
}
