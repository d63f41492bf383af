//! eth in one session: first the exchange of Statuses, then requests, responses and announcements (`eth.md`).
//!
//! Composes [`EthHandshake`] and [`Requests`]. It keeps no deadline: the connection does.

use alloc::boxed::Box;

use super::requests::{Incoming, Requests};
use super::{Local, Outcome, Route};
use crate::contract::{Cx, EndReason, Event, Fault};
use crate::eth::EthHandshake;
use crate::eth::handshake::Verdict;
use crate::wire::eth::{BlockRange, Status, id};
use crate::wire::schema::Schema;

/// eth in one session.
#[derive(Clone, Debug)]
pub enum Eth {
    /// The peer's Status is awaited.
    Handshake {
        /// What is expected of it.
        handshake: EthHandshake,
        /// The messages of the version.
        schema: &'static Schema,
    },
    /// Both Statuses agree.
    Established {
        /// The peer's Status.
        status: Box<Status>,
        /// The requests of both sides.
        requests: Requests,
    },
}

impl Eth {
    /// Begins the exchange of Statuses; sends ours if it comes first.
    pub(super) fn start(cx: &mut Cx<'_>, local: &Local<'_>, route: &mut Route<'_>, schema: &'static Schema) -> Self {
        let version = route.capability().version;
        let (handshake, ours) = EthHandshake::start(version, local.status, local.chain);
        if let Some(ours) = ours {
            send_status(cx, route, &ours);
        }
        Self::Handshake { handshake, schema }
    }

    /// Handles the message that is staged. `room` is the number of requests that the peer may still open.
    pub(super) fn handle_message(
        &mut self,
        cx: &mut Cx<'_>,
        local: &Local<'_>,
        route: &mut Route<'_>,
        message: u64,
        room: usize,
    ) -> Outcome {
        let requests = match self {
            Self::Established { requests, .. } => requests,
            Self::Handshake { handshake, schema } => {
                return match handshake.handle_message(local.chain, message, cx.out.staged()) {
                    Verdict::Refused { why, .. } => Outcome::End(EndReason::Status(why)),
                    Verdict::Fault(fault) => Outcome::End(EndReason::Fault(fault)),
                    Verdict::Accepted { theirs, reply } => {
                        let requests = Requests::new(schema);
                        if let Some(reply) = reply {
                            send_status(cx, route, &reply);
                        }
                        let (conn, id) = (route.conn, route.peer);
                        cx.out.emit(Event::Established { conn, id, status: theirs.clone() });
                        *self = Self::Established { status: theirs, requests };
                        Outcome::Established
                    }
                };
            }
        };
        let incoming = requests.handle_message(cx.now, message, cx.out.staged(), room, cx.work);
        match incoming {
            Incoming::Status => Outcome::End(EndReason::Fault(Fault::StatusTwice)),
            Incoming::Announcement if message == id::BLOCK_RANGE_UPDATE => match BlockRange::decode(cx.out.staged()) {
                Ok(_) => route.pass_on(cx, message, Incoming::Announcement),
                Err(error) => Outcome::End(EndReason::Fault(Fault::Message(error))),
            },
            incoming => route.pass_on(cx, message, incoming),
        }
    }
}

fn send_status(cx: &mut Cx<'_>, route: &mut Route<'_>, status: &Status) {
    // Cannot be refused: the capability is shared, the message small, and nothing is queued this early.
    let _ = route.send(cx, id::STATUS, &[&status.encode()]);
}
