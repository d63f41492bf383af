//! One connection from dial or accept to its end: the stages of the stream in order, its deadlines, and the final
//! Disconnect.
//!
//! Composes the transport's handshake, the session and the session's [`protocols`]. A [`Connection`] knows no other
//! connection: what concerns places, scores and bans is returned as a [`Verdict`], and its owner must act on it. It has no
//! outbox of its own: the owner of the [`Context`](crate::contract::Context) has one for all connections.
//!
//! It is usable without a node. Here two of them talk in memory:
//!
//! ```
//! use std::sync::Arc;
//!
//! use peerless::contract::{Action, ConnId, Context, Event};
//! use peerless::crypto::{Crypto, PublicKey, Secp256k1, SecretKey};
//! use peerless::netfilter::NetFilter;
//! use peerless::node::connection::{Connection, Local, Verdict};
//! use peerless::protocols::{self, Chain, Policy};
//! use peerless::rlpx::LocalHello;
//! use peerless::rng::{Rng, Seed};
//! use peerless::time::{Instant, UnixTime};
//! use peerless::wire::enode::Contact;
//! use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! use peerless::wire::p2p::{Capability, CapabilityTable, Hello, P2P_VERSION};
//!
//! const ETH: Capability = Capability::eth(69);
//!
//! /// What the owner of a connection has.
//! struct Side {
//!     secret: SecretKey,
//!     key: PublicKey,
//!     hello: LocalHello,
//!     chain: Chain,
//!     context: Context,
//!     rng: Rng,
//! }
//!
//! impl Side {
//!     fn new(number: u8) -> Self {
//!         let crypto = Secp256k1::new();
//!         let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//!         let key = crypto.public_key(&secret);
//!         let (client, version) = (format!("side {number}"), P2P_VERSION);
//!         let hello = Hello { version, client, capabilities: vec![ETH], port: 0, key: *key.as_bytes() };
//!         let network = Network { name: "mine".into(), network_id: 7, schedule: ForkSchedule::new([7; 32], 0, &[], &[]) };
//!         Self {
//!             secret,
//!             key,
//!             hello: LocalHello::new(hello, CapabilityTable::default()).expect("small and known"),
//!             chain: Chain::new(network, Head::default(), 0, [0; 32]),
//!             context: Context::new(Instant::ZERO, UnixTime::from_secs(0), NetFilter::default(), Arc::new(crypto)),
//!             rng: Seed::new([number; 32]).fork("connection"),
//!         }
//!     }
//!
//!     /// Hands a connection what has come for it; admits every peer.
//!     fn handle_bytes(&mut self, connection: &mut Connection, mut bytes: &[u8]) {
//!         let Self { secret, key, hello, chain, context, rng } = self;
//!         let protocols = protocols::Local { chain, status: Policy::Announce };
//!         let local = Local { secret, key, hello, protocols, export_secrets: false };
//!         let cx = &mut context.cx(rng);
//!         loop {
//!             match connection.handle_bytes(cx, &local, &mut bytes) {
//!                 Verdict::Pending => return,
//!                 Verdict::HandshakeReceived => assert_eq!(connection.answer_handshake(cx, &local), Verdict::Pending),
//!                 Verdict::Identified => assert_eq!(connection.admit(cx, &local), Verdict::Pending),
//!                 Verdict::Established => println!("established"),
//!                 Verdict::Charge(reason) => println!("{reason}"),
//!                 Verdict::End { by, why } => println!("{:?}", connection.end(cx, by, why)),
//!             }
//!         }
//!     }
//!
//!     /// Takes what a connection has written.
//!     fn written(&mut self, connection: &mut Connection) -> Vec<u8> {
//!         let bytes = connection.outbound().to_vec();
//!         connection.handle_wrote(&mut self.context.cx(&mut self.rng), bytes.len());
//!         bytes
//!     }
//! }
//!
//! let (mut a, mut b) = (Side::new(1), Side::new(2));
//! let to_b = Contact::new(b.key, [10, 0, 0, 2].into(), 0, 30303);
//! let mut dialled = Connection::dial(&mut a.context.cx(&mut a.rng), ConnId(0), &to_b);
//! let from_a = ([10, 0, 0, 1], 50000).into();
//! let mut accepted = Connection::accept(&mut b.context.cx(&mut b.rng), ConnId(0), from_a);
//! {
//!     let Side { secret, key, hello, chain, context, rng } = &mut a;
//!     let protocols = protocols::Local { chain, status: Policy::Announce };
//!     let local = Local { secret, key, hello, protocols, export_secrets: false };
//!     dialled.handle_connected(&mut context.cx(rng), &local);
//! }
//! let mut exchange = |a: &mut Side, b: &mut Side, dialled: &mut Connection| {
//!     for _ in 0..10 {
//!         let bytes = a.written(dialled);
//!         b.handle_bytes(&mut accepted, &bytes);
//!         let bytes = b.written(&mut accepted);
//!         a.handle_bytes(dialled, &bytes);
//!     }
//! };
//! exchange(&mut a, &mut b, &mut dialled);
//! dialled.send(&mut a.context.cx(&mut a.rng), ETH, 2, &[&[0xc0]])?;
//! exchange(&mut a, &mut b, &mut dialled);
//!
//! let mut messages = Vec::new();
//! while let Some(action) = b.context.out.pop() {
//!     if let Action::Emit(Event::Message { capability, id, payload, .. }) = action {
//!         messages.push((capability, id, payload.to_vec()));
//!     }
//! }
//! assert_eq!(messages, [(ETH, 2, vec![0xc0])]);
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```

mod sending;
mod timers;

use alloc::boxed::Box;
use core::fmt;
use core::net::SocketAddr;

use self::sending::Refused;
use self::timers::Timers;
use super::memory::Frame;
use crate::contract::{
    ConnId, ConnTimer, Cx, Direction, End, EndReason, Event, Fault, IoFault, Outbound, Refusal, ScoreReason, Side,
    Stage,
};
use crate::crypto::{NodeId, PublicKey, SecretKey};
use crate::limits;
use crate::protocols::{self, Link, Outcome, Protocols};
use crate::rlpx::handshake::Arrival;
use crate::rlpx::{Agreed, Anything, Expects, Handshake, LocalHello, Progress, Session, Step};
use crate::time::Instant;
use crate::wire::enode::Contact;
use crate::wire::p2p::{DisconnectReason, Hello, Shared};
use crate::wire::schema::Role;

/// What all connections of a node share. Pass the same in every call.
#[derive(Clone, Copy)]
pub struct Local<'a> {
    /// Our secret key.
    pub secret: &'a SecretKey,
    /// Its public key.
    pub key: &'a PublicKey,
    /// Our Hello.
    pub hello: &'a LocalHello,
    /// What the session's protocols need to know of us.
    pub protocols: protocols::Local<'a>,
    /// Whether each session's secrets are emitted as [`Event::Secrets`].
    pub export_secrets: bool,
}

/// What the owner of a connection must act on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// Nothing to act upon; all bytes are taken.
    Pending,
    /// The whole first packet of an accepted stream has come, for which no public-key operation was done yet: it can be a
    /// repeated one. Decide with [`Connection::answer_handshake`] or [`Connection::end`]; until then no byte is taken.
    HandshakeReceived,
    /// The peer's Hello was accepted, which proves that the peer holds [`Connection::peer`]'s key; the handshake alone can be
    /// replayed. Decide with [`Connection::admit`] or [`Connection::end`]; until then no byte is taken.
    Identified,
    /// All protocols of the session may send.
    Established,
    /// The peer's score changes; the connection goes on. There may be more bytes.
    Charge(ScoreReason),
    /// The connection is to end: call [`Connection::end`] with this.
    End {
        /// Who ends it.
        by: Side,
        /// Why.
        why: EndReason,
    },
}

impl Verdict {
    const fn fault(fault: Fault) -> Self {
        Self::End { by: Side::Us, why: EndReason::Fault(fault) }
    }
}

/// One connection, from dial or accept to its end.
pub struct Connection {
    id: ConnId,
    addr: SocketAddr,
    direction: Direction,
    peer: Option<NodeId>,
    state: State,
    out: Outbound,
    /// Whether `Flush` is queued for the bytes in `out`.
    flush_queued: bool,
    refused: Refused,
    deadlines: Timers,
}

enum State {
    /// The stream to the holder of this key is not connected yet.
    Dialling(PublicKey),
    Handshake(Handshake),
    Session(Box<Framed>),
    /// `Close` and `Ended` are queued.
    Ended(End),
}

/// A connection whose handshake is done: messages come in frames.
struct Framed {
    session: Session,
    phase: Phase,
}

enum Phase {
    /// The peer's Hello is awaited.
    Hello,
    /// The peer's Hello was accepted; the owner decides.
    Identified,
    /// The peer has a place.
    Admitted(Protocols),
    /// The end is decided. The stream closes when our final Disconnect is written and the peer has sent its own or closed,
    /// or when time is up.
    Closing(End),
}

impl Connection {
    /// Dials a peer. Queues the dial.
    pub fn dial(cx: &mut Cx<'_>, id: ConnId, contact: &Contact) -> Self {
        let mut connection = Self::new(id, contact.tcp_addr(), Direction::Outbound, State::Dialling(contact.key()));
        connection.peer = Some(contact.id());
        connection.deadlines.set(ConnTimer::Connect, cx.now + limits::CONNECT_TIMEOUT);
        cx.out.dial(id, connection.addr);
        connection
    }

    /// Takes over a stream that a listener has accepted.
    pub fn accept(cx: &mut Cx<'_>, id: ConnId, from: SocketAddr) -> Self {
        let mut connection = Self::new(id, from, Direction::Inbound, State::Handshake(Handshake::receive()));
        connection.deadlines.set(ConnTimer::Handshake, cx.now + limits::HANDSHAKE_TIMEOUT);
        connection
    }

    fn new(id: ConnId, addr: SocketAddr, direction: Direction, state: State) -> Self {
        let (out, refused, deadlines) = (Outbound::default(), Refused::default(), Timers::default());
        Self { id, addr, direction, peer: None, state, out, flush_queued: false, refused, deadlines }
    }

    /// Its id.
    pub fn id(&self) -> ConnId {
        self.id
    }

    /// The other end.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Which side dialled.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The peer's id: from the dial on the one that we expect, from [`Verdict::Identified`] on the one that it has proven.
    pub fn peer(&self) -> Option<NodeId> {
        self.peer
    }

    /// The stage that it has reached; once its end is decided, the stage at which it ended.
    pub fn stage(&self) -> Stage {
        match &self.state {
            State::Dialling(_) => Stage::Dial,
            State::Handshake(_) => Stage::Handshake,
            State::Session(framed) => match &framed.phase {
                Phase::Hello | Phase::Identified => Stage::Hello,
                Phase::Admitted(protocols) if !protocols.is_established() => Stage::Status,
                Phase::Admitted(_) => Stage::Established,
                Phase::Closing(end) => end.stage,
            },
            State::Ended(end) => end.stage,
        }
    }

    /// Whether its end is decided.
    pub fn is_ending(&self) -> bool {
        self.closing().is_some() || matches!(self.state, State::Ended(_))
    }

    /// The session, from the end of the handshake until the connection's end is decided.
    pub fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Session(framed) if !matches!(framed.phase, Phase::Closing(_)) => Some(&framed.session),
            _ => None,
        }
    }

    /// The peer's Hello, once it has come.
    pub fn hello(&self) -> Option<&Hello> {
        self.session()?.hello()
    }

    /// The capabilities that both sides have; none before the peer's Hello.
    pub fn shared(&self) -> &[Shared] {
        self.session().map_or(&[], Session::shared)
    }

    /// The session's protocols, from [`Connection::admit`] until the connection's end is decided.
    pub fn protocols(&self) -> Option<&Protocols> {
        match &self.state {
            State::Session(framed) => match &framed.phase {
                Phase::Admitted(protocols) => Some(protocols),
                Phase::Hello | Phase::Identified | Phase::Closing(_) => None,
            },
            State::Dialling(_) | State::Handshake(_) | State::Ended(_) => None,
        }
    }

    /// The bytes that wait for its socket. Report a written prefix by [`Connection::handle_wrote`].
    pub fn outbound(&self) -> &[u8] {
        self.out.as_slice()
    }

    /// Whether the driver should read more bytes. A connection that closes reads on, so that the stream is not reset before
    /// our final Disconnect arrives.
    pub fn wants_read(&self) -> bool {
        match &self.state {
            State::Dialling(_) | State::Ended(_) => false,
            State::Handshake(_) => true,
            State::Session(framed) => match &framed.phase {
                Phase::Hello | Phase::Closing(_) => true,
                Phase::Identified => false,
                Phase::Admitted(protocols) => {
                    protocols.requests_in() < limits::REQUESTS_IN_HIGH_WATER
                        && self.out.len() < limits::OUTBOUND_BYTES_MAX
                        && !framed.session.is_paused()
                }
            },
        }
    }

    /// The dialled stream is connected.
    pub fn handle_connected(&mut self, cx: &mut Cx<'_>, local: &Local<'_>) {
        let State::Dialling(remote) = self.state else { return };
        self.deadlines.set(ConnTimer::Connect, None);
        self.deadlines.set(ConnTimer::Handshake, cx.now + limits::HANDSHAKE_TIMEOUT);
        self.state = State::Handshake(Handshake::initiate(cx, local.secret, local.key, remote, &mut self.out));
    }

    /// Handles bytes up to the next thing that concerns the owner. Act on the verdict, and call again until it is
    /// [`Verdict::Pending`].
    pub fn handle_bytes(&mut self, cx: &mut Cx<'_>, local: &Local<'_>, bytes: &mut &[u8]) -> Verdict {
        let waiting = bytes.len();
        let verdict = self.handle_stage(cx, local, bytes);
        cx.work.wire_bytes(waiting - bytes.len());
        verdict
    }

    fn handle_stage(&mut self, cx: &mut Cx<'_>, local: &Local<'_>, bytes: &mut &[u8]) -> Verdict {
        if let State::Handshake(handshake) = &mut self.state {
            match handshake.take_bytes(bytes) {
                Ok(Arrival::Pending) => return Verdict::Pending,
                Err(fault) => return Verdict::fault(fault),
                Ok(Arrival::Complete) if self.direction == Direction::Inbound => return Verdict::HandshakeReceived,
                Ok(Arrival::Complete) => {}
            }
            if let Err(fault) = self.complete_handshake(cx, local) {
                return Verdict::fault(fault);
            }
        }
        let verdict = match &mut self.state {
            State::Session(framed) => match framed.phase {
                Phase::Identified => return Verdict::Identified,
                Phase::Closing(_) => {
                    // The end is decided: what the peer sends now changes nothing but whether it has sent its Disconnect.
                    let _ = framed.session.handle_bytes(cx, local.hello, &Anything, bytes, &mut self.out);
                    self.close_if_drained(cx);
                    return Verdict::Pending;
                }
                Phase::Hello | Phase::Admitted(_) => self.handle_frames(cx, local, bytes),
            },
            State::Dialling(_) | State::Handshake(_) | State::Ended(_) => {
                *bytes = &[];
                Verdict::Pending
            }
        };
        self.report_ready(cx);
        verdict
    }

    /// The first packet of an accepted stream, whole or in part, as it was on the wire.
    pub fn received_handshake(&self) -> Option<&[u8]> {
        match &self.state {
            State::Handshake(handshake) => handshake.received(),
            State::Dialling(_) | State::Session(_) | State::Ended(_) => None,
        }
    }

    /// Does the public-key operations of an accepted stream, and answers. To be called after [`Verdict::HandshakeReceived`].
    pub fn answer_handshake(&mut self, cx: &mut Cx<'_>, local: &Local<'_>) -> Verdict {
        if self.received_handshake().is_none() {
            return Verdict::Pending;
        }
        self.complete_handshake(cx, local).map_or_else(Verdict::fault, |()| Verdict::Pending)
    }

    fn complete_handshake(&mut self, cx: &mut Cx<'_>, local: &Local<'_>) -> Result<(), Fault> {
        let State::Handshake(handshake) = &mut self.state else { return Ok(()) };
        match handshake.complete(cx, local.secret, &mut self.out) {
            Progress::Pending => {}
            Progress::Failed(fault) => return Err(fault),
            Progress::Done(agreed) => self.start_session(cx, local, *agreed),
        }
        Ok(())
    }

    fn start_session(&mut self, cx: &mut Cx<'_>, local: &Local<'_>, agreed: Agreed) {
        self.deadlines.set(ConnTimer::Handshake, None);
        if local.export_secrets
            && let Some(secrets) = agreed.secrets().map(Box::new)
        {
            cx.out.emit(Event::Secrets { conn: self.id, secrets });
        }
        let session = Session::new(cx, agreed, local.hello, &mut self.out);
        self.state = State::Session(Box::new(Framed { session, phase: Phase::Hello }));
    }

    /// Handles the frames of a session whose end is not decided.
    fn handle_frames(&mut self, cx: &mut Cx<'_>, local: &Local<'_>, bytes: &mut &[u8]) -> Verdict {
        let Self { id: conn, peer, state: State::Session(framed), out, deadlines, .. } = self else {
            return Verdict::Pending;
        };
        let Framed { session, phase } = &mut **framed;
        loop {
            // Reached only if the driver feeds bytes without asking `wants_read` and without draining.
            if cx.out.bytes() > limits::OUTBOX_BYTES_MAX {
                return Verdict::End { by: Side::Us, why: EndReason::Refused(Refusal::Overloaded) };
            }
            let expects: &dyn Expects = if let Phase::Admitted(protocols) = phase { protocols } else { &Anything };
            let outcome = match (session.handle_bytes(cx, local.hello, expects, bytes, out), &mut *phase, *peer) {
                (Step::Pending, ..) => return Verdict::Pending,
                (Step::Fault(fault), ..) => return Verdict::fault(fault),
                (Step::Disconnected(reason), ..) => {
                    return Verdict::End { by: Side::Them, why: EndReason::Disconnect(reason) };
                }
                (Step::Hello, ..) => {
                    *peer = Some(session.key().node_id());
                    *phase = Phase::Identified;
                    return Verdict::Identified;
                }
                (Step::Pong { sent_at }, Phase::Admitted(protocols), _) => protocols.acknowledge(cx.now, sent_at),
                (Step::Pong { .. }, ..) => Outcome::Pending,
                (Step::Message { index, id }, Phase::Admitted(protocols), Some(peer)) => {
                    if let Some(begun) = session.frame_begun().filter(|_| is_answer(session, index, id)) {
                        protocols.stand_still(begun, cx.now);
                    }
                    let mut link = Link { conn: *conn, peer, session, out };
                    protocols.handle_message(cx, &local.protocols, &mut link, index, id)
                }
                (Step::Message { .. }, ..) => return Verdict::fault(Fault::UnknownMessage),
            };
            match outcome {
                Outcome::Pending => {}
                Outcome::Established => {
                    deadlines.set(ConnTimer::Status, None);
                    return Verdict::Established;
                }
                Outcome::Charge(reason) => return Verdict::Charge(reason),
                Outcome::End(why) => return Verdict::End { by: Side::Us, why },
            }
        }
    }

    /// Gives the peer a place: starts the handshakes of the session's protocols. To be called after [`Verdict::Identified`].
    /// Returns [`Verdict::Established`] if no protocol has a handshake.
    pub fn admit(&mut self, cx: &mut Cx<'_>, local: &Local<'_>) -> Verdict {
        let Self { id: conn, peer: Some(peer), state: State::Session(framed), out, deadlines, .. } = self else {
            return Verdict::Pending;
        };
        let Framed { session, phase: phase @ Phase::Identified } = &mut **framed else { return Verdict::Pending };
        let mut link = Link { conn: *conn, peer: *peer, session, out };
        let protocols = Protocols::start(cx, &local.protocols, &mut link);
        let is_established = protocols.is_established();
        *phase = Phase::Admitted(protocols);
        if is_established {
            return Verdict::Established;
        }
        deadlines.set(ConnTimer::Status, cx.now + limits::STATUS_TIMEOUT);
        Verdict::Pending
    }

    /// The socket took `n` of the outbound bytes. Each time, the socket has [`limits::WRITE_TIMEOUT`] for the next ones.
    pub fn handle_wrote(&mut self, cx: &mut Cx<'_>, n: usize) {
        if n == 0 || self.out.is_empty() {
            return;
        }
        self.out.consume(n);
        self.flush_queued &= !self.out.is_empty();
        if self.is_ending() {
            self.close_if_drained(cx);
        } else {
            self.deadlines.set(ConnTimer::Write, self.flush_queued.then(|| cx.now + limits::WRITE_TIMEOUT));
            self.report_ready(cx);
        }
    }

    /// The peer closed its half of the stream.
    pub fn handle_eof(&mut self, cx: &mut Cx<'_>) -> Verdict {
        self.handle_gone(cx, Side::Them, EndReason::Eof)
    }

    /// The stream failed, or its dial did.
    pub fn handle_broken(&mut self, cx: &mut Cx<'_>, why: IoFault) -> Verdict {
        self.handle_gone(cx, Side::Network, EndReason::Io(why))
    }

    /// The stream is gone: closes a connection whose end is decided.
    fn handle_gone(&mut self, cx: &mut Cx<'_>, by: Side, why: EndReason) -> Verdict {
        if let Some(end) = self.closing() {
            self.close(cx, end);
        }
        if self.is_ending() { Verdict::Pending } else { Verdict::End { by, why } }
    }

    /// The next deadline and what it is for.
    pub fn poll_timeout(&self) -> Option<(Instant, ConnTimer)> {
        let session = self.session().and_then(Session::poll_timeout);
        let requests = self.requests_due().map(|at| (at, ConnTimer::Request));
        self.deadlines.next().into_iter().chain(session).chain(requests).min()
    }

    /// When the oldest request of ours runs out of time, unless more of an answer comes before. The clock stands still while
    /// an answer arrives that is not slow, and while the connection is not read for want of memory.
    fn requests_due(&self) -> Option<Instant> {
        let (session, protocols) = (self.session()?, self.protocols()?);
        let due = protocols.poll_timeout().filter(|_| !session.is_paused())?;
        let arriving = session.arriving_message().filter(|(index, id)| is_answer(session, *index, *id));
        Some(arriving.and_then(|_| session.slow_at()).map_or(due, |slow_at| due.max(slow_at)))
    }

    /// The frame that holds memory until all of it has come.
    pub(super) fn frame(&self) -> Option<Frame> {
        let session = self.session()?;
        let arriving = session.arriving().filter(|arriving| arriving.body_bytes > 0)?;
        let awaited = |(index, id): &(usize, u64)| {
            is_answer(session, *index, *id) && self.protocols().is_some_and(|protocols| protocols.awaits(*index, *id))
        };
        let is_solicited = session.arriving_message().filter(awaited).is_some();
        Some(Frame { start: arriving.start, bytes: arriving.body_bytes, held: session.frame_memory(), is_solicited })
    }

    /// The connection is not read until memory is free.
    pub(super) fn pause(&mut self, now: Instant) {
        if let State::Session(framed) = &mut self.state {
            framed.session.pause(now);
        }
    }

    /// The connection is read again.
    pub(super) fn resume(&mut self, now: Instant) {
        let State::Session(framed) = &mut self.state else { return };
        let Framed { session, phase } = &mut **framed;
        if let (Some(since), Phase::Admitted(protocols)) = (session.resume(now), phase) {
            protocols.stand_still(since, now);
        }
    }

    /// Whether a slow frame ends the connection from now on: memory is short.
    pub(super) fn hurry(&mut self, is_hurried: bool) {
        if let State::Session(framed) = &mut self.state {
            framed.session.hurry(is_hurried);
        }
    }

    /// Handles one deadline that has passed.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Verdict {
        if let Some((_, timer)) = self.deadlines.pop_due(cx.now) {
            return match self.closing() {
                Some(end) => {
                    self.close(cx, end);
                    Verdict::Pending
                }
                None => Verdict::End { by: Side::Us, why: EndReason::Timeout(timer) },
            };
        }
        // A peer that sends so much that we do not read it is still silent.
        let reading = !cx.out.is_full();
        let are_requests_due = self.requests_due().is_some_and(|at| at <= cx.now);
        let Self { id: conn, state: State::Session(framed), out, .. } = self else { return Verdict::Pending };
        let Framed { session, phase } = &mut **framed;
        if let Phase::Admitted(protocols) = phase
            && are_requests_due
        {
            protocols.handle_timeout(cx, *conn, session.shared());
        }
        match session.handle_timeout(cx, out, reading) {
            Some(why) => Verdict::End { by: Side::Us, why },
            None => {
                self.report_ready(cx);
                Verdict::Pending
            }
        }
    }

    /// Decides the connection's end: queues the final Disconnect, and closes the stream once that is written and the peer's
    /// has come. Each open request fails. Returns `None` if the end was decided before.
    pub fn end(&mut self, cx: &mut Cx<'_>, by: Side, why: EndReason) -> Option<End> {
        if self.is_ending() {
            return None;
        }
        let end = End { by, stage: self.stage(), why };
        self.deadlines = Timers::default();
        self.refused = Refused::default();
        if let State::Session(framed) = &mut self.state {
            let Framed { session, phase } = &mut **framed;
            if let Phase::Admitted(protocols) = core::mem::replace(phase, Phase::Closing(end)) {
                protocols.close(cx, self.id, session.shared());
            }
            if by == Side::Us {
                if let Some(reason) = final_disconnect(why) {
                    // Where the session found the fault, its Disconnect is queued already.
                    session.disconnect(cx, &mut self.out, reason);
                }
                self.deadlines.set(ConnTimer::Closing, cx.now + limits::CLOSING_TIMEOUT);
                self.close_if_drained(cx);
                return Some(end);
            }
        }
        self.close(cx, end);
        Some(end)
    }

    /// Closes once our final Disconnect is written and the peer's has come.
    fn close_if_drained(&mut self, cx: &mut Cx<'_>) {
        if let State::Session(framed) = &self.state
            && let Phase::Closing(end) = framed.phase
            && framed.session.is_drained()
            && self.out.is_empty()
        {
            self.close(cx, end);
        }
    }

    /// Its end, if that is decided and the stream is still open.
    fn closing(&self) -> Option<End> {
        match &self.state {
            State::Session(framed) => match framed.phase {
                Phase::Closing(end) => Some(end),
                Phase::Hello | Phase::Identified | Phase::Admitted(_) => None,
            },
            State::Dialling(_) | State::Handshake(_) | State::Ended(_) => None,
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>, end: End) {
        self.out = Outbound::default();
        self.deadlines = Timers::default();
        self.state = State::Ended(end);
        cx.out.close(self.id);
        cx.out.emit(Event::Ended { conn: self.id, id: self.peer, addr: self.addr, direction: self.direction, end });
    }

    /// Queues `Flush` if bytes wait that the driver was not told of. To be called after each change.
    pub fn flush(&mut self, cx: &mut Cx<'_>) {
        if !self.flush_queued && !self.out.is_empty() {
            self.flush_queued = true;
            cx.out.flush(self.id);
            if !self.is_ending() {
                self.deadlines.set(ConnTimer::Write, cx.now + limits::WRITE_TIMEOUT);
            }
        }
    }
}

/// Omits the secret key.
impl fmt::Debug for Local<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Local");
        debug.field("key", self.key).field("hello", self.hello).field("protocols", &self.protocols);
        debug.field("export_secrets", &self.export_secrets).finish_non_exhaustive()
    }
}

/// Omits the state, which holds keys.
impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Connection");
        debug.field("id", &self.id).field("addr", &self.addr).field("direction", &self.direction);
        debug.field("peer", &self.peer).field("stage", &self.stage()).field("is_ending", &self.is_ending());
        debug.field("outbound_bytes", &self.out.len()).finish_non_exhaustive()
    }
}

/// Whether a message of the shared capability at `index` is an answer.
fn is_answer(session: &Session, index: usize, id: u64) -> bool {
    session.shared().get(index).and_then(|shared| shared.role(id)) == Some(Role::Response)
}

/// The reason in the Disconnect that we send when we end a session; `None` to send none.
const fn final_disconnect(why: EndReason) -> Option<DisconnectReason> {
    match why {
        EndReason::Disconnect(reason) => Some(reason),
        EndReason::Fault(fault) => fault.disconnect_reason(),
        EndReason::Status(_) => Some(DisconnectReason::SubprotocolError),
        EndReason::Refused(refusal) => Some(refusal.disconnect_reason()),
        EndReason::Timeout(ConnTimer::Status) => Some(DisconnectReason::SubprotocolError),
        EndReason::Timeout(_) => Some(DisconnectReason::PingTimeout),
        EndReason::Io(_) | EndReason::Eof => None,
    }
}

#[cfg(test)]
mod tests;
