//! The encoding of events and their parts, which the digest of behaviour covers.
//!
//! It does not depend on names in the code. The number of a variant never changes; a new variant gets a new number.

use peerless::contract::{
    CallFailure, CommandError, ConnTimer, Direction, End, EndReason, Event, Fault, HostFailure, IoFault, Refusal,
    ScoreReason, Side, Stage, StatusRefusal,
};
use peerless::wire::eth::{ChainState, Status};
use peerless::wire::forkid::ForkMismatch;
use peerless::wire::p2p::{Hello, Shared};

use crate::format::codec::Encode;
use crate::format::command::reason_code;
use crate::format::config::{encode_addresses, encode_ban_target, encode_capability, encode_ports6, encode_talk_id};
use crate::format::input::{io_fault_code, query_fault_code};

/// The number of a variant that this code does not know.
const UNKNOWN: u8 = u8::MAX;

/// Appends an event except for its lent payload, which is returned.
pub(in crate::format) fn encode_event<'e>(event: &'e Event<'_>, out: &mut Vec<u8>) -> Option<&'e [u8]> {
    match event {
        Event::NodeAdded { contact } => {
            out.byte(1);
            out.contact(contact);
        }
        Event::NodeRemoved { id } => {
            out.byte(2);
            out.fixed(&id.0);
        }
        Event::Pong { command, contact, rtt, enr_seq, seen_as } => {
            out.byte(3);
            out.count(command.0);
            out.contact(contact);
            out.duration(*rtt);
            out.option(*enr_seq, Encode::count);
            out.option(*seen_as, Encode::addr);
        }
        Event::Record { command, record } => {
            out.byte(4);
            out.count(command.0);
            out.bytes(record.as_bytes());
        }
        Event::Nodes { command, nodes, queries, hops } => {
            out.byte(5);
            out.count(command.0);
            out.count(nodes.len() as u64);
            nodes.iter().for_each(|contact| out.contact(contact));
            out.count((*queries).into());
            out.count((*hops).into());
        }
        Event::CallFailed { command, why } => {
            out.byte(6);
            out.count(command.0);
            out.byte(call_failure_code(*why));
        }
        Event::Unrecognised { socket, from, bytes } => {
            out.byte(7);
            out.byte(socket.0);
            out.addr(*from);
            return Some(bytes);
        }
        Event::Hello { conn, contact, direction, hello, shared } => {
            out.byte(8);
            out.count(conn.0);
            out.contact(contact);
            out.byte(direction_code(*direction));
            encode_hello(hello, out);
            out.count(shared.len() as u64);
            for Shared { capability, offset, length, .. } in shared {
                encode_capability(*capability, out);
                out.count(*offset);
                out.count(*length);
            }
        }
        Event::Established { conn, id, status } => {
            out.byte(9);
            out.count(conn.0);
            out.fixed(&id.0);
            encode_status(status, out);
        }
        Event::Request { conn, capability, request_id, id, body } => {
            out.byte(10);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*request_id);
            out.count(*id);
            return Some(body);
        }
        Event::Response { command, conn, capability, id, body, rtt } => {
            out.byte(11);
            out.count(command.0);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*id);
            out.duration(*rtt);
            return Some(body);
        }
        Event::RequestFailed { command, conn, capability, why } => {
            out.byte(12);
            out.count(command.0);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.byte(call_failure_code(*why));
        }
        Event::Message { conn, capability, id, payload } => {
            out.byte(13);
            out.count(conn.0);
            encode_capability(*capability, out);
            out.count(*id);
            return Some(payload);
        }
        Event::Ended { conn, id, addr, direction, end } => {
            out.byte(14);
            out.count(conn.0);
            out.option(*id, |out, id| out.fixed(&id.0));
            out.addr(*addr);
            out.byte(direction_code(*direction));
            encode_end(end, out);
        }
        Event::Scored { id, delta, score, reason } => {
            out.byte(15);
            out.fixed(&id.0);
            out.fixed(&delta.to_le_bytes());
            out.fixed(&score.to_le_bytes());
            encode_score_reason(*reason, out);
        }
        Event::Banned { id, duration, reason } => {
            out.byte(16);
            out.fixed(&id.0);
            out.duration(*duration);
            encode_score_reason(*reason, out);
        }
        Event::AddressBanned { ip, duration } => {
            out.byte(18);
            out.ip(*ip);
            out.duration(*duration);
        }
        Event::Unbanned { target } => {
            out.byte(19);
            encode_ban_target(*target, out);
        }
        // The hash identifies the session, and the secrets follow from the session.
        Event::Secrets { conn, secrets } => {
            out.byte(17);
            out.count(conn.0);
            out.fixed(&secrets.auth_hash);
        }
        Event::ConnReady { conn } => {
            out.byte(20);
            out.count(conn.0);
        }
        Event::DiscoveryReady => out.byte(21),
        Event::TalkRequest { id, protocol, request } => {
            out.byte(22);
            encode_talk_id(id, out);
            out.bytes(protocol);
            return Some(request);
        }
        Event::TalkResponse { command, rtt, response } => {
            out.byte(23);
            out.count(command.0);
            out.duration(*rtt);
            return Some(response);
        }
        Event::HostFailed { id, why } => {
            out.byte(25);
            out.fixed(&id.0);
            out.byte(match why {
                HostFailure::Query(fault) => query_fault_code(*fault),
                HostFailure::Filtered => 0,
                _ => UNKNOWN,
            });
        }
        Event::AddressChanged { addresses } => {
            out.byte(24);
            encode_addresses(addresses, out);
            encode_ports6(addresses, out);
        }
        // An event that this code has no number for yet.
        event => {
            out.byte(UNKNOWN);
            out.text(&format!("{event:?}"));
        }
    }
    None
}

fn encode_hello(hello: &Hello, out: &mut Vec<u8>) {
    let Hello { version, client, capabilities, port, key } = hello;
    out.count(*version);
    out.text(client);
    out.count(capabilities.len() as u64);
    capabilities.iter().for_each(|capability| encode_capability(*capability, out));
    out.count(*port);
    out.fixed(key);
}

fn encode_status(status: &Status, out: &mut Vec<u8>) {
    let Status { version, network_id, genesis, fork_id, chain } = status;
    out.count((*version).into());
    out.count(*network_id);
    out.fixed(genesis);
    out.fixed(&fork_id.hash);
    out.count(fork_id.next);
    match chain {
        ChainState::Difficulty { total, head } => {
            out.byte(1);
            out.fixed(total);
            out.fixed(head);
        }
        ChainState::Range(range) => {
            out.byte(2);
            out.count(range.earliest);
            out.count(range.latest);
            out.fixed(&range.latest_hash);
        }
    }
}

fn encode_end(end: &End, out: &mut Vec<u8>) {
    let End { by, stage, why } = end;
    out.byte(match by {
        Side::Us => 1,
        Side::Them => 2,
        Side::Network => 3,
    });
    out.byte(match stage {
        Stage::Dial => 1,
        Stage::Handshake => 2,
        Stage::Hello => 3,
        Stage::Status => 4,
        Stage::Established => 5,
        _ => UNKNOWN,
    });
    match why {
        EndReason::Disconnect(reason) => {
            out.byte(1);
            out.u16(reason_code(*reason));
        }
        EndReason::Fault(fault) => {
            out.byte(2);
            encode_fault(*fault, out);
        }
        EndReason::Status(refusal) => {
            out.byte(3);
            encode_status_refusal(*refusal, out);
        }
        EndReason::Refused(refusal) => {
            out.byte(4);
            out.byte(refusal_code(*refusal));
        }
        EndReason::Timeout(timer) => {
            out.byte(5);
            out.byte(match timer {
                ConnTimer::Connect => 1,
                ConnTimer::Handshake => 2,
                ConnTimer::Hello => 3,
                ConnTimer::Status => 4,
                ConnTimer::Ping => 5,
                ConnTimer::Idle => 6,
                ConnTimer::Write => 7,
                ConnTimer::Request => 8,
                ConnTimer::Closing => 9,
                ConnTimer::Frame => 10,
                _ => UNKNOWN,
            });
        }
        EndReason::Io(why) => {
            out.byte(6);
            encode_io(*why, out);
        }
        EndReason::Eof => out.byte(7),
        _ => out.byte(UNKNOWN),
    }
}

fn encode_io(why: IoFault, out: &mut Vec<u8>) {
    out.byte(io_fault_code(why));
}

fn encode_score_reason(reason: ScoreReason, out: &mut Vec<u8>) {
    match reason {
        ScoreReason::Fault(fault) => {
            out.byte(1);
            encode_fault(fault, out);
        }
        ScoreReason::Status(refusal) => {
            out.byte(2);
            encode_status_refusal(refusal, out);
        }
        // 3, 4, 5 and 7 were reasons of earlier releases.
        ScoreReason::Served => out.byte(6),
        ScoreReason::Embedder => out.byte(8),
        ScoreReason::Reported(label) => {
            out.byte(9);
            out.text(label.as_str());
        }
        ScoreReason::Unanswered => out.byte(10),
        _ => out.byte(UNKNOWN),
    }
}

fn encode_status_refusal(refusal: StatusRefusal, out: &mut Vec<u8>) {
    match refusal {
        StatusRefusal::Version(version) => {
            out.byte(1);
            out.count(version.into());
        }
        StatusRefusal::Network(network) => {
            out.byte(2);
            out.count(network);
        }
        StatusRefusal::Genesis => out.byte(3),
        StatusRefusal::Fork(mismatch) => {
            out.byte(4);
            out.byte(match mismatch {
                ForkMismatch::LocalIncompatibleOrStale => 1,
                ForkMismatch::RemoteStale => 2,
            });
        }
        StatusRefusal::Range => out.byte(5),
        _ => out.byte(UNKNOWN),
    }
}

/// Appends the reason for a refused command.
pub(in crate::format) fn encode_command_error(error: CommandError, out: &mut Vec<u8>) {
    let code = match error {
        CommandError::UnknownConn => 1,
        CommandError::UnknownPeer => 2,
        CommandError::NotEstablished => 3,
        CommandError::NotShared => 4,
        CommandError::UnknownMessage => 5,
        CommandError::UnknownRequest => 6,
        CommandError::TooLarge => 7,
        CommandError::Busy => 8,
        CommandError::NoPort => 9,
        CommandError::NoDiscovery => 10,
        CommandError::Refused(refusal) => {
            out.byte(0x80);
            refusal_code(refusal)
        }
        CommandError::ShuttingDown => 11,
        CommandError::RecordEntry => 12,
        CommandError::UnknownCapability => 13,
        CommandError::NotBanned => 14,
        CommandError::Distances => 15,
        CommandError::NoSessions => 16,
        _ => UNKNOWN,
    };
    out.byte(code);
}

const fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::Inbound => 1,
        Direction::Outbound => 2,
    }
}

const fn call_failure_code(why: CallFailure) -> u8 {
    match why {
        CallFailure::Timeout => 1,
        CallFailure::Filtered => 2,
        CallFailure::Busy => 3,
        CallFailure::Closed => 4,
        _ => UNKNOWN,
    }
}

const fn refusal_code(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::TooManyPeers => 1,
        Refusal::TooManyPending => 2,
        Refusal::TooManyFromSubnet => 3,
        Refusal::Throttled => 4,
        Refusal::AlreadyConnected => 5,
        Refusal::Banned => 6,
        Refusal::Filtered => 7,
        Refusal::ToSelf => 8,
        Refusal::RecentlyDialled => 9,
        Refusal::ShuttingDown => 10,
        Refusal::Overloaded => 11,
        Refusal::RecentlyPinged => 12,
        Refusal::TableFull => 13,
        Refusal::Replayed => 14,
        _ => UNKNOWN,
    }
}

fn encode_fault(fault: Fault, out: &mut Vec<u8>) {
    let code = match fault {
        Fault::Handshake => 1,
        Fault::HeaderMac => 2,
        Fault::FrameMac => 3,
        Fault::EmptyFrame => 4,
        Fault::TooLarge => 5,
        Fault::Snappy => 6,
        Fault::Message(error) => {
            out.byte(0x80);
            error.code()
        }
        Fault::HelloExpected => 7,
        Fault::HelloTwice => 8,
        Fault::IncompatibleVersion => 9,
        Fault::InvalidIdentity => 10,
        Fault::UnexpectedIdentity => 11,
        Fault::ConnectedToSelf => 12,
        Fault::Useless => 13,
        Fault::UnknownMessage => 14,
        // 15 was a flood of pings.
        Fault::StatusExpected => 16,
        Fault::StatusTwice => 17,
        Fault::ForbiddenMessage => 18,
        Fault::UnsolicitedResponse => 19,
        Fault::Overrun => 20,
        _ => UNKNOWN,
    };
    out.byte(code);
}
