//! The rolling digest of a node's behaviour: its actions, its answers to commands, and the bytes written to streams.
//!
//! The digest covers an encoding of its own, so that it does not depend on the version of this code.

pub(super) mod event;

use peerless::contract::{Action, CommandId, ConnId, Query};
use twox_hash::XxHash3_64;

use super::codec::Encode;
use super::language::Recordable;

/// The number of actions since the last record, and the digest of all behaviour since the start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Behaviour {
    digest: u64,
    popped: u64,
    is_drained: bool,
    scratch: Vec<u8>,
}

/// The state of the digest at a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Checkpoint {
    /// Actions popped since the last checkpoint.
    pub popped: u64,
    /// Whether the driver then found no further action.
    pub is_drained: bool,
    /// The digest of the node's behaviour since its start.
    pub digest: u64,
}

impl Behaviour {
    /// Returns the checkpoint since the last call, and starts the next one.
    pub(crate) fn checkpoint(&mut self) -> Checkpoint {
        let Self { digest, popped, is_drained, .. } = self;
        Checkpoint { popped: std::mem::take(popped), is_drained: std::mem::take(is_drained), digest: *digest }
    }

    /// Notes that the driver found no further action.
    pub(crate) fn drained(&mut self) {
        self.is_drained = true;
    }

    /// Adds an action that was popped.
    pub(crate) fn action<L: Recordable>(&mut self, action: &Action<'_, L::Event<'_>>) {
        self.popped += 1;
        self.is_drained = false;
        let payload = self.absorb(|out| match action {
            Action::Send { socket, to, bytes } => {
                out.byte(1);
                out.byte(socket.0);
                out.addr(*to);
                Some(*bytes)
            }
            Action::Dial { conn, to } => {
                out.byte(2);
                out.count(conn.0);
                out.addr(*to);
                None
            }
            Action::Flush { conn } => {
                out.byte(3);
                out.count(conn.0);
                None
            }
            Action::Close { conn } => {
                out.byte(4);
                out.count(conn.0);
                None
            }
            Action::Query { id, what } => {
                out.byte(match what {
                    Query::Txt(_) => 9,
                    Query::Host(_) => 10,
                });
                out.count(id.0);
                Some(what.name().as_bytes())
            }
            Action::Emit(event) => {
                out.byte(8);
                L::encode_event(event, out)
            }
        });
        if let Some(payload) = payload {
            self.payload(payload);
        }
    }

    /// The answer to an incoming stream.
    pub(crate) fn accepted(&mut self, conn: Option<ConnId>) {
        self.absorb(|out| {
            out.byte(5);
            out.option(conn, |out, conn| out.count(conn.0));
        });
    }

    /// Adds the answer to a command.
    pub(crate) fn commanded<L: Recordable>(&mut self, answer: Result<CommandId, L::Refused>) {
        self.absorb(|out| {
            out.byte(6);
            match answer {
                Ok(id) => {
                    out.byte(0);
                    out.count(id.0);
                }
                Err(refused) => {
                    out.byte(1);
                    L::encode_refused(refused, out);
                }
            }
        });
    }

    /// Adds the bytes that a stream's socket took.
    pub(crate) fn wrote(&mut self, conn: ConnId, bytes: &[u8]) {
        self.absorb(|out| {
            out.byte(7);
            out.count(conn.0);
        });
        self.payload(bytes);
    }

    fn absorb<T>(&mut self, encode: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        self.scratch.clear();
        let result = encode(&mut self.scratch);
        self.digest = XxHash3_64::oneshot_with_seed(self.digest, &self.scratch);
        result
    }

    fn payload(&mut self, payload: &[u8]) {
        self.digest = XxHash3_64::oneshot_with_seed(self.digest, payload);
    }
}

#[cfg(test)]
mod tests {
    use peerless::contract::{CommandError, Devp2p, Refusal, SocketId};

    use super::*;

    #[test]
    fn different_behaviours_have_different_digests() {
        let to = "10.0.0.1:30303".parse().unwrap();
        let mut digests = Vec::new();
        let mut of = |work: &dyn Fn(&mut Behaviour)| {
            let mut behaviour = Behaviour::default();
            work(&mut behaviour);
            digests.push(behaviour.checkpoint().digest);
        };
        of(&|_| {});
        of(&|b| b.action::<Devp2p>(&Action::Send { socket: SocketId::MAIN, to, bytes: b"a" }));
        of(&|b| b.action::<Devp2p>(&Action::Send { socket: SocketId::MAIN, to, bytes: b"b" }));
        of(&|b| b.action::<Devp2p>(&Action::Flush { conn: ConnId(1) }));
        of(&|b| b.action::<Devp2p>(&Action::Close { conn: ConnId(1) }));
        of(&|b| b.accepted(None));
        of(&|b| b.accepted(Some(ConnId(1))));
        of(&|b| b.commanded::<Devp2p>(Ok(CommandId(1))));
        of(&|b| b.commanded::<Devp2p>(Err(CommandError::UnknownConn)));
        of(&|b| b.commanded::<Devp2p>(Err(CommandError::Refused(Refusal::TooManyPeers))));
        of(&|b| b.wrote(ConnId(1), b"a"));
        of(&|b| {
            b.wrote(ConnId(1), b"a");
            b.wrote(ConnId(1), b"");
        });
        let count = digests.len();
        digests.sort_unstable();
        digests.dedup();
        assert_eq!(digests.len(), count);
    }

    #[test]
    fn a_checkpoint_counts_actions_since_the_previous_one() {
        let mut behaviour = Behaviour::default();
        behaviour.action::<Devp2p>(&Action::Flush { conn: ConnId(1) });
        behaviour.drained();
        let first = behaviour.checkpoint();
        assert_eq!((first.popped, first.is_drained), (1, true));
        assert_eq!(behaviour.checkpoint(), Checkpoint { popped: 0, is_drained: false, digest: first.digest });
    }
}
