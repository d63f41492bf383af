//! What a world runs, and who watches it.

use std::net::SocketAddr;
use std::sync::Arc;

use peerless::contract::{Action, Command, CommandError, CommandId, ConnId, Input, Tap};
use peerless::crypto::Crypto;
use peerless::node::Node;
use peerless::time::{Instant, UnixTime};

use crate::HostId;
use crate::network::{Addr, Addresses, Nat, Region};
use crate::prefetch::Caches;

/// Whatever keeps the driver contract. [`Node`] does; a scenario's own liars can, beside it or around it.
pub trait Machine: Send {
    /// See [`Node::handle`].
    fn handle(&mut self, now: Instant, input: Input<'_>);
    /// See [`Node::accept`].
    fn accept(&mut self, now: Instant, from: SocketAddr) -> Option<ConnId>;
    /// See [`Node::command`].
    ///
    /// # Errors
    /// If the command cannot be carried out; nothing has changed then.
    fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError>;
    /// See [`Node::poll_action`].
    fn poll_action(&mut self) -> Option<Action<'_>>;
    /// See [`Node::poll_timeout`].
    fn poll_timeout(&self) -> Option<Instant>;
    /// See [`Node::outbound`].
    fn outbound(&self, conn: ConnId) -> &[u8];
    /// See [`Node::wants_read`].
    fn wants_read(&self, conn: ConnId) -> bool;
    /// See [`Node::prefetch`]. Whoever does not implement it is slower among thousands.
    fn prefetch(&self, input: &Input<'_>, depth: usize) {
        let _ = (input, depth);
    }
}

impl Machine for Node {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        Self::handle(self, now, input);
    }

    fn accept(&mut self, now: Instant, from: SocketAddr) -> Option<ConnId> {
        Self::accept(self, now, from)
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

    fn prefetch(&self, input: &Input<'_>, depth: usize) {
        Self::prefetch(self, input, depth, &mut Caches);
    }
}

/// Watches one host, over all its machines' lives: [`Tap`] shows it every input, action and drain as it passes.
pub trait Watch<M>: Tap + Send {
    /// The machine has handled something, and was drained: the place to check invariants.
    ///
    /// # Errors
    /// What is wrong, if something is; the run ends there.
    fn stepped(&mut self, now: Instant, host: HostId, machine: &M) -> Result<(), String> {
        let _ = (now, host, machine);
        Ok(())
    }

    /// The host's machine has started (`Some`) or is gone.
    fn changed(&mut self, now: Instant, host: HostId, machine: Option<&M>) {
        let _ = (now, host, machine);
    }
}

/// Sees nothing.
impl<M> Watch<M> for () {}

/// What a machine is made of. The same host is always at the same address; give it the same key, and it comes back as the
/// same node.
pub struct Birth<'a> {
    /// Which host.
    pub host: HostId,
    /// How many machines it had before.
    pub incarnation: u32,
    /// Where the world reaches it, NAT or not.
    pub addr: Addr,
    /// What stands before it: behind a NAT a node does not know `addr`.
    pub nat: Nat,
    /// Where it is.
    pub region: Region,
    /// Monotonic time.
    pub now: Instant,
    /// What the host's wall clock shows.
    pub unix: UnixTime,
    /// For the machine's randomness: of the world's seed, the host and the incarnation.
    pub seed: [u8; 32],
    /// Where every host lives.
    pub addresses: Addresses,
    /// The primitives of this run.
    pub crypto: &'a Arc<dyn Crypto + Send + Sync>,
}

/// Makes a host's machine.
pub type Maker<M> = dyn Fn(&Birth<'_>) -> M + Send + Sync;
