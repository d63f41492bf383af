//! The open requests of one protocol in one session: ours until they are answered or their time is up, the peer's until
//! the embedder has answered them, and which messages the protocol's version has at all.
//!
//! An answer is matched by request id and message id before anything else of it is looked at. What requests and answers
//! hold is the embedder's. Nothing is sent from here: a request or answer is entered once its message is queued. The
//! bounds are the session's, which has other protocols too, so that the caller says how much room is left.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::ops::Range;

use crate::contract::{CommandError, CommandId, Fault, Work};
use crate::limits;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::eth;
use crate::wire::schema::{Role, Schema};

/// The open requests of one protocol, in both directions.
#[derive(Clone, Debug)]
pub struct Requests {
    schema: &'static Schema,
    /// Ours, oldest first: all have the same time to be answered, and it stands still for all, so they also expire in this
    /// order.
    ours: VecDeque<OurRequest>,
    /// Ours that were not answered in time, oldest first: their answers may still come.
    late: VecDeque<Late>,
    /// The number of late ones that there was no more room for: so many unmatched answers are theirs.
    forgotten: u64,
    /// The peer's, oldest first. Their ids may repeat.
    theirs: Vec<TheirRequest>,
}

/// The answer that a request of ours waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Expected {
    request_id: u64,
    /// Message id of the answer.
    answer: u64,
}

/// A request of ours that was not answered in time.
#[derive(Clone, Copy, Debug)]
struct Late {
    expected: Expected,
    evidence: Evidence,
}

/// What the peer's messages prove about a late request.
#[derive(Clone, Copy, Debug)]
enum Evidence {
    /// Nothing, since its time was up.
    None(Instant),
    /// The peer has had it since that instant, or longer.
    Received(Instant),
    /// The peer has left it unanswered, and was charged.
    Charged,
}

#[derive(Clone, Copy, Debug)]
struct OurRequest {
    expected: Expected,
    command: CommandId,
    sent_at: Instant,
    /// Later than `sent_at` by the time for an answer, and by the time in which it stood still.
    deadline: Instant,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct TheirRequest {
    request_id: u64,
    /// Message id of the request.
    id: u64,
}

/// A request of ours that may be sent; enter it with [`Requests::sent`] once it is queued.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct NewRequest(Expected);

impl NewRequest {
    /// The id to send it with.
    pub fn request_id(&self) -> u64 {
        self.0.request_id
    }
}

/// What a message of the peer is. Bodies are ranges of its payload: the RLP items behind the request id.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Incoming {
    /// The message that opens a session of the protocol.
    Status,
    /// An announcement, not looked into.
    Announcement,
    /// The peer requests something.
    Request {
        /// Its request id; another open request may have the same.
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
    /// An answer to a request that has timed out; nothing waits for it.
    Late,
    /// The peer broke the protocol.
    Fault(Fault),
}

impl Requests {
    /// No requests, in a session of the protocol with these messages.
    pub const fn new(schema: &'static Schema) -> Self {
        Self { schema, ours: VecDeque::new(), late: VecDeque::new(), forgotten: 0, theirs: Vec::new() }
    }

    /// The number of open requests of ours.
    pub fn ours(&self) -> usize {
        self.ours.len()
    }

    /// The number of open requests of the peer.
    pub fn theirs(&self) -> usize {
        self.theirs.len()
    }

    /// A request id for a request of ours with message `id`. `room` is the number of requests that the session may still
    /// open.
    ///
    /// # Errors
    /// [`CommandError::UnknownMessage`] if the protocol has no such request, [`CommandError::Busy`] if there is no room.
    pub fn start_request(&self, rng: &mut Rng, id: u64, room: usize) -> Result<NewRequest, CommandError> {
        let Some(Role::Request { answer }) = self.schema.role(id) else {
            return Err(CommandError::UnknownMessage);
        };
        if room == 0 {
            return Err(CommandError::Busy);
        }
        // Random, so that a peer cannot answer what it has not been asked; distinct, so that an answer has one request.
        loop {
            let expected = Expected { request_id: rng.u64(), answer };
            let same_id = |other: &Expected| other.request_id == expected.request_id;
            if !self.ours.iter().any(|ours| same_id(&ours.expected))
                && !self.late.iter().any(|late| same_id(&late.expected))
            {
                return Ok(NewRequest(expected));
            }
        }
    }

    /// The request is queued for sending; its time runs from now on.
    pub fn sent(&mut self, now: Instant, request: NewRequest, command: CommandId) {
        let deadline = now + limits::REQUEST_TIMEOUT;
        self.ours.push_back(OurRequest { expected: request.0, command, sent_at: now, deadline });
    }

    /// The message id that answers the peer's request; enter the answer with [`Requests::answered`] once it is queued.
    ///
    /// # Errors
    /// [`CommandError::UnknownRequest`] if no request with that request id is open, [`CommandError::UnknownMessage`] if one
    /// is, but with another message id than `id`.
    pub fn answer(&self, request_id: u64, id: u64) -> Result<u64, CommandError> {
        if !self.theirs.iter().any(|theirs| theirs.request_id == request_id) {
            return Err(CommandError::UnknownRequest);
        }
        match self.schema.role(id) {
            Some(Role::Request { answer }) if self.theirs.contains(&TheirRequest { request_id, id }) => Ok(answer),
            _ => Err(CommandError::UnknownMessage),
        }
    }

    /// The peer's request has been answered; of several alike, the oldest.
    pub fn answered(&mut self, request_id: u64, id: u64) {
        if let Some(index) = self.theirs.iter().position(|theirs| *theirs == TheirRequest { request_id, id }) {
            self.theirs.remove(index);
        }
    }

    /// Sorts a message of the peer by its role. `room` is the number of requests that the peer may still open in the
    /// session. Counts the items that it looks at in `work`.
    pub fn handle_message(&mut self, now: Instant, id: u64, payload: &[u8], room: usize, work: &mut Work) -> Incoming {
        let handled = match self.schema.role(id) {
            None => Err(Fault::UnknownMessage),
            Some(Role::Forbidden) => Err(Fault::ForbiddenMessage),
            Some(Role::Status) => Ok(Incoming::Status),
            Some(Role::Announcement) => self.check(id, payload, work).map(|()| Incoming::Announcement),
            Some(Role::Request { .. }) => self.handle_request(id, payload, room, work),
            Some(Role::Response) => self.handle_response(now, id, payload, work),
        };
        handled.unwrap_or_else(Incoming::Fault)
    }

    /// Checks the items of a payload.
    fn check(&self, id: u64, payload: &[u8], work: &mut Work) -> Result<(), Fault> {
        let Some(items) = self.schema.items(id) else { return Ok(()) };
        let mut looked_at = 0;
        let checked = items.check(payload, &mut looked_at);
        work.rlp_items(looked_at);
        checked.map_err(Fault::Message)
    }

    /// Whether a request of ours waits for message `id`, or one that was not answered in time.
    pub fn awaits(&self, id: u64) -> bool {
        self.forgotten > 0
            || self.ours.iter().any(|ours| ours.expected.answer == id)
            || self.late.iter().any(|late| late.expected.answer == id)
    }

    /// Whether a request of ours waits for any answer, or one that was not answered in time.
    pub fn awaits_any(&self) -> bool {
        self.forgotten > 0 || !self.ours.is_empty() || !self.late.is_empty()
    }

    fn handle_request(&mut self, id: u64, payload: &[u8], room: usize, work: &mut Work) -> Result<Incoming, Fault> {
        if room == 0 {
            return Err(Fault::Overrun);
        }
        let (request_id, body) = open_envelope(payload)?;
        self.check(id, payload, work)?;
        self.theirs.push(TheirRequest { request_id, id });
        Ok(Incoming::Request { request_id, body })
    }

    fn handle_response(&mut self, now: Instant, id: u64, payload: &[u8], work: &mut Work) -> Result<Incoming, Fault> {
        if !self.awaits(id) {
            return Err(Fault::UnsolicitedResponse);
        }
        let (request_id, body) = open_envelope(payload)?;
        let expected = Expected { request_id, answer: id };
        if let Some(index) = self.ours.iter().position(|ours| ours.expected == expected) {
            self.check(id, payload, work)?;
            let ours = self.ours.remove(index).ok_or(Fault::UnsolicitedResponse)?;
            return Ok(Incoming::Response { command: ours.command, body, rtt: now.since(ours.sent_at) });
        }
        if let Some(index) = self.late.iter().position(|late| late.expected == expected) {
            self.late.remove(index);
        } else {
            self.forgotten = self.forgotten.checked_sub(1).ok_or(Fault::UnsolicitedResponse)?;
        }
        Ok(Incoming::Late)
    }

    /// A message of the peer proves that it has received all that was sent before `sent_at`. Returns whether it also proves
    /// that the peer has left a request unanswered: since an earlier such message it has had the request for longer than
    /// [`limits::REQUEST_TIMEOUT`]. Frames are ordered and authenticated, so no delay on the path can cause this. At most one
    /// request for each message, and each request once.
    pub fn acknowledge(&mut self, now: Instant, sent_at: Instant) -> bool {
        for late in &mut self.late {
            match late.evidence {
                Evidence::None(since) if since <= sent_at => late.evidence = Evidence::Received(now),
                Evidence::Received(since) if since + limits::REQUEST_TIMEOUT <= sent_at => {
                    late.evidence = Evidence::Charged;
                    return true;
                }
                Evidence::None(_) | Evidence::Received(_) | Evidence::Charged => {}
            }
        }
        false
    }

    /// When the oldest request of ours runs out of time.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ours.front().map(|ours| ours.deadline)
    }

    /// The time between `since` and `now` does not count for the requests that were open in it: an answer was arriving, or the
    /// peer was not read.
    pub fn stand_still(&mut self, since: Instant, now: Instant) {
        for ours in &mut self.ours {
            ours.deadline = ours.deadline + now.since(since.max(ours.sent_at));
        }
    }

    /// Closes one request whose time is up. Call again until there is none.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<CommandId> {
        if self.poll_timeout()? > now {
            return None;
        }
        let ours = self.ours.pop_front()?;
        if self.late.len() >= limits::LATE_REQUESTS_MAX {
            self.late.pop_front();
            self.forgotten += 1;
        }
        self.late.push_back(Late { expected: ours.expected, evidence: Evidence::None(now) });
        Some(ours.command)
    }

    /// The session is over: the commands that will not be answered, oldest first.
    pub fn close(self) -> impl Iterator<Item = CommandId> {
        self.ours.into_iter().map(|ours| ours.command)
    }
}

/// A payload's request id, and where its body is.
fn open_envelope(payload: &[u8]) -> Result<(u64, Range<usize>), Fault> {
    let (request_id, items) = eth::request_id(payload).map_err(Fault::Message)?;
    Ok((request_id, payload.len() - items.rest().len()..payload.len()))
}

#[cfg(test)]
mod tests;
