//! Encoding and decoding. No state, no clock, no judgement of peers: decoders refuse bytes that the specification calls
//! malformed with a [`DecodeError`], and accept deviations that it requires to be accepted.

pub mod discv4;
pub mod discv5;
pub mod dns;
pub mod enode;
pub mod enr;
mod error;
pub mod eth;
pub mod forkid;
pub mod p2p;
pub mod rlp;
pub mod rlpx;
pub mod schema;
pub mod snap;
pub mod snappy;
pub mod url;

pub use error::DecodeError;
