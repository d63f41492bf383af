//! The Keccak sponge that RLPx uses as a MAC: it absorbs bytes for a whole session, and is read without being finalised
//! (`rlpx.md`, "MAC").
//!
//! A plain value of 25 words and the position in the current block, 208 bytes. An absorption works on whole words at
//! any position: the handshake's packets have any length, so the session's absorptions of 16 bytes that follow them are
//! rarely aligned.

use core::fmt;

use zeroize::Zeroize;

use super::Digest;

/// Keccak-256's rate: bytes absorbed between two permutations.
const RATE_BYTES: usize = 136;

/// A running legacy Keccak-256 (not SHA3-256).
#[derive(Clone)]
pub struct Keccak {
    state: [u64; 25],
    /// Absorbed bytes of the current block; below [`RATE_BYTES`].
    filled: usize,
}

impl Default for Keccak {
    fn default() -> Self {
        Self::new()
    }
}

/// Shows no part of the state, which is a secret: it authenticates the bytes that are absorbed next.
impl fmt::Debug for Keccak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keccak(..)")
    }
}

/// Zeroises the state.
impl Drop for Keccak {
    fn drop(&mut self) {
        self.state.zeroize();
    }
}

impl Keccak {
    /// A state that has absorbed nothing.
    pub const fn new() -> Self {
        Self { state: [0; 25], filled: 0 }
    }

    /// The state as plain words, for implementations of [`Crypto`](super::Crypto) that use it for another hash.
    pub const fn words_mut(&mut self) -> &mut [u64; 25] {
        &mut self.state
    }

    /// Absorbs `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.filled != 0 {
            let (head, rest) = bytes.split_at(bytes.len().min(RATE_BYTES - self.filled));
            self.absorb_within_block(head);
            bytes = rest;
        }
        let (blocks, rest) = bytes.as_chunks::<RATE_BYTES>();
        for block in blocks {
            for (lane, word) in self.state.iter_mut().zip(block.as_chunks::<8>().0) {
                *lane ^= u64::from_le_bytes(*word);
            }
            keccak::f1600(&mut self.state);
        }
        self.absorb_within_block(rest);
    }

    /// Absorbs `bytes`, which end in the current block.
    fn absorb_within_block(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        let shift = 8 * (self.filled % 8) as u32;
        let mut lane = self.filled / 8;
        for word in words {
            let word = u64::from_le_bytes(*word);
            self.state[lane] ^= word << shift;
            lane += 1;
            if shift != 0 {
                self.state[lane] ^= word >> (64 - shift);
            }
        }
        self.filled += bytes.len() - rest.len();
        for byte in rest {
            self.state[self.filled / 8] ^= u64::from(*byte) << (8 * (self.filled % 8));
            self.filled += 1;
        }
        if self.filled == RATE_BYTES {
            self.filled = 0;
            keccak::f1600(&mut self.state);
        }
    }

    /// The digest of the bytes absorbed so far; the state does not change.
    pub fn digest(&self) -> Digest {
        let mut state = self.state;
        state[self.filled / 8] ^= 1 << (8 * (self.filled % 8));
        state[RATE_BYTES / 8 - 1] ^= 0x80 << 56;
        keccak::f1600(&mut state);
        let mut out = [0; 32];
        for (bytes, lane) in out.as_chunks_mut::<8>().0.iter_mut().zip(state) {
            *bytes = lane.to_le_bytes();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::keccak256;
    use super::*;

    fn input() -> alloc::vec::Vec<u8> {
        (0..1000u32).map(|i| (i * 7) as u8).collect()
    }

    #[test]
    fn agrees_with_the_library_in_any_chunking() {
        let input = input();
        for chunk in [1, 3, 8, 16, 31, 32, 135, 136, 137, 272, 1000] {
            let mut keccak = Keccak::new();
            let mut absorbed = 0;
            for part in input.chunks(chunk) {
                keccak.update(part);
                absorbed += part.len();
                assert_eq!(keccak.digest(), keccak256(&input[..absorbed]), "chunks of {chunk}, after {absorbed}");
            }
        }
    }

    /// Every position in the block, with every length that ends in this block or the next.
    #[test]
    fn agrees_with_the_library_at_any_alignment() {
        let input = input();
        for start in 0..RATE_BYTES {
            let mut begun = Keccak::new();
            begun.update(&input[..start]);
            for end in start..=2 * RATE_BYTES + 1 {
                let mut keccak = begun.clone();
                keccak.update(&input[start..end]);
                assert_eq!(keccak.digest(), keccak256(&input[..end]), "{start}..{end}");
            }
        }
    }
}
