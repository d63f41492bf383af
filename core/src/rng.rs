//! The only source of randomness: one seed, forked by label.
//!
//! Every key, nonce, IV, padding, jitter and lookup target of a run comes from a [`Seed`] through forks with fixed
//! labels, so that one machine's draws never change another's. Nothing is drawn from the operating system.

use core::fmt;
use core::time::Duration;

use rand_chacha::ChaCha20Rng;
use rand_core::{RngCore, SeedableRng};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// The root of a run's randomness. The embedder draws it from the operating system once, or fixes it to repeat a run.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    /// Makes a seed from 32 bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Makes a generator that depends on the seed and the label alone.
    pub fn fork(&self, label: &str) -> Rng {
        let digest = Sha256::new().chain_update(b"peerless/").chain_update(*self.0).chain_update(label).finalize();
        Rng(ChaCha20Rng::from_seed(digest.into()))
    }
}

/// Shows no byte of the seed.
impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// A deterministic generator (ChaCha20). Integer draws are fixed-width, so they are the same on every platform.
///
/// Key material is drawn by [`Rng::secret`], after which the generator continues from a new key and its former state is
/// overwritten: who reads the memory later does not learn keys that were drawn earlier.
#[derive(Clone)]
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// `N` random bytes of key material, wiped when dropped. Re-keys the generator.
    pub fn secret<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let mut out = Zeroizing::new([0; N]);
        self.fill(&mut *out);
        let mut key = Zeroizing::new([0; 32]);
        self.fill(&mut *key);
        self.0 = ChaCha20Rng::from_seed(*key);
        out
    }

    /// Makes another generator. Neither tells anything of the other, nor of what was drawn before.
    pub fn fork(&mut self) -> Self {
        Self(ChaCha20Rng::from_seed(*self.secret()))
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A uniform 64-bit integer.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A uniform integer below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // Lemire's multiply-and-reject: unbiased, and almost always one draw.
        loop {
            let product = u128::from(self.u64()) * u128::from(bound);
            let low = product as u64;
            if low >= bound || low >= bound.wrapping_neg().checked_rem(bound).unwrap_or(0) {
                return (product >> 64) as u64;
            }
        }
    }

    /// A uniform duration in `[min, max)`, in whole microseconds; `min` if the range is empty.
    pub fn duration(&mut self, min: Duration, max: Duration) -> Duration {
        let span = max.saturating_sub(min).as_micros() as u64;
        min + Duration::from_micros(self.below(span))
    }

    /// A uniformly chosen element; `None` if there are none.
    pub fn choose<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.below(items.len() as u64) as usize)
    }

    /// Shuffles `items` in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u64 + 1) as usize;
            items.swap(i, j);
        }
    }
}

/// Overwrites the generator's state.
impl Drop for Rng {
    fn drop(&mut self) {
        self.0 = ChaCha20Rng::from_seed([0; 32]);
        // Without a reader, the compiler would omit the write.
        core::hint::black_box(&mut self.0);
    }
}

/// Shows nothing of the generator's state, which determines the keys that it draws.
impl fmt::Debug for Rng {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rng(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forks_depend_on_seed_and_label_only() {
        let seed = Seed::new([7; 32]);
        let mut a = seed.fork("discv4");
        a.u64();
        assert_eq!(seed.fork("rlpx").bytes::<16>(), seed.fork("rlpx").bytes::<16>());
        assert_ne!(seed.fork("rlpx").bytes::<16>(), seed.fork("discv4").bytes::<16>());
        assert_ne!(seed.fork("rlpx").bytes::<16>(), Seed::new([8; 32]).fork("rlpx").bytes::<16>());
    }

    #[test]
    fn a_state_read_later_does_not_yield_secrets_drawn_earlier() {
        let mut rng = Seed::new([9; 32]).fork("keys");
        rng.u64();
        let secrets = [*rng.secret::<32>(), rng.fork().bytes(), *rng.secret::<32>()];
        // All that memory holds of the generator: its key, from which it draws from the start on.
        let mut replayed = ChaCha20Rng::from_seed(rng.0.get_seed());
        let mut drawn = std::vec![0; 4096];
        replayed.fill_bytes(&mut drawn);
        assert!(secrets.iter().all(|secret| !drawn.windows(32).any(|window| window == secret)));
        assert_ne!(rng.0.get_seed(), Seed::new([9; 32]).fork("keys").0.get_seed());
        assert_eq!(drawn[..8], rng.u64().to_le_bytes(), "the check above looks at what the generator draws next");
    }

    #[test]
    fn debug_shows_no_secret() {
        let seed = Seed::new([7; 32]);
        assert_eq!(std::format!("{seed:?} {:?}", seed.fork("test")), "Seed(..) Rng(..)");
    }

    #[test]
    fn draws_stay_in_bounds_and_reach_them() {
        let mut rng = Seed::new([1; 32]).fork("test");
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[rng.below(5) as usize] = true;
            let d = rng.duration(Duration::from_secs(1), Duration::from_secs(3));
            assert!((1..3).contains(&d.as_secs()));
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.choose::<u8>(&[]), None);
    }
}
