//! Keyed hashes in place of signatures, agreements and Keccak: the same sizes, the same refusals, a hundredth of the
//! work.
//!
//! Public keys are still points on the curve, computed once for each secret, so node ids and the whole schedule of a
//! run are the same as with the real primitives. A signature is the signer's x coordinate and a hash of key and digest:
//! recovery needs no table of signatures, only a look-up of y, or else a square root. Inputs that the real primitives
//! refuse are refused here: coordinates off the curve, scalars out of range. Inputs that they accept are accepted: a
//! signature that was tampered with recovers an unknown key.
//!
//! Nothing of this is secure. Only simulations can use it.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, NodeId, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature,
};

use super::table::{Cache, Registry};
use crate::mix::Mix;

/// Secrets that are remembered although there is no room for them.
const LATEST: usize = 256;

/// Keyed hashes as primitives; see the module.
#[derive(Debug)]
pub struct SimMac {
    real: Secp256k1,
    /// The key of all hashes.
    hash: Mix,
    /// Public keys by secret.
    by_secret: Registry<32, [u8; 64]>,
    /// Those of the latest secrets for which there was no room: a handshake needs those of its ephemeral secrets twice.
    latest: Cache<32, [u8; 64]>,
    /// The y coordinates of public keys, and their ids, by x coordinate.
    by_x: Registry<32, ([u8; 32], NodeId)>,
}

impl SimMac {
    /// Makes primitives for about `nodes` nodes: the keys of so many nodes, and of the first so many handshakes, are
    /// computed once.
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self {
            real: Secp256k1::new(),
            hash: Mix::new(seed).word(0x7369_6d6d_6163),
            by_secret: Registry::new(2 * nodes),
            latest: Cache::new(LATEST),
            by_x: Registry::new(2 * nodes),
        }
    }

    /// The name of the primitives in a recording. They depend on the run's seed alone, so that one node of a run can be
    /// run again alone.
    pub fn name(seed: u64) -> String {
        format!("simmac {seed}")
    }

    /// The primitives with the given name, for about `nodes` nodes; `None` if the name is another implementation's.
    pub fn by_name(name: &str, nodes: usize) -> Option<Self> {
        let seed = name.strip_prefix("simmac ")?.parse().ok()?;
        (Self::name(seed) == name).then(|| Self::new(seed, nodes))
    }

    /// The `s` of a key's signature: a scalar in the lower half, as low-`s` signatures are.
    fn tag(&self, xy: &[u8; 64], digest: &Digest) -> [u8; 32] {
        let mut tag = self.hash.bytes(xy).bytes(digest).finish_32();
        tag[0] = tag[0] & 0x3f | 1;
        tag
    }

    /// The agreement of an ephemeral and a static key.
    fn agreement(&self, ephemeral_key: &[u8; 33], key: &[u8; 64]) -> SharedSecret {
        let mut compressed = [2; 33];
        compressed[1..].copy_from_slice(&self.hash.bytes(ephemeral_key).bytes(key).finish_32());
        SharedSecret::from_compressed(compressed)
    }

    /// The point with this x coordinate and an odd y or not.
    fn lift(&self, x: &[u8; 32], is_odd: bool) -> Option<[u8; 64]> {
        let mut compressed = [0; 33];
        compressed[0] = 2 + u8::from(is_odd);
        compressed[1..].copy_from_slice(x);
        self.decompress_xy(&compressed)
    }
}

fn x(xy: &[u8; 64]) -> &[u8; 32] {
    xy.first_chunk().expect("64 bytes hold 32")
}

fn y(xy: &[u8; 64]) -> &[u8; 32] {
    xy.last_chunk().expect("64 bytes hold 32")
}

fn point(x: &[u8; 32], y: &[u8; 32]) -> [u8; 64] {
    let mut xy = [0; 64];
    xy[..32].copy_from_slice(x);
    xy[32..].copy_from_slice(y);
    xy
}

fn is_odd(xy: &[u8; 64]) -> bool {
    xy[63] & 1 == 1
}

impl Crypto for SimMac {
    fn derive_xy(&self, secret: &SecretKey) -> [u8; 64] {
        if let Some(xy) = self.by_secret.find(secret.expose()) {
            return *xy;
        }
        if let Some(xy) = self.latest.find(secret.expose()) {
            return xy;
        }
        let key = self.real.public_key(secret);
        let xy = *key.as_bytes();
        self.by_secret.insert(*secret.expose(), xy);
        self.latest.insert(*secret.expose(), xy);
        self.by_x.insert(*x(&xy), (*y(&xy), key.node_id()));
        xy
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let xy = self.derive_xy(secret);
        let mut signature = [0; 65];
        signature[..32].copy_from_slice(x(&xy));
        signature[32..64].copy_from_slice(&self.tag(&xy, digest));
        signature[64] = u8::from(is_odd(&xy));
        RecoverableSignature(signature)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        let xy = key.as_bytes();
        signature.0[..32] == *x(xy) && signature.0[32..] == self.tag(xy, digest)
    }

    fn recover_xy(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<[u8; 64]> {
        let (r, rest) = signature.0.split_first_chunk::<32>()?;
        let (s, v) = rest.split_first_chunk::<32>()?;
        let is_odd = match v {
            [0] => false,
            [1] => true,
            // With 2 and 3, r would be a coordinate beyond the group's order; hardly any point has one.
            _ => return None,
        };
        let xy = self.lift(r, is_odd)?;
        if self.tag(&xy, digest) == *s {
            return Some(xy);
        }
        SecretKey::from_bytes(*s).ok()?;
        let mut unknown = self.hash.bytes(digest).bytes(&signature.0).finish_32();
        unknown[0] = 1;
        SecretKey::from_bytes(unknown).ok().map(|secret| self.real.derive_xy(&secret))
    }

    fn is_on_curve(&self, xy: &[u8; 64]) -> bool {
        self.node_id_of_xy(xy).is_some()
    }

    fn decompress_xy(&self, compressed: &[u8; 33]) -> Option<[u8; 64]> {
        let (sign, x) = compressed.split_last_chunk()?;
        match self.by_x.find(x) {
            Some((y, _)) if *sign == [2 + (y[31] & 1)] => Some(point(x, y)),
            _ => self.real.decompress_xy(compressed),
        }
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        let own = self.derive_xy(secret);
        let (low, high) = if own < *key.as_bytes() { (&own, key.as_bytes()) } else { (key.as_bytes(), &own) };
        let mut compressed = [2; 33];
        compressed[1..].copy_from_slice(&self.hash.bytes(low).bytes(high).finish_32());
        SharedSecret::from_compressed(compressed)
    }

    /// A hash of the secret in place of a point: it is used once and is no node's key. So a tampered one is refused only
    /// because the proof of identity covers it.
    fn ephemeral_key(&self, secret: &SecretKey) -> [u8; 33] {
        let mut key = [2; 33];
        key[1..].copy_from_slice(&self.hash.bytes(secret.expose()).finish_32());
        key
    }

    fn agree_as_initiator(&self, ephemeral: &SecretKey, key: &PublicKey) -> SharedSecret {
        self.agreement(&self.ephemeral_key(ephemeral), key.as_bytes())
    }

    fn agree_as_recipient(&self, secret: &SecretKey, ephemeral_key: &[u8; 33]) -> Option<SharedSecret> {
        (ephemeral_key[0] & !1 == 2).then(|| self.agreement(ephemeral_key, &self.derive_xy(secret)))
    }

    /// Also prefetches the signer, which is looked up next: the hashed bytes begin with its x coordinate.
    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        bytes.first_chunk().iter().for_each(|x| self.by_x.prefetch(x));
        self.hash.bytes(bytes).finish_32()
    }

    fn signed_hash(&self, bytes: &[u8]) -> Digest {
        self.hash.bytes(bytes).finish_32()
    }

    fn node_id(&self, key: &PublicKey) -> NodeId {
        let xy = key.as_bytes();
        let known = self.by_x.find(x(xy)).filter(|(known, _)| known == y(xy));
        known.map_or_else(|| key.node_id(), |(_, id)| *id)
    }

    fn node_id_of_xy(&self, xy: &[u8; 64]) -> Option<NodeId> {
        match self.by_x.find(x(xy)) {
            Some((known, id)) if known == y(xy) => Some(*id),
            _ => self.real.node_id_of_xy(xy),
        }
    }

    /// Uses the sponge's first four words: the hash of all whole blocks of 16 bytes, the number of bytes in the current
    /// block, and the block.
    fn mac_update(&self, mac: &mut Keccak, bytes: &[u8]) {
        let [hash, filled, low, high, ..] = mac.words_mut();
        let mut rest = bytes;
        while !rest.is_empty() {
            let mut block = (u128::from(*high) << 64 | u128::from(*low)).to_le_bytes();
            let free = &mut block[*filled as usize..];
            let (head, tail) = rest.split_at(rest.len().min(free.len()));
            free[..head.len()].copy_from_slice(head);
            rest = tail;
            *filled += head.len() as u64;
            let block = u128::from_le_bytes(block);
            (*low, *high) = (block as u64, (block >> 64) as u64);
            if *filled == 16 {
                *hash = self.hash.word(*hash).words(*low, *high).finish();
                (*filled, *low, *high) = (0, 0, 0);
            }
        }
    }

    fn mac_digest(&self, mac: &Keccak) -> Digest {
        let mut mac = mac.clone();
        let [hash, filled, low, high, ..] = mac.words_mut();
        self.hash.words(*hash, *filled).words(*low, *high).finish_32()
    }
}
