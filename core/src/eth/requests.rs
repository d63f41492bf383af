//! Who asked what in one eth session (`eth.md`, "Protocol Messages"): our requests until they are answered or their time
//! is up, the peer's until the embedder has answered them, and which messages its version has at all.
//!
//! An answer is matched by request id and message id before anything else of it is looked at. What requests and answers
//! say is the embedder's. It sends nothing itself: a request or answer is entered once its message is on its way.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use crate::contract::{CommandError, CommandId, Cx, Fault};
use crate::limits;
use crate::time::{Duration, Instant};
use crate::wire::eth::{self, BlockRange, Role, role};
use crate::wire::rlp::{self, Bounds};

/// The open requests of one session, in both directions.
#[derive(Clone, Debug)]
pub struct Requests {
    version: u32,
    /// Ours, oldest first: all have the same time to be answered, so they also end in this order.
    ours: VecDeque<Asked>,
    /// Ours that were not answered in time, oldest first: their answers may still come.
    late: VecDeque<Expected>,
    /// Theirs, oldest first. Their ids may repeat.
    theirs: Vec<Asking>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Expected {
    request_id: u64,
    /// Message id of the answer.
    answer: u64,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    expected: Expected,
    command: CommandId,
    at: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Asking {
    request_id: u64,
    /// Message id of the request.
    id: u64,
}

/// A request of ours that may be sent; enter it with [`Requests::asked`] when it has been.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct NewRequest(Expected);

impl NewRequest {
    /// The id to send it with.
    pub fn request_id(&self) -> u64 {
        self.0.request_id
    }
}

/// What a message of an established session is. Bodies are ranges of its payload: the RLP items behind the request id.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Incoming {
    /// An announcement, not looked into.
    Announcement,
    /// The blocks that the peer can serve from now on.
    BlockRange(BlockRange),
    /// The peer asks.
    Request {
        /// Its request id; may be that of another.
        request_id: u64,
        /// Where the body is.
        body: Range<usize>,
    },
    /// The answer to a request of ours, which is closed.
    Response {
        /// Which command it was.
        command: CommandId,
        /// Where the body is.
        body: Range<usize>,
        /// From the request to this.
        rtt: Duration,
    },
    /// An answer that came too late; nobody waits for it.
    Late,
    /// The peer broke the protocol.
    Fault(Fault),
}

impl Requests {
    /// No requests, in an established session of this version of eth.
    pub fn new(version: u32) -> Self {
        Self { version, ours: VecDeque::new(), late: VecDeque::new(), theirs: Vec::new() }
    }

    /// A request id for a request of ours with message `id`.
    ///
    /// # Errors
    /// [`CommandError::UnknownMessage`] if the version has no such request, [`CommandError::Busy`] while
    /// [`limits::REQUESTS_OUT_MAX`] are open.
    pub fn ask(&self, cx: &mut Cx<'_>, id: u64) -> Result<NewRequest, CommandError> {
        let Some(Role::Request { answer }) = role(self.version, id) else {
            return Err(CommandError::UnknownMessage);
        };
        if self.ours.len() >= limits::REQUESTS_OUT_MAX {
            return Err(CommandError::Busy);
        }
        // Random, so that a peer cannot answer what it has not been asked; distinct, so that an answer has one request.
        loop {
            let expected = Expected { request_id: cx.rng.u64(), answer };
            let same_id = |other: &Expected| other.request_id == expected.request_id;
            if !self.ours.iter().any(|asked| same_id(&asked.expected)) && !self.late.iter().any(same_id) {
                return Ok(NewRequest(expected));
            }
        }
    }

    /// The request has been sent; its time runs from now on.
    pub fn asked(&mut self, now: Instant, request: NewRequest, command: CommandId) {
        self.ours.push_back(Asked { expected: request.0, command, at: now });
    }

    /// Whether as many requests of the peer are open as may be: it must not be read from until one is answered.
    pub fn is_full(&self) -> bool {
        self.theirs.len() >= limits::REQUESTS_IN_HIGH_WATER
    }

    /// The message id that answers the peer's request; enter the answer with [`Requests::answered`] when it has been sent.
    ///
    /// # Errors
    /// [`CommandError::UnknownRequest`] if no such request is open.
    pub fn answer(&self, request_id: u64, id: u64) -> Result<u64, CommandError> {
        match role(self.version, id) {
            Some(Role::Request { answer }) if self.theirs.contains(&Asking { request_id, id }) => Ok(answer),
            _ => Err(CommandError::UnknownRequest),
        }
    }

    /// The peer's request has been answered; of several alike, the oldest.
    pub fn answered(&mut self, request_id: u64, id: u64) {
        if let Some(index) = self.theirs.iter().position(|asking| *asking == Asking { request_id, id }) {
            self.theirs.remove(index);
        }
    }

    /// Sorts a message of the peer by what it is to the protocol.
    pub fn handle_message(&mut self, now: Instant, id: u64, payload: &[u8]) -> Incoming {
        match role(self.version, id) {
            None => Incoming::Fault(Fault::UnknownMessage),
            Some(Role::Forbidden) => Incoming::Fault(Fault::ForbiddenMessage),
            Some(Role::Status) => Incoming::Fault(Fault::StatusTwice),
            Some(Role::Announcement) if id == eth::id::BLOCK_RANGE_UPDATE => match BlockRange::decode(payload) {
                Ok(range) => Incoming::BlockRange(range),
                Err(error) => Incoming::Fault(Fault::Message(error)),
            },
            Some(Role::Announcement) => Incoming::Announcement,
            Some(Role::Request { .. }) => self.handle_request(id, payload).unwrap_or_else(Incoming::Fault),
            Some(Role::Response) => self.handle_response(now, id, payload).unwrap_or_else(Incoming::Fault),
        }
    }

    fn handle_request(&mut self, id: u64, payload: &[u8]) -> Result<Incoming, Fault> {
        if self.theirs.len() >= limits::REQUESTS_IN_MAX {
            return Err(Fault::Overrun);
        }
        let (request_id, body) = open_envelope(payload)?;
        check(payload)?;
        self.theirs.push(Asking { request_id, id });
        Ok(Incoming::Request { request_id, body })
    }

    fn handle_response(&mut self, now: Instant, id: u64, payload: &[u8]) -> Result<Incoming, Fault> {
        let (request_id, body) = open_envelope(payload)?;
        let expected = Expected { request_id, answer: id };
        if let Some(index) = self.ours.iter().position(|asked| asked.expected == expected) {
            check(payload)?;
            let asked = self.ours.remove(index).ok_or(Fault::UnsolicitedResponse)?;
            return Ok(Incoming::Response { command: asked.command, body, rtt: now.since(asked.at) });
        }
        let index = self.late.iter().position(|late| *late == expected).ok_or(Fault::UnsolicitedResponse)?;
        self.late.remove(index);
        Ok(Incoming::Late)
    }

    /// When the oldest request of ours runs out of time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ours.front().map(|asked| asked.at + limits::REQUEST_TIMEOUT)
    }

    /// Closes one request whose time is up. Call again until there is none.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<CommandId> {
        if self.poll_timeout()? > now {
            return None;
        }
        let asked = self.ours.pop_front()?;
        if self.late.len() >= limits::LATE_REQUESTS_MAX {
            self.late.pop_front();
        }
        self.late.push_back(asked.expected);
        Some(asked.command)
    }

    /// The session is over: the commands that will not be answered, oldest first.
    pub fn close(self) -> impl Iterator<Item = CommandId> {
        self.ours.into_iter().map(|asked| asked.command)
    }
}

/// A payload's request id, and where its body is.
fn open_envelope(payload: &[u8]) -> Result<(u64, Range<usize>), Fault> {
    let (request_id, items) = eth::request_id(payload).map_err(Fault::Message)?;
    Ok((request_id, payload.len() - items.rest().len()..payload.len()))
}

fn check(payload: &[u8]) -> Result<(), Fault> {
    rlp::check(payload, Bounds::MESSAGE).map(|_| ()).map_err(Fault::Message)
}

#[cfg(test)]
mod tests;
