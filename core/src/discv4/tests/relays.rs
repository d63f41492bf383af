//! A party that relays signed packets from addresses of its own: it proves those endpoints in the names of live nodes, and
//! takes over none of their table entries (attacks D3, D18).

use alloc::sync::Arc;

use super::*;
use crate::crypto::testing::Cheap;
use crate::wire::enr::RecordBuilder;

/// Nodes whose packets are relayed; the victim is the first of all.
const NODES: usize = 34;

struct Relay {
    crypto: Arc<Cheap>,
    net: Net,
    /// The attacker's own key, under which the nodes know it.
    secret: SecretKey,
    /// The hosts whose packets are relayed.
    relayed: Vec<usize>,
    withholds_records: bool,
}

fn honest(i: usize) -> SocketAddr {
    SocketAddr::from(([60 + (i % 7) as u8, i as u8, 1, 1], 30303))
}

/// The address from which the victim gets a node's packets.
fn to_victim(i: usize) -> SocketAddr {
    SocketAddr::from(([150, i as u8, 6, 6], 30303))
}

/// The address from which a node gets the victim's packets.
fn to_node(i: usize) -> SocketAddr {
    SocketAddr::from(([151, i as u8, 7, 7], 30303))
}

impl Relay {
    fn new(withholds_records: bool) -> Self {
        let mut net = Net::new(1);
        net.link.delay = (millis(10), millis(30));
        let secret = SecretKey::from_bytes([5; 32]).unwrap();
        let relayed = (1..=NODES).collect();
        let mut relay = Self { crypto: Arc::default(), net, secret, relayed, withholds_records };
        (0..=NODES).for_each(|i| relay.add(i, honest(i), 1));
        relay.net.run_for(secs(60));
        relay
    }

    /// Adds node number `i` at an address, which its record names.
    fn add(&mut self, i: usize, at: SocketAddr, seq: u64) {
        let host = self.net.hosts().count();
        let bootnodes = if host == 0 { vec![] } else { vec![self.net.contact(usize::from(host > 1))] };
        let (secret, rng) = identity(i);
        let config = Config { bootnodes, ..Config::default() };
        self.net.add_local(at, (secret.clone(), rng), config, NetFilter::default(), self.crypto.clone());
        let record = RecordBuilder::default().endpoint(at, at.port()).sign(&*self.crypto, &secret, seq).unwrap();
        self.net.call(host, |machine, _| machine.set_record(record));
    }

    /// A ping of the attacker's own to each node: the nodes' pings back are what it relays first.
    fn provoke(&mut self) {
        for i in self.relayed.clone() {
            let endpoint = Endpoint::from(to_node(i));
            let expiration = self.net.soon();
            let ping = Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: None };
            let mut bytes = vec![];
            ping.seal(&*self.crypto, &self.secret, &mut bytes);
            self.net.datagram(Host(i), to_node(i), &bytes);
        }
    }

    /// Relays for a while. Returns the largest number of the victim's entries that were the attacker's at any time.
    fn run_for(&mut self, time: Duration) -> usize {
        let mut moved = 0;
        for step in 0..time.as_millis() / 25 {
            if step % 400 == 0 {
                self.provoke();
                self.net.forget();
            }
            self.net.run_for(millis(25));
            for i in self.relayed.clone() {
                for (_, bytes) in self.net.take_datagrams(to_node(i)) {
                    if !(self.withholds_records && bytes[97] == 6) {
                        self.net.datagram(Host(0), to_victim(i), &bytes);
                    }
                }
                for (_, bytes) in self.net.take_datagrams(to_victim(i)) {
                    self.net.datagram(Host(i), to_node(i), &bytes);
                }
            }
            moved = moved.max(self.moved());
        }
        moved
    }

    /// The number of the victim's entries that have an address of the attacker.
    fn moved(&self) -> usize {
        let is_moved =
            |entry: &&Entry| matches!(entry.contact().ip(), core::net::IpAddr::V4(ip) if ip.octets()[0] == 150);
        self.net.discv4(0).table().entries().filter(is_moved).count()
    }

    /// The address at which the victim has a node.
    fn known_at(&self, i: usize) -> Option<SocketAddr> {
        self.net.discv4(0).table().entry(self.net.discv4(i).local().id()).map(|entry| entry.contact().udp_addr())
    }
}

/// D18: for half an hour, with one honest restart at the same address, and after.
#[test]
fn d18_no_entry_moves_while_all_nodes_are_relayed() {
    for withholds_records in [false, true] {
        let mut relay = Relay::new(withholds_records);
        let known = relay.net.discv4(0).table().len();
        assert!(known >= 20, "{known}");
        assert_eq!(relay.run_for(secs(900)), 0, "{withholds_records}");
        let bonds = (1..=NODES).filter(|i| {
            let (id, now) = (*relay.net.discv4(*i).local().id(), relay.net.now());
            relay.net.call(0, |machine, _| machine.bonds.is_proven(&id, to_victim(*i), now))
        });
        assert!(bonds.count() > NODES / 2, "the attacker has proven its addresses in the nodes' names");
        // One node restarts, within which its checks fail.
        let restarted = (1..=NODES).find(|i| relay.known_at(*i).is_some()).unwrap();
        relay.net.cut(Host(restarted), true);
        assert_eq!(relay.run_for(secs(20)), 0, "{withholds_records}");
        let bootnodes = vec![relay.net.contact(if restarted == 1 { 2 } else { 1 })];
        relay.net.restart(restarted, bootnodes);
        relay.net.cut(Host(restarted), false);
        assert_eq!(relay.run_for(secs(900)), 0, "{withholds_records}");
        relay.relayed.clear();
        relay.run_for(secs(120));
        assert!(relay.moved() == 0 && relay.net.discv4(0).table().len() >= known);
    }
}

/// D18: the node has another address after its restart, which its new record names.
#[test]
fn d18_a_node_that_moves_is_followed_while_all_nodes_are_relayed() {
    let mut relay = Relay::new(false);
    assert_eq!(relay.run_for(secs(300)), 0);
    let old = (2..=NODES).find(|i| relay.known_at(*i).is_some()).unwrap();
    relay.net.cut(Host(old), true);
    relay.relayed.retain(|i| *i != old);
    assert_eq!(relay.run_for(secs(10)), 0);
    let new = relay.net.hosts().count();
    let at = SocketAddr::from(([70, 70, 1, 1], 30303));
    relay.add(old, at, 2);
    relay.relayed.push(new);
    assert_eq!(relay.run_for(secs(900)), 0);
    assert_eq!(relay.known_at(new), Some(at));
}

/// Without a record, a node whose old endpoint is dead comes in anew.
#[test]
fn a_node_without_a_record_comes_in_anew_once_its_old_endpoint_is_dead() {
    let mut net = victim();
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    net.bond(&stranger);
    let moved = stranger.at("91.1.1.1:30303");
    net.bond(&moved);
    let at = |net: &Net| net.discv4(0).table().entry(&stranger.key.node_id()).map(|entry| entry.contact().udp_addr());
    assert_eq!(at(&net), Some(stranger.addr), "it may be relayed");
    net.run_for(limits::SIGN_OF_LIFE_AGE + secs(30));
    assert_eq!(at(&net), None, "it does not answer there");
    net.bond_if_pinged(&moved);
    assert_eq!(at(&net), Some(moved.addr));
}

/// D18: a node that was met through a relay, whose own endpoint lost what it was asked: the entry moves there with a later pong,
/// although it already has the newest record.
#[test]
fn d18_a_node_that_was_met_through_a_relay_is_followed_to_its_own_endpoint() {
    let mut net = victim();
    let relayed = Stranger::new(7, "150.1.6.6:30303");
    let itself = relayed.at("90.1.1.1:30303");
    let record = RecordBuilder::default().endpoint(itself.addr, 30303).sign(&**CRYPTO, &itself.secret, 1).unwrap();
    net.bond(&relayed);
    let mut until = net.now() + secs(3600);
    let mut is_lost = true;
    let (mut asked, mut lost) = (0, 0);
    while net.now() < until {
        net.run_for(millis(50));
        for (stranger, is_silent) in [(&relayed, false), (&itself, is_lost)] {
            for (packet, hash) in net.take(stranger.addr) {
                let answer = match packet {
                    _ if is_silent => {
                        lost += 1;
                        continue;
                    }
                    Packet::Ping { .. } => {
                        let to = Endpoint::from(net.addr(Host(0)));
                        Packet::Pong { to, ping_hash: hash, expiration: net.soon(), enr_seq: Some(1) }
                    }
                    Packet::EnrRequest { .. } => {
                        asked += 1;
                        Packet::EnrResponse { request_hash: hash, record: record.as_bytes().to_vec() }
                    }
                    Packet::FindNode { .. } => Packet::Neighbors { nodes: vec![], expiration: net.soon() },
                    _ => continue,
                };
                let _ = net.send_from(stranger, &answer);
            }
        }
        let entry = net.discv4(0).table().entry(&itself.key.node_id()).map(|entry| entry.contact().udp_addr());
        if is_lost {
            assert_eq!(entry, Some(relayed.addr), "nothing has answered elsewhere");
            if lost > 0 && net.now() + secs(3000) > until {
                (is_lost, until) = (false, net.now() + secs(900));
            }
        } else if entry == Some(itself.addr) {
            return;
        }
    }
    panic!("the entry stays with the relay: {asked} requests, {lost} of them to the node itself");
}
