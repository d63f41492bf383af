//! The primitives of the codec: little-endian integers of fixed width, LEB128 for counts, and composites of them.
//!
//! Decoding allocates in proportion to its input.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use peerless::crypto::{Crypto, PublicKey};
use peerless::time::{Duration, Instant};
use peerless::wire::enode::Contact;

/// The part of a record that could not be decoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed(pub &'static str);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "malformed {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Appends values to a buffer.
#[allow(missing_docs, reason = "each method appends the type in its name, in the encoding of `docs/trace.md`")]
pub trait Encode {
    fn byte(&mut self, value: u8);
    fn fixed(&mut self, value: &[u8]);

    fn u16(&mut self, value: u16) {
        self.fixed(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.fixed(&value.to_le_bytes());
    }

    /// LEB128: seven bits per byte, the lowest first.
    fn count(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn bytes(&mut self, value: &[u8]) {
        self.count(value.len() as u64);
        self.fixed(value);
    }

    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    fn flag(&mut self, value: bool) {
        self.byte(value.into());
    }

    fn option<T>(&mut self, value: Option<T>, encode: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            encode(self, value);
        }
    }

    fn instant(&mut self, value: Instant) {
        self.count(value.as_micros());
    }

    /// In microseconds; saturates at `u64::MAX`.
    fn duration(&mut self, value: Duration) {
        self.count(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    fn ip(&mut self, value: IpAddr) {
        match value {
            IpAddr::V4(ip) => {
                self.byte(4);
                self.fixed(&ip.octets());
            }
            IpAddr::V6(ip) => {
                self.byte(6);
                self.fixed(&ip.octets());
            }
        }
    }

    /// Omits flow label and scope, which nodes ignore.
    fn addr(&mut self, value: SocketAddr) {
        self.ip(value.ip());
        self.u16(value.port());
    }

    fn contact(&mut self, value: &Contact) {
        self.fixed(value.key().as_bytes());
        self.ip(value.ip());
        self.u16(value.udp());
        self.u16(value.tcp());
    }
}

impl Encode for Vec<u8> {
    fn byte(&mut self, value: u8) {
        self.push(value);
    }

    fn fixed(&mut self, value: &[u8]) {
        self.extend_from_slice(value);
    }
}

/// Takes values from the front of a slice. Each method takes the type in its name, in the encoding of `docs/trace.md`, and
/// fails if the bytes are no such value.
pub struct Decoder<'a> {
    bytes: &'a [u8],
    crypto: &'a dyn Crypto,
}

impl fmt::Debug for Decoder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}

#[allow(missing_docs, clippy::missing_errors_doc, reason = "see the type")]
impl<'a> Decoder<'a> {
    /// Creates a decoder. `crypto` checks public keys.
    pub(crate) fn new(bytes: &'a [u8], crypto: &'a dyn Crypto) -> Self {
        Self { bytes, crypto }
    }

    /// What checks public keys.
    pub(crate) fn crypto(&self) -> &'a dyn Crypto {
        self.crypto
    }

    /// Whether all bytes are read.
    pub(crate) fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Checks that nothing but a block's padding is left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.bytes.len() < 4 && self.bytes.iter().all(|byte| *byte == 0) {
            Ok(())
        } else {
            Err(Malformed("record: bytes after its end"))
        }
    }

    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.bytes.split_at_checked(n).ok_or(Malformed("record: it ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let mut value = [0; N];
        value.copy_from_slice(self.take(N)?);
        Ok(value)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.fixed::<1>()?[0])
    }

    pub fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.fixed()?))
    }

    pub fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.fixed()?))
    }

    pub fn count(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("number"))
    }

    pub fn size(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.count()?).map_err(|_| Malformed("number"))
    }

    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let n = self.size()?;
        self.take(n)
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("text"))
    }

    pub fn flag(&mut self) -> Result<bool, Malformed> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed("flag")),
        }
    }

    pub fn option<T>(
        &mut self,
        decode: impl FnOnce(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Option<T>, Malformed> {
        if self.flag()? { decode(self).map(Some) } else { Ok(None) }
    }

    /// A decoder of the next byte string's content.
    pub fn nested(&mut self) -> Result<Self, Malformed> {
        Ok(Self { bytes: self.bytes()?, crypto: self.crypto })
    }

    /// A list: its number of items, then each.
    pub fn list<T>(&mut self, mut decode: impl FnMut(&mut Self) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
        let n = self.size()?;
        // Grows with the items that are there, not with the claimed number.
        let mut items = Vec::new();
        for _ in 0..n {
            items.push(decode(self)?);
        }
        Ok(items)
    }

    pub fn instant(&mut self) -> Result<Instant, Malformed> {
        self.count().map(Instant::from_micros)
    }

    pub fn duration(&mut self) -> Result<Duration, Malformed> {
        self.count().map(Duration::from_micros)
    }

    pub fn ip(&mut self) -> Result<IpAddr, Malformed> {
        match self.byte()? {
            4 => Ok(Ipv4Addr::from(self.fixed::<4>()?).into()),
            6 => Ok(Ipv6Addr::from(self.fixed::<16>()?).into()),
            _ => Err(Malformed("address family")),
        }
    }

    pub fn addr(&mut self) -> Result<SocketAddr, Malformed> {
        Ok(SocketAddr::new(self.ip()?, self.u16()?))
    }

    pub fn key(&mut self) -> Result<PublicKey, Malformed> {
        PublicKey::from_xy(self.crypto, &self.fixed()?).map_err(|_| Malformed("public key"))
    }

    pub fn contact(&mut self) -> Result<Contact, Malformed> {
        Ok(Contact::new(self.key()?, self.ip()?, self.u16()?, self.u16()?))
    }
}

#[cfg(test)]
mod tests {
    use peerless::crypto::Secp256k1;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_and_bytes_round_trip(value: u64, rest: Vec<u8>) {
            let mut bytes = Vec::new();
            bytes.count(value);
            bytes.bytes(&rest);
            let crypto = Secp256k1::new();
            let mut decoder = Decoder::new(&bytes, &crypto);
            prop_assert_eq!(decoder.count(), Ok(value));
            prop_assert_eq!(decoder.bytes(), Ok(&rest[..]));
            prop_assert_eq!(decoder.end(), Ok(()));
        }

        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
            let crypto = Secp256k1::new();
            let mut decoder = Decoder::new(&bytes, &crypto);
            while decoder.count().is_ok() {}
            let mut decoder = Decoder::new(&bytes, &crypto);
            while decoder.addr().is_ok() {}
        }
    }

    #[test]
    fn numbers_beyond_64_bits_are_refused() {
        let crypto = Secp256k1::new();
        let mut bytes = [0xff; 10];
        bytes[9] = 2;
        assert_eq!(Decoder::new(&bytes, &crypto).count(), Err(Malformed("number")));
        bytes[9] = 1;
        assert_eq!(Decoder::new(&bytes, &crypto).count(), Ok(u64::MAX));
    }
}
