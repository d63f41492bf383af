//! The pcapng format: sections of blocks, each with its length at both ends.

use std::io::{self, Read};

use pcap_parser::pcapng::{Block, parse_block_be, parse_block_le};
use pcap_parser::traits::PcapNGPacketBlock;

use super::{BLOCK_BYTES_MAX, Framed, Item, Packet, SECTION_HEADER, Stamp, Window};

/// Bytes of type and length, before a block's content.
const BLOCK_HEADER_BYTES: usize = 8;
/// Bytes of the smallest block: type, length, length.
const BLOCK_BYTES_MIN: usize = 12;
/// Most interfaces of a section: more than any machine has; bounds the memory that a file can take.
const INTERFACES_MAX: usize = 4096;
/// A section header's byte order magic, big-endian.
const BYTE_ORDER: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];
const NANOSECONDS: u128 = 1_000_000_000;

/// The current section.
#[derive(Default)]
pub(super) struct Sections {
    big_endian: bool,
    /// `None` for a broken interface: packets refer to interfaces by index.
    interfaces: Vec<Option<Interface>>,
}

struct Interface {
    link: u16,
    snap_bytes: u32,
    units_per_second: u64,
    offset_seconds: i64,
}

impl Interface {
    fn stamp(&self, units: u64) -> Stamp {
        let nanoseconds = u128::from(units) * NANOSECONDS / u128::from(self.units_per_second.max(1));
        let offset = i128::from(self.offset_seconds) * NANOSECONDS as i128;
        let at = i128::try_from(nanoseconds).unwrap_or(i128::MAX).saturating_add(offset);
        Stamp(u64::try_from(at.max(0)).unwrap_or(u64::MAX))
    }
}

/// Decodes `if_tsresol`: a negative power of ten, or of two if its highest bit is set. The crate refuses the latter.
fn units_per_second(resolution: u8) -> Option<u64> {
    match resolution {
        0x80.. => 1u64.checked_shl(u32::from(resolution & 0x7f)),
        _ => 10u64.checked_pow(resolution.into()),
    }
}

impl Sections {
    pub(super) fn frame<R: Read>(&mut self, input: &mut Window<R>) -> io::Result<Framed> {
        if !input.fill(BLOCK_BYTES_MIN)? {
            return Ok(if input.bytes().is_empty() { Framed::End } else { Framed::Lost("the last block is cut off") });
        }
        let head = input.bytes();
        if head.starts_with(&SECTION_HEADER) {
            self.interfaces.clear();
            let order: [u8; 4] = head[8..12].try_into().unwrap_or_default();
            self.big_endian = match order {
                BYTE_ORDER => true,
                order if order == u32::from_be_bytes(BYTE_ORDER).to_le_bytes() => false,
                _ => return Ok(Framed::Lost("a section of no byte order")),
            };
        }
        let length = self.u32(head, 4) as usize;
        if !(BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&length) || !length.is_multiple_of(4) {
            return Ok(Framed::Lost("a block of impossible length"));
        }
        Ok(if input.fill(length)? { Framed::Whole(length) } else { Framed::Lost("the last block is cut off") })
    }

    fn u32(&self, bytes: &[u8], at: usize) -> u32 {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    pub(super) fn parse<'a>(&mut self, block: &'a [u8]) -> Result<Item<'a>, &'static str> {
        if self.u32(block, block.len() - 4) as usize != block.len() {
            return Err("a block whose two lengths differ");
        }
        let kind = self.u32(block, 0);
        let parsed = if self.big_endian { parse_block_be(block) } else { parse_block_le(block) };
        let (_, parsed) = parsed.map_err(|_| "a block that makes no sense")?;
        let other = |known| Ok(Item::Other { kind, known, bytes: block });
        match parsed {
            Block::InterfaceDescription(interface) => {
                if self.interfaces.len() >= INTERFACES_MAX {
                    return Err("too many interfaces");
                }
                let link = u16::try_from(interface.linktype.0).ok();
                let offset = interface.if_tsoffset;
                let made = link.zip(units_per_second(interface.if_tsresol)).map(|(link, units_per_second)| Interface {
                    link,
                    snap_bytes: if interface.snaplen == 0 { u32::MAX } else { interface.snaplen },
                    units_per_second,
                    // The crate reads it as little-endian in both byte orders.
                    offset_seconds: if self.big_endian { offset.swap_bytes() } else { offset },
                });
                let is_made = made.is_some();
                self.interfaces.push(made);
                if is_made { other(true) } else { Err("an interface of impossible link type or resolution of stamps") }
            }
            Block::EnhancedPacket(packet) => {
                let interface = self
                    .interfaces
                    .get(packet.if_id as usize)
                    .and_then(Option::as_ref)
                    .ok_or("a packet of no known interface")?;
                let bytes = self.packet_bytes(block, 28, packet.packet_data().len())?;
                Ok(Item::Packet(Packet {
                    number: 0,
                    at: Some(interface.stamp(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low))),
                    link: interface.link,
                    bytes,
                    wire_bytes: packet.origlen,
                }))
            }
            Block::SimplePacket(packet) => {
                let interface =
                    self.interfaces.first().and_then(Option::as_ref).ok_or("a packet of no known interface")?;
                let captured = packet.origlen.min(interface.snap_bytes) as usize;
                let there = block.len() - BLOCK_HEADER_BYTES - 8;
                Ok(Item::Packet(Packet {
                    number: 0,
                    at: None,
                    link: interface.link,
                    bytes: self.packet_bytes(block, 12, captured.min(there))?,
                    wire_bytes: packet.origlen,
                }))
            }
            Block::Custom(custom) => Ok(Item::Custom { pen: custom.pen, bytes: block }),
            Block::DecryptionSecrets(_) => {
                let (kind, length) = (self.u32(block, 8), self.u32(block, 12) as usize);
                Ok(Item::Secrets { kind, bytes: self.packet_bytes(block, 16, length)? })
            }
            Block::Unknown(_) => other(false),
            _ => other(true),
        }
    }

    /// Returns the `length` bytes at `at` of a block, if they end before its trailing length.
    fn packet_bytes<'a>(&self, block: &'a [u8], at: usize, length: usize) -> Result<&'a [u8], &'static str> {
        block[..block.len() - 4].get(at..).and_then(|rest| rest.get(..length)).ok_or("a block shorter than its content")
    }
}
