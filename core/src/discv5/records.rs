//! The encoded records of the table's nodes, which answers to FindNode relay as they are.

use alloc::boxed::Box;

use crate::kad::table::{Kept, Position};
use crate::limits::{BUCKET_SIZE, BUCKETS};
use crate::wire::enr::{self, Record};
use crate::wire::forkid::ForkId;

/// A record that was verified, as its encoding alone.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredRecord(Box<[u8]>);

impl StoredRecord {
    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The sequence number.
    pub fn seq(&self) -> u64 {
        enr::seq_in(&self.0)
    }
}

impl From<Record> for StoredRecord {
    fn from(record: Record) -> Self {
        Self(record.into_bytes())
    }
}

/// The records by bucket and index of their entries.
#[derive(Clone, Default, Debug)]
pub struct Records([[Option<StoredRecord>; BUCKET_SIZE]; BUCKETS]);

impl Kept for Records {
    type Value = StoredRecord;

    fn get(&self, position: Position) -> Option<&StoredRecord> {
        self.0[position.bucket][position.index].as_ref()
    }

    fn set(&mut self, position: Position, value: Option<StoredRecord>) {
        self.0[position.bucket][position.index] = value;
    }

    fn remove(&mut self, position: Position) {
        let records = &mut self.0[position.bucket];
        records[position.index..].rotate_left(1);
        records[BUCKET_SIZE - 1] = None;
    }

    fn fork_id(value: &StoredRecord) -> Option<ForkId> {
        enr::fork_id_in(&value.0)
    }
}
