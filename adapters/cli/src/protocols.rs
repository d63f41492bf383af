//! The flags that choose discovery protocols, with geth's names.

use clap::{ArgAction, Args};
use peerless::node::discovery;
use peerless::wire::enode::Contact;

/// Which discovery protocols run; both by default, on one port.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Protocols {
    /// Discover nodes by discv4
    #[arg(long = "discovery.v4", visible_alias = "discv4", env = "PEERLESS_DISCOVERY_V4", value_name = "BOOL")]
    #[arg(default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set)]
    v4: bool,
    /// Discover nodes by discv5
    #[arg(long = "discovery.v5", visible_alias = "discv5", env = "PEERLESS_DISCOVERY_V5", value_name = "BOOL")]
    #[arg(default_value_t = true, default_missing_value = "true", num_args = 0..=1, require_equals = true)]
    #[arg(action = ArgAction::Set)]
    v5: bool,
}

impl Protocols {
    /// Switches the protocols on and off, and sets their bootnodes.
    pub(crate) fn configure(self, discovery: &mut discovery::Config, bootnodes: &[Contact]) {
        discovery.discv4 = self.v4.then(Default::default);
        discovery.discv5 = self.v5.then(Default::default);
        discovery.set_bootnodes(bootnodes);
    }
}
