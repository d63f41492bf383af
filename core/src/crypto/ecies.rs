//! ECIES as RLPx uses it (`rlpx.md`, "ECIES Encryption"): secp256k1, NIST concat KDF, AES-128-CTR, HMAC-SHA-256.
//!
//! A message is `04 | x | y | iv | ciphertext | tag`. It is opened in this order: length, point, agreement, tag, and
//! only then decryption, so that a refusal reveals nothing; a point that is not on the curve is never multiplied by the
//! secret key.

use alloc::vec::Vec;
use core::fmt;

use aes::Aes128Enc;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::{Crypto, PublicKey, SecretKey, SharedSecret};
use crate::rng::Rng;

const POINT_BYTES: usize = 65;
const IV_BYTES: usize = 16;
const TAG_BYTES: usize = 32;

/// Bytes that [`seal`] adds to a plaintext: point 65, IV 16, tag 32.
pub const OVERHEAD_BYTES: usize = POINT_BYTES + IV_BYTES + TAG_BYTES;

/// The error of a ciphertext that was made for another key or was changed. Carries no cause, so that a bad point, a bad
/// tag and a short body cannot be distinguished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DecryptError;

impl fmt::Display for DecryptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot be decrypted")
    }
}

impl core::error::Error for DecryptError {}

/// Appends the encryption of `plain` to `out`; `mac_data` (the size prefix) is authenticated with it.
pub fn seal(crypto: &dyn Crypto, rng: &mut Rng, to: &PublicKey, mac_data: &[u8], plain: &[u8], out: &mut Vec<u8>) {
    let ephemeral = SecretKey::generate(rng);
    seal_with(crypto, &ephemeral, rng.bytes(), to, mac_data, plain, out);
}

/// [`seal`] with given random values.
fn seal_with(
    crypto: &dyn Crypto,
    ephemeral: &SecretKey,
    iv: [u8; IV_BYTES],
    to: &PublicKey,
    mac_data: &[u8],
    plain: &[u8],
    out: &mut Vec<u8>,
) {
    let keys = Keys::derive(&crypto.ecdh(ephemeral, to));
    out.reserve(OVERHEAD_BYTES + plain.len());
    out.push(4);
    out.extend_from_slice(crypto.public_key(ephemeral).as_bytes());
    let start = out.len();
    out.extend_from_slice(&iv);
    out.extend_from_slice(plain);
    keys.apply_keystream(&iv, &mut out[start + IV_BYTES..]);
    let tag = keys.tag(&out[start..], mac_data);
    out.extend_from_slice(&tag);
}

/// Decrypts `sealed` into memory that is wiped when dropped. The point is checked before any key agreement, the tag before
/// any decryption.
///
/// # Errors
/// [`DecryptError`], whatever the cause.
pub fn open(
    crypto: &dyn Crypto,
    secret: &SecretKey,
    mac_data: &[u8],
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, DecryptError> {
    let (point, rest) = sealed.split_first_chunk::<POINT_BYTES>().ok_or(DecryptError)?;
    let (body, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or(DecryptError)?;
    let (iv, ciphertext) = body.split_first_chunk::<IV_BYTES>().ok_or(DecryptError)?;
    let Some((4, xy)) = point.split_first() else { return Err(DecryptError) };
    let xy = xy.try_into().map_err(|_| DecryptError)?;
    let key = PublicKey::from_xy(crypto, xy).map_err(|_| DecryptError)?;

    let keys = Keys::derive(&crypto.ecdh(secret, &key));
    if !bool::from(keys.tag(body, mac_data).ct_eq(tag)) {
        return Err(DecryptError);
    }
    let mut plain = Zeroizing::new(ciphertext.to_vec());
    keys.apply_keystream(iv, &mut plain);
    Ok(plain)
}

/// The keys that both sides derive from an agreement.
struct Keys {
    encryption: Zeroizing<[u8; 16]>,
    mac: Zeroizing<[u8; 32]>,
}

impl Keys {
    fn derive(agreement: &SharedSecret) -> Self {
        let derived = concat_kdf(agreement.expose());
        let mut encryption = Zeroizing::new([0; 16]);
        encryption.copy_from_slice(&derived[..16]);
        Self { encryption, mac: digest(Sha256::new().chain_update(&derived[16..])) }
    }

    fn apply_keystream(&self, iv: &[u8; IV_BYTES], bytes: &mut [u8]) {
        Ctr128BE::<Aes128Enc>::new((&*self.encryption).into(), iv.into()).apply_keystream(bytes);
    }

    /// The HMAC over IV and ciphertext, followed by `mac_data`.
    fn tag(&self, body: &[u8], mac_data: &[u8]) -> [u8; TAG_BYTES] {
        let mac = Hmac::<Sha256>::new_from_slice(&*self.mac).expect("HMAC takes keys of any length");
        mac.chain_update(body).chain_update(mac_data).finalize().into_bytes().into()
    }
}

/// NIST SP 800-56A concatenation KDF with SHA-256 and no other info: one block of output.
fn concat_kdf(agreement: &[u8]) -> Zeroizing<[u8; 32]> {
    digest(Sha256::new().chain_update(1u32.to_be_bytes()).chain_update(agreement))
}

/// The digest, written to where it stays: no other copy of it is left.
fn digest(sha256: Sha256) -> Zeroizing<[u8; 32]> {
    let mut out = Zeroizing::new([0; 32]);
    sha256.finalize_into((&mut *out).into());
    out
}

#[cfg(test)]
mod tests;
