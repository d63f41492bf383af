//! Node lists in DNS (EIP-1459), read: asks the driver for TXT records, verifies them, and keeps a sample of the node records.
//!
//! [`Dns`] reads the [lists](Config::lists) of its configuration and those that they link to. Each list is a signed tree
//! ([`wire::dns`](crate::wire::dns)), which is walked in random order. This file has the interface and the schedule; `tree` owns
//! one tree, `walk` one walk through its entries, `sample` the kept records, `queries` what is asked and how fast. [`Reader`] is
//! the machine alone under a driver.
//!
//! It trusts a list's signer with the choice of the records, and nothing else: roots never go back, hashes are verified, and
//! what a tree may cost in queries, memory and time is bounded (attack D19). Every list gets the same share of the queries and of
//! the candidates, whatever it links to.

mod queries;
mod reader;
mod sample;
#[cfg(test)]
mod tests;
mod tree;
mod walk;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;

use crate::contract::{Answer, Cx, DiscoveryTimer, Query, QueryFault, QueryId};
use crate::kad::{Candidate, Growth};
use crate::limits;
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::dns::Link;
use crate::wire::enr::Record;

use queries::{Queries, What};
pub use reader::Reader;
pub use tree::{Defect, Tree};

/// The settings, with geth's values as defaults.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Config {
    /// The lists to read; those beyond [`LISTS_MAX`](limits::LISTS_MAX) are not.
    pub lists: Vec<Link>,
    /// The queries in a second; at least 1.
    pub queries_per_second: u32,
    /// The queries at once after a pause; at least 1.
    pub queries_burst: u32,
    /// The time between two looks at a list's root; at least [`LIST_ROOT_INTERVAL_MIN`](limits::LIST_ROOT_INTERVAL_MIN).
    pub root_interval: Duration,
    /// The records kept of each tree.
    pub records_kept: usize,
    /// Whether the lists that a list links to are read as well.
    pub follows_links: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            lists: Vec::new(),
            queries_per_second: limits::LIST_QUERIES_PER_SECOND,
            queries_burst: limits::LIST_QUERIES_BURST,
            root_interval: limits::LIST_ROOT_INTERVAL,
            records_kept: limits::LIST_RECORDS_KEPT,
            follows_links: true,
        }
    }
}

impl Config {
    /// The default settings for these lists.
    pub fn new(lists: Vec<Link>) -> Self {
        Self { lists, ..Self::default() }
    }
}

/// The id of a tree within a machine. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TreeId(u32);

/// The machine that reads node lists.
pub struct Dns {
    config: Config,
    trees: BTreeMap<TreeId, Tree>,
    trees_made: u32,
    queries: Queries,
    is_closed: bool,
    /// No deadline is reported before this: a microsecond after the last turn.
    not_before: Instant,
}

impl Dns {
    /// Creates a machine whose first timeout is due at once.
    pub fn new(cx: &Cx<'_>, mut config: Config) -> Self {
        let mut known = BTreeSet::new();
        config.lists.retain(|link| known.insert(link.clone()));
        config.lists.truncate(limits::LISTS_MAX);
        let queries = Queries::new(cx.now, config.queries_per_second, config.queries_burst);
        let mut dns =
            Self { trees: BTreeMap::new(), trees_made: 0, queries, is_closed: false, not_before: cx.now, config };
        for (list, link) in dns.config.lists.clone().into_iter().enumerate() {
            dns.add_tree(cx.now, link, list);
        }
        dns
    }

    /// The next deadline. Strictly later than the last call; `None` after [`Dns::shutdown`] and without lists.
    pub fn poll_timeout(&self) -> Option<(Instant, DiscoveryTimer)> {
        if self.is_closed {
            return None;
        }
        let due = self.trees.values().filter_map(|tree| tree.next_query()).min();
        let due = due.filter(|_| self.queries.has_room()).map(|due| due.max(self.queries.next_free()));
        let at = due.into_iter().chain(self.queries.next_end()).min()?;
        Some((at.max(self.not_before), DiscoveryTimer::List))
    }

    /// Handles the deadlines that have passed: gives up queries, and makes further ones.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Growth {
        self.not_before = cx.now + Duration::from_micros(1);
        while let Some((_, tree, what)) = self.queries.pop_expired(cx.now) {
            let _ = self.conclude(cx, tree, what, Err(QueryFault::TimedOut));
        }
        self.advance(cx);
        Growth::None
    }

    /// Handles an answer. Ignores one to a query that is not open. `Grew` if it brought a record that has an address.
    pub fn handle_answer(&mut self, cx: &mut Cx<'_>, id: QueryId, result: Result<Answer<'_>, QueryFault>) -> Growth {
        self.not_before = cx.now + Duration::from_micros(1);
        let Some((tree, what)) = self.queries.take(id) else { return Growth::None };
        let growth = self.conclude(cx, tree, what, result);
        self.advance(cx);
        growth
    }

    /// At most `max` nodes to dial: of lists drawn uniformly, of their trees uniformly, of these records uniformly. No node twice.
    /// Nodes without a TCP endpoint are left out. The lists' word is the only proof of their endpoints.
    pub fn candidates(&self, rng: &mut Rng, max: usize) -> Vec<Candidate> {
        let is_dialable = |record: &Record| record.contact().is_some_and(|contact| contact.tcp() != 0);
        let records = self.draw(rng, max, is_dialable);
        let candidate = |record: &Record| Some(Candidate { contact: record.contact()?, fork_id: record.fork_id() });
        records.into_iter().filter_map(candidate).collect()
    }

    /// At most `max` records that discovery can start from, drawn as [`Dns::candidates`] are: with an address and a UDP port.
    pub fn seeds(&self, rng: &mut Rng, max: usize) -> Vec<&Record> {
        self.draw(rng, max, |record| record.contact().is_some_and(|contact| contact.udp() != 0))
    }

    /// All trees: those of the configuration in its order, then those that they link to.
    pub fn trees(&self) -> impl ExactSizeIterator<Item = (TreeId, &Tree)> {
        self.trees.iter().map(|(id, tree)| (*id, tree))
    }

    /// A tree.
    pub fn tree(&self, id: TreeId) -> Option<&Tree> {
        self.trees.get(&id)
    }

    /// The settings.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// The number of queries that are not answered yet.
    pub fn open_queries(&self) -> usize {
        self.queries.len()
    }

    /// Ends the machine: no deadline is due, and answers are ignored.
    pub fn shutdown(&mut self) {
        self.is_closed = true;
        self.queries.clear();
    }

    fn draw(&self, rng: &mut Rng, max: usize, is_usable: impl Fn(&Record) -> bool) -> Vec<&Record> {
        let of = |list| self.trees.values().filter(move |tree| tree.list() == list && tree.records_kept() > 0);
        let lists: Vec<usize> = (0..self.config.lists.len()).filter(|list| of(*list).next().is_some()).collect();
        let (mut drawn, mut keys) = (Vec::new(), BTreeSet::new());
        // Some draws repeat a node, or meet one that is not usable.
        for _ in 0..4 * max {
            if drawn.len() == max {
                break;
            }
            let Some(list) = rng.choose(&lists) else { break };
            let trees: Vec<&Tree> = of(*list).collect();
            let Some(record) = rng.choose(&trees).and_then(|tree| tree.draw(rng)) else { continue };
            if is_usable(record) && keys.insert(*record.key()) {
                drawn.push(record);
            }
        }
        drawn
    }

    /// Makes queries while there is something to ask and the rate permits: each for a list drawn uniformly from those with
    /// something to ask, and one of its trees likewise.
    fn advance(&mut self, cx: &mut Cx<'_>) {
        while !self.is_closed && self.queries.has_room() && self.queries.next_free() <= cx.now && !cx.out.is_full() {
            let is_due = |tree: &Tree| tree.next_query().is_some_and(|due| due <= cx.now);
            let due: Vec<(usize, TreeId)> =
                self.trees.iter().filter(|(_, tree)| is_due(tree)).map(|(id, tree)| (tree.list(), *id)).collect();
            let lists: BTreeSet<usize> = due.iter().map(|(list, _)| *list).collect();
            let lists: Vec<usize> = lists.into_iter().collect();
            let Some(list) = cx.rng.choose(&lists) else { return };
            let ids: Vec<TreeId> = due.iter().filter(|(of, _)| of == list).map(|(_, id)| *id).collect();
            let Some(id) = cx.rng.choose(&ids).copied() else { return };
            let Some(tree) = self.trees.get_mut(&id) else { return };
            let Some(what) = tree.take_query(cx.now, cx.rng) else { return };
            let name = tree.name_of(&what);
            let query = cx.query(Query::Txt(&name));
            self.queries.start(cx.now, query, id, what);
        }
        if cx.out.is_full() {
            // The driver does not drain: there is nothing to hurry for.
            self.queries.wait_until(cx.now + limits::LIST_PAUSE);
        }
    }

    /// Hands a query's result to its tree.
    fn conclude(&mut self, cx: &mut Cx<'_>, id: TreeId, what: What, result: Result<Answer<'_>, QueryFault>) -> Growth {
        let remembered: usize = match self.trees.get(&id) {
            None => return Growth::None,
            Some(tree) => self.trees.values().filter(|other| other.list() == tree.list()).map(Tree::remembered).sum(),
        };
        let Some(tree) = self.trees.get_mut(&id) else { return Growth::None };
        let budget = limits::LIST_ENTRIES_MAX.saturating_sub(remembered);
        let outcome = match result {
            Ok(Answer::Txt { records, ttl }) => Ok((records, ttl)),
            Ok(Answer::Hosts { .. }) => Err(QueryFault::Failed),
            Err(fault) => Err(fault),
        };
        let growth = tree.conclude(cx, &self.config, what, outcome, budget);
        if tree.take_links_changed() && self.config.follows_links {
            self.follow_links(cx.now);
        }
        growth
    }

    /// Adds the trees that are linked to and missing, assigns each to the first list that leads to it, and drops those to which
    /// no list leads any more.
    fn follow_links(&mut self, now: Instant) {
        let mut reached: BTreeSet<TreeId> = BTreeSet::new();
        for list in 0..self.config.lists.len() {
            let mut open: Vec<TreeId> = Vec::from([TreeId(list as u32)]);
            let mut count = 1;
            while let Some(id) = open.pop() {
                if !reached.insert(id) {
                    continue;
                }
                let Some(tree) = self.trees.get_mut(&id) else { continue };
                tree.assign(list);
                for link in tree.links().to_vec() {
                    let existing = self.trees.iter().find(|(_, tree)| *tree.link() == link).map(|(id, _)| *id);
                    if existing.is_some_and(|id| reached.contains(&id) || open.contains(&id)) {
                        continue;
                    }
                    if count == limits::LIST_TREES_MAX {
                        if let Some(tree) = self.trees.get_mut(&id) {
                            tree.note(Defect::TooManyLinks);
                        }
                        break;
                    }
                    // A list of the configuration is its own.
                    let target = match existing {
                        Some(TreeId(own)) if (own as usize) < self.config.lists.len() => continue,
                        Some(target) => target,
                        None => self.add_tree(now, link, list),
                    };
                    count += 1;
                    open.push(target);
                }
            }
        }
        self.trees.retain(|id, _| reached.contains(id));
    }

    fn add_tree(&mut self, now: Instant, link: Link, list: usize) -> TreeId {
        let id = TreeId(self.trees_made);
        self.trees_made += 1;
        self.trees.insert(id, Tree::new(now, link, list));
        id
    }
}

/// Omits the trees' entries.
impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Dns");
        debug.field("trees", &self.trees.values()).field("open_queries", &self.queries.len()).finish_non_exhaustive()
    }
}
