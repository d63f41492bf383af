//! discv5 alone as a machine of the network in memory, and strangers whose packets the test composes.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::SocketAddr;
use std::sync::LazyLock;

use super::super::*;
use crate::contract::{Context, Input};
use crate::crypto::Secp256k1;
use crate::crypto::discv5::{Mask, MessageKey, SessionKeys, id_proof_digest};
use crate::kad::testing::{self, Protocol};
pub(super) use crate::kad::testing::{addr, millis, secs};
use crate::kad::{Received, Verdict};
use crate::limits;
use crate::netfilter::NetFilter;
use crate::rng::Seed;
use crate::testing::{Host, Start};
use crate::wire::discv5::{
    CHALLENGE_BYTES, Challenge, Header, IdProof, Packet, Payload, RecordList, RequestId, seal_handshake, write_random,
};
use crate::wire::enr::RecordBuilder;

pub(super) static CRYPTO: LazyLock<Arc<Secp256k1>> = LazyLock::new(|| Arc::new(Secp256k1::new()));

/// The delay of every datagram, unless a test sets another.
pub(super) const DELAY: Duration = Duration::from_millis(20);

/// One [`Discv5`] with its context, as a machine.
pub(super) type Lone = testing::Lone<Discv5>;

impl Protocol for Discv5 {
    fn handle_datagram(&mut self, cx: &mut Cx<'_>, from: SocketAddr, bytes: &[u8]) -> Verdict {
        self.handle_datagram(cx, from, bytes)
    }

    fn handle_timeout(&mut self, cx: &mut Cx<'_>) -> Growth {
        self.handle_timeout(cx)
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.poll_timeout().map(|(due, _)| due)
    }

    /// A session with the sender: it has answered our challenge, or has sealed an answer to our handshake.
    fn is_proof(&self, from: SocketAddr, bytes: &[u8]) -> bool {
        let Ok(Some(packet)) = Packet::unmask(&self.local.id, bytes) else { return false };
        let (Header::Ordinary { from: id } | Header::Handshake { from: id, .. }) = packet.header() else {
            return false;
        };
        self.sessions.contains(self.peer_hash(&id, from), Instant::ZERO)
    }

    fn check_bounds(&self) {
        assert!(self.calls.len() <= limits::CALLS_MAX && self.lookups.len() <= limits::LOOKUPS_MAX);
        assert!(self.unverified.len() <= limits::UNVERIFIED_MAX);
        assert!(self.sessions.len() <= limits::SESSIONS_MAX && self.challenges.len() <= limits::CHALLENGES_MAX);
        if let Some((due, _)) = self.poll_timeout() {
            assert!(due >= self.not_before);
        }
    }

    /// Nothing else has the size of a challenge.
    fn check_sent(&self, to: SocketAddr, bytes: &[u8], cause: Option<(SocketAddr, usize)>) {
        if bytes.len() == CHALLENGE_BYTES {
            assert!(cause.is_some_and(|(from, size)| from == to && size > bytes.len()), "{cause:?}");
        }
        assert!(bytes.len() <= crate::wire::discv5::PACKET_BYTES_MAX, "{}", bytes.len());
    }
}

/// A message that a stranger received, in plain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Plain(pub(super) Vec<u8>);

impl Plain {
    pub(super) fn new(request_id: RequestId, payload: Payload<'_>) -> Self {
        let mut bytes = Vec::new();
        Message { request_id, payload }.encode(&mut bytes);
        Self(bytes)
    }

    /// The answer to a ping.
    pub(super) fn pong(request_id: RequestId, enr_seq: u64) -> Self {
        Self::new(request_id, Payload::Pong { enr_seq, recipient: addr("100.0.0.1:30303") })
    }

    /// One answer of `total` to a FindNode.
    pub(super) fn nodes<'a>(request_id: RequestId, total: u64, records: impl IntoIterator<Item = &'a Record>) -> Self {
        let records: Vec<u8> = records.into_iter().flat_map(|record| record.as_bytes()).copied().collect();
        Self::new(request_id, Payload::Nodes { total, records: RecordList::new(&records) })
    }

    pub(super) fn message(&self) -> Message<'_> {
        Message::decode(&self.0).unwrap()
    }

    /// The id and what the message says.
    pub(super) fn parts(&self) -> (RequestId, Payload<'_>) {
        let Message { request_id, payload } = self.message();
        (request_id, payload)
    }
}

/// What a stranger received.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Got {
    /// A packet that no key of the stranger opens.
    Unopened(Nonce),
    Challenge(Challenge),
    /// A handshake packet that answers the stranger's challenge, and whether it has a record.
    Handshake(Plain, bool),
    Message(Plain),
}

impl Got {
    pub(super) fn challenge(&self) -> Challenge {
        let Self::Challenge(challenge) = self else { panic!("{self:?}") };
        *challenge
    }

    pub(super) fn nonce(&self) -> Nonce {
        let Self::Unopened(nonce) = self else { panic!("{self:?}") };
        *nonce
    }

    pub(super) fn plain(&self) -> &Plain {
        let (Self::Message(plain) | Self::Handshake(plain, _)) = self else { panic!("{self:?}") };
        plain
    }
}

/// A node that the test plays: its key, address and record, and its session with the first machine.
pub(super) struct Stranger {
    pub(super) secret: SecretKey,
    pub(super) key: PublicKey,
    pub(super) id: NodeId,
    pub(super) addr: SocketAddr,
    pub(super) record: Record,
    /// The keys that seal and open.
    pub(super) keys: Option<(MessageKey, MessageKey)>,
    /// Its challenge that waits.
    pub(super) challenge: Option<Challenge>,
    rng: Rng,
}

impl Stranger {
    pub(super) fn new(n: u8, at: &str) -> Self {
        let secret = SecretKey::from_bytes([n; 32]).unwrap();
        Self::with_secret(secret, addr(at))
    }

    pub(super) fn with_secret(secret: SecretKey, at: SocketAddr) -> Self {
        let key = CRYPTO.public_key(&secret);
        let rng = Seed::new(*secret.expose()).fork("stranger");
        let record = record_of(&secret, at, 1);
        Self { key, id: key.node_id(), addr: at, record, keys: None, challenge: None, rng, secret }
    }

    /// The same node at another address: its record and its keys are the same.
    pub(super) fn at(&self, at: &str) -> Self {
        let (keys, record) = (self.keys.clone(), self.record.clone());
        Self { addr: addr(at), keys, record, ..Self::with_secret(self.secret.clone(), self.addr) }
    }

    pub(super) fn contact(&self) -> Contact {
        Contact::new(self.key, self.addr.ip(), self.addr.port(), self.addr.port())
    }

    pub(super) fn set_record(&mut self, at: SocketAddr, seq: u64) {
        self.record = record_of(&self.secret, at, seq);
    }

    /// The first packet to a node.
    pub(super) fn random(&mut self, to: &NodeId) -> (Nonce, Vec<u8>) {
        let (nonce, random, mut bytes) = (self.rng.bytes(), self.rng.bytes::<20>(), Vec::new());
        write_random(&mut bytes, Route { from: &self.id, to }, self.rng.bytes(), &nonce, &random);
        (nonce, bytes)
    }

    /// A packet of its session.
    pub(super) fn seal(&mut self, to: &NodeId, plain: &Plain) -> Vec<u8> {
        let (iv, nonce, mut bytes) = (self.rng.bytes(), self.rng.bytes(), Vec::new());
        let (key, _) = self.keys.as_ref().expect("a session");
        seal_ordinary(&mut bytes, Route { from: &self.id, to }, iv, &nonce, key, &plain.message());
        bytes
    }

    /// A packet of its session with any bytes as its message.
    pub(super) fn seal_bytes(&mut self, to: &NodeId, plain: &[u8]) -> Vec<u8> {
        let (iv, nonce, mut bytes) = (self.rng.bytes(), self.rng.bytes(), Vec::new());
        write_random(&mut bytes, Route { from: &self.id, to }, iv, &nonce, &[]);
        let head = 0..bytes.len();
        Mask::new(to, &iv).apply(&mut bytes[16..]);
        bytes.extend_from_slice(plain);
        self.keys.as_ref().expect("a session").0.seal(&nonce, &mut bytes, head.clone());
        Mask::new(to, &iv).apply(&mut bytes[head][16..]);
        bytes
    }

    /// A handshake packet in answer to a challenge. Its session has the new keys from here on.
    pub(super) fn handshake(
        &mut self,
        to: &PublicKey,
        challenge: &Challenge,
        record: Option<&[u8]>,
        plain: &Plain,
    ) -> Vec<u8> {
        let ephemeral = SecretKey::generate(&mut self.rng);
        let ephemeral_key = CRYPTO.public_key(&ephemeral).compressed();
        let agreement = CRYPTO.ecdh(&ephemeral, to);
        let id = to.node_id();
        let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &self.id, &id);
        let digest = id_proof_digest(challenge.as_bytes(), &ephemeral_key, &id);
        let signature = CRYPTO.sign(&self.secret, &digest).without_recovery_id();
        let proof = IdProof { signature, ephemeral_key: &ephemeral_key, record };
        let (iv, nonce, mut bytes) = (self.rng.bytes(), self.rng.bytes(), Vec::new());
        let route = Route { from: &self.id, to: &id };
        seal_handshake(&mut bytes, route, iv, &nonce, &proof, &keys.initiator, &plain.message());
        self.keys = Some((keys.initiator, keys.recipient));
        bytes
    }

    /// A challenge of a packet, which waits for its answer.
    pub(super) fn challenge(&mut self, to: &NodeId, nonce: &Nonce, enr_seq: u64) -> Vec<u8> {
        let challenge = Challenge::new(self.rng.bytes(), nonce, self.rng.bytes(), enr_seq);
        self.challenge = Some(challenge);
        let mut bytes = Vec::new();
        challenge.write(to, &mut bytes);
        bytes
    }

    /// Reads a datagram of a node. A handshake packet that answers the stranger's challenge begins its session.
    pub(super) fn read(&mut self, node: &PublicKey, bytes: &[u8]) -> Got {
        let packet = Packet::unmask(&self.id, bytes).unwrap().expect("masked for this stranger");
        let mut plain = Vec::new();
        let mut open = |key: &MessageKey| packet.open(key, &mut plain).ok().map(|plain| Plain(plain.to_vec()));
        let id = node.node_id();
        match packet.header() {
            Header::Challenge(challenge) => Got::Challenge(challenge),
            Header::Ordinary { from } => {
                assert_eq!(from, id);
                let opened = self.keys.as_ref().and_then(|(_, key)| open(key));
                opened.map_or(Got::Unopened(*packet.nonce()), Got::Message)
            }
            Header::Handshake { from, proof } => {
                assert_eq!(from, id);
                let challenge = self.challenge.take().expect("a challenge");
                let digest = id_proof_digest(challenge.as_bytes(), proof.ephemeral_key, &self.id);
                assert!(CRYPTO.verify(node, &digest, &proof.signature));
                let ephemeral = CRYPTO.public_key_from_compressed(proof.ephemeral_key).unwrap();
                let agreement = CRYPTO.ecdh(&self.secret, &ephemeral);
                let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &id, &self.id);
                let record = proof.record.map(|record| Record::decode(&**CRYPTO, record).unwrap());
                assert!(record.as_ref().is_none_or(|record| record.key() == node));
                let opened = open(&keys.initiator).expect("sealed with the new key");
                self.keys = Some((keys.recipient, keys.initiator));
                Got::Handshake(opened, record.is_some())
            }
        }
    }
}

fn record_of(secret: &SecretKey, at: SocketAddr, seq: u64) -> Record {
    RecordBuilder::default().endpoint(at, at.port()).sign(&**CRYPTO, secret, seq).unwrap()
}

/// Machines are referred to by their numbers, in the order in which they were added.
pub(super) type Net = crate::testing::Net<Lone>;

/// The key of machine number `i`, and its generator.
fn identity(i: usize) -> (SecretKey, Rng) {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&(i as u64 + 1).to_be_bytes());
    let mut rng = Seed::new(seed).fork("discv5");
    (SecretKey::generate(&mut rng), rng)
}

/// Machine number `i`.
pub(super) fn new_lone(
    i: usize,
    at: SocketAddr,
    config: Config,
    filter: NetFilter,
    crypto: Arc<dyn Crypto + Send + Sync>,
    start: Start,
) -> Lone {
    let (secret, mut rng) = identity(i);
    let record = RecordBuilder::default().endpoint(at, at.port()).sign(&*crypto, &secret, 1).unwrap();
    let local = Local::new(&*crypto, secret, record);
    let mut context = Context::new(start.now, start.unix, filter, crypto);
    let addrs = config.bootnodes.iter().map(Contact::udp_addr).collect();
    let discv5 = Discv5::new(&mut context.cx(&mut rng), config, local);
    Lone::new(discv5, context, rng, addrs)
}

/// A network without machines.
pub(super) fn empty() -> Net {
    let mut net = Net::new(1);
    net.link.delay = (DELAY, DELAY);
    net.log_datagrams();
    net
}

/// One machine without bootnodes, after its first timeout.
pub(super) fn victim() -> Net {
    let mut net = empty();
    net.add_at("100.0.0.1:30303", &[]);
    net.run_for(millis(1));
    net
}

/// Two machines that do not know each other and that check no nodes, after their first timeouts.
pub(super) fn pair() -> Net {
    let mut net = empty();
    for at in ["100.0.0.1:30303", "101.0.0.1:30303"] {
        net.add_with(at, quiet(), NetFilter::default());
    }
    net.run_for(millis(1));
    net
}

/// One machine that checks no nodes, after its first timeout.
pub(super) fn quiet_victim() -> Net {
    let mut net = empty();
    net.add_with("100.0.0.1:30303", quiet(), NetFilter::default());
    net.run_for(millis(1));
    net
}

/// A network of global addresses, each in a subnet of its own, in which the first machine is the bootnode of all others.
pub(super) fn devnet(count: usize) -> Net {
    let mut net = empty();
    (0..count).for_each(|i| net.add_at(&alloc::format!("60.{i}.0.1:30303"), if i == 0 { &[] } else { &[0] }));
    net
}

impl Net {
    /// Adds a machine, with other ones as its bootnodes.
    pub(super) fn add_at(&mut self, at: &str, bootnodes: &[usize]) {
        let bootnodes = bootnodes.iter().map(|i| self.contact(*i)).collect();
        self.add_with(at, Config { bootnodes, ..Config::default() }, NetFilter::default());
    }

    pub(super) fn add_with(&mut self, at: &str, config: Config, filter: NetFilter) {
        self.add_machine(addr(at), config, filter, CRYPTO.clone());
    }

    pub(super) fn add_machine(
        &mut self,
        at: SocketAddr,
        config: Config,
        filter: NetFilter,
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) {
        let i = self.hosts().count();
        self.add(at, |start| new_lone(i, at, config, filter, crypto, start));
    }

    pub(super) fn discv5(&self, i: usize) -> &Discv5 {
        &self.machine(Host(i)).protocol
    }

    pub(super) fn contact(&self, i: usize) -> Contact {
        let at = self.addr(Host(i));
        Contact::new(*self.discv5(i).local().key(), at.ip(), at.port(), at.port())
    }

    /// Calls a machine's methods.
    pub(super) fn call<R>(&mut self, i: usize, call: impl FnOnce(&mut Discv5, &mut Cx<'_>) -> R) -> R {
        self.with(Host(i), |lone, now| lone.call(now, call))
    }

    /// Replaces a machine by a new one of the same key and record, without bootnodes.
    pub(super) fn restart(&mut self, i: usize) {
        self.call(i, |discv5, cx| *discv5 = Discv5::new(cx, Config::default(), discv5.local.clone()));
    }

    /// Hands a machine a datagram, and returns its outcome.
    pub(super) fn deliver(&mut self, i: usize, from: SocketAddr, bytes: &[u8]) -> Received {
        self.datagram(Host(i), from, bytes);
        self.machine(Host(i)).received
    }

    /// Hands a machine a timeout, due or not.
    pub(super) fn timeout(&mut self, i: usize) -> Growth {
        self.input(Host(i), Input::Timeout);
        self.machine(Host(i)).growth
    }

    /// The number of datagrams that all machines have sent.
    pub(super) fn sent(&self) -> usize {
        self.sent_to(|_| true)
    }

    /// The number of datagrams to addresses that satisfy a condition.
    pub(super) fn sent_to(&self, is_it: impl Fn(SocketAddr) -> bool) -> usize {
        self.datagrams().iter().filter(|datagram| datagram.is_sent && is_it(datagram.remote)).count()
    }

    /// The number of a machine's events of a kind.
    pub(super) fn count(&self, i: usize, is_it: impl Fn(&Event<'_>) -> bool) -> usize {
        self.events(Host(i)).iter().filter(|(_, event)| is_it(event)).count()
    }

    /// The id and the key of the first machine.
    pub(super) fn own(&self) -> (NodeId, PublicKey) {
        let local = self.discv5(0).local();
        (*local.id(), *local.key())
    }

    /// Takes what the machines sent to a stranger's address, in order.
    pub(super) fn take(&mut self, stranger: &mut Stranger) -> Vec<Got> {
        self.run_for(self.link.delay.1);
        let (_, key) = self.own();
        let taken = self.take_datagrams(stranger.addr);
        taken.iter().map(|(_, bytes)| stranger.read(&key, bytes)).collect()
    }

    /// Takes the only packet that the machines sent to a stranger's address.
    pub(super) fn take_one(&mut self, stranger: &mut Stranger) -> Got {
        let mut got = self.take(stranger);
        assert_eq!(got.len(), 1, "{got:?}");
        got.remove(0)
    }

    /// The stranger sends random bytes.
    pub(super) fn send_random(&mut self, stranger: &mut Stranger) -> Received {
        let (_, bytes) = stranger.random(&self.own().0);
        self.deliver(0, stranger.addr, &bytes)
    }

    /// The stranger sends a message within its session.
    pub(super) fn say(&mut self, stranger: &mut Stranger, plain: &Plain) -> Received {
        let bytes = stranger.seal(&self.own().0, plain);
        self.deliver(0, stranger.addr, &bytes)
    }

    /// The stranger sends a request within its session, and gets its answers.
    pub(super) fn ask(&mut self, stranger: &mut Stranger, payload: Payload<'_>) -> Vec<Plain> {
        assert_eq!(self.say(stranger, &Plain::new(*ID, payload)), Received::Handled);
        self.take(stranger).iter().map(|got| got.plain().clone()).collect()
    }

    /// The stranger challenges a packet of the first machine.
    pub(super) fn challenge(&mut self, stranger: &mut Stranger, nonce: &Nonce, enr_seq: u64) -> Received {
        let bytes = stranger.challenge(&self.own().0, nonce, enr_seq);
        self.deliver(0, stranger.addr, &bytes)
    }

    /// The stranger answers a challenge with a ping, and with its record.
    pub(super) fn answer(&mut self, stranger: &mut Stranger, challenge: &Challenge) -> Received {
        let (record, plain) = (stranger.record.clone(), Plain::new(*ID, Payload::Ping { enr_seq: 1 }));
        let bytes = stranger.handshake(&self.own().1, challenge, Some(record.as_bytes()), &plain);
        self.deliver(0, stranger.addr, &bytes)
    }

    /// The stranger begins a session, of which the first machine knows its record.
    pub(super) fn introduce(&mut self, stranger: &mut Stranger) {
        assert_eq!(self.send_random(stranger), Received::Handled);
        let challenge = self.take_one(stranger).challenge();
        assert_eq!(self.answer(stranger, &challenge), Received::Handled);
        let pong = self.take_one(stranger);
        assert!(matches!(pong.plain().message().payload, Payload::Pong { .. }), "{pong:?}");
    }

    /// The strangers challenge what they cannot open, and answer what is said to them, for a while.
    pub(super) fn attend(
        &mut self,
        strangers: &mut [&mut Stranger],
        time: Duration,
        mut answer: impl FnMut(&Stranger, RequestId, &Payload<'_>) -> Vec<Plain>,
    ) {
        let until = self.now() + time;
        while self.now() < until {
            self.run_for(millis(5));
            for stranger in strangers.iter_mut() {
                let (taken, first) = (self.take_datagrams(stranger.addr), self.addr(Host(0)));
                for (_, bytes) in taken.into_iter().filter(|(from, _)| *from == first) {
                    let got = stranger.read(&self.own().1, &bytes);
                    if let Got::Unopened(nonce) = got {
                        _ = self.challenge(stranger, &nonce, 0);
                    } else if let Got::Message(plain) | Got::Handshake(plain, _) = got {
                        let (id, payload) = plain.parts();
                        for plain in answer(stranger, id, &payload) {
                            _ = self.say(stranger, &plain);
                        }
                    }
                }
            }
        }
    }

    /// Whether the first machine has the stranger in its table.
    pub(super) fn knows_stranger(&self, stranger: &Stranger) -> bool {
        self.discv5(0).table().entry(&stranger.id).is_some()
    }

    /// Whether one machine has another one in its table.
    pub(super) fn knows(&self, i: usize, other: usize) -> bool {
        self.discv5(i).table().entry(self.discv5(other).local().id()).is_some()
    }
}

/// The id of the strangers' requests.
pub(super) static ID: LazyLock<RequestId> = LazyLock::new(|| RequestId::from([7; 8]));

/// What an honest stranger answers: pongs, and its own record.
pub(super) fn honest(stranger: &Stranger, id: RequestId, payload: &Payload<'_>) -> Vec<Plain> {
    match payload {
        Payload::Ping { .. } => Vec::from([Plain::pong(id, stranger.record.seq())]),
        Payload::FindNode { distances } => {
            Vec::from([Plain::nodes(id, 1, distances.contains(&0).then_some(&stranger.record))])
        }
        _ => Vec::new(),
    }
}

/// Settings without checks and with few lookups, for tests that count datagrams.
pub(super) fn quiet() -> Config {
    let hour = secs(3600);
    let schedule = Schedule {
        fast_check_interval_max: hour,
        slow_check_interval_max: hour,
        young_interval: (10 * hour, 10 * hour),
        ..Schedule::default()
    };
    Config { schedule, ..Config::default() }
}
