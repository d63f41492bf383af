//! Requests for the node's record (EIP-868).

use peerless::wire::discv4::{Kind, Packet};
use peerless::wire::enr::Record;

use super::caller::{Caller, Found, is_request, past, soon};
use super::words::short;
use crate::trial::{StepKind, Stop, Trial};

pub(super) fn request(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    fetch(trial, &caller).map(|_| ())
}

pub(super) fn without_endpoint_proof(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let expiration = soon(trial);
    caller.send(trial, &Packet::EnrRequest { expiration });
    caller.silence(trial, &[Kind::Ping])
}

pub(super) fn past_expiration(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    let expiration = past(trial);
    caller.send(trial, &Packet::EnrRequest { expiration });
    caller.silence(trial, &[Kind::Ping, Kind::FindNode, Kind::EnrRequest])
}

pub(super) fn sequence_number(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    let ping = caller.ping(trial);
    let hash = caller.send(trial, &ping);
    let pong = caller.pong(trial, hash)?;
    let Packet::Pong { enr_seq: Some(seq), .. } = pong.packet else {
        return Err(Stop::Skipped("the node's pongs have no enr-seq, which is optional".to_owned()));
    };
    let record = fetch(trial, &caller)?;
    // The record may have changed since the pong.
    if record.seq() >= seq {
        return Ok(());
    }
    Err(Stop::Failed(format!("the pong says {seq}, the record has {}", record.seq())))
}

/// Requests and checks the record.
fn fetch(trial: &mut Trial<'_>, caller: &Caller) -> Result<Record, Stop> {
    let expiration = soon(trial);
    let hash = caller.send(trial, &Packet::EnrRequest { expiration });
    let record = caller.until(trial, "ENRResponse", |trial, answer| {
        let Packet::EnrResponse { request_hash, record } = &answer.packet else {
            return if is_request(answer) {
                Found::Other
            } else {
                Found::Wrong(format!("expected an ENRResponse, and {:?} came", answer.packet.kind()))
            };
        };
        if *request_hash != hash {
            let (theirs, ours) = (short(request_hash), short(&hash));
            return Found::Wrong(format!("the ENRResponse has the hash {theirs}, the request has {ours}"));
        }
        match Record::decode(trial.crypto(), record) {
            Err(error) => Found::Wrong(format!("the record is not valid: {error}")),
            Ok(record) if *record.key() != trial.target().contact.key() => {
                Found::Wrong("the record is another node's".to_owned())
            }
            Ok(record) => Found::This(record),
        }
    })?;
    trial.note(StepKind::Note, None, 0, record.to_string());
    Ok(record)
}
