//! The command `enr show`: every entry of a record, and whether the record is valid.

use std::fmt;

use peerless::crypto::PublicKey;
use peerless::wire::enr::Record;
use serde::Serialize;

use super::decoded::Decoded;
use super::meaning::{Meaning, meaning};
use crate::networks::ForkReport;

/// A record's content.
#[derive(Serialize)]
pub(crate) struct Report {
    enr: String,
    valid: bool,
    /// Why it is not valid.
    #[serde(skip_serializing_if = "Option::is_none")]
    invalid: Option<String>,
    bytes: usize,
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    eth: Option<ForkReport>,
    entries: Vec<EntryReport>,
    /// Bytes at the end that could not be read, and why.
    #[serde(skip_serializing_if = "Option::is_none")]
    unread: Option<(usize, String)>,
}

#[derive(Serialize)]
struct EntryReport {
    key: String,
    /// The value's RLP encoding in hexadecimal.
    rlp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    malformed: Option<String>,
    #[serde(skip)]
    is_known: bool,
}

impl From<&Record> for Report {
    fn from(record: &Record) -> Self {
        Self::new(&Decoded::new(record.as_bytes()))
    }
}

impl Report {
    pub(crate) fn new(decoded: &Decoded<'_>) -> Self {
        let record = decoded.record.as_ref().ok();
        // The key of an invalid record is one that it claims.
        let claimed = || {
            let mut value = decoded.get("secp256k1")?.value;
            PublicKey::from_compressed_secp256k1(value.fixed().ok()?).ok()
        };
        let key = record.map(|record| *record.key()).or_else(claimed);
        Self {
            enr: super::text(decoded.raw),
            valid: record.is_some(),
            invalid: decoded.record.as_ref().err().map(ToString::to_string),
            bytes: decoded.raw.len(),
            seq: decoded.seq,
            signature: decoded.signature.map(const_hex::encode),
            node_id: key.map(|key| key.node_id().to_string()),
            public_key: key.map(|key| key.to_string()),
            enode: record.and_then(|record| record.contact()).map(|contact| contact.to_string()),
            eth: record.and_then(|record| record.fork_id()).map(ForkReport::new),
            entries: decoded.entries.iter().map(EntryReport::new).collect(),
            unread: decoded.unread.map(|(bytes, error)| (bytes, error.to_string())),
        }
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.valid
    }
}

impl EntryReport {
    fn new(entry: &super::decoded::Entry<'_>) -> Self {
        let (value, malformed, is_known) = match meaning(entry) {
            Meaning::Known(value) => (Some(value), None, true),
            Meaning::Malformed(why) => (None, Some(why), true),
            Meaning::Unknown(text) => (text, None, false),
        };
        let (key, rlp) = (entry.key.escape_ascii().to_string(), const_hex::encode(entry.raw));
        Self { key, rlp, value, malformed, is_known }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.enr)?;
        match &self.invalid {
            None => writeln!(f, "  signature   valid ({} bytes)", self.bytes)?,
            Some(why) => writeln!(f, "  INVALID     {why} ({} bytes)", self.bytes)?,
        }
        match self.seq {
            Some(seq) => writeln!(f, "  sequence    {seq}")?,
            None => writeln!(f, "  sequence    not readable")?,
        }
        if let (Some(id), Some(key)) = (&self.node_id, &self.public_key) {
            writeln!(f, "  node id     {id}\n  public key  {key}")?;
        }
        if self.valid {
            match &self.enode {
                Some(enode) => writeln!(f, "  enode       {enode}")?,
                None => writeln!(f, "  enode       none: the record names no address")?,
            }
        }
        write!(f, "  entries     {}", self.entries.len())?;
        for entry in &self.entries {
            write!(f, "\n    {:<10}", entry.key)?;
            match (&entry.value, &entry.malformed) {
                (_, Some(why)) => write!(f, " MALFORMED: {why} ({})", entry.rlp)?,
                (Some(value), None) if entry.is_known => write!(f, " {value}")?,
                (Some(text), None) => write!(f, " {} ({text:?})", entry.rlp)?,
                (None, None) => write!(f, " {}", entry.rlp)?,
            }
        }
        match &self.unread {
            Some((bytes, why)) => write!(f, "\n  not read    {bytes} bytes: {why}"),
            None => Ok(()),
        }
    }
}
