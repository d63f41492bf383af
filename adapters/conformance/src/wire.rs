//! The wire between a trial and the node under test: datagrams, and time. [`Sockets`](crate::Sockets) is the real one.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use peerless::time::UnixTime;

/// Which of the tester's two IP addresses an endpoint is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Address {
    /// The address of most cases.
    First,
    /// Another one of the same family, for cases about the source address.
    Second,
}

/// A local endpoint, by the order in which it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Local(pub usize);

/// A datagram that came in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Received {
    /// The endpoint that it came to.
    pub at: Local,
    /// Its source.
    pub from: SocketAddr,
    /// Its content, at most 2048 bytes of it.
    pub bytes: Vec<u8>,
}

/// Why an endpoint cannot be opened. Cases that need it are skipped for this reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// Datagrams and time. A trial opens the endpoints that it needs, each with a port of its own, so that what the node sends
/// late to an earlier trial does not reach the next one.
pub trait Wire {
    /// Opens an endpoint at a port that is not in use.
    ///
    /// # Errors
    /// If there is no such address, or no free port.
    fn open(&mut self, address: Address) -> Result<Local, Unavailable>;

    /// The address and port of an open endpoint.
    fn addr(&self, local: Local) -> SocketAddr;

    /// Sends a datagram. One that cannot be sent is lost.
    fn send(&mut self, from: Local, to: SocketAddr, bytes: &[u8]);

    /// Waits for the next datagram to any open endpoint; `None` if none has come within the time.
    fn receive(&mut self, within: Duration) -> Option<Received>;

    /// Closes all endpoints.
    fn close(&mut self);

    /// Time since the wire was made.
    fn elapsed(&self) -> Duration;

    /// Wall time.
    fn unix(&self) -> UnixTime;
}
