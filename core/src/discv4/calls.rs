//! Questions in flight: which exist, what they wait for, which packet answers which (attacks D2, D9, D15).
//!
//! A call is opened once and ended once, by whoever opened it; in between it has exactly one deadline or waits for another
//! call to the same endpoint that has one. At most one ping, one FindNode and one EnrRequest to an endpoint is on the wire,
//! because nothing in the answers to two would tell them apart. It neither sends nor judges.

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

/// Names a call. Never reused; ascending in the order of opening.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct CallId(u64);

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Question {
    /// Are you there?
    Ping,
    /// Whom do you know near this?
    FindNode {
        /// 64 bytes, usually a key.
        target: [u8; 64],
    },
    /// What is your record?
    EnrRequest,
}

impl Question {
    /// The kind of packet that answers it.
    pub const fn answer(&self) -> Kind {
        match self {
            Self::Ping => Kind::Pong,
            Self::FindNode { .. } => Kind::Neighbors,
            Self::EnrRequest => Kind::EnrResponse,
        }
    }
}

/// What the answer is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// The embedder asks.
    Command(CommandId),
    /// A lookup asks.
    Lookup(LookupId),
    /// Another call needs the endpoint proof.
    Bond,
    /// We heard of a node.
    Verify,
    /// A stranger pinged us.
    PingBack,
    /// A table entry is to show that it lives.
    Check,
    /// A table entry has a newer record.
    Record,
}

/// What a call waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stage {
    /// A ping to the same endpoint, to be answered.
    Bonding,
    /// The node to ping us back, until its deadline.
    Pausing,
    /// A question of the same kind to the same endpoint, to end.
    Queued,
    /// The answer, until its deadline.
    Asked {
        /// The hash of the question's datagram.
        hash: Digest,
        /// When it was sent.
        sent: Instant,
    },
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Call {
    /// Who is asked.
    pub contact: Contact,
    /// What is asked.
    pub question: Question,
    /// What for.
    pub purpose: Purpose,
    /// How far it is.
    pub stage: Stage,
    /// Neighbours collected so far, checked.
    pub nodes: Vec<Contact>,
    /// Neighbours received so far, the useless ones included.
    pub nodes_received: usize,
    /// A packet of neighbours without any was received.
    pub answered_empty: bool,
    /// The node pinged us while our own ping was on the wire.
    pub pinged_us: bool,
    /// It was asked on the strength of proofs from before, which the node may have forgotten.
    pub trusts_old_proof: bool,
    /// Datagrams received from the endpoint that could be answers.
    replies: u8,
}

impl Call {
    fn is_asked(&self) -> bool {
        matches!(self.stage, Stage::Asked { .. })
    }

    fn is_to(&self, contact: &Contact) -> bool {
        self.contact.key() == contact.key() && self.contact.udp_addr() == contact.udp_addr()
    }
}

/// What a datagram that could be an answer is to be taken for before its signature is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Admission {
    /// Nobody asked there.
    Unsolicited,
    /// It may well be an answer.
    Solicited,
    /// The endpoint was asked, and has sent more than an answer takes.
    Excessive,
}

/// See the module.
#[derive(Default, Debug)]
pub struct Calls {
    /// In the order of their opening, which is that of their ids. They are few, and most datagrams ask for those to one
    /// address: looking through this array is faster than keeping trees.
    open: Vec<Open>,
    opened: u64,
}

/// An open call, and of it whatever is searched for.
#[derive(Debug)]
struct Open {
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

    /// Shows what any search among the open calls will read.
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

    /// Number of calls that can be opened.
    pub fn room(&self) -> usize {
        limits::CALLS_MAX - self.open.len()
    }

    /// Number of open calls that verify nodes heard of.
    pub fn verifying(&self) -> usize {
        self.open.iter().filter(|open| open.verifies).count()
    }

    /// The open calls, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.open.iter().map(|open| &*open.call)
    }

    /// An open call.
    pub fn get(&self, id: CallId) -> Option<&Call> {
        Some(&*self.open.get(self.place(id)?)?.call)
    }

    /// An open call.
    pub fn get_mut(&mut self, id: CallId) -> Option<&mut Call> {
        let place = self.place(id)?;
        Some(&mut *self.open.get_mut(place)?.call)
    }

    /// Opens a call that waits for others, until it is moved on; `None` if too many are open.
    #[must_use]
    pub fn open(&mut self, contact: Contact, question: Question, purpose: Purpose) -> Option<CallId> {
        if self.room() == 0 {
            return None;
        }
        self.opened += 1;
        let id = CallId(self.opened);
        let call = Call {
            contact,
            question,
            purpose,
            stage: Stage::Bonding,
            nodes: Vec::new(),
            nodes_received: 0,
            answered_empty: false,
            pinged_us: false,
            trusts_old_proof: false,
            replies: 0,
        };
        let verifies = purpose == Purpose::Verify;
        self.open.push(Open { id, addr: contact.udp_addr(), verifies, due: None, call: Box::new(call) });
        Some(id)
    }

    /// Moves a call on to a stage, with the deadline that it needs there.
    pub fn set_stage(&mut self, id: CallId, stage: Stage, due: Option<Instant>) {
        if let Some(open) = self.place(id).and_then(|place| self.open.get_mut(place)) {
            open.call.stage = stage;
            open.due = due;
        }
    }

    /// Ends a call. The one place where calls end, so that none ends twice.
    #[must_use]
    pub fn end(&mut self, id: CallId) -> Option<Box<Call>> {
        let open = self.open.remove(self.place(id)?);
        if self.open.is_empty() {
            // Mostly nothing is asked: a round of lookups need not hold memory until the next.
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

    /// The call whose deadline has passed; it has none from here on, and must be moved on or ended.
    #[must_use]
    pub fn pop_due(&mut self, now: Instant) -> Option<CallId> {
        let due = |open: &Open| open.due.filter(|due| *due <= now);
        let (_, place) = (0..).zip(&self.open).filter_map(|(place, open)| Some((due(open)?, place))).min()?;
        let open = self.open.get_mut::<usize>(place)?;
        open.due = None;
        Some(open.id)
    }

    /// The question of this kind of answer that is on the wire to an endpoint.
    pub fn asked(&self, contact: &Contact, answer: Kind) -> Option<CallId> {
        let asked = |call: &Call| call.is_asked() && call.question.answer() == answer && call.is_to(contact);
        self.to(contact.udp_addr()).find(|(_, call)| asked(call)).map(|(id, _)| id)
    }

    /// Whether a call for such a purpose asks for this kind of answer from an endpoint, or will.
    pub fn asks(&self, contact: &Contact, answer: Kind, purpose: impl Fn(&Purpose) -> bool) -> bool {
        let asks = |call: &Call| call.question.answer() == answer && call.is_to(contact) && purpose(&call.purpose);
        self.to(contact.udp_addr()).any(|(_, call)| asks(call))
    }

    /// The calls in a stage to an endpoint, in the order of their opening.
    pub fn waiting(&self, contact: &Contact, stage: Stage) -> Vec<CallId> {
        let waits = |call: &Call| call.stage == stage && call.is_to(contact);
        self.to(contact.udp_addr()).filter(|(_, call)| waits(call)).map(|(id, _)| id).collect()
    }

    /// Judges by its source and kind a datagram that could be an answer, and counts it.
    #[must_use]
    pub fn admit(&mut self, from: SocketAddr, kind: Kind) -> Admission {
        let mut admission = Admission::Unsolicited;
        for Open { call, .. } in self.open.iter_mut().filter(|open| open.addr == from) {
            if call.is_asked() && call.question.answer() == kind {
                if call.replies < limits::REPLIES_PER_CALL_MAX {
                    call.replies += 1;
                    return Admission::Solicited;
                }
                admission = Admission::Excessive;
            }
        }
        admission
    }

    /// The call that an answer belongs to: asked of this key at this endpoint, and, where the answer names its question by
    /// hash, the very one.
    pub fn answered(&self, from: SocketAddr, key: &PublicKey, kind: Kind, to: Option<&Digest>) -> Option<CallId> {
        let matches = |call: &Call| {
            let Stage::Asked { hash, .. } = &call.stage else { return false };
            call.question.answer() == kind && call.contact.key() == *key && to.is_none_or(|to| to == hash)
        };
        self.to(from).find(|(_, call)| matches(call)).map(|(id, _)| id)
    }

    /// The calls to an address, in the order of their opening.
    fn to(&self, addr: SocketAddr) -> impl Iterator<Item = (CallId, &Call)> {
        self.open.iter().filter(move |open| open.addr == addr).map(|open| (open.id, &*open.call))
    }

    fn place(&self, id: CallId) -> Option<usize> {
        self.open.binary_search_by_key(&id, |open| open.id).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    fn contact(n: u8) -> Contact {
        Contact::new(PublicKey::from_xy_unchecked([n; 64]), [8, 8, 8, n].into(), 30303, 0)
    }

    fn asked(calls: &mut Calls, n: u8, question: Question, hash: u8) -> CallId {
        let id = calls.open(contact(n), question, Purpose::Verify).unwrap();
        let due = Instant::ZERO + limits::CALL_TIMEOUT;
        calls.set_stage(id, Stage::Asked { hash: [hash; 32], sent: Instant::ZERO }, Some(due));
        id
    }

    #[test]
    fn an_answer_must_match_in_everything() {
        let mut calls = Calls::default();
        let id = asked(&mut calls, 1, Question::Ping, 7);
        let (from, key) = (contact(1).udp_addr(), contact(1).key());
        let elsewhere = SocketAddr::new(from.ip(), 30304);
        assert_eq!(calls.answered(from, &key, Kind::Pong, Some(&[7; 32])), Some(id));
        assert_eq!(calls.answered(from, &key, Kind::Pong, Some(&[8; 32])), None);
        assert_eq!(calls.answered(elsewhere, &key, Kind::Pong, Some(&[7; 32])), None);
        assert_eq!(calls.answered(from, &contact(2).key(), Kind::Pong, Some(&[7; 32])), None);
        assert_eq!(calls.answered(from, &key, Kind::Neighbors, None), None);
        assert!(calls.end(id).is_some() && calls.end(id).is_none());
        assert_eq!(calls.answered(from, &key, Kind::Pong, Some(&[7; 32])), None);
    }

    #[test]
    fn an_endpoint_that_was_asked_has_few_free_replies() {
        let mut calls = Calls::default();
        let from = contact(1).udp_addr();
        assert_eq!(calls.admit(from, Kind::Neighbors), Admission::Unsolicited);
        asked(&mut calls, 1, Question::FindNode { target: [0; 64] }, 7);
        for _ in 0..limits::REPLIES_PER_CALL_MAX {
            assert_eq!(calls.admit(from, Kind::Neighbors), Admission::Solicited);
        }
        assert_eq!(calls.admit(from, Kind::Neighbors), Admission::Excessive);
        assert_eq!(calls.admit(from, Kind::Pong), Admission::Unsolicited);
    }

    #[test]
    fn deadlines_belong_to_open_calls() {
        let mut calls = Calls::default();
        let a = asked(&mut calls, 1, Question::Ping, 1);
        let b = asked(&mut calls, 2, Question::Ping, 2);
        assert!(calls.end(a).is_some());
        let late = Instant::ZERO + Duration::from_secs(9);
        assert_eq!(calls.pop_due(late), Some(b));
        assert_eq!(calls.pop_due(late), None);
        calls.set_stage(a, Stage::Pausing, Some(late));
        assert_eq!(calls.next_due(), None, "a call that has ended gets no deadline");
    }

    #[test]
    fn calls_are_bounded() {
        let mut calls = Calls::default();
        let opened = (0..1000).filter_map(|_| calls.open(contact(1), Question::Ping, Purpose::Verify)).count();
        assert_eq!((opened, calls.room()), (limits::CALLS_MAX, 0));
        assert_eq!(calls.end_all().count(), limits::CALLS_MAX);
        assert_eq!((calls.len(), calls.next_due()), (0, None));
    }
}
