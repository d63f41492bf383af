//! The scripted nodes: keys, addresses, and which nodes each one knows. Nothing here changes during a run.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use peerless::crypto::{Crypto, NodeId, PublicKey, SecretKey};
use peerless::limits::BUCKET_SIZE;
use peerless::netfilter::{Scope, Subnet, scope};
use peerless::time::Duration;
use peerless::wire::discv4::Neighbor;
use peerless::wire::enode::Contact;

use super::{Plan, ground};
use crate::mix::Stream;
use crate::network::address::PORT;

/// Purposes of random streams.
mod purpose {
    pub(super) const HONEST: u64 = 1;
    pub(super) const HOSTILE: u64 = 2;
    pub(super) const REAL: u64 = 3;
    pub(super) const CALLER: u64 = 4;
}

/// Bootnodes of the real node.
const BOOTNODES: usize = 3;
/// Of a hundred honest nodes, so many are in the /24 of an earlier one, and so many in the /16 of an earlier one.
const SAME_24_PERCENT: u64 = 15;
const SAME_16_PERCENT: u64 = 25;
/// A round trip between the real node and a scripted one.
const ROUND_TRIP: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// That of hostile callers: the attacker has a host nearby, so that no honest caller comes in while one of them reconnects.
const HOSTILE_CALLER_ROUND_TRIP: Duration = Duration::from_millis(2);

/// A node's key and endpoint.
#[derive(Clone)]
pub(super) struct Identity {
    pub(super) secret: SecretKey,
    pub(super) key: PublicKey,
    pub(super) addr: SocketAddr,
    /// The time of a round trip between it and the real node.
    pub(super) round_trip: Duration,
    pub(super) is_hostile: bool,
}

impl Identity {
    fn draw(crypto: &dyn Crypto, stream: &mut Stream, addr: SocketAddr, is_hostile: bool) -> Self {
        let secret = secret(stream);
        Self::new(crypto, stream, secret, addr, is_hostile)
    }

    fn new(crypto: &dyn Crypto, stream: &mut Stream, secret: SecretKey, addr: SocketAddr, is_hostile: bool) -> Self {
        let key = crypto.public_key(&secret);
        Self { secret, key, addr, round_trip: stream.duration(ROUND_TRIP.0, ROUND_TRIP.1), is_hostile }
    }

    /// A caller, which nodes know only by its connection.
    pub(super) fn caller(crypto: &dyn Crypto, seed: u64, number: u64, ip: IpAddr, is_hostile: bool) -> Self {
        let mut stream = Stream::new(seed, number, purpose::CALLER);
        let port = 40_000 + stream.below(20_000) as u16;
        let caller = Self::draw(crypto, &mut stream, SocketAddr::new(ip, port), is_hostile);
        Self { round_trip: if is_hostile { HOSTILE_CALLER_ROUND_TRIP } else { caller.round_trip }, ..caller }
    }
}

/// The nodes of a run.
pub(super) struct Cast {
    pub(super) crypto: Arc<dyn Crypto + Send + Sync>,
    /// The real node.
    pub(super) real: Identity,
    pub(super) bootnodes: Vec<Contact>,
    /// Honest ones first.
    nodes: Vec<Identity>,
    honest: usize,
    /// The first half of each node's id, by which distances are compared.
    ids: Vec<u128>,
    by_addr: BTreeMap<SocketAddr, u32>,
    /// For each honest node, the honest nodes that it knows.
    known: Vec<Vec<u32>>,
    /// The hostile /24s.
    subnets: Vec<[u8; 3]>,
    hostile: BTreeSet<Subnet>,
}

impl Cast {
    pub(super) fn new(plan: &Plan) -> Self {
        let count = plan.honest as usize + plan.subnets as usize * plan.nodes_per_subnet as usize;
        let crypto = plan.crypto.build(plan.seed, count + 20_000);
        let mut stream = Stream::new(plan.seed, 0, purpose::HONEST);
        let ips = honest_ips(&mut stream, plan.honest);
        let mut nodes = Vec::with_capacity(count);
        for ip in &ips {
            nodes.push(Identity::draw(&*crypto, &mut stream, SocketAddr::new((*ip).into(), PORT), false));
        }
        let known = (0..plan.honest).map(|node| known_by(&mut stream, plan, node)).collect();
        let mut stream = Stream::new(plan.seed, 0, purpose::HOSTILE);
        let taken = ips.iter().map(|ip| subnet_of(*ip)).collect();
        let subnets = hostile_subnets(&mut stream, plan.subnets, taken);
        let mut chosen = ground::chosen();
        for number in 0..plan.nodes_per_subnet {
            for [a, b, c] in &subnets {
                let ip = Ipv4Addr::new(*a, *b, *c, 1 + (number % 200) as u8);
                let addr = SocketAddr::new(ip.into(), PORT + (number / 200) as u16);
                let secret = chosen.next().unwrap_or_else(|| secret(&mut stream));
                nodes.push(Identity::new(&*crypto, &mut stream, secret, addr, true));
            }
        }
        let mut stream = Stream::new(plan.seed, 0, purpose::REAL);
        let addr = SocketAddr::new(IpAddr::from([185, 9, 17, 3]), PORT);
        let contact = |node: &Identity| Contact::with_crypto(&*crypto, node.key, node.addr.ip(), PORT, PORT);
        Self {
            real: Identity::new(&*crypto, &mut stream, ground::secret(ground::REAL), addr, false),
            bootnodes: nodes.iter().take(BOOTNODES).map(contact).collect(),
            honest: ips.len(),
            ids: nodes.iter().map(|node| half(&crypto.node_id(&node.key))).collect(),
            by_addr: (0..).zip(&nodes).map(|(number, node)| (node.addr, number)).collect(),
            hostile: subnets.iter().map(|[a, b, c]| Subnet::of(IpAddr::from([*a, *b, *c, 0]))).collect(),
            known,
            subnets,
            nodes,
            crypto,
        }
    }

    pub(super) fn get(&self, node: u32) -> &Identity {
        &self.nodes[node as usize]
    }

    pub(super) fn find(&self, addr: SocketAddr) -> Option<u32> {
        self.by_addr.get(&addr).copied()
    }

    /// The numbers of all honest nodes.
    pub(super) fn honest(&self) -> std::ops::Range<u32> {
        0..self.honest as u32
    }

    /// The numbers of all hostile nodes.
    pub(super) fn hostile(&self) -> std::ops::Range<u32> {
        self.honest as u32..self.nodes.len() as u32
    }

    /// Whether an address belongs to the attacker.
    pub(super) fn is_hostile(&self, ip: IpAddr) -> bool {
        self.hostile.contains(&Subnet::of(ip)) || matches!(ip, IpAddr::V6(ip) if is_in_block(ip))
    }

    /// The addresses of `per_subnet` callers in each hostile /24.
    pub(super) fn subnet_ips(&self, per_subnet: u32) -> impl Iterator<Item = IpAddr> {
        let callers = move |[a, b, c]: &[u8; 3]| {
            let [a, b, c] = [*a, *b, *c];
            (0..per_subnet).map(move |number| IpAddr::from([a, b, c, 201 + (number % 50) as u8]))
        };
        self.subnets.iter().flat_map(callers)
    }

    /// The nodes that `node` knows and that are nearest to `target`, as it answers a FindNode: a hostile one tells hostile ones
    /// only.
    pub(super) fn nearest(&self, node: u32, target: &NodeId) -> Vec<Neighbor> {
        if self.get(node).is_hostile {
            self.nearest_among(self.hostile().filter(|other| *other != node), target)
        } else {
            self.nearest_among(self.known[node as usize].iter().copied(), target)
        }
    }

    fn nearest_among(&self, nodes: impl Iterator<Item = u32>, target: &NodeId) -> Vec<Neighbor> {
        let target = half(target);
        let mut nearest: Vec<(u128, u32)> = nodes.map(|node| (self.ids[node as usize] ^ target, node)).collect();
        if nearest.len() > BUCKET_SIZE {
            nearest.select_nth_unstable(BUCKET_SIZE - 1);
            nearest.truncate(BUCKET_SIZE);
        }
        nearest.sort_unstable();
        let neighbor = |(_, node): (u128, u32)| {
            let Identity { key, addr, .. } = self.get(node);
            Neighbor { ip: addr.ip(), udp: addr.port(), tcp: addr.port(), key: *key.as_bytes() }
        };
        nearest.into_iter().map(neighbor).collect()
    }
}

/// An address in the n-th /56 of the hostile /48.
pub(super) fn block_ip(number: u32) -> IpAddr {
    Ipv6Addr::new(0x2a01, 0x4f8, 0x77, (number << 8) as u16, 0, 0, 0, 1).into()
}

fn is_in_block(ip: Ipv6Addr) -> bool {
    ip.segments()[..3] == [0x2a01, 0x4f8, 0x77]
}

/// A global address whose /24 is in no other use, for the n-th caller or silent connection.
pub(super) fn lone_ip(stream: &mut Stream) -> Ipv4Addr {
    loop {
        let ip = Ipv4Addr::from(stream.u64() as u32);
        if scope(ip.into()) == Scope::Global && !matches!(ip.octets()[3], 0 | 255) {
            return ip;
        }
    }
}

fn secret(stream: &mut Stream) -> SecretKey {
    let mut bytes = stream.bytes_32();
    // Makes the number non-zero and less than the group's order.
    bytes[0] = 1;
    SecretKey::from_bytes(bytes).expect("in range")
}

fn half(id: &NodeId) -> u128 {
    u128::from_be_bytes(*id.0.first_chunk().expect("32 bytes hold 16"))
}

fn subnet_of(ip: Ipv4Addr) -> [u8; 3] {
    let [a, b, c, _] = ip.octets();
    [a, b, c]
}

/// About one address in each /24: some /24s have several, and some /16s many, as those of large hosters.
fn honest_ips(stream: &mut Stream, count: u32) -> Vec<Ipv4Addr> {
    let mut ips: Vec<Ipv4Addr> = Vec::new();
    let mut taken = BTreeSet::new();
    while ips.len() < count as usize {
        let mut ip = lone_ip(stream);
        if !ips.is_empty() {
            let [a, b, c, _] = ips[stream.below(ips.len() as u64) as usize].octets();
            let [_, _, third, last] = ip.octets();
            ip = match stream.below(100) {
                percent if percent < SAME_24_PERCENT => Ipv4Addr::new(a, b, c, last),
                percent if percent < SAME_24_PERCENT + SAME_16_PERCENT => Ipv4Addr::new(a, b, third, last),
                _ => ip,
            };
        }
        if scope(ip.into()) == Scope::Global && taken.insert(ip) {
            ips.push(ip);
        }
    }
    ips
}

/// /24s without honest nodes, each in a /16 of its own.
fn hostile_subnets(stream: &mut Stream, count: u32, taken: BTreeSet<[u8; 3]>) -> Vec<[u8; 3]> {
    let mut subnets = Vec::new();
    let mut wide = BTreeSet::new();
    while subnets.len() < count as usize {
        let subnet = subnet_of(lone_ip(stream));
        if !taken.contains(&subnet) && wide.insert([subnet[0], subnet[1]]) {
            subnets.push(subnet);
        }
    }
    subnets
}

/// The honest nodes that the honest node of this number knows, all different and without itself.
fn known_by(stream: &mut Stream, plan: &Plan, node: u32) -> Vec<u32> {
    let mut others: Vec<u32> = (0..plan.honest).filter(|other| *other != node).collect();
    let count = others.len().min(plan.known as usize);
    for place in 0..count {
        let other = place + stream.below((others.len() - place) as u64) as usize;
        others.swap(place, other);
    }
    others.truncate(count);
    others
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cast() -> Cast {
        Cast::new(&Plan { honest: 300, known: 50, subnets: 20, nodes_per_subnet: 12, ..Plan::default() })
    }

    #[test]
    fn hostile_subnets_are_apart_and_hold_no_honest_node() {
        let cast = cast();
        assert_eq!((cast.honest().len(), cast.hostile().len()), (300, 240));
        let wide: BTreeSet<_> = cast.subnets.iter().map(|[a, b, _]| (a, b)).collect();
        assert_eq!(wide.len(), 20);
        assert!(cast.honest().all(|node| !cast.is_hostile(cast.get(node).addr.ip())));
        assert!(cast.hostile().all(|node| cast.is_hostile(cast.get(node).addr.ip())));
        assert_eq!(cast.by_addr.len(), 540, "no endpoint twice");
        let callers: Vec<IpAddr> = cast.subnet_ips(2).collect();
        assert!(callers.len() == 40 && callers.iter().all(|ip| cast.is_hostile(*ip)));
        assert!(cast.is_hostile(block_ip(33)) && Subnet::of(block_ip(1)) != Subnet::of(block_ip(2)));
    }

    #[test]
    fn honest_nodes_share_few_subnets() {
        let cast = cast();
        let subnets: BTreeSet<_> = cast.honest().map(|node| Subnet::of(cast.get(node).addr.ip())).collect();
        assert!((230..290).contains(&subnets.len()), "{}", subnets.len());
    }

    #[test]
    fn a_node_tells_the_nearest_that_it_knows_and_a_hostile_one_only_hostile_ones() {
        let cast = cast();
        let target = NodeId([7; 32]);
        let told = |node| {
            let nodes = cast.nearest(node, &target).into_iter();
            nodes.map(|told| cast.find(SocketAddr::new(told.ip, told.udp)).unwrap()).collect::<Vec<_>>()
        };
        let honest = told(5);
        let known: BTreeSet<u32> = cast.known[5].iter().copied().collect();
        assert!(known.len() == 50 && !known.contains(&5) && honest.len() == 16);
        let distance = |node: &u32| cast.ids[*node as usize] ^ half(&target);
        let furthest = honest.iter().map(distance).max().unwrap();
        assert_eq!(known.iter().filter(|node| distance(node) <= furthest).count(), 16);
        assert!(told(300).iter().all(|node| cast.get(*node).is_hostile && *node != 300));
    }
}
