//! The cases of discv5.1 (`discv5-wire.md`, `discv5-theory.md`).

mod bystanders;
mod handshake;
mod peer;
mod requests;
#[cfg(test)]
mod tests;

use crate::case::{Basis, Case};

const HEADER: &str = "discv5-wire.md, Protocol Header";
const UDP: &str = "discv5-wire.md, UDP Communication";
const WHOAREYOU: &str = "discv5-wire.md, WHOAREYOU Packet (flag = 1)";
const HANDSHAKE: &str = "discv5-wire.md, Handshake Message Packet (flag = 2)";
const MESSAGES: &str = "discv5-wire.md, Protocol Messages";
const PONG: &str = "discv5-wire.md, PONG Response (0x02)";
const FINDNODE: &str = "discv5-wire.md, FINDNODE Request (0x03)";
const NODES: &str = "discv5-wire.md, NODES Response (0x04)";
const TALKREQ: &str = "discv5-wire.md, TALKREQ Request (0x05)";
const SESSIONS: &str = "discv5-theory.md, Session Cache";
const STEPS: &str = "discv5-theory.md, Handshake Steps";

const PROVEN_ONLY: &str = "a message is answered after the sender has proven its identity by a signature of the challenge, \
                           with the key of its node record";

/// All cases. Those of hive come first, in hive's order.
pub const CASES: &[Case] = &[
    hive(
        "Ping",
        PONG,
        "PONG repeats the request id and has the address and port that the PING came from",
        requests::ping,
    ),
    hive(
        "PingLargeRequestID",
        MESSAGES,
        "a request id has at most 8 bytes: a message with 9 is not answered",
        requests::ping_large_request_id,
    ),
    hive(
        "PingMultiIP",
        SESSIONS,
        "a session is of a node id at an address and port: from another endpoint, a new handshake is needed",
        handshake::ping_multi_ip,
    ),
    hive(
        "HandshakeResend",
        STEPS,
        "while a challenge waits for its answer, further packets that cannot be decrypted lead to the same challenge",
        handshake::resend,
    ),
    hive(
        "TalkRequest",
        TALKREQ,
        "a request of an unknown protocol is answered with an empty response",
        requests::talk_request,
    ),
    hive(
        "FindnodeZeroDistance",
        FINDNODE,
        "the result for distance 0 is the node's own record",
        requests::findnode_zero_distance,
    ),
    hive(
        "FindnodeResults",
        FINDNODE,
        "the result has the nodes of the table at the distances that were asked for",
        bystanders::findnode_results,
    ),
    specified(
        "Whoareyou/Form",
        WHOAREYOU,
        "the challenge has the nonce of the packet that caused it, no message, and enr-seq 0 for a node that is not known",
        handshake::challenge_form,
    ),
    specified("Whoareyou/FreshIdNonce", WHOAREYOU, "id-nonce is random", handshake::fresh_id_nonce),
    specified("Handshake/NoRecord", HANDSHAKE, "if enr-seq is zero, the record must be sent", handshake::no_record),
    specified("Handshake/OtherRecord", HANDSHAKE, PROVEN_ONLY, handshake::other_record),
    specified("Handshake/WrongSignature", STEPS, PROVEN_ONLY, handshake::wrong_signature),
    specified("Handshake/Unsolicited", STEPS, PROVEN_ONLY, handshake::unsolicited),
    specified("Session/Reuse", SESSIONS, "within a session, messages need no further handshake", handshake::reuse),
    specified(
        "Header/OtherProtocol",
        HEADER,
        "packets with mismatching protocol-id are not answered",
        handshake::other_protocol,
    ),
    specified("Packet/TooLarge", UDP, "packets of more than 1280 bytes are rejected", requests::too_large),
    specified("Packet/TooSmall", UDP, "packets of fewer than 63 bytes are rejected", handshake::too_small),
    specified(
        "Ping/SequenceNumber",
        PONG,
        "enr-seq of a PONG is the sequence number of the node's record",
        requests::sequence_number,
    ),
    specified(
        "Findnode/Total",
        NODES,
        "as many NODES responses come as each of them says, in packets of at most 1280 bytes, with valid records at the \
         distances that were asked for",
        requests::findnode_total,
    ),
    practice("Header/OtherVersion", "packets of another version are not answered", handshake::other_version),
    practice(
        "Whoareyou/NotAmplified",
        "a challenge is smaller than any packet that leads to it, and one packet leads to one (attack V1)",
        handshake::not_amplified,
    ),
    practice("Findnode/LimitedResults", "a result has at most 16 nodes", requests::limited_results),
    practice(
        "Findnode/DistanceTooLarge",
        "there is no distance above 256: no nodes are returned for it",
        requests::distance_too_large,
    ),
];

type Run = fn(&mut crate::trial::Trial<'_>) -> Result<(), crate::trial::Stop>;

const fn hive(name: &'static str, section: &'static str, says: &'static str, run: Run) -> Case {
    Case { name, basis: Basis::Hive, section, says, run }
}

const fn specified(name: &'static str, section: &'static str, says: &'static str, run: Run) -> Case {
    Case { name, basis: Basis::Specification, section, says, run }
}

const fn practice(name: &'static str, says: &'static str, run: Run) -> Case {
    Case { name, basis: Basis::Practice, section: "beyond discv5-wire.md", says, run }
}
