//! Testing in virtual time: a network in memory, faults on demand, and seeds (feature `testing`).
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::contract::{EndReason, IoFault, Side, Stage};
//! use peerless::testing::Net;
//! use std::time::Duration;
//!
//! // Two nodes that reach each other. One seed decides the run.
//! let (mut net, [one, two]) = Net::nodes(1);
//!
//! // Sockets that take a few bytes at a time change nothing.
//! net.link.write_bytes_max = 50;
//! let [conn, their_conn] = net.connect(one, two);
//!
//! // A break on demand, at both sides.
//! net.break_stream(one, conn, IoFault::Reset);
//! for (host, conn) in [(one, conn), (two, their_conn)] {
//!     let (_, end) = net.end(host, conn).expect("the session has ended");
//!     assert_eq!((end.by, end.stage, end.why), (Side::Network, Stage::Established, EndReason::Io(IoFault::Reset)));
//! }
//!
//! // An hour takes milliseconds.
//! net.run_for(Duration::from_secs(3600));
//! ```
//!
//! `Net` owns the machines, the clock and everything between them. `run_until` runs to a condition, `run_for` for a
//! while; nothing sleeps. It asserts of every machine that deadlines move forward.
//!
//! `Net::nodes` makes nodes without discovery, `Net::mesh` nodes that find each other. `net.add_node(config)` adds one
//! with a configuration of its own, `net.add(addr, make)` any [`Machine`](crate::contract::Machine).
//!
//! # What it does to a machine
//!
//! | fault | how |
//! |---|---|
//! | datagrams delayed and lost | `net.link.delay`, `net.link.loss_percent` |
//! | dials that time out | `net.link.dial_loss_percent` |
//! | chunks of any size, partial writes | by default, at random; `net.link.chunk_bytes_max`, `net.link.write_bytes_max`, `net.link.random_sizes` |
//! | a host that is cut off, and comes back | `net.cut(host, true)` |
//! | a stream that breaks | `net.break_stream(host, conn, why)` |
//! | a computer that sleeps | `net.suspend_for(duration)` |
//! | any input at all | `net.input(host, input)`, `net.datagram(host, from, bytes)` |
//! | a peer that is the test itself | `net.connect_raw(host, from)`, then `write_raw`, `read_raw`, `stall_raw`, `close_raw` |
//!
//! and what came of it: `net.events(host)` with times, `net.machine(host)`, `net.datagrams()` after
//! `net.log_datagrams()`, `net.take_datagrams(to)` for an address where no host is.
//!
//! # A peer that is the test
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::contract::{ConnTimer, EndReason, Fault};
//! use peerless::testing::Net;
//! use std::time::Duration;
//!
//! let (mut net, [host]) = Net::nodes(1);
//!
//! // Says nothing.
//! let silent = net.connect_raw(host, ([127, 0, 0, 9], 40000).into()).expect("accepted");
//! net.run_for(Duration::from_secs(6));
//! let (_, end) = net.end(host, silent.conn).expect("an end");
//! assert!(net.is_closed(silent) && end.why == EndReason::Timeout(ConnTimer::Handshake));
//!
//! // Says something else. It learns nothing about the node's key by that.
//! let noisy = net.connect_raw(host, ([127, 0, 0, 9], 40001).into()).expect("accepted");
//! net.write_raw(noisy, &[0xff; 4096]);
//! net.run_for(Duration::from_secs(1));
//! let (_, end) = net.end(host, noisy.conn).expect("an end");
//! assert!(net.is_closed(noisy) && end.why == EndReason::Fault(Fault::Handshake));
//! assert!(net.read_raw(noisy).is_empty());
//! ```
//!
//! # Seeds
//!
//! One seed decides a run of `Net`: delays, losses, chunks, and the seeds of all machines. A test that fails prints its
//! seed, and fails again with it.
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::testing::Net;
//! use std::time::Duration;
//!
//! let run = |seed| {
//!     // Four nodes that find each other by discovery, with a bootnode.
//!     let (mut net, _) = Net::mesh::<4>(seed);
//!     net.link.loss_percent = 10;
//!     net.run_for(Duration::from_secs(600));
//!     net.digest()
//! };
//! assert_eq!(run(1), run(1), "every action of every machine, in order");
//! assert_ne!(run(1), run(2));
//! ```
//!
//! A property is tested over many seeds: faults first, then none, and then the property must hold.
//!
//! # Fuzzing one machine
//!
//! A machine is a function of its inputs, so a fuzz target is a function over bytes. This one demands of the handshake
//! what it promises: any cutting of the input gives the same result.
//!
//! ```
//! use peerless::rlpx::{Handshake, Progress};
//! # use std::sync::Arc;
//! # use peerless::contract::{Context, Outbound};
//! # use peerless::crypto::{Secp256k1, SecretKey};
//! # use peerless::netfilter::NetFilter;
//! # use peerless::rng::Seed;
//! # use peerless::time::{Instant, UnixTime};
//!
//! fn body(data: &[u8]) {
//!     # let secret = SecretKey::from_bytes([1; 32]).expect("in range");
//!     let outcome = |chunk_bytes: usize| {
//!         # let (now, unix) = (Instant::ZERO, UnixTime::from_secs(0));
//!         # let mut context: Context = Context::new(now, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
//!         # let mut rng = Seed::new([1; 32]).fork("fuzz");
//!         # let (cx, mut out) = (&mut context.cx(&mut rng), Outbound::default());
//!         let mut handshake = Handshake::receive();
//!         for chunk in data.chunks(chunk_bytes) {
//!             let mut chunk = chunk;
//!             match handshake.handle_bytes(cx, &secret, &mut chunk, &mut out) {
//!                 Progress::Pending => assert!(chunk.is_empty(), "a handshake that waits has taken everything"),
//!                 Progress::Done(_) => return Ok(true),
//!                 Progress::Failed(fault) => return Err(fault),
//!             }
//!         }
//!         Ok(false)
//!     };
//!     assert_eq!(outcome(1), outcome(data.len().max(1)));
//! }
//!
//! // A seeded loop on stable; libFuzzer calls the same function.
//! let mut rng = Seed::new([1; 32]).fork("inputs");
//! for _ in 0..100 {
//!     let mut data = vec![0; rng.below(600) as usize];
//!     rng.fill(&mut data);
//!     body(&data);
//! }
//! ```
//!
//! A target that never passes a MAC tests little: the bodies in this repository's `tests/src/fuzz` read operations from
//! the bytes and speak with valid MACs and signatures unless they choose not to.
//!
//! # Larger networks
//!
//! `Net` is for a few dozen hosts. `peerless-sim` has thousands, with regions, NAT, crashes, churn and wrong clocks,
//! scenarios with demands, and a trace of the host that a failed demand is about.
//!
//! Next: [determinism and seeds](super::determinism).
