//! Streams and backpressure: what is bounded, and what happens at each bound.
//!
//! A connection that is asked to send more than its socket takes says so:
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::contract::{Command, CommandError, Event};
//! use peerless::rng::Seed;
//! use peerless::testing::Net;
//! use peerless::wire::eth::id::TRANSACTIONS;
//! use peerless::wire::p2p::Capability;
//! use std::time::Duration;
//!
//! // Two nodes in session, in memory.
//! let (mut net, [one, two]) = Net::nodes(1);
//! let [conn, _] = net.connect(one, two);
//! let capability = Capability::eth(69);
//!
//! // Half a megabyte that does not compress, until the connection refuses more.
//! let mut payload = vec![0; 512 << 10];
//! Seed::new([1; 32]).fork("payload").fill(&mut payload);
//! let send = Command::Send { conn, capability, id: TRANSACTIONS, payload: &payload };
//! let mut sent = 0;
//! let refused = loop {
//!     match net.command(one, send) {
//!         Ok(_) => sent += 1,
//!         Err(why) => break why,
//!     }
//! };
//! assert_eq!((sent, refused), (4, CommandError::Busy));
//!
//! // An event tells, once, that it takes messages again.
//! let is_ready = |event: &Event<'_>| matches!(event, Event::ConnReady { .. });
//! assert!(net.run_until(Duration::from_secs(60), |net| net.saw(one, is_ready)));
//! net.command(one, send)?;
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! # Sending
//!
//! A message is compressed and encrypted at once, into the connection's own buffer. While
//! [`OUTBOUND_BYTES_MAX`](crate::limits::OUTBOUND_BYTES_MAX) bytes or more wait for the socket, `Send`, `Request` and
//! `Respond` are refused with [`CommandError::Busy`](crate::contract::CommandError::Busy). A refused command has
//! changed nothing: keep the message, or drop it. [`Event::ConnReady`](crate::contract::Event::ConnReady) comes when
//! less than half of that waits.
//!
//! Requests have a bound of their own: with [`REQUESTS_OUT_MAX`](crate::limits::REQUESTS_OUT_MAX) open requests to a
//! peer the next is refused as `Busy`, and `ConnReady` comes when one is answered or has timed out.
//!
//! There is one `ConnReady` for each cause of refusals, however many commands were refused for it; none for a
//! connection that was never busy, and none if the connection ends first: then `Ended` comes.
//!
//! # Receiving
//!
//! A peer that asks faster than the application answers is read no further:
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::contract::{Command, Event};
//! use peerless::limits::REQUESTS_IN_HIGH_WATER;
//! use peerless::wire::eth::id::GET_BLOCK_HEADERS;
//! # use peerless::testing::Net;
//! # use peerless::wire::p2p::Capability;
//! # use std::time::Duration;
//! # let (mut net, [one, two]) = Net::nodes(1);
//! # let [conn, theirs] = net.connect(one, two);
//! # let capability = Capability::eth(69);
//! for _ in 0..REQUESTS_IN_HIGH_WATER {
//!     // The RLP items behind the request id: here, an empty list.
//!     net.command(one, Command::Request { conn, capability, id: GET_BLOCK_HEADERS, body: &[0xc0] })?;
//! }
//! net.run_for(Duration::from_secs(1));
//! assert!(!net.machine(two).wants_read(theirs), "sixteen requests wait for answers");
//!
//! let request = net.find(two, |event| match event {
//!     Event::Request { request_id, id, .. } => Some((*request_id, *id)),
//!     _ => None,
//! });
//! let (request_id, id) = request.expect("a request");
//! net.command(two, Command::Respond { conn: theirs, capability, request_id, id, body: &[0xc0] })?;
//! assert!(net.machine(two).wants_read(theirs));
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! [`wants_read`](crate::node::Node::wants_read) is false for a connection
//!
//! - whose peer has [`REQUESTS_IN_HIGH_WATER`](crate::limits::REQUESTS_IN_HIGH_WATER) unanswered requests,
//! - for whose socket [`OUTBOUND_BYTES_MAX`](crate::limits::OUTBOUND_BYTES_MAX) bytes wait: a peer that does not read
//!   is not read,
//! - that holds a part of a frame for the rest of which there is no memory now: all clocks that wait for the peer stop,
//! - that is being dialled, or is over or unknown,
//!
//! and for every connection while the outbox is full. The driver then leaves the bytes in the kernel, and TCP slows the
//! peer down. It asks again after every drain of what it has paused: no event tells.
//!
//! A peer whose stream is not read is still silent, and ends after
//! [`IDLE_TIMEOUT`](crate::limits::IDLE_TIMEOUT): answer each request, if only with an empty list, and give an answer that
//! was refused as [`Busy`](crate::contract::CommandError::Busy) again after
//! [`Event::ConnReady`](crate::contract::Event::ConnReady).
//!
//! # The outbox
//!
//! A driver that does not drain is bounded too:
//!
//! ```
//! use std::net::SocketAddr;
//!
//! use peerless::contract::{Command, CommandError, Input, SocketId};
//! use peerless::limits::OUTBOX_BYTES_HIGH_WATER;
//! # use peerless::crypto::SecretKey;
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Instant, UnixTime};
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! # let mut config = Config::new(SecretKey::from_bytes([1; 32])?, Chain::new(network, Head::default(), 0, [0; 32]));
//! # config.discovery.switch_off();
//! # let mut node = Node::new(config, [1; 32], Instant::ZERO, UnixTime::from_secs(1_750_000_000))?;
//! # let now = Instant::ZERO;
//! // Discovery is off, so every datagram is lent to the application as `Event::Unrecognised`.
//! let from = SocketAddr::from(([10, 0, 0, 2], 30303));
//! let flood = 2 * OUTBOX_BYTES_HIGH_WATER / 1000;
//! for _ in 0..flood {
//!     node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &[7; 1000] });
//! }
//! let set_head = Command::SetHead { head: Head { number: 1, time: 1, hash: [1; 32] }, earliest: 0 };
//! assert_eq!(node.command(now, set_head), Err(CommandError::Busy));
//!
//! let mut kept = 0;
//! while node.poll_action().is_some() {
//!     kept += 1;
//! }
//! assert_eq!(kept, OUTBOX_BYTES_HIGH_WATER / 1000 + 1, "the rest was dropped");
//! node.command(now, set_head)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Above [`OUTBOX_BYTES_HIGH_WATER`](crate::limits::OUTBOX_BYTES_HIGH_WATER) bytes or
//! [`OUTBOX_ACTIONS_HIGH_WATER`](crate::limits::OUTBOX_ACTIONS_HIGH_WATER) actions
//!
//! - datagrams to send are dropped and counted in [`Stats`](crate::contract::Stats),
//! - events that the application can miss are dropped: nodes that enter or leave the table, foreign datagrams, scores,
//! - no connection wants to be read,
//! - commands are refused as `Busy`, `Disconnect` and `Shutdown` excepted; drain, and try again.
//!
//! Events of connections and the outcomes of commands are never dropped. What bounds them is that each connection and
//! each open command is bounded itself. A driver that keeps feeding a stream although it is not wanted ends it with
//! [`Refusal::Overloaded`](crate::contract::Refusal::Overloaded) one message above the mark.
//!
//! # Discovery
//!
//! Calls, lookups and nodes that wait to be verified are bounded. A command beyond that is refused as `Busy`, and
//! [`Event::DiscoveryReady`](crate::contract::Event::DiscoveryReady) comes, once, when there is room again: no queue is
//! more than half full. A node for which the table has no room, or with the budget of pings to its address used up, is
//! refused with that reason instead, as [`Refusal::TableFull`](crate::contract::Refusal::TableFull) or
//! [`RecentlyPinged`](crate::contract::Refusal::RecentlyPinged).
//!
//! # All bounds
//!
//! [`limits`](crate::limits) has every bound of the crate with the reason for its value:
//!
//! | what | bound | beyond it |
//! |---|---|---|
//! | outbox | 1 MiB, 8192 actions | dropped, counted, pushed back |
//! | bytes for one socket | 2 MiB | commands `Busy`; the stream is not read |
//! | open requests to a peer | 64 | `Busy` |
//! | unanswered requests of a peer | 16, 1024 | not read; ended with `Overrun` |
//! | a frame's buffer | twice what was received and 64 KiB | claims reserve nothing |
//! | discovery calls in flight | 128 | `Busy` |
//! | wishes of behaviours in one turn | 64 | due a microsecond later |
//! | connections ended or timed out in one turn | 64 | due a microsecond later |
//!
//! Limits count bytes, not only items: a peer chooses sizes.
//!
//! Next: [peers](super::peers).
