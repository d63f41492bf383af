//! ECIES as RLPx uses it (`rlpx.md`, "ECIES Encryption"): secp256k1, NIST concat KDF, AES-128-CTR, HMAC-SHA-256.

use alloc::vec::Vec;

use super::{Crypto, PublicKey, SecretKey};
use crate::rng::Rng;

/// Bytes that [`seal`] adds to a plaintext: point 65, IV 16, tag 32.
pub const OVERHEAD_BYTES: usize = 65 + 16 + 32;

/// A ciphertext that was not made for this key, or was changed on its way. Deliberately tells nothing more: a bad point,
/// a bad tag and a short body cannot be told apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Undecipherable;

/// Appends the encryption of `plain` to `out`; `mac_data` (the size prefix) is authenticated with it.
pub fn seal(crypto: &dyn Crypto, rng: &mut Rng, to: &PublicKey, mac_data: &[u8], plain: &[u8], out: &mut Vec<u8>) {
    let _ = (crypto, rng, to, mac_data, plain, out);
    unimplemented!()
}

/// Decrypts `sealed`. The point is checked before any key agreement, the tag before any decryption.
///
/// # Errors
/// One error for every cause.
pub fn open(
    crypto: &dyn Crypto,
    secret: &SecretKey,
    mac_data: &[u8],
    sealed: &[u8],
) -> Result<Vec<u8>, Undecipherable> {
    let _ = (crypto, secret, mac_data, sealed);
    unimplemented!()
}
