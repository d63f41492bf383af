//! Strict RLP decoding of all bytes from outside. The crate `rlp` encodes, except discovery packets, which a `Writer`
//! appends to the buffer that they are sent from.
//!
//! [`list`] and related functions check a whole value once, without recursion and without allocation: every length and
//! every one-byte string is in its shortest form, no item extends beyond its parent, depth and number of items are
//! within [`Bounds`]. They return a cursor whose typed reads require canonical integers and exact lengths. Unread
//! fields are the EIP-8 tail; a caller that permits none calls [`List::end`].

use alloc::vec::Vec;

pub(crate) use ::rlp::RlpStream;

use super::DecodeError;
use crate::limits;

/// Deepest nesting that [`Bounds`] can allow: a level costs an attacker one byte, and the checker a slot of its stack.
pub const DEPTH_MAX: usize = 16;

/// The bounds of a value's structure. Its size in bytes is bounded by the receiver.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Lists within lists, the outermost counting as one; at most [`DEPTH_MAX`].
    pub depth_max: usize,
    /// Strings and lists in all.
    pub items_max: usize,
}

impl Bounds {
    /// Enough for every discovery and handshake message.
    pub const SMALL: Self = Self { depth_max: 8, items_max: 512 };

    /// Enough for the largest message of a sub-protocol (eth and snap messages of 10 MiB).
    pub const MESSAGE: Self = Self { depth_max: DEPTH_MAX, items_max: 1 << 20 };

    /// Enough for a message of a sub-protocol that was not requested.
    pub const UNSOLICITED: Self = Self { depth_max: DEPTH_MAX, items_max: limits::UNSOLICITED_ITEMS_MAX };
}

/// The header of one item.
#[derive(Clone, Copy)]
struct Header {
    is_list: bool,
    header_bytes: usize,
    payload_bytes: usize,
}

impl Header {
    /// Reads the item at the start of `input`: its length is canonical and lies within `input`.
    #[inline]
    fn read(input: &[u8]) -> Result<Self, DecodeError> {
        let (&first, rest) = input.split_first().ok_or(DecodeError::Truncated)?;
        let (header_bytes, payload_bytes) = match first {
            // A byte that is its own encoding.
            0..=0x7f => return Ok(Self { is_list: false, header_bytes: 0, payload_bytes: 1 }),
            0x81 if rest.first().is_some_and(|byte| *byte < 0x80) => return Err(DecodeError::NonCanonical),
            0x80..=0xb7 => (1, usize::from(first - 0x80)),
            0xb8..=0xbf => Self::read_length(rest, usize::from(first - 0xb7))?,
            0xc0..=0xf7 => (1, usize::from(first - 0xc0)),
            0xf8..=0xff => Self::read_length(rest, usize::from(first - 0xf7))?,
        };
        if payload_bytes > input.len() - header_bytes {
            return Err(DecodeError::Truncated);
        }
        Ok(Self { is_list: first >= 0xc0, header_bytes, payload_bytes })
    }

    /// Reads a length of `bytes` bytes: the header's size and the payload's.
    fn read_length(rest: &[u8], bytes: usize) -> Result<(usize, usize), DecodeError> {
        let length = rest.get(..bytes).ok_or(DecodeError::Truncated)?;
        if length.first() == Some(&0) {
            return Err(DecodeError::NonCanonical);
        }
        let length = length.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        if length < 56 {
            return Err(DecodeError::NonCanonical);
        }
        // A length beyond `usize` is beyond the input: the result is the same on every platform.
        Ok((1 + bytes, usize::try_from(length).map_err(|_| DecodeError::Truncated)?))
    }

    fn end(&self) -> usize {
        self.header_bytes + self.payload_bytes
    }
}

/// Checks the item at the start of `input` and everything within it.
///
/// Returns the number of bytes it takes; bytes that follow are not checked.
///
/// # Errors
/// If it is malformed or exceeds `bounds`.
pub fn check(input: &[u8], bounds: Bounds) -> Result<usize, DecodeError> {
    check_counted(input, bounds, &mut 0)
}

/// As [`check`], and adds the number of items that were looked at to `items`, whatever the result.
///
/// # Errors
/// As [`check`].
#[inline]
pub fn check_counted(input: &[u8], bounds: Bounds, items: &mut usize) -> Result<usize, DecodeError> {
    // The ends of the lists that are open; `depth` of them.
    let mut ends = [0usize; DEPTH_MAX];
    let mut depth = 0;
    let items_max = items.saturating_add(bounds.items_max);
    let mut at = 0;
    let mut end = input.len();
    loop {
        *items += 1;
        if *items > items_max {
            return Err(DecodeError::TooManyItems);
        }
        let header = Header::read(&input[at..end])?;
        if header.is_list {
            if depth >= bounds.depth_max.min(DEPTH_MAX) {
                return Err(DecodeError::TooDeep);
            }
            end = at + header.end();
            ends[depth] = end;
            depth += 1;
            at += header.header_bytes;
        } else {
            at += header.end();
        }
        while depth > 0 && at == ends[depth - 1] {
            depth -= 1;
            end = if depth > 0 { ends[depth - 1] } else { input.len() };
        }
        if depth == 0 {
            return Ok(at);
        }
    }
}

/// Checks `input` as exactly one list.
///
/// # Errors
/// If it is malformed, not a list, exceeds `bounds`, or is followed by other bytes.
pub fn list(input: &[u8], bounds: Bounds) -> Result<List<'_>, DecodeError> {
    match list_prefix(input, bounds)? {
        (list, []) => Ok(list),
        _ => Err(DecodeError::TrailingBytes),
    }
}

/// Checks by its header alone that `input` is exactly one list; the header of each item is checked when it is read.
///
/// For reading a first field before the cost of checking the others. Items cannot extend beyond the list, but their
/// number and depth are unchecked: use [`check`].
///
/// # Errors
/// If the header is malformed, or not that of a list which ends where `input` does.
pub fn shallow_list(input: &[u8]) -> Result<List<'_>, DecodeError> {
    let header = Header::read(input)?;
    if !header.is_list {
        return Err(DecodeError::ExpectedList);
    }
    if header.end() != input.len() {
        return Err(DecodeError::TrailingBytes);
    }
    Ok(List { rest: &input[header.header_bytes..] })
}

/// Checks a list at the start of `input`; returns it and the bytes that follow it (EIP-8 permits padding).
///
/// # Errors
/// If it is malformed, not a list, or exceeds `bounds`.
pub fn list_prefix(input: &[u8], bounds: Bounds) -> Result<(List<'_>, &[u8]), DecodeError> {
    let end = check(input, bounds)?;
    let header = Header::read(input)?;
    if !header.is_list {
        return Err(DecodeError::ExpectedList);
    }
    Ok((List { rest: &input[header.header_bytes..end] }, &input[end..]))
}

/// Reads the header of a list at the start of `input`; returns the list and the bytes that follow it (EIP-8 permits
/// padding). Its items are checked as they are read, and [`List::check_rest`] checks those that are not read.
///
/// # Errors
/// If the header is malformed, or not that of a list.
pub fn shallow_prefix(input: &[u8]) -> Result<(List<'_>, &[u8]), DecodeError> {
    let header = Header::read(input)?;
    if !header.is_list {
        return Err(DecodeError::ExpectedList);
    }
    let (list, rest) = input.split_at(header.end());
    Ok((List { rest: &list[header.header_bytes..] }, rest))
}

/// Returns the items of a list that [`check`] has accepted before, without checking again; none if `input` is not a
/// list.
pub(crate) fn checked_list(input: &[u8]) -> List<'_> {
    List { rest: input }.list().unwrap_or(List { rest: &[] })
}

/// A cursor over the items of a list.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    rest: &'a [u8],
}

impl<'a> List<'a> {
    /// Whether all items have been read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The encoding of all unread items.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Number of unread items; walks over them.
    pub fn count(&self) -> usize {
        let mut rest = *self;
        let mut count = 0;
        while rest.raw().is_ok() {
            count += 1;
        }
        count
    }

    /// Counts the unread items, and adds their number to `items`, but no more than `max` and one; walks over them.
    ///
    /// # Errors
    /// If one is malformed, or there are more than `max` ([`DecodeError::TooManyItems`]).
    pub fn count_within(&self, max: usize, items: &mut usize) -> Result<(), DecodeError> {
        let mut rest = *self;
        for _ in 0..=max {
            if rest.is_empty() {
                return Ok(());
            }
            *items += 1;
            rest.raw()?;
        }
        Err(DecodeError::TooManyItems)
    }

    /// Checks that all items have been read.
    ///
    /// # Errors
    /// [`DecodeError::TooManyItems`] if there are unread items.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TooManyItems) }
    }

    /// Checks the unread items: ignored items must be well-formed too.
    ///
    /// # Errors
    /// If one is malformed or exceeds `bounds`.
    pub fn check_rest(&self, bounds: Bounds) -> Result<(), DecodeError> {
        let mut rest = self.rest;
        while !rest.is_empty() {
            rest = &rest[check(rest, bounds)?..];
        }
        Ok(())
    }

    /// Reads the next item's whole encoding, header included.
    ///
    /// # Errors
    /// If there is none.
    pub fn raw(&mut self) -> Result<&'a [u8], DecodeError> {
        let (_, raw, _) = self.item()?;
        Ok(raw)
    }

    /// Reads the next item, a list.
    ///
    /// # Errors
    /// If there is none or it is a string.
    #[inline]
    pub fn list(&mut self) -> Result<List<'a>, DecodeError> {
        match self.item()? {
            (true, _, payload) => Ok(List { rest: payload }),
            (false, ..) => Err(DecodeError::ExpectedList),
        }
    }

    /// Reads the next item, a string of any length.
    ///
    /// # Errors
    /// If there is none or it is a list.
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        match self.item()? {
            (false, _, payload) => Ok(payload),
            (true, ..) => Err(DecodeError::ExpectedString),
        }
    }

    /// Reads the next item, a string of exactly `N` bytes.
    ///
    /// # Errors
    /// If there is none, it is a list, or of another length.
    #[inline]
    pub fn fixed<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        self.bytes()?.try_into().map_err(|_| DecodeError::WrongLength)
    }

    /// Reads the next item, the big-endian bytes of a canonical integer of at most `bytes_max` bytes.
    ///
    /// # Errors
    /// If there is none, it is a list, has a leading zero, or is longer.
    #[inline]
    pub fn uint_bytes(&mut self, bytes_max: usize) -> Result<&'a [u8], DecodeError> {
        let bytes = self.bytes()?;
        if bytes.first() == Some(&0) {
            return Err(DecodeError::LeadingZero);
        }
        if bytes.len() > bytes_max {
            return Err(DecodeError::IntegerOverflow);
        }
        Ok(bytes)
    }

    /// Reads the next item, a canonical 64-bit integer.
    ///
    /// # Errors
    /// As [`List::uint_bytes`].
    #[inline]
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(self.uint_bytes(8)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    /// Reads the next item, a canonical 16-bit integer.
    ///
    /// # Errors
    /// As [`List::uint_bytes`].
    #[inline]
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        u16::try_from(self.u64()?).map_err(|_| DecodeError::IntegerOverflow)
    }

    /// Reads the next item as [`List::u64`] does, or `None` if the list has ended (fields that EIP-868 added).
    ///
    /// # Errors
    /// As [`List::u64`] if there is an item.
    pub fn u64_or_end(&mut self) -> Result<Option<u64>, DecodeError> {
        if self.is_empty() { Ok(None) } else { self.u64().map(Some) }
    }

    /// Reads the next item: whether it is a list, its whole encoding, its payload.
    #[inline]
    fn item(&mut self) -> Result<(bool, &'a [u8], &'a [u8]), DecodeError> {
        if self.rest.is_empty() {
            return Err(DecodeError::MissingField);
        }
        let header = Header::read(self.rest)?;
        let (raw, rest) = self.rest.split_at(header.end());
        self.rest = rest;
        Ok((header.is_list, raw, &raw[header.header_bytes..]))
    }
}

/// Appends items to a buffer in place. The crate's encoder has its own buffer and writes byte by byte, which is too
/// slow for discovery packets, which are many and small.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> Writer<'a> {
    /// Makes a writer that appends to `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Appends a list of the items that `write` appends.
    #[inline]
    pub(super) fn list(&mut self, write: impl FnOnce(&mut Self)) -> &mut Self {
        let start = self.out.len();
        self.out.push(0xc0);
        write(self);
        let payload_bytes = self.out.len() - start - 1;
        if payload_bytes < 56 {
            self.out[start] += payload_bytes as u8;
        } else {
            let length = (payload_bytes as u64).to_be_bytes();
            let length = significant(&length);
            self.out[start] = 0xf7 + length.len() as u8;
            self.out.extend_from_slice(length);
            self.out[start + 1..].rotate_right(length.len());
        }
        self
    }

    /// Appends a string.
    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        match bytes.len() {
            1 if bytes[0] < 0x80 => {}
            short @ ..56 => self.out.push(0x80 + short as u8),
            long => {
                let length = (long as u64).to_be_bytes();
                let length = significant(&length);
                self.out.push(0xb7 + length.len() as u8);
                self.out.extend_from_slice(length);
            }
        }
        self.raw(bytes)
    }

    /// Appends an integer.
    #[inline]
    pub(super) fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(significant(&value.to_be_bytes()))
    }

    /// Appends encoded items.
    #[inline]
    pub(super) fn raw(&mut self, items: &[u8]) -> &mut Self {
        self.out.extend_from_slice(items);
        self
    }
}

/// The bytes without leading zeros, the form of integers and lengths.
fn significant(bytes: &[u8; 8]) -> &[u8] {
    let zeros = u64::from_be_bytes(*bytes).leading_zeros() / 8;
    &bytes[zeros as usize..]
}

#[cfg(test)]
mod tests;
