//! The speed and the memory of inspecting captures: a million packets of each kind, with every finding formatted as
//! text.
//!
//! The packets are those of real nodes over an in-memory network, with real keys, in segments that fit Ethernet. They
//! are repeated between other addresses as often as needed; the inspector keeps nothing from one repetition to the
//! next.
//!
//! `cargo bench -p peerless-trace --bench inspect [-- LOAD [PACKETS]]`: discv4 alone, sessions whose secrets are in the
//! capture (opened) or not (sealed), mixed, or all. `--write FILE` first writes the capture to a file instead, for
//! `peerless inspect FILE`. Memory is the growth of the process, measured on Linux only.

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{self, Cursor, Read, Write, sink};

use common::{add, config, contact, established, recorder, run, world};
use peerless::contract::{Command, Via};
use peerless::wire::p2p::Capability;
use peerless_trace::capture::{Item, Reader};
use peerless_trace::inspect::{Findings, Keys};
use peerless_trace::record::Options;
use rustix::time::{ClockId, clock_gettime};

/// The keys of the subject, node number 1.
const PEERS: std::ops::RangeInclusive<u8> = 2..=7;
/// Bytes of a TCP payload in one packet on Ethernet.
const SEGMENT_BYTES: usize = 1448;

/// The content of a capture.
struct Load {
    name: &'static str,
    /// Pings and FindNodes of each peer in a tenth of a second.
    datagrams: bool,
    /// Bytes of messages of each peer in a tenth of a second.
    messages: &'static [usize],
    /// Whether the session's secrets are in the capture.
    is_open: bool,
}

const LOADS: [Load; 4] = [
    Load { name: "discv4", datagrams: true, messages: &[], is_open: false },
    Load { name: "opened", datagrams: false, messages: &[300, 600, 2500, 12_000], is_open: true },
    Load { name: "sealed", datagrams: false, messages: &[300, 600, 2500, 12_000], is_open: false },
    Load { name: "mixed", datagrams: true, messages: &[300, 600, 2500, 12_000], is_open: true },
];

/// Encodes a list of strings of 110 bytes, of at least the given size in all. Half of it is compressible.
fn message(length: usize, state: &mut u32) -> Vec<u8> {
    let mut noise = || {
        *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (*state >> 24) as u8
    };
    let items = length.div_ceil(112);
    let length = (items * 112) as u16;
    let mut message = vec![0xf9, (length >> 8) as u8, length as u8];
    for _ in 0..items {
        message.extend_from_slice(&[0xb8, 110]);
        message.extend((0..110).map(|at| if at & 32 == 0 { noise() } else { 0 }));
    }
    message
}

impl Load {
    /// Returns the start of its pcapng file, and its packets.
    fn play(&self) -> Capture {
        let mut subject = config(1, None);
        subject.export_secrets = true;
        let (tap, bytes) = recorder(&subject, 1, Options::default());
        let mut world = world();
        (world.link.write_bytes_max, world.link.chunk_bytes_max) = (SEGMENT_BYTES, SEGMENT_BYTES);
        world.link.random_sizes = false;
        let subject = add(&mut world, subject, 1, Box::new(tap));
        let peers: Vec<_> =
            PEERS.map(|number| add(&mut world, config(number, Some(contact(1))), number, Box::new(()))).collect();
        run(&mut world, 100);
        for peer in peers.iter().filter(|_| !self.messages.is_empty()) {
            world.command(*peer, Command::Dial { contact: contact(1) }).expect("a dial");
        }
        run(&mut world, 500);
        let mut state = 1;
        for tenth in 0..60 {
            for peer in peers.iter().copied() {
                if self.datagrams {
                    let asked = match tenth % 2 {
                        0 => Command::Ping { via: Via::Discv4, contact: contact(1) },
                        _ => Command::FindNode { contact: contact(1), target: [tenth; 64] },
                    };
                    // A refused command is left out.
                    let _ = world.command(peer, asked);
                }
                for length in self.messages {
                    let (conn, capability) = (established(&world, peer), Capability::eth(69));
                    let payload = message(*length, &mut state);
                    let sent = Command::Send { conn, capability, id: 2, payload: &payload };
                    world.command(peer, sent).expect("a message");
                }
            }
            run(&mut world, 100);
        }
        world.command(subject, Command::Shutdown).expect("a shutdown");
        run(&mut world, 3000);
        drop(world);
        Capture::new(&bytes.take(), self.is_open, self.datagrams || self.messages.is_empty())
    }
}

/// A capture that repeats itself.
#[derive(Clone)]
struct Capture {
    head: Vec<u8>,
    blocks: Vec<Vec<u8>>,
}

impl Capture {
    fn new(trace: &[u8], is_open: bool, has_datagrams: bool) -> Self {
        let (mut head, mut blocks) = (Vec::new(), Vec::new());
        let mut reader = Reader::new(Cursor::new(trace));
        while let Some(item) = reader.next_item().expect("a trace") {
            match item {
                Item::Other { bytes, .. } => head.extend_from_slice(bytes),
                Item::Custom { bytes, .. } if is_open => head.extend_from_slice(bytes),
                // The ninth byte of an IP header is the protocol.
                Item::Packet(packet) if has_datagrams || packet.bytes[9] != 17 => {
                    let length = (packet.bytes.len() as u32).to_le_bytes();
                    let padded = packet.bytes.len().next_multiple_of(4);
                    let whole = ((padded + 32) as u32).to_le_bytes();
                    let mut block = [&[6, 0, 0, 0], &whole, &[0; 12][..], &length, &length, packet.bytes].concat();
                    block.resize(padded + 28, 0);
                    block.extend_from_slice(&whole);
                    blocks.push(block);
                }
                _ => {}
            }
        }
        Self { head, blocks }
    }

    fn packets(&self, count: usize) -> Repeated<'_> {
        Repeated { capture: self, count, given: 0, bytes: 0, pending: self.head.clone(), at: 0 }
    }
}

/// Writes so many packets of a capture to a file.
struct Repeated<'a> {
    capture: &'a Capture,
    count: usize,
    given: usize,
    bytes: usize,
    pending: Vec<u8>,
    at: usize,
}

impl Read for Repeated<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.at == self.pending.len() && self.given < self.count {
            let blocks = &self.capture.blocks;
            let turn = (self.given / blocks.len()) as u16;
            self.pending.clear();
            self.pending.extend_from_slice(&blocks[self.given % blocks.len()]);
            self.at = 0;
            self.given += 1;
            // Other nodes: changes the upper halves of both addresses.
            for address in [28 + 12, 28 + 16] {
                self.pending[address..address + 2].copy_from_slice(&(turn + 0x0801).to_be_bytes());
            }
        }
        let taken = (&self.pending[self.at..]).read(out)?;
        self.at += taken;
        self.bytes += taken;
        Ok(taken)
    }
}

/// CPU time of this process: steadier than elapsed time on a shared machine.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Reads a figure of `/proc/self/status` in MiB.
fn memory(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kibibytes: f64| kibibytes / 1024.0)
}

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench").peekable();
    let file = arguments.next_if_eq("--write").map(|_| arguments.next().expect("a file to write to"));
    let wanted = arguments.next().unwrap_or_else(|| "all".to_owned());
    let count = arguments.next().map_or(1_000_000, |count| count.parse().expect("a number of packets"));
    if wanted == "all" {
        println!("| capture | packets | MB | findings | packets/s | MB/s | memory |\n|---|---|---|---|---|---|---|");
        for load in &LOADS {
            // Each load runs in its own process, so that it cannot reuse memory of another.
            let mut program = std::process::Command::new(std::env::current_exe()?);
            assert!(program.args([load.name, &count.to_string()]).status()?.success(), "{}", load.name);
        }
        return Ok(());
    }
    let load = LOADS.iter().find(|load| load.name == wanted).expect("a load: discv4, opened, sealed, mixed, all");
    let capture = load.play();
    let mut packets = capture.packets(count);
    if let Some(file) = file {
        io::copy(&mut packets, &mut io::BufWriter::new(std::fs::File::create_new(file)?))?;
        return Ok(());
    }
    // Resets the peak of memory.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let before = memory("VmRSS");
    let (start, mut told) = (cpu_seconds(), 0);
    let mut findings = Findings::new(&mut packets, Keys::default(), Vec::new());
    while let Some(finding) = findings.next_finding()? {
        writeln!(sink(), "{finding}")?;
        told += 1;
    }
    let totals = findings.inspector().totals();
    assert_eq!((totals.packets, totals.broken, totals.unknown), (count as u64, 0, 0), "{}", load.name);
    let seconds = cpu_seconds() - start;
    let memory =
        memory("VmHWM").zip(before).map_or(String::new(), |(most, before)| format!("{:.1} MiB", most - before));
    println!(
        "| {} | {count} | {} | {told} | {:.0} | {:.0} | {memory} |",
        load.name,
        packets.bytes / 1_000_000,
        count as f64 / seconds,
        packets.bytes as f64 / 1e6 / seconds,
    );
    Ok(())
}
