//! The cryptography of discv5 sessions (`discv5-theory.md`, "Sessions"; `discv5-wire.md`, "Packet Encoding"): HKDF-SHA-256
//! key derivation, the digest of the identity proof, AES-128-GCM for messages, AES-128-CTR for headers.

use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;

use aes::Aes128Enc;
use aes_gcm::aead::AeadInPlace;
use aes_gcm::{Aes128Gcm, KeyInit};
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::{Digest, NodeId, SharedSecret};

/// Bytes of an authentication tag, by which a sealed message is longer than a plain one.
pub const TAG_BYTES: usize = 16;

/// The nonce of a message. Never used twice with one key.
pub type Nonce = [u8; 12];

/// The error of a message that was sealed with another key or was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidTag;

impl fmt::Display for InvalidTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the message does not authenticate")
    }
}

impl core::error::Error for InvalidTag {}

/// The AES-128 key of one direction of a session. Zeroised when dropped.
#[derive(Clone)]
pub struct MessageKey(Zeroizing<[u8; 16]>);

impl MessageKey {
    /// Takes 16 bytes as a key.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The secret bytes.
    pub fn expose(&self) -> &[u8; 16] {
        &self.0
    }

    /// Encrypts what follows the range `associated` of `bytes` in place and appends the tag over that range and the rest.
    pub(crate) fn seal(&self, nonce: &Nonce, bytes: &mut Vec<u8>, associated: Range<usize>) {
        let Some((head, plain)) = bytes.split_at_mut_checked(associated.end) else { return };
        let tag = self.cipher().encrypt_in_place_detached(nonce.into(), &head[associated.start..], plain);
        bytes.extend_from_slice(&tag.expect("a message is shorter than GCM's 64 GiB"));
    }

    /// Decrypts `sealed` in place and returns the plain part of it, if the tag over it and `associated` is right. Otherwise the
    /// bytes are unchanged.
    pub(crate) fn open<'a>(
        &self,
        nonce: &Nonce,
        associated: &[u8],
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], InvalidTag> {
        let (message, tag) = sealed.split_last_chunk_mut::<TAG_BYTES>().ok_or(InvalidTag)?;
        let opened = self.cipher().decrypt_in_place_detached(nonce.into(), associated, message, (&*tag).into());
        opened.map(|()| message).map_err(|_| InvalidTag)
    }

    fn cipher(&self) -> Aes128Gcm {
        Aes128Gcm::new((&*self.0).into())
    }
}

/// Shows no byte of the key.
impl fmt::Debug for MessageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MessageKey(..)")
    }
}

/// The keys of a session, by the side that seals with them. The initiator is the side that proved its identity.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionKeys {
    /// Seals the initiator's messages.
    pub initiator: MessageKey,
    /// Seals the recipient's messages.
    pub recipient: MessageKey,
}

impl SessionKeys {
    /// Derives the keys from the agreement of the initiator's ephemeral key with the recipient's static key and the challenge.
    pub fn derive(agreement: &SharedSecret, challenge: &[u8], initiator: &NodeId, recipient: &NodeId) -> Self {
        let prk = hmac(challenge, &[agreement.expose_compressed()]);
        let okm = hmac(&*prk, &[b"discovery v5 key agreement", &initiator.0, &recipient.0, &[1]]);
        let half = |at: usize| {
            let mut key = MessageKey::new([0; 16]);
            key.0.copy_from_slice(&okm[at..at + 16]);
            key
        };
        Self { initiator: half(0), recipient: half(16) }
    }
}

/// HMAC-SHA-256 of all parts together: with the salt as key HKDF's extraction (RFC 5869), with its result the first block of
/// its expansion.
fn hmac(key: &[u8], parts: &[&[u8]]) -> Zeroizing<[u8; 32]> {
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key).expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    let mut out = Zeroizing::new([0; 32]);
    out.copy_from_slice(&mac.finalize().into_bytes());
    out
}

/// The digest that an initiator signs to prove its identity to `recipient` in answer to a challenge.
pub fn id_proof_digest(challenge: &[u8], ephemeral_key: &[u8; 33], recipient: &NodeId) -> Digest {
    let text = Sha256::new_with_prefix(b"discovery v5 identity proof");
    text.chain_update(challenge).chain_update(ephemeral_key).chain_update(recipient.0).finalize().into()
}

/// Masks or unmasks headers that are sent to one node, which hides the protocol from observers that do not know its id.
pub(crate) struct Mask(Ctr128BE<Aes128Enc>);

impl Mask {
    /// The mask of a packet to the node `to`.
    pub(crate) fn new(to: &NodeId, iv: &[u8; 16]) -> Self {
        let key: &[u8; 16] = to.0.first_chunk().expect("an id has 32 bytes");
        Self(Ctr128BE::new(key.into(), iv.into()))
    }

    /// Masks or unmasks the next bytes of the header.
    pub(crate) fn apply(&mut self, bytes: &mut [u8]) {
        self.0.apply_keystream(bytes);
    }
}
