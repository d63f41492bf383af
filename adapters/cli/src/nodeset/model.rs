//! A set of nodes: what all dialects of node lists say of a node, in one type.
//!
//! Nodes keep the order in which a file names them. Of a node that is named twice the entries are merged: see
//! [`Node::merge`].

use std::collections::BTreeMap;
use std::net::IpAddr;

use peerless::crypto::{NodeId, PublicKey};
use peerless::wire::enode::{Enode, EnodeAddr, Host};
use peerless::wire::enr::Record;
use peerless::wire::forkid::ForkId;
use serde_json::Value;

use super::time::Time;
use crate::enr;
use crate::target::Target;

/// What reth calls the kind of a peer; the later ones are more than the earlier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Kind {
    /// A peer like any found.
    Basic,
    /// A peer to stay connected to.
    Static,
    /// A peer beyond the limits.
    Trusted,
}

impl Kind {
    const NAMES: [(Self, &'static str); 3] =
        [(Self::Basic, "basic"), (Self::Static, "static"), (Self::Trusted, "trusted")];

    /// The name in reth's files.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Reads reth's name in any letter case.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(kind, _)| *kind)
    }
}

/// A node with what lists say of it. What a list does not say is `None`.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Its record, or its enode URL if no record is known.
    pub(crate) target: Target,
    /// An enode URL that was given beside the record and differs from what the record says.
    pub(crate) alias: Option<Enode>,
    /// A crawler's score: in geth's files one more for each check that was passed, half of it for each that was not.
    pub(crate) score: Option<i64>,
    /// The first answer.
    pub(crate) first_response: Option<Time>,
    /// The last answer.
    pub(crate) last_response: Option<Time>,
    /// The last check.
    pub(crate) last_check: Option<Time>,
    /// The kind of peer that a client made of it.
    pub(crate) kind: Option<Kind>,
    /// A client's opinion of it.
    pub(crate) reputation: Option<i32>,
    /// A fork id that was learnt otherwise than from its record.
    pub(crate) fork_id: Option<ForkId>,
    /// The name of its software.
    pub(crate) client: Option<String>,
    /// A crawler's visits, as polycli writes them.
    pub(crate) visits: Vec<Value>,
    /// Fields of NDJSON that have no meaning here.
    pub(crate) other: BTreeMap<String, Value>,
}

/// What an endpoint of a node is, with ports of 0 where it has none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Endpoint {
    pub(crate) ip: IpAddr,
    pub(crate) udp: u16,
    pub(crate) tcp: u16,
}

impl Node {
    /// A node of which nothing but its text is known.
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            alias: None,
            score: None,
            first_response: None,
            last_response: None,
            last_check: None,
            kind: None,
            reputation: None,
            fork_id: None,
            client: None,
            visits: Vec::new(),
            other: BTreeMap::new(),
        }
    }

    /// Its public key.
    pub(crate) fn key(&self) -> &PublicKey {
        match &self.target {
            Target::Enode(enode) => &enode.key,
            Target::Record(record) => record.key(),
        }
    }

    /// Its id.
    pub(crate) fn id(&self) -> NodeId {
        self.key().node_id()
    }

    /// Its record, if one is known.
    pub(crate) fn record(&self) -> Option<&Record> {
        match &self.target {
            Target::Enode(_) => None,
            Target::Record(record) => Some(record),
        }
    }

    /// Adds an enode URL to a node, unless it says what is known.
    pub(crate) fn add_alias(&mut self, enode: Enode) {
        if self.enode().as_ref() != Some(&enode) {
            self.alias = Some(enode);
        }
    }

    /// Its enode URL: the one that was given, or what its record says. `None` if the record has no address.
    pub(crate) fn enode(&self) -> Option<Enode> {
        match &self.target {
            Target::Enode(enode) => Some(enode.clone()),
            Target::Record(record) => self.alias.clone().or_else(|| {
                let (ip, udp, tcp) = record.endpoint()?;
                Some(Enode { key: *record.key(), addr: Some(EnodeAddr { host: Host::Ip(ip), tcp, udp }) })
            }),
        }
    }

    /// Its endpoints, IPv4 before IPv6. A host name is none.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        match &self.target {
            Target::Record(record) => {
                let port = |port: Option<u16>| port.unwrap_or(0);
                let v4 =
                    record.ip().map(|ip| Endpoint { ip: ip.into(), udp: port(record.udp()), tcp: port(record.tcp()) });
                let v6 = record.ip6().map(|ip| Endpoint {
                    ip: ip.into(),
                    udp: port(record.udp6()),
                    tcp: port(record.tcp6()),
                });
                v4.into_iter().chain(v6).collect()
            }
            Target::Enode(enode) => match &enode.addr {
                Some(EnodeAddr { host: Host::Ip(ip), tcp, udp }) => vec![Endpoint { ip: *ip, udp: *udp, tcp: *tcp }],
                _ => Vec::new(),
            },
        }
    }

    /// Its fork id: its record's, or else one that was learnt otherwise.
    pub(crate) fn fork_id(&self) -> Option<ForkId> {
        self.record().and_then(Record::fork_id).or(self.fork_id)
    }

    /// The name of its software: what was seen in a session, or else what its record says (EIP-7636).
    pub(crate) fn client(&self) -> Option<String> {
        self.client.clone().or_else(|| self.record().and_then(enr::client_name))
    }

    /// Takes over what a later list says of the same node.
    ///
    /// The record with the higher sequence number wins, and a record wins over an enode URL. The score is that of the later
    /// check, or the higher one. The first response is the earliest, the last response and check are the latest. The kind
    /// is the higher one, the reputation the lower one. Of all else the later list wins. Returns whether the two lists
    /// contradict each other: two records of one sequence number, or two enode URLs.
    pub(crate) fn merge(&mut self, later: Self) -> bool {
        let mut conflict = false;
        let mut alias = later.alias;
        match (&mut self.target, later.target) {
            (Target::Record(ours), Target::Record(theirs)) => {
                conflict = ours.seq() == theirs.seq() && ours != &theirs;
                if theirs.seq() >= ours.seq() {
                    *ours = theirs;
                }
            }
            (Target::Record(_), Target::Enode(enode)) => alias = Some(enode),
            (Target::Enode(ours), Target::Enode(theirs)) => {
                conflict = *ours != theirs;
                *ours = theirs;
            }
            (target @ Target::Enode(_), record @ Target::Record(_)) => {
                if let Target::Enode(enode) = std::mem::replace(target, record) {
                    alias = alias.or(Some(enode));
                }
            }
        }
        if let Some(enode) = alias {
            self.add_alias(enode);
        }
        let checked_later = later.last_check > self.last_check;
        self.score = match (self.score, later.score) {
            (Some(_), Some(theirs)) if checked_later => Some(theirs),
            (Some(ours), Some(_)) if later.last_check < self.last_check => Some(ours),
            (ours, theirs) => ours.max(theirs),
        };
        self.first_response = [self.first_response, later.first_response].into_iter().flatten().min();
        if later.last_response >= self.last_response || self.client.is_none() {
            self.client = later.client.or(self.client.take());
        }
        self.last_response = self.last_response.max(later.last_response);
        self.last_check = self.last_check.max(later.last_check);
        self.kind = self.kind.max(later.kind);
        self.reputation = [self.reputation, later.reputation].into_iter().flatten().min();
        self.fork_id = later.fork_id.or(self.fork_id);
        for visit in later.visits {
            if !self.visits.contains(&visit) {
                self.visits.push(visit);
            }
        }
        self.other.extend(later.other);
        conflict
    }
}

/// Nodes in the order in which they were added, each once.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeSet {
    nodes: Vec<Node>,
    index: BTreeMap<[u8; 32], usize>,
}

/// What became of an added node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Added {
    /// It is new.
    New,
    /// It was there, and the two agree.
    Merged,
    /// It was there, and the two contradict each other.
    Contradicted,
}

impl NodeSet {
    /// Adds a node, or merges it into the entry of the same id.
    pub(crate) fn add(&mut self, node: Node) -> Added {
        let id = node.id().0;
        let Some(at) = self.index.get(&id) else {
            self.index.insert(id, self.nodes.len());
            self.nodes.push(node);
            return Added::New;
        };
        if self.nodes[*at].merge(node) { Added::Contradicted } else { Added::Merged }
    }

    /// The nodes in order.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes in order.
    pub(crate) fn into_nodes(self) -> Vec<Node> {
        self.nodes
    }

    /// The node with this id.
    pub(crate) fn get(&self, id: &NodeId) -> Option<&Node> {
        self.index.get(&id.0).map(|at| &self.nodes[*at])
    }
}

impl FromIterator<Node> for NodeSet {
    fn from_iter<T: IntoIterator<Item = Node>>(nodes: T) -> Self {
        let mut set = Self::default();
        for node in nodes {
            set.add(node);
        }
        set
    }
}
