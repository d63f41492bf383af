//! Requests within a session.

use std::collections::BTreeSet;

use peerless::wire::discv5::{Kind, MESSAGE_BYTES_MAX, Message, Payload, RequestId};
use peerless::wire::enr::Record;

use super::peer::{Opened, Peer, remote};
use crate::rlp;
use crate::trial::{StepKind, Stop, Trial};

/// The number of nodes in a result, at most.
const NODES_MAX: usize = 16;
/// The largest number of responses to one FINDNODE that go-ethereum's tester accepts.
const TOTAL_MAX: u64 = 6;

pub(super) fn ping(trial: &mut Trial<'_>) -> Result<(), Stop> {
    Peer::new(trial)?.begin(trial)
}

pub(super) fn ping_large_request_id(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    peer.begin(trial)?;
    let ping = rlp::list(&[rlp::string(&[7; 9]), rlp::uint(peer.record.seq())]);
    let plain = [&[Kind::Ping as u8], &ping[..]].concat();
    peer.send_encoded(trial, "PING with a request id of 9 bytes", &plain);
    peer.silence(trial)
}

pub(super) fn talk_request(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    let payload = Payload::TalkRequest { protocol: b"test-protocol", request: &[] };
    let with_id = peer.request(trial, payload.clone());
    let empty = RequestId::new(&[]).map(|request_id| Message { request_id, payload });
    for request in [Some(with_id), empty].iter().flatten() {
        let answer = peer.ask(trial, request)?;
        let answer = answer.message()?;
        let Payload::TalkResponse { response } = answer.payload else {
            return Err(Stop::Failed(format!("expected TALKRESP, and {:?} came", answer.payload.kind())));
        };
        if answer.request_id != request.request_id {
            return Err(Stop::Failed(format!("the TALKRESP has the request id {:?}", answer.request_id)));
        }
        if !response.is_empty() {
            return Err(Stop::Failed(format!("the response has {} bytes", response.len())));
        }
    }
    Ok(())
}

pub(super) fn too_large(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    peer.begin(trial)?;
    // A message of the largest size is answered, and one with a byte more is not. Beside the request it has a type, two headers
    // of lists and strings with lengths of two bytes, an empty request id, and the protocol with its header.
    let request = |bytes: usize| vec![0; bytes - (1 + 3 + 1 + 2 + 3)];
    for (bytes, is_answered) in [(MESSAGE_BYTES_MAX, true), (MESSAGE_BYTES_MAX + 1, false)] {
        let request = request(bytes);
        let Some(request_id) = RequestId::new(&[]) else { continue };
        let message = Message { request_id, payload: Payload::TalkRequest { protocol: &[0x80], request: &request } };
        if is_answered {
            peer.ask(trial, &message)?;
        } else {
            peer.send(trial, &message);
            peer.nothing(trial)?;
        }
    }
    Ok(())
}

pub(super) fn sequence_number(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    let ping = peer.ping(trial);
    let pong = peer.ask(trial, &ping)?;
    let seq = peer.check_pong(trial, &ping, &pong)?;
    let records = find_node(trial, &mut peer, &[0])?;
    match records.first() {
        // The record may have changed since the PONG.
        Some(record) if record.seq() >= seq => Ok(()),
        Some(record) => Err(Stop::Failed(format!("the PONG says {seq}, the record has {}", record.seq()))),
        None => Err(Stop::Failed("no record for distance 0".to_owned())),
    }
}

pub(super) fn findnode_zero_distance(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    let records = find_node(trial, &mut peer, &[0])?;
    match &records[..] {
        [record] if record.key().node_id() == remote(trial) => Ok(()),
        [_] => Err(Stop::Failed("the record is another node's".to_owned())),
        records => Err(Stop::Failed(format!("{} records came for distance 0", records.len()))),
    }
}

pub(super) fn findnode_total(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    let distances: Vec<u16> = (240..=256).rev().collect();
    find_node(trial, &mut peer, &distances).map(|_| ())
}

pub(super) fn limited_results(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    let distances: Vec<u16> = (0..=256).rev().collect();
    let records = find_node(trial, &mut peer, &distances)?;
    if records.len() <= NODES_MAX {
        return Ok(());
    }
    Err(Stop::Failed(format!("{} records came", records.len())))
}

pub(super) fn distance_too_large(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let mut peer = Peer::new(trial)?;
    peer.begin(trial)?;
    let body = rlp::list(&[rlp::string(&[5]), rlp::list(&[rlp::uint(257)])]);
    let plain = [&[Kind::FindNode as u8], &body[..]].concat();
    peer.send_encoded(trial, "FINDNODE distances=[257]", &plain);
    let deadline = trial.now() + trial.patience();
    while let Some(came) = peer.receive(trial, deadline)? {
        if let super::peer::Came::Message(opened) = came
            && let Payload::Nodes { records, .. } = opened.message()?.payload
            && records.iter().next().is_some()
        {
            return Err(Stop::Failed("nodes came".to_owned()));
        }
    }
    Ok(())
}

/// Asks for the nodes at distances, and checks the responses: their ids, their number, and their records.
pub(super) fn find_node(trial: &mut Trial<'_>, peer: &mut Peer, distances: &[u16]) -> Result<Vec<Record>, Stop> {
    let request = peer.request(trial, Payload::FindNode { distances: distances.to_vec() });
    let nonce = peer.send(trial, &request);
    let first = peer.answer_to(trial, &request, nonce)?;
    let (total, mut records) = nodes(trial, &request, &first)?;
    if !(1..=TOTAL_MAX).contains(&total) {
        return Err(Stop::Failed(format!("total is {total}, expected 1 to {TOTAL_MAX}")));
    }
    for _ in 1..total {
        let next = peer.answer_to(trial, &request, nonce)?;
        let (again, more) = nodes(trial, &request, &next)?;
        if again != total {
            return Err(Stop::Failed(format!("total is {total} in one NODES and {again} in another")));
        }
        records.extend(more);
    }
    let mut ids = BTreeSet::new();
    for record in &records {
        let id = record.key().node_id();
        let distance = remote(trial).log_distance(&id);
        if !distances.contains(&distance) {
            return Err(Stop::Failed(format!("a node at distance {distance}, which was not asked for")));
        }
        if !ids.insert(id) {
            return Err(Stop::Failed("a node came twice".to_owned()));
        }
    }
    trial.note(StepKind::Note, None, 0, format!("{} nodes in {total} responses", records.len()));
    Ok(records)
}

/// The total and the valid records of a response.
fn nodes(trial: &Trial<'_>, request: &Message<'_>, answer: &Opened) -> Result<(u64, Vec<Record>), Stop> {
    let answer = answer.message()?;
    let Payload::Nodes { total, records } = answer.payload else {
        return Err(Stop::Failed(format!("expected NODES, and {:?} came", answer.payload.kind())));
    };
    if answer.request_id != request.request_id {
        return Err(Stop::Failed(format!("the NODES have the request id {:?}", answer.request_id)));
    }
    let records = records.iter().map(|record| Record::decode(trial.crypto(), record));
    let records = records.collect::<Result<Vec<_>, _>>();
    Ok((total, records.map_err(|error| Stop::Failed(format!("a record is not valid: {error}")))?))
}
