//! One discovery protocol alone, as a machine of the network in memory, for the tests of each protocol.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddr;

use super::{Growth, Received, Verdict};
use crate::contract::{
    Action, Command, CommandError, CommandId, ConnId, Context, Cx, Devp2p, Event, Input, Machine, SocketId,
};
use crate::rng::Rng;
use crate::time::{Duration, Instant};

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A discovery protocol under test.
pub(crate) trait Protocol {
    fn handle_datagram(&mut self, cx: &mut Cx<'_>, from: SocketAddr, bytes: &[u8]) -> Verdict;

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Growth;

    fn poll_timeout(&self) -> Option<Instant>;

    /// Whether a datagram that was just handled proves its sender's endpoint.
    fn is_proof(&self, from: SocketAddr, bytes: &[u8]) -> bool;

    /// Checks what holds after each call.
    fn check_bounds(&self);

    /// Checks a datagram that is sent. `cause` is the source and the size of the datagram that was handled last.
    fn check_sent(&self, to: SocketAddr, bytes: &[u8], cause: Option<(SocketAddr, usize)>) {
        let _ = (to, bytes, cause);
    }
}

/// The traffic of a machine with one address.
#[derive(Clone, Copy, Default)]
pub(crate) struct Account {
    pub(crate) received_bytes: usize,
    pub(crate) sent_bytes: usize,
    is_proven: bool,
}

/// One protocol with its context, as a machine. Each call checks what holds in any network: no amplification, the protocol's
/// bounds, and that growth is reported exactly where nodes are added.
pub(crate) struct Lone<P> {
    pub(crate) protocol: P,
    pub(crate) context: Context,
    rng: Rng,
    pub(crate) bootnodes: Vec<SocketAddr>,
    pub(crate) ledger: BTreeMap<SocketAddr, Account>,
    /// The outcome of the last datagram.
    pub(crate) received: Received,
    /// The growth that the last datagram or timeout reported.
    pub(crate) growth: Growth,
    /// The growth that the events must agree with once they are drained, if a datagram or timeout has been handled since.
    unchecked: Option<Growth>,
    /// Nodes added since the last drain.
    added: usize,
    /// The source and the size of the datagram that was handed in since the last drain.
    cause: Option<(SocketAddr, usize)>,
    /// Whether datagrams of a flood were handed in since the last drain.
    is_flooded: bool,
}

impl<P: Protocol> Lone<P> {
    pub(crate) fn new(protocol: P, context: Context, rng: Rng, bootnodes: Vec<SocketAddr>) -> Self {
        Self {
            protocol,
            context,
            rng,
            bootnodes,
            ledger: BTreeMap::new(),
            received: Received::Unrecognised,
            growth: Growth::None,
            unchecked: None,
            added: 0,
            cause: None,
            is_flooded: false,
        }
    }

    pub(crate) fn call<R>(&mut self, now: Instant, call: impl FnOnce(&mut P, &mut Cx<'_>) -> R) -> R {
        self.context.advance(now);
        let result = call(&mut self.protocol, &mut self.context.cx(&mut self.rng));
        self.protocol.check_bounds();
        result
    }

    /// Hands in one datagram of a flood. Accounts are kept only of addresses that may get an answer.
    pub(crate) fn flood(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Received {
        self.is_flooded = true;
        let received = self.call(now, |protocol, cx| protocol.handle_datagram(cx, from, bytes)).received;
        if received == Received::Handled {
            self.ledger.entry(from).or_default().received_bytes += bytes.len();
        }
        received
    }

    fn handle_datagram(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) {
        let verdict = self.call(now, |protocol, cx| protocol.handle_datagram(cx, from, bytes));
        let account = self.ledger.entry(from).or_default();
        account.received_bytes += bytes.len();
        account.is_proven |= verdict.received == Received::Handled && self.protocol.is_proof(from, bytes);
        self.received = verdict.received;
        self.growth = verdict.growth;
        self.unchecked = Some(verdict.growth);
        self.cause = Some((from, bytes.len()));
    }
}

impl<P: Protocol> Machine for Lone<P> {
    type Language = Devp2p;

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match input {
            Input::Datagram { from, bytes, .. } => self.handle_datagram(now, from, bytes),
            Input::Timeout => {
                self.growth = self.call(now, P::handle_timeout);
                self.unchecked = Some(self.growth);
            }
            Input::WallClock { unix } => {
                self.context.advance(now);
                self.context.set_wall_clock(unix);
            }
            other => panic!("{other:?}"),
        }
    }

    fn accept(&mut self, _: Instant, _: SocketId, _: SocketAddr) -> Option<ConnId> {
        None
    }

    fn command(&mut self, _: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        panic!("{command:?}: tests call the machine's methods");
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        let Some(action) = self.context.out.pop() else {
            if let Some(growth) = self.unchecked.take() {
                assert_eq!(growth == Growth::Grew, self.added > 0, "growth is reported where nodes are added");
            }
            (self.added, self.cause, self.is_flooded) = (0, None, false);
            return None;
        };
        match &action {
            Action::Send { to, bytes, .. } => {
                if !self.is_flooded {
                    self.protocol.check_sent(*to, bytes, self.cause);
                }
                let account = self.ledger.entry(*to).or_default();
                account.sent_bytes += bytes.len();
                let Account { received_bytes, sent_bytes, is_proven } = *account;
                assert!(
                    is_proven || self.bootnodes.contains(to) || sent_bytes <= 3 * received_bytes + 1280,
                    "{sent_bytes} bytes to {to}, from which {received_bytes} came"
                );
            }
            Action::Emit(Event::NodeAdded { .. }) => self.added += 1,
            Action::Emit(_) => {}
            other => panic!("{other:?}"),
        }
        Some(action)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.protocol.poll_timeout()
    }

    fn outbound(&self, _: ConnId) -> &[u8] {
        &[]
    }

    fn wants_read(&self, _: ConnId) -> bool {
        false
    }
}
