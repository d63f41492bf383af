//! One iterative lookup (discv4, "Recursive Lookup"): whom to ask next, and when it is over.
//!
//! It asks the nearest nodes it has heard of, [`limits::LOOKUP_PARALLEL`] at a time, until the nearest
//! [`limits::BUCKET_SIZE`] that did not fail have answered. Only nodes that answered are results. It sends nothing itself.

use alloc::vec::Vec;

use crate::contract::Prefetch;
use crate::crypto::{NodeId, keccak256};
use crate::limits;
use crate::wire::enode::Contact;

// There is always somebody to forget who was only heard of.
const _: () =
    assert!(limits::LOOKUP_QUERIES_MAX as usize <= limits::LOOKUP_NODES_MAX && limits::LOOKUP_NODES_MAX <= 256);

/// What is known of a node in the course of a lookup.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Heard,
    Asked,
    Answered,
    Failed,
}

/// One of a lookup's nodes.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The first eight bytes of the distance from the target: they mostly decide which of two is nearer.
    distance: u64,
    node: u8,
    state: State,
}

/// See the module.
#[derive(Debug)]
pub struct Lookup {
    target: [u8; 64],
    hash: NodeId,
    /// Whoever looks up, and is no result.
    own: NodeId,
    /// In no order; at most [`limits::LOOKUP_NODES_MAX`].
    nodes: Vec<Contact>,
    /// All of `nodes`, nearest first, no id twice. Apart from them, because it is gone through with every answer.
    order: Vec<Place>,
    queries: u32,
}

impl Lookup {
    /// A lookup of `target` that starts from `seeds`.
    pub fn new(own: NodeId, target: [u8; 64], seeds: impl IntoIterator<Item = Contact>) -> Self {
        let hash = NodeId(keccak256(&target));
        let mut lookup = Self { target, hash, own, nodes: Vec::new(), order: Vec::new(), queries: 0 };
        seeds.into_iter().for_each(|seed| lookup.hear(seed));
        lookup
    }

    /// Shows what an answer will read.
    pub fn prefetch(&self, memory: &mut impl Prefetch) {
        memory.prefetch(&self.order[..]);
    }

    /// What is looked up.
    pub fn target(&self) -> &[u8; 64] {
        &self.target
    }

    /// Nodes asked so far.
    pub fn queries(&self) -> u32 {
        self.queries
    }

    /// Whom to ask now, if anybody. Ask, or say that it failed.
    pub fn next(&self) -> Option<Contact> {
        let in_flight = self.order.iter().filter(|place| place.state == State::Asked).count();
        if in_flight >= limits::LOOKUP_PARALLEL || self.queries >= limits::LOOKUP_QUERIES_MAX {
            return None;
        }
        let mut nearest = self.order.iter().filter(|place| place.state != State::Failed).take(limits::BUCKET_SIZE);
        nearest.find(|place| place.state == State::Heard).map(|place| *self.node(place))
    }

    /// Whether nobody is being asked and nobody is left to ask.
    pub fn is_over(&self) -> bool {
        self.next().is_none() && self.order.iter().all(|place| place.state != State::Asked)
    }

    /// The node is being asked.
    pub fn asked(&mut self, id: &NodeId) {
        self.queries += 1;
        self.mark(id, State::Asked);
    }

    /// The node answered with these.
    pub fn answered(&mut self, id: &NodeId, nodes: &[Contact]) {
        self.mark(id, State::Answered);
        nodes.iter().for_each(|node| self.hear(*node));
    }

    /// The node did not answer, or cannot be asked.
    pub fn failed(&mut self, id: &NodeId) {
        self.mark(id, State::Failed);
    }

    /// The nearest nodes that answered, nearest first.
    pub fn results(&self) -> Vec<Contact> {
        let answered = self.order.iter().filter(|place| place.state == State::Answered);
        answered.map(|place| *self.node(place)).take(limits::BUCKET_SIZE).collect()
    }

    fn hear(&mut self, node: Contact) {
        if node.id() == self.own {
            return;
        }
        let (Err(rank), distance) = (self.rank(&node.id()), self.distance(&node.id())) else { return };
        let place = if self.nodes.len() < limits::LOOKUP_NODES_MAX {
            self.nodes.push(node);
            self.nodes.len() - 1
        } else {
            // Whoever was asked stays, however near others claim to be: it is in flight, or a result, or not to be asked again.
            let farthest = self.order.iter().rposition(|place| place.state == State::Heard);
            let Some(farthest) = farthest.filter(|farthest| *farthest >= rank) else { return };
            let place = usize::from(self.order.remove(farthest).node);
            self.nodes[place] = node;
            place
        };
        self.order.insert(rank, Place { distance, node: place as u8, state: State::Heard });
    }

    fn mark(&mut self, id: &NodeId, state: State) {
        if let Ok(rank) = self.rank(id) {
            self.order[rank].state = state;
        }
    }

    /// Where the node with this id is in the order of distance, or would be.
    fn rank(&self, id: &NodeId) -> Result<usize, usize> {
        let distance = self.distance(id);
        self.order.binary_search_by(|place| {
            place.distance.cmp(&distance).then_with(|| self.hash.cmp_distance(&self.node(place).id(), id))
        })
    }

    fn distance(&self, id: &NodeId) -> u64 {
        let [a, b] = [&self.hash, id].map(|id| u64::from_be_bytes(*id.0.first_chunk().expect("32 bytes hold 8")));
        a ^ b
    }

    fn node(&self, place: &Place) -> &Contact {
        &self.nodes[usize::from(place.node)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::PublicKey;
    use crate::rng::Seed;

    fn contacts(count: usize) -> Vec<Contact> {
        let mut rng = Seed::new([3; 32]).fork("contacts");
        let contact = |_| Contact::new(PublicKey::from_xy_unchecked(rng.bytes()), [9, 9, 9, 9].into(), 30303, 30303);
        (0..count).map(contact).collect()
    }

    fn nearest(target: &[u8; 64], nodes: &[Contact]) -> Vec<Contact> {
        let hash = NodeId(keccak256(target));
        let mut nodes = nodes.to_vec();
        nodes.sort_by(|a, b| hash.cmp_distance(&a.id(), &b.id()));
        nodes.truncate(limits::BUCKET_SIZE);
        nodes
    }

    #[test]
    fn finds_the_nearest_of_a_network() {
        let (network, own, target) = (contacts(500), NodeId([0; 32]), [7; 64]);
        let mut lookup = Lookup::new(own, target, [network[0], network[1]]);
        while let Some(node) = lookup.next() {
            lookup.asked(&node.id());
            // Each knows a random third of the network.
            let known: Vec<_> = network.iter().copied().filter(|n| (n.id().0[5] ^ node.id().0[7]) % 3 == 0).collect();
            lookup.answered(&node.id(), &nearest(&target, &known));
        }
        assert!(lookup.is_over());
        assert_eq!(lookup.results(), nearest(&target, &network));
        assert!(lookup.queries() < 40, "{}", lookup.queries());
    }

    #[test]
    fn asks_three_at_a_time_and_passes_over_the_dead() {
        let network = contacts(20);
        let mut lookup = Lookup::new(NodeId([0; 32]), [7; 64], network.clone());
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
        assert!(asked.iter().all(|dead| !lookup.results().contains(dead)), "the dead are not asked again");
    }

    #[test]
    fn liars_cannot_keep_it_busy() {
        let mut rng = Seed::new([4; 32]).fork("liars");
        let mut lookup = Lookup::new(NodeId([0; 32]), [7; 64], contacts(3));
        while let Some(node) = lookup.next() {
            lookup.asked(&node.id());
            let invented: Vec<_> = (0..16)
                .map(|_| {
                    let key = PublicKey::from_xy_unchecked(rng.bytes());
                    // As near as any node can be.
                    let mut id = NodeId(keccak256(&[7; 64]));
                    id.0[24..].copy_from_slice(&rng.bytes::<8>());
                    Contact::with_id(key, id, node.ip(), node.udp(), node.tcp())
                })
                .collect();
            lookup.answered(&node.id(), &invented);
        }
        assert!(lookup.is_over() && lookup.queries() <= limits::LOOKUP_QUERIES_MAX);
        assert!(lookup.nodes.len() <= limits::LOOKUP_NODES_MAX);
    }

    /// A node that is being asked was once forgotten when enough nearer ones were heard of: a fourth was asked at once, and
    /// the lookup was over before its answer.
    #[test]
    fn hearsay_does_not_displace_whoever_was_asked() {
        let near = |n: u8| {
            let mut id = NodeId(keccak256(&[7; 64]));
            id.0[31] ^= n;
            Contact::with_id(PublicKey::from_xy_unchecked([n; 64]), id, [9, 9, 9, 9].into(), 30303, 30303)
        };
        let mut lookup = Lookup::new(NodeId([0; 32]), [7; 64], contacts(3));
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
    fn nobody_to_ask_is_over_at_once() {
        assert!(Lookup::new(NodeId([0; 32]), [7; 64], []).is_over());
        let own = contacts(1)[0];
        assert!(Lookup::new(own.id(), [7; 64], [own]).is_over(), "ourselves are nobody");
    }
}
