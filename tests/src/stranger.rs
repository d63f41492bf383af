//! A peer under the test's control: RLPx with the project's own handshake and frames, and everything above them by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{ConnId, Context, Outbound, Stage};
use peerless::crypto::{Crypto, NodeId, PublicKey, Secp256k1, SecretKey};
use peerless::limits;
use peerless::netfilter::NetFilter;
use peerless::node::Node;
use peerless::rlpx::{Frames, Handshake, Progress};
use peerless::rng::{Rng, Seed};
use peerless::testing::{Host, Net, RawStream, START, chain};
use peerless::time::Instant;
use peerless::wire::p2p::{self, Capability, DisconnectReason, Hello};
use peerless::wire::snappy;

/// Any exchange of a few messages is over by then.
const MOMENT: Duration = Duration::from_secs(1);

/// A key of the test's, with what its handshakes need.
pub struct Stranger {
    pub id: NodeId,
    pub key: PublicKey,
    pub secret: SecretKey,
    context: Context,
    rng: Rng,
}

impl Stranger {
    pub fn new(number: u8) -> Self {
        let mut secret = [0x77; 32];
        secret[31] = number;
        let secret = SecretKey::from_bytes(secret).expect("in range");
        let crypto = Arc::new(Secp256k1::new());
        let key = crypto.public_key(&secret);
        let context = Context::new(Instant::ZERO, START, NetFilter::default(), crypto);
        Self { id: key.node_id(), key, secret, context, rng: Seed::new([number; 32]).fork("stranger") }
    }

    pub fn crypto(&self) -> &dyn Crypto {
        self.context.crypto()
    }

    /// A handshake with a node, and the auth that it begins with.
    pub fn auth(&mut self, to: PublicKey) -> (Handshake, Vec<u8>) {
        let mut out = Outbound::default();
        let mut cx = self.context.cx(&mut self.rng);
        let handshake = Handshake::initiate(&mut cx, &self.secret, &self.key, to, &mut out);
        (handshake, out.as_slice().to_vec())
    }

    /// Continues a handshake with what the node has sent.
    pub fn shake(&mut self, handshake: &mut Handshake, bytes: &mut &[u8]) -> Progress {
        let mut cx = self.context.cx(&mut self.rng);
        handshake.handle_bytes(&mut cx, &self.secret, bytes, &mut Outbound::default())
    }

    /// Connects and completes the handshake; sends nothing more. `None` if the node ends the connection before that.
    pub fn dial(&mut self, net: &mut Net<Node>, to: Host, from: SocketAddr) -> Option<Talk> {
        let raw = net.connect_raw(to, from)?;
        let (mut handshake, auth) = self.auth(net.contact(to).key());
        net.write_raw(raw, &auth);
        for _ in 0..100 {
            net.run_for(MOMENT / 100);
            let bytes = net.read_raw(raw);
            let mut rest = &bytes[..];
            match self.shake(&mut handshake, &mut rest) {
                Progress::Pending => {}
                Progress::Failed(_) => return None,
                Progress::Done(agreed) => {
                    let mut talk = Talk { raw, frames: agreed.frames, heard: Vec::new(), crypto: Secp256k1::new() };
                    talk.open(rest);
                    return Some(talk);
                }
            }
        }
        None
    }

    /// A Hello of this key with one version of eth.
    pub fn hello(&self, version: u32) -> Hello {
        Hello {
            version: p2p::P2P_VERSION,
            client: "stranger".into(),
            capabilities: vec![Capability::eth(version)],
            port: 30303,
            key: *self.key.as_bytes(),
        }
    }

    /// Connects, and says a Hello and a Status that are accepted by nodes of network 1.
    pub fn establish(&mut self, net: &mut Net<Node>, to: Host, from: SocketAddr, version: u32) -> Option<Talk> {
        let mut talk = self.dial(net, to, from)?;
        talk.say_plain(net, p2p::id::HELLO, &self.hello(version).encode());
        talk.listen(net);
        talk.say(net, p2p::id::CAPABILITIES, &chain(1).status(version).encode());
        talk.listen(net);
        net.machine(to).sessions().find(|s| s.conn == talk.raw.conn && s.stage == Stage::Established).map(|_| talk)
    }
}

/// A stranger's side of a session.
pub struct Talk {
    pub raw: RawStream,
    frames: Frames,
    /// What the node has said: message ids as on the wire, and payloads as in the frame.
    pub heard: Vec<(u64, Vec<u8>)>,
    crypto: Secp256k1,
}

impl Talk {
    pub fn conn(&self) -> ConnId {
        self.raw.conn
    }

    /// A frame with this body.
    pub fn seal(&mut self, id: u64, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let start = self.frames.sealer.begin(&mut out);
        p2p::append_message_id(id, &mut out);
        out.extend_from_slice(payload);
        self.frames.sealer.finish(&self.crypto, &mut out, start).expect("fits a frame");
        out
    }

    /// Sends a message as it is.
    pub fn say_plain(&mut self, net: &mut Net<Node>, id: u64, payload: &[u8]) {
        let frame = self.seal(id, payload);
        net.write_raw(self.raw, &frame);
    }

    /// Sends a message compressed.
    pub fn say(&mut self, net: &mut Net<Node>, id: u64, payload: &[u8]) {
        let mut compressed = Vec::new();
        snappy::Compressor::default().append(&[payload], &mut compressed);
        self.say_plain(net, id, &compressed);
    }

    /// Waits a moment and takes what has been said.
    pub fn listen(&mut self, net: &mut Net<Node>) {
        net.run_for(MOMENT);
        let bytes = net.read_raw(self.raw);
        self.open(&bytes);
    }

    /// Takes bytes of the node.
    pub fn open(&mut self, mut bytes: &[u8]) {
        while let Some(body) = self
            .frames
            .opener
            .handle_bytes(&self.crypto, &mut bytes, limits::MESSAGE_BYTES_MAX)
            .expect("a node's frames are genuine")
        {
            let (id, payload) = p2p::split_message(body).expect("a node's messages have ids");
            self.heard.push((id, payload.to_vec()));
        }
    }

    /// The reason in the node's final Disconnect.
    pub fn final_disconnect(&self) -> Option<DisconnectReason> {
        let (_, payload) = self.heard.iter().find(|(id, _)| *id == p2p::id::DISCONNECT)?;
        let reason = DisconnectReason::decode(payload);
        if reason != DisconnectReason::Unreadable {
            return Some(reason);
        }
        let mut inflated = vec![0; snappy::inflated_len(payload, 64).ok()?];
        snappy::inflate(payload, &mut inflated).ok()?;
        Some(DisconnectReason::decode(&inflated))
    }

    /// How many messages with an id the node has said.
    pub fn count(&self, id: u64) -> usize {
        self.heard.iter().filter(|(heard, _)| *heard == id).count()
    }
}
