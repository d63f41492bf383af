//! Testing in virtual time: a network in memory, faults on demand, and seeds (feature `testing`).
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use peerless::contract::{Command, End, EndReason, Event, IoFault, Side, Stage};
//! use peerless::crypto::SecretKey;
//! use peerless::eth::Chain;
//! use peerless::node::{Config, Node};
//! use peerless::testing::{Host, Net};
//! use peerless::wire::forkid::{ForkSchedule, Head, Network};
//!
//! fn add(net: &mut Net<Node>, number: u8) -> Host {
//!     let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//!     let network = Network { name: "mine".into(), network_id: 1337, schedule };
//!     let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//!     let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
//!     config.addresses.set_ip([10, 0, 0, number].into());
//!     // The network gives each machine its seed and its time.
//!     net.add(([10, 0, 0, number], 30303).into(), |start| {
//!         Node::new(config, start.seed, start.now, start.unix).expect("valid")
//!     })
//! }
//!
//! // Faults first: a fifth of the datagrams is lost, and sockets take a few bytes at a time.
//! let mut net = Net::new(1);
//! net.link.loss_percent = 20;
//! net.link.write_bytes_max = 50;
//! let (one, two) = (add(&mut net, 1), add(&mut net, 2));
//!
//! let contact = net.machine(two).contact();
//! net.command(one, Command::Dial { contact })?;
//! let is_up = |event: &Event<'_>| matches!(event, Event::Established { .. });
//! assert!(net.run_until(Duration::from_secs(10), |net| net.saw(one, is_up) && net.saw(two, is_up)));
//!
//! // A break on demand, at both sides.
//! let conn = net.machine(one).sessions().next().expect("a session").conn;
//! net.break_stream(one, conn, IoFault::Reset);
//! let reset = End { by: Side::Network, stage: Stage::Established, why: EndReason::Io(IoFault::Reset) };
//! assert!(net.saw(two, |event| matches!(event, Event::Ended { end, .. } if *end == reset)));
//!
//! // An hour takes milliseconds.
//! net.run_for(Duration::from_secs(3600));
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! `Net` owns the machines, the clock and everything between them. `run_until` runs to a condition, `run_for` for a
//! while; nothing sleeps. It asserts of every machine that deadlines move forward.
//!
//! # What it does to a machine
//!
//! | fault | how |
//! |---|---|
//! | datagrams delayed and lost | `net.link.delay`, `net.link.loss_percent` |
//! | dials that time out | `net.link.dial_loss_percent` |
//! | chunks of any size, partial writes | always; `net.link.chunk_bytes_max`, `net.link.write_bytes_max` |
//! | a host that is cut off, and comes back | `net.cut(host, true)` |
//! | a stream that breaks | `net.break_stream(host, conn, why)` |
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
//! use std::time::Duration;
//!
//! use peerless::contract::{ConnTimer, EndReason, Event, Fault};
//! # use peerless::crypto::SecretKey;
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::testing::{Host, Net};
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # fn add(net: &mut Net<Node>, number: u8) -> Host {
//! #     let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! #     let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! #     let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//! #     let config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
//! #     net.add(([10, 0, 0, number], 30303).into(), |start| {
//! #         Node::new(config, start.seed, start.now, start.unix).expect("valid")
//! #     })
//! # }
//! # let mut net = Net::new(1);
//! # let host = add(&mut net, 1);
//! # let ended = |net: &Net<Node>, why| {
//! #     net.saw(host, |event| matches!(event, Event::Ended { end, .. } if end.why == why))
//! # };
//! // Says nothing.
//! let silent = net.connect_raw(host, ([10, 0, 0, 9], 40000).into()).expect("accepted");
//! net.run_for(Duration::from_secs(6));
//! assert!(net.is_closed(silent) && ended(&net, EndReason::Timeout(ConnTimer::Handshake)));
//!
//! // Says something else. It learns nothing about the node's key by that.
//! let noisy = net.connect_raw(host, ([10, 0, 0, 9], 40001).into()).expect("accepted");
//! net.write_raw(noisy, &[0xff; 4096]);
//! net.run_for(Duration::from_secs(1));
//! assert!(net.is_closed(noisy) && net.read_raw(noisy).is_empty());
//! assert!(ended(&net, EndReason::Fault(Fault::Handshake)));
//! ```
//!
//! # Seeds
//!
//! One seed decides a run of `Net`: delays, losses, chunks, and the seeds of all machines. A test that fails prints its
//! seed, and fails again with it.
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! # use std::time::Duration;
//! # use peerless::contract::Command;
//! # use peerless::crypto::SecretKey;
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::testing::{Host, Net};
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # fn add(net: &mut Net<Node>, number: u8) -> Host {
//! #     let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! #     let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! #     let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//! #     let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
//! #     config.addresses.set_ip([10, 0, 0, number].into());
//! #     net.add(([10, 0, 0, number], 30303).into(), |start| {
//! #         Node::new(config, start.seed, start.now, start.unix).expect("valid")
//! #     })
//! # }
//! let run = |seed| {
//!     let mut net = Net::new(seed);
//!     net.link.loss_percent = 10;
//!     let (one, two) = (add(&mut net, 1), add(&mut net, 2));
//!     let contact = net.machine(two).contact();
//!     net.command(one, Command::AddNode { contact }).expect("accepted");
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
