//! Decoders below sessions: RLP, discv4 and discv5 packets, auth and ack, frame headers, Snappy.
//!
//! None may panic, or hold more than in proportion to its input; a decoded value encodes to bytes that decode to the same
//! value.

use peerless::crypto::NodeId;
use peerless::limits::MESSAGE_BYTES_MAX;
use peerless::netfilter::canonical;
use peerless::wire::discv4::{DATAGRAM_BYTES_MAX, DATAGRAM_BYTES_MIN, Datagram, Kind, Packet};
use peerless::wire::discv5::{Header, Message, PACKET_BYTES_MAX, PACKET_BYTES_MIN, Packet as Discv5Packet, Payload};
use peerless::wire::rlp::{self, Bounds, List};
use peerless::wire::rlpx::{Ack, Auth, frame_body_bytes, frame_header, padded_bytes};
use peerless::wire::{DecodeError, snappy};

use super::crypto::{Cheap, secret};
use super::{Choices, Memory, Reached, Target};

const BYTES_MAX: usize = 1500;

/// The one layer under every decoder, against a checker of a few lines that recurses.
pub const RLP: Target = Target {
    name: "rlp",
    body: rlp,
    memory: Memory::DECODER,
    landmarks: &["refused", "string", "list", "deep", "integer"],
    generated: (20_000, 200),
};

fn rlp(data: &[u8], reached: &mut Reached) {
    for bounds in [Bounds::SMALL, Bounds::MESSAGE, Bounds { depth_max: 2, items_max: 5 }] {
        let checked = rlp::check(data, bounds);
        let mut items = bounds.items_max;
        let expected = reference(data, bounds.depth_max, &mut items);
        assert_eq!(checked.ok(), expected, "{checked:?}");
        let Ok(end) = checked else {
            reached.note("refused");
            assert!(rlp::list_prefix(data, bounds).is_err());
            continue;
        };
        match rlp::list_prefix(data, bounds) {
            Ok((list, rest)) => {
                reached.note("list");
                assert_eq!(rest.len(), data.len() - end);
                assert_eq!(rlp::list(data, bounds).is_ok(), rest.is_empty());
                let count = list.count();
                assert!(count < bounds.items_max);
                walk(list, count, reached);
            }
            Err(error) => {
                reached.note("string");
                assert_eq!(error, DecodeError::ExpectedList);
            }
        }
    }
    if let Ok(list) = rlp::shallow_list(data) {
        // Unchecked items may be anything; reading them still ends.
        assert!(list.count() <= data.len());
    }
}

/// Reads each item of a checked list in every way, and one level of the lists within.
fn walk(list: List<'_>, count: usize, reached: &mut Reached) {
    let (mut raws, mut bytes) = (list, 0);
    for _ in 0..count {
        let mut item = raws;
        let raw = raws.raw().expect("counted");
        bytes += raw.len();
        let [mut a, mut b, mut c, mut d] = [item; 4];
        match item.list() {
            Ok(mut within) => {
                assert_eq!(
                    (a.bytes().err(), b.u64().err()),
                    (Some(DecodeError::ExpectedString), Some(DecodeError::ExpectedString))
                );
                while let Ok(raw) = within.raw() {
                    if raw[0] >= 0xc0 {
                        reached.note("deep");
                    }
                }
                assert!(within.is_empty(), "what is checked reads to its end");
            }
            Err(error) => {
                assert_eq!(error, DecodeError::ExpectedList);
                let string = a.bytes().expect("an item is a string or a list");
                if let Ok(value) = b.u64() {
                    reached.note("integer");
                    let digits = value.to_be_bytes();
                    assert_eq!(string, &digits[value.leading_zeros() as usize / 8..]);
                    assert_eq!(c.u16().ok(), u16::try_from(value).ok());
                } else {
                    assert!(string.len() > 8 || string[0] == 0);
                }
                assert_eq!(d.fixed::<4>().is_ok(), string.len() == 4);
            }
        }
    }
    assert_eq!(bytes, list.rest().len(), "items fill their list");
    assert!(raws.end().is_ok() && raws.raw().is_err());
}

/// Where the item at the start of `input` ends, if it is well-formed (Ethereum's yellow paper, appendix B).
fn reference(input: &[u8], depth: usize, items: &mut usize) -> Option<usize> {
    *items = items.checked_sub(1)?;
    let first = *input.first()?;
    let (header, payload) = match first {
        0..=0x7f => return Some(1),
        0x80..=0xb7 => (1, usize::from(first - 0x80)),
        0xb8..=0xbf => long(input, first - 0xb7)?,
        0xc0..=0xf7 => (1, usize::from(first - 0xc0)),
        0xf8..=0xff => long(input, first - 0xf7)?,
    };
    let end = header.checked_add(payload).filter(|end| *end <= input.len())?;
    if first < 0xc0 {
        return (payload != 1 || input[header] >= 0x80).then_some(end);
    }
    let depth = depth.checked_sub(1)?;
    let mut at = header;
    while at < end {
        at += reference(&input[at..end], depth, items)?;
    }
    Some(end)
}

fn long(input: &[u8], digits: u8) -> Option<(usize, usize)> {
    let digits = input.get(1..1 + usize::from(digits))?;
    let value = digits.iter().try_fold(0usize, |value, digit| value.checked_mul(256)?.checked_add((*digit).into()))?;
    (digits[0] != 0 && value > 55).then_some((1 + digits.len(), value))
}

/// All six packets: the body alone, so that no hash or signature stands in the way.
pub const DISCV4_PACKET: Target = Target {
    name: "discv4_packet",
    body: discv4_packet,
    memory: Memory::DECODER,
    landmarks: &["ping", "pong", "find node", "neighbors", "enr request", "enr response", "refused", "any bytes"],
    generated: (20_000, 300),
};

fn discv4_packet(data: &[u8], reached: &mut Reached) {
    // As it stands: mostly not a datagram.
    if let Ok(datagram) = Datagram::split(data) {
        reached.note("any bytes");
        assert!((DATAGRAM_BYTES_MIN..=DATAGRAM_BYTES_MAX).contains(&data.len()));
        let _ = (datagram.kind(), datagram.decode(), datagram.check_hash(&Cheap), datagram.signer(&Cheap));
    }
    // As the type and body of one.
    let mut datagram = vec![0; DATAGRAM_BYTES_MIN - 1];
    match data.split_first() {
        Some((kind, body)) => {
            datagram.push(1 + kind % 6);
            datagram.extend_from_slice(body);
        }
        None => return,
    }
    let Ok(packet) = Datagram::split(&datagram).and_then(|datagram| datagram.decode()) else {
        reached.note("refused");
        return;
    };
    reached.note(match packet.kind() {
        Kind::Ping => "ping",
        Kind::Pong => "pong",
        Kind::FindNode => "find node",
        Kind::Neighbors => "neighbors",
        Kind::EnrRequest => "enr request",
        Kind::EnrResponse => "enr response",
    });
    if let Packet::Neighbors { nodes, .. } = &packet {
        assert!(nodes.iter().all(|node| canonical((node.ip, 0).into()).ip() == node.ip));
    }
    let mut sealed = vec![7; 3];
    let hash = packet.seal(&Cheap, &secret(1), &mut sealed);
    assert!(sealed.len() <= 3 + datagram.len() + 16, "nothing was added, and at most an address was shortened");
    let again = Datagram::split(&sealed[3..]).expect("no larger than before");
    assert_eq!((again.check_hash(&Cheap), *again.hash), (Ok(()), hash));
    assert_eq!(again.signer(&Cheap), Ok(peerless::crypto::Crypto::public_key(&Cheap, &secret(1))));
    assert_eq!(again.decode(), Ok(packet));
}

/// The headers of discv5 packets: the static part as it is, so that the protocol id does not stand in the way.
pub const DISCV5_PACKET: Target = Target {
    name: "discv5_packet",
    body: discv5_packet,
    memory: Memory::DECODER,
    landmarks: &["ordinary", "challenge", "handshake", "with a record", "refused", "another protocol"],
    generated: (10_000, 600),
};

fn discv5_packet(data: &[u8], reached: &mut Reached) {
    let to = NodeId([9; 32]);
    let mut choices = Choices::new(data);
    let (kind, version, auth_bytes) = (choices.below(8) as u8, choices.once_in(16), choices.below(500));
    let iv: [u8; 16] = std::array::from_fn(|_| choices.byte());
    let auth_bytes = match kind {
        0 | 3 => 32,
        1 | 4 => 24,
        2 | 5 => 131 + auth_bytes % 310,
        _ => auth_bytes,
    };
    let mut bytes = Vec::from(iv);
    bytes.extend_from_slice(b"discv5");
    bytes.extend_from_slice(&[0, 1 + u8::from(version), kind % 3]);
    bytes.extend_from_slice(choices.bytes(12));
    bytes.resize(37, 7);
    bytes.extend_from_slice(&(auth_bytes as u16).to_be_bytes());
    if auth_bytes >= 34 && !choices.once_in(8) {
        bytes.extend_from_slice(&[5; 32]);
        bytes.extend_from_slice(&[64, 33]);
    }
    bytes.extend_from_slice(choices.bytes(1300));
    if choices.flag() {
        bytes.resize(bytes.len().max(39 + auth_bytes), 3);
    }
    if choices.once_in(16) {
        bytes[16] ^= 1;
    }
    let plain = bytes.clone();
    mask(&to, iv, &mut bytes[16..]);
    match Discv5Packet::unmask(&to, &bytes) {
        Ok(None) => {
            reached.note("another protocol");
            assert!(plain[16..22] != *b"discv5" || !(PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&bytes.len()));
        }
        Err(_) => reached.note("refused"),
        Ok(Some(packet)) => match packet.header() {
            Header::Ordinary { from } => {
                reached.note("ordinary");
                assert_eq!(from.0, plain[39..71]);
            }
            Header::Challenge(challenge) => {
                reached.note("challenge");
                let mut again = vec![1; 2];
                challenge.write(&to, &mut again);
                assert_eq!((again[2..] == bytes[..], &challenge.as_bytes()[..]), (true, &plain[..]));
            }
            Header::Handshake { from, proof } => {
                reached.note(if proof.record.is_some() { "with a record" } else { "handshake" });
                assert_eq!(
                    (from.0, proof.ephemeral_key),
                    (plain[39..71].try_into().expect("32"), plain[137..170].try_into().expect("33"))
                );
                assert_eq!(proof.record.unwrap_or_default(), &plain[170..39 + auth_bytes]);
            }
        },
    }
}

/// Masks a header that follows `iv`: AES-128-CTR with half of the recipient's id as the key.
fn mask(to: &NodeId, iv: [u8; 16], bytes: &mut [u8]) {
    use aes::cipher::{KeyIvInit, StreamCipher};
    let key: [u8; 16] = to.0[..16].try_into().expect("half an id");
    ctr::Ctr128BE::<aes::Aes128>::new(&key.into(), &iv.into()).apply_keystream(bytes);
}

/// The messages of discv5, in plain.
pub const DISCV5_MESSAGE: Target = Target {
    name: "discv5_message",
    body: discv5_message,
    memory: Memory::DECODER,
    landmarks: &["ping", "pong", "find node", "nodes", "talk", "topic", "refused"],
    generated: (20_000, 300),
};

fn discv5_message(data: &[u8], reached: &mut Reached) {
    let Some((kind, body)) = data.split_first() else { return };
    let plain = [&[1 + kind % 10], body].concat();
    let _ = Message::decode(data);
    let Ok(message) = Message::decode(&plain) else { return reached.note("refused") };
    reached.note(match &message.payload {
        Payload::Ping { .. } => "ping",
        Payload::Pong { .. } => "pong",
        Payload::FindNode { .. } => "find node",
        Payload::Nodes { records, .. } => {
            let bytes: usize = records.iter().map(<[u8]>::len).sum();
            assert!(bytes <= plain.len());
            "nodes"
        }
        Payload::TalkRequest { .. } | Payload::TalkResponse { .. } => "talk",
        _ => "topic",
    });
    let mut again = vec![7; 3];
    message.encode(&mut again);
    assert_eq!(Message::decode(&again[3..]).as_ref(), Ok(&message));
    // A mapped address is shortened; nothing else has two encodings.
    assert!(again[3..] == plain[..] || matches!(message.payload, Payload::Pong { .. }));
}

/// The handshake's first message, decrypted.
pub const AUTH: Target = Target {
    name: "auth",
    body: auth,
    memory: Memory::DECODER,
    landmarks: &["decoded", "refused"],
    generated: (20_000, 300),
};

fn auth(data: &[u8], reached: &mut Reached) {
    let Ok(auth) = Auth::decode(data) else { return reached.note("refused") };
    reached.note("decoded");
    let mut bytes = Vec::new();
    auth.encode(&mut bytes);
    bytes.extend_from_slice(&data[..data.len().min(7)]);
    assert_eq!(Auth::decode(&bytes), Ok(auth), "padding is ignored");
}

/// The handshake's second message, decrypted.
pub const ACK: Target = Target {
    name: "ack",
    body: ack,
    memory: Memory::DECODER,
    landmarks: &["decoded", "refused"],
    generated: (20_000, 300),
};

fn ack(data: &[u8], reached: &mut Reached) {
    let Ok(ack) = Ack::decode(data) else { return reached.note("refused") };
    reached.note("decoded");
    let mut bytes = Vec::new();
    ack.encode(&mut bytes);
    bytes.extend_from_slice(&data[..data.len().min(7)]);
    assert_eq!(Ack::decode(&bytes), Ok(ack), "padding is ignored");
}

/// Sizes in frame headers.
pub const FRAME_HEADER: Target = Target {
    name: "frame_header",
    body: frame_header_body,
    memory: Memory::DECODER,
    landmarks: &["fits", "too large"],
    generated: (20_000, 24),
};

fn frame_header_body(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let header = std::array::from_fn(|_| choices.byte());
    let size = frame_body_bytes(&header);
    assert!(size <= MESSAGE_BYTES_MAX);
    let again = frame_header(size).expect("24 bits");
    assert_eq!((frame_body_bytes(&again), &again[..3]), (size, &header[..3]));
    assert_eq!((padded_bytes(size) % 16, padded_bytes(size) / 16), (0, size.div_ceil(16)));
    let claimed = usize::try_from(choices.number()).unwrap_or(usize::MAX);
    match frame_header(claimed) {
        Some(header) => {
            reached.note("fits");
            assert_eq!(frame_body_bytes(&header), claimed);
        }
        None => {
            reached.note("too large");
            assert!(claimed > MESSAGE_BYTES_MAX);
        }
    }
}

/// Blocks as they come, and blocks that we make of parts.
pub const SNAPPY: Target = Target {
    name: "snappy",
    body: snappy_body,
    memory: Memory { fixed: 300 << 10, per_byte: 128 },
    landmarks: &["inflated", "a lie", "refused", "packed", "copies"],
    generated: (10_000, BYTES_MAX),
};

fn snappy_body(data: &[u8], reached: &mut Reached) {
    match snappy::inflated_len(data, 1 << 20) {
        Ok(len) => {
            let mut out = vec![0x5a; len];
            if snappy::inflate(data, &mut out).is_ok() {
                reached.note("inflated");
                if len > data.len() {
                    reached.note("copies");
                }
                assert_eq!(unpack(&pack(&[&out]), len).as_deref(), Ok(&out[..]));
            } else {
                reached.note("refused");
            }
        }
        Err(_) => reached.note("a lie"),
    }
    // What we pack in any parts inflates to all of them, and says so in advance.
    let mut choices = Choices::new(data);
    let repeat = 1 + choices.below(20);
    let mut parts: Vec<Vec<u8>> = Vec::new();
    while !choices.is_empty() && parts.len() < 5 {
        parts.push(choices.bytes(BYTES_MAX).repeat(repeat));
    }
    let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
    let (packed, joined) = (pack(&slices), parts.concat());
    reached.note("packed");
    assert!(packed.len() <= snappy::compressed_len_max(joined.len()) + 8 * parts.len());
    assert_eq!(unpack(&packed, joined.len()).as_deref(), Ok(&joined[..]));
    if !joined.is_empty() {
        assert_eq!(unpack(&packed, joined.len() - 1), Err(DecodeError::TooLarge));
    }
}

fn pack(parts: &[&[u8]]) -> Vec<u8> {
    let mut out = vec![9; 5];
    snappy::Compressor::default().append(parts, &mut out);
    assert_eq!(out[..5], [9; 5], "what was there is untouched");
    out.split_off(5)
}

fn unpack(packed: &[u8], bytes_max: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = vec![0; snappy::inflated_len(packed, bytes_max)?];
    snappy::inflate(packed, &mut out)?;
    Ok(out)
}
