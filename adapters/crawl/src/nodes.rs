//! The nodes that a crawl has heard of: one entry each, found by its key.
//!
//! An entry has a fixed size, and so has its place in the index; records and neighbours are told to the application and not
//! kept.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use peerless::contract::Via;
use peerless::crypto::PublicKey;
use peerless::netfilter::{Subnet, scope};
use peerless::rng::Rng;
use peerless::wire::enode::Contact;

/// The number of a node: the order in which it was found, from 0 on.
pub type NodeNumber = u32;

/// Times that a silent node is asked again because it was named at another endpoint.
const MOVES_MAX: u8 = 3;
/// The empty place of the index.
const NONE: u32 = u32::MAX;

/// What a crawl knows of a node by one protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum State {
    /// It waits to be asked, or the protocol is off.
    #[default]
    Waiting,
    /// It is being asked.
    Asked,
    /// It has answered in this pass.
    Answered,
    /// It has not answered in this pass.
    Silent,
}

/// A node.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: PublicKey,
    /// The sequence number of its newest verified record; 0 if there is none.
    pub(crate) seq: u64,
    pub(crate) ip: IpAddr,
    pub(crate) udp: u16,
    pub(crate) tcp: u16,
    states: [State; 2],
    moves: u8,
}

impl Entry {
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip, self.udp)
    }

    pub(crate) fn contact(&self) -> Contact {
        Contact::new(self.key, self.ip, self.udp, self.tcp)
    }

    pub(crate) fn state(&self, via: Via) -> State {
        self.states[index_of(via)]
    }

    pub(crate) fn set_state(&mut self, via: Via, state: State) {
        self.states[index_of(via)] = state;
    }

    /// Whether every protocol that asked it was met with silence.
    fn is_silent(&self) -> bool {
        self.states.contains(&State::Silent)
            && !self.states.iter().any(|state| matches!(state, State::Answered | State::Asked))
    }
}

/// The position of what is kept for each protocol.
pub(crate) const fn index_of(via: Via) -> usize {
    match via {
        Via::Discv4 => 0,
        Via::Discv5 => 1,
    }
}

/// What became of a node that was named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Named {
    /// It is new.
    New(NodeNumber),
    /// It is known.
    Known(NodeNumber),
    /// It was silent, and is to be asked again at the endpoint that was named.
    Moved(NodeNumber),
    /// There is no room for it.
    Refused,
}

/// All nodes of a crawl.
#[derive(Debug)]
pub(crate) struct Nodes {
    entries: Vec<Entry>,
    /// Numbers of nodes by a keyed hash of the first coordinate of their key; a power of two of them, at most half of them used.
    index: Vec<u32>,
    /// The odd factor of that hash, which senders do not know.
    factor: u64,
    /// Nodes of each subnet of global addresses.
    subnets: BTreeMap<Subnet, u32>,
    nodes_max: u32,
    subnet_nodes_max: u32,
}

impl Nodes {
    pub(crate) fn new(rng: &mut Rng, nodes_max: u32, subnet_nodes_max: u32) -> Self {
        Self {
            entries: Vec::new(),
            index: vec![NONE; 1024],
            factor: rng.u64() | 1,
            subnets: BTreeMap::new(),
            nodes_max: nodes_max.min(NONE - 1),
            subnet_nodes_max,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn get(&self, number: NodeNumber) -> &Entry {
        &self.entries[number as usize]
    }

    pub(crate) fn get_mut(&mut self, number: NodeNumber) -> &mut Entry {
        &mut self.entries[number as usize]
    }

    /// The node whose key has this first coordinate, and this second one by its last bit.
    pub(crate) fn find(&self, x: &[u8], is_odd: bool) -> Option<NodeNumber> {
        let mask = self.index.len() - 1;
        let mut at = self.place(x);
        loop {
            let number = self.index[at];
            let entry = self.entries.get(number as usize)?;
            let xy = entry.key.as_bytes();
            if xy[..32] == *x && (xy[63] & 1 == 1) == is_odd {
                return Some(number);
            }
            at = (at + 1) & mask;
        }
    }

    /// The node of a key.
    pub(crate) fn find_xy(&self, xy: &[u8; 64]) -> Option<NodeNumber> {
        self.find(&xy[..32], xy[63] & 1 == 1)
    }

    /// Adds a node that is not known, if there is room.
    pub(crate) fn add(&mut self, key: PublicKey, at: SocketAddr, tcp: u16) -> Named {
        if self.entries.len() >= self.nodes_max as usize || !self.take_from_subnet(at.ip()) {
            return Named::Refused;
        }
        let number = self.entries.len() as NodeNumber;
        let entry = Entry { key, seq: 0, ip: at.ip(), udp: at.port(), tcp, states: [State::Waiting; 2], moves: 0 };
        self.entries.push(entry);
        if 2 * self.entries.len() > self.index.len() {
            self.grow();
        } else {
            self.insert(number);
        }
        Named::New(number)
    }

    /// A known node was named at an endpoint. A silent one moves there.
    pub(crate) fn named_again(&mut self, number: NodeNumber, at: SocketAddr, tcp: u16) -> Named {
        let entry = &mut self.entries[number as usize];
        if entry.addr() == at || !entry.is_silent() || entry.moves >= MOVES_MAX {
            return Named::Known(number);
        }
        entry.moves += 1;
        (entry.ip, entry.udp, entry.tcp) = (at.ip(), at.port(), tcp);
        Named::Moved(number)
    }

    /// Bytes for each node: its entry and its places of the index, without room for growth.
    pub(crate) const fn bytes_per_node() -> usize {
        size_of::<Entry>() + 2 * size_of::<u32>()
    }

    fn take_from_subnet(&mut self, ip: IpAddr) -> bool {
        if scope(ip).is_local() {
            return true;
        }
        let count = self.subnets.entry(Subnet::of(ip)).or_default();
        let has_room = *count < self.subnet_nodes_max;
        *count += u32::from(has_room);
        has_room
    }

    fn place(&self, x: &[u8]) -> usize {
        let word = x.first_chunk().map_or(0, |word| u64::from_be_bytes(*word));
        // The upper bits of the product depend on all bits of the word.
        (word.wrapping_mul(self.factor) >> (64 - self.index.len().trailing_zeros())) as usize
    }

    fn insert(&mut self, number: NodeNumber) {
        let mask = self.index.len() - 1;
        let mut at = self.place(&self.entries[number as usize].key.as_bytes()[..32]);
        while self.index[at] != NONE {
            at = (at + 1) & mask;
        }
        self.index[at] = number;
    }

    fn grow(&mut self) {
        self.index = vec![NONE; 2 * self.index.len()];
        for number in 0..self.entries.len() as NodeNumber {
            self.insert(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use peerless::crypto::{Crypto as _, Secp256k1, SecretKey};
    use peerless::rng::Seed;

    use super::*;

    fn keys(count: u16) -> Vec<PublicKey> {
        let crypto = Secp256k1::new();
        let key = |n: u16| {
            let mut secret = [1; 32];
            secret[..2].copy_from_slice(&n.to_be_bytes());
            crypto.public_key(&SecretKey::from_bytes(secret).expect("in range"))
        };
        (0..count).map(key).collect()
    }

    fn nodes(nodes_max: u32, subnet_nodes_max: u32) -> Nodes {
        Nodes::new(&mut Seed::new([1; 32]).fork("nodes"), nodes_max, subnet_nodes_max)
    }

    fn at(n: usize) -> SocketAddr {
        SocketAddr::from(([8, (n >> 8) as u8, n as u8, 1], 30303))
    }

    #[test]
    fn nodes_are_found_by_their_keys_while_the_index_grows() {
        let mut nodes = nodes(u32::MAX, 9);
        let keys = keys(2000);
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(nodes.find_xy(key.as_bytes()), None);
            assert_eq!(nodes.add(*key, at(n), 1), Named::New(n as u32));
        }
        for (n, key) in keys.iter().enumerate() {
            assert_eq!(nodes.find_xy(key.as_bytes()), Some(n as u32));
            let compressed = key.compressed();
            assert_eq!(nodes.find(&compressed[1..], compressed[0] == 3), Some(n as u32));
            assert_eq!(nodes.find(&compressed[1..], compressed[0] == 2), None, "the other point of this coordinate");
        }
    }

    #[test]
    fn a_subnet_and_the_whole_have_bounds() {
        let keys = keys(9);
        let mut nodes = nodes(4, 2);
        let same = |port| SocketAddr::from(([8, 8, 8, 8], port));
        assert_eq!(nodes.add(keys[0], same(1), 0), Named::New(0));
        assert_eq!(nodes.add(keys[1], same(2), 0), Named::New(1));
        assert_eq!(nodes.add(keys[2], same(3), 0), Named::Refused);
        let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(nodes.add(keys[2], local(1), 0), Named::New(2));
        assert_eq!(nodes.add(keys[3], local(2), 0), Named::New(3));
        assert_eq!(nodes.add(keys[4], local(3), 0), Named::Refused);
    }

    #[test]
    fn a_silent_node_moves_a_few_times_and_others_stay() {
        let mut nodes = nodes(9, 9);
        assert_eq!(nodes.add(keys(1)[0], at(0), 1), Named::New(0));
        assert_eq!(nodes.named_again(0, at(1), 1), Named::Known(0));
        nodes.get_mut(0).set_state(Via::Discv4, State::Silent);
        assert_eq!(nodes.named_again(0, at(0), 1), Named::Known(0));
        for n in 1..=3 {
            assert_eq!(nodes.named_again(0, at(n), 1), Named::Moved(0));
            assert_eq!(nodes.get(0).addr(), at(n));
        }
        assert_eq!(nodes.named_again(0, at(9), 1), Named::Known(0));
        nodes.get_mut(0).set_state(Via::Discv5, State::Answered);
        assert_eq!(nodes.named_again(0, at(9), 1), Named::Known(0));
    }

    #[test]
    fn an_entry_is_small() {
        assert!(Nodes::bytes_per_node() <= 112, "{}", Nodes::bytes_per_node());
    }
}
