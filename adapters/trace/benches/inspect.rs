//! How fast captures are inspected, and in how much memory: a million packets of each kind, every finding put in words.
//!
//! The packets are those of real nodes over a wire in memory, with real keys, in segments as they fit Ethernet. They are
//! repeated under other addresses as often as it takes; nothing is remembered from one time to the next.
//!
//! `cargo bench -p peerless-trace --bench inspect [-- LOAD [PACKETS]]`: discv4 alone, sessions whose secrets are in the
//! capture (opened) or not (sealed), mixed, or all. With `--write FILE` before, the capture is written to a file instead, for
//! `peerless inspect FILE`. Memory is what inspecting adds to the process, told on Linux only.

#[path = "../tests/common/mod.rs"]
mod common;

use std::io::{self, Cursor, Read, Write, sink};

use common::{Host, World, config, contact, recorder};
use peerless::contract::Command;
use peerless::wire::p2p::Capability;
use peerless_trace::capture::{Item, Reader};
use peerless_trace::inspect::{Findings, Keys};
use peerless_trace::record::Options;
use rustix::time::{ClockId, clock_gettime};

/// The subject, which is number 1, has these.
const PEERS: std::ops::RangeInclusive<u8> = 2..=7;
/// What fits a packet on Ethernet.
const SEGMENT_BYTES: usize = 1448;

/// What is in a capture.
struct Load {
    name: &'static str,
    /// Pings and questions for nodes of each peer, a tenth of a second.
    datagrams: bool,
    /// Bytes of messages from each peer, a tenth of a second.
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

/// A list of strings of 110 bytes, as long as that in all or a little longer. Half of it can be compressed away.
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
    /// What a pcapng file of it begins with, and its packets.
    fn play(&self) -> Capture {
        let mut subject = config(1, None);
        subject.export_secrets = true;
        let (tap, bytes) = recorder(&subject, 1, Options::default());
        let mut hosts = vec![Host::new(subject, 1, Box::new(tap))];
        hosts.extend(PEERS.map(|number| Host::new(config(number, Some(contact(1))), number, Box::new(()))));
        let mut world = World::new(hosts);
        world.write_bytes = SEGMENT_BYTES;
        world.run(100);
        let peers = 1..world.hosts.len();
        for peer in peers.clone() {
            let now = world.now;
            assert!(self.messages.is_empty() || world.hosts[peer].command(now, Command::Dial { contact: contact(1) }));
        }
        world.run(500);
        let mut state = 1;
        for tenth in 0..60 {
            let now = world.now;
            for peer in peers.clone() {
                if self.datagrams {
                    let asked = match tenth % 2 {
                        0 => Command::Ping { contact: contact(1) },
                        _ => Command::FindNode { contact: contact(1), target: [tenth; 64] },
                    };
                    world.hosts[peer].command(now, asked);
                }
                for length in self.messages {
                    let (conn, capability) = (world.hosts[peer].established[0], Capability::eth(69));
                    let payload = message(*length, &mut state);
                    let sent = Command::Send { conn, capability, id: 2, payload: &payload };
                    assert!(world.hosts[peer].command(now, sent));
                }
            }
            world.run(100);
        }
        let now = world.now;
        world.hosts[0].command(now, Command::Shutdown);
        world.run(3000);
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
                // The ninth byte of an IP header says what is in it.
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

/// So many packets of a capture, as a file.
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
            // Between other nodes: the upper halves of both addresses.
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

/// What this process has taken of a processor: on a machine that is shared, a steadier measure than the time of day.
fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// A figure of `/proc/self/status` in MiB.
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
            // In a process of its own, so that none finds memory that another has left.
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
    // What the most was counts from here on.
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
