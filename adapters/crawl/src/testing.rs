//! A network of scripted nodes that answer from a fixed Kademlia graph, with real packets (feature `testing`).
//!
//! [`Graph`] says which nodes there are, which of them answer, and what is in their tables. A [`Host`] is one that answers, for
//! any driver; [`Network`] drives a crawler and all hosts in virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use peerless::contract::{Action, CommandId, ConnId, Input, Machine, SocketId};
use peerless::crypto::discv5::SessionKeys;
use peerless::crypto::{Crypto, NodeId, PublicKey, SecretKey, keccak256};
use peerless::rng::{Rng, Seed};
use peerless::time::{Duration, Instant, UnixTime, WallClock};
use peerless::wire::discv4::{self, Datagram, Endpoint, Neighbor};
use peerless::wire::discv5::{
    Challenge, Header, Message, Packet, Payload, RECORD_BYTES_PER_NODES, RecordList, Route, seal_ordinary,
};
use peerless::wire::enode::Contact;
use peerless::wire::enr::{Record, RecordBuilder};
use peerless::wire::forkid::ForkId;

use crate::language::{Crawl, CrawlCommand, CrawlEvent, CrawlRefused};
use crate::machine::Crawler;

/// Nodes in a bucket and in an answer.
const BUCKET_SIZE: usize = 16;
/// Seconds until a packet is void.
const EXPIRATION_SECS: u64 = 20;
/// The wall time at which a [`Network`] starts.
const START: UnixTime = UnixTime::from_secs(1_750_000_000);

/// One node of a graph.
#[derive(Clone, Debug)]
pub struct Node {
    secret: SecretKey,
    /// Its key.
    pub key: PublicKey,
    /// Its id.
    pub id: NodeId,
    /// Its endpoint.
    pub addr: SocketAddr,
    /// Its record.
    pub record: Record,
    /// Whether it answers.
    pub is_live: bool,
    /// The nodes in its table; none for one that does not answer.
    pub table: Vec<u32>,
}

impl Node {
    /// Its secret key.
    pub fn secret(&self) -> &SecretKey {
        &self.secret
    }

    /// Its key and endpoint.
    pub fn contact(&self) -> Contact {
        Contact::new(self.key, self.addr.ip(), self.addr.port(), self.addr.port())
    }
}

/// A network's nodes and tables.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The nodes.
    pub nodes: Vec<Node>,
}

impl Graph {
    /// A network of `count` nodes of which so many percent never answer, though the others' tables have them like any. Each table
    /// has sixteen nodes of each bucket, drawn at random, or all if there are fewer.
    pub fn new(
        crypto: &dyn Crypto,
        seed: u64,
        count: u32,
        silent_percent: u32,
        addr: impl Fn(u32) -> SocketAddr,
    ) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = Seed::new(bytes).fork("graph");
        let mut nodes: Vec<Node> =
            (0..count).map(|n| node(crypto, &mut rng, addr(n), n % 100 >= silent_percent)).collect();
        let mut by_id: Vec<(NodeId, u32)> = (0..).zip(&nodes).map(|(n, node)| (node.id, n)).collect();
        by_id.sort_unstable();
        for node in nodes.iter_mut().filter(|node| node.is_live) {
            node.table = table(&by_id, node.id, &mut rng);
        }
        Self { nodes }
    }

    /// The number of nodes that answer.
    pub fn live(&self) -> usize {
        self.nodes.iter().filter(|node| node.is_live).count()
    }

    /// The first node that answers, to start from.
    pub fn bootnode(&self) -> Option<Contact> {
        self.nodes.iter().find(|node| node.is_live).map(Node::contact)
    }

    /// The nodes in the table of one that are nearest to a target.
    fn nearest(&self, node: &Node, target: &NodeId) -> Vec<u32> {
        let mut near = node.table.clone();
        near.sort_unstable_by(|a, b| target.cmp_distance(&self.nodes[*a as usize].id, &self.nodes[*b as usize].id));
        near.truncate(BUCKET_SIZE);
        near
    }
}

fn node(crypto: &dyn Crypto, rng: &mut Rng, addr: SocketAddr, is_live: bool) -> Node {
    let secret = SecretKey::generate(rng);
    let key = crypto.public_key(&secret);
    let mut builder = RecordBuilder::default();
    // As large as records of execution clients are.
    let fork_id = ForkId { hash: [7; 4], next: 1_760_000_000 };
    builder.endpoint(addr, addr.port()).fork_id(fork_id).entry(b"snap", vec![0xc0]);
    let record = builder.sign(crypto, &secret, 1_700_000_000_000).expect("a small record");
    Node { secret, key, id: crypto.node_id(&key), addr, record, is_live, table: Vec::new() }
}

/// Draws a table. The nodes of a bucket are neighbours in the order of ids.
fn table(by_id: &[(NodeId, u32)], id: NodeId, rng: &mut Rng) -> Vec<u32> {
    let mut table = Vec::new();
    // The nodes that share a prefix with the id: all at first, half of them from bucket to bucket.
    let mut near = by_id;
    for bit in 0..256 {
        if near.len() <= 1 {
            break;
        }
        let is_set = |id: &NodeId| id.0[bit / 8] & (0x80 >> (bit % 8)) != 0;
        let (unset, set) = near.split_at(near.partition_point(|(id, _)| !is_set(id)));
        let (nearer, bucket) = if is_set(&id) { (set, unset) } else { (unset, set) };
        let mut bucket: Vec<u32> = bucket.iter().map(|(_, n)| *n).collect();
        for n in 0..bucket.len().min(BUCKET_SIZE) {
            let other = n + rng.below((bucket.len() - n) as u64) as usize;
            bucket.swap(n, other);
        }
        table.extend(bucket.into_iter().take(BUCKET_SIZE));
        near = nearer;
    }
    table
}

/// What a host remembers of an endpoint.
#[derive(Debug, Default)]
struct Peer {
    is_bonded: bool,
    challenge: Option<Challenge>,
    keys: Option<SessionKeys>,
}

/// A scripted node as a machine: answers by discv4 after a proof of the asker's endpoint, and by discv5 within sessions.
pub struct Host {
    graph: Arc<Graph>,
    number: u32,
    crypto: Arc<dyn Crypto + Send + Sync>,
    clock: WallClock,
    rng: Rng,
    peers: BTreeMap<SocketAddr, Peer>,
    out: VecDeque<(SocketAddr, Vec<u8>)>,
    /// What was popped last.
    lent: Vec<u8>,
    /// Requests for nodes that were answered.
    pub answers: u64,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("number", &self.number).field("answers", &self.answers).finish_non_exhaustive()
    }
}

impl Host {
    /// The node `number` of a graph.
    pub fn new(
        graph: Arc<Graph>,
        number: u32,
        (now, unix): (Instant, UnixTime),
        crypto: Arc<dyn Crypto + Send + Sync>,
    ) -> Self {
        let mut seed = [3; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        Self {
            graph,
            number,
            crypto,
            clock: WallClock::new(now, unix),
            rng: Seed::new(seed).fork("host"),
            peers: BTreeMap::new(),
            out: VecDeque::new(),
            lent: Vec::new(),
            answers: 0,
        }
    }

    fn receive(&mut self, now: Instant, from: SocketAddr, bytes: &[u8]) -> Option<()> {
        let graph = self.graph.clone();
        let node = &graph.nodes[self.number as usize];
        match Packet::unmask(&node.id, bytes).ok()? {
            Some(packet) => self.receive_v5(&graph, node, from, &packet),
            None => self.receive_v4(&graph, node, self.clock.at(now), from, bytes),
        }
    }

    fn receive_v4(&mut self, graph: &Graph, node: &Node, unix: UnixTime, from: SocketAddr, bytes: &[u8]) -> Option<()> {
        let datagram = Datagram::split(bytes).ok()?;
        datagram.check_hash(&*self.crypto).ok()?;
        datagram.signer(&*self.crypto).ok()?;
        let expiration = unix.plus_secs(EXPIRATION_SECS);
        let peer = self.peers.entry(from).or_default();
        let mut replies = Vec::new();
        match datagram.decode().ok()? {
            discv4::Packet::Ping { .. } => {
                let (to, ping_hash) = (Endpoint::from(from), *datagram.hash);
                replies.push(discv4::Packet::Pong { to, ping_hash, expiration, enr_seq: Some(node.record.seq()) });
                if !peer.is_bonded {
                    let own = Endpoint::from(node.addr);
                    replies.push(discv4::Packet::Ping { version: 4, from: own, to, expiration, enr_seq: None });
                }
            }
            discv4::Packet::Pong { .. } => peer.is_bonded = true,
            discv4::Packet::FindNode { target, .. } if peer.is_bonded => {
                let near = graph.nearest(node, &NodeId(keccak256(&target)));
                let neighbors = near.iter().map(|n| Neighbor::from(&graph.nodes[*n as usize].contact()));
                let neighbors: Vec<Neighbor> = neighbors.collect();
                self.answers += 1;
                let mut chunks = neighbors.chunks(discv4::NEIGHBORS_PER_PACKET).map(<[_]>::to_vec);
                replies.push(discv4::Packet::Neighbors { nodes: chunks.next().unwrap_or_default(), expiration });
                replies.extend(chunks.map(|nodes| discv4::Packet::Neighbors { nodes, expiration }));
            }
            discv4::Packet::EnrRequest { .. } if peer.is_bonded => {
                let (request_hash, record) = (*datagram.hash, node.record.as_bytes().to_vec());
                replies.push(discv4::Packet::EnrResponse { request_hash, record });
            }
            _ => {}
        }
        for packet in replies {
            let mut bytes = Vec::new();
            packet.seal(&*self.crypto, &node.secret, &mut bytes);
            self.out.push_back((from, bytes));
        }
        Some(())
    }

    fn receive_v5(&mut self, graph: &Graph, node: &Node, from: SocketAddr, packet: &Packet<'_>) -> Option<()> {
        let (crypto, mut plain) = (self.crypto.clone(), Vec::new());
        let peer = self.peers.entry(from).or_default();
        let (sender, opened) = match packet.header() {
            Header::Ordinary { from: sender } => {
                let opened = peer.keys.as_ref().and_then(|keys| packet.open(&keys.initiator, &mut plain).ok());
                let Some(opened) = opened else {
                    let challenge = Challenge::new(self.rng.bytes(), packet.nonce(), self.rng.bytes(), 0);
                    peer.challenge = Some(challenge);
                    let mut bytes = Vec::new();
                    challenge.write(&sender, &mut bytes);
                    self.out.push_back((from, bytes));
                    return Some(());
                };
                (sender, opened)
            }
            Header::Handshake { from: sender, proof } => {
                let challenge = peer.challenge.take()?;
                let agreement = crypto.agree_as_recipient(&node.secret, proof.ephemeral_key)?;
                let keys = SessionKeys::derive(&agreement, challenge.as_bytes(), &sender, &node.id);
                let opened = packet.open(&keys.initiator, &mut plain).ok()?;
                peer.keys = Some(keys);
                (sender, opened)
            }
            Header::Challenge(_) => return None,
        };
        let Message { request_id, payload } = Message::decode(opened).ok()?;
        let Payload::FindNode { distances } = payload else { return None };
        let mut messages = vec![Vec::new()];
        let others = graph.nodes[self.number as usize].table.iter().map(|n| &graph.nodes[*n as usize]);
        let found = std::iter::once(node).chain(others);
        for other in found.filter(|other| distances.contains(&node.id.log_distance(&other.id))).take(BUCKET_SIZE) {
            let record = other.record.as_bytes();
            if messages.last().is_some_and(|last| last.len() + record.len() > RECORD_BYTES_PER_NODES) {
                messages.push(Vec::new());
            }
            messages.last_mut()?.extend_from_slice(record);
        }
        self.answers += 1;
        let keys = self.peers.get(&from)?.keys.as_ref()?;
        for records in &messages {
            let payload = Payload::Nodes { total: messages.len() as u64, records: RecordList::new(records) };
            let (mut bytes, route) = (Vec::new(), Route { from: &node.id, to: &sender });
            let (iv, nonce) = (self.rng.bytes(), self.rng.bytes());
            seal_ordinary(&mut bytes, route, iv, &nonce, &keys.recipient, &Message { request_id, payload });
            self.out.push_back((from, bytes));
        }
        Some(())
    }
}

impl Machine for Host {
    type Language = Crawl;

    fn handle(&mut self, now: Instant, input: Input<'_, CrawlCommand>) {
        if let Input::Datagram { from, bytes, .. } = input {
            // What does not make sense to it, it does not answer.
            let _ = self.receive(now, from, bytes);
        }
    }

    fn accept(&mut self, _: Instant, _: SocketId, _: SocketAddr) -> Option<ConnId> {
        None
    }

    fn command(&mut self, _: Instant, _: CrawlCommand) -> Result<CommandId, CrawlRefused> {
        Err(CrawlRefused::Done)
    }

    fn poll_action(&mut self) -> Option<Action<'_, CrawlEvent<'_>>> {
        let (to, bytes) = self.out.pop_front()?;
        self.lent = bytes;
        Some(Action::Send { socket: SocketId::MAIN, to, bytes: &self.lent })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn outbound(&self, _: ConnId) -> &[u8] {
        &[]
    }

    fn wants_read(&self, _: ConnId) -> bool {
        false
    }
}

/// A crawler among the hosts of a graph, in virtual time: each datagram takes 20 to 120 ms by its other end.
pub struct Network {
    /// The crawler.
    pub crawler: Crawler,
    /// Every event so far.
    pub events: Vec<(Instant, CrawlEvent<'static>)>,
    /// Datagrams that are lost, of a hundred.
    pub loss_percent: u64,
    /// Datagrams that the crawler sent to each address.
    pub sent: BTreeMap<SocketAddr, u32>,
    now: Instant,
    at: SocketAddr,
    hosts: BTreeMap<SocketAddr, Host>,
    queue: BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>,
    queued: u64,
    rng: Rng,
    /// Called around each call of the crawler, for a clock.
    around: fn(bool),
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Network").field("now", &self.now).field("crawler", &self.crawler).finish_non_exhaustive()
    }
}

impl Network {
    /// A network with the hosts of a graph that answer, and the crawler that `make` makes at the address `at`.
    pub fn new(
        graph: &Arc<Graph>,
        crypto: &Arc<dyn Crypto + Send + Sync>,
        at: SocketAddr,
        make: impl FnOnce(Instant, UnixTime) -> Crawler,
    ) -> Self {
        let now = Instant::from_micros(1_000_000);
        let live = (0..).zip(&graph.nodes).filter(|(_, node)| node.is_live);
        let host = |(n, node): (u32, &Node)| (node.addr, Host::new(graph.clone(), n, (now, START), crypto.clone()));
        Self {
            crawler: make(now, START),
            events: Vec::new(),
            loss_percent: 0,
            sent: BTreeMap::new(),
            now,
            at,
            hosts: live.map(host).collect(),
            queue: BTreeMap::new(),
            queued: 0,
            rng: Seed::new([9; 32]).fork("network"),
            around: |_| {},
        }
    }

    /// Has a function called before (`true`) and after (`false`) each call of the crawler.
    pub fn set_around(&mut self, around: fn(bool)) {
        self.around = around;
    }

    /// The time that the network has come to.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Gives the crawler a command.
    ///
    /// # Errors
    /// Those of the crawler.
    pub fn command(&mut self, command: CrawlCommand) -> Result<CommandId, CrawlRefused> {
        let result = self.crawler.command(self.now, command);
        self.drain();
        result
    }

    /// Hands the crawler a datagram.
    pub fn datagram(&mut self, from: SocketAddr, bytes: &[u8]) {
        (self.around)(true);
        self.crawler.handle(self.now, Input::Datagram { socket: SocketId::MAIN, from, bytes });
        (self.around)(false);
        self.drain();
    }

    /// Runs until the crawl is over, or for so long. Returns whether it is over.
    pub fn run(&mut self, limit: Duration) -> bool {
        let until = self.now + limit;
        self.drain();
        while !self.crawler.is_done() {
            let arrival = self.queue.first_key_value().map(|((at, _), _)| *at);
            let due = Machine::poll_timeout(&self.crawler);
            let Some(next) = arrival.into_iter().chain(due).min().filter(|next| *next <= until) else { break };
            self.now = self.now.max(next);
            if due == Some(next) {
                (self.around)(true);
                self.crawler.handle(self.now, Input::Timeout);
                (self.around)(false);
                self.drain();
                continue;
            }
            let Some((_, (from, to, bytes))) = self.queue.pop_first() else { break };
            if to == self.at {
                self.datagram(from, &bytes);
            } else if let Some(host) = self.hosts.get_mut(&to) {
                host.handle(self.now, Input::Datagram { socket: SocketId::MAIN, from, bytes: &bytes });
                while let Some((back, bytes)) = host.out.pop_front() {
                    send(&mut self.queue, &mut self.queued, self.now, (to, back, bytes), self.rng.u64());
                }
            }
        }
        if !self.crawler.is_done() {
            self.now = self.now.max(until);
        }
        self.crawler.is_done()
    }

    fn drain(&mut self) {
        loop {
            (self.around)(true);
            let action = self.crawler.poll_action();
            (self.around)(false);
            match action {
                Some(Action::Send { to, bytes, .. }) => {
                    *self.sent.entry(to).or_default() += 1;
                    let is_lost = self.rng.below(100) < self.loss_percent;
                    if !is_lost {
                        let datagram = (self.at, to, bytes.to_vec());
                        send(&mut self.queue, &mut self.queued, self.now, datagram, self.rng.u64());
                    }
                }
                Some(Action::Emit(event)) => {
                    self.events.push((self.now, <Crawl as peerless::contract::Language>::into_owned(event)));
                }
                Some(_) => {}
                None => return,
            }
        }
    }
}

type Queue = BTreeMap<(Instant, u64), (SocketAddr, SocketAddr, Vec<u8>)>;

fn send(queue: &mut Queue, queued: &mut u64, now: Instant, datagram: (SocketAddr, SocketAddr, Vec<u8>), draw: u64) {
    let at = now + Duration::from_micros(20_000 + draw % 100_000);
    *queued += 1;
    queue.insert((at, *queued), datagram);
}
