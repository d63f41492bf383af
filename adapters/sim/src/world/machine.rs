//! The makers and the watches of a world's machines.

use std::fmt;
use std::sync::Arc;

use peerless::contract::{Machine, Tap};
use peerless::crypto::Crypto;
use peerless::time::{Instant, UnixTime};

use crate::HostId;
use crate::network::{Addr, Addresses, Nat, Region};

/// Watches one host over the lives of all its machines: as a [`Tap`], it sees every input, action and drain.
pub trait Watch<M: Machine>: Tap<M::Language> + Send {
    /// Checks invariants after the machine has handled an input and was drained.
    ///
    /// # Errors
    /// A description of the violation; the run ends there.
    fn stepped(&mut self, now: Instant, host: HostId, machine: &M) -> Result<(), String> {
        let _ = (now, host, machine);
        Ok(())
    }

    /// Notes that the host's machine has started (`Some`) or is gone.
    fn changed(&mut self, now: Instant, host: HostId, machine: Option<&M>) {
        let _ = (now, host, machine);
    }
}

/// Sees nothing.
impl<M: Machine> Watch<M> for () {}

/// The circumstances of a machine's start. A host keeps its address: with the same key, its next machine is the same node.
pub struct Birth<'a> {
    /// The host.
    pub host: HostId,
    /// The number of machines that it had before.
    pub incarnation: u32,
    /// Its public address, with or without a NAT.
    pub addr: Addr,
    /// The NAT in front of it: behind one, a node does not know `addr`.
    pub nat: Nat,
    /// Its region.
    pub region: Region,
    /// Monotonic time.
    pub now: Instant,
    /// The time of the host's wall clock.
    pub unix: UnixTime,
    /// The machine's seed, of the world's seed, the host and the incarnation.
    pub seed: [u8; 32],
    /// The addresses of all hosts.
    pub addresses: Addresses,
    /// The primitives of this run.
    pub crypto: &'a Arc<dyn Crypto + Send + Sync>,
}

/// Omits the seed and the primitives.
impl fmt::Debug for Birth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Birth");
        debug.field("host", &self.host).field("incarnation", &self.incarnation).field("addr", &self.addr);
        debug.field("nat", &self.nat).field("region", &self.region).field("now", &self.now).field("unix", &self.unix);
        debug.finish_non_exhaustive()
    }
}

/// Makes a host's machine.
pub type Maker<M> = dyn Fn(&Birth<'_>) -> M + Send + Sync;
