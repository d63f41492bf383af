//! Ethereum's peer-to-peer stack (devp2p) as state machines without input or output.
//!
//! Bytes and timestamps go in, actions come out. Nothing here opens a socket, reads a clock or draws entropy, so the
//! same [`Node`](node::Node) runs over any event loop, in a simulated network, or out of a recording, byte for byte the
//! same.
//!
//! ```text
//!              Input                                    Action
//!   datagram, bytes, timeout, command      send, dial, flush, close, query, event
//!                │                                        ▲
//!   ┌────────────▼────────────────────────────────────────┴────────────┐
//!   │ node    routes inputs, acts on verdicts                          │
//!   │ ┌───────────┐ ┌────────────────────────────────────┐ ┌─────────┐ │
//!   │ │ discovery │ │ connections                        │ │ peers   │ │
//!   │ │ discv4    │ │ rlpx: handshake, frames, session   │ │ slots   │ │
//!   │ │  over kad │ │ protocols: eth, snap, your own     │ │ scores  │ │
//!   │ │           │ ├────────────────────────────────────┤ │ bans    │ │
//!   │ │           │ │ behaviours, across connections     │ │ dials   │ │
//!   │ └───────────┘ └────────────────────────────────────┘ └─────────┘ │
//!   │ wire    bytes ↔ values                    crypto    the seam     │
//!   └──────────────────────────────────────────────────────────────────┘
//! ```
//!
//! # Two nodes in one process
//!
//! ```
//! use peerless::contract::{Action, Command, Event, Input, SocketId, Via};
//! use peerless::crypto::SecretKey;
//! use peerless::eth::Chain;
//! use peerless::node::{Config, Node};
//! use peerless::time::{Duration, Instant, UnixTime};
//! use peerless::wire::forkid::{ForkSchedule, Head, Network};
//!
//! fn node(number: u8) -> Node {
//!     let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//!     let network = Network { name: "mine".into(), network_id: 1337, schedule };
//!     let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//!     let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
//!     config.addresses.set_ip([127, 0, 0, number].into());
//!     Node::new(config, [number; 32], Instant::ZERO, UnixTime::from_secs(1_750_000_000)).expect("valid")
//! }
//!
//! let mut nodes = [node(1), node(2)];
//! let contact = nodes[1].contact();
//! nodes[0].command(Instant::ZERO, Command::Ping { via: Via::Discv4, contact })?;
//!
//! let mut answered = None;
//! for millisecond in 0..100 {
//!     let now = Instant::ZERO + Duration::from_millis(millisecond);
//!     let mut mail = Vec::new();
//!     for node in &mut nodes {
//!         let from = node.contact().udp_addr();
//!         node.handle(now, Input::Timeout);
//!         while let Some(action) = node.poll_action() {
//!             match action {
//!                 Action::Send { to, bytes, .. } => mail.push((from, to, bytes.to_vec())),
//!                 Action::Emit(Event::Pong { rtt, .. }) => answered = Some(rtt),
//!                 _ => {}
//!             }
//!         }
//!     }
//!     for (from, to, bytes) in mail {
//!         if let Some(node) = nodes.iter_mut().find(|node| node.contact().udp_addr() == to) {
//!             node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes });
//!         }
//!     }
//! }
//! assert!(answered.is_some());
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! # The guide
//!
//! [`guide`] has a page for each question, with examples that are tests: [what it is](guide::what_it_is),
//! [the loop](guide::driver_loop) with a complete driver over `std::net`, [streams and backpressure](guide::streams),
//! [peers](guide::peers), [identity and persistence](guide::identity), [custom capabilities](guide::capabilities),
//! [one machine alone](guide::one_machine), [any machine](guide::any_machine),
//! [testing in virtual time](guide::virtual_time), and [determinism and seeds](guide::determinism).
//!
//! # The contract
//!
//! One mutator, one output, one deadline. After every [`handle`](node::Node::handle),
//! [`command`](node::Node::command) and [`accept`](node::Node::accept) the driver pops actions until there is none; it
//! sleeps until a socket is ready or [`poll_timeout`](node::Node::poll_timeout) has come, and then hands in what
//! happened. [`contract::Machine`] is the same as a trait, for any protocol family.
//!
//! 1. **Deterministic.** The same configuration, seed, inputs and drains give the same actions on every platform.
//! 2. **Any order is legal**, also inputs for connections that are gone, and time that stands still.
//! 3. **Bounded.** Every queue, table and buffer has its limit in [`limits`], also for a driver that never drains.
//! 4. **Time** is what the driver says; after a timeout the next deadline lies in the future.
//! 5. **Explainable.** Every end of a session, every change of a score and every dropped datagram has a typed reason.
//! 6. **Work happens in `handle`**, `command` and `accept`; popping only pops.
//! 7. **The costly primitives have one seam**, [`crypto::Crypto`].
//! 8. **One tap**, [`contract::Tap`], sees everything that passes.
//!
//! # Reading order
//!
//! The order of dependencies: a module imports only from those above it, and machines do not import each other.
//!
//! | module | what it has |
//! |---|---|
//! | [`limits`], [`netfilter`], [`rng`], [`time`] | the ground: bounds, addresses, the seed, instants and deadlines |
//! | [`crypto`] | keys, and the trait of the costly primitives |
//! | [`wire`] | bytes to values and back, without state |
//! | [`contract`] | what crosses the boundary to a driver |
//! | [`kad`] | what discovery protocols share: table, lookup, limits |
//! | [`discv4`], [`rlpx`], [`eth`], [`peers`] | the machines |
//! | [`protocols`] | the protocols of one session, and the machines across sessions |
//! | [`node`] | the composition |
//! | `testing` | a network in memory and virtual time (feature `testing`) |
//!
//! Each machine is usable alone, with the same verbs: `handle_datagram`, `handle_bytes`, `handle_timeout`,
//! `poll_timeout`; it is lent a [`Cx`](contract::Cx) out of a [`Context`](contract::Context) with every call.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

// Ground.
pub mod limits;
pub mod netfilter;
pub mod rng;
pub mod time;

pub mod crypto;
pub mod wire;

pub mod contract;

// What discovery protocols share.
pub mod kad;

// Machines.
pub mod discv4;
pub mod discv5;
pub mod dns;
pub mod eth;
pub mod peers;
pub mod rlpx;

pub mod protocols;

pub mod node;

#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub mod guide;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
