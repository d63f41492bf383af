//! The loop: what a driver does in one turn, and what it may rely on.
//!
//! This is a complete driver over `std::net`. `std` cannot wait for several sockets at once, so it polls them;
//! `peerless-mio` is the same loop with an operating system's readiness events.
//!
//! ```no_run
//! use std::collections::BTreeMap;
//! use std::io::{self, ErrorKind, Read, Write};
//! use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
//! use std::sync::mpsc::{Receiver, Sender, channel};
//! use std::time::{Duration, SystemTime};
//!
//! use peerless::contract::{Action, ConnId, Event, Input, IoFault, QueryFault, SocketId};
//! use peerless::node::Node;
//! use peerless::time::{Instant, UnixTime};
//!
//! struct Driver {
//!     node: Node,
//!     udp: UdpSocket,
//!     listener: TcpListener,
//!     /// `None` while the stream is being dialled.
//!     streams: BTreeMap<ConnId, Option<TcpStream>>,
//!     dialled: (Sender<(ConnId, io::Result<TcpStream>)>, Receiver<(ConnId, io::Result<TcpStream>)>),
//!     epoch: std::time::Instant,
//!     /// The wall time that the node was told last, and when.
//!     wall: (UnixTime, Instant),
//! }
//!
//! fn wall_time() -> UnixTime {
//!     let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
//!     UnixTime::from_micros(since_1970.as_micros() as u64)
//! }
//!
//! fn fault(error: &io::Error) -> IoFault {
//!     match error.kind() {
//!         ErrorKind::ConnectionRefused => IoFault::Refused,
//!         ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => IoFault::Reset,
//!         ErrorKind::TimedOut => IoFault::TimedOut,
//!         ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => IoFault::Unreachable,
//!         _ => IoFault::Other,
//!     }
//! }
//!
//! impl Driver {
//!     /// `make` is given the wall time. The driver's clock starts here.
//!     fn new(addr: SocketAddr, make: impl FnOnce(Instant, UnixTime) -> Node) -> io::Result<Self> {
//!         let (udp, listener) = (UdpSocket::bind(addr)?, TcpListener::bind(addr)?);
//!         udp.set_nonblocking(true)?;
//!         listener.set_nonblocking(true)?;
//!         let (epoch, unix) = (std::time::Instant::now(), wall_time());
//!         let node = make(Instant::ZERO, unix);
//!         let wall = (unix, Instant::ZERO);
//!         Ok(Self { node, udp, listener, streams: BTreeMap::new(), dialled: channel(), epoch, wall })
//!     }
//!
//!     fn now(&self) -> Instant {
//!         Instant::ZERO + self.epoch.elapsed()
//!     }
//!
//!     fn turn(&mut self, on_event: &mut dyn FnMut(Event<'_>)) {
//!         // 1. Carry out what the node wants. Commands given since the last turn are part of it.
//!         self.drain(self.now(), on_event);
//!         // 2. Sleep until a socket is ready or the deadline has come.
//!         let deadline = self.node.poll_timeout().map_or(Duration::MAX, |(at, _)| at.since(self.now()));
//!         std::thread::sleep(deadline.min(Duration::from_millis(2)));
//!         // 3. Say what happened, in any order. Everything in one turn happens at one instant.
//!         let now = self.now();
//!         self.check_wall_clock(now);
//!         if self.node.poll_timeout().is_some_and(|(at, _)| at <= now) {
//!             self.node.handle(now, Input::Timeout);
//!         }
//!         self.receive(now);
//!         self.accept(now);
//!         self.finish_dials(now);
//!         self.drain(now, on_event);
//!         for conn in self.streams.keys().copied().collect::<Vec<_>>() {
//!             self.read(now, conn);
//!             self.write(now, conn);
//!             // 4. Drain before the next stream: the outbox stays small.
//!             self.drain(now, on_event);
//!         }
//!     }
//!
//!     /// Takes every action, and carries it out.
//!     fn drain(&mut self, now: Instant, on_event: &mut dyn FnMut(Event<'_>)) {
//!         while let Some(action) = self.node.poll_action() {
//!             match action {
//!                 // A datagram that the socket does not take counts as lost.
//!                 Action::Send { to, bytes, .. } => drop(self.udp.send_to(bytes, to)),
//!                 Action::Dial { conn, to } => {
//!                     self.streams.insert(conn, None);
//!                     let dialled = self.dialled.0.clone();
//!                     let dial = move || TcpStream::connect_timeout(&to, Duration::from_secs(15));
//!                     std::thread::spawn(move || dialled.send((conn, dial())));
//!                 }
//!                 Action::Flush { conn } => self.write(now, conn),
//!                 // Drops the socket, which closes it. Nothing is left to write.
//!                 Action::Close { conn } => drop(self.streams.remove(&conn)),
//!                 Action::Query { id, .. } => {
//!                     self.node.handle(now, Input::Answer { id, result: Err(QueryFault::Unsupported) });
//!                 }
//!                 Action::Emit(event) => on_event(event),
//!             }
//!         }
//!     }
//!
//!     /// Tells the node of a wall clock that was set. It runs on by itself otherwise.
//!     fn check_wall_clock(&mut self, now: Instant) {
//!         let (unix, told) = self.wall;
//!         let expected = unix.as_micros() + now.since(told).as_micros() as u64;
//!         let unix = wall_time();
//!         if unix.as_micros().abs_diff(expected) > 1_000_000 {
//!             self.wall = (unix, now);
//!             self.node.handle(now, Input::WallClock { unix });
//!         }
//!     }
//!
//!     fn receive(&mut self, now: Instant) {
//!         let mut buffer = [0; 2048];
//!         // A budget: a flood of datagrams does not starve the streams.
//!         for _ in 0..64 {
//!             let Ok((n, from)) = self.udp.recv_from(&mut buffer) else { return };
//!             self.node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &buffer[..n] });
//!         }
//!     }
//!
//!     fn accept(&mut self, now: Instant) {
//!         for _ in 0..16 {
//!             let Ok((stream, from)) = self.listener.accept() else { return };
//!             // `None`: the stream is dropped, which closes it unread.
//!             let Some(conn) = self.node.accept(now, SocketId::MAIN, from) else { continue };
//!             match stream.set_nonblocking(true) {
//!                 Ok(()) => drop(self.streams.insert(conn, Some(stream))),
//!                 Err(error) => self.node.handle(now, Input::Broken { conn, why: fault(&error) }),
//!             }
//!         }
//!     }
//!
//!     fn finish_dials(&mut self, now: Instant) {
//!         while let Ok((conn, result)) = self.dialled.1.try_recv() {
//!             // The node may have given up meanwhile.
//!             let Some(slot) = self.streams.get_mut(&conn) else { continue };
//!             match result.and_then(|stream| stream.set_nonblocking(true).map(|()| stream)) {
//!                 Ok(stream) => {
//!                     let local = stream.local_addr().ok();
//!                     *slot = Some(stream);
//!                     self.node.handle(now, Input::Connected { conn, local });
//!                 }
//!                 Err(error) => self.node.handle(now, Input::Broken { conn, why: fault(&error) }),
//!             }
//!         }
//!     }
//!
//!     fn read(&mut self, now: Instant, conn: ConnId) {
//!         // A stream that is not to be read waits in the kernel, and TCP slows the peer down.
//!         if !self.node.wants_read(conn) {
//!             return;
//!         }
//!         let Some(Some(stream)) = self.streams.get_mut(&conn) else { return };
//!         let mut buffer = [0; 16 << 10];
//!         match stream.read(&mut buffer) {
//!             Ok(0) => self.node.handle(now, Input::Eof { conn }),
//!             Ok(n) => self.node.handle(now, Input::Bytes { conn, bytes: &buffer[..n] }),
//!             Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
//!             Err(error) => self.node.handle(now, Input::Broken { conn, why: fault(&error) }),
//!         }
//!     }
//!
//!     fn write(&mut self, now: Instant, conn: ConnId) {
//!         let Some(Some(stream)) = self.streams.get_mut(&conn) else { return };
//!         while !self.node.outbound(conn).is_empty() {
//!             match stream.write(self.node.outbound(conn)) {
//!                 // The socket took a prefix. The rest stays in the node: no buffer here.
//!                 Ok(n) => self.node.handle(now, Input::Wrote { conn, n }),
//!                 Err(error) if error.kind() == ErrorKind::Interrupted => {}
//!                 Err(error) if error.kind() == ErrorKind::WouldBlock => return,
//!                 Err(error) => return self.node.handle(now, Input::Broken { conn, why: fault(&error) }),
//!             }
//!         }
//!     }
//! }
//! ```
//!
//! # The turn
//!
//! 1. **Drain.** Take actions until there are none, and carry each out. Payloads are lent until the next call of the
//!    node, so nothing is copied that the socket takes at once.
//! 2. **Sleep** until a socket is ready, a command is given, or [`poll_timeout`](crate::node::Node::poll_timeout) has
//!    come.
//! 3. **Say what happened**, in any order and number. At the deadline that is `Input::Timeout`.
//! 4. **Drain again** before much has piled up.
//!
//! Several inputs between two drains are legal, and so are timeouts that are too early and inputs for connections that
//! are over: they are handled or ignored, never a panic. A driver cannot bring a node into a wrong state by the order
//! of its calls.
//!
//! # Actions
//!
//! | action | the driver | and reports |
//! |---|---|---|
//! | `Send` | sends a datagram; if it cannot, the datagram is lost | nothing |
//! | `Dial` | opens a stream | `Connected` or `Broken` |
//! | `Flush` | writes `outbound(conn)` when the socket takes it | `Wrote` for what it took; `Broken` |
//! | `Close` | closes the socket; nothing is left to write | nothing |
//! | `Query` | resolves a name, or does not | `Answer` |
//! | `Emit` | hands the event to the application | nothing |
//!
//! [`Action`](crate::contract::Action) and [`Input`](crate::contract::Input) are exhaustive enums: a driver that
//! overlooks one does not compile. A node of today never queries; it asks only if its configuration names something to
//! resolve.
//!
//! # Deadlines
//!
//! ```
//! # use peerless::contract::Input;
//! # use peerless::crypto::SecretKey;
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Duration, Instant, UnixTime};
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! # let config = Config::new(SecretKey::from_bytes([1; 32])?, Chain::new(network, Head::default(), 0, [0; 32]));
//! let mut node = Node::new(config, [1; 32], Instant::ZERO, UnixTime::from_secs(1_750_000_000))?;
//! for _ in 0..100 {
//!     let (at, _why) = node.poll_timeout().expect("discovery refreshes its table");
//!     node.handle(at, Input::Timeout);
//!     while node.poll_action().is_some() {}
//!     let (next, _why) = node.poll_timeout().expect("for ever");
//!     assert!(next > at);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is one deadline, the earliest of all parts, with a [`Reason`](crate::contract::Reason) to show in a log. After
//! a timeout at `now` the next one lies strictly later than `now`. Work beyond a turn's budget is put off by one
//! microsecond: a driver that sleeps cannot spin, and one with a backlog can look after its sockets in between. A
//! timeout that comes late or early does no harm.
//!
//! # Time
//!
//! `now` is an [`Instant`](crate::time::Instant): microseconds since the driver's own start, from a monotonic clock. A
//! value before the last one is taken as the last one. All logic runs on it.
//!
//! Wall time is needed for the expirations of discv4 packets and for the ends of bans in a snapshot. The node is told
//! it at the start and derives it from `now` afterwards; [`Input::WallClock`](crate::contract::Input::WallClock) tells
//! of a clock that was set. It moves no timer.
//!
//! # Partial writes
//!
//! ```
//! # use peerless::contract::{Action, Command, Input};
//! # use peerless::crypto::{Crypto, Secp256k1, SecretKey};
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Instant, UnixTime};
//! # use peerless::wire::enode::Contact;
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! # let config = Config::new(SecretKey::from_bytes([1; 32])?, Chain::new(network, Head::default(), 0, [0; 32]));
//! # let mut node = Node::new(config, [1; 32], Instant::ZERO, UnixTime::from_secs(1_750_000_000))?;
//! # let key = Secp256k1::new().public_key(&SecretKey::from_bytes([2; 32])?);
//! # let contact = Contact::new(key, [10, 0, 0, 2].into(), 30303, 30303);
//! # let now = Instant::ZERO;
//! node.command(now, Command::Dial { contact })?;
//! let Some(Action::Dial { conn, .. }) = node.poll_action() else { panic!("no dial") };
//! node.handle(now, Input::Connected { conn, local: None });
//! assert!(matches!(node.poll_action(), Some(Action::Flush { .. })));
//!
//! let auth = node.outbound(conn).to_vec();
//! node.handle(now, Input::Wrote { conn, n: 10 });
//! assert_eq!(node.outbound(conn), &auth[10..]);
//! assert!(node.poll_action().is_none(), "one flush until everything is written");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The bytes of a stream wait in the node until the socket has taken them. `Flush` comes once, when `outbound` is no
//! longer empty; the driver then writes whenever the socket is ready, and more may be appended meanwhile. A socket that
//! takes nothing for [`WRITE_TIMEOUT`](crate::limits::WRITE_TIMEOUT) ends the connection.
//!
//! # The life of a connection
//!
//! A connection exists from `Dial`, or from `accept`, to exactly one [`Event::Ended`](crate::contract::Event::Ended).
//! Its id is never used again. The node forgets it when that event is popped, and its place is free from then on: a
//! driver that does not drain runs out of places. When a node ends a session it writes a final Disconnect first, and
//! `Close` comes after it is flushed and the peer's own has come, or after
//! [`CLOSING_TIMEOUT`](crate::limits::CLOSING_TIMEOUT).
//!
//! Next: [streams and backpressure](super::streams).
