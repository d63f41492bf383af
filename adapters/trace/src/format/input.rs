//! The codec of inputs. A payload that is in packets before the record is not repeated in it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use peerless::contract::{Answer, ConnId, Input, IoFault, QueryFault, QueryId, SocketId};
use peerless::time::{Duration, UnixTime};

use super::codec::{Decoder, Encode, Malformed};
use super::command::OwnedCommand;
use super::language::Recordable;

/// An [`Input`] that owns its bytes; `C` is the language's command.
#[allow(missing_docs, reason = "the fields are those of `Input`")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedInput<C = OwnedCommand> {
    Datagram { socket: SocketId, from: SocketAddr, bytes: Vec<u8> },
    Incoming { socket: SocketId, from: SocketAddr },
    Connected { conn: ConnId, local: Option<SocketAddr> },
    Bytes { conn: ConnId, bytes: Vec<u8> },
    Wrote { conn: ConnId, n: usize },
    Eof { conn: ConnId },
    Broken { conn: ConnId, why: IoFault },
    WallClock { unix: UnixTime },
    Answer { id: QueryId, result: Result<OwnedAnswer, QueryFault> },
    Timeout,
    Command(C),
}

/// An [`Answer`] that owns its parts.
#[allow(missing_docs, reason = "the fields are those of `Answer`")]
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum OwnedAnswer {
    Txt { records: Vec<Vec<u8>>, ttl: Duration },
    Hosts { addrs: Vec<IpAddr>, ttl: Duration },
}

/// Where an input's payload is stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Payload {
    /// In the record.
    Here,
    /// In the packets to the node since the last record.
    InPackets,
}

pub(crate) fn encode<L: Recordable>(input: &Input<'_, L::Command<'_>>, payload: Payload, out: &mut Vec<u8>) {
    let bytes_of = |out: &mut Vec<u8>, bytes: &[u8]| {
        out.flag(payload == Payload::InPackets);
        match payload {
            Payload::Here => out.bytes(bytes),
            Payload::InPackets => out.count(bytes.len() as u64),
        }
    };
    match *input {
        Input::Datagram { socket, from, bytes } => {
            out.byte(1);
            out.byte(socket.0);
            out.addr(from);
            bytes_of(out, bytes);
        }
        Input::Incoming { socket, from } => {
            out.byte(2);
            out.byte(socket.0);
            out.addr(from);
        }
        Input::Connected { conn, local } => {
            out.byte(3);
            out.count(conn.0);
            out.option(local, Encode::addr);
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
            out.count(unix.as_micros());
        }
        Input::Timeout => out.byte(9),
        Input::Command(command) => {
            out.byte(10);
            L::encode_command(&command, out);
        }
        Input::Answer { id, result } => {
            out.byte(11);
            out.count(id.0);
            match result {
                Ok(Answer::Txt { records, ttl }) => {
                    out.byte(1);
                    out.count(records.len() as u64);
                    records.iter().for_each(|record| out.bytes(record));
                    out.duration(ttl);
                }
                Ok(Answer::Hosts { addrs, ttl }) => {
                    out.byte(2);
                    out.count(addrs.len() as u64);
                    addrs.iter().for_each(|addr| out.ip(*addr));
                    out.duration(ttl);
                }
                Err(fault) => {
                    out.byte(0);
                    out.byte(query_fault_code(fault));
                }
            }
        }
    }
}

/// Decodes an input. `packets` holds the payloads of the packets to the node since the last record.
pub(crate) fn decode<L: Recordable>(
    decoder: &mut Decoder<'_>,
    packets: &mut Vec<u8>,
) -> Result<OwnedInput<L::OwnedCommand>, Malformed> {
    let conn = |decoder: &mut Decoder<'_>| decoder.count().map(ConnId);
    let mut bytes_of = |decoder: &mut Decoder<'_>| {
        if !decoder.flag()? {
            return decoder.bytes().map(<[u8]>::to_vec);
        }
        let bytes = std::mem::take(packets);
        if decoder.size()? == bytes.len() { Ok(bytes) } else { Err(Malformed("input: its packets are not before it")) }
    };
    Ok(match decoder.byte()? {
        1 => {
            OwnedInput::Datagram { socket: SocketId(decoder.byte()?), from: decoder.addr()?, bytes: bytes_of(decoder)? }
        }
        2 => OwnedInput::Incoming { socket: SocketId(decoder.byte()?), from: decoder.addr()? },
        3 => OwnedInput::Connected { conn: conn(decoder)?, local: decoder.option(Decoder::addr)? },
        4 => OwnedInput::Bytes { conn: conn(decoder)?, bytes: bytes_of(decoder)? },
        5 => OwnedInput::Wrote { conn: conn(decoder)?, n: decoder.size()? },
        6 => OwnedInput::Eof { conn: conn(decoder)? },
        7 => OwnedInput::Broken { conn: conn(decoder)?, why: io_fault(decoder.byte()?)? },
        8 => OwnedInput::WallClock { unix: UnixTime::from_micros(decoder.count()?) },
        9 => OwnedInput::Timeout,
        10 => OwnedInput::Command(L::decode_command(decoder)?),
        11 => OwnedInput::Answer {
            id: QueryId(decoder.count()?),
            result: match decoder.byte()? {
                0 => Err(query_fault(decoder.byte()?)?),
                1 => Ok(OwnedAnswer::Txt {
                    records: decoder.list(|decoder| decoder.bytes().map(<[u8]>::to_vec))?,
                    ttl: decoder.duration()?,
                }),
                2 => Ok(OwnedAnswer::Hosts { addrs: decoder.list(Decoder::ip)?, ttl: decoder.duration()? }),
                _ => return Err(Malformed("answer: unknown kind")),
            },
        },
        _ => return Err(Malformed("input: unknown kind")),
    })
}

pub(crate) const fn io_fault_code(why: IoFault) -> u8 {
    match why {
        IoFault::Refused => 1,
        IoFault::Reset => 2,
        IoFault::TimedOut => 3,
        IoFault::Unreachable => 4,
        IoFault::Exhausted => 5,
        // Kinds that the format does not know are read as `Other`.
        _ => 6,
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

pub(crate) fn query_fault_code(fault: QueryFault) -> u8 {
    match fault {
        QueryFault::Unsupported => 1,
        QueryFault::NotFound => 2,
        QueryFault::TimedOut => 3,
        _ => 4,
    }
}

fn query_fault(code: u8) -> Result<QueryFault, Malformed> {
    Ok(match code {
        1 => QueryFault::Unsupported,
        2 => QueryFault::NotFound,
        3 => QueryFault::TimedOut,
        4 => QueryFault::Failed,
        _ => return Err(Malformed("fault of a query")),
    })
}

impl<C> OwnedInput<C> {
    /// Calls `take` with the input as a machine of the language `L` takes it.
    pub fn with_input<L: Recordable<OwnedCommand = C>, T>(
        &self,
        take: impl FnOnce(Input<'_, L::Command<'_>>) -> T,
    ) -> T {
        let records: Vec<&[u8]> = match self {
            Self::Answer { result: Ok(OwnedAnswer::Txt { records, .. }), .. } => {
                records.iter().map(Vec::as_slice).collect()
            }
            _ => Vec::new(),
        };
        take(match self {
            Self::Datagram { socket, from, bytes } => Input::Datagram { socket: *socket, from: *from, bytes },
            Self::Incoming { socket, from } => Input::Incoming { socket: *socket, from: *from },
            Self::Connected { conn, local } => Input::Connected { conn: *conn, local: *local },
            Self::Bytes { conn, bytes } => Input::Bytes { conn: *conn, bytes },
            Self::Wrote { conn, n } => Input::Wrote { conn: *conn, n: *n },
            Self::Eof { conn } => Input::Eof { conn: *conn },
            Self::Broken { conn, why } => Input::Broken { conn: *conn, why: *why },
            Self::WallClock { unix } => Input::WallClock { unix: *unix },
            Self::Timeout => Input::Timeout,
            Self::Command(command) => Input::Command(L::as_command(command)),
            Self::Answer { id, result: Err(fault) } => Input::Answer { id: *id, result: Err(*fault) },
            Self::Answer { id, result: Ok(OwnedAnswer::Hosts { addrs, ttl }) } => {
                Input::Answer { id: *id, result: Ok(Answer::Hosts { addrs, ttl: *ttl }) }
            }
            Self::Answer { id, result: Ok(OwnedAnswer::Txt { ttl, .. }) } => {
                Input::Answer { id: *id, result: Ok(Answer::Txt { records: &records, ttl: *ttl }) }
            }
        })
    }
}

/// One line of text.
impl<C: fmt::Display> fmt::Display for OwnedInput<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Datagram { from, bytes, .. } => write!(f, "datagram of {} bytes from {from}", bytes.len()),
            Self::Incoming { from, .. } => write!(f, "incoming stream from {from}"),
            Self::Connected { conn, .. } => write!(f, "stream {conn} connected"),
            Self::Bytes { conn, bytes } => write!(f, "{} bytes of stream {conn}", bytes.len()),
            Self::Wrote { conn, n } => write!(f, "{n} bytes written to stream {conn}"),
            Self::Eof { conn } => write!(f, "end of stream {conn}"),
            Self::Broken { conn, why } => write!(f, "stream {conn} broken: {why}"),
            Self::WallClock { unix } => write!(f, "wall clock at {}", unix.as_secs()),
            Self::Answer { id, result: Ok(_) } => write!(f, "answer to query {}", id.0),
            Self::Answer { id, result: Err(fault) } => write!(f, "no answer to query {}: {fault}", id.0),
            Self::Timeout => f.write_str("timeout"),
            Self::Command(command) => write!(f, "command: {command}"),
        }
    }
}

#[cfg(test)]
mod tests;
