//! What a node tells its application: devp2p's events.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::ids::{BanTarget, CommandId, ConnId, Direction, SocketId};
use super::reason::{End, ScoreReason};
use crate::crypto::NodeId;
use crate::crypto::secrets::SessionSecrets;
use crate::time::Duration;
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::eth::Status;
use crate::wire::p2p::{Capability, Hello, Shared};

/// Something that happened. Borrowed bytes are lent until the next call; [`Event::into_owned`] keeps them.
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
    /// Discovery takes commands again after one was refused as [`Busy`](super::CommandError::Busy). Exactly one for each
    /// period in which commands were refused.
    DiscoveryReady,
    /// A discovery command came to nothing.
    CallFailed {
        /// Which command.
        command: CommandId,
        /// Why.
        why: CallFailure,
    },
    /// A datagram of no protocol that the node speaks: for another implementation that shares the socket.
    Unrecognised {
        /// The socket that received it.
        socket: SocketId,
        /// Its source.
        from: SocketAddr,
        /// Its content.
        bytes: Cow<'a, [u8]>,
    },
    /// A handshake is done, and these are its session's secrets. Told only if `Config::export_secrets` asks for it.
    Secrets {
        /// The connection.
        conn: ConnId,
        /// What opens the session, and nothing else.
        secrets: Box<SessionSecrets>,
    },
    /// A peer has proven its key and said Hello, and shares capabilities with us. Messages of eth may be sent from
    /// `Established` on, those of other capabilities from this event on, unless `Ended` follows because the peer gets no
    /// place.
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
        body: Cow<'a, [u8]>,
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
        body: Cow<'a, [u8]>,
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
        payload: Cow<'a, [u8]>,
    },
    /// A connection takes commands again after one to it was refused as [`Busy`](super::CommandError::Busy): less than
    /// half of the bytes that may wait for its socket wait, or fewer requests of ours are open than may be. Exactly one
    /// for each time that it was refused until then; none if the connection ends first.
    ConnReady {
        /// The connection.
        conn: ConnId,
    },
    /// A connection is over. Exactly one for each `Dial` and each accepted stream; the node forgets the connection when this
    /// event is popped.
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
        /// The reason for the charge that led to the ban, or `Embedder`.
        reason: ScoreReason,
    },
    /// The embedder banned an address.
    AddressBanned {
        /// The address.
        ip: IpAddr,
        /// For how long.
        duration: Duration,
    },
    /// The embedder lifted a ban.
    Unbanned {
        /// Which.
        target: BanTarget,
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
    /// The bytes that this event lends, if it is of a kind that does.
    pub(super) fn lent_mut(&mut self) -> Option<&mut Cow<'a, [u8]>> {
        match self {
            Self::Unrecognised { bytes, .. } => Some(bytes),
            Self::Request { body, .. } | Self::Response { body, .. } => Some(body),
            Self::Message { payload, .. } => Some(payload),
            _ => None,
        }
    }

    /// The same event with its own copy of what it lends, to be kept beyond the next call.
    pub fn into_owned(self) -> Event<'static> {
        let own = |bytes: Cow<'a, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Self::NodeAdded { contact } => Event::NodeAdded { contact },
            Self::NodeRemoved { id } => Event::NodeRemoved { id },
            Self::Pong { command, contact, rtt, enr_seq, seen_as } => {
                Event::Pong { command, contact, rtt, enr_seq, seen_as }
            }
            Self::Record { command, record } => Event::Record { command, record },
            Self::Nodes { command, nodes, queries } => Event::Nodes { command, nodes, queries },
            Self::CallFailed { command, why } => Event::CallFailed { command, why },
            Self::Unrecognised { socket, from, bytes } => Event::Unrecognised { socket, from, bytes: own(bytes) },
            Self::Secrets { conn, secrets } => Event::Secrets { conn, secrets },
            Self::Hello { conn, contact, direction, hello, shared } => {
                Event::Hello { conn, contact, direction, hello, shared }
            }
            Self::Established { conn, id, status } => Event::Established { conn, id, status },
            Self::Request { conn, capability, request_id, id, body } => {
                Event::Request { conn, capability, request_id, id, body: own(body) }
            }
            Self::Response { command, conn, capability, id, body, rtt } => {
                Event::Response { command, conn, capability, id, body: own(body), rtt }
            }
            Self::RequestFailed { command, conn, capability, why } => {
                Event::RequestFailed { command, conn, capability, why }
            }
            Self::Message { conn, capability, id, payload } => {
                Event::Message { conn, capability, id, payload: own(payload) }
            }
            Self::ConnReady { conn } => Event::ConnReady { conn },
            Self::DiscoveryReady => Event::DiscoveryReady,
            Self::Ended { conn, id, addr, direction, end } => Event::Ended { conn, id, addr, direction, end },
            Self::Scored { id, delta, score, reason } => Event::Scored { id, delta, score, reason },
            Self::Banned { id, duration, reason } => Event::Banned { id, duration, reason },
            Self::AddressBanned { ip, duration } => Event::AddressBanned { ip, duration },
            Self::Unbanned { target } => Event::Unbanned { target },
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

impl core::error::Error for CallFailure {}
