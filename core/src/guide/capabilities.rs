//! Custom capabilities: messages and requests of your own beside eth, and machines across connections.
//!
//! # Messages
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::contract::{Command, Event};
//! use peerless::testing::{Host, Net, quiet_config};
//! use peerless::wire::p2p::Capability;
//! use std::time::Duration;
//!
//! // A name of at most 8 bytes, a version, and the number of message ids that it takes.
//! let chat = Capability::new("chat", 1)?;
//! let mut net = Net::new(1);
//! let [one, two]: [Host; 2] = [0, 1].map(|number| {
//!     let mut config = quiet_config(number, 1);
//!     config.capability_table.register(chat, 2);
//!     config.capabilities.push(chat);
//!     net.add_node(config)
//! });
//! let [conn, _] = net.connect(one, two);
//!
//! // In session, message ids are relative to the capability.
//! net.command(one, Command::Send { conn, capability: chat, id: 1, payload: b"hello" })?;
//! net.run_for(Duration::from_secs(1));
//! assert!(net.saw(two, |event| match event {
//!     Event::Message { capability, id: 1, payload, .. } => *capability == chat && payload[..] == *b"hello",
//!     _ => false,
//! }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`CapabilityTable`](crate::wire::p2p::CapabilityTable) knows how many ids each capability takes; eth and snap are in
//! it from the start. [`Config::capabilities`](crate::node::Config::capabilities) are those that are offered, in any
//! order. Both sides must have the capability in the same version; of several shared versions of one name the highest
//! counts. Where its ids begin in the session's common id space follows from the table, and the application never sees
//! it.
//!
//! The payload is any bytes, at most one frame (16 MiB), compressed and encrypted by the session.
//! [`SetCapabilities`](crate::contract::Command::SetCapabilities) changes the offer for later sessions; those under way
//! keep theirs, because the protocol has no second Hello.
//!
//! # Requests
//!
//! With a schema, requests are matched with their answers:
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use peerless::contract::{Command, Event};
//! use peerless::testing::{Host, Net, quiet_config};
//! use peerless::wire::p2p::Capability;
//! use peerless::wire::schema::{Message, Role, Schema};
//! use std::time::Duration;
//!
//! const GET_TIME: u64 = 0;
//! const TIME: u64 = 1;
//!
//! // Message ids are indices. Each message has a role and a largest size.
//! static CLOCK: Schema = Schema::new(&[
//!     Message::new(Role::Request { answer: TIME }, 64),
//!     Message::new(Role::Response, 64),
//!     Message::new(Role::Announcement, 64),
//! ]);
//!
//! let clock = Capability::new("clock", 1)?;
//! let mut net = Net::new(1);
//! let [one, two]: [Host; 2] = [0, 1].map(|number| {
//!     let mut config = quiet_config(number, 1);
//!     config.capability_table.register_schema(clock, &CLOCK);
//!     config.capabilities = vec![clock];
//!     net.add_node(config)
//! });
//! // Only eth waits for a Status, and this session does not share it. Other capabilities may send from Hello on.
//! let [conn, theirs] = net.connect(one, two);
//!
//! // The body is the RLP items behind the request id, concatenated. The node adds the id and the list around them.
//! let asked = net.command(one, Command::Request { conn, capability: clock, id: GET_TIME, body: &[] })?;
//! net.run_for(Duration::from_secs(1));
//! let request_id = net.find(two, |event| match event {
//!     Event::Request { request_id, id: GET_TIME, .. } => Some(*request_id),
//!     _ => None,
//! });
//! let request_id = request_id.expect("a request");
//! net.command(two, Command::Respond { conn: theirs, capability: clock, request_id, id: GET_TIME, body: &[0x2a] })?;
//! net.run_for(Duration::from_secs(1));
//! assert!(net.saw(one, |event| match event {
//!     Event::Response { command, id: TIME, body, .. } => *command == asked && body[..] == [0x2a],
//!     _ => false,
//! }));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Schema`](crate::wire::schema::Schema) is a `static`, checked by the compiler. For its capability the node
//!
//! - draws random request ids, so that a peer cannot answer what it was not asked,
//! - matches an answer by request id and message id before it looks at the rest, and tells the command's id with it,
//! - tells `RequestFailed` after [`REQUEST_TIMEOUT`](crate::limits::REQUEST_TIMEOUT) or at the end of the connection,
//!   and takes a late answer for no fault,
//! - refuses messages that are larger than the schema allows, are forbidden by it, or answer nothing, as faults of the
//!   peer,
//! - bounds the open requests of both sides together with the session's other protocols.
//!
//! Each request ends in exactly one `Response` or `RequestFailed`. A request of the peer waits for `Respond` for ever,
//! and counts against the peer until then: answer each.
//!
//! # Machines across connections
//!
//! What concerns all sessions together is a [`Behaviour`](crate::contract::Behaviour): an announcement, gossip,
//! synchronisation. It is told of events and states wishes; the node carries them out. The announcement of eth's block
//! range is one:
//!
//! ```
//! use peerless::contract::{Behaviour, PeerEvent, Wish};
//! use peerless::eth::BlockRangeAnnouncer;
//! use peerless::rng::Seed;
//! use peerless::time::Instant;
//! use peerless::wire::eth::BlockRange;
//! use peerless::wire::forkid::Head;
//! use peerless::wire::p2p::Capability;
//!
//! // The Statuses so far have told peers of block 1000.
//! let mut announcer = BlockRangeAnnouncer::new(1000);
//! let mut rng = Seed::new([1; 32]).fork("behaviours");
//! let mut head = |announcer: &mut BlockRangeAnnouncer, number| {
//!     let head = Head { number, time: 1_750_000_000, hash: [7; 32] };
//!     announcer.handle(Instant::ZERO, &mut rng, PeerEvent::Head { head, earliest: 0 });
//! };
//!
//! head(&mut announcer, 1031);
//! assert_eq!(announcer.poll_wish(), None, "31 blocks are not worth a message");
//!
//! head(&mut announcer, 1032);
//! let Some(Wish::Broadcast { since, payload, .. }) = announcer.poll_wish() else { panic!("no wish") };
//! assert_eq!(since, Capability::eth(69), "to every session of eth/69 or later");
//! assert_eq!(BlockRange::decode(payload)?.latest, 1032);
//! assert_eq!(announcer.poll_wish(), None, "once");
//! # Ok::<(), peerless::wire::DecodeError>(())
//! ```
//!
//! | a behaviour is told of | it may wish to |
//! |---|---|
//! | a new head | send a message to one peer |
//! | a session that is established, or is over | broadcast to every session that shares a capability |
//! | messages, requests, responses, failed requests | send a request |
//! | its own wish that was refused, or the command id of its request | charge a peer |
//! | a connection that takes messages again | |
//!
//! One that answers requests has state of its own, such as a list of peers to try next. It reaches no connection: bytes
//! that it is shown are lent for the call, and a wish is carried out after it. The node polls each in turn, at most
//! [`WISHES_PER_TURN`](crate::limits::WISHES_PER_TURN) wishes in a turn, and the rest a microsecond later, so no
//! behaviour can starve a driver or another behaviour. It is also told of what the application does: events go to both.
//!
//! Why wishes, and not a handle to the network: with one, a behaviour could be called while it is being called, and the
//! payload that it is shown would lie where its own message is to be written. So it is a machine like the others, and
//! its test needs no node.
//!
//! [`protocols::behaviours`](crate::protocols::behaviours) is the list that every node has.
//!
//! Next: [one machine alone](super::one_machine).
