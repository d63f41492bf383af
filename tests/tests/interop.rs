//! Independent implementations over real sockets on loopback, in both directions: see `tests/peers/README.md`, and
//! [`peerless_tests::peers`] for what is skipped when.
//!
//! Each test starts its own peer and its own node at free ports. Nothing sleeps: a turn of the driver ends when a socket,
//! a deadline or a line from the peer calls.

use std::time::{Duration, Instant};

use peerless::contract::{
    CallFailure, Command, CommandId, ConnId, Direction, End, EndReason, Event, Side, Stage, StatusRefusal, Via,
};
use peerless::crypto::{SecretKey, keccak256};
use peerless::eth::Chain;
use peerless::node::{Config, Node};
use peerless::wire::enode::Contact;
use peerless::wire::eth;
use peerless::wire::forkid::{ForkSchedule, Head, Network};
use peerless::wire::p2p::{Capability, DisconnectReason};
use peerless::wire::rlp::{self, Bounds};
use peerless_mio::{Driver, Listen, Sockets, seed_from_os};
use peerless_tests::peers::{Kind, Peer, Program};
use serde_json::{Value, json};

const GENESIS: &str = "0232996ca4c0155bc7dff7562825641f8ecdf31ff51f86e72bde646688aed2dd";
const GENESIS_TIME: u64 = 1_700_000_000;
const CANCUN: u64 = 4_102_444_800;
const FORK_HASH: [u8; 4] = [0x37, 0x75, 0xc2, 0x29];
const NETWORK_ID: u64 = 1337;

/// How long anything on loopback may take before the test has failed; several peers start at once.
const PATIENCE: Duration = Duration::from_secs(15);
/// Two pings of each side are outstanding for no longer.
const KEEP_ALIVE: Duration = Duration::from_secs(25);

const OUR_KEY: u8 = 0x0a;
const THEIR_KEY: u8 = 0x0b;

fn genesis() -> [u8; 32] {
    const_hex::decode_to_array(GENESIS).unwrap()
}

fn chain() -> Chain {
    let schedule = ForkSchedule::new(genesis(), GENESIS_TIME, &[], &[CANCUN]);
    let network = Network { name: "test peers".into(), network_id: NETWORK_ID, schedule };
    Chain::new(network, Head { number: 0, time: GENESIS_TIME, hash: genesis() }, 0, [0; 32])
}

/// The version of eth that both sides agree on.
fn version(kind: Kind) -> u32 {
    if kind == Kind::Ethrex { 69 } else { 68 }
}

/// Our node, and one peer or several.
struct Bench {
    driver: Driver,
    contact: Contact,
    seen: Vec<Event<'static>>,
    peers: Vec<Peer>,
}

impl Bench {
    /// Our node; it has no discovery unless `configure` gives it one.
    fn new(configure: impl FnOnce(&mut Config)) -> Self {
        let sockets = Sockets::bind(&Listen::at(([127, 0, 0, 1], 0).into())).unwrap();
        let mut config = Config::new(SecretKey::from_bytes([OUR_KEY; 32]).unwrap(), chain());
        config.addresses.set_ip([127, 0, 0, 1].into());
        config.addresses.udp = sockets.udp_addr().unwrap().port();
        config.addresses.tcp = sockets.tcp_addr().unwrap().port();
        config.filter = "127.0.0.0/8,::1/128".parse().unwrap();
        config.discovery.switch_off();
        configure(&mut config);
        let seed = seed_from_os().unwrap();
        let driver = Driver::new(sockets, |now, unix| Node::new(config, seed, now, unix)).unwrap();
        let contact = driver.node().contact();
        Self { driver, contact, seen: Vec::new(), peers: Vec::new() }
    }

    /// Our node and a peer that only speaks RLPx.
    fn with_peer(program: &Program, options: &[&str]) -> Self {
        let mut bench = Self::new(|_| ());
        bench.start(program, THEIR_KEY, &[&["--no-discovery"], options].concat());
        bench
    }

    /// Our node and a peer, both with discovery.
    fn with_discovery(program: &Program) -> Self {
        let mut bench = Self::new(|config| config.discovery.discv4 = Some(peerless::discv4::Config::default()));
        bench.start(program, THEIR_KEY, &[]);
        bench
    }

    fn start(&mut self, program: &Program, key: u8, options: &[&str]) {
        let waker = self.driver.waker();
        let peer = program.start(key, options, move || waker.wake().unwrap());
        assert_eq!(peer.ready["genesis_hash"].as_str().map(|hash| hash.trim_start_matches("0x")), Some(GENESIS));
        self.peers.push(peer);
    }

    fn peer(&mut self) -> &mut Peer {
        &mut self.peers[0]
    }

    fn command(&mut self, command: Command<'_>) -> CommandId {
        self.driver.command(command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Turns until `seek` returns a value.
    fn until<T>(&mut self, what: &str, seek: impl FnMut(&Self) -> Option<T>) -> T {
        self.until_within(PATIENCE, what, seek)
    }

    fn until_within<T>(&mut self, limit: Duration, what: &str, mut seek: impl FnMut(&Self) -> Option<T>) -> T {
        let deadline = Instant::now() + limit;
        loop {
            self.peers.iter_mut().for_each(Peer::listen);
            if let Some(found) = seek(self) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let said: Vec<_> = self.peers.iter().map(|peer| &peer.said).collect();
                panic!("{what} did not happen; we saw {:#?}, they said {said:#?}", self.seen);
            }
            let seen = &mut self.seen;
            self.driver.turn(Some(left), |event| seen.push(event.into_owned())).unwrap();
        }
    }

    /// Turns until a peer has reported an event about us.
    fn until_said(&mut self, event: &str, mut fields: Value) -> Value {
        fields["id"] = self.contact.key().to_string().into();
        self.until(&format!("{event} {fields}"), |bench| bench.peers[0].find(0, event, &fields).cloned())
    }

    /// Turns until our node has emitted an event.
    fn until_seen<T>(&mut self, what: &str, mut seek: impl FnMut(&Event<'_>) -> Option<T>) -> T {
        self.until(what, |bench| bench.seen.iter().find_map(&mut seek))
    }

    fn until_ended(&mut self, of: ConnId) -> End {
        self.until_seen("the end", |seen| match seen {
            Event::Ended { conn, end, .. } if *conn == of => Some(*end),
            _ => None,
        })
    }

    /// Lets `direction` dial and waits for the session, on both sides.
    fn connect(&mut self, kind: Kind, direction: Direction) -> ConnId {
        let (ours, theirs) = (self.contact, self.peer().contact());
        match direction {
            Direction::Outbound => drop(self.command(Command::Dial { contact: theirs })),
            Direction::Inbound => self.peer().command_about("dial", &ours),
        }
        let (conn, hello) = self.until_seen("their Hello", |seen| match seen {
            Event::Hello { conn, direction: by, contact, hello, .. } => {
                assert_eq!((*by, contact.key()), (direction, theirs.key()));
                Some((*conn, hello.clone()))
            }
            _ => None,
        });
        assert_eq!(Some(&*hello.client), self.peer().ready["name"].as_str());
        assert_eq!(hello.version, 5);
        let status = self.until_seen("their Status", |seen| match seen {
            Event::Established { conn: established, id, status, .. } => {
                assert_eq!((*established, *id), (conn, theirs.id()));
                Some(**status)
            }
            _ => None,
        });
        let version = version(kind);
        assert_eq!((status.version, status.network_id, status.genesis), (version, NETWORK_ID, genesis()));
        assert_eq!((status.fork_id.hash, status.fork_id.next), (FORK_HASH, CANCUN));
        let hello = self.until_said("hello", json!({}));
        assert!(hello["client"].as_str().unwrap().starts_with("Peerless/v"), "{hello}");
        self.until_said("status", json!({"version": version}));
        conn
    }

    /// Asks each other for the genesis header.
    fn exchange_headers(&mut self, kind: Kind, conn: ConnId) {
        let capability = Capability::eth(version(kind));
        // Block 0, one, no skip, ascending.
        let body = [0xc4, 0x80, 0x01, 0x80, 0x80];
        let command = self.command(Command::Request { conn, capability, id: eth::id::GET_BLOCK_HEADERS, body: &body });
        let headers = self.until_seen("headers", |seen| match seen {
            Event::Response { command: answered, id: eth::id::BLOCK_HEADERS, body, .. } if *answered == command => {
                Some(body.to_vec())
            }
            _ => None,
        });
        let mut list = rlp::list(&headers, Bounds::MESSAGE).unwrap();
        assert_eq!(list.count(), 1);
        let header = list.raw().unwrap();
        assert_eq!(keccak256(header), genesis());

        self.peer().command(&json!({"cmd": "headers", "block": 0, "amount": 1}));
        let (request_id, id, asked) = self.until_seen("their request", |seen| match seen {
            Event::Request { conn: by, request_id, id, body, .. } if *by == conn => {
                Some((*request_id, *id, body.to_vec()))
            }
            _ => None,
        });
        assert_eq!((id, &asked[..]), (eth::id::GET_BLOCK_HEADERS, &body[..]));
        self.command(Command::Respond { conn, capability, request_id, id, body: &headers });
        let got = self.until_said("headers", json!({}));
        assert_eq!(got["hashes"], json!([format!("0x{GENESIS}")]), "{got}");
    }
}

/// Our call comes first; what it leads to is awaited on both sides.
fn we_ask_them(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::with_discovery(&program);
    let contact = bench.peer().contact();
    let pong = |bench: &mut Bench| {
        let command = bench.command(Command::Ping { via: Via::Discv4, contact });
        bench.until_seen("a pong", |seen| {
            matches!(seen, Event::Pong { command: answered, .. } if *answered == command).then_some(())
        });
    };
    pong(&mut bench);
    bench.until_said("discv4", json!({"kind": "ping"}));

    // Both must have proven their endpoints before this is answered.
    let target = *contact.key().as_bytes();
    let command = bench.command(Command::FindNode { contact, target });
    bench.until_seen("neighbours", |seen| {
        matches!(seen, Event::Nodes { command: answered, .. } if *answered == command).then_some(())
    });
    bench.until_said("discv4", json!({"kind": "findnode"}));
    bench.until_said("discv4", json!({"kind": "pong"}));

    let command = bench.command(Command::RequestRecord { via: Via::Discv4, contact });
    if kind == Kind::Ethrex {
        let record = bench.until_seen("a record", |seen| match seen {
            Event::Record { command: answered, record, .. } if *answered == command => Some(record.clone()),
            _ => None,
        });
        assert_eq!(record.contact().map(|found| (found.id(), found.ip())), Some((contact.id(), contact.ip())));
    } else {
        // It knows no such packet.
        let why = bench.until_seen("a failed call", |seen| match seen {
            Event::CallFailed { command: failed, why, .. } if *failed == command => Some(*why),
            _ => None,
        });
        assert_eq!(why, CallFailure::Timeout);
        pong(&mut bench);
    }
}

/// Their ping comes first.
fn they_ask_us(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::with_discovery(&program);
    let (ours, theirs) = (bench.contact, bench.peer().contact());
    bench.peer().command_about("bond", &ours);
    bench.until_said("discv4", json!({"kind": "pong"}));
    bench.until_said("discv4", json!({"kind": "ping"}));
    bench.until_seen("a new node", |seen| {
        matches!(seen, Event::NodeAdded { contact: added, .. } if added.id() == theirs.id()).then_some(())
    });
    if kind == Kind::Ethereumjs {
        // It asks for neighbours once for each bond, the first time before it has answered our ping.
        bench.peer().command_about("bond", &ours);
    }
    bench.until_said("discv4", json!({"kind": "neighbours"}));
    if kind == Kind::Ethrex {
        bench.until_said("discv4", json!({"kind": "enrresponse"}));
    }
}

fn a_session(kind: Kind, direction: Direction) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::with_peer(&program, &[]);
    let conn = bench.connect(kind, direction);
    bench.exchange_headers(kind, conn);
    let reason = DisconnectReason::ClientQuitting;
    bench.command(Command::Disconnect { conn, reason });
    let told = bench.until_said("disconnect", json!({}));
    assert_eq!((&told["reason"], &told["initiated_by"]), (&json!(reason.code()), &json!("them")), "{told}");
    let end = bench.until_ended(conn);
    assert_eq!((end.by, end.stage, end.why), (Side::Us, Stage::Established, EndReason::Disconnect(reason)));
}

fn they_leave(kind: Kind, direction: Direction) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::with_peer(&program, &[]);
    let conn = bench.connect(kind, direction);
    let reason = DisconnectReason::TooManyPeers;
    bench.peer().command(&json!({"cmd": "disconnect", "reason": reason.code()}));
    let end = bench.until_ended(conn);
    assert_eq!((end.by, end.stage, end.why), (Side::Them, Stage::Established, EndReason::Disconnect(reason)));
    bench.until_said("disconnect", json!({"initiated_by": "us"}));
}

/// Both sides ping, and both are answered.
fn pings_keep_a_session(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::with_peer(&program, &[]);
    let conn = bench.connect(kind, Direction::Outbound);
    let frames = |bench: &Bench| {
        let stats = bench.driver.node().stats();
        (stats.frames_in.count, stats.frames_out.count)
    };
    let (read, written) = frames(&bench);
    // Neither side sends anything else: one ping and one pong in each direction.
    bench.until_within(KEEP_ALIVE, "two pings and two pongs", |bench| {
        let (read_now, written_now) = frames(bench);
        (read_now >= read + 2 && written_now >= written + 2).then_some(())
    });
    assert!(bench.driver.node().sessions().any(|session| session.conn == conn && !session.is_ending));
    bench.exchange_headers(kind, conn);
}

fn a_foreign_network_is_refused(kind: Kind, direction: Direction) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::with_peer(&program, &["--network-id", "4242"]);
    let (ours, theirs) = (bench.contact, bench.peer().contact());
    match direction {
        Direction::Outbound => drop(bench.command(Command::Dial { contact: theirs })),
        Direction::Inbound => bench.peer().command_about("dial", &ours),
    }
    let end = bench.until_seen("the end", |seen| match seen {
        Event::Ended { id, end, .. } => {
            assert_eq!(*id, Some(theirs.id()));
            Some(*end)
        }
        _ => None,
    });
    assert_eq!((end.by, end.stage), (Side::Us, Stage::Status));
    assert_eq!(end.why, EndReason::Status(StatusRefusal::Network(4242)));
    assert!(!bench.seen.iter().any(|seen| matches!(seen, Event::Established { .. })));
}

fn a_full_node_says_so(kind: Kind) {
    let Some(program) = Program::find(kind) else { return };
    let mut bench = Bench::new(|config| {
        config.peers.max_peers = 1;
        config.peers.dial_ratio = 0;
    });
    bench.start(&program, THEIR_KEY, &["--no-discovery"]);
    let conn = bench.connect(kind, Direction::Inbound);
    bench.start(&program, THEIR_KEY + 1, &["--no-discovery"]);
    let ours = bench.contact;
    bench.peers[1].command_about("dial", &ours);
    let fields = json!({"id": ours.key().to_string()});
    let told = bench.until("their refusal", |bench| bench.peers[1].find(0, "disconnect", &fields).cloned());
    assert_eq!(told["reason"], DisconnectReason::TooManyPeers.code(), "{told}");
    assert_eq!(told["initiated_by"], "them");
    assert!(bench.driver.node().sessions().any(|session| session.conn == conn && !session.is_ending));
}

macro_rules! with_each {
    ($($name:ident,)*) => {
        mod ethereumjs {
            use super::*;
            $(#[test] fn $name() { super::$name(Kind::Ethereumjs) })*
        }
        mod ethrex {
            use super::*;
            $(#[test] fn $name() { super::$name(Kind::Ethrex) })*
        }
    };
}

with_each! {
    we_ask_them,
    they_ask_us,
    we_dial,
    they_dial,
    they_leave_our_dial,
    they_leave_their_dial,
    pings_keep_a_session,
    we_dial_a_foreign_network,
    a_foreign_network_dials_us,
    a_full_node_says_so,
}

fn we_dial(kind: Kind) {
    a_session(kind, Direction::Outbound);
}

fn they_dial(kind: Kind) {
    a_session(kind, Direction::Inbound);
}

fn they_leave_our_dial(kind: Kind) {
    they_leave(kind, Direction::Outbound);
}

fn they_leave_their_dial(kind: Kind) {
    they_leave(kind, Direction::Inbound);
}

fn we_dial_a_foreign_network(kind: Kind) {
    a_foreign_network_is_refused(kind, Direction::Outbound);
}

fn a_foreign_network_dials_us(kind: Kind) {
    a_foreign_network_is_refused(kind, Direction::Inbound);
}
