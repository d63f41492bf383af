//! The words of a crawler: what it tells, and what it can be asked.

use std::borrow::Cow;
use std::fmt;

use peerless::contract::{Language, Via};
use peerless::time::Duration;
use peerless::wire::enode::Contact;

use crate::nodes::NodeNumber;

/// The language of a [`Crawler`](crate::Crawler).
#[derive(Debug)]
pub enum Crawl {}

/// How a node has met its visit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// It has answered.
    Answered {
        /// The time from the first request that it answered to the answer.
        rtt: Duration,
    },
    /// It has not answered any attempt.
    Silent,
}

/// What a crawler tells. Of each node the first event is [`CrawlEvent::Found`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CrawlEvent<'a> {
    /// A node was heard of for the first time, in which case its number is the next one, or at another endpoint than the silent
    /// one that was known.
    Found {
        /// Its number.
        node: NodeNumber,
        /// Its key and endpoint.
        contact: Contact,
    },
    /// A record was verified that is newer than the one known before.
    Record {
        /// The node.
        node: NodeNumber,
        /// The record's sequence number.
        seq: u64,
        /// The record's encoding.
        record: Cow<'a, [u8]>,
    },
    /// A node was asked to the end by one protocol.
    Visited {
        /// The node.
        node: NodeNumber,
        /// The protocol.
        via: Via,
        /// Whether it answered.
        outcome: Outcome,
        /// The nodes that it named, each once; empty unless the configuration asks for them.
        neighbours: Box<[NodeNumber]>,
    },
    /// Nothing is left to ask, or the crawl was stopped. Comes once.
    Done {
        /// Whether nothing is left to ask.
        is_complete: bool,
    },
}

/// What a crawler can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CrawlCommand {
    /// Ask one more node.
    Add {
        /// Its key and endpoint.
        contact: Contact,
    },
    /// Ask no more. Nodes that are being asked are told as if they had not been: the next run asks them again.
    Stop,
}

/// Why a command was not carried out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum CrawlRefused {
    /// The crawl is over.
    Done,
    /// The node is at an address that is not permitted, or without a port.
    Address,
    /// There is no room for the node.
    Full,
}

impl fmt::Display for CrawlRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Done => "the crawl is over",
            Self::Address => "the address is not permitted",
            Self::Full => "too many nodes",
        })
    }
}

impl std::error::Error for CrawlRefused {}

impl Language for Crawl {
    type Event<'a> = CrawlEvent<'a>;
    type Command<'a> = CrawlCommand;
    type Refused = CrawlRefused;

    fn lend<'a>(event: CrawlEvent<'static>, bytes: &'a [u8]) -> CrawlEvent<'a> {
        match event {
            CrawlEvent::Record { node, seq, .. } => CrawlEvent::Record { node, seq, record: bytes.into() },
            other => other,
        }
    }

    fn into_owned(event: CrawlEvent<'_>) -> CrawlEvent<'static> {
        match event {
            CrawlEvent::Found { node, contact } => CrawlEvent::Found { node, contact },
            CrawlEvent::Record { node, seq, record } => {
                CrawlEvent::Record { node, seq, record: Cow::Owned(record.into_owned()) }
            }
            CrawlEvent::Visited { node, via, outcome, neighbours } => {
                CrawlEvent::Visited { node, via, outcome, neighbours }
            }
            CrawlEvent::Done { is_complete } => CrawlEvent::Done { is_complete },
        }
    }

    fn is_droppable(_: &CrawlEvent<'_>) -> bool {
        false
    }
}
