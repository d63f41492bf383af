//! Our node and its peers, and what each is asked and told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerless::contract::{Command, Event};
use peerless::crypto::{NodeId, SecretKey};
use peerless::eth::Chain;
use peerless::kad::table::Entry;
use peerless::node::{Config, Node};
use peerless::wire::enode::Contact;
use peerless::wire::enr::Record;
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use peerless_mio::{Driver, Listen, Sockets, seed_from_os};
use peerless_tests::peers::{Kind, Peer, Program};
use serde_json::{Value, json};

/// How long anything on loopback may take before the test has failed; several peers start at once.
const PATIENCE: Duration = Duration::from_secs(20);
/// After this, what a peer may have dropped is asked again.
const AGAIN: Duration = Duration::from_millis(300);

const OUR_KEY: u8 = 0x0a;
/// Ours.
pub(crate) const OUR_PROTOCOL: &[u8] = b"ours";

/// Our node, and one peer or several.
pub(crate) struct Bench {
    pub(crate) driver: Driver,
    pub(crate) seen: Vec<Event<'static>>,
    pub(crate) peers: Vec<Peer>,
    kinds: Vec<Kind>,
    /// Of the peers that are started from now on.
    pub(crate) lifetime: Duration,
}

/// A node of a peer: the program, its number there, and its record.
#[derive(Clone)]
pub(crate) struct Theirs {
    pub(crate) peer: usize,
    pub(crate) node: usize,
    pub(crate) record: Record,
}

impl Theirs {
    pub(crate) fn contact(&self) -> Contact {
        self.record.contact().expect("a record with an address")
    }

    pub(crate) fn id(&self) -> NodeId {
        self.contact().id()
    }
}

pub(crate) fn config(key: u8, record_seq: u64, sockets: &Sockets) -> Config {
    let (hash, time) = ([0x11; 32], 1_700_000_000);
    let network =
        Network { name: "test peers".into(), network_id: 1337, schedule: ForkSchedule::new(hash, time, &[], &[]) };
    let chain = Chain::new(network, Head { number: 0, time, hash }, 0, [0; 32]);
    let mut config = Config::new(SecretKey::from_bytes([key; 32]).unwrap(), chain);
    config.addresses.set_ip([127, 0, 0, 1].into());
    config.addresses.udp = sockets.udp_addr().unwrap().port();
    config.addresses.tcp = sockets.tcp_addr().unwrap().port();
    config.filter = "127.0.0.0/8,::1/128".parse().unwrap();
    config.record_seq = record_seq;
    config.peers.max_peers = 0;
    let mut discv5 = peerless::discv5::Config::default();
    discv5.talk_protocols.insert(OUR_PROTOCOL.into());
    config.discovery.discv5 = Some(discv5);
    config.discovery.discv4 = None;
    config
}

pub(crate) fn driver(at: SocketAddr, key: u8, record_seq: u64, configure: impl FnOnce(&mut Config)) -> Driver {
    let listen = Listen::default().and_udp(at).and_tcp(([127, 0, 0, 1], 0).into());
    let start = Instant::now();
    let sockets = loop {
        match Sockets::bind(&listen) {
            Ok(sockets) => break sockets,
            // A process that starts at this moment, for another test, has the sockets of this one until it is itself.
            Err(error) if start.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => std::thread::yield_now(),
        }
    };
    let mut config = config(key, record_seq, &sockets);
    configure(&mut config);
    let seed = seed_from_os().unwrap();
    Driver::new(sockets, |now, unix| Node::new(config, seed, now, unix)).unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    const_hex::encode(bytes)
}

pub(crate) fn id_text(id: &NodeId) -> String {
    hex(&id.0)
}

impl Bench {
    pub(crate) fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let driver = driver(([127, 0, 0, 1], 0).into(), OUR_KEY, 7, configure);
        Self { driver, seen: Vec::new(), peers: Vec::new(), kinds: Vec::new(), lifetime: 3 * PATIENCE }
    }

    /// Our node and a peer, or two nodes of that kind.
    pub(crate) fn with(program: &Program, keys: &[u8]) -> (Self, Vec<Theirs>) {
        let mut bench = Self::new(|_| ());
        let theirs = bench.start(program, keys);
        (bench, theirs)
    }

    /// Starts nodes of a kind, in one process if that kind can.
    pub(crate) fn start(&mut self, program: &Program, keys: &[u8]) -> Vec<Theirs> {
        let lifetime = self.lifetime.as_secs().to_string();
        let mut options = vec!["--lifetime", &lifetime];
        let mut keys_each = keys.len();
        if program.kind == Kind::Ethrex {
            keys_each = 1;
            options.push("--discv5");
        }
        let mut started = Vec::new();
        for keys in keys.chunks(keys_each) {
            let waker = self.driver.waker();
            let peer = program.start_all(keys, &options, move || waker.wake().unwrap());
            let records = peer.records().into_iter().enumerate();
            started.extend(records.map(|(node, record)| Theirs { peer: self.peers.len(), node, record }));
            self.peers.push(peer);
            self.kinds.push(program.kind);
        }
        started
    }

    /// The kind of a node of theirs.
    pub(crate) fn kind(&self, theirs: &Theirs) -> Kind {
        self.kinds[theirs.peer]
    }

    /// Our node starts anew at the same endpoint, with a newer record and without any memory.
    pub(crate) fn restart(&mut self) {
        let (at, seq) = (self.at(), self.record().seq() + 1);
        let idle = driver(([127, 0, 0, 1], 0).into(), OUR_KEY, seq, |_| ());
        drop(std::mem::replace(&mut self.driver, idle));
        self.driver = driver(at, OUR_KEY, seq, |_| ());
        self.seen.clear();
    }

    pub(crate) fn record(&self) -> &Record {
        self.driver.node().record()
    }

    pub(crate) fn id(&self) -> NodeId {
        self.driver.node().contact().id()
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.driver.node().contact().udp_addr()
    }

    /// An entry of our table.
    pub(crate) fn entry(&self, id: &NodeId) -> Option<&Entry> {
        self.driver.node().discovery().discv5().and_then(|discv5| discv5.table().entry(id))
    }

    /// Turns once, until something happens or `wait` is over.
    pub(crate) fn turn(&mut self, wait: Duration) {
        let seen = &mut self.seen;
        let note = |event: Event<'_>| match event {
            // The discv4 of ethrex.
            Event::Unrecognised { .. } => {}
            event => seen.push(event.into_owned()),
        };
        self.driver.turn(Some(wait), note).unwrap();
        self.peers.iter_mut().for_each(Peer::listen);
    }

    /// Turns until a time.
    pub(crate) fn turn_until(&mut self, end: Instant) {
        while Instant::now() < end {
            self.turn(end.saturating_duration_since(Instant::now()));
        }
    }

    /// Turns until `seek` returns a value.
    pub(crate) fn until<T>(&mut self, what: &str, mut seek: impl FnMut(&Self) -> Option<T>) -> T {
        self.persist(what, |_| (), |bench| seek(bench))
    }

    /// As [`Bench::until`], and does something at the start and again after each [`AGAIN`].
    pub(crate) fn persist<T>(
        &mut self,
        what: &str,
        mut act: impl FnMut(&mut Self),
        mut seek: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        let start = Instant::now();
        let mut again = start;
        loop {
            if Instant::now() >= again {
                act(self);
                again = Instant::now() + AGAIN;
            }
            if let Some(found) = seek(self) {
                return found;
            }
            if start.elapsed() > PATIENCE {
                let said: Vec<_> = self.peers.iter().map(|peer| last(&peer.said)).collect();
                panic!("{what} did not happen; at last we saw {:#?}, they said {said:#?}", last(&self.seen));
            }
            self.turn(again.saturating_duration_since(Instant::now()));
        }
    }

    /// The event that ends a command of ours.
    pub(crate) fn call(&mut self, command: Command<'_>) -> Event<'static> {
        let what = format!("{command:?}");
        let id = self.driver.command(command).unwrap_or_else(|error| panic!("{what}: {error}"));
        self.until(&what, |bench| {
            let ends = |event: &&Event<'static>| match event {
                Event::Pong { command, .. }
                | Event::Record { command, .. }
                | Event::Nodes { command, .. }
                | Event::TalkResponse { command, .. }
                | Event::CallFailed { command, .. } => *command == id,
                _ => false,
            };
            bench.seen.iter().find(ends).cloned()
        })
    }

    /// The nodes that a node of theirs names at a distance from it, as soon as it answers and `wanted` holds.
    pub(crate) fn nodes_at(
        &mut self,
        theirs: &Theirs,
        distance: u16,
        wanted: impl Fn(&[Contact]) -> bool,
    ) -> Vec<Contact> {
        let start = Instant::now();
        loop {
            let command = Command::FindDistances { contact: theirs.contact(), distances: &[distance] };
            match self.call(command) {
                Event::Nodes { nodes, .. } if wanted(&nodes) => return nodes,
                other => assert!(start.elapsed() < PATIENCE, "{other:?}"),
            }
        }
    }

    pub(crate) fn talk(&mut self, theirs: &Theirs, protocol: &[u8], request: &[u8]) -> Vec<u8> {
        match self.call(Command::Talk { contact: theirs.contact(), protocol, request }) {
            Event::TalkResponse { response, .. } => response.into_owned(),
            other => panic!("{other:?}"),
        }
    }

    /// Gives a node of theirs a command about ours, or about the node of another record.
    pub(crate) fn tell(&mut self, theirs: &Theirs, cmd: &str, record: Option<&Record>, mut fields: Value) {
        let record = record.unwrap_or(self.record()).to_string();
        fields["cmd"] = cmd.into();
        fields["node"] = theirs.node.into();
        fields["enr"] = record.into();
        self.peers[theirs.peer].command(&fields);
    }

    /// What a node of theirs says about ours in answer to a command.
    pub(crate) fn ask(&mut self, theirs: &Theirs, cmd: &str, fields: Value, answer: &str) -> Value {
        let from = self.peers[theirs.peer].said.len();
        self.tell(theirs, cmd, None, fields);
        let fields = json!({"node": theirs.node, "id": id_text(&self.id())});
        self.until(answer, |bench| bench.peers[theirs.peer].find(from, answer, &fields).cloned())
    }

    /// Waits until a node of theirs knows a record of another node with at least this number.
    pub(crate) fn until_known(&mut self, theirs: &Theirs, id: &NodeId, seq: u64) {
        let (peer, id) = (theirs.peer, id_text(id));
        let from = self.peers[peer].said.len();
        let command = json!({"cmd": "known", "node": theirs.node, "id": id});
        let is_known = |said: &Value| {
            let is_it = said["event"] == "known" && said["id"] == *id && said["node"] == theirs.node;
            is_it && said["seq"].as_u64().is_some_and(|known| known >= seq)
        };
        let act = |bench: &mut Self| bench.peers[peer].command(&command);
        self.persist("their knowledge of a record", act, |bench| {
            bench.peers[peer].said.iter().skip(from).any(is_known).then_some(())
        });
    }

    /// Waits until a node is in our table, and live.
    pub(crate) fn until_live(&mut self, id: &NodeId) {
        self.until("a live entry", |bench| bench.entry(id).filter(|entry| entry.is_live()).map(|_| ()));
    }
}

fn last<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(20)..]
}
