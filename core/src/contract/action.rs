//! The actions that a machine asks of its driver.

use core::net::SocketAddr;

use super::event::Event;
use super::ids::{ConnId, QueryId, SocketId};
use super::query::Query;

/// One action for the driver to carry out. Payloads are lent until the next call.
///
/// `E` is the event type of the machine's language. The enum is exhaustive: a driver must not overlook an action.
#[derive(Debug)]
pub enum Action<'a, E = Event<'a>> {
    /// Send a datagram. The driver may drop it.
    Send {
        /// The socket to send from.
        socket: SocketId,
        /// Destination.
        to: SocketAddr,
        /// Content.
        bytes: &'a [u8],
    },
    /// Open a stream, and report `Connected` or `Broken`.
    Dial {
        /// The connection's id from now on.
        conn: ConnId,
        /// Destination.
        to: SocketAddr,
    },
    /// `outbound(conn)` is no longer empty: write it when the socket can take it.
    Flush {
        /// The stream.
        conn: ConnId,
    },
    /// Close the stream; nothing is left to write.
    Close {
        /// The stream.
        conn: ConnId,
    },
    /// Resolve a name, and report `Input::Answer` with the same id.
    Query {
        /// The id of the answer.
        id: QueryId,
        /// The name and the kind of its records.
        what: Query<'a>,
    },
    /// Give an event to the application.
    Emit(E),
}
