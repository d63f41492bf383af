//! Commands of the embedder beside requests: nodes to add, and settings that change while the machine runs.

use super::*;

/// A node is taken if and only if it is pinged later.
#[test]
fn a_node_that_is_added_is_pinged_or_refused_as_busy() {
    let mut net = victim();
    let (mut added, mut refused) = (vec![], vec![]);
    for n in 0..300u16 {
        let node = Stranger::new(1 + (n % 250) as u8, &alloc::format!("9{}.{}.1.1:30303", n / 250, n % 250));
        match net.call(0, |machine, cx| machine.add_node(cx, node.contact())) {
            Ok(()) => added.push(node.addr),
            Err(error) => {
                assert_eq!(error, CommandError::Busy);
                refused.push(node.addr);
            }
        }
    }
    assert_eq!(added.len(), limits::VERIFY_PARALLEL + limits::UNVERIFIED_MAX);
    net.run_for(secs(5));
    assert!(added.iter().all(|addr| net.sent_to(|to| to == *addr) == 1), "each that was taken");
    assert!(refused.iter().all(|addr| net.sent_to(|to| to == *addr) == 0), "none that was refused");
    let late = Stranger::new(7, "95.1.1.1:30303");
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, late.contact())), Ok(()), "there is room again");
}

#[test]
fn adding_a_node_is_refused_with_its_reason() {
    let mut net = victim();
    let node = Stranger::new(7, "90.1.1.1:30303").contact();
    let itself = Contact::new(*net.discv4(0).local().key(), node.ip(), node.udp(), node.tcp());
    let mut add = |contact| net.call(0, |machine, cx| machine.add_node(cx, contact));
    assert_eq!(add(itself), Err(CommandError::Refused(Refusal::ToSelf)));
    assert_eq!(add(node.with_udp(0)), Err(CommandError::NoPort));
    assert_eq!(add(node), Ok(()));
    assert_eq!(add(node), Ok(()), "it waits already");
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    net.bond(&stranger);
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, node)), Ok(()), "it is in the table");
    // The subnet has its share of the bucket, and of the table.
    for n in 8..60 {
        net.bond_if_pinged(&Stranger::new(n, &alloc::format!("90.1.1.{n}:30303")));
    }
    let full = Stranger::new(99, "90.1.1.99:30303").contact();
    assert!(!net.discv4(0).table().has_room_for(&full));
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, full)), Err(CommandError::Refused(Refusal::TableFull)));
}

#[test]
fn pings_carry_the_endpoint_that_was_set_last() {
    let mut net = victim();
    let endpoint = Endpoint { ip: Some([100, 7, 7, 7].into()), udp: 7777, tcp: 8888 };
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    let ping = |net: &mut Net, command| {
        net.call(0, |machine, cx| machine.ping(cx, CommandId(command), stranger.contact())).unwrap();
        let pings = net.take(stranger.addr);
        let [(Packet::Ping { from, .. }, hash)] = &pings[..] else { panic!("{pings:?}") };
        (*from, *hash)
    };
    let (before, hash) = ping(&mut net, 1);
    assert_ne!(before, endpoint);
    net.call(0, |machine, _| machine.set_endpoint(endpoint));
    let pong = net.pong(hash);
    assert_eq!(net.send_from(&stranger, &pong).1, Received::Handled, "a request in flight is not affected");
    assert!(net.knows_stranger(&stranger));
    assert_eq!(ping(&mut net, 2).0, endpoint);
}

#[test]
fn new_bootnodes_are_asked_at_once_while_the_table_is_empty() {
    let mut net = empty();
    for at in ["80.1.1.1:30303", "81.1.1.1:30303"] {
        net.add_at(at, &[]);
    }
    net.add_at("82.1.1.1:30303", &[0]);
    net.cut(Host(0), true);
    net.run_for(secs(100));
    assert!(net.discv4(2).table().is_empty());
    let (bootnodes, bootnode) = (vec![net.contact(1)], net.addr(Host(1)));
    net.with(Host(2), |lone, _| {
        lone.bootnodes.push(bootnode);
        lone.protocol.set_bootnodes(bootnodes);
    });
    net.run_for(secs(1));
    assert!(net.knows(2, 1), "without the minutes of a pause that has doubled each time");
}

#[test]
fn new_bootnodes_of_a_table_with_nodes_are_asked_in_the_next_round() {
    let mut net = devnet(3);
    net.run_for(secs(30));
    let due = net.discv4(2).refresh.due();
    let table = net.discv4(2).table().len();
    net.call(2, |machine, _| machine.set_bootnodes(vec![]));
    assert_eq!(net.discv4(2).refresh.due(), due);
    net.run_for(secs(60));
    assert_eq!(net.discv4(2).table().len(), table, "no node leaves for it");
}

#[test]
fn a_machine_that_loses_its_bootnodes_before_it_began_admits_every_proven_node() {
    let mut net = empty();
    net.add_with("81.1.1.1:30303", vec![contact_of(1, "80.1.1.1:30303")], NetFilter::default());
    net.add_at("80.1.1.1:30303", &[]);
    net.call(0, |machine, _| machine.set_bootnodes(vec![]));
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    net.bond(&stranger);
    assert!(net.knows_stranger(&stranger));
}

#[test]
fn with_the_first_node_the_next_round_of_lookups_is_due_soon() {
    let mut net = victim();
    net.run_for(secs(600));
    let (soonest, _) = net.discv4(0).config.schedule.young_interval;
    net.bond(&Stranger::new(7, "90.1.1.1:30303"));
    let due = net.discv4(0).refresh.due().unwrap();
    assert!(due >= net.now(), "not before the others have answered");
    assert!(due <= net.now() + soonest / 5, "{due:?}");
    net.bond(&Stranger::new(8, "91.1.1.1:30303"));
    assert_eq!(net.discv4(0).refresh.due(), Some(due), "a second one changes nothing");
}

#[test]
fn all_calls_can_be_used_and_verifications_leave_some_to_commands() {
    let mut net = victim();
    let contact = |n: usize| Stranger::new(1 + n as u8, &alloc::format!("90.{n}.1.1:30303")).contact();
    let ping = |net: &mut Net, n: usize| net.call(0, |machine, cx| machine.ping(cx, CommandId(n as u64), contact(n)));
    for n in 0..limits::CALLS_MAX - 4 {
        ping(&mut net, n).unwrap();
    }
    for n in 200..210 {
        net.call(0, |machine, cx| machine.add_node(cx, contact(n))).unwrap();
    }
    let more = (210..250).take_while(|n| ping(&mut net, *n).is_ok()).count();
    assert_eq!((more, net.discv4(0).calls().len()), (1, limits::CALLS_MAX));
}

/// A table that knows as many nodes as a lookup asks at once needs no help.
#[test]
fn bootnodes_help_lookups_of_a_table_that_knows_little() {
    let bootnode = Stranger::new(99, "99.1.1.1:30303");
    for known in [limits::LOOKUP_PARALLEL - 1, limits::LOOKUP_PARALLEL] {
        let mut net = victim();
        for n in 0..known {
            net.bond(&Stranger::new(7 + n as u8, &alloc::format!("9{n}.1.1.1:30303")));
        }
        net.forget();
        net.call(0, |machine, cx| {
            machine.set_bootnodes(vec![bootnode.contact()]);
            machine.lookup(cx, Some(CommandId(1)), *bootnode.key.as_bytes()).unwrap();
        });
        assert_eq!(net.sent_to(|to| to == bootnode.addr) > 0, known < limits::LOOKUP_PARALLEL, "{known} known");
    }
}

/// With an empty table, only our bootnodes may be pinged beyond the budget of an unproven address.
#[test]
fn an_empty_table_lifts_the_budget_of_pings_for_bootnodes_only() {
    let mut net = victim();
    let nodes: Vec<_> =
        (0..4).map(|n| Stranger::new(7 + n, &alloc::format!("90.1.1.1:{}", 30303 + u16::from(n)))).collect();
    for (i, node) in nodes.iter().enumerate() {
        let answer = net.call(0, |machine, cx| machine.add_node(cx, node.contact()));
        let refused = Err(CommandError::Refused(Refusal::RecentlyPinged));
        assert_eq!(answer, if i == 0 { Ok(()) } else { refused });
    }
    net.run_for(secs(5));
    assert!(net.discv4(0).table().is_empty());
    assert_eq!(net.sent_to(|to| to.ip() == nodes[0].addr.ip()), 1, "the one that was taken");
}
