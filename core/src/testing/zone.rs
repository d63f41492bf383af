//! The names that hosts of a network can resolve.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use super::{Host, Net};
use crate::contract::{Answer, Input, Machine, Query, QueryFault, QueryId};
use crate::time::{Duration, Instant};
use crate::wire::dns::{Domain, Tree};

/// What a query comes to.
pub(super) type Outcome = Result<(Vec<Vec<u8>>, Duration), QueryFault>;

/// The TXT records of names, and what was asked. Names that it does not hold are answered as not found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Zone {
    names: BTreeMap<String, Vec<Vec<u8>>>,
    faults: BTreeMap<String, Option<QueryFault>>,
    asked: Vec<(Instant, Host, String)>,
    /// The time to live of answers.
    pub ttl: Duration,
    /// Whether queries have no answer at all.
    pub is_silent: bool,
}

impl Default for Zone {
    /// Empty, with a time to live of five minutes.
    fn default() -> Self {
        let (names, faults) = (BTreeMap::new(), BTreeMap::new());
        Self { names, faults, asked: Vec::new(), ttl: Duration::from_secs(300), is_silent: false }
    }
}

impl Zone {
    /// Whether it holds no name.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.faults.is_empty()
    }

    /// Replaces the TXT records of a name.
    pub fn set(&mut self, name: &str, texts: &[&str]) {
        self.set_bytes(name, texts.iter().map(|text| text.as_bytes().to_vec()).collect());
    }

    /// As [`Zone::set`], with any bytes.
    pub fn set_bytes(&mut self, name: &str, texts: Vec<Vec<u8>>) {
        self.names.insert(name.to_ascii_lowercase(), texts);
    }

    /// Removes a name.
    pub fn remove(&mut self, name: &str) {
        self.names.remove(&name.to_ascii_lowercase());
    }

    /// Lets queries for a name fail from now on; `None`: they are never answered.
    pub fn fail(&mut self, name: &str, fault: Option<QueryFault>) {
        self.faults.insert(name.to_ascii_lowercase(), fault);
    }

    /// Sets the names of a node list.
    pub fn publish(&mut self, tree: &Tree, domain: &Domain) {
        for (name, text) in tree.names(domain) {
            self.names.insert(name.to_ascii_lowercase(), vec![text.into_bytes()]);
        }
    }

    /// All names with their texts.
    pub fn names(&self) -> impl Iterator<Item = (&str, &[Vec<u8>])> {
        self.names.iter().map(|(name, texts)| (&**name, &**texts))
    }

    /// What was asked, by which host and when.
    pub fn asked(&self) -> &[(Instant, Host, String)] {
        &self.asked
    }

    /// The answer to a query; `None` if there is none.
    pub(super) fn ask(&mut self, now: Instant, host: Host, query: Query<'_>) -> Option<Outcome> {
        self.asked.push((now, host, query.name().to_owned()));
        let Query::Txt(name) = query else { return Some(Err(QueryFault::NotFound)) };
        let name = name.to_ascii_lowercase();
        if self.is_silent {
            return None;
        }
        match self.faults.get(&name) {
            Some(Some(fault)) => Some(Err(*fault)),
            Some(None) => None,
            None => Some(self.names.get(&name).map(|texts| (texts.clone(), self.ttl)).ok_or(QueryFault::NotFound)),
        }
    }
}

impl<M: Machine> Net<M> {
    /// Hands a host the answer to a query.
    pub(super) fn answer_query(&mut self, host: Host, id: QueryId, outcome: Outcome) {
        match outcome {
            Ok((texts, ttl)) => {
                let records: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
                self.input(host, Input::Answer { id, result: Ok(Answer::Txt { records: &records, ttl }) });
            }
            Err(fault) => self.input(host, Input::Answer { id, result: Err(fault) }),
        }
    }
}
