//! A session after the handshake (`rlpx.md`, "p2p Capability" and "Message ID-based Multiplexing"): Hello in both
//! directions, pings and pongs, Disconnect, and the messages of the capabilities that both sides have.
//!
//! It sends Hello and answers pings by itself; when it finds a fault or a timeout it has queued its Disconnect before it
//! tells. It never reads what a capability's message holds, never closes a stream, and leaves the deadline for writing to
//! the owner of the stream. Snappy applies once both sides have sent version 5 (EIP-706).

mod frame_clock;
mod hello;
mod message;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt;

use frame_clock::FrameClock;
pub use hello::{InvalidHello, LocalHello};
use message::{Received, body_bytes_max, read, read_first, seal};

use super::{Agreed, Arriving, Frames, frames};
use crate::contract::{CommandError, ConnTimer, Cx, EndReason, Fault, Outbound};
use crate::crypto::PublicKey;
use crate::limits;
use crate::time::{Duration, Instant};
use crate::wire::p2p::{self, DisconnectReason, EMPTY_PAYLOAD, Hello, P2P_VERSION, P2P_VERSION_MIN, Shared};

/// The result of handling some bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Step {
    /// Nothing to report; all bytes are taken.
    Pending,
    /// The peer's [`Session::hello`] was accepted, and messages may be sent. There may be more bytes.
    Hello,
    /// A message of a shared capability; its payload is staged in the outbox. There may be more bytes.
    Message {
        /// Index of the capability in [`Session::shared`].
        index: usize,
        /// Message id, relative to the capability's offset.
        id: u64,
    },
    /// The peer has answered our ping, so it had received all that was sent before. There may be more bytes.
    Pong {
        /// When that ping was queued.
        sent_at: Instant,
    },
    /// The peer has ended the session.
    Disconnected(DisconnectReason),
    /// The peer has broken the protocol; the Disconnect is queued, if the peer could read one.
    Fault(Fault),
}

/// What a session may receive next, as far as its protocols know: the bounds of messages depend on it.
pub trait Expects {
    /// Whether the handshakes of all protocols are done. Before that, frames have at most
    /// [`limits::EARLY_FRAME_BYTES_MAX`] bytes.
    fn is_established(&self) -> bool;
    /// Whether any answer is expected. Otherwise a frame is at most as large as a message that was not requested.
    fn awaits_any(&self) -> bool;
    /// Whether the answer `id` of the shared capability at `index` is expected. Otherwise it is not inflated.
    fn awaits(&self, index: usize, id: u64) -> bool;
}

/// Expects every message at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Anything;

impl Expects for Anything {
    fn is_established(&self) -> bool {
        true
    }

    fn awaits_any(&self) -> bool {
        true
    }

    fn awaits(&self, _: usize, _: u64) -> bool {
        true
    }
}

/// One side of a session.
pub struct Session {
    key: PublicKey,
    frames: Frames,
    phase: Phase,
    /// The peer's Hello, accepted or not.
    hello: Option<Box<Hello>>,
    /// Whether both sides compress; false until the peer's Hello.
    snappy: bool,
    /// The capabilities that both sides have; none until the peer's Hello is accepted.
    shared: Vec<Shared>,
}

enum Phase {
    /// We have sent Hello, the peer has not.
    Hello {
        deadline: Instant,
    },
    Running(Running),
    /// We have sent Disconnect, and read on only for the peer's.
    Draining,
    /// Nothing is read or written any more.
    Over,
}

/// A session in which messages are exchanged.
struct Running {
    /// Size of the largest frame body that the shared capabilities allow.
    body_bytes_max: usize,
    /// The same without answers.
    unsolicited_bytes_max: usize,
    /// When bytes came last.
    received_at: Instant,
    /// The clock of the frame that is arriving.
    frame: FrameClock,
    /// Since when the connection is not being read for want of memory: meanwhile no clock runs that waits for the peer.
    paused_at: Option<Instant>,
    next_ping: Instant,
    /// When each of our pings was queued that is open, the oldest first. There are as many pongs as pings, or fewer: one may
    /// answer several.
    pings: VecDeque<Instant>,
    /// The shortest time from a ping of ours to its pong.
    latency: Option<Duration>,
    /// Where our last pong ends in the outbound stream.
    pong_end: u64,
}

impl Session {
    /// A session with the frames of a completed handshake. Sends Hello.
    pub fn new(cx: &mut Cx<'_>, agreed: Agreed, local: &LocalHello, out: &mut Outbound) -> Self {
        let Agreed { key, frames, .. } = agreed;
        let phase = Phase::Hello { deadline: cx.now + limits::HELLO_TIMEOUT };
        let mut session = Self { key, frames, phase, hello: None, snappy: false, shared: Vec::new() };
        session.send_base(cx, out, p2p::id::HELLO, local.payload());
        session
    }

    /// The peer's public key, which the handshake has proved.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The peer's Hello, once it has come; also if the session was then ended for it.
    pub fn hello(&self) -> Option<&Hello> {
        self.hello.as_deref()
    }

    /// The capabilities that both sides have; none until the peer's Hello is accepted.
    pub fn shared(&self) -> &[Shared] {
        &self.shared
    }

    /// Whether messages are compressed.
    pub fn snappy(&self) -> bool {
        self.snappy
    }

    /// The shortest time in which the peer has answered a ping, if it has answered one.
    pub fn latency(&self) -> Option<Duration> {
        match &self.phase {
            Phase::Running(running) => running.latency,
            Phase::Hello { .. } | Phase::Draining | Phase::Over => None,
        }
    }

    /// Whether one of the two sides has ended the session.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Draining | Phase::Over)
    }

    /// Whether no byte of the peer matters any more: its Disconnect has come, or its frames can no longer be read.
    pub fn is_drained(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// Takes from `bytes` as many as the next step needs. Call again until it is [`Step::Pending`].
    pub fn handle_bytes(
        &mut self,
        cx: &mut Cx<'_>,
        local: &LocalHello,
        expects: &dyn Expects,
        bytes: &mut &[u8],
        out: &mut Outbound,
    ) -> Step {
        match self.phase {
            Phase::Hello { .. } | Phase::Running(_) => {}
            Phase::Draining => {
                self.drain(cx, bytes);
                return Step::Pending;
            }
            Phase::Over => {
                *bytes = &[];
                return Step::Pending;
            }
        }
        loop {
            let step = match self.receive(cx, expects, bytes) {
                Ok(None) => return Step::Pending,
                Ok(Some(Received::Ignored)) => continue,
                Ok(Some(Received::Ping)) => {
                    self.answer_ping(cx, out);
                    continue;
                }
                Ok(Some(Received::Pong)) => match self.accept_pong(cx.now) {
                    Some(sent_at) => Ok(Step::Pong { sent_at }),
                    None => continue,
                },
                Ok(Some(Received::Hello(hello))) => self.accept_hello(cx, local, hello).map(|()| Step::Hello),
                Ok(Some(Received::Message { index, id })) => Ok(Step::Message { index, id }),
                Ok(Some(Received::Disconnect(reason))) => {
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

    /// Opens and reads the next frame of a session that is not over; `None` until all of it has come.
    fn receive(
        &mut self,
        cx: &mut Cx<'_>,
        expects: &dyn Expects,
        bytes: &mut &[u8],
    ) -> Result<Option<Received>, Fault> {
        let bytes_max = match &mut self.phase {
            Phase::Running(running) => {
                if !bytes.is_empty() {
                    running.received_at = cx.now;
                }
                running.body_bytes_max(expects)
            }
            Phase::Hello { .. } | Phase::Draining | Phase::Over => limits::HELLO_BYTES_MAX + 1,
        };
        let waiting = bytes.len();
        let opened = self.frames.opener.handle_bytes(cx.crypto, bytes, bytes_max)?;
        let Some(body) = opened else {
            self.note_arriving(cx.now, waiting);
            return Ok(None);
        };
        if let Phase::Running(running) = &mut self.phase {
            running.frame.complete(cx.now);
        }
        cx.stats.frames_in.add(frames::frame_bytes(body.len()));
        cx.work.frame();
        match self.phase {
            Phase::Running(_) => read(cx, &self.shared, expects, self.snappy, body).map(Some),
            Phase::Hello { .. } | Phase::Draining | Phase::Over => read_first(body).map(Some),
        }
    }

    /// Advances the clock of a frame of which so many bytes have come.
    fn note_arriving(&mut self, now: Instant, bytes: usize) {
        let is_arriving = self.frames.opener.arriving().is_some();
        if let Phase::Running(running) = &mut self.phase
            && is_arriving
            && bytes > 0
        {
            running.frame.advance(now, bytes);
        }
    }

    /// The next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, ConnTimer)> {
        match &self.phase {
            Phase::Hello { deadline } => Some((*deadline, ConnTimer::Hello)),
            Phase::Running(running) => {
                let ping = (running.next_ping, ConnTimer::Ping);
                if running.paused_at.is_some() {
                    return Some(ping);
                }
                let frame = self.frame_deadline().map(|at| (at, ConnTimer::Frame));
                [Some(running.idle_at()), frame, Some(ping)].into_iter().flatten().min()
            }
            Phase::Draining | Phase::Over => None,
        }
    }

    /// The frame that is arriving in a session in which messages are exchanged.
    pub fn arriving(&self) -> Option<Arriving<'_>> {
        let Phase::Running(_) = self.phase else { return None };
        self.frames.opener.arriving()
    }

    /// Bytes of memory that the frame holds which is arriving.
    pub fn frame_memory(&self) -> usize {
        self.frames.opener.buffer_bytes()
    }

    /// The message of the frame that is arriving, as far as it can be told before its MAC: index of the capability in
    /// [`Session::shared`], and message id relative to its offset.
    pub fn arriving_message(&self) -> Option<(usize, u64)> {
        let (id, _) = p2p::split_message(self.arriving()?.prefix).ok()?;
        self.shared.iter().enumerate().find_map(|(index, shared)| Some((index, shared.relative(id)?)))
    }

    /// Until when the frame that is arriving is not slow, if no more of it comes.
    pub fn slow_at(&self) -> Option<Instant> {
        let Phase::Running(running) = &self.phase else { return None };
        running.frame.begun.map(|_| running.frame.slow_at)
    }

    /// When the last message's frame began, if it has taken more than one turn and was not slow.
    pub fn frame_begun(&self) -> Option<Instant> {
        let Phase::Running(running) = &self.phase else { return None };
        running.frame.last
    }

    fn frame_deadline(&self) -> Option<Instant> {
        let Phase::Running(running) = &self.phase else { return None };
        running.frame.deadline(&self.frames.opener.arriving()?)
    }

    /// Whether the connection is not being read for want of memory.
    pub fn is_paused(&self) -> bool {
        matches!(&self.phase, Phase::Running(Running { paused_at: Some(_), .. }))
    }

    /// The connection is not read from now on: the clocks stop that wait for the peer.
    pub fn pause(&mut self, now: Instant) {
        if let Phase::Running(running) = &mut self.phase {
            running.paused_at.get_or_insert(now);
        }
    }

    /// The connection is read again. Returns since when it was not.
    pub fn resume(&mut self, now: Instant) -> Option<Instant> {
        let Phase::Running(running) = &mut self.phase else { return None };
        let since = running.paused_at.take()?;
        running.received_at = running.received_at + now.since(since);
        running.frame.postpone(now.since(since));
        Some(since)
    }

    /// Whether a slow frame ends the session from now on.
    pub fn hurry(&mut self, is_hurried: bool) {
        if let Phase::Running(running) = &mut self.phase {
            running.frame.is_hurried = is_hurried;
        }
    }

    /// Pings, or ends the session with a peer that has been silent for too long, or whose frame takes too long. A peer is
    /// not silent while the driver does not drain (`reading` is false).
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, reading: bool) -> Option<EndReason> {
        let frame_deadline = self.frame_deadline();
        let timer = match &mut self.phase {
            Phase::Hello { deadline } => (*deadline <= cx.now).then_some(ConnTimer::Hello)?,
            Phase::Running(running) => {
                if !reading {
                    running.received_at = cx.now;
                }
                let is_paused = running.paused_at.is_some();
                let is_idle = cx.now >= running.idle_at().0;
                let is_late = frame_deadline.is_some_and(|at| cx.now >= at);
                match (is_paused, is_idle, is_late) {
                    (false, true, _) => ConnTimer::Idle,
                    (false, false, true) => ConnTimer::Frame,
                    _ => {
                        self.ping(cx, out);
                        return None;
                    }
                }
            }
            Phase::Draining | Phase::Over => return None,
        };
        self.disconnect(cx, out, DisconnectReason::PingTimeout);
        Some(EndReason::Timeout(timer))
    }

    /// Queues a message of the shared capability at `index` of [`Session::shared`]; its payload is the concatenation of
    /// `payload`.
    ///
    /// # Errors
    /// [`CommandError::Busy`] while [`limits::OUTBOUND_BYTES_MAX`] or more wait for the socket; otherwise if the session
    /// is not that far or over, there is no such capability, or the message is none of its or too large.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        out: &mut Outbound,
        index: usize,
        id: u64,
        payload: &[&[u8]],
    ) -> Result<(), CommandError> {
        match self.phase {
            Phase::Hello { .. } => return Err(CommandError::NotEstablished),
            Phase::Draining | Phase::Over => return Err(CommandError::UnknownConn),
            Phase::Running(_) => {}
        }
        let shared = self.shared.get(index).ok_or(CommandError::NotShared)?;
        if id >= shared.length {
            return Err(CommandError::UnknownMessage);
        }
        let payload_bytes = payload.iter().fold(0usize, |bytes, part| bytes.saturating_add(part.len()));
        if payload_bytes > shared.bytes_max(id) {
            return Err(CommandError::TooLarge);
        }
        if out.len() >= limits::OUTBOUND_BYTES_MAX {
            return Err(CommandError::Busy);
        }
        seal(&mut self.frames.sealer, cx, out, shared.offset + id, payload, self.snappy)
            .map_err(|_| CommandError::TooLarge)?;
        cx.stats.messages_out.entry((shared.capability, id)).or_default().add(payload_bytes);
        Ok(())
    }

    /// Ends the session: queues our Disconnect, unless the session is over already. It is uncompressed while the peer's
    /// version is not known.
    pub fn disconnect(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, reason: DisconnectReason) {
        if !self.is_over() {
            self.send_base(cx, out, p2p::id::DISCONNECT, &reason.encode());
            self.phase = Phase::Draining;
            // Its memory is not counted any more. The peer's Disconnect after it is not heard then.
            let is_large = |arriving: Arriving<'_>| arriving.body_bytes > limits::EARLY_FRAME_BYTES_MAX;
            if self.frames.opener.arriving().is_some_and(is_large) {
                self.frames.opener.abandon();
            }
        }
    }

    /// Skips everything but a Disconnect: two sides that end a session at once need not wait for each other.
    fn drain(&mut self, cx: &mut Cx<'_>, bytes: &mut &[u8]) {
        loop {
            match self.frames.opener.handle_bytes(cx.crypto, bytes, limits::EARLY_FRAME_BYTES_MAX) {
                Ok(None) => return,
                Err(Fault::TooLarge) => {
                    *bytes = &[];
                    return;
                }
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
    fn send_base(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, id: u64, payload: &[u8]) {
        seal(&mut self.frames.sealer, cx, out, id, &[payload], self.snappy).expect("base messages fit a frame");
    }

    fn accept_hello(&mut self, cx: &mut Cx<'_>, local: &LocalHello, hello: Box<Hello>) -> Result<(), Fault> {
        let ours = local.hello();
        self.snappy = hello.version.min(ours.version) >= P2P_VERSION;
        let hello = &**self.hello.insert(hello);
        if hello.key == [0; 64] {
            return Err(Fault::InvalidIdentity);
        }
        if hello.key != *self.key.as_bytes() {
            return Err(Fault::UnexpectedIdentity);
        }
        if hello.key == ours.key {
            return Err(Fault::ConnectedToSelf);
        }
        if hello.version < P2P_VERSION_MIN {
            return Err(Fault::IncompatibleVersion);
        }
        let shared = local.table().share(&ours.capabilities, &hello.capabilities);
        if shared.is_empty() {
            return Err(Fault::Useless);
        }
        let all_bytes_max = body_bytes_max(&shared, Shared::largest_bytes, self.snappy);
        let unsolicited_bytes_max = body_bytes_max(&shared, Shared::largest_unsolicited_bytes, self.snappy);
        self.shared = shared;
        self.phase = Phase::Running(Running {
            body_bytes_max: all_bytes_max,
            unsolicited_bytes_max,
            received_at: cx.now,
            frame: FrameClock::default(),
            paused_at: None,
            next_ping: cx.now + limits::PING_INTERVAL,
            pings: VecDeque::new(),
            latency: None,
            pong_end: 0,
        });
        Ok(())
    }

    /// One pong may wait for the socket: it answers all pings that come before it leaves (attack F10).
    fn answer_ping(&mut self, cx: &mut Cx<'_>, out: &mut Outbound) {
        let Phase::Running(running) = &mut self.phase else { return };
        if out.written() >= running.pong_end {
            self.send_base(cx, out, p2p::id::PONG, &EMPTY_PAYLOAD);
            if let Phase::Running(running) = &mut self.phase {
                running.pong_end = out.end();
            }
        }
    }

    /// Returns when the ping was queued that the peer has received for certain, since this pong came; `None` if none is open.
    /// Pongs carry no id: the n-th one proves that n pings have come.
    fn accept_pong(&mut self, now: Instant) -> Option<Instant> {
        let Phase::Running(running) = &mut self.phase else { return None };
        let sent_at = running.pings.pop_front()?;
        let latency = now.since(sent_at);
        running.latency = Some(running.latency.map_or(latency, |shortest| shortest.min(latency)));
        Some(sent_at)
    }

    /// Pings if it is time. Several pings may be open: a peer whose answer takes long, or that is not read, cannot answer them
    /// meanwhile, but must hear from us. None is added to bytes that the socket has not taken.
    fn ping(&mut self, cx: &mut Cx<'_>, out: &mut Outbound) {
        let Phase::Running(running) = &mut self.phase else { return };
        if cx.now < running.next_ping {
            return;
        }
        running.next_ping = cx.now + limits::PING_INTERVAL;
        if running.pings.is_empty() || (out.is_empty() && running.pings.len() < limits::PINGS_OPEN_MAX) {
            running.pings.push_back(cx.now);
            self.send_base(cx, out, p2p::id::PING, &EMPTY_PAYLOAD);
        }
    }
}

/// Without keys.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Session");
        debug.field("key", &self.key).field("hello", &self.hello).field("shared", &self.shared);
        debug.field("snappy", &self.snappy).field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}

impl Running {
    /// Size of the largest frame body that may come now.
    fn body_bytes_max(&self, expects: &dyn Expects) -> usize {
        if !expects.is_established() {
            self.unsolicited_bytes_max.min(limits::EARLY_FRAME_BYTES_MAX)
        } else if expects.awaits_any() {
            self.body_bytes_max
        } else {
            self.unsolicited_bytes_max
        }
    }

    fn idle_at(&self) -> (Instant, ConnTimer) {
        (self.received_at + limits::IDLE_TIMEOUT, ConnTimer::Idle)
    }
}

#[cfg(test)]
mod tests;
