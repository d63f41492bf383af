//! The requests of peers that are still to be answered: an answer that is refused as busy is given again when its connection
//! takes commands again.

use std::collections::{BTreeMap, VecDeque};

use peerless::contract::{CommandError, ConnId, Event};
use peerless::wire::p2p::Capability;

/// A request of a peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Question {
    pub(crate) conn: ConnId,
    pub(crate) capability: Capability,
    pub(crate) request_id: u64,
    pub(crate) id: u64,
}

/// Requests in the order in which they came. A node bounds their number for each connection.
#[derive(Default, Debug)]
pub(crate) struct Answers {
    waiting: BTreeMap<ConnId, VecDeque<Question>>,
    /// Connections on which an answer may be accepted now.
    ready: Vec<ConnId>,
}

impl Answers {
    /// Notes a request, a connection that takes commands again, or the end of one.
    pub(crate) fn note(&mut self, event: &Event<'_>) {
        match *event {
            Event::Request { conn, capability, request_id, id, .. } => {
                let waiting = self.waiting.entry(conn).or_default();
                // Those before it wait for `ConnReady`.
                if waiting.is_empty() {
                    self.ready.push(conn);
                }
                waiting.push_back(Question { conn, capability, request_id, id });
            }
            Event::ConnReady { conn } => self.ready.push(conn),
            Event::Ended { conn, .. } => drop(self.waiting.remove(&conn)),
            _ => {}
        }
    }

    /// Calls `respond` with each request that may be answered now. What it refuses as busy waits, with all later requests of
    /// its connection.
    pub(crate) fn give(&mut self, mut respond: impl FnMut(&Question) -> Result<(), CommandError>) {
        for conn in std::mem::take(&mut self.ready) {
            let Some(waiting) = self.waiting.get_mut(&conn) else { continue };
            while let Some(question) = waiting.front() {
                match respond(question) {
                    Err(CommandError::Busy) => break,
                    Ok(()) => {}
                    Err(error) => {
                        tracing::debug!(%conn, request_id = question.request_id, %error, "not answered");
                    }
                }
                waiting.pop_front();
            }
            if waiting.is_empty() {
                self.waiting.remove(&conn);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;

    fn request(conn: u64, request_id: u64) -> Event<'static> {
        let (conn, capability) = (ConnId(conn), Capability::eth(69));
        Event::Request { conn, capability, request_id, id: 3, body: Cow::default() }
    }

    /// The request ids that are given, of which those in `busy` are refused.
    fn give(answers: &mut Answers, busy: &[u64]) -> Vec<u64> {
        let mut given = Vec::new();
        answers.give(|question| {
            given.push(question.request_id);
            if busy.contains(&question.request_id) { Err(CommandError::Busy) } else { Ok(()) }
        });
        given
    }

    #[test]
    fn an_answer_that_is_refused_as_busy_is_given_again() {
        let mut answers = Answers::default();
        [request(1, 10), request(1, 11), request(2, 20)].iter().for_each(|event| answers.note(event));
        assert_eq!(give(&mut answers, &[10]), [10, 20]);
        answers.note(&request(1, 12));
        assert_eq!(give(&mut answers, &[]), [] as [u64; 0], "in order, and not before the connection is ready");
        answers.note(&Event::ConnReady { conn: ConnId(1) });
        assert_eq!(give(&mut answers, &[11]), [10, 11]);
        answers.note(&Event::ConnReady { conn: ConnId(1) });
        assert_eq!(give(&mut answers, &[]), [11, 12]);
        assert!(answers.waiting.is_empty());
        answers.note(&request(1, 13));
        assert_eq!(give(&mut answers, &[]), [13]);
    }

    #[test]
    fn a_connection_that_ends_takes_its_requests_with_it() {
        use peerless::contract::{Direction, End, EndReason, Side, Stage};
        let mut answers = Answers::default();
        answers.note(&request(1, 10));
        assert_eq!(give(&mut answers, &[10]), [10]);
        let end = End { by: Side::Them, stage: Stage::Established, why: EndReason::Eof };
        let (conn, addr) = (ConnId(1), ([127, 0, 0, 1], 1).into());
        answers.note(&Event::Ended { conn, id: None, addr, direction: Direction::Inbound, end });
        answers.note(&Event::ConnReady { conn });
        assert_eq!(give(&mut answers, &[]), [] as [u64; 0]);
        assert!(answers.waiting.is_empty());
    }
}
