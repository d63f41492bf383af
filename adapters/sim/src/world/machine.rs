//! What a world makes its machines of, and what watches them.

use std::sync::Arc;

use peerless::contract::{Machine, Tap};
use peerless::crypto::Crypto;
use peerless::time::{Instant, UnixTime};

use crate::HostId;
use crate::network::{Addr, Addresses, Nat, Region};

/// Watches one host, over all its machines' lives: [`Tap`] shows it every input, action and drain as it passes.
pub trait Watch<M: Machine>: Tap<M::Language> + Send {
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
impl<M: Machine> Watch<M> for () {}

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
