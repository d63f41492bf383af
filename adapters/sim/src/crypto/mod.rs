//! Primitives for simulations, all implementations of [`peerless::crypto::Crypto`]: the machines do not know which one
//! they use.

mod memo;
mod meter;
mod simmac;
mod table;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use peerless::crypto::{Crypto, Secp256k1};

pub use memo::Memo;
pub use meter::{Costs, Meter};
pub use simmac::SimMac;

/// The primitives of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum Mode {
    /// The production primitives.
    #[default]
    Real,
    /// The production primitives with recoveries and public keys cached: all bytes of a run are the same.
    Memo,
    /// Keyed hashes of the same sizes: the schedule of a run is the same. Not secure.
    SimMac,
}

impl Mode {
    /// Makes the primitives for about `nodes` nodes.
    pub fn build(self, seed: u64, nodes: usize) -> Arc<dyn Crypto + Send + Sync> {
        match self {
            Self::Real => Arc::new(Secp256k1::new()),
            Self::Memo => Arc::new(Memo::new(seed, nodes)),
            Self::SimMac => Arc::new(SimMac::new(seed, nodes)),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Real => "real",
            Self::Memo => "memo",
            Self::SimMac => "simmac",
        })
    }
}

/// `real`, `memo` or `simmac`.
impl FromStr for Mode {
    type Err = UnknownMode;

    fn from_str(text: &str) -> Result<Self, UnknownMode> {
        match text {
            "real" => Ok(Self::Real),
            "memo" => Ok(Self::Memo),
            "simmac" => Ok(Self::SimMac),
            _ => Err(UnknownMode),
        }
    }
}

/// The error of a text that is no mode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct UnknownMode;

impl fmt::Display for UnknownMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a crypto mode is real, memo or simmac")
    }
}

impl std::error::Error for UnknownMode {}

#[cfg(test)]
mod tests;
