//! The driver contract as a trait, for machines of any protocol family.
//!
//! [`Node`](crate::node::Node) implements it. Drivers, simulator, recorder and the in-memory network take any implementation.

use core::net::SocketAddr;

use super::action::Action;
use super::ids::{CommandId, ConnId, SocketId};
use super::input::Input;
use super::language::Language;
use super::prefetch::Prefetch;
use crate::time::Instant;

/// The events of a machine's language.
pub type EventOf<'a, M> = <<M as Machine>::Language as Language>::Event<'a>;
/// The commands of a machine's language.
pub type CommandOf<'a, M> = <<M as Machine>::Language as Language>::Command<'a>;
/// The refusals of a machine's language.
pub type RefusedOf<M> = <<M as Machine>::Language as Language>::Refused;

/// A state machine that keeps the driver contract (see the crate's documentation).
///
/// After every call that takes `&mut self`, a driver pops actions until there is none. A generic driver takes an action
/// apart in an inner expression and acts on the parts afterwards, because the borrow of a lent payload would otherwise
/// last through the whole loop:
///
/// ```
/// use peerless::contract::{Action, ConnId, Machine};
///
/// fn drain<M: Machine>(machine: &mut M, mut flush: impl FnMut(&M, ConnId)) {
///     loop {
///         let flushed = match machine.poll_action() {
///             None => return,
///             Some(Action::Flush { conn }) => Some(conn),
///             Some(_) => None,
///         };
///         if let Some(conn) = flushed {
///             flush(machine, conn);
///         }
///     }
/// }
/// ```
pub trait Machine {
    /// The language of the machine's protocol family.
    type Language: Language;

    /// Handles one input. Total: any input, in any order, at any time.
    fn handle(&mut self, now: Instant, input: Input<'_, CommandOf<'_, Self>>);

    /// Offers a stream from `from` that a listener has accepted. Returns its id, or `None` if the driver is to close it unread. May
    /// queue actions, such as the end of another connection to make room: drain after it.
    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId>;

    /// Carries out a command. Its outcome, if it has one, is an event with the returned id.
    ///
    /// # Errors
    /// If it cannot be carried out; nothing has changed then.
    fn command(&mut self, now: Instant, command: CommandOf<'_, Self>) -> Result<CommandId, RefusedOf<Self>>;

    /// Takes the oldest action.
    fn poll_action(&mut self) -> Option<Action<'_, EventOf<'_, Self>>>;

    /// When to hand in `Input::Timeout` at the latest; strictly later than `now` after a `Timeout` at `now`.
    fn poll_timeout(&self) -> Option<Instant>;

    /// The bytes that wait for a connection's socket; empty for an unknown connection.
    fn outbound(&self, conn: ConnId) -> &[u8];

    /// Whether the driver should read from a connection's socket now; false applies backpressure.
    fn wants_read(&self, conn: ConnId) -> bool;

    /// Returns the work done for a connection since the last call, in units of about a nanosecond (see
    /// [`Work`](super::work::Work)), so that a driver or simulator can share a processor fairly. 0 for machines that do not
    /// count it.
    fn take_work(&mut self, conn: ConnId) -> u64 {
        let _ = conn;
        0
    }

    /// Shows which memory handling `input` will read, at each `depth` from 0 to [`Machine::PREFETCH_DEPTHS`] (see
    /// [`Prefetch`]). A machine that does not implement it is slower among thousands in one process.
    fn prefetch(&self, input: &Input<'_, CommandOf<'_, Self>>, depth: usize, memory: &mut impl Prefetch)
    where
        Self: Sized,
    {
        let _ = (input, depth, memory);
    }

    /// The number of depths of [`Machine::prefetch`].
    const PREFETCH_DEPTHS: usize = 0;
}

impl<M: Machine> Machine for &mut M {
    type Language = M::Language;

    fn handle(&mut self, now: Instant, input: Input<'_, CommandOf<'_, Self>>) {
        M::handle(self, now, input);
    }

    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        M::accept(self, now, socket, from)
    }

    fn command(&mut self, now: Instant, command: CommandOf<'_, Self>) -> Result<CommandId, RefusedOf<Self>> {
        M::command(self, now, command)
    }

    fn poll_action(&mut self) -> Option<Action<'_, EventOf<'_, Self>>> {
        M::poll_action(self)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        M::poll_timeout(self)
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        M::outbound(self, conn)
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        M::wants_read(self, conn)
    }

    fn take_work(&mut self, conn: ConnId) -> u64 {
        M::take_work(self, conn)
    }

    fn prefetch(&self, input: &Input<'_, CommandOf<'_, Self>>, depth: usize, memory: &mut impl Prefetch) {
        M::prefetch(self, input, depth, memory);
    }

    const PREFETCH_DEPTHS: usize = M::PREFETCH_DEPTHS;
}
