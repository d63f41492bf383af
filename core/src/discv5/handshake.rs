//! The initiator's side of a handshake (`discv5-wire.md`, "Handshake Message"): from a challenge to the keys of a session.

use alloc::vec::Vec;
use core::fmt;

use super::Local;
use crate::crypto::discv5::{Nonce, SessionKeys, id_proof_digest};
use crate::crypto::{Crypto, NodeId, PublicKey, SecretKey, Signature};
use crate::rng::Rng;
use crate::wire::discv5::{Challenge, IdProof, Message, Route, seal_handshake};

/// Our answer to a challenge: the keys of the session that begins with it, and the proof of our identity.
#[must_use]
pub struct Handshake {
    /// The keys of the session; we are the initiator.
    pub keys: SessionKeys,
    ephemeral_key: [u8; 33],
    signature: Signature,
    is_record_wanted: bool,
}

impl Handshake {
    /// Answers a challenge of the node `id`, whose key is `key`. Costs a public key, an agreement and a signature.
    pub fn answer(
        crypto: &dyn Crypto,
        rng: &mut Rng,
        local: &Local,
        (id, key): (&NodeId, &PublicKey),
        challenge: &Challenge,
    ) -> Self {
        let ephemeral = SecretKey::generate(rng);
        let ephemeral_key = crypto.ephemeral_key(&ephemeral);
        let agreement = crypto.agree_as_initiator(&ephemeral, key);
        let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &local.id, id);
        let digest = id_proof_digest(challenge.as_bytes(), &ephemeral_key, id);
        let signature = crypto.sign(&local.secret, &digest).without_recovery_id();
        let is_record_wanted = challenge.enr_seq() == 0 || challenge.enr_seq() < local.record.seq();
        Self { keys, ephemeral_key, signature, is_record_wanted }
    }

    /// Appends the handshake packet to the node `to`, with its first message. `iv` is random, and `nonce` new.
    pub fn seal(
        &self,
        out: &mut Vec<u8>,
        local: &Local,
        to: &NodeId,
        (iv, nonce): ([u8; 16], &Nonce),
        message: &Message<'_>,
    ) {
        let record = self.is_record_wanted.then(|| local.record.as_bytes());
        let proof = IdProof { signature: self.signature, ephemeral_key: &self.ephemeral_key, record };
        seal_handshake(out, Route { from: &local.id, to }, iv, nonce, &proof, &self.keys.initiator, message);
    }
}

/// Shows no key.
impl fmt::Debug for Handshake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handshake").field("is_record_wanted", &self.is_record_wanted).finish_non_exhaustive()
    }
}
