//! Primitives that cost next to nothing and protect nothing, of the same sizes and refusals as the real ones: machines under
//! fuzz spend their time in their own code, and inputs reach behind every signature and MAC.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{Crypto, Digest, PublicKey, RecoverableSignature, SecretKey, SharedSecret, Signature};

/// A key is `x | f(x)`, a signature `x ^ f(digest) | f(x, digest) | 0`, an agreement `f` of both public keys.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cheap;

/// A digest of several parts, keyed by its purpose. Distinct inputs collide by chance only, unless they are chosen to.
pub fn mix(purpose: u64, parts: &[&[u8]]) -> Digest {
    const MULTIPLIERS: [u64; 4] =
        [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9, 0x94d0_49bb_1331_11eb, 0xd6e8_feb8_6659_fd93];
    let mut lanes = MULTIPLIERS.map(|multiplier| multiplier ^ purpose.wrapping_mul(MULTIPLIERS[0]));
    let mut absorb = |word: u64| {
        for (lane, multiplier) in lanes.iter_mut().zip(MULTIPLIERS) {
            *lane = (*lane ^ word).wrapping_mul(multiplier);
            *lane ^= *lane >> 29;
        }
        lanes.rotate_left(1);
    };
    for part in parts {
        absorb(part.len() as u64);
        for chunk in part.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            absorb(u64::from_le_bytes(word));
        }
    }
    (0..4).for_each(absorb);
    let mut out = [0; 32];
    for (bytes, lane) in out.chunks_exact_mut(8).zip(lanes) {
        bytes.copy_from_slice(&lane.to_le_bytes());
    }
    out
}

/// The point with this first half; `odd` chooses between the two that there are.
fn point(x: &[u8; 32], odd: bool) -> [u8; 64] {
    let mut y = mix(1, &[x]);
    if odd != (y[31] & 1 == 1) {
        y.iter_mut().for_each(|byte| *byte = !*byte);
    }
    let mut xy = [0; 64];
    xy[..32].copy_from_slice(x);
    xy[32..].copy_from_slice(&y);
    xy
}

fn x_of(xy: &[u8; 64]) -> [u8; 32] {
    let mut x = [0; 32];
    x.copy_from_slice(&xy[..32]);
    x
}

fn xor(a: &[u8; 32], b: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|i| a[i] ^ b[i])
}

/// The second half of a signature: low, as every accepted `s` is.
fn tag(xy: &[u8; 64], digest: &Digest) -> [u8; 32] {
    let mut tag = mix(2, &[xy, digest]);
    tag[0] &= 0x7f;
    tag
}

impl Crypto for Cheap {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        let x = mix(3, &[secret.expose()]);
        point(&x, x[0] & 1 == 1)
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let xy = self.derive_xy(secret);
        let mut out = [0; 65];
        out[..32].copy_from_slice(&xor(&x_of(&xy), &mix(4, &[digest])));
        out[32..64].copy_from_slice(&tag(&xy, digest));
        out[64] = xy[63] & 1;
        RecoverableSignature(out)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        let xy = key.as_bytes();
        xor(&x_of(xy), &mix(4, &[digest])) == signature.0[..32] && tag(xy, digest) == signature.0[32..]
    }

    /// As on the curve, most signatures of random bytes belong to a key whose secret is unknown.
    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        let [r, s] = [0, 32].map(|at| <[u8; 32]>::try_from(&signature.0[at..at + 32]).unwrap_or_default());
        let id = signature.0[64];
        if id > 3 || r == [0; 32] || s == [0; 32] || s[0] > 0x7f {
            return None;
        }
        let signer = point(&xor(&r, &mix(4, &[digest])), id & 1 == 1);
        if id <= 1 && tag(&signer, digest) == s {
            return Some(signer);
        }
        let unknown = mix(5, &[&signature.0, digest]);
        (unknown[0] & 1 == 1).then(|| point(&unknown, false))
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        point(&x_of(xy), xy[63] & 1 == 1) == *xy
    }

    /// As on the curve, half of all strings are no point.
    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        let (sign, x) = compressed.split_first()?;
        let x = <[u8; 32]>::try_from(x).ok()?;
        matches!(sign, 2 | 3).then(|| point(&x, *sign == 3))
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        let ours = self.public_key(secret);
        let (low, high) = if ours < *key { (&ours, key) } else { (key, &ours) };
        let mut compressed = [2; 33];
        compressed[1..].copy_from_slice(&mix(6, &[low.as_bytes(), high.as_bytes()]));
        SharedSecret::from_compressed(compressed)
    }

    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        mix(7, &[bytes])
    }

    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        mac.update(bytes);
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        mac.digest()
    }
}

/// The secret key number `i`.
pub fn secret(i: u8) -> SecretKey {
    SecretKey::from_bytes([i.max(1); 32]).expect("in range")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_what_the_real_ones_do() {
        for i in 1..100 {
            let (ours, theirs) = (secret(i), secret(i + 1));
            let key = Cheap.public_key(&ours);
            assert_eq!(Cheap.public_key_from_xy(key.as_bytes()), Some(key));
            assert_eq!(Cheap.public_key_from_compressed(&key.compressed()), Some(key));
            let digest = [i; 32];
            let signature = Cheap.sign(&ours, &digest);
            assert_eq!(Cheap.recover(&digest, &signature), Some(key));
            assert!(Cheap.verify(&key, &digest, &signature.without_recovery_id()));
            assert!(!Cheap.verify(&key, &[i + 1; 32], &signature.without_recovery_id()));
            assert_ne!(Cheap.recover(&[i + 1; 32], &signature), Some(key));
            for bit in 0..520 {
                let mut tampered = signature;
                tampered.0[bit / 8] ^= 1 << (bit % 8);
                assert_ne!(Cheap.recover(&digest, &tampered), Some(key), "bit {bit}");
            }
            let agreement = Cheap.ecdh(&ours, &Cheap.public_key(&theirs));
            assert_eq!(agreement.expose(), Cheap.ecdh(&theirs, &key).expose());
            assert_ne!(agreement.expose(), Cheap.ecdh(&ours, &key).expose());
            let mut off = *key.as_bytes();
            off[40] ^= 1;
            assert_eq!(Cheap.public_key_from_xy(&off), None);
        }
        assert_eq!(Cheap.public_key_from_compressed(&[4; 33]), None);
    }
}
