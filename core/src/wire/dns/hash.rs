//! The hash that names an entry: the start of the text's Keccak-256 in base32.

use core::fmt;
use core::fmt::Write as _;
use core::str::FromStr;

use super::EntryError;
use crate::crypto::keccak256;

/// The base32 alphabet of RFC 4648.
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Digits of the longest hash, of 32 bytes.
const DIGITS_MAX: usize = 52;
/// The bytes that clients accept: geth's bounds.
const BYTES: core::ops::RangeInclusive<usize> = 12..=32;
/// The bytes of a hash that is made.
const MADE: usize = 16;

/// The hash of an entry as a subdomain: 12 to 32 bytes, in upper-case base32 without padding. The bits of the last digit
/// that belong to no byte are kept, because they are part of the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryHash {
    digits: u8,
    /// Five bits for each digit, the others zero.
    packed: [u8; 33],
}

impl EntryHash {
    /// The hash of an entry's text, of 16 bytes as all list makers have it.
    pub fn of(text: &str) -> Self {
        let mut packed = [0; 33];
        packed[..MADE].copy_from_slice(&keccak256(text.as_bytes())[..MADE]);
        Self { digits: (MADE * 8).div_ceil(5) as u8, packed }
    }

    /// The bytes of the hash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.packed[..usize::from(self.digits) * 5 / 8]
    }

    /// Whether it is the hash of `text`: whether the text's Keccak-256 begins with its bytes.
    pub fn matches(&self, text: &[u8]) -> bool {
        keccak256(text).starts_with(self.as_bytes())
    }

    fn digit(&self, at: usize) -> u8 {
        (0..5).fold(0, |value, bit| {
            let bit = at * 5 + bit;
            value << 1 | (self.packed[bit / 8] >> (7 - bit % 8) & 1)
        })
    }
}

impl fmt::Display for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..usize::from(self.digits)).try_for_each(|at| f.write_char(char::from(ALPHABET[usize::from(self.digit(at))])))
    }
}

impl fmt::Debug for EntryHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EntryHash {
    type Err = EntryError;

    fn from_str(text: &str) -> Result<Self, EntryError> {
        // Of eight digits for five bytes, one, three and six are no whole number of bytes.
        if text.len() > DIGITS_MAX || matches!(text.len() % 8, 1 | 3 | 6) || !BYTES.contains(&(text.len() * 5 / 8)) {
            return Err(EntryError::Hash);
        }
        let mut hash = Self { digits: text.len() as u8, packed: [0; 33] };
        for (at, byte) in text.bytes().enumerate() {
            let value = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return Err(EntryError::Hash),
            };
            for bit in 0..5 {
                let place = at * 5 + bit;
                hash.packed[place / 8] |= (value >> (4 - bit) & 1) << (7 - place % 8);
            }
        }
        Ok(hash)
    }
}
