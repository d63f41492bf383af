//! What peers send that occupy a node with legal messages (attack E6).

use peerless::rng::Rng;
use peerless::wire::eth::id;
use peerless::wire::snappy::Compressor;

/// The messages of a session that sends as fast as it can.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Load {
    /// Messages of 10 KiB that cannot be compressed.
    Ordinary,
    /// Transactions that inflate from 98 KB to the most that is accepted.
    Bombs,
    /// Announcements with as many items as are accepted.
    Items,
    /// Requests with as many items as are accepted, each of which is answered.
    Requests,
    /// Answers of 10 MiB to requests of ours.
    Answers,
}

/// An RLP list of encoded items.
fn list(items: &[u8]) -> Vec<u8> {
    let mut list = rlp::RlpStream::new_list(1);
    list.append_raw(items, 1);
    list.out().to_vec()
}

/// A payload, compressed.
pub fn pack(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    Compressor::default().append(parts, &mut out);
    out
}

impl Load {
    /// The eth message's id.
    pub const fn message_id(self) -> u64 {
        match self {
            Self::Ordinary | Self::Bombs => id::TRANSACTIONS,
            Self::Items => id::NEW_POOLED_TRANSACTION_HASHES,
            Self::Requests => id::GET_BLOCK_HEADERS,
            Self::Answers => id::BLOCK_BODIES,
        }
    }

    /// A payload; for answers without the request id.
    pub fn payload(self, rng: &mut Rng) -> Vec<u8> {
        match self {
            Self::Ordinary => {
                let mut noise = vec![0; 10 << 10];
                rng.fill(&mut noise);
                list(&rlp::encode(&noise))
            }
            Self::Bombs => list(&rlp::encode(&vec![0u8; (2 << 20) - 16])),
            Self::Items => list(&list(&vec![0xc0; 4096]).repeat(3)),
            Self::Requests => list(&[&[7][..], &vec![0xc0; (16 << 10) - 2]].concat()),
            Self::Answers => rlp::encode(&vec![0u8; (10 << 20) - 32]).to_vec(),
        }
    }
}
