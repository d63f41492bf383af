//! The snap protocol's messages (`snap.md`) as far as this crate reads them: which ids each version has and what they are.
//! Requests and responses have eth's envelope ([`eth::envelope`](super::eth::envelope)); what they hold is the embedder's.

use super::schema::{Message, Role, Schema};
use crate::limits;

/// Message ids, relative to the capability's offset.
#[allow(missing_docs)]
pub mod id {
    pub const GET_ACCOUNT_RANGE: u64 = 0x00;
    pub const ACCOUNT_RANGE: u64 = 0x01;
    pub const GET_STORAGE_RANGES: u64 = 0x02;
    pub const STORAGE_RANGES: u64 = 0x03;
    pub const GET_BYTE_CODES: u64 = 0x04;
    pub const BYTE_CODES: u64 = 0x05;
    pub const GET_TRIE_NODES: u64 = 0x06;
    pub const TRIE_NODES: u64 = 0x07;
    pub const GET_BLOCK_ACCESS_LISTS: u64 = 0x08;
    pub const BLOCK_ACCESS_LISTS: u64 = 0x09;
}

const fn request(answer: u64) -> Message {
    Message::new(Role::Request { answer }, limits::SNAP_REQUEST_BYTES_MAX)
}

const RESPONSE: Message = Message::new(Role::Response, limits::ETH_MESSAGE_BYTES_MAX);
const FORBIDDEN: Message = Message::new(Role::Forbidden, limits::ETH_MESSAGE_BYTES_MAX);

static SNAP_1: Schema = Schema::new(&[
    request(id::ACCOUNT_RANGE),
    RESPONSE,
    request(id::STORAGE_RANGES),
    RESPONSE,
    request(id::BYTE_CODES),
    RESPONSE,
    request(id::TRIE_NODES),
    RESPONSE,
]);

/// Without trie nodes, whose ids stay reserved (EIP-8189).
static SNAP_2: Schema = Schema::new(&[
    request(id::ACCOUNT_RANGE),
    RESPONSE,
    request(id::STORAGE_RANGES),
    RESPONSE,
    request(id::BYTE_CODES),
    RESPONSE,
    FORBIDDEN,
    FORBIDDEN,
    request(id::BLOCK_ACCESS_LISTS),
    RESPONSE,
]);

/// The versions, with their messages.
pub fn schemas() -> impl Iterator<Item = (u32, &'static Schema)> {
    [(1, &SNAP_1), (2, &SNAP_2)].into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_request_has_its_answer_at_the_next_id() {
        for (version, schema) in schemas() {
            for id in 0..u64::from(schema.message_ids()) {
                let retired = version == 2 && [id::GET_TRIE_NODES, id::TRIE_NODES].contains(&id);
                let expected = match id % 2 {
                    _ if retired => Role::Forbidden,
                    0 => Role::Request { answer: id + 1 },
                    _ => Role::Response,
                };
                assert_eq!(schema.role(id), Some(expected), "snap/{version} {id:#x}");
                let is_request = matches!(expected, Role::Request { .. });
                let bytes_max = if is_request { limits::SNAP_REQUEST_BYTES_MAX } else { limits::ETH_MESSAGE_BYTES_MAX };
                assert_eq!(schema.bytes_max(id), Some(bytes_max));
            }
        }
        let ids: alloc::vec::Vec<_> = schemas().map(|(_, schema)| schema.message_ids()).collect();
        assert_eq!(ids, [8, 10]);
    }
}
