//! Published attacks against whole nodes, in memory and virtual time. Names such as C7 are those by which the code refers
//! to them ("attack C7"); what a single machine withstands is tested beside that machine.

mod datagrams;
mod frames;
mod handshakes;
mod messages;
mod peers;
mod work;

use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{Event, ScoreReason};
use peerless::netfilter::NetFilter;
use peerless::node::Node;
use peerless::testing::{Host, Net, quiet_config};
use peerless_tests::memory::Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

const SECOND: Duration = Duration::from_secs(1);

/// The node that is attacked.
const VICTIM: Host = Host(0);

/// A network with one node, which dials no peer by itself and filters no address.
fn victim(seed: u64) -> Net<Node> {
    let mut net = Net::new(seed);
    let mut config = quiet_config(0, 1);
    config.filter = NetFilter::default();
    net.add_node(config);
    net
}

/// Address number `n` on loopback, where neither throttle nor subnets count.
fn local(n: u16) -> SocketAddr {
    ([127, 0, 0, 1], 40_000 + n).into()
}

/// Global address number `n`; each is in a subnet of its own for the first 65,536.
fn global(n: u32) -> SocketAddr {
    let [_, _, high, low] = n.to_be_bytes();
    ([60 + (n >> 16) as u8, high, low, 9], 40_000).into()
}

/// The changes of scores that a node has emitted, with their reasons.
fn scored(net: &Net<Node>, host: Host) -> Vec<(i32, ScoreReason)> {
    let changes = net.events(host).iter().filter_map(|(_, event)| match event {
        Event::Scored { delta, reason, .. } => Some((*delta, *reason)),
        _ => None,
    });
    changes.collect()
}
