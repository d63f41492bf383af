//! The TCP connections of a capture: their endpoints, their two streams, and their conversations.
//!
//! Bounded in number and in memory: the longest silent connections are dropped first, which is reported.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::conversation::{Conversation, Side};
use super::finding::{How, Place, What};
use super::keys::Keys;
use crate::capture::packet::Segment;
use crate::reassembly::{Piece, Stream};

/// Most connections at the same time: ten times the peers of a node.
pub(super) const FLOWS_MAX: usize = 4096;
/// Most memory of all connections together: streams out of order and incomplete frames.
pub(super) const MEMORY_BYTES_MAX: usize = 256 << 20;
/// The fraction of connections that is dropped at once, so that a flood of connections costs little each.
const DROPPED_PART: usize = 8;

/// Both endpoints, the lower first.
type Key = (SocketAddr, SocketAddr);

/// All connections of a capture.
#[derive(Default)]
pub(super) struct Flows {
    flows: HashMap<Key, Flow>,
    begun: u64,
    memory_bytes: usize,
}

struct Flow {
    number: u64,
    /// Side 0 is the one that dialled, or, without a captured SYN, the one that sent first.
    addrs: [SocketAddr; 2],
    streams: [Stream; 2],
    /// The sequence numbers after each side's last byte, once it has closed.
    ends: [Option<u32>; 2],
    conversation: Conversation,
    /// The last packet of the connection.
    touched: u64,
    memory_bytes: usize,
}

impl Flow {
    fn new(number: u64, segment: &Segment<'_>) -> Self {
        // An answer to a SYN that was not captured comes from the side that was dialled.
        let addrs = if segment.syn && segment.ack { [segment.to, segment.from] } else { [segment.from, segment.to] };
        Self {
            number,
            addrs,
            streams: Default::default(),
            ends: [None; 2],
            conversation: Conversation::default(),
            touched: 0,
            memory_bytes: 0,
        }
    }

    fn place(&self, side: Side) -> Place {
        let ids = self.conversation.ids;
        Place {
            conn: Some(self.number),
            from: self.addrs[side],
            to: self.addrs[1 - side],
            from_id: ids[side],
            to_id: ids[1 - side],
        }
    }

    fn handle_segment(&mut self, keys: &Keys, segment: &Segment<'_>, out: &mut Vec<(Place, What)>) -> Option<How> {
        let side = usize::from(segment.from != self.addrs[0]);
        let stream = &mut self.streams[side];
        let mut first = segment.sequence;
        if segment.syn {
            stream.handle_syn(segment.sequence);
            first = first.wrapping_add(1);
        }
        let now = stream.handle_segment(first, segment.payload);
        self.conversation.handle_bytes(keys, side, now);
        self.deliver(keys, side, out);
        if segment.fin {
            self.ends[side] = Some(first.wrapping_add(segment.payload.len() as u32));
        }
        if segment.rst {
            return Some(How::Reset);
        }
        // Not before the missing bytes have been retransmitted.
        let is_closed = |side: Side| self.ends[side].is_some_and(|end| self.streams[side].next_sequence() == Some(end));
        (is_closed(0) && is_closed(1)).then_some(How::Closed)
    }

    /// Processes the ready pieces of both streams.
    fn deliver(&mut self, keys: &Keys, side: Side, out: &mut Vec<(Place, What)>) {
        while let Some(piece) = self.streams[side].poll_piece() {
            match piece {
                Piece::Bytes(bytes) => self.conversation.handle_bytes(keys, side, &bytes),
                Piece::Gap(bytes) => self.conversation.handle_gap(side, bytes),
            }
        }
        self.tell(out);
    }

    fn tell(&mut self, out: &mut Vec<(Place, What)>) {
        while let Some((side, what)) = self.conversation.poll() {
            out.push((self.place(side), what));
        }
    }

    fn end(mut self, keys: &Keys, how: How, out: &mut Vec<(Place, What)>) {
        for side in [0, 1] {
            self.streams[side].finish();
            self.deliver(keys, side, out);
        }
        self.conversation.finish();
        self.tell(out);
        let bytes = self.streams.iter().map(Stream::position).sum();
        out.push((self.place(0), What::Ended { how, bytes }));
    }
}

impl Flows {
    /// Connections seen so far.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Takes a segment of the given packet; appends the resulting findings to `out`.
    pub(super) fn handle_segment(
        &mut self,
        keys: &Keys,
        packet: u64,
        segment: &Segment<'_>,
        out: &mut Vec<(Place, What)>,
    ) {
        let key = (segment.from.min(segment.to), segment.from.max(segment.to));
        let is_other = segment.syn
            && self.flows.get(&key).is_some_and(|flow| {
                let side = usize::from(segment.from != flow.addrs[0]);
                flow.streams[side].is_other(segment.sequence)
            });
        if is_other {
            self.end(keys, &key, How::Replaced, out);
        }
        if !self.flows.contains_key(&key) {
            // A late segment of a connection that has ended, such as its last acknowledgement.
            if segment.payload.is_empty() && !segment.syn {
                return;
            }
            self.begin(keys, key, segment, out);
        }
        let Some(flow) = self.flows.get_mut(&key) else { return };
        flow.touched = packet;
        let end = flow.handle_segment(keys, segment, out);
        let waiting: usize = flow.streams.iter().map(Stream::waiting_bytes).sum();
        let memory_bytes = waiting + flow.conversation.memory_bytes();
        self.memory_bytes = self.memory_bytes - flow.memory_bytes + memory_bytes;
        flow.memory_bytes = memory_bytes;
        if let Some(how) = end {
            self.end(keys, &key, how, out);
        }
        if self.memory_bytes > MEMORY_BYTES_MAX {
            self.forget(keys, out);
        }
    }

    /// Ends the capture, and with it every connection.
    pub(super) fn finish(&mut self, keys: &Keys, out: &mut Vec<(Place, What)>) {
        let mut flows: Vec<Flow> = self.flows.drain().map(|(_, flow)| flow).collect();
        flows.sort_unstable_by_key(|flow| flow.number);
        self.memory_bytes = 0;
        flows.into_iter().for_each(|flow| flow.end(keys, How::CaptureEnd, out));
    }

    fn begin(&mut self, keys: &Keys, key: Key, segment: &Segment<'_>, out: &mut Vec<(Place, What)>) {
        if self.flows.len() >= FLOWS_MAX {
            self.forget(keys, out);
        }
        self.begun += 1;
        let flow = Flow::new(self.begun, segment);
        out.push((flow.place(0), What::Begun { from_start: segment.syn }));
        self.flows.insert(key, flow);
    }

    fn end(&mut self, keys: &Keys, key: &Key, how: How, out: &mut Vec<(Place, What)>) {
        if let Some(flow) = self.flows.remove(key) {
            self.memory_bytes -= flow.memory_bytes;
            flow.end(keys, how, out);
        }
    }

    /// Drops the longest silent connections.
    fn forget(&mut self, keys: &Keys, out: &mut Vec<(Place, What)>) {
        let mut by_silence: Vec<(u64, u64, Key)> =
            self.flows.iter().map(|(key, flow)| (flow.touched, flow.number, *key)).collect();
        by_silence.sort_unstable();
        let dropped = by_silence.len().div_ceil(DROPPED_PART);
        for (_, _, key) in by_silence.into_iter().take(dropped) {
            self.end(keys, &key, How::Forgotten, out);
        }
    }
}
