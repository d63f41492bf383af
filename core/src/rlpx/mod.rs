//! RLPx (`rlpx.md`): the encrypted stream between two nodes.
//!
//! [`handshake`] turns two key pairs and a byte stream into [`Frames`], and [`frames`] turns bytes into frames and back.
//! Each is usable alone over anyone's stream; neither knows what the frames say.

pub mod frames;
pub mod handshake;

pub use frames::{Frames, Opener, Sealer};
pub use handshake::{Agreed, Handshake, Progress};
