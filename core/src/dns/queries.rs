//! What is asked of the driver: the open queries, and the rate of new ones.

use alloc::collections::BTreeMap;

use super::TreeId;
use super::walk::Pending;
use crate::contract::QueryId;
use crate::limits::{LIST_QUERIES_OPEN_MAX, LIST_QUERY_TIMEOUT};
use crate::time::{Duration, Instant};

/// What a query is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum What {
    /// The root.
    Root,
    /// An entry of the tree of links.
    Link(Visit),
    /// An entry of the tree of node records.
    Node(Visit),
}

/// An entry, and the walk that visits it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Visit {
    /// The number of the walk: a later walk does not want the answer.
    pub(super) walk: u32,
    pub(super) entry: Pending,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    tree: TreeId,
    what: What,
}

/// The open queries, and a bucket of tokens: one is taken for each query.
#[derive(Debug)]
pub(super) struct Queries {
    /// In the order of their ids, which is that of their ends.
    open: BTreeMap<QueryId, Open>,
    /// When the bucket would be as empty as it may get.
    empty_at: Instant,
    /// The time that one token takes to come.
    interval: Duration,
    /// The time in which the bucket fills, less one token.
    slack: Duration,
}

impl Queries {
    pub(super) fn new(now: Instant, per_second: u32, burst: u32) -> Self {
        let interval = Duration::from_secs(1) / per_second.max(1);
        let slack = interval.saturating_mul(burst.max(1) - 1);
        Self { open: BTreeMap::new(), empty_at: now, interval, slack }
    }

    /// The number of open queries.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether a further query may be open.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < LIST_QUERIES_OPEN_MAX
    }

    /// When the rate permits the next query.
    pub(super) fn next_free(&self) -> Instant {
        Instant::from_micros(self.empty_at.as_micros().saturating_sub(self.slack.as_micros() as u64))
    }

    /// Makes no query before an instant.
    pub(super) fn wait_until(&mut self, at: Instant) {
        self.empty_at = self.empty_at.max(at + self.slack);
    }

    /// Notes a query.
    pub(super) fn start(&mut self, now: Instant, id: QueryId, tree: TreeId, what: What) {
        self.empty_at = self.empty_at.max(now) + self.interval;
        self.open.insert(id, Open { until: now + LIST_QUERY_TIMEOUT, tree, what });
    }

    /// When the oldest query is given up.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.open.first_key_value().map(|(_, open)| open.until)
    }

    /// Gives up the oldest query, if it has waited long enough.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<(QueryId, TreeId, What)> {
        self.next_end().filter(|end| *end <= now)?;
        self.open.pop_first().map(|(id, Open { tree, what, .. })| (id, tree, what))
    }

    /// Takes the query of an answer.
    pub(super) fn take(&mut self, id: QueryId) -> Option<(TreeId, What)> {
        self.open.remove(&id).map(|Open { tree, what, .. }| (tree, what))
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.open.clear();
    }
}
