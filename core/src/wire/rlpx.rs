//! The handshake's messages and the frame header (`rlpx.md`, "Initial Handshake" and "Framing"), in EIP-8 form.

use alloc::vec::Vec;

use super::DecodeError;
use crate::crypto::RecoverableSignature;

/// The initiator's first message, decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
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

/// The recipient's answer, decrypted.
#[derive(Clone, PartialEq, Eq, Debug)]
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
    pub fn encode(&self, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Decodes; further elements and padding are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(_plain: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}

impl Ack {
    /// Appends the encoding.
    pub fn encode(&self, _out: &mut Vec<u8>) {
        unimplemented!()
    }

    /// Decodes; further elements and padding are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(_plain: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}
