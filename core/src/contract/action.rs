//! What a node wants done.

use core::net::SocketAddr;

use super::event::Event;
use super::ids::ConnId;

/// One thing for the driver to do. Payloads are lent until the next call.
#[derive(Debug)]
pub enum Action<'a> {
    /// Send a datagram. It may be lost; nothing waits for it.
    Send {
        /// Destination.
        to: SocketAddr,
        /// Content.
        bytes: &'a [u8],
    },
    /// Open a stream, and report `Connected` or `Broken`.
    Dial {
        /// The connection's name from now on.
        conn: ConnId,
        /// Destination.
        to: SocketAddr,
    },
    /// `outbound(conn)` is no longer empty: write it when the socket can take it.
    Flush {
        /// Which stream.
        conn: ConnId,
    },
    /// Close the stream; nothing is left to write.
    Close {
        /// Which stream.
        conn: ConnId,
    },
    /// Tell the application.
    Emit(Event<'a>),
}
