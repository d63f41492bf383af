//! The blocks of a trace: packets, and custom blocks that carry records and the running digest.
//!
//! Two steps keep checksums and digests off the node's thread: [`Blocks`] are laid out as things happen, and a [`Sealer`]
//! completes them when they are written.

use twox_hash::XxHash3_64;

use super::codec::Encode;
use super::{END, INPUT, encode_seal, packet};
use crate::pcapng::{self, CUSTOM, Note, PACKET, PACKET_HEAD, block, pad};

/// Peerless has no private enterprise number. RFC 5612 reserves this one for documentation; [`MAGIC`] marks our blocks.
const ENTERPRISE: u32 = 32473;
/// The first bytes of the data of each of our custom blocks.
const MAGIC: [u8; 4] = *b"PLSS";

/// Bytes before the record in a custom block: type, length, enterprise number, magic.
const CUSTOM_HEAD: usize = 16;
/// Bytes after the record: digest and length.
const CUSTOM_TAIL: usize = 12;
/// Bytes of a digest.
const DIGEST: usize = 8;
/// Raw IP: each packet begins with its IPv4 or IPv6 header.
const LINK_TYPE_RAW: u16 = 101;

/// The direction of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// To the node.
    In,
    /// From the node.
    Out,
}

/// The digest of a trace after `bytes`, if it was `before` ahead of them.
fn digest(before: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(before, bytes)
}

/// Whole blocks, without checksums and digests.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
}

impl Blocks {
    /// Creates an empty list with memory for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes) }
    }

    /// Removes all blocks, and keeps their memory.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// The number of bytes for which there is memory.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Appends the section header and the interface.
    pub(crate) fn begin(&mut self, software: &str) {
        pcapng::section(software, &mut self.bytes);
        // Stamps are in microseconds: 10^-6 s.
        pcapng::interface(LINK_TYPE_RAW, Some("peerless"), 6, &mut self.bytes);
    }

    /// Appends a packet, which `write` makes, at `micros` since 1970.
    pub(crate) fn packet(&mut self, way: Way, micros: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let flags = match way {
            Way::In => 1,
            Way::Out => 2,
        };
        pcapng::packet(micros, &Note::Flags(flags), &mut self.bytes, write);
    }

    /// Appends a record, which `write` makes.
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

/// A stretch of blocks that ends with a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sealed {
    /// The offset behind the record.
    pub end: usize,
    /// Whether the record is an input.
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

    /// Completes the blocks from `start` to the end of the next record. Appends a seal behind packets that follow the last
    /// record. Returns `None` at the end.
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

/// The record in a custom block of ours; `None` for any other block. The block must be whole, with equal lengths.
pub(crate) fn record_of(block: &[u8]) -> Option<&[u8]> {
    let head = block.get(..CUSTOM_HEAD)?;
    let is_ours = head[..4] == CUSTOM.to_le_bytes() && head[8..12] == ENTERPRISE.to_le_bytes() && head[12..] == MAGIC;
    block.get(CUSTOM_HEAD..block.len().checked_sub(CUSTOM_TAIL)?).filter(|_| is_ours)
}

/// Returns the digest at the end of `segment`, which ends with a custom block of ours, if it is right after `before`.
pub(crate) fn verify(before: u64, segment: &[u8]) -> Option<u64> {
    let (covered, tail) = segment.split_at_checked(segment.len().checked_sub(CUSTOM_TAIL)?)?;
    let claimed = u64::from_le_bytes(tail[..DIGEST].try_into().ok()?);
    (digest(before, covered) == claimed).then_some(claimed)
}
