//! The messages of the eth protocol (`eth.md`) that this crate reads: Status in both forms, the block range, and the
//! envelope of requests and responses. Blocks and transactions are passed to the embedder as raw RLP.

use alloc::vec::Vec;

use super::DecodeError;
use super::forkid::ForkId;
use super::rlp::{self, Bounds, List, RlpStream};
use super::schema::{Items, Message, Role, Schema};
use crate::crypto::Digest;
use crate::limits;

/// Message ids, relative to the capability's offset.
#[allow(missing_docs)]
pub mod id {
    pub const STATUS: u64 = 0x00;
    pub const NEW_BLOCK_HASHES: u64 = 0x01;
    pub const TRANSACTIONS: u64 = 0x02;
    pub const GET_BLOCK_HEADERS: u64 = 0x03;
    pub const BLOCK_HEADERS: u64 = 0x04;
    pub const GET_BLOCK_BODIES: u64 = 0x05;
    pub const BLOCK_BODIES: u64 = 0x06;
    pub const NEW_BLOCK: u64 = 0x07;
    pub const NEW_POOLED_TRANSACTION_HASHES: u64 = 0x08;
    pub const GET_POOLED_TRANSACTIONS: u64 = 0x09;
    pub const POOLED_TRANSACTIONS: u64 = 0x0a;
    pub const GET_NODE_DATA: u64 = 0x0d;
    pub const NODE_DATA: u64 = 0x0e;
    pub const GET_RECEIPTS: u64 = 0x0f;
    pub const RECEIPTS: u64 = 0x10;
    pub const BLOCK_RANGE_UPDATE: u64 = 0x11;
    pub const GET_BLOCK_ACCESS_LISTS: u64 = 0x12;
    pub const BLOCK_ACCESS_LISTS: u64 = 0x13;
    pub const GET_CELLS: u64 = 0x14;
    pub const CELLS: u64 = 0x15;
}

/// The messages: id, the versions from and up to which the id has this role, the role. Ids of a version's space that are
/// not here are forbidden in it: reserved ones, GetNodeData and NodeData from eth/67 on (EIP-4938), and the announcements
/// of blocks from eth/69 on, which clients that follow a beacon chain end a session for.
const ROLES: [(u64, u32, u32, Role); 20] = [
    (id::STATUS, 66, 72, Role::Status),
    (id::NEW_BLOCK_HASHES, 66, 68, Role::Announcement),
    (id::TRANSACTIONS, 66, 72, Role::Announcement),
    (id::GET_BLOCK_HEADERS, 66, 72, Role::Request { answer: id::BLOCK_HEADERS }),
    (id::BLOCK_HEADERS, 66, 72, Role::Response),
    (id::GET_BLOCK_BODIES, 66, 72, Role::Request { answer: id::BLOCK_BODIES }),
    (id::BLOCK_BODIES, 66, 72, Role::Response),
    (id::NEW_BLOCK, 66, 68, Role::Announcement),
    (id::NEW_POOLED_TRANSACTION_HASHES, 66, 72, Role::Announcement),
    (id::GET_POOLED_TRANSACTIONS, 66, 72, Role::Request { answer: id::POOLED_TRANSACTIONS }),
    (id::POOLED_TRANSACTIONS, 66, 72, Role::Response),
    (id::GET_NODE_DATA, 66, 66, Role::Request { answer: id::NODE_DATA }),
    (id::NODE_DATA, 66, 66, Role::Response),
    (id::GET_RECEIPTS, 66, 72, Role::Request { answer: id::RECEIPTS }),
    (id::RECEIPTS, 66, 72, Role::Response),
    (id::BLOCK_RANGE_UPDATE, 69, 72, Role::Announcement),
    (id::GET_BLOCK_ACCESS_LISTS, 71, 72, Role::Request { answer: id::BLOCK_ACCESS_LISTS }),
    (id::BLOCK_ACCESS_LISTS, 71, 72, Role::Response),
    (id::GET_CELLS, 72, 72, Role::Request { answer: id::CELLS }),
    (id::CELLS, 72, 72, Role::Response),
];

/// The first version that there is a schema of.
const FIRST_VERSION: u32 = 66;

/// The schema of each version from [`FIRST_VERSION`] on. The number of message ids is part of the version.
static SCHEMAS: [Schema; 7] = [
    Schema::new(&const { messages::<17>(66) }),
    Schema::new(&const { messages::<17>(67) }),
    Schema::new(&const { messages::<17>(68) }),
    Schema::new(&const { messages::<18>(69) }),
    Schema::new(&const { messages::<18>(70) }),
    Schema::new(&const { messages::<20>(71) }),
    Schema::new(&const { messages::<22>(72) }),
];

const fn messages<const N: usize>(version: u32) -> [Message; N] {
    let mut messages = [Message::new(Role::Forbidden, limits::ETH_MESSAGE_BYTES_MAX); N];
    let mut row = 0;
    while row < ROLES.len() {
        let (id, from, to, role) = ROLES[row];
        if from <= version && version <= to {
            messages[id as usize] = message(id, role);
        }
        row += 1;
    }
    messages
}

/// A message with its bounds: what was not requested must be cheap (attack E6).
const fn message(id: u64, role: Role) -> Message {
    let bytes_max = match (role, id) {
        (Role::Request { .. }, _) => limits::REQUEST_BYTES_MAX,
        (Role::Response | Role::Forbidden, _) => limits::ETH_MESSAGE_BYTES_MAX,
        (_, id::TRANSACTIONS | id::NEW_BLOCK) => limits::TRANSACTIONS_BYTES_MAX,
        (_, id::NEW_BLOCK_HASHES | id::NEW_POOLED_TRANSACTION_HASHES) => limits::ANNOUNCED_HASHES_BYTES_MAX,
        (Role::Status | Role::Announcement, _) => limits::STATUS_BYTES_MAX,
    };
    let message = Message::new(role, bytes_max);
    match id {
        id::TRANSACTIONS => message.with_items(Items::Outermost(limits::TRANSACTIONS_MAX)),
        id::NEW_BLOCK_HASHES | id::NEW_POOLED_TRANSACTION_HASHES => {
            message.with_items(Items::Lists(limits::ANNOUNCED_HASHES_MAX))
        }
        _ => message,
    }
}

/// The messages of `version`; `None` for versions that are not known.
pub fn schema(version: u32) -> Option<&'static Schema> {
    SCHEMAS.get(version.checked_sub(FIRST_VERSION)? as usize)
}

/// The versions, with their messages.
pub fn schemas() -> impl Iterator<Item = (u32, &'static Schema)> {
    (FIRST_VERSION..).zip(&SCHEMAS)
}

/// Returns the role of message `id` in `version` of eth; `None` beyond the version's last id, and in unknown versions.
pub fn role(version: u32, id: u64) -> Option<Role> {
    schema(version)?.role(id)
}

/// The range of blocks that a peer can serve (eth/69).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRange {
    /// First block available.
    pub earliest: u64,
    /// Last block available.
    pub latest: u64,
    /// Its hash.
    pub latest_hash: Digest,
}

/// The part of a Status that differs between eth/68 and eth/69.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChainState {
    /// Up to eth/68.
    Difficulty {
        /// Total difficulty, 256 bits big-endian.
        total: [u8; 32],
        /// Hash of the head block.
        head: Digest,
    },
    /// From eth/69 on.
    Range(BlockRange),
}

/// The first message of both sides (`eth.md`, "Status (0x00)").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status {
    /// eth version.
    pub version: u32,
    /// Network id.
    pub network_id: u64,
    /// Hash of the genesis block.
    pub genesis: Digest,
    /// Fork id.
    pub fork_id: ForkId,
    /// Difficulty and head, or block range.
    pub chain: ChainState,
}

impl Status {
    /// The message's payload, in the form of its chain state.
    pub fn encode(&self) -> Vec<u8> {
        let mut rlp = RlpStream::new();
        match &self.chain {
            ChainState::Difficulty { total, head } => {
                rlp.begin_list(6).append(&self.version).append(&self.network_id);
                let significant = total.iter().position(|digit| *digit != 0).unwrap_or(total.len());
                rlp.append(&&total[significant..]).append(&&head[..]).append(&&self.genesis[..]);
                self.fork_id.append(&mut rlp);
            }
            ChainState::Range(range) => {
                rlp.begin_list(7).append(&self.version).append(&self.network_id).append(&&self.genesis[..]);
                self.fork_id.append(&mut rlp);
                range.append(&mut rlp);
            }
        }
        rlp.out().to_vec()
    }

    /// Decodes a payload in the form of the negotiated `version`. The version and the range in it are not validated.
    ///
    /// # Errors
    /// If it is malformed or has more fields than the version's.
    pub fn decode(version: u32, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = rlp::list(payload, Bounds::SMALL)?;
        let claimed = u32::try_from(fields.u64()?).map_err(|_| DecodeError::IntegerOverflow)?;
        let network_id = fields.u64()?;
        let (genesis, fork_id, chain);
        if version <= 68 {
            let mut total = [0; 32];
            let digits = fields.uint_bytes(total.len())?;
            total[32 - digits.len()..].copy_from_slice(digits);
            chain = ChainState::Difficulty { total, head: *fields.fixed()? };
            genesis = *fields.fixed()?;
            fork_id = ForkId::decode(&mut fields)?;
        } else {
            genesis = *fields.fixed()?;
            fork_id = ForkId::decode(&mut fields)?;
            chain = ChainState::Range(BlockRange::read(&mut fields)?);
        }
        fields.end()?;
        Ok(Self { version: claimed, network_id, genesis, fork_id, chain })
    }
}

impl BlockRange {
    /// Whether `earliest` is not beyond `latest`.
    pub fn is_ordered(&self) -> bool {
        self.earliest <= self.latest
    }

    /// The payload of a BlockRangeUpdate.
    pub fn encode(&self) -> Vec<u8> {
        let mut rlp = RlpStream::new_list(3);
        self.append(&mut rlp);
        rlp.out().to_vec()
    }

    /// Decodes a BlockRangeUpdate.
    ///
    /// # Errors
    /// If it is malformed, or `earliest` is beyond `latest` ([`DecodeError::BadValue`]).
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut fields = rlp::list(payload, Bounds::SMALL)?;
        let range = Self::read(&mut fields)?;
        fields.end()?;
        if range.is_ordered() { Ok(range) } else { Err(DecodeError::BadValue) }
    }

    fn append(&self, rlp: &mut RlpStream) {
        rlp.append(&self.earliest).append(&self.latest).append(&&self.latest_hash[..]);
    }

    fn read(fields: &mut List<'_>) -> Result<Self, DecodeError> {
        Ok(Self { earliest: fields.u64()?, latest: fields.u64()?, latest_hash: *fields.fixed()? })
    }
}

/// Reads the request id of a request or response (`[request-id, ..]`) and returns it with the items after it. Those are
/// unchecked, so that an unsolicited answer costs little: use [`rlp::check`].
///
/// # Errors
/// If the payload is not a list that opens with a canonical 64-bit integer and ends where its length says.
pub fn request_id(payload: &[u8]) -> Result<(u64, List<'_>), DecodeError> {
    let mut items = rlp::shallow_list(payload)?;
    Ok((items.u64()?, items))
}

/// Encodes the start of a request or response: a list's header for a body of `body_bytes` bytes, and the request id.
/// The body follows it on the wire, so the two need not be concatenated.
pub fn envelope(request_id: u64, body_bytes: usize) -> Envelope {
    let mut id = RlpStream::new();
    id.append(&request_id);
    let id = id.out();
    let payload = id.len() as u64 + body_bytes as u64;
    let mut envelope = Envelope { bytes: [0; ENVELOPE_BYTES_MAX], len: 0 };
    if payload <= 55 {
        envelope.push(&[0xc0 + payload as u8]);
    } else {
        let digits = &payload.to_be_bytes()[payload.leading_zeros() as usize / 8..];
        envelope.push(&[0xf7 + digits.len() as u8]);
        envelope.push(digits);
    }
    envelope.push(&id);
    envelope
}

/// Largest envelope: a list's header and an integer, each at most nine bytes.
const ENVELOPE_BYTES_MAX: usize = 18;

/// The start of a request or response; see [`envelope`].
#[derive(Clone, Copy, Debug)]
pub struct Envelope {
    bytes: [u8; ENVELOPE_BYTES_MAX],
    len: usize,
}

impl Envelope {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// The envelope's bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests;
