//! What the targets share: the bodies, and an allocator that counts, so that memory is held to each target's budget.

pub use libfuzzer_sys::fuzz_target;
pub use peerless_tests::fuzz;

#[global_allocator]
static COUNTING: peerless_tests::memory::Counting = peerless_tests::memory::Counting;
