//! What the tests that cross crates share: peers of other make, a peer that breaks the protocol,
//! and what is fuzzed. The network in memory is `peerless::testing`.

#![allow(missing_docs)]

pub mod fuzz;
pub mod memory;
pub mod pcap;
pub mod peers;
pub mod skip;
pub mod stranger;
pub mod talk;
