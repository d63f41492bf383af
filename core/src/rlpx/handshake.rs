//! The handshake (`rlpx.md`, "Initial Handshake"), EIP-8 form only: auth, ack, and the secrets that follow.
//!
//! Every failure is the same [`Fault::Handshake`] with nothing said to the peer, so that a stranger learns nothing about
//! our key by trying. A handshake holds no deadline and no opinion of its peer: the connection has both.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroizing;

use super::frames::Frames;
use crate::contract::Fault;
use crate::contract::cx::Cx;
use crate::contract::outbound::Outbound;
use crate::crypto::secrets::{Exchange, Role, Secrets, SessionSecrets};
use crate::crypto::{Crypto, Digest, PublicKey, SecretKey, SharedSecret, ecies};
use crate::limits;
use crate::rng::Rng;
use crate::wire::rlpx::{Ack, Auth, VERSION};

/// Bytes of a packet's size prefix.
const PREFIX_BYTES: usize = 2;
/// Most bytes of an auth or ack of ours before padding: those of auth.
const PLAIN_BYTES_MAX: usize = 256;

/// A handshake in progress. Feed it with [`Handshake::handle_bytes`] until it returns [`Progress::Done`].
#[derive(Debug)]
pub enum Handshake {
    /// Auth is sent, ack is expected.
    Initiator(Box<Initiator>),
    /// Auth is expected.
    Recipient(Recipient),
}

/// The result of handling some bytes of a handshake.
#[derive(Debug)]
#[must_use]
pub enum Progress {
    /// It needs more bytes, and has taken all there were.
    Pending,
    /// Both sides agree. The handshake is over.
    Done(Box<Agreed>),
    /// The peer is not the one that was dialled, does not know our key, or speaks another protocol. The handshake is over.
    Failed(Fault),
}

/// The result of a completed handshake.
#[derive(Debug)]
pub struct Agreed {
    /// The remote's static public key. The remote proves that it holds the secret key by its first frame.
    pub key: PublicKey,
    /// The session's frames, in both directions.
    pub frames: Frames,
    /// The handshake's inputs, for [`Agreed::secrets`]; [`Session::new`](super::Session::new) drops them.
    origin: Option<Box<Origin>>,
}

/// An owned [`Exchange`], kept until its secrets are requested: this is rare, and computing their id costs a hash.
struct Origin {
    role: Role,
    agreement: SharedSecret,
    initiator_nonce: Zeroizing<[u8; 32]>,
    recipient_nonce: Zeroizing<[u8; 32]>,
    auth: Vec<u8>,
    ack: Vec<u8>,
}

impl Agreed {
    /// Makes the result of a handshake that ran elsewhere, from its key and frames.
    pub fn new(key: PublicKey, frames: Frames) -> Self {
        Self { key, frames, origin: None }
    }

    fn from_origin(crypto: &dyn Crypto, key: PublicKey, origin: Origin) -> Self {
        let exchange = origin.exchange();
        let secrets = match origin.role {
            Role::Initiator => Secrets::of_initiator(crypto, &exchange),
            Role::Recipient => Secrets::of_recipient(crypto, &exchange),
        };
        Self { key, frames: Frames::new(crypto, secrets), origin: Some(Box::new(origin)) }
    }

    /// Returns the secrets of the session, for a key log; `None` after [`Agreed::new`].
    pub fn secrets(&self) -> Option<SessionSecrets> {
        let origin = self.origin.as_deref()?;
        Some(SessionSecrets::new(origin.role, &origin.exchange()))
    }
}

/// Shows no secret.
impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Origin {
    fn exchange(&self) -> Exchange<'_> {
        Exchange {
            agreement: &self.agreement,
            initiator_nonce: &self.initiator_nonce,
            recipient_nonce: &self.recipient_nonce,
            auth: &self.auth,
            ack: &self.ack,
        }
    }
}

impl Handshake {
    /// Begins a handshake with `remote` on a dialled stream; appends auth to `out`. `key` is the public key of
    /// `secret`.
    pub fn initiate(
        cx: &mut Cx<'_>,
        secret: &SecretKey,
        key: &PublicKey,
        remote: PublicKey,
        out: &mut Outbound,
    ) -> Self {
        cx.work.handshake();
        let ephemeral = SecretKey::generate(cx.rng);
        let nonce = cx.rng.secret();
        let initiator = Initiator::new(cx.crypto, cx.rng, secret, key, remote, ephemeral, nonce);
        out.tail().extend_from_slice(&initiator.auth);
        Self::Initiator(Box::new(initiator))
    }

    /// Expects a handshake on an accepted stream. Allocates nothing before the first bytes.
    pub fn receive() -> Self {
        Self::Recipient(Recipient { auth: Packet::default() })
    }

    /// Takes the handshake's bytes from the front of `bytes`, and none of the frames that may follow. A recipient
    /// appends ack to `out` when it is done. `secret` must be the same in every call.
    ///
    /// Drop the handshake once it is over: it has nothing to do with later bytes.
    pub fn handle_bytes(
        &mut self,
        cx: &mut Cx<'_>,
        secret: &SecretKey,
        bytes: &mut &[u8],
        out: &mut Outbound,
    ) -> Progress {
        match self.take_bytes(bytes) {
            Ok(Arrival::Pending) => Progress::Pending,
            Ok(Arrival::Complete) => self.complete(cx, secret, out),
            Err(fault) => Progress::Failed(fault),
        }
    }

    /// The first half of [`Handshake::handle_bytes`]: takes the handshake's bytes and does no public-key operation.
    ///
    /// # Errors
    /// If the size of the remote's packet is not one of a handshake.
    pub fn take_bytes(&mut self, bytes: &mut &[u8]) -> Result<Arrival, Fault> {
        match self {
            Self::Initiator(initiator) => initiator.ack.handle_bytes(bytes),
            Self::Recipient(recipient) => recipient.auth.handle_bytes(bytes),
        }
    }

    /// The auth that a recipient has received, whole or in part, size prefix included.
    pub fn received(&self) -> Option<&[u8]> {
        match self {
            Self::Initiator(_) => None,
            Self::Recipient(recipient) => Some(&recipient.auth.bytes),
        }
    }

    /// The second half of [`Handshake::handle_bytes`], once [`Handshake::take_bytes`] has said that the remote's packet is
    /// complete. Fails if it is not.
    pub fn complete(&mut self, cx: &mut Cx<'_>, secret: &SecretKey, out: &mut Outbound) -> Progress {
        let agreed = match self {
            Self::Initiator(initiator) => initiator.finish(cx.crypto, secret),
            Self::Recipient(recipient) => {
                cx.work.handshake();
                recipient.finish(cx.crypto, cx.rng, secret, out)
            }
        };
        match agreed {
            Some(agreed) => Progress::Done(Box::new(agreed)),
            None => Progress::Failed(Fault::Handshake),
        }
    }
}

/// The side that dialled: auth is sent, ack is expected.
pub struct Initiator {
    remote: PublicKey,
    /// Its public key is never computed: the remote recovers it from the signature.
    ephemeral: SecretKey,
    nonce: Zeroizing<[u8; 32]>,
    /// The sent packet, which the MACs absorb first.
    auth: Vec<u8>,
    ack: Packet,
}

/// Shows no secret.
impl fmt::Debug for Initiator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Initiator").field("remote", &self.remote).finish_non_exhaustive()
    }
}

impl Initiator {
    /// Makes an initiator with the given random values; `rng` is for the encryption only.
    fn new(
        crypto: &dyn Crypto,
        rng: &mut Rng,
        secret: &SecretKey,
        key: &PublicKey,
        remote: PublicKey,
        ephemeral: SecretKey,
        nonce: Zeroizing<[u8; 32]>,
    ) -> Self {
        let digest = signed_digest(&crypto.ecdh(secret, &remote), &nonce);
        let signature = crypto.sign(&ephemeral, &digest);
        let message = Auth { signature, key: *key.as_bytes(), nonce: *nonce, version: VERSION };
        let auth = seal_packet(crypto, rng, &remote, |plain| message.encode(plain));
        Self { remote, ephemeral, nonce, auth, ack: Packet::default() }
    }

    /// With the whole ack there.
    fn finish(&self, crypto: &dyn Crypto, secret: &SecretKey) -> Option<Agreed> {
        let ack = Ack::decode(&self.ack.open(crypto, secret)?).ok()?;
        let remote_ephemeral = PublicKey::from_xy(crypto, &ack.ephemeral_key).ok()?;
        let origin = Origin {
            role: Role::Initiator,
            agreement: crypto.ecdh(&self.ephemeral, &remote_ephemeral),
            initiator_nonce: self.nonce.clone(),
            recipient_nonce: Zeroizing::new(ack.nonce),
            auth: self.auth.clone(),
            ack: self.ack.bytes.clone(),
        };
        Some(Agreed::from_origin(crypto, self.remote, origin))
    }
}

/// The side that accepted: auth is expected.
#[derive(Debug)]
pub struct Recipient {
    auth: Packet,
}

impl Recipient {
    /// With the whole auth there: appends ack to `out` once nothing can fail any more.
    fn finish(&self, crypto: &dyn Crypto, rng: &mut Rng, secret: &SecretKey, out: &mut Outbound) -> Option<Agreed> {
        let accepted = Accepted::new(crypto, secret, &self.auth)?;
        let ephemeral = SecretKey::generate(rng);
        let nonce = rng.secret();
        let message = Ack { ephemeral_key: *crypto.public_key(&ephemeral).as_bytes(), nonce: *nonce, version: VERSION };
        let ack = seal_packet(crypto, rng, &accepted.remote, |plain| message.encode(plain));
        out.tail().extend_from_slice(&ack);
        Some(accepted.agree(crypto, &ephemeral, nonce, ack))
    }
}

/// A verified auth.
struct Accepted {
    auth: Vec<u8>,
    remote: PublicKey,
    remote_ephemeral: PublicKey,
    nonce: Zeroizing<[u8; 32]>,
}

impl Accepted {
    fn new(crypto: &dyn Crypto, secret: &SecretKey, packet: &Packet) -> Option<Self> {
        let auth = Auth::decode(&packet.open(crypto, secret)?).ok()?;
        let remote = PublicKey::from_xy(crypto, &auth.key).ok()?;
        let digest = signed_digest(&crypto.ecdh(secret, &remote), &auth.nonce);
        let remote_ephemeral = crypto.recover(&digest, &auth.signature)?;
        Some(Self { auth: packet.bytes.clone(), remote, remote_ephemeral, nonce: Zeroizing::new(auth.nonce) })
    }

    fn agree(self, crypto: &dyn Crypto, ephemeral: &SecretKey, nonce: Zeroizing<[u8; 32]>, ack: Vec<u8>) -> Agreed {
        let origin = Origin {
            role: Role::Recipient,
            agreement: crypto.ecdh(ephemeral, &self.remote_ephemeral),
            initiator_nonce: self.nonce,
            recipient_nonce: nonce,
            auth: self.auth,
            ack,
        };
        Agreed::from_origin(crypto, self.remote, origin)
    }
}

/// Returns the value that the initiator's ephemeral key signs: the static agreement XOR the nonce. With the nonce, it
/// reveals the agreement.
fn signed_digest(agreement: &SharedSecret, nonce: &[u8; 32]) -> Zeroizing<Digest> {
    let mut digest = Zeroizing::new(*agreement.expose());
    for (byte, other) in digest.iter_mut().zip(nonce) {
        *byte ^= other;
    }
    digest
}

/// Pads and encrypts what `encode` appends, and prefixes its size: the packet on the wire.
fn seal_packet(crypto: &dyn Crypto, rng: &mut Rng, to: &PublicKey, encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    const SPREAD: u64 = (limits::HANDSHAKE_PADDING_MAX - limits::HANDSHAKE_PADDING_MIN + 1) as u64;
    // Room for all of it: a buffer that grows leaves copies behind that are not wiped.
    let mut plain = Zeroizing::new(Vec::with_capacity(PLAIN_BYTES_MAX + limits::HANDSHAKE_PADDING_MAX));
    encode(&mut plain);
    let message_bytes = plain.len();
    plain.resize(message_bytes + limits::HANDSHAKE_PADDING_MIN + rng.below(SPREAD) as usize, 0);
    rng.fill(&mut plain[message_bytes..]);
    let prefix = ((plain.len() + ecies::OVERHEAD_BYTES) as u16).to_be_bytes();
    let mut packet = Vec::with_capacity(PREFIX_BYTES + ecies::OVERHEAD_BYTES + plain.len());
    packet.extend_from_slice(&prefix);
    ecies::seal(crypto, rng, to, &prefix, &plain, &mut packet);
    packet
}

/// A packet that is being received: two bytes of size, and as many bytes of ECIES. Its memory is that of the received
/// bytes.
#[derive(Default, Debug)]
struct Packet {
    bytes: Vec<u8>,
}

/// Whether a packet is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Arrival {
    /// More bytes are needed.
    Pending,
    /// All bytes are received.
    Complete,
}

impl Packet {
    /// Takes the packet's own bytes and no others. The size is checked as soon as it is received.
    fn handle_bytes(&mut self, bytes: &mut &[u8]) -> Result<Arrival, Fault> {
        self.take(bytes, PREFIX_BYTES);
        let Some(prefix) = self.bytes.first_chunk() else { return Ok(Arrival::Pending) };
        let body_bytes = usize::from(u16::from_be_bytes(*prefix));
        if !(ecies::OVERHEAD_BYTES..=limits::HANDSHAKE_BYTES_MAX).contains(&body_bytes) {
            return Err(Fault::Handshake);
        }
        self.take(bytes, PREFIX_BYTES + body_bytes);
        let complete = self.bytes.len() == PREFIX_BYTES + body_bytes;
        Ok(if complete { Arrival::Complete } else { Arrival::Pending })
    }

    /// Takes bytes until `total` are received.
    fn take(&mut self, bytes: &mut &[u8], total: usize) {
        let missing = total.saturating_sub(self.bytes.len());
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.bytes.extend_from_slice(taken);
        *bytes = rest;
    }

    /// Decrypts a complete packet.
    fn open(&self, crypto: &dyn Crypto, secret: &SecretKey) -> Option<Zeroizing<Vec<u8>>> {
        let (prefix, body) = self.bytes.split_at_checked(PREFIX_BYTES)?;
        ecies::open(crypto, secret, prefix, body).ok()
    }
}

#[cfg(test)]
mod tests;
