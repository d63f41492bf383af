//! Decodes messages for display: the name by capability, version and id, and the main fields of the payload.
//!
//! Payloads of captures are untrusted: every payload gives a [`Message`].

use peerless::wire::DecodeError;
use peerless::wire::eth::{self, BlockRange, Status};
use peerless::wire::p2p::{self, Capability, DisconnectReason, Hello};
use peerless::wire::rlp::{self, Bounds, List};

use super::finding::{Content, Message};

/// Names of eth's messages, by id.
const ETH: [(u64, &str); 20] = [
    (eth::id::STATUS, "Status"),
    (eth::id::NEW_BLOCK_HASHES, "NewBlockHashes"),
    (eth::id::TRANSACTIONS, "Transactions"),
    (eth::id::GET_BLOCK_HEADERS, "GetBlockHeaders"),
    (eth::id::BLOCK_HEADERS, "BlockHeaders"),
    (eth::id::GET_BLOCK_BODIES, "GetBlockBodies"),
    (eth::id::BLOCK_BODIES, "BlockBodies"),
    (eth::id::NEW_BLOCK, "NewBlock"),
    (eth::id::NEW_POOLED_TRANSACTION_HASHES, "NewPooledTransactionHashes"),
    (eth::id::GET_POOLED_TRANSACTIONS, "GetPooledTransactions"),
    (eth::id::POOLED_TRANSACTIONS, "PooledTransactions"),
    (eth::id::GET_NODE_DATA, "GetNodeData"),
    (eth::id::NODE_DATA, "NodeData"),
    (eth::id::GET_RECEIPTS, "GetReceipts"),
    (eth::id::RECEIPTS, "Receipts"),
    (eth::id::BLOCK_RANGE_UPDATE, "BlockRangeUpdate"),
    (eth::id::GET_BLOCK_ACCESS_LISTS, "GetBlockAccessLists"),
    (eth::id::BLOCK_ACCESS_LISTS, "BlockAccessLists"),
    (eth::id::GET_CELLS, "GetCells"),
    (eth::id::CELLS, "Cells"),
];

/// Names of snap's messages, by id (`snap.md`; the last two since snap/2).
const SNAP: [&str; 10] = [
    "GetAccountRange",
    "AccountRange",
    "GetStorageRanges",
    "StorageRanges",
    "GetByteCodes",
    "ByteCodes",
    "GetTrieNodes",
    "TrieNodes",
    "GetBlockAccessLists",
    "BlockAccessLists",
];

impl Message {
    /// Decodes a message of the base protocol; its payload is uncompressed.
    pub(super) fn base(id: u64, payload: Vec<u8>, frame_bytes: usize) -> Self {
        let (name, content) = match id {
            p2p::id::HELLO => (Some("Hello"), read(Hello::decode(&payload), |hello| Content::Hello(Box::new(hello)))),
            p2p::id::DISCONNECT => (Some("Disconnect"), Content::Disconnect(DisconnectReason::decode(&payload))),
            p2p::id::PING => (Some("Ping"), Content::Opaque),
            p2p::id::PONG => (Some("Pong"), Content::Opaque),
            _ => (None, Content::Opaque),
        };
        Self { capability: None, id, name, frame_bytes, payload, content }
    }

    /// Decodes a message of a capability; its id is relative and its payload uncompressed.
    pub(super) fn of(capability: Capability, id: u64, payload: Vec<u8>, frame_bytes: usize) -> Self {
        let (name, content) = if capability.is_eth() {
            let name = ETH.iter().find(|(known, _)| *known == id).map(|(_, name)| *name);
            (name, eth_content(capability.version, id, &payload))
        } else if capability.name() == "snap" {
            let name = usize::try_from(id).ok().and_then(|id| SNAP.get(id)).copied();
            (name, read(envelope(&payload), |(request_id, body)| items(Some(request_id), snap_count(id, body))))
        } else {
            (None, Content::Opaque)
        };
        Self { capability: Some(capability), id, name, frame_bytes, payload, content }
    }

    /// Returns a message whose id belongs to no capability with a known range.
    pub(super) fn unknown(id: u64, payload: Vec<u8>, frame_bytes: usize) -> Self {
        Self { capability: None, id, name: None, frame_bytes, payload, content: Content::Opaque }
    }
}

fn read<T>(value: Result<T, DecodeError>, content: impl FnOnce(T) -> Content) -> Content {
    value.map_or_else(Content::Malformed, content)
}

fn items(request_id: Option<u64>, count: Option<usize>) -> Content {
    Content::Items { request_id, count }
}

fn envelope(payload: &[u8]) -> Result<(u64, List<'_>), DecodeError> {
    rlp::check(payload, Bounds::MESSAGE)?;
    eth::request_id(payload)
}

/// Returns the number of items of the next list in `body`.
fn next_count(mut body: List<'_>) -> Option<usize> {
    body.list().ok().map(|list| list.count())
}

fn eth_content(version: u32, id: u64, payload: &[u8]) -> Content {
    match id {
        eth::id::STATUS => read(Status::decode(version, payload), |status| Content::Status(Box::new(status))),
        eth::id::BLOCK_RANGE_UPDATE => read(BlockRange::decode(payload), Content::BlockRange),
        // Types, sizes, hashes: lists of the same length.
        eth::id::NEW_POOLED_TRANSACTION_HASHES if version >= 68 => read(rlp::list(payload, Bounds::MESSAGE), |list| {
            let mut fields = list;
            let hashes = fields.bytes().and_then(|_| fields.list()).and_then(|_| fields.list());
            read(hashes, |hashes| items(None, Some(hashes.count())))
        }),
        eth::id::NEW_BLOCK => read(rlp::list(payload, Bounds::MESSAGE), |_| items(None, None)),
        eth::id::NEW_BLOCK_HASHES | eth::id::TRANSACTIONS | eth::id::NEW_POOLED_TRANSACTION_HASHES => {
            read(rlp::list(payload, Bounds::MESSAGE), |list| items(None, Some(list.count())))
        }
        eth::id::GET_BLOCK_HEADERS => read(envelope(payload).and_then(header_query), |query| query),
        // From eth/70 on a number precedes the list (EIP-7975).
        eth::id::GET_RECEIPTS | eth::id::RECEIPTS if version >= 70 => read(envelope(payload), |(request_id, body)| {
            let mut body = body;
            let count = body.raw().ok().and_then(|_| next_count(body));
            items(Some(request_id), count)
        }),
        _ if ETH.iter().any(|(known, _)| *known == id) => {
            read(envelope(payload), |(request_id, body)| items(Some(request_id), next_count(body)))
        }
        _ => Content::Opaque,
    }
}

fn header_query((request_id, mut body): (u64, List<'_>)) -> Result<Content, DecodeError> {
    let mut query = body.list()?;
    let mut ahead = query;
    let start = match query.bytes()? {
        hash if hash.len() == 32 => const_hex::encode(hash),
        _ => ahead.u64()?.to_string(),
    };
    let (amount, skip, reverse) = (query.u64()?, query.u64()?, query.u64()? != 0);
    Ok(Content::HeaderQuery { request_id, start, amount, skip, reverse })
}

/// Returns the number of items of a snap message, where it is the length of one list.
fn snap_count(id: u64, mut body: List<'_>) -> Option<usize> {
    match id {
        // accounts, slots, codes, nodes, access lists; hashes of codes; hashes of access lists
        1 | 3 | 4 | 5 | 7 | 8 | 9 => next_count(body),
        // root, then accounts; root, then paths
        2 | 6 => {
            body.raw().ok()?;
            next_count(body)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ::rlp::RlpStream;

    use super::*;

    fn message(capability: Capability, id: u64, payload: &[u8]) -> Message {
        Message::of(capability, id, payload.to_vec(), payload.len() + 1)
    }

    #[test]
    fn messages_have_their_names_and_counts() {
        let mut query = RlpStream::new_list(2);
        query.append(&7u64).begin_list(4).append(&1000u64).append(&10u64).append(&0u64).append(&1u64);
        let got = message(Capability::eth(68), 3, &query.out());
        assert_eq!(got.name, Some("GetBlockHeaders"));
        assert!(matches!(&got.content,
            Content::HeaderQuery { request_id: 7, start, amount: 10, skip: 0, reverse: true } if start == "1000"));

        let counts = |capability, id, payload: &[u8]| match message(capability, id, payload).content {
            Content::Items { request_id, count } => (request_id, count),
            other => panic!("{other:?}"),
        };
        // [9, [[], []]], [[], [], []], [types, [sizes], [hashes]], [9, 0, [[], []]]
        assert_eq!(counts(Capability::eth(69), 4, &[0xc4, 9, 0xc2, 0xc0, 0xc0]), (Some(9), Some(2)));
        assert_eq!(counts(Capability::eth(69), 2, &[0xc3, 0xc0, 0xc0, 0xc0]), (None, Some(3)));
        assert_eq!(counts(Capability::eth(68), 8, &[0xc7, 0x82, 2, 2, 0xc2, 1, 1, 0xc0]), (None, Some(0)));
        assert_eq!(counts(Capability::eth(70), 0x10, &[0xc5, 9, 0x80, 0xc2, 0xc0, 0xc0]), (Some(9), Some(2)));
        assert_eq!(counts(Capability::snap(1), 6, &[0xc4, 9, 0x80, 0xc1, 0xc0]), (Some(9), Some(1)));
        assert_eq!(message(Capability::snap(1), 6, &[]).name, Some("GetTrieNodes"));
        assert_eq!(message(Capability::snap(1), 99, &[]).name, None);
    }

    #[test]
    fn malformed_payloads_are_reported() {
        for id in 0..=0x15 {
            if id == 0x0b || id == 0x0c {
                continue;
            }
            let got = message(Capability::eth(69), id, &[0xc1]);
            assert!(matches!(got.content, Content::Malformed(_)), "{id}: {got:?}");
        }
        assert!(matches!(Message::base(0, vec![0xc0], 2).content, Content::Malformed(_)));
        let got = Message::base(1, vec![0xc1, 4], 3);
        assert!(matches!(got.content, Content::Disconnect(DisconnectReason::TooManyPeers)));
    }
}
