//! The node's commands: routes each to the part that carries it out.

use super::Node;
use crate::contract::{Command, CommandError, CommandId, EndReason, Event, PeerEvent};
use crate::time::Instant;
use crate::wire::p2p::Hello;

impl Node {
    /// Carries out a command. Its outcome, if it has one, is an event with the returned id.
    ///
    /// # Errors
    /// If it cannot be carried out; nothing has changed then.
    pub fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        let now = self.context.advance(now);
        let is_last = matches!(command, Command::Disconnect { .. } | Command::Shutdown);
        if self.shutting_down && !is_last {
            return Err(CommandError::ShuttingDown);
        }
        if self.context.out.is_full() && !is_last {
            return Err(CommandError::Busy);
        }
        let id = CommandId(self.commands_made);
        self.carry_out_command(now, id, command)?;
        self.commands_made += 1;
        self.carry_out_wishes();
        Ok(id)
    }

    fn carry_out_command(&mut self, now: Instant, id: CommandId, command: Command<'_>) -> Result<(), CommandError> {
        match command {
            Command::AddPeer { contact, kind } => self.add_peer(contact, kind),
            Command::AddPeerByName { node, kind } => self.add_peer_by_name(node, kind),
            Command::AddEndpoint { contact } => {
                self.peers.add_endpoint(now, &self.context.filter, contact)?;
                self.sync_dial();
                Ok(())
            }
            Command::RemovePeer { id } => self.remove_peer(&id),
            Command::OfferPeer { contact } => self.offer(contact),
            Command::Report { id, delta, reason } => {
                self.report(id, delta, reason);
                Ok(())
            }
            Command::Ban { target, duration } => {
                self.ban(target, duration);
                Ok(())
            }
            Command::Unban { target } => self.unban(target),
            Command::SetPeerLimits { limits } => {
                self.set_limits(limits);
                Ok(())
            }
            Command::SetFilter { filter } => {
                self.set_filter(filter.clone().with_reach(self.context.filter.reach()));
                Ok(())
            }
            Command::SetReach { reach } => {
                if reach != self.context.filter.reach() {
                    self.set_filter(self.context.filter.clone().with_reach(reach));
                }
                Ok(())
            }
            Command::Dial { contact } => {
                self.peers.dial(now, &self.context.filter, &contact)?;
                self.dial(contact, true);
                Ok(())
            }
            Command::Disconnect { conn, reason } => {
                if self.conns.get(conn).is_none_or(|slot| slot.conn.is_ending()) {
                    return Err(CommandError::UnknownConn);
                }
                self.disconnect_other(conn, EndReason::Disconnect(reason));
                Ok(())
            }
            Command::AddNode { .. }
            | Command::Ping { .. }
            | Command::RequestRecord { .. }
            | Command::FindNode { .. }
            | Command::FindDistances { .. }
            | Command::Lookup { .. }
            | Command::LookupId { .. }
            | Command::Talk { .. }
            | Command::TalkRespond { .. } => self.discovery.command(&mut self.context, id, command),
            Command::SetBootnodes { nodes } => self.set_bootnodes(nodes),
            Command::SetNamedBootnodes { nodes } => self.set_named_bootnodes(nodes),
            Command::SetAddresses { addresses } => {
                let is_changed = self.identity.set_addresses(self.context.crypto(), addresses)?;
                self.on_addresses(is_changed);
                self.sync_hello()
            }
            Command::SetRecordEntry { key, value } => {
                let is_changed = self.identity.set_entry(self.context.crypto(), key, value)?;
                self.on_identity(is_changed);
                Ok(())
            }
            Command::SetCapabilities { offered } => {
                let hello = Hello { capabilities: offered.into(), ..self.hello.hello().clone() };
                self.hello = self.hello.with(hello).map_err(|_| CommandError::UnknownCapability)?;
                Ok(())
            }
            Command::Send { conn, capability, id, payload } => {
                self.talk(conn, |conn, cx| conn.send(cx, capability, id, &[payload]))
            }
            Command::Request { conn, capability, id: message, body } => {
                self.talk(conn, |conn, cx| conn.request(cx, id, capability, message, body))
            }
            Command::Respond { conn, capability, request_id, id, body } => {
                self.talk(conn, |conn, cx| conn.respond(cx, capability, request_id, id, body))
            }
            Command::SetHead { head, earliest } => {
                self.chain.set_head(head, earliest);
                let is_changed = self.identity.set_fork_id(self.context.crypto(), self.chain.fork_id());
                self.on_identity(is_changed);
                let (head, earliest) = (*self.chain.head(), self.chain.range().earliest);
                self.behaviours.show(now, PeerEvent::Head { head, earliest });
                Ok(())
            }
            Command::Shutdown => {
                self.shut_down();
                Ok(())
            }
        }
    }

    /// Gives a changed identity to discovery.
    fn on_identity(&mut self, is_changed: bool) {
        if is_changed {
            self.discovery.set_identity(&self.identity);
        }
    }

    /// As [`Node::on_identity`], and tells the embedder the addresses.
    pub(super) fn on_addresses(&mut self, is_changed: bool) {
        self.on_identity(is_changed);
        if is_changed {
            self.context.out.emit(Event::AddressChanged { addresses: self.identity.addresses() });
        }
    }

    /// Puts the port where we listen into the Hello of new sessions.
    fn sync_hello(&mut self) -> Result<(), CommandError> {
        let hello = Hello { port: self.identity.addresses().tcp.into(), ..self.hello.hello().clone() };
        self.hello = self.hello.with(hello).map_err(|_| CommandError::TooLarge)?;
        Ok(())
    }

    fn shut_down(&mut self) {
        self.shutting_down = true;
        self.begin_sweep();
        self.discovery.shutdown(&mut self.context);
        self.sync_dial();
    }
}
