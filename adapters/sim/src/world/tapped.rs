//! A node with a tap around it, for the length of its life: what is recorded of one host of a world.
//!
//! The tap hears everything from the node's first command on, in the words of the driver contract; the node and its driver
//! do not know of it. It ends with the node, when the machine dies or the world is over.

use std::net::SocketAddr;

use peerless::contract::{Action, Command, CommandError, CommandId, ConnId, Input, Tap};
use peerless::node::Node;
use peerless::time::Instant;

use super::machine::Machine;

/// See the module.
pub struct Tapped {
    node: Node,
    tap: Box<dyn Tap + Send>,
    /// When the node was last handed anything; its actions are of that time.
    now: Instant,
}

impl Tapped {
    /// Listens to `node`, which was born at `now` and has been handed nothing yet.
    pub fn new(node: Node, tap: Box<dyn Tap + Send>, now: Instant) -> Self {
        Self { node, tap, now }
    }

    /// The node.
    pub fn node(&self) -> &Node {
        &self.node
    }
}

impl Machine for Tapped {
    fn handle(&mut self, now: Instant, input: Input<'_>) {
        self.now = now;
        if let Input::Wrote { conn, n } = input {
            let bytes = self.node.outbound(conn);
            self.tap.wrote(now, conn, bytes.get(..n).unwrap_or(bytes));
        }
        self.tap.input(now, &input);
        self.node.handle(now, input);
    }

    fn accept(&mut self, now: Instant, from: SocketAddr) -> Option<ConnId> {
        self.now = now;
        self.tap.input(now, &Input::Incoming { from });
        let conn = self.node.accept(now, from);
        self.tap.accepted(now, conn);
        conn
    }

    fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        self.now = now;
        self.tap.input(now, &Input::Command(command));
        let answer = self.node.command(now, command);
        self.tap.commanded(now, answer);
        answer
    }

    fn poll_action(&mut self) -> Option<Action<'_>> {
        let Self { node, tap, now } = self;
        let action = node.poll_action();
        match &action {
            Some(action) => tap.action(*now, action),
            None => tap.drained(*now),
        }
        action
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Machine::poll_timeout(&self.node)
    }

    fn outbound(&self, conn: ConnId) -> &[u8] {
        self.node.outbound(conn)
    }

    fn wants_read(&self, conn: ConnId) -> bool {
        self.node.wants_read(conn)
    }
}
