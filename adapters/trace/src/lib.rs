//! Record a node, replay the recording, and inspect captures, in one file format that Wireshark opens.
//!
//! A trace is a pcapng file. It holds network traffic as packets and all other inputs (configuration, seed, commands,
//! timeouts, drains) as custom blocks, and a running digest covers every byte. `docs/trace.md` has the layout.
//!
//! - [`record::Recorder`] is a [`Tap`](peerless::contract::Tap) that writes a trace.
//! - [`replay::Replay`] builds the node of a trace, feeds it every recorded input, and compares its behaviour.
//! - [`state::State`] is the state of a node at one instant; [`state::Condition`] a condition on it.
//! - [`capture`] reads the captures of any tool, [`reassembly`] orders their streams, and [`inspect`] shows their
//!   messages, as far as [`keylog`] or a node's key decrypts them; [`diff`] finds the first difference of two captures.
//! - [`mod@format`] is the file format: blocks, records, and their codec.

pub mod capture;
pub mod diff;
pub mod format;
pub mod inspect;
pub mod keylog;
mod pcapng;
pub mod reassembly;
pub mod record;
pub mod replay;
pub mod state;
