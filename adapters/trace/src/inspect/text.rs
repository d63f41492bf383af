//! Findings as text: one line each.

use std::fmt;

use peerless::wire::discv4;
use peerless::wire::eth::ChainState;

use super::Totals;
use super::finding::{Content, Finding, How, Message, Place, What};
use crate::capture::Stamp;

/// Bytes of unknown content in a line.
const SHOWN_BYTES_MAX: usize = 32;

/// Formats the time of day, UTC, in microseconds.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, microseconds) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000 / 1000);
        let (hours, minutes) = (seconds / 3600 % 24, seconds / 60 % 60);
        write!(f, "{hours:02}:{minutes:02}:{:02}.{microseconds:06}", seconds % 60)
    }
}

/// Formats a finding: time, sender, receiver, content.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "{at} ")?,
            None => write!(f, "{:15} ", "")?,
        }
        self.fmt_timeless(f)
    }
}

impl Finding {
    /// Formats a finding without its time, the part that two captures of one conversation have in common.
    fn fmt_timeless(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Place { conn, from, to, .. }) = &self.place {
            if let Some(conn) = conn {
                write!(f, "#{conn} ")?;
            }
            write!(f, "{from} > {to}  ")?;
        }
        match &self.what {
            What::Message(_) => {}
            _ => write!(f, "{} ", self.protocol())?,
        }
        write!(f, "{}", self.what)
    }

    /// Formats the content of a finding.
    pub fn timeless(&self) -> String {
        struct Timeless<'a>(&'a Finding);
        impl fmt::Display for Timeless<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt_timeless(f)
            }
        }
        Timeless(self).to_string()
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Discv4(packet) => discovery(f, packet),
            Self::Discv5 { flag, nonce, bytes } => {
                let name = ["message", "WHOAREYOU", "handshake"].get(usize::from(*flag)).unwrap_or(&"of unknown flag");
                write!(f, "{name}, nonce {}, {bytes} bytes, not decrypted", const_hex::encode(nonce))
            }
            Self::Begun { from_start: true } => f.write_str("begins"),
            Self::Begun { from_start: false } => f.write_str("begins before the capture"),
            Self::Auth { session, bytes, opened } => {
                write!(f, "auth, {bytes} bytes, session {}", const_hex::encode(session))?;
                match opened {
                    None => Ok(()),
                    Some(opened) => {
                        write!(f, ", from node {} to node {}", opened.initiator, opened.recipient)?;
                        if opened.ephemeral.is_none() { f.write_str(", with an invalid signature") } else { Ok(()) }
                    }
                }
            }
            Self::Ack { bytes, opened, has_secrets } => {
                write!(f, "ack, {bytes} bytes")?;
                if let Some(opened) = opened {
                    write!(f, ", to node {}", opened.initiator)?;
                }
                if *has_secrets { Ok(()) } else { f.write_str("; no secrets: frames stay sealed") }
            }
            Self::Message(message) => write!(f, "{message}"),
            Self::Sealed { bytes } => write!(f, "{bytes} bytes sealed"),
            Self::Gap { bytes } => write!(f, "{bytes} bytes were not captured"),
            Self::Unknown { why, bytes, total } => write!(f, "unknown: {why}: {}", Bytes(bytes, *total)),
            Self::Broken { why, bytes, total } => write!(f, "broken: {why}: {}", Bytes(bytes, *total)),
            Self::Ended { how, bytes } => write!(f, "{how}, after {bytes} bytes"),
        }
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Replaced => "replaced by another connection of the same addresses",
            Self::Forgotten => "no longer followed: too many connections",
            Self::CaptureEnd => "open when the capture ends",
        })
    }
}

/// Formats the first bytes, and the number of all.
struct Bytes<'a>(&'a [u8], u64);

impl fmt::Display for Bytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(bytes, total) = self;
        let shown = bytes.get(..SHOWN_BYTES_MAX).unwrap_or(bytes);
        let more = if (shown.len() as u64) < *total { ".." } else { "" };
        write!(f, "{total} bytes {}{more}", const_hex::encode(shown))
    }
}

fn discovery(f: &mut fmt::Formatter<'_>, packet: &discv4::Packet) -> fmt::Result {
    let enr = |f: &mut fmt::Formatter<'_>, seq: &Option<u64>| match seq {
        Some(seq) => write!(f, ", record {seq}"),
        None => Ok(()),
    };
    match packet {
        discv4::Packet::Ping { version, from, enr_seq, .. } => {
            write!(f, "Ping, version {version}, ports {}/{}", from.udp, from.tcp)?;
            enr(f, enr_seq)
        }
        discv4::Packet::Pong { to, ping_hash, enr_seq, .. } => {
            write!(f, "Pong to {}", const_hex::encode(&ping_hash[..4]))?;
            if let Some(addr) = to.udp_addr() {
                write!(f, ", seen as {addr}")?;
            }
            enr(f, enr_seq)
        }
        discv4::Packet::FindNode { target, .. } => write!(f, "FindNode {}..", const_hex::encode(&target[..8])),
        discv4::Packet::Neighbors { nodes, .. } => write!(f, "Neighbors, {} nodes", nodes.len()),
        discv4::Packet::EnrRequest { .. } => f.write_str("ENRRequest"),
        discv4::Packet::EnrResponse { record, .. } => write!(f, "ENRResponse, {} bytes of record", record.len()),
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.capability {
            Some(capability) => write!(f, "{capability} ")?,
            None if self.is_base() => f.write_str("p2p ")?,
            None => f.write_str("unknown capability ")?,
        }
        match self.name {
            Some(name) => f.write_str(name)?,
            None => write!(f, "message {:#04x}", self.id)?,
        }
        match &self.content {
            Content::Opaque if self.name.is_none() => {
                write!(f, ": {}", Bytes(&self.payload, self.payload.len() as u64))
            }
            Content::Opaque => Ok(()),
            Content::Hello(hello) => {
                let capabilities: Vec<String> = hello.capabilities.iter().map(ToString::to_string).collect();
                write!(f, " {}, p2p/{}, {}", hello.client, hello.version, capabilities.join(" "))
            }
            Content::Disconnect(reason) => write!(f, " {:#04x}, {reason}", reason.code()),
            Content::Status(status) => {
                write!(f, " network {}, genesis {}", status.network_id, short(&status.genesis))?;
                write!(f, ", fork {}/{}", const_hex::encode(status.fork_id.hash), status.fork_id.next)?;
                match &status.chain {
                    ChainState::Difficulty { head, .. } => write!(f, ", head {}", short(head)),
                    ChainState::Range(range) => {
                        write!(f, ", blocks {}..={} {}", range.earliest, range.latest, short(&range.latest_hash))
                    }
                }
            }
            Content::BlockRange(range) => {
                write!(f, " {}..={} {}", range.earliest, range.latest, short(&range.latest_hash))
            }
            Content::HeaderQuery { request_id, start, amount, skip, reverse } => {
                write!(f, " request {request_id}: {amount} from {start}")?;
                if *skip > 0 {
                    write!(f, ", every {}", skip.saturating_add(1))?;
                }
                if *reverse { f.write_str(", backwards") } else { Ok(()) }
            }
            Content::Items { request_id, count } => {
                if let Some(request_id) = request_id {
                    write!(f, " request {request_id}")?;
                }
                if let Some(count) = count {
                    write!(f, ": {count} {}", if *count == 1 { "item" } else { "items" })?;
                }
                Ok(())
            }
            Content::Malformed(why) => {
                write!(f, " malformed ({why}): {}", Bytes(&self.payload, self.payload.len() as u64))
            }
        }?;
        write!(f, " ({} bytes)", self.payload.len())
    }
}

fn short(hash: &[u8; 32]) -> String {
    const_hex::encode(&hash[..4]) + ".."
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} packets: {} datagrams, {} segments of {} connections, {} others; {} messages, {} unknown, {} broken",
            self.packets,
            self.datagrams,
            self.segments,
            self.connections,
            self.other_packets,
            self.messages,
            self.unknown,
            self.broken
        )?;
        if self.fragments > 0 {
            write!(f, "; {} fragments, {} packets never whole", self.fragments, self.fragmented_lost)?;
        }
        Ok(())
    }
}
