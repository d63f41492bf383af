//! What lies between the hosts: links, and the streams on them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::zone::Outcome;
use super::{Host, Net};
use crate::contract::{ConnId, Input, IoFault, Machine, QueryId, SocketId};
use crate::time::{Duration, Instant};

/// The port of a dialled stream's own end.
pub(super) const DIALLED_PORT: u16 = 50_000;
/// The bound of most chunks, so that streams are cut at every place.
const SMALL_CHUNK_BYTES: usize = 700;

/// What every link does to what passes it, from now on. Percentages are of datagrams or dials.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Link {
    /// The shortest and the longest delay of a datagram, a chunk or a dial. Datagrams with different delays overtake each
    /// other; bytes of a stream stay in order.
    pub delay: (Duration, Duration),
    /// Datagrams that are lost.
    pub loss_percent: u64,
    /// Dials that time out.
    pub dial_loss_percent: u64,
    /// The largest chunk in which a stream's bytes arrive.
    pub chunk_bytes_max: usize,
    /// The largest part of outbound bytes that a socket takes at once.
    pub write_bytes_max: usize,
    /// Chunks of streams that a man in the middle spoils, in thousandths: he flips a bit, repeats the chunk, drops it, or resets
    /// the stream.
    pub tampered_per_mille: u64,
    /// Whether writes and chunks have random sizes within their bounds, most chunks at most 700 bytes; else they are as
    /// large as there are bytes and the bounds allow.
    pub random_sizes: bool,
}

impl Default for Link {
    /// 1 to 5 ms, no loss, chunks and writes of any size, at random.
    fn default() -> Self {
        Self {
            delay: (Duration::from_millis(1), Duration::from_millis(5)),
            loss_percent: 0,
            dial_loss_percent: 0,
            chunk_bytes_max: usize::MAX,
            write_bytes_max: usize::MAX,
            tampered_per_mille: 0,
            random_sizes: true,
        }
    }
}

/// A datagram as a host sent or received it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Datagram {
    /// When.
    pub at: Instant,
    /// The host.
    pub host: Host,
    /// The other end.
    pub remote: SocketAddr,
    /// Whether the host sent it.
    pub is_sent: bool,
    /// Its content.
    pub bytes: Vec<u8>,
}

#[derive(Default)]
pub(super) struct Stream {
    /// The host and connection at each side; `None` is the test's, or not connected yet.
    pub(super) ends: [Option<(Host, ConnId)>; 2],
    /// Bytes on their way to each side.
    pub(super) pipes: [VecDeque<u8>; 2],
    pub(super) closed: [bool; 2],
    /// Whether side 0 takes no more bytes: a closed window.
    pub(super) is_stalled: bool,
}

/// What is on its way.
pub(super) enum Delivery {
    Datagram { to: SocketAddr, from: SocketAddr, bytes: Vec<u8> },
    Connect { stream: usize, to: SocketAddr, from: SocketAddr },
    Bytes { stream: usize, side: usize },
    Write { host: Host, conn: ConnId },
    Answer { host: Host, id: QueryId, answer: Outcome },
}

impl<M: Machine> Net<M> {
    /// Queues a delivery after the link's delay.
    pub(super) fn later(&mut self, delivery: Delivery) {
        let (min, max) = self.link.delay;
        let at = self.now + self.rng.duration(min, max);
        self.queued += 1;
        self.queue.insert((at, self.queued), delivery);
    }

    /// Puts what a host sends on its link, unless it is lost.
    pub(super) fn send(&mut self, host: Host, delivery: Delivery) {
        if let Delivery::Datagram { to, bytes, .. } = &delivery {
            self.note(host, *to, true, bytes);
            if self.is_cut(host) || self.rng.below(100) < self.link.loss_percent {
                return;
            }
        }
        self.later(delivery);
    }

    pub(super) fn note(&mut self, host: Host, remote: SocketAddr, is_sent: bool, bytes: &[u8]) {
        if let Some(log) = &mut self.log {
            log.push(Datagram { at: self.now, host, remote, is_sent, bytes: bytes.to_vec() });
        }
    }

    fn is_cut(&self, host: Host) -> bool {
        self.members[host.0].is_cut
    }

    fn host_at(&self, addr: SocketAddr) -> Option<Host> {
        self.members.iter().position(|member| member.addr == addr).map(Host)
    }

    pub(super) fn arrive(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Datagram { to, from, bytes } => match self.host_at(to) {
                Some(host) if self.is_cut(host) => {}
                Some(host) => self.datagram(host, from, &bytes),
                None => self.inbox.push((to, from, bytes)),
            },
            Delivery::Connect { stream, to, from } => self.connect_stream(stream, to, from),
            Delivery::Bytes { stream, side } => self.carry(stream, side),
            Delivery::Write { host, conn } => self.write(host, conn),
            Delivery::Answer { host, id, answer } => self.answer_query(host, id, answer),
        }
    }

    /// Lets a dial arrive, unless it has been given up.
    fn connect_stream(&mut self, stream: usize, to: SocketAddr, from: SocketAddr) {
        let Some((dialler, conn)) = self.streams[stream].ends[0].filter(|_| !self.streams[stream].closed[0]) else {
            return;
        };
        let target = self.host_at(to);
        let is_lost = self.link.dial_loss_percent > 0 && self.rng.below(100) < self.link.dial_loss_percent;
        if is_lost || self.is_cut(dialler) || target.is_some_and(|host| self.is_cut(host)) {
            return self.refuse(dialler, conn, IoFault::TimedOut);
        }
        let accepted = target.and_then(|host| {
            let accepted = self.members[host.0].machine.accept(self.now, SocketId::MAIN, from);
            Some((host, accepted?))
        });
        if let Some((host, accepted)) = accepted {
            self.streams[stream].ends[1] = Some((host, accepted));
            self.members[host.0].ends.insert(accepted, (stream, 1));
        }
        if let Some(host) = target {
            self.drain(host);
        }
        match accepted {
            Some(_) => self.input(dialler, Input::Connected { conn, local: Some(from) }),
            None => self.refuse(dialler, conn, IoFault::Refused),
        }
    }

    fn refuse(&mut self, dialler: Host, conn: ConnId, why: IoFault) {
        self.members[dialler.0].ends.remove(&conn);
        self.input(dialler, Input::Broken { conn, why });
    }

    /// Hands a chunk of what is on its way to one side of a stream to the machine there.
    fn carry(&mut self, stream: usize, side: usize) {
        let Some((host, conn)) = self.streams[stream].ends[side] else { return };
        if self.streams[stream].closed[side] || self.is_cut(host) {
            return;
        }
        let waiting = self.streams[stream].pipes[side].len();
        if waiting == 0 {
            if self.streams[stream].closed[1 - side] {
                self.input(host, Input::Eof { conn });
            }
            return;
        }
        if self.members[host.0].machine.wants_read(conn) {
            let n = self.chunk_bytes(waiting);
            let mut bytes: Vec<u8> = self.streams[stream].pipes[side].drain(..n).collect();
            if self.link.tampered_per_mille > 0 && self.rng.below(1000) < self.link.tampered_per_mille {
                match self.rng.below(4) {
                    0 => {
                        let bit = self.rng.below(8 * n as u64) as usize;
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    }
                    1 => bytes.extend_from_within(..),
                    2 => bytes.clear(),
                    _ => return self.break_stream(host, conn, IoFault::Reset),
                }
            }
            self.input(host, Input::Bytes { conn, bytes: &bytes });
        }
        self.later(Delivery::Bytes { stream, side });
    }

    /// The size of the next chunk of a stream on which bytes wait. A quarter of all random ones are as large as possible.
    fn chunk_bytes(&mut self, waiting: usize) -> usize {
        let largest = waiting.min(self.link.chunk_bytes_max.max(1));
        if !self.link.random_sizes || self.rng.below(4) == 0 {
            return largest;
        }
        1 + self.rng.below(largest.min(SMALL_CHUNK_BYTES) as u64) as usize
    }

    /// Lets a host's socket take a part of a connection's outbound bytes.
    fn write(&mut self, host: Host, conn: ConnId) {
        let member = &self.members[host.0];
        let Some((stream, side)) = member.ends.get(&conn).copied() else { return };
        let outbound = member.machine.outbound(conn);
        if outbound.is_empty() || self.streams[stream].is_stalled || member.is_cut {
            return;
        }
        let largest = outbound.len().min(self.link.write_bytes_max.max(1));
        let n = if self.link.random_sizes { 1 + self.rng.below(largest as u64) as usize } else { largest };
        let pipe = &mut self.streams[stream].pipes[1 - side];
        let was_empty = pipe.is_empty();
        pipe.extend(&outbound[..n]);
        self.input(host, Input::Wrote { conn, n });
        if was_empty {
            self.later(Delivery::Bytes { stream, side: 1 - side });
        }
        self.later(Delivery::Write { host, conn });
    }
}
