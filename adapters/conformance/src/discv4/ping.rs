//! Pings and pongs: what is answered, and what is not.

use std::net::IpAddr;

use peerless::wire::discv4::{DATAGRAM_BYTES_MAX, Endpoint, Kind, Packet};

use super::caller::{Caller, past, soon, wrapped};
use crate::rlp;
use crate::trial::{Stop, Trial};

/// The type of a packet that does not exist, as hive sends it.
const WRONG_TYPE: u8 = 66;
/// An endpoint for documentation, at which no node is.
const ELSEWHERE: Endpoint = Endpoint { ip: Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 0))), udp: 0, tcp: 0 };

pub(super) fn basic(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let ping = caller.ping(trial);
    let hash = caller.send(trial, &ping);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn wrong_to(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    answers(trial, &caller, Endpoint::from(caller.addr), ELSEWHERE)
}

pub(super) fn wrong_from(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let to = Endpoint::from(trial.remote());
    answers(trial, &caller, ELSEWHERE, to)
}

/// A ping with these endpoints is answered.
fn answers(trial: &mut Trial<'_>, caller: &Caller, from: Endpoint, to: Endpoint) -> Result<(), Stop> {
    let ping = Packet::Ping { version: 4, from, to, expiration: soon(trial), enr_seq: None };
    let hash = caller.send(trial, &ping);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn extra_data(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    extras(trial, &caller, Endpoint::from(caller.addr))
}

pub(super) fn extra_data_wrong_from(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    extras(trial, &caller, ELSEWHERE)
}

/// A ping with two more elements in its list, as hive sends them, is answered.
fn extras(trial: &mut Trial<'_>, caller: &Caller, from: Endpoint) -> Result<(), Stop> {
    let more = [rlp::uint(42), rlp::string(&[9, 8, 7, 6, 5, 4, 3, 2, 1])];
    let data = ping_data(trial, &endpoint(from), &more);
    let hash = caller.send_raw(trial, "Ping with two more elements", Kind::Ping as u8, &data);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn trailing_bytes(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let mut data = ping_data(trial, &endpoint(caller.addr.into()), &[]);
    data.extend([0xfe; 50]);
    let hash = caller.send_raw(trial, "Ping with 50 bytes after its list", Kind::Ping as u8, &data);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn largest_packet(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let data = padded(trial, &caller, DATAGRAM_BYTES_MAX);
    let hash = caller.send_raw(trial, "Ping of 1280 bytes", Kind::Ping as u8, &data);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn too_large(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let data = padded(trial, &caller, DATAGRAM_BYTES_MAX + 1);
    caller.send_raw(trial, "Ping of 1281 bytes", Kind::Ping as u8, &data);
    caller.silence(trial, &[])
}

/// The data of a ping whose datagram has so many bytes.
fn padded(trial: &Trial<'_>, caller: &Caller, bytes: usize) -> Vec<u8> {
    let mut data = ping_data(trial, &endpoint(caller.addr.into()), &[]);
    data.resize(bytes - peerless::wire::discv4::DATAGRAM_BYTES_MIN, 0);
    data
}

pub(super) fn other_version(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let mut ping = caller.ping(trial);
    if let Packet::Ping { version, .. } = &mut ping {
        *version = 555;
    }
    let hash = caller.send(trial, &ping);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn no_address(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let nothing = rlp::list(&[rlp::string(&[]), rlp::uint(0), rlp::uint(0)]);
    let data = ping_data(trial, &nothing, &[]);
    let hash = caller.send_raw(trial, "Ping from=[none 0 0]", Kind::Ping as u8, &data);
    caller.pong_and_ping(trial, hash).map(|_| ())
}

pub(super) fn same_address(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let ping = caller.ping(trial);
    let hash = caller.send(trial, &ping);
    let pong = caller.pong(trial, hash)?;
    if pong.from == trial.remote() {
        return Ok(());
    }
    Err(Stop::Failed(format!("the ping was sent to {}, the pong came from {}", trial.remote(), pong.from)))
}

pub(super) fn past_expiration(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    for at in [past(trial), wrapped(trial)] {
        let mut ping = caller.ping(trial);
        if let Packet::Ping { expiration, .. } = &mut ping {
            *expiration = at;
        }
        caller.send(trial, &ping);
        caller.silence(trial, &[])?;
    }
    Ok(())
}

pub(super) fn wrong_packet_type(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let data = ping_data(trial, &endpoint(caller.addr.into()), &[]);
    caller.send_raw(trial, "a packet of type 66 with the data of a ping", WRONG_TYPE, &data);
    caller.silence(trial, &[])
}

pub(super) fn wrong_hash(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let data = ping_data(trial, &endpoint(caller.addr.into()), &[]);
    let (_, mut bytes) = caller.seal_raw(trial, Kind::Ping as u8, &data);
    bytes[31] ^= 1;
    trial.send(caller.local, "Ping with one bit of its hash changed".to_owned(), &bytes);
    caller.silence(trial, &[])
}

pub(super) fn no_signature(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let data = ping_data(trial, &endpoint(caller.addr.into()), &[]);
    let hashed = [&[0; 65], &[Kind::Ping as u8][..], &data].concat();
    let hash = peerless::crypto::keccak256(&hashed);
    let bytes = [&hash[..], &hashed].concat();
    trial.send(caller.local, "Ping whose signature is zero".to_owned(), &bytes);
    caller.silence(trial, &[])
}

pub(super) fn bond_then_wrong_from(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    caller.bond(trial)?;
    let to = Endpoint::from(trial.remote());
    let ping = Packet::Ping { version: 4, from: ELSEWHERE, to, expiration: soon(trial), enr_seq: None };
    let hash = caller.send(trial, &ping);
    caller.pong(trial, hash).map(|_| ())
}

pub(super) fn unsolicited_pong(trial: &mut Trial<'_>) -> Result<(), Stop> {
    let caller = Caller::new(trial)?;
    let hash = trial.rng().bytes();
    caller.send_pong(trial, hash);
    caller.silence(trial, &[])
}

/// The data of a ping from an encoded endpoint, with more elements at the end of its list.
fn ping_data(trial: &Trial<'_>, from: &[u8], more: &[Vec<u8>]) -> Vec<u8> {
    let to = endpoint(trial.remote().into());
    let items = [rlp::uint(4), from.to_vec(), to, rlp::uint(soon(trial).as_secs())];
    rlp::list(&[&items, more].concat())
}

fn endpoint(Endpoint { ip, udp, tcp }: Endpoint) -> Vec<u8> {
    let ip = match ip {
        None => rlp::string(&[]),
        Some(IpAddr::V4(ip)) => rlp::string(&ip.octets()),
        Some(IpAddr::V6(ip)) => rlp::string(&ip.octets()),
    };
    rlp::list(&[ip, rlp::uint(udp.into()), rlp::uint(tcp.into())])
}
