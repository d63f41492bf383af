//! Networks of well-behaved machines. Attacks, commands, conformance, crossing handshakes, floods, records, requests and
//! robustness are in the files below.

mod attacks;
mod commands;
mod conformance;
mod crossing;
mod floods;
mod net;
mod records;
mod requests;
mod robustness;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use self::net::*;
use super::*;
use crate::contract::{DropReason, Input};
use crate::kad::Received;
use crate::limits;
use crate::netfilter::NetFilter;
use crate::rng::Seed;
use crate::testing::Host;
use crate::time::UnixTime;
use crate::wire::DecodeError;
use crate::wire::discv5::{Challenge, Header, Packet, Payload, RecordList, RequestId};
use crate::wire::enr::RecordBuilder;

#[test]
fn nodes_find_each_other_and_a_lookup_finds_the_nearest() {
    let mut net = devnet(30);
    net.run_for(secs(120));
    for i in 0..30 {
        let known = net.discv5(i).table().len();
        assert!(known >= 25, "{i}: {known}");
    }
    let target = NodeId([7; 32]);
    net.forget();
    net.call(3, |machine, cx| machine.lookup(cx, Some(CommandId(1)), target)).unwrap();
    assert!(net.run_until(secs(5), |net| net.saw(Host(3), |event| matches!(event, Event::Nodes { .. }))));
    let nodes = net.find(Host(3), |event| match event {
        Event::Nodes { nodes, .. } => Some(nodes.clone()),
        _ => None,
    });
    let mut all: Vec<Contact> = (0..30).filter(|i| *i != 3).map(|i| net.contact(i)).collect();
    all.sort_by(|a, b| target.cmp_distance(&a.id(), &b.id()));
    all.truncate(16);
    assert_eq!(nodes.unwrap(), all);
}

#[test]
fn two_nodes_find_each_other_at_once() {
    let mut net = devnet(2);
    net.run_for(secs(2));
    assert!(net.knows(0, 1) && net.knows(1, 0));
}

#[test]
fn dead_nodes_leave_the_table_and_come_back_when_they_are_reached_again() {
    let mut net = devnet(6);
    net.run_for(secs(30));
    assert!((0..5).all(|i| net.knows(i, 5)));
    net.cut(Host(5), true);
    net.run_for(secs(300));
    assert!((0..5).all(|i| !net.knows(i, 5)));
    assert!((0..5).all(|i| (0..5).all(|j| i == j || net.knows(i, j))));
    net.cut(Host(5), false);
    net.run_for(secs(90));
    assert!((0..5).all(|i| net.knows(i, 5) && net.knows(5, i)));
}

#[test]
fn a_bootnode_that_starts_late_is_found_at_the_next_attempt() {
    let mut net = devnet(2);
    net.cut(Host(0), true);
    net.run_for(secs(15));
    net.cut(Host(0), false);
    net.run_for(secs(17));
    assert!(net.knows(1, 0), "after 15 seconds, and 15 more");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |delay: u64| {
        let mut net = devnet(6);
        net.link.delay = (millis(delay), millis(delay));
        net.run_for(secs(40));
        (net.digest(), net.sent())
    };
    assert_eq!(run(20), run(20));
    assert_ne!(run(20).0, run(21).0);
}

#[test]
fn traffic_is_low_once_the_table_is_full() {
    let mut net = devnet(20);
    net.run_for(secs(90));
    let sent = net.sent();
    net.run_for(secs(600));
    let per_node_and_second = (net.sent() - sent) as f64 / 20.0 / 600.0;
    assert!(per_node_and_second < 2.5, "{per_node_and_second}");
}
