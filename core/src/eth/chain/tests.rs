//! Statuses against a real fork schedule: ours, those that are accepted, and the exchange.

use alloc::boxed::Box;

use super::*;
use crate::contract::{Fault, StatusRefusal};
use crate::eth::handshake::{EthHandshake, Policy, Verdict};
use crate::wire::DecodeError;
use crate::wire::eth::{BlockRange, ChainState, Status, id};
use crate::wire::forkid::{ForkId, ForkMismatch, Head, Network};

/// After BPO2 of mainnet.
const HEAD: Head = Head { number: 24_200_000, time: 1_768_000_000, hash: [0xaa; 32] };

fn chain(name: &str) -> Chain {
    Chain::new(Network::public(name).unwrap(), HEAD, 15_537_394, [0x0c; 32])
}

#[test]
fn our_status_has_the_shape_of_its_version() {
    let chain = chain("mainnet");
    let status = chain.status(69);
    assert_eq!((status.version, status.network_id, status.fork_id.hash), (69, 1, [0x07, 0xc9, 0x46, 0x2e]));
    assert_eq!(status.genesis[..4], [0xd4, 0xe5, 0x67, 0x40]);
    let range = BlockRange { earliest: 15_537_394, latest: HEAD.number, latest_hash: HEAD.hash };
    assert_eq!(status.chain, ChainState::Range(range));
    for version in 66..=68 {
        let chain = chain.status(version).chain;
        assert_eq!(chain, ChainState::Difficulty { total: [0x0c; 32], head: HEAD.hash });
    }
    for version in 66..=72 {
        let status = chain.status(version);
        assert_eq!(Status::decode(version, &status.encode()), Ok(status));
    }
}

#[test]
fn a_range_never_begins_beyond_its_end() {
    let mut chain = Chain::new(Network::public("mainnet").unwrap(), HEAD, u64::MAX, [0; 32]);
    assert_eq!(chain.range().earliest, HEAD.number);
    chain.set_head(Head { number: 5, ..HEAD }, 9);
    assert!(chain.range().is_ordered());
}

#[test]
fn an_incompatible_status_is_refused_with_its_reason() {
    let ours = chain("mainnet");
    let good = ours.status(69);
    assert_eq!(ours.judge(69, &good), Ok(()));
    let inverted = ChainState::Range(BlockRange { earliest: 2, latest: 1, latest_hash: [0; 32] });
    let stale = ForkId { hash: [0xfc, 0x64, 0xec, 0x04], next: 0 };
    let cases = [
        (Status { network_id: 2, ..good }, StatusRefusal::Network(2)),
        (Status { version: 68, ..good }, StatusRefusal::Version(68)),
        (Status { genesis: [1; 32], ..good }, StatusRefusal::Genesis),
        (Status { fork_id: stale, ..good }, StatusRefusal::Fork(ForkMismatch::RemoteStale)),
        (
            Status { fork_id: ForkId { hash: [9; 4], next: 0 }, ..good },
            StatusRefusal::Fork(ForkMismatch::LocalIncompatibleOrStale),
        ),
        (Status { chain: inverted, ..good }, StatusRefusal::Range),
    ];
    for (theirs, why) in cases {
        assert_eq!(ours.judge(69, &theirs), Err(why));
        let (handshake, said) = EthHandshake::start(69, Policy::Announce, &ours);
        assert_eq!(said, Some(good));
        let verdict = handshake.handle_message(&ours, id::STATUS, &theirs.encode());
        assert_eq!(verdict, Verdict::Refused { theirs: Box::new(theirs), why });
    }
    let sepolia = chain("sepolia").status(69);
    assert_eq!(ours.judge(69, &sepolia), Err(StatusRefusal::Network(11_155_111)));
    let disguised = Status { network_id: 1, ..sepolia };
    assert_eq!(ours.judge(69, &disguised), Err(StatusRefusal::Genesis));
}

#[test]
fn every_pair_of_versions_agrees_with_itself() {
    let (a, b) = (chain("hoodi"), chain("hoodi"));
    for version in 66..=72 {
        let (handshake, _) = EthHandshake::start(version, Policy::Announce, &a);
        let theirs = b.status(version);
        let verdict = handshake.handle_message(&a, id::STATUS, &theirs.encode());
        assert_eq!(verdict, Verdict::Accepted { theirs: Box::new(theirs), reply: None });
    }
}

#[test]
fn another_first_message_is_a_fault() {
    let ours = chain("mainnet");
    for message in (1..30).chain([u64::MAX]) {
        let (handshake, _) = EthHandshake::start(69, Policy::Announce, &ours);
        let verdict = handshake.handle_message(&ours, message, &ours.status(69).encode());
        assert_eq!(verdict, Verdict::Fault(Fault::StatusExpected));
    }
    let (handshake, _) = EthHandshake::start(69, Policy::Announce, &ours);
    let verdict = handshake.handle_message(&ours, id::STATUS, &ours.status(68).encode());
    assert!(matches!(verdict, Verdict::Fault(Fault::Message(_))), "the shape of another version");
    let (handshake, _) = EthHandshake::start(69, Policy::Mirror, &ours);
    let verdict = handshake.handle_message(&ours, id::STATUS, &[]);
    assert_eq!(verdict, Verdict::Fault(Fault::Message(DecodeError::Truncated)));
}

#[test]
fn a_mirror_is_accepted_by_any_network() {
    let (ours, theirs) = (chain("mainnet"), chain("sepolia"));
    let (mirror, said) = EthHandshake::start(70, Policy::Mirror, &ours);
    assert_eq!(said, None);
    let (peer, said) = EthHandshake::start(70, Policy::Announce, &theirs);
    let Verdict::Accepted { theirs: status, reply: Some(reply) } =
        mirror.handle_message(&ours, id::STATUS, &said.unwrap().encode())
    else {
        panic!("accepted, with a reply");
    };
    assert_eq!(*status, theirs.status(70));
    let verdict = peer.handle_message(&theirs, id::STATUS, &reply.encode());
    assert_eq!(verdict, Verdict::Accepted { theirs: reply, reply: None });
}

/// A session that carries eth/69 once counted as one of whatever version a mirrored Status claimed.
#[test]
fn a_mirror_refuses_a_version_that_was_not_negotiated() {
    let ours = chain("mainnet");
    for claimed in [0, 68, 70, 75, u32::MAX] {
        let (mirror, _) = EthHandshake::start(69, Policy::Mirror, &ours);
        let theirs = Status { version: claimed, ..ours.status(69) };
        let verdict = mirror.handle_message(&ours, id::STATUS, &theirs.encode());
        assert_eq!(verdict, Verdict::Refused { theirs: Box::new(theirs), why: StatusRefusal::Version(claimed) });
    }
}
