//! The bytes that wait for a stream's socket: appended by the machines, lent to the driver, taken away as it writes.

use alloc::vec::Vec;

use crate::limits;

/// One stream's outgoing bytes.
#[derive(Clone, Debug, Default)]
pub struct Outbound {
    bytes: Vec<u8>,
    written: usize,
    /// Bytes of the stream that were written and are no longer in `bytes`.
    forgotten: u64,
}

impl Outbound {
    /// What the socket has not taken yet.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Number of bytes the socket has not taken yet.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.written
    }

    /// Whether the socket has taken everything.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the socket has come: bytes it has taken since the stream began.
    pub fn written(&self) -> u64 {
        self.forgotten + self.written as u64
    }

    /// Where the next byte appended will stand in the stream. What ends here has left when [`written`](Self::written)
    /// comes this far.
    pub fn end(&self) -> u64 {
        self.forgotten + self.bytes.len() as u64
    }

    /// Where machines append. What is there already must stay as it is.
    pub fn tail(&mut self) -> &mut Vec<u8> {
        // A long queue that is written piecemeal would keep its dead front for ever; moving it once per its own length
        // costs each byte one copy at most.
        if self.written > self.bytes.len() / 2 {
            self.bytes.drain(..self.written);
            self.forgotten += self.written as u64;
            self.written = 0;
        }
        &mut self.bytes
    }

    /// The socket took the first `n` bytes; clamped to what there is. Gives memory back after a burst.
    pub fn consume(&mut self, n: usize) {
        self.written += n.min(self.len());
        if self.is_empty() {
            self.bytes.clear();
            self.forgotten += self.written as u64;
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
