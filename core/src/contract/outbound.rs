//! The bytes that wait for a stream's socket: machines append them, and they are removed as the driver writes them.

use alloc::vec::Vec;

use crate::limits;

/// One stream's outgoing bytes.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    written: usize,
    /// The number of written bytes that are no longer in `bytes`.
    removed: u64,
}

impl Outbound {
    /// The bytes that the socket has not taken yet.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// The number of bytes that the socket has not taken yet.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether the socket has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of bytes that the socket has taken since the stream began.
    pub fn written(&self) -> u64 {
        self.removed + self.written as u64
    }

    /// The offset in the stream of the next byte to be appended. All bytes before it have left once
    /// [`written`](Self::written) reaches it.
    pub fn end(&self) -> u64 {
        self.removed + self.bytes.len() as u64
    }

    /// The buffer, for appending. The present bytes must not be changed.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        // A queue that is never empty would keep its written front. Removing that once it is half of the buffer costs each
        // byte at most one copy.
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.removed += self.written as u64;
            self.written = 0;
        }
        &mut self.bytes
    }

    /// Removes the first `n` bytes, or all if there are fewer. Frees memory after a burst.
    pub fn consume(&mut self, n: usize) {
        self.written += n.min(self.len());
        if self.is_empty() {
            self.bytes.clear();
            self.removed += self.written as u64;
            self.written = 0;
            self.bytes.shrink_to(limits::IDLE_BUFFER_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partial_writes_keep_the_order() {
        let mut out = Outbound::default();
        let mut sent = Vec::new();
        let all: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for (i, chunk) in all.chunks(33).enumerate() {
            out.tail().extend_from_slice(chunk);
            let n = (i * 17) % (out.len() + 1);
            sent.extend_from_slice(&out.as_slice()[..n]);
            out.consume(n);
            assert_eq!(out.written(), sent.len() as u64);
            assert_eq!(out.end() - out.written(), out.len() as u64);
        }
        sent.extend_from_slice(out.as_slice());
        out.consume(usize::MAX);
        assert_eq!(sent, all);
        assert!(out.is_empty() && out.bytes.capacity() <= limits::IDLE_BUFFER_BYTES);
    }
}
