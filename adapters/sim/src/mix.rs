//! A fast 64-bit mixing hash, and random streams based on it.
//!
//! It has three uses: every draw of the network is a hash of the seed, a sender and its sequence number; a run's trace
//! is folded into 64 bits; and the simulated primitives of [`crate::crypto`] are built on it. It multiplies two words
//! to 128 bits and folds the halves together, 16 bytes at a time. It is not secure against chosen inputs.

use peerless::time::Duration;

const K0: u64 = 0xa076_1d64_78bd_642f;
const K1: u64 = 0xe703_7ed1_a0b4_28db;
const K2: u64 = 0x8ebc_6af0_9c88_c6e3;

const fn fold(a: u64, b: u64) -> u64 {
    let product = (a as u128) * (b as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

/// A running hash of words and byte strings. Equal inputs in the same order give the same value on every platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mix(u64);

impl Mix {
    /// Makes a hash that depends on `seed`.
    pub const fn new(seed: u64) -> Self {
        Self(fold(seed ^ K0, K1))
    }

    /// Absorbs a word.
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        Self(fold(self.0 ^ word, K1).wrapping_add(K2))
    }

    /// Absorbs two words at the cost of one.
    #[must_use]
    pub const fn words(self, a: u64, b: u64) -> Self {
        Self(fold(self.0 ^ a, b ^ K1).wrapping_add(K2))
    }

    /// Absorbs a byte string and its length.
    #[must_use]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let mut hash = self.word(bytes.len() as u64);
        // Two independent chains, since each multiplication depends on the one before it.
        let (pairs, rest) = bytes.as_chunks::<32>();
        if !pairs.is_empty() {
            let mut other = hash.word(1);
            for pair in pairs {
                let [(a, b), (c, d)] = [0, 1].map(|half| halves(&pair.as_chunks().0[half]));
                hash = hash.words(a, b);
                other = other.words(c, d);
            }
            hash = hash.word(other.0);
        }
        let (chunks, rest) = rest.as_chunks::<16>();
        for chunk in chunks {
            let (a, b) = halves(chunk);
            hash = hash.words(a, b);
        }
        if rest.is_empty() {
            return hash;
        }
        let mut last = [0; 16];
        last[..rest.len()].copy_from_slice(rest);
        let (a, b) = halves(&last);
        hash.words(a, b)
    }

    /// The hash of the absorbed input.
    pub const fn finish(self) -> u64 {
        fold(self.0 ^ K0, K2)
    }

    /// The hash of the absorbed input, expanded to 32 bytes.
    pub fn finish_32(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (i, lane) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            *lane = self.word(i as u64).finish().to_le_bytes();
        }
        out
    }
}

fn halves(chunk: &[u8; 16]) -> (u64, u64) {
    let both = u128::from_le_bytes(*chunk);
    (both as u64, (both >> 64) as u64)
}

/// A random stream that depends on its start alone. Eight bytes of state.
#[derive(Clone, Debug)]
pub struct Stream(u64);

impl Stream {
    /// Makes the stream of a seed, a node and a purpose.
    pub const fn new(seed: u64, node: u64, purpose: u64) -> Self {
        Self(Mix::new(seed).words(node, purpose).finish())
    }

    /// A uniform word.
    pub const fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(K0);
        fold(self.0, self.0 ^ K1)
    }

    /// A uniform integer below `bound`, up to a bias of `bound / 2^64`; 0 if `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        scale(self.u64(), bound)
    }

    /// Draws an event of probability `millionths / 1,000,000`.
    pub const fn happens(&mut self, millionths: u32) -> bool {
        self.below(1_000_000) < millionths as u64
    }

    /// A uniform duration in `[min, max)`, in whole microseconds; `min` if the range is empty.
    pub fn duration(&mut self, min: Duration, max: Duration) -> Duration {
        min + Duration::from_micros(self.below(max.saturating_sub(min).as_micros() as u64))
    }

    /// 32 uniform bytes.
    pub fn bytes_32(&mut self) -> [u8; 32] {
        let mut out = [0; 32];
        for lane in out.as_chunks_mut::<8>().0 {
            *lane = self.u64().to_le_bytes();
        }
        out
    }

    /// An exponential duration of this mean, by comparisons of uniform words alone (von Neumann's method).
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        let mean = mean.as_micros() as u64;
        let mut whole: u64 = 0;
        loop {
            let first = self.u64();
            let (mut last, mut is_accepted) = (first, true);
            loop {
                let next = self.u64();
                if next >= last {
                    break;
                }
                (last, is_accepted) = (next, !is_accepted);
            }
            if is_accepted {
                return Duration::from_micros(whole.saturating_mul(mean).saturating_add(scale(first, mean)));
            }
            whole += 1;
        }
    }

    /// A log-normal duration: its median, times e to the power of a normal number with deviation `sigma_millis / 1000`.
    pub fn log_normal(&mut self, median: Duration, sigma_millis: u32) -> Duration {
        // The sum of twelve uniform numbers approximates a normal one of variance 1, up to six deviations.
        let sum: f64 = (0..12).map(|_| (self.u64() >> 11) as f64 / (1u64 << 53) as f64).sum();
        let exponent = (sum - 6.0) * f64::from(sigma_millis) / 1000.0;
        let micros = median.as_micros() as f64 * exp(exponent);
        Duration::from_micros(micros.min(1e18) as u64)
    }
}

/// Scales a uniform word to a number below `bound`.
pub(crate) const fn scale(word: u64, bound: u64) -> u64 {
    ((word as u128 * bound as u128) >> 64) as u64
}

/// Computes e to the power of `x` by additions and multiplications alone, so that it is the same on every platform.
fn exp(x: f64) -> f64 {
    let reduced = x / 1024.0;
    let mut term = 1.0;
    let mut sum = 1.0;
    for i in 1..12 {
        term *= reduced / f64::from(i);
        sum += term;
    }
    (0..10).fold(sum, |power, _| power * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_depend_on_every_bit_and_on_the_order() {
        let bytes = [7; 40];
        let hash = Mix::new(1).bytes(&bytes).finish();
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(Mix::new(1).bytes(&other).finish(), hash, "bit {bit}");
        }
        assert_ne!(Mix::new(1).bytes(&bytes[..39]).word(7), Mix::new(1).bytes(&bytes));
        assert_ne!(Mix::new(1).word(1).word(2), Mix::new(1).word(2).word(1));
        assert_ne!(Mix::new(1).bytes(&bytes).finish(), Mix::new(2).bytes(&bytes).finish());
    }

    #[test]
    fn streams_are_uniform_and_distinct() {
        let mut a = Stream::new(1, 2, 3);
        let mut counts = [0u32; 16];
        for _ in 0..160_000 {
            counts[a.below(16) as usize] += 1;
        }
        assert!(counts.iter().all(|count| count.abs_diff(10_000) < 500), "{counts:?}");
        assert_ne!(Stream::new(1, 2, 3).u64(), Stream::new(1, 3, 2).u64());
        assert_eq!(a.below(0), 0);
    }

    #[test]
    fn log_normal_has_its_median_and_spread() {
        assert!((exp(1.0) - std::f64::consts::E).abs() < 1e-9 && (exp(-5.0) - (-5f64).exp()).abs() < 1e-9);
        let mut stream = Stream::new(9, 0, 0);
        let mut drawn: Vec<Duration> =
            (0..20_001).map(|_| stream.log_normal(Duration::from_secs(7200), 1650)).collect();
        drawn.sort();
        let median = drawn[10_000].as_secs();
        assert!((6700..7700).contains(&median), "{median}");
        // 84.13 % of the values are below one deviation above the median, which is e^1.65 times the median.
        let above = drawn[16_826].as_secs();
        assert!((34_000..41_500).contains(&above), "{above}");
    }
}
