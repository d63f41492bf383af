//! Taps, which see all that passes between a driver and its machine, in order.

use alloc::boxed::Box;
use core::net::SocketAddr;

use super::action::Action;
use super::ids::{CommandId, ConnId, SocketId};
use super::input::Input;
use super::language::{Devp2p, Language};
use super::machine::{CommandOf, EventOf, Machine, RefusedOf};
use super::prefetch::Prefetch;
use crate::time::Instant;

/// Sees each input, each drain and each action as it passes. Recording, metrics and logs are taps, so that machines need no
/// hooks. [`Tapped`] makes the calls.
#[allow(unused_variables, reason = "the names document the parameters of methods that do nothing by default")]
pub trait Tap<L: Language = Devp2p> {
    /// An input, just before the machine handles it.
    fn input(&mut self, now: Instant, input: &Input<'_, L::Command<'_>>) {}

    /// The machine's answer to the `Input::Incoming` just before: the stream's id if it is accepted.
    fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {}

    /// The machine's answer to the `Input::Command` just before.
    fn commanded(&mut self, now: Instant, answer: Result<CommandId, L::Refused>) {}

    /// The outbound bytes that a stream's socket took, just before their `Input::Wrote`.
    fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {}

    /// An action, as it was popped.
    fn action(&mut self, now: Instant, action: &Action<'_, L::Event<'_>>) {}

    /// The driver found no more actions.
    fn drained(&mut self, now: Instant) {}
}

/// Sees nothing.
impl<L: Language> Tap<L> for () {}

macro_rules! forward {
    ($tap:ident => $($each:expr),+) => {
        fn input(&mut self, now: Instant, input: &Input<'_, L::Command<'_>>) {
            let $tap = self;
            $($each.input(now, input);)+
        }

        fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {
            let $tap = self;
            $($each.accepted(now, conn);)+
        }

        fn commanded(&mut self, now: Instant, answer: Result<CommandId, L::Refused>) {
            let $tap = self;
            $($each.commanded(now, answer);)+
        }

        fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
            let $tap = self;
            $($each.wrote(now, conn, bytes);)+
        }

        fn action(&mut self, now: Instant, action: &Action<'_, L::Event<'_>>) {
            let $tap = self;
            $($each.action(now, action);)+
        }

        fn drained(&mut self, now: Instant) {
            let $tap = self;
            $($each.drained(now);)+
        }
    };
}

impl<L: Language, T: Tap<L> + ?Sized> Tap<L> for &mut T {
    forward!(tap => (**tap));
}

impl<L: Language, T: Tap<L> + ?Sized> Tap<L> for Box<T> {
    forward!(tap => (**tap));
}

/// Calls the first tap, then the second.
impl<L: Language, A: Tap<L>, B: Tap<L>> Tap<L> for (A, B) {
    forward!(tap => tap.0, tap.1);
}

/// `None` sees nothing.
impl<L: Language, T: Tap<L>> Tap<L> for Option<T> {
    fn input(&mut self, now: Instant, input: &Input<'_, L::Command<'_>>) {
        if let Some(tap) = self {
            tap.input(now, input);
        }
    }

    fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {
        if let Some(tap) = self {
            tap.accepted(now, conn);
        }
    }

    fn commanded(&mut self, now: Instant, answer: Result<CommandId, L::Refused>) {
        if let Some(tap) = self {
            tap.commanded(now, answer);
        }
    }

    fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        if let Some(tap) = self {
            tap.wrote(now, conn, bytes);
        }
    }

    fn action(&mut self, now: Instant, action: &Action<'_, L::Event<'_>>) {
        if let Some(tap) = self {
            tap.action(now, action);
        }
    }

    fn drained(&mut self, now: Instant) {
        if let Some(tap) = self {
            tap.drained(now);
        }
    }
}

/// A machine whose inputs, answers and actions all pass a tap; itself a [`Machine`].
///
/// Owns both, or borrows them for one turn: `Tapped::new(&mut machine, &mut tap, now)`.
#[derive(Debug)]
pub struct Tapped<M, T> {
    machine: M,
    tap: T,
    /// The time of the last call; actions are of that time.
    now: Instant,
}

impl<M: Machine, T: Tap<M::Language>> Tapped<M, T> {
    /// Puts `tap` between a driver and `machine`. `now` is the time of actions that are popped before the first input.
    pub const fn new(machine: M, tap: T, now: Instant) -> Self {
        Self { machine, tap, now }
    }

    /// The machine.
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    /// The tap.
    pub const fn tap(&self) -> &T {
        &self.tap
    }

    /// The tap, for changes between calls.
    pub const fn tap_mut(&mut self) -> &mut T {
        &mut self.tap
    }
}

impl<M: Machine, T: Tap<M::Language>> Machine for Tapped<M, T> {
    type Language = M::Language;

    fn handle(&mut self, now: Instant, input: Input<'_, CommandOf<'_, Self>>) {
        self.now = now;
        if let Input::Wrote { conn, n } = input {
            let bytes = self.machine.outbound(conn);
            self.tap.wrote(now, conn, bytes.get(..n).unwrap_or(bytes));
        }
        self.tap.input(now, &input);
        self.machine.handle(now, input);
    }

    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        self.now = now;
        self.tap.input(now, &Input::Incoming { socket, from });
        let conn = self.machine.accept(now, socket, from);
        self.tap.accepted(now, conn);
        conn
    }

    fn command(&mut self, now: Instant, command: CommandOf<'_, Self>) -> Result<CommandId, RefusedOf<Self>> {
        self.now = now;
        self.tap.input(now, &Input::Command(command));
        let answer = self.machine.command(now, command);
        self.tap.commanded(now, answer);
        answer
    }

    fn poll_action(&mut self) -> Option<Action<'_, EventOf<'_, Self>>> {
        let Self { machine, tap, now } = self;
        let action = machine.poll_action();
        match &action {
            Some(action) => tap.action(*now, action),
            None => tap.drained(*now),
        }
        action
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.machine.poll_timeout()
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        self.machine.outbound(conn)
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        self.machine.wants_read(conn)
    }

    fn take_work(&mut self, conn: ConnId) -> u64 {
        self.machine.take_work(conn)
    }

    fn prefetch(&self, input: &Input<'_, CommandOf<'_, Self>>, depth: usize, memory: &mut impl Prefetch) {
        self.machine.prefetch(input, depth, memory);
    }

    const PREFETCH_DEPTHS: usize = M::PREFETCH_DEPTHS;
}
