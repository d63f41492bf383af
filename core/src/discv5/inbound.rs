//! Inbound datagrams, cheapest check first: two AES blocks tell discv5 from other protocols, then the filter, then the key of the
//! session. What no session opens is challenged, within the budgets of its source (attacks V1, D6); what answers a challenge
//! is checked at the cost of two signatures and an agreement, for which there is a budget too.
//!
//! A node that has not proven its endpoint receives challenges and nothing else, each smaller than what it sent.

use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use super::calls::{Found, Request};
use super::records::StoredRecord;
use super::requests::Outcome;
use super::{Discv5, Lifecycle};
use crate::contract::{Cx, DropReason, SocketId};
use crate::crypto::discv5::{Nonce, SessionKeys, id_proof_digest};
use crate::crypto::{NodeId, PublicKey};
use crate::kad::limiter::{Allowance, Source};
use crate::kad::{Received, Statement, Verdict};
use crate::limits;
use crate::netfilter::{canonical, relay_allowed};
use crate::wire::DecodeError;
use crate::wire::discv5::{Challenge, Header, IdProof, Kind, Message, Packet, Payload, RecordList, RequestId};
use crate::wire::enode::Contact;
use crate::wire::enr::Record;

/// UDP ports up to this belong to other services. A relayed node at one is not used.
const PRIVILEGED_PORTS: u16 = 1024;

/// The sender of a message. The session proves its id and its address.
#[derive(Clone, Copy)]
pub(super) struct Sender {
    pub(super) id: NodeId,
    pub(super) addr: SocketAddr,
}

impl Discv5 {
    /// Handles a datagram from `from`.
    pub fn handle_datagram(&mut self, cx: &mut Cx<'_>, from: SocketAddr, bytes: &[u8]) -> Verdict {
        let received = match Packet::unmask(&self.local.id, bytes) {
            Ok(None) => Received::Unrecognised,
            Err(error) => Received::Dropped(DropReason::Malformed(error)),
            Ok(Some(packet)) => match self.receive(cx, canonical(from), &packet) {
                Ok(()) => Received::Handled,
                Err(reason) => Received::Dropped(reason),
            },
        };
        Verdict { received, growth: core::mem::take(&mut self.growth), statement: self.statement.take() }
    }

    fn receive(&mut self, cx: &mut Cx<'_>, from: SocketAddr, packet: &Packet<'_>) -> Result<(), DropReason> {
        if !cx.filter.permits(from.ip()) || from.port() == 0 {
            return Err(DropReason::Filtered);
        }
        if self.lifecycle == Lifecycle::Closed {
            return Err(DropReason::ShuttingDown);
        }
        match packet.header() {
            Header::Ordinary { from: id } | Header::Handshake { from: id, .. } if id == self.local.id => {
                Err(DropReason::FromSelf)
            }
            Header::Ordinary { from: id } => {
                let (sender, mut plain) = (Sender { id, addr: from }, Vec::new());
                match self.sessions.open(self.peer_hash(&id, from), packet, &mut plain, cx.now) {
                    Ok(plain) => self.handle_message(cx, sender, plain),
                    Err(_) => self.challenge(cx, sender, packet.nonce()),
                }
            }
            Header::Challenge(challenge) => self.answer_challenge(cx, from, &challenge),
            Header::Handshake { from: id, proof } => {
                self.handle_handshake(cx, Sender { id, addr: from }, packet, &proof)
            }
        }
    }

    /// Challenges the sender of a packet that no session opens: again as before, if it has a challenge that it has not answered.
    fn challenge(&mut self, cx: &mut Cx<'_>, sender: Sender, nonce: &Nonce) -> Result<(), DropReason> {
        let Sender { id, addr } = sender;
        if self.is_passive && !self.calls.is_open_to(addr) {
            return Err(DropReason::Unsolicited);
        }
        let peer = self.peer_hash(&id, addr);
        let challenge = match self.challenges.find(peer, cx.now) {
            Some(challenge) => *challenge,
            None => {
                let source = self.source(addr);
                if self.limiter.allows(source, addr, cx.now) != Allowance::Allowed {
                    return Err(DropReason::RateLimited);
                }
                self.limiter.take(source, addr, cx.now);
                let enr_seq = self.table.entry(&id).map_or(0, |entry| entry.record_seq());
                let challenge = Challenge::new(cx.rng.bytes(), nonce, cx.rng.bytes(), enr_seq);
                self.challenges.insert(peer, challenge, cx.now);
                challenge
            }
        };
        challenge.write(&id, cx.out.tail());
        cx.send_staged(SocketId::MAIN, addr);
        Ok(())
    }

    /// What is known of a sender by its address.
    fn source(&self, from: SocketAddr) -> Source {
        if self.table.has_endpoint(from) {
            Source::Entry
        } else if self.calls.is_open_to(from) {
            Source::Bonded
        } else {
            Source::Stranger
        }
    }

    /// A node answers our challenge: a session begins with its message.
    fn handle_handshake(
        &mut self,
        cx: &mut Cx<'_>,
        sender: Sender,
        packet: &Packet<'_>,
        proof: &IdProof<'_>,
    ) -> Result<(), DropReason> {
        let Sender { id, addr } = sender;
        let peer = self.peer_hash(&id, addr);
        self.challenges.find(peer, cx.now).ok_or(DropReason::Unsolicited)?;
        self.admit_proof(cx, addr)?;
        let challenge = self.challenges.attempt(peer, cx.now).ok_or(DropReason::Unsolicited)?;
        let record = proof.record.map(|record| Record::decode(cx.crypto, record)).transpose();
        let record = record.map_err(DropReason::Malformed)?;
        let key = match &record {
            Some(record) => *record.key(),
            None => self.known_key(&id).ok_or(DropReason::Malformed(DecodeError::MissingField))?,
        };
        if cx.crypto.node_id(&key) != id {
            return Err(DropReason::Malformed(DecodeError::BadKey));
        }
        let digest = id_proof_digest(challenge.as_bytes(), proof.ephemeral_key, &self.local.id);
        if !cx.crypto.verify(&key, &digest, &proof.signature) {
            return Err(DropReason::Malformed(DecodeError::BadSignature));
        }
        let agreement = cx.crypto.agree_as_recipient(&self.local.secret, proof.ephemeral_key);
        let agreement = agreement.ok_or(DropReason::Malformed(DecodeError::BadKey))?;
        let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &id, &self.local.id);
        let mut plain = Vec::new();
        let opened = packet.open(&keys.initiator, &mut plain);
        let opened = opened.map_err(|_| DropReason::Malformed(DecodeError::BadHash))?;
        self.challenges.remove(peer);
        self.sessions.insert(peer, keys.recipient, keys.initiator, cx.now);
        self.limiter.proven(addr.ip(), cx.now);
        if let Some(record) = record {
            self.on_handshake_record(cx, sender, &record);
        }
        // Our own requests to it need no handshake of ours any more.
        let contact = Contact::with_id(key, id, addr.ip(), addr.port(), 0);
        self.release_queued(cx, &contact);
        self.handle_message(cx, sender, opened)
    }

    /// Takes the check of an identity proof from the budget of its source. A challenge that was sent to a forged address is
    /// answered with a forged proof (attack D6).
    fn admit_proof(&mut self, cx: &mut Cx<'_>, from: SocketAddr) -> Result<(), DropReason> {
        let source = self.source(from);
        let is_allowed = match source {
            Source::Stranger => self.proofs.allows_by_draw(cx.now, || cx.rng.u64()),
            _ => self.limiter.allows(source, from, cx.now) == Allowance::Allowed,
        };
        if !is_allowed {
            return Err(DropReason::RateLimited);
        }
        match source {
            Source::Stranger => self.proofs.take(cx.now),
            _ => self.limiter.take(source, from, cx.now),
        }
        Ok(())
    }

    /// The key of a node that proves its identity without a record.
    fn known_key(&self, id: &NodeId) -> Option<PublicKey> {
        self.table.entry(id).map(|entry| entry.contact().key())
    }

    /// A node that has just proven its id and its endpoint has sent its record.
    fn on_handshake_record(&mut self, cx: &mut Cx<'_>, Sender { id, addr }: Sender, record: &Record) {
        if let Some(entry) = self.table.entry(&id).map(|entry| *entry.contact()) {
            if self.table.update_record(&id, record.seq(), Some(record.clone().into())) {
                self.follow_record(cx, &entry, record);
            }
        } else if self.lifecycle == Lifecycle::Running && record.names(addr) {
            let tcp = if addr.is_ipv4() { record.tcp() } else { record.tcp6() };
            let contact = Contact::with_id(*record.key(), id, addr.ip(), addr.port(), tcp.unwrap_or(0));
            self.insert_into_table(cx, contact, record.seq(), StoredRecord::from(record.clone()));
        }
    }

    fn handle_message(&mut self, cx: &mut Cx<'_>, sender: Sender, plain: &[u8]) -> Result<(), DropReason> {
        let Message { request_id, payload } = Message::decode(plain).map_err(DropReason::Malformed)?;
        match payload {
            Payload::Ping { enr_seq } => {
                self.admit_request(cx, &sender)?;
                self.answer_ping(cx, &sender, request_id, enr_seq);
                return Ok(());
            }
            Payload::FindNode { distances } => {
                self.admit_request(cx, &sender)?;
                self.answer_find_node(cx, &sender, request_id, &distances);
                return Ok(());
            }
            Payload::TalkRequest { protocol, request } => {
                self.admit_request(cx, &sender)?;
                self.answer_talk(cx, &sender, request_id, protocol, request);
                return Ok(());
            }
            Payload::Pong { enr_seq, recipient } => self.handle_pong(cx, sender, &request_id, enr_seq, recipient)?,
            Payload::Nodes { total, records } => self.handle_nodes(cx, sender, &request_id, total, &records)?,
            Payload::TalkResponse { response } => self.handle_talk_response(cx, sender, &request_id, response)?,
            Payload::RegTopic { .. }
            | Payload::RegConfirmation { .. }
            | Payload::TopicQuery { .. }
            | Payload::TopicNodes { .. } => return Err(DropReason::Malformed(DecodeError::UnknownType)),
        }
        // An answer ends a call and makes room for others.
        self.advance(cx);
        Ok(())
    }

    fn handle_pong(
        &mut self,
        cx: &mut Cx<'_>,
        Sender { id, addr }: Sender,
        request_id: &RequestId,
        enr_seq: u64,
        seen_as: SocketAddr,
    ) -> Result<(), DropReason> {
        let call = self.calls.find_answered(request_id, &id, addr, Kind::Pong).ok_or(DropReason::Unsolicited)?;
        self.on_answer(cx, &id, addr);
        self.statement = Some(Statement { from: addr, seen_as });
        let rtt = self.calls.get(call).map_or_else(Default::default, |call| cx.now.since(call.sent));
        self.complete(cx, call, Outcome::Pong { rtt, enr_seq, seen_as });
        Ok(())
    }

    fn handle_nodes(
        &mut self,
        cx: &mut Cx<'_>,
        Sender { id, addr }: Sender,
        request_id: &RequestId,
        total: u64,
        records: &RecordList<'_>,
    ) -> Result<(), DropReason> {
        let call_id = self.calls.find_answered(request_id, &id, addr, Kind::Nodes).ok_or(DropReason::Unsolicited)?;
        self.on_answer(cx, &id, addr);
        let call = self.calls.get_mut(call_id).ok_or(DropReason::Unsolicited)?;
        let Request::FindNode { distances } = &call.request else { return Err(DropReason::Unsolicited) };
        call.messages_received += 1;
        for record in records.iter() {
            if call.records_received >= limits::NODES_RECORDS_MAX {
                break;
            }
            call.records_received += 1;
            // A record that is not valid or was not asked for is passed over; the others may be of use.
            let Ok(record) = Record::decode(cx.crypto, record) else { continue };
            let node = cx.crypto.node_id(record.key());
            let distance = id.log_distance(&node);
            let is_new = node != self.local.id && call.nodes.iter().all(|other| other.id != node);
            if !is_new || !distances.contains(&distance) {
                continue;
            }
            let contact = contact_of(cx, addr.ip(), &node, &record);
            if distance == 0 || contact.is_some() {
                call.nodes.push(Found { id: node, record, contact });
            }
        }
        // The first message says how many there are; more than five are not waited for.
        let is_complete = call.messages_received >= total.min(limits::NODES_MESSAGES_MAX)
            || call.records_received >= limits::NODES_RECORDS_MAX;
        if is_complete {
            let nodes = core::mem::take(&mut call.nodes);
            self.complete(cx, call_id, Outcome::Nodes(nodes));
        } else {
            self.calls.set_due(call_id, cx.now + limits::ANSWER_TIMEOUT);
        }
        Ok(())
    }

    fn handle_talk_response(
        &mut self,
        cx: &mut Cx<'_>,
        Sender { id, addr }: Sender,
        request_id: &RequestId,
        response: &[u8],
    ) -> Result<(), DropReason> {
        let call =
            self.calls.find_answered(request_id, &id, addr, Kind::TalkResponse).ok_or(DropReason::Unsolicited)?;
        self.on_answer(cx, &id, addr);
        let rtt = self.calls.get(call).map_or_else(Default::default, |call| cx.now.since(call.sent));
        self.complete(cx, call, Outcome::Talk { rtt, response: response.into() });
        Ok(())
    }

    /// A node has answered: its endpoint is proven, and our connection works.
    fn on_answer(&mut self, cx: &mut Cx<'_>, id: &NodeId, addr: SocketAddr) {
        self.limiter.proven(addr.ip(), cx.now);
        let changes = self.table.confirm_connectivity(id, cx.now, cx.rng);
        self.emit_changes(cx, changes);
    }
}

/// The first endpoint of a node's record that we may contact, as one at `teller` has named it.
pub(super) fn contact_of(cx: &Cx<'_>, teller: IpAddr, id: &NodeId, record: &Record) -> Option<Contact> {
    let is_usable = |(ip, udp, _): &(IpAddr, u16, u16)| {
        *udp > PRIVILEGED_PORTS && relay_allowed(teller, *ip) && cx.filter.permits(*ip)
    };
    let (ip, udp, tcp) = record.endpoints().find(is_usable)?;
    Some(Contact::with_id(*record.key(), *id, ip, udp, tcp))
}
