//! The handshake (`rlpx.md`, "Initial Handshake"), EIP-8 form only: auth, ack, and the secrets that follow.
//!
//! Every failure is the same [`Fault::Handshake`] with nothing said to the peer, so that a stranger learns nothing about
//! our key by trying. A handshake holds no deadline and no opinion of its peer: the connection has both.

use alloc::boxed::Box;
use alloc::vec::Vec;

use zeroize::Zeroizing;

use super::frames::Frames;
use crate::contract::cx::Cx;
use crate::contract::outbound::Outbound;
use crate::contract::reason::Fault;
use crate::crypto::secrets::{Exchange, Role, Secrets, SessionSecrets};
use crate::crypto::{Crypto, Digest, PublicKey, SecretKey, SharedSecret, ecies};
use crate::limits;
use crate::rng::Rng;
use crate::wire::rlpx::{Ack, Auth, VERSION};

/// Bytes of a packet's size prefix.
const PREFIX_BYTES: usize = 2;

/// A handshake that is under way. Feed it with [`Handshake::handle_bytes`] until it says [`Progress::Done`].
pub enum Handshake {
    /// We have sent auth and wait for ack.
    Initiator(Box<Initiator>),
    /// We wait for auth.
    Recipient(Recipient),
}

/// The result of handling some bytes of a handshake.
#[must_use]
pub enum Progress {
    /// It needs more bytes, and has taken all there were.
    Pending,
    /// Both sides agree. The handshake is over.
    Done(Box<Agreed>),
    /// The peer is not the one that was dialled, does not know our key, or speaks another protocol. The handshake is over.
    Failed(Fault),
}

/// What a completed handshake leaves.
pub struct Agreed {
    /// The remote's static public key, which it has proved to hold.
    pub key: PublicKey,
    /// The session's frames, in both directions.
    pub frames: Frames,
    /// What it came from, for [`Agreed::secrets`]; [`Session::new`](super::Session::new) drops it.
    origin: Option<Box<Origin>>,
}

/// An [`Exchange`] of ours, kept until somebody asks for its secrets: few do, and naming them costs a hash.
struct Origin {
    role: Role,
    agreement: SharedSecret,
    initiator_nonce: [u8; 32],
    recipient_nonce: [u8; 32],
    auth: Vec<u8>,
    ack: Vec<u8>,
}

impl Agreed {
    /// What a handshake elsewhere came to: a session over somebody else's frames.
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

    /// What opens the frames, for a key log if the embedder wants one; `None` if the handshake was not ours.
    pub fn secrets(&self) -> Option<SessionSecrets> {
        let origin = self.origin.as_deref()?;
        Some(SessionSecrets::new(origin.role, &origin.exchange()))
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
    /// Begins a handshake with `remote`, whose stream we have dialled; appends auth to `out`.
    ///
    /// `key` is the public key of `secret`, which its owner has had since it started.
    pub fn initiate(
        cx: &mut Cx<'_>,
        secret: &SecretKey,
        key: &PublicKey,
        remote: PublicKey,
        out: &mut Outbound,
    ) -> Self {
        let ephemeral = SecretKey::generate(cx.rng);
        let nonce = cx.rng.bytes();
        let initiator = Initiator::new(cx.crypto, cx.rng, secret, key, remote, ephemeral, nonce);
        out.tail().extend_from_slice(&initiator.auth);
        Self::Initiator(Box::new(initiator))
    }

    /// Awaits a handshake on a stream that we have accepted. Allocates nothing before the first bytes.
    pub fn receive() -> Self {
        Self::Recipient(Recipient { auth: Packet::default() })
    }

    /// Takes the handshake's bytes from the front of `bytes`, and not one of the frames that may follow. A recipient
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
        let packet = match self {
            Self::Initiator(initiator) => &mut initiator.ack,
            Self::Recipient(recipient) => &mut recipient.auth,
        };
        match packet.handle_bytes(bytes) {
            Ok(Arrival::Pending) => return Progress::Pending,
            Ok(Arrival::Complete) => {}
            Err(fault) => return Progress::Failed(fault),
        }
        let agreed = match self {
            Self::Initiator(initiator) => initiator.finish(cx.crypto, secret),
            Self::Recipient(recipient) => recipient.finish(cx.crypto, cx.rng, secret, out),
        };
        match agreed {
            Some(agreed) => Progress::Done(Box::new(agreed)),
            None => Progress::Failed(Fault::Handshake),
        }
    }
}

/// The side that dialled: has sent auth, waits for ack.
pub struct Initiator {
    remote: PublicKey,
    /// Its public half is never computed: the remote recovers it from the signature.
    ephemeral: SecretKey,
    nonce: [u8; 32],
    /// The packet that was sent; the MACs begin with it.
    auth: Vec<u8>,
    ack: Packet,
}

impl Initiator {
    /// An initiator with its random values given; `rng` yields only what the encryption adds.
    fn new(
        crypto: &dyn Crypto,
        rng: &mut Rng,
        secret: &SecretKey,
        key: &PublicKey,
        remote: PublicKey,
        ephemeral: SecretKey,
        nonce: [u8; 32],
    ) -> Self {
        let digest = signed_digest(&crypto.ecdh(secret, &remote), &nonce);
        let signature = crypto.sign(&ephemeral, &digest);
        let mut plain = Vec::new();
        Auth { signature, key: *key.as_bytes(), nonce, version: VERSION }.encode(&mut plain);
        let auth = seal_packet(crypto, rng, &remote, plain);
        Self { remote, ephemeral, nonce, auth, ack: Packet::default() }
    }

    /// With the whole ack there.
    fn finish(&self, crypto: &dyn Crypto, secret: &SecretKey) -> Option<Agreed> {
        let ack = Ack::decode(&self.ack.open(crypto, secret)?).ok()?;
        let remote_ephemeral = PublicKey::from_xy(crypto, &ack.ephemeral_key).ok()?;
        let origin = Origin {
            role: Role::Initiator,
            agreement: crypto.ecdh(&self.ephemeral, &remote_ephemeral),
            initiator_nonce: self.nonce,
            recipient_nonce: ack.nonce,
            auth: self.auth.clone(),
            ack: self.ack.bytes.clone(),
        };
        Some(Agreed::from_origin(crypto, self.remote, origin))
    }
}

/// The side that accepted: waits for auth.
pub struct Recipient {
    auth: Packet,
}

impl Recipient {
    /// With the whole auth there: appends ack to `out` once nothing can fail any more.
    fn finish(&self, crypto: &dyn Crypto, rng: &mut Rng, secret: &SecretKey, out: &mut Outbound) -> Option<Agreed> {
        let accepted = Accepted::new(crypto, secret, &self.auth)?;
        let ephemeral = SecretKey::generate(rng);
        let nonce = rng.bytes();
        let ephemeral_key = *crypto.public_key(&ephemeral).as_bytes();
        let mut plain = Vec::new();
        Ack { ephemeral_key, nonce, version: VERSION }.encode(&mut plain);
        let ack = seal_packet(crypto, rng, &accepted.remote, plain);
        out.tail().extend_from_slice(&ack);
        Some(accepted.agree(crypto, &ephemeral, nonce, ack))
    }
}

/// An auth that is genuine.
struct Accepted {
    auth: Vec<u8>,
    remote: PublicKey,
    remote_ephemeral: PublicKey,
    nonce: [u8; 32],
}

impl Accepted {
    fn new(crypto: &dyn Crypto, secret: &SecretKey, packet: &Packet) -> Option<Self> {
        let auth = Auth::decode(&packet.open(crypto, secret)?).ok()?;
        let remote = PublicKey::from_xy(crypto, &auth.key).ok()?;
        let digest = signed_digest(&crypto.ecdh(secret, &remote), &auth.nonce);
        let remote_ephemeral = crypto.recover(&digest, &auth.signature)?;
        Some(Self { auth: packet.bytes.clone(), remote, remote_ephemeral, nonce: auth.nonce })
    }

    fn agree(self, crypto: &dyn Crypto, ephemeral: &SecretKey, nonce: [u8; 32], ack: Vec<u8>) -> Agreed {
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

/// What the initiator's ephemeral key signs: the static agreement XOR the nonce. Whoever knows the nonce has the
/// agreement from it.
fn signed_digest(agreement: &SharedSecret, nonce: &[u8; 32]) -> Zeroizing<Digest> {
    let mut digest = Zeroizing::new(*agreement.expose());
    for (byte, other) in digest.iter_mut().zip(nonce) {
        *byte ^= other;
    }
    digest
}

/// `plain` padded, encrypted, with its size prefix: as it goes on the wire.
fn seal_packet(crypto: &dyn Crypto, rng: &mut Rng, to: &PublicKey, mut plain: Vec<u8>) -> Vec<u8> {
    const SPREAD: u64 = (limits::HANDSHAKE_PADDING_MAX - limits::HANDSHAKE_PADDING_MIN + 1) as u64;
    let message_bytes = plain.len();
    plain.resize(message_bytes + limits::HANDSHAKE_PADDING_MIN + rng.below(SPREAD) as usize, 0);
    rng.fill(&mut plain[message_bytes..]);
    let prefix = ((plain.len() + ecies::OVERHEAD_BYTES) as u16).to_be_bytes();
    let mut packet = Vec::with_capacity(PREFIX_BYTES + ecies::OVERHEAD_BYTES + plain.len());
    packet.extend_from_slice(&prefix);
    ecies::seal(crypto, rng, to, &prefix, &plain, &mut packet);
    packet
}

/// A packet as it arrives: two bytes of size, and that many of ECIES. Holds what has come, never what is claimed.
#[derive(Default)]
struct Packet {
    bytes: Vec<u8>,
}

/// Whether a packet is there.
enum Arrival {
    /// Not yet; there were no more bytes.
    Pending,
    /// All of it.
    Complete,
}

impl Packet {
    /// Takes no more than the packet's own bytes. Its size is judged as soon as it can be read.
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

    /// Takes bytes until there are `total`.
    fn take(&mut self, bytes: &mut &[u8], total: usize) {
        let missing = total.saturating_sub(self.bytes.len());
        let (taken, rest) = bytes.split_at(missing.min(bytes.len()));
        self.bytes.extend_from_slice(taken);
        *bytes = rest;
    }

    /// Decrypts a complete packet.
    fn open(&self, crypto: &dyn Crypto, secret: &SecretKey) -> Option<Vec<u8>> {
        let (prefix, body) = self.bytes.split_at_checked(PREFIX_BYTES)?;
        ecies::open(crypto, secret, prefix, body).ok()
    }
}

#[cfg(test)]
mod tests;
