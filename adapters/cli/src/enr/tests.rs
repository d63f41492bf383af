use peerless::crypto::{Secp256k1, SecretKey};
use peerless::wire::enr::RecordBuilder;

use super::decoded::Decoded;
use super::lint::{self, Severity};
use super::show::Report;
use super::source;

const EXAMPLE: &str = "enr:-IS4QHCYrYZbAKWCBRlAy5zzaDZXJBGkcnh4MHcBFZntXNFrdvJjX04jRzjzCBOonrkTfj499SZuOh8R33Ls8RRcy5wBgmlkgnY0gmlwhH8AAAGJc2VjcDI1NmsxoQPKY0yuDUmstAHYpMa2_oxVtw0RW_QAdpzBQA8yWM0xOIN1ZHCCdl8";

/// A record with these entries, signed; their values are RLP in hexadecimal.
fn record(seq: u64, entries: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = RecordBuilder::default();
    for (key, value) in entries {
        builder.entry(key.as_bytes(), const_hex::decode(value).unwrap());
    }
    let secret = SecretKey::from_bytes([7; 32]).unwrap();
    builder.sign(&Secp256k1::new(), &secret, seq).unwrap().as_bytes().to_vec()
}

fn shown(raw: &[u8]) -> String {
    Report::new(&Decoded::new(raw)).to_string()
}

/// The lint's findings as `severity about`.
fn found(raw: &[u8]) -> Vec<String> {
    let report = lint::Report::new(&Decoded::new(raw), false);
    report.findings().iter().map(|finding| format!("{} {}", finding.severity, finding.about)).collect()
}

#[test]
fn entries_with_a_known_meaning_are_shown_in_words() {
    for (key, value, words) in [
        ("ip", "84c0000201", "192.0.2.1"),
        ("ip6", "9020010db8000000000000000000000001", "2001:db8::1"),
        ("udp", "82765f", "30303"),
        ("quic6", "822329", "9001"),
        ("eth", "c7c68407c9462e80", "07c9462e (mainnet, BPO2), no next fork"),
        ("eth", "c9c68407c9462e800102", "07c9462e (mainnet, BPO2), no next fork, and 2 more items"),
        ("opel", "c7c684deadbeef05", "deadbeef (no public network's), next fork at 5"),
        ("eth2", "90d2f1997f60000910ffffffffffffffff", "consensus layer, fork digest d2f1997f, no next fork"),
        ("eth2", "90d2f1997f600009100008000000000000", "next fork version 60000910 at epoch 2048"),
        ("attnets", "880018000000000080", "attestation subnets 11, 12, 63"),
        ("attnets", "88ffffffffffffffff", "all 64 attestation subnets"),
        ("syncnets", "00", "no sync committee subnets"),
        ("cgc", "04", "4 custody groups"),
        ("nfd", "8401020304", "next fork digest 01020304"),
        ("snap", "c0", "serves snap"),
        ("les", "c101", "serves light clients"),
        ("client", "cc844765746886312e31362e32", "Geth 1.16.2"),
        ("opstack", "820a00", "OP stack consensus layer, chain 10, version 0"),
        ("c", "877420302e312e30", "t 0.1.0"),
    ] {
        let text = shown(&record(1, &[(key, value)]));
        let line = text.lines().find(|line| line.trim_start().starts_with(&format!("{key} "))).unwrap();
        assert!(line.contains(words), "{line} instead of {words}");
    }
}

#[test]
fn malformed_entries_are_named_with_their_bytes() {
    for (key, value, why) in [
        ("udp", "820050", "integer with a leading zero (820050)"),
        ("tcp", "83010000", "65536 is beyond 65535 (83010000)"),
        ("ip", "830a0000", "3 bytes instead of 4 (830a0000)"),
        ("ip6", "c0", "list instead of a string (c0)"),
        ("eth", "c68407c9462e80", "string instead of a list"),
        ("eth", "80", "string instead of a list (80)"),
        ("eth2", "81ff", "1 bytes instead of 16"),
        ("client", "c58447657468", "1 parts instead of two or three"),
        ("snap", "80", "string instead of a list (80)"),
        ("opstack", "81ff", "not two LEB128 numbers"),
        ("c", "820001", "not text (820001)"),
    ] {
        let raw = record(1, &[(key, value)]);
        let text = shown(&raw);
        assert!(text.contains("signature   valid"), "{text}");
        assert!(text.contains(&format!("MALFORMED: {why}")), "{text} lacks {why}");
        assert!(!text.contains(" 0\n"), "{text}");
        assert!(found(&raw).contains(&format!("warning {key}")), "{key}");
    }
}

#[test]
fn unknown_entries_are_shown_as_bytes_and_as_text() {
    let text = shown(&record(1, &[("zz", "83616263"), ("zy", "820001"), ("zx", "c20102")]));
    for line in ["zz         83616263 (\"abc\")", "zy         820001", "zx         c20102"] {
        assert!(text.lines().any(|found| found.trim() == line), "{text} lacks {line}");
    }
}

#[test]
fn an_invalid_record_is_shown_as_far_as_it_can_be_read() {
    let mut raw = source::read(EXAMPLE).unwrap().raw;
    raw[10] ^= 1;
    let text = shown(&raw);
    assert!(text.contains("INVALID     invalid signature") && text.contains("30303"), "{text}");

    let cut = &source::read(EXAMPLE).unwrap().raw[..100];
    assert!(shown(cut).contains("not read    100 bytes: ends too early"), "{}", shown(cut));
    let mut long = source::read(EXAMPLE).unwrap().raw;
    long.extend([0x80; 200]);
    assert!(shown(&long).contains("too large"), "{}", shown(&long));
    assert!(shown(&long).contains("30303"), "{}", shown(&long));
}

/// Every vector that is invalid has a finding that says so.
#[test]
fn every_invalid_record_has_an_error() {
    let vectors: serde_json::Value = serde_json::from_str(include_str!("../../../../vectors/enr.json")).unwrap();
    let mut read = 0;
    for row in vectors["invalid"].as_array().unwrap() {
        // What is no text of a record is refused before.
        let text = row["text"].as_str().or(row["rlp"].as_str()).unwrap();
        let Ok(found) = source::read(text) else { continue };
        read += 1;
        let report = lint::Report::new(&Decoded::new(&found.raw), found.is_padded);
        assert!(report.has_errors(), "{}: {report}", row["name"]);
        shown(&found.raw);
    }
    assert!(read >= 17, "{read}");
    for row in vectors["valid"].as_array().unwrap() {
        let found = source::read(row["text"].as_str().unwrap()).unwrap();
        assert!(!lint::Report::new(&Decoded::new(&found.raw), found.is_padded).has_errors(), "{}", row["name"]);
    }
}

#[test]
fn any_bytes_can_be_shown() {
    let raw = source::read(EXAMPLE).unwrap().raw;
    for at in 0..raw.len() {
        shown(&raw[..at]);
        for value in [0x00, 0x7f, 0x80, 0xb8, 0xc0, 0xf8, 0xff] {
            let mut changed = raw.clone();
            changed[at] = value;
            shown(&changed);
            found(&changed);
        }
    }
}

#[test]
fn each_finding_has_its_severity() {
    const ETH: (&str, &str) = ("eth", "c7c68407c9462e80");
    const IP: (&str, &str) = ("ip", "8405010203");
    const IP6: (&str, &str) = ("ip6", "902a000000000000000000000000000001");
    const UDP: (&str, &str) = ("udp", "82765f");
    const TCP: (&str, &str) = ("tcp", "82765f");
    for (entries, expected) in [
        (&[ETH, IP, UDP, TCP][..], &[][..]),
        (&[ETH, IP, UDP], &["note tcp"]),
        (&[ETH, IP, TCP], &["warning udp"]),
        (&[ETH, IP], &["warning ip"]),
        (&[ETH, UDP, TCP], &["warning ip", "note udp", "note tcp"]),
        (&[ETH, IP, TCP, ("udp", "80")], &["warning udp"]),
        (&[ETH, IP, TCP, ("udp", "820400")], &["warning udp"]),
        (&[ETH, IP, TCP, ("udp", "820401")], &[]),
        (&[IP, UDP, TCP], &["warning eth"]),
        (&[IP, UDP, TCP, ("eth2", "90d2f1997f60000910ffffffffffffffff")], &[]),
        (&[ETH, ("ip", "840a000001"), UDP, TCP], &["warning ip"]),
        (&[ETH, ("ip", "847f000001"), UDP, TCP], &["warning ip"]),
        (&[ETH, ("ip", "8464400001"), UDP, TCP], &["warning ip"]),
        (&[ETH, IP6, UDP, TCP], &["note udp", "note tcp", "note udp6", "note tcp6"]),
        (&[ETH, IP, IP6, UDP, TCP, ("udp6", "82765f"), ("tcp6", "82765f")], &["note udp6", "note tcp6"]),
        (&[ETH, IP, IP6, UDP, TCP, ("udp6", "827660"), ("tcp6", "827660")], &[]),
    ] {
        assert_eq!(found(&record(1, entries)), expected, "{entries:?}");
    }
    assert_eq!(found(&record(0, &[ETH, IP, UDP, TCP])), ["warning sequence"]);
    let mapped = ("ip6", "9000000000000000000000ffff05010203");
    let all = found(&record(1, &[ETH, mapped, ("udp6", "82765f"), ("tcp6", "82765f")]));
    assert!(all.contains(&"warning ip6".to_owned()), "{all:?}");
}

#[test]
fn order_and_repetition_are_found_without_a_valid_signature() {
    let unsorted = const_hex::decode("cc80018275648080826970808080").unwrap();
    let decoded = Decoded::new(&unsorted);
    let report = lint::Report::new(&decoded, false);
    assert!(report.has_errors());
    assert!(report.findings().iter().all(|finding| finding.severity >= Severity::Error));
}

#[test]
fn records_are_read_from_every_encoding() {
    let raw = source::read(EXAMPLE).unwrap().raw;
    let hex = const_hex::encode(&raw);
    for text in [
        EXAMPLE[4..].to_owned(),
        EXAMPLE.replace("enr:", "ENR:"),
        EXAMPLE.replace("enr:", "enr://"),
        format!(" {EXAMPLE} "),
        format!("{EXAMPLE}=="),
        hex.clone(),
        hex.to_uppercase(),
        format!("0x{hex}"),
    ] {
        assert_eq!(source::read(&text).unwrap().raw, raw, "{text}");
    }
    for (text, why) in [
        ("no such file", "there is no file"),
        ("enr:", "empty"),
        ("enr:a+b", "base64"),
        ("0xabc", "hexadecimal"),
        (concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"), "several lines"),
    ] {
        let error = format!("{:#}", source::read(text).unwrap_err());
        assert!(error.contains(why), "{error}");
    }
}
