//! One machine alone: each part of a node works without the node.
//!
//! All machines have the same verbs: `handle_datagram`, `handle_bytes`, `handle_timeout`, `poll_timeout`. With each
//! call they are lent a [`Cx`](crate::contract::Cx): the time, a generator, the primitives, and the outbox for what
//! they do. A [`Context`](crate::contract::Context) owns all of it.
//!
//! # Discovery without sessions
//!
//! ```
//! use std::sync::Arc;
//!
//! use peerless::contract::{Action, CommandId, Context, Event};
//! use peerless::crypto::{Secp256k1, SecretKey};
//! use peerless::discv4::{Config, Discv4, Local};
//! use peerless::netfilter::NetFilter;
//! use peerless::rng::{Rng, Seed};
//! use peerless::time::{Duration, Instant, UnixTime};
//! use peerless::wire::discv4::Endpoint;
//! use peerless::wire::enode::Contact;
//!
//! struct Host {
//!     discv4: Discv4,
//!     context: Context,
//!     rng: Rng,
//!     contact: Contact,
//! }
//!
//! let mut hosts = [1u8, 2].map(|number| {
//!     let crypto = Arc::new(Secp256k1::new());
//!     let (ip, udp) = ([10, 0, 0, number].into(), 30303);
//!     let secret = SecretKey::from_bytes([number; 32]).expect("in range");
//!     let local = Local::new(&*crypto, secret, Endpoint { ip: Some(ip), udp, tcp: 0 }, None);
//!     let contact = Contact::new(*local.key(), ip, udp, 0);
//!     let mut context = Context::new(Instant::ZERO, UnixTime::from_secs(1_750_000_000), NetFilter::default(), crypto);
//!     let mut rng = Seed::new([number; 32]).fork("discovery");
//!     let discv4 = Discv4::new(&mut context.cx(&mut rng), Config::default(), local);
//!     Host { discv4, context, rng, contact }
//! });
//!
//! let target = hosts[1].contact;
//! let Host { discv4, context, rng, .. } = &mut hosts[0];
//! discv4.ping(&mut context.cx(rng), CommandId(0), target)?;
//!
//! let mut is_answered = false;
//! for millisecond in 0..100 {
//!     let mut mail = Vec::new();
//!     for Host { discv4, context, rng, contact } in &mut hosts {
//!         let now = context.advance(Instant::ZERO + Duration::from_millis(millisecond));
//!         if discv4.poll_timeout().is_some_and(|(at, _)| at <= now) {
//!             let _grew = discv4.handle_timeout(&mut context.cx(rng));
//!         }
//!         while let Some(action) = context.out.pop() {
//!             match action {
//!                 Action::Send { to, bytes, .. } => mail.push((contact.udp_addr(), to, bytes.to_vec())),
//!                 Action::Emit(Event::Pong { .. }) => is_answered = true,
//!                 _ => {}
//!             }
//!         }
//!     }
//!     for (from, to, bytes) in mail {
//!         let Some(host) = hosts.iter_mut().find(|host| host.contact.udp_addr() == to) else { continue };
//!         let Host { discv4, context, rng, .. } = host;
//!         let _verdict = discv4.handle_datagram(&mut context.cx(rng), from, &bytes);
//!     }
//! }
//! assert!(is_answered);
//! assert!(hosts.iter().all(|host| host.discv4.table().len() == 1), "they know each other");
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! What a machine returns is for its owner: here a [`Verdict`](crate::kad::Verdict) says whether the datagram was for
//! this protocol at all, so that another one can share the socket.
//!
//! # The handshake and the framing over a stream of yours
//!
//! ```
//! use std::sync::Arc;
//!
//! use peerless::contract::{Context, Outbound};
//! use peerless::crypto::{Crypto, Secp256k1, SecretKey};
//! use peerless::limits::MESSAGE_BYTES_MAX;
//! use peerless::netfilter::NetFilter;
//! use peerless::rlpx::{Handshake, Progress};
//! use peerless::rng::Seed;
//! use peerless::time::{Instant, UnixTime};
//!
//! let crypto = Secp256k1::new();
//! let [secret_a, secret_b] = [SecretKey::from_bytes([1; 32])?, SecretKey::from_bytes([2; 32])?];
//! let [key_a, key_b] = [&secret_a, &secret_b].map(|secret| crypto.public_key(secret));
//! let unix = UnixTime::from_secs(1_750_000_000);
//! let mut context: Context = Context::new(Instant::ZERO, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
//! let mut rng = Seed::new([1; 32]).fork("handshake");
//! let cx = &mut context.cx(&mut rng);
//!
//! // What is in an `Outbound` is for the socket of that side: here, a pipe to the other one.
//! let [mut from_a, mut from_b] = [Outbound::default(), Outbound::default()];
//! let mut a = Handshake::initiate(cx, &secret_a, &key_a, key_b, &mut from_a);
//! let mut b = Handshake::receive();
//!
//! let mut auth = from_a.as_slice();
//! let Progress::Done(mut b) = b.handle_bytes(cx, &secret_b, &mut auth, &mut from_b) else { panic!("no ack") };
//! let mut ack = from_b.as_slice();
//! let Progress::Done(mut a) = a.handle_bytes(cx, &secret_a, &mut ack, &mut from_a) else { panic!("no keys") };
//! assert_eq!((a.key, b.key), (key_b, key_a));
//! from_a.consume(usize::MAX);
//!
//! // A frame: begin, append the body, finish. It is encrypted where it lies.
//! let out = from_a.tail();
//! let start = a.frames.sealer.begin(out);
//! out.extend_from_slice(b"the body of a frame");
//! a.frames.sealer.finish(&crypto, out, start)?;
//!
//! // The bytes may come in any pieces. No body comes out before its MAC was verified.
//! let mut body = None;
//! for piece in from_a.as_slice().chunks(10) {
//!     let mut piece = piece;
//!     let opened = b.frames.opener.handle_bytes(&crypto, &mut piece, MESSAGE_BYTES_MAX);
//!     if let Some(opened) = opened.expect("no MAC is wrong") {
//!         body = Some(opened.to_vec());
//!     }
//! }
//! assert_eq!(body.as_deref(), Some(&b"the body of a frame"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The handshake has no deadline and no opinion of its peer: its owner has both. That the initiator holds the key that
//! it claims is proven by its first frame, and not before, because an auth can be replayed.
//!
//! [`Session`](crate::rlpx::Session) is the next layer: Hello, pings, Disconnect, and the messages of shared
//! capabilities.
//!
//! # A connection without a node
//!
//! [`Connection`](crate::node::connection::Connection) is everything of one stream, from the dial to the final
//! Disconnect. It knows of no other connection, and has no outbox of its own. What concerns places, scores and bans it
//! returns as a [`Verdict`](crate::node::connection::Verdict), and its owner must act:
//!
//! | verdict | its owner |
//! |---|---|
//! | `Pending` | has nothing to do; all bytes are taken |
//! | `Identified` | decides: [`admit`](crate::node::connection::Connection::admit) or [`end`](crate::node::connection::Connection::end) |
//! | `Established` | may send |
//! | `Charge` | changes the peer's score, if it keeps scores |
//! | `End` | calls `end` with it |
//!
//! The documentation of [`node::connection`](crate::node::connection) has two of them talking in memory, as a test.
//!
//! A crawler that dials one peer after another needs no more than this. Have one [`Context`](crate::contract::Context)
//! for each thread and not for each connection: the compressor's scratch space is in it, 34 KiB.
//!
//! # Peers alone
//!
//! [`Peers`](crate::peers::Peers) has neither bytes nor sockets: it decides over views of connections, which a test can
//! make up. [`kad`](crate::kad) has the table, the lookup and the limits that discovery protocols share.
//!
//! Next: [any machine](super::any_machine).
