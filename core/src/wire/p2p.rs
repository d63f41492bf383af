//! The base protocol (`rlpx.md`, "p2p Capability"): Hello, Disconnect, Ping, Pong, and the table of capabilities.
//!
//! Which messages a capability has is data: see [`CapabilityTable`].

mod capability;

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

pub use self::capability::{Capability, CapabilityTable, Shared};
use super::DecodeError;
use super::rlp::{self, Bounds, RlpStream};
use crate::limits;

/// Message ids of the base protocol.
pub mod id {
    /// Announces the sender and its capabilities.
    pub const HELLO: u64 = 0;
    /// Ends the session.
    pub const DISCONNECT: u64 = 1;
    /// Requests a Pong.
    pub const PING: u64 = 2;
    /// Answers a Ping.
    pub const PONG: u64 = 3;
    /// First id of the capabilities; ids below it belong to the base protocol.
    pub const CAPABILITIES: u64 = 0x10;
}

/// The version of the base protocol that is offered; it compresses with Snappy (EIP-706).
pub const P2P_VERSION: u64 = 5;

/// The lowest accepted version of the base protocol: the first with EIP-8, without Snappy.
pub const P2P_VERSION_MIN: u64 = 4;

/// The payload of Ping and Pong: an empty list.
pub const EMPTY_PAYLOAD: [u8; 1] = [0xc0];

/// Splits a frame's body into its message id and payload. The id is a canonical RLP integer; the byte 0, which some
/// clients send, is accepted for 0.
///
/// # Errors
/// If there is no id, or it is not canonical or longer than 64 bits.
pub fn split_message(body: &[u8]) -> Result<(u64, &[u8]), DecodeError> {
    let (first, rest) = body.split_first().ok_or(DecodeError::Truncated)?;
    let bytes = match first {
        0..0x80 => return Ok((u64::from(*first), rest)),
        0x80..=0x88 => usize::from(first - 0x80),
        0x89..0xc0 => return Err(DecodeError::IntegerOverflow),
        0xc0.. => return Err(DecodeError::ExpectedString),
    };
    let (id, payload) = rest.split_at_checked(bytes).ok_or(DecodeError::Truncated)?;
    match id {
        [0, ..] => Err(DecodeError::LeadingZero),
        [byte] if *byte < 0x80 => Err(DecodeError::NonCanonical),
        _ => Ok((id.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)), payload)),
    }
}

/// Appends a message id in the form that [`split_message`] reads.
pub fn append_message_id(id: u64, out: &mut Vec<u8>) {
    let bytes = id.to_be_bytes();
    let digits = &bytes[id.leading_zeros() as usize / 8..];
    match digits {
        [byte] if *byte < 0x80 => {}
        _ => out.push(0x80 + digits.len() as u8),
    }
    out.extend_from_slice(digits);
}

/// The first message of both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Version of the base protocol.
    pub version: u64,
    /// Client name; made printable and cut to 128 characters when read.
    pub client: String,
    /// Offered capabilities; those with invalid names or versions are left out when read.
    pub capabilities: Vec<Capability>,
    /// The port that the sender claims to listen on; legacy, not trusted.
    pub port: u64,
    /// The sender's public key, `x | y`; must be compared with the handshake's.
    pub key: [u8; 64],
}

impl Hello {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        let mut rlp = RlpStream::new_list(5);
        rlp.append(&self.version).append(&self.client.as_bytes());
        rlp.begin_list(self.capabilities.len());
        for capability in &self.capabilities {
            rlp.begin_list(2).append(&capability.name_bytes()).append(&capability.version);
        }
        rlp.append(&self.port).append(&&self.key[..]);
        rlp.out().to_vec()
    }

    /// Decodes a payload; further list elements are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed, its key is not 64 bytes long, or it offers more than [`limits::CAPABILITIES_MAX`]
    /// capabilities.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = rlp::list(payload, Bounds::SMALL)?;
        let version = fields.u64()?;
        let client = printable(fields.bytes()?);
        let mut offered = fields.list()?;
        if offered.count() > limits::CAPABILITIES_MAX {
            return Err(DecodeError::TooManyItems);
        }
        let mut capabilities = Vec::new();
        while !offered.is_empty() {
            let mut capability = offered.list()?;
            let name = capability.bytes()?;
            let version = u32::try_from(capability.u64()?);
            if let Some(capability) = version.ok().and_then(|version| Capability::from_bytes(name, version).ok()) {
                capabilities.push(capability);
            }
        }
        let port = fields.u64()?;
        Ok(Self { version, client, capabilities, port, key: *fields.fixed()? })
    }
}

/// Makes untrusted text safe for logs and terminals: escapes all characters but printable ASCII (control characters,
/// direction marks, other line breaks), and keeps [`limits::CLIENT_NAME_CHARS_MAX`] characters at most (attack F8).
fn printable(bytes: &[u8]) -> String {
    let mut text = String::new();
    let mut chars = 0;
    for piece in String::from_utf8_lossy(bytes).chars() {
        let literal = piece == ' ' || piece.is_ascii_graphic();
        chars += if literal { 1 } else { piece.escape_debug().count() };
        if chars > limits::CLIENT_NAME_CHARS_MAX {
            break;
        }
        if literal {
            text.push(piece);
        } else {
            text.extend(piece.escape_debug());
        }
    }
    text
}

/// The reason for ending a session that one side sends to the other (`rlpx.md`, "Disconnect").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
#[non_exhaustive]
pub enum DisconnectReason {
    Requested,
    TcpError,
    ProtocolBreach,
    UselessPeer,
    TooManyPeers,
    AlreadyConnected,
    IncompatibleVersion,
    InvalidIdentity,
    ClientQuitting,
    UnexpectedIdentity,
    ConnectedToSelf,
    PingTimeout,
    SubprotocolError,
    /// A code that the specification does not name.
    Other(u8),
    /// A Disconnect with an unreadable payload, which ends the session too.
    Unreadable,
}

impl DisconnectReason {
    /// The code on the wire; 0xff, as in geth, for [`Unreadable`](Self::Unreadable).
    pub fn code(&self) -> u8 {
        match self {
            Self::Requested => 0x00,
            Self::TcpError => 0x01,
            Self::ProtocolBreach => 0x02,
            Self::UselessPeer => 0x03,
            Self::TooManyPeers => 0x04,
            Self::AlreadyConnected => 0x05,
            Self::IncompatibleVersion => 0x06,
            Self::InvalidIdentity => 0x07,
            Self::ClientQuitting => 0x08,
            Self::UnexpectedIdentity => 0x09,
            Self::ConnectedToSelf => 0x0a,
            Self::PingTimeout => 0x0b,
            Self::SubprotocolError => 0x10,
            Self::Other(code) => *code,
            Self::Unreadable => 0xff,
        }
    }

    /// The reason for a code.
    pub fn from_code(code: u8) -> Self {
        match code {
            0x00 => Self::Requested,
            0x01 => Self::TcpError,
            0x02 => Self::ProtocolBreach,
            0x03 => Self::UselessPeer,
            0x04 => Self::TooManyPeers,
            0x05 => Self::AlreadyConnected,
            0x06 => Self::IncompatibleVersion,
            0x07 => Self::InvalidIdentity,
            0x08 => Self::ClientQuitting,
            0x09 => Self::UnexpectedIdentity,
            0x0a => Self::ConnectedToSelf,
            0x0b => Self::PingTimeout,
            0x10 => Self::SubprotocolError,
            code => Self::Other(code),
        }
    }

    /// The message's payload: a list of one integer.
    pub fn encode(&self) -> Vec<u8> {
        let mut rlp = RlpStream::new_list(1);
        rlp.append(&self.code());
        rlp.out().to_vec()
    }

    /// Reads a payload in every encoding that clients send: a list, a bare integer, canonical or not, or no bytes.
    /// Never fails: the message ends the session whatever its payload.
    ///
    /// No payload that is readable as it stands is also the compressed form of another, so that with snappy only
    /// what is [`Unreadable`](Self::Unreadable) need be inflated.
    pub fn decode(payload: &[u8]) -> Self {
        let integer = match payload {
            [(..=0xbf), ..] => payload,
            // A short list that ends where its length says; further elements are ignored.
            [length @ 0xc1..=0xf7, elements @ ..] if elements.len() == usize::from(length - 0xc0) => {
                let string = elements[0];
                let end = if (0x80..=0xb7).contains(&string) { 1 + usize::from(string - 0x80) } else { 1 };
                elements.get(..end).unwrap_or_default()
            }
            _ => return Self::Unreadable,
        };
        let digits = match integer {
            [byte @ ..0x80] => core::slice::from_ref(byte),
            [length @ 0x80..=0xb7, digits @ ..] if digits.len() == usize::from(length - 0x80) => digits,
            _ => return Self::Unreadable,
        };
        let significant = digits.iter().position(|digit| *digit != 0).map_or(&[][..], |first| &digits[first..]);
        match significant {
            [] => Self::Requested,
            [code] => Self::from_code(*code),
            _ => Self::Unreadable,
        }
    }
}

/// Shows the specification's words in lower case.
impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Requested => "disconnect requested",
            Self::TcpError => "tcp sub-system error",
            Self::ProtocolBreach => "breach of protocol",
            Self::UselessPeer => "useless peer",
            Self::TooManyPeers => "too many peers",
            Self::AlreadyConnected => "already connected",
            Self::IncompatibleVersion => "incompatible p2p protocol version",
            Self::InvalidIdentity => "null node identity received",
            Self::ClientQuitting => "client quitting",
            Self::UnexpectedIdentity => "unexpected identity in handshake",
            Self::ConnectedToSelf => "identity is the same as this node",
            Self::PingTimeout => "ping timeout",
            Self::SubprotocolError => "some other reason specific to a subprotocol",
            Self::Other(code) => return write!(f, "unknown reason {code:#04x}"),
            Self::Unreadable => "unreadable reason",
        })
    }
}

#[cfg(test)]
mod tests;
