//! The eth protocol (`eth.md`) as far as a peer-to-peer stack carries it: whether two chains are compatible, the exchange of
//! Statuses, and the announcement of our block range. Blocks and transactions are the embedder's, as raw RLP.

pub mod announce;
pub mod chain;
pub mod handshake;

pub use announce::BlockRangeAnnouncer;
pub use chain::Chain;
pub use handshake::{EthHandshake, Policy};
