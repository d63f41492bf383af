//! Sessions in memory: two of them, or one against frames made by hand. What the tests share is here.

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
use crate::wire::p2p::{Capability, CapabilityTable};
use crate::wire::{DecodeError, snappy};

mod exchange;
mod hello;
mod ping;
mod receiving;

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, PartialEq, Eq, Debug)]
enum Got {
    Hello,
    Pong(Instant),
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
    expects: Box<dyn Expects>,
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
        Self { context, rng, local, session, expects: Box::new(Anything), out }
    }

    fn advance(&mut self, by: Duration) {
        let now = self.context.now() + by;
        self.context.advance(now);
    }

    /// Takes all of `bytes`, as a connection does.
    fn handle(&mut self, bytes: &[u8]) -> Vec<Got> {
        let mut rest = bytes;
        let mut got = Vec::new();
        loop {
            let mut cx = self.context.cx(&mut self.rng);
            got.push(match self.session.handle_bytes(&mut cx, &self.local, &*self.expects, &mut rest, &mut self.out) {
                Step::Pending => {
                    assert!(rest.is_empty());
                    return got;
                }
                Step::Hello => Got::Hello,
                Step::Message { index, id } => {
                    let capability = self.session.shared()[index].capability;
                    let payload = cx.out.staged().to_vec();
                    cx.out.discard_staged();
                    Got::Message(capability, id, payload)
                }
                Step::Pong { sent_at } => Got::Pong(sent_at),
                Step::Disconnected(reason) => Got::Disconnected(reason),
                Step::Fault(fault) => Got::Fault(fault),
            });
            assert!(cx.out.staged().is_empty(), "only messages are staged");
        }
    }

    fn send(&mut self, capability: Capability, id: u64, parts: &[&[u8]]) -> Result<(), CommandError> {
        let mut cx = self.context.cx(&mut self.rng);
        let index = self.session.shared().iter().position(|shared| shared.capability == capability);
        self.session.send(&mut cx, &mut self.out, index.unwrap_or(usize::MAX), id, parts)
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
    assert_eq!(b.handle(&a.flush()), [Got::Hello]);
    assert_eq!(a.handle(&b.flush()), [Got::Hello]);
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

    /// As new, after the peer's Hello in the given version.
    fn open(capabilities: &[&str], version: u64) -> Self {
        let mut raw = Self::new(capabilities);
        let theirs = Hello { version, ..hello("b", capabilities) };
        assert_eq!(raw.send(0, &theirs.encode()), [Got::Hello]);
        raw.received();
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
        self.end.handle(&frame)
    }

    /// A message as it stands, uncompressed.
    fn send(&mut self, id: u64, payload: &[u8]) -> Vec<Got> {
        let mut body = Vec::new();
        p2p::append_message_id(id, &mut body);
        body.extend_from_slice(payload);
        self.body(&body)
    }

    /// Flushes the session; the bodies that it has sent.
    fn received(&mut self) -> Vec<Vec<u8>> {
        let bytes = self.end.flush();
        let mut rest = &bytes[..];
        let mut bodies = Vec::new();
        while let Some(body) = self.peer.opener.handle_bytes(&self.crypto, &mut rest, 1 << 24).unwrap() {
            bodies.push(body.to_vec());
        }
        bodies
    }

    /// Flushes the session; the reason of its Disconnect, which must be its last message.
    fn final_disconnect(&mut self) -> DisconnectReason {
        let last = self.received().pop().expect("a Disconnect");
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
