//! What a node does about its connections: acting on what they came to, ending them, and dialling new ones.
//!
//! The verdicts of [`connection`](super::connection) meet those of [`peers`](crate::peers) here, and nowhere else.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::connection::{Connection, Local, Verdict};
use super::{Node, Owner, dial_due};
use crate::contract::{CommandError, ConnId, Cx, Direction, EndReason, Event, PeerEvent, Refusal, Side};
use crate::peers::{Admission, Charge};
use crate::protocols;
use crate::wire::enode::Contact;

/// Candidates drawn from the table for one round of dialling.
const DIAL_CANDIDATES: usize = 16;

/// Dials begun in one turn; what is left is due again.
const DIALS_PER_TURN: usize = 8;

impl Node {
    /// Gives one connection something to do, acts on its verdict, and keeps the books.
    pub(super) fn touch(&mut self, id: ConnId, work: impl FnOnce(&mut Connection, &mut Cx<'_>, &Local<'_>) -> Verdict) {
        let Self { conns, context, rngs, secret, contact, hello, chain, policy, export_secrets, .. } = self;
        let Some(conn) = conns.get_mut(&id) else { return };
        let protocols = protocols::Local { chain, status: *policy };
        let local = Local { secret, key: &contact.key, hello, protocols, export_secrets: *export_secrets };
        let queued = context.out.len();
        let verdict = work(conn, &mut context.cx(&mut rngs.conns), &local);
        self.show_events(queued);
        self.act(id, verdict);
        self.settle(id);
    }

    fn act(&mut self, id: ConnId, verdict: Verdict) {
        let now = self.context.now();
        match verdict {
            Verdict::Pending => {}
            Verdict::End { by, why } => self.end(id, by, why),
            Verdict::Identified => self.on_hello(id),
            Verdict::Established => {
                self.peers.established(now, id);
                let Some(conn) = self.conns.get(&id) else { return };
                let Some(peer) = conn.peer() else { return };
                self.behaviours.show(now, PeerEvent::Established { conn: id, id: peer, shared: conn.shared() });
            }
            Verdict::Charge(reason) => {
                let charge = self.peers.charge(now, id, reason);
                self.carry_out(charge);
            }
        }
    }

    /// A connection's peer has sent Hello, and thereby proven its key: decides whether it gets a place.
    fn on_hello(&mut self, id: ConnId) {
        let now = self.context.now();
        let Some(conn) = self.conns.get(&id) else { return };
        let (Some(peer), Some(session), Some(hello)) = (conn.peer(), conn.session(), conn.hello()) else { return };
        let (addr, direction) = (conn.addr(), conn.direction());
        let tcp = match direction {
            Direction::Outbound => addr.port(),
            Direction::Inbound => u16::try_from(hello.port).unwrap_or(0),
        };
        let contact = Contact { id: peer, key: *session.key(), ip: addr.ip(), udp: 0, tcp };
        let shared = session.shared().to_vec();
        let hello = Box::new(hello.clone());
        self.context.out.emit(Event::Hello { conn: id, contact, direction, hello, shared });
        match self.peers.identified(now, id, peer) {
            Admission::Welcome => {}
            Admission::Replaces(other) => self.disconnect_other(other, EndReason::Refused(Refusal::AlreadyConnected)),
            Admission::Evicts(other) => self.disconnect_other(other, EndReason::Refused(Refusal::TooManyPeers)),
            Admission::Refused(refusal) => return self.end(id, Side::Us, EndReason::Refused(refusal)),
        }
        self.touch(id, |conn, cx, local| conn.admit(cx, local));
    }

    /// Ends a connection other than the one that is being handled.
    pub(super) fn disconnect_other(&mut self, id: ConnId, why: EndReason) {
        self.end(id, Side::Us, why);
        self.settle(id);
    }

    /// Decides a connection's end, once, and draws the consequences.
    pub(super) fn end(&mut self, id: ConnId, by: Side, why: EndReason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let queued = self.context.out.len();
        let Some(end) = conn.end(&mut self.context.cx(&mut self.rngs.conns), by, why) else { return };
        self.context.stats.end(conn.direction(), &end);
        self.show_events(queued);
        let ended = self.peers.ended(self.context.now(), &mut self.rngs.dial, id, &end);
        self.carry_out(ended.and_then(|ended| ended.charge));
        self.sync_dial();
    }

    /// Tells of a score's change, and ends the connections of a peer that is banned by it.
    pub(super) fn carry_out(&mut self, charge: Option<Charge>) {
        let Some(Charge { id, delta, score, reason, ban }) = charge else { return };
        self.context.out.emit(Event::Scored { id, delta, score, reason });
        let Some(duration) = ban else { return };
        self.context.out.emit(Event::Banned { id, duration, reason });
        let theirs: Vec<ConnId> = self.peers.conns(id).collect();
        for conn in theirs {
            self.disconnect_other(conn, EndReason::Refused(Refusal::Banned));
        }
    }

    /// After a connection was touched: its flush, and its deadline.
    pub(super) fn settle(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        conn.flush(&mut self.context.cx(&mut self.rngs.conns));
        self.deadlines.set(Owner::Conn(id), conn.poll_timeout().map(|(at, _)| at));
    }

    /// Lets the embedder talk on a connection.
    pub(super) fn talk(
        &mut self,
        id: ConnId,
        work: impl FnOnce(&mut Connection, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let conn = self.conns.get_mut(&id).filter(|conn| !conn.is_ending()).ok_or(CommandError::UnknownConn)?;
        let result = work(conn, &mut self.context.cx(&mut self.rngs.conns));
        self.settle(id);
        result
    }

    /// The name of the next connection.
    pub(super) fn next_conn(&self) -> ConnId {
        ConnId(self.conns_made)
    }

    /// Opens the next connection, which has a slot already.
    pub(super) fn dial(&mut self, contact: Contact) {
        let id = self.next_conn();
        self.conns_made += 1;
        self.context.stats.dials += 1;
        let conn = Connection::dial(&mut self.context.cx(&mut self.rngs.conns), id, &contact);
        self.conns.insert(id, Box::new(conn));
        self.settle(id);
        self.sync_dial();
    }

    /// Dials the peers that are due: static peers, and candidates that discovery has verified and whose forks fit.
    pub(super) fn dial_more(&mut self) {
        let now = self.context.now();
        self.look_at = None;
        let rng = &mut self.rngs.dial;
        let candidates: Vec<Contact> = match &self.discovery {
            Some(discovery) => discovery
                .candidates(rng, DIAL_CANDIDATES)
                .into_iter()
                .filter(|candidate| candidate.fork_id.is_none_or(|fork| self.chain.could_match(fork)))
                .map(|candidate| candidate.contact)
                .collect(),
            None => Vec::new(),
        };
        for _ in 0..DIALS_PER_TURN {
            let (conn, rng, filter) = (self.next_conn(), &mut self.rngs.dial, &self.context.filter);
            let Some(contact) = self.peers.dial_next(now, rng, filter, conn, candidates.iter().copied()) else { break };
            self.dial(contact);
        }
        self.sync_dial();
    }

    pub(super) fn sync_dial(&mut self) {
        let at = dial_due(&self.peers, self.discovery.is_some(), self.look_at, self.shutting_down);
        self.deadlines.set(Owner::Dial, at);
    }
}
