//! The event loop that drives a [`peerless::node::Node`], or any other [`Machine`](peerless::contract::Machine), over real
//! sockets: one thread, UDP sockets, TCP listeners, and streams.
//!
//! ```text
//!                  Driver::turn
//!   sockets, clock, resolver ──Input──▶ Machine ──Action──▶ send, dial, write, close, resolve
//!                                          └────Event─────▶ on_event
//! ```
//!
//! Sockets are bound first, because a node tells others its ports; then the node is made, at the start of the driver's
//! clock; then the application takes turns:
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
//!                 println!("connected to {id}");
//!                 peers += 1;
//!             }
//!         })?;
//!     }
//!     driver.shutdown(Duration::from_secs(2), |_| ())?;
//!     Ok(())
//! }
//! ```
//!
//! What a driver promises beyond the contract:
//!
//! - **One reading of the clock after each poll**, and one to know how long to sleep. All that a poll finds happens at one
//!   instant. The machine is told the wall time in the first turn, and after a step of more than a second.
//! - **No source starves another, nor the timers**: each is read within a budget, streams by the work that they cause (see
//!   [`Shares`](peerless::contract::Shares)), and what is left over is read in a later turn, which does not sleep. A turn takes
//!   a millisecond of work, or one message: then commands, timers, datagrams and streams that were idle come first. When there
//!   is nothing to do, it sleeps.
//! - **No buffers of its own**, except the one that it reads into: what cannot be written waits in the machine, what the
//!   machine does not want to read waits in the kernel, where TCP applies backpressure.
//! - **A final Disconnect arrives.** What a peer sent before our write failed is read before the failure is told; a stream
//!   that the machine closes is not reset for bytes that it has not read.
//! - **Nothing from the network ends it.** A full file table pauses accepting and fails dials; datagrams that cannot be
//!   sent are counted; ICMP errors are passed over.
//! - **Every query is answered**: by the [`Resolver`] that the application sets, or as unsupported.
//! - **A tap sees everything**, in order: see [`Driver::set_tap`].

mod clock;
mod dns;
mod driver;
mod fault;
mod listen;
pub mod nat;
mod resolver;
mod sockets;
mod streams;

pub use dns::{DnsResolver, NameServers, NameServersError};
pub use driver::{Driver, DriverStats};
pub use listen::{BindError, Listen};
pub use resolver::{HostResolver, Resolved, Resolver};
pub use sockets::{Sockets, Waker};

/// A seed for a node, or 32 bytes for a new secret key, from the operating system.
///
/// # Errors
/// If it has no entropy to give.
pub fn seed_from_os() -> std::io::Result<[u8; 32]> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed)?;
    Ok(seed)
}

#[cfg(test)]
mod tests {
    #[test]
    fn seeds_differ() {
        assert_ne!(super::seed_from_os().unwrap(), super::seed_from_os().unwrap());
    }
}
