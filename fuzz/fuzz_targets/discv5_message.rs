#![no_main]
use peerless_fuzz::{fuzz, fuzz_target};
fuzz_target!(|data: &[u8]| drop(fuzz::wire::DISCV5_MESSAGE.check(data)));
