//! A node that the tester plays: a key and a record at an endpoint, the session with the node under test, and what it accepts
//! as an answer.

use std::net::SocketAddr;
use std::time::Duration;

use peerless::crypto::discv5::{MessageKey, Nonce, SessionKeys, id_proof_digest};
use peerless::crypto::{Crypto, NodeId, SecretKey};
use peerless::wire::discv5::{
    Challenge, Header, IdProof, Kind, Message, PACKET_BYTES_MAX, Packet, Payload, RecordList, RequestId, Route,
    seal_handshake, seal_ordinary, seal_ordinary_encoded, write_random,
};
use peerless::wire::enr::{Record, RecordBuilder};

use crate::trial::{StepKind, Stop, Trial};
use crate::wire::{Address, Local, Received};

/// The random bytes of the first packet to a node: as long as a sealed PING, as geth sends them.
const RANDOM_BYTES: usize = 20;
/// Handshakes in which one request may be answered.
const HANDSHAKES_MAX: usize = 3;

/// A key, a record and a session at an endpoint.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    secret: SecretKey,
    pub(super) id: NodeId,
    pub(super) record: Record,
    pub(super) local: Local,
    pub(super) addr: SocketAddr,
    /// The keys by which the tester seals and opens.
    pub(super) session: Option<Session>,
}

/// The keys of a session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    seal: MessageKey,
    open: MessageKey,
}

/// How a handshake deviates.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Proof<'a> {
    /// As it must be.
    Right,
    /// Without a record.
    NoRecord,
    /// With the record of another node.
    Record(&'a Record),
    /// With a signature of something else.
    WrongSignature,
}

/// What came from the node under test.
#[derive(Clone, Debug)]
pub(super) enum Came {
    /// A challenge, in a packet of so many bytes.
    Challenge(Challenge, usize),
    /// A message in plain.
    Message(Opened),
    /// A packet that no session opens.
    Sealed,
}

/// A message that has been decoded once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Opened(Vec<u8>);

impl Opened {
    /// The message.
    pub(super) fn message(&self) -> Result<Message<'_>, Stop> {
        Message::decode(&self.0).map_err(|error| Stop::Failed(format!("a malformed message: {error}")))
    }
}

impl Peer {
    /// A fresh key at a fresh endpoint of the first address, which its record does not name, so that it enters no table.
    pub(super) fn new(trial: &mut Trial<'_>) -> Result<Self, Stop> {
        let secret = SecretKey::generate(trial.rng());
        Self::with_record(trial, secret, |_, _| {})
    }

    /// The node of a key at a fresh endpoint of the first address, which its record names.
    pub(super) fn named(trial: &mut Trial<'_>, secret: SecretKey) -> Result<Self, Stop> {
        Self::with_record(trial, secret, |record, addr| _ = record.endpoint(addr, 0))
    }

    fn with_record(
        trial: &mut Trial<'_>,
        secret: SecretKey,
        fill: impl FnOnce(&mut RecordBuilder, SocketAddr),
    ) -> Result<Self, Stop> {
        let local = trial.open(Address::First)?;
        let (addr, mut builder) = (trial.addr(local), RecordBuilder::default());
        fill(&mut builder, addr);
        let record = builder.sign(trial.crypto(), &secret, 1);
        let record = record.map_err(|_| Stop::Skipped("the tester's record is too large".to_owned()))?;
        Ok(Self { id: record.key().node_id(), secret, record, local, addr, session: None })
    }

    /// The same node, with its session, at another endpoint.
    pub(super) fn at(&self, trial: &mut Trial<'_>, address: Address) -> Result<Self, Stop> {
        let local = trial.open(address)?;
        Ok(Self { local, addr: trial.addr(local), ..self.clone() })
    }

    /// A request with a fresh id.
    pub(super) fn request<'m>(&self, trial: &mut Trial<'_>, payload: Payload<'m>) -> Message<'m> {
        let id: [u8; 4] = trial.rng().bytes();
        Message { request_id: RequestId::new(&id).unwrap_or([0; 8].into()), payload }
    }

    /// A PING with a fresh id.
    pub(super) fn ping(&self, trial: &mut Trial<'_>) -> Message<'static> {
        self.request(trial, Payload::Ping { enr_seq: self.record.seq() })
    }

    /// Sends a message within the session, or random bytes if there is none. Returns the nonce.
    pub(super) fn send(&self, trial: &mut Trial<'_>, message: &Message<'_>) -> Nonce {
        let (iv, nonce, remote) = (trial.rng().bytes(), trial.rng().bytes(), remote(trial));
        let route = Route { from: &self.id, to: &remote };
        let mut bytes = Vec::new();
        let text = match &self.session {
            Some(session) => {
                seal_ordinary(&mut bytes, route, iv, &nonce, &session.seal, message);
                words(message)
            }
            None => {
                let random: [u8; RANDOM_BYTES] = trial.rng().bytes();
                write_random(&mut bytes, route, iv, &nonce, &random);
                format!("a random packet for {}", words(message))
            }
        };
        trial.send(self.local, text, &bytes);
        nonce
    }

    /// Sends an encoded message of any content within the session.
    pub(super) fn send_encoded(&self, trial: &mut Trial<'_>, text: &str, plain: &[u8]) {
        let Some(session) = &self.session else { return };
        let (iv, nonce, remote) = (trial.rng().bytes(), trial.rng().bytes(), remote(trial));
        let mut bytes = Vec::new();
        let route = Route { from: &self.id, to: &remote };
        seal_ordinary_encoded(&mut bytes, route, iv, &nonce, &session.seal, plain);
        trial.send(self.local, text.to_owned(), &bytes);
    }

    /// A random packet, to be changed and sent.
    pub(super) fn random_packet(&self, trial: &mut Trial<'_>, random: &[u8]) -> (Nonce, Vec<u8>) {
        let (iv, nonce, remote) = (trial.rng().bytes(), trial.rng().bytes(), remote(trial));
        let mut bytes = Vec::new();
        write_random(&mut bytes, Route { from: &self.id, to: &remote }, iv, &nonce, random);
        (nonce, bytes)
    }

    /// Answers a challenge with a message, by which a session begins. Returns the nonce.
    pub(super) fn answer(
        &mut self,
        trial: &mut Trial<'_>,
        challenge: &Challenge,
        message: &Message<'_>,
        how: Proof<'_>,
    ) -> Nonce {
        let remote = remote(trial);
        let ephemeral = SecretKey::generate(trial.rng());
        let ephemeral_key = trial.crypto().public_key(&ephemeral).compressed();
        let mut digest = id_proof_digest(challenge.as_bytes(), &ephemeral_key, &remote);
        if how == Proof::WrongSignature {
            digest[0] ^= 1;
        }
        let record = match how {
            Proof::NoRecord => None,
            Proof::Record(record) => Some(record.as_bytes()),
            // Sent whether the node knows it or not, which is permitted.
            Proof::Right | Proof::WrongSignature => Some(self.record.as_bytes()),
        };
        let signature = trial.crypto().sign(&self.secret, &digest).without_recovery_id();
        let proof = IdProof { signature, ephemeral_key: &ephemeral_key, record };
        let agreement = trial.crypto().ecdh(&ephemeral, &trial.target().contact.key());
        let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &self.id, &remote);
        let (iv, nonce) = (trial.rng().bytes(), trial.rng().bytes());
        let mut bytes = Vec::new();
        let route = Route { from: &self.id, to: &remote };
        seal_handshake(&mut bytes, route, iv, &nonce, &proof, &keys.initiator, message);
        self.session = Some(Session { seal: keys.initiator, open: keys.recipient });
        let how = match how {
            Proof::Right => "",
            Proof::NoRecord => ", without a record",
            Proof::Record(_) => ", with the record of another node",
            Proof::WrongSignature => ", with a wrong signature",
        };
        trial.send(self.local, format!("handshake with {}{how}", words(message)), &bytes);
        nonce
    }

    /// The next packet before `deadline`.
    pub(super) fn receive(&self, trial: &mut Trial<'_>, deadline: Duration) -> Result<Option<Came>, Stop> {
        loop {
            let Some(received) = trial.receive(self.local, deadline) else { return Ok(None) };
            match self.read(trial, &received) {
                Ok(came) => return Ok(Some(came)),
                // Any host can send here.
                Err(_) if received.from != trial.remote() => {}
                Err(why) => return Err(Stop::Failed(why)),
            }
        }
    }

    /// Opens and notes a datagram.
    pub(super) fn read(&self, trial: &mut Trial<'_>, received: &Received) -> Result<Came, String> {
        let opened = self.open(trial, &received.bytes);
        let text = match &opened {
            Ok(Came::Challenge(challenge, _)) => format!(
                "WHOAREYOU request-nonce={} enr-seq={}",
                digits(&challenge.request_nonce()[..4]),
                challenge.enr_seq()
            ),
            Ok(Came::Message(opened)) => opened.message().map_or("a message".to_owned(), |message| words(&message)),
            Ok(Came::Sealed) => "a packet that the tester cannot open".to_owned(),
            Err(why) => why.clone(),
        };
        let is_from_elsewhere = received.from != trial.remote();
        let text = if is_from_elsewhere { format!("{text} source={}", received.from) } else { text };
        trial.note(StepKind::Came, Some(self.local), received.bytes.len(), text);
        opened
    }

    /// Opens a packet.
    fn open(&self, trial: &Trial<'_>, bytes: &[u8]) -> Result<Came, String> {
        if bytes.len() > PACKET_BYTES_MAX {
            return Err("a datagram of more than 1280 bytes".to_owned());
        }
        let packet = match Packet::unmask(&self.id, bytes) {
            Ok(Some(packet)) => packet,
            Ok(None) => return Err("a datagram that is no discv5 packet".to_owned()),
            Err(error) => return Err(format!("a malformed discv5 packet: {error}")),
        };
        match packet.header() {
            Header::Challenge(challenge) => Ok(Came::Challenge(challenge, bytes.len())),
            Header::Ordinary { from } | Header::Handshake { from, .. } if from != remote(trial) => {
                Err("a packet in the name of another node".to_owned())
            }
            Header::Ordinary { .. } => {
                let mut plain = Vec::new();
                let opened = self.session.as_ref().and_then(|session| packet.open(&session.open, &mut plain).ok());
                let Some(opened) = opened else { return Ok(Came::Sealed) };
                Message::decode(opened).map_err(|error| format!("a malformed message: {error}"))?;
                Ok(Came::Message(Opened(opened.to_vec())))
            }
            // The tester challenges no node.
            Header::Handshake { .. } => Ok(Came::Sealed),
        }
    }

    /// Waits for a challenge. Fails if a message comes instead, or nothing.
    pub(super) fn challenge(&self, trial: &mut Trial<'_>) -> Result<(Challenge, usize), Stop> {
        let deadline = trial.now() + trial.patience();
        while let Some(came) = self.receive(trial, deadline)? {
            match came {
                Came::Challenge(challenge, bytes) => return Ok((challenge, bytes)),
                Came::Message(opened) if is_answer(&opened)? => {
                    return Err(Stop::Failed("expected WHOAREYOU, and an answer came".to_owned()));
                }
                Came::Message(_) | Came::Sealed => {}
            }
        }
        trial.note(StepKind::Nothing, Some(self.local), 0, String::new());
        Err(Stop::Failed(format!("no WHOAREYOU within {} ms", trial.patience().as_millis())))
    }

    /// Sends a request, proves the identity if the node challenges, and returns the answer to it.
    pub(super) fn ask(&mut self, trial: &mut Trial<'_>, request: &Message<'_>) -> Result<Opened, Stop> {
        let nonce = self.send(trial, request);
        self.answer_to(trial, request, nonce)
    }

    /// Waits for the answer to a request that was sent with `nonce`. Answers requests of the node's own meanwhile.
    pub(super) fn answer_to(
        &mut self,
        trial: &mut Trial<'_>,
        request: &Message<'_>,
        mut nonce: Nonce,
    ) -> Result<Opened, Stop> {
        let mut deadline = trial.now() + trial.patience();
        let mut handshakes = 0;
        while let Some(came) = self.receive(trial, deadline)? {
            match came {
                Came::Challenge(challenge, _) if *challenge.request_nonce() == nonce => {
                    handshakes += 1;
                    if handshakes > HANDSHAKES_MAX {
                        return Err(Stop::Failed("the node challenges again and again".to_owned()));
                    }
                    nonce = self.answer(trial, &challenge, request, Proof::Right);
                    deadline = trial.now() + trial.patience();
                }
                Came::Challenge(..) => {
                    return Err(Stop::Failed("WHOAREYOU with the nonce of no packet that was sent".to_owned()));
                }
                Came::Message(opened) => {
                    if is_answer(&opened)? {
                        return Ok(opened);
                    }
                    self.serve(trial, &opened, &[])?;
                }
                Came::Sealed => {}
            }
        }
        trial.note(StepKind::Nothing, Some(self.local), 0, String::new());
        let kind = request.payload.kind();
        Err(Stop::Failed(format!("no answer to {kind:?} within {} ms", trial.patience().as_millis())))
    }

    /// Answers a request of the node's own; `known` are the records that it may be told. Returns the answer and its nonce.
    pub(super) fn serve(
        &self,
        trial: &mut Trial<'_>,
        opened: &Opened,
        known: &[Record],
    ) -> Result<Option<(Nonce, Opened)>, Stop> {
        let Message { request_id, payload } = opened.message()?;
        let mut records = Vec::new();
        let payload = match payload {
            Payload::Ping { .. } => Payload::Pong { enr_seq: self.record.seq(), recipient: trial.remote() },
            Payload::FindNode { distances } => {
                let own = core::iter::once(&self.record).filter(|_| distances.contains(&0));
                let known =
                    known.iter().filter(|record| distances.contains(&self.id.log_distance(&record.key().node_id())));
                // Three records of any size fit a message.
                own.chain(known).take(3).for_each(|record| records.extend_from_slice(record.as_bytes()));
                Payload::Nodes { total: 1, records: RecordList::new(&records) }
            }
            Payload::TalkRequest { .. } => Payload::TalkResponse { response: &[] },
            _ => return Ok(None),
        };
        let answer = Message { request_id, payload };
        let mut plain = Vec::new();
        answer.encode(&mut plain);
        Ok(Some((self.send(trial, &answer), Opened(plain))))
    }

    /// Fails if an answer comes. Challenges and requests of the node's own may.
    pub(super) fn silence(&self, trial: &mut Trial<'_>) -> Result<(), Stop> {
        let deadline = trial.now() + trial.patience();
        let mut came_something = false;
        while let Some(came) = self.receive(trial, deadline)? {
            came_something = true;
            if let Came::Message(opened) = came
                && is_answer(&opened)?
            {
                let kind = opened.message()?.payload.kind();
                return Err(Stop::Failed(format!("expected no answer, and {kind:?} came")));
            }
        }
        if !came_something {
            trial.note(StepKind::Nothing, Some(self.local), 0, String::new());
        }
        Ok(())
    }

    /// Fails if anything comes.
    pub(super) fn nothing(&self, trial: &mut Trial<'_>) -> Result<(), Stop> {
        let deadline = trial.now() + trial.patience();
        match self.receive(trial, deadline)? {
            Some(Came::Challenge(..)) => Err(Stop::Failed("expected nothing, and WHOAREYOU came".to_owned())),
            Some(_) => Err(Stop::Failed("expected nothing, and a packet came".to_owned())),
            None => {
                trial.note(StepKind::Nothing, Some(self.local), 0, String::new());
                Ok(())
            }
        }
    }

    /// Begins a session by a PING and checks the PONG.
    pub(super) fn begin(&mut self, trial: &mut Trial<'_>) -> Result<(), Stop> {
        let ping = self.ping(trial);
        let pong = self.ask(trial, &ping)?;
        self.check_pong(trial, &ping, &pong).map(|_| ())
    }

    /// Judges the answer to a PING. Returns the sequence number in it.
    pub(super) fn check_pong(&self, trial: &Trial<'_>, ping: &Message<'_>, pong: &Opened) -> Result<u64, Stop> {
        let pong = pong.message()?;
        let Payload::Pong { enr_seq, recipient } = pong.payload else {
            return Err(Stop::Failed(format!("expected PONG, and {:?} came", pong.payload.kind())));
        };
        if pong.request_id != ping.request_id {
            let (theirs, ours) = (pong.request_id, ping.request_id);
            return Err(Stop::Failed(format!("the PONG has the request id {theirs:?}, the PING has {ours:?}")));
        }
        if recipient != self.addr && !trial.is_translated(self.local) {
            return Err(Stop::Failed(format!("the PONG is to {recipient}, the PING came from {}", self.addr)));
        }
        Ok(enr_seq)
    }
}

/// Whether a message is an answer.
pub(super) fn is_answer(opened: &Opened) -> Result<bool, Stop> {
    Ok(matches!(opened.message()?.payload.kind(), Kind::Pong | Kind::Nodes | Kind::TalkResponse))
}

/// The id of the node under test.
pub(super) fn remote(trial: &Trial<'_>) -> NodeId {
    trial.target().contact.id()
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + ".."
}

/// A message in words.
fn words(message: &Message<'_>) -> String {
    let id = &message.request_id;
    match &message.payload {
        Payload::Ping { enr_seq } => format!("PING request-id={id:?} enr-seq={enr_seq}"),
        Payload::Pong { enr_seq, recipient } => {
            format!("PONG request-id={id:?} enr-seq={enr_seq} recipient={recipient}")
        }
        Payload::FindNode { distances } => format!("FINDNODE request-id={id:?} distances={distances:?}"),
        Payload::Nodes { total, records } => {
            format!("NODES request-id={id:?} total={total} records={}", records.iter().count())
        }
        Payload::TalkRequest { protocol, request } => format!(
            "TALKREQ request-id={id:?} protocol={:?} request={} bytes",
            String::from_utf8_lossy(protocol),
            request.len()
        ),
        Payload::TalkResponse { response } => format!("TALKRESP request-id={id:?} response={} bytes", response.len()),
        other => format!("{:?} request-id={id:?}", other.kind()),
    }
}
