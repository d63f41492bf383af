//! Every record row of `vectors/enr.json`, the attacks on records, and making them.

use std::collections::BTreeMap;
use std::format;
use std::net::SocketAddr;
use std::string::{String, ToString};
use std::vec;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::crypto::SecretKey;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/enr.json")).unwrap()
}

fn rows<'a>(vectors: &'a Value, section: &str, count: usize) -> &'a [Value] {
    let rows = vectors[section].as_array().unwrap();
    assert_eq!(rows.len(), count, "{section}");
    rows
}

fn hex(value: &Value) -> Vec<u8> {
    const_hex::decode(value.as_str().unwrap()).unwrap()
}

fn secret() -> SecretKey {
    SecretKey::from_bytes([7; 32]).unwrap()
}

#[test]
fn valid_records_decode() {
    let crypto = Secp256k1::new();
    let vectors = vectors();
    for row in rows(&vectors, "valid", 32) {
        let text = row["text"].as_str().unwrap();
        let record = Record::parse(&crypto, text).unwrap();
        assert_eq!(record.to_string(), text);
        assert_eq!(Record::decode(&crypto, record.as_bytes()), Ok(record.clone()));
        if let Some(tcp) = row["tcp"].as_u64() {
            assert_eq!(record.tcp().map(u64::from), Some(tcp));
        }
        let Some(seq) = row["seq"].as_u64() else { continue };
        assert_eq!(record.seq(), seq, "{row}");
        assert_eq!(record.as_bytes(), hex(&row["rlp"]), "{row}");
        assert_eq!(record.key().compressed().as_slice(), hex(&row["key"]), "{row}");
        assert_eq!(record.key().node_id().0.as_slice(), hex(&row["node_id"]), "{row}");

        // One character of a key is one byte.
        let key = |key: &Value| key.as_str().unwrap().chars().map(|c| c as u8).collect::<Vec<u8>>();
        let expected: Vec<_> =
            row["entries"].as_array().unwrap().iter().map(|entry| (key(&entry[0]), hex(&entry[1]))).collect();
        let entries: Vec<_> = record.entries().map(|(key, value)| (key.to_vec(), value.to_vec())).collect();
        assert_eq!(entries, expected, "{row}");
        for (key, value) in &expected {
            assert_eq!(record.get(key), Some(value.as_slice()), "{row}");
        }
        assert_eq!(record.get(b"absent"), None);

        // Signatures follow RFC 6979: the same key makes the same bytes.
        if row["private_key"].is_string() {
            let secret = SecretKey::from_bytes(hex(&row["private_key"]).try_into().unwrap()).unwrap();
            let mut builder = RecordBuilder::default();
            for (key, value) in expected {
                builder.entry(&key, value);
            }
            assert_eq!(builder.sign(&crypto, &secret, seq), Ok(record), "{row}");
        }
    }
}

#[test]
fn invalid_records_are_refused() {
    let crypto = Secp256k1::new();
    let vectors = vectors();
    for row in rows(&vectors, "invalid", 23) {
        let error = match row["text"].as_str() {
            Some(text) => Record::parse(&crypto, text).unwrap_err(),
            None => RecordTextError::Record(Record::decode(&crypto, &hex(&row["rlp"])).unwrap_err()),
        };
        let name = match error {
            RecordTextError::Record(error) => format!("{error:?}"),
            RecordTextError::Base64 { .. } => "Base64".into(),
            other => format!("{other:?}"),
        };
        assert_eq!(name, row["error"].as_str().unwrap(), "{row}");
    }
}

#[test]
fn invalid_entries_count_as_absent() {
    let vectors = vectors();
    for row in rows(&vectors, "invalid_entry", 3) {
        let record: Record = row["text"].as_str().unwrap().parse().unwrap();
        assert!(record.get(row["entry"].as_str().unwrap().as_bytes()).is_some());
        assert_eq!((record.tcp(), record.tcp6()), (None, None), "{row}");
    }
    let mut builder = RecordBuilder::default();
    let broken: [(&[u8], &[u8]); 7] = [
        (b"eth", &[0xc6, 0x84, 1, 2, 3, 4, 0x80]),
        (b"ip", &[0x83, 1, 2, 3]),
        (b"ip6", &[0x84, 1, 2, 3, 4]),
        (b"tcp", &[0xc0]),
        (b"tcp6", &[0x83, 1, 0, 0]),
        (b"udp", &[5]),
        (b"udp6", &[0]),
    ];
    for (key, value) in broken {
        builder.entry(key, value.into());
    }
    let record = builder.sign(&Secp256k1::new(), &secret(), 1).unwrap();
    assert_eq!((record.ip(), record.ip6(), record.fork_id(), record.contact()), (None, None, None, None));
    // A malformed IPv6 port falls back as an absent one does.
    assert_eq!((record.tcp(), record.tcp6(), record.udp(), record.udp6()), (None, None, Some(5), Some(5)));
}

#[test]
fn malformed_containers_are_refused() {
    let vectors = vectors();
    for row in rows(&vectors, "shape", 6) {
        let error = Record::decode(&Secp256k1::new(), &hex(&row["rlp"])).unwrap_err();
        let expected = if row["complete"] == true { DecodeError::UnknownScheme } else { DecodeError::MissingField };
        assert_eq!(error, expected, "{row}");
    }
}

#[test]
fn contacts_follow_the_vectors() {
    let crypto = Secp256k1::new();
    let vectors = vectors();
    for row in rows(&vectors, "contact", 20) {
        let mut builder = RecordBuilder::default();
        for (key, value) in row["entries"].as_object().unwrap() {
            let value = match (value.as_u64(), value.as_str().map(|ip| ip.parse().unwrap())) {
                (Some(port), _) => ::rlp::encode(&port).to_vec(),
                (_, Some(IpAddr::V4(ip))) => ::rlp::encode(&ip.octets().as_slice()).to_vec(),
                (_, Some(IpAddr::V6(ip))) => ::rlp::encode(&ip.octets().as_slice()).to_vec(),
                _ => panic!("{row}"),
            };
            builder.entry(key.as_bytes(), value);
        }
        let record = builder.sign(&crypto, &secret(), 1).unwrap();
        let ip: Option<IpAddr> = row["ip"].as_str().map(|ip| ip.parse().unwrap());
        let (udp, tcp) = (row["udp"].as_u64().unwrap_or(0), row["tcp"].as_u64().unwrap_or(0));
        let contact = record.contact();
        assert_eq!(contact.map(|contact| contact.ip()), ip, "{row}");
        let ports = match contact {
            Some(contact) => (contact.udp(), contact.tcp()),
            None => (record.udp().unwrap_or(0), record.tcp().unwrap_or(0)),
        };
        assert_eq!((u64::from(ports.0), u64::from(ports.1)), (udp, tcp), "{row}");
    }
}

#[test]
fn contacts_follow_the_wider_scope() {
    let crypto = Secp256k1::new();
    let contact = |addrs: &[&str]| {
        let mut builder = RecordBuilder::default();
        for addr in addrs {
            let (addr, tcp) = addr.split_once('/').unwrap();
            builder.endpoint(addr.parse().unwrap(), tcp.parse().unwrap());
        }
        builder.sign(&crypto, &secret(), 1).unwrap().contact().map(|contact| (contact.udp_addr(), contact.tcp()))
    };
    let at = |addr: &str, tcp| Some((addr.parse::<SocketAddr>().unwrap(), tcp));
    assert_eq!(contact(&["9.9.9.9:1/2", "[2a00::1]:3/4"]), at("9.9.9.9:1", 2));
    assert_eq!(contact(&["224.0.0.1:1/2", "[fd00::1]:3/4"]), at("[fd00::1]:3", 4));
    assert_eq!(contact(&["10.0.0.1:1/2", "[ff02::1]:3/4"]), at("10.0.0.1:1", 2));
    assert_eq!(contact(&["224.0.0.1:1/2", "[ff02::1]:3/4"]), None);
    assert_eq!(contact(&["10.0.0.1:1/2", "[2a00::1]:3/0"]), at("[2a00::1]:3", 2));
    assert_eq!(contact(&["[2a00::1]:0/4"]), at("[2a00::1]:0", 4));
    assert_eq!(contact(&["[::ffff:9.9.9.9]:1/2"]), at("9.9.9.9:1", 2));
    // The last call applies, including its zeros.
    assert_eq!(contact(&["9.9.9.9:1/2", "9.9.9.8:3/0"]), at("9.9.9.8:3", 0));

    // An IPv4 address as an `ip6` entry.
    let mut mapped = vec![0x90];
    mapped.extend("::ffff:9.9.9.9".parse::<Ipv6Addr>().unwrap().octets());
    let mut builder = RecordBuilder::default();
    builder.entry(b"ip6", mapped).entry(b"udp", vec![5]).entry(b"udp6", vec![6]);
    let record = builder.sign(&crypto, &secret(), 1).unwrap();
    assert_eq!(record.contact().map(|contact| contact.udp_addr()), Some("9.9.9.9:5".parse().unwrap()));
}

#[test]
fn fork_ids_are_read_from_the_eth_entry() {
    let crypto = Secp256k1::new();
    let vectors = vectors();
    let row = |name: &str| {
        let row = vectors["valid"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
        row["text"].as_str().unwrap().parse::<Record>().unwrap().fork_id()
    };
    assert_eq!(row("sigp_eth_entry"), Some(ForkId { hash: [0xcb, 0xdb, 0x88, 0x38], next: 0 }));
    assert_eq!(row("derived_eth_entry_with_extra"), Some(ForkId { hash: [0x07, 0xc9, 0x46, 0x2e], next: 0 }));
    assert_eq!(row("eip778_example"), None);
    let fork_id = ForkId { hash: [0, 1, 2, 3], next: u64::MAX };
    let record = RecordBuilder::default().fork_id(fork_id).sign(&crypto, &secret(), 1).unwrap();
    assert_eq!(record.fork_id(), Some(fork_id));
}

#[test]
fn text_forms_are_read_or_refused() {
    let vectors = vectors();
    let text = vectors["valid"][0]["text"].as_str().unwrap();
    let record: Record = text.parse().unwrap();
    let hex = const_hex::encode(record.as_bytes());
    let bare = text.strip_prefix("enr:").unwrap();
    for form in [&format!(" {text}\r\n"), bare, &hex, &format!("0x{hex}"), &format!("\t{} ", hex.to_uppercase())] {
        assert_eq!(form.parse(), Ok(record.clone()), "{form}");
    }
    let error = |text: &str| text.parse::<Record>().unwrap_err();
    assert_eq!(error(""), RecordTextError::Empty);
    assert_eq!(error(" enr: "), RecordTextError::Empty);
    assert_eq!(error("0x"), RecordTextError::Empty);
    assert_eq!(error(&hex[1..]), RecordTextError::Hex);
    assert_eq!(error("ENR:-IS4"), RecordTextError::Hex);
    assert_eq!(
        error(&format!("enr:{}", bare.replace('_', "/"))),
        RecordTextError::Base64 { at: bare.find('_').unwrap() }
    );
    assert!(matches!(error(&format!("{text}é")), RecordTextError::Base64 { .. }));
    assert_eq!(error(&format!("enr:{}", "A".repeat(401))), RecordTextError::Record(DecodeError::TooLarge));
    assert_eq!(error(&"f9".repeat(301)), RecordTextError::Record(DecodeError::TooLarge));
    assert_eq!(error(&hex[..hex.len() - 2]), RecordTextError::Record(DecodeError::Truncated));
}

#[test]
fn built_records_decode() {
    let crypto = Secp256k1::new();
    // The example of EIP-778.
    let vectors = vectors();
    let row = &vectors["valid"][0];
    let example = SecretKey::from_bytes(hex(&row["private_key"]).try_into().unwrap()).unwrap();
    let record = RecordBuilder::default().endpoint("127.0.0.1:30303".parse().unwrap(), 0).sign(&crypto, &example, 1);
    assert_eq!(record.unwrap().to_string(), row["text"].as_str().unwrap());

    // Scheme and key are set by the signer.
    let mut builder = RecordBuilder::default();
    builder.entry(b"id", vec![0x82, b'v', b'5']).entry(b"secp256k1", vec![0x80]);
    let record = builder.sign(&crypto, &secret(), u64::MAX).unwrap();
    assert_eq!((record.seq(), record.key()), (u64::MAX, &crypto.public_key(&secret())));

    // Up to 300 bytes, but not more.
    let size = |filler: usize| {
        let filler = ::rlp::encode(&vec![b'x'; filler]).to_vec();
        RecordBuilder::default().entry(b"z", filler).sign(&crypto, &secret(), 1).map(|record| record.as_bytes().len())
    };
    assert_eq!(size(177), Ok(300));
    assert_eq!(size(178), Err(DecodeError::TooLarge));
    for (value, error) in [
        (&[][..], DecodeError::MissingField),
        (&[0x82, 1], DecodeError::Truncated),
        (&[0x81, 1], DecodeError::NonCanonical),
        (&[1, 2], DecodeError::MissingField),
    ] {
        assert_eq!(RecordBuilder::default().entry(b"z", value.into()).sign(&crypto, &secret(), 1), Err(error));
    }
}

/// Attack D18: a record with any changed bit is refused.
#[test]
fn a_record_with_any_changed_bit_is_refused() {
    let crypto = Secp256k1::new();
    let mut builder = RecordBuilder::default();
    builder.endpoint("9.9.9.9:30303".parse().unwrap(), 30303).fork_id(ForkId { hash: [1; 4], next: 5 });
    let record = builder.sign(&crypto, &secret(), 77).unwrap();
    let mut raw = record.as_bytes().to_vec();
    for bit in 0..raw.len() * 8 {
        raw[bit / 8] ^= 1 << (bit % 8);
        assert!(Record::decode(&crypto, &raw).is_err(), "bit {bit}");
        raw[bit / 8] ^= 1 << (bit % 8);
    }
    for length in 0..raw.len() {
        assert!(Record::decode(&crypto, &raw[..length]).is_err());
    }
    assert_eq!(Record::decode(&crypto, &raw), Ok(record));
}

#[test]
fn a_record_is_small() {
    assert!(size_of::<Record>() <= 88);
}

proptest! {
    #[test]
    fn entries_survive(
        seq: u64,
        entries in proptest::collection::btree_map(
            proptest::collection::vec(any::<u8>(), 0..6), proptest::collection::vec(any::<u8>(), 0..16), 0..6),
    ) {
        let crypto = Secp256k1::new();
        let mut builder = RecordBuilder::default();
        for (key, value) in &entries {
            builder.entry(key, ::rlp::encode(value).to_vec());
        }
        let record = builder.sign(&crypto, &secret(), seq).unwrap();
        prop_assert_eq!(record.seq(), seq);
        let own = |key: &[u8]| key == b"id" || key == b"secp256k1";
        let read: BTreeMap<_, _> = record.entries().filter(|(key, _)| !own(key)).collect();
        prop_assert_eq!(read.len(), entries.len());
        for (key, value) in &entries {
            prop_assert_eq!(record.get(key), Some(&*::rlp::encode(value)));
        }
        prop_assert_eq!(Record::parse(&crypto, &record.to_string()), Ok(record));
    }

    #[test]
    fn no_bytes_and_no_text_panic(bytes in proptest::collection::vec(any::<u8>(), 0..310), text: String, body in "[A-Za-z0-9_=-]{0,80}") {
        let crypto = Secp256k1::new();
        prop_assert!(Record::decode(&crypto, &bytes).is_err());
        for text in [text.clone(), format!("enr:{text}"), format!("enr:{body}"), format!("0x{body}"), format!("-I{body}")] {
            prop_assert!(Record::parse(&crypto, &text).is_err());
        }
    }
}
