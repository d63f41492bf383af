//! Findings for programs: one JSON object each.
//!
//! Every object has `protocol` and `message`; `packet`, `at` (UNIX seconds with nine digits behind the point, as text),
//! `conn`, `from`, `to`, `from_id` and `to_id` where they are known; and the fields of the message. Bytes are in
//! hexadecimal.

use peerless::wire::discv4;
use peerless::wire::eth::{BlockRange, ChainState, Status};
use serde_json::{Map, Value, json};

use super::Totals;
use super::finding::{Content, Finding, Message, Place, What};
use crate::capture::Stamp;

/// Returns a finding's object.
pub fn object(finding: &Finding) -> Value {
    let mut object = Map::new();
    if finding.packet > 0 {
        object.insert("packet".into(), finding.packet.into());
    }
    if let Some(Stamp(at)) = finding.at {
        object.insert("at".into(), format!("{}.{:09}", at / 1_000_000_000, at % 1_000_000_000).into());
    }
    if let Some(Place { conn, from, to, from_id, to_id }) = &finding.place {
        if let Some(conn) = conn {
            object.insert("conn".into(), (*conn).into());
        }
        object.insert("from".into(), from.to_string().into());
        object.insert("to".into(), to.to_string().into());
        for (name, id) in [("from_id", from_id), ("to_id", to_id)] {
            if let Some(id) = id {
                object.insert(name.into(), id.to_string().into());
            }
        }
    }
    object.insert("protocol".into(), finding.protocol().into());
    object.insert("message".into(), finding.name().into());
    if let Value::Object(particular) = particular(&finding.what) {
        object.extend(particular);
    }
    Value::Object(object)
}

/// Returns the object at the end of an inspection.
pub fn totals(totals: &Totals) -> Value {
    json!({
        "protocol": "capture", "message": "Totals", "packets": totals.packets, "datagrams": totals.datagrams,
        "segments": totals.segments, "connections": totals.connections, "other_packets": totals.other_packets,
        "fragments": totals.fragments, "fragmented_lost": totals.fragmented_lost, "messages": totals.messages,
        "unknown": totals.unknown, "broken": totals.broken, "other_blocks": totals.other_blocks,
    })
}

fn hex(bytes: &[u8]) -> String {
    const_hex::encode(bytes)
}

fn particular(what: &What) -> Value {
    match what {
        What::Discv4(packet) => discovery(packet),
        What::Discv5 { flag, nonce, bytes } => json!({"flag": flag, "nonce": hex(nonce), "total": bytes}),
        What::Begun { from_start } => json!({"from_start": from_start}),
        What::Auth { session, bytes, opened } => {
            let opened = opened.map(|opened| {
                json!({"recipient": opened.recipient.to_string(), "initiator": opened.initiator.to_string(),
                    "ephemeral": opened.ephemeral.map(|id| id.to_string()), "version": opened.version})
            });
            json!({"session": hex(session), "total": bytes, "opened": opened})
        }
        What::Ack { bytes, opened, has_secrets } => {
            let opened =
                opened.map(|opened| json!({"initiator": opened.initiator.to_string(), "version": opened.version}));
            json!({"total": bytes, "opened": opened, "has_secrets": has_secrets})
        }
        What::Message(message) => of_message(message),
        What::Sealed { bytes } | What::Gap { bytes } => json!({"total": bytes}),
        What::Unknown { why, bytes, total } | What::Broken { why, bytes, total } => {
            json!({"why": why, "bytes": hex(bytes), "total": total})
        }
        What::Ended { how, bytes } => json!({"how": how.to_string(), "total": bytes}),
    }
}

fn discovery(packet: &discv4::Packet) -> Value {
    let endpoint = |endpoint: &discv4::Endpoint| json!({"ip": endpoint.ip.map(|ip| ip.to_string()), "udp": endpoint.udp, "tcp": endpoint.tcp});
    match packet {
        discv4::Packet::Ping { version, from, to, expiration, enr_seq } => json!({"version": version,
            "sender": endpoint(from), "receiver": endpoint(to), "expiration": expiration.as_secs(), "enr_seq": enr_seq}),
        discv4::Packet::Pong { to, ping_hash, expiration, enr_seq } => json!({"receiver": endpoint(to),
            "ping_hash": hex(ping_hash), "expiration": expiration.as_secs(), "enr_seq": enr_seq}),
        discv4::Packet::FindNode { target, expiration } => {
            json!({"target": hex(target), "expiration": expiration.as_secs()})
        }
        discv4::Packet::Neighbors { nodes, expiration } => {
            let nodes: Vec<Value> = nodes
                .iter()
                .map(|node| {
                    json!({"ip": node.ip.to_string(), "udp": node.udp, "tcp": node.tcp, "public_key": hex(&node.key)})
                })
                .collect();
            json!({"nodes": nodes, "expiration": expiration.as_secs()})
        }
        discv4::Packet::EnrRequest { expiration } => json!({"expiration": expiration.as_secs()}),
        discv4::Packet::EnrResponse { request_hash, record } => {
            json!({"request_hash": hex(request_hash), "record": hex(record)})
        }
    }
}

fn of_message(message: &Message) -> Value {
    let mut object = json!({"id": message.id, "frame_bytes": message.frame_bytes, "payload": hex(&message.payload)});
    if let Some(capability) = &message.capability {
        object["capability"] = capability.to_string().into();
    }
    let content = match &message.content {
        Content::Opaque => json!({}),
        Content::Hello(hello) => {
            let capabilities: Vec<String> = hello.capabilities.iter().map(ToString::to_string).collect();
            json!({"version": hello.version, "client": hello.client, "capabilities": capabilities, "port": hello.port,
                "public_key": hex(&hello.key)})
        }
        Content::Disconnect(reason) => json!({"code": reason.code(), "reason": reason.to_string()}),
        Content::Status(status) => of_status(status),
        Content::BlockRange(range) => of_range(range),
        Content::HeaderQuery { request_id, start, amount, skip, reverse } => json!({"request_id": request_id,
            "start": start, "amount": amount, "skip": skip, "reverse": reverse}),
        Content::Items { request_id, count } => json!({"request_id": request_id, "count": count}),
        Content::Malformed(why) => json!({"malformed": why.to_string()}),
    };
    if let (Value::Object(object), Value::Object(content)) = (&mut object, content) {
        object.extend(content.into_iter().filter(|(_, value)| !value.is_null()));
    }
    object
}

fn of_status(status: &Status) -> Value {
    let mut object = json!({"version": status.version, "network_id": status.network_id,
        "genesis": hex(&status.genesis), "fork_hash": hex(&status.fork_id.hash), "fork_next": status.fork_id.next});
    let chain = match &status.chain {
        ChainState::Difficulty { total, head } => json!({"total_difficulty": hex(total), "head": hex(head)}),
        ChainState::Range(range) => of_range(range),
    };
    if let (Value::Object(object), Value::Object(chain)) = (&mut object, chain) {
        object.extend(chain);
    }
    object
}

fn of_range(range: &BlockRange) -> Value {
    json!({"earliest": range.earliest, "latest": range.latest, "latest_hash": hex(&range.latest_hash)})
}
