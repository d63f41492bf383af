#![no_main]
use peerless_fuzz::{fuzz, fuzz_target};
fuzz_target!(|data: &[u8]| drop(fuzz::dns::LIST_ENTRY.check(data)));
