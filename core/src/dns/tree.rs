//! One tree: its root, the walks through its entries, the records found, and what was wrong with it.

use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use super::Config;
use super::queries::{Visit, What};
use super::sample::Sample;
use super::walk::{Named, Walk};
use crate::contract::{Cx, QueryFault};
use crate::kad::Growth;
use crate::limits::{
    LIST_ENTRY_BYTES_MAX, LIST_FAILURES_MAX, LIST_LINK_ENTRIES_MAX, LIST_PAUSE, LIST_PAUSE_MAX, LIST_RECORDS_MAX,
    LIST_ROOT_INTERVAL, LIST_ROOT_INTERVAL_MIN, LIST_TREES_MAX, LIST_TXT_RECORDS_MAX,
};
use crate::rng::Rng;
use crate::time::{Duration, Instant};
use crate::wire::dns::{Entry, EntryHash, Link, Root};
use crate::wire::enr::Record;

/// What is wrong with a tree, or with the way to it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[non_exhaustive]
pub enum Defect {
    /// A query had no answer.
    NoAnswer(QueryFault),
    /// An answer without a text that is a root or has the entry's hash.
    NoEntry,
    /// An entry with another hash than that of its name.
    WrongHash,
    /// A root or an entry of the right hash that is malformed, or a text that is too long.
    Malformed,
    /// A root that the list's key has not signed.
    BadSignature,
    /// A root with a lower sequence number than the present one, or another root with the same.
    SeqRollback,
    /// A record below the links, or a link below the records.
    Misplaced,
    /// An entry that was named before: a cycle, or a subtree that stands twice.
    Repeated,
    /// An entry below too many branches.
    TooDeep,
    /// An entry or a record beyond the number that a tree may have.
    TooMany,
    /// A link beyond the number of trees that a list may have.
    TooManyLinks,
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoAnswer(fault) => return fault.fmt(f),
            Self::NoEntry => "no entry at its name",
            Self::WrongHash => "an entry does not have the hash of its name",
            Self::Malformed => "malformed entry",
            Self::BadSignature => "the root is not signed by the list's key",
            Self::SeqRollback => "the root's sequence number went back",
            Self::Misplaced => "a record among links, or a link among records",
            Self::Repeated => "an entry stands twice",
            Self::TooDeep => "an entry is below too many branches",
            Self::TooMany => "too many entries",
            Self::TooManyLinks => "too many links",
        })
    }
}

/// A tree and what is known of it.
pub struct Tree {
    link: Link,
    /// The list of the configuration that leads to it, by its position.
    list: usize,
    root: Option<Root>,
    /// When the root is looked at next, and `None` while that answer is open.
    root_due: Option<Instant>,
    /// The earliest time for that, by the time to live of the last answer.
    root_not_before: Instant,
    /// Looks at the root in a row that had no root.
    root_failures: u32,
    walks: u32,
    link_walk: Option<Walk>,
    node_walk: Option<Walk>,
    /// The links that the last complete walk has found, or the present one so far if there is none.
    links: Vec<Link>,
    found_links: Vec<Link>,
    links_changed: bool,
    sample: Sample,
    /// Whether a walk through the records of the present root was completed.
    is_walked: bool,
    /// Entries that failed or told something wrong since the root was looked at.
    failures: u32,
    /// Failed queries for entries in a row.
    failures_in_row: u32,
    /// No entry is asked for before this.
    paused_until: Instant,
    defects: BTreeMap<Defect, u64>,
    last_defect: Option<Defect>,
}

impl Tree {
    pub(super) fn new(now: Instant, link: Link, list: usize) -> Self {
        Self {
            link,
            list,
            root: None,
            root_due: Some(now),
            root_not_before: now,
            root_failures: 0,
            walks: 0,
            link_walk: None,
            node_walk: None,
            links: Vec::new(),
            found_links: Vec::new(),
            links_changed: false,
            sample: Sample::default(),
            is_walked: false,
            failures: 0,
            failures_in_row: 0,
            paused_until: now,
            defects: BTreeMap::new(),
            last_defect: None,
        }
    }

    /// Its address.
    pub const fn link(&self) -> &Link {
        &self.link
    }

    /// The list of the configuration that leads to it, by its position.
    pub const fn list(&self) -> usize {
        self.list
    }

    /// The root, once a valid one was seen.
    pub const fn root(&self) -> Option<&Root> {
        self.root.as_ref()
    }

    /// The lists that it links to.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// The kept records.
    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.sample.iter()
    }

    /// The number of kept records.
    pub fn records_kept(&self) -> usize {
        self.sample.len()
    }

    /// The number of records that the last walk has found so far, those included that are not kept.
    pub const fn records_found(&self) -> u64 {
        self.sample.found()
    }

    /// Whether every entry of the present root was fetched or given up.
    pub const fn is_walked(&self) -> bool {
        self.is_walked
    }

    /// The number of entries of the present walks that are still to be fetched, as far as they are known.
    pub fn entries_left(&self) -> usize {
        self.walks().map(Walk::left).sum()
    }

    /// The number of entries that the last walks gave up.
    pub fn entries_given_up(&self) -> u64 {
        self.walks().map(|walk| u64::from(walk.given_up)).sum()
    }

    /// What was wrong, with the number of times.
    pub fn defects(&self) -> impl Iterator<Item = (Defect, u64)> {
        self.defects.iter().map(|(defect, count)| (*defect, *count))
    }

    /// What was wrong last.
    pub const fn last_defect(&self) -> Option<Defect> {
        self.last_defect
    }

    /// The entries that its walks remember.
    pub(super) fn remembered(&self) -> usize {
        self.walks().map(Walk::named).sum()
    }

    fn walks(&self) -> impl Iterator<Item = &Walk> {
        self.link_walk.iter().chain(&self.node_walk)
    }

    pub(super) const fn assign(&mut self, list: usize) {
        self.list = list;
    }

    pub(super) const fn take_links_changed(&mut self) -> bool {
        core::mem::replace(&mut self.links_changed, false)
    }

    pub(super) fn note(&mut self, defect: Defect) {
        *self.defects.entry(defect).or_default() += 1;
        self.last_defect = Some(defect);
    }

    pub(super) fn draw(&self, rng: &mut Rng) -> Option<&Record> {
        self.sample.draw(rng)
    }

    // What is asked

    /// When it has something to ask.
    pub(super) fn next_query(&self) -> Option<Instant> {
        let entry = self.next_walk().map(|_| self.paused_until);
        self.root_due.into_iter().chain(entry).min()
    }

    /// The walk that goes on now. The links come first: they are few.
    fn next_walk(&self) -> Option<&Walk> {
        let links = self.link_walk.as_ref().filter(|walk| !walk.is_done());
        let next = links.or(self.node_walk.as_ref()).filter(|walk| walk.has_next());
        // After a failure, one at a time.
        next.filter(|walk| self.failures_in_row == 0 || !walk.has_open())
    }

    /// Takes what to ask for now.
    pub(super) fn take_query(&mut self, now: Instant, rng: &mut Rng) -> Option<What> {
        if self.root_due.take_if(|due| *due <= now).is_some() {
            return Some(What::Root);
        }
        if self.paused_until > now {
            return None;
        }
        if let Some(walk) = self.link_walk.as_mut().filter(|walk| !walk.is_done()) {
            return walk.take(rng).map(|entry| What::Link(Visit { walk: walk.number, entry }));
        }
        let walk = self.node_walk.as_mut()?;
        walk.take(rng).map(|entry| What::Node(Visit { walk: walk.number, entry }))
    }

    /// The name to ask for.
    pub(super) fn name_of(&self, what: &What) -> String {
        match what {
            What::Root => self.link.domain.to_string(),
            What::Link(visit) | What::Node(visit) => self.link.domain.subdomain(&visit.entry.hash),
        }
    }

    // What is answered

    /// Handles the result of a query: texts with their time to live. `budget` is the number of entries that may still be named.
    pub(super) fn conclude(
        &mut self,
        cx: &mut Cx<'_>,
        config: &Config,
        what: What,
        result: Result<(&[&[u8]], Duration), QueryFault>,
        budget: usize,
    ) -> Growth {
        match what {
            What::Root => {
                self.conclude_root(cx, config, result);
                Growth::None
            }
            What::Link(visit) => {
                let Some(mut walk) = self.link_walk.take_if(|walk| walk.number == visit.walk) else {
                    return Growth::None;
                };
                let left = LIST_LINK_ENTRIES_MAX.saturating_sub(walk.named()).min(budget);
                if let Some(Entry::Link(link)) = self.visit(cx, &mut walk, visit, result, left, true) {
                    self.on_link(link);
                }
                if walk.is_done() {
                    self.links_changed |= self.links != self.found_links;
                    self.links = core::mem::take(&mut self.found_links);
                }
                self.link_walk = Some(walk);
                Growth::None
            }
            What::Node(visit) => {
                let Some(mut walk) = self.node_walk.take_if(|walk| walk.number == visit.walk) else {
                    return Growth::None;
                };
                let mut growth = Growth::None;
                if let Some(Entry::Record(record)) = self.visit(cx, &mut walk, visit, result, budget, false) {
                    growth = self.on_record(cx, config, record);
                }
                if walk.is_done() {
                    self.sample.end();
                    self.is_walked = true;
                }
                self.node_walk = Some(walk);
                growth
            }
        }
    }

    fn on_link(&mut self, link: Link) {
        if self.found_links.len() >= LIST_TREES_MAX {
            self.note(Defect::TooManyLinks);
        } else if !self.found_links.contains(&link) {
            self.found_links.push(link);
        }
    }

    fn on_record(&mut self, cx: &mut Cx<'_>, config: &Config, record: Record) -> Growth {
        if self.sample.found() >= LIST_RECORDS_MAX.into() {
            self.note(Defect::TooMany);
            return Growth::None;
        }
        let growth = if record.contact().is_some() { Growth::Grew } else { Growth::None };
        self.sample.add(cx.rng, record, config.records_kept);
        growth
    }

    /// Notes an entry's answer in its walk. Returns the entry if it is a leaf of the right kind.
    fn visit(
        &mut self,
        cx: &Cx<'_>,
        walk: &mut Walk,
        visit: Visit,
        result: Result<(&[&[u8]], Duration), QueryFault>,
        mut budget: usize,
        is_link: bool,
    ) -> Option<Entry> {
        let texts = match result {
            Ok((texts, _)) => texts,
            Err(fault) => {
                walk.failed(visit.entry);
                self.pause(cx.now);
                self.fail(cx.now, Defect::NoAnswer(fault));
                return None;
            }
        };
        self.failures_in_row = 0;
        let entry = match read_entry(cx, &visit.entry.hash, texts) {
            Ok(entry) => entry,
            Err(defect) => {
                walk.refused();
                self.fail(cx.now, defect);
                return None;
            }
        };
        match &entry {
            Entry::Branch(children) => {
                for child in children {
                    let named = walk.name(*child, visit.entry.depth.saturating_add(1), budget);
                    match named {
                        Named::New => budget -= 1,
                        Named::Again => self.note(Defect::Repeated),
                        Named::TooDeep => self.note(Defect::TooDeep),
                        Named::TooMany => self.note(Defect::TooMany),
                    }
                }
            }
            Entry::Link(_) if !is_link => self.note(Defect::Misplaced),
            Entry::Record(_) if is_link => self.note(Defect::Misplaced),
            Entry::Link(_) | Entry::Record(_) => {
                walk.fetched();
                return Some(entry);
            }
        }
        walk.fetched();
        None
    }

    /// Pauses the walks after a failed query: a resolver that is away, or a domain that is gone, is not asked for every entry.
    fn pause(&mut self, now: Instant) {
        if self.paused_until > now {
            return;
        }
        let pause = LIST_PAUSE.saturating_mul(1 << self.failures_in_row.min(10)).min(LIST_PAUSE_MAX);
        self.failures_in_row = self.failures_in_row.saturating_add(1);
        self.paused_until = now + pause;
    }

    /// Notes an entry that failed. After several, the root is looked at earlier: the tree has probably changed.
    fn fail(&mut self, now: Instant, defect: Defect) {
        self.note(defect);
        self.failures = self.failures.saturating_add(1);
        if self.failures == LIST_FAILURES_MAX
            && let Some(due) = &mut self.root_due
        {
            *due = (*due).min(self.root_not_before.max(now));
        }
    }

    fn conclude_root(&mut self, cx: &Cx<'_>, config: &Config, result: Result<(&[&[u8]], Duration), QueryFault>) {
        self.failures = 0;
        let read = match result {
            Ok((texts, ttl)) => read_root(cx, &self.link, texts).map(|root| (root, ttl)),
            Err(fault) => Err(Defect::NoAnswer(fault)),
        };
        let interval = config.root_interval.max(LIST_ROOT_INTERVAL_MIN);
        let accepted = read.and_then(|(root, ttl)| self.accept_root(root).map(|()| ttl));
        let wait = match accepted {
            Ok(ttl) => {
                self.root_failures = 0;
                self.root_not_before = cx.now + ttl.clamp(LIST_ROOT_INTERVAL_MIN, LIST_ROOT_INTERVAL);
                interval
            }
            Err(defect) => {
                self.note(defect);
                let first = match defect {
                    // The network may be away for a moment.
                    Defect::NoAnswer(QueryFault::TimedOut | QueryFault::Failed) => LIST_PAUSE,
                    _ => LIST_ROOT_INTERVAL_MIN,
                };
                let wait = first.saturating_mul(1 << self.root_failures.min(10)).min(interval);
                self.root_failures = self.root_failures.saturating_add(1);
                self.root_not_before = cx.now + wait;
                wait
            }
        };
        self.root_due = Some(cx.now + wait);
    }

    /// Takes a signed root over, and begins the walks that it makes necessary.
    fn accept_root(&mut self, root: Root) -> Result<(), Defect> {
        if let Some(old) = &self.root {
            let is_same = (old.nodes, old.links, old.seq) == (root.nodes, root.links, root.seq);
            if root.seq < old.seq || (root.seq == old.seq && !is_same) {
                return Err(Defect::SeqRollback);
            }
        }
        let is_other = |walk: &Option<Walk>, top| walk.as_ref().is_none_or(|walk| walk.top != top);
        let is_incomplete = |walk: &Option<Walk>| walk.as_ref().is_some_and(|walk| walk.is_done() && walk.given_up > 0);
        if is_other(&self.link_walk, root.links) || is_incomplete(&self.link_walk) {
            self.found_links = Vec::new();
            self.link_walk = Some(self.begin_walk(root.links));
        }
        // The sample of a tree that is larger than it is drawn anew.
        let is_partial = self.is_walked && self.sample.found() > self.sample.len() as u64;
        if is_other(&self.node_walk, root.nodes) || is_incomplete(&self.node_walk) || is_partial {
            self.sample.begin();
            self.is_walked = false;
            self.node_walk = Some(self.begin_walk(root.nodes));
        }
        self.root = Some(root);
        Ok(())
    }

    fn begin_walk(&mut self, top: EntryHash) -> Walk {
        self.walks = self.walks.wrapping_add(1);
        (self.failures_in_row, self.paused_until) = (0, Instant::ZERO);
        Walk::new(self.walks, top)
    }
}

/// The root among the texts of a domain.
fn read_root(cx: &Cx<'_>, link: &Link, texts: &[&[u8]]) -> Result<Root, Defect> {
    let mut found = Defect::NoEntry;
    for text in texts.iter().take(LIST_TXT_RECORDS_MAX) {
        let Some(text) = core::str::from_utf8(text).ok().filter(|text| Root::is_root(text)) else { continue };
        match text.parse::<Root>() {
            Err(_) => found = Defect::Malformed,
            Ok(root) if !root.is_signed_by(cx.crypto, &link.key) => found = Defect::BadSignature,
            Ok(root) => return Ok(root),
        }
    }
    Err(found)
}

/// The entry with that hash among the texts of its name.
fn read_entry(cx: &Cx<'_>, hash: &EntryHash, texts: &[&[u8]]) -> Result<Entry, Defect> {
    let mut found = Defect::NoEntry;
    for text in texts.iter().take(LIST_TXT_RECORDS_MAX) {
        if text.len() > LIST_ENTRY_BYTES_MAX {
            found = Defect::Malformed;
        } else if hash.matches(text) {
            let text = core::str::from_utf8(text).map_err(|_| Defect::Malformed)?;
            return Entry::parse(cx.crypto, text).map_err(|_| Defect::Malformed);
        } else if text.starts_with(b"enr") {
            found = Defect::WrongHash;
        }
    }
    Err(found)
}

/// Omits the entries.
impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Tree");
        debug.field("link", &self.link).field("seq", &self.root.as_ref().map(|root| root.seq));
        debug.field("records", &self.sample.len()).field("found", &self.sample.found());
        debug.field("defects", &self.defects).finish_non_exhaustive()
    }
}
