//! Synthetic captures: packets in every link type, files in every form.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use etherparse::PacketBuilder;

/// Link types, by their numbers.
pub const LINKS: [(u16, &str); 8] = [
    (0, "null"),
    (1, "Ethernet"),
    (101, "raw"),
    (108, "loop"),
    (113, "Linux cooked"),
    (228, "IPv4"),
    (229, "IPv6"),
    (276, "Linux cooked, version 2"),
];

/// What was said.
#[derive(Clone, Debug)]
pub enum Said {
    Datagram { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Opened { from: SocketAddr, to: SocketAddr },
    Bytes { from: SocketAddr, to: SocketAddr, bytes: Vec<u8> },
    Closed { from: SocketAddr, to: SocketAddr },
}

/// IP packets in order.
#[derive(Clone, Default)]
pub struct Packets {
    pub packets: Vec<Vec<u8>>,
    /// The next sequence number of each direction.
    next: BTreeMap<(SocketAddr, SocketAddr), u32>,
}

const FLAG_FIN: u8 = 1;
const FLAG_SYN: u8 = 2;
const FLAG_ACK: u8 = 16;

impl Packets {
    /// The packets of a conversation, streams cut into segments of `segment_bytes`. Sequence numbers are about to wrap.
    pub fn of(said: &[Said], segment_bytes: usize) -> Self {
        let mut packets = Self::default();
        for said in said {
            match said {
                Said::Datagram { from, to, bytes } => packets.packets.push(udp(*from, *to, bytes)),
                Said::Opened { from, to } => {
                    packets.next.insert((*from, *to), u32::MAX - 500);
                    packets.next.insert((*to, *from), u32::MAX);
                    packets.segment(*from, *to, FLAG_SYN, &[]);
                    packets.segment(*to, *from, FLAG_SYN | FLAG_ACK, &[]);
                }
                Said::Bytes { from, to, bytes } => {
                    for part in bytes.chunks(segment_bytes) {
                        packets.segment(*from, *to, FLAG_ACK, part);
                    }
                }
                Said::Closed { from, to } => {
                    packets.segment(*from, *to, FLAG_FIN | FLAG_ACK, &[]);
                    packets.segment(*to, *from, FLAG_FIN | FLAG_ACK, &[]);
                }
            }
        }
        packets
    }

    fn segment(&mut self, from: SocketAddr, to: SocketAddr, flags: u8, payload: &[u8]) {
        let next = self.next.entry((from, to)).or_default();
        let sequence = *next;
        *next = next.wrapping_add(payload.len() as u32 + u32::from(flags & (FLAG_SYN | FLAG_FIN) != 0));
        self.packets.push(tcp(from, to, sequence, flags, payload));
    }

    /// A capture file, a packet each millisecond.
    pub fn file(&self, link: u16, form: Form) -> Vec<u8> {
        let mut out = form.header(link);
        for (i, packet) in self.packets.iter().enumerate() {
            form.append(&mut out, 1_750_000_000_000_000_000 + i as u64 * 1_000_000, &wrap(link, packet));
        }
        out
    }
}

fn finish<T>(
    step: etherparse::PacketBuilderStep<T>,
    write: impl FnOnce(etherparse::PacketBuilderStep<T>, &mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::new();
    write(step, &mut out);
    out
}

fn ip(from: IpAddr, to: IpAddr) -> etherparse::PacketBuilderStep<etherparse::IpHeaders> {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        _ => panic!("{from} and {to} are of two families"),
    }
}

/// A UDP packet.
pub fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let step = ip(from.ip(), to.ip()).udp(from.port(), to.port());
    finish(step, |step, out| step.write(out, payload).expect("fits"))
}

/// A TCP packet.
pub fn tcp(from: SocketAddr, to: SocketAddr, sequence: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    let mut step = ip(from.ip(), to.ip()).tcp(from.port(), to.port(), sequence, 65535);
    if flags & FLAG_ACK != 0 {
        step = step.ack(1);
    }
    if flags & FLAG_SYN != 0 {
        step = step.syn();
    }
    if flags & FLAG_FIN != 0 {
        step = step.fin();
    }
    finish(step, |step, out| step.write(out, payload).expect("fits"))
}

/// An IP packet behind the header of a link; Ethernet's has a VLAN.
pub fn wrap(link: u16, packet: &[u8]) -> Vec<u8> {
    let is_v6 = packet[0] >> 4 == 6;
    let ether_type = if is_v6 { [0x86, 0xdd] } else { [0x08, 0x00] };
    let header: Vec<u8> = match link {
        0 => vec![if is_v6 { 30 } else { 2 }, 0, 0, 0],
        108 => vec![0, 0, 0, if is_v6 { 24 } else { 2 }],
        1 => [&[2; 12][..], &[0x81, 0x00, 0, 7], &ether_type].concat(),
        113 => [&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0][..], &ether_type].concat(),
        276 => [&ether_type[..], &[0; 18]].concat(),
        _ => Vec::new(),
    };
    [&header[..], packet].concat()
}

/// A form of file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    Pcap { big_endian: bool, nanoseconds: bool },
    Ng { big_endian: bool, nanoseconds: bool },
}

impl Form {
    /// All there are.
    pub fn all() -> impl Iterator<Item = Self> {
        [(false, false), (false, true), (true, false), (true, true)].into_iter().flat_map(
            |(big_endian, nanoseconds)| [Self::Pcap { big_endian, nanoseconds }, Self::Ng { big_endian, nanoseconds }],
        )
    }

    fn is_big_endian(self) -> bool {
        let (Self::Pcap { big_endian, .. } | Self::Ng { big_endian, .. }) = self;
        big_endian
    }

    fn u32(self, out: &mut Vec<u8>, value: u32) {
        out.extend(if self.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    fn u16(self, out: &mut Vec<u8>, value: u16) {
        out.extend(if self.is_big_endian() { value.to_be_bytes() } else { value.to_le_bytes() });
    }

    /// The bytes before the packets.
    pub fn header(self, link: u16) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Pcap { nanoseconds, .. } => {
                self.u32(&mut out, if nanoseconds { 0xa1b2_3c4d } else { 0xa1b2_c3d4 });
                self.u16(&mut out, 2);
                self.u16(&mut out, 4);
                for word in [0, 0, 262_144, link.into()] {
                    self.u32(&mut out, word);
                }
            }
            Self::Ng { nanoseconds, .. } => {
                let mut section = Vec::new();
                self.u32(&mut section, 0x1a2b_3c4d);
                self.u16(&mut section, 1);
                self.u16(&mut section, 0);
                section.extend([0xff; 8]);
                self.block(&mut out, 0x0a0d_0d0a, &section);
                // An interface that nothing comes from, then the one.
                for (link, resolution) in [(147, 6), (link, if nanoseconds { 9 } else { 6 })] {
                    let mut interface = Vec::new();
                    self.u16(&mut interface, link);
                    self.u16(&mut interface, 0);
                    self.u32(&mut interface, 0);
                    self.u16(&mut interface, 9);
                    self.u16(&mut interface, 1);
                    interface.extend([resolution, 0, 0, 0]);
                    self.u32(&mut interface, 0);
                    self.block(&mut out, 1, &interface);
                }
                // A custom block, and one of a type that is still to be invented.
                let mut custom = Vec::new();
                self.u32(&mut custom, 32473);
                custom.extend(b"some other tool.");
                self.block(&mut out, 0x0bad, &custom);
            }
        }
        out
    }

    /// Appends a pcapng block.
    pub fn block(self, out: &mut Vec<u8>, kind: u32, content: &[u8]) {
        let length = content.len().next_multiple_of(4) + 12;
        self.u32(out, kind);
        self.u32(out, length as u32);
        out.extend(content);
        out.resize(out.len() + length - 12 - content.len(), 0);
        self.u32(out, length as u32);
    }

    /// Appends a packet captured at `at`, in nanoseconds since 1970.
    pub fn append(self, out: &mut Vec<u8>, at: u64, packet: &[u8]) {
        let length = packet.len() as u32;
        match self {
            Self::Pcap { nanoseconds, .. } => {
                let fraction = at % 1_000_000_000 / if nanoseconds { 1 } else { 1000 };
                for word in [(at / 1_000_000_000) as u32, fraction as u32, length, length] {
                    self.u32(out, word);
                }
                out.extend(packet);
            }
            Self::Ng { nanoseconds, .. } => {
                let units = if nanoseconds { at } else { at / 1000 };
                let mut block = Vec::new();
                for word in [1, (units >> 32) as u32, units as u32, length, length] {
                    self.u32(&mut block, word);
                }
                block.extend(packet);
                self.block(out, 6, &block);
            }
        }
    }
}
