//! The traits that a protocol family implements so that its machines can be recorded and replayed.

use std::fmt::{Debug, Display};
use std::sync::Arc;

use peerless::contract::{ConnId, Language, Machine};
use peerless::crypto::Crypto;

use super::Header;
use super::codec::{Decoder, Encode, Malformed};
use crate::keylog::Line;

/// A language with a codec for traces.
pub trait Recordable: Language {
    /// The family's name in the header of a trace.
    const FAMILY: &'static str;

    /// A command that owns its bytes. Its `Display` is one line of text.
    type OwnedCommand: Clone + PartialEq + Debug + Display + Send + 'static;

    /// Appends a command.
    fn encode_command(command: &Self::Command<'_>, out: &mut Vec<u8>);

    /// Decodes what [`Recordable::encode_command`] wrote.
    ///
    /// # Errors
    /// If the bytes are not a command.
    fn decode_command(decoder: &mut Decoder<'_>) -> Result<Self::OwnedCommand, Malformed>;

    /// Borrows a command, for a machine.
    fn as_command(owned: &Self::OwnedCommand) -> Self::Command<'_>;

    /// Appends an event except for its lent payload, which is returned. The digest of behaviour covers these bytes, so they
    /// must not depend on names in the code.
    fn encode_event<'e>(event: &'e Self::Event<'_>, out: &mut Vec<u8>) -> Option<&'e [u8]>;

    /// Appends the reason for a refused command.
    fn encode_refused(refused: Self::Refused, out: &mut Vec<u8>);

    /// One line of text about an event.
    fn describe_event(event: &Self::Event<'_>) -> String {
        format!("{event:?}")
    }

    /// The secrets of a session as a line of the key log with its newline, if the event holds them.
    fn session_secrets(event: &Self::Event<'_>) -> Option<(ConnId, Line)> {
        let _ = event;
        None
    }
}

/// A machine that can be built again from the header of a trace.
pub trait Replayable: Machine<Language: Recordable> + Sized {
    /// Builds the machine in its initial state.
    ///
    /// # Errors
    /// A message for the user, if the header's configuration cannot be used.
    fn rebuild(header: &Header, crypto: Arc<dyn Crypto + Send + Sync>) -> Result<Self, String>;
}

/// Appends a kind, an id and a payload: the parts of commands and events of simple languages.
pub fn encode_parts(kind: u8, id: u64, bytes: &[u8], out: &mut Vec<u8>) {
    out.byte(kind);
    out.count(id);
    out.bytes(bytes);
}
