//! Calls: our requests from start to end, what each waits for, and which packet answers which (attacks D2, D9, D15).
//!
//! A call is opened once and ended once. In between it has exactly one deadline, or waits for another call to the same
//! endpoint that has one. At most one ping, one FindNode and one EnrRequest to an endpoint is in flight, because the answers to
//! two could not be told apart. This file sends nothing and decides nothing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::LookupId;
use crate::contract::{CommandId, Prefetch};
use crate::crypto::{Digest, PublicKey};
use crate::limits;
use crate::time::Instant;
use crate::wire::discv4::Kind;
use crate::wire::enode::Contact;

/// The id of a call. Never reused; ascending in the order of opening.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(u64);

/// The request of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Request {
    /// A sign of life and an endpoint proof.
    Ping,
    /// The nodes nearest to a target.
    FindNode {
        /// 64 bytes, usually a key.
        target: [u8; 64],
    },
    /// The node's record.
    EnrRequest,
}

impl Request {
    /// The kind of packet that answers it.
    pub const fn answer(&self) -> Kind {
        match self {
            Self::Ping => Kind::Pong,
            Self::FindNode { .. } => Kind::Neighbors,
            Self::EnrRequest => Kind::EnrResponse,
        }
    }
}

/// The purpose of a call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A command of the embedder.
    Command(CommandId),
    /// A lookup.
    Lookup(LookupId),
    /// An endpoint proof that another call needs.
    Bond,
    /// First contact with a node that another node or the embedder named.
    Verify,
    /// The answer to a ping of an unproven node.
    PingBack,
    /// A liveness check of a table entry.
    Check,
    /// The newer record of a table entry.
    Record,
}

/// The state of a call: what it waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CallState {
    /// The answer to a ping in flight to the same endpoint.
    AwaitingPong,
    /// The node to ping us back, until the deadline.
    AwaitingPingBack,
    /// The end of a call of the same kind to the same endpoint.
    Queued,
    /// The answer, until the deadline.
    InFlight {
        /// The hash of the request's datagram.
        hash: Digest,
        /// When it was sent.
        sent: Instant,
    },
}

/// One call.
#[derive(Clone, Debug)]
pub struct Call {
    /// The node that is asked.
    pub contact: Contact,
    /// The request of a call.
    pub request: Request,
    /// What it is for.
    pub purpose: Purpose,
    /// What it waits for.
    pub state: CallState,
    /// Usable neighbours received so far.
    pub nodes: Vec<Contact>,
    /// Number of neighbours received so far, unusable ones included.
    pub nodes_received: usize,
    /// A Neighbors packet without nodes was received.
    pub answered_empty: bool,
    /// The node pinged us while our ping was in flight.
    pub pinged_us: bool,
    /// The request was sent without a new exchange of proofs; the node may have lost ours.
    pub relies_on_old_proof: bool,
    /// Number of its answers whose signatures were checked.
    checked_answers: u8,
}

impl Call {
    pub(super) fn is_in_flight(&self) -> bool {
        matches!(self.state, CallState::InFlight { .. })
    }

    fn is_to(&self, contact: &Contact) -> bool {
        self.contact.key() == contact.key() && self.contact.udp_addr() == contact.udp_addr()
    }
}

/// How a datagram of an answer's kind relates to the calls in flight, by its source and the hash that it names alone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub enum Match {
    /// No request is in flight that it could answer.
    Unsolicited,
    /// It may be the answer of this call.
    Call(CallId),
    /// A request is in flight, and as many answers have been checked as may be.
    Excessive,
}

/// The open calls.
#[derive(Default, Debug)]
pub struct Calls {
    /// In the order of their opening, which is that of their ids. They are few, and are mostly searched by address: scanning
    /// this array is faster than keeping trees.
    open: Vec<OpenCall>,
    opened: u64,
}

/// An open call, with the parts of it that are searched for.
#[derive(Debug)]
struct OpenCall {
    id: CallId,
    addr: SocketAddr,
    /// For [`Purpose::Verify`].
    verifies: bool,
    due: Option<Instant>,
    call: Box<Call>,
}

impl Calls {
    /// Shows what a datagram from an address will read. See [`Node::prefetch`](crate::node::Node::prefetch).
    pub fn prefetch(&self, from: SocketAddr, depth: usize, memory: &mut impl Prefetch) {
        match depth {
            0 => memory.prefetch(self),
            1 => self.prefetch_open(memory),
            2 => self.to(from).for_each(|(_, call)| memory.prefetch(call)),
            _ => {}
        }
    }

    /// Shows what a search among the open calls will read.
    pub fn prefetch_open(&self, memory: &mut impl Prefetch) {
        memory.prefetch(&self.open[..]);
    }

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
        limits::CALLS_MAX - self.open.len()
    }

    /// Number of open calls for [`Purpose::Verify`].
    pub fn verifying(&self) -> usize {
        self.open.iter().filter(|open| open.verifies).count()
    }

    /// The open calls, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.open.iter().map(|open| &*open.call)
    }

    /// An open call.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        Some(&*self.open.get(self.index(id)?)?.call)
    }

    /// An open call.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let index = self.index(id)?;
        Some(&mut *self.open.get_mut(index)?.call)
    }

    /// Opens a call in the state [`CallState::AwaitingPong`]; `None` if too many are open.
    #[must_use]
    pub fn open(&mut self, contact: Contact, request: Request, purpose: Purpose) -> Option<CallId> {
        if self.room() == 0 {
            return None;
        }
        self.opened += 1;
        let id = CallId(self.opened);
        let call = Call {
            contact,
            request,
            purpose,
            state: CallState::AwaitingPong,
            nodes: Vec::new(),
            nodes_received: 0,
            answered_empty: false,
            pinged_us: false,
            relies_on_old_proof: false,
            checked_answers: 0,
        };
        let verifies = purpose == Purpose::Verify;
        self.open.push(OpenCall { id, addr: contact.udp_addr(), verifies, due: None, call: Box::new(call) });
        Some(id)
    }

    /// Moves a call to a state, with the deadline that it has there.
    pub fn set_state(&mut self, id: CallId, state: CallState, due: Option<Instant>) {
        if let Some(open) = self.index(id).and_then(|index| self.open.get_mut(index)) {
            open.call.state = state;
            open.due = due;
        }
    }

    /// Ends a call. Calls end here and nowhere else, so that none ends twice.
    #[must_use]
    pub fn end(&mut self, id: CallId) -> Option<Box<Call>> {
        let open = self.open.remove(self.index(id)?);
        if self.open.is_empty() {
            // A round of lookups need not hold memory until the next one.
            self.open = Vec::new();
        }
        Some(open.call)
    }

    /// Ends all calls, in the order of their opening.
    pub fn end_all(&mut self) -> impl Iterator<Item = Box<Call>> + use<> {
        core::mem::take(&mut self.open).into_iter().map(|open| open.call)
    }

    /// The earliest deadline.
    pub fn next_due(&self) -> Option<Instant> {
        self.open.iter().filter_map(|open| open.due).min()
    }

    /// A call whose deadline has passed. It has none from here on: the caller moves it to another state or ends it.
    #[must_use]
    pub fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        let due = |open: &OpenCall| open.due.filter(|due| *due <= now);
        let (_, index) = (0..).zip(&self.open).filter_map(|(index, open)| Some((due(open)?, index))).min()?;
        let open = self.open.get_mut::<usize>(index)?;
        open.due = None;
        Some(open.id)
    }

    /// The call in flight to an endpoint that this kind of packet answers.
    pub fn find_in_flight(&self, contact: &Contact, answer: Kind) -> Option<CallId> {
        let matches = |call: &Call| call.is_in_flight() && call.request.answer() == answer && call.is_to(contact);
        self.to(contact.udp_addr()).find(|(_, call)| matches(call)).map(|(id, _)| id)
    }

    /// Whether a call for this purpose to an endpoint is open that this kind of packet answers.
    pub fn is_open(&self, contact: &Contact, answer: Kind, purpose: Purpose) -> bool {
        let matches = |call: &Call| call.request.answer() == answer && call.is_to(contact) && call.purpose == purpose;
        self.to(contact.udp_addr()).any(|(_, call)| matches(call))
    }

    /// Whether a call to an endpoint is open that needs an endpoint proof: any but a ping.
    pub fn needs_proof(&self, contact: &Contact) -> bool {
        self.to(contact.udp_addr()).any(|(_, call)| call.request != Request::Ping && call.is_to(contact))
    }

    /// The calls in a state to an endpoint, in the order of their opening.
    pub fn in_state(&self, contact: &Contact, state: CallState) -> Vec<CallId> {
        let matches = |call: &Call| call.state == state && call.is_to(contact);
        self.to(contact.udp_addr()).filter(|(_, call)| matches(call)).map(|(id, _)| id).collect()
    }

    /// Matches a datagram of an answer's kind before its hash and signature are checked. `request_hash` is the hash that it
    /// names, if it names one.
    pub fn match_answer(&self, from: SocketAddr, kind: Kind, request_hash: Option<&Digest>) -> Match {
        let mut matched = Match::Unsolicited;
        for (id, call) in self.to(from) {
            let CallState::InFlight { hash, .. } = &call.state else { continue };
            if call.request.answer() == kind && request_hash.is_none_or(|request| request == hash) {
                if call.checked_answers < answers_max(kind) {
                    return Match::Call(id);
                }
                matched = Match::Excessive;
            }
        }
        matched
    }

    /// Counts an answer of a call whose signature is about to be checked.
    pub fn count_answer(&mut self, id: CallId) {
        if let Some(call) = self.get_mut(id) {
            call.checked_answers = call.checked_answers.saturating_add(1);
        }
    }

    /// Whether a call to an address is open.
    pub fn is_open_to(&self, addr: SocketAddr) -> bool {
        self.to(addr).next().is_some()
    }

    /// The call in flight to this key at this endpoint that a packet of this kind answers. `request_hash` is the hash of the
    /// request where the answer has it.
    pub fn find_matching_request(
        &self,
        from: SocketAddr,
        key: &PublicKey,
        kind: Kind,
        request_hash: Option<&Digest>,
    ) -> Option<CallId> {
        let matches = |call: &Call| {
            let CallState::InFlight { hash, .. } = &call.state else { return false };
            call.request.answer() == kind
                && call.contact.key() == *key
                && request_hash.is_none_or(|request| request == hash)
        };
        self.to(from).find(|(_, call)| matches(call)).map(|(id, _)| id)
    }

    /// The calls to an address, in the order of their opening.
    fn to(&self, addr: SocketAddr) -> impl Iterator<Item = (CallId, &Call)> {
        self.open.iter().filter(move |open| open.addr == addr).map(|open| (open.id, &*open.call))
    }

    fn index(&self, id: CallId) -> Option<usize> {
        self.open.binary_search_by_key(&id, |open| open.id).ok()
    }
}

/// The number of a call's answers whose signatures are checked.
const fn answers_max(kind: Kind) -> u8 {
    match kind {
        Kind::Neighbors => limits::NEIGHBORS_PER_CALL_MAX,
        _ => limits::ANSWERS_PER_CALL_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn contact(n: u8) -> Contact {
        Contact::new(PublicKey::from_xy_unchecked([n; 64]), [8, 8, 8, n].into(), 30303, 0)
    }

    fn in_flight(calls: &mut Calls, n: u8, request: Request, hash: u8) -> CallId {
        let id = calls.open(contact(n), request, Purpose::Verify).unwrap();
        let due = Instant::ZERO + limits::CALL_TIMEOUT;
        calls.set_state(id, CallState::InFlight { hash: [hash; 32], sent: Instant::ZERO }, Some(due));
        id
    }

    #[test]
    fn an_answer_matches_by_endpoint_key_kind_and_hash() {
        let mut calls = Calls::default();
        let id = in_flight(&mut calls, 1, Request::Ping, 7);
        let (from, key) = (contact(1).udp_addr(), contact(1).key());
        let elsewhere = SocketAddr::new(from.ip(), 30304);
        assert_eq!(calls.find_matching_request(from, &key, Kind::Pong, Some(&[7; 32])), Some(id));
        assert_eq!(calls.find_matching_request(from, &key, Kind::Pong, Some(&[8; 32])), None);
        assert_eq!(calls.find_matching_request(elsewhere, &key, Kind::Pong, Some(&[7; 32])), None);
        assert_eq!(calls.find_matching_request(from, &contact(2).key(), Kind::Pong, Some(&[7; 32])), None);
        assert_eq!(calls.find_matching_request(from, &key, Kind::Neighbors, None), None);
        assert!(calls.end(id).is_some() && calls.end(id).is_none());
        assert_eq!(calls.find_matching_request(from, &key, Kind::Pong, Some(&[7; 32])), None);
    }

    #[test]
    fn a_call_is_open_by_key_kind_and_purpose() {
        let mut calls = Calls::default();
        in_flight(&mut calls, 1, Request::Ping, 7);
        let same_endpoint = Contact::new(contact(2).key(), contact(1).ip(), contact(1).udp(), 0);
        assert!(calls.is_open(&contact(1), Kind::Pong, Purpose::Verify));
        assert!(!calls.is_open(&same_endpoint, Kind::Pong, Purpose::Verify));
        assert!(!calls.is_open(&contact(1), Kind::EnrResponse, Purpose::Verify));
        assert!(!calls.is_open(&contact(1), Kind::Pong, Purpose::Check));
        assert!(calls.find_in_flight(&contact(1), Kind::Pong).is_some());
        assert!(calls.find_in_flight(&same_endpoint, Kind::Pong).is_none());
        assert!(calls.find_in_flight(&contact(1), Kind::Neighbors).is_none());
    }

    #[test]
    fn a_limited_number_of_answers_to_a_call_is_checked() {
        let mut calls = Calls::default();
        let from = contact(1).udp_addr();
        assert_eq!(calls.match_answer(from, Kind::Neighbors, None), Match::Unsolicited);
        let find = in_flight(&mut calls, 1, Request::FindNode { target: [0; 64] }, 7);
        let ping = in_flight(&mut calls, 1, Request::Ping, 8);
        for (kind, hash, id, max) in [(Kind::Neighbors, None, find, 64), (Kind::Pong, Some([8; 32]), ping, 2)] {
            for _ in 0..max {
                assert_eq!(calls.match_answer(from, kind, hash.as_ref()), Match::Call(id), "nothing is counted");
                assert_eq!(calls.match_answer(from, kind, hash.as_ref()), Match::Call(id));
                calls.count_answer(id);
            }
            assert_eq!(calls.match_answer(from, kind, hash.as_ref()), Match::Excessive);
        }
        assert_eq!(calls.match_answer(from, Kind::Pong, Some(&[7; 32])), Match::Unsolicited, "another request's hash");
        assert_eq!(calls.match_answer(from, Kind::EnrResponse, Some(&[8; 32])), Match::Unsolicited);
        let elsewhere = SocketAddr::new(from.ip(), 30304);
        assert_eq!(calls.match_answer(elsewhere, Kind::Pong, Some(&[8; 32])), Match::Unsolicited);
        assert!(calls.is_open_to(from) && !calls.is_open_to(elsewhere));
    }

    #[test]
    fn only_open_calls_have_deadlines() {
        let mut calls = Calls::default();
        let a = in_flight(&mut calls, 1, Request::Ping, 1);
        let b = in_flight(&mut calls, 2, Request::Ping, 2);
        assert!(calls.end(a).is_some());
        let late = Instant::ZERO + Duration::from_secs(9);
        assert_eq!(calls.pop_due(late), Some(b));
        assert_eq!(calls.pop_due(late), None);
        calls.set_state(a, CallState::AwaitingPingBack, Some(late));
        assert_eq!(calls.next_due(), None, "a call that has ended gets no deadline");
    }

    #[test]
    fn calls_are_bounded() {
        let mut calls = Calls::default();
        let opened = (0..1000).filter_map(|_| calls.open(contact(1), Request::Ping, Purpose::Verify)).count();
        assert_eq!((opened, calls.room()), (limits::CALLS_MAX, 0));
        assert_eq!(calls.end_all().count(), limits::CALLS_MAX);
        assert_eq!((calls.len(), calls.next_due()), (0, None));
    }
}
