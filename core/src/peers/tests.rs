//! Peers against their promises: a naive model over long random runs, every interleaving of two simultaneous dials, dead
//! tables, forged records, crowded subnets.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec::Vec;
use core::net::IpAddr;

use super::*;
use crate::contract::{Fault, Side, Stage, StatusRefusal};
use crate::crypto::PublicKey;
use crate::limits::*;
use crate::netfilter::Subnet;
use crate::rng::Seed;
use crate::wire::p2p::DisconnectReason;

const LOCAL: NodeId = NodeId([0x80; 32]);
const NOBODY: [Contact; 0] = [];

fn id(n: u64) -> NodeId {
    let mut bytes = [0; 32];
    bytes[0] = 1 + (n % 251) as u8;
    bytes[24..].copy_from_slice(&n.to_be_bytes());
    NodeId(bytes)
}

fn ip(n: u64) -> IpAddr {
    IpAddr::from((0x0100_0000 + (n as u32 % 0x0600_0000)).to_be_bytes())
}

fn contact(n: u64, ip: IpAddr) -> Contact {
    Contact::with_id(PublicKey::from_xy_unchecked([n as u8; 64]), id(n), ip, 30303, 30303)
}

fn addr(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 40000)
}

fn rng() -> Rng {
    Seed::new([9; 32]).fork("peers")
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn end(by: Side, stage: Stage, why: EndReason) -> End {
    End { by, stage, why }
}

const BYE: End =
    End { by: Side::Them, stage: Stage::Established, why: EndReason::Disconnect(DisconnectReason::Requested) };
const DEAD: End = End { by: Side::Network, stage: Stage::Dial, why: EndReason::Io(IoFault::Refused) };

struct Bench {
    peers: Peers,
    now: Instant,
    rng: Rng,
    filter: NetFilter,
    next_conn: u64,
}

impl Bench {
    fn new(config: PeersConfig) -> Self {
        let now = Instant::ZERO + secs(1);
        Self { peers: Peers::new(config, LOCAL), now, rng: rng(), filter: NetFilter::default(), next_conn: 0 }
    }

    fn conn(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn)
    }

    /// Dials one of the candidates, which come in random order as from discovery.
    fn dial_next(&mut self, candidates: impl IntoIterator<Item = Contact>) -> Option<(ConnId, Contact)> {
        let conn = self.conn();
        let mut candidates: Vec<Contact> = candidates.into_iter().collect();
        self.rng.shuffle(&mut candidates);
        Some((conn, self.peers.dial_next(self.now, &mut self.rng, &self.filter, conn, candidates)?))
    }

    fn incoming(&mut self, from: IpAddr) -> Result<ConnId, Refusal> {
        let conn = self.conn();
        self.peers.incoming(self.now, conn, addr(from)).map(|()| conn)
    }

    /// Accepts, identifies and establishes.
    fn join(&mut self, n: u64, from: IpAddr) -> (Result<ConnId, Refusal>, Option<Admission>) {
        let conn = match self.incoming(from) {
            Ok(conn) => conn,
            refused => return (refused, None),
        };
        let admission = self.peers.identified(self.now, conn, id(n));
        match admission {
            Admission::Refused(_) => self.end(conn, &BYE),
            Admission::Replaces(other) | Admission::Evicts(other) => self.end(other, &BYE),
            Admission::Welcome => {}
        }
        self.peers.established(self.now, conn);
        (Ok(conn), Some(admission))
    }

    fn end(&mut self, conn: ConnId, end: &End) {
        let _ = self.peers.ended(self.now, &mut self.rng, conn, end);
        self.peers.release(conn);
    }
}

/// Long random runs never break a bound, and the counts are what a naive model says (C9, P2).
#[test]
fn model() {
    let config = PeersConfig { max_peers: 6, max_pending: 6, ..PeersConfig::default() };
    let mut bench = Bench::new(config);
    let mut dice = Seed::new([3; 32]).fork("model");
    // 0 pending, 1 admitted, 2 established, 3 leaving.
    let mut model: BTreeMap<ConnId, (Direction, u8)> = BTreeMap::new();
    let address = |n: u64| if n.is_multiple_of(8) { IpAddr::from([127, 0, 0, 1]) } else { ip(n % 12 * 256 + n) };
    let reasons = [
        EndReason::Disconnect(DisconnectReason::TooManyPeers),
        EndReason::Fault(Fault::PingFlood),
        EndReason::Fault(Fault::Useless),
        EndReason::Fault(Fault::UnsolicitedResponse),
        EndReason::Status(StatusRefusal::Genesis),
        EndReason::Timeout(ConnTimer::Idle),
        EndReason::Io(IoFault::Reset),
        EndReason::Eof,
    ];
    for trusted in 0..3 {
        bench.peers.add_peer(bench.now, contact(trusted, address(trusted)), PeerKind::Trusted).unwrap();
    }
    let (mut evicted, mut replaced, mut banned) = (0, 0, 0);
    for step in 0..200_000u32 {
        bench.now = bench.now + Duration::from_micros(dice.below(20_000_000));
        let any = model.keys().nth(dice.below(model.len() as u64) as usize).copied();
        match dice.below(12) {
            0 | 1 | 10 | 11 => {
                if let Ok(conn) = bench.incoming(address(dice.below(40))) {
                    model.insert(conn, (Direction::Inbound, 0));
                }
            }
            2 => {
                let candidates: Vec<_> = (0..8).map(|_| dice.below(40)).map(|n| contact(n, address(n))).collect();
                if let Some((conn, _)) = bench.dial_next(candidates) {
                    model.insert(conn, (Direction::Outbound, 0));
                }
            }
            3 => {
                let (conn, n) = (bench.conn(), dice.below(40));
                if bench.peers.dial(bench.now, conn, &contact(n, address(n))).is_ok() {
                    model.insert(conn, (Direction::Outbound, 0));
                }
            }
            4..=6 => {
                let Some(conn) = any.filter(|conn| model[conn].1 == 0) else { continue };
                let who = bench.peers.slots().get(conn).unwrap().id().unwrap_or(id(dice.below(200)));
                let was_banned = bench.peers.is_banned(bench.now, &who);
                match bench.peers.identified(bench.now, conn, who) {
                    Admission::Refused(_) => continue,
                    Admission::Welcome => {}
                    Admission::Replaces(other) | Admission::Evicts(other) => {
                        let other_id = bench.peers.slots().get(other).unwrap().proven().unwrap();
                        if other_id == who {
                            replaced += 1
                        } else {
                            evicted += 1
                        }
                        model.get_mut(&other).unwrap().1 = 3;
                    }
                }
                assert!(!was_banned, "a banned peer was let in at step {step}");
                model.get_mut(&conn).unwrap().1 = 1;
            }
            7 => {
                let Some(conn) = any else { continue };
                bench.peers.established(bench.now, conn);
                let state = &mut model.get_mut(&conn).unwrap().1;
                *state = if *state == 1 { 2 } else { *state };
            }
            8 => {
                let Some(conn) = any else { continue };
                if let Some(charge) = bench.peers.charge(bench.now, conn, ScoreReason::RequestTimeout) {
                    assert!(model[&conn].1 > 0, "charged without proof");
                    banned += settle(&mut bench, &mut model, &charge);
                }
            }
            _ => {
                let Some(conn) = any.filter(|conn| model[conn].1 != 2 || dice.below(8) == 0) else { continue };
                let stage = if model[&conn].1 == 2 { Stage::Established } else { Stage::Handshake };
                let why = reasons[dice.below(8) as usize];
                let ended = bench.peers.ended(bench.now, &mut bench.rng, conn, &end(Side::Us, stage, why)).unwrap();
                assert_eq!(bench.peers.ended(bench.now, &mut bench.rng, conn, &end(Side::Us, stage, why)), None);
                bench.peers.release(conn);
                model.remove(&conn);
                if let Some(charge) = ended.charge {
                    banned += settle(&mut bench, &mut model, &charge);
                }
            }
        }
        check(&bench, &config, &model, step);
    }
    assert!(evicted > 10 && replaced > 10 && banned > 100, "{evicted} evicted, {replaced} replaced, {banned} banned");

    // No refusal is for ever: when all have left and time has passed, everybody gets in again.
    for conn in model.into_keys() {
        bench.end(conn, &BYE);
    }
    assert_eq!(bench.peers.counts(), Counts::default());
    bench.now = bench.now + secs(86_400);
    for n in 0..config.max_inbound() as u64 {
        let (_, admission) = bench.join(10 + n, ip(n * 256));
        assert_eq!(admission, Some(Admission::Welcome), "peer {n}");
    }
}

/// Does what a charge demands: ends every connection with a banned peer. A ban that falls due is in the list at once.
fn settle(bench: &mut Bench, model: &mut BTreeMap<ConnId, (Direction, u8)>, charge: &Charge) -> u32 {
    assert_eq!(charge.score <= score::BAN_SCORE, charge.ban.is_some());
    assert!(charge.ban.is_none() || bench.peers.is_banned(bench.now, &charge.id));
    if charge.ban.is_none() {
        return 0;
    }
    for conn in bench.peers.conns(charge.id).collect::<Vec<_>>() {
        bench.end(conn, &BYE);
        model.remove(&conn);
    }
    1
}

fn check(bench: &Bench, config: &PeersConfig, model: &BTreeMap<ConnId, (Direction, u8)>, step: u32) {
    let counts = bench.peers.counts();
    let count = |f: &dyn Fn(Direction, u8) -> bool| model.values().filter(|(dir, state)| f(*dir, *state)).count();
    let placed = |state| state == 1 || state == 2;
    assert_eq!(counts.pending_inbound, count(&|dir, s| dir == Direction::Inbound && !placed(s)), "step {step}");
    assert_eq!(counts.pending_outbound, count(&|dir, s| dir == Direction::Outbound && !placed(s)), "step {step}");
    assert_eq!(counts.inbound + counts.outbound + counts.exempt, count(&|_, s| placed(s)), "step {step}");
    assert_eq!(counts.established, count(&|_, s| s == 2), "step {step}");

    let entry = |slot: &&Slot| matches!(slot.phase, Phase::Pending);
    let pending = |d| bench.peers.slots().iter().filter(entry).filter(|slot| slot.direction() == d).count();
    assert!(pending(Direction::Inbound) <= config.max_pending && pending(Direction::Outbound) <= config.max_pending);
    assert!(counts.inbound + counts.outbound <= config.max_peers, "step {step}: {counts:?}");
    assert!(counts.inbound <= config.max_inbound(), "step {step}: {counts:?}");
    let places: Vec<_> = bench.peers.peers(bench.now).collect();
    let banned = places.iter().find(|peer| bench.peers.is_banned(bench.now, &peer.place.id));
    assert!(banned.is_none(), "step {step}: {banned:?}");
    let ids: BTreeSet<_> = places.iter().map(|peer| peer.place.id).collect();
    assert_eq!(ids.len(), places.len(), "step {step}: one place for each peer");
    let mut subnets: BTreeMap<Subnet, usize> = BTreeMap::new();
    for peer in places.iter().filter(|p| p.place.share == Direction::Inbound && p.place.kind == PeerKind::Ordinary) {
        // Those who took a dialled twin's place came past the limit of subnets, as the dial they replace would have.
        if !peer.place.exempt && !scope(peer.slot.addr.ip()).is_local() && peer.slot.direction() == Direction::Inbound {
            *subnets.entry(Subnet::of(peer.slot.addr.ip())).or_default() += 1;
        }
    }
    assert!(subnets.values().all(|n| *n <= config.inbound_per_subnet), "step {step}: {subnets:?}");
}

/// Two nodes and two streams between them; each stream's messages keep their order, streams do not.
#[derive(Clone)]
struct Pair {
    peers: [Peers; 2],
    /// By stream and receiver.
    wires: [[VecDeque<Msg>; 2]; 2],
    /// By stream and node: whether its end has been seen there.
    gone: [[bool; 2]; 2],
    dialled: [bool; 2],
    now: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Msg {
    Auth,
    Ack,
    Hello,
    Status,
    Bye,
}

const IDS: [NodeId; 2] = [NodeId([1; 32]), NodeId([2; 32])];

impl Pair {
    fn new(config: PeersConfig) -> Self {
        Self {
            peers: IDS.map(|id| Peers::new(config, id)),
            wires: Default::default(),
            gone: [[false; 2]; 2],
            dialled: [false; 2],
            now: Instant::ZERO + secs(100),
        }
    }

    /// Stream `s` is dialled by node `s`.
    fn dial(&mut self, s: usize) {
        self.dialled[s] = true;
        let key = PublicKey::from_xy_unchecked([7; 64]);
        let to = Contact::with_id(key, IDS[1 - s], ip(1 - s as u64), 30303, 30303);
        match self.peers[s].dial(self.now, ConnId(s as u64), &to) {
            Ok(()) => self.wires[s][1 - s].push_back(Msg::Auth),
            Err(refusal) => {
                assert_eq!(refusal, Refusal::AlreadyConnected);
                self.gone[s] = [true; 2];
            }
        }
    }

    fn close(&mut self, node: usize, s: usize, by: Side) {
        if !core::mem::replace(&mut self.gone[s][node], true) {
            let why = EndReason::Disconnect(DisconnectReason::AlreadyConnected);
            let _ = self.peers[node].ended(self.now, &mut rng(), ConnId(s as u64), &end(by, Stage::Hello, why));
            self.peers[node].release(ConnId(s as u64));
            if by == Side::Us {
                self.wires[s][1 - node].push_back(Msg::Bye);
            }
        }
    }

    fn deliver(&mut self, s: usize, node: usize) {
        let Some(msg) = self.wires[s][node].pop_front() else { return };
        if self.gone[s][node] {
            return;
        }
        let (conn, other) = (ConnId(s as u64), 1 - node);
        match msg {
            Msg::Auth => match self.peers[node].incoming(self.now, conn, addr(ip(other as u64))) {
                Ok(()) => self.wires[s][other].extend([Msg::Ack, Msg::Hello]),
                Err(refusal) => panic!("{refusal}"),
            },
            Msg::Ack => self.wires[s][other].push_back(Msg::Hello),
            Msg::Hello => match self.peers[node].identified(self.now, conn, IDS[other]) {
                Admission::Welcome => self.wires[s][other].push_back(Msg::Status),
                Admission::Replaces(twin) => {
                    self.wires[s][other].push_back(Msg::Status);
                    self.close(node, twin.0 as usize, Side::Us);
                }
                Admission::Refused(refusal) => {
                    assert_eq!(refusal, Refusal::AlreadyConnected);
                    self.close(node, s, Side::Us);
                }
                Admission::Evicts(_) => unreachable!(),
            },
            Msg::Status => self.peers[node].established(self.now, conn),
            Msg::Bye => self.close(node, s, Side::Them),
        }
    }

    fn key(&self) -> std::string::String {
        let slots = self.peers.each_ref().map(|peers| peers.slots().iter().copied().collect::<Vec<_>>());
        std::format!("{:?}{:?}{:?}{:?}", self.wires, self.gone, self.dialled, slots)
    }

    fn assert_one_session(&self) {
        for node in 0..2 {
            let established: Vec<_> = self.peers[node].peers(self.now).map(|peer| peer.slot.conn).collect();
            assert_eq!(established.len(), 1, "node {node}");
            assert_eq!(self.peers[node].counts().established, 1, "node {node}");
            assert_eq!(self.peers[node].slots().iter().count(), 1, "node {node} keeps a loser");
        }
        let [a, b] = self.peers.each_ref().map(|peers| peers.slots().iter().next().unwrap().conn);
        assert_eq!(a, b, "both keep the same one");
    }
}

/// P7: however the messages of two simultaneous dials interleave, one session stays, and the same on both sides; also when
/// there is room for one peer only.
#[test]
fn simultaneous_dials_leave_exactly_one_session_in_every_interleaving() {
    for max_peers in [1, 50] {
        let mut start = Pair::new(PeersConfig { max_peers, ..PeersConfig::default() });
        // With one place, the second dial must be under way before the first one is answered.
        if max_peers == 1 {
            start.dial(0);
            start.dial(1);
        }
        let (mut todo, mut seen, mut finals) = (Vec::from([start]), BTreeSet::new(), 0);
        while let Some(pair) = todo.pop() {
            if !seen.insert(pair.key()) {
                continue;
            }
            let before = todo.len();
            for s in 0..2 {
                if !pair.dialled[s] {
                    let mut next = pair.clone();
                    next.dial(s);
                    todo.push(next);
                }
                for node in (0..2).filter(|node| !pair.wires[s][*node].is_empty()) {
                    let mut next = pair.clone();
                    next.deliver(s, node);
                    todo.push(next);
                }
            }
            if todo.len() == before {
                pair.assert_one_session();
                finals += 1;
            }
        }
        assert!(seen.len() > 100 && finals > 1, "{} states, {finals} final", seen.len());
    }
}

/// The same with streams as slow as their deadlines allow, so that one may be in session long before the other.
#[test]
fn simultaneous_dials_with_any_delay_leave_exactly_one_session() {
    let mut dice = Seed::new([5; 32]).fork("delays");
    for _ in 0..2000 {
        let mut pair = Pair::new(PeersConfig::default());
        let start = pair.now;
        pair.dial(0);
        pair.dial(1);
        // Up to 15 s until the stream is connected, up to 2 s for each message after that.
        let mut free = [dice.below(15_000_000), dice.below(15_000_000)].map(|at| [at; 2]);
        while let Some((at, s, node)) = (0..4)
            .map(|i| (free[i / 2][i % 2], i / 2, i % 2))
            .filter(|(_, s, node)| !pair.wires[*s][*node].is_empty())
            .min()
        {
            pair.now = pair.now.max(start + Duration::from_micros(at));
            pair.deliver(s, node);
            let elapsed = pair.now.since(start).as_micros() as u64;
            for free in &mut free[s] {
                *free = (*free).max(elapsed + dice.below(2_000_000));
            }
        }
        pair.assert_one_session();
    }
}

#[test]
fn an_old_session_outlives_any_newcomer() {
    for n in [1, 250] {
        let mut bench = Bench::new(PeersConfig::default());
        let (conn, _) = bench.join(n, ip(1));
        let dialled = bench.conn();
        bench.now = bench.now + SIMULTANEOUS_WINDOW;
        assert_eq!(bench.peers.dial(bench.now, dialled, &contact(n, ip(1))), Err(Refusal::AlreadyConnected));
        let (_, admission) = bench.join(n, ip(1));
        assert_eq!(admission, Some(Admission::Refused(Refusal::AlreadyConnected)));
        assert_eq!(bench.peers.peers(bench.now).next().unwrap().slot.conn, conn.unwrap());
    }
    // Lower than ourselves, the peer's dial would win if it were simultaneous with ours.
    for (age, verdict) in [
        (SIMULTANEOUS_WINDOW, Admission::Refused(Refusal::AlreadyConnected)),
        (Duration::from_secs(29), Admission::Replaces(ConnId(1))),
    ] {
        let mut bench = Bench::new(PeersConfig::default());
        let (conn, _) = bench.dial_next([contact(1, ip(1))]).unwrap();
        assert_eq!(bench.peers.identified(bench.now, conn, id(1)), Admission::Welcome);
        bench.peers.established(bench.now, conn);
        bench.now = bench.now + age;
        assert_eq!(bench.join(1, ip(1)).1, Some(verdict), "after {age:?}");
    }
    let mut bench = Bench::new(PeersConfig::default());
    let conn = bench.incoming(ip(1)).unwrap();
    assert_eq!(bench.peers.identified(bench.now, conn, LOCAL), Admission::Refused(Refusal::ToSelf));
}

/// P8: with nine dead nodes in ten, the number of distinct addresses tried grows with time until all are.
#[test]
fn a_dead_table_is_worked_through() {
    let mut bench = Bench::new(PeersConfig::default());
    let table: Vec<_> = (0..2000).map(|n| contact(n, ip(n * 256))).collect();
    let (mut tried, mut growth) = (BTreeSet::new(), Vec::new());
    for minute in 1..=40u64 {
        let until = Instant::ZERO + secs(minute * 60);
        while bench.now < until {
            let view: Vec<_> = (0..32).map(|_| table[bench.rng.below(2000) as usize]).collect();
            while let Some((conn, contact)) = bench.dial_next(view.iter().copied()) {
                tried.insert(contact.ip());
                let alive = contact.id().0[31] % 10 == 0 && bench.peers.counts().outbound < 10;
                if alive {
                    let _ = bench.peers.identified(bench.now, conn, contact.id());
                    bench.peers.established(bench.now, conn);
                } else {
                    bench.end(conn, &DEAD);
                }
                if bench.peers.counts().outbound >= 16 {
                    break;
                }
            }
            bench.now = bench.peers.poll_timeout(true).map_or(until, |at| at.max(bench.now + secs(1)));
        }
        growth.push(tried.len());
    }
    assert!(growth[9] >= 1000, "after ten minutes {}", growth[9]);
    assert!(*growth.last().unwrap() >= 1950, "{growth:?}");
}

/// P8, P12: half of the dials go to nodes never tried, though a crowd of known ones is offered, and no one is preferred.
#[test]
fn half_of_the_dials_go_to_nodes_never_tried() {
    let mut bench = Bench::new(PeersConfig::default());
    for n in 0..100 {
        let (conn, _) = bench.dial_next([contact(n, ip(n * 256))]).unwrap();
        bench.end(conn, &BYE);
    }
    let mut tried: BTreeSet<_> = (0..100).map(id).collect();
    let (mut fresh, mut chosen) = (0, BTreeSet::new());
    for round in 0..400 {
        bench.now = bench.now + secs(90);
        let new = contact(1000 + round, ip((1000 + round) * 256));
        let (conn, dialled) = bench.dial_next((0..100).map(|n| contact(n, ip(n * 256))).chain([new])).unwrap();
        bench.end(conn, &BYE);
        fresh += u32::from(tried.insert(dialled.id()));
        chosen.insert(dialled.id());
    }
    assert!((160..240).contains(&fresh), "{fresh} of 400");
    assert!(chosen.len() as u32 - fresh > 70, "the known ones are sampled");
}

/// Discovery has drawn the candidates already: a second draw would undo its weights.
#[test]
fn the_first_candidate_that_may_be_dialled_is_dialled() {
    for round in 0..20 {
        let mut bench = Bench::new(PeersConfig::default());
        bench.rng = Seed::new([round; 32]).fork("order");
        let no_port = contact(1, ip(256)).with_tcp(0);
        let candidates = [no_port, contact(2, ip(512)), contact(3, ip(768)), contact(4, ip(1024))];
        let conn = bench.conn();
        let dialled = bench.peers.dial_next(bench.now, &mut bench.rng, &bench.filter, conn, candidates);
        assert_eq!(dialled, Some(candidates[1]));
    }
}

/// Static peers are dialled for ever, at least once in each longest pause, whatever becomes of the dials.
#[test]
fn static_peers_are_retried_for_ever() {
    let ends = [
        DEAD,
        end(Side::Them, Stage::Hello, EndReason::Disconnect(DisconnectReason::TooManyPeers)),
        end(Side::Us, Stage::Status, EndReason::Status(StatusRefusal::Network(9))),
        end(Side::Us, Stage::Hello, EndReason::Refused(Refusal::TooManyPeers)),
    ];
    let mut bench = Bench::new(PeersConfig { dial_ratio: 0, ..PeersConfig::default() });
    assert_eq!(bench.peers.poll_timeout(true), None, "nothing to do");
    for n in 0..20 {
        bench.peers.add_peer(bench.now, contact(n, ip(n % 10)), PeerKind::Static).unwrap();
    }
    let mut last = BTreeMap::new();
    while bench.now < Instant::ZERO + secs(3 * 86_400) {
        while let Some((conn, contact)) = bench.dial_next(NOBODY) {
            let pause = last.insert(contact.id(), bench.now).map_or(REDIAL_INTERVAL, |at| bench.now.since(at));
            assert!(pause >= REDIAL_INTERVAL && pause <= REDIAL_INTERVAL_MAX + 20 * REDIAL_INTERVAL, "{pause:?}");
            let end = ends[bench.rng.below(4) as usize];
            bench.end(conn, &end);
        }
        let next = bench.peers.poll_timeout(true).unwrap();
        assert!(next > bench.now, "deadlines advance");
        bench.now = next;
    }
    assert!(last.values().all(|at| bench.now.since(*at) <= REDIAL_INTERVAL_MAX + 20 * REDIAL_INTERVAL));
}

#[test]
fn a_devnet_on_one_machine_connects_at_once() {
    let mut bench = Bench::new(PeersConfig::default());
    let local = IpAddr::from([127, 0, 0, 1]);
    let table: Vec<_> = (0..8).map(|n| contact(n, local)).collect();
    let mut dialled = BTreeSet::new();
    while let Some((_, contact)) = bench.dial_next(table.iter().copied()) {
        dialled.insert(contact.id());
    }
    assert_eq!(dialled.len(), 8);
    for n in 8..40 {
        assert_eq!(bench.join(n, local).1, Some(Admission::Welcome), "no throttle and no subnet here");
    }
}

#[test]
fn one_host_is_dialled_once_in_a_while_whatever_ids_are_named_there() {
    let mut bench = Bench::new(PeersConfig::default());
    let mut dials = 0;
    for second in 0..350 {
        bench.now = Instant::ZERO + secs(second);
        while let Some((conn, _)) = bench.dial_next((0..50).map(|n| contact(second * 50 + n, ip(77)))) {
            dials += 1;
            bench.end(conn, &DEAD);
        }
    }
    assert_eq!(dials, 10, "D10");
}

/// P3b: forged records that name an honest node's key or address do the honest node no harm.
#[test]
fn forged_records_frame_nobody() {
    let mut bench = Bench::new(PeersConfig::default());
    let (honest, honest_ip) = (contact(1, ip(1)), ip(1));
    for n in 0..100 {
        // The honest key at an attacker's address, and an attacker's key at the honest address.
        for forged in [honest.with_ip(ip(1000 + n * 256)), contact(500 + n, honest_ip)] {
            bench.now = bench.now + secs(36);
            let (conn, _) = bench.dial_next([forged]).expect("a pause holds for its endpoint only");
            bench.end(conn, &end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::UnexpectedIdentity)));
        }
    }
    assert!(
        !bench.peers.is_banned(bench.now, &honest.id())
            && bench.peers.bans().addr_until(bench.now, honest_ip).is_none()
    );
    bench.now = bench.now + secs(36);
    assert_eq!(bench.dial_next([honest]).unwrap().1, honest);
    // A fault on an accepted stream that proved nothing is nobody's.
    let conn = bench.incoming(ip(9 * 256)).unwrap();
    let fault = end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::Handshake));
    assert_eq!(bench.peers.ended(bench.now, &mut bench.rng, conn, &fault).unwrap().charge, None);
    bench.peers.release(conn);
}

/// P1, E7: with every inbound place held, the first of a new subnet displaces one of a pair, and the old ones keep three
/// quarters; one subnet never holds more than two.
#[test]
fn full_inbound_places_still_move() {
    let mut bench = Bench::new(PeersConfig::default());
    let max = bench.peers.slots().config().max_inbound() as u64;
    assert_eq!(max, 34);
    for n in 0..max {
        bench.now = bench.now + secs(31);
        let (_, admission) = bench.join(n, ip(n / 2 * 256 + n % 2));
        assert_eq!(admission, Some(Admission::Welcome));
    }
    bench.now = bench.now + secs(31);
    assert_eq!(bench.join(100, ip(5)).1, Some(Admission::Refused(Refusal::TooManyFromSubnet)));
    let mut evictions = 0;
    for n in 0..100 {
        bench.now = bench.now + secs(31);
        match bench.join(200 + n, ip((200 + n) * 256)).1.unwrap() {
            Admission::Evicts(_) => evictions += 1,
            admission => assert_eq!(admission, Admission::Refused(Refusal::TooManyPeers)),
        }
    }
    // Half of 34 had a sibling; time has made some of the first ones old, but not three quarters of them.
    assert_eq!(evictions, 17);
    bench.now = bench.now + INBOUND_SENIORITY;
    let again = (0..100).filter(|n| matches!(bench.join(400 + n, ip((400 + n) * 256)).1, Some(Admission::Evicts(_))));
    assert_eq!(again.count(), 9, "a quarter of the places is for the young");
    assert_eq!(bench.peers.counts().inbound, 34);
}

#[test]
fn the_worst_behaved_is_put_out_for_a_newcomer_of_better_standing() {
    let config = PeersConfig { max_peers: 6, dial_ratio: 0, ..PeersConfig::default() };
    let mut bench = Bench::new(config);
    let conns: Vec<_> = (0..6).map(|n| bench.join(n, ip(n * 256)).0.unwrap()).collect();
    assert_eq!(bench.join(9, ip(9 * 256)).1, Some(Admission::Refused(Refusal::TooManyPeers)));
    for _ in 0..8 {
        let _ = bench.peers.charge(bench.now, conns[3], ScoreReason::RequestTimeout);
    }
    assert_eq!(bench.join(10, ip(10 * 256)).1, Some(Admission::Evicts(conns[3])));
}

#[test]
fn trusted_peers_pass_the_limits_once_they_have_proven_their_key() {
    let mut bench = Bench::new(PeersConfig { max_peers: 0, ..PeersConfig::default() });
    assert_eq!(bench.incoming(ip(1)), Err(Refusal::TooManyPeers), "nobody could be behind it");
    bench.peers.add_peer(bench.now, contact(7, ip(7 * 256)), PeerKind::Trusted).unwrap();
    assert_eq!(bench.join(8, ip(8 * 256)).1, Some(Admission::Refused(Refusal::TooManyPeers)));
    let conn = bench.join(7, ip(7 * 256)).0.unwrap();
    assert_eq!(bench.peers.counts().exempt, 1);
    let charge = bench.peers.charge(bench.now, conn, ScoreReason::Fault(Fault::PingFlood)).unwrap();
    assert_eq!(charge.ban, Some(STATIC_PEER_BAN), "even they");
    bench.end(conn, &BYE);
    bench.peers.remove_peer(&id(7)).unwrap();
    assert_eq!(bench.peers.remove_peer(&id(7)), Err(CommandError::UnknownPeer));
}

#[test]
fn accepts_are_throttled_by_host_and_subnet() {
    let mut bench = Bench::new(PeersConfig::default());
    let conn = bench.incoming(ip(1)).unwrap();
    bench.end(conn, &BYE);
    assert_eq!(bench.incoming(ip(1)), Err(Refusal::Throttled));
    for n in 2..2 + PENDING_PER_SUBNET as u64 {
        assert!(bench.incoming(ip(n)).is_ok());
    }
    assert_eq!(bench.incoming(ip(99)), Err(Refusal::TooManyFromSubnet));
    for n in 1..=(PENDING_MAX - PENDING_PER_SUBNET) as u64 {
        assert!(bench.incoming(ip(n * 256)).is_ok());
    }
    assert_eq!(bench.incoming(ip(200 * 256)), Err(Refusal::TooManyPending));
    bench.now = bench.now + INBOUND_THROTTLE;
    let conns: Vec<_> = bench.peers.slots().iter().map(|slot| slot.conn).collect();
    conns.into_iter().for_each(|conn| bench.end(conn, &BYE));
    assert!(bench.incoming(ip(1)).is_ok());
}

/// P3, P5: a banned peer's host is refused for a while; a hundred thousand keys leave the memory bounded.
#[test]
fn bans_follow_the_host_and_memory_is_bounded() {
    let mut bench = Bench::new(PeersConfig::default());
    let conn = bench.join(1, ip(1)).0.unwrap();
    let charge = bench.peers.charge(bench.now, conn, ScoreReason::Fault(Fault::PingFlood)).unwrap();
    assert_eq!(charge.ban, Some(Severity::Fatal.ban_duration()));
    assert_eq!(bench.peers.conns(charge.id).collect::<Vec<_>>(), [conn]);
    bench.end(conn, &BYE);
    bench.now = bench.now + secs(60);
    assert_eq!(bench.incoming(ip(1)), Err(Refusal::Banned));
    bench.now = bench.now + HOST_BAN_MAX;
    assert_eq!(bench.join(1, ip(1)).1, Some(Admission::Refused(Refusal::Banned)), "the id stays banned");

    for n in 0..100_000 {
        bench.now = bench.now + Duration::from_millis(1);
        if let Some((conn, contact)) = bench.dial_next([contact(1000 + n, ip(n * 64))]) {
            let _ = bench.peers.identified(bench.now, conn, contact.id());
            bench.end(conn, &end(Side::Us, Stage::Established, EndReason::Fault(Fault::ForbiddenMessage)));
        }
    }
    assert!(bench.peers.bans().len() <= BANS_MAX && bench.peers.ledgers().len() <= LEDGERS_MAX);
    assert!(bench.peers.bans().len() > BANS_MAX / 2, "the test reaches its point");
}

#[test]
fn ends_that_nobody_takes_keep_their_slots() {
    let mut bench = Bench::new(PeersConfig { max_pending: 3, ..PeersConfig::default() });
    let fault = end(Side::Us, Stage::Handshake, EndReason::Fault(Fault::Handshake));
    for conn in (0..3).map(ConnId) {
        bench.peers.incoming(bench.now, conn, "127.0.0.1:1".parse().unwrap()).unwrap();
        let _ = bench.peers.ended(bench.now, &mut bench.rng, conn, &fault);
    }
    let accept = |bench: &mut Bench| bench.peers.incoming(bench.now, ConnId(3), "127.0.0.1:1".parse().unwrap());
    assert_eq!(accept(&mut bench), Err(Refusal::TooManyPending));
    bench.peers.release(ConnId(0));
    assert_eq!(accept(&mut bench), Ok(()));
}
