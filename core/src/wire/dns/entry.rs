//! The entries below a root: branches, links and node records.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use data_encoding::BASE32_NOPAD;

use super::{Domain, DomainError, EntryHash};
use crate::crypto::{Crypto, PublicKey, Secp256k1};
use crate::limits::LIST_ENTRY_BYTES_MAX;
use crate::wire::enr::{Record, RecordTextError};

const BRANCH: &str = "enrtree-branch:";
const LINK: &str = "enrtree://";
const RECORD: &str = "enr:";

/// An entry below a root.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// The hashes of further entries; none in an empty tree.
    Branch(Vec<EntryHash>),
    /// Another list.
    Link(Link),
    /// A node record, verified.
    Record(Record),
}

impl Entry {
    /// Reads an entry. A record is verified with the given primitives, and a link's key checked.
    ///
    /// # Errors
    /// If the text is none of the three kinds, malformed, or longer than
    /// [`LIST_ENTRY_BYTES_MAX`](crate::limits::LIST_ENTRY_BYTES_MAX).
    pub fn parse(crypto: &dyn Crypto, text: &str) -> Result<Self, EntryError> {
        if text.len() > LIST_ENTRY_BYTES_MAX {
            return Err(EntryError::TooLong);
        }
        if let Some(children) = text.strip_prefix(BRANCH) {
            if children.is_empty() {
                return Ok(Self::Branch(Vec::new()));
            }
            children.split(',').map(EntryHash::from_str).collect::<Result<_, _>>().map(Self::Branch)
        } else if text.starts_with(LINK) {
            Link::parse(crypto, text).map(Self::Link).map_err(EntryError::Link)
        } else if text.starts_with(RECORD) {
            Record::parse(crypto, text).map(Self::Record).map_err(EntryError::Record)
        } else {
            Err(EntryError::Unknown)
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Branch(children) => {
                f.write_str(BRANCH)?;
                children.iter().enumerate().try_for_each(|(at, child)| {
                    if at > 0 {
                        f.write_str(",")?;
                    }
                    child.fmt(f)
                })
            }
            Self::Link(link) => link.fmt(f),
            Self::Record(record) => record.fmt(f),
        }
    }
}

/// The error of a text that is not an entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum EntryError {
    /// None of the three kinds.
    Unknown,
    /// Longer than an entry may be.
    TooLong,
    /// A hash that is not 12 to 32 bytes in base32.
    Hash,
    /// A malformed link.
    Link(LinkError),
    /// A malformed node record.
    Record(RecordTextError),
}

impl fmt::Display for EntryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("neither enrtree-branch:, enrtree:// nor enr:"),
            Self::TooLong => f.write_str("the entry is longer than 2048 bytes"),
            Self::Hash => f.write_str("a hash is not 12 to 32 bytes in base32"),
            Self::Link(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for EntryError {}

/// The address of a list, `enrtree://KEY@DOMAIN`: the key that signs its root, as a compressed point in base32, and its domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Link {
    /// The key that signs the root.
    pub key: PublicKey,
    /// The domain of the root.
    pub domain: Domain,
}

impl Link {
    /// Reads a URL as [`FromStr`] does, with the given primitives to check its key.
    ///
    /// # Errors
    /// If the text is malformed, or the key is not on the curve.
    pub fn parse(crypto: &dyn Crypto, text: &str) -> Result<Self, LinkError> {
        let rest = text.strip_prefix(LINK).ok_or(LinkError::Scheme)?;
        let (key, domain) = rest.split_once('@').ok_or(LinkError::KeyMissing)?;
        let key = BASE32_NOPAD.decode(key.as_bytes()).ok().and_then(|key| <[u8; 33]>::try_from(key).ok());
        let key = key.and_then(|key| crypto.public_key_from_compressed(&key)).ok_or(LinkError::Key)?;
        Ok(Self { key, domain: domain.parse().map_err(LinkError::Domain)? })
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{LINK}{}@{}", BASE32_NOPAD.encode_display(&self.key.compressed()), self.domain)
    }
}

/// The error of a text that is not the address of a list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum LinkError {
    /// It does not begin with `enrtree://`.
    Scheme,
    /// There is no `@`, and so no key.
    KeyMissing,
    /// The key is not a compressed point on the curve in base32.
    Key,
    /// The domain is not a valid name.
    Domain(DomainError),
}

impl fmt::Display for LinkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("the URL of a node list does not begin with enrtree://"),
            Self::KeyMissing => f.write_str("the URL of a node list has no key before an @"),
            Self::Key => f.write_str("the key of a node list is not a compressed secp256k1 point in base32"),
            Self::Domain(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for LinkError {}

/// Reads a URL; the key is checked with the real curve.
impl FromStr for Link {
    type Err = LinkError;

    fn from_str(text: &str) -> Result<Self, LinkError> {
        Self::parse(&Secp256k1::new(), text)
    }
}
