//! The Keccak sponge that RLPx uses as a MAC: absorbed into for a whole session, read without being finalised.
//!
//! A plain value of 25 words and the place in the current block, 208 bytes. See `rlpx.md`, "MAC".

use super::Digest;

/// Keccak-256's rate: bytes absorbed between two permutations.
const RATE_BYTES: usize = 136;

/// A running legacy Keccak-256 (not SHA3-256).
#[derive(Clone)]
pub struct Keccak {
    state: [u64; 25],
    /// Bytes of the current block that are absorbed; below [`RATE_BYTES`].
    filled: usize,
}

impl Default for Keccak {
    fn default() -> Self {
        Self::new()
    }
}

impl Keccak {
    /// The state that has absorbed nothing.
    pub const fn new() -> Self {
        Self { state: [0; 25], filled: 0 }
    }

    /// Absorbs `bytes`.
    pub fn update(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if !self.filled.is_multiple_of(8) || bytes.len() < RATE_BYTES - self.filled {
            let n = bytes.len().min(RATE_BYTES - self.filled);
            self.absorb_within_block(&bytes[..n]);
            bytes = &bytes[n..];
        }
        if bytes.is_empty() {
            return;
        }
        while bytes.len() >= RATE_BYTES - self.filled {
            let (words, rest) = bytes.split_at(RATE_BYTES - self.filled);
            for (lane, word) in self.state[self.filled / 8..].iter_mut().zip(words.chunks_exact(8)) {
                *lane ^= u64::from_le_bytes(word.try_into().expect("chunks of eight"));
            }
            self.filled = 0;
            keccak::f1600(&mut self.state);
            bytes = rest;
        }
        self.absorb_within_block(bytes);
    }

    /// Absorbs at most what is left of the current block.
    fn absorb_within_block(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.state[self.filled / 8] ^= u64::from(*byte) << (8 * (self.filled % 8));
            self.filled += 1;
        }
        if self.filled == RATE_BYTES {
            self.filled = 0;
            keccak::f1600(&mut self.state);
        }
    }

    /// The digest of what has been absorbed so far; the state stays as it is.
    pub fn digest(&self) -> Digest {
        let mut state = self.state;
        state[self.filled / 8] ^= 1 << (8 * (self.filled % 8));
        state[RATE_BYTES / 8 - 1] ^= 0x80 << 56;
        keccak::f1600(&mut state);
        let mut out = [0; 32];
        for (bytes, lane) in out.chunks_exact_mut(8).zip(state) {
            bytes.copy_from_slice(&lane.to_le_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::super::keccak256;
    use super::*;

    #[test]
    fn agrees_with_the_library_in_any_chunking() {
        let input: alloc::vec::Vec<u8> = (0..1000u32).map(|i| (i * 7) as u8).collect();
        for chunk in [1, 3, 8, 31, 32, 135, 136, 137, 272, 1000] {
            let mut keccak = Keccak::new();
            let mut absorbed = 0;
            for part in input.chunks(chunk) {
                keccak.update(part);
                absorbed += part.len();
                assert_eq!(keccak.digest(), keccak256(&input[..absorbed]), "chunks of {chunk}, after {absorbed}");
            }
        }
    }
}
