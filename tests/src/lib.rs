//! What the tests that cross crates share: a deterministic network in memory, ready-made nodes, and what is fuzzed.

#![allow(missing_docs)]

pub mod fuzz;
pub mod net;
