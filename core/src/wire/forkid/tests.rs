//! Every row of `vectors/forkid.json`, and the schedule's edges.

use std::collections::BTreeMap;
use std::string::String;
use std::vec;
use std::vec::Vec;

use serde_json::Value;

use super::*;
use crate::wire::rlp::{self, Bounds};

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../vectors/forkid.json")).unwrap()
}

fn hash<const N: usize>(value: &Value) -> [u8; N] {
    const_hex::decode_to_array(value.as_str().unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
}

fn schedules(vectors: &Value) -> BTreeMap<&str, ForkSchedule> {
    let row = |row: &'_ Value| {
        let genesis_time = row["genesis_time"].as_u64().unwrap();
        ForkSchedule::new(hash(&row["genesis"]), genesis_time, &numbers(&row["blocks"]), &numbers(&row["times"]))
    };
    vectors["schedules"].as_array().unwrap().iter().map(|r| (r["name"].as_str().unwrap(), row(r))).collect()
}

fn rows<'a>(vectors: &'a Value, section: &str, count: usize) -> &'a [Value] {
    let rows = vectors[section].as_array().unwrap();
    assert_eq!(rows.len(), count, "{section}");
    rows
}

fn head(row: &Value) -> Head {
    Head { number: row["head"].as_u64().unwrap(), time: row["time"].as_u64().unwrap(), hash: [0; 32] }
}

fn fork_id(row: &Value) -> ForkId {
    ForkId { hash: hash(&row["hash"]), next: row["next"].as_u64().unwrap() }
}

#[test]
fn ids_at_heads_are_the_published_ones() {
    let vectors = vectors();
    let schedules = schedules(&vectors);
    for row in rows(&vectors, "create", 156) {
        let schedule = &schedules[row["schedule"].as_str().unwrap()];
        assert_eq!(schedule.fork_id(&head(row)), fork_id(row), "{row}");
    }
}

#[test]
fn verdicts_are_the_published_ones() {
    let vectors = vectors();
    let schedules = schedules(&vectors);
    for row in rows(&vectors, "validate", 61) {
        let expected = match row["verdict"].as_str().unwrap() {
            "ok" => Ok(()),
            "remote_stale" => Err(ForkMismatch::RemoteStale),
            "local_incompatible_or_stale" => Err(ForkMismatch::LocalIncompatibleOrStale),
            other => panic!("{other}"),
        };
        let schedule = &schedules[row["schedule"].as_str().unwrap()];
        assert_eq!(schedule.validate(&head(row), fork_id(row)), expected, "{row}");
    }
}

#[test]
fn every_state_of_a_network_is_found() {
    let vectors = vectors();
    let schedules = schedules(&vectors);
    for (name, schedule) in &schedules {
        let rows: Vec<&Value> =
            vectors["states"].as_array().unwrap().iter().filter(|row| row["schedule"] == *name).collect();
        for (passed, row) in rows.iter().enumerate() {
            let id = fork_id(row);
            let (found, next) = schedule.find(id.hash).unwrap();
            assert_eq!((found, next.map_or(0, Fork::at)), (passed, id.next), "{row}");
            let at = row["at"].as_u64();
            let fork = passed.checked_sub(1).and_then(|last| schedule.forks().nth(last));
            let expected = match row["kind"].as_str().unwrap() {
                "genesis" => None,
                "block" => at.map(Fork::Block),
                _ => at.map(Fork::Time),
            };
            assert_eq!(fork, expected, "{row}");
        }
        if !rows.is_empty() {
            assert_eq!(schedule.forks().count() + 1, rows.len(), "{name}");
        }
    }
}

#[test]
fn ids_are_encoded_as_specified() {
    let vectors = vectors();
    for row in rows(&vectors, "encode", 3) {
        let mut stream = RlpStream::new();
        fork_id(row).append(&mut stream);
        let encoded = const_hex::decode(row["rlp"].as_str().unwrap()).unwrap();
        assert_eq!(stream.out(), encoded, "{row}");
        let mut wrapped = vec![0xc0 + encoded.len() as u8];
        wrapped.extend(&encoded);
        let mut list = rlp::list(&wrapped, Bounds::SMALL).unwrap();
        assert_eq!(ForkId::decode(&mut list), Ok(fork_id(row)));
    }
}

#[test]
fn malformed_ids_are_refused() {
    let cases = [
        ("c0", DecodeError::MissingField),
        ("c180", DecodeError::ExpectedList),
        ("c1c0", DecodeError::MissingField),
        // A hash without its leading zero, and one as a list.
        ("c6c58322334480", DecodeError::WrongLength),
        ("c4c3c2c080", DecodeError::ExpectedString),
        ("c6c58411223344", DecodeError::MissingField),
        ("c7c6841122334400", DecodeError::LeadingZero),
        ("d0cf841122334489010000000000000000", DecodeError::IntegerOverflow),
        ("c8c784112233448001", DecodeError::TooManyItems),
    ];
    for (text, error) in cases {
        let bytes = const_hex::decode(text).unwrap();
        let decoded = rlp::list(&bytes, Bounds::SMALL).and_then(|mut list| ForkId::decode(&mut list));
        assert_eq!(decoded, Err(error), "{text}");
    }
}

#[test]
fn public_networks_are_the_published_ones() {
    let vectors = vectors();
    let schedules = schedules(&vectors);
    for name in PUBLIC_NETWORKS {
        let network = Network::public(name).unwrap();
        let published = if name == "sepolia" { "sepolia_amsterdam" } else { name };
        assert_eq!(network.schedule, schedules[published], "{name}");
        let rows = vectors["schedules"].as_array().unwrap();
        let row = rows.iter().find(|row| row["name"] == name).unwrap();
        assert_eq!(Some(network.network_id), row["network_id"].as_u64());
        assert_eq!(network.name, name);
        assert!(network.schedule.forks().all(|fork| network.fork_name(fork).is_some()), "{name}");
        assert_eq!(Network::public_by_genesis(network.schedule.genesis()).as_ref(), Some(&network));
    }
    assert_eq!(Network::public("ropsten"), None);
    assert_eq!(Network::public_by_genesis(&[0; 32]), None);
}

#[test]
fn order_and_repetition_of_forks_do_not_matter() {
    let schedule = ForkSchedule::new([7; 32], 1000, &[0, 20, 10, 20, 0, 10], &[1000, 3000, 999, 0, 2000, 3000]);
    let forks: Vec<Fork> = schedule.forks().collect();
    assert_eq!(forks, [Fork::Block(10), Fork::Block(20), Fork::Time(2000), Fork::Time(3000)]);
    let at = |number, time| schedule.passed_and_next(&Head { number, time, hash: [0; 32] });
    assert_eq!(at(0, 0), (0, Some(Fork::Block(10))));
    // A time fork cannot be passed before the block forks are.
    assert_eq!(at(10, 5000), (1, Some(Fork::Block(20))));
    assert_eq!(at(20, 1999), (2, Some(Fork::Time(2000))));
    assert_eq!(at(u64::MAX, u64::MAX), (4, None));
}

#[test]
fn announced_timestamps_are_recognised_among_block_forks() {
    let schedule = ForkSchedule::new([7; 32], 0, &[10], &[]);
    let hash = schedule.fork_id(&Head::default()).hash;
    let judge = |number, time, next| {
        let head = Head { number, time, hash: [0; 32] };
        schedule.validate(&head, ForkId { hash, next })
    };
    assert_eq!(judge(9, 1_500_000_000, 1_500_000_000), Err(ForkMismatch::LocalIncompatibleOrStale));
    assert_eq!(judge(9, 1_500_000_000, 1_500_000_001), Ok(()));
    // Up to the threshold the number is a block number.
    assert_eq!(judge(9, 1_500_000_000, TIMESTAMP_THRESHOLD), Ok(()));
    assert_eq!(judge(9, 1_500_000_000, TIMESTAMP_THRESHOLD + 1), Err(ForkMismatch::LocalIncompatibleOrStale));
    assert_eq!(judge(9, 1_500_000_000, 9), Err(ForkMismatch::LocalIncompatibleOrStale));
}

#[test]
fn old_records_pass_the_static_check_only() {
    let schedule = Network::public("mainnet").unwrap().schedule;
    let now = Head { number: 24_000_000, time: 1_800_000_000, hash: [0; 32] };
    let shanghai = ForkId { hash: [0xdc, 0xe9, 0x6c, 0x2d], next: 0 };
    assert_eq!(schedule.validate(&now, shanghai), Err(ForkMismatch::RemoteStale));
    assert_eq!(schedule.validate_static(shanghai), Ok(()));
    let sepolia = Network::public("sepolia").unwrap().schedule.fork_id(&now);
    assert_eq!(schedule.validate_static(sepolia), Err(ForkMismatch::LocalIncompatibleOrStale));
}

#[test]
fn ids_are_shown_in_hexadecimal() {
    let text = |id: ForkId| -> String { std::format!("{id}") };
    assert_eq!(text(ForkId { hash: [0, 0xc9, 0x46, 0x2e], next: 0 }), "00c9462e");
    assert_eq!(text(ForkId { hash: [0xf0, 0xaf, 0xd0, 0xe3], next: 1_681_338_455 }), "f0afd0e3/1681338455");
}

/// The check value of CRC-32/ISO-HDLC.
#[test]
fn crc32_has_its_check_value() {
    let mut crc = Crc32::default();
    crc.update(b"123456789");
    assert_eq!(crc.value(), 0xcbf4_3926_u32.to_be_bytes());
}
