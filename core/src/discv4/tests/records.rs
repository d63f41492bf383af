//! Records over discv4 (EIP-868): requested, served, verified, kept, and never replaced by older ones.

use alloc::vec;
use alloc::vec::Vec;

use super::*;
use crate::wire::DecodeError;
use crate::wire::discv4::Kind;
use crate::wire::enr::RecordBuilder;

const FORK: ForkId = ForkId { hash: [1, 2, 3, 4], next: 99 };

fn record(secret: &SecretKey, at: SocketAddr, tcp: u16, seq: u64) -> Record {
    RecordBuilder::default().endpoint(at, tcp).fork_id(FORK).sign(&**CRYPTO, secret, seq).unwrap()
}

fn give_record(net: &mut Net, index: usize, seq: u64) -> Record {
    let at = net.addr(Host(index));
    net.call(index, |machine, _| {
        let record = record(&machine.local.secret, at, at.port(), seq);
        machine.set_record(record.clone());
        record
    })
}

#[test]
fn newer_records_are_fetched_and_their_fork_ids_kept() {
    let mut net = devnet(5);
    (0..5).for_each(|i| _ = give_record(&mut net, i, 7));
    net.run_for(secs(40));
    let id = *net.discv4(2).local().id();
    let entry = |net: &Net| {
        let table = net.discv4(1).table();
        table.entry(&id).map(|entry| (entry.record_seq(), table.fork_id(&id)))
    };
    assert_eq!(entry(&net), Some((7, Some(FORK))));
    give_record(&mut net, 2, 8);
    net.run_for(secs(120));
    assert_eq!(entry(&net), Some((8, Some(FORK))));
    let drawn = net.discv4(1).candidates(&mut Seed::new([0; 32]).fork("draw"), 10);
    assert!(drawn.len() == 4 && drawn.iter().all(|candidate| candidate.fork_id == Some(FORK)));
}

#[test]
fn an_enr_request_is_answered_for_proven_endpoints_only() {
    let mut net = victim();
    let record = give_record(&mut net, 0, 3);
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    let request = Packet::EnrRequest { expiration: net.soon() };
    assert_eq!(net.send_from(&stranger, &request).1, Received::Dropped(DropReason::NoEndpointProof));
    net.bond(&stranger);
    let (hash, _) = net.send_from(&stranger, &request);
    let response = Packet::EnrResponse { request_hash: hash, record: record.as_bytes().to_vec() };
    assert!(net.take(stranger.addr).iter().any(|(packet, _)| *packet == response));
}

#[test]
fn a_record_command_ends_in_the_record() {
    let mut net = devnet(3);
    let record = give_record(&mut net, 2, 5);
    let contact = net.contact(2);
    net.call(1, |machine, cx| machine.request_record(cx, CommandId(1), contact)).unwrap();
    net.run_for(secs(3));
    let got = net.find(Host(1), |event| match event {
        Event::Record { command: CommandId(1), record } => Some(record.clone()),
        _ => None,
    });
    assert_eq!(got.as_deref(), Some(&record));
}

/// What becomes of the stranger's answer with `record`.
fn answer(net: &mut Net, stranger: &Stranger, record: Vec<u8>, wrong_hash: bool) -> Received {
    // After a refused answer, the proofs are exchanged again.
    net.bond_if_pinged(stranger);
    let contact = stranger.contact();
    net.call(0, |machine, cx| machine.request_record(cx, CommandId(1), contact)).unwrap();
    let asked = net.take(stranger.addr);
    let (_, mut request_hash) = *asked.iter().find(|(packet, _)| packet.kind() == Kind::EnrRequest).unwrap();
    request_hash[0] ^= u8::from(wrong_hash);
    let (_, received) = net.send_from(stranger, &Packet::EnrResponse { request_hash, record });
    net.run_for(secs(1));
    received
}

#[test]
fn bad_records_are_refused() {
    let malformed = |error| Received::Dropped(DropReason::Malformed(error));
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    let other = Stranger::new(8, "90.1.1.1:30303");
    let encode = |of: &Stranger, seq| record(&of.secret, addr("90.1.1.1:30303"), 1, seq).as_bytes().to_vec();

    let mut net = victim();
    assert_eq!(answer(&mut net, &stranger, encode(&stranger, 9), true), Received::Dropped(DropReason::Unsolicited));
    assert_eq!(answer(&mut net, &stranger, encode(&other, 9), false), malformed(DecodeError::BadKey));
    assert_ne!(answer(&mut net, &stranger, vec![0xc0], false), Received::Handled);
    assert_eq!(answer(&mut net, &stranger, encode(&stranger, 9), false), Received::Handled);
    let entry = net.discv4(0).table().entry(&stranger.key.node_id()).copied().unwrap();
    assert_eq!((entry.record_seq(), entry.contact().tcp()), (9, 1), "the TCP port is taken, nothing else");
    assert_eq!(answer(&mut net, &stranger, encode(&stranger, 8), false), malformed(DecodeError::BadValue));
}

#[test]
fn a_tcp_port_is_taken_only_from_a_record_of_the_proven_address() {
    let mut net = victim();
    let stranger = Stranger::new(7, "90.1.1.1:30303");
    let tcp = |net: &Net| net.discv4(0).table().entry(&stranger.key.node_id()).unwrap().contact().tcp();
    let encode = |at: &str, tcp, seq| record(&stranger.secret, addr(at), tcp, seq).as_bytes().to_vec();
    assert_eq!(answer(&mut net, &stranger, encode("90.1.1.2:30303", 4444, 1), false), Received::Handled);
    assert_eq!(tcp(&net), 30303, "a record of another address");
    assert_eq!(answer(&mut net, &stranger, encode("90.1.1.1:30303", 4444, 2), false), Received::Handled);
    assert_eq!(tcp(&net), 4444);
}
