//! Published attacks against whole nodes, in memory and virtual time. Names such as C7 are those by which the code refers
//! to them ("attack C7"); what a single machine withstands is tested beside that machine.

mod datagrams;
mod handshakes;
mod messages;
mod peers;

use std::net::SocketAddr;
use std::time::Duration;

use peerless::node::Config;
use peerless_tests::memory::Counting;
use peerless_tests::net::{Net, Seen, config};

#[global_allocator]
static COUNTING: Counting = Counting;

const SECOND: Duration = Duration::from_secs(1);

/// Node `i` of network 1, which dials and seeks nobody by itself.
fn quiet(i: usize) -> Config {
    let mut config = config(i, 1);
    config.discovery.discv4 = None;
    config
}

/// A network with one quiet node that talks to everybody, 0.
fn victim(seed: u64) -> Net {
    let mut net = Net::new(seed);
    let mut config = quiet(0);
    config.filter = peerless::netfilter::NetFilter::default();
    net.add(config);
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

/// What a node has told of scores: by how much, to what it led is in its ledger.
fn scored(net: &Net, member: usize) -> Vec<(i32, peerless::contract::ScoreReason)> {
    let told = net.members[member].seen.iter();
    told.filter_map(|(_, seen)| if let Seen::Scored(_, delta, why) = seen { Some((*delta, *why)) } else { None })
        .collect()
}
