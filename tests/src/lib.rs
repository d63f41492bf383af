//! The shared parts of tests across crates: peers of other implementations, a peer that breaks the protocol, and the bodies
//! of the fuzz targets. The network in memory is `peerless::testing`.

#![allow(missing_docs, missing_debug_implementations, reason = "only this package's tests use it")]

pub mod fuzz;
pub mod load;
pub mod memory;
pub mod nameserver;
pub mod pcap;
pub mod peers;
pub mod skip;
pub mod stranger;
pub mod talk;
