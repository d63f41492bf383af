//! The common part of all targets: the bodies, and a counting allocator that enforces each target's memory budget.

pub use libfuzzer_sys::fuzz_target;
pub use peerless_tests::fuzz;

#[global_allocator]
static COUNTING: peerless_tests::memory::Counting = peerless_tests::memory::Counting;
