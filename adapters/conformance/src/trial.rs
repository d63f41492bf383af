//! One run of one case: the wire, the node under test, randomness, and a transcript of what was sent and what came.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use peerless::crypto::Secp256k1;
use peerless::rng::Rng;
use peerless::time::UnixTime;
use peerless::wire::enode::Contact;
use peerless::wire::enr::Record;

use crate::wire::{Address, Local, Received, Wire};

/// The node under test.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Target {
    /// Its key, and the address to which everything is sent.
    pub contact: Contact,
    /// Its record, if it is known.
    pub record: Option<Record>,
}

impl Target {
    /// The node of this key at this address.
    pub fn new(contact: Contact, record: Option<Record>) -> Self {
        Self { contact, record }
    }
}

/// How a case ends before its last line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The node does not do what the specification says.
    Failed(String),
    /// What the case needs is missing.
    Skipped(String),
}

/// What a step of a transcript is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepKind {
    /// The tester sent a datagram.
    Sent,
    /// A datagram came from the node.
    Came,
    /// Nothing came within the time that the case waits.
    Nothing,
    /// A remark.
    Note,
}

impl fmt::Display for StepKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sent => "sent",
            Self::Came => "came",
            Self::Nothing => "nothing came",
            Self::Note => "note",
        })
    }
}

/// A line of a transcript.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Step {
    /// When, since the case began.
    pub at: Duration,
    /// What happened.
    pub kind: StepKind,
    /// The tester's endpoint.
    pub local: Option<SocketAddr>,
    /// The size of the datagram.
    pub bytes: usize,
    /// The content, in words.
    pub text: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, kind, local, bytes, text } = self;
        write!(f, "{:7.3} s  {kind}", at.as_secs_f64())?;
        if !text.is_empty() {
            write!(f, ": {text}")?;
        }
        if *bytes > 0 {
            write!(f, " ({bytes} bytes)")?;
        }
        match (kind, local) {
            (StepKind::Sent, Some(local)) => write!(f, " from {local}"),
            (_, Some(local)) => write!(f, " at {local}"),
            (_, None) => Ok(()),
        }
    }
}

/// A case under way.
pub(crate) struct Trial<'a> {
    wire: &'a mut dyn Wire,
    target: &'a Target,
    patience: Duration,
    rng: Rng,
    crypto: Secp256k1,
    begun: Duration,
    steps: Vec<Step>,
}

/// Omits wire and generator.
impl fmt::Debug for Trial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trial").field("target", self.target).field("steps", &self.steps).finish_non_exhaustive()
    }
}

impl<'a> Trial<'a> {
    pub(crate) fn new(wire: &'a mut dyn Wire, target: &'a Target, patience: Duration, rng: Rng) -> Self {
        let begun = wire.elapsed();
        Self { wire, target, patience, rng, crypto: Secp256k1::new(), begun, steps: Vec::new() }
    }

    /// Ends the trial: closes its endpoints and returns its transcript and its length.
    pub(crate) fn end(self) -> (Vec<Step>, Duration) {
        let took = self.now();
        self.wire.close();
        (self.steps, took)
    }

    pub(crate) fn target(&self) -> &'a Target {
        self.target
    }

    /// Where the node is.
    pub(crate) fn remote(&self) -> SocketAddr {
        self.target.contact.udp_addr()
    }

    /// For how long to wait for an answer.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    pub(crate) fn crypto(&self) -> &Secp256k1 {
        &self.crypto
    }

    /// Time since the case began.
    pub(crate) fn now(&self) -> Duration {
        self.wire.elapsed().saturating_sub(self.begun)
    }

    pub(crate) fn unix(&self) -> UnixTime {
        self.wire.unix()
    }

    /// Opens an endpoint. A case whose endpoint cannot be opened is skipped.
    pub(crate) fn open(&mut self, address: Address) -> Result<Local, Stop> {
        self.wire.open(address).map_err(|why| Stop::Skipped(why.to_string()))
    }

    pub(crate) fn addr(&self, local: Local) -> SocketAddr {
        self.wire.addr(local)
    }

    /// Whether a translator of addresses lies between an endpoint and the node, so that the node sees another one.
    pub(crate) fn is_translated(&self, local: Local) -> bool {
        match (self.addr(local).ip(), self.remote().ip()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => {
                ours.is_private() && !(theirs.is_private() || theirs.is_loopback() || theirs.is_link_local())
            }
            _ => false,
        }
    }

    /// Sends a datagram to the node.
    pub(crate) fn send(&mut self, from: Local, text: String, bytes: &[u8]) {
        self.note(StepKind::Sent, Some(from), bytes.len(), text);
        self.wire.send(from, self.target.contact.udp_addr(), bytes);
    }

    /// The next datagram to `local` before `deadline`. Those to other endpoints are noted, and lost.
    pub(crate) fn receive(&mut self, local: Local, deadline: Duration) -> Option<Received> {
        loop {
            let received = self.receive_any(deadline)?;
            if received.at == local {
                return Some(received);
            }
            let text = "a datagram that the case does not wait for".to_owned();
            self.note(StepKind::Came, Some(received.at), received.bytes.len(), text);
        }
    }

    /// The next datagram to any endpoint before `deadline`.
    pub(crate) fn receive_any(&mut self, deadline: Duration) -> Option<Received> {
        let within = deadline.saturating_sub(self.now());
        self.wire.receive(within)
    }

    /// Lets time pass.
    pub(crate) fn pause(&mut self, duration: Duration) {
        let deadline = self.now() + duration;
        while self.receive_any(deadline).is_some() {}
    }

    /// The transcript so far.
    pub(crate) fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Adds a line to the transcript.
    pub(crate) fn note(&mut self, kind: StepKind, local: Option<Local>, bytes: usize, text: String) {
        let local = local.map(|local| self.addr(local));
        self.steps.push(Step { at: self.now(), kind, local, bytes, text });
    }
}
