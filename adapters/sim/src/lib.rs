//! Peerless in virtual time: thousands of real nodes in one process, deterministically.
//!
//! [`World`] drives any number of [`peerless::node::Node`]s, or other [`Machine`]s, over a simulated [`network`], in the
//! total order that [`engine`] keeps. Nothing reads a clock or draws entropy: a seed decides everything, on one thread or
//! several, and two runs of it have the same [`World::trace_hash`].
#![forbid(unsafe_code)]

pub mod crypto;
pub mod engine;
pub mod mix;
pub mod network;
pub mod plot;
pub mod scenario;
pub mod scenery;
pub mod world;

pub use network::{Addr, Addresses, Conditions, Effect, Fault, Hosts, Links, Nat, Quality, Region, Regions};
pub use world::{Birth, Churn, Crash, HostSpec, Machine, Settings, Totals, Violation, Watch, World};

/// Numbers a world's hosts, from 0 on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostId(pub u32);
