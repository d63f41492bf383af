//! Conformance of discovery nodes: what the specifications of discv4 and discv5 demand, as cases that any node can be put
//! to.
//!
//! A [`Case`] is straight-line code: it sends datagrams to the node, waits for what comes, and says what the specification
//! demands. It does so over a [`Wire`], which is UDP [`Sockets`], or a network in memory in which the node is a machine and
//! time is virtual (feature `testing`), so that all cases run in milliseconds. The cases of hive's `devp2p` simulator are
//! here under hive's names.
//!
//! ```no_run
//! use peerless_conformance::{Settings, Sockets, Tally, Target, discv4};
//!
//! let enode: peerless::wire::enode::Enode = "enode://…@127.0.0.1:30303".parse()?;
//! let target = Target::new(enode.contact().expect("an address"), None);
//! let mut sockets = Sockets::to(target.contact.udp_addr(), None, None)?;
//! let mut tally = Tally::default();
//! for case in discv4::CASES {
//!     let report = case.run(&target, &mut sockets, &Settings::new([7; 32]));
//!     println!("{report}");
//!     tally.add(&report.verdict);
//! }
//! assert_eq!(tally.failed, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `peerless discv4 test` is the program around it.
#![deny(unsafe_code)]

mod case;
pub mod discv4;
pub mod discv5;
#[cfg(any(test, feature = "testing"))]
mod memory;
mod rlp;
mod sockets;
mod trial;
mod wire;

pub use case::{Basis, Case, Report, Settings, Tally, Verdict};
#[cfg(any(test, feature = "testing"))]
pub use memory::Memory;
pub use sockets::Sockets;
pub use trial::{Step, StepKind, Target};
pub use wire::{Address, Local, Received, Unavailable, Wire};
