//! The eth protocol (`eth.md`) as far as a peer-to-peer stack carries it: whether two chains go together, who asked what,
//! and which messages a version has. Blocks and transactions are the embedder's, as raw RLP.

pub mod chain;
pub mod handshake;
pub mod requests;

pub use chain::Chain;
pub use handshake::{EthHandshake, Policy};
pub use requests::{Incoming, Requests};
