//! Raw Snappy as in RLPx (EIP-706): one block that begins with its length, never the framing format.
//!
//! A length is accepted only if the compressed bytes can expand to it, so no memory is reserved for a false length. The
//! crate `snap` does the work; its scratch space lives in one [`Compressor`] that all sessions share.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::DecodeError;

/// The largest expansion of an element: bytes produced, and bytes taken by it. It is that of a copy with a two-byte
/// offset (`format_description.txt`, section 2).
const EXPANSION_MAX: (usize, usize) = (64, 3);

/// Bytes of the length at the start of a block: 32 bits at seven a byte.
const LENGTH_BYTES_MAX: usize = 5;

/// Reads the inflated size from the first bytes of `compressed`.
///
/// # Errors
/// [`DecodeError::TooLarge`] if it is more than `bytes_max`; another error if there is no length, or if `compressed`
/// cannot expand to it.
pub fn inflated_len(compressed: &[u8], bytes_max: usize) -> Result<usize, DecodeError> {
    let mut length = 0u64;
    for (i, byte) in compressed.iter().enumerate().take(LENGTH_BYTES_MAX) {
        length |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            let length = usize::try_from(length).map_err(|_| DecodeError::TooLarge)?;
            if length > bytes_max || length > u32::MAX as usize {
                return Err(DecodeError::TooLarge);
            }
            let (produced, taken) = EXPANSION_MAX;
            let elements = compressed.len() - (i + 1);
            return if length <= elements.saturating_mul(produced) / taken {
                Ok(length)
            } else {
                Err(DecodeError::Truncated)
            };
        }
    }
    Err(if compressed.len() < LENGTH_BYTES_MAX { DecodeError::Truncated } else { DecodeError::TooLarge })
}

/// Inflates `compressed` into `out`, whose length is the result of [`inflated_len`].
///
/// # Errors
/// If the block is malformed or does not fill `out` exactly.
pub fn inflate(compressed: &[u8], out: &mut [u8]) -> Result<(), DecodeError> {
    match snap::raw::Decoder::new().decompress(compressed, out) {
        Ok(inflated) if inflated == out.len() => Ok(()),
        _ => Err(DecodeError::BadValue),
    }
}

/// The largest size that `len` bytes can be compressed to.
pub const fn compressed_len_max(len: usize) -> usize {
    32 + len + len / 6
}

/// Compresses messages; from the first one on it holds about 34 KiB of scratch space.
#[derive(Default, Debug)]
pub struct Compressor(Option<Box<snap::raw::Encoder>>);

impl Compressor {
    /// Appends to `out` one block that inflates to the concatenation of `parts`.
    ///
    /// Copies within a block refer backwards only, so the elements of separately compressed parts can be concatenated
    /// unchanged. The parts together are smaller than 4 GiB.
    pub fn append(&mut self, parts: &[&[u8]], out: &mut Vec<u8>) {
        let total: usize = parts.iter().map(|part| part.len()).sum();
        append_length(total, out);
        let encoder = self.0.get_or_insert_with(|| Box::new(snap::raw::Encoder::new()));
        for part in parts.iter().filter(|part| !part.is_empty()) {
            // The encoder writes the part's own length first, which is not longer than the total's: it overwrites the
            // end of the bytes before, which are then restored.
            let end = out.len();
            let start = end - length_bytes(part.len());
            let mut covered = [0; LENGTH_BYTES_MAX];
            let covered = &mut covered[..end - start];
            covered.copy_from_slice(&out[start..]);
            out.resize(start + compressed_len_max(part.len()), 0);
            let written = encoder.compress(part, &mut out[start..]).expect("messages are below 4 GiB");
            out.truncate(start + written);
            out[start..end].copy_from_slice(covered);
        }
    }
}

fn length_bytes(length: usize) -> usize {
    (length.max(1).ilog2() / 7 + 1) as usize
}

fn append_length(length: usize, out: &mut Vec<u8>) {
    let mut rest = length;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::keccak256;
    use crate::limits::MESSAGE_BYTES_MAX;
    use alloc::vec;
    use proptest::prelude::*;
    use serde_json::Value;

    const VECTORS: &str = include_str!("../../vectors/snappy.json");

    fn unpack(compressed: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
        let mut out = vec![0; inflated_len(compressed, bytes_max)?];
        inflate(compressed, &mut out)?;
        Ok(out)
    }

    fn pack(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![7; 9];
        Compressor::default().append(parts, &mut out);
        assert_eq!(out[..9], [7; 9], "what was there is untouched");
        out.split_off(9)
    }

    fn rows<'a>(vectors: &'a Value, key: &str) -> &'a [Value] {
        let rows = vectors[key].as_array().unwrap();
        assert!(!rows.is_empty());
        rows
    }

    fn bytes(row: &Value, key: &str) -> Vec<u8> {
        const_hex::decode(row[key].as_str().unwrap()).unwrap()
    }

    #[test]
    fn vectors_inflate_or_are_refused() {
        let vectors: Value = serde_json::from_str(VECTORS).unwrap();
        for row in rows(&vectors, "accept") {
            let inflated = unpack(&bytes(row, "compressed"), MESSAGE_BYTES_MAX).unwrap();
            assert_eq!(inflated, bytes(row, "inflated"), "{row}");
            assert_eq!(unpack(&pack(&[&inflated]), inflated.len()).unwrap(), inflated);
        }
        for row in rows(&vectors, "large") {
            let inflated = unpack(&bytes(row, "compressed"), MESSAGE_BYTES_MAX).unwrap();
            assert_eq!(inflated.len() as u64, row["inflated_len"].as_u64().unwrap());
            assert_eq!(keccak256(&inflated)[..], bytes(row, "inflated_keccak256"));
            assert_eq!(unpack(&pack(&[&inflated]), inflated.len()).unwrap(), inflated);
        }
        for row in rows(&vectors, "refuse") {
            assert!(unpack(&bytes(row, "compressed"), MESSAGE_BYTES_MAX).is_err(), "{row}");
        }
    }

    #[test]
    fn a_false_length_is_refused_before_inflating() {
        let claim = |hex: &str, bytes_max| {
            // As many bytes after the length as could expand to it.
            let mut compressed = const_hex::decode(hex).unwrap();
            compressed.resize(compressed.len() + MESSAGE_BYTES_MAX / 21 + 2, 0);
            inflated_len(&compressed, bytes_max)
        };
        assert_eq!(claim("ffffff07", MESSAGE_BYTES_MAX), Ok(MESSAGE_BYTES_MAX));
        assert_eq!(claim("ffffff07", MESSAGE_BYTES_MAX - 1), Err(DecodeError::TooLarge));
        assert_eq!(claim("80808008", MESSAGE_BYTES_MAX), Err(DecodeError::TooLarge));
        assert_eq!(claim("ffffffff0f", MESSAGE_BYTES_MAX), Err(DecodeError::TooLarge));
        assert_eq!(claim("ffffffffffffffffff01", usize::MAX), Err(DecodeError::TooLarge));
        assert_eq!(inflated_len(&[], 1), Err(DecodeError::Truncated));
        assert_eq!(inflated_len(&[0x80], 1), Err(DecodeError::Truncated));
        // Three bytes expand to at most 64; a larger length is false.
        assert_eq!(inflated_len(&[64, 0, 0, 0], 100), Ok(64));
        assert_eq!(inflated_len(&[65, 0, 0, 0], 100), Err(DecodeError::Truncated));
    }

    proptest! {
        #[test]
        fn compressed_parts_inflate_to_their_concatenation(parts in proptest::collection::vec(proptest::collection::vec(0u8..4, 0..400), 0..4), repeat in 1usize..300) {
            let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.repeat(repeat)).collect();
            let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let packed = pack(&slices);
            let joined = parts.concat();
            prop_assert_eq!(snap::raw::Decoder::new().decompress_vec(&packed).unwrap(), &joined[..]);
            prop_assert_eq!(unpack(&packed, joined.len()).unwrap(), &joined[..]);
            prop_assert!(packed.len() <= compressed_len_max(joined.len()) + 8 * parts.len());
            if let [part] = &slices[..] {
                prop_assert_eq!(packed, snap::raw::Encoder::new().compress_vec(part).unwrap());
            }
        }

        #[test]
        fn inflating_any_bytes_agrees_with_the_crate(head in 0u8..100, tail in proptest::collection::vec(any::<u8>(), 0..60)) {
            let compressed = [&[head], &tail[..]].concat();
            let theirs = snap::raw::Decoder::new().decompress_vec(&compressed).ok();
            prop_assert_eq!(unpack(&compressed, 100).ok(), theirs);
        }
    }
}
