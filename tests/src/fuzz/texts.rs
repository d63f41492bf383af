//! Texts of users: records, enode URLs and lists of address ranges.

use std::net::IpAddr;

use peerless::limits::HOST_NAME_BYTES_MAX;
use peerless::netfilter::{Cidr, NetFilter};
use peerless::wire::enode::{Enode, EnodeAddr, Host};
use peerless::wire::enr::{Record, RecordTextError};
use peerless::wire::url::NodeUrl;

use super::crypto::Cheap;
use super::{Choices, Memory, Reached, Target};

/// Record text, in either encoding.
pub const RECORD_TEXT: Target = Target {
    name: "record_text",
    body: record_text,
    memory: Memory::DECODER,
    landmarks: &["record", "base64", "hex", "not a record"],
    generated: (20_000, 410),
};

fn record_text(data: &[u8], reached: &mut Reached) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Record::parse(&Cheap, text) {
        Ok(record) => {
            reached.note("record");
            assert_eq!(Record::parse(&Cheap, &record.to_string()), Ok(record));
        }
        Err(RecordTextError::Base64 { at }) => {
            reached.note("base64");
            assert!(at <= data.len());
        }
        Err(RecordTextError::Hex | RecordTextError::Empty) => reached.note("hex"),
        Err(_) => reached.note("not a record"),
    }
    if let Ok(url) = NodeUrl::parse(&Cheap, text) {
        assert_eq!(NodeUrl::parse(&Cheap, &url.to_string()).map(|again| again.to_string()), Ok(url.to_string()));
        assert!(url.contact().is_none_or(|contact| contact.key() == *url.key()));
    }
}

/// Enode URLs. Keys in text are checked with the real curve, so that one is lent where the text says `KEY`.
pub const ENODE: Target = Target {
    name: "enode",
    body: enode,
    memory: Memory::DECODER,
    landmarks: &["refused", "key alone", "ipv4", "ipv6", "name", "two ports"],
    generated: (20_000, 200),
};

const KEY: &str = "ca634cae0d49acb401d8a4c6b6fe8c55b70d115bf400769cc1400f3258cd31387574077f301b421bc84df7266c44e9e6d569fc56be00812904767bf5ccd1fc7f";

fn enode(data: &[u8], reached: &mut Reached) {
    let text = String::from_utf8_lossy(data).replace("KEY", KEY);
    let Ok(enode) = text.parse::<Enode>() else { return reached.note("refused") };
    match &enode.addr {
        None => reached.note("key alone"),
        Some(EnodeAddr { host, tcp, udp }) => {
            if tcp != udp {
                reached.note("two ports");
            }
            match host {
                Host::Ip(IpAddr::V4(_)) => reached.note("ipv4"),
                Host::Ip(ip @ IpAddr::V6(_)) => {
                    reached.note("ipv6");
                    assert_eq!(ip.to_canonical(), *ip);
                }
                Host::Name(name) => {
                    reached.note("name");
                    assert!(name.len() <= HOST_NAME_BYTES_MAX && name.parse::<IpAddr>().is_err());
                    assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)));
                }
            }
        }
    }
    let again = enode.to_string();
    assert_eq!(again.parse(), Ok(enode.clone()), "{again}");
    match (enode.contact(), &enode.addr) {
        (Some(contact), Some(addr)) => {
            assert_eq!((contact.key(), contact.udp(), contact.tcp()), (enode.key, addr.udp, addr.tcp));
            assert_eq!(contact.to_string(), again);
        }
        (None, Some(addr)) => assert!(matches!(addr.host, Host::Name(_))),
        (contact, None) => assert_eq!(contact, None),
    }
    assert_eq!(NodeUrl::parse(&Cheap, &again).map(|url| url.to_string()), Ok(again));
}

/// Lists of address ranges, against arithmetic on single bits.
pub const NETRESTRICT: Target = Target {
    name: "netrestrict",
    body: netrestrict,
    memory: Memory::DECODER,
    landmarks: &["parsed", "refused", "permitted", "not permitted"],
    generated: (20_000, 80),
};

fn netrestrict(data: &[u8], reached: &mut Reached) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<NetFilter>() {
        Ok(filter) => {
            reached.note("parsed");
            let permits = filter.permits([127, 0, 0, 1].into());
            assert!(permits || text.contains('/'), "an empty list permits everything");
        }
        Err(_) => reached.note("refused"),
    }
    let mut choices = Choices::new(data);
    let address = |choices: &mut Choices<'_>, v6: bool| -> IpAddr {
        if v6 {
            let [high, low] = [choices.array(), choices.array()].map(u64::from_be_bytes);
            (u128::from(high) << 64 | u128::from(low) | 1 << 127).to_be_bytes().into()
        } else {
            [choices.byte(), choices.byte(), choices.byte(), choices.byte()].into()
        }
    };
    let v6 = choices.flag();
    let base = address(&mut choices, v6);
    let bits_max = if v6 { 128 } else { 32 };
    let prefix = choices.below(bits_max + 1);
    let range: Cidr = format!("{base}/{prefix}").parse().expect("well-formed");
    assert_eq!(range.to_string().parse(), Ok(range));
    let ip = if choices.flag() { flipped(base, choices.below(bits_max)) } else { address(&mut choices, v6) };
    // An IPv4 address in IPv6 clothes counts as what it is.
    let expected = ip.to_canonical() == ip && (0..prefix).all(|i| bit(base, i) == bit(ip, i));
    assert_eq!(range.contains(ip), expected, "{range} and {ip}");
    reached.note(if expected { "permitted" } else { "not permitted" });
    assert!(NetFilter::only(vec![range]).permits(ip) == expected);
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

fn bit(ip: IpAddr, i: usize) -> bool {
    octets(ip)[i / 8] >> (7 - i % 8) & 1 == 1
}

fn flipped(ip: IpAddr, i: usize) -> IpAddr {
    let mut octets = octets(ip);
    octets[i / 8] ^= 1 << (7 - i % 8);
    match <[u8; 4]>::try_from(octets.as_slice()) {
        Ok(v4) => v4.into(),
        Err(_) => <[u8; 16]>::try_from(octets.as_slice()).unwrap_or_default().into(),
    }
}
