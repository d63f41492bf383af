//! The messages of a protocol as data: what each message id is to the protocol, how large the message may be, and how many
//! items it may hold.
//!
//! One [`Schema`] describes one version of one protocol and stands with that protocol ([`eth`](super::eth),
//! [`snap`](super::snap)). A protocol of the embedder's own has one too if its requests are to be matched with their
//! answers: a `static`, registered in the [`CapabilityTable`](super::p2p::CapabilityTable). It holds no session's state.

use core::fmt;

use super::DecodeError;
use super::rlp::{self, Bounds};
use crate::limits;

/// What a message is to its protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Opens the session, once in each direction. eth has one; in any other protocol it is passed on as an announcement.
    Status,
    /// Carries information and wants no answer.
    Announcement,
    /// Wants the answer with the given message id and the same request id.
    Request {
        /// The answer's message id.
        answer: u64,
    },
    /// Answers a request.
    Response,
    /// Reserved, removed or retired: a peer that sends it breaks the protocol.
    Forbidden,
}

/// What is checked of a message's items before its protocol or the embedder sees it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Items {
    /// Nothing: the payload may be anything.
    Any,
    /// All of them: they are well-formed, and no more than the bounds allow.
    Within(Bounds),
    /// All of them, as with [`Bounds::UNSOLICITED`]; and no list at the first or second level has more items than this.
    Lists(usize),
    /// Those of the outermost list, of which there are at most this many; what is in them is not looked at.
    Outermost(usize),
}

impl Items {
    /// Checks a payload; adds the number of items that were looked at to `looked_at`, whatever the result.
    ///
    /// # Errors
    /// If the items are malformed, or more than allowed.
    pub fn check(self, payload: &[u8], looked_at: &mut usize) -> Result<(), DecodeError> {
        match self {
            Self::Any => Ok(()),
            Self::Within(bounds) => rlp::check_counted(payload, bounds, looked_at).map(|_| ()),
            Self::Outermost(max) => rlp::shallow_list(payload)?.count_within(max, looked_at),
            Self::Lists(max) => {
                let mut outermost = rlp::shallow_list(payload)?;
                rlp::check_counted(payload, Bounds::UNSOLICITED, looked_at)?;
                outermost.count_within(max, looked_at)?;
                while !outermost.is_empty() {
                    if let Ok(list) = rlp::shallow_list(outermost.raw()?) {
                        list.count_within(max, looked_at)?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// One message of a protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message {
    role: Role,
    bytes_max: usize,
    items: Items,
}

impl Message {
    /// A message with the given role whose uncompressed payload has at most `bytes_max` bytes. The items of requests are
    /// bounded by [`Bounds::UNSOLICITED`], those of responses by [`Bounds::MESSAGE`]; those of others are not checked.
    pub const fn new(role: Role, bytes_max: usize) -> Self {
        let items = match role {
            Role::Request { .. } => Items::Within(Bounds::UNSOLICITED),
            Role::Response => Items::Within(Bounds::MESSAGE),
            Role::Status | Role::Announcement | Role::Forbidden => Items::Any,
        };
        Self { role, bytes_max, items }
    }

    /// The message with another check of its items.
    #[must_use]
    pub const fn with_items(self, items: Items) -> Self {
        Self { items, ..self }
    }
}

/// The messages of one version of a protocol, by message id.
///
/// Requests and responses begin with a request id: `[request-id, ..]`, as in eth and snap.
///
/// ```
/// use peerless::wire::p2p::{Capability, CapabilityTable};
/// use peerless::wire::schema::{Message, Role, Schema};
///
/// static ECHO: Schema = Schema::new(&[
///     Message::new(Role::Request { answer: 1 }, 1024), // 0: Call
///     Message::new(Role::Response, 1024),              // 1: Echo
///     Message::new(Role::Announcement, 64),            // 2: Hint
/// ]);
///
/// let echo = Capability::new("echo", 1)?;
/// let mut table = CapabilityTable::default();
/// table.register_schema(echo, &ECHO);
/// assert_eq!(table.length(echo), Some(3));
/// # Ok::<(), peerless::wire::DecodeError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Schema {
    messages: &'static [Message],
}

impl Schema {
    /// A schema whose message ids are the indices of `messages`.
    ///
    /// # Panics
    /// If a request's answer is not a response of the schema, a message is larger than a frame can be, or there are more
    /// than 65,535 messages. In a `static` that is an error of the compiler.
    pub const fn new(messages: &'static [Message]) -> Self {
        assert!(messages.len() <= u16::MAX as usize, "a schema has at most 65,535 messages");
        let mut id = 0;
        while id < messages.len() {
            assert!(messages[id].bytes_max <= limits::MESSAGE_BYTES_MAX, "no message is larger than a frame");
            if let Role::Request { answer } = messages[id].role {
                assert!(answer < messages.len() as u64, "a request's answer is a message of the schema");
                assert!(matches!(messages[answer as usize].role, Role::Response), "a request's answer is a response");
            }
            id += 1;
        }
        Self { messages }
    }

    /// The number of message ids that the version takes.
    #[allow(clippy::cast_possible_truncation)]
    pub const fn message_ids(&self) -> u16 {
        self.messages.len() as u16
    }

    /// What message `id` is; `None` beyond the last id.
    pub fn role(&self, id: u64) -> Option<Role> {
        Some(self.message(id)?.role)
    }

    /// Size of the largest uncompressed payload of message `id`; `None` beyond the last id.
    pub fn bytes_max(&self, id: u64) -> Option<usize> {
        Some(self.message(id)?.bytes_max)
    }

    /// What is checked of the items of message `id`; `None` beyond the last id.
    pub fn items(&self, id: u64) -> Option<Items> {
        Some(self.message(id)?.items)
    }

    /// Size of the largest uncompressed payload of any message.
    pub fn largest_bytes(&self) -> usize {
        self.messages.iter().map(|message| message.bytes_max).max().unwrap_or(0)
    }

    /// Size of the largest uncompressed payload of any message that a peer may send without a request.
    pub fn largest_unsolicited_bytes(&self) -> usize {
        let is_unsolicited = |message: &&Message| !matches!(message.role, Role::Response | Role::Forbidden);
        self.messages.iter().filter(is_unsolicited).map(|message| message.bytes_max).max().unwrap_or(0)
    }

    fn message(&self, id: u64) -> Option<&Message> {
        self.messages.get(usize::try_from(id).ok()?)
    }
}

/// The number of messages: what they are is the protocol's business.
impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} messages)", self.messages.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_indices() {
        static SCHEMA: Schema = Schema::new(&[
            Message::new(Role::Request { answer: 2 }, 5),
            Message::new(Role::Forbidden, 7),
            Message::new(Role::Response, 6),
        ]);
        assert_eq!(SCHEMA.role(0), Some(Role::Request { answer: 2 }));
        assert_eq!((SCHEMA.role(1), SCHEMA.bytes_max(1)), (Some(Role::Forbidden), Some(7)));
        assert_eq!((SCHEMA.role(3), SCHEMA.bytes_max(u64::MAX)), (None, None));
        assert_eq!((SCHEMA.message_ids(), SCHEMA.largest_bytes(), SCHEMA.largest_unsolicited_bytes()), (3, 7, 5));
    }

    /// E6, F6: the work for a message is bounded whatever its items are.
    #[test]
    fn items_are_counted_up_to_their_bound() {
        let list = |items: &[u8]| {
            let mut list = rlp::RlpStream::new_list(1);
            list.append_raw(items, 1);
            list.out().to_vec()
        };
        let empty_lists = |count| list(&alloc::vec![0xc0; count]);
        let check = |items: Items, payload: &[u8]| {
            let mut looked_at = 0;
            (items.check(payload, &mut looked_at), looked_at)
        };
        let many = limits::UNSOLICITED_ITEMS_MAX;
        let too_many = Err(DecodeError::TooManyItems);
        assert_eq!(check(Items::Any, &[1, 2, 3]), (Ok(()), 0));
        let within = Items::Within(Bounds::UNSOLICITED);
        assert_eq!(check(within, &empty_lists(many - 1)), (Ok(()), many));
        assert_eq!(check(within, &empty_lists(1 << 20)), (too_many, many + 1));
        assert_eq!(check(Items::Outermost(9), &empty_lists(9)), (Ok(()), 9));
        assert_eq!(check(Items::Outermost(9), &empty_lists(1 << 20)), (too_many, 10));
        assert_eq!(check(Items::Outermost(9), &list(&empty_lists(1 << 20))), (Ok(()), 1), "not looked into");
        assert_eq!(check(Items::Lists(9), &list(&empty_lists(9))).0, Ok(()));
        assert_eq!(check(Items::Lists(9), &list(&empty_lists(10))).0, too_many);
        assert_eq!(check(Items::Lists(9), &list(&list(&empty_lists(10)))).0, Ok(()), "the third level");
        let (result, looked_at) = check(Items::Lists(9), &empty_lists(1 << 20));
        assert!(result == too_many && looked_at <= 2 * many);
        assert_eq!(check(Items::Lists(9), &[0x80]).0, Err(DecodeError::ExpectedList));
    }

    #[test]
    #[should_panic(expected = "a request's answer is a response")]
    fn a_request_is_answered_by_a_response() {
        let _ = Schema::new(&const { [Message::new(Role::Request { answer: 0 }, 5)] });
    }

    #[test]
    #[should_panic(expected = "a request's answer is a message")]
    fn a_request_is_answered_within_the_schema() {
        let _ = Schema::new(&const { [Message::new(Role::Request { answer: 1 }, 5)] });
    }
}
