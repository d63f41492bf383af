//! The event loop that drives a [`peerless::node::Node`] over real sockets: one thread, one UDP socket, one TCP listener,
//! and the streams between.
//!
//! ```text
//!                  Driver::turn
//!   sockets ──edges──▶ read, within budgets ──Input──▶ Node ──Action──▶ send, dial, write, close
//!                                                        └────Event───▶ on_event
//! ```
//!
//! Sockets are bound first, because the node's record has its ports. Then the node is made, at the start of the driver's
//! clock. Then the embedder turns the loop:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use peerless::contract::Event;
//! use peerless::node::{Config, Node};
//! use peerless_mio::{Driver, Listen, Sockets, seed_from_os};
//!
//! fn run(mut config: Config) -> Result<(), Box<dyn std::error::Error>> {
//!     let sockets = Sockets::bind(&Listen::any(30303))?;
//!     config.addresses.udp = sockets.udp_addr().map_or(0, |addr| addr.port());
//!     config.addresses.tcp = sockets.tcp_addr().map_or(0, |addr| addr.port());
//!     let seed = seed_from_os()?;
//!     let mut driver = Driver::new(sockets, |now, unix| Node::new(config, seed, now, unix))?;
//!     let mut peers = 0;
//!     while peers < 5 {
//!         driver.turn(None, |event| {
//!             if let Event::Established { id, .. } = event {
//!                 println!("in session with {id}");
//!                 peers += 1;
//!             }
//!         })?;
//!     }
//!     driver.shutdown(Duration::from_secs(2), |_| ())?;
//!     Ok(())
//! }
//! ```
//!
//! What a driver guarantees beyond the contract:
//!
//! - **One reading of the clock per turn**, after it has slept, and one to compute the time to sleep. All inputs of a turn have
//!   one time.
//! - **No source starves another, nor the timers**: each is read within a budget, and the rest is read in the next turn,
//!   which does not sleep. Without work, it sleeps.
//! - **No buffers** except the one that it reads into: bytes that cannot be written wait in the node, and bytes that the node
//!   does not want to read wait in the kernel, where TCP pushes back.
//! - **No bytes of the network end it.** A full file table pauses accepting and fails dials; datagrams that cannot be
//!   sent are counted; ICMP errors are skipped.
//!
//! It drives any `Machine`; [`peerless::node::Node`] is the default.

mod clock;
mod driver;
mod fault;
mod sockets;
mod streams;

pub use driver::{Driver, DriverStats};
pub use sockets::{BindError, Listen, Sockets, Waker};

/// Returns 32 bytes from the operating system, for a seed or a new secret key.
///
/// # Errors
/// If the operating system has no entropy.
pub fn seed_from_os() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}
