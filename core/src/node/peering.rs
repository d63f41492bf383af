//! What the embedder decides about peers while the node runs: reports, bans, candidates, limits, the filter.

use alloc::vec::Vec;

use super::Node;
use crate::contract::{BanTarget, CommandError, ConnId, EndReason, Event, Label, PeerKind, Refusal, ScoreReason};
use crate::crypto::NodeId;
use crate::netfilter::NetFilter;
use crate::peers::PeersConfig;
use crate::time::Duration;
use crate::wire::enode::Contact;

impl Node {
    /// Gives the connections of a peer that was declared static or trusted its new kind.
    pub(super) fn promote(&mut self, id: &NodeId, kind: PeerKind) {
        let conns: Vec<ConnId> = self.peers.conns(id).collect();
        for conn in conns {
            self.change(conn, |conn, _, _| {
                if let Some(place) = &mut conn.place {
                    place.promote(kind);
                }
            });
        }
    }

    /// Offers a candidate for the dialler: see [`Peers::offer`](crate::peers::Peers::offer).
    #[cfg_attr(not(test), expect(dead_code, reason = "its command is not wired yet"))]
    pub(super) fn offer(&mut self, contact: Contact) -> Result<(), CommandError> {
        self.peers.offer(self.context.now(), &self.context.filter, contact)?;
        self.sync_dial();
        Ok(())
    }

    /// Charges or credits a peer, connected or not.
    #[cfg_attr(not(test), expect(dead_code, reason = "its command is not wired yet"))]
    pub(super) fn report(&mut self, id: NodeId, delta: i32, label: Label) {
        let views = self.peers.conns(&id).filter_map(|conn| self.conns.view(conn));
        let at = views.filter(|view| view.place.is_some()).map(|view| view.addr).next();
        let charge = self.peers.report(self.context.now(), id, at, delta, label);
        self.carry_out(charge);
    }

    /// Bans a peer or an address, and ends its connections.
    #[cfg_attr(not(test), expect(dead_code, reason = "its command is not wired yet"))]
    pub(super) fn ban(&mut self, target: BanTarget, duration: Duration) {
        self.peers.ban(self.context.now(), target, duration);
        match target {
            BanTarget::Id(id) => {
                self.context.out.emit(Event::Banned { id, duration, reason: ScoreReason::Embedder });
                let conns: Vec<ConnId> = self.peers.conns(&id).collect();
                for conn in conns {
                    self.disconnect_other(conn, EndReason::Refused(Refusal::Banned));
                }
            }
            BanTarget::Address(ip) => {
                self.context.out.emit(Event::AddressBanned { ip, duration });
                self.begin_sweep();
            }
        }
    }

    /// Lifts a ban. `UnknownPeer` if there is none.
    #[cfg_attr(not(test), expect(dead_code, reason = "its command is not wired yet"))]
    pub(super) fn unban(&mut self, target: BanTarget) -> Result<(), CommandError> {
        if !self.peers.unban(self.context.now(), target) {
            return Err(CommandError::UnknownPeer);
        }
        self.context.out.emit(Event::Unbanned { target });
        Ok(())
    }

    /// Changes the limits: see [`Peers::set_limits`](crate::peers::Peers::set_limits).
    #[cfg_attr(not(test), expect(dead_code, reason = "its command is not wired yet"))]
    pub(super) fn set_limits(&mut self, config: PeersConfig) {
        self.peers.set_limits(config);
        self.sync_dial();
    }

    /// Changes the filter, and ends the connections that it forbids.
    #[cfg_attr(not(test), expect(dead_code, reason = "its command is not wired yet"))]
    pub(super) fn set_filter(&mut self, filter: NetFilter) {
        self.context.filter = filter;
        self.peers.filter_changed(self.context.now(), &self.context.filter);
        self.begin_sweep();
        self.sync_dial();
    }
}
