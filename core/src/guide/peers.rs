//! Peers: which connections a node wants, and how the embedder has its say.
//!
#![cfg_attr(feature = "testing", doc = "```")]
#![cfg_attr(not(feature = "testing"), doc = "```ignore")]
//! use std::time::Duration;
//!
//! use peerless::contract::{BanTarget, Command, EndReason, Label, PeerKind, Refusal, ScoreReason, Side, Stage};
//! use peerless::testing::Net;
//! use peerless::wire::p2p::DisconnectReason;
//!
//! // Two nodes in memory. `one` keeps a connection to `two`.
//! let (mut net, [one, two]) = Net::nodes(1);
//! let contact = net.contact(two);
//! net.command(one, Command::AddPeer { contact, kind: PeerKind::Static })?;
//! let [conn, their_conn] = net.meet(one, two);
//!
//! // The application found that a block was late. The reason shows in the ledger.
//! const LATE_BLOCK: Label = Label::new("late block").unwrap();
//! let id = contact.id();
//! net.command(one, Command::Report { id, delta: -30, reason: LATE_BLOCK })?;
//! let ledgers = net.machine(one).peers().ledgers();
//! let entry = ledgers.get(&id).and_then(|ledger| ledger.entries().last()).expect("a change");
//! assert_eq!((entry.delta, entry.score, entry.reason), (-30, -30, ScoreReason::Reported(LATE_BLOCK)));
//!
//! // A ban ends the session, and both sides know why.
//! let target = BanTarget::Id(id);
//! net.command(one, Command::Ban { target, duration: Duration::from_secs(3600) })?;
//! net.run_for(Duration::from_secs(3));
//! let (_, ours) = net.end(one, conn).expect("an end");
//! let (_, theirs) = net.end(two, their_conn).expect("an end");
//! assert_eq!((ours.by, ours.stage, ours.why), (Side::Us, Stage::Established, EndReason::Refused(Refusal::Banned)));
//! assert_eq!((theirs.by, theirs.why), (Side::Them, EndReason::Disconnect(DisconnectReason::UselessPeer)));
//! assert_eq!(ours.to_string(), "ended by us at established: banned");
//!
//! net.command(one, Command::Unban { target })?;
//! assert!(!net.machine(one).peers().is_banned(net.now(), &id));
//! // It is static, so it is dialled again.
//! assert!(net.run_until(Duration::from_secs(180), |net| net.established(one) == 1));
//! # Ok::<(), peerless::contract::CommandError>(())
//! ```
//!
//! # Four ways to a connection
//!
//! | command | the peer is dialled | counts for the limits |
//! |---|---|---|
//! | [`AddPeer`](crate::contract::Command::AddPeer), `Static` | now, and again until `RemovePeer`, with growing pauses while it fails | yes |
//! | `AddPeer`, `Trusted` | the same | no |
//! | [`OfferPeer`](crate::contract::Command::OfferPeer) | when a place is free, before nodes that discovery found | yes |
//! | [`Dial`](crate::contract::Command::Dial) | once, now, past the history of dials | no |
//!
//! Discovery finds nodes by itself; `OfferPeer` is for those from elsewhere, such as a list in a file. At most
//! [`OFFERED_MAX`](crate::limits::OFFERED_MAX) wait, and one whose first dial fails is forgotten. Both enter the address book,
//! with at most two nodes of a subnet, which [`Node::snapshot`](crate::node::Node::snapshot) hands to the next run.
//!
//! A trusted peer is exempt from limits only once it has proven its key, which is at its Hello: an address proves
//! nothing. `RemovePeer` disconnects no peer.
//!
//! # Limits
//!
//! [`PeerLimits`](crate::contract::PeerLimits), in [`Config::peers`](crate::node::Config::peers) and by
//! [`SetPeerLimits`](crate::contract::Command::SetPeerLimits):
//!
//! ```
//! use peerless::contract::PeerLimits;
//!
//! let mut limits = PeerLimits::default();
//! (limits.max_peers, limits.dial_ratio) = (50, 3);
//! assert_eq!((limits.max_dialled(), limits.max_inbound()), (16, 34));
//! // 0 dials static and trusted peers only.
//! limits.dial_ratio = 0;
//! assert_eq!(limits.max_dialled(), 0);
//! ```
//!
//! A share of the peers is always dialled by the node itself: an attacker that connects from many addresses cannot fill
//! all places. When all of that share are taken, one changes hands every few minutes: a node that accepts takes the place of
//! the peer that has been in session for longest and has no open request, which is told `TooManyPeers`. Static and trusted
//! peers stay. Lower limits end no session; new peers are admitted once there is room.
//!
//! # The filter
//!
//! ```
//! use peerless::contract::{Command, CommandError, PeerKind, Refusal};
//! # use peerless::crypto::{Crypto, Secp256k1, SecretKey};
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Instant, UnixTime};
//! # use peerless::wire::enode::Contact;
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! # let mut config = Config::new(SecretKey::from_bytes([1; 32])?, Chain::new(network, Head::default(), 0, [0; 32]));
//! # let key = Secp256k1::new().public_key(&SecretKey::from_bytes([2; 32])?);
//! # let now = Instant::ZERO;
//! config.filter = "10.0.0.0/8,127.0.0.0/8".parse()?;
//! let mut node = Node::new(config, [1; 32], now, UnixTime::from_secs(1_750_000_000))?;
//! let contact = Contact::new(key, [192, 168, 0, 2].into(), 30303, 30303);
//! let refused = node.command(now, Command::AddPeer { contact, kind: PeerKind::Static });
//! assert_eq!(refused, Err(CommandError::Refused(Refusal::Filtered)));
//! assert_eq!(node.accept(now, Default::default(), contact.tcp_addr()), None);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The filter is asked for every datagram in both directions, every dial and every accepted stream.
//! [`SetFilter`](crate::contract::Command::SetFilter) also ends connections that the new filter forbids, many of them
//! over several turns, and removes such nodes from the discovery table.
//!
//! Everything that is refused is refused at once, with its reason: as a
//! [`CommandError`](crate::contract::CommandError), or as the [`End`](crate::contract::End) of a connection that came
//! too far for that.
//!
//! # Scores
//!
//! A score begins at 0. Faults of the protocol, silence and unanswered requests lower it, service raises it a little;
//! it moves back to its baseline with time. At [`BAN_SCORE`](crate::peers::score::BAN_SCORE) or below the peer is
//! banned, for as long as the reason that led there deserves; a static or trusted peer for
//! [`STATIC_PEER_BAN`](crate::limits::STATIC_PEER_BAN). A score by itself refuses no peer: only the list of bans does.
//!
//! [`Report`](crate::contract::Command::Report) adds the application's own judgement, of a connected peer or another
//! one. Its [`Label`](crate::contract::Label) is 1 to 15 characters of printable ASCII, so that a ledger's size is
//! bounded. Each change is told by [`Event::Scored`](crate::contract::Event::Scored), and each ban by `Event::Banned`.
//!
//! A peer is charged only for what is surely its doing. A handshake proves no key: an auth can be replayed, and any
//! node can make an ack. So only a peer whose Hello was verified is charged with faults, and a peer that cannot be
//! reached loses little.
//!
//! # Bans
//!
//! [`BanTarget::Id`](crate::contract::BanTarget::Id) bans the holder of a key at any address,
//! [`BanTarget::Address`](crate::contract::BanTarget::Address) an IPv4 address, or an IPv6 /64, with any key.
//! Connections with it end. A ban in force is made longer, never shorter; `Unban` lifts it.
//!
//! # Why a connection ended
//!
//! Every connection ends with one [`End`](crate::contract::End): who ended it, the stage that it had reached, and why.
//!
//! | [`EndReason`](crate::contract::EndReason) | meaning |
//! |---|---|
//! | `Disconnect` | the peer sent Disconnect, or the embedder ended it |
//! | `Fault` | the peer broke the protocol |
//! | `Status` | the peer is of another network, or its Status cannot be |
//! | `Refused` | this node does not want it: full, banned, filtered, connected already |
//! | `Timeout` | nothing came in time, or the socket took nothing |
//! | `Io`, `Eof` | the stream failed, or was closed without a Disconnect |
//!
//! [`Stats::ended`](crate::contract::Stats::ended) counts ends by direction and reason. The reasons are enums with few
//! values, so a peer cannot make the map grow.
//!
//! Next: [identity and persistence](super::identity).
