//! One iterative lookup (discv4, "Recursive Lookup"; discv5, "Node Lookup"): which node to ask next, and when it is over.
//!
//! It asks the nearest nodes that it was told of, [`limits::LOOKUP_PARALLEL`] at a time, until the nearest
//! [`limits::BUCKET_SIZE`] that did not fail have answered. Only nodes that answered are results. It sends nothing itself.

use alloc::vec::Vec;

use crate::contract::Prefetch;
use crate::crypto::NodeId;
use crate::limits;
use crate::wire::enode::Contact;

// There is always a node to forget that was not asked yet.
const _: () =
    assert!(limits::LOOKUP_QUERIES_MAX as usize <= limits::LOOKUP_NODES_MAX && limits::LOOKUP_NODES_MAX <= 256);

/// The state of a node in the course of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Unasked,
    Asked,
    Answered,
    Failed,
}

/// One of a lookup's nodes in the order of distance.
#[derive(Clone, Copy, Debug)]
struct Ranked {
    /// The first eight bytes of the distance from the target. They mostly decide which of two nodes is nearer.
    distance: u64,
    /// Its index among the contacts.
    node: u8,
    state: State,
    /// Hops to it: 1 if the lookup started from it, one more for each node that had to name the next one.
    hops: u8,
}

/// The state of one lookup.
#[derive(Debug)]
pub struct Lookup {
    target: NodeId,
    /// The node that looks up. It is never asked and never a result.
    own: NodeId,
    /// In no order; at most [`limits::LOOKUP_NODES_MAX`].
    nodes: Vec<Contact>,
    /// All of `nodes`, nearest first, no id twice. Apart from them, because every answer goes through it.
    ranking: Vec<Ranked>,
    queries: u32,
}

impl Lookup {
    /// A lookup of `target` by the node `own` that starts from `seeds`.
    pub fn new(own: NodeId, target: NodeId, seeds: impl IntoIterator<Item = Contact>) -> Self {
        let mut lookup = Self { target, own, nodes: Vec::new(), ranking: Vec::new(), queries: 0 };
        seeds.into_iter().for_each(|seed| lookup.add(seed, 1));
        lookup
    }

    /// Shows what an answer will read.
    pub fn prefetch(&self, memory: &mut impl Prefetch) {
        memory.prefetch(&self.ranking[..]);
    }

    /// The id that is looked up.
    pub fn target(&self) -> &NodeId {
        &self.target
    }

    /// Number of nodes asked so far.
    pub fn queries(&self) -> u32 {
        self.queries
    }

    /// The node to ask now, if there is one. Ask it and call [`Lookup::asked`], or call [`Lookup::failed`].
    pub fn next(&self) -> Option<Contact> {
        let in_flight = self.ranking.iter().filter(|ranked| ranked.state == State::Asked).count();
        if in_flight >= limits::LOOKUP_PARALLEL || self.queries >= limits::LOOKUP_QUERIES_MAX {
            return None;
        }
        let mut nearest = self.ranking.iter().filter(|ranked| ranked.state != State::Failed).take(limits::BUCKET_SIZE);
        nearest.find(|ranked| ranked.state == State::Unasked).map(|ranked| *self.node(ranked))
    }

    /// Whether no node is being asked and none is left to ask.
    pub fn is_over(&self) -> bool {
        self.next().is_none() && self.ranking.iter().all(|ranked| ranked.state != State::Asked)
    }

    /// The node is being asked.
    pub fn asked(&mut self, id: &NodeId) {
        self.queries += 1;
        self.set_state(id, State::Asked);
    }

    /// The node answered with these nodes.
    pub fn answered(&mut self, id: &NodeId, nodes: &[Contact]) {
        self.set_state(id, State::Answered);
        let hops = self.rank(id).map_or(0, |rank| self.ranking[rank].hops).saturating_add(1);
        nodes.iter().for_each(|node| self.add(*node, hops));
    }

    /// The node did not answer, or cannot be asked.
    pub fn failed(&mut self, id: &NodeId) {
        self.set_state(id, State::Failed);
    }

    /// The nearest nodes that answered, nearest first; at most [`limits::BUCKET_SIZE`].
    pub fn results(&self) -> Vec<Contact> {
        let answered = self.ranking.iter().filter(|ranked| ranked.state == State::Answered);
        answered.map(|ranked| *self.node(ranked)).take(limits::BUCKET_SIZE).collect()
    }

    /// Hops to the nearest node that answered; 0 if none did.
    pub fn hops(&self) -> u32 {
        let nearest = self.ranking.iter().find(|ranked| ranked.state == State::Answered);
        nearest.map_or(0, |ranked| ranked.hops.into())
    }

    fn add(&mut self, node: Contact, hops: u8) {
        if node.id() == self.own {
            return;
        }
        let (Err(rank), distance) = (self.rank(&node.id()), self.distance(&node.id())) else { return };
        let index = if self.nodes.len() < limits::LOOKUP_NODES_MAX {
            self.nodes.push(node);
            self.nodes.len() - 1
        } else {
            // A node that was asked stays, however near others claim to be: it is in flight, or a result, or failed.
            let farthest = self.ranking.iter().rposition(|ranked| ranked.state == State::Unasked);
            let Some(farthest) = farthest.filter(|farthest| *farthest >= rank) else { return };
            let index = usize::from(self.ranking.remove(farthest).node);
            self.nodes[index] = node;
            index
        };
        self.ranking.insert(rank, Ranked { distance, node: index as u8, state: State::Unasked, hops });
    }

    fn set_state(&mut self, id: &NodeId, state: State) {
        if let Ok(rank) = self.rank(id) {
            self.ranking[rank].state = state;
        }
    }

    /// The rank of the node with this id, or the one at which it would be inserted.
    fn rank(&self, id: &NodeId) -> Result<usize, usize> {
        let distance = self.distance(id);
        self.ranking.binary_search_by(|ranked| {
            ranked.distance.cmp(&distance).then_with(|| self.target.cmp_distance(&self.node(ranked).id(), id))
        })
    }

    fn distance(&self, id: &NodeId) -> u64 {
        let [a, b] = [&self.target, id].map(|id| u64::from_be_bytes(*id.0.first_chunk().expect("32 bytes hold 8")));
        a ^ b
    }

    fn node(&self, ranked: &Ranked) -> &Contact {
        &self.nodes[usize::from(ranked.node)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PublicKey;
    use crate::rng::Seed;

    const TARGET: NodeId = NodeId([7; 32]);
    const OWN: NodeId = NodeId([0; 32]);

    fn contacts(count: usize) -> Vec<Contact> {
        let mut rng = Seed::new([3; 32]).fork("contacts");
        let contact = |_| Contact::new(PublicKey::from_xy_unchecked(rng.bytes()), [9, 9, 9, 9].into(), 30303, 30303);
        (0..count).map(contact).collect()
    }

    fn nearest(nodes: &[Contact]) -> Vec<Contact> {
        let mut nodes = nodes.to_vec();
        nodes.sort_by(|a, b| TARGET.cmp_distance(&a.id(), &b.id()));
        nodes.truncate(limits::BUCKET_SIZE);
        nodes
    }

    #[test]
    fn a_lookup_finds_the_nearest_nodes_of_a_network() {
        let network = contacts(500);
        let mut lookup = Lookup::new(OWN, TARGET, [network[0], network[1]]);
        while let Some(node) = lookup.next() {
            lookup.asked(&node.id());
            // Each knows a random third of the network.
            let known: Vec<_> = network.iter().copied().filter(|n| (n.id().0[5] ^ node.id().0[7]) % 3 == 0).collect();
            lookup.answered(&node.id(), &nearest(&known));
        }
        assert!(lookup.is_over());
        assert_eq!(lookup.results(), nearest(&network));
        assert!(lookup.queries() < 40, "{}", lookup.queries());
        assert!((2..=5).contains(&lookup.hops()), "{}", lookup.hops());
    }

    #[test]
    fn three_nodes_are_asked_at_a_time_and_dead_ones_passed_over() {
        let network = contacts(20);
        let mut lookup = Lookup::new(OWN, TARGET, network.clone());
        let mut asked = Vec::new();
        while let Some(node) = lookup.next() {
            lookup.asked(&node.id());
            asked.push(node);
        }
        assert_eq!(asked.len(), limits::LOOKUP_PARALLEL);
        assert!(!lookup.is_over());
        asked.iter().for_each(|node| lookup.failed(&node.id()));
        while let Some(node) = lookup.next() {
            lookup.asked(&node.id());
            lookup.answered(&node.id(), &asked);
        }
        assert!(lookup.is_over());
        assert_eq!(lookup.results().len(), limits::BUCKET_SIZE);
        assert!(asked.iter().all(|dead| !lookup.results().contains(dead)), "dead nodes are not asked again");
    }

    #[test]
    fn invented_nodes_cannot_prolong_a_lookup() {
        let mut rng = Seed::new([4; 32]).fork("liars");
        let mut lookup = Lookup::new(OWN, TARGET, contacts(3));
        while let Some(node) = lookup.next() {
            lookup.asked(&node.id());
            let invented: Vec<_> = (0..16)
                .map(|_| {
                    let key = PublicKey::from_xy_unchecked(rng.bytes());
                    // As near as any node can be.
                    let mut id = TARGET;
                    id.0[24..].copy_from_slice(&rng.bytes::<8>());
                    Contact::with_id(key, id, node.ip(), node.udp(), node.tcp())
                })
                .collect();
            lookup.answered(&node.id(), &invented);
        }
        assert!(lookup.is_over() && lookup.queries() <= limits::LOOKUP_QUERIES_MAX);
        assert!(lookup.nodes.len() <= limits::LOOKUP_NODES_MAX);
    }

    /// If a node in flight were forgotten for nearer ones, a fourth would be asked and the lookup over before its answer.
    #[test]
    fn nodes_that_were_asked_are_not_displaced() {
        let near = |n: u8| {
            let mut id = TARGET;
            id.0[31] ^= n;
            Contact::with_id(PublicKey::from_xy_unchecked([n; 64]), id, [9, 9, 9, 9].into(), 30303, 30303)
        };
        let mut lookup = Lookup::new(OWN, TARGET, contacts(3));
        let asked: Vec<_> = core::iter::from_fn(|| lookup.next().inspect(|node| lookup.asked(&node.id()))).collect();
        lookup.answered(&asked[0].id(), &(1..=100).map(near).collect::<Vec<_>>());
        assert_eq!(lookup.nodes.len(), limits::LOOKUP_NODES_MAX);
        let next = lookup.next().unwrap();
        lookup.asked(&next.id());
        assert!(lookup.next().is_none() && !lookup.is_over(), "three are being asked");
        lookup.answered(&asked[1].id(), &[]);
        assert!(lookup.results().contains(&asked[1]));
    }

    #[test]
    fn hops_count_the_nodes_that_had_to_name_each_other() {
        let network = contacts(4);
        let mut nodes = nearest(&network);
        nodes.reverse();
        let mut lookup = Lookup::new(OWN, TARGET, [nodes[0]]);
        assert_eq!(lookup.hops(), 0);
        for (n, node) in (1..).zip(&nodes) {
            lookup.asked(&node.id());
            // The nearest one is named again by a node that is further away.
            lookup.answered(&node.id(), nodes.get(n as usize).map_or(&[][..], core::slice::from_ref));
            assert_eq!(lookup.hops(), n);
        }
    }

    #[test]
    fn a_lookup_with_no_node_to_ask_is_over_at_once() {
        assert!(Lookup::new(OWN, TARGET, []).is_over());
        let own = contacts(1)[0];
        assert!(Lookup::new(own.id(), TARGET, [own]).is_over(), "a node does not ask itself");
    }
}
