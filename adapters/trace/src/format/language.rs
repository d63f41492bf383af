//! What a protocol family must say of itself so that its machines can be recorded and replayed: the codec of its words.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use peerless::contract::{ConnId, Language, Machine};
use peerless::crypto::Crypto;

use super::Header;
use super::codec::{Decoder, Encode, Malformed};
use crate::keylog::Line;

/// A language whose words can be written to a trace.
pub trait Recordable: Language {
    /// The family's name in the header of a trace.
    const FAMILY: &'static str;

    /// A command that owns its bytes. Its `Display` is one line for people.
    type OwnedCommand: Clone + PartialEq + Debug + Display + Send + 'static;

    /// Appends a command.
    fn encode_command(command: &Self::Command<'_>, out: &mut Vec<u8>);

    /// Reads what [`Recordable::encode_command`] wrote.
    ///
    /// # Errors
    /// If the bytes are no command.
    fn decode_command(decoder: &mut Decoder<'_>) -> Result<Self::OwnedCommand, Malformed>;

    /// Borrows a command, to hand it to a machine.
    fn as_command(owned: &Self::OwnedCommand) -> Self::Command<'_>;

    /// Appends an event except for what it lends, which is returned. The digest of behaviour is made over these bytes, so
    /// they must not depend on how the code names things.
    fn encode_event<'e>(event: &'e Self::Event<'_>, out: &mut Vec<u8>) -> Option<&'e [u8]>;

    /// Appends why a command was refused.
    fn encode_refused(refused: Self::Refused, out: &mut Vec<u8>);

    /// One line about an event, for people.
    fn describe_event(event: &Self::Event<'_>) -> String {
        format!("{event:?}")
    }

    /// The secrets of a session, as a line of the key log with its end, if the event tells them.
    fn session_secrets(event: &Self::Event<'_>) -> Option<(ConnId, Line)> {
        let _ = event;
        None
    }
}

/// A machine that can be built again from the header of a trace.
pub trait Replayable: Machine<Language: Recordable> + Sized {
    /// Builds the machine as it was at its start.
    ///
    /// # Errors
    /// If the header's configuration makes no such machine; in words.
    fn rebuild(header: &Header, crypto: Arc<dyn Crypto + Send + Sync>) -> Result<Self, String>;
}

/// Appends an id and a payload: what commands and events of simple languages are made of.
pub fn encode_parts(kind: u8, id: u64, bytes: &[u8], out: &mut Vec<u8>) {
    out.byte(kind);
    out.count(id);
    out.bytes(bytes);
}
