use peerless::contract::{Addresses, Devp2p, PeerKind, SocketId, Via};
use peerless::crypto::{Crypto, Secp256k1, SecretKey};
use peerless::netfilter::{Extent, Reach};
use peerless::wire::enode::{Contact, NamedNode};
use peerless::wire::forkid::Head;
use peerless::wire::p2p::{Capability, DisconnectReason};
use proptest::prelude::*;

use super::*;

fn contact() -> Contact {
    let key = Secp256k1::new().public_key(&SecretKey::from_bytes([5; 32]).unwrap());
    Contact::new(key, "2001:db8::1".parse().unwrap(), 1, 65535)
}

/// One input of each kind.
fn all() -> Vec<OwnedInput> {
    let (conn, contact, target) = (ConnId(1 << 60), contact(), Box::new([7; 64]));
    let (from, ttl): (SocketAddr, _) = ("10.1.2.3:4".parse().unwrap(), Duration::from_secs(3600));
    let head = Head { number: 1, time: 2, hash: [3; 32] };
    let mut addresses = Addresses::default();
    (addresses.ip4, addresses.udp, addresses.tcp6) = (Some([1, 2, 3, 4].into()), 5, Some(6));
    let mut without_ports6 = addresses;
    without_ports6.tcp6 = None;
    let node = NamedNode::new(contact.key(), "a-b.example.org", 7, 8).unwrap();
    let commands = [
        OwnedCommand::SetAddresses { addresses },
        OwnedCommand::AddEndpoint { contact },
        OwnedCommand::AddPeerByName { node: node.clone(), kind: PeerKind::Static },
        OwnedCommand::SetNamedBootnodes { nodes: vec![node.clone(), node] },
        OwnedCommand::SetReach { reach: Reach { ip4: Extent::None, ip6: Extent::Local } },
        OwnedCommand::SetAddresses { addresses: without_ports6 },
        OwnedCommand::AddPeer { contact, kind: PeerKind::Trusted },
        OwnedCommand::RemovePeer { id: contact.id() },
        OwnedCommand::Dial { contact },
        OwnedCommand::Disconnect { conn, reason: DisconnectReason::Unreadable },
        OwnedCommand::Disconnect { conn, reason: DisconnectReason::Other(0x77) },
        OwnedCommand::AddNode { contact },
        OwnedCommand::Ping { via: Via::Discv4, contact },
        OwnedCommand::RequestRecord { via: Via::Discv4, contact },
        OwnedCommand::FindNode { contact, target: target.clone() },
        OwnedCommand::Lookup { target },
        OwnedCommand::Send { conn, capability: Capability::eth(69), id: 2, payload: vec![1; 300] },
        OwnedCommand::Request { conn, capability: Capability::eth(69), id: 3, body: vec![] },
        OwnedCommand::Respond { conn, capability: Capability::snap(1), request_id: u64::MAX, id: 4, body: vec![0xc0] },
        OwnedCommand::SetHead { head, earliest: 1 },
        OwnedCommand::Shutdown,
    ];
    let inputs = [
        OwnedInput::Datagram { socket: SocketId(3), from, bytes: vec![9; 100] },
        OwnedInput::Incoming { socket: SocketId::MAIN, from },
        OwnedInput::Connected { conn, local: None },
        OwnedInput::Connected { conn, local: Some(from) },
        OwnedInput::Bytes { conn, bytes: vec![8; 200] },
        OwnedInput::Wrote { conn, n: 12345 },
        OwnedInput::Eof { conn },
        OwnedInput::Broken { conn, why: IoFault::Exhausted },
        OwnedInput::WallClock { unix: UnixTime::from_micros(1_750_000_000_123_456) },
        OwnedInput::Answer { id: QueryId(7), result: Err(QueryFault::NotFound) },
        OwnedInput::Answer {
            id: QueryId(8),
            result: Ok(OwnedAnswer::Txt { records: vec![vec![1; 500], vec![]], ttl }),
        },
        OwnedInput::Answer { id: QueryId(9), result: Ok(OwnedAnswer::Hosts { addrs: vec![from.ip()], ttl }) },
        OwnedInput::Timeout,
    ];
    inputs.into_iter().chain(commands.map(OwnedInput::Command)).collect()
}

#[test]
fn every_input_comes_back() {
    let crypto = Secp256k1::new();
    for input in all() {
        let mut bytes = Vec::new();
        input.with_input::<Devp2p, _>(|input| encode::<Devp2p>(&input, Payload::Here, &mut bytes));
        let mut decoder = Decoder::new(&bytes, &crypto);
        assert_eq!(decode::<Devp2p>(&mut decoder, &mut Vec::new()).as_ref(), Ok(&input));
        decoder.end().unwrap();
        for end in 0..bytes.len() {
            let cut = decode::<Devp2p>(&mut Decoder::new(&bytes[..end], &crypto), &mut Vec::new());
            assert!(cut.is_err(), "{input}, cut at {end}");
        }
    }
}

#[test]
fn payloads_in_packets_must_be_there() {
    let crypto = Secp256k1::new();
    let input = OwnedInput::Bytes { conn: ConnId(1), bytes: vec![8; 200] };
    let mut bytes = Vec::new();
    input.with_input::<Devp2p, _>(|input| encode::<Devp2p>(&input, Payload::InPackets, &mut bytes));
    assert!(bytes.len() < 10);
    for (packets, is_right) in [(vec![8; 200], true), (vec![8; 199], false), (Vec::new(), false)] {
        let decoded = decode::<Devp2p>(&mut Decoder::new(&bytes, &crypto), &mut packets.clone());
        assert_eq!(decoded.as_ref() == Ok(&input), is_right);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read(tag in 0u8..12, command in 0u8..26, rest: Vec<u8>) {
        let bytes = [&[tag, command], &rest[..]].concat();
        let _ = decode::<Devp2p>(&mut Decoder::new(&bytes, &Secp256k1::new()), &mut Vec::new());
    }
}
