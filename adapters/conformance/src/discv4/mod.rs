//! The cases of discv4 (`discv4.md`, EIP-8, EIP-868).

mod caller;
mod findnode;
mod ping;
mod proofs;
mod records;
#[cfg(test)]
mod tests;
mod words;

use crate::case::{Basis, Case};

const PING: &str = "discv4.md, Ping Packet (0x01)";
const PONG: &str = "discv4.md, Pong Packet (0x02)";
const FIND_NODE: &str = "discv4.md, FindNode Packet (0x03)";
const ENR_REQUEST: &str = "discv4.md, ENRRequest Packet (0x05)";
const ENDPOINT_PROOF: &str = "discv4.md, Endpoint Proof";
const WIRE: &str = "discv4.md, Wire Protocol";
const EIP_8: &str = "discv4.md, EIP-8";

const PONG_FOLLOWS: &str = "when a ping is received, the recipient replies with a pong that has the ping's hash, and with \
                            a ping of its own if it has no endpoint proof of the sender";
const EXTRAS_IGNORED: &str = "additional elements of the list and bytes after it are ignored";
const ENDPOINTS_IGNORED: &str = "a ping is answered to the address that it came from, whatever endpoints it names";
const EXPIRED: &str = "packets with a time stamp in the past are not processed";
const PROOF_FIRST: &str = "only a sender that has answered a ping by its hash within the last 12 hours is verified, and only \
                           verified senders receive answers larger than their requests";

/// All cases. Those of hive come first, in hive's order.
pub const CASES: &[Case] = &[
    hive("Ping/Basic", PING, PONG_FOLLOWS, ping::basic),
    hive("Ping/WrongTo", PING, ENDPOINTS_IGNORED, ping::wrong_to),
    hive("Ping/WrongFrom", PING, ENDPOINTS_IGNORED, ping::wrong_from),
    hive("Ping/ExtraData", EIP_8, EXTRAS_IGNORED, ping::extra_data),
    hive("Ping/ExtraDataWrongFrom", EIP_8, EXTRAS_IGNORED, ping::extra_data_wrong_from),
    hive("Ping/PastExpiration", PING, EXPIRED, ping::past_expiration),
    hive("Ping/WrongPacketType", WIRE, "packets of unknown types are not answered", ping::wrong_packet_type),
    hive("Ping/BondThenPingWithWrongFrom", PING, ENDPOINTS_IGNORED, ping::bond_then_wrong_from),
    hive(
        "ENRRequest",
        ENR_REQUEST,
        "a verified sender receives an ENRResponse with the request's hash and the node's record",
        records::request,
    ),
    hive("Findnode/WithoutEndpointProof", FIND_NODE, PROOF_FIRST, findnode::without_endpoint_proof),
    hive(
        "Findnode/BasicFindnode",
        FIND_NODE,
        "a verified sender receives Neighbors with the closest nodes of the table",
        findnode::basic,
    ),
    hive(
        "Findnode/UnsolicitedNeighbors",
        FIND_NODE,
        "Neighbors are the reply to a FindNode: without one, their nodes are not taken into the table",
        findnode::unsolicited_neighbors,
    ),
    hive("Findnode/PastExpiration", FIND_NODE, EXPIRED, findnode::past_expiration),
    hive("Amplification/InvalidPongHash", ENDPOINT_PROOF, PROOF_FIRST, proofs::invalid_pong_hash),
    hive("Amplification/WrongIP", ENDPOINT_PROOF, PROOF_FIRST, proofs::wrong_ip),
    specified("Ping/OtherVersion", EIP_8, "mismatches of the version of a ping are ignored", ping::other_version),
    specified("Ping/TrailingBytes", EIP_8, EXTRAS_IGNORED, ping::trailing_bytes),
    specified(
        "Ping/LargestPacket",
        WIRE,
        "packets have at most 1280 bytes, and may have as many",
        ping::largest_packet,
    ),
    specified("Ping/TooLarge", WIRE, "packets have at most 1280 bytes", ping::too_large),
    specified("Ping/WrongHash", WIRE, "the hash is that of signature, packet-type and packet-data", ping::wrong_hash),
    specified("Ping/NoSignature", WIRE, "every packet is signed by the node's identity key", ping::no_signature),
    specified(
        "Pong/Unsolicited",
        PONG,
        "pongs that do not contain the hash of the most recent ping are ignored",
        ping::unsolicited_pong,
    ),
    specified("ENRRequest/WithoutEndpointProof", ENR_REQUEST, PROOF_FIRST, records::without_endpoint_proof),
    specified(
        "ENRRequest/PastExpiration",
        ENR_REQUEST,
        "no reply is sent if the expiration refers to a time in the past",
        records::past_expiration,
    ),
    specified(
        "ENRRequest/SequenceNumber",
        "EIP-868, Protocol Extension",
        "enr-seq of a pong is the sequence number of the node's record",
        records::sequence_number,
    ),
    specified(
        "Findnode/Results",
        FIND_NODE,
        "the reply has the closest 16 nodes at most, each once, in packets of at most 1280 bytes",
        findnode::results,
    ),
    specified("Amplification/PongOfOtherNode", ENDPOINT_PROOF, PROOF_FIRST, proofs::pong_of_other_node),
    practice(
        "Ping/NoAddress",
        "some nodes leave the addresses in their pings empty; the source of the datagram is what counts",
        ping::no_address,
    ),
    practice(
        "Ping/SameAddress",
        "answers come from the address and port that the request was sent to, or they are lost in translators of addresses",
        ping::same_address,
    ),
    practice("Amplification/WrongPort", "an endpoint proof is of one address and port (attack D3)", proofs::wrong_port),
    practice(
        "Amplification/PongFromOtherPort",
        "a pong proves the endpoint that was pinged, and counts from there only (attack D2)",
        proofs::pong_from_other_port,
    ),
    practice(
        "Amplification/SizeOfAnswers",
        "an endpoint that has proven nothing receives at most three times the bytes that it sent, and one datagram (D1, D5)",
        proofs::size_of_answers,
    ),
    practice(
        "Findnode/UnsolicitedNeighborsNotPinged",
        "the addresses in Neighbors that no request asked for are not contacted (attacks D9, D10)",
        findnode::unsolicited_not_pinged,
    ),
    practice(
        "Findnode/Replay",
        "a datagram that comes again later is not answered again (attack D13)",
        findnode::replay,
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
    Case { name, basis: Basis::Practice, section: "beyond discv4.md", says, run }
}
