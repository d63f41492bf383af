//! Record a node, run it again from the recording, and look into what passed: one file format that Wireshark opens.
//!
//! A trace is a pcapng file. What went over the network is in it as packets, what did not (configuration, seed, commands,
//! timeouts, drains) in custom blocks, and a running digest covers every byte. `docs/trace.md` has the layout.
//!
//! - [`record::Recorder`] is a [`Tap`](peerless::contract::Tap) that writes a trace.
//! - [`replay::Replay`] builds the node of a trace again, hands it every input, and compares what it does.
//! - [`state::State`] is what a node believes at one moment; [`state::Condition`] a question about that.
//! - [`capture`] reads the captures of any tool, [`reassembly`] puts their streams in order, and [`inspect`] shows what the
//!   nodes said, as far as [`keylog`] or a node's key opens it; [`diff`] finds where two captures part.
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
