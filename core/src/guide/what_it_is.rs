//! What it is: a devp2p node as a state machine that does no input or output itself ("sans-IO").
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use peerless::contract::{Action, Command, Input, SocketId, Via};
//! use peerless::crypto::{Crypto, Secp256k1, SecretKey};
//! use peerless::eth::Chain;
//! use peerless::node::{Config, Node};
//! use peerless::time::{Instant, UnixTime};
//! use peerless::wire::enode::Contact;
//! use peerless::wire::forkid::{ForkSchedule, Head, Network};
//!
//! // A private network with no forks. `Network::public("mainnet")` has the schedule of mainnet.
//! let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! let chain = Chain::new(network, Head::default(), 0, [0; 32]);
//!
//! // Who the node is, and where others reach it.
//! let mut config = Config::new(SecretKey::from_bytes([1; 32])?, chain);
//! config.addresses.set_ip([10, 0, 0, 1].into());
//!
//! // The seed decides every random draw of the run. Time is what the caller says.
//! let now = Instant::ZERO;
//! let mut node = Node::new(config, [1; 32], now, UnixTime::from_secs(1_750_000_000))?;
//!
//! // A command goes in. A datagram to send comes out; nothing was sent yet.
//! let key = Secp256k1::new().public_key(&SecretKey::from_bytes([2; 32])?);
//! let other = Contact::new(key, [10, 0, 0, 2].into(), 30303, 30303);
//! node.command(now, Command::Ping { via: Via::Discv4, contact: other })?;
//! let Some(Action::Send { to, bytes, .. }) = node.poll_action() else { panic!("no ping") };
//! assert_eq!(to, other.udp_addr());
//! assert!(bytes.len() > 98, "hash, signature, type, and the ping itself");
//! assert!(node.poll_action().is_none());
//!
//! // A datagram goes in. This one is too short for discovery, so the application is told of it.
//! let from = SocketAddr::from(([10, 0, 0, 3], 9000));
//! node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: b"hello" });
//! assert!(matches!(node.poll_action(), Some(Action::Emit(_))));
//!
//! // No answer to the ping came. The node says when it wants to be called again.
//! let (at, why) = node.poll_timeout().expect("a deadline");
//! println!("call me at {at} for {why:?}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The picture
//!
//! ```text
//!                 your application
//!              Command │      ▲ Event
//!                      ▼      │
//!   sockets ──────▶ the driver: owns sockets and the clock
//!   UDP, TCP ◀────     │      ▲
//!                Input │      │ Action
//!                      ▼      │
//!                     Node: no socket, no clock, no entropy, no thread
//! ```
//!
//! A [`Node`](crate::node::Node) is a value. It starts no thread, opens no socket and calls nothing of yours. All that
//! it does happens inside of a call, and what it wants done outside waits in a queue until the driver takes it.
//!
//! # What goes in
//!
//! | call | what it says |
//! |---|---|
//! | [`handle`](crate::node::Node::handle) with an [`Input`](crate::contract::Input) | a datagram, bytes of a stream, a stream that connected, ended or broke, the deadline, the wall time |
//! | [`command`](crate::node::Node::command) with a [`Command`](crate::contract::Command) | what the embedder wants; answered at once with an id or with the reason of the refusal |
//! | [`accept`](crate::node::Node::accept) | a listener has a stream; answered with its id, or `None` to close it unread |
//!
//! # What comes out
//!
//! | call | what it says |
//! |---|---|
//! | [`poll_action`](crate::node::Node::poll_action) | the next [`Action`](crate::contract::Action): send, dial, flush, close, resolve a name, or an [`Event`](crate::contract::Event) for the application |
//! | [`poll_timeout`](crate::node::Node::poll_timeout) | when to call with `Input::Timeout` at the latest, and what for |
//! | [`outbound`](crate::node::Node::outbound) | the bytes that wait for a stream's socket |
//! | [`wants_read`](crate::node::Node::wants_read) | whether to read from a stream now |
//!
//! Between calls a node can be looked at: [`sessions`](crate::node::Node::sessions),
//! [`peers`](crate::node::Node::peers), [`discovery`](crate::node::Node::discovery),
//! [`stats`](crate::node::Node::stats), [`record`](crate::node::Node::record).
//!
//! # Why
//!
//! The protocol is the difficult part, and sockets make it untestable. Without them a test runs an hour of network time
//! in milliseconds, a failed run repeats from its seed, and a recording of a run in production is a test case. The same
//! code runs over an event loop, in a thread with blocking sockets, in a simulator and out of a recording.
//!
//! # What a node does
//!
//! - It finds other nodes by discv4, proves endpoints, and keeps a table of live nodes.
//! - It dials candidates, accepts streams, makes the RLPx handshake, exchanges Hello and the Status of eth.
//! - It matches requests with answers, for eth, for snap and for capabilities of your own.
//! - It limits, scores and bans peers, and says why every connection ended.
//!
//! It does not store blocks, execute transactions, resolve names or map ports. Payloads of eth and snap are yours, as
//! RLP.
//!
//! Next: [the loop](super::driver_loop).
