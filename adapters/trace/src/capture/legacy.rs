//! The pcap format: one file header, then records.

use std::io::{self, Read};

use pcap_parser::pcap::{PcapHeader, parse_pcap_frame, parse_pcap_frame_be, parse_pcap_header};

use super::{BLOCK_BYTES_MAX, Framed, Item, Packet, Stamp, Window};

/// Bytes of the file's header.
pub(super) const HEADER_BYTES: usize = 24;
/// Bytes of a record's header.
const RECORD_HEADER_BYTES: usize = 16;
/// Bits of the link type field that hold the link type; the others describe frame check sequences.
const LINK_MASK: u32 = 0xffff;

/// The fields of the file header.
pub(super) struct Legacy {
    big_endian: bool,
    nanoseconds_per_unit: u64,
    link: u16,
}

impl Legacy {
    /// Reads the header, if the file begins with one.
    pub(super) fn detect(bytes: &[u8]) -> Option<Self> {
        let (_, header) = parse_pcap_header(bytes.get(..HEADER_BYTES)?).ok()?;
        let PcapHeader { network, .. } = header;
        // The variant with longer records is of obsolete kernels, and cannot be distinguished from damage.
        (!header.is_modified_format()).then(|| Self {
            big_endian: header.is_bigendian(),
            nanoseconds_per_unit: if header.is_nanosecond_precision() { 1 } else { 1000 },
            link: (network.0 as u32 & LINK_MASK) as u16,
        })
    }

    pub(super) fn frame<R: Read>(&self, input: &mut Window<R>) -> io::Result<Framed> {
        if !input.fill(RECORD_HEADER_BYTES)? {
            return Ok(if input.bytes().is_empty() { Framed::End } else { Framed::Lost("the last record is cut off") });
        }
        let length = input.bytes()[8..12].try_into().unwrap_or_default();
        let length = if self.big_endian { u32::from_be_bytes(length) } else { u32::from_le_bytes(length) };
        let record = RECORD_HEADER_BYTES + length as usize;
        if record > BLOCK_BYTES_MAX {
            return Ok(Framed::Lost("a record of impossible length"));
        }
        Ok(if input.fill(record)? { Framed::Whole(record) } else { Framed::Lost("the last record is cut off") })
    }

    pub(super) fn parse<'a>(&self, record: &'a [u8]) -> Result<Item<'a>, &'static str> {
        let parsed = if self.big_endian { parse_pcap_frame_be(record) } else { parse_pcap_frame(record) };
        let (_, frame) = parsed.map_err(|_| "a record that makes no sense")?;
        let fraction = u64::from(frame.ts_usec) * self.nanoseconds_per_unit;
        Ok(Item::Packet(Packet {
            number: 0,
            at: Some(Stamp(u64::from(frame.ts_sec) * 1_000_000_000 + fraction)),
            link: self.link,
            bytes: frame.data,
            wire_bytes: frame.origlen,
        }))
    }
}
