//! What an inspection finds: one thing that was said, or could not be understood, with its time and place.
//!
//! Values only. [`text`](super::text) and [`json`](super::json) write them.

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
    /// The packet that completed it, by its place in the capture; 0 for what no packet did.
    pub packet: u64,
    /// When that packet was captured.
    pub at: Option<Stamp>,
    /// Who said it to whom, if it came from an address.
    pub place: Option<Place>,
    /// What it is.
    pub what: What,
}

/// Who said something to whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The TCP connection's number in the capture, from 1 on.
    pub conn: Option<u64>,
    /// Who.
    pub from: SocketAddr,
    /// To whom.
    pub to: SocketAddr,
    /// Who, if its key is known by now.
    pub from_id: Option<NodeId>,
    /// To whom, if its key is known by now.
    pub to_id: Option<NodeId>,
}

/// What was found.
#[derive(Clone, Debug)]
pub enum What {
    /// A discv4 packet, its hash and signature in order.
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
        /// The session's name in key logs.
        session: SessionId,
        /// Its size.
        bytes: usize,
        /// What a static key opened.
        opened: Option<OpenedAuth>,
    },
    /// An ack packet.
    Ack {
        /// Its size.
        bytes: usize,
        /// What a static key opened.
        opened: Option<OpenedAck>,
        /// Whether the session's secrets are there, so that its frames follow as messages.
        has_secrets: bool,
    },
    /// A message of a session.
    Message(Message),
    /// Frames that nothing at hand opens; told once for each direction, when the connection is over.
    Sealed {
        /// How many bytes.
        bytes: u64,
    },
    /// Bytes of a stream that the capture lacks. The direction cannot be opened any further.
    Gap {
        /// How many.
        bytes: u64,
    },
    /// Bytes that nobody understands.
    Unknown {
        /// Why not.
        why: &'static str,
        /// The bytes; the first of them if there are many.
        bytes: Vec<u8>,
        /// How many there are.
        total: u64,
    },
    /// Something that should have been readable, in the capture itself or in a packet.
    Broken {
        /// What is wrong.
        why: &'static str,
        /// The bytes; the first of them if there are many.
        bytes: Vec<u8>,
        /// How many there are.
        total: u64,
    },
    /// A TCP connection is over.
    Ended {
        /// How.
        how: How,
        /// Bytes of both directions' streams.
        bytes: u64,
    },
}

/// How a connection ended, to a bystander.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Both sides closed it.
    Closed,
    /// One side reset it.
    Reset,
    /// Its addresses began another connection.
    Replaced,
    /// It was dropped from the table, the one that was silent for longest, to keep to the bounds.
    Forgotten,
    /// The capture ended first.
    CaptureEnd,
}

/// What the recipient's static key opens of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedAuth {
    /// Whose key opened it.
    pub recipient: NodeId,
    /// Who dials.
    pub initiator: NodeId,
    /// Id of the initiator's ephemeral public key; `None` if the signature is none.
    pub ephemeral: Option<NodeId>,
    /// Handshake version.
    pub version: u64,
}

/// What the initiator's static key opens of a handshake.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedAck {
    /// Whose key opened it.
    pub initiator: NodeId,
    /// Handshake version.
    pub version: u64,
}

/// A message of the base protocol or of a capability.
#[derive(Clone, Debug)]
pub struct Message {
    /// Of which capability; `None` for the base protocol and for ids of no known capability.
    pub capability: Option<Capability>,
    /// Message id, relative to the capability's offset.
    pub id: u64,
    /// What the specification calls it; `None` if no specification does.
    pub name: Option<&'static str>,
    /// Size of its frame's body: id and payload as sent, compressed or not.
    pub frame_bytes: usize,
    /// The payload, uncompressed.
    pub payload: Vec<u8>,
    /// What the payload says, as far as it is read.
    pub content: Content,
}

/// What a message's payload says.
#[derive(Clone, Debug)]
pub enum Content {
    /// It is not read any further.
    Opaque,
    /// The peer's introduction.
    Hello(Box<Hello>),
    /// The end.
    Disconnect(DisconnectReason),
    /// The peer's chain.
    Status(Box<Status>),
    /// The blocks that the peer has.
    BlockRange(BlockRange),
    /// A request for headers.
    HeaderQuery {
        /// Request id.
        request_id: u64,
        /// The first header: a number, or a hash in hexadecimal.
        start: String,
        /// How many.
        amount: u64,
        /// Blocks passed over between two.
        skip: u64,
        /// Whether towards the genesis block.
        reverse: bool,
    },
    /// A list of things.
    Items {
        /// Request id, of a request or response.
        request_id: Option<u64>,
        /// How many; `None` if the message is no list of one kind of thing.
        count: Option<usize>,
    },
    /// It is not what its name says.
    Malformed(DecodeError),
}

impl Message {
    /// Whether it is of the base protocol.
    pub fn is_base(&self) -> bool {
        self.capability.is_none() && self.id < p2p::id::CAPABILITIES
    }
}

impl Finding {
    /// The protocol, as filters and JSON name it.
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

    /// What it is called, as filters and JSON name it.
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
