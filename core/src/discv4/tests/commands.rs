//! Commands of the embedder beside requests: nodes to add, and settings that change while the machine runs.

use super::*;

fn pings_at(net: &Net, at: SocketAddr) -> usize {
    net.inbox.iter().filter(|(to, _)| *to == at).count()
}

/// A node is taken if and only if it is pinged later.
#[test]
fn a_node_that_is_added_is_pinged_or_refused_as_busy() {
    let mut net = Net::with_victim();
    let (mut added, mut refused) = (vec![], vec![]);
    for n in 0..300u16 {
        let node = Stranger::new(1 + (n % 250) as u8, &alloc::format!("9{}.{}.1.1:30303", n / 250, n % 250));
        match net.with(0, |machine, cx| machine.add_node(cx, node.contact())) {
            Ok(()) => added.push(node.addr),
            Err(error) => {
                assert_eq!(error, CommandError::Busy);
                refused.push(node.addr);
            }
        }
    }
    assert_eq!(added.len(), limits::VERIFY_PARALLEL + limits::UNVERIFIED_MAX);
    net.run(secs(5));
    assert!(added.iter().all(|addr| pings_at(&net, *addr) == 1), "each that was taken");
    assert!(refused.iter().all(|addr| pings_at(&net, *addr) == 0), "none that was refused");
    let late = Stranger::new(7, "95.1.1.1:30303");
    assert_eq!(net.with(0, |machine, cx| machine.add_node(cx, late.contact())), Ok(()), "there is room again");
}

#[test]
fn adding_a_node_is_refused_with_its_reason() {
    let mut net = Net::with_victim();
    let node = Stranger::new(7, "90.1.1.1:30303").contact();
    let itself = Contact::new(*net.peers[0].machine.local().key(), node.ip(), node.udp(), node.tcp());
    let mut add = |contact| net.with(0, |machine, cx| machine.add_node(cx, contact));
    assert_eq!(add(itself), Err(CommandError::Refused(Refusal::ToSelf)));
    assert_eq!(add(node.with_udp(0)), Err(CommandError::NoPort));
    assert_eq!(add(node), Ok(()));
    assert_eq!(add(node), Ok(()), "it waits already");
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    net.bond(&stranger);
    assert_eq!(net.with(0, |machine, cx| machine.add_node(cx, node)), Ok(()), "it is in the table");
    // The subnet has its share of the bucket, and of the table.
    for n in 8..60 {
        net.bond_if_pinged(&Stranger::new(n, &alloc::format!("90.1.1.{n}:30303")));
    }
    let full = Stranger::new(99, "90.1.1.99:30303").contact();
    assert!(!net.peers[0].machine.table().has_room_for(&full));
    assert_eq!(net.with(0, |machine, cx| machine.add_node(cx, full)), Err(CommandError::Busy));
}

#[test]
fn pings_carry_the_endpoint_that_was_set_last() {
    let mut net = Net::with_victim();
    let endpoint = Endpoint { ip: Some([100, 7, 7, 7].into()), udp: 7777, tcp: 8888 };
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    let ping = |net: &mut Net, command| {
        net.with(0, |machine, cx| machine.ping(cx, CommandId(command), stranger.contact())).unwrap();
        let pings = net.take(stranger.addr);
        let [(Packet::Ping { from, .. }, hash)] = &pings[..] else { panic!("{pings:?}") };
        (*from, *hash)
    };
    let (before, hash) = ping(&mut net, 1);
    assert_ne!(before, endpoint);
    net.with(0, |machine, _| machine.set_endpoint(endpoint));
    let pong = net.pong(hash);
    assert_eq!(net.send(&stranger, &pong).1, Received::Handled, "a request in flight is not affected");
    assert!(net.knows_stranger(&stranger));
    assert_eq!(ping(&mut net, 2).0, endpoint);
}

#[test]
fn new_bootnodes_are_asked_at_once_while_the_table_is_empty() {
    let mut net = Net::new();
    for at in ["80.1.1.1:30303", "81.1.1.1:30303"] {
        net.add(at, &[]);
    }
    net.add("82.1.1.1:30303", &[0]);
    net.peers[0].is_up = false;
    net.run(secs(100));
    assert!(net.peers[2].machine.table().is_empty());
    let (bootnodes, bootnode) = (vec![net.peers[1].contact()], net.peers[1].addr);
    net.peers[2].bootnodes.push(bootnode);
    net.with(2, |machine, _| machine.set_bootnodes(bootnodes));
    net.run(secs(1));
    assert!(net.knows(2, 1), "without the minutes of a pause that has doubled each time");
}

#[test]
fn new_bootnodes_of_a_table_with_nodes_are_asked_in_the_next_round() {
    let mut net = devnet(3);
    net.run(secs(30));
    let due = net.peers[2].machine.refresh_due;
    let table = net.peers[2].machine.table().len();
    net.with(2, |machine, _| machine.set_bootnodes(vec![]));
    assert_eq!(net.peers[2].machine.refresh_due, due);
    net.run(secs(60));
    assert_eq!(net.peers[2].machine.table().len(), table, "no node leaves for it");
}

#[test]
fn a_machine_that_loses_its_bootnodes_before_it_began_admits_every_proven_node() {
    let mut net = Net::new();
    net.add("80.1.1.1:30303", &[]);
    net.add("81.1.1.1:30303", &[0]);
    net.peers.swap(0, 1);
    net.with(0, |machine, _| machine.set_bootnodes(vec![]));
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    net.bond(&stranger);
    assert!(net.knows_stranger(&stranger));
}
