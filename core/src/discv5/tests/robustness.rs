//! Any input in any order: no panic, bounded memory, every call ends once.

use proptest::prelude::*;

use super::*;
use crate::contract::Machine;

/// The commands that have ended, none of them twice.
fn ended(net: &Net, i: usize) -> BTreeSet<u64> {
    let mut ended = BTreeSet::new();
    for (_, event) in net.events(Host(i)) {
        let (Event::Pong { command, .. }
        | Event::Nodes { command, .. }
        | Event::Record { command, .. }
        | Event::TalkResponse { command, .. }
        | Event::CallFailed { command, .. }) = event
        else {
            continue;
        };
        assert!(ended.insert(command.0), "{event:?} is the second end");
    }
    ended
}

#[test]
fn d15_every_command_ends_once_with_any_losses() {
    for seed in 0..4u8 {
        let mut net = empty();
        for i in 0..6 {
            let config = Config { talk_protocols: [b"p".to_vec()].into(), ..Config::default() };
            let bootnodes = if i == 0 { vec![] } else { vec![net.contact(0)] };
            net.add_with(&alloc::format!("60.{i}.0.1:30303"), Config { bootnodes, ..config }, NetFilter::default());
        }
        net.run_for(secs(20));
        let mut rng = Seed::new([seed; 32]).fork("loss");
        let contacts: Vec<_> = (0..6).map(|i| net.contact(i)).collect();
        net.forget();
        let (mut accepted, mut refused, mut is_cut) = (BTreeSet::new(), 0u32, [false; 6]);
        net.link.loss_percent = 25;
        for command in 0..600 {
            let contact = *rng.choose(&contacts).unwrap();
            let (id, kind, size) = (CommandId(command), rng.below(6), rng.below(1100) as usize);
            let result = net.call(2, |machine, cx| match kind {
                0 => machine.ping(cx, id, contact),
                1 => machine.find_node(cx, id, contact, &[0, 256, 255, 254]),
                2 => machine.request_record(cx, id, contact),
                3 => machine.talk(cx, id, contact, b"p", &[7; 1100][..size]),
                4 => machine.talk(cx, id, contact, b"unknown", &[7; 1100][..size]),
                _ => machine.lookup(cx, Some(id), NodeId([2; 32])),
            });
            match result {
                Ok(()) => _ = accepted.insert(command),
                Err(_) => refused += 1,
            }
            // Peers are cut off and come back, or restart.
            let peer = rng.below(6) as usize;
            match rng.below(40) {
                0 => {
                    is_cut[peer] = peer != 2 && !is_cut[peer];
                    net.cut(Host(peer), is_cut[peer]);
                }
                1 if peer != 2 => net.restart(peer),
                2 => net.call(2, |machine, _| machine.sessions = Sessions::default()),
                _ => {}
            }
            net.run_for(millis(rng.below(60)));
        }
        if seed % 2 == 0 {
            net.call(2, |machine, cx| machine.shutdown(cx));
            assert_eq!(net.discv5(2).poll_timeout(), None);
        } else {
            net.run_for(secs(400));
        }
        assert_eq!(ended(&net, 2), accepted);
        assert!(refused > 0 && accepted.len() > 100, "{refused} refused, {} accepted", accepted.len());
    }
}

#[test]
fn no_datagram_causes_a_panic_or_unbounded_memory() {
    let mut net = devnet(3);
    net.run_for(secs(20));
    let mut rng = Seed::new([8; 32]).fork("any");
    let mut strangers: Vec<Stranger> =
        (0..5).map(|n| Stranger::new(7 + n, &alloc::format!("9{n}.1.1.1:30303"))).collect();
    net.introduce(&mut strangers[0]);
    net.introduce(&mut strangers[1]);
    let mut challenges = vec![Challenge::new([1; 16], &[2; 12], [3; 16], 0)];
    let mut outcomes = BTreeMap::<_, u32>::new();
    for i in 0..20_000u32 {
        let n = rng.below(5) as usize;
        let (id, key) = net.own();
        let stranger = &mut strangers[n];
        let payload = match rng.below(6) {
            0 => Payload::Ping { enr_seq: rng.below(3) },
            1 => Payload::Pong { enr_seq: rng.u64(), recipient: addr("1.1.1.1:1") },
            2 => Payload::FindNode { distances: vec![rng.below(257) as u16; rng.below(5) as usize] },
            3 => Payload::Nodes { total: rng.below(4), records: RecordList::new(&[0xc0, 0xc0]) },
            4 => Payload::TalkRequest { protocol: b"x", request: b"y" },
            _ => Payload::TalkResponse { response: b"z" },
        };
        let plain = Plain::new(RequestId::from(rng.bytes()), payload);
        let record = stranger.record.clone();
        let mut bytes = match rng.below(16) {
            0..=5 if stranger.keys.is_some() => stranger.seal(&id, &plain),
            6 => {
                let challenge = *rng.choose(&challenges).unwrap();
                let is_sent = rng.below(2) == 0;
                stranger.handshake(&key, &challenge, is_sent.then_some(record.as_bytes()), &plain)
            }
            7 => stranger.challenge(&id, &rng.bytes(), rng.below(3)),
            8 if stranger.keys.is_some() => {
                let content = rng.bytes::<80>();
                let len = rng.below(80) as usize;
                stranger.seal_bytes(&id, &content[..len])
            }
            9 => rng.bytes::<1281>()[..rng.below(1282) as usize].to_vec(),
            _ => stranger.random(&id).1,
        };
        match rng.below(10) {
            0 => bytes.truncate(rng.below(bytes.len() as u64 + 1) as usize),
            1 => bytes.extend_from_slice(&rng.bytes::<40>()),
            2 if !bytes.is_empty() => {
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.below(8);
            }
            _ => {}
        }
        let from = if rng.below(9) == 0 { addr("95.1.1.1:1") } else { strangers[n].addr };
        let received = net.deliver(0, from, &bytes);
        *outcomes.entry(alloc::format!("{received:?}")).or_default() += 1;
        net.run_for(Duration::from_micros(rng.below(4000)));
        for stranger in &strangers {
            for (_, bytes) in net.take_datagrams(stranger.addr) {
                if let Ok(Some(packet)) = Packet::unmask(&stranger.id, &bytes)
                    && let Header::Challenge(challenge) = packet.header()
                {
                    challenges.insert(0, challenge);
                    challenges.truncate(8);
                }
            }
        }
        if i % 4096 == 0 {
            net.forget();
        }
    }
    assert!(outcomes.len() > 9, "{outcomes:?}");
    assert!(outcomes["Handled"] > 1000, "{outcomes:?}");
}

#[test]
fn after_shutdown_nothing_is_sent_or_emitted() {
    let (mut net, mut stranger) = (devnet(3), Stranger::new(7, "90.1.1.1:30303"));
    net.run_for(secs(5));
    net.introduce(&mut stranger);
    let contact = net.contact(1);
    net.call(0, |machine, cx| {
        machine.ping(cx, CommandId(1), contact).unwrap();
        machine.lookup(cx, Some(CommandId(2)), NodeId([3; 32])).unwrap();
        machine.shutdown(cx);
    });
    let closed = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Closed, .. });
    assert_eq!(net.count(0, closed), 2);
    net.run_for(secs(1));
    let sent = |net: &Net| net.datagrams().iter().filter(|sent| sent.is_sent && sent.host == Host(0)).count();
    let before = (sent(&net), net.events(Host(0)).len());
    let plain = Plain::new(*ID, Payload::Ping { enr_seq: 1 });
    assert_eq!(net.say(&mut stranger, &plain), Received::Dropped(DropReason::ShuttingDown));
    assert_eq!(net.send_random(&mut stranger), Received::Dropped(DropReason::ShuttingDown));
    assert_eq!(net.deliver(0, stranger.addr, &[7; 98]), Received::Unrecognised, "another protocol's");
    net.call(0, |machine, cx| {
        assert_eq!(machine.handle_timeout(cx), Growth::None);
        assert_eq!(machine.add_node(cx, contact), Err(CommandError::ShuttingDown));
        assert_eq!(machine.ping(cx, CommandId(2), contact), Err(CommandError::ShuttingDown));
        assert_eq!(machine.lookup(cx, None, NodeId([1; 32])), Err(CommandError::ShuttingDown));
        let id = TalkId { node: contact.id(), addr: contact.udp_addr(), request: *ID };
        assert_eq!(machine.respond(cx, &id, b""), Err(CommandError::ShuttingDown));
        machine.filter_changed(cx);
        machine.shutdown(cx);
    });
    assert_eq!((sent(&net), net.events(Host(0)).len()), before);
}

#[test]
fn timeouts_before_the_deadline_do_nothing() {
    let mut net = devnet(4);
    net.run_for(secs(10));
    for _ in 0..200 {
        let before = net.sent();
        let due = net.discv5(0).poll_timeout().unwrap().0;
        if due > net.now() {
            _ = net.timeout(0);
            assert_eq!(net.sent(), before);
        }
        net.run_for(millis(37));
    }
}

#[test]
fn short_and_foreign_datagrams_are_unrecognised() {
    let mut net = quiet_victim();
    for bytes in [&[][..], &[0; 62], &[7; 63], &[7; 98], &[7; 1280], &[7; 1281]] {
        assert_eq!(net.deliver(0, addr("90.1.1.1:30303"), bytes), Received::Unrecognised);
    }
    let mut stranger = Stranger::new(7, "90.1.1.1:0");
    assert_eq!(net.send_random(&mut stranger), Received::Dropped(DropReason::Filtered), "from port 0");
}

#[test]
fn work_beyond_the_budget_of_a_turn_is_due_a_microsecond_later() {
    let mut net = quiet_victim();
    let count = limits::CALL_ENDS_PER_TURN as u64 * 3;
    for n in 0..count {
        let silent = Stranger::new(9, &alloc::format!("90.1.{n}.1:30303")).contact();
        net.call(0, |machine, cx| machine.ping(cx, CommandId(n), silent)).unwrap();
    }
    net.suspend_for(limits::CHALLENGE_TIMEOUT);
    let mut turns = 0;
    while !net.discv5(0).calls.is_empty() {
        turns += 1;
        _ = net.timeout(0);
        let (due, why) = net.discv5(0).poll_timeout().unwrap();
        if !net.discv5(0).calls.is_empty() {
            assert_eq!((due, why), (net.now() + Duration::from_micros(1), DiscoveryTimer::Call));
            net.suspend_for(due.since(net.now()));
        }
    }
    assert_eq!(turns, 3);
    let is_timeout = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Timeout, .. });
    assert_eq!(net.count(0, is_timeout) as u64, count);
}

/// Sessions count seconds in 32 bits, and no deadline lies beyond the end of time.
#[test]
fn the_end_of_time_is_no_different() {
    for micros in [u64::MAX, u64::MAX - 1_000, u64::from(u32::MAX) * 1_000_000, 1 << 63] {
        let mut net = pair();
        let contacts = [net.contact(0), net.contact(1)];
        let end = Instant::from_micros(micros);
        let mut ended = 0;
        for i in [0, 1] {
            net.with(Host(i), |lone, _| {
                for _ in 0..3 {
                    lone.handle(end, Input::Timeout);
                    _ = lone.call(end, |machine, cx| machine.ping(cx, CommandId(1), contacts[1 - i]));
                    let from = contacts[1 - i].udp_addr();
                    lone.handle(end, Input::Datagram { socket: SocketId::MAIN, from, bytes: &[3; 90] });
                }
                ended += usize::from(lone.poll_timeout().is_some());
            });
        }
        assert!(ended <= 2);
    }
}

/// Steps of a sequence: what happens, and numbers that choose the machine and the amount.
fn steps() -> impl Strategy<Value = Vec<(u8, u8, u16)>> {
    proptest::collection::vec((0u8..14, any::<u8>(), any::<u16>()), 0..120)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Commands, datagrams, timeouts, lost sessions, restarts and changes of settings in any order.
    #[test]
    fn any_sequence_keeps_the_bounds_and_ends_each_command_once(steps in steps()) {
        let mut net = devnet(3);
        let mut strangers: Vec<Stranger> =
            (0..3).map(|n| Stranger::new(7 + n, &alloc::format!("9{n}.1.1.1:30303"))).collect();
        // What the embedder sends them is its own choice.
        net.with(Host(0), |lone, _| lone.bootnodes.extend(strangers.iter().map(|stranger| stranger.addr)));
        let mut accepted = BTreeSet::new();
        for (number, (kind, who, much)) in (0..).zip(steps) {
            let machine = usize::from(who % 3);
            let contact = if who < 128 { net.contact(machine) } else { strangers[machine].contact() };
            let id = CommandId(number);
            let result = match kind {
                0 => net.call(0, |machine, cx| machine.ping(cx, id, contact)),
                1 => net.call(0, |machine, cx| machine.find_node(cx, id, contact, &[much % 258])),
                2 => net.call(0, |machine, cx| machine.talk(cx, id, contact, b"p", &vec![1; usize::from(much % 1300)])),
                3 => net.call(0, |machine, cx| machine.lookup(cx, Some(id), NodeId([who; 32]))),
                4 => net.call(0, |machine, cx| machine.request_record(cx, id, contact)),
                _ => Err(CommandError::Busy),
            };
            if result.is_ok() {
                accepted.insert(number);
            }
            match kind {
                5 => _ = net.call(0, |machine, cx| machine.add_node(cx, contact)),
                6 => _ = net.send_random(&mut strangers[machine]),
                7 => net.attend(&mut strangers.iter_mut().collect::<Vec<_>>(), millis(u64::from(much % 300)), honest),
                8 => net.run_for(millis(u64::from(much % 2000))),
                9 => net.suspend_for(millis(u64::from(much) * 10)),
                10 => _ = net.timeout(machine),
                11 if machine > 0 => net.restart(machine),
                12 => net.call(0, |machine, _| machine.sessions = Sessions::default()),
                13 => net.with(Host(0), |lone, now| {
                    lone.context.filter = match who % 4 {
                        0 => NetFilter::only(vec!["60.0.0.0/8".parse().unwrap()]),
                        _ => NetFilter::default(),
                    };
                    lone.call(now, Discv5::filter_changed);
                }),
                _ => {}
            }
        }
        net.call(0, |machine, cx| machine.shutdown(cx));
        prop_assert_eq!(ended(&net, 0), accepted);
        prop_assert!(net.discv5(0).calls().is_empty());
    }
}
