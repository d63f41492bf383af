//! A crawler of Ethereum's discovery networks: asks every node that it hears of for the nodes of its table, by discv4, discv5 or
//! both.
//!
//! [`Crawler`] is one state machine without I/O that keeps the contract of `peerless`, so that a driver over sockets and a
//! simulator in virtual time run the same code. It uses the wire formats of `peerless`, not its discovery machines, whose tables
//! and limits are those of a node: thousands of nodes are asked at once, each by a *visit*.
//!
//! | a visit | discv4 | discv5 |
//! |---|---|---|
//! | first contact | Ping; the node's own Ping is answered | handshake with a FINDNODE for the node's own record |
//! | record | EnrRequest, if the Pong names a newer one than is known | the answer above |
//! | neighbours | FindNode for targets whose hashes lie in each bucket, the farthest first | FINDNODE by distance, the farthest first |
//!
//! A record is verified once: a copy of one that is known, or of an older one, is recognised by its key and its number. Datagrams
//! of others than those that are asked cost nothing but a look at their source, apart from a few answers in a second to pings
//! of strangers, who are visited too.
//!
//! ```
//! use peerless::crypto::SecretKey;
//! use peerless::contract::{Action, Input, Machine as _};
//! use peerless::time::{Instant, UnixTime};
//! use peerless_crawl::{Config, CrawlEvent, Crawler};
//!
//! let config = Config::new(SecretKey::from_bytes([7; 32])?);
//! let now = Instant::ZERO;
//! let mut crawler = Crawler::new(config, [1; 32], now, UnixTime::from_secs(1_750_000_000)).expect("a small record");
//! crawler.handle(now, Input::Timeout);
//! let action = crawler.poll_action();
//! assert!(matches!(action, Some(Action::Emit(CrawlEvent::Done { is_complete: true }))), "there was no node to ask");
//! # Ok::<(), peerless::crypto::InvalidKey>(())
//! ```
#![deny(unsafe_code)]

mod config;
mod discv4;
mod discv5;
mod language;
mod machine;
mod nodes;
mod pace;
mod progress;
mod targets;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod visits;

pub use config::{Config, Depth, Known, Limits};
pub use language::{Crawl, CrawlCommand, CrawlEvent, CrawlRefused, Outcome};
pub use machine::Crawler;
pub use nodes::NodeNumber;
pub use progress::{Counts, Progress};

#[cfg(test)]
mod tests;
