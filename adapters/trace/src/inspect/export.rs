//! The messages of an inspection as a capture of their own: what `--decrypted` writes.
//!
//! A pcapng file of one interface, `LINKTYPE_WIRESHARK_UPPER_PDU`: each packet is one message, its shared-space message id
//! gone, its payload uncompressed, behind exported-PDU tags that say from where to where it went. The line that a person
//! would read is the packet's comment. Times are those of the packets that completed the messages.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::finding::{Finding, What};
use crate::capture::packet::link;

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
/// Wireshark's dissector for bytes that have none.
const DISSECTOR: &[u8] = b"data";

const OPTION_END: u16 = 0;
const OPTION_COMMENT: u16 = 1;
const OPTION_USER_APPLICATION: u16 = 4;
const OPTION_TIME_RESOLUTION: u16 = 9;

/// Writes messages to a pcapng file.
pub struct Exporter<W> {
    out: W,
    block: Vec<u8>,
}

impl<W: Write> Exporter<W> {
    /// An exporter that has begun its file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn new(out: W) -> io::Result<Self> {
        let mut exporter = Self { out, block: Vec::new() };
        let section = &mut exporter.block;
        section.extend_from_slice(&0x1a2b_3c4du32.to_le_bytes());
        section.extend_from_slice(&[1, 0, 0, 0]);
        section.extend_from_slice(&u64::MAX.to_le_bytes());
        append_option(section, OPTION_USER_APPLICATION, b"peerless inspect");
        append_option(section, OPTION_END, &[]);
        exporter.write_block(0x0a0d_0d0a)?;
        let interface = &mut exporter.block;
        interface.extend_from_slice(&u32::from(link::WIRESHARK_UPPER_PDU).to_le_bytes());
        interface.extend_from_slice(&0u32.to_le_bytes());
        append_option(interface, OPTION_TIME_RESOLUTION, &[9]);
        append_option(interface, OPTION_END, &[]);
        exporter.write_block(1)?;
        Ok(exporter)
    }

    /// Adds a finding, if it is a message.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn add(&mut self, finding: &Finding) -> io::Result<()> {
        let (What::Message(message), Some(place)) = (&finding.what, &finding.place) else { return Ok(()) };
        let mut packet = Vec::with_capacity(message.payload.len() + 128);
        append_tag(&mut packet, TAG_DISSECTOR_NAME, DISSECTOR);
        append_addr(&mut packet, place.from, TAG_IPV4_SOURCE, TAG_IPV6_SOURCE, TAG_PORT_SOURCE);
        append_addr(&mut packet, place.to, TAG_IPV4_DESTINATION, TAG_IPV6_DESTINATION, TAG_PORT_DESTINATION);
        append_tag(&mut packet, TAG_PORT_TYPE, &PORT_TYPE_TCP.to_be_bytes());
        append_tag(&mut packet, TAG_END, &[]);
        packet.extend_from_slice(&message.payload);

        let at = finding.at.map_or(0, |at| at.0);
        let length = u32::try_from(packet.len()).map_err(io::Error::other)?;
        for word in [0, (at >> 32) as u32, at as u32, length, length] {
            self.block.extend_from_slice(&word.to_le_bytes());
        }
        self.block.extend_from_slice(&packet);
        pad(&mut self.block);
        append_option(&mut self.block, OPTION_COMMENT, message.to_string().as_bytes());
        append_option(&mut self.block, OPTION_END, &[]);
        self.write_block(6)
    }

    /// Ends the file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn write_block(&mut self, kind: u32) -> io::Result<()> {
        let length = u32::try_from(self.block.len() + 12).map_err(io::Error::other)?.to_le_bytes();
        self.out.write_all(&kind.to_le_bytes())?;
        self.out.write_all(&length)?;
        self.out.write_all(&self.block)?;
        self.out.write_all(&length)?;
        self.block.clear();
        Ok(())
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// Appends a pcapng option; what is longer than an option can be is cut.
fn append_option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    out.extend_from_slice(value);
    pad(out);
}

/// Appends an exported-PDU tag; they are big-endian, and their lengths whole words.
fn append_tag(out: &mut Vec<u8>, tag: u16, value: &[u8]) {
    out.extend_from_slice(&tag.to_be_bytes());
    out.extend_from_slice(&(value.len().next_multiple_of(4) as u16).to_be_bytes());
    out.extend_from_slice(value);
    pad(out);
}

fn append_addr(out: &mut Vec<u8>, addr: SocketAddr, v4: u16, v6: u16, port: u16) {
    match addr.ip() {
        IpAddr::V4(ip) => append_tag(out, v4, &ip.octets()),
        IpAddr::V6(ip) => append_tag(out, v6, &ip.octets()),
    }
    append_tag(out, port, &u32::from(addr.port()).to_be_bytes());
}
