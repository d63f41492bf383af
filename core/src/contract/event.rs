//! The events of devp2p.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};

use super::addresses::Addresses;
use super::end::End;
use super::ids::{BanTarget, CommandId, ConnId, Direction, SocketId, TalkId};
use super::query::QueryFault;
use super::reason::ScoreReason;
use crate::crypto::NodeId;
use crate::crypto::secrets::SessionSecrets;
use crate::time::Duration;
use crate::wire::enode::Contact;
use crate::wire::enr::Record;
use crate::wire::eth::Status;
use crate::wire::p2p::{Capability, Hello, Shared};

/// An event of a node for its application. Borrowed bytes are lent until the next call; [`Event::into_owned`] copies them.
#[derive(Clone, Debug)]
#[non_exhaustive]
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
        /// The command's id.
        command: CommandId,
        /// The node that answered.
        contact: Contact,
        /// The time from the ping to its pong.
        rtt: Duration,
        /// The sequence number of the node's record, if the pong has it.
        enr_seq: Option<u64>,
        /// The address from which the node received our ping, as it says.
        seen_as: Option<SocketAddr>,
    },
    /// Answers `Command::RequestRecord`.
    Record {
        /// The command's id.
        command: CommandId,
        /// The record, whose signature is verified.
        record: Box<Record>,
    },
    /// Answers `Command::FindNode` and `Command::Lookup`.
    Nodes {
        /// The command's id.
        command: CommandId,
        /// The nodes, nearest first.
        nodes: Vec<Contact>,
        /// The number of nodes that were asked.
        queries: u32,
        /// Hops to the nearest one: 1 if it was known before, one more for each node that had to name the next one. 0 without nodes.
        hops: u32,
    },
    /// A request of an application's protocol that is registered; answer with `Command::TalkRespond`.
    TalkRequest {
        /// Who asks, and which of its requests this is.
        id: TalkId,
        /// The protocol.
        protocol: Vec<u8>,
        /// What it says.
        request: Cow<'a, [u8]>,
    },
    /// Answers `Command::Talk`.
    TalkResponse {
        /// The command's id.
        command: CommandId,
        /// The time from the request to its answer.
        rtt: Duration,
        /// The answer; empty if the node does not know the protocol.
        response: Cow<'a, [u8]>,
    },
    /// Discovery takes commands again after it refused one as [`Busy`](super::CommandError::Busy). Emitted once for each period
    /// of refusals.
    DiscoveryReady,
    /// A discovery command failed.
    CallFailed {
        /// The command's id.
        command: CommandId,
        /// The reason.
        why: CallFailure,
    },
    /// A datagram of no protocol of the node: for another implementation that shares the socket.
    Unrecognised {
        /// The socket that received it.
        socket: SocketId,
        /// Its source.
        from: SocketAddr,
        /// Its content.
        bytes: Cow<'a, [u8]>,
    },
    /// The secrets of a session whose handshake is done. Emitted only if `Config::export_secrets` is set.
    Secrets {
        /// The connection.
        conn: ConnId,
        /// The secrets, which decrypt this session only.
        secrets: Box<SessionSecrets>,
    },
    /// A peer has proven its key and sent a Hello with shared capabilities. Messages of eth may be sent from `Established` on,
    /// those of other capabilities from this event on, unless `Ended` follows because the peer gets no place.
    Hello {
        /// The connection.
        conn: ConnId,
        /// The peer, with the address of the connection and the port that we dialled or that it claims.
        contact: Contact,
        /// The side that dialled.
        direction: Direction,
        /// The peer's Hello.
        hello: Box<Hello>,
        /// The shared capabilities.
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
    /// A request of the peer; answer with `Command::Respond`.
    Request {
        /// The connection.
        conn: ConnId,
        /// The capability.
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
        /// The command's id.
        command: CommandId,
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The response's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: Cow<'a, [u8]>,
        /// The time from the request to its response.
        rtt: Duration,
    },
    /// A request failed. The session goes on, unless `Event::Ended` follows.
    RequestFailed {
        /// The command's id.
        command: CommandId,
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The reason.
        why: CallFailure,
    },
    /// Any other message of a shared capability.
    Message {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
        /// Uncompressed payload.
        payload: Cow<'a, [u8]>,
    },
    /// A connection takes commands again after it refused one as [`Busy`](super::CommandError::Busy): the bytes that wait for
    /// its socket are below half of their limit, or our open requests are below theirs. Emitted once for each period of
    /// refusals; not if the connection ends first.
    ConnReady {
        /// The connection.
        conn: ConnId,
    },
    /// A connection has ended. Emitted once for each `Dial` and each accepted stream; the node removes the connection when this
    /// event is popped.
    Ended {
        /// The connection.
        conn: ConnId,
        /// The peer, if it had proven its key or we dialled it.
        id: Option<NodeId>,
        /// The other end.
        addr: SocketAddr,
        /// The side that dialled.
        direction: Direction,
        /// The side that ended it, the stage and the reason.
        end: End,
    },
    /// A peer's score changed.
    Scored {
        /// The peer.
        id: NodeId,
        /// The change in points.
        delta: i32,
        /// The score after it.
        score: i32,
        /// The reason.
        reason: ScoreReason,
    },
    /// A peer was banned.
    Banned {
        /// The peer.
        id: NodeId,
        /// The length of the ban.
        duration: Duration,
        /// The reason for the charge that led to the ban, or `Embedder`.
        reason: ScoreReason,
    },
    /// The embedder banned an address.
    AddressBanned {
        /// The address.
        ip: IpAddr,
        /// The length of the ban.
        duration: Duration,
    },
    /// The embedder lifted a ban.
    Unbanned {
        /// The target.
        target: BanTarget,
    },
    /// A static or trusted peer, or a bootnode, cannot be contacted now because of its host name. The name is asked again.
    HostFailed {
        /// The node.
        id: NodeId,
        /// The reason.
        why: HostFailure,
    },
    /// The addresses in our record have changed: other nodes see us at another one, or the embedder has set one. The record
    /// with a higher sequence number is `Node::record`.
    AddressChanged {
        /// The addresses from now on.
        addresses: Addresses,
    },
}

impl Event<'_> {
    /// Whether the application can miss this without losing track of a connection or a command.
    pub(super) fn is_droppable(&self) -> bool {
        matches!(
            self,
            Self::NodeAdded { .. }
                | Self::NodeRemoved { .. }
                | Self::TalkRequest { .. }
                | Self::Unrecognised { .. }
                | Self::Scored { .. }
                | Self::HostFailed { .. }
        )
    }
}

impl<'a> Event<'a> {
    /// The bytes that this event lends, if its variant has any.
    pub(super) fn lent_mut(&mut self) -> Option<&mut Cow<'a, [u8]>> {
        match self {
            Self::Unrecognised { bytes, .. } => Some(bytes),
            Self::Request { body, .. } | Self::Response { body, .. } => Some(body),
            Self::Message { payload, .. } => Some(payload),
            Self::TalkRequest { request, .. } => Some(request),
            Self::TalkResponse { response, .. } => Some(response),
            _ => None,
        }
    }

    /// Copies what the event lends, so that it can be kept beyond the next call.
    pub fn into_owned(self) -> Event<'static> {
        let own = |bytes: Cow<'a, [u8]>| Cow::Owned(bytes.into_owned());
        match self {
            Self::NodeAdded { contact } => Event::NodeAdded { contact },
            Self::NodeRemoved { id } => Event::NodeRemoved { id },
            Self::Pong { command, contact, rtt, enr_seq, seen_as } => {
                Event::Pong { command, contact, rtt, enr_seq, seen_as }
            }
            Self::Record { command, record } => Event::Record { command, record },
            Self::Nodes { command, nodes, queries, hops } => Event::Nodes { command, nodes, queries, hops },
            Self::CallFailed { command, why } => Event::CallFailed { command, why },
            Self::TalkRequest { id, protocol, request } => Event::TalkRequest { id, protocol, request: own(request) },
            Self::TalkResponse { command, rtt, response } => {
                Event::TalkResponse { command, rtt, response: own(response) }
            }
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
            Self::HostFailed { id, why } => Event::HostFailed { id, why },
            Self::AddressChanged { addresses } => Event::AddressChanged { addresses },
        }
    }
}

/// Why a node with a host name cannot be contacted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum HostFailure {
    /// The name has no answer.
    Query(QueryFault),
    /// The filter forbids all of its addresses, or the host cannot reach them.
    Filtered,
}

impl fmt::Display for HostFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query(fault) => fault.fmt(f),
            Self::Filtered => f.write_str("none of its addresses can be reached or is permitted"),
        }
    }
}

impl core::error::Error for HostFailure {}

/// Why a request was not answered.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum CallFailure {
    /// No answer in time.
    Timeout,
    /// The filter forbids the address.
    Filtered,
    /// Too many requests are open.
    Busy,
    /// The connection ended, or the node is shutting down.
    Closed,
}

impl fmt::Display for CallFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "no answer in time",
            Self::Filtered => "the filter forbids the address",
            Self::Busy => "too many requests are open",
            Self::Closed => "closed",
        })
    }
}

impl core::error::Error for CallFailure {}
