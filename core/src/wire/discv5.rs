//! discv5.1 packets (`discv5-wire.md`): a masked header and a sealed [`Message`].
//!
//! A packet is opened in steps, cheapest first: [`Packet::unmask`] (two AES blocks tell discv5 from other protocols on the
//! port), [`Packet::open`] with the key of a session, [`Message::decode`]. Sealing writes to the buffer that is sent.

mod message;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use core::fmt;

pub use self::message::{Kind, Message, Payload, RecordList, RequestId};

use super::DecodeError;
use crate::crypto::discv5::{InvalidTag, Mask, MessageKey, Nonce, TAG_BYTES};
use crate::crypto::{NodeId, Signature};
use crate::limits::RECORD_BYTES_MAX;

/// Smallest packet: a challenge.
pub const PACKET_BYTES_MIN: usize = CHALLENGE_BYTES;
/// Largest packet, in both directions.
pub const PACKET_BYTES_MAX: usize = 1280;
/// Largest message in an ordinary packet, in plain.
pub const MESSAGE_BYTES_MAX: usize = PACKET_BYTES_MAX - STATIC_BYTES - ORDINARY_AUTH_BYTES - TAG_BYTES;
/// Largest message in a handshake packet, beside a record of any size.
pub const HANDSHAKE_MESSAGE_BYTES_MAX: usize = PACKET_BYTES_MAX - HEAD_BYTES_MAX - TAG_BYTES;
/// Bytes of records in one Nodes message in an ordinary packet: type, two list headers, request id and number of messages take
/// the rest.
pub const RECORD_BYTES_PER_NODES: usize = MESSAGE_BYTES_MAX - (1 + 3 + 9 + 1 + 3);
/// Size of a challenge (WHOAREYOU) packet and of its data.
pub const CHALLENGE_BYTES: usize = STATIC_BYTES + CHALLENGE_AUTH_BYTES;

const IV_BYTES: usize = 16;
/// Masking IV and static header: protocol id 6, version 2, flag 1, nonce 12, size of the authentication data 2.
const STATIC_BYTES: usize = IV_BYTES + 23;
const PROTOCOL_ID: &[u8; 6] = b"discv5";
const VERSION: [u8; 2] = [0, 1];
/// Positions in masking IV and header.
const FLAG_AT: usize = IV_BYTES + 8;
const NONCE_AT: usize = FLAG_AT + 1;
const SIZE_AT: usize = NONCE_AT + 12;

/// Authentication data of an ordinary packet: the sender's id.
const ORDINARY_AUTH_BYTES: usize = 32;
/// Of a challenge: id nonce 16, record sequence number 8.
const CHALLENGE_AUTH_BYTES: usize = 24;
/// Of a handshake packet, without the record: the sender's id 32, two sizes, signature 64, ephemeral key 33.
const HANDSHAKE_AUTH_BYTES: usize = SIGNATURE_AT + 64 + 33;
/// Position of the signature in it.
const SIGNATURE_AT: usize = 34;
/// The sizes of a signature and of a key of the identity scheme v4.
const SIZES_V4: [u8; 2] = [64, 33];
/// Largest masking IV and header: of a handshake packet with a record.
const HEAD_BYTES_MAX: usize = STATIC_BYTES + HANDSHAKE_AUTH_BYTES + RECORD_BYTES_MAX;

/// The sender and the recipient of a packet.
#[derive(Clone, Copy, Debug)]
pub struct Route<'a> {
    /// The sender.
    pub from: &'a NodeId,
    /// The recipient, whose id masks the header.
    pub to: &'a NodeId,
}

/// What a challenge (WHOAREYOU packet) says, as the identity proof and the keys cover it: its masking IV and its header.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Challenge([u8; CHALLENGE_BYTES]);

impl Challenge {
    /// Challenges the sender of the packet `request_nonce`, whose record is known up to the number `enr_seq`, 0 if it is not
    /// known. `iv` and `id_nonce` are random.
    pub fn new(iv: [u8; 16], request_nonce: &Nonce, id_nonce: [u8; 16], enr_seq: u64) -> Self {
        let mut bytes = [0; CHALLENGE_BYTES];
        bytes[..IV_BYTES].copy_from_slice(&iv);
        write_static(&mut bytes, Flag::Challenge, request_nonce, CHALLENGE_AUTH_BYTES);
        bytes[STATIC_BYTES..STATIC_BYTES + 16].copy_from_slice(&id_nonce);
        bytes[STATIC_BYTES + 16..].copy_from_slice(&enr_seq.to_be_bytes());
        Self(bytes)
    }

    /// The nonce of the packet that could not be decrypted.
    pub fn request_nonce(&self) -> &Nonce {
        chunk(&self.0, NONCE_AT)
    }

    /// The number of the challenged node's record that the challenger has; 0 if it has none.
    pub fn enr_seq(&self) -> u64 {
        u64::from_be_bytes(*chunk(&self.0, STATIC_BYTES + 16))
    }

    /// Masking IV and header, which the identity proof and the session's keys depend on.
    pub fn as_bytes(&self) -> &[u8; CHALLENGE_BYTES] {
        &self.0
    }

    /// Appends the packet to the node `to`. It is the same each time.
    pub fn write(&self, to: &NodeId, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.0);
        mask(to, &mut out[start..]);
    }
}

/// Omits the random parts.
impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Challenge").field("enr_seq", &self.enr_seq()).finish_non_exhaustive()
    }
}

/// How the sender of a handshake packet proves its identity.
#[derive(Clone, Copy, Debug)]
pub struct IdProof<'a> {
    /// Its signature of the [digest](crate::crypto::discv5::id_proof_digest) of challenge, ephemeral key and recipient.
    pub signature: Signature,
    /// Its compressed ephemeral key, not checked to be a point on the curve.
    pub ephemeral_key: &'a [u8; 33],
    /// Its encoded record, not verified, if the recipient has none or an older one.
    pub record: Option<&'a [u8]>,
}

/// The kind of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
enum Flag {
    Ordinary = 0,
    Challenge = 1,
    Handshake = 2,
}

/// The header of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Header<'a> {
    /// An ordinary packet: a message sealed with the key of a session, or random bytes in want of one.
    Ordinary {
        /// The sender.
        from: NodeId,
    },
    /// A challenge (WHOAREYOU): the recipient could not decrypt an ordinary packet.
    Challenge(Challenge),
    /// A handshake packet: a message sealed with the key of a session that begins with it.
    Handshake {
        /// The sender.
        from: NodeId,
        /// The proof that it is.
        proof: IdProof<'a>,
    },
}

/// A received packet, its header unmasked.
pub struct Packet<'a> {
    flag: Flag,
    /// Masking IV and header.
    head: [u8; HEAD_BYTES_MAX],
    head_bytes: usize,
    sealed: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Unmasks the header of a datagram to the node `to`. `None` if it is none of discv5: masked for another node, of another
    /// protocol, or too short or long for a packet.
    ///
    /// # Errors
    /// If it is a packet of another version or of an unknown kind, or its parts have impossible sizes.
    pub fn unmask(to: &NodeId, bytes: &'a [u8]) -> Result<Option<Self>, DecodeError> {
        if !(PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&bytes.len()) {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES_MAX];
        head[..STATIC_BYTES].copy_from_slice(&bytes[..STATIC_BYTES]);
        let mut mask = Mask::new(to, chunk(bytes, 0));
        mask.apply(&mut head[IV_BYTES..STATIC_BYTES]);
        if head[IV_BYTES..IV_BYTES + 6] != *PROTOCOL_ID {
            return Ok(None);
        }
        if head[IV_BYTES + 6..FLAG_AT] != VERSION {
            return Err(DecodeError::BadValue);
        }
        let auth_bytes = usize::from(u16::from_be_bytes(*chunk(&head, SIZE_AT)));
        let (flag, sizes) = match head[FLAG_AT] {
            0 => (Flag::Ordinary, ORDINARY_AUTH_BYTES..=ORDINARY_AUTH_BYTES),
            1 => (Flag::Challenge, CHALLENGE_AUTH_BYTES..=CHALLENGE_AUTH_BYTES),
            2 => (Flag::Handshake, HANDSHAKE_AUTH_BYTES..=HANDSHAKE_AUTH_BYTES + RECORD_BYTES_MAX),
            _ => return Err(DecodeError::UnknownType),
        };
        if !sizes.contains(&auth_bytes) {
            return Err(DecodeError::WrongLength);
        }
        let head_bytes = STATIC_BYTES + auth_bytes;
        let (masked, sealed) = bytes.split_at_checked(head_bytes).ok_or(DecodeError::Truncated)?;
        head[STATIC_BYTES..head_bytes].copy_from_slice(&masked[STATIC_BYTES..]);
        mask.apply(&mut head[STATIC_BYTES..head_bytes]);
        if flag == Flag::Challenge && !sealed.is_empty() {
            return Err(DecodeError::TrailingBytes);
        }
        if flag == Flag::Handshake && *chunk(&head, STATIC_BYTES + 32) != SIZES_V4 {
            return Err(DecodeError::UnknownScheme);
        }
        Ok(Some(Self { flag, head, head_bytes, sealed }))
    }

    /// The header.
    pub fn header(&self) -> Header<'_> {
        let head = &self.head;
        let from = NodeId(*chunk(head, STATIC_BYTES));
        match self.flag {
            Flag::Ordinary => Header::Ordinary { from },
            Flag::Challenge => Header::Challenge(Challenge(*chunk(head, 0))),
            Flag::Handshake => {
                let record = &head[STATIC_BYTES + HANDSHAKE_AUTH_BYTES..self.head_bytes];
                let proof = IdProof {
                    signature: Signature(*chunk(head, STATIC_BYTES + SIGNATURE_AT)),
                    ephemeral_key: chunk(head, STATIC_BYTES + SIGNATURE_AT + 64),
                    record: (!record.is_empty()).then_some(record),
                };
                Header::Handshake { from, proof }
            }
        }
    }

    /// The nonce of the message, or in a challenge that of the packet which is challenged.
    pub fn nonce(&self) -> &Nonce {
        chunk(&self.head, NONCE_AT)
    }

    /// Decrypts the message into `plain`, whose content is replaced.
    ///
    /// # Errors
    /// If it was sealed with another key or was changed.
    pub fn open<'p>(&self, key: &MessageKey, plain: &'p mut Vec<u8>) -> Result<&'p [u8], InvalidTag> {
        plain.clear();
        plain.extend_from_slice(self.sealed);
        key.open(self.nonce(), &self.head[..self.head_bytes], plain).map(|plain| &*plain)
    }
}

/// Omits the content.
impl fmt::Debug for Packet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Packet").field("kind", &self.flag).field("sealed", &self.sealed.len()).finish_non_exhaustive()
    }
}

/// Appends an ordinary packet. `iv` is random, and `nonce` new for this key. Its size is within bounds if that of the message
/// is at most [`MESSAGE_BYTES_MAX`].
pub fn seal_ordinary(
    out: &mut Vec<u8>,
    route: Route<'_>,
    iv: [u8; 16],
    nonce: &Nonce,
    key: &MessageKey,
    message: &Message<'_>,
) {
    let start = write_ordinary_head(out, route, iv, nonce);
    finish(out, start, route.to, |out| message.encode(out), nonce, key);
}

/// As [`seal_ordinary`], with a message that is encoded already, of any content.
pub fn seal_ordinary_encoded(
    out: &mut Vec<u8>,
    route: Route<'_>,
    iv: [u8; 16],
    nonce: &Nonce,
    key: &MessageKey,
    message: &[u8],
) {
    let start = write_ordinary_head(out, route, iv, nonce);
    finish(out, start, route.to, |out| out.extend_from_slice(message), nonce, key);
}

/// Appends an ordinary packet with random bytes in place of a sealed message: the first packet to a node with which there is
/// no session.
pub fn write_random(out: &mut Vec<u8>, route: Route<'_>, iv: [u8; 16], nonce: &Nonce, random: &[u8]) {
    let start = write_ordinary_head(out, route, iv, nonce);
    mask(route.to, &mut out[start..]);
    out.extend_from_slice(random);
}

/// Appends a handshake packet. `iv` is random. Its size is within bounds if that of the message is at most
/// [`HANDSHAKE_MESSAGE_BYTES_MAX`].
pub fn seal_handshake(
    out: &mut Vec<u8>,
    route: Route<'_>,
    iv: [u8; 16],
    nonce: &Nonce,
    proof: &IdProof<'_>,
    key: &MessageKey,
    message: &Message<'_>,
) {
    let record = proof.record.unwrap_or_default();
    let start = write_head(out, iv, Flag::Handshake, nonce, HANDSHAKE_AUTH_BYTES + record.len());
    out.extend_from_slice(&route.from.0);
    out.extend_from_slice(&SIZES_V4);
    out.extend_from_slice(&proof.signature.0);
    out.extend_from_slice(proof.ephemeral_key);
    out.extend_from_slice(record);
    finish(out, start, route.to, |out| message.encode(out), nonce, key);
}

fn write_ordinary_head(out: &mut Vec<u8>, route: Route<'_>, iv: [u8; 16], nonce: &Nonce) -> usize {
    let start = write_head(out, iv, Flag::Ordinary, nonce, ORDINARY_AUTH_BYTES);
    out.extend_from_slice(&route.from.0);
    start
}

/// Appends masking IV and static header. Returns where they begin.
fn write_head(out: &mut Vec<u8>, iv: [u8; 16], flag: Flag, nonce: &Nonce, auth_bytes: usize) -> usize {
    let start = out.len();
    let mut head = [0; STATIC_BYTES];
    head[..IV_BYTES].copy_from_slice(&iv);
    write_static(&mut head, flag, nonce, auth_bytes);
    out.extend_from_slice(&head);
    start
}

fn write_static(head: &mut [u8], flag: Flag, nonce: &Nonce, auth_bytes: usize) {
    head[IV_BYTES..IV_BYTES + 6].copy_from_slice(PROTOCOL_ID);
    head[IV_BYTES + 6..FLAG_AT].copy_from_slice(&VERSION);
    head[FLAG_AT] = flag as u8;
    head[NONCE_AT..SIZE_AT].copy_from_slice(nonce);
    head[SIZE_AT..STATIC_BYTES].copy_from_slice(&(auth_bytes as u16).to_be_bytes());
}

/// Appends the message after the head that begins at `start`, seals it and masks the header.
fn finish(
    out: &mut Vec<u8>,
    start: usize,
    to: &NodeId,
    write: impl FnOnce(&mut Vec<u8>),
    nonce: &Nonce,
    key: &MessageKey,
) {
    let head = start..out.len();
    write(out);
    key.seal(nonce, out, head.clone());
    mask(to, &mut out[head]);
}

/// Masks the header that follows the masking IV.
fn mask(to: &NodeId, head: &mut [u8]) {
    if let Some((iv, header)) = head.split_first_chunk_mut() {
        Mask::new(to, iv).apply(header);
    }
}

/// `N` bytes from `at` on.
fn chunk<const N: usize>(bytes: &[u8], at: usize) -> &[u8; N] {
    bytes[at..].first_chunk().expect("positions are within the smallest packet or checked")
}
