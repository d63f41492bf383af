//! The shared parts of tests across crates: a deterministic network in memory, ready-made nodes, peers of other
//! implementations, and the bodies of the fuzz targets.

#![allow(missing_docs, missing_debug_implementations, reason = "only this package's tests use it")]

pub mod fuzz;
pub mod memory;
pub mod net;
pub mod pcap;
pub mod peers;
pub mod skip;
pub mod stranger;
pub mod talk;
