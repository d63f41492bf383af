//! A node record as far as it can be read, valid or not.

use peerless::crypto::Secp256k1;
use peerless::wire::DecodeError;
use peerless::wire::enr::Record;
use peerless::wire::rlp::{self, List};

/// One entry of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    /// Its key.
    pub(crate) key: &'a [u8],
    /// The RLP encoding of its value.
    pub(crate) raw: &'a [u8],
    /// A cursor at its value.
    pub(crate) value: List<'a>,
}

/// What can be read of a record's bytes.
#[derive(Debug)]
pub(crate) struct Decoded<'a> {
    /// The bytes.
    pub(crate) raw: &'a [u8],
    /// The signature, if the first item is a string.
    pub(crate) signature: Option<&'a [u8]>,
    /// The sequence number, if it is one.
    pub(crate) seq: Option<u64>,
    /// The entries up to the first that cannot be read.
    pub(crate) entries: Vec<Entry<'a>>,
    /// Where reading ended early: the number of bytes that were not read, and the reason.
    pub(crate) unread: Option<(usize, DecodeError)>,
    /// The record, or why it is none.
    pub(crate) record: Result<Record, DecodeError>,
}

impl<'a> Decoded<'a> {
    /// Reads what can be read.
    pub(crate) fn new(raw: &'a [u8]) -> Self {
        let record = Record::decode(&Secp256k1::new(), raw);
        let mut decoded = Self { raw, signature: None, seq: None, entries: Vec::new(), unread: None, record };
        match rlp::shallow_prefix(raw) {
            Ok((list, rest)) => {
                decoded.read(list);
                if !rest.is_empty() && decoded.unread.is_none() {
                    decoded.unread = Some((rest.len(), DecodeError::TrailingBytes));
                }
            }
            Err(error) => decoded.unread = Some((raw.len(), error)),
        }
        decoded
    }

    fn read(&mut self, mut list: List<'a>) {
        // A signature or sequence number of a wrong form does not hide the entries.
        let (mut signature, first) = (list, list.raw());
        self.signature = signature.bytes().ok();
        let (mut seq, second) = (list, list.raw());
        self.seq = seq.u64().ok();
        if let Err(error) = first.and(second) {
            self.unread = Some((list.rest().len(), error));
            return;
        }
        while !list.is_empty() {
            match entry(&mut list) {
                Ok(entry) => self.entries.push(entry),
                Err(error) => {
                    self.unread = Some((list.rest().len(), error));
                    return;
                }
            }
        }
    }

    /// The entries of a valid record, without verifying it again.
    pub(crate) fn entries_of(record: &'a Record) -> Vec<Entry<'a>> {
        let mut entries = Vec::new();
        if let Ok(mut list) = rlp::shallow_list(record.as_bytes())
            && list.raw().and(list.raw()).is_ok()
        {
            while let Ok(entry) = entry(&mut list) {
                entries.push(entry);
            }
        }
        entries
    }

    /// The first entry with this key.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry<'a>> {
        self.entries.iter().find(|entry| entry.key == key.as_bytes())
    }
}

/// Reads a key and its value; on an error the list stays where it is.
fn entry<'a>(list: &mut List<'a>) -> Result<Entry<'a>, DecodeError> {
    let mut ahead = *list;
    let key = ahead.bytes()?;
    let value = ahead;
    let raw = ahead.raw()?;
    *list = ahead;
    Ok(Entry { key, raw, value })
}
