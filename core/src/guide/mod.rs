//! The guide: how to use this crate, one page for each question. It has no code of its own; every example is a test.
//!
//! Read the pages in this order. The first two are enough to drive a node; each of the others stands alone.
//!
//! 1. [What it is](what_it_is): a state machine without input and output, what goes in and what comes out.
//! 2. [The loop](driver_loop): a driver's turn in order, deadlines, wall time, partial writes, and a complete driver
//!    over `std::net`.
//! 3. [Streams and backpressure](streams): what is bounded, and what happens at each bound.
//! 4. [Peers](peers): static and trusted peers, candidates, limits, reports, bans, scores, and why a connection ended.
//! 5. [Identity and persistence](identity): addresses, record entries, the head of the chain, snapshots.
//! 6. [Custom capabilities](capabilities): messages and requests of your own, and machines across connections.
//! 7. [One machine alone](one_machine): discovery without sessions, the handshake and the framing over your own stream.
//! 8. [Any machine](any_machine): a protocol family of your own behind the same drivers, taps, recorder and simulator.
//! 9. [Testing in virtual time](virtual_time): a network in memory, faults on demand, seeds, fuzzing.
//! 10. [Determinism and seeds](determinism): what decides a run, and what must be kept secret.
//!
//! Examples that use the in-memory network need the feature `testing`; without it they are shown and not run.

pub mod any_machine;
pub mod capabilities;
pub mod determinism;
pub mod driver_loop;
pub mod identity;
pub mod one_machine;
pub mod peers;
pub mod streams;
pub mod virtual_time;
pub mod what_it_is;
