//! Commands of the embedder: what is refused and why, and settings that change while the machine runs.

use super::*;

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

/// Every request of the embedder to this contact.
fn each_request(net: &mut Net, contact: Contact) -> [Result<(), CommandError>; 4] {
    net.call(0, |machine, cx| {
        [
            machine.ping(cx, CommandId(1), contact),
            machine.request_record(cx, CommandId(2), contact),
            machine.find_node(cx, CommandId(3), contact, &[256]),
            machine.talk(cx, CommandId(4), contact, b"p", b"hello"),
        ]
    })
}

#[test]
fn requests_are_refused_with_their_reason() {
    let mut net = empty();
    let filter = NetFilter::only(vec!["90.0.0.0/8".parse().unwrap()]);
    net.add_with("100.0.0.1:30303", quiet(), filter);
    let node = stranger().contact();
    let itself = Contact::new(net.own().1, node.ip(), node.udp(), node.tcp());
    let elsewhere = Stranger::new(7, "91.1.1.1:30303").contact();
    for (contact, refused) in [
        (itself, CommandError::Refused(Refusal::ToSelf)),
        (node.with_udp(0), CommandError::NoPort),
        (elsewhere, CommandError::Refused(Refusal::Filtered)),
    ] {
        assert_eq!(each_request(&mut net, contact), [Err(refused); 4]);
        assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, contact)), Err(refused));
    }
    assert_eq!(each_request(&mut net, node), [Ok(()); 4]);
    net.call(0, |machine, cx| {
        for distances in [&[][..], &[257], &[1, 2, 300], &[7; 258]] {
            assert_eq!(machine.find_node(cx, CommandId(9), node, distances), Err(CommandError::Distances));
        }
        assert_eq!(machine.find_node(cx, CommandId(5), node, &[256; 257]), Ok(()));
        let large = [0; TALK_BYTES_MAX];
        assert_eq!(machine.talk(cx, CommandId(9), node, b"p", &large), Err(CommandError::TooLarge));
        assert_eq!(machine.talk(cx, CommandId(6), node, b"p", &large[1..]), Ok(()));
        let id = TalkId { node: node.id(), addr: node.udp_addr(), request: *ID };
        assert_eq!(machine.respond(cx, &id, &[0; TALK_BYTES_MAX + 1]), Err(CommandError::TooLarge));
        assert_eq!(machine.respond(cx, &id, &large), Err(CommandError::UnknownRequest));
    });
    assert_eq!(net.sent(), 1, "one handshake for all");
    net.run_for(secs(3));
    assert_eq!(net.count(0, |event| matches!(event, Event::CallFailed { .. })), 6);
}

#[test]
fn too_many_calls_or_lookups_are_busy() {
    let mut net = quiet_victim();
    let contact = |n: usize| Stranger::new(1 + n as u8, &alloc::format!("90.{n}.1.1:30303")).contact();
    let ping = |net: &mut Net, n: usize| net.call(0, |machine, cx| machine.ping(cx, CommandId(n as u64), contact(n)));
    for n in 0..limits::CALLS_MAX {
        assert!(net.discv5(0).has_room() || n > limits::CALLS_MAX / 2);
        ping(&mut net, n).unwrap();
    }
    assert!(!net.discv5(0).has_room());
    assert_eq!(ping(&mut net, 200), Err(CommandError::Busy));
    // What needs two calls fails as well, and once.
    net.run_for(secs(3));
    assert_eq!(net.count(0, |event| matches!(event, Event::CallFailed { .. })), limits::CALLS_MAX);
    assert!(net.discv5(0).has_room());
    let mut silent = Stranger::new(7, "95.1.1.1:30303");
    net.introduce(&mut silent);
    for n in 0..=limits::LOOKUPS_MAX as u64 {
        let result = net.call(0, |machine, cx| machine.lookup(cx, Some(CommandId(500 + n)), NodeId([n as u8; 32])));
        let expected = if n < limits::LOOKUPS_MAX as u64 { Ok(()) } else { Err(CommandError::Busy) };
        assert_eq!(result, expected, "{n}");
    }
}

/// The last free call is taken by a request that needs a ping first.
#[test]
fn a_large_request_without_room_for_its_ping_ends_once() {
    let mut net = quiet_victim();
    let contact = |n: usize| Stranger::new(1 + n as u8, &alloc::format!("90.{n}.1.1:30303")).contact();
    for n in 1..limits::CALLS_MAX {
        net.call(0, |machine, cx| machine.ping(cx, CommandId(n as u64), contact(n))).unwrap();
    }
    let result = net.call(0, |machine, cx| machine.talk(cx, CommandId(0), contact(200), b"p", &[0; 1000]));
    net.run_for(secs(3));
    let ends = net.count(0, |event| matches!(event, Event::CallFailed { command: CommandId(0), .. }));
    assert_eq!(ends, usize::from(result.is_ok()));
    assert!(net.discv5(0).calls().is_empty());
}

#[test]
fn a_nodes_record_is_requested_and_emitted() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let contact = stranger.contact();
    for command in [1, 2] {
        net.call(0, |machine, cx| machine.request_record(cx, CommandId(command), contact)).unwrap();
        let is_given = command == 1;
        net.attend(&mut [&mut stranger], secs(2), |stranger, id, _| {
            vec![Plain::nodes(id, 1, is_given.then_some(&stranger.record))]
        });
    }
    let record = net.find(Host(0), |event| match event {
        Event::Record { command: CommandId(1), record } => Some((**record).clone()),
        _ => None,
    });
    assert_eq!(record, Some(stranger.record.clone()));
    assert!(
        net.saw(Host(0), |event| matches!(event, Event::CallFailed { command: CommandId(2), .. })),
        "none was sent"
    );
}

#[test]
fn a_node_that_is_added_enters_the_table_when_it_answers() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let contact = stranger.contact();
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, contact)), Ok(()));
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, contact)), Ok(()), "it is being pinged");
    assert!(!net.knows_stranger(&stranger));
    net.attend(&mut [&mut stranger], secs(1), honest);
    assert!(net.knows_stranger(&stranger));
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, contact)), Ok(()), "it is in the table");
    let kept = net.discv5(0).table().kept(&stranger.id).map(StoredRecord::as_bytes);
    assert_eq!(kept, Some(stranger.record.as_bytes()), "with its record");
    // One that is silent is not pinged again soon.
    let silent = Stranger::new(8, "91.1.1.1:30303").contact();
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, silent)), Ok(()));
    net.run_for(secs(5));
    let again = net.call(0, |machine, cx| machine.add_node(cx, silent));
    assert_eq!(again, Err(CommandError::Refused(Refusal::RecentlyPinged)));
    assert_eq!(net.sent_to(|to| to == silent.udp_addr()), 1);
}

#[test]
fn bootnodes_that_are_set_later_are_asked_at_once_by_an_empty_table_only() {
    let mut net = devnet(4);
    net.add_at("60.9.0.1:30303", &[]);
    net.run_for(secs(30));
    assert!(net.discv5(4).table().is_empty());
    let bootnode = net.contact(0);
    net.with(Host(4), |lone, _| {
        lone.bootnodes.push(bootnode.udp_addr());
        lone.protocol.set_bootnodes(vec![bootnode]);
    });
    net.run_for(secs(2));
    assert!(net.knows(4, 0));
    net.run_for(secs(30));
    let (due, known) = (net.discv5(4).refresh.due(), net.discv5(4).table().len());
    net.with(Host(4), |lone, _| lone.protocol.set_bootnodes(vec![]));
    assert_eq!((net.discv5(4).refresh.due(), net.discv5(4).table().len()), (due, known));
}

#[test]
fn nodes_that_the_filter_no_longer_permits_leave() {
    let mut net = devnet(6);
    net.run_for(secs(30));
    assert_eq!(net.discv5(0).table().len(), 5);
    let left = net.addr(Host(2)).ip();
    net.with(Host(0), |lone, now| {
        lone.context.filter = NetFilter::only(vec![alloc::format!("{left}/32").parse().unwrap()]);
        lone.call(now, Discv5::filter_changed);
    });
    let entries: Vec<_> = net.discv5(0).table().entries().map(|entry| entry.contact().ip()).collect();
    assert_eq!(entries, [left]);
    let before = net.datagrams().len();
    net.run_for(secs(60));
    let datagrams = &net.datagrams()[before..];
    assert!(
        datagrams.iter().all(|datagram| datagram.host != Host(0) || !datagram.is_sent || datagram.remote.ip() == left)
    );
    assert_eq!(net.discv5(0).table().len(), 1);
}
