//! Two sessions with each other: messages both ways, whatever the chunks, and the memory that they take.

use super::*;

#[test]
fn two_sessions_exchange_messages_until_one_disconnects() {
    let (mut a, mut b) = open_pair(&["eth/68", "eth/69", "snap/1"], &["snap/1", "eth/69", "eth/70"]);
    assert_eq!(a.session.shared(), b.session.shared());
    assert_eq!(a.session.shared().iter().map(|shared| shared.offset).collect::<Vec<_>>(), [0x10, 0x22]);
    assert_eq!(a.session.hello().unwrap().client, "b");
    assert!(a.session.snappy());
    a.send(ETH, 3, &[b"\xc2", b"\x05\xc0"]).unwrap();
    a.send(SNAP, 7, &[]).unwrap();
    assert_eq!(b.handle(&a.flush()), [Got::Message(ETH, 3, b"\xc2\x05\xc0".into()), Got::Message(SNAP, 7, vec![])]);
    assert_eq!(a.context.stats.messages_out, b.context.stats.messages_in);
    assert_eq!(a.context.stats.frames_out, b.context.stats.frames_in);
    assert_eq!(a.context.stats.messages_out[&(ETH, 3)].bytes, 3);

    let mut cx = a.context.cx(&mut a.rng);
    a.session.disconnect(&mut cx, &mut a.out, DisconnectReason::ClientQuitting);
    a.session.disconnect(&mut cx, &mut a.out, DisconnectReason::Requested);
    assert_eq!(b.handle(&a.flush()), [Got::Disconnected(DisconnectReason::ClientQuitting)]);
    assert!(b.flush().is_empty() && b.session.is_over());
    assert_eq!(a.send(ETH, 3, &[]), Err(CommandError::UnknownConn));
    assert_eq!(a.handle(b"anything"), [], "what comes after the end is not read");
}

#[test]
fn a_session_follows_a_handshake() {
    let unix = UnixTime::from_secs(1_800_000_000);
    let mut context = Context::new(Instant::ZERO, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
    let mut rng = Seed::new([4; 32]).fork("handshake");
    let mut cx = context.cx(&mut rng);
    let (mut to_b, mut to_a) = (Outbound::default(), Outbound::default());
    let mut a = Handshake::initiate(&mut cx, &secret("a"), &key("a"), key("b"), &mut to_b);
    let b = Handshake::receive().handle_bytes(&mut cx, &secret("b"), &mut to_b.as_slice(), &mut to_a);
    let a = a.handle_bytes(&mut cx, &secret("a"), &mut to_a.as_slice(), &mut to_b);
    let (Progress::Done(a), Progress::Done(b)) = (a, b) else { panic!("both sides agree") };
    let mut a = End::new(hello("a", &["eth/69"]), a.key, a.frames);
    let mut b = End::new(hello("b", &["eth/69"]), b.key, b.frames);
    assert_eq!(b.handle(&a.flush()), [Got::Hello]);
    assert_eq!(a.handle(&b.flush()), [Got::Hello]);
    a.send(ETH, 2, &[&[0xc0]]).unwrap();
    assert_eq!(b.handle(&a.flush()), [Got::Message(ETH, 2, vec![0xc0])]);
}

#[test]
fn what_cannot_be_sent_is_refused_with_its_reason() {
    let (mut a, b) = pair(&["eth/69"], &["eth/69", "snap/1"]);
    assert_eq!(a.send(ETH, 0, &[]), Err(CommandError::NotEstablished));
    let hello = b.out.as_slice().to_vec();
    assert_eq!(a.handle(&hello), [Got::Hello]);
    a.flush();
    assert_eq!(a.send(SNAP, 0, &[]), Err(CommandError::NotShared));
    assert_eq!(a.send(Capability::eth(68), 0, &[]), Err(CommandError::NotShared));
    assert_eq!(a.send(ETH, 18, &[]), Err(CommandError::UnknownMessage));
    let large = vec![0; limits::ETH_MESSAGE_BYTES_MAX];
    assert_eq!(a.send(ETH, 16, &[&large, &[0]]), Err(CommandError::TooLarge));
    assert!(a.out.is_empty(), "nothing of it is queued");
    assert_eq!(a.send(ETH, 16, &[&large]), Ok(()));

    let mut rng = Seed::new([2; 32]).fork("noise");
    let mut noise = vec![0; 500_000];
    rng.fill(&mut noise);
    let sent = (0..100).filter(|_| a.send(ETH, 2, &[&noise]).is_ok()).count();
    assert!((2..6).contains(&sent), "{sent}");
    assert_eq!(a.send(ETH, 2, &[&[0xc0]]), Err(CommandError::Busy));
    assert!(a.out.len() <= limits::OUTBOUND_BYTES_MAX + noise.len() + 1000);
    a.out.consume(noise.len());
    assert_eq!(a.send(ETH, 2, &[&[0xc0]]), Ok(()));
}

#[test]
fn chunks_change_nothing() {
    let run = |chunk: usize| {
        let (mut a, mut b) = pair(&["eth/69", "snap/1"], &["eth/69", "snap/1"]);
        let mut got = Vec::new();
        let mut wire = Vec::new();
        let mut pass = |from: &mut End, to: &mut End| {
            let bytes = from.flush();
            bytes.chunks(chunk).for_each(|chunk| got.extend(to.handle(chunk)));
            wire.extend(bytes);
        };
        pass(&mut b, &mut a);
        pass(&mut a, &mut b);
        for i in 0..20u64 {
            let body = vec![i as u8; (i * i * 37) as usize];
            a.send(ETH, 4 + i % 2 * 2, &[&[0xc0], &body]).unwrap();
            a.advance(7 * SECOND);
            assert_eq!(a.timeout(true), None);
            pass(&mut a, &mut b);
            b.send(SNAP, i % 8, &[&body]).unwrap();
            pass(&mut b, &mut a);
        }
        (got, wire)
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.0.len(), 42 + 6, "two Hellos, forty messages, and six pongs");
    for chunk in [1, 2, 15, 16, 17, 31, 33, 48, 1000] {
        assert_eq!(run(chunk), whole, "chunks of {chunk}");
    }
}

#[test]
fn an_idle_session_is_small() {
    let mut raw = Raw::open(&["eth/69", "snap/1"], 5);
    raw.send(0x14, &pack(&vec![7; limits::ETH_MESSAGE_BYTES_MAX]));
    raw.end.send(ETH, 2, &[&vec![7; 1 << 20]]).unwrap();
    raw.received();
    let session = &raw.end.session;
    let fixed = size_of::<Session>() + size_of::<Hello>() + size_of_val(session.shared());
    assert!(fixed <= 1536, "{fixed}");
    assert!(session.frames.opener.buffer_bytes() <= limits::IDLE_BUFFER_BYTES);
    assert!(raw.end.out.tail().capacity() <= limits::IDLE_BUFFER_BYTES);
}
