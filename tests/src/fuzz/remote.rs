//! The other end of a stream: sends any message with valid MACs, and reads those of the node.

use peerless::contract::{Context, Outbound};
use peerless::crypto::{Crypto, PublicKey, SecretKey};
use peerless::limits::MESSAGE_BYTES_MAX;
use peerless::rlpx::{Frames, Handshake, Progress};
use peerless::rng::{Rng, Seed};
use peerless::wire::p2p::{self, Hello};
use peerless::wire::snappy;

use super::Cheap;
use super::handshake::context;

/// A scripted peer.
pub struct Remote {
    secret: SecretKey,
    context: Context,
    rng: Rng,
    state: State,
    /// Bytes on their way to the node.
    pub out: Outbound,
    /// Messages of the node that were not taken yet.
    pub heard: Vec<(u64, Vec<u8>)>,
    /// Whether messages are compressed.
    pub snappy: bool,
}

enum State {
    Handshake(Handshake),
    Open(Box<Frames>),
    Failed,
}

impl Remote {
    /// The side that dials the node of `key`.
    pub fn dial(secret: SecretKey, key: PublicKey, salt: u8) -> Self {
        let mut remote = Self::accept(secret, salt);
        let own = Cheap.public_key(&remote.secret);
        let mut cx = remote.context.cx(&mut remote.rng);
        remote.state = State::Handshake(Handshake::initiate(&mut cx, &remote.secret, &own, key, &mut remote.out));
        remote
    }

    /// The side that the node has dialled.
    pub fn accept(secret: SecretKey, salt: u8) -> Self {
        Self {
            secret,
            context: context(),
            rng: Seed::new([salt; 32]).fork("remote"),
            state: State::Handshake(Handshake::receive()),
            out: Outbound::default(),
            heard: Vec::new(),
            snappy: false,
        }
    }

    /// A peer whose handshake is done.
    pub fn open(frames: Frames) -> Self {
        let mut remote = Self::accept(super::crypto::secret(1), 0);
        remote.state = State::Open(Box::new(frames));
        remote
    }

    /// Whether the handshake is done and all frames have opened.
    pub fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    /// Takes what the node has written. If a frame does not open, the stream is no longer [open](Self::is_open).
    pub fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match std::mem::replace(&mut self.state, State::Failed) {
                State::Handshake(mut handshake) => {
                    let mut cx = self.context.cx(&mut self.rng);
                    match handshake.handle_bytes(&mut cx, &self.secret, &mut bytes, &mut self.out) {
                        Progress::Pending => self.state = State::Handshake(handshake),
                        Progress::Done(agreed) => self.state = State::Open(Box::new(agreed.frames)),
                        Progress::Failed(_) => return,
                    }
                }
                State::Open(mut frames) => {
                    loop {
                        match frames.opener.handle_bytes(&Cheap, &mut bytes, MESSAGE_BYTES_MAX) {
                            Ok(Some(body)) => {
                                let (id, payload) = p2p::split_message(body).expect("the node's messages have ids");
                                self.heard.push((id, payload.to_vec()));
                            }
                            Ok(None) => break,
                            Err(_) => return,
                        }
                    }
                    self.state = State::Open(frames);
                }
                State::Failed => return,
            }
        }
    }

    /// Sends a frame with this body, if the handshake is done.
    pub fn say_body(&mut self, body: &[u8]) {
        let State::Open(frames) = &mut self.state else { return };
        let tail = self.out.tail();
        let start = frames.sealer.begin(tail);
        tail.extend_from_slice(body);
        frames.sealer.finish(&Cheap, tail, start).expect("small");
    }

    /// Sends a message, compressed if the session is and the message may be.
    pub fn say(&mut self, id: u64, payload: &[u8]) {
        let mut body = Vec::new();
        p2p::append_message_id(id, &mut body);
        if self.snappy && id != p2p::id::HELLO {
            self.compress(payload, &mut body);
        } else {
            body.extend_from_slice(payload);
        }
        self.say_body(&body);
    }

    fn compress(&mut self, payload: &[u8], body: &mut Vec<u8>) {
        self.context.cx(&mut self.rng).snappy.append(&[payload], body);
    }

    /// Sends a Hello with this end's key; later messages are compressed if it has version 5.
    pub fn say_hello(&mut self, hello: &Hello) {
        self.say(p2p::id::HELLO, &hello.encode());
        self.snappy = hello.version >= p2p::P2P_VERSION;
    }

    /// Takes the oldest message of the node, decompressed if it is compressed.
    pub fn next_heard(&mut self) -> Option<(u64, Vec<u8>)> {
        if self.heard.is_empty() {
            return None;
        }
        let (id, payload) = self.heard.remove(0);
        if !self.snappy || id == p2p::id::HELLO {
            return Some((id, payload));
        }
        let len = snappy::inflated_len(&payload, MESSAGE_BYTES_MAX).ok()?;
        let mut inflated = vec![0; len];
        snappy::inflate(&payload, &mut inflated).ok()?;
        Some((id, inflated))
    }

    /// The public key of this end.
    pub fn key(&self) -> PublicKey {
        Cheap.public_key(&self.secret)
    }
}
