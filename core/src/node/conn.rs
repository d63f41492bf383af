//! One connection from dial or accept to its end: the stream's stages in order, its deadlines and its last words.
//!
//! Composes the RLPx handshake, the session and, where it is shared, eth. Knows nothing of other connections: what
//! concerns slots, scores and bans is returned as [`Progress`].

use alloc::borrow::Cow;
use alloc::boxed::Box;
use core::net::SocketAddr;

use crate::contract::{
    CallFailure, CommandError, CommandId, ConnId, ConnTimer, Cx, End, EndReason, Event, Fault, IoFault, Outbound,
    Refusal, ScoreReason, Side, Stage,
};
use crate::crypto::{NodeId, PublicKey, SecretKey};
use crate::eth::handshake::Verdict;
use crate::eth::{Chain, EthHandshake, Incoming, Policy, Requests};
use crate::limits;
use crate::peers::{Origin, Place, View};
use crate::rlpx::{self, Handshake, LocalHello, Session, Step};
use crate::time::{Deadlines, Instant};
use crate::wire::enode::Contact;
use crate::wire::eth as eth_wire;
use crate::wire::p2p::{Capability, DisconnectReason, Hello};

/// What all connections of a node share.
pub(super) struct Local<'a> {
    pub secret: &'a SecretKey,
    pub hello: &'a LocalHello,
    pub chain: &'a Chain,
    pub key: &'a PublicKey,
    pub policy: Policy,
    pub export_secrets: bool,
}

/// What a connection has come to, and its parent must act upon.
#[must_use]
pub(super) enum Progress {
    /// Nothing more to do with what was given.
    Pending,
    /// The peer has said Hello, and thereby proven its key: auth can be replayed, and anybody can make an ack.
    Hello,
    /// The eth Status of both sides agree.
    Established(Box<eth_wire::Status>),
    /// Something that changes the peer's score and not the connection.
    Noted(ScoreReason),
    /// It is to end.
    End(Side, EndReason),
}

/// See the module.
pub(super) struct Conn {
    id: ConnId,
    pub addr: SocketAddr,
    pub origin: Origin,
    /// The peer's id: expected from a dial on, proven by its Hello.
    pub peer: Option<NodeId>,
    /// Its place among our peers, until its end is decided.
    pub place: Option<Place>,
    /// Its next deadline, as it stands in the node's schedule.
    pub scheduled: Option<(Instant, ConnTimer)>,
    state: State,
    out: Outbound,
    /// Whether `Flush` was queued for what is in `out`.
    flushed: bool,
    deadlines: Deadlines<ConnTimer>,
}

enum State {
    Dialling(PublicKey),
    Handshake(Handshake),
    Session(Box<Open>),
    /// The last words are on their way; it closes when the peer has said its own, or closed, or time is up.
    Closing(End, Box<Open>),
    /// `Close` and `Ended` are queued.
    Ended,
}

/// A connection whose handshake is done.
struct Open {
    session: Session,
    eth: Eth,
}

enum Eth {
    /// Not shared, or not known yet to be.
    None,
    Handshake(EthHandshake),
    /// The peer's first message was no Status that we accept.
    Refused,
    Established(Box<eth_wire::Status>, Requests),
}

impl Conn {
    pub(super) fn dial(cx: &mut Cx<'_>, id: ConnId, contact: &Contact, commanded: bool) -> Self {
        let origin = Origin::Dialled { commanded };
        let mut conn = Self::new(id, contact.tcp_addr(), origin, State::Dialling(contact.key()));
        conn.peer = Some(contact.id());
        conn.deadlines.set(ConnTimer::Connect, cx.now + limits::CONNECT_TIMEOUT);
        cx.out.dial(id, conn.addr);
        conn
    }

    pub(super) fn accept(cx: &mut Cx<'_>, id: ConnId, from: SocketAddr) -> Self {
        let mut conn = Self::new(id, from, Origin::Accepted, State::Handshake(Handshake::receive()));
        conn.deadlines.set(ConnTimer::Handshake, cx.now + limits::HANDSHAKE_TIMEOUT);
        conn
    }

    fn new(id: ConnId, addr: SocketAddr, origin: Origin, state: State) -> Self {
        let (out, deadlines) = (Outbound::default(), Deadlines::default());
        Self { id, addr, origin, peer: None, place: None, scheduled: None, state, out, flushed: false, deadlines }
    }

    /// What decisions about peers need to know of it.
    pub(super) fn view(&self) -> View {
        let is_ending = self.is_ending();
        let place = self.place.filter(|_| !is_ending);
        let Self { id, addr, origin, peer, .. } = *self;
        View { conn: id, addr, origin, id: peer, stage: self.stage(), place, is_ending }
    }

    /// How far it has come.
    pub(super) fn stage(&self) -> Stage {
        match &self.state {
            State::Dialling(_) => Stage::Dial,
            State::Handshake(_) => Stage::Handshake,
            State::Session(open) => match (open.session.hello(), &open.eth) {
                (None, _) => Stage::Hello,
                (Some(_), Eth::Handshake(_) | Eth::Refused) => Stage::Status,
                (Some(_), Eth::None | Eth::Established(..)) => Stage::Established,
            },
            State::Closing(end, _) => end.stage,
            State::Ended => Stage::Established,
        }
    }

    /// Whether its end is decided.
    pub(super) fn is_ending(&self) -> bool {
        matches!(self.state, State::Closing(..) | State::Ended)
    }

    /// The peer has a place: sends our Status, if eth is shared.
    pub(super) fn start_status(&mut self, cx: &mut Cx<'_>, local: &Local<'_>) {
        let State::Session(open) = &mut self.state else { return };
        let shared = open.session.shared().iter().map(|shared| shared.capability);
        let Some(capability) = shared.into_iter().find(Capability::is_eth) else { return };
        let (handshake, status) = EthHandshake::start(capability.version, local.policy, local.chain);
        open.eth = Eth::Handshake(handshake);
        self.deadlines.set(ConnTimer::Status, cx.now + limits::STATUS_TIMEOUT);
        if let Some(status) = status {
            open.send_status(cx, &mut self.out, &status);
        }
    }

    /// The bytes for its socket.
    pub(super) fn outbound(&self) -> &[u8] {
        self.out.as_slice()
    }

    /// Whether more bytes may come. What closes reads on, so that the stream is not reset before our last words arrive.
    pub(super) fn wants_read(&self) -> bool {
        match &self.state {
            State::Dialling(_) => false,
            State::Session(open) => match &open.eth {
                Eth::Established(_, requests) => !requests.is_full() && self.out.len() < limits::OUTBOUND_BYTES_MAX,
                _ => true,
            },
            State::Handshake(_) | State::Closing(..) => true,
            State::Ended => false,
        }
    }

    /// The peer's Hello.
    pub(super) fn hello(&self) -> Option<&Hello> {
        self.open()?.session.hello()
    }

    /// The peer's Status.
    pub(super) fn status(&self) -> Option<&eth_wire::Status> {
        match &self.open()?.eth {
            Eth::Established(status, _) => Some(status),
            _ => None,
        }
    }

    /// The session, from the end of the handshake on.
    pub(super) fn session(&self) -> Option<&Session> {
        Some(&self.open()?.session)
    }

    fn open(&self) -> Option<&Open> {
        if let State::Session(open) = &self.state { Some(open) } else { None }
    }

    pub(super) fn handle_connected(&mut self, cx: &mut Cx<'_>, local: &Local<'_>) {
        let State::Dialling(key) = self.state else { return };
        self.deadlines.set(ConnTimer::Connect, None);
        self.deadlines.set(ConnTimer::Handshake, cx.now + limits::HANDSHAKE_TIMEOUT);
        self.state = State::Handshake(Handshake::initiate(cx, local.secret, local.key, key, &mut self.out));
    }

    /// Handles bytes up to the next thing that concerns the parent; call again until it is pending.
    pub(super) fn handle_bytes(&mut self, cx: &mut Cx<'_>, local: &Local<'_>, bytes: &mut &[u8]) -> Progress {
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Handshake(handshake) => match handshake.handle_bytes(cx, local.secret, bytes, &mut self.out) {
                rlpx::Progress::Pending(handshake) => {
                    self.state = State::Handshake(handshake);
                    Progress::Pending
                }
                rlpx::Progress::Failed(fault) => {
                    self.state = State::Handshake(Handshake::receive());
                    Progress::End(Side::Us, EndReason::Fault(fault))
                }
                rlpx::Progress::Done(agreed) => {
                    self.deadlines.set(ConnTimer::Handshake, None);
                    if local.export_secrets
                        && let Some(secrets) = agreed.secrets().map(Box::new)
                    {
                        cx.out.emit(Event::Secrets { conn: self.id, secrets });
                    }
                    let session = Session::new(cx, *agreed, local.hello, &mut self.out);
                    self.state = State::Session(Box::new(Open { session, eth: Eth::None }));
                    self.handle_bytes(cx, local, bytes)
                }
            },
            State::Session(mut open) => {
                let progress = open.handle_bytes(cx, local, self.id, bytes, &mut self.out, &mut self.deadlines);
                if matches!(progress, Progress::Hello) {
                    self.peer = Some(open.session.key().node_id());
                }
                self.state = State::Session(open);
                progress
            }
            State::Closing(end, mut open) => {
                // A session that is over has nothing to tell.
                let _ = open.session.handle_bytes(cx, local.hello, bytes, &mut self.out);
                self.state = State::Closing(end, open);
                self.finish_if_said(cx);
                Progress::Pending
            }
            state @ (State::Dialling(_) | State::Ended) => {
                self.state = state;
                *bytes = &[];
                Progress::Pending
            }
        }
    }

    /// The socket took `n` bytes.
    pub(super) fn handle_wrote(&mut self, cx: &mut Cx<'_>, n: usize) {
        if n == 0 || self.out.is_empty() {
            return;
        }
        self.out.consume(n);
        self.flushed &= !self.out.is_empty();
        if self.is_ending() {
            self.finish_if_said(cx);
        } else {
            self.deadlines.set(ConnTimer::Write, self.flushed.then(|| cx.now + limits::WRITE_TIMEOUT));
        }
    }

    pub(super) fn handle_eof(&mut self, cx: &mut Cx<'_>) -> Progress {
        self.handle_gone(cx, Side::Them, EndReason::Eof)
    }

    pub(super) fn handle_broken(&mut self, cx: &mut Cx<'_>, why: IoFault) -> Progress {
        self.handle_gone(cx, Side::Network, EndReason::Io(why))
    }

    /// The other side is gone: of an end that was decided already, nothing is left but to finish.
    fn handle_gone(&mut self, cx: &mut Cx<'_>, by: Side, why: EndReason) -> Progress {
        match self.state {
            State::Closing(end, _) => {
                self.finish(cx, end);
                Progress::Pending
            }
            State::Ended => Progress::Pending,
            _ => Progress::End(by, why),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<(Instant, ConnTimer)> {
        let open = self.open();
        let session = open.and_then(|open| open.session.poll_timeout());
        let requests = open.and_then(|open| match &open.eth {
            Eth::Established(_, requests) => Some((requests.poll_timeout()?, ConnTimer::Request)),
            _ => None,
        });
        self.deadlines.next().into_iter().chain(session).chain(requests).min()
    }

    /// Handles one deadline that has passed.
    pub(super) fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Progress {
        if let Some((_, timer)) = self.deadlines.pop_due(cx.now) {
            if let (ConnTimer::Closing, State::Closing(end, _)) = (timer, &self.state) {
                let end = *end;
                self.finish(cx, end);
                return Progress::Pending;
            }
            return Progress::End(Side::Us, EndReason::Timeout(timer));
        }
        let reading = self.wants_read() && !cx.out.is_full();
        let State::Session(open) = &mut self.state else { return Progress::Pending };
        if let Eth::Established(_, requests) = &mut open.eth
            && let Some(command) = requests.handle_timeout(cx.now)
        {
            cx.out.emit(Event::RequestFailed { command, conn: self.id, why: CallFailure::Timeout });
            return Progress::Noted(ScoreReason::RequestTimeout);
        }
        match open.session.handle_timeout(cx, &mut self.out, reading) {
            Some(why) => Progress::End(Side::Us, why),
            None => Progress::Pending,
        }
    }

    /// Decides its end: the last words are queued, and the stream closes once they are written and heard.
    pub(super) fn end(&mut self, cx: &mut Cx<'_>, by: Side, why: EndReason) -> Option<End> {
        if self.is_ending() {
            return None;
        }
        let end = End { by, stage: self.stage(), why };
        if let State::Session(open) = &mut self.state {
            if let Eth::Established(_, requests) = core::mem::replace(&mut open.eth, Eth::Refused) {
                for command in requests.close() {
                    cx.out.emit(Event::RequestFailed { command, conn: self.id, why: CallFailure::Closed });
                }
            }
            if let (Side::Us, Some(reason)) = (by, last_words(why)) {
                // The session has said its own where it found the fault; then this does nothing.
                open.session.disconnect(cx, &mut self.out, reason);
            }
        }
        self.deadlines = Deadlines::default();
        match core::mem::replace(&mut self.state, State::Ended) {
            State::Session(open) if by == Side::Us => {
                self.deadlines.set(ConnTimer::Closing, cx.now + limits::CLOSING_TIMEOUT);
                self.state = State::Closing(end, open);
                self.finish_if_said(cx);
            }
            _ => self.finish(cx, end),
        }
        Some(end)
    }

    /// Closes once our last words are written and the peer's are heard.
    fn finish_if_said(&mut self, cx: &mut Cx<'_>) {
        if let State::Closing(end, open) = &self.state
            && open.session.is_heard_out()
            && self.out.is_empty()
        {
            let end = *end;
            self.finish(cx, end);
        }
    }

    fn finish(&mut self, cx: &mut Cx<'_>, end: End) {
        self.out = Outbound::default();
        self.deadlines = Deadlines::default();
        self.state = State::Ended;
        cx.out.close(self.id);
        cx.out.emit(Event::Ended {
            conn: self.id,
            id: self.peer,
            addr: self.addr,
            direction: self.origin.direction(),
            end,
        });
    }

    /// Queues `Flush` if there is something to write that the driver does not know of.
    pub(super) fn flush(&mut self, cx: &mut Cx<'_>) {
        if !self.flushed && !self.out.is_empty() {
            self.flushed = true;
            cx.out.flush(self.id);
            if !self.is_ending() {
                self.deadlines.set(ConnTimer::Write, cx.now + limits::WRITE_TIMEOUT);
            }
        }
    }

    pub(super) fn send(
        &mut self,
        cx: &mut Cx<'_>,
        capability: Capability,
        id: u64,
        payload: &[&[u8]],
    ) -> Result<(), CommandError> {
        let State::Session(open) = &mut self.state else { return Err(CommandError::NotEstablished) };
        if capability.is_eth() && !matches!(open.eth, Eth::Established(..)) {
            return Err(CommandError::NotEstablished);
        }
        open.session.send(cx, &mut self.out, capability, id, payload)
    }

    pub(super) fn request(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        id: u64,
        body: &[u8],
    ) -> Result<(), CommandError> {
        let State::Session(open) = &mut self.state else { return Err(CommandError::NotEstablished) };
        let Eth::Established(status, requests) = &mut open.eth else { return Err(CommandError::NotEstablished) };
        let capability = Capability::eth(status.version);
        let request = requests.ask(cx, id)?;
        let envelope = eth_wire::envelope(request.request_id(), body.len());
        open.session.send(cx, &mut self.out, capability, id, &[envelope.as_slice(), body])?;
        requests.asked(cx.now, request, command);
        Ok(())
    }

    pub(super) fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        request_id: u64,
        id: u64,
        body: &[u8],
    ) -> Result<(), CommandError> {
        let State::Session(open) = &mut self.state else { return Err(CommandError::NotEstablished) };
        let Eth::Established(status, requests) = &mut open.eth else { return Err(CommandError::NotEstablished) };
        let capability = Capability::eth(status.version);
        let answer = requests.answer(request_id, id)?;
        let envelope = eth_wire::envelope(request_id, body.len());
        open.session.send(cx, &mut self.out, capability, answer, &[envelope.as_slice(), body])?;
        requests.answered(request_id, id);
        Ok(())
    }
}

impl Open {
    fn handle_bytes(
        &mut self,
        cx: &mut Cx<'_>,
        local: &Local<'_>,
        conn: ConnId,
        bytes: &mut &[u8],
        out: &mut Outbound,
        deadlines: &mut Deadlines<ConnTimer>,
    ) -> Progress {
        loop {
            // A driver that heeds `wants_read` never comes here: it is fed without being drained.
            if cx.out.bytes() > limits::OUTBOX_BYTES_MAX {
                return Progress::End(Side::Us, EndReason::Refused(Refusal::Overloaded));
            }
            match self.session.handle_bytes(cx, local.hello, bytes, out) {
                Step::Pending => return Progress::Pending,
                Step::Fault(fault) => return Progress::End(Side::Us, EndReason::Fault(fault)),
                Step::Disconnected(reason) => return Progress::End(Side::Them, EndReason::Disconnect(reason)),
                Step::Hello => return Progress::Hello,
                Step::Message { capability, id } if capability.is_eth() => {
                    match self.handle_eth(cx, local, conn, id, out, deadlines) {
                        Progress::Pending => {}
                        progress => return progress,
                    }
                }
                Step::Message { capability, id } => {
                    let len = cx.out.staged().len();
                    cx.out.emit_staged(Event::Message { conn, capability, id, payload: Cow::default() }, 0..len);
                }
            }
        }
    }

    /// Handles the eth message that is staged.
    fn handle_eth(
        &mut self,
        cx: &mut Cx<'_>,
        local: &Local<'_>,
        conn: ConnId,
        id: u64,
        out: &mut Outbound,
        deadlines: &mut Deadlines<ConnTimer>,
    ) -> Progress {
        match core::mem::replace(&mut self.eth, Eth::Refused) {
            Eth::None | Eth::Refused => Progress::End(Side::Us, EndReason::Fault(Fault::UnknownMessage)),
            Eth::Handshake(handshake) => match handshake.handle_message(local.chain, id, cx.out.staged()) {
                Verdict::Accepted { theirs, reply } => {
                    deadlines.set(ConnTimer::Status, None);
                    if let Some(reply) = reply {
                        self.send_status(cx, out, &reply);
                    }
                    self.eth = Eth::Established(theirs.clone(), Requests::new(theirs.version));
                    Progress::Established(theirs)
                }
                Verdict::Refused { why, .. } => Progress::End(Side::Us, EndReason::Status(why)),
                Verdict::Fault(fault) => Progress::End(Side::Us, EndReason::Fault(fault)),
            },
            Eth::Established(status, mut requests) => {
                let capability = Capability::eth(status.version);
                let incoming = requests.handle_message(cx.now, id, cx.out.staged());
                self.eth = Eth::Established(status, requests);
                match incoming {
                    Incoming::Fault(fault) => Progress::End(Side::Us, EndReason::Fault(fault)),
                    Incoming::Late => Progress::Pending,
                    Incoming::Announcement | Incoming::BlockRange(_) => {
                        let len = cx.out.staged().len();
                        cx.out.emit_staged(Event::Message { conn, capability, id, payload: Cow::default() }, 0..len);
                        Progress::Pending
                    }
                    Incoming::Request { request_id, body } => {
                        cx.out.emit_staged(Event::Request { conn, request_id, id, body: Cow::default() }, body);
                        Progress::Pending
                    }
                    Incoming::Response { command, rtt, body } => {
                        cx.out.emit_staged(Event::Response { command, conn, id, body: Cow::default(), rtt }, body);
                        Progress::Noted(ScoreReason::Served)
                    }
                }
            }
        }
    }

    fn send_status(&mut self, cx: &mut Cx<'_>, out: &mut Outbound, status: &eth_wire::Status) {
        let capability = Capability::eth(status.version);
        // Cannot be refused: the capability is shared, the message small, and nothing is queued this early.
        let _ = self.session.send(cx, out, capability, eth_wire::id::STATUS, &[&status.encode()]);
    }
}

/// What the peer is told when we end a session.
fn last_words(why: EndReason) -> Option<DisconnectReason> {
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
