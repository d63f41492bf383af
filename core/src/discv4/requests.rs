//! Our requests, from start to end: endpoint proofs first, then the request, then its answer or its timeout.
//!
//! Before a FindNode or EnrRequest both endpoint proofs must hold, or the node would not answer (discv4, "Endpoint
//! Proof"). We ping it. If it has not shown within a day that it holds our endpoint proven, it has the time of one answer to
//! ping us back, as in geth. If it has shown that, the request is sent at once; a node that then does not answer may have
//! lost our proof, so it is asked once more after another exchange of proofs.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Discv4;
use super::calls::{Call, CallId, CallState, Purpose, Request};
use crate::contract::{CallFailure, CommandError, Cx, Event, Refusal};
use crate::limits;
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::discv4::{Kind, Packet};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// The age up to which an endpoint proof needs no further ping before we wait for the node to ping us back.
const FRESH_PROOF_AGE: Duration = Duration::from_secs(4);

/// How a call ended.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    /// A ping was answered.
    Pong { rtt: Duration, enr_seq: Option<u64>, seen_as: Option<SocketAddr> },
    /// A FindNode was answered.
    Nodes(Vec<Contact>),
    /// An EnrRequest was answered.
    Record(Box<Record>),
    /// No answer came in time.
    Timeout,
}

impl Discv4 {
    /// Opens a call and takes it as far as it can go now.
    pub(super) fn start_request(
        &mut self,
        cx: &mut Cx<'_>,
        contact: Contact,
        request: Request,
        purpose: Purpose,
    ) -> Result<(), CommandError> {
        self.check_contact(cx, &contact)?;
        let at = contact.udp_addr();
        let (is_mutual, is_recent) = match self.bonds.find(&contact.id(), at, cx.now) {
            Some(bond) => (bond.is_mutual(), bond.is_proven_within(FRESH_PROOF_AGE)),
            None => (false, false),
        };
        let is_ping = request == Request::Ping;
        let needs_ping = is_ping || !is_mutual;
        let is_fresh = !is_ping && is_recent;
        let sends_ping = needs_ping && !is_fresh && self.calls.find_in_flight(&contact, Kind::Pong).is_none();
        if self.calls.room() < 1 + usize::from(sends_ping && !is_ping) {
            return Err(CommandError::Busy);
        }
        // A command is the embedder's choice, at its own rate. A node to be verified was admitted before, and so was one that
        // pinged us.
        let is_admitted = matches!(purpose, Purpose::Command(_) | Purpose::Verify | Purpose::PingBack);
        if sends_ping && !is_admitted && !self.admits_ping(cx, &contact) {
            return Err(CommandError::Refused(Refusal::RecentlyPinged));
        }
        let Some(id) = self.calls.open(contact, request, purpose) else { return Err(CommandError::Busy) };
        if !needs_ping {
            if let Some(call) = self.calls.get_mut(id) {
                call.relies_on_old_proof = true;
            }
            self.send_or_queue(cx, id);
        } else if is_fresh {
            self.await_ping_back(cx, id);
        } else if sends_ping && is_ping {
            self.send_or_queue(cx, id);
        } else if sends_ping && let Some(ping) = self.calls.open(contact, Request::Ping, Purpose::Bond) {
            self.send_or_queue(cx, ping);
        }
        Ok(())
    }

    /// Whether a node may be pinged that a packet of another one may have named: it has proven its endpoint, or is one of the
    /// bootnodes while they are all that we have, or its address may receive a ping unasked (attack D10).
    pub(super) fn admits_ping(&mut self, cx: &Cx<'_>, contact: &Contact) -> bool {
        let at = contact.udp_addr();
        if self.bonds.is_proven(&contact.id(), at, cx.now) {
            true
        } else if self.table.is_empty() && self.config.bootnodes.contains(contact) {
            self.limiter.admit_named_ping(at, cx.now)
        } else {
            let bytes = self.local.ping(at, expiration(cx)).datagram_bytes();
            self.limiter.admit_unproven_ping(at.ip(), bytes, cx.now)
        }
    }

    /// Sends the request itself, or queues it behind one of the same kind.
    fn send_or_queue(&mut self, cx: &mut Cx<'_>, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let (contact, request) = (call.contact, call.request);
        if request != Request::Ping && !self.bonds.is_proven(&contact.id(), contact.udp_addr(), cx.now) {
            // It was queued for so long that the proof has lapsed, as on a machine that slept for a day.
            self.complete(cx, id, Outcome::Timeout);
            return;
        }
        if self.calls.find_in_flight(&contact, request.answer()).is_some() {
            self.calls.set_state(id, CallState::Queued, None);
            return;
        }
        let expiration = expiration(cx);
        let to = contact.udp_addr();
        let packet = match request {
            Request::Ping => self.local.ping(to, expiration),
            Request::FindNode { target } => Packet::FindNode { target, expiration },
            Request::EnrRequest => Packet::EnrRequest { expiration },
        };
        let hash = self.local.send(cx, to, &packet);
        self.calls.set_state(id, CallState::InFlight { hash, sent: cx.now }, Some(cx.now + limits::CALL_TIMEOUT));
    }

    /// Answers a ping of a node that has not proven its endpoint by a ping of ours.
    pub(super) fn ping_back(&mut self, cx: &mut Cx<'_>, contact: Contact) {
        if self.calls.len() < limits::PING_BACK_CALLS_MAX {
            // If it cannot be pinged now, it will ping again.
            _ = self.start_request(cx, contact, Request::Ping, Purpose::PingBack);
            return;
        }
        let ping = self.local.ping(contact.udp_addr(), expiration(cx));
        let hash = self.local.send(cx, contact.udp_addr(), &ping);
        let node = self.limiter.node_hash(&contact.id(), contact.udp_addr());
        self.ping_backs.insert(&hash, node, contact.tcp(), cx.now);
    }

    /// Gives the node the time of one answer to ping us back.
    fn await_ping_back(&mut self, cx: &Cx<'_>, id: CallId) {
        self.calls.set_state(id, CallState::AwaitingPingBack, Some(cx.now + limits::CALL_TIMEOUT));
    }

    /// Exchanges proofs once more for a request that was not answered, and for those queued behind it: the node may have
    /// restarted, or evicted our proof. False if it cannot be pinged now.
    fn renew_proofs(&mut self, cx: &mut Cx<'_>, id: CallId) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return false };
        if !core::mem::take(&mut call.relies_on_old_proof) {
            return false;
        }
        let (contact, answer) = (call.contact, call.request.answer());
        let Some(mut bond) = self.bonds.find(&contact.id(), contact.udp_addr(), cx.now).filter(|bond| bond.is_proven())
        else {
            return false;
        };
        let ping = match self.calls.find_in_flight(&contact, Kind::Pong) {
            Some(_) => None,
            None => match self.calls.open(contact, Request::Ping, Purpose::Bond) {
                Some(ping) => Some(ping),
                None => return false,
            },
        };
        bond.clear_peer_bond();
        let queued = self.calls.in_state(&contact, CallState::Queued).into_iter();
        let alike = queued.filter(|id| self.calls.get(*id).is_some_and(|call| call.request.answer() == answer));
        for waiting in alike.chain([id]).collect::<Vec<_>>() {
            self.calls.set_state(waiting, CallState::AwaitingPong, None);
        }
        if let Some(ping) = ping {
            self.send_or_queue(cx, ping);
        }
        true
    }

    /// The node pinged us, and we answered: calls that waited for that go on.
    pub(super) fn on_pinged(&mut self, cx: &mut Cx<'_>, contact: &Contact) {
        if let Some(ping) = self.calls.find_in_flight(contact, Kind::Pong)
            && let Some(call) = self.calls.get_mut(ping)
        {
            call.pinged_us = true;
        }
        for id in self.calls.in_state(contact, CallState::AwaitingPingBack) {
            self.send_or_queue(cx, id);
        }
    }

    /// Handles calls whose deadline has passed, up to the budget of one turn.
    pub(super) fn expire_calls(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..limits::CALL_ENDS_PER_TURN {
            let Some(id) = self.calls.pop_due(cx.now) else { break };
            let Some(call) = self.calls.get_mut(id) else { continue };
            if call.state == CallState::AwaitingPingBack {
                self.send_or_queue(cx, id);
            } else if call.nodes_received > 0 || call.answered_empty {
                // No packet says how many packets an answer has: it ends with its time.
                let nodes = core::mem::take(&mut call.nodes);
                self.complete(cx, id, Outcome::Nodes(nodes));
            } else if !self.renew_proofs(cx, id) {
                self.complete(cx, id, Outcome::Timeout);
            }
        }
    }

    /// Ends a call, and moves on the calls to the same endpoint that waited for its end.
    pub(super) fn complete(&mut self, cx: &mut Cx<'_>, id: CallId, outcome: Outcome) {
        let mut next = Some((id, outcome));
        let mut ended = VecDeque::new();
        while let Some((id, outcome)) = next.take().or_else(|| ended.pop_front()) {
            let Some(call) = self.calls.end(id) else { continue };
            if call.request == Request::Ping && call.is_in_flight() {
                for waiting in self.calls.in_state(&call.contact, CallState::AwaitingPong) {
                    let is_ping = self.calls.get(waiting).is_some_and(|call| call.request == Request::Ping);
                    if is_ping || matches!(outcome, Outcome::Timeout) {
                        ended.push_back((waiting, outcome.clone()));
                    } else if self
                        .bonds
                        .find(&call.contact.id(), call.contact.udp_addr(), cx.now)
                        .is_some_and(|bond| bond.is_mutual())
                    {
                        self.send_or_queue(cx, waiting);
                    } else {
                        self.await_ping_back(cx, waiting);
                    }
                }
            } else if call.is_in_flight() {
                let is_alike = |other: &Call| other.request.answer() == call.request.answer();
                let queued = self.calls.in_state(&call.contact, CallState::Queued);
                if let Some(next) = queued.into_iter().find(|id| self.calls.get(*id).is_some_and(is_alike)) {
                    self.send_or_queue(cx, next);
                }
            }
            self.dispatch_result(cx, &call, outcome);
        }
    }

    /// Dispatches the result of a call by its purpose: to a command, a lookup, the table.
    fn dispatch_result(&mut self, cx: &mut Cx<'_>, call: &Call, outcome: Outcome) {
        let Call { contact, purpose, request, .. } = *call;
        let at = contact.udp_addr();
        let is_find = matches!(request, Request::FindNode { .. });
        if request != Request::Ping
            && let Some(mut bond) = self.bonds.find(&contact.id(), at, cx.now)
        {
            match outcome {
                Outcome::Timeout => bond.clear_peer_bond(),
                _ => bond.set_peer_bonded(),
            }
        }
        // The answers of a flooded node's own requests may be lost.
        if is_find && !(matches!(outcome, Outcome::Timeout) && self.is_flooded(cx.now)) {
            let answered = !matches!(outcome, Outcome::Timeout);
            let changes = self.table.find_result(&contact.id(), answered, cx.now, cx.rng);
            self.emit_changes(cx, changes);
        }
        match (purpose, outcome) {
            (Purpose::Command(command), outcome) => cx.out.emit(match outcome {
                Outcome::Pong { rtt, enr_seq, seen_as } => Event::Pong { command, contact, rtt, enr_seq, seen_as },
                Outcome::Nodes(nodes) => Event::Nodes { command, nodes, queries: 1, hops: 1 },
                Outcome::Record(record) => Event::Record { command, record },
                Outcome::Timeout => Event::CallFailed { command, why: CallFailure::Timeout },
            }),
            (Purpose::Lookup(id), outcome) => {
                if let Some(active) = self.lookups.iter_mut().find(|active| active.id == id) {
                    match &outcome {
                        Outcome::Nodes(nodes) => active.lookup.answered(&contact.id(), nodes),
                        _ => active.lookup.failed(&contact.id()),
                    }
                }
                if let Outcome::Nodes(nodes) = outcome {
                    for node in nodes {
                        self.queue_verification(cx, node);
                    }
                }
            }
            (Purpose::Check, Outcome::Pong { .. }) => self.table.check_passed(&contact.id(), at, cx.now, cx.rng),
            // A node that is flooded in our name does not get to our pings, but pings us.
            (Purpose::Check, _) if self.has_pinged_lately(cx, &contact) => {
                self.table.check_soon(&contact.id(), cx.now, cx.rng);
            }
            (Purpose::Check, _) => {
                let changes = self.table.check_failed(&contact.id(), at, cx.now, cx.rng);
                self.emit_changes(cx, changes);
            }
            (Purpose::Bond | Purpose::Verify | Purpose::PingBack | Purpose::Record, _) => {}
        }
    }
}

impl Discv4 {
    /// Whether a node's own ping stands for its answer to a failed check.
    fn has_pinged_lately(&mut self, cx: &Cx<'_>, contact: &Contact) -> bool {
        let bond = self.bonds.find(&contact.id(), contact.udp_addr(), cx.now);
        bond.is_some_and(|bond| bond.is_proven() && bond.is_peer_bonded_within(limits::SIGN_OF_LIFE_AGE))
    }
}

/// The expiration of a packet that is sent now.
pub(super) fn expiration(cx: &Cx<'_>) -> UnixTime {
    cx.unix.plus_secs(limits::EXPIRATION.as_secs())
}

/// The time since a call's request was sent; zero if it was not.
pub(super) fn rtt(call: &Call, now: Instant) -> Duration {
    match call.state {
        CallState::InFlight { sent, .. } => now.since(sent),
        _ => Duration::ZERO,
    }
}
