//! Sessions in memory: two of them, or one against frames made by hand.

use alloc::sync::Arc;
use alloc::vec;

use proptest::prelude::*;

use super::*;
use crate::contract::Context;
use crate::crypto::mac::Keccak;
use crate::crypto::secrets::Secrets;
use crate::crypto::{Crypto, Secp256k1, SecretKey};
use crate::netfilter::NetFilter;
use crate::rlpx::{Handshake, Progress};
use crate::rng::{Rng, Seed};
use crate::time::UnixTime;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Got {
    Hello,
    Message(Capability, u64, Vec<u8>),
    Disconnected(DisconnectReason),
    Fault(Fault),
}

/// A session with its surroundings.
struct End {
    context: Context,
    rng: Rng,
    local: LocalHello,
    session: Session,
    out: Outbound,
}

fn secret(name: &str) -> SecretKey {
    SecretKey::generate(&mut Seed::new([9; 32]).fork(name))
}

fn key(name: &str) -> PublicKey {
    Secp256k1::new().public_key(&secret(name))
}

fn hello(name: &str, capabilities: &[&str]) -> Hello {
    Hello {
        version: P2P_VERSION,
        client: name.into(),
        capabilities: capabilities.iter().map(|name| name.parse().unwrap()).collect(),
        port: 0,
        key: *key(name).as_bytes(),
    }
}

/// The two ends of a stream, as a handshake leaves them.
fn pair_of_frames() -> (Frames, Frames) {
    let mac = |name: &[u8]| {
        let mut mac = Keccak::new();
        mac.update(name);
        mac
    };
    let secrets = |egress: &[u8], ingress: &[u8]| Secrets {
        aes: [5; 32].into(),
        mac: [6; 32].into(),
        egress: mac(egress),
        ingress: mac(ingress),
    };
    let crypto = Secp256k1::new();
    (Frames::new(&crypto, secrets(b"auth", b"ack")), Frames::new(&crypto, secrets(b"ack", b"auth")))
}

impl End {
    fn new(hello: Hello, remote: PublicKey, frames: Frames) -> Self {
        let unix = UnixTime::from_secs(1_800_000_000);
        let mut context = Context::new(Instant::ZERO, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
        let mut rng = Seed::new([1; 32]).fork("session");
        let mut table = CapabilityTable::default();
        table.register("test/1".parse().unwrap(), 200);
        let local = LocalHello::new(hello, table).unwrap();
        let mut out = Outbound::default();
        let session = Session::new(&mut context.cx(&mut rng), Agreed::new(remote, frames), &local, &mut out);
        Self { context, rng, local, session, out }
    }

    fn advance(&mut self, by: Duration) {
        let now = self.context.now() + by;
        self.context.advance(now);
    }

    /// Takes all of `bytes`, as a connection does.
    fn take(&mut self, bytes: &[u8]) -> Vec<Got> {
        let mut rest = bytes;
        let mut got = Vec::new();
        loop {
            let mut cx = self.context.cx(&mut self.rng);
            got.push(match self.session.handle_bytes(&mut cx, &self.local, &mut rest, &mut self.out) {
                Step::Pending => {
                    assert!(rest.is_empty());
                    return got;
                }
                Step::Hello => Got::Hello,
                Step::Message { capability, id } => {
                    let payload = cx.out.staged().to_vec();
                    cx.out.discard_staged();
                    Got::Message(capability, id, payload)
                }
                Step::Disconnected(reason) => Got::Disconnected(reason),
                Step::Fault(fault) => Got::Fault(fault),
            });
            assert!(cx.out.staged().is_empty(), "only messages are staged");
        }
    }

    fn send(&mut self, capability: Capability, id: u64, parts: &[&[u8]]) -> Result<(), CommandError> {
        let mut cx = self.context.cx(&mut self.rng);
        self.session.send(&mut cx, &mut self.out, capability, id, parts)
    }

    fn timeout(&mut self, reading: bool) -> Option<EndReason> {
        let end = self.session.handle_timeout(&mut self.context.cx(&mut self.rng), &mut self.out, reading);
        assert!(self.session.poll_timeout().is_none_or(|(at, _)| at > self.context.now()), "deadlines advance");
        end
    }

    fn flush(&mut self) -> Vec<u8> {
        let bytes = self.out.as_slice().to_vec();
        self.out.consume(bytes.len());
        bytes
    }
}

/// Two sessions.
fn pair(ours: &[&str], theirs: &[&str]) -> (End, End) {
    let (a, b) = pair_of_frames();
    (End::new(hello("a", ours), key("b"), a), End::new(hello("b", theirs), key("a"), b))
}

fn open_pair(ours: &[&str], theirs: &[&str]) -> (End, End) {
    let (mut a, mut b) = pair(ours, theirs);
    assert_eq!(b.take(&a.flush()), [Got::Hello]);
    assert_eq!(a.take(&b.flush()), [Got::Hello]);
    (a, b)
}

/// A session, and a peer that can put anything into its frames.
struct Raw {
    end: End,
    peer: Frames,
    crypto: Secp256k1,
}

impl Raw {
    fn new(capabilities: &[&str]) -> Self {
        let (a, peer) = pair_of_frames();
        Self { end: End::new(hello("a", capabilities), key("b"), a), peer, crypto: Secp256k1::new() }
    }

    /// As new, with the peer's Hello said in the given version.
    fn open(capabilities: &[&str], version: u64) -> Self {
        let mut raw = Self::new(capabilities);
        let theirs = Hello { version, ..hello("b", capabilities) };
        assert_eq!(raw.say(0, &theirs.encode()), [Got::Hello]);
        raw.heard();
        raw
    }

    fn frame(&mut self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.peer.sealer.begin(&mut out);
        out.extend_from_slice(body);
        self.peer.sealer.finish(&self.crypto, &mut out, start).unwrap();
        out
    }

    fn body(&mut self, body: &[u8]) -> Vec<Got> {
        let frame = self.frame(body);
        self.end.take(&frame)
    }

    /// A message as it stands, uncompressed.
    fn say(&mut self, id: u64, payload: &[u8]) -> Vec<Got> {
        let mut body = Vec::new();
        p2p::append_message_id(id, &mut body);
        body.extend_from_slice(payload);
        self.body(&body)
    }

    /// Flushes the session; the bodies that it has sent.
    fn heard(&mut self) -> Vec<Vec<u8>> {
        let bytes = self.end.flush();
        let mut rest = &bytes[..];
        let mut bodies = Vec::new();
        while let Some(body) = self.peer.opener.handle_bytes(&self.crypto, &mut rest, 1 << 24).unwrap() {
            bodies.push(body.to_vec());
        }
        bodies
    }

    /// Flushes the session; its last words, which must be the last.
    fn last_words(&mut self) -> DisconnectReason {
        let last = self.heard().pop().expect("last words");
        assert_eq!(last[0], 1);
        assert!(self.end.session.is_over() && self.end.session.poll_timeout().is_none());
        if self.end.session.snappy() {
            let mut out = vec![0; snappy::inflated_len(&last[1..], 100).unwrap()];
            snappy::inflate(&last[1..], &mut out).unwrap();
            DisconnectReason::decode(&out)
        } else {
            DisconnectReason::decode(&last[1..])
        }
    }
}

fn pack(payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    snappy::Compressor::default().append(&[payload], &mut out);
    out
}

const ETH: Capability = Capability::eth(69);
const SNAP: Capability = Capability::snap(1);

#[test]
fn two_sessions_talk() {
    let (mut a, mut b) = open_pair(&["eth/68", "eth/69", "snap/1"], &["snap/1", "eth/69", "eth/70"]);
    assert_eq!(a.session.shared(), b.session.shared());
    assert_eq!(a.session.shared().iter().map(|shared| shared.offset).collect::<Vec<_>>(), [0x10, 0x22]);
    assert_eq!(a.session.hello().unwrap().client, "b");
    assert!(a.session.snappy());
    a.send(ETH, 3, &[b"\xc2", b"\x05\xc0"]).unwrap();
    a.send(SNAP, 7, &[]).unwrap();
    assert_eq!(b.take(&a.flush()), [Got::Message(ETH, 3, b"\xc2\x05\xc0".into()), Got::Message(SNAP, 7, vec![])]);
    assert_eq!(a.context.stats.messages_out, b.context.stats.messages_in);
    assert_eq!(a.context.stats.frames_out, b.context.stats.frames_in);
    assert_eq!(a.context.stats.messages_out[&(ETH, 3)].bytes, 3);

    let mut cx = a.context.cx(&mut a.rng);
    a.session.disconnect(&mut cx, &mut a.out, DisconnectReason::ClientQuitting);
    a.session.disconnect(&mut cx, &mut a.out, DisconnectReason::Requested);
    assert_eq!(b.take(&a.flush()), [Got::Disconnected(DisconnectReason::ClientQuitting)]);
    assert!(b.flush().is_empty() && b.session.is_over() && b.session.shared().is_empty());
    assert_eq!(a.send(ETH, 3, &[]), Err(CommandError::UnknownConn));
    assert_eq!(a.take(b"anything"), [], "what comes after the end is not read");
}

#[test]
fn from_the_handshake_on() {
    let unix = UnixTime::from_secs(1_800_000_000);
    let mut context = Context::new(Instant::ZERO, unix, NetFilter::default(), Arc::new(Secp256k1::new()));
    let mut rng = Seed::new([4; 32]).fork("handshake");
    let mut cx = context.cx(&mut rng);
    let (mut to_b, mut to_a) = (Outbound::default(), Outbound::default());
    let a = Handshake::initiate(&mut cx, &secret("a"), &key("a"), key("b"), &mut to_b);
    let b = Handshake::receive().handle_bytes(&mut cx, &secret("b"), &mut to_b.as_slice(), &mut to_a);
    let a = a.handle_bytes(&mut cx, &secret("a"), &mut to_a.as_slice(), &mut to_b);
    let (Progress::Done(a), Progress::Done(b)) = (a, b) else { panic!("both sides agree") };
    let mut a = End::new(hello("a", &["eth/69"]), a.key, a.frames);
    let mut b = End::new(hello("b", &["eth/69"]), b.key, b.frames);
    assert_eq!(b.take(&a.flush()), [Got::Hello]);
    assert_eq!(a.take(&b.flush()), [Got::Hello]);
    a.send(ETH, 2, &[&[0xc0]]).unwrap();
    assert_eq!(b.take(&a.flush()), [Got::Message(ETH, 2, vec![0xc0])]);
}

#[test]
fn what_cannot_be_sent() {
    let (mut a, b) = pair(&["eth/69"], &["eth/69", "snap/1"]);
    assert_eq!(a.send(ETH, 0, &[]), Err(CommandError::NotEstablished));
    let hello = b.out.as_slice().to_vec();
    assert_eq!(a.take(&hello), [Got::Hello]);
    a.flush();
    assert_eq!(a.send(SNAP, 0, &[]), Err(CommandError::NotShared));
    assert_eq!(a.send(Capability::eth(68), 0, &[]), Err(CommandError::NotShared));
    assert_eq!(a.send(ETH, 18, &[]), Err(CommandError::UnknownMessage));
    let large = vec![0; limits::ETH_MESSAGE_BYTES_MAX];
    assert_eq!(a.send(ETH, 17, &[&large, &[0]]), Err(CommandError::TooLarge));
    assert!(a.out.is_empty(), "nothing of it is queued");
    assert_eq!(a.send(ETH, 17, &[&large]), Ok(()));

    let mut rng = Seed::new([2; 32]).fork("noise");
    let mut noise = vec![0; 500_000];
    rng.fill(&mut noise);
    let sent = (0..100).filter(|_| a.send(ETH, 2, &[&noise]).is_ok()).count();
    assert!((2..6).contains(&sent), "{sent}");
    assert_eq!(a.send(ETH, 2, &[&[0xc0]]), Err(CommandError::Busy));
    assert!(a.out.len() <= limits::OUTBOUND_BYTES_MAX + noise.len() + 1000);
    a.out.consume(noise.len());
    assert_eq!(a.send(ETH, 2, &[&[0xc0]]), Ok(()));
}

#[test]
fn hellos_that_end_the_session() {
    let b = || hello("b", &["eth/69"]);
    let other = *key("c").as_bytes();
    let cases = [
        (Hello { key: [0; 64], ..b() }, Fault::InvalidIdentity),
        (Hello { key: other, ..b() }, Fault::UnexpectedIdentity),
        (Hello { version: 3, ..b() }, Fault::IncompatibleVersion),
        (Hello { version: 0, ..b() }, Fault::IncompatibleVersion),
        (Hello { capabilities: vec![], ..b() }, Fault::Useless),
        (hello("b", &["eth/65", "les/4", "foo/1"]), Fault::Useless),
    ];
    for (hello, fault) in cases {
        let mut raw = Raw::new(&["eth/68", "eth/69"]);
        assert_eq!(raw.say(0, &hello.encode()), [Got::Fault(fault)]);
        assert_eq!(raw.end.session.hello(), Some(&hello), "what it said can be told");
        assert_eq!(Some(raw.last_words()), fault.disconnect_reason());
    }
    // Hive's MaliciousHandshake: keys of the wrong length.
    for len in [2usize, 63, 65, 128] {
        let mut rlp = crate::wire::rlp::RlpStream::new_list(5);
        rlp.append(&5u64).append(&"x").begin_list(0).append(&0u64).append(&vec![7u8; len]);
        let mut raw = Raw::new(&["eth/69"]);
        assert_eq!(raw.say(0, &rlp.out()), [Got::Fault(Fault::Message(DecodeError::WrongLength))]);
        assert_eq!(raw.last_words(), DisconnectReason::ProtocolBreach);
    }
    let (frames, mut peer) = pair_of_frames();
    let mut end = End::new(hello("a", &["eth/69"]), key("a"), frames);
    let mut echo = Vec::new();
    let start = peer.sealer.begin(&mut echo);
    echo.push(0x80);
    echo.extend_from_slice(&hello("a", &["eth/69"]).encode());
    peer.sealer.finish(&Secp256k1::new(), &mut echo, start).unwrap();
    assert_eq!(end.take(&echo), [Got::Fault(Fault::ConnectedToSelf)]);
}

#[test]
fn odd_hellos_that_are_accepted() {
    let names = vec!["eth/69"; 64];
    for hello in [
        Hello { version: 55, ..hello("b", &["eth/69"]) },
        Hello { version: u64::MAX, port: u64::MAX, ..hello("b", &names) },
        Hello { client: "\u{1b}[2J\n".into(), ..hello("b", &["eth/69"]) },
    ] {
        for id in [0x00, 0x80] {
            let mut raw = Raw::new(&["eth/69"]);
            assert_eq!(raw.body(&[&[id][..], &hello.encode()].concat()), [Got::Hello]);
            assert!(raw.end.session.hello().unwrap().client.bytes().all(|byte| byte >= b' '));
            assert_eq!(raw.end.session.shared().len(), 1);
        }
    }
}

#[test]
fn version_4_turns_snappy_off() {
    let mut raw = Raw::open(&["eth/69"], 4);
    assert!(!raw.end.session.snappy());
    assert_eq!(raw.say(0x12, b"\xc1\x05"), [Got::Message(ETH, 2, b"\xc1\x05".into())]);
    raw.end.send(ETH, 2, &[b"\xc2", b"\x05\x06"]).unwrap();
    assert_eq!(raw.heard(), [b"\x12\xc2\x05\x06"]);
    let large = vec![0; limits::ETH_MESSAGE_BYTES_MAX + 1];
    assert_eq!(raw.say(0x12, &large[1..]).len(), 1);
    assert_eq!(raw.say(0x12, &large), [Got::Fault(Fault::TooLarge)]);
    assert_eq!(raw.last_words(), DisconnectReason::ProtocolBreach);
}

#[test]
fn the_first_message() {
    for id in [2, 3, 4, 0x0f, 0x10, 0x11, 300] {
        let mut raw = Raw::new(&["eth/69"]);
        assert_eq!(raw.say(id, &[0xc0]), [Got::Fault(Fault::HelloExpected)]);
        let said = raw.heard();
        assert_eq!(said.len(), 2, "Hello and Disconnect");
        assert_eq!(said[1], [1, 0xc1, 2], "not compressed: the peer has not said its version");
    }
    let sized = |bytes: usize| {
        let theirs = Hello { client: "".into(), ..hello("b", &["eth/69"]) };
        // A name this long takes two more bytes for its length, the list around it one.
        let name = bytes - theirs.encode().len() - 3;
        let payload = Hello { client: "x".repeat(name), ..theirs }.encode();
        assert_eq!(payload.len(), bytes);
        payload
    };
    assert_eq!(Raw::new(&["eth/69"]).say(0, &sized(2048)), [Got::Hello]);
    assert_eq!(Raw::new(&["eth/69"]).say(0, &sized(2049)), [Got::Fault(Fault::TooLarge)]);
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.say(0, &hello("b", &["eth/69"]).encode()), [Got::Fault(Fault::HelloTwice)]);
    assert_eq!(raw.last_words(), DisconnectReason::ProtocolBreach);
}

#[test]
fn every_message_id() {
    let sets: [(&[&str], u64); 4] = [
        (&["eth/68"], 0x21),
        (&["eth/69", "snap/1"], 0x2a),
        (&["eth/72", "snap/2"], 0x30),
        (&["eth/72", "snap/2", "test/1"], 0xf8),
    ];
    for (capabilities, end) in sets {
        for id in (0..=300).chain([u64::MAX]) {
            let mut raw = Raw::open(capabilities, 5);
            let got = raw.say(id, &pack(&[0xc0]));
            match id {
                0 => assert_eq!(got, [Got::Fault(Fault::HelloTwice)]),
                1 => assert_eq!(got, [Got::Disconnected(DisconnectReason::Unreadable)]),
                2 => assert_eq!(raw.heard(), [[3, 1, 0, 0xc0]], "pong"),
                3..0x10 => assert_eq!((got, raw.heard().len()), (vec![], 0)),
                _ if id < end => assert!(matches!(&got[..], [Got::Message(_, _, payload)] if *payload == [0xc0])),
                _ => assert_eq!(got, [Got::Fault(Fault::UnknownMessage)], "{id:#x}"),
            }
        }
    }
}

#[test]
fn bodies_without_a_proper_message_id() {
    for (body, fault) in [
        (&b""[..], Fault::EmptyFrame),
        (b"\x81\x00", Fault::Message(DecodeError::LeadingZero)),
        (b"\x81\x12\xc0", Fault::Message(DecodeError::NonCanonical)),
        (b"\x82\x00\x00", Fault::Message(DecodeError::LeadingZero)),
        (b"\xc1\x10", Fault::Message(DecodeError::ExpectedString)),
        (b"\x89\xff\xff\xff\xff\xff\xff\xff\xff\xff", Fault::Message(DecodeError::IntegerOverflow)),
        (b"\x84\xff", Fault::Message(DecodeError::Truncated)),
    ] {
        for mut raw in [Raw::new(&["eth/69"]), Raw::open(&["eth/69"], 5)] {
            assert_eq!(raw.body(body), [Got::Fault(fault)]);
            assert_eq!(raw.last_words(), DisconnectReason::ProtocolBreach);
        }
    }
}

#[test]
fn a_disconnect_ends_whatever_it_holds() {
    let too_many = DisconnectReason::TooManyPeers;
    let payloads: [(&[u8], DisconnectReason); 9] = [
        (&[0xc1, 4], too_many),
        (&[4], too_many),
        (&[0x81, 4], too_many),
        (&[0xc2, 0x81, 4], too_many),
        (&[0x80], DisconnectReason::Requested),
        (&[0xc0], DisconnectReason::Unreadable),
        (&[0x88, 255, 255, 255, 255, 255, 255, 255, 255], DisconnectReason::Unreadable),
        (&[0xff; 2000], DisconnectReason::Unreadable),
        (&[], DisconnectReason::Unreadable),
    ];
    for (payload, reason) in payloads {
        for compressed in [false, true] {
            for mut raw in [Raw::new(&["eth/69"]), Raw::open(&["eth/69"], 4), Raw::open(&["eth/69"], 5)] {
                let before = raw.heard().len();
                let packed = if compressed { pack(payload) } else { payload.to_vec() };
                // Nothing, compressed, is the byte 0: the encoding of "requested" that some clients send.
                let reason = if packed == [0] { DisconnectReason::Requested } else { reason };
                assert_eq!(raw.say(1, &packed), [Got::Disconnected(reason)], "{payload:02x?}");
                assert!(before <= 1 && raw.heard().is_empty(), "it is not answered");
                assert!(raw.end.session.is_over());
            }
        }
    }
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.say(1, &vec![0xff; 1 << 20]), [Got::Disconnected(DisconnectReason::Unreadable)]);
}

#[test]
fn sizes_are_bounded_before_anything_is_inflated() {
    let mut raw = Raw::open(&["eth/69"], 5);
    let large = vec![0; limits::ETH_MESSAGE_BYTES_MAX + 1];
    assert_eq!(raw.say(0x12, &pack(&large[1..])), [Got::Message(ETH, 2, large[1..].to_vec())]);
    assert_eq!(raw.say(0x12, &pack(&large)), [Got::Fault(Fault::TooLarge)]);
    assert!(raw.end.context.out.staged().is_empty());
    // A capability that sets no limit of its own has the frame's: 16 MiB - 1.
    let mut raw = Raw::open(&["eth/69", "test/1"], 5);
    assert_eq!(raw.say(0x22, &pack(&large)).len(), 1);
    assert_eq!(raw.say(0x22, &[&[0x80, 0x80, 0x80, 8][..], &large].concat()), [Got::Fault(Fault::TooLarge)]);
    for (payload, fault) in [
        (&[0xff, 0xff, 0xff, 0xff, 0x0f, 0][..], Fault::TooLarge),
        (&[0x80, 0x80, 0x80, 4, 0], Fault::Snappy),
        (&[], Fault::Snappy),
        (&[5, 0, 0xc0], Fault::Snappy),
        (&[4, 1], Fault::Snappy),
        (b"\xff\x06\x00\x00sNaPpY", Fault::Snappy),
    ] {
        let mut raw = Raw::open(&["eth/69"], 5);
        assert_eq!(raw.say(0x12, payload), [Got::Fault(fault)], "{payload:02x?}");
        assert_eq!(raw.last_words(), DisconnectReason::ProtocolBreach);
        assert!(raw.end.context.out.staged().is_empty());
    }
    for id in [2, 3, 9] {
        assert_eq!(Raw::open(&["eth/69"], 5).say(id, &[0; 2049]), [Got::Fault(Fault::TooLarge)]);
        assert_eq!(Raw::open(&["eth/69"], 5).say(id, &[0; 2048]), []);
    }
    // A frame that is larger than any message is refused by its header.
    let mut raw = Raw::open(&["eth/69"], 5);
    let frame = raw.frame(&vec![0x12; (1 << 24) - 1]);
    assert_eq!(raw.end.take(&frame[..32]), [Got::Fault(Fault::TooLarge)]);
}

#[test]
fn pings_at_fixed_times_and_silence() {
    let (mut a, mut b) = open_pair(&["eth/69"], &["eth/69"]);
    for round in 1..=4u32 {
        assert_eq!(a.session.poll_timeout(), Some((Instant::ZERO + 15 * SECOND * round, ConnTimer::Ping)));
        a.advance(15 * SECOND);
        b.advance(15 * SECOND);
        assert_eq!(a.timeout(true), None);
        assert_eq!(a.timeout(true), None, "a spurious timeout is harmless");
        let ping = a.flush();
        assert!(!ping.is_empty() && b.take(&ping).is_empty());
        assert_eq!(a.take(&b.flush()), []);
    }
    // The peer falls silent: one more ping, then the end, 30 s after its last byte.
    a.advance(15 * SECOND);
    assert_eq!(a.timeout(true), None);
    assert_eq!(a.session.poll_timeout(), Some((Instant::ZERO + 90 * SECOND, ConnTimer::Ping)));
    a.advance(15 * SECOND);
    assert_eq!(a.timeout(true), Some(EndReason::Timeout(ConnTimer::Idle)));
    assert_eq!(b.take(&a.flush()), [Got::Disconnected(DisconnectReason::PingTimeout)]);
    assert_eq!(a.timeout(true), None);
}

#[test]
fn a_peer_that_is_not_read_is_not_blamed() {
    let (mut a, mut b) = open_pair(&["eth/69"], &["eth/69"]);
    for _ in 0..10 {
        a.advance(15 * SECOND);
        assert_eq!(a.timeout(false), None);
        a.flush();
    }
    b.send(ETH, 2, &[&[0xc0]]).unwrap();
    assert_eq!(a.take(&b.flush()).len(), 1);
    a.advance(29 * SECOND);
    assert_eq!(a.timeout(true), None);
    a.advance(SECOND);
    assert_eq!(a.timeout(true), Some(EndReason::Timeout(ConnTimer::Idle)));
}

#[test]
fn hello_must_come_in_time() {
    let mut raw = Raw::new(&["eth/69"]);
    assert_eq!(raw.end.session.poll_timeout(), Some((Instant::ZERO + limits::HELLO_TIMEOUT, ConnTimer::Hello)));
    let frame = raw.frame(&[0; 100]);
    raw.end.advance(limits::HELLO_TIMEOUT - Duration::from_micros(1));
    // A byte now and then buys no time (attack C7).
    assert_eq!(raw.end.take(&frame[..40]), []);
    assert_eq!(raw.end.timeout(true), None);
    raw.end.advance(Duration::from_micros(1));
    assert_eq!(raw.end.timeout(true), Some(EndReason::Timeout(ConnTimer::Hello)));
    assert_eq!(raw.last_words(), DisconnectReason::PingTimeout);
}

#[test]
fn pings_get_one_pong_while_it_waits_and_a_flood_ends() {
    let mut raw = Raw::open(&["eth/69"], 5);
    for _ in 0..limits::PING_BURST {
        assert_eq!(raw.say(2, &pack(&[0xc0])), []);
    }
    assert_eq!(raw.heard(), [[3, 1, 0, 0xc0]], "one pong for all");
    raw.end.advance(SECOND);
    assert_eq!(raw.say(2, &[]), [], "one a second is refilled, and the payload is not looked at");
    assert_eq!(raw.heard().len(), 1);
    assert_eq!(raw.say(2, &[]), [Got::Fault(Fault::PingFlood)]);
    assert_eq!(raw.last_words(), DisconnectReason::ProtocolBreach);

    let mut raw = Raw::open(&["eth/69"], 5);
    for _ in 0..100_000 {
        raw.end.advance(SECOND);
        assert_eq!(raw.say(2, &[]), []);
    }
    assert!(raw.end.out.len() < 100, "a peer that pings and never reads is owed one pong");
    for _ in 0..1000 {
        raw.end.advance(15 * SECOND);
        raw.say(3, &[]);
        assert_eq!(raw.end.timeout(true), None);
    }
    assert!(raw.end.out.len() < 200, "and is sent one ping: {}", raw.end.out.len());
}

#[test]
fn unchanged_whatever_the_chunks_and_the_run() {
    let run = |chunk: usize| {
        let (mut a, mut b) = pair(&["eth/69", "snap/1"], &["eth/69", "snap/1"]);
        let mut got = Vec::new();
        let mut wire = Vec::new();
        let mut pass = |from: &mut End, to: &mut End| {
            let bytes = from.flush();
            bytes.chunks(chunk).for_each(|chunk| got.extend(to.take(chunk)));
            wire.extend(bytes);
        };
        pass(&mut b, &mut a);
        pass(&mut a, &mut b);
        for i in 0..20u64 {
            let body = vec![i as u8; (i * i * 37) as usize];
            a.send(ETH, i % 18, &[&[0xc0], &body]).unwrap();
            a.advance(7 * SECOND);
            assert_eq!(a.timeout(true), None);
            pass(&mut a, &mut b);
            b.send(SNAP, i % 8, &[&body]).unwrap();
            pass(&mut b, &mut a);
        }
        (got, wire)
    };
    let whole = run(usize::MAX);
    assert_eq!(whole.0.len(), 42);
    for chunk in [1, 2, 15, 16, 17, 31, 33, 48, 1000] {
        assert_eq!(run(chunk), whole, "chunks of {chunk}");
    }
}

#[test]
fn a_broken_session_leaves_nothing_behind() {
    // What all sessions share, scratch space and staging area, is as good as new after a fault (attack C10).
    let mut raw = Raw::open(&["eth/69"], 5);
    assert_eq!(raw.say(0x12, &[5, 0, 0xc0]), [Got::Fault(Fault::Snappy)]);
    let (frames, peer) = pair_of_frames();
    raw.end.out = Outbound::default();
    let mut cx = raw.end.context.cx(&mut raw.end.rng);
    raw.end.session = Session::new(&mut cx, Agreed::new(key("b"), frames), &raw.end.local, &mut raw.end.out);
    raw.peer = peer;
    assert_eq!(raw.say(0, &hello("b", &["eth/69"]).encode()), [Got::Hello]);
    assert_eq!(raw.say(0x12, &pack(&[0xc0])), [Got::Message(ETH, 2, vec![0xc0])]);
}

#[test]
fn hellos_that_cannot_be_said() {
    let table = CapabilityTable::default;
    let unknown = hello("a", &["foo/1"]);
    assert!(matches!(LocalHello::new(unknown, table()), Err(InvalidHello::Unregistered(_))));
    let long = Hello { client: "x".repeat(2048), ..hello("a", &["eth/69"]) };
    assert_eq!(LocalHello::new(long, table()).unwrap_err(), InvalidHello::TooLarge);
}

#[test]
fn a_flipped_bit_delivers_nothing_and_is_not_answered() {
    let len = {
        let mut raw = Raw::open(&["eth/69"], 5);
        raw.frame(&[0x12, 1, 0, 0xc0]).len()
    };
    for bit in 0..len * 8 {
        let mut raw = Raw::open(&["eth/69"], 5);
        let mut frame = raw.frame(&[0x12, 1, 0, 0xc0]);
        frame[bit / 8] ^= 1 << (bit % 8);
        let fault = if bit < 32 * 8 { Fault::HeaderMac } else { Fault::FrameMac };
        assert_eq!(raw.end.take(&frame), [Got::Fault(fault)], "bit {bit}");
        assert!(raw.end.out.is_empty() && raw.end.session.is_over());
    }
}

#[test]
fn an_idle_session_is_small() {
    let mut raw = Raw::open(&["eth/69", "snap/1"], 5);
    raw.say(0x12, &pack(&vec![7; limits::ETH_MESSAGE_BYTES_MAX]));
    raw.end.send(ETH, 2, &[&vec![7; 1 << 20]]).unwrap();
    raw.heard();
    let session = &raw.end.session;
    let fixed = size_of::<Session>() + size_of::<Hello>() + size_of_val(session.shared());
    assert!(fixed <= 1536, "{fixed}");
    assert!(session.frames.opener.buffer_bytes() <= limits::IDLE_BUFFER_BYTES);
    assert!(raw.end.out.tail().capacity() <= limits::IDLE_BUFFER_BYTES);
}

proptest! {
    /// Frames of anything: what comes of them depends on no chunking, and nothing comes after an end.
    #[test]
    fn anything_in_a_valid_frame(
        bodies in proptest::collection::vec((0u8..0x40, proptest::collection::vec(any::<u8>(), 0..80), any::<bool>()), 1..20),
        said: bool,
        chunk in 1usize..200,
    ) {
        let new = || if said { Raw::open(&["eth/69", "snap/1"], 5) } else { Raw::new(&["eth/69", "snap/1"]) };
        let (mut raw, mut stream, mut all) = (new(), Vec::new(), Vec::new());
        for (id, payload, compressed) in bodies {
            let over = raw.end.session.is_over();
            let payload = if compressed { pack(&payload) } else { payload };
            let frame = raw.frame(&[&[id][..], &payload].concat());
            let got = raw.end.take(&frame);
            prop_assert!(got.len() <= 1);
            prop_assert!(!over || got.is_empty());
            let ended = matches!(got[..], [Got::Fault(_) | Got::Disconnected(_)]);
            prop_assert_eq!(raw.end.session.is_over(), over || ended);
            prop_assert_eq!(raw.end.session.poll_timeout().is_none(), over || ended);
            stream.extend(frame);
            all.extend(got);
        }
        let mut again = new();
        let got: Vec<_> = stream.chunks(chunk).flat_map(|chunk| again.end.take(chunk)).collect();
        prop_assert_eq!(got, all);
        prop_assert_eq!(again.end.flush(), raw.end.flush());
    }
}
