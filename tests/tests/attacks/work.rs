//! E6: what one request of an honest peer waits for while 33 other sessions send as fast as they can. A model of a driver
//! serves real sessions of a real node; its clock advances by the units of work that the node counts. The decisions are
//! those of `peerless-mio`: both use `Shares`.

use std::collections::VecDeque;
use std::time::Duration;

use peerless::contract::{Action, Command, ConnId, Event, Input, Shares};
use peerless::node::Node;
use peerless::rng::Seed;
use peerless::time::Instant;
use peerless::wire::eth::{self, id};
use peerless::wire::p2p::{self, Capability};
use peerless::wire::snappy;
use peerless_tests::load::{Load, pack};
use peerless_tests::stranger::{Stranger, Talk};

use crate::{SECOND, VICTIM, local, victim};

const ETH: Capability = Capability::eth(69);
/// Bytes that wait for each connection at least.
const BACKLOG_BYTES: usize = 16 << 10;
/// Requests of the honest peer.
const REQUESTS: usize = 150;

/// A peer's side of a session, and its bytes that the node has not read.
struct Peer {
    talk: Talk,
    wire: VecDeque<u8>,
}

/// A driver's model. Time is in units of work.
struct Model<'a> {
    node: &'a mut Node,
    start: Instant,
    now: u64,
    shares: Shares,
    /// The honest one first.
    peers: Vec<Peer>,
    load: Load,
    /// The payload of the load's messages; compressed unless they are answers.
    message: Vec<u8>,
    arrivals: VecDeque<u64>,
    /// Requests of the honest peer that the node has not seen.
    open: VecDeque<u64>,
    /// Requests that the node has told and the application has not answered.
    asked: Vec<(ConnId, u64, u64)>,
    latencies: Vec<u64>,
}

impl Model<'_> {
    fn conn(&self, peer: usize) -> ConnId {
        self.peers[peer].talk.conn()
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_nanos(self.now)
    }

    /// What has come by now: requests of the honest peer, and from the others always more.
    fn poll(&mut self) {
        while let Some(at) = self.arrivals.front().copied().filter(|at| *at <= self.now) {
            self.arrivals.pop_front();
            self.open.push_back(at);
            let frame = self.peers[0].talk.seal(p2p::id::CAPABILITIES + id::GET_BLOCK_HEADERS, &pack(&[&[0xc2, 5, 1]]));
            self.peers[0].wire.extend(frame);
        }
        for peer in 1..self.peers.len() {
            while self.peers[peer].wire.len() < BACKLOG_BYTES {
                let frame = self.next_message(peer);
                self.peers[peer].wire.extend(frame);
            }
        }
    }

    fn next_message(&mut self, peer: usize) -> Vec<u8> {
        let message = p2p::id::CAPABILITIES + self.load.message_id();
        if self.load != Load::Answers {
            return self.peers[peer].talk.seal(message, &self.message);
        }
        let conn = self.conn(peer);
        let (now, body) = (self.instant(), [0xc0]);
        self.node
            .command(now, Command::Request { conn, capability: ETH, id: id::GET_BLOCK_BODIES, body: &body })
            .unwrap();
        self.write(peer);
        let (_, request) = self.peers[peer].talk.heard.pop().unwrap();
        let mut inflated = vec![0; snappy::inflated_len(&request, 1 << 20).unwrap()];
        snappy::inflate(&request, &mut inflated).unwrap();
        let (request_id, _) = eth::request_id(&inflated).unwrap();
        let body = &self.message;
        let answer = pack(&[eth::envelope(request_id, body.len()).as_slice(), body]);
        self.peers[peer].talk.seal(message, &answer)
    }

    /// Has a peer take all that the node has for it.
    fn write(&mut self, peer: usize) {
        let conn = self.conn(peer);
        let bytes = self.node.outbound(conn).to_vec();
        self.node.handle(self.instant(), Input::Wrote { conn, n: bytes.len() });
        self.peers[peer].talk.open(&bytes);
    }

    fn ready(&self) -> Vec<ConnId> {
        let is_ready = |peer: &&Peer| !peer.wire.is_empty() && self.node.wants_read(peer.talk.conn());
        self.peers.iter().filter(is_ready).map(|peer| peer.talk.conn()).collect()
    }

    /// Carries out the node's actions. Returns whether it has told anything.
    fn drain(&mut self) -> bool {
        let mut has_told = false;
        while let Some(action) = self.node.poll_action() {
            has_told |= matches!(action, Action::Emit(_));
            match action {
                Action::Emit(Event::Request { conn, request_id, id, .. }) => self.asked.push((conn, request_id, id)),
                Action::Emit(Event::Ended { end, .. }) => panic!("{end}"),
                _ => {}
            }
        }
        has_told
    }

    fn charge(&mut self, conn: ConnId) -> usize {
        let units = self.node.take_work(conn);
        self.now += units;
        self.shares.charge(conn, units)
    }

    fn serve(&mut self, conn: ConnId, bytes_max: usize) {
        let peer = self.peers.iter().position(|peer| peer.talk.conn() == conn).unwrap();
        let mut bytes_max = bytes_max;
        while bytes_max > 0 && !self.peers[peer].wire.is_empty() && self.node.wants_read(conn) {
            let n = self.peers[peer].wire.len().min(bytes_max);
            let bytes: Vec<u8> = self.peers[peer].wire.drain(..n).collect();
            self.node.handle(self.instant(), Input::Bytes { conn, bytes: &bytes });
            bytes_max = self.charge(conn);
        }
        let has_told = self.drain();
        self.charge(conn);
        if has_told {
            self.shares.told(conn);
        }
        if self.peers[peer].wire.is_empty() {
            self.shares.drained(conn);
        }
    }

    /// Answers the requests of the last turn, as an application does between turns.
    fn answer(&mut self) {
        for (conn, request_id, id) in std::mem::take(&mut self.asked) {
            let command = Command::Respond { conn, capability: ETH, request_id, id, body: &[0xc0] };
            self.node.command(self.instant(), command).unwrap();
            let peer = self.peers.iter().position(|peer| peer.talk.conn() == conn).unwrap();
            self.write(peer);
            self.drain();
            self.charge(conn);
            if peer == 0 {
                let arrived = self.open.pop_front().unwrap();
                self.latencies.push(self.now - arrived);
            }
        }
    }

    /// One turn of a driver.
    fn turn(&mut self) {
        self.answer();
        self.poll();
        if self.ready().is_empty() {
            self.now = self.now.max(*self.arrivals.front().unwrap());
            self.poll();
        }
        self.shares.begin(self.ready());
        while let Some((conn, bytes_max)) = self.shares.next_conn() {
            self.serve(conn, bytes_max);
        }
    }
}

/// The median and the 99th percentile of an honest request's latency, in units of work.
fn latency(load: Load) -> [u64; 2] {
    let mut net = victim(9);
    let mut peers: Vec<Peer> = Vec::new();
    for n in 0..34 {
        let talk = Stranger::new(n).establish(&mut net, VICTIM, local(n.into()), 69).unwrap();
        peers.push(Peer { talk, wire: VecDeque::new() });
        // The others give signs of life meanwhile.
        peers.iter_mut().for_each(|peer| peer.talk.say(&mut net, p2p::id::PONG, &p2p::EMPTY_PAYLOAD));
        net.run_for(SECOND / 10);
    }
    for peer in &mut peers {
        let bytes = net.read_raw(peer.talk.raw);
        peer.talk.open(&bytes);
    }
    assert_eq!(net.established(VICTIM), 34);
    net.with(VICTIM, |node, start| {
        let mut rng = Seed::new([5; 32]).fork("arrivals");
        let mut at = 0;
        let arrivals = (0..REQUESTS).map(|_| {
            at += 500_000 + rng.below(6_000_000);
            at
        });
        let arrivals = arrivals.collect();
        let payload = load.payload(&mut rng);
        let message = if load == Load::Answers { payload } else { pack(&[&payload]) };
        for peer in &peers {
            node.take_work(peer.talk.conn());
        }
        let (open, latencies) = (VecDeque::new(), Vec::new());
        let shares = Shares::default();
        let asked = Vec::new();
        let mut model = Model { node, start, now: 0, shares, peers, load, message, arrivals, open, asked, latencies };
        while model.latencies.len() < REQUESTS {
            model.turn();
        }
        model.latencies.sort_unstable();
        [50, 99].map(|percent| model.latencies[REQUESTS * percent / 100])
    })
}

/// E6: at most 2.5 times the latency beside ordinary messages, and 10 ms more beside answers that we have requested.
#[test]
fn expensive_messages_do_not_starve_an_honest_peer() {
    let ordinary = latency(Load::Ordinary);
    println!("beside ordinary messages: p50 and p99 {ordinary:?}");
    for load in [Load::Bombs, Load::Items, Load::Requests, Load::Answers] {
        let slowed = latency(load);
        println!("beside {load:?}: p50 and p99 {slowed:?}");
        for (slowed, ordinary) in slowed.into_iter().zip(ordinary) {
            let more = if load == Load::Answers { 10_000_000 } else { 0 };
            assert!(slowed <= ordinary * 5 / 2 + more, "{load:?}: {slowed} after {ordinary}");
        }
    }
}
