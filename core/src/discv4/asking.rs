//! Questions of ours, from opening to end: proofs first, then the question, then its answer or its timeout.
//!
//! Before a FindNode or EnrRequest both endpoint proofs must hold, else the node would not answer (discv4, "Endpoint
//! Proof"). We ping it; if it has not shown within a day that it takes our endpoint for proven, we give it the time of one
//! answer to ping us back, as geth does. If it has shown that before, we trust it; if it then does not answer, it may have
//! forgotten us, and is asked once more after another exchange.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::Discv4;
use super::calls::{Call, CallId, Purpose, Question, Stage};
use crate::contract::{CallFailure, CommandError, Cx, Event, Refusal};
use crate::limits;
use crate::time::{Duration, Instant, UnixTime};
use crate::wire::discv4::{Endpoint, Kind, Packet};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// How old the proof of an endpoint may be that spares us another ping before the pause in which we are pinged back.
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
    /// Nothing came in time.
    Timeout,
}

impl Discv4 {
    /// Opens a call and moves it on as far as it goes now.
    pub(super) fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        contact: Contact,
        question: Question,
        purpose: Purpose,
    ) -> Result<(), CommandError> {
        if let Some(objection) = self.objection(cx, &contact) {
            return Err(objection);
        }
        let at = contact.udp_addr();
        let (is_proven, is_mutual, is_recent) = match self.bonds.find(&contact.id(), at, cx.now) {
            Some(bond) => (bond.is_proven(), bond.is_mutual(), bond.is_proven_within(FRESH_PROOF_AGE)),
            None => (false, false, false),
        };
        let is_ping = question == Question::Ping;
        let needs_ping = is_ping || !is_mutual;
        let is_fresh = !is_ping && is_recent;
        let pings = needs_ping && !is_fresh && self.calls.asked(&contact, Kind::Pong).is_none();
        if self.calls.room() < 1 + usize::from(pings && !is_ping) {
            return Err(CommandError::Busy);
        }
        // What the embedder asks for itself is its own affair, and so is whom it told us to start from, at our own pace; a
        // stranger's word must not make us ping a third party.
        let is_start = || self.table.is_empty() && self.config.bootnodes.contains(&contact);
        let is_own = matches!(purpose, Purpose::Command(_)) || is_start();
        if pings && !is_proven && !is_own && !self.limiter.admit_unproven_ping(contact.ip(), cx.now) {
            return Err(CommandError::Refused(Refusal::Throttled));
        }
        let Some(id) = self.calls.open(contact, question, purpose) else { return Err(CommandError::Busy) };
        if !needs_ping {
            if let Some(call) = self.calls.get_mut(id) {
                call.trusts_old_proof = true;
            }
            self.put(cx, id);
        } else if is_fresh {
            self.pause(cx, id);
        } else if pings && is_ping {
            self.put(cx, id);
        } else if pings && let Some(ping) = self.calls.open(contact, Question::Ping, Purpose::Bond) {
            self.put(cx, ping);
        }
        Ok(())
    }

    /// Puts the question itself on the wire, or in line behind one like it.
    fn put(&mut self, cx: &mut Cx<'_>, id: CallId) {
        let Some(call) = self.calls.get(id) else { return };
        let (contact, question) = (call.contact, call.question);
        if question != Question::Ping && !self.bonds.is_proven(&contact.id(), contact.udp_addr(), cx.now) {
            // It has waited for so long that the proof has lapsed, as on a machine that slept for a day.
            self.settle(cx, id, Outcome::Timeout);
            return;
        }
        if self.calls.asked(&contact, question.answer()).is_some() {
            self.calls.set_stage(id, Stage::Queued, None);
            return;
        }
        let expiration = expiration(cx);
        let to = contact.udp_addr();
        let packet = match question {
            Question::Ping => Packet::Ping {
                version: 4,
                from: self.local.endpoint,
                to: Endpoint::from(to),
                expiration,
                enr_seq: self.local.record.as_ref().map(Record::seq),
            },
            Question::FindNode { target } => Packet::FindNode { target, expiration },
            Question::EnrRequest => Packet::EnrRequest { expiration },
        };
        let hash = self.local.send(cx, to, &packet);
        self.calls.set_stage(id, Stage::Asked { hash, sent: cx.now }, Some(cx.now + limits::CALL_TIMEOUT));
    }

    /// Waits for the node to ping us back.
    fn pause(&mut self, cx: &Cx<'_>, id: CallId) {
        self.calls.set_stage(id, Stage::Pausing, Some(cx.now + limits::CALL_TIMEOUT));
    }

    /// Exchanges proofs once more for a question that was not answered, and for those in line behind it: the node may have
    /// been started anew, or have forgotten us for others. False if it cannot be pinged now.
    fn renew_proofs(&mut self, cx: &mut Cx<'_>, id: CallId) -> bool {
        let Some(call) = self.calls.get_mut(id) else { return false };
        if !core::mem::take(&mut call.trusts_old_proof) {
            return false;
        }
        let (contact, answer) = (call.contact, call.question.answer());
        let Some(mut bond) = self.bonds.find(&contact.id(), contact.udp_addr(), cx.now).filter(|bond| bond.is_proven())
        else {
            return false;
        };
        let ping = match self.calls.asked(&contact, Kind::Pong) {
            Some(_) => None,
            None => match self.calls.open(contact, Question::Ping, Purpose::Bond) {
                Some(ping) => Some(ping),
                None => return false,
            },
        };
        bond.forget_knows_us();
        let queued = self.calls.waiting(&contact, Stage::Queued).into_iter();
        let alike = queued.filter(|id| self.calls.get(*id).is_some_and(|call| call.question.answer() == answer));
        for waiting in alike.chain([id]).collect::<Vec<_>>() {
            self.calls.set_stage(waiting, Stage::Bonding, None);
        }
        if let Some(ping) = ping {
            self.put(cx, ping);
        }
        true
    }

    /// The node pinged us, and we answered: what waited for that goes on.
    pub(super) fn resume(&mut self, cx: &mut Cx<'_>, contact: &Contact) {
        if let Some(ping) = self.calls.asked(contact, Kind::Pong)
            && let Some(call) = self.calls.get_mut(ping)
        {
            call.pinged_us = true;
        }
        for id in self.calls.waiting(contact, Stage::Pausing) {
            self.put(cx, id);
        }
    }

    /// Handles the calls whose time is up, a turn's worth of them.
    pub(super) fn expire_calls(&mut self, cx: &mut Cx<'_>) {
        for _ in 0..limits::CALL_ENDS_PER_TURN {
            let Some(id) = self.calls.pop_due(cx.now) else { break };
            let Some(call) = self.calls.get_mut(id) else { continue };
            if call.stage == Stage::Pausing {
                self.put(cx, id);
            } else if call.nodes_received > 0 || call.answered_empty {
                // Nothing tells how many packets an answer has: time does.
                let nodes = core::mem::take(&mut call.nodes);
                self.settle(cx, id, Outcome::Nodes(nodes));
            } else if !self.renew_proofs(cx, id) {
                self.settle(cx, id, Outcome::Timeout);
            }
        }
    }

    /// Ends a call, and what follows from its end for others to the same endpoint.
    pub(super) fn settle(&mut self, cx: &mut Cx<'_>, id: CallId, outcome: Outcome) {
        let mut next = Some((id, outcome));
        let mut ended = VecDeque::new();
        while let Some((id, outcome)) = next.take().or_else(|| ended.pop_front()) {
            let Some(call) = self.calls.end(id) else { continue };
            if call.question == Question::Ping && matches!(call.stage, Stage::Asked { .. }) {
                for waiting in self.calls.waiting(&call.contact, Stage::Bonding) {
                    let is_ping = self.calls.get(waiting).is_some_and(|call| call.question == Question::Ping);
                    if is_ping || matches!(outcome, Outcome::Timeout) {
                        ended.push_back((waiting, outcome.clone()));
                    } else if self
                        .bonds
                        .find(&call.contact.id(), call.contact.udp_addr(), cx.now)
                        .is_some_and(|bond| bond.is_mutual())
                    {
                        self.put(cx, waiting);
                    } else {
                        self.pause(cx, waiting);
                    }
                }
            } else if matches!(call.stage, Stage::Asked { .. }) {
                let is_alike = |other: &Call| other.question.answer() == call.question.answer();
                let queued = self.calls.waiting(&call.contact, Stage::Queued);
                if let Some(next) = queued.into_iter().find(|id| self.calls.get(*id).is_some_and(is_alike)) {
                    self.put(cx, next);
                }
            }
            self.conclude(cx, &call, outcome);
        }
    }

    /// What the end of a call means for whoever asked.
    fn conclude(&mut self, cx: &mut Cx<'_>, call: &Call, outcome: Outcome) {
        let Call { contact, purpose, question, .. } = *call;
        let at = contact.udp_addr();
        let is_find = matches!(question, Question::FindNode { .. });
        if question != Question::Ping
            && let Some(mut bond) = self.bonds.find(&contact.id(), at, cx.now)
        {
            match outcome {
                Outcome::Timeout => bond.forget_knows_us(),
                _ => bond.note_knows_us(),
            }
        }
        if is_find {
            let answered = !matches!(outcome, Outcome::Timeout);
            let changes = self.table.find_result(&contact.id(), answered, cx.now, cx.rng);
            self.tell(cx, changes);
        }
        match (purpose, outcome) {
            (Purpose::Command(command), outcome) => cx.out.emit(match outcome {
                Outcome::Pong { rtt, enr_seq, seen_as } => Event::Pong { command, contact, rtt, enr_seq, seen_as },
                Outcome::Nodes(nodes) => Event::Nodes { command, nodes, queries: 1 },
                Outcome::Record(record) => Event::Record { command, record },
                Outcome::Timeout => Event::CallFailed { command, why: CallFailure::Timeout },
            }),
            (Purpose::Lookup(id), outcome) => {
                if let Some(search) = self.searches.iter_mut().find(|search| search.id == id) {
                    match &outcome {
                        Outcome::Nodes(nodes) => search.lookup.answered(&contact.id(), nodes),
                        _ => search.lookup.failed(&contact.id()),
                    }
                }
                if let Outcome::Nodes(nodes) = outcome {
                    for node in nodes {
                        self.hear_of(cx, node);
                    }
                }
            }
            (Purpose::Check, Outcome::Pong { .. }) => self.table.check_passed(&contact.id(), at, cx.now, cx.rng),
            (Purpose::Check, _) => {
                let changes = self.table.check_failed(&contact.id(), at, cx.now, cx.rng);
                self.tell(cx, changes);
            }
            (Purpose::Bond | Purpose::Verify | Purpose::PingBack | Purpose::Record, _) => {}
        }
    }
}

/// When a packet sent now becomes void.
pub(super) fn expiration(cx: &Cx<'_>) -> UnixTime {
    cx.unix.plus_secs(limits::EXPIRATION.as_secs())
}

/// The time since a call's question went out.
pub(super) fn rtt(call: &Call, now: Instant) -> Duration {
    match call.stage {
        Stage::Asked { sent, .. } => now.since(sent),
        _ => Duration::ZERO,
    }
}
