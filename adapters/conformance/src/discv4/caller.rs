//! A node that the tester plays: a key at an endpoint, what it sends, and what it accepts as an answer.

use std::net::SocketAddr;
use std::time::Duration;

use peerless::crypto::{Crypto, Digest, PublicKey, SecretKey, keccak256};
use peerless::time::UnixTime;
use peerless::wire::discv4::{DATAGRAM_BYTES_MAX, Datagram, Endpoint, Kind, Packet};

use super::words::{short, words};
use crate::trial::{Step, StepKind, Stop, Trial};
use crate::wire::{Address, Local};

/// geth's expiration.
const EXPIRATION: Duration = Duration::from_secs(20);

/// A key at an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) secret: SecretKey,
    pub(super) key: PublicKey,
    pub(super) local: Local,
    pub(super) addr: SocketAddr,
}

/// A packet of the node under test.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) packet: Packet,
    /// The hash of its datagram.
    pub(super) hash: Digest,
    pub(super) bytes: usize,
    pub(super) from: SocketAddr,
}

/// What a step of [`Caller::until`] makes of a packet.
pub(super) enum Found<T> {
    /// What the case waits for.
    This(T),
    /// A packet that may come and is not it.
    Other,
    /// A packet that must not come.
    Wrong(String),
}

impl Caller {
    /// A fresh key at a fresh endpoint of the first address.
    pub(super) fn new(trial: &mut Trial<'_>) -> Result<Self, Stop> {
        let secret = SecretKey::generate(trial.rng());
        let key = trial.crypto().public_key(&secret);
        let local = trial.open(Address::First)?;
        Ok(Self { secret, key, local, addr: trial.addr(local) })
    }

    /// The same key at another endpoint.
    pub(super) fn at(&self, trial: &mut Trial<'_>, address: Address) -> Result<Self, Stop> {
        let local = trial.open(address)?;
        Ok(Self { local, addr: trial.addr(local), ..self.clone() })
    }

    /// A ping as an honest node sends it.
    pub(super) fn ping(&self, trial: &Trial<'_>) -> Packet {
        Packet::Ping {
            version: 4,
            from: Endpoint::from(self.addr),
            to: Endpoint::from(trial.remote()),
            expiration: soon(trial),
            enr_seq: None,
        }
    }

    /// Signs and sends a packet. Returns the hash of its datagram.
    pub(super) fn send(&self, trial: &mut Trial<'_>, packet: &Packet) -> Digest {
        let mut bytes = Vec::new();
        let hash = packet.seal(trial.crypto(), &self.secret, &mut bytes);
        let text = format!("{} hash={}", words(packet, trial.unix()), short(&hash));
        trial.send(self.local, text, &bytes);
        hash
    }

    /// Signs and sends any bytes after the type. Returns the hash of the datagram.
    pub(super) fn send_raw(&self, trial: &mut Trial<'_>, text: &str, kind: u8, data: &[u8]) -> Digest {
        let (hash, bytes) = self.seal_raw(trial, kind, data);
        trial.send(self.local, format!("{text} hash={}", short(&hash)), &bytes);
        hash
    }

    /// A signed datagram of any bytes after the type.
    pub(super) fn seal_raw(&self, trial: &Trial<'_>, kind: u8, data: &[u8]) -> (Digest, Vec<u8>) {
        let signed = [&[kind], data].concat();
        let signature = trial.crypto().sign(&self.secret, &keccak256(&signed));
        let hashed = [&signature.0[..], &signed].concat();
        let hash = keccak256(&hashed);
        (hash, [&hash[..], &hashed].concat())
    }

    /// The next packet before `deadline`. Datagrams of others are noted and passed over.
    fn receive(&self, trial: &mut Trial<'_>, deadline: Duration) -> Result<Option<Answer>, Stop> {
        loop {
            let Some(received) = trial.receive(self.local, deadline) else { return Ok(None) };
            let bytes = received.bytes.len();
            let opened = self.open(trial, &received.bytes);
            let text = match &opened {
                Ok((packet, hash)) => format!("{} hash={}", words(packet, trial.unix()), short(hash)),
                Err(why) => why.clone(),
            };
            let is_from_elsewhere = received.from != trial.remote();
            let text = if is_from_elsewhere { format!("{text} source={}", received.from) } else { text };
            trial.note(StepKind::Came, Some(self.local), bytes, text);
            match opened {
                Ok((packet, hash)) => return Ok(Some(Answer { packet, hash, bytes, from: received.from })),
                // Any host can send here.
                Err(_) if is_from_elsewhere => {}
                Err(why) => return Err(Stop::Failed(why)),
            }
        }
    }

    /// Opens a datagram. It must be a packet of the node under test that has not expired.
    fn open(&self, trial: &Trial<'_>, bytes: &[u8]) -> Result<(Packet, Digest), String> {
        if bytes.len() > DATAGRAM_BYTES_MAX {
            return Err("a datagram of more than 1280 bytes".to_owned());
        }
        let malformed = |error| format!("a datagram that is no discv4 packet: {error}");
        let datagram = Datagram::split(bytes).map_err(malformed)?;
        datagram.check_hash(trial.crypto()).map_err(malformed)?;
        let signer = datagram.signer(trial.crypto()).map_err(malformed)?;
        let packet = datagram.decode().map_err(malformed)?;
        if signer != trial.target().contact.key() {
            return Err(format!("{} that another key has signed", words(&packet, trial.unix())));
        }
        if packet.expiration().is_some_and(|at| at.as_secs() < trial.unix().as_secs()) {
            return Err(format!("{} that has expired", words(&packet, trial.unix())));
        }
        Ok((packet, *datagram.hash))
    }

    /// Waits for a packet that `pick` takes. Fails if there is none within the time for an answer.
    pub(super) fn until<T>(
        &self,
        trial: &mut Trial<'_>,
        what: &str,
        mut pick: impl FnMut(&mut Trial<'_>, &Answer) -> Found<T>,
    ) -> Result<T, Stop> {
        let deadline = trial.now() + trial.patience();
        while let Some(answer) = self.receive(trial, deadline)? {
            match pick(trial, &answer) {
                Found::This(found) => return Ok(found),
                Found::Other => {}
                Found::Wrong(why) => return Err(Stop::Failed(why)),
            }
        }
        trial.note(StepKind::Nothing, Some(self.local), 0, String::new());
        Err(Stop::Failed(format!("no {what} within {} ms", trial.patience().as_millis())))
    }

    /// All packets within the time for an answer.
    pub(super) fn all(&self, trial: &mut Trial<'_>) -> Result<Vec<Answer>, Stop> {
        let deadline = trial.now() + trial.patience();
        let mut answers = Vec::new();
        while let Some(answer) = self.receive(trial, deadline)? {
            answers.push(answer);
        }
        if answers.is_empty() {
            trial.note(StepKind::Nothing, Some(self.local), 0, String::new());
        }
        Ok(answers)
    }

    /// Fails if a packet comes that is not of these kinds.
    pub(super) fn silence(&self, trial: &mut Trial<'_>, but: &[Kind]) -> Result<(), Stop> {
        let answers = self.all(trial)?;
        match answers.iter().find(|answer| !but.contains(&answer.packet.kind())) {
            Some(answer) => Err(Stop::Failed(format!("expected no answer, and {:?} came", answer.packet.kind()))),
            None => Ok(()),
        }
    }

    /// Waits for the pong to a ping and for the node's own ping, in any order. Returns the hash of the node's ping.
    pub(super) fn pong_and_ping(&self, trial: &mut Trial<'_>, ping: Digest) -> Result<Digest, Stop> {
        let (mut ponged, mut pinged) = (false, None);
        let result = self.until(trial, "pong and ping", |trial, answer| {
            match self.check_pong(trial, answer, &ping) {
                Some(Ok(())) => ponged = true,
                Some(Err(why)) => return Found::Wrong(why),
                None if answer.packet.kind() == Kind::Ping => pinged = Some(answer.hash),
                None => {
                    return Found::Wrong(format!("expected a pong and a ping, and {:?} came", answer.packet.kind()));
                }
            }
            match pinged {
                Some(hash) if ponged => Found::This(hash),
                _ => Found::Other,
            }
        });
        match result {
            Err(Stop::Failed(_)) if ponged && pinged.is_none() => {
                Err(Stop::Failed("the pong came, and no ping for an endpoint proof".to_owned()))
            }
            other => other,
        }
    }

    /// Waits for the pong to a ping; requests of the node's own may come as well.
    pub(super) fn pong(&self, trial: &mut Trial<'_>, ping: Digest) -> Result<Answer, Stop> {
        self.until(trial, "pong", |trial, answer| match self.check_pong(trial, answer, &ping) {
            Some(Ok(())) => Found::This(answer.clone()),
            Some(Err(why)) => Found::Wrong(why),
            None if is_request(answer) => Found::Other,
            None => Found::Wrong(format!("expected a pong, and {:?} came", answer.packet.kind())),
        })
    }

    /// Judges a pong to the ping of this hash; `None` for other packets.
    fn check_pong(&self, trial: &Trial<'_>, answer: &Answer, ping: &Digest) -> Option<Result<(), String>> {
        let Packet::Pong { to, ping_hash, .. } = &answer.packet else { return None };
        if ping_hash != ping {
            return Some(Err(format!("the pong has the hash {}, the ping has {}", short(ping_hash), short(ping))));
        }
        if to.udp_addr() != Some(self.addr) && !trial.is_translated(self.local) {
            return Some(Err(format!("the pong is to {:?}, the ping came from {}", to.udp_addr(), self.addr)));
        }
        Some(Ok(()))
    }

    /// Exchanges endpoint proofs.
    pub(super) fn bond(&self, trial: &mut Trial<'_>) -> Result<(), Stop> {
        let ping = self.ping(trial);
        let hash = self.send(trial, &ping);
        let theirs = self.pong_and_ping(trial, hash)?;
        self.send_pong(trial, theirs);
        Ok(())
    }

    /// Answers the node's ping of this hash.
    pub(super) fn send_pong(&self, trial: &mut Trial<'_>, ping_hash: Digest) {
        let to = Endpoint::from(trial.remote());
        let pong = Packet::Pong { to, ping_hash, expiration: soon(trial), enr_seq: None };
        self.send(trial, &pong);
    }

    /// Sends a FindNode for a random target, and returns its datagram's hash.
    pub(super) fn send_find_node(&self, trial: &mut Trial<'_>) -> Digest {
        let find_node = Packet::FindNode { target: trial.rng().bytes(), expiration: soon(trial) };
        self.send(trial, &find_node)
    }
}

/// Whether a packet is a request of the node's own, which may come at any time once the tester is known to it.
pub(super) fn is_request(answer: &Answer) -> bool {
    matches!(answer.packet.kind(), Kind::Ping | Kind::FindNode | Kind::EnrRequest)
}

/// The expiration of a packet that is sent now.
pub(super) fn soon(trial: &Trial<'_>) -> UnixTime {
    trial.unix().plus_secs(EXPIRATION.as_secs())
}

/// An expiration a minute ago.
pub(super) fn past(trial: &Trial<'_>) -> UnixTime {
    UnixTime::from_secs(trial.unix().as_secs().saturating_sub(60))
}

/// The expiration that hive sends as one in the past: the negative of one in the future, in two's complement.
pub(super) fn wrapped(trial: &Trial<'_>) -> UnixTime {
    UnixTime::from_secs(soon(trial).as_secs().wrapping_neg())
}

/// The number of bytes that came according to a transcript.
pub(super) fn bytes_of(steps: &[Step], kind: StepKind) -> usize {
    steps.iter().filter(|step| step.kind == kind).map(|step| step.bytes).sum()
}
