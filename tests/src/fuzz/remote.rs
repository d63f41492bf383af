//! The other end of a stream: speaks with valid MACs whatever it is told to say, and reads what the node says.

use peerless::contract::{Context, Outbound};
use peerless::crypto::{Crypto, PublicKey, SecretKey};
use peerless::limits::MESSAGE_BYTES_MAX;
use peerless::rlpx::{Frames, Handshake, Progress};
use peerless::rng::{Rng, Seed};
use peerless::wire::p2p::{self, Hello};
use peerless::wire::snappy;

use super::Cheap;
use super::handshake::context;

/// A peer made by hand.
pub struct Remote {
    secret: SecretKey,
    context: Context,
    rng: Rng,
    state: State,
    /// Bytes on their way to the node.
    pub out: Outbound,
    /// Messages that the node has said, and this end has not looked at.
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

    /// Whether the handshake is done and the stream sound.
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

    /// Says a frame with this body, if the handshake is done.
    pub fn say_body(&mut self, body: &[u8]) {
        let State::Open(frames) = &mut self.state else { return };
        let tail = self.out.tail();
        let start = frames.sealer.begin(tail);
        tail.extend_from_slice(body);
        frames.sealer.finish(&Cheap, tail, start).expect("small");
    }

    /// Says a message, compressed if the session is and the message may be.
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

    /// Says a Hello with this end's key; messages are compressed from then on if it says version 5.
    pub fn say_hello(&mut self, hello: &Hello) {
        self.say(p2p::id::HELLO, &hello.encode());
        self.snappy = hello.version >= p2p::P2P_VERSION;
    }

    /// The oldest thing heard that was not looked at, inflated where that makes sense.
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
