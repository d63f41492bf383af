//! FindNode and Neighbors.

use std::collections::BTreeSet;
use std::time::Duration;

use peerless::crypto::{Crypto, SecretKey};
use peerless::wire::discv4::{Kind, NEIGHBORS_PER_PACKET, Neighbor, Packet};

use super::caller::{Caller, Found, is_request, past, soon, wrapped};
use crate::trial::{Stop, Trial};
use crate::wire::Address;

/// The number of nodes in an answer, at most.
const NODES_MAX: usize = 16;
/// Longer than a client may take to repeat a request.
const REPLAY_PAUSE: Duration = Duration::from_secs(3);

pub(super) fn without_endpoint_proof(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.send_find_node(trial);
    caller.silence(trial, &[Kind::Ping])
}

pub(super) fn basic(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    caller.send_find_node(trial);
    neighbors(trial, &caller)
}

/// Waits for the first Neighbors.
fn neighbors(trial: &mut Trial<'_>, caller: &Caller) -> Result<(), Stop> {
    caller.until(trial, "Neighbors", |_, answer| match answer.packet.kind() {
        Kind::Neighbors => Found::This(()),
        _ if is_request(answer) => Found::Other,
        other => Found::Wrong(format!("expected Neighbors, and {other:?} came")),
    })
}

/// All nodes of all Neighbors that come; fails if there is no Neighbors.
fn collect(trial: &mut Trial<'_>, caller: &Caller) -> Result<Vec<Neighbor>, Stop> {
    let mut packets = 0;
    let mut nodes = Vec::new();
    for answer in caller.all(trial)? {
        if let Packet::Neighbors { nodes: some, .. } = answer.packet {
            packets += 1;
            nodes.extend(some);
        }
    }
    if packets == 0 {
        return Err(Stop::Failed(format!("no Neighbors within {} ms", trial.patience().as_millis())));
    }
    Ok(nodes)
}

pub(super) fn results(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    caller.send_find_node(trial);
    let nodes = collect(trial, &caller)?;
    if nodes.len() > NODES_MAX {
        return Err(Stop::Failed(format!("{} nodes came", nodes.len())));
    }
    let keys: BTreeSet<_> = nodes.iter().map(|node| node.key).collect();
    if keys.len() < nodes.len() {
        return Err(Stop::Failed("a node came twice".to_owned()));
    }
    for node in &nodes {
        if trial.crypto().public_key_from_xy(&node.key).is_none() {
            return Err(Stop::Failed(format!("the key of the node at {}:{} is not on the curve", node.ip, node.udp)));
        }
        if node.udp == 0 || node.ip.is_unspecified() || node.ip.is_multicast() {
            return Err(Stop::Failed(format!("no node can be at {}:{}", node.ip, node.udp)));
        }
    }
    Ok(())
}

pub(super) fn unsolicited_neighbors(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let fake = Caller::new(trial)?;
    caller.bond(trial)?;
    send_neighbors(trial, &caller, vec![neighbor(&fake)]);
    let target = *fake.key.as_bytes();
    let expiration = soon(trial);
    caller.send(trial, &Packet::FindNode { target, expiration });
    if collect(trial, &caller)?.iter().any(|node| node.key == target) {
        return Err(Stop::Failed("the Neighbors have the node of the unsolicited Neighbors".to_owned()));
    }
    Ok(())
}

pub(super) fn unsolicited_not_pinged(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let watched = trial.open(Address::First)?;
    let addr = trial.addr(watched);
    caller.bond(trial)?;
    for _ in 0..3 {
        let nodes = (0..NEIGHBORS_PER_PACKET).map(|_| {
            let secret = SecretKey::generate(trial.rng());
            let key = *trial.crypto().public_key(&secret).as_bytes();
            Neighbor { ip: addr.ip(), udp: addr.port(), tcp: addr.port(), key }
        });
        let nodes = nodes.collect();
        send_neighbors(trial, &caller, nodes);
    }
    let deadline = trial.now() + trial.patience();
    match trial.receive(watched, deadline) {
        Some(_) => Err(Stop::Failed(format!("the node has sent a datagram to {addr}, which only the Neighbors name"))),
        None => Ok(()),
    }
}

fn neighbor(node: &Caller) -> Neighbor {
    Neighbor { ip: node.addr.ip(), udp: node.addr.port(), tcp: node.addr.port(), key: *node.key.as_bytes() }
}

fn send_neighbors(trial: &mut Trial<'_>, caller: &Caller, nodes: Vec<Neighbor>) {
    let expiration = soon(trial);
    caller.send(trial, &Packet::Neighbors { nodes, expiration });
}

pub(super) fn past_expiration(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    for expiration in [past(trial), wrapped(trial)] {
        let target = trial.rng().bytes();
        caller.send(trial, &Packet::FindNode { target, expiration });
        caller.silence(trial, &[Kind::Ping, Kind::FindNode, Kind::EnrRequest])?;
    }
    Ok(())
}

pub(super) fn replay(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    let find_node = Packet::FindNode { target: trial.rng().bytes(), expiration: soon(trial) };
    caller.send(trial, &find_node);
    neighbors(trial, &caller)?;
    trial.pause(REPLAY_PAUSE);
    caller.send(trial, &find_node);
    caller.silence(trial, &[Kind::Ping, Kind::FindNode, Kind::EnrRequest])
}
