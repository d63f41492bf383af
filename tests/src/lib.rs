//! What the tests that cross crates share: a deterministic network in memory, ready-made nodes, peers of other make, and
//! what is fuzzed.

#![allow(missing_docs)]

pub mod fuzz;
pub mod memory;
pub mod net;
pub mod pcap;
pub mod peers;
pub mod skip;
pub mod stranger;
pub mod talk;
