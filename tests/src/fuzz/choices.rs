//! Reads decisions from a fuzzer's bytes: small ones from one byte each, so that flipping a byte changes one decision.

use std::time::Duration;

/// A cursor over the bytes; where they end, every decision is the first of its kind.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    rest: &'a [u8],
}

impl<'a> Choices<'a> {
    /// All decisions of an input.
    pub const fn new(data: &'a [u8]) -> Self {
        Self { rest: data }
    }

    /// Whether none is left.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Any byte.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// Yes or no.
    pub fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    /// Yes, once in `n`.
    pub fn once_in(&mut self, n: u8) -> bool {
        self.byte() % n == n - 1
    }

    /// Any number below `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let mut value = usize::from(self.byte());
        if bound > 1 << 8 {
            value = value << 8 | usize::from(self.byte());
        }
        if bound > 1 << 16 {
            value = value << 8 | usize::from(self.byte());
        }
        value.checked_rem(bound).unwrap_or(0)
    }

    /// Any 64-bit number; small and extreme ones more often than others.
    pub fn number(&mut self) -> u64 {
        match self.byte() {
            small @ ..0xc0 => u64::from(small),
            shift @ ..0xf0 => u64::from(self.byte()) << (shift & 0x3f),
            0xff => u64::MAX,
            _ => self.array().iter().fold(0, |value, byte| value << 8 | u64::from(*byte)),
        }
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// As many bytes as there are, zeros for the others.
    pub fn array(&mut self) -> [u8; 8] {
        let mut out = [0; 8];
        out.fill_with(|| self.byte());
        out
    }

    /// At most `max` of the bytes themselves.
    pub fn bytes(&mut self, max: usize) -> &'a [u8] {
        let len = self.below(max + 1).min(self.rest.len());
        let (taken, rest) = self.rest.split_at(len);
        self.rest = rest;
        taken
    }

    /// A span of time: none, a moment, or as long as a deadline of the protocol lasts.
    pub fn span(&mut self) -> Duration {
        let amount = u64::from(self.byte());
        match amount & 7 {
            0 => Duration::ZERO,
            1 => Duration::from_micros(amount),
            2 | 3 => Duration::from_millis(amount),
            4 | 5 => Duration::from_millis(amount * 40),
            6 => Duration::from_secs(amount),
            _ => Duration::from_secs(amount * 120),
        }
    }

    /// What is left.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_stay_in_their_bounds_and_never_run_out() {
        let data: Vec<u8> = (0..=255).collect();
        let mut choices = Choices::new(&data);
        for bound in [0, 1, 7, 256, 257, 70_000] {
            assert!(choices.below(bound) < bound.max(1));
        }
        assert!(choices.bytes(20).len() <= 20);
        while !choices.is_empty() {
            choices.number();
        }
        assert_eq!((choices.byte(), choices.number(), choices.below(9)), (0, 0, 0));
        assert_eq!(choices.pick(&["first", "second"]), "first");
    }
}
