//! Published attacks on discovery and bugs of other implementations, tried on discv5; `docs/attacks.md` explains the codes.

use core::net::IpAddr;

use super::*;
use crate::wire::rlp::RlpStream;

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

/// A different node for each number.
fn numbered(n: u32, at: SocketAddr) -> Stranger {
    let mut secret = [1; 32];
    secret[..4].copy_from_slice(&n.to_be_bytes());
    Stranger::with_secret(SecretKey::from_bytes(secret).unwrap(), at)
}

/// The smallest ordinary packet, from a node id that no node has.
fn smallest(net: &Net, rng: &mut Rng) -> Vec<u8> {
    let (from, mut bytes) = (NodeId(rng.bytes()), vec![]);
    let (iv, nonce) = (rng.bytes(), rng.bytes());
    crate::wire::discv5::write_random(&mut bytes, Route { from: &from, to: &net.own().0 }, iv, &nonce, &[]);
    bytes
}

/// The victim asks the stranger for nodes, and the stranger answers with these records.
fn answer_find_node(net: &mut Net, stranger: &mut Stranger, distances: &[u16], parts: &[&[&Record]]) -> Vec<Contact> {
    net.introduce(stranger);
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.find_node(cx, CommandId(1), contact, distances)).unwrap();
    let got = net.take_one(stranger);
    let id = got.plain().parts().0;
    for records in parts {
        _ = net.say(stranger, &Plain::nodes(id, parts.len() as u64, records.iter().copied()));
    }
    net.run_for(secs(1));
    let answer = net.find(Host(0), |event| match event {
        Event::Nodes { command: CommandId(1), nodes, .. } => Some(nodes.clone()),
        _ => None,
    });
    answer.expect("an answer")
}

#[test]
fn v1_spoofed_packets_cause_fewer_and_smaller_challenges() {
    let mut net = quiet_victim();
    let target = addr("90.1.1.1:53");
    let mut rng = Seed::new([3; 32]).fork("spoofed");
    let mut one_id = stranger().at("90.1.1.1:53");
    for n in 0..4000 {
        // Every second one of the same node id: its challenge is sent again.
        let bytes = if n % 2 == 0 { smallest(&net, &mut rng) } else { one_id.random(&net.own().0).1 };
        _ = net.deliver(0, target, &bytes);
        net.run_for(millis(1));
    }
    let account = net.machine(Host(0)).ledger[&target];
    assert!(account.sent_bytes < account.received_bytes, "{} for {}", account.sent_bytes, account.received_bytes);
    assert!(net.discv5(0).sessions().is_empty() && net.discv5(0).challenges().len() <= 120);
    // Of many ids, no more are challenged than the budget of a subnet has.
    let before = net.sent();
    for _ in 0..2000 {
        let bytes = smallest(&net, &mut rng);
        _ = net.deliver(0, target, &bytes);
        net.run_for(millis(1));
    }
    assert!(net.sent() - before <= 2 * limits::SUBNET_DATAGRAMS_PER_SECOND as usize + 1, "{}", net.sent() - before);
}

#[test]
fn v1_a_challenge_is_answered_once_and_only_if_it_was_caused() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let unsolicited = Received::Dropped(DropReason::Unsolicited);
    assert_eq!(net.challenge(&mut stranger, &[1; 12], 0), unsolicited);
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.ping(cx, CommandId(1), contact)).unwrap();
    let nonce = net.take_one(&mut stranger).nonce();
    let mut wrong = nonce;
    wrong[11] ^= 1;
    assert_eq!(net.challenge(&mut stranger, &wrong, 0), unsolicited);
    let bytes = stranger.challenge(&net.own().0, &nonce, 0);
    for elsewhere in ["90.1.1.1:30304", "90.1.1.2:30303"] {
        assert_eq!(net.deliver(0, addr(elsewhere), &bytes), unsolicited);
    }
    assert_eq!(net.deliver(0, stranger.addr, &bytes), Received::Handled);
    assert_eq!(net.deliver(0, stranger.addr, &bytes), unsolicited, "the second time");
    assert!(matches!(net.take_one(&mut stranger), Got::Handshake(..)));
    let trailing = [&bytes[..], &[0]].concat();
    let malformed = Received::Dropped(DropReason::Malformed(DecodeError::TrailingBytes));
    assert_eq!(net.deliver(0, stranger.addr, &trailing), malformed);
}

/// An honest node's session stays while it is used.
#[test]
fn v2_sessions_are_bounded_and_the_ones_in_use_stay() {
    let (mut net, mut honest) = (quiet_victim(), stranger());
    net.introduce(&mut honest);
    for n in 0..1500u32 {
        // Local addresses have no budget of their own.
        let mut other = numbered(n, SocketAddr::from(([127, 0, 0, 1], 2000 + n as u16)));
        net.link.delay = (Duration::from_micros(10), Duration::from_micros(10));
        net.introduce(&mut other);
        net.run_for(millis(5));
        if n % 50 == 0 {
            assert_eq!(net.ask(&mut honest, Payload::Ping { enr_seq: 1 }).len(), 1, "{n}");
        }
    }
    let sessions = net.discv5(0).sessions().len();
    assert!((900..=limits::SESSIONS_MAX).contains(&sessions), "{sessions}");
}

/// For an hour, a known node signs record after record that names an address which is not its own.
#[test]
fn v3_a_record_redirects_nothing_to_an_address_that_does_not_answer() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let mut rng = Seed::new([5; 32]).fork("records");
    for seq in 2..362 {
        stranger.set_record(SocketAddr::from(([66, 6, 6, 6], 2000 + rng.below(60_000) as u16)), seq);
        let ping = Plain::new(*ID, Payload::Ping { enr_seq: seq });
        _ = net.say(&mut stranger, &ping);
        net.attend(&mut [&mut stranger], millis(200), honest);
        net.suspend_for(secs(10));
        _ = net.timeout(0);
    }
    let entry = net.discv5(0).table().entry(&stranger.id).unwrap();
    assert_eq!((entry.contact().udp_addr(), entry.record_seq()), (stranger.addr, 361));
    let sent = net.datagrams().iter().filter(|sent| sent.is_sent && sent.remote.ip() == addr("66.6.6.6:1").ip());
    let bytes: usize = sent.map(|sent| sent.bytes.len()).sum();
    assert!((1..=usize::from(limits::UNPROVEN_BYTES_MAX)).contains(&bytes), "{bytes}");
}

/// Nor does a record of another node, or one that is not signed by its key.
#[test]
fn v3_a_handshake_needs_the_record_and_the_signature_of_its_node() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let other = Stranger::new(8, "90.1.1.1:30303");
    let plain = Plain::new(*ID, Payload::Ping { enr_seq: 1 });
    let mut forged = stranger.record.as_bytes().to_vec();
    *forged.last_mut().unwrap() ^= 1;
    for (record, error) in [
        (other.record.as_bytes(), DecodeError::BadKey),
        (&forged[..], DecodeError::BadSignature),
        (&[0xc0], DecodeError::Truncated),
    ] {
        net.run_for(secs(2));
        _ = net.send_random(&mut stranger);
        let challenge = net.take_one(&mut stranger).challenge();
        let bytes = stranger.handshake(&net.own().1, &challenge, Some(record), &plain);
        let received = net.deliver(0, stranger.addr, &bytes);
        assert!(matches!(received, Received::Dropped(DropReason::Malformed(_))), "{received:?}");
        if error != DecodeError::Truncated {
            assert_eq!(received, Received::Dropped(DropReason::Malformed(error)));
        }
        // In the name of the other one, with its record.
        let mut posing = stranger.at("90.1.1.1:30303");
        posing.id = other.id;
        let bytes = posing.handshake(&net.own().1, &challenge, Some(other.record.as_bytes()), &plain);
        assert_eq!(net.deliver(0, stranger.addr, &bytes), Received::Dropped(DropReason::Unsolicited));
        _ = net.send_random(&mut posing);
        let challenge = net.take_one(&mut posing).challenge();
        let bytes = posing.handshake(&net.own().1, &challenge, Some(other.record.as_bytes()), &plain);
        let received = net.deliver(0, stranger.addr, &bytes);
        assert_eq!(received, Received::Dropped(DropReason::Malformed(DecodeError::BadSignature)));
    }
    assert!(net.discv5(0).sessions().is_empty() && net.discv5(0).table().is_empty());
}

/// go-ethereum 35043: an answer that announces no messages left a lookup waiting for ever.
#[test]
fn v4_any_number_of_announced_messages_ends_a_call() {
    for (total, ends) in [(0, true), (1, true), (2, false), (u64::MAX, false)] {
        let (mut net, mut stranger) = (quiet_victim(), stranger());
        net.introduce(&mut stranger);
        net.call(0, |machine, cx| machine.lookup(cx, Some(CommandId(1)), NodeId([9; 32]))).unwrap();
        let got = net.take_one(&mut stranger);
        let id = got.plain().parts().0;
        assert_eq!(net.say(&mut stranger, &Plain::nodes(id, total, [])), Received::Handled);
        let is_over = |net: &Net| net.saw(Host(0), |event| matches!(event, Event::Nodes { .. }));
        assert_eq!(is_over(&net), ends, "{total}");
        net.run_for(limits::ANSWER_TIMEOUT);
        assert!(is_over(&net), "{total}");
    }
    // Five messages are all that is waited for, whatever is announced.
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.find_node(cx, CommandId(1), contact, &[256])).unwrap();
    let id = net.take_one(&mut stranger).plain().parts().0;
    for message in 1..=limits::NODES_MESSAGES_MAX {
        assert_eq!(net.say(&mut stranger, &Plain::nodes(id, 7, [])), Received::Handled);
        assert_eq!(net.discv5(0).calls().is_empty(), message == limits::NODES_MESSAGES_MAX);
    }
}

#[test]
fn v5_recorded_packets_begin_no_session_and_answer_nothing() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let unsolicited = Received::Dropped(DropReason::Unsolicited);
    _ = net.send_random(&mut stranger);
    let challenge = net.take_one(&mut stranger).challenge();
    let (record, plain) = (stranger.record.clone(), Plain::new(*ID, Payload::Ping { enr_seq: 1 }));
    let handshake = stranger.handshake(&net.own().1, &challenge, Some(record.as_bytes()), &plain);
    assert_eq!(net.deliver(0, stranger.addr, &handshake), Received::Handled);
    assert_eq!(net.deliver(0, stranger.addr, &handshake), unsolicited);
    net.take(&mut stranger);
    // An answer counts once.
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.ping(cx, CommandId(1), contact)).unwrap();
    let got = net.take_one(&mut stranger);
    let pong = stranger.seal(&net.own().0, &Plain::pong(got.plain().parts().0, 1));
    assert_eq!(net.deliver(0, stranger.addr, &pong), Received::Handled);
    assert_eq!(net.deliver(0, stranger.addr, &pong), unsolicited);
    // Nor with the same challenge open again: a challenge is new each time.
    let request = stranger.seal(&net.own().0, &plain);
    for _ in 0..2 {
        net.run_for(secs(2));
        net.introduce(&mut stranger);
    }
    _ = net.send_random(&mut stranger);
    assert_eq!(
        net.deliver(0, stranger.addr, &handshake),
        Received::Dropped(DropReason::Malformed(DecodeError::BadSignature))
    );
    net.take(&mut stranger);
    // A request of a session before the last is challenged and not answered.
    assert_eq!(net.deliver(0, stranger.addr, &request), Received::Handled);
    assert!(matches!(net.take_one(&mut stranger), Got::Challenge(_)));
    // From elsewhere, a recorded request is challenged too.
    let mut elsewhere = stranger.at("90.1.1.9:30303");
    let request = stranger.seal(&net.own().0, &plain);
    assert_eq!(net.deliver(0, elsewhere.addr, &request), Received::Handled);
    assert!(matches!(net.take_one(&mut elsewhere), Got::Challenge(_)));
}

/// Sessions keep no list of what they have seen: a recorded request costs its endpoint a bounded number of answers.
#[test]
fn v5_a_repeated_request_is_answered_within_the_budget_of_its_endpoint() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let request = stranger.seal(&net.own().0, &Plain::new(*ID, Payload::FindNode { distances: vec![0] }));
    for _ in 0..2000 {
        _ = net.deliver(0, stranger.addr, &request);
        net.run_for(millis(1));
    }
    let answers = net.take(&mut stranger).len();
    let allowed = limits::SESSION_REQUESTS_BURST + 2 * limits::SESSION_REQUESTS_PER_SECOND;
    assert!(answers <= allowed as usize + 1, "{answers}");
}

/// Over restarts too, where go-ethereum's counter begins at one again.
#[test]
fn v5_no_nonce_is_used_twice_by_a_node() {
    let mut net = devnet(5);
    for round in 0..4 {
        net.run_for(secs(40));
        net.restart(round);
    }
    net.run_for(secs(40));
    let ids: BTreeMap<SocketAddr, NodeId> = (0..5).map(|i| (net.addr(Host(i)), *net.discv5(i).local().id())).collect();
    let mut seen = BTreeSet::new();
    for datagram in net.datagrams().iter().filter(|datagram| datagram.is_sent && datagram.bytes.len() > 63) {
        let packet = Packet::unmask(&ids[&datagram.remote], &datagram.bytes).unwrap().unwrap();
        assert!(seen.insert((datagram.host, *packet.nonce())), "{:?}", datagram.host);
    }
    assert!(seen.len() > 500, "{}", seen.len());
}

#[test]
fn v6_topic_messages_are_neither_kept_nor_answered() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let (topic, record) = ([1; 32], stranger.record.clone());
    for payload in [
        Payload::RegTopic { topic: &topic, record: record.as_bytes(), ticket: &[], distances: vec![256] },
        Payload::RegConfirmation { total: 1, ticket: &[1; 99], wait_millis: 9 },
        Payload::TopicQuery { topic: &topic, distances: vec![256] },
        Payload::TopicNodes { total: 1, records: RecordList::new(record.as_bytes()) },
    ] {
        let received = net.say(&mut stranger, &Plain::new(*ID, payload));
        assert_eq!(received, Received::Dropped(DropReason::Malformed(DecodeError::UnknownType)));
    }
    assert!(net.take(&mut stranger).is_empty());
}

#[test]
fn d9_records_that_were_not_asked_for_or_cannot_be_used_are_passed_over() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let alike: Vec<Stranger> = (10..=250)
        .map(|n| Stranger::new(n, &alloc::format!("20.{n}.1.1:30303")))
        .filter(|other| stranger.id.log_distance(&other.id) == 256)
        .collect();
    let other_distance = (10..=250)
        .map(|n| Stranger::new(n, "21.1.1.1:30303"))
        .find(|other| stranger.id.log_distance(&other.id) != 256)
        .unwrap();
    let moved: Vec<Record> = [
        "20.3.1.1:0",
        "20.3.1.2:1024",
        "127.0.0.1:30303",
        "10.0.0.1:30303",
        "224.0.0.1:30303",
        "0.0.0.0:30303",
        "[::ffff:127.0.0.1]:30303",
        "100.64.0.9:30303",
    ]
    .iter()
    .zip(&alike[1..])
    .map(|(at, other)| {
        let mut other = other.at("1.1.1.1:1");
        other.set_record(addr(at), 1);
        other.record
    })
    .collect();
    let own = net.discv5(0).local().record().clone();
    let good = &alike[0].record;
    let bad: Vec<&Record> = moved.iter().chain([&own, &other_distance.record]).collect();
    let itself = stranger.record.clone();
    let last = [good, good, &itself];
    let parts: Vec<&[&Record]> = vec![&bad[..4], &bad[4..8], &bad[8..], &last];
    let nodes = answer_find_node(&mut net, &mut stranger, &[256], &parts);
    assert_eq!(nodes.iter().map(Contact::id).collect::<Vec<_>>(), [alike[0].id]);
    net.run_for(secs(5));
    let mut entries = net.discv5(0).table().entries();
    assert!(entries.all(|entry| entry.contact().key() == stranger.key), "only a node that answered comes in");
}

#[test]
fn d9_at_most_sixteen_records_are_verified() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let others: Vec<Stranger> = (10..=250)
        .map(|n| Stranger::new(n, &alloc::format!("20.{n}.1.1:30303")))
        .filter(|other| stranger.id.log_distance(&other.id) == 256)
        .collect();
    let records: Vec<&Record> = others.iter().map(|other| &other.record).collect();
    let parts: Vec<&[&Record]> = records.chunks(7).take(5).collect();
    let nodes = answer_find_node(&mut net, &mut stranger, &[256], &parts);
    assert_eq!(nodes.len(), limits::NODES_RECORDS_MAX);
}

/// For a day, in which eight liars name one address under many keys and ports.
#[test]
fn d10_an_address_that_records_name_receives_1280_bytes_a_day() {
    let mut net = quiet_victim();
    let target: IpAddr = "66.6.6.6".parse().unwrap();
    let begun = net.now();
    let mut rng = Seed::new([9; 32]).fork("liars");
    let mut liars: Vec<Stranger> = (0..8).map(|n| Stranger::new(10 + n, &alloc::format!("9{n}.1.1.1:30303"))).collect();
    liars.iter_mut().for_each(|liar| net.introduce(liar));
    for round in 0..8 * 48usize {
        let liar = &mut liars[round % 8];
        let fakes: Vec<Stranger> = (0..3)
            .map(|_| {
                let at = SocketAddr::new(target, 2000 + rng.below(9000) as u16);
                Stranger::with_secret(SecretKey::from_bytes([60 + rng.below(180) as u8; 32]).unwrap(), at)
            })
            .collect();
        let all: Vec<u16> = (1..=256).collect();
        let (contact, command) = (liar.contact(), CommandId(round as u64));
        net.call(0, |machine, cx| {
            machine.lookup(cx, None, NodeId([round as u8; 32])).unwrap();
            machine.find_node(cx, command, contact, &all)
        })
        .unwrap();
        net.attend(&mut [liar], millis(500), |_, id, payload| match payload {
            Payload::FindNode { .. } => vec![Plain::nodes(id, 1, fakes.iter().map(|fake| &fake.record))],
            _ => vec![],
        });
        for fake in &fakes {
            _ = net.call(0, |machine, cx| machine.add_node(cx, fake.contact()));
        }
        net.suspend_for(secs(240));
        _ = net.timeout(0);
    }
    assert!(net.now().since(begun) > secs(24 * 3600));
    let sent = net.datagrams().iter().filter(|datagram| datagram.is_sent && datagram.remote.ip() == target);
    let in_a_day: usize =
        sent.filter(|datagram| datagram.at.since(begun) < secs(24 * 3600)).map(|datagram| datagram.bytes.len()).sum();
    assert!((800..=1280).contains(&in_a_day), "{in_a_day} bytes");
}

#[test]
fn d11_a_subnet_has_its_share_of_the_table() {
    let mut net = quiet_victim();
    for n in 0..60 {
        let mut other = numbered(n, SocketAddr::from(([90, 1, 1, n as u8], 30303)));
        net.introduce(&mut other);
        net.run_for(millis(100));
    }
    let table = net.discv5(0).table();
    assert!(table.buckets().iter().all(|bucket| bucket.entries().len() <= limits::SUBNET_PER_BUCKET));
    assert!((4..=limits::SUBNET_PER_TABLE).contains(&table.len()), "{}", table.len());
}

#[test]
fn d14_the_clock_does_not_matter() {
    let mut net = devnet(6);
    net.run_for(secs(60));
    assert_eq!(net.discv5(3).table().len(), 5);
    for unix in [0, 1, u64::MAX, 4_000_000_000] {
        net.input(Host(3), Input::WallClock { unix: UnixTime::from_secs(unix) });
        net.run_for(secs(60));
        assert_eq!(net.discv5(3).table().len(), 5, "{unix}");
        assert!((0..6).all(|i| i == 3 || net.knows(i, 3)), "{unix}");
    }
}

/// It answers pings and nothing else. Lookups find out.
#[test]
fn d16_a_node_that_answers_pings_only_leaves_after_five_lookups() {
    let mut net = quiet_victim();
    let own = net.own().0;
    let strangers = (10..=250).map(|n| Stranger::new(n, &alloc::format!("90.{n}.1.1:30303")));
    let mut alike = strangers.filter(|stranger| own.log_distance(&stranger.id) == 256);
    let mut cheat = alike.next().unwrap();
    net.introduce(&mut cheat);
    net.call(0, |machine, cx| {
        for other in alike.take(limits::BUCKET_SIZE / 4) {
            let record = StoredRecord::from(other.record.clone());
            machine.insert_into_table(cx, other.contact(), 1, record);
        }
        machine.growth = Growth::None;
    });
    for round in 0..limits::FIND_FAILURES_MAX {
        assert!(net.knows_stranger(&cheat), "{round}");
        let target = cheat.id;
        net.call(0, |machine, cx| machine.lookup(cx, None, target)).unwrap();
        net.attend(&mut [&mut cheat], secs(2), |_, id, payload| match payload {
            Payload::Ping { .. } => vec![Plain::pong(id, 1)],
            _ => vec![],
        });
    }
    assert!(!net.knows_stranger(&cheat));
}

#[test]
fn d20_nodes_that_contact_us_are_admitted_after_the_first_refresh() {
    let mut net = empty();
    let bootnode = Stranger::new(9, "99.1.1.1:30303").contact();
    let config = Config { bootnodes: vec![bootnode], ..quiet() };
    net.add_with("100.0.0.1:30303", config, NetFilter::default());
    for n in 10..30 {
        let mut early = Stranger::new(n, &alloc::format!("90.{n}.1.1:30303"));
        net.introduce(&mut early);
    }
    assert!(net.discv5(0).table().is_empty(), "no stranger came in first");
    net.run_for(secs(5));
    let mut late = stranger();
    net.introduce(&mut late);
    assert!(net.knows_stranger(&late));
}

#[test]
fn packets_in_our_own_name_are_dropped() {
    let mut net = quiet_victim();
    let secret = net.discv5(0).local.secret.clone();
    let mut mirror = Stranger::with_secret(secret, addr("90.1.1.1:30303"));
    assert_eq!(net.send_random(&mut mirror), Received::Dropped(DropReason::FromSelf));
    let challenge = Challenge::new([1; 16], &[2; 12], [3; 16], 0);
    assert_eq!(net.answer(&mut mirror, &challenge), Received::Dropped(DropReason::FromSelf));
    assert_eq!(net.sent(), 0);
}

/// A message of the right session and any content.
#[test]
fn malformed_messages_are_dropped_and_end_no_session() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let mut extra = RlpStream::new_list(3);
    extra.append(&1u8).append(&1u8).append(&1u8);
    for plain in [&[][..], &[1], &[1, 0xc0], &[11, 0xc0], &[0; 300], &[&[1], extra.as_raw()].concat()] {
        let bytes = stranger.seal_bytes(&net.own().0, plain);
        let received = net.deliver(0, stranger.addr, &bytes);
        assert!(matches!(received, Received::Dropped(DropReason::Malformed(_))), "{plain:?}: {received:?}");
    }
    assert_eq!(net.ask(&mut stranger, Payload::Ping { enr_seq: 1 }).len(), 1);
}
