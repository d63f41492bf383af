//! What the entries of records mean: those of EIP-778, of execution and consensus clients, of the OP stack and of Portal.

use std::net::{Ipv4Addr, Ipv6Addr};

use peerless::crypto::PublicKey;
use peerless::wire::DecodeError;
use peerless::wire::forkid::ForkId;
use peerless::wire::rlp::List;

use super::decoded::Entry;
use crate::networks::ForkReport;

/// What an entry says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Meaning {
    /// In words.
    Known(String),
    /// The key is known, and the value is not of its form.
    Malformed(String),
    /// The key is not known. Text that can be read is shown.
    Unknown(Option<String>),
}

/// Returns what an entry says.
pub(crate) fn meaning(entry: &Entry<'_>) -> Meaning {
    let value = entry.value;
    let read = match entry.key {
        b"id" => text(value),
        b"secp256k1" => public_key(value),
        b"ip" => fixed::<4>(value).map(|ip| Ipv4Addr::from(ip).to_string()),
        b"ip6" => fixed::<16>(value).map(|ip| Ipv6Addr::from(ip).to_string()),
        b"udp" | b"tcp" | b"udp6" | b"tcp6" | b"quic" | b"quic6" => port(value),
        b"eth" | b"opel" | b"bsc" => fork_id(value),
        b"eth2" => fixed::<16>(value).map(consensus_fork),
        b"attnets" => fixed::<8>(value).map(|bits| subnets(&bits, "attestation")),
        b"syncnets" => fixed::<1>(value).map(|bits| subnets(&bits, "sync committee")),
        b"cgc" => uint(value).map(|count| format!("{count} custody groups")),
        b"nfd" => fixed::<4>(value).map(|digest| format!("next fork digest {}", const_hex::encode(digest))),
        b"snap" => list(value).map(|_| "serves snap".to_owned()),
        b"les" => list(value).map(|_| "serves light clients".to_owned()),
        b"client" => client(value).map(|parts| parts.join(" ")),
        b"opstack" => bytes(value).and_then(op_stack),
        b"c" => text(value),
        _ => return Meaning::Unknown(text(value).ok()),
    };
    match read {
        Ok(words) => Meaning::Known(words),
        Err(why) => Meaning::Malformed(why),
    }
}

/// The parts of a `client` entry (EIP-7636): name, version and perhaps a build.
pub(crate) fn client(value: List<'_>) -> Result<Vec<String>, String> {
    let mut parts = list(value)?;
    let mut texts = Vec::new();
    while !parts.is_empty() {
        texts.push(text(parts)?);
        parts.raw().map_err(why)?;
    }
    if (2..=3).contains(&texts.len()) {
        Ok(texts)
    } else {
        Err(format!("{} parts instead of two or three", texts.len()))
    }
}

fn why(error: DecodeError) -> String {
    error.to_string()
}

fn bytes(mut value: List<'_>) -> Result<&[u8], String> {
    value.bytes().map_err(why)
}

fn fixed<const N: usize>(value: List<'_>) -> Result<[u8; N], String> {
    let bytes = bytes(value)?;
    bytes.try_into().map_err(|_| format!("{} bytes instead of {N}", bytes.len()))
}

fn uint(mut value: List<'_>) -> Result<u64, String> {
    value.u64().map_err(why)
}

fn port(value: List<'_>) -> Result<String, String> {
    let port = uint(value)?;
    if port > u64::from(u16::MAX) { Err(format!("{port} is beyond 65535")) } else { Ok(port.to_string()) }
}

fn list(mut value: List<'_>) -> Result<List<'_>, String> {
    value.list().map_err(why)
}

/// Printable text.
fn text(value: List<'_>) -> Result<String, String> {
    let bytes = bytes(value)?;
    let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty() && !text.chars().any(char::is_control));
    text.map(str::to_owned).ok_or_else(|| "not text".to_owned())
}

fn public_key(value: List<'_>) -> Result<String, String> {
    let compressed = fixed::<33>(value)?;
    PublicKey::from_compressed_secp256k1(&compressed).map_err(|_| why(DecodeError::BadKey))?;
    Ok(const_hex::encode(compressed))
}

/// A fork id within a list, which further items may follow (EIP-2124).
fn fork_id(value: List<'_>) -> Result<String, String> {
    let mut items = list(value)?;
    let id = ForkId::decode(&mut items).map_err(why)?;
    let tail = match items.count() {
        0 => String::new(),
        more => format!(", and {more} more items"),
    };
    Ok(format!("{}{tail}", ForkReport::new(id)))
}

/// `ENRForkID` of the consensus layer, in SSZ.
fn consensus_fork(bytes: [u8; 16]) -> String {
    let mut epoch = [0; 8];
    epoch.copy_from_slice(&bytes[8..]);
    let next = match u64::from_le_bytes(epoch) {
        u64::MAX => "no next fork".to_owned(),
        epoch => format!("next fork version {} at epoch {epoch}", const_hex::encode(&bytes[4..8])),
    };
    format!("consensus layer, fork digest {}, {next}", const_hex::encode(&bytes[..4]))
}

/// The numbers of the bits that are set, the lowest bit of each byte first.
fn subnets(bits: &[u8], what: &str) -> String {
    let is_set = |n: &usize| bits[n / 8] >> (n % 8) & 1 == 1;
    let set: Vec<String> = (0..bits.len() * 8).filter(is_set).map(|n| n.to_string()).collect();
    match set.len() {
        0 => format!("no {what} subnets"),
        all if all == bits.len() * 8 => format!("all {all} {what} subnets"),
        _ => format!("{what} subnets {}", set.join(", ")),
    }
}

/// Chain id and version, both LEB128.
fn op_stack(bytes: &[u8]) -> Result<String, String> {
    let mut numbers = Vec::new();
    let (mut number, mut shift) = (0u64, 0u32);
    for byte in bytes {
        let part = u64::from(byte & 0x7f);
        number |= part.checked_shl(shift).filter(|moved| moved >> shift == part).ok_or("a number beyond 64 bits")?;
        shift += 7;
        if byte & 0x80 == 0 {
            numbers.push(number);
            (number, shift) = (0, 0);
        }
    }
    match numbers[..] {
        [chain, version] if shift == 0 => Ok(format!("OP stack consensus layer, chain {chain}, version {version}")),
        _ => Err("not two LEB128 numbers".to_owned()),
    }
}
