//! The error of all decoders.

use core::fmt;

/// Malformed bytes; the sender is at fault. `Copy`, and made without allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
#[repr(u8)]
pub enum DecodeError {
    /// The bytes end before the value ends.
    Truncated = 1,
    /// Bytes follow a value that must be the last one.
    TrailingBytes = 2,
    /// The value is larger than its kind may be.
    TooLarge = 3,
    /// An RLP length or a one-byte string in a longer form than needed.
    NonCanonical = 4,
    /// An integer with a leading zero byte.
    LeadingZero = 5,
    /// An integer that is out of its field's range.
    IntegerOverflow = 6,
    /// A list instead of a string.
    ExpectedString = 7,
    /// A string instead of a list.
    ExpectedList = 8,
    /// A string of another length than its field's.
    WrongLength = 9,
    /// Lists nested deeper than the schema allows.
    TooDeep = 10,
    /// More items than the schema allows.
    TooManyItems = 11,
    /// Fewer fields than the schema requires.
    MissingField = 12,
    /// A packet or message type that the protocol does not know.
    UnknownType = 13,
    /// A hash that does not match the bytes it covers.
    BadHash = 14,
    /// A signature from which no key can be recovered, or that does not verify.
    BadSignature = 15,
    /// Bytes that are not a point on the curve.
    BadKey = 16,
    /// Keys of a record that are not strictly ascending.
    Unsorted = 17,
    /// A record of an identity scheme other than `v4`.
    UnknownScheme = 18,
    /// Text that is not in its claimed encoding.
    BadText = 19,
    /// A field with an impossible value.
    BadValue = 20,
}

impl DecodeError {
    /// The error's number in traces; it never changes.
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "ends too early",
            Self::TrailingBytes => "bytes after the end",
            Self::TooLarge => "too large",
            Self::NonCanonical => "not in its shortest form",
            Self::LeadingZero => "integer with a leading zero",
            Self::IntegerOverflow => "integer out of range",
            Self::ExpectedString => "list instead of a string",
            Self::ExpectedList => "string instead of a list",
            Self::WrongLength => "string of a wrong length",
            Self::TooDeep => "nested too deeply",
            Self::TooManyItems => "too many items",
            Self::MissingField => "a field is missing",
            Self::UnknownType => "unknown type",
            Self::BadHash => "wrong hash",
            Self::BadSignature => "invalid signature",
            Self::BadKey => "not a point on the curve",
            Self::Unsorted => "keys not in ascending order",
            Self::UnknownScheme => "unknown identity scheme",
            Self::BadText => "invalid text encoding",
            Self::BadValue => "impossible value",
        })
    }
}

impl core::error::Error for DecodeError {}
