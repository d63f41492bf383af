//! Any input in any order: no panic, bounded memory, every call ends once.

use super::*;

#[test]
fn no_datagram_causes_a_panic_or_unbounded_memory() {
    let mut net = devnet(3);
    net.run_for(secs(20));
    let mut rng = Seed::new([8; 32]).fork("any");
    let stranger = Stranger::new(7, "127.0.0.1:40000");
    let samples: Vec<Vec<u8>> = [
        net.ping(),
        net.pong([1; 32]),
        net.find_node([2; 64]),
        Packet::Neighbors { nodes: vec![], expiration: net.soon() },
        Packet::EnrRequest { expiration: net.soon() },
        Packet::EnrResponse { request_hash: [3; 32], record: vec![0xc0] },
    ]
    .iter()
    .map(|packet| {
        let mut bytes = vec![];
        packet.seal(&**CRYPTO, &stranger.secret, &mut bytes);
        bytes
    })
    .collect();
    let mut outcomes = BTreeMap::<_, u32>::new();
    for i in 0..100_000u32 {
        let mut bytes = rng.choose(&samples).unwrap().clone();
        match rng.below(8) {
            0 => {
                bytes.resize(rng.below(1400) as usize, 0);
                rng.fill(&mut bytes);
            }
            1 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
            2 => bytes.extend_from_slice(&rng.bytes::<40>()),
            _ => {}
        }
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            if let Some(byte) = bytes.get_mut(at) {
                *byte = rng.u64() as u8;
            }
        }
        // Most pass the check of the hash, and many that of the signature.
        if rng.below(4) != 0 && bytes.len() >= 98 {
            if rng.below(4) == 0 {
                let digest = keccak256(&bytes[97..]);
                bytes[32..97].copy_from_slice(&CRYPTO.sign(&stranger.secret, &digest).0);
            }
            let hash = keccak256(&bytes[32..]);
            bytes[..32].copy_from_slice(&hash);
        }
        let from = SocketAddr::new([127, 0, 0, 1].into(), rng.below(5) as u16 * 10_000);
        let received = net.deliver(0, from, &bytes);
        *outcomes.entry(alloc::format!("{received:?}")).or_default() += 1;
        net.run_for(Duration::from_micros(rng.below(2000)));
        if i % 4096 == 0 {
            net.forget();
        }
    }
    assert!(outcomes.len() > 12, "{outcomes:?}");
    let machine = &net.discv4(0);
    assert!(machine.calls.len() <= limits::CALLS_MAX && machine.bonds.len() <= limits::BONDS_MAX);
    assert!(machine.unverified.len() <= limits::UNVERIFIED_MAX && machine.lookups.len() <= limits::LOOKUPS_MAX);
}

#[test]
fn d15_every_command_ends_once_with_any_losses() {
    for seed in 0..4u8 {
        let mut net = devnet(6);
        net.run_for(secs(20));
        let mut rng = Seed::new([seed; 32]).fork("loss");
        let contacts: Vec<_> = net.contacts();
        net.forget();
        let (mut accepted, mut refused, mut is_cut) = (BTreeSet::new(), 0u32, [false; 6]);
        net.link.loss_percent = 33;
        for command in 0..600 {
            let contact = *rng.choose(&contacts).unwrap();
            let id = CommandId(command);
            let kind = rng.below(3);
            let result = net.call(2, |machine, cx| match kind {
                0 => machine.ping(cx, id, contact),
                1 => machine.find_node(cx, id, contact, [1; 64]),
                _ => machine.lookup(cx, Some(id), [2; 64]),
            });
            match result {
                Ok(()) => _ = accepted.insert(command),
                Err(_) => refused += 1,
            }
            // Peers are cut off and come back.
            if rng.below(50) == 0 {
                let peer = rng.below(6) as usize;
                is_cut[peer] = peer != 2 && !is_cut[peer];
                net.cut(Host(peer), is_cut[peer]);
            }
            net.run_for(millis(rng.below(60)));
        }
        let is_shut_down = seed % 2 == 0;
        if is_shut_down {
            net.call(2, |machine, cx| machine.shutdown(cx));
            assert_eq!(net.discv4(2).poll_timeout(), None);
        } else {
            net.run_for(secs(400));
        }
        let mut ended = BTreeSet::new();
        for (_, event) in net.events(Host(2)) {
            let (Event::Pong { command, .. } | Event::Nodes { command, .. } | Event::CallFailed { command, .. }) =
                event
            else {
                continue;
            };
            assert!(ended.insert(command.0), "{event:?} is the second end");
        }
        assert_eq!(ended, accepted);
        assert!(refused > 0 && accepted.len() > 100, "{refused} refused, {} accepted", accepted.len());
    }
}

#[test]
fn after_shutdown_nothing_is_sent_or_emitted() {
    let mut net = devnet(3);
    net.run_for(secs(5));
    let contact = net.contact(1);
    net.call(0, |machine, cx| machine.ping(cx, CommandId(1), contact)).unwrap();
    net.call(0, |machine, cx| machine.shutdown(cx));
    let why = net.find(Host(0), |event| match event {
        Event::CallFailed { command: CommandId(1), why } => Some(*why),
        _ => None,
    });
    assert_eq!(why, Some(CallFailure::Closed));
    net.run_for(secs(1));
    let sent = |net: &Net| net.datagrams().iter().filter(|sent| sent.is_sent && sent.host == Host(0)).count();
    let before = (sent(&net), net.events(Host(0)).len());
    let stranger = Stranger::new(7, "127.0.0.1:40000");
    let ping = net.ping();
    assert_eq!(net.send_from(&stranger, &ping).1, Received::Dropped(DropReason::ShuttingDown));
    assert_eq!(net.deliver(0, stranger.addr, &[7; 98]), Received::Unrecognised, "another protocol's");
    net.call(0, |machine, cx| {
        assert_eq!(machine.handle_timeout(cx), Growth::None);
        assert_eq!(machine.add_node(cx, contact), Err(CommandError::ShuttingDown));
        assert_eq!(machine.ping(cx, CommandId(2), contact), Err(CommandError::ShuttingDown));
        assert_eq!(machine.lookup(cx, None, [1; 64]), Err(CommandError::ShuttingDown));
        machine.shutdown(cx);
    });
    assert_eq!((sent(&net), net.events(Host(0)).len()), before);
}

/// A queued request is sent when the one before it ends, which may be after the proof has lapsed.
#[test]
fn a_queued_request_fails_when_its_endpoint_proof_lapses() {
    let (mut net, stranger) = (victim(), Stranger::new(7, "90.1.1.1:30303"));
    net.bond(&stranger);
    for command in [CommandId(1), CommandId(2)] {
        net.call(0, |machine, cx| machine.find_node(cx, command, stranger.contact(), [3; 64])).unwrap();
    }
    let asked = net.take(stranger.addr);
    assert_eq!(asked.iter().filter(|(packet, _)| packet.kind() == Kind::FindNode).count(), 1);
    net.suspend_for(limits::BOND_LIFETIME);
    _ = net.timeout(0);
    net.run_for(secs(5));
    assert!(
        net.take(stranger.addr).iter().all(|(packet, _)| packet.kind() == Kind::Ping),
        "nothing but pings before the endpoint is proven again"
    );
    let failed = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Timeout, .. });
    assert_eq!(net.count(0, failed), 2);
}

/// A node may lose our proof by a restart or an eviction. It is not dead then.
#[test]
fn a_node_that_lost_our_proof_is_asked_again_after_another_exchange() {
    let mut net = devnet(4);
    net.run_for(secs(90));
    let contact = net.contact(2);
    let bond = |machine: &mut Discv4, cx: &mut Cx<'_>| {
        machine.bonds.find(&contact.id(), contact.udp_addr(), cx.now).is_some_and(|bond| bond.is_mutual())
    };
    assert!(net.call(1, bond));
    net.call(2, |machine, cx| machine.bonds = Bonds::new(cx.now, cx.rng));
    net.forget();
    // One in flight, one queued behind it, and a lookup of the node itself.
    for command in [CommandId(1), CommandId(2)] {
        net.call(1, |machine, cx| machine.find_node(cx, command, contact, [3; 64])).unwrap();
    }
    net.call(1, |machine, cx| machine.lookup(cx, Some(CommandId(3)), *contact.key().as_bytes())).unwrap();
    net.run_for(secs(3));
    let answered = |event: &Event<'_>| match event {
        Event::Nodes { command, nodes, .. } => Some((command.0, command.0 < 3 || nodes.first() == Some(&contact))),
        _ => None,
    };
    let answers: BTreeSet<_> = net.events(Host(1)).iter().filter_map(|(_, event)| answered(event)).collect();
    assert_eq!(answers, BTreeSet::from([(1, true), (2, true), (3, true)]), "{:?}", net.events(Host(1)));
}

#[test]
fn a_dead_node_is_pinged_once_more_before_its_requests_fail() {
    let (mut net, stranger) = (victim(), Stranger::new(7, "90.1.1.1:30303"));
    net.bond(&stranger);
    for command in [CommandId(1), CommandId(2)] {
        net.call(0, |machine, cx| machine.find_node(cx, command, stranger.contact(), [3; 64])).unwrap();
    }
    net.take(stranger.addr);
    net.run_for(limits::CALL_TIMEOUT);
    assert_eq!(net.take(stranger.addr).iter().map(|(packet, _)| packet.kind()).collect::<Vec<_>>(), [Kind::Ping]);
    net.run_for(limits::CALL_TIMEOUT);
    let is_command = |call: &calls::Call| matches!(call.purpose, Purpose::Command(_));
    assert!(!net.discv4(0).calls.iter().any(is_command));
    let failed = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Timeout, .. });
    assert_eq!(net.count(0, failed), 2);
}

#[test]
fn timeouts_before_the_deadline_do_nothing() {
    let mut net = devnet(4);
    net.run_for(secs(10));
    for _ in 0..200 {
        let before = net.sent();
        let due = net.discv4(0).poll_timeout().unwrap().0;
        if due > net.now() {
            _ = net.timeout(0);
            assert_eq!(net.sent(), before);
        }
        net.run_for(millis(37));
    }
}

#[test]
fn short_and_foreign_datagrams_are_unrecognised() {
    let mut net = victim();
    for bytes in [&[][..], &[0; 63], &[0; 97], &[7; 98], &[7; 1280]] {
        assert_eq!(net.deliver(0, addr("90.1.1.1:30303"), bytes), Received::Unrecognised);
    }
    let too_large = net.deliver(0, addr("90.1.1.1:30303"), &[7; 1281]);
    assert_eq!(too_large, Received::Dropped(DropReason::Malformed(crate::wire::DecodeError::TooLarge)));
}

#[test]
fn work_beyond_the_budget_of_a_turn_is_due_a_microsecond_later() {
    let mut net = victim();
    let count = limits::CALL_ENDS_PER_TURN as u64 * 3;
    for n in 0..count {
        let silent = Stranger::new(9, &alloc::format!("90.1.{n}.1:30303")).contact();
        net.call(0, |machine, cx| machine.ping(cx, CommandId(n), silent)).unwrap();
    }
    net.suspend_for(limits::CALL_TIMEOUT);
    let mut turns = 0;
    while !net.discv4(0).calls.is_empty() {
        turns += 1;
        _ = net.timeout(0);
        let (due, why) = net.discv4(0).poll_timeout().unwrap();
        if !net.discv4(0).calls.is_empty() {
            assert_eq!((due, why), (net.now() + Duration::from_micros(1), DiscoveryTimer::Call));
            net.suspend_for(due.since(net.now()));
        }
    }
    assert_eq!(turns, 3);
    let is_timeout = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Timeout, .. });
    assert_eq!(net.count(0, is_timeout) as u64, count);
}

/// The parent of a machine that compares lengths around datagrams would miss it.
#[test]
fn a_replacement_that_moves_up_in_a_timeout_is_growth() {
    let mut net = victim();
    let own = *net.discv4(0).local().id();
    let strangers = (10..=250).map(|n| Stranger::new(n, &alloc::format!("90.{n}.1.1:30303")));
    let alike: Vec<_> = strangers.filter(|stranger| own.log_distance(&stranger.key.node_id()) == 256).collect();
    let (dead, others) = alike.split_first().unwrap();
    net.bond(dead);
    let replacement = others[limits::BUCKET_SIZE - 1].contact();
    net.call(0, |machine, cx| {
        for other in &others[..limits::BUCKET_SIZE] {
            _ = machine.table.insert(other.contact(), cx.now, cx.rng);
        }
        for command in 0..u64::from(limits::FIND_FAILURES_MAX) {
            machine.find_node(cx, CommandId(command), dead.contact(), [3; 64]).unwrap();
        }
    });
    assert!(net.discv4(0).table().entry(&replacement.id()).is_none());
    let end = net.now() + secs(2);
    while net.discv4(0).table().entry(&replacement.id()).is_none() {
        assert!(net.now() < end, "the dead node is removed");
        net.suspend_for(net.discv4(0).poll_timeout().unwrap().0.since(net.now()));
        let growth = net.timeout(0);
        assert_eq!(growth == Growth::Grew, net.discv4(0).table().entry(&replacement.id()).is_some());
    }
    assert!(!net.knows_stranger(dead));
}
