//! Recorded traffic of other implementations: handshakes, frames and messages of a private network whose keys are known, and
//! large messages of public ones.
//!
//! The recordings are not part of the repository. `PEERLESS_RECORDED` names the folder that has them; without it these
//! tests are skipped.

use peerless::crypto::discv5::{MessageKey, SessionKeys, id_proof_digest};
use peerless::crypto::secrets::{Exchange, Secrets};
use peerless::crypto::{Crypto, PublicKey, Secp256k1, SecretKey, ecies, keccak256};
use peerless::limits;
use peerless::rlpx::Frames;
use peerless::wire::discv5;
use peerless::wire::enr::Record;
use peerless::wire::eth::{self, ChainState};
use peerless::wire::p2p::{self, CapabilityTable, Hello, Shared};
use peerless::wire::rlp::{self, Bounds};
use peerless::wire::rlpx::{Ack, Auth, frame_header};
use peerless::wire::schema::Role;
use peerless::wire::snappy;
use peerless_tests::skip::recordings;
use serde_json::Value;

fn recording(file: &str) -> Option<Value> {
    let path = recordings()?.join(file);
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    Some(serde_json::from_slice(&text).unwrap())
}

fn rows<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().unwrap_or_else(|| panic!("no list {field}"))
}

fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_else(|| panic!("no text {field} in {row}"))
}

fn hex(row: &Value, field: &str) -> Vec<u8> {
    const_hex::decode(text(row, field)).unwrap()
}

fn array<const N: usize>(row: &Value, field: &str) -> [u8; N] {
    hex(row, field).try_into().unwrap_or_else(|_| panic!("{field} has another length than {N}"))
}

/// Both sides' frames of a recorded session, from its handshake; everything that the recording tells of it is checked.
fn agree(crypto: &Secp256k1, recording: &Value, session: &Value) -> (Frames, Frames) {
    let keys = &recording["static_keys"];
    let [initiator, recipient] =
        ["initiator", "recipient"].map(|side| SecretKey::from_bytes(array(keys, text(session, side))).unwrap());
    let (auth_packet, ack_packet) = (hex(session, "auth"), hex(session, "ack"));
    let open = |secret: &SecretKey, packet: &[u8]| {
        let (prefix, body) = packet.split_at(2);
        assert_eq!(usize::from(prefix[0]) << 8 | usize::from(prefix[1]), body.len());
        ecies::open(crypto, secret, prefix, body).unwrap()
    };

    let auth = Auth::decode(&open(&recipient, &auth_packet)).unwrap();
    let told = &session["auth_decoded"];
    assert_eq!((auth.signature.0, auth.nonce), (array(told, "signature"), array(told, "nonce")));
    assert_eq!((auth.key, auth.version), (array(told, "initiator_pubkey"), told["version"].as_u64().unwrap()));
    assert_eq!(auth.key, *crypto.public_key(&initiator).as_bytes());

    let ack = Ack::decode(&open(&initiator, &ack_packet)).unwrap();
    let told = &session["ack_decoded"];
    assert_eq!((ack.ephemeral_key, ack.nonce), (array(told, "ephemeral_pubkey"), array(told, "nonce")));
    assert_eq!(ack.version, told["version"].as_u64().unwrap());

    let mut signed = *crypto.ecdh(&recipient, &PublicKey::from_xy(crypto, &auth.key).unwrap()).expose();
    signed.iter_mut().zip(auth.nonce).for_each(|(byte, nonce)| *byte ^= nonce);
    let ephemeral = crypto.recover(&signed, &auth.signature).unwrap();
    assert_eq!(*ephemeral.as_bytes(), array(session, "initiator_ephemeral_pubkey"));

    let agreement = crypto.ecdh(&SecretKey::from_bytes(array(session, "recipient_ephemeral_key")).unwrap(), &ephemeral);
    assert_eq!(*agreement.expose(), array(session, "ephemeral_shared"));
    let exchange = Exchange {
        agreement: &agreement,
        initiator_nonce: &auth.nonce,
        recipient_nonce: &ack.nonce,
        auth: &auth_packet,
        ack: &ack_packet,
    };
    let (ours, theirs) = (Secrets::of_initiator(crypto, &exchange), Secrets::of_recipient(crypto, &exchange));
    for secrets in [&ours, &theirs] {
        assert_eq!(
            (*secrets.aes.expose(), *secrets.mac.expose()),
            (array(session, "aes_secret"), array(session, "mac_secret"))
        );
    }
    (Frames::new(crypto, ours), Frames::new(crypto, theirs))
}

/// What a message's payload says, by its id in the session; returns what kind of message it was.
fn read_message(session: &Value, row: &Value, id: u64, payload: &[u8], hellos: &mut Vec<Hello>) -> String {
    match id {
        p2p::id::HELLO => {
            let hello = Hello::decode(payload).unwrap();
            let told = &row["hello"];
            assert_eq!(
                (hello.version, hello.port),
                (told["version"].as_u64().unwrap(), told["port"].as_u64().unwrap())
            );
            assert_eq!((&*hello.client, hello.key), (text(told, "client"), array(told, "node_id")));
            let caps = rows(told, "caps").iter().map(|cap| format!("{}/{}", cap[0].as_str().unwrap(), cap[1]));
            assert_eq!(
                hello.capabilities.iter().map(ToString::to_string).collect::<Vec<_>>(),
                caps.collect::<Vec<_>>()
            );
            if text(row, "from") == text(session, "initiator") {
                assert_eq!(hello.key, array(&session["auth_decoded"], "initiator_pubkey"));
            }
            hellos.push(hello);
            "Hello".into()
        }
        p2p::id::DISCONNECT => format!("{:?}", p2p::DisconnectReason::decode(payload)),
        p2p::id::PING | p2p::id::PONG => {
            assert_eq!(payload, p2p::EMPTY_PAYLOAD);
            if id == p2p::id::PING { "Ping".into() } else { "Pong".into() }
        }
        _ => {
            let [ours, theirs] = &hellos[..] else { panic!("a message before both Hellos") };
            let shared = CapabilityTable::default().share(&ours.capabilities, &theirs.capabilities);
            let (capability, id) =
                shared.iter().find_map(|shared: &Shared| Some((shared.capability, shared.relative(id)?))).unwrap();
            read_capability_message(capability, id, payload)
        }
    }
}

fn read_capability_message(capability: p2p::Capability, id: u64, payload: &[u8]) -> String {
    if !capability.is_eth() {
        let (_, body) = eth::request_id(payload).unwrap();
        assert!(!body.is_empty());
        return format!("{capability} {id}");
    }
    match eth::role(capability.version, id).unwrap() {
        Role::Status => {
            let status = eth::Status::decode(capability.version, payload).unwrap();
            assert_eq!((status.version, status.network_id), (capability.version, 12345));
            assert!(matches!(status.chain, ChainState::Difficulty { head, .. } if head == status.genesis));
            assert_eq!(status.encode(), payload);
        }
        Role::Request { .. } | Role::Response => {
            let (request_id, body) = eth::request_id(payload).unwrap();
            let envelope = eth::envelope(request_id, body.rest().len());
            assert_eq!([envelope.as_slice(), body.rest()].concat(), payload);
        }
        Role::Announcement => {}
        Role::Forbidden => panic!("{capability} has no message {id}"),
    }
    format!("{capability} {id}")
}

#[test]
fn recorded_sessions_open_and_seal_again() {
    let Some(recording) = recording("recorded_privnet.json") else { return };
    let crypto = Secp256k1::new();
    let mut frames = 0;
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for session in rows(&recording, "rlpx_sessions") {
        let (mut initiator, mut recipient) = agree(&crypto, &recording, session);
        let mut hellos = Vec::new();
        for row in rows(session, "frames") {
            let (sender, receiver) = match text(row, "from") {
                from if from == text(session, "initiator") => (&mut initiator, &mut recipient),
                _ => (&mut recipient, &mut initiator),
            };
            let wire = hex(row, "frame");
            let mut rest = &wire[..];
            let body = receiver.opener.handle_bytes(&crypto, &mut rest, limits::MESSAGE_BYTES_MAX).unwrap().unwrap();
            assert!(rest.is_empty(), "one frame, and all of it");
            assert_eq!(frame_header(body.len()).unwrap(), array(row, "header"));

            let (id, sent) = p2p::split_message(body).unwrap();
            assert_eq!(Some(id), row["message_id"].as_u64());
            let payload = match row.get("compressed") {
                None => sent.to_vec(),
                Some(_) => {
                    assert_eq!(sent, hex(row, "compressed"));
                    let mut payload = vec![0; snappy::inflated_len(sent, limits::ETH_MESSAGE_BYTES_MAX).unwrap()];
                    snappy::inflate(sent, &mut payload).unwrap();
                    payload
                }
            };
            assert_eq!(payload, hex(row, "payload"));
            rlp::check(&payload, Bounds::MESSAGE).unwrap();
            *kinds.entry(read_message(session, row, id, &payload, &mut hellos)).or_default() += 1;

            let mut sealed = Vec::new();
            let start = sender.sealer.begin(&mut sealed);
            sealed.extend_from_slice(body);
            sender.sealer.finish(&crypto, &mut sealed, start).unwrap();
            assert_eq!(sealed, wire, "the sender's frame, byte for byte");
            frames += 1;
        }
        assert_eq!(hellos.len(), 2);
    }
    assert_eq!(frames, 29);
    for (kind, count) in [("Hello", 6), ("Ping", 4), ("Pong", 4), ("eth/68 0", 6)] {
        assert_eq!(kinds.get(kind), Some(&count), "{kinds:?}");
    }
}

#[test]
fn a_changed_bit_is_seen() {
    let Some(recording) = recording("recorded_privnet.json") else { return };
    let crypto = Secp256k1::new();
    let session = &rows(&recording, "rlpx_sessions")[0];
    let row = &rows(session, "frames")[0];
    let wire = hex(row, "frame");
    for at in 0..wire.len() {
        let (mut initiator, _) = agree(&crypto, &recording, session);
        assert_ne!(text(row, "from"), text(session, "initiator"));
        let mut changed = wire.clone();
        changed[at] ^= 1 << (at % 8);
        initiator.opener.handle_bytes(&crypto, &mut &changed[..], limits::MESSAGE_BYTES_MAX).unwrap_err();
    }
}

#[test]
fn large_messages_of_public_networks_are_read() {
    let Some(recording) = recording("eth_recorded_large.json") else { return };
    let mut messages = 0;
    for row in rows(&recording, "vectors") {
        let payload = hex(row, "hex");
        let name = text(row, "name");
        assert_eq!(payload.len() as u64, row["size"].as_u64().unwrap(), "{name}");
        assert_eq!(keccak256(&payload), array(row, "keccak256"), "{name}");
        rlp::check(&payload, Bounds::MESSAGE).unwrap_or_else(|error| panic!("{name}: {error}"));
        if row["shape"]["list"] == true {
            let list = rlp::list(&payload, Bounds::MESSAGE).unwrap();
            assert_eq!(list.count() as u64, row["shape"]["elements"].as_u64().unwrap(), "{name}");
        }
        let Some(id) = row["message_id"].as_u64() else { continue };
        messages += 1;
        assert!(eth::role(68, id).is_some_and(|role| role != Role::Forbidden), "{name}");

        // Our own compressor is held to it too.
        let mut compressed = Vec::new();
        snappy::Compressor::default().append(&[&payload], &mut compressed);
        let mut inflated = vec![0; snappy::inflated_len(&compressed, limits::ETH_MESSAGE_BYTES_MAX).unwrap()];
        snappy::inflate(&compressed, &mut inflated).unwrap();
        assert!(inflated == payload, "{name}");
        // Cut anywhere, it is no message.
        for cut in (0..payload.len()).step_by(997) {
            assert!(rlp::check(&payload[..cut], Bounds::MESSAGE).is_err(), "{name} cut at {cut}");
        }
    }
    assert_eq!(messages, 5);
}

/// Two handshakes and the sessions that follow them, of geth as both sides: every header, key, signature and message is checked.
#[test]
fn recorded_discv5_sessions_are_followed_and_their_messages_read() {
    let Some(recording) = recording("recorded_privnet.json") else { return };
    let crypto = Secp256k1::new();
    let secret = |row: &Value, side| SecretKey::from_bytes(array(&recording["static_keys"], text(row, side))).unwrap();
    let mut challenge = None;
    let (mut keys, mut kinds) = (None, Vec::new());
    for row in rows(&recording, "discv5_packets") {
        let [from, to] = ["from", "to"].map(|side| crypto.public_key(&secret(row, side)));
        let ids = [from.node_id(), to.node_id()];
        let datagram = hex(row, "hex");
        let packet = discv5::Packet::unmask(&ids[1], &datagram).unwrap().unwrap();
        assert_eq!(*packet.nonce(), array(row, "nonce"));
        let is_initiator = text(row, "from") == "node1";
        let mut plain = Vec::new();
        let opened = match packet.header() {
            discv5::Header::Challenge(sent) => {
                assert_eq!(sent.enr_seq(), row["enr_seq"].as_u64().unwrap());
                challenge = Some(sent);
                continue;
            }
            discv5::Header::Handshake { from: id, proof } => {
                let challenge = challenge.unwrap();
                assert_eq!((id, challenge.as_bytes()[..].to_vec()), (ids[0], hex(row, "challenge_data")));
                let digest = id_proof_digest(challenge.as_bytes(), proof.ephemeral_key, &ids[1]);
                assert!(crypto.verify(&from, &digest, &proof.signature));
                let record = Record::decode(&crypto, proof.record.unwrap()).unwrap();
                assert_eq!((record.to_string().as_str(), *record.key()), (text(row, "record"), from));
                let ephemeral = crypto.public_key_from_compressed(proof.ephemeral_key).unwrap();
                let agreement = crypto.ecdh(&secret(row, "to"), &ephemeral);
                let derived = SessionKeys::derive(&agreement, challenge.as_bytes(), &ids[0], &ids[1]);
                assert_eq!(*derived.initiator.expose(), array(row, "initiator_key"));
                assert_eq!(*derived.recipient.expose(), array(row, "recipient_key"));
                let opened = packet.open(&derived.initiator, &mut plain).unwrap();
                keys = Some(derived);
                opened
            }
            discv5::Header::Ordinary { from: id } => {
                assert_eq!(id, ids[0]);
                if row["message"].is_null() {
                    assert!(packet.open(&MessageKey::new([0; 16]), &mut plain).is_err());
                    continue;
                }
                let keys = keys.as_ref().unwrap();
                let key = if is_initiator { &keys.initiator } else { &keys.recipient };
                assert_eq!(*key.expose(), array(row, "read_key"));
                packet.open(key, &mut plain).unwrap()
            }
        };
        assert_eq!(opened, hex(row, "message"));
        let message = discv5::Message::decode(opened).unwrap();
        let mut written = Vec::new();
        message.encode(&mut written);
        assert_eq!(written, opened);
        if let discv5::Payload::Nodes { records, .. } = &message.payload {
            assert!(records.iter().all(|record| Record::decode(&crypto, record).is_ok()));
        }
        kinds.push(message.payload.kind());
    }
    use discv5::Kind::{FindNode, Nodes, Ping, Pong};
    let mut expected = vec![FindNode, Nodes, FindNode, Nodes, FindNode, Nodes, FindNode, Nodes];
    expected.extend([Ping, FindNode, Ping, Pong, FindNode]);
    assert_eq!(kinds, expected);
    assert_eq!(rows(&recording, "discv5_packets").len(), 17);
}
