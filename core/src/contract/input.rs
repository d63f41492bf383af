//! The inputs of a machine, and the commands of devp2p. A recording consists of inputs.

use core::fmt;
use core::net::SocketAddr;

use super::addresses::Addresses;
use super::fault::{IoFault, Refusal};
use super::ids::{BanTarget, ConnId, Label, PeerKind, QueryId, SocketId, TalkId, Via};
use super::peer_limits::PeerLimits;
use super::query::{Answer, QueryFault};
use crate::crypto::NodeId;
use crate::netfilter::{NetFilter, Reach};
use crate::time::{Duration, UnixTime};
use crate::wire::enode::{Contact, NamedNode};
use crate::wire::forkid::Head;
use crate::wire::p2p::{Capability, DisconnectReason};

/// Something that a driver or an embedder hands to a machine.
///
/// `C` is the command type of the machine's language. The enum is exhaustive: it is also the recording format.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, C = Command<'a>> {
    /// A UDP datagram arrived.
    Datagram {
        /// The socket that received it.
        socket: SocketId,
        /// Its source.
        from: SocketAddr,
        /// Its content.
        bytes: &'a [u8],
    },
    /// A listener has a stream. `Machine::accept` is this input with its answer.
    Incoming {
        /// The listener.
        socket: SocketId,
        /// The stream's other end.
        from: SocketAddr,
    },
    /// A dialled stream is connected.
    Connected {
        /// The stream.
        conn: ConnId,
        /// The local address of the stream, if the driver knows it.
        local: Option<SocketAddr>,
    },
    /// A stream's next bytes, chunked in any way.
    Bytes {
        /// The stream.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The socket took the first `n` bytes of `outbound(conn)`; clamped to what there was.
    Wrote {
        /// The stream.
        conn: ConnId,
        /// The number of bytes.
        n: usize,
    },
    /// The other side closed its half of the stream.
    Eof {
        /// The stream.
        conn: ConnId,
    },
    /// The stream failed, or its dial did.
    Broken {
        /// The stream.
        conn: ConnId,
        /// The cause.
        why: IoFault,
    },
    /// The wall time: at the start, and whenever the clock steps.
    WallClock {
        /// Time since 1970, in microseconds.
        unix: UnixTime,
    },
    /// The outcome of an `Action::Query`.
    Answer {
        /// The query's id.
        id: QueryId,
        /// The answer, or why there is none.
        result: Result<Answer<'a>, QueryFault>,
    },
    /// Time has passed, to the deadline or not.
    Timeout,
    /// A command of the embedder. `Machine::command` is this input with its answer.
    Command(C),
}

/// A command of the embedder to a node. The enum is exhaustive, as [`Input`] is: a recorder must not overlook a command.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Keep a connection with this peer from now on.
    AddPeer {
        /// The peer.
        contact: Contact,
        /// Static or trusted.
        kind: PeerKind,
    },
    /// As [`Command::AddPeer`], with a host name that the driver resolves before each dial.
    AddPeerByName {
        /// The peer.
        node: &'a NamedNode,
        /// Static or trusted.
        kind: PeerKind,
    },
    /// Remember another endpoint of a node, as of a record with both address families. It is dialled when a dial of the one
    /// that is known has failed, or cannot be made.
    AddEndpoint {
        /// The node at the other endpoint.
        contact: Contact,
    },
    /// Stop keeping a connection with a static or trusted peer. Does not disconnect it.
    RemovePeer {
        /// The peer.
        id: NodeId,
    },
    /// Offer a candidate, which is dialled like any that discovery finds.
    OfferPeer {
        /// The candidate.
        contact: Contact,
    },
    /// Charge or credit a peer, connected or not. A score at the threshold bans the peer.
    Report {
        /// The peer.
        id: NodeId,
        /// Points: negative for a charge.
        delta: i32,
        /// The reason, which shows in the peer's ledger.
        reason: Label,
    },
    /// Ban a peer or an address, and end its connections. Emits `Event::Banned` or `Event::AddressBanned`.
    Ban {
        /// The target.
        target: BanTarget,
        /// The length of the ban.
        duration: Duration,
    },
    /// Lift a ban. Emits `Event::Unbanned`.
    Unban {
        /// The target.
        target: BanTarget,
    },
    /// Change the limits of peers. Peers beyond lower limits stay until their connections end.
    SetPeerLimits {
        /// The new limits.
        limits: PeerLimits,
    },
    /// Change the addresses that the node may communicate with. Connections with others end, and nodes of theirs leave the
    /// discovery table.
    SetFilter {
        /// The new filter.
        filter: &'a NetFilter,
    },
    /// Change the addresses that the host can reach: a route has come or gone. As [`Command::SetFilter`] for those that it cannot
    /// reach any more.
    SetReach {
        /// What it reaches.
        reach: Reach,
    },
    /// Change the nodes from which discovery starts while its table is empty.
    SetBootnodes {
        /// All bootnodes.
        nodes: &'a [Contact],
    },
    /// Change the bootnodes with host names, which the driver resolves now and again.
    SetNamedBootnodes {
        /// All of them; at most 64.
        nodes: &'a [NamedNode],
    },
    /// Change the ports and the fixed addresses in the record and in pings. An address that is not given is learned from other
    /// nodes, if `Config::learn_addresses` is set. Signs a new record and emits `Event::AddressChanged` if they differ.
    SetAddresses {
        /// All addresses.
        addresses: Addresses,
    },
    /// Set, replace or remove an entry of our record. Signs a new record if it differs.
    SetRecordEntry {
        /// The entry's key. [`RESERVED_KEYS`](crate::wire::enr::RESERVED_KEYS) are refused.
        key: &'a [u8],
        /// One RLP value; `None` removes the entry.
        value: Option<&'a [u8]>,
    },
    /// Change the capabilities that are offered in later sessions. Present sessions keep theirs: there is no second Hello.
    SetCapabilities {
        /// All capabilities; each must be in the capability table of the configuration.
        offered: &'a [Capability],
    },
    /// Dial once, now, regardless of history and slots. `Event::Hello` or `Event::Ended` has the outcome.
    Dial {
        /// The peer.
        contact: Contact,
    },
    /// End a connection with a reason for the peer.
    Disconnect {
        /// The connection.
        conn: ConnId,
        /// The reason.
        reason: DisconnectReason,
    },
    /// Add a node to discovery: it is pinged in its turn, and enters the table when it answers.
    AddNode {
        /// The node.
        contact: Contact,
    },
    /// Ping a node; answered by `Event::Pong` or `Event::CallFailed`.
    Ping {
        /// The protocol.
        via: Via,
        /// The node.
        contact: Contact,
    },
    /// Ask for a node's record, proving our endpoint first; answered by `Event::Record` or `Event::CallFailed`.
    RequestRecord {
        /// The protocol.
        via: Via,
        /// The node.
        contact: Contact,
    },
    /// Ask one node for its nodes closest to a target, by version 4 of discovery; answered by `Event::Nodes` or `Event::CallFailed`.
    FindNode {
        /// The node.
        contact: Contact,
        /// 64 bytes, usually a public key.
        target: [u8; 64],
    },
    /// Ask one node for its nodes at distances from it, by version 5 of discovery; answered by `Event::Nodes` or `Event::CallFailed`.
    FindDistances {
        /// The node.
        contact: Contact,
        /// At most 257 of them, at most 256 each; 0 is the node itself.
        distances: &'a [u16],
    },
    /// Look up the closest nodes to a target, by version 4 of discovery; answered by `Event::Nodes`.
    Lookup {
        /// 64 bytes, usually a public key.
        target: [u8; 64],
    },
    /// Look up the closest nodes to an id, by version 5 of discovery; answered by `Event::Nodes`.
    LookupId {
        /// The id.
        target: NodeId,
    },
    /// Send a request of an application's protocol, by version 5 of discovery; answered by `Event::TalkResponse` or `Event::CallFailed`.
    Talk {
        /// The node.
        contact: Contact,
        /// The protocol.
        protocol: &'a [u8],
        /// What it says. With the protocol at most [`TALK_BYTES_MAX`](crate::limits::TALK_BYTES_MAX).
        request: &'a [u8],
    },
    /// Answer a request that came as `Event::TalkRequest`.
    TalkRespond {
        /// The request.
        id: TalkId,
        /// The answer, at most [`TALK_BYTES_MAX`](crate::limits::TALK_BYTES_MAX).
        response: &'a [u8],
    },
    /// Send a message of a shared capability.
    Send {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
        /// Uncompressed payload.
        payload: &'a [u8],
    },
    /// Send a request of a shared capability; answered by `Event::Response` or `Event::RequestFailed`.
    Request {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The request's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
    },
    /// Answer a request that came as `Event::Request`.
    Respond {
        /// The connection.
        conn: ConnId,
        /// The capability.
        capability: Capability,
        /// The request's id.
        request_id: u64,
        /// The request's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
    },
    /// Set the head of the chain. Updates the fork id in the record; the machines across connections see the head and may
    /// announce it.
    SetHead {
        /// The head block.
        head: Head,
        /// The first block that can be served.
        earliest: u64,
    },
    /// Stop dialling, accepting and discovering, and disconnect all peers. Each connection ends with its `Event::Ended`.
    Shutdown,
}

/// Why a command was not carried out: misuse by the embedder, or a state that it could have read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum CommandError {
    /// No such connection, or it has ended.
    UnknownConn,
    /// No such peer.
    UnknownPeer,
    /// There is no such ban.
    NotBanned,
    /// The capability's handshake is not done.
    NotEstablished,
    /// The session does not share that capability.
    NotShared,
    /// The capability has no such message, or the message is of another kind.
    UnknownMessage,
    /// The record entry is reserved, or its value is not one RLP value.
    RecordEntry,
    /// The capability is not in the capability table.
    UnknownCapability,
    /// No request with that id awaits an answer.
    UnknownRequest,
    /// There are no distances, too many, or one above 256.
    Distances,
    /// The message is larger than a frame may be.
    TooLarge,
    /// A queue is full. If it is a connection's (`Send`, `Request`, `Respond`), `Event::ConnReady` says when it takes commands
    /// again; if it is discovery's, `Event::DiscoveryReady` does. Every command but `Disconnect` and `Shutdown` is refused
    /// while the outbox is full: then drain, and try again.
    Busy,
    /// The contact has no port for this.
    NoPort,
    /// Discovery is switched off.
    NoDiscovery,
    /// The machine has no sessions and no chain: it only discovers.
    NoSessions,
    /// The node refuses it for this reason.
    Refused(Refusal),
    /// The node is shutting down.
    ShuttingDown,
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownConn => "no such connection",
            Self::UnknownPeer => "no such peer",
            Self::NotBanned => "there is no such ban",
            Self::NotEstablished => "the session is not established yet",
            Self::NotShared => "the session does not share that capability",
            Self::UnknownMessage => "the capability has no such message",
            Self::RecordEntry => "no such record entry can be set",
            Self::UnknownCapability => "the capability is not in the capability table",
            Self::UnknownRequest => "no such request awaits an answer",
            Self::Distances => "distances are at most 257 numbers up to 256",
            Self::TooLarge => "the message is too large",
            Self::Busy => "a queue is full",
            Self::NoPort => "the contact has no port for this",
            Self::NoDiscovery => "discovery is off",
            Self::NoSessions => "the machine only discovers",
            Self::Refused(refusal) => return write!(f, "refused: {refusal}"),
            Self::ShuttingDown => "the node is shutting down",
        })
    }
}

impl core::error::Error for CommandError {}
