//! The network between the nodes: addresses, regions, latency, loss.
//!
//! All of it is a function of the settings, a seed and two hosts, without state for a pair of hosts. State, such as a
//! NAT's mappings and the ends of live streams, belongs to one host each.

pub mod address;
pub mod conditions;
pub mod link;
pub mod nat;
pub mod region;
pub(crate) mod stream;
pub mod zone;

pub use address::{Addr, Addresses};
pub use conditions::{Conditions, Effect, Fault, Hosts, Tamper};
pub use link::{Fate, Links, Quality};
pub use nat::Nat;
pub use region::{Region, Regions};
pub use zone::Zone;
