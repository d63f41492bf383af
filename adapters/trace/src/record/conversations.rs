//! The conversations in packets: substitutes for unknown addresses, and TCP's numbers of every stream.
//!
//! The kernel's segments are not known, so they are synthetic, as on a network without faults: a handshake when a stream
//! opens, segments in order, an acknowledgement when much is outstanding, FIN or RST at the end. Only payloads and their
//! order are recorded.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use peerless::contract::{ConnId, IoFault};
use peerless::netfilter::{Scope, scope};

use crate::format::{self, Blocks, SEGMENT_BYTES_MAX, Segment, Way};

/// The addresses of a node that does not know its own (RFC 5737, RFC 3849).
const UNKNOWN_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const UNKNOWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
/// The substitute for an unknown port.
const UNKNOWN_PORT: u16 = 30303;
/// The local ports of dialled streams, in turn: the range of operating systems.
const FIRST_EPHEMERAL_PORT: u16 = 49152;
const EPHEMERAL_PORTS: u64 = 16384;
/// The number of outstanding bytes after which an acknowledgement is written.
const UNACKNOWLEDGED_MAX: u32 = 1 << 20;

/// The distance between the first sequence numbers of two streams, so that a reused pair of ports is recognised.
const FIRST_NUMBER_STEP: u32 = 64_000_007;

const SYN: Flags = Flags { syn: true, fin: false, rst: false };

/// One direction of a stream.
#[derive(Clone, Copy, Debug)]
struct Half {
    /// The number of the next byte.
    next: u32,
    /// The number up to which the other side has acknowledged.
    acknowledged: u32,
    has_begun: bool,
    is_over: bool,
}

impl Half {
    const fn new(first: u32) -> Self {
        Self { next: first, acknowledged: first, has_begun: false, is_over: false }
    }
}

#[derive(Clone, Copy, Debug)]
struct Stream {
    local: SocketAddr,
    remote: SocketAddr,
    ours: Half,
    theirs: Half,
    is_open: bool,
}

/// The addresses of the node and the state of its streams in packets.
pub(super) struct Conversations {
    udp: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    ports: (u16, u16),
    /// The streams of the node's connections.
    streams: BTreeMap<ConnId, Stream>,
    /// The stream whose acceptance is not decided yet.
    incoming: Option<Stream>,
    opened: u32,
}

impl Conversations {
    /// Creates the conversations. `ports` are the UDP and TCP ports of addresses that are not known.
    pub(super) fn new(udp: Option<SocketAddr>, tcp: Option<SocketAddr>, ports: (u16, u16)) -> Self {
        Self { udp, tcp, ports, streams: BTreeMap::new(), incoming: None, opened: 0 }
    }

    /// Our address for datagrams in packets with `remote`.
    pub(super) fn udp_of(&self, remote: IpAddr) -> SocketAddr {
        local(self.udp, self.ports.0, remote)
    }

    fn stream(&mut self, local: SocketAddr, remote: SocketAddr, is_open: bool) -> Stream {
        self.opened = self.opened.wrapping_add(1);
        let first = Half::new(self.opened.wrapping_mul(FIRST_NUMBER_STEP));
        Stream { local, remote, ours: first, theirs: first, is_open }
    }

    /// Notes a dial. Its packet is written once the local port is known, or the dial has failed.
    pub(super) fn dial(&mut self, conn: ConnId, to: SocketAddr) {
        let port = FIRST_EPHEMERAL_PORT + (conn.0 % EPHEMERAL_PORTS) as u16;
        let local = SocketAddr::new(local(self.tcp, self.ports.1, to.ip()).ip(), port);
        let stream = self.stream(local, to, false);
        self.streams.insert(conn, stream);
    }

    /// Notes that a dial is connected, from `local` if the driver knows it.
    pub(super) fn connected(&mut self, conn: ConnId, local: Option<SocketAddr>, stamp: u64, blocks: &mut Blocks) {
        if let Some(stream) = self.streams.get_mut(&conn).filter(|stream| !stream.is_open) {
            stream.local = local.unwrap_or(stream.local);
            stream.show(Way::Out, SYN, &[], stamp, blocks);
            stream.show(Way::In, SYN, &[], stamp, blocks);
            stream.show(Way::Out, Flags::default(), &[], stamp, blocks);
            stream.is_open = true;
        }
    }

    /// Notes an incoming stream, before the node has decided about it.
    pub(super) fn incoming(&mut self, from: SocketAddr, stamp: u64, blocks: &mut Blocks) {
        let local = local(self.tcp, self.ports.1, from.ip());
        let mut stream = self.stream(local, from, true);
        stream.show(Way::In, SYN, &[], stamp, blocks);
        stream.show(Way::Out, SYN, &[], stamp, blocks);
        stream.show(Way::In, Flags::default(), &[], stamp, blocks);
        self.incoming = Some(stream);
    }

    /// Notes whether the node has accepted the incoming stream.
    pub(super) fn accepted(&mut self, conn: Option<ConnId>, stamp: u64, blocks: &mut Blocks) {
        let Some(mut stream) = self.incoming.take() else { return };
        match conn {
            Some(conn) => drop(self.streams.insert(conn, stream)),
            None => stream.finish(Way::Out, stamp, blocks),
        }
    }

    /// Writes received bytes. Returns `false` for an unknown stream, of which there are no packets.
    pub(super) fn received(&mut self, conn: ConnId, bytes: &[u8], stamp: u64, blocks: &mut Blocks) -> bool {
        self.carry(Way::In, conn, bytes, stamp, blocks)
    }

    /// Writes sent bytes.
    pub(super) fn sent(&mut self, conn: ConnId, bytes: &[u8], stamp: u64, blocks: &mut Blocks) {
        self.carry(Way::Out, conn, bytes, stamp, blocks);
    }

    fn carry(&mut self, way: Way, conn: ConnId, bytes: &[u8], stamp: u64, blocks: &mut Blocks) -> bool {
        let stream = self.streams.get_mut(&conn).filter(|stream| stream.is_open);
        let Some(stream) = stream.filter(|stream| !stream.half(way).is_over) else { return false };
        for segment in bytes.chunks(SEGMENT_BYTES_MAX) {
            stream.show(way, Flags::default(), segment, stamp, blocks);
            let half = stream.half(way);
            if half.next.wrapping_sub(half.acknowledged) > UNACKNOWLEDGED_MAX {
                stream.show(way.back(), Flags::default(), &[], stamp, blocks);
            }
        }
        true
    }

    /// Notes that the other side has closed its half.
    pub(super) fn eof(&mut self, conn: ConnId, stamp: u64, blocks: &mut Blocks) {
        if let Some(stream) = self.streams.get_mut(&conn) {
            stream.finish(Way::In, stamp, blocks);
        }
    }

    /// Notes that the stream failed, or its dial did. A timeout has no packet.
    pub(super) fn broken(&mut self, conn: ConnId, why: IoFault, stamp: u64, blocks: &mut Blocks) {
        let Some(stream) = self.streams.get_mut(&conn) else { return };
        if !stream.ours.has_begun {
            stream.show(Way::Out, SYN, &[], stamp, blocks);
        }
        if matches!(why, IoFault::Refused | IoFault::Reset) && !stream.theirs.is_over {
            stream.show(Way::In, Flags { rst: true, ..Flags::default() }, &[], stamp, blocks);
        }
        // Nothing follows, from either side.
        (stream.ours.is_over, stream.theirs.is_over, stream.is_open) = (true, true, false);
    }

    /// Notes that the node closes a stream.
    pub(super) fn close(&mut self, conn: ConnId, stamp: u64, blocks: &mut Blocks) {
        if let Some(mut stream) = self.streams.remove(&conn) {
            stream.finish(Way::Out, stamp, blocks);
        }
    }
}

impl Way {
    const fn back(self) -> Self {
        match self {
            Self::In => Self::Out,
            Self::Out => Self::In,
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Flags {
    syn: bool,
    fin: bool,
    rst: bool,
}

impl Stream {
    const fn half(&self, way: Way) -> &Half {
        match way {
            Way::In => &self.theirs,
            Way::Out => &self.ours,
        }
    }

    /// Closes one half, which the other side acknowledges.
    fn finish(&mut self, way: Way, stamp: u64, blocks: &mut Blocks) {
        if !self.is_open || self.half(way).is_over {
            return;
        }
        self.show(way, Flags { fin: true, ..Flags::default() }, &[], stamp, blocks);
        self.show(way.back(), Flags::default(), &[], stamp, blocks);
    }

    /// Writes one segment.
    fn show(&mut self, way: Way, flags: Flags, payload: &[u8], stamp: u64, blocks: &mut Blocks) {
        let (from, to) = match way {
            Way::In => (self.remote, self.local),
            Way::Out => (self.local, self.remote),
        };
        let (half, other) = match way {
            Way::In => (&mut self.theirs, &mut self.ours),
            Way::Out => (&mut self.ours, &mut self.theirs),
        };
        let Flags { syn, fin, rst } = flags;
        // Only the first SYN acknowledges nothing.
        let has_ack = !syn || other.has_begun;
        let segment = Segment { seq: half.next, ack: if has_ack { other.next } else { 0 }, syn, fin, rst, has_ack };
        blocks.packet(way, stamp, |out| format::tcp(from, to, segment, payload, out));
        half.next = half.next.wrapping_add(payload.len() as u32 + u32::from(syn) + u32::from(fin));
        half.has_begun |= syn;
        half.is_over |= fin || rst;
        if has_ack {
            other.acknowledged = other.next;
        }
    }
}

/// Our address in packets with `remote`: of the same family, and loopback if the other is.
fn local(known: Option<SocketAddr>, port: u16, remote: IpAddr) -> SocketAddr {
    let port = known.map_or(port, |addr| addr.port());
    let port = if port == 0 { UNKNOWN_PORT } else { port };
    if let Some(addr) = known
        && addr.is_ipv4() == remote.is_ipv4()
        && !addr.ip().is_unspecified()
    {
        return SocketAddr::new(addr.ip(), port);
    }
    let is_loopback = scope(remote) == Scope::Loopback;
    let ip: IpAddr = match (remote, is_loopback) {
        (IpAddr::V4(_), true) => Ipv4Addr::LOCALHOST.into(),
        (IpAddr::V4(_), false) => UNKNOWN_V4.into(),
        (IpAddr::V6(_), true) => Ipv6Addr::LOCALHOST.into(),
        (IpAddr::V6(_), false) => UNKNOWN_V6.into(),
    };
    SocketAddr::new(ip, port)
}
