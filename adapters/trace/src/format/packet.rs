//! IP packets around the payloads of datagrams and streams: their headers and checksums.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, SlicedPacket, TcpHeader, TransportSlice, UdpHeader};

/// The usual default of operating systems.
const HOP_LIMIT: u8 = 64;
/// The most bytes in one segment: with its headers it fits any IP packet.
pub(crate) const SEGMENT_BYTES_MAX: usize = 60_000;
/// The most bytes in a datagram that fits an IP packet of either family.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_507;
/// The TCP option for the largest window: 65,535 bytes scaled by 2^14.
const WINDOW_SCALE: [u8; 4] = [1, 3, 3, 14];

/// The sequence numbers and flags of a segment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// Set except on the first segment.
    pub has_ack: bool,
}

/// The offset of the checksum in a TCP header.
const TCP_CHECKSUM: usize = 16;
/// The offset of the checksum in a UDP header.
const UDP_CHECKSUM: usize = 6;
/// The offset of the checksum in an IPv4 header.
const IPV4_CHECKSUM: usize = 10;

/// Appends a datagram from one address to another of the same family, at most [`DATAGRAM_BYTES_MAX`] long, without
/// checksums; [`complete`] sets those.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8], out: &mut Vec<u8>) {
    let Ok(length) = u16::try_from(UdpHeader::LEN + payload.len()) else { return };
    if ip(from.ip(), to.ip(), IpNumber::UDP, length, out) {
        let (source_port, destination_port) = (from.port(), to.port());
        let header = UdpHeader { source_port, destination_port, length, checksum: 0 };
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(payload);
    }
}

/// Appends a segment, at most [`SEGMENT_BYTES_MAX`] long, without checksums.
pub(crate) fn tcp(from: SocketAddr, to: SocketAddr, segment: Segment, payload: &[u8], out: &mut Vec<u8>) {
    let Segment { seq, ack, syn, fin, rst, has_ack } = segment;
    let mut header = TcpHeader::new(from.port(), to.port(), seq, u16::MAX);
    header.acknowledgment_number = ack;
    (header.syn, header.fin, header.rst, header.ack) = (syn, fin, rst, has_ack);
    header.psh = !payload.is_empty();
    if syn {
        // Four bytes always fit.
        let _ = header.set_options_raw(&WINDOW_SCALE);
    }
    let Ok(length) = u16::try_from(header.header_len() + payload.len()) else { return };
    if ip(from.ip(), to.ip(), IpNumber::TCP, length, out) {
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(payload);
    }
}

/// Appends an IP header. Returns `false` and appends nothing for addresses of two families.
fn ip(from: IpAddr, to: IpAddr, protocol: IpNumber, payload_length: u16, out: &mut Vec<u8>) -> bool {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(payload_length, HOP_LIMIT, protocol, from.octets(), to.octets());
            let Ok(header) = header else { return false };
            out.extend_from_slice(&header.to_bytes());
            true
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let header = Ipv6Header {
                payload_length,
                next_header: protocol,
                hop_limit: HOP_LIMIT,
                source: from.octets(),
                destination: to.octets(),
                ..Ipv6Header::default()
            };
            out.extend_from_slice(&header.to_bytes());
            true
        }
        _ => false,
    }
}

/// Sets the checksums of a packet of [`udp`] or [`tcp`] (RFC 791, 768, 9293, 8200).
pub(crate) fn complete(packet: &mut [u8]) {
    let is_v4 = packet.first().is_some_and(|byte| byte >> 4 == 4);
    let (header, addresses) = if is_v4 { (Ipv4Header::MIN_LEN, 12) } else { (Ipv6Header::LEN, 8) };
    if packet.len() < header {
        return;
    }
    let (header, content) = packet.split_at_mut(header);
    let protocol = if is_v4 { header[9] } else { header[6] };
    if is_v4 {
        let sum = fold(sum(header));
        header[IPV4_CHECKSUM..IPV4_CHECKSUM + 2].copy_from_slice(&sum.to_ne_bytes());
    }
    let at = if protocol == IpNumber::TCP.0 { TCP_CHECKSUM } else { UDP_CHECKSUM };
    if content.len() < at + 2 {
        return;
    }
    let pseudo = sum(&header[addresses..]) + sum(&[0, protocol]) + sum(&(content.len() as u16).to_be_bytes());
    let mut checksum = fold(pseudo + sum(content));
    if checksum == 0 && protocol == IpNumber::UDP.0 {
        // 0 means that there is no checksum.
        checksum = u16::MAX;
    }
    content[at..at + 2].copy_from_slice(&checksum.to_ne_bytes());
}

/// The sum of words in the byte order of the machine, which does not change the checksum (RFC 1071, section 2 (B)).
fn sum(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    words.iter().map(|word| u64::from(u32::from_ne_bytes(*word))).sum::<u64>() + u64::from(u32::from_ne_bytes(last))
}

/// The complement of the sum in 16 bits, with the carries added again.
fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

/// The payload of a packet of [`udp`] or [`tcp`].
pub(crate) fn payload(packet: &[u8]) -> Option<&[u8]> {
    match SlicedPacket::from_ip(packet).ok()?.transport? {
        TransportSlice::Udp(udp) => Some(udp.payload()),
        TransportSlice::Tcp(tcp) => Some(tcp.payload()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addrs(v6: bool) -> (SocketAddr, SocketAddr) {
        let texts = if v6 { ("[2001:db8::1]:7", "[::1]:8") } else { ("10.0.0.1:7", "192.0.2.9:8") };
        (texts.0.parse().unwrap(), texts.1.parse().unwrap())
    }

    /// The sum of 16-bit words (RFC 1071) over pseudo header and content: all ones if the checksum is right.
    fn verified(packet: &[u8], v6: bool) -> u16 {
        let (addresses, content, protocol) =
            if v6 { (&packet[8..40], &packet[40..], packet[6]) } else { (&packet[12..20], &packet[20..], packet[9]) };
        let pseudo = [addresses, &(content.len() as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat();
        let words = |bytes: &[u8]| -> u64 {
            bytes.chunks(2).map(|word| u64::from(word[0]) << 8 | u64::from(*word.get(1).unwrap_or(&0))).sum()
        };
        let mut sum = words(&pseudo) + words(content);
        while sum > 0xffff {
            sum = (sum >> 16) + (sum & 0xffff);
        }
        sum as u16
    }

    proptest! {
        #[test]
        fn packets_carry_their_payload_and_right_checksums(v6: bool, length in 0usize..3000, seq: u32, fill: u8) {
            let (from, to) = addrs(v6);
            let content = vec![fill; length];
            let mut packet = Vec::new();
            udp(from, to, &content, &mut packet);
            complete(&mut packet);
            prop_assert_eq!(payload(&packet), Some(&content[..]));
            prop_assert_eq!(verified(&packet, v6), 0xffff);
            packet.clear();
            tcp(from, to, Segment { seq, has_ack: true, syn: length == 0, ..Segment::default() }, &content, &mut packet);
            complete(&mut packet);
            prop_assert_eq!(payload(&packet), Some(&content[..]));
            prop_assert_eq!(verified(&packet, v6), 0xffff);
        }
    }

    #[test]
    fn checksums_are_those_of_etherparse() {
        let (from, to) = addrs(false);
        for length in 0..70 {
            let content: Vec<u8> = (0..length).map(|at| at ^ 0xa5).collect();
            let mut packet = Vec::new();
            udp(from, to, &content, &mut packet);
            complete(&mut packet);
            let (ip, rest) = Ipv4Header::from_slice(&packet).unwrap();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            let (udp, rest) = UdpHeader::from_slice(rest).unwrap();
            assert_eq!(udp.checksum, udp.calc_checksum_ipv4(&ip, rest).unwrap());
        }
    }

    #[test]
    fn a_checksum_that_would_be_zero_is_written_as_all_ones() {
        let (from, to) = addrs(false);
        let mut packet = Vec::new();
        udp(from, to, &[0, 0], &mut packet);
        complete(&mut packet);
        let checksum = [packet[26], packet[27]];
        // This content makes the sum over the rest all ones.
        let mut packet = Vec::new();
        udp(from, to, &checksum, &mut packet);
        complete(&mut packet);
        assert_eq!([packet[26], packet[27]], [0xff, 0xff]);
    }

    #[test]
    fn the_largest_payloads_fit_into_a_packet() {
        for v6 in [false, true] {
            let (from, to) = addrs(v6);
            let mut packet = Vec::new();
            udp(from, to, &vec![1; DATAGRAM_BYTES_MAX], &mut packet);
            assert_eq!(payload(&packet).map(<[u8]>::len), Some(DATAGRAM_BYTES_MAX));
            packet.clear();
            tcp(from, to, Segment { syn: true, ..Segment::default() }, &vec![1; SEGMENT_BYTES_MAX], &mut packet);
            assert_eq!(payload(&packet).map(<[u8]>::len), Some(SEGMENT_BYTES_MAX));
        }
    }
}
