//! The keys of an inspection: key logs, and static keys of nodes.
//!
//! A static key decrypts handshake packets only: the recipient's decrypts auth, the initiator's decrypts ack. Both
//! together reveal the two nodes and their ephemeral public keys; the secrets of the frames follow from an ephemeral
//! *private* key, which is never sent. Frames need a key log.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use aes::cipher::{KeyIvInit, StreamCipher};
use peerless::crypto::secrets::{Role, Secrets};
use peerless::crypto::{Crypto, Digest, NodeId, PublicKey, Secp256k1, SecretKey, ecies, keccak256};
use peerless::wire::rlpx::{Ack, Auth};

use super::finding::{OpenedAck, OpenedAuth};
use crate::keylog::KeyLog;

/// Bytes of a handshake packet's size prefix.
pub(super) const PREFIX_BYTES: usize = 2;
/// A discv5 packet's masking IV, and the static part of its header (`discv5-wire.md`, "Packet Encoding").
const MASKING_IV_BYTES: usize = 16;
const STATIC_HEADER_BYTES: usize = 23;

/// The keys of an inspection. Holds the curve's tables, so one value serves any number of captures.
pub struct Keys {
    pub(super) crypto: Arc<dyn Crypto + Send + Sync>,
    log: KeyLog,
    nodes: Vec<(SecretKey, NodeId)>,
}

/// Shows the number of keys, and none of them.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("log", &self.log).field("nodes", &self.nodes.len()).finish_non_exhaustive()
    }
}

impl Default for Keys {
    fn default() -> Self {
        Self::new(KeyLog::default(), Vec::new())
    }
}

/// The discv5 header of a datagram to a known node.
pub(super) struct Discv5 {
    pub(super) to: NodeId,
    pub(super) flag: u8,
    pub(super) nonce: [u8; 12],
}

impl Keys {
    /// Takes the sessions of a key log, and the static keys of nodes.
    pub fn new(log: KeyLog, nodes: Vec<SecretKey>) -> Self {
        Self::with_crypto(log, nodes, Arc::new(Secp256k1::new()))
    }

    /// As [`Keys::new`], for a capture of nodes with other primitives.
    pub fn with_crypto(log: KeyLog, nodes: Vec<SecretKey>, crypto: Arc<dyn Crypto + Send + Sync>) -> Self {
        let with_id = |secret: SecretKey| {
            let id = crypto.public_key(&secret).node_id();
            (secret, id)
        };
        let nodes = nodes.into_iter().map(with_id).collect();
        Self { crypto, log, nodes }
    }

    /// The known sessions.
    pub fn log_mut(&mut self) -> &mut KeyLog {
        &mut self.log
    }

    /// Returns the secrets at the start of a session, in the view of `role`.
    pub(super) fn secrets(&self, role: Role, auth_hash: &Digest, auth: &[u8], ack: &[u8]) -> Option<Secrets> {
        Some(self.log.session(auth_hash, role)?.secrets(&*self.crypto, auth, ack))
    }

    /// Decrypts an auth packet, size prefix included, with the recipient's key.
    pub(super) fn open_auth(&self, packet: &[u8]) -> Option<OpenedAuth> {
        let (secret, recipient, plain) = self.open(packet)?;
        let auth = Auth::decode(&plain).ok()?;
        let initiator = PublicKey::from_xy(&*self.crypto, &auth.key).ok()?;
        // The ephemeral key signs the static agreement XOR the nonce.
        let mut digest = *self.crypto.ecdh(secret, &initiator).expose();
        for (byte, nonce) in digest.iter_mut().zip(auth.nonce) {
            *byte ^= nonce;
        }
        let ephemeral = self.crypto.recover(&digest, &auth.signature).map(|key| key.node_id());
        Some(OpenedAuth { recipient, initiator: initiator.node_id(), ephemeral, version: auth.version })
    }

    /// Decrypts an ack packet, size prefix included, with the initiator's key.
    pub(super) fn open_ack(&self, packet: &[u8]) -> Option<OpenedAck> {
        let (_, initiator, plain) = self.open(packet)?;
        Some(OpenedAck { initiator, version: Ack::decode(&plain).ok()?.version })
    }

    fn open(&self, packet: &[u8]) -> Option<(&SecretKey, NodeId, impl Deref<Target = Vec<u8>>)> {
        let (prefix, sealed) = packet.split_at_checked(PREFIX_BYTES)?;
        self.nodes.iter().find_map(|(secret, id)| {
            let plain = ecies::open(&*self.crypto, secret, prefix, sealed).ok()?;
            Some((secret, *id, plain))
        })
    }

    /// Reads the header of a discv5 datagram to a node whose key is known: it is masked with the receiver's id.
    pub(super) fn unmask(&self, datagram: &[u8]) -> Option<Discv5> {
        let (iv, masked) = datagram.split_first_chunk::<MASKING_IV_BYTES>()?;
        let masked = masked.first_chunk::<STATIC_HEADER_BYTES>()?;
        self.nodes.iter().find_map(|(_, id)| {
            let mut header = *masked;
            let key: &[u8; 16] = id.0.first_chunk()?;
            ctr::Ctr128BE::<aes::Aes128>::new(key.into(), iv.into()).apply_keystream(&mut header);
            let (protocol, rest) = header.split_first_chunk::<6>()?;
            let (_version, rest) = rest.split_first_chunk::<2>()?;
            let (flag, rest) = rest.split_first()?;
            let nonce = *rest.first_chunk()?;
            (protocol == b"discv5").then_some(Discv5 { to: *id, flag: *flag, nonce })
        })
    }
}

/// Returns the hash that identifies a session.
pub(super) fn auth_hash(packet: &[u8]) -> Digest {
    keccak256(packet)
}
