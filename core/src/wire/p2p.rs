//! The base protocol (`rlpx.md`, "p2p Capability"): Hello, Disconnect, Ping, Pong, and the table of capabilities.
//!
//! Which messages a capability has is data: [`CapabilityTable`] holds the known ones and takes any that an embedder
//! registers; [`CapabilityTable::share`] computes the offsets.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::DecodeError;

/// Message ids of the base protocol.
pub mod id {
    /// Names the sender and its capabilities.
    pub const HELLO: u64 = 0;
    /// Ends the session.
    pub const DISCONNECT: u64 = 1;
    /// Asks for a pong.
    pub const PING: u64 = 2;
    /// Answers a ping.
    pub const PONG: u64 = 3;
    /// Ids below this one are the base protocol's.
    pub const CAPABILITIES: u64 = 0x10;
}

/// The version of the base protocol that we speak; snappy from this one on.
pub const P2P_VERSION: u64 = 5;

/// A sub-protocol in one version, such as `eth/69`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// ASCII, padded with zeros; at most 8 bytes.
    name: [u8; 8],
    /// Its version.
    pub version: u32,
}

impl Capability {
    /// A capability by name and version.
    ///
    /// # Errors
    /// If the name is empty, longer than 8 bytes, or not printable ASCII.
    pub fn new(_name: &str, _version: u32) -> Result<Self, DecodeError> {
        unimplemented!()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        unimplemented!()
    }

    /// eth in the given version.
    pub const fn eth(version: u32) -> Self {
        Self { name: *b"eth\0\0\0\0\0", version }
    }

    /// snap in the given version.
    pub const fn snap(version: u32) -> Self {
        Self { name: *b"snap\0\0\0\0", version }
    }

    /// Whether this is any version of eth.
    pub fn is_eth(&self) -> bool {
        self.name == Self::eth(0).name
    }
}

/// `name/version`.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name(), self.version)
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `name/version`.
impl FromStr for Capability {
    type Err = DecodeError;

    fn from_str(_text: &str) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}

/// How many message ids each known capability takes.
#[derive(Clone, Debug)]
pub struct CapabilityTable {
    lengths: Vec<(Capability, u64)>,
}

/// The known ones: eth/66 to 72, snap/1 and 2.
impl Default for CapabilityTable {
    fn default() -> Self {
        Self { lengths: Vec::new() }
    }
}

/// A capability that both sides have, with its place in the shared message id space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared {
    /// The capability.
    pub capability: Capability,
    /// Its first message id.
    pub offset: u64,
    /// Number of message ids it takes.
    pub length: u64,
}

impl CapabilityTable {
    /// Adds a capability or replaces its length.
    pub fn register(&mut self, _capability: Capability, _length: u64) {
        let _ = &self.lengths;
        unimplemented!()
    }

    /// The number of message ids of a capability, if it is known.
    pub fn length(&self, _capability: Capability) -> Option<u64> {
        unimplemented!()
    }

    /// The capabilities that both sides have, in the order of their offsets: sorted by name, of each name only the
    /// highest shared version (`rlpx.md`, "Message ID-based Multiplexing").
    pub fn share(&self, _ours: &[Capability], _theirs: &[Capability]) -> Vec<Shared> {
        unimplemented!()
    }
}

/// The first message of both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Version of the base protocol.
    pub version: u64,
    /// Client name. Whatever the peer sent, made printable and cut to 128 characters when read.
    pub client: String,
    /// Capabilities offered. Those with impossible names are left out when read.
    pub capabilities: Vec<Capability>,
    /// The port that the sender claims to listen on; legacy, not to be trusted.
    pub port: u64,
    /// The sender's public key, `x | y`; to be compared with the handshake's.
    pub key: [u8; 64],
}

impl Hello {
    /// The message's payload.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Decodes a payload; further list elements are ignored (EIP-8).
    ///
    /// # Errors
    /// If it is malformed or offers an absurd number of capabilities.
    pub fn decode(_payload: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}

/// Why a session was ended, as one side tells the other (`rlpx.md`, "Disconnect").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[allow(missing_docs)]
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
    /// A Disconnect whose payload made no sense: an end all the same.
    Unreadable,
}

impl DisconnectReason {
    /// The code on the wire.
    pub fn code(&self) -> u8 {
        unimplemented!()
    }

    /// The reason for a code.
    pub fn from_code(_code: u8) -> Self {
        unimplemented!()
    }

    /// The message's payload: a list of one integer.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Reads a payload in every encoding seen in the wild: a list, a bare integer, canonical or not, or nothing. Never
    /// fails: the message ends the session whatever it holds. The caller has tried to inflate it.
    pub fn decode(_payload: &[u8]) -> Self {
        unimplemented!()
    }
}

/// What the specification calls it, in lower case.
impl fmt::Display for DisconnectReason {
    fn fmt(&self, _f: &mut fmt::Formatter<'_>) -> fmt::Result {
        unimplemented!()
    }
}
