//! Answers to the requests of others, all within sessions. Each is sent to the endpoint that the request came from.

use alloc::vec::Vec;

use super::Discv5;
use super::inbound::Sender;
use crate::contract::{Cx, DropReason, Event, TalkId};
use crate::limits;
use crate::netfilter::{endpoint_bytes, relay_allowed};
use crate::wire::discv5::{Message, Payload, RECORD_BYTES_PER_NODES, RecordList, RequestId};

impl Discv5 {
    /// Takes a request from the budget of its endpoint.
    pub(super) fn admit_request(&mut self, cx: &Cx<'_>, sender: &Sender) -> Result<(), DropReason> {
        if self.is_passive {
            return Err(DropReason::Unsolicited);
        }
        let endpoint = self.limiter.hash(&endpoint_bytes(sender.addr));
        if !self.requests.allows(endpoint, cx.now) {
            return Err(DropReason::RateLimited);
        }
        self.requests.take(endpoint, cx.now);
        Ok(())
    }

    pub(super) fn answer_ping(&mut self, cx: &mut Cx<'_>, sender: &Sender, request_id: RequestId, enr_seq: u64) {
        let payload = Payload::Pong { enr_seq: self.local.record.seq(), recipient: sender.addr };
        self.answer(cx, sender, request_id, payload);
        self.table.clear_suspicion(&sender.id, sender.addr);
        let entry = self.table.entry(&sender.id).map(|entry| *entry.contact());
        if let Some(contact) = entry.filter(|contact| contact.udp_addr() == sender.addr) {
            self.request_newer_record(cx, &contact, enr_seq);
        }
    }

    /// Answers with the records of live nodes at the distances, in their order, as many as fit five messages.
    pub(super) fn answer_find_node(
        &mut self,
        cx: &mut Cx<'_>,
        sender: &Sender,
        request_id: RequestId,
        distances: &[u16],
    ) {
        let mut messages: Vec<Vec<u8>> = Vec::from([Vec::new()]);
        let mut records = 0;
        let mut add = |record: &[u8]| {
            if messages.last().is_some_and(|last| last.len() + record.len() > RECORD_BYTES_PER_NODES) {
                messages.push(Vec::new());
            }
            messages.last_mut().into_iter().for_each(|last| last.extend_from_slice(record));
            records += 1;
            records < limits::NODES_RECORDS_MAX
        };
        'all: for (i, distance) in distances.iter().enumerate() {
            if distances[..i].contains(distance) {
                continue;
            }
            if *distance == 0 && !add(self.local.record.as_bytes()) {
                break;
            }
            for (entry, record) in self.table.records_at_distance(*distance) {
                let contact = entry.contact();
                let may_be_told = contact.id() != sender.id && relay_allowed(sender.addr.ip(), contact.ip());
                if may_be_told && !add(record.as_bytes()) {
                    break 'all;
                }
            }
        }
        messages.truncate(limits::NODES_MESSAGES_MAX as usize);
        let total = messages.len() as u64;
        for records in &messages {
            self.answer(cx, sender, request_id, Payload::Nodes { total, records: RecordList::new(records) });
        }
    }

    /// Hands a request of a registered protocol to the application; answers others with nothing.
    pub(super) fn answer_talk(
        &mut self,
        cx: &mut Cx<'_>,
        sender: &Sender,
        request_id: RequestId,
        protocol: &[u8],
        request: &[u8],
    ) {
        if !self.config.talk_protocols.contains(protocol) {
            return self.answer(cx, sender, request_id, Payload::TalkResponse { response: &[] });
        }
        let id = TalkId { node: sender.id, addr: sender.addr, request: request_id };
        cx.out.stage(request.len()).copy_from_slice(request);
        let event = Event::TalkRequest { id, protocol: protocol.into(), request: Default::default() };
        cx.out.emit_staged(event, 0..request.len());
    }

    fn answer(&mut self, cx: &mut Cx<'_>, sender: &Sender, request_id: RequestId, payload: Payload<'_>) {
        self.send_within_session(cx, &sender.id, sender.addr, &Message { request_id, payload });
    }
}

/// The answer to a request of an application.
pub(super) fn talk_response<'a>(id: &TalkId, response: &'a [u8]) -> Message<'a> {
    Message { request_id: id.request, payload: Payload::TalkResponse { response } }
}
