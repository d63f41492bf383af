//! Determinism and seeds: what decides a run, and what must be kept secret.
//!
//! ```
//! use peerless::contract::{Action, Command, Input};
//! # use peerless::crypto::{Crypto, Secp256k1, SecretKey};
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Instant, UnixTime};
//! # use peerless::wire::enode::Contact;
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//!
//! /// All that a node does in a minute in which its dial is taken and never answered, as text.
//! fn run(seed: [u8; 32]) -> String {
//!     # let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//!     # let network = Network { name: "mine".into(), network_id: 1337, schedule };
//!     # let secret = SecretKey::from_bytes([1; 32]).expect("in range");
//!     # let config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
//!     # let key = Secp256k1::new().public_key(&SecretKey::from_bytes([2; 32]).expect("in range"));
//!     # let contact = Contact::new(key, [10, 0, 0, 2].into(), 30303, 30303);
//!     let mut node = Node::new(config, seed, Instant::ZERO, UnixTime::from_secs(1_750_000_000)).expect("valid");
//!     node.command(Instant::ZERO, Command::Dial { contact }).expect("accepted");
//!     let mut log = String::new();
//!     while let Some((at, why)) = node.poll_timeout().filter(|(at, _)| at.as_micros() < 60_000_000) {
//!         log += &format!("{at} {why:?}\n");
//!         node.handle(at, Input::Timeout);
//!         while let Some(action) = node.poll_action() {
//!             log += &format!("{action:?}\n");
//!             match action {
//!                 Action::Dial { conn, .. } => node.handle(at, Input::Connected { conn, local: None }),
//!                 // The auth: an ephemeral key, a nonce and padding, sealed.
//!                 Action::Flush { conn } => log += &format!("{:x?}\n", node.outbound(conn)),
//!                 _ => {}
//!             }
//!         }
//!     }
//!     log
//! }
//!
//! assert_eq!(run([1; 32]), run([1; 32]));
//! assert_ne!(run([1; 32]), run([2; 32]));
//! ```
//!
//! # What decides a run
//!
//! The configuration, the seed, the inputs with their times, and where the driver drained. Nothing else: the same of
//! these give the same actions, byte for byte, in debug and release builds and on every platform. So a trace that holds
//! these four replays, and the simulator's hashes are committed.
//!
//! To that end the core reads no clock and draws no entropy; it has no floats and no `HashMap`; bounds of draws are met
//! in integers of fixed width; signatures are those of RFC 6979; deadlines at one instant fire in the order of their
//! keys.
//!
//! Where the driver drains counts, because a full outbox drops datagrams, and because a connection is forgotten when
//! its `Ended` is popped. `peerless-trace` records drains for that reason.
//!
//! # One seed, many generators
//!
//! ```
//! use peerless::rng::Seed;
//!
//! let seed = Seed::new([1; 32]);
//! let mut dial = seed.fork("dial");
//! let undisturbed = seed.fork("discovery").u64();
//!
//! // A generator depends on the seed and the label alone: draws of one move no other.
//! dial.u64();
//! assert_eq!(seed.fork("discovery").u64(), undisturbed);
//! ```
//!
//! Each machine has a fork of the seed, and each connection a generator of its own. Keys, nonces, padding, jitter,
//! request ids and lookup targets come from there. A change in one machine's draws leaves those of others as they were,
//! so that a failed run stays the same failed run while it is being examined.
//!
//! # Generators are re-keyed
//!
//! ```
//! use peerless::rng::Seed;
//!
//! let [mut plain, mut rekeyed] = [(); 2].map(|()| Seed::new([1; 32]).fork("connection"));
//! // The second half of these bytes becomes the new key of `rekeyed`.
//! let (drawn, secret) = (plain.bytes::<64>(), rekeyed.secret::<32>());
//! assert_eq!(drawn[..32], *secret, "the draw is the same,");
//! assert_ne!(plain.u64(), rekeyed.u64(), "what follows is not");
//! ```
//!
//! Ephemeral keys and nonces of handshakes are drawn by [`Rng::secret`](crate::rng::Rng::secret), after which the
//! generator goes on from a new key and its former state is overwritten. A memory image taken later does not yield the
//! keys that were drawn before. A node does not keep the seed: it makes its generators at the start.
//!
//! # The seam of the primitives
//!
//! ```
//! use std::sync::Arc;
//!
//! use peerless::crypto::{Crypto, Secp256k1};
//! # use peerless::crypto::SecretKey;
//! # use peerless::eth::Chain;
//! # use peerless::node::{Config, Node};
//! # use peerless::time::{Instant, UnixTime};
//! # use peerless::wire::forkid::{ForkSchedule, Head, Network};
//! # let config = |n: u8| {
//! #     let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
//! #     let network = Network { name: "mine".into(), network_id: 1337, schedule };
//! #     let secret = SecretKey::from_bytes([n; 32]).expect("in range");
//! #     Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]))
//! # };
//! // One implementation for many nodes.
//! let crypto: Arc<dyn Crypto + Send + Sync> = Arc::new(Secp256k1::new());
//! let unix = UnixTime::from_secs(1_750_000_000);
//! for number in 1..=3 {
//!     Node::with_crypto(config(number), [number; 32], Instant::ZERO, unix, crypto.clone())?;
//! }
//! # Ok::<(), peerless::node::ConfigError>(())
//! ```
//!
//! Public keys, signatures, recovery, point checks, ECDH, the hash of a datagram and the frame MAC are reached through
//! the trait [`Crypto`](crate::crypto::Crypto) and nothing else. No machine knows which implementation it has. The
//! simulator puts a cheaper one there; a faster one can be put there too. It must be deterministic like the rest, and
//! accept and refuse the same inputs.
//!
//! # What must be kept secret
//!
//! | what | its holder can |
//! |---|---|
//! | the secret key of the configuration | pose as the node, for ever |
//! | the seed | compute every ephemeral key of the run, and so read its sessions |
//! | a trace that can be replayed | both: it holds key and seed |
//! | [`Event::Secrets`](crate::contract::Event::Secrets), told only if `Config::export_secrets` asks for it | read that one session |
//!
//! Outside of tests, draw the seed from the operating system, once for each run, and keep no copy. Two runs with one
//! seed draw the same ephemeral keys. `Debug` shows no secret of any type.
//!
//! A session is confidential only towards those who do not know what is said in it: both directions use one keystream
//! (the specification says so), and a session must carry no secrets.
