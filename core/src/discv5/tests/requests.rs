//! The ends of our requests: answers in parts, timeouts, lost datagrams, restarts.

use super::*;

fn stranger() -> Stranger {
    Stranger::new(7, "90.1.1.1:30303")
}

/// How long after the start of a test a command failed.
fn failed_after(net: &Net, command: u64, start: Instant) -> Option<Duration> {
    net.events(Host(0)).iter().find_map(|(at, event)| match event {
        Event::CallFailed { command: ended, why: CallFailure::Timeout } if ended.0 == command => Some(at.since(start)),
        _ => None,
    })
}

fn ponged(net: &Net, i: usize, command: u64) -> bool {
    net.saw(Host(i), |event| matches!(event, Event::Pong { command: ended, .. } if ended.0 == command))
}

fn start_ping(net: &mut Net, stranger: &Stranger, command: u64) {
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.ping(cx, CommandId(command), contact)).unwrap();
}

/// The victim asks the stranger for its nodes, within a session.
fn start_find_node(net: &mut Net, stranger: &mut Stranger, distances: &[u16]) -> RequestId {
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.find_node(cx, CommandId(1), contact, distances)).unwrap();
    let got = net.take_one(stranger);
    let (id, Payload::FindNode { distances: asked }) = got.plain().parts() else { panic!("{got:?}") };
    assert_eq!(asked, distances);
    id
}

fn found(net: &Net) -> Option<Vec<Contact>> {
    net.find(Host(0), |event| match event {
        Event::Nodes { command: CommandId(1), nodes, .. } => Some(nodes.clone()),
        _ => None,
    })
}

/// Strangers at distances that are asked for, from any node.
fn others(of: &Stranger, distance: u16, count: usize) -> Vec<Stranger> {
    let all = (10..=250).map(|n| Stranger::new(n, &alloc::format!("91.{n}.1.1:30303")));
    let others: Vec<_> = all.filter(|other| of.id.log_distance(&other.id) == distance).take(count).collect();
    assert_eq!(others.len(), count);
    others
}

#[test]
fn a_challenge_is_waited_for_for_a_second_and_an_answer_for_700_milliseconds() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    let start = net.now();
    start_ping(&mut net, &stranger, 1);
    net.run_for(secs(3));
    assert_eq!(failed_after(&net, 1, start), Some(limits::CHALLENGE_TIMEOUT));
    net.take(&mut stranger);

    start_ping(&mut net, &stranger, 2);
    let nonce = net.take_one(&mut stranger).nonce();
    let start = net.now();
    _ = net.challenge(&mut stranger, &nonce, 0);
    assert!(matches!(net.take_one(&mut stranger), Got::Handshake(..)));
    net.run_for(secs(3));
    assert_eq!(failed_after(&net, 2, start), Some(limits::ANSWER_TIMEOUT));

    let start = net.now();
    start_ping(&mut net, &stranger, 3);
    assert!(matches!(net.take_one(&mut stranger), Got::Message(_)));
    net.run_for(secs(3));
    assert_eq!(failed_after(&net, 3, start), Some(limits::ANSWER_TIMEOUT));
}

#[test]
fn an_answer_comes_in_several_messages_and_in_any_order() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let others = others(&stranger, 256, 9);
    let id = start_find_node(&mut net, &mut stranger, &[256]);
    for (part, records) in others.chunks(3).rev().enumerate() {
        assert_eq!(found(&net), None, "{part}");
        let plain = Plain::nodes(id, 3, records.iter().map(|other| &other.record));
        assert_eq!(net.say(&mut stranger, &plain), Received::Handled);
    }
    let nodes: BTreeSet<NodeId> = found(&net).unwrap().iter().map(Contact::id).collect();
    assert_eq!(nodes, others.iter().map(|other| other.id).collect());
    let late = Plain::nodes(id, 3, []);
    assert_eq!(net.say(&mut stranger, &late), Received::Dropped(DropReason::Unsolicited));
}

#[test]
fn what_has_arrived_of_an_answer_counts_when_the_rest_is_lost() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let others = others(&stranger, 256, 2);
    let id = start_find_node(&mut net, &mut stranger, &[256]);
    let start = net.now();
    for other in &others {
        net.run_for(millis(600));
        assert_eq!(net.say(&mut stranger, &Plain::nodes(id, 5, [&other.record])), Received::Handled);
    }
    net.run_for(millis(699));
    assert_eq!(found(&net), None);
    net.run_for(millis(2));
    assert_eq!(found(&net).map(|nodes| nodes.len()), Some(2), "{:?} after the request", net.now().since(start));
}

#[test]
fn calls_that_wait_for_a_handshake_end_with_it() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    (1..=3).for_each(|command| start_ping(&mut net, &stranger, command));
    assert_eq!(net.take(&mut stranger).len(), 1, "one handshake for all");
    let start = net.now();
    net.run_for(secs(2));
    for command in 1..=3 {
        assert!(failed_after(&net, command, start).is_some_and(|after| after <= limits::CHALLENGE_TIMEOUT));
    }
    assert!(net.discv5(0).calls().is_empty());
    // When it succeeds, they are sent.
    (4..=6).for_each(|command| start_ping(&mut net, &stranger, command));
    net.attend(&mut [&mut stranger], secs(1), honest);
    assert!((4..=6).all(|command| ponged(&net, 0, command)));
}

/// A request that is too large for a handshake packet waits for a ping, and ends with it.
#[test]
fn a_large_request_ends_with_the_ping_that_it_waits_for() {
    for is_answered in [false, true] {
        let (mut net, mut stranger) = (quiet_victim(), stranger());
        let contact = stranger.contact();
        net.call(0, |machine, cx| machine.talk(cx, CommandId(1), contact, b"p", &[7; 1000])).unwrap();
        let mut asked = vec![];
        net.attend(&mut [&mut stranger], secs(2), |_, id, payload| match payload {
            Payload::Ping { .. } if is_answered => vec![Plain::pong(id, 1)],
            Payload::TalkRequest { request, .. } => {
                asked.push(request.len());
                vec![Plain::new(id, Payload::TalkResponse { response: b"yes" })]
            }
            _ => vec![],
        });
        assert_eq!(asked, if is_answered { vec![1000] } else { vec![] });
        let answered = net.count(0, |event| matches!(event, Event::TalkResponse { .. }));
        let failed = net.count(0, |event| matches!(event, Event::CallFailed { .. }));
        assert_eq!((answered, failed), (usize::from(is_answered), usize::from(!is_answered)));
    }
}

/// Each of the datagrams of a first ping is lost in turn: random packet, challenge, handshake, pong.
#[test]
fn a_lost_datagram_fails_one_ping_and_not_the_next() {
    for lost in 0..4u64 {
        let mut net = pair();
        let (contact, start) = (net.contact(1), net.now());
        net.call(0, |machine, cx| machine.ping(cx, CommandId(1), contact)).unwrap();
        // The datagram on its way is lost when its receiver is cut off as it arrives.
        net.run_for(DELAY * lost as u32 + DELAY / 2);
        let receiver = Host(if lost % 2 == 0 { 1 } else { 0 });
        net.cut(receiver, true);
        net.run_for(DELAY);
        net.cut(receiver, false);
        net.run_for(secs(2));
        let waits = if lost < 2 { limits::CHALLENGE_TIMEOUT } else { 2 * DELAY + limits::ANSWER_TIMEOUT };
        assert_eq!(failed_after(&net, 1, start), Some(waits), "{lost}");
        net.call(0, |machine, cx| machine.ping(cx, CommandId(2), contact)).unwrap();
        net.run_for(millis(500));
        assert!(ponged(&net, 0, 2), "{lost}");
    }
}

/// Several requests may be in flight when the other side turns out to have lost the session: all of them are answered.
#[test]
fn a_restart_of_either_side_fails_no_request() {
    for (restarted, count) in [(0, 1), (1, 1), (0, 5), (1, 5)] {
        let mut net = pair();
        let contact = net.contact(1);
        net.call(0, |machine, cx| machine.ping(cx, CommandId(0), contact)).unwrap();
        net.run_for(millis(200));
        assert!(ponged(&net, 0, 0));
        net.restart(restarted);
        let before = net.sent();
        for command in 1..=count {
            net.call(0, |machine, cx| machine.ping(cx, CommandId(command), contact)).unwrap();
        }
        net.run_for(millis(400));
        let answered = (1..=count).filter(|command| ponged(&net, 0, *command)).count();
        assert_eq!(answered as u64, count, "machine {restarted} restarted");
        if count == 1 {
            assert_eq!(net.sent() - before, 4);
        }
    }
}

/// Where its address changes, a session ends: the new endpoint is challenged, and the answer proves it.
#[test]
fn a_node_whose_address_changes_makes_a_new_handshake() {
    let (mut net, mut stranger) = (quiet_victim(), stranger());
    net.introduce(&mut stranger);
    let mut moved = stranger.at("90.2.2.2:40000");
    assert_eq!(net.say(&mut moved, &Plain::new(*ID, Payload::Ping { enr_seq: 1 })), Received::Handled);
    let challenge = net.take_one(&mut moved).challenge();
    assert_eq!(net.answer(&mut moved, &challenge), Received::Handled);
    assert_eq!(net.take(&mut moved).len(), 1);
    let entry = net.discv5(0).table().entry(&stranger.id).unwrap();
    assert_eq!(entry.contact().udp_addr(), stranger.addr, "its record names that one");
}
