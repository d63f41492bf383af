//! Before a peer has a name: slow, many, and broken handshakes.

use std::time::Duration;

use peerless::contract::{Command, ConnTimer, EndReason, Fault, Input, PeerKind, Refusal, Side, SocketId, Stage, Work};
use peerless::limits;
use peerless::netfilter::NetFilter;
use peerless::node::Node;
use peerless::testing::{Net, START, quiet_config};
use peerless::time::Instant;
use peerless::wire::enode::Contact;
use peerless::wire::p2p;
use peerless_tests::memory::peak_of;
use peerless_tests::stranger::Stranger;

use crate::{SECOND, VICTIM, global, local, victim};

/// C7: an auth that stops at any of its bytes is given up when its time is over, counted from the accept.
#[test]
fn a_handshake_that_stalls_ends_at_its_deadline() {
    let mut net = victim(1);
    let mut stranger = Stranger::new(1);
    let (_, auth) = stranger.auth(net.contact(VICTIM).key());
    for offsets in (0..auth.len()).collect::<Vec<_>>().chunks(limits::CONNS_PER_TURN) {
        let begun = net.now();
        let mut raws = Vec::new();
        for at in offsets {
            let raw = net.connect_raw(VICTIM, local(*at as u16)).expect("slots are free again");
            net.write_raw(raw, &auth[..*at]);
            raws.push(raw);
        }
        net.run_for(limits::HANDSHAKE_TIMEOUT * 2);
        for raw in raws {
            let (at, end) = net.end(VICTIM, raw.conn).expect("no connection stays");
            assert_eq!((at, end.by, end.stage), (begun + limits::HANDSHAKE_TIMEOUT, Side::Us, Stage::Handshake));
            assert_eq!(end.why, EndReason::Timeout(ConnTimer::Handshake));
            assert!(net.is_closed(raw) && net.read_raw(raw).is_empty(), "the node sends nothing to an unproven peer");
        }
        assert_eq!(net.machine(VICTIM).sessions().count(), 0);
    }
}

/// C7: one byte now and then does not move the deadline; and each later stage has its own.
#[test]
fn a_trickle_does_not_buy_time() {
    let mut net = victim(2);
    let mut stranger = Stranger::new(1);
    let (_, auth) = stranger.auth(net.contact(VICTIM).key());
    let begun = net.now();
    let raw = net.connect_raw(VICTIM, local(1)).unwrap();
    for byte in &auth {
        net.write_raw(raw, &[*byte]);
        net.run_for(limits::HANDSHAKE_TIMEOUT / 100);
    }
    let (at, end) = net.end(VICTIM, raw.conn).unwrap();
    assert_eq!((at, end.why), (begun + limits::HANDSHAKE_TIMEOUT, EndReason::Timeout(ConnTimer::Handshake)));

    // A whole auth, and then a Hello that trickles.
    let mut talk = stranger.dial(&mut net, VICTIM, local(2)).unwrap();
    let shaken = net.now();
    let hello = stranger.hello(69).encode();
    for byte in talk.seal(p2p::id::HELLO, &hello) {
        net.write_raw(talk.raw, &[byte]);
        net.run_for(limits::HELLO_TIMEOUT / 50);
    }
    let (at, end) = net.end(VICTIM, talk.conn()).unwrap();
    assert!(at <= shaken + limits::HELLO_TIMEOUT + limits::CLOSING_TIMEOUT, "{at}");
    assert_eq!((end.stage, end.why), (Stage::Hello, EndReason::Timeout(ConnTimer::Hello)));

    // A Hello, and then no Status; pings are a sign of life, and no Status.
    let mut talk = stranger.dial(&mut net, VICTIM, local(3)).unwrap();
    let shaken = net.now();
    talk.say_plain(&mut net, p2p::id::HELLO, &hello);
    for _ in 0..8 {
        talk.listen(&mut net);
        talk.say(&mut net, p2p::id::PING, &p2p::EMPTY_PAYLOAD);
    }
    let (at, end) = net.end(VICTIM, talk.conn()).unwrap();
    assert!(
        at <= shaken + limits::STATUS_TIMEOUT + limits::CLOSING_TIMEOUT + SECOND / 10,
        "{at}: on its way since {shaken}"
    );
    assert_eq!((end.stage, end.why), (Stage::Status, EndReason::Timeout(ConnTimer::Status)));
}

/// C8: a flood of streams from ten thousand addresses takes no more slots than there are for the purpose, and little memory.
#[test]
fn an_accept_flood_is_bounded() {
    let mut config = quiet_config(0, 1);
    config.filter = NetFilter::default();
    let mut node = Node::new(config, [1; 32], Instant::ZERO, START).unwrap();
    let mut accepted = 0;
    let peak = peak_of(|| {
        for n in 0..10_000 {
            let now = Instant::from_micros(u64::from(n) * 1000);
            node.handle(now, Input::Timeout);
            if let Some(conn) = node.accept(now, SocketId::MAIN, global(n)) {
                accepted += 1;
                node.handle(now, Input::Bytes { conn, bytes: &[0x01] });
            }
            while node.poll_action().is_some() {}
            assert!(node.sessions().count() <= limits::PENDING_MAX);
        }
    });
    // Each displaces an older one.
    assert_eq!(accepted, 10_000);
    assert!(peak < 1 << 20, "{peak} bytes");
    for turn in 0..2 {
        node.handle(Instant::from_micros(60_000_000 + turn), Input::Timeout);
        while node.poll_action().is_some() {}
    }
    assert_eq!(node.sessions().count(), 0);

    // One subnet has fewer, one address has one in a while.
    let later = Instant::from_micros(120_000_000);
    for n in 0..100u8 {
        assert!(node.accept(later, SocketId::MAIN, ([70, 1, 1, n], 5).into()).is_some());
        while node.poll_action().is_some() {}
    }
    assert_eq!(node.sessions().count(), limits::PENDING_PER_SUBNET);
    let again = (0..100).filter(|_| node.accept(later, SocketId::MAIN, ([70, 1, 2, 1], 5).into()).is_some()).count();
    assert_eq!(again, 1);
}

/// C8: while all slots for strangers are taken, our own dials are none the worse.
#[test]
fn an_accept_flood_does_not_keep_us_from_dialling() {
    let mut net = victim(3);
    let honest = net.add_node(quiet_config(1, 1));
    let mut flood = 0;
    let refused = |net: &Net<Node>| net.machine(VICTIM).stats().accepts_refused;
    for _ in 0..2000 {
        let _ = net.connect_raw(VICTIM, global(flood));
        flood += 1;
    }
    assert_eq!(refused(&net), 0, "each displaces an older one");
    let contact = net.contact(honest);
    net.command(VICTIM, Command::Dial { contact }).unwrap();
    for _ in 0..100 {
        net.run_for(SECOND / 10);
        for _ in 0..100 {
            let _ = net.connect_raw(VICTIM, global(flood));
            flood += 1;
        }
        assert!(net.machine(VICTIM).sessions().count() <= limits::PENDING_MAX + 1);
    }
    assert_eq!((net.established(VICTIM), net.established(honest)), (1, 1));
}

/// C10: what was broken off does not stand in the way of what comes next from there.
#[test]
fn garbage_does_not_spoil_the_next_session() {
    let mut net = victim(4);
    for (n, garbage) in [vec![0xff; 307], vec![0; 500], [vec![1, 0x33], vec![0xff; 307]].concat()].iter().enumerate() {
        let raw = net.connect_raw(VICTIM, local(7)).unwrap();
        net.write_raw(raw, garbage);
        net.run_for(SECOND);
        let (_, end) = net.end(VICTIM, raw.conn).unwrap();
        assert_eq!((end.by, end.stage, end.why), (Side::Us, Stage::Handshake, EndReason::Fault(Fault::Handshake)));
        assert!(net.is_closed(raw) && net.read_raw(raw).is_empty(), "nothing is said");
        let talk = Stranger::new(n as u8).establish(&mut net, VICTIM, local(7), 69);
        assert!(talk.is_some(), "after {garbage:02x?}");
    }
    assert!(crate::scored(&net, VICTIM).is_empty(), "no peer had proven a key");

    // From a global address, when its throttle has passed.
    let raw = net.connect_raw(VICTIM, global(1)).unwrap();
    net.write_raw(raw, &[0xff; 307]);
    net.run_for(SECOND);
    assert!(net.connect_raw(VICTIM, global(1)).is_none());
    net.run_for(limits::INBOUND_THROTTLE);
    assert!(Stranger::new(9).establish(&mut net, VICTIM, global(1), 69).is_some());
}

/// C11: an auth that was overheard opens nothing: the answer is for its author. Repeated, it costs no public-key operation.
#[test]
fn a_replayed_auth_gets_no_further() {
    let mut net = victim(5);
    let mut stranger = Stranger::new(1);
    let (_, auth) = stranger.auth(net.contact(VICTIM).key());
    let raw = net.connect_raw(VICTIM, local(1)).unwrap();
    net.write_raw(raw, &auth);
    net.write_raw(raw, &[0x42; 600]);
    net.run_for(Duration::from_secs(10));
    let (_, end) = net.end(VICTIM, raw.conn).unwrap();
    assert_eq!((end.stage, end.why), (Stage::Hello, EndReason::Fault(Fault::HeaderMac)));

    for n in 0..1000 {
        let raw = net.connect_raw(VICTIM, local(n)).unwrap();
        let work = net.with(VICTIM, |node, now| {
            node.handle(now, Input::Bytes { conn: raw.conn, bytes: &auth });
            node.take_work(raw.conn)
        });
        assert!(work < Work::HANDSHAKE / 20, "{work}");
        let (_, end) = net.end(VICTIM, raw.conn).unwrap();
        assert_eq!((end.by, end.stage), (Side::Us, Stage::Handshake));
        assert_eq!(end.why, EndReason::Refused(Refusal::Replayed));
        assert!(net.read_raw(raw).is_empty(), "nothing is said");
        net.run_for(SECOND / 2);
    }
    // Ten minutes after it was seen it is paid for like any other.
    net.run_for(limits::AUTH_MEMORY);
    let raw = net.connect_raw(VICTIM, local(1)).unwrap();
    net.write_raw(raw, &auth);
    net.run_for(SECOND);
    assert!(!net.read_raw(raw).is_empty());
    assert!(crate::scored(&net, VICTIM).is_empty(), "its author is not blamed");
}

/// C11: new auths are answered within their budgets: per subnet, and in all. A share is kept for static peers' addresses;
/// local addresses pay nothing. No peer is blamed.
#[test]
fn a_flood_of_auths_is_answered_within_its_budget() {
    let mut config = quiet_config(0, 1);
    config.filter = NetFilter::default();
    config.peers.max_pending = 10_000;
    (config.peers.handshakes, config.peers.handshakes_per_subnet) = (40, 2);
    let mut net = Net::new(6);
    net.add_node(config);
    let named = Contact::new(Stranger::new(200).key, global(99_999).ip(), 0, 30303);
    net.command(VICTIM, Command::AddPeer { contact: named, kind: PeerKind::Static }).unwrap();
    net.run_for(SECOND);
    let key = net.contact(VICTIM).key();
    let mut stranger = Stranger::new(1);
    let mut answered = |net: &mut Net<Node>, from| {
        let (_, auth) = stranger.auth(key);
        let raw = net.connect_raw(VICTIM, from).expect("there is room");
        net.with(VICTIM, |node, now| {
            node.handle(now, Input::Bytes { conn: raw.conn, bytes: &auth });
            !node.outbound(raw.conn).is_empty()
        })
    };
    let mut strangers = 0;
    for second in 0..5 {
        // Each from a subnet of its own.
        strangers += (0..100).filter(|n| answered(&mut net, global(second * 100 + n))).count();
        net.run_for(SECOND);
    }
    assert!((5 * 28..=6 * 30).contains(&strangers), "{strangers} of 500 in five seconds, 30 a second");
    for n in 0..100 {
        answered(&mut net, global(1000 + n));
    }
    assert!(!answered(&mut net, global(2000)), "strangers have used their share up");
    assert!(answered(&mut net, named.tcp_addr()), "a share is kept");
    assert!((0..100).all(|n| answered(&mut net, local(n))));
    net.run_for(10 * SECOND);
    let neighbours = (1..=4).filter(|n| answered(&mut net, ([80, 1, 1, *n], 1).into())).count();
    assert_eq!(neighbours, 2, "of one subnet");
    assert!(crate::scored(&net, VICTIM).is_empty());
}
