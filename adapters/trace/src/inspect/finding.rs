//! The findings of an inspection: one message or one piece of unreadable bytes, with its time and position.
//!
//! Plain values. [`text`](super::text) and [`json`](super::json) format them.

use std::net::SocketAddr;

use peerless::crypto::NodeId;
use peerless::wire::DecodeError;
use peerless::wire::discv4;
use peerless::wire::eth::{BlockRange, Status};
use peerless::wire::p2p::{self, Capability, DisconnectReason, Hello};

use crate::capture::Stamp;
use crate::keylog::SessionId;

/// One finding.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The number of the packet that completed the finding; 0 if no packet did.
    pub packet: u64,
    /// The time of capture of that packet.
    pub at: Option<Stamp>,
    /// Sender and receiver, if the finding came from an address.
    pub place: Option<Place>,
    /// The content.
    pub what: What,
}

/// Sender and receiver of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The TCP connection's number in the capture, from 1 on.
    pub conn: Option<u64>,
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The sender's id, if its key is known at this point.
    pub from_id: Option<NodeId>,
    /// The receiver's id, if its key is known at this point.
    pub to_id: Option<NodeId>,
}

/// The content of a finding.
#[derive(Clone, Debug)]
pub enum What {
    /// A discv4 packet with a correct hash and signature.
    Discv4(discv4::Packet),
    /// A discv5 packet to a node whose id is known: unmasked, not decrypted.
    Discv5 {
        /// 0 for an ordinary message, 1 for WHOAREYOU, 2 for a handshake.
        flag: u8,
        /// The packet's nonce.
        nonce: [u8; 12],
        /// Bytes of the datagram.
        bytes: usize,
    },
    /// A TCP connection, with its first segment.
    Begun {
        /// Whether its SYN was captured. Without, what is found may begin anywhere.
        from_start: bool,
    },
    /// An auth packet.
    Auth {
        /// The session's id in key logs.
        session: SessionId,
        /// The packet's size.
        bytes: usize,
        /// The fields that a static key decrypts.
        opened: Option<OpenedAuth>,
    },
    /// An ack packet.
    Ack {
        /// The packet's size.
        bytes: usize,
        /// The fields that a static key decrypts.
        opened: Option<OpenedAck>,
        /// Whether the session's secrets are known, so that its frames are reported as messages.
        has_secrets: bool,
    },
    /// A message of a session.
    Message(Message),
    /// Frames that cannot be decrypted; reported once for each direction, when the connection ends.
    Sealed {
        /// Number of bytes.
        bytes: u64,
    },
    /// Bytes of a stream that are missing from the capture. The direction cannot be opened further.
    Gap {
        /// Number of bytes.
        bytes: u64,
    },
    /// Bytes of an unknown protocol.
    Unknown {
        /// The reason.
        why: &'static str,
        /// The bytes, or the first of them.
        bytes: Vec<u8>,
        /// Number of bytes.
        total: u64,
    },
    /// Malformed bytes of a known protocol, in the capture itself or in a packet.
    Broken {
        /// The reason.
        why: &'static str,
        /// The bytes, or the first of them.
        bytes: Vec<u8>,
        /// Number of bytes.
        total: u64,
    },
    /// The end of a TCP connection.
    Ended {
        /// The kind of end.
        how: How,
        /// Bytes of both directions' streams.
        bytes: u64,
    },
}

/// The end of a connection, as an observer sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Both sides closed it.
    Closed,
    /// One side reset it.
    Reset,
    /// Another connection began between the same addresses.
    Replaced,
    /// The connection was dropped from the table as the longest silent one, to keep the bounds.
    Forgotten,
    /// The capture ended.
    CaptureEnd,
}

/// The fields of a handshake that the recipient's static key decrypts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedAuth {
    /// The holder of the key.
    pub recipient: NodeId,
    /// The node that dialled.
    pub initiator: NodeId,
    /// Id of the initiator's ephemeral public key; `None` if the signature is invalid.
    pub ephemeral: Option<NodeId>,
    /// Handshake version.
    pub version: u64,
}

/// The fields of a handshake that the initiator's static key decrypts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedAck {
    /// The holder of the key.
    pub initiator: NodeId,
    /// Handshake version.
    pub version: u64,
}

/// A message of the base protocol or of a capability.
#[derive(Clone, Debug)]
pub struct Message {
    /// The capability; `None` for the base protocol and for ids of no known capability.
    pub capability: Option<Capability>,
    /// Message id, relative to the capability's offset.
    pub id: u64,
    /// The specification's name of the message; `None` without a specification.
    pub name: Option<&'static str>,
    /// Bytes of the frame's body: id and payload as sent, compressed or not.
    pub frame_bytes: usize,
    /// The payload, uncompressed.
    pub payload: Vec<u8>,
    /// The decoded payload.
    pub content: Content,
}

/// The decoded payload of a message.
#[derive(Clone, Debug)]
pub enum Content {
    /// Not decoded.
    Opaque,
    /// A Hello.
    Hello(Box<Hello>),
    /// A Disconnect.
    Disconnect(DisconnectReason),
    /// A Status.
    Status(Box<Status>),
    /// A BlockRangeUpdate.
    BlockRange(BlockRange),
    /// A request for headers.
    HeaderQuery {
        /// Request id.
        request_id: u64,
        /// The first header: a number, or a hash in hexadecimal.
        start: String,
        /// Number of headers.
        amount: u64,
        /// Blocks skipped between two headers.
        skip: u64,
        /// Whether the headers descend towards the genesis block.
        reverse: bool,
    },
    /// A list of items.
    Items {
        /// Request id, of a request or response.
        request_id: Option<u64>,
        /// Number of items; `None` if the message is no list of items of one kind.
        count: Option<usize>,
    },
    /// The payload is malformed.
    Malformed(DecodeError),
}

impl Message {
    /// Whether the message belongs to the base protocol.
    pub fn is_base(&self) -> bool {
        self.capability.is_none() && self.id < p2p::id::CAPABILITIES
    }
}

impl Finding {
    /// The protocol's name in filters and JSON.
    pub fn protocol(&self) -> &str {
        match &self.what {
            What::Discv4(_) => "discv4",
            What::Discv5 { .. } => "discv5",
            What::Auth { .. } | What::Ack { .. } | What::Sealed { .. } => "rlpx",
            What::Message(message) => match &message.capability {
                Some(capability) => capability.name(),
                None if message.is_base() => "p2p",
                None => "rlpx",
            },
            What::Begun { .. } | What::Gap { .. } | What::Ended { .. } => "tcp",
            What::Unknown { .. } | What::Broken { .. } => match &self.place {
                Some(Place { conn: Some(_), .. }) => "tcp",
                Some(_) => "udp",
                None => "capture",
            },
        }
    }

    /// The message's name in filters and JSON.
    pub fn name(&self) -> &'static str {
        match &self.what {
            What::Discv4(packet) => match packet.kind() {
                discv4::Kind::Ping => "Ping",
                discv4::Kind::Pong => "Pong",
                discv4::Kind::FindNode => "FindNode",
                discv4::Kind::Neighbors => "Neighbors",
                discv4::Kind::EnrRequest => "ENRRequest",
                discv4::Kind::EnrResponse => "ENRResponse",
            },
            What::Discv5 { flag: 0, .. } => "Message",
            What::Discv5 { flag: 1, .. } => "WHOAREYOU",
            What::Discv5 { flag: 2, .. } => "Handshake",
            What::Discv5 { .. } => "Unknown",
            What::Begun { .. } => "Begun",
            What::Auth { .. } => "Auth",
            What::Ack { .. } => "Ack",
            What::Message(message) => message.name.unwrap_or("Unknown"),
            What::Sealed { .. } => "Sealed",
            What::Gap { .. } => "Gap",
            What::Unknown { .. } => "Unknown",
            What::Broken { .. } => "Broken",
            What::Ended { .. } => "Ended",
        }
    }
}
