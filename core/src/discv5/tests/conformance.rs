//! Handshakes and requests as `discv5-wire.md` and `discv5-theory.md` describe them, and as go-ethereum and the discv5 cases of
//! hive's `devp2p` simulator expect.

use super::*;
use crate::wire::rlp::RlpStream;

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

fn ping() -> Payload<'static> {
    Payload::Ping { enr_seq: 1 }
}

fn find_node(distances: &[u16]) -> Payload<'static> {
    Payload::FindNode { distances: distances.into() }
}

/// The victim pings the stranger, whose challenge it answers.
fn be_pinged(net: &mut Net, stranger: &mut Stranger, command: u64, enr_seq: u64) -> Got {
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.ping(cx, CommandId(command), contact)).unwrap();
    let nonce = net.take_one(stranger).nonce();
    assert_eq!(net.challenge(stranger, &nonce, enr_seq), Received::Handled);
    net.take_one(stranger)
}

/// The records in the answers to a FindNode, whose numbers agree.
fn records(answers: &[Plain]) -> Vec<Record> {
    let mut records = vec![];
    for answer in answers {
        let Payload::Nodes { total, records: some } = answer.message().payload else { panic!("{answer:?}") };
        assert_eq!(total, answers.len() as u64);
        records.extend(some.iter().map(|record| Record::decode(&**CRYPTO, record).unwrap()));
    }
    records
}

#[test]
fn the_first_ping_takes_four_datagrams_and_later_ones_two() {
    let mut net = pair();
    let contact = net.contact(1);
    for (command, datagrams) in [(1, 4), (2, 2), (3, 2)] {
        let before = net.sent();
        net.call(0, |machine, cx| machine.ping(cx, CommandId(command), contact)).unwrap();
        net.run_for(millis(100));
        assert_eq!(net.sent() - before, datagrams);
        let answer = net.find(Host(0), |event| match event {
            Event::Pong { command: CommandId(ended), rtt, enr_seq, seen_as, .. } if *ended == command => {
                Some((*rtt, *enr_seq, *seen_as))
            }
            _ => None,
        });
        assert_eq!(answer, Some((2 * DELAY, Some(1), Some(net.addr(Host(0))))));
    }
    // The other direction uses the same session.
    let (before, contact) = (net.sent(), net.contact(0));
    net.call(1, |machine, cx| machine.ping(cx, CommandId(9), contact)).unwrap();
    net.run_for(millis(100));
    assert_eq!(net.sent() - before, 2);
}

#[test]
fn our_record_is_in_a_handshake_if_the_challenger_has_none_or_an_older_one() {
    for (enr_seq, is_sent) in [(0, true), (4, true), (5, false), (6, false)] {
        let (mut net, mut stranger) = (quiet_victim(), stranger());
        let secret = net.discv5(0).local.secret.clone();
        let record = RecordBuilder::default().endpoint(net.addr(Host(0)), 1).sign(&**CRYPTO, &secret, 5).unwrap();
        net.call(0, |machine, _| machine.set_record(record));
        let Got::Handshake(plain, has_record) = be_pinged(&mut net, &mut stranger, 1, enr_seq) else { panic!() };
        assert_eq!(plain.message().payload, Payload::Ping { enr_seq: 5 });
        assert_eq!(has_record, is_sent, "{enr_seq}");
    }
}

#[test]
fn a_challenge_names_the_number_of_the_record_that_is_known() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    // Of a node that is not known, a record is required.
    _ = net.send_random(&mut stranger);
    let challenge = net.take_one(&mut stranger).challenge();
    assert_eq!(challenge.enr_seq(), 0);
    let plain = Plain::new(*ID, ping());
    let bytes = stranger.handshake(&net.own().1, &challenge, None, &plain);
    let missing = DropReason::Malformed(DecodeError::MissingField);
    assert_eq!(net.deliver(0, stranger.addr, &bytes), Received::Dropped(missing));
    stranger.set_record(stranger.addr, 3);
    net.run_for(secs(1));
    net.introduce(&mut stranger);
    assert!(net.knows_stranger(&stranger));
    // It restarts.
    _ = net.send_random(&mut stranger);
    let challenge = net.take_one(&mut stranger).challenge();
    assert_eq!(challenge.enr_seq(), 3);
    let bytes = stranger.handshake(&net.own().1, &challenge, None, &plain);
    assert_eq!(net.deliver(0, stranger.addr, &bytes), Received::Handled);
    assert!(matches!(net.take_one(&mut stranger).plain().message().payload, Payload::Pong { .. }));
}

/// Hive's HandshakeResend.
#[test]
fn a_challenge_is_sent_again_as_it_was_within_a_second_and_a_new_one_after() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let (nonce, bytes) = stranger.random(&net.own().0);
    _ = net.deliver(0, stranger.addr, &bytes);
    let first = net.take_one(&mut stranger).challenge();
    assert_eq!(first.request_nonce(), &nonce);
    _ = net.send_random(&mut stranger);
    assert_eq!(net.take_one(&mut stranger), Got::Challenge(first));
    net.run_for(secs(1));
    let (nonce, bytes) = stranger.random(&net.own().0);
    _ = net.deliver(0, stranger.addr, &bytes);
    let second = net.take_one(&mut stranger).challenge();
    assert!(second != first && second.request_nonce() == &nonce);
    assert_eq!(net.answer(&mut stranger, &first), Received::Dropped(DropReason::Malformed(DecodeError::BadSignature)));
    assert_eq!(net.answer(&mut stranger, &second), Received::Handled);
    assert!(net.discv5(0).challenges().is_empty());
}

/// Hive's PingLargeRequestID.
#[test]
fn request_ids_of_up_to_eight_bytes_are_repeated_and_longer_ones_refused() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    for len in 0..=8 {
        let id = RequestId::new(&[1, 2, 3, 4, 5, 6, 7, 8][..len]).unwrap();
        assert_eq!(net.say(&mut stranger, &Plain::new(id, ping())), Received::Handled);
        let answer = net.take_one(&mut stranger);
        let (repeated, Payload::Pong { enr_seq, .. }) = answer.plain().parts() else { panic!("{answer:?}") };
        assert_eq!((repeated, enr_seq), (id, 1));
    }
    let mut list = RlpStream::new_list(2);
    list.append(&&[1u8, 2, 3, 4, 5, 6, 7, 8, 9][..]).append(&1u8);
    let bytes = stranger.seal_bytes(&net.own().0, &[&[1], list.as_raw()].concat());
    let received = net.deliver(0, stranger.addr, &bytes);
    assert_eq!(received, Received::Dropped(DropReason::Malformed(DecodeError::TooLarge)));
    assert!(net.take(&mut stranger).is_empty());
}

/// Hive's PingMultiIP.
#[test]
fn a_session_is_of_one_address_and_port() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    for elsewhere in ["90.1.1.2:30303", "90.1.1.1:30304", "[2a00::1]:30303"] {
        let mut moved = stranger.at(elsewhere);
        assert_eq!(net.say(&mut moved, &Plain::new(*ID, ping())), Received::Handled);
        let challenge = net.take_one(&mut moved).challenge();
        assert_eq!(net.answer(&mut moved, &challenge), Received::Handled);
        let pong = net.take_one(&mut moved);
        let Payload::Pong { recipient, .. } = pong.plain().message().payload else { panic!("{pong:?}") };
        assert_eq!(recipient, addr(elsewhere), "the endpoint that the ping came from");
    }
    assert!(net.take(&mut stranger).is_empty());
    assert_eq!(net.ask(&mut stranger, ping()).len(), 1, "the first session is still there");
}

/// Hive's FindnodeZeroDistance.
#[test]
fn distance_0_is_our_own_record() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let own = net.discv5(0).local().record().clone();
    // Once, and never the asker's.
    for distances in [&[0][..], &[0, 0, 256, 0]] {
        assert_eq!(records(&net.ask(&mut stranger, find_node(distances))), core::slice::from_ref(&own));
    }
    for none in [&[][..], &[1, 2, 3], &[256, 255]] {
        let answers = net.ask(&mut stranger, find_node(none));
        assert_eq!((answers.len(), records(&answers).len()), (1, 0), "an empty answer is an answer");
    }
    let bytes = stranger.seal(&net.own().0, &Plain::new(*ID, find_node(&[256])));
    assert_eq!(net.deliver(0, stranger.addr, &bytes), Received::Handled);
    let mut list = RlpStream::new_list(2);
    list.append(&&[7u8; 8][..]).begin_list(1).append(&257u16);
    let bytes = stranger.seal_bytes(&net.own().0, &[&[3], list.as_raw()].concat());
    let received = net.deliver(0, stranger.addr, &bytes);
    assert_eq!(received, Received::Dropped(DropReason::Malformed(DecodeError::BadValue)));
}

/// Hive's FindnodeResults: the answer has the live nodes at the distances that are asked for and no others.
#[test]
fn find_node_is_answered_with_the_live_nodes_at_its_distances() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let own = net.own().0;
    let mut known: BTreeMap<u16, BTreeSet<NodeId>> = BTreeMap::new();
    for n in 10..50u8 {
        let mut other = Stranger::new(n, &alloc::format!("91.{n}.1.1:30303"));
        net.introduce(&mut other);
        if net.knows_stranger(&other) {
            known.entry(own.log_distance(&other.id)).or_default().insert(other.id);
        }
    }
    net.introduce(&mut stranger);
    let at = |distances: &[u16]| -> BTreeSet<NodeId> {
        distances.iter().filter_map(|distance| known.get(distance)).flatten().copied().collect()
    };
    assert_eq!(at(&[256]).len(), limits::BUCKET_SIZE);
    for distances in [&[256][..], &[255], &[254, 253], &[255, 255, 254], &[240, 255]] {
        let records = records(&net.ask(&mut stranger, find_node(distances)));
        let nodes: BTreeSet<NodeId> = records.iter().map(|record| record.key().node_id()).collect();
        assert_eq!((nodes.len(), nodes), (records.len(), at(distances)), "{distances:?}");
    }
    let records_of_both = records(&net.ask(&mut stranger, find_node(&[255, 256])));
    assert_eq!(records_of_both.len(), limits::NODES_RECORDS_MAX);
    // The nearest to the asker's wish come first.
    assert!(records_of_both[..3].iter().all(|record| at(&[255]).contains(&record.key().node_id())));
    // One that failed its checks is not told.
    let dead = *at(&[255]).first().unwrap();
    net.call(0, |machine, cx| {
        let entry = *machine.table.entry(&dead).unwrap().contact();
        let record = machine.table.kept(&dead).cloned();
        for other in at(&[255]).iter().filter(|id| **id != dead) {
            (0..9).for_each(|_| machine.table.check_passed(other, entry.udp_addr(), cx.now, cx.rng));
        }
        _ = machine.table.retain(|contact| contact.id() != dead, cx.now, cx.rng);
        assert!(record.is_some());
    });
    let left = records(&net.ask(&mut stranger, find_node(&[255])));
    assert!(left.len() + 1 == at(&[255]).len() && left.iter().all(|record| record.key().node_id() != dead));
}

#[test]
fn an_answer_has_at_most_sixteen_records_in_five_messages() {
    for (filler, expected) in [(0, 16), (150, 15)] {
        let (mut net, mut stranger) = (quiet_victim(), stranger());
        let own = net.own().0;
        let mut others = (10..200u8).map(|n| Stranger::new(n, &alloc::format!("91.{n}.1.1:30303")));
        let alike: Vec<Stranger> = others
            .by_ref()
            .filter(|other| own.log_distance(&other.id) == 256 && other.id != stranger.id)
            .take(16)
            .collect();
        for mut other in alike {
            if filler > 0 {
                let mut record = RecordBuilder::default();
                record.endpoint(other.addr, 1).entry(b"zz", [&[0xb8, filler][..], &[7; 150]].concat());
                other.record = record.sign(&**CRYPTO, &other.secret, 1).unwrap();
            }
            net.introduce(&mut other);
        }
        net.introduce(&mut stranger);
        let answers = net.ask(&mut stranger, find_node(&[256]));
        assert_eq!(records(&answers).len(), expected);
        assert!(answers.len() <= limits::NODES_MESSAGES_MAX as usize && answers.len() > 1);
    }
}

#[test]
fn local_nodes_are_told_to_local_nodes_only() {
    let mut net = quiet_victim();
    let mut strangers: Vec<Stranger> = ["127.0.0.1:2000", "192.168.1.7:2000", "100.64.0.9:2000", "90.1.1.1:2000"]
        .iter()
        .zip(10..)
        .map(|(at, n)| Stranger::new(n, at))
        .collect();
    strangers.iter_mut().for_each(|stranger| net.introduce(stranger));
    let all: Vec<u16> = (200..=256).collect();
    for (asker, told) in [(0, vec![1, 2, 3]), (1, vec![2, 3]), (2, vec![3]), (3, vec![])] {
        let records = records(&net.ask(&mut strangers[asker], find_node(&all)));
        let ids: BTreeSet<NodeId> = records.iter().map(|record| record.key().node_id()).collect();
        assert_eq!(ids, told.iter().map(|i: &usize| strangers[*i].id).collect(), "{asker}");
    }
}

/// Behind a NAT, a record may name an address at which its node is not reached.
#[test]
fn answers_go_to_the_source_of_the_packet() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    stranger.set_record(addr("66.6.6.6:30303"), 1);
    net.introduce(&mut stranger);
    assert_eq!(net.ask(&mut stranger, find_node(&[0])).len(), 1);
    assert!(!net.knows_stranger(&stranger), "its endpoint is not the one in its record");
    assert_eq!(net.sent_to(|to| to.ip() == addr("66.6.6.6:1").ip()), 0);
}

/// Hive's TalkRequest.
#[test]
fn requests_of_unknown_protocols_are_answered_with_nothing() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let answers = net.ask(&mut stranger, Payload::TalkRequest { protocol: b"test-protocol", request: b"hello" });
    let [answer] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(answer.parts(), (*ID, Payload::TalkResponse { response: b"" }));
    assert_eq!(net.count(0, |event| matches!(event, Event::TalkRequest { .. })), 0);
}

#[test]
fn requests_of_registered_protocols_are_the_applications() {
    let (mut net, mut stranger) = (empty(), stranger());
    let config = Config { talk_protocols: [b"p2p".to_vec()].into(), ..quiet() };
    net.add_with("100.0.0.1:30303", config, NetFilter::default());
    net.introduce(&mut stranger);
    assert_eq!(net.ask(&mut stranger, Payload::TalkRequest { protocol: b"p2p", request: b"hello" }), []);
    let id = net.find(Host(0), |event| match event {
        Event::TalkRequest { id, protocol, request } => {
            assert_eq!((&protocol[..], &request[..]), (&b"p2p"[..], &b"hello"[..]));
            Some(*id)
        }
        _ => None,
    });
    let id = id.expect("an event");
    assert_eq!((id.node, id.addr, id.request), (stranger.id, stranger.addr, *ID));
    net.call(0, |machine, cx| machine.respond(cx, &id, b"world")).unwrap();
    assert_eq!(net.take_one(&mut stranger).plain().parts(), (*ID, Payload::TalkResponse { response: b"world" }));
    // Where there is no session, there is no request to answer.
    let elsewhere = TalkId { addr: addr("90.1.1.2:30303"), ..id };
    let answer = net.call(0, |machine, cx| machine.respond(cx, &elsewhere, b"world"));
    assert_eq!(answer, Err(CommandError::UnknownRequest));
}

/// The largest ones, to a node with which there is a session, with which there is none, and that has lost it. A protocol's name
/// of more than 55 or 255 bytes has a longer header.
#[test]
fn the_largest_requests_of_applications_arrive_whether_there_is_a_session_or_not() {
    for name in [1, 55, 56, 255, 256, 700] {
        let (mut net, protocol) = (empty(), vec![b'p'; name]);
        for at in ["100.0.0.1:30303", "101.0.0.1:30303"] {
            let config = Config { talk_protocols: [protocol.clone()].into(), ..quiet() };
            net.add_with(at, config, NetFilter::default());
        }
        let (contact, request) = (net.contact(1), vec![5; TALK_BYTES_MAX - name]);
        for round in 0..3 {
            if round == 2 {
                net.call(1, |machine, _| machine.sessions = Sessions::default());
            }
            net.forget();
            net.call(0, |machine, cx| machine.talk(cx, CommandId(round), contact, &protocol, &request)).unwrap();
            net.run_for(millis(300));
            let id = net.find(Host(1), |event| match event {
                Event::TalkRequest { id, request: received, .. } => (received[..] == request).then_some(*id),
                _ => None,
            });
            let id = id.unwrap_or_else(|| panic!("round {round}, a name of {name} bytes"));
            net.call(1, |machine, cx| machine.respond(cx, &id, &[6; TALK_BYTES_MAX])).unwrap();
            net.run_for(millis(300));
            let is_answer = |event: &Event<'_>| matches!(event, Event::TalkResponse { command, response, .. } if *command == CommandId(round) && response[..] == [6; TALK_BYTES_MAX]);
            assert_eq!(net.count(0, is_answer), 1);
        }
    }
}
