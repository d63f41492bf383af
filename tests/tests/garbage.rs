//! Bad input: a million random, truncated and bit-flipped inputs for every decoder and for the node, without a panic
//! and without an allocation out of proportion.

use std::net::SocketAddr;
use std::time::Duration;

use peerless::contract::{Action, Command, ConnId, Input, SocketId, Via};
use peerless::crypto::{Secp256k1, SecretKey, keccak256};
use peerless::node::Node;
use peerless::rng::{Rng, Seed};
use peerless::testing::{START, chain, config};
use peerless::time::{Instant, UnixTime};
use peerless::wire::discv4::{Datagram, Endpoint, Neighbor, Packet};
use peerless::wire::enode::Enode;
use peerless::wire::enr::{Record, RecordBuilder};
use peerless::wire::forkid::ForkId;
use peerless::wire::p2p::{Capability, DisconnectReason, Hello};
use peerless::wire::rlp::{self, Bounds};
use peerless::wire::{eth, rlpx, snappy};
use peerless_tests::memory::{Counting, peak_of};

#[global_allocator]
static COUNTING: Counting = Counting;

/// Random bytes, or one of `samples` cut, flipped, spliced or lengthened.
fn mutate(rng: &mut Rng, samples: &[Vec<u8>], out: &mut Vec<u8>) {
    out.clear();
    let Some(sample) = rng.choose(samples).filter(|_| rng.clone().below(4) != 0) else {
        out.resize(rng.below(400) as usize, 0);
        rng.fill(out);
        return;
    };
    out.extend_from_slice(sample);
    for _ in 0..=rng.below(3) {
        if out.is_empty() {
            return;
        }
        let at = rng.below(out.len() as u64) as usize;
        match rng.below(6) {
            0 => out.truncate(at),
            1 => out[at] ^= 1 << rng.below(8),
            2 => out[at] = *rng.choose(&[0, 1, 0x7f, 0x80, 0x81, 0xb7, 0xb8, 0xbf, 0xc0, 0xf7, 0xf8, 0xff]).unwrap(),
            3 => out.insert(at, rng.u64() as u8),
            4 => drop(out.remove(at)),
            _ => out.extend_from_slice(&rng.bytes::<16>()),
        }
    }
}

/// Runs a decoder over a million inputs, and holds it to memory in proportion to its input.
fn decoder(name: &str, samples: &[Vec<u8>], decode: impl Fn(&[u8])) {
    let mut rng = Seed::new([3; 32]).fork(name);
    let mut input = Vec::new();
    for sample in samples {
        decode(sample);
    }
    for round in 0..1_000_000 {
        mutate(&mut rng, samples, &mut input);
        let peak = peak_of(|| decode(&input));
        assert!(
            peak <= 4096 + 64 * input.len(),
            "{name}, round {round}: {peak} bytes for {}",
            const_hex::encode(&input)
        );
    }
}

fn secret() -> SecretKey {
    SecretKey::from_bytes([7; 32]).unwrap()
}

fn record() -> Record {
    let mut builder = RecordBuilder::default();
    builder.endpoint("127.0.0.1:30303".parse().unwrap(), 30303);
    builder.fork_id(ForkId { hash: [1, 2, 3, 4], next: 5 });
    builder.sign(&Secp256k1::new(), &secret(), 9).unwrap()
}

fn packets() -> Vec<Packet> {
    let endpoint = Endpoint { ip: Some([127, 0, 0, 1].into()), udp: 30303, tcp: 30303 };
    let neighbor = Neighbor { ip: [10, 0, 0, 1].into(), udp: 1, tcp: 2, key: [9; 64] };
    let expiration = UnixTime::from_secs(1_750_000_020);
    vec![
        Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: Some(1) },
        Packet::Pong { to: endpoint, ping_hash: [1; 32], expiration, enr_seq: None },
        Packet::FindNode { target: [2; 64], expiration },
        Packet::Neighbors { nodes: vec![neighbor; 12], expiration },
        Packet::EnrRequest { expiration },
        Packet::EnrResponse { request_hash: [3; 32], record: record().as_bytes().to_vec() },
    ]
}

fn datagrams() -> Vec<Vec<u8>> {
    let crypto = Secp256k1::new();
    let seal = |packet: Packet| {
        let mut out = Vec::new();
        packet.seal(&crypto, &secret(), &mut out);
        out
    };
    packets().into_iter().map(seal).collect()
}

#[test]
fn rlp_and_discv4() {
    let samples = datagrams();
    let bodies: Vec<_> = samples.iter().map(|datagram| datagram[98..].to_vec()).collect();
    decoder("rlp", &bodies, |input| {
        let _ = rlp::list(input, Bounds::SMALL).map(|list| list.count());
        let _ = rlp::check(input, Bounds::MESSAGE);
    });
    decoder("discv4", &samples, |input| {
        let _ = Datagram::split(input).and_then(|datagram| {
            datagram.kind()?;
            datagram.decode()
        });
    });
}

#[test]
fn records_and_urls() {
    let crypto = Secp256k1::new();
    decoder("record", &[record().as_bytes().to_vec()], |input| {
        let _ = Record::decode(&crypto, input).map(|record| (record.contact(), record.fork_id()));
    });
    let url = chain_free_enode();
    let texts = [record().to_string().into_bytes(), url.into_bytes()];
    decoder("text", &texts, |input| {
        let text = String::from_utf8_lossy(input);
        let _ = text.parse::<Enode>();
        let _ = text.parse::<Record>();
    });
}

fn chain_free_enode() -> String {
    Node::new(config(0, 1), [0; 32], Instant::ZERO, START).unwrap().contact().to_string()
}

#[test]
fn session_messages() {
    let hello = Hello {
        version: 5,
        client: "client".into(),
        capabilities: vec![Capability::eth(68), Capability::snap(1)],
        port: 30303,
        key: [5; 64],
    };
    decoder("hello", &[hello.encode()], |input| drop(Hello::decode(input)));
    decoder("disconnect", &[DisconnectReason::TooManyPeers.encode()], |input| {
        let _ = DisconnectReason::decode(input);
    });
    let statuses = [chain(1).status(68).encode(), chain(1).status(69).encode()];
    decoder("status", &statuses, |input| {
        let _ = (eth::Status::decode(68, input), eth::Status::decode(69, input));
        let _ = (eth::BlockRange::decode(input), eth::request_id(input).map(|(id, _)| id));
    });
    let mut auth = Vec::new();
    rlpx::Auth { signature: peerless::crypto::RecoverableSignature([1; 65]), key: [2; 64], nonce: [3; 32], version: 4 }
        .encode(&mut auth);
    let mut ack = Vec::new();
    rlpx::Ack { ephemeral_key: [2; 64], nonce: [3; 32], version: 4 }.encode(&mut ack);
    decoder("auth and ack", &[auth, ack], |input| drop((rlpx::Auth::decode(input), rlpx::Ack::decode(input))));
}

#[test]
fn snappy_blocks() {
    let mut sample = Vec::new();
    snappy::Compressor::default().append(&[&b"some words, some words, some words".repeat(4)], &mut sample);
    let mut buffer = vec![0; 1 << 16];
    let buffer = std::cell::RefCell::new(&mut buffer);
    decoder("snappy", &[sample], |input| {
        if let Ok(len) = snappy::inflated_len(input, 1 << 16) {
            let _ = snappy::inflate(input, &mut buffer.borrow_mut()[..len]);
        }
    });
}

/// What two nodes say to each other when they meet, as datagrams.
fn overheard() -> Vec<Vec<u8>> {
    let mut node = Node::new(config(0, 1), [4; 32], Instant::ZERO, START).unwrap();
    let contact = Node::new(config(1, 1), [5; 32], Instant::ZERO, START).unwrap().contact();
    node.command(Instant::ZERO, Command::Ping { via: Via::Discv4, contact }).unwrap();
    let mut heard = datagrams();
    while let Some(action) = node.poll_action() {
        if let Action::Send { bytes, .. } = action {
            heard.push(bytes.to_vec());
        }
    }
    heard
}

#[test]
fn the_node() {
    let samples = overheard();
    let mut node = Node::new(config(0, 1), [6; 32], Instant::ZERO, START).unwrap();
    let mut rng = Seed::new([8; 32]).fork("node");
    let mut now = Instant::ZERO;
    let mut input = Vec::new();
    let mut conns: Vec<ConnId> = Vec::new();
    let peak = peak_of(|| {
        for _ in 0..1_000_000 {
            now = now + Duration::from_micros(rng.below(20_000));
            let from: SocketAddr = ([127, 0, 0, 1 + rng.below(4) as u8], 1 + rng.below(60_000) as u16).into();
            let conn = rng.choose(&conns).copied().unwrap_or(ConnId(rng.below(10)));
            match rng.below(12) {
                0..=2 => {
                    mutate(&mut rng, &samples, &mut input);
                    if input.len() > 98 && rng.below(4) == 0 {
                        let hash = keccak256(&input[32..]);
                        input[..32].copy_from_slice(&hash);
                    }
                    node.handle(now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &input });
                }
                3 => conns.extend(node.accept(now, SocketId::MAIN, from)),
                4 | 5 => {
                    mutate(&mut rng, &samples, &mut input);
                    node.handle(now, Input::Bytes { conn, bytes: &input });
                }
                6 => node.handle(now, Input::Connected { conn, local: None }),
                7 => node.handle(now, Input::Wrote { conn, n: rng.below(2000) as usize }),
                8 => node.handle(now, Input::Eof { conn }),
                9 => node.handle(now, Input::Timeout),
                10 => node.handle(now, Input::Broken { conn, why: peerless::contract::IoFault::Reset }),
                _ => {
                    let dial = node.contact();
                    let _ = node.command(now, Command::Dial { contact: dial });
                    let _ = node.command(now, Command::Lookup { target: rng.bytes() });
                }
            }
            if let Some((at, reason)) = node.poll_timeout() {
                assert!(at > now, "the deadline for {reason:?} does not advance");
            }
            let _ = (node.outbound(conn), node.wants_read(conn));
            if rng.below(8) == 0 {
                while node.poll_action().is_some() {}
                conns.retain(|conn| node.wants_read(*conn));
            }
        }
    });
    assert!(peak < 16 << 20, "{peak} bytes at the peak");
}
