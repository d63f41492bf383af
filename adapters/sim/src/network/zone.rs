//! The names that hosts can resolve: TXT records that come after a delay, or not.

use std::collections::BTreeMap;

use peerless::contract::QueryFault;
use peerless::time::Duration;
use peerless::wire::dns::{Domain, Tree};

use crate::mix::Stream;

/// TXT records by name, the same for all hosts, and how queries for them go. While it holds no name, queries are unsupported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Zone {
    names: BTreeMap<String, Vec<Vec<u8>>>,
    /// The shortest and the longest time to an answer.
    pub delay: (Duration, Duration),
    /// The time to live of answers.
    pub ttl: Duration,
    /// Queries that are never answered, in millionths.
    pub lost_millionths: u32,
    /// Queries that fail, in millionths.
    pub failed_millionths: u32,
}

impl Default for Zone {
    /// Without names; 5 to 150 ms, and no failures.
    fn default() -> Self {
        Self {
            names: BTreeMap::new(),
            delay: (Duration::from_millis(5), Duration::from_millis(150)),
            ttl: Duration::from_secs(300),
            lost_millionths: 0,
            failed_millionths: 0,
        }
    }
}

impl Zone {
    /// Whether it holds no name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Replaces the TXT records of a name; without any, the name does not exist.
    pub fn set(&mut self, name: &str, texts: Vec<Vec<u8>>) {
        let name = name.to_ascii_lowercase();
        if texts.is_empty() {
            self.names.remove(&name)
        } else {
            self.names.insert(name, texts)
        };
    }

    /// Sets the names of a node list.
    pub fn publish(&mut self, tree: &Tree, domain: &Domain) {
        for (name, text) in tree.names(domain) {
            self.set(&name, vec![text.into_bytes()]);
        }
    }

    /// The TXT records of a name.
    pub(crate) fn txt(&self, name: &str) -> Result<&[Vec<u8>], QueryFault> {
        self.names.get(&name.to_ascii_lowercase()).map(|texts| &**texts).ok_or(QueryFault::NotFound)
    }

    /// How long a query takes, and whether it fails; `None` if it is never answered.
    pub(crate) fn fate(&self, stream: &mut Stream) -> Option<(Duration, Option<QueryFault>)> {
        let delay = stream.duration(self.delay.0, self.delay.1);
        if stream.happens(self.lost_millionths) {
            return None;
        }
        Some((delay, stream.happens(self.failed_millionths).then_some(QueryFault::Failed)))
    }
}
