//! The handshake's messages and the frame header (`rlpx.md`, "Initial Handshake" and "Framing"), in EIP-8 form.
//!
//! Decoders accept what EIP-8 requires to be accepted: any version, further elements, bytes after the list. Keys are
//! not checked to be on the curve, and signatures are not verified.

use alloc::vec::Vec;
use core::fmt;

use zeroize::Zeroize as _;

use super::DecodeError;
use super::rlp::{self, Bounds, Writer};
use crate::crypto::RecoverableSignature;
use crate::limits::MESSAGE_BYTES_MAX;

/// The handshake's version that is sent; a peer's is ignored.
pub const VERSION: u64 = 4;

/// Bytes of a frame's header without its MAC.
pub const FRAME_HEADER_BYTES: usize = 16;

/// The initiator's first message, decrypted. The nonce is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// The ephemeral key's signature of `static agreement ^ nonce`.
    pub signature: RecoverableSignature,
    /// The initiator's static public key, not yet checked to be on the curve.
    pub key: [u8; 64],
    /// The initiator's nonce.
    pub nonce: [u8; 32],
    /// Handshake version; 4, ignored when read.
    pub version: u64,
}

/// The recipient's answer, decrypted. The nonce is wiped when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Ack {
    /// The recipient's ephemeral public key, not yet checked to be on the curve.
    pub ephemeral_key: [u8; 64],
    /// The recipient's nonce.
    pub nonce: [u8; 32],
    /// Handshake version; 4, ignored when read.
    pub version: u64,
}

impl Auth {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { signature, key, nonce, version } = self;
        Writer::new(out).list(|list| {
            list.bytes(&signature.0).bytes(key).bytes(nonce).u64(*version);
        });
    }

    /// Decodes; further elements and padding are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(plain: &[u8]) -> Result<Self, DecodeError> {
        let (mut list, _padding) = rlp::list_prefix(plain, Bounds::SMALL)?;
        Ok(Self {
            signature: RecoverableSignature(*list.fixed()?),
            key: *list.fixed()?,
            nonce: *list.fixed()?,
            version: list.u64()?,
        })
    }
}

impl Ack {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Self { ephemeral_key, nonce, version } = self;
        Writer::new(out).list(|list| {
            list.bytes(ephemeral_key).bytes(nonce).u64(*version);
        });
    }

    /// Decodes; further elements and padding are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(plain: &[u8]) -> Result<Self, DecodeError> {
        let (mut list, _padding) = rlp::list_prefix(plain, Bounds::SMALL)?;
        Ok(Self { ephemeral_key: *list.fixed()?, nonce: *list.fixed()?, version: list.u64()? })
    }
}

impl Drop for Auth {
    fn drop(&mut self) {
        self.nonce.zeroize();
    }
}

impl Drop for Ack {
    fn drop(&mut self) {
        self.nonce.zeroize();
    }
}

/// Without the nonce.
impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Auth");
        debug.field("signature", &self.signature).field("key", &self.key).field("version", &self.version);
        debug.finish_non_exhaustive()
    }
}

/// Without the nonce.
impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Ack");
        debug.field("ephemeral_key", &self.ephemeral_key).field("version", &self.version).finish_non_exhaustive()
    }
}

/// The header of a frame whose body has `body_bytes` (padding not counted): the size, header data of two zeros, zeros.
/// `None` if the size does not fit its 24 bits.
pub fn frame_header(body_bytes: usize) -> Option<[u8; FRAME_HEADER_BYTES]> {
    if body_bytes > MESSAGE_BYTES_MAX {
        return None;
    }
    let [.., a, b, c] = (body_bytes as u32).to_be_bytes();
    Some([a, b, c, 0xc2, 0x80, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Bytes of the body that a header announces, padding not counted. Header data is ignored, as in every client.
pub fn frame_body_bytes(header: &[u8; FRAME_HEADER_BYTES]) -> usize {
    u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize
}

/// Bytes of a body of `body_bytes` with its padding.
pub const fn padded_bytes(body_bytes: usize) -> usize {
    body_bytes.next_multiple_of(16)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auth() -> Auth {
        Auth { signature: RecoverableSignature([1; 65]), key: [2; 64], nonce: [3; 32], version: VERSION }
    }

    #[test]
    fn messages_survive_the_round_trip_with_padding() {
        let mut bytes = Vec::new();
        auth().encode(&mut bytes);
        bytes.extend_from_slice(&[0xff; 100]);
        assert_eq!(Auth::decode(&bytes), Ok(auth()));

        let ack = Ack { ephemeral_key: [4; 64], nonce: [0; 32], version: u64::MAX };
        let mut bytes = Vec::new();
        ack.encode(&mut bytes);
        bytes.push(0xf8);
        assert_eq!(Ack::decode(&bytes), Ok(ack));
    }

    #[test]
    fn debug_shows_no_nonce() {
        let shown = alloc::format!("{:?} {:?}", auth(), Ack { ephemeral_key: [4; 64], nonce: [0; 32], version: 9 });
        assert!(!shown.contains("nonce") && !shown.contains("3, 3"), "{shown}");
    }

    #[test]
    fn malformed_messages_are_refused() {
        let mut bytes = Vec::new();
        auth().encode(&mut bytes);
        for end in 0..bytes.len() {
            assert!(Auth::decode(&bytes[..end]).is_err(), "cut at {end}");
        }
        let version = bytes.len() - 1;
        bytes[version] = 0;
        assert_eq!(Auth::decode(&bytes), Err(DecodeError::LeadingZero));
        // A nonce of 31 bytes and a version of two.
        bytes[version - 33] = 0x9f;
        assert!(Auth::decode(&bytes).is_err());
        assert_eq!(Auth::decode(&[0xc0]), Err(DecodeError::MissingField));
        assert_eq!(Ack::decode(&[0x80]), Err(DecodeError::ExpectedList));
    }

    #[test]
    fn headers_hold_24_bit_sizes() {
        assert_eq!(frame_header(MESSAGE_BYTES_MAX + 1), None);
        for size in [0, 1, 0xff, 0x01_0203, MESSAGE_BYTES_MAX] {
            assert_eq!(frame_header(size).map(|header| frame_body_bytes(&header)), Some(size));
        }
        assert_eq!(frame_header(6).map(|header| header[..6].to_vec()), Some(alloc::vec![0, 0, 6, 0xc2, 0x80, 0x80]));
    }
}
