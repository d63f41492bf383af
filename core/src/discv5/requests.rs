//! Our requests, from start to end: keys first, then the request, then its answer or its timeout.
//!
//! With a session, a request is sealed and sent. Without one, the first request to an endpoint sends random bytes, which the
//! node challenges; the request itself is in the answer to the challenge. Others to the same endpoint wait until that one
//! is answered, and end with it if it is not. If a node has lost its session, its challenge names one of the requests in flight;
//! the others are sent again in the new session.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Discv5;
use super::calls::{Call, CallId, CallState, Found, Purpose, Request};
use super::handshake::Handshake;
use super::inbound::contact_of;
use super::records::StoredRecord;
use crate::contract::{CallFailure, CommandError, CommandId, Cx, DropReason, Event, Refusal, SocketId};
use crate::crypto::NodeId;
use crate::limits;
use crate::time::Duration;
use crate::wire::discv5::{Challenge, HANDSHAKE_MESSAGE_BYTES_MAX, Route, write_random};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// Random bytes of the first packet to a node, which make it larger than the challenge that it causes.
const RANDOM_BYTES: usize = 32;

/// How a call ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A ping was answered.
    Pong { rtt: Duration, enr_seq: u64, seen_as: SocketAddr },
    /// A FindNode was answered.
    Nodes(Vec<Found>),
    /// A request of an application was answered.
    Talk { rtt: Duration, response: Vec<u8> },
    /// No answer came in time.
    Timeout,
}

impl Discv5 {
    /// Opens a call and takes it as far as it can go now.
    pub(super) fn start_request(
        &mut self,
        cx: &mut Cx<'_>,
        contact: Contact,
        request: Request,
        purpose: Purpose,
    ) -> Result<(), CommandError> {
        self.check_contact(cx, &contact)?;
        if self.calls.room() == 0 {
            return Err(CommandError::Busy);
        }
        // A command is the embedder's choice, at its own rate. A node to be verified was admitted before.
        let is_admitted =
            matches!(purpose, Purpose::Command(_) | Purpose::RecordCommand(_) | Purpose::Verify(_) | Purpose::Session);
        if !is_admitted && !self.admits_ping(cx, &contact) {
            return Err(CommandError::Refused(Refusal::RecentlyPinged));
        }
        let id = self.calls.open(contact, request, purpose, cx.now, cx.rng).ok_or(CommandError::Busy)?;
        self.send_or_queue(cx, id);
        Ok(())
    }

    /// Whether a node may be sent a request that a message of another one may have named: it has proven its endpoint, or is being
    /// sent a request for which this one waits, or is one of the bootnodes while they are all that we have, or its address may
    /// receive a packet unasked (attack D10).
    pub(super) fn admits_ping(&mut self, cx: &Cx<'_>, contact: &Contact) -> bool {
        let at = contact.udp_addr();
        let is_entry = self.table.entry(&contact.id()).is_some_and(|entry| entry.contact().udp_addr() == at);
        let has_session = self.sessions.contains(self.peer_hash(&contact.id(), at), cx.now);
        if is_entry || has_session || self.calls.find_handshaking(contact).is_some() {
            true
        } else if self.table.is_empty() && self.config.bootnodes.contains(contact) {
            self.limiter.admit_named_ping(at, cx.now)
        } else {
            self.limiter.admit_unproven_ping(at.ip(), 71 + RANDOM_BYTES, cx.now)
        }
    }

    /// Sends a request, or begins the handshake that it needs, or queues it behind one.
    fn send_or_queue(&mut self, cx: &mut Cx<'_>, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let (contact, request) = (call.contact, call.request.clone());
        let (node, at) = (contact.id(), contact.udp_addr());
        let message = request.message(id, self.local.record.seq());
        if let Some(nonce) = self.send_within_session(cx, &node, at, &message) {
            return self.sent(cx, id, CallState::AwaitingAnswer(nonce), limits::ANSWER_TIMEOUT);
        }
        if self.calls.find_handshaking(&contact).is_some() {
            return self.calls.set_state(id, CallState::Queued, None);
        }
        if !fits_handshake(&request) {
            self.calls.set_state(id, CallState::Queued, None);
            if self.start_request(cx, contact, Request::Ping, Purpose::Session).is_err() {
                self.complete(cx, id, Outcome::Timeout);
            }
            return;
        }
        let (iv, nonce, random) = (cx.rng.bytes(), cx.rng.bytes(), cx.rng.bytes::<RANDOM_BYTES>());
        write_random(cx.out.tail(), Route { from: &self.local.id, to: &node }, iv, &nonce, &random);
        // A datagram that cannot be sent counts as lost.
        cx.send_staged(SocketId::MAIN, at);
        self.sent(cx, id, CallState::AwaitingChallenge(nonce), limits::CHALLENGE_TIMEOUT);
    }

    fn sent(&mut self, cx: &Cx<'_>, id: CallId, state: CallState, timeout: Duration) {
        self.calls.set_state(id, state, Some(cx.now + timeout));
        if let Some(call) = self.calls.get_mut(id) {
            call.sent = cx.now;
        }
    }

    /// A node could not open a packet of ours: proves our identity, makes the keys of a session, and sends the request again.
    pub(super) fn answer_challenge(
        &mut self,
        cx: &mut Cx<'_>,
        from: SocketAddr,
        challenge: &Challenge,
    ) -> Result<(), DropReason> {
        let challenged = self.calls.find_challenged(from, challenge.request_nonce());
        let mut id = challenged.ok_or(DropReason::Unsolicited)?;
        let mut call = self.calls.get(id).ok_or(DropReason::Unsolicited)?;
        let contact = call.contact;
        if !fits_handshake(&call.request) {
            self.calls.set_state(id, CallState::Queued, None);
            let ping = self.calls.open(contact, Request::Ping, Purpose::Session, cx.now, cx.rng);
            let Some(ping) = ping else {
                self.complete(cx, id, Outcome::Timeout);
                return Ok(());
            };
            id = ping;
            call = self.calls.get(id).ok_or(DropReason::Unsolicited)?;
        }
        let node = contact.id();
        let handshake = Handshake::answer(cx.crypto, cx.rng, &self.local, (&node, &contact.key()), challenge);
        let peer = self.peer_hash(&node, from);
        self.sessions.insert(peer, handshake.keys.initiator.clone(), handshake.keys.recipient.clone(), cx.now);
        let iv = cx.rng.bytes();
        if let Some((_, nonce)) = self.sessions.seal(peer, cx.now, cx.rng) {
            let message = call.request.message(id, self.local.record.seq());
            handshake.seal(cx.out.tail(), &self.local, &node, (iv, &nonce), &message);
            cx.send_staged(SocketId::MAIN, from);
        }
        self.sent(cx, id, CallState::AwaitingHandshakeAnswer, limits::ANSWER_TIMEOUT);
        Ok(())
    }

    /// There is a session with a node: requests that waited for it are sent.
    pub(super) fn release_queued(&mut self, cx: &mut Cx<'_>, contact: &Contact) {
        self.calls.queued(contact).into_iter().for_each(|id| self.send_or_queue(cx, id));
    }

    /// Handles calls whose deadline has passed, up to the budget of one turn.
    pub(super) fn expire_calls(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..limits::CALL_ENDS_PER_TURN {
            let Some(id) = self.calls.pop_due(cx.now) else { break };
            let Some(call) = self.calls.get_mut(id) else { continue };
            // Some of the messages of an answer may have been lost.
            let is_answered = call.messages_received > 0;
            let nodes = core::mem::take(&mut call.nodes);
            self.complete(cx, id, if is_answered { Outcome::Nodes(nodes) } else { Outcome::Timeout });
        }
    }

    /// Ends a call, and moves on the calls to the same endpoint that waited for its handshake.
    pub(super) fn complete(&mut self, cx: &mut Cx<'_>, id: CallId, outcome: Outcome) {
        let mut ended = VecDeque::from([(id, outcome)]);
        while let Some((id, outcome)) = ended.pop_front() {
            let Some(call) = self.calls.end(id) else { continue };
            if call.is_handshaking() {
                if matches!(outcome, Outcome::Timeout) {
                    let queued = self.calls.queued(&call.contact);
                    ended.extend(queued.into_iter().map(|id| (id, Outcome::Timeout)));
                } else {
                    let lost = self.calls.sealed_before(&call.contact, call.sent);
                    lost.into_iter().for_each(|id| self.send_or_queue(cx, id));
                    self.release_queued(cx, &call.contact);
                }
            }
            self.dispatch_result(cx, *call, outcome);
        }
    }

    /// Dispatches the result of a call by its purpose: to a command, a lookup, the table.
    fn dispatch_result(&mut self, cx: &mut Cx<'_>, call: Call, outcome: Outcome) {
        let Call { contact, purpose, .. } = call;
        let (node, at) = (contact.id(), contact.udp_addr());
        match (purpose, outcome) {
            (Purpose::Command(command), outcome) => command_result(cx, command, contact, outcome),
            (Purpose::RecordCommand(command), outcome) => {
                cx.out.emit(match own_record(&node, outcome) {
                    Some(record) => Event::Record { command, record: Box::new(record) },
                    None => Event::CallFailed { command, why: CallFailure::Timeout },
                });
            }
            (Purpose::Lookup(id), outcome) => {
                let is_answered = matches!(outcome, Outcome::Nodes(_));
                let changes = self.table.find_result(&node, is_answered, cx.now, cx.rng);
                self.emit_changes(cx, changes);
                let found = match outcome {
                    Outcome::Nodes(nodes) => nodes,
                    _ => Vec::new(),
                };
                let contacts: Vec<Contact> = found.iter().filter_map(|node| node.contact).collect();
                if let Some(active) = self.lookups.iter_mut().find(|active| active.id == id) {
                    match is_answered {
                        true => active.lookup.answered(&node, &contacts),
                        false => active.lookup.failed(&node),
                    }
                }
                for Found { record, contact, .. } in found {
                    if let Some(contact) = contact {
                        self.queue_verification(cx, contact, Some(record.into()));
                    }
                }
            }
            (Purpose::Verify(Some(record)), Outcome::Pong { enr_seq, .. }) => {
                self.insert_into_table(cx, contact, record.seq(), record);
                self.request_newer_record(cx, &contact, enr_seq);
            }
            (Purpose::Verify(None), Outcome::Pong { .. }) => {
                // If it cannot be asked now, it will be named again.
                let retries = limits::ENTER_ATTEMPTS - 1;
                _ = self.start_request(cx, contact, Request::own_record(), Purpose::Enter { retries });
            }
            (Purpose::Enter { retries: retries @ 1.. }, Outcome::Timeout) => {
                let purpose = Purpose::Enter { retries: retries - 1 };
                _ = self.start_request(cx, contact, Request::own_record(), purpose);
            }
            (Purpose::Enter { .. }, outcome) => {
                if let Some(record) = own_record(&node, outcome) {
                    self.insert_into_table(cx, contact, record.seq(), StoredRecord::from(record.clone()));
                    self.follow_record(cx, &contact, &record);
                }
            }
            (Purpose::Check, Outcome::Pong { enr_seq, .. }) => {
                self.table.check_passed(&node, at, cx.now, cx.rng);
                self.request_newer_record(cx, &contact, enr_seq);
            }
            (Purpose::Check, _) => {
                let changes = self.table.check_failed(&node, at, cx.now, cx.rng);
                self.emit_changes(cx, changes);
            }
            (Purpose::Record, outcome) => {
                if let Some(record) = own_record(&node, outcome)
                    && self.table.update_record(&node, record.seq(), Some(record.clone().into()))
                {
                    self.follow_record(cx, &contact, &record);
                }
            }
            (Purpose::Relocate, Outcome::Pong { .. }) => self.table.relocate(contact, cx.now, cx.rng),
            (Purpose::Session | Purpose::Verify(_) | Purpose::Relocate, _) => {}
        }
    }

    /// Asks for the record of a table entry that says that it has a newer one.
    pub(super) fn request_newer_record(&mut self, cx: &mut Cx<'_>, contact: &Contact, enr_seq: u64) {
        let Some(entry) = self.table.entry(&contact.id()) else { return };
        let is_wanted = enr_seq > entry.record_seq() || !self.table.is_at_record(&contact.id());
        if is_wanted && !self.calls.is_open(contact, |call| call.purpose == Purpose::Record) {
            // If it cannot be asked now, a later message has the number again.
            _ = self.start_request(cx, *contact, Request::own_record(), Purpose::Record);
        }
    }

    /// Pings the endpoint that the newest record of an entry names, if the entry is elsewhere: it moves there when that endpoint
    /// answers (attack V3).
    pub(super) fn follow_record(&mut self, cx: &mut Cx<'_>, contact: &Contact, record: &Record) {
        let Some(entry) = self.table.entry(&contact.id()).map(|entry| *entry.contact()) else { return };
        let named = contact_of(cx, contact.ip(), &contact.id(), record);
        let elsewhere = named.filter(|_| !record.names(entry.udp_addr()));
        self.table.set_at_record(&contact.id(), elsewhere.is_none());
        if let Some(named) = elsewhere
            && !self.calls.is_open(&named, |call| call.purpose == Purpose::Relocate)
        {
            // If it does not answer, the entry is not where its record says, and the next pong asks for the record again.
            _ = self.start_request(cx, named, Request::Ping, Purpose::Relocate);
        }
    }
}

/// Emits the result of a command.
fn command_result(cx: &mut Cx<'_>, command: CommandId, contact: Contact, outcome: Outcome) {
    match outcome {
        Outcome::Pong { rtt, enr_seq, seen_as } => {
            let (enr_seq, seen_as) = (Some(enr_seq), Some(seen_as));
            cx.out.emit(Event::Pong { command, contact, rtt, enr_seq, seen_as });
        }
        Outcome::Nodes(nodes) => {
            let nodes = nodes.iter().filter_map(|node| node.contact).collect();
            cx.out.emit(Event::Nodes { command, nodes, queries: 1, hops: 1 });
        }
        Outcome::Talk { rtt, response } => {
            cx.out.stage(response.len()).copy_from_slice(&response);
            let event = Event::TalkResponse { command, rtt, response: Default::default() };
            cx.out.emit_staged(event, 0..response.len());
        }
        Outcome::Timeout => cx.out.emit(Event::CallFailed { command, why: CallFailure::Timeout }),
    }
}

/// The node's own record among those of an answer.
fn own_record(node: &NodeId, outcome: Outcome) -> Option<Record> {
    let Outcome::Nodes(nodes) = outcome else { return None };
    nodes.into_iter().find(|found| found.id == *node).map(|found| found.record)
}

/// Whether the message of a request fits a handshake packet.
fn fits_handshake(request: &Request) -> bool {
    match request {
        Request::Ping => true,
        // Three bytes each, and at most twenty for the rest.
        Request::FindNode { distances } => 3 * distances.len() + 20 <= HANDSHAKE_MESSAGE_BYTES_MAX,
        Request::Talk { protocol, request } => protocol.len() + request.len() + 20 <= HANDSHAKE_MESSAGE_BYTES_MAX,
    }
}
