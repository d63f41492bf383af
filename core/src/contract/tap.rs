//! A place to listen: everything that passes between a driver and its node, in order.

use super::action::Action;
use super::input::Input;
use crate::time::Instant;

/// Sees each input, each drain and each action as it passes. Adapters take one and call it around the node's methods, so
/// that recording, metrics and logs need no hook inside the machines.
pub trait Tap {
    /// An input, just before the node handles it.
    fn input(&mut self, now: Instant, input: &Input<'_>) {
        let _ = (now, input);
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
