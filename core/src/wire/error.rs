//! Why bytes are not what they should be.

use core::fmt;

/// Malformed bytes. `Copy`, made without allocation; whoever sent them is at fault.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum DecodeError {
    /// The bytes end before the value does.
    Truncated,
    /// Bytes follow a value that must be the last.
    TrailingBytes,
    /// The whole is larger than its kind may be.
    TooLarge,
    /// An RLP length or a one-byte string in a longer form than needed.
    NonCanonical,
    /// An integer with a leading zero byte.
    LeadingZero,
    /// An integer that does not fit its field.
    IntegerOverflow,
    /// A list where a string belongs.
    ExpectedString,
    /// A string where a list belongs.
    ExpectedList,
    /// A string that is not of its field's length.
    WrongLength,
    /// Lists nested deeper than the schema allows.
    TooDeep,
    /// More items than the schema allows.
    TooManyItems,
    /// Fewer fields than the schema demands.
    MissingField,
    /// A packet or message type that the protocol does not know.
    UnknownType,
    /// A hash that does not match what it covers.
    BadHash,
    /// A signature from which no key can be recovered, or that does not verify.
    BadSignature,
    /// Bytes that are not a point on the curve.
    BadKey,
    /// Keys of a record that are not strictly ascending.
    Unsorted,
    /// A record of an identity scheme other than `v4`.
    UnknownScheme,
    /// Text that is not in the encoding it claims.
    BadText,
    /// A field whose value makes no sense.
    BadValue,
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
