//! Node records and fork ids.

use std::collections::BTreeSet;

use ::rlp::RlpStream;
use peerless::crypto::Crypto;
use peerless::limits::RECORD_BYTES_MAX;
use peerless::wire::enr::{Record, RecordBuilder};
use peerless::wire::forkid::{Fork, ForkId, ForkMismatch, ForkSchedule, Head};
use peerless::wire::rlp::{self, Bounds};

use super::crypto::{Cheap, secret};
use super::{Choices, Memory, Reached, Target};

/// A record as given, and with a valid signature, so that the checks behind it are reached.
pub const RECORD: Target = Target {
    name: "record",
    body: record,
    memory: Memory::DECODER,
    landmarks: &["as it stands", "signed", "refused", "contact", "fork id"],
    generated: (10_000, 310),
};

fn record(data: &[u8], reached: &mut Reached) {
    if let Ok(record) = Record::decode(&Cheap, data) {
        reached.note("as it stands");
        examine(&record, data, reached);
    }
    let Some(signed) = sign(data) else { return };
    match Record::decode(&Cheap, &signed) {
        Ok(record) => {
            reached.note("signed");
            examine(&record, &signed, reached);
            let mut tampered = signed.clone();
            let bit = data.len() * 7 % (signed.len() * 8);
            tampered[bit / 8] ^= 1 << (bit % 8);
            let forged = Record::decode(&Cheap, &tampered);
            assert!(forged.is_err(), "bit {bit} of {}", const_hex::encode(&signed));
        }
        Err(_) => reached.note("refused"),
    }
}

/// The items of the list `data`, the first replaced by a signature that fits the `secp256k1` entry of ours.
fn sign(data: &[u8]) -> Option<Vec<u8>> {
    let mut items = rlp::list(data, Bounds::SMALL).ok()?;
    items.raw().ok()?;
    let mut content = Vec::new();
    while let Ok(item) = items.raw() {
        content.extend_from_slice(item);
        if item == b"\x89secp256k1" && items.raw().is_ok() {
            content.extend_from_slice(&string(&Cheap.public_key(&secret(1)).compressed()));
        }
    }
    let digest = peerless::crypto::keccak256(&list(&content));
    let signature = Cheap.sign(&secret(1), &digest).without_recovery_id();
    Some(list(&[string(&signature.0), content].concat()))
}

fn string(bytes: &[u8]) -> Vec<u8> {
    let mut stream = RlpStream::new();
    stream.append(&bytes);
    stream.out().to_vec()
}

fn list(content: &[u8]) -> Vec<u8> {
    let mut stream = RlpStream::new();
    stream.begin_unbounded_list();
    stream.append_raw(content, 1);
    stream.finalize_unbounded_list();
    stream.out().to_vec()
}

fn examine(record: &Record, raw: &[u8], reached: &mut Reached) {
    assert!(raw.len() <= RECORD_BYTES_MAX);
    assert_eq!(record.as_bytes(), raw, "one encoding each");
    let names: Vec<&[u8]> = record.entries().map(|(name, _)| name).collect();
    assert!(names.windows(2).all(|pair| pair[0] < pair[1]), "strictly ascending");
    for (name, value) in record.entries() {
        assert_eq!(record.get(name), Some(value));
        assert_eq!(rlp::check(value, Bounds::SMALL), Ok(value.len()));
    }
    assert_eq!(record.get(b"id"), Some(&b"\x82v4"[..]));
    if record.fork_id().is_some() {
        reached.note("fork id");
    }
    if let Some(contact) = record.contact() {
        reached.note("contact");
        assert_eq!((contact.key(), contact.id()), (*record.key(), record.key().node_id()));
        assert!(!contact.ip().is_multicast() && contact.ip().to_canonical() == contact.ip());
    }
    assert_eq!(Record::parse(&Cheap, &record.to_string()).as_ref(), Ok(record));
    assert_eq!(Record::parse(&Cheap, &const_hex::encode(raw)).as_ref(), Ok(record));
}

/// Records of the builder decode, and have the entries that were set.
pub const RECORD_BUILDER: Target = Target {
    name: "record_builder",
    body: record_builder,
    memory: Memory::DECODER,
    landmarks: &["signed", "too large", "both families"],
    generated: (10_000, 120),
};

fn record_builder(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let mut builder = RecordBuilder::default();
    let (mut ip4, mut ip6, mut fork, mut own) = (None, None, None, BTreeSet::new());
    while !choices.is_empty() {
        match choices.below(4) {
            0 => {
                let (ip, udp, tcp) = ([10, 0, 0, choices.byte()], choices.number() as u16, choices.number() as u16);
                builder.endpoint((ip, udp).into(), tcp);
                ip4 = Some((ip, udp, tcp));
            }
            1 => {
                let ip = [0x2a00, 0, 0, 0, 0, 0, 0, u16::from(choices.byte())];
                let (udp, tcp) = (choices.number() as u16, choices.number() as u16);
                builder.endpoint((ip, udp).into(), tcp);
                ip6 = Some((ip, udp, tcp));
            }
            2 => {
                let id = ForkId { hash: [choices.byte(); 4], next: choices.number() };
                builder.fork_id(id);
                fork = Some(id);
            }
            _ => {
                let name = [b"x", choices.bytes(10)].concat();
                builder.entry(&name, string(choices.bytes(60)));
                own.insert(name);
            }
        }
    }
    let seq = data.len() as u64;
    let Ok(record) = builder.sign(&Cheap, &secret(3), seq) else { return reached.note("too large") };
    reached.note("signed");
    examine(&record, record.as_bytes(), reached);
    let port = |port: u16| (port != 0).then_some(port);
    assert_eq!((record.seq(), *record.key()), (seq, Cheap.public_key(&secret(3))));
    assert_eq!(record.fork_id(), fork);
    assert_eq!(record.ip().map(|ip| ip.octets()), ip4.map(|(ip, ..)| ip));
    assert_eq!(record.ip6().map(|ip| ip.segments()), ip6.map(|(ip, ..)| ip));
    if let Some((_, udp, tcp)) = ip4 {
        assert_eq!((record.udp(), record.tcp()), (port(udp), port(tcp)));
    }
    if let (Some((_, udp, tcp)), None) = (ip6, ip4) {
        assert_eq!((record.udp6(), record.tcp6()), (port(udp), port(tcp)));
    }
    if ip4.is_some() && ip6.is_some() {
        reached.note("both families");
    }
    assert!(own.iter().all(|name| record.get(name).is_some()));
}

/// Two nodes of one network, at any two heads, never refuse each other unless one of them is behind a fork it cannot know.
pub const FORK_ID: Target = Target {
    name: "fork_id",
    body: fork_id,
    memory: Memory::DECODER,
    landmarks: &["same", "ahead", "stale", "foreign", "any"],
    generated: (10_000, 80),
};

fn fork_id(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let numbers = |choices: &mut Choices<'_>, scale: u64| {
        (0..choices.below(6)).map(|_| choices.number() % 1000 * scale).collect::<Vec<_>>()
    };
    // Block numbers are small and timestamps are of this century, as everywhere.
    let (blocks, times) = (numbers(&mut choices, 1000), numbers(&mut choices, 1));
    let times: Vec<u64> = times.iter().map(|time| 1_500_000_000 + time).collect();
    let genesis = [choices.byte(); 32];
    let ours = ForkSchedule::new(genesis, 1_500_000_000, &blocks, &times);
    let head = |choices: &mut Choices<'_>| {
        let (number, time) = (choices.number() % 1_100_000, choices.number() % 1100);
        // Timestamps rise with numbers: no block after a timestamp's fork is before a block's.
        let time = if blocks.iter().all(|block| *block <= number) { 1_500_000_000 + time } else { 1_500_000_000 };
        Head { number, time, hash: [0; 32] }
    };
    let (a, b) = (head(&mut choices), head(&mut choices));
    let forks: Vec<Fork> = ours.forks().collect();
    assert!(forks.windows(2).all(|pair| {
        matches!(pair, [Fork::Block(x), Fork::Block(y)] | [Fork::Time(x), Fork::Time(y)] if x < y)
            || matches!(pair, [Fork::Block(_), Fork::Time(_)])
    }));
    for (head, other) in [(a, b), (b, a)] {
        let id = ours.fork_id(&head);
        let (passed, next) = ours.passed_and_next(&head);
        assert_eq!(id.next, next.map_or(0, Fork::at));
        assert_eq!(ours.find(id.hash), Some((passed, next)));
        assert_eq!(ours.validate(&other, id), Ok(()), "one schedule: {head:?} at {other:?}");
        assert_eq!(ours.validate_static(id), Ok(()));
        reached.note(if ours.passed_and_next(&other).0 == passed { "same" } else { "ahead" });

        // A node that has not been told of the last fork, and one of another chain.
        let old = match forks.split_last() {
            Some((Fork::Time(_), _)) => ForkSchedule::new(genesis, 1_500_000_000, &blocks, &times_but_last(&ours)),
            _ => ours.clone(),
        };
        if let Err(why) = ours.validate(&other, old.fork_id(&head)) {
            reached.note("stale");
            assert_eq!(why, ForkMismatch::RemoteStale);
            assert!(ours.passed_and_next(&other).0 > old.passed_and_next(&head).0);
        }
        let foreign = ForkSchedule::new([!genesis[0]; 32], 1_500_000_000, &blocks, &times);
        if ours.find(foreign.fork_id(&head).hash).is_none() {
            reached.note("foreign");
            assert_eq!(ours.validate(&other, foreign.fork_id(&head)), Err(ForkMismatch::LocalIncompatibleOrStale));
        }
        let any = ForkId { hash: ours.fork_id(&other).hash, next: choices.number() };
        let _ = ours.validate(&head, any);
        reached.note("any");
    }
}

fn times_but_last(schedule: &ForkSchedule) -> Vec<u64> {
    let mut times: Vec<u64> =
        schedule.forks().filter_map(|fork| if let Fork::Time(at) = fork { Some(at) } else { None }).collect();
    times.pop();
    times
}
