//! Behaviours in two nodes that are connected in memory: the events that they see, and the outcome of their wishes.
#![expect(clippy::disallowed_types, reason = "a test shares its script with the behaviour inside a node")]

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use std::sync::Mutex;

use super::*;
use crate::contract::{Action, Command, Event, Input, Reason, ScoreReason, SocketId};
use crate::crypto::SecretKey;
use crate::node::Config;
use crate::protocols::Chain;
use crate::time::{Duration, UnixTime};
use crate::wire::eth::{self, BlockRange};
use crate::wire::forkid::{ForkSchedule, Head, Network};

const ETH: Capability = Capability::eth(69);

#[derive(Clone, Copy, Debug)]
enum Plan {
    Send(ConnId),
    Request(ConnId),
    Charge(ConnId),
}

/// What a scripted behaviour shares with its test.
#[derive(Debug, Default)]
struct Script {
    plans: VecDeque<Plan>,
    seen: Vec<&'static str>,
    conn: Option<ConnId>,
    command: Option<CommandId>,
    refused: Option<CommandError>,
    timeout: Option<Instant>,
}

#[derive(Debug)]
struct Scripted(Arc<Mutex<Script>>);

impl Behaviour for Scripted {
    fn handle(&mut self, _now: Instant, _rng: &mut Rng, event: PeerEvent<'_>) {
        let mut script = self.0.lock().unwrap();
        let name = match event {
            PeerEvent::Head { .. } => "head",
            PeerEvent::Established { conn, shared, .. } => {
                assert_eq!(shared[0].capability, ETH);
                script.conn = Some(conn);
                "established"
            }
            PeerEvent::Message { payload, .. } => {
                assert_eq!(payload, [0xc0]);
                "message"
            }
            PeerEvent::Request { .. } => "request",
            PeerEvent::Response { command, body, .. } => {
                assert_eq!((Some(command), body), (script.command, &[0xc1, 5][..]));
                "response"
            }
            PeerEvent::RequestFailed { .. } => "request failed",
            PeerEvent::ConnReady { .. } => "ready",
            PeerEvent::Ended { .. } => "ended",
            PeerEvent::Requested { command, .. } => {
                script.command = Some(command);
                "requested"
            }
            PeerEvent::Refused { why, .. } => {
                script.refused = Some(why);
                "refused"
            }
        };
        script.seen.push(name);
    }

    fn poll_wish(&mut self) -> Option<Wish<'_>> {
        let capability = ETH;
        Some(match self.0.lock().unwrap().plans.pop_front()? {
            Plan::Send(conn) => Wish::Send { conn, capability, id: eth::id::TRANSACTIONS, payload: &[0xc0] },
            Plan::Request(conn) => Wish::Request { conn, capability, id: 3, body: &[0xc0] },
            Plan::Charge(conn) => Wish::Charge { conn, reason: ScoreReason::Unanswered },
        })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.0.lock().unwrap().timeout
    }

    fn handle_timeout(&mut self, _now: Instant, _rng: &mut Rng) {
        let mut script = self.0.lock().unwrap();
        script.timeout = None;
        script.seen.push("timeout");
    }
}

/// The name of an event.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Seen {
    Request(ConnId, u64),
    Message(u64, Vec<u8>),
    Scored,
}

/// Two nodes with one session; the first has a scripted behaviour beside its own.
struct Pair {
    nodes: [Node; 2],
    conns: [ConnId; 2],
    script: Arc<Mutex<Script>>,
    now: Instant,
    seen: [Vec<Seen>; 2],
}

impl Pair {
    fn new() -> Self {
        let mut nodes = [1, 2].map(|number: u8| {
            let network =
                Network { name: "mine".into(), network_id: 7, schedule: ForkSchedule::new([7; 32], 0, &[], &[]) };
            let chain = Chain::new(network, Head::default(), 0, [0; 32]);
            let mut config = Config::new(SecretKey::from_bytes([number; 32]).unwrap(), chain);
            config.discovery.switch_off();
            config.addresses.set_ip([10, 0, 0, number].into());
            Node::new(config, [number; 32], Instant::ZERO, UnixTime::from_secs(1_800_000_000)).unwrap()
        });
        let script = Arc::new(Mutex::new(Script::default()));
        nodes[0].behaviours.list.push(Box::new(Scripted(script.clone())));
        let contact = nodes[1].contact();
        nodes[0].command(Instant::ZERO, Command::Dial { contact }).unwrap();
        let Some(Action::Dial { conn, .. }) = nodes[0].poll_action() else { panic!("no dial") };
        let theirs = nodes[1].accept(Instant::ZERO, SocketId::MAIN, nodes[0].contact().tcp_addr()).unwrap();
        nodes[0].handle(Instant::ZERO, Input::Connected { conn, local: None });
        let mut pair = Self { nodes, conns: [conn, theirs], script, now: Instant::ZERO, seen: [vec![], vec![]] };
        pair.exchange();
        assert_eq!(pair.script().conn, Some(conn));
        pair.script().seen.clear();
        pair.seen = [vec![], vec![]];
        pair
    }

    fn script(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().unwrap()
    }

    fn drain(&mut self, i: usize) {
        while let Some(action) = self.nodes[i].poll_action() {
            let Action::Emit(event) = action else { continue };
            self.seen[i].extend(match event {
                Event::Request { conn, request_id, .. } => Some(Seen::Request(conn, request_id)),
                Event::Message { id, payload, .. } => Some(Seen::Message(id, payload.to_vec())),
                Event::Scored { .. } => Some(Seen::Scored),
                _ => None,
            });
        }
    }

    fn exchange(&mut self) {
        for turn in 0..20 {
            let (from, to) = (turn % 2, 1 - turn % 2);
            self.drain(from);
            let bytes = self.nodes[from].outbound(self.conns[from]).to_vec();
            self.nodes[to].handle(self.now, Input::Bytes { conn: self.conns[to], bytes: &bytes });
            self.nodes[from].handle(self.now, Input::Wrote { conn: self.conns[from], n: bytes.len() });
        }
        (0..2).for_each(|i| self.drain(i));
    }

    /// A command that lets the first node's behaviours act.
    fn new_head(&mut self, number: u64) {
        let head = Head { number, ..Head::default() };
        self.nodes[0].command(self.now, Command::SetHead { head, earliest: 0 }).unwrap();
    }
}

#[test]
fn a_behaviour_sees_sessions_and_its_wishes_are_carried_out() {
    let mut pair = Pair::new();
    let conn = pair.conns[0];
    pair.script().plans = [Plan::Send(conn), Plan::Request(conn), Plan::Charge(conn)].into();
    pair.new_head(1);
    assert_eq!(pair.script().seen, ["head", "requested"]);
    pair.exchange();
    assert_eq!(pair.seen[0], [Seen::Scored]);
    let [message, Seen::Request(theirs, request_id)] = &pair.seen[1][..] else { panic!("{:?}", pair.seen[1]) };
    let (theirs, request_id) = (*theirs, *request_id);
    assert_eq!(*message, Seen::Message(eth::id::TRANSACTIONS, vec![0xc0]));
    let command = Command::Respond { conn: theirs, capability: ETH, request_id, id: 3, body: &[0xc1, 5] };
    pair.nodes[1].command(pair.now, command).unwrap();
    let command = Command::Send { conn: theirs, capability: ETH, id: 2, payload: &[0xc0] };
    pair.nodes[1].command(pair.now, command).unwrap();
    pair.exchange();
    assert_eq!(pair.script().seen[2..], ["response", "message"]);
    let command = Command::Send { conn, capability: ETH, id: 2, payload: &[0xc0] };
    let later = pair.nodes[0].command(pair.now, command).unwrap();
    assert!(Some(later) > pair.script().command, "no id is given twice");
    pair.exchange();
    pair.nodes[1].command(pair.now, Command::Shutdown).unwrap();
    pair.exchange();
    assert_eq!(pair.script().seen[4..], ["ended"]);
}

#[test]
fn a_wish_that_cannot_be_carried_out_is_told_to_its_behaviour() {
    let mut pair = Pair::new();
    for plan in [Plan::Send(ConnId(77)), Plan::Request(ConnId(77))] {
        pair.script().plans = [plan].into();
        pair.new_head(1);
        assert_eq!(pair.script().refused.take(), Some(CommandError::UnknownConn));
    }
    assert_eq!(pair.script().seen, ["head", "refused", "head", "refused"]);
}

#[test]
fn a_bounded_number_of_wishes_is_carried_out_in_a_turn() {
    let mut pair = Pair::new();
    let conn = pair.conns[0];
    pair.script().plans = (0..limits::WISHES_PER_TURN + 10).map(|_| Plan::Send(conn)).collect();
    pair.new_head(1);
    assert_eq!(pair.script().plans.len(), 10);
    let due = (pair.now + Duration::from_micros(1), Reason::Behaviour);
    assert_eq!(pair.nodes[0].poll_timeout(), Some(due));
    pair.now = due.0;
    pair.nodes[0].handle(pair.now, Input::Timeout);
    assert_eq!(pair.script().plans.len(), 0);
    assert_ne!(pair.nodes[0].poll_timeout().map(|(_, reason)| reason), Some(Reason::Behaviour));
    pair.exchange();
    assert_eq!(pair.seen[1].len(), limits::WISHES_PER_TURN + 10);
}

#[test]
fn a_behaviours_deadline_is_the_nodes() {
    let mut pair = Pair::new();
    let at = pair.now + Duration::from_millis(3);
    pair.script().timeout = Some(at);
    pair.new_head(1);
    assert_eq!(pair.nodes[0].poll_timeout(), Some((at, Reason::Behaviour)));
    pair.now = at;
    pair.nodes[0].handle(at, Input::Timeout);
    assert_eq!(pair.script().seen, ["head", "timeout"]);
    assert_ne!(pair.nodes[0].poll_timeout().map(|(_, reason)| reason), Some(Reason::Behaviour));
}

#[test]
fn a_new_block_range_is_broadcast_to_established_sessions() {
    let mut pair = Pair::new();
    for number in [31, 32, 63] {
        pair.new_head(number);
    }
    pair.exchange();
    let range = BlockRange { earliest: 0, latest: 32, latest_hash: [0; 32] };
    assert_eq!(pair.seen[1], [Seen::Message(eth::id::BLOCK_RANGE_UPDATE, range.encode())]);
}

#[test]
fn a_broadcast_goes_to_versions_from_the_first_one_on() {
    let name = |version| Capability::eth(version);
    assert!(name(69).is_version_from(name(69)) && name(70).is_version_from(name(69)));
    assert!(!name(68).is_version_from(name(69)) && !Capability::snap(69).is_version_from(name(69)));
}
