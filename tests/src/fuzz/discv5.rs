//! discv5 under a list of actions of a few strangers, the embedder and time, against a model of the sessions.
//!
//! Strangers hold known keys, so that their handshakes and messages pass; the model opens everything that is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use peerless::contract::{Action, CommandError, CommandId, Context, DropReason, Event, TalkId};
use peerless::crypto::discv5::{MessageKey, Nonce, SessionKeys, id_proof_digest};
use peerless::crypto::{Crypto, NodeId, PublicKey, SecretKey};
use peerless::discv5::{Config, Discv5, Local};
use peerless::kad::Received;
use peerless::limits;
use peerless::rng::{Rng, Seed};
use peerless::time::{Duration, Instant};
use peerless::wire::discv5::{
    CHALLENGE_BYTES, Challenge, Header, IdProof, Kind, Message, Packet, Payload, RecordList, RequestId, Route,
    seal_handshake, seal_ordinary, write_random,
};
use peerless::wire::enode::Contact;
use peerless::wire::enr::{Record, RecordBuilder};

use super::crypto::secret;
use super::handshake::context;
use super::{Cheap, Choices, Memory, Reached, Target};

/// Packets, commands, timeouts.
pub const DISCV5: Target = Target {
    name: "discv5",
    body: discv5,
    memory: Memory::machine(3),
    landmarks: &[
        "challenged",
        "challenged again",
        "session",
        "handshake refused",
        "our handshake",
        "admitted",
        "answered",
        "pong",
        "nodes",
        "record",
        "talk request",
        "talk response",
        "call failed",
        "unsolicited",
        "unrecognised",
        "from self",
        "malformed",
    ],
    generated: (1_000, 400),
};

/// Strangers' keys, and the addresses from which any of them may send.
const KEYS: usize = 5;
const ADDRESSES: [([u8; 4], u16); 5] = [
    ([8, 8, 8, 8], 30303),
    ([8, 8, 8, 8], 30304),
    ([8, 8, 9, 9], 30303),
    ([192, 168, 1, 7], 30303),
    ([1, 2, 3, 4], 30303),
];

/// A key and the endpoint that it uses.
type Peer = (usize, SocketAddr);

/// What a stranger knows at one endpoint.
#[derive(Default)]
struct Side {
    /// The keys that seal and open, the newest last.
    keys: Vec<(MessageKey, MessageKey)>,
    /// The machine's challenge.
    challenged: Option<Challenge>,
    /// Its own challenge.
    challenge: Option<Challenge>,
    /// The nonce of the machine's latest packet that no key opens.
    unopened: Option<Nonce>,
    /// The machine's latest requests that were not answered.
    requests: Vec<(RequestId, Kind)>,
    /// All of the machine's requests.
    asked: BTreeSet<RequestId>,
    /// Whether a handshake or an answer of it was accepted.
    is_proven: bool,
}

struct World {
    machine: Discv5,
    context: Context,
    rng: Rng,
    keys: Vec<PublicKey>,
    ids: Vec<NodeId>,
    sides: BTreeMap<Peer, Side>,
    open: BTreeSet<CommandId>,
    commands: u64,
    talks: Vec<TalkId>,
    /// Datagrams that strangers have sent.
    said: Vec<(Peer, Vec<u8>)>,
}

fn discv5(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let keys: Vec<PublicKey> = (0..KEYS).map(|key| Cheap.public_key(&key_of(key))).collect();
    let ids = keys.iter().map(PublicKey::node_id).collect();
    let mut config = Config::default();
    config.talk_protocols.insert(b"p".to_vec());
    if choices.once_in(4) {
        let (ip, port) = ADDRESSES[0];
        config.bootnodes = vec![Contact::new(keys[0], ip.into(), port, port)];
    }
    let mut context = context();
    let mut rng = Seed::new([choices.byte(); 32]).fork("discv5");
    let own = record(&secret(99), ([7, 7, 7, 7], 30303).into(), 1);
    let local = Local::new(&Cheap, secret(99), own);
    let machine = Discv5::new(&mut context.cx(&mut rng), config, local);
    let mut world = World {
        machine,
        context,
        rng,
        keys,
        ids,
        sides: BTreeMap::new(),
        open: BTreeSet::new(),
        commands: 0,
        talks: Vec::new(),
        said: Vec::new(),
    };
    world.time(Duration::ZERO, reached);
    let mut steps = 0;
    while !choices.is_empty() && steps < 400 {
        steps += 1;
        world.step(&mut choices, reached);
        world.look();
    }
    world.machine.shutdown(&mut world.context.cx(&mut world.rng));
    world.drain(None, reached);
    assert!(world.open.is_empty(), "every command ends once: {:?}", world.open);
    assert!(world.machine.poll_timeout().is_none() && world.machine.calls().is_empty());
}

fn key_of(key: usize) -> SecretKey {
    secret(10 + key as u8)
}

fn record(secret: &SecretKey, at: SocketAddr, seq: u64) -> Record {
    RecordBuilder::default().endpoint(at, at.port()).sign(&Cheap, secret, seq).expect("small")
}

impl World {
    fn now(&self) -> Instant {
        self.context.now()
    }

    fn own(&self) -> NodeId {
        *self.machine.local().id()
    }

    fn step(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        match choices.below(20) {
            // The same stranger mostly stays at one address: then sessions come about.
            0..=10 => {
                let key = choices.below(KEYS);
                let address = if choices.once_in(8) { choices.below(ADDRESSES.len()) } else { key };
                self.stranger((key, ADDRESSES[address].into()), choices, reached);
            }
            11 => {
                // Again, from there or from elsewhere, and perhaps changed.
                if let Some((peer, mut bytes)) = self.said.get(choices.below(self.said.len())).cloned() {
                    let from = if choices.flag() { peer.1 } else { choices.pick(&ADDRESSES).into() };
                    if choices.flag() {
                        let at = choices.below(bytes.len());
                        bytes[at] ^= 1 << choices.below(8);
                    }
                    self.receive((peer.0, from), &bytes, reached);
                }
            }
            12 => {
                let from = choices.pick(&ADDRESSES).into();
                let bytes = choices.bytes(200).to_vec();
                self.receive((0, from), &bytes, reached);
            }
            13 | 14 => self.command(choices, reached),
            15 => {
                let span = choices.span();
                self.time(span, reached);
            }
            16 => {
                if let Some(id) = self.talks.pop() {
                    let response = choices.bytes(100).to_vec();
                    let _ = self.machine.respond(&mut self.context.cx(&mut self.rng), &id, &response);
                    self.drain(Some(((self.key_of_id(&id.node), id.addr), id.request)), reached);
                }
            }
            _ => {
                if let Some((at, _)) = self.machine.poll_timeout() {
                    self.time(at.since(self.now()), reached);
                }
            }
        }
    }

    fn key_of_id(&self, id: &NodeId) -> usize {
        self.ids.iter().position(|other| other == id).expect("a stranger")
    }

    fn command(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        let command = CommandId(self.commands);
        let (ip, port) = choices.pick(&ADDRESSES);
        let contact = Contact::new(self.keys[choices.below(KEYS)], ip.into(), port, port);
        let mut cx = self.context.cx(&mut self.rng);
        let result = match choices.below(6) {
            0 => self.machine.ping(&mut cx, command, contact),
            1 => self.machine.request_record(&mut cx, command, contact),
            2 => self.machine.find_node(&mut cx, command, contact, &[256, choices.byte().into()]),
            3 => self.machine.lookup(&mut cx, Some(command), NodeId([choices.byte(); 32])),
            4 => {
                let request = [1; 1100];
                let len = if choices.flag() { choices.below(20) } else { 1100 };
                self.machine.talk(&mut cx, command, contact, b"p", &request[..len])
            }
            _ => {
                _ = self.machine.add_node(&mut cx, contact);
                Err(CommandError::Busy)
            }
        };
        if result.is_ok() {
            self.commands += 1;
            self.open.insert(command);
        }
        self.drain(None, reached);
    }

    /// A packet of a stranger: the next step of a handshake, a request, an answer to the machine's latest request, or random bytes.
    fn stranger(&mut self, peer: Peer, choices: &mut Choices<'_>, reached: &mut Reached) {
        let (own, own_key) = (self.own(), *self.machine.local().key());
        let side = self.sides.entry(peer).or_default();
        let mut rng = Seed::new([choices.byte(); 32]).fork("stranger");
        let id = if choices.once_in(64) { own } else { self.ids[peer.0] };
        let route = Route { from: &id, to: &own };
        let (iv, nonce, mut bytes) = (rng.bytes(), rng.bytes(), Vec::new());
        let signer = if choices.once_in(8) { choices.below(KEYS) } else { peer.0 };
        let named = if choices.once_in(4) { choices.pick(&ADDRESSES).into() } else { peer.1 };
        let record = record(&key_of(signer), named, choices.byte().into());
        let message = message(side, &record, choices);
        match (side.unopened.take(), side.challenged.take()) {
            (Some(unopened), challenged) if !choices.once_in(8) => {
                let challenge = Challenge::new(rng.bytes(), &unopened, rng.bytes(), choices.below(3) as u64);
                challenge.write(&own, &mut bytes);
                (side.challenge, side.challenged) = (Some(challenge), challenged);
            }
            (unopened, Some(challenge)) if !choices.once_in(8) => {
                side.unopened = unopened;
                let ephemeral = SecretKey::generate(&mut rng);
                let ephemeral_key = Cheap.public_key(&ephemeral).compressed();
                let agreement = Cheap.ecdh(&ephemeral, &own_key);
                let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &id, &own);
                let digest = id_proof_digest(challenge.as_bytes(), &ephemeral_key, &own);
                let signature = Cheap.sign(&key_of(peer.0), &digest).without_recovery_id();
                let with_record = !choices.once_in(8);
                let record = with_record.then_some(record.as_bytes());
                let proof = IdProof { signature, ephemeral_key: &ephemeral_key, record };
                let message = Message::decode(&message).expect("well-formed");
                seal_handshake(&mut bytes, route, iv, &nonce, &proof, &keys.initiator, &message);
                side.keys.push((keys.initiator, keys.recipient));
            }
            (unopened, challenged) => {
                (side.unopened, side.challenged) = (unopened, challenged);
                match side.keys.last().filter(|_| !choices.once_in(16)) {
                    Some((key, _)) => {
                        let message = Message::decode(&message).expect("well-formed");
                        seal_ordinary(&mut bytes, route, iv, &nonce, key, &message);
                    }
                    None => write_random(&mut bytes, route, iv, &nonce, choices.bytes(40)),
                }
            }
        }
        self.said.push((peer, bytes.clone()));
        self.receive(peer, &bytes, reached);
    }

    fn receive(&mut self, peer: Peer, bytes: &[u8], reached: &mut Reached) {
        let own = self.own();
        let packet = Packet::unmask(&own, bytes).ok().flatten();
        let sender = packet.as_ref().and_then(|packet| match packet.header() {
            Header::Ordinary { from } | Header::Handshake { from, .. } => {
                self.ids.iter().position(|id| *id == from).map(|key| (key, peer.1))
            }
            Header::Challenge(_) => Some(peer),
        });
        let is_handshake = packet.as_ref().is_some_and(|packet| matches!(packet.header(), Header::Handshake { .. }));
        let message = sender.zip(packet.as_ref()).and_then(|(sender, packet)| {
            let mut plain = Vec::new();
            let mut keys = self.sides.get(&sender)?.keys.iter().rev();
            keys.find(|(seal, _)| packet.open(seal, &mut plain).is_ok())?;
            plain.truncate(plain.len() - 16);
            let Message { request_id, payload } = Message::decode(&plain).ok()?;
            Some((request_id, payload.kind()))
        });
        let waiting = self.machine.challenges().len();
        let received = self.machine.handle_datagram(&mut self.context.cx(&mut self.rng), peer.1, bytes).received;
        // A session begins whatever is the matter with the first message.
        if is_handshake && self.machine.challenges().len() < waiting {
            reached.note("session");
            let side = self.sides.entry(sender.expect("only strangers begin sessions")).or_default();
            (side.is_proven, side.challenged) = (true, None);
        }
        if received == Received::Handled {
            assert!(!is_handshake || message.is_some(), "only the holder of the key begins a session");
            let is_answer = |kind| matches!(kind, Kind::Pong | Kind::Nodes | Kind::TalkResponse);
            let side = sender.and_then(|sender| self.sides.get_mut(&sender));
            if let (Some(side), Some((id, kind))) = (side, message) {
                side.is_proven |= is_answer(kind) && side.asked.contains(&id);
            }
        } else if let Received::Dropped(reason) = received {
            reached.note(match reason {
                DropReason::Malformed(_) if is_handshake => "handshake refused",
                DropReason::Malformed(_) => "malformed",
                DropReason::Unsolicited => "unsolicited",
                DropReason::RateLimited => "rate limited",
                DropReason::FromSelf => "from self",
                _ => "dropped",
            });
        } else {
            reached.note("unrecognised");
        }
        let request = message.zip(sender).map(|((id, _), sender)| (sender, id));
        self.cause(peer.1, bytes.len(), request, reached);
    }

    /// Takes the machine's actions after a datagram, of which at most one is a challenge, to its source.
    fn cause(&mut self, from: SocketAddr, size: usize, answering: Option<(Peer, RequestId)>, reached: &mut Reached) {
        let challenges = self.drain(answering, reached);
        assert!(challenges.len() <= 1);
        for to in challenges {
            assert!(to == from && size > CHALLENGE_BYTES, "a challenge is smaller than its cause");
        }
    }

    /// Takes and checks the machine's actions. `answering` is the request that was just handled. Returns where challenges went.
    fn drain(&mut self, answering: Option<(Peer, RequestId)>, reached: &mut Reached) -> Vec<SocketAddr> {
        let mut challenges = Vec::new();
        while let Some(action) = self.context.out.pop() {
            match action {
                Action::Send { to, bytes, .. } => {
                    let packets = self
                        .ids
                        .iter()
                        .zip(0..)
                        .find_map(|(id, key)| Packet::unmask(id, bytes).ok().flatten().map(|packet| (key, packet)));
                    let Some((key, packet)) = packets else {
                        assert_eq!(bytes.len(), CHALLENGE_BYTES, "an id that no stranger has is challenged");
                        challenges.push(to);
                        continue;
                    };
                    let side = self.sides.entry((key, to)).or_default();
                    let mut plain = Vec::new();
                    match packet.header() {
                        Header::Challenge(challenge) => {
                            challenges.push(to);
                            let again = side.challenged.replace(challenge) == Some(challenge);
                            reached.note(if again { "challenged again" } else { "challenged" });
                            continue;
                        }
                        Header::Handshake { proof, .. } => {
                            reached.note("our handshake");
                            let challenge = side.challenge.take().expect("in answer to a challenge");
                            let own = self.machine.local();
                            let digest = id_proof_digest(challenge.as_bytes(), proof.ephemeral_key, &self.ids[key]);
                            assert!(Cheap.verify(own.key(), &digest, &proof.signature));
                            assert!(proof.record.is_some() || challenge.enr_seq() >= own.record().seq());
                            let ephemeral = Cheap.public_key_from_compressed(proof.ephemeral_key).expect("a point");
                            let agreement = Cheap.ecdh(&key_of(key), &ephemeral);
                            let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), own.id(), &self.ids[key]);
                            assert!(packet.open(&keys.initiator, &mut plain).is_ok());
                            side.keys.push((keys.recipient, keys.initiator));
                        }
                        Header::Ordinary { .. } => {
                            if !side.keys.iter().rev().any(|(_, open)| packet.open(open, &mut plain).is_ok()) {
                                side.unopened = Some(*packet.nonce());
                                continue;
                            }
                        }
                    }
                    plain.truncate(plain.len() - 16);
                    let Message { request_id, payload } = Message::decode(&plain).expect("ours are well-formed");
                    match payload.kind() {
                        Kind::Pong | Kind::Nodes | Kind::TalkResponse => {
                            reached.note("answered");
                            assert_eq!(answering, Some(((key, to), request_id)), "an answer goes to its question");
                        }
                        kind => {
                            side.asked.insert(request_id);
                            side.requests.push((request_id, kind));
                            let excess = side.requests.len().saturating_sub(8);
                            side.requests.drain(..excess);
                        }
                    }
                }
                Action::Emit(event) => {
                    let (command, name) = match event {
                        Event::Pong { command, .. } => (command, "pong"),
                        Event::Nodes { command, .. } => (command, "nodes"),
                        Event::Record { command, .. } => (command, "record"),
                        Event::TalkResponse { command, .. } => (command, "talk response"),
                        Event::CallFailed { command, .. } => (command, "call failed"),
                        Event::TalkRequest { id, .. } => {
                            reached.note("talk request");
                            self.talks.push(id);
                            continue;
                        }
                        Event::NodeAdded { .. } => {
                            reached.note("admitted");
                            continue;
                        }
                        _ => continue,
                    };
                    reached.note(name);
                    assert!(self.open.remove(&command), "{name}: a command ends once");
                }
                other => panic!("discovery does not {other:?}"),
            }
        }
        challenges
    }

    fn time(&mut self, span: Duration, reached: &mut Reached) {
        let mut now = self.context.advance(self.now() + span);
        // Work beyond the budget of a turn is due a microsecond later.
        for turn in 0.. {
            _ = self.machine.handle_timeout(&mut self.context.cx(&mut self.rng));
            assert!(self.drain(None, reached).is_empty(), "time challenges no node");
            match self.machine.poll_timeout() {
                Some((at, _)) if at <= now => panic!("deadlines advance"),
                Some((at, _)) if at.since(now) <= Duration::from_micros(1) && turn < 16 => {
                    now = self.context.advance(at);
                }
                Some(_) => break,
                None => panic!("the next refresh is always due at some time"),
            }
        }
    }

    fn look(&self) {
        assert!(self.machine.calls().len() <= limits::CALLS_MAX);
        assert!(self.machine.challenges().len() <= limits::CHALLENGES_MAX);
        for entry in self.machine.table().entries() {
            let contact = entry.contact();
            let key = self.keys.iter().position(|key| *key == contact.key()).expect("a stranger");
            let side = self.sides.get(&(key, contact.udp_addr()));
            assert!(side.is_some_and(|side| side.is_proven), "only proven endpoints are in the table");
        }
    }
}

/// A message of a stranger: mostly an answer to the machine's latest request, if there is one.
fn message(side: &mut Side, record: &Record, choices: &mut Choices<'_>) -> Vec<u8> {
    let id: RequestId = choices.array().into();
    let (id, payload) = match side.requests.pop().filter(|_| !choices.once_in(4)) {
        Some((id, Kind::Ping)) => {
            (id, Payload::Pong { enr_seq: choices.byte().into(), recipient: ([7, 7, 7, 7], 30303).into() })
        }
        Some((id, Kind::FindNode)) => {
            let total = choices.below(4) as u64;
            if total > 1 {
                side.requests.push((id, Kind::FindNode));
            }
            (id, Payload::Nodes { total, records: RecordList::new(record.as_bytes()) })
        }
        Some((id, _)) => (id, Payload::TalkResponse { response: choices.bytes(50) }),
        None => {
            let payload = match choices.below(7) {
                0 | 1 => Payload::Ping { enr_seq: choices.byte().into() },
                2 => Payload::FindNode { distances: vec![0, 256, choices.byte().into()] },
                3 => {
                    let protocol: &[u8] = if choices.flag() { b"p" } else { b"other" };
                    Payload::TalkRequest { protocol, request: choices.bytes(50) }
                }
                4 => Payload::Pong { enr_seq: 1, recipient: ([7, 7, 7, 7], 30303).into() },
                5 => Payload::Nodes { total: 1, records: RecordList::new(record.as_bytes()) },
                _ => Payload::TopicQuery { topic: &[7; 32], distances: vec![256] },
            };
            (id, payload)
        }
    };
    let mut plain = Vec::new();
    Message { request_id: id, payload }.encode(&mut plain);
    plain
}
