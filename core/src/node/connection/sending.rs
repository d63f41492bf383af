//! Messages, requests and answers that the owner sends on a connection, and the event after a refusal as busy.

use super::{Connection, Framed, Phase, State};
use crate::contract::{CommandError, CommandId, Cx, Event};
use crate::limits;
use crate::protocols::{Link, Protocols};
use crate::wire::p2p::Capability;

/// Commands that were refused as busy since the last [`Event::ConnReady`], by cause.
#[derive(Clone, Copy, Default)]
pub(super) struct Refused {
    /// Too many bytes waited for the socket.
    bytes: bool,
    /// Too many requests were open.
    requests: bool,
}

impl Connection {
    /// Sends a message of a shared capability; its payload is the concatenation of `payload`.
    ///
    /// # Errors
    /// [`CommandError::NotEstablished`] before the capability's handshake is done, [`CommandError::NotShared`],
    /// [`CommandError::UnknownMessage`], [`CommandError::TooLarge`]. [`CommandError::Busy`] while
    /// [`limits::OUTBOUND_BYTES_MAX`] or more bytes wait for the socket; [`Event::ConnReady`] tells of its end.
    pub fn send(
        &mut self,
        cx: &mut Cx<'_>,
        capability: Capability,
        id: u64,
        payload: &[&[u8]],
    ) -> Result<(), CommandError> {
        self.with_protocols(|protocols, link| protocols.send(cx, link, capability, id, payload))
    }

    /// Sends a request of a shared capability. The event of its answer names `command`.
    ///
    /// # Errors
    /// As [`Connection::send`]; [`CommandError::Busy`] also while [`limits::REQUESTS_OUT_MAX`] requests are open.
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        command: CommandId,
        capability: Capability,
        id: u64,
        body: &[u8],
    ) -> Result<(), CommandError> {
        self.with_protocols(|protocols, link| protocols.request(cx, link, command, capability, id, body))
    }

    /// Answers a request of the peer.
    ///
    /// # Errors
    /// As [`Connection::send`]; [`CommandError::UnknownRequest`] if no request with that request id is open, and
    /// [`CommandError::UnknownMessage`] if one is, but with another message id.
    pub fn respond(
        &mut self,
        cx: &mut Cx<'_>,
        capability: Capability,
        request_id: u64,
        id: u64,
        body: &[u8],
    ) -> Result<(), CommandError> {
        self.with_protocols(|protocols, link| protocols.respond(cx, link, capability, request_id, id, body))
    }

    /// Calls `work` with the protocols of an admitted peer, and notes a refusal as busy.
    fn with_protocols(
        &mut self,
        work: impl FnOnce(&mut Protocols, &mut Link<'_>) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let Self { id: conn, peer: Some(peer), state: State::Session(framed), out, refused, .. } = self else {
            return Err(CommandError::NotEstablished);
        };
        let Framed { session, phase: Phase::Admitted(protocols) } = &mut **framed else {
            return Err(CommandError::NotEstablished);
        };
        let result = work(protocols, &mut Link { conn: *conn, peer: *peer, session, out });
        if result == Err(CommandError::Busy) {
            let has_room = out.len() < limits::OUTBOUND_BYTES_MAX;
            *refused = Refused { bytes: refused.bytes || !has_room, requests: refused.requests || has_room };
        }
        result
    }

    /// Emits `ConnReady` if a cause of refusals is gone.
    pub(super) fn report_ready(&mut self, cx: &mut Cx<'_>) {
        let Refused { bytes, requests } = self.refused;
        if !bytes && !requests {
            return;
        }
        let Some(protocols) = self.protocols() else { return };
        let bytes_ready = bytes && self.out.len() < limits::OUTBOUND_BYTES_MAX / 2;
        let requests_ready = requests && protocols.requests_out() < limits::REQUESTS_OUT_MAX;
        if bytes_ready || requests_ready {
            self.refused = Refused { bytes: bytes && !bytes_ready, requests: requests && !requests_ready };
            cx.out.emit(Event::ConnReady { conn: self.id });
        }
    }
}
