//! A stream to a node from a hostile peer: a valid handshake, then any frames.
//!
//! It blocks, with short timeouts. It offers version 4 of the base protocol, so that nothing is compressed.

use std::io::{self, Error, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use peerless::contract::{Context, Outbound};
use peerless::crypto::{Crypto, PublicKey, Secp256k1, SecretKey};
use peerless::netfilter::NetFilter;
use peerless::rlpx::{Frames, Handshake, Progress};
use peerless::rng::Rng;
use peerless::time::{Instant, UnixTime};
use peerless::wire::enode::Contact;
use peerless::wire::eth;
use peerless::wire::p2p::{self, Capability, CapabilityTable, Hello, Shared};

use crate::networks::unix_now;

/// Limit for what an honest node does at once on the same machine.
const PATIENCE: Duration = Duration::from_millis(700);
/// An honest node sends no larger message unasked.
const BODY_BYTES_MAX: usize = 1 << 16;
const HELLO: u8 = p2p::id::HELLO as u8;
const DISCONNECT: u8 = p2p::id::DISCONNECT as u8;

/// The keys of a hostile peer.
pub(super) struct Identity {
    pub(super) secret: SecretKey,
    pub(super) key: PublicKey,
    pub(super) crypto: Arc<Secp256k1>,
}

impl Identity {
    pub(super) fn new(secret: SecretKey) -> Self {
        let crypto = Arc::new(Secp256k1::new());
        Self { key: crypto.public_key(&secret), secret, crypto }
    }
}

/// A hostile peer's stream.
pub(super) struct Liar<'a> {
    identity: &'a Identity,
    tcp: TcpStream,
    frames: Frames,
    /// Bytes received and not yet decrypted.
    inbox: Vec<u8>,
}

impl<'a> Liar<'a> {
    /// Dials `to`, and completes a valid handshake.
    pub(super) fn connect(identity: &'a Identity, rng: &mut Rng, to: &Contact) -> io::Result<Self> {
        let mut tcp = dial(to)?;
        let unix = UnixTime::from_secs(unix_now());
        let mut context = Context::new(Instant::ZERO, unix, NetFilter::default(), identity.crypto.clone());
        let mut out = Outbound::default();
        let mut handshake =
            Handshake::initiate(&mut context.cx(rng), &identity.secret, &identity.key, to.key(), &mut out);
        tcp.write_all(out.as_slice())?;
        let mut inbox = Vec::new();
        loop {
            read_more(&mut tcp, &mut inbox)?;
            let mut rest = inbox.as_slice();
            let progress = handshake.handle_bytes(&mut context.cx(rng), &identity.secret, &mut rest, &mut out);
            let taken = inbox.len() - rest.len();
            inbox.drain(..taken);
            match progress {
                Progress::Pending => {}
                Progress::Done(agreed) => return Ok(Self { identity, tcp, frames: agreed.frames, inbox }),
                Progress::Failed(fault) => return Err(Error::other(fault.to_string())),
            }
        }
    }

    /// Sends a message of any id, shared or not.
    pub(super) fn say(&mut self, id: u8, payload: &[u8]) -> io::Result<()> {
        let frame = self.seal(id, payload)?;
        self.tcp.write_all(&frame)
    }

    /// Sends a message in a frame whose MAC has a wrong last byte.
    pub(super) fn say_with_wrong_mac(&mut self, id: u8, payload: &[u8]) -> io::Result<()> {
        let mut frame = self.seal(id, payload)?;
        if let Some(last) = frame.last_mut() {
            *last ^= 1;
        }
        self.tcp.write_all(&frame)
    }

    fn seal(&mut self, id: u8, payload: &[u8]) -> io::Result<Vec<u8>> {
        let mut frame = Vec::new();
        let start = self.frames.sealer.begin(&mut frame);
        // An id is an RLP integer; none here needs two bytes.
        frame.push(if id == 0 { 0x80 } else { id });
        frame.extend_from_slice(payload);
        self.frames.sealer.finish(&*self.identity.crypto, &mut frame, start).map_err(|_| ErrorKind::InvalidInput)?;
        Ok(frame)
    }

    /// Returns the id and payload of the next message.
    fn hear(&mut self) -> io::Result<(u8, Vec<u8>)> {
        loop {
            let mut rest = self.inbox.as_slice();
            let body = self.frames.opener.handle_bytes(&*self.identity.crypto, &mut rest, BODY_BYTES_MAX);
            let heard = match body {
                Err(fault) => return Err(Error::other(fault.to_string())),
                Ok(None) => None,
                Ok(Some([])) => return Err(ErrorKind::InvalidData.into()),
                Ok(Some([id, payload @ ..])) => Some((if *id == 0x80 { 0 } else { *id }, payload.to_vec())),
            };
            let taken = self.inbox.len() - rest.len();
            self.inbox.drain(..taken);
            match heard {
                Some(message) => return Ok(message),
                None => read_more(&mut self.tcp, &mut self.inbox)?,
            }
        }
    }

    fn hear_id(&mut self, wanted: u8) -> io::Result<Vec<u8>> {
        loop {
            match self.hear()? {
                (id, payload) if id == wanted => return Ok(payload),
                (DISCONNECT, _) => return Err(ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    /// Exchanges Hellos and returns the shared eth version.
    pub(super) fn greet(&mut self) -> io::Result<Shared> {
        let ours = vec![Capability::eth(68), Capability::eth(69)];
        let hello = Hello {
            version: p2p::P2P_VERSION_MIN,
            client: "Mallory/v6.6.6".to_owned(),
            capabilities: ours.clone(),
            port: 0,
            key: *self.identity.key.as_bytes(),
        };
        self.say(HELLO, &hello.encode())?;
        let theirs = self.hear_id(HELLO)?;
        let theirs = Hello::decode(&theirs).map_err(|error| Error::other(error.to_string()))?;
        let shared = CapabilityTable::default().share(&ours, &theirs.capabilities);
        shared.into_iter().find(|shared| shared.capability.is_eth()).ok_or_else(|| ErrorKind::Unsupported.into())
    }

    /// Exchanges Hellos and echoes the eth Status of the other side. Returns the first message id of eth.
    pub(super) fn establish(&mut self) -> io::Result<u8> {
        let offset = u8::try_from(self.greet()?.offset).map_err(|_| ErrorKind::InvalidData)?;
        let status = offset + eth::id::STATUS as u8;
        let theirs = self.hear_id(status)?;
        self.say(status, &theirs)?;
        Ok(offset)
    }

    /// Waits until the other side disconnects.
    pub(super) fn await_end(mut self) {
        while self.hear().is_ok_and(|(id, _)| id != DISCONNECT) {}
    }
}

/// Connects a stream with short timeouts.
pub(super) fn dial(to: &Contact) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&to.tcp_addr(), PATIENCE)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    tcp.set_write_timeout(Some(PATIENCE))?;
    Ok(tcp)
}

fn read_more(tcp: &mut TcpStream, inbox: &mut Vec<u8>) -> io::Result<()> {
    let mut chunk = [0; 4096];
    match tcp.read(&mut chunk)? {
        0 => Err(ErrorKind::UnexpectedEof.into()),
        n => {
            inbox.extend_from_slice(&chunk[..n]);
            Ok(())
        }
    }
}
