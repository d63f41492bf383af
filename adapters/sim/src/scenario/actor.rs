//! The machines of a scenario: a node, or a hostile host around one.

use std::fmt;
use std::net::SocketAddr;

use peerless::contract::{
    Action, Command, CommandError, CommandId, ConnId, Devp2p, Input, Machine, Prefetch, SocketId, Tap, Tapped,
};
use peerless::node::Node;
use peerless::time::Instant;

use super::liar::Liar;

/// A machine of a scenario; see the module.
#[allow(clippy::large_enum_variant)]
pub enum Actor {
    /// An ordinary node.
    Honest(Node),
    /// An ordinary node with a tap.
    Tapped(Box<Tapped<Node, Box<dyn Tap + Send>>>),
    /// A hostile host.
    Hostile(Box<Liar>),
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            Self::Honest(_) => "Honest",
            Self::Tapped(_) => "Tapped",
            Self::Hostile(_) => "Hostile",
        };
        f.debug_tuple(kind).field(&self.node().contact()).finish()
    }
}

impl Actor {
    /// The node, with or without tap, or inside of a hostile host.
    pub fn node(&self) -> &Node {
        match self {
            Self::Honest(node) => node,
            Self::Tapped(tapped) => tapped.machine(),
            Self::Hostile(liar) => liar.node(),
        }
    }

    /// The node, unless the host is hostile.
    pub fn honest(&self) -> Option<&Node> {
        match self {
            Self::Honest(_) | Self::Tapped(_) => Some(self.node()),
            Self::Hostile(_) => None,
        }
    }
}

impl Machine for Actor {
    type Language = Devp2p;

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match self {
            Self::Honest(node) => node.handle(now, input),
            Self::Tapped(tapped) => tapped.handle(now, input),
            Self::Hostile(liar) => liar.handle(now, input),
        }
    }

    fn accept(&mut self, now: Instant, socket: SocketId, from: SocketAddr) -> Option<ConnId> {
        match self {
            Self::Honest(node) => node.accept(now, socket, from),
            Self::Tapped(tapped) => tapped.accept(now, socket, from),
            Self::Hostile(liar) => liar.accept(now, socket, from),
        }
    }

    fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        match self {
            Self::Honest(node) => node.command(now, command),
            Self::Tapped(tapped) => tapped.command(now, command),
            Self::Hostile(liar) => liar.command(now, command),
        }
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        match self {
            Self::Honest(node) => node.poll_action(),
            Self::Tapped(tapped) => tapped.poll_action(),
            Self::Hostile(liar) => liar.poll_action(),
        }
    }

    fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Honest(node) => Machine::poll_timeout(node),
            Self::Tapped(tapped) => tapped.poll_timeout(),
            Self::Hostile(liar) => liar.poll_timeout(),
        }
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        match self {
            Self::Honest(node) => node.outbound(conn),
            Self::Tapped(tapped) => tapped.outbound(conn),
            Self::Hostile(liar) => liar.outbound(conn),
        }
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        match self {
            Self::Honest(node) => node.wants_read(conn),
            Self::Tapped(tapped) => tapped.wants_read(conn),
            Self::Hostile(liar) => liar.wants_read(conn),
        }
    }

    fn prefetch(&self, input: &Input<'_>, depth: usize, memory: &mut impl Prefetch) {
        if let Self::Honest(node) = self {
            node.prefetch(input, depth, memory);
        }
    }

    const PREFETCH_DEPTHS: usize = Node::PREFETCH_DEPTHS;
}
