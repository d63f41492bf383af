//! The blocks of a trace: packets, and custom blocks that carry records and the running digest.
//!
//! Done in two steps, for a node's thread has better things to do than checksums and digests: [`Blocks`] are laid out as
//! things happen, and completed by a [`Sealer`] when they are written.

use twox_hash::XxHash3_64;

use super::codec::Encode;
use super::{END, INPUT, encode_seal, packet};
use crate::pcapng::{self, CUSTOM, Note, PACKET, PACKET_HEAD, block, pad};

/// Peerless has no private enterprise number. RFC 5612 has this one for documentation; [`MAGIC`] tells whose block it is.
const ENTERPRISE: u32 = 32473;
/// Opens the data of each of our custom blocks.
const MAGIC: [u8; 4] = *b"PLSS";

/// Before the data of a custom block: type, length, enterprise number, magic.
const CUSTOM_HEAD: usize = 16;
/// After it: digest and length.
const CUSTOM_TAIL: usize = 12;
/// Bytes of a digest.
const DIGEST: usize = 8;
/// Raw IP: the packet begins with its IPv4 or IPv6 header.
const LINK_TYPE_RAW: u16 = 101;

/// Which way a packet went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To the node.
    In,
    /// From the node.
    Out,
}

/// The digest of a trace after `bytes`, which follow what had the digest `before`.
fn digest(before: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(before, bytes)
}

/// Whole blocks, without checksums and digests.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
}

impl Blocks {
    /// None yet, with room for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Forgets them, and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The bytes for which there is memory.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Section header and interface.
    pub(crate) fn begin(&mut self, software: &str) {
        pcapng::section(software, &mut self.bytes);
        // Microseconds.
        pcapng::interface(LINK_TYPE_RAW, Some("peerless"), 6, &mut self.bytes);
    }

    /// A packet, made by `write`, at `micros` since 1970.
    pub(crate) fn packet(&mut self, way: Way, micros: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let flags = match way {
            Way::In => 1,
            Way::Out => 2,
        };
        pcapng::packet(micros, &Note::Flags(flags), &mut self.bytes, write);
    }

    /// A record, made by `write`.
    pub(crate) fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        block(CUSTOM, &mut self.bytes, |out| {
            out.fixed(&ENTERPRISE.to_le_bytes());
            out.fixed(&MAGIC);
            let start = out.len();
            write(out);
            pad(start, out);
            out.fixed(&[0; DIGEST]);
        });
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// A place in blocks that ends with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sealed {
    /// Behind the record.
    pub end: usize,
    /// Whether it is that of an input.
    pub is_input: bool,
    /// Whether it is the end of the trace, which nothing follows.
    pub is_end: bool,
}

/// Completes blocks in their order: the checksums of packets, and the digests that chain records.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sealer {
    digest: u64,
}

impl Sealer {
    /// The digest of the last record.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Completes the blocks from `start` to the end of the next record. What follows the last one gets a record that says
    /// nothing. `None` at the end.
    pub(crate) fn seal(&mut self, blocks: &mut Blocks, start: usize) -> Option<Sealed> {
        let mut at = start;
        loop {
            let bytes = &mut blocks.bytes;
            let Some(head) = bytes.get(at..at + 8) else {
                if at == start {
                    return None;
                }
                blocks.record(encode_seal);
                continue;
            };
            let word = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            let (kind, end) = (word(0), at + word(4) as usize);
            if kind == CUSTOM {
                let covered = end - CUSTOM_TAIL;
                self.digest = digest(self.digest, &bytes[start..covered]);
                bytes[covered..covered + DIGEST].copy_from_slice(&self.digest.to_le_bytes());
                let record = bytes[at + CUSTOM_HEAD];
                return Some(Sealed { end, is_input: record == INPUT, is_end: record == END });
            }
            if kind == PACKET {
                let length = &bytes[at + PACKET_HEAD - 4..at + PACKET_HEAD];
                let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
                packet::complete(&mut bytes[at + PACKET_HEAD..at + PACKET_HEAD + length]);
            }
            at = end;
        }
    }
}

/// The record in a custom block of ours, `None` in any other block. The block is whole and its lengths agree.
pub(crate) fn record_of(block: &[u8]) -> Option<&[u8]> {
    let head = block.get(..CUSTOM_HEAD)?;
    let is_ours = head[..4] == CUSTOM.to_le_bytes() && head[8..12] == ENTERPRISE.to_le_bytes() && head[12..] == MAGIC;
    block.get(CUSTOM_HEAD..block.len().checked_sub(CUSTOM_TAIL)?).filter(|_| is_ours)
}

/// Whether the digest at the end of `segment`, which ends with a custom block of ours, is right after `before`; and what
/// it says.
pub(crate) fn verify(before: u64, segment: &[u8]) -> Option<u64> {
    let (covered, tail) = segment.split_at_checked(segment.len().checked_sub(CUSTOM_TAIL)?)?;
    let said = u64::from_le_bytes(tail[..DIGEST].try_into().ok()?);
    (digest(before, covered) == said).then_some(said)
}
