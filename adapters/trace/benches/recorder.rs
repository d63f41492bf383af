//! The cost of recording a busy node: its CPU time with a recorder, relative to its CPU time without.
//!
//! Real nodes run a load once over an in-memory network, with real keys, and the subject's inputs are recorded. The
//! subject then gets these inputs again and again, alternately with and without a recorder that writes a file, and the
//! least CPU times are compared, since other processes only add to them. Only the node and its recorder are measured,
//! without socket calls: the relative cost for a node in operation is smaller, since its system calls cost the same
//! with and without a recorder.
//!
//! `cargo bench -p peerless-trace --bench recorder [-- LOAD [ROUNDS]]`; `PEERLESS_BENCH_DIR` is the folder of the
//! files.

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::io::Cursor;
use std::path::PathBuf;

use common::{Host, START, UNIX, World, add, config, contact, established, recorder, respond, run, seed, world};
use peerless::contract::{Command, Devp2p, Event, Input, Machine, Tap, Tapped, Via};
use peerless::crypto::Secp256k1;
use peerless::node::{Config, Node};
use peerless::wire::p2p::Capability;
use peerless_trace::format::{Checkpoint, OwnedInput, Reader, Record, Recorded};
use peerless_trace::record::{Options, Recorder, Subject};
use rustix::time::{ClockId, clock_gettime};

/// The subject is node number 1.
const PEERS: std::ops::RangeInclusive<u8> = 2..=7;
/// A read size that is neither one segment nor a whole socket buffer.
const CHUNK_BYTES: usize = 16 << 10;

/// The load on the subject in each tenth of a second.
struct Load {
    name: &'static str,
    tenths: u32,
    /// Pings and FindNodes of each peer.
    datagrams: u32,
    /// Announcements and transactions of 100 to 1500 bytes, of each peer.
    small: u32,
    /// Requests of each peer with a response of `answer` bytes.
    requests: u32,
    answer: usize,
    /// Messages of 10 to 100 KiB, of all peers together.
    large: u32,
}

const LOADS: [Load; 4] = [
    Load { name: "discv4 packets", tenths: 600, datagrams: 1, small: 0, requests: 0, answer: 0, large: 0 },
    Load { name: "eth, 0.1 to 1.5 KiB", tenths: 60, datagrams: 0, small: 100, requests: 0, answer: 0, large: 0 },
    Load { name: "eth, 10 to 100 KiB", tenths: 40, datagrams: 0, small: 0, requests: 1, answer: 30_000, large: 16 },
    Load { name: "mixed", tenths: 100, datagrams: 1, small: 30, requests: 1, answer: 4_000, large: 2 },
];

/// Encodes a list of one string, of about the given size. Half of it is compressible, as in transactions.
fn message(length: usize, number: u32) -> Vec<u8> {
    let mut state = number.wrapping_mul(0x9e37_79b9) | 1;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    let content: Vec<u8> = (0..length).map(|at| if at & 32 == 0 { noise() } else { 0 }).collect();
    [rlp_head(0xf7, length + rlp_head(0xb7, length).len()), rlp_head(0xb7, length), content].concat()
}

/// Encodes the header of a string (`0xb7`) or list (`0xf7`) of 56 bytes or more.
fn rlp_head(base: u8, length: usize) -> Vec<u8> {
    let digits: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|digit| *digit == 0).collect();
    [&[base + digits.len() as u8], &digits[..]].concat()
}

/// The inputs of the subject.
struct Script {
    config: Config,
    inputs: Vec<Recorded>,
    end: Checkpoint,
}

impl Load {
    fn play(&self) -> Script {
        let subject = config(1, None);
        let (tap, bytes) = recorder(&subject, 1, Options::default());
        let mut world = world();
        (world.link.write_bytes_max, world.link.chunk_bytes_max) = (CHUNK_BYTES, CHUNK_BYTES);
        world.link.random_sizes = false;
        let host = add(&mut world, subject.clone(), 1, Box::new(tap));
        let peers: Vec<_> =
            PEERS.map(|number| add(&mut world, config(number, Some(contact(1))), number, Box::new(()))).collect();
        let answer = message(self.answer.max(56), 0);
        run(&mut world, 100);
        for peer in &peers {
            world.command(*peer, Command::Dial { contact: contact(1) }).expect("a dial");
        }
        run(&mut world, 1000);
        assert_eq!(world.machine(host).machine().peers().counts().established, peers.len());
        let (mut number, mut answered) = (0, 0);
        for tenth in 0..self.tenths {
            for peer in &peers {
                self.act(&mut world, *peer, tenth, &mut number);
            }
            for turn in 0..self.large {
                number += 1;
                let peer = peers[(tenth * self.large + turn) as usize % peers.len()];
                send(&mut world, peer, &message(10_000 + number as usize * 7919 % 90_000, number));
            }
            for _ in 0..100 {
                run(&mut world, 1);
                answered = respond(&mut world, host, answered, &answer);
            }
            assert!(!world.saw(host, |event| matches!(event, Event::Ended { .. })), "a session ended");
        }
        drop(world);
        let mut reader = Reader::new(Cursor::new(bytes.take()));
        let (mut inputs, mut end) = (Vec::new(), Checkpoint::default());
        while let Some(record) = reader.read().expect("a trace") {
            match record {
                Record::Input(input) => inputs.push(*input),
                Record::End { after, .. } => end = after,
                _ => {}
            }
        }
        Script { config: subject, inputs, end }
    }

    fn act(&self, world: &mut World, peer: Host, tenth: u32, number: &mut u32) {
        let to = contact(1);
        for _ in 0..self.datagrams {
            let command = match tenth % 2 {
                0 => Command::Ping { via: Via::Discv4, contact: to },
                _ => Command::FindNode { contact: to, target: [tenth as u8; 64] },
            };
            // A refused command is left out.
            let _ = world.command(peer, command);
        }
        for _ in 0..self.small {
            *number += 1;
            send(world, peer, &message(100 + *number as usize * 7919 % 1400, *number));
        }
        for _ in 0..self.requests {
            let conn = established(world, peer);
            world
                .command(
                    peer,
                    Command::Request { conn, capability: Capability::eth(69), id: 3, body: &[0xc2, 0x01, 0x02] },
                )
                .expect("a request");
        }
    }
}

fn send(world: &mut World, peer: Host, payload: &[u8]) {
    let conn = established(world, peer);
    world.command(peer, Command::Send { conn, capability: Capability::eth(69), id: 2, payload }).expect("a message");
}

impl Script {
    /// Drives a new node as it was driven.
    fn run(&self, tap: Option<Box<dyn Tap>>) {
        let node = Node::new(self.config.clone(), seed(1), START, UNIX).expect("a node");
        let mut node = Tapped::new(node, tap, START);
        for recorded in &self.inputs {
            pop(&mut node, recorded.before);
            recorded.input.with_input::<Devp2p, _>(|input| match input {
                Input::Incoming { socket, from } => drop(black_box(node.accept(recorded.now, socket, from))),
                Input::Command(command) => drop(black_box(node.command(recorded.now, command))),
                input => node.handle(recorded.now, input),
            });
        }
        pop(&mut node, self.end);
        black_box(node.machine().stats().frames_in);
    }

    fn describe(&self) -> String {
        let mut datagrams = 0;
        let (mut read, mut written) = (0, 0);
        for recorded in &self.inputs {
            match &recorded.input {
                OwnedInput::Datagram { .. } => datagrams += 1,
                OwnedInput::Bytes { bytes, .. } => read += bytes.len(),
                OwnedInput::Wrote { n, .. } => written += n,
                _ => {}
            }
        }
        format!("{datagrams} datagrams and {} MB of streams in, {} MB out", read / 1_000_000, written / 1_000_000)
    }
}

fn pop(node: &mut impl Machine, what: Checkpoint) {
    for _ in 0..what.popped {
        black_box(node.poll_action().expect("an action"));
    }
    if what.is_drained {
        assert!(node.poll_action().is_none());
    }
}

/// CPU seconds of this thread, and of the process.
#[derive(Clone, Copy)]
struct Spent {
    thread: f64,
    process: f64,
}

fn spend(work: impl FnOnce()) -> Spent {
    let clock = |id| {
        let time = clock_gettime(id);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let read = || Spent { thread: clock(ClockId::ThreadCPUTime), process: clock(ClockId::ProcessCPUTime) };
    let before = read();
    work();
    let after = read();
    Spent { thread: after.thread - before.thread, process: after.process - before.process }
}

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with("--"));
    let wanted = arguments.next();
    let rounds = arguments.next().map_or(15, |rounds| rounds.parse().expect("a number of rounds"));
    let folder = std::env::var_os("PEERLESS_BENCH_DIR").map_or(PathBuf::from(env!("CARGO_TARGET_TMPDIR")), Into::into);
    let path = folder.join(format!("bench-{}.pcapng", std::process::id()));
    println!("CPU time of a node, and what recording adds to that of its thread and of its process\n");
    println!("| load | a run | us/input | thread | process |\n|---|---|---|---|---|");
    for load in LOADS.iter().filter(|load| wanted.as_ref().is_none_or(|wanted| load.name.contains(wanted.as_str()))) {
        let script = load.play();
        let (crypto, seed) = (Secp256k1::new(), seed(1));
        let subject = Subject::new(&script.config, &seed, START, UNIX, &crypto);
        let (mut bare, mut recorded) = (Vec::new(), Vec::new());
        script.run(None);
        for _ in 0..rounds {
            bare.push(spend(|| script.run(None)));
            recorded.push(spend(|| {
                let recorder =
                    Recorder::create(&path, &subject, Options::default(), Box::new(|error| panic!("{error}")));
                script.run(Some(Box::new(recorder.expect("a file"))));
            }));
            std::fs::remove_file(&path).expect("the trace");
        }
        let of = |all: &[Spent], part: fn(&Spent) -> f64| all.iter().map(part).fold(f64::MAX, f64::min);
        let added = |part| (of(&recorded, part) / of(&bare, part) - 1.0) * 100.0;
        println!(
            "| {} | {} | {:.1} | {:+.1} % | {:+.1} % |",
            load.name,
            script.describe(),
            of(&bare, |spent| spent.thread) * 1e6 / script.inputs.len() as f64,
            added(|spent| spent.thread),
            added(|spent| spent.process),
        );
    }
}
