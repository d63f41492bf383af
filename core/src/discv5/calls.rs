//! Calls: our requests from start to end, what each waits for, and which message answers which (attacks V4, V5).
//!
//! A call is opened once and ended once. Its request id is random, so an answer that was recorded earlier answers nothing. This
//! file sends nothing and decides nothing.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::LookupId;
use super::records::StoredRecord;
use crate::contract::CommandId;
use crate::crypto::NodeId;
use crate::crypto::discv5::Nonce;
use crate::limits;
use crate::rng::Rng;
use crate::time::{Deadlines, Instant};
use crate::wire::discv5::{Kind, Message, Payload, RequestId};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// The id of a call, which is also its request id on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct CallId(u64);

impl CallId {
    /// A random id. Its first byte is not zero: some nodes read a request id as a number, and answer without its leading zeros.
    fn draw(rng: &mut Rng) -> Self {
        Self(rng.u64() | 1 << 63)
    }

    /// The call of an answer's request id, if it can be one of ours.
    pub fn from_request_id(id: &RequestId) -> Option<Self> {
        id.as_bytes().try_into().ok().map(|bytes| Self(u64::from_be_bytes(bytes)))
    }
}

/// The request of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Request {
    /// A sign of life.
    Ping,
    /// The records of nodes at distances from the node that is asked; 0 is its own.
    FindNode {
        /// At most 256 each.
        distances: Vec<u16>,
    },
    /// A request of an application's protocol.
    Talk {
        /// The protocol.
        protocol: Box<[u8]>,
        /// What it says.
        request: Box<[u8]>,
    },
}

impl Request {
    /// The request for a node's own record.
    pub fn own_record() -> Self {
        Self::FindNode { distances: alloc::vec![0] }
    }

    /// The kind of message that answers it.
    pub const fn answer(&self) -> Kind {
        match self {
            Self::Ping => Kind::Pong,
            Self::FindNode { .. } => Kind::Nodes,
            Self::Talk { .. } => Kind::TalkResponse,
        }
    }

    /// The message, with our record's number.
    pub fn message(&self, CallId(id): CallId, enr_seq: u64) -> Message<'_> {
        let payload = match self {
            Self::Ping => Payload::Ping { enr_seq },
            Self::FindNode { distances } => Payload::FindNode { distances: distances.clone() },
            Self::Talk { protocol, request } => Payload::TalkRequest { protocol, request },
        };
        Message { request_id: id.to_be_bytes().into(), payload }
    }
}

/// The purpose of a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A command of the embedder.
    Command(CommandId),
    /// A command of the embedder that wants the node's record.
    RecordCommand(CommandId),
    /// A lookup.
    Lookup(LookupId),
    /// The keys of a session that another call needs.
    Session,
    /// First contact with a node that another node or the embedder named, with its record if that is known.
    Verify(Option<StoredRecord>),
    /// A liveness check of a table entry.
    Check,
    /// The newer record of a table entry.
    Record,
    /// The record of a node that has answered and is to enter the table.
    Enter {
        /// How often it is asked for again if there is no answer.
        retries: u8,
    },
    /// Whether a table entry is at the endpoint that its newest record names.
    Relocate,
}

/// A node that another one has named.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its id.
    pub id: NodeId,
    /// Its record, which is verified.
    pub record: Record,
    /// The endpoint of its record that we may contact; `None` only for a node that names itself.
    pub contact: Option<Contact>,
}

/// The state of a call: what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallState {
    /// The end of a handshake with the same endpoint.
    Queued,
    /// A challenge: there was no session.
    AwaitingChallenge(Nonce),
    /// The answer. The packet may be challenged instead, if it did not begin a session itself.
    AwaitingAnswer(Nonce),
    /// The answer to a handshake packet.
    AwaitingHandshakeAnswer,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The node that is asked.
    pub contact: Contact,
    /// The request.
    pub request: Request,
    /// What it is for.
    pub purpose: Purpose,
    /// What it waits for.
    pub state: CallState,
    /// When the request was sent, or last sent.
    pub sent: Instant,
    /// The usable nodes received so far.
    pub nodes: Vec<Found>,
    /// Number of records received so far, unusable ones included.
    pub records_received: usize,
    /// Number of Nodes messages received so far.
    pub messages_received: u64,
}

impl Call {
    fn is_to(&self, contact: &Contact) -> bool {
        self.contact.id() == contact.id() && self.contact.udp_addr() == contact.udp_addr()
    }

    /// Whether it begins a session, which other calls to the same endpoint wait for.
    pub fn is_handshaking(&self) -> bool {
        matches!(self.state, CallState::AwaitingChallenge(_) | CallState::AwaitingHandshakeAnswer)
    }
}

/// The open calls.
#[derive(Default, Debug)]
pub struct Calls {
    open: BTreeMap<CallId, Box<Call>>,
    due: Deadlines<CallId>,
}

impl Calls {
    /// Number of open calls.
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no call is open.
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Number of calls that can be opened now.
    pub fn room(&self) -> usize {
        limits::CALLS_MAX.saturating_sub(self.open.len())
    }

    /// Number of open calls for [`Purpose::Verify`].
    pub fn verifying(&self) -> usize {
        self.iter().filter(|call| matches!(call.purpose, Purpose::Verify(_))).count()
    }

    /// The open calls.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.open.values().map(|call| &**call)
    }

    /// An open call.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        self.open.get(&id).map(|call| &**call)
    }

    /// An open call.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        self.open.get_mut(&id).map(|call| &mut **call)
    }

    /// Opens a call in the state [`CallState::Queued`]; `None` if too many are open.
    #[must_use]
    pub fn open(
        &mut self,
        contact: Contact,
        request: Request,
        purpose: Purpose,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<CallId> {
        if self.room() == 0 {
            return None;
        }
        let mut id = CallId::draw(rng);
        while self.open.contains_key(&id) {
            id = CallId::draw(rng);
        }
        let call = Call {
            contact,
            request,
            purpose,
            state: CallState::Queued,
            sent: now,
            nodes: Vec::new(),
            records_received: 0,
            messages_received: 0,
        };
        self.open.insert(id, Box::new(call));
        Some(id)
    }

    /// Moves a call to a state, with the deadline that it has there.
    pub fn set_state(&mut self, id: CallId, state: CallState, due: Option<Instant>) {
        if let Some(call) = self.open.get_mut(&id) {
            call.state = state;
            self.due.set(id, due);
        }
    }

    /// Moves a call's deadline.
    pub fn set_due(&mut self, id: CallId, due: Instant) {
        if self.open.contains_key(&id) {
            self.due.set(id, due);
        }
    }

    /// Ends a call. Calls end here and nowhere else, so that none ends twice.
    #[must_use]
    pub fn end(&mut self, id: CallId) -> Option<Box<Call>> {
        self.due.set(id, None);
        self.open.remove(&id)
    }

    /// Ends all calls.
    pub fn end_all(&mut self) -> impl Iterator<Item = Box<Call>> + use<> {
        core::mem::take(self).open.into_values()
    }

    /// The earliest deadline.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.next().map(|(at, _)| at)
    }

    /// A call whose deadline has passed. It has none from here on: the caller moves it to another state or ends it.
    #[must_use]
    pub fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        self.due.pop_due(now).map(|(_, id)| id)
    }

    /// The call to an address whose packet had this nonce and may be challenged.
    pub fn find_challenged(&self, from: SocketAddr, nonce: &Nonce) -> Option<CallId> {
        let is_challenged = |call: &Call| {
            let (CallState::AwaitingChallenge(sent) | CallState::AwaitingAnswer(sent)) = &call.state else {
                return false;
            };
            sent == nonce && call.contact.udp_addr() == from
        };
        self.open.iter().find(|(_, call)| is_challenged(call)).map(|(id, _)| *id)
    }

    /// The call of a request id to a node at an endpoint that this kind of message answers.
    pub fn find_answered(&self, id: &RequestId, node: &NodeId, from: SocketAddr, kind: Kind) -> Option<CallId> {
        let id = CallId::from_request_id(id)?;
        let call = self.open.get(&id)?;
        let is_sent = matches!(call.state, CallState::AwaitingAnswer(_) | CallState::AwaitingHandshakeAnswer);
        let is_answered =
            is_sent && call.request.answer() == kind && call.contact.id() == *node && call.contact.udp_addr() == from;
        is_answered.then_some(id)
    }

    /// The call that begins a session with an endpoint.
    pub fn find_handshaking(&self, contact: &Contact) -> Option<CallId> {
        self.open.iter().find(|(_, call)| call.is_handshaking() && call.is_to(contact)).map(|(id, _)| *id)
    }

    /// Whether a call to an endpoint is open whose request and purpose satisfy `wanted`.
    pub fn is_open(&self, contact: &Contact, wanted: impl Fn(&Call) -> bool) -> bool {
        self.iter().any(|call| call.is_to(contact) && wanted(call))
    }

    /// Whether a call to an address is open.
    pub fn is_open_to(&self, addr: SocketAddr) -> bool {
        self.iter().any(|call| call.contact.udp_addr() == addr)
    }

    /// The calls to an endpoint that wait for a session.
    pub fn queued(&self, contact: &Contact) -> Vec<CallId> {
        self.select(contact, |call| call.state == CallState::Queued)
    }

    /// The calls to an endpoint whose requests were sent before `since` within a session.
    pub fn sealed_before(&self, contact: &Contact, since: Instant) -> Vec<CallId> {
        self.select(contact, |call| matches!(call.state, CallState::AwaitingAnswer(_)) && call.sent < since)
    }

    fn select(&self, contact: &Contact, wanted: impl Fn(&Call) -> bool) -> Vec<CallId> {
        self.open.iter().filter(|(_, call)| call.is_to(contact) && wanted(call)).map(|(id, _)| *id).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Seed;

    #[test]
    fn a_request_id_is_not_shortened_by_a_node_that_reads_it_as_a_number() {
        let mut rng = Seed::new([1; 32]).fork("calls");
        assert!((0..1000).all(|_| CallId::draw(&mut rng).0.leading_zeros() < 8));
    }
}
