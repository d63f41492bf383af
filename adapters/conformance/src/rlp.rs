//! RLP encoding of packets that no honest node sends. Decoding, and all other encoding, is that of `peerless`.

/// A byte string.
pub(crate) fn string(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [byte] if *byte < 0x80 => vec![*byte],
        _ => [header(0x80, bytes.len()), bytes.to_vec()].concat(),
    }
}

/// An integer in its shortest form.
pub(crate) fn uint(value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    string(&bytes[value.leading_zeros() as usize / 8..])
}

/// A list of encoded items.
pub(crate) fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let payload = items.concat();
    [header(0xc0, payload.len()), payload].concat()
}

fn header(offset: u8, bytes: usize) -> Vec<u8> {
    match u8::try_from(bytes) {
        Ok(short @ 0..=55) => vec![offset + short],
        _ => {
            let bytes = (bytes as u64).to_be_bytes();
            let digits: Vec<u8> = bytes.into_iter().skip_while(|byte| *byte == 0).collect();
            [&[offset + 55 + digits.len() as u8], &digits[..]].concat()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_those_of_the_specification() {
        assert_eq!(string(b"dog"), *b"\x83dog");
        assert_eq!((string(&[]), string(&[0x0f]), string(&[0x80])), (vec![0x80], vec![0x0f], vec![0x81, 0x80]));
        assert_eq!((uint(0), uint(15), uint(1024)), (vec![0x80], vec![0x0f], vec![0x82, 0x04, 0x00]));
        assert_eq!(list(&[string(b"cat"), string(b"dog")]), *b"\xc8\x83cat\x83dog");
        assert_eq!(string(&[1; 56])[..2], [0xb8, 56]);
        assert_eq!(list(&[string(&[1; 1000])])[..6], [0xf9, 0x03, 0xeb, 0xb9, 0x03, 0xe8]);
    }
}
