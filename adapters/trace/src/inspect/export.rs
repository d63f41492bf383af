//! Exports the messages of an inspection as a capture: the output of `--decrypted`.
//!
//! A pcapng file of one interface, `LINKTYPE_WIRESHARK_UPPER_PDU`: each packet is one message without its shared
//! message id, its payload uncompressed, after exported-PDU tags with sender and receiver. The line of text is the
//! packet's comment. Times are those of the packets that completed the messages.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::finding::{Finding, What};
use crate::capture::packet::link;
use crate::pcapng::{self, Note, pad};

/// Exported-PDU tags (`epan/exported_pdu.h`).
const TAG_END: u16 = 0;
const TAG_DISSECTOR_NAME: u16 = 12;
const TAG_IPV4_SOURCE: u16 = 20;
const TAG_IPV4_DESTINATION: u16 = 21;
const TAG_IPV6_SOURCE: u16 = 22;
const TAG_IPV6_DESTINATION: u16 = 23;
const TAG_PORT_TYPE: u16 = 24;
const TAG_PORT_SOURCE: u16 = 25;
const TAG_PORT_DESTINATION: u16 = 26;
/// `OLD_PT_TCP`.
const PORT_TYPE_TCP: u32 = 2;
/// Wireshark's dissector for raw bytes.
const DISSECTOR: &[u8] = b"data";

/// A writer of messages to a pcapng file.
pub struct Exporter<W> {
    out: W,
    /// Encoded bytes that were not written yet.
    blocks: Vec<u8>,
}

impl<W> fmt::Debug for Exporter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exporter").field("buffered_bytes", &self.blocks.len()).finish_non_exhaustive()
    }
}

impl<W: Write> Exporter<W> {
    /// Makes an exporter and writes the start of its file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut exporter = Self { out, blocks: Vec::new() };
        pcapng::section("peerless inspect", &mut exporter.blocks);
        // Nanoseconds.
        pcapng::interface(link::WIRESHARK_UPPER_PDU, None, 9, &mut exporter.blocks);
        exporter.write()?;
        Ok(exporter)
    }

    /// Adds a finding, if it is a message.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, finding: &Finding) -> io::Result<()> {
        let (What::Message(message), Some(place)) = (&finding.what, &finding.place) else { return Ok(()) };
        let (at, line) = (finding.at.map_or(0, |at| at.0), message.to_string());
        pcapng::packet(at, &Note::Comment(&line), &mut self.blocks, |out| {
            append_tag(out, TAG_DISSECTOR_NAME, DISSECTOR);
            append_addr(out, place.from, TAG_IPV4_SOURCE, TAG_IPV6_SOURCE, TAG_PORT_SOURCE);
            append_addr(out, place.to, TAG_IPV4_DESTINATION, TAG_IPV6_DESTINATION, TAG_PORT_DESTINATION);
            append_tag(out, TAG_PORT_TYPE, &PORT_TYPE_TCP.to_be_bytes());
            append_tag(out, TAG_END, &[]);
            out.extend_from_slice(&message.payload);
        });
        self.write()
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn write(&mut self) -> io::Result<()> {
        self.out.write_all(&self.blocks)?;
        self.blocks.clear();
        Ok(())
    }
}

/// Appends an exported-PDU tag; they are big-endian, and their lengths whole words.
fn append_tag(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    out.extend_from_slice(&tag.to_be_bytes());
    out.extend_from_slice(&(value.len().next_multiple_of(4) as u16).to_be_bytes());
    let start = out.len();
    out.extend_from_slice(value);
    pad(start, out);
}

fn append_addr(out: &mut Vec<u8>, addr: SocketAddr, v4: u16, v6: u16, port: u16) {
    match addr.ip() {
        IpAddr::V4(ip) => append_tag(out, v4, &ip.octets()),
        IpAddr::V6(ip) => append_tag(out, v6, &ip.octets()),
    }
    append_tag(out, port, &u32::from(addr.port()).to_be_bytes());
}
