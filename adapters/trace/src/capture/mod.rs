//! A reader of captures: pcap and pcapng, one item at a time, in constant memory.
//!
//! Reads both byte orders, stamps of any resolution, and in pcapng several sections and interfaces. Implements the
//! format of `draft-ietf-opsawg-pcap` and `draft-ietf-opsawg-pcapng`. The crate `pcap-parser` parses single blocks;
//! this module frames them, so that a broken block is skipped by its own length and returned with its bytes. Bytes
//! without a usable length are returned too, and end the reading. Packets are not parsed here: see [`packet`].

mod legacy;
mod ng;
pub mod packet;

use std::fmt;
use std::io::{self, Read};

use self::legacy::Legacy;
use self::ng::Sections;

/// Most bytes of a block or record, beyond which it is broken: twice the snap length of any tool, with room for
/// options.
pub const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a broken item that are returned.
pub const BROKEN_BYTES_MAX: usize = 256;
/// Bytes read from the file at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The type of the first block of every pcapng section; the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The type of a pcapng Decryption Secrets Block whose content is a key log (`docs/keylog.md`): `RLPX`.
pub const SECRETS_TYPE_RLPX: u32 = 0x524c_5058;

/// The time of capture of a packet: nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp(pub u64);

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The packet's number in the file, from 1 on, as in Wireshark.
    pub number: u64,
    /// The time of capture, if the file has one.
    pub at: Option<Stamp>,
    /// The type of the packet's first header: a `LINKTYPE_` value.
    pub link: u16,
    /// The captured bytes.
    pub bytes: &'a [u8],
    /// The packet's size on the wire.
    pub wire_bytes: u32,
}

/// An item of a capture.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// A custom block.
    Custom {
        /// The Private Enterprise Number of its author.
        pen: u32,
        /// The whole block, header included.
        bytes: &'a [u8],
    },
    /// A Decryption Secrets Block.
    Secrets {
        /// The format of the secrets; see [`SECRETS_TYPE_RLPX`].
        kind: u32,
        /// The secrets.
        bytes: &'a [u8],
    },
    /// A block without a packet (a section, an interface, names, statistics), or of an unknown type.
    Other {
        /// The block's type.
        kind: u32,
        /// Whether the format knows the type.
        known: bool,
        /// The whole block.
        bytes: &'a [u8],
    },
    /// Malformed bytes.
    Broken {
        /// Their position in the file.
        offset: u64,
        /// The reason.
        why: &'static str,
        /// The first of the bytes, [`BROKEN_BYTES_MAX`] at most.
        bytes: &'a [u8],
    },
}

/// A reader of captures over any input.
pub struct Reader<R> {
    input: Window<R>,
    format: Format,
    packets: u64,
}

impl<R> fmt::Debug for Reader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("packets", &self.packets).finish_non_exhaustive()
    }
}

enum Format {
    Unknown,
    Legacy(Legacy),
    Ng(Sections),
    /// The end was reached, or no further item can be framed.
    Over,
}

impl<R: Read> Reader<R> {
    /// Makes a reader at the start of a capture.
    pub fn new(input: R) -> Self {
        Self { input: Window::new(input), format: Format::Unknown, packets: 0 }
    }

    /// Returns the next item; `None` at the end. An item that is cut off at the end is broken.
    ///
    /// # Errors
    /// If the input cannot be read.
    pub fn next_item(&mut self) -> io::Result<Option<Item<'_>>> {
        if matches!(self.format, Format::Unknown) {
            self.input.fill(legacy::HEADER_BYTES)?;
            self.format = match Legacy::detect(self.input.bytes()) {
                Some(legacy) => {
                    self.input.consume(legacy::HEADER_BYTES);
                    Format::Legacy(legacy)
                }
                None if self.input.bytes().starts_with(&SECTION_HEADER) => Format::Ng(Sections::default()),
                None if self.input.bytes().is_empty() => Format::Over,
                None => return Ok(Some(self.give_up("neither pcap nor pcapng"))),
            };
        }
        let framed = match &mut self.format {
            Format::Unknown | Format::Over => return Ok(None),
            Format::Legacy(legacy) => legacy.frame(&mut self.input)?,
            Format::Ng(sections) => sections.frame(&mut self.input)?,
        };
        let offset = self.input.offset;
        let taken = match framed {
            Framed::End => {
                self.format = Format::Over;
                return Ok(None);
            }
            Framed::Lost(why) => return Ok(Some(self.give_up(why))),
            Framed::Whole(bytes) => self.input.take(bytes),
        };
        let item = match &mut self.format {
            Format::Legacy(legacy) => legacy.parse(taken),
            Format::Ng(sections) => sections.parse(taken),
            Format::Unknown | Format::Over => return Ok(None),
        };
        Ok(Some(match item {
            Ok(Item::Packet(packet)) => {
                self.packets += 1;
                Item::Packet(Packet { number: self.packets, ..packet })
            }
            Ok(item) => item,
            Err(why) => Item::Broken { offset, why, bytes: head(taken) },
        }))
    }

    fn give_up(&mut self, why: &'static str) -> Item<'_> {
        self.format = Format::Over;
        Item::Broken { offset: self.input.offset, why, bytes: head(self.input.bytes()) }
    }
}

fn head(bytes: &[u8]) -> &[u8] {
    bytes.get(..BROKEN_BYTES_MAX).unwrap_or(bytes)
}

/// The next item in the window.
enum Framed {
    /// The end of the input.
    End,
    /// An item of the given size, completely in the window.
    Whole(usize),
    /// Bytes without a length, or with an impossible one.
    Lost(&'static str),
}

/// A window of the input: never more than one item and a chunk.
struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// The window's position in the input.
    offset: u64,
}

impl<R: Read> Window<R> {
    fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, end: 0, offset: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until the window has `wanted` bytes or the input ends; returns whether it has them.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.end - self.start < wanted {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            // Grows with the received bytes, not with the announced length.
            if self.end == self.buffer.len() {
                self.buffer.resize(self.end + CHUNK_BYTES.max(self.end), 0);
            }
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn consume(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
    }

    fn take(&mut self, bytes: usize) -> &[u8] {
        let start = self.start;
        self.consume(bytes);
        &self.buffer[start..start + bytes]
    }
}

#[cfg(test)]
mod tests;
