//! Reassembles one direction of a TCP stream: takes segments in the order of capture, returns the stream's bytes.
//!
//! Implements RFC 9293's sequence space for an observer: any order, retransmissions, overlaps, wrapping at 2^32. Of
//! overlapping bytes, those captured first are kept. Bytes missing from the capture are declared lost when too many
//! wait behind them, or when the stream ends: a gap of known size. Holds at most [`WAITING_BYTES_MAX`]; the content is
//! not parsed.

use std::collections::BTreeMap;

/// Bytes that may wait behind a gap before it is declared lost. Twice the largest window of common systems is more, but
/// no real reordering reaches further than this.
pub const WAITING_BYTES_MAX: usize = 1 << 20;
/// Segments that may wait, for the same reason: small segments take more memory than their bytes.
pub const WAITING_SEGMENTS_MAX: usize = 1024;

/// The next piece of a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A gap: the number of bytes that were not captured.
    Gap(u64),
}

/// One direction of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// Position of the next byte of the stream; `None` before the first segment.
    next: Option<u32>,
    /// Bytes of the stream that have been returned or declared lost.
    position: u64,
    /// Whether the SYN was captured.
    from_start: bool,
    /// Waiting bytes by position, without overlaps.
    waiting: BTreeMap<u64, Vec<u8>>,
    waiting_bytes: usize,
    /// Whether the stream has ended, so that gaps are not filled any more.
    flushing: bool,
    /// Bytes that were captured again.
    repeated: u64,
}

impl Stream {
    /// Whether the stream was captured from its first byte on.
    pub fn is_from_start(&self) -> bool {
        self.from_start
    }

    /// Bytes returned or declared lost so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The sequence number of the next byte; `None` before the first segment.
    pub fn next_sequence(&self) -> Option<u32> {
        self.next
    }

    /// Bytes that were captured more than once.
    pub fn repeated(&self) -> u64 {
        self.repeated
    }

    /// Bytes of memory that wait behind gaps.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Sets the start of the stream to the byte after `sequence`. Has no effect when repeated, or after the first
    /// segment.
    pub fn handle_syn(&mut self, sequence: u32) {
        if self.next.is_none() {
            self.next = Some(sequence.wrapping_add(1));
            self.from_start = true;
        }
    }

    /// Whether a SYN with this sequence number begins another stream.
    pub fn is_other(&self, sequence: u32) -> bool {
        let first = self.next.map(|next| next.wrapping_sub(self.position as u32));
        self.from_start && first != Some(sequence.wrapping_add(1))
    }

    /// Takes a segment whose first byte has the given sequence number; returns its bytes that continue the stream at
    /// once. Then [`Stream::poll_piece`] returns the bytes that have become ready.
    pub fn handle_segment<'a>(&mut self, sequence: u32, payload: &'a [u8]) -> &'a [u8] {
        if payload.is_empty() {
            return payload;
        }
        let next = *self.next.get_or_insert(sequence);
        // Sequence numbers are compared within half of the sequence space in either direction.
        let ahead = sequence.wrapping_sub(next) as i32;
        let (start, fresh) = if ahead >= 0 {
            (self.position + u64::from(ahead.unsigned_abs()), payload)
        } else {
            let known = (ahead.unsigned_abs() as usize).min(payload.len());
            self.repeated += known as u64;
            (self.position, &payload[known..])
        };
        if fresh.is_empty() {
            return fresh;
        }
        if start == self.position {
            // Ends where waiting bytes begin: those were captured first.
            let until = self.waiting.keys().next().map_or(fresh.len() as u64, |first| first - start);
            let (now, rest) = fresh.split_at(fresh.len().min(usize::try_from(until).unwrap_or(usize::MAX)));
            self.advance(now.len() as u64);
            if !rest.is_empty() {
                self.keep(start + now.len() as u64, rest);
            }
            return now;
        }
        self.keep(start, fresh);
        &[]
    }

    /// Ends the stream: waiting bytes become ready, with the gaps before them.
    pub fn finish(&mut self) {
        self.flushing = true;
    }

    /// Returns the next ready piece.
    pub fn poll_piece(&mut self) -> Option<Piece> {
        let start = *self.waiting.keys().next()?;
        if start == self.position {
            let (_, bytes) = self.waiting.pop_first()?;
            self.waiting_bytes -= bytes.len();
            self.advance(bytes.len() as u64);
            return Some(Piece::Bytes(bytes));
        }
        let too_much = self.waiting_bytes > WAITING_BYTES_MAX || self.waiting.len() > WAITING_SEGMENTS_MAX;
        if !self.flushing && !too_much {
            return None;
        }
        let gap = start - self.position;
        self.advance(gap);
        Some(Piece::Gap(gap))
    }

    fn advance(&mut self, bytes: u64) {
        self.position += bytes;
        self.next = self.next.map(|next| next.wrapping_add(bytes as u32));
    }

    /// Stores the part of `bytes` that does not wait already.
    fn keep(&mut self, start: u64, bytes: &[u8]) {
        let mut at = start;
        let end = start + bytes.len() as u64;
        while at < end {
            // The range that covers `at`, or else begins after it.
            let covered = self.waiting.range(..=at).next_back().map(|(start, bytes)| start + bytes.len() as u64);
            if let Some(until) = covered.filter(|until| *until > at) {
                self.repeated += until.min(end) - at;
                at = until;
                continue;
            }
            let until = self.waiting.range(at..end).next().map_or(end, |(start, _)| *start);
            let part = &bytes[(at - start) as usize..(until - start) as usize];
            self.waiting_bytes += part.len();
            self.waiting.insert(at, part.to_vec());
            at = until;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Returns all pieces that the stream yields for these segments, gaps as `None`.
    fn run(stream: &mut Stream, segments: &[(u32, &[u8])]) -> (Vec<u8>, Vec<u64>) {
        let (mut bytes, mut gaps) = (Vec::new(), Vec::new());
        let mut poll = |stream: &mut Stream, bytes: &mut Vec<u8>| {
            while let Some(piece) = stream.poll_piece() {
                match piece {
                    Piece::Bytes(more) => bytes.extend_from_slice(&more),
                    Piece::Gap(gap) => gaps.push(gap),
                }
            }
        };
        for (sequence, payload) in segments {
            bytes.extend_from_slice(stream.handle_segment(*sequence, payload));
            poll(stream, &mut bytes);
        }
        stream.finish();
        poll(stream, &mut bytes);
        assert_eq!(stream.waiting_bytes(), 0);
        (bytes, gaps)
    }

    #[test]
    fn the_first_captured_bytes_are_kept() {
        let mut stream = Stream::default();
        stream.handle_syn(u32::MAX);
        let got = run(&mut stream, &[(2, b"cde"), (3, b"XYf"), (0, b"abZZ"), (0, b"abcdefg")]);
        assert_eq!(got, (b"abcdefg".to_vec(), vec![]));
        assert_eq!(stream.repeated(), 2 + 2 + 6);
        assert!(stream.is_from_start() && !stream.is_other(u32::MAX) && stream.is_other(5));
    }

    #[test]
    fn a_gap_is_declared_when_too_much_waits_or_the_stream_ends() {
        let mut stream = Stream::default();
        stream.handle_syn(0);
        assert_eq!(stream.handle_segment(11, b"later"), b"");
        assert_eq!(stream.poll_piece(), None);
        let large = vec![7; WAITING_BYTES_MAX];
        assert_eq!(stream.handle_segment(16, &large), b"");
        assert_eq!(stream.poll_piece(), Some(Piece::Gap(10)));
        assert_eq!(stream.poll_piece(), Some(Piece::Bytes(b"later".to_vec())));
        assert_eq!(stream.poll_piece(), Some(Piece::Bytes(large)));
        assert_eq!(stream.handle_segment(1, b"too late"), b"");
        // Many small segments, each behind its own gap.
        let mut stream = Stream::default();
        stream.handle_syn(0);
        for i in 0..=WAITING_SEGMENTS_MAX as u32 {
            assert_eq!(stream.poll_piece(), None);
            assert_eq!(stream.handle_segment(3 + 2 * i, b"x"), b"");
        }
        assert_eq!(stream.poll_piece(), Some(Piece::Gap(2)));
    }

    proptest! {
        /// Any chunking, any order within a window, any repetition, from any sequence number: the same bytes.
        #[test]
        fn segments_become_the_stream(
            bytes in proptest::collection::vec(any::<u8>(), 1..3000),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), 1usize..200), 0..60),
            order in any::<u64>(),
            first in any::<u32>(),
            lost in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            // Pieces that cover all bytes, and more that overlap them at random.
            let mut pieces: Vec<(usize, usize)> = (0..bytes.len()).step_by(97).map(|at| (at, (at + 97).min(bytes.len()))).collect();
            let lost = lost.map(|lost| lost.index(pieces.len()));
            if let Some(lost) = lost {
                pieces.remove(lost);
            } else {
                pieces.extend(cuts.iter().map(|(at, len)| {
                    let at = at.index(bytes.len());
                    (at, (at + len).min(bytes.len()))
                }));
            }
            let mut state = order | 1;
            for i in (1..pieces.len()).rev() {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                pieces.swap(i, (state >> 33) as usize % (i + 1));
            }
            let segments: Vec<(u32, &[u8])> = pieces
                .iter()
                .map(|(from, to)| (first.wrapping_add(1).wrapping_add(*from as u32), &bytes[*from..*to]))
                .collect();
            let mut stream = Stream::default();
            stream.handle_syn(first);
            let (got, gaps) = run(&mut stream, &segments);
            let mut expected = bytes.clone();
            let mut expected_gaps = vec![];
            if let Some(lost) = lost {
                let gap = lost * 97..(lost * 97 + 97).min(bytes.len());
                // Missing bytes at the end are no gap.
                if gap.end < bytes.len() {
                    expected_gaps.push(gap.len() as u64);
                }
                expected.drain(gap);
            }
            prop_assert_eq!(got, expected);
            prop_assert_eq!(gaps, expected_gaps);
        }
    }
}
