//! What a node tells its application.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::SocketAddr;

use super::ids::{CommandId, ConnId, Direction};
use super::reason::{End, ScoreReason};
use crate::crypto::NodeId;
use crate::crypto::secrets::SessionSecrets;
use crate::time::Duration;
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::eth::Status;
use crate::wire::p2p::{Capability, Hello, Shared};

/// Something that happened. Byte slices are lent until the next call.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// A node proved its endpoint and entered the discovery table.
    NodeAdded {
        /// The node.
        contact: Contact,
    },
    /// A node left the discovery table.
    NodeRemoved {
        /// The node.
        id: NodeId,
    },
    /// Answers `Command::Ping`.
    Pong {
        /// Which command.
        command: CommandId,
        /// Who answered.
        contact: Contact,
        /// From the ping to its pong.
        rtt: Duration,
        /// The sequence number of its record, if it told.
        enr_seq: Option<u64>,
        /// Where the node saw our ping come from.
        seen_as: Option<SocketAddr>,
    },
    /// Answers `Command::RequestRecord`.
    Record {
        /// Which command.
        command: CommandId,
        /// The record, verified.
        record: Box<Record>,
    },
    /// Answers `Command::FindNode` and `Command::Lookup`.
    Nodes {
        /// Which command.
        command: CommandId,
        /// The nodes, nearest first.
        nodes: Vec<Contact>,
        /// How many nodes were asked.
        queries: u32,
    },
    /// A discovery command came to nothing.
    CallFailed {
        /// Which command.
        command: CommandId,
        /// Why.
        why: CallFailure,
    },
    /// A datagram that is not discv4: for whatever else shares the port, such as discv5.
    Unrecognised {
        /// Its source.
        from: SocketAddr,
        /// Its content.
        bytes: &'a [u8],
    },
    /// A handshake is done, and these are its session's secrets. Told only if `Config::export_secrets` asks for it.
    Secrets {
        /// The connection.
        conn: ConnId,
        /// What opens the session, and nothing else.
        secrets: Box<SessionSecrets>,
    },
    /// A peer has proven its key and said Hello, and shares capabilities with us.
    Hello {
        /// The connection.
        conn: ConnId,
        /// The peer, with the address of the connection and the port that we dialled or that it claims.
        contact: Contact,
        /// Who dialled.
        direction: Direction,
        /// What it said.
        hello: Box<Hello>,
        /// What we share.
        shared: Vec<Shared>,
    },
    /// The peer's eth Status was accepted: the session is established.
    Established {
        /// The connection.
        conn: ConnId,
        /// The peer.
        id: NodeId,
        /// The peer's Status.
        status: Box<Status>,
    },
    /// The peer asks for something; answer with `Command::Respond`.
    Request {
        /// The connection.
        conn: ConnId,
        /// Of which capability.
        capability: Capability,
        /// The peer's request id.
        request_id: u64,
        /// The request's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
    },
    /// Answers `Command::Request`.
    Response {
        /// Which command.
        command: CommandId,
        /// The connection.
        conn: ConnId,
        /// Of which capability.
        capability: Capability,
        /// The response's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
        /// From the request to this.
        rtt: Duration,
    },
    /// A request came to nothing; the session goes on, or its end is told beside.
    RequestFailed {
        /// Which command.
        command: CommandId,
        /// The connection.
        conn: ConnId,
        /// Of which capability.
        capability: Capability,
        /// Why.
        why: CallFailure,
    },
    /// Any other message of a shared capability.
    Message {
        /// The connection.
        conn: ConnId,
        /// Of which capability.
        capability: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
        /// Uncompressed payload.
        payload: &'a [u8],
    },
    /// A connection takes commands again after one to it was refused as [`Busy`](super::CommandError::Busy): less than
    /// half of the bytes that may wait for its socket wait, or fewer requests of ours are open than may be. Exactly one
    /// for each time that it was refused until then; none if the connection ends first.
    ConnReady {
        /// The connection.
        conn: ConnId,
    },
    /// A connection is over. Exactly one for each `Dial` and each accepted stream; its slot is free from here on.
    Ended {
        /// The connection.
        conn: ConnId,
        /// The peer, if it had proven its key or was dialled by it.
        id: Option<NodeId>,
        /// The other end.
        addr: SocketAddr,
        /// Who dialled.
        direction: Direction,
        /// Who ended it, at which stage, why.
        end: End,
    },
    /// A peer's score changed.
    Scored {
        /// The peer.
        id: NodeId,
        /// By how much.
        delta: i32,
        /// To what.
        score: i32,
        /// Why.
        reason: ScoreReason,
    },
    /// A peer was banned.
    Banned {
        /// The peer.
        id: NodeId,
        /// For how long.
        duration: Duration,
        /// The last straw.
        reason: ScoreReason,
    },
}

impl Event<'_> {
    /// Whether the application can miss this without losing track of a connection or a command.
    pub(super) fn is_droppable(&self) -> bool {
        matches!(
            self,
            Self::NodeAdded { .. } | Self::NodeRemoved { .. } | Self::Unrecognised { .. } | Self::Scored { .. }
        )
    }
}

impl<'a> Event<'a> {
    /// The slice that this event lends, if it is of a kind that does.
    pub(super) fn lent_mut(&mut self) -> Option<&mut &'a [u8]> {
        match self {
            Self::Unrecognised { bytes, .. } => Some(bytes),
            Self::Request { body, .. } | Self::Response { body, .. } => Some(body),
            Self::Message { payload, .. } => Some(payload),
            _ => None,
        }
    }
}

/// Why a question was not answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CallFailure {
    /// No answer in time.
    Timeout,
    /// The address may not be talked to.
    Filtered,
    /// Too many questions are open.
    Busy,
    /// The connection ended, or the node is shutting down.
    Closed,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Filtered => "the address may not be talked to",
            Self::Busy => "too many questions are open",
            Self::Closed => "closed",
        })
    }
}
