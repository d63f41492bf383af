//! Names of cryptographic primitives in traces.

use std::sync::Arc;

use peerless::crypto::Crypto;
use peerless_sim::crypto::{Mode, SimMac};
use peerless_trace::format::SECP256K1;

/// Number of keys for which the primitives of a simulation are prepared when one node runs alone.
const KEYS_REMEMBERED: usize = 1024;

/// Returns the name of a simulation's primitives. `memo` computes the same as `real`.
pub(crate) fn name(mode: Mode, seed: u64) -> String {
    match mode {
        Mode::Real | Mode::Memo => SECP256K1.to_owned(),
        Mode::SimMac => SimMac::name(seed),
    }
}

/// Returns the simulated primitives of this name. They are insecure and only read traces of simulations.
pub(crate) fn simulated(name: &str) -> Option<Arc<dyn Crypto + Send + Sync>> {
    Some(Arc::new(SimMac::by_name(name, KEYS_REMEMBERED)?))
}
