//! The bodies of the fuzz targets, as ordinary functions over bytes: `cargo test` runs them over the committed corpus and
//! generated inputs on stable, `cargo +nightly fuzz run NAME` searches with libFuzzer.
//!
//! A body panics at a violation, and notes in [`Reached`] which landmarks it has passed; the corpus has to reach every
//! landmark of a target. Bodies of machines read operations from the bytes ([`Choices`]) and use valid MACs and signatures
//! unless they choose not to: a fuzzer that never passes a MAC tests nothing.

pub mod choices;
pub mod crypto;
pub mod deadlines;
pub mod discv4;
pub mod discv5;
pub mod dns;
pub mod eth;
pub mod frames;
pub mod handshake;
pub mod identity;
pub mod lookup;
pub mod messages;
pub mod node;
pub mod outbox;
pub mod pair;
pub mod peers;
pub mod records;
pub mod remote;
pub mod session;
pub mod texts;
pub mod wire;

use std::collections::BTreeMap;

pub use choices::Choices;
pub use crypto::Cheap;

/// A fuzz target.
pub struct Target {
    /// Its name, also that of its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// Its body; panics at a violation.
    pub body: fn(&[u8], &mut Reached),
    /// The bound of its memory.
    pub memory: Memory,
    /// The landmarks that the committed corpus has to reach.
    pub landmarks: &'static [&'static str],
    /// The number of generated inputs of a test run, and their largest size.
    pub generated: (u32, usize),
}

/// The most bytes that a body may hold at once.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// For any input.
    pub fixed: usize,
    /// For each byte of the input.
    pub per_byte: usize,
}

impl Memory {
    /// The bound of a decoder: a constant, and a multiple of its input.
    pub const DECODER: Self = Self { fixed: 8 << 10, per_byte: 64 };

    /// The bound of one or several machines, for any input.
    pub const fn machine(mebibytes: usize) -> Self {
        Self { fixed: mebibytes << 20, per_byte: 64 }
    }
}

/// The landmarks that were passed, with their counts.
#[derive(Clone, Debug, Default)]
pub struct Reached(BTreeMap<&'static str, u64>);

impl Reached {
    /// Counts a landmark.
    pub fn note(&mut self, landmark: &'static str) {
        *self.0.entry(landmark).or_default() += 1;
    }

    /// How often it was passed.
    pub fn count(&self, landmark: &str) -> u64 {
        self.0.get(landmark).copied().unwrap_or(0)
    }

    /// All landmarks that were passed.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(landmark, count)| (*landmark, *count))
    }

    /// Adds what another input reached.
    pub fn add(&mut self, other: &Self) {
        for (landmark, count) in other.iter() {
            *self.0.entry(landmark).or_default() += count;
        }
    }
}

impl Target {
    /// Runs the body over one input, checks its memory, and returns the landmarks that it passed.
    ///
    /// # Panics
    /// At a violation.
    pub fn check(&self, data: &[u8]) -> Reached {
        let mut reached = Reached::default();
        let peak = crate::memory::peak_of(|| (self.body)(data, &mut reached));
        let allowed = self.memory.fixed + self.memory.per_byte * data.len();
        assert!(peak <= allowed, "{}: {peak} bytes held for an input of {}, {allowed} allowed", self.name, data.len());
        reached
    }
}

/// All targets.
pub const TARGETS: [&Target; 37] = [
    &wire::RLP,
    &wire::DISCV4_PACKET,
    &wire::DISCV5_PACKET,
    &wire::DISCV5_MESSAGE,
    &wire::AUTH,
    &wire::ACK,
    &wire::FRAME_HEADER,
    &wire::SNAPPY,
    &messages::MESSAGE_ID,
    &messages::HELLO,
    &messages::DISCONNECT,
    &messages::CAPABILITIES,
    &messages::STATUS,
    &messages::BLOCK_RANGE,
    &messages::ENVELOPE,
    &records::RECORD,
    &records::RECORD_BUILDER,
    &records::FORK_ID,
    &texts::RECORD_TEXT,
    &texts::ENODE,
    &texts::NETRESTRICT,
    &dns::LIST_ENTRY,
    &identity::ECIES,
    &frames::FRAMES,
    &handshake::HANDSHAKE,
    &session::SESSION,
    &eth::ETH,
    &discv4::DISCV4,
    &dns::DNS,
    &discv5::DISCV5,
    &lookup::LOOKUP,
    &peers::PEERS,
    &node::NODE,
    &pair::PAIR,
    &outbox::OUTBOX,
    &outbox::OUTBOUND,
    &deadlines::DEADLINES,
];

/// A list of one string, as a message of transactions has to be a list.
fn list_of(bytes: &[u8]) -> Vec<u8> {
    let mut list = ::rlp::RlpStream::new_list(1);
    list.append(&bytes);
    list.out().to_vec()
}
