//! The codec of inputs. A payload that stands in packets before the record is not repeated in it.

use std::fmt;
use std::net::SocketAddr;

use peerless::contract::{Command, ConnId, Input, IoFault, PeerKind};
use peerless::crypto::NodeId;
use peerless::time::UnixTime;
use peerless::wire::enode::Contact;
use peerless::wire::forkid::Head;
use peerless::wire::p2p::{Capability, DisconnectReason};

use super::codec::{Decoder, Encode, Malformed};
use super::config::{decode_head, encode_head};

/// An [`Input`] that owns its bytes.
#[allow(missing_docs, reason = "the fields are those of `Input`")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedInput {
    Datagram { from: SocketAddr, bytes: Vec<u8> },
    Incoming { from: SocketAddr },
    Connected { conn: ConnId },
    Bytes { conn: ConnId, bytes: Vec<u8> },
    Wrote { conn: ConnId, n: usize },
    Eof { conn: ConnId },
    Broken { conn: ConnId, why: IoFault },
    WallClock { unix: UnixTime },
    Timeout,
    Command(OwnedCommand),
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
    Ping { contact: Contact },
    RequestRecord { contact: Contact },
    FindNode { contact: Contact, target: Box<[u8; 64]> },
    Lookup { target: Box<[u8; 64]> },
    Send { conn: ConnId, capability: Capability, id: u64, payload: Vec<u8> },
    Request { conn: ConnId, capability: Capability, id: u64, body: Vec<u8> },
    Respond { conn: ConnId, capability: Capability, request_id: u64, id: u64, body: Vec<u8> },
    SetHead { head: Head, earliest: u64 },
    Shutdown,
}

/// Where an input's payload is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    /// In the record.
    Here,
    /// In the received packets since the last record.
    InPackets,
}

pub(crate) fn encode(input: &Input<'_>, payload: Payload, out: &mut Vec<u8>) {
    let bytes_of = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.flag(payload == Payload::InPackets);
        match payload {
            Payload::Here => out.bytes(bytes),
            Payload::InPackets => out.count(bytes.len() as u64),
        }
    };
    match *input {
        Input::Datagram { from, bytes } => {
            out.byte(1);
            out.addr(from);
            bytes_of(out, bytes);
        }
        Input::Incoming { from } => {
            out.byte(2);
            out.addr(from);
        }
        Input::Connected { conn } => {
            out.byte(3);
            out.count(conn.0);
        }
        Input::Bytes { conn, bytes } => {
            out.byte(4);
            out.count(conn.0);
            bytes_of(out, bytes);
        }
        Input::Wrote { conn, n } => {
            out.byte(5);
            out.count(conn.0);
            out.count(n as u64);
        }
        Input::Eof { conn } => {
            out.byte(6);
            out.count(conn.0);
        }
        Input::Broken { conn, why } => {
            out.byte(7);
            out.count(conn.0);
            out.byte(io_fault_code(why));
        }
        Input::WallClock { unix } => {
            out.byte(8);
            out.count(unix.as_secs());
        }
        Input::Timeout => out.byte(9),
        Input::Command(command) => {
            out.byte(10);
            encode_command(&command, out);
        }
    }
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
        Command::Ping { contact } => with_contact(out, 6, contact),
        Command::RequestRecord { contact } => with_contact(out, 7, contact),
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
            out.byte(15);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*id);
            out.bytes(body);
        }
        Command::Respond { conn, capability, request_id, id, body } => {
            out.byte(16);
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
    }
}

/// Reads an input. `packets` is what the received packets since the last record carried.
pub(crate) fn decode(decoder: &mut Decoder<'_>, packets: &mut Vec<u8>) -> Result<OwnedInput, Malformed> {
    let conn = |decoder: &mut Decoder<'_>| decoder.count().map(ConnId);
    let mut bytes_of = |decoder: &mut Decoder<'_>| {
        if !decoder.flag()? {
            return decoder.bytes().map(<[u8]>::to_vec);
        }
        let bytes = std::mem::take(packets);
        if decoder.size()? == bytes.len() { Ok(bytes) } else { Err(Malformed("input: its packets are not before it")) }
    };
    Ok(match decoder.byte()? {
        1 => OwnedInput::Datagram { from: decoder.addr()?, bytes: bytes_of(decoder)? },
        2 => OwnedInput::Incoming { from: decoder.addr()? },
        3 => OwnedInput::Connected { conn: conn(decoder)? },
        4 => OwnedInput::Bytes { conn: conn(decoder)?, bytes: bytes_of(decoder)? },
        5 => OwnedInput::Wrote { conn: conn(decoder)?, n: decoder.size()? },
        6 => OwnedInput::Eof { conn: conn(decoder)? },
        7 => OwnedInput::Broken { conn: conn(decoder)?, why: io_fault(decoder.byte()?)? },
        8 => OwnedInput::WallClock { unix: UnixTime::from_secs(decoder.count()?) },
        9 => OwnedInput::Timeout,
        10 => OwnedInput::Command(decode_command(decoder)?),
        _ => return Err(Malformed("input: unknown kind")),
    })
}

/// The capability of a request or answer in a trace that does not tell it; no session shares it. It was the session's eth.
pub(crate) const UNRECORDED: Capability = Capability::eth(0);

fn encode_capability(capability: Capability, out: &mut Vec<u8>) {
    out.text(capability.name());
    out.count(capability.version.into());
}

fn decode_capability(decoder: &mut Decoder<'_>) -> Result<Capability, Malformed> {
    let name = decoder.text()?;
    let version = u32::try_from(decoder.count()?).map_err(|_| Malformed("capability"))?;
    Capability::new(name, version).map_err(|_| Malformed("capability"))
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
        6 => OwnedCommand::Ping { contact: decoder.contact()? },
        7 => OwnedCommand::RequestRecord { contact: decoder.contact()? },
        8 => OwnedCommand::FindNode { contact: decoder.contact()?, target: target(decoder)? },
        9 => OwnedCommand::Lookup { target: target(decoder)? },
        10 => {
            let conn = conn(decoder)?;
            let capability = decode_capability(decoder)?;
            OwnedCommand::Send { conn, capability, id: decoder.count()?, payload: body(decoder)? }
        }
        11 => OwnedCommand::Request {
            conn: conn(decoder)?,
            capability: UNRECORDED,
            id: decoder.count()?,
            body: body(decoder)?,
        },
        12 => OwnedCommand::Respond {
            conn: conn(decoder)?,
            capability: UNRECORDED,
            request_id: decoder.count()?,
            id: decoder.count()?,
            body: body(decoder)?,
        },
        15 => OwnedCommand::Request {
            conn: conn(decoder)?,
            capability: decode_capability(decoder)?,
            id: decoder.count()?,
            body: body(decoder)?,
        },
        16 => OwnedCommand::Respond {
            conn: conn(decoder)?,
            capability: decode_capability(decoder)?,
            request_id: decoder.count()?,
            id: decoder.count()?,
            body: body(decoder)?,
        },
        13 => OwnedCommand::SetHead { head: decode_head(decoder)?, earliest: decoder.count()? },
        14 => OwnedCommand::Shutdown,
        _ => return Err(Malformed("command: unknown kind")),
    })
}

pub(crate) const fn io_fault_code(why: IoFault) -> u8 {
    match why {
        IoFault::Refused => 1,
        IoFault::Reset => 2,
        IoFault::TimedOut => 3,
        IoFault::Unreachable => 4,
        IoFault::Exhausted => 5,
        IoFault::Other => 6,
    }
}

fn io_fault(code: u8) -> Result<IoFault, Malformed> {
    Ok(match code {
        1 => IoFault::Refused,
        2 => IoFault::Reset,
        3 => IoFault::TimedOut,
        4 => IoFault::Unreachable,
        5 => IoFault::Exhausted,
        6 => IoFault::Other,
        _ => return Err(Malformed("fault of a stream")),
    })
}

const fn kind_code(kind: PeerKind) -> u8 {
    match kind {
        PeerKind::Ordinary => 0,
        PeerKind::Static => 1,
        PeerKind::Trusted => 2,
    }
}

fn kind(code: u8) -> Result<PeerKind, Malformed> {
    Ok(match code {
        0 => PeerKind::Ordinary,
        1 => PeerKind::Static,
        2 => PeerKind::Trusted,
        _ => return Err(Malformed("kind of a peer")),
    })
}

/// The code on the wire, and one beyond a byte for what had none.
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

impl OwnedInput {
    /// To hand to a node.
    pub fn as_input(&self) -> Input<'_> {
        match self {
            Self::Datagram { from, bytes } => Input::Datagram { from: *from, bytes },
            Self::Incoming { from } => Input::Incoming { from: *from },
            Self::Connected { conn } => Input::Connected { conn: *conn },
            Self::Bytes { conn, bytes } => Input::Bytes { conn: *conn, bytes },
            Self::Wrote { conn, n } => Input::Wrote { conn: *conn, n: *n },
            Self::Eof { conn } => Input::Eof { conn: *conn },
            Self::Broken { conn, why } => Input::Broken { conn: *conn, why: *why },
            Self::WallClock { unix } => Input::WallClock { unix: *unix },
            Self::Timeout => Input::Timeout,
            Self::Command(command) => Input::Command(command.as_command()),
        }
    }
}

impl OwnedCommand {
    /// To hand to a node.
    pub fn as_command(&self) -> Command<'_> {
        match self {
            Self::AddPeer { contact, kind } => Command::AddPeer { contact: *contact, kind: *kind },
            Self::RemovePeer { id } => Command::RemovePeer { id: *id },
            Self::Dial { contact } => Command::Dial { contact: *contact },
            Self::Disconnect { conn, reason } => Command::Disconnect { conn: *conn, reason: *reason },
            Self::AddNode { contact } => Command::AddNode { contact: *contact },
            Self::Ping { contact } => Command::Ping { contact: *contact },
            Self::RequestRecord { contact } => Command::RequestRecord { contact: *contact },
            Self::FindNode { contact, target } => Command::FindNode { contact: *contact, target: **target },
            Self::Lookup { target } => Command::Lookup { target: **target },
            Self::Send { conn, capability, id, payload } => {
                Command::Send { conn: *conn, capability: *capability, id: *id, payload }
            }
            Self::Request { conn, capability, id, body } => {
                Command::Request { conn: *conn, capability: *capability, id: *id, body }
            }
            Self::Respond { conn, capability, request_id, id, body } => {
                let (conn, capability) = (*conn, *capability);
                Command::Respond { conn, capability, request_id: *request_id, id: *id, body }
            }
            Self::SetHead { head, earliest } => Command::SetHead { head: *head, earliest: *earliest },
            Self::Shutdown => Command::Shutdown,
        }
    }
}

/// One line for people.
impl fmt::Display for OwnedInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { from, bytes } => write!(f, "datagram of {} bytes from {from}", bytes.len()),
            Self::Incoming { from } => write!(f, "incoming stream from {from}"),
            Self::Connected { conn } => write!(f, "stream {conn} connected"),
            Self::Bytes { conn, bytes } => write!(f, "{} bytes of stream {conn}", bytes.len()),
            Self::Wrote { conn, n } => write!(f, "{n} bytes written to stream {conn}"),
            Self::Eof { conn } => write!(f, "end of stream {conn}"),
            Self::Broken { conn, why } => write!(f, "stream {conn} broken: {why}"),
            Self::WallClock { unix } => write!(f, "wall clock at {}", unix.as_secs()),
            Self::Timeout => f.write_str("timeout"),
            Self::Command(command) => write!(f, "command: {command}"),
        }
    }
}

/// One line for people.
impl fmt::Display for OwnedCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AddPeer { contact, kind } => write!(f, "add peer {:?} at {} ({kind:?})", contact.id, contact.ip),
            Self::RemovePeer { id } => write!(f, "remove peer {id:?}"),
            Self::Dial { contact } => write!(f, "dial {:?} at {}", contact.id, contact.tcp_addr()),
            Self::Disconnect { conn, reason } => write!(f, "disconnect {conn}: {reason}"),
            Self::AddNode { contact } => write!(f, "add node {:?} at {}", contact.id, contact.udp_addr()),
            Self::Ping { contact } => write!(f, "ping {:?} at {}", contact.id, contact.udp_addr()),
            Self::RequestRecord { contact } => write!(f, "request the record of {:?}", contact.id),
            Self::FindNode { contact, .. } => write!(f, "find node, asking {:?}", contact.id),
            Self::Lookup { .. } => f.write_str("lookup"),
            Self::Send { conn, capability, id, payload } => {
                write!(f, "send message {id:#04x} of {capability}, {} bytes, to {conn}", payload.len())
            }
            Self::Request { conn, id, body, .. } => write!(f, "request {id:#04x}, {} bytes, of {conn}", body.len()),
            Self::Respond { conn, request_id, id, body, .. } => {
                write!(f, "respond to request {request_id} ({id:#04x}) of {conn} with {} bytes", body.len())
            }
            Self::SetHead { head, .. } => write!(f, "new head {}", head.number),
            Self::Shutdown => f.write_str("shut down"),
        }
    }
}

#[cfg(test)]
mod tests;
