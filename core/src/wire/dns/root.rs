//! The root of a list: two subtrees, a sequence number and the signature over them.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;

use data_encoding::BASE64URL_NOPAD;

use super::EntryHash;
use crate::crypto::{Crypto, Digest, PublicKey, RecoverableSignature, SecretKey};
use crate::limits::LIST_ENTRY_BYTES_MAX;

const PREFIX: &str = "enrtree-root:v1";

/// A root as its text has it. Whether it is signed is what [`Root::is_signed_by`] says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    /// The top of the tree of node records.
    pub nodes: EntryHash,
    /// The top of the tree of links.
    pub links: EntryHash,
    /// The sequence number, which grows with each change.
    pub seq: u64,
    /// The signature of what stands before it.
    pub signature: RecoverableSignature,
}

impl Root {
    /// Signs a root.
    pub fn sign(crypto: &dyn Crypto, secret: &SecretKey, nodes: EntryHash, links: EntryHash, seq: u64) -> Self {
        let signature = crypto.sign(secret, &digest(crypto, &nodes, &links, seq));
        Self { nodes, links, seq, signature }
    }

    /// Whether the holder of `key` has signed it. As in geth, the signature's last byte, from which the key could be recovered,
    /// is not looked at.
    pub fn is_signed_by(&self, crypto: &dyn Crypto, key: &PublicKey) -> bool {
        let Self { nodes, links, seq, signature } = self;
        crypto.verify(key, &digest(crypto, nodes, links, *seq), &signature.without_recovery_id())
    }

    /// The key that made the signature, if one can have.
    pub fn signer(&self, crypto: &dyn Crypto) -> Option<PublicKey> {
        let Self { nodes, links, seq, signature } = self;
        crypto.recover(&digest(crypto, nodes, links, *seq), signature)
    }

    /// Whether a text claims to be a root.
    pub fn is_root(text: &str) -> bool {
        text.starts_with(PREFIX)
    }
}

/// The text that the signature covers.
fn signed(nodes: &EntryHash, links: &EntryHash, seq: u64) -> String {
    format!("{PREFIX} e={nodes} l={links} seq={seq}")
}

fn digest(crypto: &dyn Crypto, nodes: &EntryHash, links: &EntryHash, seq: u64) -> Digest {
    crypto.signed_hash(signed(nodes, links, seq).as_bytes())
}

impl fmt::Display for Root {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nodes, links, seq, signature } = self;
        write!(f, "{} sig={}", signed(nodes, links, *seq), BASE64URL_NOPAD.encode_display(&signature.0))
    }
}

/// The error of a text that is not a root.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum RootError {
    /// Not of the form `enrtree-root:v1 e=.. l=.. seq=.. sig=..`.
    Syntax,
    /// A hash that is not 12 to 32 bytes in base32.
    Hash,
    /// A sequence number that is not a decimal integer of 64 bits in its shortest form.
    Seq,
    /// A signature that is not URL-safe base64 without padding.
    Base64,
    /// A signature of another length than 65 bytes.
    SignatureLength,
}

impl fmt::Display for RootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syntax => "not of the form enrtree-root:v1 e=.. l=.. seq=.. sig=..",
            Self::Hash => "a hash of the root is not 12 to 32 bytes in base32",
            Self::Seq => "the root's sequence number is not a 64-bit integer in its shortest form",
            Self::Base64 => "the root's signature is not URL-safe base64 without padding",
            Self::SignatureLength => "the root's signature is not 65 bytes long",
        })
    }
}

impl core::error::Error for RootError {}

impl FromStr for Root {
    type Err = RootError;

    fn from_str(text: &str) -> Result<Self, RootError> {
        let mut fields = text.split(' ');
        if text.len() > LIST_ENTRY_BYTES_MAX || fields.next() != Some(PREFIX) {
            return Err(RootError::Syntax);
        }
        let mut field = |name| fields.next().and_then(|field| field.strip_prefix(name)).ok_or(RootError::Syntax);
        let [nodes, links, digits, signature] = [field("e=")?, field("l=")?, field("seq=")?, field("sig=")?];
        if fields.next().is_some() {
            return Err(RootError::Syntax);
        }
        let hash = |text: &str| text.parse().map_err(|_| RootError::Hash);
        let (nodes, links) = (hash(nodes)?, hash(links)?);
        // Another form would have another signature when it is written again.
        let is_shortest =
            digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
        let seq = digits.parse().ok().filter(|_| is_shortest).ok_or(RootError::Seq)?;
        let signature = BASE64URL_NOPAD.decode(signature.as_bytes()).map_err(|_| RootError::Base64)?;
        let signature = signature.try_into().map_err(|_| RootError::SignatureLength)?;
        Ok(Self { nodes, links, seq, signature: RecoverableSignature(signature) })
    }
}
