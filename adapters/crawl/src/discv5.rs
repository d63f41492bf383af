//! Visits by discv5: a handshake with a request for the node's own record, then its buckets by distance; and answers to the
//! requests of nodes that are being asked.
//!
//! Keys live as long as their visit. Packets of others are not challenged: a crawler has nothing to tell.

use std::net::SocketAddr;

use peerless::contract::{Cx, DropReason, Via};
use peerless::discv5::handshake::Handshake;
use peerless::limits::NODES_MESSAGES_MAX;
use peerless::wire::DecodeError;
use peerless::wire::discv5::{
    Challenge, Header, Message, Packet, Payload, RecordList, RequestId, Route, seal_ordinary, write_random,
};
use peerless::wire::enr::Record;
use peerless::wire::rlp::{self, Bounds};

use crate::language::Crawl;
use crate::machine::{Core, FINDS, NAMED_MAX};
use crate::nodes::Named;
use crate::visits::{Phase, Step, Thread, VisitId};

/// Random bytes of the first packet to a node, which make it larger than the challenge that it causes.
const RANDOM_BYTES: usize = 32;

impl Core {
    /// Sends the request of a visit's step: within the session, or random bytes that the node challenges.
    pub(crate) fn request_v5(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId) {
        let (iv, new_nonce, new_request) = (cx.rng.bytes(), cx.rng.bytes(), cx.rng.u64());
        let Some(visit) = self.visits.get_mut(id) else { return };
        let (to, node) = (visit.addr, visit.id);
        let step = visit.step;
        let Thread::V5 { nonce, request, keys, messages } = &mut visit.thread else { return };
        (*nonce, *request, *messages) = (new_nonce, new_request, 0);
        let route = Route { from: self.local.id(), to: &node };
        self.scratch.clear();
        match keys {
            Some(keys) => {
                let message = message(step, new_request);
                seal_ordinary(&mut self.scratch, route, iv, &new_nonce, &keys.initiator, &message);
            }
            None => write_random(&mut self.scratch, route, iv, &new_nonce, &cx.rng.bytes::<RANDOM_BYTES>()),
        }
        self.send(cx, to);
    }

    /// Handles a packet of discv5.
    pub(crate) fn receive_v5(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        from: SocketAddr,
        packet: &Packet<'_>,
    ) -> Result<(), DropReason> {
        let id = self.visits.find(Via::Discv5, from).ok_or(DropReason::Unsolicited)?;
        match packet.header() {
            Header::Challenge(challenge) => self.answer_challenge(cx, id, &challenge),
            Header::Ordinary { from: sender } => {
                let visit = self.visits.get(id).ok_or(DropReason::Unsolicited)?;
                let Thread::V5 { keys: Some(keys), .. } = &visit.thread else { return Err(DropReason::Unsolicited) };
                if visit.id != sender {
                    return Err(DropReason::Unsolicited);
                }
                let mut plain = Vec::new();
                let opened = packet.open(&keys.recipient, &mut plain);
                let opened = opened.map_err(|_| DropReason::Malformed(DecodeError::BadHash))?;
                self.handle_message(cx, id, from, opened)
            }
            Header::Handshake { .. } => Err(DropReason::Unsolicited),
        }
    }

    /// A node could not open our packet: proves our identity, makes the keys of a session, and sends the request again.
    fn answer_challenge(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        id: VisitId,
        challenge: &Challenge,
    ) -> Result<(), DropReason> {
        let visit = self.visits.get_mut(id).ok_or(DropReason::Unsolicited)?;
        let (to, node, step) = (visit.addr, visit.id, visit.step);
        let Thread::V5 { nonce, request, keys, .. } = &mut visit.thread else { return Err(DropReason::Unsolicited) };
        if visit.phase != Phase::Sent || nonce != challenge.request_nonce() {
            return Err(DropReason::Unsolicited);
        }
        let handshake = Handshake::answer(cx.crypto, cx.rng, &self.local, (&node, &visit.key), challenge);
        // A challenge is answered once.
        *nonce = cx.rng.bytes();
        let message = message(step, *request);
        self.scratch.clear();
        handshake.seal(&mut self.scratch, &self.local, &node, (cx.rng.bytes(), nonce), &message);
        *keys = Some(Box::new(handshake.keys));
        self.send(cx, to);
        let until = cx.now + self.config.limits.timeout;
        self.visits.set_phase(id, Phase::Sent, Some(until));
        Ok(())
    }

    fn handle_message(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        id: VisitId,
        from: SocketAddr,
        plain: &[u8],
    ) -> Result<(), DropReason> {
        let Message { request_id, payload } = Message::decode(plain).map_err(DropReason::Malformed)?;
        match payload {
            Payload::Nodes { total, records } => self.on_nodes(cx, id, from, &request_id, total, &records),
            Payload::Ping { .. } => {
                let enr_seq = self.local.record().seq();
                self.reply(cx, id, request_id, Payload::Pong { enr_seq, recipient: from });
                Ok(())
            }
            Payload::FindNode { distances } => {
                let own = self.local.record().as_bytes().to_vec();
                let records = RecordList::new(if distances.contains(&0) { &own } else { &[] });
                self.reply(cx, id, request_id, Payload::Nodes { total: 1, records });
                Ok(())
            }
            Payload::TalkRequest { .. } => {
                self.reply(cx, id, request_id, Payload::TalkResponse { response: &[] });
                Ok(())
            }
            _ => Err(DropReason::Unsolicited),
        }
    }

    fn reply(&mut self, cx: &mut Cx<'_, Crawl>, id: VisitId, request_id: RequestId, payload: Payload<'_>) {
        let Some(visit) = self.visits.get(id) else { return };
        let Thread::V5 { keys: Some(keys), .. } = &visit.thread else { return };
        let (route, to) = (Route { from: self.local.id(), to: &visit.id }, visit.addr);
        let (iv, nonce) = (cx.rng.bytes(), cx.rng.bytes());
        self.scratch.clear();
        let message = Message { request_id, payload };
        seal_ordinary(&mut self.scratch, route, iv, &nonce, &keys.initiator, &message);
        self.send(cx, to);
    }

    fn on_nodes(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        id: VisitId,
        from: SocketAddr,
        request_id: &RequestId,
        total: u64,
        records: &RecordList<'_>,
    ) -> Result<(), DropReason> {
        let visit = self.visits.get_mut(id).ok_or(DropReason::Unsolicited)?;
        let (step, own, is_sent) = (visit.step, visit.node, visit.phase == Phase::Sent);
        let Thread::V5 { request, messages, .. } = &mut visit.thread else { return Err(DropReason::Unsolicited) };
        let is_answer = request_id.as_bytes() == request.to_be_bytes() && *messages < NODES_MESSAGES_MAX;
        if !is_answer || !(is_sent || visit.phase == Phase::Settling) {
            return Err(DropReason::Unsolicited);
        }
        *messages += 1;
        let is_last = *messages >= total.min(NODES_MESSAGES_MAX);
        self.on_answer(cx, id);
        for raw in records.iter() {
            let Some(visit) = self.visits.get_mut(id).filter(|visit| visit.named < NAMED_MAX) else { break };
            visit.named += 1;
            // A record that is not valid is passed over; the others may be of use.
            let named = self.record_named(cx, own, from, raw).unwrap_or(Named::Refused);
            self.note_neighbour(id, named);
        }
        if step == Step::Hello && is_last {
            self.advance(cx, id);
        }
        Ok(())
    }

    /// A node has named another one, or itself, by its record.
    fn record_named(
        &mut self,
        cx: &mut Cx<'_, Crawl>,
        own: u32,
        from: SocketAddr,
        raw: &[u8],
    ) -> Result<Named, DecodeError> {
        let (seq, key) = peek(raw)?;
        let known = self.nodes.find(&key[1..], key[0] == 3);
        if let Some(number) = known
            && self.nodes.get(number).seq >= seq
            && self.nodes.get(number).seq != 0
        {
            // The copy of a record that was verified, or of an older one: it tells nothing new.
            return Ok(Named::Known(number));
        }
        let record = Record::decode(cx.crypto, raw)?;
        self.records += 1;
        let named = match record.endpoint() {
            Some((ip, udp, tcp)) if known != Some(own) => {
                let at = SocketAddr::new(ip, udp);
                if !Self::is_relayable(cx, from.ip(), at) {
                    return Ok(Named::Refused);
                }
                self.named(cx, record.key(), at, tcp)
            }
            // A node that does not know its own address, or that is asked now: where it is is known.
            _ => known.map_or(Named::Refused, Named::Known),
        };
        if let Named::New(number) | Named::Moved(number) | Named::Known(number) = named {
            self.on_record(cx, number, &record);
        }
        Ok(named)
    }
}

fn message(step: Step, request: u64) -> Message<'static> {
    let distances = match step {
        Step::Find(n) if n + 1 < FINDS => vec![256 - u16::from(n)],
        Step::Find(_) => (0..16).map(|nearer| 257 - u16::from(FINDS) - nearer).collect(),
        _ => vec![0],
    };
    Message { request_id: request.to_be_bytes().into(), payload: Payload::FindNode { distances } }
}

/// The sequence number and the compressed key that a record claims. Nothing is verified.
fn peek(raw: &[u8]) -> Result<(u64, &[u8; 33]), DecodeError> {
    let mut list = rlp::list(raw, Bounds::SMALL)?;
    let _signature = list.bytes()?;
    let seq = list.u64()?;
    while !list.is_empty() {
        let name = list.bytes()?;
        if name == b"secp256k1" {
            return Ok((seq, list.fixed()?));
        }
        list.raw()?;
    }
    Err(DecodeError::MissingField)
}
