//! Reads a trace: one part after the other, whole blocks, each record only after its digest is verified.
//!
//! Keeps only the bytes since the last record. An error names the first input that cannot be trusted.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcap_parser::pcapng::parse_enhancedpacketblock_le;
use peerless::contract::Devp2p;
use peerless::crypto::{Crypto, Secp256k1};

use super::block::verify;
use super::{
    BLOCK_BYTES_MAX, END, Header, INPUT, Malformed, Record, Recordable, SEGMENT_MAX, VERSION, decode_record, packet,
    record_of,
};
use crate::pcapng::{PACKET, SECTION_HEADER};

/// Why a trace cannot be read any further.
#[derive(Debug)]
#[non_exhaustive]
pub enum Broken {
    /// A file cannot be read.
    Io(io::Error),
    /// The file is not a trace.
    Foreign,
    /// Bytes of the header, of an input, or of packets before it differ from those that were written.
    Changed {
        /// The first input that cannot be trusted; `None` for the header.
        input: Option<u64>,
        /// The part that is read.
        part: u32,
        /// The offset in that part at which the last good record ends.
        offset: u64,
    },
    /// The trace is of an earlier version of the format. Its headers, packets and session secrets can be decoded, its inputs
    /// cannot.
    OldVersion {
        /// The version.
        version: u16,
    },
    /// The digest is right, but the record cannot be decoded.
    Malformed {
        /// The first input that cannot be read.
        input: Option<u64>,
        /// The part of it that could not be decoded.
        why: Malformed,
    },
    /// The next part is missing, or belongs to another trace.
    Part {
        /// Its number.
        part: u32,
    },
    /// The trace ends without an end mark: it is still being written, or its writer was stopped.
    Cut {
        /// The number of inputs that could be read.
        inputs: u64,
    },
}

impl Broken {
    /// The first input that cannot be trusted or read, if it is known.
    pub fn input(&self) -> Option<u64> {
        match self {
            Self::Changed { input, .. } | Self::Malformed { input, .. } => *input,
            Self::Cut { inputs } => Some(*inputs),
            Self::Io(_) | Self::Foreign | Self::Part { .. } | Self::OldVersion { .. } => None,
        }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "cannot be read: {error}"),
            Self::OldVersion { version } => {
                write!(f, "is of version {version} of the format, of which this release reads packets only")
            }
            Self::Foreign => f.write_str("is not a trace of Peerless"),
            Self::Changed { input: Some(input), part, offset } => {
                write!(f, "was changed at input #{input} (part {part}, after byte {offset})")
            }
            Self::Changed { input: None, offset, .. } => write!(f, "was changed in its header (after byte {offset})"),
            Self::Malformed { input: Some(input), why } => write!(f, "cannot be decoded at input #{input}: {why}"),
            Self::Malformed { input: None, why } => write!(f, "cannot be decoded at its header: {why}"),
            Self::Part { part } => write!(f, "continues in part {part}, which is missing or belongs to another trace"),
            Self::Cut { inputs } => write!(f, "is cut off after {inputs} inputs"),
        }
    }
}

// The message includes the cause, so there is no `source`: a chain of messages would repeat it.
impl std::error::Error for Broken {}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The path of a part: the first has the trace's name, the others a number before the extension.
pub fn part_path(first: &Path, part: u32) -> PathBuf {
    if part == 0 {
        return first.to_owned();
    }
    let extension = first.extension().map(|extension| extension.to_string_lossy().into_owned());
    first.with_extension(match extension {
        Some(extension) => format!("{part}.{extension}"),
        None => part.to_string(),
    })
}

/// The option of a packet block with its direction.
const FLAGS: u16 = 2;

/// Opens the part of a number, if it exists.
type Parts = Box<dyn FnMut(u32) -> io::Result<Option<Box<dyn Read>>>>;

/// Reads the records of a trace of the language `L`.
pub struct Reader<L: Recordable = Devp2p> {
    source: Box<dyn Read>,
    parts: Parts,
    crypto: Arc<dyn Crypto + Send + Sync>,
    /// Bytes since the last record.
    segment: Vec<u8>,
    /// The payloads of the packets to the node among them.
    packets: Vec<u8>,
    digest: u64,
    part: u32,
    /// The offset in this part at which `segment` begins.
    offset: u64,
    inputs: u64,
    header_read: bool,
    /// The version that the header tells.
    version: u16,
    is_over: bool,
    language: PhantomData<fn() -> L>,
}

impl<L: Recordable> fmt::Debug for Reader<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Reader");
        debug.field("part", &self.part).field("offset", &self.offset).field("inputs", &self.inputs);
        debug.finish_non_exhaustive()
    }
}

impl Reader {
    /// Opens a trace of a node; see [`Reader::open_as`].
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_as(path)
    }

    /// Reads a trace of a node; see [`Reader::new_as`].
    pub fn new(source: impl Read + 'static) -> Self {
        Self::new_as(source)
    }
}

impl<L: Recordable> Reader<L> {
    /// Opens a file, and later the parts that follow it.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn open_as(path: &Path) -> io::Result<Self> {
        let source = Box::new(BufReader::new(File::open(path)?));
        let first = path.to_owned();
        let next = move |part| match File::open(part_path(&first, part)) {
            Ok(file) => Ok(Some(Box::new(BufReader::new(file)) as Box<dyn Read>)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        };
        Ok(Self::with_parts(source, Box::new(next)))
    }

    /// Reads a trace of one part.
    pub fn new_as(source: impl Read + 'static) -> Self {
        Self::with_parts(Box::new(source), Box::new(|_| Ok(None)))
    }

    fn with_parts(source: Box<dyn Read>, parts: Parts) -> Self {
        Self {
            source,
            parts,
            crypto: Arc::new(Secp256k1::new()),
            segment: Vec::new(),
            packets: Vec::new(),
            digest: 0,
            part: 0,
            offset: 0,
            inputs: 0,
            header_read: false,
            version: VERSION,
            is_over: false,
            language: PhantomData,
        }
    }

    /// Replaces the primitives that check public keys; secp256k1's by default.
    pub fn set_crypto(&mut self, crypto: Arc<dyn Crypto + Send + Sync>) {
        self.crypto = crypto;
    }

    /// The number of inputs that were read.
    pub fn inputs(&self) -> u64 {
        self.inputs
    }

    /// Reads the next record. Skips headers of later parts and seals; returns `None` after `End`.
    ///
    /// # Errors
    /// If the trace cannot be read any further; later calls return `None`.
    pub fn read(&mut self) -> Result<Option<Record<L::OwnedCommand>>, Broken> {
        while !self.is_over {
            let record = self.record().inspect_err(|_| self.is_over = true)?;
            match &record {
                Record::Seal => continue,
                Record::Continued => {
                    self.next_part().inspect_err(|_| self.is_over = true)?;
                    continue;
                }
                Record::Input(_) => self.inputs += 1,
                Record::End { inputs, .. } => {
                    self.is_over = true;
                    if *inputs != self.inputs || self.source.read(&mut [0])? != 0 {
                        return Err(self.changed());
                    }
                }
                Record::Header(_) | Record::Secrets { .. } => {}
            }
            return Ok(Some(record));
        }
        Ok(None)
    }

    fn changed(&self) -> Broken {
        Broken::Changed { input: self.header_read.then_some(self.inputs), part: self.part, offset: self.offset }
    }

    fn malformed(&self, why: &'static str) -> Broken {
        Broken::Malformed { input: self.header_read.then_some(self.inputs), why: Malformed(why) }
    }

    /// Goes to the next part, whose header must continue this one.
    fn next_part(&mut self) -> Result<(), Broken> {
        let (previous, part) = (self.digest, self.part + 1);
        self.source = (self.parts)(part)?.ok_or(Broken::Part { part })?;
        (self.part, self.offset, self.digest) = (part, 0, 0);
        self.segment.clear();
        match self.record()? {
            Record::Header(header) if self.follows(&header, previous) => Ok(()),
            _ => Err(Broken::Part { part }),
        }
    }

    fn follows(&self, header: &Header, previous: u64) -> bool {
        header.part == self.part && header.previous == previous && header.first_input == self.inputs
    }

    /// Reads up to the next record.
    fn record(&mut self) -> Result<Record<L::OwnedCommand>, Broken> {
        self.offset += self.segment.len() as u64;
        self.segment.clear();
        self.packets.clear();
        let at_start = self.offset == 0;
        loop {
            let start = self.segment.len();
            self.block(at_start && start == 0)?;
            let block = &self.segment[start..];
            if block[..4] == PACKET.to_le_bytes() {
                let received = received(block).map_err(|()| self.changed())?;
                self.packets.extend_from_slice(received);
            } else if let Some(record) = record_of(block) {
                self.digest = verify(self.digest, &self.segment).ok_or_else(|| self.changed())?;
                if self.version != VERSION && matches!(record.first(), Some(&(INPUT | END))) {
                    return Err(Broken::OldVersion { version: self.version });
                }
                let record = decode_record::<L>(record, &*self.crypto, &mut self.packets)
                    .map_err(|why| Broken::Malformed { input: self.header_read.then_some(self.inputs), why })?;
                return self.in_order(record);
            }
            if self.segment.len() > SEGMENT_MAX {
                return Err(self.changed());
            }
        }
    }

    /// Checks that a header is the first record of a part, and that inputs are numbered in order.
    fn in_order(&mut self, record: Record<L::OwnedCommand>) -> Result<Record<L::OwnedCommand>, Broken> {
        match &record {
            Record::Header(header) if self.offset == 0 => {
                if !self.header_read && (header.part, header.previous, header.first_input) != (0, 0, 0) {
                    return Err(self.malformed("beginning: this is not the first part"));
                }
                self.header_read = true;
                self.version = header.version;
            }
            Record::Header(_) => return Err(self.malformed("record: a second header")),
            _ if self.offset == 0 => return Err(self.malformed("beginning: no header")),
            Record::Input(input) if input.index != self.inputs => return Err(self.malformed("input: out of order")),
            _ => {}
        }
        Ok(record)
    }

    /// Appends the next whole block to the segment.
    fn block(&mut self, is_first: bool) -> Result<(), Broken> {
        let start = self.segment.len();
        self.fill(8)?;
        let head = &self.segment[start..];
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        if is_first && head[..4] != SECTION_HEADER.to_le_bytes() {
            return Err(Broken::Foreign);
        }
        if !(12..=BLOCK_BYTES_MAX).contains(&length) || !length.is_multiple_of(4) {
            return Err(self.changed());
        }
        self.fill(length - 8)?;
        let block = &self.segment[start..];
        if block[length - 4..] == block[4..8] { Ok(()) } else { Err(self.changed()) }
    }

    /// Appends `n` bytes to the segment; its memory grows with what is there.
    fn fill(&mut self, n: usize) -> Result<(), Broken> {
        let read = (&mut self.source).take(n as u64).read_to_end(&mut self.segment)?;
        if read == n { Ok(()) } else { Err(Broken::Cut { inputs: self.inputs }) }
    }
}

/// The payload of a packet block to the node; empty for a packet that the node sent.
fn received(block: &[u8]) -> Result<&[u8], ()> {
    let (_, block) = parse_enhancedpacketblock_le(block).map_err(|_| ())?;
    let flags = block.options.iter().find(|option| option.code.0 == FLAGS).and_then(|option| option.value.first());
    if flags.is_none_or(|flags| flags & 3 != 1) {
        return Ok(&[]);
    }
    let length = block.caplen as usize;
    packet::payload(block.data.get(..length).ok_or(())?).ok_or(())
}
