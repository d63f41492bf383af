//! The text forms of a node: an enode URL or a node record, distinguished by the start of the text.

use core::fmt;
use core::str::FromStr;

use super::enode::{Contact, Enode, EnodeError, is_key};
use super::enr::{Record, RecordTextError};
use crate::crypto::{Crypto, PublicKey, Secp256k1};

/// A node given as text, as in `--bootnodes`.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NodeUrl {
    /// `enode://..`, or a key alone.
    Enode(Enode),
    /// `enr:..`, or a record in hexadecimal.
    Record(Record),
}

impl NodeUrl {
    /// Reads text as [`FromStr`] does, with the given primitives to verify records: for reading many.
    ///
    /// # Errors
    /// If the text is neither form, or malformed.
    pub fn parse(crypto: &dyn Crypto, text: &str) -> Result<Self, NodeUrlError> {
        if is_record(text) {
            Record::parse(crypto, text).map(Self::Record).map_err(NodeUrlError::Record)
        } else {
            Self::parse_enode(text)
        }
    }

    fn parse_enode(text: &str) -> Result<Self, NodeUrlError> {
        match text.parse() {
            Ok(enode) => Ok(Self::Enode(enode)),
            Err(EnodeError::Scheme) => Err(NodeUrlError::Unknown),
            Err(error) => Err(NodeUrlError::Enode(error)),
        }
    }

    /// The node's public key.
    pub fn key(&self) -> &PublicKey {
        match self {
            Self::Enode(enode) => &enode.key,
            Self::Record(record) => record.key(),
        }
    }

    /// The node as a contact, if the text has a literal address.
    pub fn contact(&self) -> Option<Contact> {
        match self {
            Self::Enode(enode) => enode.contact(),
            Self::Record(record) => record.contact(),
        }
    }
}

impl fmt::Display for NodeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Enode(enode) => enode.fmt(f),
            Self::Record(record) => record.fmt(f),
        }
    }
}

/// The error of a text that is no node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum NodeUrlError {
    /// The start of the text is that of neither form.
    Unknown,
    /// A malformed enode URL.
    Enode(EnodeError),
    /// A malformed node record.
    Record(RecordTextError),
}

impl fmt::Display for NodeUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("expected enode://, enr: or hexadecimal"),
            Self::Enode(error) => error.fmt(f),
            Self::Record(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for NodeUrlError {}

/// Reads an enode URL or a node record. Surrounding spaces are ignored; records are verified with the real curve.
impl FromStr for NodeUrl {
    type Err = NodeUrlError;

    fn from_str(text: &str) -> Result<Self, NodeUrlError> {
        // Only a record needs a context.
        if is_record(text) { Self::parse(&Secp256k1::new(), text) } else { Self::parse_enode(text) }
    }
}

/// Whether `text` begins as a record does. Its encoding is a list of 56 bytes or more, so it begins with `f8` or `f9`;
/// a bare key may begin so too, but is shorter than any record.
fn is_record(text: &str) -> bool {
    let text = text.trim();
    let hex = text.strip_prefix("0x").unwrap_or(text);
    let is_list =
        hex.get(..2).is_some_and(|start| start.eq_ignore_ascii_case("f8") || start.eq_ignore_ascii_case("f9"));
    text.starts_with("enr:") || text.starts_with('-') || is_list && !is_key(text)
}

#[cfg(test)]
mod tests {
    use std::string::ToString;

    use super::*;

    const KEY: &str = "1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9\
                       b3e9c37d7fd5f63270bcc9e1a6f6a439";
    const RECORD: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBg\
                          mlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";

    #[test]
    fn both_forms_are_read() {
        let url: NodeUrl = std::format!(" enode://{KEY}@[::1]:1?discport=2 ").parse().unwrap();
        assert!(matches!(&url, NodeUrl::Enode(_)));
        assert_eq!(url.to_string(), std::format!("enode://{KEY}@[::1]:1?discport=2"));
        assert_eq!(url.contact().map(|c| (c.tcp(), c.udp())), Some((1, 2)));
        assert!(matches!(KEY.parse(), Ok(NodeUrl::Enode(enode)) if enode.key.to_string() == KEY));

        let url: NodeUrl = RECORD.parse().unwrap();
        let NodeUrl::Record(record) = &url else { panic!("{url}") };
        assert_eq!((url.to_string(), url.key()), (RECORD.to_string(), record.key()));
        assert_eq!(url.contact(), record.contact());
        let hex = const_hex::encode(record.as_bytes());
        for text in [RECORD.replace("enr:", "\t"), hex.to_uppercase(), std::format!("0x{hex}\n")] {
            assert_eq!(text.parse(), Ok(url.clone()), "{text}");
            assert_eq!(NodeUrl::parse(&Secp256k1::new(), &text), Ok(url.clone()), "{text}");
        }
    }

    #[test]
    fn errors_are_those_of_the_form_that_the_text_begins_as() {
        let error = |text: &str| text.parse::<NodeUrl>().unwrap_err();
        for unknown in ["", "01010101", "http://foobar", "é", "ééé", "enod", "node.example:30303"] {
            assert_eq!(error(unknown), NodeUrlError::Unknown, "{unknown}");
        }
        assert_eq!(error("enode://00"), NodeUrlError::Enode(EnodeError::KeyLength));
        assert_eq!(error("enr:"), NodeUrlError::Record(RecordTextError::Empty));
        assert!(matches!(error("0xf884"), NodeUrlError::Record(RecordTextError::Record(_))));
        // A key that begins as a list does.
        assert_eq!(error(&"f8".repeat(64)), NodeUrlError::Enode(EnodeError::KeyNotOnCurve));
    }
}
