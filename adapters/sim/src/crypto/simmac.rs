//! Keyed hashes in place of signatures, agreements and Keccak: the same sizes, the same refusals, a hundredth of the work.
//!
//! Keys stay those of the curve, computed once for each secret, so that node ids, and with them the whole schedule of a
//! run, are the same as with the real primitives. A signature is the signer's x coordinate and a hash of key and digest: to
//! be recovered it needs no memory, only the look-up of y, or else a square root. What is refused by the real primitives is
//! refused here: coordinates off the curve, scalars out of range. And what they do not refuse is not: a signature that was
//! tampered with recovers the key of nobody.
//!
//! None of it is secure. It can be reached from nothing but a simulation.

use peerless::crypto::mac::Keccak;
use peerless::crypto::{
    Crypto, Digest, NodeId, PublicKey, RecoverableSignature, Secp256k1, SecretKey, SharedSecret, Signature,
};

use super::table::Registry;
use crate::mix::Mix;

/// See the module.
pub struct SimMac {
    real: Secp256k1,
    /// The key of everything that is hashed here.
    hash: Mix,
    /// Public keys by secret.
    by_secret: Registry<32, PublicKey>,
    /// The y coordinates of public keys, and their ids, by x coordinate.
    by_x: Registry<32, ([u8; 32], NodeId)>,
}

impl SimMac {
    /// For about so many nodes: the keys of so many, and of the first so many handshakes, need no curve operation twice.
    pub fn new(seed: u64, nodes: usize) -> Self {
        Self {
            real: Secp256k1::new(),
            hash: Mix::new(seed).word(0x7369_6d6d_6163),
            by_secret: Registry::new(2 * nodes),
            by_x: Registry::new(2 * nodes),
        }
    }

    /// The name under which a recording says that it was made with these: they depend on the run's seed and nothing else,
    /// so that one node of a run can be run again alone.
    pub fn name(seed: u64) -> String {
        format!("simmac {seed}")
    }

    /// Those of a name, for about so many nodes; `None` if it names others.
    pub fn by_name(name: &str, nodes: usize) -> Option<Self> {
        let seed = name.strip_prefix("simmac ")?.parse().ok()?;
        (Self::name(seed) == name).then(|| Self::new(seed, nodes))
    }

    /// The `s` of a key's signature: a scalar in the lower half, as low-`s` signatures are.
    fn tag(&self, key: &PublicKey, digest: &Digest) -> [u8; 32] {
        let mut tag = self.hash.bytes(key.as_bytes()).bytes(digest).finish_32();
        tag[0] = tag[0] & 0x3f | 1;
        tag
    }

    /// The point with this x coordinate and an odd y or not.
    fn lift(&self, x: &[u8; 32], is_odd: bool) -> Option<PublicKey> {
        let mut compressed = [0; 33];
        compressed[0] = 2 + u8::from(is_odd);
        compressed[1..].copy_from_slice(x);
        self.public_key_from_compressed(&compressed)
    }
}

fn x(key: &PublicKey) -> &[u8; 32] {
    key.as_bytes().first_chunk().expect("64 bytes hold 32")
}

fn y(key: &PublicKey) -> &[u8; 32] {
    key.as_bytes().last_chunk().expect("64 bytes hold 32")
}

fn point(x: &[u8; 32], y: &[u8; 32]) -> PublicKey {
    let mut xy = [0; 64];
    xy[..32].copy_from_slice(x);
    xy[32..].copy_from_slice(y);
    PublicKey::from_xy_checked(xy)
}

fn is_odd(key: &PublicKey) -> bool {
    key.as_bytes()[63] & 1 == 1
}

impl Crypto for SimMac {
    fn public_key(&self, secret: &SecretKey) -> PublicKey {
        if let Some(key) = self.by_secret.find(secret.expose()) {
            return *key;
        }
        let key = self.real.public_key(secret);
        self.by_secret.insert(*secret.expose(), key);
        self.by_x.insert(*x(&key), (*y(&key), key.node_id()));
        key
    }

    fn sign(&self, secret: &SecretKey, digest: &Digest) -> RecoverableSignature {
        let key = self.public_key(secret);
        let mut signature = [0; 65];
        signature[..32].copy_from_slice(x(&key));
        signature[32..64].copy_from_slice(&self.tag(&key, digest));
        signature[64] = u8::from(is_odd(&key));
        RecoverableSignature(signature)
    }

    fn verify(&self, key: &PublicKey, digest: &Digest, signature: &Signature) -> bool {
        signature.0[..32] == *x(key) && signature.0[32..] == self.tag(key, digest)
    }

    fn recover(&self, digest: &Digest, signature: &RecoverableSignature) -> Option<PublicKey> {
        let (r, rest) = signature.0.split_first_chunk::<32>()?;
        let (s, v) = rest.split_first_chunk::<32>()?;
        let is_odd = match v {
            [0] => false,
            [1] => true,
            // With 2 and 3, r would be a coordinate beyond the group's order: there is next to none.
            _ => return None,
        };
        let key = self.lift(r, is_odd)?;
        if self.tag(&key, digest) == *s {
            return Some(key);
        }
        SecretKey::from_bytes(*s).ok()?;
        let mut nobody = self.hash.bytes(digest).bytes(&signature.0).finish_32();
        nobody[0] = 1;
        SecretKey::from_bytes(nobody).ok().map(|secret| self.real.public_key(&secret))
    }

    fn public_key_from_xy(&self, xy: &[u8; 64]) -> Option<PublicKey> {
        self.identify(xy).map(|(key, _)| key)
    }

    fn public_key_from_compressed(&self, compressed: &[u8; 33]) -> Option<PublicKey> {
        let (sign, x) = compressed.split_last_chunk()?;
        match self.by_x.find(x) {
            Some((y, _)) if *sign == [2 + (y[31] & 1)] => Some(point(x, y)),
            _ => self.real.public_key_from_compressed(compressed),
        }
    }

    fn ecdh(&self, secret: &SecretKey, key: &PublicKey) -> SharedSecret {
        let own = self.public_key(secret);
        let (low, high) = if own < *key { (&own, key) } else { (key, &own) };
        SharedSecret::new(self.hash.bytes(low.as_bytes()).bytes(high.as_bytes()).finish_32())
    }

    /// Whoever hashes what came in a datagram looks for its signer next, whose x coordinate it begins with.
    fn datagram_hash(&self, bytes: &[u8]) -> Digest {
        bytes.first_chunk().iter().for_each(|x| self.by_x.prefetch(x));
        self.hash.bytes(bytes).finish_32()
    }

    fn signed_hash(&self, bytes: &[u8]) -> Digest {
        self.hash.bytes(bytes).finish_32()
    }

    fn node_id(&self, key: &PublicKey) -> NodeId {
        let known = self.by_x.find(x(key)).filter(|(known, _)| known == y(key));
        known.map_or_else(|| key.node_id(), |(_, id)| *id)
    }

    fn identify(&self, xy: &[u8; 64]) -> Option<(PublicKey, NodeId)> {
        let (x, y) = xy.split_first_chunk()?;
        match self.by_x.find(x) {
            Some((known, id)) if known == y => Some((PublicKey::from_xy_checked(*xy), *id)),
            _ => self.real.identify(xy),
        }
    }

    /// The sponge's first words are used: the hash of all whole blocks of 16 bytes, the bytes of the next, and the block.
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
