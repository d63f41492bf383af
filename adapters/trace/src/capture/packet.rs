//! Extracts the content of a captured packet: a datagram, a segment of a stream, or something else.
//!
//! Parses Ethernet with VLANs, Linux cooked captures of both versions, raw IP and loopback; IPv4 and IPv6, with
//! fragments reassembled within bounds. The crate `etherparse` parses headers. Checksums are not verified: a machine
//! that leaves them to its network card captures none of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use etherparse::defrag::IpDefragBuf;
use etherparse::{
    EtherType, IpFragOffset, IpNumber, Ipv6ExtensionSlice, LaxIpPayloadSlice, LaxNetSlice, LaxSlicedPacket, TcpSlice,
    UdpSlice,
};

use super::{Packet, Stamp};

/// Fragmented packets that are reassembled at the same time, of 64 KiB each at most.
const FRAGMENTED_MAX: usize = 256;
/// Most fragments of one packet: an honest packet of 64 KiB has fewer.
const SECTIONS_MAX: usize = 128;
/// Time after which a packet with missing fragments is dropped (RFC 8200: 60 seconds; Linux: 30).
const FRAGMENTED_NANOSECONDS_MAX: u64 = 30_000_000_000;

/// `LINKTYPE_` values, <https://www.tcpdump.org/linktypes.html>.
#[allow(missing_docs)]
pub mod link {
    pub const NULL: u16 = 0;
    pub const ETHERNET: u16 = 1;
    pub const RAW: u16 = 101;
    pub const LOOP: u16 = 108;
    pub const LINUX_SLL: u16 = 113;
    pub const IPV4: u16 = 228;
    pub const IPV6: u16 = 229;
    pub const WIRESHARK_UPPER_PDU: u16 = 252;
    pub const LINUX_SLL2: u16 = 276;
}

/// A piece of a TCP stream.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// The sender.
    pub from: SocketAddr,
    /// The receiver.
    pub to: SocketAddr,
    /// The first byte's sequence number; the SYN's own in a segment with SYN.
    pub sequence: u32,
    /// Whether the segment has a SYN.
    pub syn: bool,
    /// Whether the segment has an ACK.
    pub ack: bool,
    /// Whether the segment has a FIN.
    pub fin: bool,
    /// Whether the segment has a RST.
    pub rst: bool,
    /// The payload.
    pub payload: &'a [u8],
}

/// The content of a packet.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// A UDP datagram.
    Datagram {
        /// The sender.
        from: SocketAddr,
        /// The receiver.
        to: SocketAddr,
        /// The captured payload.
        payload: &'a [u8],
        /// Whether the payload was longer on the wire.
        is_cut: bool,
    },
    /// A piece of a TCP stream.
    Segment(Segment<'a>),
    /// A fragment of an incomplete packet.
    Fragment,
    /// A valid packet of another protocol.
    Other {
        /// The protocol.
        what: &'static str,
    },
    /// A malformed packet.
    Broken {
        /// The reason.
        why: &'static str,
    },
}

/// Parses packets; holds the fragments of incomplete ones.
#[derive(Default)]
pub struct Dissector {
    fragmented: BTreeMap<FragmentKey, Fragmented>,
    /// The packet that was reassembled last.
    whole: Vec<u8>,
    /// Packets whose fragments were dropped.
    fragmented_lost: u64,
}

impl fmt::Debug for Dissector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dissector")
            .field("fragmented", &self.fragmented.len())
            .field("fragmented_lost", &self.fragmented_lost)
            .finish_non_exhaustive()
    }
}

type FragmentKey = (IpAddr, IpAddr, u32, u8);

struct Fragmented {
    buffer: IpDefragBuf,
    since: Option<Stamp>,
    number: u64,
}

/// The packet that a fragment belongs to.
struct Place {
    key: FragmentKey,
    offset: IpFragOffset,
    more: bool,
}

impl Dissector {
    /// Number of packets that were never complete: too old, too many, or contradictory. Pending ones count.
    pub fn fragmented_lost(&self) -> u64 {
        self.fragmented_lost + self.fragmented.len() as u64
    }

    /// Returns the content of `packet`.
    pub fn dissect<'a>(&'a mut self, packet: &Packet<'a>) -> Content<'a> {
        let sliced = match slice(packet.link, packet.bytes) {
            Ok(sliced) => sliced,
            Err(content) => return content,
        };
        let (from, to, payload) = match &sliced.net {
            Some(LaxNetSlice::Ipv4(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload().clone())
            }
            Some(LaxNetSlice::Ipv6(ip)) => {
                (ip.header().source_addr().into(), ip.header().destination_addr().into(), ip.payload().clone())
            }
            Some(LaxNetSlice::Arp(_)) => return Content::Other { what: "ARP" },
            None if sliced.stop_err.is_some() => return Content::Broken { why: "no readable IP header" },
            None => return Content::Other { what: "not IP" },
        };
        let LaxIpPayloadSlice { ip_number, fragmented, incomplete, payload, .. } = payload;
        if !fragmented {
            return transport(from, to, ip_number, payload, incomplete);
        }
        let Some(place) = place(&sliced, from, to, ip_number) else {
            return Content::Broken { why: "a fragment without its place" };
        };
        if incomplete {
            return Content::Broken { why: "a fragment that was not captured whole" };
        }
        match self.collect(&place, ip_number, payload, packet) {
            Ok(true) => transport(from, to, ip_number, &self.whole, false),
            Ok(false) => Content::Fragment,
            Err(why) => Content::Broken { why },
        }
    }

    /// Adds a fragment; returns whether its packet is complete.
    fn collect(
        &mut self,
        place: &Place,
        ip_number: IpNumber,
        payload: &[u8],
        packet: &Packet<'_>,
    ) -> Result<bool, &'static str> {
        self.give_up(packet.at);
        let fragmented = self.fragmented.entry(place.key).or_insert_with(|| Fragmented {
            buffer: IpDefragBuf::new(ip_number, Vec::new(), Vec::new()),
            since: packet.at,
            number: packet.number,
        });
        let added = fragmented.buffer.add(place.offset, place.more, payload);
        if added.is_err() || fragmented.buffer.sections().len() > SECTIONS_MAX {
            self.fragmented.remove(&place.key);
            self.fragmented_lost += 1;
            return Err("fragments that contradict each other");
        }
        if !fragmented.buffer.is_complete() {
            return Ok(false);
        }
        if let Some(fragmented) = self.fragmented.remove(&place.key) {
            (self.whole, _) = fragmented.buffer.take_bufs();
        }
        Ok(true)
    }

    /// Drops packets that are too old, and the oldest if there are too many.
    fn give_up(&mut self, now: Option<Stamp>) {
        let before = self.fragmented.len();
        self.fragmented.retain(|_, fragmented| match (fragmented.since, now) {
            (Some(since), Some(now)) => now.0.saturating_sub(since.0) <= FRAGMENTED_NANOSECONDS_MAX,
            _ => true,
        });
        if self.fragmented.len() >= FRAGMENTED_MAX
            && let Some(oldest) = self.fragmented.iter().min_by_key(|(_, fragmented)| fragmented.number)
        {
            let key = *oldest.0;
            self.fragmented.remove(&key);
        }
        self.fragmented_lost += (before - self.fragmented.len()) as u64;
    }
}

/// Parses the headers, from the link layer on.
fn slice(link: u16, bytes: &[u8]) -> Result<LaxSlicedPacket<'_>, Content<'_>> {
    const CUT: Content<'_> = Content::Broken { why: "too short for its link header" };
    let ip = |bytes| LaxSlicedPacket::from_ip(bytes).map_err(|_| Content::Broken { why: "no readable IP header" });
    match link {
        link::ETHERNET => LaxSlicedPacket::from_ethernet(bytes).map_err(|_| CUT),
        link::RAW | link::IPV4 | link::IPV6 => ip(bytes),
        // The address family is in the byte order of the capturing machine, or in network order.
        link::NULL | link::LOOP => match bytes.split_first_chunk() {
            Some(([0, 0, 0, 2 | 24 | 28 | 30] | [2 | 24 | 28 | 30, 0, 0, 0], rest)) => ip(rest),
            Some(_) => Err(Content::Other { what: "not IP" }),
            None => Err(CUT),
        },
        link::LINUX_SLL => cooked(bytes, 14, 16).ok_or(CUT),
        link::LINUX_SLL2 => cooked(bytes, 0, 20).ok_or(CUT),
        _ => Err(Content::Other { what: "unknown link type" }),
    }
}

/// Returns the packet after a Linux cooked header of `header_bytes` with its protocol at `protocol_at`.
fn cooked(bytes: &[u8], protocol_at: usize, header_bytes: usize) -> Option<LaxSlicedPacket<'_>> {
    let protocol = bytes.get(protocol_at..)?.first_chunk()?;
    let payload = bytes.get(header_bytes..)?;
    Some(LaxSlicedPacket::from_ether_type(EtherType(u16::from_be_bytes(*protocol)), payload))
}

fn place(sliced: &LaxSlicedPacket<'_>, from: IpAddr, to: IpAddr, ip_number: IpNumber) -> Option<Place> {
    let (id, offset, more) = match sliced.net.as_ref()? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            (header.identification().into(), header.fragments_offset(), header.more_fragments())
        }
        LaxNetSlice::Ipv6(ip) => ip.extensions().clone().into_iter().find_map(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(fragment) => {
                Some((fragment.identification(), fragment.fragment_offset(), fragment.more_fragments()))
            }
            _ => None,
        })?,
        LaxNetSlice::Arp(_) => return None,
    };
    Some(Place { key: (from, to, id, ip_number.0), offset, more })
}

fn transport(from: IpAddr, to: IpAddr, ip_number: IpNumber, payload: &[u8], is_cut: bool) -> Content<'_> {
    match ip_number {
        IpNumber::UDP => match UdpSlice::from_slice_lax(payload) {
            Ok(udp) => Content::Datagram {
                from: SocketAddr::new(from, udp.source_port()),
                to: SocketAddr::new(to, udp.destination_port()),
                payload: udp.payload(),
                is_cut: is_cut || usize::from(udp.length()) > payload.len(),
            },
            Err(_) => Content::Broken { why: "no readable UDP header" },
        },
        IpNumber::TCP => match TcpSlice::from_slice(payload) {
            Ok(tcp) => Content::Segment(Segment {
                from: SocketAddr::new(from, tcp.source_port()),
                to: SocketAddr::new(to, tcp.destination_port()),
                sequence: tcp.sequence_number(),
                syn: tcp.syn(),
                ack: tcp.ack(),
                fin: tcp.fin(),
                rst: tcp.rst(),
                payload: tcp.payload(),
            }),
            Err(_) => Content::Broken { why: "no readable TCP header" },
        },
        IpNumber::ICMP | IpNumber::IPV6_ICMP => Content::Other { what: "ICMP" },
        _ => Content::Other { what: "neither TCP nor UDP" },
    }
}
