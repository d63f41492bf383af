//! eth messages against vectors, and what is none.

use alloc::string::String;
use alloc::vec;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::p2p::{Capability, CapabilityTable};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/eth.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    const_hex::decode(value.as_str().unwrap()).unwrap()
}

fn rows<'a>(vectors: &'a Value, key: &str, count: usize) -> &'a [Value] {
    let rows = vectors[key].as_array().unwrap();
    assert_eq!(rows.len(), count, "{key}");
    rows
}

/// A decimal number as 256 bits.
fn decimal(digits: &str) -> [u8; 32] {
    let mut out = [0u8; 32];
    for digit in digits.bytes() {
        let mut carry = u32::from(digit - b'0');
        for byte in out.iter_mut().rev() {
            carry += u32::from(*byte) * 10;
            *byte = carry as u8;
            carry >>= 8;
        }
    }
    out
}

#[test]
fn status_vectors_decode_and_encode() {
    for row in rows(&vectors(), "status", 5) {
        let payload = bytes(&row["rlp"]);
        let version = row["version"].as_u64().unwrap() as u32;
        let status = Status::decode(version, &payload).unwrap();
        assert_eq!(status.encode(), payload, "{row}");
        assert_eq!(status.version, version);
        let other_shape = if version <= 68 { 69 } else { 68 };
        assert!(Status::decode(other_shape, &payload).is_err(), "{row}");
        for cut in 0..payload.len() {
            assert!(Status::decode(version, &payload[..cut]).is_err());
        }
        let decoded = &row["decoded"];
        if decoded.is_null() {
            continue;
        }
        let digest = |key: &str| <[u8; 32]>::try_from(bytes(&decoded[key])).unwrap();
        let number = |key: &str| decoded[key].as_u64().unwrap();
        let chain = if version <= 68 {
            ChainState::Difficulty { total: decimal(decoded["td"].as_str().unwrap()), head: digest("head") }
        } else {
            let (earliest, latest) = (number("earliest"), number("latest"));
            ChainState::Range(BlockRange { earliest, latest, latest_hash: digest("latest_hash") })
        };
        let hash = bytes(&decoded["forkid"][0]).try_into().unwrap();
        let fork_id = ForkId { hash, next: decoded["forkid"][1].as_u64().unwrap() };
        let (network_id, genesis) = (number("network_id"), digest("genesis"));
        assert_eq!(status, Status { version, network_id, genesis, fork_id, chain });
    }
}

#[test]
fn malformed_statuses_are_refused() {
    let fork_id = ForkId { hash: [0; 4], next: 0 };
    let range = BlockRange { earliest: 9, latest: 3, latest_hash: [1; 32] };
    let status = Status { version: 70, network_id: 1, genesis: [2; 32], fork_id, chain: ChainState::Range(range) };
    let payload = status.encode();
    assert_eq!(Status::decode(69, &payload), Ok(status), "version and range are the chain's to judge");
    assert!(const_hex::encode(&payload).contains("c6840000000080"), "the hash of a fork id keeps its zeros");

    let mut longer = payload.clone();
    longer.push(0x80);
    assert_eq!(Status::decode(69, &longer), Err(DecodeError::TrailingBytes));
    longer[1] += 1;
    assert_eq!(Status::decode(69, &longer), Err(DecodeError::TooManyItems));
    let difficulty = |total: &[u8]| {
        let mut rlp = RlpStream::new_list(6);
        rlp.append(&68u32).append(&1u64).append(&total).append(&&[3u8; 32][..]).append(&&[4u8; 32][..]);
        fork_id.append(&mut rlp);
        Status::decode(68, &rlp.out())
    };
    assert!(difficulty(&[0xff; 32]).is_ok());
    assert_eq!(difficulty(&[0xff; 33]), Err(DecodeError::IntegerOverflow));
    assert_eq!(difficulty(&[0, 1]), Err(DecodeError::LeadingZero));
}

#[test]
fn block_range_vectors_decode_or_are_refused() {
    for row in rows(&vectors(), "block_range", 2) {
        let payload = bytes(&row["rlp"]);
        match BlockRange::decode(&payload) {
            Ok(range) => assert_eq!((range.encode(), &row["inverted"]), (payload, &Value::Bool(false))),
            Err(error) => assert_eq!((error, &row["inverted"]), (DecodeError::BadValue, &Value::Bool(true))),
        }
    }
}

#[test]
fn each_version_has_its_number_of_ids() {
    let vectors = vectors();
    let table = CapabilityTable::default();
    let lengths = vectors["protocol_lengths"].as_object().unwrap();
    assert_eq!(lengths.len(), 7);
    for (version, length) in lengths {
        let version = version.parse().unwrap();
        let length = length.as_u64().unwrap();
        assert_eq!(table.length(Capability::eth(version)), Some(length));
        assert!(role(version, length - 1).is_some() && role(version, length).is_none(), "eth/{version}");
    }
}

#[test]
fn each_id_has_its_role_by_version() {
    for version in 66..=72 {
        let roles: String = (0..22)
            .map(|id| match role(version, id) {
                Some(Role::Status) => 'S',
                Some(Role::Announcement) => 'a',
                Some(Role::Request { answer }) => {
                    assert_eq!((answer, role(version, answer)), (id + 1, Some(Role::Response)));
                    'q'
                }
                Some(Role::Response) => 'r',
                Some(Role::Forbidden) => '-',
                None => '.',
            })
            .collect();
        let expected = match version {
            66 => "Saaqrqraaqr--qrqr.....",
            67 | 68 => "Saaqrqraaqr----qr.....",
            69 | 70 => "S-aqrqr-aqr----qra....",
            71 => "S-aqrqr-aqr----qraqr..",
            _ => "S-aqrqr-aqr----qraqrqr",
        };
        assert_eq!(roles, expected, "eth/{version}");
    }
    assert_eq!(role(65, 3), None, "without request ids");
    assert_eq!(role(73, 3), None);
}

#[test]
fn envelope_vectors_decode_and_encode() {
    let vectors = vectors();
    for row in rows(&vectors, "pairs", 23) {
        let payload = bytes(&row["rlp"]);
        rlp::check(&payload, Bounds::MESSAGE).unwrap();
        let (id, items) = request_id(&payload).unwrap();
        assert_eq!(id, row["request_id"].as_u64().unwrap(), "{row}");
        let body = items.rest();
        assert_eq!([envelope(id, body.len()).as_slice(), body].concat(), payload, "{row}");
        for version in row["versions"].as_array().into_iter().flatten() {
            if let Some(message) = row["id"].as_u64() {
                let role = role(version.as_u64().unwrap() as u32, message);
                assert!(matches!(role, Some(Role::Request { .. } | Role::Response)), "{row}: {role:?}");
            }
        }
    }
    for row in rows(&vectors, "refuse", 1) {
        assert!(request_id(&bytes(&row["rlp"])).is_err() || rlp::check(&bytes(&row["rlp"]), Bounds::MESSAGE).is_err());
    }
}

#[test]
fn malformed_envelopes_are_refused() {
    for hex in
        ["", "80", "c0", "c1c0", "c20001", "c2c101", "ca89ffffffffffffffffff", "c18105", "c105c0", "c3820005", "f800"]
    {
        assert!(request_id(&const_hex::decode(hex).unwrap()).is_err(), "{hex}");
    }
    assert_eq!(request_id(&[0xc2, 0x80, 0xc0]).unwrap().0, 0, "an id of zero is legal");
    let (id, items) = request_id(&[0xc1, 0x05]).unwrap();
    assert!(id == 5 && items.is_empty());
}

proptest! {
    #[test]
    fn envelopes_return(id: u64, len in 0usize..70_000) {
        let body = vec![0u8; len];
        let payload = [envelope(id, len).as_slice(), &body[..]].concat();
        let (read, items) = request_id(&payload).unwrap();
        prop_assert_eq!((read, items.rest()), (id, &body[..]));
    }

    #[test]
    fn anything_decodes_or_not(payload in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = request_id(&payload);
        let _ = BlockRange::decode(&payload);
        for version in [68, 69] {
            if let Ok(status) = Status::decode(version, &payload) {
                prop_assert_eq!(status.encode(), &payload[..]);
            }
        }
    }
}
