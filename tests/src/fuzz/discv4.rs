//! discv4 under a list of actions of a few strangers, the embedder and time, against a model of the endpoint proofs.
//!
//! Strangers hold known keys, so that their packets pass the signature check; the model sees everything that is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use peerless::contract::{Action, CommandId, Context, DropReason, Event};
use peerless::crypto::{Crypto, Digest, PublicKey};
use peerless::discv4::{Config, Discv4, Local};
use peerless::kad::Received;
use peerless::limits;
use peerless::rng::{Rng, Seed};
use peerless::time::{Duration, Instant, UnixTime};
use peerless::wire::discv4::{Datagram, Endpoint, Kind, Neighbor, Packet};
use peerless::wire::enode::Contact;
use peerless::wire::enr::RecordBuilder;

use super::crypto::secret;
use super::handshake::context;
use super::{Cheap, Choices, Memory, Reached, Target};

/// Packets, commands, timeouts.
pub const DISCV4: Target = Target {
    name: "discv4",
    body: discv4,
    memory: Memory::machine(3),
    landmarks: &[
        "proven",
        "admitted",
        "neighbors sent",
        "record sent",
        "no proof",
        "expired",
        "replayed",
        "unsolicited",
        "nodes",
        "pong",
        "record",
        "call failed",
        "from self",
        "lookup",
        "rate limited",
        "unrecognised",
        "empty handed",
        "lapsed",
    ],
    generated: (1_500, 400),
};

/// Strangers' keys, and the addresses from which any of them may send.
const KEYS: usize = 6;
const ADDRESSES: [([u8; 4], u16); 6] = [
    ([8, 8, 8, 8], 30303),
    ([8, 8, 8, 8], 30304),
    ([8, 8, 8, 9], 30303),
    ([9, 9, 9, 9], 30303),
    ([192, 168, 1, 7], 30303),
    ([1, 2, 3, 4], 30303),
];

/// A key and the endpoint that it has proven.
type KeyEndpoint = (usize, SocketAddr);

struct World {
    machine: Discv4,
    context: Context,
    rng: Rng,
    keys: Vec<PublicKey>,
    /// Requests in flight: destination, kind of the answer, hash, time.
    requests: Vec<(SocketAddr, Kind, Digest, Instant)>,
    /// When each endpoint was proven last.
    proven: BTreeMap<KeyEndpoint, Instant>,
    /// Pings received from each address that no pong of ours has answered yet, by their hash.
    unanswered: BTreeMap<SocketAddr, Vec<Digest>>,
    open: BTreeSet<CommandId>,
    commands: u64,
    /// Datagrams that strangers have sent.
    said: Vec<(SocketAddr, Vec<u8>)>,
}

fn discv4(data: &[u8], reached: &mut Reached) {
    let mut choices = Choices::new(data);
    let keys: Vec<PublicKey> = (0..KEYS).map(|key| Cheap.public_key(&key_of(key))).collect();
    let mut config = Config::default();
    if choices.once_in(4) {
        let (ip, port) = ADDRESSES[0];
        config.bootnodes = vec![Contact::new(keys[0], ip.into(), port, port)];
    }
    let mut context = context();
    let mut rng = Seed::new([choices.byte(); 32]).fork("discv4");
    let endpoint = Endpoint { ip: Some([7, 7, 7, 7].into()), udp: 30303, tcp: 30303 };
    let mut record = RecordBuilder::default();
    record.endpoint(([7, 7, 7, 7], 30303).into(), 30303);
    let record = record.sign(&Cheap, &secret(99), 1).expect("small");
    let local = Local::new(&Cheap, secret(99), endpoint, Some(record));
    let machine = Discv4::new(&mut context.cx(&mut rng), config, local);
    let mut world = World {
        machine,
        context,
        rng,
        keys,
        requests: Vec::new(),
        proven: BTreeMap::new(),
        unanswered: BTreeMap::new(),
        open: BTreeSet::new(),
        commands: 0,
        said: Vec::new(),
    };
    world.time(Duration::ZERO, reached);
    let mut steps = 0;
    while !choices.is_empty() && steps < 400 {
        steps += 1;
        world.step(&mut choices, reached);
        world.look(reached);
    }
    world.machine.shutdown(&mut world.context.cx(&mut world.rng));
    world.drain(None, reached);
    assert!(world.open.is_empty(), "every command ends once: {:?}", world.open);
    assert!(world.machine.poll_timeout().is_none() && world.machine.calls().is_empty());
}

fn key_of(key: usize) -> peerless::crypto::SecretKey {
    secret(10 + key as u8)
}

impl World {
    fn now(&self) -> Instant {
        self.context.now()
    }

    fn contact(&self, choices: &mut Choices<'_>) -> Contact {
        let (ip, port) = choices.pick(&ADDRESSES);
        Contact::new(self.keys[choices.below(KEYS)], ip.into(), port, port)
    }

    fn step(&mut self, choices: &mut Choices<'_>, reached: &mut Reached) {
        match choices.below(20) {
            // The same stranger mostly stays at one address: then proofs come about.
            0..=9 => {
                let key = choices.below(KEYS);
                let address = if choices.once_in(8) { choices.below(ADDRESSES.len()) } else { key };
                let (ip, port) = ADDRESSES[address];
                self.stranger(key, (ip, port).into(), choices, reached);
            }
            10 => {
                // Again, from there or from elsewhere.
                if let Some((from, bytes)) = self.said.get(choices.below(self.said.len())).cloned() {
                    let (ip, port) = choices.pick(&ADDRESSES);
                    let from = if choices.flag() { from } else { (ip, port).into() };
                    self.receive(from, bytes, None, reached);
                }
            }
            11 => {
                let (ip, port) = choices.pick(&ADDRESSES);
                let mut bytes = choices.bytes(200).to_vec();
                if let Some((_, said)) = self.said.last().filter(|_| choices.flag()) {
                    bytes = said.clone();
                    let at = choices.below(bytes.len());
                    bytes[at] ^= 1 << choices.below(8);
                    // With the right hash again, the signature is what is wrong.
                    if choices.flag() {
                        let hash = Cheap.datagram_hash(&bytes[32..]);
                        bytes[..32].copy_from_slice(&hash);
                    }
                }
                self.receive((ip, port).into(), bytes, None, reached);
            }
            12 | 13 => {
                let command = CommandId(self.commands);
                let contact = self.contact(choices);
                let mut cx = self.context.cx(&mut self.rng);
                let result = match choices.below(5) {
                    0 => self.machine.ping(&mut cx, command, contact),
                    1 => self.machine.request_record(&mut cx, command, contact),
                    2 => self.machine.find_node(&mut cx, command, contact, [3; 64]),
                    3 => self.machine.lookup(&mut cx, Some(command), [choices.byte(); 64]),
                    _ => {
                        _ = self.machine.add_node(&mut cx, contact);
                        Err(peerless::contract::CommandError::Busy)
                    }
                };
                if result.is_ok() {
                    self.commands += 1;
                    self.open.insert(command);
                }
                self.drain(None, reached);
            }
            14 => {
                let span = choices.span();
                self.time(span, reached);
            }
            15 if choices.once_in(4) => {
                let unix = match choices.below(3) {
                    0 => UnixTime::from_secs(choices.number()),
                    _ => UnixTime::from_secs(1_750_000_000),
                };
                self.context.set_wall_clock(unix);
            }
            _ => {
                if let Some((at, _)) = self.machine.poll_timeout() {
                    self.time(at.since(self.now()), reached);
                }
            }
        }
    }

    /// A packet of a stranger: a request, or an answer to our latest request to that address.
    fn stranger(&mut self, key: usize, from: SocketAddr, choices: &mut Choices<'_>, reached: &mut Reached) {
        let expiration = match choices.byte() {
            ..0xe0 => UnixTime::from_secs(self.context.unix().as_secs().saturating_add(20)),
            0xe0..0xf0 => {
                UnixTime::from_secs(self.context.unix().as_secs().saturating_sub(1 + u64::from(choices.byte())))
            }
            _ => UnixTime::from_secs(choices.number()),
        };
        let asked = |kind: Kind| {
            let mut requests = self.requests.iter().rev();
            requests.find(|(to, answer, ..)| (*to, *answer) == (from, kind)).map(|(_, _, hash, _)| *hash)
        };
        let endpoint = Endpoint { ip: Some(from.ip()), udp: from.port(), tcp: from.port() };
        let seq = choices.once_in(4).then(|| u64::from(choices.byte()));
        let packet = match choices.below(12) {
            0..=2 => Packet::Ping { version: 4, from: endpoint, to: endpoint, expiration, enr_seq: seq },
            3..=5 => {
                let ping_hash = asked(Kind::Pong).filter(|_| !choices.once_in(16)).unwrap_or([choices.byte(); 32]);
                Packet::Pong { to: endpoint, ping_hash, expiration, enr_seq: seq }
            }
            6 | 7 => Packet::FindNode { target: [choices.byte(); 64], expiration },
            8 => Packet::EnrRequest { expiration },
            9 | 10 => {
                let nodes = (0..choices.below(14)).map(|_| {
                    let (ip, port) = choices.pick(&ADDRESSES);
                    Neighbor { ip: ip.into(), udp: port, tcp: port, key: *self.keys[choices.below(KEYS)].as_bytes() }
                });
                Packet::Neighbors { nodes: nodes.collect(), expiration }
            }
            _ => {
                let mut record = RecordBuilder::default();
                record.endpoint(from, choices.byte().into());
                let signer = if choices.once_in(8) { choices.below(KEYS) } else { key };
                let record = record.sign(&Cheap, &key_of(signer), choices.number()).expect("small");
                let request_hash = asked(Kind::EnrResponse).unwrap_or([0; 32]);
                Packet::EnrResponse { request_hash, record: record.as_bytes().to_vec() }
            }
        };
        let signer = if choices.once_in(64) { secret(99) } else { key_of(key) };
        let mut bytes = Vec::new();
        packet.seal(&Cheap, &signer, &mut bytes);
        self.said.push((from, bytes.clone()));
        self.receive(from, bytes, Some(packet), reached);
    }

    fn receive(&mut self, from: SocketAddr, bytes: Vec<u8>, sent: Option<Packet>, reached: &mut Reached) {
        let packet = Datagram::split(&bytes).ok().filter(|datagram| datagram.check_hash(&Cheap).is_ok());
        let signer = packet.and_then(|datagram| datagram.signer(&Cheap).ok());
        let key = signer.and_then(|signer| self.keys.iter().position(|key| *key == signer));
        let hash = packet.map(|datagram| *datagram.hash);
        let packet = packet.and_then(|datagram| datagram.decode().ok());
        assert!(sent.is_none() || sent == packet);
        let (now, unix) = (self.now(), self.context.unix());
        let received = self.machine.handle_datagram(&mut self.context.cx(&mut self.rng), from, &bytes).received;
        let key_endpoint = key.map(|key| (key, from));
        let lives = |at: &Instant| now.since(*at) < limits::BOND_LIFETIME - Duration::from_secs(2);
        let is_proven = key_endpoint.and_then(|key_endpoint| self.proven.get(&key_endpoint)).is_some_and(lives);

        let handled = received == Received::Handled;
        if let Some(packet) = &packet {
            let void = packet.expiration().is_some_and(|at| at < unix);
            assert!(!(void && handled), "an expired packet is not acted upon");
            match packet {
                Packet::Ping { .. } if handled => {
                    self.unanswered.entry(from).or_default().push(hash.expect("split"));
                }
                Packet::Pong { ping_hash, .. } if handled => {
                    // It answers our latest ping to that endpoint, which is still in flight.
                    let key_endpoint = key_endpoint.expect("only strangers are asked");
                    let request = (from, Kind::Pong, *ping_hash);
                    // Two pings within one second may be the same bytes.
                    let mut ours = self.requests.iter().filter(|(to, kind, hash, _)| (*to, *kind, *hash) == request);
                    assert!(
                        ours.any(|(.., since)| now.since(*since) <= limits::CALL_TIMEOUT + Duration::from_millis(1)),
                        "only an answer to a ping of ours proves an endpoint, and only in time"
                    );
                    self.proven.insert(key_endpoint, now);
                    reached.note("proven");
                }
                Packet::FindNode { .. } | Packet::EnrRequest { .. } if is_proven => {
                    assert_ne!(received, Received::Dropped(DropReason::NoEndpointProof), "a proven endpoint is served");
                }
                _ => {}
            }
        } else {
            assert!(!handled);
        }
        match received {
            Received::Handled => {}
            Received::Unrecognised => reached.note("unrecognised"),
            Received::Dropped(reason) => reached.note(match reason {
                DropReason::NoEndpointProof => {
                    let had_one = key_endpoint.is_some_and(|key_endpoint| self.proven.contains_key(&key_endpoint));
                    if had_one { "lapsed" } else { "no proof" }
                }
                DropReason::Expired => "expired",
                DropReason::Replayed => "replayed",
                DropReason::Unsolicited => "unsolicited",
                DropReason::RateLimited => "rate limited",
                DropReason::FromSelf => "from self",
                _ => "malformed",
            }),
        }
        let answer = handled.then_some(()).and(key_endpoint).zip(packet);
        self.drain(answer, reached);
    }

    /// Takes and checks the machine's actions. `answering` is the packet that was just handled.
    fn drain(&mut self, answering: Option<(KeyEndpoint, Packet)>, reached: &mut Reached) {
        let now = self.now();
        let (mut neighbors, mut records) = (0, 0);
        while let Some(action) = self.context.out.pop() {
            match action {
                Action::Send { to, bytes, .. } => {
                    let datagram = Datagram::split(bytes).expect("ours are well-formed");
                    assert_eq!(datagram.check_hash(&Cheap), Ok(()));
                    assert_eq!(datagram.signer(&Cheap).as_ref(), Ok(self.machine.local().key()));
                    let packet = datagram.decode().expect("ours are well-formed");
                    let alive = |at: &Instant| now.since(*at) <= limits::BOND_LIFETIME;
                    let proven = self.proven.iter().any(|((_, at), since)| *at == to && alive(since));
                    match packet {
                        Packet::Ping { .. } => self.requests.push((to, Kind::Pong, *datagram.hash, now)),
                        Packet::Pong { ping_hash, .. } => {
                            let pings = self.unanswered.get_mut(&to).expect("it pinged us");
                            let ping = pings.iter().position(|hash| *hash == ping_hash).expect("with this very packet");
                            pings.remove(ping);
                        }
                        Packet::FindNode { .. } => {
                            assert!(proven, "only proven endpoints are asked");
                            self.requests.push((to, Kind::Neighbors, *datagram.hash, now));
                        }
                        Packet::EnrRequest { .. } => {
                            assert!(proven, "only proven endpoints are asked");
                            self.requests.push((to, Kind::EnrResponse, *datagram.hash, now));
                        }
                        Packet::Neighbors { .. } | Packet::EnrResponse { .. } => {
                            let ((key, from), request) = answering.as_ref().expect("it answers a request");
                            assert_eq!(to, *from, "answers go where the request came from");
                            let since = self.proven.get(&(*key, *from)).expect("the endpoint has been proven");
                            assert!(alive(since), "and its proof has not lapsed");
                            match request {
                                Packet::FindNode { .. } => neighbors += 1,
                                Packet::EnrRequest { .. } => records += 1,
                                other => panic!("{other:?} requests nothing"),
                            }
                        }
                    }
                }
                Action::Emit(event) => {
                    let (command, name) = match event {
                        Event::Pong { command, .. } => (command, "pong"),
                        Event::Record { command, .. } => (command, "record"),
                        Event::Nodes { command, queries, .. } => {
                            (command, if queries == 1 { "nodes" } else { "lookup" })
                        }
                        Event::CallFailed { command, .. } => (command, "call failed"),
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
        assert!(neighbors <= 2 && records <= 1, "few packets answer one");
        if neighbors > 0 {
            reached.note("neighbors sent");
        }
        if records > 0 {
            reached.note("record sent");
        }
        if let Some((_, Packet::FindNode { .. })) = answering {
            assert!(neighbors > 0, "a proven endpoint is served");
        }
    }

    fn time(&mut self, span: Duration, reached: &mut Reached) {
        let mut now = self.context.advance(self.now() + span);
        // Work beyond the budget of a turn is due a microsecond later.
        for turn in 0.. {
            _ = self.machine.handle_timeout(&mut self.context.cx(&mut self.rng));
            self.drain(None, reached);
            match self.machine.poll_timeout() {
                Some((at, _)) if at <= now => panic!("deadlines advance"),
                Some((at, _)) if at.since(now) <= Duration::from_micros(1) && turn < 16 => {
                    now = self.context.advance(at);
                }
                Some(_) => break,
                None => panic!("the next refresh is always due at some time"),
            }
        }
        self.requests.retain(|(.., since)| now.since(*since) <= Duration::from_secs(2));
    }

    fn look(&mut self, reached: &mut Reached) {
        assert!(self.machine.calls().len() <= limits::CALLS_MAX);
        let table = self.machine.table();
        for entry in table.entries() {
            let contact = entry.contact();
            let key = self.keys.iter().position(|key| *key == contact.key()).expect("a stranger");
            assert!(self.proven.contains_key(&(key, contact.udp_addr())), "only proven endpoints are in the table");
        }
        if table.is_empty() {
            reached.note("empty handed");
        }
    }
}
