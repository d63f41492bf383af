//! What the tests that cross crates share: a deterministic network in memory, and ready-made nodes.

#![allow(missing_docs)]

pub mod memory;
pub mod net;
pub mod pcap;
pub mod talk;
