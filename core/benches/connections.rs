//! What a node's connections cost, by how many there are: accept, end, pop, ask for the deadline, handle a timeout.
//!
//! `cargo bench -p peerless --bench connections` prints the time of each operation at 10, 100, 1,000 and 10,000 connections, and
//! at last how long a turn takes at most when all of 10,000 are due at once. Instructions are counted by Callgrind, for which
//! each operation stands in a function of its own that is not inlined:
//!
//! ```sh
//! cargo bench -p peerless --bench connections --no-run
//! for n in 100 10000; do
//!     valgrind --tool=callgrind --callgrind-out-file=/tmp/callgrind.$n <executable> count $n
//!     callgrind_annotate --inclusive=yes --threshold=100 /tmp/callgrind.$n | grep 'connections::op_'
//! done
//! ```
//!
//! The executable is the one that cargo names. Each operation is done [`TIMES`] times in that mode, which is to divide by;
//! `op_poll_action` twice as often.

#![allow(clippy::disallowed_types, clippy::disallowed_methods)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::time::{Duration, Instant as Clock};

use peerless::contract::{Action, ConnId, Input, IoFault, SocketId};
use peerless::crypto::SecretKey;
use peerless::eth::Chain;
use peerless::limits::INBOUND_SOURCES_MAX;
use peerless::node::{Config, Node};
use peerless::rng::{Rng, Seed};
use peerless::time::{Instant, UnixTime};
use peerless::wire::forkid::{ForkSchedule, Head, Network};

/// How often each operation is done to be counted.
const TIMES: u32 = 100;
/// How often each operation is done to be timed.
const SAMPLES: u32 = 2000;
/// Between two accepts: less than a timeout at 10,000, so that none is due by itself.
const STEP: Duration = Duration::from_micros(100);

/// A node with a steady number of connections, of which one is replaced at a time.
struct Bench {
    node: Node,
    now: Instant,
    accepted: u32,
    open: Vec<ConnId>,
    rng: Rng,
}

impl Bench {
    fn new(conns: u32) -> Self {
        let schedule = ForkSchedule::new([7; 32], 0, &[], &[]);
        let network = Network { name: "bench".into(), network_id: 1337, schedule };
        let secret = SecretKey::from_bytes([1; 32]).expect("in range");
        let mut config = Config::new(secret, Chain::new(network, Head::default(), 0, [0; 32]));
        config.discovery.switch_off();
        config.peers.max_pending = 20_000;
        let node = Node::new(config, [1; 32], Instant::ZERO, UnixTime::from_secs(1_750_000_000)).expect("valid");
        let rng = Seed::new([2; 32]).fork("bench");
        let mut bench = Self { node, now: Instant::ZERO, accepted: 0, open: Vec::new(), rng };
        // As many sources as the node remembers, so that their number is the same whatever the number of connections.
        for _ in 0..INBOUND_SOURCES_MAX {
            let (at, from) = bench.next_stream();
            let conn = bench.node.accept(at, SocketId::MAIN, from).expect("there is room");
            bench.node.handle(at, Input::Broken { conn, why: IoFault::Reset });
            while bench.node.poll_action().is_some() {}
        }
        for _ in 0..conns {
            let (at, from) = bench.next_stream();
            bench.open.push(bench.node.accept(at, SocketId::MAIN, from).expect("there is room"));
        }
        bench
    }

    fn next_stream(&mut self) -> (Instant, SocketAddr) {
        self.now = self.now + STEP;
        self.accepted += 1;
        (self.now, address(self.accepted))
    }

    fn accept(&mut self) {
        let (now, from) = self.next_stream();
        self.open.push(op_accept(&mut self.node, now, from).expect("there is room"));
    }

    /// Any of the connections, no longer counted as open.
    fn draw(&mut self) -> ConnId {
        let at = self.rng.below(self.open.len() as u64) as usize;
        self.open.swap_remove(at)
    }

    /// One connection ends and another takes its place. Returns what each operation took.
    fn round(&mut self) -> [Duration; OPERATIONS.len()] {
        let mut took = [Duration::ZERO; OPERATIONS.len()];
        let conn = self.draw();
        took[0] = time(|| op_end(&mut self.node, self.now, conn));
        took[1] = time(|| drop(black_box(op_poll_action(&mut self.node))));
        took[2] = time(|| drop(black_box(op_poll_action(&mut self.node))));
        assert!(self.node.poll_action().is_none(), "close and ended");
        took[3] = time(|| self.accept());
        took[4] = time(|| {
            black_box(op_poll_timeout(&self.node));
        });
        took[5] = time(|| op_timeout(&mut self.node, self.now));
        took
    }
}

const OPERATIONS: [&str; 6] =
    ["end", "poll_action (close)", "poll_action (ended)", "accept", "poll_timeout", "timeout"];

/// Global addresses, each of its own subnet.
fn address(n: u32) -> SocketAddr {
    let [_, a, b, c] = (n + 0x01_0000).to_be_bytes();
    SocketAddr::from(([50 + a, b, c, 1], 30303))
}

#[inline(never)]
fn op_accept(node: &mut Node, now: Instant, from: SocketAddr) -> Option<ConnId> {
    node.accept(now, SocketId::MAIN, from)
}

#[inline(never)]
fn op_end(node: &mut Node, now: Instant, conn: ConnId) {
    node.handle(now, Input::Broken { conn, why: IoFault::Reset });
}

#[inline(never)]
fn op_poll_action(node: &mut Node) -> Option<Action<'_>> {
    node.poll_action()
}

#[inline(never)]
fn op_poll_timeout(node: &Node) -> Option<Instant> {
    node.poll_timeout().map(|(at, _)| at)
}

/// A timeout at which nothing is due.
#[inline(never)]
fn op_timeout(node: &mut Node, now: Instant) {
    node.handle(now, Input::Timeout);
}

/// A timeout at which one connection is due. It returns something, lest it be merged with [`op_timeout`].
#[inline(never)]
fn op_timeout_due(node: &mut Node, now: Instant) -> Instant {
    node.handle(now, Input::Timeout);
    now
}

fn time(work: impl FnOnce()) -> Duration {
    let start = Clock::now();
    work();
    start.elapsed()
}

/// Lets one connection after the other time out, and replaces it.
fn timeouts(bench: &mut Bench, times: u32) -> Duration {
    let mut took = Vec::new();
    for _ in 0..times {
        let (at, _) = bench.node.poll_timeout().expect("connections have deadlines");
        bench.now = at;
        took.push(time(|| {
            black_box(op_timeout_due(&mut bench.node, at));
        }));
        while bench.node.poll_action().is_some() {}
        let (now, from) = bench.next_stream();
        assert!(bench.node.accept(now, SocketId::MAIN, from).is_some());
    }
    median(took)
}

fn median(mut took: Vec<Duration>) -> Duration {
    took.sort();
    took[took.len() / 2]
}

/// All connections are due at once: how many turns that takes, and how long half of them and the longest are.
fn all_due(conns: u32) -> (usize, Duration, Duration) {
    let mut bench = Bench::new(conns);
    bench.now = bench.now + Duration::from_secs(60);
    let mut took = Vec::new();
    loop {
        took.push(time(|| bench.node.handle(bench.now, Input::Timeout)));
        while bench.node.poll_action().is_some() {}
        match bench.node.poll_timeout() {
            Some((at, _)) => bench.now = at,
            None => break,
        }
    }
    let longest = took.iter().copied().max().unwrap_or_default();
    (took.len(), median(took), longest)
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, conns] = &arguments[..]
        && mode == "count"
    {
        let mut bench = Bench::new(conns.parse().expect("a number of connections"));
        // Callgrind counts from here: the functions of setting up are others.
        for _ in 0..TIMES {
            black_box(bench.round());
        }
        timeouts(&mut bench, TIMES);
        return;
    }
    print!("{:<22}", "nanoseconds");
    let sizes = [10, 100, 1_000, 10_000];
    sizes.iter().for_each(|conns| print!("{conns:>10}"));
    println!();
    let mut rows = vec![Vec::new(); OPERATIONS.len() + 1];
    for conns in sizes {
        let mut bench = Bench::new(conns);
        let rounds: Vec<_> = (0..SAMPLES).map(|_| bench.round()).collect();
        for (at, row) in rows[..OPERATIONS.len()].iter_mut().enumerate() {
            row.push(median(rounds.iter().map(|took| took[at]).collect()));
        }
        rows[OPERATIONS.len()].push(timeouts(&mut bench, SAMPLES));
    }
    for (name, row) in OPERATIONS.iter().chain([&"timeout (one due)"]).zip(rows) {
        print!("{name:<22}");
        row.iter().for_each(|took| print!("{:>10}", took.as_nanos()));
        println!();
    }
    for conns in sizes {
        let (turns, median, longest) = all_due(conns);
        let [median, longest] = [median, longest].map(|took| took.as_micros());
        println!("{conns} due at once: {turns} turns of {median} us, the longest of {longest} us");
    }
}
