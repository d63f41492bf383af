//! Any machine: the driver contract is a trait, so that drivers, taps, the recorder and the simulator run protocol
//! families that this crate does not know.
//!
//! Here is a family of one machine that ticks, and a tap that sees it:
//!
//! ```
//! use std::net::SocketAddr;
//! use std::sync::Arc;
//!
//! use peerless::contract::{Action, CommandId, ConnId, Context, Input, Language, Machine, SocketId, Tap, Tapped};
//! use peerless::crypto::Secp256k1;
//! use peerless::netfilter::NetFilter;
//! use peerless::time::{Duration, Instant, UnixTime};
//!
//! /// The words of the family hang on an empty type.
//! #[derive(Debug)]
//! enum Clockwork {}
//!
//! impl Language for Clockwork {
//!     /// The number of the tick. An event that lends bytes has a lifetime, and `lend` puts them in.
//!     type Event<'a> = u64;
//!     /// The pause between ticks from now on.
//!     type Command<'a> = Duration;
//!     /// Why a command was not carried out.
//!     type Refused = &'static str;
//!
//!     fn lend<'a>(event: u64, _: &'a [u8]) -> u64 {
//!         event
//!     }
//!
//!     fn into_owned(event: u64) -> u64 {
//!         event
//!     }
//!
//!     fn is_droppable(_: &u64) -> bool {
//!         true
//!     }
//! }
//!
//! struct Ticker {
//!     context: Context<Clockwork>,
//!     pause: Duration,
//!     next: Instant,
//!     ticks: u64,
//!     commands: u64,
//! }
//!
//! impl Machine for Ticker {
//!     type Language = Clockwork;
//!
//!     fn handle(&mut self, now: Instant, input: Input<'_, Duration>) {
//!         let now = self.context.advance(now);
//!         match input {
//!             Input::Timeout if self.next <= now => {
//!                 self.ticks += 1;
//!                 self.next = now + self.pause;
//!                 self.context.out.emit(self.ticks);
//!             }
//!             Input::Command(pause) => drop(self.command(now, pause)),
//!             // Any input may come at any time. This family has no sockets.
//!             _ => {}
//!         }
//!     }
//!
//!     fn accept(&mut self, _: Instant, _: SocketId, _: SocketAddr) -> Option<ConnId> {
//!         None
//!     }
//!
//!     fn command(&mut self, now: Instant, pause: Duration) -> Result<CommandId, &'static str> {
//!         let now = self.context.advance(now);
//!         if pause < Duration::from_millis(1) {
//!             return Err("the pause is too short");
//!         }
//!         (self.pause, self.next) = (pause, now + pause);
//!         self.commands += 1;
//!         Ok(CommandId(self.commands))
//!     }
//!
//!     fn poll_action(&mut self) -> Option<Action<'_, u64>> {
//!         self.context.out.pop()
//!     }
//!
//!     fn poll_timeout(&self) -> Option<Instant> {
//!         Some(self.next.max(self.context.now() + Duration::from_micros(1)))
//!     }
//!
//!     fn outbound(&self, _: ConnId) -> &[u8] {
//!         &[]
//!     }
//!
//!     fn wants_read(&self, _: ConnId) -> bool {
//!         false
//!     }
//! }
//!
//! /// A tap is metrics, a log, a recording. It sees everything that passes, in order.
//! #[derive(Default)]
//! struct Count {
//!     inputs: usize,
//!     actions: usize,
//!     drains: usize,
//! }
//!
//! impl<L: Language> Tap<L> for Count {
//!     fn input(&mut self, _: Instant, _: &Input<'_, L::Command<'_>>) {
//!         self.inputs += 1;
//!     }
//!
//!     fn action(&mut self, _: Instant, _: &Action<'_, L::Event<'_>>) {
//!         self.actions += 1;
//!     }
//!
//!     fn drained(&mut self, _: Instant) {
//!         self.drains += 1;
//!     }
//! }
//!
//! let (start, unix) = (Instant::ZERO, UnixTime::from_secs(1_750_000_000));
//! let context = Context::new(start, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
//! let ticker = Ticker { context, pause: Duration::from_secs(1), next: start, ticks: 0, commands: 0 };
//!
//! // A tapped machine is a machine.
//! let mut machine = Tapped::new(ticker, Count::default(), start);
//! machine.command(start, Duration::from_secs(60))?;
//! assert!(machine.command(start, Duration::ZERO).is_err());
//! for _ in 0..10 {
//!     let at = machine.poll_timeout().expect("the next tick");
//!     machine.handle(at, Input::Timeout);
//!     while machine.poll_action().is_some() {}
//! }
//! assert_eq!((machine.machine().ticks, machine.machine().context.now()), (10, start + Duration::from_secs(600)));
//! assert_eq!((machine.tap().inputs, machine.tap().actions, machine.tap().drains), (12, 10, 10));
//! # Ok::<(), &'static str>(())
//! ```
//!
//! # The parts
//!
//! - [`Language`](crate::contract::Language): the events, commands and refusals of a family.
//!   [`Devp2p`](crate::contract::Devp2p) is the one of this crate.
//! - [`Machine`](crate::contract::Machine): the contract. [`Node`](crate::node::Node) implements it.
//! - [`Context`](crate::contract::Context): the clamped time, the wall clock, the filter, the primitives, the counters,
//!   and the [`Outbox`](crate::contract::Outbox). A machine keeps one and pushes its actions there.
//! - [`Outbound`](crate::contract::Outbound): the bytes of one stream that wait for its socket.
//! - [`Tap`](crate::contract::Tap) and [`Tapped`](crate::contract::Tapped): what passes, seen from outside.
//!
//! Payloads lie in the outbox's arena. A machine builds one in place with [`stage`](crate::contract::Outbox::stage),
//! and makes it an event with [`emit_staged`](crate::contract::Outbox::emit_staged) or a datagram with
//! [`Cx::send_staged`](crate::contract::Cx::send_staged), which asks the filter. The event is queued without its bytes;
//! `Language::lend` puts them in when it is popped.
//!
//! # What a machine owes its driver
//!
//! - Any input, in any order, at any time, is handled or ignored.
//! - `poll_action` only pops. Work happens in `handle`, `accept` and `command`.
//! - After a timeout at `now`, the next deadline lies strictly later than `now`.
//! - A refused command has changed nothing.
//! - Everything is bounded, also if the driver does not drain: [`Outbox::is_full`](crate::contract::Outbox::is_full)
//!   says when to stop reading, and droppable events are dropped by themselves.
//! - The same inputs and drains give the same actions.
//!
//! # Drivers, recorder, simulator
//!
//! A generic driver takes an action apart first and acts afterwards; the documentation of
//! [`Machine`](crate::contract::Machine) shows why.
//!
//! | package | runs a machine |
//! |---|---|
//! | `peerless` (feature `testing`) | on a small network in memory, for tests |
//! | `peerless-mio` | on real UDP and TCP sockets |
//! | `peerless-sim` | thousands of them, on a network with regions, NAT, loss, crashes and wrong clocks, in virtual time |
//! | `peerless-trace` | recorded by a tap, and replayed: the machine of a trace is built again, handed every input, and must do what it did |
//!
//! `core/examples/echo.rs` is a whole family in one file, with streams, datagrams, queries and backpressure:
//!
//! ```sh
//! cargo run -p peerless --example echo --features testing
//! ```
//!
//! The same file runs, as a test, over sockets, in the simulator with faults, under a tap, recorded and replayed.
//!
//! Next: [testing in virtual time](super::virtual_time).
