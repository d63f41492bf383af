//! The protocols of one session, in the order of its shared capabilities; a message is routed by its index in that order.
//!
//! Each is an entry of one list: eth with its handshake, a protocol with a [`Schema`](crate::wire::schema::Schema) whose
//! requests are matched with their answers (snap, or the embedder's own), or one whose messages pass as they come. The
//! bounds on open requests are the session's. No protocol sees a frame, and none knows of another connection: for that
//! there are [`behaviours`].

mod eth;
mod requests;

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

pub use self::eth::Eth;
pub use self::requests::{Incoming, NewRequest, Requests};
use crate::contract::{
    Behaviour, CallFailure, CommandError, CommandId, ConnId, Cx, EndReason, Event, Outbound, ScoreReason,
};
use crate::crypto::NodeId;
use crate::eth::BlockRangeAnnouncer;
pub use crate::eth::{Chain, Policy};
use crate::limits;
use crate::rlpx::{Expects, Session};
use crate::time::Instant;
use crate::wire::eth::{Status, envelope};
use crate::wire::p2p::{Capability, Shared};
use crate::wire::rlp;

/// The capabilities that a node offers unless it is configured otherwise: eth/68 and eth/69.
pub fn offered() -> Vec<Capability> {
    alloc::vec![Capability::eth(68), Capability::eth(69)]
}

/// The machines across connections that every node has, in the order in which they are polled.
pub fn behaviours(chain: &Chain) -> Vec<Box<dyn Behaviour>> {
    alloc::vec![Box::new(BlockRangeAnnouncer::new(chain.head().number))]
}

/// What the protocols of every session know of this node.
#[derive(Clone, Copy, Debug)]
pub struct Local<'a> {
    /// The network and our head.
    pub chain: &'a Chain,
    /// When our Status is sent.
    pub status: Policy,
}

/// A protocol in a session.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// Without a schema: messages pass as they come.
    Raw,
    /// With a schema: requests are matched with their answers.
    Matched(Requests),
    /// eth.
    Eth(Eth),
}

/// The protocols of a session that has a place.
#[derive(Clone, Debug)]
pub struct Protocols(Vec<Protocol>);

/// The session that a protocol sends through, and the connection that its events name.
#[derive(Debug)]
pub struct Link<'a> {
    /// The connection.
    pub conn: ConnId,
    /// The peer.
    pub peer: NodeId,
    /// The session.
    pub session: &'a mut Session,
    /// Bytes for the session's stream.
    pub out: &'a mut Outbound,
}

/// The result of handling a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Outcome {
    /// Nothing to act upon.
    Pending,
    /// The handshakes of all protocols are done.
    Established,
    /// A change of the peer's score; the session goes on.
    Charge(ScoreReason),
    /// The session is to end.
    End(EndReason),
}

/// A link, and one protocol's index in it.
struct Route<'a> {
    conn: ConnId,
    peer: NodeId,
    session: &'a mut Session,
    out: &'a mut Outbound,
    shared: Shared,
    index: usize,
    /// The answer that was passed on, if the message was one.
    answer: Option<Answer>,
}

/// An answer to a request of ours.
#[derive(Clone, Copy)]
struct Answer {
    /// When the request was queued.
    asked_at: Instant,
    /// Whether there is anything in it.
    is_useful: bool,
}

impl Route<'_> {
    fn capability(&self) -> Capability {
        self.shared.capability
    }

    fn send(&mut self, cx: &mut Cx<'_>, id: u64, payload: &[&[u8]]) -> Result<(), CommandError> {
        self.session.send(cx, self.out, self.index, id, payload)
    }

    /// Makes the event of a message that is staged.
    fn pass_on(&mut self, cx: &mut Cx<'_>, id: u64, incoming: Incoming) -> Outcome {
        let (conn, capability) = (self.conn, self.capability());
        match incoming {
            Incoming::Fault(fault) => return Outcome::End(EndReason::Fault(fault)),
            Incoming::Late => cx.out.discard_staged(),
            Incoming::Status | Incoming::Announcement => {
                let len = cx.out.staged().len();
                cx.out.emit_staged(Event::Message { conn, capability, id, payload: Cow::default() }, 0..len);
            }
            Incoming::Request { request_id, body } => {
                cx.out.emit_staged(Event::Request { conn, capability, request_id, id, body: Cow::default() }, body);
            }
            Incoming::Response { command, rtt, body } => {
                let asked_at = Instant::ZERO + cx.now.since(Instant::ZERO).saturating_sub(rtt);
                self.answer = Some(Answer { asked_at, is_useful: has_content(cx.out.staged()) });
                cx.out.emit_staged(Event::Response { command, conn, capability, id, body: Cow::default(), rtt }, body);
            }
        }
        Outcome::Pending
    }
}

impl Protocol {
    fn requests(&self) -> Option<&Requests> {
        match self {
            Self::Raw | Self::Eth(Eth::Handshake { .. }) => None,
            Self::Matched(requests) | Self::Eth(Eth::Established { requests, .. }) => Some(requests),
        }
    }

    fn requests_mut(&mut self) -> Option<&mut Requests> {
        match self {
            Self::Raw | Self::Eth(Eth::Handshake { .. }) => None,
            Self::Matched(requests) | Self::Eth(Eth::Established { requests, .. }) => Some(requests),
        }
    }

    /// Whether the protocol's own handshake is done, if it has one.
    fn is_established(&self) -> bool {
        !matches!(self, Self::Eth(Eth::Handshake { .. }))
    }
}

impl Expects for Protocols {
    fn is_established(&self) -> bool {
        self.0.iter().all(Protocol::is_established)
    }

    fn awaits_any(&self) -> bool {
        self.0.iter().filter_map(Protocol::requests).any(Requests::awaits_any)
    }

    fn awaits(&self, index: usize, id: u64) -> bool {
        self.0.get(index).and_then(Protocol::requests).is_some_and(|requests| requests.awaits(id))
    }
}

impl Protocols {
    /// Starts the protocols of a session whose Hellos have been exchanged; they may send their first messages.
    pub fn start(cx: &mut Cx<'_>, local: &Local<'_>, link: &mut Link<'_>) -> Self {
        let count = link.session.shared().len();
        let mut protocols = Vec::with_capacity(count);
        for index in 0..count {
            let Some(mut route) = link.route(index) else { break };
            let protocol = match route.shared.schema {
                None => Protocol::Raw,
                Some(schema) if route.capability().is_eth() => Protocol::Eth(Eth::start(cx, local, &mut route, schema)),
                Some(schema) => Protocol::Matched(Requests::new(schema)),
            };
            protocols.push(protocol);
        }
        Self(protocols)
    }

    /// The protocols, in the order of [`Session::shared`].
    pub fn iter(&self) -> impl Iterator<Item = &Protocol> {
        self.0.iter()
    }

    /// Whether the handshakes of all protocols are done.
    pub fn is_established(&self) -> bool {
        Expects::is_established(self)
    }

    /// The peer's eth Status, once it is accepted.
    pub fn status(&self) -> Option<&Status> {
        self.0.iter().find_map(|protocol| match protocol {
            Protocol::Eth(Eth::Established { status, .. }) => Some(&**status),
            _ => None,
        })
    }

    /// The number of open requests of ours, of all protocols.
    pub fn requests_out(&self) -> usize {
        self.0.iter().filter_map(Protocol::requests).map(Requests::ours).sum()
    }

    /// The number of open requests of the peer, of all protocols.
    pub fn requests_in(&self) -> usize {
        self.0.iter().filter_map(Protocol::requests).map(Requests::theirs).sum()
    }

    /// Handles the message that is staged in the outbox, of the shared capability at `index`.
    pub fn handle_message(
        &mut self,
        cx: &mut Cx<'_>,
        local: &Local<'_>,
        link: &mut Link<'_>,
        index: usize,
        id: u64,
    ) -> Outcome {
        let room = limits::REQUESTS_IN_MAX.saturating_sub(self.requests_in());
        let (Some(mut route), Some(protocol)) = (link.route(index), self.0.get_mut(index)) else {
            return Outcome::Pending;
        };
        let outcome = match protocol {
            Protocol::Raw => route.pass_on(cx, id, Incoming::Announcement),
            Protocol::Matched(requests) => {
                let incoming = requests.handle_message(cx.now, id, cx.out.staged(), room, cx.work);
                route.pass_on(cx, id, incoming)
            }
            Protocol::Eth(eth) => eth.handle_message(cx, local, &mut route, id, room),
        };
        let answer = route.answer;
        match (outcome, answer) {
            (Outcome::Established, _) if !self.is_established() => Outcome::Pending,
            (Outcome::Pending, Some(answer)) => match self.acknowledge(cx.now, answer.asked_at) {
                Outcome::Pending if answer.is_useful => Outcome::Charge(ScoreReason::Served),
                outcome => outcome,
            },
            (outcome, _) => outcome,
        }
    }

    /// A message of the peer proves that it has received all that was sent before `sent_at`: charges a request that it has left
    /// unanswered since.
    pub fn acknowledge(&mut self, now: Instant, sent_at: Instant) -> Outcome {
        let mut requests = self.0.iter_mut().filter_map(Protocol::requests_mut);
        if requests.any(|requests| requests.acknowledge(now, sent_at)) {
            return Outcome::Charge(ScoreReason::Unanswered);
        }
        Outcome::Pending
    }

    /// Sends a message of a shared capability.
    ///
    /// # Errors
    /// See [`Session::send`]; and [`CommandError::NotEstablished`] before the protocol's handshake is done.
    pub fn send(
        &self,
        cx: &mut Cx<'_>,
        link: &mut Link<'_>,
        capability: Capability,
        id: u64,
        payload: &[&[u8]],
    ) -> Result<(), CommandError> {
        let mut route = link.find(capability)?;
        if !self.0.get(route.index).is_some_and(Protocol::is_established) {
            return Err(CommandError::NotEstablished);
        }
        route.send(cx, id, payload)
    }

    /// Sends a request; `command` will be named by its answer.
    ///
    /// # Errors
    /// As [`Protocols::send`]; [`CommandError::UnknownMessage`] if the protocol has no such request, and
    /// [`CommandError::Busy`] while [`limits::REQUESTS_OUT_MAX`] are open.
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        link: &mut Link<'_>,
        command: CommandId,
        capability: Capability,
        id: u64,
        body: &[u8],
    ) -> Result<(), CommandError> {
        let room = limits::REQUESTS_OUT_MAX.saturating_sub(self.requests_out());
        let mut route = link.find(capability)?;
        let requests = self.requests_of(route.index)?;
        let request = requests.start_request(cx.rng, id, room)?;
        let envelope = envelope(request.request_id(), body.len());
        route.send(cx, id, &[envelope.as_slice(), body])?;
        requests.sent(cx.now, request, command);
        Ok(())
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    /// As [`Protocols::send`], and as [`Requests::answer`].
    pub fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        link: &mut Link<'_>,
        capability: Capability,
        request_id: u64,
        id: u64,
        body: &[u8],
    ) -> Result<(), CommandError> {
        let mut route = link.find(capability)?;
        let requests = self.requests_of(route.index)?;
        let answer = requests.answer(request_id, id)?;
        let envelope = envelope(request_id, body.len());
        route.send(cx, answer, &[envelope.as_slice(), body])?;
        requests.answered(request_id, id);
        Ok(())
    }

    /// The requests of an established protocol.
    fn requests_of(&mut self, index: usize) -> Result<&mut Requests, CommandError> {
        match self.0.get_mut(index) {
            Some(Protocol::Raw) => Err(CommandError::UnknownMessage),
            Some(protocol) => protocol.requests_mut().ok_or(CommandError::NotEstablished),
            None => Err(CommandError::NotShared),
        }
    }

    /// The time between `since` and `now` does not count for the requests that were open in it.
    pub fn stand_still(&mut self, since: Instant, now: Instant) {
        self.0.iter_mut().filter_map(Protocol::requests_mut).for_each(|requests| requests.stand_still(since, now));
    }

    /// When the oldest request of ours runs out of time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.0.iter().filter_map(Protocol::requests).filter_map(Requests::poll_timeout).min()
    }

    /// Closes the requests whose time is up, and tells. That proves nothing against the peer.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>, conn: ConnId, shared: &[Shared]) {
        for (protocol, shared) in self.0.iter_mut().zip(shared) {
            while let Some(command) = protocol.requests_mut().and_then(|requests| requests.handle_timeout(cx.now)) {
                let (capability, why) = (shared.capability, CallFailure::Timeout);
                cx.out.emit(Event::RequestFailed { command, conn, capability, why });
            }
        }
    }

    /// The session is over: tells each open request of ours that it failed.
    pub fn close(self, cx: &mut Cx<'_>, conn: ConnId, shared: &[Shared]) {
        for (protocol, shared) in self.0.into_iter().zip(shared) {
            let (Protocol::Matched(requests) | Protocol::Eth(Eth::Established { requests, .. })) = protocol else {
                continue;
            };
            for command in requests.close() {
                let (capability, why) = (shared.capability, CallFailure::Closed);
                cx.out.emit(Event::RequestFailed { command, conn, capability, why });
            }
        }
    }
}

impl Link<'_> {
    fn route(&mut self, index: usize) -> Option<Route<'_>> {
        let shared = *self.session.shared().get(index)?;
        let Self { conn, peer, session, out } = self;
        Some(Route { conn: *conn, peer: *peer, session, out, shared, index, answer: None })
    }

    fn find(&mut self, capability: Capability) -> Result<Route<'_>, CommandError> {
        let index = self.session.shared().iter().position(|shared| shared.capability == capability);
        index.and_then(|index| self.route(index)).ok_or(CommandError::NotShared)
    }
}

/// Whether an answer has content: a list that is not empty or, if it has no list, a string that is not.
fn has_content(payload: &[u8]) -> bool {
    let Ok(mut items) = rlp::shallow_list(payload) else { return false };
    // The first item is the request id.
    let _ = items.raw();
    let (mut has_list, mut has_string) = (false, false);
    while let Ok(item) = items.raw() {
        let is_list = item.first().is_some_and(|byte| *byte >= 0xc0);
        let is_filled = !matches!(item, [0x80 | 0xc0]);
        if is_list && is_filled {
            return true;
        }
        has_list |= is_list;
        has_string |= is_filled;
    }
    has_string && !has_list
}

#[cfg(test)]
mod tests;
