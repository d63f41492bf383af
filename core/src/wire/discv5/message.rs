//! discv5.1 messages (`discv5-wire.md`, "Protocol Messages"), in plain. Decoding is strict: a message has its fields and no
//! others.

use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::netfilter::canonical;
use crate::wire::DecodeError;
use crate::wire::rlp::{self, Bounds, List, Writer};

/// The largest distance between two ids.
const DISTANCE_MAX: u16 = 256;

/// The id of a request, which its answers repeat: at most 8 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Padded with zeros.
    bytes: [u8; Self::BYTES_MAX],
    len: u8,
}

impl RequestId {
    /// Length of the longest id.
    pub const BYTES_MAX: usize = 8;

    /// An id of these bytes; `None` if there are more than 8.
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let mut padded = [0; Self::BYTES_MAX];
        padded.get_mut(..bytes.len())?.copy_from_slice(bytes);
        Some(Self { bytes: padded, len: bytes.len() as u8 })
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl From<[u8; 8]> for RequestId {
    fn from(bytes: [u8; 8]) -> Self {
        Self { bytes, len: 8 }
    }
}

/// Hexadecimal.
impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&const_hex::encode(self.as_bytes()))
    }
}

/// The type of a message.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Kind {
    /// Asks for a sign of life.
    Ping = 1,
    /// Answers a Ping.
    Pong = 2,
    /// Asks for the records of nodes at some distances.
    FindNode = 3,
    /// Answers a FindNode, in one or more messages.
    Nodes = 4,
    /// A request of an application's protocol.
    TalkRequest = 5,
    /// Answers a TalkRequest.
    TalkResponse = 6,
    /// Asks to be registered for a topic.
    RegTopic = 7,
    /// Answers a RegTopic.
    RegConfirmation = 8,
    /// Asks for the nodes that are registered for a topic.
    TopicQuery = 9,
    /// Answers a TopicQuery, in one or more messages.
    TopicNodes = 10,
}

impl TryFrom<u8> for Kind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Ok(match byte {
            1 => Self::Ping,
            2 => Self::Pong,
            3 => Self::FindNode,
            4 => Self::Nodes,
            5 => Self::TalkRequest,
            6 => Self::TalkResponse,
            7 => Self::RegTopic,
            8 => Self::RegConfirmation,
            9 => Self::TopicQuery,
            10 => Self::TopicNodes,
            _ => return Err(DecodeError::UnknownType),
        })
    }
}

/// Encoded records one after another, not verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RecordList<'a>(&'a [u8]);

impl<'a> RecordList<'a> {
    /// A list of these encodings, which must be RLP lists one after another.
    pub const fn new(records: &'a [u8]) -> Self {
        Self(records)
    }

    /// Each record's encoding.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let end = rlp::check(rest, Bounds::SMALL).ok()?;
            let (record, after) = rest.split_at(end);
            rest = after;
            Some(record)
        })
    }

    fn decode(list: List<'a>) -> Result<Self, DecodeError> {
        let mut records = list;
        while !records.is_empty() {
            records.list()?;
        }
        Ok(Self(list.rest()))
    }
}

/// A message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// The id of the request, which its answers repeat.
    pub request_id: RequestId,
    /// The rest of it.
    pub payload: Payload<'a>,
}

/// What a message says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Payload<'a> {
    /// Type 1.
    Ping {
        /// The sender's record sequence number.
        enr_seq: u64,
    },
    /// Type 2.
    Pong {
        /// The sender's record sequence number.
        enr_seq: u64,
        /// The address from which the Ping came.
        recipient: SocketAddr,
    },
    /// Type 3.
    FindNode {
        /// Distances from the recipient, at most 256 each; 0 asks for its own record.
        distances: Vec<u16>,
    },
    /// Type 4.
    Nodes {
        /// The number of messages that answer the request.
        total: u64,
        /// The records in this one.
        records: RecordList<'a>,
    },
    /// Type 5.
    TalkRequest {
        /// The application's protocol.
        protocol: &'a [u8],
        /// What it says.
        request: &'a [u8],
    },
    /// Type 6.
    TalkResponse {
        /// Empty if the protocol is unknown.
        response: &'a [u8],
    },
    /// Type 7.
    RegTopic {
        /// The topic.
        topic: &'a [u8; 32],
        /// The sender's encoded record, not verified.
        record: &'a [u8],
        /// From an earlier confirmation; empty at first.
        ticket: &'a [u8],
        /// Distances from the topic at which the sender wants nodes, at most 256 each.
        distances: Vec<u16>,
    },
    /// Type 8.
    RegConfirmation {
        /// The number of messages that answer the request.
        total: u64,
        /// For the next attempt; empty if the sender is registered.
        ticket: &'a [u8],
        /// Milliseconds until the next attempt, or for which the registration lasts.
        wait_millis: u64,
    },
    /// Type 9.
    TopicQuery {
        /// The topic.
        topic: &'a [u8; 32],
        /// Distances from the topic at which the sender wants nodes, at most 256 each.
        distances: Vec<u16>,
    },
    /// Type 10.
    TopicNodes {
        /// The number of messages that answer the request.
        total: u64,
        /// The records in this one.
        records: RecordList<'a>,
    },
}

impl Payload<'_> {
    /// The type of the message.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Ping { .. } => Kind::Ping,
            Self::Pong { .. } => Kind::Pong,
            Self::FindNode { .. } => Kind::FindNode,
            Self::Nodes { .. } => Kind::Nodes,
            Self::TalkRequest { .. } => Kind::TalkRequest,
            Self::TalkResponse { .. } => Kind::TalkResponse,
            Self::RegTopic { .. } => Kind::RegTopic,
            Self::RegConfirmation { .. } => Kind::RegConfirmation,
            Self::TopicQuery { .. } => Kind::TopicQuery,
            Self::TopicNodes { .. } => Kind::TopicNodes,
        }
    }
}

impl<'a> Message<'a> {
    /// Decodes a decrypted message.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(plain: &'a [u8]) -> Result<Self, DecodeError> {
        let (kind, body) = plain.split_first().ok_or(DecodeError::Truncated)?;
        let kind = Kind::try_from(*kind)?;
        let mut list = rlp::list(body, BOUNDS)?;
        let request_id = RequestId::new(list.bytes()?).ok_or(DecodeError::TooLarge)?;
        let payload = match kind {
            Kind::Ping => Payload::Ping { enr_seq: list.u64()? },
            Kind::Pong => Payload::Pong { enr_seq: list.u64()?, recipient: recipient(&mut list)? },
            Kind::FindNode => Payload::FindNode { distances: distances(list.list()?)? },
            Kind::Nodes => Payload::Nodes { total: list.u64()?, records: RecordList::decode(list.list()?)? },
            Kind::TalkRequest => Payload::TalkRequest { protocol: list.bytes()?, request: list.bytes()? },
            Kind::TalkResponse => Payload::TalkResponse { response: list.bytes()? },
            Kind::RegTopic => Payload::RegTopic {
                topic: list.fixed()?,
                record: list_item(&mut list)?,
                ticket: list.bytes()?,
                distances: distances(list.list()?)?,
            },
            Kind::RegConfirmation => {
                Payload::RegConfirmation { total: list.u64()?, ticket: list.bytes()?, wait_millis: list.u64()? }
            }
            Kind::TopicQuery => Payload::TopicQuery { topic: list.fixed()?, distances: distances(list.list()?)? },
            Kind::TopicNodes => Payload::TopicNodes { total: list.u64()?, records: RecordList::decode(list.list()?)? },
        };
        list.end()?;
        Ok(Self { request_id, payload })
    }

    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.payload.kind() as u8);
        Writer::new(out).list(|list| {
            list.bytes(self.request_id.as_bytes());
            match &self.payload {
                Payload::Ping { enr_seq } => list.u64(*enr_seq),
                Payload::Pong { enr_seq, recipient } => {
                    list.u64(*enr_seq);
                    match recipient.ip() {
                        IpAddr::V4(ip) => list.bytes(&ip.octets()),
                        IpAddr::V6(ip) => list.bytes(&ip.octets()),
                    };
                    list.u64(recipient.port().into())
                }
                Payload::FindNode { distances } => write_distances(list, distances),
                Payload::Nodes { total, records } | Payload::TopicNodes { total, records } => {
                    list.u64(*total).list(|items| _ = items.raw(records.0))
                }
                Payload::TalkRequest { protocol, request } => list.bytes(protocol).bytes(request),
                Payload::TalkResponse { response } => list.bytes(response),
                Payload::RegTopic { topic, record, ticket, distances } => {
                    list.bytes(*topic).raw(record).bytes(ticket);
                    write_distances(list, distances)
                }
                Payload::RegConfirmation { total, ticket, wait_millis } => {
                    list.u64(*total).bytes(ticket).u64(*wait_millis)
                }
                Payload::TopicQuery { topic, distances } => {
                    list.bytes(*topic);
                    write_distances(list, distances)
                }
            };
        });
    }
}

/// Enough for sixteen records with many entries each, or as many distances as there are.
const BOUNDS: Bounds = Bounds { depth_max: 8, items_max: 1200 };

fn recipient(list: &mut List<'_>) -> Result<SocketAddr, DecodeError> {
    let bytes = list.bytes()?;
    let ip = match (<[u8; 4]>::try_from(bytes), <[u8; 16]>::try_from(bytes)) {
        (Ok(v4), _) => IpAddr::V4(Ipv4Addr::from(v4)),
        (_, Ok(v6)) => IpAddr::V6(Ipv6Addr::from(v6)),
        _ => return Err(DecodeError::WrongLength),
    };
    Ok(canonical(SocketAddr::new(ip, list.u16()?)))
}

fn distances(mut list: List<'_>) -> Result<Vec<u16>, DecodeError> {
    let mut distances = Vec::new();
    while !list.is_empty() {
        let distance = list.u16()?;
        if distance > DISTANCE_MAX {
            return Err(DecodeError::BadValue);
        }
        distances.push(distance);
    }
    Ok(distances)
}

fn write_distances<'w, 'o>(list: &'w mut Writer<'o>, distances: &[u16]) -> &'w mut Writer<'o> {
    list.list(|items| distances.iter().for_each(|distance| _ = items.u64((*distance).into())))
}

/// Reads the next item, a list, with its header.
fn list_item<'a>(list: &mut List<'a>) -> Result<&'a [u8], DecodeError> {
    let mut ahead = *list;
    ahead.list()?;
    list.raw()
}
