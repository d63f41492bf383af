//! One message between a frame's body and the outbox: its id, its size, and Snappy. Its content is read
//! elsewhere.

use alloc::boxed::Box;

use crate::contract::{Cx, Fault, Outbound};
use crate::limits;
use crate::rlpx::frames::{Sealer, TooLarge};
use crate::rlpx::session::Expects;
use crate::wire::DecodeError;
use crate::wire::p2p::{self, DisconnectReason, Hello, Shared};
use crate::wire::schema::Role;
use crate::wire::snappy;

/// A Disconnect that inflates to more than this has no readable reason.
const DISCONNECT_BYTES_MAX: usize = 64;
/// A message id of the shared space, encoded.
const MESSAGE_ID_BYTES_MAX: usize = 9;

/// A frame's body, read.
pub(super) enum Received {
    Hello(Box<Hello>),
    Disconnect(DisconnectReason),
    Ping,
    Pong,
    /// A message of a capability. Its payload is staged in the outbox.
    Message {
        /// Index of the capability in the list of shared ones.
        index: usize,
        /// Message id, relative to the capability's offset.
        id: u64,
    },
    /// A base message that is not known.
    Ignored,
}

/// Appends a frame with one message; its payload is the concatenation of `payload`.
pub(super) fn seal(
    sealer: &mut Sealer,
    cx: &mut Cx<'_>,
    out: &mut Outbound,
    id: u64,
    payload: &[&[u8]],
    snappy: bool,
) -> Result<(), TooLarge> {
    let before = out.end();
    let tail = out.tail();
    let start = sealer.begin(tail);
    p2p::append_message_id(id, tail);
    if snappy {
        cx.snappy.append(payload, tail);
    } else {
        payload.iter().for_each(|part| tail.extend_from_slice(part));
    }
    sealer.finish(cx.crypto, tail, start)?;
    let sealed = (out.end() - before) as usize;
    cx.stats.frames_out.add(sealed);
    cx.work.frame();
    cx.work.wire_bytes(sealed);
    if snappy {
        cx.work.inflated_bytes(payload.iter().map(|part| part.len()).sum());
    }
    Ok(())
}

/// Size of the largest frame body: the largest message of the base protocol and of the shared capabilities, each of which
/// `largest` returns, compressed as badly as can be.
pub(super) fn body_bytes_max(shared: &[Shared], largest: impl Fn(&Shared) -> usize, snappy: bool) -> usize {
    let message = shared.iter().map(largest).max().unwrap_or(0).max(limits::BASE_MESSAGE_BYTES_MAX);
    let payload = if snappy { snappy::compressed_len_max(message) } else { message };
    (payload + MESSAGE_ID_BYTES_MAX).min(limits::MESSAGE_BYTES_MAX)
}

/// Reads the body of a frame that came before the peer's Hello: only Hello and Disconnect may.
pub(super) fn read_first(body: &[u8]) -> Result<Received, Fault> {
    match split(body)? {
        (p2p::id::DISCONNECT, payload) => Ok(Received::Disconnect(read_disconnect(payload))),
        (p2p::id::HELLO, payload) => Ok(Received::Hello(Box::new(Hello::decode(payload).map_err(Fault::Message)?))),
        _ => Err(Fault::HelloExpected),
    }
}

/// Reads the body of a later frame. The payload of a capability's message is inflated straight into the outbox; that of a
/// message that is a fault in any case is not.
pub(super) fn read(
    cx: &mut Cx<'_>,
    shared: &[Shared],
    expects: &dyn Expects,
    snappy: bool,
    body: &[u8],
) -> Result<Received, Fault> {
    let (id, payload) = split(body)?;
    match id {
        p2p::id::DISCONNECT => return Ok(Received::Disconnect(read_disconnect(payload))),
        p2p::id::HELLO => return Err(Fault::HelloTwice),
        _ => {}
    }
    if id < p2p::id::CAPABILITIES {
        if payload.len() > limits::BASE_MESSAGE_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        return Ok(match id {
            p2p::id::PING => Received::Ping,
            p2p::id::PONG => Received::Pong,
            _ => Received::Ignored,
        });
    }
    let owner = |(index, shared): (usize, &Shared)| Some((index, *shared, shared.relative(id)?));
    let (index, shared, id) = shared.iter().enumerate().find_map(owner).ok_or(Fault::UnknownMessage)?;
    let payload_bytes = match shared.role(id) {
        Some(Role::Forbidden) => 0,
        Some(Role::Response) if !expects.awaits(index, id) => 0,
        _ => stage_payload(cx, snappy, payload, shared.bytes_max(id))?,
    };
    cx.stats.messages_in.entry((shared.capability, id)).or_default().add(payload_bytes);
    Ok(Received::Message { index, id })
}

fn split(body: &[u8]) -> Result<(u64, &[u8]), Fault> {
    if body.is_empty() {
        return Err(Fault::EmptyFrame);
    }
    p2p::split_message(body).map_err(Fault::Message)
}

/// Puts an uncompressed payload into the outbox; returns its size.
fn stage_payload(cx: &mut Cx<'_>, snappy: bool, payload: &[u8], bytes_max: usize) -> Result<usize, Fault> {
    if !snappy {
        if payload.len() > bytes_max {
            return Err(Fault::TooLarge);
        }
        cx.out.stage(payload.len()).copy_from_slice(payload);
        return Ok(payload.len());
    }
    let len = snappy::inflated_len(payload, bytes_max).map_err(|error| match error {
        DecodeError::TooLarge => Fault::TooLarge,
        _ => Fault::Snappy,
    })?;
    cx.work.inflated_bytes(len);
    if snappy::inflate(payload, cx.out.stage(len)).is_err() {
        cx.out.discard_staged();
        return Err(Fault::Snappy);
    }
    Ok(len)
}

/// Reads a Disconnect as it stands and, if that makes no sense, inflated: peers do not agree on when to compress it, and
/// no payload makes sense both ways.
fn read_disconnect(payload: &[u8]) -> DisconnectReason {
    let reason = DisconnectReason::decode(payload);
    let mut buffer = [0; DISCONNECT_BYTES_MAX];
    if reason == DisconnectReason::Unreadable
        && let Ok(len) = snappy::inflated_len(payload, buffer.len())
        && snappy::inflate(payload, &mut buffer[..len]).is_ok()
    {
        return DisconnectReason::decode(&buffer[..len]);
    }
    reason
}
