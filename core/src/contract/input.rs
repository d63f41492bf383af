//! Every way in which the world can act on a machine. This is also what a recording consists of.

use core::fmt;
use core::net::SocketAddr;

use super::addresses::Addresses;
use super::ids::{BanTarget, ConnId, Label, PeerKind, QueryId, SocketId};
use super::peer_limits::PeerLimits;
use super::query::{Answer, QueryFault};
use super::reason::{IoFault, Refusal};
use crate::crypto::NodeId;
use crate::netfilter::NetFilter;
use crate::time::{Duration, UnixTime};
use crate::wire::enode::Contact;
use crate::wire::forkid::Head;
use crate::wire::p2p::{Capability, DisconnectReason};

/// What happened.
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
        /// Which.
        conn: ConnId,
        /// The stream's own end, if the driver can tell.
        local: Option<SocketAddr>,
    },
    /// A stream's next bytes, chunked in any way.
    Bytes {
        /// Which stream.
        conn: ConnId,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// The socket took the first `n` bytes of `outbound(conn)`; clamped to what there was.
    Wrote {
        /// Which stream.
        conn: ConnId,
        /// How many bytes.
        n: usize,
    },
    /// The other side closed its half of the stream.
    Eof {
        /// Which stream.
        conn: ConnId,
    },
    /// The stream failed, or its dial did.
    Broken {
        /// Which stream.
        conn: ConnId,
        /// How.
        why: IoFault,
    },
    /// The wall clock shows this: at the start, and whenever it steps.
    WallClock {
        /// Time since 1970, in microseconds.
        unix: UnixTime,
    },
    /// The outcome of an `Action::Query`.
    Answer {
        /// Which query.
        id: QueryId,
        /// The answer, or why there is none.
        result: Result<Answer<'a>, QueryFault>,
    },
    /// Time has passed, to the deadline or not.
    Timeout,
    /// The embedder wants something. `Machine::command` is this input with its answer.
    Command(C),
}

/// What an embedder can ask of a node.
#[derive(Clone, Copy, Debug)]
pub enum Command<'a> {
    /// Keep a connection to this peer, from now on.
    AddPeer {
        /// The peer.
        contact: Contact,
        /// Static or trusted.
        kind: PeerKind,
    },
    /// Forget that a peer was static or trusted. Does not disconnect it.
    RemovePeer {
        /// The peer.
        id: NodeId,
    },
    /// Offer a candidate, which is dialled like any that discovery finds.
    OfferPeer {
        /// The candidate.
        contact: Contact,
    },
    /// Charge or credit a peer, connected or not. A score that falls to the threshold bans the peer.
    Report {
        /// The peer.
        id: NodeId,
        /// Points: negative for a charge.
        delta: i32,
        /// The reason, which shows in the peer's ledger.
        reason: Label,
    },
    /// Ban a peer or an address, and end its connections. Told by `Event::Banned` or `Event::AddressBanned`.
    Ban {
        /// What is banned.
        target: BanTarget,
        /// For how long.
        duration: Duration,
    },
    /// Lift a ban. Told by `Event::Unbanned`.
    Unban {
        /// What was banned.
        target: BanTarget,
    },
    /// Change the limits of peers. Peers beyond lower limits stay until their connections end.
    SetPeerLimits {
        /// The new limits.
        limits: PeerLimits,
    },
    /// Change the addresses that may be talked to. Connections to others end.
    SetFilter {
        /// The new filter.
        filter: &'a NetFilter,
    },
    /// Change the nodes from which discovery starts while its table is empty.
    SetBootnodes {
        /// All bootnodes.
        nodes: &'a [Contact],
    },
    /// Change the addresses that others are told. Signs a new record if they differ.
    SetAddresses {
        /// All addresses.
        addresses: Addresses,
    },
    /// Set, replace or remove an entry of our record, such as `snap` or `opel`. Signs a new record if it differs.
    SetRecordEntry {
        /// The entry's key. Entries that follow from the configuration, such as `ip` and `eth`, are refused.
        key: &'a [u8],
        /// One RLP value; `None` removes the entry.
        value: Option<&'a [u8]>,
    },
    /// Change the capabilities that are offered in sessions from now on. Sessions under way keep theirs: the protocol has no
    /// second Hello.
    SetCapabilities {
        /// All capabilities; each must be in the capability table of the configuration.
        offered: &'a [Capability],
    },
    /// Dial once, now, past history and slots. The end or the session tells the outcome.
    Dial {
        /// The peer.
        contact: Contact,
    },
    /// End a connection, telling the peer why.
    Disconnect {
        /// Which.
        conn: ConnId,
        /// Why.
        reason: DisconnectReason,
    },
    /// Tell discovery of a node.
    AddNode {
        /// The node.
        contact: Contact,
    },
    /// Send a discv4 ping; answered by `Event::Pong` or `Event::CallFailed`.
    Ping {
        /// To whom.
        contact: Contact,
    },
    /// Ask for a node's record, proving our endpoint first; answered by `Event::Record` or `Event::CallFailed`.
    RequestRecord {
        /// Whom.
        contact: Contact,
    },
    /// Ask one node for its closest to a target; answered by `Event::Nodes` or `Event::CallFailed`.
    FindNode {
        /// Whom.
        contact: Contact,
        /// 64 bytes, usually a public key.
        target: [u8; 64],
    },
    /// Look up the closest nodes to a target; answered by `Event::Nodes`.
    Lookup {
        /// 64 bytes, usually a public key.
        target: [u8; 64],
    },
    /// Send a message of a shared capability.
    Send {
        /// To whom.
        conn: ConnId,
        /// Of which capability.
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
        /// Of which capability.
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
        /// Of which capability.
        capability: Capability,
        /// The request's id.
        request_id: u64,
        /// The request's message id.
        id: u64,
        /// The RLP items that follow the request id, concatenated.
        body: &'a [u8],
    },
    /// The chain has a new head. Moves the fork id; sessions that speak eth/69 are told of the range in their time.
    SetHead {
        /// The head block.
        head: Head,
        /// The first block that can be served.
        earliest: u64,
    },
    /// Say goodbye to everybody and stop dialling, accepting and discovering. `Ended` events tell when each is gone.
    Shutdown,
}

/// Why a command was not carried out. The embedder's misuse, or a state that it could have asked for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum CommandError {
    /// No such connection, or it has ended.
    UnknownConn,
    /// No such peer.
    UnknownPeer,
    /// There is no such ban.
    NotBanned,
    /// The session is not that far yet.
    NotEstablished,
    /// The session does not share that capability.
    NotShared,
    /// The capability has no such message, or not one of that kind.
    UnknownMessage,
    /// No such entry can be set in our record.
    RecordEntry,
    /// A capability that is not in the capability table.
    UnknownCapability,
    /// No request with that id awaits an answer.
    UnknownRequest,
    /// The message is larger than a frame may be.
    TooLarge,
    /// Too much is queued already. If a connection refused it (`Send`, `Request`, `Respond`), `Event::ConnReady` tells when
    /// it takes commands again; if discovery did, `Event::DiscoveryReady` does. Every command but `Disconnect` and `Shutdown`
    /// is refused while the outbox is full: then drain, and try again.
    Busy,
    /// The contact has no port for this.
    NoPort,
    /// Discovery is switched off.
    NoDiscovery,
    /// Not allowed now.
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
            Self::TooLarge => "the message is too large",
            Self::Busy => "too much is queued",
            Self::NoPort => "the contact has no port for this",
            Self::NoDiscovery => "discovery is off",
            Self::Refused(refusal) => return write!(f, "refused: {refusal}"),
            Self::ShuttingDown => "the node is shutting down",
        })
    }
}

impl core::error::Error for CommandError {}
