//! Questions and answers as bytes (RFC 1035), by way of `simple-dns`.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use peerless::contract::QueryFault;
use simple_dns::rdata::{OPT, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QCLASS, QTYPE, Question, RCODE, TYPE};

/// Bytes of an answer over UDP that we take: what passes every network in one piece.
const UDP_ANSWER_BYTES: u16 = 1232;
/// Records of the wanted kind that are taken of an answer.
const RECORDS_MAX: usize = 64;
/// Aliases that are followed.
pub(super) const ALIASES_MAX: usize = 8;

/// The kind of the records that are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Txt,
    A,
    Aaaa,
}

impl Kind {
    const fn code(self) -> TYPE {
        match self {
            Self::Txt => TYPE::TXT,
            Self::A => TYPE::A,
            Self::Aaaa => TYPE::AAAA,
        }
    }
}

/// One record that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Data {
    /// The strings of a TXT record, joined.
    Text(Vec<u8>),
    Ip(IpAddr),
}

/// What an answer says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Reply {
    /// The records, and how long they may be kept.
    Records(Vec<Data>, Duration),
    /// The name is an alias of this one, of which the answer has no records; how many aliases led there, and how long all of
    /// that may be kept.
    Alias(String, usize, Duration),
    /// The answer does not fit: ask over TCP.
    Cut,
    /// The server says that there is no such name, or that it has no such records.
    NotFound,
    /// The server does not understand the question.
    NotUnderstood,
    /// The server refuses, or fails.
    Failed,
}

/// A question as bytes. With `extended`, it offers to take answers of more than 512 bytes over UDP.
pub(super) fn question(id: u16, name: &str, kind: Kind, extended: bool) -> Result<Vec<u8>, QueryFault> {
    let name = Name::new(name).map_err(|_| QueryFault::Failed)?;
    let mut packet = Packet::new_query(id);
    packet.set_flags(PacketFlag::RECURSION_DESIRED);
    packet.questions.push(Question::new(name, QTYPE::TYPE(kind.code()), QCLASS::CLASS(CLASS::IN), false));
    if extended {
        *packet.opt_mut() = Some(OPT { opt_codes: Vec::new(), udp_packet_size: UDP_ANSWER_BYTES, version: 0 });
    }
    packet.build_bytes_vec().map_err(|_| QueryFault::Failed)
}

/// Reads an answer to that question; `None` if the bytes are none: malformed, with another id, or to another question.
pub(super) fn reply(bytes: &[u8], id: u16, name: &str, kind: Kind) -> Option<Reply> {
    let packet = Packet::parse(bytes).ok()?;
    if packet.id() != id || !packet.has_flags(PacketFlag::RESPONSE) {
        return None;
    }
    let name = lower(name);
    if packet.rcode() == RCODE::FormatError && packet.questions.is_empty() {
        return Some(Reply::NotUnderstood);
    }
    let [asked] = &packet.questions[..] else { return None };
    let is_same = lower(&asked.qname.to_string()) == name
        && asked.qtype == QTYPE::TYPE(kind.code())
        && asked.qclass == QCLASS::CLASS(CLASS::IN);
    if !is_same {
        return None;
    }
    if packet.has_flags(PacketFlag::TRUNCATION) {
        return Some(Reply::Cut);
    }
    Some(match packet.rcode() {
        RCODE::NoError => content(&packet, name, kind),
        RCODE::NameError => Reply::NotFound,
        RCODE::FormatError | RCODE::NotImplemented => Reply::NotUnderstood,
        _ => Reply::Failed,
    })
}

/// Follows the aliases within an answer to the records.
fn content(packet: &Packet<'_>, name: String, kind: Kind) -> Reply {
    let mut aliases = BTreeMap::new();
    let mut records: BTreeMap<String, Vec<(Data, u32)>> = BTreeMap::new();
    for record in packet.answers.iter().filter(|record| record.class == CLASS::IN) {
        let of = lower(&record.name.to_string());
        let data = match (&record.rdata, kind) {
            (RData::CNAME(target), _) => {
                aliases.entry(of).or_insert((lower(&target.0.to_string()), record.ttl));
                continue;
            }
            // A text that is not UTF-8 is no entry of a list, and nothing else is asked for.
            (RData::TXT(text), Kind::Txt) => String::try_from(text.clone()).ok().map(|text| Data::Text(text.into())),
            (RData::A(ip), Kind::A) => Some(Data::Ip(IpAddr::V4(ip.address.into()))),
            (RData::AAAA(ip), Kind::Aaaa) => Some(Data::Ip(IpAddr::V6(ip.address.into()))),
            _ => None,
        };
        let found = records.entry(of).or_default();
        if let Some(data) = data.filter(|_| found.len() < RECORDS_MAX) {
            found.push((data, record.ttl));
        }
    }
    let (mut at, mut ttl) = (name, u32::MAX);
    for followed in 0..=ALIASES_MAX {
        if let Some(found) = records.remove(&at).filter(|found| !found.is_empty()) {
            let ttl = found.iter().map(|(_, ttl)| *ttl).min().unwrap_or(0).min(ttl);
            return Reply::Records(found.into_iter().map(|(data, _)| data).collect(), seconds(ttl));
        }
        match aliases.get(&at) {
            Some((target, lifetime)) => (at, ttl) = (target.clone(), ttl.min(*lifetime)),
            None if followed == 0 => return Reply::NotFound,
            None => return Reply::Alias(at, followed, seconds(ttl)),
        }
    }
    // A loop.
    Reply::Failed
}

/// A time to live; one with the highest bit set counts as 0 (RFC 2181).
fn seconds(ttl: u32) -> Duration {
    Duration::from_secs(if ttl > i32::MAX as u32 { 0 } else { ttl.into() })
}

fn lower(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}
