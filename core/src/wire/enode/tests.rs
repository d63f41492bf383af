//! The enode rows of `vectors/enr.json`, and what they leave out.

use std::format;
use std::string::{String, ToString};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::crypto::Secp256k1;

const KEY: &str = "1dd9d65c4552b5eb43d5ad55a2ee3f56c6cbc1c64a5c8d659f51fcd51bace24351232b8d7821617d2b29b54b81cdefb9\
                   b3e9c37d7fd5f63270bcc9e1a6f6a439";

fn parse(text: &str) -> Result<Enode, EnodeError> {
    text.parse()
}

/// A URL of `KEY` with `tail`.
fn at(tail: &str) -> Result<Enode, EnodeError> {
    parse(&format!("enode://{KEY}@{tail}"))
}

#[test]
fn vectors_are_read_or_refused() {
    let vectors: Value = serde_json::from_str(include_str!("../../../vectors/enr.json")).unwrap();
    let rows = vectors["enode"].as_array().unwrap();
    assert_eq!(rows.len(), 41);
    for row in rows {
        let url = row["url"].as_str().unwrap();
        let parsed = parse(url);
        if let Some(error) = row["error"].as_str() {
            assert_eq!(format!("{:?}", parsed.unwrap_err()), error, "{row}");
            continue;
        }
        let enode = parsed.unwrap();
        assert_eq!(enode.key.to_string(), row["key"].as_str().unwrap(), "{row}");
        let host = match (row["ip"].as_str(), row["name"].as_str()) {
            (Some(ip), _) => Some(Host::Ip(ip.parse().unwrap())),
            (_, Some(name)) => Some(Host::Name(name.into())),
            _ => None,
        };
        let port = |name: &str| row[name].as_u64().map(|port| port as u16);
        let expected = host.map(|host| EnodeAddr { host, tcp: port("tcp").unwrap(), udp: port("udp").unwrap() });
        assert_eq!(enode.addr, expected, "{row}");
        assert_eq!(parse(&enode.to_string()), Ok(enode), "{row}");
    }
}

#[test]
fn urls_are_written_in_one_form() {
    for text in ["1.2.3.4:30303", "1.2.3.4:0?discport=30301", "[2001:db8::1]:30303?discport=0", "node.example.:1"] {
        let url = format!("enode://{KEY}@{text}");
        assert_eq!(parse(&url).unwrap().to_string(), url);
    }
    assert_eq!(parse(KEY).unwrap().to_string(), format!("enode://{KEY}"));
    // Equivalent forms are written in one form.
    assert_eq!(at("1.2.3.4:30303?discport=30303"), at("1.2.3.4:30303"));
    assert_eq!(at("[::ffff:1.2.3.4]:1"), at("1.2.3.4:1"));
    let contact = at("[2001:db8::1]:7?discport=8").unwrap().contact().unwrap();
    assert_eq!(contact.to_string(), format!("enode://{KEY}@[2001:db8::1]:7?discport=8"));
    assert_eq!((contact.id, contact.tcp, contact.udp), (contact.key.node_id(), 7, 8));
    assert_eq!(at("node.example:1").unwrap().contact(), None);
    assert_eq!(parse(KEY).unwrap().contact(), None);
}

#[test]
fn deviations_that_geth_accepts_are_accepted() {
    let expected = at("1.2.3.4:30303");
    let upper = KEY.to_uppercase();
    for text in [
        format!("ENODE://{upper}@1.2.3.4:30303"),
        format!("  enode://{KEY}@1.2.3.4:30303\n"),
        format!("enode://{KEY}@1.2.3.4:030303/"),
        format!("enode://{KEY}@1.2.3.4:30303/?name=x&discport=30303&discport=1"),
    ] {
        assert_eq!(parse(&text), expected, "{text}");
    }
    assert_eq!(parse(&upper), parse(&format!("enode://{KEY}")));
}

#[test]
fn malformed_urls_are_refused_with_the_reason() {
    use EnodeError::{DiscPort, Host, HostBrackets, HostMissing, Port, PortMissing, Scheme, Tail};
    let long_name = format!("{}:1", "a.".repeat(127));
    let long_label = format!("{}:1", "a".repeat(64));
    for (tail, error) in [
        ("1.2.3.4", PortMissing),
        ("1.2.3.4:", PortMissing),
        ("[::1]", PortMissing),
        ("[::1]30303", PortMissing),
        (":30303", HostMissing),
        ("[::1", Host),
        ("[]:1", Host),
        ("[1.2.3.4]:1", Host),
        ("[fe80::1%25eth0]:1", Host),
        ("::1", HostBrackets),
        ("2001:db8::1:30303", HostBrackets),
        ("1.2.3:1", Host),
        ("0x7f000001.1:1", Host),
        ("a..b:1", Host),
        (".:1", Host),
        ("a b:1", Host),
        ("ü.example:1", Host),
        ("user@1.2.3.4:1", Host),
        (&long_name, Host),
        (&long_label, Host),
        ("1.2.3.4:+1", Port),
        ("1.2.3.4: 1", Port),
        ("2001:db8:0:0:0:0:0:1:30303", HostBrackets),
        ("1.2.3.4:1:1", Host),
        ("1.2.3.4:1?discport=", DiscPort),
        ("1.2.3.4:1?discport=+2", DiscPort),
        ("1.2.3.4:1/path", Tail),
        ("1.2.3.4:1//", Tail),
        ("1.2.3.4:1#name", Tail),
    ] {
        assert_eq!(at(tail), Err(error), "{tail}");
    }
    assert_eq!(parse(&format!("{KEY}@1.2.3.4:1")), Err(Scheme));
    assert_eq!(parse(&format!("enode:{KEY}")), Err(Scheme));
    assert_eq!(parse("ééééééé"), Err(Scheme));
    assert_eq!(parse("enode://"), Err(EnodeError::KeyLength));
    let off_curve = KEY.replace("a439", "a438");
    assert_eq!(parse(&off_curve), Err(EnodeError::KeyNotOnCurve));
    assert_eq!(parse(&"0".repeat(128)), Err(EnodeError::KeyNotOnCurve));
    assert_eq!(parse(&format!("enode://{}@1.2.3.4:1", "é".repeat(64))), Err(EnodeError::KeyDigits));
}

proptest! {
    #[test]
    fn every_enode_survives(ip: IpAddr, name in "[a-z][a-z0-9-]{0,9}(\\.[a-z_]{1,9}){0,3}\\.?", by_name: bool, tcp: u16, udp: u16) {
        let host = if by_name { Host::Name(name) } else { Host::Ip(ip.to_canonical()) };
        let enode = Enode { key: parse(KEY).unwrap().key, addr: Some(EnodeAddr { host, tcp, udp }) };
        prop_assert_eq!(parse(&enode.to_string()), Ok(enode));
    }

    #[test]
    fn no_text_panics(text: String, tail in "[0-9a-z:@/?#.\\[\\]&=%-]{0,40}") {
        let _ = parse(&text);
        for text in [format!("enode://{text}"), format!("enode://{KEY}@{text}"), format!("enode://{KEY}@{tail}")] {
            if let Ok(enode) = parse(&text) {
                prop_assert_eq!(parse(&enode.to_string()), Ok(enode));
            }
        }
    }
}

#[test]
fn a_contact_at_another_address_keeps_its_key_and_id() {
    let key = PublicKey::from_xy_secp256k1(&const_hex::decode_to_array(KEY).unwrap()).unwrap();
    let contact = Contact::new(key, [9, 9, 9, 9].into(), 1, 2);
    let moved = contact.with_ip("::ffff:8.8.8.8".parse().unwrap()).with_udp(3).with_tcp(4);
    assert_eq!((moved.key(), moved.id()), (key, key.node_id()));
    assert_eq!((moved.udp_addr(), moved.tcp_addr()), ("8.8.8.8:3".parse().unwrap(), "8.8.8.8:4".parse().unwrap()));
    assert_eq!(Contact::with_crypto(&Secp256k1::new(), key, [9, 9, 9, 9].into(), 1, 2), contact);
}
