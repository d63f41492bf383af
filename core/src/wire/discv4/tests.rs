//! discv4 packets against vectors, and at their bounds.

use alloc::vec;
use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::crypto::{Secp256k1, keccak256};
use crate::wire::rlp::RlpStream;

static CRYPTO: LazyLock<Secp256k1> = LazyLock::new(Secp256k1::new);

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/discv4.json")).unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    const_hex::decode(text(value)).unwrap()
}

fn open(datagram: &[u8]) -> Result<(PublicKey, Packet), DecodeError> {
    let datagram = Datagram::split(datagram)?;
    datagram.check_hash(&*CRYPTO)?;
    Ok((datagram.signer(&*CRYPTO)?, datagram.decode()?))
}

fn ip(value: &Value) -> Option<IpAddr> {
    match bytes(value).as_slice() {
        [] => None,
        v4 if v4.len() == 4 => Some(IpAddr::from(<[u8; 4]>::try_from(v4).unwrap())),
        v6 => Some(IpAddr::from(<[u8; 16]>::try_from(v6).unwrap())),
    }
}

fn port(value: &Value) -> u16 {
    value.as_u64().unwrap().try_into().unwrap()
}

fn endpoint(value: &Value) -> Endpoint {
    Endpoint { ip: ip(&value["ip_hex"]), udp: port(&value["udp"]), tcp: port(&value["tcp"]) }
}

/// The packet of a row.
fn expected(kind: Kind, content: &Value) -> Packet {
    let expiration = UnixTime::from_secs(content["expiration"].as_u64().unwrap_or(0));
    let enr_seq = content["enr_seq"].as_u64();
    match kind {
        Kind::Ping => Packet::Ping {
            version: content["version"].as_u64().unwrap(),
            from: endpoint(&content["sender"]),
            to: endpoint(&content["to"]),
            expiration,
            enr_seq,
        },
        Kind::Pong => Packet::Pong {
            to: endpoint(&content["to"]),
            ping_hash: bytes(&content["ping_hash"]).try_into().unwrap(),
            expiration,
            enr_seq,
        },
        Kind::FindNode => Packet::FindNode { target: bytes(&content["target"]).try_into().unwrap(), expiration },
        Kind::Neighbors => {
            let node = |node: &Value| Neighbor {
                ip: ip(&node["ip_hex"]).unwrap(),
                udp: port(&node["udp"]),
                tcp: port(&node["tcp"]),
                key: bytes(&node["id"]).try_into().unwrap(),
            };
            let nodes = content["nodes"].as_array().unwrap().iter().map(node).collect();
            Packet::Neighbors { nodes, expiration }
        }
        Kind::EnrRequest => Packet::EnrRequest { expiration },
        Kind::EnrResponse => Packet::EnrResponse {
            request_hash: bytes(&content["request_hash"]).try_into().unwrap(),
            record: bytes(&content["record_rlp"]),
        },
    }
}

#[test]
fn recorded_and_specified_packets_decode() {
    let vectors = vectors();
    let rows = vectors["packets"].as_array().unwrap();
    assert_eq!(rows.len(), 25);
    for row in rows {
        let name = text(&row["name"]);
        let raw = bytes(&row["datagram"]);
        let datagram = Datagram::split(&raw).unwrap();
        datagram.check_hash(&*CRYPTO).unwrap();
        let signer = datagram.signer(&*CRYPTO).unwrap();
        assert_eq!(signer.as_bytes()[..], bytes(&row["signer"]), "{name}");
        assert_eq!(u64::from(datagram.signed[0]), row["type"].as_u64().unwrap(), "{name}");
        if let Some(id) = row["node_id"].as_str() {
            assert_eq!(signer.node_id(), id.parse().unwrap(), "{name}");
        }
        let content = &row["content"];
        if content.is_null() {
            let error = datagram.decode().expect_err(name);
            assert_eq!(error == DecodeError::UnknownType, name.contains("unknown_type"), "{name}: {error}");
            continue;
        }
        let packet = datagram.decode().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(packet, expected(datagram.kind().unwrap(), content), "{name}");

        // The packet is encoded to the same bytes, unless it has items that are never sent.
        let is_plain = content["extra_elements_rlp"].as_array().is_some_and(Vec::is_empty)
            && text(&row["trailing_bytes"]).is_empty();
        if let (true, Some(secret)) = (is_plain, row["secret"].as_str()) {
            let secret = SecretKey::from_bytes(const_hex::decode_to_array(secret).unwrap()).unwrap();
            let mut sealed = vec![];
            packet.seal(&*CRYPTO, &secret, &mut sealed);
            assert_eq!(const_hex::encode(&sealed[97..]), const_hex::encode(&raw[97..]), "{name}");
            assert_eq!(open(&sealed).unwrap(), (signer, packet), "{name}");
        }
    }
}

#[test]
fn malformed_datagrams_are_refused() {
    let vectors = vectors();
    let rows = vectors["negative"].as_array().unwrap();
    let expected = |name: &str| match name {
        "hash_bit_flipped" | "payload_bit_flipped" => DecodeError::BadHash,
        "recovery_id_4" | "zero_signature" => DecodeError::BadSignature,
        "too_short_97" | "empty" | "payload_truncated_list" => DecodeError::Truncated,
        "payload_not_list" => DecodeError::ExpectedList,
        "ping_missing_expiration" => DecodeError::MissingField,
        "ping_expiration_leading_zero" => DecodeError::LeadingZero,
        "oversize" => DecodeError::TooLarge,
        other => panic!("unknown row {other}"),
    };
    assert_eq!(rows.len(), 11);
    for row in rows {
        let name = text(&row["name"]);
        assert_eq!(open(&bytes(&row["datagram"])).unwrap_err(), expected(name), "{name}");
    }
}

#[test]
fn signatures_of_other_clients_recover_their_keys() {
    let row = &vectors()["signature"];
    let signed = bytes(&row["signed"]);
    assert_eq!(keccak256(&signed)[..], bytes(&row["digest"]));
    let secret = SecretKey::from_bytes(bytes(&row["secret"]).try_into().unwrap()).unwrap();
    // Its nonce was random, so only the signer can be compared.
    let signature = RecoverableSignature(bytes(&row["signature"]).try_into().unwrap());
    let signer = CRYPTO.public_key(&secret);
    assert_eq!(CRYPTO.recover(&keccak256(&signed), &signature), Some(signer));
    assert_eq!(signer.as_bytes()[..], bytes(&row["signer"]));
}

#[test]
fn endpoints_decode() {
    for row in vectors()["endpoints"].as_array().unwrap() {
        let raw = bytes(&row["rlp"]);
        let decoded = Endpoint::decode(rlp::list(&raw, Bounds::SMALL).unwrap()).unwrap();
        let expected =
            Endpoint { ip: Some(text(&row["ip"]).parse().unwrap()), udp: port(&row["udp"]), tcp: port(&row["tcp"]) };
        assert_eq!(decoded, expected);
        let mut out = vec![];
        decoded.encode(&mut Writer::new(&mut out));
        assert_eq!(out, raw);
    }
}

#[test]
fn endpoint_addresses_are_canonical_and_of_a_known_length() {
    let read = |ip: &[u8]| {
        let mut out = RlpStream::new();
        out.begin_list(3).append(&ip).append(&1u16).append(&2u16);
        Endpoint::decode(rlp::list(out.as_raw(), Bounds::SMALL).unwrap())
    };
    let mapped: Ipv6Addr = "::ffff:1.2.3.4".parse().unwrap();
    assert_eq!(read(&mapped.octets()).unwrap().ip, Some("1.2.3.4".parse().unwrap()));
    assert_eq!(read(&[]).unwrap().ip, None);
    for length in [1, 3, 5, 15, 17] {
        assert_eq!(read(&vec![1; length]).unwrap_err(), DecodeError::WrongLength);
    }
}

#[test]
fn containers_are_split() {
    let vectors = vectors();
    let rows = vectors["containers"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    for row in rows {
        let raw = bytes(&row["datagram"]);
        let datagram = Datagram::split(&raw).unwrap();
        datagram.check_hash(&*CRYPTO).unwrap();
        assert_eq!(datagram.signature.0[..], bytes(&row["signature"]));
        assert_eq!(datagram.kind().unwrap() as u64, row["type"].as_u64().unwrap());
    }
}

#[test]
fn twelve_neighbours_fit_and_thirteen_do_not() {
    let row = &vectors()["neighbors"];
    assert_eq!(row["per_packet"], NEIGHBORS_PER_PACKET);
    let secret = SecretKey::from_bytes([1; 32]).unwrap();
    let length = |count: usize, expiration: u64| {
        let node = Neighbor { ip: Ipv6Addr::from([0xff; 16]).into(), udp: 30303, tcp: 30303, key: [0xff; 64] };
        let packet = Packet::Neighbors { nodes: vec![node; count], expiration: UnixTime::from_secs(expiration) };
        let mut out = vec![];
        packet.seal(&*CRYPTO, &secret, &mut out);
        out.len()
    };
    assert_eq!(row["bytes_of_12_ipv6"], length(12, 2_000_000_000));
    assert_eq!(row["bytes_of_13_ipv6"], length(13, 2_000_000_000));
    assert_eq!(row["bytes_of_12_ipv6_long_expiration"], length(12, u64::MAX));
    assert!(length(12, u64::MAX) <= DATAGRAM_BYTES_MAX && length(13, 2_000_000_000) > DATAGRAM_BYTES_MAX);
}

#[test]
fn a_datagram_holds_no_more_than_sixteen_neighbours() {
    // The smallest entry: no address, no ports, a key.
    let smallest = 2 + 3 + 65 + 1;
    assert_eq!((DATAGRAM_BYTES_MAX - DATAGRAM_BYTES_MIN) / smallest, 16);
}

/// Items that EIP-8 requires to be ignored must still be valid RLP, at every position.
#[test]
fn ignored_items_are_checked() {
    let list = |items: &[u8]| match items.len() {
        short @ ..56 => [&[0xc0 + short as u8], items].concat(),
        long => [&[0xf8, long as u8], items].concat(),
    };
    let decode = |kind: Kind, items: &[u8]| {
        let signed = [&[kind as u8], &list(items)[..]].concat();
        let signature = RecoverableSignature([0; 65]);
        Datagram { hash: &[0; 32], hashed: &[], signed: &signed, signature }.decode()
    };
    let endpoint = [0x84, 8, 8, 8, 8, 1, 1];
    let node = [&endpoint[..], &[0xb8, 64], &[7; 64]].concat();
    let (sound, unsound) = (&[0xc2, 0x81, 0x80][..], &[0xc2, 0x81, 0x01][..]);
    for (tail, verdict) in [(sound, Ok(())), (unsound, Err(DecodeError::NonCanonical))] {
        let endpoint_and_tail = list(&[&endpoint, tail].concat());
        let pings = [
            [&[4], &endpoint_and_tail[..], &list(&endpoint), &[9]].concat(),
            // In place of the record's sequence number, and after it.
            [&[4], &list(&endpoint)[..], &list(&endpoint), &[9], tail].concat(),
            [&[4], &list(&endpoint)[..], &list(&endpoint), &[9, 1], tail].concat(),
        ];
        for ping in &pings {
            assert_eq!(decode(Kind::Ping, ping).map(|_| ()), verdict, "{ping:x?}");
        }
        let nodes = list(&list(&[&node, tail].concat()));
        assert_eq!(decode(Kind::Neighbors, &[&nodes, &[9][..]].concat()).map(|_| ()), verdict);
    }
}

#[test]
fn a_sealed_datagram_is_appended() {
    let secret = SecretKey::from_bytes([7; 32]).unwrap();
    let mut out = b"before".to_vec();
    let packet = Packet::EnrRequest { expiration: UnixTime::from_secs(5) };
    let hash = packet.seal(&*CRYPTO, &secret, &mut out);
    assert_eq!(out[..6], *b"before");
    assert_eq!(out[6..38], hash);
    assert_eq!(open(&out[6..]).unwrap(), (CRYPTO.public_key(&secret), packet));
}

#[test]
fn any_bytes_are_safe_to_open() {
    let samples: Vec<Vec<u8>> =
        vectors()["packets"].as_array().unwrap().iter().map(|row| bytes(&row["datagram"])).collect();
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = (0..samples.len(), proptest::collection::vec((any::<u16>(), any::<u8>()), 1..8), 90..1300usize);
    runner
        .run(&strategy, |(sample, edits, length)| {
            let mut raw = samples[sample].clone();
            raw.truncate(length);
            for (at, byte) in edits {
                let at = 97 + usize::from(at) % raw.len();
                if let Some(place) = raw.get_mut(at) {
                    *place = byte;
                }
            }
            if let Ok(datagram) = Datagram::split(&raw)
                && let Ok(packet) = datagram.decode()
            {
                prop_assert_eq!(packet.kind(), datagram.kind().unwrap());
            }
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{error}"));
}

/// Encodes the list of a packet with the crate `rlp`.
fn reference(packet: &Packet) -> Vec<u8> {
    let append_endpoint = |out: &mut RlpStream, ip: Option<IpAddr>, udp: u16, tcp: u16| {
        match ip {
            None => out.append_empty_data(),
            Some(IpAddr::V4(ip)) => out.append(&&ip.octets()[..]),
            Some(IpAddr::V6(ip)) => out.append(&&ip.octets()[..]),
        };
        out.append(&udp).append(&tcp);
    };
    let mut out = RlpStream::new();
    out.begin_unbounded_list();
    let (endpoints, hash, enr_seq) = match packet {
        Packet::Ping { version, from, to, enr_seq, .. } => {
            out.append(version);
            (vec![from, to], None, *enr_seq)
        }
        Packet::Pong { to, ping_hash, enr_seq, .. } => (vec![to], Some(&ping_hash[..]), *enr_seq),
        Packet::FindNode { target, .. } => (vec![], Some(&target[..]), None),
        Packet::Neighbors { nodes, .. } => {
            out.begin_list(nodes.len());
            for node in nodes {
                append_endpoint(out.begin_list(4), Some(node.ip), node.udp, node.tcp);
                out.append(&&node.key[..]);
            }
            (vec![], None, None)
        }
        Packet::EnrRequest { .. } => (vec![], None, None),
        Packet::EnrResponse { request_hash, .. } => (vec![], Some(&request_hash[..]), None),
    };
    endpoints.iter().for_each(|of| append_endpoint(out.begin_list(3), of.ip, of.udp, of.tcp));
    hash.iter().for_each(|hash| _ = out.append(hash));
    packet.expiration().iter().for_each(|expiration| _ = out.append(&expiration.as_secs()));
    enr_seq.iter().for_each(|seq| _ = out.append(seq));
    if let Packet::EnrResponse { record, .. } = packet {
        out.append_raw(record, 1);
    }
    out.finalize_unbounded_list();
    out.out().to_vec()
}

/// Integers of all lengths, equally often.
fn integers() -> impl Strategy<Value = u64> {
    (any::<u64>(), 0..=64u32).prop_map(|(value, shift)| value.checked_shr(shift).unwrap_or(0))
}

fn ports() -> impl Strategy<Value = u16> {
    (any::<u16>(), 0..=16u32).prop_map(|(value, shift)| value.checked_shr(shift).unwrap_or(0))
}

fn ips() -> impl Strategy<Value = IpAddr> {
    prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)]
        .prop_map(|ip| canonical(SocketAddr::new(ip, 0)).ip())
}

fn endpoints() -> impl Strategy<Value = Endpoint> {
    (proptest::option::of(ips()), ports(), ports()).prop_map(|(ip, udp, tcp)| Endpoint { ip, udp, tcp })
}

fn packets() -> impl Strategy<Value = Packet> {
    let expirations = || integers().prop_map(UnixTime::from_secs);
    let keys = || (any::<[u8; 32]>(), any::<[u8; 32]>()).prop_map(|(x, y)| [x, y].concat().try_into().unwrap());
    let enr_seqs = || proptest::option::of(integers());
    let neighbors = (ips(), ports(), ports(), keys()).prop_map(|(ip, udp, tcp, key)| Neighbor { ip, udp, tcp, key });
    let records = proptest::collection::vec(any::<u8>(), 0..300).prop_map(|items| {
        let mut record = RlpStream::new_list(1);
        record.append(&items);
        record.out().to_vec()
    });
    prop_oneof![
        (integers(), endpoints(), endpoints(), expirations(), enr_seqs()).prop_map(
            |(version, from, to, expiration, enr_seq)| Packet::Ping { version, from, to, expiration, enr_seq }
        ),
        (endpoints(), any::<[u8; 32]>(), expirations(), enr_seqs())
            .prop_map(|(to, ping_hash, expiration, enr_seq)| Packet::Pong { to, ping_hash, expiration, enr_seq }),
        (keys(), expirations()).prop_map(|(target, expiration)| Packet::FindNode { target, expiration }),
        (proptest::collection::vec(neighbors, 0..=NEIGHBORS_PER_PACKET), expirations())
            .prop_map(|(nodes, expiration)| Packet::Neighbors { nodes, expiration }),
        expirations().prop_map(|expiration| Packet::EnrRequest { expiration }),
        (any::<[u8; 32]>(), records).prop_map(|(request_hash, record)| Packet::EnrResponse { request_hash, record }),
    ]
}

proptest! {
    #[test]
    fn any_packet_is_encoded_as_the_crate_does_and_decodes_to_itself(packet in packets()) {
        let secret = SecretKey::from_bytes([7; 32]).unwrap();
        let mut sealed = vec![];
        let hash = packet.seal(&*CRYPTO, &secret, &mut sealed);
        prop_assert_eq!(&sealed[98..], &reference(&packet));
        prop_assert_eq!(&sealed[..32], &hash);

        let mut alike = vec![];
        match &packet {
            Packet::Neighbors { nodes, expiration } => {
                Packet::seal_neighbors(nodes.iter().copied(), *expiration, &*CRYPTO, &secret, &mut alike);
                prop_assert_eq!(&alike, &sealed);
            }
            Packet::EnrResponse { request_hash, record } => {
                Packet::seal_enr_response(request_hash, record, &*CRYPTO, &secret, &mut alike);
                prop_assert_eq!(&alike, &sealed);
            }
            _ => {}
        }
        prop_assert_eq!(open(&sealed), Ok((CRYPTO.public_key(&secret), packet)));
    }
}
