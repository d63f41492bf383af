//! A node's connections: acting on their verdicts, ending them, and dialling new ones.
//!
//! Acts on the verdicts of [`connection`](super::connection) and of [`peers`](crate::peers). Every change of a connection
//! goes through [`Node::change`], which updates the index of `peers` and shows events to the behaviours.

use alloc::boxed::Box;

use super::connection::{Connection, Local, Verdict};
use super::memory::Orders;
use super::table::Slot;
use super::{Node, dial_due};
use crate::contract::{CommandError, ConnId, Cx, Direction, EndReason, Event, PeerEvent, ScoreReason, Side, Stage};
use crate::kad::Candidate;
use crate::limits::{CONNS_PER_TURN, DIAL_CANDIDATES};
use crate::peers::score::BAN_SCORE;
use crate::peers::{Admission, Charge, Origin};
use crate::protocols;
use crate::wire::enode::Contact;
use crate::wire::p2p::DisconnectReason;

/// The most dials that begin in one turn; the rest is due again.
const DIALS_PER_TURN: usize = 8;

/// What the memory for frames asks of a connection.
enum Order {
    Resume,
    Pause,
    Hurry(bool),
}

impl Node {
    /// Adds a connection to the table. It has nothing to flush yet.
    pub(super) fn open(&mut self, slot: Slot) {
        self.conns_made += 1;
        self.peers.update(None, Some(&slot.view()));
        self.conns.insert(slot);
    }

    /// Changes a connection, and updates the index of `peers`.
    pub(super) fn change<R>(
        &mut self,
        id: ConnId,
        work: impl FnOnce(&mut Connection, &mut Cx<'_>, &Local<'_>) -> R,
    ) -> Option<R> {
        let Self { conns, peers, context, identity, hello, chain, policy, export_secrets, .. } = self;
        let slot = conns.get_mut(id)?;
        let protocols = protocols::Local { chain, status: *policy };
        let (secret, key, export_secrets) = (&identity.secret, identity.key(), *export_secrets);
        let local = Local { secret, key, hello, protocols, export_secrets };
        let before = slot.view();
        let queued = context.out.len();
        let result = slot.run(context, |conn, cx| work(conn, cx, &local));
        peers.update(Some(&before), Some(&slot.view()));
        self.show_events(queued);
        Some(result)
    }

    /// Changes a connection, acts on its verdict, and updates its flush and its deadline.
    pub(super) fn touch(&mut self, id: ConnId, work: impl FnOnce(&mut Connection, &mut Cx<'_>, &Local<'_>) -> Verdict) {
        let Some(verdict) = self.change(id, work) else { return };
        self.act(id, verdict);
        self.sync_conn(id);
    }

    fn act(&mut self, id: ConnId, verdict: Verdict) {
        match verdict {
            Verdict::Pending => {}
            Verdict::End { by, why } => self.end(id, by, why),
            Verdict::HandshakeReceived => self.on_handshake(id),
            Verdict::Identified => self.on_hello(id),
            Verdict::Established => self.on_established(id),
            Verdict::Charge(reason) => {
                if reason == ScoreReason::Served {
                    self.change_slot(id, |slot| slot.answers = slot.answers.saturating_add(1));
                }
                let Some(view) = self.conns.view(id) else { return };
                let charge = self.peers.charge(self.context.now(), &view, reason);
                self.carry_out(charge);
            }
        }
    }

    /// A dialled stream is connected: the handshake begins, which takes its share of the budget.
    pub(super) fn on_connected(&mut self, id: ConnId) {
        if let Some(view) = self.conns.view(id).filter(|view| view.stage == Stage::Dial && !view.is_ending) {
            self.handshakes.begin(self.context.now(), self.peers.config(), view.addr.ip());
        }
        self.touch(id, |conn, cx, local| {
            conn.handle_connected(cx, local);
            Verdict::Pending
        });
    }

    /// The first packet of an accepted stream has come: it is answered if there is a budget for it.
    fn on_handshake(&mut self, id: ConnId) {
        let Some(slot) = self.conns.get(id) else { return };
        let Some(packet) = slot.conn.received_handshake() else { return };
        let ip = slot.conn.addr().ip();
        let is_named = slot.view().origin == Origin::Accepted { named: true };
        match self.handshakes.admit(self.context.now(), self.peers.config(), ip, is_named, packet) {
            Ok(()) => self.touch(id, |conn, cx, local| conn.answer_handshake(cx, local)),
            Err(refusal) => self.end(id, Side::Us, EndReason::Refused(refusal)),
        }
    }

    /// A connection's peer has sent Hello, and thereby proven its key: it gets a place, or is refused.
    fn on_hello(&mut self, id: ConnId) {
        let now = self.context.now();
        let Some(slot) = self.conns.get(id) else { return };
        let conn = &slot.conn;
        let (Some(peer), Some(session), Some(hello)) = (conn.peer(), conn.session(), conn.hello()) else { return };
        let view = slot.view();
        let direction = view.direction();
        let tcp = match direction {
            Direction::Outbound => view.addr.port(),
            Direction::Inbound => u16::try_from(hello.port).unwrap_or(0),
        };
        let contact = Contact::with_id(*session.key(), peer, view.addr.ip(), 0, tcp);
        let shared = session.shared().to_vec();
        let hello = Box::new(hello.clone());
        self.context.out.emit(Event::Hello { conn: id, contact, direction, hello, shared });
        let conns = &self.conns;
        match self.peers.identified(now, &view, peer, |other| conns.view(other)) {
            Admission::Admitted { place, displaced } => {
                self.change_slot(id, |slot| slot.place = Some(place));
                if let Some((other, refusal)) = displaced {
                    self.disconnect_other(other, EndReason::Refused(refusal));
                }
            }
            Admission::Refused(refusal) => return self.end(id, Side::Us, EndReason::Refused(refusal)),
        }
        self.touch(id, |conn, cx, local| conn.admit(cx, local));
    }

    /// Notes that a connection with a place is in session, and shows it to the behaviours. If it is to take another peer's place
    /// over, that one leaves now; if none can, the newcomer does.
    fn on_established(&mut self, id: ConnId) {
        let now = self.context.now();
        self.change_slot(id, |slot| {
            if let Some(place) = &mut slot.place {
                place.since = now;
            }
        });
        let Some(view) = self.conns.view(id) else { return };
        let conns = &self.conns;
        let is_busy = |other| {
            let protocols = conns.get(other).and_then(|slot| slot.conn.protocols());
            protocols.is_some_and(|protocols| protocols.requests_out() + protocols.requests_in() > 0)
        };
        match self.peers.established(now, &mut self.rngs.dial, &view, |other| conns.view(other), is_busy) {
            None => {}
            Some(Admission::Admitted { place, displaced }) => {
                if let Some((other, refusal)) = displaced {
                    self.disconnect_other(other, EndReason::Refused(refusal));
                }
                self.change_slot(id, |slot| slot.place = Some(place));
            }
            Some(Admission::Refused(refusal)) => return self.end(id, Side::Us, EndReason::Refused(refusal)),
        }
        let Some(conn) = self.conns.get(id).map(|slot| &slot.conn) else { return };
        let Some(peer) = conn.peer() else { return };
        self.behaviours.show(now, PeerEvent::Established { conn: id, id: peer, shared: conn.shared() });
    }

    /// Changes what the node keeps beside a connection, and updates the index of `peers`.
    pub(super) fn change_slot(&mut self, id: ConnId, work: impl FnOnce(&mut Slot)) {
        let Some(slot) = self.conns.get_mut(id) else { return };
        let before = slot.view();
        work(slot);
        self.peers.update(Some(&before), Some(&slot.view()));
    }

    /// Ends a connection other than the one that is being handled.
    pub(super) fn disconnect_other(&mut self, id: ConnId, why: EndReason) {
        self.end(id, Side::Us, why);
        self.sync_conn(id);
    }

    /// Decides a connection's end, once: counts it, charges its peer, and schedules the next dial.
    pub(super) fn end(&mut self, id: ConnId, by: Side, why: EndReason) {
        let Some(before) = self.conns.view(id) else { return };
        let Some(end) = self.change(id, |conn, cx, _| conn.end(cx, by, why)).flatten() else { return };
        self.context.stats.end(before.direction(), &end);
        let charge = self.peers.ended(self.context.now(), &mut self.rngs.dial, &before, &end);
        self.carry_out(charge);
        self.sync_dial();
    }

    /// Emits a score's change, and ends the connections of a peer whose score is used up.
    pub(super) fn carry_out(&mut self, charge: Option<Charge>) {
        let Some(Charge { id, delta, score, reason, ban }) = charge else { return };
        self.context.out.emit(Event::Scored { id, delta, score, reason });
        if score > BAN_SCORE || delta > 0 {
            return;
        }
        if let Some(duration) = ban {
            self.context.out.emit(Event::Banned { id, duration, reason });
        }
        self.disconnect_peer(id);
    }

    /// Begins a sweep over all connections.
    pub(super) fn begin_sweep(&mut self) {
        self.to_sweep = self.conns.ids();
        self.to_sweep.reverse();
        self.sweep();
    }

    /// Ends the connections that are no longer wanted: at a shutdown all, otherwise those that the filter or a ban of the
    /// embedder forbids. Checks at most [`CONNS_PER_TURN`] of them a turn.
    pub(super) fn sweep(&mut self) {
        let rest = self.to_sweep.len().saturating_sub(CONNS_PER_TURN);
        for id in self.to_sweep.split_off(rest).into_iter().rev() {
            let Some(view) = self.conns.view(id).filter(|view| !view.is_ending) else { continue };
            if self.shutting_down {
                self.disconnect_other(id, EndReason::Disconnect(DisconnectReason::ClientQuitting));
            } else if let Some(refusal) = self.peers.is_refused(self.context.now(), &self.context.filter, view.addr) {
                self.disconnect_other(id, EndReason::Refused(refusal));
            }
        }
    }

    /// Updates a connection's flush and its deadline after a change.
    pub(super) fn sync_conn(&mut self, id: ConnId) {
        let Some(slot) = self.conns.get_mut(id) else { return };
        slot.run(&mut self.context, |conn, cx| conn.flush(cx));
        let frame = slot.conn.frame();
        let orders = self.frames.update(id, frame);
        self.carry_out_orders(orders);
        self.conns.schedule(id);
    }

    /// Pauses and resumes connections as the memory for their frames allows.
    fn carry_out_orders(&mut self, orders: Orders) {
        let now = self.context.now();
        let Orders { pause, resume, hurry } = orders;
        let resume = resume.into_iter().map(|conn| (conn, Order::Resume));
        let pause = pause.into_iter().map(|conn| (conn, Order::Pause));
        let hurry = hurry.into_iter().map(|(conn, is_hurried)| (conn, Order::Hurry(is_hurried)));
        for (id, order) in resume.chain(pause).chain(hurry) {
            let Some(Slot { conn, .. }) = self.conns.get_mut(id) else { continue };
            match order {
                Order::Resume => conn.resume(now),
                Order::Pause => conn.pause(now),
                Order::Hurry(is_hurried) => conn.hurry(is_hurried),
            }
            self.conns.schedule(id);
        }
    }

    /// Lets the embedder send on a connection.
    pub(super) fn talk(
        &mut self,
        id: ConnId,
        work: impl FnOnce(&mut Connection, &mut Cx<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        if self.conns.get(id).is_none_or(|slot| slot.conn.is_ending()) {
            return Err(CommandError::UnknownConn);
        }
        let result = self.change(id, |conn, cx, _| work(conn, cx)).unwrap_or(Err(CommandError::UnknownConn));
        self.sync_conn(id);
        result
    }

    /// The id of the next connection.
    pub(super) const fn next_conn(&self) -> ConnId {
        ConnId(self.conns_made)
    }

    /// Opens the next connection; `is_commanded` by the embedder or not.
    pub(super) fn dial(&mut self, contact: Contact, is_commanded: bool) {
        let id = self.next_conn();
        self.context.stats.dials += 1;
        let mut rng = self.rngs.conns.fork();
        let conn = Connection::dial(&mut self.context.cx(&mut rng), id, &contact);
        self.open(Slot::new(conn, rng, Origin::Dialled { commanded: is_commanded }));
        self.sync_dial();
    }

    /// Enters a draw of the nodes that discovery has verified into the address book, and dials what is due.
    pub(super) fn dial_more(&mut self) {
        let now = self.context.now();
        self.next_dial_poll = None;
        self.fill_book();
        for _ in 0..DIALS_PER_TURN {
            let (rng, filter, conns) = (&mut self.rngs.dial, &self.context.filter, &self.conns);
            let Some(contact) = self.peers.dial_next(now, rng, filter, |conn| conns.view(conn)) else { break };
            self.dial(contact, false);
        }
        self.ask_names();
        self.sync_dial();
    }

    /// Enters a draw of the nodes that discovery has verified into the address book, without those whose records say that they
    /// are of another network.
    fn fill_book(&mut self) {
        let (now, unix) = (self.context.now(), self.context.unix());
        for (source, Candidate { contact, fork_id }) in self.discovery.candidates(&mut self.rngs.dial, DIAL_CANDIDATES)
        {
            if fork_id.is_none_or(|fork| self.chain.could_match(fork)) {
                self.peers.heard(now, unix, &self.context.filter, source, contact);
            } else {
                self.peers.forget(&contact.id());
            }
        }
    }

    /// Updates the dialler's deadline after a change.
    pub(super) fn sync_dial(&mut self) {
        self.dial_at = dial_due(&self.peers, self.discovery.is_on(), self.next_dial_poll, self.shutting_down);
    }
}
