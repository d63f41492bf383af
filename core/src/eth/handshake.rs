//! The exchange of Statuses that opens an eth session (`eth.md`, "Status (0x00)").
//!
//! A value that waits for one message. It keeps no deadline: the connection does.

use alloc::boxed::Box;

use super::Chain;
use crate::contract::{Fault, StatusRefusal};
use crate::wire::eth::{Status, role};
use crate::wire::schema::Role;

/// When our Status is sent, and what it holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Policy {
    /// Ours at once; theirs must be compatible with our chain.
    #[default]
    Announce,
    /// Theirs first; ours repeats it, so that a peer of any network accepts us and can be identified. Two nodes that mirror
    /// wait for each other until their time is up.
    Mirror,
}

/// The peer's Status is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use]
pub struct EthHandshake {
    version: u32,
    policy: Policy,
}

/// The result of the peer's first message.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub enum Verdict {
    /// The session is established.
    Accepted {
        /// The peer's Status.
        theirs: Box<Status>,
        /// Ours, if it is yet to be sent.
        reply: Option<Box<Status>>,
    },
    /// The peer is on another chain.
    Refused {
        /// The peer's Status.
        theirs: Box<Status>,
        /// What is wrong with it.
        why: StatusRefusal,
    },
    /// The peer broke the protocol.
    Fault(Fault),
}

impl EthHandshake {
    /// Begins in the negotiated `version` of eth. Returns our Status if it is to be sent now.
    pub fn start(version: u32, policy: Policy, chain: &Chain) -> (Self, Option<Status>) {
        let ours = match policy {
            Policy::Announce => Some(chain.status(version)),
            Policy::Mirror => None,
        };
        (Self { version, policy }, ours)
    }

    /// Judges the peer's first message of eth.
    pub fn handle_message(self, chain: &Chain, id: u64, payload: &[u8]) -> Verdict {
        if role(self.version, id) != Some(Role::Status) {
            return Verdict::Fault(Fault::StatusExpected);
        }
        let theirs = match Status::decode(self.version, payload) {
            Ok(theirs) => Box::new(theirs),
            Err(error) => return Verdict::Fault(Fault::Message(error)),
        };
        match self.policy {
            // Ours repeats theirs, so that it must be one that this session can carry.
            Policy::Mirror if theirs.version != self.version => {
                Verdict::Refused { why: StatusRefusal::Version(theirs.version), theirs }
            }
            Policy::Announce => match chain.judge(self.version, &theirs) {
                Ok(()) => Verdict::Accepted { theirs, reply: None },
                Err(why) => Verdict::Refused { theirs, why },
            },
            Policy::Mirror => Verdict::Accepted { reply: Some(theirs.clone()), theirs },
        }
    }
}
