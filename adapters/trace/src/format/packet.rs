//! IP packets around the payloads of datagrams and streams: headers are made here, with right lengths and checksums.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpNumber, Ipv4Header, Ipv6Header, SlicedPacket, TcpHeader, TransportSlice, UdpHeader};

/// As most systems set it.
const HOP_LIMIT: u8 = 64;
/// Bytes of one segment at most: with its headers it fits any IP packet.
pub(crate) const SEGMENT_BYTES_MAX: usize = 60_000;
/// Bytes of a datagram that fits an IP packet of either family.
pub(crate) const DATAGRAM_BYTES_MAX: usize = 65_507;
/// Windows are never full: 65,535 bytes scaled by 2^14.
const WINDOW_SCALE: [u8; 4] = [1, 3, 3, 14];

/// One segment's place in its stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Segment {
    pub seq: u32,
    pub ack: u32,
    pub syn: bool,
    pub fin: bool,
    pub rst: bool,
    /// Set but on the first.
    pub has_ack: bool,
}

/// Appends a datagram from one address to another of the same family, at most [`DATAGRAM_BYTES_MAX`] long.
pub(crate) fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8], out: &mut Vec<u8>) {
    let length = UdpHeader::LEN + payload.len();
    let header = match ip(from.ip(), to.ip(), IpNumber::UDP, length, out) {
        Some(Ip::V4(ip)) => UdpHeader::with_ipv4_checksum(from.port(), to.port(), &ip, payload).ok(),
        Some(Ip::V6(ip)) => UdpHeader::with_ipv6_checksum(from.port(), to.port(), &ip, payload).ok(),
        None => None,
    };
    if let Some(header) = header {
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(payload);
    }
}

/// Appends a segment, at most [`SEGMENT_BYTES_MAX`] long.
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
    let length = header.header_len() + payload.len();
    let checksum = match ip(from.ip(), to.ip(), IpNumber::TCP, length, out) {
        Some(Ip::V4(ip)) => header.calc_checksum_ipv4(&ip, payload).ok(),
        Some(Ip::V6(ip)) => header.calc_checksum_ipv6(&ip, payload).ok(),
        None => None,
    };
    if let Some(checksum) = checksum {
        header.checksum = checksum;
        out.extend_from_slice(&header.to_bytes());
        out.extend_from_slice(payload);
    }
}

enum Ip {
    V4(Ipv4Header),
    V6(Ipv6Header),
}

/// Appends an IP header. `None`, and nothing, for addresses of two families or a payload beyond 64 KiB.
fn ip(from: IpAddr, to: IpAddr, protocol: IpNumber, payload: usize, out: &mut Vec<u8>) -> Option<Ip> {
    let payload_length = u16::try_from(payload).ok()?;
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let header = Ipv4Header::new(payload_length, HOP_LIMIT, protocol, from.octets(), to.octets()).ok()?;
            header.write(out).ok()?;
            Some(Ip::V4(header))
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
            header.write(out).ok()?;
            Some(Ip::V6(header))
        }
        _ => None,
    }
}

/// What a packet made here carries.
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

    /// The sum of 16-bit words, as RFC 1071 has it, over pseudo header and content: all ones if the checksum is right.
    fn sum(packet: &[u8], v6: bool) -> u16 {
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
        fn packets_are_whole(v6: bool, length in 0usize..3000, seq: u32, fill: u8) {
            let (from, to) = addrs(v6);
            let content = vec![fill; length];
            let mut packet = Vec::new();
            udp(from, to, &content, &mut packet);
            prop_assert_eq!(payload(&packet), Some(&content[..]));
            prop_assert_eq!(sum(&packet, v6), 0xffff);
            packet.clear();
            tcp(from, to, Segment { seq, has_ack: true, syn: length == 0, ..Segment::default() }, &content, &mut packet);
            prop_assert_eq!(payload(&packet), Some(&content[..]));
            prop_assert_eq!(sum(&packet, v6), 0xffff);
        }
    }

    #[test]
    fn the_largest_fit() {
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
