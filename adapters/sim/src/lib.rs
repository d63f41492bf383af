//! Peerless in virtual time: thousands of real nodes in one process, deterministically.
//!
//! [`World`] drives any number of [`peerless::node::Node`]s, or of any other [`Machine`](peerless::contract::Machine), over
//! a simulated [`network`], in the total order of [`engine`]. A run reads no clock and draws no entropy; only reports
//! contain the elapsed time. A seed determines the whole run, on any number of threads: two runs of it have the same
//! [`World::trace_hash`].
//!
//! A [`scenario`] defines the hosts of a world, its events, and the demands that must hold at the end:
//!
//! ```
//! # use std::time::Duration;
//! # use peerless_sim::{Crash, HostId, Nat};
//! use peerless_sim::scenario::{Role, Scenario, demand};
//!
//! let cells = Scenario::new("cells", "every second node is behind a NAT")
//!     .size(24, Duration::from_secs(240))                                        // hosts, virtual time
//!     .cast(|_, host, _| Role { nat: if host.0 % 2 == 0 { Nat::None } else { Nat::Symmetric }, ..Role::default() })
//!     .at(50, |run| run.world.crash(HostId(5), Crash::Power))                    // half way through the faults
//!     .always("no node breaks the protocol", demand::no_faults())                // at any time
//!     .demand("every node has a peer", demand::sessions(1));                     // after the end of all faults
//! let report = cells.run(&cells.plan(7))?;                                       // 7 is the seed
//! assert!(report.passed(), "{report}");
//! # Ok::<(), peerless_sim::scenario::PlanError>(())
//! ```
#![deny(unsafe_code)]

pub mod campaign;
pub mod crypto;
pub mod eclipse;
pub mod engine;
pub mod mix;
pub mod network;
pub mod plot;
mod prefetch;
pub mod scenario;
pub mod scenery;
pub mod world;

pub use network::{
    Addr, Addresses, Conditions, Effect, Fault, Hosts, Links, Nat, Quality, Region, Regions, Tamper, Zone,
};
pub use world::{
    Birth, Churn, Crash, Fingerprint, Flood, Forgery, HostSpec, Print, Settings, Sources, Totals, Violation, Watch,
    World,
};

/// The number of a host in its world, from 0 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u32);
