//! Networks of well-behaved machines. Attacks, commands, conformance, floods, records, relays and robustness are in the files
//! below.

mod attacks;
mod commands;
mod conformance;
mod floods;
mod net;
mod records;
mod relays;
mod robustness;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;

use self::net::*;
use super::*;
use crate::contract::{DropReason, Input};
use crate::crypto::{Digest, keccak256};
use crate::kad::table::{Bucket, Entry};
use crate::kad::{Growth, Received};
use crate::limits;
use crate::netfilter::NetFilter;
use crate::rng::Seed;
use crate::testing::{Host, START};
use crate::time::UnixTime;
use crate::wire::discv4::Kind;
use crate::wire::forkid::ForkId;

#[test]
fn twenty_nodes_with_one_bootnode_find_each_other() {
    let mut net = devnet(20);
    net.run_for(secs(60));
    for i in 0..20 {
        let unknown: Vec<_> = (0..20).filter(|j| *j != i && !net.knows(i, *j)).collect();
        assert!(unknown.is_empty(), "{i} does not know {unknown:?}");
    }
    for i in 0..20 {
        let added = net.count(i, |event| matches!(event, Event::NodeAdded { .. }));
        let removed = net.count(i, |event| matches!(event, Event::NodeRemoved { .. }));
        assert_eq!((added, removed), (19, 0));
        assert_eq!(net.discv4(i).candidates(&mut Seed::new([0; 32]).fork("draw"), 100).len(), 19);
    }
}

#[test]
fn nodes_of_both_address_families_meet_within_the_limits_on_subnets() {
    let mut net = empty();
    for i in 0..24 {
        let at = match i % 3 {
            0 => alloc::format!("[2a00:{i}::1]:30303"),
            _ => alloc::format!("{}.{i}.1.1:30303", 60 + i % 7),
        };
        net.add_at(&at, if i == 0 { &[] } else { &[0] });
    }
    net.run_for(secs(45));
    let sizes: Vec<_> = (0..24).map(|i| net.discv4(i).table().len()).collect();
    assert!(sizes.iter().all(|size| *size >= 16), "{sizes:?}");

    // Of ten nodes at one address, some are not let in.
    (0..10).for_each(|i| net.add_at(&alloc::format!("70.1.1.1:{}", 40_000 + i), &[0]));
    net.run_for(secs(60));
    for i in 0..24 {
        let at_address = |bucket: &Bucket| {
            bucket.entries().iter().filter(|entry| entry.contact().ip() == addr("70.1.1.1:1").ip()).count()
        };
        assert!(net.discv4(i).table().buckets().iter().all(|bucket| at_address(bucket) <= limits::SUBNET_PER_BUCKET));
    }
}

#[test]
fn two_nodes_find_each_other_at_once() {
    let mut net = devnet(2);
    net.run_for(secs(1));
    assert!(net.knows(0, 1) && net.knows(1, 0));
}

#[test]
fn dead_nodes_leave_the_table_and_are_found_again_after_a_restart() {
    let mut net = devnet(6);
    net.run_for(secs(30));
    net.cut(Host(5), true);
    net.run_for(secs(300));
    assert!((0..5).all(|i| !net.knows(i, 5)));
    assert!((0..5).all(|i| (0..5).all(|j| i == j || net.knows(i, j))));
    net.restart(5, vec![net.contact(0)]);
    net.cut(Host(5), false);
    net.run_for(secs(60));
    assert!((0..5).all(|i| net.knows(i, 5) && net.knows(5, i)));
}

#[test]
fn a_bootnode_that_starts_late_is_found() {
    let mut net = devnet(2);
    net.cut(Host(0), true);
    net.run_for(secs(100));
    assert!(net.discv4(1).table().is_empty());
    net.cut(Host(0), false);
    net.run_for(secs(200));
    assert!(net.knows(1, 0) && net.knows(0, 1));
}

/// The limit on pings to unproven addresses must not delay the third attempt, half a minute after the start.
#[test]
fn a_bootnode_that_starts_late_is_found_at_the_next_attempt() {
    let mut net = empty();
    net.add_at("80.1.1.1:30303", &[]);
    net.add_at("81.1.1.1:30303", &[0]);
    net.cut(Host(0), true);
    net.run_for(secs(15));
    net.cut(Host(0), false);
    net.run_for(secs(16));
    assert!(net.knows(1, 0), "after 15 seconds, and 15 more");
}

/// If bootnodes were asked only by empty tables, parts of a network that had removed each other would stay apart.
#[test]
fn separated_parts_of_a_network_meet_again_through_their_bootnode() {
    let mut net = devnet(6);
    net.run_for(secs(30));
    net.cut(Host(0), true);
    net.run_for(secs(300));
    assert!((1..6).all(|i| !net.knows(i, 0) && net.discv4(i).table().len() == 4));
    // It comes back alone, with an empty table.
    net.restart(0, vec![]);
    net.cut(Host(0), false);
    net.run_for(secs(60));
    let apart: Vec<_> = (1..6).filter(|i| !net.knows(*i, 0) || !net.knows(0, *i)).collect();
    assert!(apart.is_empty(), "{apart:?}");
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let run = |delay: u64| {
        let mut net = devnet(8);
        net.link.delay = (millis(delay), millis(delay));
        net.run_for(secs(40));
        (net.digest(), net.sent())
    };
    assert_eq!(run(20), run(20));
    assert_ne!(run(20).0, run(21).0);
}

#[test]
fn every_command_ends_in_its_event() {
    let mut net = devnet(8);
    net.run_for(secs(30));
    let contacts: Vec<_> = net.contacts();
    let target = *contacts[5].key().as_bytes();
    net.forget();
    let id = CommandId;
    net.call(7, |machine, cx| {
        machine.ping(cx, id(1), contacts[3]).unwrap();
        machine.ping(cx, id(2), contacts[3]).unwrap();
        machine.find_node(cx, id(3), contacts[2], target).unwrap();
        machine.find_node(cx, id(4), contacts[2], [9; 64]).unwrap();
        machine.lookup(cx, Some(id(5)), target).unwrap();
        machine.ping(cx, id(6), contacts[3].with_udp(1)).unwrap();
        let itself = machine.ping(cx, id(7), contacts[7]);
        assert_eq!(itself, Err(CommandError::Refused(Refusal::ToSelf)));
        assert_eq!(machine.ping(cx, id(8), contacts[3].with_udp(0)), Err(CommandError::NoPort));
    });
    net.run_for(secs(20));
    let mut ended = BTreeSet::new();
    for (_, event) in net.events(Host(7)) {
        let (CommandId(command), is_right) = match event {
            Event::Pong { command, contact, rtt, seen_as, .. } => {
                (*command, *contact == contacts[3] && *rtt == millis(40) && *seen_as == Some(net.addr(Host(7))))
            }
            Event::Nodes { command, nodes, queries, .. } => {
                let is_nearest = command.0 == 4 || nodes.first() == Some(&contacts[5]);
                (*command, is_nearest && nodes.len() >= 6 && (*queries > 1) == (command.0 == 5))
            }
            Event::CallFailed { command, why } => (*command, command.0 == 6 && *why == CallFailure::Timeout),
            _ => continue,
        };
        assert!(is_right, "{event:?}");
        assert!(ended.insert(command), "{event:?} is the second end");
    }
    assert_eq!(ended, BTreeSet::from([1, 2, 3, 4, 5, 6]));
}

#[test]
fn traffic_is_low_once_the_table_is_full() {
    let mut net = devnet(20);
    net.run_for(secs(90));
    let sent = net.sent();
    net.run_for(secs(600));
    // About one check per node and second, two packets each, and the few lookups of a young table.
    let per_node_and_second = (net.sent() - sent) as f64 / 20.0 / 600.0;
    assert!(per_node_and_second < 2.5, "{per_node_and_second}");
}

/// More lookups than these fill no more of a table.
#[test]
fn the_pauses_between_lookups_of_a_young_table_grow() {
    let mut net = devnet(20);
    net.run_for(secs(58));
    let lookups: Vec<_> = (0..20).map(|i| net.discv4(i).lookups_started).collect();
    assert!(lookups.iter().all(|lookups| (4..=6).contains(lookups)), "{lookups:?}");
}

#[test]
fn a_table_is_young_for_a_quarter_of_an_hour() {
    let mut net = devnet(20);
    let mut lookups_until = |time| {
        net.run_for(time);
        (0..20).map(|i| net.discv4(i).lookups_started).collect::<Vec<_>>()
    };
    let (early, late) = (lookups_until(secs(300)), lookups_until(secs(550)));
    assert!(early.iter().zip(&late).all(|(early, late)| (1..=2).contains(&(late - early))), "{early:?} {late:?}");
}

#[test]
fn a_lookup_advances_with_every_answer() {
    let mut net = devnet(20);
    net.run_for(secs(60));
    net.call(1, |machine, cx| machine.lookup(cx, Some(CommandId(7)), [9; 64])).unwrap();
    net.run_for(millis(900));
    let is_over = |event: &Event<'_>| matches!(event, Event::Nodes { command: CommandId(7), queries: 16.., .. });
    assert!(net.saw(Host(1), is_over));
}

#[test]
fn random_targets_lie_in_the_furthest_bucket_with_room() {
    let mut net = devnet(1);
    net.call(0, |machine, cx| {
        let own = *machine.local().id();
        let distance = |target: [u8; 64]| own.log_distance(&NodeId(keccak256(&target)));
        for _ in 0..8 {
            assert_eq!(distance(machine.random_target(cx)), 256, "half of all ids are as far as that");
        }
        for n in 0..16 {
            let mut id = own;
            id.0[0] ^= 0x80;
            id.0[31] = n;
            let contact = Contact::with_id(*machine.local().key(), id, [20 + n, 1, 1, 1].into(), 30303, 30303);
            assert!(machine.table.insert(contact, cx.now, cx.rng).is_some());
        }
        for _ in 0..8 {
            assert_eq!(distance(machine.random_target(cx)), 255, "the furthest with room");
        }
    });
}

#[test]
fn a_machine_at_rest_fits_in_64_kib() {
    // With every bucket full, which takes a network of 2^20 nodes.
    let bucket = size_of::<Entry>() * limits::BUCKET_SIZE + size_of::<Contact>() * limits::REPLACEMENTS;
    let at_rest = size_of::<Discv4>() + bucket * limits::BUCKETS;
    assert!(at_rest <= 64 << 10, "{at_rest}");
}
