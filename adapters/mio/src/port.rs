//! The node behind its tap: the only way from the driver to the node, so that nothing passes the tap unseen.

use std::net::SocketAddr;

use peerless::contract::{Action, Command, CommandError, CommandId, ConnId, Input, Tap};
use peerless::node::Node;
use peerless::time::Instant;

/// See the module.
pub(crate) struct Port {
    node: Node,
    tap: Option<Box<dyn Tap + Send>>,
}

impl Port {
    pub(crate) fn new(node: Node) -> Self {
        Self { node, tap: None }
    }

    pub(crate) fn set_tap(&mut self, tap: Box<dyn Tap + Send>) {
        self.tap = Some(tap);
    }

    pub(crate) fn node(&self) -> &Node {
        &self.node
    }

    pub(crate) fn handle(&mut self, now: Instant, input: Input<'_>) {
        if let (Some(tap), Input::Wrote { conn, n }) = (&mut self.tap, &input) {
            let bytes = self.node.outbound(*conn);
            tap.wrote(now, *conn, &bytes[..bytes.len().min(*n)]);
        }
        self.tell(now, &input);
        self.node.handle(now, input);
    }

    pub(crate) fn accept(&mut self, now: Instant, from: SocketAddr) -> Option<ConnId> {
        self.tell(now, &Input::Incoming { from });
        let conn = self.node.accept(now, from);
        if let Some(tap) = &mut self.tap {
            tap.accepted(now, conn);
        }
        conn
    }

    pub(crate) fn command(&mut self, now: Instant, command: Command<'_>) -> Result<CommandId, CommandError> {
        self.tell(now, &Input::Command(command));
        let answer = self.node.command(now, command);
        if let Some(tap) = &mut self.tap {
            tap.commanded(now, answer);
        }
        answer
    }

    pub(crate) fn poll_action(&mut self, now: Instant) -> Option<Action<'_>> {
        let action = self.node.poll_action();
        if let Some(tap) = &mut self.tap {
            match &action {
                Some(action) => tap.action(now, action),
                None => tap.drained(now),
            }
        }
        action
    }

    fn tell(&mut self, now: Instant, input: &Input<'_>) {
        if let Some(tap) = &mut self.tap {
            tap.input(now, input);
        }
    }
}
