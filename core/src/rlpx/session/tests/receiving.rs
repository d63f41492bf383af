//! What a peer may put into a frame, and what each of it comes to.

use super::*;
use crate::contract::Work;
use crate::wire::schema::Role;

/// F2.
#[test]
fn every_message_id_is_routed_ignored_or_a_fault() {
    let sets: [(&[&str], u64); 4] = [
        (&["eth/68"], 0x21),
        (&["eth/69", "snap/1"], 0x2a),
        (&["eth/72", "snap/2"], 0x30),
        (&["eth/72", "snap/2", "test/1"], 0xf8),
    ];
    for (capabilities, end) in sets {
        for id in (0..=300).chain([u64::MAX]) {
            let mut raw = Raw::open(capabilities, 5);
            let got = raw.send(id, &pack(&[0xc0]));
            match id {
                0 => assert_eq!(got, [Got::Fault(Fault::HelloTwice)]),
                1 => assert_eq!(got, [Got::Disconnected(DisconnectReason::Unreadable)]),
                2 => assert_eq!(raw.received(), [[3, 1, 0, 0xc0]], "pong"),
                3..0x10 => assert_eq!((got, raw.received().len()), (vec![], 0)),
                _ if id < end => {
                    let [Got::Message(capability, id, payload)] = &got[..] else { panic!("{id:#x} {got:?}") };
                    let shared = raw.end.session.shared().iter().find(|shared| shared.capability == *capability);
                    let is_forbidden = shared.unwrap().role(*id) == Some(Role::Forbidden);
                    assert_eq!(&payload[..], if is_forbidden { &[][..] } else { &[0xc0] }, "{id:#x}");
                }
                _ => assert_eq!(got, [Got::Fault(Fault::UnknownMessage)], "{id:#x}"),
            }
        }
    }
}

/// F2.
#[test]
fn a_body_without_a_canonical_message_id_is_a_fault() {
    for (body, fault) in [
        (&b""[..], Fault::EmptyFrame),
        (b"\x81\x00", Fault::Message(DecodeError::LeadingZero)),
        (b"\x81\x12\xc0", Fault::Message(DecodeError::NonCanonical)),
        (b"\x82\x00\x00", Fault::Message(DecodeError::LeadingZero)),
        (b"\xc1\x10", Fault::Message(DecodeError::ExpectedString)),
        (b"\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff", Fault::Message(DecodeError::IntegerOverflow)),
        (b"\x84\xff", Fault::Message(DecodeError::Truncated)),
    ] {
        for mut raw in [Raw::new(&["eth/69"]), Raw::open(&["eth/69"], 5)] {
            assert_eq!(raw.body(body), [Got::Fault(fault)]);
            assert_eq!(raw.final_disconnect(), DisconnectReason::ProtocolBreach);
        }
    }
}

#[test]
fn a_disconnect_ends_whatever_it_holds() {
    let too_many = DisconnectReason::TooManyPeers;
    let payloads: [(&[u8], DisconnectReason); 9] = [
        (&[0xc1, 4], too_many),
        (&[4], too_many),
        (&[0x81, 4], too_many),
        (&[0xc2, 0x81, 4], too_many),
        (&[0x80], DisconnectReason::Requested),
        (&[0xc0], DisconnectReason::Unreadable),
        (&[0x88, 255, 255, 255, 255, 255, 255, 255, 255], DisconnectReason::Unreadable),
        (&[0xff; 2000], DisconnectReason::Unreadable),
        (&[], DisconnectReason::Unreadable),
    ];
    for (payload, reason) in payloads {
        for compressed in [false, true] {
            for mut raw in [Raw::new(&["eth/69"]), Raw::open(&["eth/69"], 4), Raw::open(&["eth/69"], 5)] {
                let before = raw.received().len();
                let packed = if compressed { pack(payload) } else { payload.to_vec() };
                // Nothing, compressed, is the byte 0: the encoding of "requested" that some clients send.
                let reason = if packed == [0] { DisconnectReason::Requested } else { reason };
                assert_eq!(raw.send(1, &packed), [Got::Disconnected(reason)], "{payload:02x?}");
                assert!(before <= 1 && raw.received().is_empty(), "it is not answered");
                assert!(raw.end.session.is_over());
            }
        }
    }
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.send(1, &vec![0xff; 1 << 20]), [Got::Disconnected(DisconnectReason::Unreadable)]);
}

#[test]
fn sizes_are_bounded_before_anything_is_inflated() {
    let large = vec![0; limits::ETH_MESSAGE_BYTES_MAX + 1];
    for (id, bytes_max) in [
        (0, limits::STATUS_BYTES_MAX),
        (2, limits::TRANSACTIONS_BYTES_MAX),
        (3, limits::REQUEST_BYTES_MAX),
        (4, limits::ETH_MESSAGE_BYTES_MAX),
        (8, limits::ANNOUNCED_HASHES_BYTES_MAX),
        (17, limits::STATUS_BYTES_MAX),
    ] {
        let mut raw = Raw::open(&["eth/69"], 5);
        let got = raw.send(0x10 + id, &pack(&large[..bytes_max]));
        assert!(got == [Got::Message(ETH, id, large[..bytes_max].to_vec())], "{id}");
        assert_eq!(raw.send(0x10 + id, &pack(&large[..=bytes_max])), [Got::Fault(Fault::TooLarge)], "{id}");
        assert!(raw.end.context.out.staged().is_empty());
    }
    // A capability that sets no limit of its own has the frame's: 16 MiB - 1.
    let mut raw = Raw::open(&["eth/69", "test/1"], 5);
    assert_eq!(raw.send(0x22, &pack(&large)).len(), 1);
    assert_eq!(raw.send(0x22, &[&[0x80, 0x80, 0x80, 8][..], &large].concat()), [Got::Fault(Fault::TooLarge)]);
    for (payload, fault) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], Fault::TooLarge),
        (&[0x80, 0x80, 0x40, 0], Fault::Snappy),
        (&[], Fault::Snappy),
        (&[5, 0, 0xc0], Fault::Snappy),
        (&[4, 1], Fault::Snappy),
        (b"\xff\x06\x00\x00sNaPpY", Fault::Snappy),
    ] {
        let mut raw = Raw::open(&["eth/69"], 5);
        assert_eq!(raw.send(0x12, payload), [Got::Fault(fault)], "{payload:02x?}");
        assert_eq!(raw.final_disconnect(), DisconnectReason::ProtocolBreach);
        assert!(raw.end.context.out.staged().is_empty());
    }
    for id in [2, 3, 9] {
        assert_eq!(Raw::open(&["eth/69"], 5).send(id, &[0; 2049]), [Got::Fault(Fault::TooLarge)]);
        assert_eq!(Raw::open(&["eth/69"], 5).send(id, &[0; 2048]), []);
    }
    // A frame that is larger than any message is refused by its header.
    let mut raw = Raw::open(&["eth/69"], 5);
    let frame = raw.frame(&vec![0x12; (1 << 24) - 1]);
    assert_eq!(raw.end.handle(&frame[..32]), [Got::Fault(Fault::TooLarge)]);
}

#[test]
fn a_broken_session_leaves_nothing_behind() {
    // What all sessions share, scratch space and staging area, is as good as new after a fault (attack C10).
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.send(0x12, &[5, 0, 0xc0]), [Got::Fault(Fault::Snappy)]);
    let (frames, peer) = pair_of_frames();
    raw.end.out = Outbound::default();
    let mut cx = raw.end.context.cx(&mut raw.end.rng);
    raw.end.session = Session::new(&mut cx, Agreed::new(key("b"), frames), &raw.end.local, &mut raw.end.out);
    raw.peer = peer;
    assert_eq!(raw.send(0, &hello("b", &["eth/69"]).encode()), [Got::Hello]);
    assert_eq!(raw.send(0x12, &pack(&[0xc0])), [Got::Message(ETH, 2, vec![0xc0])]);
}

#[test]
fn a_flipped_bit_delivers_nothing_and_is_not_answered() {
    let len = {
        let mut raw = Raw::open(&["eth/69"], 5);
        raw.frame(&[0x12, 1, 0, 0xc0]).len()
    };
    for bit in 0..len * 8 {
        let mut raw = Raw::open(&["eth/69"], 5);
        let mut frame = raw.frame(&[0x12, 1, 0, 0xc0]);
        frame[bit / 8] ^= 1 << (bit % 8);
        let fault = if bit < 32 * 8 { Fault::HeaderMac } else { Fault::FrameMac };
        assert_eq!(raw.end.handle(&frame), [Got::Fault(fault)], "bit {bit}");
        assert!(raw.end.out.is_empty() && raw.end.session.is_over());
    }
}

proptest! {
    /// Frames of anything: what comes of them depends on no chunking, and nothing comes after an end.
    #[test]
    fn anything_in_a_valid_frame(
        bodies in proptest::collection::vec((0u8..0x40, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..20),
        said: bool,
        chunk in 1usize..200,
    ) {
        let new = || if said { Raw::open(&["eth/69", "snap/1"], 5) } else { Raw::new(&["eth/69", "snap/1"]) };
        let (mut raw, mut stream, mut all) = (new(), Vec::new(), Vec::new());
        for (id, payload, compressed) in bodies {
            let over = raw.end.session.is_over();
            let payload = if compressed { pack(&payload) } else { payload };
            let frame = raw.frame(&[&[id][..], &payload].concat());
            let got = raw.end.handle(&frame);
            prop_assert!(got.len() <= 1);
            prop_assert!(!over || got.is_empty());
            let ended = matches!(got[..], [Got::Fault(_) | Got::Disconnected(_)]);
            prop_assert_eq!(raw.end.session.is_over(), over || ended);
            prop_assert_eq!(raw.end.session.poll_timeout().is_none(), over || ended);
            stream.extend(frame);
            all.extend(got);
        }
        let mut again = new();
        let got: Vec<_> = stream.chunks(chunk).flat_map(|chunk| again.end.handle(chunk)).collect();
        prop_assert_eq!(got, all);
        prop_assert_eq!(again.end.flush(), raw.end.flush());
    }
}

/// What a session expects: only what may be sent without a request.
struct Nothing {
    is_established: bool,
}

impl Expects for Nothing {
    fn is_established(&self) -> bool {
        self.is_established
    }

    fn awaits_any(&self) -> bool {
        false
    }

    fn awaits(&self, _: usize, _: u64) -> bool {
        false
    }
}

/// E6, F3: an answer without a request is not inflated, and a large one is refused by its header.
#[test]
fn what_is_not_expected_costs_nothing() {
    let mut raw = Raw::open(&["eth/69"], 5);
    raw.end.expects = Box::new(Nothing { is_established: true });
    let answer = pack(&vec![0; limits::ETH_MESSAGE_BYTES_MAX]);
    raw.end.context.work.take();
    assert_eq!(raw.send(0x14, &answer), [Got::Message(ETH, 4, vec![])]);
    assert!(raw.end.context.work.take() < 2 * Work::FRAME, "no byte is inflated");
    let body_bytes = snappy::compressed_len_max(limits::TRANSACTIONS_BYTES_MAX) + 9;
    let frame = raw.frame(&vec![0x14; body_bytes + 1]);
    assert_eq!(raw.end.handle(&frame[..32]), [Got::Fault(Fault::TooLarge)]);

    // Before Status, frames are small.
    let mut raw = Raw::open(&["eth/69"], 5);
    raw.end.expects = Box::new(Nothing { is_established: false });
    assert_eq!(raw.send(0x10, &pack(&[0xc0; 100])).len(), 1);
    let frame = raw.frame(&vec![0x12; limits::EARLY_FRAME_BYTES_MAX + 1]);
    assert_eq!(raw.end.handle(&frame[..32]), [Got::Fault(Fault::TooLarge)]);
}
