//! What a crawl has found, by node, and the node lists that follow from it.
//!
//! Scores are those of geth's node sets: one more for each crawl in which a node answers, half of it for each in which it does not;
//! at zero it leaves the list.

use std::collections::BTreeSet;
use std::time::Duration;

use peerless::contract::Via;
use peerless::crypto::Secp256k1;
use peerless::wire::enode::{Contact, Enode, EnodeAddr, Host};
use peerless::wire::enr::Record;
use peerless_crawl::Known;

use super::dials::Identified;
use super::journal::Fact;
use crate::nodeset::{Node, NodeSet, Time};
use crate::target::Target;

/// What is known of one node.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// Its key and endpoint.
    pub(super) contact: Contact,
    /// The sequence number of its record, and the record.
    record: Option<(u64, Box<[u8]>)>,
    /// By discv4 and discv5: whether it was asked.
    is_asked: [bool; 2],
    /// The round-trip times of its answers.
    rtts: [Option<Duration>; 2],
    /// UNIX time of the last visit.
    at: u64,
    /// The nodes that it named, by number.
    pub(super) neighbours: BTreeSet<u32>,
    /// What it said when it was dialled.
    pub(super) identified: Option<Box<Identified>>,
}

impl Seen {
    /// Whether it has answered.
    pub(super) fn is_live(&self) -> bool {
        self.rtts.iter().any(Option::is_some)
    }

    /// Whether it has answered one protocol.
    pub(super) fn has_answered(&self, via: Via) -> bool {
        self.rtts[index_of(via)].is_some()
    }

    /// Whether it was asked by any protocol.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked.contains(&true)
    }

    /// Its record, if one is known.
    pub(super) fn record(&self) -> Option<Record> {
        let (_, raw) = self.record.as_ref()?;
        Record::decode(&Secp256k1::new(), raw).ok()
    }

    /// Its address for sessions: where its record says, if that is where it answers.
    pub(super) fn dialled(&self) -> Contact {
        let record = self.record().filter(|record| record.names(self.contact.udp_addr()));
        record.and_then(|record| record.contact()).unwrap_or(self.contact)
    }
}

/// All that a crawl has found.
#[derive(Clone, Debug)]
pub(super) struct Book {
    earlier: NodeSet,
    seen: Vec<Seen>,
}

const fn index_of(via: Via) -> usize {
    match via {
        Via::Discv4 => 0,
        Via::Discv5 => 1,
    }
}

impl Book {
    /// An empty book of a crawl that goes on from a list.
    pub(super) fn new(earlier: NodeSet) -> Self {
        Self { earlier, seen: Vec::new() }
    }

    /// Whether no node was found yet.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty()
    }

    /// The list of the crawl before.
    pub(super) fn earlier(&self) -> &NodeSet {
        &self.earlier
    }

    /// The nodes by number.
    pub(super) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Adds a fact. One about a node that was not found is passed over: a journal that was changed by hand may have such.
    pub(super) fn note(&mut self, fact: Fact) {
        let (Fact::Found { node, .. }
        | Fact::Record { node, .. }
        | Fact::Visited { node, .. }
        | Fact::Identified { node, .. }) = fact;
        if let Fact::Found { contact, .. } = fact
            && node as usize == self.seen.len()
        {
            self.seen.push(Seen {
                contact,
                record: None,
                is_asked: [false; 2],
                rtts: [None; 2],
                at: 0,
                neighbours: BTreeSet::new(),
                identified: None,
            });
            return;
        }
        let Some(seen) = self.seen.get_mut(node as usize) else { return };
        match fact {
            Fact::Found { contact, .. } => {
                // At another endpoint than the one where it was silent.
                seen.contact = contact;
                seen.is_asked = seen.rtts.map(|rtt| rtt.is_some());
            }
            Fact::Record { seq, record, .. } => seen.record = Some((seq, record.into())),
            Fact::Visited { via, at, rtt, neighbours, .. } => {
                seen.is_asked[index_of(via)] = true;
                seen.rtts[index_of(via)] = rtt;
                seen.at = seen.at.max(at);
                seen.neighbours.extend(neighbours);
            }
            Fact::Identified { identified, .. } => seen.identified = Some(identified),
        }
    }

    /// What a crawl that goes on needs.
    pub(super) fn known(&self) -> Vec<Known> {
        let known = |seen: &Seen| Known {
            contact: seen.contact,
            seq: seen.record.as_ref().map_or(0, |(seq, _)| *seq),
            is_asked: seen.is_asked,
        };
        self.seen.iter().map(known).collect()
    }

    /// The list after this crawl: the nodes of the list before it with their new scores, and those that have answered.
    pub(super) fn nodes(&self) -> NodeSet {
        let mut nodes: Vec<Node> = self.earlier.nodes().to_vec();
        let mut checked = NodeSet::default();
        for seen in self.seen.iter().filter(|seen| seen.is_asked()) {
            checked.add(self.node(seen));
        }
        for node in &mut nodes {
            if let Some(now) = checked.get(&node.id())
                && now.score.is_none()
            {
                // It was silent.
                node.score = node.score.map(|score| score / 2);
                node.last_check = now.last_check;
            }
        }
        let live = checked.into_nodes().into_iter().filter(|node| node.score.is_some());
        let set: NodeSet = nodes.into_iter().chain(live).collect();
        set.into_nodes().into_iter().filter(|node| node.score != Some(0)).collect()
    }

    /// A node that was asked; one that did not answer has no score.
    fn node(&self, seen: &Seen) -> Node {
        let target = match seen.record() {
            Some(record) => Target::Record(Box::new(record)),
            None => Target::Enode(enode(&seen.contact)),
        };
        let mut node = Node::new(target);
        let at = Time::from_unix(seen.at);
        node.last_check = at;
        if !seen.is_live() {
            return node;
        }
        if node.record().is_some_and(|record| !record.names(seen.contact.udp_addr())) {
            node.add_alias(enode(&seen.contact));
        }
        let before = self.earlier.get(&node.id()).and_then(|node| node.score).unwrap_or(0);
        (node.score, node.first_response, node.last_response) = (Some(before + 1), at, at);
        if let Some(identified) = &seen.identified {
            node.client = identified.hello.as_ref().map(|hello| hello.client.clone());
            node.fork_id = identified.fork_id().filter(|id| node.fork_id() != Some(*id));
            if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(identified) {
                node.other.extend(fields);
            }
        }
        node
    }
}

fn enode(contact: &Contact) -> Enode {
    let addr = EnodeAddr { host: Host::Ip(contact.ip()), tcp: contact.tcp(), udp: contact.udp() };
    Enode { key: contact.key(), addr: Some(addr) }
}
