//! The blocks of a trace: pcapng's own, and custom ones that carry records and the running digest.
//!
//! Implements the pcapng specification (draft-ietf-opsawg-pcapng) as far as a trace needs it, little-endian.

use twox_hash::XxHash3_64;

use super::codec::Encode;

/// Section Header Block.
pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Interface Description Block.
pub(crate) const INTERFACE: u32 = 1;
/// Enhanced Packet Block.
pub(crate) const PACKET: u32 = 6;
/// Custom Block that tools must not copy into files they change: the digests would be wrong there.
pub(crate) const CUSTOM: u32 = 0x4000_0bad;
/// Peerless has no private enterprise number. RFC 5612 has this one for documentation; [`MAGIC`] tells whose block it is.
pub(crate) const ENTERPRISE: u32 = 32473;
/// Opens the data of each of our custom blocks.
pub(crate) const MAGIC: [u8; 4] = *b"PLSS";

/// Before the data of a custom block: type, length, enterprise number, magic.
pub(crate) const CUSTOM_HEAD: usize = 16;
/// After it: digest and length.
pub(crate) const CUSTOM_TAIL: usize = 12;
/// Bytes of a digest.
const DIGEST: usize = 8;
/// pcapng's byte order mark.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;
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
pub(crate) fn digest(before: u64, bytes: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(before, bytes)
}

/// A trace as it grows: whole blocks, of which all up to the last record are sealed by its digest.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    bytes: Vec<u8>,
    /// Bytes from here on are not covered by a digest yet.
    unsealed: usize,
    digest: u64,
}

impl Blocks {
    /// Section header and interface. The digest begins here.
    pub(crate) fn begin(&mut self, software: &str) {
        self.digest = 0;
        self.block(SECTION_HEADER, |out| {
            out.fixed(&BYTE_ORDER.to_le_bytes());
            out.u16(1);
            out.u16(0);
            // The section's length is not known.
            out.u64(u64::MAX);
            option(4, software.as_bytes(), out);
            option(0, &[], out);
        });
        self.block(INTERFACE, |out| {
            out.u16(LINK_TYPE_RAW);
            out.u16(0);
            // No limit to a packet's length.
            out.fixed(&0u32.to_le_bytes());
            option(2, b"peerless", out);
            // Microseconds.
            option(9, &[6], out);
            option(0, &[], out);
        });
    }

    /// A packet, made by `write`, at `micros` since 1970.
    pub(crate) fn packet(&mut self, way: Way, micros: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.block(PACKET, |out| {
            out.fixed(&0u32.to_le_bytes());
            out.fixed(&((micros >> 32) as u32).to_le_bytes());
            out.fixed(&(micros as u32).to_le_bytes());
            let lengths = out.len();
            out.u64(0);
            let start = out.len();
            write(out);
            let length = ((out.len() - start) as u32).to_le_bytes();
            out[lengths..lengths + 4].copy_from_slice(&length);
            out[lengths + 4..start].copy_from_slice(&length);
            pad(start, out);
            let flags: u32 = match way {
                Way::In => 1,
                Way::Out => 2,
            };
            option(2, &flags.to_le_bytes(), out);
            option(0, &[], out);
        });
    }

    /// A record, made by `write`; seals everything up to itself.
    pub(crate) fn record(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let Self { unsealed, digest: before, .. } = *self;
        let mut sealed = before;
        self.block(CUSTOM, |out| {
            out.fixed(&ENTERPRISE.to_le_bytes());
            out.fixed(&MAGIC);
            let start = out.len();
            write(out);
            pad(start, out);
            // The block's length is in it, so it is set before the digest is made.
            let length = (out.len() + CUSTOM_TAIL - start + CUSTOM_HEAD) as u32;
            out[start - 12..start - 8].copy_from_slice(&length.to_le_bytes());
            sealed = digest(before, &out[unsealed..]);
            out.u64(sealed);
        });
        self.digest = sealed;
        self.unsealed = self.bytes.len();
    }

    /// The digest of the last record.
    pub(crate) fn digest(&self) -> u64 {
        self.digest
    }

    /// Bytes that no digest covers yet.
    pub(crate) fn unsealed(&self) -> usize {
        self.bytes.len() - self.unsealed
    }

    /// What is sealed and not taken yet.
    pub(crate) fn sealed(&self) -> &[u8] {
        &self.bytes[..self.unsealed]
    }

    /// Forgets what was sealed.
    pub(crate) fn take(&mut self) {
        self.bytes.drain(..self.unsealed);
        self.unsealed = 0;
    }

    fn block(&mut self, kind: u32, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        self.bytes.fixed(&kind.to_le_bytes());
        self.bytes.fixed(&0u32.to_le_bytes());
        write(&mut self.bytes);
        let length = ((self.bytes.len() - start + 4) as u32).to_le_bytes();
        self.bytes[start + 4..start + 8].copy_from_slice(&length);
        self.bytes.fixed(&length);
    }
}

fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    out.u16(code);
    out.u16(value.len() as u16);
    let start = out.len();
    out.fixed(value);
    pad(start, out);
}

/// Fills up to the next multiple of four bytes from `start`.
fn pad(start: usize, out: &mut Vec<u8>) {
    out.resize(start + (out.len() - start).next_multiple_of(4), 0);
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
