//! Endpoint proofs: who is answered with more than was sent.

use peerless::wire::discv4::{Kind, Packet};

use super::caller::{Caller, bytes_of, soon};
use crate::trial::{StepKind, Stop, Trial};
use crate::wire::Address;

/// Requests of the node's own, which are no answers.
const REQUESTS: [Kind; 3] = [Kind::Ping, Kind::FindNode, Kind::EnrRequest];

pub(super) fn invalid_pong_hash(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let ping = caller.ping(trial);
    let hash = caller.send(trial, &ping);
    caller.pong_and_ping(trial, hash)?;
    caller.send_pong(trial, [0; 32]);
    caller.send_find_node(trial);
    caller.silence(trial, &REQUESTS)
}

pub(super) fn wrong_ip(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let elsewhere = caller.at(trial, Address::Second)?;
    caller.bond(trial)?;
    elsewhere.send_find_node(trial);
    elsewhere.silence(trial, &[])
}

pub(super) fn wrong_port(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let elsewhere = caller.at(trial, Address::First)?;
    caller.bond(trial)?;
    elsewhere.send_find_node(trial);
    elsewhere.silence(trial, &REQUESTS)
}

pub(super) fn pong_of_other_node(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let fresh = Caller::new(trial)?;
    let other = Caller { local: caller.local, addr: caller.addr, ..fresh };
    let ping = caller.ping(trial);
    let hash = caller.send(trial, &ping);
    let theirs = caller.pong_and_ping(trial, hash)?;
    other.send_pong(trial, theirs);
    caller.send_find_node(trial);
    caller.silence(trial, &REQUESTS)
}

pub(super) fn pong_from_other_port(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let elsewhere = caller.at(trial, Address::First)?;
    let ping = caller.ping(trial);
    let hash = caller.send(trial, &ping);
    let theirs = caller.pong_and_ping(trial, hash)?;
    elsewhere.send_pong(trial, theirs);
    for endpoint in [&caller, &elsewhere] {
        endpoint.send_find_node(trial);
        endpoint.silence(trial, &REQUESTS)?;
    }
    Ok(())
}

pub(super) fn size_of_answers(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    for _ in 0..4 {
        let ping = caller.ping(trial);
        caller.send(trial, &ping);
    }
    let expiration = soon(trial);
    for _ in 0..10 {
        caller.send_find_node(trial);
        caller.send(trial, &Packet::EnrRequest { expiration });
    }
    let came: usize = caller.all(trial)?.iter().map(|answer| answer.bytes).sum();
    let sent = bytes_of(trial.steps(), StepKind::Sent);
    if came <= 3 * sent + peerless::wire::discv4::DATAGRAM_BYTES_MAX {
        return Ok(());
    }
    Err(Stop::Failed(format!("{sent} bytes were sent, and {came} came")))
}
