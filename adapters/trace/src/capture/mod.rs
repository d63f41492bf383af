//! Captures as they are read: pcap and pcapng, one item at a time, in constant memory.
//!
//! Both byte orders; stamps of any resolution; in pcapng several sections and interfaces. Implements the format of
//! `draft-ietf-opsawg-pcap` and `draft-ietf-opsawg-pcapng`; the crate `pcap-parser` takes single blocks apart, and this
//! frames them, so that a broken block is passed over by its own length and shown with its bytes. What no length can be
//! trusted for is shown too, and ends the reading. It never looks into a packet: [`packet`] does.

mod legacy;
mod ng;
pub mod packet;

use std::io::{self, Read};

use self::legacy::Legacy;
use self::ng::Sections;

/// A block or record that claims more is broken: twice what any tool snaps, with room for options.
pub const BLOCK_BYTES_MAX: usize = 16 << 20;
/// Bytes of a broken item that are shown.
pub const BROKEN_BYTES_MAX: usize = 256;
/// Read from the file at once.
const CHUNK_BYTES: usize = 256 << 10;
/// The first block of every pcapng section; reads the same in both byte orders.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// The type of a pcapng Decryption Secrets Block whose content is a key log (`docs/keylog.md`): `RLPX`.
pub const SECRETS_TYPE_RLPX: u32 = 0x524c_5058;

/// When a packet was captured: nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Stamp(pub u64);

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// Its place in the file, from 1 on, as Wireshark counts.
    pub number: u64,
    /// When it was captured, if the file tells.
    pub at: Option<Stamp>,
    /// What its first header is: a `LINKTYPE_` value.
    pub link: u16,
    /// What was captured of it.
    pub bytes: &'a [u8],
    /// How long it was on the wire.
    pub wire_bytes: u32,
}

/// One thing in a capture.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// A custom block, for whoever knows its maker's number.
    Custom {
        /// The maker's Private Enterprise Number.
        pen: u32,
        /// The whole block, its own header included.
        bytes: &'a [u8],
    },
    /// A Decryption Secrets Block.
    Secrets {
        /// Whose format it is; see [`SECRETS_TYPE_RLPX`].
        kind: u32,
        /// The secrets.
        bytes: &'a [u8],
    },
    /// A block that describes and holds no packet (a section, an interface, names, statistics), or that nobody knows.
    Other {
        /// The block's type.
        kind: u32,
        /// Whether the format knows the type.
        known: bool,
        /// The whole block.
        bytes: &'a [u8],
    },
    /// Bytes that are not what they should be.
    Broken {
        /// Where they begin in the file.
        offset: u64,
        /// What is wrong.
        why: &'static str,
        /// The first of them, [`BROKEN_BYTES_MAX`] at most.
        bytes: &'a [u8],
    },
}

/// Reads a capture from anything that can be read.
pub struct Reader<R> {
    input: Window<R>,
    format: Format,
    packets: u64,
}

enum Format {
    Unknown,
    Legacy(Legacy),
    Ng(Sections),
    /// The end, or nothing that follows can be made out.
    Over,
}

impl<R: Read> Reader<R> {
    /// A reader at the start of a capture.
    pub fn new(input: R) -> Self {
        Self { input: Window::new(input), format: Format::Unknown, packets: 0 }
    }

    /// The next item; `None` at the end. What is cut off at the end is broken.
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

/// What stands next in the window.
enum Framed {
    /// Nothing.
    End,
    /// An item of so many bytes, all of them there.
    Whole(usize),
    /// Something that has no length, or a length that cannot be.
    Lost(&'static str),
}

/// The part of the input that is looked at: never more than one item and a chunk.
struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Where the window begins in the input.
    offset: u64,
}

impl<R: Read> Window<R> {
    fn new(input: R) -> Self {
        Self { input, buffer: Vec::new(), start: 0, end: 0, offset: 0 }
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Reads until there are `wanted` bytes, or no more come. Tells whether they are there.
    fn fill(&mut self, wanted: usize) -> io::Result<bool> {
        while self.end - self.start < wanted {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                (self.start, self.end) = (0, self.end - self.start);
            }
            // Grown by what has come, not by what is claimed.
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
