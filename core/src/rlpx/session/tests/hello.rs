//! Hello in both directions: what is accepted, what ends the session, and in what time it must come.

use super::*;

#[test]
fn a_hello_that_is_too_large_or_offers_the_unknown_cannot_be_sent() {
    let table = CapabilityTable::default;
    let unknown = hello("a", &["foo/1"]);
    assert!(matches!(LocalHello::new(unknown, table()), Err(InvalidHello::Unregistered(_))));
    let long = Hello { client: "x".repeat(2048), ..hello("a", &["eth/69"]) };
    assert_eq!(LocalHello::new(long, table()).unwrap_err(), InvalidHello::TooLarge);
}

#[test]
fn a_hello_with_a_wrong_key_version_or_nothing_shared_ends_the_session() {
    let b = || hello("b", &["eth/69"]);
    let other = *key("c").as_bytes();
    let cases = [
        (Hello { key: [0; 64], ..b() }, Fault::InvalidIdentity),
        (Hello { key: other, ..b() }, Fault::UnexpectedIdentity),
        (Hello { version: 3, ..b() }, Fault::IncompatibleVersion),
        (Hello { version: 0, ..b() }, Fault::IncompatibleVersion),
        (Hello { capabilities: vec![], ..b() }, Fault::Useless),
        (hello("b", &["eth/65", "les/4", "foo/1"]), Fault::Useless),
    ];
    for (hello, fault) in cases {
        let mut raw = Raw::new(&["eth/68", "eth/69"]);
        assert_eq!(raw.send(0, &hello.encode()), [Got::Fault(fault)]);
        assert_eq!(raw.end.session.hello(), Some(&hello), "what it said can be told");
        assert_eq!(Some(raw.final_disconnect()), fault.disconnect_reason());
    }
    // Hive's MaliciousHandshake: keys of the wrong length.
    for len in [2usize, 63, 65, 128] {
        let mut rlp = crate::wire::rlp::RlpStream::new_list(5);
        rlp.append(&5u64).append(&"x").begin_list(0).append(&0u64).append(&vec![7u8; len]);
        let mut raw = Raw::new(&["eth/69"]);
        assert_eq!(raw.send(0, &rlp.out()), [Got::Fault(Fault::Message(DecodeError::WrongLength))]);
        assert_eq!(raw.final_disconnect(), DisconnectReason::ProtocolBreach);
    }
    let (frames, mut peer) = pair_of_frames();
    let mut end = End::new(hello("a", &["eth/69"]), key("a"), frames);
    let mut echo = Vec::new();
    let start = peer.sealer.begin(&mut echo);
    echo.push(0x80);
    echo.extend_from_slice(&hello("a", &["eth/69"]).encode());
    peer.sealer.finish(&Secp256k1::new(), &mut echo, start).unwrap();
    assert_eq!(end.handle(&echo), [Got::Fault(Fault::ConnectedToSelf)]);
}

#[test]
fn odd_hellos_are_accepted() {
    let names = vec!["eth/69"; 64];
    for hello in [
        Hello { version: 55, ..hello("b", &["eth/69"]) },
        Hello { version: u64::MAX, port: u64::MAX, ..hello("b", &names) },
        Hello { client: "\u{1b}[2J\n".into(), ..hello("b", &["eth/69"]) },
    ] {
        for id in [0x00, 0x80] {
            let mut raw = Raw::new(&["eth/69"]);
            assert_eq!(raw.body(&[&[id][..], &hello.encode()].concat()), [Got::Hello]);
            assert!(raw.end.session.hello().unwrap().client.bytes().all(|byte| byte >= b' '));
            assert_eq!(raw.end.session.shared().len(), 1);
        }
    }
}

#[test]
fn version_4_turns_snappy_off() {
    let mut raw = Raw::open(&["eth/69"], 4);
    assert!(!raw.end.session.snappy());
    assert_eq!(raw.send(0x12, b"\xc1\x05"), [Got::Message(ETH, 2, b"\xc1\x05".into())]);
    raw.end.send(ETH, 2, &[b"\xc2", b"\x05\x06"]).unwrap();
    assert_eq!(raw.received(), [b"\x12\xc2\x05\x06"]);
    let large = vec![0; limits::ETH_MESSAGE_BYTES_MAX + 1];
    assert_eq!(raw.send(0x14, &large[1..]).len(), 1);
    assert_eq!(raw.send(0x14, &large), [Got::Fault(Fault::TooLarge)]);
    assert_eq!(raw.final_disconnect(), DisconnectReason::ProtocolBreach);
}

#[test]
fn the_first_message_is_a_small_hello() {
    for id in [2, 3, 4, 0x0f, 0x10, 0x11, 300] {
        let mut raw = Raw::new(&["eth/69"]);
        assert_eq!(raw.send(id, &[0xc0]), [Got::Fault(Fault::HelloExpected)]);
        let said = raw.received();
        assert_eq!(said.len(), 2, "Hello and Disconnect");
        assert_eq!(said[1], [1, 0xc1, 2], "not compressed: the peer has not said its version");
    }
    let sized = |bytes: usize| {
        let theirs = Hello { client: "".into(), ..hello("b", &["eth/69"]) };
        // A name this long takes two more bytes for its length, the list around it one.
        let name = bytes - theirs.encode().len() - 3;
        let payload = Hello { client: "x".repeat(name), ..theirs }.encode();
        assert_eq!(payload.len(), bytes);
        payload
    };
    assert_eq!(Raw::new(&["eth/69"]).send(0, &sized(2048)), [Got::Hello]);
    assert_eq!(Raw::new(&["eth/69"]).send(0, &sized(2049)), [Got::Fault(Fault::TooLarge)]);
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.send(0, &hello("b", &["eth/69"]).encode()), [Got::Fault(Fault::HelloTwice)]);
    assert_eq!(raw.final_disconnect(), DisconnectReason::ProtocolBreach);
}

#[test]
fn hello_must_come_in_time() {
    let mut raw = Raw::new(&["eth/69"]);
    assert_eq!(raw.end.session.poll_timeout(), Some((Instant::ZERO + limits::HELLO_TIMEOUT, ConnTimer::Hello)));
    let frame = raw.frame(&[0; 100]);
    raw.end.advance(limits::HELLO_TIMEOUT - Duration::from_micros(1));
    // A byte now and then buys no time (attack C7).
    assert_eq!(raw.end.handle(&frame[..40]), []);
    assert_eq!(raw.end.timeout(true), None);
    raw.end.advance(Duration::from_micros(1));
    assert_eq!(raw.end.timeout(true), Some(EndReason::Timeout(ConnTimer::Hello)));
    assert_eq!(raw.final_disconnect(), DisconnectReason::PingTimeout);
}
