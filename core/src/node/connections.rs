//! What a node does about its connections: acting on what they came to, ending them, and dialling new ones.
//!
//! The verdicts of [`conn`](super::conn) meet those of [`peers`](crate::peers) here, and nowhere else.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::conn::{Conn, Local, Progress};
use super::{Node, Owner, dial_due};
use crate::contract::{CommandError, ConnId, Cx, Direction, EndReason, Event, Refusal, Side};
use crate::limits::DIAL_CANDIDATES;
use crate::peers::{Admission, Charge};
use crate::wire::enode::Contact;
use crate::wire::p2p::Capability;

/// Dials begun in one turn; what is left is due again.
const DIALS_PER_TURN: usize = 8;

impl Node {
    /// Gives one connection something to do, acts on what it came to, and keeps the books.
    pub(super) fn touch(&mut self, id: ConnId, work: impl FnOnce(&mut Conn, &mut Cx<'_>, &Local<'_>) -> Progress) {
        let Self { conns, context, rngs, secret, contact, hello, chain, policy, export_secrets, .. } = self;
        let Some(conn) = conns.get_mut(&id) else { return };
        let (policy, export_secrets) = (*policy, *export_secrets);
        let local = Local { secret, key: &contact.key(), hello, chain, policy, export_secrets };
        let progress = work(conn, &mut context.cx(&mut rngs.conns), &local);
        self.act(id, progress);
        self.settle(id);
    }

    pub(super) fn act(&mut self, id: ConnId, progress: Progress) {
        let now = self.context.now();
        match progress {
            Progress::Pending => {}
            Progress::End(by, why) => self.end(id, by, why),
            Progress::Hello => self.greeted(id),
            Progress::Established(status) => {
                let Some(peer) = self.conns.get(&id).and_then(|conn| conn.peer) else { return };
                self.peers.established(now, id);
                self.context.out.emit(Event::Established { conn: id, id: peer, status });
            }
            Progress::Noted(reason) => {
                let charge = self.peers.charge(now, id, reason);
                self.carry_out(charge);
            }
        }
    }

    /// A connection's peer has said Hello, and thereby proven its key: is it wanted?
    pub(super) fn greeted(&mut self, id: ConnId) {
        let now = self.context.now();
        let Some(conn) = self.conns.get(&id) else { return };
        let (Some(peer), Some(session)) = (conn.peer, conn.session()) else { return };
        let Some(hello) = session.hello() else { return };
        let tcp = match conn.direction {
            Direction::Outbound => conn.addr.port(),
            Direction::Inbound => u16::try_from(hello.port).unwrap_or(0),
        };
        let contact = Contact::with_id(*session.key(), peer, conn.addr.ip(), 0, tcp);
        let shared = session.shared().to_vec();
        let speaks_eth = shared.iter().any(|shared| shared.capability.is_eth());
        let hello = Box::new(hello.clone());
        self.context.out.emit(Event::Hello { conn: id, contact, direction: conn.direction, hello, shared });
        match self.peers.identified(now, id, peer) {
            Admission::Welcome => {}
            Admission::Replaces(other) => self.part(other, EndReason::Refused(Refusal::AlreadyConnected)),
            Admission::Evicts(other) => self.part(other, EndReason::Refused(Refusal::TooManyPeers)),
            Admission::Refused(refusal) => return self.end(id, Side::Us, EndReason::Refused(refusal)),
        }
        if speaks_eth {
            self.touch(id, |conn, cx, local| {
                conn.welcome(cx, local);
                Progress::Pending
            });
        } else {
            self.peers.established(now, id);
        }
    }

    /// Ends a connection other than the one that is being handled.
    pub(super) fn part(&mut self, id: ConnId, why: EndReason) {
        self.end(id, Side::Us, why);
        self.settle(id);
    }

    /// Decides a connection's end, once, and draws the consequences.
    pub(super) fn end(&mut self, id: ConnId, by: Side, why: EndReason) {
        let Some(conn) = self.conns.get_mut(&id) else { return };
        let Some(end) = conn.end(&mut self.context.cx(&mut self.rngs.conns), by, why) else { return };
        self.context.stats.end(conn.direction, &end);
        let ended = self.peers.ended(self.context.now(), &mut self.rngs.dial, id, &end);
        self.carry_out(ended.and_then(|ended| ended.charge));
        self.sync_dial();
    }

    /// Tells of a score's change, and parts with whoever is banned by it.
    pub(super) fn carry_out(&mut self, charge: Option<Charge>) {
        let Some(Charge { id, delta, score, reason, ban }) = charge else { return };
        self.context.out.emit(Event::Scored { id, delta, score, reason });
        let Some(duration) = ban else { return };
        self.context.out.emit(Event::Banned { id, duration, reason });
        let theirs: Vec<ConnId> = self.peers.conns(id).collect();
        for conn in theirs {
            self.part(conn, EndReason::Refused(Refusal::Banned));
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
        work: impl FnOnce(&mut Conn, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let conn = self.conns.get_mut(&id).filter(|conn| !conn.is_ending()).ok_or(CommandError::UnknownConn)?;
        let result = work(conn, &mut self.context.cx(&mut self.rngs.conns));
        self.settle(id);
        result
    }

    /// Tells the new block range to every session that speaks eth/69 or later.
    pub(super) fn announce(&mut self, payload: &[u8]) {
        let sessions: Vec<(ConnId, u32)> =
            self.conns.iter().filter_map(|(id, conn)| Some((*id, conn.status()?.version))).collect();
        for (id, version) in sessions {
            let message = crate::wire::eth::id::BLOCK_RANGE_UPDATE;
            if version >= 69 {
                // One that cannot take it now is told of the next range.
                let _ = self.talk(id, |conn, cx| conn.send(cx, Capability::eth(version), message, &[payload]));
            }
        }
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
        let conn = Conn::dial(&mut self.context.cx(&mut self.rngs.conns), id, &contact);
        self.conns.insert(id, Box::new(conn));
        self.settle(id);
        self.sync_dial();
    }

    /// Dials the peers that are due: static ones, and candidates that discovery has verified and whose fork ids fit.
    pub(super) fn dial_more(&mut self) {
        let now = self.context.now();
        self.next_dial_poll = None;
        let rng = &mut self.rngs.dial;
        let drawn = self.discovery.candidates(rng, DIAL_CANDIDATES).into_iter().map(|(_, candidate)| candidate);
        let fitting = drawn.filter(|candidate| candidate.fork_id.is_none_or(|fork| self.chain.could_match(fork)));
        let candidates: Vec<Contact> = fitting.map(|candidate| candidate.contact).collect();
        for _ in 0..DIALS_PER_TURN {
            let (conn, rng, filter) = (self.next_conn(), &mut self.rngs.dial, &self.context.filter);
            let Some(contact) = self.peers.dial_next(now, rng, filter, conn, candidates.iter().copied()) else { break };
            self.dial(contact);
        }
        self.sync_dial();
    }

    pub(super) fn sync_dial(&mut self) {
        let at = dial_due(&self.peers, self.discovery.is_on(), self.next_dial_poll, self.shutting_down);
        self.deadlines.set(Owner::Dial, at);
    }
}
