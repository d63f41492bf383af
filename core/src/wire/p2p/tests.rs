//! The base protocol against vectors, and every encoding seen in the wild.

use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::wire::eth;
use crate::wire::schema::{Message, Role, Schema};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/p2p.json")).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    const_hex::decode(value.as_str().unwrap()).unwrap()
}

fn capabilities(names: &[&str]) -> Vec<Capability> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn hello() -> Hello {
    Hello {
        version: P2P_VERSION,
        client: "peerless/test".into(),
        capabilities: capabilities(&["eth/68", "eth/69", "snap/1"]),
        port: 30303,
        key: [7; 64],
    }
}

#[test]
fn hello_vectors_decode_and_encode() {
    let vectors = vectors();
    let rows = vectors["hello"].as_array().unwrap();
    assert_eq!(rows.len(), 3);
    for row in rows {
        let payload = if row["body"].is_string() {
            let body = bytes(&row["body"]);
            let (id, payload) = split_message(&body).unwrap();
            assert_eq!(id, id::HELLO);
            payload.to_vec()
        } else {
            bytes(&row["payload"])
        };
        let hello = Hello::decode(&payload).unwrap();
        let names: Vec<&str> =
            row["capabilities"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        let expected = Hello {
            version: row["version"].as_u64().unwrap(),
            client: row["client"].as_str().unwrap().into(),
            capabilities: capabilities(&names),
            port: row["port"].as_u64().unwrap(),
            key: bytes(&row["key"]).try_into().unwrap(),
        };
        assert_eq!(hello, expected, "{row}");
        assert_eq!(hello.encode() == payload, row["extra"] == Value::Bool(false), "{row}");
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
    }
}

#[test]
fn malformed_hellos_are_refused() {
    let with_key = |key: &[u8]| {
        let mut rlp = RlpStream::new_list(5);
        rlp.append(&5u64).append(&"x").begin_list(0).append(&0u64).append(&key);
        Hello::decode(&rlp.out())
    };
    assert!(with_key(&[1; 64]).is_ok());
    // Hive's MaliciousHandshake: keys of 65, 128 and 2 bytes.
    for len in [0, 2, 32, 63, 65, 128] {
        assert_eq!(with_key(&vec![1; len]), Err(DecodeError::WrongLength), "{len}");
    }
    let many = |n| Hello { capabilities: vec![Capability::eth(69); n], ..hello() };
    assert_eq!(Hello::decode(&many(128).encode()).unwrap().capabilities.len(), 128);
    assert_eq!(Hello::decode(&many(129).encode()), Err(DecodeError::TooManyItems));
    assert_eq!(Hello::decode(&many(10_000).encode()), Err(DecodeError::TooManyItems));
    let good = hello().encode();
    for cut in 0..good.len() {
        assert!(Hello::decode(&good[..cut]).is_err());
    }
    assert_eq!(Hello::decode(&[&good[..], &[0]].concat()), Err(DecodeError::TrailingBytes));
}

#[test]
fn impossible_capabilities_are_left_out() {
    let mut rlp = RlpStream::new_list(5);
    rlp.append(&5u64).append(&"x").begin_list(6);
    for (name, version) in
        [("eth", 69), ("ninechars", 1), ("", 1), ("e\u{7}h", 1), ("eth", u64::from(u32::MAX) + 1), ("snap", 1)]
    {
        rlp.begin_list(2).append(&name).append(&version);
    }
    rlp.append(&0u64).append(&&[1u8; 64][..]);
    assert_eq!(Hello::decode(&rlp.out()).unwrap().capabilities, capabilities(&["eth/69", "snap/1"]));
}

#[test]
fn client_names_are_printable_and_short() {
    let read = |client: &[u8]| printable(client);
    assert_eq!(
        read("Geth/v1.16.8-stable/linux-amd64/go1.25 (ü)".as_bytes()),
        "Geth/v1.16.8-stable/linux-amd64/go1.25 (ü)"
    );
    assert_eq!(read(b"a\x1b[2J\nb\r\0\x7f"), "a\\u{1b}[2J\\nb\\r\\0\\u{7f}");
    assert_eq!(read("\u{9b}31m\u{202e}\u{2028}\u{200b}".as_bytes()), "\\u{9b}31m\\u{202e}\\u{2028}\\u{200b}");
    assert_eq!(read(b"\xff\xfe").chars().count(), 2, "what is not UTF-8 is replaced");
    assert_eq!(read(&[b'x'; 2048]).len(), 128);
    assert_eq!(read(&[0x1b; 2048]), "\\u{1b}".repeat(21), "no escape is cut in half");
    assert_eq!(read("é".repeat(2000).as_bytes()).chars().count(), 128);
}

#[test]
fn disconnect_vectors_decode_and_encode() {
    let vectors = vectors();
    let rows = vectors["disconnect"]["accept"].as_array().unwrap();
    assert_eq!(rows.len(), 28);
    for row in rows {
        let message = bytes(&row["message"]);
        let (id, payload) = split_message(&message).unwrap();
        let reason = DisconnectReason::decode(payload);
        assert_eq!((id, u64::from(reason.code())), (id::DISCONNECT, row["code"].as_u64().unwrap()), "{row}");
        assert!(!matches!(reason, DisconnectReason::Other(_) | DisconnectReason::Unreadable));
        assert_eq!(DisconnectReason::decode(&reason.encode()), reason);
    }
    for row in vectors["disconnect"]["unreadable"].as_array().unwrap() {
        assert_eq!(DisconnectReason::decode(&bytes(row)), DisconnectReason::Unreadable, "{row}");
    }
}

#[test]
fn disconnects_in_other_encodings_are_read() {
    let decode = |hex: &str| DisconnectReason::decode(&const_hex::decode(hex).unwrap());
    let too_many = DisconnectReason::TooManyPeers;
    for hex in ["04", "8104", "820004", "c104", "c28104", "c3820004", "c20401", "c304c0c0"] {
        assert_eq!(decode(hex), too_many, "{hex}");
    }
    assert_eq!(decode("c281ff"), DisconnectReason::Other(0xff));
    for hex in
        ["", "c0", "c1c0", "820100", "c3820100", "c204", "c10404", "b8", "81", "c181", "f800", "88ffffffffffffffff"]
    {
        assert_eq!(decode(hex), DisconnectReason::Unreadable, "{hex}");
    }
    assert_eq!(DisconnectReason::decode(&[0xff; 2048]), DisconnectReason::Unreadable);
    for code in 0..=255 {
        let reason = DisconnectReason::from_code(code);
        assert_eq!(reason.code(), code);
        assert_eq!(DisconnectReason::decode(&reason.encode()), reason);
        assert!(reason.to_string().len() < 60);
    }
}

#[test]
fn no_readable_disconnect_is_also_a_compressed_one() {
    // Every payload of up to three bytes: a readable payload has no other meaning after inflating.
    for n in 0..1u32 << 24 {
        let payload = n.to_be_bytes();
        let payload = if n < 1 << 8 {
            &payload[3..]
        } else if n < 1 << 16 {
            &payload[2..]
        } else {
            &payload[1..]
        };
        let mut out = [0; 64];
        let inflated = super::super::snappy::inflated_len(payload, out.len())
            .and_then(|len| super::super::snappy::inflate(payload, &mut out[..len]).map(|()| &out[..len]));
        if let Ok(inflated) = inflated
            && DisconnectReason::decode(inflated) != DisconnectReason::Unreadable
        {
            assert_eq!(DisconnectReason::decode(payload), DisconnectReason::Unreadable, "{payload:02x?}");
        }
    }
}

#[test]
fn message_ids_are_canonical_integers() {
    let split = |hex: &str| split_message(&const_hex::decode(hex).unwrap()).map(|(id, payload)| (id, payload.to_vec()));
    assert_eq!(split("00c0"), Ok((0, vec![0xc0])));
    assert_eq!(split("80c0"), Ok((0, vec![0xc0])));
    assert_eq!(split("7f"), Ok((127, vec![])));
    assert_eq!(split("8180c0"), Ok((128, vec![0xc0])));
    assert_eq!(split("88ffffffffffffffff"), Ok((u64::MAX, vec![])));
    assert_eq!(split(""), Err(DecodeError::Truncated));
    assert_eq!(split("8100"), Err(DecodeError::LeadingZero));
    assert_eq!(split("8110"), Err(DecodeError::NonCanonical));
    assert_eq!(split("820000"), Err(DecodeError::LeadingZero));
    assert_eq!(split("8201"), Err(DecodeError::Truncated));
    assert_eq!(split("89ffffffffffffffffff"), Err(DecodeError::IntegerOverflow));
    assert_eq!(split("b8"), Err(DecodeError::IntegerOverflow));
    assert_eq!(split("c101"), Err(DecodeError::ExpectedString));
}

#[test]
fn offsets_follow_names_and_highest_versions() {
    let table = CapabilityTable::default();
    let share = |ours: &[&str], theirs: &[&str]| {
        let shared = table.share(&capabilities(ours), &capabilities(theirs));
        shared.iter().map(|shared| format!("{}@{:#x}", shared.capability, shared.offset)).collect::<Vec<_>>()
    };
    assert_eq!(share(&["eth/68", "snap/1"], &["snap/1", "eth/68"]), ["eth/68@0x10", "snap/1@0x21"]);
    assert_eq!(share(&["snap/1", "eth/69", "eth/68"], &["eth/68", "eth/69", "snap/1"]), ["eth/69@0x10", "snap/1@0x22"]);
    assert_eq!(share(&["eth/71", "snap/1"], &["eth/71", "snap/1"]), ["eth/71@0x10", "snap/1@0x24"]);
    assert_eq!(share(&["eth/72", "snap/2"], &["eth/72", "snap/2"]), ["eth/72@0x10", "snap/2@0x26"]);
    assert_eq!(
        share(&["eth/68", "eth/69"], &["eth/68", "eth/70", "eth/68"]),
        ["eth/68@0x10"],
        "doubled ones count once"
    );
    assert_eq!(share(&["eth/69"], &["eth/68", "ETH/69", "les/4"]), [""; 0], "names are case sensitive");
    assert_eq!(share(&["foo/1"], &["foo/1"]), [""; 0], "what has no length cannot be placed");

    let mut table = table;
    table.register("aaa/7".parse().unwrap(), 3);
    table.register("zz/1".parse().unwrap(), u16::MAX);
    table.register("eth/69".parse().unwrap(), 20);
    let ours = capabilities(&["zz/1", "eth/69", "aaa/7"]);
    let offsets: Vec<_> = table.share(&ours, &ours).iter().map(|shared| (shared.offset, shared.length)).collect();
    assert_eq!(offsets, [(0x10, 3), (0x13, 20), (0x27, 65535)]);
    assert_eq!(table.length(Capability::eth(65)), None);
    let shared = Shared { capability: ours[0], offset: 0x10, length: 3, schema: None };
    assert_eq!([0x0f, 0x10, 0x12, 0x13].map(|id| shared.relative(id)), [None, Some(0), Some(2), None]);
}

#[test]
fn schemas_come_with_known_capabilities_and_with_those_registered() {
    static OWN: Schema = Schema::new(&[
        Message::new(Role::Request { answer: 1 }, 10),
        Message::new(Role::Response, 20),
        Message::new(Role::Announcement, 5),
    ]);
    let mut table = CapabilityTable::empty();
    table.register("eth/69".parse().unwrap(), 18);
    table.register("eth/70".parse().unwrap(), 19);
    table.register("raw/1".parse().unwrap(), 3);
    table.register_schema("own/1".parse().unwrap(), &OWN);
    let schema = |name: &str| {
        let ours = capabilities(&[name]);
        table.share(&ours, &ours)[0].schema
    };
    assert_eq!(schema("eth/69"), eth::schema(69));
    assert_eq!(schema("eth/70"), None, "with a length of its own it is another protocol");
    assert_eq!(schema("raw/1"), None);
    assert_eq!(schema("own/1"), Some(&OWN));
    let own = table.share(&capabilities(&["own/1"]), &capabilities(&["own/1"]))[0];
    assert_eq!((own.length, own.bytes_max(1), own.largest_bytes()), (3, 20, 20));
    let raw = table.share(&capabilities(&["raw/1"]), &capabilities(&["raw/1"]))[0];
    assert_eq!((raw.bytes_max(1), raw.largest_bytes()), (limits::MESSAGE_BYTES_MAX, limits::MESSAGE_BYTES_MAX));
    table.register("own/1".parse().unwrap(), 7);
    assert_eq!(table.share(&capabilities(&["own/1"]), &capabilities(&["own/1"]))[0].schema, None, "it is replaced");
    let default = CapabilityTable::default();
    let all: Vec<_> = default.iter().map(|(capability, length)| format!("{capability} {length}")).collect();
    let known = ["eth/66 17", "eth/67 17", "eth/68 17", "eth/69 18", "eth/70 18", "eth/71 20", "eth/72 22"];
    assert_eq!(all, [&known[..], &["snap/1 8", "snap/2 10"]].concat());
}

#[test]
fn capabilities_are_read_and_shown_as_text() {
    assert_eq!("eth/69".parse(), Ok(Capability::eth(69)));
    assert_eq!(Capability::new("exactly8", 1).unwrap().to_string(), "exactly8/1");
    for text in ["", "eth", "eth/", "/1", "eth/-1", "eth/4294967296", "ninechars/1", "e h/1", "é/1"] {
        assert!(text.parse::<Capability>().is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn ids_return(id: u64) {
        let mut body = Vec::new();
        append_message_id(id, &mut body);
        body.push(0xc0);
        prop_assert_eq!(split_message(&body), Ok((id, &[0xc0][..])));
    }

    #[test]
    fn anything_decodes_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(hello) = Hello::decode(&bytes) {
            prop_assert!(hello.client.chars().count() <= limits::CLIENT_NAME_CHARS_MAX);
        }
        let _ = DisconnectReason::decode(&bytes);
        let name = printable(&bytes);
        prop_assert!(name.chars().all(|c| c == ' ' || c.is_ascii_graphic() || !c.is_control()));
    }
}
