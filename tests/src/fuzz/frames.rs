//! Frames: any chunking of a stream gives the same bodies as one chunk, and no changed frame passes.
//!
//! The body seals with the peer's own machine, so that MACs are right unless it breaks them.

use peerless::contract::Fault;
use peerless::crypto::mac::Keccak;
use peerless::crypto::secrets::Secrets;
use peerless::limits;
use peerless::rlpx::Frames;
use peerless::rlpx::frames::frame_bytes;

use super::{Cheap, Choices, Memory, Reached, Target};

/// Bodies, chunks and tampering are the input's.
pub const FRAMES: Target = Target {
    name: "frames",
    body: frames,
    memory: Memory::machine(3),
    landmarks: &["opened", "empty", "large", "header mac", "frame mac", "too large", "unfinished"],
    generated: (2_000, 120),
};

/// The two ends of a stream, as a handshake leaves them.
pub fn pair() -> (Frames, Frames) {
    let mac = |name: &[u8]| {
        let mut mac = Keccak::new();
        mac.update(name);
        mac
    };
    let secrets = |egress: &[u8], ingress: &[u8]| Secrets {
        aes: [5; 32].into(),
        mac: [6; 32].into(),
        egress: mac(egress),
        ingress: mac(ingress),
    };
    (Frames::new(&Cheap, secrets(b"auth", b"ack")), Frames::new(&Cheap, secrets(b"ack", b"auth")))
}

#[derive(PartialEq, Eq, Debug)]
enum Opened {
    Body(Vec<u8>),
    Fault(Fault),
}

fn frames(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let (mut ours, _) = pair();
    let body_bytes_max = choices.pick(&[limits::MESSAGE_BYTES_MAX, 2048, 40_000]);
    let tamper = choices.pick(&[0u8, 0, 1, 2, 3]);
    let (at, bit) = (choices.below(1 << 16), choices.below(8));

    let (mut stream, mut bodies, mut starts) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..=choices.below(12) {
        let body = match choices.byte() {
            0..8 => Vec::new(),
            8..24 => vec![choices.byte(); choices.below(60_000)],
            _ => choices.bytes(40).to_vec(),
        };
        starts.push(stream.len());
        let start = ours.sealer.begin(&mut stream);
        stream.extend_from_slice(&body);
        ours.sealer.finish(&Cheap, &mut stream, start).expect("small enough");
        assert_eq!(stream.len() - starts[starts.len() - 1], frame_bytes(body.len()));
        bodies.push(body);
    }

    // What must come of it: everything up to the first frame that is not as it was, or larger than is read.
    let at = at % stream.len();
    let frame = starts.partition_point(|start| *start <= at) - 1;
    let (whole, in_header) = (if tamper == 0 { bodies.len() } else { frame }, at - starts[frame] < 32);
    let mut expected: Vec<Opened> = Vec::new();
    for (index, body) in bodies.iter().enumerate() {
        let header_is_read = index < whole || index == frame && !in_header;
        if header_is_read && body.len() > body_bytes_max {
            expected.push(Opened::Fault(Fault::TooLarge));
            break;
        }
        if index == whole {
            if tamper != 3 {
                expected.push(Opened::Fault(if in_header { Fault::HeaderMac } else { Fault::FrameMac }));
            }
            break;
        }
        expected.push(Opened::Body(body.clone()));
    }
    match tamper {
        1 => stream[at] ^= 1 << bit,
        2 => drop(stream.remove(at)),
        3 => stream.truncate(at),
        _ => {}
    }

    let mut chunk_choices = choices.clone();
    let one = open(&stream, body_bytes_max, || usize::MAX);
    let many = open(&stream, body_bytes_max, || 1 + chunk_choices.below(200));
    assert_eq!(one, many, "any chunking gives the same");
    if tamper == 2 {
        // A byte equal to its neighbour may have been the neighbour, and without a last byte a frame only waits.
        assert!(one.len() >= expected.len() - 1 && one.starts_with(&expected[..expected.len() - 1]));
        let opened = one.iter().take_while(|opened| matches!(opened, Opened::Body(_)));
        assert!(opened.zip(&bodies).all(|(opened, body)| *opened == Opened::Body(body.clone())));
    } else {
        assert_eq!(one, expected);
    }
    for opened in &one {
        reached.note(match opened {
            Opened::Body(body) if body.is_empty() => "empty",
            Opened::Body(body) if body.len() > 4096 => "large",
            Opened::Body(_) => "opened",
            Opened::Fault(Fault::HeaderMac) => "header mac",
            Opened::Fault(Fault::FrameMac) => "frame mac",
            Opened::Fault(_) => "too large",
        });
    }
    if tamper == 3 && !matches!(one.last(), Some(Opened::Fault(_))) {
        reached.note("unfinished");
    }
}

fn open(stream: &[u8], body_bytes_max: usize, mut chunk: impl FnMut() -> usize) -> Vec<Opened> {
    let (_, mut theirs) = pair();
    let mut opened = Vec::new();
    let mut rest = stream;
    let mut received = 0;
    while !rest.is_empty() {
        let (mut bytes, later) = rest.split_at(chunk().min(rest.len()));
        received += bytes.len();
        rest = later;
        loop {
            match theirs.opener.handle_bytes(&Cheap, &mut bytes, body_bytes_max) {
                Ok(Some(body)) => opened.push(Opened::Body(body.to_vec())),
                Ok(None) => {
                    assert!(bytes.is_empty(), "what is not needed yet is kept");
                    break;
                }
                Err(fault) => {
                    opened.push(Opened::Fault(fault));
                    for _ in 0..2 {
                        let again = theirs.opener.handle_bytes(&Cheap, &mut &stream[..], body_bytes_max);
                        assert_eq!(again, Err(fault), "a broken stream stays broken");
                    }
                    assert_eq!(theirs.opener.buffer_bytes(), 0);
                    return opened;
                }
            }
        }
        assert!(theirs.opener.buffer_bytes() <= 2 * received + limits::FRAME_BUFFER_SLACK_BYTES);
    }
    opened
}
