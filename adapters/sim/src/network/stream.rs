//! Streams: TCP as its users see it, without segments.
//!
//! Bytes arrive in order, delayed by the link and its bandwidth, in chunks independent of the writes; a window bounds
//! the bytes in flight. Each end belongs to its host and refers to the other by number.

use std::collections::VecDeque;

use peerless::contract::ConnId;
use peerless::time::Instant;

use super::address::Addr;

/// Bytes that may be in flight or unread: the buffers of a usual socket.
pub(crate) const WINDOW_BYTES: usize = 128 << 10;
/// Most bytes that one write takes.
pub(crate) const SEGMENT_BYTES_MAX: usize = 16 << 10;

/// The id of one end of a stream at its host. Never reused.
pub(crate) type EndId = u32;

/// The address of a stream's other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Remote {
    pub host: u32,
    pub end: EndId,
}

/// A message from one end to the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    /// A connection request, from this address to this port.
    Syn { from: Addr, port: u16 },
    /// The request is accepted; carries the accepting end.
    SynAck { end: EndId },
    /// The request is refused.
    Refused,
    /// The next bytes.
    Data(Box<[u8]>),
    /// The number of bytes that were read.
    Credit(u32),
    /// The end of the writing direction.
    Fin,
    /// A reset.
    Reset,
}

/// The state of an end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Dialled, without an answer.
    Dialling,
    /// Connected.
    Open,
}

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct End {
    pub conn: ConnId,
    pub stage: Stage,
    pub remote: Remote,
    /// Bytes that arrived and were not read.
    pub inbox: VecDeque<u8>,
    /// Bytes that were written and are not known to be read.
    pub outstanding: usize,
    /// Bytes that were read and not reported to the other end.
    pub uncredited: usize,
    /// The arrival time of the last message that was sent: no later one overtakes it.
    pub last_arrival: Instant,
    /// Whether a write is scheduled.
    pub is_writing: bool,
    /// Whether a read is scheduled.
    pub is_reading: bool,
    /// Whether the other end has closed its writing direction.
    pub is_finished: bool,
    /// Whether the end of the stream was reported to the machine.
    pub told_finished: bool,
}

impl End {
    pub(crate) fn new(conn: ConnId, stage: Stage, remote: Remote) -> Self {
        Self {
            conn,
            stage,
            remote,
            inbox: VecDeque::new(),
            outstanding: 0,
            uncredited: 0,
            last_arrival: Instant::ZERO,
            is_writing: false,
            is_reading: false,
            is_finished: false,
            told_finished: false,
        }
    }

    /// Whether the machine can read bytes or the end of the stream.
    pub(crate) fn is_readable(&self) -> bool {
        self.stage == Stage::Open && (!self.inbox.is_empty() || self.is_finished && !self.told_finished)
    }
}
