//! The network between the nodes: who is where, how long things take, what is lost.
//!
//! Everything here is a function of the settings, a seed and two hosts; nothing is kept for a pair of them. What must be
//! kept, a NAT's mappings and the ends of live streams, belongs to one host each.

pub mod address;
pub mod conditions;
pub mod link;
pub mod nat;
pub mod region;
pub(crate) mod stream;

pub use address::{Addr, Addresses};
pub use conditions::{Conditions, Effect, Fault, Hosts};
pub use link::{Fate, Links, Quality};
pub use nat::Nat;
pub use region::{Region, Regions};
