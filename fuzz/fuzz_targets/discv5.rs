#![no_main]
use peerless_fuzz::{fuzz, fuzz_target};
fuzz_target!(|data: &[u8]| drop(fuzz::discv5::DISCV5.check(data)));
