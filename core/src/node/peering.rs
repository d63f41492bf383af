//! The embedder's commands about peers: declarations, candidates, reports, bans, limits, the filter; and the snapshot.

use alloc::vec::Vec;

use super::Node;
use crate::contract::{
    BanRecord, BanTarget, BookRecord, CommandError, ConnId, EndReason, Event, Label, PeerKind, PeerLimits, Refusal,
    ScoreReason, Snapshot,
};
use crate::crypto::NodeId;
use crate::netfilter::NetFilter;
use crate::peers::{Ban, Banned};
use crate::time::Duration;
use crate::wire::enode::Contact;

impl Node {
    /// Declares a peer static or trusted: see [`Peers::add_peer`](crate::peers::Peers::add_peer).
    pub(super) fn add_peer(&mut self, contact: Contact, kind: PeerKind) -> Result<(), CommandError> {
        self.peers.add_peer(self.context.now(), &self.context.filter, contact, kind)?;
        self.promote(&contact.id(), kind);
        self.sync_dial();
        Ok(())
    }

    /// Gives the present connections of a static or trusted peer its rights.
    pub(super) fn promote(&mut self, id: &NodeId, kind: PeerKind) {
        let conns: Vec<ConnId> = self.peers.conns(id).collect();
        for conn in conns {
            self.change_slot(conn, |slot| {
                if let Some(place) = &mut slot.place {
                    place.promote(kind);
                }
            });
        }
    }

    /// Takes a declaration back: see [`Peers::remove_peer`](crate::peers::Peers::remove_peer).
    pub(super) fn remove_peer(&mut self, id: &NodeId) -> Result<(), CommandError> {
        self.peers.remove_peer(id)?;
        self.sync_dial();
        Ok(())
    }

    /// Offers a candidate for the dialler: see [`Peers::offer`](crate::peers::Peers::offer).
    pub(super) fn offer(&mut self, contact: Contact) -> Result<(), CommandError> {
        self.peers.offer(self.context.now(), self.context.unix(), &self.context.filter, contact)?;
        self.sync_dial();
        Ok(())
    }

    /// Charges or credits a peer, connected or not.
    pub(super) fn report(&mut self, id: NodeId, delta: i32, label: Label) {
        let views = self.peers.conns(&id).filter_map(|conn| self.conns.view(conn));
        let at = views.filter(|view| view.place.is_some()).map(|view| view.addr).next();
        let charge = self.peers.report(self.context.now(), id, at, delta, label);
        self.carry_out(charge);
    }

    /// Bans a peer or an address, and ends its connections.
    pub(super) fn ban(&mut self, target: BanTarget, duration: Duration) {
        self.peers.ban(self.context.now(), target, duration);
        match target {
            BanTarget::Id(id) => {
                self.context.out.emit(Event::Banned { id, duration, reason: ScoreReason::Embedder });
                self.disconnect_peer(id);
            }
            BanTarget::Address(ip) => {
                self.context.out.emit(Event::AddressBanned { ip, duration });
                self.begin_sweep();
            }
        }
    }

    /// Ends the connections of a peer that is banned.
    pub(super) fn disconnect_peer(&mut self, id: NodeId) {
        let is_admitted = |conn: &ConnId| self.conns.view(*conn).is_some_and(|view| view.place.is_some());
        let conns: Vec<ConnId> = self.peers.conns(&id).filter(is_admitted).collect();
        for conn in conns {
            self.disconnect_other(conn, EndReason::Refused(Refusal::Banned));
        }
    }

    /// Lifts a ban. `NotBanned` if there is none.
    pub(super) fn unban(&mut self, target: BanTarget) -> Result<(), CommandError> {
        if !self.peers.unban(self.context.now(), target) {
            return Err(CommandError::NotBanned);
        }
        self.sync_dial();
        self.context.out.emit(Event::Unbanned { target });
        Ok(())
    }

    /// Changes the limits: see [`Peers::set_limits`](crate::peers::Peers::set_limits).
    pub(super) fn set_limits(&mut self, config: PeerLimits) {
        self.peers.set_limits(config);
        self.sync_dial();
    }

    /// Changes the filter, and ends the connections that it forbids.
    pub(super) fn set_filter(&mut self, filter: NetFilter) {
        self.context.filter = filter;
        self.peers.filter_changed(self.context.now(), &self.context.filter);
        self.discovery.filter_changed(&mut self.context);
        self.begin_sweep();
        self.sync_dial();
    }

    /// The state that the next run can start from.
    pub fn snapshot(&self) -> Snapshot {
        let (now, unix) = (self.context.now(), self.context.unix());
        let record = |(banned, ban): (&Banned, &Ban)| {
            // A restored ban is one of the embedder: that of an address for its faults is for inbound connections only, and short.
            if ban.reason != ScoreReason::Embedder && matches!(banned, Banned::Host(_)) {
                return None;
            }
            let target = match *banned {
                Banned::Id(id) => BanTarget::Id(id),
                Banned::Host(ip) => BanTarget::Address(ip),
            };
            let left = u64::try_from(ban.until.since(now).as_micros()).unwrap_or(u64::MAX);
            Some(BanRecord { target, until: unix.plus_micros(left) })
        };
        // A host name that was never resolved is the embedder's to declare again.
        let declared = self.peers.declared().filter(|(contact, _)| !contact.ip().is_unspecified());
        Snapshot {
            record_seq: self.identity.record().seq(),
            nodes: self.discovery.live_nodes(),
            bans: self.peers.bans().iter(now).filter_map(record).collect(),
            peers: declared.map(|(contact, kind)| (*contact, kind)).collect(),
            book: self.peers.book().entries().iter().map(BookRecord::from).collect(),
        }
    }

    /// Restores the state of an earlier run. Drops bans that are over, and what the filter forbids.
    pub(super) fn restore(&mut self, snapshot: Snapshot) {
        let Snapshot { record_seq: _, nodes, bans, peers, book } = snapshot;
        let unix = self.context.unix().as_micros();
        for BanRecord { target, until } in bans {
            if let Some(left) = until.as_micros().checked_sub(unix).filter(|left| *left > 0) {
                self.peers.ban(self.context.now(), target, Duration::from_micros(left));
            }
        }
        for (contact, kind) in peers {
            let _ = self.add_peer(contact, kind);
        }
        self.peers.restore_book(self.context.now(), self.context.unix(), &self.context.filter, book);
        self.discovery.restore(nodes);
    }
}
