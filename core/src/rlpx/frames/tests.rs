//! Published frames, any chunking, any change, and how much memory a peer can make us hold.

use core::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;

use super::*;
use crate::crypto::Secp256k1;
use crate::crypto::testing::{Counting, array, field, hex, rlpx_frame, rlpx_handshake, rows, text};
use crate::limits::MESSAGE_BYTES_MAX;

fn secrets(aes: [u8; 32], mac: [u8; 32]) -> Secrets {
    Secrets { aes: aes.into(), mac: mac.into(), egress: Keccak::new(), ingress: Keccak::new() }
}

/// A side that opens its own frames: both directions have the same initial state.
fn looped() -> Frames {
    Frames::new(&Secp256k1::new(), secrets([1; 32], [2; 32]))
}

fn seal(sealer: &mut Sealer, crypto: &dyn Crypto, body: &[u8], out: &mut Vec<u8>) {
    let start = sealer.begin(out);
    out.extend_from_slice(body);
    sealer.finish(crypto, out, start).unwrap();
}

/// All bodies opened from `bytes` in chunks of the given sizes, in rotation, and the fault.
fn open_all(opener: &mut Opener, bytes: &[u8], chunks: &[usize]) -> (Vec<Vec<u8>>, Option<Fault>) {
    let crypto = Secp256k1::new();
    let mut bodies = Vec::new();
    let mut rest = bytes;
    for n in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (mut chunk, later) = rest.split_at((*n).min(rest.len()));
        rest = later;
        loop {
            match opener.handle_bytes(&crypto, &mut chunk, MESSAGE_BYTES_MAX) {
                Ok(Some(body)) => bodies.push(body.to_vec()),
                Ok(None) => break,
                Err(fault) => return (bodies, Some(fault)),
            }
        }
        assert!(chunk.is_empty());
    }
    (bodies, None)
}

#[test]
fn the_published_frame_is_opened() {
    let vectors = rlpx_frame();
    let row = field(&vectors, "frame");
    let crypto = Counting { fixed_digest: Some(array(row, "mac_digest")), ..Counting::default() };
    let mut frames = Frames::new(&crypto, secrets(array(row, "aes_secret"), array(row, "mac_secret")));
    let (body, frame) = (hex(row, "body"), hex(row, "frame"));
    assert_eq!(frame_header(body.len()), Some(array(row, "header")));
    let mut out = b"before".to_vec();
    seal(&mut frames.sealer, &crypto, &body, &mut out);
    assert_eq!(out, [&b"before"[..], &frame].concat());
    assert_eq!(frames.opener.handle_bytes(&crypto, &mut &frame[..], 100), Ok(Some(&body[..])));
}

#[test]
fn the_published_macs_are_computed() {
    let vectors = rlpx_frame();
    let table = field(&vectors, "mac");
    let crypto = Secp256k1::new();
    let mac_secret: [u8; 32] = array(table, "mac_secret");
    let keys = Keys { frame: Aes256Enc::new(&[0; 32].into()), mac: Aes256Enc::new(&mac_secret.into()) };
    for row in rows(table, "rows") {
        let mut mac = FrameMac::new(&crypto, Keccak::new());
        for op in field(row, "ops").as_array().unwrap() {
            match text(op, "op") {
                "update" => mac.body(&crypto, text(op, "text").as_bytes()),
                "header" => {
                    let _ = mac.header(&crypto, &keys, &[0; 16]);
                }
                "body" => {
                    mac.body(&crypto, text(op, "text").as_bytes());
                    let _ = mac.finish(&crypto, &keys);
                }
                op => panic!("{op}"),
            }
        }
        assert_eq!(half(&mac.keccak.digest()), array(row, "digest"));
    }
}

/// The Hello frames of a session with all values published, in both directions.
#[test]
fn the_published_session_is_opened_and_sealed() {
    let vectors = rlpx_handshake();
    let row = field(&vectors, "plain_session");
    let crypto = Secp256k1::new();
    let exchange = crate::crypto::secrets::Exchange {
        agreement: &crate::crypto::SharedSecret::from_x(array(row, "ecdhe_shared_secret")),
        initiator_nonce: &array(row, "initiator_nonce"),
        recipient_nonce: &array(row, "receiver_nonce"),
        auth: &hex(row, "auth_ciphertext"),
        ack: &hex(row, "authresp_ciphertext"),
    };
    let mut initiator = Frames::new(&crypto, Secrets::of_initiator(&crypto, &exchange));
    let mut receiver = Frames::new(&crypto, Secrets::of_recipient(&crypto, &exchange));
    for row in rows(row, "hello_frames") {
        let (from, to) = match text(row, "of") {
            "initiator" => (&mut initiator, &mut receiver),
            _ => (&mut receiver, &mut initiator),
        };
        let (frame, body) = (hex(row, "frame"), hex(row, "body"));
        let mut out = Vec::new();
        seal(&mut from.sealer, &crypto, &body, &mut out);
        assert_eq!(out, frame);
        assert_eq!(to.opener.handle_bytes(&crypto, &mut &frame[..], 100), Ok(Some(&body[..])));
    }
}

/// A direct implementation of the specification: each digest is computed over all absorbed bytes, with one running
/// cipher.
fn naive_frames(aes: [u8; 32], mac: [u8; 32], absorbed: &[u8], bodies: &[&[u8]]) -> Vec<u8> {
    use ctr::cipher::KeyIvInit;
    let digest = |absorbed: &[u8]| half(&crate::crypto::keccak256(absorbed));
    let seed = |digest: [u8; 16], other: &[u8]| {
        let mut block = digest.into();
        Aes256Enc::new(&mac.into()).encrypt_block(&mut block);
        block.iter().zip(other).map(|(a, b)| a ^ b).collect::<Vec<u8>>()
    };
    let mut cipher = ctr::Ctr128BE::<Aes256Enc>::new(&aes.into(), &[0; 16].into());
    let mut absorbed = absorbed.to_vec();
    let mut out = Vec::new();
    for body in bodies {
        let mut header = frame_header(body.len()).unwrap();
        cipher.apply_keystream(&mut header);
        absorbed.extend(seed(digest(&absorbed), &header));
        out.extend_from_slice(&header);
        out.extend_from_slice(&digest(&absorbed));

        let mut body = body.to_vec();
        body.resize(body.len().next_multiple_of(16), 0);
        cipher.apply_keystream(&mut body);
        absorbed.extend_from_slice(&body);
        let of_body = digest(&absorbed);
        absorbed.extend(seed(of_body, &of_body));
        out.extend_from_slice(&body);
        out.extend_from_slice(&digest(&absorbed));
    }
    out
}

/// The published vectors end with the first frame of a direction; the seeds of later ones depend on it.
#[test]
fn later_frames_match_a_naive_implementation() {
    let crypto = Secp256k1::new();
    let bodies: [&[u8]; 5] = [b"first", &[2; 300], b"", &[4; 16], &[5; 1000]];
    for absorbed in [0, 1, 8, 135, 136, 469] {
        let mut secrets = secrets([1; 32], [2; 32]);
        secrets.egress.update(&[9; 469][..absorbed]);
        let mut sealer = Frames::new(&crypto, secrets).sealer;
        let mut out = Vec::new();
        for body in bodies {
            seal(&mut sealer, &crypto, body, &mut out);
        }
        assert_eq!(out, naive_frames([1; 32], [2; 32], &[9; 469][..absorbed], &bodies));
    }
}

#[test]
fn a_frame_costs_three_digests() {
    let crypto = Counting::default();
    let mut frames = Frames::new(&crypto, secrets([1; 32], [2; 32]));
    for size in [1, 1000, 70_000] {
        let before = crypto.mac_digests.load(Relaxed);
        let mut out = Vec::new();
        seal(&mut frames.sealer, &crypto, &[7; 70_000][..size], &mut out);
        assert_eq!(crypto.mac_digests.load(Relaxed) - before, 3);
        assert!(frames.opener.handle_bytes(&crypto, &mut &out[..], size).is_ok_and(|body| body.is_some()));
        assert_eq!(crypto.mac_digests.load(Relaxed) - before, 6);
    }
}

#[test]
fn bodies_of_all_sizes_around_a_block_are_opened() {
    let crypto = Secp256k1::new();
    let mut frames = looped();
    for size in [0usize, 1, 15, 16, 17, 31, 32, 33, 135, 136, 137, 255, 256] {
        let body: Vec<u8> = (0..size as u32).map(|i| i as u8).collect();
        let mut out = Vec::new();
        seal(&mut frames.sealer, &crypto, &body, &mut out);
        assert_eq!(out.len(), size.next_multiple_of(16) + 48);
        assert!(out.len() <= size + OVERHEAD_BYTES_MAX);
        assert_eq!(frames.opener.handle_bytes(&crypto, &mut &out[..], size), Ok(Some(&body[..])));
    }
}

/// A body that is too large is removed, and the session continues unchanged.
#[test]
fn a_body_that_is_too_large_is_not_sealed() {
    let crypto = Secp256k1::new();
    let mut frames = looped();
    let mut out = b"before".to_vec();
    let start = frames.sealer.begin(&mut out);
    out.resize(out.len() + MESSAGE_BYTES_MAX + 1, 0);
    assert_eq!(frames.sealer.finish(&crypto, &mut out, start), Err(TooLarge));
    assert_eq!(out, b"before");
    out.clear();
    seal(&mut frames.sealer, &crypto, b"next", &mut out);
    assert_eq!(frames.opener.handle_bytes(&crypto, &mut &out[..], 4), Ok(Some(&b"next"[..])));
}

/// The size is checked as soon as the header's MAC is verified.
#[test]
fn a_frame_that_is_too_large_is_refused_by_its_header() {
    let crypto = Secp256k1::new();
    let mut frames = looped();
    let mut out = Vec::new();
    seal(&mut frames.sealer, &crypto, &[0; 1001], &mut out);
    let mut bytes = &out[..HEAD_BYTES - 1];
    assert_eq!(frames.opener.handle_bytes(&crypto, &mut bytes, 1000), Ok(None));
    let mut bytes = &out[HEAD_BYTES - 1..HEAD_BYTES];
    assert_eq!(frames.opener.handle_bytes(&crypto, &mut bytes, 1000), Err(Fault::TooLarge));
    assert_eq!(frames.opener.handle_bytes(&crypto, &mut &out[HEAD_BYTES..], 1000), Err(Fault::TooLarge));
}

/// Attack C12: every bit of three frames, fed whole and byte by byte.
#[test]
fn any_changed_bit_is_detected_before_its_body_is_returned() {
    let crypto = Secp256k1::new();
    let mut sealer = looped().sealer;
    let bodies: [&[u8]; 3] = [b"first", &[0; 40], b"the third, and last"];
    let (mut bytes, mut ends) = (Vec::new(), Vec::new());
    for body in bodies {
        seal(&mut sealer, &crypto, body, &mut bytes);
        ends.push(bytes.len());
    }
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let intact = ends.iter().filter(|end| **end <= bit / 8).count();
        for chunk in [1, usize::MAX] {
            let mut opener = looped().opener;
            let (opened, fault) = open_all(&mut opener, &changed, &[chunk]);
            assert_eq!(opened, bodies[..intact], "bit {bit}");
            assert!(matches!(fault, Some(Fault::HeaderMac | Fault::FrameMac)), "bit {bit}: {fault:?}");
            // Later bytes yield no body, and no memory is held.
            assert_eq!(open_all(&mut opener, &bytes, &[usize::MAX]), (Vec::new(), fault));
            assert_eq!(opener.buffer_bytes(), 0);
        }
    }
}

/// Attack C12: frames that are dropped, repeated, reordered, reflected.
#[test]
fn frames_are_bound_to_their_position() {
    let crypto = Secp256k1::new();
    let mut different = secrets([1; 32], [2; 32]);
    different.ingress.update(b"the other direction");
    let mut a = Frames::new(&crypto, different);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    seal(&mut a.sealer, &crypto, b"first", &mut first);
    seal(&mut a.sealer, &crypto, b"second", &mut second);
    let opened = |frames: &[&[u8]]| open_all(&mut looped().opener, &frames.concat(), &[usize::MAX]);
    assert_eq!(opened(&[&first, &second]).1, None);
    assert_eq!(opened(&[&second]), (Vec::new(), Some(Fault::HeaderMac)));
    assert_eq!(opened(&[&first, &first]), (alloc::vec![b"first".to_vec()], Some(Fault::HeaderMac)));
    assert_eq!(a.opener.handle_bytes(&crypto, &mut &first[..], 100), Err(Fault::HeaderMac));
}

/// Attack F1: the largest announced size, then a byte at a time.
#[test]
fn memory_follows_the_received_bytes() {
    let crypto = Secp256k1::new();
    let mut frames = looped();
    let mut frame = Vec::new();
    seal(&mut frames.sealer, &crypto, &alloc::vec![0; MESSAGE_BYTES_MAX], &mut frame);
    let (head, body) = frame.split_at(HEAD_BYTES);
    let opener = &mut frames.opener;
    assert_eq!(opener.handle_bytes(&crypto, &mut &head[..], MESSAGE_BYTES_MAX), Ok(None));
    for (i, byte) in body[..100_000].iter().enumerate() {
        assert_eq!(opener.handle_bytes(&crypto, &mut &[*byte][..], MESSAGE_BYTES_MAX), Ok(None));
        assert!(opener.buffer_bytes() <= 2 * (i + 1) + 64, "{} after {i}", opener.buffer_bytes());
        assert!(i >= 32 << 10 || opener.buffer_bytes() <= 64 << 10);
    }
}

/// Also when a burst ends within the next frame.
#[test]
fn memory_is_released_after_a_burst() {
    let crypto = Secp256k1::new();
    let mut frames = looped();
    let mut bytes = Vec::new();
    seal(&mut frames.sealer, &crypto, &[1; 1 << 20], &mut bytes);
    seal(&mut frames.sealer, &crypto, &[2; 1 << 20], &mut bytes);
    let (first, second) = bytes.split_at((1 << 20) + 48);
    let opener = &mut frames.opener;

    let mut part = &[first, &second[..HEAD_BYTES + 100]].concat()[..];
    assert!(opener.handle_bytes(&crypto, &mut part, MESSAGE_BYTES_MAX).is_ok_and(|body| body.is_some()));
    assert_eq!(opener.handle_bytes(&crypto, &mut part, MESSAGE_BYTES_MAX), Ok(None));
    assert!(opener.buffer_bytes() <= 200 + limits::FRAME_BUFFER_SLACK_BYTES);

    let mut part = &second[HEAD_BYTES + 100..];
    let body = opener.handle_bytes(&crypto, &mut part, MESSAGE_BYTES_MAX);
    assert!(body.is_ok_and(|body| body.is_some_and(|body| body == [2; 1 << 20])));
    assert_eq!(opener.handle_bytes(&crypto, &mut &[][..], MESSAGE_BYTES_MAX), Ok(None));
    assert!(opener.buffer_bytes() <= limits::IDLE_BUFFER_BYTES);
}

/// A session after its first messages receives and sends without allocations.
#[test]
fn a_burst_of_frames_allocates_nothing() {
    let crypto = Secp256k1::new();
    let mut frames = looped();
    let mut bytes = Vec::new();
    for _ in 0..10 {
        seal(&mut frames.sealer, &crypto, &[3; 5000], &mut bytes);
    }
    let mut rest = &bytes[..];
    let mut held = None;
    while !rest.is_empty() {
        let body = frames.opener.handle_bytes(&crypto, &mut rest, 5000);
        let at = body.unwrap().unwrap().as_ptr();
        assert_eq!(*held.get_or_insert(at), at);
    }
}

/// Memory of an idle session's frames beside their buffers: the budget of a session is 8 KiB.
#[test]
fn state_is_small() {
    let bytes = size_of::<Frames>() + size_of::<Keys>();
    assert!(bytes <= 2600, "{bytes}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunking_gives_the_same_bodies(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 1..6),
        chunks in proptest::collection::vec(1usize..300, 1..8),
        absorbed in 0usize..300,
    ) {
        // The MACs start at any position of a block, as after packets of any length.
        let crypto = Secp256k1::new();
        let mut secrets = secrets([1; 32], [2; 32]);
        secrets.egress.update(&[5; 300][..absorbed]);
        secrets.ingress = secrets.egress.clone();
        let mut frames = Frames::new(&crypto, secrets);
        let mut bytes = Vec::new();
        for body in &bodies {
            seal(&mut frames.sealer, &crypto, body, &mut bytes);
        }
        prop_assert_eq!(open_all(&mut frames.opener, &bytes, &chunks), (bodies, None));
    }

    #[test]
    fn any_bytes_are_refused(bytes in proptest::collection::vec(any::<u8>(), 32..300), chunk in 1usize..40) {
        let (bodies, fault) = open_all(&mut looped().opener, &bytes, &[chunk]);
        prop_assert_eq!((bodies, fault), (Vec::new(), Some(Fault::HeaderMac)));
    }
}

#[test]
fn debug_output_shows_positions_and_no_key() {
    let mut frames = looped();
    seal(&mut frames.sealer, &Secp256k1::new(), b"body", &mut Vec::new());
    let shown = std::format!("{frames:?}");
    assert!(shown.contains("Sealer { position: 32, .. }") && shown.contains("Opener { position: 0, .. }"), "{shown}");
}
