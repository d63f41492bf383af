//! discv4 packets in words, for transcripts.

use peerless::crypto::Digest;
use peerless::time::UnixTime;
use peerless::wire::discv4::{Endpoint, Packet};

/// A packet in words. Expirations are relative to `now`.
pub(super) fn words(packet: &Packet, now: UnixTime) -> String {
    match packet {
        Packet::Ping { version, from, to, expiration, enr_seq } => format!(
            "Ping version={version} from={} to={} expiration={}{}",
            endpoint(from),
            endpoint(to),
            relative(*expiration, now),
            sequence(*enr_seq)
        ),
        Packet::Pong { to, ping_hash, expiration, enr_seq } => format!(
            "Pong to={} ping-hash={} expiration={}{}",
            endpoint(to),
            short(ping_hash),
            relative(*expiration, now),
            sequence(*enr_seq)
        ),
        Packet::FindNode { target, expiration } => {
            format!("FindNode target={} expiration={}", digits(&target[..4]), relative(*expiration, now))
        }
        Packet::Neighbors { nodes, expiration } => {
            format!("Neighbors nodes={} expiration={}", nodes.len(), relative(*expiration, now))
        }
        Packet::EnrRequest { expiration } => format!("ENRRequest expiration={}", relative(*expiration, now)),
        Packet::EnrResponse { request_hash, record } => {
            format!("ENRResponse request-hash={} record={} bytes", short(request_hash), record.len())
        }
    }
}

/// The first digits of a hash.
pub(super) fn short(hash: &Digest) -> String {
    digits(&hash[..4])
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ".."
}

fn endpoint(endpoint: &Endpoint) -> String {
    let Endpoint { ip, udp, tcp } = endpoint;
    let ip = ip.map_or("none".to_owned(), |ip| ip.to_string());
    format!("[{ip} {udp} {tcp}]")
}

fn relative(expiration: UnixTime, now: UnixTime) -> String {
    let (expiration, now) = (expiration.as_secs(), now.as_secs());
    match expiration.checked_sub(now) {
        Some(ahead) if ahead > 1 << 40 => format!("{expiration:#x}"),
        Some(ahead) => format!("+{ahead}s"),
        None => format!("-{}s", now - expiration),
    }
}

fn sequence(enr_seq: Option<u64>) -> String {
    enr_seq.map_or(String::new(), |seq| format!(" enr-seq={seq}"))
}
