//! The codec of devp2p's commands; [`behaviour::event`](super::behaviour) has that of its events.

use std::fmt;
use std::sync::Arc;

use peerless::contract::{
    Addresses, BanTarget, Command, CommandError, ConnId, Devp2p, Event, Label, PeerKind, PeerLimits, TalkId, Via,
};
use peerless::crypto::{Crypto, NodeId};
use peerless::netfilter::{NetFilter, Reach};
use peerless::node::Node;
use peerless::time::Duration;
use peerless::wire::enode::{Contact, NamedNode};
use peerless::wire::forkid::Head;
use peerless::wire::p2p::{Capability, DisconnectReason};

use super::Header;
use super::behaviour::event::{encode_command_error, encode_event};
use super::codec::{Decoder, Encode, Malformed};
use super::config::{
    decode_addresses, decode_ban_target, decode_capability, decode_filter, decode_head, decode_limits, decode_named,
    decode_ports6, decode_reach, decode_talk_id, encode_addresses, encode_ban_target, encode_capability, encode_filter,
    encode_head, encode_limits, encode_named, encode_ports6, encode_reach, encode_talk_id,
};
use super::language::{Recordable, Replayable};
use crate::keylog::Line;

impl Recordable for Devp2p {
    const FAMILY: &'static str = "devp2p";

    type OwnedCommand = OwnedCommand;

    fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
        encode_command(command, out);
    }

    fn decode_command(decoder: &mut Decoder<'_>) -> Result<OwnedCommand, Malformed> {
        decode_command(decoder)
    }

    fn as_command(owned: &OwnedCommand) -> Command<'_> {
        owned.as_command()
    }

    fn encode_event<'e>(event: &'e Event<'_>, out: &mut Vec<u8>) -> Option<&'e [u8]> {
        encode_event(event, out)
    }

    fn encode_refused(refused: CommandError, out: &mut Vec<u8>) {
        encode_command_error(refused, out);
    }

    fn describe_event(event: &Event<'_>) -> String {
        crate::state::describe_event(event)
    }

    fn session_secrets(event: &Event<'_>) -> Option<(ConnId, Line)> {
        match event {
            Event::Secrets { conn, secrets } => Some((*conn, crate::keylog::line(secrets))),
            _ => None,
        }
    }
}

impl Replayable for Node {
    fn rebuild(header: &Header, crypto: Arc<dyn Crypto + Send + Sync>) -> Result<Self, String> {
        let seed = header.seed().ok_or("the trace is redacted")?;
        let config = header.config(&*crypto).map_err(|why| why.to_string())?;
        Node::with_crypto(config, *seed, header.start, header.unix, crypto).map_err(|why| why.to_string())
    }
}

/// A [`Command`] that owns its bytes.
#[allow(missing_docs, reason = "the fields are those of `Command`")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedCommand {
    AddPeer { contact: Contact, kind: PeerKind },
    RemovePeer { id: NodeId },
    Dial { contact: Contact },
    Disconnect { conn: ConnId, reason: DisconnectReason },
    AddNode { contact: Contact },
    Ping { via: Via, contact: Contact },
    RequestRecord { via: Via, contact: Contact },
    FindNode { contact: Contact, target: Box<[u8; 64]> },
    FindDistances { contact: Contact, distances: Vec<u16> },
    Lookup { target: Box<[u8; 64]> },
    LookupId { target: NodeId },
    Talk { contact: Contact, protocol: Vec<u8>, request: Vec<u8> },
    TalkRespond { id: TalkId, response: Vec<u8> },
    Send { conn: ConnId, capability: Capability, id: u64, payload: Vec<u8> },
    Request { conn: ConnId, capability: Capability, id: u64, body: Vec<u8> },
    Respond { conn: ConnId, capability: Capability, request_id: u64, id: u64, body: Vec<u8> },
    SetHead { head: Head, earliest: u64 },
    OfferPeer { contact: Contact },
    Report { id: NodeId, delta: i32, reason: Label },
    Ban { target: BanTarget, duration: Duration },
    Unban { target: BanTarget },
    SetPeerLimits { limits: PeerLimits },
    SetFilter { filter: NetFilter },
    AddEndpoint { contact: Contact },
    AddPeerByName { node: NamedNode, kind: PeerKind },
    SetNamedBootnodes { nodes: Vec<NamedNode> },
    SetReach { reach: Reach },
    SetBootnodes { nodes: Vec<Contact> },
    SetAddresses { addresses: Addresses },
    SetRecordEntry { key: Vec<u8>, value: Option<Vec<u8>> },
    SetCapabilities { offered: Vec<Capability> },
    Shutdown,
}

fn encode_command(command: &Command<'_>, out: &mut Vec<u8>) {
    let with_contact = |out: &mut Vec<u8>, tag, contact: &Contact| {
        out.byte(tag);
        out.contact(contact);
    };
    match command {
        Command::AddPeer { contact, kind } => {
            with_contact(out, 1, contact);
            out.byte(kind_code(*kind));
        }
        Command::RemovePeer { id } => {
            out.byte(2);
            out.fixed(&id.0);
        }
        Command::Dial { contact } => with_contact(out, 3, contact),
        Command::Disconnect { conn, reason } => {
            out.byte(4);
            out.count(conn.0);
            out.u16(reason_code(*reason));
        }
        Command::AddNode { contact } => with_contact(out, 5, contact),
        Command::Ping { via: Via::Discv4, contact } => with_contact(out, 6, contact),
        Command::RequestRecord { via: Via::Discv4, contact } => with_contact(out, 7, contact),
        Command::Ping { via: Via::Discv5, contact } => with_contact(out, 25, contact),
        Command::RequestRecord { via: Via::Discv5, contact } => with_contact(out, 26, contact),
        Command::FindDistances { contact, distances } => {
            with_contact(out, 27, contact);
            out.count(distances.len() as u64);
            distances.iter().for_each(|distance| out.u16(*distance));
        }
        Command::LookupId { target } => {
            out.byte(28);
            out.fixed(&target.0);
        }
        Command::Talk { contact, protocol, request } => {
            with_contact(out, 29, contact);
            out.bytes(protocol);
            out.bytes(request);
        }
        Command::TalkRespond { id, response } => {
            out.byte(30);
            encode_talk_id(id, out);
            out.bytes(response);
        }
        Command::FindNode { contact, target } => {
            with_contact(out, 8, contact);
            out.fixed(target);
        }
        Command::Lookup { target } => {
            out.byte(9);
            out.fixed(target);
        }
        Command::Send { conn, capability, id, payload } => {
            out.byte(10);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*id);
            out.bytes(payload);
        }
        Command::Request { conn, capability, id, body } => {
            out.byte(11);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*id);
            out.bytes(body);
        }
        Command::Respond { conn, capability, request_id, id, body } => {
            out.byte(12);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*request_id);
            out.count(*id);
            out.bytes(body);
        }
        Command::SetHead { head, earliest } => {
            out.byte(13);
            encode_head(head, out);
            out.count(*earliest);
        }
        Command::Shutdown => out.byte(14),
        Command::OfferPeer { contact } => with_contact(out, 15, contact),
        Command::Report { id, delta, reason } => {
            out.byte(16);
            out.fixed(&id.0);
            out.fixed(&delta.to_le_bytes());
            out.text(reason.as_str());
        }
        Command::Ban { target, duration } => {
            out.byte(17);
            encode_ban_target(*target, out);
            out.duration(*duration);
        }
        Command::Unban { target } => {
            out.byte(18);
            encode_ban_target(*target, out);
        }
        Command::SetPeerLimits { limits } => {
            out.byte(19);
            encode_limits(limits, out);
        }
        Command::SetFilter { filter } => {
            out.byte(20);
            encode_filter(filter, out);
        }
        Command::AddPeerByName { node, kind } => {
            out.byte(34);
            encode_named(node, out);
            out.byte(kind_code(*kind));
        }
        Command::SetNamedBootnodes { nodes } => {
            out.byte(35);
            out.count(nodes.len() as u64);
            nodes.iter().for_each(|node| encode_named(node, out));
        }
        Command::AddEndpoint { contact } => with_contact(out, 33, contact),
        Command::SetReach { reach } => {
            out.byte(32);
            encode_reach(*reach, out);
        }
        Command::SetBootnodes { nodes } => {
            out.byte(21);
            out.count(nodes.len() as u64);
            nodes.iter().for_each(|contact| out.contact(contact));
        }
        Command::SetAddresses { addresses } => {
            // Readers of earlier releases know the kind without ports of the IPv6 address.
            let has_ports6 = (addresses.udp6, addresses.tcp6) != (None, None);
            out.byte(if has_ports6 { 31 } else { 22 });
            encode_addresses(addresses, out);
            if has_ports6 {
                encode_ports6(addresses, out);
            }
        }
        Command::SetRecordEntry { key, value } => {
            out.byte(23);
            out.bytes(key);
            out.option(*value, |out, value| out.bytes(value));
        }
        Command::SetCapabilities { offered } => {
            out.byte(24);
            out.count(offered.len() as u64);
            offered.iter().for_each(|capability| encode_capability(*capability, out));
        }
    }
}

fn decode_command(decoder: &mut Decoder<'_>) -> Result<OwnedCommand, Malformed> {
    let conn = |decoder: &mut Decoder<'_>| decoder.count().map(ConnId);
    let body = |decoder: &mut Decoder<'_>| decoder.bytes().map(<[u8]>::to_vec);
    let target = |decoder: &mut Decoder<'_>| decoder.fixed().map(Box::new);
    Ok(match decoder.byte()? {
        1 => OwnedCommand::AddPeer { contact: decoder.contact()?, kind: kind(decoder.byte()?)? },
        2 => OwnedCommand::RemovePeer { id: NodeId(decoder.fixed()?) },
        3 => OwnedCommand::Dial { contact: decoder.contact()? },
        4 => OwnedCommand::Disconnect { conn: conn(decoder)?, reason: reason(decoder.u16()?)? },
        5 => OwnedCommand::AddNode { contact: decoder.contact()? },
        6 => OwnedCommand::Ping { via: Via::Discv4, contact: decoder.contact()? },
        7 => OwnedCommand::RequestRecord { via: Via::Discv4, contact: decoder.contact()? },
        8 => OwnedCommand::FindNode { contact: decoder.contact()?, target: target(decoder)? },
        9 => OwnedCommand::Lookup { target: target(decoder)? },
        10 => OwnedCommand::Send {
            conn: conn(decoder)?,
            capability: decode_capability(decoder)?,
            id: decoder.count()?,
            payload: body(decoder)?,
        },
        11 => OwnedCommand::Request {
            conn: conn(decoder)?,
            capability: decode_capability(decoder)?,
            id: decoder.count()?,
            body: body(decoder)?,
        },
        12 => OwnedCommand::Respond {
            conn: conn(decoder)?,
            capability: decode_capability(decoder)?,
            request_id: decoder.count()?,
            id: decoder.count()?,
            body: body(decoder)?,
        },
        13 => OwnedCommand::SetHead { head: decode_head(decoder)?, earliest: decoder.count()? },
        14 => OwnedCommand::Shutdown,
        15 => OwnedCommand::OfferPeer { contact: decoder.contact()? },
        16 => OwnedCommand::Report {
            id: NodeId(decoder.fixed()?),
            delta: i32::from_le_bytes(decoder.fixed()?),
            reason: Label::new(decoder.text()?).ok_or(Malformed("label"))?,
        },
        17 => OwnedCommand::Ban { target: decode_ban_target(decoder)?, duration: decoder.duration()? },
        18 => OwnedCommand::Unban { target: decode_ban_target(decoder)? },
        19 => OwnedCommand::SetPeerLimits { limits: decode_limits(decoder)? },
        20 => OwnedCommand::SetFilter { filter: decode_filter(decoder)? },
        21 => OwnedCommand::SetBootnodes { nodes: decoder.list(Decoder::contact)? },
        22 => OwnedCommand::SetAddresses { addresses: decode_addresses(decoder)? },
        31 => {
            let mut addresses = decode_addresses(decoder)?;
            decode_ports6(decoder, &mut addresses)?;
            OwnedCommand::SetAddresses { addresses }
        }
        34 => OwnedCommand::AddPeerByName { node: decode_named(decoder)?, kind: kind(decoder.byte()?)? },
        35 => OwnedCommand::SetNamedBootnodes { nodes: decoder.list(decode_named)? },
        33 => OwnedCommand::AddEndpoint { contact: decoder.contact()? },
        32 => OwnedCommand::SetReach { reach: decode_reach(decoder)? },
        23 => OwnedCommand::SetRecordEntry { key: body(decoder)?, value: decoder.option(body)? },
        24 => OwnedCommand::SetCapabilities { offered: decoder.list(decode_capability)? },
        25 => OwnedCommand::Ping { via: Via::Discv5, contact: decoder.contact()? },
        26 => OwnedCommand::RequestRecord { via: Via::Discv5, contact: decoder.contact()? },
        27 => OwnedCommand::FindDistances { contact: decoder.contact()?, distances: decoder.list(Decoder::u16)? },
        28 => OwnedCommand::LookupId { target: NodeId(decoder.fixed()?) },
        29 => OwnedCommand::Talk { contact: decoder.contact()?, protocol: body(decoder)?, request: body(decoder)? },
        30 => OwnedCommand::TalkRespond { id: decode_talk_id(decoder)?, response: body(decoder)? },
        _ => return Err(Malformed("command: unknown kind")),
    })
}

pub(super) const fn kind_code(kind: PeerKind) -> u8 {
    match kind {
        PeerKind::Static => 1,
        PeerKind::Trusted => 2,
    }
}

pub(super) fn kind(code: u8) -> Result<PeerKind, Malformed> {
    Ok(match code {
        1 => PeerKind::Static,
        2 => PeerKind::Trusted,
        _ => return Err(Malformed("kind of a peer")),
    })
}

/// The reason's code on the wire; 256 for a reason that could not be read.
pub(crate) fn reason_code(reason: DisconnectReason) -> u16 {
    if reason == DisconnectReason::Unreadable { 0x100 } else { reason.code().into() }
}

fn reason(code: u16) -> Result<DisconnectReason, Malformed> {
    match u8::try_from(code) {
        Ok(code) => Ok(DisconnectReason::from_code(code)),
        Err(_) if code == 0x100 => Ok(DisconnectReason::Unreadable),
        Err(_) => Err(Malformed("reason of a disconnect")),
    }
}

impl OwnedCommand {
    /// Borrows the command, for a node.
    pub fn as_command(&self) -> Command<'_> {
        match self {
            Self::AddPeer { contact, kind } => Command::AddPeer { contact: *contact, kind: *kind },
            Self::RemovePeer { id } => Command::RemovePeer { id: *id },
            Self::Dial { contact } => Command::Dial { contact: *contact },
            Self::Disconnect { conn, reason } => Command::Disconnect { conn: *conn, reason: *reason },
            Self::AddNode { contact } => Command::AddNode { contact: *contact },
            Self::Ping { via, contact } => Command::Ping { via: *via, contact: *contact },
            Self::RequestRecord { via, contact } => Command::RequestRecord { via: *via, contact: *contact },
            Self::FindNode { contact, target } => Command::FindNode { contact: *contact, target: **target },
            Self::FindDistances { contact, distances } => Command::FindDistances { contact: *contact, distances },
            Self::Lookup { target } => Command::Lookup { target: **target },
            Self::LookupId { target } => Command::LookupId { target: *target },
            Self::Talk { contact, protocol, request } => Command::Talk { contact: *contact, protocol, request },
            Self::TalkRespond { id, response } => Command::TalkRespond { id: *id, response },
            Self::Send { conn, capability, id, payload } => {
                Command::Send { conn: *conn, capability: *capability, id: *id, payload }
            }
            Self::Request { conn, capability, id, body } => {
                Command::Request { conn: *conn, capability: *capability, id: *id, body }
            }
            Self::Respond { conn, capability, request_id, id, body } => {
                Command::Respond { conn: *conn, capability: *capability, request_id: *request_id, id: *id, body }
            }
            Self::SetHead { head, earliest } => Command::SetHead { head: *head, earliest: *earliest },
            Self::OfferPeer { contact } => Command::OfferPeer { contact: *contact },
            Self::Report { id, delta, reason } => Command::Report { id: *id, delta: *delta, reason: *reason },
            Self::Ban { target, duration } => Command::Ban { target: *target, duration: *duration },
            Self::Unban { target } => Command::Unban { target: *target },
            Self::SetPeerLimits { limits } => Command::SetPeerLimits { limits: *limits },
            Self::SetFilter { filter } => Command::SetFilter { filter },
            Self::AddPeerByName { node, kind } => Command::AddPeerByName { node, kind: *kind },
            Self::SetNamedBootnodes { nodes } => Command::SetNamedBootnodes { nodes },
            Self::AddEndpoint { contact } => Command::AddEndpoint { contact: *contact },
            Self::SetReach { reach } => Command::SetReach { reach: *reach },
            Self::SetBootnodes { nodes } => Command::SetBootnodes { nodes },
            Self::SetAddresses { addresses } => Command::SetAddresses { addresses: *addresses },
            Self::SetRecordEntry { key, value } => Command::SetRecordEntry { key, value: value.as_deref() },
            Self::SetCapabilities { offered } => Command::SetCapabilities { offered },
            Self::Shutdown => Command::Shutdown,
        }
    }
}

/// One line of text.
impl fmt::Display for OwnedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddPeer { contact, kind } => write!(f, "add peer {:?} at {} ({kind:?})", contact.id(), contact.ip()),
            Self::RemovePeer { id } => write!(f, "remove peer {id:?}"),
            Self::Dial { contact } => write!(f, "dial {:?} at {}", contact.id(), contact.tcp_addr()),
            Self::Disconnect { conn, reason } => write!(f, "disconnect {conn}: {reason}"),
            Self::AddNode { contact } => write!(f, "add node {:?} at {}", contact.id(), contact.udp_addr()),
            Self::Ping { via, contact } => write!(f, "ping {:?} at {} by {via}", contact.id(), contact.udp_addr()),
            Self::RequestRecord { via, contact } => write!(f, "request the record of {:?} by {via}", contact.id()),
            Self::FindDistances { contact, distances } => {
                write!(f, "find nodes at distances {distances:?}, asking {:?}", contact.id())
            }
            Self::LookupId { target } => write!(f, "lookup of {target:?}"),
            Self::Talk { contact, request, .. } => {
                write!(f, "talk to {:?}, {} bytes", contact.id(), request.len())
            }
            Self::TalkRespond { id, response } => write!(f, "respond to {:?}, {} bytes", id.node, response.len()),
            Self::FindNode { contact, .. } => write!(f, "find node, asking {:?}", contact.id()),
            Self::Lookup { .. } => f.write_str("lookup"),
            Self::Send { conn, capability, id, payload } => {
                write!(f, "send message {id:#04x} of {capability}, {} bytes, to {conn}", payload.len())
            }
            Self::Request { conn, capability, id, body } => {
                write!(f, "request {id:#04x} of {capability}, {} bytes, of {conn}", body.len())
            }
            Self::Respond { conn, capability, request_id, id, body } => {
                write!(f, "respond to request {request_id} ({id:#04x} of {capability}) of {conn}, {} bytes", body.len())
            }
            Self::SetHead { head, .. } => write!(f, "new head {}", head.number),
            Self::OfferPeer { contact } => write!(f, "offer peer {:?} at {}", contact.id(), contact.ip()),
            Self::Report { id, delta, reason } => write!(f, "report {id:?}: {delta:+} ({reason})"),
            Self::Ban { target, duration } => write!(f, "ban {target:?} for {} s", duration.as_secs()),
            Self::Unban { target } => write!(f, "unban {target:?}"),
            Self::SetPeerLimits { limits } => write!(f, "peer limits {limits:?}"),
            Self::SetFilter { filter } => write!(f, "filter {:?}", filter.ranges()),
            Self::AddPeerByName { node, kind } => write!(f, "add peer {:?} at {} ({kind:?})", node.key, node.host),
            Self::SetNamedBootnodes { nodes } => write!(f, "{} bootnodes by name", nodes.len()),
            Self::AddEndpoint { contact } => write!(f, "{:?} is at {} too", contact.id(), contact.tcp_addr()),
            Self::SetReach { reach } => write!(f, "reach {reach:?}"),
            Self::SetBootnodes { nodes } => write!(f, "{} bootnodes", nodes.len()),
            Self::SetAddresses { addresses } => write!(f, "addresses {addresses:?}"),
            Self::SetRecordEntry { key, value: Some(_) } => {
                write!(f, "record entry {:?}", String::from_utf8_lossy(key))
            }
            Self::SetRecordEntry { key, value: None } => {
                write!(f, "no record entry {:?}", String::from_utf8_lossy(key))
            }
            Self::SetCapabilities { offered } => write!(f, "capabilities {offered:?}"),
            Self::Shutdown => f.write_str("shut down"),
        }
    }
}
