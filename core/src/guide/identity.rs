//! Identity and persistence: what others are told of a node, and what it keeps from one run to the next.
//!
//! ```
//! use peerless::contract::{Addresses, Command, CommandError};
//! # use peerless::crypto::SecretKey;
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Instant, UnixTime};
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let now = Instant::ZERO;
//! // The chain forks at block 100.
//! let schedule = ForkSchedule::new([7; 32], 0, &[100], &[]);
//! # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! # let config = Config::new(SecretKey::from_bytes([1; 32])?, Chain::new(network, Head::default(), 0, [0; 32]));
//! # let mut node = Node::new(config, [1; 32], now, UnixTime::from_secs(1_750_000_000))?;
//! assert_eq!((node.record().seq(), node.record().ip()), (1, None));
//!
//! // Addresses of both families. Each change signs a new record with the next sequence number.
//! let mut addresses = node.addresses();
//! addresses.set_ip([203, 0, 113, 7].into());
//! addresses.set_ip("2001:db8::7".parse()?);
//! node.command(now, Command::SetAddresses { addresses })?;
//! let record = node.record();
//! assert_eq!((record.seq(), record.ip(), record.ip6()), (2, addresses.ip4, addresses.ip6));
//!
//! // An entry of your own: the value is one RLP value, here the empty list.
//! node.command(now, Command::SetRecordEntry { key: b"snap", value: Some(&[0xc0]) })?;
//! assert_eq!((node.record().seq(), node.record().get(b"snap")), (3, Some(&[0xc0][..])));
//! let refused = node.command(now, Command::SetRecordEntry { key: b"ip", value: Some(&[0x80]) });
//! assert_eq!(refused, Err(CommandError::RecordEntry), "the node sets that one itself");
//!
//! // The head passes the fork, so the fork id changes, and the record with it.
//! let before = node.record().fork_id();
//! let head = Head { number: 100, time: 1_750_000_000, hash: [1; 32] };
//! node.command(now, Command::SetHead { head, earliest: 0 })?;
//! assert_ne!(node.record().fork_id(), before);
//! assert_eq!(node.record().seq(), 4);
//!
//! // A head that passes no fork changes no record.
//! let head = Head { number: 101, time: 1_750_000_012, hash: [2; 32] };
//! node.command(now, Command::SetHead { head, earliest: 0 })?;
//! assert_eq!(node.record().seq(), 4);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The key
//!
//! [`Config::secret`](crate::node::Config::secret) is the node's identity for its whole life: other nodes know it by
//! the hash of its public key. Draw it once from the operating system, keep it in a file that only the node can read,
//! and give it to each run.
//!
//! # Addresses
//!
//! [`Addresses`](crate::contract::Addresses) are what others are told, not what the driver listens at: behind a router
//! the two differ. An address that is not known is told to no peer. Port 0 for `tcp` says that the node does not
//! listen. Pongs tell how others see the node, as `seen_as` of [`Event::Pong`](crate::contract::Event::Pong); whether
//! to believe them is the embedder's decision.
//!
//! # The record
//!
//! The node record (EIP-778) has the addresses, the key, the fork id as `eth`, and entries of the embedder's own, such
//! as `snap` and `opel`: [`Config::record_entries`](crate::node::Config::record_entries) at the start and
//! [`SetRecordEntry`](crate::contract::Command::SetRecordEntry) later. It has at most 300 bytes. An entry that would
//! make it larger is refused as `TooLarge`, and nothing has changed then.
//!
//! Nothing is sent when a record changes. Pings carry its sequence number, and a node that sees a higher one may ask
//! for it.
//!
//! # The head
//!
//! [`SetHead`](crate::contract::Command::SetHead) is the only thing that a node learns of the chain's progress. The
//! fork id follows from it, in the record and in the Status of new sessions; a peer's Status is judged by it; and
//! sessions of eth/69 and later are told of the block range every
//! [`RANGE_UPDATE_BLOCKS`](crate::limits::RANGE_UPDATE_BLOCKS) blocks. Give it with each new head. It costs nothing if
//! nothing follows.
//!
//! # From one run to the next
//!
//! ```
//! use peerless::contract::{BanTarget, Command, PeerKind};
//! # use peerless::crypto::{Crypto, Secp256k1, SecretKey};
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Duration, Instant, UnixTime};
//! # use peerless::wire::enode::Contact;
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let now = Instant::ZERO;
//! # let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! # let mut config = Config::new(SecretKey::from_bytes([1; 32])?, Chain::new(network, Head::default(), 0, [0; 32]));
//! # let start = UnixTime::from_secs(1_750_000_000);
//! # let mut node = Node::new(config.clone(), [1; 32], now, start)?;
//! # let contact = |n| -> Result<_, peerless::crypto::InvalidKey> {
//! #     let key = Secp256k1::new().public_key(&SecretKey::from_bytes([n; 32])?);
//! #     Ok(Contact::new(key, [10, 0, 0, n].into(), 30303, 30303))
//! # };
//! # let (friend, foe) = (contact(2)?, contact(3)?);
//! node.command(now, Command::AddPeer { contact: friend, kind: PeerKind::Trusted })?;
//! node.command(now, Command::Ban { target: BanTarget::Id(foe.id()), duration: Duration::from_secs(3600) })?;
//! let snapshot = node.snapshot();
//!
//! // Ten minutes later, with another seed.
//! config.snapshot = snapshot;
//! let unix = start.plus_secs(600);
//! let next = Node::new(config, [2; 32], Instant::ZERO, unix)?;
//! assert_eq!(next.peers().declared().collect::<Vec<_>>(), [(&friend, PeerKind::Trusted)]);
//! assert!(next.peers().is_banned(Instant::ZERO, &foe.id()));
//! assert!(next.record().seq() > node.record().seq());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A [`Snapshot`](crate::contract::Snapshot) is plain data: how to write it to a file is yours to decide. Take one at
//! the end of a run and now and then before. It holds
//!
//! - the record's sequence number, so that others take the next run's record for a newer one,
//! - live nodes, of which the next run hears: each is pinged first, and believed only if it answers,
//! - bans, with the wall time of their ends: they run on while the node is down,
//! - static and trusted peers.
//!
//! It holds no secret. Scores, the history of dials and endpoint proofs are not in it: they are worth little after a
//! pause.
//!
//! Next: [custom capabilities](super::capabilities).
