//! The language of a protocol family: the types of its events, commands and refusals.
//!
//! They belong to a marker type rather than to a machine, so that [`Outbox`](super::Outbox), [`Cx`](super::Cx) and
//! [`Tap`](super::Tap) can name them without a machine.

use alloc::borrow::Cow;
use core::fmt::Debug;

use super::event::Event;
use super::input::{Command, CommandError};

/// The events, commands and refusals of one protocol family. Implemented by an empty marker type, such as [`Devp2p`].
pub trait Language: 'static {
    /// An event of a machine for its application. Byte slices are lent until the next call.
    type Event<'a>: Debug;
    /// A command of an application to a machine.
    type Command<'a>: Copy + Debug;
    /// Why a command was not carried out.
    type Refused: Copy + Debug;

    /// Puts `bytes`, which were queued with `event`, into the event's lent slice. Returns an event that lends nothing
    /// unchanged.
    fn lend<'a>(event: Self::Event<'static>, bytes: &'a [u8]) -> Self::Event<'a>;

    /// Copies what the event lends.
    fn into_owned(event: Self::Event<'_>) -> Self::Event<'static>;

    /// Whether the application can miss this event without losing track of a connection or a command. Such events are
    /// dropped and counted while the outbox is full.
    fn is_droppable(event: &Self::Event<'_>) -> bool;
}

/// The language of Ethereum's devp2p: [`Event`], [`Command`], [`CommandError`].
#[derive(Debug)]
pub enum Devp2p {}

impl Language for Devp2p {
    type Event<'a> = Event<'a>;
    type Command<'a> = Command<'a>;
    type Refused = CommandError;

    fn lend<'a>(event: Event<'static>, bytes: &'a [u8]) -> Event<'a> {
        let mut event: Event<'a> = event;
        if let Some(lent) = event.lent_mut() {
            *lent = Cow::Borrowed(bytes);
        }
        event
    }

    fn into_owned(event: Event<'_>) -> Event<'static> {
        event.into_owned()
    }

    fn is_droppable(event: &Event<'_>) -> bool {
        event.is_droppable()
    }
}
