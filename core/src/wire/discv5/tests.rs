//! discv5 packets and messages against vectors, and at their bounds.

use alloc::vec;
use std::string::String;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::crypto::discv5::{SessionKeys, id_proof_digest};
use crate::crypto::testing::{array, field, hex, rows, secret, text};
use crate::crypto::{Crypto, Secp256k1};
use crate::wire::enr::Record;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/discv5.json")).unwrap()
}

fn key(row: &Value, name: &str) -> MessageKey {
    MessageKey::new(array(row, name))
}

fn seq(row: &Value, name: &str) -> u64 {
    text(row, name).parse().unwrap()
}

/// The vectors' random part of every packet.
const IV: [u8; 16] = [0; 16];

#[test]
fn every_packet_of_the_specification_is_read_and_written() {
    let vectors = vectors();
    let crypto = Secp256k1::new();
    let [a, b] = ["node_id_a", "node_id_b"].map(|name| NodeId(array(&vectors, name)));
    let (key_a, key_b) = (secret(&vectors, "node_a_key"), secret(&vectors, "node_b_key"));
    assert_eq!((crypto.public_key(&key_a).node_id(), crypto.public_key(&key_b).node_id()), (a, b));
    let route = Route { from: &a, to: &b };
    for row in rows(&vectors, "packets") {
        let name = text(row, "name");
        let datagram = hex(row, "hex");
        let packet = Packet::unmask(&b, &datagram).unwrap().unwrap();
        assert_eq!(packet.head[IV_BYTES..packet.head_bytes], hex(row, "header_plain"), "{name}");
        assert_eq!(*packet.nonce(), array(row, "nonce"), "{name}");
        let mut written = Vec::new();
        let message = |plain: &[u8]| assert_eq!(plain, hex(row, "message_plain"), "{name}");
        let mut plain = Vec::new();
        match packet.header() {
            Header::Challenge(challenge) => {
                assert_eq!(challenge.as_bytes()[..], hex(row, "challenge_data"));
                assert_eq!(*challenge.request_nonce(), array(row, "challenge_request_nonce"));
                assert_eq!(challenge.enr_seq(), seq(row, "challenge_enr_seq"));
                let nonce = array(row, "challenge_request_nonce");
                let made = Challenge::new(IV, &nonce, array(row, "challenge_id_nonce"), challenge.enr_seq());
                assert_eq!(made, challenge);
                made.write(&b, &mut written);
            }
            Header::Ordinary { from } => {
                assert_eq!(from, a);
                let key = key(row, "read_key");
                let opened = packet.open(&key, &mut plain).unwrap();
                message(opened);
                let message = Message::decode(opened).unwrap();
                assert_eq!(message.payload, Payload::Ping { enr_seq: seq(row, "enr_seq") });
                assert_eq!(message.request_id.as_bytes(), hex(row, "req_id"));
                seal_ordinary(&mut written, route, IV, packet.nonce(), &key, &message);
            }
            Header::Handshake { from, proof } => {
                assert_eq!(from, a);
                let challenge: [u8; CHALLENGE_BYTES] = array(row, "challenge_data");
                assert_eq!(
                    (proof.signature.0, *proof.ephemeral_key),
                    (array(row, "id_signature"), array(row, "ephemeral_pubkey"))
                );
                let digest = id_proof_digest(&challenge, proof.ephemeral_key, &b);
                assert_eq!(digest, array(row, "signing_hash"));
                assert!(crypto.verify(&crypto.public_key(&key_a), &digest, &proof.signature));
                assert_eq!(crypto.sign(&key_a, &digest).without_recovery_id(), proof.signature);
                let record = proof.record.map(|record| Record::decode(&crypto, record).unwrap());
                assert_eq!(
                    record.as_ref().map(Record::key),
                    record.as_ref().map(|_| crypto.public_key(&key_a)).as_ref()
                );
                assert_eq!(proof.record.is_some(), row["record"].is_string());
                let ephemeral = crypto.public_key_from_compressed(proof.ephemeral_key).unwrap();
                let keys = SessionKeys::derive(&crypto.ecdh(&key_b, &ephemeral), &challenge, &a, &b);
                assert_eq!(
                    (*keys.initiator.expose(), *keys.recipient.expose()),
                    (array(row, "initiator_key"), array(row, "recipient_key"))
                );
                let ours = crypto.ecdh(&secret(row, "ephemeral_key"), &crypto.public_key(&key_b));
                assert_eq!(ours.expose_compressed(), crypto.ecdh(&key_b, &ephemeral).expose_compressed());
                let opened = packet.open(&keys.initiator, &mut plain).unwrap();
                message(opened);
                let message = Message::decode(opened).unwrap();
                seal_handshake(&mut written, route, IV, packet.nonce(), &proof, &keys.initiator, &message);
            }
        }
        assert_eq!(written, datagram, "{name}");
    }
}

#[test]
fn packets_that_the_specification_refuses_are_refused() {
    let vectors = vectors();
    let b = NodeId(array(&vectors, "node_id_b"));
    let keys: Vec<_> = rows(&vectors, "packets").iter().filter(|row| row["read_key"].is_string()).collect();
    for row in rows(&vectors, "negative") {
        let name = text(row, "name");
        let to = if row["dest_node_id"].is_string() { NodeId(array(row, "dest_node_id")) } else { b };
        let datagram = hex(row, "hex");
        let packet = Packet::unmask(&to, &datagram);
        match name {
            "below_63_bytes" | "bad_protocol_id" | "wrong_destination" => assert!(matches!(packet, Ok(None)), "{name}"),
            "whoareyou_with_message_byte" => assert_eq!(packet.unwrap_err(), DecodeError::TrailingBytes),
            "handshake_extra_byte" => {
                let packet = packet.unwrap().unwrap();
                assert!(keys.iter().all(|row| packet.open(&key(row, "read_key"), &mut Vec::new()).is_err()));
            }
            other => panic!("{other} is not expected"),
        }
    }
}

#[test]
fn the_primitives_are_those_of_the_specification() {
    let vectors = vectors();
    let crypto = Secp256k1::new();
    let point = |row: &Value, name: &str| crypto.public_key_from_compressed(&array(row, name)).unwrap();
    for row in rows(&vectors, "primitives") {
        match text(row, "kind") {
            "ecdh" => {
                let shared = crypto.ecdh(&secret(row, "secret_key"), &point(row, "public_key"));
                assert_eq!(*shared.expose_compressed(), array(row, "shared_secret"));
                assert_eq!(shared.expose()[..], shared.expose_compressed()[1..]);
            }
            "kdf" => {
                let shared = crypto.ecdh(&secret(row, "ephemeral_key"), &point(row, "dest_pubkey"));
                let [a, b] = ["node_id_a", "node_id_b"].map(|name| NodeId(array(row, name)));
                let keys = SessionKeys::derive(&shared, &hex(row, "challenge_data"), &a, &b);
                assert_eq!(
                    (*keys.initiator.expose(), *keys.recipient.expose()),
                    (array(row, "initiator_key"), array(row, "recipient_key"))
                );
            }
            "id_signature" => {
                let digest = id_proof_digest(
                    &hex(row, "challenge_data"),
                    &array(row, "ephemeral_pubkey"),
                    &NodeId(array(row, "node_id_b")),
                );
                assert_eq!(digest, array(row, "signing_hash"));
                let signature = crypto.sign(&secret(row, "static_key"), &digest).without_recovery_id();
                assert_eq!(signature.0, array(row, "id_signature"));
            }
            "aes_gcm" => {
                let mut bytes = hex(row, "ad");
                let associated = 0..bytes.len();
                bytes.extend(hex(row, "pt"));
                key(row, "key").seal(&array(row, "nonce"), &mut bytes, associated.clone());
                let (associated, sealed) = bytes.split_at_mut(associated.end);
                assert_eq!(sealed, hex(row, "ct"));
                assert_eq!(*key(row, "key").open(&array(row, "nonce"), associated, sealed).unwrap(), hex(row, "pt"));
            }
            other => panic!("{other} is not expected"),
        }
    }
}

#[test]
fn every_message_of_the_vectors_is_read_and_written_or_refused() {
    let vectors = vectors();
    let mut refused = Vec::new();
    for row in rows(&vectors, "messages") {
        let (name, plain) = (text(row, "name"), hex(row, "hex"));
        match Message::decode(&plain) {
            Ok(message) => {
                assert!(row["valid"].as_bool().unwrap(), "{name}");
                assert_eq!(message.payload.kind() as u64, field(row, "type").as_u64().unwrap());
                if row["request_id"].is_string() {
                    assert_eq!(message.request_id.as_bytes(), hex(row, "request_id"));
                }
                let mut written = Vec::new();
                message.encode(&mut written);
                assert_eq!(written, plain, "{name}");
            }
            Err(error) => {
                assert!(!row["valid"].as_bool().unwrap(), "{name}: {error}");
                refused.push((String::from(name), error));
            }
        }
    }
    let expected = [
        ("Ping with too large RequestId", DecodeError::TooLarge),
        ("Pong with invalid IP address size", DecodeError::WrongLength),
    ];
    assert_eq!(refused, expected.map(|(name, error)| (name.into(), error)));
}

#[test]
fn the_fields_of_messages_are_those_of_the_vectors() {
    let vectors = vectors();
    let plain: Vec<Vec<u8>> = rows(&vectors, "messages").iter().map(|row| hex(row, "hex")).collect();
    let payloads: Vec<Payload<'_>> =
        plain.iter().filter_map(|plain| Some(Message::decode(plain).ok()?.payload)).collect();
    let crypto = Secp256k1::new();
    let records = |list: &RecordList<'_>| -> Vec<Record> {
        list.iter().map(|record| Record::decode(&crypto, record).unwrap()).collect()
    };
    assert_eq!(payloads[0], Payload::Ping { enr_seq: 1 });
    assert_eq!(payloads[1], Payload::Pong { enr_seq: 1, recipient: "127.0.0.1:5000".parse().unwrap() });
    assert_eq!(payloads[2], Payload::FindNode { distances: vec![256] });
    assert!(matches!(&payloads[3], Payload::Nodes { total: 1, records: list } if records(list).is_empty()));
    assert!(matches!(&payloads[4], Payload::Nodes { total: 1, records: list } if records(list).len() == 2));
    assert_eq!(payloads[5], Payload::TalkRequest { protocol: b"echo", request: b"hi" });
    assert_eq!(payloads[6], Payload::TalkResponse { response: b"hi" });
    let Payload::RegTopic { topic: [0x22, ..], record, ticket: [], distances } = &payloads[7] else { panic!() };
    assert!(Record::decode(&crypto, record).is_ok() && *distances == [254, 255]);
    assert_eq!(payloads[8], Payload::RegConfirmation { total: 1, ticket: &[], wait_millis: 900_000 });
    assert_eq!(payloads[9], Payload::RegConfirmation { total: 2, ticket: b"ticket", wait_millis: 15_000 });
    assert_eq!(payloads[10], Payload::TopicQuery { topic: &[0x22; 32], distances: vec![255] });
    assert!(matches!(&payloads[11], Payload::TopicNodes { total: 1, records: list } if records(list).len() == 1));
}

#[test]
fn distances_end_at_256_and_messages_have_no_further_fields() {
    assert_eq!(Message::decode(&[3, 0xc5, 0x01, 0xc3, 0x82, 1, 1]), Err(DecodeError::BadValue));
    assert_eq!(Message::decode(&[1, 0xc3, 0x01, 0x01, 0x01]), Err(DecodeError::TooManyItems));
    assert_eq!(Message::decode(&[1, 0xc2, 0x01, 0x01, 0x01]), Err(DecodeError::TrailingBytes));
    assert_eq!(Message::decode(&[1, 0xc1, 0x01]), Err(DecodeError::MissingField));
    assert_eq!(Message::decode(&[11, 0xc1, 0x01]), Err(DecodeError::UnknownType));
    assert_eq!(Message::decode(&[]), Err(DecodeError::Truncated));
}

#[test]
fn headers_of_other_sizes_kinds_and_versions_are_refused() {
    let to = NodeId([7; 32]);
    // The header's bytes after masking, with one of them changed.
    let altered = |at: usize, byte: u8| {
        let mut bytes = Vec::new();
        write_random(&mut bytes, Route { from: &NodeId([8; 32]), to: &to }, [9; 16], &[1; 12], &[0; 44]);
        mask(&to, &mut bytes[..STATIC_BYTES + 32]);
        bytes[at] = byte;
        mask(&to, &mut bytes[..STATIC_BYTES + 32]);
        Packet::unmask(&to, &bytes).map(|packet| packet.is_some())
    };
    assert_eq!(altered(0, 9), Ok(true));
    assert_eq!(altered(IV_BYTES, b'D'), Ok(false));
    assert_eq!(altered(IV_BYTES + 7, 2), Err(DecodeError::BadValue));
    assert_eq!(altered(FLAG_AT, 3), Err(DecodeError::UnknownType));
    assert_eq!(altered(FLAG_AT, 1), Err(DecodeError::WrongLength));
    assert_eq!(altered(FLAG_AT, 2), Err(DecodeError::WrongLength));
    assert_eq!(altered(SIZE_AT + 1, 31), Err(DecodeError::WrongLength));
    assert_eq!(altered(SIZE_AT, 1), Err(DecodeError::WrongLength));
}

proptest! {
    #[test]
    fn any_bytes_are_a_packet_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..1400), id in any::<[u8; 32]>()) {
        let _ = Packet::unmask(&NodeId(id), &bytes);
        let mut masked = bytes.clone();
        // The same with the first bytes of a header, so that the rest is read.
        if masked.len() >= STATIC_BYTES {
            masked[IV_BYTES..IV_BYTES + 8].copy_from_slice(b"discv5\0\x01");
            masked[FLAG_AT] %= 3;
            mask(&NodeId(id), &mut masked);
            if let Ok(Some(packet)) = Packet::unmask(&NodeId(id), &masked) {
                let _ = packet.header();
                prop_assert!(packet.open(&MessageKey::new([0; 16]), &mut Vec::new()).is_err());
            }
        }
    }

    #[test]
    fn any_bytes_are_a_message_or_refused(plain in proptest::collection::vec(any::<u8>(), 0..200), kind in 1u8..11) {
        let mut plain = plain;
        if let Some(first) = plain.first_mut() {
            *first = kind;
        }
        if let Ok(message) = Message::decode(&plain) {
            let mut written = Vec::new();
            message.encode(&mut written);
            prop_assert_eq!(Message::decode(&written), Ok(message));
        }
    }

    #[test]
    fn messages_arrive_as_they_were_sent_and_no_changed_byte_is_accepted(
        at in any::<prop::sample::Index>(),
        bit in 0u32..8,
        request in proptest::collection::vec(any::<u8>(), 0..900),
    ) {
        let (from, to) = (NodeId([3; 32]), NodeId([4; 32]));
        let key = MessageKey::new([5; 16]);
        let message = Message {
            request_id: [6; 8].into(),
            payload: Payload::TalkRequest { protocol: b"test", request: &request },
        };
        let mut bytes = Vec::new();
        seal_ordinary(&mut bytes, Route { from: &from, to: &to }, [7; 16], &[8; 12], &key, &message);
        let mut plain = Vec::new();
        let packet = Packet::unmask(&to, &bytes).unwrap().unwrap();
        prop_assert_eq!(&Message::decode(packet.open(&key, &mut plain).unwrap()).unwrap(), &message);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(Some(packet)) = Packet::unmask(&to, &bytes) {
            prop_assert!(packet.open(&key, &mut plain).is_err());
        }
    }
}

#[test]
fn largest_messages_fill_their_packets() {
    let (from, to) = (NodeId([3; 32]), NodeId([4; 32]));
    let (route, key) = (Route { from: &from, to: &to }, MessageKey::new([5; 16]));
    let with = |bytes: usize| {
        // Type 1, list 3, request id 1, protocol 1, request 3.
        let request = vec![1; bytes - 9];
        let message = Message {
            request_id: RequestId::new(&[1]).unwrap(),
            payload: Payload::TalkRequest { protocol: &[], request: &request },
        };
        let mut plain = Vec::new();
        message.encode(&mut plain);
        assert_eq!(plain.len(), bytes);
        let mut ordinary = Vec::new();
        seal_ordinary(&mut ordinary, route, [7; 16], &[8; 12], &key, &message);
        let mut handshake = Vec::new();
        let (signature, ephemeral_key, record) = (Signature([1; 64]), &[2; 33], Some(&[3; RECORD_BYTES_MAX][..]));
        let proof = IdProof { signature, ephemeral_key, record };
        seal_handshake(&mut handshake, route, [7; 16], &[8; 12], &proof, &key, &message);
        (ordinary.len(), handshake.len())
    };
    assert_eq!(with(MESSAGE_BYTES_MAX).0, PACKET_BYTES_MAX);
    assert_eq!(with(HANDSHAKE_MESSAGE_BYTES_MAX).1, PACKET_BYTES_MAX);
}
