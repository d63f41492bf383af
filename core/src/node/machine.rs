//! The driver contract of [`Node`] as the trait [`Machine`]. Each method calls the inherent one of the same name.

use core::net::SocketAddr;

use super::Node;
use crate::contract::{Action, Command, CommandError, CommandId, ConnId, Devp2p, Input, Machine, Prefetch, SocketId};
use crate::time::Instant;

impl Machine for Node {
    type Language = Devp2p;

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        Self::accept(self, now, socket, from)
    }

    fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        Self::command(self, now, command)
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        Self::poll_action(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Self::poll_timeout(self).map(|(at, _)| at)
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        Self::outbound(self, conn)
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        Self::wants_read(self, conn)
    }

    fn take_work(&mut self, conn: ConnId) -> u64 {
        Self::take_work(self, conn)
    }

    fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        Self::prefetch(self, input, depth, memory);
    }

    const PREFETCH_DEPTHS: usize = Self::PREFETCH_DEPTHS;
}
