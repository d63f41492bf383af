//! The eth protocol's messages (`eth.md`) as far as this crate reads them: Status in both shapes, the block range, and the
//! envelope of requests and responses. Blocks and transactions stay the embedder's, as raw RLP.

use alloc::vec::Vec;

use super::DecodeError;
use super::forkid::ForkId;
use crate::crypto::Digest;

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

/// What a message is to the protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The handshake's message: once, first, both ways.
    Status,
    /// Says something and wants no answer.
    Announcement,
    /// Wants the answer with the given message id and the same request id.
    Request {
        /// The answer's message id.
        answer: u64,
    },
    /// Answers a request.
    Response,
    /// Reserved, removed or retired: a peer that sends it breaks the protocol.
    Forbidden,
}

/// What message `id` is in `version` of eth; `None` beyond the version's last id.
pub fn role(_version: u32, _id: u64) -> Option<Role> {
    unimplemented!()
}

/// The blocks that a peer can serve (eth/69).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockRange {
    /// First block available.
    pub earliest: u64,
    /// Last block available.
    pub latest: u64,
    /// Its hash.
    pub latest_hash: Digest,
}

/// The part of a Status that eth/68 and eth/69 do not share.
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
    /// The message's payload, in the shape of its version.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Decodes a payload in the shape of the negotiated `version`. The version within is read, not judged.
    ///
    /// # Errors
    /// If it is malformed.
    pub fn decode(_version: u32, _payload: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}

impl BlockRange {
    /// The payload of a BlockRangeUpdate.
    pub fn encode(&self) -> Vec<u8> {
        unimplemented!()
    }

    /// Decodes a BlockRangeUpdate.
    ///
    /// # Errors
    /// If it is malformed, or the range is upside down ([`DecodeError::BadValue`]).
    pub fn decode(_payload: &[u8]) -> Result<Self, DecodeError> {
        unimplemented!()
    }
}

/// The request id of a request or response (`[request-id, ..]`), and the checked list behind it.
///
/// # Errors
/// If the payload is not such a list.
pub fn request_id(_payload: &[u8]) -> Result<(u64, super::rlp::List<'_>), DecodeError> {
    unimplemented!()
}
