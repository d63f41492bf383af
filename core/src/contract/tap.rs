//! A place to listen: everything that passes between a driver and its node, in order.

use super::action::Action;
use super::ids::{CommandId, ConnId};
use super::input::{CommandError, Input};
use crate::time::Instant;

/// Sees each input, each drain and each action as it passes. Adapters take one and call it around the node's methods, so
/// that recording, metrics and logs need no hook inside the machines.
pub trait Tap {
    /// An input, just before the node handles it.
    fn input(&mut self, now: Instant, input: &Input<'_>) {
        let _ = (now, input);
    }

    /// The node's answer to the `Input::Incoming` just before: the stream's name, if it is wanted.
    fn accepted(&mut self, now: Instant, conn: Option<ConnId>) {
        let _ = (now, conn);
    }

    /// The node's answer to the `Input::Command` just before.
    fn commanded(&mut self, now: Instant, answer: Result<CommandId, CommandError>) {
        let _ = (now, answer);
    }

    /// What the socket took of a stream's outbound bytes, just before the `Input::Wrote` that says so.
    fn wrote(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        let _ = (now, conn, bytes);
    }

    /// An action, as it was popped.
    fn action(&mut self, now: Instant, action: &Action<'_>) {
        let _ = (now, action);
    }

    /// The driver found no more actions.
    fn drained(&mut self, now: Instant) {
        let _ = now;
    }
}

/// Hears nothing.
impl Tap for () {}
