//! A host's ends of streams: dialling, writing, reading and closing, with all that TCP may do to a machine.

use std::net::SocketAddr;

use peerless::contract::{ConnId, Input, IoFault, Machine, SocketId};
use peerless::time::{Duration, Instant};

use super::host::{Delivery, Host, Power, Sink, Turn};
use super::machine::Watch;
use super::trace::Fingerprint;
use crate::HostId;
use crate::network::stream::{End, EndId, Remote, SEGMENT_BYTES_MAX, Segment, Stage, WINDOW_BYTES};
use crate::network::{Addr, Tamper};

/// The longest delay until a socket reports that it is writable or has bytes.
const SOCKET_DELAY_MAX: Duration = Duration::from_micros(200);
/// The interval of retries on a stream that is cut off.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The remote end of a stream without one.
const NO_END: EndId = EndId::MAX;

impl<M: Machine<Language: Fingerprint>, W: Watch<M>> Host<M, W> {
    pub(super) fn dial<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, conn: ConnId, to: SocketAddr) {
        self.uplink.totals.dials += 1;
        let to = Addr::of(to).and_then(|to| Some((to, turn.shared.host_at(to.ip)?)));
        let remote = Remote { host: to.map_or(self.id.0, |(_, host)| host.0), end: NO_END };
        let end = self.add_end(End::new(conn, Stage::Dialling, remote));
        // An address without a host does not answer.
        let Some((to, _)) = to else { return };
        let from = Addr { ip: turn.shared.addresses.ip(self.id), port: local_port(end) };
        self.uplink.nat.outgoing(turn.now, to);
        self.send_segment(turn, remote, end, Instant::ZERO, Segment::Syn { from, port: to.port });
    }

    pub(super) fn flush<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, conn: ConnId) {
        let Some(end) = self.by_conn.get(&conn).copied() else { return };
        self.want_write(turn, end);
    }

    /// Closes a stream in both directions. Segments that arrive later are answered by a reset.
    pub(super) fn close<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, conn: ConnId) {
        let Some(id) = self.by_conn.remove(&conn) else { return };
        let Some(end) = self.ends.remove(&id) else { return };
        if end.stage == Stage::Open {
            // As operating systems do: a close with unread bytes resets the stream.
            let last = if end.inbox.is_empty() { Segment::Fin } else { Segment::Reset };
            self.send_segment(turn, end.remote, id, end.last_arrival, last);
        }
    }

    pub(super) fn segment<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, from: Remote, id: EndId, segment: Segment) {
        if self.power == Power::Off {
            return;
        }
        if let Segment::Syn { from: addr, port } = segment {
            self.accept(turn, from, addr, port);
            return;
        }
        let Some(end) = self.ends.get_mut(&id) else {
            // The end is gone.
            if matches!(segment, Segment::Data(_) | Segment::SynAck { .. }) {
                let end = if let Segment::SynAck { end } = segment { end } else { from.end };
                self.send_segment(turn, Remote { end, ..from }, id, Instant::ZERO, Segment::Reset);
            }
            return;
        };
        match segment {
            Segment::Syn { .. } => {}
            Segment::SynAck { end: theirs } => {
                if end.stage == Stage::Dialling {
                    end.stage = Stage::Open;
                    end.remote.end = theirs;
                    let conn = end.conn;
                    self.uplink.totals.streams += 1;
                    let addr = turn.shared.addresses.ip(self.id);
                    let local = Some(SocketAddr::new(addr.into(), local_port(id)));
                    self.input(turn, Input::Connected { conn, local });
                }
            }
            Segment::Refused => self.broke(turn, id, IoFault::Refused),
            Segment::Reset => self.broke(turn, id, IoFault::Reset),
            Segment::Data(bytes) => {
                end.inbox.extend(bytes);
                self.read(turn, id);
            }
            Segment::Fin => {
                end.is_finished = true;
                self.read(turn, id);
            }
            Segment::Credit(count) => {
                end.outstanding = end.outstanding.saturating_sub(count as usize);
                self.want_write(turn, id);
            }
        }
    }

    fn accept<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, remote: Remote, from: Addr, port: u16) {
        if !self.uplink.nat.admits_stream(turn.now, port) {
            return;
        }
        let power = self.power;
        let (Some(mut machine), Power::On) = (self.tapped(turn.now), power) else {
            self.send_segment(turn, remote, NO_END, Instant::ZERO, Segment::Refused);
            return;
        };
        let accepted = machine.accept(turn.now, SocketId::MAIN, from.into());
        let Some(conn) = accepted else {
            // The operating system accepts a stream before the machine is asked: it opens, and closes at once.
            let end = self.ends_made;
            self.ends_made += 1;
            let last = self.send_segment(turn, remote, end, Instant::ZERO, Segment::SynAck { end });
            self.send_segment(turn, remote, end, last, Segment::Fin);
            self.settle(turn);
            return;
        };
        let end = self.add_end(End::new(conn, Stage::Open, remote));
        let last = self.send_segment(turn, remote, end, Instant::ZERO, Segment::SynAck { end });
        if let Some(end) = self.ends.get_mut(&end) {
            end.last_arrival = last;
        }
        self.settle(turn);
    }

    /// Ends a stream that the machine has not closed.
    fn broke<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, id: EndId, why: IoFault) {
        let Some(end) = self.ends.remove(&id) else { return };
        self.by_conn.remove(&end.conn);
        self.uplink.totals.resets += 1;
        self.input(turn, Input::Broken { conn: end.conn, why });
    }

    fn want_write<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, id: EndId) {
        let pause = self.stream.duration(Duration::from_micros(1), SOCKET_DELAY_MAX);
        let Some(end) = self.ends.get_mut(&id) else { return };
        if !end.is_writing && end.stage == Stage::Open {
            end.is_writing = true;
            self.later(turn, pause, Delivery::Write(id));
        }
    }

    /// Takes a part of the machine's outbound bytes.
    pub(super) fn write<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, id: EndId) {
        let (Some(end), Some(machine)) = (self.ends.get_mut(&id), &self.machine) else { return };
        end.is_writing = false;
        let (conn, remote, after) = (end.conn, end.remote, end.last_arrival);
        let outbound = machine.outbound(conn);
        let room = outbound.len().min(WINDOW_BYTES - end.outstanding.min(WINDOW_BYTES)).min(SEGMENT_BYTES_MAX);
        if room == 0 {
            return;
        }
        let extra = turn.shared.extra(turn.now, self.uplink.site, turn.shared.site(HostId(remote.host)));
        if extra.is_cut {
            end.is_writing = true;
            self.later(turn, RETRY_INTERVAL, Delivery::Write(id));
            return;
        }
        // Mostly all, as sockets do; sometimes any part.
        let n = if self.stream.below(4) == 0 { 1 + self.stream.below(room as u64) as usize } else { room };
        let bytes: Box<[u8]> = outbound[..n].into();
        end.outstanding += n;
        self.uplink.totals.stream_bytes += n as u64;
        let arrival = match turn.shared.links.tampering(turn.shared.seed, self.uplink.site, self.uplink.packets, &extra)
        {
            None => self.send_segment(turn, remote, id, after, Segment::Data(bytes)),
            Some(what) => self.send_tampered(turn, (id, remote), after, bytes, what),
        };
        if let Some(end) = self.ends.get_mut(&id) {
            end.last_arrival = arrival;
        }
        self.input(turn, Input::Wrote { conn, n });
        self.want_write(turn, id);
    }

    /// Sends what a man in the middle makes of the next bytes; returns its arrival. What he sends back to this end arrives
    /// after one latency too.
    fn send_tampered<S: Sink>(
        &mut self,
        turn: &mut Turn<'_, M, S>,
        (id, remote): (EndId, Remote),
        after: Instant,
        mut bytes: Box<[u8]>,
        (how, place): (Tamper, u64),
    ) -> Instant {
        self.uplink.totals.segments_tampered += 1;
        let ends_both = |host: &mut Self, turn: &mut Turn<'_, M, S>, after, last: fn() -> Segment| {
            let arrival = host.send_segment(turn, remote, id, after, last());
            host.schedule(turn, arrival, host.id.0, Delivery::Segment { from: remote, end: id, segment: last() });
            arrival
        };
        match how {
            Tamper::Flip => {
                let bit = place % (bytes.len() as u64 * 8);
                bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
                self.send_segment(turn, remote, id, after, Segment::Data(bytes))
            }
            Tamper::Repeat => {
                let first = self.send_segment(turn, remote, id, after, Segment::Data(bytes.clone()));
                self.send_segment(turn, remote, id, first, Segment::Data(bytes))
            }
            Tamper::Reset => ends_both(self, turn, after, || Segment::Reset),
            Tamper::Truncate => {
                let part = bytes[..(place % bytes.len() as u64) as usize].into();
                let arrival = self.send_segment(turn, remote, id, after, Segment::Data(part));
                ends_both(self, turn, arrival, || Segment::Fin)
            }
        }
    }

    /// Hands the machine the received bytes, in chunks of any size, as far as it wants to read.
    pub(super) fn read<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, id: EndId) {
        loop {
            let (Some(end), Some(machine)) = (self.ends.get_mut(&id), &self.machine) else { return };
            let conn = end.conn;
            if !end.is_readable() || end.is_reading {
                return;
            }
            if !machine.wants_read(conn) {
                if !self.paused.contains(&id) {
                    self.paused.push(id);
                }
                return;
            }
            if end.inbox.is_empty() {
                end.told_finished = true;
                self.input(turn, Input::Eof { conn });
                return;
            }
            let waiting = end.inbox.len();
            let n = match self.stream.below(8) {
                0 => 1 + self.stream.below(waiting.min(16) as u64) as usize,
                1 | 2 => 1 + self.stream.below(waiting as u64) as usize,
                _ => waiting,
            };
            let chunk: Vec<u8> = end.inbox.drain(..n).collect();
            if end.inbox.is_empty() {
                end.inbox.shrink_to(0);
            }
            end.uncredited += n;
            self.input(turn, Input::Bytes { conn, bytes: &chunk });
            self.credit(turn, id);
            let pause = self.stream.duration(Duration::from_micros(1), SOCKET_DELAY_MAX);
            if self.stream.below(4) == 0
                && let Some(end) = self.ends.get_mut(&id)
                && end.is_readable()
            {
                end.is_reading = true;
                self.later(turn, pause, Delivery::Read(id));
                return;
            }
        }
    }

    /// Acknowledges read bytes to the other end, a large part of a window at a time.
    pub(super) fn credit<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>, id: EndId) {
        let Some(end) = self.ends.get_mut(&id) else { return };
        if end.uncredited < WINDOW_BYTES / 4 {
            return;
        }
        let (remote, after, count) = (end.remote, end.last_arrival, end.uncredited);
        if turn.shared.extra(turn.now, self.uplink.site, turn.shared.site(HostId(remote.host))).is_cut {
            self.later(turn, RETRY_INTERVAL, Delivery::Credit(id));
            return;
        }
        end.uncredited = 0;
        self.send_segment(turn, remote, id, after, Segment::Credit(count as u32));
    }

    /// Asks the machine again about streams that it did not want to read.
    pub(super) fn resume<S: Sink>(&mut self, turn: &mut Turn<'_, M, S>) {
        let Some(machine) = &self.machine else { return };
        let wanted = |id: &EndId| self.ends.get(id).is_none_or(|end| machine.wants_read(end.conn));
        let Some(place) = self.paused.iter().position(wanted) else { return };
        let id = self.paused.remove(place);
        // A read ends in the machine's next drain, from where the rest is resumed.
        self.read(turn, id);
    }

    /// Sends a segment to a stream's other end, in order; returns its arrival. During a cut it is lost.
    pub(super) fn send_segment<S: Sink>(
        &mut self,
        turn: &mut Turn<'_, M, S>,
        to: Remote,
        end: EndId,
        after: Instant,
        segment: Segment,
    ) -> Instant {
        let there = turn.shared.site(HostId(to.host));
        let extra = turn.shared.extra(turn.now, self.uplink.site, there);
        if extra.is_cut || to.end == NO_END && !matches!(segment, Segment::Syn { .. }) {
            return after;
        }
        self.uplink.packets += 1;
        let bytes = if let Segment::Data(bytes) = &segment { bytes.len() } else { 0 };
        let shared = turn.shared;
        let time = shared.links.segment(shared.seed, self.uplink.site, there, self.uplink.packets, bytes + 40, extra);
        let at = (turn.now.max(self.uplink.computed_at) + time).max(after + Duration::from_micros(1));
        let from = Remote { host: self.id.0, end };
        self.schedule(turn, at, to.host, Delivery::Segment { from, end: to.end, segment });
        at
    }

    fn add_end(&mut self, end: End) -> EndId {
        let id = self.ends_made;
        self.ends_made += 1;
        self.by_conn.insert(end.conn, id);
        self.ends.insert(id, end);
        id
    }
}

/// The local port of a dialled end.
fn local_port(end: EndId) -> u16 {
    32_768 + (end % 28_000) as u16
}
