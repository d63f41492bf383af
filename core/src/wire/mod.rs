//! Bytes to values and back. No state, no clock, no judgement of peers: decoders refuse what the specification calls
//! malformed with a [`DecodeError`] and tolerate what it says must be tolerated.

pub mod discv4;
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
