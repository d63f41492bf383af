//! Published attacks on discv4 and bugs of other implementations, tried on this one; `docs/attacks.md` explains the codes.

use core::net::IpAddr;

use super::*;
use crate::wire::discv4::Neighbor;

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

/// A datagram with a correct hash and a random signature.
fn junk(rng: &mut Rng, kind: u8) -> Vec<u8> {
    let mut hashed = rng.bytes::<65>().to_vec();
    hashed[64] &= 3;
    let expiration = START.plus_secs(100).as_secs();
    let mut list = crate::wire::rlp::RlpStream::new_list(2);
    list.append(&&rng.bytes::<64>()[..]).append(&expiration);
    hashed.push(kind);
    hashed.extend_from_slice(list.as_raw());
    [&keccak256(&hashed)[..], &hashed].concat()
}

/// The victim asks the stranger for its neighbours, and the stranger answers.
fn answer_find_node(net: &mut Net, stranger: &Stranger, packets: &[Vec<Neighbor>]) -> Vec<Contact> {
    net.bond(stranger);
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.find_node(cx, CommandId(1), contact, [9; 64])).unwrap();
    assert!(net.take(stranger.addr).iter().any(|(packet, _)| packet.kind() == Kind::FindNode));
    for nodes in packets {
        let neighbors = Packet::Neighbors { nodes: nodes.clone(), expiration: net.soon() };
        _ = net.send_from(stranger, &neighbors);
    }
    net.run_for(secs(1));
    let answer = net.find(Host(0), |event| match event {
        Event::Nodes { command: CommandId(1), nodes, .. } => Some(nodes.clone()),
        _ => None,
    });
    answer.expect("an answer")
}

fn neighbor(n: u8, at: &str) -> Neighbor {
    let addr = addr(at);
    Neighbor { ip: addr.ip(), udp: addr.port(), tcp: addr.port(), key: *Stranger::new(n, at).key.as_bytes() }
}

#[test]
fn d2_a_pong_proves_an_endpoint_once_and_in_time() {
    let ping_back = |net: &mut Net, stranger: &Stranger| {
        let ping = net.ping();
        _ = net.send_from(stranger, &ping);
        let answers = net.take(stranger.addr);
        answers.into_iter().find(|(packet, _)| packet.kind() == Kind::Ping).unwrap().1
    };
    let unsolicited = Received::Dropped(DropReason::Unsolicited);

    let (mut net, stranger) = (victim(), stranger());
    let hash = ping_back(&mut net, &stranger);
    let pong = net.pong(hash);
    assert_eq!(net.send_from(&stranger.at("90.1.1.1:30304"), &pong).1, unsolicited);
    assert_eq!(net.send_from(&Stranger::new(8, "90.1.1.1:30303"), &pong).1, unsolicited, "another key");
    assert_eq!(net.send_from(&stranger, &pong).1, Received::Handled);
    assert_eq!(net.send_from(&stranger, &pong).1, unsolicited, "the second time");
    assert_eq!(net.discv4(0).table().len(), 1);

    let (mut net, stranger) = (victim(), self::stranger());
    let hash = ping_back(&mut net, &stranger);
    net.run_for(limits::CALL_TIMEOUT);
    let pong = net.pong(hash);
    assert_eq!(net.send_from(&stranger, &pong).1, unsolicited, "too late");
    assert!(net.discv4(0).table().is_empty() && net.discv4(0).bonds.is_empty());
}

#[test]
fn d5_spoofed_pings_are_not_amplified() {
    let mut net = victim();
    for n in 0..4000u32 {
        // A new identity each time, the smallest ping possible, one target.
        let mut secret = [1; 32];
        secret[..4].copy_from_slice(&n.to_be_bytes());
        let secret = SecretKey::from_bytes(secret).unwrap();
        let at = Stranger { key: CRYPTO.public_key(&secret), secret, addr: addr("90.1.1.1:53") };
        let nowhere = Endpoint { ip: None, udp: 0, tcp: 0 };
        let ping = Packet::Ping { version: 4, from: nowhere, to: nowhere, expiration: net.soon(), enr_seq: None };
        _ = net.send_from(&at, &ping);
        net.run_for(millis(1));
    }
    let Account { received_bytes: received, sent_bytes: sent, .. } = net.machine(Host(0)).ledger[&addr("90.1.1.1:53")];
    assert!(sent * 4 <= received * 5, "{sent} bytes for {received}");
    assert!(sent < 40_000, "at most the budget of a subnet: {sent}");
    assert_eq!(net.discv4(0).bonds.len(), 0, "and no memory");
}

#[test]
fn d6_d7_d8_floods_reach_no_signature_check_and_stop_no_lookup() {
    let mut net = empty();
    for i in 0..12 {
        net.add_at(&alloc::format!("80.{i}.0.1:30303"), if i == 0 { &[] } else { &[0] });
    }
    net.run_for(secs(40));
    let neighbors: Vec<_> = net.hosts().skip(1).map(|host| net.addr(host)).collect();
    assert_eq!(net.discv4(0).table().len(), 11);
    let mut rng = Seed::new([3; 32]).fork("flood");
    let mut admitted = 0;
    net.forget();
    net.call(0, |machine, cx| machine.lookup(cx, Some(CommandId(1)), [5; 64])).unwrap();
    for i in 0..4000u32 {
        // From random addresses, and from the address of every honest neighbour.
        let spoofed = SocketAddr::new((0x2000_0000 + i * 7919).to_be_bytes().into(), 30303);
        for from in [spoofed, neighbors[i as usize % neighbors.len()]] {
            let datagram = junk(&mut rng, if i % 2 == 0 { 3 } else { 2 });
            let received = net.deliver(0, from, &datagram);
            assert_ne!(received, Received::Handled);
            let is_checked = DropReason::NoEndpointProof;
            let bad_signature = DropReason::Malformed(crate::wire::DecodeError::BadSignature);
            admitted += usize::from([is_checked, bad_signature].map(Received::Dropped).contains(&received));
        }
        net.run_for(millis(1));
    }
    net.run_for(secs(2));
    assert!(admitted < 4000, "{admitted} signatures were checked");
    let found = net.find(Host(0), |event| match event {
        Event::Nodes { nodes, .. } => Some(nodes.len()),
        _ => None,
    });
    assert_eq!(found, Some(11), "answers to our own questions pass");
    assert_eq!(net.discv4(0).table().len(), 11);
}

#[test]
fn d9_unusable_neighbours_are_neither_reported_nor_pinged() {
    let (mut net, stranger) = (victim(), stranger());
    let mut off_curve = neighbor(20, "20.1.1.1:30303");
    off_curve.key[63] ^= 1;
    let own = Neighbor { key: *net.discv4(0).local().key().as_bytes(), ..neighbor(20, "20.1.1.1:30303") };
    let good = neighbor(21, "20.2.1.1:30303");
    let bad = [
        neighbor(22, "20.3.1.1:0"),
        neighbor(23, "20.3.1.2:1024"),
        neighbor(24, "127.0.0.1:30303"),
        neighbor(25, "10.0.0.1:30303"),
        neighbor(26, "224.0.0.1:30303"),
        neighbor(27, "0.0.0.0:30303"),
        neighbor(28, "[::ffff:127.0.0.1]:30303"),
        neighbor(29, "100.64.0.9:30303"),
        off_curve,
        own,
    ];
    let nodes = answer_find_node(&mut net, &stranger, &[bad.to_vec(), vec![good, good]]);
    assert_eq!(nodes.iter().map(|node| *node.key().as_bytes()).collect::<Vec<_>>(), [good.key]);
    net.run_for(secs(30));
    assert_eq!(net.sent_to(|to| to != stranger.addr && to.ip() != good.ip), 0);
    let mut entries = net.discv4(0).table().entries();
    assert!(entries.all(|entry| entry.contact().key() == stranger.key), "only a node that answered comes in");
}

#[test]
fn d9_at_most_sixteen_neighbours_are_taken() {
    let (mut net, stranger) = (victim(), stranger());
    let nodes: Vec<_> = (30..60).map(|n| neighbor(n, &alloc::format!("21.{n}.1.1:30303"))).collect();
    let packets: Vec<_> = nodes.chunks(6).map(<[_]>::to_vec).collect();
    let taken = answer_find_node(&mut net, &stranger, &packets);
    assert_eq!(taken.len(), limits::BUCKET_SIZE);
}

/// For a day, in which eight liars name one address under many keys and ports, and the embedder adds what they name.
#[test]
fn d10_an_address_that_others_name_receives_1280_bytes_a_day() {
    let mut net = victim();
    let target: IpAddr = "66.6.6.6".parse().unwrap();
    let begun = net.now();
    let mut rng = Seed::new([9; 32]).fork("liars");
    for round in 0..8 * 48u32 {
        let liar = Stranger::new(10 + (round % 8) as u8, &alloc::format!("9{}.1.1.1:30303", round % 8));
        let fakes: Vec<_> = (0..12)
            .map(|_| neighbor(60 + rng.below(180) as u8, &alloc::format!("66.6.6.6:{}", 2000 + rng.below(9000))))
            .collect();
        net.forget();
        net.bond_if_pinged(&liar);
        let command = CommandId(u64::from(round));
        net.call(0, |machine, cx| machine.find_node(cx, command, liar.contact(), [9; 64])).unwrap();
        net.take(liar.addr);
        let neighbors = Packet::Neighbors { nodes: fakes.clone(), expiration: net.soon() };
        _ = net.send_from(&liar, &neighbors);
        for fake in fakes {
            let key = CRYPTO.public_key_from_xy(&fake.key).unwrap();
            let contact = Contact::new(key, fake.ip, fake.udp, fake.tcp);
            _ = net.call(0, |machine, cx| machine.add_node(cx, contact));
        }
        net.suspend_for(secs(240));
        _ = net.timeout(0);
    }
    assert!(net.now().since(begun) > secs(24 * 3600));
    let sent = net.datagrams().iter().filter(|datagram| datagram.is_sent && datagram.remote.ip() == target);
    let sent: Vec<_> = sent.map(|datagram| (datagram.at.since(begun), datagram.bytes.len())).collect();
    let in_a_day: usize = sent.iter().filter(|(at, _)| *at < secs(24 * 3600)).map(|(_, bytes)| bytes).sum();
    assert!((1000..=1280).contains(&in_a_day), "{in_a_day} bytes: {sent:?}");
    let gaps: Vec<_> = sent.windows(2).map(|pair| pair[1].0 - pair[0].0 + secs(5)).collect();
    assert!(gaps[..7].windows(2).all(|pair| pair[1] + secs(5) >= pair[0]) && gaps[6] >= secs(3600), "{gaps:?}");
}

#[test]
fn d10_bootnodes_of_an_empty_table_are_pinged_every_fifteen_seconds() {
    let mut net = empty();
    let bootnode = Stranger::new(7, "90.1.1.1:30303");
    net.add_with("100.9.0.1:30303", vec![bootnode.contact()], NetFilter::default());
    for command in 0..600 {
        // The embedder's lookups start from the bootnode as well.
        _ = net.call(0, |machine, cx| machine.lookup(cx, Some(CommandId(command)), [9; 64]));
        net.run_for(secs(1));
    }
    let sent = net.datagrams().iter().filter(|datagram| datagram.is_sent).map(|datagram| datagram.at);
    let sent: Vec<_> = sent.collect();
    assert!((39..=41).contains(&sent.len()), "{}", sent.len());
    assert!(sent.windows(2).all(|pair| pair[1].since(pair[0]) >= secs(14)), "{sent:?}");
}

#[test]
fn d13_expirations_in_the_past_or_far_future_are_refused() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    let now = net.unix().as_secs();
    for (expiration, is_void) in [
        (0, true),
        (now - 1, true),
        (now, false),
        (now + 86_400, false),
        (now + 86_401, true),
        (1 << 62, true),
        (1 << 63, true),
        (u64::MAX, true),
    ] {
        let find_node = Packet::FindNode { target: [1; 64], expiration: UnixTime::from_secs(expiration) };
        let expected = if is_void { Received::Dropped(DropReason::Expired) } else { Received::Handled };
        assert_eq!(net.send_from(&stranger, &find_node).1, expected, "{expiration}");
    }
}

#[test]
fn d13_replays_are_dropped() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    let packets = [net.ping(), net.find_node([4; 64])];
    for packet in &packets {
        assert_eq!(net.send_from(&stranger, packet).1, Received::Handled);
    }
    for (wait, expected) in [(19, DropReason::Replayed), (2, DropReason::Expired), (86_400, DropReason::Expired)] {
        net.run_for(secs(wait));
        net.take(stranger.addr);
        for packet in &packets {
            assert_eq!(net.send_from(&stranger, packet).1, Received::Dropped(expected));
        }
    }
    // From another address it has no endpoint proof.
    let (mut net, stranger) = (victim(), self::stranger());
    net.bond(&stranger);
    let packet = net.find_node([4; 64]);
    _ = net.send_from(&stranger, &packet);
    let elsewhere = stranger.at("90.9.9.9:30303");
    assert_eq!(net.send_from(&elsewhere, &packet).1, Received::Dropped(DropReason::NoEndpointProof));
}

#[test]
fn d14_a_wrong_clock_does_not_empty_the_table() {
    let mut net = devnet(10);
    net.run_for(secs(60));
    let baseline = net.discv4(3).table().len();
    assert_eq!(baseline, 9);
    let unix = |net: &Net, offset: i64| UnixTime::from_secs(net.unix().as_secs().saturating_add_signed(offset));
    for offset in [30, -30, 3600, -3600, 3600, -3600] {
        let wrong = unix(&net, offset);
        net.input(Host(3), Input::WallClock { unix: wrong });
        net.run_for(secs(60));
        let left = net.discv4(3).table().len();
        assert!(left * 2 >= baseline, "{left} left at {offset} s");
    }
    let right = unix(&net, 0);
    net.input(Host(3), Input::WallClock { unix: right });
    net.run_for(secs(60));
    assert_eq!(net.discv4(3).table().len(), baseline);
    let others = (0..10).filter(|i| *i != 3 && net.knows(*i, 3)).count();
    assert_eq!(others, 9, "the others have it in their tables again");
}

/// D16: it answers pings and nothing else. Failures count unless we are flooded.
#[test]
fn d16_a_node_that_answers_pings_only_leaves_after_five_find_nodes() {
    for is_flooded in [false, true] {
        let mut net = victim();
        let own = *net.discv4(0).local().id();
        let strangers = (10..=250).map(|n| Stranger::new(n, &alloc::format!("90.{n}.1.1:30303")));
        let alike: Vec<_> = strangers.filter(|stranger| own.log_distance(&stranger.key.node_id()) == 256).collect();
        let (cheat, others) = alike.split_first().unwrap();
        net.bond(cheat);
        net.call(0, |machine, cx| {
            for other in &others[..limits::BUCKET_SIZE - 1] {
                let other = other.contact();
                assert!(machine.table.insert(other, cx.now, cx.rng).is_some());
                (0..9).for_each(|_| machine.table.check_passed(&other.id(), other.udp_addr(), cx.now, cx.rng));
            }
            for command in 0..u64::from(limits::FIND_FAILURES_MAX) {
                machine.find_node(cx, CommandId(command), cheat.contact(), [3; 64]).unwrap();
            }
        });
        for _ in 0..300 {
            if is_flooded {
                net.call(0, |machine, cx| machine.on_flooded(cx.now));
            }
            for (packet, hash) in net.take(cheat.addr) {
                if packet.kind() == Kind::Ping {
                    let pong = net.pong(hash);
                    _ = net.send_from(cheat, &pong);
                }
            }
            net.run_for(millis(30));
        }
        let failed = |event: &Event<'_>| matches!(event, Event::CallFailed { why: CallFailure::Timeout, .. });
        assert_eq!(net.count(0, failed), usize::from(limits::FIND_FAILURES_MAX));
        assert_eq!(net.knows_stranger(cheat), is_flooded);
    }
}

/// A node that is flooded in our name does not get to our pings.
#[test]
fn a_ping_of_a_bonded_node_stands_for_its_answer_to_a_check() {
    let (mut net, stranger) = (victim(), stranger());
    net.bond(&stranger);
    for _ in 0..15 {
        net.run_for(secs(20));
        let ping = net.ping();
        assert_eq!(net.send_from(&stranger, &ping).1, Received::Handled);
        assert!(net.knows_stranger(&stranger));
    }
    net.run_for(limits::SIGN_OF_LIFE_AGE + secs(10));
    assert!(!net.knows_stranger(&stranger), "once it is silent, its failed checks count");
}

#[test]
fn d20_nodes_that_contact_us_are_admitted_after_the_first_refresh() {
    let mut net = empty();
    net.add_with("100.9.0.1:30303", vec![contact_of(1, "100.0.0.1:30303")], NetFilter::default());
    net.add_at("100.0.0.1:30303", &[]);
    // Strangers contact the machine before its bootnode can have answered.
    net.run_for(millis(1));
    for n in 0..20u8 {
        net.bond_if_pinged(&Stranger::new(50 + n, &alloc::format!("9{}.{n}.1.1:30303", n % 10)));
    }
    let bootnode = *net.discv4(1).local().id();
    assert!(net.discv4(0).table().entries().all(|entry| entry.contact().id() == bootnode), "no stranger came in first");
    net.run_for(secs(5));
    assert!(net.knows(0, 1), "the bootnode came in");
    let late = Stranger::new(99, "95.95.1.1:30303");
    net.bond(&late);
    assert!(net.discv4(0).table().entry(&late.key.node_id()).is_some());
}

#[test]
fn datagrams_from_ourselves_and_from_filtered_addresses_are_dropped() {
    let mut net = empty();
    net.add_with("100.0.0.1:30303", vec![], "100.0.0.0/8, 90.0.0.0/8".parse().unwrap());
    net.run_for(millis(1));
    let ping = net.ping();
    let outside = Stranger::new(7, "80.1.1.1:30303");
    assert_eq!(net.send_from(&outside, &ping).1, Received::Dropped(DropReason::Filtered));
    let refused = Err(CommandError::Refused(Refusal::Filtered));
    assert_eq!(net.call(0, |machine, cx| machine.ping(cx, CommandId(1), outside.contact())), refused);
    assert_eq!(net.call(0, |machine, cx| machine.add_node(cx, outside.contact())), refused);
    let secret = net.discv4(0).local.secret.clone();
    let mirror = Stranger { key: *net.discv4(0).local().key(), secret, addr: addr("90.1.1.1:30303") };
    assert_eq!(net.send_from(&mirror, &ping).1, Received::Dropped(DropReason::FromSelf));
    net.run_for(secs(1));
    assert_eq!(net.sent(), 0);
}

#[test]
fn addresses_of_lans_and_carriers_are_not_relayed_to_public_ones() {
    let mut net = victim();
    let inside = Stranger::new(8, "192.168.0.5:30303");
    let outside = Stranger::new(9, "90.1.1.1:30303");
    let (near, far) = (Stranger::new(10, "192.168.0.6:30303"), Stranger::new(11, "91.1.1.1:30303"));
    let carrier = Stranger::new(12, "100.64.0.7:30303");
    for stranger in [&inside, &outside, &near, &far, &carrier] {
        net.bond(stranger);
    }
    let mut told = |to: &Stranger| {
        let find_node = net.find_node([1; 64]);
        net.take(to.addr);
        _ = net.send_from(to, &find_node);
        let packets = net.take(to.addr);
        let nodes = packets.into_iter().filter_map(|(packet, _)| match packet {
            Packet::Neighbors { nodes, .. } => Some(nodes),
            _ => None,
        });
        nodes.flatten().map(|node| node.ip).collect::<BTreeSet<_>>()
    };
    assert_eq!(told(&outside), BTreeSet::from([far.addr.ip()]));
    let global = [outside.addr.ip(), far.addr.ip()];
    assert_eq!(told(&inside), BTreeSet::from([near.addr.ip(), global[0], global[1], carrier.addr.ip()]));
    assert_eq!(told(&carrier), BTreeSet::from(global));
}
