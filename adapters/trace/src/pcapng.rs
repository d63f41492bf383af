//! Encodes pcapng blocks, little-endian: section, interface, enhanced packet, options.
//!
//! Implements the parts of the pcapng specification (draft-ietf-opsawg-pcapng) that traces and exported messages need.
//! [`crate::capture`] and [`crate::format`] read.

/// Section Header Block.
pub(crate) const SECTION_HEADER: u32 = 0x0a0d_0d0a;
/// Interface Description Block.
pub(crate) const INTERFACE: u32 = 1;
/// Enhanced Packet Block.
pub(crate) const PACKET: u32 = 6;
/// Custom Block that tools must not copy into modified files.
pub(crate) const CUSTOM: u32 = 0x4000_0bad;

/// The byte order mark.
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

const OPTION_COMMENT: u16 = 1;
const OPTION_END: u16 = 0;
const OPTION_USER_APPLICATION: u16 = 4;
const OPTION_INTERFACE_NAME: u16 = 2;
const OPTION_TIME_RESOLUTION: u16 = 9;
const OPTION_PACKET_FLAGS: u16 = 2;

/// Bytes before the packet data of an enhanced packet block: type and length, interface, stamp, lengths.
pub(crate) const PACKET_HEAD: usize = 28;

/// Appends a block with the content that `write` appends.
pub(crate) fn block(kind: u32, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    write(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out[start + 4..start + 8].copy_from_slice(&length);
    out.extend_from_slice(&length);
}

/// Appends the header of a section of unknown length.
pub(crate) fn section(application: &str, out: &mut Vec<u8>) {
    block(SECTION_HEADER, out, |out| {
        out.extend_from_slice(&BYTE_ORDER.to_le_bytes());
        // Version 1.0.
        out.extend_from_slice(&[1, 0, 0, 0]);
        out.extend_from_slice(&u64::MAX.to_le_bytes());
        option(OPTION_USER_APPLICATION, application.as_bytes(), out);
        end_options(out);
    });
}

/// Appends an interface with its link type, and the power of ten of its stamps' units in a second.
pub(crate) fn interface(link: u16, name: Option<&str>, resolution: u8, out: &mut Vec<u8>) {
    block(INTERFACE, out, |out| {
        out.extend_from_slice(&u32::from(link).to_le_bytes());
        // Unlimited packet length.
        out.extend_from_slice(&[0; 4]);
        if let Some(name) = name {
            option(OPTION_INTERFACE_NAME, name.as_bytes(), out);
        }
        option(OPTION_TIME_RESOLUTION, &[resolution], out);
        end_options(out);
    });
}

/// The options of a packet.
pub(crate) enum Note<'a> {
    /// The direction: 1 inbound, 2 outbound.
    Flags(u32),
    /// A comment.
    Comment(&'a str),
}

/// Appends a packet of the only interface with the data that `write` appends, at `stamp` units since 1970.
pub(crate) fn packet(at: u64, note: &Note<'_>, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    block(PACKET, out, |out| {
        let mut head = [0; PACKET_HEAD - 8];
        head[4..8].copy_from_slice(&((at >> 32) as u32).to_le_bytes());
        head[8..12].copy_from_slice(&(at as u32).to_le_bytes());
        out.extend_from_slice(&head);
        let start = out.len();
        write(out);
        let length = ((out.len() - start) as u32).to_le_bytes();
        out[start - 8..start - 4].copy_from_slice(&length);
        out[start - 4..start].copy_from_slice(&length);
        pad(start, out);
        match note {
            Note::Flags(flags) => option(OPTION_PACKET_FLAGS, &flags.to_le_bytes(), out),
            Note::Comment(text) => option(OPTION_COMMENT, text.as_bytes(), out),
        }
        end_options(out);
    });
}

/// Pads to the next multiple of four bytes from `start`.
pub(crate) fn pad(start: usize, out: &mut Vec<u8>) {
    let over = (out.len() - start) % 4;
    if over != 0 {
        out.extend_from_slice(&[0; 3][..4 - over]);
    }
}

/// Appends an option, cut to the largest size of an option.
fn option(code: u16, value: &[u8], out: &mut Vec<u8>) {
    let value = value.get(..usize::from(u16::MAX)).unwrap_or(value);
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    let start = out.len();
    out.extend_from_slice(value);
    pad(start, out);
}

fn end_options(out: &mut Vec<u8>) {
    option(OPTION_END, &[], out);
}
