//! Capabilities (`rlpx.md`, "Message ID-based Multiplexing"): their names and versions, which of them can be offered, and
//! which two sides share at which offsets.
//!
//! [`CapabilityTable`] holds the known ones and takes any that an embedder registers, with a [`Schema`] or without.

use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::id;
use crate::limits;
use crate::wire::schema::{Role, Schema};
use crate::wire::{DecodeError, eth, snap};

/// A sub-protocol in one version, such as `eth/69`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Capability {
    /// ASCII, padded with zeros; at most 8 bytes.
    name: [u8; 8],
    /// Its version.
    pub version: u32,
}

impl Capability {
    /// A capability by name and version.
    ///
    /// # Errors
    /// If the name is empty, longer than 8 bytes, or not printable ASCII.
    pub fn new(name: &str, version: u32) -> Result<Self, DecodeError> {
        Self::from_bytes(name.as_bytes(), version)
    }

    pub(super) fn from_bytes(name: &[u8], version: u32) -> Result<Self, DecodeError> {
        let mut padded = [0; 8];
        let used = padded.get_mut(..name.len()).filter(|used| !used.is_empty()).ok_or(DecodeError::WrongLength)?;
        if !name.iter().all(u8::is_ascii_graphic) {
            return Err(DecodeError::BadText);
        }
        used.copy_from_slice(name);
        Ok(Self { name: padded, version })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        core::str::from_utf8(self.name_bytes()).unwrap_or_default()
    }

    pub(super) fn name_bytes(&self) -> &[u8] {
        let end = self.name.iter().position(|byte| *byte == 0).unwrap_or(self.name.len());
        &self.name[..end]
    }

    /// eth in the given version.
    pub const fn eth(version: u32) -> Self {
        Self { name: *b"eth\0\0\0\0\0", version }
    }

    /// snap in the given version.
    pub const fn snap(version: u32) -> Self {
        Self { name: *b"snap\0\0\0\0", version }
    }

    /// Whether this is `first` or a later version of the same protocol.
    pub fn is_version_from(&self, first: Self) -> bool {
        self.name == first.name && self.version >= first.version
    }

    /// Whether this is any version of eth.
    pub fn is_eth(&self) -> bool {
        self.name == Self::eth(0).name
    }
}

/// `name/version`.
impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name(), self.version)
    }
}

impl fmt::Debug for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// `name/version`.
impl FromStr for Capability {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        let (name, version) = text.rsplit_once('/').ok_or(DecodeError::BadText)?;
        Self::new(name, version.parse().map_err(|_| DecodeError::BadText)?)
    }
}

/// The capabilities that can be offered: how many message ids each takes, and what its messages are.
#[derive(Clone, Debug)]
pub struct CapabilityTable {
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    capability: Capability,
    messages: Messages,
}

/// What is known of a capability's messages.
#[derive(Clone, Copy, Debug)]
enum Messages {
    Count(u16),
    Schema(&'static Schema),
}

impl Row {
    fn length(&self) -> u16 {
        match self.messages {
            Messages::Count(count) => count,
            Messages::Schema(schema) => schema.message_ids(),
        }
    }

    fn schema(&self) -> Option<&'static Schema> {
        match self.messages {
            Messages::Count(_) => None,
            Messages::Schema(schema) => Some(schema),
        }
    }
}

/// The capabilities whose messages this crate knows.
fn known() -> impl Iterator<Item = (Capability, &'static Schema)> {
    let eth = eth::schemas().map(|(version, schema)| (Capability::eth(version), schema));
    eth.chain(snap::schemas().map(|(version, schema)| (Capability::snap(version), schema)))
}

/// The known ones: eth/66 to 72, snap/1 and 2.
impl Default for CapabilityTable {
    fn default() -> Self {
        let row = |(capability, schema)| Row { capability, messages: Messages::Schema(schema) };
        Self { rows: known().map(row).collect() }
    }
}

/// A capability that both sides have, with its place in the shared message id space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shared {
    /// The capability.
    pub capability: Capability,
    /// Its first message id.
    pub offset: u64,
    /// Number of message ids it takes.
    pub length: u64,
    /// What its messages are; `None` if they are passed on as they come.
    pub schema: Option<&'static Schema>,
}

impl Shared {
    /// The message id relative to the capability's offset, if `id` is one of the capability's.
    pub fn relative(&self, id: u64) -> Option<u64> {
        id.checked_sub(self.offset).filter(|id| *id < self.length)
    }

    /// Size of the largest uncompressed payload of message `id`, relative to the offset.
    pub fn bytes_max(&self, id: u64) -> usize {
        self.schema.and_then(|schema| schema.bytes_max(id)).unwrap_or(limits::MESSAGE_BYTES_MAX)
    }

    /// Size of the largest uncompressed payload of any message.
    pub fn largest_bytes(&self) -> usize {
        self.schema.map_or(limits::MESSAGE_BYTES_MAX, Schema::largest_bytes)
    }

    /// Size of the largest uncompressed payload of any message that a peer may send without a request.
    pub fn largest_unsolicited_bytes(&self) -> usize {
        self.schema.map_or(limits::MESSAGE_BYTES_MAX, Schema::largest_unsolicited_bytes)
    }

    /// What message `id` is, relative to the offset; `None` without a schema.
    pub fn role(&self, id: u64) -> Option<Role> {
        self.schema?.role(id)
    }
}

impl CapabilityTable {
    /// A table that knows nothing.
    pub const fn empty() -> Self {
        Self { rows: Vec::new() }
    }

    /// Adds a capability or replaces what is known of it. Its messages are passed on as they come, unless this crate has a
    /// schema of just that length for it.
    ///
    /// 65,535 ids are more than any protocol has, and few enough to count messages by id; offsets cannot overflow.
    pub fn register(&mut self, capability: Capability, length: u16) {
        let schema = known().find(|(known, schema)| *known == capability && schema.message_ids() == length);
        let messages = schema.map_or(Messages::Count(length), |(_, schema)| Messages::Schema(schema));
        self.insert(Row { capability, messages });
    }

    /// Adds a capability or replaces what is known of it. Its requests are matched with their answers by the schema.
    pub fn register_schema(&mut self, capability: Capability, schema: &'static Schema) {
        self.insert(Row { capability, messages: Messages::Schema(schema) });
    }

    fn insert(&mut self, row: Row) {
        match self.rows.iter_mut().find(|known| known.capability == row.capability) {
            Some(known) => *known = row,
            None => self.rows.push(row),
        }
    }

    /// The known capabilities with their numbers of message ids, in the order of registration.
    pub fn iter(&self) -> impl Iterator<Item = (Capability, u16)> + '_ {
        self.rows.iter().map(|row| (row.capability, row.length()))
    }

    /// The number of message ids of a capability, if it is known.
    pub fn length(&self, capability: Capability) -> Option<u64> {
        self.row(capability).map(|row| u64::from(row.length()))
    }

    fn row(&self, capability: Capability) -> Option<&Row> {
        self.rows.iter().find(|row| row.capability == capability)
    }

    /// The capabilities that both sides have, in the order of their offsets: sorted by name, of each name only the
    /// highest shared version (`rlpx.md`, "Message ID-based Multiplexing"). What the table does not know is not shared.
    pub fn share(&self, ours: &[Capability], theirs: &[Capability]) -> Vec<Shared> {
        let common = ours.iter().filter(|ours| theirs.contains(ours));
        let mut common: Vec<&Row> = common.filter_map(|capability| self.row(*capability)).collect();
        // Ascending by name, then descending by version: the first of each name is the one that counts.
        common.sort_unstable_by(|a, b| {
            let (a, b) = (a.capability, b.capability);
            a.name.cmp(&b.name).then(b.version.cmp(&a.version))
        });
        common.dedup_by_key(|row| row.capability.name);
        let mut offset = id::CAPABILITIES;
        let place = |row: &Row| {
            let length = u64::from(row.length());
            let shared = Shared { capability: row.capability, offset, length, schema: row.schema() };
            offset += length;
            shared
        };
        common.into_iter().map(place).collect()
    }
}
