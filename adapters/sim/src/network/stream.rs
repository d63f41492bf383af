//! Streams: what TCP shows to whoever uses it, without its segments' life.
//!
//! Bytes arrive in order, as late as the link and its bandwidth make them, in chunks that have nothing to do with how they
//! were written; a window bounds what is on the way. Each end belongs to its host and knows the other by number.

use std::collections::VecDeque;

use peerless::contract::ConnId;
use peerless::time::Instant;

use super::address::Addr;

/// Bytes that may be on the way or unread: a usual socket's buffers.
pub(crate) const WINDOW_BYTES: usize = 128 << 10;
/// Bytes that one write takes at most.
pub(crate) const SEGMENT_BYTES_MAX: usize = 16 << 10;

/// Names one end of a stream at its host. Never reused.
pub(crate) type EndId = u32;

/// Where a stream's other end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Remote {
    pub host: u32,
    pub end: EndId,
}

/// What one end tells the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Segment {
    /// May I? From this address, to this port.
    Syn { from: Addr, port: u16 },
    /// You may; this is my end.
    SynAck { end: EndId },
    /// You may not.
    Refused,
    /// The next bytes.
    Data(Box<[u8]>),
    /// So many bytes were read.
    Credit(u32),
    /// I write no more.
    Fin,
    /// It is over.
    Reset,
}

/// How far an end is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// Dialled; no answer yet.
    Dialling,
    /// Bytes may flow.
    Open,
}

/// One end of a stream.
#[derive(Debug)]
pub(crate) struct End {
    pub conn: ConnId,
    pub stage: Stage,
    pub remote: Remote,
    /// Arrived and not read.
    pub inbox: VecDeque<u8>,
    /// Written and not known to be read.
    pub outstanding: usize,
    /// Read, and not told to the other end.
    pub uncredited: usize,
    /// When the last thing that was sent arrives: nothing overtakes it.
    pub last_arrival: Instant,
    /// A write is scheduled.
    pub is_writing: bool,
    /// A read is scheduled.
    pub is_reading: bool,
    /// The other end writes no more.
    pub is_finished: bool,
    /// The machine was told so.
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

    /// Whether there is something for the machine to read.
    pub(crate) fn is_readable(&self) -> bool {
        self.stage == Stage::Open && (!self.inbox.is_empty() || self.is_finished && !self.told_finished)
    }
}
