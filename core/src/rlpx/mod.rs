//! RLPx (`rlpx.md`): the encrypted stream between two nodes.
//!
//! [`handshake`] turns two key pairs and a byte stream into [`Frames`], and [`frames`] turns bytes into frames and back:
//! neither knows what the frames say. [`session`] does, as far as the base protocol goes. Each is usable alone over
//! anyone's stream.

pub mod frames;
pub mod handshake;
pub mod session;

pub use frames::{Arriving, Frames, Opener, Sealer};
pub use handshake::{Agreed, Handshake, Progress};
pub use session::{Anything, Expects, LocalHello, Session, Step};
