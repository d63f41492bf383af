//! Primitives by the names under which traces tell with which they were made.

use std::sync::Arc;

use peerless::crypto::Crypto;
use peerless_sim::crypto::{Mode, SimMac};
use peerless_trace::format::SECP256K1;

/// The keys for which a simulation's primitives are prepared when one of its nodes runs alone.
const KEYS_REMEMBERED: usize = 1024;

/// The name of what a simulation runs with: `memo` computes what `real` does.
pub(crate) fn name(mode: Mode, seed: u64) -> String {
    match mode {
        Mode::Real | Mode::Memo => SECP256K1.to_owned(),
        Mode::SimMac => SimMac::name(seed),
    }
}

/// Those of a simulation that have this name. They secure nothing: only what a simulation recorded may be read with them.
pub(crate) fn simulated(name: &str) -> Option<Arc<dyn Crypto + Send + Sync>> {
    Some(Arc::new(SimMac::by_name(name, KEYS_REMEMBERED)?))
}
