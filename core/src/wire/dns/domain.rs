//! The domain name of a node list.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use super::EntryHash;
use crate::limits::LIST_DOMAIN_BYTES_MAX;

/// Bytes of one label of a name (RFC 1035).
const LABEL_BYTES_MAX: usize = 63;

/// A domain name: labels of 1 to 63 letters, digits, hyphens and underscores, at most 200 bytes in all, so that every
/// subdomain of an entry is a valid name too. Kept in lower case, as names of DNS are compared without regard to case.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

impl Domain {
    /// The name in lower case, without a dot at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name at which the entry with this hash stands.
    pub fn subdomain(&self, hash: &EntryHash) -> String {
        format!("{hash}.{self}")
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The error of a text that is not the domain of a node list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum DomainError {
    /// The name is empty, or has an empty label.
    Empty,
    /// The name is longer than 200 bytes, or a label longer than 63.
    TooLong,
    /// A character other than letters, digits, hyphens and underscores, or a hyphen at an end of a label.
    Character,
}

impl fmt::Display for DomainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "the domain name has an empty label",
            Self::TooLong => "the domain name is longer than 200 bytes, or one of its labels than 63",
            Self::Character => "the domain name has a character that names do not have",
        })
    }
}

impl core::error::Error for DomainError {}

/// Reads a name in any case; a dot at the end is dropped.
impl FromStr for Domain {
    type Err = DomainError;

    fn from_str(text: &str) -> Result<Self, DomainError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.len() > LIST_DOMAIN_BYTES_MAX {
            return Err(DomainError::TooLong);
        }
        for label in text.split('.') {
            if label.is_empty() {
                return Err(DomainError::Empty);
            }
            if label.len() > LABEL_BYTES_MAX {
                return Err(DomainError::TooLong);
            }
            let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if !label.bytes().all(is_legal) || label.starts_with('-') || label.ends_with('-') {
                return Err(DomainError::Character);
            }
        }
        Ok(Self(text.to_ascii_lowercase().into()))
    }
}
