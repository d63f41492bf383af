//! A session after the handshake (`rlpx.md`, "p2p Capability" and "Message ID-based Multiplexing"): Hello both ways, pings
//! and pongs, Disconnect, and the messages of the capabilities that both sides have.
//!
//! It says Hello by itself and answers pings by itself; when it finds a fault or a timeout it has queued its last words
//! before it tells. It never reads what a capability's message says, never closes a stream, and leaves the deadline for
//! writing to whoever owns the stream. Snappy applies once both sides have said version 5 (EIP-706).

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::fmt;

use super::frames::{self, Sealer, TooLarge};
use super::{Agreed, Frames};
use crate::contract::{CommandError, ConnTimer, Cx, EndReason, Fault, Outbound};
use crate::crypto::PublicKey;
use crate::limits;
use crate::time::{Duration, Instant};
use crate::wire::DecodeError;
use crate::wire::p2p::{
    self, Capability, CapabilityTable, DisconnectReason, EMPTY_PAYLOAD, Hello, P2P_VERSION, P2P_VERSION_MIN, Shared,
};
use crate::wire::snappy;

/// A Disconnect that inflates to more than this says nothing.
const DISCONNECT_BYTES_MAX: usize = 64;
/// A message id of the shared space, encoded.
const MESSAGE_ID_BYTES_MAX: usize = 9;

/// What we say of ourselves, once for all sessions.
#[derive(Clone, Debug)]
pub struct LocalHello {
    hello: Hello,
    payload: Vec<u8>,
    table: CapabilityTable,
}

/// A Hello that cannot be said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum InvalidHello {
    /// No peer reads more than [`limits::HELLO_BYTES_MAX`].
    TooLarge,
    /// A capability whose number of messages is not in the table.
    Unregistered(Capability),
}

impl fmt::Display for InvalidHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge => f.write_str("the Hello is too large"),
            Self::Unregistered(capability) => write!(f, "{capability} is offered but not registered"),
        }
    }
}

impl core::error::Error for InvalidHello {}

impl LocalHello {
    /// Our Hello, and the table by which messages get their ids.
    ///
    /// # Errors
    /// If peers could not read it, or it offers what the table does not know.
    pub fn new(hello: Hello, table: CapabilityTable) -> Result<Self, InvalidHello> {
        if let Some(unknown) = hello.capabilities.iter().find(|offered| table.length(**offered).is_none()) {
            return Err(InvalidHello::Unregistered(*unknown));
        }
        let payload = hello.encode();
        if payload.len() > limits::HELLO_BYTES_MAX || hello.capabilities.len() > limits::CAPABILITIES_MAX {
            return Err(InvalidHello::TooLarge);
        }
        Ok(Self { hello, payload, table })
    }

    /// The message.
    pub fn hello(&self) -> &Hello {
        &self.hello
    }
}

/// What has come of some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Nothing to tell; all bytes are taken.
    Pending,
    /// The peer's [`Session::hello`] was accepted, and messages may be sent. There may be more bytes.
    Hello,
    /// A message of a shared capability; its payload is staged in the outbox. There may be more bytes.
    Message {
        /// Of which capability.
        capability: Capability,
        /// Message id, relative to the capability's offset.
        id: u64,
    },
    /// The peer has ended the session.
    Disconnected(DisconnectReason),
    /// The peer has broken the protocol and been told so, if it can be told anything.
    Fault(Fault),
}

/// One side of a session.
pub struct Session {
    key: PublicKey,
    frames: Frames,
    phase: Phase,
    /// What the peer has said of itself, accepted or not.
    hello: Option<Box<Hello>>,
    /// Whether both sides compress; false until the peer's Hello.
    snappy: bool,
}

enum Phase {
    /// We have said Hello, the peer has not.
    Hello {
        deadline: Instant,
    },
    Open(Open),
    /// We have said our last words, and listen for nothing but theirs.
    Leaving,
    /// Nothing is read or written any more.
    Over,
}

struct Open {
    shared: Vec<Shared>,
    /// When bytes came last.
    heard: Instant,
    next_ping: Instant,
    /// Where our last ping ends in the outbound stream.
    ping_end: u64,
    /// Where our last pong ends in the outbound stream.
    pong_end: u64,
    /// Up to when the peer's pings are paid for, at one a second.
    pings_paid: Instant,
}

/// What a frame's body says.
enum Heard {
    Hello(Box<Hello>),
    Disconnect(DisconnectReason),
    Ping,
    /// Staged in the outbox.
    Message(Capability, u64),
    /// A pong, or a base message that is not known.
    Nothing,
}

impl Session {
    /// A session with the frames of a completed handshake. Says Hello.
    pub fn new(cx: &mut Cx<'_>, agreed: Agreed, local: &LocalHello, out: &mut Outbound) -> Self {
        let Agreed { key, frames, .. } = agreed;
        let phase = Phase::Hello { deadline: cx.now + limits::HELLO_TIMEOUT };
        let mut session = Self { key, frames, phase, hello: None, snappy: false };
        session.say(cx, out, p2p::id::HELLO, &local.payload);
        session
    }

    /// The peer's public key, which the handshake has proved.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// What the peer has said of itself, once it has; also if the session was then ended for it.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_deref()
    }

    /// The capabilities that both sides have; none before the peer's Hello or after the end.
    pub fn shared(&self) -> &[Shared] {
        match &self.phase {
            Phase::Open(open) => &open.shared,
            Phase::Hello { .. } | Phase::Leaving | Phase::Over => &[],
        }
    }

    /// Whether messages are compressed.
    pub fn snappy(&self) -> bool {
        self.snappy
    }

    /// Whether one of the two sides has ended the session.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Leaving | Phase::Over)
    }

    /// Whether nothing that the peer may still say matters: it has said its own last words, or cannot be understood.
    pub fn is_heard_out(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes from `bytes` as many as the next step needs. Call again until it is [`Step::Pending`].
    pub fn handle_bytes(&mut self, cx: &mut Cx<'_>, local: &LocalHello, bytes: &mut &[u8], out: &mut Outbound) -> Step {
        loop {
            let body_bytes_max = match &mut self.phase {
                Phase::Hello { .. } => limits::HELLO_BYTES_MAX + 1,
                Phase::Open(open) => {
                    if !bytes.is_empty() {
                        open.heard = cx.now;
                    }
                    open.body_bytes_max(self.snappy)
                }
                Phase::Leaving => {
                    self.hear_out(cx, bytes);
                    return Step::Pending;
                }
                Phase::Over => {
                    *bytes = &[];
                    return Step::Pending;
                }
            };
            let heard = match self.frames.opener.handle_bytes(cx.crypto, bytes, body_bytes_max) {
                Ok(None) => return Step::Pending,
                Ok(Some(body)) => {
                    cx.stats.frames_in.add(frames::frame_bytes(body.len()));
                    read(cx, &self.phase, self.snappy, body)
                }
                Err(fault) => Err(fault),
            };
            let step = match heard {
                Ok(Heard::Nothing) => continue,
                Ok(Heard::Ping) => match self.answer_ping(cx, out) {
                    Ok(()) => continue,
                    Err(fault) => Err(fault),
                },
                Ok(Heard::Hello(hello)) => self.accept_hello(cx, local, hello).map(|()| Step::Hello),
                Ok(Heard::Message(capability, id)) => Ok(Step::Message { capability, id }),
                Ok(Heard::Disconnect(reason)) => {
                    self.phase = Phase::Over;
                    Ok(Step::Disconnected(reason))
                }
                Err(fault) => Err(fault),
            };
            return step.unwrap_or_else(|fault| {
                match fault.disconnect_reason() {
                    Some(reason) => self.disconnect(cx, out, reason),
                    None => self.phase = Phase::Over,
                }
                Step::Fault(fault)
            });
        }
    }

    /// The next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, ConnTimer)> {
        match &self.phase {
            Phase::Hello { deadline } => Some((*deadline, ConnTimer::Hello)),
            Phase::Open(open) => Some(open.idle_at().min((open.next_ping, ConnTimer::Ping))),
            Phase::Leaving | Phase::Over => None,
        }
    }

    /// Pings, or ends the session with a peer that is not heard of. A peer that is not being read (`reading` is false)
    /// is not blamed for its silence.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, reading: bool) -> Option<EndReason> {
        let timer = match &mut self.phase {
            Phase::Hello { deadline } => (*deadline <= cx.now).then_some(ConnTimer::Hello)?,
            Phase::Open(open) => {
                if !reading {
                    open.heard = cx.now;
                }
                if cx.now < open.idle_at().0 {
                    self.ping(cx, out);
                    return None;
                }
                ConnTimer::Idle
            }
            Phase::Leaving | Phase::Over => return None,
        };
        self.disconnect(cx, out, DisconnectReason::PingTimeout);
        Some(EndReason::Timeout(timer))
    }

    /// Queues a message of a shared capability; its payload is the concatenation of `payload`.
    ///
    /// # Errors
    /// [`CommandError::Busy`] while [`limits::OUTBOUND_BYTES_MAX`] or more wait for the socket; otherwise if the session
    /// is not open, does not share the capability, or the message is none of its.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        capability: Capability,
        id: u64,
        payload: &[&[u8]],
    ) -> Result<(), CommandError> {
        let open = match &self.phase {
            Phase::Hello { .. } => return Err(CommandError::NotEstablished),
            Phase::Leaving | Phase::Over => return Err(CommandError::UnknownConn),
            Phase::Open(open) => open,
        };
        let shared = open.shared.iter().find(|shared| shared.capability == capability);
        let shared = shared.ok_or(CommandError::NotShared)?;
        if id >= shared.length {
            return Err(CommandError::UnknownMessage);
        }
        let payload_bytes = payload.iter().fold(0usize, |bytes, part| bytes.saturating_add(part.len()));
        if payload_bytes > capability.message_bytes_max() {
            return Err(CommandError::TooLarge);
        }
        if out.len() >= limits::OUTBOUND_BYTES_MAX {
            return Err(CommandError::Busy);
        }
        seal(&mut self.frames.sealer, cx, out, shared.offset + id, payload, self.snappy)
            .map_err(|_| CommandError::TooLarge)?;
        cx.stats.messages_out.entry((capability, id)).or_default().add(payload_bytes);
        Ok(())
    }

    /// Ends the session: queues our last words, unless it is over already. Uncompressed while the peer has not said which
    /// version it speaks.
    pub fn disconnect(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, reason: DisconnectReason) {
        if !self.is_over() {
            self.say(cx, out, p2p::id::DISCONNECT, &reason.encode());
            self.phase = Phase::Leaving;
        }
    }

    /// Passes over everything but a Disconnect: two that leave at once need not wait for each other.
    fn hear_out(&mut self, cx: &mut Cx<'_>, bytes: &mut &[u8]) {
        loop {
            match self.frames.opener.handle_bytes(cx.crypto, bytes, limits::MESSAGE_BYTES_MAX) {
                Ok(None) => return,
                Ok(Some(body)) if p2p::split_message(body).is_ok_and(|(id, _)| id == p2p::id::DISCONNECT) => break,
                Ok(Some(_)) => {}
                Err(_) => break,
            }
        }
        self.phase = Phase::Over;
        *bytes = &[];
    }

    /// Queues a message of the base protocol. These do not count against the bound of [`Session::send`]: there is one
    /// Hello, one Disconnect, and at most one ping and one pong that the socket has not taken.
    fn say(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, id: u64, payload: &[u8]) {
        seal(&mut self.frames.sealer, cx, out, id, &[payload], self.snappy).expect("base messages fit a frame");
    }

    fn accept_hello(&mut self, cx: &mut Cx<'_>, local: &LocalHello, hello: Box<Hello>) -> Result<(), Fault> {
        self.snappy = hello.version.min(local.hello.version) >= P2P_VERSION;
        let hello = &**self.hello.insert(hello);
        if hello.key == [0; 64] {
            return Err(Fault::InvalidIdentity);
        }
        if hello.key != *self.key.as_bytes() {
            return Err(Fault::UnexpectedIdentity);
        }
        if hello.key == local.hello.key {
            return Err(Fault::ConnectedToSelf);
        }
        if hello.version < P2P_VERSION_MIN {
            return Err(Fault::IncompatibleVersion);
        }
        let shared = local.table.share(&local.hello.capabilities, &hello.capabilities);
        if shared.is_empty() {
            return Err(Fault::Useless);
        }
        let next_ping = cx.now + limits::PING_INTERVAL;
        self.phase =
            Phase::Open(Open { shared, heard: cx.now, next_ping, ping_end: 0, pong_end: 0, pings_paid: cx.now });
        Ok(())
    }

    /// One pong may wait for the socket: it answers all pings that come before it leaves (attack F10).
    fn answer_ping(&mut self, cx: &mut Cx<'_>, out: &mut Outbound) -> Result<(), Fault> {
        let Phase::Open(open) = &mut self.phase else { return Ok(()) };
        if !open.pay_ping(cx.now) {
            return Err(Fault::PingFlood);
        }
        if out.written() >= open.pong_end {
            self.say(cx, out, p2p::id::PONG, &EMPTY_PAYLOAD);
            if let Phase::Open(open) = &mut self.phase {
                open.pong_end = out.end();
            }
        }
        Ok(())
    }

    /// Pings if it is time. One ping may wait for the socket: more would only fill a queue that moves too slowly.
    fn ping(&mut self, cx: &mut Cx<'_>, out: &mut Outbound) {
        let Phase::Open(open) = &mut self.phase else { return };
        if cx.now < open.next_ping {
            return;
        }
        open.next_ping = cx.now + limits::PING_INTERVAL;
        if out.written() >= open.ping_end {
            self.say(cx, out, p2p::id::PING, &EMPTY_PAYLOAD);
            if let Phase::Open(open) = &mut self.phase {
                open.ping_end = out.end();
            }
        }
    }
}

impl Open {
    /// The largest body that a frame may have: that of the largest message shared, compressed as badly as can be.
    fn body_bytes_max(&self, snappy: bool) -> usize {
        let message = self.shared.iter().map(|shared| shared.capability.message_bytes_max()).max().unwrap_or(0);
        let payload = if snappy { snappy::compressed_len_max(message) } else { message };
        (payload + MESSAGE_ID_BYTES_MAX).min(limits::MESSAGE_BYTES_MAX)
    }

    fn idle_at(&self) -> (Instant, ConnTimer) {
        (self.heard + limits::IDLE_TIMEOUT, ConnTimer::Idle)
    }

    /// Takes a ping out of the peer's budget; false if there is none left.
    fn pay_ping(&mut self, now: Instant) -> bool {
        let paid = self.pings_paid.max(now);
        if paid.since(now) >= Duration::from_secs(u64::from(limits::PING_BURST)) {
            return false;
        }
        self.pings_paid = paid + Duration::from_secs(1);
        true
    }
}

/// Appends a frame with one message.
fn seal(
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
    cx.stats.frames_out.add((out.end() - before) as usize);
    Ok(())
}

/// Reads a frame's body. The payload of a capability's message is inflated straight into the outbox.
fn read(cx: &mut Cx<'_>, phase: &Phase, snappy: bool, body: &[u8]) -> Result<Heard, Fault> {
    if body.is_empty() {
        return Err(Fault::EmptyFrame);
    }
    let (id, payload) = p2p::split_message(body).map_err(Fault::Message)?;
    if id == p2p::id::DISCONNECT {
        return Ok(Heard::Disconnect(read_disconnect(payload)));
    }
    match phase {
        Phase::Hello { .. } if id == p2p::id::HELLO => {
            Ok(Heard::Hello(Box::new(Hello::decode(payload).map_err(Fault::Message)?)))
        }
        Phase::Hello { .. } => Err(Fault::HelloExpected),
        Phase::Open(_) if id == p2p::id::HELLO => Err(Fault::HelloTwice),
        Phase::Open(_) if id < p2p::id::CAPABILITIES => match id {
            _ if payload.len() > limits::BASE_MESSAGE_BYTES_MAX => Err(Fault::TooLarge),
            p2p::id::PING => Ok(Heard::Ping),
            _ => Ok(Heard::Nothing),
        },
        Phase::Open(open) => {
            let find = |shared: &Shared| Some((shared.capability, shared.relative(id)?));
            let (capability, id) = open.shared.iter().find_map(find).ok_or(Fault::UnknownMessage)?;
            let payload_bytes = stage_payload(cx, snappy, payload, capability.message_bytes_max())?;
            cx.stats.messages_in.entry((capability, id)).or_default().add(payload_bytes);
            Ok(Heard::Message(capability, id))
        }
        Phase::Leaving | Phase::Over => Ok(Heard::Nothing),
    }
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

#[cfg(test)]
mod tests;
